"""Views by name, not yet of a shape, their composition, and views for pictures some times as large."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from genimg_fast._arguments import integer
from genimg_fast._core.backend import is_tensor
from genimg_fast.views._adapted import Peer, check_linear, peer_view
from genimg_fast.views._anagrams import ANAGRAMS
from genimg_fast.views._blocks import blocks
from genimg_fast.views._bound import BoundView, Linear, Permutation, Planes, chain
from genimg_fast.views._filters import COMPONENTS, INTERPOLATING
from genimg_fast.views._orthogonal import ORTHOGONAL
from genimg_fast.views._parameters import numbers
from genimg_fast.views._permutations import PERMUTATIONS
from genimg_fast.views._plan import Row, Shape, checked_shape, described, larger, stored
from genimg_fast.views._text import parsed

CATALOG: dict[str, Callable[..., Any]] = {**PERMUTATIONS, **ORTHOGONAL, **INTERPOLATING, **COMPONENTS, **ANAGRAMS}

# At another size these are not themselves, nor do a few numbers make them so: they move and mix blocks of pixels.
_BY_BLOCKS = frozenset(["pixel_permute", *ORTHOGONAL])


class View(ABC):
    """A view of pictures of any shape that it fits. ``a @ b`` is the view of x -> a(b(x)); either may be a name."""

    def bind(self, shape: Sequence[int]) -> BoundView:
        """Return the view of pictures (C, H, W).

        Raises:
            TypeError: Sides that are no integers.
            ValueError: It is not defined for this shape, or a parameter is wrong.
        """
        checked = checked_shape(shape, f"view {str(self)!r}")
        bound = self._bind(checked)
        bound.origin = self, checked
        return bound

    def scaled(self, factor: int) -> View:
        """Return the view of pictures some times as large that does to them what this one does to small ones.

        The mean of each block of factor x factor pixels is moved, mixed or filtered as the pixel of a small picture:
        exactly for what moves or mixes pixels, nearly for what is drawn or filtered more finely. So the second stage of
        a model shows the views of the first.

        Args:
            factor: At least 1.

        Raises:
            TypeError: No integer.
            ValueError: Below 1; or a view that does not know itself at other sizes.
        """
        times = integer("View.scaled: factor", factor, 1)
        return self if times == 1 else self._scaled(times)

    def _scaled(self, times: int) -> View:
        return Scaled(self, times)

    @abstractmethod
    def _bind(self, shape: Shape) -> BoundView: ...

    def _bind_larger(self, shape: Shape, times: int) -> BoundView:
        """Return the view of pictures so many times as large as those of a shape."""
        return blocks(self._bind(shape), times)

    @abstractmethod
    def __str__(self) -> str: ...

    @property
    @abstractmethod
    def _key(self) -> tuple[Any, ...]:
        """What makes two views the same."""

    def __call__(self, x: Planes) -> Planes:
        """Return the view of pictures (..., C, H, W)."""
        if getattr(x, "ndim", 0) < 3:
            raise ValueError(f"view {str(self)!r}: x must be (..., C, H, W), got {described(x)}")
        return self.bind(tuple(x.shape[-3:])).apply(x)

    def __matmul__(self, other: Any) -> View:
        return Composition(self, as_view(other))

    def __rmatmul__(self, other: Any) -> View:
        return Composition(as_view(other), self)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, View) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)

    def __repr__(self) -> str:
        return f"<view {str(self)!r}>"


class Named(View):
    """A view of the catalogue with its parameters."""

    def __init__(self, name: str, parameters: dict[str, Any]) -> None:
        self.name, self.parameters = name, parameters

    def _bind(self, shape: Shape) -> BoundView:
        return self._made(shape, 1)

    def _scaled(self, times: int) -> View:
        has_size = "times" in inspect.signature(CATALOG[self.name]).parameters
        return Scaled(self, times) if has_size or self.name in _BY_BLOCKS else self

    def _bind_larger(self, shape: Shape, times: int) -> BoundView:
        return blocks(self._bind(shape), times) if self.name in _BY_BLOCKS else self._made(shape, times)

    def _made(self, shape: Shape, times: int) -> BoundView:
        given = (shape,) if times == 1 else (shape, times)
        try:
            made = CATALOG[self.name](*given, **self.parameters)
        except (TypeError, ValueError) as error:
            if str(error).startswith("view "):
                raise
            raise type(error)(f"view {self.name!r}: {error}") from error
        if isinstance(made, Row):
            return Permutation(str(self), larger(shape, times), made)
        made.name = str(self)
        return made

    def __str__(self) -> str:
        listed = ", ".join(f"{name}={_described(value)}" for name, value in self.parameters.items())
        return f"{self.name}({listed})" if listed else self.name

    @property
    def _key(self) -> tuple[Any, ...]:
        return (self.name, *sorted((name, _comparable(value)) for name, value in self.parameters.items()))


class Permute(View):
    """The view ``out[p] = in[index[p]]`` of all channels.

    Args:
        index: Integers (H, W) or (H W,): for each pixel its source y W + x. An array, tensor or list.

    Raises:
        TypeError: Not integers.
        ValueError: Not every pixel is there once.
    """

    def __init__(self, index: Any) -> None:
        values = numbers("Permute", "index", index)
        if values.dtype.kind not in "iu":
            raise TypeError(f"Permute: index must hold integers, got {values.dtype}")
        if values.ndim not in (1, 2) or values.size == 0:
            raise ValueError(f"Permute: index must be (H, W) or (H W,), got the shape {values.shape}")
        _check_permutation(values.ravel())
        self.index = values.astype(np.int64)
        self.index.setflags(write=False)

    def _bind(self, shape: Shape) -> BoundView:
        if self.index.shape not in (shape[1:], (shape[1] * shape[2],)):
            raise ValueError(f"Permute: index must be of the pixels {shape[1:]}, got the shape {self.index.shape}")
        return Permutation(str(self), shape, stored(self.index))

    def __str__(self) -> str:
        return f"permute(index={_described(self.index)})"

    @property
    def _key(self) -> tuple[Any, ...]:
        return ("Permute", _comparable(self.index))


class Composition(View):
    """The view of x -> outer(inner(x))."""

    def __init__(self, outer: View, inner: View) -> None:
        self.parts: tuple[View, ...] = tuple(
            part for view in (outer, inner) for part in (view.parts if isinstance(view, Composition) else (view,))
        )

    def _bind(self, shape: Shape) -> BoundView:
        return chain(str(self), shape, [part.bind(shape) for part in self.parts])

    def _scaled(self, times: int) -> View:
        first, *others = (part.scaled(times) for part in self.parts)
        for other in others:
            first = first @ other
        return first

    def __str__(self) -> str:
        return " @ ".join(map(str, self.parts))

    @property
    def _key(self) -> tuple[Any, ...]:
        return tuple(part._key for part in self.parts)


class Scaled(View):
    """A view for pictures some times as large as those that it is meant for."""

    def __init__(self, view: View, times: int) -> None:
        self.view, self.times = view, times

    def _bind(self, shape: Shape) -> BoundView:
        channels, height, width = shape
        if height % self.times or width % self.times:
            raise ValueError(f"view {str(self)!r}: shape must have sides that {self.times} divides, got {shape}")
        found = self.view._bind_larger((channels, height // self.times, width // self.times), self.times)
        found.name = str(self)
        return found

    def _scaled(self, times: int) -> View:
        return Scaled(self.view, self.times * times)

    def __str__(self) -> str:
        return f"{self.view}.scaled({self.times})"

    @property
    def _key(self) -> tuple[Any, ...]:
        return ("Scaled", self.times, self.view._key)


class Custom(View):
    """A view that a caller wrote: an object with apply and inverse, or Visual Anagrams' view and inverse_view."""

    def __init__(self, instance: Any) -> None:
        self.instance = instance

    def _bind(self, shape: Shape) -> BoundView:
        if not _has(self.instance, "apply", "inverse"):
            return peer_view(str(self), shape, self.instance)
        _check_custom(str(self), shape, self.instance.apply)
        return self.unchecked(shape)

    def unchecked(self, shape: Shape) -> BoundView:
        """Return the view of pictures (C, H, W) whatever it is, to be measured."""
        if not _has(self.instance, "apply", "inverse"):
            peer = Peer(self.instance, shape)
            return Linear(str(self), shape, peer.apply, peer.inverse, is_orthogonal=None, variance=peer.variance)
        orthogonal = getattr(self.instance, "is_orthogonal", None)
        return Linear(str(self), shape, self.instance.apply, self.instance.inverse, is_orthogonal=orthogonal)

    def _bind_larger(self, shape: Shape, times: int) -> BoundView:
        small, large = self._bind(shape), self._bind(larger(shape, times))
        if not _is_larger(small, large, times):
            raise ValueError(
                f"view {str(self)!r} does not know itself at {times} times the size of {shape}: what it does to blocks "
                "of pixels there is not what it does to pixels here"
            )
        return large

    def __str__(self) -> str:
        described = type(self.instance).__str__ is not object.__str__
        return str(self.instance) if described else type(self.instance).__name__

    @property
    def _key(self) -> tuple[Any, ...]:
        return ("Custom", id(self.instance))


