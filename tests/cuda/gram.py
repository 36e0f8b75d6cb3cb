"""The launchers of csrc/gram/cuda.h, called without torch."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Any

import numpy as np
from kernel_library import KernelLibrary

NAME = "gram"
SOURCES = ("gram/cuda.cu",)

BFLOAT16 = "bf16"  # NumPy has no such dtype: arrays of it are uint16
SUFFIXES = {np.dtype(np.float32): "f32", np.dtype(np.float64): "f64", np.dtype(np.float16): "f16"}


class CFeatures(ctypes.Structure):
    """genimg::gram::Features."""

    _fields_ = (
        ("data", ctypes.c_void_p),
        ("shape", ctypes.c_int64 * 4),
        ("strides", ctypes.c_int64 * 4),
    )

    @classmethod
    def of(cls, x: np.ndarray) -> CFeatures:
        strides = [stride // x.itemsize for stride in x.strides]
        return cls(x.ctypes.data, (ctypes.c_int64 * 4)(*x.shape), (ctypes.c_int64 * 4)(*strides))


class CFactors(ctypes.Structure):
    """genimg::gram::PixelFactors."""

    _fields_ = (("data", ctypes.c_void_p), ("batched", ctypes.c_bool))


class COptions(ctypes.Structure):
    """genimg::gram::cuda::Options."""

    _fields_ = (("center", ctypes.c_bool), ("scale", ctypes.c_double), ("tf32", ctypes.c_bool))


class COutput(ctypes.Structure):
    """genimg::gram::Output."""

    _fields_ = (
        ("gram", ctypes.c_void_p),
        ("means", ctypes.c_void_p),
        ("target", ctypes.c_void_p),
        ("is_target_batched", ctypes.c_bool),
        ("sums", ctypes.c_void_p),
    )


@dataclass(frozen=True)
class Call:
    """What a product or an application is asked for; factors (batch or 1, H, W)."""

    factors: np.ndarray | None = None
    center: bool = False
    scale: float = 1.0
    tf32: bool = False

    def c_factors(self) -> Any:
        if self.factors is None:
            return ctypes.byref(CFactors(None, False))
        return ctypes.byref(CFactors(self.factors.ctypes.data, len(self.factors) > 1))

    def c_options(self) -> Any:
        return ctypes.byref(COptions(self.center, self.scale, self.tf32))


def suffix_of(x: np.ndarray) -> str:
    return BFLOAT16 if x.dtype == np.uint16 else SUFFIXES[x.dtype]


def result_dtype(x: np.ndarray) -> type:
    return np.float64 if x.dtype == np.float64 else np.float32


@dataclass(frozen=True)
class Product:
    """What a product wrote."""

    gram: np.ndarray
    means: np.ndarray | None = None
    sums: np.ndarray | None = None


def product(
    library: KernelLibrary,
    x: np.ndarray,
    y: np.ndarray | None = None,
    call: Call = Call(),
    target: np.ndarray | None = None,
) -> Product:
    """Multiply features (B, C, H, W) in device memory; with a target, give the difference and its sums."""
    dtype, suffix = result_dtype(x), suffix_of(x)
    features = ctypes.byref(CFeatures.of(x))
    other = None if y is None else ctypes.byref(CFeatures.of(y))
    result = Product(
        library.empty((len(x), x.shape[1], (x if y is None else y).shape[1]), dtype),
        library.empty(x.shape[:2], dtype) if call.center else None,
        None if target is None else library.empty((len(x), 2), dtype),
    )
    pointers = [None if z is None else z.ctypes.data for z in (result.gram, result.means, target, result.sums)]
    is_batched = target is not None and len(target) > 1
    out = ctypes.byref(COutput(*pointers[:3], is_batched, pointers[3]))
    workspace = library.empty(library.size(f"product_workspace_{suffix}", features, other), np.uint8)
    arguments = (features, other, call.c_factors(), call.c_options(), out, workspace, None)
    library.check(f"launch_product_{suffix}", *arguments)
    return result


def apply(
    library: KernelLibrary,
    matrix: np.ndarray,
    x: np.ndarray,
    call: Call = Call(),
    rectified: bool = False,
) -> np.ndarray:
    """Apply matrices (B, rows, C) to features (B, C, H, W) in device memory."""
    features, suffix = ctypes.byref(CFeatures.of(x)), suffix_of(x)
    out = library.empty((len(x), matrix.shape[1], *x.shape[2:]), x.dtype)
    workspace = library.empty(library.size(f"apply_workspace_{suffix}", features, call.center), np.uint8)
    arguments = (features, call.c_factors(), rectified, call.c_options(), out, workspace, None)
    library.check(f"launch_apply_{suffix}", matrix, matrix.shape[1], *arguments)
    return out


# ---- what they must give, in float64


def as_float64(x: np.ndarray) -> np.ndarray:
    return (x.astype(np.uint32) << 16).view(np.float32).astype(np.float64) if x.dtype == np.uint16 else x.astype(float)


def squares_of(x: np.ndarray, call: Call) -> np.ndarray:
    """Return the squares of the factors, (B or 1, 1, P)."""
    shape = (1, 1, x.shape[2] * x.shape[3])
    return np.ones(shape) if call.factors is None else call.factors.reshape(-1, *shape[1:]).astype(float) ** 2


def centered(x: np.ndarray, call: Call) -> tuple[np.ndarray, np.ndarray]:
    """Return x less its means where the call says so, (B, C, P), and the means, (B, C, 1)."""
    flat, squares = as_float64(x).reshape(*x.shape[:2], -1), squares_of(x, call)
    means = (squares * flat).sum(-1, keepdims=True) / squares.sum(-1, keepdims=True)
    return (flat - means if call.center else flat), means


def expected_product(x: np.ndarray, y: np.ndarray | None, call: Call) -> tuple[np.ndarray, np.ndarray]:
    first, means = centered(x, call)
    second = first if y is None else centered(y, call)[0]
    return call.scale * (squares_of(x, call) * first) @ second.transpose(0, 2, 1), means[..., 0]


def expected_application(matrix: np.ndarray, x: np.ndarray, call: Call, rectified: bool) -> np.ndarray:
    out = call.scale * matrix.astype(float) @ (squares_of(x, call) * centered(x, call)[0])
    out = out.reshape(*out.shape[:2], *x.shape[2:])
    return np.where(as_float64(x) > 0, out, 0) if rectified else out


TOLERANCES = {"f32": 5e-6, "f64": 1e-14, "f16": 5e-6, "bf16": 5e-6}  # of the largest
TF32_TOLERANCE = 1e-3  # 2^-11 of each factor


def check_near(got: np.ndarray, want: np.ndarray, tolerance: float) -> None:
    np.testing.assert_allclose(got, want, rtol=0, atol=tolerance * max(float(np.abs(want).max(initial=0)), 1e-30))
    assert got.dtype in (np.float32, np.float64)


def tolerance_of(x: np.ndarray, call: Call) -> float:
    return TF32_TOLERANCE if call.tf32 and x.dtype == np.float32 else TOLERANCES[suffix_of(x)]


def check_product(library: KernelLibrary, x: np.ndarray, y: np.ndarray | None, call: Call) -> np.ndarray:
    """Compare a product with NumPy's."""
    got = product(library, x, y, call)
    want, means = expected_product(x, y, call)
    check_near(got.gram, want, tolerance_of(x, call))
    if y is None:
        np.testing.assert_array_equal(got.gram, got.gram.transpose(0, 2, 1))
    if got.means is not None:
        check_near(got.means, means, TOLERANCES[suffix_of(x)])
    return got.gram


