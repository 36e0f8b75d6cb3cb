"""The model of the digits that is trained when it is first asked for, and kept."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from genimg_fast.diffusion._model import Model
from genimg_fast.diffusion._training import TrainingStep, train

SETTINGS: dict[str, Any] = {"size": 16, "steps": 2000, "widths": (16, 32, 64), "seed": 0}

_NAME = "digits-16-1"  # another number for other settings


def cache_folder() -> Path:
    """Return the folder for what can be made again: ``$XDG_CACHE_HOME/genimg_fast``, or ``~/.cache/genimg_fast``."""
    root = os.environ.get("XDG_CACHE_HOME", "")
    # The specification of these folders asks to ignore relative paths.
    return (Path(root) if os.path.isabs(root) else Path.home() / ".cache") / "genimg_fast"


def digits_model(
    *,
    progress: bool = True,
    callback: Callable[[TrainingStep], Any] | None = None,
    say: Callable[[str], Any] | None = None,
) -> Model:
    """Return a model of scikit-learn's digits at 16 pixels: from the cache, or trained now, which takes minutes.

    An interrupted training goes on at the next call. Of several processes that ask for it one trains; the others wait.

    Args:
        progress: Whether to show progress on standard error.
        callback: Called with a `TrainingStep` after each step of a training.
        say: Called with a line that says where the model is, or is going to be.

    Raises:
        KeyboardInterrupt: The training was interrupted by Ctrl-C; what is done is kept.
        ValueError: The file in the cache is broken; the message says which to remove.
        OSError: The cache cannot be read or written.
        ImportError: A package of the extra ``diffusion`` is missing.
    """
    folder, say = cache_folder(), say or (lambda line: None)
    whole, partial = folder / f"{_NAME}.safetensors", folder / f"{_NAME}.partial.safetensors"
    if whole.is_file():
        return _found(whole, say)
    folder.mkdir(parents=True, exist_ok=True)
    with _alone(folder / f".{_NAME}.lock", lambda: say(f"waiting for another process that trains {whole}")):
        if whole.is_file():  # by now
            return _found(whole, say)
        say(f"training a model of the digits, once, for {whole}")
        with _removable(partial):
            model = train(
                "digits",
                **SETTINGS,
                checkpoint=partial,
                resume=partial.is_file(),
                progress=progress,
                callback=callback,
            )
        if model.facts["step"] < SETTINGS["steps"]:
            raise KeyboardInterrupt
        model.save(whole)
        partial.unlink(missing_ok=True)
        return model


def _found(path: Path, say: Callable[[str], Any]) -> Model:
    say(f"model: {path}")
    with _removable(path):
        return Model.from_file(path)


@contextmanager
def _removable(path: Path) -> Iterator[None]:
    """Add to an error in a file of the cache that the file can be made again."""
    try:
        yield
    except ValueError as error:
        if str(path) not in str(error):
            raise
        raise ValueError(f"{error}; remove {path} to train the model anew") from error


@contextmanager
def _alone(path: Path, wait: Callable[[], Any]) -> Iterator[None]:
    """Let one process at a time into the block, by a lock on a file that is gone afterwards.

    Args:
        path: The file.
        wait: Called before waiting for another process.
    """
    while True:
        lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            _lock(lock, wait)
            if _is_same(lock, path):
                break
        except BaseException:
            os.close(lock)
            raise
        os.close(lock)  # of a file that its owner has removed in the meantime
    try:
        yield
    finally:
        path.unlink(missing_ok=True)  # before the lock goes
        os.close(lock)


def _lock(file: int, wait: Callable[[], Any]) -> None:
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            wait()
            fcntl.flock(file, fcntl.LOCK_EX)
    except OSError:
        pass  # This file system has no locks. Files are still whole or not there; work may be done twice.


def _is_same(file: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file), path.stat())
    except FileNotFoundError:
        return False
