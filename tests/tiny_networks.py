"""Networks of a few channels with VGG's blocks."""

from __future__ import annotations

import torch

from genimg_fast.features import Network, Stage
from genimg_fast.features._network import Convolution, Pool, Rectifier


def vgg(pooling: str = "average", layers: tuple[str, ...] = ("relu1", "pool2", "conv4")) -> Network:
    """Return four blocks of a convolution, a rectifier and a pool."""
    generator = torch.Generator().manual_seed(0)
    stages: list[Stage] = []
    before = 3
    for block in range(1, 5):
        weight = torch.randn(5, before, 3, 3, generator=generator) / (9 * before) ** 0.5
        bias = 0.1 * torch.randn(5, generator=generator)
        last = stages[-1].name if stages else None
        stages += [
            Stage(f"conv{block}", last, Convolution(weight, bias)),
            Stage(f"relu{block}", f"conv{block}", Rectifier()),
            Stage(f"pool{block}", f"relu{block}", Pool(pooling)),
        ]
        before = 5
    return Network(stages, layers)
