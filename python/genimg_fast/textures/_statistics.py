"""What Heeger and Bergen's model knows of a texture: samples of its pixels and subbands."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

import genimg_fast as gf
from genimg_fast.textures._analysis import Analysis
from genimg_fast.textures._edges import mirrored, periodic_component, without_mirror

MIXTURES = ("barycentre", "histogram")


@dataclass(frozen=True)
class TextureStatistics:
    """The distributions that a synthesis imposes. Every table holds samples along its last axis, in any order.

    Attributes:
        rotation: (C, C) float64; its rows are the principal axes of the colours, largest variance first.
        colours: (C, n), the values of each colour channel.
        pixels: (C, n), the values of each principal channel.
        bands: The pyramid's keys -> (C, n_band) or (C, orientations, n_band), the subbands of each principal channel,
            divided by the pyramid's gain (`Analysis.gain`), so that they hold for pictures of any size.
        palette: (C, n), the values that the principal channels take in the end, where these are not `pixels`. A palette
            imposed in every iteration would fight the subbands: rings and worms come of it where skews differ.

    Statistics are made from one exemplar (`from_planes`); a mixture is other statistics (`mix`, `with_palette`).
    """

    rotation: np.ndarray
    colours: np.ndarray
    pixels: np.ndarray
    bands: dict[Any, np.ndarray]
    palette: np.ndarray | None = None

    @classmethod
    def from_planes(cls, planes: np.ndarray, rotation: np.ndarray, edges: str, analysis: Analysis) -> TextureStatistics:
        """Measure an exemplar.

        Args:
            planes: (C, H, W).
            rotation: (C, C), see `principal_axes`.
            edges: "none", "periodic" or "mirror".
            analysis: The pyramid's kind, height and order; its shape need not be the exemplar's.
        """
        if edges == "periodic":
            planes = periodic_component(planes)
        principal = rotate(rotation, planes)
        extended = mirrored(principal) if edges == "mirror" else principal
        own = Analysis(analysis.pyramid, extended.shape[-2:], analysis.height, analysis.order)
        keep = without_mirror if edges == "mirror" else lambda band: band
        bands = {key: _flat(keep(band)) / own.gain(key) for key, band in own(extended).items()}
        return cls(rotation, _flat(planes), _flat(principal), bands)

    def with_palette(self, planes: np.ndarray) -> TextureStatistics:
        """Return the statistics of this texture's pattern in the colours and the contrast of planes (C, H, W)."""
        rotation = principal_axes([planes], [1.0])
        copies = len(planes) // len(self.pixels)  # of a grey texture, one for each channel of the palette
        return TextureStatistics(
            rotation=rotation,
            colours=_flat(planes),
            pixels=np.repeat(self.pixels, copies, axis=0),
            bands={key: np.repeat(table, copies, axis=0) for key, table in self.bands.items()},
            palette=_flat(rotate(rotation, planes)),
        )


def principal_axes(pictures: Sequence[np.ndarray], weights: Sequence[float]) -> np.ndarray:
    """Return the rotation (C, C) to the principal colours of pictures (C, H, W): rows, largest variance first.

    Several pictures share one rotation, that of the weighted mean of their covariances. A row's sum is positive, so
    that the first channel of any picture grows with its brightness.
    """
    if len(pictures[0]) == 1:
        return np.ones((1, 1))
    axes = np.linalg.eigh(pooled_covariance(pictures, weights))[1].T[::-1]
    return axes * np.where(axes.sum(axis=1, keepdims=True) < 0, -1.0, 1.0)


def pooled_covariance(pictures: Sequence[np.ndarray], weights: Sequence[float]) -> np.ndarray:
    """Return the weighted mean (C, C) of the covariances of the colours of pictures (C, H, W)."""
    return np.average([covariance(one) for one in pictures], axis=0, weights=weights)


def covariance(planes: np.ndarray) -> np.ndarray:
    """Return the covariance (C, C) of the colours of planes (C, H, W), float64."""
    # NumPy's sums do not depend on the number of threads, a matrix product's may.
    wide = planes.reshape(len(planes), -1).astype(np.float64)
    wide -= wide.mean(axis=1, keepdims=True)
    return (wide[:, None] * wide[None, :]).mean(axis=-1)


def rotate(matrix: np.ndarray, planes: Any) -> Any:
    """Return the colours of planes (..., C, H, W) times a matrix (C, C), NumPy or torch.

    Written as sums of planes, whose bits do not depend on how a library's matrix product splits its work.
    """
    if np.array_equal(matrix, np.eye(len(matrix))):
        return planes
    stack: Any = np.stack if isinstance(planes, np.ndarray) else sys.modules["torch"].stack
    return stack([sum(float(a) * planes[..., j, :, :] for j, a in enumerate(row)) for row in matrix], -3)


def resample(table: np.ndarray, n: int) -> np.ndarray:
    """Return n samples (..., n) of the distributions that tables (..., m) are samples of.

    They are the quantiles that matching any n increasing values by rank gives, in increasing order: the rule lives in
    `genimg_fast.match_histograms`.
    """
    ramp = np.broadcast_to(np.arange(n, dtype=table.dtype), (*table.shape[:-1], n))
    return gf.match_histograms(ramp, table, method="rank", batch_axes=tuple(range(table.ndim - 1)))


def mix(parts: Sequence[TextureStatistics], weights: Sequence[float], mixture: str) -> TextureStatistics:
    """Return the statistics between several textures.

    Args:
        parts: Statistics with one rotation.
        weights: One a part, positive, with the sum 1.
        mixture: "barycentre": the weighted mean of the quantile functions, which is the Wasserstein barycentre of the
            distributions (Rabin, Peyre, Delon, Bernot 2011, in one dimension); "histogram": the weighted mean of the
            histograms, the distribution of values drawn from either texture.
    """
    if len(parts) == 1:
        return parts[0]
    combine = {"barycentre": barycentre, "histogram": _pooled}[mixture]

    def combined(tables: Sequence[np.ndarray]) -> np.ndarray:
        return combine(tables, weights)

    return TextureStatistics(
        rotation=parts[0].rotation,
        colours=combined([p.colours for p in parts]),
        pixels=combined([p.pixels for p in parts]),
        bands={key: combined([p.bands[key] for p in parts]) for key in parts[0].bands},
    )


def barycentre(tables: Sequence[np.ndarray], weights: Sequence[float]) -> np.ndarray:
    """Return samples (..., n) of the Wasserstein barycentre of the distributions that tables (..., m) hold."""
    n = max(table.shape[-1] for table in tables)
    return np.average([resample(table, n) for table in tables], axis=0, weights=weights).astype(tables[0].dtype)


def _pooled(tables: Sequence[np.ndarray], weights: Sequence[float]) -> np.ndarray:
    n = sum(table.shape[-1] for table in tables)
    ends = np.rint(np.cumsum([0.0, *weights]) * n).astype(int)
    shares = [resample(table, int(m)) for table, m in zip(tables, np.diff(ends), strict=True) if m > 0]
    return np.concatenate(shares, axis=-1)


def _flat(planes: np.ndarray) -> np.ndarray:
    """Return the values (..., n) of planes (..., h, w)."""
    return planes.reshape(*planes.shape[:-2], -1)
