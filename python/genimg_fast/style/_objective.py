"""The loss of style transfer, at one size: content, style, histograms and total variation."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch

import genimg_fast as gf
from genimg_fast._feature_sums import FeatureSums, Shapes
from genimg_fast._optimization import Evaluation, Parts, Shape, by_autograd
from genimg_fast._tiling import Maps, Where
from genimg_fast.gram import NORMALIZATIONS as GRAMS
from genimg_fast.style._moments import adain, wct
from genimg_fast.style._normalizations import NORMALIZATIONS, Normalization

STARTS = {"adain": adain, "wct": wct}


@dataclass(frozen=True)
class Layers:
    """The layers to compare and their weights, by name."""

    content: Mapping[str, float]
    style: Mapping[str, float]

    @property
    def names(self) -> list[str]:
        return list(dict.fromkeys([*self.style, *self.content]))


@dataclass(frozen=True)
class Weights:
    """Of the terms of the loss; see `genimg_fast.style.transfer`."""

    content: float
    style: float
    histogram: float
    variation: float


@dataclass(frozen=True)
class Region:
    """A part of the result and what it is to look like.

    Attributes:
        styles: Pictures (1, C, h, w) and their weights, with the sum 1.
        mask: (1, 1, H, W) in [0, 1], of any size, or None for everywhere.
        weight: Of a pixel's loss.
    """

    styles: Sequence[tuple[torch.Tensor, float]]
    mask: torch.Tensor | None = None
    weight: float = 1.0

    @property
    def share(self) -> float:
        """Its part of the loss. One that is a mean over a region counts as much as the region is large."""
        return self.weight * (1.0 if self.mask is None else float(self.mask.mean()))

    def masks(self, shapes: Shapes) -> Maps | None:
        """Return the mask at the size (h, w) of each layer's maps."""
        if self.mask is None:
            return None
        reduced = torch.nn.functional.adaptive_avg_pool2d
        return {layer: reduced(self.mask, shape)[0, 0] for layer, shape in shapes.items()}


class _Term(Protocol):
    """A part of the loss: sums over positions, by names of its own, and the loss of those over all positions."""

    name: str

    def sums(self, maps: Maps, where: Where) -> Maps: ...

    def loss(self, totals: Maps, shapes: Shapes) -> torch.Tensor: ...


def objective(
    features: FeatureSums,
    size: Shape,
    content: torch.Tensor,
    regions: Sequence[Region],
    layers: Layers,
    weights: Weights,
    normalization: Normalization,
) -> Evaluation:
    """Return what gives loss, gradient and parts of pictures (1, C, *size).

    Args:
        features: Of the layers.
        size: (height, width).
        content: (1, C, *size).
        regions: One without a mask, or any number with.
        layers, weights, normalization: What the loss consists of.
    """
    maps, shapes = features.maps(content, list(layers.content))
    masks = [region.masks(shapes) for region in regions]
    terms: list[_Term] = [
        _Matches("content", maps, layers.content, normalization, weights.content),
        _Grams(features, regions, masks, layers.style, normalization, weights.style, math.prod(size)),
    ]
    if weights.histogram:
        terms.append(_Histograms(features, regions, masks, layers.style, weights.histogram))
    return _with_variation(_evaluation(features, size, terms), normalization, weights.variation)


def starting_objective(
    features: FeatureSums, size: Shape, content: torch.Tensor, regions: Sequence[Region], layers: Layers, start: str
) -> Evaluation:
    """Return the evaluation whose least is where the maps are the content's with the styles' moments."""
    own, shapes = features.maps(content, layers.names)
    targets = {name: torch.zeros_like(maps) for name, maps in own.items()}
    covered = {name: torch.zeros_like(maps[:1]) for name, maps in own.items()}
    for region in regions:
        masks = region.masks(shapes)
        for picture, weight in region.styles:
            maps, _ = features.maps(picture, layers.names)
            for name in layers.names:
                portion = weight if masks is None else weight * masks[name]
                targets[name] += portion * STARTS[start](own[name], maps[name])
                covered[name] += portion
    for name, target in targets.items():  # where no mask reaches, the content stays as it is
        target += (1 - covered[name]).clamp(min=0) * own[name]
        target /= covered[name].clamp(min=1)
    term = _Matches("start", targets, dict.fromkeys(layers.names, 1.0), NORMALIZATIONS["relative"], 1.0)
    return _evaluation(features, size, [term])


