"""Checks of the arguments that systems share. Each error names the argument, its value and what is accepted."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from genimg_fast._pictures import MIN_SIDE, Kind, kind_of, unpack

Shape = tuple[int, int]

MAX_PIXELS = 1 << 31  # as many values as histogram matching pools


def exemplars(image: Any) -> tuple[list[np.ndarray], Kind]:
    """Return the planes of one picture or of a list of them, and the kind they share."""
    if not isinstance(image, (list, tuple)):
        kind = kind_of(image, "image")
        return [unpack(image, kind, "image")], kind
    if not image:
        raise ValueError("image must be a picture or a list of at least one, got an empty list")
    kind = kind_of(image[0], "image[0]")
    planes = [unpack(image[0], kind, "image[0]")]
    planes += [alike(one, f"image[{i}]", planes[0], kind, "image[0]") for i, one in enumerate(image[1:], 1)]
    return planes, kind


def alike(
    image: Any, name: str, other_planes: np.ndarray, other: Kind, other_name: str, *, any_channels: bool = False
) -> np.ndarray:
    """Return the planes of a picture that must be of the kind of another."""

    def compare(what: str, got: Any, wanted: Any) -> None:
        if got != wanted:
            raise ValueError(f"{name} must have the {what} of {other_name}, got {got} and {wanted}")

    kind = kind_of(image, name)
    compare("device", kind.device or "numpy", other.device or "numpy")
    compare("dtype", kind.dtype, other.dtype)
    planes = unpack(image, kind, name)
    if not any_channels:
        compare("number of channels", planes.shape[-3], other_planes.shape[-3])
    compare("batch shape", planes.shape[:-3], other_planes.shape[:-3])
    return planes


def choice(name: str, value: Any, accepted: Sequence[str]) -> str:
    if value not in accepted:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, accepted))}, got {value!r}")
    return value


def integer(name: str, value: Any, least: int, most: int | None = None) -> int:
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise TypeError(f"{name} must be an integer, got {value!r}")
    number = operator.index(value)
    if number < least or (most is not None and number > most):
        accepted = f"at least {least}" if most is None else f"from {least} to {most}"
        raise ValueError(f"{name} must be {accepted}, got {number}")
    return number


def positive(name: str, value: Any) -> float:
    if not 0 < value < math.inf:
        raise ValueError(f"{name} must be a positive finite number, got {value!r}")
    return float(value)


def tolerance(value: Any) -> float:
    if not 0 <= value < math.inf:
        raise ValueError(f"tolerance must be 0 or a positive finite number, got {value!r}")
    return float(value)


def device(name: Any, otherwise: Any) -> Any:
    """Return the torch.device of a name; for None another one, or the processor."""
    import torch

    if name is None:
        return otherwise or torch.device("cpu")
    try:
        found = torch.device(name)
        torch.empty(0, device=found)
    except (RuntimeError, AssertionError) as error:  # torch asserts that it was built with CUDA
        raise ValueError(f"device must be one that torch has here, got {name!r}: {error}") from error
    return found


def size(value: Any, exemplar: Shape) -> Shape:
    if value is None:
        return exemplar
    sides = tuple(value) if isinstance(value, Iterable) else (value, value)
    if len(sides) != 2:
        raise ValueError(f"size must be one integer or two (height, width), got {value!r}")
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
    if not isinstance(value, Iterable):
        return [integer("seed", value, 0)], False
    found: list[int | None] = [integer("seed", one, 0) for one in value]
    if not found:
        raise ValueError("seed must be None, an integer or a list of at least one, got an empty list")
    return found, True


def weights(value: Any, n: int, of: str = "exemplar") -> list[float]:
    """Return n weights with the sum 1."""
    numbers = [1.0] * n if value is None else [float(w) for w in value]
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
        numbers = [float(value.get(name, 1.0)) for name in names]
    else:
        numbers = [1.0] * len(names) if value is None else [float(w) for w in value]
    if len(numbers) != len(names):
        raise ValueError(f"layer_weights must hold one number for each of {listed}, got {len(numbers)}")
    if not all(math.isfinite(w) and w >= 0 for w in numbers) or not any(numbers):
        raise ValueError(f"layer_weights must be finite, not negative and not all 0, got {numbers}")
    return {name: w / sum(numbers) for name, w in zip(names, numbers, strict=True)}
