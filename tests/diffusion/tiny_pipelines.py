"""Random networks of the shapes that pipelines of diffusers have, and a plain loop over views."""

from __future__ import annotations

import diffusers
import torch

import genimg_fast as gf

NAMES = ["identity", "rotate_cw", "negate"]
PROMPT = torch.randn(3, 5, 8, generator=torch.Generator().manual_seed(5))
NEGATIVE = torch.randn(3, 5, 8, generator=torch.Generator().manual_seed(6))


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def plain_unet(channels: int = 3, out: int = 6, size: int = 8, **options):
    torch.manual_seed(0)
    return diffusers.UNet2DModel(
        sample_size=size, in_channels=channels, out_channels=out, block_out_channels=(8, 16), layers_per_block=1,
        down_block_types=("DownBlock2D",) * 2, up_block_types=("UpBlock2D",) * 2, norm_num_groups=4,
        add_attention=False, **options,
    ).eval()  # fmt: skip


def text_unet(channels: int = 3, out: int = 6, size: int = 8, **options):
    torch.manual_seed(1)
    return diffusers.UNet2DConditionModel(
        sample_size=size, in_channels=channels, out_channels=out, block_out_channels=(8, 16), layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        norm_num_groups=4, cross_attention_dim=8, attention_head_dim=4, **options,
    ).eval()  # fmt: skip


def views(channels: int = 3, names=NAMES, size: int = 8) -> gf.Views:
    return gf.Views(list(names), (channels, size, size))


def loop(each, bound, x, weights=None, mean=True):
    """Return the average over views of ``each(i, view of x)``: the noise turned back, the variance moved back."""
    c = bound.shape[0]
    weights = weights or [1.0] * len(bound)
    noise = variance = 0.0
    for i, (view, w) in enumerate(zip(bound, weights, strict=True)):
        seen = torch.cat([view.apply(part) for part in x.split(c, 1)], 1)
        found = each(i, seen)
        noise = noise + w * view.inverse(found[:, :c])
        variance = variance + w / sum(weights) * (view.variance(found[:, c:]) if found.shape[1] > c else 0)
    noise = noise / sum(weights) if mean else noise
    return torch.cat([noise, variance], 1) if torch.is_tensor(variance) else noise


def close(a: torch.Tensor, b: torch.Tensor) -> bool:
    return a.shape == b.shape and torch.allclose(a, b, rtol=1e-5, atol=1e-5)
