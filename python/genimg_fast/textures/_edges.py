"""What to do at the borders of an exemplar, which the pyramid would otherwise join to the opposite ones."""

from __future__ import annotations

import numpy as np

EDGES = ("none", "periodic", "mirror")


def periodic_component(planes: np.ndarray) -> np.ndarray:
    """Return the periodic component of pictures: the same texture without the jump between opposite borders.

    The jumps are the only source of a Poisson equation with periodic boundaries, and its solution, the smooth
    component, is subtracted.

    Args:
        planes: (..., H, W), float.

    Returns:
        The same shape and dtype; the mean is kept.

    Source: L. Moisan, "Periodic plus smooth image decomposition", J. Math. Imaging Vis. 39 (2011), equations 11-12.
    """
    height, width = planes.shape[-2:]
    jump = np.zeros(planes.shape, np.float64)
    rows = planes[..., -1, :].astype(np.float64) - planes[..., 0, :]
    columns = planes[..., :, -1].astype(np.float64) - planes[..., :, 0]
    jump[..., 0, :] += rows
    jump[..., -1, :] -= rows
    jump[..., :, 0] += columns
    jump[..., :, -1] -= columns
    y = np.cos(2 * np.pi * np.fft.fftfreq(height))[:, None]
    x = np.cos(2 * np.pi * np.fft.rfftfreq(width))[None, :]
    laplacian = 2 * (y + x) - 4
    laplacian[0, 0] = 1  # the jumps sum to 0: whatever divides them there, the smooth component has the mean 0
    smooth = np.fft.irfft2(np.fft.rfft2(jump) / laplacian, s=(height, width))
    return (planes - smooth).astype(planes.dtype)


def mirrored(planes: np.ndarray) -> np.ndarray:
    """Return pictures (..., H, W) beside their mirror images, (..., 2H, 2W): without a jump at the borders."""
    wide = np.concatenate([planes, planes[..., :, ::-1]], axis=-1)
    return np.concatenate([wide, wide[..., ::-1, :]], axis=-2)


def without_mirror(band: np.ndarray) -> np.ndarray:
    """Return the quarter of a subband (..., h, w) of `mirrored` pictures that belongs to the picture itself."""
    height, width = band.shape[-2:]
    return band[..., : (height + 1) // 2, : (width + 1) // 2]
