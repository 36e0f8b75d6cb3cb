"""Which schedulers run, as what and how: against diffusers' own steps, and by name where they do not."""

from __future__ import annotations

import itertools
import random
import warnings

import numpy as np
import pytest
import torch
from multiview_cases import normal

import genimg_fast as gf

diffusers = pytest.importorskip("diffusers")

SHAPE = (1, 6, 6)
VIEWS = gf.Views("identity", SHAPE)
CLIPS = (
    {"clip_sample": False},
    {"clip_sample": True, "clip_sample_range": 0.8},
    {"clip_sample": False, "thresholding": True, "dynamic_thresholding_ratio": 0.9, "sample_max_value": 1.3},
)
KINDS, SPACINGS = ("epsilon", "sample", "v_prediction"), ("leading", "trailing", "linspace")


def diffusion_grid(kind: str):
    variances = (
        ("fixed_small", "fixed_small_log", "fixed_large", "learned_range") if kind == "DDPMScheduler" else (None,)
    )
    etas = (0.0, 0.5, 1.0) if kind == "DDIMScheduler" else (0.0,)
    axes = (KINDS, SPACINGS, (False, True), CLIPS, variances, etas, (1, 7, 13))
    for prediction, spacing, zero, clip, variance, eta, steps in itertools.product(*axes):
        options = {"prediction_type": prediction, "timestep_spacing": spacing, "rescale_betas_zero_snr": zero, **clip}
        if variance is not None:
            options["variance_type"] = variance
        yield kind, options, eta, steps


def flow_grid():
    sigmas = ({}, {"use_karras_sigmas": True}, {"use_exponential_sigmas": True}, {"use_beta_sigmas": True})
    for shift, inverted, end, extra, steps in itertools.product(
        (1.0, 3.0), (False, True), (None, 0.1), sigmas, (1, 2, 7)
    ):
        options = {"shift": shift, "invert_sigmas": inverted, "shift_terminal": end, **extra}
        yield "FlowMatchEulerDiscreteScheduler", options, 0.0, steps


def sampled():
    chosen = random.Random(5)
    for kind, count in (("DDPMScheduler", 60), ("DDIMScheduler", 60)):
        yield from chosen.sample(list(diffusion_grid(kind)), count)
    yield from chosen.sample(list(flow_grid()), 30)


def test_configurations_agree_with_diffusers_or_are_refused(monkeypatch):
    noises = []
    for name in ("ddpm", "ddim"):
        module = f"diffusers.schedulers.scheduling_{name}.randn_tensor"
        monkeypatch.setattr(module, lambda *_, **__: noises[-1])
    refused = agreed = 0
    for kind, options, eta, steps in sampled():
        scheduler = getattr(diffusers, kind)(100, **options)
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # of 0 / 0 in one step with shift_terminal
            scheduler.set_timesteps(steps)
        if hasattr(scheduler, "alphas_cumprod"):  # their float32 tables lose up to 1.3e-5 in differences
            scheduler.alphas_cumprod = scheduler.alphas_cumprod.double()
        try:
            sampler = gf.MultiViewStep(VIEWS, scheduler, None, eta=eta)
        except ValueError as error:
            is_named = str(error).startswith("MultiViewStep: scheduler's")
            is_blind = options.get("rescale_betas_zero_snr") and options["prediction_type"] == "epsilon"
            is_right = is_named and (is_blind or (options.get("shift_terminal") and steps == 1))
            assert is_right, (options, steps)
            refused += 1
            continue
        agreed += 1
        x = normal(2, *SHAPE, dtype=torch.float32)
        for number, t in enumerate(sampler.timesteps):
            channels = 2 if options.get("variance_type") == "learned_range" else 1
            prediction = normal(2, channels, *SHAPE[1:], seed=number, dtype=torch.float32)
            noises.append(normal(2, *SHAPE, seed=100 + number, dtype=torch.float32))
            extra = {"eta": eta} if eta else {}
            peer = scheduler.step(prediction, scheduler.timesteps[number], x, return_dict=False, **extra)[0]
            got = sampler.step(prediction, t, x, noise=noises[-1], number=number)
            assert got.isfinite().all()
            if peer.isfinite().all():  # the square root of a rounded -1e-8 at eta 1
                assert (got - peer).abs().max() <= 1e-5 * max(1, peer.abs().max()), (kind, options, eta, steps)
            x = got / max(1, got.abs().max() / 3)
    assert refused >= 5
    assert agreed >= 120


