"""Means, covariances and the distances of normal distributions against float64 lines and closed forms."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import scipy.linalg
import torch
from conftest import Device

import genimg_fast as gf

SQUARED = ("mean", "sum", "gatys-deeptextures", "gatys-pytorch", "crowsonkb")


def seeded(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def lines(x: torch.Tensor, mask: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.Tensor]:
    """Return means and covariances of (..., C, H, W), the pixels weighted by the squares of the mask."""
    weight = torch.ones(x.shape[-2:], dtype=x.dtype) if mask is None else mask.to(x) ** 2
    weight = (weight / weight.sum((-2, -1), keepdim=True))[..., None, :, :]
    mean = (weight * x).sum((-2, -1))
    d = x - mean[..., None, None]
    return mean, torch.einsum("...chw,...dhw->...cd", weight * d, d)


def with_moments(mean: torch.Tensor, covariance: torch.Tensor, seed: int = 0) -> torch.Tensor:
    """Return features (C, 6, 10) whose moments are these exactly."""
    channels = len(mean)
    white = torch.linalg.qr(torch.cat([torch.ones(60, 1), seeded(60, channels, seed=seed)], 1).double())[0][:, 1:]
    values, vectors = torch.linalg.eigh(covariance)
    root = vectors * values.clamp(min=0).sqrt()
    return (root @ white.mT * 60**0.5 + mean[:, None]).reshape(channels, 6, 10)


def positive(channels: int, seed: int = 0) -> torch.Tensor:
    a = seeded(channels, channels, seed=seed)
    return a @ a.mT / channels + 0.1 * torch.eye(channels, dtype=torch.float64)


def w2(m: Any, s: Any, n: Any, t: Any, epsilon: float = 0.0) -> float:
    """Return the distance by scipy's root of a product that is not symmetric."""
    s, t = (np.asarray(x) + epsilon * np.eye(len(x)) for x in (s, t))
    root = scipy.linalg.sqrtm(s @ t).real
    return float(((np.asarray(m) - np.asarray(n)) ** 2).sum() + np.trace(s + t - 2 * root))


# ---- Moments --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(5, 12, 9), (2, 3, 7, 8, 6), (1, 1, 1), (40, 3, 5), (0, 4, 5, 6)])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_moments(device: Device, shape: tuple[int, ...], dtype: torch.dtype) -> None:
    x = (3 + 2 * seeded(*shape)).to(dtype)
    wanted = lines(x.double())
    tolerance = 1e-13 if dtype == torch.float64 else 1e-5
    arrays = [] if dtype == torch.bfloat16 else [gf.moments(x.numpy())]
    for found in [gf.moments(x.to(device.torch)), *arrays]:
        for one, want in zip(found, wanted, strict=True):
            one = torch.as_tensor(one).cpu()
            assert one.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
            torch.testing.assert_close(one.double(), want, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("kind", ["one", "each", "boolean"])
def test_mask(device: Device, kind: str) -> None:
    x = seeded(2, 5, 8, 9) + 1
    mask = torch.rand(*((2,) if kind == "each" else ()), 8, 9, generator=torch.Generator().manual_seed(0)).double()
    mask = mask > 0.4 if kind == "boolean" else mask
    wanted = lines(x, mask)
    there = gf.moments(x.to(device.torch), mask=mask.to(device.torch))
    for found in (there, gf.moments(x.numpy(), mask=mask.numpy())):
        for one, want in zip(found, wanted, strict=True):
            torch.testing.assert_close(torch.as_tensor(one).cpu(), want, rtol=1e-12, atol=1e-12)


def test_layouts_give_the_same() -> None:
    x = seeded(2, 7, 8, 9).float()
    wanted = gf.moments(x)
    for other in (
        gf.moments(x.to(memory_format=torch.channels_last)),
        gf.moments(x.numpy()[..., ::-1, ::-1]),
        [torch.stack(every) for every in zip(*(gf.moments(one.flatten(1)) for one in x), strict=True)],
    ):
        for one, want in zip(other, wanted, strict=True):
            torch.testing.assert_close(torch.as_tensor(one), want, rtol=0, atol=1e-5)


@pytest.mark.parametrize("mask", [None, torch.linspace(0, 1, 20, dtype=torch.float64).reshape(4, 5)])
def test_derivatives_of_moments(device: Device, mask: torch.Tensor | None) -> None:
    x = seeded(2, 3, 4, 5).to(device.torch).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: tuple(gf.moments(x, mask=mask)), x)
    assert torch.autograd.gradgradcheck(lambda x: tuple(gf.moments(x, mask=mask)), x)


