"""What was compiled, what runs here, and why not."""

from __future__ import annotations

import sys
from typing import Any

from genimg_fast import _numpy


def build_info() -> dict[str, Any]:
    """Describe this installation.

    Returns:
        A dict: ``version``; ``instruction_set`` (the level the CPU kernels use here: baseline, v3, v4 or v4x);
        ``num_threads`` (for NumPy arrays); ``built_with_torch`` and ``built_with_cuda`` (versions at compile time;
        ``built_with_cuda`` is None for a build without nvcc); ``cuda`` (True where CUDA kernels can run) and
        ``cuda_why`` (why not, else None); ``torch`` (the version in use). Asking imports torch if it is installed.
    """
    info: dict[str, Any] = {
        "version": _numpy.version,
        "python": sys.version.split()[0],
        "instruction_set": _numpy.active_isa(),
        "num_threads": _numpy.get_num_threads(),
        "built_with_torch": _numpy.built_with_torch,
        "built_with_cuda": _numpy.built_with_cuda or None,
    }
    try:
        import torch
    except ImportError as error:
        return {**info, "torch": None, "cuda": False, "cuda_why": f"torch cannot be imported: {error}"}
    from genimg_fast import _torch

    why = _torch.why_no_cuda()
    return {**info, "torch": torch.__version__, "cuda": why is None, "cuda_why": why}
