"""Histogram matching: give an image the distribution of values of another.

Two methods. ``"value"`` sends each distinct value through the two distribution functions, with linear interpolation
(Gonzalez & Woods, Digital Image Processing, histogram specification; the convention of scikit-image): equal pixels
stay equal. ``"rank"`` sorts: the r-th smallest pixel becomes the r-th smallest reference value, ties in raster order,
so that the result has exactly the reference's histogram (as in Heeger & Bergen's texture synthesis, IPOL 4, 2014).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import numpy as np

from genimg_fast import _numpy
from genimg_fast._core import backend as check

__all__ = ["HistogramReference", "match_histograms", "sliced_wasserstein_loss"]

Method = Literal["value", "rank"]
SourceGradient = Literal["none", "straight-through"]
X = TypeVar("X")  # an array, a tensor, or a list, tuple or dict of them

_METHODS = {"value": 0, "rank": 1}  # histogram::Method
_NO_GRADIENT: SourceGradient = "none"
_SOURCE_GRADIENTS = ("none", "straight-through")
_MAX_POOL = 2**31  # histogram::kMaxPool
# What the kernels compute in; results are converted back, integers rounded.
_FLOATS = ("float16", "bfloat16", "float32", "float64")
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
        mask: Booleans that broadcast to the image's shape: True where a pixel takes part. Masked arrays (`numpy.ma`)
            bring masks of their own: a pixel takes part where it is valid in both.
        reference_mask: The same for the reference.
        batch_axes: Match along these axes one by one, and pool all others. Without it and ``channel_axis`` an array
            pools all its axes, as in scikit-image; a tensor, and each entry of a list or dict, pools its last two.
        source_gradient: The gradient to a tensor ``image``: ``"none"``, or ``"straight-through"``, that of the
            identity. The reference always gets its true gradient; under ``"value"`` the last pixel in raster order
            stands for all reference pixels of its value.
        out: Where the result goes: like ``image``, which may itself be given. It may overlap any argument. Not together
            with a gradient.

    Returns:
        The kind, shape and dtype of ``image`` (batch axes broadcast); of a masked array a masked array with the same
        mask, of other subclasses of ``numpy.ndarray`` a plain array, in the machine's byte order. Integers are
        rounded half to even and clipped. uint8, uint16, float32 and float64 have kernels; float16, bfloat16, int8 and
        int16 are computed in float32, wider integers in float64 (exact up to 2**53).

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
        and source_gradient is _NO_GRADIENT
        and type(method) is str
        and method in _METHODS
    ):
        # The common case first: it costs little more than the call of the kernel.
        plain: Any = _match_plain_arrays if type(image) is np.ndarray else _plain_tensors
        result = None if plain is None else plain(image, reference, _METHODS[method])
        if result is not None:
            return result
    function = "match_histograms"
    number, straight = _options(function, method, source_gradient)
    if isinstance(reference, HistogramReference):
        if channel_axis is not None or batch_axes is not None or reference_mask is not None:
            raise ValueError(
                "match_histograms: channel_axis, batch_axes and reference_mask are given to HistogramReference, "
                "not together with one"
            )
        return reference._match(function, image, number, mask, straight, out)
    images, rebuild = _entries(image)
    axes = _axes(function, channel_axis, batch_axes, is_list=rebuild is not None)
    references, masks, reference_masks, outs = (
        _like(function, name, x, image)
        for name, x in (
            ("reference", reference),
            ("mask", mask),
            ("reference_mask", reference_mask),
            ("out", out),
        )
    )
    if out is not None:
        images, references, masks, reference_masks = _apart(function, outs, images, references, masks, reference_masks)
    sources = _pools(function, "image", images, "mask", masks, axes)
    targets = _pools(function, "reference", references, "reference_mask", reference_masks, axes)
    results = _match(function, sources, targets, number, straight, outs)
    results = _masked_again(images, results, outs)
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
        function = "HistogramReference"
        entries, rebuild = _entries(reference)
        self._axes = _axes(function, channel_axis, batch_axes, is_list=rebuild is not None)
        self._keys = list(reference) if isinstance(reference, Mapping) else None
        masks = _like(function, "mask", mask, reference)
        pools = _pools(function, "reference", entries, "mask", masks, self._axes)
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
        function = "HistogramReference.match"
        number, straight = _options(function, method, source_gradient)
        return self._match(function, image, number, mask, straight, out)

    def _match(self, function: str, image: Any, method: int, mask: Any, straight: bool, out: Any) -> Any:
        images, rebuild = _entries(image)
        if mask is None and not straight:
            results = self._match_plain(function, image, images, method, out)
            if results is not None:
                return results[0] if rebuild is None else rebuild(results)
        if (rebuild is not None) != self._axes.is_list or len(images) != len(self._sorted):
            raise ValueError(f"{function}: image must have the structure of the reference, got {_describe(image)}")
        if self._keys is not None and not (isinstance(image, Mapping) and self._keys == list(image)):
            raise ValueError(
                f"{function}: image must have the keys of the reference, {check.shown(self._keys)}, got "
                f"{_describe(image)}"
            )
        masks, outs = (_like(function, name, x, image) for name, x in (("mask", mask), ("out", out)))
        if out is not None:
            images, masks = _apart(function, outs, images, masks)
        sources = _pools(function, "image", images, "mask", masks, self._axes)
        results = _match(function, sources, self._sorted, method, straight, outs)
        results = _masked_again(images, results, outs)
        return results[0] if rebuild is None else rebuild(results)

    def _match_plain(self, function: str, image: Any, images: list[Any], method: int, out: Any) -> list[Any] | None:
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
        outs = None if out is None else _like(function, "out", out, image)
        for i, (x, pool) in enumerate(zip(images, self._sorted, strict=True)):
            if not (pool.is_sorted and backend.is_plain(x, pool.values)):
                return None
            batch = () if pools_all else x.shape[:-2]
            if len(pool.batch) > len(batch) or pool.batch != batch[len(batch) - len(pool.batch) :]:
                return None
            if outs is not None and not (backend.is_plain(outs[i], pool.values) and outs[i].shape == x.shape):
                return None
        if outs is not None and not backend.is_apart(images, outs):
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
        size = check.integer("HistogramReference.resample", "size", size, 1, _MAX_POOL)
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
    function = "sliced_wasserstein_loss"
    backend, x = _features(function, "x", x)
    other, y = _features(function, "y", y)
    if backend is not other or not backend.same_place(x, y):
        raise TypeError(f"{function}: x and y must be of one kind and on one device, got {_place(x)} and {_place(y)}")
    if x.shape[-3] != y.shape[-3]:
        raise ValueError(f"{function}: x and y must have the same channels, got {x.shape[-3]} and {y.shape[-3]}")
    try:
        if x.shape[:-3] != y.shape[:-3]:
            np.broadcast_shapes(tuple(x.shape[:-3]), tuple(y.shape[:-3]))
    except ValueError:
        raise ValueError(
            f"{function}: the leading axes of x and y must broadcast, got {tuple(x.shape[:-3])} and "
            f"{tuple(y.shape[:-3])}"
        ) from None
    n_projections = check.integer(function, "n_projections", n_projections, 1, _MAX_POOL)
    p = check.number(function, "p", p)
    if p < 1:
        raise ValueError(f"{function}: p must be at least 1, got {p:g}")
    if seed is not None and generator is not None:
        raise ValueError(f"{function}: give seed or generator, not both")
    if seed is not None:
        seed = check.integer(function, "seed", seed, backend.LEAST_SEED, 2**64 - 1)
    if generator is not None and not isinstance(generator, backend.generators()):
        names = " or a ".join(f"{kind.__module__}.{kind.__name__}" for kind in backend.generators())
        raise TypeError(f"{function}: generator must be a {names} for this kind of x, got {check.shown(generator)}")
    x, y = backend.promoted(x, y)
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
        x = np.ascontiguousarray(x, dtype) if x.ndim else np.asarray(x, dtype)  # the former would add an axis
        return x if x.flags.aligned else x.copy()

    @staticmethod
    def is_contiguous(x: np.ndarray) -> bool:
        return x.flags.carray and x.dtype.isnative

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
            and x.flags.carray
            and x.ndim >= 2
            and x.size <= _MAX_POOL
        )

    @staticmethod
    def is_apart(images: list[np.ndarray], outs: list[np.ndarray]) -> bool:
        """Tell whether no output shares memory with another or with an image, but its own where that is itself."""
        if len(outs) == 1:
            return outs[0] is images[0] or (outs[0].base is None and images[0].base is None)
        if all(out is image for image, out in zip(images, outs, strict=True)):
            return not any(np.may_share_memory(out, other) for i, out in enumerate(outs) for other in outs[:i])
        # Arrays that own their memory are apart if they are not the same.
        everything = [*outs, *(image for image, out in zip(images, outs, strict=True) if image is not out)]
        return all(x.base is None for x in everything) and len({id(x) for x in everything}) == len(everything)

    LEAST_SEED = 0

    @staticmethod
    def generators() -> tuple[type, ...]:
        return np.random.Generator, np.random.RandomState

    @staticmethod
    def promoted(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        dtype = np.result_type(x, y)
        return x.astype(dtype, copy=False), y.astype(dtype, copy=False)

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


_READABLE = 0x0101  # NPY_ARRAY_C_CONTIGUOUS | NPY_ARRAY_ALIGNED: one look in place of four


def _match_plain_arrays(image: np.ndarray, reference: Any, method: int) -> np.ndarray | None:
    if (
        type(reference) is np.ndarray
        and (dtype := image.dtype) is reference.dtype
        and dtype.isnative
        and dtype.char in "fdBH"
        and image.flags.num & reference.flags.num & _READABLE == _READABLE
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


def _backend(x: Any) -> Any:
    return _Arrays if isinstance(x, np.ndarray) else _tensors()


# ---- Arguments ------------------------------------------------------------------------------------------------------


def _options(function: str, method: Any, source_gradient: Any) -> tuple[int, bool]:
    """Return the method's number, and whether the image gets the gradient of the identity."""
    number = _METHODS[check.choice(function, "method", method, _METHODS)]
    return number, check.choice(function, "source_gradient", source_gradient, _SOURCE_GRADIENTS) != "none"


