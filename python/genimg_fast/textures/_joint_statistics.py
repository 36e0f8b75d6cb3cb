"""The joint statistics of complex subbands: what a parametric texture model knows of a texture.

J. Portilla, E. P. Simoncelli, "A parametric texture model based on joint statistics of complex wavelet coefficients",
IJCV 40 (2000), section 2. Several planes may belong together, such as the principal channels of a colour picture: their
subbands are correlated with each other too (J. Vacher, T. Briand, "The Portilla-Simoncelli texture model", IPOL 2021).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import torch
from torch import Tensor

import genimg_fast as gf
from genimg_fast import _statistics_torch as sums
from genimg_fast.textures._complex_pyramid import ComplexPyramid
from genimg_fast.textures._parametric_options import FAMILIES

LEAST_VARIANCE = 1e-90  # of what varies: the derivatives of smaller ones would overflow

PIXELS = ("mean", "variance", "skewness", "kurtosis", "minimum", "maximum")


@dataclass(frozen=True)
class JointStatistics:
    """Of G groups of P planes of one shape, with K orientations of their subbands; n = P K subbands a scale.

    All are of the subbands' and reconstructions' own amplitudes, which do not depend on the size of the planes: a value
    of a subband is one of the picture seen through its filter. Lists go from fine to coarse. w = 2 (width // 2) + 1 is
    the width of the neighbourhood, which is circular.

    Attributes:
        pixels: (G, P, 6): `PIXELS`, the variance biased; the planes' own.
        planes: (G, P, w, w): autocorrelation of the planes, less their mean.
        highpass: (G, P): variance of the highpass residual.
        reconstructions: Each scale and the lowpass residual: (G, P, w, w), autocorrelation of the picture that it and
            all coarser ones reconstruct.
        skewness, kurtosis: Of the same, (G, P).
        magnitude_means: Each scale: (G, n).
        magnitude_correlations: Each scale: (G, n, w, w), autocorrelation of the magnitudes, less their mean.
        magnitudes: Each scale: covariance of the n magnitudes and, but for the coarsest scale, of those of the next
            scale at this scale's size (parents): (G, 2 n, 2 n), (G, n, n).
        phases: Each scale: products of the n real parts and of the real and the imaginary parts of the parents with
            doubled phase, (G, 3 n, 3 n); at the coarsest scale of the real parts and of the lowpass residual and its
            four neighbours, (G, n + 5 P, n + 5 P), where asked for, and else (G, n, n).
    """

    pixels: Tensor
    planes: Tensor
    highpass: Tensor
    reconstructions: list[Tensor]
    skewness: list[Tensor]
    kurtosis: list[Tensor]
    magnitude_means: list[Tensor]
    magnitude_correlations: list[Tensor]
    magnitudes: list[Tensor]
    phases: list[Tensor]

    def map(self, function: Callable[..., Tensor], *others: JointStatistics) -> JointStatistics:
        """Return the statistics that a function makes of each tensor of these and of others."""

        def mapped(name: str) -> Any:
            first, *rest = (getattr(one, name) for one in (self, *others))
            if isinstance(first, list):
                return [function(*parts) for parts in zip(first, *rest, strict=True)]
            return function(first, *rest)

        return JointStatistics(**{field.name: mapped(field.name) for field in fields(self)})

    def double(self) -> JointStatistics:
        return self.map(Tensor.double)

    def errors(self, target: JointStatistics) -> dict[str, Tensor]:
        """Return how far these statistics are from others, for each of `FAMILIES`; (G,), float64.

        A statistic's error is the norm of the difference over the norm of the target, over all scales; a family's is
        the root of the mean of its statistics' squared errors.
        """
        return {family: value.sqrt() for family, value in self.squared_errors(target).items()}

    def squared_errors(self, target: JointStatistics) -> dict[str, Tensor]:
        """Return the squares of `errors`, which are differentiable at 0 too."""

        def error(name: str) -> Tensor:
            both = zip(self._own(name), target._own(name), strict=True)
            pairs = [(a.flatten(1).double(), b.flatten(1).double()) for a, b in both]
            difference = torch.stack([(a - b).square().sum(-1) for a, b in pairs]).sum(0)
            norm = torch.stack([b.square().sum(-1) for _, b in pairs]).sum(0)
            return torch.where(norm > 0, difference / torch.where(norm > 0, norm, 1), difference)

        return {family: torch.stack([error(name) for name in names]).mean(0) for family, names in FAMILIES.items()}

    def normalised(self, target: JointStatistics) -> dict[str, Tensor]:
        """Return the values of each of `FAMILIES` in units in which they compare; (G, m), float64, differentiable.

        Products are correlation coefficients; standard deviations, and means of magnitudes, are relative to the
        target's standard deviations; moments are their own. All scales count alike: errors of the finest are not lost
        beside the variance of the coarsest, nor those of shapes beside those of amplitudes.
        """

        def values(name: str) -> list[Tensor]:
            own, wanted = self._parts(name), target._parts(name)
            if name == "pixels":
                return [in_deviations(a, b) for a, b in zip(own, wanted, strict=True)]
            if name == "highpass":
                return [_relative(root(a), b) for a, b in zip(own, wanted, strict=True)]
            if name == "magnitude_means":
                variances = [middle(one) for one in target.magnitude_correlations]
                return [_relative(a, b) for a, b in zip(own, variances, strict=True)]
            if name in ("magnitudes", "phases"):
                return self._of_subbands(name, [_correlations(one) for one in own])
            if name in ("skewness", "kurtosis"):
                return own
            pairs = [(a, middle(a), middle(b)) for a, b in zip(own, wanted, strict=True)]
            deviations = [_relative(root(variance), of) for _, variance, of in pairs]
            return deviations + [ratio(a, variance[..., None, None]) for a, variance, _ in pairs]

        return {
            family: torch.cat([one.double().flatten(1) for name in names for one in values(name)], -1)
            for family, names in FAMILIES.items()
        }

    def _parts(self, name: str) -> list[Tensor]:
        """Return a statistic of each scale."""
        parts = getattr(self, name)
        return [parts] if isinstance(parts, Tensor) else parts

    def _own(self, name: str) -> list[Tensor]:
        """Return a statistic of each scale, without what only its parents have to do with."""
        return self._of_subbands(name, self._parts(name))

    def _of_subbands(self, name: str, parts: list[Tensor]) -> list[Tensor]:
        n = self.magnitude_means[0].shape[-1]
        if name == "magnitudes":
            return [one[:, :n] for one in parts]
        return [one[:, :n, n:] for one in parts] if name == "phases" else parts


def in_deviations(pixels: Tensor, target: Tensor) -> Tensor:
    """Return `PIXELS` (..., 6) in units of the target's standard deviation, or their own where that is 0."""
    variance = torch.where(target[..., 1:2] > 0, target[..., 1:2], 1)
    deviation, one = variance.sqrt(), torch.ones_like(variance)
    return pixels / torch.cat([deviation, variance, one, one, deviation, deviation], -1)


def middle(correlation: Tensor) -> Tensor:
    """Return the variance (...) that an autocorrelation (..., w, w) holds."""
    radius = correlation.shape[-1] // 2
    return correlation[..., radius, radius]


def ratio(x: Tensor, y: Tensor) -> Tensor:
    """Return x / y for y >= 0, and 0 where y is."""
    return x / torch.where(y > LEAST_VARIANCE, y, math.inf)


def root(x: Tensor) -> Tensor:
    """Return the square root; its gradient at 0 is 0."""
    exists = x > LEAST_VARIANCE
    return torch.where(exists, torch.where(exists, x, 1).sqrt(), 0)


def _relative(deviation: Tensor, variance: Tensor) -> Tensor:
    """Return a standard deviation in units of that of a variance, or as it is where that is 0."""
    return deviation / torch.where(variance > LEAST_VARIANCE, variance, 1).sqrt()


def _correlations(products: Tensor) -> Tensor:
    """Return the correlation coefficients of products (G, n, n)."""
    variances = products.diagonal(0, -2, -1)
    return ratio(products, root(variances[..., :, None] * variances[..., None, :]))


class Settings(NamedTuple):
    """What is measured: width of the neighbourhood, and steps to the neighbours of the lowpass residual, 0 for none."""

    width: int = 7
    neighbour_step: int = 0


def measure(planes: Tensor, pyramid: ComplexPyramid, settings: Settings) -> JointStatistics:
    """Return the statistics of planes (G, P, H, W), float32 or float64; differentiable."""
    pixels = pixel_statistics(planes)
    # Twice: a mean rounded to float32 leaves an offset that is not small beside the faintest reconstruction.
    less, _ = sums.centred(sums.centred(planes)[0])
    less = less * (pixels[..., 1] > 0).to(less.dtype)[..., None, None]
    parts = pyramid.analyse(less)
    _, skewness, kurtosis = moments(parts.reconstructions)
    joint = [_joint(parts, scale, settings) for scale in range(pyramid.n_scales)]
    return JointStatistics(
        pixels=pixels,
        planes=autocorrelation(less, settings.width),
        highpass=sums.power_means(parts.highpass, 3)[..., 2],
        reconstructions=[autocorrelation(one, settings.width) for one in parts.reconstructions],
        skewness=list(skewness.unbind(-1)),
        kurtosis=list(kurtosis.unbind(-1)),
        magnitude_means=[one.means for one in joint],
        magnitude_correlations=[one.correlations for one in joint],
        magnitudes=[one.magnitudes for one in joint],
        phases=[one.phases for one in joint],
    )


def autocorrelation(planes: Tensor, width: int) -> Tensor:
    """Return the means of the products of pixels and their neighbours, (..., w, w)."""
    return sums.correlation(planes, planes, width // 2) / (planes.shape[-2] * planes.shape[-1])


def pixel_statistics(planes: Tensor) -> Tensor:
    """Return `PIXELS` of planes (..., H, W), (..., 6), float64.

    Planes that only the rounding of their values makes vary count as constant.
    """
    less, means = sums.centred(planes)
    extremes = [planes.amin((-2, -1)).double(), planes.amax((-2, -1)).double()]
    rounding = 4 * torch.finfo(planes.dtype).eps * torch.stack(extremes).detach().abs().amax(0)
    variance, skewness, kurtosis = (one[..., 0] for one in moments([less]))
    varies = variance > rounding**2
    own = [torch.where(varies, a, b) for a, b in ((variance, 0), (skewness, 0), (kurtosis, 3))]
    return torch.stack([means, *own, *extremes], -1)


def moments(planes: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """Return variance, skewness and kurtosis of several planes (..., H, W) with the mean 0, each (..., planes).

    Constant planes have those of a normal law.
    """
    means = torch.stack([sums.power_means(one, 5) for one in planes], -2)
    variance, third, fourth = means[..., 2], means[..., 3], means[..., 4]
    varies = variance > LEAST_VARIANCE
    safe = torch.where(varies, variance, 1)
    return variance, torch.where(varies, third / safe**1.5, 0), torch.where(varies, fourth / safe**2, 3)


class _Joint(NamedTuple):
    means: Tensor
    correlations: Tensor
    magnitudes: Tensor
    phases: Tensor


def _joint(parts, scale: int, settings: Settings) -> _Joint:
    bands = parts.bands[scale]
    n = bands.shape[-3]
    parents = parts.parents[scale] if scale < len(parts.parents) else None
    magnitudes, reals = sums.magnitudes_and_phases(bands, parents)
    if parents is None and settings.neighbour_step:
        reals = torch.cat([reals, neighbours(parts.lowpass, settings.neighbour_step)], -3)
    magnitudes, means = sums.centred(magnitudes)
    return _Joint(
        means[..., :n],
        autocorrelation(magnitudes[..., :n, :, :], settings.width),
        gf.gram_matrix(magnitudes),
        gf.gram_matrix(reals),
    )


def neighbours(planes: Tensor, step: int) -> Tensor:
    """Return planes (G, P, H, W) and the same seen from four neighbours, (G, 5 P, H, W)."""
    shifts = ((0, 0), (0, step), (0, -step), (step, 0), (-step, 0))
    return torch.cat([planes.roll(shift, (-2, -1)) for shift in shifts], -3)
