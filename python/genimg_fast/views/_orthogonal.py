"""Orthogonal views that mix values, by products with small matrices: the matrix of the whole picture is never made."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from genimg_fast._arguments import integer
from genimg_fast.views._bound import Constant, Linear, Planes, along_axes
from genimg_fast.views._parameters import flag
from genimg_fast.views._plan import Shape


def hadamard(shape: Shape, *, patch: int | None = 8) -> Linear:
    """The Walsh-Hadamard transform of patches, normalised; patch=None: of the picture. Sides are powers of two."""
    rows, columns = (_sylvester(side) for side in _patch_sides("hadamard", shape, patch))
    return _separable("hadamard", shape, rows, columns)


def dct(shape: Shape, *, patch: int | None = 8) -> Linear:
    """The orthonormal cosine transform (DCT-II) of patches; patch=None: of the picture."""
    rows, columns = (_cosines(side) for side in _patch_sides("dct", shape, patch))
    return _separable("dct", shape, rows, columns)


def householder(shape: Shape, *, seed: int = 0) -> Linear:
    """The picture mirrored in the hyperplane across a random direction v: x - 2 (v.x) v."""
    v = np.random.default_rng(integer("seed", seed, 0)).standard_normal(shape)
    normal = Constant((v / np.linalg.norm(v)).ravel())

    def mirror(x: Planes) -> Planes:
        v = normal.like(x)
        flat = x.reshape(*x.shape[:-3], v.shape[0])
        return (flat - 2 * (flat @ v)[..., None] * v).reshape(x.shape)

    return Linear("householder", shape, mirror, mirror, is_orthogonal=True)


def random_patch(shape: Shape, *, patch: int = 8, channels: bool = False, seed: int = 0) -> Linear:
    """One random rotation (uniform: Stewart 1980) of the values of every patch, each channel by itself or all mixed."""
    side, _ = _patch_sides("random_patch", shape, integer("patch", patch, 1))
    channels = flag("channels", channels)
    size = side * side * (shape[0] if channels else 1)
    normal = np.random.default_rng(integer("seed", seed, 0)).standard_normal((size, size))
    q, r = np.linalg.qr(normal)
    matrix = q * np.sign(np.diag(r))
    there, back = (_on_patches(side, channels, Constant(np.ascontiguousarray(m))) for m in (matrix.T, matrix))
    return Linear("random_patch", shape, there, back, is_orthogonal=True)


def _separable(name: str, shape: Shape, rows: np.ndarray, columns: np.ndarray) -> Linear:
    there, back = along_axes(rows, columns), along_axes(rows.T, columns.T)
    return Linear(name, shape, there, back, is_orthogonal=True)


def _on_patches(side: int, channels: bool, matrix: Constant) -> Callable[[Planes], Planes]:
    def run(x: Planes) -> Planes:
        *lead, c, height, width = x.shape
        x = x.reshape(*lead, c, height // side, side, width // side, side).swapaxes(-3, -2)
        if channels:  # (c, i, j, y, x) -> (i, j, c, y, x)
            x = x.swapaxes(-5, -4).swapaxes(-4, -3)
        patches = x.reshape(*x.shape[: -3 if channels else -2], matrix.values.shape[0])
        x = (patches @ matrix.like(x)).reshape(x.shape)
        if channels:
            x = x.swapaxes(-4, -3).swapaxes(-5, -4)
        return x.swapaxes(-3, -2).reshape(*lead, c, height, width)

    return run


def _patch_sides(name: str, shape: Shape, patch: int | None) -> tuple[int, int]:
    _, height, width = shape
    if patch is None:
        return height, width
    side = integer("patch", patch, 1)
    if height % side or width % side:
        raise ValueError(f"view {name!r}: patch must divide the picture's sides, got {side} for the shape {shape}")
    return side, side


def _sylvester(side: int) -> np.ndarray:
    if side & (side - 1):
        raise ValueError(f"view 'hadamard': the sides of patches must be powers of two, got {side}")
    i = np.arange(side)
    bits = np.bitwise_count(i[:, None] & i)
    return np.where(bits % 2, -1.0, 1.0) / np.sqrt(side)


def _cosines(side: int) -> np.ndarray:
    k, i = np.ogrid[:side, :side]
    matrix = np.sqrt(2 / side) * np.cos(np.pi * k * (2 * i + 1) / (2 * side))
    matrix[0] = np.sqrt(1 / side)
    return matrix


ORTHOGONAL: dict[str, Callable[..., Any]] = {
    function.__name__: function for function in (hadamard, dct, householder, random_patch)
}
