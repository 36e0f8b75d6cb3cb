"""Each operation in a few readable lines of PyTorch.

This is the specification of the kernels, the oracle of their tests, and what runs on devices without a kernel (mps,
xpu). No call on the CPU or on CUDA comes here.
"""

from __future__ import annotations

from typing import Any

import torch

from genimg_fast import _numpy
from genimg_fast.steerable.space import EDGE_TYPES

# ---------------------------------------------------------------------------------------------------------------------
# The steerable pyramid in the frequency domain
# ---------------------------------------------------------------------------------------------------------------------


# ---------------------------------------------------------------------------------------------------------------------
# The steerable pyramid in the spatial domain
# ---------------------------------------------------------------------------------------------------------------------


def _continued(edge: str, n: int, margin: int, size: int | None) -> tuple[torch.Tensor, torch.Tensor]:
    """Return which of n samples stands at -margin .. n - 1 + margin (-1 for none), and the nearest one."""
    i = torch.arange(-margin, n + margin)
    nearest = i.clamp(0, n - 1)
    if edge in ("reflect1", "extend"):
        j = (n - 1) - ((n - 1) - i.abs()).abs()
    elif edge == "reflect2":
        j = torch.where(i < 0, -1 - i, i)
        j = torch.where(j >= n, 2 * n - 1 - j, j)
    elif edge == "repeat":
        j = nearest
    elif edge == "circular":
        j = i % n
    else:
        j = torch.where(i == nearest, i, -1)
    if size == n and edge in ("reflect1", "extend"):
        j[-1] = -1  # pyrtools mirrors the middle sample of an image as long as the filter at the first edge only
    return j, nearest


def _pad(x: torch.Tensor, margin: int, edge: str, size: int | None = None) -> torch.Tensor:
    """Continue images (..., H, W) beyond their edges; size is that of a synthesis filter."""
    (y, near_y), (z, near_z) = (_continued(edge, n, margin, size) for n in x.shape[-2:])
    take = lambda rows, columns: x[..., rows.clamp(0), :][..., columns.clamp(0)]  # noqa: E731
    padded = take(y, z) * ((y >= 0)[:, None] & (z >= 0)).to(x)
    if edge != "extend":
        return padded
    i, j = (torch.arange(-margin, n + margin) for n in x.shape[-2:])
    inside = (i == near_y)[:, None] & (j == near_z)
    return torch.where(inside.to(x.device), padded, 2 * take(near_y, near_z) - padded)


def _correlate(padded: torch.Tensor, filter: torch.Tensor) -> torch.Tensor:
    images = padded.reshape(-1, 1, *padded.shape[-2:])
    out = torch.nn.functional.conv2d(images, filter.to(padded)[None, None])
    return out.reshape(*padded.shape[:-2], *out.shape[-2:])


def _away_from_edges(x: torch.Tensor, size: int, edge: str) -> torch.Tensor:
    """Set to zero, for dont-compute, where a filter of this size overhangs."""
    if edge != "dont-compute":
        return x
    half = size // 2
    keep = torch.zeros_like(x)
    keep[..., half : x.shape[-2] - half, half : x.shape[-1] - half] = 1
    return x * keep


def _spatial_filters(order: int) -> dict[str, Any]:
    filters = _numpy.spatial_filters(order)
    as_tensor = {name: torch.from_numpy(filters[name]) for name in ("hi0", "lo0", "lo")}
    return {**as_tensor, "bands": [torch.from_numpy(band) for band in filters["bands"]]}


def space_analysis(x: torch.Tensor, order: int, levels: int, edge: int) -> list[torch.Tensor]:
    """Return the spatial pyramid of images (..., H, W): highpass, bands from the finest level on, lowpass.

    Each filter is correlated with the image as it continues beyond its edges (Simoncelli & Freeman 1995).
    """
    name = EDGE_TYPES[edge]
    filters = _spatial_filters(order)

    def correlate(image: torch.Tensor, filter: torch.Tensor) -> torch.Tensor:
        size = len(filter)
        return _away_from_edges(_correlate(_pad(image, size // 2, name), filter), size, name)

    low = correlate(x, filters["lo0"])
    out = [correlate(x, filters["hi0"])]
    for _ in range(levels):
        out += [correlate(low, band) for band in filters["bands"]]
        low = correlate(low, filters["lo"])[..., ::2, ::2]
    return [*out, low]


def space_synthesis(
    coefficients: dict[int, torch.Tensor], shape: tuple[int, int], order: int, levels: int, edge: int
) -> torch.Tensor:
    """Return the image (..., H, W) that space_analysis's coefficients stand for, given by number; others are zero.

    Each coefficient image, the lowpass with zeros put between its samples, is continued beyond its edges and convolved.
    """
    name = EDGE_TYPES[edge]
    filters = _spatial_filters(order)
    some = next(iter(coefficients.values()))

    def convolve(image: torch.Tensor, filter: torch.Tensor) -> torch.Tensor:
        size = len(filter)
        return _correlate(_pad(_away_from_edges(image, size, name), size // 2, name, size), filter.flip(0, 1))

    def coefficient(position: int, level: int) -> torch.Tensor:
        size = [-(-n // 2**level) for n in shape]
        return coefficients.get(position, some.new_zeros((*some.shape[:-2], *size)))

    low = coefficient(1 + levels * (order + 1), levels)
    for level in reversed(range(levels)):
        up = torch.zeros_like(coefficient(-1, level))
        up[..., ::2, ::2] = low
        low = convolve(up, filters["lo"])
        for b, band in enumerate(filters["bands"]):
            low = low + convolve(coefficient(1 + level * (order + 1) + b, level), band)
    return convolve(low, filters["lo0"]) + convolve(coefficient(0, 0), filters["hi0"])


# ---------------------------------------------------------------------------------------------------------------------
# Histogram matching
# ---------------------------------------------------------------------------------------------------------------------
