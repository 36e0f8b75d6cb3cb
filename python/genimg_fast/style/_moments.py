"""Feature maps with another picture's moments: AdaIN and WCT.

X. Huang, S. Belongie, "Arbitrary style transfer in real-time with adaptive instance normalization", ICCV 2017; Y. Li et
al., "Universal style transfer via feature transforms", NIPS 2017. Both train a decoder that turns maps into pictures;
`genimg_fast.style.transfer` finds one by descent.
"""

from __future__ import annotations

import math

import torch

import genimg_fast as gf
from genimg_fast._core.backend import strided
from genimg_fast._torch import full_precision

_EPSILON = 1e-5  # of the largest variance: what is below counts as no variance at all


def adain(content: torch.Tensor, style: torch.Tensor) -> torch.Tensor:
    """Return feature maps whose channels have the means and the standard deviations of another's.

    Huang & Belongie 2017, equation 8.

    Args:
        content: (..., C, H, W), floats.
        style: (..., C, H', W'), of the same dtype; leading axes broadcast.

    Returns:
        (..., C, H, W). A channel that hardly varies in the content becomes the style's mean.

    Raises:
        TypeError: Not tensors of floats of one dtype.
        ValueError: Different numbers of channels, or no positions.
    """
    _check("adain", content, style)
    # Squares of maps of any range are as good as those of [0, 1].
    unit, style_unit = _unit(content), _unit(style)
    content, style = content / unit, style / style_unit
    (variance, mean), (style_variance, style_mean) = (
        torch.var_mean(maps, (-2, -1), correction=0, keepdim=True) for maps in (content, style)
    )
    varies = variance > _EPSILON * variance.amax(-3, keepdim=True)
    gain = torch.where(varies, style_variance / torch.where(varies, variance, 1), 0).sqrt()
    return ((content - mean) * gain + style_mean) * style_unit


def wct(content: torch.Tensor, style: torch.Tensor) -> torch.Tensor:
    """Return feature maps whose channels have the means and the covariances of another's: whitened, then coloured.

    Li et al. 2017, section 3.2. Without gradients.

    Args:
        content: (..., C, H, W), floats; more than one position.
        style: (..., C, H', W'), of the same dtype; more than one position; leading axes broadcast.

    Returns:
        (..., C, H, W). Directions in which the content hardly varies stay at the style's mean.

    Raises:
        TypeError: Not tensors of floats of one dtype.
        ValueError: Different numbers of channels, or one position.
    """
    _check("wct", content, style)
    unit, style_unit = _unit(content), _unit(style)
    content, style = content.detach() / unit, style.detach() / style_unit
    whiten = _power(gf.gram_matrix(content, normalization="wct"), -0.5)
    colour = _power(gf.gram_matrix(style, normalization="wct"), 0.5)
    mean, style_mean = (maps.mean((-2, -1), keepdim=True) for maps in (content, style))
    matrix = (colour @ whiten).to(content.dtype)
    coloured = full_precision(torch.matmul, matrix, (content - mean).flatten(-2))
    return (coloured.unflatten(-1, content.shape[-2:]) + style_mean) * style_unit


def _unit(maps: torch.Tensor) -> torch.Tensor:
    """Return a power of two (..., 1, 1, 1) about as large as the largest absolute value of maps (..., C, H, W)."""
    largest = torch.linalg.vector_norm(maps.detach(), math.inf, (-3, -2, -1), keepdim=True)
    most = -math.log2(torch.finfo(maps.dtype).tiny)
    return largest.log2().floor().clamp(-most, most if maps.dtype != torch.float16 else 15).exp2()


def _power(covariance: torch.Tensor, exponent: float) -> torch.Tensor:
    """Return a power of symmetric matrices, float64, which is 0 in directions of no variance."""
    variances, axes = torch.linalg.eigh(covariance.double())
    varies = variances > _EPSILON * variances[..., -1:]
    powers = torch.where(varies, torch.where(varies, variances, 1) ** exponent, 0)
    return (axes * powers[..., None, :]) @ axes.mT


def _check(function: str, content: torch.Tensor, style: torch.Tensor) -> None:
    kinds = [x.dtype if isinstance(x, torch.Tensor) else type(x).__name__ for x in (content, style)]
    if not all(isinstance(x, torch.Tensor) and x.is_floating_point() for x in (content, style)) or len(set(kinds)) > 1:
        got = f"{kinds[0]} and {kinds[1]}"
        raise TypeError(f"{function}: content and style must be tensors of floats of one dtype, got {got}")
    for name, maps in (("content", content), ("style", style)):
        strided(function, name, maps)
    shapes = [tuple(x.shape) for x in (content, style)]
    if min(map(len, shapes)) < 3 or shapes[0][-3] != shapes[1][-3] or not content.numel() * style.numel():
        got = f"{shapes[0]} and {shapes[1]}"
        raise ValueError(f"{function}: content and style must be (..., C, H, W) with the same C, got {got}")
