"""Arrays and tensors: which of them an operation got, without importing torch for arrays."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from genimg_fast._core.backend import plain, strided


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
        return self.read(self._operation, name, x)[0]

    def read(self, function: str, name: str, x: Any) -> tuple[Any, Any]:
        """Return what the kind of a float array or tensor does, and it as a plain array or tensor.

        Args:
            function: Name of the function that was called, for errors.
            name: Name of its argument.
            x: The argument.

        Raises:
            TypeError: ``x`` is something else.
        """
        if type(x) is np.ndarray and x.dtype.isnative and x.flags.aligned:
            kind = self._arrays
        else:
            kind, x = self.of_any(function, name, x)
        if not kind.is_float(x):
            raise TypeError(f"{function}: {name} must be of a real floating dtype, got {x.dtype}")
        return kind, x

    def of_any(self, function: str, name: str, x: Any) -> tuple[Any, Any]:
        """Return the same of an array or tensor of any dtype."""
        if self.tensors is None and "torch" in sys.modules:
            self.tensors = self._load()
        tensors = self.tensors
        if tensors is not None and isinstance(x, tensors.type):
            return tensors, x if tensors.is_dense(x) else strided(function, name, x)
        return self._arrays, plain(function, name, x)
