"""The launchers of csrc/statistics/cuda.h, called without torch, and what they must give, in float64.

Not named after its family: Python's own statistics module would be hidden.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Any

import numpy as np
from kernel_library import KernelLibrary

NAME = "statistics"
SOURCES = ("statistics/cuda.cu",)

DTYPES = (np.float32, np.float64)
SUFFIXES = {np.dtype(np.float32): "f32", np.dtype(np.float64): "f64"}
TOLERANCES = {"f32": 2e-6, "f64": 1e-14}  # of the sum of the terms' sizes


class CPlanes(ctypes.Structure):
    """genimg::statistics::Planes."""

    _fields_ = (("count", ctypes.c_int64), ("height", ctypes.c_int64), ("width", ctypes.c_int64))


class CSubbands(ctypes.Structure):
    """genimg::statistics::Subbands."""

    _fields_ = (
        ("bands", ctypes.c_void_p),
        ("parents", ctypes.c_void_p),
        ("groups", ctypes.c_int64),
        ("orientations", ctypes.c_int),
        ("pixels", ctypes.c_int64),
    )


@dataclass(frozen=True)
class Launcher:
    """Calls a library's launchers on arrays that lie `shift` numbers off the alignment of memory."""

    library: KernelLibrary
    shift: int = 0

    def array(self, values: np.ndarray) -> np.ndarray:
        """Return a copy of values in device memory."""
        copy = self.empty(values.shape, values.dtype)
        copy[...] = values
        return copy

    def empty(self, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        count = int(np.prod(shape))
        return self.library.empty((count + self.shift,), dtype)[self.shift :].reshape(shape)

    def correlation(self, a: np.ndarray, b: np.ndarray | None, radius: int) -> np.ndarray:
        """Correlate planes (n, H, W), a with itself where b is None."""
        first = self.array(a)
        second = first if b is None else self.array(b)
        planes, suffix = ctypes.byref(CPlanes(*a.shape)), SUFFIXES[a.dtype]
        arguments = (first, second, planes, radius)
        workspace = self.library.empty(self.library.size(f"correlation_workspace_{suffix}", *arguments), np.uint8)
        out = self.library.empty((len(a), 2 * radius + 1, 2 * radius + 1), np.float64)
        self.library.check(f"launch_correlation_{suffix}", *arguments, out, workspace, None)
        return out

    def convolution(self, x: np.ndarray, taps: np.ndarray) -> np.ndarray:
        planes, out = ctypes.byref(CPlanes(*x.shape)), self.empty(x.shape, x.dtype)
        arguments = (self.array(x), self.library.array(taps), planes, taps.shape[-1] // 2, out, None)
        self.library.check(f"launch_convolution_{SUFFIXES[x.dtype]}", *arguments)
        return out

    def power_sums(self, x: np.ndarray, weight: np.ndarray | None, count: int) -> np.ndarray:
        planes = ctypes.byref(CPlanes(*x.shape))
        workspace = self.library.empty(self.library.size("power_sums_workspace", planes, count), np.uint8)
        out = self.library.empty((len(x), count), np.float64)
        w = None if weight is None else self.array(weight)
        arguments = (self.array(x), w, planes, count, out, workspace, None)
        self.library.check(f"launch_power_sums_{SUFFIXES[x.dtype]}", *arguments)
        return out

    def polynomial(
        self, x: np.ndarray, weight: np.ndarray | None, coefficients: np.ndarray, in_place: bool = False
    ) -> np.ndarray:
        planes, given = ctypes.byref(CPlanes(*x.shape)), self.array(x)
        w = None if weight is None else self.array(weight)
        out = given if in_place else self.empty(x.shape, x.dtype)
        arguments = (given, w, self.library.array(coefficients), planes, coefficients.shape[-1], out, None)
        self.library.check(f"launch_polynomial_{SUFFIXES[x.dtype]}", *arguments)
        return out

    def subbands(self, bands: np.ndarray, parents: np.ndarray | None) -> Any:
        pointers = [None if z is None else z.ctypes.data for z in (bands, parents)]
        return ctypes.byref(CSubbands(*pointers, *bands.shape[:2], int(np.prod(bands.shape[2:]))))

    def phases(self, bands: np.ndarray, parents: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        """Return magnitudes and reals of subbands (groups, K, H, W), complex."""
        z, coarse = self.array(bands), None if parents is None else self.array(parents)
        shapes = shapes_of(bands, parents)
        magnitudes, reals = (self.empty(shape, bands.real.dtype) for shape in shapes)
        self.library.check(f"launch_phases_{SUFFIXES[reals.dtype]}", self.subbands(z, coarse), magnitudes, reals, None)
        return magnitudes, reals

    def phases_gradient(
        self, bands: np.ndarray, parents: np.ndarray | None, magnitudes: np.ndarray, reals: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray | None]:
        z, coarse = self.array(bands), None if parents is None else self.array(parents)
        out = self.empty(bands.shape, bands.dtype)
        coarse_out = None if parents is None else self.empty(bands.shape, bands.dtype)
        self.library.check(
            f"launch_phases_gradient_{SUFFIXES[reals.dtype]}",
            self.subbands(z, coarse),
            self.array(magnitudes),
            self.array(reals),
            out,
            coarse_out,
            None,
        )
        return out, coarse_out


def shapes_of(bands: np.ndarray, parents: np.ndarray | None) -> list[tuple[int, ...]]:
    """Return the shapes of the magnitudes and of the reals."""
    groups, k = bands.shape[:2]
    return [(groups, k * times, *bands.shape[2:]) for times in ((1, 1) if parents is None else (2, 3))]


# ---- what they must give


def lags_of(radius: int) -> list[tuple[int, int]]:
    return [(dy, dx) for dy in range(-radius, radius + 1) for dx in range(-radius, radius + 1)]


def shifted(x: np.ndarray, lag: tuple[int, int]) -> np.ndarray:
    """Return x[p + lag]."""
    return np.roll(x, (-lag[0], -lag[1]), (-2, -1))


def expected_correlation(a: np.ndarray, b: np.ndarray, radius: int) -> np.ndarray:
    sums = [(a * shifted(b, lag)).sum((-2, -1)) for lag in lags_of(radius)]
    return np.stack(sums, -1).reshape(len(a), 2 * radius + 1, 2 * radius + 1)


def expected_convolution(x: np.ndarray, taps: np.ndarray) -> np.ndarray:
    flat = taps.reshape(len(x), -1)
    out = np.zeros(x.shape)
    for tap, lag in zip(flat.T, lags_of(taps.shape[-1] // 2), strict=True):
        out += tap[:, None, None] * shifted(x, lag)
    return out


def expected_phases(bands: np.ndarray, parents: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    if parents is None:
        return np.abs(bands), bands.real
    doubled = np.abs(parents) * np.exp(2j * np.angle(parents))
    return np.concatenate([np.abs(bands), np.abs(parents)], 1), np.concatenate(
        [bands.real, doubled.real, doubled.imag], 1
    )


def check_near(got: np.ndarray, want: np.ndarray, dtype: Any, sizes: np.ndarray | float = 1.0) -> None:
    """Compare within what rounding does to terms of these sizes."""
    tolerance = TOLERANCES[SUFFIXES[np.dtype(dtype)]]
    np.testing.assert_allclose((got - want) / sizes, np.zeros(want.shape), rtol=0, atol=tolerance)


def check_correlation(run: Launcher, a: np.ndarray, b: np.ndarray | None, radius: int) -> np.ndarray:
    got = run.correlation(a, b, radius)
    x, y = a.astype(float), (a if b is None else b).astype(float)
    sizes = expected_correlation(np.abs(x), np.abs(y), radius)
    check_near(got, expected_correlation(x, y, radius), a.dtype, sizes)
    if b is None:
        np.testing.assert_array_equal(got, got[:, ::-1, ::-1])
    return got


def check_convolution(run: Launcher, x: np.ndarray, taps: np.ndarray) -> np.ndarray:
    got = run.convolution(x, taps)
    sizes = expected_convolution(np.abs(x.astype(float)), np.abs(taps))
    check_near(got, expected_convolution(x.astype(float), taps), x.dtype, sizes)
    return got


def check_power_sums(run: Launcher, x: np.ndarray, weight: np.ndarray | None, count: int) -> np.ndarray:
    got = run.power_sums(x, weight, count)
    powers = x.astype(float)[..., None] ** np.arange(count) * (1.0 if weight is None else weight[..., None])
    check_near(got, powers.sum((1, 2)), x.dtype, np.abs(powers).sum((1, 2)))
    return got


def check_polynomial(
    run: Launcher, x: np.ndarray, weight: np.ndarray | None, coefficients: np.ndarray, in_place: bool = False
) -> np.ndarray:
    got = run.polynomial(x, weight, coefficients, in_place)
    powers = x.astype(float)[..., None] ** np.arange(coefficients.shape[-1])
    terms = powers * coefficients[:, None, None] * (1.0 if weight is None else weight[..., None])
    check_near(got, terms.sum(-1), x.dtype, np.abs(terms).sum(-1))
    return got


def check_phases(run: Launcher, bands: np.ndarray, parents: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    got = run.phases(bands, parents)
    wide = [None if z is None else z.astype(complex) for z in (bands, parents)]
    assert wide[0] is not None
    for result, want in zip(got, expected_phases(wide[0], wide[1]), strict=True):
        check_near(result, want, result.dtype, np.maximum(np.abs(want), 1))
    return got


def check_gradient(run: Launcher, bands: np.ndarray, parents: np.ndarray | None) -> None:
    """Compare the gradient with differences of what it is the gradient of."""
    random = np.random.default_rng(5)
    weights = [random.standard_normal(shape).astype(bands.real.dtype) for shape in shapes_of(bands, parents)]
    got = run.phases_gradient(bands, parents, *weights)
    wide = [None if z is None else z.astype(complex) for z in (bands, parents)]

    def loss(i: int, step: complex) -> np.ndarray:
        moved = [z if z is None or j != i else z + step for j, z in enumerate(wide)]
        assert moved[0] is not None
        terms = [w * y for w, y in zip(weights, expected_phases(moved[0], moved[1]), strict=True)]
        k = bands.shape[1]
        return sum(term[:, from_ : from_ + k] for term in terms for from_ in range(0, term.shape[1], k))

    for i, gradient in enumerate(got):
        if gradient is None:
            continue
        h = 1e-6
        slopes = [(loss(i, h * unit) - loss(i, -h * unit)) / (2 * h) for unit in (1, 1j)]
        tolerance = 1e-5 if bands.real.dtype == np.float32 else 2e-8
        np.testing.assert_allclose(gradient.real, slopes[0], rtol=0, atol=tolerance)
        np.testing.assert_allclose(gradient.imag, slopes[1], rtol=0, atol=tolerance)


# ---- inputs


def planes_of(shape: tuple[int, ...], dtype: Any, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def taps_of(count: int, radius: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, 2 * radius + 1, 2 * radius + 1))


def complex_of(shape: tuple[int, ...], dtype: Any, seed: int = 0) -> np.ndarray:
    """Return numbers whose magnitudes are at least 1/2."""
    random = np.random.default_rng(seed)
    polar = (0.5 + random.random(shape)) * np.exp(2j * np.pi * random.random(shape))
    return polar.astype(np.complex64 if dtype == np.float32 else np.complex128)


def exercise(library: KernelLibrary) -> None:
    """Run every launcher and every kernel on small planes and check what they give."""
    run = Launcher(library)
    for dtype in DTYPES:
        tall, odd = planes_of((2, 40, 36), dtype), planes_of((1, 5, 35), dtype)
        for radius in range(1, 8):
            x = tall if radius == 3 else odd
            check_correlation(run, x, None, radius)
            check_convolution(run, x, taps_of(len(x), radius))
        for x, radius in ((odd, 9), (tall[:1, :4], 0), (tall[:1, :34], 8)):
            check_convolution(run, x, taps_of(1, radius))
            check_correlation(run, x, None, radius)
        check_correlation(run, tall, planes_of(tall.shape, dtype, 1), 3)
        check_correlation(run, odd, planes_of(odd.shape, dtype, 1), 9)
        for x in (planes_of((2, 33, 66), dtype), odd):
            weight = planes_of(x.shape, dtype, 2)
            for count in (3, 5, 16):
                check_power_sums(run, x, weight, count)
                check_polynomial(run, x, weight, planes_of((len(x), count), np.float64, 3))
        for shape in ((2, 3, 5, 222), (1, 2, 7, 9)):
            bands, parents = complex_of(shape, dtype), complex_of(shape, dtype, 1)
            check_phases(run, bands, parents)
            check_phases(run, bands, None)
            check_gradient(run, bands, parents)
            check_gradient(run, bands, None)
