"""The options and the run that all commands share which make a picture of pictures."""

from __future__ import annotations

import secrets
import shlex
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from genimg_fast import __version__, images
from genimg_fast._core.progress import Interrupted, noted_signals
from genimg_fast.cli._errors import INTERRUPTED, say

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FIGURES = (".png", ".pdf", ".svg")


def picture_options(command: Any) -> Any:
    """Add the options of files: where to write, what may be overwritten, how large pictures may be."""
    for option in reversed(
        (
            click.option("-o", "--output", required=True, metavar="OUT", help="Where to write: .png, .jpg or .tiff."),
            click.option("--force", is_flag=True, help="Let OUT take the place of a picture that is read."),
            max_pixels_option,
        )
    ):
        command = option(command)
    return command


max_pixels_option = click.option(
    "--max-pixels",
    type=click.IntRange(min=1),
    default=images.MAX_PIXELS,
    show_default=True,
    help="Largest height times width to read.",
)
seed_option = click.option(
    "--seed", type=click.IntRange(min=0), help="Makes a run repeatable; default: a new one, which is printed."
)


@dataclass(frozen=True)
class Grey:
    """A grey picture that says how much of something is where.

    Attributes:
        path: The file.
        role: What it is, for errors.
    """

    path: str
    role: str


@dataclass(frozen=True)
class Files:
    """The files of a run.

    Attributes:
        inputs: Pictures to read; the result has the depth of the first.
        output: Where the result goes.
        figure: Where the figure goes, if there is to be one.
        others: More pictures to read, by name; None is left out.
        alpha: "keep", "drop", or None to refuse transparency.
        max_pixels: Largest height times width to read.
        force: Whether the output may take the place of a picture that is read.
    """

    inputs: Sequence[str]
    output: str
    figure: str | None = None
    others: Mapping[str, str | Grey | None] = field(default_factory=dict)
    alpha: str | None = None
    max_pixels: int = images.MAX_PIXELS
    force: bool = False

    def check(self) -> None:
        """Check all that can be known about the files before one is read.

        Raises:
            ValueError, OSError: A place cannot be written, or is a picture that is read; a picture is missing.
        """
        images.Output.check(self.output)
        if self.figure is not None:
            check_figure(self.figure)
        if self.figure is not None and _same(self.figure, self.output):
            raise ValueError(f"--figure must be another file than OUT, got {self.figure} for both")
        for path in self._read_paths():
            Path(path).stat()
            for place in (self.output, self.figure):
                if place is not None and not self.force and _same(place, path):
                    raise ValueError(f"{place} is read too and would be lost; write elsewhere, or say --force")

    def read(self) -> tuple[list[np.ndarray], dict[str, np.ndarray]]:
        """Return the inputs, and the others by name."""
        more = {name: self._read(one) for name, one in self.others.items() if one is not None}
        return [self._read(path) for path in self.inputs], more

    def _read(self, one: str | Grey) -> np.ndarray:
        if isinstance(one, Grey):
            return grey(one, self.max_pixels)
        return images.read(one, alpha=self.alpha or "refuse", max_pixels=self.max_pixels)

    def _read_paths(self) -> Iterator[str]:
        yield from self.inputs
        yield from (one.path if isinstance(one, Grey) else one for one in self.others.values() if one is not None)


def _same(a: str, b: str) -> bool:
    try:
        return Path(a).samefile(b)
    except OSError:  # one of them is not there yet
        return Path(a).absolute() == Path(b).absolute()


def check_figure(path: str) -> images.Output:
    """Check a figure's place, and that matplotlib is there, before the work."""
    output = images.Output.check(path, FIGURES)
    try:
        import matplotlib as _  # noqa: F401
    except ImportError:
        raise ValueError("--figure needs matplotlib: pip install genimg_fast[plot]") from None
    return output


def grey(picture: Grey, max_pixels: int) -> np.ndarray:
    """Read a picture (H, W) that is grey, or whose colours are all grey.

    Raises:
        ValueError: It has colours, or cannot be read.
    """
    pixels = images.read(picture.path, alpha="drop", max_pixels=max_pixels)
    if pixels.ndim == 2:
        return pixels
    if (pixels != pixels[..., :1]).any():
        raise ValueError(f"{picture.path} has colours; {picture.role} must be grey")
    return pixels[..., 0]