def _features(function: str, name: str, x: Any) -> tuple[Any, Any]:
    """Return feature maps (..., C, H, W) of floats and what does their work."""
    x = check.plain(function, name, x)
    backend = _backend(x)
    dtype = backend.dtype_name(x)
    if dtype not in _FLOATS:
        raise TypeError(f"{function}: {name} must be floats, got {dtype}; accepted are {', '.join(_FLOATS)}")
    if x.ndim < 3 or 0 in x.shape:
        raise ValueError(f"{function}: {name} must be (..., C, H, W), got the shape {tuple(x.shape)}")
    return backend, x


def _place(x: Any) -> str:
    return "an array" if isinstance(x, np.ndarray) else f"a tensor on {x.device}"


def _describe(x: Any) -> str:
    if isinstance(x, Mapping):
        return f"{type(x).__name__} with the keys {check.shown(list(x))}"
    return f"{type(x).__name__} of length {len(x)}" if isinstance(x, (list, tuple)) else type(x).__name__


def _entries(x: Any) -> tuple[list[Any], Callable[[list[Any]], Any] | None]:
    """Return the arrays of an argument, and how to put results into its structure (None: it is an array itself)."""
    kind: Any = type(x)
    if isinstance(x, Mapping):
        return list(x.values()), functools.partial(_like_mapping, x)
    if isinstance(x, (list, tuple)):
        return list(x), (lambda results: kind(*results)) if hasattr(kind, "_fields") else kind
    return [x], None


