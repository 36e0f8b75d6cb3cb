"""The frequency-domain pyramid gives the image back; the same numbers whatever runs."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import genimg_fast as gf
from genimg_fast import reference

FIVE_SMOOTH, OTHER = (40, 48), (33, 47)


def random_image(*shape, dtype=torch.float32):
    return torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(dtype)


@pytest.mark.parametrize("is_complex", [False, True])
@pytest.mark.parametrize("order", [0, 3])
@pytest.mark.parametrize("shape", [(255, 255), (101, 77), (640, 480), (127, 131)])
def test_reconstructs(shape, order, is_complex):
    pyramid = gf.SteerablePyramidFreq(shape, order=order, is_complex=is_complex)
    for dtype, tolerance in [(torch.float32, 5e-6), (torch.float64, 1e-13)]:
        x = torch.rand(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(dtype)
        assert (pyramid.recon_pyr(pyramid(x)) - x).abs().max() <= tolerance
        array = x.numpy()
        assert abs(pyramid.recon_pyr(pyramid(array)) - array).max() <= tolerance


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_reconstructs_anything(data):
    shape = data.draw(st.tuples(st.integers(2, 90), st.integers(2, 90)), "shape")
    largest = gf.SteerablePyramidFreq(shape).num_scales
    height, order = data.draw(st.integers(0, largest), "height"), data.draw(st.integers(0, 15), "order")
    twidth, is_complex = data.draw(st.floats(0.01, 8), "twidth"), data.draw(st.booleans(), "is_complex")
    downsample, tight_frame = data.draw(st.booleans(), "downsample"), data.draw(st.booleans(), "tight_frame")
    # Complex pyramids of order 0 are refused with tight_frame.
    tight_frame = tight_frame and not (is_complex and order == 0)
    pyramid = gf.SteerablePyramidFreq(shape, height, order, twidth, is_complex, downsample, tight_frame)
    x = random_image(*shape, dtype=torch.float64)
    coefficients = pyramid(x)
    assert (pyramid.recon_pyr(coefficients) - x).abs().max() <= 1e-13
    assert (pyramid.recon_pyr(pyramid(x.float())) - x).abs().max() <= 2e-5
    # The parts of the image in each scale and orientation add up to it.
    parts = [pyramid.recon_pyr(coefficients, key) for key in coefficients]
    assert (sum(parts) - x).abs().max() <= 1e-13
    if pyramid.num_scales:
        bands = sum(pyramid.recon_pyr(coefficients, 0, b) for b in range(pyramid.num_orientations))
        assert (bands - pyramid.recon_pyr(coefficients, 0)).abs().max() <= 1e-13


@pytest.mark.parametrize("is_complex", [False, True])
@pytest.mark.parametrize("masks", ["exact", "lut"])
@pytest.mark.parametrize("shape", [FIVE_SMOOTH, OTHER, (26, 35)])
def test_equals_reference(device, shape, masks, is_complex):
    # Edited coefficients are no image's: synthesis is tested on what analysis cannot make.
    pyramid = gf.SteerablePyramidFreq(shape, 2, 2, is_complex=is_complex, masks=masks)
    generator = torch.Generator().manual_seed(0)
    coefficients = {
        key: torch.randn(value.shape, generator=generator, dtype=value.dtype)
        for key, value in pyramid(torch.zeros(2, *shape, dtype=torch.float64)).items()
    }
    on_device = {key: value.to(device.torch) for key, value in coefficients.items()}
    real = gf.SteerablePyramidFreq(shape, 2, 2, masks=masks)._backward
    for levels, bands in [
        ("all", "all"),
        ([0, "residual_lowpass"], [1]),
        (["residual_highpass", 1], [0, 2]),
        ([1], "all"),
    ]:
        subset = [1, 0b111, 0b111, 1]
        if levels != "all":
            subset = [bits if key in levels else 0 for key, bits in zip(coefficients, subset, strict=True)]
        if bands != "all":
            subset = [sum(1 << b for b in bands) if bits > 1 else bits for bits in subset]
        used = [value.real for value, bits in zip(coefficients.values(), subset, strict=True) if bits]
        expected = reference.steerable_freq_synthesis(used, real.pyramid, 1.0, subset, real.scales)
        image = pyramid.recon_pyr(on_device, levels, bands)
        torch.testing.assert_close(image.cpu(), expected, rtol=0, atol=1e-12)


def test_nothing_chosen_is_nothing(device):
    x = random_image(2, *FIVE_SMOOTH).to(device.torch)
    pyramid = gf.SteerablePyramidFreq(FIVE_SMOOTH, 2, 1)
    coefficients = pyramid(x)
    for levels, bands in [([], "all"), ([0, 1], [])]:
        image = pyramid.recon_pyr(coefficients, levels, bands)
        assert image.shape == x.shape
        assert image.dtype == x.dtype
        assert not image.any()


@pytest.mark.parametrize("is_complex", [False, True])
@pytest.mark.parametrize("shape", [(120, 96), (101, 77)])
def test_same_bits_for_any_number_of_threads(shape, is_complex):
    pyramid = gf.SteerablePyramidFreq(shape, order=2, is_complex=is_complex)
    x = random_image(3, *shape)
    before = torch.get_num_threads(), gf.get_num_threads()
    results = []
    try:
        for n in (1, 2, 3):
            torch.set_num_threads(n)
            gf.set_num_threads(n)
            for image in (x, x.numpy()):
                coefficients = pyramid(image)
                results.append([*coefficients.values(), pyramid.recon_pyr(coefficients)])
    finally:
        torch.set_num_threads(before[0])
        gf.set_num_threads(before[1])
    for more in (results[2:4], results[4:6]):
        for first, other in zip(results[:2], more, strict=True):
            for a, b in zip(first, other, strict=True):
                assert np.asarray(a).tobytes() == np.asarray(b).tobytes()


@pytest.mark.parametrize("isa", ["baseline", "v3", "v4", "v4x"])
def test_each_instruction_set(isa):
    code = """
