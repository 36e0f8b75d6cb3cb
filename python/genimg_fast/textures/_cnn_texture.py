"""Textures from the correlations of feature maps.

L. A. Gatys, A. S. Ecker, M. Bethge, "Texture synthesis using convolutional neural networks", NIPS 2015.
"""

from __future__ import annotations

import copy
import functools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

import genimg_fast as gf
from genimg_fast import _arguments as check
from genimg_fast._feature_sums import Features, FeatureSums, Shapes
from genimg_fast._noise import coloured_noise
from genimg_fast._optimization import (
    DescentStep,
    Evaluation,
    Shape,
    Watch,
    checked_settings,
    descend,
    halved,
    rescaled,
    resized,
)
from genimg_fast._pictures import Kind, in_unit_range
from genimg_fast._system import system
from genimg_fast._tiling import MIN_TILE, Maps, Where, alignment, check_circular
from genimg_fast.features import Network, random
from genimg_fast.features._random import levels_for
from genimg_fast.textures._exemplars import Exemplars
from genimg_fast.textures._statistics import barycentre

_COARSEST = 40  # pixels: the shorter side that "auto" does not go below
_MOST_SCALES = 4


@system("cnn_texture")
def cnn_texture(
    image: Any,
    size: int | tuple[int, int] | None = None,
    *,
    features: Features | None = None,
    layers: Iterable[str] | None = None,
    layer_weights: Mapping[str, float] | Sequence[float] | None = None,
    weights: Sequence[float] | None = None,
    n_iter: int = 100,
    scales: int | str = "auto",
    optimizer: str = "lbfgs",
    learning_rate: float = 0.02,
    history_bytes: int = 1 << 30,
    tolerance: float = 0.0,
    tileable: bool = False,
    tile: int | None = None,
    group: Any = None,
    match_histogram: bool = True,
    seed: int | Sequence[int] | None = None,
    device: Any = None,
    progress: bool = True,
    callback: Callable[[DescentStep], Any] | None = None,
) -> Any:
    """Synthesise a texture whose feature maps are correlated like an exemplar's.

    Noise in the exemplar's colours is changed by descent until the Gram matrices of its feature maps are those of the
    exemplar's, first at a small size, then at sizes twice as large each. Gram matrices are means over positions, so
    that exemplar and result may have any sizes.

    The loss is the weighted mean over layers of the mean square of G - G_exemplar, divided by the mean square of
    G_exemplar: a layer counts as much whatever the size of its activations. 0 is a perfect match, noise has about 1.

    Args:
        image: The exemplar: an array (H, W) or (H, W, C), or a tensor (H, W) or (..., C, H, W); at least 8x8 pixels,
            and as many channels as the features take. Floats in [0, 1] (overshoots of a quarter are accepted), uint8
            or uint16. A list of them is a mixture (see `weights`); they share kind and dtype, may differ in size, and
            grey ones among coloured ones count as equal channels. Float64 is computed in float64, which takes several
            times as long.
        size: Height and width of the result in pixels, or one number for both; at least 8. None: the (first)
            exemplar's.
        features: Gives a dict of feature maps (1, C', H', W') of a picture (1, C, H, W), differentiably: one of
            `genimg_fast.features`, or any callable. None: `genimg_fast.features.random`, made for the exemplar's
            colours.
        layers: Names of the maps to compare. None: all that the callable gives.
        layer_weights: A number for each layer, by name or in order; at least one is positive. None: equal ones.
        weights: One positive number for each exemplar of a list: the weights of the mean of their Gram matrices. None:
            equal ones.
        n_iter: Evaluations of loss and gradient at each size, at least 1.
        scales: Number of sizes, each half of the next. "auto": as many, up to 4, as leave 40 pixels at the coarsest.
        optimizer: "lbfgs" or "adam".
        learning_rate: Of Adam, where pictures lie in [0, 1].
        history_bytes: Most memory for the vectors that L-BFGS remembers, 2 of the picture's size for each past step;
            one step is always kept.
        tolerance: A size is done once its loss is at or below it.
        tileable: Make a result that tiles without a seam: features pad circularly. Its sides must be multiples of the
            coarsest layer's stride. It needs one of `genimg_fast.features`.
        tile: Side in pixels of the tiles to compute large pictures in, one by one, at least 32: the same gradients, in
            memory that depends on the tile, at the cost of each tile's surroundings and of one more pass without
            gradients. It needs one of `genimg_fast.features`. None: the whole picture at once.
        group: A process group of ``torch.distributed`` whose ranks share the tiles. Every rank makes the same call and
            gets the same result; it needs `tile`. None: this process alone.
        match_histogram: Give each channel of the result the exemplar's histogram in the end. Without it, floats may
            leave [0, 1] a little.
        seed: Of the noise: a number gives the same result each time on one kind of device, as long as torch's
            convolutions, whose bits may depend on the number of threads, do. Several numbers give a batch, along a new
            first axis, whose items are those of each number alone. None: different each time.
        device: Where to compute, such as "cuda". None: where the exemplar is.
        progress: Show progress on standard error, with the loss and its largest part: a bar on a terminal,
            elsewhere a line every ten seconds.
        callback: Called with a `DescentStep` after each evaluation.

    Returns:
        The texture, of the kind, dtype and device of the exemplar: (h, w), (h, w, C) or (..., C, h, w), after a first
        axis for several seeds.

    Raises:
        TypeError: An argument of the wrong type; pictures of complex or boolean dtype; features that give no dict.
        ValueError: A value or shape outside what is accepted, which the message names; NaN or infinity in a picture.

    Ctrl-C (KeyboardInterrupt) ends the synthesis early: the current picture is returned, with a RuntimeWarning.
    """
    planes, kind = check.exemplars(image)
    for one, (name, _) in zip(planes, check.listed(image), strict=True):
        in_unit_range(one, kind, name)
    exemplars = _Exemplars(planes, check.weights(weights, len(planes)), kind)
    check.function("callback", callback)
    tileable, match_histogram = check.flag("tileable", tileable), check.flag("match_histogram", match_histogram)
    shape = check.size(size, planes[0].shape[-2:])
    seeds, has_seed_axis = check.seeds(seed)
    settings = checked_settings(optimizer, n_iter, tolerance, learning_rate, history_bytes)
    shortest = min(*shape, *(side for one in planes for side in one.shape[-2:]))
    n_scales = check.scales(scales, shortest, coarsest=_COARSEST, most=_MOST_SCALES)
    lead = [len(seeds), *exemplars.batch] if has_seed_axis else exemplars.batch
    if not exemplars.count:
        return exemplars.packed(torch.zeros(*lead, exemplars.channels, *shape))

    where = check.device(device, kind.device)
    if tile is not None:
        check.integer("tile", tile, MIN_TILE)
    given = None if features is None else _network(features, tileable, where)
    networks = [
        _default(pictures, shortest, n_scales, tileable).to(where) if given is None else given
        for pictures in exemplars.pictures
    ]
    models = [_Model(network, layers, layer_weights, tile, group) for network in networks]
    check_circular(shape, models[0].multiple, models[0].is_circular)
    sizes = halved(shape, n_scales, models[0].multiple)

    synthesis = _Synthesis(exemplars, models, shape, where, match_histogram)
    results = descend(
        [synthesis.start(one, place, sizes[0]) for one in seeds for place in range(exemplars.count)],
        sizes,
        synthesis.evaluation,
        settings,
        Watch("cnn", progress, callback, synthesis.picture),
        circular=models[0].is_circular,
    )
    done = torch.cat([synthesis.finished(result, item) for item, result in enumerate(results)])
    return exemplars.packed(done.reshape(*lead, exemplars.channels, *shape))


