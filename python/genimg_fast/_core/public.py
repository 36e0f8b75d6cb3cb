"""What a public package shows of itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def directory(namespace: Mapping[str, Any]) -> list[str]:
    """Return what `dir` shows of a package with this namespace: its public names, those loaded at first use too."""
    return sorted({*namespace["__all__"], *(name for name in namespace if name.startswith("__"))})
