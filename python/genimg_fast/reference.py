"""Each operation in a few readable lines of PyTorch.

This is the specification of the kernels, the oracle of their tests, and what runs on devices without a kernel (mps,
xpu). No call on the CPU or on CUDA comes here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import torch

# ---------------------------------------------------------------------------------------------------------------------
# The steerable pyramid in the frequency domain
# ---------------------------------------------------------------------------------------------------------------------
#
# Simoncelli & Freeman 1995; Portilla & Simoncelli 2000, eq. 3-5. A pyramid is described as to the kernels: `pyramid` is
# (height, width, levels, order, analytic, downsample, table); `subset` says what is wanted of the highpass residual,
# each level and the lowpass residual (0 none, 1 or a bit for each orientation); `scales` are the factors of the same.


def _between_samples(f: Callable[[torch.Tensor], torch.Tensor], position: torch.Tensor) -> torch.Tensor:
    """Interpolate linearly between f(k) and f(k + 1), k = floor(position)."""
    k = position.floor()
    return torch.lerp(f(k), f(k + 1), position - k)


def _transition(x: torch.Tensor, table: bool) -> torch.Tensor:
    """Rise from 0 to 1 as x does; pyrtools' table has 256 steps."""
    if not table:
        return torch.sin(math.pi / 2 * x.clamp(0, 1))
    return _between_samples(lambda k: torch.sin(math.pi / 2 * (k / 256).clamp(0, 1)), 256 * x.clamp(0, 1))


def _angular(cosine: torch.Tensor, order: int, analytic: bool) -> torch.Tensor:
    """cos^order, times 2 on the half plane where the cosine is positive and 1 on its edge if the filter is analytic."""
    return cosine**order * (1 + cosine.sign() if analytic else 1)


