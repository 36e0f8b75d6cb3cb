"""A VGG of a few channels, in the formats in which the real one's weights come."""

from __future__ import annotations

import torch
from torch import nn

WIDTHS = {"vgg16": (4, 4, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6, 6), "vgg19": (4, 4, 6, 6, 5, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 6)}
DEPTHS = {"vgg16": (2, 2, 3, 3, 3), "vgg19": (2, 2, 4, 4, 4)}


def names(model: str) -> list[str]:
    return [f"conv{i}_{j}" for i, n in enumerate(DEPTHS[model], 1) for j in range(1, n + 1)]


def torchvision_like(model: str, pool: type[nn.Module] = nn.MaxPool2d, seed: int = 0) -> nn.Sequential:
    """Return what torchvision calls ``vgg.features``: convolutions and rectifiers in turn, pools between blocks."""
    torch.manual_seed(seed)
    layers: list[nn.Module] = []
    widths = iter(WIDTHS[model])
    before = 3
    for depth in DEPTHS[model]:
        for _ in range(depth):
            width = next(widths)
            layers += [nn.Conv2d(before, width, 3, padding=1), nn.ReLU()]
            before = width
        layers.append(pool(2))
    return nn.Sequential(*layers)


def state(model: str, seed: int = 0) -> dict[str, torch.Tensor]:
    """Return a state dict with torchvision's keys."""
    found = torchvision_like(model, seed=seed).state_dict()
    return {f"features.{key}": value for key, value in found.items()} | {"classifier.0.bias": torch.zeros(3)}


def by_layer(network: nn.Sequential, model: str, x: torch.Tensor) -> dict[str, torch.Tensor]:
    """Return the map after each layer of `torchvision_like`, by the names of Simonyan and Zisserman's blocks."""
    labels = []
    for block, depth in enumerate(DEPTHS[model], 1):
        for j in range(1, depth + 1):
            labels += [f"conv{block}_{j}", f"relu{block}_{j}"]
        labels.append(f"pool{block}")
    maps = {}
    for label, layer in zip(labels, network, strict=True):
        x = layer(x)
        maps[label] = x
    return maps
