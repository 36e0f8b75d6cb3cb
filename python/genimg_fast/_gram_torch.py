"""The Gram operators on tensors: which kernel runs, what torch must know of it, its derivatives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from genimg_fast import _torch, reference

Tensor = torch.Tensor


# What has kernels; elsewhere the lines of reference.py serve.
_KERNELS = ("cpu", "cuda")
_DTYPES = frozenset((torch.float16, torch.bfloat16, torch.float32, torch.float64))
_INTEGERS = frozenset((torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64))


def product(x: Tensor, y: Tensor | None, factors: Tensor | None, center: bool, scale: float, tf32: bool) -> Tensor:
    if _torch.backend(x) in _KERNELS:
        return _torch.ops().gram_product(x, y, factors, center, scale, tf32)
    return reference.gram_product(x, y, factors, center, scale)


def moments(x: Tensor, factors: Tensor | None, scale: float, tf32: bool) -> tuple[Tensor, Tensor]:
    if _torch.backend(x) in _KERNELS:
        return _torch.ops().gram_moments(x, factors, scale, tf32)
    return reference.gram_moments(x, factors, scale)


def difference(
    x: Tensor, target: Tensor, factors: Tensor | None, center: bool, scale: float, tf32: bool
) -> tuple[Tensor, Tensor]:
    if _torch.backend(x) in _KERNELS:
        return _torch.ops().gram_difference(x, target, factors, center, scale, tf32)
    return reference.gram_difference(x, target, factors, center, scale)


def apply(
    matrix: Tensor, x: Tensor, factors: Tensor | None, center: bool, rectified: bool, scale: float, tf32: bool
) -> Tensor:
    if _torch.backend(x) in _KERNELS:
        x32 = x if x.dtype == torch.float64 else x.float()
        return _torch.ops().gram_apply(matrix.contiguous(), x32, factors, center, rectified, scale, tf32).to(x.dtype)
    return reference.gram_apply(matrix, x, factors, center, rectified, scale).to(x.dtype)


# G = s sum f^2 (x - m) (y - n)^T is linear in each of x and y; the means drop out of the derivative, because centred
# features sum to 0. So each derivative, of any order, is a product or an application again.


class Product(_torch.Function):
    """product(x, y, factors, center, scale, tf32)."""

    @staticmethod
    def forward(x: Tensor, y: Tensor | None, factors: Tensor | None, center: bool, scale: float, tf32: bool) -> Tensor:
        return product(x, y, factors, center, scale, tf32)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        x, y, factors, *ctx.rest = inputs
        _torch.save(ctx, x, y, factors)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        x, y, factors = ctx.saved_tensors
        center, scale, tf32 = ctx.rest
        if y is None:
            return _torch.call(Apply, grad + grad.mT, x, factors, center, False, scale, tf32), *[None] * 5
        to_x = _torch.call(Apply, grad, y, factors, center, False, scale, tf32) if ctx.needs_input_grad[0] else None
        to_y = _torch.call(Apply, grad.mT, x, factors, center, False, scale, tf32) if ctx.needs_input_grad[1] else None
        return to_x, to_y, *[None] * 4

    @staticmethod
    def tangent(ctx: Any, dx: Tensor | None, dy: Tensor | None, *_: Any) -> Tensor:
        x, y, factors = ctx.saved_tensors
        if y is None:
            return _symmetric(dx, x, factors, *ctx.rest)
        parts = [] if dx is None else [_torch.call(Product, dx, y, factors, *ctx.rest)]
        parts += [] if dy is None else [_torch.call(Product, x, dy, factors, *ctx.rest)]
        return sum(parts[1:], parts[0])


def _symmetric(dx: Any, x: Tensor, factors: Tensor | None, *rest: Any) -> Tensor:
    """Return the derivative of the product of x with itself along dx."""
    half = _torch.call(Product, dx, x, factors, *rest)
    return half + half.mT


class Moments(_torch.Function):
    """moments(x, factors, scale, tf32)."""

    @staticmethod
    def forward(x: Tensor, factors: Tensor | None, scale: float, tf32: bool) -> tuple[Tensor, Tensor]:
        return moments(x, factors, scale, tf32)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        x, factors, *ctx.rest = inputs
        _torch.save(ctx, x, factors)

    @staticmethod
    def backward(ctx: Any, to_product: Tensor, to_means: Tensor) -> tuple[Any, ...]:
        x, factors = ctx.saved_tensors
        squares = x.new_ones(x.shape[-2:], dtype=to_means.dtype) if factors is None else factors[:, None] ** 2
        shares = squares / squares.sum((-2, -1), keepdim=True)
        to_x = _torch.call(Apply, to_product + to_product.mT, x, factors, True, False, *ctx.rest)
        return to_x + (to_means[..., None, None] * shares).to(x.dtype), None, None, None

    @staticmethod
    def tangent(ctx: Any, dx: Tensor, *_: Any) -> tuple[Tensor, Tensor]:
        x, factors = ctx.saved_tensors
        return _symmetric(dx, x, factors, True, *ctx.rest), _torch.call(Moments, dx, factors, *ctx.rest)[1]


class Difference(_torch.Function):
    """difference(x, target, factors, center, scale, tf32), its sums one by one.

    rectified: x gets no gradient where it is not positive.
    """

    @staticmethod
    def forward(
        x: Tensor,
        target: Tensor,
        factors: Tensor | None,
        center: bool,
        rectified: bool,
        scale: float,
        tf32: bool,
    ) -> tuple[Tensor, Tensor, Tensor]:
        d, sums = difference(x, target, factors, center, scale, tf32)
        squares, absolutes = sums.unbind(1)
        return d, squares.clone(), absolutes.clone()  # views cannot have tangents

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
        x, _, factors, *ctx.rest = inputs
        _torch.save(ctx, x, factors, output[0])
        ctx.set_materialize_grads(False)  # most losses use one of the sums

    @staticmethod
    def backward(ctx: Any, to_difference: Any, to_squares: Any, to_absolutes: Any) -> tuple[Any, ...]:
        x, factors, d = ctx.saved_tensors
        # The sums' own derivatives are 2 d and the sign of d.
        parts = [
            None if to_difference is None else to_difference + to_difference.mT,
            None if to_squares is None else 2 * to_squares[:, None, None] * (d + d.mT),
            None if to_absolutes is None else to_absolutes[:, None, None] * (d.sign() + d.mT.sign()),
        ]
        given = [part for part in parts if part is not None]
        if not given:
            return (None,) * 7
        return _torch.call(Apply, sum(given[1:], given[0]), x, factors, *ctx.rest), *[None] * 6

    @staticmethod
    def tangent(ctx: Any, dx: Tensor, *_: Any) -> tuple[Tensor, Tensor, Tensor]:
        x, factors, d = ctx.saved_tensors
        center, rectified, *rest = ctx.rest
        along = _symmetric(torch.where(x > 0, dx, 0) if rectified else dx, x, factors, center, *rest)
        return along, 2 * (d * along).sum((-2, -1)), (d.sign() * along).sum((-2, -1))


class Apply(_torch.Function):
    """apply(matrix, x, factors, center, rectified, scale, tf32)."""

    @staticmethod
    def forward(
        matrix: Tensor, x: Tensor, factors: Tensor | None, center: bool, rectified: bool, scale: float, tf32: bool
    ) -> Tensor:
        return apply(matrix, x, factors, center, rectified, scale, tf32)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        matrix, x, factors, *ctx.rest = inputs
        _torch.save(ctx, matrix, x, factors)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        matrix, x, factors = ctx.saved_tensors
        center, rectified, *rest = ctx.rest
        if rectified:
            grad = torch.where(x > 0, grad, 0)
        to_matrix = _torch.call(Product, grad, x, factors, center, *rest) if ctx.needs_input_grad[0] else None
        to_x = _torch.call(Apply, matrix.mT, grad, factors, center, False, *rest) if ctx.needs_input_grad[1] else None
        return to_matrix, to_x, *[None] * 5

    @staticmethod
    def tangent(ctx: Any, dmatrix: Tensor | None, dx: Tensor | None, *_: Any) -> Tensor:
        matrix, x, factors = ctx.saved_tensors
        center, rectified, *rest = ctx.rest
        parts = [] if dmatrix is None else [_torch.call(Apply, dmatrix, x, factors, *ctx.rest)]
        if dx is not None:
            along = _torch.call(Apply, matrix, dx, factors, center, False, *rest)
            parts.append(torch.where(x > 0, along, 0) if rectified else along)
        return sum(parts[1:], parts[0])


class Tensors:
    """What gram._Arrays is for arrays."""

    type = Tensor

    @staticmethod
    def plain(x: Any, definition: Any, tf32: bool) -> Tensor | None:
        """Return the Gram matrices of features (B, C, H, W) that need no preparation; None for all others.

        Of a small call the checks of everything else are a good third.
        """
        if (
            type(x) is not Tensor
            or definition is None
            or definition.is_adapted
            or x.dim() != 4
            or x.dtype not in _DTYPES
            or x.numel() == 0
            or not _is_dense(x)
            or _torch.needs_autograd(x)
            or _torch.backend(x) not in _KERNELS
        ):
            return None
        _, channels, height, width = x.shape
        scale = 1 / definition.divisor(1, channels, height * width)
        return _torch.ops().gram_product(x, None, None, False, scale, tf32)

    moveaxis = staticmethod(torch.movedim)
    broadcast_to = staticmethod(torch.broadcast_to)
    contiguous = staticmethod(Tensor.contiguous)

    @staticmethod
    def is_float(x: Tensor) -> bool:
        return x.dtype in _DTYPES

    @staticmethod
    def is_real(x: Tensor) -> bool:
        return x.dtype in _DTYPES or x.dtype in _INTEGERS

    @staticmethod
    def is_dense(x: Tensor) -> bool:
        return _is_dense(x)

    @staticmethod
    def loses_gradient(x: Tensor) -> bool:
        """Tell whether a gradient is asked of what gets none."""
        return x.requires_grad and torch.is_grad_enabled()

    @staticmethod
    def same_device(x: Tensor, y: Tensor) -> bool:
        return x.device == y.device

    @staticmethod
    def eye(like: Tensor) -> Tensor:
        return torch.eye(like.shape[-1], dtype=like.dtype, device=like.device)

    @staticmethod
    def factors(mask: Any, x: Tensor) -> Tensor:
        return mask.detach().to(x.device, _result_dtype(x))

    @staticmethod
    def target(target: Tensor, x: Tensor) -> Tensor:
        flat = target.detach().to(_result_dtype(x))
        return flat.reshape(-1, *flat.shape[-2:]).contiguous()

    @staticmethod
    def product(x: Tensor, y: Tensor | None, factors: Tensor | None, center: bool, scale: float, tf32: bool) -> Tensor:
        if _torch.needs_autograd(x, y):
            return _torch.call(Product, x, y, factors, center, scale, tf32)
        return product(x, y, factors, center, scale, tf32)

    @staticmethod
    def applied(matrix: Tensor, x: Tensor) -> Tensor:
        """Return matrices (B, M, C), contiguous, times features (B, C, H, W)."""
        if _torch.needs_autograd(x, matrix):
            return _torch.call(Apply, matrix, x, None, False, False, 1.0, False)
        return apply(matrix, x, None, False, False, 1.0, False)

    @staticmethod
    def moments(x: Tensor, factors: Tensor | None, scale: float, tf32: bool) -> tuple[Tensor, Tensor]:
        if _torch.needs_autograd(x):
            return _torch.call(Moments, x, factors, scale, tf32)
        return moments(x, factors, scale, tf32)

    @staticmethod
    def differences(
        x: Tensor,
        target: Tensor,
        factors: Tensor | None,
        center: bool,
        rectified: bool,
        scale: float,
        tf32: bool,
    ) -> Sequence[Tensor]:
        if _torch.needs_autograd(x):
            return _torch.call(Difference, x, target, factors, center, rectified, scale, tf32)[1:]
        return difference(x, target, factors, center, scale, tf32)[1].unbind(1)


def _is_dense(x: Tensor) -> bool:
    return x.layout is torch.strided and not x.is_nested and not x.is_meta


# ---- What torch must know of the operators --------------------------------------------------------------------------


def _result_dtype(x: Tensor) -> torch.dtype:
    return torch.float64 if x.dtype == torch.float64 else torch.float32


@torch.library.register_fake("genimg_fast::gram_product")
def _(x, y, factors, center, scale, tf32=False):
    return x.new_empty((x.shape[0], x.shape[1], (x if y is None else y).shape[1]), dtype=_result_dtype(x))


@torch.library.register_fake("genimg_fast::gram_moments")
def _(x, factors, scale, tf32=False):
    covariance = x.new_empty((x.shape[0], x.shape[1], x.shape[1]), dtype=_result_dtype(x))
    return covariance, covariance.new_empty(x.shape[:2])


@torch.library.register_fake("genimg_fast::gram_difference")
def _(x, target, factors, center, scale, tf32=False):
    difference = x.new_empty((x.shape[0], x.shape[1], x.shape[1]), dtype=_result_dtype(x))
    return difference, difference.new_empty((x.shape[0], 2))


@torch.library.register_fake("genimg_fast::gram_apply")
def _(matrix, x, factors, center, rectified, scale, tf32=False):
    return x.new_empty((x.shape[0], matrix.shape[1], *x.shape[2:]))


def _merge_shared(size: int, batch: int, x: Tensor | None, dim: int | None) -> Tensor | None:
    """Make the batch of a vmap a part of the first axis of what may be one for the whole batch: factors, targets."""
    if x is None:
        return None
    if dim is None and x.shape[0] == 1:
        return x
    x = x.unsqueeze(0) if dim is None else x.movedim(dim, 0)
    return x.expand(size, batch, *x.shape[2:]).flatten(0, 1).contiguous()


def _batch(x: Tensor, dim: int | None) -> int:
    return x.shape[0 if dim is None else int(dim == 0)]


@_torch.vmap_rule("genimg_fast::gram_product")
def _(info, in_dims, x, y, factors, center, scale, tf32=False):
    size, batch = info.batch_size, _batch(x, in_dims[0])
    factors = _merge_shared(size, batch, factors, in_dims[2])
    x = _torch.join_batch(size, x, in_dims[0])
    y = None if y is None else _torch.join_batch(size, y, in_dims[1])
    return torch.ops.genimg_fast.gram_product(x, y, factors, center, scale, tf32).unflatten(0, (size, batch)), 0


@_torch.vmap_rule("genimg_fast::gram_moments")
def _(info, in_dims, x, factors, scale, tf32=False):
    size, batch = info.batch_size, _batch(x, in_dims[0])
    factors = _merge_shared(size, batch, factors, in_dims[1])
    pair = torch.ops.genimg_fast.gram_moments(_torch.join_batch(size, x, in_dims[0]), factors, scale, tf32)
    return tuple(z.unflatten(0, (size, batch)) for z in pair), (0, 0)


@_torch.vmap_rule("genimg_fast::gram_difference")
def _(info, in_dims, x, target, factors, center, scale, tf32=False):
    size, batch = info.batch_size, _batch(x, in_dims[0])
    target, factors = (_merge_shared(size, batch, z, dim) for z, dim in ((target, in_dims[1]), (factors, in_dims[2])))
    x = _torch.join_batch(size, x, in_dims[0])
    pair = torch.ops.genimg_fast.gram_difference(x, target, factors, center, scale, tf32)
    return tuple(z.unflatten(0, (size, batch)) for z in pair), (0, 0)


@_torch.vmap_rule("genimg_fast::gram_apply")
def _(info, in_dims, matrix, x, factors, center, rectified, scale, tf32=False):
    size, batch = info.batch_size, _batch(x, in_dims[1])
    factors = _merge_shared(size, batch, factors, in_dims[2])
    matrix, x = _torch.join_batch(size, matrix, in_dims[0]), _torch.join_batch(size, x, in_dims[1])
    out = torch.ops.genimg_fast.gram_apply(matrix.contiguous(), x, factors, center, rectified, scale, tf32)
    return out.unflatten(0, (size, batch)), 0
