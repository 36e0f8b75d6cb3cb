"""The operations as ``torch.nn.Module``, for models that are built of modules.

They have no parameters and no buffers: nothing moves with ``.to``, and inputs on any device are served.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

__all__ = ["MatchHistograms", "SteerablePyramidFreq", "SteerablePyramidSpace"]


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
