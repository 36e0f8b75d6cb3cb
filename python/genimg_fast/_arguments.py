"""Checks of the arguments that systems share. Each error names the argument, its value and what is accepted."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from genimg_fast._pictures import MIN_SIDE, Kind, kind_of, unpack, with_channels

Shape = tuple[int, int]

MAX_PIXELS = 1 << 31  # as many values as histogram matching pools


def exemplars(image: Any) -> tuple[list[np.ndarray], Kind]:
    """Return the planes of one picture or of a list of them, of one number of channels, and the kind they share."""
    named = listed(image)
    planes, kind = alike(named)
    return promoted(planes, [name for name, _ in named]), kind


def listed(image: Any) -> list[tuple[str, Any]]:
    """Return one picture or a list of them with their names."""
    if not isinstance(image, (list, tuple)):
        return [("image", image)]
    if not image:
        raise ValueError("image must be a picture or a list of at least one, got an empty list")
    return [(f"image[{i}]", one) for i, one in enumerate(image)]


def alike(pictures: Sequence[tuple[str, Any]]) -> tuple[list[np.ndarray], Kind]:
    """Return the planes of named pictures of one kind, dtype and batch shape, of any channels, and their kind.

    The kind has channels where any of them has.
    """
    kinds = [kind_of(image, name) for name, image in pictures]
    working = np.result_type(*(kind.working for kind in kinds))
    first, other = pictures[0][0], kinds[0]
    planes: list[np.ndarray] = []

    def compare(what: str, got: Any, wanted: Any, error: type[Exception] = ValueError) -> None:
        if got != wanted:
            raise error(f"{name} must have the {what} of {first}, got {got} and {wanted}")

    for (name, image), kind in zip(pictures, kinds, strict=True):
        is_array, container = ([one.device is None for one in (kind, other)], ("torch.Tensor", "numpy.ndarray"))
        compare("kind", container[is_array[0]], container[is_array[1]], TypeError)
        compare("device", kind.device, other.device)
        compare("dtype", kind.name, other.name)
        planes.append(unpack(image, replace(kind, working=working), name))
        compare("batch shape", planes[-1].shape[:-3], planes[0].shape[:-3])
    return planes, replace(other, has_channels=any(kind.has_channels for kind in kinds), working=working)


def promoted(planes: Sequence[np.ndarray], names: Sequence[str]) -> list[np.ndarray]:
    """Return planes of one number of channels: grey ones count as equal channels, as many as the others have."""
    counts = [one.shape[-3] for one in planes]
    most = max(counts)
    for name, count in zip(names, counts, strict=True):
        if count not in (1, most):
            first = names[counts.index(most)]
            raise ValueError(
                f"{name} must have the number of channels of {first}, got {count} and {most}; grey pictures alone "
                f"count as {most} equal channels"
            )
    return [with_channels(one, most) for one in planes]


def choice(name: str, value: Any, accepted: Sequence[str]) -> str:
    if not isinstance(value, str) or value not in accepted:
        got = repr(value) if isinstance(value, str) else _short(value)
        raise ValueError(f"{name} must be one of {', '.join(map(repr, accepted))}, got {got}")
    return value


def integer(name: str, value: Any, least: int, most: int | None = None) -> int:
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise TypeError(f"{name} must be an integer, got {_short(value)}")
    try:
        number = operator.index(value)
    except TypeError:  # an array or a tensor of no single integer
        raise TypeError(f"{name} must be an integer, got {_short(value)}") from None
    if number < least or (most is not None and number > most):
        accepted = f"at least {least}" if most is None else f"from {least} to {most}"
        raise ValueError(f"{name} must be {accepted}, got {number}")
    return number


def real(name: str, value: Any) -> float:
    """Return a number as a float: one of Python's or NumPy's, or an array or a tensor of a single one."""
    try:
        if isinstance(value, (str, bytes, bool)):
            raise TypeError
        return float(value)
    except (TypeError, ValueError, RuntimeError, OverflowError):  # torch's of several values is a RuntimeError
        raise TypeError(f"{name} must be a number, got {_short(value)}") from None


def positive(name: str, value: Any) -> float:
    number = real(name, value)
    if not 0 < number < math.inf:
        raise ValueError(f"{name} must be a positive finite number, got {number!r}")
    return number


def not_negative(name: str, value: Any) -> float:
    number = real(name, value)
    if not 0 <= number < math.inf:
        raise ValueError(f"{name} must be 0 or a positive finite number, got {number!r}")
    return number


def fraction(name: str, value: Any) -> float:
    number = real(name, value)
    if not 0 <= number <= 1:
        raise ValueError(f"{name} must lie in [0, 1], got {number!r}")
    return number


def function(name: str, value: Any) -> Any:
    """Return a callable, or None."""
    if value is not None and not callable(value):
        raise TypeError(f"{name} must be callable or None, got {_short(value)}")
    return value


def flag(name: str, value: Any) -> bool:
    if not isinstance(value, (bool, int, np.bool_)):
        raise TypeError(f"{name} must be True or False, got {_short(value)}")
    return bool(value)


def several(name: str, value: Any) -> list[Any]:
    """Return the items of a list, a tuple or anything else that is iterated over, but for text."""
    if isinstance(value, (str, bytes)) or not isinstance(value, Iterable) or getattr(value, "ndim", 1) == 0:
        raise TypeError(f"{name} must be a list, got {_short(value)}")
    return list(value)


def _short(value: Any) -> str:
    """Return how an argument is shown in an error: arrays are not printed."""
    return type(value).__name__ if hasattr(value, "shape") and value.shape != () else repr(value)[:200]


def device(name: Any, otherwise: Any) -> Any:
    """Return the torch.device of a name; for None another one, or the processor."""
    import torch

    if name is None:
        return otherwise or torch.device("cpu")
    try:
        found = torch.device(name)
        torch.empty(0, device=found)
        if found.type == "meta":
            raise RuntimeError("tensors there have no values")
    except (RuntimeError, AssertionError, TypeError) as error:  # torch asserts that it was built with CUDA
        raise ValueError(f"device must be one that torch has here, got {_short(name)}: {error}") from error
    return found


def size(value: Any, exemplar: Shape) -> Shape:
    if value is None:
        return exemplar
    is_one = not isinstance(value, Iterable) or getattr(value, "ndim", 1) == 0
    sides = (value, value) if is_one else several("size", value)
    if len(sides) != 2:
        raise ValueError(f"size must be one integer or two (height, width), got {_short(value)}")
    height, width = (integer("size", side, MIN_SIDE) for side in sides)
    if height * width > MAX_PIXELS:
        raise ValueError(f"size must be at most {MAX_PIXELS} pixels in all, got {height}x{width}")
    return height, width


def scales(value: Any, shortest: int, *, coarsest: int, most: int) -> int:
    """Return a number of sizes, each half of the next.

    "auto" takes at most ``most``, and none under ``coarsest`` pixels; a number may leave `MIN_SIDE` pixels.
    """
    if isinstance(value, str):
        if value != "auto":
            raise ValueError(f"scales must be 'auto' or an integer, got {value!r}")
        return min(most, max(1, int(math.log2(shortest / coarsest)) + 1))
    number, limit = integer("scales", value, 1), max(1, int(math.log2(shortest / MIN_SIDE)) + 1)
    if number > limit:
        raise ValueError(f"scales must be at most {limit} for a shortest side of {shortest} pixels, got {number}")
    return number


def seeds(value: Any) -> tuple[list[int | None], bool]:
    """Return the seeds and whether they make a batch."""
    if value is None:
        return [None], False
    if not isinstance(value, Iterable) or getattr(value, "ndim", 1) == 0:
        return [integer("seed", value, 0)], False
    found: list[int | None] = [integer("seed", one, 0) for one in several("seed", value)]
    if not found:
        raise ValueError("seed must be None, an integer or a list of at least one, got an empty list")
    return found, True


def weights(value: Any, n: int, of: str = "exemplar") -> list[float]:
    """Return n weights with the sum 1."""
    numbers = [1.0] * n if value is None else [real("weights", w) for w in several("weights", value)]
    if len(numbers) != n:
        raise ValueError(f"weights must hold one number for each {of}, which are {n}, got {len(numbers)}")
    if not all(math.isfinite(w) and w > 0 for w in numbers):
        raise ValueError(f"weights must be positive and finite, got {numbers}")
    return [w / sum(numbers) for w in numbers]


def layer_weights(value: Any, names: Sequence[str]) -> dict[str, float]:
    """Return a weight for each layer, with the sum 1; those that a mapping leaves out count 1."""
    listed = ", ".join(names)
    if isinstance(value, Mapping):
        unknown = [name for name in value if name not in names]
        if unknown:
            raise ValueError(f"layer_weights must name layers in use, got {unknown[0]!r}; these are {listed}")
        numbers = [real(f"layer_weights[{name!r}]", value.get(name, 1.0)) for name in names]
    elif value is None:
        numbers = [1.0] * len(names)
    else:
        numbers = [real("layer_weights", w) for w in several("layer_weights", value)]
    if len(numbers) != len(names):
        raise ValueError(f"layer_weights must hold one number for each of {listed}, got {len(numbers)}")
    if not all(math.isfinite(w) and w >= 0 for w in numbers) or not any(numbers):
        raise ValueError(f"layer_weights must be finite, not negative and not all 0, got {numbers}")
    return {name: w / sum(numbers) for name, w in zip(names, numbers, strict=True)}
