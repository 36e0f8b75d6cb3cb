"""What a scheduler does at one timestep, as the numbers of one formula.

Every sampler here computes, from a picture x, the model's prediction m, the clean picture x0 = clip(a x + b m) that it
expects and normal noise z,

    x' = c x + d x0 + e m + deviation z.

The schedulers are those of diffusers, known by their configuration: their tables and timesteps are used as they are.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

ACCEPTED = ("DDPMScheduler", "DDIMScheduler", "FlowMatchEulerDiscreteScheduler")


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


def prepared(scheduler: Any, steps: int | None) -> Any:
    """Return a scheduler, or that of a configuration, with its timesteps."""
    if isinstance(scheduler, Mapping):
        scheduler = _from_config(scheduler)
    name = type(scheduler).__name__
    if name not in ACCEPTED:
        raise ValueError(
            f"MultiViewStep: scheduler must be one of diffusers' {', '.join(ACCEPTED)} or its configuration, got {name}"
            "; with its configuration it runs as DDIM, and with gf.diffusion.MultiViewUNet as it is"
        )
    if steps is not None:
        scheduler = copy.deepcopy(scheduler)
        scheduler.set_timesteps(steps)
    elif getattr(scheduler, "num_inference_steps", None) is None:
        raise ValueError("MultiViewStep: scheduler has no timesteps: call its set_timesteps, or give steps")
    return scheduler


def _from_config(config: Mapping[str, Any]) -> Any:
    try:
        import diffusers
    except ImportError as error:
        raise ImportError(
            "MultiViewStep needs diffusers for a scheduler's configuration: pip install 'genimg_fast[diffusion]'"
        ) from error
    name = config.get("_class_name")
    if name not in ACCEPTED:
        name = _closest(config)
    return getattr(diffusers, name).from_config(config)


def _closest(config: Mapping[str, Any]) -> str:
    """Return which sampler the noise of another scheduler's configuration is taken away by."""
    if "base_shift" in config or config.get("prediction_type") == "flow_prediction":
        return "FlowMatchEulerDiscreteScheduler"
    if "beta_schedule" not in config:
        raise ValueError(
            f"MultiViewStep: scheduler must be a configuration of diffusers with a beta_schedule, got {dict(config)}"
        )
    is_ddpm = "variance_type" in config and "set_alpha_to_one" not in config
    return "DDPMScheduler" if is_ddpm else "DDIMScheduler"


def coefficients(scheduler: Any, t: float, *, eta: float = 0.0) -> Coefficients:
    """Return what a scheduler does at the timestep t.

    Args:
        scheduler: As `prepared` returns it.
        t: One of its timesteps.
        eta: For DDIM: 0 without noise, 1 with that of DDPM (Song et al. 2021, eq. 16).
    """
    name = type(scheduler).__name__
    if name == "FlowMatchEulerDiscreteScheduler":
        return _flow(scheduler, t)
    return _ddim(scheduler, int(t), eta) if name == "DDIMScheduler" else _ddpm(scheduler, int(t))


def _ddpm(scheduler: Any, t: int) -> Coefficients:
    """Return the step of Ho, Jain, Abbeel 2020, eq. 7; a learned variance is that of Nichol & Dhariwal 2021, eq. 15."""
    config, before = scheduler.config, int(scheduler.previous_timestep(t))
    abar, abar_before = _alpha_bar(scheduler, t), 1.0 if before < 0 else _alpha_bar(scheduler, before)
    alpha = abar / abar_before
    beta = 1 - alpha
    least = max((1 - abar_before) / (1 - abar) * beta, 1e-20)
    kind = config.variance_type
    if kind not in ("fixed_small", "fixed_small_log", "fixed_large", "learned_range"):
        raise ValueError(
            "MultiViewStep: scheduler's variance_type must be fixed_small, fixed_small_log, fixed_large or "
            f"learned_range, got {kind!r}"
        )
    low, high = math.log(least) / 2, math.log(beta) / 2  # the learned variance v goes from -1 to 1 between these
    return Coefficients(
        *_expected(config, abar),
        from_x=math.sqrt(alpha) * (1 - abar_before) / (1 - abar),
        from_x0=math.sqrt(abar_before) * beta / (1 - abar),
        deviation=math.sqrt(beta if kind == "fixed_large" else least),
        log_deviation=(low + high) / 2,
        log_slope=(high - low) / 2,
        **_clipping(config),
        is_noisy=t > 0,
    )


def _ddim(scheduler: Any, t: int, eta: float) -> Coefficients:
    """Return the step of Song, Meng, Ermon 2021, eq. 12 and 16."""
    config = scheduler.config
    before = t - config.num_train_timesteps // scheduler.num_inference_steps
    abar = _alpha_bar(scheduler, t)
    abar_before = float(scheduler.final_alpha_cumprod) if before < 0 else _alpha_bar(scheduler, before)
    deviation = eta * math.sqrt((1 - abar_before) / (1 - abar) * (1 - abar / abar_before))
    x0_from_x, x0_from_m = _expected(config, abar)
    # eps = (x - sqrt(abar) x0) / sqrt(1 - abar), with x0 before it is clipped.
    scale = math.sqrt(max(1 - abar_before - deviation**2, 0.0)) / math.sqrt(1 - abar)
    return Coefficients(
        x0_from_x,
        x0_from_m,
        from_x=scale * (1 - math.sqrt(abar) * x0_from_x),
        from_x0=math.sqrt(abar_before),
        from_m=-scale * math.sqrt(abar) * x0_from_m,
        deviation=deviation,
        log_deviation=-math.inf if deviation == 0 else math.log(deviation),
        **_clipping(config),
        is_noisy=deviation > 0,
    )


def _flow(scheduler: Any, t: float) -> Coefficients:
    """Return Euler's step along a flow x = (1 - sigma) x0 + sigma z (Lipman et al. 2023), whose velocity is known."""
    if getattr(scheduler.config, "stochastic_sampling", False):
        raise ValueError("MultiViewStep: scheduler's stochastic_sampling must be False, got True")
    index = int(np.abs(np.asarray(scheduler.timesteps.tolist()) - float(t)).argmin())
    sigma, after = (float(scheduler.sigmas[i]) for i in (index, index + 1))
    return Coefficients(1.0, -sigma, from_x=1.0, from_m=after - sigma)


def _alpha_bar(scheduler: Any, t: int) -> float:
    return float(scheduler.alphas_cumprod[t])


def _expected(config: Any, abar: float) -> tuple[float, float]:
    """Return how x0 comes from x and the prediction."""
    signal, noise = math.sqrt(abar), math.sqrt(1 - abar)
    kinds = {"epsilon": (1 / signal, -noise / signal), "sample": (0.0, 1.0), "v_prediction": (signal, -noise)}
    if config.prediction_type not in kinds:
        raise ValueError(
            f"MultiViewStep: scheduler's prediction_type must be one of {', '.join(kinds)}, got "
            f"{config.prediction_type!r}"
        )
    return kinds[config.prediction_type]


def _clipping(config: Any) -> dict[str, float]:
    if config.thresholding:
        return {"limit": float(config.sample_max_value), "quantile": float(config.dynamic_thresholding_ratio)}
    return {"limit": float(config.clip_sample_range) if config.clip_sample else math.inf}
