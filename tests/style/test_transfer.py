"""style.transfer: that each option does what it says, kinds of pictures, and what it refuses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tiny_networks
import torch

import genimg_fast as gf
from genimg_fast.features import Network, Stage
from genimg_fast.features._network import Convolution, Rectifier
from genimg_fast.style import DescentStep
from genimg_fast.style._colours import luminance

RNG = np.random.default_rng(0)


def picture(height: int, width: int, *, frequency: float, colours: tuple[float, float, float]) -> np.ndarray:
    """Return stripes with noise, in colours."""
    rows, columns = np.mgrid[:height, :width]
    stripes = 0.5 + 0.3 * np.sin(frequency * (rows + 0.5 * columns))
    planes = [c * stripes + 0.1 * RNG.random((height, width)) for c in colours]
    return np.stack(planes, -1).astype(np.float32)


CONTENT = picture(40, 48, frequency=0.15, colours=(0.9, 0.6, 0.3))
STYLE = picture(44, 36, frequency=1.0, colours=(0.2, 0.5, 0.8))
OTHER = picture(36, 40, frequency=0.6, colours=(0.8, 0.3, 0.7))
MASK = np.zeros((40, 48), np.float32)
MASK[:, :20] = 1


def transfer(content: Any = CONTENT, style: Any = STYLE, *arguments: Any, **options: Any) -> Any:
    defaults: dict[str, Any] = {"features": tiny_networks.vgg(), "seed": 1, "n_iter": 3, "progress": False}
    return gf.style.transfer(content, style, *arguments, **defaults | options)


def steps_of(content: Any = CONTENT, style: Any = STYLE, *arguments: Any, **options: Any) -> list[DescentStep]:
    steps: list[DescentStep] = []
    transfer(content, style, *arguments, callback=steps.append, **options)
    return steps


def first(**options: Any) -> np.ndarray:
    """Return the picture that the descent begins with."""
    pictures: list[np.ndarray] = []
    transfer(callback=lambda step: pictures.append(step.picture()), **{"n_iter": 1} | options)
    return pictures[0]


def tensor(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(array if array.ndim == 2 else np.ascontiguousarray(np.moveaxis(array, -1, 0)))


def planes(array: np.ndarray) -> np.ndarray:
    return np.moveaxis(array, -1, 0)


def pixels(x: torch.Tensor) -> dict[str, torch.Tensor]:
    return {"x": x, "x2": x.square()}


# ---- What is minimised ----------------------------------------------------------------------------------------------


def test_the_loss_falls_and_the_best_picture_is_returned() -> None:
    options = {"n_iter": 40, "style_weight": 100, "tv_weight": 0}
    steps = steps_of(**options)
    assert steps[-1].loss < 0.05 * steps[0].loss
    assert list(steps[0].losses) == ["content", "style"]
    assert all(step.loss == pytest.approx(sum(step.losses.values()), rel=1e-5) for step in steps)
    best = min(steps, key=lambda step: step.loss)
    again = steps_of(transfer(**options), **options)[0]
    assert again.losses["style"] == pytest.approx(best.losses["style"], rel=1e-3)


def test_a_style_of_its_own_changes_nothing() -> None:
    steps = steps_of(style=CONTENT, tv_weight=0)
    assert steps[0].loss == pytest.approx(0, abs=1e-9)
    np.testing.assert_allclose(transfer(style=CONTENT, tv_weight=0), CONTENT, atol=1e-6)


def test_weights_of_terms() -> None:
    """Of the same pictures, each part is its weight times as large."""
    options = {"init": "mixed", "n_iter": 1}
    plain = steps_of(**options, histogram_weight=1, tv_weight=1)[0].losses
    found = steps_of(**options, content_weight=2, style_weight=7, histogram_weight=3, tv_weight=5)[0].losses
    assert list(plain) == ["content", "style", "histogram", "variation"]
    style = gf.style._normalizations.NORMALIZATIONS["relative"].weights[1]
    expected = {"content": 2.0, "style": 7 / style, "histogram": 3.0, "variation": 5.0}
    assert {name: found[name] / plain[name] for name in plain} == pytest.approx(expected, rel=1e-4)


def test_a_term_without_weight_has_no_say() -> None:
    content_only = transfer(init="noise", n_iter=60, style_weight=0, tv_weight=0, features=pixels, content_layers="x")
    np.testing.assert_allclose(content_only, CONTENT, atol=0.02)
    style_only = transfer(n_iter=60, content_weight=0, tv_weight=0, features=pixels)
    for found, expected in zip(planes(style_only), planes(STYLE), strict=True):
        assert (found**2).mean() == pytest.approx((expected**2).mean(), rel=2e-2)


def test_histograms() -> None:
    options = {"n_iter": 60, "content_weight": 0, "style_weight": 0, "tv_weight": 0, "features": pixels}
    result = transfer(histogram_weight=1, style_layers="x", **options)
    at = np.linspace(0, 1, 21)
    for found, expected in zip(planes(result), planes(STYLE), strict=True):
        np.testing.assert_allclose(np.quantile(found, at), np.quantile(expected, at), atol=0.02)


def test_total_variation_smooths() -> None:
    rough, smooth = (transfer(tv_weight=weight, n_iter=20) for weight in (0, 100))
    assert np.abs(np.diff(smooth, axis=1)).mean() < 0.5 * np.abs(np.diff(rough, axis=1)).mean()


@pytest.mark.parametrize("normalization", gf.style.NORMALIZATIONS)
def test_a_normalization_brings_its_weights(normalization: str) -> None:
    definition = gf.style._normalizations.NORMALIZATIONS[normalization]
    content, style, variation = definition.weights
    options = {"normalization": normalization, "init": "mixed", "n_iter": 1}
    by_name = steps_of(**options)[0].losses
    by_number = steps_of(**options, content_weight=content, style_weight=style, tv_weight=variation)[0].losses
    assert by_name == by_number
    assert ("variation" in by_name) == (variation > 0)


def vgg_names() -> Network:
    """Return a network of one layer under all the names of VGG."""
    generator = torch.Generator().manual_seed(0)
    stages: list[Stage] = []
    for block in range(1, 6):
        for j in (1, 2):
            weight = torch.randn(3, 3, 1, 1, generator=generator)
            before = stages[-1].name if stages else None
            stages.append(Stage(f"conv{block}_{j}", before, Convolution(weight, torch.zeros(3))))
            stages.append(Stage(f"relu{block}_{j}", f"conv{block}_{j}", Rectifier()))
    return Network(stages, ["relu1_1"])


@pytest.mark.parametrize(
    ("normalization", "content_layers", "style_layers"),
    [
        ("relative", ["relu4_2"], ["relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1"]),
        ("pytorch-tutorial", ["conv2_2"], ["conv1_1", "conv1_2", "conv2_1", "conv2_2", "conv3_1"]),
        ("keras", ["relu5_2"], ["relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1"]),
    ],
)
def test_the_layers_of_a_vgg(normalization: str, content_layers: list[str], style_layers: list[str]) -> None:
    options = {"features": vgg_names(), "normalization": normalization, "init": "mixed", "n_iter": 1}
    named = steps_of(**options, content_layers=content_layers, style_layers=style_layers)
    assert steps_of(**options)[0].losses == named[0].losses


def test_the_layers_of_other_features() -> None:
    options: dict[str, Any] = {"init": "mixed", "n_iter": 1}
    named = steps_of(**options, content_layers=["pool2"], style_layers=["relu1", "pool2", "conv4"])
    assert steps_of(**options)[0].losses == named[0].losses
    named = steps_of(**options, features=pixels, content_layers="x", style_layers=["x", "x2"])
    assert steps_of(**options, features=pixels)[0].losses == named[0].losses


def test_layers_have_weights() -> None:
    options: dict[str, Any] = {"init": "mixed", "n_iter": 1, "features": pixels}
    x, x2 = (steps_of(**options, content_layers=name, style_layers=name)[0].losses for name in ("x", "x2"))
    mean = steps_of(
        **options,
        content_layers={"x": 1, "x2": 3},
        style_layers={
            "x": 2,
            "x2": 6,
        },
    )[0].losses
    for part in ("content", "style"):
        assert mean[part] == pytest.approx(0.25 * x[part] + 0.75 * x2[part], rel=1e-4)


# ---- Styles and masks -----------------------------------------------------------------------------------------------


def test_weights_of_styles() -> None:
    """Between both, the mean square of each channel is the weighted mean of theirs."""
    options = {"features": pixels, "style_layers": "x", "content_weight": 0, "tv_weight": 0, "n_iter": 60}
    result = transfer(style=[STYLE, OTHER], weights=[1, 3], **options)
    expected = 0.25 * (STYLE**2).mean((0, 1)) + 0.75 * (OTHER**2).mean((0, 1))
    np.testing.assert_allclose((result**2).mean((0, 1)), expected, rtol=1e-2)
    equal = transfer(style=[STYLE, OTHER], **options)
    assert not np.allclose(equal, result)
    np.testing.assert_allclose(transfer(style=[STYLE], **options), transfer(**options), atol=0)


@pytest.mark.parametrize("dtype", [np.float32, np.uint8, np.bool_])
def test_masks(dtype: type) -> None:
    """Each region gets the moments of its own style."""
    scale = 255 if dtype == np.uint8 else 1
    masks = [(mask * scale).astype(dtype) for mask in (MASK, 1 - MASK)]
    options = {"features": pixels, "style_layers": "x", "content_weight": 0, "tv_weight": 0, "n_iter": 80}
    result = transfer(style=[STYLE, OTHER], masks=masks, **options)
    for found, style in ((result[:, :20], STYLE), (result[:, 20:], OTHER)):
        np.testing.assert_allclose((found**2).mean((0, 1)), (style**2).mean((0, 1)), rtol=2e-2)


def test_weights_of_regions() -> None:
    """They are relative to each other: their mean counts as 1."""

    def style_loss(**options: Any) -> float:
        return steps_of(n_iter=1, **options)[0].losses["style"]

    rest = 1 - MASK
    alone = style_loss(style=STYLE, masks=MASK), style_loss(style=OTHER, masks=rest)
    both = style_loss(style=[STYLE, OTHER], masks=[MASK, rest], weights=[1, 3])
    assert both == pytest.approx(0.5 * alone[0] + 1.5 * alone[1], rel=1e-4)


def test_where_no_mask_reaches_the_content_stays() -> None:
    options = {"features": pixels, "style_weight": 1e3, "tv_weight": 0, "n_iter": 30}
    result = transfer(masks=MASK, **options)
    np.testing.assert_allclose(result[:, 20:], CONTENT[:, 20:], atol=1e-4)
    assert np.abs(result[:, :20] - CONTENT[:, :20]).mean() > 0.1
    np.testing.assert_array_equal(result, transfer(style=[STYLE], masks=[tensor(MASK)], **options))


def test_masks_suit_any_size_of_the_result() -> None:
    assert transfer(style=[STYLE, OTHER], masks=[MASK, 1 - MASK], size=(56, 60)).shape == (56, 60, 3)


def seen_by(**options: Any) -> list[tuple[int, ...]]:
    """Return the shapes of the pictures that features see without gradients: the content and the styles."""
    shapes: list[tuple[int, ...]] = []

    def features(x: torch.Tensor) -> dict[str, torch.Tensor]:
        if not x.requires_grad:
            shapes.append(tuple(x.shape[1:]))
        return {"x": x}

    transfer(features=features, content_layers="x", style_layers="x", n_iter=1, **options)
    return shapes


def test_the_longer_sides_of_styles() -> None:
    # The style has 44x36 pixels, the result 48.
    assert seen_by() == [(3, 40, 48), (3, 48, 39)]
    assert seen_by(style_scale=0.5) == [(3, 40, 48), (3, 24, 20)]
    assert seen_by(style=[STYLE, OTHER], style_scale=np.array([1.5, 0.5])) == [(3, 40, 48), (3, 72, 59), (3, 22, 24)]
    assert seen_by(size=96, scales=2) == [(3, 40, 48), (3, 48, 39), (3, 80, 96), (3, 96, 79)]


# ---- Colours --------------------------------------------------------------------------------------------------------


def test_luminance_leaves_the_chrominance_exactly() -> None:
    result = transfer(colors="luminance", n_iter=10)
    y, content_y = luminance(planes(result)), luminance(planes(CONTENT))
    np.testing.assert_allclose(planes(result) - y, planes(CONTENT) - content_y, atol=1e-6)
    assert np.abs(y - content_y).mean() > 0.01
    larger = transfer(colors="luminance", size=(80, 96))
    assert larger.shape == (80, 96, 3)


def test_luminance_paints_with_the_content_s_contrast() -> None:
    """The style's luminance is seen with the content's mean and deviation, as one channel."""
    seen: list[torch.Tensor] = []

    def features(x: torch.Tensor) -> dict[str, torch.Tensor]:
        seen.append(x.detach())
        return {"x": x}

    transfer(colors="luminance", features=features, n_iter=1, content_layers="x", style_layers="x")
    style = seen[1]
    assert style.shape[1] == 3  # a callable may not take grey pictures
    y = luminance(planes(CONTENT))
    assert float(style.mean()) == pytest.approx(y.mean(), abs=1e-3)
    assert float(style.std()) == pytest.approx(y.std(), rel=0.1)
    assert torch.equal(style[:, 0], style[:, 2])


def test_luminance_of_grey_pictures() -> None:
    grey = CONTENT[..., 0]
    assert transfer(grey, colors="luminance").shape == (40, 48)
    coloured = transfer(CONTENT, STYLE[..., 1], colors="luminance")
    assert coloured.shape == (40, 48, 3)


@pytest.mark.parametrize("colors", ["pca", "cholesky", "histogram"])
def test_matched_colours(colors: str) -> None:
    """With the pixels as features, the result's means and mean squares are the content's."""
    options = {"features": pixels, "content_weight": 0, "tv_weight": 0, "init": "noise", "n_iter": 100}
    matched, unmatched = (transfer(colors=one, **options) for one in (colors, "style"))
    expected, other = (np.mean(p.astype(np.float64) ** 2, (0, 1)) for p in (CONTENT, STYLE))
    np.testing.assert_allclose((matched**2).mean((0, 1)), expected, rtol=0.05)
    np.testing.assert_allclose((unmatched**2).mean((0, 1)), other, rtol=0.05)


def test_ways_to_match_colours_differ() -> None:
    results = [transfer(colors=one) for one in gf.style.COLORS]
    for i, one in enumerate(results):
        assert not any(np.array_equal(one, other) for other in results[:i])


# ---- Starts ---------------------------------------------------------------------------------------------------------


def test_starts() -> None:
    np.testing.assert_allclose(first(init="content"), CONTENT, atol=1e-6)
    noise = first(init="noise")
    for moment in (np.mean, np.std):
        np.testing.assert_allclose(moment(noise, (0, 1)), moment(STYLE, (0, 1)), rtol=0.15)
    assert abs(np.corrcoef(noise[..., 0].ravel(), CONTENT[..., 0].ravel())[0, 1]) < 0.1
    mixed = first(init="mixed", noise=0.25)
    np.testing.assert_allclose(mixed, 0.75 * CONTENT + 0.25 * noise, atol=1e-6)
    np.testing.assert_allclose(first(init="mixed"), 0.5 * CONTENT + 0.5 * noise, atol=1e-6)


@pytest.mark.parametrize("init", ["adain", "wct"])
def test_fast_starts(init: str) -> None:
    """The descent on the moments comes first, and leaves less to do."""
    steps = steps_of(init=init, n_iter=8, scales=2)
    assert [list(step.losses) for step in steps[:8]] == [["start"]] * 8
    assert [step.size for step in steps] == [(20, 24)] * 16 + [(40, 48)] * 8
    assert steps[-1].n_iter == 24
    assert steps[7].loss < 0.5 * steps[0].loss
    assert steps[8].losses["style"] < 0.2 * steps_of(n_iter=8, scales=2)[0].losses["style"]


def test_fast_starts_differ() -> None:
    adain, wct = (steps_of(init=init, n_iter=8)[0].loss for init in ("adain", "wct"))
    assert adain != pytest.approx(wct, rel=1e-3)


def test_every_item_has_its_fast_start() -> None:
    steps = steps_of(torch.stack([tensor(CONTENT), tensor(CONTENT).flip(-1)]), init="adain", n_iter=2)
    assert [step.item for step in steps] == [0, 0, 1, 1] * 2
    assert [next(iter(step.losses)) for step in steps] == ["start"] * 4 + ["content"] * 4


def test_seeds() -> None:
    noise = {"init": "noise"}
    together = transfer(seed=[3, 1], **noise)
    assert together.shape == (2, 40, 48, 3)
    np.testing.assert_array_equal(together[0], transfer(seed=3, **noise))
    np.testing.assert_array_equal(together[1], transfer(seed=1, **noise))
    assert not np.array_equal(together[0], together[1])
    assert not np.array_equal(transfer(seed=None, **noise), transfer(seed=None, **noise))
    np.testing.assert_array_equal(transfer(seed=3), transfer(seed=1))


# ---- The descent ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("option", [{"n_iter": 4}, {"optimizer": "adam"}, {"tolerance": 1e6}, {"scales": 2}], ids=str)
def test_options_of_the_descent_have_an_effect(option: dict[str, Any]) -> None:
    assert not np.array_equal(transfer(**option), transfer())


def test_learning_rate_and_history_bytes_have_an_effect() -> None:
    fast, slow = (transfer(optimizer="adam", learning_rate=rate) for rate in (0.1, 0.001))
    assert np.abs(fast - CONTENT).mean() > 10 * np.abs(slow - CONTENT).mean()
    short, long = (transfer(n_iter=12, history_bytes=n) for n in (0, 1 << 30))
    assert not np.array_equal(short, long)


def test_tolerance_ends_the_transfer() -> None:
    steps = steps_of(n_iter=60, tolerance=2.0)
    assert len(steps) < 60
    assert steps[-1].loss <= 2.0 < steps[-2].loss


def test_sizes() -> None:
    assert transfer().shape == (40, 48, 3)
    assert transfer(size=(56, 33)).shape == (56, 33, 3)
    assert transfer(size=24).shape == (20, 24, 3)
    assert transfer(tensor(CONTENT), STYLE, 24).shape == (3, 20, 24)


def test_scales_are_halves_down_to_128_pixels() -> None:
    assert [step.size for step in steps_of(size=(64, 72), scales=3, n_iter=1)] == [(16, 18), (32, 36), (64, 72)]
    assert [step.size for step in steps_of(size=(256, 320), n_iter=1, features=pixels)] == [(128, 160), (256, 320)]
    assert [step.size for step in steps_of(size=(255, 320), n_iter=1, features=pixels)] == [(255, 320)]


def test_tiles_give_the_same_losses() -> None:
    content, style = CONTENT.astype(np.float64), STYLE.astype(np.float64)
    whole, tiled = (steps_of(content, style, size=(80, 96), tile=tile, n_iter=4) for tile in (None, 32))
    for a, b in zip(whole, tiled, strict=True):
        assert b.losses == pytest.approx(a.losses, rel=1e-6)


def test_tiles_bound_what_features_see() -> None:
    features = tiny_networks.vgg()
    sides: list[int] = []
    features.register_forward_pre_hook(lambda _, arguments: sides.extend(arguments[0].shape[-2:]))
    transfer(size=(160, 192), tile=32, n_iter=1, features=features)
    assert max(sides) < 110


def test_devices() -> None:
    with pytest.raises(ValueError, match="device must be one that torch has here, got 'nowhere'"):
        transfer(device="nowhere")
    np.testing.assert_array_equal(transfer(device="cpu"), transfer())


def test_the_step_s_picture_is_what_would_be_returned() -> None:
    pictures: list[np.ndarray] = []
    result = transfer(colors="luminance", callback=lambda step: pictures.append(step.picture()))
    assert any(np.array_equal(result, one) for one in pictures)


def test_ctrl_c_keeps_the_picture() -> None:
    kept: list[Any] = []

    def interrupt(step: DescentStep) -> None:
        kept.append((step.loss, step.picture()))
        if step.iteration == 3:
            raise KeyboardInterrupt

    with pytest.warns(RuntimeWarning, match="stopped by Ctrl-C after 3 of 9 evaluations"):
        result = transfer(n_iter=9, callback=interrupt)
    np.testing.assert_array_equal(result, min(kept, key=lambda one: one[0])[1])


@pytest.mark.parametrize("init", ["adain", "noise"])
def test_ctrl_c_at_the_coarsest_size_gives_the_full_one(init: str) -> None:
    def interrupt(step: DescentStep) -> None:
        raise KeyboardInterrupt

    with pytest.warns(RuntimeWarning, match="after 1 of"):
        assert transfer(n_iter=9, init=init, scales=2, callback=interrupt).shape == CONTENT.shape


# ---- Kinds of pictures ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32, np.float64])
@pytest.mark.parametrize("content", [CONTENT[..., 0], CONTENT], ids=["grey", "colour"])
def test_the_kind_is_the_content_s(content: np.ndarray, dtype: type) -> None:
    scale = np.iinfo(dtype).max if np.issubdtype(dtype, np.integer) else 1
    given = (content * scale).astype(dtype)
    result = transfer(given, STYLE[..., 0] if content.ndim == 2 else STYLE)
    assert (result.dtype, result.shape) == (given.dtype, given.shape)
    expected = transfer((given / scale).astype(np.float32), STYLE[..., 0] if content.ndim == 2 else STYLE)
    np.testing.assert_allclose(result / scale, np.clip(expected, 0, 1) if scale > 1 else expected, atol=0.01)
    packed = transfer(tensor(given), STYLE[..., 0] if content.ndim == 2 else STYLE)
    assert packed.dtype == tensor(given).dtype
    np.testing.assert_array_equal(packed.numpy(), tensor(result).numpy())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_tensors(dtype: torch.dtype) -> None:
    result = transfer(tensor(CONTENT).to(dtype))
    assert (result.dtype, result.shape) == (dtype, (3, 40, 48))
    torch.testing.assert_close(result.float(), tensor(transfer()), atol=0.05, rtol=0)


def test_float64_is_computed_in_float64() -> None:
    seen: set[torch.dtype] = set()

    def features(x: torch.Tensor) -> dict[str, torch.Tensor]:
        seen.add(x.dtype)
        return {"x": x}

    transfer(CONTENT.astype(np.float64), features=features, masks=MASK, init="mixed")
    assert seen == {torch.float64}


def test_styles_may_be_of_any_kind() -> None:
    as_bytes = np.rint(STYLE * 255).astype(np.uint8)
    np.testing.assert_allclose(transfer(style=as_bytes), transfer(), atol=0.05)
    np.testing.assert_array_equal(transfer(style=tensor(STYLE)), transfer())
    np.testing.assert_array_equal(transfer(style=tensor(STYLE)[None]), transfer())


def test_grey_contents_take_the_style_s_colours() -> None:
    grey = CONTENT[..., 0]
    result = transfer(grey, n_iter=10)
    assert result.shape == (40, 48, 3)
    np.testing.assert_array_equal(result, transfer(np.stack([grey] * 3, -1), n_iter=10))
    assert np.ptp(result, axis=-1).mean() > 0.1
    assert transfer(tensor(grey)).shape == (3, 40, 48)


def test_grey_styles_count_as_equal_channels() -> None:
    grey = STYLE[..., 0]
    np.testing.assert_array_equal(transfer(style=grey), transfer(style=np.stack([grey] * 3, -1)))


def test_leading_axes_are_pictures_of_their_own() -> None:
    contents = torch.stack([tensor(CONTENT), tensor(CONTENT).flip(-1)])[:, None]
    for options in ({}, {"features": None, "scales": 1}):
        result = transfer(contents, seed=[0, 1], init="mixed", **options)
        assert result.shape == (2, 2, 1, 3, 40, 48)
        for i, j in np.ndindex(2, 2):
            alone = transfer(contents[j, 0], seed=i, init="mixed", **options)
            torch.testing.assert_close(result[i, j, 0], alone, rtol=0, atol=0)
    assert transfer(contents[:0]).shape == (0, 1, 3, 40, 48)


def test_without_features_random_filters_serve() -> None:
    steps = steps_of(features=None, n_iter=20)
    assert steps[-1].loss < 0.2 * steps[0].loss
    assert transfer(CONTENT[..., 0], STYLE[..., 0], features=None).shape == (40, 48)


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"content": "x"}, TypeError, "content must be a numpy.ndarray or a torch.Tensor, got str"),
        ({"content": np.full((16, 16, 3), np.nan)}, ValueError, "content must be finite"),
        ({"content": np.zeros((16, 4))}, ValueError, "content must be at least 8x8"),
        ({"style": np.zeros((4, 16))}, ValueError, "style must be at least 8x8"),
        ({"style": []}, ValueError, "style must be a picture or a list of at least one"),
        ({"style": [STYLE, "x"]}, TypeError, r"style\[1\] must be a numpy.ndarray"),
        (
            {"style": torch.zeros(2, 3, 16, 16)},
            ValueError,
            r"style must be one picture, got the shape \(2, 3, 16, 16\)",
        ),
        ({"style": np.zeros((16, 16, 2))}, ValueError, r"one number of channels, or 1, got \[3, 2\]"),
        (
            {"content": np.zeros((16, 16, 4)), "colors": "luminance"},
            ValueError,
            "needs pictures of 1 or 3 channels, got 4",
        ),
        ({"size": (4, 40)}, ValueError, "size must be at least 8"),
        ({"size": 4}, ValueError, "size must be at least 8, got 4"),
        ({"size": (8, 8, 8)}, ValueError, "size must be one integer or two"),
        ({"weights": [1, 2]}, ValueError, "weights must hold one number for each style, which are 1, got 2"),
        ({"style": [STYLE, OTHER], "weights": [1, -2]}, ValueError, "weights must be positive and finite"),
        (
            {"style": [STYLE, OTHER], "masks": [MASK]},
            ValueError,
            "masks must be a list of one for each of 2 styles, got 1",
        ),
        ({"style": [STYLE, OTHER], "masks": MASK}, ValueError, "one for each of 2 styles, got ndarray"),
        (
            {"masks": MASK[:30]},
            ValueError,
            r"masks\[0\] must have the height and width of the content, \(40, 48\), got",
        ),
        ({"masks": 0 * MASK}, ValueError, "not be 0 everywhere"),
        ({"masks": 2 * MASK}, ValueError, r"masks\[0\] must lie in \[0, 1\], got values from 0 to 2"),
        ({"style_scale": 0}, ValueError, "style_scale must be a positive finite number, got 0"),
        ({"style_scale": [1, 2]}, ValueError, "style_scale must be one number or one for each of 1 styles, got 2"),
        ({"colors": "sepia"}, ValueError, "colors must be one of 'style', 'luminance', 'pca', 'cholesky', 'histogram'"),
        (
            {"init": "sketch"},
            ValueError,
            "init must be one of 'content', 'noise', 'mixed', 'adain', 'wct', got 'sketch'",
        ),
        ({"noise": 2}, ValueError, r"noise must lie in \[0, 1\], got 2"),
        ({"normalization": "l2"}, ValueError, "normalization must be one of 'relative', 'gatys', .* got 'l2'"),
        ({"content_weight": -1}, ValueError, "content_weight must be 0 or a positive finite number, got -1"),
        ({"style_weight": float("nan")}, ValueError, "style_weight must be 0 or a positive finite number, got nan"),
        ({"tv_weight": -1}, ValueError, "tv_weight must be"),
        ({"histogram_weight": -1}, ValueError, "histogram_weight must be"),
        ({"histogram_weight": 1, "tile": 32}, ValueError, "histogram_weight does not go with tile"),
        ({"content_weight": 0, "style_weight": 0}, ValueError, "must not all be 0"),
        ({"n_iter": 0}, ValueError, "n_iter must be at least 1, got 0"),
        ({"scales": 0}, ValueError, "scales must be at least 1, got 0"),
        ({"scales": 9}, ValueError, "scales must be at most 3 for a shortest side of 39 pixels, got 9"),
        ({"optimizer": "sgd"}, ValueError, "optimizer must be one of 'lbfgs', 'adam', got 'sgd'"),
        ({"learning_rate": 0}, ValueError, "learning_rate must be a positive finite number, got 0"),
        ({"history_bytes": -1}, ValueError, "history_bytes must be at least 0, got -1"),
        ({"tolerance": -1}, ValueError, "tolerance must be 0 or a positive"),
        ({"seed": []}, ValueError, "seed must be None"),
        ({"tile": 16}, ValueError, "tile must be at least 32, got 16"),
        ({"tile": 32, "features": pixels}, ValueError, "tile needs features of genimg_fast.features"),
        ({"group": "x"}, ValueError, "group needs tile"),
        ({"features": 3}, TypeError, "features must be callable, got int"),
        ({"features": lambda x: x}, TypeError, "features must give a dict of feature maps, got Tensor"),
        ({"features": lambda x: {"a": x / 0}}, ValueError, "the loss must be finite"),
        ({"content_layers": ["conv9"]}, ValueError, "got 'conv9'; there are conv1, relu1"),
        ({"style_layers": []}, ValueError, "style_layers must hold at least one name, and none twice"),
        ({"style_layers": ["relu1", "relu1"]}, ValueError, "style_layers must hold at least one name, and none twice"),
        ({"style_layers": {"relu1": -1}}, ValueError, r"style_layers\['relu1'\] must be 0 or a positive"),
        ({"style_layers": {"relu1": 0}}, ValueError, "style_layers must not have all weights 0"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else None,
)
def test_refusals(arguments: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        transfer(**arguments)
