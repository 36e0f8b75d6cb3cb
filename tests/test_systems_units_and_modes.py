"""Systems in any unit, and in any of torch's modes: the same results."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch

import genimg_fast as gf

RNG = np.random.default_rng(0)
GREY = RNG.random((40, 32), dtype=np.float32)
COLOUR = RNG.random((40, 32, 3), dtype=np.float32)
QUICK = {"n_iter": 3, "seed": 0, "progress": False}
PARAMETRIC = {"n_scales": 1, "n_orientations": 2, "n_polish": 2, **QUICK}

SYNTHESES: dict[str, Callable[[Any], Any]] = {
    "heeger_bergen": lambda x: gf.textures.heeger_bergen(x, **QUICK),
    "heeger_bergen accelerated": lambda x: gf.textures.heeger_bergen(x, update="accelerated", **QUICK),
    "heeger_bergen spatial": lambda x: gf.textures.heeger_bergen(x, pyramid="spatial", order=1, **QUICK),
    "heeger_bergen mixture": lambda x: gf.textures.heeger_bergen([x, x[::-1]], edges="periodic", **QUICK),
    "heeger_bergen palette": lambda x: gf.textures.heeger_bergen(x, palette=x[:, ::-1] / 2, **QUICK),
    "projection": lambda x: gf.textures.portilla_simoncelli(x, **PARAMETRIC),
    "gradient": lambda x: gf.textures.portilla_simoncelli(x, method="gradient", **PARAMETRIC),
    "adam": lambda x: gf.textures.portilla_simoncelli(x, method="gradient", optimizer="adam", **PARAMETRIC),
    "polished": lambda x: gf.textures.portilla_simoncelli(x, method="polished", **PARAMETRIC),
    "canvas": lambda x: gf.textures.portilla_simoncelli(x, canvas=x[::-1].copy(), edges="periodic", **PARAMETRIC),
    "mixture": lambda x: gf.textures.portilla_simoncelli([x, x[::-1].copy()], weights=[1, 2], **PARAMETRIC),
}
POWERS = [-80, -60, -40, 40, 60]


@pytest.mark.parametrize("image", [GREY, COLOUR], ids=["grey", "colour"])
@pytest.mark.parametrize("name", SYNTHESES)
def test_a_multiple_of_an_exemplar_makes_the_multiple(name: str, image: np.ndarray) -> None:
    expected = SYNTHESES[name](image)
    assert np.ptp(expected) > 0.4
    for power in POWERS:
        factor = np.float32(2.0**power)
        assert np.array_equal(SYNTHESES[name](factor * image), factor * expected)
    for power in (-900, 900):
        wide = image.astype(np.float64)
        assert np.array_equal(SYNTHESES[name](wide * 2.0**power), SYNTHESES[name](wide) * 2.0**power)


@pytest.mark.parametrize("name", [name for name in SYNTHESES if name != "heeger_bergen palette"])
def test_an_offset_is_an_offset_of_the_result(name: str) -> None:
    image = np.round(1024 * GREY) / 1024  # float32 holds it beside the offset
    result = SYNTHESES[name](image * 1024 + np.float32(2**21)) - np.float32(2**21)
    # The least value is the one that the result is computed from.
    expected = SYNTHESES[name](image - image.min()) + image.min()
    assert np.abs(result / 1024 - expected).max() < 0.02
    assert np.std(result) > 200


@pytest.mark.parametrize("value", [0.0, 1e-30, 0.3, -7.0, 1e20])
@pytest.mark.parametrize("name", ["heeger_bergen", "projection", "gradient"])
def test_a_constant_stays_one(name: str, value: float) -> None:
    image = np.full((32, 32), value, np.float32)
    assert np.array_equal(SYNTHESES[name](image), image)


def test_the_widest_range_of_floats() -> None:
    largest = np.finfo(np.float32).max
    image = np.where(GREY > 0.5, largest, -largest)
    result = gf.textures.heeger_bergen(image, **QUICK)
    assert np.array_equal(np.sort(result, None), np.sort(image, None))


def test_compare_knows_no_unit() -> None:
    options = {"n_scales": 1, "n_orientations": 2}
    expected = gf.textures.compare(GREY, GREY[::-1] ** 2, **options)
    for power in POWERS:
        factor = np.float32(2.0**power)
        assert gf.textures.compare(factor * GREY, factor * GREY[::-1] ** 2, **options) == expected


def test_items_of_a_batch_have_units_of_their_own() -> None:
    images = [GREY, GREY * np.float32(2.0**60), GREY * np.float32(2.0**-60)]
    batch = torch.from_numpy(np.stack(images))[:, None]
    for name in ("heeger_bergen", "projection", "gradient"):
        found = SYNTHESES[name](batch) if name != "heeger_bergen" else gf.textures.heeger_bergen(batch, **QUICK)
        for one, image in zip(found, images, strict=True):
            assert np.array_equal(one[0].numpy(), SYNTHESES[name](image))


# ---- Statistics and moments -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_statistics_are_in_powers_of_the_unit(dtype: torch.dtype) -> None:
    model = gf.textures.PortillaSimoncelli((40, 32), 1, 3)
    picture = torch.from_numpy(GREY)[None, None].to(dtype)
    powers = {"std_reconstructed": 1, "magnitude_std": 1, "var_highpass_residual": 2}
    expected = model.convert_to_dict(model(picture))
    matlab = model.matlab_statistics(picture)
    for power in (-50, -20, 40, 50):
        factor = 2.0**power
        for name, value in model.convert_to_dict(model(picture * factor)).items():
            each = torch.tensor([1, 2, 0, 0, 1, 1]) if name == "pixel_statistics" else powers.get(name, 0)
            assert torch.equal(value.nan_to_num(), (expected[name].double() * factor**each).to(dtype).nan_to_num())
        for name, value in model.matlab_statistics(picture * factor).items():
            each = {"pixelLPStats": 0, "magMeans": 1, "pixelStats": torch.tensor([1, 2, 0, 0, 1, 1])}.get(name, 2)
            assert torch.equal(value.nan_to_num(), (matlab[name].double() * factor**each).to(dtype).nan_to_num())


def test_what_a_dtype_does_not_hold_is_infinite_and_the_rest_is_right() -> None:
    model = gf.textures.PortillaSimoncelli((40, 32), 1, 3)
    picture = torch.from_numpy(GREY)[None, None]
    large, expected = (model.convert_to_dict(model(one)) for one in (picture * 2.0**100, picture))
    assert large["pixel_statistics"][0, 0, 1] == torch.inf
    assert torch.equal(large["pixel_statistics"][..., 2:4], expected["pixel_statistics"][..., 2:4])
    assert torch.equal(
        large["auto_correlation_magnitude"].nan_to_num(), expected["auto_correlation_magnitude"].nan_to_num()
    )


@pytest.mark.parametrize("transform", [gf.style.adain, gf.style.wct])
def test_feature_transforms_know_no_unit(transform: Callable[..., torch.Tensor]) -> None:
    content, style = torch.from_numpy(RNG.random((2, 4, 9, 9), dtype=np.float32))
    expected = transform(content, style)
    for power in (-100, -60, 60, 100):
        factor = 2.0**power
        torch.testing.assert_close(transform(content * factor, style), expected)
        torch.testing.assert_close(transform(content, style * factor) / factor, expected)


# ---- Torch's modes --------------------------------------------------------------------------------------------------


class Filters(torch.nn.Module):
    """A caller's network, with a parameter and a buffer."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.weight = torch.nn.Parameter(
            torch.randn(4, 1, 3, 3, generator=generator, dtype=torch.float32, device="cpu")
        )
        self.register_buffer("factor", torch.full((), 2.0, dtype=torch.float32, device="cpu"))

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"maps": torch.nn.functional.conv2d(x, self.weight * self.factor).relu()}


