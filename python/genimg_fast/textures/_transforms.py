"""Fourier transforms of planes, and their spectra at other sizes.

On the CPU planes are transformed one by one: the bits of a library's transform of several depend, at some sizes, on
their number and on that of the threads.
"""

from __future__ import annotations

import torch
from torch import Tensor

Shape = tuple[int, int]


def shape_of(planes: Tensor) -> Shape:
    return planes.shape[-2], planes.shape[-1]


def spectrum(planes: Tensor) -> Tensor:
    """Return the half spectra (..., H, W // 2 + 1) of real planes (..., H, W)."""
    if planes.device.type != "cpu":
        return torch.fft.rfft2(planes)
    height, width = planes.shape[-2:]
    flat = planes.reshape(-1, height, width)
    dtype = torch.complex128 if planes.dtype == torch.float64 else torch.complex64
    out = torch.empty(len(flat), height, width // 2 + 1, dtype=dtype)
    for one, into in zip(flat, out, strict=True):
        torch.fft.rfft2(one, out=into)
    return out.reshape(*planes.shape[:-1], width // 2 + 1)


def inverse(spectra: Tensor, shape: Shape) -> Tensor:
    """Return the real planes (..., *shape) of half spectra (..., H, W // 2 + 1)."""
    if spectra.device.type != "cpu":
        return torch.fft.irfft2(spectra, s=shape)
    flat = spectra.reshape(-1, *spectra.shape[-2:])
    out = torch.empty(len(flat), *shape, dtype=spectra.real.dtype)
    for one, into in zip(flat, out, strict=True):
        torch.fft.irfft2(one, s=shape, out=into)
    return out.reshape(*spectra.shape[:-2], *shape)


def enlarged(spectra: Tensor, shape: Shape, larger: Shape) -> Tensor:
    """Return the half spectra of the same planes sampled at a larger size; values keep their amplitudes.

    Frequencies at half the sampling rate of the smaller size, which have no counterpart, are left out.
    """
    return _moved(spectra, shape, larger, shape)


def reduced(spectra: Tensor, shape: Shape, smaller: Shape) -> Tensor:
    """Return the half spectra of planes sampled at a smaller size, without the frequencies that it does not hold."""
    return _moved(spectra, shape, smaller, smaller)


def _moved(spectra: Tensor, shape: Shape, new: Shape, least: Shape) -> Tensor:
    rows, columns = (least[0] - 1) // 2, (least[1] - 1) // 2
    out = spectra.new_zeros(*spectra.shape[:-2], new[0], new[1] // 2 + 1)
    factor = new[0] * new[1] / (shape[0] * shape[1])
    out[..., : rows + 1, : columns + 1] = factor * spectra[..., : rows + 1, : columns + 1]
    if rows:
        out[..., -rows:, : columns + 1] = factor * spectra[..., -rows:, : columns + 1]
    return out
