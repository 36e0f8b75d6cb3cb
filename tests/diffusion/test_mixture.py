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


def test_expected_is_the_slope_of_the_density_of_whole_pictures():
    """Tweedie's formula by automatic derivatives, with torch's own normal distributions, of other spreads."""
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(4, 2, 3, 3, generator=generator, dtype=torch.float64)
    stds, weights, abar = torch.tensor([0.3, 0.5, 0.9, 0.4], dtype=torch.float64), [1.0, 2.0, 0.5, 1.0], 0.4
    x = torch.randn(6, 2, 3, 3, generator=generator, dtype=torch.float64).requires_grad_()
    noisy = torch.distributions.Normal(
        math.sqrt(abar) * centres, (abar * stds**2 + 1 - abar).sqrt()[:, None, None, None].expand_as(centres)
    )
    logs = noisy.log_prob(x[:, None]).flatten(2).sum(-1) + torch.tensor(weights, dtype=torch.float64).log()
    (score,) = torch.autograd.grad(logs.logsumexp(1).sum(), x)
    wanted = (x + (1 - abar) * score) / math.sqrt(abar)
    assert torch.allclose(MixtureDenoiser(centres, stds.tolist(), weights).expected(x, abar), wanted, atol=1e-12)


def test_kinds_of_prediction_are_of_one_picture():
    mixture = MixtureDenoiser(torch.randn(4, 2, 3, 3, dtype=torch.float64), 0.5)
    x, abar = torch.randn(5, 2, 3, 3, dtype=torch.float64), 0.3
    x0 = mixture.predict(x, abar, "sample")
    epsilon, v = mixture.predict(x, abar), mixture.predict(x, abar, "v_prediction")
    assert torch.allclose(math.sqrt(abar) * x0 + math.sqrt(1 - abar) * epsilon, x)
    assert torch.allclose(math.sqrt(abar) * x - math.sqrt(1 - abar) * v, x0)


def test_predictions_are_exact_with_hardly_any_noise_and_without_signal():
    mixture = MixtureDenoiser(means(-1.0, 2.0, shape=(1, 2, 2)).float(), [0.5, 0.25])
    x = torch.full((1, 1, 2, 2), 2.125)
    # z of the second component alone: noise / spread (x - signal mean)
    wanted = math.sqrt(1e-9) / (0.0625 * (1 - 1e-9) + 1e-9) * (2.125 - math.sqrt(1 - 1e-9) * 2)
    assert torch.allclose(mixture.predict(x, 1 - 1e-9), torch.tensor(wanted, dtype=torch.float32), rtol=1e-4, atol=0)
    assert torch.equal(mixture.predict(x, 1.0), torch.zeros_like(x))
    assert torch.allclose(mixture.expected(x, 1.0), x)
    assert torch.allclose(mixture.expected(x, 0.0), torch.tensor(0.5))  # the mean of the means
    assert torch.equal(mixture.predict(x, 0.0), x)


def test_velocity_by_integration():
    mixture = MixtureDenoiser(means(-1.0, 2.0), [0.3, 0.7], [1.0, 3.0])
    grid = torch.linspace(-8, 8, 20001, dtype=torch.float64)
    prior = sum(w / s * torch.exp(-0.5 * ((grid - m) / s) ** 2) for w, m, s in ((0.25, -1, 0.3), (0.75, 2, 0.7)))
    for sigma in (0.1, 0.5, 0.9, 1.0):
        for x in (-1.5, 0.2, 1.4):
            z = (x - (1 - sigma) * grid) / sigma
            posterior = prior * torch.exp(-0.5 * z**2)
            wanted = (posterior * (z - grid)).sum() / posterior.sum()
            got = mixture.velocity(torch.full((1, 1, 1, 1), x, dtype=torch.float64), sigma)
            assert got.item() == pytest.approx(wanted.item(), abs=1e-8)


def test_results_have_the_dtype_of_the_pictures():
    mixture = MixtureDenoiser(means(-1.0, 1.0, shape=(1, 2, 2)).float(), 0.5)
    for dtype in (torch.float16, torch.float32, torch.float64):
        x = torch.linspace(-1, 1, 4).view(1, 1, 2, 2).to(dtype)
        assert mixture.predict(x, 0.3).dtype == mixture.velocity(x, 0.3).dtype == dtype
    wide = MixtureDenoiser(mixture.means.double(), 0.5)
    assert torch.allclose(mixture.expected(x, 0.3), wide.expected(x, 0.3), rtol=1e-6, atol=0)


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


