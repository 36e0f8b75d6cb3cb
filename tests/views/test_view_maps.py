"""Orthogonal maps, interpolating views and components, against SciPy and closed forms."""

from __future__ import annotations

import math
import re
import warnings
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Device
from scipy import fft, linalg, ndimage

import genimg_fast as gf

SHAPE = (3, 16, 24)
FLOW = np.stack([1.3 * np.sin(np.indices((16, 24))[1] / 4), 0.8 * np.cos(np.indices((16, 24))[0] / 3)])
MASK = np.random.default_rng(0).random((16, 24))

ORTHOGONAL: list[tuple[str, dict[str, Any]]] = [
    ("hadamard", {}),
    ("hadamard", {"patch": 4}),
    ("dct", {}),
    ("dct", {"patch": None}),
    ("householder", {}),
    ("random_patch", {}),
    ("random_patch", {"patch": 2, "channels": True}),
]
PAIRS: list[list[tuple[str, dict[str, Any]]]] = [
    [("hybrid_low", {"sigma": 1.5}), ("hybrid_high", {"sigma": 1.5})],
    [(f"band_{band}", {"sigma_low": 3, "sigma_high": 0.7}) for band in ("low", "mid", "high")],
    [("grey", {}), ("colour", {})],
    [("motion_blur_part", {"length": 5, "degrees": 45}), ("motion_residual", {"length": 5, "degrees": 45})],
    [("mask", {"mask": MASK}), ("mask_complement", {"mask": MASK})],
    [("scale", {"factor": 0.3}), ("scale", {"factor": 0.7})],
]
INTERPOLATING: list[tuple[str, dict[str, Any]]] = [
    ("rotate", {"degrees": 30}),
    ("rotate", {"degrees": -100, "circle": True, "interpolation": "nearest"}),
    ("warp", {"flow": FLOW}),
    ("blur", {}),
    ("motion_blur", {"degrees": 60}),
]
DENSE = ORTHOGONAL + INTERPOLATING + [component for pair in PAIRS for component in pair]


def bound(name: str, options: dict[str, Any], shape: tuple[int, int, int] = SHAPE) -> gf.views.BoundView:
    return gf.view(name, **options).bind(shape)


def picture(*lead: int, shape: tuple[int, int, int] = SHAPE, dtype: Any = np.float64) -> np.ndarray:
    return np.random.default_rng(1).standard_normal((*lead, *shape)).astype(dtype)


def patches(x: np.ndarray, side: int) -> np.ndarray:
    """Return (C, i, j, side, side)."""
    c, h, w = x.shape
    return x.reshape(c, h // side, side, w // side, side).swapaxes(2, 3)


@pytest.mark.parametrize(("name", "options"), ORTHOGONAL)
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float32, 1e-6), (np.float64, 1e-12)])
def test_orthogonal_views_are_inverted(name, options, dtype, tolerance):
    view, x = bound(name, options), picture(2, dtype=dtype)
    y = view.apply(x)
    assert y.dtype == dtype
    for back in (view.inverse(y), view.apply(view.inverse(x))):
        assert np.linalg.norm(back - x) <= tolerance * np.linalg.norm(x)
    assert np.linalg.norm(y) == pytest.approx(np.linalg.norm(x), rel=tolerance)
    assert np.linalg.norm(y - x) > 0.02 * np.linalg.norm(x)


@pytest.mark.parametrize(("name", "options"), ORTHOGONAL)
def test_the_whole_matrix_is_orthogonal(name, options):
    shape = (2, 8, 16)
    report = gf.check_view(gf.view(name, **options), shape)
    assert report.orthogonality_error < 1e-12
    assert report.valid
    assert report.bijective is None
    assert report.noise_std == pytest.approx(1, abs=0.03)


