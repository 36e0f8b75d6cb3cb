"""AdaIN and WCT: the moments are the style's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

import genimg_fast as gf

TRANSFORMS = [gf.style.adain, gf.style.wct]


def maps(*shape: int, seed: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    """Return maps whose channels have various means, scales and correlations."""
    generator = torch.Generator().manual_seed(seed)
    channels = shape[-3]
    mixing = torch.randn(channels, channels, generator=generator, dtype=dtype)
    noise = torch.randn(shape, generator=generator, dtype=dtype)
    means = torch.randn(channels, 1, 1, generator=generator, dtype=dtype)
    return torch.einsum("cd,...dhw->...chw", mixing, noise) + means


CONTENT, STYLE = maps(5, 12, 15, seed=0), maps(5, 20, 9, seed=1)


def covariance(x: torch.Tensor) -> torch.Tensor:
    return torch.cov(x.flatten(1))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_adain_has_the_style_s_means_and_deviations(dtype: torch.dtype) -> None:
    result = gf.style.adain(CONTENT.to(dtype), STYLE.to(dtype)).double()
    rtol = 1e-5 if dtype == torch.float32 else 1e-12
    torch.testing.assert_close(result.mean((1, 2)), STYLE.mean((1, 2)), rtol=rtol, atol=rtol)
    torch.testing.assert_close(result.var((1, 2), correction=0), STYLE.var((1, 2), correction=0), rtol=rtol, atol=0)
    # Nothing else changes: each channel is the content's, scaled and moved.
    correlations = [
        torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1] for a, b in zip(result, CONTENT, strict=True)
    ]
    torch.testing.assert_close(torch.stack(correlations), torch.ones(5).double(), rtol=1e-5, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_wct_has_the_style_s_means_and_covariances(dtype: torch.dtype) -> None:
    result = gf.style.wct(CONTENT.to(dtype), STYLE.to(dtype))
    assert result.dtype == dtype
    rtol = 1e-4 if dtype == torch.float32 else 1e-10
    torch.testing.assert_close(result.double().mean((1, 2)), STYLE.mean((1, 2)), rtol=rtol, atol=rtol)
    largest = float(covariance(STYLE).abs().max())
    torch.testing.assert_close(covariance(result.double()), covariance(STYLE), rtol=0, atol=rtol * largest)


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_maps_in_their_own_style_stay(transform: Callable[..., Any]) -> None:
    torch.testing.assert_close(transform(CONTENT, CONTENT), CONTENT, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_what_does_not_vary_becomes_the_style_s_mean(transform: Callable[..., Any]) -> None:
    content = CONTENT.clone()
    content[2] = 0.7
    result = transform(content, STYLE)
    assert result.isfinite().all()
    constant = transform(torch.full_like(CONTENT, 3.0), STYLE)
    torch.testing.assert_close(constant, STYLE.mean((1, 2), keepdim=True).expand_as(CONTENT))
    if transform is gf.style.adain:
        torch.testing.assert_close(result[2], STYLE[2].mean().expand(12, 15))
    else:  # four directions vary, and the fifth is not made up of rounding errors
        assert int((torch.linalg.eigvalsh(covariance(result)) > 1e-9).sum()) == 4


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_leading_axes_broadcast(transform: Callable[..., Any]) -> None:
    contents, styles = maps(2, 1, 5, 6, 7, seed=2), maps(3, 5, 8, 4, seed=3)
    result = transform(contents, styles)
    assert result.shape == (2, 3, 5, 6, 7)
    for i in range(2):
        for j in range(3):
            torch.testing.assert_close(result[i, j], transform(contents[i, 0], styles[j]))


def test_adain_has_a_gradient() -> None:
    content = maps(2, 3, 4, seed=4).requires_grad_()
    style = maps(2, 4, 3, seed=5).requires_grad_()
    assert torch.autograd.gradcheck(gf.style.adain, (content, style))


@pytest.mark.parametrize("transform", TRANSFORMS)
@pytest.mark.parametrize(
    ("content", "style", "error", "words"),
    [
        (CONTENT, STYLE[:4], ValueError, r"the same C, got \(5, 12, 15\) and \(4, 20, 9\)"),
        (CONTENT[0], STYLE, ValueError, r"must be \(\.\.\., C, H, W\)"),
        (CONTENT[:, :0], STYLE, ValueError, r"got \(5, 0, 15\)"),
        (CONTENT.float(), STYLE, TypeError, "of one dtype, got torch.float32 and torch.float64"),
        (CONTENT.int(), STYLE.int(), TypeError, "tensors of floats"),
        (CONTENT.numpy(), STYLE, TypeError, "got ndarray and torch.float64"),
    ],
)
def test_refusals(transform: Callable[..., Any], content: Any, style: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        transform(content, style)