class _FreqMasks:
    """The masks on the grid of the image's full spectrum, and the crop to a level."""

    def __init__(self, pyramid: Sequence[int], twidth: float, like: torch.Tensor) -> None:
        self.height, self.width, self.levels, self.order = pyramid[:4]
        self.analytic, self.downsample, self.table = (bool(flag) for flag in pyramid[4:])
        self.twidth = twidth
        y = self._axis(self.height, like)[:, None]
        x = self._axis(self.width, like)[None, :]
        square = x**2 + y**2
        if self.table:  # pyrtools copies the radius of the neighbour to the left to DC
            square[0, 0] = (x[0, 0] - 2 / self.width) ** 2 + y[0, 0] ** 2
        self.log_radius = square.log2() / 2
        self.angle = torch.atan2(y, x).expand_as(square)

    def _axis(self, length: int, like: torch.Tensor) -> torch.Tensor:
        k = torch.fft.fftfreq(length, 1 / length, dtype=like.dtype, device=like.device)
        return (2 * k - length % 2) / length if self.table else 2 * k / length

    def high(self, shift: int) -> torch.Tensor:
        return _transition(1 + (self.log_radius + shift) / self.twidth, self.table)

    def low(self, last: int) -> torch.Tensor:
        factors = [_transition(-(self.log_radius + j) / self.twidth, self.table) for j in range(last + 1)]
        return torch.stack(factors).prod(0)

    def band(self, level: int, orientation: int) -> torch.Tensor:
        orientations, o = self.order + 1, self.order
        gain = math.sqrt(2 ** (2 * o) * math.factorial(o) ** 2 / (orientations * math.factorial(2 * o)))
        angle = self.angle - math.pi * orientation / orientations
        if self.table:

            def sample(k: torch.Tensor) -> torch.Tensor:
                on_edge = (k.abs() % 1024) == 512
                return _angular(torch.cos(math.pi / 1024 * k).masked_fill(on_edge, 0), o, self.analytic)

            angular = _between_samples(sample, angle * (1024 / math.pi))
        else:
            cosine = torch.cos(angle)
            on_edge = cosine.abs() < 8 * torch.finfo(cosine.dtype).eps
            angular = _angular(cosine.masked_fill(on_edge, 0), o, self.analytic)
        return (-1j) ** o * gain * self.low(level) * self.high(level + 1) * angular

    def mask(self, k: int, orientation: int = 0) -> torch.Tensor:
        """Of coefficient k: 0 the highpass residual, then the levels, then the lowpass residual."""
        if k == 0:
            return self.high(0)
        return self.low(self.levels) if k > self.levels else self.band(k - 1, orientation)

    def kept(self, k: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Which rows and columns of the image's spectrum the spectrum of coefficient k has."""
        halvings = max(k - 1, 0) if self.downsample else 0
        rows, columns = (-(-n // 2**halvings) for n in (self.height, self.width))
        signed = [torch.fft.fftfreq(n, 1 / n, device=self.angle.device).round().long() for n in (rows, columns)]
        return (signed[0] % self.height)[:, None], signed[1] % self.width


def _wanted(pyramid: Sequence[int], subset: Sequence[int]) -> Iterator[tuple[int, list[int]]]:
    """Yield each wanted coefficient and its orientations ([] for a residual)."""
    for k, bits in enumerate(subset):
        if bits:
            is_band = 0 < k <= pyramid[2]
            yield k, [b for b in range(pyramid[3] + 1) if bits >> b & 1] if is_band else []


def steerable_freq_analysis(
    image: torch.Tensor, pyramid: Sequence[int], twidth: float, subset: Sequence[int], scales: Sequence[float]
) -> list[torch.Tensor]:
    """Filter ``image`` (batch, h, w): scale * inverse DFT(mask * DFT(image)), without normalisation."""
    masks = _FreqMasks(pyramid, twidth, image)
    spectrum = torch.fft.fft2(image)

    def filtered(k: int, orientation: int = 0) -> torch.Tensor:
        rows, columns = masks.kept(k)
        product = (spectrum * masks.mask(k, orientation))[:, rows, columns]
        result = scales[k] * torch.fft.ifft2(product, norm="forward")
        return result if masks.analytic and 0 < k <= masks.levels else result.real

    outputs = []
    for k, orientations in _wanted(pyramid, subset):
        if not orientations:
            outputs.append(filtered(k))
            continue
        bands = {b: filtered(k, b) for b in orientations}
        zero = torch.zeros_like(bands[orientations[0]])
        outputs.append(torch.stack([bands.get(b, zero) for b in range(masks.order + 1)], 1))
    return outputs


def steerable_freq_synthesis(
    coefficients: Sequence[torch.Tensor],
    pyramid: Sequence[int],
    twidth: float,
    subset: Sequence[int],
    scales: Sequence[float],
) -> torch.Tensor:
    """Return the sum of inverse DFT(scale * conj(mask) * DFT(coefficients)), without normalisation: (batch, h, w)."""
    masks = _FreqMasks(pyramid, twidth, coefficients[0].real)
    shape = (coefficients[0].shape[0], masks.height, masks.width)
    total = torch.zeros(
        shape, dtype=torch.promote_types(coefficients[0].dtype, torch.complex32), device=masks.angle.device
    )

    def add(coefficient: torch.Tensor, k: int, orientation: int = 0) -> None:
        rows, columns = masks.kept(k)
        spectrum = scales[k] * torch.fft.fft2(coefficient)
        total[:, rows, columns] += masks.mask(k, orientation)[rows, columns].conj() * spectrum

    for (k, orientations), coefficient in zip(_wanted(pyramid, subset), coefficients, strict=True):
        if not orientations:
            add(coefficient, k)
        for b in orientations:
            add(coefficient[:, b], k, b)
    return torch.fft.ifft2(total, norm="forward").real


# ---------------------------------------------------------------------------------------------------------------------
# The steerable pyramid in the spatial domain
# ---------------------------------------------------------------------------------------------------------------------


# ---------------------------------------------------------------------------------------------------------------------
# Histogram matching
# ---------------------------------------------------------------------------------------------------------------------
