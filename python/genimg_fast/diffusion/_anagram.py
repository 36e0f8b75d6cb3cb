"""Visual anagrams: pictures that read as another class in each of several views, ranked by how well they do.

D. Geng, I. Park, A. Owens, "Visual anagrams: generating multi-view optical illusions with diffusion models", CVPR 2024.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from genimg_fast import _arguments as check
from genimg_fast.diffusion import _digits
from genimg_fast.diffusion._model import Model
from genimg_fast.diffusion._sampling import draw, picture_seeds
from genimg_fast.multiview import apply_views
from genimg_fast.views import Views

Reader = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Score:
    """How well a picture does (Geng et al. 2024, section 4.3, with a classifier's log-probabilities for CLIP's scores).

    Let S[i, j] be the logarithm of the probability that view i shows the class asked for in view j.

    Attributes:
        alignment: The smallest S[i, i], at most 0: how well the worst view reads as its own class.
        concealment: The mean of the diagonal of the softmax of S over j, 0 to 1: how little the views read as the
            classes of the others.
        read: The label that each view shows most probably.
        is_right: Whether those are the ones asked for.
        names: The names of ``read``.
    """

    alignment: float
    concealment: float
    read: tuple[int, ...]
    is_right: bool
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Anagrams:
    """Pictures and what they are, the best first.

    Attributes:
        pictures: (n, C, S, S) float32 in [0, 1].
        scores: One for each.
        seeds: One for each: `anagram` with ``n=1`` and this seed makes the picture alone.
        labels: The class that each view was to show.
        views: The views.
        judge: Who judged: "digits classifier", "own model" (the one that drew them, whose judgement is no proof that
            others see it) or "reader".
    """

    pictures: torch.Tensor
    scores: tuple[Score, ...]
    seeds: tuple[int, ...]
    labels: tuple[int, ...]
    views: Views
    judge: str = "reader"

    def seen(self) -> torch.Tensor:
        """Return what each view shows: (n, V, C, S, S) in [0, 1]."""
        return seen(self.pictures, self.views)


def anagram(
    model: Model,
    labels: Sequence[Any] = (6, 9),
    views: Any = ("identity", "rotate_180"),
    n: int = 16,
    *,
    steps: int = 50,
    guidance: float = 3.0,
    sampler: str = "ddpm",
    seed: int | None = None,
    reader: Reader | None = None,
    progress: bool = True,
) -> Anagrams:
    """Draw pictures that show one class in each view, and rank them.

    Where the model judges its own pictures, its mistakes count as right: what it takes for an 8 it draws as an 8. Its
    ranking finds those that came out as it meant them; of a few good ones, the best for human eyes may be another. A
    reader that has seen other data judges better.

    Args:
        model: From `train` or `Model.from_file`.
        labels: A class for each view, by index or by name.
        views: As `Views` takes them.
        n: Pictures to draw.
        steps, guidance, sampler: As for `sample`.
        seed: Picture i has the seed ``seed + i``. None: different each time.
        reader: Gives the logarithm of each class' probability, (N, classes), for pictures (N, C, S, S) in [0, 1].
            Default: `digits_classifier` for a model of the digits, else `model_reader`, the model itself;
            ``judge`` of the result says which.
        progress: Whether to show progress on standard error.

    Returns:
        The pictures, those with the largest alignment first; equal ones by concealment.

    Raises:
        TypeError, ValueError: Something is not as above.
    """
    bound = views if isinstance(views, Views) else Views(views, model.shape)
    if bound.shape != model.shape:
        raise ValueError(f"views must be of the model's shape {model.shape}, got {bound.shape}")
    chosen = tuple(model.label(label) for label in labels)
    if len(chosen) != len(bound):
        raise ValueError(f"labels must name a class for each of {len(bound)} views, got {len(chosen)}")
    seeds = picture_seeds(seed, check.integer("n", n, 1))
    batch = torch.tensor(chosen).repeat_interleave(n)
    pictures = draw(model, bound, batch, seeds, steps, guidance, sampler, progress)
    judge = "reader"
    if reader is None:
        reader, judge = _reader_of(model), "digits classifier" if _shows_digits(model) else "own model"
    scores = score(seen(pictures, bound), chosen, reader, model.classes)
    order = sorted(range(n), key=lambda i: (scores[i].alignment, scores[i].concealment), reverse=True)
    ranked = tuple(scores[i] for i in order)
    return Anagrams(pictures[order], ranked, tuple(seeds[i] for i in order), chosen, bound, judge)


def seen(pictures: torch.Tensor, views: Views) -> torch.Tensor:
    """Return what views show of pictures (n, C, S, S) in [0, 1]: (n, V, C, S, S)."""
    stack = apply_views(pictures.mul(2).sub(1), views)  # negation is about the middle grey
    return stack.add(1).div(2).clamp(0, 1).unflatten(0, (len(views), len(pictures))).transpose(0, 1)


def score(
    seen_pictures: torch.Tensor, labels: Sequence[int], reader: Reader, classes: Sequence[str] = ()
) -> list[Score]:
    """Return the scores of pictures whose views (n, V, C, S, S) were to show some labels, of classes with names."""
    n, v = seen_pictures.shape[:2]
    by_class = reader(seen_pictures.flatten(0, 1)).double().cpu().unflatten(0, (n, v))
    matrices = by_class[..., list(labels)]
    alignment = matrices.diagonal(dim1=1, dim2=2).amin(1)
    concealment = matrices.softmax(-1).diagonal(dim1=1, dim2=2).mean(1)
    return [
        Score(float(a), float(c), tuple(read), tuple(read) == tuple(labels), tuple(classes[i] for i in read if classes))
        for a, c, read in zip(alignment, concealment, by_class.argmax(-1).tolist(), strict=True)
    ]


def model_reader(model: Model, n_levels: int = 32, seed: int = 0, n_noises: int = 2) -> Reader:
    """Return a reader that asks the model itself under which class it predicts noise best.

    A. Li et al., "Your diffusion model is secretly a zero-shot classifier", ICCV 2023: the squared errors of the
    predicted noise, half their sum over the pixels and the mean over noise levels and draws of noise, stand for the
    negative log-likelihood. All classes and pictures see the same noise, so that the ratio of two classes varies less
    than either; each draw is followed by its opposite, which takes out of it what is odd in the noise.

    Args:
        model: Any.
        n_levels: Noise levels that are tried.
        seed: Of the noise.
        n_noises: Draws of noise at each level. More rank more steadily and take as much longer.
    """
    from genimg_fast.diffusion._sampling import scheduler

    schedule = scheduler("ddpm", n_levels)
    generator = torch.Generator().manual_seed(check.integer("seed", seed, 0))
    pairs = -(-check.integer("n_noises", n_noises, 1) // 2)
    drawn = torch.randn((pairs, n_levels, *model.shape), generator=generator)
    noises = torch.stack([drawn, -drawn], 1).flatten(0, 1)[:n_noises].flatten(0, 1)
    timesteps = schedule.timesteps.repeat(n_noises)

    @torch.no_grad()
    def read(pictures: torch.Tensor) -> torch.Tensor:
        clean, k, pixels = pictures.to(model.device).mul(2).sub(1), len(model.classes), noises[0].numel()
        labels = torch.arange(k, device=model.device).repeat(len(clean))
        errors = torch.zeros(len(clean), k, dtype=torch.float64)
        for t, one in zip(timesteps, noises.to(model.device), strict=True):
            noisy = schedule.add_noise(clean, one.expand_as(clean), t.expand(len(clean)))
            predicted = model(noisy.repeat_interleave(k, 0), t, labels)
            errors += (predicted - one).square().flatten(1).mean(1).view(-1, k).cpu() / len(timesteps)
        return torch.log_softmax(-errors * (pixels / 2), 1)

    return read


def _shows_digits(model: Model) -> bool:
    return model.classes == _digits.CLASSES and model.shape[0] == 1 and model.shape[1] % 8 == 0


def _reader_of(model: Model) -> Reader:
    return _digits.digits_classifier().log_probabilities if _shows_digits(model) else model_reader(model)
