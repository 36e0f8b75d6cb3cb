"""The words that options of texture models accept."""

from __future__ import annotations

from genimg_fast.textures._analysis import PYRAMIDS
from genimg_fast.textures._edges import EDGES
from genimg_fast.textures._parametric_options import EDGES as PARAMETRIC_EDGES
from genimg_fast.textures._parametric_options import FAMILIES, METHODS
from genimg_fast.textures._statistics import MIXTURES
from genimg_fast.textures._synthesis import UPDATES

__all__ = ["EDGES", "FAMILIES", "METHODS", "MIXTURES", "PARAMETRIC_EDGES", "PYRAMIDS", "UPDATES"]
