"""Every operation on one device, beside what torch alone offers there: ``python -m benchmarks --device cuda``.

The families' own benchmarks compare with peers on the CPU. This one needs no peer and runs on any torch device.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median
from typing import Any

import torch

import genimg_fast as gf


def run(device: str, quick: bool) -> list[dict[str, Any]]:
    """Return rows like those of the families (see common.py), timed on ``device``."""
    rows = []
    for n in (256, 512) if quick else (256, 512, 1024):
        x, y = (torch.rand(8, 1, n, n, generator=torch.Generator().manual_seed(seed)).to(device) for seed in (0, 1))
        rows += [_pyramid(x), _space(x), *(_matching(x, y, method) for method in ("value", "rank"))]
    return rows


def _row(family: str, x: torch.Tensor, what: str, ours: Callable[[], Any], torch_alone: Callable[[], Any]) -> dict:
    return {
        "family": family,
        "case": f"{x.shape[0]} x {x.shape[-1]} px on {x.device.type}",
        "what": what,
        "seconds": _seconds(ours, x.device),
        "peer_seconds": {"torch": _seconds(torch_alone, x.device)},
        "floor_seconds": None,
        "note": "",
    }


def _seconds(function: Callable[[], Any], device: torch.device, repeats: int = 20) -> float:
    synchronize = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    times = []
    for _ in range(repeats + 3):
        synchronize()
        start = time.perf_counter()
        function()
        synchronize()
        times.append(time.perf_counter() - start)
    return median(times[3:])


def _pyramid(x: torch.Tensor) -> dict:
    pyramid = gf.SteerablePyramidFreq(x.shape[-2:], 4)
    coefficients = pyramid(x)
    torch.testing.assert_close(pyramid.recon_pyr(coefficients), x, rtol=0, atol=5e-6)
    spectra = [torch.fft.rfft2(c) for c in coefficients.values()]

    def transforms() -> None:
        for c, spectrum in zip(coefficients.values(), spectra, strict=True):
            torch.fft.rfft2(torch.fft.irfft2(spectrum, s=c.shape[-2:]))

    return _row(
        "steerable_freq", x, "there and back; the bands' FFTs", lambda: pyramid.recon_pyr(pyramid(x)), transforms
    )


def _space(x: torch.Tensor) -> dict:
    pyramid = gf.SteerablePyramidSpace(x.shape[-2:], order=3)
    filters = torch.rand(4, 1, 9, 9, device=x.device)
    ours = pyramid(x)
    assert all(torch.isfinite(c).all() for c in ours.values())

    def convolutions() -> None:
        level = x
        for _ in range(sum(isinstance(key, tuple) and key[1] == 0 for key in ours)):
            torch.nn.functional.conv2d(level, filters, padding=4)
            level = level[..., ::2, ::2]

    return _row("steerable_space", x, "sp3; the bands' conv2d of 9x9", lambda: pyramid(x), convolutions)


def _matching(x: torch.Tensor, y: torch.Tensor, method: str) -> dict:
    matched = gf.match_histograms(x, y, method=method)
    torch.testing.assert_close(matched.flatten(1).sort().values, y.flatten(1).sort().values, rtol=0, atol=1e-3)

    def sorts() -> None:
        x.flatten(1).sort()
        y.flatten(1).sort()

    return _row("histogram", x, f"{method}; two sorts", lambda: gf.match_histograms(x, y, method=method), sorts)
