"""Whose colours a stylised picture has.

L. A. Gatys, M. Bethge, A. Hertzmann, E. Shechtman, "Preserving color in neural artistic style transfer", 2016. Pictures
are planes (C, H, W) of floats in [0, 1].
"""

from __future__ import annotations

from typing import Any

import numpy as np

import genimg_fast as gf
from genimg_fast.textures._statistics import covariance, rotate

_LUMA = (0.299, 0.587, 0.114)  # Y of YIQ
_LEAST = 1e-6  # variance: 1/1000 of the range, below which a colour is noise


def luminance(planes: Any) -> Any:
    """Return the luminance Y (..., 1, H, W) of planes (..., 3, H, W), NumPy or torch."""
    red, green, blue = (weight * planes[..., i : i + 1, :, :] for i, weight in enumerate(_LUMA))
    return red + green + blue


def with_luminance(planes: Any, y: Any) -> Any:
    """Return planes (..., 3, H, W) with another luminance (..., 1, H, W), and the chrominances I and Q they have."""
    return planes + (y - luminance(planes))


def match_luminance(style: np.ndarray, content: np.ndarray) -> np.ndarray:
    """Return a style's luminance with the mean and the standard deviation of a content's (their section 4)."""
    gain = content.std() / max(float(style.std()), _LEAST**0.5)
    return ((style - style.mean()) * gain + content.mean()).astype(style.dtype)


def match_colours(style: np.ndarray, content: np.ndarray, method: str) -> np.ndarray:
    """Return a style's picture in the colours of a content's.

    Args:
        style: (C, H, W).
        content: (C, H', W').
        method: "pca" or "cholesky": x -> A (x - style's mean) + content's mean, so that the covariances of the colours
            become equal (their section 3): A is the product of the symmetric root of the content's covariance and the
            inverse one of the style's, or the same with Cholesky factors; "histogram": each channel takes the content's
            histogram.
    """
    if method == "histogram":
        return gf.match_histograms(style, content, batch_axes=(0,))
    root = np.linalg.cholesky if method == "cholesky" else _symmetric_root
    least = _LEAST * np.eye(len(style))
    matrix = root(covariance(content) + least) @ np.linalg.inv(root(covariance(style) + least))
    means = [p.mean(axis=(1, 2), dtype=np.float64)[:, None, None] for p in (style, content)]
    return (_product(matrix, style - means[0]) + means[1]).astype(style.dtype)


def _product(matrix: np.ndarray, planes: np.ndarray) -> np.ndarray:
    return matrix[0, 0] * planes if len(matrix) == 1 else rotate(matrix, planes)


def _symmetric_root(matrix: np.ndarray) -> np.ndarray:
    values, axes = np.linalg.eigh(matrix)
    return (axes * np.sqrt(values)) @ axes.T