def _like_mapping(x: Mapping[Any, Any], results: list[Any]) -> Any:
    pairs = dict(zip(x, results, strict=True))
    kind: Any = type(x)
    try:
        return kind(pairs)
    except TypeError:  # such as a defaultdict, which is made of something else
        return pairs


def _like(function: str, name: str, x: Any, image: Any) -> list[Any]:
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
        f"{function}: {name} must have the structure of the {_describe(image)} it goes with, got {_describe(x)}"
    )


def _apart(function: str, outs: list[Any], images: list[Any], *others: list[Any]) -> list[list[Any]]:
    """Return images and other arguments, copied where they lie under an output that is not the image itself."""
    places = [check.writable(function, "out", out) for out in outs if out is not None]
    for i, out in enumerate(places):
        for other in places[:i]:
            if type(out) is type(other) and check.overlap(out, other) and _really_overlap(out, other):
                raise ValueError(f"{function}: out must hold entries that do not overlap each other")

    def apart(x: Any, own: Any) -> Any:
        for out in places:
            comparable = isinstance(x, np.ndarray) if isinstance(out, np.ndarray) else check.is_tensor(x)
            if comparable and check.overlap(x, out) and not (out is own and check.same_memory(x, out)):
                return x.copy() if isinstance(x, np.ndarray) else x.clone()
        return x

    images = [apart(x, own) for x, own in zip(images, outs, strict=True)]
    return [images, *([apart(x, None) for x in entries] for entries in others)]


def _really_overlap(x: Any, y: Any) -> bool:
    """Tell whether two that lie in the same stretch of memory have places in common, as channels of one array do not.

    Tensors are taken for arrays that lie where they lie.
    """
    if not isinstance(x, np.ndarray):
        if not (x.is_cpu and y.is_cpu):
            return True
        import torch

        x, y = (z.detach().view(getattr(torch, f"int{8 * z.element_size()}")).numpy() for z in (x, y))
    try:
        return np.shares_memory(x, y, max_work=100_000)  # type: ignore[arg-type]
    except np.exceptions.TooHardError:
        return True


