"""Views that are others' objects, made ours: measured, and taken as permutations where that is what they are.

An object of Visual Anagrams has ``view(im)`` for one picture (C, H, W) and ``inverse_view(noise)`` for one prediction
(2 C, H, W), noise and variance, which it may change in place.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from genimg_fast._core.backend import is_tensor
from genimg_fast.views._bound import BoundView, Linear, Permutation, Planes
from genimg_fast.views._plan import Row, Shape, stored

# Some of them compute in half precision whatever they get.
_TOLERANCE = 2e-3
_N_PROBES = 3

Function = Callable[[Planes], Planes]


class Peer:
    """An object with ``view`` and ``inverse_view`` as functions of pictures (..., C, H, W), arrays or tensors."""

    def __init__(self, instance: Any, shape: Shape) -> None:
        self._instance, self._shape = instance, shape

    def apply(self, x: Planes) -> Planes:
        return self._each(lambda one: self._instance.view(one.clone()), x)

    def inverse(self, x: Planes) -> Planes:
        return self._each(lambda one: self._turned_back(one, one * 0)[: self._shape[0]], x)

    def variance(self, v: Planes) -> Planes:
        return self._each(lambda one: self._turned_back(one * 0, one)[self._shape[0] :], v)

    def _turned_back(self, noise: Any, variance: Any) -> Any:
        import torch

        return self._instance.inverse_view(torch.cat([noise, variance]))

    def _each(self, function: Function, x: Planes) -> Planes:
        import torch

        pictures = x if is_tensor(x) else torch.from_numpy(np.ascontiguousarray(x))
        found = [function(one) for one in pictures.reshape(-1, *self._shape)]
        stack = torch.stack(found).to(pictures.dtype).reshape(pictures.shape) if found else pictures
        return stack if is_tensor(x) else stack.numpy()


def peer_view(name: str, shape: Shape, instance: Any) -> BoundView:
    """Return the view of an object with ``view`` and ``inverse_view``: a permutation, or a map that is called.

    Raises:
        ValueError: It fails on pictures of this shape, changes their shape, or is no linear map.
    """
    functions = Peer(instance, shape)
    probes = np.random.default_rng(0).standard_normal((_N_PROBES, *shape))
    try:
        seen, back, variance = functions.apply(probes), functions.inverse(probes), functions.variance(probes)
    except Exception as error:  # whatever it does with a shape that it was not made for
        raise ValueError(f"view {name!r} does not take pictures {shape}: {type(error).__name__}: {error}") from error
    check_linear(name, functions.apply, probes, seen)
    check_linear(name, functions.inverse, probes, back, "inverse_view")
    row = _permutation(functions, shape)
    if row is not None and _is_row(name, shape, row, probes, (seen, back, variance)):
        return Permutation(name, shape, row)
    keeps = np.array_equal(seen, probes)
    kinds = {"is_orthogonal": keeps or _is_orthogonal(probes, seen), "is_component": keeps}
    return Linear(name, shape, functions.apply, functions.inverse, variance=functions.variance, **kinds)


def check_linear(name: str, function: Function, probes: Any, seen: Any, what: str = "it") -> None:
    """Refuse a function of pictures under which a sum is not the sum of what is seen of the parts."""
    mixed, wanted = function(probes[:1] + 2 * probes[1:2]), seen[:1] + 2 * seen[1:2]
    # A function that answers with no numbers at all is none either.
    if not bool(abs(mixed - wanted).max() <= _TOLERANCE * abs(wanted).max()):
        raise ValueError(f"view {name!r} must be a linear map of pictures: {what} of a sum is not the sum of its parts")


def _permutation(functions: Peer, shape: Shape) -> Row | None:
    """Find the value that comes to each place by numbering them; None: not one value for each, or not as rows do."""
    channels, pixels = shape[0], shape[1] * shape[2]
    numbers = functions.apply(np.arange(1.0, channels * pixels + 1).reshape(1, *shape)).reshape(channels, pixels)
    entries = np.rint(numbers).astype(np.int64)
    if not np.array_equal(entries, numbers) or abs(entries).min() < 1 or abs(entries).max() > channels * pixels:
        return None
    channel, source = np.divmod(abs(entries) - 1, pixels)
    signs = np.sign(entries)
    if (channel != channel[:, :1]).any() or (signs != signs[:, :1]).any() or (source != source[:1]).any():
        return None
    if len(np.unique(source[0])) < pixels or len(np.unique(channel[:, 0])) < channels:
        return None
    order = tuple(int(c) for c in (channel[:, 0] + 1) * signs[:, 0])
    row = stored(source[0])
    return Row(row.kind, row.parameters, row.table, None if order == tuple(range(1, channels + 1)) else order)


def _is_row(name: str, shape: Shape, row: Row, probes: np.ndarray, found: tuple[np.ndarray, ...]) -> bool:
    """Tell whether view, inverse and variance of an object are those of a row, bit for bit."""
    view = Permutation(name, shape, row)
    wanted = view.apply(probes), view.inverse(probes), view.variance(probes)
    return all(np.array_equal(one, other) for one, other in zip(found, wanted, strict=True))


def _is_orthogonal(probes: np.ndarray, seen: np.ndarray) -> bool:
    before, after = (x.reshape(len(x), -1) for x in (probes, seen))
    size = np.linalg.norm(before, axis=1)
    return bool((abs(after @ after.T - before @ before.T) <= _TOLERANCE * np.outer(size, size)).all())
