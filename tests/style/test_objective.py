"""The loss of style transfer against plain lines in float64: normalisations, mixtures, masks, histograms, tiles."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import tiny_networks
import torch

from genimg_fast._feature_sums import FeatureSums
from genimg_fast.style._normalizations import NORMALIZATIONS
from genimg_fast.style._objective import Layers, Region, Weights, objective, starting_objective

SIZE = (40, 48)
STYLE_LAYERS = {"relu1": 1.0, "pool2": 2.0}
CONTENT_LAYERS = {"conv4": 0.5, "relu1": 1.0}
LAYERS = Layers(CONTENT_LAYERS, STYLE_LAYERS)
TERMS = Weights(content=0.7, style=1.3, histogram=0.0, variation=0.0)


def picture(height: int = SIZE[0], width: int = SIZE[1], *, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    smooth = torch.rand(1, 3, height // 4 + 1, width // 4 + 1, generator=generator, dtype=torch.float64)
    large = torch.nn.functional.interpolate(smooth, (height, width), mode="bilinear")
    return 0.9 * large + 0.1 * torch.rand(1, 3, height, width, generator=generator, dtype=torch.float64)


X, CONTENT = picture(seed=0), picture(seed=1)
STYLES = [picture(36, 60, seed=2), picture(52, 32, seed=3)]


def flat_maps(x: torch.Tensor, features: Any = None) -> dict[str, np.ndarray]:
    """Return maps (C, P), float64."""
    names = tuple(dict.fromkeys([*STYLE_LAYERS, *CONTENT_LAYERS]))
    return {n: m[0].flatten(1).numpy() for n, m in (features or tiny_networks.vgg(layers=names))(x).items()}


def gram(f: np.ndarray) -> np.ndarray:
    return f @ f.T / f.shape[1]


def evaluated(
    regions: Sequence[Region],
    weights: Weights = TERMS,
    normalization: str = "relative",
    *,
    features: Any = None,
    layers: Layers = LAYERS,
    tile: int | None = None,
    x: torch.Tensor = X,
) -> tuple[float, torch.Tensor, Mapping[str, float]]:
    sums = FeatureSums(features or tiny_networks.vgg(), layers.names, tile)
    size = (x.shape[-2], x.shape[-1])
    return objective(sums, size, CONTENT, regions, layers, weights, NORMALIZATIONS[normalization])(x)


# ---- Normalisations -------------------------------------------------------------------------------------------------
# Of each project, in its own words, from maps (C, P) of one layer: content (f, p), style (f, s), and whether layers are
# averaged.


def mean_square(f: np.ndarray, p: np.ndarray) -> float:
    return float(np.mean((f - p) ** 2))


def chw(f: np.ndarray, s: np.ndarray) -> float:
    return mean_square(f @ f.T / f.size, s @ s.T / s.size)


def gatys(f: np.ndarray, s: np.ndarray) -> float:
    n = len(f)
    return float(((gram(f) - gram(s)) ** 2).sum() / (4 * n**2))


def gatys_pytorch(f: np.ndarray, s: np.ndarray) -> float:
    return 1e3 / len(f) ** 2 * mean_square(gram(f), gram(s))


def keras(f: np.ndarray, s: np.ndarray) -> float:
    """Both pictures have the same size there, and Gram matrices are divided by nothing."""
    pixels = SIZE[0] * SIZE[1]
    return float(((f @ f.T - gram(s) * f.shape[1]) ** 2).sum() / (4 * 3**2 * pixels**2))


def relative(f: np.ndarray, s: np.ndarray) -> float:
    return mean_square(gram(f), gram(s)) / float(np.mean(gram(s) ** 2))


PROJECTS: dict[str, tuple[Callable[..., float], Callable[..., float], bool]] = {
    "relative": (lambda f, p: mean_square(f, p) / float(np.mean(p**2)), relative, True),
    "gatys": (lambda f, p: float(((f - p) ** 2).sum()) / 2, gatys, True),
    "gatys-pytorch": (mean_square, gatys_pytorch, False),
    "jcjohnson": (mean_square, chw, False),
    "neural-style-pt": (mean_square, chw, False),
    "pytorch-tutorial": (mean_square, chw, False),
    "keras": (lambda f, p: float(((f - p) ** 2).sum()), keras, True),
}


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_losses_are_the_project_s(normalization: str) -> None:
    of_content, of_style, is_mean = PROJECTS[normalization]
    found, content, style = flat_maps(X), flat_maps(CONTENT), flat_maps(STYLES[0])

    def over_layers(layers: Mapping[str, float], loss: Callable[..., float], target: Mapping[str, Any]) -> float:
        total = sum(weight * loss(found[n], target[n]) for n, weight in layers.items())
        return total / sum(layers.values()) if is_mean else total

    value, _, parts = evaluated([Region([(STYLES[0], 1.0)])], normalization=normalization)
    expected_content = 0.7 * over_layers(CONTENT_LAYERS, of_content, content)
    expected_style = 1.3 * over_layers(STYLE_LAYERS, of_style, style)
    assert parts == pytest.approx({"content": expected_content, "style": expected_style}, rel=1e-9)
    assert value == pytest.approx(expected_content + expected_style, rel=1e-9)


def test_published_weights_and_layers() -> None:
    """As the projects' sources have them: content, style, total variation."""
    assert {name: one.weights for name, one in NORMALIZATIONS.items() if name != "relative"} == {
        "gatys": (1, 1e3, 0),
        "gatys-pytorch": (1, 1, 0),
        "jcjohnson": (5, 100, 1e-3),
        "neural-style-pt": (5, 100, 1e-3),
        "pytorch-tutorial": (1, 1e6, 0),
        "keras": (2.5e-8, 1e-6, 1e-6),
    }
    assert {name: one.content_layers for name, one in NORMALIZATIONS.items() if one.content_layers != ("relu4_2",)} == {
        "pytorch-tutorial": ("conv2_2",),
        "keras": ("relu5_2",),
    }
    assert NORMALIZATIONS["pytorch-tutorial"].style_layers == ("conv1_1", "conv1_2", "conv2_1", "conv2_2", "conv3_1")


