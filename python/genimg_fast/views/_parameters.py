"""Checks of views' parameters. Errors begin with the parameter's name; whoever binds the view puts its name first."""

from __future__ import annotations

import math
from numbers import Real
from typing import Any

import numpy as np

from genimg_fast._core.backend import is_tensor, plain


def number(name: str, value: Any) -> float:
    """Return a finite real number."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, Real):
        raise TypeError(f"{name} must be a number, got {value!r}")
    try:
        found = float(value)
    except OverflowError:
        found = math.inf
    if not math.isfinite(found):
        raise ValueError(f"{name} must be a finite number, got {value!r}")
    return found


def positive(name: str, value: Any) -> float:
    """Return a positive finite number."""
    if isinstance(value, (int, float, np.floating)) and not isinstance(value, bool) and not 0 < value < math.inf:
        raise ValueError(f"{name} must be a positive finite number, got {value!r}")
    return number(name, value)


def flag(name: str, value: Any) -> bool:
    """Return whether something is so."""
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} must be True or False, got {value!r}")
    return bool(value)


def numbers(function: str, name: str, value: Any) -> np.ndarray:
    """Return an array, a tensor or nested lists of real numbers or booleans as an array of them."""
    if is_tensor(value) or isinstance(value, np.ndarray):
        given = plain(function, name, value)
        array = np.asarray(_on_the_processor(given) if is_tensor(given) else given)
    else:
        try:
            array = np.asarray(value)
        except (TypeError, ValueError) as error:
            raise TypeError(
                f"{function}: {name} must be an array of numbers, got {type(value).__name__}: {error}"
            ) from error
    if array.dtype.kind not in "biuf":
        raise TypeError(f"{function}: {name} must hold real numbers, got {array.dtype} of a {type(value).__name__}")
    return array


def _on_the_processor(x: Any) -> Any:
    x = x.detach().cpu()
    return x.double() if x.dtype.is_floating_point else x
