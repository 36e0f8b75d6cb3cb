"""The operations as ``torch.nn.Module``, for models that are built of modules.

They have no parameters, and no buffers but the target of `GramLoss`: inputs on any device are served.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

__all__ = ["GramLoss", "MatchHistograms", "SteerablePyramidFreq", "SteerablePyramidSpace"]


class _Pyramid(torch.nn.Module):
    """A pyramid of ``genimg_fast`` as a module; its attributes are at hand under their own names."""

    def __init__(self, pyramid: Any) -> None:
        super().__init__()
        self.pyramid = pyramid

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name == "pyramid":
                raise
            return getattr(self.pyramid, name)

    def extra_repr(self) -> str:
        return repr(self.pyramid)


class SteerablePyramidFreq(_Pyramid):
    """``genimg_fast.SteerablePyramidFreq`` as a module, with its arguments, methods and attributes."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        from genimg_fast.steerable.freq import SteerablePyramidFreq as Pyramid

        super().__init__(Pyramid(*args, **kwargs))

    def forward(self, x: torch.Tensor, scales: Any = None) -> Mapping[int | str, torch.Tensor]:
        """Return the coefficients of an image (..., H, W)."""
        return self.pyramid(x, scales)

    def __getattr__(self, name: str) -> Any:
        """Return plenoptic's buffers too (``lo0mask``, ...): new tensors, made when asked for, float32 on the CPU."""
        from genimg_fast.steerable import _masks

        if _masks.NAMES.fullmatch(name) is None:
            return super().__getattr__(name)
        return torch.from_numpy(_masks.mask(self.pyramid, name)).float()


class SteerablePyramidSpace(_Pyramid):
    """``genimg_fast.SteerablePyramidSpace`` as a module, with its arguments, methods and attributes."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        from genimg_fast.steerable.space import SteerablePyramidSpace as Pyramid

        super().__init__(Pyramid(*args, **kwargs))

    def forward(self, x: torch.Tensor) -> Mapping[Any, torch.Tensor]:
        """Return the coefficients of an image (..., H, W)."""
        return self.pyramid(x)


class MatchHistograms(torch.nn.Module):
    """``genimg_fast.match_histograms`` as a module: keyword arguments are given once, images at each call."""

    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.options = options

    def forward(self, image: torch.Tensor, reference: Any) -> torch.Tensor:
        """Return ``image`` with the histogram of ``reference``."""
        from genimg_fast.histogram import match_histograms

        return match_histograms(image, reference, **self.options)

    def extra_repr(self) -> str:
        return ", ".join(f"{name}={value!r}" for name, value in self.options.items())


class GramLoss(torch.nn.Module):
    """``genimg_fast.gram_loss`` to a target that is given once, as features or as Gram matrices.

    Args:
        target: Features, as for `genimg_fast.gram_loss`: a tensor (..., C, H, W), or a list or dict of layers; or with
            ``is_gram`` their Gram matrices.
        is_gram: The target holds Gram matrices.
        options: Of `genimg_fast.gram_loss`; ``normalization`` and ``center`` also make the target's matrices.

    The matrices are buffers, which move with ``.to`` and are saved with the module; they get no gradient.
    """

    def __init__(self, target: Any, *, is_gram: bool = False, **options: Any) -> None:
        super().__init__()
        self.options = options
        self.keys = list(target) if isinstance(target, Mapping) else None
        self.is_list = isinstance(target, (list, tuple))
        layers = list(target.values()) if isinstance(target, Mapping) else list(target) if self.is_list else [target]
        for i, layer in enumerate(layers):
            self.register_buffer(f"target_{i}", self._gram(layer, is_gram))
        self.n_layers = len(layers)

    def _gram(self, layer: Any, is_gram: bool) -> torch.Tensor:
        from genimg_fast._core.backend import is_tensor, shown
        from genimg_fast.gram import gram_matrix

        if not is_tensor(layer):
            raise TypeError(f"GramLoss: target must hold tensors, got {shown(layer)}")
        if is_gram:
            return layer.detach().clone()
        shared = {name: self.options[name] for name in ("normalization", "center") if name in self.options}
        return gram_matrix(layer.detach(), **shared)

    def forward(self, features: Any) -> torch.Tensor:
        """Return how far the features' Gram matrices are from the target's."""
        from genimg_fast.gram import gram_loss

        targets = [self.get_buffer(f"target_{i}") for i in range(self.n_layers)]
        target: Any = targets if self.is_list else targets[0]
        if self.keys is not None:
            target = dict(zip(self.keys, targets, strict=True))
        return gram_loss(features, target, **self.options)

    def extra_repr(self) -> str:
        return ", ".join(f"{name}={value!r}" for name, value in self.options.items())