# ---- Total variation ------------------------------------------------------------------------------------------------


def variation(name: str, x: np.ndarray) -> float:
    down, right = x[:, 1:, :-1] - x[:, :-1, :-1], x[:, :-1, 1:] - x[:, :-1, :-1]
    square = down**2 + right**2
    if name == "jcjohnson":
        return 255**2 * square.sum() / 2
    if name == "neural-style-pt":
        return 255 * (np.abs(np.diff(x, axis=1)).sum() + np.abs(np.diff(x, axis=2)).sum())
    if name == "keras":
        return ((255**2 * square) ** 1.25).sum()
    return (np.sqrt(square + 0.01**2) - 0.01).mean()


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_total_variation(normalization: str) -> None:
    region = [Region([(STYLES[0], 1.0)])]
    plain = evaluated(region, normalization=normalization)
    value, gradient, parts = evaluated(region, replace(TERMS, variation=0.3), normalization)
    expected = 0.3 * variation(normalization, X[0].numpy())
    assert parts["variation"] == pytest.approx(expected, rel=1e-9)
    assert value == pytest.approx(plain[0] + expected, rel=1e-9)
    assert "variation" not in plain[2]

    def along(step: float) -> float:
        return 0.3 * variation(normalization, (X + step * direction)[0].numpy())

    direction = torch.sin(torch.arange(X.numel(), dtype=torch.float64)).reshape(X.shape)
    slope = float(((gradient - plain[1]) * direction).sum())
    assert slope == pytest.approx((along(1e-7) - along(-1e-7)) / 2e-7, rel=1e-4)


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_a_constant_has_no_variation(normalization: str) -> None:
    assert float(NORMALIZATIONS[normalization].variation(torch.full((1, 3, 9, 9), 0.3))) == 0


# ---- Several styles, and regions ------------------------------------------------------------------------------------


