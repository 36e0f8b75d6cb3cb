"""Texture synthesis: a new picture of any size that looks like a sample of the same texture."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from genimg_fast._core.public import directory
from genimg_fast.textures._heeger_bergen import heeger_bergen
from genimg_fast.textures._statistics import TextureStatistics
from genimg_fast.textures._synthesis import Step

if TYPE_CHECKING:
    from genimg_fast._optimization import DescentStep
    from genimg_fast.textures._cnn_texture import cnn_texture
    from genimg_fast.textures._comparison import FamilyDifference, compare
    from genimg_fast.textures._parametric_model import PortillaSimoncelli
    from genimg_fast.textures._parametric_synthesis import ParametricStep
    from genimg_fast.textures._portilla_simoncelli import portilla_simoncelli

__all__ = [
    "DescentStep",
    "FamilyDifference",
    "ParametricStep",
    "PortillaSimoncelli",
    "Step",
    "TextureStatistics",
    "cnn_texture",
    "compare",
    "heeger_bergen",
    "portilla_simoncelli",
]

# What needs torch, which work on arrays alone must not import.
_HOMES = {
    "DescentStep": "genimg_fast._optimization",
    "FamilyDifference": "genimg_fast.textures._comparison",
    "ParametricStep": "genimg_fast.textures._parametric_synthesis",
    "PortillaSimoncelli": "genimg_fast.textures._parametric_model",
    "cnn_texture": "genimg_fast.textures._cnn_texture",
    "compare": "genimg_fast.textures._comparison",
    "portilla_simoncelli": "genimg_fast.textures._portilla_simoncelli",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'genimg_fast.textures' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return directory(globals())
