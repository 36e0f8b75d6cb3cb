"""The spatial pyramid's maps on tensors: two operators, each other's gradient."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from genimg_fast import _torch, reference

_KERNEL_DTYPE = {
    torch.float16: torch.float32,
    torch.bfloat16: torch.float32,
    torch.float32: torch.float32,
    torch.float64: torch.float64,
}


def check_dtype(name: str, x: torch.Tensor) -> None:
    if x.dtype not in _KERNEL_DTYPE:
        raise TypeError(f"{name} must be float16, bfloat16, float32 or float64, got {x.dtype}")


def analysis(x: torch.Tensor, positions: Sequence[int], order: int, levels: int, edge: int) -> Sequence[torch.Tensor]:
    image = x.to(_KERNEL_DTYPE[x.dtype])
    if _torch.backend(x) == "reference":
        coefficients: Sequence[torch.Tensor] = reference.space_analysis(image, order, levels, edge)
    else:
        coefficients = _analysis(image, tuple(positions), order, levels, edge, False)
    return [c.to(x.dtype) for c in coefficients]


def synthesis(
    coefficients: Sequence[torch.Tensor],
    positions: Sequence[int],
    shape: tuple[int, int],
    order: int,
    levels: int,
    edge: int,
) -> torch.Tensor:
    dtype = coefficients[0].dtype
    given = [c.to(_KERNEL_DTYPE[dtype]) for c in coefficients]
    if _torch.backend(coefficients[0]) == "reference":
        image = reference.space_synthesis(dict(zip(positions, given, strict=True)), shape, order, levels, edge)
    else:
        image = _synthesis(given, tuple(positions), shape, order, levels, edge, False)
    return image.to(dtype)


def _analysis(
    image: torch.Tensor, positions: Sequence[int], order: int, levels: int, edge: int, adjoint: bool
) -> Sequence[torch.Tensor]:
    arguments = (positions, order, levels, edge, adjoint)
    if _torch.needs_autograd(image):
        return _torch.call(_Analysis, image, *arguments)
    return _ops().space_analysis(image, *arguments)


def _synthesis(
    coefficients: Sequence[torch.Tensor],
    positions: Sequence[int],
    shape: tuple[int, int],
    order: int,
    levels: int,
    edge: int,
    adjoint: bool,
) -> torch.Tensor:
    arguments = (*shape, order, levels, edge, adjoint)
    if _torch.needs_autograd(*coefficients):
        return _torch.call(_Synthesis, positions, *arguments, *coefficients)
    return _ops().space_synthesis(list(coefficients), positions, *arguments)


# All maps are linear: the gradient of one is the other operator's adjoint, which has a gradient in turn.


class _Analysis(_torch.Function):
    @staticmethod
    def forward(
        image: torch.Tensor, positions: Sequence[int], order: int, levels: int, edge: int, adjoint: bool
    ) -> tuple[torch.Tensor, ...]:
        return tuple(_ops().space_analysis(image, positions, order, levels, edge, adjoint))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.shape = tuple(inputs[0].shape[-2:])
        ctx.arguments = inputs[1:]

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[Any, ...]:
        positions, order, levels, edge, adjoint = ctx.arguments
        return _synthesis(grads, positions, ctx.shape, order, levels, edge, not adjoint), *(None,) * 5

    @staticmethod
    def tangent(ctx: Any, along: torch.Tensor, *_: Any) -> tuple[torch.Tensor, ...]:
        return tuple(_analysis(along, *ctx.arguments))


class _Synthesis(_torch.Function):
    @staticmethod
    def forward(
        positions: Sequence[int],
        height: int,
        width: int,
        order: int,
        levels: int,
        edge: int,
        adjoint: bool,
        *coefficients: torch.Tensor,
    ) -> torch.Tensor:
        arguments = (height, width, order, levels, edge, adjoint)
        return _ops().space_synthesis(list(coefficients), positions, *arguments)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.arguments = inputs[:7]

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[Any, ...]:
        positions, _, _, order, levels, edge, adjoint = ctx.arguments
        wanted = [i for i in range(len(positions)) if ctx.needs_input_grad[7 + i]]
        made = _analysis(grads[0], tuple(positions[i] for i in wanted), order, levels, edge, not adjoint)
        out: list[torch.Tensor | None] = [None] * len(positions)
        for i, grad in zip(wanted, made, strict=True):
            out[i] = grad
        return *(None,) * 7, *out

    @staticmethod
    def tangent(ctx: Any, *tangents: Any) -> torch.Tensor:
        positions, height, width, *arguments = ctx.arguments
        given = [(position, c) for position, c in zip(positions, tangents[7:], strict=True) if c is not None]
        chosen, along = zip(*given, strict=True)
        return _synthesis(along, chosen, (height, width), *arguments)


def _size(shape: Sequence[int], position: int, order: int, levels: int) -> tuple[int, int]:
    scale = 0 if position == 0 else (position - 1) // (order + 1)
    step = 2**scale
    return (shape[-2] + step - 1) // step, (shape[-1] + step - 1) // step


def _analysis_shapes(
    image: torch.Tensor, positions: Sequence[int], order: int, levels: int, edge: int, adjoint: bool
) -> list[torch.Tensor]:
    return [image.new_empty((*image.shape[:-2], *_size(image.shape, p, order, levels))) for p in positions]


def _synthesis_shapes(
    coefficients: Sequence[torch.Tensor],
    positions: Sequence[int],
    height: int,
    width: int,
    order: int,
    levels: int,
    edge: int,
    adjoint: bool,
) -> torch.Tensor:
    return coefficients[0].new_empty((*coefficients[0].shape[:-2], height, width))


def _batched_analysis(op: Any) -> Any:
    def rule(info: Any, in_dims: Sequence[Any], image: torch.Tensor, *arguments: Any) -> tuple[Any, Any]:
        out = op(image.movedim(in_dims[0], 0), *arguments)
        return out, [0] * len(out)

    return rule


def _batched_synthesis(op: Any) -> Any:
    def rule(
        info: Any, in_dims: Sequence[Any], coefficients: Sequence[torch.Tensor], *arguments: Any
    ) -> tuple[Any, int]:
        batched = [
            c.expand(info.batch_size, *c.shape) if dim is None else c.movedim(dim, 0)
            for c, dim in zip(coefficients, in_dims[0], strict=True)
        ]
        return op(batched, *arguments), 0

    return rule


_registered: set[str] = set()


def _register(ops: Any) -> None:
    """Tell torch the shapes and vmap rules of the operators in a namespace."""
    _registered.add(ops.name)
    for op, fake, batched in (
        (ops.space_analysis.default, _analysis_shapes, _batched_analysis),
        (ops.space_synthesis.default, _synthesis_shapes, _batched_synthesis),
    ):
        name = op.name().removesuffix(".default")
        torch.library.register_fake(name, fake)
        _torch.register_vmap(name, batched(op))


def _ops() -> Any:
    ops = _torch.ops()
    if ops.name not in _registered:
        _register(ops)
    return ops


_register(torch.ops.genimg_fast)
