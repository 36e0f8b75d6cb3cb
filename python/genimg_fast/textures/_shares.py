"""The shares of several exemplars in a texture: the same everywhere, or different from place to place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from genimg_fast import _arguments as check
from genimg_fast._pictures import numbers_of

_STEPS = 4  # from one of two exemplars to the other


@dataclass(frozen=True)
class Shares:
    """Mixtures of exemplars, and where each of them is.

    Attributes:
        mixtures: For each mixture the exemplars' weights, with the sum 1.
        maps: (mixtures, h, w), from 0 to 1 and with the sum 1 at each pixel: where the mixtures are; None for a single
            one, which is everywhere.
    """

    mixtures: list[list[float]]
    maps: np.ndarray | None = None

    @classmethod
    def of(cls, weights: Any, n: int, shape: tuple[int, int]) -> Shares:
        """Return the shares of n exemplars in a picture of a shape from a caller's weights: numbers, or a map each."""
        if weights is None:
            return cls([check.weights(None, n)])
        listed = check.several("weights", weights)
        if all(getattr(one, "ndim", np.ndim(one) if isinstance(one, (list, tuple)) else 0) == 0 for one in listed):
            return cls([check.weights(listed, n)])
        maps = _checked_maps(listed, n, shape)
        if n != 2:
            return cls(np.eye(n).tolist(), maps)
        # Piecewise linear: at most two neighbouring mixtures meet in a pixel.
        steps = np.arange(_STEPS + 1)
        hats = np.clip(1 - abs(_STEPS * maps[1] - steps[:, None, None]), 0, None)
        return cls([[1 - k / _STEPS, k / _STEPS] for k in steps.tolist()], hats)

    def blended(self, pictures: Tensor) -> Tensor:
        """Return the pictures (G, C, h, w) of G * mixtures pictures, each where its map says."""
        if self.maps is None:
            return pictures
        parts = pictures.unflatten(0, (-1, len(self.maps)))
        return (parts * self._maps(pictures)).sum(1)

    def bound(self, pictures: Tensor) -> Tensor:
        """Return pictures (G * mixtures, C, h, w) that take their blend, the more of it the more they are in it."""
        if self.maps is None:
            return pictures
        parts = pictures.unflatten(0, (-1, len(self.maps)))
        return parts.lerp(self.blended(pictures)[:, None], self._maps(pictures)).flatten(0, 1)

    def _maps(self, like: Tensor) -> Tensor:
        return like.new_tensor(self.maps)[:, None]


def _checked_maps(weights: list[Any], n: int, shape: tuple[int, int]) -> np.ndarray:
    arrays = [numbers_of(one, f"weights[{i}]") for i, one in enumerate(weights)]
    if len(arrays) != n:
        raise ValueError(f"weights must hold one map for each exemplar, which are {n}, got {len(arrays)}")
    for i, one in enumerate(arrays):
        if one.shape != shape:
            raise ValueError(f"weights[{i}] must be a map of the result's size {shape}, got {one.shape}")
        if not np.isfinite(one).all() or (one < 0).any():
            raise ValueError(f"weights[{i}] must be finite and nowhere negative")
    maps = np.stack(arrays)
    total = maps.sum(0)
    if not total.all():
        raise ValueError(f"weights must not be all 0 in a pixel, but are in {np.count_nonzero(total == 0)}")
    return maps / total
