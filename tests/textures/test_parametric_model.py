"""PortillaSimoncelli: its values against plenoptic and against the definitions, derivatives, and what it refuses."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import parametric_reference as plain
import pytest
import torch
from conftest import Device

from genimg_fast import _torch
from genimg_fast.textures import PortillaSimoncelli

Tensor = torch.Tensor
# Shape, scales, orientations, width. Odd sizes, even widths, neighbourhoods wider than scales, sides under 32 pixels.
MODELS = [
    ((64, 64), 3, 4, 7),
    ((48, 40), 2, 3, 5),
    ((33, 47), 2, 4, 7),
    ((51, 38), 3, 2, 4),
    ((16, 21), 1, 1, 3),
    ((40, 24), 2, 6, 9),
    ((8, 9), 1, 3, 33),
]


@pytest.fixture
def on(device: Device) -> Callable[[Tensor], Tensor]:
    """Put tensors on a device."""
    if device.name != "cpu" and not hasattr(_torch.ops(), "statistics_correlation"):
        pytest.skip(f"{device.name}: this build has no kernels of the family statistics")
    return lambda x: x.to(device.torch)


def skewed(*shape: int, dtype: torch.dtype = torch.float64, seed: int = 0) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).gamma(2, 1, shape)).to(dtype)


def assert_near(actual: Tensor, wanted: Tensor, tolerance: float, floor: float = 1e-3) -> None:
    assert actual.shape == wanted.shape
    difference = (actual.cpu().double() - wanted.double()).abs() / (wanted.double().abs() + floor)
    assert difference.max() <= tolerance, f"{difference.max():.2e}"


# ---- Values ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("shape", "scales", "orientations", "width"), MODELS)
def test_values_are_the_definitions(on, shape, scales, orientations, width):
    x = skewed(2, 2, *shape)
    model = PortillaSimoncelli(shape, scales, orientations, width)
    vector = model(on(x))
    for index in ((0, 0), (1, 1)):
        wanted = plain.plenoptics(x[index].numpy(), scales, orientations, width)
        for name, value in model.convert_to_dict(vector[index].cpu()).items():
            if scales == 1 and name.startswith("cross_scale"):
                assert value.numel() == 0
                continue
            stands = ~value.isnan()
            assert value.shape == wanted[name].shape
            if not stands.any():  # one orientation has no others
                continue
            assert_near(value[stands], torch.from_numpy(wanted[name])[stands], 1e-9)
    assert model(on(x.float())).dtype == torch.float32
    # Correlations of 0 keep the rounding of the values they are made of.
    assert_near(model(on(x.float())), vector.cpu(), 1e-4, floor=1e-2)


@pytest.fixture
def plenoptic() -> Iterator[Any]:
    package = pytest.importorskip("plenoptic")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield package


@pytest.mark.peer
@pytest.mark.parametrize(
    ("shape", "scales", "orientations", "width"),
    [
        ((256, 256), 4, 4, 7),
        ((64, 64), 3, 3, 5),
        ((64, 96), 2, 2, 4),
        ((128, 64), 2, 6, 9),
        ((32, 48), 1, 4, 7),
        ((48, 96), 2, 16, 6),
    ],
)
def test_tables_give_plenoptics_values(plenoptic, shape, scales, orientations, width):
    x = skewed(2, 2, *shape)
    theirs = plenoptic.models.PortillaSimoncelli(shape, scales, orientations, width).double()
    ours = PortillaSimoncelli(shape, scales, orientations, width, masks="lut")
    vector = ours(x)
    assert_near(vector, theirs(x), 1e-5)
    assert ours.scales == theirs.scales
    pairs = list(zip(ours.convert_to_dict(vector).items(), theirs.convert_to_dict(theirs(x)).items(), strict=True))
    for (name, value), (their_name, their_value) in pairs:
        assert name == their_name
        assert value.shape == their_value.shape
        assert torch.equal(value.isnan(), their_value.isnan())
    for kept in (ours.scales[:2], ours.scales[2:], ours.scales[::-1], [0, "pixel_statistics"], ["residual_highpass"]):
        assert_near(ours(x, kept), theirs(x, kept), 1e-5)
    if (shape, scales) == ((256, 256), 4):
        assert vector.shape == (2, 2, 710)


def test_exact_masks_differ_from_the_tables_a_little():
    x = skewed(1, 1, 64, 64)
    exact, table = (PortillaSimoncelli((64, 64), 2, masks=masks)(x) for masks in ("exact", "lut"))
    assert 1e-9 < ((exact - table).abs() / (exact.abs() + 1e-3)).max() < 1e-2


@pytest.mark.parametrize(
    ("shape", "scales", "orientations", "width"),
    [((64, 64), 3, 4, 7), ((48, 40), 2, 3, 5), ((24, 40), 2, 6, 9), ((8, 12), 1, 5, 7)],
)
def test_matlabs_statistics(on, shape, scales, orientations, width):
    x = skewed(2, 2, *shape)
    got = PortillaSimoncelli(shape, scales, orientations, width).matlab_statistics(on(x))
    for index in ((0, 0), (1, 1)):
        wanted = plain.matlabs(x[index].numpy(), scales, orientations, width)
        assert list(got) == list(wanted)
        for name, value in wanted.items():
            np.testing.assert_allclose(got[name][index].cpu(), value, rtol=1e-9, atol=1e-11, err_msg=name)


def test_matlabs_statistics_are_1784_numbers():
    got = PortillaSimoncelli((64, 64)).matlab_statistics(skewed(1, 1, 64, 64, dtype=torch.float32))
    assert sum(value.numel() for value in got.values()) == 1784
    assert {value.dtype for value in got.values()} == {torch.float32}
    # A scale of 8x8 pixels has 3 neighbours on both sides, one of 4x4 has one.
    assert [int(got["autoCorrReal"][0, 0, :, 3, s].isfinite().sum()) for s in range(5)] == [7, 7, 7, 7, 3]


def test_matlabs_statistics_of_a_picture_that_hardly_varies_at_some_scale():
    x = torch.from_numpy(np.indices((32, 32)).sum(0) % 2.0)[None, None]  # the finest frequency alone
    got = PortillaSimoncelli((32, 32), 2).matlab_statistics(x)["pixelLPStats"][0, 0]
    assert torch.equal(got, torch.tensor([[0.0, 3.0]] * 3).double())


# ---- Vectors, dictionaries, scales -----------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [3, 4])
def test_dictionaries_and_vectors(width):
    model = PortillaSimoncelli((32, 40), 2, 3, width)
    vector = model(skewed(2, 1, 32, 40))
    values = model.convert_to_dict(vector)
    assert torch.equal(model.convert_to_tensor(values), vector)
    lags = values["auto_correlation_reconstructed"][0, 0, ..., 0]
    # Each product of neighbours once: the middle, which is 1, and mirror images are left out.
    expected = (width * width - 1) // 2 if width % 2 else ((width - 1) ** 2 - 1) // 2 + 2 * width - 1
    assert int(lags.isfinite().sum()) == expected
    assert torch.equal(model.convert_to_dict(vector[0, 0])["magnitude_std"], values["magnitude_std"][0, 0])


def test_scales_partition_the_vector_in_its_order():
    model, x = PortillaSimoncelli((32, 32), 2, 2, 3), skewed(1, 2, 32, 32)
    vector = model(x)
    parts = [model(x, [scale]) for scale in model.scales]
    assert model.scales == ["pixel_statistics", "residual_lowpass", 1, 0, "residual_highpass"]
    assert sum(part.shape[-1] for part in parts) == vector.shape[-1]
    assert torch.equal(torch.cat(parts, -1).sort().values, vector.sort().values)
    assert torch.equal(model(x, model.scales), vector)
    assert torch.equal(parts[0], vector[..., :6])
    assert torch.equal(parts[-1], vector[..., -1:])
    assert torch.equal(model.remove_scales(vector, [0]), parts[3])
    assert model(x, []).shape == (1, 2, 0)


def test_batches_and_channels_are_independent(on):
    model, x = PortillaSimoncelli((24, 33), 2), skewed(2, 3, 24, 33, dtype=torch.float32)
    together = model(on(x))
    for i, j in ((0, 0), (1, 2)):
        assert_near(model(on(x[i : i + 1, j : j + 1]))[0, 0], together[i, j].cpu(), 1e-5)
    strided = on(x.mT.contiguous()).mT
    assert torch.equal(model(strided), together)
    assert model(on(x[:0])).shape == (0, 3, together.shape[-1])
    assert model(on(x[:, :0])).shape == (2, 0, together.shape[-1])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_types_are_computed_in_float32(dtype):
    model, x = PortillaSimoncelli((32, 32), 2), skewed(1, 1, 32, 32).to(dtype)
    assert model(x).dtype == torch.float32
    assert torch.equal(model(x), model(x.float()))
    x.requires_grad_()
    (gradient,) = torch.autograd.grad(model(x).sum(), x)
    assert gradient.dtype == dtype
    assert gradient.isfinite().all()


# ---- Derivatives and transformations ---------------------------------------------------------------------------------


def test_gradients():
    x = skewed(1, 1, 17, 16).requires_grad_()
    assert torch.autograd.gradcheck(PortillaSimoncelli((17, 16), 2, 2, 3), x, fast_mode=True)


def test_gradients_of_matlabs_statistics():
    model = PortillaSimoncelli((8, 12), 1, 3, 3)
    x = skewed(1, 2, 8, 12).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: tuple(model.matlab_statistics(x).values()), x)


def test_second_derivatives():
    assert torch.autograd.gradgradcheck(PortillaSimoncelli((8, 9), 1, 2, 3), skewed(1, 1, 8, 9).requires_grad_())
    x = skewed(1, 2, 16, 16).requires_grad_()
    assert torch.autograd.gradgradcheck(PortillaSimoncelli((16, 16), 2, 2, 3), x, fast_mode=True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_compiles_to_one_graph(dtype):
    model = PortillaSimoncelli((24, 32), 2)
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    x = skewed(2, 1, 24, 32, dtype=dtype)
    assert_near(compiled(x), model(x), 1e-6)
    (got, wanted) = (
        torch.autograd.grad(f(y).square().sum(), y)[0] for f in (compiled, model) for y in [x.clone().requires_grad_()]
    )
    torch.testing.assert_close(got, wanted)


def test_transforms_of_functions():
    model, x = PortillaSimoncelli((16, 24), 2, 2, 3), skewed(3, 1, 16, 24)
    together = model(x)
    torch.testing.assert_close(torch.func.vmap(model)(x[:, None])[:, 0], together)
    y = x.clone().requires_grad_()
    (wanted,) = torch.autograd.grad(model(y).sum(), y)
    each = torch.func.vmap(torch.func.grad(lambda one: model(one).sum()))(x[:, None])[:, 0]
    torch.testing.assert_close(each, wanted)
    jacobian = torch.func.jacrev(model)(x[:1])
    torch.testing.assert_close(jacobian.sum((0, 1, 2))[0], wanted[:1][0])


@pytest.mark.peer
def test_plenoptics_metamers_take_this_model(plenoptic):
    model = PortillaSimoncelli((64, 64), 2)
    target = skewed(1, 1, 64, 64, dtype=torch.float32) / 10
    torch.manual_seed(0)
    metamer = plenoptic.Metamer(target, model)
    metamer.synthesize(5)
    assert metamer.losses[-1] < 0.9 * metamer.losses[0]
    metamer = plenoptic.MetamerCTF(target, model, coarse_to_fine="together")
    metamer.synthesize(12, change_scale_criterion=None, ctf_iters_to_check=2)
    assert list(metamer.scales_finished) == model.scales[:-1]
    assert metamer.losses[-1] < 0.9 * metamer.losses[0]


# ---- Pictures without a texture --------------------------------------------------------------------------------------

Y, X = np.indices((16, 24))
DEGENERATE = {
    "zero": 0.0 * X,
    "constant": 0.0 * X + 0.3,
    "two values": 1.0 * (X > 11),
    "checks": (X + Y) % 2.0,
    "sinusoid": np.sin(2 * np.pi * X / 8),
    "stripes": np.cos(np.pi * Y),
    "one pixel": 1.0 * ((X == 3) & (Y == 5)),
    "large": 1e15 * np.random.default_rng(0).random(X.shape),
    "small": 1e-15 * np.random.default_rng(0).random(X.shape),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", DEGENERATE)
def test_nothing_is_nan(on, name, dtype):
    if dtype == torch.float32 and name in ("large", "small"):
        pytest.skip("float32 does not hold the fourth powers")
    model = PortillaSimoncelli((16, 24), 2)
    x = on(torch.from_numpy(DEGENERATE[name])[None, None].to(dtype)).requires_grad_()
    vector = model(x)
    assert vector.isfinite().all()
    for power in (1, 2):  # the second weighs large statistics more
        (gradient,) = torch.autograd.grad(
            (vector / vector.detach().abs().clamp_min(1)).pow(power).sum(), x, retain_graph=True
        )
        assert gradient.isfinite().all()


def test_a_constant_picture_has_no_statistics_but_its_mean():
    model = PortillaSimoncelli((16, 24), 2)
    values = model.convert_to_dict(model(torch.full((1, 1, 16, 24), 0.3, dtype=torch.float64)))
    pixels = values.pop("pixel_statistics")[0, 0]
    torch.testing.assert_close(pixels, torch.tensor([0.3, 0, 0, 3 * (383 / 384) ** 2, 0.3, 0.3], dtype=torch.float64))
    assert torch.equal(values.pop("kurtosis_reconstructed"), torch.full((1, 1, 3), 3.0).double())
    assert all((value.isnan() | (value.abs() < 1e-12)).all() for value in values.values())


@pytest.mark.parametrize("shape", [(8, 8), (9, 8)])
def test_the_smallest_pictures(shape):
    x = skewed(1, 1, *shape).requires_grad_()
    vector = PortillaSimoncelli(shape, 1)(x)
    (gradient,) = torch.autograd.grad(vector.sum(), x)
    assert vector.isfinite().all()
    assert gradient.isfinite().all()


# ---- Arguments -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"image_shape": (64,)}, ValueError, "image_shape"),
        ({"image_shape": (8, 8), "n_scales": 4}, ValueError, "n_scales must be at most 1 for image_shape .*, got 4"),
        ({"n_scales": 0}, ValueError, "n_scales must be at least 1, got 0"),
        ({"n_scales": 2.0}, TypeError, "n_scales must be an integer, got 2.0"),
        ({"n_orientations": 17}, ValueError, "n_orientations must be from 1 to 16, got 17"),
        ({"n_orientations": True}, TypeError, "n_orientations must be an integer"),
        ({"spatial_corr_width": 0}, ValueError, "spatial_corr_width must be from 1 to 33, got 0"),
        ({"spatial_corr_width": 34}, ValueError, "spatial_corr_width must be from 1 to 33, got 34"),
        ({"masks": "table"}, ValueError, "masks must be one of 'exact', 'lut', got 'table'"),
    ],
)
def test_bad_models_are_named(options, error, message):
    with pytest.raises(error, match=message):
        PortillaSimoncelli(**{"image_shape": (64, 64), "n_scales": 2} | options)


@pytest.mark.parametrize(
    ("image", "error", "message"),
    [
        (np.zeros((1, 1, 16, 16)), TypeError, "image must be a torch.Tensor, got ndarray"),
        (torch.zeros(1, 1, 16, 16, dtype=torch.uint8), TypeError, "image must hold floats, got torch.uint8"),
        (torch.zeros(1, 1, 16, 16, dtype=torch.complex64), TypeError, "image must hold floats"),
        (torch.zeros(1, 16, 16), ValueError, r"image must have the shape \(B, C, 16, 16\), got \(1, 16, 16\)"),
        (torch.zeros(1, 1, 16, 17), ValueError, r"image must have the shape \(B, C, 16, 16\), got \(1, 1, 16, 17\)"),
    ],
)
def test_bad_pictures_are_named(image, error, message):
    model = PortillaSimoncelli((16, 16), 1)
    for statistics in (model, model.matlab_statistics):
        with pytest.raises(error, match=message):
            statistics(image)


def test_bad_scales_and_vectors_are_named():
    model = PortillaSimoncelli((16, 16), 1, 4, 4)
    with pytest.raises(ValueError, match=r"scales must be of .*'residual_lowpass'.*, got 1"):
        model(torch.zeros(1, 1, 16, 16), [1])
    n = model(torch.zeros(1, 1, 16, 16)).shape[-1]
    with pytest.raises(ValueError, match=f"representation_tensor must hold {n} statistics, .* got 3"):
        model.convert_to_dict(torch.zeros(1, 1, 3))
    with pytest.raises(ValueError, match="odd spatial_corr_width, got 4"):
        model.matlab_statistics(torch.zeros(1, 1, 16, 16))
    with pytest.raises(ValueError, match="at least 3 orientations, got 2"):
        PortillaSimoncelli((16, 16), 1, 2, 3).matlab_statistics(torch.zeros(1, 1, 16, 16))


def test_the_module_moves_and_describes_itself():
    model = PortillaSimoncelli((24, 16), n_scales=2, n_orientations=3, spatial_corr_width=5, masks="lut")
    assert not model.training
    assert not list(model.parameters())
    assert not model.state_dict()
    assert "(24, 16), n_scales=2, n_orientations=3, spatial_corr_width=5, masks='lut'" in repr(model)
    x = skewed(1, 1, 24, 16)
    assert torch.equal(model.to(torch.float64)(x), PortillaSimoncelli((24, 16), 2, 3, 5, masks="lut")(x))
