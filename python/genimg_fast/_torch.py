"""Opens the torch operators and says which of them serve a tensor.

The CUDA operators are a library of their own, opened when the first CUDA tensor comes. The same CUDA sources built for
the host (the harness in ``tests/cuda``) register under another namespace; ``use_cuda_on_cpu`` sends CPU tensors there,
so that the tests of every operation run the CUDA kernels on machines without a GPU.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from genimg_fast import _numpy


def _library(name: str) -> Path | None:
    # In an editable install the sources and the compiled files lie in different folders of the package's path.
    import genimg_fast

    for folder in genimg_fast.__path__:
        path = Path(folder) / name
        if path.exists():
            return path
    return None


def _open_cpu() -> None:
    path = _library("libgenimg_fast_torch.so")
    if path is None:
        raise ImportError("genimg_fast was installed without its torch operators (libgenimg_fast_torch.so is missing)")
    torch.ops.load_library(str(path))


_open_cpu()
_cuda_on_cpu: Any = None  # the harness' operator namespace while the tests use it


@functools.cache
def _open_cuda() -> Exception | None:
    """Open the CUDA operators; return why that failed, or None."""
    if not _numpy.built_with_cuda:
        return RuntimeError("genimg_fast was built without CUDA (no nvcc was found when it was compiled)")
    if not torch.cuda.is_available():
        return RuntimeError(f"torch {torch.__version__} finds no CUDA device")
    path = _library("libgenimg_fast_cuda.so")
    if path is None:
        return RuntimeError("libgenimg_fast_cuda.so is missing from the installation")
    try:
        torch.ops.load_library(str(path))
    except OSError as error:
        return error
    return None


def why_no_cuda() -> str | None:
    """Return why the CUDA kernels cannot run here, or None if they can."""
    error = _open_cuda()
    return None if error is None else str(error)


def require_cuda() -> None:
    error = _open_cuda()
    if error is not None:
        raise RuntimeError(f"genimg_fast's CUDA kernels are not available: {error}") from error


def backend(x: torch.Tensor) -> str:
    """Return what serves a tensor: "cpu", "cuda" (also on the harness) or "reference" (mps, xpu, ...)."""
    if x.is_cpu:
        return "cpu" if _cuda_on_cpu is None else "cuda"
    if x.is_cuda:
        if not torch.compiler.is_compiling():
            require_cuda()
        return "cuda"
    return "reference"


def ops() -> Any:
    """Return the operator namespace to call: torch.ops.genimg_fast, or the harness' own."""
    return torch.ops.genimg_fast if _cuda_on_cpu is None else _cuda_on_cpu


def join_batch(size: int, x: torch.Tensor, dim: int | None) -> torch.Tensor:
    """Make the axis of a vmap over ``size`` a part of the first axis, for operators with the batch first."""
    x = x.unsqueeze(0).expand(size, *x.shape) if dim is None else x.movedim(dim, 0)
    return x.flatten(0, 1)


@contextlib.contextmanager
def use_cuda_on_cpu(library: str | Path) -> Iterator[None]:
    """Send CPU tensors to the CUDA kernels of ``library``, which was built for the host (for tests)."""
    global _cuda_on_cpu
    torch.ops.load_library(str(library))
    before, _cuda_on_cpu = _cuda_on_cpu, torch.ops.genimg_fast_cuda_on_cpu
    try:
        yield
    finally:
        _cuda_on_cpu = before
