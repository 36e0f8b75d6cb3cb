"""What Portilla and Simoncelli's synthesis imposes: the joint statistics of a texture's principal channels.

Colours follow J. Vacher, T. Briand, "The Portilla-Simoncelli texture model: towards understanding the early visual
cortex", IPOL 2021, appendix B: the channels are rotated to their principal axes and scaled to the variance 1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from genimg_fast._statistics_torch import centred
from genimg_fast.textures._complex_pyramid import ComplexPyramid
from genimg_fast.textures._joint_statistics import (
    FAMILIES,
    JointStatistics,
    Settings,
    in_deviations,
    measure,
    pixel_statistics,
)
from genimg_fast.textures._projections import mixed
from genimg_fast.textures._statistics import pooled_covariance, principal_axes

NEIGHBOUR_STEP = 2  # pixels of the coarsest scale: one of the lowpass residual's

_LEAST_VARIANCE = 1e-8  # of the first principal channel's: others with less count as absent


class Model(NamedTuple):
    """What of a texture counts: numbers of scales and orientations, width of the neighbourhoods, names of families."""

    n_scales: int
    n_orientations: int
    width: int
    families: tuple[str, ...] = tuple(FAMILIES)

    def pyramid(self, shape: Sequence[int]) -> ComplexPyramid:
        return ComplexPyramid(shape, self.n_scales, self.n_orientations)

    def measured(self, planes: Tensor, pyramid: ComplexPyramid) -> JointStatistics:
        """Return the statistics of principal channels (G, C, H, W)."""
        return measure(planes, pyramid, Settings(self.width, NEIGHBOUR_STEP if planes.shape[1] > 1 else 0))


@dataclass(frozen=True)
class Colours:
    """The principal channels of G textures of C channels.

    Attributes:
        matrix: (G, C, C) from colours, less their mean, to principal channels of the variance 1, or 0 where a texture
            has no such colours.
        inverse: (G, C, C), back.
    """

    matrix: Tensor
    inverse: Tensor

    @classmethod
    def of(cls, pictures: Sequence[np.ndarray], shares: Sequence[float]) -> Colours:
        """Return the principal channels (1, C, C) that pictures (C, H, W) share."""
        axes = principal_axes(pictures, shares)
        pooled = pooled_covariance(pictures, shares)
        variances = np.einsum("ij,jk,ik->i", axes, pooled, axes)
        exist = variances > _LEAST_VARIANCE * variances[0]
        deviations = np.sqrt(np.where(exist, variances, 1))
        matrix = np.where(exist, 1 / deviations, 0)[:, None] * axes
        inverse = (axes * (deviations * exist)[:, None]).T
        return cls(torch.from_numpy(matrix)[None], torch.from_numpy(inverse)[None])

    def principal(self, picture: Tensor) -> Tensor:
        """Return the principal channels of a picture (G, C, H, W), of the mean 0."""
        return mixed(self.matrix, centred(picture)[0])

    def picture(self, planes: Tensor) -> Tensor:
        """Return the picture, less its mean, that has some principal channels."""
        return mixed(self.inverse, planes)


@dataclass(frozen=True)
class Texture:
    """What G pictures of C channels are to have.

    Attributes:
        pixels: (G, C, 6), of the channels (`_joint_statistics.PIXELS`).
        colours: Their principal channels.
        joint: Of the principal channels; float64.
    """

    pixels: Tensor
    colours: Colours
    joint: JointStatistics

    @classmethod
    def stacked(cls, textures: Sequence[Texture], device: torch.device) -> Texture:
        """Return the textures of several groups as one, on a device."""

        def joined(*parts: Tensor) -> Tensor:
            return torch.cat(parts).to(device)

        first, *others = (one.joint for one in textures)
        matrices = zip(*((one.colours.matrix, one.colours.inverse) for one in textures), strict=True)
        return cls(
            joined(*(one.pixels for one in textures)),
            Colours(*(joined(*parts) for parts in matrices)),
            first.map(joined, *others),
        )

    def squared_errors(self, picture: Tensor, model: Model, pyramid: ComplexPyramid) -> dict[str, Tensor]:
        """Return how far a picture (G, C, H, W) is from the texture, for each of the model's families; (G,), float64.

        They are those of the principal channels' statistics (`JointStatistics.squared_errors`), and half the marginals'
        those of the channels' own.
        """
        return self._squared_errors(*self._measured(picture, model, pyramid), model)

    def loss(self, model: Model, pyramid: ComplexPyramid) -> Callable[[Tensor], tuple[Tensor, dict[str, Tensor]]]:
        """Return what gives a descent's loss of a picture (G, C, H, W), (G,), float64, and its `squared_errors`.

        The loss is the mean squared difference of all values of the model's families (`JointStatistics.normalised`, and
        the channels' own statistics of pixels). Unlike the errors, which show how far each family is, it gives every
        value the same weight, and a descent goes down several times faster.
        """
        wanted = self._values(self.joint, self.pixels, model)

        def loss(picture: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
            joint, pixels = self._measured(picture, model, pyramid)
            errors = self._squared_errors(joint.map(Tensor.detach), pixels.detach(), model)
            return (self._values(joint, pixels, model) - wanted).square().mean(-1), errors

        return loss

    def _measured(self, picture: Tensor, model: Model, pyramid: ComplexPyramid) -> tuple[JointStatistics, Tensor]:
        """Return a picture's joint statistics and those of its pixels, which a single channel's joint ones hold."""
        pixels = pixel_statistics(picture) if self.has_colours else self.pixels
        return model.measured(self.colours.principal(picture), pyramid), pixels

    def _squared_errors(self, joint: JointStatistics, pixels: Tensor, model: Model) -> dict[str, Tensor]:
        errors = joint.squared_errors(self.joint)
        if self.has_colours:
            difference, wanted = pixels - self.pixels, self.pixels.flatten(1).square().sum(-1)
            own = difference.flatten(1).square().sum(-1) / torch.where(wanted > 0, wanted, 1)
            errors["marginals"] = (errors["marginals"] + own) / 2
        return {family: errors[family] for family in model.families}

    def _values(self, joint: JointStatistics, pixels: Tensor, model: Model) -> Tensor:
        """Return all values (G, m) of the model's families in units in which they compare."""
        families = joint.normalised(self.joint)
        values = [families[family] for family in model.families]
        if self.has_colours and "marginals" in model.families:
            values.append(in_deviations(pixels, self.pixels).flatten(1))
        return torch.cat(values, -1)

    @property
    def has_colours(self) -> bool:
        """Whether pictures have several channels."""
        return self.pixels.shape[1] > 1


def texture_of(pictures: Sequence[np.ndarray], shares: Sequence[float], model: Model) -> Texture:
    """Return the texture (of G = 1) between some pictures (C, H, W): the weighted means of their statistics.

    Args:
        pictures: float32 or float64, of one number of channels and any sizes.
        shares: Their weights, with the sum 1.
        model: What is measured.
    """
    colours = Colours.of(pictures, shares)
    tensors = [torch.from_numpy(np.ascontiguousarray(one))[None] for one in pictures]
    pixels = [pixel_statistics(one) for one in tensors]
    joints = [model.measured(colours.principal(one), model.pyramid(one.shape[-2:])).double() for one in tensors]

    def mean(*parts: Tensor) -> Tensor:
        return torch.stack([share * part for share, part in zip(shares, parts, strict=True)]).sum(0)

    return Texture(mean(*pixels), colours, joints[0].map(mean, *joints[1:]))