@pytest.mark.parametrize("kind", ["DDPMScheduler", "DDIMScheduler"])
@pytest.mark.parametrize("prediction", ["sample", "v_prediction"])
def test_nothing_but_noise_at_the_first_timestep(kind, prediction):
    scheduler = getattr(diffusers, kind)(
        prediction_type=prediction, rescale_betas_zero_snr=True, timestep_spacing="trailing", clip_sample=False
    )
    sampler = gf.MultiViewStep(VIEWS, scheduler, None, steps=4)
    m, x = normal(2, *SHAPE), normal(2, *SHAPE, seed=1)
    clean = m if prediction == "sample" else -m
    assert scheduler.alphas_cumprod[sampler.timesteps[0]] == 0
    assert torch.allclose(sampler.expected(m, sampler.timesteps[0], x), clean, atol=1e-12)
    assert sampler.sample(lambda stack, t: 0.5 * stack, x, generator=torch.Generator()).isfinite().all()


def test_noise_tells_nothing_of_the_picture_where_there_is_nothing_else():
    scheduler = diffusers.DDIMScheduler(rescale_betas_zero_snr=True, timestep_spacing="trailing")
    with pytest.raises(ValueError, match=r"prediction_type must be 'v_prediction' or 'sample' .* got 'epsilon'"):
        gf.MultiViewStep(VIEWS, scheduler, None, steps=4)
    scheduler = diffusers.DDIMScheduler(rescale_betas_zero_snr=True, timestep_spacing="leading")
    assert gf.MultiViewStep(VIEWS, scheduler, None, steps=4).timesteps[0] < 999  # never comes there


# ---- Configurations of others ---------------------------------------------------------------------------------------

OTHERS = {
    "EulerDiscreteScheduler": {"timestep_spacing": "linspace"},
    "EulerAncestralDiscreteScheduler": {"timestep_spacing": "linspace"},
    "DPMSolverMultistepScheduler": {"timestep_spacing": "linspace"},
    "DPMSolverSinglestepScheduler": {"timestep_spacing": "linspace"},
    "DPMSolverSDEScheduler": {"beta_start": 0.00085, "timestep_spacing": "linspace"},
    "PNDMScheduler": {"set_alpha_to_one": False, "timestep_spacing": "leading"},
    "LMSDiscreteScheduler": {"timestep_spacing": "linspace"},
    "LCMScheduler": {"beta_start": 0.00085, "beta_schedule": "scaled_linear"},
    "TCDScheduler": {"beta_start": 0.00085, "beta_schedule": "scaled_linear"},
    "UniPCMultistepScheduler": {"timestep_spacing": "linspace"},
    "DEISMultistepScheduler": {"timestep_spacing": "linspace"},
    "HeunDiscreteScheduler": {"beta_start": 0.00085, "timestep_spacing": "linspace"},
    "KDPM2DiscreteScheduler": {"beta_start": 0.00085, "timestep_spacing": "linspace"},
    "SASolverScheduler": {"timestep_spacing": "linspace"},
}


@pytest.mark.parametrize("name", OTHERS)
def test_others_run_as_ddim_with_what_their_class_has(name):
    configs = [{"_class_name": name}]
    if name != "DPMSolverSDEScheduler":  # needs a package of its own
        in_memory = getattr(diffusers, name)().config
        configs += [in_memory, {**in_memory, "_class_name": name}]
    for config in configs:
        with pytest.warns(UserWarning, match=r"MultiViewStep: a configuration of \w+.* runs as DDIMScheduler") as said:
            scheduler = gf.MultiViewStep(VIEWS, config, None, steps=4).scheduler
        assert len(said) == 1
        assert said[0].filename == __file__
        wanted = {"clip_sample": False, "thresholding": False, "set_alpha_to_one": True, **OTHERS[name]}
        assert type(scheduler).__name__ == "DDIMScheduler"
        assert {key: scheduler.config[key] for key in wanted} == wanted