@pytest.mark.parametrize(("name", "options"), ORTHOGONAL)
def test_the_gradient_of_an_orthogonal_view_is_its_inverse(name, options):
    view = bound(name, options)
    x, g = (torch.from_numpy(picture(2)) for _ in range(2))
    (gradient,) = torch.autograd.grad((view.apply(x.requires_grad_()) * g).sum(), x)
    torch.testing.assert_close(gradient, view.inverse(g), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("name", "options"), DENSE)
def test_tensors_and_arrays_agree(device: Device, name, options):
    view, x = bound(name, options), picture(2)
    for function in (view.apply, view.inverse, view.variance):
        wanted = function(x)
        for tensor in (torch.from_numpy(x), torch.from_numpy(x).transpose(0, 1).contiguous().transpose(0, 1)):
            got = function(tensor.to(device.torch))
            assert got.device.type == device.torch
            torch.testing.assert_close(got.cpu(), torch.from_numpy(wanted), rtol=1e-12, atol=1e-12)
        for half in (torch.float16, torch.bfloat16):
            narrow = torch.from_numpy(x).to(device.torch, half)
            got = function(narrow)
            assert got.dtype == half
            torch.testing.assert_close(got, function(narrow.double()).to(half), rtol=1e-2, atol=1e-4)
    assert view.apply(x.astype(np.float16)).dtype == np.float16
    np.testing.assert_array_equal(view.variance(x), x)


