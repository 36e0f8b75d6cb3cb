"""The pictures of a transfer: what the caller gave, what a network sees of it, and how a result comes back."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from genimg_fast import _arguments as check
from genimg_fast._feature_sums import Features
from genimg_fast._noise import coloured_noise
from genimg_fast._optimization import Shape, resized
from genimg_fast._pictures import mask_of, unit_planes, with_channels
from genimg_fast.features import Network, random
from genimg_fast.style._colours import luminance, match_colours, match_luminance, with_luminance
from genimg_fast.style._objective import Region


class Pictures:
    """A content (or several along leading axes), styles and their masks, checked.

    Args:
        content, style, weights, masks, style_scale, colors: See `genimg_fast.style.transfer`.

    Attributes:
        lead: Leading axes of the content.
        shape: Its (height, width).
        channels: Of the result.
        seen_channels: Of what a network sees: 1 where only luminance is painted.
    """

    def __init__(self, content: Any, style: Any, weights: Any, masks: Any, style_scale: Any, colors: str) -> None:
        is_list = isinstance(style, (list, tuple))
        styles = list(style) if is_list else [style]
        if not styles:
            raise ValueError("style must be a picture or a list of at least one, got an empty list")
        self._contents, self.kind = unit_planes(content, "content")
        working = self._contents.dtype
        self._styles = [
            _one_picture(one, f"style[{i}]" if is_list else "style", working) for i, one in enumerate(styles)
        ]
        self.lead, self.shape = self._contents.shape[:-3], self._contents.shape[-2:]
        self._colors = colors
        self._equalise_channels()
        self._weights = check.weights(weights, len(styles), "style")
        self._scales = _scales(style_scale, len(styles))
        self._masks = _masks(masks if is_list or masks is None else [masks], len(styles), self.shape, working)

    def _equalise_channels(self) -> None:
        counts = [planes.shape[-3] for planes in (self._contents, *self._styles)]
        if self._colors == "luminance":
            if not set(counts) <= {1, 3}:
                raise ValueError(f"colors='luminance' needs pictures of 1 or 3 channels, got {max(counts)}")
            self.channels, self.seen_channels = counts[0], 1
            self._styles = [_grey(planes) for planes in self._styles]
            return
        self.channels = self.seen_channels = max(counts)
        if not set(counts) <= {1, self.channels}:
            raise ValueError(f"content and style must have one number of channels, or 1, got {counts}")
        self._contents = with_channels(self._contents, self.channels)
        self._styles = [with_channels(planes, self.channels) for planes in self._styles]

    @property
    def n_styles(self) -> int:
        return len(self._styles)

    def style_shapes(self, size: Shape) -> list[Shape]:
        """Return the styles' (height, width) where the result has a size."""
        longest = max(size)
        return [
            _reduced(planes.shape[-2:], scale * longest / max(planes.shape[-2:]))
            for planes, scale in zip(self._styles, self._scales, strict=True)
        ]

    def network(self, features: Features) -> Features:
        """Return features for what is seen: luminance as equal channels, where a callable would not know it."""
        if isinstance(features, Network) or self.seen_channels == self.channels:
            return features
        return lambda x: features(x.expand(-1, self.channels, -1, -1))

    def source(self, place: tuple[int, ...], device: torch.device) -> Source:
        """Return one content, and the styles in its colours, on a device."""
        content = self._contents[place]
        seen, styles = content, self._styles
        if self._colors == "luminance":
            seen = _grey(content)
            styles = [match_luminance(planes, seen) for planes in styles]
        elif self._colors != "style":
            styles = [match_colours(planes, content, self._colors) for planes in styles]
        tensors = [torch.from_numpy(planes).to(device)[None] for planes in (content, seen, *styles)]
        masks = None if self._masks is None else [torch.from_numpy(mask).to(device)[None, None] for mask in self._masks]
        return Source(self, tensors[0], tensors[1], tensors[2:], masks, self._weights)

    def packed(self, planes: torch.Tensor) -> Any:
        """Return planes (..., C, H, W) as the caller holds pictures."""
        kind = replace(self.kind, has_channels=self.kind.has_channels or self.channels > 1)
        planes = planes * kind.unit
        return kind.pack_tensor(planes)


