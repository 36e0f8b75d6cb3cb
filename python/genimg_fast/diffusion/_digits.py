"""Scikit-learn's handwritten digits, and who reads them.

The data are the test set of Alpaydin and Kaynak's "Optical recognition of handwritten digits" (1998): 1797 pictures of
8x8 pixels, which come with scikit-learn.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from genimg_fast._core import backend
from genimg_fast.diffusion._packages import need

CLASSES = tuple("0123456789")

_SIDE = 8
_LEVELS = 16  # values are counts of ink from 0 to 16


def digits(size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the digits, white on black: pictures (1797, 1, size, size) uint8 and labels (1797,) int64."""
    small, labels = _digits()
    pictures = torch.from_numpy(small / _LEVELS).view(-1, 1, _SIDE, _SIDE)
    large = torch.nn.functional.interpolate(pictures, (size, size), mode="bicubic", antialias=size < _SIDE)
    return (large.clamp(0, 1) * 255).round().to(torch.uint8), torch.from_numpy(labels)


def _digits() -> tuple[np.ndarray, np.ndarray]:
    """Return the data as they are: (1797, 64) float64 from 0 to 16, and labels (1797,) int64."""
    data, labels = need("sklearn.datasets").load_digits(return_X_y=True)
    return data, labels.astype(np.int64)


@dataclass(frozen=True)
class DigitsClassifier:
    """Reads pictures of digits, white on black.

    Attributes:
        estimator: Scikit-learn's.
        accuracy: Share of the held-out digits that it reads right.
    """

    estimator: Any
    accuracy: float

    def log_probabilities(self, pictures: torch.Tensor) -> torch.Tensor:
        """Return the logarithm of the probability of each digit.

        Args:
            pictures: (N, 1, S, S), floats in [0, 1], S a multiple of 8.

        Returns:
            (N, 10) float64, at least log(1e-12).

        Raises:
            TypeError: No tensor of floats.
            ValueError: Another shape, or values that leave [0, 1].
        """
        probabilities = self.estimator.predict_proba(_as_data(pictures))
        return torch.from_numpy(np.log(np.maximum(probabilities, 1e-12)))

    def read(self, pictures: torch.Tensor) -> torch.Tensor:
        """Return the digits (N,) int64 that pictures (N, 1, S, S) in [0, 1] show most probably."""
        return self.log_probabilities(pictures).argmax(1)


@functools.cache
def digits_classifier() -> DigitsClassifier:
    """Return a reader of digits: a support vector machine on four fifths of the real ones.

    Its probabilities are Platt's (1999): a sigmoid of each digit's score, fitted by cross-validation.

    Raises:
        ImportError: Scikit-learn is missing.
    """
    svm, calibration, selection = (need(f"sklearn.{name}") for name in ("svm", "calibration", "model_selection"))
    data, labels = _digits()
    seen, held_out, seen_labels, held_out_labels = selection.train_test_split(
        data, labels, test_size=0.2, random_state=0, stratify=labels
    )
    estimator = calibration.CalibratedClassifierCV(svm.SVC(C=10, gamma=0.001), ensemble=False)
    estimator.fit(seen, seen_labels)
    return DigitsClassifier(estimator, float(estimator.score(held_out, held_out_labels)))


def _as_data(pictures: torch.Tensor) -> np.ndarray:
    """Return pictures as rows of the data set: the mean of each of 8x8 cells, from 0 to 16."""
    if not backend.is_tensor(pictures) or not pictures.dtype.is_floating_point:
        got = pictures.dtype if backend.is_tensor(pictures) else type(pictures).__name__
        raise TypeError(f"DigitsClassifier: pictures must be a tensor of floats, got {got}")
    backend.strided("DigitsClassifier", "pictures", pictures)
    shape = tuple(pictures.shape)
    if len(shape) != 4 or shape[1] != 1 or shape[2] != shape[3] or not shape[2] or shape[2] % _SIDE:
        raise ValueError(f"DigitsClassifier: pictures must be (N, 1, S, S) with S a multiple of {_SIDE}, got {shape}")
    if not bool(((pictures >= 0) & (pictures <= 1)).all()):
        got = f"{float(pictures.min()):.3g} to {float(pictures.max()):.3g}"
        raise ValueError(f"DigitsClassifier: pictures must lie in [0, 1], got {got}")
    cells = torch.nn.functional.adaptive_avg_pool2d(pictures.double().cpu(), _SIDE)
    return (cells * _LEVELS).flatten(1).numpy()
