"""The two linear maps behind the frequency-domain pyramid, for arrays and tensors alike.

``analysis`` takes images to coefficients and ``synthesis``, with the same ``FreqMap``, is its adjoint (csrc/steerable/
freq.h). A door is the module that does the work for one kind of array: ``_freq_numpy`` or ``_freq_torch``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any


@dataclasses.dataclass(frozen=True)
class FreqMap:
    """A pyramid, which of its coefficients take part, and their scales.

    Coefficients are numbered: 0 the highpass residual, then the bands of each level, then the lowpass residual. After
    them, if the map has them, come the reconstructions: for each level what its bands, those of later levels and the
    lowpass residual give together, and what the lowpass residual alone does, as a real image on the level's grid.
    """

    pyramid: tuple[int, ...]  # height, width, levels, order, analytic, oversampling, table
    twidth: float
    subset: tuple[int, ...]  # of each coefficient: 0 for none of it, 1 or a bit per orientation
    scales: tuple[float, ...]  # of each coefficient
    fused: bool  # whether the kernels do the transforms too
    real_part: bool = False  # synthesis only: bands are complex, but it is that of their real parts

    @property
    def arguments(self) -> tuple[tuple[int, ...], float, tuple[int, ...], tuple[float, ...]]:
        return self.pyramid, self.twidth, self.subset, self.scales

    def of_real_part(self) -> FreqMap:
        """Return the map that takes the real parts of the bands."""
        return dataclasses.replace(self, pyramid=(*self.pyramid[:4], 0, *self.pyramid[5:]), real_part=False)

    @property
    def analytic(self) -> bool:
        return bool(self.pyramid[4])

    def level(self, k: int) -> int:
        """Return the level of coefficient k; the lowpass residual's is the number of levels."""
        first_reconstruction = self.pyramid[2] + 2
        return max(k - 1, 0) if k < first_reconstruction else k - first_reconstruction

    def size(self, k: int) -> tuple[int, int]:
        """Return height and width of coefficient k."""
        halvings = max(self.level(k) - self.pyramid[5], 0)
        return -(-self.pyramid[0] >> halvings), -(-self.pyramid[1] >> halvings)

    def is_band(self, k: int) -> bool:
        return 0 < k <= self.pyramid[2]

    def is_complex(self, k: int) -> bool:
        return self.analytic and self.is_band(k)

    def wanted(self) -> Iterator[int]:
        return (k for k, bits in enumerate(self.subset) if bits)

    def shape(self, k: int) -> tuple[int, ...]:
        """Return the shape of coefficient k without the batch."""
        return (self.pyramid[3] + 1, *self.size(k)) if self.is_band(k) else self.size(k)

    def spectrum_shape(self, k: int) -> tuple[int, ...]:
        """Return the shape of the half spectra of coefficient k without the batch; a complex band has two."""
        height, width = self.size(k)
        parts = (self.pyramid[3] + 1, 2 if self.analytic else 1) if self.is_band(k) else ()
        return (*parts, height, width // 2 + 1)

    def only(self, wanted: Sequence[bool]) -> FreqMap:
        """Return the map without the coefficients, of those it has, for which ``wanted`` is False."""
        keep = iter(wanted)
        return dataclasses.replace(self, subset=tuple(bits if bits and next(keep) else 0 for bits in self.subset))


def analysis(m: FreqMap, image: Any, door: Any) -> list[Any]:
    """Return the wanted coefficients of ``image``, (batch, height, width) in float32 or float64."""
    if m.fused:
        return door.fused_analysis(image, *m.arguments)
    if image.shape[0] == 0:  # which the libraries' transforms refuse
        empty = [door.zeros((0, *m.shape(k)), image.dtype, image) for k in m.wanted()]
        return [door.join(e, e) if m.is_complex(k) else e for k, e in zip(m.wanted(), empty, strict=True)]
    spectra = door.analysis_masks(door.fft.rfft2(image), *m.arguments)
    outputs = []
    for k, spectrum in zip(m.wanted(), spectra, strict=True):
        output = door.fft.irfft2(spectrum, s=m.size(k), norm="forward")
        if m.is_band(k):
            output = door.join(output[:, :, 0], output[:, :, 1]) if m.analytic else output[:, :, 0]
        outputs.append(output)
    return outputs


def synthesis(m: FreqMap, coefficients: Sequence[Any], door: Any) -> Any:
    """Return the image (batch, height, width) of the wanted coefficients."""
    if m.fused:
        return door.fused_synthesis(coefficients, *m.arguments, m.real_part)
    if m.real_part:
        return synthesis(m.of_real_part(), [c.real for c in coefficients], door)
    if coefficients[0].shape[0] == 0:
        return door.zeros((0, *m.size(0)), coefficients[0].real.dtype, coefficients[0])
    spectra = []
    for k, coefficient in zip(m.wanted(), coefficients, strict=True):
        if m.is_band(k):
            coefficient = door.split(coefficient) if m.analytic else coefficient[:, :, None]
        spectra.append(door.fft.rfft2(coefficient))
    spectrum = door.synthesis_masks(spectra, *m.arguments)
    return door.fft.irfft2(spectrum, s=m.size(0), norm="forward")
