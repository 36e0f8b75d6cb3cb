"""Networks that are trained for a few steps on a few pictures: for mechanics, not for pictures."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

import genimg_fast as gf

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (12, 8, 8), dtype=np.uint8)
LABELS = np.arange(12) % 3
OPTIONS: dict[str, Any] = {"steps": 4, "batch_size": 4, "widths": (16,), "progress": False}


def train(data: Any = (IMAGES, LABELS), **options: Any) -> gf.diffusion.Model:
    return gf.diffusion.train(data, **OPTIONS | options)


def weights(model: gf.diffusion.Model) -> dict[str, torch.Tensor]:
    return model.network.state_dict()


def same(a: gf.diffusion.Model, b: gf.diffusion.Model) -> bool:
    """Whether two models have the same weights, bit for bit."""
    return all(torch.equal(x, y) for x, y in zip(weights(a).values(), weights(b).values(), strict=True))
