"""A sampler's whole step: against float64 lines, and against diffusers' schedulers over many steps."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from multiview_cases import Lines, normal

import genimg_fast as gf
from genimg_fast import _torch, reference

diffusers = pytest.importorskip("diffusers")

SHAPE = (3, 18, 18)
VIEWS = ("identity", "rotate_cw", "negate", "skew")
TOLERANCES = {torch.float32: 1e-5, torch.float64: 1e-12, torch.float16: 2e-2, torch.bfloat16: 2e-1}


def ddpm(steps: int = 10, **options) -> diffusers.DDPMScheduler:
    scheduler = diffusers.DDPMScheduler(num_train_timesteps=100, **{"clip_sample": False, **options})
    scheduler.set_timesteps(steps)
    return scheduler


def ddim(steps: int = 10, **options) -> diffusers.DDIMScheduler:
    scheduler = diffusers.DDIMScheduler(num_train_timesteps=100, **{"clip_sample": False, **options})
    scheduler.set_timesteps(steps)
    return scheduler


def flow(steps: int = 10, **options) -> diffusers.FlowMatchEulerDiscreteScheduler:
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(num_train_timesteps=100, **options)
    scheduler.set_timesteps(steps)
    return scheduler


def peer_step(monkeypatch, scheduler, prediction, t, x, noise, **options):
    """Return what diffusers' scheduler makes of an averaged prediction."""
    name = type(scheduler).__module__
    if not name.endswith("flow_match_euler_discrete"):
        monkeypatch.setattr(f"{name}.randn_tensor", lambda *_, **__: noise)
    return scheduler.step(prediction, t, x, return_dict=False, **options)[0]


CLIPS = {
    "none": {},
    "range": {"clip_sample": True, "clip_sample_range": 0.8},
    "dynamic": {"thresholding": True, "dynamic_thresholding_ratio": 0.9, "sample_max_value": 1.3},
}
KINDS = ("epsilon", "sample", "v_prediction")


