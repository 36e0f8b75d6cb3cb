"""The coefficients of the frequency-domain pyramid, against closed forms, the float64 reference and other packages."""

from __future__ import annotations

import itertools
import math
import warnings

import numpy as np
import pytest
import torch

import genimg_fast as gf
from genimg_fast import reference

FLAGS = [(False, False), (False, True), (True, False), (True, True)]
# 40 x 48 has transforms of our own, the others a library's; odd sizes have grids of their own in the table masks.
SHAPES = [(40, 48), (33, 47), (26, 35), (51, 22)]


def random_image(*shape, dtype=torch.float64):
    return torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(dtype)


def reference_coefficients(pyramid, image):
    x = image.double().reshape(-1, *image.shape[-2:])
    outputs = reference.steerable_freq_analysis(x, *pyramid._forward.arguments)
    return dict(zip(pyramid.pyr_size, outputs, strict=True))


def assert_close(actual, expected, tolerance):
    """Compare all coefficients, each relative to the largest value of its scale."""
    assert list(actual) == list(expected)
    for key, value in expected.items():
        value = torch.as_tensor(value)
        difference = (torch.as_tensor(actual[key]).cpu().reshape(value.shape) - value).abs().max()
        assert difference <= tolerance * value.abs().max(), f"{key}: {difference:.2e}"


