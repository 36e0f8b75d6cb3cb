"""Arrays and tensors: what an argument is, checked in one place for every operation and system.

Any real array that NumPy can make is used rightly or refused by name. Torch is never imported for arrays.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np


def is_tensor(x: Any) -> bool:
    """Tell whether x is a torch.Tensor, without importing torch."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(x, torch.Tensor)


def plain(function: str, name: str, x: Any) -> Any:
    """Return an argument as an array or tensor that kernels and transforms can read, or refuse it by name.

    Arrays of another byte order, unaligned ones (a field of a packed record) and subclasses of numpy.ndarray become
    plain arrays of the same values in the machine's byte order. Tensors come back as they are. The dtype is the
    caller's to check.

    Args:
        function: Name of the function that was called, for errors.
        name: Name of its argument.
        x: The argument.

    Raises:
        TypeError: Neither an array nor a tensor; a masked array with masked values; a tensor without strided memory
            (sparse, nested, quantised, on the meta device).
    """
    if type(x) is np.ndarray:
        flags_fit = x.dtype.isnative and x.flags.aligned
        return x if flags_fit else _native(x)
    if is_tensor(x):
        return strided(function, name, x)
    if isinstance(x, np.ma.MaskedArray):
        if np.ma.is_masked(x):
            raise TypeError(
                f"{function}: {name} is a masked array, whose mask would be ignored; accepted are arrays without "
                f"masked values, such as {name}.filled(0)"
            )
        return _native(x.data)
    if isinstance(x, np.ndarray):
        return _native(np.asarray(x))
    raise not_array_or_tensor(function, name, x)


def unmasked(function: str, name: str, x: Any) -> tuple[Any, np.ndarray | None]:
    """Return an argument as `plain` does, and where a masked array's values are valid (None: everywhere).

    For operations that take a mask: True where a value takes part, of the shape of ``x``.
    """
    if isinstance(x, np.ma.MaskedArray) and np.ma.is_masked(x):
        return _native(x.data), ~np.ma.getmaskarray(x)
    return plain(function, name, x), None


def strided(function: str, name: str, x: Any) -> Any:
    """Return a tensor whose values lie in strided memory, or refuse it by name."""
    import torch

    if x.layout is not torch.strided or x.is_nested:
        got = "nested" if x.is_nested else str(x.layout).removeprefix("torch.")
    elif x.is_meta:
        got = "on the device meta, without values"
    elif x.is_quantized:
        got = f"quantised ({x.dtype})"
    else:
        return x
    raise TypeError(f"{function}: {name} must be a dense tensor with values, got one that is {got}")


def not_array_or_tensor(function: str, name: str, x: Any) -> TypeError:
    """Return the error for an argument that is neither, with how to make an array of it where that is known."""
    module, kind = type(x).__module__.partition(".")[0], type(x).__name__
    hint = ""
    if module in ("pandas", "xarray", "polars"):
        hint = f"; give its values, {name}.to_numpy()"
    elif module == "PIL" or hasattr(x, "__array__") or hasattr(x, "__array_interface__"):
        hint = f"; give numpy.asarray({name})"
    return TypeError(f"{function}: {name} must be a numpy.ndarray or a torch.Tensor, got {kind}{hint}")


def _native(x: np.ndarray) -> np.ndarray:
    """Return a plain, aligned array in the machine's byte order."""
    dtype = x.dtype if x.dtype.isnative else x.dtype.newbyteorder("=")
    return np.require(np.asarray(x).astype(dtype, copy=False), requirements="A")
