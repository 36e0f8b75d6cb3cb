"""Portilla and Simoncelli's statistics as a module: plenoptic's vector, and the full set of the authors' MATLAB code.

J. Portilla, E. P. Simoncelli, "A parametric texture model based on joint statistics of complex wavelet coefficients",
IJCV 40 (2000).
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from genimg_fast import _arguments as check
from genimg_fast._core.backend import strided
from genimg_fast._system import system
from genimg_fast._torch import for_keeps
from genimg_fast.textures._analysis import max_height
from genimg_fast.textures._complex_pyramid import MASKS, ComplexPyramid
from genimg_fast.textures._joint_statistics import JointStatistics, Settings, measure, ratio, root

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Scale = int | str

# The powers of the picture's unit in which statistics are: of each value, or of all. Those left out have no unit.
_POWERS: dict[str, int | tuple[int, ...]] = {
    "pixel_statistics": (1, 2, 0, 0, 1, 1),
    "std_reconstructed": 1,
    "magnitude_std": 1,
    "var_highpass_residual": 2,
}
_MATLAB_POWERS: dict[str, int | tuple[int, ...]] = {
    "pixelStats": (1, 2, 0, 0, 1, 1),
    "pixelLPStats": 0,
    "autoCorrReal": 2,
    "autoCorrMag": 2,
    "magMeans": 1,
    "cousinMagCorr": 2,
    "parentMagCorr": 2,
    "cousinRealCorr": 2,
    "parentRealCorr": 2,
    "varianceHPR": 2,
}


class PortillaSimoncelli(nn.Module):
    """Joint statistics of the subbands of a complex steerable pyramid, as one vector for each channel of a picture.

    Names, order and scaling are those of ``plenoptic.models.PortillaSimoncelli`` 2.1.1, and so are the values, to
    rounding, with ``masks="lut"``. Symmetric values stand once: 710 numbers with the default arguments. Differentiable
    any number of times. Pictures of any range have the same correlations, skewness and kurtosis; means and deviations
    are in the picture's unit and variances in its square, and infinite, or 0, where the dtype does not hold them.

    Args:
        image_shape: (height, width) of the pictures in pixels. Any size the pyramid admits, odd ones included.
        n_scales: Number of scales, at least 1.
        n_orientations: Number of orientations, 1 to 16.
        spatial_corr_width: Width of the neighbourhood of the autocorrelations in pixels of each scale, 1 to 33. It is
            circular: at a scale narrower than that values repeat.
        masks: "exact" or "lut", as `genimg_fast.SteerablePyramidFreq` has them.

    Attributes:
        image_shape, n_scales, n_orientations, spatial_corr_width, masks: As given.
        scales: What `forward` accepts: "pixel_statistics", "residual_lowpass", the scales from coarse to fine,
            "residual_highpass".

    Raises:
        TypeError: An argument of the wrong type.
        ValueError: An argument out of range, or more scales than the size has.
    """

    _index: Tensor
    _powers: Tensor

    @system("PortillaSimoncelli")
    def __init__(
        self,
        image_shape: Sequence[int],
        n_scales: int = 4,
        n_orientations: int = 4,
        spatial_corr_width: int = 7,
        *,
        masks: Literal["exact", "lut"] = "exact",
    ) -> None:
        super().__init__()
        self.n_scales = check.integer("n_scales", n_scales, 1)
        self.n_orientations = check.integer("n_orientations", n_orientations, 1, 16)
        self.spatial_corr_width = check.integer("spatial_corr_width", spatial_corr_width, 1, 33)
        check.choice("masks", masks, MASKS)
        self.masks = masks
        most = max_height("frequency", image_shape, self.n_orientations - 1)
        if self.n_scales > most:
            raise ValueError(f"n_scales must be at most {most} for image_shape {tuple(image_shape)}, got {n_scales}")
        self._pyramid = ComplexPyramid(image_shape, self.n_scales, self.n_orientations, self.masks)
        self.image_shape = self._pyramid.shape
        self.scales: list[Scale] = [
            "pixel_statistics",
            "residual_lowpass",
            *reversed(range(self.n_scales)),
            "residual_highpass",
        ]
        shapes = self._shapes()
        with for_keeps():
            self._kept = OrderedDict((name, self._is_kept(name, shape)) for name, (shape, _) in shapes.items())
            index = torch.cat([kept.flatten() for kept in self._kept.values()]).nonzero()[:, 0]
        every = [scale for shape, scales in shapes.values() for scale in _scale_of_each(shape, scales)]
        self._scale_of_each = [every[i] for i in index.tolist()]
        self.register_buffer("_index", index, persistent=False)
        powers = [torch.tensor(_POWERS.get(name, 0)).expand(shape).flatten() for name, (shape, _) in shapes.items()]
        self.register_buffer("_powers", torch.cat(powers)[index].double(), persistent=False)
        self.eval()

    def extra_repr(self) -> str:
        return (
            f"{self.image_shape}, n_scales={self.n_scales}, n_orientations={self.n_orientations}, "
            f"spatial_corr_width={self.spatial_corr_width}, masks={self.masks!r}"
        )

    def forward(self, image: Tensor, scales: Sequence[Scale] | None = None) -> Tensor:
        """Return the statistics of a picture.

        Args:
            image: (B, C, H, W), float32 or float64; half types are computed in float32. Of any range.
            scales: Keep the statistics of these alone, in the order of the whole vector: of `scales`. None: all.

        Returns:
            (B, C, n), float32, or float64 for a float64 picture. Channels are independent of each other.

        Raises:
            TypeError: ``image`` is no tensor of floats.
            ValueError: Its shape is not (B, C, *image_shape), or ``scales`` names none of this model's.
        """
        planes, exponent = _in_unit(self._planes(image))
        statistics = measure(planes, self._pyramid, Settings(self.spatial_corr_width))
        values = torch.cat([value.flatten(2) for value in self._values(statistics).values()], -1)
        vector = values.index_select(-1, self._index) * (exponent[..., None] * self._powers).exp2()
        vector = vector.to(_working(image)).unflatten(0, image.shape[:2])[:, :, 0]
        return vector if scales is None else self.remove_scales(vector, scales)

    def remove_scales(self, representation_tensor: Tensor, scales_to_keep: Sequence[Scale]) -> Tensor:
        """Return the statistics (..., m) of some scales out of those of all, (..., n)."""
        unknown = [scale for scale in scales_to_keep if scale not in self.scales]
        if unknown:
            raise ValueError(f"PortillaSimoncelli: scales must be of {self.scales}, got {unknown[0]!r}")
        index = [i for i, scale in enumerate(self._scale_of_each) if scale in scales_to_keep]
        return representation_tensor[..., torch.tensor(index, dtype=torch.long, device=representation_tensor.device)]

    def convert_to_dict(self, representation_tensor: Tensor) -> OrderedDict[str, Tensor]:
        """Return the statistics (..., n) of all scales by name, in their own shapes; values that do not stand are NaN.

        Raises:
            ValueError: Another number of statistics than this model's.
        """
        n = len(self._scale_of_each)
        if representation_tensor.shape[-1] != n:
            got = representation_tensor.shape[-1]
            raise ValueError(
                f"PortillaSimoncelli: representation_tensor must hold {n} statistics, those of all scales, got {got}"
            )
        result, first = OrderedDict(), 0
        for name, kept in self._kept.items():
            last = first + int(kept.sum())
            value = representation_tensor.new_full((*representation_tensor.shape[:-1], *kept.shape), math.nan)
            value[..., kept] = representation_tensor[..., first:last]
            result[name], first = value, last
        return result

    def convert_to_tensor(self, representation_dict: Mapping[str, Tensor]) -> Tensor:
        """Return the vectors (..., n) that `convert_to_dict` made a dict of."""
        return torch.cat([representation_dict[name][..., kept] for name, kept in self._kept.items()], -1)

    def matlab_statistics(self, image: Tensor) -> OrderedDict[str, Tensor]:
        """Return the full set of statistics of the authors' MATLAB code, 1784 numbers with the default arguments.

        They are covariances, not correlations, of bands as MATLAB's pyramid scales them, with all their symmetric
        values. MATLAB adds noise of a thousandth of the range to the picture first, which this does not.

        Args:
            image: (B, C, H, W), as `forward`'s.

        Returns:
            MATLAB's names and shapes after the axes (B, C): pixelStats (6: mean, unbiased variance, skewness, kurtosis,
            minimum, maximum), pixelLPStats (S + 1, 2), autoCorrReal (w, w, S + 1), autoCorrMag (w, w, S, K), magMeans
            (S K + 2), cousinMagCorr (K, K, S + 1), parentMagCorr (K, K, S), cousinRealCorr (2 K, 2 K, S + 1),
            parentRealCorr (2 K, 2 K, S), varianceHPR (). Autocorrelations are NaN where a scale is too small for the
            neighbourhood, and entries without a meaning are 0, as in MATLAB.

        Raises:
            TypeError, ValueError: As `forward`; an even ``spatial_corr_width`` or fewer than 3 orientations, whose
                matrices could not hold the neighbours of the lowpass residual.
        """
        width, k = self.spatial_corr_width, self.n_orientations
        if width % 2 == 0:
            raise ValueError(f"PortillaSimoncelli: matlab_statistics needs an odd spatial_corr_width, got {width}")
        if k < 3:
            raise ValueError(f"PortillaSimoncelli: matlab_statistics needs at least 3 orientations, got {k}")
        planes, exponent = _in_unit(self._planes(image))
        statistics, lead = measure(planes, self._pyramid, Settings(width, neighbour_step=1)), image.shape[:2]
        return OrderedDict(
            (name, _in_powers(value, exponent, _MATLAB_POWERS[name]).to(planes.dtype).unflatten(0, lead)[:, :, 0])
            for name, value in self._matlab_values(planes, statistics).items()
        )

    # ---- what plenoptic's plots and subclasses ask for ----------------------------------------------------------

    @property
    def _representation_scales(self) -> np.ndarray[Any, Any]:
        """The scale of each statistic of the vector, as plenoptic has it: an array of integers and strings."""
        found = np.empty(len(self._scale_of_each), object)
        found[:] = self._scale_of_each
        return found

    def plot_representation(
        self,
        data: Tensor | Mapping[str, Tensor],
        ax: Axes | None = None,
        figsize: tuple[float, float] | None = None,
        ylim: tuple[float, float] | Literal[False] | None = None,
        batch_idx: int = 0,
        title: str | None = None,
    ) -> tuple[Figure, list[Axes]]:
        """Plot the statistics of a picture, a stem for each, in 8 panels (6 with one scale). Needs matplotlib.

        Signature and panels are plenoptic's, so that its own plots of a synthesis use this.

        Args:
            data: What `forward` or `convert_to_dict` returned; channels are averaged.
            ax: Axes of a grid whose place the panels take; None: a figure of pyplot's.
            figsize: (width, height) of a new figure in inches; default: (12, 5).
            ylim: Limits of all panels; None: those of the values, with 0; False: as matplotlib sets them.
            batch_idx: Which picture.
            title: Of the figure.

        Returns:
            The figure, and the panels' axes.

        Raises:
            ValueError: Both ``ax`` and ``figsize`` are given, or ``data`` holds what is no statistic of this model.
            KeyError: ``data`` lacks a statistic.
            ImportError: Matplotlib is missing.
        """
        from genimg_fast.textures import _statistics_plot

        return _statistics_plot.plot(self, data, ax, figsize, ylim, batch_idx, title)

    def update_plot(
        self,
        axes: Sequence[Axes],
        data: Tensor | Mapping[str, Tensor],
        batch_idx: int = 0,
        rescale_ylim: bool = False,
    ) -> list[Any]:
        """Show other statistics in the axes that `plot_representation` made, for animations.

        Args:
            axes: The axes.
            data: What `forward` or `convert_to_dict` returned.
            batch_idx: Which picture.
            rescale_ylim: Whether all axes get the same limits, symmetric around 0.

        Returns:
            The artists that have changed.
        """
        from genimg_fast.textures import _statistics_plot

        return _statistics_plot.update(self, axes, data, batch_idx, rescale_ylim)

    def _planes(self, image: Tensor) -> Tensor:
        """Return the planes (B C, 1, H, W) of a picture."""
        if not isinstance(image, Tensor):
            raise TypeError(f"PortillaSimoncelli: image must be a torch.Tensor, got {type(image).__name__}")
        if not image.is_floating_point():
            raise TypeError(f"PortillaSimoncelli: image must hold floats, got {image.dtype}")
        strided("PortillaSimoncelli", "image", image)
        if image.dim() != 4 or tuple(image.shape[-2:]) != self.image_shape:
            height, width = self.image_shape
            got = tuple(image.shape)
            raise ValueError(f"PortillaSimoncelli: image must have the shape (B, C, {height}, {width}), got {got}")
        return image.to(_working(image)).flatten(0, 1)[:, None]

    # ---- plenoptic's order --------------------------------------------------------------------------------------

    def _shapes(self) -> OrderedDict[str, tuple[tuple[int, ...], Sequence[Scale]]]:
        """Return the shape of each statistic, and what scales its last axis stands for (or its only value)."""
        w, k, s = self.spatial_corr_width, self.n_orientations, self.n_scales
        scales = list(range(s))
        low: list[Scale] = [*scales, "residual_lowpass"]
        shapes: OrderedDict[str, tuple[tuple[int, ...], Sequence[Scale]]] = OrderedDict()
        shapes["pixel_statistics"] = (6,), ["pixel_statistics"] * 6
        shapes["auto_correlation_magnitude"] = (w, w, k, s), scales
        shapes["skew_reconstructed"] = (s + 1,), low
        shapes["kurtosis_reconstructed"] = (s + 1,), low
        shapes["auto_correlation_reconstructed"] = (w, w, s + 1), low
        shapes["std_reconstructed"] = (s + 1,), low
        shapes["cross_orientation_correlation_magnitude"] = (k, k, s), scales
        shapes["magnitude_std"] = (k, s), scales
        shapes["cross_scale_correlation_magnitude"] = (k, k, s - 1), scales[:-1]
        shapes["cross_scale_correlation_real"] = (k, 2 * k, s - 1), scales[:-1]
        shapes["var_highpass_residual"] = (1,), ["residual_highpass"]
        return shapes

    def _is_kept(self, name: str, shape: tuple[int, ...]) -> Tensor:
        """Return which values of a statistic stand in the vector: those that are not another's mirror image, or 1."""
        kept = torch.ones(shape, dtype=torch.bool)
        if name in ("auto_correlation_magnitude", "auto_correlation_reconstructed"):
            w = self.spatial_corr_width
            row, column = torch.arange(w)[:, None], torch.arange(w)[None, :]
            # With an even width the first row has no mirror image.
            kept &= _over(((column <= row) & ~((row == column) & (row >= w // 2))) | ((w % 2 == 0) & (row == 0)), shape)
        elif name == "cross_orientation_correlation_magnitude":
            k = torch.arange(self.n_orientations)
            kept &= _over(k[:, None] > k[None, :], shape)
        return kept

    def _values(self, t: JointStatistics) -> OrderedDict[str, Tensor]:
        """Return all values of each statistic, (G, 1, *shape)."""
        gains = [self._pyramid.gain(scale) for scale in range(self.n_scales + 1)]
        k, first = self.n_orientations, slice(None, -1)
        low = _last([self._window(one) for one in t.reconstructions])
        low_variance = self._centre(low)
        skewness, kurtosis = self._marginals(t, low_variance * low_variance.new_tensor(gains) ** 2)
        magnitude = _last([self._window(one)[:, None].movedim(2, -1) for one in t.magnitude_correlations])
        variance = self._centre(magnitude)
        cousins = _last([one[:, None, :k, :k] for one in t.magnitudes])
        values: OrderedDict[str, Tensor] = OrderedDict()
        values["pixel_statistics"] = self._pixels(t)
        values["auto_correlation_magnitude"] = ratio(magnitude, variance[:, :, None, None])
        values["skew_reconstructed"] = skewness
        values["kurtosis_reconstructed"] = kurtosis
        values["auto_correlation_reconstructed"] = ratio(low, low_variance[:, :, None, None])
        values["std_reconstructed"] = root(low_variance) * low_variance.new_tensor(gains)
        values["cross_orientation_correlation_magnitude"] = _normalised(cousins, variance, variance)
        values["magnitude_std"] = root(variance) * variance.new_tensor(gains[:-1])
        if self.n_scales > 1:
            magnitudes, phases = (_last(one[first])[:, None] for one in (t.magnitudes, t.phases))
            values["cross_scale_correlation_magnitude"] = _normalised(
                magnitudes[:, :, :k, k:], variance[..., first], _diagonal(magnitudes)[:, :, k:]
            )
            diagonal = _diagonal(phases)
            values["cross_scale_correlation_real"] = _normalised(
                phases[:, :, :k, k:], diagonal[:, :, :k], diagonal[:, :, k:]
            )
        values["var_highpass_residual"] = t.highpass[..., None]
        return values

    def _window(self, correlation: Tensor) -> Tensor:
        return correlation[..., : self.spatial_corr_width, : self.spatial_corr_width]

    def _centre(self, correlations: Tensor) -> Tensor:
        """Return the variances (G, 1, ...) of autocorrelations (G, 1, w, w, ...)."""
        return correlations[:, :, self.spatial_corr_width // 2, self.spatial_corr_width // 2]

    def _pixels(self, t: JointStatistics) -> Tensor:
        """Return the pixels' statistics with the variance that is unbiased, in the moments too."""
        n = math.prod(self.image_shape)
        bias = (n - 1) / n
        return t.pixels * t.pixels.new_tensor([1, 1 / bias, bias**1.5, bias**2, 1, 1])

    def _marginals(self, t: JointStatistics, variance: Tensor) -> tuple[Tensor, Tensor]:
        """Return skewness and kurtosis of the reconstructions, or a normal law's where they hardly vary."""
        n = math.prod(self.image_shape)
        of_pixels = t.pixels[..., 1:2] * (n / (n - 1))
        varies = variance >= torch.finfo(t.magnitudes[0].dtype).resolution * of_pixels
        return torch.where(varies, _last(t.skewness), 0), torch.where(varies, _last(t.kurtosis), 3)

    # ---- MATLAB's order -----------------------------------------------------------------------------------------

    def _matlab_values(self, planes: Tensor, t: JointStatistics) -> OrderedDict[str, Tensor]:
        """Return MATLAB's statistics, (G, 1, *shape)."""
        k, s = self.n_orientations, self.n_scales
        gains = [self._pyramid.gain(scale) for scale in range(s + 1)]
        # MATLAB doubles a parent's phase from atan2(real, imaginary): its real part has the other sign.
        signs = torch.tensor([1.0] * k + [-1.0] * k + [1.0] * k).to(t.phases[0])
        phases = [one * signs[:, None] * signs for one in t.phases[:-1]] + [t.phases[-1]]
        variance = self._centre(_last(t.reconstructions))
        pixels = self._pixels(t)
        varies = variance * variance.new_tensor(gains) ** 2 > 1e-6 * pixels[..., 1:2]
        moments = [torch.where(varies, _last(one), other) for one, other in ((t.skewness, 0), (t.kurtosis, 3))]
        parts = self._pyramid.subbands(planes - planes.mean((-2, -1), keepdim=True))
        residuals = [one.abs().mean((-2, -1))[..., None] for one in (parts.highpass, parts.lowpass * gains[s])]
        means = [one[:, None] * gain for one, gain in zip(t.magnitude_means, gains[:-1], strict=True)]
        low = [self._cut(one, scale) * gains[scale] ** 2 for scale, one in enumerate(t.reconstructions)]
        magnitude = [self._cut(one, scale) * gains[scale] ** 2 for scale, one in enumerate(t.magnitude_correlations)]

        def covariance(matrix: Tensor, scale: int, columns: slice) -> Tensor:
            """Return the products of the subbands of a scale with themselves or with what comes from the next one."""
            factor = gains[scale] if columns.start is None else gains[scale + 1] / 4
            return matrix[:, None, :k, columns] * (gains[scale] * factor)

        def filled(parts: Sequence[Tensor], n: int, length: int) -> Tensor:
            """Return matrices (G, 1, rows, columns) as (G, 1, n, n, length), with zeros where they have nothing."""
            padded = [nn.functional.pad(p, (0, n - p.shape[-1], 0, n - p.shape[-2])) for p in parts]
            nothing = t.pixels.new_zeros(len(planes), 1, n, n)
            return _last(padded + [nothing] * (length - len(parts)))

        own, parents = slice(None, k), slice(k, None)
        neighbours = t.phases[-1][:, None, k:, k:] * (4 * (gains[s] / 4) ** 2)
        scales = range(s)
        values: OrderedDict[str, Tensor] = OrderedDict()
        values["pixelStats"] = pixels
        values["pixelLPStats"] = torch.stack(moments, -1)
        values["autoCorrReal"] = _last(low)
        values["autoCorrMag"] = torch.stack([one[:, None].movedim(2, -1) for one in magnitude], -2)
        values["magMeans"] = torch.cat([residuals[0], *means, residuals[1]], -1)
        values["cousinMagCorr"] = filled([covariance(t.magnitudes[i], i, own) for i in scales], k, s + 1)
        values["parentMagCorr"] = filled([covariance(t.magnitudes[i], i, parents) for i in scales[:-1]], k, s)
        reals = [covariance(phases[i], i, own) for i in scales]
        values["cousinRealCorr"] = filled([*reals, neighbours], 2 * k, s + 1)
        values["parentRealCorr"] = filled([covariance(phases[i], i, parents) for i in scales], 2 * k, s)
        values["varianceHPR"] = t.highpass
        return values

    def _cut(self, correlation: Tensor, scale: int) -> Tensor:
        """Return an autocorrelation with NaN for neighbours that MATLAB's code finds too far away for a scale."""
        reach, radius = min(self._pyramid.sizes[scale]) / 2 - 1, self.spatial_corr_width // 2
        lags = torch.arange(-radius, radius + 1, device=correlation.device).abs()
        return correlation.masked_fill(torch.maximum(lags[:, None], lags) > reach, math.nan)


def _in_unit(planes: Tensor) -> tuple[Tensor, Tensor]:
    """Return planes (G, 1, H, W) over a power of two about as large as their values, and its exponent, (G, 1)."""
    largest = torch.linalg.vector_norm(planes.detach(), math.inf, (-2, -1))
    most = -math.log2(torch.finfo(planes.dtype).tiny)
    exponent = largest.log2().floor().clamp(-most, most)
    return planes * (-exponent).exp2()[..., None, None], exponent.double()


def _in_powers(values: Tensor, exponent: Tensor, powers: int | tuple[int, ...]) -> Tensor:
    """Return values (G, 1, ...) of planes in the unit of planes before `_in_unit`."""
    factor = exponent.reshape(-1, *[1] * (values.dim() - 1)) * values.new_tensor(powers, dtype=torch.float64)
    return values * factor.exp2()


def _last(parts: Sequence[Tensor]) -> Tensor:
    """Return tensors along a new last axis."""
    return torch.stack(list(parts), -1)


def _diagonal(matrices: Tensor) -> Tensor:
    """Return the diagonals (G, 1, n, ...) of matrices (G, 1, n, n, ...)."""
    return matrices.diagonal(0, 2, 3).movedim(-1, 2)


def _normalised(covariance: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Return correlations (G, 1, n, m, scales) from the variances (G, 1, n, scales) and (G, 1, m, scales)."""
    return ratio(covariance, root(rows[:, :, :, None] * columns[:, :, None]))


def _scale_of_each(shape: tuple[int, ...], scales: Sequence[Scale]) -> list[Scale]:
    """Return the scale of each value of a statistic, whose last axis goes over scales."""
    return list(scales) * (math.prod(shape) // max(1, len(scales)))


def _over(mask: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Return a mask of the first axes for all the others."""
    return mask.reshape(*mask.shape, *[1] * (len(shape) - mask.dim())).expand(shape)


def _working(image: Tensor) -> torch.dtype:
    return torch.float64 if image.dtype == torch.float64 else torch.float32
