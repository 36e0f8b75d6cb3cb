"""Pools that are hard for one reason or another, and the definition of both methods in NumPy, in float64."""

from __future__ import annotations

import numpy as np


def pools(n: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Return n float32 values of each kind."""
    rng = np.random.default_rng(seed)
    normal = rng.standard_normal(n)
    outlier = normal.copy()
    outlier[n // 2] = 1e30
    return {
        name: np.asarray(x, np.float32)
        for name, x in {
            "normal": normal,
            "uniform": rng.random(n),
            "heavy tails": normal**5,
            "all exponents": normal * 2.0 ** rng.integers(-140, 120, n),
            "denormal": normal * 1e-40,
            "outlier": outlier,
            "few levels": rng.integers(0, 5, n),
            "constant": np.full(n, -2.5),
            "descending": -np.arange(n),
            "two heaps": np.where(rng.random(n) < 0.5, 1e-3 * normal, 1e6 + normal),
            "signed zeros": np.where(rng.random(n) < 0.5, 0.0, -0.0),
        }.items()
    }


def by_value(source: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Return source, matched by value: numpy.interp through the two distribution functions."""
    _, inverse, counts = np.unique(source.ravel(), return_inverse=True, return_counts=True)
    values, reference_counts = np.unique(reference.ravel().astype(np.float64), return_counts=True)
    quantiles = np.cumsum(counts) / source.size
    nodes = np.cumsum(reference_counts) / reference.size
    return np.interp(quantiles, nodes, values)[inverse].reshape(source.shape)


def by_rank(source: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Return source, matched by rank: quantiles at Hazen's positions, ties in raster order."""
    out = np.empty(source.size)
    quantiles = (np.arange(source.size) + 0.5) / source.size
    order = np.argsort(source.ravel() + 0.0, kind="stable")
    out[order] = np.quantile(reference.astype(np.float64).ravel(), quantiles, method="hazen")
    return out.reshape(source.shape)


MATCHED = {"value": by_value, "rank": by_rank}
