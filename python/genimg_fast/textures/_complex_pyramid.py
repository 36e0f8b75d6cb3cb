"""The complex subbands behind joint statistics: one amplitude whatever the size, and parents at their children's size.

J. Portilla, E. P. Simoncelli, "A parametric texture model based on joint statistics of complex wavelet coefficients",
IJCV 40 (2000), section 1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal, NamedTuple

import torch
from torch import Tensor

import genimg_fast as gf
from genimg_fast._torch import Kept
from genimg_fast.steerable import _freq_torch
from genimg_fast.textures._transforms import Shape, enlarged, inverse, spectrum

MASKS = ("exact", "lut")


class Analysis(NamedTuple):
    """What joint statistics are taken of, from planes (G, P, H, W) and for K orientations; n = P K.

    Attributes:
        highpass: (G, P, H, W).
        bands: Each scale, from fine to coarse: complex (G, n, h, w).
        parents: Each scale but the coarsest: the subbands of the next scale at this one's size, complex (G, n, h, w).
        lowpass: The lowpass residual at the coarsest scale's size, (G, P, h, w).
        reconstructions: Each scale, and the lowpass residual alone: what it and all coarser scales reconstruct, (G, P,
            h, w).
    """

    highpass: Tensor
    bands: list[Tensor]
    parents: list[Tensor]
    lowpass: Tensor
    reconstructions: list[Tensor]


class Subbands(NamedTuple):
    """The coefficients of planes (G, P, H, W): as in `Analysis`, but the lowpass residual has its own size."""

    highpass: Tensor
    bands: list[Tensor]
    lowpass: Tensor


class ComplexPyramid:
    """A complex steerable pyramid of planes of one shape.

    A value of a subband is one of the planes seen through its filter: amplitudes do not depend on the size of the
    planes, and grow neither from scale to scale.

    Args:
        shape: (H, W) of the planes.
        n_scales: Number of scales, at least 1.
        n_orientations: Number of orientations, K.
        masks: "exact" or "lut", as `SteerablePyramidFreq` has them; for synthesis "exact".

    Attributes:
        shape, n_scales, n_orientations: As given.
        sizes: (height, width) of each scale's subbands and of the lowpass residual.

    Raises:
        ValueError: More scales than the shape has.
    """

    def __init__(
        self, shape: Sequence[int], n_scales: int, n_orientations: int, masks: Literal["exact", "lut"] = "exact"
    ) -> None:
        transform = gf.SteerablePyramidFreq(shape, n_scales, n_orientations - 1, is_complex=True, masks=masks)
        self.shape: Shape = transform.image_shape
        self.n_scales, self.n_orientations = n_scales, n_orientations
        self.sizes: list[Shape] = [transform.pyr_size[scale] for scale in range(n_scales)]
        self.sizes.append(transform.pyr_size["residual_lowpass"])
        bands = 2**n_orientations - 1
        coefficients, reconstructions = n_scales + 2, n_scales + 1
        every = replace(
            transform._forward,
            scales=(1 / math.prod(self.shape),) * (coefficients + reconstructions),
            subset=(1, *[bands] * n_scales, 1, *[0] * reconstructions),
        )
        self._subbands = every
        self._own = replace(every, subset=(1, *[bands] * n_scales, 0, *[1] * reconstructions))
        # One octave of oversampling: parents and the lowpass residual at the size of the next finer scale.
        self._parents = replace(
            every,
            pyramid=(*every.pyramid[:5], 1, *every.pyramid[6:]),
            subset=(0, 0, *[bands] * (n_scales - 1), 1, *[0] * reconstructions),
        )
        self._kept_masks = Kept(self._new_masks)

    def gain(self, scale: int) -> float:
        """Return what a scale's values are multiplied by in `SteerablePyramidFreq`, which crops spectra as they are."""
        return math.prod(self.shape) / math.prod(self.sizes[scale])

    # ---- Analysis -------------------------------------------------------------------------------------------------

    def subbands(self, planes: Tensor) -> Subbands:
        """Return the coefficients of planes (G, P, H, W) of the mean 0."""
        highpass, *bands, lowpass = self._analysed(self._subbands, planes)
        return Subbands(highpass, bands, lowpass)

    def analyse(self, planes: Tensor) -> Analysis:
        """Return what joint statistics are taken of from planes (G, P, H, W) of the mean 0; differentiable."""
        s = self.n_scales
        own = self._analysed(self._own, planes)
        *parents, lowpass = self._analysed(self._parents, planes)
        return Analysis(own[0], own[1 : s + 1], parents, lowpass, own[s + 1 :])

    def _analysed(self, m: _freq_torch.FreqMap, planes: Tensor) -> list[Tensor]:
        """Return the wanted coefficients of planes (G, P, H, W), with all of a group along one axis."""
        groups, each = planes.shape[:2]
        parts = _freq_torch.analysis(m, planes.flatten(0, 1))
        return [
            part.reshape(groups, each * (part.shape[1] if part.dim() > 3 else 1), *part.shape[-2:]) for part in parts
        ]

    # ---- The way back ---------------------------------------------------------------------------------------------

    def combined(self, reals: Tensor, scale: int) -> Tensor:
        """Return the half spectra (G, P, ...) of what the subbands of a scale reconstruct, at its size.

        Args:
            reals: Half spectra (G, n, ...) of the subbands' real parts.
            scale: Which.
        """
        masks = self._masks(reals).bands[scale]
        return (reals.unflatten(1, (-1, self.n_orientations)) * masks).sum(2)

    def highpass_again(self, highpass: Tensor) -> Tensor:
        """Return what a highpass residual (G, P, H, W) reconstructs."""
        return inverse(spectrum(highpass) * self._masks(highpass).highpass, self.shape)

    def lowpass_again(self, lowpass: Tensor) -> Tensor:
        """Return what a lowpass residual (G, P, h, w) reconstructs, at its size."""
        return inverse(spectrum(lowpass) * self._masks(lowpass).lowpass, self.sizes[-1])

    def analytic(self, reals: Tensor, scale: int) -> Tensor:
        """Return the complex subbands of a scale, from half spectra (G, n, ...) of their real parts, at the finer size.

        The imaginary part is the Hilbert transform of the real one along the subband's orientation.
        """
        size, finer = self.sizes[scale], self.sizes[scale - 1]
        real, imaginary = (
            inverse(enlarged(one, size, finer), finer) for one in (reals, reals * self._hilbert(scale, reals))
        )
        return torch.complex(real, imaginary)

    def _hilbert(self, scale: int, like: Tensor) -> Tensor:
        turns = self._masks(like).hilbert[scale]
        return turns.repeat(like.shape[1] // self.n_orientations, 1, 1)

    def _masks(self, like: Tensor) -> _Masks:
        dtype = like.dtype if like.is_complex() else like.dtype.to_complex()
        return self._kept_masks.of(dtype, like.device)

    def _new_masks(self, dtype: torch.dtype, device: torch.device) -> _Masks:
        """Return the filters of the way back, which are those of the analysis conjugated: the spectra of an impulse."""
        impulse = torch.zeros(1, 1, *self.shape, dtype=torch.float64)
        impulse[..., 0, 0] = math.prod(self.shape)
        parts = self.subbands(impulse)

        def mask(response: Tensor) -> Tensor:
            transformed = spectrum(response.real.contiguous())[0].conj().resolve_conj()
            return (transformed / math.prod(response.shape[-2:])).to(device, dtype)

        return _Masks(
            mask(parts.highpass)[0],
            [mask(one) for one in parts.bands],
            mask(parts.lowpass)[0],
            [self._turns(size).to(device, dtype) for size in self.sizes[:-1]],
        )

    def _turns(self, size: Shape) -> Tensor:
        """Return the Hilbert transforms' factors (K, h, w // 2 + 1): -i on one side of the subband's edge, i beyond."""
        y = torch.fft.fftfreq(size[0], 1 / size[0], dtype=torch.float64)[:, None] / self.shape[0]
        x = torch.arange(size[1] // 2 + 1, dtype=torch.float64) / self.shape[1]
        angles = [math.pi * b / self.n_orientations for b in range(self.n_orientations)]
        along = torch.stack([x * math.cos(angle) + y * math.sin(angle) for angle in angles])
        return -1j * torch.where(along.abs() > 1e-9 / min(self.shape), along.sign(), 0)


class _Masks(NamedTuple):
    highpass: Tensor
    bands: list[Tensor]
    lowpass: Tensor
    hilbert: list[Tensor]
