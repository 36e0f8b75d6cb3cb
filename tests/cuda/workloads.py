"""What the budgets of the CUDA kernels are measured on: operations of the package, on the traced harness.

``python workloads.py LIBRARY`` runs them and prints, for each, what the tracer counted, as JSON. That needs a process
of its own: the traced library registers the same operators as the plain one.
"""

from __future__ import annotations

import ctypes
import json
import sys
from collections.abc import Callable
from typing import Any

import torch

import genimg_fast as gf
from genimg_fast import _torch

# Rows of a power of two are the common case; smaller images have larger shares of rows' ends.
SIZE = 256


def _image(channels: int = 1, size: int = SIZE) -> torch.Tensor:
    return torch.randn(1, channels, size, size, generator=torch.Generator().manual_seed(0))


def _pyramid(**options: Any) -> gf.SteerablePyramidFreq:
    return gf.SteerablePyramidFreq((SIZE, SIZE), height=4, **options)


def _steerable_freq() -> dict[str, Callable[[], object]]:
    image = _image()
    workloads: dict[str, Callable[[], object]] = {}
    for suffix, options in (("", {}), ("_complex", {"is_complex": True}), ("_lut", {"masks": "lut"})):
        pyramid = _pyramid(**options)
        coefficients = pyramid(image)
        workloads[f"steerable_freq_analysis{suffix}"] = lambda p=pyramid: p(image)
        workloads[f"steerable_freq_synthesis{suffix}"] = lambda p=pyramid, c=coefficients: p.recon_pyr(c)
    return workloads


def _rows(rows: int, size: int, dtype: torch.dtype, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    if dtype.is_floating_point:
        return torch.randn(rows, size, generator=generator, dtype=dtype)
    return torch.randint(0, 256, (rows, size), generator=generator, dtype=torch.int32).to(dtype)


def _histogram() -> dict[str, Callable[[], object]]:
    value, rank, sizes = 0, 1, (65536, 32768)
    workloads: dict[str, Callable[[], object]] = {}
    for name, dtype, rows, (size, reference_size), method in (
        ("value", torch.float32, 1, sizes, value),
        ("rank", torch.float32, 1, sizes, rank),
        ("rank_double", torch.float64, 1, (32768, 32768), rank),
        ("value_small", torch.float32, 4, (8192, 8192), value),
        ("value_uint8", torch.uint8, 1, sizes, value),
        ("rank_uint16", torch.uint16, 1, (32768, 32768), rank),
    ):
        x, y = _rows(rows, size, dtype, 0), _rows(rows, reference_size, dtype, 1)
        workloads[f"match_{name}"] = lambda x=x, y=y, m=method: _torch.ops().match_histograms(
            x, y, None, None, 1, m, False
        )
    x, y = _rows(1, 32768, torch.float32, 0), _rows(1, 32768, torch.float32, 1)
    ordered = torch.sort(y).values
    workloads["match_value_sorted"] = lambda: _torch.ops().match_histograms(x, ordered, None, None, 1, value, True)
    workloads["sort_histograms"] = lambda: _torch.ops().sort_histograms(x, None, 1)
    workloads["match_tangent"] = lambda: _torch.ops().match_histograms_tangent(y, x, y, None, None, 1, value)
    workloads["match_adjoint"] = lambda: _torch.ops().match_histograms_adjoint(x, x, y, None, None, 1, value)
    return workloads


def measure(library: str) -> dict[str, list[dict[str, Any]]]:
    """Return what the tracer counted in each workload: its report of each kernel."""
    tracer = ctypes.CDLL(library)
    tracer.cuda_on_cpu_trace_report.restype = ctypes.c_char_p
    reports = {}
    with _torch.use_cuda_on_cpu(library):
        for name, run in (_steerable_freq() | _histogram()).items():
            tracer.cuda_on_cpu_trace_reset()
            run()
            reports[name] = json.loads(tracer.cuda_on_cpu_trace_report())["kernels"]
    return reports


if __name__ == "__main__":
    json.dump(measure(sys.argv[1]), sys.stdout)
