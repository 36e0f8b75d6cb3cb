"""Between two calls of a diffusion model: all views of a picture, and the average of what the model predicts for each.

D. Geng, I. Park, A. Owens, "Visual anagrams: generating multi-view optical illusions with diffusion models", CVPR 2024,
and "Factorized diffusion", ECCV 2024.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from genimg_fast import _numpy
from genimg_fast._kinds import Kinds
from genimg_fast.views import Views

REDUCTIONS = ("mean", "sum", "alternate")
Guidance = float | Sequence[float] | None


def apply_views(x: Any, views: Views, *, copies: int = 1, out: Any = None) -> Any:
    """Return all views of each picture, as a network takes them.

    Args:
        x: A float array or tensor (B, C, H, W), or (C, H, W) for one picture, of the shape that ``views`` are for.
        views: The views.
        copies: How often the stack is repeated: 2 for classifier-free guidance, which needs an unconditional and a
            conditional prediction of everything.
        out: Where the result goes: of its shape and dtype, contiguous. Not with a gradient.

    Returns:
        (copies V B, C, H, W), view-major: view 0 of all pictures first. Of the kind, dtype and device of ``x``;
        signed permutations are exact. Differentiable any number of times.

    Raises:
        TypeError: Not a float array or tensor.
        ValueError: A shape that is not that of the views; an ``out`` of another shape, dtype or device.
    """
    kind = KINDS.of("x", x)
    pictures = _pictures(x, views)
    if copies < 1:
        raise ValueError(f"apply_views: copies must be at least 1, got {copies}")
    shape = (copies * len(views) * len(pictures), *pictures.shape[1:])
    out = kind.output("out", out, pictures, shape)
    result = kind.apply(pictures, views, copies, out)
    if not views.dense:
        return result
    stack = result.reshape(copies, len(views), *pictures.shape)
    parts = {i: views[i].apply(pictures) for i in views.dense}
    return kind.replace(stack, parts, 1).reshape(shape)


def reduce_views(
    prediction: Any,
    views: Views,
    guidance: Guidance = 7.0,
    weights: Sequence[float] | None = None,
    reduce: str = "mean",
    *,
    step: int | None = None,
    out: Any = None,
) -> Any:
    """Return the average over the views of what a network predicted for each, turned back.

    Args:
        prediction: (2 V B, C or 2 C, H, W): the unconditional half first, each half view-major as `apply_views` gives
            it. With 2 C channels the second C are the learned variance.
        views: The views, whose shape is (C, H, W).
        guidance: u + guidance (c - u) of the halves (Ho & Salimans 2022); one number, or one for each view. None: there
            are no halves, ``prediction`` is (V B, ...).
        weights: One for each view; None: 1. ``"mean"`` divides by their sum.
        reduce: ``"mean"``; ``"sum"`` for the parts of factorized views; ``"alternate"``: the view ``step`` mod V alone.
            The variance is always averaged.
        step: The number of the step, for ``"alternate"``.
        out: Where the result goes; with learned variance a pair. Not with a gradient.

    Returns:
        (B, C, H, W); with learned variance the pair (noise, variance), each so. The variance is that of the conditional
        half and keeps its sign under views that turn the sign of the noise. Differentiable any number of times.

    Raises:
        TypeError: Not a float array or tensor.
        ValueError: A shape that does not fit; an unknown reduction; a wrong number of weights.
    """
    kind = KINDS.of("prediction", prediction)
    table = averaging(len(views), guidance, weights, reduce, step, views.factorized)
    return reduce_by(kind, prediction, views, table, guidance is not None, out)


def reduce_by(kind: Any, prediction: Any, views: Views, table: Averaging, guided: bool, out: Any = None) -> Any:
    """Return what `reduce_views` does, by a table of guidance and weights."""
    check_stack(prediction, views, guided)
    if views.dense:
        prediction = _turned_back(kind, prediction, views, table, guided)
        guided = False
    channels, images = views.shape[0], len(prediction) // (len(views) * (1 + guided))
    outs = kind.outputs(out, prediction, (images, *views.shape), prediction.shape[1] > channels)
    noise, variance = kind.reduce(kind.contiguous(prediction), views, table, guided, channels, outs)
    return noise if prediction.shape[1] == channels else (noise, variance)


# ---- Arguments ------------------------------------------------------------------------------------------------------


def _pictures(x: Any, views: Views) -> Any:
    """Return pictures as (B, C, H, W)."""
    if x.ndim not in (3, 4) or tuple(x.shape[-3:]) != views.shape:
        raise ValueError(f"apply_views: x must be (B, {', '.join(map(str, views.shape))}), got {tuple(x.shape)}")
    return x if x.ndim == 4 else x[None]


def check_stack(prediction: Any, views: Views, guided: bool) -> None:
    channels, height, width = views.shape
    images = len(views) * (1 + guided)
    shape = tuple(prediction.shape)
    if (
        len(shape) == 4
        and shape[0]
        and shape[0] % images == 0
        and shape[1:] in ((c, height, width) for c in (channels, 2 * channels))
    ):
        return
    raise ValueError(
        f"reduce_views: prediction must be ({'2 ' if guided else ''}V B, {channels} or {2 * channels}, {height}, "
        f"{width}) with V = {len(views)}, got {shape}"
    )


Averaging = tuple[tuple[float, ...], tuple[float, ...], tuple[float, ...]]


def averaging(
    n: int,
    guidance: Guidance,
    weights: Sequence[float] | None,
    reduce: str,
    step: int | None,
    factorized: bool,
    total: float | None = None,
) -> Averaging:
    """Return the guidance, the weights and the weights of the variance of n views.

    Args:
        total: The sum of all weights, where others hold views too; None: that of these.
    """
    if reduce not in REDUCTIONS:
        raise ValueError(f"reduce_views: reduce must be one of {', '.join(map(repr, REDUCTIONS))}, got {reduce!r}")
    if reduce == "mean" and factorized:
        warnings.warn("reduce_views: parts of factorized views are to be summed: reduce='sum'", stacklevel=3)
    scales = _for_views("guidance", 1.0 if guidance is None else guidance, n)
    if reduce == "alternate":
        if step is None:
            raise ValueError("reduce_views: reduce='alternate' needs step, the number of the step, got None")
        chosen = tuple(float(i == step % n) for i in range(n))
        return scales, chosen, chosen
    given = view_weights(n, weights)
    total = sum(given) if total is None else total
    if total == 0:
        raise ValueError(f"reduce_views: weights must have a sum that is not 0, got {weights}")
    shares = tuple(w / total for w in given)
    return scales, given if reduce == "sum" else shares, shares


def view_weights(n: int, weights: Sequence[float] | None) -> tuple[float, ...]:
    return _for_views("weights", 1.0 if weights is None else weights, n)


def _for_views(name: str, value: Any, n: int) -> tuple[float, ...]:
    numbers = (float(value),) * n if isinstance(value, (int, float)) else tuple(float(one) for one in value)
    if len(numbers) != n:
        raise ValueError(f"reduce_views: {name} must be a number or one for each of {n} views, got {value}")
    if not all(math.isfinite(one) for one in numbers):
        raise ValueError(f"reduce_views: {name} must be finite, got {value}")
    return numbers


def _turned_back(kind: Any, prediction: Any, views: Views, table: Averaging, guided: bool) -> Any:
    """Return the views' guided predictions (V B, ...), those of views that are no permutations turned back."""
    channels = views.shape[0]
    stack = prediction.reshape(1 + guided, len(views), -1, *prediction.shape[1:])
    m, v = stack[-1, :, :, :channels], stack[-1, :, :, channels:]
    if guided:
        u = stack[0, :, :, :channels]
        m = u + kind.scales(table[0], m) * (m - u)
    m = kind.replace(m, {i: views[i].inverse(m[i]) for i in views.dense}, 0)
    if v.shape[2]:
        v = kind.replace(v, {i: views[i].variance(v[i]) for i in views.dense}, 0)
        m = kind.concatenate((m, v), 2)
    return m.reshape(-1, *m.shape[2:])


