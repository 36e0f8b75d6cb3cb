"""The Gram operators on tensors: which kernel runs, what torch must know of it, its derivatives."""

from __future__ import annotations

from typing import Any

import torch

from genimg_fast import _torch, reference

Tensor = torch.Tensor


def product(x: Tensor, y: Tensor | None, factors: Tensor | None, center: bool, scale: float) -> Tensor:
    if _torch.backend(x) == "cpu":
        return _torch.ops().gram_product(x, y, factors, center, scale)[0]
    return reference.gram_product(x, y, factors, center, scale)[0]


def apply(matrix: Tensor, x: Tensor, factors: Tensor | None, center: bool, rectified: bool, scale: float) -> Tensor:
    if _torch.backend(x) == "cpu":
        x32 = x if x.dtype == torch.float64 else x.float()
        return _torch.ops().gram_apply(matrix.contiguous(), x32, factors, center, rectified, scale).to(x.dtype)
    return reference.gram_apply(matrix, x, factors, center, rectified, scale).to(x.dtype)


# G = s sum f^2 (x - m) (y - n)^T is linear in each of x and y; the means drop out of the derivative, because centred
# features sum to 0. So each derivative, of any order, is a product or an application again.


class Product(torch.autograd.Function):
    """product(x, y, factors, center, scale); rectified: the gradient to x is 0 where x is not positive."""

    generate_vmap_rule = True

    @staticmethod
    def forward(
        x: Tensor, y: Tensor | None, factors: Tensor | None, center: bool, rectified: bool, scale: float
    ) -> Tensor:
        return product(x, y, factors, center, scale)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        x, y, factors, *ctx.rest = inputs
        ctx.save_for_backward(x, y, factors)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        x, y, factors = ctx.saved_tensors
        if y is None:
            return Apply.apply(grad + grad.mT, x, factors, *ctx.rest), *[None] * 5
        center, _, scale = ctx.rest
        to_x = Apply.apply(grad, y, factors, center, False, scale) if ctx.needs_input_grad[0] else None
        to_y = Apply.apply(grad.mT, x, factors, center, False, scale) if ctx.needs_input_grad[1] else None
        return to_x, to_y, *[None] * 4


class Apply(torch.autograd.Function):
    """apply(matrix, x, factors, center, rectified, scale)."""

    generate_vmap_rule = True

    @staticmethod
    def forward(
        matrix: Tensor, x: Tensor, factors: Tensor | None, center: bool, rectified: bool, scale: float
    ) -> Tensor:
        return apply(matrix, x, factors, center, rectified, scale)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        matrix, x, factors, *ctx.rest = inputs
        ctx.save_for_backward(matrix, x, factors)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        matrix, x, factors = ctx.saved_tensors
        center, rectified, scale = ctx.rest
        if rectified:
            grad = torch.where(x > 0, grad, 0)
        to_matrix = Product.apply(grad, x, factors, center, False, scale) if ctx.needs_input_grad[0] else None
        to_x = Apply.apply(matrix.mT, grad, factors, center, False, scale) if ctx.needs_input_grad[1] else None
        return to_matrix, to_x, *[None] * 4


class Tensors:
    """What gram._Arrays is for arrays."""

    moveaxis = staticmethod(torch.movedim)
    broadcast_to = staticmethod(torch.broadcast_to)
    contiguous = staticmethod(Tensor.contiguous)
    detach = staticmethod(Tensor.detach)

    @staticmethod
    def is_float(x: Tensor) -> bool:
        return x.is_floating_point()

    @staticmethod
    def same_device(x: Tensor, y: Tensor) -> bool:
        return x.device == y.device

    @staticmethod
    def eye(like: Tensor) -> Tensor:
        return torch.eye(like.shape[-1], dtype=like.dtype, device=like.device)

    @staticmethod
    def factors(mask: Any, x: Tensor) -> Tensor:
        dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
        return torch.as_tensor(mask, dtype=dtype, device=x.device).detach()

    @staticmethod
    def product(
        x: Tensor, y: Tensor | None, factors: Tensor | None, center: bool, rectified: bool, scale: float
    ) -> Tensor:
        if torch.is_grad_enabled() and (x.requires_grad or (y is not None and y.requires_grad)):
            return Product.apply(x, y, factors, center, rectified, scale)
        if torch._C._functorch.maybe_current_level() is not None:
            return Product.apply(x, y, factors, center, rectified, scale)
        return product(x, y, factors, center, scale)


# ---- What torch must know of the operators --------------------------------------------------------------------------


def _result_dtype(x: Tensor) -> torch.dtype:
    return torch.float64 if x.dtype == torch.float64 else torch.float32


@torch.library.register_fake("genimg_fast::gram_product")
def _(x, y, factors, center, scale):
    gram = x.new_empty((x.shape[0], x.shape[1], (x if y is None else y).shape[1]), dtype=_result_dtype(x))
    return gram, gram.new_empty((x.shape[0] if center else 0, x.shape[1]))


@torch.library.register_fake("genimg_fast::gram_apply")
def _(matrix, x, factors, center, rectified, scale):
    return x.new_empty((x.shape[0], matrix.shape[1], *x.shape[2:]))


def _merge(size: int, x: Tensor | None, dim: int | None) -> Tensor | None:
    """Make the batch of a vmap a part of the first axis."""
    if x is None:
        return None
    x = x.unsqueeze(0).expand(size, *x.shape) if dim is None else x.movedim(dim, 0)
    return x.flatten(0, 1)


def _merge_factors(size: int, batch: int, factors: Tensor | None, dim: int | None) -> Tensor | None:
    if factors is None:
        return None
    if dim is None and factors.shape[0] == 1:
        return factors
    factors = factors.unsqueeze(0) if dim is None else factors.movedim(dim, 0)
    return factors.expand(size, batch, *factors.shape[2:]).flatten(0, 1).contiguous()


@torch.library.register_vmap("genimg_fast::gram_product")
def _(info, in_dims, x, y, factors, center, scale):
    size = info.batch_size
    batch = x.shape[0 if in_dims[0] is None else int(in_dims[0] == 0)]
    factors = _merge_factors(size, batch, factors, in_dims[2])
    gram, means = torch.ops.genimg_fast.gram_product(
        _merge(size, x, in_dims[0]), _merge(size, y, in_dims[1]), factors, center, scale
    )
    return (gram.unflatten(0, (size, batch)), means.reshape(size, batch if center else 0, gram.shape[1])), (0, 0)


@torch.library.register_vmap("genimg_fast::gram_apply")
def _(info, in_dims, matrix, x, factors, center, rectified, scale):
    size = info.batch_size
    batch = x.shape[0 if in_dims[1] is None else int(in_dims[1] == 0)]
    factors = _merge_factors(size, batch, factors, in_dims[2])
    matrix, x = _merge(size, matrix, in_dims[0]), _merge(size, x, in_dims[1])
    out = torch.ops.genimg_fast.gram_apply(matrix.contiguous(), x, factors, center, rectified, scale)
    return out.unflatten(0, (size, batch)), 0
