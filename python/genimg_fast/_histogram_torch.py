"""The histogram operators on tensors: which kernel runs, what torch must know of it, its derivatives."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch.autograd import forward_ad

from genimg_fast import _torch, reference
from genimg_fast.histogram import _MAX_POOL, _integer_range

Tensor = torch.Tensor
_NAMESPACE = "genimg_fast"
_PLAIN = frozenset((torch.float32, torch.float64, torch.uint8, torch.uint16))  # kernels take two of a kind as they are
_DTYPE_NAMES = {
    dtype: str(dtype).removeprefix("torch.") for dtype in vars(torch).values() if isinstance(dtype, torch.dtype)
}


def match(
    image: Tensor,
    target: Tensor,
    mask: Tensor | None,
    target_mask: Tensor | None,
    pooled: int,
    method: int,
    is_sorted: bool,
) -> Tensor:
    """Match contiguous tensors whose last ``pooled`` axes form a pool (-1: all axes), without a gradient."""
    if image.requires_grad:
        image = image.detach()  # the operators know nothing of gradients
    if _torch.backend(image) == "reference":
        return reference.match_histograms(image, target, mask, target_mask, pooled, method)
    return _torch.ops().match_histograms(image, target, mask, target_mask, pooled, method, is_sorted)


def match_plain(image: Any, target: Any, method: int) -> Tensor | None:
    """Match two-dimensional contiguous tensors that need no conversion and no gradient; None for all others."""
    if (
        isinstance(image, Tensor)
        and isinstance(target, Tensor)
        and image.dtype is target.dtype
        and image.dtype in _PLAIN
        and image.dim() == target.dim() == 2
        and image.device == target.device
        and not _torch.needs_autograd(target)
        and image.is_contiguous()
        and target.is_contiguous()
        and 0 < target.numel() <= _MAX_POOL
        and image.numel() <= _MAX_POOL
    ):
        return match(image, target, None, None, -1, method, False)
    return None


class Tensors:
    """What histogram._Arrays is for arrays."""

    moveaxis = staticmethod(torch.movedim)
    broadcast_to = staticmethod(torch.broadcast_to)
    where = staticmethod(torch.where)
    detach = staticmethod(Tensor.detach)
    is_contiguous = staticmethod(Tensor.is_contiguous)

    @staticmethod
    def dtype_name(x: Tensor) -> str:
        return _DTYPE_NAMES[x.dtype]

    @staticmethod
    def contiguous(x: Tensor, dtype: str) -> Tensor:
        return x.to(getattr(torch, dtype)).contiguous()

    @staticmethod
    def rounded(x: Tensor, dtype: str) -> Tensor:
        kind = getattr(torch, dtype)
        return x.round().clamp(*_integer_range(torch.iinfo(kind))).to(kind)

    @staticmethod
    def copy_into(out: Tensor, x: Tensor) -> None:
        out.copy_(x)

    @staticmethod
    def same_place(x: Tensor, y: Tensor) -> bool:
        return x.device == y.device

    @staticmethod
    def needs_gradient(sources: list[Any], references: list[Any], straight: bool) -> bool:
        if not all(s.values.is_floating_point() for s in sources):
            return False
        given = [r.values for r in references] + [s.values for s in sources if straight]
        return _torch.needs_autograd(*given)

    @staticmethod
    def run(
        images: list[Tensor],
        targets: list[Tensor],
        masks: list[Tensor | None],
        target_masks: list[Tensor | None],
        method: int,
        is_sorted: bool,
        outs: list[Tensor] | None,
        pooled: int = 1,
    ) -> list[Tensor]:
        images = [image.detach() if image.requires_grad else image for image in images]
        if outs is None and len(images) == 1:
            return [match(images[0], targets[0], masks[0], target_masks[0], pooled, method, is_sorted)]
        if outs is None:
            outs = [torch.empty_like(image) for image in images]
        if _torch.backend(images[0]) == "reference":
            for i, out in enumerate(outs):
                out.copy_(reference.match_histograms(images[i], targets[i], masks[i], target_masks[i], pooled, method))
            return outs
        lists = (_all_or_none(masks, images), _all_or_none(target_masks, targets))
        _torch.ops().match_histograms_out(images, targets, *lists, pooled, method, is_sorted, outs)
        return outs

    @staticmethod
    def is_plain(x: Any, sorted_values: Tensor) -> bool:
        return (
            isinstance(x, Tensor)
            and x.dtype is sorted_values.dtype
            and x.device == sorted_values.device
            and x.is_contiguous()
            and x.dim() >= 2
            and x.numel() <= _MAX_POOL
            and forward_ad._current_level < 0
        )

    @staticmethod
    def run_differentiable(
        images: list[Tensor],
        targets: list[Tensor],
        masks: list[Tensor | None],
        target_masks: list[Tensor | None],
        method: int,
        straight: bool,
    ) -> list[Tensor]:
        sources = images if straight else [image.detach() for image in images]
        return [
            _torch.call(Match, *arguments, 1, method)
            for arguments in zip(sources, targets, masks, target_masks, strict=True)
        ]

    @staticmethod
    def sort(x: Tensor, mask: Tensor | None) -> Tensor:
        if _torch.backend(x) == "reference":
            return reference.sort_histograms(x, mask, 1)
        return _torch.ops().sort_histograms(x, mask, 1)

    @staticmethod
    def ramp(size: int, like: Tensor) -> Tensor:
        return torch.arange(size, dtype=like.dtype, device=like.device).expand(*like.shape[:-1], size)

    @staticmethod
    def directions(count: int, channels: int, like: Tensor, seed: int | None, generator: Any) -> Tensor:
        dtype = torch.promote_types(like.dtype, torch.float32)
        if seed is None:
            normal = torch.randn(count, channels, dtype=dtype, device=like.device, generator=generator)
        elif torch.compiler.is_compiling() or _torch.needs_autograd():
            normal = _seeded_normal(count, channels, seed, dtype, like.device)
        else:
            normal = _new_seeded_normal(count, channels, seed, dtype, like.device)
        return (normal / normal.norm(dim=1, keepdim=True)).to(like.dtype)

    @staticmethod
    def project(directions: Tensor, features: Tensor) -> Tensor:
        return _torch.full_precision(torch.matmul, directions, features)


def _new_seeded_normal(count: int, channels: int, seed: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    generator = torch.Generator(device).manual_seed(seed)
    return torch.randn(count, channels, dtype=dtype, device=device, generator=generator)


# Compilers and transforms cannot follow a generator: for them it is inside an operator.
_seeded_normal = torch.library.custom_op("genimg_fast::seeded_normal", _new_seeded_normal, mutates_args=())


@_seeded_normal.register_fake
def _(count, channels, seed, dtype, device):
    return torch.empty(count, channels, dtype=dtype, device=device)


@_seeded_normal.register_vmap
def _(info, in_dims, count, channels, seed, dtype, device):
    return _seeded_normal(count, channels, seed, dtype, device), None


def _all_or_none(masks: list[Tensor | None], of: list[Tensor]) -> list[Tensor]:
    """Complete a list of masks: an operator takes one for each tensor, or none at all."""
    if all(mask is None for mask in masks):
        return []
    return [torch.ones_like(x, dtype=torch.bool) if mask is None else mask for mask, x in zip(masks, of, strict=True)]


# The result depends on the reference through a matrix W of interpolation weights (csrc/histogram/formula.h), which
# small changes of either argument leave as it is: out = W reference. So the derivatives of every order are products
# with W and its transpose, and each of these two is the other's derivative.


class Match(_torch.Function):
    """match(image, reference, mask, reference_mask, pooled, method) with a gradient to the reference.

    Both have the same number of rows. The image gets the gradient of the identity; detach it where it shall get none.
    """

    @staticmethod
    def forward(
        image: Tensor, target: Tensor, mask: Tensor | None, target_mask: Tensor | None, pooled: int, method: int
    ) -> Tensor:
        return match(image, target, mask, target_mask, pooled, method, False)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        _save(ctx, *inputs)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        to_target = _torch.call(Adjoint, grad, *_saved(ctx)) if ctx.needs_input_grad[1] else None
        return grad if ctx.needs_input_grad[0] else None, to_target, None, None, None, None

    @staticmethod
    def tangent(ctx: Any, dimage: Tensor | None, dtarget: Tensor | None, *_: Any) -> Tensor:
        parts = [] if dtarget is None else [_torch.call(Tangent, dtarget, *_saved(ctx))]
        parts += [] if dimage is None else [dimage]
        return sum(parts[1:], parts[0])


class Tangent(_torch.Function):
    """W direction."""

    @staticmethod
    def forward(
        direction: Tensor,
        image: Tensor,
        target: Tensor,
        mask: Tensor | None,
        target_mask: Tensor | None,
        pooled: int,
        method: int,
    ) -> Tensor:
        return _linear("tangent", direction, image, target, mask, target_mask, pooled, method)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        _save(ctx, *inputs[1:])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        return _torch.call(Adjoint, grad, *_saved(ctx)), *[None] * 6

    @staticmethod
    def tangent(ctx: Any, along: Tensor, *_: Any) -> Tensor:
        return _torch.call(Tangent, along, *_saved(ctx))


class Adjoint(_torch.Function):
    """W^T direction."""

    @staticmethod
    def forward(
        direction: Tensor,
        image: Tensor,
        target: Tensor,
        mask: Tensor | None,
        target_mask: Tensor | None,
        pooled: int,
        method: int,
    ) -> Tensor:
        return _linear("adjoint", direction, image, target, mask, target_mask, pooled, method)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        _save(ctx, *inputs[1:])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        return _torch.call(Tangent, grad, *_saved(ctx)), *[None] * 6

    @staticmethod
    def tangent(ctx: Any, along: Tensor, *_: Any) -> Tensor:
        return _torch.call(Adjoint, along, *_saved(ctx))


def _save(ctx: Any, image: Tensor, target: Tensor, mask: Tensor | None, target_mask: Tensor | None, *rest: int) -> None:
    _torch.save(ctx, image, target, mask, target_mask)
    ctx.rest = rest


def _saved(ctx: Any) -> tuple[Any, ...]:
    image, target, *masks = ctx.saved_tensors
    return image.detach(), target.detach(), *masks, *ctx.rest


def _linear(name: str, direction: Tensor, image: Tensor, target: Tensor, *rest: Any) -> Tensor:
    direction = direction.contiguous()
    if _torch.backend(image) == "reference":
        return getattr(reference, f"match_histograms_{name}")(direction, image, target, *rest)
    return getattr(_torch.ops(), f"match_histograms_{name}")(direction, image, target, *rest)


# ---- What torch must know of the operators --------------------------------------------------------------------------


@torch.library.register_fake(f"{_NAMESPACE}::match_histograms")
def _(image, reference, mask, reference_mask, pooled, method, is_sorted):
    return image.new_empty(image.shape)


@torch.library.register_fake(f"{_NAMESPACE}::match_histograms_out")
def _(image, reference, mask, reference_mask, pooled, method, is_sorted, out):
    return None


@torch.library.register_fake(f"{_NAMESPACE}::sort_histograms")
def _(reference, mask, pooled):
    return reference.new_empty(reference.shape)


@torch.library.register_fake(f"{_NAMESPACE}::match_histograms_tangent")
def _(direction, image, reference, mask, reference_mask, pooled, method):
    return image.new_empty(image.shape)


@torch.library.register_fake(f"{_NAMESPACE}::match_histograms_adjoint")
def _(direction, image, reference, mask, reference_mask, pooled, method):
    return reference.new_empty(reference.shape)


def _pooled_axes(x: Tensor, batched: bool, pooled: int) -> int:
    return x.dim() - batched if pooled < 0 else pooled


def _batch_rows(size: int, batched: list[tuple[Tensor | None, bool]], pooled: int) -> list[Tensor | None]:
    """Bring tensors of a vmap to (size, rows, pool); all get the number of rows of the first."""
    shaped: list[Tensor | None] = []
    rows = 1
    for x, is_batched in batched:
        if x is None:
            shaped.append(None)
            continue
        split = x.dim() - _pooled_axes(x, is_batched, pooled)
        own = math.prod(x.shape[is_batched:split])
        rows = own if not shaped else rows
        x = x.reshape(size if is_batched else 1, own, math.prod(x.shape[split:]))
        shaped.append(x.repeat(1, rows // max(own, 1), 1).expand(size, -1, -1).contiguous())
    return shaped


def _register_vmap(name: str, n_tensors: int, shape_of: int) -> None:
    """Tell torch.vmap that a batch is more rows; the result has the shape of argument ``shape_of``."""

    def rule(info: Any, in_dims: tuple[Any, ...], *arguments: Any) -> tuple[Tensor, int]:
        tensors, rest = list(arguments[:n_tensors]), arguments[n_tensors:]
        flags = [dim is not None for dim in in_dims[:n_tensors]]
        for i, dim in enumerate(in_dims[:n_tensors]):
            if dim is not None:
                tensors[i] = tensors[i].movedim(dim, 0)
        like, pooled = tensors[shape_of], rest[0]
        shape = like.shape[1:] if flags[shape_of] else like.shape
        # The image decides the number of rows; it stands first, or after the direction.
        first = n_tensors - 4 if n_tensors >= 4 else 0
        order = [first, *(i for i in range(n_tensors) if i != first)]
        rows = _batch_rows(info.batch_size, [(tensors[i], flags[i]) for i in order], pooled)
        for i, x in zip(order, rows, strict=True):
            tensors[i] = x
        result = getattr(getattr(torch.ops, _NAMESPACE), name)(*tensors, 1, *rest[1:])
        return result.reshape(info.batch_size, *shape), 0

    _torch.register_vmap(f"{_NAMESPACE}::{name}", rule)


_register_vmap("match_histograms", 4, 0)
_register_vmap("sort_histograms", 2, 0)
_register_vmap("match_histograms_tangent", 5, 1)
_register_vmap("match_histograms_adjoint", 5, 2)