# ---- What arrays and tensors do differently -------------------------------------------------------------------------


class _Arrays:
    """NumPy; ``_multiview_torch.Tensors`` has the same functions."""

    contiguous = staticmethod(np.ascontiguousarray)
    concatenate = staticmethod(np.concatenate)

    @staticmethod
    def is_float(x: np.ndarray) -> bool:
        return x.dtype.kind == "f" and x.dtype.itemsize in (2, 4, 8) and x.dtype.isnative

    @staticmethod
    def scales(numbers: Sequence[float], x: np.ndarray) -> np.ndarray:
        return np.array(numbers, x.dtype).reshape(-1, 1, 1, 1, 1)

    @staticmethod
    def replace(stack: np.ndarray, parts: dict[int, np.ndarray], axis: int) -> np.ndarray:
        stack = stack if stack.flags.writeable and stack.flags.owndata else stack.copy()
        places = np.moveaxis(stack, axis, 0)
        for i, part in parts.items():
            places[i] = part
        return stack

    @staticmethod
    def output(name: str, out: np.ndarray | None, like: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        if out is None:
            return np.empty(shape, like.dtype)
        if (
            not isinstance(out, np.ndarray)
            or out.shape != shape
            or out.dtype != like.dtype
            or not out.flags.c_contiguous
        ):
            raise ValueError(
                f"multiview: {name} must be a contiguous array of shape {shape} and dtype {like.dtype}, got "
                f"{getattr(out, 'shape', type(out).__name__)} and {getattr(out, 'dtype', None)}"
            )
        return out

    @classmethod
    def outputs(cls, out: Any, like: np.ndarray, shape: tuple[int, ...], has_variance: bool) -> Any:
        noise, variance = out if isinstance(out, (tuple, list)) else (out, None)
        return cls.output("out", noise, like, shape), cls.output("out", variance, like, shape) if has_variance else None

    @classmethod
    def apply(cls, x: np.ndarray, views: Views, copies: int, out: np.ndarray) -> np.ndarray:
        plan = views.forward_plan
        _numpy.multiview_apply(cls.contiguous(x), plan.rows, plan.tables, copies, out)
        return out

    @staticmethod
    def reduce(
        prediction: np.ndarray, views: Views, table: Averaging, guided: bool, channels: int, outs: Any
    ) -> tuple[np.ndarray, Any]:
        plan = views.inverse_plan
        _numpy.multiview_reduce(prediction, plan.rows, plan.tables, np.array(table), guided, *outs)
        return outs

    @classmethod
    def step(
        cls,
        x: np.ndarray,
        prediction: np.ndarray,
        noise: np.ndarray | None,
        views: Views,
        table: Averaging,
        guided: bool,
        coefficients: tuple[float, ...],
        average: int,
        out: np.ndarray | None,
    ) -> np.ndarray:
        plan, out = views.inverse_plan, cls.output("out", out, x, x.shape)
        noise = None if noise is None else cls.contiguous(noise)
        arguments = (plan.rows, plan.tables, np.array(table), guided, np.array(coefficients), average)
        _numpy.multiview_step(cls.contiguous(x), cls.contiguous(prediction), noise, *arguments, out)
        return out

    @staticmethod
    def normal(generator: Any, like: np.ndarray) -> np.ndarray:
        return np.random.default_rng(generator).standard_normal(like.shape, np.float64).astype(like.dtype)

    @staticmethod
    def same(x: np.ndarray, like: np.ndarray) -> np.ndarray:
        return np.asarray(x, like.dtype)


def _tensors() -> Any:
    from genimg_fast._multiview_torch import Tensors

    return Tensors


KINDS = Kinds("multiview", _Arrays, _tensors)
