"""The choices of `genimg_fast.style.transfer`, named without importing torch."""

from __future__ import annotations

from genimg_fast.style._normalizations import NORMALIZATIONS as _DEFINITIONS

COLORS = ("style", "luminance", "pca", "cholesky", "histogram")
INITS = ("content", "noise", "mixed", "adain", "wct")
NORMALIZATIONS = tuple(_DEFINITIONS)
