"""Histogram matching: give an image the distribution of values of another.

Two methods. ``"value"`` sends each distinct value through the two distribution functions, with linear interpolation
(Gonzalez & Woods, Digital Image Processing, histogram specification; the convention of scikit-image): equal pixels
stay equal. ``"rank"`` sorts: the r-th smallest pixel becomes the r-th smallest reference value, ties in raster order,
so that the result has exactly the reference's histogram (as in Heeger & Bergen's texture synthesis, IPOL 4, 2014).
"""

from __future__ import annotations

import functools
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import numpy as np

from genimg_fast import _numpy

__all__ = ["HistogramReference", "match_histograms", "sliced_wasserstein_loss"]

Method = Literal["value", "rank"]
SourceGradient = Literal["none", "straight-through"]
X = TypeVar("X")  # an array, a tensor, or a list, tuple or dict of them

_METHODS = {"value": 0, "rank": 1}  # histogram::Method
_SOURCE_GRADIENTS = ("none", "straight-through")
_MAX_POOL = 2**31  # histogram::kMaxPool
# What the kernels compute in; results are converted back, integers rounded.
_WORKING = {
    **dict.fromkeys(("float16", "bfloat16", "float32", "int8", "int16"), "float32"),
    **dict.fromkeys(("float64", "int32", "int64", "uint32", "uint64"), "float64"),
    "uint8": "uint8",
    "uint16": "uint16",
}


def match_histograms(
    image: X,
    reference: Any,
    *,
    channel_axis: int | None = None,
    method: Method = "value",
    mask: Any = None,
    reference_mask: Any = None,
    batch_axes: Sequence[int] | None = None,
    source_gradient: SourceGradient = "none",
    out: X | None = None,
) -> X:
    """Give an image the histogram of a reference.

    Of the n source and m reference values that take part, the r-th smallest source value (r = 0 .. n - 1) becomes

    - ``method="value"``: the reference's distribution function, interpolated linearly between its distinct values,
      inverted at the source's distribution function: equal pixels stay equal (scikit-image's convention);
    - ``method="rank"``: the reference's quantile ``(r + 1/2) / n`` (``numpy.quantile(..., method="hazen")``), ties in
      raster order; for ``n == m`` this is the r-th smallest reference value itself.

    Pixels that are NaN or outside ``mask`` are returned as they are and take no part; in the reference they are ignored
    (where nothing is left of a reference, the image is returned as it is). Infinities are ordered like numbers; between
    a finite value and an infinite one the nearer is taken, never NaN. -0 counts as +0. A constant source becomes the
    largest reference value under ``"value"``, and a constant reference gives that constant. The results are the same
    bits for any number of threads.

    Args:
        image: A NumPy array or torch tensor of real numbers of any shape; or a list, tuple or dict of them, such as the
            coefficients of a pyramid, which are matched in one call.
        reference: The same kind, or a `HistogramReference`. Its pools may have other sizes than the image's; its batch
            axes broadcast against the image's.
        channel_axis: Pool all axes but this one, and match along it one by one (scikit-image's meaning).
        method: ``"value"`` or ``"rank"``.
        mask: Booleans that broadcast to the image's shape: True where a pixel takes part.
        reference_mask: The same for the reference.
        batch_axes: Match along these axes one by one, and pool all others. Without it and ``channel_axis`` an array
            pools all its axes, as in scikit-image; a tensor, and each entry of a list or dict, pools its last two.
        source_gradient: The gradient to a tensor ``image``: ``"none"``, or ``"straight-through"``, that of the
            identity. The reference always gets its true gradient; under ``"value"`` the last pixel in raster order
            stands for all reference pixels of its value.
        out: Where the result goes: like ``image``, which may itself be given. Not together with a gradient.

    Returns:
        The kind, shape and dtype of ``image`` (batch axes broadcast). Integers are rounded half to even and clipped.
        uint8, uint16, float32 and float64 have kernels; float16, bfloat16, int8 and int16 are computed in float32,
        wider integers in float64 (exact up to 2**53).

    Raises:
        TypeError: Bool or complex values, or image and reference of different kinds.
        ValueError: An empty reference, shapes that do not fit, an unknown option, or a pool of more than 2**31 values.
    """
    if (
        channel_axis is None
        and mask is None
        and reference_mask is None
        and batch_axes is None
        and out is None
        and source_gradient == "none"
        and method in _METHODS
    ):
        # The common case first: it costs little more than the call of the kernel.
        plain: Any = _match_plain_arrays if type(image) is np.ndarray else _plain_tensors
        result = None if plain is None else plain(image, reference, _METHODS[method])
        if result is not None:
            return result
    _check_option("method", method, _METHODS)
    _check_option("source_gradient", source_gradient, _SOURCE_GRADIENTS)
    straight = source_gradient == "straight-through"
    if isinstance(reference, HistogramReference):
        if channel_axis is not None or batch_axes is not None or reference_mask is not None:
            raise ValueError(
                "match_histograms: channel_axis, batch_axes and reference_mask are given to HistogramReference, "
                "not together with one"
            )
        return reference.match(image, method=method, mask=mask, source_gradient=source_gradient, out=out)
    images, rebuild = _entries(image)
    axes = _Axes(channel_axis, batch_axes, is_list=rebuild is not None)
    sources = _pools(images, _like("mask", mask, image), axes, "image")
    references = _pools(
        _like("reference", reference, image), _like("reference_mask", reference_mask, image), axes, "reference"
    )
    results = _match(sources, references, _METHODS[method], straight, _like("out", out, image))
    return results[0] if rebuild is None else rebuild(results)


