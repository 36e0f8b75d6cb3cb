"""The frequency-domain pyramid on tensors: operators, their shapes, vmap and gradients."""

from __future__ import annotations

import dataclasses
import functools
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import fft

from genimg_fast import _torch, reference
from genimg_fast.steerable import _freq_map
from genimg_fast.steerable._freq_map import FreqMap

__all__ = ["fft"]

KIND = "tensors"
REAL = "float16, bfloat16, float32 or float64"
COMPLEX = "complex64 or complex128"

_this_door = sys.modules[__name__]


def _ops() -> Any:
    ops = _torch.ops()
    if ops.name not in _registered:
        _register(ops)
    return ops


def fused_analysis(image: torch.Tensor, *arguments: Any) -> list[torch.Tensor]:
    return _ops().steerable_freq_analysis.default(image, *arguments)


def fused_synthesis(coefficients: Sequence[torch.Tensor], *arguments: Any) -> torch.Tensor:
    return _ops().steerable_freq_synthesis.default(coefficients, *arguments)


def analysis_masks(spectrum: torch.Tensor, *arguments: Any) -> list[torch.Tensor]:
    return _ops().steerable_freq_analysis_masks.default(spectrum, *arguments)


def synthesis_masks(spectra: Sequence[torch.Tensor], *arguments: Any) -> torch.Tensor:
    return _ops().steerable_freq_synthesis_masks.default(spectra, *arguments)