class _Exemplars(Exemplars):
    """Exemplars, in [0, 1], with their shares of the mixture, which have the sum 1, and as the caller has them."""

    def __init__(self, planes: Sequence[np.ndarray], shares: Sequence[float], kind: Kind) -> None:
        super().__init__([one / one.dtype.type(kind.unit) for one in planes], kind)
        self.values = [[one[place] for one in planes] for place in self.places]
        self.shares = shares

    def noise(self, seed: int | None, place: int, size: Shape) -> np.ndarray:
        """Return noise (1, C, *size) in a place's colours."""
        return coloured_noise(seed, self.pictures[place], self.shares, size)[None]

    def matched(self, planes: torch.Tensor, place: int) -> torch.Tensor:
        """Return planes (1, C, H, W) in [0, 1] with a place's histograms, in the unit of its values."""
        tables = [p.reshape(self.channels, -1) for p in self.values[place]]
        table = tables[0] if len(tables) == 1 else barycentre(tables, self.shares)
        reference = torch.from_numpy(table).to(planes)[None, :, None, :]
        return gf.match_histograms(planes, reference, method="rank")


class _Synthesis:
    """What a descent asks about its pictures, which are the places of a batch for one seed after the other.

    Args:
        exemplars: What to imitate.
        models: The loss for each place.
        shape: (height, width) of the results.
        device: Where to compute.
        match_histogram: Whether results take the exemplars' histograms.
    """

    def __init__(
        self,
        exemplars: _Exemplars,
        models: Sequence[_Model],
        shape: Shape,
        device: torch.device,
        match_histogram: bool,
    ) -> None:
        self._exemplars, self._models, self._shape = exemplars, models, shape
        self._device, self._matches = device, match_histogram
        # All seeds pass a size before the next, and share the targets there.
        self._of_place = functools.lru_cache(maxsize=exemplars.count)(self._new_evaluation)

    def start(self, seed: int | None, place: int, size: Shape) -> torch.Tensor:
        """Return the noise (1, C, *size) to begin with."""
        return torch.from_numpy(self._exemplars.noise(seed, place, size)).to(self._device)

    def evaluation(self, size: Shape, item: int) -> Evaluation:
        """Return what gives loss and gradient of a picture at a size."""
        return self._of_place(size, item % self._exemplars.count)

    def finished(self, planes: torch.Tensor, item: int) -> torch.Tensor:
        """Return planes (1, C, H, W) in the unit of the exemplars' values."""
        if self._matches:
            return self._exemplars.matched(planes, item % self._exemplars.count)
        return planes * self._exemplars.kind.unit

    def picture(self, planes: torch.Tensor, item: int) -> Any:
        """Return planes (1, C, H, W) as a picture of the caller's."""
        return self._exemplars.packed(self.finished(planes, item)[0])

    def _new_evaluation(self, size: Shape, place: int) -> Evaluation:
        pictures = [torch.from_numpy(one).to(self._device)[None] for one in self._exemplars.pictures[place]]
        reduced = [resized(one, rescaled(one.shape[-2:], self._shape, size)) for one in pictures]
        return self._models[place].evaluation(size, reduced, self._exemplars.shares)


