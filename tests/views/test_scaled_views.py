"""Views of pictures some times as large: block means are seen as the small view sees pixels."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

import genimg_fast as gf
from genimg_fast.views import CATALOG

SIDE, TIMES = 48, 4
SMALL, LARGE = (3, SIDE, SIDE), (3, TIMES * SIDE, TIMES * SIDE)
RANDOM = np.random.default_rng(0)
OPTIONS: dict[str, dict[str, Any]] = {
    "permute_channels": {"order": (2, 0, 1)},
    "rotate": {"degrees": 30},
    "warp": {"flow": 2 * np.sin(np.indices((SIDE, SIDE)) / 5)},
    "mask": {"mask": RANDOM.random((SIDE, SIDE))},
    "mask_complement": {"mask": RANDOM.random((SIDE, SIDE))},
    "patch_permute": {"patch": 4},
    "blur_failure": {"antialias": True},
}
# How far a smooth picture's view is from that of its block means: more where edges or kernels are drawn more finely.
DRAWN = {
    "skew": 0.2, "jigsaw": 0.12, "inner_circle": 0.08, "inner_circle_failure": 0.2, "rotate": 0.02,
    "warp": 0.02, "blur": 1e-3, "blur_failure": 0.05, "motion_blur": 0.03, "motion_blur_part": 0.03,
    "motion_residual": 0.1, "hybrid_low": 1e-3, "hybrid_high": 0.01, "band_low": 1e-3, "band_mid": 0.01,
    "band_high": 0.02, "low_pass": 0.03, "high_pass": 0.2, "triple_low_pass": 0.03, "triple_medium_pass": 0.15,
    "triple_high_pass": 0.3, "motion": 0.05, "motion_res": 0.08,
}  # fmt: skip


def block_means(x: np.ndarray) -> np.ndarray:
    return x.reshape(*x.shape[:-2], x.shape[-2] // TIMES, TIMES, x.shape[-1] // TIMES, TIMES).mean((-3, -1))


def smooth() -> np.ndarray:
    y, x = np.mgrid[: LARGE[1], : LARGE[2]] / LARGE[1]
    return np.stack([np.sin(6 * y + c) + np.cos(2.5 * x * (c + 1)) + 3 * x * y for c in range(3)])


def distance(x: np.ndarray, wanted: np.ndarray) -> float:
    return float(np.linalg.norm(x - wanted) / np.linalg.norm(wanted))


@pytest.mark.parametrize("name", CATALOG)
def test_block_means_are_seen_as_pixels(name):
    view = gf.view(name, **OPTIONS.get(name, {}))
    small, large = view.bind(SMALL), view.scaled(TIMES).bind(LARGE)
    x = smooth() if name in DRAWN else np.random.default_rng(1).standard_normal(LARGE)
    limit = DRAWN.get(name, 1e-12)
    for there, here in ((large.apply, small.apply), (large.inverse, small.inverse)):
        assert distance(block_means(there(x)), here(block_means(x))) <= limit
    assert large.is_orthogonal == small.is_orthogonal
    assert large.is_component == small.is_component


@pytest.mark.parametrize("name", ["pixel_permute", "random_patch", "hadamard", "patch_permute", "jigsaw", "skew"])
def test_what_was_exact_stays_exact(name):
    view, x = gf.view(name).scaled(TIMES).bind(LARGE), np.random.default_rng(1).standard_normal(LARGE)
    assert distance(view.inverse(view.apply(x)), x) <= 1e-12
    assert (view.row is not None) == (gf.view(name).bind(SMALL).row is not None)


def test_pixels_become_blocks():
    index = np.random.default_rng(3).permutation(16)
    x = np.random.default_rng(4).standard_normal((2, 4, 4))
    for view in (gf.Permute(index), gf.Permute(index.reshape(4, 4)), gf.view("pixel_permute", seed=3)):
        large = view.scaled(3).bind((2, 12, 12)).apply(x.repeat(3, 1).repeat(3, 2))
        np.testing.assert_array_equal(large, view(x).repeat(3, 1).repeat(3, 2))


def test_jigsaws_have_the_same_pieces_at_sizes_that_do_not_divide():
    """31 x 21 and four times that have other grids by name."""
    x = np.random.default_rng(4).standard_normal((1, 31, 21))
    inner = gf.view("jigsaw", seed=1).scaled(4).bind((1, 124, 84))
    moved = inner.apply(x.repeat(4, 1).repeat(4, 2)).reshape(31, 4, 21, 4).mean((1, 3))
    assert np.mean(np.isclose(moved, gf.view("jigsaw", seed=1)(x)[0])) > 0.6  # all but the outlines of tabs


def test_compositions_and_lists_are_scaled():
    views = gf.Views(["hybrid_low(sigma=1) @ pixel_permute", "flip", "negate @ dct"], SMALL)
    large = views.scaled(TIMES)
    assert large.shape == LARGE
    assert large == gf.Views(["hybrid_low(sigma=1)" @ gf.view("pixel_permute"), "flip", "negate @ dct"], SMALL).scaled(
        4
    )
    assert large == views.scaled(2).scaled(2)
    assert large != gf.Views(views, SMALL).scaled(2)
    assert large.names[1] == "flip"
    x = np.random.default_rng(1).standard_normal(LARGE)
    for one, other in zip(large, views, strict=True):
        assert distance(block_means(one.apply(x)), other.apply(block_means(x))) <= 1e-12
    assert views.scaled(1) == views
    sigma = gf.Views(["hybrid_low", "hybrid_high"], SMALL).scaled(4)
    wanted = gf.view("hybrid_low", sigma=8).bind(LARGE)
    np.testing.assert_allclose(sigma[0].inverse(x), wanted.inverse(x), atol=1e-12)
    assert sigma.factorized


class Shifted:
    """A caller's view that moves by a share of the picture."""

    def apply(self, x: Any) -> Any:
        return np.roll(x, x.shape[-1] // 4, -1)

    def inverse(self, x: Any) -> Any:
        return np.roll(x, -(x.shape[-1] // 4), -1)


class ShiftedByPixels(Shifted):
    """One that moves by pixels, whatever the size."""

    def apply(self, x: Any) -> Any:
        return np.roll(x, 8, -1)

    def inverse(self, x: Any) -> Any:
        return np.roll(x, -8, -1)


def test_callers_views_know_themselves_or_are_refused():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        views = gf.Views(Shifted(), SMALL)
    x = np.random.default_rng(1).standard_normal(LARGE)
    np.testing.assert_array_equal(views.scaled(4)[0].apply(x), np.roll(x, 48, -1))
    with pytest.raises(ValueError, match="'ShiftedByPixels' does not know itself at 4 times the size"):
        gf.Views(ShiftedByPixels(), SMALL).scaled(4)
    with pytest.raises(ValueError, match=r"'flip' is of pictures \(3, 48, 48\) alone"):
        gf.Views(list(gf.Views("flip", SMALL)), SMALL).scaled(4)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: gf.Views("flip", SMALL).scaled(0), ValueError, "Views.scaled: factor must be at least 1, got 0"),
        (lambda: gf.Views("flip", SMALL).scaled(2.0), TypeError, "Views.scaled: factor must be an integer, got 2.0"),
        (lambda: gf.view("flip").scaled(True), TypeError, "View.scaled: factor must be an integer, got True"),
        (lambda: gf.view("dct").scaled(5).bind(SMALL), ValueError, "shape must have sides that 5 divides"),
    ],
)
def test_wrong_factors_are_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()
