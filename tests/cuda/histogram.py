"""The launchers of csrc/histogram/cuda.h, called without torch."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import numpy as np
from kernel_library import KernelLibrary

NAME = "histogram"
SOURCES = ("histogram/cuda.cu",)

VALUE, RANK = 0, 1
TILE = {np.dtype(np.float32): 8192, np.dtype(np.float64): 4096}  # the longest row that one block sorts
SUFFIXES = {
    np.dtype(dtype): suffix
    for dtype, suffix in ((np.float32, "f32"), (np.float64, "f64"), (np.uint8, "u8"), (np.uint16, "u16"))
}


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


# ---- what the kernels must give, a row at a time


def expected_row(source: np.ndarray, reference: np.ndarray, method: int) -> np.ndarray:
    """Match rows without masks: the definitions of csrc/histogram/formula.h in NumPy, float64."""
    if method == RANK:
        quantiles = (np.arange(source.size) + 0.5) / source.size
        targets = np.quantile(reference.astype(np.float64), quantiles, method="hazen")
        out = np.empty(source.size)
        out[np.argsort(source, kind="stable")] = targets
    else:
        _, indices, counts = np.unique(source, return_inverse=True, return_counts=True)
        values, reference_counts = np.unique(reference, return_counts=True)
        nodes = np.cumsum(reference_counts) / reference.size
        out = np.interp(np.cumsum(counts) / source.size, nodes, values.astype(np.float64))[indices]
    return out


def check_match(sources: np.ndarray, references: np.ndarray, got: np.ndarray, method: int) -> None:
    """Compare a batch with expected_row."""
    tolerance = {"f": 1e-5, "d": 1e-12}.get(got.dtype.char, 0.5 + 1e-9)  # integers are rounded
    for row, result in enumerate(got):
        want = expected_row(sources[row], references[row % len(references)], method)
        np.testing.assert_allclose(result, want, rtol=0, atol=tolerance)


def random_rows(library: KernelLibrary, dtype: type, rows: int, size: int, seed: int = 0) -> np.ndarray:
    """Return random rows with ties, in device memory: a step of 1/64 for reals, all values for integers."""
    rng = np.random.default_rng(seed)
    if np.issubdtype(dtype, np.integer):
        return library.array(rng.integers(0, np.iinfo(dtype).max + 1, (rows, size)), dtype)
    return library.array(np.round(rng.standard_normal((rows, size)) * 64) / 64, dtype)


def exercise(library: KernelLibrary) -> None:
    """Run every launcher and every kernel on small rows and check what they give."""
    shapes = {np.float32: (2, 9000), np.float64: (1, 4500), np.uint8: (2, 9001), np.uint16: (1, 8500)}
    for dtype, (rows, size) in shapes.items():
        for method in (VALUE, RANK):
            long = random_rows(library, dtype, rows, size), random_rows(library, dtype, 1, size // 2, seed=1)
            short = random_rows(library, dtype, 4, 77, seed=2), random_rows(library, dtype, 2, 30, seed=3)
            for (source, reference), got in zip((long, short), match(library, (long, short), method), strict=True):
                check_match(source, reference, got, method)
            check_match(*short, match(library, (short,), method)[0], method)
    for dtype in (np.float32, np.float64):
        for size in (300, TILE[np.dtype(dtype)] + 300):
            source, reference = random_rows(library, dtype, 2, size), random_rows(library, dtype, 2, size - 100, seed=1)
            ordered = sort(library, reference)
            np.testing.assert_array_equal(ordered, np.sort(reference))
            got = match(library, ((source, ordered),), VALUE, is_sorted=True)[0]
            check_match(source, reference, got, VALUE)
            _check_adjoint(library, source, reference)


def _check_adjoint(library: KernelLibrary, source: np.ndarray, reference: np.ndarray) -> None:
    rng = np.random.default_rng(4)
    x = library.array(rng.standard_normal(reference.shape), reference.dtype)
    y = library.array(rng.standard_normal(source.shape), source.dtype)
    for method in (VALUE, RANK):
        forward = derivative(library, "tangent", source, reference, x, method).astype(np.float64)
        backward = derivative(library, "adjoint", source, reference, y, method).astype(np.float64)
        tolerance = 1e-5 if source.dtype == np.float32 else 1e-12
        np.testing.assert_allclose(
            np.vdot(forward, y), np.vdot(x, backward), rtol=tolerance, atol=tolerance * source.size
        )
        # out = W reference
        again = derivative(library, "tangent", source, reference, reference, method)
        check_match(source, reference, again, method)
