"""The spatial pyramid's maps on tensors: two operators, each other's gradient."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
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
        coefficients = _analysis(
            _Map(tuple(positions), (x.shape[-2], x.shape[-1]), (order, levels, edge), False), image
        )
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
        image = _synthesis(_Map(tuple(positions), shape, (order, levels, edge), False), given)
    return image.to(dtype)


@dataclass(frozen=True)
class _Map:
    """Some coefficients of images of a shape; the adjoint of the reconstruction is an analysis too, and the reverse."""

    positions: tuple[int, ...]
    shape: tuple[int, int]
    filters: tuple[int, int, int]  # order, levels, edge
    adjoint: bool

    def turned(self) -> _Map:
        return replace(self, adjoint=not self.adjoint)

    def only(self, wanted: Sequence[bool]) -> _Map:
        """Return the map of the coefficients for which ``wanted`` is True."""
        kept = [position for position, keep in zip(self.positions, wanted, strict=True) if keep]
        return replace(self, positions=tuple(kept))


def _run_analysis(m: _Map, image: torch.Tensor) -> Sequence[torch.Tensor]:
    return _ops().space_analysis(image, m.positions, *m.filters, m.adjoint)


def _run_synthesis(m: _Map, coefficients: Sequence[torch.Tensor]) -> torch.Tensor:
    return _ops().space_synthesis(list(coefficients), m.positions, *m.shape, *m.filters, m.adjoint)


def _analysis(m: _Map, image: torch.Tensor) -> Sequence[torch.Tensor]:
    return _torch.call(_Analysis, m, image) if _torch.needs_autograd(image) else _run_analysis(m, image)


def _synthesis(m: _Map, coefficients: Sequence[torch.Tensor]) -> torch.Tensor:
    if _torch.needs_autograd(*coefficients):
        return _torch.call(_Synthesis, m, *coefficients)
    return _run_synthesis(m, coefficients)


# All maps are linear: the gradient of one is the other operator's adjoint, which has a gradient in turn.


class _Analysis(_torch.Function):
    @staticmethod
    def forward(m: _Map, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(_run_analysis(m, image))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.m = inputs[0]

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[Any, ...]:
        return None, _synthesis(ctx.m.turned(), grads)

    @staticmethod
    def tangent(ctx: Any, _: Any, along: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(_analysis(ctx.m, along))


class _Synthesis(_torch.Function):
    @staticmethod
    def forward(m: _Map, *coefficients: torch.Tensor) -> torch.Tensor:
        return _run_synthesis(m, coefficients)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.m = inputs[0]

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[Any, ...]:
        needed = ctx.needs_input_grad[1:]
        made = iter(_analysis(ctx.m.turned().only(needed), grad))
        return None, *(next(made) if need else None for need in needed)

    @staticmethod
    def tangent(ctx: Any, _: Any, *tangents: torch.Tensor | None) -> torch.Tensor:
        used = ctx.m.only([tangent is not None for tangent in tangents])
        return _synthesis(used, [tangent for tangent in tangents if tangent is not None])


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
