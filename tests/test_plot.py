"""Figures: every band is drawn where it belongs, with its values."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest

pytest.importorskip("matplotlib")

import genimg_fast as gf
from genimg_fast import plot

IMAGE = np.random.default_rng(0).random((32, 48), np.float32)


def drawn(figure) -> list[tuple[str, np.ndarray]]:
    """The titles and values of all pictures in a figure, in order."""
    return [(axis.get_title(), np.asarray(axis.images[0].get_array())) for axis in figure.axes if axis.images]


def spatial_bands() -> dict:
    """The keys and shapes of a spatial pyramid."""
    rng = np.random.default_rng(0)
    bands = {"residual_highpass": rng.standard_normal((32, 48))}
    bands |= {(s, b): rng.standard_normal((32 >> s, 48 >> s)) for s in range(2) for b in range(2)}
    return bands | {"residual_lowpass": rng.standard_normal((8, 12))}


def test_real_pyramid_has_a_row_for_each_scale() -> None:
    coeffs = gf.SteerablePyramidFreq(IMAGE.shape, height=2, order=2)(IMAGE)
    figure = plot.pyramid(coeffs)
    shown = drawn(figure)
    expected = [coeffs["residual_highpass"], *coeffs[0], *coeffs[1], coeffs["residual_lowpass"]]
    assert len(shown) == len(expected)
    for (_, values), band in zip(shown, expected, strict=True):
        np.testing.assert_array_equal(values, band)
    assert len(figure.axes) == 4 * 3
    assert "scale 1, band 2" in shown[6][0]
    assert "16x24" in shown[6][0]
    figure.canvas.draw()


def test_grey_is_0_in_bands() -> None:
    coeffs = gf.SteerablePyramidFreq(IMAGE.shape, height=1)(IMAGE)
    pictures = [axis.images[0] for axis in plot.pyramid(coeffs).axes if axis.images]
    for picture in pictures[:-1]:
        low, high = picture.get_clim()
        assert low == -high
    assert pictures[-1].get_clim() == (coeffs["residual_lowpass"].min(), coeffs["residual_lowpass"].max())


def test_residuals_may_be_left_out() -> None:
    coeffs = gf.SteerablePyramidFreq(IMAGE.shape, height=1, order=1)(IMAGE)
    assert len(drawn(plot.pyramid(coeffs, residuals=False))) == 2


@pytest.mark.parametrize(
    ("parts", "functions"),
    [("rectangular", (np.real, np.imag)), ("polar", (np.abs, np.angle)), ("magnitude", (np.abs,))],
)
def test_parts_of_complex_bands(parts: str, functions: tuple) -> None:
    coeffs = gf.SteerablePyramidFreq(IMAGE.shape, height=1, order=1, is_complex=True)(IMAGE)
    shown = drawn(plot.pyramid(coeffs, parts=parts, residuals=False))
    expected = [function(band) for band in coeffs[0] for function in functions]
    assert len(shown) == len(expected)
    for (_, values), band in zip(shown, expected, strict=True):
        np.testing.assert_allclose(values, band, rtol=1e-6)


def test_spatial_pyramid() -> None:
    coeffs = spatial_bands()
    shown = drawn(plot.pyramid(coeffs))
    for (_, values), band in zip(shown, coeffs.values(), strict=True):
        np.testing.assert_array_equal(values, band)
    assert "scale 1, band 1" in shown[4][0]


def test_pyramid_of_a_tensor_with_single_leading_axes() -> None:
    torch = pytest.importorskip("torch")
    image = torch.from_numpy(IMAGE)[None, None].requires_grad_()
    coeffs = gf.SteerablePyramidFreq(IMAGE.shape, height=1)(image)
    assert len(drawn(plot.pyramid(coeffs))) == 6


@pytest.mark.parametrize(
    ("coeffs", "options", "message"),
    [
        ({0: np.zeros((2, 4, 8, 8))}, {}, r"one picture with one channel, got leading axes \(2,\)"),
        ({}, {}, "coeffs must hold the bands of a pyramid"),
        ({0: np.zeros((4, 8, 8))}, {"parts": "phase"}, "parts must be one of"),
    ],
)
def test_bad_coefficients_are_named(coeffs: dict, options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        plot.pyramid(coeffs, **options)


def test_histograms_draw_both_and_their_distance() -> None:
    figure = plot.histograms({"a": np.zeros(10), "b": np.ones(4)}, {"a": np.full(5, 2.0), "b": np.ones(8)}, bins=7)
    titles = [axis.get_title() for axis in figure.axes if axis.get_title()]
    assert titles == ["a distance 2", "b distance 0"]
    assert [text.get_text() for text in figure.axes[0].get_legend().get_texts()] == ["reference", "image"]
    assert len(figure.axes[0].patches) == 7 + 1


def test_histograms_of_two_pictures() -> None:
    assert len(plot.histograms(IMAGE, IMAGE).axes) == 1
    with pytest.raises(ValueError, match="the same keys"):
        plot.histograms({"a": IMAGE}, {"b": IMAGE})


def test_synthesis_draws_pictures_at_one_scale_and_the_convergence() -> None:
    result = np.zeros((64, 40), np.uint8)
    figure = plot.synthesis((IMAGE * 255).astype(np.uint8), result, [0.5, 0.1, 0.05])
    exemplar, other, curve = figure.axes
    assert exemplar.get_xlim() == other.get_xlim() == (-0.5, 47.5)
    assert exemplar.get_ylim() == other.get_ylim() == (63.5, -0.5)
    np.testing.assert_array_equal(curve.lines[0].get_ydata(), [0.5, 0.1, 0.05])
    assert len(plot.synthesis(IMAGE, IMAGE).axes) == 2


def test_synthesis_draws_a_curve_for_each_name() -> None:
    errors = [{"marginals": 1.0, "phases": 0.5}, {"marginals": 0.1, "phases": 0.2}, {"phases": 0.1}]
    curves = plot.synthesis(IMAGE, IMAGE, errors, quantity="relative error").axes[2]
    assert curves.get_yscale() == "log"
    assert curves.get_title() == "relative error"
    assert [text.get_text() for text in curves.get_legend().get_texts()] == ["marginals", "phases"]
    np.testing.assert_array_equal(curves.lines[0].get_ydata(), [1.0, 0.1, np.nan])
    np.testing.assert_array_equal(curves.lines[1].get_ydata(), [0.5, 0.2, 0.1])
    assert plot.synthesis(IMAGE, IMAGE, [0.5]).axes[2].get_legend() is None


def test_transfer_draws_pictures_and_the_parts_of_the_loss() -> None:
    losses = [{"start": 3.0}, {"content": 1.0, "style": 2.0}, {"content": 0.5, "style": 0.2}]
    figure = plot.transfer(IMAGE, [IMAGE, IMAGE[:8]], IMAGE, losses)
    *pictures, curves = figure.axes
    assert [axis.get_title().split(",")[0] for axis in pictures] == ["content", "style 1", "style 2", "result"]
    assert [line.get_label() for line in curves.lines] == ["start", "content", "style"]
    np.testing.assert_array_equal(curves.lines[2].get_ydata(), [np.nan, 2.0, 0.2])
    assert len(plot.transfer(IMAGE, [IMAGE], IMAGE).axes) == 3


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_pictures_are_drawn_with_their_own_white(dtype: type) -> None:
    white = np.iinfo(dtype).max if np.issubdtype(dtype, np.integer) else 1
    picture = np.full((8, 8, 3), white, dtype)
    assert (drawn(plot.synthesis(picture, picture))[0][1] == 1).all()


def test_tensors_are_drawn_channels_last() -> None:
    torch = pytest.importorskip("torch")
    assert drawn(plot.synthesis(torch.rand(3, 8, 9), torch.rand(8, 9)))[0][1].shape == (8, 9, 3)


def test_pyplot_is_not_touched() -> None:
    before = set(sys.modules)
    plot.synthesis(IMAGE, IMAGE)
    assert "matplotlib.pyplot" not in set(sys.modules) - before


def test_histograms_of_many_values_take_no_time() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=400_000), rng.normal(1, 2, size=300_001)
    title = plot.histograms({"band": a}, {"band": b}).axes[0].get_title()
    # Normal laws: the mean distance of the quantiles is that of 1 + z and 0.
    expected = np.abs(1 + rng.normal(size=1_000_000)).mean()
    assert float(title.removeprefix("band distance ")) == pytest.approx(expected, abs=0.02)


@pytest.mark.parametrize("sizes", [(7, 7), (5, 8), (8, 5), (1, 4)])
def test_the_distance_is_that_of_hazen_s_quantiles(sizes: tuple[int, int]) -> None:
    rng = np.random.default_rng(1)
    a, b = (rng.random(n) for n in sizes)
    at = (np.arange(max(sizes)) + 0.5) / max(sizes)
    expected = np.abs(np.quantile(a, at, method="hazen") - np.quantile(b, at, method="hazen")).mean()
    assert plot._quantile_distance(a, b) == pytest.approx(expected)


def test_a_small_exemplar_is_magnified() -> None:
    axes = plot.synthesis(np.zeros((16, 16)), np.zeros((256, 200))).axes
    assert axes[0].get_xlim() == (-0.5, 200 / 4 - 0.5)
    assert axes[1].get_xlim() == (-0.5, 199.5)
    assert axes[0].get_title() == "exemplar, 16x16, drawn 4 times as large"
    assert axes[1].get_title() == "synthesis, 256x200"


@pytest.mark.parametrize("draw", [plot.synthesis, lambda x, result: plot.transfer(x, [], result)])
def test_results_may_leave_the_unit_range_but_not_their_sources(draw: Any) -> None:
    draw(np.zeros((8, 8)), np.full((8, 8), 3.0))
    with pytest.raises(ValueError, match=r"must lie in \[0, 1\], got float64 from 3 to 3"):
        draw(np.full((8, 8), 3.0), np.zeros((8, 8)))
