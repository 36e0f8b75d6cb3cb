"""Pictures from a model: DDIM (Song, Meng, Ermon 2021) and DDPM (Ho, Jain, Abbeel 2020), with guidance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from genimg_fast import _arguments as check
from genimg_fast._core.progress import tracked
from genimg_fast._multiview_step import MultiViewStep
from genimg_fast._system import system
from genimg_fast.diffusion._model import SCHEDULE, TRAIN_STEPS, Model, bounded
from genimg_fast.diffusion._packages import need
from genimg_fast.views import Views

# The cosine schedule ends in hardly anything but noise. There DDPM needs clipping. Diffusers' DDIM clips the expected
# picture but not the noise that goes with it, which spoils both: here it does without, and begins a little later.
_OPTIONS = {
    "ddim": {"clip_sample": False, "timestep_spacing": "leading"},
    "ddpm": {"clip_sample": True, "timestep_spacing": "trailing"},
}

SAMPLERS = tuple(_OPTIONS)

_MOST_PICTURES = 1 << 24


@system("sample")
def sample(
    model: Model,
    labels: Any = None,
    n: int = 1,
    *,
    steps: int = 50,
    guidance: float = 2.0,
    sampler: str = "ddpm",
    seed: int | None = None,
    progress: bool = True,
) -> torch.Tensor:
    """Draw pictures from a model.

    Args:
        model: From `train` or `Model.from_file`.
        labels: A class, by index or by name, or a list or an array of them; None: no class.
        n: Pictures of each.
        steps: Of the sampler, 1 to 1000. DDIM is best with 10 to 100: more begin where there is next to no picture in
            the noise, and its errors there grow.
        guidance: Weight g of u + g (c - u), with the predictions u without and c with the class: 1 is none, more makes
            pictures more typical and less diverse.
        sampler: "ddpm" (fresh noise in each step) or "ddim" (deterministic after the first noise; small networks leave
            specks in more of its pictures).
        seed: Picture i has the seed ``seed + i``, whatever the others are, and its noise does not depend on device or
            threads. None: different each time.
        progress: Whether to show progress on standard error.

    Returns:
        (number of labels * n, C, S, S) float32 in [0, 1], on the model's device: the n pictures of the first label
        first.

    Raises:
        TypeError, ValueError: Something is not as above.
    """
    if not isinstance(model, Model):
        raise TypeError(f"model must be a Model, of train or Model.from_file, got {type(model).__name__}")
    if hasattr(labels, "tolist"):  # an array or a tensor
        labels = labels.tolist()
    listed = labels if isinstance(labels, (list, tuple, range)) else [labels]
    if not listed:
        raise ValueError("labels must be a class or a list of at least one, got an empty list")
    chosen = [model.no_class if label is None else model.label(label) for label in listed]
    batch = torch.tensor(chosen).repeat_interleave(bounded("n", n, 1, _MOST_PICTURES))
    guidance = check.real("guidance", guidance)
    views = Views(["identity"], model.shape)
    return draw(model, views, batch, picture_seeds(seed, len(batch)), steps, guidance, sampler, progress)


@torch.no_grad()
def draw(
    model: Model,
    views: Views,
    labels: torch.Tensor,
    seeds: Sequence[int],
    steps: int,
    guidance: float,
    sampler: str,
    progress: bool,
) -> torch.Tensor:
    """Return pictures (B, C, S, S) in [0, 1], one for each seed, each of whose views is of the class asked for.

    Args:
        labels: (V * B,), those of the first view first.
    """
    step = MultiViewStep(views, scheduler(sampler, steps), guidance=None if guidance == 1 else guidance)
    none = torch.full_like(labels, model.no_class)
    labels = (torch.cat([none, labels]) if step.is_guided else labels).to(model.device)
    noise = _Noise(seeds, model.shape, model.device)
    x = noise()
    for number, t in enumerate(tracked(step.timesteps, "sampling", shown=progress)):
        fresh = noise() if sampler == "ddpm" else None
        x = step.step(model(step.inputs(x), t, labels), t, x, noise=fresh, number=number)
    return x.clamp(-1, 1).add(1).div(2)


class _Noise:
    """White noise for a batch of pictures: each has a generator of its own, so that none depends on the others."""

    def __init__(self, seeds: Sequence[int], shape: tuple[int, int, int], device: torch.device) -> None:
        self._generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        self._shape, self._device = shape, device

    def __call__(self) -> torch.Tensor:
        """Return (B, C, H, W), drawn on the CPU."""
        return torch.stack([torch.randn(self._shape, generator=one) for one in self._generators]).to(self._device)


def scheduler(sampler: str, steps: int) -> Any:
    """Return diffusers' scheduler of a name, set to a number of steps."""
    check.choice("sampler", sampler, SAMPLERS)
    if check.integer("steps", steps, 1) > TRAIN_STEPS:
        raise ValueError(f"steps must be at most {TRAIN_STEPS}, got {steps}")
    diffusers = need("diffusers")
    kind = diffusers.DDIMScheduler if sampler == "ddim" else diffusers.DDPMScheduler
    found = kind(**SCHEDULE, **_OPTIONS[sampler])
    found.set_timesteps(steps)
    found.timesteps = found.timesteps[:steps]  # by rounding, "trailing" can end in one too many, -1
    return found


def picture_seeds(seed: Any, n: int) -> list[int]:
    """Return the seeds of n pictures: a number and those that follow it, or new ones."""
    first = int(torch.randint(1 << 48, ())) if seed is None else bounded("seed", seed, 0, (1 << 63) - n)
    return [first + i for i in range(n)]
