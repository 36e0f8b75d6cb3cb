"""Portilla and Simoncelli's texture synthesis.

J. Portilla, E. P. Simoncelli, "A parametric texture model based on joint statistics of complex wavelet coefficients",
IJCV 40 (2000).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from genimg_fast import _arguments as check
from genimg_fast import _optimization as descent
from genimg_fast._core.backend import unmasked
from genimg_fast._noise import coloured_noise
from genimg_fast._pictures import Kind, Unit, mask_of
from genimg_fast._system import called, system
from genimg_fast.textures import _arguments as pyramids
from genimg_fast.textures._edges import periodic_component
from genimg_fast.textures._exemplars import Exemplars
from genimg_fast.textures._gradient_synthesis import Descent
from genimg_fast.textures._parametric_options import EDGES, FAMILIES, METHODS
from genimg_fast.textures._parametric_synthesis import Canvas, Projection, projected
from genimg_fast.textures._shares import Shares
from genimg_fast.textures._texture import Model, Texture, texture_of
from genimg_fast.textures._texture_projection import TextureProjection
from genimg_fast.textures._watch import Watch


@system("portilla_simoncelli")
def portilla_simoncelli(
    image: Any,
    size: int | tuple[int, int] | None = None,
    *,
    n_iter: int = 50,
    n_scales: int | str = "auto",
    n_orientations: int = 4,
    spatial_corr_width: int = 7,
    method: str = "projection",
    leave_out: str | Collection[str] = (),
    weights: Any = None,
    canvas: Any = None,
    mask: Any = None,
    edges: str = "none",
    acceleration: float = 0.8,
    n_polish: int = 100,
    optimizer: str = "lbfgs",
    learning_rate: float = 0.02,
    tolerance: float = 0.0,
    seed: int | Sequence[int] | None = None,
    device: Any = None,
    progress: bool = True,
    callback: Callable[[Any], Any] | None = None,
) -> Any:
    """Synthesise a texture whose subbands are correlated, across space, orientation and scale, like an exemplar's.

    Noise takes, again and again, from coarse to fine, the autocorrelation, the skewness and the kurtosis of what is
    reconstructed so far, the correlations of the subbands' magnitudes with each other, their neighbours and the next
    coarser scale's, and of their real parts with the next scale's with doubled phase; then the moments and the range of
    the pixels. Colours are handled in their principal axes, whose subbands are correlated with each other too. The
    result tiles: its pyramid is circular. Unlike histograms alone, these statistics make edges, bricks, and letters of
    no alphabet; they cannot count, nor keep what is longer than the coarsest filters.

    Args:
        image: The exemplar: an array (H, W) or (H, W, C), or a tensor (H, W) or (..., C, H, W); C from 1 to 4; at least
            8x8 pixels. Floats of any range (their unit is the result's), or integers of any type. A list of them is a
            mixture (see `weights`); they share kind and dtype, may differ in size, and grey ones among coloured ones
            count as equal channels. Float64, and integers that float32 does not hold, are computed in float64.
        size: Height and width of the result in pixels, or one number for both; at least 8. None: the canvas', or the
            (first) exemplar's. Any size will do, odd, larger or smaller.
        n_iter: Number of iterations, or with ``method="gradient"`` of evaluations of loss and gradient at each size.
        n_scales: Number of scales, at least 1. "auto": 4 for an exemplar with a shorter side of 256 pixels, one more
            each time that doubles, one less each time it halves (rounded), and never more than the result holds.
        n_orientations: Number of orientations, 1 to 16.
        spatial_corr_width: Width of the neighbourhood of the autocorrelations in pixels of each scale, 1 to 33; less at
            scales that cannot hold twice as much.
        method: "projection": the published iteration. "gradient": descent from noise, coarse to fine, on the mean
            squared difference of all statistics, as correlation coefficients and relative amplitudes. "polished":
            projection, then `n_polish` evaluations of descent at the full size.
        leave_out: Names of families that are not imposed: "marginals" (moments and range of pixels and of what is
            reconstructed), "autocorrelation" (of the reconstructions), "magnitudes" (all their means and correlations),
            "phases" (real parts with the next coarser scale). At least one is left.
        weights: For a list of exemplars: one positive number each, and the texture has the weighted means of their
            statistics. Or one map each, an array (n, h, w) of the result's size, nowhere negative nor all 0: the
            texture changes from place to place (projection alone). Between two exemplars it passes through mixtures of
            their statistics; more than two are blended. None: equal numbers.
        canvas: A picture of the exemplar's kind and dtype and of the result's size, which the mask keeps; of it and the
            exemplar, a grey one counts as equal channels. Nothing is kept of the masked values of a masked array.
        mask: (h, w), booleans, numbers from 0 to 1, or uint8 or uint16 whose largest value stands for 1: how much of
            the canvas each pixel keeps in each iteration. Where it is 0, a texture grows that fits: a hole is filled, a
            picture extended beyond its borders. None: all valid values of a masked array, else the published raised
            cosine over the middle of the canvas.
        edges: What happens at the exemplar's borders. "none": opposite borders touch; "periodic": its periodic
            component (Moisan 2011), which has no jump there, takes its place.
        acceleration: How far an iteration goes on in the direction of the last change, in units of it; 0 to below 1.
        n_polish: Evaluations of ``method="polished"``, at least 1.
        optimizer: Of the descents: "lbfgs" or "adam".
        learning_rate: Of Adam, where the exemplar's values vary by between one half and 1.
        tolerance: Stop once the largest of the families' relative errors, or in a descent the loss, is at or below it.
        seed: Of the noise: a number gives the same result each time on one kind of device, for any number of threads.
            Several numbers give a batch, along a new first axis, whose items are those of each number alone. None:
            different each time.
        device: Where to compute, such as "cuda". None: where the exemplar is.
        progress: Show progress on standard error, with the largest relative error: a bar on a terminal,
            elsewhere a line every ten seconds.
        callback: Called before the first iteration and after each with a `ParametricStep`, or in a descent after each
            evaluation with a `DescentStep`, whose ``losses`` are the squares of the families' relative errors.

    Returns:
        The texture, of the kind, dtype and device of the exemplar: (h, w), (h, w, C) or (..., C, h, w), after a first
        axis for several seeds. Its values lie in the exemplar's range.

    Raises:
        TypeError: An argument of the wrong type; pictures of complex or boolean dtype.
        ValueError: A value or shape outside what is accepted, which the message names; NaN or infinity in a picture.

    Ctrl-C (KeyboardInterrupt) ends the synthesis early: the current picture is returned, with a RuntimeWarning.
    """
    canvas, valid = (None, None) if canvas is None else _valid(canvas)
    planes, painted, kind = _pictures(image, canvas)
    exemplars = _Exemplars(planes, kind, check.choice("edges", edges, EDGES))
    check.choice("method", method, METHODS)
    check.function("callback", callback)
    families = _families(leave_out)
    shape = _size(size, painted, planes[0].shape[-2:])
    shares = Shares.of(weights, len(planes), shape)
    if shares.maps is not None and method != "projection":
        raise ValueError(f"weights must be numbers, not maps, for method={method!r}")
    k = check.integer("n_orientations", n_orientations, 1, 16)
    width = check.integer("spatial_corr_width", spatial_corr_width, 1, 33)
    sizes = [one.shape[-2:] for one in planes]
    scales = pyramids.height(n_scales, "frequency", k - 1, sizes, shape, name="n_scales")
    model = Model(scales, k, width, families)
    if not 0 <= check.real("acceleration", acceleration) < 1:
        raise ValueError(f"acceleration must be from 0 to below 1, got {acceleration!r}")
    n_iter = check.integer("n_iter", n_iter, 1)
    n_polish = check.integer("n_polish", n_polish, 1)
    n_descent = n_polish if method == "polished" else n_iter
    settings = descent.checked_settings(optimizer, n_descent, tolerance, learning_rate, 1 << 30)
    seeds, has_seed_axis = check.seeds(seed)
    where = check.device(device, kind.device)
    lead = [len(seeds), *exemplars.batch] if has_seed_axis else exemplars.batch
    if not exemplars.count:
        return exemplars.packed(torch.zeros(*lead, exemplars.channels, *shape))
    kept = _canvas(painted, valid, mask, exemplars, shape, len(seeds), where)

    def picture(pictures: Tensor) -> Any:
        return exemplars.packed(pictures.reshape(*lead, exemplars.channels, *shape))

    def item(one: Tensor, index: int) -> Any:
        return exemplars.packed_item(one[0], index)

    starts = torch.cat(
        [exemplars.noise(one, place, shares, shape) for one in seeds for place in range(exemplars.count)]
    )
    starts = starts.to(where)
    if method == "gradient":
        n_sizes = check.scales("auto", min(*shape, *(side for one in sizes for side in one)), coarsest=32, most=scales)
        steps = descent.halved(shape, n_sizes)
    else:
        texture = exemplars.texture(shares, model, len(seeds), where)
        smallest = min(sizes, key=min)
        impose = TextureProjection(texture, model, shape, smallest)
        spread = None if kept is None else kept.repeated(len(shares.mixtures))
        projection = Projection(impose, shares, spread, acceleration)
        watch = Watch("ps", n_iter, settings.tolerance, callback, progress)
        starts = shares.blended(projected(projection, starts, watch, lambda now: picture(shares.blended(now))))
        if method == "projection":
            return picture(starts)
        steps = [shape]
    run = Descent(exemplars.pictures, shares.mixtures[0], model, shape, where, kept)
    watch_descent = descent.Watch("ps", progress, callback, item)
    return picture(run.run(list(starts.split(1)), steps, settings, watch_descent))


class _Exemplars(Exemplars):
    """Exemplars in a unit of their own, whose opposite borders may be made to meet (``edges``)."""

    def __init__(self, planes: Sequence[np.ndarray], kind: Kind, edges: str) -> None:
        # Integers of 8 bits and the same values over 255 make the same texture.
        self._white = 255.0 if kind.is_integer else 1.0
        planes = [one / one.dtype.type(self._white) for one in planes]
        self._unit = Unit.of(planes)
        super().__init__([self._unit.enter(one) for one in planes], kind)
        if edges == "periodic":
            self.pictures = [[periodic_component(one) for one in mixture] for mixture in self.pictures]

    def noise(self, seed: int | None, place: int, shares: Shares, shape: tuple[int, int]) -> Tensor:
        """Return noise (mixtures, C, *shape) in the colours of each mixture, from the same random numbers."""
        seed = int(np.random.default_rng().integers(1 << 62)) if seed is None else seed
        pictures = self.pictures[place]
        return torch.from_numpy(np.stack([coloured_noise(seed, pictures, one, shape) for one in shares.mixtures]))

    def texture(self, shares: Shares, model: Model, repeats: int, device: torch.device) -> Texture:
        """Return the textures of each place and mixture, several times."""
        textures = [texture_of(pictures, one, model) for pictures in self.pictures for one in shares.mixtures]
        return Texture.stacked(textures * repeats, device)

    def packed(self, planes: Tensor) -> Any:
        """Return planes (..., *batch, C, H, W) as the caller holds pictures."""
        return super().packed(self._unit.leave(planes) * self._white)

    def packed_item(self, planes: Tensor, item: int) -> Any:
        """Return planes (C, H, W) of the item of one seed after the other as the caller holds pictures."""
        return super().packed(self._unit.at(self.places[item % self.count]).leave(planes) * self._white)

    def entered(self, planes: np.ndarray) -> np.ndarray:
        """Return planes (*batch, C, H, W) of the caller's unit in that of the exemplars."""
        return self._unit.enter(planes / planes.dtype.type(self._white))


def _valid(canvas: Any) -> tuple[Any, np.ndarray | None]:
    """Return a canvas without its mask, and where all channels of its values are valid (None: everywhere)."""
    canvas, valid = unmasked(called(), "canvas", canvas)
    if valid is None:
        return canvas, None
    # What is masked may be anything; where the canvas is resized it must not tell.
    typical = np.asarray(canvas[valid].mean() if valid.any() else 0).astype(canvas.dtype)
    is_kept: Any = valid.all(-1) if valid.ndim > 2 else valid
    return np.where(valid, canvas, typical), is_kept


def _pictures(image: Any, canvas: Any) -> tuple[list[np.ndarray], np.ndarray | None, Kind]:
    """Return the planes of exemplars and of the canvas, if any, of one number of channels, and their kind."""
    named = check.listed(image)
    if canvas is not None:
        named = [*named, ("canvas", canvas)]
    planes, kind = check.alike(named)
    planes = check.promoted(planes, [name for name, _ in named])
    return (planes, None, kind) if canvas is None else (planes[:-1], planes[-1], kind)


def _families(leave_out: str | Collection[str]) -> tuple[str, ...]:
    if not isinstance(leave_out, Collection):
        raise TypeError(f"leave_out must be a family's name or several, got {leave_out!r}")
    names = (leave_out,) if isinstance(leave_out, str) else tuple(leave_out)
    for name in names:
        check.choice("leave_out", name, tuple(FAMILIES))
    left = tuple(name for name in FAMILIES if name not in names)
    if not left:
        raise ValueError(f"leave_out must leave at least one of {', '.join(FAMILIES)}, got all of them")
    return left


def _size(size: Any, canvas: np.ndarray | None, exemplar: tuple[int, int]) -> tuple[int, int]:
    return check.size(size, exemplar if canvas is None else canvas.shape[-2:])


def _canvas(
    canvas: np.ndarray | None,
    valid: np.ndarray | None,
    mask: Any,
    exemplars: _Exemplars,
    shape: tuple[int, int],
    repeats: int,
    device: torch.device,
) -> Canvas | None:
    """Return what is kept of the pictures of all seeds, or None."""
    if canvas is None:
        if mask is not None:
            raise ValueError("mask must be None without a canvas to keep, got a mask")
        return None
    if canvas.shape[-2:] != shape:
        raise ValueError(f"canvas must have the result's size {shape}, got {canvas.shape[-2:]}")
    picture = torch.from_numpy(exemplars.entered(canvas)).reshape(-1, exemplars.channels, *shape)
    factors = np.ones(shape) if valid is None else valid.astype(np.float64)
    if mask is not None:
        factors = np.minimum(factors, mask_of(mask, "mask", shape, "the result's size"))
    elif valid is None:
        factors = raised_cosine(shape)
    tensor = torch.from_numpy(factors.astype(canvas.dtype))
    return Canvas(picture.repeat(repeats, 1, 1, 1).to(device), tensor.to(device))


def raised_cosine(shape: tuple[int, int]) -> np.ndarray:
    """Return the published mask: the square of a cosine over the middle half of each side, 0 around it."""

    def side(n: int) -> np.ndarray:
        return np.cos(np.pi * np.clip((np.arange(n) - n / 2) / (n / 2), -0.5, 0.5)) ** 2

    return side(shape[0])[:, None] * side(shape[1])