def share(pixels: np.ndarray) -> np.ndarray:
    """Return a grey picture as numbers (H, W) from 0 to 1."""
    return pixels / np.iinfo(pixels.dtype).max


def drawn_seed(seed: int | None) -> int:
    """Return the seed that was given or a new one, and print it."""
    seed = secrets.randbelow(1 << 32) if seed is None else seed
    say(f"seed {seed}")
    return seed


def provenance(seed: int) -> dict[str, str]:
    """Return what is written into a picture: the program, and a command that makes the picture again."""
    arguments = list(click.get_current_context().find_root().meta.get("arguments", ()))
    given = any(one == "--seed" or one.startswith("--seed=") for one in arguments)
    command = shlex.join(["genimg-fast", *arguments, *([] if given else ["--seed", str(seed)])])
    return {"Software": f"genimg_fast {__version__}", "Comment": command}


class Stopwatch:
    """Prints how long each step took."""

    def __init__(self) -> None:
        self._start = time.perf_counter()

    def lap(self, what: str) -> None:
        now = time.perf_counter()
        say(f"{what:<12} {now - self._start:8.3f} s")
        self._start = time.perf_counter()


class Signals:
    """Lets SIGTERM end the work as Ctrl-C does, and holds both back while the result is written."""

    def __init__(self) -> None:
        self.received: int | None = None
        self._is_writing = False
        self._handlers = noted_signals(self._note)

    def __enter__(self) -> Signals:
        self._handlers.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._handlers.__exit__(*error)

    def hold(self) -> None:
        """Hold signals back from now on."""
        self._is_writing = True

    def _note(self, number: int, _: object) -> None:
        self.received = number
        if not self._is_writing:
            raise KeyboardInterrupt


@contextmanager
def plain_warnings() -> Iterator[list[warnings.WarningMessage]]:
    """Print warnings in a line each when the block ends, and give them."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", RuntimeWarning)
        warnings.simplefilter("always", UserWarning)
        try:
            yield caught
        finally:
            for warning in caught:
                if issubclass(warning.category, (RuntimeWarning, UserWarning)):
                    say(" ".join(str(warning.message).split()), err=True)


def exit_status(caught: Sequence[warnings.WarningMessage], signals: Signals) -> int:
    """Return 0, or what shells expect of a command that a signal ended."""
    if signals.received is not None:
        return 128 + signals.received
    return INTERRUPTED if any(issubclass(one.category, Interrupted) for one in caught) else 0


def make(
    synthesise: Callable[[list[np.ndarray], dict[str, np.ndarray]], np.ndarray],
    files: Files,
    seed: int,
    draw: Callable[[list[np.ndarray], np.ndarray], Figure],
) -> None:
    """Read pictures, synthesise, write the result and the figure, and say how long each step took.

    After Ctrl-C or SIGTERM the picture so far is written, and the status is 130 or 143.

    Args:
        synthesise: Makes a picture of the inputs and the other pictures, which are named.
        files: What to read and write, checked.
        seed: The seed, to be written into the picture.
        draw: Makes the figure of the inputs and the result.
    """
    watch = Stopwatch()
    with Signals() as signals, plain_warnings() as caught:
        pictures, others = files.read()
        images.check_depth(files.output, pictures[0])
        watch.lap("read")
        result = synthesise(pictures, others)
        signals.hold()
        watch.lap("synthesise")
        images.write(files.output, result, text=provenance(seed))
        watch.lap("write")
        say(f"picture: {Path(files.output).resolve()}")
        if files.figure is not None:
            drawing = check_figure(files.figure)
            with drawing.open() as file:
                draw(pictures, result).savefig(file, format=drawing.path.suffix[1:].lower())
            watch.lap("draw")
            say(f"figure: {Path(drawing.path).resolve()}")
    click.get_current_context().exit(exit_status(caught, signals))
