"""The pyramid under a texture model: one interface to the frequency and the spatial one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import genimg_fast as gf

PYRAMIDS = ("frequency", "spatial")
ORDERS = {"frequency": tuple(range(16)), "spatial": (0, 1, 3, 5)}

Shape = tuple[int, int]
Bands = Mapping[Any, Any]  # the pyramid's keys -> (..., h, w) or (..., orientations, h, w)


def _transform(pyramid: str, shape: Sequence[int], height: Any, order: int) -> Any:
    if pyramid == "frequency":
        return gf.SteerablePyramidFreq(shape, height=height, order=order)
    return gf.SteerablePyramidSpace(shape, height=height, order=order, edge_type="circular")


def max_height(pyramid: str, shape: Sequence[int], order: int) -> int:
    """Return the largest number of scales of a pyramid of pictures of a shape.

    Raises:
        ValueError: The pyramid has filters larger than the pictures.
    """
    return _transform(pyramid, shape, "auto", order).num_scales


class Analysis:
    """A circular steerable pyramid of pictures of one shape, of either kind.

    Args:
        pyramid: "frequency" or "spatial".
        shape: (height, width) of the pictures.
        height: Number of scales.
        order: Of the derivative: order + 1 orientations.

    Attributes:
        sizes: The pyramid's keys -> (height, width) of their subbands.
        is_exact: Whether the pyramid reconstructs pictures exactly.
    """

    def __init__(self, pyramid: str, shape: Shape, height: int, order: int) -> None:
        self.pyramid, self.shape, self.height, self.order = pyramid, shape, height, order
        self._transform = _transform(pyramid, shape, height, order)
        self.is_exact = pyramid == "frequency"
        self.sizes: dict[Any, Shape] = dict(self._transform.pyr_size)

    def __call__(self, planes: Any) -> Bands:
        """Return the subbands of planes (..., C, H, W)."""
        return self._transform(planes)

    def inverse(self, bands: Bands) -> Any:
        """Return the planes (..., C, H, W) that subbands make."""
        return self._transform.recon_pyr(bands)

    def gain(self, key: Any) -> float:
        """Return what a subband's values must be divided by to compare them with those of another picture size.

        The frequency pyramid crops spectra without rescaling them, so a band's amplitude grows with the exact ratio of
        the numbers of pixels, which is 4 a level only for some sizes.
        """
        if self.pyramid == "spatial":
            return 1.0
        height, width = self.sizes[key]
        return self.shape[0] * self.shape[1] / (height * width)