def tensor(image: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(image.copy()).clone()


def statistics(image: torch.Tensor) -> torch.Tensor:
    return gf.textures.PortillaSimoncelli((40, 32), 1, 2)(image[None, None]).detach()


def styled(**options: Any) -> Any:
    return gf.style.transfer(tensor(GREY), tensor(GREY.T), scales=1, **{**QUICK, **options})


SYSTEMS: dict[str, Callable[[], Any]] = {
    "heeger_bergen": lambda: gf.textures.heeger_bergen(tensor(GREY), **QUICK),
    **{
        method: lambda method=method: gf.textures.portilla_simoncelli(tensor(GREY), method=method, **PARAMETRIC)
        for method in ("projection", "gradient", "polished")
    },
    "compare": lambda: gf.textures.compare(tensor(GREY), tensor(GREY.T), n_scales=1, n_orientations=2),
    "cnn_texture": lambda: gf.textures.cnn_texture(tensor(GREY), scales=1, **QUICK),
    "cnn_texture, own network": lambda: gf.textures.cnn_texture(tensor(GREY), scales=1, features=Filters(), **QUICK),
    "cnn_texture, tiles": lambda: gf.textures.cnn_texture(tensor(GREY), 64, scales=1, tile=32, **QUICK),
    "cnn_texture, filters": lambda: gf.textures.cnn_texture(
        tensor(GREY), scales=1, features=gf.features.random(n_filters=4, levels=1, channels=1), **QUICK
    ),
    **{f"transfer from {init}": lambda init=init: styled(init=init) for init in gf.style.INITS},
    "transfer, tiles": lambda: styled(tile=32, size=48),
    "transfer, histograms": lambda: styled(histogram_weight=1.0),
    "PortillaSimoncelli": lambda: statistics(tensor(GREY)),
}


@contextlib.contextmanager
def set_grad_enabled() -> Iterator[None]:
    torch.set_grad_enabled(False)
    try:
        yield
    finally:
        torch.set_grad_enabled(True)


@contextlib.contextmanager
def deterministic() -> Iterator[None]:
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)


