"""Which of the accepted schedulers a configuration of diffusers runs as, and with which settings.

A configuration is read by the class that it is of: what that class does not know (clipping, for one) is off, whatever
the class that it runs as would do by default.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Mapping
from typing import Any

ACCEPTED = ("DDPMScheduler", "DDIMScheduler", "FlowMatchEulerDiscreteScheduler")

_DDPM, _DDIM, _FLOW = ACCEPTED

# What runs as another, with the settings that its class has built in.
_RUNS_AS: dict[str, tuple[str, dict[str, Any]]] = {
    "DDPMParallelScheduler": (_DDPM, {}),
    "UnCLIPScheduler": (_DDPM, {"timestep_spacing": "linspace"}),
    "DDIMParallelScheduler": (_DDIM, {}),
    "PNDMScheduler": (_DDIM, {}),
    "LMSDiscreteScheduler": (_DDIM, {}),
    "EulerDiscreteScheduler": (_DDIM, {}),
    "EulerAncestralDiscreteScheduler": (_DDIM, {}),
    "HeunDiscreteScheduler": (_DDIM, {}),
    "KDPM2DiscreteScheduler": (_DDIM, {}),
    "KDPM2AncestralDiscreteScheduler": (_DDIM, {}),
    "DPMSolverMultistepScheduler": (_DDIM, {}),
    "DPMSolverSinglestepScheduler": (_DDIM, {"timestep_spacing": "linspace"}),
    # Without torchsde diffusers has no more of this class than its name.
    "DPMSolverSDEScheduler": (_DDIM, {"beta_start": 0.00085, "beta_end": 0.012, "timestep_spacing": "linspace"}),
    "DEISMultistepScheduler": (_DDIM, {}),
    "UniPCMultistepScheduler": (_DDIM, {}),
    "SASolverScheduler": (_DDIM, {}),
    "LCMScheduler": (_DDIM, {}),
    "TCDScheduler": (_DDIM, {}),
    "FlowMatchHeunDiscreteScheduler": (_FLOW, {}),
    "FlowMatchLCMScheduler": (_FLOW, {}),
}

_OFF = {"clip_sample": False, "thresholding": False}

# Told from those above by their settings, and refused: they go towards noise, or fill holes.
_REFUSED = ("DDIMInverseScheduler", "DPMSolverMultistepInverseScheduler", "RePaintScheduler")

# They change what a network is called with, or the noise at a timestep.
_MUST_BE = {"snr_shift_scale": None, "timestep_type": "discrete", "stages": None}


def scheduler_of(config: Mapping[str, Any]) -> Any:
    """Return the accepted scheduler that a configuration runs as; say so where it is not the configuration's own."""
    try:
        import diffusers
    except ImportError as error:
        raise ImportError(
            "MultiViewStep needs diffusers for a scheduler's configuration: pip install 'genimg_fast[diffusion]'"
        ) from error
    name = _class_name(config, diffusers)
    if name in ACCEPTED:
        return _made(getattr(diffusers, name), {**_named_only(config), "_class_name": name})
    own = _own_settings(name, config, diffusers)
    target = _target(name, own)
    settings = _flow_settings(own, config) if target == _FLOW else {**_OFF, **own}
    if own.get("final_sigmas_type") == "sigma_min":
        settings["set_alpha_to_one"] = False
    kind = getattr(diffusers, target)
    known = _defaults(kind)
    scheduler = _made(kind, {key: value for key, value in settings.items() if key in known})
    _say(name, target, _without_effect(own, known, settings, name, diffusers))
    return scheduler


