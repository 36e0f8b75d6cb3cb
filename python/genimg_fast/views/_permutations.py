"""The signed permutations that have names: functions of a shape that return a row."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from genimg_fast._arguments import integer
from genimg_fast._core.backend import is_tensor
from genimg_fast.views._jigsaw import jigsaw_sources
from genimg_fast.views._parameters import number
from genimg_fast.views._plan import CIRCLE, HINGE, MAX_PIXELS, Row, Shape, affine, roll, stored

_FARTHEST = 1 << 53  # beyond, floats are no longer exact integers


def identity(shape: Shape) -> Row:
    return Row()


def flip(shape: Shape) -> Row:
    """Upside down."""
    return affine(-1, 0, shape[1] - 1, 0, 1, 0)


def hflip(shape: Shape) -> Row:
    """Left for right."""
    return affine(1, 0, 0, 0, -1, shape[2] - 1)


def rotate_cw(shape: Shape) -> Row:
    """A quarter turn clockwise."""
    side = _square("rotate_cw", shape)
    return affine(0, -1, side - 1, 1, 0, 0)


def rotate_ccw(shape: Shape) -> Row:
    """A quarter turn counterclockwise."""
    side = _square("rotate_ccw", shape)
    return affine(0, 1, 0, -1, 0, side - 1)


def rotate_180(shape: Shape) -> Row:
    """A half turn."""
    return affine(-1, 0, shape[1] - 1, 0, -1, shape[2] - 1)


def transpose(shape: Shape) -> Row:
    """Rows for columns."""
    _square("transpose", shape)
    return affine(0, 1, 0, 1, 0, 0)


def skew(shape: Shape, *, slope: float = 1.5) -> Row:
    """Columns moved down, around the edge, by slope times their distance from the middle (towards 0)."""
    _, height, width = shape
    if isinstance(slope, float) and slope != slope:
        raise ValueError(f"slope must be finite, got {slope!r}")
    if abs(number("slope", slope)) * width >= _FARTHEST:
        raise ValueError(f"slope must move columns by less than 2^53 pixels, got {slope!r} for a width of {width}")
    return roll(np.trunc(slope * (np.arange(width) - width // 2)).astype(np.int64), height)


def negate(shape: Shape) -> Row:
    """The opposite of every value."""
    return Row(channels=tuple(range(-1, -shape[0] - 1, -1)))


def permute_channels(shape: Shape, *, order: Sequence[int]) -> Row:
    """Channel c is channel order[c]."""
    given: Any = order
    listed = given.tolist() if is_tensor(given) or isinstance(given, np.ndarray) else given
    if not isinstance(listed, Sequence) or isinstance(listed, str):
        raise TypeError(f"order must be a sequence of integers, got {order!r}")
    found = [integer("order", channel, 0) for channel in listed]
    if sorted(found) != list(range(shape[0])):
        raise ValueError(f"order must hold each of 0 to {shape[0] - 1} once, got {tuple(found)}")
    return Row(channels=None if found == sorted(found) else tuple(c + 1 for c in found))


def pixel_permute(shape: Shape, *, seed: int = 0) -> Row:
    """All pixels, in an order that the seed says."""
    return stored(np.random.default_rng(integer("seed", seed, 0)).permutation(shape[1] * shape[2]))


def patch_permute(shape: Shape, times: int = 1, *, n_patches: int = 8, patch: int | None = None, seed: int = 0) -> Row:
    """Rectangles of a grid, in an order that the seed says: n_patches a side, or squares of the side patch."""
    _, height, width = shape
    if patch is not None:
        rows, columns = (_divided("patch", side, integer("patch", patch, 1)) for side in (height, width))
    else:
        rows = columns = integer("n_patches", n_patches, 1)
        for side in (height, width):
            _divided("n_patches", side, rows)
    height, width = times * height, times * width
    grid = np.arange(height * width).reshape(rows, height // rows, columns, width // columns)
    patches = grid.swapaxes(1, 2).reshape(rows * columns, -1)
    shuffled = patches[np.random.default_rng(integer("seed", seed, 0)).permutation(rows * columns)]
    return stored(shuffled.reshape(rows, columns, height // rows, width // columns).swapaxes(1, 2))


def jigsaw(shape: Shape, times: int = 1, *, n_pieces: int = 4, seed: int = 0) -> Row:
    """Pieces of a puzzle, n_pieces along the shorter side, moved and turned to where they fit; leftover pixels stay."""
    _, height, width = shape
    count = integer("n_pieces", n_pieces, 1)
    if count >= MAX_PIXELS:
        raise ValueError(f"n_pieces must be fewer than {MAX_PIXELS}, got {count}")
    return stored(jigsaw_sources(height, width, count, integer("seed", seed, 0), times))


def inner_circle(shape: Shape) -> Row:
    """A half turn inside a circle of 3/4 of the shorter side; the rest stays."""
    return Row(CIRCLE, (min(shape[1:]),))


def square_hinge(shape: Shape) -> Row:
    """Three by three squares, turned by a quarter clockwise and counterclockwise in turn; leftover pixels stay."""
    side = _square("square_hinge", shape) // 3
    return Row(HINGE, (side, 1)) if side else Row()


def _square(name: str, shape: Shape) -> int:
    _, height, width = shape
    if height != width:
        raise ValueError(f"view {name!r} needs a square picture (H == W), got the shape {shape}")
    return height


def _divided(name: str, side: int, by: int) -> int:
    if side % by:
        raise ValueError(f"view 'patch_permute': {name} must divide the picture's sides, got {by} for a side of {side}")
    return side // by


PERMUTATIONS: dict[str, Callable[..., Any]] = {
    function.__name__: function
    for function in (
        identity,
        flip,
        hflip,
        rotate_cw,
        rotate_ccw,
        rotate_180,
        transpose,
        skew,
        patch_permute,
        pixel_permute,
        jigsaw,
        inner_circle,
        square_hinge,
        negate,
        permute_channels,
    )
}
