"""The statistics of a parametric model of textures on tensors: sums over lags, sums of powers, magnitudes and phases.

The sums of Portilla & Simoncelli (IJCV 2000) and the maps that are their derivatives, fused; csrc/statistics. All
functions take any leading axes, float32 or float64 (complex64 or complex128 for subbands), and can be differentiated
any number of times in reverse mode. What is summed over a plane is float64, and so are coefficients and taps.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch

from genimg_fast import _torch, reference

Tensor = torch.Tensor

MAX_RADIUS = 16  # kMaxRadius and kMaxPowers of csrc/statistics/statistics.h
MAX_POWERS = 16

_REAL = (torch.float32, torch.float64)
_COMPLEX = (torch.complex64, torch.complex128)


# ---- The functions ---------------------------------------------------------------------------------------------------


def correlation(a: Tensor, b: Tensor, radius: int) -> Tensor:
    """Return the sums of products of two planes at all lags up to a radius.

    ``out[..., radius + y, radius + x]`` is the sum over all pixels p of ``a[p] * b[p + (y, x)]``, with circular
    boundaries, for -radius <= y, x <= radius. Where ``b`` is ``a``, half of the lags are summed.

    Args:
        a: Planes (..., h, w), float32 or float64.
        b: Likewise, of the same shape, dtype and device.
        radius: 0 to 16; it may exceed the plane.

    Returns:
        (..., 2 radius + 1, 2 radius + 1), float64.

    Raises:
        TypeError: Not tensors of one dtype, float32 or float64; a radius that is no integer.
        ValueError: Shapes that differ, no pixels, a radius out of range.
    """
    _check_planes("a", a)
    if b is not a:
        _check_like("b", b, "a", a)
    _check_int("radius", radius, 0, MAX_RADIUS)
    planes = _planes(a)
    out = _correlation(planes, None if b is a else _planes(b), radius)
    return out.reshape(*a.shape[:-2], *out.shape[1:])


def convolution(x: Tensor, taps: Tensor) -> Tensor:
    """Return planes filtered circularly: ``out[p]`` is the sum over lags l of ``taps[l] * x[p + l]``.

    Args:
        x: Planes (..., h, w), float32 or float64.
        taps: (..., 2 r + 1, 2 r + 1), r at most 16, with the leading axes and on the device of x, float32 or float64.
            Lag (0, 0) is in the middle.

    Returns:
        Of the shape and dtype of ``x``.

    Raises:
        TypeError: Not tensors of these dtypes.
        ValueError: Shapes that do not match.
    """
    _check_planes("x", x)
    _check_real("taps", taps)
    size = taps.shape[-1] if taps.dim() else 0
    if taps.shape != (*x.shape[:-2], size, size) or size % 2 == 0 or size > 2 * MAX_RADIUS + 1:
        wanted = ", ".join(map(str, (*x.shape[:-2], "2 r + 1", "2 r + 1")))
        raise ValueError(f"taps must be ({wanted}) with r at most {MAX_RADIUS}, got the shape {tuple(taps.shape)}")
    _check_device("taps", taps, "x", x)
    return _convolution(_planes(x), _planes(taps.double())).reshape(x.shape)


def power_sums(x: Tensor, count: int, weight: Tensor | None = None) -> Tensor:
    """Return the sums over each plane of ``weight * x**k``, k = 0 .. count - 1.

    Args:
        x: Planes (..., h, w), float32 or float64.
        count: 1 to 16.
        weight: Of the shape, dtype and device of x; None for 1.

    Returns:
        (..., count), float64.

    Raises:
        TypeError: Not tensors of one dtype, float32 or float64; a count that is no integer.
        ValueError: Shapes that differ, no pixels, a count out of range.
    """
    _check_planes("x", x)
    _check_int("count", count, 1, MAX_POWERS)
    if weight is not None:
        _check_like("weight", weight, "x", x)
    out = _power_sums(_planes(x), None if weight is None else _planes(weight), count)
    return out.reshape(*x.shape[:-2], count)


def power_means(x: Tensor, count: int) -> Tensor:
    """Return the means over each plane of ``x**k``: `power_sums` over the number of pixels."""
    return power_sums(x, count) / (x.shape[-2] * x.shape[-1])


def polynomial(x: Tensor, coefficients: Tensor, weight: Tensor | None = None) -> Tensor:
    """Return ``weight * (coefficients[0] + coefficients[1] * x + ...)`` at each pixel.

    Args:
        x: Planes (..., h, w), float32 or float64.
        coefficients: (..., count), count 1 to 16, with the leading axes and on the device of x, float32 or float64.
        weight: Of the shape, dtype and device of x; None for 1.

    Returns:
        Of the shape and dtype of ``x``.

    Raises:
        TypeError: Not tensors of these dtypes.
        ValueError: Shapes that do not match.
    """
    _check_planes("x", x)
    _check_real("coefficients", coefficients)
    if weight is not None:
        _check_like("weight", weight, "x", x)
    count = coefficients.shape[-1] if coefficients.dim() else 0
    if coefficients.shape != (*x.shape[:-2], count) or not 1 <= count <= MAX_POWERS:
        wanted = ", ".join(map(str, (*x.shape[:-2], "count")))
        raise ValueError(
            f"coefficients must be ({wanted}), count 1 to {MAX_POWERS}, got the shape {tuple(coefficients.shape)}"
        )
    _check_device("coefficients", coefficients, "x", x)
    rows = coefficients.double().reshape(math.prod(x.shape[:-2]), count)
    return _polynomial(_planes(x), None if weight is None else _planes(weight), rows).reshape(x.shape)


def centred(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return planes less their means, and the means.

    Args:
        x: Planes (..., h, w), float32 or float64.

    Returns:
        Of the shape and dtype of ``x``; (...), float64.

    Raises:
        TypeError: No tensor of float32 or float64.
        ValueError: No pixels.
    """
    _check_planes("x", x)
    less, means = _centred(_planes(x))
    return less.reshape(x.shape), means.reshape(x.shape[:-2])


