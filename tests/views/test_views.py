"""Lists of views: checks, plans, tensors; and check_view."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch

import genimg_fast as gf

SHAPE = (3, 12, 12)


class Reversed:
    """A caller's view."""

    is_orthogonal = True

    def apply(self, x: Any) -> Any:
        return -x

    inverse = apply


# ---- Options --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "first", "second"),
    [
        ("skew", {"slope": 1.5}, {"slope": 2}),
        ("patch_permute", {"n_patches": 4}, {"n_patches": 6}),
        ("patch_permute", {"n_patches": 4}, {"patch": 2}),
        ("patch_permute", {"n_patches": 4}, {"n_patches": 4, "seed": 1}),
        ("pixel_permute", {}, {"seed": 1}),
        ("jigsaw", {}, {"seed": 1}),
        ("jigsaw", {}, {"n_pieces": 3}),
        ("permute_channels", {"order": (0, 2, 1)}, {"order": (1, 0, 2)}),
        ("hadamard", {"patch": 4}, {"patch": 2}),
        ("dct", {"patch": 4}, {"patch": None}),
        ("householder", {}, {"seed": 1}),
        ("random_patch", {"patch": 4}, {"patch": 3}),
        ("random_patch", {"patch": 4}, {"patch": 4, "seed": 1}),
        ("random_patch", {"patch": 4}, {"patch": 4, "channels": True}),
        ("band_low", {}, {"sigma_low": 5}),
        ("band_mid", {}, {"sigma_low": 5}),
        ("band_mid", {}, {"sigma_high": 0.5}),
        ("band_high", {}, {"sigma_high": 0.5}),
        ("motion_residual", {}, {"length": 5}),
        ("motion_residual", {}, {"degrees": 90}),
    ],
)
def test_options_change_the_view(name, first, second):
    x = np.random.default_rng(0).standard_normal(SHAPE)
    one, again, other = (gf.view(name, **options).bind(SHAPE).inverse(x) for options in (first, first, second))
    np.testing.assert_array_equal(one, again)
    assert abs(one - other).max() > 1e-3
    assert gf.view(name, **first) != gf.view(name, **second)


