"""A class-conditional network that predicts noise, and its file."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from genimg_fast import _arguments as check
from genimg_fast import images
from genimg_fast._core import backend
from genimg_fast._system import system
from genimg_fast.diffusion._packages import need

SUFFIXES = (".safetensors",)
TRAIN_STEPS = 1000  # noise levels, as in Ho et al. 2020
SCHEDULE = {
    "num_train_timesteps": TRAIN_STEPS,
    "beta_schedule": "squaredcos_cap_v2",  # the cosine schedule of Nichol and Dhariwal 2021
    "prediction_type": "epsilon",
}

# What a file's tensors are called: the averaged weights, which are the model, and what a resumed training needs.
EMA, WEIGHTS, OPTIMIZER, RANDOM = "ema.", "weights.", "optimizer.", "random"

_FORMAT = "genimg_fast diffusion model, 1"
_MOST_SIDE = _MOST_WIDTH = 4096

Layout = dict[str, tuple[str, tuple[int, ...]]]  # for each tensor of a file its type, in the file's words, and shape


class ModelFileError(ValueError):
    """A file that is no model, or a broken one. The message begins with its name."""


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
            network = unet(
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
        return network.float()  # whatever torch's default is

    def weights(self) -> dict[str, tuple[int, ...]]:
        """Return the shapes of the network's weights by name, in the order of its parameters."""
        with torch.device("meta"):  # takes no memory, whatever the widths are
            return {name: tuple(weight.shape) for name, weight in self.build().named_parameters()}

    def layout(self, *, is_checkpoint: bool, has_moments: bool) -> Layout:
        """Return what a file of this network holds.

        Args:
            is_checkpoint: Whether a training can go on from it.
            has_moments: Whether the optimiser has taken a step.
        """
        weights = self.weights()
        found: Layout = {EMA + name: ("F32", shape) for name, shape in weights.items()}
        if is_checkpoint:
            found |= {WEIGHTS + name: ("F32", shape) for name, shape in weights.items()}
            found[RANDOM] = ("U8", tuple(torch.Generator().get_state().shape))
        if is_checkpoint and has_moments:
            for i, shape in enumerate(weights.values()):
                found[f"{OPTIMIZER}{i}.step"] = ("F32", ())
                found |= {f"{OPTIMIZER}{i}.{moment}": ("F32", shape) for moment in ("exp_avg", "exp_avg_sq")}
        return found


def bounded(name: str, value: Any, least: int, most: int) -> int:
    """Return an integer whose upper bound is there only to keep it within what a machine can do."""
    found = check.integer(name, value, least)
    if found > most:
        raise ValueError(f"{name} must be at most {most}, got {found}")
    return found