@pytest.mark.parametrize("masks", ["exact", "lut"])
@pytest.mark.parametrize("is_complex", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_equals_reference(device, shape, is_complex, masks):
    x = random_image(2, *shape)
    for order, height, twidth in [(0, 2, 1), (1, 1, 0.5), (2, 2, 2.5), (3, 0, 1), (4, 2, 1)]:
        pyramid = gf.SteerablePyramidFreq(shape, height, order, twidth, is_complex, masks=masks)
        expected = reference_coefficients(pyramid, x)
        assert_close(pyramid(x.to(device.torch)), expected, 1e-12)
        assert_close(pyramid(x.float().to(device.torch)), expected, 1e-5)


@pytest.mark.parametrize(("downsample", "tight_frame"), FLAGS)
@pytest.mark.parametrize("is_complex", [False, True])
def test_scaled_equals_reference(device, is_complex, downsample, tight_frame):
    for shape in SHAPES[:2]:
        x = random_image(1, *shape)
        pyramid = gf.SteerablePyramidFreq(shape, 2, 2, 1, is_complex, downsample, tight_frame)
        assert_close(pyramid(x.to(device.torch)), reference_coefficients(pyramid, x), 1e-12)


def wave(shape, kx, ky):
    """Return cos and sin of the plane wave with kx periods along the width and ky along the height."""
    y, x = np.meshgrid(np.arange(shape[0]) / shape[0], np.arange(shape[1]) / shape[1], indexing="ij")
    phase = 2 * np.pi * (kx * x + ky * y)
    return np.cos(phase), np.sin(phase)


def sine_ramp(x):
    return math.sin(math.pi / 2 * min(max(x, 0), 1))


@pytest.mark.parametrize("twidth", [0.5, 1, 2])
@pytest.mark.parametrize(("kx", "ky"), [(5, 3), (2, -7), (0, 4), (11, 0), (1, 1)])
@pytest.mark.parametrize("shape", [(48, 64), (45, 62)])
def test_response_to_a_wave(shape, kx, ky, twidth):
    order = 3
    x = 2 * kx / shape[1], 2 * ky / shape[0]
    log_radius, angle = math.log2(math.hypot(*x)), math.atan2(x[1], x[0])
    cosine, sine = wave(shape, kx, ky)
    pyramid = gf.SteerablePyramidFreq(shape, 3, order, twidth, is_complex=True, downsample=False)
    coefficients = pyramid(cosine)

    def high(shift):
        return sine_ramp(1 + (log_radius + shift) / twidth)

    def low(last):
        return math.prod(sine_ramp(-(log_radius + j) / twidth) for j in range(last + 1))

    np.testing.assert_allclose(coefficients["residual_highpass"], high(0) * cosine, atol=1e-13)
    np.testing.assert_allclose(coefficients["residual_lowpass"], 8 * low(3) * cosine, atol=1e-13)
    gain = math.sqrt(4**order * math.factorial(order) ** 2 / ((order + 1) * math.factorial(2 * order)))
    for level, band in itertools.product(range(3), range(order + 1)):
        directional = math.cos(angle - math.pi * band / (order + 1))
        amplitude = 2**level * low(level) * high(level + 1) * gain * directional**order
        # (-i)^3 = i turns cos + i sin into -sin + i cos; the Hilbert transform's sign is that of the half plane.
        expected = amplitude * (-sine + 1j * np.sign(directional) * cosine)
        np.testing.assert_allclose(coefficients[level][band], expected, atol=1e-13)


def test_real_part_of_complex_bands_is_the_real_pyramid():
    for shape in SHAPES:
        x = random_image(*shape).numpy()
        real = gf.SteerablePyramidFreq(shape, 2, 2)(x)
        complex_ = gf.SteerablePyramidFreq(shape, 2, 2, is_complex=True)(x)
        for key in real:
            np.testing.assert_allclose(complex_[key].real, real[key], atol=1e-13)
            assert np.iscomplexobj(complex_[key]) == isinstance(key, int)


def test_without_downsampling_bands_interpolate_the_downsampled_ones():
    x = random_image(48, 64).numpy()
    small = gf.SteerablePyramidFreq(x.shape, 2, 1)(x)
    large = gf.SteerablePyramidFreq(x.shape, 2, 1, downsample=False)(x)
    for level in range(2):
        step = 2**level
        assert large[level].shape == (2, 48, 64)
        np.testing.assert_allclose(large[level][:, ::step, ::step] / step, small[level] / step**2, atol=1e-13)


@pytest.mark.parametrize("is_complex", [False, True])
@pytest.mark.parametrize("downsample", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_tight_frame_keeps_the_energy(shape, downsample, is_complex):
    x = random_image(*shape)
    pyramid = gf.SteerablePyramidFreq(shape, 2, 3, is_complex=is_complex, downsample=downsample, tight_frame=True)
    energy = sum(c.abs().square().sum() for c in pyramid(x).values())
    torch.testing.assert_close(energy, x.square().sum(), rtol=1e-12, atol=0)


def test_shapes_keys_and_sizes():
    pyramid = gf.SteerablePyramidFreq((101, 78), order=2)
    assert pyramid.num_scales == 4
    coefficients = pyramid(np.zeros((5, 1, 3, 101, 78), np.float32))
    shapes = {key: value.shape for key, value in coefficients.items()}
    assert list(shapes) == ["residual_highpass", 0, 1, 2, 3, "residual_lowpass"]
    assert shapes["residual_highpass"] == (5, 1, 3, 101, 78)
    assert shapes[2] == (5, 1, 3, 3, 26, 20)
    assert shapes["residual_lowpass"] == (5, 1, 3, 7, 5)
    for key, shape in shapes.items():
        assert shape[-2:] == pyramid.pyr_size[key]
    assert pyramid.scales == ["residual_lowpass", 3, 2, 1, 0, "residual_highpass"]


@pytest.mark.parametrize("scales", [[0], ["residual_lowpass", 1], [2, "residual_highpass"], 1, "residual_lowpass", []])
def test_some_scales(device, scales):
    for shape in SHAPES[:2]:
        pyramid = gf.SteerablePyramidFreq(shape, 3, 1)
        x = random_image(2, *shape).to(device.torch)
        every, some = pyramid(x), pyramid(x, scales)
        chosen = scales if isinstance(scales, list) else [scales]
        assert list(some) == [key for key in every if key in chosen]
        for key, value in some.items():
            torch.testing.assert_close(value, every[key], rtol=0, atol=1e-13)


@pytest.mark.parametrize("shape", SHAPES[:2])
@pytest.mark.parametrize("is_complex", [False, True])
def test_dtypes(device, shape, is_complex):
    pyramid = gf.SteerablePyramidFreq(shape, 2, 1, is_complex=is_complex)
    x = random_image(2, *shape)
    expected = reference_coefficients(pyramid, x)
    tolerances = {torch.float16: 2e-3, torch.bfloat16: 1e-2, torch.float32: 1e-5, torch.float64: 1e-12}
    for dtype, tolerance in tolerances.items():
        coefficients = pyramid(x.to(device.torch, dtype))
        complex_dtype = torch.complex128 if dtype == torch.float64 else torch.complex64
        for key, value in coefficients.items():
            assert value.dtype == (complex_dtype if is_complex and isinstance(key, int) else dtype)
        assert_close(coefficients, expected, tolerance)
        image = pyramid.recon_pyr(coefficients)
        assert image.dtype == torch.promote_types(dtype, torch.float32) if is_complex else dtype
        assert (image.cpu() - x).abs().max() <= 4 * tolerance * x.abs().max()


@pytest.mark.parametrize("shape", SHAPES[:2])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, ">f4"])
@pytest.mark.parametrize("is_complex", [False, True])
def test_arrays_equal_tensors(shape, dtype, is_complex):
    x = random_image(3, *shape).numpy().astype(dtype)
    pyramid = gf.SteerablePyramidFreq(shape, 2, 3, is_complex=is_complex)
    arrays = pyramid(x)
    tensors = pyramid(torch.from_numpy(x.astype(np.dtype(dtype).newbyteorder("="))))
    double = x.dtype == np.float64
    native_dtype = x.dtype.newbyteorder("=")  # results are in the machine's byte order
    for key, value in arrays.items():
        assert isinstance(value, np.ndarray)
        complex_dtype = np.complex128 if double else np.complex64
        assert value.dtype == (complex_dtype if is_complex and isinstance(key, int) else native_dtype)
    native = {key: value.astype(value.dtype.newbyteorder("=")) for key, value in arrays.items()}
    assert_close(native, tensors, 1e-13 if double else 2e-3)
    images = pyramid.recon_pyr(arrays), pyramid.recon_pyr(tensors).double().numpy()
    np.testing.assert_allclose(images[0].astype(float), images[1], atol=1e-13 if double else 0.02)