def test_gradient_of_half_types() -> None:
    x = (3 + seeded(2, 3, 4, 5)).bfloat16().requires_grad_()
    y = x.detach().double().requires_grad_()
    for z in (x, y):
        found = gf.moments(z)
        (found.mean.square().sum() + found.covariance.square().sum().to(found.mean)).backward()
    assert x.grad.dtype == torch.bfloat16
    torch.testing.assert_close(x.grad.double(), y.grad, rtol=1e-2, atol=1e-2)


# ---- Squared differences --------------------------------------------------------------------------------------------


def reduced(d: torch.Tensor, channels: int, reduction: str) -> torch.Tensor:
    return {
        "mean": (d**2).mean(),
        "sum": (d**2).sum(),
        "gatys-deeptextures": (d**2).sum() / (4 * channels**2),
        "gatys-pytorch": (d**2).mean() * 1e3 / channels**2,
        "crowsonkb": (d**2).sum() / (d.abs().sum() + 1e-8),
    }[reduction]


@pytest.mark.parametrize("reduction", SQUARED)
def test_squared_and_its_gradient(reduction: str) -> None:
    layers = [seeded(2, c, 9, 10, seed=c).requires_grad_() for c in (5, 12)]
    targets = [gf.moments(2 * seeded(2, c, 7, 8, seed=c + 1) - 1) for c in (5, 12)]
    want: Any = 0.0
    for x, target, weight in zip(layers, targets, (0.3, 2.0), strict=True):
        for found, wanted in zip(lines(x), target, strict=True):
            want = want + weight * reduced(found - wanted, x.shape[1], reduction)
    loss = gf.moments_loss(layers, targets, reduction=reduction, weights=(0.3, 2.0))
    torch.testing.assert_close(loss, want, rtol=1e-12, atol=0)
    for a, b in zip(torch.autograd.grad(loss, layers), torch.autograd.grad(want, layers), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-13)
    arrays = [x.detach().numpy() for x in layers]
    pairs = [tuple(one.numpy() for one in target) for target in targets]
    got = gf.moments_loss(arrays, pairs, reduction=reduction, weights=(0.3, 2.0))
    np.testing.assert_allclose(got, want.item(), rtol=1e-12)


def test_second_derivatives_of_squared(device: Device) -> None:
    x = seeded(2, 3, 4, 5).to(device.torch).requires_grad_()
    target = gf.moments(seeded(3, 4, 5, seed=1).to(device.torch))  # one for the batch
    assert torch.autograd.gradcheck(lambda x: gf.moments_loss(x, target), x)
    assert torch.autograd.gradgradcheck(lambda x: gf.moments_loss(x, target), x)


# ---- Wasserstein ----------------------------------------------------------------------------------------------------


def test_w2_of_commuting_covariances() -> None:
    """For covariances with the same axes: the squared distance of the standard deviations."""
    axes = torch.linalg.qr(seeded(6, 6))[0]
    s, t = (torch.rand(6, generator=torch.Generator().manual_seed(i), dtype=torch.float64) + 0.1 for i in (1, 2))
    m, n = seeded(6, seed=3), seeded(6, seed=4)
    x = with_moments(m, axes * s @ axes.mT)
    want = ((m - n) ** 2).sum() + ((s.sqrt() - t.sqrt()) ** 2).sum()
    target = (n, axes * t @ axes.mT)
    loss = gf.moments_loss(x, target, distance="w2", reduction="sum", epsilon=0)
    torch.testing.assert_close(loss, want, rtol=1e-11, atol=0)
    blurred = ((m - n) ** 2).sum() + (((s + 0.5).sqrt() - (t + 0.5).sqrt()) ** 2).sum()
    loss = gf.moments_loss(x, target, distance="w2", reduction="sum", epsilon=0.5)
    torch.testing.assert_close(loss, blurred, rtol=1e-11, atol=0)
    pair = (n.numpy(), target[1].numpy())
    array = gf.moments_loss(x.numpy(), pair, distance="w2", reduction="sum", epsilon=0.5)
    np.testing.assert_allclose(array, blurred.item(), rtol=1e-11)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_w2_of_any_covariances(device: Device, reduction: str) -> None:
    x, y = 2 * seeded(3, 5, 8, 9) + 1, seeded(3, 5, 7, 6, seed=1)
    target = gf.moments(y)
    each = [w2(*lines(a), *lines(b), epsilon=1e-4) for a, b in zip(x, y, strict=True)]
    want = sum(each) if reduction == "sum" else sum(each) / 3 / 5
    options = {"distance": "w2", "reduction": reduction, "epsilon": 1e-4}
    there = gf.moments_loss(x.to(device.torch), [one.to(device.torch) for one in target], **options)
    assert there.item() == pytest.approx(want, rel=1e-9)
    arrays = gf.moments_loss(x.numpy(), tuple(one.numpy() for one in target), **options)
    assert arrays == pytest.approx(want, rel=1e-9)
    single = gf.moments_loss(x.float(), target, **options)
    assert single.dtype == torch.float32
    assert single.item() == pytest.approx(want, rel=1e-4)


