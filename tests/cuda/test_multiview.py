"""Views and a sampler's step on CUDA: values on every device, launches, any order of blocks, offsets beyond 2^31."""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from conftest import Device
from kernel_library import KernelLibrary, built_folder
from multiview import (
    ALIGNED,
    ANY_SHAPE,
    CASES,
    DTYPES,
    EXPECTED,
    ODD,
    PREDICTION,
    SAMPLE,
    SQUARE,
    Case,
    CPrediction,
    CShape,
    Launcher,
    bits_of_views,
    c_sampling,
    c_views,
    check_case,
    decoded,
    exercise,
    expected_results,
    launched,
    make_view,
    operated,
)

INVALID_VALUE = 1


@pytest.fixture
def kernels() -> Iterator[KernelLibrary]:
    library = KernelLibrary(built_folder() / "libcuda_on_cpu_launchers.so")
    yield library
    library.reverse_order(False)
    library.free()


def test_values(kernels: KernelLibrary) -> None:
    exercise(kernels)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_operators_on_every_device(device: Device, case: Case) -> None:
    check_case(case, operated(device.torch))


@pytest.mark.parametrize("case", CASES[::3], ids=str)
def test_in_place(kernels: KernelLibrary, case: Case) -> None:
    inside, outside = (check_case(case, launched(kernels, in_place=in_place)) for in_place in (True, False))
    np.testing.assert_array_equal(inside.step, outside.step)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shift", [0, 1, 2])
@pytest.mark.parametrize("shape", [ALIGNED, ODD, (1, 3, 36, 36)])
def test_views_move_bits(kernels: KernelLibrary, shape: tuple[int, int, int, int], shift: int, dtype: str) -> None:
    got, want = bits_of_views(kernels, Case(shape, SQUARE, dtype), shift)
    np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("average", [PREDICTION, SAMPLE])
@pytest.mark.parametrize("quantile", [0.0, 0.9])
def test_vectors_and_single_pixels_give_the_same_bits(
    kernels: KernelLibrary, dtype: str, average: int, quantile: float
) -> None:
    """Arrays that are not aligned to 16 bytes are read and written pixel by pixel."""
    case = Case((1, 2, 40, 40), SQUARE, dtype, average=average, quantile=quantile)
    vectors, pixels = (check_case(case, launched(kernels, shift=shift)) for shift in (0, 1))
    for name in ("applied", "noise", "variance", "step"):
        np.testing.assert_array_equal(getattr(vectors, name), getattr(pixels, name))


@pytest.mark.parametrize("shape", [(1, 1, 2, 3), (5, 4, 40, 64)])
@pytest.mark.parametrize("count", [1, 7, 64])
def test_launches(kernels: KernelLibrary, shape: tuple[int, int, int, int], count: int) -> None:
    """However large the pictures and however many views."""
    if count == 64 and shape[0] > 1:
        shape = (1, 1, 40, 64)
    for average in (PREDICTION, EXPECTED, SAMPLE):
        for quantile, launches in ((0.0, 1), (0.9, 3)):
            run = Launcher(kernels)
            check_case(Case(shape, (ANY_SHAPE * 10)[:count], average=average, quantile=quantile), run)
            assert run.launches == {"apply": 1, "reduce": 1, "step": launches}


def test_many_copies_are_several_launches(kernels: KernelLibrary) -> None:
    case, copies = Case((2, 1, 3, 4), ("skew", "flip_rows")), 19
    x = kernels.array(case.arrays()["x"], np.float32)
    factors = np.arange(2.0 * copies).reshape(copies, 2)
    out = kernels.empty((copies, 2, *case.shape), np.float32)
    shape, views = ctypes.byref(CShape(*case.shape)), ctypes.byref(c_views(kernels, case.views()))
    before = kernels.launch_count()
    kernels.check("launch_apply_views_f32", x, shape, views, copies, factors, out, None)
    assert kernels.launch_count() == before + 3
    want = factors[..., None, None, None, None] * np.stack([view(x.astype(float)) for view in case.views()])
    np.testing.assert_allclose(out, want, 1e-6)


