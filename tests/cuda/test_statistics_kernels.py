"""The statistics on CUDA, without torch: values, launches, any alignment and order of blocks, what is refused."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from kernel_library import KernelLibrary, built_folder
from texture_statistics import (
    DTYPES,
    CPlanes,
    CSubbands,
    Launcher,
    check_convolution,
    check_correlation,
    check_gradient,
    check_phases,
    check_polynomial,
    check_power_sums,
    complex_of,
    exercise,
    planes_of,
    shapes_of,
    taps_of,
)

INVALID_VALUE = 1
SHAPES = [(3, 1, 1), (2, 1, 7), (1, 9, 1), (1, 32, 32), (2, 33, 31), (1, 3, 68), (1, 34, 64)]
RADII = [0, 1, 3, 6, 7, 8, 16]


@pytest.fixture
def kernels() -> Iterator[KernelLibrary]:
    library = KernelLibrary(built_folder() / "libcuda_on_cpu_launchers.so")
    yield library
    library.reverse_order(False)
    library.free()


def results_of(run: Launcher, shape: tuple[int, ...], dtype: Any) -> list[np.ndarray]:
    """Return what every launcher gives for planes of a shape."""
    x, y = planes_of(shape, dtype), planes_of(shape, dtype, 1)
    bands, parents = (complex_of((len(x), 2, *shape[1:]), dtype, seed) for seed in (0, 1))
    gradients = [planes_of(z, dtype, 2) for z in shapes_of(bands, parents)]
    results: list[np.ndarray | None] = [
        *(run.correlation(x, None, radius) for radius in (3, 9)),
        run.correlation(x, y, 2),
        *(run.convolution(x, taps_of(len(x), radius)) for radius in (3, 9)),
        run.power_sums(x, y, 5),
        run.polynomial(x, y, planes_of((len(x), 4), np.float64, 2)),
        *run.phases(bands, parents),
        *run.phases_gradient(bands, parents, *gradients),
    ]
    return [result for result in results if result is not None]


def assert_same_bits(results: list[np.ndarray], others: list[np.ndarray]) -> None:
    for one, other in zip(results, others, strict=True):
        np.testing.assert_array_equal(one, other)


def test_values(kernels: KernelLibrary) -> None:
    exercise(kernels)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("radius", RADII)
@pytest.mark.parametrize("shape", SHAPES)
def test_lags(kernels: KernelLibrary, shape: tuple[int, ...], radius: int, dtype: Any) -> None:
    run, x = Launcher(kernels), planes_of(shape, dtype)
    same = check_correlation(run, x, None, radius)
    two = check_correlation(run, x, x.copy(), radius)
    np.testing.assert_allclose(same, two, rtol=0, atol=1e-5 * np.abs(two).max())
    check_convolution(run, x, taps_of(len(x), radius))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(3, 1, 1), (2, 1, 257), (1, 64, 32), (2, 45, 46), (1, 65, 64)])
def test_powers(kernels: KernelLibrary, shape: tuple[int, ...], dtype: Any) -> None:
    run, x, weight = Launcher(kernels), planes_of(shape, dtype), planes_of(shape, dtype, 1)
    for count in (1, 4, 7, 16):
        coefficients = planes_of((len(x), count), np.float64, 2)
        for w in (None, weight):
            check_power_sums(run, x, w, count)
            outside = check_polynomial(run, x, w, coefficients)
            np.testing.assert_array_equal(check_polynomial(run, x, w, coefficients, in_place=True), outside)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(2, 1, 1, 1), (1, 3, 1, 257), (2, 2, 32, 70), (1, 1, 63, 65)])
def test_phases(kernels: KernelLibrary, shape: tuple[int, ...], dtype: Any) -> None:
    run, bands, parents = Launcher(kernels), complex_of(shape, dtype), complex_of(shape, dtype, 1)
    for coarse in (None, parents):
        check_phases(run, bands, coarse)
        check_gradient(run, bands, coarse)


@pytest.mark.parametrize("dtype", DTYPES)
def test_phases_of_zeros(kernels: KernelLibrary, dtype: Any) -> None:
    """Zeros, and squares that are no normal numbers, give zeros; gradients there are those of the real parts."""
    run, tiny = Launcher(kernels), np.sqrt(np.finfo(dtype).tiny) / 2
    bands = complex_of((1, 1, 1, 6), dtype)
    bands[..., ::2] = [[0, tiny, tiny * 1j]]
    magnitudes, reals = run.phases(bands, bands)
    assert np.all(magnitudes[..., ::2] == 0)
    assert np.all(reals[:, 1:, ..., ::2] == 0)
    np.testing.assert_array_equal(reals[:, :1], bands.real)
    weights = [np.ones(shape, dtype) for shape in shapes_of(bands, bands)]
    of_bands, of_parents = run.phases_gradient(bands, bands, *weights)
    assert of_parents is not None
    assert np.all(of_bands[..., ::2] == 1)
    assert np.all(of_parents[..., ::2] == 0)
    assert np.all(of_parents[..., 1::2] != 0)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(2, 40, 36), (2, 7, 35)])
def test_any_alignment_gives_the_same_bits(kernels: KernelLibrary, shape: tuple[int, ...], dtype: Any) -> None:
    assert_same_bits(results_of(Launcher(kernels), shape, dtype), results_of(Launcher(kernels, 1), shape, dtype))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(2, 40, 36), (2, 7, 35)])
def test_any_order_of_blocks_and_lanes_gives_the_same_bits(
    kernels: KernelLibrary, shape: tuple[int, ...], dtype: Any
) -> None:
    first = results_of(Launcher(kernels), shape, dtype)
    kernels.reverse_order(True)
    assert_same_bits(first, results_of(Launcher(kernels), shape, dtype))


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_plane_alone_is_what_it_is_among_others(kernels: KernelLibrary, dtype: Any) -> None:
    run = Launcher(kernels)
    for shape in ((3, 33, 36), (3, 5, 7)):
        x, taps, coefficients = planes_of(shape, dtype), taps_of(3, 2), planes_of((3, 4), np.float64)
        functions: list[Callable[[slice], np.ndarray]] = [
            lambda part, x=x: run.correlation(x[part], None, 3),
            lambda part, x=x: run.power_sums(x[part], None, 4),
            lambda part, x=x, t=taps: run.convolution(x[part], t[part]),
            lambda part, x=x, c=coefficients: run.polynomial(x[part], None, c[part]),
        ]
        for function in functions:
            alone = [function(slice(i, i + 1)) for i in range(3)]
            np.testing.assert_array_equal(np.concatenate(alone), function(slice(None)))


@pytest.mark.parametrize("radius", [2, 9])
@pytest.mark.parametrize("shape", [(1, 40, 40), (1, 37, 39)])
def test_what_is_not_finite_stays_within_the_radius(
    kernels: KernelLibrary, shape: tuple[int, ...], radius: int
) -> None:
    x = planes_of(shape, np.float32)
    x[0, 20, 20] = np.inf
    out = Launcher(kernels).convolution(x, taps_of(1, radius))
    y, x = np.nonzero(~np.isfinite(out[0]))
    assert len(y) == (2 * radius + 1) ** 2
    assert max(abs(y - 20).max(), abs(x - 20).max()) == radius


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 70, 65)])
def test_launches_do_not_depend_on_the_shape(kernels: KernelLibrary, shape: tuple[int, ...]) -> None:
    run, x = Launcher(kernels), planes_of(shape, np.float32)
    bands = complex_of((len(x), 2, *shape[1:]), np.float32)

    def launches(function: Callable[..., object], *arguments: Any) -> int:
        before = kernels.launch_count()
        function(*arguments)
        return kernels.launch_count() - before

    for radius in (3, 9):
        assert launches(run.correlation, x, None, radius) == 2
        assert launches(run.correlation, x, x, radius) == 2
        assert launches(run.convolution, x, taps_of(len(x), radius)) == 1
    assert launches(run.power_sums, x, x, 5) == 2
    assert launches(run.polynomial, x, x, planes_of((len(x), 3), np.float64)) == 1
    assert launches(run.phases, bands, bands) == 1
    weights = [planes_of(z, np.float32) for z in shapes_of(bands, bands)]
    assert launches(run.phases_gradient, bands, bands, *weights) == 1


def test_an_empty_batch_is_no_launch(kernels: KernelLibrary) -> None:
    before = kernels.launch_count()
    shapes = [result.shape for result in results_of(Launcher(kernels), (0, 5, 7), np.float32)]
    assert shapes[:5] == [(0, 7, 7), (0, 19, 19), (0, 5, 5), (0, 5, 7), (0, 5, 7)]
    assert kernels.launch_count() == before


def test_sums_over_no_pixels_are_zero(kernels: KernelLibrary) -> None:
    run, x = Launcher(kernels), planes_of((2, 0, 3), np.float32)
    assert np.all(run.correlation(x, None, 1) == np.zeros((2, 3, 3)))
    assert np.all(run.power_sums(x, None, 3) == np.zeros((2, 3)))


@pytest.mark.parametrize("radius", [-1, 17])
def test_other_radii_are_refused(kernels: KernelLibrary, radius: int) -> None:
    planes, before = ctypes.byref(CPlanes(1, 1, 1)), kernels.launch_count()
    assert kernels.call("launch_correlation_f32", None, None, planes, radius, None, None, None) == INVALID_VALUE
    assert kernels.call("launch_convolution_f64", None, None, planes, radius, None, None) == INVALID_VALUE
    assert kernels.launch_count() == before


@pytest.mark.parametrize("count", [0, 17])
def test_other_counts_are_refused(kernels: KernelLibrary, count: int) -> None:
    planes, before = ctypes.byref(CPlanes(1, 1, 1)), kernels.launch_count()
    assert kernels.call("launch_power_sums_f32", None, None, planes, count, None, None, None) == INVALID_VALUE
    assert kernels.call("launch_polynomial_f64", None, None, None, planes, count, None, None) == INVALID_VALUE
    assert kernels.launch_count() == before


def test_what_does_not_fit_is_refused(kernels: KernelLibrary) -> None:
    """More blocks than a grid has, of planes and of pixels in one plane, whose number is one of 64 bits."""
    before = kernels.launch_count()
    for shape in ((1 << 31, 1, 1), (1, 1 << 26, 1 << 26)):
        planes = ctypes.byref(CPlanes(*shape))
        assert kernels.call("launch_correlation_f32", None, None, planes, 3, None, None, None) == INVALID_VALUE
        assert kernels.call("launch_convolution_f32", None, None, planes, 3, None, None) == INVALID_VALUE
        assert kernels.call("launch_power_sums_f32", None, None, planes, 3, None, None, None) == INVALID_VALUE
        assert kernels.call("launch_polynomial_f32", None, None, None, planes, 3, None, None) == INVALID_VALUE
    subbands = ctypes.byref(CSubbands(None, None, 1 << 31, 2, 1))
    assert kernels.call("launch_phases_f32", subbands, None, None, None) == INVALID_VALUE
    assert kernels.call("launch_phases_gradient_f32", subbands, None, None, None, None, None) == INVALID_VALUE
    assert kernels.launch_count() == before


def test_workspace(kernels: KernelLibrary) -> None:
    """A double for each tile and lag, of half the rows of lags where b is a; for each run of 2048 pixels and power."""
    planes = ctypes.byref(CPlanes(2, 65, 64))
    one, other = np.empty(1, np.float32), np.empty(1, np.float32)
    assert kernels.size("correlation_workspace_f32", one, one, planes, 3) == 2 * 6 * 28 * 8 + 128
    assert kernels.size("correlation_workspace_f32", one, other, planes, 3) == -(-2 * 6 * 52 * 8 // 256) * 256
    assert kernels.size("power_sums_workspace", planes, 5) == -(-2 * 3 * 8 * 8 // 256) * 256
