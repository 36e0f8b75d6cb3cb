"""Visual Anagrams' names against the definitions of its views in torch, and its view objects through the adapter."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

import genimg_fast as gf

# The registry of dangeng/visual_anagrams.
NAMES = [
    "identity",
    "flip",
    "rotate_cw",
    "rotate_ccw",
    "rotate_180",
    "negate",
    "skew",
    "patch_permute",
    "pixel_permute",
    "jigsaw",
    "inner_circle",
    "square_hinge",
    "inner_circle_failure",
    "blur_failure",
    "white_balance_failure",
    "low_pass",
    "high_pass",
    "triple_low_pass",
    "triple_medium_pass",
    "triple_high_pass",
    "grayscale",
    "color",
    "motion",
    "motion_res",
    "scale",
]


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def gaussian(x: torch.Tensor, size: int, sigma: float) -> torch.Tensor:
    """Blur with edges that are mirrored about the outermost pixels, as torchvision's gaussian_blur."""
    taps = torch.arange(size, dtype=torch.float64) - size // 2
    kernel = torch.exp(-((taps / sigma) ** 2) / 2)
    kernel = kernel / kernel.sum()
    padded = functional.pad(x[:, None], [size // 2] * 4, mode="reflect")
    across = functional.conv2d(padded, kernel[None, None, None])
    return functional.conv2d(across, kernel[None, None, :, None])[:, 0]


def diagonal(x: torch.Tensor, size: int) -> torch.Tensor:
    kernel = torch.eye(size, dtype=torch.float64)[None, None] / size
    return functional.conv2d(x[:, None], kernel, padding=size // 2)[:, 0]


def filters(name: str, x: torch.Tensor, times: int) -> torch.Tensor:
    """Return what a view's inverse makes of noise, sizes growing with the height over 64."""

    def odd(size: int) -> int:
        return size * times + (times + 1) % 2

    if name in ("low_pass", "high_pass"):
        low = gaussian(x, odd(33), 2.0 * times)
        return low if name == "low_pass" else x - low
    if name.startswith("triple"):
        first = gaussian(x, odd(25), 1.0 * times)
        second = gaussian(first, odd(25), 2.0 * times)
        return {"low": second, "medium": first - second, "high": x - first}[name.split("_")[1]]
    if name.startswith("motion"):
        moved = diagonal(x, odd(7))
        return moved if name == "motion" else x - moved
    mean = x.mean(0, keepdim=True).expand_as(x)
    return {"grayscale": mean, "color": x - mean, "scale": x / 2}[name]


def test_all_names_are_known():
    assert set(gf.views.CATALOG) >= set(NAMES)


@pytest.mark.parametrize("name", [*NAMES[15:]])
@pytest.mark.parametrize("side", [64, 128])
def test_components_are_those_of_visual_anagrams(name, side):
    view, x = gf.view(name).bind((3, side, side)), noise(3, side, side)
    assert view.is_component
    torch.testing.assert_close(view.inverse(x), filters(name, x, side // 64), rtol=0, atol=1e-12)
    assert torch.equal(view.apply(x), x)
    assert torch.equal(view.variance(x), x)
    if side == 128:  # by name at a size, and scaled to it, are one
        scaled = gf.view(name).scaled(2).bind((3, side, side))
        torch.testing.assert_close(scaled.inverse(x), view.inverse(x), rtol=0, atol=1e-14)


@pytest.mark.parametrize(
    "pair", [("low_pass", "high_pass"), NAMES[17:20], ("grayscale", "color"), ("motion", "motion_res")]
)
def test_their_components_sum_to_the_picture(pair):
    views, x = gf.Views(pair, (3, 16, 24)), noise(3, 16, 24)
    assert views.factorized
    torch.testing.assert_close(sum(view.inverse(x) for view in views), x, rtol=0, atol=1e-12)


@pytest.mark.parametrize("antialias", [False, True])
def test_views_that_are_meant_to_fail(antialias):
    x = noise(3, 64, 64)
    view = gf.view("blur_failure", antialias=antialias).bind((3, 64, 64))
    small = functional.interpolate(x[None], (8, 8), mode="bilinear", antialias=antialias)
    wanted = functional.interpolate(small, (64, 64), mode="bilinear", antialias=antialias)[0]
    torch.testing.assert_close(view.apply(x), wanted, rtol=0, atol=1e-12)
    assert torch.equal(view.inverse(x), x)
    balance = gf.view("white_balance_failure").bind((3, 64, 64))
    torch.testing.assert_close(balance.apply(x), 1.5 * x)
    torch.testing.assert_close(balance.inverse(x), x / 1.5)
    turned = gf.view("inner_circle_failure").bind((3, 64, 64))
    y, column = np.mgrid[:64, :64] - 32.0
    inside = torch.from_numpy(y**2 + column**2 < 24**2)
    whole = gf.view("rotate", degrees=135).bind((3, 64, 64))
    for function, other in (
        (turned.apply, whole.apply),
        (turned.inverse, whole.inverse),
        (turned.variance, whole.inverse),
    ):
        torch.testing.assert_close(function(x), torch.where(inside, other(x), x))


def test_options_change_their_views():
    x = noise(3, 16, 16)
    for name, options in (
        ("low_pass", {"sigma": 3}), ("high_pass", {"kernel_size": 5}), ("triple_low_pass", {"sigma_1": 3}),
        ("triple_medium_pass", {"sigma_2": 3}), ("triple_high_pass", {"kernel_size": 3}), ("motion", {"size": 5}),
        ("motion_res", {"size": 5}), ("inner_circle_failure", {"angle": 90}), ("scale", {"factor": 0.3}),
        ("inner_circle_failure", {"interpolation": "nearest"}), ("white_balance_failure", {"factor": 2}),
    ):  # fmt: skip
        one, other = (gf.view(name, **given).bind((3, 16, 16)).inverse(x) for given in ({}, options))
        assert (one - other).abs().max() > 1e-3
    one, other = (gf.view("blur_failure", **given).bind((3, 16, 16)).apply(x) for given in ({}, {"factor": 4}))
    assert (one - other).abs().max() > 1e-3


# ---- Objects with view and inverse_view -----------------------------------------------------------------------------


class Upright:
    """As Visual Anagrams' views are: one picture at a time, noise and variance together, in place."""

    def view(self, im: torch.Tensor) -> torch.Tensor:
        assert im.ndim == 3
        return im.flip(-2)

    def inverse_view(self, noise: torch.Tensor) -> torch.Tensor:
        return noise.flip(-2)


class Negative(Upright):
    def view(self, im: torch.Tensor) -> torch.Tensor:
        return -im

    def inverse_view(self, noise: torch.Tensor) -> torch.Tensor:
        noise[:3] *= -1
        return noise


class Swapped(Upright):
    """Channels in another order, one negated, and turned."""

    def view(self, im: torch.Tensor) -> torch.Tensor:
        return torch.stack([-im[2], im[0], im[1]]).rot90(1, (-2, -1))

    def inverse_view(self, noise: torch.Tensor) -> torch.Tensor:
        back = noise.rot90(-1, (-2, -1))
        m, v = back[:3], back[3:]
        return torch.stack([m[1], m[2], -m[0], v[1], v[2], v[0]])


class Low(Upright):
    def view(self, im: torch.Tensor) -> torch.Tensor:
        return im

    def inverse_view(self, noise: torch.Tensor) -> torch.Tensor:
        noise[:3] = gaussian(noise[:3].double(), 5, 1.0).to(noise.dtype)
        return noise


class Mixed(Upright):
    """Orthogonal, and no permutation; its variance is turned."""

    def view(self, im: torch.Tensor) -> torch.Tensor:
        a, b = im.chunk(2, -1)
        return torch.cat([a + b, a - b], -1) / 2**0.5

    def inverse_view(self, noise: torch.Tensor) -> torch.Tensor:
        return torch.cat([self.view(noise[:3]), noise[3:].flip(-1)])


@pytest.mark.parametrize("kind", [Upright, Negative, Swapped, Low, Mixed])
@pytest.mark.parametrize("arrays", [False, True])
def test_view_objects_are_ours(kind, arrays):
    theirs, x = kind(), noise(2, 3, 8, 8)
    (view,) = gf.Views([theirs], (3, 8, 8))
    m, v = noise(2, 3, 8, 8, seed=1), noise(2, 3, 8, 8, seed=2)
    back = torch.stack([theirs.inverse_view(torch.cat(pair)) for pair in zip(m, v, strict=True)])

    def called(function: Any, given: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(function(given.numpy())) if arrays else function(given)

    before = x.clone()
    torch.testing.assert_close(called(view.apply, x), torch.stack([theirs.view(one) for one in x]), rtol=0, atol=0)
    torch.testing.assert_close(called(view.inverse, m), back[:, :3], rtol=0, atol=1e-12)
    torch.testing.assert_close(called(view.variance, v), back[:, 3:], rtol=0, atol=0)
    assert torch.equal(x, before)
    assert (view.row is not None) == (kind in (Upright, Negative, Swapped))
    assert view.is_component == (kind is Low)
    assert view.is_orthogonal


def test_view_objects_meet_ours_in_kernels_and_names():
    x = noise(2, 3, 8, 8)
    theirs = gf.Views([Upright(), gf.view(Negative()) @ "hflip"], (3, 8, 8))
    assert theirs.dense == ()
    assert theirs.names == ["Upright", "Negative @ hflip"]
    assert torch.equal(gf.apply_views(x, theirs), gf.apply_views(x, gf.Views(["flip", "negate @ hflip"], (3, 8, 8))))
    assert torch.equal(theirs.scaled(2)[0].apply(noise(3, 16, 16)), noise(3, 16, 16).flip(-2))


class Bent(Upright):
    def view(self, im: torch.Tensor) -> torch.Tensor:
        return im.abs()


class Broken(Upright):
    def view(self, im: torch.Tensor) -> torch.Tensor:
        raise IndexError("made for 64 x 64")


class Cropped(Upright):
    def view(self, im: torch.Tensor) -> torch.Tensor:
        return im[..., 1:]


class BentByHand:
    def apply(self, x: Any) -> Any:
        return abs(x)

    inverse = apply


@pytest.mark.parametrize(
    ("instance", "message"),
    [
        (Bent(), "'Bent' must be a linear map"),
        (Broken(), r"'Broken' does not take pictures \(3, 8, 8\): IndexError: made for 64 x 64"),
        (Cropped(), "'Cropped' does not take pictures"),
        (BentByHand(), "'BentByHand' must be a linear map"),
    ],
)
def test_objects_that_are_no_views_are_refused(instance, message):
    with pytest.raises(ValueError, match=message):
        gf.Views([instance], (3, 8, 8))


def test_classes_are_no_views():
    with pytest.raises(TypeError, match="a view must be a name, a View or an object"):
        gf.Views([Upright], (3, 8, 8))
    assert not gf.check_view(Bent(), (3, 8, 8)).linear
