"""From picture files to a picture file: reading, the work, writing, and what is said about them."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click
import numpy as np

from genimg_fast import images

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FIGURES = (".png", ".pdf", ".svg")


class Stopwatch:
    """Prints how long each step took."""

    def __init__(self) -> None:
        self._start = time.perf_counter()

    def lap(self, what: str) -> None:
        now = time.perf_counter()
        click.echo(f"{what:<12} {now - self._start:8.3f} s")
        self._start = time.perf_counter()


def make(
    synthesise: Callable[[list[np.ndarray]], np.ndarray],
    paths: Sequence[str],
    output: str,
    figure: str | None,
    alpha: str | None,
    draw: Callable[[list[np.ndarray], np.ndarray], Figure],
) -> None:
    """Read pictures, synthesise, write the result and the figure, and say how long each step took.

    Args:
        synthesise: Makes a picture of those read.
        paths: Of the pictures to read; the result has the depth of the first.
        output, figure: Files to write.
        alpha: "keep", "drop", or None to refuse transparency.
        draw: Makes the figure of the pictures and the result.
    """
    watch = Stopwatch()
    images.Output.check(output)
    drawing = None if figure is None else _check_figure(figure)
    pictures = [images.read(path, alpha=alpha or "refuse") for path in paths]
    images.check_depth(output, pictures[0])
    watch.lap("read")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", RuntimeWarning)
        result = synthesise(pictures)
    for warning in caught:
        click.echo(str(warning.message), err=True)
    watch.lap("synthesise")
    images.write(output, result)
    watch.lap("write")
    if drawing is not None:
        with drawing.open() as file:
            draw(pictures, result).savefig(file, format=drawing.path.suffix[1:].lower())
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
