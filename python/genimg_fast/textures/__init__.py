"""Texture synthesis: a new picture of any size that looks like a sample of the same texture."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from genimg_fast.textures._heeger_bergen import heeger_bergen
from genimg_fast.textures._statistics import TextureStatistics
from genimg_fast.textures._synthesis import Step

if TYPE_CHECKING:
    from genimg_fast._optimization import DescentStep
    from genimg_fast.textures._cnn_texture import cnn_texture

__all__ = ["DescentStep", "Step", "TextureStatistics", "cnn_texture", "heeger_bergen"]


def __getattr__(name: str) -> Any:
    # Networks need torch, which work on arrays must not import.
    homes = {"DescentStep": "genimg_fast._optimization", "cnn_texture": "genimg_fast.textures._cnn_texture"}
    if name not in homes:
        raise AttributeError(f"module 'genimg_fast.textures' has no attribute {name!r}")
    value = getattr(importlib.import_module(homes[name]), name)
    globals()[name] = value
    return value