def test_nothing_is_required_of_the_layout(device):
    shape = SHAPES[0]
    pyramid = gf.SteerablePyramidFreq(shape, 2, 1, is_complex=True)
    x = random_image(2, 3, *shape).to(device.torch)
    expected = pyramid(x)
    # A library's transform, which CUDA's masks stand around, may depend on the memory's layout; ours does not.
    tolerance = 0 if device.name == "cpu" else 1e-12
    strided = torch.stack([x, x], -1)[..., 0]
    transposed = x.mT.contiguous().mT
    for same in (strided, transposed, x.permute(1, 0, 2, 3).contiguous().permute(1, 0, 2, 3)):
        assert not same.is_contiguous()
        assert_close(pyramid(same), {k: v.cpu() for k, v in expected.items()}, tolerance)
    expanded = pyramid(x[0, 0].expand(2, 3, *shape))
    torch.testing.assert_close(expanded[0][1, 2], expected[0][0, 0], rtol=0, atol=tolerance)
    coefficients = {k: torch.stack([v, v], -1)[..., 0] for k, v in expected.items()}
    torch.testing.assert_close(pyramid.recon_pyr(coefficients), pyramid.recon_pyr(expected), rtol=0, atol=tolerance)
    read_only = x.cpu().numpy()[::-1, :, ::1]
    read_only.setflags(write=False)
    assert_close(pyramid(read_only), {k: v.cpu().flip(0) for k, v in expected.items()}, 1e-12)


@pytest.mark.parametrize("shape", SHAPES[:2])
def test_empty_batch(device, shape):
    pyramid = gf.SteerablePyramidFreq(shape, 2, 1)
    for x in (torch.zeros(0, 3, *shape, device=device.torch), np.zeros((0, 3, *shape))):
        coefficients = pyramid(x)
        assert coefficients[1].shape == (0, 3, 2, *pyramid.pyr_size[1])
        assert pyramid.recon_pyr(coefficients).shape == x.shape


@pytest.mark.parametrize("shape", SHAPES[:2])
def test_nan_spreads_as_in_a_fourier_transform(shape):
    x = random_image(2, *shape)
    x[0, 3, 5] = math.nan
    for value in gf.SteerablePyramidFreq(shape, 2, 1)(x).values():
        assert value[0].isnan().all()
        assert value[1].isfinite().all()


# ---------------------------------------------------------------------------------------------------------------------
# Other packages
# ---------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def plenoptic():
    package = pytest.importorskip("plenoptic")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield package.process.SteerablePyramidFreq