import numpy as np, genimg_fast as gf
print(gf.build_info()["instruction_set"])
x = np.random.default_rng(0).standard_normal((2, 80, 77))
for width in (72, 77):
    for dtype, tolerance in ((np.float32, 1e-5), (np.float64, 1e-13)):
        for is_complex, masks, order, twidth in (0, "exact", 3, 1), (1, "exact", 2, 1.5), (1, "lut", 1, 1):
            image = x[:, :, :width].astype(dtype)
            pyramid = gf.SteerablePyramidFreq(image.shape[1:], 3, order, twidth, is_complex, masks=masks)
            coefficients = pyramid(image)
            print(*(float(abs(c).astype(float).sum()) for c in coefficients.values()))
            if masks == "exact":
                assert abs(pyramid.recon_pyr(coefficients) - image).max() < tolerance
"""

    def run(level):
        environment = {**os.environ, "GENIMG_FAST_ISA": level}
        done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
        name, *numbers = done.stdout.split()
        return name, np.array(numbers, float)

    name, numbers = run(isa)
    if name != isa:
        pytest.skip(f"this processor has {name}, not {isa}")
    np.testing.assert_allclose(numbers, run("baseline")[1], rtol=1e-5)


def test_arrays_do_not_import_torch():
    code = """
import sys, numpy as np, genimg_fast as gf
for shape in ((40, 48), (33, 47)):
    pyramid = gf.SteerablePyramidFreq(shape, is_complex=True)
    coefficients = pyramid(np.ones(shape))
    pyramid.recon_pyr(coefficients)
    pyramid.steer_coeffs(coefficients, [0.5])
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_kernels_serve_the_cpu(monkeypatch):
    def refuse(*_):
        raise AssertionError("the CPU reached the reference")

    for name in dir(reference):
        if name.startswith("steerable_freq_"):
            monkeypatch.setattr(reference, name, refuse)
    for shape in (FIVE_SMOOTH, OTHER):
        for options in ({}, {"is_complex": True}, {"masks": "lut"}, {"downsample": False}, {"twidth": 3.5}):
            pyramid = gf.SteerablePyramidFreq(shape, **options)
            for x in (torch.ones(shape, requires_grad=True), torch.ones(shape), np.ones(shape)):
                image = pyramid.recon_pyr(pyramid(x))
                if isinstance(x, torch.Tensor) and x.requires_grad:
                    image.sum().backward()


def test_reference_serves_other_devices(monkeypatch):
    from genimg_fast import _torch

    monkeypatch.setattr(_torch, "backend", lambda x: "reference")
    for is_complex in (False, True):
        pyramid = gf.SteerablePyramidFreq(OTHER, 2, 1, is_complex=is_complex)
        x = random_image(2, *OTHER).requires_grad_()
        image = pyramid.recon_pyr(pyramid(x), [0, "residual_lowpass"])
        (gradient,) = torch.autograd.grad(image.square().sum(), x)
        monkeypatch.undo()
        again = pyramid.recon_pyr(pyramid(x), [0, "residual_lowpass"])
        torch.testing.assert_close(image, again, rtol=0, atol=1e-5)
        torch.testing.assert_close(gradient, torch.autograd.grad(again.square().sum(), x)[0], rtol=0, atol=1e-5)
        monkeypatch.setattr(_torch, "backend", lambda x: "reference")