def check_difference(library: KernelLibrary, x: np.ndarray, target: np.ndarray, call: Call) -> None:
    """Compare a difference and its sums with NumPy's."""
    got = product(library, x, None, call, target)
    want = expected_product(x, None, call)[0] - target
    tolerance = tolerance_of(x, call)
    check_near(got.gram, want, tolerance)
    assert got.sums is not None
    for sum_, values in zip(got.sums.T, (got.gram.astype(float) ** 2, np.abs(got.gram.astype(float))), strict=True):
        np.testing.assert_allclose(sum_, values.sum((1, 2)), rtol=1e-6 if got.sums.dtype == np.float32 else 1e-14)


def check_application(
    library: KernelLibrary, matrix: np.ndarray, x: np.ndarray, call: Call, rectified: bool = False
) -> np.ndarray:
    """Compare an application with NumPy's."""
    got = apply(library, matrix, x, call, rectified)
    check_near(got, expected_application(matrix, x, call, rectified), tolerance_of(x, call))
    return got


# ---- inputs


def random_array(library: KernelLibrary, shape: tuple[int, ...], dtype: Any = np.float32, seed: int = 0) -> np.ndarray:
    """Return normal numbers in device memory; uint16 stands for bfloat16."""
    values = np.random.default_rng(seed).standard_normal(shape)
    if dtype == np.uint16:
        return library.array(values.astype(np.float32).view(np.uint32) >> 16, np.uint16)
    return library.array(values, dtype)


def channels_last(library: KernelLibrary, x: np.ndarray) -> np.ndarray:
    """Return the same features with the channels next to each other."""
    return library.array(x.transpose(0, 2, 3, 1), x.dtype).transpose(0, 3, 1, 2)


def part_of_larger(library: KernelLibrary, x: np.ndarray) -> np.ndarray:
    """Return the same features as a part of a larger map, whose rows do not follow each other."""
    larger = library.empty((*x.shape[:2], x.shape[2] + 3, x.shape[3] + 2), x.dtype)
    part = larger[:, :, 2:-1, 1:-1]
    part[...] = x
    return part


def random_call(library: KernelLibrary, x: np.ndarray, batch: int = 1, **options: Any) -> Call:
    factors = np.random.default_rng(7).random((batch, *x.shape[2:]))
    return Call(library.array(factors, result_dtype(x)), scale=0.25, **options)


def exercise(library: KernelLibrary) -> None:
    """Run every launcher and every kernel on small features and check what they give."""
    for dtype in (np.float32, np.float64, np.float16, np.uint16):
        x, y = (random_array(library, (1, c, 10, 20), dtype, c) for c in (70, 9))
        check_product(library, x, None, Call())
        check_product(library, x, y, random_call(library, x, center=True))
        both = random_array(library, (2, 9, 5, 7), dtype)
        check_product(library, both, None, random_call(library, both, center=True))
        check_difference(library, both, random_array(library, (1, 9, 9), result_dtype(x), 3), Call())
    for dtype in (np.float32, np.float64):
        x, matrix = random_array(library, (1, 70, 5, 13), dtype), random_array(library, (1, 66, 70), dtype, 1)
        for features in (x, channels_last(library, x)):
            check_application(library, matrix, features, random_call(library, x, center=True))
        check_application(library, random_array(library, (1, 70, 70), dtype, 2), x, Call(), rectified=True)
    x = random_array(library, (1, 70, 5, 8))
    call = random_call(library, x, center=True, tf32=True)
    check_product(library, x, None, call)
    check_application(library, random_array(library, (1, 9, 70), seed=2), x, call)
