"""The model of the digits that is trained when it is first asked for, and kept."""

from __future__ import annotations

import os
from collections.abc import Callable
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

    An interrupted training goes on at the next call.

    Args:
        progress: Whether to show progress on standard error.
        callback: Called with a `TrainingStep` after each step of a training.
        say: Called with a line that says where the model is, or is going to be.

    Raises:
        KeyboardInterrupt: The training was interrupted by Ctrl-C; what is done is kept.
        OSError: The cache cannot be read or written.
        ImportError: A package of the extra ``diffusion`` is missing.
    """
    folder, say = cache_folder(), say or (lambda line: None)
    whole, partial = folder / f"{_NAME}.safetensors", folder / f"{_NAME}.partial.safetensors"
    if whole.is_file():
        say(f"model: {whole}")
        return Model.from_file(whole)
    folder.mkdir(parents=True, exist_ok=True)
    say(f"training a model of the digits, once, for {whole}")
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
    partial.unlink()
    return model
