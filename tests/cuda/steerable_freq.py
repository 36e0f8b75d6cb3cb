"""The launchers of csrc/steerable/freq_cuda.h, called without torch, and their masks in a few lines of NumPy."""

from __future__ import annotations

import ctypes
import math
from dataclasses import dataclass

import numpy as np
from kernel_library import KernelLibrary

NAME = "steerable_freq"
SOURCES = ("steerable/freq_cuda.cu",)


@dataclass(frozen=True)
class Pyramid:
    height: int
    width: int
    levels: int = 2
    order: int = 3
    twidth: float = 1.0
    analytic: bool = False
    oversampling: int = 0
    lut: bool = False

    @property
    def parts(self) -> int:
        return 2 if self.analytic else 1

    def level_size(self, level: int) -> tuple[int, int]:
        step = 1 << max(level - self.oversampling, 0)
        return -(-self.height // step), -(-self.width // step)

    def half_shape(self, level: int) -> tuple[int, int]:
        height, width = self.level_size(level)
        return height, width // 2 + 1

    def band_shape(self, level: int) -> tuple[int, ...]:
        return (self.order + 1, self.parts, *self.half_shape(level))

    def as_c(self) -> ctypes.Array[ctypes.c_int64]:
        """Return the numbers that the launchers take."""
        numbers = (self.height, self.width, self.levels, self.order, self.analytic, self.oversampling, self.lut)
        return (ctypes.c_int64 * len(numbers))(*numbers)


@dataclass
class Coefficients:
    """Half spectra: highpass (batch, h, w/2+1), bands[i] (batch, K, parts, h_i, w_i/2+1), lowpass, reconstructions."""

    highpass: np.ndarray
    bands: list[np.ndarray]
    lowpass: np.ndarray
    reconstructions: list[np.ndarray]

    @classmethod
    def empty(cls, library: KernelLibrary, pyramid: Pyramid, batch: int, dtype: type) -> Coefficients:
        return cls(
            library.empty((batch, *pyramid.half_shape(0)), dtype),
            [library.empty((batch, *pyramid.band_shape(level)), dtype) for level in range(pyramid.levels)],
            library.empty((batch, *pyramid.half_shape(pyramid.levels)), dtype),
            [library.empty((batch, *pyramid.half_shape(level)), dtype) for level in range(pyramid.levels + 1)],
        )

    def all(self) -> list[np.ndarray]:
        return [self.highpass, *self.bands, self.lowpass, *self.reconstructions]

    def as_c(self) -> ctypes.Array[ctypes.c_void_p]:
        """Return the pointers that the launchers take."""
        pointers = [part.ctypes.data for part in self.all()]
        return (ctypes.c_void_p * len(pointers))(*pointers)


def _precision(dtype: np.dtype) -> str:
    return "f32" if dtype == np.complex64 else "f64"


def analysis(library: KernelLibrary, pyramid: Pyramid, spectrum: np.ndarray) -> Coefficients:
    """Return what analysis_masks makes of a (batch, h, w/2+1) half spectrum."""
    out = Coefficients.empty(library, pyramid, spectrum.shape[0], spectrum.dtype.type)
    twidth = ctypes.c_double(pyramid.twidth)
    name = f"analysis_masks_{_precision(spectrum.dtype)}"
    library.check(name, pyramid.as_c(), twidth, spectrum, spectrum.shape[0], out.as_c(), None)
    return out


def synthesis(library: KernelLibrary, pyramid: Pyramid, coefficients: Coefficients) -> np.ndarray:
    """Return the half spectrum that synthesis_masks makes of coefficients."""
    batch, dtype = coefficients.highpass.shape[0], coefficients.highpass.dtype
    spectrum = library.empty((batch, *pyramid.half_shape(0)), dtype)
    twidth = ctypes.c_double(pyramid.twidth)
    library.check(
        f"synthesis_masks_{_precision(dtype)}", pyramid.as_c(), twidth, coefficients.as_c(), batch, spectrum, None
    )
    return spectrum


def random_spectrum(library: KernelLibrary, pyramid: Pyramid, batch: int, dtype: type) -> np.ndarray:
    """Return the half spectra of random images, in device memory."""
    images = np.random.default_rng(0).standard_normal((batch, pyramid.height, pyramid.width))
    return library.array(np.fft.rfft2(images), dtype)


def exercise(library: KernelLibrary) -> None:
    """Run both launchers on small pyramids and check what they give."""
    for pyramid in (Pyramid(24, 20), Pyramid(13, 18, levels=3, order=2, analytic=True), Pyramid(16, 9, lut=True)):
        for dtype in (np.complex64, np.complex128):
            spectrum = random_spectrum(library, pyramid, 5, dtype)
            coefficients = analysis(library, pyramid, spectrum)
            back = synthesis(library, pyramid, coefficients)
            if pyramid.lut:
                np.testing.assert_array_equal(np.isnan(back), False)
                continue
            tolerance = (1e-5 if dtype == np.complex64 else 1e-12) * np.abs(spectrum).max()
            for ours, expected in zip(coefficients.all(), expected_analysis(pyramid, spectrum).all(), strict=True):
                np.testing.assert_allclose(ours, expected, rtol=0, atol=tolerance)


# ---- the masks, from their definition (Portilla & Simoncelli 2000), on whole arrays


def _ramp(octaves: np.ndarray) -> np.ndarray:
    return np.sin(np.pi / 2 * np.clip(octaves, 0, 1))


def _crop(spectrum: np.ndarray, height: int, width: int) -> np.ndarray:
    rows = np.fft.fftfreq(height, 1 / height).astype(int)
    return spectrum[..., rows, : width // 2 + 1]


def expected_analysis(pyramid: Pyramid, spectrum: np.ndarray) -> Coefficients:
    """Return the exact masks' products with half spectra, in float64."""
    p = pyramid
    y = np.fft.fftfreq(p.height)[:, None] * 2
    x = np.fft.rfftfreq(p.width)[None, :] * 2
    with np.errstate(divide="ignore"):
        octaves = np.log2(np.hypot(x, y))
    angle = np.arctan2(y, x)

    def low(level: int) -> np.ndarray:
        return np.prod([_ramp(-(octaves + j) / p.twidth) for j in range(level + 1)], axis=0)

    def on_level(mask: np.ndarray, level: int) -> np.ndarray:
        height, width = p.level_size(level)
        cropped = _crop(spectrum * mask, height, width)
        if height % 2 == 0:
            cropped[..., height // 2, :] = 0
        if width % 2 == 0:
            cropped[..., width // 2] = 0
        return cropped

    gain = math.sqrt(2 ** (2 * p.order) * math.factorial(p.order) ** 2 / ((p.order + 1) * math.factorial(2 * p.order)))
    bands = []
    for level in range(p.levels):
        radial = low(level) * _ramp(1 + (octaves + level + 1) / p.twidth)
        spectra = []
        for orientation in range(p.order + 1):
            cosine = np.cos(angle - np.pi * orientation / (p.order + 1))
            cosine[np.abs(cosine) < 1e-9] = 0
            band = (-1j) ** p.order * gain * cosine**p.order * radial
            parts = [band, -1j * np.sign(cosine) * band][: p.parts]
            spectra.append(np.stack([on_level(part, level) for part in parts], axis=1))
        bands.append(np.stack(spectra, axis=1))
    highpass = spectrum * _ramp(1 + octaves / p.twidth)
    reconstructions = [on_level(low(level) ** 2, level) for level in range(p.levels + 1)]
    return Coefficients(highpass, bands, on_level(low(p.levels), p.levels), reconstructions)
