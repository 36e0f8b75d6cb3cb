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
from genimg_fast._core import backend as check
from genimg_fast._kinds import Kinds
from genimg_fast.views import Views

MAX_VIEWS = 64  # multiview::kMaxViews
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
    function = "apply_views"
    kind, x = KINDS.read(function, "x", x)
    n = len(views) if type(views) is Views else 0
    if not 0 < n <= MAX_VIEWS:
        n = count(function, views)
    pictures = _pictures(x, views)
    if type(copies) is not int or not 1 <= copies < _MAX_COPIES:
        copies = check.integer(function, "copies", copies, 1, _MAX_COPIES)
    shape = (copies * n * len(pictures), *pictures.shape[1:])
    place = None
    if out is not None:
        place = kind.output(function, "out", out, pictures, shape)
        pictures = kind.apart(pictures, place)
    result = kind.apply(pictures, views, copies, place)
    if not views.dense:
        return result
    stack = result.reshape(copies, len(views), *pictures.shape)
    parts = {i: views[i].apply(pictures) for i in views.dense}
    result = kind.replace(stack, parts, 1).reshape(shape)
    return result if place is None else kind.copy_into(place, result)


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
    function = "reduce_views"
    kind, prediction = KINDS.read(function, "prediction", prediction)
    n = count(function, views)
    table = averaging(n, guidance, weights, reduce, step, views.factorized, function=function)
    return reduce_by(kind, prediction, views, table, guidance is not None, out, function)


def reduce_by(
    kind: Any,
    prediction: Any,
    views: Views,
    table: Averaging,
    guided: bool,
    out: Any = None,
    function: str = "reduce_views",
) -> Any:
    """Return what `reduce_views` does, by a table of guidance and weights."""
    check_stack(prediction, views, guided, function)
    channels, images = views.shape[0], len(prediction) // (len(views) * (1 + guided))
    shape, has_variance = (images, *views.shape), prediction.shape[1] > channels
    if out is not None:
        out = kind.outputs(function, out, prediction, shape, has_variance)
        prediction = kind.apart(prediction, *out)
    if views.dense:
        prediction = _turned_back(kind, prediction, views, table, guided)
        guided = False
    noise, variance = kind.reduce(kind.contiguous(prediction), views, table, guided, channels, out)
    return (noise, variance) if has_variance else noise


# ---- Arguments ------------------------------------------------------------------------------------------------------


_MAX_COPIES = 2**31 - 1


def count(function: str, views: Any) -> int:
    """Return how many views there are, as many as kernels take."""
    if not isinstance(views, Views):
        raise TypeError(f"{function}: views must be genimg_fast.Views, got {check.shown(views)}")
    n = len(views)
    if n > MAX_VIEWS:
        raise ValueError(f"{function}: views must be at most {MAX_VIEWS}, got {n}")
    return n


def _pictures(x: Any, views: Views) -> Any:
    """Return pictures as (B, C, H, W)."""
    if x.ndim not in (3, 4) or tuple(x.shape[-3:]) != views.shape:
        raise ValueError(f"apply_views: x must be (B, {', '.join(map(str, views.shape))}), got {tuple(x.shape)}")
    return x if x.ndim == 4 else x[None]


def check_stack(prediction: Any, views: Views, guided: bool, function: str = "reduce_views") -> None:
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
        f"{function}: prediction must be ({'2 ' if guided else ''}V B, {channels} or {2 * channels}, {height}, "
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
    function: str = "reduce_views",
) -> Averaging:
    """Return the guidance, the weights and the weights of the variance of n views.

    Args:
        total: The sum of all weights, where others hold views too; None: that of these.
        function: Name of the function that was called, for errors.
    """
    check.choice(function, "reduce", reduce, REDUCTIONS)
    if reduce == "mean" and factorized:
        warnings.warn(f"{function}: parts of factorized views are to be summed: reduce='sum'", stacklevel=3)
    scales = _for_views(function, "guidance", 1.0 if guidance is None else guidance, n)
    given = view_weights(n, weights, function)
    if reduce == "alternate":
        if step is None:
            raise ValueError(f"{function}: reduce='alternate' needs step, the number of the step, got None")
        chosen = check.integer(function, "step", step) % n
        alone = tuple(float(i == chosen) for i in range(n))
        return scales, alone, alone
    if step is not None and type(step) is not int:
        check.integer(function, "step", step)
    total = sum(given) if total is None else total
    if total == 0:
        raise ValueError(f"{function}: weights must have a sum that is not 0, got {check.shown(weights)}")
    shares = tuple(w / total for w in given)
    return scales, given if reduce == "sum" else shares, shares


