"""What the frequency-domain pyramid refuses, and how it says so."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import genimg_fast as gf


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"image_shape": (1, 64)}, ValueError, "image_shape must be at least 2 pixels in both directions, got (1, 64)"),
        ({"image_shape": (64, 0)}, ValueError, "image_shape must be at least 2 pixels in both directions, got (64, 0)"),
        ({"image_shape": (64, -3)}, ValueError, "image_shape must be at least 2 pixels in both directions"),
        (
            {"image_shape": (3, 64, 64)},
            ValueError,
            "image_shape must be two integers, (height, width), got (3, 64, 64)",
        ),
        ({"image_shape": (64.5, 64)}, ValueError, "image_shape must be two integers"),
        ({"image_shape": 64}, ValueError, "image_shape must be two integers"),
        ({"height": 4}, ValueError, "height must be 'auto' or from 0 to 3 for image_shape (32, 48), got 4"),
        ({"height": -1}, ValueError, "height must be 'auto' or from 0 to 3"),
        ({"height": "max"}, TypeError, "height must be 'auto' or an integer, got 'max'"),
        ({"height": 2.5}, TypeError, "height must be 'auto' or an integer, got 2.5"),
        ({"order": 16}, ValueError, "order must be from 0 to 15, got 16"),
        ({"order": -1}, ValueError, "order must be from 0 to 15, got -1"),
        ({"order": 1.5}, TypeError, "order must be an integer, got 1.5"),
        ({"twidth": 0}, ValueError, "twidth must be positive and finite, got 0"),
        ({"twidth": -1.0}, ValueError, "twidth must be positive and finite, got -1.0"),
        ({"twidth": math.nan}, ValueError, "twidth must be positive and finite, got nan"),
        ({"twidth": math.inf}, ValueError, "twidth must be positive and finite, got inf"),
        ({"twidth": "wide"}, TypeError, "twidth must be a number, got 'wide'"),
        ({"masks": "table"}, ValueError, "masks must be 'exact' or 'lut', got 'table'"),
    ],
)
def test_construction(arguments, error, message):
    with pytest.raises(error) as caught:
        gf.SteerablePyramidFreq(**{"image_shape": (32, 48), **arguments})
    assert message in str(caught.value)


def test_integers_of_numpy_are_integers():
    pyramid = gf.SteerablePyramidFreq(np.array([32, 48]), np.int64(2), np.int32(1), np.float32(0.5))
    assert pyramid.image_shape == (32, 48)
    assert (pyramid.num_scales, pyramid.order, pyramid.twidth) == (2, 1, 0.5)
    assert gf.SteerablePyramidFreq(torch.Size([2, 3])).num_scales == 0


@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        (np.zeros((48, 32)), ValueError, "x must have the shape (..., 32, 48), got (48, 32)"),
        (np.zeros(48), ValueError, "x must have the shape (..., 32, 48), got (48,)"),
        (torch.zeros(2, 32, 47), ValueError, "x must have the shape (..., 32, 48), got (2, 32, 47)"),
        (np.zeros((32, 48), np.uint8), TypeError, "x must hold float16, float32 or float64, got uint8"),
        (np.zeros((32, 48), complex), TypeError, "x must hold float16, float32 or float64, got complex128"),
        (np.zeros((32, 48), bool), TypeError, "got bool"),
        (
            torch.zeros(32, 48, dtype=torch.int64),
            TypeError,
            "x must hold float16, bfloat16, float32 or float64, got torch.int64",
        ),
        (torch.zeros(32, 48, dtype=torch.complex64), TypeError, "got torch.complex64"),
        ([[0.0] * 48] * 32, TypeError, "x must be a numpy.ndarray or a torch.Tensor, got list"),
        (None, TypeError, "x must be a numpy.ndarray or a torch.Tensor, got NoneType"),
    ],
)
def test_images(x, error, message):
    with pytest.raises(error) as caught:
        gf.SteerablePyramidFreq((32, 48))(x)
    assert message in str(caught.value)


@pytest.mark.parametrize("scales", [[3], [-1], ["highpass"], 7, "all", [True], [0.0, None]])
def test_scales(scales):
    pyramid = gf.SteerablePyramidFreq((32, 48), 3)
    with pytest.raises(
        ValueError, match=r"scales must be among \['residual_highpass', 0, 1, 2, 'residual_lowpass'\], got"
    ):
        pyramid(np.zeros((32, 48)), scales)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"levels": [3]}, "levels must be among ['residual_highpass', 0, 1, 'residual_lowpass'], got 3"),
        ({"levels": "most"}, "levels must be among"),
        ({"levels": [0, "residual"]}, "levels must be among"),
        ({"bands": [2]}, "bands must be among 0 to 1 or 'all', got 2"),
        ({"bands": [-1]}, "bands must be among 0 to 1 or 'all', got -1"),
        ({"bands": 5}, "bands must be among 0 to 1 or 'all', got 5"),
        ({"bands": "some"}, "bands must be among 0 to 1 or 'all', got 'some'"),
    ],
)
def test_levels_and_bands(arguments, message):
    pyramid = gf.SteerablePyramidFreq((32, 48), 2, 1)
    coefficients = pyramid(np.zeros((32, 48)))
    with pytest.raises(ValueError) as caught:
        pyramid.recon_pyr(coefficients, **arguments)
    assert message in str(caught.value)


def test_single_levels_and_bands_need_no_list():
    pyramid = gf.SteerablePyramidFreq((32, 48), 2, 1)
    coefficients = pyramid(np.random.default_rng(0).standard_normal((32, 48)))
    expected = pyramid.recon_pyr(coefficients, [1], [0])
    np.testing.assert_array_equal(pyramid.recon_pyr(coefficients, 1, 0), expected)
    assert expected.any()


def test_coefficients():
    pyramid = gf.SteerablePyramidFreq((32, 48), 2, 1)
    complete = pyramid(torch.zeros(3, 32, 48))

    def refused(error, message, **changes):
        changed = {k: changes.get(f"at_{k}", v) for k, v in complete.items() if changes.get(f"at_{k}", v) is not None}
        with pytest.raises(error) as caught:
            pyramid.recon_pyr(changed)
        assert message in str(caught.value)

    missing = "pyr_coeffs must have the scales ['residual_highpass', 0, 1, 'residual_lowpass'], got"
    with pytest.raises(ValueError, match="pyr_coeffs must have the scales"):
        pyramid.recon_pyr({key: value for key, value in complete.items() if key != 1})
    with pytest.raises(ValueError) as caught:
        pyramid.recon_pyr({})
    assert missing in str(caught.value)
    with pytest.raises(TypeError, match="pyr_coeffs must be a dict of coefficients, got list"):
        pyramid.recon_pyr(list(complete.values()))
    refused(
        ValueError,
        "pyr_coeffs[1] must have the shape (3, 2, 16, 24), got (3, 2, 16, 23)",
        at_1=torch.zeros(3, 2, 16, 23),
    )
    refused(
        ValueError,
        "pyr_coeffs[0] must have the shape (3, 2, 32, 48), got (1, 2, 32, 48)",
        at_0=torch.zeros(1, 2, 32, 48),
    )
    refused(TypeError, "pyr_coeffs[0] must hold float16", at_0=torch.zeros(3, 2, 32, 48, dtype=torch.complex64))
    refused(TypeError, "pyr_coeffs[0] must be a numpy.ndarray or a torch.Tensor, got float", at_0=1.0)
    refused(
        ValueError,
        "pyr_coeffs[0] must be on cpu, like the other coefficients, got meta",
        at_0=torch.zeros(3, 2, 32, 48, device="meta"),
    )
    refused(
        TypeError,
        "pyr_coeffs[1] must be of the kind of the other coefficients, tensors, got arrays",
        at_1=np.zeros((3, 2, 16, 24), np.float32),
    )
    complex_ = gf.SteerablePyramidFreq((32, 48), 2, 1, is_complex=True)
    with pytest.raises(TypeError, match=r"pyr_coeffs\[0\] must hold complex64 or complex128, got torch.float32"):
        complex_.recon_pyr(complete)


def test_reconstruction_needs_only_what_it_uses():
    pyramid = gf.SteerablePyramidFreq((32, 48), 2, 1)
    coefficients = pyramid(torch.ones(32, 48))
    image = pyramid.recon_pyr({"residual_lowpass": coefficients["residual_lowpass"]}, "residual_lowpass")
    torch.testing.assert_close(image, torch.ones(32, 48))


def test_mixed_precision_is_promoted():
    pyramid = gf.SteerablePyramidFreq((32, 48), 1, 1)
    coefficients = pyramid(torch.ones(32, 48))
    coefficients[0] = coefficients[0].double()
    assert pyramid.recon_pyr(coefficients).dtype == torch.float64
    assert pyramid.recon_pyr(coefficients, ["residual_lowpass"]).dtype == torch.float32


def test_extreme_transitions():
    x = np.random.default_rng(0).standard_normal((33, 48))
    for twidth in (1e-300, 1e-9, 40.0, 1e6):
        pyramid = gf.SteerablePyramidFreq(x.shape, 2, 2, twidth)
        for image, tolerance in ((x, 1e-12), (x.astype(np.float32), 1e-5)):
            assert abs(pyramid.recon_pyr(pyramid(image)) - image).max() < tolerance


def test_description():
    pyramid = gf.SteerablePyramidFreq((32, 48), order=2, twidth=0.5, masks="lut")
    assert repr(pyramid) == (
        "SteerablePyramidFreq((32, 48), height=3, order=2, twidth=0.5, is_complex=False, downsample=True, "
        "tight_frame=False, masks='lut')"
    )
