"""Portilla and Simoncelli's statistics of one plane in NumPy and float64, from their definitions.

Filters stand on the full plane of frequencies, products of neighbours are summed lag by lag, and phases are doubled as
angles. Nothing of the package is used.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np


class Pyramid:
    """The complex steerable pyramid of a plane (H, W) less its mean, as MATLAB's and plenoptic's scale it."""

    def __init__(self, plane: np.ndarray, n_scales: int, n_orientations: int) -> None:
        self.n_scales, self.n_orientations, self.shape = n_scales, n_orientations, plane.shape
        self.sizes = [tuple(-(-n // 2**s) for n in plane.shape) for s in range(n_scales + 1)]
        self.spectrum = np.fft.fft2(plane - plane.mean())
        y, x = (2 * np.fft.fftfreq(n) for n in plane.shape)
        with np.errstate(divide="ignore"):
            self.octave = np.log2(np.hypot(y[:, None], x))
        self.angle = np.arctan2(y[:, None], x + 0 * y[:, None])

    def _high(self, scale: int) -> np.ndarray:
        return np.sin(np.pi / 2 * np.clip(1 + self.octave + scale, 0, 1))

    def _low(self, scale: int) -> np.ndarray:
        return np.prod([np.sin(np.pi / 2 * np.clip(-(self.octave + j), 0, 1)) for j in range(scale + 1)], axis=0)

    def _filtered(self, mask: np.ndarray, scale: int) -> np.ndarray:
        rows, columns = (np.rint(np.fft.fftfreq(n, 1 / n)).astype(int) for n in self.sizes[scale])
        return np.fft.ifft2((self.spectrum * mask)[rows[:, None], columns])

    def highpass(self) -> np.ndarray:
        return self._filtered(self._high(0), 0).real

    def lowpass(self, scale: int) -> np.ndarray:
        """The lowpass residual at the size of a scale."""
        return self._filtered(self._low(self.n_scales), scale).real

    def bands(self, scale: int, size_of: int | None = None) -> list[np.ndarray]:
        """The subbands of a scale, at the size of it or of another."""
        k, o = self.n_orientations, self.n_orientations - 1
        gain = math.sqrt(2 ** (2 * o) * math.factorial(o) ** 2 / (k * math.factorial(2 * o)))
        result = []
        for b in range(k):
            cosine = np.cos(self.angle - np.pi * b / k)
            cosine[abs(cosine) < 1e-12] = 0
            mask = (-1j) ** o * gain * cosine**o * (1 + np.sign(cosine)) * self._low(scale) * self._high(scale + 1)
            result.append(self._filtered(mask, scale if size_of is None else size_of))
        return result

    def reconstruction(self, scale: int) -> np.ndarray:
        """What a scale and all coarser ones reconstruct: their filters' powers sum to the power of a lowpass filter."""
        return self._filtered(self._low(scale) ** 2, scale).real