def einsum(equation: str, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return _torch.full_precision(lambda one: torch.einsum(equation, one, y), x)


def join(real: torch.Tensor, imaginary: torch.Tensor) -> torch.Tensor:
    return torch.complex(real, imaginary)


def split(x: torch.Tensor) -> torch.Tensor:
    """Return real and imaginary parts along a new axis before the last two."""
    return torch.stack([x.real, x.imag], -3)


def is_plain(x: torch.Tensor) -> bool:
    """Tell whether kernels and transforms can read x as it is."""
    return x.layout is torch.strided and not x.is_nested and not x.is_meta


def is_real(x: torch.Tensor) -> bool:
    return x.dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def is_complex(x: torch.Tensor) -> bool:
    return x.dtype in (torch.complex64, torch.complex128)


def is_double(x: torch.Tensor) -> bool:
    return x.dtype in (torch.float64, torch.complex128)


def working(x: torch.Tensor, double: bool) -> torch.Tensor:
    """Return x in the precision that the kernels compute in."""
    if is_complex(x):
        return cast(x, torch.complex128 if double else torch.complex64)
    return cast(x, torch.float64 if double else torch.float32)


def cast(x: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    return x if x.dtype == dtype else x.to(dtype)


def real_dtype(tensors: Sequence[torch.Tensor]) -> torch.dtype:
    dtypes = {x.real.dtype for x in tensors}
    return functools.reduce(torch.promote_types, dtypes)


def zeros(shape: tuple[int, ...], dtype: torch.dtype, like: torch.Tensor) -> torch.Tensor:
    return torch.zeros(shape, dtype=dtype, device=like.device)


def constant(values: np.ndarray, like: torch.Tensor) -> torch.Tensor:
    """Return values in the dtype of ``like``, on its device."""
    return torch.from_numpy(values).to(like.device, like.dtype)


def concatenate(tensors: Sequence[torch.Tensor], axis: int) -> torch.Tensor:
    return torch.cat(list(tensors), axis)


def device(x: torch.Tensor) -> torch.device:
    return x.device


# ---------------------------------------------------------------------------------------------------------------------
# The maps and their derivatives
# ---------------------------------------------------------------------------------------------------------------------


def _served(m: FreqMap, backend: str) -> FreqMap:
    """Return the map as a backend can do it: only the CPU has transforms of its own."""
    return dataclasses.replace(m, fused=False) if m.fused and backend != "cpu" else m


def _run_analysis(m: FreqMap, image: torch.Tensor) -> list[torch.Tensor]:
    backend = _torch.backend(image)
    if backend == "reference":
        return reference.steerable_freq_analysis(image, *m.arguments)
    return _freq_map.analysis(_served(m, backend), image, _this_door)


def _run_synthesis(m: FreqMap, coefficients: Sequence[torch.Tensor]) -> torch.Tensor:
    backend = _torch.backend(coefficients[0])
    if backend == "reference":
        if m.real_part:
            m, coefficients = m.of_real_part(), [c.real for c in coefficients]
        return reference.steerable_freq_synthesis(coefficients, *m.arguments)
    return _freq_map.synthesis(_served(m, backend), coefficients, _this_door)


class _Analysis(_torch.Function):
    """Linear: its derivative is itself, its gradient the synthesis with the same map."""

    @staticmethod
    def forward(m: FreqMap, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(_run_analysis(m, image))

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.m = inputs[0]
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor | None) -> tuple[Any, ...]:
        used = ctx.m.only([grad is not None for grad in grads])
        given = [grad for grad in grads if grad is not None]
        return None, synthesis(used, given) if given else None

    @staticmethod
    def tangent(ctx: Any, _: Any, along: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(analysis(ctx.m, along))


class _Synthesis(_torch.Function):
    @staticmethod
    def forward(m: FreqMap, *coefficients: torch.Tensor) -> torch.Tensor:
        return _run_synthesis(m, coefficients)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.m = inputs[0]

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[Any, ...]:
        needed = ctx.needs_input_grad[1:]
        used = ctx.m.only(needed)
        grads = iter(_gradient_of_synthesis(used, grad))
        return None, *(next(grads) if need else None for need in needed)

    @staticmethod
    def tangent(ctx: Any, _: Any, *tangents: torch.Tensor | None) -> torch.Tensor:
        used = ctx.m.only([tangent is not None for tangent in tangents])
        return synthesis(used, [tangent for tangent in tangents if tangent is not None])


def _gradient_of_synthesis(m: FreqMap, grad: torch.Tensor) -> Sequence[torch.Tensor]:
    if not m.real_part:
        return analysis(m, grad)
    # The imaginary parts of the bands have no influence.
    grads = analysis(m.of_real_part(), grad)
    return [
        torch.complex(g, torch.zeros_like(g)) if m.is_band(k) else g for k, g in zip(m.wanted(), grads, strict=True)
    ]


def analysis(m: FreqMap, image: torch.Tensor) -> Sequence[torch.Tensor]:
    """Return the wanted coefficients of ``image`` (batch, height, width) in float32 or float64; differentiable."""
    if _torch.needs_autograd(image):
        return _torch.call(_Analysis, m, image)
    return _run_analysis(m, image)


def synthesis(m: FreqMap, coefficients: Sequence[torch.Tensor]) -> torch.Tensor:
    """Return the image (batch, height, width) of at least one coefficient; differentiable."""
    if _torch.needs_autograd(*coefficients):
        return _torch.call(_Synthesis, m, *coefficients)
    return _run_synthesis(m, coefficients)


# ---------------------------------------------------------------------------------------------------------------------
# Shapes of the operators, for torch.compile, and their rules under vmap
# ---------------------------------------------------------------------------------------------------------------------


def _fake_analysis(
    image: torch.Tensor, pyramid: Sequence[int], twidth: float, subset: Sequence[int], scales: Sequence[float]
) -> list[torch.Tensor]:
    m = FreqMap(tuple(pyramid), twidth, tuple(subset), tuple(scales), fused=True)
    dtypes = [image.dtype.to_complex() if m.is_complex(k) else image.dtype for k in m.wanted()]
    return [
        image.new_empty((image.shape[0], *m.shape(k)), dtype=dtype) for k, dtype in zip(m.wanted(), dtypes, strict=True)
    ]


def _fake_synthesis(
    coefficients: Sequence[torch.Tensor],
    pyramid: Sequence[int],
    twidth: float,
    subset: Sequence[int],
    scales: Sequence[float],
    real_part_only: bool,
) -> torch.Tensor:
    first = coefficients[0].real
    return first.new_empty((first.shape[0], *pyramid[:2]))


def _fake_analysis_masks(
    spectrum: torch.Tensor, pyramid: Sequence[int], twidth: float, subset: Sequence[int], scales: Sequence[float]
) -> list[torch.Tensor]:
    m = FreqMap(tuple(pyramid), twidth, tuple(subset), tuple(scales), fused=False)
    return [spectrum.new_empty((spectrum.shape[0], *m.spectrum_shape(k))) for k in m.wanted()]


def _fake_synthesis_masks(
    spectra: Sequence[torch.Tensor],
    pyramid: Sequence[int],
    twidth: float,
    subset: Sequence[int],
    scales: Sequence[float],
) -> torch.Tensor:
    m = FreqMap(tuple(pyramid), twidth, tuple(subset), tuple(scales), fused=False)
    return spectra[0].new_empty((spectra[0].shape[0], *m.spectrum_shape(0)))


def _vmap_analysis(op: Any) -> Any:
    def rule(info: Any, in_dims: Any, image: torch.Tensor, *arguments: Any) -> tuple[list[torch.Tensor], list[int]]:
        size = info.batch_size
        outputs = op(_torch.join_batch(size, image, in_dims[0]), *arguments)
        return [out.unflatten(0, (size, -1)) for out in outputs], [0] * len(outputs)

    return rule


def _vmap_synthesis(op: Any) -> Any:
    def rule(
        info: Any, in_dims: Any, coefficients: Sequence[torch.Tensor], *arguments: Any
    ) -> tuple[torch.Tensor, int]:
        size = info.batch_size
        joined = [_torch.join_batch(size, c, dim) for c, dim in zip(coefficients, in_dims[0], strict=True)]
        return op(joined, *arguments).unflatten(0, (size, -1)), 0

    return rule


_registered: set[str] = set()


def _register(ops: Any) -> None:
    """Tell torch the shapes and vmap rules of the operators in a namespace."""
    _registered.add(ops.name)
    for name, fake, vmap in (
        ("steerable_freq_analysis", _fake_analysis, _vmap_analysis),
        ("steerable_freq_synthesis", _fake_synthesis, _vmap_synthesis),
        ("steerable_freq_analysis_masks", _fake_analysis_masks, _vmap_analysis),
        ("steerable_freq_synthesis_masks", _fake_synthesis_masks, _vmap_synthesis),
    ):
        if not hasattr(ops, name):  # the transforms are the CPU's alone
            continue
        op = getattr(ops, name).default
        torch.library.register_fake(op.name().removesuffix(".default"), fake)
        _torch.register_vmap(op.name().removesuffix(".default"), vmap(op))


_register(torch.ops.genimg_fast)
