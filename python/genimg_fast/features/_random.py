"""A layer of random filters of several sizes.

I. Ustyuzhaninov, W. Brendel, L. Gatys, M. Bethge, "What does it take to generate natural textures?", ICLR 2017.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from genimg_fast._arguments import integer, several
from genimg_fast._pictures import as_planes
from genimg_fast._system import system
from genimg_fast.features._network import Convolution, Halving, Network, Rectifier, Stage

# A channel of little variance is amplified by the root of what would make it as strong as the strongest: not at all,
# and nothing asks for smooth colours; wholly, and the noise of colours drowns the pattern.
_EVENNESS = 0.5


@system("random")
def random(
    layers: Iterable[str] | None = None,
    *,
    sizes: Sequence[int] = (3, 7),
    n_filters: int = 64,
    levels: int = 4,
    channels: int = 3,
    normalize: Any = None,
    seed: int = 0,
    padding: str = "reflect",
) -> Network:
    """Return one layer of rectified random filters of several sizes, which needs no weights.

    The filters of all sizes make one feature map, so that its Gram matrix holds correlations between sizes. Beyond the
    paper, the same is done on `levels` of the picture, each half the size of the last and smoothed, or its squares
    would show: filters of 7 pixels see 56 of them at the fourth, at a small part of the cost of filters that large.
    ``random(sizes=(3, 5, 7, 11, 15, 23, 37, 55), n_filters=128, levels=1)`` is the paper's layer.

    Args:
        layers: What a call gives: convS (before the rectifier) and reluS for the levels of stride S = 1, 2, 4, ....
            None: every reluS.
        sizes: Odd sides of the filters in pixels of their level.
        n_filters: Filters of each size on each level.
        levels: At least 1.
        channels: Of the pictures; a grey one counts as that many equal channels.
        normalize: A picture or a list of them (see `vgg19`): their mean colour becomes 0 and their principal colours of
            more even variance. None: 0.5 becomes 0.
        seed: Of the filters, which are uniform with variance 1 / (taps of a filter).
        padding: "reflect", "zeros" or "circular" (a tileable picture's maps).

    Raises:
        TypeError: A number that is not an integer, or pictures of another kind.
        ValueError: A size that is even or below 1, no filters, or layers that do not exist.
    """
    sides = [integer("sizes", size, 1) for size in several("sizes", sizes)]
    if not sides or any(side % 2 == 0 for side in sides) or len(set(sides)) < len(sides):
        raise ValueError(f"sizes must hold different odd numbers, got {tuple(sizes)}")
    n_filters, channels = integer("n_filters", n_filters, 1), integer("channels", channels, 1)
    generator = np.random.default_rng(integer("seed", seed, 0))
    stages = [Stage("input", None, _colours(channels, normalize))]
    last = "input"
    for level in range(integer("levels", levels, 1)):
        stride = 2**level
        if level:
            stages.append(Stage(f"pool{stride}", last, Halving()))
            last = f"pool{stride}"
        bank = Bank([_filters(generator, n_filters, channels, side) for side in sides])
        stages += [Stage(f"conv{stride}", last, bank), Stage(f"relu{stride}", f"conv{stride}", Rectifier())]
    chosen = [f"relu{2**level}" for level in range(levels)] if layers is None else layers
    return Network(stages, chosen, padding=padding, channels=sorted({1, channels}))


def levels_for(side: int) -> int:
    """Return how many levels, up to 4, leave 8 pixels of a picture's shorter side."""
    return min(4, max(1, int(math.log2(side / 8)) + 1))


class Bank(nn.Module):
    """Convolutions with filters of several sizes, whose results are the channels of one map."""

    stride = 1

    def __init__(self, weights: Sequence[torch.Tensor]) -> None:
        super().__init__()
        self.filters = nn.ModuleList([Convolution(weight, torch.zeros(len(weight))) for weight in weights])
        self.kernel = max(weight.shape[-1] for weight in weights)
        self.padding = self.kernel // 2

    def forward(self, x: torch.Tensor, padding: str) -> torch.Tensor:
        return torch.cat([filters(x, padding) for filters in self.filters], dim=-3)


def _filters(generator: np.random.Generator, n: int, channels: int, side: int) -> torch.Tensor:
    bound = math.sqrt(3 / (channels * side * side))
    return torch.from_numpy(generator.uniform(-bound, bound, (n, channels, side, side))).float()


def _colours(channels: int, pictures: Any) -> Convolution:
    """Return the change of colours before the filters."""
    if pictures is None:
        mean, matrix = np.full(channels, 0.5), np.eye(channels)
    else:
        mean, matrix = _evened(channels, as_planes(pictures, "normalize"))
    bias = torch.from_numpy(-matrix @ mean).float()
    return Convolution(torch.from_numpy(matrix).float()[:, :, None, None], bias)


def _evened(channels: int, images: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    pixels = [np.moveaxis(image, -3, 0).reshape(image.shape[-3], -1) for image in images]
    values = np.concatenate([np.broadcast_to(p, (channels, p.shape[1])) for p in pixels], axis=1, dtype=np.float64)
    mean = values.mean(axis=1)
    variances, axes = np.linalg.eigh(np.atleast_2d(np.cov(values)))
    strongest = max(float(variances[-1]), 1e-12)
    shares = np.maximum(variances / strongest, 1e-4)
    return mean, (axes / shares ** (_EVENNESS / 2)).T / math.sqrt(strongest)