class Ready(View):
    """A view of pictures of one shape, taken out of a `Views`."""

    def __init__(self, bound: BoundView) -> None:
        self.bound = bound

    def bind(self, shape: Sequence[int]) -> BoundView:
        """Return the view itself, which keeps what it knows of where it is from."""
        return self._bind(checked_shape(shape, f"view {str(self)!r}"))

    def _bind(self, shape: Shape) -> BoundView:
        if shape != self.bound.shape:
            raise ValueError(f"view {str(self)!r} is of pictures {self.bound.shape}, got the shape {shape}")
        return self.bound

    def _scaled(self, times: int) -> View:
        raise ValueError(
            f"view {str(self)!r} is of pictures {self.bound.shape} alone: scale the Views that it is from, or gf.view"
        )

    def __str__(self) -> str:
        return self.bound.name

    @property
    def _key(self) -> tuple[Any, ...]:
        return ("Ready", id(self.bound))


def view(name: Any, **parameters: Any) -> View:
    """Return a view by name.

    Args:
        name: One of `genimg_fast.views.CATALOG`; with its parameters, as ``"rotate(degrees=30)"``, whose values are
            numbers, True, False, None, words and tuples; or several joined with "@". Or an object with the methods
            apply and inverse, or view and inverse_view as Visual Anagrams' have.
        parameters: Of this view: see docs/views.md. Those that depend on the picture's shape are checked when the view
            gets one. A text that holds parameters, or several names, takes none.

    Raises:
        TypeError: The name is no string; a parameter is neither a number, a string nor an array of numbers.
        ValueError: An unknown name or parameter, or one that is missing; a text that is none of these.
    """
    if not isinstance(name, str):
        if parameters or isinstance(name, View) or not _is_written(name):
            raise TypeError(f"view: name must be a string, got {type(name).__name__}")
        return Custom(name)
    parts = parsed(name)
    if len(parts) > 1 or parts[0][1]:
        if parameters:
            kind = "a composition" if len(parts) > 1 else "a text with parameters"
            raise ValueError(f"view: {kind} takes no parameters, got {name!r} and {', '.join(parameters)}")
        first, *others = (_named(part, given) for part, given in parts)
        for other in others:
            first = first @ other
        return first
    return _named(parts[0][0], parameters)