def test_what_a_view_keeps_in_inference_mode_serves_gradients_later():
    view = bound("dct", {})
    with torch.inference_mode():
        view.apply(torch.from_numpy(picture()))
    x = torch.from_numpy(picture()).requires_grad_()
    view.apply(x).square().sum().backward()
    torch.testing.assert_close(x.grad, 2 * x.detach(), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(
    "entry", ["skew @ negate", "flip @ dct", "hybrid_high", gf.view("rotate", degrees=20)], ids=str
)
def test_compilers_follow_views(entry):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        view = gf.Views([entry], SHAPE)[0]
    x = torch.from_numpy(picture(2))
    for function in (view.apply, view.inverse):
        torch._dynamo.reset()
        compiled = torch.compile(function, fullgraph=True, backend="eager")(x)
        np.testing.assert_array_equal(compiled, function(x))


# ---- Against other implementations ----------------------------------------------------------------------------------


def test_dct_is_scipys():
    x = picture()
    np.testing.assert_allclose(
        bound("dct", {"patch": None}).apply(x), fft.dctn(x, axes=(1, 2), norm="ortho"), atol=1e-12
    )
    wanted = fft.dctn(patches(x, 8), axes=(3, 4), norm="ortho")
    np.testing.assert_allclose(patches(bound("dct", {}).apply(x), 8), wanted, atol=1e-12)


def test_hadamard_is_scipys():
    x, matrix = picture(), linalg.hadamard(8) / math.sqrt(8)
    np.testing.assert_allclose(patches(bound("hadamard", {}).apply(x), 8), matrix @ patches(x, 8) @ matrix, atol=1e-12)


def test_householder_mirrors():
    """All that changes is along one direction, and that is reversed."""
    view, x = bound("householder", {"seed": 5}), picture(2)
    first, second = (view.apply(x) - x).reshape(2, -1)
    direction = first / np.linalg.norm(first)
    np.testing.assert_allclose(second - (second @ direction) * direction, 0, atol=1e-12)
    mirrored = view.apply(direction.reshape(SHAPE)).ravel()
    np.testing.assert_allclose(mirrored, -direction, atol=1e-12)


@pytest.mark.parametrize("channels", [False, True])
def test_random_patch_turns_every_patch_alike(channels):
    view = bound("random_patch", {"patch": 4, "channels": channels})
    x = np.zeros(SHAPE)
    x[1, 5, 6] = x[1, 9, 18] = 1  # the same place of two patches
    y = patches(view.apply(x), 4)
    np.testing.assert_array_equal(y[:, 1, 1], y[:, 2, 4])
    assert np.count_nonzero(y[:, 1, 1]) == (48 if channels else 16)
    assert np.count_nonzero(y) == 2 * np.count_nonzero(y[:, 1, 1])


def test_blur_is_scipys():
    x = picture()
    for sigma in (0.6, 2.0, 7.0):  # 7: wider than the picture
        wanted = ndimage.gaussian_filter(x, sigma, axes=(1, 2), mode="reflect", radius=math.ceil(4 * sigma))
        for name in ("blur", "hybrid_low"):
            np.testing.assert_allclose(bound(name, {"sigma": sigma}).inverse(x), wanted, atol=1e-12)


@pytest.mark.parametrize(("degrees", "axis"), [(0, 2), (90, 1)])
def test_motion_blur_is_a_mean_along_an_axis(degrees, axis):
    x = picture()
    wanted = ndimage.uniform_filter1d(x, 5, axis=axis, mode="reflect")
    got = bound("motion_blur", {"length": 5, "degrees": degrees}).apply(x)
    np.testing.assert_allclose(got, wanted, atol=1e-12)


def test_motion_blur_along_a_diagonal():
    x = np.zeros((1, 9, 9))
    x[0, 4, 4] = 1
    blurred = bound("motion_blur", {"length": 3, "degrees": 45}, x.shape).apply(x)
    np.testing.assert_allclose(blurred[0], np.fliplr(np.diag([0, 0, 0, 1, 1, 1, 0, 0, 0])) / 3, atol=1e-12)


@pytest.mark.parametrize("degrees", [30, -47.5, 200])
def test_rotation_is_scipys(degrees):
    x = picture()
    for order, interpolation in ((1, "bilinear"), (0, "nearest")):
        got = bound("rotate", {"degrees": degrees, "interpolation": interpolation})
        for sign, function in ((1, got.apply), (-1, got.inverse)):
            wanted = ndimage.rotate(x, sign * degrees, (1, 2), reshape=False, order=order, mode="grid-constant")
            np.testing.assert_allclose(function(x), wanted, atol=1e-10)


@pytest.mark.parametrize(("degrees", "name"), [(90, "rotate_ccw"), (-90, "rotate_cw"), (180, "rotate_180")])
@pytest.mark.parametrize("side", [7, 8])
def test_rotations_by_quarters_are_the_exact_ones(degrees, name, side):
    x = picture(shape=(3, side, side))
    np.testing.assert_allclose(gf.view("rotate", degrees=degrees)(x), gf.view(name)(x), atol=1e-12)


def test_rotation_in_a_circle_leaves_the_rest():
    x = picture()
    whole, circle = (bound("rotate", {"degrees": 30, "circle": c}).apply(x) for c in (False, True))
    y, column = np.indices((16, 24)) - np.array([7.5, 11.5])[:, None, None]
    inside = np.hypot(y, column) <= 8
    np.testing.assert_array_equal(circle[:, ~inside], x[:, ~inside])
    np.testing.assert_array_equal(circle[:, inside], whole[:, inside])


def test_warp_is_scipys_and_its_inverse_brings_pixels_back():
    x = picture()
    points = np.indices((16, 24)) + FLOW
    wanted = [ndimage.map_coordinates(plane, points, order=1, mode="grid-constant") for plane in x]
    view = bound("warp", {"flow": FLOW})
    np.testing.assert_allclose(view.apply(x), wanted, atol=1e-12)
    places = np.indices((16, 24)).astype(float)  # their warp is where pixels come from: its inverse is the places again
    there_and_back = bound("warp", {"flow": FLOW}, (2, 16, 24)).inverse(points)
    np.testing.assert_allclose(there_and_back[:, 4:-4, 4:-4], places[:, 4:-4, 4:-4], atol=1e-6)
    shifted = bound("warp", {"flow": np.broadcast_to([[[2]], [[-3]]], (2, 16, 24))})
    np.testing.assert_array_equal(shifted.apply(x)[:, :-2, 3:], x[:, 2:, :-3])
    np.testing.assert_array_equal(shifted.inverse(shifted.apply(x))[:, 2:, :-3], x[:, 2:, :-3])


# ---- What becomes of noise ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "options", "std"),
    [
        # A Gaussian's square sums to 1 / (4 pi sigma^2).
        ("blur", {"sigma": 4.0}, 1 / (2 * math.sqrt(math.pi) * 4)),
        ("motion_blur", {"length": 9}, 1 / 3),
        # The squares of bilinear weights sum to 4/9 on average; a turned square covers 2 / (1 + sin + cos) of itself.
        ("rotate", {"degrees": 30}, 2 / 3 * math.sqrt(2 / (1.5 + math.sqrt(0.75)))),
        ("rotate", {"degrees": 30, "interpolation": "nearest"}, math.sqrt(2 / (1.5 + math.sqrt(0.75)))),
        ("rotate", {"degrees": 30, "interpolation": "nearest", "circle": True}, 1.0),
    ],
)
def test_interpolating_views_change_noise_as_their_weights_say(name, options, std):
    shape = (1, 256, 256)
    report = gf.check_view(gf.view(name, **options), shape, n=16)
    assert report.noise_std == pytest.approx(std, rel=0.05)
    assert not report.valid
    assert report.noise_correlation > 0.02
    with pytest.warns(UserWarning, match=f"view .{name}.* does not keep white noise white") as said:
        gf.Views(["flip", gf.view(name, **options)], shape)
    (number,) = re.findall(r"becomes (\d\.\d\d)", str(said[0].message))
    assert float(number) == pytest.approx(std, abs=0.02)


