"""Feature maps of pictures, for textures and style: callables that give a dict of named maps.

Any callable serves that takes a tensor (..., C, H, W) with values in [0, 1] and returns a dict from names to maps
(..., C', H', W'), differentiably. Those made here also know what each map sees of the picture, which tiling needs.
"""

from __future__ import annotations

from genimg_fast._core.public import directory
from genimg_fast.features._network import Field, Network, Stage
from genimg_fast.features._random import random
from genimg_fast.features._vgg import hed_vgg16, vgg16, vgg19

__all__ = ["Field", "Network", "Stage", "hed_vgg16", "random", "vgg16", "vgg19"]


def __dir__() -> list[str]:
    return directory(globals())