def test_latents_are_not_clipped():
    config = {**diffusers.EulerDiscreteScheduler(prediction_type="sample").config}
    with pytest.warns(UserWarning, match="runs as DDIMScheduler"):
        sampler = gf.MultiViewStep(VIEWS, config, None, steps=4)
    x = 4 * normal(1, *SHAPE)
    assert torch.equal(sampler.expected(x, sampler.timesteps[0], torch.zeros_like(x)), x)


def test_settings_left_over_from_another_class_do_not_count():
    before = {**diffusers.DDIMScheduler(clip_sample=True).config, "_class_name": "DDIMScheduler"}
    config = diffusers.EulerAncestralDiscreteScheduler.from_config(before).config
    assert config["clip_sample"]
    with pytest.warns(UserWarning, match="EulerAncestral"):
        assert not gf.MultiViewStep(VIEWS, config, None, steps=3).scheduler.config.clip_sample
    config = diffusers.DDIMScheduler.from_config(diffusers.PNDMScheduler().config).config
    assert gf.MultiViewStep(VIEWS, config, None, steps=3).scheduler.config.clip_sample


def test_settings_without_effect_are_named():
    config = diffusers.DPMSolverMultistepScheduler(
        use_karras_sigmas=True, algorithm_type="sde-dpmsolver++", thresholding=True, sample_max_value=2.0
    ).config
    with pytest.warns(UserWarning, match=r"algorithm_type='sde-dpmsolver\+\+', use_karras_sigmas=True have no effect"):
        scheduler = gf.MultiViewStep(VIEWS, config, None, steps=3).scheduler
    assert scheduler.config.thresholding
    assert scheduler.config.sample_max_value == 2
    config = diffusers.DPMSolverMultistepScheduler(final_sigmas_type="sigma_min", algorithm_type="dpmsolver++").config
    with pytest.warns(UserWarning, match="runs as DDIMScheduler$"):
        assert not gf.MultiViewStep(VIEWS, config, None, steps=3).scheduler.config.set_alpha_to_one


def test_own_configurations_run_without_a_word():
    for kind in ("DDPMScheduler", "DDIMScheduler", "FlowMatchEulerDiscreteScheduler"):
        config = getattr(diffusers, kind)().config
        for one in (config, {**config, "_class_name": kind}):
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                assert type(gf.MultiViewStep(VIEWS, one, None, steps=3).scheduler).__name__ == kind


@pytest.mark.parametrize("name", ["UniPCMultistepScheduler", "DPMSolverMultistepScheduler", "DEISMultistepScheduler"])
def test_a_flows_shift_is_kept(name):
    options = {"use_flow_sigmas": True, "flow_shift": 3.0, "prediction_type": "flow_prediction"}
    with pytest.warns(UserWarning, match="runs as FlowMatchEulerDiscreteScheduler$"):
        sampler = gf.MultiViewStep(VIEWS, getattr(diffusers, name)(**options).config, None, steps=8)
    wanted = diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0)
    wanted.set_timesteps(8)
    assert torch.equal(sampler.scheduler.sigmas, wanted.sigmas)
    config = diffusers.FlowMatchHeunDiscreteScheduler(shift=3.0).config
    with pytest.warns(UserWarning, match="runs as FlowMatchEulerDiscreteScheduler$"):
        heun = gf.MultiViewStep(VIEWS, config, None, steps=8)
    assert heun.timesteps == sampler.timesteps


