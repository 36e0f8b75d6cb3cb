"""Sums over lags, sums of powers, magnitudes and phases: values, derivatives, arguments."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import statistics_cases as cases
import torch
from conftest import Device
from statistics_cases import SHAPES, TOLERANCES

from genimg_fast import _statistics_torch as statistics
from genimg_fast import _torch, reference

Tensor = torch.Tensor


def assert_near(actual: Tensor, wanted: Tensor, tolerance: float | Tensor) -> None:
    assert actual.shape == wanted.shape
    assert ((actual.cpu().to(wanted.dtype) - wanted).abs() <= tolerance).all()


@pytest.fixture
def on(device: Device) -> Callable[[Tensor | None], Tensor | None]:
    """Put tensors on a device."""
    return lambda x: None if x is None else x.to(device.torch)


# ---- Values ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", TOLERANCES)
def test_correlation(on, shape, dtype):
    a, b = (cases.planes(2, *shape, dtype=dtype, seed=seed) for seed in (1, 2))
    for radius in (0, 1, 2, 3, 6, 9):
        for second in (a, b):
            first_on = on(a)
            second_on = first_on if second is a else on(second)
            got = statistics.correlation(first_on, second_on, radius)
            assert got.dtype == torch.float64
            sizes = a.double().norm(dim=(1, 2)) * second.double().norm(dim=(1, 2))
            assert_near(got, cases.correlation(a, second, radius), TOLERANCES[dtype] * sizes[:, None, None])
            if second is a:
                assert torch.equal(got, got.flip((1, 2)))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", TOLERANCES)
def test_convolution(on, shape, dtype):
    x = cases.planes(2, *shape, dtype=dtype)
    for radius in (0, 1, 2, 3, 6, 9):
        taps = cases.planes(2, 2 * radius + 1, 2 * radius + 1, seed=radius)
        got = statistics.convolution(on(x), on(taps))
        assert got.dtype == dtype
        assert_near(got, cases.convolution(x, taps), TOLERANCES[dtype] * float(taps.abs().sum()))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("is_weighted", [False, True])
def test_powers(on, shape, dtype, is_weighted):
    x = cases.planes(2, *shape, dtype=dtype)
    weight = cases.planes(2, *shape, dtype=dtype, seed=1) if is_weighted else None
    for count in (1, 2, 5, 16):
        got = statistics.power_sums(on(x), count, on(weight))
        assert got.dtype == torch.float64
        sizes = cases.power_sums(x.abs(), count, None if weight is None else weight.abs())
        assert_near(got, cases.power_sums(x, count, weight), TOLERANCES[dtype] * sizes)
        coefficients = cases.planes(2, count, seed=count)
        got = statistics.polynomial(on(x), on(coefficients), on(weight))
        assert got.dtype == dtype
        sizes = cases.polynomial(x.abs(), coefficients.abs(), None if weight is None else weight.abs())
        assert_near(got, cases.polynomial(x, coefficients, weight), TOLERANCES[dtype] * sizes)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("has_parents", [False, True])
def test_magnitudes_and_phases(on, shape, dtype, has_parents):
    bands, parents = (cases.normal(2, 3, *shape, dtype=dtype.to_complex(), seed=seed) for seed in (1, 2))
    parents = parents if has_parents else None
    got = statistics.magnitudes_and_phases(on(bands), on(parents))
    for actual, wanted in zip(got, cases.magnitudes_and_phases(bands, parents), strict=True):
        assert actual.dtype == dtype
        assert_near(actual, wanted, 3 * TOLERANCES[dtype])


def test_sums_of_many_pixels_lose_nothing(on):
    """A plain sum in float32 would be off by 1e-4 and more."""
    x = torch.full((1, 2000, 1500), 1.1)
    exact = x[0, 0, 0].double().item()
    got = statistics.power_sums(on(x), 3)[0].cpu()
    assert got[0] == 3e6
    torch.testing.assert_close(got, torch.tensor([3e6, 3e6 * exact, 3e6 * exact**2]).double(), rtol=3e-6, atol=0)
    x = on(x)
    lags = statistics.correlation(x, x, 1).cpu()
    torch.testing.assert_close(lags, torch.full_like(lags, 3e6 * exact**2), rtol=3e-6, atol=0)


@pytest.mark.parametrize("dtype", TOLERANCES)
def test_zeros_and_what_counts_as_zero(on, dtype):
    smallest = torch.finfo(dtype).tiny ** 0.5
    z = torch.zeros(1, 1, 3, 25, dtype=dtype.to_complex())
    z[..., 1::3] = 0.5 * smallest
    z[..., 2::3] = 2j * smallest
    counts = (z.imag > 0)[0, 0]
    z = on(z).requires_grad_()
    magnitudes, reals = statistics.magnitudes_and_phases(z, z)
    assert torch.equal(magnitudes[0, 1].cpu() > 0, counts)
    assert torch.equal(reals[0, 1].cpu() < 0, counts)  # twice 90 degrees
    (gradient,) = torch.autograd.grad(magnitudes.sum() + reals[:, 1:].sum(), z)
    assert torch.equal(gradient[0, 0].cpu() != 0, counts)
    (gradient,) = torch.autograd.grad(statistics.magnitudes_and_phases(z, z)[1][:, 1:].sum(), z, create_graph=True)
    (second,) = torch.autograd.grad(gradient.real.sum(), z)
    assert (second[0, 0].cpu()[~counts] == 0).all()


def test_nan_and_infinity_of_subbands(on):
    z = torch.ones(1, 1, 1, 20, dtype=torch.complex64)
    z[..., 3], z[..., 17] = torch.nan, 1e30
    magnitudes, _ = statistics.magnitudes_and_phases(on(z), on(z))
    assert magnitudes[0, :, 0, 3].isnan().all()
    assert magnitudes[0, :, 0, 17].isinf().all()
    assert (magnitudes.isfinite().sum()) == 36


# ---- Any layout, any batch, any executor -----------------------------------------------------------------------------


def results(x: Tensor, y: Tensor, taps: Tensor, coefficients: Tensor, bands: Tensor, parents: Tensor) -> list[Tensor]:
    """All operations and, of the phases, the gradient."""
    z = bands.detach().requires_grad_()
    pair = statistics.magnitudes_and_phases(z, parents)
    return [
        statistics.correlation(x, x, 3),
        statistics.correlation(x, y, 2),
        statistics.convolution(x, taps),
        statistics.power_sums(x, 5, y),
        statistics.polynomial(x, coefficients, y),
        *(q.detach() for q in pair),
        torch.autograd.grad([*pair], z, [q.detach() + 1 for q in pair])[0],
    ]


def inputs(*lead: int, height: int, width: int, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    x, y = (cases.planes(*lead, height, width, dtype=dtype, seed=seed) for seed in (1, 2))
    z, p = (cases.normal(*lead, 2, height, width, dtype=dtype.to_complex(), seed=seed) for seed in (3, 4))
    return [x, y, cases.planes(*lead, 5, 5), cases.planes(*lead, 4), z, p]


def test_same_bits_for_any_number_of_threads_and_alone():
    given = inputs(3, height=190, width=261)
    before = torch.get_num_threads()
    try:
        runs = []
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            runs.append(results(*given))
    finally:
        torch.set_num_threads(before)
    for run in runs[1:]:
        assert all(torch.equal(a, b) for a, b in zip(runs[0], run, strict=True))
    for i in range(3):
        alone = results(*(x[i] for x in given))
        assert all(torch.equal(a[i], b) for a, b in zip(runs[0], alone, strict=True))


def test_a_plane_alone_or_in_a_batch(on):
    given = [on(x) for x in inputs(3, height=40, width=37)]
    together = results(*given)
    for i in range(3):
        assert all(torch.equal(a[i], b) for a, b in zip(together, results(*(x[i] for x in given)), strict=True))


def test_leading_axes_and_strides(on):
    given = [on(x) for x in inputs(2, 3, height=9, width=11)]
    want = results(*given)
    strided = [torch.stack([x, x + 1], -1)[..., 0] for x in given]
    moved = [x.movedim(0, -1).contiguous().movedim(-1, 0) for x in given]
    flat = [y.unflatten(0, (2, 3)) for y in results(*(x.flatten(0, 1) for x in given))]
    for other in (results(*strided), results(*moved), flat):
        assert all(torch.equal(a, b) for a, b in zip(want, other, strict=True))
    x = given[0][0]  # one memory, other strides
    square = x[:, :, :9]
    torch.testing.assert_close(
        statistics.correlation(square, square.mT, 2),
        statistics.correlation(square, square.mT.clone(), 2),
    )


def test_conjugate_subbands(on):
    z = on(cases.normal(1, 2, 5, 6))
    for a, b in zip(
        statistics.magnitudes_and_phases(z.conj(), z.conj()),
        statistics.magnitudes_and_phases(z.conj().resolve_conj(), z.conj().resolve_conj()),
        strict=True,
    ):
        assert torch.equal(a, b)


def test_no_planes(on):
    given = [on(x) for x in inputs(0, height=4, width=5)]
    sizes = [x.shape[1:] for x in results(*(on(x) for x in inputs(1, height=4, width=5)))]
    assert [x.shape[1:] for x in results(*given)] == sizes
    assert all(len(x) == 0 for x in results(*given))


# ---- Derivatives -----------------------------------------------------------------------------------------------------


FUNCTIONS = {
    "correlation with itself": (lambda x: statistics.correlation(x, x, 2), ["x"]),
    "correlation": (lambda x, y: statistics.correlation(x, y, 1), ["x", "y"]),
    "convolution": (statistics.convolution, ["x", "taps"]),
    "power sums": (lambda x: statistics.power_sums(x, 4), ["x"]),
    "sums alone": (lambda x, y: statistics.power_sums(x, 1, y), ["x", "y"]),
    "weighted power sums": (lambda x, y: statistics.power_sums(x, 4, y), ["x", "y"]),
    "polynomial": (statistics.polynomial, ["x", "coefficients"]),
    "weighted polynomial": (statistics.polynomial, ["x", "coefficients", "y"]),
    "magnitudes": (statistics.magnitudes_and_phases, ["bands"]),
    "magnitudes and phases": (statistics.magnitudes_and_phases, ["bands", "parents"]),
}


def variables(names: list[str], on: Callable[[Tensor], Tensor]) -> list[Tensor]:
    given = {
        "x": cases.planes(2, 3, 4, seed=1),
        "y": cases.planes(2, 3, 4, seed=2),
        "taps": cases.planes(2, 3, 3, seed=3),
        "coefficients": cases.planes(2, 3, seed=4),
        "bands": cases.normal(1, 2, 2, 3, dtype=torch.complex128, seed=5),
        "parents": cases.normal(1, 2, 2, 3, dtype=torch.complex128, seed=6),
    }
    return [on(given[name]).requires_grad_() for name in names]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_first_and_second_derivatives(on, name):
    function, names = FUNCTIONS[name]
    x = variables(names, on)
    assert torch.autograd.gradcheck(function, x)
    assert torch.autograd.gradgradcheck(function, x)


@pytest.mark.parametrize("name", ["correlation", "weighted polynomial", "magnitudes and phases"])
def test_third_derivatives(on, name):
    function, names = FUNCTIONS[name]
    x = variables(names, on)

    def second(*x):
        out = function(*x)
        total = sum((y**3).sum() for y in (out if isinstance(out, tuple) else (out,)))
        first = torch.autograd.grad(total, x, create_graph=True)
        return torch.autograd.grad(sum(g.abs().square().sum() for g in first), x, create_graph=True)

    assert torch.autograd.gradcheck(second, x, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("has_parents", [False, True])
def test_gradient_of_magnitudes_and_phases(on, shape, dtype, has_parents):
    given = [cases.normal(2, 3, *shape, dtype=dtype.to_complex(), seed=seed) for seed in range(1, 2 + has_parents)]
    directions = [cases.planes(2, 3 * k, *shape, dtype=dtype, seed=k) for k in ((2, 3) if has_parents else (1, 1))]

    def gradients(function, given, directions):
        given = [z.requires_grad_() for z in given]
        parents = given[1] if has_parents else None
        return torch.autograd.grad(function(given[0], parents), given, directions)

    want = gradients(
        cases.magnitudes_and_phases, [z.to(torch.complex128) for z in given], [d.double() for d in directions]
    )
    got = gradients(statistics.magnitudes_and_phases, [on(z) for z in given], [on(d) for d in directions])
    for a, b in zip(got, want, strict=True):
        assert_near(a, b, 10 * TOLERANCES[dtype])


@pytest.mark.parametrize("dtype", TOLERANCES)
def test_gradients_keep_the_dtype(on, dtype):
    x = on(cases.planes(2, 6, 7, dtype=dtype)).requires_grad_()
    taps, coefficients = on(torch.ones(2, 3, 3)).requires_grad_(), on(torch.ones(2, 3)).requires_grad_()
    total = (
        statistics.correlation(x, x, 1).sum()
        + statistics.convolution(x, taps).sum()
        + statistics.power_sums(x, 3, x).sum()
        + statistics.polynomial(x, coefficients, x).sum()
    )
    total.backward()
    assert x.grad.dtype == dtype
    assert taps.grad.dtype == coefficients.grad.dtype == torch.float32


@pytest.mark.filterwarnings("ignore:There is a performance drop")  # the harness' operators have no batching rule
@pytest.mark.parametrize("name", FUNCTIONS)
def test_vmap_and_functional(on, name):
    function, names = FUNCTIONS[name]
    x = [torch.stack([z, 2 * z, 3 * z], 1).detach() for z in variables(names, on)]
    each = [[z[:, i] for z in x] for i in range(3)]

    def tensors(out):
        return out if isinstance(out, tuple) else (out,)

    got = torch.func.vmap(function, in_dims=1)(*x)
    for k, out in enumerate(tensors(got)):
        torch.testing.assert_close(out, torch.stack([tensors(function(*one))[k] for one in each]))

    def loss(*x):
        return sum(y.square().sum() for y in tensors(function(*x)))

    numbers = tuple(range(len(x)))
    got = torch.func.vmap(torch.func.grad(loss, argnums=numbers), in_dims=1)(*x)
    for i, one in enumerate(each):
        leaves = [z.clone().requires_grad_() for z in one]
        for a, b in zip(got, torch.autograd.grad(loss(*leaves), leaves), strict=True):
            torch.testing.assert_close(a[i], b)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_compile(name):
    function, names = FUNCTIONS[name]
    compiled = torch.compile(function, fullgraph=True, backend="aot_eager")

    def run(function):
        x = variables(names, lambda x: x)
        out = function(*x)
        out = out if isinstance(out, tuple) else (out,)
        return [*out, *torch.autograd.grad(sum(y.square().sum() for y in out), x)]

    for a, b in zip(run(compiled), run(function), strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("dtype", TOLERANCES)
def test_operators(dtype):
    ops = torch.ops.genimg_fast
    x, y, taps, coefficients, bands, parents = inputs(2, height=4, width=5, dtype=dtype)
    calls = [
        (ops.statistics_correlation, (x, y, 2)),
        (ops.statistics_convolution, (x.mT, taps)),
        (ops.statistics_power_sums, (x, None, 3)),
        (ops.statistics_power_sums, (x, y, 3)),
        (ops.statistics_polynomial, (x, None, coefficients)),
        (ops.statistics_polynomial, (x, y, coefficients)),
    ]
    for p in (None, parents):
        pair = ops.statistics_phases(bands, p)
        calls += [(ops.statistics_phases, (bands, p)), (ops.statistics_phases_gradient, (bands, p, *pair))]
    for op, arguments in calls:
        torch.library.opcheck(op.default, arguments)


# ---- The reference ---------------------------------------------------------------------------------------------------


def test_kernels_equal_the_reference(on):
    x, y, taps, coefficients, bands, parents = (on(z) for z in inputs(2, height=13, width=21, dtype=torch.float64))
    for p in (None, parents):
        pair = reference.statistics_phases(bands, p)
        calls = [("phases", (bands, p)), ("phases_gradient", (bands, p, *pair))]
        for name, arguments in calls:
            got = getattr(_torch.ops(), f"statistics_{name}")(*arguments)
            want = getattr(reference, f"statistics_{name}")(*arguments)
            torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-12)
    for name, arguments in [
        ("correlation", (x, x, 3)),
        ("correlation", (x, y, 3)),
        ("convolution", (x, taps)),
        ("power_sums", (x, None, 5)),
        ("power_sums", (x, y, 5)),
        ("polynomial", (x, None, coefficients)),
        ("polynomial", (x, y, coefficients)),
    ]:
        got = getattr(_torch.ops(), f"statistics_{name}")(*arguments)
        want = getattr(reference, f"statistics_{name}")(*arguments)
        torch.testing.assert_close(got, want, rtol=1e-11, atol=1e-11)


def test_no_call_comes_to_the_reference(on, monkeypatch):
    def refuse(*args):
        raise AssertionError("the reference ran")

    for name in ("correlation", "convolution", "power_sums", "polynomial", "phases", "phases_gradient"):
        monkeypatch.setattr(reference, f"statistics_{name}", refuse)
    given = [on(z).requires_grad_() for z in inputs(2, height=5, width=6)]
    sum(y.abs().sum() for y in results(*given)).backward()


# ---- Arguments -------------------------------------------------------------------------------------------------------


X = torch.zeros(2, 3, 4)
Z = torch.zeros(2, 3, 4, dtype=torch.complex64)
TAPS = torch.zeros(2, 3, 3)


@pytest.mark.parametrize(
    ("function", "arguments", "error", "message"),
    [
        ("correlation", ([1.0], X, 1), TypeError, "a must be a torch.Tensor, got list"),
        ("correlation", (X.half(), X.half(), 1), TypeError, "a must be float32 or float64, got float16"),
        ("correlation", (X, X.double(), 1), TypeError, "b must be float32, got float64"),
        ("correlation", (X, X[:1], 1), ValueError, r"b must be of the shape \(2, 3, 4\) of a, got .*\(1, 3, 4\)"),
        ("correlation", (X[:, :0], X[:, :0], 1), ValueError, r"a must be \(..., h, w\) with pixels, got .*\(2, 0, 4\)"),
        ("correlation", (X[0, 0], X[0, 0], 1), ValueError, r"a must be \(..., h, w\)"),
        ("correlation", (X, X, 1.0), TypeError, "radius must be an integer from 0 to 16, got 1.0"),
        ("correlation", (X, X, 17), ValueError, "radius must be an integer from 0 to 16, got 17"),
        ("correlation", (X, X, -1), ValueError, "radius must be an integer from 0 to 16, got -1"),
        ("correlation", (X, X.to("meta"), 1), ValueError, "b must be on cpu, where a is, got meta"),
        ("convolution", (X.int(), TAPS), TypeError, "x must be float32 or float64, got int32"),
        ("convolution", (X, TAPS.int()), TypeError, "taps must be float32 or float64, got int32"),
        ("convolution", (X, TAPS[:1]), ValueError, r"taps must be \(2, 2 r \+ 1, 2 r \+ 1\).*got .*\(1, 3, 3\)"),
        ("convolution", (X, TAPS[:, :2]), ValueError, r"got the shape \(2, 2, 3\)"),
        ("convolution", (X, TAPS[:, :2, :2]), ValueError, r"got the shape \(2, 2, 2\)"),
        ("convolution", (X, torch.zeros(2, 35, 35)), ValueError, "r at most 16"),
        ("convolution", (X, TAPS.to("meta")), ValueError, "taps must be on cpu"),
        ("power_sums", (Z, 2), TypeError, "x must be float32 or float64, got complex64"),
        ("power_sums", (X, True), TypeError, "count must be an integer from 1 to 16, got True"),
        ("power_sums", (X, 0), ValueError, "count must be an integer from 1 to 16, got 0"),
        ("power_sums", (X, 17), ValueError, "count must be an integer from 1 to 16, got 17"),
        ("power_sums", (X, 2, X[0]), ValueError, r"weight must be of the shape \(2, 3, 4\) of x"),
        ("polynomial", (X, TAPS[0]), ValueError, r"coefficients must be \(2, count\), count 1 to 16, got .*\(3, 3\)"),
        ("polynomial", (X, torch.zeros(2, 0)), ValueError, r"got the shape \(2, 0\)"),
        ("polynomial", (X, torch.zeros(2, 17)), ValueError, r"got the shape \(2, 17\)"),
        ("polynomial", (X, torch.tensor(1.0)), ValueError, r"got the shape \(\)"),
        ("polynomial", (X, TAPS[:, 0], X.double()), TypeError, "weight must be float32, got float64"),
        ("magnitudes_and_phases", (X,), TypeError, "bands must be complex64 or complex128, got float32"),
        ("magnitudes_and_phases", (Z[0],), ValueError, r"bands must be \(..., K, h, w\) with pixels, got .*\(3, 4\)"),
        ("magnitudes_and_phases", (Z, Z[:1]), ValueError, "parents must be of the shape .* of bands"),
        ("magnitudes_and_phases", (Z, X), TypeError, "parents must be complex64, got float32"),
    ],
)
def test_arguments(function, arguments, error, message):
    with pytest.raises(error, match=message):
        getattr(statistics, function)(*arguments)


def test_operators_check_what_they_are_given():
    ops = torch.ops.genimg_fast
    for call in (
        lambda: ops.statistics_correlation(X, X, 17),
        lambda: ops.statistics_correlation(X, X[:1], 1),
        lambda: ops.statistics_convolution(X, TAPS),  # float32 taps
        lambda: ops.statistics_power_sums(X, X[:1], 2),
        lambda: ops.statistics_polynomial(X, None, torch.zeros(2, 17).double()),
        lambda: ops.statistics_phases(Z, None),
        lambda: ops.statistics_phases_gradient(Z[None], None, X[None, :1], X[None]),
    ):
        with pytest.raises(RuntimeError, match="statistics"):
            call()