@pytest.mark.parametrize("case", [*CASES[:24:5], *(case for case in CASES if case.quantile > 0)][:12], ids=str)
def test_any_order_of_blocks_and_lanes_gives_the_same_bits(kernels: KernelLibrary, case: Case) -> None:
    first = check_case(case, launched(kernels))
    kernels.reverse_order(True)
    second = check_case(case, launched(kernels))
    for name in ("applied", "noise", "variance", "step"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))


@pytest.mark.parametrize("average", [PREDICTION, EXPECTED, SAMPLE])
def test_every_option_matters(average: int) -> None:
    """The cases can tell each option from its absence: the truth itself changes with it."""
    case = Case((2, 3, 9, 70), average=average, quantile=0.9, limit=1.5)
    whole = expected_results(case).step
    changes: dict[str, Any] = {
        "guided": False,
        "variance": False,
        "quantile": 0.0,
        "limit": np.inf,
        "noise": False,
        "moves_channels": False,
        "skipped": (1,),
        "average": (average + 1) % 3,
    }
    for option, value in changes.items():
        assert np.abs(expected_results(replace(case, **{option: value})).step - whole).max() > 1e-2, option


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("quantile", [1e-9, 0.25, 0.5, 0.995, 1.0])
@pytest.mark.parametrize("numbers", ["spread", "equal", "two", "zeros"])
def test_quantiles(kernels: KernelLibrary, numbers: str, quantile: float, dtype: str) -> None:
    """Of numbers of all magnitudes, of equal ones, of neighbours in different digits."""
    case = Case((2, 1, 7, 12), ("identity",), dtype, False, False, PREDICTION, quantile, noise=False)
    random = np.random.default_rng(2)
    values = {
        "spread": np.exp(random.uniform(-30, 8, case.shape)),
        "equal": np.full(case.shape, 3.7),
        "two": np.where(random.random(case.shape) < 0.5, 1.9999999, 2.5),
        "zeros": np.where(random.random(case.shape) < 0.5, 0.0, 5.0),
    }[numbers]
    x, stack = kernels.array(-values, dtype), kernels.array(np.zeros(case.shape), dtype)
    out = kernels.empty(case.shape, dtype)
    sampling = c_sampling(case)
    sampling.step[:] = [1, 0, 0, 1, 0, 0, 0, 0]  # the clipped picture itself
    prediction = CPrediction(stack.ctypes.data)
    prediction.weights[1][0] = 1
    suffix = {"float32": "f32", "float64": "f64"}[dtype]
    shape, views = CShape(*case.shape), c_views(kernels, case.views())
    arguments = [*(ctypes.byref(z) for z in (prediction, shape, views, sampling)), None]
    workspace = kernels.empty(kernels.size(f"step_views_workspace_{suffix}", *arguments), np.uint8)
    kernels.check(f"launch_step_views_{suffix}", x, *arguments, out, workspace, None)
    exact = np.abs(x.astype(float))
    s = np.maximum(np.quantile(exact, quantile, axis=(1, 2, 3), keepdims=True), 1)
    np.testing.assert_allclose(out, np.clip(-exact, -s, s) / s, 2e-6 if dtype == "float32" else 1e-14)


@pytest.mark.parametrize("quantile", [0.0, 0.9])
def test_what_is_not_a_number_stays_in_its_image(kernels: KernelLibrary, quantile: float) -> None:
    class WithNan(Case):
        def arrays(self) -> dict[str, np.ndarray]:
            arrays = super().arrays()
            arrays["x"][1, 0, 2, 3] = np.nan
            return arrays

    case = WithNan((3, 1, 6, 8), ("identity", "flip_rows"), quantile=quantile)
    step = launched(kernels)(case).step
    assert np.isfinite(step[[0, 2]]).all()
    assert np.isnan(step[1]).sum() == (48 if quantile else 1)


