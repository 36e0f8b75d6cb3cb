"""Gram matrices of features, and averages over views, that lie on several ranks of `torch.distributed`.

A Gram matrix is a sum over positions, so that ranks may each hold a part of them: tiles of one picture, or pictures of
their own. The calls here are collective: every rank of the group makes them, in the same order, with tensors on a
device of the group's backend (gloo: the processor; nccl: the rank's GPU).

The gradients are those of a loss that is made from the results alike on every rank, as a loss of Gram matrices is:
``loss.backward()`` on every rank then gives each its own part of the gradient that one process with all features would
get. Summing over ranks once more (as `torch.distributed.nn.functional.all_reduce` does, for losses that differ) would
count it once for each rank. There are no second derivatives.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch.autograd.function import once_differentiable

import genimg_fast as gf
from genimg_fast import multiview
from genimg_fast._core import backend as check
from genimg_fast.gram import NORMALIZATIONS
from genimg_fast.views import Views

__all__ = ["all_reduce", "channel_means", "gram_matrix", "mean", "own_views", "reduce_views"]


def all_reduce(x: torch.Tensor, group: Any = None) -> torch.Tensor:
    """Return the sum of a tensor over the ranks.

    Args:
        x: A tensor with the same shape and dtype on every rank.
        group: A process group; None: all ranks.

    Returns:
        The sum, the same on every rank. Its gradient goes to each rank's ``x`` as it is.

    Raises:
        RuntimeError: ``torch.distributed`` is not initialised.
    """
    return _AllReduce.apply(_tensor("all_reduce", "x", x), checked(group))


def channel_means(features: torch.Tensor, *, group: Any = None) -> torch.Tensor:
    """Return the mean of each channel over the positions on all ranks.

    Args:
        features: (..., C, H, W) on each rank; H and W may differ between ranks.
        group: As for `all_reduce`.

    Returns:
        (..., C), the same on every rank: float64 for float64, float32 for all other dtypes.
    """
    _tensor("channel_means", "features", features)
    if features.ndim < 3 or not features.is_floating_point():
        raise ValueError(f"channel_means: features must be floats (..., C, H, W), got {check.shown(features)}")
    count = _count(features, group)
    return all_reduce(features.sum((-2, -1), dtype=count.dtype), group) / count


def gram_matrix(
    features: torch.Tensor, *, normalization: str = "hw", center: bool = False, group: Any = None
) -> torch.Tensor:
    """Return the Gram matrix of all ranks' features together: that of their positions in one map.

    Args:
        features: (..., C, H, W) on each rank; H and W may differ between ranks, and no rank may be without positions.
            Where tiles were computed with their surroundings, give only the positions that this rank counts.
        normalization, center: As for `genimg_fast.gram_matrix`; the number of positions is that of all ranks.
        group: As for `all_reduce`.

    Returns:
        (..., C, C), the same on every rank.

    Raises:
        TypeError, ValueError: As `genimg_fast.gram_matrix`; a normalization that mixes the batch.
        RuntimeError: ``torch.distributed`` is not initialised.
    """
    definition = NORMALIZATIONS.get(normalization) if isinstance(normalization, str) else None
    if definition is None or definition.mixes_batch:
        accepted = ", ".join(repr(name) for name, one in NORMALIZATIONS.items() if not one.mixes_batch)
        raise ValueError(f"gram_matrix: normalization must be one of {accepted}, got {check.shown(normalization)}")
    _tensor("gram_matrix", "features", features)
    is_centred = check.flag("gram_matrix", "center", center) or definition.center
    own = _about_common_means(features, group) if is_centred else gf.gram_matrix(features, normalization="none")
    channels = features.shape[-3]
    gram = all_reduce(own, group) / definition.divisor(1, channels, _count(features, group))
    if definition.identity:
        gram = gram + definition.identity * torch.eye(channels, dtype=gram.dtype, device=gram.device)
    return gram


def own_views(views: Sequence[Any], shape: tuple[int, int, int], *, group: Any = None) -> Views:
    """Return the views that this rank takes of a list that all ranks share: every so-many-th.

    Args:
        views, shape: As for `genimg_fast.Views`; at least as many views as ranks.
        group: As for `all_reduce`.

    Raises:
        ValueError: Fewer views than ranks.
        RuntimeError: ``torch.distributed`` is not initialised.
    """
    group = checked(group)
    rank, ranks = dist.get_rank(group), dist.get_world_size(group)
    if len(views) < ranks:
        raise ValueError(f"own_views: views must be at least one for each of {ranks} ranks, got {len(views)}")
    return Views(list(views)[rank::ranks], shape)


def reduce_views(
    prediction: torch.Tensor,
    views: Views,
    guidance: Any = 7.0,
    weights: Sequence[float] | None = None,
    reduce: str = "mean",
    *,
    group: Any = None,
) -> Any:
    """Return the average over the views of all ranks of what a network predicted for each.

    Args:
        prediction: Of this rank's views, as for `genimg_fast.reduce_views`; as many pictures on every rank.
        views, guidance, weights: Of this rank, whose weights may all be 0.
        reduce: ``"mean"`` or ``"sum"``.
        group: As for `all_reduce`.

    Returns:
        As `genimg_fast.reduce_views`, the same on every rank.

    Raises:
        TypeError, ValueError: As `genimg_fast.reduce_views`; another ``reduce``; weights whose sum over all ranks is 0.
        RuntimeError: ``torch.distributed`` is not initialised.
    """
    if not isinstance(reduce, str) or reduce not in ("mean", "sum"):
        raise ValueError(f"reduce_views: reduce must be 'mean' or 'sum' over several ranks, got {check.shown(reduce)}")
    _tensor("reduce_views", "prediction", prediction)
    multiview.count("reduce_views", views)
    total = total_weight(len(views), weights, prediction.device, group)
    table = multiview.averaging(len(views), guidance, weights, reduce, None, views.factorized, total)
    return reduce_by(prediction, views, table, guidance is not None, group)


def mean(values: Sequence[torch.Tensor], weights: Sequence[float] | None = None, *, group: Any = None) -> torch.Tensor:
    """Return the weighted mean of all ranks' tensors, such as Gram matrices of the exemplars that each rank holds.

    Args:
        values: Any number of tensors, at least one, with one shape on all ranks.
        weights: A positive number for each; None: equal ones.
        group: As for `all_reduce`.

    Returns:
        The mean, the same on every rank.

    Raises:
        ValueError: No values, weights of another number or not positive.
        RuntimeError: ``torch.distributed`` is not initialised.
    """
    values = [_tensor("mean", "values", value) for value in values]
    numbers = [1.0] * len(values) if weights is None else [check.number("mean", "weights", w) for w in weights]
    if not values or len(numbers) != len(values) or not all(w > 0 for w in numbers):
        raise ValueError(
            f"mean: values must hold at least one tensor and weights a positive number for each, got {len(values)} "
            f"tensors and {numbers}"
        )
    total = torch.stack([w * value for w, value in zip(numbers, values, strict=True)]).sum(0)
    return all_reduce(total, group) / all_reduce(values[0].new_tensor(sum(numbers)), group)


def _tensor(function: str, name: str, x: Any) -> torch.Tensor:
    if not check.is_tensor(x):
        raise TypeError(f"{function}: {name} must be a torch.Tensor, got {check.shown(x)}")
    return check.strided(function, name, x)


# ---- For the systems ------------------------------------------------------------------------------------------------


def checked(group: Any) -> Any:
    """Return a process group, all ranks' for None.

    Raises:
        RuntimeError: ``torch.distributed`` is not initialised.
    """
    if not dist.is_available() or not dist.is_initialized():
        raise RuntimeError("group needs torch.distributed: call torch.distributed.init_process_group first")
    return dist.group.WORLD if group is None else group


def rank_and_size(group: Any) -> tuple[int, int]:
    """Return which rank this process is in a group, and how many there are; (0, 1) for None."""
    return (0, 1) if group is None else (dist.get_rank(checked(group)), dist.get_world_size(group))


def total_weight(n: int, weights: Sequence[float] | None, device: Any, group: Any) -> float:
    """Return the sum of the weights of all ranks' views, of which this one has n. Waits for the device."""
    own = torch.tensor(sum(multiview.view_weights(n, weights)), dtype=torch.float64, device=device)
    return float(all_reduce(own, group))