REFUSED = {
    "use_flow_sigmas and prediction_type='flow_prediction' must come together": [
        ("UniPCMultistepScheduler", {"use_flow_sigmas": True}),
        ("DPMSolverMultistepScheduler", {"prediction_type": "flow_prediction"}),
    ],
    "use_dynamic_shifting=True": [("FlowMatchEulerDiscreteScheduler", {"use_dynamic_shifting": True})],
    "stochastic_sampling must be False": [("FlowMatchEulerDiscreteScheduler", {"stochastic_sampling": True})],
    "timestep_type must be 'discrete'": [("EulerDiscreteScheduler", {"timestep_type": "continuous"})],
    "exp is not implemented": [("HeunDiscreteScheduler", {"beta_schedule": "exp"})],
    "none of these samplers stands for": [("DDIMInverseScheduler", {}), ("RePaintScheduler", {})],
    "snr_shift_scale": [("CogVideoXDDIMScheduler", {})],
    "variance_type must be": [
        ("DDPMScheduler", {"variance_type": "learned"}),
        ("DDPMScheduler", {"variance_type": "fixed_large_log"}),
    ],
    "prediction_type must be one of": [("DDIMScheduler", {"prediction_type": "flow_prediction"})],
    "clip_sample_range must be above 0": [("DDIMScheduler", {"clip_sample_range": -1.0})],
    "sample_max_value must be above 0": [("DDPMScheduler", {"thresholding": True, "sample_max_value": 0.0})],
    "dynamic_thresholding_ratio must be above 0": [
        ("DDPMScheduler", {"thresholding": True, "dynamic_thresholding_ratio": 0.0}),
        ("DDPMScheduler", {"thresholding": True, "dynamic_thresholding_ratio": 1.5}),
    ],
    "alphas_cumprod must fall": [("DDPMScheduler", {"trained_betas": [0.0] * 1000})],
    "timesteps must be finite": [("FlowMatchEulerDiscreteScheduler", {"shift_terminal": 0.1})],
}


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("message", REFUSED)
def test_refused_by_name_at_construction(message):
    for name, options in REFUSED[message]:
        config = getattr(diffusers, name)(**options).config
        with pytest.raises(ValueError, match="MultiViewStep: scheduler") as error:
            gf.MultiViewStep(VIEWS, config, None, steps=1)
        assert message in str(error.value).replace("timesteps and sigmas", "timesteps")


@pytest.mark.parametrize("scheduler", [None, "DDIMScheduler", 5])
def test_what_is_no_scheduler(scheduler):
    with pytest.raises(
        TypeError, match="MultiViewStep: scheduler must be a scheduler of diffusers or its configuration"
    ):
        gf.MultiViewStep(VIEWS, scheduler, None)
    with pytest.raises(TypeError, match="scheduler must be"):
        gf.MultiViewStep(VIEWS, diffusers.DDIMScheduler, None)


# ---- Timesteps ------------------------------------------------------------------------------------------------------


