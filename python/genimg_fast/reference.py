"""Each operation in a few readable lines of PyTorch.

This is the specification of the kernels, the oracle of their tests, and what runs on devices without a kernel (mps,
xpu). No call on the CPU or on CUDA comes here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from genimg_fast import _numpy
from genimg_fast.steerable.space import EDGE_TYPES

# ---------------------------------------------------------------------------------------------------------------------
# The steerable pyramid in the frequency domain
# ---------------------------------------------------------------------------------------------------------------------
#
# Simoncelli & Freeman 1995; Portilla & Simoncelli 2000, eq. 3-5. A pyramid is described as to the kernels: `pyramid` is
# (height, width, levels, order, analytic, oversampling, table); `subset` says what is wanted of the highpass residual,
# each level, the lowpass residual and, if it goes on, of the reconstructions from each level on and from the lowpass
# residual alone (0 none, 1 or a bit for each orientation); `scales` are the factors of the same.


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


def _hermitian_part(mask: torch.Tensor) -> torch.Tensor:
    """Return the mask whose output is the real part of this one's; they differ where a table's grid is off-centre."""
    return (mask + mask.flip(0, 1).roll((1, 1), (0, 1)).conj()) / 2


class _FreqMasks:
    """The masks on the grid of the image's full spectrum, and the crop to a level."""

    def __init__(self, pyramid: Sequence[int], twidth: float, like: torch.Tensor) -> None:
        self.height, self.width, self.levels, self.order, analytic, self.oversampling, table = pyramid
        self.analytic, self.table = bool(analytic), bool(table)
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

    def band(self, level: int, orientation: int, analytic: bool) -> torch.Tensor:
        orientations, o = self.order + 1, self.order
        gain = math.sqrt(2 ** (2 * o) * math.factorial(o) ** 2 / (orientations * math.factorial(2 * o)))
        angle = self.angle - math.pi * orientation / orientations
        if self.table:

            def sample(k: torch.Tensor) -> torch.Tensor:
                on_edge = (k.abs() % 1024) == 512
                return _angular(torch.cos(math.pi / 1024 * k).masked_fill(on_edge, 0), o, analytic)

            angular = _between_samples(sample, angle * (1024 / math.pi))
        else:
            cosine = torch.cos(angle)
            on_edge = cosine.abs() < 8 * torch.finfo(cosine.dtype).eps
            angular = _angular(cosine.masked_fill(on_edge, 0), o, analytic)
        return (-1j) ** o * gain * self.low(level) * self.high(level + 1) * angular

    def reconstruction(self, level: int) -> torch.Tensor:
        """Add up the squared masks of real bands from a level on, and of the lowpass residual."""
        masks = [self.low(self.levels)]
        for i in range(level, self.levels):
            masks += [self.band(i, b, analytic=False) for b in range(self.order + 1)]
        total = torch.stack([_hermitian_part(mask).abs() ** 2 for mask in masks]).sum(0)
        at_nyquist = [
            2 * torch.fft.fftfreq(n, 1 / n, device=total.device).round().abs() == size
            for n, size in zip((self.height, self.width), self.size(level), strict=True)
        ]
        return total.masked_fill(at_nyquist[0][:, None] | at_nyquist[1], 0)

    def mask(self, k: int, orientation: int = 0) -> torch.Tensor:
        """Of coefficient k: 0 the highpass residual, then the levels, the lowpass residual, the reconstructions."""
        if k == 0:
            return self.high(0)
        if k <= self.levels:
            return self.band(k - 1, orientation, self.analytic)
        return self.low(self.levels) if k == self.levels + 1 else self.reconstruction(k - self.levels - 2)

    def size(self, level: int) -> list[int]:
        halvings = max(level - self.oversampling, 0)
        return [-(-n // 2**halvings) for n in (self.height, self.width)]

    def kept(self, k: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Which rows and columns of the image's spectrum the spectrum of coefficient k has."""
        level = max(k - 1, 0) if k < self.levels + 2 else k - self.levels - 2
        signed = [torch.fft.fftfreq(n, 1 / n, device=self.angle.device).round().long() for n in self.size(level)]
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


def match_histograms(
    image: Tensor,
    reference: Tensor,
    mask: Tensor | None,
    reference_mask: Tensor | None,
    pooled: int,
    method: int,
) -> Tensor:
    """Match each pool, the last ``pooled`` axes (-1: all); row i of the image takes row i % rows of the reference.

    method is 0 for "value", 1 for "rank". The weights of the interpolation are computed in float64.
    """
    out = _as_rows(image, pooled).clone()
    sources, references = out.clone(), _as_rows(reference, pooled)
    masks, reference_masks = _mask_rows(mask, sources, pooled), _mask_rows(reference_mask, references, pooled)
    for i, source in enumerate(sources):
        j = i % len(references)
        present, order, w, lower, upper = _weights(source, references[j], masks[i], reference_masks[j], method)
        if present is not None:
            ordered = references[j][order]
            out[i, present] = _round_like(_interpolate(ordered[lower], ordered[upper], w), image.dtype)
    return out.reshape(image.shape)


def sort_histograms(reference: Tensor, mask: Tensor | None, pooled: int) -> Tensor:
    """Sort each pool; NaN, and what the mask leaves out, comes last as NaN."""
    rows = _as_rows(reference, pooled)
    kept = torch.where(_mask_rows(mask, rows, pooled), rows + 0.0, math.nan)
    return (
        torch.where(kept.isnan(), math.inf, kept)
        .sort(-1)
        .values.where(torch.arange(rows.shape[1], device=rows.device) < (~kept.isnan()).sum(-1, keepdim=True), math.nan)
        .reshape(reference.shape)
    )


def match_histograms_tangent(
    direction: Tensor,
    image: Tensor,
    reference: Tensor,
    mask: Tensor | None,
    reference_mask: Tensor | None,
    pooled: int,
    method: int,
) -> Tensor:
    """Return the derivative of match_histograms along a direction of the reference."""
    matrices = _matrices(image, reference, mask, reference_mask, pooled, method)
    rows = [matrix @ d for matrix, d in zip(matrices, _as_rows(direction, pooled).double(), strict=True)]
    return torch.stack(rows).to(image.dtype).reshape(image.shape)


def match_histograms_adjoint(
    direction: Tensor,
    image: Tensor,
    reference: Tensor,
    mask: Tensor | None,
    reference_mask: Tensor | None,
    pooled: int,
    method: int,
) -> Tensor:
    """Return the gradient of <direction, match_histograms(...)> by the reference."""
    matrices = _matrices(image, reference, mask, reference_mask, pooled, method)
    rows = [matrix.T @ d for matrix, d in zip(matrices, _as_rows(direction, pooled).double(), strict=True)]
    return torch.stack(rows).to(image.dtype).reshape(reference.shape)


def _as_rows(x: Tensor, pooled: int) -> Tensor:
    split = 0 if pooled < 0 else x.dim() - pooled
    return x.reshape(math.prod(x.shape[:split]), math.prod(x.shape[split:]))


def _mask_rows(mask: Tensor | None, rows: Tensor, pooled: int) -> Tensor:
    return torch.ones_like(rows, dtype=torch.bool) if mask is None else _as_rows(mask, pooled)


def _present(x: Tensor, mask: Tensor) -> Tensor:
    """Return the indices of what takes part."""
    return (mask & (x == x)).nonzero()[:, 0]


def _weights(source: Tensor, reference: Tensor, mask: Tensor, reference_mask: Tensor, method: int) -> tuple[Any, ...]:
    """Return (present, order, w, lower, upper): pixel present[r] becomes a mix of the sorted values lower[r], upper[r].

    The sorted reference is reference[order], w the weight of the upper value; present is None where nothing is matched.
    """
    present, order = _present(source, mask), _present(reference, reference_mask)
    n, m = len(present), len(order)
    if n == 0 or m == 0:
        return None, order, None, None, None
    values = (source[present] + 0).to(torch.float64)
    present = present[values.argsort(stable=True)]
    values = values.sort().values
    order = order[(reference[order] + 0).to(torch.float64).argsort(stable=True)]
    r = torch.arange(n, device=source.device)
    if method == 1:
        # The quantile (r + 1/2) / n lies at j + remainder / (2 n), where S[j] is the quantile (j + 1/2) / m.
        numerator = ((2 * r + 1) * m - n).clamp(0, 2 * n * (m - 1))
        lower, remainder = numerator // (2 * n), numerator % (2 * n)
        return present, order, remainder.to(torch.float64) / (2 * n), lower, (lower + 1).clamp(max=m - 1)
    count = torch.searchsorted(values, values, right=True)  # of source values at or below
    sorted_reference = (reference[order] + 0).to(torch.float64)
    ends = sorted_reference.unique_consecutive(return_counts=True)[1].cumsum(0)  # the distribution function, times m
    k = torch.searchsorted(ends * n, count * m, right=True)  # the first node above, in integers
    above, below = k.clamp(max=len(ends) - 1), (k - 1).clamp(min=0)
    span = ((ends[above] - ends[below]) * n).clamp(min=1)
    w = ((count * m - ends[below] * n).to(torch.float64) / span).clamp(0, 1)
    return present, order, w, ends[below] - 1, ends[above] - 1


def _interpolate(low: Tensor, high: Tensor, w: Tensor) -> Tensor:
    """Interpolate in float64; between a finite and an infinite value, take the nearer one."""
    low, high = low.to(torch.float64), high.to(torch.float64)
    mixed = torch.where((w == 0) | (low == high), low, 2 * (low / 2 + w * (high / 2 - low / 2)))
    return torch.where(low.isfinite() & high.isfinite(), mixed, torch.where((w == 0) | (w < 0.5), low, high)) + 0.0


def _round_like(x: Tensor, dtype: torch.dtype) -> Tensor:
    if dtype.is_floating_point:
        return x.to(dtype)
    info = torch.iinfo(dtype)
    return x.round().clamp(info.min, info.max).to(dtype)


def _matrices(
    image: Tensor, reference: Tensor, mask: Tensor | None, reference_mask: Tensor | None, pooled: int, method: int
) -> list[Tensor]:
    """Return W of each row, dense: matched pixels = W reference."""
    sources, references = _as_rows(image, pooled), _as_rows(reference, pooled)
    masks, reference_masks = _mask_rows(mask, sources, pooled), _mask_rows(reference_mask, references, pooled)
    matrices = []
    for source, target, m, rm in zip(sources, references, masks, reference_masks, strict=True):
        matrix = torch.zeros(len(source), len(target), dtype=torch.float64, device=image.device)
        present, order, w, lower, upper = _weights(source, target, m, rm, method)
        if present is not None:
            matrix.index_put_((present, order[lower]), 1 - w, accumulate=True)
            matrix.index_put_((present, order[upper]), w, accumulate=True)
        matrices.append(matrix)
    return matrices


# ---------------------------------------------------------------------------------------------------------------------
# Gram matrices
# ---------------------------------------------------------------------------------------------------------------------


def _weighted(x: Tensor, factors: Tensor | None, center: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Return x - m as (B, C, P), the squares of the factors (B or 1, 1, P), and the means m (B, C, 1)."""
    x = x.to(torch.promote_types(x.dtype, torch.float32)).flatten(2)
    squares = torch.ones_like(x[:1, :1]) if factors is None else factors.flatten(1)[:, None] ** 2
    total = squares.sum(-1, keepdim=True)
    mean = torch.where(total > 0, (squares * x).sum(-1, keepdim=True) / total, x[..., :1])
    return (x - mean if center else x), squares, mean


def gram_product(x: Tensor, y: Tensor | None, factors: Tensor | None, center: bool, scale: float) -> Tensor:
    """Return scale * sum f^2 (x - m) (y - n)^T over the pixels of maps (B, C, H, W) (csrc/gram/gram.h)."""
    first, squares, _ = _weighted(x, factors, center)
    second = first if y is None else _weighted(y, factors, center)[0]
    return scale * (squares * first) @ second.mT


def gram_moments(x: Tensor, factors: Tensor | None, scale: float) -> tuple[Tensor, Tensor]:
    """Return the centred product of x with itself, and the means (B, C)."""
    return gram_product(x, None, factors, True, scale), _weighted(x, factors, True)[2][..., 0]


def gram_difference(
    x: Tensor, target: Tensor, factors: Tensor | None, center: bool, scale: float
) -> tuple[Tensor, Tensor]:
    """Return the Gram matrices of x less target, and the sums of its squares and of its absolute values (B, 2)."""
    difference = gram_product(x, None, factors, center, scale) - target
    return difference, torch.stack([difference.square().sum((1, 2)), difference.abs().sum((1, 2))], 1)


def gram_apply(
    matrix: Tensor, x: Tensor, factors: Tensor | None, center: bool, rectified: bool, scale: float
) -> Tensor:
    """Return scale * matrix f^2 (x - m) at each pixel; where rectified, 0 where x is not positive."""
    features, squares, _ = _weighted(x, factors, center)
    out = (scale * matrix @ (squares * features)).unflatten(-1, x.shape[-2:])
    return torch.where(x > 0, out, 0) if rectified else out


# ---------------------------------------------------------------------------------------------------------------------
# Multi-view diffusion
# ---------------------------------------------------------------------------------------------------------------------
#
# Geng, Park, Owens 2024. A plan of views (views/_plan.py) is rows of numbers on the CPU and tables on the device.


def view_sources(row: Tensor, tables: Tensor, height: int, width: int) -> Tensor:
    """Return where each pixel of a view comes from, y W + x, as (H W,)."""
    kind, *p, table, _ = row[:9].tolist()
    y = torch.arange(height, device=tables.device)[:, None]
    x = torch.arange(width, device=tables.device)
    here = y * width + x
    if kind == 0:  # a flip, a quarter turn
        index = (p[0] * y + p[1] * x + p[2]) * width + p[3] * y + p[4] * x + p[5]
    elif kind == 1:  # columns rolled down
        index = (y - tables[table : table + width].long()) % height * width + x
    elif kind == 2:  # 180 degrees within a circle
        inside = 16 * ((2 * x + 1 - width) ** 2 + (2 * y + 1 - height) ** 2) < 9 * p[0] ** 2
        index = torch.where(inside, height * width - 1 - here, here)
    elif kind == 3:  # squares turned in turn
        side, (i, j) = p[0], (y // p[0], x // p[0])
        dy, dx = y - i * side, x - j * side
        clockwise = ((i + j) % 2 == 0) == (p[1] > 0)
        sy, sx = torch.where(clockwise, side - 1 - dx, dx), torch.where(clockwise, dy, side - 1 - dy)
        index = torch.where((i > 2) | (j > 2), here, (i * side + sy) * width + j * side + sx)
    else:
        index = tables[table : table + height * width].long()
    return index.broadcast_to(height, width).reshape(-1) if index.dim() > 1 else index


def view(x: Tensor, row: Tensor, tables: Tensor, signed: bool = True) -> Tensor:
    """Return out[..., c, p] = sign_c x[..., channel_c, src(p)]."""
    height, width = x.shape[-2:]
    out = x.flatten(-2)[..., view_sources(row, tables, height, width)].unflatten(-1, (height, width))
    if row[8] < 0:
        return out
    entries = tables[row[8] : row[8] + x.shape[-3]].long()
    out = out[..., entries.abs() - 1, :, :]
    return out * entries.sign()[:, None, None].to(out.dtype) if signed else out


def multiview_apply(x: Tensor, rows: Tensor, tables: Tensor, copies: int, factors: Tensor | None) -> Tensor:
    stack = torch.stack([view(x, row, tables) for row in rows])
    stack = stack.expand(copies, *stack.shape)
    if factors is not None:
        stack = stack * factors.reshape(copies, -1, 1, 1, 1, 1).to(x)
    return stack.flatten(0, 2)


def multiview_predictions(
    prediction: Tensor, rows: Tensor, tables: Tensor, weights: Tensor, guided: bool, channels: int
) -> tuple[Tensor, Tensor]:
    """Return each view's guided prediction and its conditional variance in the picture's own place, (V, B, C, H, W)."""
    real = prediction.double() if prediction.dtype == torch.float64 else prediction.float()
    stack = real.unflatten(0, (1 + guided, len(rows), -1))
    m = stack[-1, :, :, :channels]
    if guided:
        u = stack[0, :, :, :channels]
        m = u + weights[0].reshape(-1, 1, 1, 1, 1).to(m) * (m - u)
    v = stack[-1, :, :, channels:]
    m = torch.stack([view(one, row, tables) for one, row in zip(m, rows, strict=True)])
    if v.shape[2]:
        v = torch.stack([view(one, row, tables, signed=False) for one, row in zip(v, rows, strict=True)])
    return m, v


def _mean(x: Tensor, weights: Tensor) -> Tensor:
    return (weights.reshape(-1, 1, 1, 1, 1).to(x) * x).sum(0)


def multiview_reduce(
    prediction: Tensor, rows: Tensor, tables: Tensor, weights: Tensor, guided: bool, channels: int
) -> tuple[Tensor, Tensor]:
    m, v = multiview_predictions(prediction, rows, tables, weights, guided, channels)
    noise = _mean(m, weights[1]).to(prediction.dtype)
    return noise, (_mean(v, weights[2]) if v.shape[2] else noise[:0]).to(prediction.dtype)


def multiview_step(
    x: Tensor,
    prediction: Tensor,
    noise: Tensor | None,
    rows: Tensor,
    tables: Tensor,
    weights: Tensor,
    guided: bool,
    coefficients: Tensor,
    average: int,
) -> Tensor:
    """x' = a x + b x0 + c m + deviation z; csrc/multiview/formula.h names the coefficients."""
    predictions = multiview_predictions(prediction, rows, tables, weights, guided, x.shape[1])
    return multiview_after(x, *predictions, noise, weights, coefficients.tolist(), average)


def multiview_after(
    x: Tensor, m: Tensor, v: Tensor, noise: Tensor | None, weights: Tensor, k: Sequence[float], average: int
) -> Tensor:
    """Return the pictures after a step, from each view's prediction and variance (V, B, C, H, W)."""
    z = 0 if noise is None else noise.to(m)
    here = x.to(m)
    if average == 0:  # the prediction is averaged, before all else
        m, v = _mean(m, weights[1])[None], _mean(v, weights[2])[None]
        weights = torch.ones_like(weights[:, :1])
    elif average == 1:
        v = _mean(v, weights[2])[None]
    x0 = _clipped(k[0] * here + k[1] * m, *k[8:])
    deviation: Any = k[5]
    if v.shape[2]:
        deviation = torch.exp(k[6] + k[7] * v)
        deviation = deviation[0] if len(v) == 1 else _mean(deviation, weights[2])
    return (k[2] * here + k[3] * _mean(x0, weights[1]) + k[4] * _mean(m, weights[1]) + deviation * z).to(x.dtype)


def _clipped(x0: Tensor, most: float, quantile: float) -> Tensor:
    if quantile == 0:
        return x0.clamp(-most, most)
    s = torch.quantile(x0.abs().flatten(-3), quantile, -1).clamp(1, most)[..., None, None, None]
    return torch.maximum(torch.minimum(x0, s), -s) / s


# ---------------------------------------------------------------------------------------------------------------------
# Statistics of textures
# ---------------------------------------------------------------------------------------------------------------------
#
# Portilla & Simoncelli 2000. Planes are (n, h, w) with circular boundaries; what is summed over them is float64.


def _lags(radius: int) -> list[tuple[int, int]]:
    return [(y, x) for y in range(-radius, radius + 1) for x in range(-radius, radius + 1)]


def statistics_correlation(a: Tensor, b: Tensor, radius: int) -> Tensor:
    """Return sum a[p] b[p + lag] over the pixels p for all lags up to the radius: (n, 2 radius + 1, 2 radius + 1)."""
    a, b = a.double(), b.double()
    sums = [(a * b.roll((-y, -x), (1, 2))).sum((1, 2)) for y, x in _lags(radius)]
    return torch.stack(sums, -1).unflatten(-1, (2 * radius + 1, 2 * radius + 1))


def statistics_convolution(x: Tensor, taps: Tensor) -> Tensor:
    """Return sum taps[lag] x[p + lag] over the lags: the derivative of a correlation."""
    lags = enumerate(_lags(taps.shape[1] // 2))
    terms = [taps.flatten(1)[:, i, None, None] * x.roll((-y, -z), (1, 2)) for i, (y, z) in lags]
    return torch.stack(terms).sum(0).to(x.dtype)


def statistics_power_sums(x: Tensor, weight: Tensor | None, count: int) -> Tensor:
    """Return sum weight x^k over the pixels, k = 0 .. count - 1: (n, count)."""
    w = torch.ones_like(x, dtype=torch.float64) if weight is None else weight.double()
    return torch.stack([(w * x.double() ** k).sum((1, 2)) for k in range(count)], 1)


def statistics_polynomial(x: Tensor, weight: Tensor | None, coefficients: Tensor) -> Tensor:
    """Return weight sum coefficients[k] x^k at each pixel."""
    terms = [c[:, None, None] * x.double() ** k for k, c in enumerate(coefficients.unbind(1))]
    total = torch.stack(terms).sum(0).to(x.dtype)
    return total if weight is None else weight * total


def _polar(z: Tensor) -> tuple[Tensor, Tensor]:
    """Return |z| and z / |z|; both, and their derivatives, are 0 where |z|^2 is below the smallest normal number."""
    square = z.real**2 + z.imag**2
    zero = square < torch.finfo(square.dtype).tiny
    r = torch.where(zero, 1, square).sqrt()
    return torch.where(zero, 0, r), torch.where(zero, 0, z / r)


def statistics_phases(bands: Tensor, parents: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return magnitudes of subbands (g, K, h, w) and parents, real parts of bands and of parents of doubled phase.

    The imaginary parts of the latter come last.
    """
    if parents is None:
        return _polar(bands)[0], bands.real.clone()
    r, direction = _polar(parents)
    doubled = r * direction**2
    return torch.cat([_polar(bands)[0], r], 1), torch.cat([bands.real, doubled.real, doubled.imag], 1)


def statistics_phases_gradient(
    bands: Tensor, parents: Tensor | None, magnitudes: Tensor, reals: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the gradients with respect to bands and parents, given those with respect to statistics_phases' results.

    csrc/statistics/formula.h has the derivation. Differentiable: second derivatives come from here on all devices.
    """
    k = bands.shape[1]
    to_bands = magnitudes[:, :k] * _polar(bands)[1] + reals[:, :k]
    if parents is None:
        return to_bands, bands.new_empty(0)
    direction = _polar(parents)[1]
    p = torch.complex(reals[:, k : 2 * k], -reals[:, 2 * k :]) * direction**2
    return to_bands, direction * torch.complex(magnitudes[:, k:] + p.real, -2 * p.imag)
