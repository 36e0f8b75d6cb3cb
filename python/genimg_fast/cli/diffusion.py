"""``genimg-fast train-diffusion`` and ``genimg-fast anagram``."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from genimg_fast import images
from genimg_fast.cli._options import choice

if TYPE_CHECKING:
    from genimg_fast.diffusion import Anagrams, Model

_POSITIVE = click.FloatRange(min=0, min_open=True)
_COUNT = click.IntRange(min=1)
_SHARE = click.FloatRange(0, 1, max_open=True)


class Widths(click.ParamType):
    """N,N,..."""

    name = "N,N,..."

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        if isinstance(value, tuple):
            return value
        parts = [part.strip() for part in value.split(",")]
        if not all(part.isascii() and part.isdigit() for part in parts):
            self.fail(f"{value!r} is not a list of widths such as 16,32,64", param, ctx)
        return tuple(map(int, parts))


@click.command("train-diffusion")
@click.argument("data", metavar="DATA")
@click.option("-o", "--output", required=True, metavar="MODEL.safetensors", help="The model, and its checkpoints.")
@click.option("--size", type=click.IntRange(min=2), help="Side of pictures; default: 16 for digits, 32 for a folder.")
@click.option("--steps", type=_COUNT, default=2000, show_default=True, help="Of the optimiser, in all.")
@click.option("--batch-size", type=_COUNT, default=64, show_default=True)
@click.option("--learning-rate", type=_POSITIVE, default=2e-3, show_default=True)
@click.option("--widths", type=Widths(), default="16,32,64", show_default=True, help="Channels at each size.")
@click.option("--label-dropout", type=_SHARE, default=0.1, show_default=True, help="Share of labels left out.")
@click.option("--ema-decay", type=_SHARE, default=0.995, show_default=True, help="Of the running mean of weights.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option("--save-every", type=_COUNT, default=200, show_default=True, help="Steps between checkpoints.")
@click.option("--resume", is_flag=True, help="Go on from MODEL, with the same settings; --steps may differ.")
@click.option("--device", help="Where to compute, such as cuda; default: the processor.")
@click.option("--no-progress", is_flag=True, help="No progress bar.")
def train_diffusion(data: str, output: str, no_progress: bool, **options: Any) -> None:
    """Train a diffusion model on DATA: digits (scikit-learn's), or a folder with a subfolder of pictures per class.

    Ctrl-C ends the training after the step at hand and saves it; --resume goes on as if nothing had been.
    """
    with _in_short():
        from genimg_fast.diffusion import train

        train(data, checkpoint=output, progress=not no_progress, **options)
    click.echo(f"model: {Path(output).resolve()}")


@click.command()
@click.option("-o", "--output", required=True, metavar="OUT", help="Where to write: .png, .jpg or .tiff.")
@click.option("--model", "path", metavar="FILE", help="From train-diffusion; default: one of the digits.")
@click.option(
    "--view",
    "views",
    multiple=True,
    default=("identity", "rotate_180"),
    show_default=True,
    help="Once for each view: identity, flip, hflip, rotate_cw, jigsaw, ... or A @ B.",
)
@click.option("--label", "labels", multiple=True, default=("6", "9"), show_default=True, help="Once for each view.")
@click.option("--n", type=_COUNT, default=16, show_default=True, help="Pictures to draw; the best are kept.")
@click.option("--rows", type=_COUNT, default=1, show_default=True, help="Pictures to write, the best first.")
@click.option("--seed", type=click.IntRange(min=0), help="Makes a run repeatable.")
@click.option("--steps", type=_COUNT, default=50, show_default=True, help="Of the sampler.")
@click.option("--guidance", type=float, default=3.0, show_default=True, help="More is more typical of the classes.")
@click.option("--sampler", type=choice(("ddpm", "ddim")), default="ddpm", show_default=True)
@click.option("--animate", metavar="FILE", help="The best one turning into its other views: .gif, or .png (APNG).")
@click.option("--no-progress", is_flag=True, help="No progress bar.")
def anagram(output: str, path: str | None, rows: int, animate: str | None, no_progress: bool, **options: Any) -> None:
    """Draw a picture that shows one class in one view and another in the next (Geng, Park, Owens 2024).

    OUT gets all views of the best picture side by side. Without --model a small model of handwritten digits is trained
    once, in minutes, and kept in the user's cache.
    """
    images.Output.check(output)
    with _in_short():
        from genimg_fast.diffusion import _drawing
        from genimg_fast.diffusion import anagram as draw

        animation = None if animate is None else _drawing.checked_animation(animate)
        found = draw(_model(path, not no_progress), progress=not no_progress, **options)
        images.write(output, _drawing.sheet(found, rows))
        if animation is not None:
            _drawing.write_animation(animation, found.pictures[0], found.views)
            click.echo(f"animation: {animation.path.resolve()}")
    _report(found, rows)
    click.echo(f"picture: {Path(output).resolve()}")


def _model(path: str | None, progress: bool) -> Model:
    from genimg_fast.diffusion import Model
    from genimg_fast.diffusion._builtin import digits_model

    return digits_model(progress=progress, say=click.echo) if path is None else Model.from_file(path)


def _report(found: Anagrams, rows: int) -> None:
    """Print how well the pictures do."""
    for seed, score in list(zip(found.seeds, found.scores, strict=True))[:rows]:
        read = " ".join(map(str, score.read))
        click.echo(
            f"seed {seed}: alignment {score.alignment:.3f}, concealment {score.concealment:.3f}, views read {read}"
        )
    click.echo(f"all views right: {sum(score.is_right for score in found.scores)} of {len(found.scores)}")


@contextmanager
def _in_short() -> Iterator[None]:
    """Say warnings in a line, and that a package is missing as bad input."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", RuntimeWarning)
        try:
            yield
        except ImportError as error:
            raise ValueError(str(error)) from error
        finally:
            for warning in caught:
                if issubclass(warning.category, RuntimeWarning):
                    click.echo(str(warning.message), err=True)