@contextlib.contextmanager
def default_dtype() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


@contextlib.contextmanager
def anomalies() -> Iterator[None]:
    with torch.autograd.detect_anomaly(check_nan=True):
        yield


MODES: dict[str, Callable[[], Any]] = {
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
    "set_grad_enabled(False)": set_grad_enabled,
    "use_deterministic_algorithms": deterministic,
    "detect_anomaly": anomalies,
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "set_default_dtype": default_dtype,
    "default device": lambda: torch.device("meta"),
}


def values_of(result: Any) -> np.ndarray:
    if isinstance(result, dict):
        return np.array([*itertools.chain(*result.values())])
    return result.numpy(force=True)


@pytest.mark.filterwarnings("ignore:Anomaly Detection")
@pytest.mark.parametrize("name", SYSTEMS)
def test_every_system_works_alike_in_every_mode(name: str) -> None:
    expected = values_of(SYSTEMS[name]())
    for mode, context in MODES.items():
        if name == "PortillaSimoncelli" and mode in ("default device", "autocast"):
            continue  # an operation, whose caller chooses
        with context():
            found = values_of(SYSTEMS[name]())
        assert found.dtype == expected.dtype, mode
        assert np.array_equal(found, expected), mode


def test_what_was_made_in_inference_mode_is_differentiable_outside() -> None:
    with torch.inference_mode():
        model = gf.textures.PortillaSimoncelli((40, 32), 1, 2)
        model(tensor(GREY)[None, None])
        filters = gf.features.random(n_filters=4, levels=1, channels=1)
    for function in (model, lambda x: filters(x)["relu1"]):
        picture = tensor(GREY)[None, None].requires_grad_()
        function(picture).sum().backward()
        assert picture.grad is not None
        assert picture.grad.abs().max() > 0


def test_features_without_gradients_are_refused_by_name() -> None:
    with torch.inference_mode():
        weight = torch.ones(4, 1, 3, 3)
    made_inside = "^cnn_texture: features must be differentiable.*inference_mode"
    with pytest.raises(ValueError, match=made_inside):
        gf.textures.cnn_texture(
            GREY, features=lambda x: {"maps": torch.nn.functional.conv2d(x, weight)}, scales=1, **QUICK
        )
    no_gradient = "^transfer: features must be differentiable, got maps that no gradient"
    with pytest.raises(ValueError, match=no_gradient):
        gf.style.transfer(GREY, GREY, features=lambda x: {"maps": x.detach()}, scales=1, **QUICK)