def _evaluation(features: FeatureSums, size: Shape, terms: Sequence[_Term]) -> Evaluation:
    def sums(maps: Maps, where: Where) -> Maps:
        return {name: value for term in terms for name, value in term.sums(maps, where).items()}

    def loss(totals: Maps, shapes: Shapes) -> tuple[torch.Tensor, Mapping[str, Any]]:
        parts = {term.name: term.loss(totals, shapes) for term in terms}
        return torch.stack(list(parts.values())).sum(), parts

    return features.evaluation(size, sums, loss)


class _Matches:
    """Squares of the differences from fixed maps."""

    def __init__(
        self, name: str, targets: Maps, layers: Mapping[str, float], normalization: Normalization, weight: float
    ) -> None:
        self.name, self._targets, self._reduced = name, targets, normalization.content
        self._factors = _factors(layers, weight, normalization)
        self._energies = {layer: float(target.square().mean()) for layer, target in targets.items()}

    def sums(self, maps: Maps, where: Where) -> Maps:
        found = {}
        for layer, target in self._targets.items():
            rows, columns = where[layer]
            found[f"{self.name} {layer}"] = (maps[layer][0] - target[:, rows, columns]).square().sum()
        return found

    def loss(self, totals: Maps, shapes: Shapes) -> torch.Tensor:
        return _sum(
            factor * self._reduced(totals[f"{self.name} {n}"], self._targets[n].numel(), self._energies[n])
            for n, factor in self._factors.items()
        )


class _Grams:
    """Differences of Gram matrices, the result's guided by each region's mask.

    L. A. Gatys, A. S. Ecker, M. Bethge, A. Hertzmann, E. Shechtman, "Controlling perceptual factors in neural style
    transfer", CVPR 2017, section 4.
    """

    name = "style"

    def __init__(
        self,
        features: FeatureSums,
        regions: Sequence[Region],
        masks: Sequence[Maps | None],
        layers: Mapping[str, float],
        normalization: Normalization,
        weight: float,
        pixels: int,
    ) -> None:
        self._normalization, self._pixels = normalization, pixels
        self._factors = _factors(layers, weight, normalization)
        self._shares = [region.share for region in regions]
        self._masks = [None if mask is None else {n: _unit(mask[n]) for n in layers} for mask in masks]
        self._targets = [self._mean_gram(features, region) for region in regions]

    def sums(self, maps: Maps, where: Where) -> Maps:
        return {
            f"gram {i} {n}": _product(maps[n][0], None if masks is None else masks[n][where[n]])
            for i, masks in enumerate(self._masks)
            for n in self._factors
        }

    def loss(self, totals: Maps, shapes: Shapes) -> torch.Tensor:
        return _sum(
            share * factor * self._difference(totals[f"gram {i} {n}"], targets[n], shapes[n])
            for i, (share, targets) in enumerate(zip(self._shares, self._targets, strict=True))
            for n, factor in self._factors.items()
        )

    def _mean_gram(self, features: FeatureSums, region: Region) -> Maps:
        """Return the weighted mean of the Gram matrices of a region's styles."""
        means: dict[str, torch.Tensor] = {}
        for picture, weight in region.styles:
            totals, shapes = features.sums(
                picture, lambda maps, _: {n: _product(maps[n][0], None) for n in self._factors}
            )
            for n, total in totals.items():
                gram = weight * self._gram(total, shapes[n])
                means[n] = means[n] + gram if n in means else gram
        return means

    def _difference(self, total: torch.Tensor, target: torch.Tensor, shape: Shape) -> torch.Tensor:
        gram = self._gram(total, shape)
        target = target.to(gram)
        return self._normalization.style(gram - target, target, math.prod(shape) / self._pixels)

    def _gram(self, total: torch.Tensor, shape: Shape) -> torch.Tensor:
        return total / GRAMS[self._normalization.gram].divisor(1, len(total), math.prod(shape))