# ---- Errors ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "shape", "message"),
    [
        (lambda: "upside_down", SHAPE, "name must be one of identity, flip, .* got 'upside_down'"),
        (lambda: "flip @ upside_down", SHAPE, "got 'upside_down'"),
        (lambda: "flip @", SHAPE, "got ''"),
        (list, SHAPE, "at least one, got an empty list"),
        (lambda: "rotate_cw", (3, 4, 5), "'rotate_cw' needs a square picture .* got the shape \\(3, 4, 5\\)"),
        (lambda: "rotate_ccw", (3, 4, 5), "'rotate_ccw' needs a square picture"),
        (lambda: "transpose", (3, 4, 5), "'transpose' needs a square picture"),
        (lambda: "square_hinge", (3, 4, 5), "'square_hinge' needs a square picture"),
        (lambda: "patch_permute", (3, 12, 16), "n_patches must divide the picture's sides, got 8 for a side of 12"),
        (lambda: gf.view("patch_permute", patch=5), SHAPE, "patch must divide .* got 5 for a side of 12"),
        (lambda: gf.view("permute_channels", order=(0, 1)), SHAPE, "each of 0 to 2 once, got \\(0, 1\\)"),
        (lambda: gf.view("skew", slope=float("nan")), SHAPE, "slope must be finite, got nan"),
        (lambda: gf.view("jigsaw", n_pieces=0), SHAPE, "n_pieces must be at least 1, got 0"),
        (lambda: gf.view("jigsaw", seed=-1), SHAPE, "seed must be at least 0, got -1"),
        (lambda: gf.Permute(np.arange(16)), SHAPE, "index must be of the pixels \\(12, 12\\), got the shape \\(16,\\)"),
        (lambda: "hadamard", SHAPE, "patch must divide the picture's sides, got 8"),
        (lambda: gf.view("hadamard", patch=3), SHAPE, "powers of two, got 3"),
        (lambda: gf.view("hadamard", patch=None), SHAPE, "powers of two, got 12"),
        (lambda: gf.view("dct", patch=0), SHAPE, "patch must be at least 1"),
        (lambda: gf.view("blur", sigma=0), SHAPE, "sigma must be a positive finite number, got 0"),
        (lambda: gf.view("band_mid", sigma_low=1, sigma_high=2), SHAPE, "sigma_low must be above sigma_high"),
        (lambda: gf.view("motion_blur", length=4), SHAPE, "length must be odd, got 4"),
        (lambda: gf.view("rotate", degrees=float("inf")), SHAPE, "degrees must be a finite number, got inf"),
        (lambda: gf.view("rotate", degrees=1, interpolation="cubic"), SHAPE, "'bilinear', 'nearest', got 'cubic'"),
        (lambda: gf.view("mask", mask=np.ones((3, 3))), SHAPE, "mask must be \\(12, 12\\), got the shape \\(3, 3\\)"),
        (lambda: gf.view("mask", mask=np.full((12, 12), 2)), SHAPE, "numbers from 0 to 1"),
        (lambda: gf.view("mask_complement", mask=np.full((12, 12), np.nan)), SHAPE, "numbers from 0 to 1"),
        (lambda: gf.view("warp", flow=np.zeros((2, 3, 3))), SHAPE, "flow must be \\(2, 12, 12\\)"),
        (lambda: gf.view("warp", flow=np.full((2, 12, 12), np.nan)), SHAPE, "flow must be finite"),
        (
            lambda: gf.view("warp", flow=0.5 * np.indices((12, 12))[[0, 0]] + 0.5 * np.indices((12, 12))[[1, 1]]),
            SHAPE,
            "have no inverse; got 1",
        ),
        (lambda: gf.view("flip", seed=0), SHAPE, "'flip' takes no parameters, got 'seed'"),
        (lambda: gf.view("skew", angle=0), SHAPE, "'skew' takes slope, got 'angle'"),
        (lambda: gf.view("mask"), SHAPE, "'mask' needs mask: gf.view\\('mask', mask=...\\)"),
        (lambda: gf.view("flip @ skew", slope=2), SHAPE, "a composition takes no parameters"),
        (lambda: "flip", (12, 12), "shape must be \\(C, H, W\\), got \\(12, 12\\)"),
        (lambda: "flip", (3, 0, 12), "shape must be at least 1, got 0"),
        (lambda: "flip", (1, 1 << 16, 1 << 15), "fewer than 2147483648 pixels, got 65536x32768"),
    ],
)
def test_wrong_views_are_refused_by_name(make, shape, message):
    with pytest.raises(ValueError, match=message):
        gf.Views(make(), shape)


@pytest.mark.parametrize(("entry", "shape"), [(3, SHAPE), ([None], SHAPE), ("flip", (3, 12.0, 12))])
def test_what_is_no_view_is_refused(entry, shape):
    with pytest.raises(TypeError, match="must be a"):
        gf.Views(entry, shape)


def test_a_name_is_a_string():
    with pytest.raises(TypeError, match="name must be a string, got Named"):
        gf.view(gf.view("flip"))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        (np.zeros((3, 12, 13)), ValueError, r"must be \(..., 3, 12, 12\), got the shape \(3, 12, 13\)"),
        (np.zeros((12, 12)), ValueError, r"must be \(..., 3, 12, 12\)"),
        (np.zeros(SHAPE, int), TypeError, "floating dtype, got int64"),
        (torch.zeros(SHAPE, dtype=torch.complex64), TypeError, "floating dtype, got torch.complex64"),
        ([1.0], TypeError, "numpy.ndarray or a torch.Tensor, got list"),
    ],
)
def test_wrong_pictures_are_refused(x, error, message):
    for view in gf.Views(["flip", gf.view("dct", patch=4)], SHAPE):
        for function in (view.apply, view.inverse, view.variance):
            with pytest.raises(error, match=message):
                function(x)


# ---- Lists and plans ------------------------------------------------------------------------------------------------


def test_a_list_of_views():
    views = gf.Views(
        ["identity", "flip @ negate", gf.view("skew", slope=2), "flip" @ gf.view("dct", patch=4), Reversed()], SHAPE
    )
    assert views.names == ["identity", "flip @ negate", "skew(slope=2)", "flip @ dct(patch=4)", "Reversed"]
    assert len(views) == len(list(views)) == 5
    assert [view.name for view in views] == views.names
    assert views.dense == (3, 4)
    assert not views.factorized
    assert repr(views) == f"Views({views.names}, shape=(3, 12, 12))"
    assert views == gf.Views(views._views, list(SHAPE))
    assert views != gf.Views(views._views, (4, 12, 12))
    assert len({views, gf.Views("flip", SHAPE), gf.Views(["flip"], SHAPE)}) == 2
    x = np.random.default_rng(0).standard_normal(SHAPE)
    for view in views:
        np.testing.assert_allclose(view.inverse(view.apply(x)), x, atol=1e-12)
    np.testing.assert_array_equal(views[4].apply(x), -x)


