"""Noise to begin a synthesis with."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from genimg_fast.textures._statistics import pooled_covariance, rotate


def coloured_noise(
    seed: int | None, pictures: Sequence[np.ndarray], shares: Sequence[float], size: tuple[int, int]
) -> np.ndarray:
    """Return normal noise (C, *size) with the mean and the covariance of some pictures' colours.

    Args:
        seed: Of the noise; None: different each time.
        pictures: Planes (C, H, W).
        shares: The pictures' weights in mean and covariance.
        size: (height, width).
    """
    mean = np.average([p.mean(axis=(-2, -1), dtype=np.float64) for p in pictures], axis=0, weights=shares)
    variances, axes = np.linalg.eigh(pooled_covariance(pictures, shares))
    planes = np.random.default_rng(seed).standard_normal((len(mean), *size), pictures[0].dtype)
    coloured = rotate(axes * np.sqrt(np.maximum(variances, 0)), planes)
    return coloured + mean.astype(planes.dtype)[:, None, None]