def test_only_views_that_spoil_noise_warn():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name, options in (*ORTHOGONAL, *(component for pair in PAIRS for component in pair)):
            gf.Views([gf.view(name, **options) @ gf.view("flip")], SHAPE)
    with pytest.warns(UserWarning, match="flip @ blur"):
        gf.Views(["flip @ blur"], SHAPE)


# ---- Components -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: pair[0][0])
def test_components_sum_to_the_identity(pair):
    views = gf.Views([gf.view(name, **options) for name, options in pair], SHAPE)
    assert views.factorized
    assert views.dense == tuple(range(len(pair)))
    x = picture(2)
    parts = [view.inverse(x) for view in views]
    np.testing.assert_allclose(sum(parts), x, atol=1e-14)
    assert all(np.linalg.norm(part) > 0.05 * np.linalg.norm(x) for part in parts)
    for view in views:
        np.testing.assert_array_equal(view.apply(x), x)


def test_components_are_what_their_names_say():
    x = picture()
    part = {name: bound(name, options).inverse(x) for pair in PAIRS for name, options in pair}
    np.testing.assert_allclose(part["grey"], np.broadcast_to(x.mean(0), SHAPE), atol=1e-12)
    np.testing.assert_allclose(part["mask"], x * MASK, atol=1e-12)
    np.testing.assert_allclose(part["scale"], 0.7 * x, atol=1e-12)
    low, high = (ndimage.gaussian_filter(x, s, axes=(1, 2), mode="reflect", radius=math.ceil(4 * s)) for s in (3, 0.7))
    np.testing.assert_allclose(part["band_low"], low, atol=1e-12)
    np.testing.assert_allclose(part["band_mid"], high - low, atol=1e-12)
    moved = bound("motion_blur", {"length": 5, "degrees": 45}).apply(x)
    np.testing.assert_allclose(part["motion_blur_part"], moved, atol=1e-12)


def test_a_component_of_a_view():
    """The model sees the flipped picture; of its noise the low band comes back upright."""
    view = gf.Views(["hybrid_low @ flip"], SHAPE)
    assert view.factorized
    x = picture()
    np.testing.assert_array_equal(view[0].apply(x), x[:, ::-1])
    np.testing.assert_allclose(view[0].inverse(x), bound("hybrid_low", {}).inverse(x)[:, ::-1], atol=1e-12)
    np.testing.assert_array_equal(view[0].variance(x), x[:, ::-1])
    assert not gf.Views(["hybrid_low", "flip"], SHAPE).factorized
