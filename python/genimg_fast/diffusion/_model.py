"""A class-conditional network that predicts noise, and its file."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from genimg_fast import _arguments as check
from genimg_fast import images
from genimg_fast.diffusion._packages import need

SUFFIXES = (".safetensors",)
TRAIN_STEPS = 1000  # noise levels, as in Ho et al. 2020
SCHEDULE = {
    "num_train_timesteps": TRAIN_STEPS,
    "beta_schedule": "squaredcos_cap_v2",  # the cosine schedule of Nichol and Dhariwal 2021
    "prediction_type": "epsilon",
}

_FORMAT = "genimg_fast diffusion model, 1"


@dataclass(frozen=True)
class Architecture:
    """What a network is made of.

    Attributes:
        shape: (C, S, S) of pictures.
        classes: Their classes' names.
        widths: Channels at each size, each half of the one before.
    """

    shape: tuple[int, int, int]
    classes: tuple[str, ...]
    widths: tuple[int, ...]

    def build(self, seed: int = 0) -> torch.nn.Module:
        """Return diffusers' UNet2DModel with random weights. The last class embedding is that of no class."""
        channels, side, _ = self.shape
        levels = len(self.widths)
        unet = need("diffusers").UNet2DModel
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return unet(
                sample_size=side,
                in_channels=channels,
                out_channels=channels,
                layers_per_block=1,
                block_out_channels=self.widths,
                down_block_types=("DownBlock2D",) * levels,
                up_block_types=("UpBlock2D",) * levels,
                norm_num_groups=8,
                attention_head_dim=16,
                num_class_embeds=len(self.classes) + 1,
            )


def widths(value: Sequence[int], side: int) -> tuple[int, ...]:
    """Return the widths of a network for square pictures, checked."""
    found = tuple(check.integer("widths", width, 1) for width in value)
    if not found or any(width % 16 for width in found):
        raise ValueError(f"widths must be multiples of 16, at least one, got {found}")
    if side % 2 ** (len(found) - 1) or side < 2 ** len(found):
        raise ValueError(
            f"size must be a multiple of {2 ** (len(found) - 1)}, at least {2 ** len(found)}, for {len(found)} widths, "
            f"got {side}"
        )
    return found


@dataclass
class Model:
    """A network that predicts the noise in pictures, given their class or none.

    `train` makes one. Calling it predicts, so that it serves wherever a function ``denoise(x, t)`` is asked for.

    Attributes:
        architecture: What the network is made of.
        network: Diffusers' UNet2DModel, in evaluation mode.
        facts: What the file says besides: settings and steps of the training.
    """

    architecture: Architecture
    network: torch.nn.Module
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, S, S) of pictures."""
        return self.architecture.shape

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes' names; a label is an index into them."""
        return self.architecture.classes

    @property
    def no_class(self) -> int:
        """The label that stands for no class."""
        return len(self.classes)

    @property
    def device(self) -> torch.device:
        return next(self.network.parameters()).device

    @classmethod
    def from_file(cls, path: str | os.PathLike[str], device: Any = None) -> Model:
        """Load a model from the file that `save` wrote, or from a checkpoint of a training (its averaged weights).

        Raises:
            FileNotFoundError: There is no such file.
            ValueError: It is truncated, or not such a file.
            ImportError: Diffusers or safetensors is missing.
        """
        tensors, architecture, facts = read_file(path)
        network = architecture.build()
        load_weights(network, tensors, "ema.", path)
        return cls(architecture, network.to(check.device(device, None)).eval().requires_grad_(False), facts)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the model to a safetensors file, under a temporary name that is then changed.

        Raises:
            ValueError: The name does not end in .safetensors.
            OSError: It cannot be written.
        """
        write_file(path, named(self.network, "ema."), self.architecture, dict(self.facts))

    def label(self, label: Any) -> int:
        """Return the label of a class that is given by index or by name.

        Raises:
            ValueError: There is no such class.
        """
        if isinstance(label, str):
            check.choice("label", label, self.classes)
            return self.classes.index(label)
        found = check.integer("label", label, 0)
        if found >= len(self.classes):
            raise ValueError(f"label must be below {len(self.classes)}, the number of classes, got {found}")
        return found

    @torch.no_grad()
    def __call__(self, x: torch.Tensor, t: Any, label: Any = None) -> torch.Tensor:
        """Predict the noise in noisy pictures.

        Args:
            x: (B, C, S, S) in units where clean pictures lie in [-1, 1].
            t: The noise level of all, or (B,): integers from 0 to 999.
            label: Their class, by index or by name, None for no class, or (B,) indices, of which `no_class` is none.

        Returns:
            (B, C, S, S).
        """
        if tuple(x.shape[1:]) != self.shape:
            raise ValueError(f"x must be (B, {', '.join(map(str, self.shape))}), got {tuple(x.shape)}")
        if label is None:
            label = self.no_class
        elif not isinstance(label, torch.Tensor):
            label = self.label(label)
        labels = torch.as_tensor(label, device=x.device).expand(len(x))
        return self.network(x, torch.as_tensor(t, device=x.device).expand(len(x)), labels).sample


def named(network: torch.nn.Module, prefix: str) -> dict[str, torch.Tensor]:
    return {prefix + name: tensor for name, tensor in network.state_dict().items()}


def load_weights(network: torch.nn.Module, tensors: Mapping[str, torch.Tensor], prefix: str, path: Any) -> None:
    """Load the tensors with a prefix into a network, all of them or a ValueError."""
    found = {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
    try:
        network.load_state_dict(found)
    except RuntimeError as error:
        raise ValueError(f"{path} does not hold the weights of its network: {error}") from error


def write_file(
    path: str | os.PathLike[str],
    tensors: Mapping[str, torch.Tensor],
    architecture: Architecture,
    facts: Mapping[str, Any],
) -> None:
    """Write tensors and facts to a safetensors file that is whole or not there."""
    output = images.Output.check(path, SUFFIXES)
    metadata = {"format": _FORMAT, "facts": json.dumps({**facts, "architecture": asdict(architecture)}, sort_keys=True)}
    packed = need("safetensors.torch").save(
        {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, metadata
    )
    with output.open() as file:
        file.write(packed)


def read_file(path: str | os.PathLike[str]) -> tuple[dict[str, torch.Tensor], Architecture, dict[str, Any]]:
    """Return what is in a file that `write_file` wrote."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no model at {path}")
    try:
        with need("safetensors").safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it is no mapping)
    except need("safetensors").SafetensorError as error:
        raise ValueError(f"{path} is truncated or no safetensors file: {error}") from error
    if metadata.get("format") != _FORMAT:
        raise ValueError(f"{path} is no model of genimg_fast.diffusion: its format is {metadata.get('format')!r}")
    facts = json.loads(metadata["facts"])
    architecture = {name: tuple(value) for name, value in facts.pop("architecture").items()}
    return tensors, Architecture(**architecture), facts
