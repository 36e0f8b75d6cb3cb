"""Gram matrices' CUDA launchers, without torch: values, a fixed number of launches, any layout, any order of blocks."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from gram import (
    Call,
    CFactors,
    CFeatures,
    COptions,
    COutput,
    apply,
    channels_last,
    check_application,
    check_difference,
    check_near,
    check_product,
    exercise,
    expected_product,
    part_of_larger,
    product,
    random_array,
    random_call,
)
from kernel_library import KernelLibrary, built_folder

DTYPES = [np.float32, np.float64, np.float16, np.uint16]  # the last stands for bfloat16
INVALID_VALUE = 1


@pytest.fixture
def kernels() -> Iterator[KernelLibrary]:
    library = KernelLibrary(built_folder() / "libcuda_on_cpu_launchers.so")
    yield library
    library.reverse_order(False)
    library.set_compute_capability(9)
    library.free()


def test_values(kernels: KernelLibrary) -> None:
    exercise(kernels)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (3, 2, 1, 3), (1, 64, 4, 32), (2, 65, 7, 19), (1, 5, 1, 700)])
@pytest.mark.parametrize("center", [False, True])
def test_shapes(kernels: KernelLibrary, shape: tuple[int, ...], dtype: Any, center: bool) -> None:
    x = random_array(kernels, shape, dtype)
    check_product(kernels, x, None, Call(scale=3.0, center=center))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("batch", [1, 2])
def test_factors(kernels: KernelLibrary, dtype: Any, batch: int) -> None:
    x, y = (random_array(kernels, (2, c, 9, 13), dtype, c) for c in (66, 3))
    for center in (False, True):
        call = random_call(kernels, x, batch, center=center)
        check_product(kernels, x, None, call)
        check_product(kernels, x, y, call)
        check_product(kernels, y, x, call)


@pytest.mark.parametrize(("dtype", "tf32"), [*((dtype, False) for dtype in DTYPES), (np.float32, True)])
def test_layouts_give_the_same_bits(kernels: KernelLibrary, dtype: Any, tf32: bool) -> None:
    x = random_array(kernels, (1, 67, 6, 13), dtype)
    matrix = random_array(kernels, (1, 5, 67), dtype)
    for call in (Call(tf32=tf32), random_call(kernels, x, center=True, tf32=tf32)):
        layouts = [x, channels_last(kernels, x), part_of_larger(kernels, x)]
        first, *others = (product(kernels, layout, None, call).gram for layout in layouts)
        for other in others:
            np.testing.assert_array_equal(first, other)
        if dtype in (np.float32, np.float64):
            first, *others = (apply(kernels, matrix, layout, call) for layout in layouts)
            for other in others:
                np.testing.assert_array_equal(first, other)


def test_one_column_and_one_row_of_pixels(kernels: KernelLibrary) -> None:
    larger = random_array(kernels, (2, 4, 9, 8))
    for x in (larger[..., 2:3], larger[..., 3:4, :], larger[:, 1:2, :, 5:6]):
        check_product(kernels, x, None, Call(center=True))
        check_application(kernels, random_array(kernels, (2, 3, x.shape[1])), x, Call(center=True))


@pytest.mark.parametrize("dtype", DTYPES)
def test_large_means(kernels: KernelLibrary, dtype: Any) -> None:
    x = random_array(kernels, (1, 9, 20, 15), np.float32)
    if dtype == np.uint16:
        x[...] += 3
        x = kernels.array(x.view(np.uint32) >> 16, np.uint16)
    else:
        x = kernels.array(x + (100 if dtype == np.float16 else 1e4), dtype)
    check_product(kernels, x, None, Call(center=True))
    if dtype == np.float32:
        matrix = random_array(kernels, (1, 4, 9))
        got = apply(kernels, matrix, x, Call(center=True))
        flat = x.astype(float).reshape(1, 9, -1)
        want = matrix.astype(float) @ (flat - flat.mean(-1, keepdims=True))
        check_near(got, want.reshape(got.shape), 1e-3)  # the means are of float32


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("targets", [1, 2])
def test_differences(kernels: KernelLibrary, dtype: Any, targets: int) -> None:
    x = random_array(kernels, (2, 70, 5, 9), dtype)
    result = np.float64 if dtype == np.float64 else np.float32
    target = random_array(kernels, (targets, 70, 70), result, 1)  # not symmetric
    check_difference(kernels, x, target, random_call(kernels, x, center=True))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("rows", [1, 64, 65])
@pytest.mark.parametrize("channels", [1, 32, 67])
def test_applications(kernels: KernelLibrary, dtype: Any, rows: int, channels: int) -> None:
    x = random_array(kernels, (2, channels, 5, 17), dtype)
    matrix = random_array(kernels, (2, rows, channels), dtype, 1)
    check_application(kernels, matrix, x, Call(scale=2.0))
    check_application(kernels, matrix, x, random_call(kernels, x, 2))
    check_application(kernels, matrix, x, random_call(kernels, x, center=True))
    if rows == channels:
        check_application(kernels, matrix, x, Call(), rectified=True)


def test_rectified_where_features_are_not_positive(kernels: KernelLibrary) -> None:
    x = random_array(kernels, (1, 66, 3, 5))
    x[:, ::2] = 0
    x[:, 1, 0, 0] = np.nan
    out = apply(kernels, random_array(kernels, (1, 66, 66), seed=1), x, rectified=True)
    assert np.all(out[:, ::2] == 0)
    assert np.all(out[:, 1, 0, 0] == 0)


def test_tf32_rounds_to_nearest(kernels: KernelLibrary) -> None:
    """Not off, as truncated factors would be: products of equal signs are not smaller on average."""
    x = random_array(kernels, (1, 64, 20, 20))
    x[...] = np.abs(x)
    exact, rounded = (product(kernels, x, None, Call(tf32=tf32)).gram.astype(float) for tf32 in (False, True))
    assert 1e-6 < np.abs(rounded / exact - 1).max() < 3e-4
    assert abs((rounded / exact - 1).mean()) < 2e-5


def test_tf32_keeps_infinity_and_nan(kernels: KernelLibrary) -> None:
    x = random_array(kernels, (1, 3, 1, 4))
    x[0, 0, 0, 1] = np.inf
    x[0, 1].view(np.uint32)[0, 2] = 0x7FFFFFFF  # what CUDA computes as NaN
    gram = product(kernels, x, None, Call(tf32=True)).gram[0]
    assert gram[0, 0] == np.inf
    assert np.isnan(gram[1]).all()
    assert np.isfinite(gram[2, 2])


def test_devices_without_the_instructions(kernels: KernelLibrary) -> None:
    x, matrix = random_array(kernels, (1, 20, 9, 8)), random_array(kernels, (1, 3, 20))
    bfloat = random_array(kernels, (1, 20, 9, 8), np.uint16)
    plain = product(kernels, x).gram, apply(kernels, matrix, x)
    kernels.set_compute_capability(7)
    np.testing.assert_array_equal(product(kernels, x, call=Call(tf32=True)).gram, plain[0])
    np.testing.assert_array_equal(apply(kernels, matrix, x, Call(tf32=True)), plain[1])
    check_product(kernels, bfloat, None, Call())


@pytest.mark.parametrize("shape", [(1, 3, 4, 5), (2, 70, 6, 40)])
def test_launches_do_not_depend_on_the_shape(kernels: KernelLibrary, shape: tuple[int, ...]) -> None:
    x, target = random_array(kernels, shape), random_array(kernels, (1, shape[1], shape[1]))
    matrix = random_array(kernels, (shape[0], shape[1], shape[1]))

    def launches(function: Any, *arguments: Any) -> int:
        before = kernels.launch_count()
        function(kernels, *arguments)
        return kernels.launch_count() - before

    assert launches(product, x) == 2
    assert launches(product, x, x, Call(center=True)) == 2
    assert launches(product, x, None, Call(), target) == 3
    assert launches(apply, matrix, x) == 1
    assert launches(apply, matrix, x, Call(center=True)) == 3


def test_any_order_of_blocks_and_lanes_gives_the_same_bits(kernels: KernelLibrary) -> None:
    x, half = (random_array(kernels, (1, 70, 5, 30), dtype) for dtype in (np.float32, np.float16))
    matrix, target = random_array(kernels, (1, 70, 70)), random_array(kernels, (1, 70, 70))

    def results() -> list[np.ndarray]:
        call = random_call(kernels, x, center=True)
        difference = product(kernels, x, None, call, target)
        return [
            product(kernels, half).gram,
            product(kernels, x, None, Call(tf32=True)).gram,
            difference.gram,
            difference.sums,
            product(kernels, x, None, call).means,
            apply(kernels, matrix, x, call),
        ]

    first = results()
    kernels.reverse_order(True)
    for before, after in zip(first, results(), strict=True):
        np.testing.assert_array_equal(before, after)


def test_an_empty_batch_is_no_launch(kernels: KernelLibrary) -> None:
    before = kernels.launch_count()
    assert product(kernels, random_array(kernels, (0, 3, 4, 5))).gram.shape == (0, 3, 3)
    assert kernels.launch_count() == before


def _launch(kernels: KernelLibrary, shape: tuple[int, ...]) -> int:
    features = CFeatures(None, (ctypes.c_int64 * 4)(*shape), (ctypes.c_int64 * 4)())
    out, options = COutput(), COptions(False, 1.0, False)
    arguments = [ctypes.byref(z) for z in (features, CFactors(), options, out)]
    return kernels.call("launch_product_f32", arguments[0], None, *arguments[1:], None, None)


def test_what_does_not_fit_is_refused(kernels: KernelLibrary) -> None:
    before = kernels.launch_count()
    assert _launch(kernels, (1, 3, 0, 4)) == INVALID_VALUE
    assert _launch(kernels, (1 << 32, 1, 1, 1)) == INVALID_VALUE
    assert _launch(kernels, (1, 1 << 23, 1, 1)) == INVALID_VALUE
    assert kernels.launch_count() == before


def _workspace(kernels: KernelLibrary, *shape: int) -> int:
    features = CFeatures(None, (ctypes.c_int64 * 4)(*shape), (ctypes.c_int64 * 4)())
    return kernels.size("product_workspace_f32", ctypes.byref(features), None)


def test_workspace_is_bounded(kernels: KernelLibrary) -> None:
    """512 partial sums of the triangle at most, however many pixels; of what the matrix has, where it is small."""
    triangle = 4 * 64 * 36  # 8 x 8 patches, the diagonal's whole
    few, many = _workspace(kernels, 1, 64, 1 << 8, 1 << 16), _workspace(kernels, 1, 64, 1 << 17, 1 << 16)
    assert 512 * triangle < few == many < 600 * triangle
    assert _workspace(kernels, 1000, 1, 1, 1) < 1000 * 1024


def test_products_of_two_are_those_of_one(kernels: KernelLibrary) -> None:
    x = random_array(kernels, (1, 70, 9, 9))
    got = product(kernels, x, x, Call(center=True))
    check_near(got.gram, expected_product(x, None, Call(center=True))[0], 5e-6)