def test_views_of_weight_0_are_not_read(kernels: KernelLibrary) -> None:
    class WithNan(Case):
        def arrays(self) -> dict[str, np.ndarray]:
            arrays = super().arrays()
            arrays["stack"].reshape(self.copies, len(self.names), -1)[:, list(self.skipped)] = np.nan
            return arrays

    for average in (PREDICTION, EXPECTED, SAMPLE):
        for quantile in (0.0, 0.9):
            case = WithNan((1, 2, 6, 8), average=average, quantile=quantile, skipped=(0, 4))
            assert np.isfinite(launched(kernels)(case).step).all()


def test_offsets_beyond_31_bits(kernels: KernelLibrary) -> None:
    """The last view of a stack of 4.5 GB, of which the rest is neither read nor there."""
    channels, height, width, count = 1, 9, 1 << 20, 64
    size = height * width
    no_reserve = 0x4000  # Linux' MAP_NORESERVE, which Python has a name for since 3.13
    buffer = mmap.mmap(-1, 2 * count * 2 * size * 2, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | no_reserve)
    stack = np.frombuffer(buffer, np.float16).reshape(2, count, 2, size)
    stack[0, -1, 0], stack[1, -1, 0] = 1, 3
    stack[1, -1, 1] = np.arange(size) % 1000
    prediction = CPrediction(stack.ctypes.data, True, True)
    for weights, value in zip(prediction.weights, (2, 1, 1), strict=True):
        weights[count - 1] = value
    views = c_views(kernels, [make_view("identity", 1, 1)] * count)
    noise, variance = (kernels.empty(size, np.float16) for _ in range(2))
    shape = CShape(1, channels, height, width)
    pointers = [ctypes.byref(z) for z in (prediction, shape, views)]
    kernels.check("launch_reduce_views_f16", *pointers, noise, variance, None)
    assert np.all(noise == 1 + 2 * (3 - 1))
    np.testing.assert_array_equal(variance, stack[1, -1, 1])


def test_empty_pictures_are_no_launch(kernels: KernelLibrary) -> None:
    before = kernels.launch_count()
    for shape in ((0, 3, 4, 5), (2, 0, 4, 5), (2, 3, 0, 5)):
        case = Case(shape, ("identity",), quantile=0.9, moves_channels=False)
        assert launched(kernels)(case).step.shape == shape
    assert kernels.launch_count() == before


def test_what_does_not_fit_is_refused(kernels: KernelLibrary) -> None:
    before = kernels.launch_count()
    shape, views = CShape(1 << 31, 1, 1, 1), c_views(kernels, [make_view("identity", 1, 1)])
    error = kernels.call("launch_apply_views_f32", None, ctypes.byref(shape), ctypes.byref(views), 1, None, None, None)
    assert error == INVALID_VALUE
    assert kernels.launch_count() == before


def test_workspace(kernels: KernelLibrary) -> None:
    """None without a quantile; then predictions, and the variance where noise is added, of each view or their mean."""

    def workspace(case: Case, noise: bool = True) -> int:
        prediction = CPrediction(None, case.guided, case.variance)
        views = c_views(kernels, case.views())
        pointers = [ctypes.byref(z) for z in (prediction, CShape(*case.shape), views, c_sampling(case))]
        z = kernels.empty(1, np.float16) if noise else None
        return kernels.size("step_views_workspace_f16", *pointers, z)

    case = Case((1, 4, 64, 64), dtype="float16")
    picture = 4 * 4 * 64 * 64
    dynamic = replace(case, quantile=0.9)
    assert workspace(case) == 0
    assert workspace(dynamic) == 2 * picture + 256
    assert workspace(dynamic, noise=False) == picture + 256
    assert workspace(replace(dynamic, average=SAMPLE)) == len(case.names) * 2 * picture + 256


def test_rounding_to_bfloat16_is_that_of_the_truth() -> None:
    """What the cases' numbers rest on."""
    torch = pytest.importorskip("torch")
    x = torch.randn(1000, dtype=torch.float64).numpy()
    from multiview import encoded

    want = torch.from_numpy(x).float().bfloat16().double().numpy()
    np.testing.assert_array_equal(decoded(encoded(x, "bfloat16"), "bfloat16"), want)
