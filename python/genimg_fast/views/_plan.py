"""Signed permutations of a picture's values, as the few numbers that kernels take.

A view of a picture (C, H, W) is ``out[c, p] = sign_c in[channel_c, src(p)]`` with p = (y, x). One `Row` holds src and
the channels; a `Plan` holds several rows as two arrays. What the kinds mean is said by the core alone
(``csrc/multiview/formula.h``), which `sources` asks.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from genimg_fast import _numpy
from genimg_fast._arguments import integer

Shape = tuple[int, int, int]

MAX_PIXELS = 1 << 31  # sources are 32-bit integers
MAX_CHANNELS = 1 << 24
MAX_VIEWS = 64  # as many as kernels take: kMaxViews of csrc/multiview/multiview.h

AFFINE, ROLL, CIRCLE, HINGE, STORED = range(5)
ROW_SIZE = 12
_N_PARAMETERS = 6


class Plan(NamedTuple):
    """Views as kernels take them.

    Attributes:
        rows: (V, 12) int64: kind, six parameters, where the row's table begins in ``tables``, where its channels begin
            (-1: all as they are), three zeros.
        tables: int32: all tables and channels one after the other. Channel c comes from ``abs(entry) - 1``, with the
            sign of the entry.
    """

    rows: Any
    tables: Any


@dataclass(frozen=True, eq=False)
class Row:
    """One signed permutation.

    Attributes:
        kind: Which formula: AFFINE, ROLL, CIRCLE, HINGE or STORED.
        parameters: Its integers, at most six.
        table: int32, for ROLL (W shifts in [0, H)) and STORED (H W sources).
        channels: For each channel its source, counted from 1, with the sign; None: all as they are.
    """

    kind: int = AFFINE
    parameters: tuple[int, ...] = (1, 0, 0, 0, 1, 0)
    table: np.ndarray | None = None
    channels: tuple[int, ...] | None = None

    @property
    def keeps_pixels(self) -> bool:
        return self.kind == AFFINE and self.parameters == (1, 0, 0, 0, 1, 0)

    @property
    def is_identity(self) -> bool:
        return self.keeps_pixels and self.channels is None


def checked_shape(shape: Any, function: str = "view") -> Shape:
    """Return the shape of pictures as three integers.

    Args:
        shape: What was given.
        function: Whose argument it is, for errors.

    Raises:
        TypeError: Sides that are no integers.
        ValueError: Not (C, H, W), a side below 1, or `MAX_PIXELS` or more.
    """
    if not isinstance(shape, Iterable) or isinstance(shape, (str, bytes)):
        raise TypeError(f"{function}: shape must be a (C, H, W) of integers, got {described(shape)}")
    if getattr(shape, "ndim", 1) != 1:
        raise ValueError(f"{function}: shape must be (C, H, W), got {described(shape)}")
    sides = tuple(shape)
    if len(sides) != 3:
        raise ValueError(f"{function}: shape must be (C, H, W), got {described(shape)}")
    channels, height, width = (integer(f"{function}: shape", side, 1) for side in sides)
    if height * width >= MAX_PIXELS:
        raise ValueError(f"{function}: shape must have fewer than {MAX_PIXELS} pixels, got {height}x{width}")
    if channels >= MAX_CHANNELS:
        raise ValueError(f"{function}: shape must have fewer than {MAX_CHANNELS} channels, got {channels}")
    return channels, height, width


def described(value: Any) -> str:
    """Return a value as an error names it: an array or tensor by its shape."""
    if hasattr(value, "shape"):
        return f"{type(value).__name__} of shape {tuple(value.shape)}"
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:100]}..."


def larger(shape: Shape, times: int) -> Shape:
    """Return the shape of pictures with so many times the height and the width."""
    channels, height, width = shape
    return channels, times * height, times * width


def affine(*parameters: int) -> Row:
    """Return the row of src = (p0 y + p1 x + p2, p3 y + p4 x + p5)."""
    return Row(AFFINE, parameters)


def stored(sources: np.ndarray) -> Row:
    """Return the row of sources y W + x in any shape; the identity if they are in order."""
    table = np.ascontiguousarray(sources, np.int32).ravel()
    if np.array_equal(table, np.arange(table.size)):
        return Row()
    return Row(STORED, (), table)


def pack(rows: Sequence[Row]) -> Plan:
    """Return rows as a plan."""
    packed = np.zeros((len(rows), ROW_SIZE), np.int64)
    parts: list[np.ndarray] = []
    size = 0

    def append(values: Any) -> int:
        nonlocal size
        parts.append(np.asarray(values, np.int32))
        size += len(values)
        return size - len(values)

    for numbers, row in zip(packed, rows, strict=True):
        numbers[0] = row.kind
        numbers[1 : 1 + len(row.parameters)] = row.parameters
        numbers[1 + _N_PARAMETERS] = 0 if row.table is None else append(row.table)
        numbers[2 + _N_PARAMETERS] = -1 if row.channels is None else append(row.channels)
    return Plan(packed, np.concatenate(parts) if parts else np.zeros(0, np.int32))


def sources(row: Row, height: int, width: int) -> np.ndarray:
    """Return the source y W + x of every pixel, (H, W) int32, by the core's formula."""
    plan = pack([row])
    return _numpy.view_sources(plan.rows[0], plan.tables, height, width)


