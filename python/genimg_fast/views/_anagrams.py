"""Views by the names that Visual Anagrams gives them (D. Geng, I. Park, A. Owens, CVPR 2024 and ECCV 2024).

What their names mean: filters of a size in pixels of a picture of 64 x 64, which grows with the picture's height in
whole multiples of 64; edges mirrored about the outermost pixels, or zeros; turns that are meant to fail. `hybrid_low`
and its like are ours: their size is in pixels of the picture that there is, and their edges mirror the outermost
pixels too.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from genimg_fast._arguments import choice, integer
from genimg_fast.views._bound import Constant, Linear, Planes, along_axes
from genimg_fast.views._filters import (
    WIDEST,
    Filter,
    colour,
    component,
    gaussian,
    grey,
    resample,
    turned_grid,
    weighted,
)
from genimg_fast.views._parameters import flag, number, positive
from genimg_fast.views._plan import Shape, larger

_HEIGHT = 64  # of the pictures whose pixels sizes are given in

# ---- Components -----------------------------------------------------------------------------------------------------


def low_pass(shape: Shape, times: int = 1, *, sigma: float = 2.0, kernel_size: int = 33) -> Linear:
    """What a Gaussian of sigma and kernel_size pixels of a picture 64 pixels high leaves."""
    low = _blur(shape, times, "sigma", sigma, kernel_size)
    return component("low_pass", larger(shape, times), low)


def high_pass(shape: Shape, times: int = 1, *, sigma: float = 2.0, kernel_size: int = 33) -> Linear:
    """What that Gaussian takes away."""
    low = _blur(shape, times, "sigma", sigma, kernel_size)
    return component("high_pass", larger(shape, times), lambda x: x - low(x))


def triple_low_pass(
    shape: Shape, times: int = 1, *, sigma_1: float = 1.0, sigma_2: float = 2.0, kernel_size: int = 25
) -> Linear:
    """Of three bands, what two Gaussians one after the other leave."""
    first = _blur(shape, times, "sigma_1", sigma_1, kernel_size)
    second = _blur(shape, times, "sigma_2", sigma_2, kernel_size)
    return component("triple_low_pass", larger(shape, times), lambda x: second(first(x)))


def triple_medium_pass(
    shape: Shape, times: int = 1, *, sigma_1: float = 1.0, sigma_2: float = 2.0, kernel_size: int = 25
) -> Linear:
    """Of three bands, what the first Gaussian leaves and the second takes away."""
    first = _blur(shape, times, "sigma_1", sigma_1, kernel_size)
    second = _blur(shape, times, "sigma_2", sigma_2, kernel_size)

    def band(x: Planes) -> Planes:
        low = first(x)
        return low - second(low)

    return component("triple_medium_pass", larger(shape, times), band)


def triple_high_pass(
    shape: Shape, times: int = 1, *, sigma_1: float = 1.0, sigma_2: float = 2.0, kernel_size: int = 25
) -> Linear:
    """Of three bands, what the first Gaussian takes away."""
    first = _blur(shape, times, "sigma_1", sigma_1, kernel_size)
    positive("sigma_2", sigma_2)
    return component("triple_high_pass", larger(shape, times), lambda x: x - first(x))


def grayscale(shape: Shape) -> Linear:
    """`grey`."""
    return grey(shape)


def color(shape: Shape) -> Linear:
    """`colour`."""
    return colour(shape)


def motion(shape: Shape, times: int = 1, *, size: int = 7) -> Linear:
    """What the mean along a diagonal line, size pixels of a picture 64 pixels high, leaves; 0 from outside."""
    return component("motion", larger(shape, times), _diagonal(shape, times, size))


def motion_res(shape: Shape, times: int = 1, *, size: int = 7) -> Linear:
    """What that mean takes away."""
    moved = _diagonal(shape, times, size)
    return component("motion_res", larger(shape, times), lambda x: x - moved(x))


# ---- Views that are meant to fail -----------------------------------------------------------------------------------


def inner_circle_failure(shape: Shape, *, interpolation: str = "bilinear", angle: float = 135.0) -> Linear:
    """A turn by an angle in degrees within the circle of `inner_circle`; its inverse, of variances too, turns back."""
    choice("interpolation", interpolation, ("bilinear", "nearest"))
    radians = math.radians(number("angle", angle))
    _, height, width = shape
    y, x = (np.arange(side) - side / 2 for side in (height, width))
    radius = int(min(height, width) / 8 * 3)
    inside = y[:, None] ** 2 + x**2 < radius**2
    grids = (turned_grid(shape, a, inside) for a in (radians, -radians))
    there, back = (resample(np.rint(grid) if interpolation == "nearest" else grid, shape) for grid in grids)
    return Linear("inner_circle_failure", shape, there, back, variance=back)


def blur_failure(shape: Shape, times: int = 1, *, factor: int = 8, antialias: bool = False) -> Linear:
    """Made smaller by a factor and larger again, both bilinear; the inverse leaves everything as it is.

    antialias: Whether making it smaller averages, as torchvision does from 0.17 on.
    """
    smooth = flag("antialias", antialias)
    by = integer("factor", factor, 1)
    if by > min(shape[1:]):
        raise ValueError(f"factor must be at most the shorter side, {min(shape[1:])}, got {by}")
    shape = larger(shape, times)
    rows, columns = (
        resizing(side // (times * by), side, False) @ resizing(side, side // (times * by), smooth) for side in shape[1:]
    )
    return Linear("blur_failure", shape, along_axes(rows, columns), lambda x: x)


def white_balance_failure(shape: Shape, *, factor: float = 1.5) -> Linear:
    """All values times a factor; the inverse divides by it."""
    by = positive("factor", factor)
    return Linear("white_balance_failure", shape, lambda x: x * by, lambda x: x / by)


# ---- Filters --------------------------------------------------------------------------------------------------------


def _growth(shape: Shape, times: int) -> int:
    """Return how many pixels a pixel of a picture 64 pixels high is."""
    return times * max(1, shape[1] // _HEIGHT)


def _odd(name: str, size: int, growth: int) -> int:
    """Return a kernel's size that many times as large, one more where that is even."""
    if integer(name, size, 1) % 2 == 0:
        raise ValueError(f"{name} must be odd, got {size}")
    return size * growth + (growth + 1) % 2


