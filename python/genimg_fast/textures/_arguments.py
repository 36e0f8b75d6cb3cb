"""Checks of the arguments that belong to pyramids of exemplars. Each error names the argument and what is accepted."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from genimg_fast._arguments import integer
from genimg_fast.textures._analysis import ORDERS, Shape, max_height


def height(
    value: Any, pyramid: str, order: int, exemplars: Sequence[Shape], output: Shape, name: str = "height"
) -> int:
    """Return the number of scales; "auto" leaves a lowpass residual whose shorter side is about 16 pixels.

    So the coarsest bands have a period of a sixteenth of the exemplar's side or less: still coarser ones would hold too
    few independent samples to estimate a histogram from.
    """
    exemplar = min(exemplars, key=min)
    try:
        most = min(max_height(pyramid, shape, order) for shape in (exemplar, output))
    except ValueError as error:
        raise ValueError(f"image and size do not suit the {pyramid} pyramid of order {order}: {error}") from None
    if isinstance(value, str):
        if value != "auto":
            raise ValueError(f"{name} must be 'auto' or an integer, got {value!r}")
        return min(max(1, round(math.log2(min(exemplar) / 16))), most)
    number = integer(name, value, 1)
    if number > most:
        sizes = f"an exemplar of {exemplar[0]}x{exemplar[1]} and a result of {output[0]}x{output[1]} pixels"
        raise ValueError(f"{name} must be at most {most} for {sizes}, got {number}")
    return number


def order(value: Any, pyramid: str) -> int:
    accepted = ORDERS[pyramid]
    number = integer("order", value, 0)
    if number not in accepted:
        listed = ", ".join(map(str, accepted))
        raise ValueError(f"order must be one of {listed} for the {pyramid} pyramid, got {number}")
    return number
