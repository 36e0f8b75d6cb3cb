"""Which statistics tell two textures apart."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import torch

from genimg_fast import _arguments as check
from genimg_fast._pictures import Unit
from genimg_fast._system import system
from genimg_fast.textures import _arguments as pyramids
from genimg_fast.textures._edges import periodic_component
from genimg_fast.textures._joint_statistics import JointStatistics
from genimg_fast.textures._texture import Colours, Model

_LEAST_SIDE = 32  # pixels: halves still hold a scale


class FamilyDifference(NamedTuple):
    """How much a family of statistics differs between two pictures, and within them.

    Attributes:
        between: Relative difference between parts of different pictures: 0 for equal statistics.
        within: The same between parts of one picture.
    """

    between: float
    within: float

    @property
    def ratio(self) -> float:
        """About 1 where the family does not tell the pictures apart, and the larger the better it does."""
        return self.between / self.within if self.within > 0 else float("inf") if self.between > 0 else 1.0


@system("compare")
def compare(
    a: Any,
    b: Any,
    *,
    n_scales: int | str = "auto",
    n_orientations: int = 4,
    spatial_corr_width: int = 7,
) -> dict[str, FamilyDifference]:
    """Return which families of Portilla and Simoncelli's statistics tell two pictures apart, and by how much.

    Each picture is cut into quarters. The relative difference of two quarters, d, has its square between d^2 / a^2 and
    d^2 / b^2, the mean squared relative errors of a family's statistics in units of either quarter's: their harmonic
    mean. Quarters of different pictures are compared with those of the same. Both pictures share principal channels,
    scaled to the variance 1 of both together, so that contrasts count; mean colours do not.

    Args:
        a, b: Pictures of one kind: arrays (H, W) or (H, W, C), or tensors (H, W) or (C, H, W), C from 1 to 4, of floats
            or integers of any range, at least 32x32 pixels. Sizes may differ; a grey one counts as equal channels.
        n_scales: Number of scales of a quarter. "auto": 3 for a shorter side of 256 pixels, one less each time it
            halves, one more each time it doubles.
        n_orientations: Number of orientations, 1 to 16.
        spatial_corr_width: Width of the neighbourhood of the autocorrelations, 1 to 33.

    Returns:
        For each family, "marginals", "autocorrelation", "magnitudes", "phases", a `FamilyDifference`; the largest ratio
        first.

    Raises:
        TypeError: Not pictures of floats or integers, or of different kinds.
        ValueError: Pictures of different dtypes or channels, batches, or too small; NaN or infinity.
    """
    given = check.promoted(check.alike([("a", a), ("b", b)])[0], ["a", "b"])
    if given[0].ndim > 3:
        raise ValueError(f"a must be one picture, got a batch of the shape {tuple(given[0].shape)}")
    for name, planes in zip(("a", "b"), given, strict=True):
        if min(planes.shape[-2:]) < _LEAST_SIDE:
            height, width = planes.shape[-2:]
            raise ValueError(f"{name} must be at least {_LEAST_SIDE}x{_LEAST_SIDE} pixels, got {height}x{width}")
    unit = Unit.of(given)
    pictures = [unit.enter(planes) for planes in given]
    quarters = [_quarters(planes) for planes in pictures]
    shapes = [one.shape[-2:] for parts in quarters for one in parts]
    k = check.integer("n_orientations", n_orientations, 1, 16)
    scales = pyramids.height(n_scales, "frequency", k - 1, shapes, min(shapes, key=min), name="n_scales")
    model = Model(scales, k, check.integer("spatial_corr_width", spatial_corr_width, 1, 33))
    colours = Colours.of(pictures, [0.5, 0.5])
    measured = [[_measured(one, model, colours) for one in parts] for parts in quarters]
    between = _mean_difference([(one, other) for one in measured[0] for other in measured[1]], model)
    within = _mean_difference([pair for parts in measured for pair in itertools.combinations(parts, 2)], model)
    differences = {name: FamilyDifference(between[name], within[name]) for name in model.families}
    return dict(sorted(differences.items(), key=lambda pair: -pair[1].ratio))


def _quarters(planes: np.ndarray) -> list[np.ndarray]:
    """Return the quarters of planes (C, H, W), without a jump at their borders."""
    height, width = (n // 2 for n in planes.shape[-2:])
    corners = itertools.product((slice(None, height), slice(-height, None)), (slice(None, width), slice(-width, None)))
    return [periodic_component(np.ascontiguousarray(planes[:, rows, columns])) for rows, columns in corners]


def _measured(planes: np.ndarray, model: Model, colours: Colours) -> JointStatistics:
    picture = torch.from_numpy(planes)[None]
    return model.measured(colours.principal(picture), model.pyramid(planes.shape[-2:]))


def _mean_difference(pairs: Iterable[tuple[JointStatistics, JointStatistics]], model: Model) -> dict[str, float]:
    squares = [(one.squared_errors(other), other.squared_errors(one)) for one, other in pairs]

    def difference(one: float, other: float) -> float:
        # d^2 / a^2 and d^2 / b^2 give d^2 / ((a^2 + b^2) / 2).
        return float(np.sqrt(2 / (1 / one + 1 / other))) if one > 0 and other > 0 else 0.0

    return {
        name: float(np.mean([difference(float(p[name][0]), float(q[name][0])) for p, q in squares]))
        for name in model.families
    }