@pytest.mark.peer
@pytest.mark.parametrize("order", [0, 1, 2, 3, 5, 15])
@pytest.mark.parametrize("is_complex", [False, True])
@pytest.mark.parametrize(("downsample", "tight_frame"), FLAGS)
def test_plenoptic(plenoptic, order, is_complex, downsample, tight_frame):
    if order == 0 and is_complex:
        pytest.skip("plenoptic refuses complex order 0")
    shape = (64, 96)
    options = {
        "height": 3,
        "order": order,
        "is_complex": is_complex,
        "downsample": downsample,
        "tight_frame": tight_frame,
    }
    ours, theirs = gf.SteerablePyramidFreq(shape, **options), plenoptic(shape, **options)
    assert ours.scales == theirs.scales
    x = random_image(2, 3, *shape, dtype=torch.float32)
    expected = theirs(x)
    # Their tables are up to 1e-5 of a band's largest value off for high orders.
    assert_close(ours(x), expected, 1e-5 if order < 15 else 1e-4)
    for key, value in ours(x).items():
        assert value.shape == expected[key].shape
        assert value.dtype == expected[key].dtype


@pytest.mark.peer
@pytest.mark.parametrize("is_complex", [False, True])
@pytest.mark.parametrize(("downsample", "tight_frame"), FLAGS)
def test_plenoptic_reconstruction_of_every_subset(plenoptic, is_complex, downsample, tight_frame):
    shape = (32, 48)
    options = {"height": 2, "order": 2, "is_complex": is_complex}
    options |= {"downsample": downsample, "tight_frame": tight_frame}
    ours, theirs = gf.SteerablePyramidFreq(shape, **options), plenoptic(shape, **options)
    coefficients = theirs(random_image(1, 2, *shape, dtype=torch.float32))
    generator = torch.Generator().manual_seed(1)
    edited = {key: value * torch.rand(value.shape, generator=generator) for key, value in coefficients.items()}
    keys = list(coefficients)
    level_sets = [list(s) for n in range(len(keys) + 1) for s in itertools.combinations(keys, n)]
    band_sets = [list(s) for n in range(1, 4) for s in itertools.combinations(range(3), n)]
    for levels, bands in itertools.product(["all", *level_sets], ["all", *band_sets]):
        expected = theirs.recon_pyr(edited, levels, bands)
        torch.testing.assert_close(ours.recon_pyr(edited, levels, bands), expected, rtol=0, atol=2e-5)


@pytest.mark.peer
@pytest.mark.parametrize("order", [0, 1, 2, 3, 6])
@pytest.mark.parametrize("is_complex", [False, True])
@pytest.mark.parametrize("shape", [(64, 48), (60, 75), (53, 70), (77, 101)])
def test_pyrtools(shape, order, is_complex):
    pyrtools = pytest.importorskip("pyrtools")
    if order == 0 and is_complex:
        pytest.skip("pyrtools refuses complex order 0")
    x = random_image(*shape).numpy()
    for height, twidth in [(3, 1), (2, 2)]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            theirs = pyrtools.pyramids.SteerablePyramidFreq(x, height, order, twidth, is_complex)
        ours = gf.SteerablePyramidFreq(shape, height, order, twidth, is_complex, masks="lut")
        expected = {key: theirs.pyr_coeffs[key] for key in ("residual_highpass", "residual_lowpass")}
        for level in range(height):
            expected[level] = np.stack([theirs.pyr_coeffs[level, band] for band in range(order + 1)])
        coefficients = ours(x)
        assert_close(coefficients, {key: expected[key] for key in coefficients}, 1e-11)
        if shape == (64, 48):
            np.testing.assert_allclose(ours.recon_pyr(coefficients), theirs.recon_pyr(twidth=twidth), atol=1e-11)


def test_lut_differs_from_exact_as_the_tables_do():
    x = random_image(64, 48)
    exact = gf.SteerablePyramidFreq(x.shape, 3)(x)
    table = gf.SteerablePyramidFreq(x.shape, 3, masks="lut")(x)
    for key in exact:
        difference = (exact[key] - table[key]).abs().max() / exact[key].abs().max()
        assert 1e-8 < difference < 2e-5
