"""Views as text: names with parameters, joined with "@"."""

from __future__ import annotations

import ast
import re
from typing import Any

_PART = re.compile(r"\s*(\w*)\s*(?:\((.*)\))?\s*", re.DOTALL)
_LONGEST = 10_000  # characters


def parsed(text: str) -> list[tuple[str, dict[str, Any]]]:
    """Return the names of a text such as "pixel_permute(seed=1) @ flip", each with its parameters.

    Raises:
        ValueError: It is no such text.
    """
    if len(text) > _LONGEST:
        raise ValueError(f"view: name must be at most {_LONGEST} characters, got {len(text)}")
    return [_part(part, text) for part in _split(text)]


def _split(text: str) -> list[str]:
    """Return what stands between the "@" that are in no parentheses."""
    parts, depth = [""], 0
    for character in text:
        depth += (character in "([") - (character in ")]")
        if character == "@" and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return parts


def _part(part: str, text: str) -> tuple[str, dict[str, Any]]:
    found = _PART.fullmatch(part)
    if found is None:
        if "(" not in part and ")" not in part:
            return part.strip(), {}  # no name of the catalogue, which is said with all that are
        raise _error(text)
    name, arguments = found.groups()
    if not (arguments or "").strip():
        return name, {}
    try:
        call = ast.parse(f"f({arguments})", mode="eval").body
        if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name) or call.args:
            raise _error(text)
        found_values = [(keyword.arg, _value(keyword.value)) for keyword in call.keywords]
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise _error(text) from None
    values: dict[str, Any] = {}
    for key, value in found_values:
        if key is None or key in values:
            raise _error(text)
        values[key] = value
    return name, values


def _value(node: ast.expr) -> Any:
    """Return a literal; a bare word is a string, as shells leave it."""
    return node.id if isinstance(node, ast.Name) else ast.literal_eval(node)


def _error(text: str) -> ValueError:
    return ValueError(
        f"view: name must be such as 'flip', 'rotate(degrees=30)' or 'pixel_permute(seed=1) @ flip', got {text!r}"
    )