class _Histograms:
    """Squares of the differences from maps with each style's histograms.

    E. Risser, P. Wilmot, C. Barnes, "Stable and controllable neural texture synthesis and style transfer using
    histogram losses", 2017, section 4.2: what a map is matched to counts as fixed.
    """

    name = "histogram"

    def __init__(
        self,
        features: FeatureSums,
        regions: Sequence[Region],
        masks: Sequence[Maps | None],
        layers: Mapping[str, float],
        weight: float,
    ) -> None:
        self._factors = _factors(layers, weight, NORMALIZATIONS["relative"])
        self._references: list[tuple[float, Maps | None, dict[str, Any], dict[str, float]]] = []
        for region, mask in zip(regions, masks, strict=True):
            inside = None if mask is None else {n: mask[n] > 0.5 for n in layers}
            for picture, share in region.styles:
                maps, _ = features.maps(picture, list(layers))
                references = {n: gf.HistogramReference(m) for n, m in maps.items()}
                energies = {n: float(m.square().mean()) or 1.0 for n, m in maps.items()}
                self._references.append((region.share * share, inside, references, energies))

    def sums(self, maps: Maps, where: Where) -> Maps:
        return {
            f"histogram {i} {n}": _distance(maps[n][0], references[n], None if inside is None else inside[n])
            for i, (_, inside, references, _) in enumerate(self._references)
            for n in self._factors
        }

    def loss(self, totals: Maps, shapes: Shapes) -> torch.Tensor:
        parts = []
        for i, (share, inside, _, energies) in enumerate(self._references):
            for n, factor in self._factors.items():
                positions = math.prod(shapes[n]) if inside is None else max(1, int(inside[n].sum()))
                parts.append(share * factor / (positions * energies[n]) * totals[f"histogram {i} {n}"])
        return _sum(parts)


def _distance(maps: torch.Tensor, reference: Any, inside: torch.Tensor | None) -> torch.Tensor:
    """Return the sum over positions inside, and the mean over channels, of the squares to matched maps."""
    matched = gf.match_histograms(maps.detach().contiguous(), reference, mask=inside)
    return (maps - matched).square().sum() / len(maps)


def _with_variation(evaluate: Evaluation, normalization: Normalization, weight: float) -> Evaluation:
    """Return an evaluation with the picture's total variation added."""
    if not weight:
        return evaluate
    variation = by_autograd(lambda x: (weight * normalization.variation(x), {}))

    def both(x: torch.Tensor) -> tuple[float, torch.Tensor, Parts]:
        loss, gradient, parts = evaluate(x)
        more, its_gradient, _ = variation(x)
        return loss + more, gradient + its_gradient, {**parts, "variation": more}

    return both


def _factors(layers: Mapping[str, float], weight: float, normalization: Normalization) -> dict[str, float]:
    """Return what each layer's loss is multiplied by."""
    total = sum(layers.values()) if normalization.is_mean else 1.0
    return {name: weight * number / total for name, number in layers.items()}


def _unit(mask: torch.Tensor) -> torch.Tensor:
    """Return a mask with the mean square 1, so that Gram matrices divided by all positions are means over the mask."""
    return mask / mask.square().mean().sqrt().clamp(min=1e-12)


def _product(maps: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    return gf.gram_matrix(maps, normalization="none", mask=mask)


def _sum(parts: Any) -> torch.Tensor:
    return torch.stack(list(parts)).sum()
