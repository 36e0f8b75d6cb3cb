"""Checks of the arguments that texture models share. Each error names the argument, its value and what is accepted."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from genimg_fast.textures._analysis import ORDERS, Shape, max_height
from genimg_fast.textures._picture import MIN_SIDE, Kind, kind_of, unpack


def exemplars(image: Any) -> tuple[list[np.ndarray], Kind]:
    """Return the planes of one picture or of a list of them, and the kind they share."""
    if not isinstance(image, (list, tuple)):
        kind = kind_of(image, "image")
        return [unpack(image, kind, "image")], kind
    if not image:
        raise ValueError("image must be a picture or a list of at least one, got an empty list")
    kind = kind_of(image[0], "image[0]")
    planes = [unpack(image[0], kind, "image[0]")]
    planes += [_alike(one, f"image[{i}]", planes[0], kind, "image[0]") for i, one in enumerate(image[1:], 1)]
    return planes, kind


def palettes(palette: Any, exemplar: np.ndarray, kind: Kind) -> list[np.ndarray]:
    """Return the palette's planes in a list, which is empty for None. A grey exemplar takes one of any channels."""
    if palette is None:
        return []
    return [_alike(palette, "palette", exemplar, kind, "image", any_channels=exemplar.shape[-3] == 1)]


def _alike(
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


def integer(name: str, value: Any, least: int) -> int:
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise TypeError(f"{name} must be an integer, got {value!r}")
    number = operator.index(value)
    if number < least:
        raise ValueError(f"{name} must be at least {least}, got {number}")
    return number


def size(value: Any, exemplar: Shape) -> Shape:
    if value is None:
        return exemplar
    sides = tuple(value) if isinstance(value, Iterable) else (value, value)
    if len(sides) != 2:
        raise ValueError(f"size must be one integer or two (height, width), got {value!r}")
    height, width = (integer("size", side, MIN_SIDE) for side in sides)
    return height, width


def height(value: Any, pyramid: str, order: int, exemplars: Sequence[Shape], output: Shape) -> int:
    """Return the number of scales; "auto" leaves a lowpass residual whose shorter side is about 16 pixels.

    So the coarsest bands have a period of a sixteenth of the exemplar's side or less: still coarser ones would hold too
    few independent samples to estimate a histogram from.
    """
    exemplar = min(exemplars, key=min)
    try:
        most = min(max_height(pyramid, shape, order) for shape in (exemplar, output))
    except ValueError as error:
        raise ValueError(f"image and size do not suit the {pyramid} pyramid of order {order}: {error}") from None
    if isinstance(value, str):
        if value != "auto":
            raise ValueError(f"height must be 'auto' or an integer, got {value!r}")
        return min(max(1, round(math.log2(min(exemplar) / 16))), most)
    number = integer("height", value, 1)
    if number > most:
        sizes = f"an exemplar of {exemplar[0]}x{exemplar[1]} and a result of {output[0]}x{output[1]} pixels"
        raise ValueError(f"height must be at most {most} for {sizes}, got {number}")
    return number


def order(value: Any, pyramid: str) -> int:
    accepted = ORDERS[pyramid]
    number = integer("order", value, 0)
    if number not in accepted:
        listed = ", ".join(map(str, accepted))
        raise ValueError(f"order must be one of {listed} for the {pyramid} pyramid, got {number}")
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


def weights(value: Any, n: int) -> list[float]:
    """Return n weights with the sum 1."""
    numbers = [1.0] * n if value is None else [float(w) for w in value]
    if len(numbers) != n:
        raise ValueError(f"weights must hold one number for each exemplar, which are {n}, got {len(numbers)}")
    if not all(math.isfinite(w) and w > 0 for w in numbers):
        raise ValueError(f"weights must be positive and finite, got {numbers}")
    return [w / sum(numbers) for w in numbers]


def tolerance(value: Any) -> float:
    if not 0 <= value < math.inf:
        raise ValueError(f"tolerance must be 0 or a positive finite number, got {value!r}")
    return float(value)