def _default(pictures: Sequence[np.ndarray], shortest: int, n_scales: int, tileable: bool) -> Network:
    """Return random filters for the colours of some pictures, on as many levels as leave 8 pixels of the coarsest."""
    levels = levels_for(shortest // 2 ** (n_scales - 1))
    arrays = [np.moveaxis(planes, 0, -1) for planes in pictures]
    padding = "circular" if tileable else "reflect"
    return random(channels=len(pictures[0]), normalize=arrays, levels=levels, padding=padding)


def _network(features: Features, tileable: bool, device: torch.device) -> Features:
    """Return the caller's features where they are to be computed, circular for a tileable result."""
    if not callable(features):
        raise TypeError(f"features must be callable, got {type(features).__name__}")
    if not isinstance(features, Network):
        if tileable:
            raise ValueError(f"tileable needs features of genimg_fast.features, got {type(features).__name__}")
        return features
    network = features.padded_by("circular") if tileable else features
    return network if device.type == "cpu" else copy.deepcopy(network).to(device)


class _Model:
    """The loss between Gram matrices of the layers of one network."""

    def __init__(
        self,
        features: Features,
        layers: Iterable[str] | None,
        layer_weights: Mapping[str, float] | Sequence[float] | None,
        tile: int | None,
        group: Any,
    ) -> None:
        names = (layers,) if isinstance(layers, str) else layers if layers is None else tuple(layers)
        self._layer_weights = layer_weights
        self._of_result = self._of_exemplar = FeatureSums(features, names, tile, group)
        self.multiple, self.is_circular = 1, isinstance(features, Network) and features.padding == "circular"
        if isinstance(features, Network) and self.is_circular:
            self.multiple = alignment((features if names is None else features.taking(names)).fields())
            # An exemplar does not tile: where it must not touch its opposite border, it meets its mirror image.
            self._of_exemplar = FeatureSums(features.padded_by("reflect"), names, tile, group)

    def evaluation(self, size: Shape, exemplars: Sequence[torch.Tensor], shares: Sequence[float]) -> Evaluation:
        """Return what gives loss and gradient of pictures (1, C, *size) of the texture of exemplars (1, C, H, W)."""
        targets = self._targets(exemplars, shares)
        factors = _factors(self._layer_weights, targets)

        def loss(sums: Maps, shapes: Shapes) -> tuple[torch.Tensor, Maps]:
            parts = {
                name: factors[name] * (gram - targets[name].to(gram)).square().mean()
                for name, gram in _means(sums, shapes).items()
            }
            return torch.stack(list(parts.values())).sum(), parts

        return self._of_result.evaluation(size, _products, loss)

    def _targets(self, exemplars: Sequence[torch.Tensor], shares: Sequence[float]) -> dict[str, torch.Tensor]:
        """Return the weighted mean of the exemplars' Gram matrices."""
        grams = [_means(*self._of_exemplar.sums(exemplar, _products)) for exemplar in exemplars]
        return {
            name: torch.stack([share * gram[name] for share, gram in zip(shares, grams, strict=True)]).sum(0)
            for name in grams[0]
        }


def _products(maps: Maps, _: Where) -> Maps:
    return {name: gf.gram_matrix(part, normalization="none") for name, part in maps.items()}


def _means(sums: Maps, shapes: Shapes) -> Maps:
    return {name: total / math.prod(shapes[name]) for name, total in sums.items()}


def _factors(
    weights: Mapping[str, float] | Sequence[float] | None, targets: Mapping[str, torch.Tensor]
) -> dict[str, float]:
    """Return what each layer's mean square difference of Gram matrices is multiplied by."""
    numbers = check.layer_weights(weights, tuple(targets))
    energies = {name: float(target.square().mean()) for name, target in targets.items()}
    return {name: numbers[name] / (energy or 1.0) for name, energy in energies.items()}
