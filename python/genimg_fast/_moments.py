"""Means and covariances of feature maps, and how far they are from others.

The moments are what AdaIN, WCT and the style losses of normal distributions compare; they come from one pass of the
Gram kernels over the features.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from genimg_fast import gram
from genimg_fast._core import backend as check

DISTANCES = ("squared", "w2")
REDUCTIONS = {
    "squared": ("mean", "sum", "gatys-deeptextures", "gatys-pytorch", "crowsonkb"),
    "w2": ("mean", "sum"),
}

_EPSILON = 1e-5  # of the target's mean variance


class Moments(NamedTuple):
    """The means (..., C) of the channels and their covariances (..., C, C)."""

    mean: Any
    covariance: Any


def moments(features: Any, *, mask: Any = None) -> Moments:
    """Return the means and the covariances of the channels, from one pass over the features.

    Args:
        features: A float array or tensor (..., C, H, W), or (C, P); strides of any kind are read as they are.
        mask: Factors (..., H, W) of the pixels, broadcast over the leading axes; boolean or real, not negative. As in
            `gram_matrix`, masked features (`numpy.ma`) bring a mask of their own, and pixels count by their squares:
            mean = sum f^2 x / sum f^2, and likewise the covariance. They get no gradient. A mask of zeros gives NaN.

    Returns:
        ``mean`` (..., C) and ``covariance`` (..., C, C), divided by the number of pixels, of the kind and on the device
        of the features: float64 for float64, float32 for all other dtypes. On the CPU the same bits for any number of
        threads. Differentiable any number of times.

    Raises:
        TypeError: Not floats.
        ValueError: Shapes that do not fit; no channels or pixels at all.
    """
    return _moments("moments", features, mask)


def _moments(function: str, features: Any, mask: Any) -> Moments:
    maps = gram._maps(function, features, "hw", True, 2, None, False)
    if mask is not None or maps.valid is not None:
        factors = maps.valid_factors() if mask is None else maps.read_factors(mask)
        maps.valid = None
        maps.mask(factors / ((factors * factors).mean((-2, -1)) ** 0.5)[..., None, None], "pixels")
    covariance, mean = maps.moments()
    return Moments(mean.reshape(*maps.lead, mean.shape[-1]), covariance.reshape(maps.shape(covariance)))


def moments_loss(
    features: Any,
    target: Any,
    *,
    distance: str = "squared",
    reduction: str = "mean",
    weights: Sequence[float] | Mapping[Any, float] | None = None,
    mask: Any = None,
    epsilon: float | None = None,
) -> Any:
    """Return how far means and covariances are from their targets: of one layer, or the weighted sum over several.

    Args:
        features: As for `moments`, or a list or dict of layers.
        target: A pair (mean, covariance) as `moments` returns it, with the features' leading axes or none, or a list of
            pairs, one for each layer, or a dict with the keys of the features. It gets no gradient.
        distance: ``"squared"``: of the differences of the means, and the same of those of the covariances. ``"w2"``:
            the square of the 2-Wasserstein distance of normal distributions with these moments (Dowson & Landau 1982),
            ``|m - n|^2 + tr(S + T - 2 (T^1/2 S T^1/2)^1/2)``, computed in float64.
        reduction: ``"mean"``: of the squared differences, as `gram_loss` has it; of ``"w2"``, the mean over the batch
            divided by C. ``"sum"``: of either, over the batch. For ``"squared"`` also ``"gatys-deeptextures"``,
            ``"gatys-pytorch"`` and ``"crowsonkb"``, as `gram_loss` has them.
        weights: One for each layer, in their order or, of a dict of layers, by name; None: 1.
        mask: As for `moments`, or a list of masks, one for each layer, or a dict.
        epsilon: For ``"w2"``, a variance that is added in all directions to both covariances, in the features' unit
            squared. Where the features do not vary in a direction and the target does, the gradient of the exact
            distance has no limit; with it, the gradient exists everywhere and is that of the value returned. None: 1e-5
            of the target's mean variance. 0 suits covariances of full rank; crowsonkb's loss is ``"w2"`` with 1e-4.

    Returns:
        A scalar: float64 for float64 features, float32 for all other dtypes. 0 where the moments are the target's.
        Differentiable any number of times, for ``"w2"`` too: equal or vanishing variances do no harm.

    Raises:
        TypeError: As `moments`; a target that is not a pair.
        ValueError: As `moments`; targets of another shape; different numbers of layers; an unknown option; a negative
            or, for ``"squared"``, any epsilon.
    """
    _check_options(distance, reduction, epsilon)
    function = "moments_loss"
    if type(features) is np.ndarray or not isinstance(features, (list, tuple, Mapping)):
        target, mask = [target], [mask]
    elif not isinstance(mask, (list, tuple, Mapping)):
        mask = _like_layers(features, mask)
    layers, targets, masks, factors = gram.layers_of(function, features, weights, target=target, mask=mask)
    total: Any = None
    for layer, pair, one, weight in zip(layers, targets, masks, factors, strict=True):
        found = _moments(function, layer, one)
        wanted = _target(pair, found)
        loss = _squared(found, wanted, reduction) if distance == "squared" else _w2(found, wanted, reduction, epsilon)
        total = weight * loss if total is None else total + weight * loss
    return total


def _squared(found: Moments, target: Moments, reduction: str) -> Any:
    channels = found.mean.shape[-1]

    def reduced(d: Any) -> Any:
        return gram.REDUCTIONS[reduction](gram.Sums((d * d).sum(), abs(d).sum(), _size(d), channels, None))

    return reduced(found.mean - target.mean) + reduced(found.covariance - target.covariance)


def _w2(found: Moments, target: Moments, reduction: str, epsilon: float | None) -> Any:
    kind = _kind(found.mean)
    (mean, covariance), (wanted_mean, wanted) = ([kind.double(x) for x in pair] for pair in (found, target))
    channels = mean.shape[-1]
    more = _EPSILON * _trace(wanted)[..., None, None] / channels if epsilon is None else epsilon
    identity = gram.KINDS.of_any("moments_loss", "features", mean)[0].eye(covariance)
    covariance, wanted = covariance + more * identity, wanted + more * identity
    root = kind.root(wanted)
    spread = _trace(covariance) + _trace(wanted) - 2 * _trace(kind.root(root @ covariance @ root))
    # Rounding may leave less than nothing of equal covariances.
    distances = ((mean - wanted_mean) ** 2).sum(-1) + spread * (spread > 0)
    divisor = channels * _size(distances) if reduction == "mean" else 1
    return kind.cast(distances.sum() / divisor, found.mean)


def _trace(matrix: Any) -> Any:
    return matrix.diagonal(0, -2, -1).sum(-1)


def _size(x: Any) -> int:
    return math.prod(x.shape)


# ---- Arguments ------------------------------------------------------------------------------------------------------


def _check_options(distance: str, reduction: str, epsilon: float | None) -> None:
    function = "moments_loss"
    check.choice(function, "distance", distance, DISTANCES)
    check.choice(function, f"reduction of {distance!r}", reduction, REDUCTIONS[distance])
    if epsilon is not None and (distance == "squared" or not _is_positive(epsilon)):
        raise ValueError(
            f"{function}: epsilon must be at least 0 and is for distance='w2' alone, got {check.shown(epsilon)}"
        )


def _is_positive(epsilon: Any) -> bool:
    return isinstance(epsilon, (int, float, np.number)) and bool(0 <= epsilon < math.inf)


def _like_layers(features: Any, mask: Any) -> Any:
    """Return one mask for all layers."""
    return dict.fromkeys(features, mask) if isinstance(features, Mapping) else [mask] * len(features)


def _target(pair: Any, found: Moments) -> Moments:
    """Return a target's moments in the dtype of those that were found, without a gradient."""
    if not isinstance(pair, (list, tuple)) or len(pair) != 2:
        raise TypeError(f"moments_loss: target must be a pair (mean, covariance), got {type(pair).__name__}")
    read = []
    for name, x, like in zip(Moments._fields, pair, found, strict=True):
        kind, x = gram.KINDS.of_any("moments_loss", f"the target's {name}", x)
        if kind is not gram.KINDS.of_any("moments_loss", name, like)[0] or not kind.same_device(x, like):
            raise TypeError(
                f"moments_loss: the target's {name} must be of the features' kind, got {type(x).__name__} for "
                f"{type(like).__name__}"
            )
        if not kind.is_real(x):
            raise TypeError(f"moments_loss: the target's {name} must be of a real dtype, got {x.dtype}")
        own = tuple(like.shape[-1:] if name == "mean" else like.shape[-2:])
        if tuple(x.shape) not in (tuple(like.shape), own):
            raise ValueError(
                f"moments_loss: the target's {name} must be {tuple(like.shape)} or {own} for these features, got "
                f"{tuple(x.shape)}"
            )
        read.append(_kind(like).constant(x, like))
    return Moments(*read)


def _kind(x: Any) -> Any:
    """Return what arrays or tensors do."""
    if isinstance(x, np.ndarray):
        return _Arrays
    from genimg_fast import _moments_torch

    return _moments_torch


class _Arrays:
    """NumPy; `_moments_torch` has the same functions."""

    @staticmethod
    def double(x: np.ndarray) -> np.ndarray:
        return x.astype(np.float64)

    @staticmethod
    def cast(x: Any, other: np.ndarray) -> Any:
        return other.dtype.type(x)

    @staticmethod
    def constant(x: np.ndarray, other: np.ndarray) -> np.ndarray:
        return x.astype(other.dtype)

    @staticmethod
    def root(matrix: np.ndarray) -> np.ndarray:
        values, vectors = np.linalg.eigh(matrix)
        return (vectors * np.sqrt(np.maximum(values, 0))[..., None, :]) @ vectors.mT