@pytest.mark.parametrize("clip", CLIPS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("variance", ["fixed_small", "fixed_small_log", "fixed_large", "learned_range"])
def test_ddpm_over_ten_steps(device, monkeypatch, variance, kind, clip):
    scheduler = ddpm(variance_type=variance, prediction_type=kind, **CLIPS[clip])
    check_against_peer(device, monkeypatch, scheduler, 6 if variance == "learned_range" else 3)


@pytest.mark.parametrize("clip", CLIPS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("eta", [0.0, 0.6, 1.0])
def test_ddim_over_ten_steps(device, monkeypatch, eta, kind, clip):
    scheduler = ddim(prediction_type=kind, beta_schedule="squaredcos_cap_v2", **CLIPS[clip])
    check_against_peer(device, monkeypatch, scheduler, 3, eta=eta)


def test_flow_over_ten_steps(device, monkeypatch):
    check_against_peer(device, monkeypatch, flow(shift=3.0), 3)


def check_against_peer(device, monkeypatch, scheduler, channels, **options):
    """Ten steps, each with predictions of its own, end where the eager loop ends."""
    views = gf.Views(list(VIEWS), SHAPE)
    lines = Lines(views)
    sampler = gf.MultiViewStep(views, scheduler, 4.0, **options)
    x = normal(2, *SHAPE, dtype=torch.float32)
    ours, peers = x.to(device.torch), x.clone()
    for number, t in enumerate(sampler.timesteps):
        stack = normal(4 * len(views), channels, *SHAPE[1:], seed=number, dtype=torch.float32)
        noise = normal(2, *SHAPE, seed=100 + number, dtype=torch.float32)
        noises, variances = lines.predictions(stack, 4.0)
        mean = sum(noises) / len(views)
        if channels == 6:
            mean = torch.cat([mean, sum(variances) / len(views)], 1)
        peers = peer_step(monkeypatch, scheduler, mean.float(), scheduler.timesteps[number], peers, noise, **options)
        ours = sampler.step(stack.to(device.torch), t, ours, noise=noise.to(device.torch))
    assert torch.allclose(ours.cpu(), peers, rtol=1e-5, atol=1e-5 * peers.abs().max().item())


def expected_step(noises, variances, weights, x, z, k, average):
    """Return the step in float64, averaged where the name says."""

    def mean(values):
        return sum(w * v for w, v in zip(weights, values, strict=True))

    def clipped(x0):
        if k.quantile == 0:
            return x0.clamp(-k.limit, k.limit)
        s = np.quantile(x0.abs().flatten(1).numpy(), k.quantile, axis=1).clip(1, k.limit)
        s = torch.from_numpy(s)[:, None, None, None]
        return torch.minimum(torch.maximum(x0, -s), s) / s

    def one(m, x0, deviation):
        return k.from_x * x + k.from_x0 * x0 + k.from_m * m + (deviation * z if k.is_noisy else 0)

    def deviation(v):
        return torch.exp(k.log_deviation + k.log_slope * v) if v.numel() else k.deviation

    def x0(m):
        return clipped(k.x0_from_x * x + k.x0_from_m * m)

    if average == "noise":
        return one(mean(noises), x0(mean(noises)), deviation(mean(variances)))
    if average == "x0":
        return one(mean(noises), mean([x0(m) for m in noises]), deviation(mean(variances)))
    return mean([one(m, x0(m), deviation(v)) for m, v in zip(noises, variances, strict=True)])


@pytest.mark.parametrize("average", ["noise", "x0", "sample"])
@pytest.mark.parametrize("clip", CLIPS)
@pytest.mark.parametrize("channels", [3, 6])
@pytest.mark.parametrize("guidance", [3.0, None])
def test_averages(device, average, clip, channels, guidance):
    views = gf.Views(list(VIEWS), SHAPE)
    variance = "learned_range" if channels == 6 else "fixed_small"
    scheduler = ddpm(variance_type=variance, **CLIPS[clip])
    weights = [1.0, 2.0, 3.0, 4.0]
    sampler = gf.MultiViewStep(views, scheduler, guidance, weights=weights, average=average)
    t = sampler.timesteps[5]
    k = sampler._coefficients(t)[0]
    for dtype, tolerance in TOLERANCES.items():
        x, z = (normal(2, *SHAPE, seed=seed, dtype=dtype) for seed in (1, 2))
        stack = normal((1 if guidance is None else 2) * 8, channels, *SHAPE[1:], dtype=dtype)
        got = sampler.step(stack.to(device.torch), t, x.to(device.torch), noise=z.to(device.torch))
        noises, variances = Lines(views).predictions(stack, guidance)
        wanted = expected_step(noises, variances, [w / 10 for w in weights], x.double(), z.double(), k, average)
        assert got.dtype == dtype
        assert (got.cpu().double() - wanted).abs().max() <= tolerance * wanted.abs().max()


def test_averages_differ():
    views = gf.Views(list(VIEWS), SHAPE)
    stack, x, z = normal(16, 6, *SHAPE[1:]), normal(2, *SHAPE, seed=1), normal(2, *SHAPE, seed=2)
    scheduler = ddpm(variance_type="learned_range", **CLIPS["range"])
    results = []
    for average in ("noise", "x0", "sample"):
        sampler = gf.MultiViewStep(views, scheduler, average=average)
        results.append(sampler.step(stack, sampler.timesteps[5], x, noise=z))
    for a, b in itertools.combinations(results, 2):
        assert (a - b).abs().max() > 1e-3


@pytest.mark.parametrize("n", [1, 2, 3, 8])
@pytest.mark.parametrize("quantile", [0.001, 0.5, 0.95, 0.995, 1.0])
def test_dynamic_thresholds_are_quantiles(device, n, quantile):
    # Pictures of few values with ties, zeros and outliers: the quantile falls between and on them.
    x = (normal(3, 1, n, n) * 3).round() / 2
    x.view(3, -1)[:, 0] = 40.0
    scheduler = ddpm(
        prediction_type="sample", thresholding=True, dynamic_thresholding_ratio=quantile, sample_max_value=30.0
    )
    sampler = gf.MultiViewStep(gf.Views("identity", (1, n, n)), scheduler, None)
    t = sampler.timesteps[-1]  # 0: without noise x' is x0
    for dtype in (torch.float32, torch.float64):
        got = sampler.step(x.to(device.torch, dtype), t, torch.zeros_like(x).to(device.torch, dtype))
        s = np.quantile(x.abs().flatten(1).numpy(), quantile, axis=1).clip(1, 30)[:, None, None, None]
        wanted = np.clip(x.numpy(), -s, s) / s
        assert np.allclose(got.cpu().numpy(), wanted, atol=1e-6)


def test_dynamic_threshold_of_what_is_no_number(device):
    x = normal(2, 1, 9, 9)
    x[0, 0, 4, 4] = torch.nan
    scheduler = ddpm(prediction_type="sample", **CLIPS["dynamic"])
    sampler = gf.MultiViewStep(gf.Views("identity", (1, 9, 9)), scheduler, None)
    got = sampler.step(x.to(device.torch), 0, torch.zeros_like(x).to(device.torch)).cpu()
    assert got[0].isnan().all()  # as numpy.quantile: one NaN makes the quantile NaN
    assert got[1].isfinite().all()


def test_large_pictures_take_large_thresholds(device):
    if device.name == "cuda-on-cpu":
        pytest.skip("the harness needs long for a large picture; the small ones take the same code")
    x = normal(1, 3, 256, 256, dtype=torch.float32) * 2
    scheduler = ddpm(prediction_type="sample", **{**CLIPS["dynamic"], "sample_max_value": 100.0})
    sampler = gf.MultiViewStep(gf.Views("identity", (3, 256, 256)), scheduler, None)
    got = sampler.step(x.to(device.torch), 0, torch.zeros_like(x).to(device.torch)).cpu()
    s = torch.quantile(x.abs().flatten(), 0.9)
    assert torch.allclose(got, x.clamp(-s, s) / s, atol=1e-6)


def test_sampling_is_the_eager_loop(device):
    views = gf.Views(["identity", "rotate_180"], (1, 8, 8))
    sampler = gf.MultiViewStep(views, ddim(prediction_type="sample"), 2.0, eta=0.5)
    seen = []

    def denoise(stack, t):
        return 0.5 * stack + 0.01 * t

    def run(**options):
        x = normal(2, 1, 8, 8, dtype=torch.float32).to(device.torch)
        return sampler.sample(denoise, x, generator=torch.Generator().manual_seed(3), **options)

    got = run(callback=lambda number, t, x: seen.append((number, t, x.clone())))
    assert [entry[:2] for entry in seen] == list(enumerate(sampler.timesteps))
    assert torch.equal(seen[-1][2], got)
    assert torch.equal(got, run(progress=True))
    x, generator = normal(2, 1, 8, 8, dtype=torch.float32).to(device.torch), torch.Generator().manual_seed(3)
    for t in sampler.timesteps:
        x = sampler.step(denoise(gf.apply_views(x, views, copies=2), t), t, x, generator=generator)
    assert torch.equal(got, x)


def test_arrays():
    views = gf.Views(list(VIEWS), SHAPE)
    sampler = gf.MultiViewStep(views, ddpm(variance_type="learned_range", **CLIPS["dynamic"]))
    stack, x, z = (normal(n, c, *SHAPE[1:], seed=n, dtype=torch.float32) for n, c in ((16, 6), (2, 3), (2, 3)))
    t = sampler.timesteps[3]
    got = sampler.step(stack.numpy(), t, x.numpy(), noise=z.numpy())
    assert isinstance(got, np.ndarray)
    assert np.array_equal(got, sampler.step(stack, t, x, noise=z).numpy())
    results = [sampler.sample(lambda s, t: np.concatenate((s, s), 1), x.numpy(), generator=seed) for seed in (1, 1, 2)]
    assert np.array_equal(results[0], results[1])
    assert not np.array_equal(results[0], results[2])


def test_result_in_place_and_elsewhere(device):
    views = gf.Views(list(VIEWS), SHAPE)
    sampler = gf.MultiViewStep(views, ddpm(**CLIPS["range"]), average="x0")
    stack, x, z = (normal(n, 3, *SHAPE[1:], seed=n).to(device.torch) for n in (16, 2, 2))
    t = sampler.timesteps[3]
    wanted, out = sampler.step(stack, t, x, noise=z), torch.empty_like(x)
    assert sampler.step(stack, t, x, noise=z, out=out) is out
    assert torch.equal(out, wanted)
    sampler.step(stack, t, x, noise=z, out=x)
    assert torch.equal(x, wanted)


def test_guidance_by_view_and_by_step(device):
    views = gf.Views(["identity", "rotate_180"], (1, 8, 8))
    stack, x = normal(4, 1, 8, 8).to(device.torch), normal(1, 1, 8, 8, seed=1).to(device.torch)
    asked = []

    def guidance(number, t):
        asked.append((number, t))
        return [1.0 + number, 2.0]

    changing = gf.MultiViewStep(views, flow(), guidance)
    t = changing.timesteps[3]
    got = changing.step(stack, t, x)
    assert asked[-1] == (3, t)
    assert torch.equal(got, gf.MultiViewStep(views, flow(), [4.0, 2.0]).step(stack, t, x))
    assert torch.equal(
        changing.step(stack, t, x, number=0), gf.MultiViewStep(views, flow(), [1.0, 2.0]).step(stack, t, x)
    )


def test_alternate_goes_on_with_the_steps(device):
    views = gf.Views(["identity", "rotate_180"], (1, 8, 8))
    stack, x = normal(2, 1, 8, 8).to(device.torch), normal(1, 1, 8, 8, seed=1).to(device.torch)
    sampler = gf.MultiViewStep(views, flow(), None, reduce="alternate")
    for number in (0, 1, 2):
        alone = gf.MultiViewStep(gf.Views([views.names[number % 2]], (1, 8, 8)), flow(), None)
        t = sampler.timesteps[number]
        part = stack[number % 2 : number % 2 + 1]
        assert torch.allclose(sampler.step(stack, t, x), alone.step(part, t, x), atol=1e-12)


def test_components_are_summed(device):
    views = gf.Views(["hybrid_low", "hybrid_high"], (1, 16, 16))
    sampler = gf.MultiViewStep(views, flow(), None, reduce="sum")
    alone = gf.MultiViewStep(gf.Views("identity", (1, 16, 16)), flow(), None)
    x, m = normal(1, 1, 16, 16).to(device.torch), normal(1, 1, 16, 16, seed=1).to(device.torch)
    t = sampler.timesteps[2]
    assert torch.allclose(sampler.step(torch.cat([m, m]), t, x), alone.step(m, t, x), atol=1e-12)


def test_learned_variance_without_noise_at_the_end(device):
    sampler = gf.MultiViewStep(gf.Views("identity", (1, 8, 8)), ddpm(variance_type="learned_range"), None)
    stack, x = normal(1, 2, 8, 8).to(device.torch), normal(1, 1, 8, 8, seed=1).to(device.torch)
    noise = torch.full_like(x, torch.nan)
    assert sampler.timesteps[-1] == 0
    assert sampler.step(stack, 0, x, noise=noise).isfinite().all()
    assert sampler.step(stack, sampler.timesteps[0], x, noise=noise).isnan().all()


def test_large_and_small_deviations(device):
    # The exponential over its whole range: the kernel's own polynomial in float32.
    exponents = torch.linspace(-100, 95, 64 * 64).reshape(1, 1, 64, 64)
    stack = torch.cat([torch.zeros_like(exponents), exponents], 1).to(device.torch)
    sampler = gf.MultiViewStep(gf.Views("identity", (1, 64, 64)), ddpm(variance_type="learned_range"), None)
    t = sampler.timesteps[0]
    numbers = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, math.inf, 0.0)
    sampler._known[t] = sampler._coefficients(t)[0], numbers
    x = torch.zeros_like(exponents).to(device.torch)
    got = sampler.step(stack, t, x, noise=torch.ones_like(x)).cpu().double()
    wanted = exponents.double().exp()
    inside = (exponents > -87.3) & (exponents < 88.3)
    assert ((got / wanted - 1).abs()[inside] < 3e-7).all()
    for beyond, limit in ((exponents <= -87.3, -87.3), (exponents >= 88.3, 88.3)):
        assert torch.allclose(got[beyond], torch.tensor(limit, dtype=torch.float32).double().exp(), rtol=3e-7, atol=0)


def test_scheduler_from_its_configuration():
    scheduler = ddpm(7, beta_schedule="squaredcos_cap_v2")
    views = gf.Views("identity", (1, 8, 8))
    from_config = gf.MultiViewStep(views, dict(scheduler.config), None, steps=7)
    assert from_config.timesteps == gf.MultiViewStep(views, scheduler, None).timesteps
    others = {
        diffusers.DDIMScheduler: "DDIMScheduler",
        diffusers.PNDMScheduler: "DDIMScheduler",
        diffusers.FlowMatchEulerDiscreteScheduler: "FlowMatchEulerDiscreteScheduler",
        diffusers.DDPMScheduler: "DDPMScheduler",
    }
    for kind, name in others.items():
        for config in (kind().config, {**kind().config, "_class_name": kind.__name__}):
            assert type(gf.MultiViewStep(views, config, None, steps=4).scheduler).__name__ == name
    before = scheduler.timesteps.clone()
    assert len(gf.MultiViewStep(views, scheduler, None, steps=3).timesteps) == 3
    assert torch.equal(scheduler.timesteps, before)


def test_gradients_go_through_the_step(device):
    views = gf.Views(["identity", "rotate_cw"], (1, 4, 4))
    sampler = gf.MultiViewStep(views, ddpm(**CLIPS["range"]), 2.0)
    t = sampler.timesteps[2]
    stack, x, z = (normal(n, 1, 4, 4, seed=n).to(device.torch).requires_grad_() for n in (4, 1, 2))
    function = lambda s, x: sampler.step(s, t, x, noise=z[:1].detach())  # noqa: E731
    assert torch.autograd.gradcheck(function, (stack, x))


def test_same_bits_for_any_number_of_threads():
    views = gf.Views(list(VIEWS), (3, 150, 150))
    sampler = gf.MultiViewStep(views, ddpm(variance_type="learned_range", **CLIPS["dynamic"]))
    stack, x, z = (normal(n, c, 150, 150, seed=n, dtype=torch.float32) for n, c in ((16, 6), (2, 3), (2, 3)))
    threads = torch.get_num_threads()
    results = []
    try:
        for n in (1, 2, 3):
            torch.set_num_threads(n)
            results.append(sampler.step(stack, sampler.timesteps[4], x, noise=z))
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0], results[2])


