"""The frequency-domain pyramid against plenoptic and against the bare torch.fft calls that it replaces."""

from __future__ import annotations

import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

import genimg_fast as gf

from .common import interleaved, memory

FAMILY = "steerable_freq"


def run(quick: bool, threads: int) -> list[dict[str, Any]]:
    """Time analysis and reconstruction, order 3, height 4, float32, and (not quick) the memory of a large one."""
    cases = [(256, 1), (512, 1)] if quick else [(n, batch) for n in (256, 512, 1024) for batch in (1, 8)]
    rows = [_speed(n, batch, is_complex=False, seconds=1 if quick else 3) for n, batch in cases]
    if not quick:
        rows.append(_speed(512, 1, is_complex=True, seconds=3))
        rows += [_memory_row()] if threads == 1 else []
    return rows


def _speed(n: int, batch: int, is_complex: bool, seconds: float) -> dict[str, Any]:
    x = torch.rand(batch, 1, n, n, generator=torch.Generator().manual_seed(0))
    ours = gf.SteerablePyramidFreq((n, n), 4, 3, is_complex=is_complex)
    theirs = _plenoptic(n, is_complex)
    coefficients = ours(x)
    if theirs is not None:
        _assert_agree(coefficients, theirs(x), 2e-5)
    _assert_agree({"image": ours.recon_pyr(coefficients)}, {"image": x}, 5e-6)

    candidates: dict[str, Callable[[], object]] = {
        "ours": lambda: ours.recon_pyr(ours(x)),
        "torch.fft": _bare_transforms(x, coefficients),
        "copy": lambda: [c.clone() for c in (x, *coefficients.values())],
    }
    if theirs is not None:
        candidates["plenoptic"] = lambda: theirs.recon_pyr(theirs(x))
    with torch.no_grad():
        times = interleaved(candidates, seconds)
    peers = {name: times[name] for name in ("plenoptic", "torch.fft") if name in times}
    return {
        "family": FAMILY,
        "case": f"{batch} x {n} px{', complex' if is_complex else ''}",
        "what": "analysis and reconstruction",
        "seconds": times["ours"],
        "peer_seconds": peers,
        "floor_seconds": 2 * times["copy"],
        "note": "floor: image and coefficients copied each way",
    }


def _bare_transforms(x: torch.Tensor, coefficients: dict[Any, torch.Tensor]) -> Callable[[], None]:
    """Return the torch.fft calls that a pyramid makes: the image there and back, every band back and there."""
    spectra = [(torch.fft.fft2 if c.is_complex() else torch.fft.rfft2)(c) for c in coefficients.values()]
    sizes = [c.shape[-2:] for c in coefficients.values()]

    def run() -> None:
        spectrum = torch.fft.rfft2(x)
        for c, half, size in zip(coefficients.values(), spectra, sizes, strict=True):
            if c.is_complex():
                torch.fft.fft2(torch.fft.ifft2(half))
            else:
                torch.fft.rfft2(torch.fft.irfft2(half, s=size))
        torch.fft.irfft2(spectrum, s=x.shape[-2:])

    return run


def _plenoptic(n: int, is_complex: bool) -> Any:
    try:
        from plenoptic.process import SteerablePyramidFreq
    except ImportError:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return SteerablePyramidFreq((n, n), 4, 3, is_complex=is_complex)


def _assert_agree(actual: dict[Any, torch.Tensor], expected: dict[Any, torch.Tensor], tolerance: float) -> None:
    assert list(actual) == list(expected)
    for key, value in expected.items():
        difference = (actual[key] - value).abs().max() / value.abs().max()
        assert difference <= tolerance, f"{key}: {difference:.1e}"


# ---------------------------------------------------------------------------------------------------------------------
# Memory
# ---------------------------------------------------------------------------------------------------------------------


def _memory_row() -> dict[str, Any]:
    import time

    results, seconds = {}, {}
    for package in ("genimg_fast", "plenoptic"):
        start = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-m", f"{__package__}.steerable_freq", package],
            cwd=Path(__file__).parents[1],
            capture_output=True,
            text=True,
        )
        seconds[package] = time.perf_counter() - start
        if done.returncode == 0:
            results[package] = float(done.stdout)
    note = ", ".join(f"{package} {images:.2f}" for package, images in results.items())
    return {
        "family": FAMILY,
        "case": "1 x 4096 px, complex",
        "what": "a process that makes the coefficients",
        "seconds": seconds["genimg_fast"],
        "peer_seconds": {package: seconds[package] for package in results if package != "genimg_fast"},
        "floor_seconds": None,
        "note": f"peak memory beyond input and coefficients, in images: {note}",
    }


def _print_peak_memory(package: str, n: int = 4096) -> None:
    """Print how many images of memory the analysis of one needs beyond the image and its coefficients."""
    torch.set_num_threads(1)
    x = torch.rand(1, 1, n, n)
    build = gf.SteerablePyramidFreq if package == "genimg_fast" else _plenoptic_class()
    build((64, 64), is_complex=True)(x[..., :64, :64])  # loads what is loaded at the first call
    before = memory("VmRSS")
    with torch.no_grad():
        coefficients = build((n, n), "auto", 3, is_complex=True)(x)
    held = sum(c.numel() * c.element_size() for c in coefficients.values())
    print((memory("VmHWM") - before - held) / (x.numel() * x.element_size()))


def _plenoptic_class() -> Any:
    from plenoptic.process import SteerablePyramidFreq

    return SteerablePyramidFreq


if __name__ == "__main__":
    _print_peak_memory(sys.argv[1])