def magnitudes_and_phases(bands: Tensor, parents: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Return what is compared across the scales of an analytic pyramid.

    Portilla & Simoncelli 2000, section 2.2: the phase of a coarser scale turns half as fast, so it is doubled. A
    coefficient z whose squared magnitude is below the smallest normal number of the dtype counts as 0: so are its
    magnitude, the coefficient with its phase doubled, and the gradients of both.

    Args:
        bands: Subbands of one scale (..., K, h, w), complex64 or complex128.
        parents: Those of the next coarser scale at the same size, of the same shape, dtype and device; or None.

    Returns:
        ``magnitudes`` (..., K, h, w): of the bands; with parents (..., 2 K, h, w), then of the parents.
        ``reals`` (..., K, h, w): the real parts of the bands; with parents (..., 3 K, h, w), then the real parts of the
        parents with their phase doubled, then the imaginary parts of the same.

    Raises:
        TypeError: Not tensors of one dtype, complex64 or complex128.
        ValueError: Shapes that differ, fewer than 3 axes, no pixels.
    """
    _check_planes("bands", bands, _COMPLEX, "(..., K, h, w)")
    if parents is not None:
        _check_like("parents", parents, "bands", bands)
    groups, shape = math.prod(bands.shape[:-3]), bands.shape[-3:]
    pair = _phases(bands.reshape(groups, *shape), None if parents is None else parents.reshape(groups, *shape))
    return tuple(x.reshape(*bands.shape[:-3], *x.shape[1:]) for x in pair)  # type: ignore[return-value]


# ---- Arguments -------------------------------------------------------------------------------------------------------


def _check_real(name: str, x: Any, dtypes: Sequence[torch.dtype] = _REAL) -> None:
    if not isinstance(x, Tensor):
        raise TypeError(f"{name} must be a torch.Tensor, got {type(x).__name__}")
    if x.dtype not in dtypes:
        accepted = " or ".join(str(dtype).removeprefix("torch.") for dtype in dtypes)
        raise TypeError(f"{name} must be {accepted}, got {str(x.dtype).removeprefix('torch.')}")


def _check_planes(name: str, x: Any, dtypes: Sequence[torch.dtype] = _REAL, axes: str = "(..., h, w)") -> None:
    _check_real(name, x, dtypes)
    least = axes.count(",")
    if x.dim() < least or 0 in x.shape[x.dim() - least :]:
        raise ValueError(f"{name} must be {axes} with pixels, got the shape {tuple(x.shape)}")


def _check_like(name: str, x: Any, other_name: str, other: Tensor) -> None:
    _check_real(name, x, (other.dtype,))
    if x.shape != other.shape:
        raise ValueError(
            f"{name} must be of the shape {tuple(other.shape)} of {other_name}, got the shape {tuple(x.shape)}"
        )
    _check_device(name, x, other_name, other)


def _check_device(name: str, x: Tensor, other_name: str, other: Tensor) -> None:
    if x.device != other.device:
        raise ValueError(f"{name} must be on {other.device}, where {other_name} is, got {x.device}")


def _check_int(name: str, value: Any, least: int, most: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name} must be an integer from {least} to {most}, got {value!r}")
    if not least <= value <= most:
        raise ValueError(f"{name} must be an integer from {least} to {most}, got {value}")


def _planes(x: Tensor) -> Tensor:
    if x.dim() == 3:
        return x
    return x.reshape(math.prod(x.shape[:-2]), *x.shape[-2:])


# ---- Which kernel runs, and derivatives ------------------------------------------------------------------------------
#
# On planes (n, h, w). Each backward pass consists of these operations again, so there are derivatives of any order.


def _run(name: str, *arguments: Any) -> Any:
    is_served = _torch.backend(arguments[0]) in ("cpu", "cuda")
    return getattr(_torch.ops() if is_served else reference, "statistics_" + name)(*arguments)


def _applied(function: type[_torch.Function], *arguments: Any) -> Any:
    """Apply a function, with its derivatives where the tensors among its arguments may need them."""
    if _torch.needs_autograd(*(x for x in arguments if isinstance(x, Tensor))):
        return _torch.call(function, *arguments)
    return function.forward(*arguments)


def _correlation(a: Tensor, b: Tensor | None, radius: int) -> Tensor:
    return _applied(_Correlation, a, b, radius)


def _convolution(x: Tensor, taps: Tensor) -> Tensor:
    return _applied(_Convolution, x, taps)


def _power_sums(x: Tensor, weight: Tensor | None, count: int) -> Tensor:
    return _applied(_PowerSums, x, weight, count)


def _polynomial(x: Tensor, weight: Tensor | None, coefficients: Tensor) -> Tensor:
    return _applied(_Polynomial, x, weight, coefficients)


def _centred(x: Tensor) -> tuple[Tensor, Tensor]:
    return _applied(_Centred, x)


def _phases(bands: Tensor, parents: Tensor | None) -> tuple[Tensor, Tensor]:
    return _applied(_Phases, bands, parents)


class _Correlation(_torch.Function):
    """b None: a with itself."""

    @staticmethod
    def forward(a: Tensor, b: Tensor | None, radius: int) -> Tensor:
        return _run("correlation", a, a if b is None else b, radius)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        _torch.save(ctx, *inputs[:2])
        ctx.radius = inputs[2]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        a, b = ctx.saved_tensors
        mirrored = grad.flip((1, 2))
        if b is None:
            return _convolution(a, grad + mirrored), None, None
        to_a = _convolution(b, grad) if ctx.needs_input_grad[0] else None
        to_b = _convolution(a, mirrored) if ctx.needs_input_grad[1] else None
        return to_a, to_b, None

    @staticmethod
    def tangent(ctx: Any, da: Tensor | None, db: Tensor | None, *_: Any) -> Tensor:
        a, b = ctx.saved_tensors
        if b is None:
            half = _correlation(_given(da), a, ctx.radius)
            return half + half.flip((1, 2))
        parts = [] if da is None else [_correlation(da, b, ctx.radius)]
        parts += [] if db is None else [_correlation(a, db, ctx.radius)]
        return sum(parts[1:], parts[0])


class _Convolution(_torch.Function):
    @staticmethod
    def forward(x: Tensor, taps: Tensor) -> Tensor:
        return _run("convolution", x, taps)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        _torch.save(ctx, *inputs)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        x, taps = ctx.saved_tensors
        to_x = _convolution(grad, taps.flip((1, 2))) if ctx.needs_input_grad[0] else None
        to_taps = _correlation(grad, x, taps.shape[1] // 2) if ctx.needs_input_grad[1] else None
        return to_x, to_taps

    @staticmethod
    def tangent(ctx: Any, dx: Tensor | None, dtaps: Tensor | None) -> Tensor:
        x, taps = ctx.saved_tensors
        parts = [] if dx is None else [_convolution(dx, taps)]
        parts += [] if dtaps is None else [_convolution(x, dtaps)]
        return sum(parts[1:], parts[0])


def _derivative(coefficients: Tensor) -> Tensor:
    """Return the coefficients of a polynomial's derivative."""
    count = coefficients.shape[1]
    if count == 1:
        return torch.zeros_like(coefficients)
    return coefficients[:, 1:] * torch.arange(1, count, dtype=coefficients.dtype, device=coefficients.device)


class _PowerSums(_torch.Function):
    @staticmethod
    def forward(x: Tensor, weight: Tensor | None, count: int) -> Tensor:
        return _run("power_sums", x, weight, count)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        _torch.save(ctx, *inputs[:2])
        ctx.count = inputs[2]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        x, weight = ctx.saved_tensors
        to_x = _polynomial(x, weight, _derivative(grad)) if ctx.needs_input_grad[0] else None
        to_weight = _polynomial(x, None, grad) if ctx.needs_input_grad[1] else None
        return to_x, to_weight, None

    @staticmethod
    def tangent(ctx: Any, dx: Tensor | None, dweight: Tensor | None, *_: Any) -> Tensor:
        x, weight = ctx.saved_tensors
        parts = [] if dweight is None else [_power_sums(x, dweight, ctx.count)]
        if dx is not None:
            sums = _power_sums(x, dx if weight is None else weight * dx, ctx.count)
            factors = torch.arange(1, ctx.count, dtype=sums.dtype, device=sums.device)
            parts.append(torch.cat([torch.zeros_like(sums[:, :1]), sums[:, :-1] * factors], 1))
        return sum(parts[1:], parts[0])


class _Polynomial(_torch.Function):
    @staticmethod
    def forward(x: Tensor, weight: Tensor | None, coefficients: Tensor) -> Tensor:
        return _run("polynomial", x, weight, coefficients)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        _torch.save(ctx, *inputs)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        x, weight, coefficients = ctx.saved_tensors
        weighted = grad if weight is None else grad * weight
        to_x = _polynomial(x, weighted, _derivative(coefficients)) if ctx.needs_input_grad[0] else None
        to_weight = grad * _polynomial(x, None, coefficients) if ctx.needs_input_grad[1] else None
        to_coefficients = _power_sums(x, weighted, coefficients.shape[1]) if ctx.needs_input_grad[2] else None
        return to_x, to_weight, to_coefficients

    @staticmethod
    def tangent(ctx: Any, dx: Tensor | None, dweight: Tensor | None, dcoefficients: Tensor | None) -> Tensor:
        x, weight, coefficients = ctx.saved_tensors
        parts = [] if dx is None else [dx * _polynomial(x, weight, _derivative(coefficients))]
        parts += [] if dweight is None else [dweight * _polynomial(x, None, coefficients)]
        parts += [] if dcoefficients is None else [_polynomial(x, weight, dcoefficients)]
        return sum(parts[1:], parts[0])


class _Centred(_torch.Function):
    """A projection, which is its own adjoint."""

    @staticmethod
    def forward(x: Tensor) -> tuple[Tensor, Tensor]:
        means = _run("power_sums", x, None, 2)[:, 1] / (x.shape[1] * x.shape[2])
        return _run("polynomial", x, None, torch.stack([-means, torch.ones_like(means)], 1)), means

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.shape = inputs[0].shape
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx: Any, to_less: Tensor | None, to_means: Tensor | None) -> Tensor | None:
        to_x = None if to_less is None else _centred(to_less)[0]
        if to_means is None:
            return to_x
        spread = (to_means / (ctx.shape[1] * ctx.shape[2]))[:, None, None]
        return spread.expand(ctx.shape).contiguous() if to_x is None else to_x + spread.to(to_x.dtype)

    @staticmethod
    def tangent(ctx: Any, dx: Tensor) -> tuple[Tensor, Tensor]:
        return _centred(dx)


