"""Views that are no orthogonal maps, and components of pictures.

Rotations by any angle, warps and blurs change the noise that a diffusion model expects to be white: `Views` warns, and
`check_view` measures it.

Components (D. Geng, I. Park, A. Owens, "Factorized Diffusion", ECCV 2024) show the model the picture as it is, and keep
a part of the noise that it predicts: the parts of several prompts are summed.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from genimg_fast._arguments import choice, integer, positive
from genimg_fast.views._bound import Constant, Linear, Planes, along_axes, as_array
from genimg_fast.views._plan import Shape

Filter = Callable[[Planes], Planes]

# ---- Views that interpolate -----------------------------------------------------------------------------------------


def rotate(shape: Shape, *, degrees: float, interpolation: str = "bilinear", circle: bool = False) -> Linear:
    """A turn counterclockwise, "bilinear" or by the "nearest" pixel; its inverse is the turn back.

    What comes from outside is 0. circle: only the inside of the largest circle is turned, and the rest stays.
    """
    choice("interpolation", interpolation, ("bilinear", "nearest"))
    angle = math.radians(_finite("degrees", degrees))
    grids = (_turned_grid(shape, a, circle) for a in (angle, -angle))
    there, back = (_resample(np.rint(grid) if interpolation == "nearest" else grid, shape) for grid in grids)
    return Linear("rotate", shape, there, back)


def warp(shape: Shape, *, flow: Any) -> Linear:
    """out[p] = in[p + flow[:, p]] with flow (2, H, W) in pixels (rows, columns), bilinear, and 0 from outside."""
    field = as_array(flow).astype(np.float64)
    if field.shape != (2, *shape[1:]):
        raise ValueError(f"view 'warp': flow must be {(2, *shape[1:])}, got the shape {field.shape}")
    if not np.isfinite(field).all():
        raise ValueError("view 'warp': flow must be finite, got NaN or infinity")
    grid = np.indices(shape[1:], dtype=np.float64)
    there, back = (_resample(points, shape) for points in (grid + field, _inverse_warp(grid, field)))
    return Linear("warp", shape, there, back)


def blur(shape: Shape, *, sigma: float = 2.0) -> Linear:
    """A Gaussian blur of sigma pixels, as the view and, being its own transpose, as its inverse."""
    low = _gaussian(shape, sigma)
    return Linear("blur", shape, low, low)


def motion_blur(shape: Shape, *, length: int = 9, degrees: float = 0.0) -> Linear:
    """The mean along a line of an odd number of pixels, as the view and as its inverse. 0 degrees: along rows."""
    moved = _line(shape, length, degrees)
    return Linear("motion_blur", shape, moved, moved)


# ---- Components -----------------------------------------------------------------------------------------------------


def hybrid_low(shape: Shape, *, sigma: float = 2.0) -> Linear:
    """What a Gaussian blur of sigma pixels leaves."""
    return _component("hybrid_low", shape, _gaussian(shape, sigma))


def hybrid_high(shape: Shape, *, sigma: float = 2.0) -> Linear:
    """What a Gaussian blur of sigma pixels takes away."""
    low = _gaussian(shape, sigma)
    return _component("hybrid_high", shape, lambda x: x - low(x))


def band_low(shape: Shape, *, sigma_low: float = 4.0, sigma_high: float = 1.0) -> Linear:
    """Of three bands, what the wide blur leaves."""
    low, _ = _two_gaussians(shape, sigma_low, sigma_high)
    return _component("band_low", shape, low)


def band_mid(shape: Shape, *, sigma_low: float = 4.0, sigma_high: float = 1.0) -> Linear:
    """Of three bands, what the narrow blur leaves and the wide one takes away."""
    low, high = _two_gaussians(shape, sigma_low, sigma_high)
    return _component("band_mid", shape, lambda x: high(x) - low(x))


def band_high(shape: Shape, *, sigma_low: float = 4.0, sigma_high: float = 1.0) -> Linear:
    """Of three bands, what the narrow blur takes away."""
    _, high = _two_gaussians(shape, sigma_low, sigma_high)
    return _component("band_high", shape, lambda x: x - high(x))


def grey(shape: Shape) -> Linear:
    """The mean of the channels."""
    return _component("grey", shape, _channel_mean(shape))


def colour(shape: Shape) -> Linear:
    """What differs from the mean of the channels."""
    mean = _channel_mean(shape)
    return _component("colour", shape, lambda x: x - mean(x))


def motion_blur_part(shape: Shape, *, length: int = 9, degrees: float = 0.0) -> Linear:
    """What a motion blur leaves."""
    return _component("motion_blur_part", shape, _line(shape, length, degrees))


def motion_residual(shape: Shape, *, length: int = 9, degrees: float = 0.0) -> Linear:
    """What a motion blur takes away."""
    moved = _line(shape, length, degrees)
    return _component("motion_residual", shape, lambda x: x - moved(x))


def mask(shape: Shape, *, mask: Any) -> Linear:
    """The pixels in a mask (H, W) of booleans or of numbers from 0 to 1."""
    factors = Constant(_checked_mask("mask", shape, mask))
    return _component("mask", shape, lambda x: x * factors.like(x))


def mask_complement(shape: Shape, *, mask: Any) -> Linear:
    """The pixels outside a mask."""
    factors = Constant(1 - _checked_mask("mask_complement", shape, mask))
    return _component("mask_complement", shape, lambda x: x * factors.like(x))


def scale(shape: Shape, *, factor: float) -> Linear:
    """A share of all values."""
    share = _finite("factor", factor)
    return _component("scale", shape, lambda x: x * share)


def _component(name: str, shape: Shape, part: Filter) -> Linear:
    return Linear(name, shape, lambda x: x, part, is_orthogonal=True, is_component=True)


# ---- Filters --------------------------------------------------------------------------------------------------------


def _channel_mean(shape: Shape) -> Filter:
    """Return the mean of the channels, in all of them."""
    means = Constant(np.full((shape[0], shape[0]), 1 / shape[0]))

    def run(x: Planes) -> Planes:
        return (means.like(x) @ x.reshape(*x.shape[:-2], x.shape[-2] * x.shape[-1])).reshape(x.shape)

    return run


def _gaussian(shape: Shape, sigma: float, name: str = "sigma") -> Filter:
    """Return a blur with mirrored edges: a symmetric map, whose rows have the sum 1."""
    sigma = positive(name, sigma)
    taps = np.arange(-math.ceil(4 * sigma), math.ceil(4 * sigma) + 1)
    weights = np.exp(-(taps**2) / (2 * sigma**2))
    weights /= weights.sum()

    def matrix(side: int) -> np.ndarray:
        found = np.zeros((side, side))
        i = np.arange(side)[:, None]
        np.add.at(found, (i, _mirrored(i + taps, side)), weights)
        return found

    return along_axes(matrix(shape[1]), matrix(shape[2]))


def _two_gaussians(shape: Shape, sigma_low: float, sigma_high: float) -> tuple[Filter, Filter]:
    if not sigma_low > sigma_high:
        raise ValueError(f"sigma_low must be above sigma_high, got {sigma_low!r} and {sigma_high!r}")
    return _gaussian(shape, sigma_low, "sigma_low"), _gaussian(shape, sigma_high, "sigma_high")


def _line(shape: Shape, length: int, degrees: float) -> Filter:
    """Return the mean over the pixels of a line, with mirrored edges."""
    if integer("length", length, 1) % 2 == 0:
        raise ValueError(f"length must be odd, got {length}")
    angle = math.radians(_finite("degrees", degrees))
    distances = np.arange(length) - length // 2
    steps = zip(np.rint(-math.sin(angle) * distances), np.rint(math.cos(angle) * distances), strict=True)
    taps = [
        tuple(Constant(_mirrored(np.arange(side) + int(s), side)) for s, side in zip(step, shape[1:], strict=True))
        for step in steps
    ]

    def run(x: Planes) -> Planes:
        return sum(x[..., rows.like(x), :][..., columns.like(x)] for rows, columns in taps) / length

    return run


def _mirrored(index: np.ndarray, side: int) -> np.ndarray:
    """Return indices into a line that goes on mirrored at its ends, the end pixels twice."""
    folded = index % (2 * side)
    return np.minimum(folded, 2 * side - 1 - folded)


def _resample(points: np.ndarray, shape: Shape) -> Filter:
    """Return the bilinear interpolation at points (2, H, W), with zeros outside the picture."""
    _, height, width = shape
    corners, weights = _corners(*points.reshape(2, -1))
    indices = []
    for k, (row, column) in enumerate(corners):
        inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
        weights[k] *= inside
        indices.append(Constant(np.where(inside, row * width + column, 0)))
    factors = [Constant(w) for w in weights]

    def run(x: Planes) -> Planes:
        flat = x.reshape(*x.shape[:-2], height * width)
        return sum(flat[..., i.like(x)] * w.like(x) for i, w in zip(indices, factors, strict=True)).reshape(x.shape)

    return run


def _corners(y: np.ndarray, x: np.ndarray) -> tuple[list[tuple[np.ndarray, np.ndarray]], np.ndarray]:
    """Return the four pixels around each point and their bilinear weights."""
    top, left = np.floor(y).astype(np.int64), np.floor(x).astype(np.int64)
    down, right = y - top, x - left
    corners = [(top + i, left + j) for i in (0, 1) for j in (0, 1)]
    weights = np.stack([(down if i else 1 - down) * (right if j else 1 - right) for i in (0, 1) for j in (0, 1)])
    return corners, weights


def _turned_grid(shape: Shape, angle: float, circle: bool) -> np.ndarray:
    """Return where the pixels of a picture that is turned counterclockwise come from, (2, H, W)."""
    _, height, width = shape
    centre = np.array([(height - 1) / 2, (width - 1) / 2])[:, None, None]
    grid = np.indices((height, width), dtype=np.float64)
    y, x = grid - centre
    turned = np.stack([y * math.cos(angle) + x * math.sin(angle), x * math.cos(angle) - y * math.sin(angle)]) + centre
    return np.where(np.hypot(y, x) <= min(height, width) / 2, turned, grid) if circle else turned


_STEEPEST = 0.9  # pixels a pixel: a flow below it moves no two points to one place, and repetition finds its inverse


def _inverse_warp(grid: np.ndarray, flow: np.ndarray) -> np.ndarray:
    """Return the points that a warp brings to each pixel, p + flow(p) = q, as the limit of p = q - flow(p)."""
    slope = float(sum(abs(np.diff(flow, axis=axis)).max(initial=0, axis=(1, 2)) for axis in (1, 2)).max())
    if slope > _STEEPEST:
        raise ValueError(
            f"view 'warp': flow must change by at most {_STEEPEST} pixels from pixel to pixel (rows and columns added "
            f"up), else it may have no inverse; got {slope:.3g}"
        )
    points, change = grid, math.inf
    while change > 1e-9:
        before, points = points, grid - _sampled(flow, points)
        change = abs(points - before).max()
    return points


def _sampled(field: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Return a field (2, H, W) at points between its pixels, at those outside as at the edge."""
    _, height, width = field.shape
    y, x = np.clip(points[0], 0, height - 1), np.clip(points[1], 0, width - 1)
    corners, weights = _corners(y, x)
    return sum(
        field[:, np.minimum(row, height - 1), np.minimum(column, width - 1)] * weight
        for (row, column), weight in zip(corners, weights, strict=True)
    )


def _finite(name: str, value: Any) -> float:
    if not math.isfinite(value):
        raise ValueError(f"{name} must be a finite number, got {value!r}")
    return float(value)


def _checked_mask(view: str, shape: Shape, mask: Any) -> np.ndarray:
    factors = as_array(mask).astype(np.float64)
    if factors.shape != shape[1:]:
        raise ValueError(f"view {view!r}: mask must be {shape[1:]}, got the shape {factors.shape}")
    if not ((factors >= 0) & (factors <= 1)).all():
        raise ValueError(f"view {view!r}: mask must hold booleans or numbers from 0 to 1")
    return factors


INTERPOLATING: dict[str, Callable[..., Any]] = {f.__name__: f for f in (rotate, warp, blur, motion_blur)}
COMPONENTS: dict[str, Callable[..., Any]] = {
    f.__name__: f
    for f in (
        hybrid_low,
        hybrid_high,
        band_low,
        band_mid,
        band_high,
        grey,
        colour,
        motion_blur_part,
        motion_residual,
        mask,
        mask_complement,
        scale,
    )
}
