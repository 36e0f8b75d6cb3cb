"""The pyramid under a texture model: one interface to the frequency and the spatial one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import genimg_fast as gf

PYRAMIDS = ("frequency", "spatial")
ORDERS = {"frequency": tuple(range(16)), "spatial": (0, 1, 3, 5)}

Shape = tuple[int, int]
Bands = Mapping[Any, Any]  # the pyramid's keys -> (..., h, w) or (..., orientations, h, w)


def max_height(shape: Shape) -> int:
    """Return the largest number of scales of a picture: the lowpass residual keeps 4 pixels on its shorter side."""
    return min(shape).bit_length() - 3


def auto_height(exemplar: Shape, output: Shape) -> int:
    """Return the number of scales for "auto": 4 for an exemplar of 256 pixels, one more each time its side doubles.

    So the coarsest band has a period of about a sixteenth of the exemplar's shorter side: coarser bands would hold too
    few independent samples to estimate a histogram from. The output's size bounds it too.
    """
    return max(1, min(min(exemplar).bit_length() - 5, max_height(output)))


class Analysis:
    """A circular steerable pyramid of pictures of one shape, of either kind.

    Args:
        pyramid: "frequency" or "spatial".
        shape: (height, width) of the pictures.
        height: Number of scales.
        order: Of the derivative: order + 1 orientations.
    """

    def __init__(self, pyramid: str, shape: Shape, height: int, order: int) -> None:
        self.pyramid, self.shape, self.height, self.order = pyramid, shape, height, order
        self._transform: Any
        if pyramid == "frequency":
            self._transform = gf.SteerablePyramidFreq(shape, height=height, order=order)
        else:
            self._transform = gf.SteerablePyramidSpace(shape, height=height, order=order, edge_type="circular")

    def __call__(self, planes: Any) -> Bands:
        """Return the subbands of planes (..., C, H, W)."""
        return self._transform(planes)

    def inverse(self, bands: Bands) -> Any:
        """Return the planes (..., C, H, W) that subbands make."""
        return self._transform.recon_pyr(bands)

    def gain(self, band: Any) -> float:
        """Return what a subband's values must be divided by to compare them with those of another picture size.

        The frequency pyramid crops spectra without rescaling them, so a band's amplitude grows with the exact ratio of
        the numbers of pixels, which is 4 a level only for some sizes.
        """
        if self.pyramid == "spatial":
            return 1.0
        return self.shape[0] * self.shape[1] / (band.shape[-2] * band.shape[-1])