def reduce_by(prediction: torch.Tensor, views: Views, table: multiview.Averaging, guided: bool, group: Any) -> Any:
    """Return what `reduce_views` does, by a table of weights that are shares of all ranks'."""
    own = multiview.reduce_by(*multiview.KINDS.read("reduce_views", "prediction", prediction), views, table, guided)
    return tuple(all_reduce(part, group) for part in own) if isinstance(own, tuple) else all_reduce(own, group)


def sum_in_place(tensors: Iterable[torch.Tensor], group: Any) -> None:
    """Replace contiguous tensors by their sums over the ranks; nothing happens for None."""
    if group is not None:
        for tensor in tensors:
            dist.all_reduce(tensor, group=group)


def replace_by_first(tensors: Iterable[torch.Tensor], group: Any) -> None:
    """Replace contiguous tensors by those of the first rank; nothing happens for None."""
    if group is not None:
        for tensor in tensors:
            dist.broadcast(tensor, group_src=0, group=group)


def _about_common_means(features: torch.Tensor, group: Any) -> torch.Tensor:
    """Return this rank's sum of the products about the means of all ranks."""
    means, covariance = gf.moments(features)
    pixels = features.shape[-2:].numel()
    # The offsets of all ranks' pixels sum to 0, so that the common means' own derivative drops out.
    offset = means - all_reduce(pixels * means.detach(), group) / _count(features, group)
    return pixels * (covariance + offset[..., :, None] * offset[..., None, :])


def _count(features: torch.Tensor, group: Any) -> torch.Tensor:
    count = torch.tensor(features.shape[-2:].numel(), dtype=torch.float64, device=features.device)
    dist.all_reduce(count, group=checked(group))
    return count.to(torch.float64 if features.dtype == torch.float64 else torch.float32)


class _AllReduce(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, group: Any) -> torch.Tensor:
        total = x.detach().clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total, group=group)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, None]:
        return grad, None
