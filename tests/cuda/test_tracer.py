"""The tracer: its counts on access patterns whose cost is known, and the races it must see."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from kernel_library import TracedLibrary, built_folder


@pytest.fixture
def kernels() -> Iterator[TracedLibrary]:
    library = TracedLibrary(built_folder("GENIMG_FAST_CUDA_ON_CPU_TRACED") / "libcuda_on_cpu_harness_kernels.so")
    library.reset()
    yield library
    library.reset()
    library.free()


def only_kernel(library: TracedLibrary) -> dict[str, Any]:
    (kernel,) = library.report().values()
    return kernel


@pytest.mark.parametrize(("stride", "moved"), [(1, 4), (2, 8), (8, 32), (100, 32)])
def test_sectors_of_a_strided_load(kernels: TracedLibrary, stride: int, moved: int) -> None:
    values = np.arange(32 * stride, dtype=np.float32)
    out = kernels.empty(32, np.float32)
    kernels.check("run_copy_strided", kernels.array(values), out, stride)
    np.testing.assert_array_equal(out, values[::stride])
    kernel = only_kernel(kernels)
    assert kernel["global_loads"] == {"requests": 1, "moved": moved, "ideal": 4}
    assert kernel["global_stores"] == {"requests": 1, "moved": 4, "ideal": 4}
    assert (kernel["sectors_read"], kernel["sectors_written"]) == (moved, 4)


def test_misaligned_and_broadcast_loads(kernels: TracedLibrary) -> None:
    values = kernels.array(np.arange(64, dtype=np.float32))
    kernels.check("run_copy_strided", values[1:], kernels.empty(32, np.float32), 1)
    assert only_kernel(kernels)["global_loads"] == {"requests": 1, "moved": 5, "ideal": 4}
    kernels.reset()
    kernels.check("run_copy_strided", values, kernels.empty(32, np.float32), 0)
    assert only_kernel(kernels)["global_loads"] == {"requests": 1, "moved": 1, "ideal": 1}


def test_vectors_are_one_access(kernels: TracedLibrary) -> None:
    values = np.arange(128, dtype=np.float32)
    out = kernels.empty(128, np.float32)
    kernels.check("run_copy_vectors", kernels.array(values), out)
    np.testing.assert_array_equal(out, values)
    kernel = only_kernel(kernels)
    assert kernel["global_loads"] == {"requests": 1, "moved": 16, "ideal": 16}
    assert kernel["global_stores"] == {"requests": 1, "moved": 16, "ideal": 16}


@pytest.mark.parametrize(("padded", "passes"), [(False, 32 * 32), (True, 32)])
def test_bank_conflicts(kernels: TracedLibrary, padded: bool, passes: int) -> None:
    values = np.arange(1024, dtype=np.float32).reshape(32, 32)
    out = kernels.empty((32, 32), np.float32)
    kernels.check("run_transpose", kernels.array(values), out, padded)
    np.testing.assert_array_equal(out, values.T)
    kernel = only_kernel(kernels)
    assert kernel["shared_loads"] == {"requests": 32, "moved": passes, "ideal": 32}
    assert kernel["shared_stores"] == {"requests": 32, "moved": 32, "ideal": 32}


def test_missing_barrier_is_a_race(kernels: TracedLibrary) -> None:
    values = kernels.array(np.arange(64, dtype=np.int32))
    assert "race in shared memory" in kernels.fails("run_missing_barrier", values, kernels.empty(64, np.int32))
    assert only_kernel(kernels)["races"] > 0


@pytest.mark.parametrize("synchronize", [False, True])
def test_warps_need_their_barrier_too(kernels: TracedLibrary, synchronize: bool) -> None:
    arguments = (kernels.array(np.arange(32, dtype=np.int32)), kernels.empty(32, np.int32), synchronize)
    if synchronize:
        kernels.check("run_missing_warp_barrier", *arguments)
    else:
        assert "race in shared memory" in kernels.fails("run_missing_warp_barrier", *arguments)


def test_blocks_that_write_one_place(kernels: TracedLibrary) -> None:
    kernels.check("run_grid_of", 2, 1, 1, 32, kernels.empty(32, np.int32))
    kernel = only_kernel(kernels)
    assert kernel["block_races"] > 0
    assert (kernel["launches"], kernel["blocks"]) == (1, 2)


def test_barriers_collectives_and_atomics_do_not_race(kernels: TracedLibrary) -> None:
    kernels.check("run_block_sum", kernels.array(np.ones(1000, np.float32)), 1000, kernels.empty(4, np.float32))
    kernels.check("run_collectives", kernels.empty(640, np.uint32), kernels.array([0, 0, 0, 7], np.int32))
    for kernel in kernels.report().values():
        assert (kernel["races"], kernel["block_races"]) == (0, 0)
    assert kernels.report()["genimg::harness_test::collectives"]["atomics"] == 64 * 3 + 1
