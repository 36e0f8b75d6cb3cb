"""The launchers of csrc/steerable/space_cuda.h, called without torch, and what they compute in a few lines of NumPy."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

import numpy as np
from kernel_library import KernelLibrary

from genimg_fast import _numpy
from genimg_fast.steerable.space import EDGE_TYPES

NAME = "steerable_space"
SOURCES = ("steerable/space_cuda.cu",)


@dataclass(frozen=True)
class Pyramid:
    height: int
    width: int
    levels: int = 1
    order: int = 1
    edge_type: str = "reflect1"

    def size(self, level: int) -> tuple[int, int]:
        return -(-self.height // 2**level), -(-self.width // 2**level)

    def sizes(self) -> list[tuple[int, int]]:
        bands = [self.size(level) for level in range(self.levels) for _ in range(self.order + 1)]
        return [self.size(0), *bands, self.size(self.levels)]

    def as_c(self) -> ctypes.Array[ctypes.c_int64]:
        """Return the numbers that the launchers take."""
        numbers = (self.height, self.width, self.levels, self.order, EDGE_TYPES.index(self.edge_type))
        return (ctypes.c_int64 * len(numbers))(*numbers)


def _pointers(arrays: list[np.ndarray]) -> ctypes.Array[ctypes.c_void_p]:
    return (ctypes.c_void_p * len(arrays))(*(array.ctypes.data for array in arrays))


def _suffix(dtype: np.dtype) -> str:
    return {"float32": "f32", "float64": "f64"}[np.dtype(dtype).name]


def _workspace(library: KernelLibrary, pyramid: Pyramid, batch: int, adjoint: bool, dtype: np.dtype) -> np.ndarray:
    return library.empty((library.size("space_workspace", pyramid.as_c(), batch, adjoint),), dtype)


def analysis(library: KernelLibrary, pyramid: Pyramid, image: np.ndarray, adjoint: bool = False) -> list[np.ndarray]:
    """Return all coefficients of (batch, height, width) images."""
    out = [library.empty((len(image), *size), image.dtype) for size in pyramid.sizes()]
    workspace = _workspace(library, pyramid, len(image), adjoint, image.dtype)
    name = f"space_analysis_{_suffix(image.dtype)}"
    library.check(name, pyramid.as_c(), adjoint, image, len(image), _pointers(out), workspace, None)
    return out


def synthesis(
    library: KernelLibrary, pyramid: Pyramid, coefficients: list[np.ndarray], adjoint: bool = False
) -> np.ndarray:
    """Return the images that all coefficients stand for."""
    batch, dtype = len(coefficients[0]), coefficients[0].dtype
    image = library.empty((batch, pyramid.height, pyramid.width), dtype)
    workspace = _workspace(library, pyramid, batch, adjoint, dtype)
    name = f"space_synthesis_{_suffix(dtype)}"
    library.check(name, pyramid.as_c(), adjoint, _pointers(coefficients), batch, image, workspace, None)
    return image


def random_image(library: KernelLibrary, pyramid: Pyramid, batch: int, dtype: type) -> np.ndarray:
    """Return random images in device memory."""
    return library.array(np.random.default_rng(0).standard_normal((batch, pyramid.height, pyramid.width)), dtype)


def inner(a: list[np.ndarray], b: list[np.ndarray]) -> float:
    return float(sum(np.vdot(x.astype(np.float64), y.astype(np.float64)) for x, y in zip(a, b, strict=True)))


def exercise(library: KernelLibrary) -> None:
    """Run the launchers on small pyramids and check what they give."""
    for pyramid in (Pyramid(34, 81), Pyramid(40, 50, 2, 5, "extend"), Pyramid(40, 36, 1, 3, "dont-compute")):
        for dtype in (np.float32, np.float64):
            image = random_image(library, pyramid, 2, dtype)
            tolerance = 1e-5 if dtype == np.float32 else 1e-12
            edge = EDGE_TYPES.index(pyramid.edge_type)
            expected = _numpy.space_analysis(np.array(image), pyramid.order, pyramid.levels, edge)
            coefficients = analysis(library, pyramid, image)
            for ours, cpu in zip(coefficients, expected, strict=True):
                np.testing.assert_allclose(ours, cpu, rtol=0, atol=tolerance)
            again = synthesis(library, pyramid, coefficients)
            numbers = list(range(len(expected)))
            back = _numpy.space_synthesis(
                [np.array(c) for c in coefficients], numbers, *pyramid.size(0), pyramid.order, pyramid.levels, edge
            )
            np.testing.assert_allclose(again, back, rtol=0, atol=tolerance)
            # <A x, c> = <x, A* c> and the same of synthesis
            adjoint = synthesis(library, pyramid, coefficients, adjoint=True)
            squares = inner(coefficients, coefficients)
            np.testing.assert_allclose(inner([image], [adjoint]), squares, rtol=tolerance)
            other = analysis(library, pyramid, image, adjoint=True)
            np.testing.assert_allclose(inner(coefficients, other), inner([again], [image]), rtol=10 * tolerance)
