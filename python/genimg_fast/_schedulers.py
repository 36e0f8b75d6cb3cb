"""What a scheduler does at each of its timesteps, as the numbers of one formula.

Every sampler here computes, from a picture x, the model's prediction m, the clean picture x0 = clip(a x + b m) that it
expects and normal noise z,

    x' = c x + d x0 + e m + deviation z.

The schedulers are those of diffusers, known by their configuration: their tables and timesteps are used as they are.
"""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from genimg_fast._core import backend
from genimg_fast._scheduler_configs import ACCEPTED, scheduler_of

PREVIOUS = ("diffusers", "listed")


@dataclass(frozen=True)
class Coefficients:
    """x0 = clip(x0_from_x x + x0_from_m m); x' = from_x x + from_x0 x0 + from_m m + deviation z.

    With a learned variance v the deviation is exp(log_deviation + log_slope v). ``limit`` is the largest |x0|; with a
    ``quantile`` it is that of the dynamic threshold. ``is_noisy``: z is added at all.
    """

    x0_from_x: float
    x0_from_m: float
    from_x: float = 0.0
    from_x0: float = 0.0
    from_m: float = 0.0
    deviation: float = 0.0
    log_deviation: float = 0.0
    log_slope: float = 0.0
    limit: float = math.inf
    quantile: float = 0.0
    is_noisy: bool = field(default=False, compare=False)

    def numbers(self) -> tuple[float, ...]:
        """Return what the kernels take (csrc/bindings/multiview.h)."""
        return tuple(vars(self).values())[:10]


# ---- A scheduler and its timesteps ----------------------------------------------------------------------------------


def prepared(scheduler: Any, steps: int | None) -> Any:
    """Return a copy of a scheduler, or that of a configuration, with its timesteps."""
    if isinstance(scheduler, Mapping):
        scheduler = scheduler_of(scheduler)
    elif not hasattr(scheduler, "config") or isinstance(scheduler, type):
        raise TypeError(
            "MultiViewStep: scheduler must be a scheduler of diffusers or its configuration, got "
            f"{scheduler if isinstance(scheduler, type) else type(scheduler).__name__}"
        )
    else:
        scheduler = copy.deepcopy(scheduler)
    name = type(scheduler).__name__
    if name not in ACCEPTED:
        raise ValueError(
            f"MultiViewStep: scheduler must be one of diffusers' {', '.join(ACCEPTED)} or its configuration, got {name}"
            "; with its configuration it runs as the closest of these, and with gf.diffusion.MultiViewUNet as it is"
        )
    if steps is not None:
        _set_timesteps(scheduler, steps)
    elif getattr(scheduler, "num_inference_steps", None) is None and not getattr(scheduler, "custom_timesteps", False):
        raise ValueError("MultiViewStep: scheduler has no timesteps: call its set_timesteps, or give steps")
    _check_timesteps(scheduler)
    return scheduler


def _set_timesteps(scheduler: Any, steps: Any) -> None:
    config, is_flow = scheduler.config, _is_flow(scheduler)
    steps = backend.integer("MultiViewStep", "steps", steps, 1, None if is_flow else config.num_train_timesteps)
    if is_flow and config.get("use_dynamic_shifting"):
        raise ValueError(
            "MultiViewStep: scheduler has use_dynamic_shifting=True, whose shift depends on the size of the picture: "
            "call its set_timesteps(..., mu=...) and give no steps"
        )
    try:
        scheduler.set_timesteps(steps)
    except (ValueError, TypeError) as error:
        raise ValueError(f"MultiViewStep: scheduler takes no {steps} steps: {error}") from error


def _check_timesteps(scheduler: Any) -> None:
    timesteps = scheduler.timesteps.tolist()
    if not timesteps:
        raise ValueError("MultiViewStep: scheduler must have at least one timestep, got none")
    if _is_flow(scheduler):
        _check_flow(scheduler, timesteps)
        return
    # Where N / steps is no binary fraction, spacing "trailing" of diffusers can end in one timestep too many.
    if len(timesteps) > 1 and timesteps[-1] == -1:
        scheduler.timesteps = scheduler.timesteps[:-1]
        timesteps.pop()
    last = scheduler.config.num_train_timesteps - 1
    for t in timesteps:
        if not 0 <= t <= last or t != int(t):
            raise ValueError(f"MultiViewStep: scheduler's timesteps must be whole numbers from 0 to {last}, got {t}")
    for t, after in itertools.pairwise(timesteps):
        if after >= t:
            raise ValueError(f"MultiViewStep: scheduler's timesteps must fall from each to the next, got {t}, {after}")


