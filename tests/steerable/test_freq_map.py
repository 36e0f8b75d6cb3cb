"""What the maps behind the frequency-domain pyramid have beyond its public coefficients.

Those are oversampled levels, and what the levels from one on reconstruct.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch

import genimg_fast as gf
from genimg_fast import _numpy, _torch, reference
from genimg_fast.steerable import _freq_numpy, _freq_torch

# The levels of the odd sizes are odd and even in turn: 51, 26, 13; 35, 18, 9.
EVEN, ODD = [(40, 48), (24, 52)], [(33, 47), (51, 22), (26, 35)]
# pyrtools' grid has DC at its centre for even sizes only.
SYMMETRIC = [("exact", EVEN + ODD), ("lut", EVEN)]
EVERY = [("exact", EVEN + ODD), ("lut", EVEN + ODD)]


def random_image(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def forward_map(shape, levels=2, order=2, oversampling=0, **options):
    m = gf.SteerablePyramidFreq(shape, levels, order, **options)._forward
    return dataclasses.replace(m, pyramid=(*m.pyramid[:5], oversampling, m.pyramid[6]))


def ways(m):
    """Return the map as its transforms are done: by the kernels too, where they can, and by a library."""
    return [dataclasses.replace(m, fused=fused) for fused in {m.fused, False}]


def through_both_doors(m, image):
    yield _freq_torch.analysis(m, image)
    if image.device.type == "cpu":
        yield [torch.from_numpy(c) for c in _freq_numpy.analysis(m, image.cpu().numpy())]


def on_grid(x, size):
    """Return images (..., h, w) on a grid of at least, or at most, their size: their spectrum padded, or cropped."""
    spectrum = torch.fft.fft2(x, norm="forward")
    shared = [min(n, m) for n, m in zip(x.shape[-2:], size, strict=True)]
    rows, columns = (torch.fft.fftfreq(n, 1 / n).round().long() for n in shared)
    result = torch.zeros((*x.shape[:-2], *size), dtype=spectrum.dtype)
    result[..., (rows % size[0])[:, None], columns % size[1]] = spectrum[..., rows[:, None], columns]
    on_new_grid = torch.fft.ifft2(result, norm="forward")
    return on_new_grid if x.is_complex() else on_new_grid.real


def assert_equals_reference(m, image, tolerance=1e-12):
    expected = reference.steerable_freq_analysis(image.double().cpu(), *m.arguments)
    for output, want in zip(_freq_torch.analysis(m, image), expected, strict=True):
        assert (output.cpu() - want).abs().max() <= tolerance * want.abs().max()
    back = _freq_torch.synthesis(
        m, [_freq_torch.working(c, _freq_torch.is_double(image)).to(image.device) for c in expected]
    )
    again = reference.steerable_freq_synthesis(expected, *m.arguments)
    assert (back.cpu() - again).abs().max() <= tolerance * again.abs().max()


def assert_adjoint(m, image):
    """<A x, y> = <x, A' y> with y of no image."""
    generator = torch.Generator().manual_seed(1)
    outputs = _freq_torch.analysis(m, image)
    values = [torch.randn(c.shape, generator=generator, dtype=torch.float64).to(image.device) for c in outputs]
    values = [torch.complex(y, y.flip(-1) ** 2) if c.is_complex() else y for c, y in zip(outputs, values, strict=True)]
    expected = sum((c.conj() * y).real.sum() for c, y in zip(outputs, values, strict=True))
    torch.testing.assert_close((image * _freq_torch.synthesis(m, values)).sum(), expected, rtol=1e-11, atol=1e-11)
    if image.device.type == "cpu":
        back = _freq_numpy.synthesis(m, [y.numpy() for y in values])
        np.testing.assert_allclose((image.numpy() * back).sum(), expected, rtol=1e-11, atol=1e-11)


