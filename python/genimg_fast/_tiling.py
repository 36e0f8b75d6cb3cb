"""Loss and gradient of a large picture from one tile after the other, equal to those of the whole.

The losses concerned depend on feature maps only through sums over their positions, such as Gram matrices. The first
pass adds up the sums; their gradient D = dloss/dsums is then fixed, and the second pass makes each tile's maps again
and takes the gradient of <D, the tile's sums>. A tile is computed with as much of its surroundings as its positions
see, so that only the picture's own borders are padded. Ranks of a process group may share the tiles.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from genimg_fast import distributed
from genimg_fast._optimization import Evaluation, Parts, Shape, as_numbers
from genimg_fast.features import Field, Network

Maps = Mapping[str, torch.Tensor]
Where = Mapping[str, tuple[slice, slice]]  # of each layer: the positions that a tile counts, rows and columns
Sums = Callable[[Maps, Where], Maps]

MIN_TILE = 32  # pixels: smaller ones are little but surroundings


@dataclass(frozen=True)
class _Span:
    """A tile along one axis: the pixels it is computed from, and of each layer the positions it counts."""

    start: int
    stop: int
    counted: dict[str, slice]  # positions in the whole map
    inside: dict[str, slice]  # the same positions in the tile's map


def alignment(fields: Mapping[str, Field]) -> int:
    """Return what tiles and circular pictures must be a multiple of, so that pooling meets the same squares."""
    return math.lcm(*(field.stride for field in fields.values()))


def check_circular(size: Shape, step: int, circular: bool) -> None:
    """Raise ValueError if a picture that must tile has sides that pooling would cut."""
    if circular and (size[0] % step or size[1] % step):
        raise ValueError(
            f"size must be a multiple of {step} for a tileable picture and these layers, got {size[0]}x{size[1]}"
        )


class Tiles:
    """The tiles of pictures of one size, for a network that says what its layers see.

    Each tile counts at least one position of every layer: what is left at the far borders joins the last tile where
    the layers would not take it alone.

    Args:
        network: Gives the maps.
        size: (height, width) of the pictures; multiples of `alignment` where the network's padding is circular.
        tile: Side of a tile in pixels, without its surroundings; rounded down to a multiple of `alignment`.
        group: Process group whose ranks share the tiles, or None.

    Attributes:
        shapes: (height, width) of each layer's map of the whole picture.

    Raises:
        ValueError: A circular picture whose sides are not such multiples.
        RuntimeError: A group without ``torch.distributed``.
    """

    def __init__(self, network: Network, size: Shape, tile: int, group: Any = None) -> None:
        fields = network.fields()
        self._network, self._circular, self._group = network, network.padding == "circular", group
        check_circular(size, alignment(fields), self._circular)
        rows, columns = (_spans(n, tile, fields, network.min_side(), self._circular) for n in size)
        self._all = list(itertools.product(rows, columns))
        rank, ranks = distributed.rank_and_size(group)
        self._own = self._all[rank::ranks]
        self.shapes = {name: (size[0] // field.stride, size[1] // field.stride) for name, field in fields.items()}

    def evaluation(self, sums: Sums, loss: Callable[[Maps], tuple[torch.Tensor, Mapping[str, Any]]]) -> Evaluation:
        """Return what gives loss, gradient and parts of a contiguous picture (1, C, H, W).

        Where ranks share the tiles, the picture is first replaced by that of the first rank, and all get the same
        loss and gradient: their optimisers take the same steps.

        Args:
            sums: Sums over the positions of a tile's maps, by any names; also gets where these lie in the whole maps.
            loss: Of the sums over all tiles, in float64.
        """

        def evaluate(x: torch.Tensor) -> tuple[float, torch.Tensor, Parts]:
            distributed.replace_by_first([x.detach()], self._group)
            totals = self.totals(x, sums)
            with torch.enable_grad():
                value, parts = loss({name: total.requires_grad_() for name, total in totals.items()})
            slopes = torch.autograd.grad(value, list(totals.values()), allow_unused=True, materialize_grads=True)
            gradient = self._pulled_back(x, sums, dict(zip(totals, slopes, strict=True)))
            value = value.detach()
            distributed.replace_by_first([value], self._group)
            return float(value), gradient, as_numbers(parts)

        return evaluate

    @torch.no_grad()
    def totals(self, x: torch.Tensor, sums: Sums) -> dict[str, torch.Tensor]:
        """Return the sums over the whole picture, float64."""
        totals: dict[str, torch.Tensor] = {}
        # A rank without tiles learns names and shapes of the sums from the first, of which it counts nothing.
        for tile in self._own or self._all[:1]:
            for name, part in sums(*self._maps(self._cut(x, tile), tile)).items():
                totals[name] = totals[name] + part if name in totals else part.double().contiguous()
        if not self._own:
            totals = {name: torch.zeros_like(total) for name, total in totals.items()}
        distributed.sum_in_place(totals.values(), self._group)
        return totals

    @torch.no_grad()
    def maps(self, x: torch.Tensor, layers: Iterable[str]) -> dict[str, torch.Tensor]:
        """Return whole maps (C', H', W') of some of the layers, on each rank."""
        found: dict[str, torch.Tensor] = {}
        for tile in self._all:
            maps, where = self._maps(self._cut(x, tile), tile)
            for name in layers:
                part, (rows, columns) = maps[name][0], where[name]
                if name not in found:
                    found[name] = part.new_empty(len(part), *self.shapes[name])
                found[name][:, rows, columns] = part
        return found

    def _pulled_back(self, x: torch.Tensor, sums: Sums, slopes: Maps) -> torch.Tensor:
        """Return the picture's gradient of the sums' products with their slopes."""
        gradient = torch.zeros_like(x, memory_format=torch.contiguous_format)
        for tile in self._own:
            piece = self._cut(x, tile).requires_grad_()
            with torch.enable_grad():
                found = sums(*self._maps(piece, tile))
                product = torch.stack([(slopes[name].to(part) * part).sum() for name, part in found.items()]).sum()
            (part,) = torch.autograd.grad(product, piece)
            self._paste(gradient, part, tile)
        distributed.sum_in_place([gradient], self._group)
        return gradient

    def _maps(self, piece: torch.Tensor, tile: tuple[_Span, _Span]) -> tuple[Maps, Where]:
        rows, columns = tile
        maps = {name: m[..., rows.inside[name], columns.inside[name]] for name, m in self._network(piece).items()}
        return maps, {name: (rows.counted[name], columns.counted[name]) for name in maps}

    def _cut(self, x: torch.Tensor, tile: tuple[_Span, _Span]) -> torch.Tensor:
        rows, columns = tile
        if self._circular:
            return x.detach().index_select(-2, _wrapped(rows, x, -2)).index_select(-1, _wrapped(columns, x, -1))
        return x[..., rows.start : rows.stop, columns.start : columns.stop].detach().clone()

    def _paste(self, gradient: torch.Tensor, part: torch.Tensor, tile: tuple[_Span, _Span]) -> None:
        rows, columns = tile
        if not self._circular:
            gradient[..., rows.start : rows.stop, columns.start : columns.stop] += part
            return
        band = part.new_zeros(*part.shape[:-1], gradient.shape[-1])
        band.index_add_(-1, _wrapped(columns, gradient, -1), part)
        gradient.index_add_(-2, _wrapped(rows, gradient, -2), band)


def _spans(n: int, tile: int, fields: Mapping[str, Field], least: int, circular: bool) -> list[_Span]:
    step = alignment(fields)
    before = _up(max(field.before for field in fields.values()), step)
    after = max(0, *(field.after - field.stride + 1 for field in fields.values()))
    firsts = _firsts(n, max(tile // step, 1) * step, least)
    return [
        _span(first - before, last + after, first, last, fields)
        if circular
        else _span(max(first - before, 0), min(last + after, n), first, last, fields)
        for first, last in itertools.pairwise([*firsts, n])
    ]


def _firsts(n: int, tile: int, least: int) -> list[int]:
    """Return where tiles begin, none of which is smaller than the layers take alone."""
    firsts = list(range(0, n, tile))
    return firsts[:-1] if len(firsts) > 1 and n - firsts[-1] < least else firsts


def _span(start: int, stop: int, first: int, last: int, fields: Mapping[str, Field]) -> _Span:
    """Return the tile of the pixels first to last, computed from those from start to stop."""
    counted = {name: slice(first // field.stride, last // field.stride) for name, field in fields.items()}
    offsets = {name: start // field.stride for name, field in fields.items()}
    inside = {name: slice(c.start - offsets[name], c.stop - offsets[name]) for name, c in counted.items()}
    return _Span(start, stop, counted, inside)


def _up(n: int, step: int) -> int:
    return -(-n // step) * step


def _wrapped(span: _Span, x: torch.Tensor, axis: int) -> torch.Tensor:
    return torch.arange(span.start, span.stop, device=x.device) % x.shape[axis]
