"""What the maps behind the frequency-domain pyramid have beyond its public coefficients: oversampled levels."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

import genimg_fast as gf
from genimg_fast import _numpy, reference
from genimg_fast.steerable import _freq_numpy, _freq_torch

# The levels of the odd sizes are odd and even in turn: 51, 26, 13; 35, 18, 9.
EVEN, ODD = [(40, 48), (24, 52)], [(33, 47), (51, 22), (26, 35)]
MASKS = [("exact", EVEN + ODD), ("lut", EVEN)]


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
@pytest.mark.parametrize(("masks", "shapes"), MASKS)
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
@pytest.mark.parametrize(("masks", "shapes"), [("exact", EVEN + ODD), ("lut", EVEN + ODD)])
def test_oversampled_maps_are_adjoint_and_equal_the_reference(device, masks, shapes, is_complex):
    for shape in shapes:
        image = random_image(2, *shape).to(device.torch)
        for m in ways(forward_map(shape, is_complex=is_complex, masks=masks, oversampling=1)):
            assert_adjoint(m, image)
            expected = reference.steerable_freq_analysis(image.cpu(), *m.arguments)
            for output, want in zip(_freq_torch.analysis(m, image), expected, strict=True):
                torch.testing.assert_close(output.cpu(), want, rtol=0, atol=1e-12 * want.abs().max().item())
            again = reference.steerable_freq_synthesis(expected, *m.arguments)
            back = _freq_torch.synthesis(m, [c.to(device.torch) for c in expected])
            torch.testing.assert_close(back.cpu(), again, rtol=0, atol=1e-12)


def test_negative_oversampling_is_refused():
    m = forward_map((16, 20), 1, oversampling=-1)
    with pytest.raises(ValueError, match="oversampling"):
        _numpy.steerable_freq_analysis_masks(np.zeros((1, 16, 11), complex), *m.arguments)