def widths(value: Sequence[int], side: int) -> tuple[int, ...]:
    """Return the widths of a network for square pictures, checked."""
    if isinstance(value, (str, bytes)) or not isinstance(value, Iterable):
        raise TypeError(f"widths must be a list of integers, got {value!r}")
    found = tuple(bounded("widths", width, 1, _MOST_WIDTH) for width in value)
    if not found or any(width % 16 for width in found):
        raise ValueError(f"widths must be multiples of 16, at least one, got {found}")
    if side % 2 ** (len(found) - 1) or side < 2 ** len(found):
        raise ValueError(
            f"size must be a multiple of {2 ** (len(found) - 1)}, at least {2 ** len(found)}, for {len(found)} widths, "
            f"got {side}"
        )
    if side > _MOST_SIDE:
        raise ValueError(f"size must be at most {_MOST_SIDE}, got {side}")
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
    @system("Model.from_file")
    def from_file(cls, path: str | os.PathLike[str], device: Any = None) -> Model:
        """Load a model from the file that `save` wrote, or from a checkpoint of a training (its averaged weights).

        Raises:
            FileNotFoundError: There is no such file.
            ValueError: It is truncated, or not such a file: names, types and sizes of all that it holds are compared
                with what it says of itself before a network is made, and its weights must be finite.
            ImportError: Diffusers or safetensors is missing.
        """
        device = check.device(device, None)
        tensors, architecture, facts = read_file(path)
        network = architecture.build()
        network.load_state_dict(with_prefix(tensors, EMA))
        return cls(architecture, network.to(device).eval().requires_grad_(False), facts)

    @system("Model.save")
    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the model to a safetensors file, float32.

        Raises:
            TypeError: The facts are nothing that JSON holds.
            ValueError: The name does not end in .safetensors; the network is not what `architecture` says; a weight is
                not finite.
            OSError: It cannot be written.
        """
        tensors = {name: tensor.float() for name, tensor in named(self.network, EMA).items()}
        if {
            name: tuple(tensor.shape) for name, tensor in named(self.network, "").items()
        } != self.architecture.weights():
            raise ValueError("the network's weights must be those of its architecture; names or shapes differ")
        if not are_finite(tensors.values()):
            raise ValueError("the network's weights must be finite")
        write_file(path, tensors, self.architecture, dict(self.facts))

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
        self._check(x)
        levels = _per_picture("t", t, x, TRAIN_STEPS - 1, may_be_fractions=True)
        if label is None:
            label = self.no_class
        elif isinstance(label, (str, int)):
            try:
                label = self.label(label)
            except (TypeError, ValueError) as error:
                raise type(error)(f"Model: {error}") from None
        return self.network(x, levels, _per_picture("label", label, x, self.no_class)).sample

    def _check(self, x: Any) -> None:
        """Check that an argument is a batch for this network."""
        if not backend.is_tensor(x):
            raise TypeError(f"Model: x must be a torch.Tensor, got {type(x).__name__}")
        backend.strided("Model", "x", x)
        if tuple(x.shape[1:]) != self.shape or not len(x):
            raise ValueError(f"Model: x must be (B, {', '.join(map(str, self.shape))}), got {tuple(x.shape)}")
        weight = next(self.network.parameters())
        if x.device != weight.device:
            raise ValueError(f"Model: x must be on the model's device, {weight.device}, got {x.device}")
        if x.dtype != weight.dtype and not (torch.is_autocast_enabled(x.device.type) and x.dtype.is_floating_point):
            raise TypeError(f"Model: x must have the dtype of the weights, {weight.dtype}, got {x.dtype}")


def _per_picture(name: str, value: Any, x: torch.Tensor, most: int, *, may_be_fractions: bool = False) -> torch.Tensor:
    """Return a number for each picture of a batch from one of them or (B,), each from 0 to ``most``."""
    try:
        numbers = torch.as_tensor(value, device=x.device)
    except (TypeError, ValueError, RuntimeError):
        raise TypeError(f"Model: {name} must be a number or (B,) numbers, got {value!r:.100}") from None
    is_whole = not numbers.dtype.is_floating_point
    if numbers.dtype is torch.bool or numbers.dtype.is_complex or not (is_whole or may_be_fractions):
        raise TypeError(f"Model: {name} must be integers, got {numbers.dtype}")
    numbers = numbers.long() if is_whole else numbers
    if tuple(numbers.shape) not in ((), (1,), (len(x),)):
        raise ValueError(f"Model: {name} must be one number or ({len(x)},), got the shape {tuple(numbers.shape)}")
    if not bool(((numbers >= 0) & (numbers <= most)).all()):
        got = numbers.tolist() if numbers.numel() < 10 else f"{numbers.min().item()} to {numbers.max().item()}"
        raise ValueError(f"Model: {name} must be from 0 to {most}, got {got}")
    return numbers.expand(len(x))


def named(network: torch.nn.Module, prefix: str) -> dict[str, torch.Tensor]:
    return {prefix + name: tensor for name, tensor in network.state_dict().items()}


def with_prefix(tensors: Mapping[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    """Return the tensors whose names begin with a prefix, by the rest of their names."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def are_finite(tensors: Iterable[torch.Tensor]) -> bool:
    return all(bool(torch.isfinite(tensor).all()) for tensor in tensors)


def write_file(
    path: str | os.PathLike[str],
    tensors: Mapping[str, torch.Tensor],
    architecture: Architecture,
    facts: Mapping[str, Any],
) -> None:
    """Write tensors and facts to a safetensors file that is whole or not there."""
    output = images.Output.check(path, SUFFIXES)
    try:
        described = json.dumps({**facts, "architecture": asdict(architecture)}, sort_keys=True)
    except (TypeError, ValueError, RecursionError) as error:
        raise TypeError(f"facts must be what JSON holds, got {facts!r:.200}") from error
    packed = need("safetensors.torch").save(
        {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()},
        {"format": _FORMAT, "facts": described},
    )
    with output.open() as file:
        file.write(packed)