def _blur(shape: Shape, times: int, name: str, sigma: float, kernel_size: int) -> Filter:
    """Return a Gaussian blur whose edges are mirrored about the outermost pixels."""
    growth = _growth(shape, times)
    radius = _odd("kernel_size", kernel_size, growth) // 2
    if radius > WIDEST * max(shape[1:]) * times:
        raise ValueError(f"kernel_size must be at most {2 * WIDEST} times the longer side, got {kernel_size}")
    return gaussian(larger(shape, times), growth * positive(name, sigma), radius, _mirrored_about)


def _mirrored_about(index: np.ndarray, side: int) -> np.ndarray:
    """Return indices into a line that goes on mirrored at its ends, the end pixels once."""
    period = max(1, 2 * (side - 1))
    folded = index % period
    return np.minimum(folded, period - folded) if side > 1 else np.zeros_like(index)


def _diagonal(shape: Shape, times: int, size: int) -> Filter:
    """Return the mean over the pixels of a line from the upper left to the lower right, with zeros outside."""
    length = _odd("size", size, _growth(shape, times))
    _, height, width = larger(shape, times)
    indices, factors = [], []
    for shift in range(-(length // 2), length // 2 + 1):
        rows, columns = np.arange(height)[:, None] + shift, np.arange(width) + shift
        inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
        if inside.any():
            indices.append(Constant(np.where(inside, rows * width + columns, 0).ravel()))
            factors.append(Constant(inside.ravel() / length))
    return weighted(indices, factors)


def resizing(before: int, after: int, antialias: bool) -> np.ndarray:
    """Return the matrix (after, before) of a bilinear change of size, pixels being squares."""
    step = before / after
    reach = max(step, 1.0) if antialias else 1.0
    centres = np.clip((np.arange(after) + 0.5) * step, 0.5, before - 0.5)
    weights = np.maximum(0, 1 - abs(np.arange(before) + 0.5 - centres[:, None]) / reach)
    return weights / weights.sum(1, keepdims=True)


ANAGRAMS: dict[str, Callable[..., Any]] = {
    f.__name__: f
    for f in (
        low_pass,
        high_pass,
        triple_low_pass,
        triple_medium_pass,
        triple_high_pass,
        grayscale,
        color,
        motion,
        motion_res,
        inner_circle_failure,
        blur_failure,
        white_balance_failure,
    )
}