def test_custom_timesteps_of_ddpm(monkeypatch):
    scheduler = diffusers.DDPMScheduler(clip_sample=False)
    scheduler.set_timesteps(timesteps=[999, 700, 300, 20])
    sampler = gf.MultiViewStep(VIEWS, scheduler, None)
    assert sampler.timesteps == [999, 700, 300, 20]
    noise, x = normal(1, *SHAPE, seed=9), normal(1, *SHAPE)
    monkeypatch.setattr("diffusers.schedulers.scheduling_ddpm.randn_tensor", lambda *_, **__: noise)
    for t in sampler.timesteps:
        m = normal(1, *SHAPE, seed=t)
        wanted = scheduler.step(m, t, x, return_dict=False)[0]
        x = sampler.step(m, t, x, noise=noise)
        assert torch.allclose(x, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("spacing", "steps", "mean", "std"), [("trailing", 13, 0.291, 0.401), ("linspace", 10, 0.292, 0.365)]
)
def test_ddim_to_the_next_listed_timestep(spacing, steps, mean, std):
    scheduler = diffusers.DDIMScheduler(timestep_spacing=spacing, clip_sample=False)
    ends = {}
    for previous in ("diffusers", "listed"):
        sampler = gf.MultiViewStep(gf.Views("identity", (1, 16, 16)), scheduler, None, steps=steps, previous=previous)
        x = torch.randn(64, 1, 16, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        for t in sampler.timesteps:
            abar = float(scheduler.alphas_cumprod[t])
            noise = (1 - abar) ** 0.5 * (x - 0.3 * abar**0.5) / (0.25 * abar + 1 - abar)  # exact for N(0.3, 0.5^2)
            x = sampler.step(noise, t, x)
        ends[previous] = x.mean().item(), x.std().item()
    assert ends["listed"] == pytest.approx((mean, std), abs=1e-3)
    assert ends["diffusers"] != pytest.approx((mean, std), abs=5e-3)
    with pytest.raises(ValueError, match="previous must be one of 'diffusers', 'listed', got 'next'"):
        gf.MultiViewStep(VIEWS, scheduler, None, steps=steps, previous="next")


@pytest.mark.parametrize("kind", ["DDPMScheduler", "DDIMScheduler"])
def test_trailing_timesteps_do_not_end_before_the_picture(kind):
    scheduler = getattr(diffusers, kind)(timestep_spacing="trailing")
    scheduler.set_timesteps(61)
    assert scheduler.timesteps[-1] == -1  # one too many, by rounding
    for given, steps in ((scheduler, None), (scheduler.config, 61)):
        timesteps = gf.MultiViewStep(VIEWS, given, None, steps=steps).timesteps
        assert len(timesteps) == 61
        assert min(timesteps) >= 0
    assert scheduler.timesteps[-1] == -1


def test_own_sampling_has_as_many_timesteps_as_steps():
    from genimg_fast.diffusion._sampling import scheduler

    for steps in (61, 103, 1000):
        assert len(scheduler("ddpm", steps).timesteps) == steps
        assert scheduler("ddpm", steps).timesteps[-1] >= 0


def test_repeated_timesteps_take_each_step():
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler()
    scheduler.set_timesteps(sigmas=[1.0, 0.7, 0.7, 0.4])
    sampler = gf.MultiViewStep(VIEWS, scheduler, None)
    x = y = normal(1, *SHAPE, dtype=torch.float32)
    for t in scheduler.timesteps:
        y = scheduler.step(0.3 * y + t / 1000, t, y, return_dict=False)[0]
    assert torch.allclose(sampler.sample(lambda stack, t: 0.3 * stack + t / 1000, x), y, atol=1e-6)
    with pytest.raises(ValueError, match=r"MultiViewStep\.step: number must be one of \[1, 2\], .* got None"):
        sampler.step(x, sampler.timesteps[1], x)


def test_timesteps_out_of_the_table():
    offset = diffusers.DDPMScheduler(100, steps_offset=1)
    with pytest.raises(ValueError, match="timesteps must be whole numbers from 0 to 99, got 100"):
        gf.MultiViewStep(VIEWS, offset, None, steps=100)
    rising = diffusers.DDIMScheduler(100)
    rising.set_timesteps(4)
    rising.timesteps = rising.timesteps.flip(0)
    with pytest.raises(ValueError, match="timesteps must fall from each to the next, got 0, 25"):
        gf.MultiViewStep(VIEWS, rising, None)
    cut = diffusers.FlowMatchEulerDiscreteScheduler()
    cut.set_timesteps(4)
    cut.timesteps = cut.timesteps[1:]
    with pytest.raises(ValueError, match="one sigma more than timesteps, got 5 and 3"):
        gf.MultiViewStep(VIEWS, cut, None)


@pytest.mark.parametrize(
    ("steps", "error", "message"),
    [(0, ValueError, "got 0"), (101, ValueError, "got 101"), (2.0, TypeError, "got 2.0"), (True, TypeError, "True")],
)
def test_number_of_steps(steps, error, message):
    with pytest.raises(error, match=f"MultiViewStep: steps must be .*{message}"):
        gf.MultiViewStep(VIEWS, diffusers.DDIMScheduler(100), None, steps=steps)


def test_a_callers_scheduler_stays_its_own():
    scheduler = diffusers.DDIMScheduler(clip_sample=False)
    scheduler.set_timesteps(10)
    sampler = gf.MultiViewStep(VIEWS, scheduler, None)
    assert sampler.scheduler is not scheduler
    m, x = normal(1, *SHAPE), normal(1, *SHAPE, seed=1)
    before = sampler.step(m, 500, x)
    scheduler.set_timesteps(3)
    assert torch.equal(sampler.step(m, 500, x), before)
    assert len(sampler.scheduler.timesteps) == 10
