"""Whose colours a result has: luminance and chrominance, and matched colours."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from genimg_fast.style._colours import luminance, match_colours, match_luminance, with_luminance

RNG = np.random.default_rng(0)
MIXING = np.array([[0.2, 0.05, 0], [0.1, 0.15, 0.02], [0.05, 0.1, 0.1]])


def coloured(height: int, width: int) -> np.ndarray:
    noise = np.einsum("cd,dhw->chw", MIXING, RNG.standard_normal((3, height, width)))
    return noise + np.array([0.5, 0.4, 0.3])[:, None, None]


CONTENT, STYLE = coloured(20, 30), coloured(25, 17)[::-1] ** 2
# FCC NTSC: rows Y, I, Q.
YIQ = np.array([[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])


@pytest.mark.parametrize("kind", [np.asarray, torch.from_numpy])
def test_another_luminance_leaves_the_chrominance(kind: type) -> None:
    y = RNG.random((1, 20, 30))
    planes = np.asarray(with_luminance(kind(CONTENT.copy()), kind(y)))
    before, after = (np.einsum("cd,dhw->chw", YIQ, p) for p in (CONTENT, planes))
    np.testing.assert_allclose(after[0], y[0], atol=1e-12)
    np.testing.assert_allclose(after[1:], before[1:], atol=1e-12)
    np.testing.assert_allclose(np.asarray(luminance(kind(CONTENT.copy()))), before[:1], atol=1e-12)


def test_matched_luminance_has_the_content_s_mean_and_deviation() -> None:
    style, content = luminance(STYLE), luminance(CONTENT)
    matched = match_luminance(style, content)
    assert (matched.mean(), matched.std()) == pytest.approx((content.mean(), content.std()))
    assert np.corrcoef(matched.ravel(), style.ravel())[0, 1] == pytest.approx(1)
    constant = match_luminance(np.full((1, 8, 8), 0.2), content)
    np.testing.assert_allclose(constant, content.mean())


@pytest.mark.parametrize("method", ["pca", "cholesky"])
def test_matched_colours_have_the_content_s_mean_and_covariance(method: str) -> None:
    matched = match_colours(STYLE, CONTENT, method).reshape(3, -1)
    np.testing.assert_allclose(matched.mean(1), CONTENT.reshape(3, -1).mean(1), atol=1e-12)
    expected = np.cov(CONTENT.reshape(3, -1), bias=True)
    np.testing.assert_allclose(np.cov(matched, bias=True), expected, atol=2e-3 * expected.max())


def test_cholesky_factors_keep_the_order_of_channels() -> None:
    """Lower triangular factors: the first channel is scaled only, which symmetric roots do not do."""
    first = {m: match_colours(STYLE, CONTENT, m)[0].ravel() for m in ("pca", "cholesky")}
    correlation = {m: np.corrcoef(values, STYLE[0].ravel())[0, 1] for m, values in first.items()}
    assert correlation["cholesky"] == pytest.approx(1)
    assert correlation["pca"] < 0.999


def test_matched_histograms_are_the_content_s() -> None:
    matched = match_colours(STYLE, CONTENT, "histogram")
    at = np.linspace(0.05, 0.95, 19)
    for found, expected in zip(matched, CONTENT, strict=True):
        np.testing.assert_allclose(np.quantile(found, at), np.quantile(expected, at), atol=0.02)


@pytest.mark.parametrize("method", ["pca", "cholesky", "histogram"])
def test_one_channel_and_float32(method: str) -> None:
    style, content = STYLE[:1].astype(np.float32), CONTENT[:1].astype(np.float32)
    matched = match_colours(style, content, method)
    assert (matched.dtype, matched.shape) == (np.float32, style.shape)
    assert (matched.mean(), matched.std()) == pytest.approx((content.mean(), content.std()), rel=0.02)


@pytest.mark.parametrize("method", ["pca", "cholesky", "histogram"])
def test_a_grey_style_in_colour_stays_finite(method: str) -> None:
    grey = np.repeat(STYLE[:1], 3, axis=0)
    assert np.isfinite(match_colours(grey, CONTENT, method)).all()
    assert np.isfinite(match_colours(STYLE, grey, method)).all()
