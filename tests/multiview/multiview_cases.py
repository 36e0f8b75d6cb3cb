"""Views by formulas of their own, and float64 lines of what a step computes from them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

SQUARE = ("identity", "flip", "hflip", "rotate_180", "rotate_cw", "rotate_ccw", "skew", "inner_circle", "square_hinge")
ANY = ("identity", "flip", "hflip", "rotate_180", "skew", "inner_circle", "negate")
SHAPES = [(3, 1, 1), (1, 5, 5), (3, 37, 37), (4, 64, 64), (2, 33, 70), (3, 16, 9), (1, 130, 50)]


def names_for(shape: tuple[int, int, int]) -> list[str]:
    square = shape[1] == shape[2] and shape[1] >= 3
    return [*(SQUARE if square else ANY), *(["negate"] if square else []), "pixel_permute", "flip @ negate"]


def source(name: str, height: int, width: int) -> Callable[[int, int], tuple[int, int]]:
    """Return which pixel a view takes to (y, x)."""

    def skew(y: int, x: int) -> tuple[int, int]:
        return (y - int(1.5 * (x - width // 2))) % height, x

    def circle(y: int, x: int) -> tuple[int, int]:
        dy, dx, radius = y - (height - 1) / 2, x - (width - 1) / 2, 3 * min(height, width) / 8
        return (height - 1 - y, width - 1 - x) if dy**2 + dx**2 < radius**2 else (y, x)

    def hinge(y: int, x: int) -> tuple[int, int]:
        side = min(height, width) // 3
        i, j = y // side, x // side
        if max(i, j) > 2:
            return y, x
        square = np.stack(np.meshgrid(range(side), range(side), indexing="ij"))
        turned = np.rot90(square, k=-1 if (i + j) % 2 == 0 else 1, axes=(1, 2))[:, y % side, x % side]
        return i * side + int(turned[0]), j * side + int(turned[1])

    return {
        "identity": lambda y, x: (y, x),
        "negate": lambda y, x: (y, x),
        "flip": lambda y, x: (height - 1 - y, x),
        "flip @ negate": lambda y, x: (height - 1 - y, x),
        "hflip": lambda y, x: (y, width - 1 - x),
        "rotate_180": lambda y, x: (height - 1 - y, width - 1 - x),
        "rotate_cw": lambda y, x: (width - 1 - x, y),
        "rotate_ccw": lambda y, x: (x, width - 1 - y),
        "skew": skew,
        "inner_circle": circle,
        "square_hinge": hinge,
    }[name]


def index_of(view: Any, name: str, shape: tuple[int, int, int]) -> np.ndarray:
    """Return the sources y W + x of a view; those of a random permutation as the view itself has them."""
    _, height, width = shape
    if name == "pixel_permute":
        places = np.arange(height * width, dtype=np.float64).reshape(1, height, width)
        return view.apply(np.broadcast_to(places, shape))[0].astype(int).ravel()
    find = source(name, height, width)
    return np.array([y * width + x for y, x in (find(*divmod(p, width)) for p in range(height * width))])


class Lines:
    """What the operations compute, in float64, view by view."""

    def __init__(self, views: Any) -> None:
        self.shape = views.shape
        self.indices = [index_of(view, name, views.shape) for view, name in zip(views, views.names, strict=True)]
        self.signs = [-1.0 if "negate" in name else 1.0 for name in views.names]

    def apply(self, x: torch.Tensor, view: int) -> torch.Tensor:
        out = x.flatten(-2)[..., torch.from_numpy(self.indices[view])].reshape(x.shape)
        return self.signs[view] * out

    def inverse(self, x: torch.Tensor, view: int, signed: bool = True) -> torch.Tensor:
        out = torch.empty_like(x).flatten(-2)
        out[..., torch.from_numpy(self.indices[view])] = x.flatten(-2)
        return (self.signs[view] if signed else 1.0) * out.reshape(x.shape)

    def stack(self, x: torch.Tensor, copies: int) -> torch.Tensor:
        return torch.cat([self.apply(x, i) for _ in range(copies) for i in range(len(self.indices))])

    def predictions(self, stack: torch.Tensor, guidance: Any) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """Return each view's prediction and variance, turned back."""
        n, channels = len(self.indices), self.shape[0]
        parts = stack.double().reshape(-1, n, len(stack) // n // (1 if guidance is None else 2), *stack.shape[1:])
        scales = [1.0] * n if guidance is None else [guidance] * n if np.isscalar(guidance) else guidance
        noises, variances = [], []
        for i in range(n):
            unconditional, conditional = parts[0, i], parts[-1, i]
            guided = unconditional + scales[i] * (conditional - unconditional)
            noises.append(self.inverse(guided[:, :channels].contiguous(), i))
            variances.append(self.inverse(conditional[:, channels:].contiguous(), i, signed=False))
        return noises, variances


def normal(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64, device: str = "cpu") -> torch.Tensor:
    x = torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return x.to(device=device, dtype=dtype)