def test_plans_say_what_the_views_do():
    """Read as the contract says: kind, parameters, offsets in the tables."""
    h = w = 12
    permute = gf.Permute(np.random.default_rng(0).permutation(h * w))
    views = gf.Views(["flip", "skew", "inner_circle", "square_hinge", permute, "negate"], SHAPE)
    x = np.random.default_rng(0).standard_normal(SHAPE)
    for plan, names in ((views.forward_plan, "apply"), (views.inverse_plan, "inverse")):
        assert plan.rows.dtype == np.int64
        assert plan.tables.dtype == np.int32
        assert plan.rows[:, 0].tolist() == [0, 1, 2, 3, 4, 0]
        assert (plan.rows[:, 9:] == 0).all()
        assert (plan.rows[:5, 8] == -1).all()
        assert plan.rows[2, 1] == 12
        assert plan.rows[3, 1:3].tolist() == [4, 1 if names == "apply" else -1]
        np.testing.assert_array_equal(plan.tables[plan.rows[5, 8] :][:3], [-1, -2, -3])
        table = plan.tables[plan.rows[4, 7] :][: h * w]
        np.testing.assert_array_equal(getattr(views[4], names)(x), x.reshape(3, -1)[:, table].reshape(SHAPE))
        shifts = plan.tables[plan.rows[1, 7] :][:w]
        assert ((shifts >= 0) & (shifts < h)).all()
        rolled = np.stack([np.roll(x[..., i], s, axis=-1) for i, s in enumerate(shifts)], axis=-1)
        np.testing.assert_array_equal(getattr(views[1], names)(x), rolled)


def test_views_are_copied_and_pickled():
    views = gf.Views(["jigsaw @ negate", gf.view("dct", patch=4), gf.Permute(np.arange(144)[::-1])], SHAPE)
    x = np.random.default_rng(0).standard_normal(SHAPE)
    for other in (pickle.loads(pickle.dumps(views)), copy.deepcopy(views)):
        assert other == views
        for view, twin in zip(views, other, strict=True):
            np.testing.assert_array_equal(twin.apply(x), view.apply(x))


def test_dense_views_are_identities_of_the_plan():
    views = gf.Views(["flip", gf.view("dct", patch=4), "hybrid_low"], SHAPE)
    for plan in (views.forward_plan, views.inverse_plan):
        for row in plan.rows[1:]:
            assert row.tolist() == [0, 1, 0, 0, 0, 1, 0, 0, -1, 0, 0, 0]


def test_plans_as_tensors_are_kept():
    views = gf.Views(["skew", "negate"], SHAPE)
    with torch.inference_mode():
        forward, backward = views.on("cpu")
    assert views.on(torch.device("cpu"))[0].tables is forward.tables
    assert not forward.tables.is_inference()
    for plan, tensors in ((views.forward_plan, forward), (views.inverse_plan, backward)):
        assert tensors.rows.dtype == torch.int64
        assert tensors.tables.dtype == torch.int32
        np.testing.assert_array_equal(tensors.rows, plan.rows)
        np.testing.assert_array_equal(tensors.tables, plan.tables)


