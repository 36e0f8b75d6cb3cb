"""The launchers of csrc/histogram/cuda.h, called without torch."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import numpy as np
from kernel_library import KernelLibrary

VALUE, RANK = 0, 1
SUFFIXES = {np.dtype(d): s for d, s in ((np.float32, "f32"), (np.float64, "f64"), (np.uint8, "u8"), (np.uint16, "u16"))}


class CRows(ctypes.Structure):
    """genimg::histogram::Rows."""

    _fields_ = (
        ("values", ctypes.c_void_p),
        ("mask", ctypes.c_void_p),
        ("rows", ctypes.c_int64),
        ("size", ctypes.c_int64),
    )

    @classmethod
    def of(cls, values: np.ndarray, mask: np.ndarray | None = None) -> CRows:
        return cls(values.ctypes.data, None if mask is None else mask.ctypes.data, *values.shape)


class CBatch(ctypes.Structure):
    """genimg::histogram::Batch."""

    _fields_ = (("source", CRows), ("reference", CRows), ("out", ctypes.c_void_p))


def _workspace(library: KernelLibrary, name: str, *arguments: object) -> np.ndarray:
    return library.empty(library.size(name, *arguments), np.uint8)


def match(
    library: KernelLibrary,
    pairs: Sequence[tuple[np.ndarray, np.ndarray]],
    method: int,
    *,
    masks: Sequence[tuple[np.ndarray | None, np.ndarray | None]] | None = None,
    is_sorted: bool = False,
) -> list[np.ndarray]:
    """Match pairs of (rows, size) arrays in device memory, source and reference, in one call."""
    masks = masks or [(None, None)] * len(pairs)
    out = [library.empty(source.shape, source.dtype) for source, _ in pairs]
    batches = (CBatch * len(pairs))(
        *(
            CBatch(CRows.of(source, mask), CRows.of(reference, reference_mask), result.ctypes.data)
            for (source, reference), (mask, reference_mask), result in zip(pairs, masks, out, strict=True)
        )
    )
    suffix = SUFFIXES[pairs[0][0].dtype]
    workspace = _workspace(library, f"match_workspace_{suffix}", batches, len(pairs), method)
    library.check(f"launch_match_{suffix}", batches, len(pairs), method, is_sorted, workspace, None)
    return out


def sort(library: KernelLibrary, values: np.ndarray, mask: np.ndarray | None = None) -> np.ndarray:
    """Sort each row of a (rows, size) array in device memory."""
    suffix, rows = SUFFIXES[values.dtype], ctypes.byref(CRows.of(values, mask))
    out = library.empty(values.shape, values.dtype)
    library.check(f"launch_sort_{suffix}", rows, out, _workspace(library, f"sort_workspace_{suffix}", rows), None)
    return out


def derivative(
    library: KernelLibrary, kind: str, source: np.ndarray, reference: np.ndarray, direction: np.ndarray, method: int
) -> np.ndarray:
    """Apply the derivative by the reference ("tangent") or its adjoint ("adjoint") to a direction."""
    suffix = SUFFIXES[source.dtype]
    rows = ctypes.byref(CRows.of(source)), ctypes.byref(CRows.of(reference))
    out = library.empty((source if kind == "tangent" else reference).shape, source.dtype)
    workspace = _workspace(library, f"linear_workspace_{suffix}", *rows)
    library.check(f"launch_{kind}_{suffix}", *rows, direction, out, method, workspace, None)
    return out