def test_a_mixture_is_the_weighted_mean_of_gram_matrices() -> None:
    _, _, parts = evaluated([Region([(STYLES[0], 0.25), (STYLES[1], 0.75)])])
    found, a, b = (flat_maps(x) for x in (X, *STYLES))
    expected = 0.0
    for n, weight in STYLE_LAYERS.items():
        target = 0.25 * gram(a[n]) + 0.75 * gram(b[n])
        expected += weight / 3 * mean_square(gram(found[n]), target) / float(np.mean(target**2))
    assert parts["style"] == pytest.approx(1.3 * expected, rel=1e-9)


def halves() -> tuple[torch.Tensor, torch.Tensor]:
    left = torch.zeros(1, 1, *SIZE, dtype=torch.float64)
    left[..., :16] = 1.0  # a third of the width
    return left, 1 - left


def pixels(x: torch.Tensor) -> dict[str, torch.Tensor]:
    """Features that see one pixel each."""
    return {"x": x, "x2": x.square()}


PIXEL_LAYERS = Layers({"x": 1.0}, {"x": 1.0, "x2": 1.0})


def test_a_region_s_loss_is_that_of_its_own_pixels() -> None:
    left, right = halves()
    regions = [Region([(STYLES[0], 1.0)], left), Region([(STYLES[1], 1.0)], right, 2.0)]
    _, _, parts = evaluated(regions, features=pixels, layers=PIXEL_LAYERS)
    inside = [X[..., :16], X[..., 16:]]
    expected = 0.0
    for share, pixels_inside, style in zip((1 / 3, 2 * 2 / 3), inside, STYLES, strict=True):
        found, target = (flat_maps(x, pixels) for x in (pixels_inside, style))
        expected += share * np.mean([relative(found[n], target[n]) for n in ("x", "x2")])
    assert parts["style"] == pytest.approx(1.3 * expected, rel=1e-9)


def test_a_region_s_gradient_depends_on_its_own_style_only() -> None:
    left, right = halves()
    style_only = replace(TERMS, content=0.0)

    def gradient(second: torch.Tensor) -> torch.Tensor:
        regions = [Region([(STYLES[0], 1.0)], left), Region([(second, 1.0)], right)]
        return evaluated(regions, style_only, features=pixels, layers=PIXEL_LAYERS)[1]

    a, b = gradient(STYLES[1]), gradient(STYLES[0])
    torch.testing.assert_close(a[..., :16], b[..., :16], rtol=0, atol=0)
    assert not torch.allclose(a[..., 16:], b[..., 16:])
    alone = evaluated([Region([(STYLES[0], 1.0)], left)], style_only, features=pixels, layers=PIXEL_LAYERS)[1]
    torch.testing.assert_close(alone[..., :16], a[..., :16])
    assert (alone[..., 16:] == 0).all()


def test_masks_are_averaged_over_what_a_position_covers() -> None:
    """Guided by T, a layer's Gram matrix is that of T F, divided by the sum of T squared."""
    generator = torch.Generator().manual_seed(5)
    mask = torch.rand(1, 1, *SIZE, generator=generator, dtype=torch.float64)
    layers = Layers({"conv4": 1.0}, {"pool2": 1.0})
    _, _, parts = evaluated([Region([(STYLES[0], 1.0)], mask)], layers=layers)
    features = tiny_networks.vgg()
    guide = torch.nn.functional.avg_pool2d(mask, 4)[0].flatten().numpy()
    f, s = (features.taking(["pool2"])(x)["pool2"][0].flatten(1).numpy() for x in (X, STYLES[0]))
    guided = (f * guide) @ (f * guide).T / (guide**2).sum()
    expected = mean_square(guided, gram(s)) / float(np.mean(gram(s) ** 2))
    assert parts["style"] == pytest.approx(1.3 * float(mask.mean()) * expected, rel=1e-9)


# ---- Histograms -----------------------------------------------------------------------------------------------------


def test_the_histogram_loss_is_the_distance_to_matched_maps() -> None:
    only = Weights(0.0, 0.0, 2.0, 0.0)
    same_size = picture(seed=7)
    _, _, parts = evaluated([Region([(same_size, 1.0)])], only, features=pixels, layers=PIXEL_LAYERS)
    found, style = (flat_maps(x, pixels) for x in (X, same_size))
    expected = np.mean(
        [np.mean((np.sort(found[n]) - np.sort(style[n])) ** 2) / np.mean(style[n] ** 2) for n in ("x", "x2")]
    )
    assert parts["histogram"] == pytest.approx(2 * expected, rel=1e-6)


