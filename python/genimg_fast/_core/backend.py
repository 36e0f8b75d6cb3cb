"""Arrays and tensors: what an argument is, checked in one place for every operation and system.

Any real array that NumPy can make is used rightly or refused by name. Torch is never imported for arrays.
"""

from __future__ import annotations

import math
import operator
import sys
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

_LONGEST = 80  # characters of a value in a message


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
    if x.dtype.hasobject or x.dtype.names is not None:  # no numbers: refused by its dtype, as it is
        return np.asarray(x)
    dtype = x.dtype if x.dtype.isnative else x.dtype.newbyteorder("=")
    return np.require(np.asarray(x).astype(dtype, copy=False), requirements="A")


# ---- Values in messages ---------------------------------------------------------------------------------------------


def shown(value: Any) -> str:
    """Return a value for a message: short, and of arrays and tensors what they are instead of what they hold."""
    if isinstance(value, np.ndarray):
        return f"an array of shape {value.shape} and dtype {value.dtype}" if value.ndim else f"the array {value[()]!r}"
    if is_tensor(value):
        return f"a tensor of shape {shape_of(value)} and dtype {value.dtype}"
    kind = type(value).__name__
    if isinstance(value, (list, tuple, set, frozenset, Mapping)):
        entries = list(value.values()) if isinstance(value, Mapping) else list(value)
        nested = (list, tuple, Mapping, np.ndarray)
        if len(entries) > 16 or any(isinstance(one, nested) or is_tensor(one) for one in entries):
            return f"a {kind} of length {len(entries)}"
    try:
        text = repr(value)
    except Exception:  # such as an integer of more digits than Python prints
        return f"a value of the type {kind} that cannot be shown"
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 4]} ..."


def shape_of(x: Any) -> tuple[int, ...] | str:
    """Return the shape of a tensor, or that it has none (nested)."""
    try:
        return tuple(x.shape)
    except RuntimeError:
        return "(nested)"


# ---- Numbers and choices --------------------------------------------------------------------------------------------


def integer(function: str, name: str, value: Any, least: int | None = None, most: int | None = None) -> int:
    """Return an integer within bounds, or refuse it by name; neither booleans nor fractions are integers."""
    try:
        number = None if isinstance(value, (bool, np.bool_)) else operator.index(value)
    except TypeError:
        number = None
    if number is None:
        raise TypeError(f"{function}: {name} must be an integer, got {shown(value)}")
    too_small, too_large = least is not None and number < least, most is not None and number > most
    if too_small or too_large:
        if least is None or most is None or most > 2**31 - 2:  # bounds far apart: the one that was passed says more
            accepted = f"at least {least}" if too_small else f"at most {most}"
        else:
            accepted = f"from {least} to {most}"
        raise ValueError(f"{function}: {name} must be {accepted}, got {shown(number)}")
    return number


def number(function: str, name: str, value: Any) -> float:
    """Return a finite real number, or refuse it by name."""
    try:
        if isinstance(value, (bool, np.bool_, str, bytes)) or int(getattr(value, "ndim", 0)):
            raise TypeError
        found = float(value)
    except (TypeError, ValueError, RuntimeError):
        raise TypeError(f"{function}: {name} must be a number, got {shown(value)}") from None
    except OverflowError:
        found = math.inf
    if not math.isfinite(found):
        raise ValueError(f"{function}: {name} must be finite, got {shown(value)}")
    return found


def choice(function: str, name: str, value: Any, accepted: Collection[str]) -> str:
    """Return one of the accepted words, or refuse it by name."""
    if not isinstance(value, str) or value not in accepted:
        raise ValueError(f"{function}: {name} must be one of {', '.join(map(repr, accepted))}, got {shown(value)}")
    return value


def flag(function: str, name: str, value: Any) -> bool:
    """Return True or False, or refuse it by name."""
    if isinstance(value, (bool, np.bool_)) or (isinstance(value, int) and value in (0, 1)):
        return bool(value)
    raise TypeError(f"{function}: {name} must be True or False, got {shown(value)}")


# ---- Where results go -----------------------------------------------------------------------------------------------


def overlap(x: Any, y: Any) -> bool:
    """Tell whether two arrays or two tensors may share memory."""
    if isinstance(x, np.ndarray):
        return np.may_share_memory(x, y)
    import torch

    if torch.compiler.is_compiling():  # there is no memory yet
        return False
    (start, end), (other, other_end) = _extent(x), _extent(y)
    return x.device == y.device and start < other_end and other < end


def same_memory(x: Any, y: Any) -> bool:
    """Tell whether two arrays or two tensors of one dtype are the same values in the same places."""
    if x is y:
        return True
    if isinstance(x, np.ndarray):
        return x.shape == y.shape and x.strides == y.strides and x.ctypes.data == y.ctypes.data
    return x.shape == y.shape and x.stride() == y.stride() and x.data_ptr() == y.data_ptr()


def writable(function: str, name: str, out: Any) -> Any:
    """Return an array or tensor that a result can be written to, or refuse it by name."""
    if isinstance(out, np.ma.MaskedArray):
        raise TypeError(f"{function}: {name} must be a plain array, got a masked array; give {name}.data")
    if is_tensor(out):
        strided(function, name, out)
    elif not isinstance(out, np.ndarray):
        raise not_array_or_tensor(function, name, out)
    elif not out.flags.writeable:
        raise ValueError(f"{function}: {name} must be writeable, got a read-only array")
    if not _is_contiguous(out) and _overlaps_itself(out):
        raise ValueError(
            f"{function}: {name} must have memory of its own for each value, got {shown(out)} that repeats itself"
        )
    return out


def _is_contiguous(x: Any) -> bool:
    return x.flags.c_contiguous if isinstance(x, np.ndarray) else x.is_contiguous()


def _overlaps_itself(x: Any) -> bool:
    strides = (s // max(x.itemsize, 1) for s in x.strides) if isinstance(x, np.ndarray) else x.stride()
    reach = 0  # of the axes so far, from the one of the smallest stride on
    for stride, size in sorted((abs(stride), size) for stride, size in zip(strides, x.shape, strict=True) if size != 1):
        if size and stride <= reach:
            return True
        reach += stride * (size - 1)
    return False


def _extent(x: Any) -> tuple[int, int]:
    """Return where a tensor's memory begins and ends."""
    if x.numel() == 0:
        return 0, 0
    last = sum(stride * (size - 1) for stride, size in zip(x.stride(), x.shape, strict=True))
    return x.data_ptr(), x.data_ptr() + (last + 1) * x.element_size()
