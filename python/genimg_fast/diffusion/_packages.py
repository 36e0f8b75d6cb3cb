"""The packages that the extra ``diffusion`` installs, imported where they are used."""

from __future__ import annotations

import importlib
from typing import Any

_DISTRIBUTIONS = {"sklearn": "scikit-learn"}


def need(module: str) -> Any:
    """Import a module of the extra.

    Raises:
        ImportError: Its package is not installed; the message says how to install it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        root = module.partition(".")[0]
        package = _DISTRIBUTIONS.get(root, root)
        message = f"genimg_fast.diffusion needs the package {package}: pip install genimg_fast[diffusion]"
        raise ImportError(message, name=root) from error