def _masked_again(images: list[Any], results: list[Any], outs: list[Any]) -> list[Any]:
    """Give results of masked arrays their masks."""
    return [
        np.ma.array(result, mask=np.broadcast_to(np.ma.getmask(image), result.shape).copy(), copy=False)
        if out is None and isinstance(image, np.ma.MaskedArray)
        else result
        for image, result, out in zip(images, results, outs, strict=True)
    ]


def _integer_range(info: Any) -> tuple[float, float]:
    """Return the least and the largest float64 that convert to an integer type."""
    return float(info.min), float(info.max) if info.bits < 64 else math.nextafter(float(info.max), 0)


@dataclass(frozen=True)
class _Axes:
    """Which axes are batch axes: those of ``axes``, which ``argument`` names; None: all but the last two, or none."""

    argument: str
    axes: tuple[int, ...] | None
    is_list: bool

    @property
    def explicit(self) -> bool:
        return self.axes is not None

    def of(self, function: str, x: Any, name: str) -> tuple[int, ...]:
        if self.axes is None:
            pools_all = isinstance(x, np.ndarray) and not self.is_list
            return () if pools_all else tuple(range(max(x.ndim - 2, 0)))
        if not all(-x.ndim <= axis < x.ndim for axis in self.axes):
            got = self.axes[0] if self.argument == "channel_axis" else self.axes
            raise ValueError(
                f"{function}: {self.argument} must name axes of {name}, which has {x.ndim}, got {check.shown(got)}"
            )
        positive = tuple(axis % x.ndim for axis in self.axes)
        if len(set(positive)) < len(positive):
            raise ValueError(f"{function}: {self.argument} names an axis twice: {check.shown(self.axes)}")
        return positive


def _axes(function: str, channel_axis: Any, batch_axes: Any, *, is_list: bool) -> _Axes:
    if channel_axis is not None and batch_axes is not None:
        raise ValueError(f"{function}: give channel_axis or batch_axes, not both")
    if channel_axis is not None:
        return _Axes("channel_axis", (check.integer(function, "channel_axis", channel_axis),), is_list)
    if batch_axes is None:
        return _Axes("batch_axes", None, is_list)
    if isinstance(batch_axes, (str, bytes)) or not isinstance(batch_axes, Iterable):
        raise TypeError(f"{function}: batch_axes must be several integers, got {check.shown(batch_axes)}")
    return _Axes("batch_axes", tuple(check.integer(function, "batch_axes", axis) for axis in batch_axes), is_list)


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
        (values,) = _match("HistogramReference.resample", [source], [self], _METHODS["rank"], False, [None])
        # Where a pool has nothing, the ramp came back.
        values = self.backend.where(self.values[..., :1] == self.values[..., :1], values, self.values[..., :1])
        return _Pools(self.backend, values, None, values, self.axes, (size,), is_sorted=self.is_sorted)

    def restore(self, result: Any) -> Any:
        """Bring a result of the shape (batch axes..., pool) to this argument's layout."""
        result = result.reshape(tuple(result.shape[:-1]) + self.pool_shape)
        return self.backend.moveaxis(result, tuple(range(len(self.axes))), self.axes) if self.moved else result


def _pools(function: str, name: str, entries: list[Any], mask_name: str, masks: list[Any], axes: _Axes) -> list[_Pools]:
    return [_pool(function, name, x, mask_name, mask, axes) for x, mask in zip(entries, masks, strict=True)]


def _pool(function: str, name: str, x: Any, mask_name: str, mask: Any, axes: _Axes) -> _Pools:
    x, valid = check.unmasked(function, name, x)
    backend = _backend(x)
    dtype = backend.dtype_name(x)
    if dtype not in _WORKING:
        hint = "; match the real and the imaginary part" if dtype.startswith("complex") else ""
        raise TypeError(f"{function}: {name} must be real numbers of {', '.join(_WORKING)}, got {dtype}{hint}")
    batch_axes = axes.of(function, x, name)
    if mask is not None:
        mask = _mask(function, mask_name, mask, x, backend, name)
        mask = mask if valid is None else mask & valid
    else:
        mask = valid
    k = len(batch_axes)

    def to_rows(y: Any) -> Any:
        moved = backend.moveaxis(y, batch_axes, tuple(range(k))) if axes.explicit else y
        return moved.reshape((*moved.shape[:k], math.prod(moved.shape[k:])))

    values = to_rows(x)
    pool_shape = tuple(size for axis, size in enumerate(x.shape) if axis not in batch_axes)
    if values.shape[-1] > _MAX_POOL:
        raise ValueError(f"{function}: a pool of {name} holds at most 2**31 values, got {values.shape[-1]}")
    if name == "reference" and values.shape[-1] == 0:
        raise ValueError(f"{function}: reference is empty: its shape is {tuple(x.shape)}")
    return _Pools(backend, values, None if mask is None else to_rows(mask), x, batch_axes, pool_shape, axes.explicit)