def autocorrelation(plane: np.ndarray, width: int) -> np.ndarray:
    lags = range(-(width // 2), width - width // 2)
    return np.array([[np.mean(plane * np.roll(plane, (dy, dx), (0, 1))) for dx in lags] for dy in lags])


def moments(plane: np.ndarray, variance: float, least: float) -> tuple[float, float]:
    """Skewness and kurtosis, a normal law's where the variance is below the least."""
    less = plane - plane.mean()
    if variance < least:
        return 0.0, 3.0
    return np.mean(less**3) / variance**1.5, np.mean(less**4) / variance**2


def products(rows: Sequence[np.ndarray], columns: Sequence[np.ndarray]) -> np.ndarray:
    return np.array([[np.mean(a * b) for b in columns] for a in rows])


def correlations(rows: Sequence[np.ndarray], columns: Sequence[np.ndarray]) -> np.ndarray:
    sizes = [np.sqrt([np.mean(a**2) for a in group]) for group in (rows, columns)]
    return products(rows, columns) / np.outer(*sizes)


def magnitudes(bands: Sequence[np.ndarray]) -> list[np.ndarray]:
    return [abs(band) - abs(band).mean() for band in bands]


def doubled(bands: Sequence[np.ndarray], angles: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Real parts, then imaginary parts, with the doubles of some angles."""
    pairs = list(zip(bands, angles, strict=True))
    return [abs(z) * np.cos(2 * a) for z, a in pairs] + [abs(z) * np.sin(2 * a) for z, a in pairs]


def pixels(plane: np.ndarray) -> np.ndarray:
    variance = plane.var(ddof=1)
    return np.array([plane.mean(), variance, *moments(plane, variance, 0), plane.min(), plane.max()])


def plenoptics(plane: np.ndarray, n_scales: int, n_orientations: int, width: int) -> dict[str, np.ndarray]:
    """All values, symmetric ones too, with plenoptic's names and shapes."""
    pyramid = Pyramid(plane, n_scales, n_orientations)
    low = [pyramid.reconstruction(s) for s in range(n_scales + 1)]
    own = [magnitudes(pyramid.bands(s)) for s in range(n_scales)]
    parents = [pyramid.bands(s + 1, size_of=s) for s in range(n_scales - 1)]
    least = np.finfo(np.float64).resolution * plane.var(ddof=1)
    of_low = np.array([moments(one, one.var(), least) for one in low])
    lags = [autocorrelation(one, width) / one.var() for one in low]
    own_lags = [np.stack([autocorrelation(one, width) / one.var() for one in group], -1) for group in own]
    result = {
        "pixel_statistics": pixels(plane),
        "auto_correlation_magnitude": np.stack(own_lags, -1),
        "skew_reconstructed": of_low[:, 0],
        "kurtosis_reconstructed": of_low[:, 1],
        "auto_correlation_reconstructed": np.stack(lags, -1),
        "std_reconstructed": np.array([one.std() for one in low]),
        "cross_orientation_correlation_magnitude": np.stack([correlations(one, one) for one in own], -1),
        "magnitude_std": np.array([[one.std() for one in group] for group in own]).T,
        "var_highpass_residual": np.array([np.mean(pyramid.highpass() ** 2)]),
    }
    if n_scales > 1:
        reals = [[band.real for band in pyramid.bands(s)] for s in range(n_scales - 1)]
        turned = [doubled(group, [np.angle(z) for z in group]) for group in parents]
        sized = [magnitudes(group) for group in parents]
        result["cross_scale_correlation_magnitude"] = np.stack(
            [correlations(a, b) for a, b in zip(own, sized, strict=False)], -1
        )
        result["cross_scale_correlation_real"] = np.stack(
            [correlations(a, b) for a, b in zip(reals, turned, strict=True)], -1
        )
    return result


def matlabs(plane: np.ndarray, n_scales: int, n_orientations: int, width: int) -> dict[str, np.ndarray]:
    """textureAnalysis.m's parameters, without the noise that it adds; for sizes that halve without a rest."""
    k, pyramid, variance = n_orientations, Pyramid(plane, n_scales, n_orientations), plane.var(ddof=1)
    low = [pyramid.reconstruction(s) for s in range(n_scales + 1)]
    bands = [pyramid.bands(s) for s in range(n_scales)]
    own = [magnitudes(group) for group in bands]
    residuals = pyramid.highpass(), pyramid.lowpass(n_scales)
    centre = [autocorrelation(one, 1)[0, 0] for one in low]
    cousins, parent_magnitudes = np.zeros((k, k, n_scales + 1)), np.zeros((k, k, n_scales))
    reals, parents = np.zeros((2 * k, 2 * k, n_scales + 1)), np.zeros((2 * k, 2 * k, n_scales))
    for s, group in enumerate(bands):
        real = [band.real for band in group]
        cousins[..., s] = products(own[s], own[s])
        reals[:k, :k, s] = products(real, real)
        if s < n_scales - 1:
            above = pyramid.bands(s + 1, size_of=s)
            turned = doubled(above, [np.arctan2(z.real, z.imag) for z in above])
            parent_magnitudes[..., s] = products(own[s], magnitudes(above))
        else:
            residual = pyramid.lowpass(s)
            shifts = [(0, 0), (0, 1), (0, -1), (1, 0), (-1, 0)]
            turned = [np.roll(residual, shift, (0, 1)) for shift in shifts]
            reals[:5, :5, n_scales] = 4 * products(turned, turned)
        parents[:k, : len(turned), s] = products(real, turned)
    return {
        "pixelStats": pixels(plane),
        "pixelLPStats": np.array([moments(one, v, 1e-6 * variance) for one, v in zip(low, centre, strict=True)]),
        "autoCorrReal": np.stack([near(one, width) for one in low], -1),
        "autoCorrMag": np.stack([np.stack([near(one, width) for one in group], -1) for group in own], -2),
        "magMeans": np.array([abs(one).mean() for one in [residuals[0], *itertools.chain(*bands), residuals[1]]]),
        "cousinMagCorr": cousins,
        "parentMagCorr": parent_magnitudes,
        "cousinRealCorr": reals,
        "parentRealCorr": parents,
        "varianceHPR": np.mean(residuals[0] ** 2),
    }


def near(plane: np.ndarray, width: int) -> np.ndarray:
    """The autocorrelation as far as the shorter side has neighbours on both sides, and NaN beyond."""
    result, reach = np.full((width, width), np.nan), int(min(min(plane.shape) / 2 - 1, width // 2))
    kept = slice(width // 2 - reach, width // 2 + reach + 1)
    result[kept, kept] = autocorrelation(plane, 2 * reach + 1)
    return result
