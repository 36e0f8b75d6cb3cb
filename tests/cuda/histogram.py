"""The launchers of csrc/histogram/cuda.h, called without torch."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import numpy as np
from kernel_library import KernelLibrary

NAME = "histogram"
SOURCES = ("histogram/cuda.cu",)

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


def expected_rank_match(source: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Return rows of the reference's values in the order of the source's, for rows of equal size."""
    out = np.empty_like(source)
    order = np.argsort(source, axis=1, kind="stable")
    np.put_along_axis(out, order, np.sort(reference, axis=1).astype(source.dtype), axis=1)
    return out


def expected_value_match(source: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Return what interpolating between the reference's distinct values gives, in float64."""
    rows = []
    for values, targets in zip(source, reference, strict=True):
        _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
        distinct, target_counts = np.unique(targets, return_counts=True)
        quantiles = np.cumsum(counts) / values.size
        target_quantiles = np.cumsum(target_counts) / targets.size
        rows.append(np.interp(quantiles, target_quantiles, distinct)[place])
    return np.array(rows)


def random_rows(library: KernelLibrary, shape: tuple[int, int], dtype: type, seed: int) -> np.ndarray:
    """Return rows of random values, with ties where dtype is an integer, in device memory."""
    rng = np.random.default_rng(seed)
    if np.issubdtype(dtype, np.integer):
        return library.array(rng.integers(0, 200, shape), dtype)
    return library.array(rng.standard_normal(shape), dtype)


def _exercise_match(library: KernelLibrary, dtype: type, shape: tuple[int, int]) -> None:
    source, reference = random_rows(library, shape, dtype, 0), random_rows(library, shape, dtype, 1)
    (by_rank,) = match(library, [(source, reference)], RANK)
    np.testing.assert_array_equal(by_rank, expected_rank_match(source, reference))
    (by_value,) = match(library, [(source, reference)], VALUE)
    tolerance = 0.5 + 1e-9 if np.issubdtype(dtype, np.integer) else 1e-5
    expected = expected_value_match(source, reference)
    np.testing.assert_allclose(by_value.astype(float), expected, rtol=1e-6, atol=tolerance)


def _exercise_derivatives(library: KernelLibrary, dtype: type, shape: tuple[int, int]) -> None:
    rows, size = shape
    source, reference = random_rows(library, shape, dtype, 0), random_rows(library, (rows, size + 5), dtype, 1)
    into_reference = random_rows(library, reference.shape, dtype, 2)
    into_source = random_rows(library, shape, dtype, 3)
    np.testing.assert_array_equal(sort(library, source), np.sort(source, axis=1))
    for method in (VALUE, RANK):
        forward = derivative(library, "tangent", source, reference, into_reference, method)
        back = derivative(library, "adjoint", source, reference, into_source, method)
        # Both sides sum terms of either sign; what rounding leaves is in proportion to the terms.
        scale = np.linalg.norm(forward) * np.linalg.norm(into_source)
        tolerance = (1e-5 if dtype == np.float32 else 1e-12) * scale
        np.testing.assert_allclose(np.vdot(forward, into_source), np.vdot(into_reference, back), atol=tolerance)


def exercise(library: KernelLibrary) -> None:
    """Run all launchers, on rows that one block sorts and on longer ones, and check what they give."""
    for dtype in (np.float32, np.float64, np.uint8, np.uint16):
        for shape in ((2, 1), (3, 77)):
            _exercise_match(library, dtype, shape)
        library.free()
    for dtype in (np.float32, np.uint16):
        _exercise_match(library, dtype, (1, 8700))
        library.free()
    for dtype in (np.float32, np.float64):
        _exercise_derivatives(library, dtype, (2, 600))
        library.free()