class _Phases(_torch.Function):
    @staticmethod
    def forward(bands: Tensor, parents: Tensor | None) -> tuple[Tensor, Tensor]:
        return _run("phases", bands, parents)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        _torch.save(ctx, *inputs)

    @staticmethod
    def backward(ctx: Any, to_magnitudes: Tensor, to_reals: Tensor) -> tuple[Any, ...]:
        bands, parents = ctx.saved_tensors
        # The kernel has no derivative of its own; where one is wanted, PyTorch's operations have.
        run = reference.statistics_phases_gradient if torch.is_grad_enabled() else _gradient_kernel
        to_bands, to_parents = run(bands, parents, to_magnitudes, to_reals)
        return to_bands, None if parents is None else to_parents

    @staticmethod
    def tangent(ctx: Any, dbands: Tensor | None, dparents: Tensor | None) -> tuple[Tensor, Tensor]:
        bands, parents = ctx.saved_tensors
        unit, dbands = _unit(bands), _given(dbands, bands)
        magnitudes, reals = (unit.conj() * dbands).real, dbands.real
        if parents is None:
            return magnitudes, reals
        unit, dparents = _unit(parents), _given(dparents, parents)
        along = (unit.conj() * dparents).real
        doubled = 2 * unit * dparents - unit * unit * along  # of z^2 / |z|
        return torch.cat([magnitudes, along], 1), torch.cat([reals, doubled.real, doubled.imag], 1)


