"""Gram matrices and their loss against torch's product (MKL), NumPy's (OpenBLAS) and the usual lines under autograd.

The floor is the upper triangle alone at the rate of a large square product of torch: no product that computes every
number of the matrix from all pixels in this precision can be much faster.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

import genimg_fast as gf

from .common import interleaved

FAMILY = "gram"
SHAPES = ((64, 512), (128, 256), (256, 128), (512, 64), (512, 32))
FEW = (12, 256)  # channels that are multiplied where they lie


def run(quick: bool, threads: int) -> list[dict[str, Any]]:
    """Time the matrix, the loss with its gradient, half types, and the call itself."""
    seconds = 1 if quick else 2
    shapes = SHAPES[1:3] if quick else SHAPES
    rows = [row for shape in shapes for row in (_matrix(*shape, seconds), _loss(*shape, seconds))]
    rows += [_bfloat(*shape, seconds) for shape in shapes]
    rows.append(_matrix(*FEW, seconds))
    return rows if threads > 1 else [*rows, _call(seconds)]


def _features(channels: int, n: int) -> torch.Tensor:
    return torch.randn(1, channels, n, n, generator=torch.Generator().manual_seed(0))


def _row(case: str, what: str, times: dict[str, float], note: str, floor: float | None = None) -> dict[str, Any]:
    return {
        "family": FAMILY,
        "case": case,
        "what": what,
        "seconds": times["ours"],
        "peer_seconds": {name: time for name, time in times.items() if name != "ours"},
        "floor_seconds": floor,
        "note": note,
    }


def _floor(channels: int, n: int, dtype: torch.dtype) -> float:
    """Return the time of the products of the upper triangle, at the rate of a large square product of torch."""
    side = 1024
    x = torch.randn(side, side, generator=torch.Generator().manual_seed(0)).to(dtype)
    seconds = interleaved({"torch": lambda: x @ x}, 0.5)["torch"]
    return seconds * channels * (channels + 1) / 2 * n * n / side**3


def _rate(channels: int, n: int, seconds: float) -> str:
    return f"{2e-9 * channels**2 * n * n / seconds:.0f} GFLOP/s counted as a full product"


def _matrix(channels: int, n: int, seconds: float) -> dict[str, Any]:
    x = _features(channels, n)
    flat = x.flatten(2)[0]
    array = flat.numpy()
    want = flat.double() @ flat.double().mT
    assert (gf.gram_matrix(x, normalization="none")[0] - want).abs().max() <= 1e-5 * want.abs().max()
    times = interleaved(
        {
            "ours": lambda: gf.gram_matrix(x, normalization="none"),
            "torch": lambda: flat @ flat.mT,
            "numpy": lambda: array @ array.T,
        },
        seconds,
    )
    floor = _floor(channels, n, torch.float32)
    return _row(f"{channels} x {n}^2", "gram_matrix", times, _rate(channels, n, times["ours"]), floor)


def _loss(channels: int, n: int, seconds: float) -> dict[str, Any]:
    x = _features(channels, n).requires_grad_()
    target = gf.gram_matrix(_features(channels, n) * 1.1)

    def ours() -> torch.Tensor:
        return torch.autograd.grad(gf.gram_loss(x, target), x)[0]

    def usual() -> torch.Tensor:
        return torch.autograd.grad(torch.nn.functional.mse_loss(_usual(x), target), x)[0]

    torch.testing.assert_close(ours(), usual(), rtol=1e-3, atol=1e-5 * usual().abs().max().item())
    times = interleaved({"ours": ours, "autograd": usual}, seconds)
    return _row(f"{channels} x {n}^2", "gram_loss and its gradient", times, "")


def _bfloat(channels: int, n: int, seconds: float) -> dict[str, Any]:
    x = _features(channels, n).bfloat16()
    flat = x.flatten(2)[0]
    want = flat.double() @ flat.double().mT
    gram = gf.gram_matrix(x, normalization="none")[0]
    assert (gram - want).abs().max() <= 1e-2 * want.abs().max()
    candidates = {"ours": lambda: gf.gram_matrix(x, normalization="none"), "torch": lambda: flat @ flat.mT}
    times = interleaved(candidates, seconds)
    floor = _floor(channels, n, torch.bfloat16)
    return _row(f"{channels} x {n}^2, bfloat16", "gram_matrix", times, _rate(channels, n, times["ours"]), floor)


def _usual(x: torch.Tensor) -> torch.Tensor:
    flat = x.flatten(2)
    return torch.bmm(flat, flat.mT) / (x.shape[-2] * x.shape[-1])


def _call(seconds: float) -> dict[str, Any]:
    x = _features(8, 8)
    flat = x.flatten(2)
    np.testing.assert_allclose(gf.gram_matrix(x).numpy(), (torch.bmm(flat, flat.mT) / 64).numpy(), atol=1e-6)
    candidates = {
        "ours": lambda: gf.gram_matrix(x),
        "torch's product and division": lambda: torch.bmm(flat, flat.mT) / 64,
        "the same and flattening": lambda: _usual(x),
    }
    return _row("8 x 8^2", "gram_matrix", interleaved(candidates, seconds / 3), "the cost of a call")