def inverse(row: Row, height: int) -> Row:
    """Return the row that undoes another, of the same kind."""
    channels = None if row.channels is None else _inverse_channels(row.channels)
    if row.kind == AFFINE:
        a, b, ty, c, d, tx = row.parameters  # a signed permutation matrix: its inverse is its transpose
        return replace(row, parameters=(a, c, -a * ty - c * tx, b, d, -b * ty - d * tx), channels=channels)
    if row.kind == ROLL:
        return replace(row, table=(-_table(row)) % height, channels=channels)
    if row.kind == HINGE:
        side, turn = row.parameters
        return replace(row, parameters=(side, -turn), channels=channels)
    if row.kind == STORED:
        return replace(row, table=inverse_permutation(_table(row)), channels=channels)
    return replace(row, channels=channels)


def compose(outer: Row, inner: Row, height: int, width: int) -> Row:
    """Return the row of x -> outer(inner(x))."""
    return replace(
        _compose_pixels(outer, inner, height, width), channels=_compose_channels(outer.channels, inner.channels)
    )


def inverse_permutation(sources: np.ndarray) -> np.ndarray:
    """Return the permutation that undoes another, without sorting."""
    found = np.empty_like(sources)
    found[sources] = np.arange(sources.size, dtype=sources.dtype)
    return found


def _compose_pixels(outer: Row, inner: Row, height: int, width: int) -> Row:
    if outer.keeps_pixels or inner.keeps_pixels:
        return inner if outer.keeps_pixels else outer
    if outer.kind == inner.kind == AFFINE:
        a, b = (np.array(row.parameters).reshape(2, 3) for row in (outer, inner))
        matrix = b[:, :2] @ a
        matrix[:, 2] += b[:, 2]
        return affine(*matrix.ravel().tolist())
    if outer.kind == inner.kind == ROLL:
        shifts = (_table(outer).astype(np.int64) + _table(inner)) % height
        return roll(shifts, height)
    # (outer(inner(x)))[p] = inner(x)[outer's source] = x[inner's source of outer's source]
    return stored(sources(inner, height, width).ravel()[sources(outer, height, width).ravel()])


def roll(shifts: np.ndarray, height: int) -> Row:
    """Return the row that moves each column down by its shift, around the edge; the identity if none moves."""
    table = (np.asarray(shifts, np.int64) % height).astype(np.int32)
    return Row(ROLL, (), table) if table.any() else Row()


def _table(row: Row) -> np.ndarray:
    assert row.table is not None
    return row.table


def _inverse_channels(channels: tuple[int, ...]) -> tuple[int, ...]:
    found = [0] * len(channels)
    for c, entry in enumerate(channels, 1):
        found[abs(entry) - 1] = c if entry > 0 else -c
    return tuple(found)


def _compose_channels(outer: tuple[int, ...] | None, inner: tuple[int, ...] | None) -> tuple[int, ...] | None:
    if outer is None or inner is None:
        return inner if outer is None else outer
    entries = tuple(inner[abs(entry) - 1] * (1 if entry > 0 else -1) for entry in outer)
    return None if entries == tuple(range(1, len(entries) + 1)) else entries