def _given(tangent: Tensor | None, like: Tensor | None = None) -> Any:
    return torch.zeros_like(like) if tangent is None and like is not None else tangent


def _unit(z: Tensor) -> Tensor:
    """Return z / |z|, and 0 where z counts as 0."""
    square = z.real * z.real + z.imag * z.imag
    counts = square >= torch.finfo(square.dtype).tiny
    return torch.where(counts, z / torch.where(counts, square, 1).sqrt(), 0)


def _gradient_kernel(*arguments: Any) -> tuple[Tensor, Tensor]:
    return _run("phases_gradient", *arguments)


# ---- What torch must know of the operators ---------------------------------------------------------------------------


@torch.library.register_fake("genimg_fast::statistics_correlation")
def _(a, b, radius):
    return a.new_empty((a.shape[0], 2 * radius + 1, 2 * radius + 1), dtype=torch.float64)


@torch.library.register_fake("genimg_fast::statistics_convolution")
def _(x, taps):
    return x.new_empty(x.shape)


@torch.library.register_fake("genimg_fast::statistics_power_sums")
def _(x, weight, count):
    return x.new_empty((x.shape[0], count), dtype=torch.float64)


@torch.library.register_fake("genimg_fast::statistics_polynomial")
def _(x, weight, coefficients):
    return x.new_empty(x.shape)


