"""``genimg-fast style``: a picture in the manner of another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from genimg_fast.cli._command import Command, Dependent
from genimg_fast.cli._common import Files, Grey, drawn_seed, make, picture_options, seed_option
from genimg_fast.cli._options import (
    OPTIMIZERS,
    Device,
    Height,
    Layers,
    NetworkChoice,
    Size,
    Weighted,
    choice,
    network_options,
)
from genimg_fast.style.options import COLORS, INITS, NORMALIZATIONS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_POSITIVE = click.FloatRange(min=0, min_open=True)
_WEIGHT = click.FloatRange(min=0)


@click.command(
    cls=Command,
    function="transfer",
    words={
        "content": "CONTENT",
        "style": ("STYLE", "--style"),
        "n_iter": "--iterations",
        "noise_share": "--noise",
        "weights": "--weights-file",
    },
)
@click.argument("content", metavar="CONTENT")
@click.argument("style", metavar="STYLE")
@picture_options
@click.option("--size", type=Size(keeps_proportions=True), help="Both sides, or the longer; default: CONTENT's.")
@seed_option
@click.option("--style", "more", type=Weighted(), multiple=True, help="Another style (STYLE has weight 1). Repeatable.")
@click.option(
    "--mask",
    "masks",
    metavar="FILE",
    multiple=True,
    help="Grey picture of CONTENT's size, white where a style applies. Once for each style, STYLE first.",
)
@click.option("--style-scale", type=_POSITIVE, default=1.0, show_default=True, help="Size of styles; less: finer.")
@click.option("--colors", type=choice(COLORS), default="style", show_default=True, help="Whose colours, and how.")
@click.option("--content-weight", type=_WEIGHT, help="Default: that of --normalization.")
@click.option("--style-weight", type=_WEIGHT, help="Default: that of --normalization.")
@click.option("--tv", "tv_weight", type=_WEIGHT, help="Weight of the total variation; more is smoother.")
@click.option(
    "--histogram", "histogram_weight", type=_WEIGHT, default=0.0, show_default=True, help="Weight of its loss."
)
@click.option("--normalization", type=choice(NORMALIZATIONS), default="relative", show_default=True, help="Whose loss.")
@network_options("the pictures")
@click.option("--content-layers", type=Layers(), help="Layers to compare with CONTENT; default: relu4_2 of a VGG.")
@click.option("--style-layers", type=Layers(), help="Layers to compare with styles; default: relu1_1, ..., relu5_1.")
@click.option("--init", type=choice(INITS), default="content", show_default=True, help="What to begin with.")
@click.option(
    "--noise",
    cls=Dependent,
    needs={"init": ("mixed",)},
    type=click.FloatRange(0, 1),
    default=0.5,
    show_default=True,
    help="Share of noise with --init mixed.",
)
@click.option("--optimizer", type=choice(OPTIMIZERS), default="lbfgs", show_default=True)
@click.option(
    "--learning-rate",
    cls=Dependent,
    needs={"optimizer": ("adam",)},
    type=_POSITIVE,
    default=0.02,
    show_default=True,
    help="Learning rate of --optimizer adam.",
)
@click.option("--iterations", type=click.IntRange(min=1), default=100, show_default=True, help="At each size.")
@click.option("--scales", type=Height(), default="auto", show_default=True, help="Sizes, each half of the next.")
@click.option("--tolerance", type=_WEIGHT, default=0.0, help="A size is done at this loss.")
@click.option("--tile", type=click.IntRange(min=1), metavar="PIXELS", help="Compute in tiles, to bound the memory.")
@click.option("--device", type=Device(), help="Where to compute, such as cuda; default: the processor.")
@click.option("--figure", metavar="FILE", help="Draw the pictures and the loss: .png, .pdf or .svg.")
@click.option("--drop-alpha", "alpha", flag_value="drop", help="Ignore the alpha channel.")
@click.option("--no-progress", is_flag=True, help="No progress bar.")
def style(
    content: str,
    style: str,
    output: str,
    seed: int | None,
    more: tuple[tuple[str, float], ...],
    masks: tuple[str, ...],
    features: str,
    weights_file: str | None,
    inputs: str | None,
    download: bool,
    normalize: bool,
    iterations: int,
    figure: str | None,
    alpha: str | None,
    force: bool,
    max_pixels: int,
    no_progress: bool,
    **options: Any,
) -> None:
    """Paint the picture CONTENT in the style of STYLE (Gatys, Ecker, Bethge 2015).

    The result is written at the depth of CONTENT (8 or 16 bits). Ctrl-C ends the work and saves the picture so far.
    """
    if masks and len(masks) != 1 + len(more):
        raise ValueError(f"--mask must be given once for each of {1 + len(more)} styles, got {len(masks)}")
    choice_of_network = NetworkChoice(features, weights_file, inputs, download, normalize)
    greys = {f"mask {i}": Grey(path, "a mask") for i, path in enumerate(masks)}
    paths = [content, style, *(path for path, _ in more)]
    files = Files(paths, output, figure, greys, alpha, max_pixels, force)
    files.check()
    choice_of_network.load()
    seed = drawn_seed(seed)
    losses: list[Mapping[str, float]] = []

    def synthesise(pictures: list[np.ndarray], greys: dict[str, np.ndarray]) -> np.ndarray:
        from genimg_fast.style import transfer

        return transfer(
            pictures[0],
            pictures[1:],
            features=choice_of_network.network(pictures),
            seed=seed,
            weights=[1.0, *(weight for _, weight in more)],
            masks=list(greys.values()) or None,
            n_iter=iterations,
            progress=not no_progress,
            callback=(lambda step: losses.append(step.losses)) if figure else None,
            **options,
        )

    def draw(pictures: list[np.ndarray], result: np.ndarray) -> Figure:
        from genimg_fast import plot

        return plot.transfer(pictures[0], pictures[1:], result, losses)

    make(synthesise, files, seed, draw)
