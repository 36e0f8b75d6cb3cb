"""What the syntheses by descent and by projection imitate."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor

from genimg_fast._pictures import Kind


class Exemplars:
    """The pictures of a mixture for each place of a batch.

    Args:
        planes: (..., C, H, W) of each picture of the mixture, with the same leading axes.
        kind: Of all pictures.

    Attributes:
        pictures: For each place a list of planes (C, H, W).
        batch: The leading axes, which hold ``count`` places.
    """

    def __init__(self, planes: Sequence[np.ndarray], kind: Kind) -> None:
        *self.batch, self.channels, _, _ = planes[0].shape
        self.count, self.kind = math.prod(self.batch), kind
        self.places = list(np.ndindex(*self.batch))
        self.pictures = [[one[place] for one in planes] for place in self.places]

    def packed(self, planes: Tensor) -> Any:
        """Return planes (..., C, H, W) in the caller's unit as the caller holds pictures."""
        return self.kind.pack_tensor(planes)
