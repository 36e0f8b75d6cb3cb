"""Histogram matching against scikit-image, kornia and plain sorts, with NumPy's sort of the keys alone as the floor."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from skimage.exposure import match_histograms as skimage_match

import genimg_fast as gf

from .common import interleaved

FAMILY = "histogram"
Candidates = dict[str, Callable[[], object]]


def run(quick: bool, threads: int) -> list[dict[str, Any]]:
    """Time both methods on float32 and uint8 images, a pyramid's bands, and the call itself."""
    sizes = [512] if quick else [64, 256, 512, 1024]
    seconds = 1 if quick else 3
    rows = [row for n in sizes for row in (_value(n, seconds), _rank(n, seconds))]
    rows += [_bytes(512, None, seconds), _bytes(512, -1, seconds), _bands(seconds)]
    return rows if threads > 1 else [*rows, *_calls(seconds)]


def _pair(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return two float32 images of distinct values."""
    rng = np.random.default_rng(seed)
    ramp = np.linspace(0, 1, n * n, dtype=np.float64)
    return tuple(rng.permutation(x).astype(np.float32).reshape(n, n) for x in (ramp, ramp**2 + ramp))  # type: ignore[return-value]


def _row(case: str, what: str, candidates: Candidates, floor: Candidates, seconds: float, note: str) -> dict[str, Any]:
    times = interleaved({**candidates, **floor}, seconds)
    return {
        "family": FAMILY,
        "case": case,
        "what": what,
        "seconds": times["ours"],
        "peer_seconds": {name: times[name] for name in candidates if name != "ours"},
        "floor_seconds": sum(times[name] for name in floor) if floor else None,
        "note": note,
    }


def _value(n: int, seconds: float) -> dict[str, Any]:
    image, reference = _pair(n, 0)
    candidates: Candidates = {
        "ours": lambda: gf.match_histograms(image, reference),
        "scikit-image": lambda: skimage_match(image, reference),
    }
    np.testing.assert_allclose(gf.match_histograms(image, reference), skimage_match(image, reference), atol=1e-6)
    kornia_match = _kornia()
    if kornia_match is not None:
        source, target = torch.from_numpy(image), torch.from_numpy(reference)
        np.testing.assert_allclose(kornia_match(source, target), gf.match_histograms(image, reference), atol=1e-2)
        candidates["kornia"] = lambda: kornia_match(source, target)
    return _row(f"{n} px, float32", "match_histograms by value", candidates, _sorts(image, reference), seconds, _SORTS)


def _rank(n: int, seconds: float) -> dict[str, Any]:
    image, reference = _pair(n, 1)
    source, target = torch.from_numpy(image), torch.from_numpy(reference)
    expected = gf.match_histograms(image, reference, method="rank")
    np.testing.assert_array_equal(_rank_numpy(image, reference), expected)
    np.testing.assert_array_equal(_rank_torch(source, target), expected)
    candidates: Candidates = {
        "ours": lambda: gf.match_histograms(image, reference, method="rank"),
        "scikit-image": lambda: skimage_match(image, reference),
        "numpy sorts": lambda: _rank_numpy(image, reference),
        "torch sorts": lambda: _rank_torch(source, target),
    }
    note = f"{_SORTS}; scikit-image matches by value"
    return _row(f"{n} px, float32", "match_histograms by rank", candidates, _sorts(image, reference), seconds, note)


def _bytes(n: int, channel_axis: int | None, seconds: float) -> dict[str, Any]:
    rng = np.random.default_rng(2)
    shape = (n, n) if channel_axis is None else (n, n, 3)
    image, reference = rng.integers(0, 200, shape, np.uint8), rng.integers(50, 256, shape, np.uint8)
    matched = gf.match_histograms(image, reference, channel_axis=channel_axis)
    # scikit-image returns the numbers before rounding, and with channels cuts their decimals off.
    difference = np.abs(matched - skimage_match(image, reference, channel_axis=channel_axis).astype(float))
    assert difference.max() <= (0.5 + 1e-9 if channel_axis is None else 1)
    out = np.empty_like(image)
    floor: Candidates = {"copy of each": lambda: (np.copyto(out, image), np.copyto(out, reference))}
    candidates: Candidates = {
        "ours": lambda: gf.match_histograms(image, reference, channel_axis=channel_axis),
        "scikit-image": lambda: skimage_match(image, reference, channel_axis=channel_axis),
    }
    case = f"{n} px, uint8{'' if channel_axis is None else ', 3 channels'}"
    return _row(case, "match_histograms by value", candidates, floor, seconds, "floor: a copy of image and reference")


def _bands(seconds: float) -> dict[str, Any]:
    """Time the bands of a pyramid of 256 px, as Heeger and Bergen's synthesis matches them."""
    rng = np.random.default_rng(3)
    sizes = [(256, 256), *[(4, 256 >> level, 256 >> level) for level in range(4)], (16, 16)]
    bands = {i: rng.laplace(size=size).astype(np.float32) for i, size in enumerate(sizes)}
    targets = {i: rng.laplace(size=size).astype(np.float32) for i, size in enumerate(sizes)}
    reference = gf.HistogramReference(targets)
    planes = [plane for band in bands.values() for plane in band.reshape(-1, *band.shape[-2:])]
    ordered = [np.sort(x, axis=None) for t in targets.values() for x in t.reshape(-1, *t.shape[-2:])]
    out = {key: band.copy() for key, band in bands.items()}

    def plain() -> list[np.ndarray]:
        return [_rank_sorted(plane, values) for plane, values in zip(planes, ordered, strict=True)]

    matched = [x for band in reference.match(bands, method="rank").values() for x in band.reshape(-1, *band.shape[-2:])]
    assert all(np.array_equal(x, y) for x, y in zip(matched, plain(), strict=True))
    candidates: Candidates = {"ours": lambda: reference.match(bands, method="rank", out=out), "numpy sorts": plain}
    floor: Candidates = {"keys": lambda: [np.sort(plane, axis=None) for plane in planes]}
    case = f"{len(planes)} bands, {sum(plane.size for plane in planes)} coefficients"
    note = "reference sorted before; floor: numpy.sort of the coefficients"
    return _row(case, "HistogramReference.match by rank", candidates, floor, seconds, note)


def _calls(seconds: float) -> list[dict[str, Any]]:
    image, reference = _pair(8, 4)
    source, target = torch.from_numpy(image), torch.from_numpy(reference)
    prepared = gf.HistogramReference(reference)
    rows = {
        "array": lambda: gf.match_histograms(image, reference),
        "tensor": lambda: gf.match_histograms(source, target),
        "array, prepared reference": lambda: prepared.match(image),
    }
    peer: Candidates = {"scikit-image": lambda: skimage_match(image, reference)}
    note = "the cost of a call"
    return [
        _row(f"8 px, {name}", "match_histograms", {"ours": call, **peer}, {}, seconds / 3, note)
        for name, call in rows.items()
    ]


_SORTS = "floor: numpy.sort of both images"


def _sorts(image: np.ndarray, reference: np.ndarray) -> Candidates:
    return {"sort image": lambda: np.sort(image, axis=None), "sort reference": lambda: np.sort(reference, axis=None)}


def _rank_sorted(image: np.ndarray, ordered: np.ndarray) -> np.ndarray:
    out = np.empty_like(image)
    out.ravel()[np.argsort(image, axis=None, kind="stable")] = ordered
    return out


def _rank_numpy(image: np.ndarray, reference: np.ndarray) -> np.ndarray:
    return _rank_sorted(image, np.sort(reference, axis=None))


def _rank_torch(image: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
    order = image.flatten().sort(stable=True).indices
    return torch.empty_like(image).flatten().scatter_(0, order, reference.flatten().sort().values).reshape(image.shape)


def _kornia() -> Any:
    try:
        from kornia.contrib import histogram_matching
    except ImportError:
        return None
    return histogram_matching
