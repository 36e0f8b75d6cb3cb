"""What a sampler of visual anagrams does between two calls of its network, against the same in PyTorch's operations.

The peer is the loop of Visual Anagrams written plainly: each view by itself, guidance after the inverse views, and
diffusers' DDPM scheduler with learned variance. It gets its noise from a prepared tensor, as ours does. The floor is a
plain copy of as many bytes as have to be moved: 5 V + 3 pictures for V views. Caches are warm: each has just run.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from diffusers import DDPMScheduler
from diffusers.schedulers import scheduling_ddpm

import genimg_fast as gf

from .common import interleaved

GUIDANCE = 7.0
TWO = ("identity", "rotate_180")
EIGHT = ("identity", "flip", "hflip", "rotate_180", "rotate_cw", "rotate_ccw", "negate", "transpose")
CASES = {
    "V=2": TWO,
    "V=2, a quarter turn": ("identity", "rotate_cw"),
    "V=2, skew": ("identity", "skew"),
    "V=8": EIGHT,
    "V=8, one of them skew": (*EIGHT[:-1], "skew"),
}
STEPS = 10


def run(quick: bool, threads: int) -> list[dict[str, Any]]:
    """Time one step, and the front's three functions by themselves for two views."""
    seconds = 1.0 if quick else 3.0
    sides = (256,) if quick else (64, 256, 1024)
    rows = [_step(case, names, side, seconds) for side in sides for case, names in CASES.items()]
    return [*rows, *(_step("V=2", TWO, side, seconds, thresholding=True) for side in sides)]


def _skewed(x: torch.Tensor, way: int) -> torch.Tensor:
    width = x.shape[-1]
    columns = [torch.roll(x[..., i], way * int(1.5 * (i - width // 2)), dims=-1) for i in range(width)]
    return torch.stack(columns, -1)


# Each view and its inverse as a user of PyTorch writes them.
EAGER: dict[str, tuple[Callable[[torch.Tensor], torch.Tensor], Callable[[torch.Tensor], torch.Tensor]]] = {
    "identity": (lambda x: x, lambda x: x),
    "flip": (lambda x: x.flip(-2), lambda x: x.flip(-2)),
    "hflip": (lambda x: x.flip(-1), lambda x: x.flip(-1)),
    "rotate_180": (lambda x: x.rot90(2, (-2, -1)), lambda x: x.rot90(2, (-2, -1))),
    "rotate_cw": (lambda x: x.rot90(-1, (-2, -1)), lambda x: x.rot90(1, (-2, -1))),
    "rotate_ccw": (lambda x: x.rot90(1, (-2, -1)), lambda x: x.rot90(-1, (-2, -1))),
    "transpose": (lambda x: x.mT, lambda x: x.mT),
    "negate": (lambda x: -x, lambda x: torch.cat([-x[:3], x[3:]])),
    "skew": (lambda x: _skewed(x, 1), lambda x: _skewed(x, -1)),
}


class _Eager:
    """The loop of Visual Anagrams around a network, one picture at a time."""

    def __init__(self, names: tuple[str, ...], scheduler: DDPMScheduler) -> None:
        self.views = [EAGER[name] for name in names]
        self.scheduler = scheduler

    def inputs(self, x: torch.Tensor) -> torch.Tensor:
        stack = torch.stack([view(x[0]) for view, _ in self.views])
        return torch.cat([stack] * 2)

    def step(self, prediction: torch.Tensor, t: Any, x: torch.Tensor) -> torch.Tensor:
        unconditional, conditional = (
            torch.stack([inverse(one) for one, (_, inverse) in zip(half, self.views, strict=True)])
            for half in prediction.chunk(2)
        )
        noise, _ = unconditional.split(3, dim=1)
        text_noise, variance = conditional.split(3, dim=1)
        noise = noise + GUIDANCE * (text_noise - noise)
        mean = torch.cat([noise.mean(0, keepdim=True), variance.mean(0, keepdim=True)], dim=1)
        return self.scheduler.step(mean, t, x, return_dict=False)[0]


def _step(case: str, names: tuple[str, ...], side: int, seconds: float, thresholding: bool = False) -> dict[str, Any]:
    shape = (1, 3, side, side)
    scheduler = DDPMScheduler(
        beta_schedule="squaredcos_cap_v2",
        variance_type="learned_range",
        thresholding=thresholding,
        dynamic_thresholding_ratio=0.95,
        sample_max_value=1.5,
    )
    scheduler.set_timesteps(STEPS)
    sampler = gf.MultiViewStep(gf.Views(list(names), shape[1:]), scheduler, GUIDANCE)
    eager = _Eager(names, scheduler)
    generator = torch.Generator().manual_seed(0)
    x, noise = (torch.randn(shape, generator=generator) for _ in range(2))
    prediction = torch.randn(2 * len(names), 6, side, side, generator=generator).clamp(-1, 1)
    stack, out = torch.empty(2 * len(names), 3, side, side), torch.empty(shape)
    number, t = STEPS // 2, scheduler.timesteps[STEPS // 2]
    known = sampler.timesteps[number]
    scheduling_ddpm.randn_tensor = lambda *_, **__: noise

    def ours() -> torch.Tensor:
        sampler.inputs(x, out=stack)
        return sampler.step(prediction, known, x, noise=noise, out=out)

    def theirs() -> torch.Tensor:
        eager.inputs(x)
        return eager.step(prediction, t, x)

    torch.testing.assert_close(sampler.inputs(x), eager.inputs(x), rtol=0, atol=0)
    torch.testing.assert_close(ours(), theirs(), rtol=1e-5, atol=1e-5)
    planes = (5 * len(names) + 3) * 3 * side**2
    source, copy = torch.randn(planes // 2), torch.empty(planes // 2)
    times = interleaved({"ours": ours, "torch": theirs, "copy": lambda: copy.copy_(source)}, seconds, warm=5)
    return {
        "family": "multiview",
        "case": f"{side} px, {case}{', dynamic threshold' if thresholding else ''}",
        "what": "all views and a DDPM step with learned variance",
        "seconds": times["ours"],
        "peer_seconds": {"torch": times["torch"]},
        "floor_seconds": times["copy"],
        "note": "",
    }
