"""The periodic component against its definition."""

from __future__ import annotations

import numpy as np
import pytest

from genimg_fast.textures._edges import mirrored, periodic_component, without_mirror


def periodic_laplacian(u: np.ndarray) -> np.ndarray:
    return sum(np.roll(u, step, axis) for step in (1, -1) for axis in (0, 1)) - 4 * u


def inner_laplacian(u: np.ndarray) -> np.ndarray:
    """The Laplacian without the neighbours that lie outside the picture."""
    padded = np.pad(u, 1, mode="edge")
    around = padded[:-2, 1:-1] + padded[2:, 1:-1] + padded[1:-1, :-2] + padded[1:-1, 2:]
    return around - 4 * u


@pytest.mark.parametrize("shape", [(16, 16), (9, 20), (17, 31)])
def test_periodic_component_solves_its_poisson_equation(shape: tuple[int, int]) -> None:
    u = np.random.default_rng(0).standard_normal(shape)
    p = periodic_component(u)
    np.testing.assert_allclose(periodic_laplacian(p), inner_laplacian(u), atol=1e-11)
    assert p.mean() == pytest.approx(u.mean(), abs=1e-12)


def test_single_precision_stays_single() -> None:
    u = np.random.default_rng(0).random((3, 16, 20), np.float32)
    p = periodic_component(u)
    assert p.dtype == np.float32
    np.testing.assert_allclose(p, periodic_component(u.astype(np.float64)), atol=1e-6)


@pytest.mark.parametrize("shape", [(6, 8), (7, 9)])
def test_mirrored_has_equal_borders_and_can_be_undone(shape: tuple[int, int]) -> None:
    u = np.random.default_rng(0).standard_normal((2, *shape))
    m = mirrored(u)
    np.testing.assert_array_equal(m[..., 0, :], m[..., -1, :])
    np.testing.assert_array_equal(m[..., :, 0], m[..., :, -1])
    np.testing.assert_array_equal(without_mirror(m), u)
