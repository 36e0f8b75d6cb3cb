"""The exact denoiser of a mixture of Gaussians: by integration, and by what sampling with it gives."""

from __future__ import annotations

import math

import pytest
import torch

import genimg_fast as gf

diffusers = pytest.importorskip("diffusers")

MixtureDenoiser = gf.diffusion.MixtureDenoiser


def scheduler(kind: str = "DDPMScheduler", steps: int = 200, **options):
    found = getattr(diffusers, kind)(
        num_train_timesteps=1000, beta_schedule="squaredcos_cap_v2", clip_sample=False, **options
    )
    found.set_timesteps(steps)
    return found


def means(*values: float, shape=(1, 1, 1)) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)[:, None, None, None] * torch.ones(shape, dtype=torch.float64)


def test_expected_by_integration():
    # One value: E[x0 | x] is a quotient of two sums over a fine grid of x0.
    mixture = MixtureDenoiser(means(-1.0, 2.0), [0.3, 0.7], [1.0, 3.0])
    grid = torch.linspace(-8, 8, 20001, dtype=torch.float64)

    def density(x, mean, std):
        return torch.exp(-0.5 * ((x - mean) / std) ** 2) / std

    prior = 0.25 * density(grid, -1.0, 0.3) + 0.75 * density(grid, 2.0, 0.7)
    for abar in (0.05, 0.5, 0.95):
        for x in (-2.0, 0.3, 1.7):
            posterior = prior * density(
                torch.tensor(x, dtype=torch.float64), math.sqrt(abar) * grid, math.sqrt(1 - abar)
            )
            wanted = (posterior * grid).sum() / posterior.sum()
            got = mixture.expected(torch.full((1, 1, 1, 1), x, dtype=torch.float64), abar)
            assert got.item() == pytest.approx(wanted.item(), abs=1e-9)


def test_kinds_of_prediction_are_of_one_picture():
    mixture = MixtureDenoiser(torch.randn(4, 2, 3, 3, dtype=torch.float64), 0.5)
    x, abar = torch.randn(5, 2, 3, 3, dtype=torch.float64), 0.3
    x0 = mixture.predict(x, abar, "sample")
    epsilon, v = mixture.predict(x, abar), mixture.predict(x, abar, "v_prediction")
    assert torch.allclose(math.sqrt(abar) * x0 + math.sqrt(1 - abar) * epsilon, x)
    assert torch.allclose(math.sqrt(abar) * x - math.sqrt(1 - abar) * v, x0)


def test_labels_choose_components():
    mixture = MixtureDenoiser(means(-1.0, 1.0, 3.0), 0.1, labels=[0, 0, 1])
    x = torch.zeros(3, 1, 1, 1, dtype=torch.float64)
    got = mixture.expected(x, 0.01, torch.tensor([0, 1, -1])).flatten()
    assert got[0].item() == pytest.approx(0, abs=1e-3)
    assert got[1].item() == pytest.approx(3, abs=1e-3)
    assert got[2] == pytest.approx(mixture.expected(x[:1], 0.01).item())


@pytest.mark.parametrize(("kind", "eta"), [("DDPMScheduler", 0.0), ("DDIMScheduler", 0.0), ("DDIMScheduler", 1.0)])
def test_samples_have_the_mixtures_moments(kind, eta):
    mixture = MixtureDenoiser(means(-1.0, 1.5), 0.4, [1.0, 3.0])
    sampler = gf.MultiViewStep(gf.Views("identity", mixture.shape), scheduler(kind), None, eta=eta)
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(40000, 1, 1, 1, generator=generator, dtype=torch.float64)
    x = sampler.sample(mixture.network(sampler.scheduler), noise, generator=generator).flatten()
    upper = x > 0.2
    assert upper.double().mean().item() == pytest.approx(0.75, abs=0.02)
    assert x[upper].mean().item() == pytest.approx(1.5, abs=0.03)
    assert x[~upper].mean().item() == pytest.approx(-1.0, abs=0.03)
    assert x[upper].std().item() == pytest.approx(0.4, abs=0.03)