def test_arrays_never_import_torch():
    script = (
        "import sys, numpy as np, genimg_fast as gf\n"
        "views = gf.Views(['jigsaw @ negate', 'dct', 'hybrid_low'], (3, 16, 16))\n"
        "[v.inverse(v.apply(np.zeros((3, 16, 16)))) for v in views]\n"
        "gf.check_view('skew', (3, 16, 16))\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


@pytest.mark.parametrize("name", ["rotate_cw", "skew", "jigsaw", "negate", "inner_circle"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_tensors_are_moved_as_arrays_are(name, dtype):
    view = gf.view(name).bind(SHAPE)
    x = torch.randn(2, 2, *SHAPE, generator=torch.Generator().manual_seed(0)).to(dtype)
    for function in (view.apply, view.inverse, view.variance):
        moved = function(x)
        assert moved.dtype == dtype
        np.testing.assert_array_equal(moved.double().numpy(), function(x.double().numpy()))
    y = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad((view.apply(y) * x).sum(), y)
    torch.testing.assert_close(gradient, view.inverse(x), rtol=0, atol=0)


# ---- check_view -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["identity", "flip @ negate", "skew", "jigsaw", "pixel_permute", "square_hinge"])
@pytest.mark.parametrize("shape", [(3, 8, 8), (4, 24, 24)])
def test_check_view_of_permutations(name, shape):
    report = gf.check_view(name, shape)
    assert report.bijective is True
    assert report.valid
    assert report.orthogonality_error < 1e-12
    assert report.round_trip_error == 0
    assert report.noise_std == pytest.approx(1, abs=0.03)
    assert abs(report.noise_correlation) < 0.04
    assert f"{name} of {'x'.join(map(str, shape))}: valid" in str(report)
    assert "a permutation" in str(report)


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 24, 24)])
def test_check_view_finds_a_pixel_that_is_there_twice(shape):
    sources = np.arange(shape[1] * shape[2])
    sources[5] = 4

    def gather(x: np.ndarray) -> np.ndarray:
        return x.reshape(*x.shape[:-2], -1)[..., sources].reshape(x.shape)

    report = gf.check_view((gather, gather), shape)
    assert report.bijective is False
    assert not report.orthogonal
    assert not report.valid
    assert report.name == "gather"
    assert "loses some" in str(report)
    assert "NOT VALID" in str(report)


def test_check_view_finds_what_is_not_linear():
    report = gf.check_view((lambda x: abs(x), lambda x: x), (1, 8, 8))
    assert not report.linear
    assert not report.valid
    assert "not linear" in str(report)
    assert not gf.check_view((lambda x: x + 1, lambda x: x - 1), (1, 8, 8)).linear


def test_check_view_finds_a_wrong_inverse():
    report = gf.check_view((lambda x: x[..., ::-1], lambda x: x), (1, 8, 8))
    assert report.orthogonal
    assert report.bijective
    assert report.round_trip_error == pytest.approx(2**0.5, rel=0.5)
    assert not report.valid


def test_check_view_measures_noise():
    scaled = gf.check_view((lambda x: 1.5 * x, lambda x: x / 1.5), (3, 64, 64))
    assert scaled.noise_std == pytest.approx(1.5, rel=0.01)
    assert scaled.orthogonality_error == pytest.approx(1.5**2 - 1, rel=0.01)
    assert not scaled.orthogonal

    def mixed(x: np.ndarray) -> np.ndarray:
        return x + 0.5 * np.roll(x, 1, axis=-3)

    # Neighbouring channels share 0.5 of 1.25.
    correlation = gf.check_view((mixed, mixed), (5, 32, 32)).noise_correlation
    assert correlation == pytest.approx(0.5 / 1.25, abs=0.02)
    below = gf.check_view((lambda x: x - np.roll(x, 1, axis=-2), lambda x: x), (1, 64, 64))
    assert below.noise_correlation == pytest.approx(-0.5, abs=0.03)
    assert below.noise_std == pytest.approx(2**0.5, rel=0.02)


def test_check_view_takes_what_callers_write():
    assert gf.check_view(Reversed(), (2, 8, 8)).valid
    assert gf.check_view(gf.Views(["flip"], (2, 9, 7))[0]).shape == (2, 9, 7)
    seen: list[Any] = []

    def keep(x: Any) -> Any:
        seen.append(x)
        return x

    first = gf.check_view((keep, keep), (1, 40, 40), n=3, seed=0)
    assert all(isinstance(x, np.ndarray) for x in seen)
    few = sum(len(x) for x in seen)
    seen.clear()
    second = gf.check_view((keep, keep), (1, 40, 40), n=10, seed=1, tensors=True)
    assert all(isinstance(x, torch.Tensor) for x in seen)
    assert sum(len(x) for x in seen) - few == 7
    assert first.noise_std != gf.check_view((keep, keep), (1, 40, 40), n=3, seed=1).noise_std
    assert second.valid
    with pytest.raises(ValueError, match="must keep the shape of pictures"):
        gf.check_view((lambda x: x[..., 1:], keep), (1, 8, 8))
    with pytest.raises(TypeError, match="must be a name"):
        gf.check_view(3)


def test_check_view_of_a_component():
    report = gf.check_view("hybrid_low", (3, 16, 16))
    assert report.component
    assert report.valid
    assert report.round_trip_error > 0.1
    assert "summed with others" in str(report)