def _check_flow(scheduler: Any, timesteps: list[float]) -> None:
    config, sigmas = scheduler.config, scheduler.sigmas.tolist()
    if config.get("stochastic_sampling"):
        raise ValueError("MultiViewStep: scheduler's stochastic_sampling must be False, got True")
    if len(sigmas) != len(timesteps) + 1:
        raise ValueError(
            "MultiViewStep: scheduler must have one sigma more than timesteps, got "
            f"{len(sigmas)} and {len(timesteps)}; to begin later, give start to sample"
        )
    if not all(map(math.isfinite, (*timesteps, *sigmas))):
        chosen = {key: config.get(key) for key in ("shift_terminal", "invert_sigmas") if config.get(key)}
        raise ValueError(
            f"MultiViewStep: scheduler's timesteps and sigmas must be finite, got {timesteps} and {sigmas}"
            + (f" with {chosen}: take more than one step, or leave shift_terminal out" if chosen else "")
        )


def _is_flow(scheduler: Any) -> bool:
    return type(scheduler).__name__ == "FlowMatchEulerDiscreteScheduler"


def learned_variance(scheduler: Any) -> bool | None:
    """Tell whether a model's variance is used; None: the scheduler has no use for it, whether it is there or not."""
    if type(scheduler).__name__ != "DDPMScheduler":
        return None
    return scheduler.config.variance_type == "learned_range"


# ---- Numbers --------------------------------------------------------------------------------------------------------


def coefficients(scheduler: Any, eta: float = 0.0, previous: str = "diffusers") -> list[Coefficients]:
    """Return what a scheduler does at each of its timesteps.

    Args:
        scheduler: As `prepared` returns it.
        eta: For DDIM: 0 without noise, 1 with that of DDPM (Song et al. 2021, eq. 16).
        previous: Where a step ends: "diffusers", where diffusers' step does, or "listed", at the next timestep.
    """
    if _is_flow(scheduler):
        return _flow(scheduler)
    timesteps = [int(t) for t in scheduler.timesteps.tolist()]
    listed = [*timesteps[1:], -1]
    clipping, abars = _clipping(scheduler.config), scheduler.alphas_cumprod.double().tolist()
    is_ddim = type(scheduler).__name__ == "DDIMScheduler"
    if is_ddim:
        end = float(scheduler.final_alpha_cumprod)
        jump = scheduler.config.num_train_timesteps // scheduler.num_inference_steps
        before = listed if previous == "listed" else [t - jump for t in timesteps]
    else:
        end = 1.0
        before = listed if previous == "listed" else [int(scheduler.previous_timestep(t)) for t in timesteps]
        _check_variance(scheduler.config)
    found = []
    for t, earlier in zip(timesteps, before, strict=True):
        abar, abar_before = abars[t], end if earlier < 0 else abars[earlier]
        _check_noise(scheduler, t, abar, abar_before)
        if is_ddim:
            found.append(_ddim(scheduler.config, abar, abar_before, eta, clipping))
        else:
            found.append(_ddpm(scheduler.config, abar, abar_before, clipping, t > 0))
    return found


def _ddpm(config: Any, abar: float, abar_before: float, clipping: Mapping[str, float], is_noisy: bool) -> Coefficients:
    """Return the step of Ho, Jain, Abbeel 2020, eq. 7; a learned variance is that of Nichol & Dhariwal 2021, eq. 15."""
    alpha = abar / abar_before
    beta = 1 - alpha
    least = max((1 - abar_before) / (1 - abar) * beta, 1e-20)
    low, high = math.log(least) / 2, math.log(beta) / 2  # the learned variance v goes from -1 to 1 between these
    return Coefficients(
        *_expected(config.prediction_type, abar),
        from_x=math.sqrt(alpha) * (1 - abar_before) / (1 - abar),
        from_x0=math.sqrt(abar_before) * beta / (1 - abar),
        deviation=math.sqrt(beta if config.variance_type == "fixed_large" else least),
        log_deviation=(low + high) / 2,
        log_slope=(high - low) / 2,
        **clipping,
        is_noisy=is_noisy,
    )