class HistogramReference:
    """A reference that is sorted once and matched many times.

    >>> reference = gf.HistogramReference(exemplar)
    >>> texture = reference.match(noise, method="rank")      # or match_histograms(noise, reference, method="rank")

    Args:
        reference: As for `match_histograms`.
        channel_axis: As there; the same axis of the images that are matched.
        batch_axes: As there; the same axes of the images that are matched.
        mask: True where a pixel of the reference takes part.

    Raises:
        TypeError, ValueError: As `match_histograms`.
    """

    def __init__(
        self,
        reference: Any,
        *,
        channel_axis: int | None = None,
        batch_axes: Sequence[int] | None = None,
        mask: Any = None,
    ) -> None:
        entries, rebuild = _entries(reference)
        self._axes = _Axes(channel_axis, batch_axes, is_list=rebuild is not None)
        self._keys = list(reference) if isinstance(reference, Mapping) else None
        pools = _pools(entries, _like("mask", mask, reference), self._axes, "reference")
        self._sorted = [pool.sorted() for pool in pools]

    def match(
        self,
        image: X,
        *,
        method: Method = "value",
        mask: Any = None,
        source_gradient: SourceGradient = "none",
        out: X | None = None,
    ) -> X:
        """Give an image this histogram; arguments, result and errors as for `match_histograms`."""
        _check_option("method", method, _METHODS)
        _check_option("source_gradient", source_gradient, _SOURCE_GRADIENTS)
        images, rebuild = _entries(image)
        if mask is None and source_gradient == "none":
            results = self._match_plain(image, images, _METHODS[method], out)
            if results is not None:
                return results[0] if rebuild is None else rebuild(results)
        if (rebuild is not None) != self._axes.is_list or len(images) != len(self._sorted):
            raise ValueError(
                f"match_histograms: image must have the structure of the reference, got {_describe(image)}"
            )
        if self._keys is not None and not (isinstance(image, Mapping) and self._keys == list(image)):
            raise ValueError(
                f"match_histograms: image must have the keys of the reference, {self._keys}, got {_describe(image)}"
            )
        sources = _pools(images, _like("mask", mask, image), self._axes, "image")
        straight = source_gradient == "straight-through"
        results = _match(sources, self._sorted, _METHODS[method], straight, _like("out", out, image))
        return results[0] if rebuild is None else rebuild(results)

    def _match_plain(self, image: Any, images: list[Any], method: int, out: Any) -> list[Any] | None:
        """Match without any conversion, or return None: a call on many small bands should cost the kernel's time."""
        is_list = isinstance(image, (list, tuple, Mapping))
        if (
            self._axes.explicit
            or is_list != self._axes.is_list
            or not 0 < len(images) == len(self._sorted)
            or (self._keys is not None and (not isinstance(image, Mapping) or self._keys != list(image)))
        ):
            return None
        backend = self._sorted[0].backend
        pools_all = backend is _Arrays and not is_list
        outs = None if out is None else _like("out", out, image)
        for i, (x, pool) in enumerate(zip(images, self._sorted, strict=True)):
            if not (pool.is_sorted and backend.is_plain(x, pool.values)):
                return None
            batch = () if pools_all else x.shape[:-2]
            if len(pool.batch) > len(batch) or pool.batch != batch[len(batch) - len(pool.batch) :]:
                return None
            if outs is not None and not (backend.is_plain(outs[i], pool.values) and outs[i].shape == x.shape):
                return None
        # A pool of the reference is one axis, one of the image two: a second axis of one value makes them alike.
        sorted_values = [pool.values if pools_all else pool.values[..., None] for pool in self._sorted]
        nothing = [None] * len(images)
        return backend.run(images, sorted_values, nothing, nothing, method, True, outs, -1 if pools_all else 2)

    def resample(self, size: int) -> HistogramReference:
        """Return the reference of ``size`` values a pool that rank matching of ``size`` pixels would give.

        Matching ``size`` pixels by rank with the result needs no interpolation, and gives what this reference gives.

        Raises:
            ValueError: ``size`` is below 1.
        """
        if size < 1:
            raise ValueError(f"HistogramReference.resample: size must be at least 1, got {size}")
        resampled = HistogramReference.__new__(HistogramReference)
        resampled._axes, resampled._keys = self._axes, self._keys
        resampled._sorted = [pool.resampled(size) for pool in self._sorted]
        return resampled


