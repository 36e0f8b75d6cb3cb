"""cnn_texture: what it minimises, what each option does, kinds of pictures, and what it refuses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tiny_networks
import torch

import genimg_fast as gf
from genimg_fast.textures import DescentStep
from genimg_fast.textures._cnn_texture import _Model

RNG = np.random.default_rng(0)
# Stripes with noise: a texture with something to find.
STRIPES = (0.5 + 0.3 * np.sin(np.arange(40) * 0.9)[:, None] + 0.1 * RNG.random((40, 48))).astype(np.float32)
COLOUR = np.stack([STRIPES, 0.6 * STRIPES + 0.1, 0.8 - 0.5 * STRIPES], -1).astype(np.float32)


def cnn(image: Any = STRIPES, *arguments: Any, **options: Any) -> Any:
    return gf.textures.cnn_texture(image, *arguments, **{"seed": 1, "n_iter": 3, "progress": False} | options)


def steps_of(image: Any = STRIPES, *arguments: Any, **options: Any) -> list[DescentStep]:
    steps: list[DescentStep] = []
    cnn(image, *arguments, callback=steps.append, **options)
    return steps


def tensor(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(array if array.ndim == 2 else np.ascontiguousarray(np.moveaxis(array, -1, 0)))


def relative_gram_loss(features: Any, result: np.ndarray, exemplar: np.ndarray) -> float:
    """The documented loss, in float64 and in plain lines."""
    parts = []
    maps = [features(tensor(picture).double().reshape(1, -1, *picture.shape[:2])) for picture in (result, exemplar)]
    for name in maps[0]:
        a, b = (m[name][0].flatten(1).numpy() for m in maps)
        a, b = a @ a.T / a.shape[1], b @ b.T / b.shape[1]
        parts.append(((a - b) ** 2).mean() / (b**2).mean())
    return float(np.mean(parts))


def test_the_loss_is_the_documented_one_and_falls() -> None:
    features = tiny_networks.vgg()
    steps = steps_of(COLOUR, features=features, n_iter=30, match_histogram=False, size=(64, 56))
    assert steps[-1].loss < 0.02 * steps[0].loss
    best = min(steps, key=lambda step: step.loss)
    result = cnn(COLOUR, features=features, n_iter=30, match_histogram=False, size=(64, 56))
    assert relative_gram_loss(features, result, COLOUR) == pytest.approx(best.loss, rel=1e-3)
    assert best.loss == pytest.approx(sum(best.losses.values()))
    assert list(best.losses) == ["relu1", "pool2", "conv4"]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32, np.float64])
@pytest.mark.parametrize("image", [STRIPES, COLOUR], ids=["grey", "colour"])
def test_kind_and_histogram_are_the_exemplar_s(image: np.ndarray, dtype: type) -> None:
    exemplar = (image * np.iinfo(dtype).max if np.issubdtype(dtype, np.integer) else image).astype(dtype)
    result = cnn(exemplar, n_iter=2)
    assert (result.dtype, result.shape) == (exemplar.dtype, exemplar.shape)
    np.testing.assert_array_equal(np.sort(result, axis=None), np.sort(exemplar, axis=None))
    packed = cnn(tensor(exemplar), n_iter=2)
    np.testing.assert_array_equal(packed.numpy(), tensor(result).numpy())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_tensors(dtype: torch.dtype) -> None:
    exemplar = tensor(COLOUR).to(dtype)
    result = cnn(exemplar, n_iter=2)
    assert result.dtype == dtype
    assert torch.equal(result.flatten().sort().values, exemplar.flatten().sort().values)


def test_float64_is_computed_in_float64() -> None:
    seen: list[torch.dtype] = []

    def features(x: torch.Tensor) -> dict[str, torch.Tensor]:
        seen.append(x.dtype)
        return {"x": x}

    cnn(STRIPES.astype(np.float64), features=features)
    cnn(STRIPES, features=features)
    assert set(seen[: len(seen) // 2]) == {torch.float64}
    assert set(seen[len(seen) // 2 :]) == {torch.float32}


def test_integers_are_seen_in_the_unit_range() -> None:
    pixels = np.rint(COLOUR * 255).astype(np.uint8)
    a = steps_of(pixels, features=tiny_networks.vgg())
    b = steps_of((pixels / np.float32(255)).astype(np.float32), features=tiny_networks.vgg())
    assert [step.loss for step in a] == pytest.approx([step.loss for step in b], rel=1e-5)


def test_sizes() -> None:
    assert cnn().shape == (40, 48)
    assert cnn(size=(56, 33)).shape == (56, 33)
    assert cnn(COLOUR, 24).shape == (24, 24, 3)


@pytest.mark.parametrize(
    "option",
    [
        {"seed": 2},
        {"n_iter": 4},
        {"features": gf.features.random(seed=1, levels=2)},
        {"layers": ["relu2"]},
        {"layer_weights": {"relu1": 5.0}},
        {"scales": 2},
        {"optimizer": "adam"},
        {"tolerance": 10.0},
        {"tileable": True},
        {"match_histogram": False},
    ],
    ids=lambda option: next(iter(option)),
)
def test_each_option_has_an_effect(option: dict[str, Any]) -> None:
    assert not np.array_equal(cnn(**option), cnn())


def test_learning_rate_and_history_bytes_have_an_effect() -> None:
    fast, slow = (cnn(optimizer="adam", learning_rate=rate) for rate in (0.1, 0.001))
    assert not np.array_equal(fast, slow)
    short, long = (cnn(n_iter=12, history_bytes=n) for n in (0, 1 << 30))
    assert not np.array_equal(short, long)


def test_layer_weights_by_order_are_those_by_name() -> None:
    by_name = cnn(layer_weights={"relu2": 3.0, "relu4": 0.0})
    np.testing.assert_array_equal(by_name, cnn(layer_weights=[1, 3, 0]))
    assert steps_of(layer_weights=[1, 3, 0])[0].losses["relu4"] == 0


def test_seeds_are_a_batch_of_each_alone() -> None:
    together = cnn(seed=[3, 1])
    assert together.shape == (2, 40, 48)
    np.testing.assert_array_equal(together[0], cnn(seed=3))
    np.testing.assert_array_equal(together[1], cnn(seed=1))
    assert not np.array_equal(cnn(seed=None), cnn(seed=None))


def test_leading_axes_are_pictures_of_their_own() -> None:
    features = gf.features.random(levels=2)
    images = torch.stack([tensor(COLOUR), 1 - tensor(COLOUR)])[:, None]
    for options in ({"features": features}, {}):
        result = cnn(images, seed=[0, 1], **options)
        assert result.shape == (2, 2, 1, 3, 40, 48)
        for i, j in np.ndindex(2, 2):
            torch.testing.assert_close(result[i, j, 0], cnn(images[j, 0], seed=i, **options), rtol=0, atol=0)
    steps = steps_of(images, features=features)
    torch.testing.assert_close(steps[-1].picture().shape, images.shape[2:])
    assert {step.item for step in steps} == {0, 1}
    assert cnn(images[:0], features=features).shape == (0, 1, 3, 40, 48)


def test_a_mixture_is_the_weighted_mean_of_gram_matrices() -> None:
    features = tiny_networks.vgg()
    other = np.ascontiguousarray(COLOUR[:32, ::-1, ::-1]) ** 2
    x = tensor(COLOUR)[None].flip(-1)
    exemplars = [tensor(one)[None] for one in (COLOUR, other)]
    loss, _, parts = _Model(features, None, None, None, None).evaluation((40, 48), exemplars, [0.25, 0.75])(x)

    def gram(picture: torch.Tensor) -> Any:
        flat = {name: m[0].flatten(1).double() for name, m in features(picture).items()}
        return {name: f @ f.mT / f.shape[1] for name, f in flat.items()}

    found, a, b = gram(x), *map(gram, exemplars)
    for name, part in parts.items():
        target = 0.25 * a[name] + 0.75 * b[name]
        expected = ((found[name] - target) ** 2).mean() / (target**2).mean() / 3
        assert part == pytest.approx(float(expected), rel=1e-4)
    assert loss == pytest.approx(sum(parts.values()))

    mixed = cnn([COLOUR, other], weights=[1, 3], features=features)
    assert not np.array_equal(mixed, cnn([COLOUR, other], weights=[3, 1], features=features))
    at = np.linspace(0, 1, 50)
    quantiles = np.average([np.quantile(one[..., 0], at) for one in (COLOUR, other)], axis=0, weights=[1, 3])
    np.testing.assert_allclose(np.quantile(mixed[..., 0], at), quantiles, atol=0.02)


@pytest.mark.parametrize("image", [STRIPES, COLOUR], ids=["grey", "colour"])
def test_it_begins_with_noise_of_the_exemplar_s_colours(image: np.ndarray) -> None:
    starts: list[torch.Tensor] = []

    def features(x: torch.Tensor) -> dict[str, torch.Tensor]:
        starts.append(x.detach().clone())
        return {"x": x}

    cnn([image, 0.5 * image], 96, weights=[1, 3], features=features, scales=1, n_iter=1)
    noise = starts[-1][0].flatten(1).double()
    colours = tensor(image).double().reshape(len(noise), -1)
    torch.testing.assert_close(noise.mean(1), 0.625 * colours.mean(1), rtol=0.02, atol=0)
    covariance = (0.25 + 0.75 * 0.25) * torch.cov(colours)
    torch.testing.assert_close(torch.cov(noise), covariance, rtol=0.1, atol=1e-4)
    far = (starts[-1][..., 1:] - starts[-1][..., :-1]).double()
    torch.testing.assert_close(torch.cov(far[0].flatten(1)), 2 * covariance, rtol=0.1, atol=1e-4)


def test_any_callable_serves() -> None:
    def gradients(x: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"x": x, "dx": x.diff(dim=-1), "dy": x.diff(dim=-2)}

    steps = steps_of(COLOUR, features=gradients, n_iter=40)
    assert steps[-1].loss < 0.02 * steps[0].loss
    assert list(steps_of(COLOUR, features=gradients, layers=["dy", "x"])[0].losses) == ["dy", "x"]


def test_a_tileable_result_has_no_seam() -> None:
    """Rolling it by whole strides changes nothing that the loss sees; a result with borders is changed by it."""
    model = _Model(tiny_networks.vgg().padded_by("circular"), None, None, None, None)
    evaluate = model.evaluation((32, 48), [tensor(COLOUR)[None]], [1.0])
    x = torch.rand(1, 3, 32, 48)
    loss, gradient, _ = evaluate(x)
    rolled_loss, rolled_gradient, _ = evaluate(x.roll((8, 16), (-2, -1)))
    assert rolled_loss == pytest.approx(loss, rel=1e-5)
    torch.testing.assert_close(rolled_gradient, gradient.roll((8, 16), (-2, -1)), rtol=1e-3, atol=1e-6)

    white = RNG.standard_normal((64, 64))
    frequency = np.hypot(64 * np.fft.fftfreq(64)[:, None], np.arange(33))
    smooth = np.fft.irfft2(np.fft.rfft2(white) * np.exp(-frequency / 3), s=white.shape)
    blobs = (0.5 + 0.2 * smooth / smooth.std()).astype(np.float32)[:56, :60]

    def jump(picture: np.ndarray) -> float:
        inside = np.abs(np.diff(picture, axis=0)).mean() + np.abs(np.diff(picture, axis=1)).mean()
        across = np.abs(picture[0] - picture[-1]).mean() + np.abs(picture[:, 0] - picture[:, -1]).mean()
        return float(across / inside)

    assert jump(cnn(blobs, 64, tileable=True, n_iter=40)) < 2
    assert jump(cnn(blobs, 64, n_iter=40)) > 3


def test_a_circular_network_makes_a_tileable_result() -> None:
    features = gf.features.random(levels=2)
    np.testing.assert_array_equal(
        cnn(features=features.padded_by("circular"), scales=2), cnn(features=features, tileable=True, scales=2)
    )


@pytest.mark.parametrize("tileable", [False, True])
def test_tiles_change_nothing_but_the_last_bits(tileable: bool) -> None:
    image = np.tile(COLOUR, (3, 2, 1))[:96, :96].astype(np.float64)  # a line search amplifies what float32 rounds
    whole, tiled = (
        steps_of(image, 128, features=tiny_networks.vgg(), tileable=tileable, tile=tile, n_iter=4)
        for tile in (None, 48)
    )
    assert [step.loss for step in tiled] == pytest.approx([step.loss for step in whole], rel=1e-6)


def test_tiles_bound_what_features_see() -> None:
    features = tiny_networks.vgg()
    sides: list[int] = []
    features.register_forward_pre_hook(lambda _, arguments: sides.extend(arguments[0].shape[-2:]))
    cnn(np.tile(COLOUR, (4, 4, 1)), 160, features=features, tile=32, n_iter=1)
    assert max(sides) < 110


def test_scales_are_halves() -> None:
    sizes = [step.size for step in steps_of(size=(64, 70), scales=3, n_iter=1)]
    assert sizes == [(16, 18), (32, 35), (64, 70)]
    wide = np.tile(STRIPES, (4, 4))
    assert [s.size[0] for s in steps_of(wide, n_iter=1)] == [40, 80, 160]


def test_an_exemplar_is_reduced_as_the_result_is() -> None:
    """Coarse results are compared with coarse exemplars: the pattern keeps its size in pixels."""
    seen: list[tuple[int, ...]] = []

    def features(x: torch.Tensor) -> dict[str, torch.Tensor]:
        if not x.requires_grad:
            seen.append(tuple(x.shape[-2:]))
        return {"x": x}

    cnn(size=(80, 160), features=features, scales=2)
    assert seen == [(20, 24), (40, 48)]


def test_tolerance_ends_the_synthesis() -> None:
    steps = steps_of(n_iter=60, tolerance=1e-2)
    assert len(steps) < 60
    assert steps[-1].loss <= 1e-2 < steps[-2].loss


def test_the_step_s_picture_is_what_would_be_returned() -> None:
    pictures: list[np.ndarray] = []
    result = cnn(COLOUR, callback=lambda step: pictures.append(step.picture()))
    assert any(np.array_equal(result, picture) for picture in pictures)


def test_ctrl_c_keeps_the_picture() -> None:
    def interrupt(step: DescentStep) -> None:
        if step.iteration == 2:
            raise KeyboardInterrupt

    with pytest.warns(RuntimeWarning, match="stopped by Ctrl-C after 2 of 6 evaluations"):
        result = cnn(seed=[0, 1], callback=interrupt)
    assert result.shape == (2, 40, 48)
    np.testing.assert_array_equal(np.sort(result[1], axis=None), np.sort(STRIPES, axis=None))


def test_a_constant_exemplar_gives_its_constant() -> None:
    np.testing.assert_array_equal(cnn(np.full((16, 16, 3), 77, np.uint8)), np.full((16, 16, 3), 77, np.uint8))
    assert (cnn(np.zeros((16, 16), np.float32)) == 0).all()


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"image": "x"}, TypeError, "image must be a numpy.ndarray or a torch.Tensor, got str"),
        ({"image": np.full((16, 16), np.nan)}, ValueError, "image must be finite"),
        ({"image": np.zeros((16, 4))}, ValueError, "image must be at least 8x8"),
        ({"image": [COLOUR, COLOUR[..., :2]]}, ValueError, r"image\[1\] must have the number of channels"),
        ({"size": (4, 40)}, ValueError, "size must be at least 8"),
        ({"n_iter": 0}, ValueError, "n_iter must be at least 1, got 0"),
        ({"scales": 0}, ValueError, "scales must be at least 1, got 0"),
        ({"scales": 4}, ValueError, "scales must be at most 3 for a shortest side of 40 pixels, got 4"),
        ({"scales": "all"}, ValueError, "scales must be 'auto' or an integer, got 'all'"),
        ({"optimizer": "sgd"}, ValueError, "optimizer must be one of 'lbfgs', 'adam', got 'sgd'"),
        ({"learning_rate": 0}, ValueError, "learning_rate must be a positive finite number, got 0"),
        ({"history_bytes": -1}, ValueError, "history_bytes must be at least 0, got -1"),
        ({"tolerance": -1}, ValueError, "tolerance must be 0 or a positive"),
        ({"seed": []}, ValueError, "seed must be None"),
        ({"weights": [1, 2]}, ValueError, "weights must hold one number for each exemplar"),
        ({"layers": ["conv9"]}, ValueError, "got 'conv9'; there are input, conv1, relu1"),
        ({"layer_weights": [1, 2]}, ValueError, "one number for each of relu1, relu2, relu4, got 2"),
        ({"layer_weights": {"x": 1}}, ValueError, "must name layers in use, got 'x'; these are relu1"),
        ({"layer_weights": [0, 0, 0]}, ValueError, "not all 0"),
        ({"layer_weights": [1, -1, 0]}, ValueError, "not negative"),
        ({"tile": 16}, ValueError, "tile must be at least 32, got 16"),
        ({"tile": 1.5}, TypeError, "tile must be an integer, got 1.5"),
        ({"tileable": True, "size": (40, 50)}, ValueError, "size must be a multiple of 4 for a tileable .* got 40x50"),
        ({"features": 3}, TypeError, "features must be callable, got int"),
        ({"features": lambda x: x}, TypeError, "features must give a dict of feature maps, got Tensor"),
        ({"features": lambda x: {"a": x}, "layers": ["b"]}, ValueError, "got 'b'; there are a"),
        ({"features": lambda x: {"a": x}, "tile": 64}, ValueError, "tile needs features of genimg_fast.features"),
        ({"features": lambda x: {"a": x}, "tileable": True}, ValueError, "tileable needs features of"),
        ({"features": lambda x: {"a": x / 0}}, ValueError, "the loss must be finite"),
        ({"device": "nowhere"}, ValueError, "device must be one that torch has here, got 'nowhere'"),
        ({"image": np.zeros((16, 16, 2)), "features": tiny_networks.vgg()}, ValueError, "C of 1 or 3"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else None,
)
def test_refusals(arguments: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        cnn(**{"image": STRIPES} | arguments)