@torch.library.register_fake("genimg_fast::statistics_phases")
def _(bands, parents):
    groups, k, *size = bands.shape
    magnitudes, reals = (k, k) if parents is None else (2 * k, 3 * k)
    dtype = bands.dtype.to_real()
    return bands.new_empty((groups, magnitudes, *size), dtype=dtype), bands.new_empty(
        (groups, reals, *size), dtype=dtype
    )


@torch.library.register_fake("genimg_fast::statistics_phases_gradient")
def _(bands, parents, magnitudes, reals):
    return bands.new_empty(bands.shape), bands.new_empty(0 if parents is None else parents.shape)


def _vmap_rule(op: Callable[..., Any]) -> Callable[..., Any]:
    """All tensors of these operators have the batch first: that of the vmap joins it."""

    def rule(info: Any, in_dims: Any, *arguments: Any) -> Any:
        size = info.batch_size
        joined = [
            _torch.join_batch(size, x, dim) if isinstance(x, Tensor) else x
            for x, dim in zip(arguments, in_dims, strict=True)
        ]
        out = op(*joined)
        if isinstance(out, Tensor):
            return _split_batch(out, size), 0
        return tuple(_split_batch(x, size) for x in out), (0,) * len(out)

    return rule


def _split_batch(x: Tensor, size: int) -> Tensor:
    return x.unflatten(0, (size, x.shape[0] // size))


for _name in ("correlation", "convolution", "power_sums", "polynomial", "phases", "phases_gradient"):
    _name = "statistics_" + _name
    _torch.register_vmap(f"genimg_fast::{_name}", _vmap_rule(getattr(torch.ops.genimg_fast, _name).default))
