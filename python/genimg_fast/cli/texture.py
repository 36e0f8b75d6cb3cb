"""``genimg-fast texture ...``: a texture from a photograph."""

from __future__ import annotations

import math
import time
import warnings
from pathlib import Path
from typing import Any

import click
import numpy as np

from genimg_fast import images
from genimg_fast.textures import Step, heeger_bergen
from genimg_fast.textures.options import EDGES, MIXTURES, PYRAMIDS, UPDATES

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
    watch = Stopwatch()
    images.Output.check(output)
    drawing = None if figure is None else _check_figure(figure)
    alpha = alpha or "refuse"
    pictures = [images.read(path, alpha=alpha) for path in (exemplar, *(path for path, _ in mix))]
    images.check_depth(output, pictures[0])
    if palette is not None:
        options["palette"] = images.read(palette, alpha=alpha)
    watch.lap("read")

    distances: list[float] = []

    def note(step: Step) -> None:
        distances.append(step.distance)

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", RuntimeWarning)
        result = heeger_bergen(
            pictures if mix else pictures[0],
            n_iter=iterations,
            weights=[1.0, *(weight for _, weight in mix)],
            progress=not no_progress,
            callback=note if drawing else None,
            **options,
        )
    for warning in caught:
        click.echo(str(warning.message), err=True)
    watch.lap("synthesise")
    images.write(output, result)
    watch.lap("write")
    if drawing is not None:
        _draw(drawing, pictures[0], result, distances)
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


def _draw(output: images.Output, exemplar: np.ndarray, result: np.ndarray, distances: list[float]) -> None:
    from genimg_fast import plot

    figure = plot.synthesis(exemplar, result, distances)
    with output.open() as file:
        figure.savefig(file, format=output.path.suffix[1:].lower())