def _ddim(config: Any, abar: float, abar_before: float, eta: float, clipping: Mapping[str, float]) -> Coefficients:
    """Return the step of Song, Meng, Ermon 2021, eq. 12 and 16."""
    deviation = eta * math.sqrt((1 - abar_before) / (1 - abar) * (1 - abar / abar_before))
    noise_from_x, noise_from_m = _expected_noise(config.prediction_type, abar)
    scale = math.sqrt(max(1 - abar_before - deviation**2, 0.0))
    return Coefficients(
        *_expected(config.prediction_type, abar),
        from_x=scale * noise_from_x,
        from_x0=math.sqrt(abar_before),
        from_m=scale * noise_from_m,
        deviation=deviation,
        log_deviation=-math.inf if deviation == 0 else math.log(deviation),
        **clipping,
        is_noisy=deviation > 0,
    )


def _flow(scheduler: Any) -> list[Coefficients]:
    """Return Euler's steps along a flow x = (1 - sigma) x0 + sigma z (Lipman et al. 2023), whose velocity is known.

    With inverted sigmas x = sigma x0 + (1 - sigma) z, and the velocity points the other way.
    """
    sigmas, inverted = scheduler.sigmas.double().tolist(), bool(scheduler.config.get("invert_sigmas"))
    return [
        Coefficients(1.0, 1 - sigma if inverted else -sigma, from_x=1.0, from_m=after - sigma)
        for sigma, after in itertools.pairwise(sigmas)
    ]


def _expected(kind: str, abar: float) -> tuple[float, float]:
    """Return how x0 comes from x and the prediction."""
    signal, noise = math.sqrt(abar), math.sqrt(1 - abar)
    if kind == "epsilon":
        return 1 / signal, -noise / signal
    return (0.0, 1.0) if kind == "sample" else (signal, -noise)


def _expected_noise(kind: str, abar: float) -> tuple[float, float]:
    """Return how the noise in x comes from x and the prediction."""
    signal, noise = math.sqrt(abar), math.sqrt(1 - abar)
    if kind == "sample":
        return 1 / noise, -signal / noise
    return (0.0, 1.0) if kind == "epsilon" else (noise, signal)


# ---- What is refused ------------------------------------------------------------------------------------------------

_PREDICTIONS = ("epsilon", "sample", "v_prediction")
_VARIANCES = ("fixed_small", "fixed_small_log", "fixed_large", "learned_range")


def _check_variance(config: Any) -> None:
    if config.variance_type not in _VARIANCES:
        raise ValueError(
            f"MultiViewStep: scheduler's variance_type must be one of {', '.join(_VARIANCES)}, got "
            f"{config.variance_type!r}"
        )


def _check_noise(scheduler: Any, t: int, abar: float, abar_before: float) -> None:
    """Refuse a timestep whose step is no number."""
    kind = scheduler.config.prediction_type
    if kind not in _PREDICTIONS:
        raise ValueError(
            f"MultiViewStep: scheduler's prediction_type must be one of {', '.join(_PREDICTIONS)}, got {kind!r}"
        )
    # DDIM with set_alpha_to_one=False stays where it is in the last step from 0.
    falls = abar < abar_before or (abar == abar_before > 0 and type(scheduler).__name__ == "DDIMScheduler")
    if not 0 <= abar < 1 or not falls or abar_before > 1:
        raise ValueError(
            "MultiViewStep: scheduler's alphas_cumprod must fall from below 1 and stay at least 0, got "
            f"{abar} at the timestep {t} after {abar_before}"
        )
    if abar == 0 and kind == "epsilon":
        raise ValueError(
            f"MultiViewStep: scheduler's prediction_type must be 'v_prediction' or 'sample' where the timestep {t} is "
            "nothing but noise (alphas_cumprod 0, rescale_betas_zero_snr), got 'epsilon', which tells nothing of the "
            "picture there"
        )


def _clipping(config: Any) -> dict[str, float]:
    if config.thresholding:
        most, quantile = float(config.sample_max_value), float(config.dynamic_thresholding_ratio)
        _check_setting("sample_max_value", most, "above 0", most > 0)
        _check_setting("dynamic_thresholding_ratio", quantile, "above 0 and at most 1", 0 < quantile <= 1)
        return {"limit": most, "quantile": quantile}
    most = float(config.clip_sample_range) if config.clip_sample else math.inf
    _check_setting("clip_sample_range", most, "above 0", most > 0)
    return {"limit": most}


def _check_setting(name: str, value: float, accepted: str, fits: bool) -> None:
    if not fits:
        raise ValueError(f"MultiViewStep: scheduler's {name} must be {accepted}, got {value}")