def _mask(function: str, name: str, mask: Any, x: Any, backend: Any, of: str) -> Any:
    """Return a mask, broadcast to the shape of what it masks."""
    mask = check.plain(function, name, mask)
    if _backend(mask) is not backend or backend.dtype_name(mask) != "bool" or not backend.same_place(x, mask):
        raise TypeError(
            f"{function}: {name} must be a boolean {type(x).__name__} on the device of {of}, got {check.shown(mask)}"
        )
    try:
        return backend.broadcast_to(mask, x.shape)
    except (ValueError, RuntimeError):
        raise ValueError(
            f"{function}: {name} must broadcast to the shape {tuple(x.shape)} of {of}, got {tuple(mask.shape)}"
        ) from None


# ---- Matching -------------------------------------------------------------------------------------------------------


def _match(
    function: str, sources: list[_Pools], references: list[_Pools], method: int, straight: bool, outs: list[Any]
) -> list[Any]:
    """Match pools to pools, in one call where they have the same dtypes."""
    if not sources:
        return []
    backend = sources[0].backend
    if any(pools.backend is not backend for pools in (*sources, *references)):
        raise TypeError(f"{function}: image and reference must be of one kind, all arrays or all tensors")
    gradient = backend.needs_gradient(sources, references, straight)
    pairs = [_fit(function, source, reference, gradient) for source, reference in zip(sources, references, strict=True)]
    dtypes = [_working_dtypes(*pair) for pair in pairs]
    if len({(*dtype, r.is_sorted) for dtype, (_, r) in zip(dtypes, pairs, strict=True)}) > 1:
        return [
            _match(function, [s], [r], method, straight, [out])[0]
            for s, r, out in zip(sources, references, outs, strict=True)
        ]
    image_dtype, reference_dtype = dtypes[0]
    images = [backend.contiguous(s.values, image_dtype) for s, _ in pairs]
    targets = [backend.contiguous(r.values, reference_dtype) for _, r in pairs]
    masks = _contiguous_masks(backend, [s for s, _ in pairs])
    target_masks = _contiguous_masks(backend, [r for _, r in pairs])
    if gradient:
        if any(out is not None for out in outs):
            raise ValueError(f"{function}: out cannot be given where a gradient is needed")
        results = backend.run_differentiable(images, targets, masks, target_masks, method, straight)
        return [_finish(s, result, None) for (s, _), result in zip(pairs, results, strict=True)]
    checked = [_check_out(function, s, out) for (s, _), out in zip(pairs, outs, strict=True)]
    direct = all(checked) and all(_is_direct(s, out, image_dtype) for (s, _), out in zip(pairs, outs, strict=True))
    places = [out.reshape(s.values.shape) for (s, _), out in zip(pairs, outs, strict=True)] if direct else None
    results = backend.run(images, targets, masks, target_masks, method, pairs[0][1].is_sorted, places)
    if direct:
        return outs
    return [_finish(s, result, out) for (s, _), result, out in zip(pairs, results, outs, strict=True)]


def _fit(function: str, source: _Pools, reference: _Pools, full: bool) -> tuple[_Pools, _Pools]:
    """Broadcast the batch axes; the reference's stay as few as the kernels repeat (row i % rows), unless ``full``."""
    if not source.backend.same_place(source.values, reference.values):
        raise TypeError(
            f"{function}: image and reference must be on one device, got {_place(source.values)} and "
            f"{_place(reference.values)}"
        )
    try:
        batch = np.broadcast_shapes(source.batch, reference.batch)
    except ValueError:
        raise ValueError(
            f"{function}: the batch axes of image and reference must broadcast, "
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


def _check_out(function: str, source: _Pools, out: Any) -> bool:
    if out is None:
        return False
    shape = tuple(source.restore(source.values).shape)
    backend, original = source.backend, source.original
    if (
        _backend(out) is not backend
        or tuple(out.shape) != shape
        or backend.dtype_name(out) != backend.dtype_name(original)
        or not backend.same_place(out, original)
    ):
        raise ValueError(
            f"{function}: out must be like image: of shape {shape} and {backend.dtype_name(original)}, got "
            f"{check.shown(out)}"
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