def read_file(
    path: str | os.PathLike[str], *, is_checkpoint: bool = False
) -> tuple[dict[str, torch.Tensor], Architecture, dict[str, Any]]:
    """Return what is in a file that `write_file` wrote, all of it checked before any of it is used.

    Args:
        path: The file.
        is_checkpoint: Whether what a resumed training needs is read too, and must be there.

    Raises:
        FileNotFoundError: There is no such file.
        ModelFileError: It is broken or something else.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no model at {path}")
    try:
        with need("safetensors").safe_open(path, "pt") as file:
            found = {name: _entry(file.get_slice(name)) for name in file.keys()}  # noqa: SIM118 (it is no mapping)
            architecture, facts = _description(path, file.metadata() or {})
            _check_layout(path, found, architecture, facts)
            if is_checkpoint and RANDOM not in found:
                raise ModelFileError(f"{path} holds a model alone, without what a resumed training needs")
            # Copies: the file's own memory changes if somebody writes to it.
            tensors = {name: file.get_tensor(name).clone() for name in found if is_checkpoint or name.startswith(EMA)}
    except need("safetensors").SafetensorError as error:
        raise ModelFileError(f"{path} is truncated or no safetensors file: {error}") from error
    _check_values(path, tensors)
    return tensors, architecture, facts


def _entry(tensor: Any) -> tuple[str, tuple[int, ...]]:
    return tensor.get_dtype(), tuple(tensor.get_shape())


def _description(path: Path, metadata: Mapping[str, str]) -> tuple[Architecture, dict[str, Any]]:
    """Return the architecture and the facts in a file's metadata."""
    if metadata.get("format") != _FORMAT:
        raise ModelFileError(
            f"{path} is no model of genimg_fast.diffusion: its format is {metadata.get('format')!r:.80}"
        )
    try:
        facts = json.loads(metadata["facts"])
    except (KeyError, ValueError, RecursionError) as error:
        raise ModelFileError(f"{path} does not say what it holds: its facts are missing or no JSON") from error
    try:
        facts = _mapping("facts", facts)
        architecture = _architecture(_mapping("architecture", facts.pop("architecture", None)))
        if "step" in facts:
            check.integer("step", facts["step"], 0, (1 << 63) - 1)
        _mapping("settings", facts.get("settings", {}))
        if not isinstance(facts.get("data", ""), str):
            raise TypeError("data must be text")
    except (TypeError, ValueError) as error:
        raise ModelFileError(f"{path} does not describe a network that this package makes: {error}") from error
    return architecture, facts


def _mapping(name: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TypeError(f"{name} must be a mapping, got {value!r:.80}")
    return value


def _architecture(found: Mapping[str, Any]) -> Architecture:
    """Return the architecture that a file's metadata describe, checked."""
    wanted = ("shape", "classes", "widths")
    if sorted(found) != sorted(wanted):
        raise ValueError(
            f"architecture must have {', '.join(wanted)}, got {', '.join(map(repr, found)) or 'nothing':.80}"
        )
    for name in wanted:
        if not isinstance(found[name], list):
            raise TypeError(f"{name} must be a list, got {found[name]!r:.80}")
    shape = tuple(check.integer("shape", number, 1, _MOST_SIDE) for number in found["shape"])
    if len(shape) != 3 or shape[1] != shape[2]:
        raise ValueError(f"shape must be channels and twice the side, got {shape}")
    classes = tuple(found["classes"])
    if not classes or not all(isinstance(name, str) for name in classes):
        raise ValueError(f"classes must be names, got {classes!r:.80}")
    if len(set(classes)) < len(classes):
        raise ValueError(f"classes must have different names, got {classes!r:.80}")
    return Architecture((shape[0], shape[1], shape[2]), classes, widths(found["widths"], shape[1]))


def _check_layout(path: Path, found: Layout, architecture: Architecture, facts: Mapping[str, Any]) -> None:
    """Compare names, types and shapes of a file's tensors with those that its network has."""
    is_checkpoint = any(not name.startswith(EMA) for name in found)
    expected = architecture.layout(is_checkpoint=is_checkpoint, has_moments=bool(facts.get("step", 0)))
    for name in found:
        if name not in expected:
            raise ModelFileError(f"{path} holds a tensor {name!r:.80} that its network does not have")
    for name, (kind, shape) in expected.items():
        if name not in found:
            raise ModelFileError(f"{path} lacks the tensor {name!r} of its network")
        if found[name] != (kind, shape):
            got = f"{found[name][0]} of the shape {found[name][1]}"
            raise ModelFileError(f"{path} holds {name!r} as {got}; its network has {kind} of the shape {shape}")


def _check_values(path: Path, tensors: Mapping[str, torch.Tensor]) -> None:
    """Refuse weights that are not finite, and moments that no optimiser has."""
    for name, tensor in tensors.items():
        is_count = name.endswith((".step", ".exp_avg_sq")) and name.startswith(OPTIMIZER)
        if not are_finite([tensor]) or (is_count and bool((tensor < 0).any())):
            raise ModelFileError(f"{path} holds values in {name!r} that are not finite, or negative where none may be")
