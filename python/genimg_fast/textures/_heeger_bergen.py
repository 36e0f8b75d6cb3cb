"""Heeger and Bergen's texture synthesis.

D. J. Heeger, J. R. Bergen, "Pyramid-based texture analysis/synthesis", SIGGRAPH 1995. Colour without whitening follows
T. Briand, J. Vacher, B. Galerne, J. Rabin, "The Heeger & Bergen pyramid based texture synthesis algorithm", IPOL 2014.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from genimg_fast import _arguments as check
from genimg_fast._pictures import Kind, Unit
from genimg_fast._system import system
from genimg_fast.textures import _arguments as pyramids
from genimg_fast.textures._analysis import PYRAMIDS, Analysis
from genimg_fast.textures._edges import EDGES
from genimg_fast.textures._statistics import MIXTURES, TextureStatistics, mix, principal_axes
from genimg_fast.textures._synthesis import UPDATES, Step, Synthesis, run
from genimg_fast.textures._watch import Watch


@system("heeger_bergen")
def heeger_bergen(
    image: Any,
    size: int | tuple[int, int] | None = None,
    *,
    n_iter: int = 10,
    height: int | str = "auto",
    order: int = 3,
    edges: str = "none",
    seed: int | Sequence[int] | None = None,
    progress: bool = True,
    pyramid: str = "frequency",
    update: str = "projection",
    tolerance: float = 0.0,
    palette: Any = None,
    weights: Sequence[float] | None = None,
    mixture: str = "barycentre",
    callback: Callable[[Step], Any] | None = None,
) -> Any:
    """Synthesise a texture with the same histograms of pixels and of steerable subbands as an exemplar.

    Noise takes the exemplar's histogram, then, again and again, the histograms of every subband of its pyramid and of
    its pixels. Colours are handled in their principal axes, one by one, and take the exemplar's own histograms at the
    end. The result tiles: its pyramid is circular. It is good at textures without structure longer than the subbands'
    filters (sand, fur, granite), and cannot make bricks or straight edges.

    Args:
        image: The exemplar: an array (H, W) or (H, W, C), or a tensor (H, W) or (..., C, H, W); C from 1 to 4; at least
            8x8 pixels. Floats of any range (their unit is the result's), or integers of any type. A list of them is a
            mixture (see `weights`); they share kind and dtype, may differ in size, and grey ones among coloured ones
            count as equal channels.
        size: Height and width of the result in pixels, or one number for both; at least 8. None: the (first)
            exemplar's. Any size will do, larger or smaller.
        n_iter: Number of iterations, at least 1.
        height: Number of scales of the pyramid, at least 1. "auto": 4 for an exemplar with a shorter side of 256
            pixels, one more each time that doubles, one less each time it halves (rounded), and never more than the
            result holds.
        order: Order of the pyramid's derivative: order + 1 orientations. 0 to 15; the spatial pyramid has 0, 1, 3, 5.
        edges: What happens at the exemplar's borders. "none": opposite borders touch; "periodic": its periodic
            component (Moisan 2011), which has no jump there, takes its place; "mirror": its mirror images lie beside
            it while its subbands are made.
        seed: Of the noise: a number gives the same result each time on one kind of device, for any number of threads.
            Several numbers give a batch, along a new first axis, whose items are those of each number alone. None:
            different each time.
        progress: Show progress on standard error, with the remaining distance: a bar on a terminal,
            elsewhere a line every ten seconds.
        pyramid: "frequency" (`SteerablePyramidFreq`) or "spatial" (`SteerablePyramidSpace`).
        update: "projection" is the published iteration. "relaxed", "momentum" and "accelerated" go beyond it and come
            closer to the exemplar in the same number of iterations.
        tolerance: Stop once `Step.distance` is at or below it.
        palette: A second picture, of the same kind and dtype: the result has its colours and contrast and the pattern
            of `image`. Each principal channel takes the palette's histogram after the last iteration. Where
            `image` is grey, the palette may have colours, and every one of its principal channels takes the pattern; a
            grey palette counts as equal channels.
        weights: One positive number for each exemplar of a list; they are divided by their sum. None: equal ones.
        mixture: How a list of exemplars is mixed. "barycentre": Wasserstein barycentre of each histogram, the weighted
            mean of the quantiles; "histogram": weighted mean of the histograms.
        callback: Called with a `Step` before the first iteration and after each.

    Returns:
        The texture, of the kind, dtype and device of the exemplar: (h, w), (h, w, C) or (..., C, h, w), after a first
        axis for several seeds. Its channels have the exemplar's histograms.

    Raises:
        TypeError: An argument of the wrong type; pictures of complex or boolean dtype.
        ValueError: A value or shape outside what is accepted, which the message names; NaN or infinity in a picture.

    Ctrl-C (KeyboardInterrupt) ends the synthesis early: the current picture is returned, with a RuntimeWarning.
    """
    pictures, palettes, unit, kind = _pictures(image, palette)
    *batch, channels, _, _ = (palettes or pictures)[0].shape
    check.function("callback", callback)
    weights = check.weights(weights, len(pictures))
    check.choice("pyramid", pyramid, PYRAMIDS)
    check.choice("edges", edges, EDGES)
    check.choice("mixture", mixture, MIXTURES)
    check.choice("update", update, tuple(UPDATES))
    shape = check.size(size, pictures[0].shape[-2:])
    order = pyramids.order(order, pyramid)
    scales = pyramids.height(height, pyramid, order, [p.shape[-2:] for p in pictures], shape)
    analysis = Analysis(pyramid, shape, scales, order)
    seeds, has_seed_axis = check.seeds(seed)
    tolerance = check.not_negative("tolerance", tolerance)
    watch = Watch("heeger-bergen", check.integer("n_iter", n_iter, 1), tolerance, callback, progress)

    def measure(sources: Sequence[np.ndarray], shares: Sequence[float]) -> TextureStatistics:
        rotation = principal_axes(sources, shares)
        return mix([TextureStatistics.from_planes(p, rotation, edges, analysis) for p in sources], shares, mixture)

    lead = [len(seeds), *batch] if has_seed_axis else batch

    def picture(planes: Any) -> Any:
        return kind.pack(unit.leave(planes.reshape(*lead, channels, *shape)))

    noise = kind.lift(_noise(seeds, math.prod(batch), (channels, *shape), kind))
    statistics = [measure([p[index] for p in pictures], weights) for index in np.ndindex(*batch)]
    for source in palettes:
        statistics = [s.with_palette(source[index]) for s, index in zip(statistics, np.ndindex(*batch), strict=True)]
    if not statistics:
        return picture(noise)
    synthesis = Synthesis(statistics, len(seeds), analysis, kind)
    return picture(synthesis.colours(run(synthesis, noise, update, watch, picture)))


def _pictures(image: Any, palette: Any) -> tuple[list[np.ndarray], list[np.ndarray], Unit, Kind]:
    """Return the planes of exemplars and of the palette, if any, each in their unit, and unit and kind of the result.

    Grey pictures take the colours of the others, but a grey exemplar those of its palette: its pattern is one.
    """
    named = check.listed(image)
    planes, kind = check.alike([*named, *([] if palette is None else [("palette", palette)])])
    exemplars = check.promoted(planes[: len(named)], [name for name, _ in named])
    palettes = planes[len(named) :]
    unit = Unit.of(exemplars)
    exemplars = [unit.enter(one) for one in exemplars]
    if palettes:
        if exemplars[0].shape[-3] > 1:
            palettes = check.promoted([exemplars[0], *palettes], ["image", "palette"])[1:]
        unit = Unit.of(palettes)
        palettes = [unit.enter(one) for one in palettes]
    has_channels = kind.has_channels or (palettes or exemplars)[0].shape[-3] > 1
    return exemplars, palettes, unit, replace(kind, has_channels=has_channels)


def _noise(seeds: Sequence[int | None], repeats: int, shape: tuple[int, ...], kind: Kind) -> np.ndarray:
    """Return uniform noise (seeds * repeats, *shape); the exemplars of a batch all get the same from a seed."""
    draws = [np.random.default_rng(seed).random(shape, kind.working) for seed in seeds]
    return np.repeat(np.stack(draws), repeats, axis=0)
