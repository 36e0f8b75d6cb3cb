"""Views that are no orthogonal maps, and components of pictures.

Rotations by any angle, warps and blurs change the noise that a diffusion model expects to be white: `Views` warns, and
`check_view` measures it.

Components (D. Geng, I. Park, A. Owens, "Factorized Diffusion", ECCV 2024) show the model the picture as it is, and keep
a part of the noise that it predicts: the parts of several prompts are summed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from genimg_fast._arguments import choice, integer
from genimg_fast.views._bound import Constant, Linear, Planes, along_axes
from genimg_fast.views._parameters import flag, number, numbers, positive
from genimg_fast.views._plan import Shape, larger

Filter = Callable[[Planes], Planes]

WIDEST = 8  # times a picture's side: a wider Gaussian is a mean over everything

# ---- Views that interpolate -----------------------------------------------------------------------------------------


def rotate(shape: Shape, *, degrees: float, interpolation: str = "bilinear", circle: bool = False) -> Linear:
    """A turn counterclockwise, "bilinear" or by the "nearest" pixel; its inverse is the turn back.

    What comes from outside is 0. circle: only the inside of the largest circle is turned, and the rest stays.
    """
    choice("interpolation", interpolation, ("bilinear", "nearest"))
    angle = math.radians(number("degrees", degrees))
    inside = _circle(shape) if flag("circle", circle) else None
    grids = (turned_grid(shape, a, inside) for a in (angle, -angle))
    there, back = (resample(np.rint(grid) if interpolation == "nearest" else grid, shape) for grid in grids)
    return Linear("rotate", shape, there, back)


def warp(shape: Shape, times: int = 1, *, flow: Any) -> Linear:
    """out[p] = in[p + flow[:, p]] with flow (2, H, W) in pixels (rows, columns), bilinear, and 0 from outside."""
    field = numbers("view 'warp'", "flow", flow).astype(np.float64)
    if field.shape != (2, *shape[1:]):
        raise ValueError(f"view 'warp': flow must be {(2, *shape[1:])}, got the shape {field.shape}")
    if not np.isfinite(field).all():
        raise ValueError("view 'warp': flow must be finite, got NaN or infinity")
    _check_slope(field)
    if times > 1:
        field = times * _sampled(field, (np.indices(larger(shape, times)[1:]) + 0.5) / times - 0.5)
        shape = larger(shape, times)
    grid = np.indices(shape[1:], dtype=np.float64)
    there, back = (resample(points, shape) for points in (grid + field, _inverse_warp(grid, field)))
    return Linear("warp", shape, there, back)


def blur(shape: Shape, times: int = 1, *, sigma: float = 2.0) -> Linear:
    """A Gaussian blur of sigma pixels, as the view and, being its own transpose, as its inverse."""
    low = _gaussian(shape, times, sigma)
    return Linear("blur", larger(shape, times), low, low)


def motion_blur(shape: Shape, times: int = 1, *, length: int = 9, degrees: float = 0.0) -> Linear:
    """The mean along a line of an odd number of pixels, as the view and as its inverse. 0 degrees: along rows."""
    moved = _line(shape, times, length, degrees)
    return Linear("motion_blur", larger(shape, times), moved, moved)


# ---- Components -----------------------------------------------------------------------------------------------------


def hybrid_low(shape: Shape, times: int = 1, *, sigma: float = 2.0) -> Linear:
    """What a Gaussian blur of sigma pixels leaves."""
    return component("hybrid_low", larger(shape, times), _gaussian(shape, times, sigma))


def hybrid_high(shape: Shape, times: int = 1, *, sigma: float = 2.0) -> Linear:
    """What a Gaussian blur of sigma pixels takes away."""
    low = _gaussian(shape, times, sigma)
    return component("hybrid_high", larger(shape, times), lambda x: x - low(x))


def band_low(shape: Shape, times: int = 1, *, sigma_low: float = 4.0, sigma_high: float = 1.0) -> Linear:
    """Of three bands, what the wide blur leaves."""
    low, _ = _two_gaussians(shape, times, sigma_low, sigma_high)
    return component("band_low", larger(shape, times), low)


def band_mid(shape: Shape, times: int = 1, *, sigma_low: float = 4.0, sigma_high: float = 1.0) -> Linear:
    """Of three bands, what the narrow blur leaves and the wide one takes away."""
    low, high = _two_gaussians(shape, times, sigma_low, sigma_high)
    return component("band_mid", larger(shape, times), lambda x: high(x) - low(x))


def band_high(shape: Shape, times: int = 1, *, sigma_low: float = 4.0, sigma_high: float = 1.0) -> Linear:
    """Of three bands, what the narrow blur takes away."""
    _, high = _two_gaussians(shape, times, sigma_low, sigma_high)
    return component("band_high", larger(shape, times), lambda x: x - high(x))


def grey(shape: Shape) -> Linear:
    """The mean of the channels."""
    return component("grey", shape, _channel_mean(shape))


def colour(shape: Shape) -> Linear:
    """What differs from the mean of the channels."""
    mean = _channel_mean(shape)
    return component("colour", shape, lambda x: x - mean(x))


def motion_blur_part(shape: Shape, times: int = 1, *, length: int = 9, degrees: float = 0.0) -> Linear:
    """What a motion blur leaves."""
    return component("motion_blur_part", larger(shape, times), _line(shape, times, length, degrees))


def motion_residual(shape: Shape, times: int = 1, *, length: int = 9, degrees: float = 0.0) -> Linear:
    """What a motion blur takes away."""
    moved = _line(shape, times, length, degrees)
    return component("motion_residual", larger(shape, times), lambda x: x - moved(x))


def mask(shape: Shape, times: int = 1, *, mask: Any) -> Linear:
    """The pixels in a mask (H, W) of booleans or of numbers from 0 to 1."""
    factors = Constant(_checked_mask("mask", shape, times, mask))
    return component("mask", larger(shape, times), lambda x: x * factors.like(x))


def mask_complement(shape: Shape, times: int = 1, *, mask: Any) -> Linear:
    """The pixels outside a mask."""
    factors = Constant(1 - _checked_mask("mask_complement", shape, times, mask))
    return component("mask_complement", larger(shape, times), lambda x: x * factors.like(x))


def scale(shape: Shape, *, factor: float = 0.5) -> Linear:
    """A share of all values."""
    share = number("factor", factor)
    return component("scale", shape, lambda x: x * share)


def component(name: str, shape: Shape, part: Filter) -> Linear:
    return Linear(name, shape, lambda x: x, part, is_orthogonal=True, is_component=True)


# ---- Filters --------------------------------------------------------------------------------------------------------


def _channel_mean(shape: Shape) -> Filter:
    """Return the mean of the channels, in all of them."""
    means = Constant(np.full((shape[0], shape[0]), 1 / shape[0]))

    def run(x: Planes) -> Planes:
        return (means.like(x) @ x.reshape(*x.shape[:-2], x.shape[-2] * x.shape[-1])).reshape(x.shape)

    return run


def _gaussian(shape: Shape, times: int, sigma: float, name: str = "sigma") -> Filter:
    """Return a blur with mirrored edges: a symmetric map, whose rows have the sum 1."""
    sigma = positive(name, sigma)
    if sigma > WIDEST * max(shape[1:]):
        raise ValueError(f"{name} must be at most {WIDEST} times the longer side, {max(shape[1:])}, got {sigma!r}")
    return gaussian(larger(shape, times), times * sigma, math.ceil(4 * times * sigma), _mirrored)


def gaussian(shape: Shape, sigma: float, radius: int, edges: Callable[[np.ndarray, int], np.ndarray]) -> Filter:
    """Return a Gaussian blur of 2 radius + 1 pixels; ``edges(index, side)`` says what stands for pixels outside."""
    taps = np.arange(-radius, radius + 1)
    with np.errstate(over="ignore"):  # of a sigma that is next to nothing
        weights = np.exp(-((taps / sigma) ** 2) / 2)
    weights /= weights.sum()

    def matrix(side: int) -> np.ndarray:
        found = np.zeros((side, side))
        i = np.arange(side)[:, None]
        np.add.at(found, (i, edges(i + taps, side)), weights)
        return found

    return along_axes(matrix(shape[1]), matrix(shape[2]))


def _two_gaussians(shape: Shape, times: int, sigma_low: float, sigma_high: float) -> tuple[Filter, Filter]:
    if not positive("sigma_low", sigma_low) > positive("sigma_high", sigma_high):
        raise ValueError(f"sigma_low must be above sigma_high, got {sigma_low!r} and {sigma_high!r}")
    return _gaussian(shape, times, sigma_low, "sigma_low"), _gaussian(shape, times, sigma_high, "sigma_high")


def _line(shape: Shape, times: int, length: int, degrees: float) -> Filter:
    """Return the mean over the pixels of a line, with mirrored edges."""
    if integer("length", length, 1) % 2 == 0:
        raise ValueError(f"length must be odd, got {length}")
    angle = math.radians(number("degrees", degrees))
    if length > WIDEST * max(shape[1:]):
        raise ValueError(f"length must be at most {WIDEST} times the longer side, {max(shape[1:])}, got {length}")
    shape, length = larger(shape, times), length * times + (times + 1) % 2
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


def resample(points: np.ndarray, shape: Shape) -> Filter:
    """Return the bilinear interpolation at points (2, H, W), with zeros outside the picture."""
    _, height, width = shape
    corners, weights = _corners(*points.reshape(2, -1))
    indices = []
    for k, (row, column) in enumerate(corners):
        inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
        weights[k] *= inside
        indices.append(Constant(np.where(inside, row * width + column, 0)))
    return weighted(indices, [Constant(w) for w in weights])


def weighted(indices: Sequence[Constant], factors: Sequence[Constant]) -> Filter:
    """Return the sum of pixels at some places, each times its factor; both (H W,)."""

    def run(x: Planes) -> Planes:
        flat = x.reshape(*x.shape[:-2], x.shape[-2] * x.shape[-1])
        return sum(flat[..., i.like(x)] * w.like(x) for i, w in zip(indices, factors, strict=True)).reshape(x.shape)

    return run


def _corners(y: np.ndarray, x: np.ndarray) -> tuple[list[tuple[np.ndarray, np.ndarray]], np.ndarray]:
    """Return the four pixels around each point and their bilinear weights."""
    top, left = np.floor(y).astype(np.int64), np.floor(x).astype(np.int64)
    down, right = y - top, x - left
    corners = [(top + i, left + j) for i in (0, 1) for j in (0, 1)]
    weights = np.stack([(down if i else 1 - down) * (right if j else 1 - right) for i in (0, 1) for j in (0, 1)])
    return corners, weights


def _circle(shape: Shape) -> np.ndarray:
    """Return which pixels lie within the largest circle, (H, W)."""
    _, height, width = shape
    y, x = (np.arange(side) - (side - 1) / 2 for side in (height, width))
    return np.hypot(y[:, None], x) <= min(height, width) / 2


def turned_grid(shape: Shape, angle: float, inside: np.ndarray | None) -> np.ndarray:
    """Return where the pixels of a picture that is turned counterclockwise come from, (2, H, W).

    inside: Which pixels are turned (H, W), the others staying; None: all.
    """
    _, height, width = shape
    centre = np.array([(height - 1) / 2, (width - 1) / 2])[:, None, None]
    grid = np.indices((height, width), dtype=np.float64)
    y, x = grid - centre
    turned = np.stack([y * math.cos(angle) + x * math.sin(angle), x * math.cos(angle) - y * math.sin(angle)]) + centre
    return turned if inside is None else np.where(inside, turned, grid)


_STEEPEST = 0.9  # pixels a pixel: a flow below it moves no two points to one place, and repetition finds its inverse


def _inverse_warp(grid: np.ndarray, flow: np.ndarray) -> np.ndarray:
    """Return the points that a warp brings to each pixel, p + flow(p) = q, as the limit of p = q - flow(p)."""
    points, change = grid, math.inf
    while change > 1e-9:
        before, points = points, grid - _sampled(flow, points)
        change = abs(points - before).max()
    return points


def _check_slope(flow: np.ndarray) -> None:
    slope = float(sum(abs(np.diff(flow, axis=axis)).max(initial=0, axis=(1, 2)) for axis in (1, 2)).max())
    if slope > _STEEPEST:
        raise ValueError(
            f"view 'warp': flow must change by at most {_STEEPEST} pixels from pixel to pixel (rows and columns added "
            f"up), else it may have no inverse; got {slope:.3g}"
        )


def _sampled(field: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Return a field (2, H, W) at points between its pixels, at those outside as at the edge."""
    _, height, width = field.shape
    y, x = np.clip(points[0], 0, height - 1), np.clip(points[1], 0, width - 1)
    corners, weights = _corners(y, x)
    return sum(
        field[:, np.minimum(row, height - 1), np.minimum(column, width - 1)] * weight
        for (row, column), weight in zip(corners, weights, strict=True)
    )


def _checked_mask(view: str, shape: Shape, times: int, mask: Any) -> np.ndarray:
    factors = numbers(f"view {view!r}", "mask", mask).astype(np.float64)
    if factors.shape != shape[1:]:
        raise ValueError(f"view {view!r}: mask must be {shape[1:]}, got the shape {factors.shape}")
    if not ((factors >= 0) & (factors <= 1)).all():
        raise ValueError(f"view {view!r}: mask must hold booleans or numbers from 0 to 1")
    return factors.repeat(times, 0).repeat(times, 1)


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
