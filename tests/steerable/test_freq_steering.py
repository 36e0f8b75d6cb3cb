"""Steering of the frequency-domain pyramid, and its coefficients as one tensor."""

from __future__ import annotations

import itertools
import math
import warnings

import numpy as np
import pytest
import torch

import genimg_fast as gf


def random_image(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize("is_complex", [False, True])
@pytest.mark.parametrize("order", [0, 1, 2, 5])
def test_steering_to_the_own_orientations(device, order, is_complex):
    for shape in ((40, 48), (33, 47)):
        pyramid = gf.SteerablePyramidFreq(shape, 2, order, is_complex=is_complex)
        coefficients = pyramid(random_image(2, 3, *shape).to(device.torch))
        angles = np.pi * np.arange(order + 1) / (order + 1)
        steered, weights = pyramid.steer_coeffs(coefficients, angles)
        assert list(steered) == list(weights) == [0, 1]
        for level in range(2):
            torch.testing.assert_close(steered[level], coefficients[level], rtol=0, atol=1e-12)
            torch.testing.assert_close(weights[level].cpu(), torch.eye(order + 1, dtype=torch.float64))


@pytest.mark.parametrize("is_complex", [False, True])
@pytest.mark.parametrize("angle", [0.3, 1.9, -2.6])
def test_steering_turns_the_filter(angle, is_complex):
    """The steered band of a plane wave is the response of the turned filter."""
    shape, (kx, ky), order = (48, 60), (5, 4), 3
    y, x = np.meshgrid(np.arange(shape[0]) / shape[0], np.arange(shape[1]) / shape[1], indexing="ij")
    phase = 2 * np.pi * (kx * x + ky * y)
    pyramid = gf.SteerablePyramidFreq(shape, 1, order, is_complex=is_complex)
    coefficients = pyramid(np.cos(phase))
    steered, _ = pyramid.steer_coeffs(coefficients, [angle])
    direction = math.atan2(ky / shape[0], kx / shape[1])
    # Band 0 has the angular factor cos(direction)^order: that of the turned filter over it is known.
    directional = math.cos(direction - angle)
    expected = coefficients[0][0].real * (directional / math.cos(direction)) ** order
    np.testing.assert_allclose(steered[0][0].real, expected, atol=1e-13)
    if is_complex:
        hilbert = coefficients[0][0].imag * (directional / math.cos(direction)) ** order * np.sign(directional)
        np.testing.assert_allclose(steered[0][0].imag, hilbert, atol=1e-13)


def test_steering_needs_no_residuals_and_has_gradients():
    for is_complex in (False, True):
        pyramid = gf.SteerablePyramidFreq((16, 20), 1, 2, is_complex=is_complex)
        bands = pyramid(random_image(1, 16, 20), [0])[0].requires_grad_()
        assert torch.autograd.gradcheck(lambda bands, p=pyramid: p.steer_coeffs({0: bands}, [0.4, 2.0])[0][0], bands)


def test_steering_keeps_half_types():
    pyramid = gf.SteerablePyramidFreq((16, 20), 1, 2)
    coefficients = pyramid(random_image(1, 16, 20).half())
    steered, _ = pyramid.steer_coeffs(coefficients, [math.pi / 3])
    assert steered[0].dtype == torch.float16
    torch.testing.assert_close(steered[0][:, 0], coefficients[0][:, 1], rtol=0, atol=1e-2)


@pytest.mark.peer
@pytest.mark.parametrize("even_phase", [False, True])
@pytest.mark.parametrize("order", [0, 1, 2, 3])
def test_plenoptic_steering(order, even_phase):
    plenoptic = pytest.importorskip("plenoptic")
    x = random_image(1, 2, 32, 48).float()
    theirs = plenoptic.process.SteerablePyramidFreq((32, 48), 2, order)
    coefficients = theirs(x)
    angles = [0.0, 0.7, 2.0, 4.0]
    expected = theirs.steer_coeffs(coefficients, angles, even_phase)
    actual = gf.SteerablePyramidFreq((32, 48), 2, order).steer_coeffs(coefficients, angles, even_phase)
    for ours, peers in zip(actual, expected, strict=True):
        assert list(ours) == list(peers)
        for level, value in peers.items():
            torch.testing.assert_close(ours[level], value, rtol=0, atol=1e-4)


def cases():
    return [
        (c, s, scales)
        for c, s in [(False, False), (True, False), (True, True)]
        for scales in (None, [0, 1], ["residual_highpass", 1], ["residual_lowpass", "residual_highpass"])
    ]


@pytest.mark.parametrize(("is_complex", "split_complex", "scales"), cases())
def test_one_tensor_and_back(is_complex, split_complex, scales):
    pyramid = gf.SteerablePyramidFreq((16, 20), 2, 2, is_complex=is_complex, downsample=False)
    for x in (random_image(2, 3, 16, 20), random_image(2, 3, 16, 20).numpy()):
        coefficients = pyramid(x, scales)
        tensor, info = pyramid.convert_pyr_to_tensor(coefficients, split_complex)
        assert type(tensor) is type(x)
        per_band = 2 if split_complex else 1
        per_channel = sum(1 if isinstance(key, str) else 3 * per_band for key in coefficients)
        assert tensor.shape == (2, 3 * per_channel, 16, 20)
        back = pyramid.convert_tensor_to_pyr(tensor, *info)
        assert list(back) == list(coefficients)
        for key, value in coefficients.items():
            np.testing.assert_array_equal(np.asarray(back[key]), np.asarray(value))
            assert back[key].dtype == value.dtype


@pytest.mark.peer
@pytest.mark.parametrize(("is_complex", "split_complex", "scales"), cases())
def test_plenoptic_tensor(is_complex, split_complex, scales):
    plenoptic = pytest.importorskip("plenoptic").process.SteerablePyramidFreq
    coefficients = plenoptic((16, 24), 2, 2, is_complex=is_complex, downsample=False)(
        random_image(2, 3, 16, 24).float(), scales
    )
    expected, info = plenoptic.convert_pyr_to_tensor(coefficients, split_complex)
    tensor, ours = gf.SteerablePyramidFreq.convert_pyr_to_tensor(coefficients, split_complex)
    assert torch.equal(tensor, expected)
    assert ours[:2] == info[:2]
    for a, b in itertools.chain(
        plenoptic.convert_tensor_to_pyr(tensor, *info).items(),
        gf.SteerablePyramidFreq.convert_tensor_to_pyr(tensor, *info).items(),
    ):
        assert torch.equal(coefficients[a], b)


def test_wrong_arguments():
    pyramid = gf.SteerablePyramidFreq((16, 20), 2, 2)
    coefficients = pyramid(random_image(1, 16, 20))
    with pytest.raises(ValueError, match="angles must be finite"):
        pyramid.steer_coeffs(coefficients, [0.0, math.nan])
    with pytest.raises(ValueError, match="pyr_coeffs must have the scales"):
        pyramid.steer_coeffs({0: coefficients[0]}, [0.0])
    with pytest.raises(ValueError, match="same size at all scales, as those of a pyramid with downsample=False"):
        pyramid.convert_pyr_to_tensor(coefficients)
    with pytest.raises(ValueError, match="at least one scale"):
        pyramid.convert_pyr_to_tensor({})
    flat = gf.SteerablePyramidFreq((16, 20), 2, 2, downsample=False)
    with pytest.raises(ValueError, match=r"\(\.\.\., channel, height, width\)"):
        flat.convert_pyr_to_tensor(flat(random_image(16, 20)))
    with pytest.raises(TypeError, match="split_complex=True needs complex bands"):
        flat.convert_pyr_to_tensor(flat(random_image(1, 16, 20)), split_complex=True)
    tensor, info = flat.convert_pyr_to_tensor(flat(random_image(1, 16, 20)))
    with pytest.raises(ValueError, match="pyr_tensor must have 8 channels"):
        flat.convert_tensor_to_pyr(tensor[:-1], *info)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        flat.steer_coeffs(flat(random_image(1, 16, 20)), [0.0])
