"""Each operation in a few readable lines of PyTorch.

This is the specification of the kernels, the oracle of their tests, and what runs on devices without a kernel (mps,
xpu). No call on the CPU or on CUDA comes here.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

# ---------------------------------------------------------------------------------------------------------------------
# The steerable pyramid in the frequency domain
# ---------------------------------------------------------------------------------------------------------------------


# ---------------------------------------------------------------------------------------------------------------------
# The steerable pyramid in the spatial domain
# ---------------------------------------------------------------------------------------------------------------------


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
        return present, order, remainder / (2.0 * n), lower, (lower + 1).clamp(max=m - 1)
    count = torch.searchsorted(values, values, right=True)  # of source values at or below
    sorted_reference = (reference[order] + 0).to(torch.float64)
    ends = sorted_reference.unique_consecutive(return_counts=True)[1].cumsum(0)  # the distribution function, times m
    k = torch.searchsorted(ends * n, count * m, right=True)  # the first node above, in integers
    above, below = k.clamp(max=len(ends) - 1), (k - 1).clamp(min=0)
    span = ((ends[above] - ends[below]) * n).clamp(min=1)
    w = ((count * m - ends[below] * n) / span).clamp(0, 1)
    return present, order, w, ends[below] - 1, ends[above] - 1


def _interpolate(low: Tensor, high: Tensor, w: Tensor) -> Tensor:
    """Interpolate in float64; between a finite and an infinite value, take the nearer one."""
    low, high = low.to(torch.float64), high.to(torch.float64)
    mixed = torch.where((w == 0) | (low == high), low, (1 - w) * low + w * high)
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
