"""Projections onto one statistic: nearest where it cannot be met, nothing moved where it is, any plane, any batch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import genimg_fast as gf
from genimg_fast import _statistics_torch as sums
from genimg_fast.textures import _projections as onto
from genimg_fast.textures._texture import Model, texture_of
from genimg_fast.textures._texture_projection import TextureProjection

Tensor = torch.Tensor


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape))


def lags(x: Tensor, radius: int) -> Tensor:
    reach = range(-radius, radius + 1)
    rows = [torch.stack([(x * x.roll((a, b), (-2, -1))).mean((-2, -1)) for b in reach], -1) for a in reach]
    return torch.stack(rows, -2)


def products(x: Tensor) -> Tensor:
    return torch.einsum("gihw,gjhw->gij", x, x) / (x.shape[-2] * x.shape[-1])


def standardised(x: Tensor, order: int) -> float:
    less = x - x.mean()
    return float((less**order).mean() / less.square().mean() ** (order / 2))


# ---- Nothing to do ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(32, 40), (33, 47), (17, 16)])
def test_planes_with_the_statistic_stay(shape):
    x = normal(2, 3, *shape) ** 3
    x -= x.mean((-2, -1), keepdim=True)
    variance, skewness, kurtosis = (
        torch.tensor([[f(one) for one in group] for group in x])
        for f in (lambda y: y.square().mean(), lambda y: standardised(y, 3), lambda y: standardised(y, 4))
    )
    found = [
        onto.with_autocorrelation(x, lags(x, 3)),
        onto.with_products(x, products(x), products(x)),
        onto.with_moments(x, variance, skewness, kurtosis),
        torch.cat([onto.with_products(x, products(x), products(x)[:, :2]), x[:, 2:]], 1),
        torch.cat([onto.with_each_products(x, products(x), products(x)[:, :2, 2:]), x[:, 2:]], 1),
    ]
    for one in found:
        torch.testing.assert_close(one, x, rtol=0, atol=1e-7 * float(x.abs().max()))


@pytest.mark.parametrize(("shape", "channels", "width"), [((64, 64), 1, 7), ((33, 47), 2, 7), ((45, 40), 4, 5)])
def test_a_texture_stays(shape, channels, width):
    x = np.random.default_rng(0).gamma(2, 1, (channels, *shape))
    x += 0.5 * x[:1] + 2 * np.roll(x, 1, -1)
    model = Model(2, 3, width)
    project = TextureProjection(texture_of([x], [1.0], model), model, shape, shape)
    picture = torch.from_numpy(x)[None]
    assert (project(picture) - picture).abs().max() < 2e-7 * picture.std()
    assert (project(picture.float()) - picture).abs().max() < 2e-4 * picture.std()


@pytest.mark.parametrize("family", ["marginals", "autocorrelation", "magnitudes", "phases"])
@pytest.mark.parametrize("channels", [1, 3])
def test_one_family_alone_brings_itself_closer(family, channels):
    rng = np.random.default_rng(0)
    x = rng.gamma(2, 1, (channels, 48, 64)) + 2 * np.roll(rng.gamma(2, 1, (1, 48, 64)), 1, -1)
    model = Model(2, 4, 5, (family,))
    project = TextureProjection(texture_of([x], [1.0], model), model, (48, 64), (48, 64))
    picture = torch.from_numpy(x.mean((1, 2), keepdims=True) + x.std() * rng.standard_normal(x.shape))[None]
    errors = [float(project.errors(picture)[family])]
    for _ in range(6):
        picture = project(picture)
        errors.append(float(project.errors(picture)[family]))
    assert list(project.errors(picture)) == [family]
    assert errors[-1] < 0.6 * errors[0]


# ---- Autocorrelation -------------------------------------------------------------------------------------------------


def test_autocorrelation_is_met():
    rng = np.random.default_rng(0)
    x, y = (torch.from_numpy(rng.gamma(2, 1, (1, 1, 48, 40)) - 2) for _ in range(2))
    wanted = lags(y + 0.3 * y.roll(1, -1), 3)
    for _ in range(3):
        x = onto.with_autocorrelation(x, wanted)
    assert (lags(x, 3) - wanted).abs().max() < 1e-7 * wanted.max()


def test_autocorrelations_whose_filter_is_negative_somewhere_are_approached():
    x = normal(1, 1, 48, 40)
    x = x + 0.95 * x.roll(1, -1)
    y = normal(1, 1, 48, 40, seed=1)
    y = y + y.roll(3, -1) - y.roll((2, 2), (-2, -1))
    wanted = lags(y, 3)
    taps = onto._power_filter(sums.correlation(x, x, 6) / x[0, 0].numel(), wanted)
    assert onto._response(taps, (48, 40)).min() < 0
    errors = [float((lags(x, 3) - wanted).norm() / wanted.norm())]
    for _ in range(20):
        x = onto.with_autocorrelation(x, wanted)
        errors.append(float((lags(x, 3) - wanted).norm() / wanted.norm()))
    assert errors[1] < 0.7 * errors[0]
    assert errors[-1] < 0.05 * errors[0]


def test_a_known_spectrum_is_used():
    x, wanted = normal(2, 1, 24, 30), lags(normal(2, 1, 24, 30, seed=1), 2)
    given_one = onto.with_autocorrelation(x, wanted, torch.fft.rfft2(2 * x))
    torch.testing.assert_close(given_one, 2 * onto.with_autocorrelation(x, wanted))


@pytest.mark.parametrize("value", [0.0, 0.3])
def test_autocorrelations_of_planes_without_any(value):
    constant = torch.full((1, 2, 16, 17), value, dtype=torch.float64)
    assert onto.with_autocorrelation(constant, lags(normal(1, 2, 16, 17), 3)).isfinite().all()
    assert (onto.with_autocorrelation(normal(1, 2, 16, 17), torch.zeros(1, 2, 5, 5).double()).abs() < 1e-9).all()


# ---- Products --------------------------------------------------------------------------------------------------------


def test_products_are_met():
    x, y = normal(2, 5, 16, 20), torch.einsum("ij,bjhw->bihw", normal(5, 5, seed=1), normal(2, 5, 16, 20, seed=2))
    target = products(y)
    torch.testing.assert_close(products(onto.with_products(x, products(x), target)), target)
    target[:, 2:, 2:] = products(x)[:, 2:, 2:]  # the others stay as they are
    target[:, :2, 2:] *= 0.1
    new = torch.cat([onto.with_products(x, products(x), target[:, :2]), x[:, 2:]], 1)
    torch.testing.assert_close(products(new)[:, :2], target[:, :2])


def test_each_ones_products_are_met():
    x = normal(2, 5, 16, 20)
    target = 0.2 * torch.rand(2, 2, 3, generator=torch.Generator().manual_seed(0)).double() - 0.1
    new = products(torch.cat([onto.with_each_products(x, products(x), target), x[:, 2:]], 1))
    torch.testing.assert_close(new[:, :2, 2:], target)
    torch.testing.assert_close(new.diagonal(0, -2, -1), products(x).diagonal(0, -2, -1))


def test_products_that_nothing_has_take_the_nearest_covariance():
    """More covariance with the others than variances allow: what is left of the variance would be negative."""
    x = normal(1, 4, 24, 24)
    target = products(x)[:, :2].clone()
    target[:, :, 2:] = 2.0
    new = torch.cat([onto.with_products(x, products(x), target), x[:, 2:]], 1)
    torch.testing.assert_close(products(new)[:, :2, 2:], target[:, :, 2:])
    new = torch.cat([onto.with_each_products(x, products(x), target[..., 2:]), x[:, 2:]], 1)
    torch.testing.assert_close(products(new)[:, :2, 2:], target[:, :, 2:])


def test_planes_that_depend_on_each_other_or_are_zero():
    x = normal(2, 6, 16, 16)
    x[:, 1], x[:, 2], x[:, 5] = 2 * x[:, 0], 0, x[:, 3]
    target = products(normal(2, 6, 16, 16, seed=1))
    for new in (
        onto.with_products(x, products(x), target),
        onto.with_products(x, products(x), target[:, :3]),
        onto.with_each_products(x, products(x), target[:, :3, 3:]),
        onto.with_products(0 * x, 0 * target, target),
    ):
        assert new.isfinite().all()
        assert new.abs().max() < 100


# ---- Moments ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("order", "wanted"), [(3, 0.5), (3, -0.7), (4, 2.5), (4, 5.0), (4, 3.0)])
@pytest.mark.parametrize("seed", range(3))
def test_moments_are_met(order, wanted, seed):
    x = torch.from_numpy(np.random.default_rng(seed).gamma(9, 1, (1, 64, 64)))
    target = torch.tensor([wanted], dtype=torch.float64)
    four = torch.tensor([4.0], dtype=torch.float64)
    new = onto.with_moments(x - x.mean(), four, *((target, None) if order == 3 else (None, target)))
    assert float(new.mean()) == pytest.approx(0, abs=1e-9)
    assert float(new.square().mean()) == pytest.approx(4, rel=1e-9)
    assert standardised(new, order) == pytest.approx(wanted, abs=1e-8)


values = st.lists(st.floats(-1e3, 1e3, width=32), min_size=16, max_size=64)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(values, st.floats(-30, 30), st.floats(0, 300), st.sampled_from([3, 4]))
def test_moments_of_any_distribution(pixels, skewness, kurtosis, order):
    x = torch.tensor(pixels, dtype=torch.float64)[None, None]
    x = x - x.mean()
    wanted = skewness if order == 3 else kurtosis
    target = torch.tensor([wanted], dtype=torch.float64)
    new = onto.with_moments(x, None, *((target, None) if order == 3 else (None, target)))
    variance = float(x.square().mean())
    assert new.isfinite().all()
    if variance < 1e-9:
        return
    assert float(new.mean()) == pytest.approx(0, abs=1e-6 * variance**0.5)
    assert float(new.square().mean()) == pytest.approx(variance, rel=1e-6)
    before, after = standardised(x, order), standardised(new, order)
    # Towards the value wanted, and not beyond.
    slack = 1e-6 * (1 + abs(wanted) + abs(before))
    assert min(before, wanted) - slack <= after <= max(before, wanted) + slack


@pytest.mark.parametrize("order", [3, 4])
@pytest.mark.parametrize("sign", [-1, 1])
@pytest.mark.parametrize("seed", range(4))
def test_moments_that_no_step_reaches_take_the_nearest(order, sign, seed):
    """Against steps of all lengths until the moment turns back."""
    x = normal(1024, seed=seed).numpy() ** (1 + seed % 2)
    x = (x - x.mean()) / x.std()
    moments = [float(np.mean(x**k)) for k in range(13)]
    polynomial = onto.step(moments, order, sign * 1e6)
    gradient = x**2 - moments[3] * x - 1 if order == 3 else x**3 - moments[4] * x - moments[3]
    best = last = moments[order]
    for length in sign * np.geomspace(1e-5, 10, 3000):
        y = x + length * gradient
        now = float(np.mean(y**order) / np.mean(y**2) ** (order / 2))
        if sign * (now - last) < -1e-9:
            break
        best = last = now
    got = np.polynomial.polynomial.polyval(x, polynomial)
    assert np.mean(got**order) == pytest.approx(best, rel=1e-3)
    assert np.mean(got**2) == pytest.approx(1, rel=1e-9)
    assert np.abs(polynomial).max() < 20 * max(1.0, abs(moments[4]))


def test_variance_skewness_and_kurtosis_together():
    x = normal(3, 2, 40, 40) ** 3
    x -= x.mean((-2, -1), keepdim=True)
    variance, skewness, kurtosis = (low + torch.rand(3, 2).double() for low in (0.5, -0.5, 2.5))
    for _ in range(30):
        x = onto.with_moments(x, variance, skewness, kurtosis)
    torch.testing.assert_close(x.square().mean((-2, -1)), variance)
    for order, wanted in ((3, skewness), (4, kurtosis)):
        found = torch.tensor([[standardised(one, order) for one in group] for group in x]).double()
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_moments_of_constant_and_faint_planes(dtype):
    wanted = torch.tensor([2.0, 2.0]).double()
    x = torch.zeros(2, 8, 9, dtype=dtype)
    assert torch.equal(onto.with_moments(x, wanted, wanted, wanted), x)
    x[1] = 1e-15 * normal(8, 9).to(dtype)
    x[1] -= x[1].mean()
    new = onto.with_moments(x, wanted, 0 * wanted, wanted)
    assert (new[0] == 0).all()
    assert float(new[1].double().square().mean()) == pytest.approx(2, rel=1e-4)


# ---- Any batch, float32 ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(32, 32), (50, 67), (13, 24)])
def test_a_group_alone_or_in_a_batch(shape):
    x, y = normal(4, 3, *shape), normal(4, 3, *shape, seed=1) + 0.1
    current = torch.cat([gf.gram_matrix(one[None]) for one in x])
    target = torch.cat([gf.gram_matrix(one[None]) for one in y])
    moments = [torch.rand(4, 3).double() + low for low in (0.5, -0.5, 2.5)]

    def projected(x: Tensor, y: Tensor, current: Tensor, target: Tensor, *moments: Tensor) -> list[Tensor]:
        return [
            onto.with_autocorrelation(x, sums.correlation(y, y, 2) / y[0, 0].numel()),
            onto.with_products(x, current, target),
            onto.with_products(x, current, target[:, :1]),
            onto.with_each_products(x, current, target[:, :2, 2:]),
            onto.with_moments(x, *moments),
        ]

    given_all = (x, y, current, target, *moments)
    together = projected(*given_all)
    for i in range(4):
        alone = projected(*(one[i : i + 1] for one in given_all))
        assert all(torch.equal(a[i : i + 1], b) for a, b in zip(together, alone, strict=True))


def test_float32_is_near_float64():
    x, y = normal(1, 3, 40, 33), normal(1, 3, 40, 33, seed=1) ** 3
    for f in (
        lambda z: onto.with_autocorrelation(z, lags(y, 3)),
        lambda z: onto.with_products(z, products(x), products(y)),
        lambda z: onto.with_each_products(z, products(x), products(y)[:, :2, 2:]),
        lambda z: onto.with_moments(z, *(torch.full((1, 3), v).double() for v in (2, 0.4, 3.5))),
    ):
        narrow = f(x.float())
        assert narrow.dtype == torch.float32
        torch.testing.assert_close(narrow.double(), f(x), rtol=0, atol=2e-5 * float(f(x).abs().max()))