def _named(name: str, parameters: dict[str, Any]) -> View:
    """Return a view of the catalogue."""
    if name not in CATALOG:
        raise ValueError(f"view: name must be one of {', '.join(CATALOG)}, got {name!r}")
    accepted = [one for one in inspect.signature(CATALOG[name]).parameters.values() if one.kind is one.KEYWORD_ONLY]
    names = [parameter.name for parameter in accepted]
    unknown = [given for given in parameters if given not in names]
    if unknown:
        raise ValueError(f"view {name!r} takes {', '.join(names) or 'no parameters'}, got {unknown[0]!r}")
    for parameter in accepted:
        if parameter.default is parameter.empty and parameter.name not in parameters:
            raise ValueError(f"view {name!r} needs {parameter.name}: gf.view({name!r}, {parameter.name}=...)")
    defaults = {parameter.name: parameter.default for parameter in accepted}
    values = {key: _kept(f"view {name!r}", key, value) for key, value in parameters.items()}
    return Named(name, {key: value for key, value in values.items() if not _is_default(value, defaults[key])})


def as_view(entry: Any, function: str = "view") -> View:
    """Return the view that a caller named, gave, or wrote to a function.

    Raises:
        TypeError: Neither a name, a view, nor an object with apply and inverse.
        ValueError: An unknown name.
    """
    if isinstance(entry, View):
        return entry
    if isinstance(entry, BoundView):
        return Ready(entry)
    if isinstance(entry, str):
        return view(entry)
    if _is_written(entry):
        return Custom(entry)
    raise TypeError(
        f"{function}: a view must be a name, a View or an object with apply and inverse (or view and inverse_view), "
        f"got {described(entry)}"
    )


