"""Derivatives of the frequency-domain pyramid, vmap, torch.compile and the operators' contracts."""

from __future__ import annotations

import pytest
import torch

import genimg_fast as gf
from genimg_fast import _torch

FIVE_SMOOTH, OTHER = (8, 9), (9, 11)
SHAPES = [FIVE_SMOOTH, OTHER]


def random_image(*shape, dtype=torch.float64):
    return torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(dtype)


def coefficient_function(pyramid, x):
    """Return recon_pyr as a function of the coefficients, one argument each, and coefficients to differentiate at."""
    coefficients = pyramid(x)

    def reconstruct(*values, levels="all", bands="all"):
        return pyramid.recon_pyr(dict(zip(coefficients, values, strict=True)), levels, bands)

    return reconstruct, [value.detach().requires_grad_() for value in coefficients.values()]


@pytest.mark.parametrize("is_complex", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_gradients_of_analysis(device, shape, is_complex):
    pyramid = gf.SteerablePyramidFreq(shape, 1, 1, is_complex=is_complex)
    x = random_image(1, *shape).to(device.torch).requires_grad_()
    for scales in (None, [0]):

        def coefficients(x, scales=scales):
            return tuple(pyramid(x, scales).values())

        assert torch.autograd.gradcheck(coefficients, x)
        assert torch.autograd.gradgradcheck(lambda x: tuple(c**2 for c in coefficients(x)), x)


@pytest.mark.parametrize("is_complex", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_gradients_of_synthesis(device, shape, is_complex):
    pyramid = gf.SteerablePyramidFreq(shape, 1, 1, is_complex=is_complex)
    reconstruct, values = coefficient_function(pyramid, random_image(1, *shape).to(device.torch))
    assert torch.autograd.gradcheck(reconstruct, values)
    assert torch.autograd.gradgradcheck(lambda *values: reconstruct(*(v**2 for v in values)), values)
    image = reconstruct(*values, levels=[0], bands=[1])
    gradients = torch.autograd.grad(image.square().sum(), values, allow_unused=True)
    assert [g is not None and bool(g.any()) for g in gradients] == [False, True, False]
    assert not gradients[1][:, 0].any()


def test_gradients_of_tables_and_scales(device):
    for options in ({"masks": "lut"}, {"downsample": False}, {"tight_frame": True}, {"twidth": 2}):
        for shape in SHAPES:
            pyramid = gf.SteerablePyramidFreq(shape, 1, 2, is_complex=True, **options)
            x = random_image(*shape).to(device.torch).requires_grad_()
            assert torch.autograd.gradcheck(lambda x, p=pyramid: p.recon_pyr(p(x)), x)
            assert torch.autograd.gradcheck(lambda x, p=pyramid: p(x)[0], x)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_gradient_of_half_types(device, dtype):
    pyramid = gf.SteerablePyramidFreq(OTHER, 1, 1, is_complex=True)
    x = random_image(*OTHER, dtype=dtype).to(device.torch).requires_grad_()
    (gradient,) = torch.autograd.grad(pyramid(x)[0].abs().square().sum(), x)
    y = x.detach().double().requires_grad_()
    (expected,) = torch.autograd.grad(pyramid(y)[0].abs().square().sum(), y)
    assert gradient.dtype == dtype
    torch.testing.assert_close(gradient.double(), expected, rtol=0.02, atol=0.02)


@pytest.mark.parametrize("is_complex", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_torch_func(device, shape, is_complex):
    pyramid = gf.SteerablePyramidFreq(shape, 1, 1, is_complex=is_complex)
    x = random_image(3, *shape).to(device.torch)

    def loss(x):
        coefficients = pyramid(x)
        return pyramid.recon_pyr({k: v**2 for k, v in coefficients.items()}).square().sum()

    def gradient(x):
        x = x.detach().requires_grad_()
        return torch.autograd.grad(loss(x), x)[0]

    for key, value in torch.func.vmap(pyramid)(x).items():
        torch.testing.assert_close(value, pyramid(x)[key], rtol=0, atol=1e-13)
    expected = gradient(x)
    torch.testing.assert_close(torch.func.vmap(torch.func.grad(loss))(x), expected)
    torch.testing.assert_close(torch.func.jacfwd(loss)(x), expected)
    direction = random_image(4, *x.shape)[3].to(device.torch)
    hessian = torch.func.hessian(loss)(x[0])
    product = torch.einsum("hwij,ij->hw", hessian, direction[0])
    small = 1e-5 * direction[:1]
    numeric = (gradient(x[:1] + small) - gradient(x[:1] - small)) / 2e-5
    torch.testing.assert_close(product, numeric[0], rtol=1e-5, atol=1e-6)


def test_vmap_of_synthesis_over_some_coefficients(device):
    for shape in SHAPES:
        pyramid = gf.SteerablePyramidFreq(shape, 1, 1)
        x = random_image(3, *shape).to(device.torch)
        coefficients = pyramid(x)
        lowpass = coefficients["residual_lowpass"][0]

        def reconstruct(highpass, bands, pyramid=pyramid, lowpass=lowpass):
            return pyramid.recon_pyr({"residual_highpass": highpass, 0: bands, "residual_lowpass": lowpass})

        images = torch.func.vmap(reconstruct)(coefficients["residual_highpass"], coefficients[0])
        for i, image in enumerate(images):
            expected = reconstruct(coefficients["residual_highpass"][i], coefficients[0][i])
            torch.testing.assert_close(image, expected, rtol=0, atol=1e-13)


@pytest.mark.filterwarnings("ignore:Torchinductor does not support code generation for complex operators")
@pytest.mark.parametrize("is_complex", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_compile(shape, is_complex):
    pyramid = gf.SteerablePyramidFreq(shape, 1, 1, is_complex=is_complex)

    def loss(x):
        coefficients = pyramid(2 * x)
        return pyramid.recon_pyr(coefficients, [0, "residual_lowpass"]).square().sum() + coefficients[0].abs().sum()

    compiled = torch.compile(loss, fullgraph=True)
    x = random_image(2, *shape, dtype=torch.float32)
    torch.testing.assert_close(compiled(x), loss(x))
    x.requires_grad_()
    (gradient,) = torch.autograd.grad(compiled(x), x)
    torch.testing.assert_close(gradient, torch.autograd.grad(loss(x), x)[0])


def test_autocast(device):
    for shape in SHAPES:
        pyramid = gf.SteerablePyramidFreq(shape, 1, 1)
        x = random_image(2, *shape, dtype=torch.float32).to(device.torch)
        expected = pyramid(x)
        with torch.autocast(device.torch, torch.bfloat16):
            coefficients = pyramid(x)
            image = pyramid.recon_pyr(coefficients)
        for key, value in coefficients.items():
            torch.testing.assert_close(value, expected[key], rtol=0, atol=0)
        torch.testing.assert_close(image, x, rtol=0, atol=5e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("is_complex", [False, True])
def test_operators(device, is_complex, dtype):
    pyramid = gf.SteerablePyramidFreq((12, 15), 1, 1, is_complex=is_complex)
    x = random_image(2, 12, 15, dtype=dtype).to(device.torch)
    pyramid(x)  # registers the operators' shapes
    ops, every = _torch.ops(), pyramid._forward.arguments
    for subset in ((1, 0b11, 1), (0, 0b10, 0)):
        arguments = (*every[:2], subset, every[3])
        spectrum = torch.fft.rfft2(x)
        torch.library.opcheck(ops.steerable_freq_analysis_masks.default, (spectrum, *arguments))
        spectra = ops.steerable_freq_analysis_masks(spectrum, *arguments)
        torch.library.opcheck(ops.steerable_freq_synthesis_masks.default, (spectra, *arguments))
        if device.name != "cpu":
            continue
        torch.library.opcheck(ops.steerable_freq_analysis.default, (x, *arguments))
        coefficients = ops.steerable_freq_analysis(x, *arguments)
        for real_part_only in {False, is_complex}:
            torch.library.opcheck(ops.steerable_freq_synthesis.default, (coefficients, *arguments, real_part_only))


def test_bands_outside_a_subset_are_zero(device):
    x = random_image(1, 12, 15).to(device.torch)
    every = gf.SteerablePyramidFreq((12, 15), 1, 2)._forward.arguments
    op = _torch.ops().steerable_freq_analysis_masks
    (bands,) = op(torch.fft.rfft2(x), *every[:2], (0, 0b101, 0), every[3])
    assert [bool(band.any()) for band in bands[0]] == [True, False, True]


def test_module():
    x = random_image(1, 2, 16, 20)
    pyramid = gf.SteerablePyramidFreq((16, 20), 1, 2, is_complex=True)
    module = gf.nn.SteerablePyramidFreq((16, 20), 1, 2, is_complex=True)
    model = torch.nn.Sequential(torch.nn.Identity(), module).to(torch.float64)
    assert list(model.state_dict()) == []
    coefficients = model(x)
    for key, value in pyramid(x).items():
        torch.testing.assert_close(coefficients[key], value, rtol=0, atol=0)
    torch.testing.assert_close(module.recon_pyr(coefficients), x, rtol=0, atol=1e-13)
    assert list(module(x, [0])) == [0]
    assert module.num_orientations == 3
    assert "SteerablePyramidFreq((16, 20), height=1, order=2" in repr(model)
    with pytest.raises(AttributeError, match="no_such_thing"):
        _ = module.no_such_thing