def test_kernels_run_and_the_reference_says_the_same(device, monkeypatch):
    views = gf.Views(list(VIEWS), SHAPE)
    for average, clip, channels in itertools.product(("noise", "x0", "sample"), CLIPS, (3, 6)):
        variance = "learned_range" if channels == 6 else "fixed_small"
        sampler = gf.MultiViewStep(views, ddpm(variance_type=variance, **CLIPS[clip]), average=average)
        stack, x, z = (normal(n, c, *SHAPE[1:], seed=n).to(device.torch) for n, c in ((16, channels), (2, 3), (2, 3)))
        arguments = (stack, sampler.timesteps[3], x)
        with monkeypatch.context() as patch:
            patch.setattr(reference, "multiview_step", None)
            got = sampler.step(*arguments, noise=z)
        with monkeypatch.context() as patch:
            patch.setattr(_torch, "backend", lambda _: "reference")
            assert torch.allclose(sampler.step(*arguments, noise=z), got, atol=1e-11)


def test_errors():
    views = gf.Views(["identity", "flip"], (1, 8, 8))
    with pytest.raises(ValueError, match="average must be one of 'noise', 'x0', 'sample', got 'x1'"):
        gf.MultiViewStep(views, ddpm(), average="x1")
    with pytest.raises(ValueError, match="average must be 'noise', got 'x0'"):
        gf.MultiViewStep(views, ddpm(), reduce="sum", average="x0")
    with pytest.raises(ValueError, match="eta must be from 0 to 1, got 2"):
        gf.MultiViewStep(views, ddim(), eta=2)
    with pytest.raises(ValueError, match="has no timesteps"):
        gf.MultiViewStep(views, diffusers.DDIMScheduler(100))
    with pytest.raises(ValueError, match=r"DDPMScheduler, DDIMScheduler.*got PNDMScheduler"):
        gf.MultiViewStep(views, diffusers.PNDMScheduler())
    with pytest.raises(ValueError, match=r"scheduler must be a configuration .* with a beta_schedule, got {}"):
        gf.MultiViewStep(views, {})
    with pytest.raises(ValueError, match="guidance must be a number or one for each of 2 views"):
        gf.MultiViewStep(views, ddpm(), [1.0, 2.0, 3.0])
    sampler = gf.MultiViewStep(views, ddpm())
    stack, x = normal(4, 1, 8, 8), normal(1, 1, 8, 8)
    with pytest.raises(ValueError, match="t must be one of the scheduler's timesteps, got 3"):
        sampler.step(stack, 3, x)
    with pytest.raises(ValueError, match=r"noise must be of the shape of x \(1, 1, 8, 8\), got \(2, 1, 8, 8\)"):
        sampler.step(stack, sampler.timesteps[0], x, noise=normal(2, 1, 8, 8))
    with pytest.raises(ValueError, match=r"x must be \(B, 1, 8, 8\), got \(2, 1, 8, 8\)"):
        sampler.step(stack, sampler.timesteps[0], normal(2, 1, 8, 8))
    unknown, noisy = ddpm(variance_type="fixed_large_log"), flow(stochastic_sampling=True)
    for scheduler, message in ((unknown, r"variance_type must be .*got 'fixed_large_log'"), (noisy, "stochastic")):
        with pytest.raises(ValueError, match=message):
            gf.MultiViewStep(views, scheduler)
