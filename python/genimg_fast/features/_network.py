"""A network of convolutions as a tree of named stages, which knows what every layer sees of the picture."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from genimg_fast._arguments import choice
from genimg_fast._core.backend import strided
from genimg_fast._pictures import axes_hint

_MODES = {"zeros": "constant", "circular": "circular", "reflect": "reflect"}  # torch's names
PADDINGS = tuple(_MODES)


@dataclass(frozen=True)
class Field:
    """What a layer sees: its position p depends on the pixels p * stride - before to p * stride + after.

    Attributes:
        stride: Pixels between neighbouring positions.
        before: Pixels above and to the left of p * stride.
        after: Pixels below and to the right of it.
    """

    stride: int = 1
    before: int = 0
    after: int = 0

    def then(self, kernel: int, stride: int, padding: int) -> Field:
        """Return what a layer of windows on this layer sees."""
        before, after = padding * self.stride, (kernel - 1 - padding) * self.stride
        return Field(self.stride * stride, self.before + before, self.after + after)


class Scaling(nn.Module):
    """(x - mean) * scale for each channel; a grey picture is repeated to as many channels."""

    kernel, stride, padding = 1, 1, 0
    mean: torch.Tensor
    scale: torch.Tensor

    def __init__(self, mean: Sequence[float], scale: Sequence[float]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float64).reshape(-1, 1, 1))
        self.register_buffer("scale", torch.tensor(scale, dtype=torch.float64).reshape(-1, 1, 1))

    def forward(self, x: torch.Tensor, _: str) -> torch.Tensor:
        return (x - self.mean.to(x)) * self.scale.to(x)


class Convolution(nn.Module):
    """A convolution with fixed odd filters (C_out, C_in, k, k), which keeps height and width."""

    stride = 1

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor) -> None:
        super().__init__()
        self.kernel, self.padding = weight.shape[-1], weight.shape[-1] // 2
        self.weight = nn.Parameter(weight, requires_grad=False)
        self.bias = nn.Parameter(bias, requires_grad=False)

    def forward(self, x: torch.Tensor, padding: str) -> torch.Tensor:
        weight, bias = self.weight.to(x), self.bias.to(x)
        if x.shape[-3] == 1 < weight.shape[1]:
            weight = weight.sum(1, keepdim=True)  # a grey picture stands for equal channels
        if padding == "zeros" or not self.padding:
            return nn.functional.conv2d(x, weight, bias, padding=self.padding)
        return nn.functional.conv2d(padded(x, self.padding, padding), weight, bias)


class Rectifier(nn.Module):
    """max(x, 0)."""

    kernel, stride, padding = 1, 1, 0

    def forward(self, x: torch.Tensor, _: str, in_place: bool = False) -> torch.Tensor:
        return nn.functional.relu(x, inplace=in_place)


class Pool(nn.Module):
    """The maximum or the average of each n x n square; a rest at the far borders is dropped."""

    padding = 0

    def __init__(self, kind: str, size: int = 2) -> None:
        super().__init__()
        self.kind, self.kernel, self.stride = kind, size, size

    def forward(self, x: torch.Tensor, _: str) -> torch.Tensor:
        pool = nn.functional.max_pool2d if self.kind == "max" else nn.functional.avg_pool2d
        return pool(x, self.kernel)


class Halving(nn.Module):
    """A map of half the height and width, smoothed by (1 3 3 1) / 8 along both axes against aliasing."""

    kernel, stride, padding = 4, 2, 1

    def forward(self, x: torch.Tensor, padding: str) -> torch.Tensor:
        taps = x.new_tensor([1, 3, 3, 1]) / 8
        channels = x.shape[-3]
        weight = torch.outer(taps, taps).expand(channels, 1, 4, 4)
        return nn.functional.conv2d(padded(x, 1, padding), weight, stride=2, groups=channels)


def padded(x: torch.Tensor, width: int, padding: str) -> torch.Tensor:
    """Return planes with a border of ``width`` on every side."""
    return nn.functional.pad(x, (width,) * 4, mode=_MODES[padding])


@dataclass(frozen=True)
class Stage:
    """One step of a network: a module that reads another stage, or the picture where that is None."""

    name: str
    source: str | None
    module: nn.Module


class Network(nn.Module):
    """Named feature maps of pictures: ``network(image)`` gives a dict of them.

    Pictures are (..., C, H, W) tensors, RGB in [0, 1]; grey ones (C = 1) count as three equal channels. Gradients flow
    to the picture; the weights are fixed, are converted to the picture's dtype, and stay where ``.to(device)`` puts
    them.

    Args:
        stages: The tree, each stage after the one that it reads.
        layers: Names of the stages whose maps a call gives.
        padding: At the borders of every convolution's input: "zeros", "circular" (the maps of a picture that tiles) or
            "reflect".
        channels: Numbers of channels that a picture may have.
    """

    def __init__(
        self,
        stages: Sequence[Stage],
        layers: Iterable[str],
        *,
        padding: str = "zeros",
        channels: Iterable[int] = (1, 3),
    ) -> None:
        super().__init__()
        self._sources = {stage.name: stage.source for stage in stages}
        self._modules_by_name = nn.ModuleDict({stage.name: stage.module for stage in stages})
        self.channels = tuple(channels)
        self.padding = choice("padding", padding, PADDINGS)
        self.layers = self._checked(layers)

    def stage(self, name: str) -> nn.Module:
        """Return the module of a stage."""
        return self._modules_by_name[name]

    @property
    def names(self) -> tuple[str, ...]:
        """Every name that `layers` may hold."""
        return tuple(self._sources)

    def taking(self, layers: Iterable[str]) -> Network:
        """Return the network, with the same weights, that gives other layers.

        Raises:
            ValueError: A name that the network does not have; the message lists those it has.
        """
        other = copy.copy(self)
        other.layers = self._checked(layers)
        return other

    def padded_by(self, padding: str) -> Network:
        """Return the network, with the same weights, with another padding: "zeros", "circular" or "reflect"."""
        other = copy.copy(self)
        other.padding = choice("padding", padding, PADDINGS)
        return other

    def fields(self) -> dict[str, Field]:
        """Return what each of `layers` sees of the picture."""
        found = self._all_fields()
        return {name: found[name] for name in self.layers}

    def _all_fields(self) -> dict[str | None, Field]:
        found: dict[str | None, Field] = {None: Field()}
        for name, source in self._sources.items():
            module: Any = self._modules_by_name[name]
            found[name] = found[source].then(module.kernel, module.stride, module.padding)
        return found

    def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return the map (..., C', H', W') of each of `layers`; nothing deeper than they need is computed.

        Raises:
            TypeError: Not a tensor of floats.
            ValueError: A number of channels that the network does not take, or a picture too small for a layer.
        """
        self._check(image)
        lead = image.shape[:-3]
        maps: dict[str | None, torch.Tensor] = {None: image.reshape(-1, *image.shape[-3:])}
        uses = self._uses()
        for name, source in self._sources.items():
            if not uses.get(name):
                continue
            module: Any = self._modules_by_name[name]
            # A map that nothing else reads may be rectified in its place: half of the memory.
            in_place = isinstance(module, Rectifier) and uses[source] == 1 and source is not None
            maps[name] = module(maps[source], self.padding, **{"in_place": True} if in_place else {})
            uses[source] -= 1
            if not uses[source]:
                del maps[source]
        return {name: maps[name].reshape(*lead, *maps[name].shape[1:]) for name in self.layers}

    def _uses(self) -> dict[str | None, int]:
        """Return how often the map of each stage is read, once more where it is asked for."""
        uses: dict[str | None, int] = dict.fromkeys(self.layers, 1)
        for name, source in reversed(self._sources.items()):
            if uses.get(name):
                uses[source] = uses.get(source, 0) + 1
        return uses

    def _checked(self, layers: Iterable[str]) -> tuple[str, ...]:
        names = (layers,) if isinstance(layers, str) else tuple(layers)
        return checked_layers(names, self._sources)

    def _check(self, image: Any) -> None:
        if not isinstance(image, torch.Tensor) or not image.is_floating_point():
            got = image.dtype if isinstance(image, torch.Tensor) else type(image).__name__
            raise TypeError(f"Network: image must be a torch.Tensor of floats in [0, 1], got {got}")
        strided("Network", "image", image)
        if image.ndim < 3 or image.shape[-3] not in self.channels:
            accepted = " or ".join(map(str, self.channels))
            got = f"{tuple(image.shape)}{axes_hint(image, 'image')}"
            raise ValueError(f"Network: image must be (..., C, H, W) with C of {accepted}, got {got}")
        least = self.min_side()
        if min(image.shape[-2:]) < least:
            size = f"{image.shape[-2]}x{image.shape[-1]}"
            raise ValueError(
                f"Network: image must be at least {least}x{least} for the layers {', '.join(self.layers)}, got {size}"
            )

    def min_side(self) -> int:
        """Return the smallest height and width that `layers` and the padding take."""
        fields, uses = self._all_fields(), self._uses()
        sides = [field.stride for name, field in fields.items() if uses.get(name)]
        more = int(self.padding == "reflect")  # a border is not its own mirror image
        for name, source in self._sources.items():
            module: Any = self._modules_by_name[name]
            if uses.get(name) and module.padding and self.padding != "zeros":
                sides.append((module.padding + more) * fields[source].stride)
        return max(sides)


def checked_layers(layers: Sequence[str], known: Iterable[str] | Mapping[str, Any]) -> tuple[str, ...]:
    """Return the names of layers, all different and known.

    Raises:
        ValueError: None at all, a name twice, or one that is not known; the message lists those that are.
    """
    accepted = ", ".join(known)
    if not layers:
        raise ValueError(f"layers must hold at least one name; there are {accepted}")
    for i, name in enumerate(layers):
        if name not in known:
            raise ValueError(f"layers must hold names of layers, got {name!r}; there are {accepted}")
        if name in layers[:i]:
            raise ValueError(f"layers must be different, got {name!r} twice")
    return tuple(layers)
