"""Planes, and the statistics of them in float64 by other means: Fourier transforms, numpy's polynomials."""

from __future__ import annotations

import numpy as np
import torch

# Around the vectors of all instruction sets, smaller than the lags, and wider than what is summed in one run.
SHAPES = [(1, 1), (1, 5), (4, 1), (2, 3), (8, 16), (17, 15), (16, 33), (31, 67), (64, 64), (3, 2100)]
TOLERANCES = {torch.float32: 2e-6, torch.float64: 1e-14}


def normal(*shape: int, dtype: torch.dtype = torch.complex128, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.complex128).to(dtype)


def planes(*shape: int, dtype: torch.dtype = torch.float64, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def lags_of(radius: int, n: int) -> np.ndarray:
    return np.arange(-radius, radius + 1) % n


def correlation(a: torch.Tensor, b: torch.Tensor, radius: int) -> torch.Tensor:
    """The theorem of Wiener and Khinchin."""
    a, b = a.double().numpy(), b.double().numpy()
    full = np.fft.ifft2(np.fft.fft2(a).conj() * np.fft.fft2(b)).real
    return torch.from_numpy(full[..., lags_of(radius, a.shape[-2])[:, None], lags_of(radius, a.shape[-1])])


def convolution(x: torch.Tensor, taps: torch.Tensor) -> torch.Tensor:
    x, taps = x.double().numpy(), taps.double().numpy()
    radius = taps.shape[-1] // 2
    grid = np.zeros_like(x)
    np.add.at(grid, (..., lags_of(radius, x.shape[-2])[:, None], lags_of(radius, x.shape[-1])), taps)
    return torch.from_numpy(np.fft.ifft2(np.fft.fft2(grid).conj() * np.fft.fft2(x)).real)


def power_sums(x: torch.Tensor, count: int, weight: torch.Tensor | None) -> torch.Tensor:
    x = x.double()
    w = torch.ones_like(x) if weight is None else weight.double()
    powers = torch.cumprod(torch.stack([torch.ones_like(x)] + [x] * (count - 1), -1), -1)
    return (w[..., None] * powers).sum((-3, -2))


def polynomial(x: torch.Tensor, coefficients: torch.Tensor, weight: torch.Tensor | None) -> torch.Tensor:
    rows = [np.polyval(c.numpy()[::-1], p.double().numpy()) for c, p in zip(coefficients, x, strict=True)]
    out = torch.from_numpy(np.stack(rows))
    return out if weight is None else weight.double() * out


def magnitudes_and_phases(bands: torch.Tensor, parents: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
    z = bands.to(torch.complex128)
    if parents is None:
        return z.abs(), z.real
    p = parents.to(torch.complex128)
    doubled = torch.polar(p.abs(), 2 * p.angle())
    return torch.cat([z.abs(), p.abs()], -3), torch.cat([z.real, doubled.real, doubled.imag], -3)