def _named_only(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration whose values all count, also those that were the defaults of its class."""
    return {key: value for key, value in config.items() if key != "_use_default_values"}


def _class_name(config: Mapping[str, Any], diffusers: Any) -> str | None:
    """Return the class of a configuration. One in memory does not name it, but begins with all of its settings."""
    name = config.get("_class_name")
    if isinstance(name, (list, tuple)) and name:  # of a class outside of diffusers: its module and itself
        name = name[-1]
    if name is not None:
        return str(name)
    keys = list(config)
    if "_use_default_values" in keys:  # what follows is of other classes, whose configuration it was made from
        keys = keys[: keys.index("_use_default_values")]
    keys = [key for key in keys if not key.startswith("_")]
    for candidate in (*ACCEPTED, *_RUNS_AS, *_REFUSED):
        if keys and set(keys) == set(_defaults(getattr(diffusers, candidate, None))):
            return candidate
    return _DDPM if _looks_like_ddpm(config) else None


def _looks_like_ddpm(config: Mapping[str, Any]) -> bool:
    # DPM-Solvers have a type of variance, too, but no clipping: they are no DDPM.
    others = ("set_alpha_to_one", "solver_order", "predictor_order", "algorithm_type")
    return "variance_type" in config and "beta_schedule" in config and not any(key in config for key in others)


def _defaults(kind: Any) -> dict[str, Any]:
    """Return the settings of a class of diffusers and their defaults; none where the class or a package is missing."""
    if kind is None:
        return {}
    parameters = inspect.signature(kind.__init__).parameters.values()
    named = (p for p in parameters if p.name != "self" and p.kind == p.POSITIONAL_OR_KEYWORD)
    return {p.name: p.default for p in named}


def _own_settings(name: str | None, config: Mapping[str, Any], diffusers: Any) -> dict[str, Any]:
    """Return the settings that a configuration's class has, with its defaults for those that are not given."""
    given = {key: value for key, value in config.items() if not key.startswith("_")}
    if name not in _RUNS_AS:
        if name is not None and hasattr(diffusers, name):
            raise ValueError(
                f"MultiViewStep: scheduler must be a configuration of one of {', '.join((*ACCEPTED, *_RUNS_AS))}, "
                f"got one of {name}, which none of these samplers stands for"
            )
        return given
    known = _defaults(getattr(diffusers, name, None))
    if not known:
        return {**_RUNS_AS[name][1], **{key: value for key, value in given.items() if key not in _OFF}}
    return {**known, **_RUNS_AS[name][1], **{key: value for key, value in given.items() if key in known}}


def _target(name: str | None, own: Mapping[str, Any]) -> str:
    """Return which of the accepted schedulers a configuration runs as."""
    for key, accepted in _MUST_BE.items():
        if own.get(key, accepted) != accepted:
            raise ValueError(f"MultiViewStep: scheduler's {key} must be {accepted!r}, got {own[key]!r}")
    is_flow = own.get("prediction_type") == "flow_prediction"
    if bool(own.get("use_flow_sigmas", is_flow)) != is_flow:
        raise ValueError(
            "MultiViewStep: scheduler's use_flow_sigmas and prediction_type='flow_prediction' must come together, got "
            f"use_flow_sigmas={own.get('use_flow_sigmas')!r} and prediction_type={own.get('prediction_type')!r}"
        )
    if is_flow or "base_shift" in own:
        return _FLOW
    if name in _RUNS_AS:
        return _RUNS_AS[name][0]
    if "beta_schedule" not in own:
        raise ValueError(
            f"MultiViewStep: scheduler must be a configuration of diffusers with a beta_schedule, got {dict(own)}"
        )
    return _DDIM


def _flow_settings(own: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of flow matching: a solver of diffusions calls its shift ``flow_shift``."""
    if "flow_shift" not in own:
        return dict(own)
    kept = ("num_train_timesteps", "use_dynamic_shifting", "time_shift_type", "shift_terminal")
    return {"shift": own["flow_shift"], **{key: own[key] for key in kept if key in own}}


def _made(kind: Any, settings: Mapping[str, Any]) -> Any:
    try:
        return kind.from_config(settings)
    except (NotImplementedError, TypeError, ValueError, RuntimeError) as error:
        raise ValueError(
            f"MultiViewStep: scheduler's configuration must be one that {kind.__name__} takes: {error}"
        ) from error


def _without_effect(
    own: Mapping[str, Any], known: Mapping[str, Any], settings: Mapping[str, Any], name: str | None, diffusers: Any
) -> list[str]:
    """Return what a configuration asks for, other than by default, and the scheduler it runs as does not know."""
    defaults = _defaults(getattr(diffusers, name, None)) if name is not None else {}
    used = {"flow_shift", "use_flow_sigmas", "final_sigmas_type"}
    if "shift" in settings:  # a schedule of betas has no effect on a flow, nor where the last sigma ends
        used -= {"final_sigmas_type"}
        used |= {"prediction_type", "beta_start", "beta_end", "beta_schedule", "trained_betas"}
    return [
        f"{key}={value!r}"
        for key, value in own.items()
        if not (key in used or (key in known and key in settings)) and value not in (None, False, defaults.get(key))
    ]


def _say(name: str | None, target: str, without_effect: list[str]) -> None:
    what = (
        f"a configuration of {name}, or with its settings,"
        if name
        else "a configuration that names no class of diffusers"
    )
    lost = f"; {', '.join(without_effect)} {'have' if len(without_effect) > 1 else 'has'} no effect"
    warnings.warn(
        f"MultiViewStep: {what} runs as {target}{lost if without_effect else ''}",
        stacklevel=5,  # where MultiViewStep is made
    )