def test_an_anagram_of_two_gaussians_has_the_right_distribution():
    """Two views, each with a Gaussian of its own: moments follow the steps exactly, because every step is linear.

    View 1 wants mean a and view 2 wants mean b (as it sees the picture). With both predictions averaged, the mean of
    the result is that of a and of b turned back; its variance is that of the steps. Both are followed in float64.
    """
    shape, std = (1, 2, 2), 0.5
    a = torch.tensor([[1.0, -1.0], [0.5, 2.0]], dtype=torch.float64)[None, None]
    b = torch.tensor([[0.0, 1.0], [-2.0, 0.5]], dtype=torch.float64)[None, None]
    mixture = MixtureDenoiser(torch.cat([a, b]), std, labels=[0, 1])
    views = gf.Views(["identity", "rotate_180"], shape)
    sampler = gf.MultiViewStep(views, scheduler(steps=100), None)
    count, generator = 20000, torch.Generator().manual_seed(1)
    network = mixture.network(sampler.scheduler, [0] * count + [1] * count)
    noise = torch.randn(count, *shape, generator=generator, dtype=torch.float64)
    got = sampler.sample(network, noise, generator=generator)

    mean, variance = torch.zeros_like(a), 1.0
    middle = (a + b.flip((-2, -1))) / 2
    for t in sampler.timesteps:
        k = sampler._coefficients(t)[0]
        abar = float(sampler.scheduler.alphas_cumprod[t])
        spread = abar * std**2 + 1 - abar
        # eps = sqrt(1 - abar) / spread (x - sqrt(abar) mean): linear, and the averaged one has the middle of both means
        slope = math.sqrt(1 - abar) / spread
        offset = -slope * math.sqrt(abar) * middle
        gain = k.from_x + k.from_x0 * (k.x0_from_x + k.x0_from_m * slope) + k.from_m * slope
        mean = gain * mean + (k.from_x0 * k.x0_from_m + k.from_m) * offset
        variance = gain**2 * variance + (k.deviation**2 if k.is_noisy else 0)
    error = math.sqrt(variance / count)
    assert torch.allclose(mean, middle, atol=0.02)
    assert (got.mean(0, keepdim=True) - mean).abs().max() < 5 * error
    assert got.var(0).mean().item() == pytest.approx(variance, rel=0.03)


def test_guidance_goes_beyond_the_class():
    mixture = MixtureDenoiser(means(-1.0, 1.0), 0.5, labels=[0, 1])
    x, ends = torch.randn(2000, 1, 1, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64), []
    for guidance in (1.0, 3.0):
        sampler = gf.MultiViewStep(gf.Views("identity", (1, 1, 1)), scheduler("DDIMScheduler", 50), guidance)
        ends.append(sampler.sample(mixture.network(sampler.scheduler, [-1] * 2000 + [1] * 2000), x).mean().item())
    assert ends[0] == pytest.approx(1.0, abs=0.05)
    assert ends[1] > ends[0] + 0.1


def test_errors():
    with pytest.raises(ValueError, match=r"means must be floats \(K, C, H, W\), got \(3,\)"):
        MixtureDenoiser(torch.zeros(3), 1.0)
    with pytest.raises(ValueError, match="std must be finite and not negative, got -1"):
        MixtureDenoiser(means(0.0), -1)
    with pytest.raises(ValueError, match="weights must be positive and finite"):
        MixtureDenoiser(means(0.0, 1.0), 1.0, [1.0, 0.0])
    with pytest.raises(ValueError, match="labels must hold one class for each of 2 components"):
        MixtureDenoiser(means(0.0, 1.0), 1.0, labels=[1])
    with pytest.raises(ValueError, match="abar must be above 0 and at most 1, got 0"):
        MixtureDenoiser(means(0.0), 1.0).expected(torch.zeros(1, 1, 1, 1, dtype=torch.float64), 0)
    with pytest.raises(ValueError, match="kind must be one of 'epsilon'"):
        MixtureDenoiser(means(0.0), 1.0).predict(torch.zeros(1, 1, 1, 1, dtype=torch.float64), 0.5, "flow")