def test_the_histogram_s_gradient_leads_to_the_style_s_histogram() -> None:
    """Of the pixels themselves: one step to the end is x - matched."""
    only = Weights(0.0, 0.0, 1.0, 0.0)
    style = picture(seed=7)
    layers = Layers({"x": 1.0}, {"x": 1.0})
    _, gradient, _ = evaluated([Region([(style, 1.0)])], only, features=pixels, layers=layers)
    energy = float(style.square().mean())
    end = X - gradient * X.numel() * energy / 2
    torch.testing.assert_close(end.flatten(2).sort().values, style.flatten(2).sort().values, rtol=0, atol=1e-6)


def test_histograms_are_those_of_the_region() -> None:
    left, _ = halves()
    only = Weights(0.0, 0.0, 1.0, 0.0)
    layers = Layers({"x": 1.0}, {"x": 1.0})
    style = picture(SIZE[0], 16, seed=7)
    _, gradient, parts = evaluated([Region([(style, 1.0)], left)], only, features=pixels, layers=layers)
    assert (gradient[..., 16:] == 0).all()
    distance = np.mean((np.sort(X[0, :, :, :16].flatten(1).numpy()) - np.sort(style[0].flatten(1).numpy())) ** 2)
    assert parts["histogram"] == pytest.approx(float(distance / style.square().mean()) / 3, rel=1e-6)


# ---- Tiles ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tile", [32, 40])
def test_tiles_change_nothing(tile: int) -> None:
    left, right = halves()
    weights = replace(TERMS, variation=0.1)
    for regions in (
        [Region([(STYLES[0], 0.25), (STYLES[1], 0.75)])],
        [Region([(STYLES[0], 1.0)], left), Region([(STYLES[1], 1.0)], right)],
    ):
        whole, tiled = (evaluated(regions, weights, tile=t) for t in (None, tile))
        assert tiled[0] == pytest.approx(whole[0], rel=1e-9)
        assert tiled[2] == pytest.approx(whole[2], rel=1e-9)
        torch.testing.assert_close(tiled[1], whole[1], rtol=1e-6, atol=1e-9 * float(whole[1].abs().max()))


# ---- Fast starts ----------------------------------------------------------------------------------------------------


def start_of(regions: Sequence[Region], x: torch.Tensor, start: str = "adain") -> tuple[float, torch.Tensor, Any]:
    layers = Layers({"x": 1.0}, {"x": 1.0})
    return starting_objective(FeatureSums(pixels, layers.names), SIZE, CONTENT, regions, layers, start)(x)


@pytest.mark.parametrize("start", ["adain", "wct"])
def test_a_start_s_least_has_the_style_s_moments(start: str) -> None:
    loss, gradient, parts = start_of([Region([(STYLES[0], 1.0)])], CONTENT, start)
    assert parts == {"start": loss}
    # Of c |x - target|^2 the target is x less 2 loss / |gradient|^2 gradients.
    target = (CONTENT - 2 * loss / gradient.square().sum() * gradient)[0].flatten(1)
    style = STYLES[0][0].flatten(1)
    torch.testing.assert_close(target.mean(1), style.mean(1))
    if start == "adain":
        torch.testing.assert_close(target.var(1, correction=0), style.var(1, correction=0))
    else:
        torch.testing.assert_close(torch.cov(target), torch.cov(style))


def test_a_start_leaves_what_no_mask_reaches() -> None:
    left, _ = halves()
    _, gradient, _ = start_of([Region([(STYLES[0], 1.0)], left)], CONTENT)
    assert (gradient[..., 16:] == 0).all()
    assert (gradient[..., :16] != 0).any()


def test_overlapping_masks_share_a_start() -> None:
    everywhere = torch.ones(1, 1, *SIZE, dtype=torch.float64)
    _, overlapping, _ = start_of([Region([(style, 1.0)], everywhere) for style in STYLES], X)
    _, mixed, _ = start_of([Region([(style, 0.5) for style in STYLES])], X)
    torch.testing.assert_close(overlapping, mixed)
