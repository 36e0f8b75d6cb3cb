"""The harness itself: CUDA's words mean what they should, and what breaks CUDA's rules is caught."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
from kernel_library import KernelLibrary, built_folder


@pytest.fixture
def kernels() -> Iterator[KernelLibrary]:
    library = KernelLibrary(built_folder() / "libcuda_on_cpu_harness_kernels.so")
    yield library
    library.reverse_order(False)
    library.free()


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("n", [1, 255, 256, 1000])
def test_block_sums(kernels: KernelLibrary, n: int, reverse: bool) -> None:
    values = np.arange(n, dtype=np.float32) % 17
    blocks = -(-n // 256)
    sums = kernels.empty(blocks, np.float32)
    kernels.reverse_order(reverse)
    kernels.check("run_block_sum", kernels.array(values), n, sums)
    np.testing.assert_array_equal(sums, [values[256 * b : 256 * (b + 1)].sum() for b in range(blocks)])


@pytest.mark.parametrize("n", [1, 33, 1000, 1024])
def test_dynamic_shared_memory(kernels: KernelLibrary, n: int) -> None:
    out = kernels.empty(n, np.int32)
    kernels.check("run_reverse", kernels.array(np.arange(n, dtype=np.int32)), n, 4 * n, out)
    np.testing.assert_array_equal(out, np.arange(n)[::-1])


def test_collectives_and_atomics(kernels: KernelLibrary) -> None:
    out = kernels.empty((64, 10), np.uint32)
    counters = kernels.array([0, 0, 0, 7], np.int32)
    kernels.check("run_collectives", out, counters)
    lane = np.arange(64) % 32
    assert set(out[:, 0]) == {sum(1 << i for i in range(0, 32, 3))}
    assert set(out[:, 1]) == {1}
    assert set(out[:, 2]) == {0}
    np.testing.assert_array_equal(out[:, 3], np.uint64(0xFF) << (lane // 8 * 8).astype(np.uint64))
    np.testing.assert_array_equal(out[:, 4], lane // 8 * 8 + 5)
    np.testing.assert_array_equal(out[:, 5], np.where(lane % 16 >= 3, lane - 3, lane))
    assert set(out[:, 6]) == {40}
    assert set(out[:, 7]) == {1}
    assert set(out[:, 8]) == {0}
    np.testing.assert_array_equal(out[:, 9], np.where(lane < 16, 0x0000AAAA, 0xCCCC0000))
    np.testing.assert_array_equal(counters, [64, 63, -63, 11])


# Where the elements of lane 4 g + t lie, by the PTX ISA ("Matrix Fragments" of mma.m16n8k16 with .f16 and .bf16 and of
# mma.m16n8k8 with .tf32): of element i of a (row, depth), of b (depth, column), of c and d (row, column).
FRAGMENTS = {
    "half": (
        8,
        lambda g, t, i: (g if i in (0, 1, 4, 5) else g + 8, 2 * t + i % 2 + (8 if i >= 4 else 0)),
        lambda g, t, i: (2 * t + i % 2 + (8 if i >= 2 else 0), g),
    ),
    "tf32": (
        4,
        lambda g, t, i: (g if i in (0, 2) else g + 8, t if i < 2 else t + 4),
        lambda g, t, i: (t + 4 * i, g),
    ),
}


def _registers(values: np.ndarray, count: int, place: Callable[[int, int, int], tuple[int, int]]) -> np.ndarray:
    elements = [[values[place(lane // 4, lane % 4, i)] for i in range(count)] for lane in range(32)]
    return np.array(elements, values.dtype).view(np.uint32)


@pytest.mark.parametrize("kind", ["half", "bfloat16", "tf32"])
def test_fragment_products(kernels: KernelLibrary, kind: str) -> None:
    count, a_place, b_place = FRAGMENTS["tf32" if kind == "tf32" else "half"]
    depth = 2 * count
    rng = np.random.default_rng(0)
    values = [rng.standard_normal(shape).astype(np.float32) for shape in ((16, depth), (depth, 8))]
    if kind == "half":
        elements = [x.astype(np.float16) for x in values]
        values = [x.astype(np.float32) for x in elements]
    else:
        kept = 0xFFFF0000 if kind == "bfloat16" else 0xFFFFE000
        values = [(x.view(np.uint32) & kept).view(np.float32) for x in values]
        elements = [(x.view(np.uint32) >> 16).astype(np.uint16) for x in values] if kind == "bfloat16" else values
    a, b = _registers(elements[0], count, a_place), _registers(elements[1], count // 2, b_place)
    out = kernels.empty((32, 4), np.float32)
    number = ["half", "bfloat16", "tf32"].index(kind)
    kernels.check("run_fragment_product", kernels.array(a), kernels.array(b), out, number)
    want = 1 + values[0].astype(np.float64) @ values[1].astype(np.float64)
    for lane in range(32):
        g, t = lane // 4, lane % 4
        places = [(g if i < 2 else g + 8, 2 * t + i % 2) for i in range(4)]
        np.testing.assert_allclose(out[lane], [want[place] for place in places], rtol=0, atol=1e-5)


def test_rounding_to_tf32(kernels: KernelLibrary) -> None:
    """10 bits of mantissa, the nearest, ties away from 0; infinities and NaN stay what they are."""
    ulp = 2.0**-10
    values = [1.0, 1 + 0.49 * ulp, 1 + 0.5 * ulp, -1 - 0.5 * ulp, 1 + 1.49 * ulp, 0.0, -0.0, np.inf, -np.inf, 3.4e38]
    want = [1.0, 1.0, 1 + ulp, -1 - ulp, 1 + ulp, 0.0, -0.0, np.inf, -np.inf, 3.4e38]
    nans = np.array([0x7FC00000, 0x7FFFFFFF, 0xFF800001, 0x7F800001], np.uint32).view(np.float32)
    given = kernels.array(np.concatenate([np.array(values, np.float32), nans]))
    out = kernels.empty(given.shape, np.uint32)
    kernels.check("run_round_to_tfloat", given, len(given), out)
    assert not np.any(out & 0x1FFF)
    got = out.view(np.float32)
    np.testing.assert_allclose(got[: len(want)], want, rtol=2.0**-11)
    np.testing.assert_array_equal(got[:6], want[:6])
    np.testing.assert_array_equal(np.signbit(got[: len(want)]), np.signbit(want))
    assert np.isnan(got[len(want) :]).all()


def test_shared_memory_does_not_survive_a_block(kernels: KernelLibrary) -> None:
    out = kernels.empty(64, np.float32)
    kernels.check("run_reads_unwritten_shared", out)
    assert np.all(out[:32] == 1)
    assert np.all(np.isnan(out[32:]))


def test_device_memory_is_aligned_and_filled_with_nan(kernels: KernelLibrary) -> None:
    memory = kernels.empty(100, np.float32)
    assert memory.ctypes.data % 256 == 0
    assert np.all(np.isnan(memory))


@pytest.mark.parametrize(
    ("launcher", "message"),
    [
        ("run_barrier_for_some", "divergent barrier"),
        ("run_two_barriers", "divergent barrier"),
        ("run_shuffle_with_absent_lanes", "deadlock"),
        ("run_shuffle_outside_mask", "not in its mask"),
    ],
)
def test_broken_rules(kernels: KernelLibrary, launcher: str, message: str) -> None:
    error = kernels.fails(launcher, kernels.empty(64, np.int32))
    assert message in error
    assert "harness_test::" in error
    # The next launch is none the worse for it.
    sums = kernels.empty(1, np.float32)
    kernels.check("run_block_sum", kernels.array([1.0, 2.0], np.float32), 2, sums)
    assert sums[0] == 3


@pytest.mark.parametrize(
    ("dynamic", "opt_in", "fits"), [(8192, -1, True), (8193, -1, False), (90000, 90000, True), (90001, 90000, False)]
)
def test_shared_memory_limits(kernels: KernelLibrary, dynamic: int, opt_in: int, fits: bool) -> None:
    arguments = ("run_big_static_shared", kernels.empty(64, np.float32), dynamic, opt_in)
    if fits:
        kernels.check(*arguments)
    else:
        assert "shared memory" in kernels.fails(*arguments)


def test_shared_memory_beyond_the_largest(kernels: KernelLibrary) -> None:
    out = kernels.empty(64, np.float32)
    assert kernels.call("run_big_static_shared", out, 0, 200 << 10) != 0


@pytest.mark.parametrize("grid", [(0, 1, 1, 32), (1, 65536, 1, 32), (1, 1, 1, 1025), (1, 1, 65536, 32), (1, 1, 1, 0)])
def test_launches_that_no_device_takes(kernels: KernelLibrary, grid: tuple[int, ...]) -> None:
    launches = kernels.launch_count()
    assert "invalid launch" in kernels.fails("run_grid_of", *grid, kernels.empty(2048, np.int32))
    assert kernels.launch_count() == launches
