"""Losses of sums over the positions of feature maps: of a whole picture, or tile by tile, on one rank or several."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch

from genimg_fast._optimization import Evaluation, Shape, by_autograd
from genimg_fast._tiling import Maps, Sums, Tiles, Where
from genimg_fast.features import Network
from genimg_fast.features._network import checked_layers

Features = Callable[[torch.Tensor], Mapping[str, torch.Tensor]]
Shapes = Mapping[str, Shape]  # of each layer's map of the whole picture
Loss = Callable[[Maps, Shapes], tuple[torch.Tensor, Mapping[str, Any]]]

_ALL = (slice(None), slice(None))


class FeatureSums:
    """Sums over positions of some layers' maps, and losses of them, of pictures (1, C, H, W).

    Args:
        features: Gives a dict of maps; a `genimg_fast.features.Network` where there is a tile.
        layers: The layers in use. None: all that the features give.
        tile: Side of the tiles to compute larger pictures in, or None for whole pictures.
        group: Process group whose ranks share the tiles, or None; it needs a tile. Every rank then makes the same
            calls.

    Raises:
        ValueError: A tile for features that do not say what they see, or a group without a tile.
    """

    def __init__(
        self, features: Features, layers: Iterable[str] | None = None, tile: int | None = None, group: Any = None
    ) -> None:
        if tile is not None and not isinstance(features, Network):
            raise ValueError(f"tile needs features of genimg_fast.features, got {type(features).__name__}")
        if group is not None and tile is None:
            raise ValueError("group needs tile: the tiles are what its ranks share")
        self._layers = None if layers is None else tuple(layers)
        if self._layers is not None and isinstance(features, Network):
            features = features.taking(self._layers)
        self._features: Any = _with_gradients(features)
        self._tile, self._group = tile, group

    @torch.no_grad()
    def maps(self, picture: torch.Tensor, layers: Sequence[str]) -> tuple[Maps, Shapes]:
        """Return maps (C', H', W') of some of the layers, without gradients, and the shapes (H', W') of all maps.

        Ranks do not share this: each makes the whole maps.
        """
        tiles = self._tiles(picture.shape[-2:])
        if tiles is not None:
            return tiles.maps(picture, layers), tiles.shapes
        maps = self._whole(picture)
        return {name: maps[name][0] for name in layers}, _shapes(maps)

    @torch.no_grad()
    def sums(self, picture: torch.Tensor, sums: Sums) -> tuple[Maps, Shapes]:
        """Return the sums of a picture without gradients, and the shapes of its maps."""
        tiles = self._tiles(picture.shape[-2:])
        if tiles is not None:
            return tiles.totals(picture, sums), tiles.shapes
        maps = self._whole(picture)
        return sums(maps, _everywhere(maps)), _shapes(maps)

    def evaluation(self, size: Shape, sums: Sums, loss: Loss) -> Evaluation:
        """Return what gives loss, gradient and parts of pictures of a size.

        Args:
            size: (height, width).
            sums: Sums over the positions of maps (1, C', h, w), by any names; also gets where these lie in the whole
                maps.
            loss: Of the sums over all positions (of dtype float64 where they come from tiles) and the maps' shapes:
                its value and its parts.
        """
        tiles = self._tiles(size)
        if tiles is not None:
            return tiles.evaluation(sums, lambda totals: loss(totals, tiles.shapes))

        def whole(x: torch.Tensor) -> tuple[torch.Tensor, Mapping[str, Any]]:
            maps = self._whole(x)
            return loss(sums(maps, _everywhere(maps)), _shapes(maps))

        return by_autograd(whole)

    def _tiles(self, size: Sequence[int]) -> Tiles | None:
        """Return tiles, or None for what is as well computed at once."""
        if self._tile is None or (self._group is None and max(size) <= self._tile):
            return None
        return Tiles(self._features, (size[0], size[1]), self._tile, self._group)

    def _whole(self, picture: torch.Tensor) -> Maps:
        maps = _called(self._features, picture)
        return {name: maps[name] for name in checked_layers(self._layers or tuple(maps), maps)}


def _with_gradients(features: Any) -> Any:
    """Return features that gradients flow through: a module made under ``torch.inference_mode()`` is copied."""
    if not isinstance(features, torch.nn.Module):
        return features
    held = itertools.chain(features.parameters(), features.buffers())
    return copy.deepcopy(features) if any(one.is_inference() for one in held) else features


def _called(features: Features, picture: torch.Tensor) -> Maps:
    """Return the maps of a picture, or refuse what gives none that a descent can use."""
    try:
        maps = features(picture)
    except RuntimeError as error:
        if "nference tensor" in str(error):
            raise ValueError(
                "features must be differentiable, got a callable with tensors made under torch.inference_mode(): make "
                "them outside, or give the torch.nn.Module itself"
            ) from error
        raise
    if not isinstance(maps, Mapping):
        raise TypeError(f"features must give a dict of feature maps, got {type(maps).__name__}")
    for name, one in maps.items():
        if not isinstance(one, torch.Tensor) or not one.is_floating_point() or one.dim() != 4:
            got = f"{tuple(one.shape)}, {one.dtype}" if isinstance(one, torch.Tensor) else type(one).__name__
            raise TypeError(f"features must give maps (1, C, H, W) of floats, got {name!r}: {got}")
    if picture.requires_grad and torch.is_grad_enabled() and not any(one.requires_grad for one in maps.values()):
        raise ValueError("features must be differentiable, got maps that no gradient flows through")
    return maps


def _everywhere(maps: Maps) -> Where:
    return dict.fromkeys(maps, _ALL)


def _shapes(maps: Maps) -> Shapes:
    return {name: (m.shape[-2], m.shape[-1]) for name, m in maps.items()}
