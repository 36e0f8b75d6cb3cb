"""Style transfer: a picture's content in the manner of another."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from genimg_fast._core.public import directory
from genimg_fast.style.options import COLORS, INITS, NORMALIZATIONS

if TYPE_CHECKING:
    from genimg_fast._optimization import DescentStep
    from genimg_fast.style._moments import adain, wct
    from genimg_fast.style._transfer import transfer

__all__ = ["COLORS", "INITS", "NORMALIZATIONS", "DescentStep", "adain", "transfer", "wct"]

# Networks need torch, which naming the options must not import.
_HOME = {
    "DescentStep": "genimg_fast._optimization",
    "adain": "genimg_fast.style._moments",
    "transfer": "genimg_fast.style._transfer",
    "wct": "genimg_fast.style._moments",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'genimg_fast.style' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return directory(globals())