def test_flow_matching_gives_the_mixtures_moments():
    mixture = MixtureDenoiser(means(-1.0, 1.5), 0.4, [1.0, 3.0], labels=[0, 1])
    flow = diffusers.FlowMatchEulerDiscreteScheduler(shift=2.0)
    sampler = gf.MultiViewStep(gf.Views("identity", mixture.shape), flow, None, steps=200)
    noise = torch.randn(20000, 1, 1, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x = sampler.sample(mixture.network(sampler.scheduler), noise).flatten()
    upper = x > 0.2
    assert upper.double().mean().item() == pytest.approx(0.75, abs=0.02)
    assert x[upper].mean().item() == pytest.approx(1.5, abs=0.03)
    assert x[upper].std().item() == pytest.approx(0.4, abs=0.03)
    lower = sampler.sample(mixture.network(sampler.scheduler, [0] * 20000), noise)
    assert lower.mean().item() == pytest.approx(-1.0, abs=0.02)


class Density:
    """A mixture of normal densities of one value, written plainly."""

    def __init__(self, means: list[float], stds: list[float], weights: list[float]) -> None:
        self.parts = list(zip(means, stds, weights, strict=True))

    def noise(self, x: torch.Tensor, abar: float) -> torch.Tensor:
        """Return E[z | x] = -sqrt(1 - abar) d log p / dx of the noisy density p (Tweedie's formula)."""
        p = slope = torch.zeros_like(x)
        for mean, std, weight in self.parts:
            variance = abar * std**2 + 1 - abar
            offset = x - math.sqrt(abar) * mean
            part = weight / math.sqrt(variance) * torch.exp(-(offset**2) / (2 * variance))
            p, slope = p + part, slope - part * offset / variance
        return -math.sqrt(1 - abar) * slope / p


def test_an_anagram_of_two_mixtures_has_the_right_distribution():
    """One value, upright and negated: its density is carried through the same steps of DDPM on a fine grid."""
    upright, negated = Density([-1.0, 1.5], [0.5, 0.6], [1.0, 3.0]), Density([-1.0, 0.5], [0.7, 0.5], [2.0, 1.0])
    mixture = MixtureDenoiser(means(-1.0, 1.5, -1.0, 0.5), [0.5, 0.6, 0.7, 0.5], [1, 3, 2, 1], labels=[0, 0, 1, 1])
    sampler = gf.MultiViewStep(gf.Views(["identity", "negate"], mixture.shape), scheduler(steps=30), None)
    count, generator = 40000, torch.Generator().manual_seed(2)
    noise = torch.randn(count, 1, 1, 1, generator=generator, dtype=torch.float64)
    network = mixture.network(sampler.scheduler, [0] * count + [1] * count)
    got = sampler.sample(network, noise, generator=generator).flatten()

    grid = torch.linspace(-7, 7, 1401, dtype=torch.float64)
    density = torch.exp(-0.5 * grid**2)
    abars = sampler.scheduler.alphas_cumprod.double()
    for t, after in zip(sampler.timesteps, [*sampler.timesteps[1:], None], strict=True):
        abar, later = float(abars[t]), 1.0 if after is None else float(abars[after])
        epsilon = (upright.noise(grid, abar) - negated.noise(-grid, abar)) / 2
        x0, alpha = (grid - math.sqrt(1 - abar) * epsilon) / math.sqrt(abar), abar / later
        mean = (math.sqrt(later) * (1 - alpha) * x0 + math.sqrt(alpha) * (1 - later) * grid) / (1 - abar)
        if after is None:
            break
        variance = (1 - later) / (1 - abar) * (1 - alpha)
        kernel = torch.exp(-((grid[:, None] - mean) ** 2) / (2 * variance))
        density = kernel @ (density / kernel.sum(0))
    density = density / density.sum()
    first = (density * mean).sum().item()
    second = (density * mean**2).sum().item()
    third = (density * mean**3).sum().item()
    upper = density[mean > 0.2].sum().item()
    assert 0.1 < upper < 0.9  # both lobes are there: no single normal density
    assert got.mean().item() == pytest.approx(first, abs=5 * got.std().item() / math.sqrt(count))
    for power, wanted in ((2, second), (3, third)):
        powers = got**power
        assert powers.mean().item() == pytest.approx(wanted, abs=5 * powers.std().item() / math.sqrt(count))
    assert (got > 0.2).double().mean().item() == pytest.approx(upper, abs=0.02)


@pytest.mark.parametrize("steps", [10, 100])
def test_an_anagram_of_two_gaussians_has_the_right_distribution(steps):
    """Two views, each with a Gaussian of its own: every step is linear, so that mean and variance follow exactly.

    View 1 wants the mean a and view 2, as it sees the picture, the mean b, with other deviations. A prediction is
    noise / spread_i (x - signal mean_i), so that their average has the mean slope, and the pixels stay independent.
    """
    shape, stds = (1, 2, 2), (0.5, 0.8)
    a = torch.tensor([[1.0, -1.0], [0.5, 2.0]], dtype=torch.float64)[None, None]
    b = torch.tensor([[0.0, 1.0], [-2.0, 0.5]], dtype=torch.float64)[None, None]
    mixture = MixtureDenoiser(torch.cat([a, b]), stds, labels=[0, 1])
    views = gf.Views(["identity", "rotate_cw"], shape)
    sampler = gf.MultiViewStep(views, scheduler(steps=steps), None)
    count, generator = 20000, torch.Generator().manual_seed(1)
    network = mixture.network(sampler.scheduler, [0] * count + [1] * count)
    noise = torch.randn(count, *shape, generator=generator, dtype=torch.float64)
    got = sampler.sample(network, noise, generator=generator)

    mean, variance, upright = torch.zeros_like(a), 1.0, (a, b.rot90(1, (-2, -1)))
    abars = sampler.scheduler.alphas_cumprod.double()
    for t, after in zip(sampler.timesteps, [*sampler.timesteps[1:], None], strict=True):
        abar, later = float(abars[t]), 1.0 if after is None else float(abars[after])
        slopes = [math.sqrt(1 - abar) / (abar * std**2 + 1 - abar) for std in stds]
        slope = sum(slopes) / 2
        offset = -math.sqrt(abar) * sum(s * m for s, m in zip(slopes, upright, strict=True)) / 2
        alpha = abar / later
        of_x0 = math.sqrt(later) * (1 - alpha) / (1 - abar)
        of_epsilon = -of_x0 * math.sqrt((1 - abar) / abar)
        gain = math.sqrt(alpha) * (1 - later) / (1 - abar) + of_x0 / math.sqrt(abar) + of_epsilon * slope
        mean = gain * mean + of_epsilon * offset
        variance = gain**2 * variance + (1 - later) / (1 - abar) * (1 - alpha)
    assert (got.mean(0, keepdim=True) - mean).abs().max() < 5 * math.sqrt(variance / count)
    wanted = variance * torch.eye(4, dtype=torch.float64)
    assert (torch.cov(got.flatten(1).T) - wanted).abs().max() < 5 * math.sqrt(2 / count) * variance


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
    with pytest.raises(ValueError, match=r"one number or one for each of 3 components, got \[0.1, 0.2\]"):
        MixtureDenoiser(means(0.0, 1.0, 2.0), [0.1, 0.2])
    with pytest.raises(ValueError, match="weights must be positive and finite"):
        MixtureDenoiser(means(0.0, 1.0), 1.0, [1.0, 0.0])
    with pytest.raises(ValueError, match="labels must hold one class for each of 2 components"):
        MixtureDenoiser(means(0.0, 1.0), 1.0, labels=[1])
    mixture, x = MixtureDenoiser(means(0.0, 1.0, shape=(3, 1, 1)), 1.0), torch.zeros(2, 3, 1, 1, dtype=torch.float64)
    for abar in (-0.1, 1.1):
        with pytest.raises(ValueError, match=f"abar must be from 0 to 1, got {abar}"):
            mixture.expected(x, abar)
    with pytest.raises(ValueError, match=r"sigma must be from 0 to 1, got 1\.5"):
        mixture.velocity(x, 1.5)
    with pytest.raises(ValueError, match="kind must be one of 'epsilon'"):
        mixture.predict(x, 0.5, "flow")
    with pytest.raises(ValueError, match=r"x must be floats \(B, 3, 1, 1\), got \(2, 1, 1, 1\)"):
        mixture.expected(x[:, :1], 0.5)
    with pytest.raises(ValueError, match=r"labels must be -1 or among \[0, 1\], got \[0, 7\]"):
        mixture.expected(x, 0.5, torch.tensor([0, 7]))
    with pytest.raises(ValueError, match=r"labels must be one for each of 2 pictures, got \(1,\)"):
        mixture.expected(x, 0.5, torch.tensor([0]))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: MixtureDenoiser([[[[1.0]]]], 0.1), TypeError, "means must be a torch.Tensor, got list"),
        (lambda: MixtureDenoiser(means(float("nan")), 0.1), ValueError, "means must be finite"),
        (lambda: MixtureDenoiser(means(0.0).to_sparse(), 0.1), TypeError, "means must be a dense tensor"),
        (lambda: MixtureDenoiser(means(0.0), "wide"), TypeError, "std must be a number or a list of them, got 'wide'"),
        (lambda: MixtureDenoiser(means(0.0), 0.1, labels=[0.5]), TypeError, "labels must be an integer, got 0.5"),
        (
            lambda: MixtureDenoiser(means(0.0), 0.1).expected([0.0], 0.5),
            TypeError,
            "x must be a torch.Tensor, got list",
        ),
        (
            lambda: MixtureDenoiser(means(0.0), 0.1).velocity([0.0], 0.5),
            TypeError,
            "x must be a torch.Tensor, got list",
        ),
        (
            lambda: MixtureDenoiser(means(0.0), 0.1).expected(means(0.0), 0.5, torch.zeros(1)),
            TypeError,
            "labels must be integers, got torch.float32",
        ),
    ],
)
def test_wrong_kinds_are_refused(call, error, message):
    with pytest.raises(error, match=f"MixtureDenoiser: {message}"):
        call()