def _has(entry: Any, *methods: str) -> bool:
    return all(callable(getattr(entry, method, None)) for method in methods)


def _is_written(entry: Any) -> bool:
    """Tell whether a caller's object can be a view: an instance, not a class that waits to be called."""
    if isinstance(entry, type) or is_tensor(entry) or isinstance(entry, np.ndarray):
        return False
    return _has(entry, "apply", "inverse") or _has(entry, "view", "inverse_view")


def _check_custom(name: str, shape: Shape, apply: Callable[[Any], Any]) -> None:
    """Refuse a caller's function that is no linear map or changes the shape, where the processor can ask it."""
    probes: Any = np.random.default_rng(0).standard_normal((2, *shape)).astype(np.float32)
    try:
        seen = apply(probes)
    except Exception:
        try:
            import torch

            probes = torch.from_numpy(probes)
            seen = apply(probes)
        except Exception:  # it needs another device or dtype, and will say so itself when it is used
            return
    if getattr(seen, "shape", None) != probes.shape:
        got = tuple(seen.shape) if hasattr(seen, "shape") else type(seen).__name__
        raise ValueError(f"view {name!r} must keep the shape of pictures {tuple(probes.shape)}, got {got}")
    check_linear(name, apply, probes, seen)


def _is_larger(small: BoundView, large: BoundView, times: int) -> bool:
    """Tell whether a view of large pictures does to smooth ones and to blocks nearly what a small one does."""
    _, height, width = small.shape
    y, x = np.ogrid[: times * height, : times * width]
    smooth = np.sin(2 * y / (times * height) + 1) + np.cos(3 * x / (times * width)) * y / (times * height)
    ramp = np.stack([smooth * (c + 1) for c in range(small.shape[0])])
    noise = np.random.default_rng(0).standard_normal(small.shape)
    coarse = noise.repeat(times, -2).repeat(times, -1)

    def mean(x: np.ndarray) -> np.ndarray:
        return x.reshape(*x.shape[:-2], height, times, width, times).mean((-3, -1))

    for before, after in ((small.apply, large.apply), (small.inverse, large.inverse)):
        wanted, found = before(mean(ramp)), mean(after(ramp))
        if np.linalg.norm(found - wanted) > 0.25 * np.linalg.norm(wanted):
            return False
        sizes = np.linalg.norm(before(noise)), np.linalg.norm(after(coarse)) / times
        if abs(sizes[0] - sizes[1]) > 0.25 * max(sizes):
            return False
    return True


def _check_permutation(index: np.ndarray) -> None:
    outside = np.flatnonzero((index < 0) | (index >= index.size))
    if outside.size:
        raise ValueError(
            f"Permute: index must hold each of 0 to {index.size - 1} once, got {index[outside[0]]} at {outside[0]}"
        )
    first = np.full(index.size, index.size)
    np.minimum.at(first, index, np.arange(index.size))
    repeated = np.flatnonzero(first[index] != np.arange(index.size))
    if repeated.size:
        entry = index[repeated[0]]
        raise ValueError(
            f"Permute: index must hold each of 0 to {index.size - 1} once, got {entry} at {first[entry]} and "
            f"{repeated[0]}"
        )


def _kept(function: str, name: str, value: Any) -> Any:
    """Return a parameter that nobody else can change: arrays, tensors and nested lists as arrays of their own."""
    if value is None or isinstance(value, str) or np.isscalar(value):
        return value
    if isinstance(value, (list, tuple)) and all(np.isscalar(one) for one in value):
        return tuple(value)
    array = numbers(function, name, value).copy()
    array.setflags(write=False)
    return array[()] if array.ndim == 0 else array


def _is_default(value: Any, default: Any) -> bool:
    if isinstance(value, (bool, np.bool_)) != isinstance(default, bool):
        return False
    return value is default or (isinstance(default, (int, float)) and np.isscalar(value) and value == default)


def _described(value: Any) -> str:
    if hasattr(value, "shape") and value.shape:
        return f"<{'x'.join(map(str, value.shape))}>"
    return repr(value.item() if isinstance(value, np.generic) else value)


def _comparable(value: Any) -> Any:
    """Return what two parameters are compared by: numbers as numbers, whether they have a point or not."""
    if not isinstance(value, np.ndarray):
        return value
    return value.shape, value.dtype.str, value.tobytes()
