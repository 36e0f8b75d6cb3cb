"""Views by name, not yet of a shape, and their composition."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from genimg_fast.views._bound import BoundView, Linear, Permutation, Planes, as_array, chain
from genimg_fast.views._filters import COMPONENTS, INTERPOLATING
from genimg_fast.views._orthogonal import ORTHOGONAL
from genimg_fast.views._permutations import PERMUTATIONS
from genimg_fast.views._plan import Row, Shape, checked_shape, stored

CATALOG: dict[str, Callable[..., Any]] = {**PERMUTATIONS, **ORTHOGONAL, **INTERPOLATING, **COMPONENTS}


class View(ABC):
    """A view of pictures of any shape that it fits. ``a @ b`` is the view of x -> a(b(x)); either may be a name."""

    def bind(self, shape: Sequence[int]) -> BoundView:
        """Return the view of pictures (C, H, W).

        Raises:
            TypeError: Sides that are no integers.
            ValueError: It is not defined for this shape, or a parameter is wrong.
        """
        checked = checked_shape(shape)
        bound = self._bind(checked)
        bound.origin = self, checked
        return bound

    @abstractmethod
    def _bind(self, shape: Shape) -> BoundView: ...

    @abstractmethod
    def __str__(self) -> str: ...

    @property
    @abstractmethod
    def _key(self) -> tuple[Any, ...]:
        """What makes two views the same."""

    def __call__(self, x: Planes) -> Planes:
        """Return the view of pictures (..., C, H, W)."""
        if getattr(x, "ndim", 0) < 3:
            raise ValueError(f"view {str(self)!r}: x must be (..., C, H, W), got {_described(x)}")
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
        made = CATALOG[self.name](shape, **self.parameters)
        if isinstance(made, Row):
            return Permutation(str(self), shape, made)
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
        values = as_array(index)
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

    def __str__(self) -> str:
        return " @ ".join(map(str, self.parts))

    @property
    def _key(self) -> tuple[Any, ...]:
        return tuple(part._key for part in self.parts)


class Custom(View):
    """A view that a caller wrote: an object with the methods apply and inverse."""

    def __init__(self, instance: Any) -> None:
        self.instance = instance

    def _bind(self, shape: Shape) -> BoundView:
        orthogonal = getattr(self.instance, "is_orthogonal", None)
        return Linear(str(self), shape, self.instance.apply, self.instance.inverse, is_orthogonal=orthogonal)

    def __str__(self) -> str:
        described = type(self.instance).__str__ is not object.__str__
        return str(self.instance) if described else type(self.instance).__name__

    @property
    def _key(self) -> tuple[Any, ...]:
        return ("Custom", id(self.instance))


def view(name: str, **parameters: Any) -> View:
    """Return a view by name.

    Args:
        name: One of `genimg_fast.views.CATALOG`, or several joined with "@", which then have no parameters.
        parameters: Of this view: see docs/views.md. Those that depend on the picture's shape are checked when the view
            gets one.

    Raises:
        TypeError: The name is no string.
        ValueError: An unknown name or parameter, or one that is missing.
    """
    if not isinstance(name, str):
        raise TypeError(f"view: name must be a string, got {type(name).__name__}")
    if "@" in name:
        if parameters:
            raise ValueError(f"view: a composition takes no parameters, got {name!r} and {', '.join(parameters)}")
        return as_view(name)
    if name not in CATALOG:
        raise ValueError(f"view: name must be one of {', '.join(CATALOG)}, got {name!r}")
    _, *accepted = inspect.signature(CATALOG[name]).parameters.values()
    names = [parameter.name for parameter in accepted]
    unknown = [given for given in parameters if given not in names]
    if unknown:
        raise ValueError(f"view {name!r} takes {', '.join(names) or 'no parameters'}, got {unknown[0]!r}")
    for parameter in accepted:
        if parameter.default is parameter.empty and parameter.name not in parameters:
            raise ValueError(f"view {name!r} needs {parameter.name}: gf.view({name!r}, {parameter.name}=...)")
    defaults = {parameter.name: parameter.default for parameter in accepted}
    return Named(name, {key: value for key, value in parameters.items() if not _is_default(value, defaults[key])})


def as_view(entry: Any) -> View:
    """Return the view that a caller named, gave, or wrote.

    Raises:
        TypeError: Neither a name, a view, nor an object with apply and inverse.
        ValueError: An unknown name.
    """
    if isinstance(entry, View):
        return entry
    if isinstance(entry, str):
        first, *others = (view(name.strip()) for name in entry.split("@"))
        for other in others:
            first = first @ other
        return first
    if callable(getattr(entry, "apply", None)) and callable(getattr(entry, "inverse", None)):
        return Custom(entry)
    raise TypeError(f"a view must be a name, a View or an object with apply and inverse, got {type(entry).__name__}")


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


def _is_default(value: Any, default: Any) -> bool:
    return value is default or (isinstance(default, (int, float)) and np.isscalar(value) and value == default)


def _described(value: Any) -> str:
    if hasattr(value, "shape"):
        return f"<{'x'.join(map(str, value.shape))}>"
    return repr(value)


def _comparable(value: Any) -> Any:
    array = as_array(value)
    return array.shape, array.tobytes()