def sliced_wasserstein_loss(
    x: Any, y: Any, n_projections: int = 64, *, seed: int | None = None, generator: Any = None, p: float = 2
) -> Any:
    """Return the sliced Wasserstein distance of two clouds of feature vectors, to the power p.

    The mean over random directions of the mean of ``|sorted(x . d) - sorted(y . d)| ** p`` (Rabin, Peyré, Delon &
    Bernot 2011; Heitz et al. 2021). Its gradients to ``x`` and to ``y`` are the true ones. With one channel there is
    only one direction, and the result is the distance of the two histograms.

    Args:
        x: Features (..., C, H, W), a float array or tensor: H * W vectors of C numbers each.
        y: Features (..., C, H', W') of the same kind; where the sizes differ, y is resampled as by
            ``match_histograms(..., method="rank")``. Leading axes broadcast.
        n_projections: Number of random unit directions.
        seed: Seed of the directions; None draws new ones at each call.
        generator: A ``torch.Generator`` or ``numpy.random.Generator`` to draw them from, instead of a seed.
        p: The exponent, at least 1.

    Returns:
        A scalar (a 0-d tensor, or a NumPy float), in the unit of the features to the power p.

    Raises:
        TypeError: Not floats, or different kinds.
        ValueError: Different numbers of channels, fewer than 3 axes, ``n_projections`` or ``p`` below 1, or both a seed
            and a generator.
    """
    for name, features in (("x", x), ("y", y)):
        backend = _backend(name, features, "sliced_wasserstein_loss")
        if "float" not in backend.dtype_name(features):
            raise TypeError(f"sliced_wasserstein_loss: {name} must be floats, got {backend.dtype_name(features)}")
        if features.ndim < 3 or math.prod(features.shape) == 0:
            raise ValueError(
                f"sliced_wasserstein_loss: {name} must be (..., C, H, W), got the shape {tuple(features.shape)}"
            )
    if backend is not _backend("x", x):
        raise TypeError(f"sliced_wasserstein_loss: x and y must be of one kind, got {_describe(x)} and {_describe(y)}")
    if x.shape[-3] != y.shape[-3]:
        raise ValueError(
            f"sliced_wasserstein_loss: x and y must have the same channels, got {x.shape[-3]} and {y.shape[-3]}"
        )
    if n_projections < 1 or p < 1:
        raise ValueError(
            f"sliced_wasserstein_loss: n_projections and p must be at least 1, got {n_projections} and {p}"
        )
    if seed is not None and generator is not None:
        raise ValueError("sliced_wasserstein_loss: give seed or generator, not both")
    channels, ndim = x.shape[-3], max(x.ndim, y.ndim)
    directions = backend.directions(1 if channels == 1 else n_projections, channels, x, seed, generator)
    projected, target = (
        backend.project(directions, z.reshape((1,) * (ndim - z.ndim) + z.shape[:-2] + (z.shape[-2] * z.shape[-1],)))
        for z in (x, y)
    )
    # Small changes of x leave the order of its pixels and so what they are matched to: x gets its gradient from the
    # difference alone.
    matched = match_histograms(backend.detach(projected), target, method="rank", batch_axes=range(ndim - 2))
    return (abs(projected - matched) ** p).mean()


