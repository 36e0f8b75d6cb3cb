"""Views of pictures of one shape: what they do to arrays and tensors."""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from genimg_fast._core.backend import is_tensor, plain
from genimg_fast.views._plan import Row, Shape, compose, inverse, sources

Planes = Any  # a float array or tensor (..., C, H, W)


class Constant:
    """Numbers that a view needs, in the kind, dtype and device of whatever picture comes.

    Args:
        values: Floats, or integers that are indices and keep their dtype. A function that returns them is called when
            they are first needed.
    """

    def __init__(self, values: np.ndarray | Callable[[], np.ndarray]) -> None:
        self._values = values
        self._arrays: dict[Any, np.ndarray] = {}
        self._tensors = kept(self._tensor)

    @property
    def values(self) -> np.ndarray:
        if callable(self._values):
            self._values = self._values()
        return self._values

    def like(self, x: Planes) -> Any:
        """Return the numbers as x is."""
        if is_tensor(x):
            if self._tensors is None:
                self._tensors = kept(self._tensor)
            return self._tensors.of(x.dtype, x.device)
        if x.dtype not in self._arrays:
            values = self.values
            self._arrays[x.dtype] = values if values.dtype.kind == "i" else values.astype(x.dtype)
        return self._arrays[x.dtype]

    def _tensor(self, dtype: Any, device: Any) -> Any:
        import torch

        values = self.values
        return torch.from_numpy(values).to(device, None if values.dtype.kind == "i" else dtype)


def kept(make: Callable[..., Any]) -> Any:
    """Return a `_torch.Kept` of tensors; None while torch was not imported.

    Compilers follow what was there before them, so not only when the first tensor comes.
    """
    if "torch" not in sys.modules:
        return None
    from genimg_fast._torch import Kept

    return Kept(make)


def as_array(values: Any) -> np.ndarray:
    """Return numbers in any container as an array."""
    return np.asarray(values.detach().cpu() if is_tensor(values) else values)


