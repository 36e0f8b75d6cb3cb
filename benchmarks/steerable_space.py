"""The spatial pyramid against pyrtools, with the products that the filters' symmetries leave as the floor."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

import genimg_fast as gf
from genimg_fast import _numpy

from .common import interleaved

FAMILY = "steerable_space"


def run(quick: bool, threads: int) -> list[dict[str, Any]]:
    """Time analysis and reconstruction, as high as the image allows, float32 (pyrtools computes in float64)."""
    cases = [(3, 256), (3, 512)] if quick else [(order, 512) for order in (0, 1, 3, 5)] + [(3, 256), (3, 1024)]
    rows = [_row(order, n, torch.float32, quick) for order, n in cases]
    return rows if quick else [*rows, _row(3, 512, torch.float64, quick)]


def _row(order: int, n: int, dtype: torch.dtype, quick: bool) -> dict[str, Any]:
    x = torch.rand(n, n, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    given = x.to(dtype)
    ours = gf.SteerablePyramidSpace((n, n), order=order)
    side = torch.rand(512, 512, dtype=dtype)
    candidates: dict[str, Callable[[], object]] = {
        "ours": lambda: ours.recon_pyr(ours(given)),
        "matrix product": lambda: side @ side,
    }
    theirs = _pyrtools()
    if theirs is not None:
        _assert_agree(ours, given, theirs(x.numpy(), order=order))
        candidates["pyrtools"] = lambda: theirs(x.numpy(), order=order).recon_pyr()
    times = interleaved(candidates, 1 if quick else 4)
    return {
        "family": FAMILY,
        "case": f"sp{order}, {n} px{', float64' if dtype == torch.float64 else ''}",
        "what": "analysis and reconstruction",
        "seconds": times["ours"],
        "peer_seconds": {name: times[name] for name in ("pyrtools",) if name in times},
        "floor_seconds": 2 * _products(ours) / 512**3 * times["matrix product"],
        "note": "floor: the products alone, at the rate of a 512 x 512 matrix product of torch",
    }


def _products(pyramid: gf.SteerablePyramidSpace) -> float:
    """Count the products of analysis when each filter uses its symmetry about the middle column."""
    filters = _numpy.spatial_filters(pyramid.order)
    folded = {name: len(filters[name]) * (len(filters[name]) + 1) / 2 for name in ("hi0", "lo0", "lo")}
    band = len(filters["bands"][0])
    # Half of the bands' parts are symmetric, half antisymmetric; sp0's one band is symmetric.
    bands = band * (band + 1) / 2 if pyramid.order == 0 else len(filters["bands"]) * band**2 / 2
    pixels = [np.prod(pyramid.pyr_size[(scale, 0)]) for scale in range(pyramid.num_scales)]
    return np.prod(pyramid.image_shape) * (folded["hi0"] + folded["lo0"]) + sum(pixels) * (bands + folded["lo"] / 4)


def _pyrtools() -> Any:
    try:
        from pyrtools.pyramids import SteerablePyramidSpace
    except ImportError:
        return None
    return SteerablePyramidSpace


def _assert_agree(ours: gf.SteerablePyramidSpace, x: torch.Tensor, theirs: Any) -> None:
    tolerance = 1e-10 if x.dtype == torch.float64 else 2e-6
    coefficients = ours(x)
    for key, expected in theirs.pyr_coeffs.items():
        # The mean grows twofold from scale to scale, and what rounding leaves with it.
        scale = {"residual_highpass": 0, "residual_lowpass": ours.num_scales}.get(key, key[0])
        np.testing.assert_allclose(coefficients[key], expected, rtol=0, atol=tolerance * 2**scale)
    np.testing.assert_allclose(ours.recon_pyr(coefficients), theirs.recon_pyr(), rtol=0, atol=10 * tolerance)