# ---------------------------------------------------------------------------------------------------------------------
# Oversampled levels
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("octaves", [1, 2, 9])
@pytest.mark.parametrize("is_complex", [False, True])
@pytest.mark.parametrize(("masks", "shapes"), SYMMETRIC)
def test_oversampled_bands_are_padded_spectra(device, masks, shapes, is_complex, octaves):
    for shape in shapes:
        image = random_image(2, *shape).to(device.torch)
        options = {"levels": 3 if min(shape) >= 32 else 2, "is_complex": is_complex, "masks": masks}
        usual = forward_map(shape, **options)
        expected = [c.cpu() for c in _freq_torch.analysis(usual, image)]
        for m in ways(forward_map(shape, **options, oversampling=octaves)):
            sizes = [shape, *(usual.size(max(k - octaves, 0)) for k in range(1, len(m.subset)))]
            assert [m.size(k) for k in range(len(m.subset))] == sizes
            for outputs in through_both_doors(m, image):
                for output, want, size in zip(outputs, expected, sizes, strict=True):
                    want = on_grid(want, size) if size != want.shape[-2:] else want
                    torch.testing.assert_close(output.cpu(), want, rtol=0, atol=1e-12 * want.abs().max().item())


@pytest.mark.parametrize("is_complex", [False, True])
@pytest.mark.parametrize(("masks", "shapes"), EVERY)
def test_oversampled_maps_are_adjoint_and_equal_the_reference(device, masks, shapes, is_complex):
    for shape in shapes:
        image = random_image(2, *shape).to(device.torch)
        for m in ways(forward_map(shape, is_complex=is_complex, masks=masks, oversampling=1)):
            assert_adjoint(m, image)
            assert_equals_reference(m, image)


def test_negative_oversampling_is_refused():
    m = forward_map((16, 20), 1, oversampling=-1)
    with pytest.raises(ValueError, match="oversampling"):
        _numpy.steerable_freq_analysis_masks(np.zeros((1, 16, 11), complex), *m.arguments)


# ---------------------------------------------------------------------------------------------------------------------
# Reconstructions
# ---------------------------------------------------------------------------------------------------------------------


def with_reconstructions(m):
    """Return the map with all reconstructions, of the image's values times 1, 2, ..."""
    scales = [(s + 1) / math.prod(m.pyramid[:2]) for s in range(m.pyramid[2] + 1)]
    return dataclasses.replace(m, subset=(*m.subset, *[1] * len(scales)), scales=(*m.scales, *scales))


def without_the_rest(m):
    return m.only([k > m.pyramid[2] + 1 for k in m.wanted()])


