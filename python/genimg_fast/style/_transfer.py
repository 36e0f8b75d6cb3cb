"""A content's picture in the manner of another.

L. A. Gatys, A. S. Ecker, M. Bethge, "Image style transfer using convolutional neural networks", CVPR 2016 ("A neural
algorithm of artistic style", 2015).
"""

from __future__ import annotations

import copy
import functools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from genimg_fast import _arguments as check
from genimg_fast._feature_sums import Features, FeatureSums
from genimg_fast._optimization import (
    DescentStep,
    Evaluation,
    Shape,
    Watch,
    checked_settings,
    descend,
    halved,
)
from genimg_fast._pictures import MIN_SIDE
from genimg_fast._system import system
from genimg_fast._tiling import MIN_TILE
from genimg_fast.features import Network
from genimg_fast.features._random import levels_for
from genimg_fast.style._normalizations import NORMALIZATIONS, Normalization
from genimg_fast.style._objective import STARTS, Layers, Weights, objective, starting_objective
from genimg_fast.style._pictures import Pictures
from genimg_fast.style.options import COLORS, INITS

LayerNames = Iterable[str] | Mapping[str, float]

_COARSEST = 128  # pixels: the shorter side that "auto" does not go below
_MOST_SCALES = 4


@system("transfer")
def transfer(
    content: Any,
    style: Any,
    size: int | tuple[int, int] | None = None,
    *,
    features: Features | None = None,
    content_layers: LayerNames | None = None,
    style_layers: LayerNames | None = None,
    weights: Sequence[float] | None = None,
    masks: Any = None,
    style_scale: float | Sequence[float] = 1.0,
    colors: str = "style",
    content_weight: float | None = None,
    style_weight: float | None = None,
    tv_weight: float | None = None,
    histogram_weight: float = 0.0,
    normalization: str = "relative",
    init: str = "content",
    noise: float = 0.5,
    n_iter: int = 100,
    scales: int | str = "auto",
    optimizer: str = "lbfgs",
    learning_rate: float = 0.02,
    history_bytes: int = 1 << 30,
    tolerance: float = 0.0,
    tile: int | None = None,
    group: Any = None,
    seed: int | Sequence[int] | None = None,
    device: Any = None,
    progress: bool = True,
    callback: Callable[[DescentStep], Any] | None = None,
) -> Any:
    """Give a picture the manner of another.

    The result is found by descent on content_weight * content + style_weight * style + histogram_weight * histogram +
    tv_weight * variation, first at a small size, then at sizes twice as large each:

    - content: the squared difference of deep feature maps from those of the content;
    - style: the squared difference of Gram matrices of feature maps from those of the style;
    - histogram: the squared difference of feature maps from themselves with the histograms of the style's (Risser et
      al. 2017), always relative to the style's mean square;
    - variation: the total variation of the picture itself.

    Args:
        content: The picture to paint: an array (H, W) or (H, W, C), or a tensor (H, W) or (..., C, H, W); at least 8x8
            pixels; floats in [0, 1] (overshoots of a quarter are accepted), uint8 or uint16. Leading axes are pictures
            of their own. Float64 is computed in float64, which takes several times as long.
        style: The picture to paint it like, or a list of them: arrays or tensors, of any of these dtypes and any size,
            whatever the content is, one picture each. The result has the channels of the picture with most; grey ones
            count as equal channels.
        size: Height and width of the result in pixels, or one number for the longer side; at least 8. None: the
            content's.
        features: Gives a dict of feature maps (1, C', H', W') of a picture (1, C, H, W), differentiably: one of
            `genimg_fast.features`, or any callable. None: `genimg_fast.features.random`, which needs no weights, made
            for the colours of the styles.
        content_layers, style_layers: Names of the maps to compare, or a dict from names to weights, which are not
            negative. None: relu4_2, and relu1_1 to relu5_1, of a VGG (or what the `normalization` publishes); of other
            features the middle one of the layers that they give, and all of them. Style and histogram share theirs.
        weights: One positive number for each style. Without masks the Gram matrices of the styles are averaged with
            them; with masks they say how much each style's region counts. None: equal ones.
        masks: Where each style applies: maps of the content's height and width, one for each style, booleans, numbers
            from 0 to 1, or uint8 or uint16 whose largest value stands for 1. They may overlap; where all are 0, only
            the content counts. They guide the Gram matrices of the result (Gatys et al. 2017), and its histograms where
            they are above one half. None: all styles everywhere.
        style_scale: The longer side of a style, where the result's is 1: smaller numbers make finer strokes. One, or
            one for each style.
        colors: Whose colours the result has (Gatys et al. 2016). "style": the style's. "luminance": the content's, of
            which only the luminance is painted; its chrominance is exactly the content's. "pca", "cholesky": the
            style's picture is given the content's mean and covariance of colours first, with the symmetric root or
            with Cholesky factors. "histogram": with the content's histogram in each channel.
        content_weight, style_weight, tv_weight: Of the terms, not negative. None: those of the `normalization`.
        histogram_weight: Of the histogram term, not negative. It does not go with a `tile`, whose histograms are not
            the picture's.
        normalization: What content, style and variation are divided by. "relative": by the mean squares of the target,
            so that weights mean the same for all features; style and content are means over layers, variation is the
            mean length of the gradient. Or a project's name, whose published weights then hold: "gatys" (the paper),
            "gatys-pytorch", "jcjohnson", "neural-style-pt", "pytorch-tutorial", "keras".
        init: What to begin with: the "content", "noise" in the colours of the styles, both "mixed", or a picture whose
            feature maps are the content's with the styles' moments, found by `n_iter` more evaluations at the coarsest
            size, which is a fast start: "adain" (means and variances) or "wct" (means and covariances).
        noise: The noise's share of a "mixed" start, in [0, 1].
        n_iter: Evaluations of loss and gradient at each size, at least 1.
        scales: Number of sizes, each half of the next. "auto": as many, up to 4, as leave 128 pixels of result and
            styles at the coarsest.
        optimizer: "lbfgs" or "adam".
        learning_rate: Of Adam, where pictures lie in [0, 1].
        history_bytes: Most memory for the vectors that L-BFGS remembers, 2 of the picture's size for each past step;
            one step is always kept.
        tolerance: A size is done once its loss is at or below it.
        tile: Side in pixels of the tiles to compute larger pictures in, one by one, at least 32: the same gradients, in
            memory that depends on the tile and on the content's deep maps. It needs one of `genimg_fast.features`.
            None: the whole picture at once.
        group: A process group of `torch.distributed` whose ranks share the tiles; every rank makes the same call and
            gets the result.
        seed: Of the noise: a number gives the same result each time on one kind of device, as long as torch's
            convolutions, whose bits may depend on the number of threads, do. Several numbers give a batch, along a new
            first axis, whose items are those of each number alone. None: different each time.
        device: Where to compute, such as "cuda". None: where the content is.
        progress: Show progress on standard error, with the loss and its largest part: a bar on a terminal,
            elsewhere a line every ten seconds.
        callback: Called with a `DescentStep` after each evaluation.

    Returns:
        The picture, of the kind, dtype and device of the content: (h, w), (h, w, C) or (..., C, h, w), after a first
        axis for several seeds. Floats may leave [0, 1] a little; integers are clipped.

    Raises:
        TypeError: An argument of the wrong type; pictures of complex or boolean dtype; features that give no dict.
        ValueError: A value or shape outside what is accepted, which the message names; NaN or infinity in a picture.

    Ctrl-C (KeyboardInterrupt) ends the transfer early: the current picture is returned, with a RuntimeWarning.
    """
    definition = NORMALIZATIONS[check.choice("normalization", normalization, tuple(NORMALIZATIONS))]
    check.choice("init", init, INITS)
    terms = _weights(definition, content_weight, style_weight, tv_weight, histogram_weight, tile)
    settings = checked_settings(optimizer, n_iter, tolerance, learning_rate, history_bytes)
    noise_share = check.fraction("noise", noise)
    check.function("callback", callback)
    seeds, has_seed_axis = check.seeds(seed)
    pictures = Pictures(content, style, weights, masks, style_scale, check.choice("colors", colors, COLORS))
    shape = _size(size, pictures.shape)
    shortest = min(*shape, *(side for styled in pictures.style_shapes(shape) for side in styled))
    sizes = halved(shape, check.scales(scales, shortest, coarsest=_COARSEST, most=_MOST_SCALES))
    lead = [*([len(seeds)] if has_seed_axis else []), *pictures.lead]
    if not math.prod(pictures.lead):
        return pictures.packed(torch.zeros(*lead, pictures.channels, *shape))
    where = check.device(device, pictures.kind.device)
    given = None if features is None else pictures.network(_on_device(features, where))
    side = None if tile is None else check.integer("tile", tile, MIN_TILE)
    sources = [pictures.source(place, where) for place in np.ndindex(*pictures.lead)]
    networks = [
        source.random_filters(levels_for(shortest // 2 ** (len(sizes) - 1))) if given is None else given
        for source in sources
    ]
    layers = _layers(networks[0], content_layers, style_layers, definition, sources[0].seen)
    sums = [FeatureSums(network, layers.names, side, group) for network in networks]

    @functools.lru_cache(maxsize=len(sources))
    def evaluation(at: Shape, place: int) -> Evaluation:
        seen, regions = sources[place].at(at)
        return objective(sums[place], at, seen, regions, layers, terms, definition)

    fresh = set(range(len(seeds) * len(sources))) if init in STARTS else set()

    def next_objective(at: Shape, item: int) -> Evaluation:
        place = item % len(sources)
        if item not in fresh:
            return evaluation(at, place)
        fresh.discard(item)
        return starting_objective(sums[place], at, *sources[place].at(at), layers, init)

    def packed(planes: torch.Tensor, item: int) -> Any:
        return pictures.packed(sources[item % len(sources)].finished(planes)[0])

    results = descend(
        [source.start(init, noise_share, one, sizes[0]) for one in seeds for source in sources],
        [*sizes[: int(init in STARTS)], *sizes],
        next_objective,
        settings,
        Watch("style", progress, callback, packed),
    )
    planes = torch.cat([sources[i % len(sources)].finished(result) for i, result in enumerate(results)])
    return pictures.packed(planes.reshape(*lead, *planes.shape[1:]))


def _on_device(features: Any, device: torch.device) -> Features:
    if not callable(features):
        raise TypeError(f"features must be callable, got {type(features).__name__}")
    if not isinstance(features, Network) or device.type == "cpu":
        return features
    return copy.deepcopy(features).to(device)


def _weights(
    definition: Normalization, content: Any, style: Any, variation: Any, histogram: Any, tile: int | None
) -> Weights:
    names = ("content_weight", "style_weight", "tv_weight")
    numbers = [
        published if given is None else check.not_negative(name, given)
        for name, given, published in zip(names, (content, style, variation), definition.weights, strict=True)
    ]
    weights = Weights(numbers[0], numbers[1], check.not_negative("histogram_weight", histogram), numbers[2])
    if weights.histogram and tile is not None:
        raise ValueError("histogram_weight does not go with tile: histograms of tiles are not those of the picture")
    if not any((weights.content, weights.style, weights.histogram)):
        raise ValueError("content_weight, style_weight and histogram_weight must not all be 0")
    return weights


def _layers(
    features: Features,
    content: LayerNames | None,
    style: LayerNames | None,
    definition: Normalization,
    seen: torch.Tensor,
) -> Layers:
    """Return the layers to compare; where none are named, those that suit the features."""
    default_content, default_style = definition.content_layers, definition.style_layers
    if not isinstance(features, Network) or not {*default_content, *default_style} <= set(features.names):
        given = _given_layers(features, seen) if content is None or style is None else ()
        default_content, default_style = given[(len(given) - 1) // 2 :][:1], given
    return Layers(
        _numbered("content_layers", default_content if content is None else content),
        _numbered("style_layers", default_style if style is None else style),
    )


@torch.no_grad()
def _given_layers(features: Features, seen: torch.Tensor) -> tuple[str, ...]:
    if isinstance(features, Network):
        return features.layers
    maps = features(seen)
    if not isinstance(maps, Mapping) or not maps:
        raise TypeError(f"features must give a dict of feature maps, got {type(maps).__name__}")
    return tuple(maps)


def _numbered(name: str, layers: LayerNames) -> dict[str, float]:
    names = [layers] if isinstance(layers, str) else list(layers)
    if not names or len(set(names)) < len(names):
        raise ValueError(f"{name} must hold at least one name, and none twice, got {names}")
    if not isinstance(layers, Mapping):
        return dict.fromkeys(names, 1.0)
    numbers = {n: check.not_negative(f"{name}[{n!r}]", number) for n, number in layers.items()}
    if not any(numbers.values()):
        raise ValueError(f"{name} must not have all weights 0, got {numbers}")
    return numbers


def _size(value: Any, content: Shape) -> Shape:
    """Return a height and a width; one number is that of the longer side."""
    if value is None or isinstance(value, Iterable):
        return check.size(value, content)
    factor = check.integer("size", value, MIN_SIDE) / max(content)
    return check.size([max(MIN_SIDE, round(side * factor)) for side in content], content)
