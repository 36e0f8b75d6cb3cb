"""``genimg-fast texture ...``: a texture from a photograph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from genimg_fast import images
from genimg_fast.cli._command import Command, Dependent
from genimg_fast.cli._common import (
    Files,
    Grey,
    drawn_seed,
    make,
    max_pixels_option,
    picture_options,
    plain_warnings,
    seed_option,
    share,
)
from genimg_fast.cli._errors import NamingGroup, say
from genimg_fast.cli._options import (
    OPTIMIZERS,
    Device,
    Height,
    NetworkChoice,
    Odd,
    Size,
    Weighted,
    choice,
    network_options,
)
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


@click.group(cls=NamingGroup)
def texture() -> None:
    """Synthesise a texture from a photograph."""


@texture.command(
    "heeger-bergen",
    cls=Command,
    function="heeger_bergen",
    words={"image": ("IN", "--mix"), "n_iter": "--iterations", "weights": "--mix"},
)
@click.argument("exemplar", metavar="IN")
@picture_options
@click.option("--size", type=Size(), help="Of the result; default: the exemplar's.")
@seed_option
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
@click.option(
    "--mixture",
    cls=Dependent,
    needs={"mix": ()},
    type=choice(MIXTURES),
    default="barycentre",
    show_default=True,
    help="How --mix mixes.",
)
@click.option("--figure", metavar="FILE", help="Draw exemplar, result and convergence: .png, .pdf or .svg.")
@click.option("--keep-alpha", "alpha", flag_value="keep", help="Synthesise the alpha channel with the colours.")
@click.option("--drop-alpha", "alpha", flag_value="drop", help="Ignore the alpha channel.")
@click.option("--no-progress", is_flag=True, help="No progress bar.")
def heeger_bergen_command(
    exemplar: str,
    output: str,
    iterations: int,
    seed: int | None,
    palette: str | None,
    mix: tuple[tuple[str, float], ...],
    figure: str | None,
    alpha: str | None,
    force: bool,
    max_pixels: int,
    no_progress: bool,
    **options: Any,
) -> None:
    """Synthesise a texture from the photograph IN by Heeger and Bergen's method (1995).

    The result has any size, tiles without a seam, and is written at the depth of IN (8 or 16 bits). Ctrl-C ends the
    synthesis and saves the picture so far.
    """
    files = Files(_paths(exemplar, mix), output, figure, {"palette": palette}, alpha, max_pixels, force)
    files.check()
    seed = drawn_seed(seed)
    distances: list[float] = []

    def synthesise(pictures: list[np.ndarray], others: dict[str, np.ndarray]) -> np.ndarray:
        return heeger_bergen(
            pictures if mix else pictures[0],
            n_iter=iterations,
            seed=seed,
            weights=_weights(mix),
            progress=not no_progress,
            callback=(lambda step: distances.append(step.distance)) if figure else None,
            palette=others.get("palette"),
            **options,
        )

    def draw(pictures: list[np.ndarray], result: np.ndarray) -> Figure:
        from genimg_fast import plot

        return plot.synthesis(pictures[0], result, distances)

    make(synthesise, files, seed, draw)


@texture.command(
    "portilla-simoncelli",
    cls=Command,
    function="portilla_simoncelli",
    words={"image": ("IN", "--mix"), "n_iter": "--iterations", "weights": "--mixture-map"},
)
@click.argument("exemplar", metavar="IN")
@picture_options
@click.option("--size", type=Size(), help="Of the result; default: the canvas', or the exemplar's.")
@seed_option
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
    type=Odd(1, 33),
    default=7,
    show_default=True,
    help="Width of the autocorrelations, in pixels of each scale; odd.",
)
@click.option("--method", type=choice(METHODS), default="projection", show_default=True)
@click.option(
    "--polish",
    "n_polish",
    cls=Dependent,
    needs={"method": ("polished",)},
    type=click.IntRange(min=1),
    default=100,
    show_default=True,
    help="Evaluations of --method polished after its iterations.",
)
@click.option(
    "--optimizer",
    cls=Dependent,
    needs={"method": ("gradient", "polished")},
    type=choice(OPTIMIZERS),
    default="lbfgs",
    show_default=True,
    help="Optimiser of a descent.",
)
@click.option(
    "--learning-rate",
    cls=Dependent,
    needs={"method": ("gradient", "polished"), "optimizer": ("adam",)},
    type=click.FloatRange(min=0, min_open=True),
    default=0.02,
    show_default=True,
    help="Learning rate of --optimizer adam.",
)
@click.option("--leave-out", type=choice(FAMILIES), multiple=True, help="Statistics not to impose. Repeatable.")
@click.option(
    "--mix", type=Weighted(), multiple=True, help="Mix in another exemplar (IN has the weight 1). Repeatable."
)
@click.option(
    "--mixture-map",
    metavar="FILE",
    help="Grey picture of OUT's size, white where --mix takes over from IN.",
)
@click.option("--canvas", metavar="FILE", help="A picture of OUT's size, kept where --mask says.")
@click.option(
    "--mask",
    metavar="FILE",
    help="Grey picture, white where --canvas is kept; default: the middle of --canvas is kept.",
)
@click.option(
    "--extend",
    cls=Dependent,
    needs={"size": ()},
    is_flag=True,
    help="Keep IN in the middle of a larger OUT, with a soft border.",
)
@click.option("--edges", type=choice(PARAMETRIC_EDGES), default="none", show_default=True, help="At IN's borders.")
@click.option(
    "--acceleration",
    cls=Dependent,
    needs={"method": ("projection", "polished")},
    type=click.FloatRange(0, 1, max_open=True),
    default=0.8,
    show_default=True,
    help="How far an iteration goes on in the direction of the last.",
)
@click.option(
    "--tolerance", type=click.FloatRange(min=0), default=0.0, help="Stop at this error, or loss of a descent."
)
@click.option("--device", type=Device(), help="Where to compute, such as cuda; default: the processor.")
@click.option("--figure", metavar="FILE", help="Draw exemplar, result and convergence: .png, .pdf or .svg.")
@click.option("--keep-alpha", "alpha", flag_value="keep", help="Synthesise the alpha channel with the colours.")
@click.option("--drop-alpha", "alpha", flag_value="drop", help="Ignore the alpha channel.")
@click.option("--no-progress", is_flag=True, help="No progress bar.")
def portilla_simoncelli_command(
    exemplar: str,
    output: str,
    size: tuple[int, int] | None,
    iterations: int,
    seed: int | None,
    mix: tuple[tuple[str, float], ...],
    mixture_map: str | None,
    canvas: str | None,
    mask: str | None,
    extend: bool,
    figure: str | None,
    alpha: str | None,
    force: bool,
    max_pixels: int,
    no_progress: bool,
    **options: Any,
) -> None:
    """Synthesise a texture from the photograph IN by Portilla and Simoncelli's method (2000).

    The result has any size, tiles without a seam, and is written at the depth of IN (8 or 16 bits). With --canvas and
    --mask a hole in a picture is filled. Ctrl-C ends the synthesis and saves the picture so far.
    """
    if extend and (canvas is not None or mask is not None):
        raise ValueError("--extend does not go with --canvas and --mask, which it makes itself")
    if mask is not None and canvas is None:
        raise ValueError("--mask has no effect without --canvas")
    if mixture_map is not None and len(mix) != 1:
        raise ValueError(f"--mixture-map needs exactly one --mix, got {len(mix)}")
    others = {
        "canvas": canvas,
        "mask": None if mask is None else Grey(mask, "a mask"),
        "map": None if mixture_map is None else Grey(mixture_map, "a mixture's map"),
    }
    files = Files(_paths(exemplar, mix), output, figure, others, alpha, max_pixels, force)
    files.check()
    seed = drawn_seed(seed)
    errors: list[dict[str, float]] = []

    def synthesise(pictures: list[np.ndarray], others: dict[str, np.ndarray]) -> np.ndarray:
        from genimg_fast.textures import portilla_simoncelli

        if extend:
            options["canvas"], options["mask"] = _extended(pictures[0], size)
        else:
            options["canvas"] = others.get("canvas")
            options["mask"] = share(others["mask"]) if "mask" in others else None
        return portilla_simoncelli(
            pictures if mix else pictures[0],
            size,
            n_iter=iterations,
            seed=seed,
            weights=_weight_maps(mix[0][1], share(others["map"])) if "map" in others else _weights(mix),
            progress=not no_progress,
            callback=(lambda step: errors.append(_errors(step))) if figure else None,
            **options,
        )

    def draw(pictures: list[np.ndarray], result: np.ndarray) -> Figure:
        from genimg_fast import plot

        return plot.synthesis(pictures[0], result, errors, quantity="relative error")

    make(synthesise, files, seed, draw)


@texture.command("compare", cls=Command, function="compare")
@click.argument("a", metavar="A")
@click.argument("b", metavar="B")
@click.option("--scales", "n_scales", type=Height(), default="auto", show_default=True, help="Number of scales.")
@click.option("--orientations", "n_orientations", type=click.IntRange(1, 16), default=4, show_default=True)
@click.option("--neighbourhood", "spatial_corr_width", type=Odd(1, 33), default=7, show_default=True)
@click.option("--keep-alpha", "alpha", flag_value="keep", help="Compare the alpha channels with the colours.")
@click.option("--drop-alpha", "alpha", flag_value="drop", help="Ignore the alpha channel.")
@max_pixels_option
def compare_command(a: str, b: str, alpha: str | None, max_pixels: int, **options: Any) -> None:
    """Say which of Portilla and Simoncelli's statistics tell the pictures A and B apart.

    For each family, the relative difference between parts of A and parts of B, that between parts of one picture, and
    their ratio: about 1 where the family sees one texture.
    """
    with plain_warnings():
        pictures = [images.read(path, alpha=alpha or "refuse", max_pixels=max_pixels) for path in (a, b)]

        from genimg_fast.textures import compare

        differences = compare(*pictures, **options)
    say(f"{'family':<16}{'between':>9}{'within':>9}{'ratio':>9}")
    for name, difference in differences.items():
        say(f"{name:<16}{difference.between:>9.4f}{difference.within:>9.4f}{difference.ratio:>9.2f}")


@texture.command(
    "cnn",
    cls=Command,
    function="cnn_texture",
    words={"image": ("IN", "--mix"), "n_iter": "--iterations", "weights": "--weights-file"},
)
@click.argument("exemplar", metavar="IN")
@picture_options
@click.option("--size", type=Size(), help="Of the result; default: the exemplar's.")
@seed_option
@network_options("IN")
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
@click.option("--device", type=Device(), help="Where to compute, such as cuda; default: the processor.")
@click.option("--figure", metavar="FILE", help="Draw exemplar, result and loss: .png, .pdf or .svg.")
@click.option("--drop-alpha", "alpha", flag_value="drop", help="Ignore the alpha channel.")
@click.option("--no-progress", is_flag=True, help="No progress bar.")
def cnn_command(
    exemplar: str,
    output: str,
    features: str,
    weights_file: str | None,
    inputs: str | None,
    download: bool,
    normalize: bool,
    layers: str | None,
    iterations: int,
    seed: int | None,
    mix: tuple[tuple[str, float], ...],
    no_histogram: bool,
    figure: str | None,
    alpha: str | None,
    force: bool,
    max_pixels: int,
    no_progress: bool,
    **options: Any,
) -> None:
    """Synthesise a texture from the photograph IN with a network's features (Gatys, Ecker, Bethge 2015).

    The result has any size and is written at the depth of IN (8 or 16 bits). Ctrl-C ends the synthesis and saves the
    picture so far.
    """
    choice_of_network = NetworkChoice(features, weights_file, inputs, download, normalize)
    files = Files(_paths(exemplar, mix), output, figure, {}, alpha, max_pixels, force)
    files.check()
    choice_of_network.load()
    seed = drawn_seed(seed)
    losses: list[float] = []

    def synthesise(pictures: list[np.ndarray], _: Mapping[str, np.ndarray]) -> np.ndarray:
        from genimg_fast.textures import cnn_texture

        return cnn_texture(
            pictures if mix else pictures[0],
            features=choice_of_network.network(pictures),
            layers=None if layers is None else [name.strip() for name in layers.split(",")],
            n_iter=iterations,
            seed=seed,
            weights=_weights(mix),
            match_histogram=not no_histogram,
            progress=not no_progress,
            callback=(lambda step: losses.append(step.loss)) if figure else None,
            **options,
        )

    def draw(pictures: list[np.ndarray], result: np.ndarray) -> Figure:
        from genimg_fast import plot

        return plot.synthesis(pictures[0], result, losses, quantity="loss")

    make(synthesise, files, seed, draw)


def _paths(exemplar: str, mix: Sequence[tuple[str, float]]) -> list[str]:
    return [exemplar, *(path for path, _ in mix)]


def _weights(mix: Sequence[tuple[str, float]]) -> list[float]:
    return [1.0, *(weight for _, weight in mix)]


def _weight_maps(weight: float, share: np.ndarray) -> np.ndarray:
    """Return the weights (2, h, w) of IN and of another exemplar from a map of the other's share."""
    return np.stack([1 - share, weight * share])


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
