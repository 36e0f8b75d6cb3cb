"""The frequency-domain pyramid on NumPy arrays; torch is never imported."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy import concatenate, einsum, fft

from genimg_fast import _numpy
from genimg_fast.steerable import _freq_map
from genimg_fast.steerable._freq_map import FreqMap

__all__ = ["concatenate", "einsum", "fft"]

KIND = "arrays"
REAL = "float16, float32 or float64"
COMPLEX = "complex64 or complex128"

fused_analysis = _numpy.steerable_freq_analysis
fused_synthesis = _numpy.steerable_freq_synthesis
analysis_masks = _numpy.steerable_freq_analysis_masks
synthesis_masks = _numpy.steerable_freq_synthesis_masks


def join(real: np.ndarray, imaginary: np.ndarray) -> np.ndarray:
    result = np.empty(real.shape, np.result_type(real, np.complex64))
    result.real, result.imag = real, imaginary
    return result


def split(x: np.ndarray) -> np.ndarray:
    """Return real and imaginary parts along a new axis before the last two."""
    return np.stack([x.real, x.imag], -3)


def is_plain(x: np.ndarray) -> bool:
    """Tell whether kernels and transforms can read x as it is."""
    return x.dtype.isnative and x.flags.aligned


def is_real(x: np.ndarray) -> bool:
    return x.dtype.kind == "f" and x.dtype.itemsize <= 8


def is_complex(x: np.ndarray) -> bool:
    return x.dtype.kind == "c" and x.dtype.itemsize <= 16


def is_double(x: np.ndarray) -> bool:
    return x.real.dtype.itemsize == 8


def working(x: np.ndarray, double: bool) -> np.ndarray:
    """Return x in the precision that the kernels compute in."""
    if is_complex(x):
        return np.asarray(x, np.complex128 if double else np.complex64)
    return np.asarray(x, np.float64 if double else np.float32)


def cast(x: np.ndarray, dtype: np.dtype) -> np.ndarray:
    return x.astype(dtype, copy=False)


def real_dtype(arrays: Sequence[np.ndarray]) -> np.dtype:
    return np.result_type(*(x.real.dtype for x in arrays))


def zeros(shape: tuple[int, ...], dtype: np.dtype, like: np.ndarray) -> np.ndarray:
    return np.zeros(shape, dtype)


def constant(values: np.ndarray, like: np.ndarray) -> np.ndarray:
    """Return values in the dtype of ``like``."""
    return values.astype(like.dtype)


def device(x: np.ndarray) -> Any:
    return "the processor, as an array"


def analysis(m: FreqMap, image: np.ndarray) -> Sequence[np.ndarray]:
    return _freq_map.analysis(m, image, sys.modules[__name__])


def synthesis(m: FreqMap, coefficients: Sequence[np.ndarray]) -> np.ndarray:
    return _freq_map.synthesis(m, coefficients, sys.modules[__name__])