def test_w2_gradient_is_the_transport() -> None:
    """Takatsu 2011: pixels move against x - T(x), T the optimal map to the target's distribution."""
    x, n, t = seeded(4, 6, 7) + 0.5, seeded(4, seed=1), positive(4)
    m, s = lines(x)
    root = torch.from_numpy(scipy.linalg.sqrtm(t.numpy()).real)
    middle = torch.from_numpy(scipy.linalg.inv(scipy.linalg.sqrtm((root @ s @ root).numpy()).real))
    moved = (root @ middle @ root) @ (x.flatten(1) - m[:, None]) + n[:, None]
    y = x.clone().requires_grad_()
    loss = gf.moments_loss(y, (n, t), distance="w2", reduction="sum", epsilon=0)
    (gradient,) = torch.autograd.grad(loss, y)
    torch.testing.assert_close(gradient, 2 / 42 * (x - moved.reshape(x.shape)), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("case", ["any", "equal variances", "equal", "a dead channel", "a dead target", "a plane"])
def test_w2_derivatives(case: str) -> None:
    """Also where eigenvalues coincide or are as small as epsilon."""
    identity, zero = torch.eye(3, dtype=torch.float64), torch.zeros(3, dtype=torch.float64)
    s, t = {
        "any": (positive(3), positive(3, seed=1)),
        "equal variances": (identity, 2 * identity),
        "equal": (positive(3), positive(3)),
        "a dead channel": (torch.diag(torch.tensor([1.0, 0.0, 2.0])).double(), positive(3)),
        "a dead target": (positive(3), torch.diag(torch.tensor([1.0, 0.0, 2.0])).double()),
        "a plane": (
            torch.diag(torch.tensor([1.0, 0.0, 2.0])).double(),
            torch.diag(torch.tensor([0.0, 0.0, 1.0])).double(),
        ),
    }[case]
    x = with_moments(zero, s)[:, :3, :4].contiguous() if case == "any" else with_moments(zero, s)
    x = x.requires_grad_()
    function = lambda x: gf.moments_loss(x, (zero, t), distance="w2", epsilon=0.01)  # noqa: E731
    assert torch.autograd.gradcheck(function, x, eps=1e-6, atol=1e-6)
    assert torch.autograd.gradgradcheck(function, x, eps=1e-6, atol=1e-6, fast_mode=True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_equal_moments_are_at_no_distance(dtype: torch.dtype) -> None:
    x = (3 * seeded(2, 12, 9, 10)).to(dtype).requires_grad_()
    target = gf.moments(x.detach())
    for options in ({}, {"distance": "w2"}, {"distance": "w2", "epsilon": 0}):
        loss = gf.moments_loss(x, target, reduction="sum", **options)
        assert 0 <= loss.item() < 1e-10
        (gradient,) = torch.autograd.grad(loss, x)
        assert gradient.abs().max() < 1e-6


@pytest.mark.parametrize("epsilon", [None, 0])
def test_w2_of_constant_features(epsilon: float | None) -> None:
    m, n, t = seeded(4), seeded(4, seed=1), positive(4)
    for s, target in ((0 * t, t), (t, 0 * t), (0 * t, 0 * t)):
        x = with_moments(m, s).requires_grad_()
        loss = gf.moments_loss(x, (n, target), distance="w2", reduction="sum", epsilon=epsilon)
        want = ((m - n) ** 2).sum() + torch.trace(s + target)
        torch.testing.assert_close(loss, want, rtol=2e-2 if epsilon is None else 1e-6, atol=0)
        (gradient,) = torch.autograd.grad(loss, x)
        assert gradient.isfinite().all()
        torch.testing.assert_close(gradient.mean((-2, -1)), 2 / 60 * (m - n), rtol=1e-6, atol=1e-9)


def test_w2_gradient_is_bounded() -> None:
    """By the transport's |x - T(x)| <= |x - m| + |T(x) - m|, also where equal channels leave singular covariances."""
    x, t = (3 * seeded(8, 12, 12)).float(), positive(8)
    x[4:] = x[:4]
    mean = x.mean((-2, -1))
    loss = gf.moments_loss(x.requires_grad_(), (mean, t), distance="w2", reduction="sum")
    (gradient,) = torch.autograd.grad(loss, x)
    most = (x - mean[:, None, None]).norm() + (144 * torch.trace(t)).sqrt()
    assert gradient.norm() < 1.001 * 2 / 144 * most


def test_default_epsilon_has_the_features_unit() -> None:
    x, y = seeded(4, 6, 7), seeded(4, 6, 7, seed=1)
    y[0] = 0.5
    loss = gf.moments_loss(x, gf.moments(y), distance="w2")
    scaled = gf.moments_loss(1000 * x, gf.moments(1000 * y), distance="w2")
    torch.testing.assert_close(scaled, 1e6 * loss, rtol=1e-10, atol=0)
    variance = float(torch.trace(lines(y)[1])) / 4
    explicit = gf.moments_loss(x, gf.moments(y), distance="w2", epsilon=1e-5 * variance)
    torch.testing.assert_close(loss, explicit, rtol=1e-12, atol=0)
    assert abs(loss - gf.moments_loss(x, gf.moments(y), distance="w2", epsilon=0)) > 1e-6


def test_descent_ends_at_the_target() -> None:
    """From features that do not vary in one direction."""
    x, target = seeded(3, 8, 8), (torch.ones(3).double(), positive(3, seed=5))
    x[1] = x[0]
    x[:, 0, 0] += 1e-3
    x.requires_grad_()
    optimizer = torch.optim.LBFGS([x], max_iter=200, line_search_fn="strong_wolfe", tolerance_grad=0)

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = gf.moments_loss(x, target, distance="w2")
        loss.backward()
        return loss

    optimizer.step(closure)
    for found, wanted in zip(lines(x.detach()), target, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)


# ---- Options, kinds and arguments -----------------------------------------------------------------------------------


@pytest.mark.parametrize("distance", ["squared", "w2"])
def test_masks_of_layers(distance: str) -> None:
    layers = [seeded(2, 5, 9, 10), seeded(2, 7, 4, 5, seed=1)]
    masks = [torch.rand(9, 10).double(), torch.rand(2, 4, 5) > 0.3]
    targets = [gf.moments(seeded(c, 6, 7, seed=c)) for c in (5, 7)]
    want = [
        gf.moments_loss(x, target, distance=distance, mask=mask)
        for x, target, mask in zip(layers, targets, masks, strict=True)
    ]
    got = gf.moments_loss(layers, targets, distance=distance, mask=masks)
    torch.testing.assert_close(got, want[0] + want[1], rtol=1e-12, atol=0)
    one = gf.moments_loss([layers[0]] * 2, [targets[0]] * 2, distance=distance, mask=masks[0])
    torch.testing.assert_close(one, 2 * want[0], rtol=1e-12, atol=0)
    assert abs(want[0] - gf.moments_loss(layers[0], targets[0], distance=distance)) > 1e-4


def test_the_target_gets_no_gradient() -> None:
    y = seeded(3, 4, 5).requires_grad_()
    for distance in ("squared", "w2"):
        assert not gf.moments_loss(seeded(3, 4, 5, seed=1), gf.moments(y), distance=distance).requires_grad


def test_same_bits_for_any_number_of_threads() -> None:
    x, before = seeded(1, 70, 90, 80).float(), torch.get_num_threads()
    found = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        found.append(gf.moments(x))
    torch.set_num_threads(before)
    assert all(torch.equal(a, b) for other in found for a, b in zip(other, found[0], strict=True))


@pytest.mark.parametrize("distance", ["squared", "w2"])
def test_vmap_and_functional(distance: str) -> None:
    x, target = seeded(3, 2, 4, 5, 6), gf.moments(seeded(4, 5, 6, seed=1))

    def loss(z: torch.Tensor) -> torch.Tensor:
        return gf.moments_loss(z, target, distance=distance)

    torch.testing.assert_close(torch.func.vmap(loss)(x), torch.stack([loss(z) for z in x]))
    y = x.clone().requires_grad_()
    torch.stack([loss(z) for z in y]).sum().backward()
    torch.testing.assert_close(torch.func.vmap(torch.func.grad(loss))(x), y.grad)


@pytest.mark.parametrize("distance", ["squared", "w2"])
def test_compile(distance: str) -> None:
    target = gf.moments(seeded(4, 5, 6, seed=1))

    def loss(x: torch.Tensor) -> torch.Tensor:
        return gf.moments_loss(x, target, distance=distance)

    y, z = (seeded(2, 4, 5, 6).requires_grad_() for _ in range(2))
    torch.compile(loss, fullgraph=True, backend="aot_eager")(y).backward()
    loss(z).backward()
    torch.testing.assert_close(y.grad, z.grad)


def test_arrays_do_not_import_torch() -> None:
    code = (
        "import sys, numpy as np, genimg_fast as gf; x = np.random.default_rng(0).random((3, 4, 5));"
        "gf.moments_loss(x, gf.moments(x[:, ::-1] ** 2), distance='w2'); assert 'torch' not in sys.modules;"
        "gf.moments(x)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_bad_arguments_are_named() -> None:
    x = seeded(3, 4, 5)
    target = gf.moments(x)
    for options, message in (
        ({"distance": "w1"}, "distance must be one of 'squared', 'w2', got 'w1'"),
        ({"reduction": "keras"}, "reduction of 'squared' must be one of 'mean', .*, got 'keras'"),
        ({"distance": "w2", "reduction": "crowsonkb"}, "reduction of 'w2' must be one of 'mean', 'sum', got"),
        ({"distance": "w2", "epsilon": -1}, "epsilon must be at least 0 and is for distance='w2' alone, got -1"),
        ({"distance": "w2", "epsilon": float("nan")}, "epsilon must be at least 0"),
        ({"epsilon": 1e-4}, "epsilon must be at least 0 and is for distance='w2' alone, got 0.0001"),
        ({"weights": [1, 2]}, "must be of one length, got 1, 1, 1 and 2"),
        ({"mask": torch.ones(2, 2)}, "mask must broadcast to"),
    ):
        with pytest.raises(ValueError, match=message):
            gf.moments_loss(x, target, **options)
    with pytest.raises(ValueError, match="must be of one length, got 0, 0, 0 and 0"):
        gf.moments_loss([], [])
    with pytest.raises(ValueError, match=r"the target's mean must be \(3,\) or \(3,\) for these features, got \(2,\)"):
        gf.moments_loss(x, (torch.ones(2), target[1]))
    with pytest.raises(ValueError, match=r"the target's covariance must be \(3, 3\) or"):
        gf.moments_loss(x, (target[0], torch.ones(3)))
    with pytest.raises(TypeError, match=r"target must be a pair \(mean, covariance\), got Tensor"):
        gf.moments_loss(x, target.covariance)
    with pytest.raises(TypeError, match=r"target must be a pair \(mean, covariance\), got Tensor"):
        gf.moments_loss([x, x], target)
    with pytest.raises(TypeError, match="the target's mean must be of the features' kind, got ndarray"):
        gf.moments_loss(x, (target[0].numpy(), target[1]))
    with pytest.raises(TypeError, match=r"features must be of a real floating dtype, got torch\.int64"):
        gf.moments(torch.ones(3, 4, 5, dtype=torch.int64))
    with pytest.raises(ValueError, match="features must have channels and pixels"):
        gf.moments(torch.ones(3, 0, 5))