# ---- What arrays and tensors do differently -------------------------------------------------------------------------


@functools.cache
def _dtype_name(dtype: np.dtype) -> str:
    return dtype.name  # NumPy makes the string anew each time


class _Arrays:
    """NumPy; ``_histogram_torch.Tensors`` has the same functions."""

    moveaxis = staticmethod(np.moveaxis)
    broadcast_to = staticmethod(np.broadcast_to)

    @staticmethod
    def dtype_name(x: np.ndarray) -> str:
        return _dtype_name(x.dtype)

    @staticmethod
    def contiguous(x: np.ndarray, dtype: str) -> np.ndarray:
        return np.require(x, np.dtype(dtype), "C")

    @staticmethod
    def is_contiguous(x: np.ndarray) -> bool:
        return x.flags.c_contiguous and x.dtype.isnative and x.flags.writeable

    @staticmethod
    def rounded(x: np.ndarray, dtype: str) -> np.ndarray:
        return np.clip(np.rint(x), *_integer_range(np.iinfo(dtype))).astype(dtype)

    @staticmethod
    def where(mask: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return np.where(mask, x, y)

    @staticmethod
    def detach(x: np.ndarray) -> np.ndarray:
        return x

    @staticmethod
    def copy_into(out: np.ndarray, x: np.ndarray) -> None:
        np.copyto(out, x)

    @staticmethod
    def same_place(x: np.ndarray, y: np.ndarray) -> bool:
        return True

    @staticmethod
    def needs_gradient(sources: list[_Pools], references: list[_Pools], straight: bool) -> bool:
        return False

    @staticmethod
    def run(
        images: list[np.ndarray],
        references: list[np.ndarray],
        masks: list[Any],
        reference_masks: list[Any],
        method: int,
        is_sorted: bool,
        outs: list[np.ndarray] | None,
        pooled: int = 1,
    ) -> list[np.ndarray]:
        if outs is None:
            outs = [np.empty_like(image) for image in images]
        _numpy.match_histograms_out(images, references, masks, reference_masks, pooled, method, is_sorted, outs)
        return outs

    @staticmethod
    def is_plain(x: Any, sorted_values: np.ndarray) -> bool:
        return (
            type(x) is np.ndarray
            and x.dtype is sorted_values.dtype
            and x.flags.c_contiguous
            and x.flags.writeable
            and x.ndim >= 2
            and x.size <= _MAX_POOL
        )

    @staticmethod
    def sort(x: np.ndarray, mask: np.ndarray | None) -> np.ndarray:
        return _numpy.sort_histograms(x, mask, 1)

    @staticmethod
    def ramp(size: int, like: np.ndarray) -> np.ndarray:
        return np.broadcast_to(np.arange(size, dtype=like.dtype), (*like.shape[:-1], size))

    @staticmethod
    def directions(count: int, channels: int, like: np.ndarray, seed: int | None, generator: Any) -> np.ndarray:
        generator = np.random.default_rng(seed) if generator is None else generator
        normal = generator.standard_normal((count, channels))
        return (normal / np.linalg.norm(normal, axis=1, keepdims=True)).astype(like.dtype)

    @staticmethod
    def project(directions: np.ndarray, features: np.ndarray) -> np.ndarray:
        return directions @ features


def _match_plain_arrays(image: np.ndarray, reference: Any, method: int) -> np.ndarray | None:
    if (
        type(reference) is np.ndarray
        and image.dtype is reference.dtype
        and image.dtype.char in "fdBH"
        and image.flags.c_contiguous
        and reference.flags.c_contiguous
        and 0 < reference.size <= _MAX_POOL
        and image.size <= _MAX_POOL
    ):
        return _numpy.match_histograms(image, reference, None, None, -1, method, False, None)
    return None


_plain_tensors: Callable[[Any, Any, int], Any] | None = None  # _histogram_torch.match_plain, after the first tensor


def _tensors() -> Any:
    global _plain_tensors
    from genimg_fast import _histogram_torch

    _plain_tensors = _histogram_torch.match_plain
    return _histogram_torch.Tensors


def _backend(name: str, x: Any, function: str = "match_histograms") -> Any:
    if isinstance(x, np.ndarray):
        return _Arrays
    if "torch" in sys.modules and isinstance(x, sys.modules["torch"].Tensor):
        return _tensors()
    raise TypeError(f"{function}: {name} must be a numpy.ndarray or a torch.Tensor, got {_describe(x)}")


# ---- Arguments ------------------------------------------------------------------------------------------------------


def _check_option(name: str, value: Any, accepted: Any) -> None:
    if value not in accepted:
        raise ValueError(f"match_histograms: {name} must be one of {', '.join(map(repr, accepted))}, got {value!r}")


def _describe(x: Any) -> str:
    if isinstance(x, Mapping):
        return f"{type(x).__name__} with the keys {list(x)}"
    return f"{type(x).__name__} of length {len(x)}" if isinstance(x, (list, tuple)) else type(x).__name__


def _entries(x: Any) -> tuple[list[Any], Callable[[list[Any]], Any] | None]:
    """Return the arrays of an argument, and how to put results into its structure (None: it is an array itself)."""
    kind: Any = type(x)
    if isinstance(x, Mapping):
        return list(x.values()), lambda results: kind(zip(x, results, strict=True))
    if isinstance(x, (list, tuple)):
        return list(x), (lambda results: kind(*results)) if hasattr(kind, "_fields") else kind
    return [x], None


def _like(name: str, x: Any, image: Any) -> list[Any]:
    """Return the entries of an argument that must have the structure of ``image``, or be None."""
    if x is None:
        return [None] * (len(image) if isinstance(image, (list, tuple, Mapping)) else 1)
    if isinstance(image, Mapping):
        if isinstance(x, Mapping) and list(x) == list(image):
            return list(x.values())
    elif isinstance(image, (list, tuple)):
        if isinstance(x, (list, tuple)) and len(x) == len(image):
            return list(x)
    elif not isinstance(x, (list, tuple, Mapping)):
        return [x]
    raise ValueError(
        f"match_histograms: {name} must have the structure of the {_describe(image)} it goes with, got {_describe(x)}"
    )


def _integer_range(info: Any) -> tuple[float, float]:
    """Return the least and the largest float64 that convert to an integer type."""
    return float(info.min), float(info.max) if info.bits < 64 else math.nextafter(float(info.max), 0)


@dataclass(frozen=True)
class _Axes:
    """Which axes are batch axes."""

    channel_axis: int | None
    batch_axes: Sequence[int] | None
    is_list: bool

    def __post_init__(self) -> None:
        if self.channel_axis is not None and self.batch_axes is not None:
            raise ValueError("match_histograms: give channel_axis or batch_axes, not both")

    @property
    def explicit(self) -> bool:
        return self.channel_axis is not None or self.batch_axes is not None

    def of(self, x: Any, name: str) -> tuple[int, ...]:
        if not self.explicit:
            pools_all = isinstance(x, np.ndarray) and not self.is_list
            return () if pools_all else tuple(range(max(x.ndim - 2, 0)))
        argument, axes = (
            ("channel_axis", [self.channel_axis]) if self.batch_axes is None else ("batch_axes", list(self.batch_axes))
        )
        if not all(isinstance(axis, (int, np.integer)) and -x.ndim <= axis < x.ndim for axis in axes):
            raise ValueError(
                f"match_histograms: {argument} must name axes of {name}, which has {x.ndim}, "
                f"got {getattr(self, argument)}"
            )
        positive = tuple(axis % x.ndim for axis in axes)
        if len(set(positive)) < len(positive):
            raise ValueError(f"match_histograms: {argument} names an axis twice: {self.batch_axes}")
        return positive


# ---- Pools ----------------------------------------------------------------------------------------------------------


@dataclass
class _Pools:
    """An argument as (batch axes..., pool): ``values`` in its own dtype, ``mask`` alike or None."""

    backend: Any
    values: Any
    mask: Any
    original: Any  # the argument, for its dtype and as what stays outside a mask
    axes: tuple[int, ...]  # its batch axes
    pool_shape: tuple[int, ...]
    moved: bool = False  # the batch axes were moved to the front
    is_sorted: bool = False

    @property
    def batch(self) -> tuple[int, ...]:
        return tuple(self.values.shape[:-1])

    def working(self) -> str:
        return _WORKING[self.backend.dtype_name(self.values)]

    def broadcast(self, batch: tuple[int, ...]) -> _Pools:
        if batch == self.batch:
            return self
        size = self.values.shape[-1]
        values, mask = (
            None if x is None else self.backend.broadcast_to(x, (*batch, size)) for x in (self.values, self.mask)
        )
        return _Pools(self.backend, values, mask, self.original, self.axes, self.pool_shape, self.moved, self.is_sorted)

    def sorted(self) -> _Pools:
        """Sort each pool, NaN at the end for what takes no part; a tensor that needs a gradient is left as it is."""
        if self.is_sorted or self.backend.needs_gradient([], [self], False):
            return self
        dtype = "float64" if self.working() == "float64" else "float32"
        mask = None if self.mask is None else self.backend.contiguous(self.mask, "bool")
        values = self.backend.sort(self.backend.contiguous(self.values, dtype), mask)
        return _Pools(self.backend, values, None, values, self.axes, (values.shape[-1],), is_sorted=True)

    def resampled(self, size: int) -> _Pools:
        """Return the quantiles (r + 1/2) / size: what rank matching gives to a ramp."""
        ramp = self.backend.ramp(size, self.values)
        source = _Pools(self.backend, ramp, None, ramp, tuple(range(ramp.ndim - 1)), (size,))
        (values,) = _match([source], [self], _METHODS["rank"], False, [None])
        # Where a pool has nothing, the ramp came back.
        values = self.backend.where(self.values[..., :1] == self.values[..., :1], values, self.values[..., :1])
        return _Pools(self.backend, values, None, values, self.axes, (size,), is_sorted=self.is_sorted)

    def restore(self, result: Any) -> Any:
        """Bring a result of the shape (batch axes..., pool) to this argument's layout."""
        result = result.reshape(tuple(result.shape[:-1]) + self.pool_shape)
        return self.backend.moveaxis(result, tuple(range(len(self.axes))), self.axes) if self.moved else result


def _pools(entries: list[Any], masks: list[Any], axes: _Axes, name: str) -> list[_Pools]:
    return [_pool(x, mask, axes, name) for x, mask in zip(entries, masks, strict=True)]


def _pool(x: Any, mask: Any, axes: _Axes, name: str) -> _Pools:
    backend = _backend(name, x)
    dtype = backend.dtype_name(x)
    if dtype not in _WORKING:
        hint = "; match the real and the imaginary part" if dtype.startswith("complex") else ""
        raise TypeError(f"match_histograms: {name} must be real numbers of {', '.join(_WORKING)}, got {dtype}{hint}")
    batch_axes = axes.of(x, name)
    if mask is not None:
        mask_name = "mask" if name == "image" else "reference_mask"
        if (
            _backend(mask_name, mask) is not backend
            or backend.dtype_name(mask) != "bool"
            or not backend.same_place(x, mask)
        ):
            raise TypeError(
                f"match_histograms: {mask_name} must be a boolean {type(x).__name__} on the device of {name}"
            )
        try:
            mask = backend.broadcast_to(mask, x.shape)
        except (ValueError, RuntimeError):
            raise ValueError(
                f"match_histograms: {mask_name} must broadcast to the shape {tuple(x.shape)} of {name}, "
                f"got {tuple(mask.shape)}"
            ) from None
    k = len(batch_axes)

    def to_rows(y: Any) -> Any:
        moved = backend.moveaxis(y, batch_axes, tuple(range(k))) if axes.explicit else y
        return moved.reshape((*moved.shape[:k], math.prod(moved.shape[k:])))

    values = to_rows(x)
    pool_shape = tuple(size for axis, size in enumerate(x.shape) if axis not in batch_axes)
    if values.shape[-1] > _MAX_POOL:
        raise ValueError(f"match_histograms: a pool of {name} holds at most 2**31 values, got {values.shape[-1]}")
    if name == "reference" and values.shape[-1] == 0:
        raise ValueError(f"match_histograms: reference is empty: its shape is {tuple(x.shape)}")
    return _Pools(backend, values, None if mask is None else to_rows(mask), x, batch_axes, pool_shape, axes.explicit)


# ---- Matching -------------------------------------------------------------------------------------------------------


def _match(sources: list[_Pools], references: list[_Pools], method: int, straight: bool, outs: list[Any]) -> list[Any]:
    """Match pools to pools, in one call where they have the same dtypes."""
    if not sources:
        return []
    backend = sources[0].backend
    gradient = backend.needs_gradient(sources, references, straight)
    pairs = [_fit(source, reference, gradient) for source, reference in zip(sources, references, strict=True)]
    dtypes = [_working_dtypes(*pair) for pair in pairs]
    if len({(*dtype, r.is_sorted) for dtype, (_, r) in zip(dtypes, pairs, strict=True)}) > 1:
        return [
            _match([s], [r], method, straight, [out])[0] for s, r, out in zip(sources, references, outs, strict=True)
        ]
    image_dtype, reference_dtype = dtypes[0]
    images = [backend.contiguous(s.values, image_dtype) for s, _ in pairs]
    targets = [backend.contiguous(r.values, reference_dtype) for _, r in pairs]
    masks = _contiguous_masks(backend, [s for s, _ in pairs])
    target_masks = _contiguous_masks(backend, [r for _, r in pairs])
    if gradient:
        if any(out is not None for out in outs):
            raise ValueError("match_histograms: out cannot be given where a gradient is needed")
        results = backend.run_differentiable(images, targets, masks, target_masks, method, straight)
        return [_finish(s, result, None) for (s, _), result in zip(pairs, results, strict=True)]
    checked = [_check_out(s, out) for (s, _), out in zip(pairs, outs, strict=True)]
    direct = all(checked) and all(_is_direct(s, out, image_dtype) for (s, _), out in zip(pairs, outs, strict=True))
    places = [out.reshape(s.values.shape) for (s, _), out in zip(pairs, outs, strict=True)] if direct else None
    results = backend.run(images, targets, masks, target_masks, method, pairs[0][1].is_sorted, places)
    if direct:
        return outs
    return [_finish(s, result, out) for (s, _), result, out in zip(pairs, results, outs, strict=True)]


def _fit(source: _Pools, reference: _Pools, full: bool) -> tuple[_Pools, _Pools]:
    """Broadcast the batch axes; the reference's stay as few as the kernels repeat (row i % rows), unless ``full``."""
    if source.backend is not reference.backend or not source.backend.same_place(source.values, reference.values):
        raise TypeError("match_histograms: image and reference must be of one kind (array or tensor) and on one device")
    try:
        batch = np.broadcast_shapes(source.batch, reference.batch)
    except ValueError:
        raise ValueError(
            "match_histograms: the batch axes of image and reference must broadcast, "
            f"got {source.batch} and {reference.batch}"
        ) from None
    own = reference.batch
    while own and own[0] == 1:
        own = own[1:]
    repeats = not full and own == batch[len(batch) - len(own) :]
    return source.broadcast(batch), reference if repeats else reference.broadcast(batch)


def _working_dtypes(source: _Pools, reference: _Pools) -> tuple[str, str]:
    image, target = source.working(), reference.working()
    if image == target:
        return image, target
    if "float64" in (image, target):
        return "float64", "float64"
    return image, "float32"


def _contiguous_masks(backend: Any, pools: list[_Pools]) -> list[Any]:
    return [None if pool.mask is None else backend.contiguous(pool.mask, "bool") for pool in pools]


def _check_out(source: _Pools, out: Any) -> bool:
    if out is None:
        return False
    shape = tuple(source.restore(source.values).shape)
    backend, original = source.backend, source.original
    if (
        _backend("out", out) is not backend
        or tuple(out.shape) != shape
        or backend.dtype_name(out) != backend.dtype_name(original)
        or not backend.same_place(out, original)
    ):
        raise ValueError(
            f"match_histograms: out must be like image: of shape {shape} and {backend.dtype_name(original)}, "
            f"got {tuple(out.shape)} and {backend.dtype_name(out)}"
        )
    return True


def _is_direct(source: _Pools, out: Any, working: str) -> bool:
    """Return whether a kernel can write into ``out`` itself."""
    return not source.moved and source.backend.dtype_name(out) == working and source.backend.is_contiguous(out)


def _finish(source: _Pools, result: Any, out: Any) -> Any:
    """Convert to the image's dtype and layout."""
    backend, dtype = source.backend, source.backend.dtype_name(source.values)
    if backend.dtype_name(result) != dtype:
        result = backend.rounded(result, dtype) if "int" in dtype else backend.contiguous(result, dtype)
        if dtype in ("int64", "uint64") and source.mask is not None:  # float64 does not hold every one of them
            result = backend.where(source.mask, result, source.values)
    result = source.restore(result)
    if out is None:
        return result
    backend.copy_into(out, result)
    return out
