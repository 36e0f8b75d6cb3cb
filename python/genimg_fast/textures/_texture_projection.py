"""One iteration of Portilla and Simoncelli's synthesis: every statistic of a texture imposed once, coarse to fine.

J. Portilla, E. P. Simoncelli, "A parametric texture model based on joint statistics of complex wavelet coefficients",
IJCV 40 (2000), section 3, in the order of the published code. Colours as in J. Vacher, T. Briand, "The
Portilla-Simoncelli texture model: towards understanding the early visual cortex", IPOL 2021, appendix B.
"""

from __future__ import annotations

import torch
from torch import Tensor

import genimg_fast as gf
from genimg_fast import _statistics_torch as sums
from genimg_fast.textures import _projections as onto
from genimg_fast.textures._joint_statistics import middle, neighbours
from genimg_fast.textures._texture import NEIGHBOUR_STEP, Model, Texture
from genimg_fast.textures._transforms import Shape, enlarged, inverse, reduced, spectrum

_LEAST_MAGNITUDE = 1e-30  # a coefficient of less than that stays about 0, whatever its magnitude is to become
_LEAST_VARIANCE = 1e-8  # of the picture's: reconstructions with less take their variance alone


class TextureProjection:
    """Imposes a texture's statistics on pictures (G, C, H, W).

    Args:
        texture: What to impose.
        model: What of it.
        shape: (H, W) of the pictures.
        smallest: (height, width) of the smallest exemplar. Scales take as much of the neighbourhoods as both it and the
            pictures can hold.
    """

    def __init__(self, texture: Texture, model: Model, shape: Shape, smallest: Shape) -> None:
        self._texture, self._target, self._model = texture, texture.joint, model
        self._pyramid = pyramid = model.pyramid(shape)
        target = self._target
        self._n = target.magnitude_means[0].shape[-1]
        sizes = zip(pyramid.sizes, model.pyramid(smallest).sizes, strict=True)
        radii = [_radius(model.width, *pair) for pair in sizes]
        self._reconstructions = [_centre(one, r) for one, r in zip(target.reconstructions, radii, strict=True)]
        self._magnitudes = [_centre(one, r) for one, r in zip(target.magnitude_correlations, radii, strict=False)]
        self._planes = _centre(target.planes, radii[0])
        variances = [middle(one) for one in target.reconstructions]
        self._varies = [(one > _LEAST_VARIANCE)[..., None, None] for one in variances]
        self._all_vary = [bool(one.all()) for one in self._varies]

    def errors(self, picture: Tensor) -> dict[str, Tensor]:
        """Return the relative errors of a picture: see `Texture.squared_errors`."""
        errors = self._texture.squared_errors(picture, self._model, self._pyramid)
        return {name: one.sqrt() for name, one in errors.items()}

    def __call__(self, picture: Tensor) -> Tensor:
        colours = self._texture.colours
        planes = self._projected(colours.principal(picture))
        if self._texture.has_colours:
            planes = self._with_principal_marginals(planes)
        return self._with_pixels(colours.picture(planes))

    def _projected(self, planes: Tensor) -> Tensor:
        parts = self._pyramid.subbands(planes)
        lowpass, around = self._lowpass(parts.lowpass)
        y = self._with_marginals(lowpass, spectrum(lowpass), self._pyramid.n_scales)
        parents: Tensor | None = None
        for scale in reversed(range(self._pyramid.n_scales)):
            reals = spectrum(self._reals(parts.bands[scale], parents, around, scale))
            if scale:
                parents, around = self._pyramid.analytic(reals, scale), None
            coarser, size = self._pyramid.sizes[scale + 1], self._pyramid.sizes[scale]
            transformed = enlarged(spectrum(y), coarser, size) + self._pyramid.combined(reals, scale)
            y = self._with_marginals(inverse(transformed, size), transformed, scale)
        return y + self._pyramid.highpass_again(self._highpass(parts.highpass))

    def _lowpass(self, lowpass: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the coarsest reconstruction and, with colours, the lowpass residual around each coarsest pixel."""
        if not self._texture.has_colours or "phases" not in self._model.families:
            return self._pyramid.lowpass_again(lowpass), None
        size, finer = self._pyramid.sizes[-1], self._pyramid.sizes[-2]

        def seen_around(residual: Tensor) -> Tensor:
            return neighbours(inverse(enlarged(spectrum(residual), size, finer), finer), NEIGHBOUR_STEP)

        around = seen_around(lowpass)
        around = onto.with_products(around, _products(around), self._target.phases[-1][:, self._n :, self._n :])
        # Each copy says something of every pixel: their mean is taken.
        lowpass = inverse(reduced(spectrum(_gathered(around, NEIGHBOUR_STEP)), finer, size), size)
        return self._pyramid.lowpass_again(lowpass), seen_around(lowpass)

    def _reals(self, bands: Tensor, parents: Tensor | None, around: Tensor | None, scale: int) -> Tensor:
        """Return the real parts (G, n, h, w) of the subbands of a scale with the statistics asked for."""
        magnitudes, reals = sums.magnitudes_and_phases(bands, parents)
        if "magnitudes" in self._model.families:
            reals[:, : self._n] *= self._magnitude_ratio(magnitudes, scale)
        if "phases" not in self._model.families or (parents is None and around is None):
            return reals[:, : self._n]
        reals = reals if around is None else torch.cat([reals, around], 1)
        target = self._target.phases[scale][:, : self._n]
        if self._texture.has_colours:
            return onto.with_products(reals, _products(reals), target)
        return onto.with_each_products(reals, _products(reals), target[..., self._n :])

    def _magnitude_ratio(self, magnitudes: Tensor, scale: int) -> Tensor:
        """Return what the subbands of a scale must be multiplied by."""
        own = magnitudes[:, : self._n]
        new, _ = sums.centred(magnitudes)
        new = onto.with_products(new, _products(new), self._target.magnitudes[scale][:, : self._n])
        new = onto.with_autocorrelation(new, self._magnitudes[scale])
        new = (new + self._target.magnitude_means[scale][..., None, None].to(new.dtype)).clamp_min_(0)
        return new.div_(own.clamp_min(_LEAST_MAGNITUDE))

    def _with_marginals(self, y: Tensor, transformed: Tensor, scale: int) -> Tensor:
        """Return a reconstruction with its autocorrelation, skewness and kurtosis."""
        before = y
        if "autocorrelation" in self._model.families:
            y = onto.with_autocorrelation(y, self._reconstructions[scale], transformed)
        if "marginals" in self._model.families:
            y = onto.with_moments(y, None, self._target.skewness[scale], self._target.kurtosis[scale])
        if self._all_vary[scale] or y is before:
            return y
        scaled = onto.with_moments(before, middle(self._reconstructions[scale]), None, None)
        return torch.where(self._varies[scale], y, scaled)

    def _highpass(self, highpass: Tensor) -> Tensor:
        """Return the highpass residual with its variance, which the published code only lowers."""
        if not {"autocorrelation", "magnitudes", "phases"} & set(self._model.families):
            return highpass
        return onto.with_moments(highpass, self._target.highpass, None, None)

    def _with_principal_marginals(self, planes: Tensor) -> Tensor:
        """Return principal channels with their own autocorrelations and moments, and without covariances."""
        variance, skewness, kurtosis = self._target.pixels[..., 1:4].unbind(-1)
        if "autocorrelation" in self._model.families:
            planes = onto.with_autocorrelation(planes, self._planes)
        if "marginals" in self._model.families:
            planes = onto.with_moments(sums.centred(planes)[0], variance, skewness, kurtosis)
        return onto.with_products(planes, _products(planes), torch.diag_embed(variance))

    def _with_pixels(self, picture: Tensor) -> Tensor:
        """Return a picture with the moments and the range of the texture's channels."""
        mean, variance, skewness, kurtosis, least, most = self._texture.pixels[..., None, None].unbind(-3)
        picture = sums.centred(picture)[0]
        if "marginals" not in self._model.families:
            return picture + mean.to(picture.dtype)
        flat = (one[..., 0, 0] for one in (variance, skewness, kurtosis))
        picture = onto.with_moments(picture, *flat) + mean.to(picture.dtype)
        return torch.clamp(picture, least.to(picture.dtype), most.to(picture.dtype))


def _radius(width: int, *shapes: tuple[int, int]) -> int:
    """Return how far a neighbourhood reaches in planes of some shapes: its filter is twice as large."""
    return max(0, min(width // 2, *(min(shape) // 4 - 1 for shape in shapes)))


def _centre(correlation: Tensor, radius: int) -> Tensor:
    middle = correlation.shape[-1] // 2
    kept = slice(middle - radius, middle + radius + 1)
    return correlation[..., kept, kept]


def _products(planes: Tensor) -> Tensor:
    """Return the means of the products of planes (G, n, H, W), (G, n, n), float64."""
    # One by one: sums over the pixels are cut into parts that depend on the size of the batch.
    return torch.cat([gf.gram_matrix(one[None]) for one in planes]).double()


def _gathered(around: Tensor, step: int) -> Tensor:
    """Return the mean of planes and their copies as `neighbours` gives them, each shifted back."""
    shifts = ((0, 0), (0, -step), (0, step), (-step, 0), (step, 0))
    copies = [copy.roll(shift, (-2, -1)) for copy, shift in zip(around.chunk(5, 1), shifts, strict=True)]
    return torch.stack(copies).mean(0)
