"""What views are given: texts, parameters, lists, shapes and pictures are used rightly or refused by name."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
import torch

import genimg_fast as gf

SHAPE = (3, 12, 12)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("rotate(degrees=30)", gf.view("rotate", degrees=30)),
        ("rotate(degrees=-2.5e1, interpolation=nearest, circle=True)",
         gf.view("rotate", degrees=-25, interpolation="nearest", circle=True)),
        ("rotate( degrees = 30 ,interpolation='nearest')", gf.view("rotate", degrees=30, interpolation="nearest")),
        ("pixel_permute(seed=1) @ flip", gf.view("pixel_permute", seed=1) @ "flip"),
        ("permute_channels(order=(2, 0, 1))@dct(patch=None)",
         gf.view("permute_channels", order=[2, 0, 1]) @ gf.view("dct", patch=None)),
        ("flip()", gf.view("flip")),
        ("jigsaw(seed=0)", gf.view("jigsaw")),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore:view .* does not keep white noise")
def test_texts_are_views_with_parameters(text, wanted):
    assert gf.view(text) == wanted
    assert gf.view(str(wanted)) == wanted
    assert gf.Views([text, "flip"], SHAPE) == gf.Views([wanted, "flip"], SHAPE)
    assert hash(gf.view(text)) == hash(wanted)


@pytest.mark.parametrize(
    "text",
    ["rotate(30)", "rotate(degrees=30", "rotate degrees=30)", "rotate(degrees=30) flip", "skew(slope=__import__('os'))",
     "skew(slope=1, slope=2)", "skew(**{})", "skew(slope=1)(slope=2)", "mask(mask=<12x12>)", "skew(slope=(1)",
     "flip) @ (flip", "f" + "(" * 500 + ")" * 500],
)  # fmt: skip
def test_texts_that_are_none_are_refused(text):
    with pytest.raises(ValueError, match=r"view: name must be such as 'flip', 'rotate\(degrees=30\)'"):
        gf.view(text)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: gf.view("skew(slope=2)", slope=2), ValueError, "a text with parameters takes no parameters"),
        (lambda: gf.view("flip(a=1)"), ValueError, "view 'flip' takes no parameters, got 'a'"),
        (lambda: gf.view("f" * 20_000), ValueError, "at most 10000 characters"),
        (lambda: gf.view("skew", slope=True), TypeError, "view 'skew': slope must be a number, got True"),
        (lambda: gf.view("skew", slope="1"), TypeError, "view 'skew': slope must be a number, got '1'"),
        (lambda: gf.view("skew", slope=[1, 2]), TypeError, "view 'skew': slope must be a number"),
        (
            lambda: gf.view("skew", slope={}),
            TypeError,
            "view 'skew': slope must hold real numbers, got object of a dict",
        ),
        (lambda: gf.view("skew", slope=10**400), ValueError, "view 'skew': slope must be a finite number"),
        (lambda: gf.view("skew", slope=1e300), ValueError, "view 'skew': slope must move columns by less than 2\\^53"),
        (
            lambda: gf.view("householder", seed=False),
            TypeError,
            "seed must be an integer, got False",
        ),
        (lambda: gf.view("jigsaw", seed=1.5), TypeError, "view 'jigsaw': seed must be an integer, got 1.5"),
        (lambda: gf.view("jigsaw", n_pieces=2**70), ValueError, "view 'jigsaw': n_pieces must be fewer than"),
        (lambda: gf.view("patch_permute", patch=2**70), ValueError, "patch must divide the picture's sides"),
        (lambda: gf.view("patch_permute", n_patches=True), TypeError, "n_patches must be an integer, got True"),
        (lambda: gf.view("blur", sigma=1e9), ValueError, "view 'blur': sigma must be at most 8 times the longer side"),
        (lambda: gf.view("blur", sigma=None), TypeError, "view 'blur': sigma must be a number, got None"),
        (lambda: gf.view("band_mid", sigma_low=True), TypeError, "view 'band_mid': sigma_low must be a number"),
        (
            lambda: gf.view("motion_blur", length=10**9 + 1),
            ValueError,
            "length must be at most 8 times",
        ),
        (lambda: gf.view("rotate", degrees=1, circle="no"), TypeError, "view 'rotate': circle must be True or False"),
        (lambda: gf.view("random_patch", patch=4, channels=1), TypeError, "channels must be True or False, got 1"),
        (lambda: gf.view("rotate", degrees=1j), TypeError, "view 'rotate': degrees must be a number, got 1j"),
        (lambda: gf.view("scale", factor=np.nan), ValueError, "view 'scale': factor must be a finite number, got nan"),
        (lambda: gf.view("mask", mask="all"), TypeError, "view 'mask': mask must hold real numbers"),
        (lambda: gf.view("mask", mask=np.eye(12) * 1j), TypeError, "view 'mask': mask must hold real numbers"),
        (lambda: gf.view("mask", mask=[[1], [1, 2]]), TypeError, "view 'mask': mask must be an array of numbers"),
        (lambda: gf.view("mask", mask=np.ma.masked_equal(np.eye(12), 0)), TypeError, "mask is a masked array"),
        (lambda: gf.view("mask", mask=torch.ones(12, 12, device="meta")), TypeError, "mask must be a dense tensor"),
        (lambda: gf.view("permute_channels", order=(True, False, 2)), TypeError, "order must be an integer, got True"),
        (lambda: gf.view("permute_channels", order=(0.0, 1.0, 2.0)), TypeError, "order must be an integer, got 0.0"),
        (lambda: gf.view("permute_channels", order=5), TypeError, "order must be a sequence of integers, got 5"),
        (lambda: gf.view("permute_channels", order="012"), TypeError, "order must be a sequence of integers"),
        (lambda: gf.Permute([1.0, 0.0]), TypeError, "Permute: index must hold integers, got float64"),
        (lambda: gf.Permute([True, False]), TypeError, "Permute: index must hold integers, got bool"),
        (lambda: gf.Permute(None), TypeError, "Permute: index must hold real numbers, got object of a NoneType"),
        (lambda: gf.Permute([[1], [1, 2]]), TypeError, "Permute: index must be an array of numbers"),
        (lambda: gf.Permute([2**70, 1]), TypeError, "Permute: index must hold real numbers"),
        (
            lambda: gf.Permute(np.array([2**63, 0], np.uint64)),
            ValueError,
            "once, got 9223372036854775808",
        ),
        (lambda: gf.Permute(np.ma.masked_equal([0, 1, 2], 1)), TypeError, "Permute: index is a masked array"),
    ],
)
def test_wrong_parameters_are_refused_by_name(make, error, message):
    with pytest.raises(error, match=message):
        gf.Views(make(), SHAPE)


@pytest.mark.parametrize(
    ("views", "shape", "error", "message"),
    [
        (["flip"] * 65, SHAPE, ValueError, "Views: views must be at most 64"),
        ({"flip": 1}, SHAPE, TypeError, "Views: views must be a view or a list of views in their order"),
        ({"flip"}, SHAPE, TypeError, "Views: views must be a view or a list of views in their order"),
        (b"flip", SHAPE, TypeError, "Views: views must be a view or a list of views"),
        ([["flip"]], SHAPE, TypeError, r"Views: a view must be a name, .* got \['flip'\]"),
        ([np.zeros(3)], SHAPE, TypeError, r"Views: a view must be a name, .* got ndarray of shape \(3,\)"),
        ("flip", None, TypeError, r"Views: shape must be a \(C, H, W\) of integers, got None"),
        ("flip", "abc", TypeError, r"Views: shape must be a \(C, H, W\) of integers, got 'abc'"),
        ("flip", np.zeros(SHAPE), ValueError, r"Views: shape must be \(C, H, W\), got ndarray of shape \(3, 12, 12\)"),
        ("flip", (True, 12, 12), TypeError, "Views: shape must be an integer, got True"),
        ("negate", (2**30, 1, 1), ValueError, "Views: shape must have fewer than 16777216 channels"),
        ("flip", (2**70, 1, 1), ValueError, "Views: shape must have fewer than 16777216 channels"),
    ],
)
def test_wrong_lists_and_shapes_are_refused(views, shape, error, message):
    with pytest.raises(error, match=message):
        gf.Views(views, shape)


def test_sixty_four_views_and_lists_of_any_kind():
    assert len(gf.Views(["flip"] * 64, SHAPE)) == 64
    assert gf.Views((name for name in ("flip", "hflip")), SHAPE).names == ["flip", "hflip"]
    assert gf.Views(np.array(["flip", "hflip"]), SHAPE).names == ["flip", "hflip"]


def test_views_of_views_are_themselves():
    """A bound view keeps what it is: a permutation, or a component."""
    views = gf.Views(["hybrid_low", "negate"], SHAPE)
    x = np.random.default_rng(0).standard_normal(SHAPE)
    for again in (gf.Views(views, SHAPE), gf.Views(list(views), SHAPE)):
        assert again.dense == (0,)
        assert again[0].is_component
        np.testing.assert_array_equal(again[1].variance(x), x)
    with pytest.raises(ValueError, match=r"view 'negate' is of pictures \(3, 12, 12\), got the shape \(3, 24, 24\)"):
        gf.Views([views[1]], (3, 24, 24))


def test_parameters_are_the_views_own():
    """What a caller changes later changes no view."""
    mask, x = np.ones((12, 12)), np.ones(SHAPE)
    view = gf.view("mask", mask=mask)
    before = hash(view)
    mask[:] = 0
    assert hash(view) == before
    np.testing.assert_array_equal(view.bind(SHAPE).inverse(x), x)
    assert gf.view("mask", mask=torch.ones(12, 12, dtype=torch.bfloat16)) == view
    assert pickle.loads(pickle.dumps(gf.Views([view], SHAPE))) == gf.Views([view], SHAPE)
    assert gf.view("permute_channels", order=np.array([2, 0, 1])).bind(SHAPE).row.channels == (3, 1, 2)


@pytest.mark.parametrize("name", ["flip", "negate", "dct(patch=4)", "hybrid_low"])
def test_pictures_of_any_layout_are_seen(name):
    (view,) = gf.Views([name], SHAPE)
    x = np.random.default_rng(0).standard_normal(SHAPE).astype(np.float32)
    record = np.zeros(SHAPE, np.dtype([("a", "u1"), ("x", "<f4")]))
    record["x"] = x

    class Labelled(np.ndarray):
        """A subclass."""

    for function in (view.apply, view.inverse, view.variance):
        for given in (x.astype(">f4"), record["x"], x.view(Labelled), np.ma.masked_array(x), x[::-1][::-1]):
            found = function(given)
            assert type(found) is np.ndarray
            assert found.dtype == np.float32
            np.testing.assert_array_equal(found, function(x))


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.ma.masked_greater(np.zeros(SHAPE), -1), "x is a masked array"),
        (torch.zeros(SHAPE).to_sparse(), "x must be a dense tensor with values, got one that is sparse_coo"),
        (torch.zeros(SHAPE, device="meta"), "x must be a dense tensor with values, got one that is on the device meta"),
        (torch.zeros(SHAPE).to(torch.float8_e4m3fn), "x must be of a real floating dtype, got torch.float8_e4m3fn"),
        (None, "x must be a numpy.ndarray or a torch.Tensor, got NoneType"),
    ],
)
def test_pictures_of_other_kinds_are_refused(x: Any, message: str):
    (view,) = gf.Views("flip", SHAPE)
    for function in (view.apply, view.inverse, view.variance):
        with pytest.raises(TypeError, match=f"view 'flip': {message}"):
            function(x)
