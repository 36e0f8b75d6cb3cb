"""Texture synthesis: a new picture of any size that looks like a sample of the same texture."""

from __future__ import annotations

from genimg_fast.textures._heeger_bergen import heeger_bergen
from genimg_fast.textures._statistics import TextureStatistics
from genimg_fast.textures._synthesis import Step

__all__ = ["Step", "TextureStatistics", "heeger_bergen"]
