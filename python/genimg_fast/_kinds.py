"""Arrays and tensors: which of them an operation got, without importing torch for arrays."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np


class Kinds:
    """What an operation does with arrays and what with tensors.

    Args:
        operation: Its name, for errors.
        arrays: What arrays do, with ``is_float(x)``.
        load: Imports and returns what does the same for tensors and knows their ``type``. (An import statement, which
            compilers follow as they do not follow importlib.)

    Attributes:
        tensors: That, once torch is there and the first argument has been seen; before, None.
    """

    def __init__(self, operation: str, arrays: Any, load: Callable[[], Any]) -> None:
        self._operation, self._arrays, self._load = operation, arrays, load
        self.tensors: Any = None

    def of(self, name: str, x: Any) -> Any:
        """Return what the kind of a float array or tensor does.

        Raises:
            TypeError: ``x``, the argument ``name``, is something else.
        """
        if self.tensors is None and "torch" in sys.modules:
            self.tensors = self._load()
        if isinstance(x, np.ndarray):
            kind = self._arrays
        elif self.tensors is not None and isinstance(x, self.tensors.type):
            kind = self.tensors
        else:
            got = type(x).__name__
            raise TypeError(f"{self._operation}: {name} must be a numpy.ndarray or a torch.Tensor, got {got}")
        if not kind.is_float(x):
            raise TypeError(f"{self._operation}: {name} must be of a real floating dtype, got {x.dtype}")
        return kind