def along_axes(rows: np.ndarray, columns: np.ndarray) -> Callable[[Planes], Planes]:
    """Return the map patch -> rows @ patch @ columns.T of all patches, as large as the two square matrices."""
    left, right = Constant(np.ascontiguousarray(rows)), Constant(np.ascontiguousarray(columns.T))
    height, width = len(rows), len(columns)

    def run(x: Planes) -> Planes:
        h, w = x.shape[-2:]
        down = left.like(x) @ x.reshape(*x.shape[:-2], h // height, height, w)
        across = down.reshape(*x.shape[:-1], w // width, width) @ right.like(x)
        return across.reshape(x.shape)

    return run


class BoundView(ABC):
    """A view of pictures (C, H, W).

    Attributes:
        name: What it was asked for as.
        shape: (C, H, W).
        row: Its row of a plan, if it is a signed permutation; else None.
        is_orthogonal: White noise stays white. None: not known.
        is_component: The parts of a picture that this view and others make are summed (Factorized Diffusion, Geng, Park
            & Owens, ECCV 2024), not averaged.
    """

    row: Row | None = None
    is_orthogonal: bool | None = True
    is_component = False
    origin: tuple[Any, Shape] | None = None  # the view and the shape that it was bound to

    def __init__(self, name: str, shape: Shape) -> None:
        self.name, self.shape = name, shape

    def apply(self, x: Planes) -> Planes:
        """Return the view of pictures.

        Args:
            x: A float array or tensor (..., C, H, W), on any device. Gradients go through.

        Raises:
            TypeError: Not a float array or tensor.
            ValueError: Another shape.
        """
        return self._in_float(self._apply, x)

    __call__ = apply

    def inverse(self, x: Planes) -> Planes:
        """Bring what a model predicted for the view back to the picture; arguments and errors as for `apply`."""
        return self._in_float(self._inverse, x)

    def variance(self, v: Planes) -> Planes:
        """Bring the variance that a model learned, one for each value of the view, back to the picture.

        Permutations move it as they move pixels and channels, and never change its sign. Other views leave it where it
        is: the variances of mixed values have no exact counterpart.
        """
        return self._in_float(self._variance, v)

    def __repr__(self) -> str:
        return f"<view {self.name!r} of {self.shape}>"

    def __reduce__(self) -> Any:
        # Its functions are made anew: they cannot be pickled.
        return super().__reduce__() if self.origin is None else (_bound, self.origin)

    def _in_float(self, function: Callable[[Planes], Planes], x: Planes) -> Planes:
        if is_tensor(x):
            # What is neither strided nor has values gets its sentence; all others are spared the call.
            if x.is_meta or x.is_nested or x.layout is not sys.modules["torch"].strided:
                plain(f"view {self.name!r}", "x", x)
            dtype = x.dtype
            is_float = dtype.is_floating_point and dtype.itemsize > 1
        else:
            x = x if type(x) is np.ndarray and x.dtype.isnative else plain(f"view {self.name!r}", "x", x)
            is_float = x.dtype.kind == "f"
        if not is_float:
            raise TypeError(f"view {self.name!r}: x must be of a real floating dtype, got {x.dtype}")
        if x.shape[-3:] != self.shape:
            c, h, w = self.shape
            raise ValueError(f"view {self.name!r}: x must be (..., {c}, {h}, {w}), got the shape {tuple(x.shape)}")
        return function(x)

    @abstractmethod
    def _apply(self, x: Planes) -> Planes: ...

    @abstractmethod
    def _inverse(self, x: Planes) -> Planes: ...

    def _variance(self, v: Planes) -> Planes:
        return v


def _bound(view: Any, shape: Shape) -> BoundView:
    return view.bind(shape)


class Permutation(BoundView):
    """A signed permutation: exact, bit for bit."""

    def __init__(self, name: str, shape: Shape, row: Row) -> None:
        super().__init__(name, shape)
        self.row: Row = row
        self._there = _Gather(row, shape)
        self._back = _Gather(inverse(row, shape[1]), shape)

    def _apply(self, x: Planes) -> Planes:
        return self._there(x)

    def _inverse(self, x: Planes) -> Planes:
        return self._back(x)

    def _variance(self, v: Planes) -> Planes:
        return self._back(v, signed=False)

    def __reduce__(self) -> Any:
        return Permutation, (self.name, self.shape, self.row)


class _Gather:
    """A row at work."""

    def __init__(self, row: Row, shape: Shape) -> None:
        _, height, width = shape
        self._pixels: Constant | None = None
        self._order: Constant | None = None
        self._signs: Constant | None = None
        if not row.keeps_pixels:
            self._pixels = Constant(lambda: sources(row, height, width).ravel().astype(np.int64))
        if row.channels is not None:
            entries = np.array(row.channels, np.int64)
            self._order = Constant(abs(entries) - 1)
            self._signs = Constant(np.sign(entries).astype(np.float64)[:, None, None])

    def __call__(self, x: Planes, *, signed: bool = True) -> Planes:
        if self._pixels is not None:
            x = x.reshape(*x.shape[:-2], x.shape[-2] * x.shape[-1])[..., self._pixels.like(x)].reshape(x.shape)
        if self._order is not None and self._signs is not None:
            x = x[..., self._order.like(x), :, :]
            x = x * self._signs.like(x) if signed else x
        return x


class Linear(BoundView):
    """Any other linear map, by two functions of planes; a third where variances do not stay where they are."""

    def __init__(
        self,
        name: str,
        shape: Shape,
        forward: Callable[[Planes], Planes],
        backward: Callable[[Planes], Planes],
        *,
        is_orthogonal: bool | None = False,
        is_component: bool = False,
        variance: Callable[[Planes], Planes] | None = None,
    ) -> None:
        super().__init__(name, shape)
        self._forward, self._backward, self._of_variance = forward, backward, variance
        self.is_orthogonal, self.is_component = is_orthogonal, is_component

    def _apply(self, x: Planes) -> Planes:
        return _computed(self._forward, x)

    def _inverse(self, x: Planes) -> Planes:
        return _computed(self._backward, x)

    def _variance(self, v: Planes) -> Planes:
        return v if self._of_variance is None else _computed(self._of_variance, v)


def _computed(function: Callable[[Planes], Planes], x: Planes) -> Planes:
    """Return a function's result, in x's dtype; half types are computed in float32."""
    if x.dtype.itemsize >= 4 and (type(x) is np.ndarray or not _is_cast(x)):
        return function(x)
    if is_tensor(x):
        from genimg_fast._torch import full_precision

        return full_precision(function, x if x.dtype.itemsize >= 4 else x.float()).to(x.dtype)
    return function(x.astype(np.float32)).astype(x.dtype)


def _is_cast(x: Planes) -> bool:
    """Tell whether autocast may round products of tensors."""
    return is_tensor(x) and sys.modules["torch"]._C._is_any_autocast_enabled()


class Chain(BoundView):
    """Views one after the other, the last of the list first."""

    def __init__(self, name: str, shape: Shape, parts: Sequence[BoundView]) -> None:
        super().__init__(name, shape)
        self.parts = tuple(parts)
        known = {part.is_orthogonal for part in parts}
        self.is_orthogonal = next((answer for answer in (False, None) if answer in known), True)
        self.is_component = any(part.is_component for part in parts)

    def _apply(self, x: Planes) -> Planes:
        for part in reversed(self.parts):
            x = part.apply(x)
        return x

    def _inverse(self, x: Planes) -> Planes:
        for part in self.parts:
            x = part.inverse(x)
        return x

    def _variance(self, v: Planes) -> Planes:
        for part in self.parts:
            v = part.variance(v)
        return v


def chain(name: str, shape: Shape, parts: Sequence[BoundView]) -> BoundView:
    """Return views one after the other: neighbouring permutations become one, and the identity goes."""
    joined: list[BoundView] = []
    for part in parts:
        if joined and joined[-1].row is not None and part.row is not None:
            row = compose(joined.pop().row or Row(), part.row, *shape[1:])
            part = Permutation(name, shape, row)
        joined.append(part)
    kept = [part for part in joined if part.row is None or not part.row.is_identity] or joined[:1]
    if len(kept) > 1:
        return Chain(name, shape, kept)
    kept[0].name = name
    return kept[0]
