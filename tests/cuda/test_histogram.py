"""Histogram matching's CUDA launchers, without torch: values, a fixed number of launches, any order of blocks."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from histogram import RANK, VALUE, CBatch, CRows, check_match, derivative, exercise, match, random_rows, sort
from kernel_library import KernelLibrary, built_folder


@pytest.fixture
def kernels() -> Iterator[KernelLibrary]:
    library = KernelLibrary(built_folder() / "libcuda_on_cpu_launchers.so")
    yield library
    library.reverse_order(False)
    library.free()


def test_values(kernels: KernelLibrary) -> None:
    exercise(kernels)


@pytest.mark.parametrize(
    ("dtype", "method", "masked", "size", "launches"),
    [
        (np.float32, VALUE, True, 8193, 13),
        (np.float32, RANK, False, 8192, 2),
        (np.float64, RANK, False, 4097, 25),
        (np.uint16, RANK, False, 8193, 7),
        (np.uint16, VALUE, True, 8193, 10),
        (np.uint8, RANK, False, 8193, 4),
        (np.uint8, RANK, True, 8193, 7),
        (np.uint8, VALUE, True, 8193, 3),
    ],
)
@pytest.mark.parametrize("rows", [(1,), (3, 2)])
def test_launches_do_not_depend_on_segments(
    kernels: KernelLibrary, rows: tuple[int, ...], dtype: Any, method: int, masked: bool, size: int, launches: int
) -> None:
    sources = [random_rows(kernels, dtype, n, size - i) for i, n in enumerate(rows)]
    pairs = [(source, random_rows(kernels, dtype, 1, 50, seed=1)) for source in sources]
    masks = [(kernels.array(np.ones(source.shape), np.uint8) if masked else None, None) for source in sources]
    before = kernels.launch_count()
    results = match(kernels, pairs, method, masks=masks)
    assert kernels.launch_count() == before + launches
    for (source, reference), got in zip(pairs, results, strict=True):
        check_match(source, reference, got, method)


@pytest.mark.parametrize("dtype", [np.float32, np.uint8, np.uint16])
@pytest.mark.parametrize("method", [VALUE, RANK])
@pytest.mark.parametrize("size", [500, 9000])
def test_masked_pixels_take_no_part(kernels: KernelLibrary, dtype: Any, method: int, size: int) -> None:
    source, reference = random_rows(kernels, dtype, 1, size), random_rows(kernels, dtype, 1, size + 7, seed=1)
    mask, reference_mask = (
        kernels.array(np.random.default_rng(seed).random((1, n)) < 0.7, np.uint8)
        for seed, n in ((2, size), (3, size + 7))
    )
    (got,) = match(kernels, [(source, reference)], method, masks=[(mask, reference_mask)])
    takes = mask.astype(bool)
    np.testing.assert_array_equal(got[~takes], source[~takes])
    check_match(source[takes][None], reference[reference_mask.astype(bool)][None], got[takes][None], method)


def test_rows_that_do_not_begin_at_a_word(kernels: KernelLibrary) -> None:
    values = random_rows(kernels, np.uint8, 1, 5001)[0]
    for begin in (0, 1, 15):
        source, reference = values[None, begin : begin + 1003], values[None, 2000 + begin :]
        (got,) = match(kernels, [(source, reference)], VALUE)
        check_match(source, reference, got, VALUE)


@pytest.mark.parametrize("size", [700, 20000])
def test_the_order_of_blocks_does_not_matter(kernels: KernelLibrary, size: int) -> None:
    source, reference = random_rows(kernels, np.float32, 2, size), random_rows(kernels, np.float32, 2, size, seed=1)
    constant = kernels.array(np.zeros((2, size)), np.float32)  # everything flows to one value

    def results() -> list[np.ndarray]:
        linear = [derivative(kernels, "adjoint", source, r, source, VALUE) for r in (reference, constant)]
        return [*match(kernels, [(source, reference)], RANK), sort(kernels, source), *linear]

    first = results()
    np.testing.assert_allclose(first[-1][:, -1], source.sum(axis=1, dtype=np.float64), atol=1e-2)
    kernels.reverse_order(True)
    for before, after in zip(first, results(), strict=True):
        np.testing.assert_array_equal(before, after)


def _launch(kernels: KernelLibrary, *batches: CBatch) -> int:
    return kernels.call("launch_match_f32", (CBatch * len(batches))(*batches), len(batches), VALUE, False, None, None)


def test_what_does_not_fit_is_refused(kernels: KernelLibrary) -> None:
    row, two_rows, long_row = (CRows(None, None, *shape) for shape in ((1, 4), (2, 4), (1, (1 << 31) + 1)))
    three_rows, no_rows = CRows(None, None, 3, 4), CRows(None, None, 0, 4)
    before = kernels.launch_count()
    invalid_value = 1
    assert _launch(kernels, CBatch(long_row, row, None)) == invalid_value
    assert _launch(kernels, CBatch(three_rows, two_rows, None)) == invalid_value
    assert _launch(kernels, CBatch(row, no_rows, None)) == invalid_value
    assert _launch(kernels, *[CBatch(row, row, None)] * 33) == invalid_value
    arguments = ctypes.byref(two_rows), ctypes.byref(row), None, None, VALUE, None, None
    assert kernels.call("launch_adjoint_f32", *arguments) == invalid_value
    assert kernels.launch_count() == before