def view_weights(n: int, weights: Sequence[float] | None, function: str = "reduce_views") -> tuple[float, ...]:
    return _for_views(function, "weights", 1.0 if weights is None else weights, n)


def _for_views(function: str, name: str, value: Any, n: int) -> tuple[float, ...]:
    if type(value) is float and math.isfinite(value):
        return (value,) * n
    if isinstance(value, (str, bytes)) or not hasattr(value, "__len__") or getattr(value, "ndim", 1) == 0:
        return (check.number(function, name, value),) * n
    if len(value) != n or getattr(value, "ndim", 1) != 1:
        raise ValueError(f"{function}: {name} must be a number or one for each of {n} views, got {check.shown(value)}")
    return tuple(check.number(function, name, one) for one in value)


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


def _outputs(kind: Any, function: str, out: Any, like: Any, shape: tuple[int, ...], has_variance: bool) -> Any:
    """Return where noise and variance go; the latter may be None."""
    pair = tuple(out) if isinstance(out, (tuple, list)) else (out, None)
    if len(pair) != 2 or pair[0] is None or has_variance != (pair[1] is not None):
        raise ValueError(
            f"{function}: out must be a pair where the prediction has a variance, else one array or tensor, got "
            f"{check.shown(out)}"
        )
    noise = kind.output(function, "out", pair[0], like, shape)
    variance = None if pair[1] is None else kind.output(function, "out", pair[1], like, shape)
    if variance is not None and check.overlap(noise, variance):
        raise ValueError(f"{function}: out must be a pair that does not overlap")
    return noise, variance


def stepped_from(kind: Any, out: Any, x: Any, prediction: Any, noise: Any) -> tuple[Any, Any, Any]:
    """Return what a step is made of, copied where it lies under the output; x itself may be the output."""
    if not check.same_memory(x, out):
        x = kind.apart(x, out)
    return x, kind.apart(prediction, out), None if noise is None else kind.apart(noise, out)


# ---- What arrays and tensors do differently -------------------------------------------------------------------------


class _Arrays:
    """NumPy; ``_multiview_torch.Tensors`` has the same functions."""

    concatenate = staticmethod(np.concatenate)

    @staticmethod
    def is_float(x: np.ndarray) -> bool:
        return x.dtype.char in "efd"

    @staticmethod
    def contiguous(x: np.ndarray) -> np.ndarray:
        return x if x.flags.c_contiguous else np.ascontiguousarray(x)

    @staticmethod
    def copy_into(out: np.ndarray, x: np.ndarray) -> np.ndarray:
        np.copyto(out, x)
        return out

    @staticmethod
    def apart(x: np.ndarray, *outs: np.ndarray | None) -> np.ndarray:
        """Return x, or a copy where it lies under an output."""
        return x.copy() if any(out is not None and check.overlap(x, out) for out in outs) else x

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
    def output(function: str, name: str, out: Any, like: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        check.writable(function, name, out)
        if not isinstance(out, np.ndarray) or out.shape != shape or out.dtype != like.dtype or not out.flags.carray:
            raise ValueError(
                f"{function}: {name} must be a contiguous, aligned array of shape {shape} and dtype {like.dtype}, got "
                f"{tuple(out.shape)} and {out.dtype}"
            )
        return out

    @classmethod
    def outputs(cls, function: str, out: Any, like: np.ndarray, shape: tuple[int, ...], has_variance: bool) -> Any:
        return _outputs(cls, function, out, like, shape, has_variance)

    @classmethod
    def apply(cls, x: np.ndarray, views: Views, copies: int, out: np.ndarray | None) -> np.ndarray:
        plan = views.forward_plan
        if out is None:
            out = np.empty((copies * len(plan.rows) * len(x), *x.shape[1:]), x.dtype)
        _numpy.multiview_apply(cls.contiguous(x), plan.rows, plan.tables, copies, out)
        return out

    @staticmethod
    def reduce(
        prediction: np.ndarray, views: Views, table: Averaging, guided: bool, channels: int, outs: Any
    ) -> tuple[np.ndarray, Any]:
        plan = views.inverse_plan
        if outs is None:
            shape = (len(prediction) // (len(plan.rows) * (1 + guided)), *views.shape)
            noise = np.empty(shape, prediction.dtype)
            outs = noise, np.empty(shape, prediction.dtype) if prediction.shape[1] > channels else None
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
        plan = views.inverse_plan
        if out is None:
            out = np.empty(x.shape, x.dtype)
        else:
            out = cls.output("MultiViewStep.step", "out", out, x, x.shape)
            x, prediction, noise = stepped_from(cls, out, x, prediction, noise)
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
