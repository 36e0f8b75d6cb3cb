"""The multi-view operators on tensors: which kernel runs, what torch must know of it, its derivatives."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import torch

from genimg_fast import _torch, reference
from genimg_fast._core import backend as check
from genimg_fast.multiview import Averaging, _outputs, stepped_from
from genimg_fast.views import Views

Tensor = torch.Tensor

# What has kernels; elsewhere the lines of reference.py serve.
_KERNELS = ("cpu", "cuda")
_DTYPES = frozenset((torch.float16, torch.bfloat16, torch.float32, torch.float64))


def apply(x: Tensor, rows: Tensor, tables: Tensor, copies: int, factors: Tensor | None) -> Tensor:
    if _torch.backend(x) in _KERNELS:
        return _torch.ops().multiview_apply(x.contiguous(), rows, tables, copies, factors)
    return reference.multiview_apply(x, rows, tables, copies, factors)


def reduce(
    prediction: Tensor, rows: Tensor, tables: Tensor, weights: Tensor, guided: bool, channels: int
) -> tuple[Tensor, Tensor]:
    if _torch.backend(prediction) in _KERNELS:
        return _torch.ops().multiview_reduce(prediction.contiguous(), rows, tables, weights, guided, channels)
    return reference.multiview_reduce(prediction, rows, tables, weights, guided, channels)


# Views are orthogonal, so each of the two is the other's adjoint, with other factors.


class Apply(_torch.Function):
    """apply(x, forward rows and tables, inverse rows and tables, copies, factors)."""

    @staticmethod
    def forward(
        x: Tensor,
        rows: Tensor,
        tables: Tensor,
        inverse_rows: Tensor,
        inverse_tables: Tensor,
        copies: int,
        factors: Tensor | None,
    ) -> Tensor:
        return apply(x, rows, tables, copies, factors)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        x, *plans, ctx.copies, factors = inputs
        ctx.channels = x.shape[1]
        _torch.save(ctx, *plans, factors)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        *plans, factors = ctx.saved_tensors
        plan, inverse = plans[:2], plans[2:]
        views = len(plan[0])
        factors = torch.ones(ctx.copies, views, dtype=torch.float64) if factors is None else factors
        total: Any = None
        for part, weights in zip(grad.chunk(ctx.copies), factors.reshape(ctx.copies, views), strict=True):
            table = torch.stack([weights, weights, weights])
            one = _torch.call(Reduce, part, *inverse, *plan, table, False, ctx.channels)[0]
            total = one if total is None else total + one
        return total, *[None] * 6

    @staticmethod
    def tangent(ctx: Any, dx: Tensor, *_: Any) -> Tensor:
        *plans, factors = ctx.saved_tensors
        return _torch.call(Apply, dx, *plans, ctx.copies, factors)


class Reduce(_torch.Function):
    """reduce(prediction, inverse rows and tables, forward rows and tables, weights, guided, channels)."""

    @staticmethod
    def forward(
        prediction: Tensor,
        rows: Tensor,
        tables: Tensor,
        forward_rows: Tensor,
        forward_tables: Tensor,
        weights: Tensor,
        guided: bool,
        channels: int,
    ) -> tuple[Tensor, Tensor]:
        return reduce(prediction, rows, tables, weights, guided, channels)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        prediction, *tensors, ctx.guided, ctx.channels = inputs
        ctx.has_variance = prediction.shape[1] > ctx.channels
        _torch.save(ctx, *tensors)

    @staticmethod
    def backward(ctx: Any, to_noise: Tensor, to_variance: Tensor) -> tuple[Any, ...]:
        *plan, rows, tables, table = ctx.saved_tensors
        guidance, weights, variance_weights = table
        shares = torch.stack([(1 - guidance) * weights, guidance * weights]) if ctx.guided else weights[None]
        to_prediction = _torch.call(Apply, to_noise, rows, tables, *plan, 1 + ctx.guided, shares)
        if ctx.has_variance:
            # The only negative entries of the tables are signs of channels, which variances do not take.
            conditional = (
                torch.stack([0 * variance_weights, variance_weights]) if ctx.guided else variance_weights[None]
            )
            unsigned = (rows, tables.abs(), plan[0], plan[1].abs())
            part = _torch.call(Apply, to_variance, *unsigned, 1 + ctx.guided, conditional)
            to_prediction = torch.cat([to_prediction, part], 1)
        return to_prediction, *[None] * 7

    @staticmethod
    def tangent(ctx: Any, along: Tensor, *_: Any) -> tuple[Tensor, Tensor]:
        return _torch.call(Reduce, along, *ctx.saved_tensors, ctx.guided, ctx.channels)


@functools.lru_cache(maxsize=1024)
def _known_numbers(values: Any) -> Tensor:
    with _torch.for_keeps():
        return torch.tensor(values, dtype=torch.float64)


def _numbers(values: Any) -> Tensor:
    if torch.compiler.is_compiling():
        return torch.tensor(values, dtype=torch.float64)
    return _known_numbers(values)


def _predictions(
    prediction: Tensor, plans: tuple[Tensor, ...], table: Averaging, guided: bool, x: Tensor
) -> list[tuple[Tensor, Tensor]]:
    """Return each view's guided prediction and variance in the picture's own place; differentiable."""
    real = prediction if prediction.dtype == torch.float64 else prediction.float()
    views = range(len(plans[0]))
    alone = [tuple(float(i == j) for j in views) for i in views]
    return [
        _torch.call(Reduce, real.contiguous(), *plans, _numbers((table[0], one, one)), guided, x.shape[1])
        for one in alone
    ]


class Tensors:
    """What multiview._Arrays is for arrays."""

    type = Tensor
    contiguous = staticmethod(Tensor.contiguous)
    concatenate = staticmethod(torch.cat)

    @staticmethod
    def is_float(x: Tensor) -> bool:
        return x.dtype in _DTYPES

    @staticmethod
    def is_dense(x: Tensor) -> bool:
        return x.layout is torch.strided and not x.is_nested and not x.is_meta

    @staticmethod
    def copy_into(out: Tensor, x: Tensor) -> Tensor:
        return out.copy_(x)

    @staticmethod
    def apart(x: Tensor, *outs: Tensor | None) -> Tensor:
        """Return x, or a copy where it lies under an output."""
        return x.clone() if any(out is not None and check.overlap(x, out) for out in outs) else x

    @staticmethod
    def scales(numbers: Sequence[float], x: Tensor) -> Tensor:
        return torch.tensor(numbers, dtype=x.dtype, device=x.device).reshape(-1, 1, 1, 1, 1)

    @staticmethod
    def replace(stack: Tensor, parts: dict[int, Tensor], axis: int) -> Tensor:
        views = list(stack.unbind(axis))
        for i, part in parts.items():
            views[i] = part.expand_as(views[i])
        return torch.stack(views, axis)

    @staticmethod
    def output(function: str, name: str, out: Any, like: Tensor, shape: tuple[int, ...]) -> Tensor:
        check.writable(function, name, out)
        if (
            not isinstance(out, Tensor)
            or tuple(out.shape) != tuple(shape)
            or out.dtype != like.dtype
            or out.device != like.device
            or not out.is_contiguous()
        ):
            raise ValueError(
                f"{function}: {name} must be a contiguous tensor of shape {tuple(shape)}, dtype {like.dtype} and "
                f"device {like.device}, got {tuple(out.shape)}, {out.dtype} and {getattr(out, 'device', None)}"
            )
        if _torch.needs_autograd(like):
            raise ValueError(f"{function}: {name} cannot be given where a gradient is needed")
        return out

    @classmethod
    def outputs(cls, function: str, out: Any, like: Tensor, shape: tuple[int, ...], has_variance: bool) -> Any:
        return _outputs(cls, function, out, like, shape, has_variance)

    @staticmethod
    def apply(x: Tensor, views: Views, copies: int, out: Tensor | None) -> Tensor:
        forward, inverse = views.on(x.device)
        if _torch.needs_autograd(x):
            return _torch.call(Apply, x, *forward, *inverse, copies, None)
        if out is None:
            return apply(x, *forward, copies, None)
        if _torch.backend(x) in _KERNELS:
            _torch.ops().multiview_apply_out(x.contiguous(), *forward, copies, None, out)
            return out
        return out.copy_(reference.multiview_apply(x, *forward, copies, None))

    @staticmethod
    def reduce(
        prediction: Tensor, views: Views, table: Averaging, guided: bool, channels: int, outs: Any
    ) -> tuple[Tensor, Tensor]:
        forward, inverse = views.on(prediction.device)
        weights = _numbers(table)
        if _torch.needs_autograd(prediction):
            return _torch.call(Reduce, prediction, *inverse, *forward, weights, guided, channels)
        if outs is None:
            return reduce(prediction, *inverse, weights, guided, channels)
        if _torch.backend(prediction) in _KERNELS:
            _torch.ops().multiview_reduce_out(prediction, *inverse, weights, guided, *outs)
            return outs
        for out, result in zip(
            outs, reference.multiview_reduce(prediction, *inverse, weights, guided, channels), strict=True
        ):
            if out is not None:
                out.copy_(result)
        return outs

    @classmethod
    def step(
        cls,
        x: Tensor,
        prediction: Tensor,
        noise: Tensor | None,
        views: Views,
        table: Averaging,
        guided: bool,
        coefficients: tuple[float, ...],
        average: int,
        out: Tensor | None,
    ) -> Tensor:
        forward, inverse = views.on(x.device)
        table_numbers = _numbers(table)
        if out is not None:
            out = cls.output("MultiViewStep.step", "out", out, x, x.shape)
            x, prediction, noise = stepped_from(cls, out, x, prediction, noise)
        if _torch.backend(x) not in _KERNELS or _torch.needs_autograd(x, prediction, noise):
            plans = (*inverse, *forward)
            m, v = (torch.stack(one) for one in zip(*_predictions(prediction, plans, table, guided, x), strict=True))
            v = v if prediction.shape[1] > x.shape[1] else m[:, :, :0]
            result = reference.multiview_after(x, m, v, noise, table_numbers, coefficients, average)
            return result if out is None else out.copy_(result)
        numbers = (table_numbers, guided, _numbers(coefficients), average)
        tensors = (x.contiguous(), prediction.contiguous(), None if noise is None else noise.contiguous())
        if out is None:
            return _torch.ops().multiview_step(*tensors, *inverse, *numbers)
        _torch.ops().multiview_step_out(*tensors, *inverse, *numbers, out)
        return out

    @staticmethod
    def normal(generator: Any, like: Tensor) -> Tensor:
        """Return normal noise; a generator of another device makes it there."""
        device = like.device if generator is None else generator.device
        return torch.randn(like.shape, generator=generator, dtype=like.dtype, device=device).to(like.device)

    @staticmethod
    def same(x: Tensor, like: Tensor) -> Tensor:
        return x.to(like)


# ---- What torch must know of the operators --------------------------------------------------------------------------


@torch.library.register_fake("genimg_fast::multiview_apply")
def _(x, rows, tables, copies, factors):
    return x.new_empty((copies * rows.shape[0] * x.shape[0], *x.shape[1:]))


@torch.library.register_fake("genimg_fast::multiview_apply_out")
def _(x, rows, tables, copies, factors, out):
    return None


@torch.library.register_fake("genimg_fast::multiview_reduce")
def _(prediction, rows, tables, weights, guided, channels):
    images = prediction.shape[0] // (rows.shape[0] * (1 + guided))
    has_variance = prediction.shape[1] > channels
    noise = prediction.new_empty((images, channels, *prediction.shape[2:]))
    return noise, prediction.new_empty((images if has_variance else 0, channels, *prediction.shape[2:]))


@torch.library.register_fake("genimg_fast::multiview_reduce_out")
def _(prediction, rows, tables, weights, guided, noise, variance):
    return None


@torch.library.register_fake("genimg_fast::multiview_step")
def _(x, prediction, noise, rows, tables, weights, guided, coefficients, average):
    return torch.empty_like(x)


@torch.library.register_fake("genimg_fast::multiview_step_out")
def _(x, prediction, noise, rows, tables, weights, guided, coefficients, average, out):
    return None


def _only_first(name: str, in_dims: tuple[Any, ...]) -> None:
    if any(dim is not None for dim in in_dims[1:]):
        raise NotImplementedError(f"{name}: vmap over views, weights or factors is not supported")


@_torch.vmap_rule("genimg_fast::multiview_apply")
def _(info, in_dims, x, rows, tables, copies, factors):
    _only_first("apply_views", in_dims)
    x = x.movedim(in_dims[0], 0)
    size, batch = x.shape[:2]
    stack = torch.ops.genimg_fast.multiview_apply(x.flatten(0, 1).contiguous(), rows, tables, copies, factors)
    return stack.unflatten(0, (-1, size, batch)).movedim(1, 0).flatten(1, 2), 0


@_torch.vmap_rule("genimg_fast::multiview_reduce")
def _(info, in_dims, prediction, rows, tables, weights, guided, channels):
    _only_first("reduce_views", in_dims)
    prediction = prediction.movedim(in_dims[0], 0)
    size, views = prediction.shape[0], rows.shape[0] * (1 + guided)
    stack = prediction.unflatten(1, (views, -1)).movedim(1, 0).flatten(0, 2).contiguous()
    pair = torch.ops.genimg_fast.multiview_reduce(stack, rows, tables, weights, guided, channels)
    return tuple(one.unflatten(0, (size, -1)) if len(one) else one.expand(size, *one.shape) for one in pair), (0, 0)
