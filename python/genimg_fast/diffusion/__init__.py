"""Diffusion models: one that trains here, sampling with guidance, and pictures that read differently in each view.

The extra ``diffusion`` installs what it needs: ``pip install genimg_fast[diffusion]``.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from genimg_fast._core.public import directory

if TYPE_CHECKING:
    from genimg_fast.diffusion._anagram import Anagrams, Score, anagram, model_reader
    from genimg_fast.diffusion._builtin import digits_model
    from genimg_fast.diffusion._deepfloyd import IFMultiViewPipeline, MultiViewPictures
    from genimg_fast.diffusion._digits import DigitsClassifier, digits_classifier
    from genimg_fast.diffusion._mixture import MixtureDenoiser
    from genimg_fast.diffusion._model import Model
    from genimg_fast.diffusion._sampling import sample
    from genimg_fast.diffusion._training import TrainingStep, train
    from genimg_fast.diffusion._wrappers import MultiViewDenoiser, MultiViewUNet

# Loaded at first use: torch and diffusers take seconds.
_HOME = {
    "Anagrams": "_anagram",
    "DigitsClassifier": "_digits",
    "IFMultiViewPipeline": "_deepfloyd",
    "MixtureDenoiser": "_mixture",
    "Model": "_model",
    "MultiViewDenoiser": "_wrappers",
    "MultiViewPictures": "_deepfloyd",
    "MultiViewUNet": "_wrappers",
    "Score": "_anagram",
    "TrainingStep": "_training",
    "anagram": "_anagram",
    "digits_classifier": "_digits",
    "digits_model": "_builtin",
    "model_reader": "_anagram",
    "sample": "_sampling",
    "train": "_training",
}

__all__ = [
    "Anagrams",
    "DigitsClassifier",
    "IFMultiViewPipeline",
    "MixtureDenoiser",
    "Model",
    "MultiViewDenoiser",
    "MultiViewPictures",
    "MultiViewUNet",
    "Score",
    "TrainingStep",
    "anagram",
    "digits_classifier",
    "digits_model",
    "model_reader",
    "sample",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'genimg_fast.diffusion' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"genimg_fast.diffusion.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return directory(globals())