@dataclass(frozen=True)
class Source:
    """One content as its colours are, as a network sees it, and the styles in its colours: (1, C, H, W)."""

    pictures: Pictures
    content: torch.Tensor
    seen: torch.Tensor
    styles: Sequence[torch.Tensor]
    masks: Sequence[torch.Tensor] | None
    weights: Sequence[float]

    def random_filters(self, levels: int) -> Network:
        """Return the features to compare where none are given, for the colours of all pictures."""
        pictures = [planes.to("cpu") for planes in (self.seen, *self.styles)]
        return random(channels=self.seen.shape[1], normalize=pictures, levels=levels).to(self.seen.device)

    def at(self, size: Shape) -> tuple[torch.Tensor, list[Region]]:
        """Return the content at a size, and what its regions are to look like."""
        shapes = self.pictures.style_shapes(size)
        styles = [resized(planes, shape) for planes, shape in zip(self.styles, shapes, strict=True)]
        if self.masks is None:
            return resized(self.seen, size), [Region(list(zip(styles, self.weights, strict=True)))]
        n = len(styles)
        parts = zip(styles, self.masks, self.weights, strict=True)
        return resized(self.seen, size), [Region([(planes, 1.0)], mask, n * weight) for planes, mask, weight in parts]

    def start(self, init: str, noise: float, seed: int | None, size: Shape) -> torch.Tensor:
        """Return planes (1, C, h, w) to begin with: the content, noise in the styles' colours, or a mixture."""
        content = resized(self.seen, size)
        share = {"noise": 1.0, "mixed": noise}.get(init, 0.0)
        if not share:
            return content
        colours = [planes[0].numpy(force=True) for planes in self.styles]
        planes = torch.from_numpy(coloured_noise(seed, colours, self.weights, size)).to(content)
        return (1 - share) * content + share * planes

    def finished(self, planes: torch.Tensor) -> torch.Tensor:
        """Return a result with the channels it is to have."""
        if planes.shape[1] == self.content.shape[1]:
            return planes
        return with_luminance(resized(self.content, (planes.shape[-2], planes.shape[-1])), planes)


def _one_picture(image: Any, name: str, dtype: np.dtype) -> np.ndarray:
    planes, _ = unit_planes(image, name)
    if math.prod(planes.shape[:-3]) != 1:
        raise ValueError(f"{name} must be one picture, got the shape {tuple(image.shape)}")
    return planes.reshape(planes.shape[-3:]).astype(dtype)


def _grey(planes: np.ndarray) -> np.ndarray:
    return planes if planes.shape[-3] == 1 else luminance(planes)


def _reduced(shape: Sequence[int], factor: float) -> Shape:
    height, width = (max(1, round(n * factor)) for n in shape)
    return height, width


def _scales(value: Any, n: int) -> list[float]:
    numbers = list(value) if isinstance(value, Iterable) and getattr(value, "ndim", 1) != 0 else [value] * n
    if len(numbers) != n:
        raise ValueError(f"style_scale must be one number or one for each of {n} styles, got {len(numbers)}")
    return [check.positive("style_scale", number) for number in numbers]


def _masks(value: Any, n: int, shape: Shape, dtype: np.dtype) -> list[np.ndarray] | None:
    """Return masks (H, W) in [0, 1], or None."""
    if value is None:
        return None
    if not isinstance(value, (list, tuple)) or len(value) != n:
        got = len(value) if isinstance(value, (list, tuple)) else type(value).__name__
        raise ValueError(f"masks must be a list of one for each of {n} styles, got {got}")
    return [_mask(one, f"masks[{i}]", shape, dtype) for i, one in enumerate(value)]


def _mask(image: Any, name: str, shape: Shape, dtype: np.dtype) -> np.ndarray:
    mask = mask_of(image, name, shape, "the height and width of the content,")
    if not mask.any():
        raise ValueError(f"{name} must not be 0 everywhere")
    return mask.astype(dtype)
