"""Values and checks of options that several commands take."""

from __future__ import annotations

import math
from typing import Any

import click
import numpy as np

from genimg_fast import images

NETWORKS = ("random", "hed_vgg16", "vgg16", "vgg19")
OPTIMIZERS = ("lbfgs", "adam")


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


def grey(path: str, what: str) -> np.ndarray:
    """Read a picture (H, W) that says how much of something is where: grey, or colours that are all grey.

    Raises:
        ValueError: It has colours, which ``what``, its role, must not; or it cannot be read.
    """
    pixels = images.read(path, alpha="drop")
    if pixels.ndim == 2:
        return pixels
    if (pixels != pixels[..., :1]).any():
        raise ValueError(f"{path} has colours; {what} must be grey")
    return pixels[..., 0]


def choice(names: Any) -> click.Choice[str]:
    return click.Choice(tuple(names))


def network(name: str, weights: str | None, download: bool, normalize: Any) -> Any:
    """Return a network, or None for the default one."""
    from genimg_fast import features

    given = {"--weights-file": weights is not None, "--download": download, "--normalize": normalize is not None}
    unfit = {"random": tuple(given), "hed_vgg16": ("--download",)}.get(name, ())
    for option in unfit:
        if given[option]:
            raise ValueError(f"{option} does not go with --features {name}")
    if name == "random":
        return None
    options = {"download": download} if name in ("vgg16", "vgg19") else {}
    try:
        return getattr(features, name)(weights=weights, normalize=normalize, **options)
    except ImportError as error:  # of a package that reads the file
        raise ValueError(str(error)) from error