@pytest.mark.parametrize(("order", "twidth"), [(0, 1), (2, 2.5), (3, 0.6)])
@pytest.mark.parametrize("is_complex", [False, True])
@pytest.mark.parametrize(("masks", "shapes"), SYMMETRIC)
def test_reconstructions_are_those_of_the_pyramid(device, masks, shapes, is_complex, order, twidth):
    for shape in shapes:
        options = {"levels": 2, "order": order, "twidth": twidth, "is_complex": is_complex, "masks": masks}
        image = random_image(2, *shape).to(device.torch)
        pyramid = gf.SteerablePyramidFreq(shape, 2, order, twidth, is_complex, masks=masks)
        coefficients = pyramid(image)
        parts = [[*range(s, 2), "residual_lowpass"] for s in range(3)]
        pictures = [pyramid.recon_pyr(coefficients, keys).cpu() for keys in parts]
        for oversampling in (0, 1):
            every = with_reconstructions(forward_map(shape, **options, oversampling=oversampling))
            for m in ways(without_the_rest(every)):
                for outputs in through_both_doors(m, image):
                    for s, (output, picture) in enumerate(zip(outputs, pictures, strict=True)):
                        halved = 2 ** max(s - oversampling, 0)
                        expected = (s + 1) * on_grid(picture, [-(-n // halved) for n in shape])
                        torch.testing.assert_close(output.cpu(), expected, rtol=0, atol=2e-13)


@pytest.mark.parametrize("oversampling", [0, 1])
@pytest.mark.parametrize("is_complex", [False, True])
@pytest.mark.parametrize(("masks", "shapes"), EVERY)
def test_reconstructions_are_adjoint_and_equal_the_reference(device, masks, shapes, is_complex, oversampling):
    for shape in shapes:
        image = random_image(2, *shape).to(device.torch)
        for m in ways(forward_map(shape, is_complex=is_complex, masks=masks, oversampling=oversampling)):
            for some in (with_reconstructions(m), without_the_rest(with_reconstructions(m))):
                assert_adjoint(some, image)
                assert_equals_reference(some, image)
                assert_equals_reference(some, image.float(), 1e-5)


def test_some_reconstructions(device):
    for shape in (EVEN[0], ODD[0]):
        image = random_image(2, *shape).to(device.torch)
        m = with_reconstructions(forward_map(shape))
        every = _freq_torch.analysis(m, image)
        some = m.only([k in (1, 4, 6) for k in m.wanted()])
        for output, k in zip(_freq_torch.analysis(some, image), (1, 4, 6), strict=True):
            torch.testing.assert_close(output, every[k], rtol=0, atol=1e-13)


@pytest.mark.parametrize("is_complex", [False, True])
@pytest.mark.parametrize("shape", [(8, 9), (9, 11)])
def test_derivatives_of_reconstructions(device, shape, is_complex):
    m = with_reconstructions(forward_map(shape, 1, 1, is_complex=is_complex))
    x = random_image(1, *shape).to(device.torch).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: tuple(_freq_torch.analysis(m, x)), x)
    assert torch.autograd.gradgradcheck(lambda x: tuple(c**2 for c in _freq_torch.analysis(m, x)[-2:]), x)
    values = [c.detach().requires_grad_() for c in _freq_torch.analysis(m, x)]
    for real_part in {False, is_complex}:
        back = dataclasses.replace(m, real_part=real_part)
        assert torch.autograd.gradcheck(lambda *values, m=back: _freq_torch.synthesis(m, values), values)
    mapped = torch.func.vmap(lambda x: _freq_torch.analysis(m, x))(torch.stack([x.detach(), 2 * x.detach()]))
    for twice, value in zip(mapped, values, strict=True):
        torch.testing.assert_close(twice, torch.stack([value, 2 * value]), rtol=0, atol=1e-13)
    back = torch.func.vmap(lambda *values: _freq_torch.synthesis(m, values))(*mapped)
    torch.testing.assert_close(back[1], 2 * _freq_torch.synthesis(m, values), rtol=0, atol=1e-12)


@pytest.mark.parametrize("is_complex", [False, True])
def test_operators(device, is_complex):
    m = with_reconstructions(forward_map((12, 15), 1, 1, is_complex=is_complex, oversampling=1))
    x = random_image(2, 12, 15).to(device.torch)
    _freq_torch.analysis(m, x)  # registers the operators' shapes
    ops = _torch.ops()
    for some in (m, without_the_rest(m)):
        spectrum = torch.fft.rfft2(x)
        torch.library.opcheck(ops.steerable_freq_analysis_masks.default, (spectrum, *some.arguments))
        spectra = ops.steerable_freq_analysis_masks(spectrum, *some.arguments)
        torch.library.opcheck(ops.steerable_freq_synthesis_masks.default, (spectra, *some.arguments))
        if device.name != "cpu":
            continue
        torch.library.opcheck(ops.steerable_freq_analysis.default, (x, *some.arguments))
        outputs = ops.steerable_freq_analysis(x, *some.arguments)
        torch.library.opcheck(ops.steerable_freq_synthesis.default, (outputs, *some.arguments, False))


def test_compile():
    m = with_reconstructions(forward_map((8, 9), 1, 1, oversampling=1))

    def loss(x):
        outputs = _freq_torch.analysis(m, 2 * x)
        return sum(c.square().sum() for c in outputs) + _freq_torch.synthesis(m, outputs).sum()

    x = random_image(2, 8, 9).requires_grad_()
    compiled = torch.compile(loss, fullgraph=True)
    torch.testing.assert_close(compiled(x), loss(x))
    torch.testing.assert_close(torch.autograd.grad(compiled(x), x), torch.autograd.grad(loss(x), x))


def test_all_reconstructions_or_none_are_described():
    m = with_reconstructions(forward_map((16, 20), 2))
    short = dataclasses.replace(m, subset=m.subset[:-1], scales=m.scales[:-1])
    with pytest.raises(ValueError, match=r"levels \+ 2 or 2 levels \+ 3 elements"):
        _numpy.steerable_freq_analysis(np.zeros((1, 16, 20)), *short.arguments)


def test_tables_of_earlier_calls_are_not_mistaken_for_others():
    base = {"levels": 3, "order": 2, "masks": "lut"}
    changes = [
        {"shape": (48, 40)},
        {"levels": 2},
        {"order": 1},
        {"twidth": 1.5},
        {"is_complex": True},
        {"oversampling": 1},
        {"tight_frame": True},
    ]
    for change in [{}, *changes, {}, *changes]:
        options = {"shape": (40, 48)} | base | change
        shape = options["shape"]
        m = forward_map(**options)
        assert m.fused
        assert_equals_reference(m, random_image(1, *shape))
        assert_equals_reference(m, random_image(1, *shape).float(), 1e-5)
