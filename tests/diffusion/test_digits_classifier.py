"""The reader of digits, on digits that it has not seen."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

import genimg_fast as gf

datasets = pytest.importorskip("sklearn.datasets")
model_selection = pytest.importorskip("sklearn.model_selection")


@pytest.fixture(scope="module")
def held_out() -> tuple[torch.Tensor, torch.Tensor]:
    """Digits from 0 to 1, (360, 1, 8, 8), that were not in the training."""
    data, labels = datasets.load_digits(return_X_y=True)
    _, rest, _, rest_labels = model_selection.train_test_split(
        data, labels, test_size=0.2, random_state=0, stratify=labels
    )
    return torch.from_numpy(rest / 16).view(-1, 1, 8, 8), torch.from_numpy(rest_labels)


@pytest.mark.parametrize("size", [8, 16, 32])
@pytest.mark.parametrize("mode", ["nearest", "bicubic"])
def test_held_out_digits_are_read(held_out: tuple[torch.Tensor, torch.Tensor], size: int, mode: str) -> None:
    pictures = torch.nn.functional.interpolate(held_out[0], (size, size), mode=mode).clamp(0, 1)
    read = gf.diffusion.digits_classifier().read(pictures)
    assert float((read == held_out[1]).float().mean()) >= 0.97


def test_the_accuracy_is_that_of_held_out_digits(held_out: tuple[torch.Tensor, torch.Tensor]) -> None:
    classifier = gf.diffusion.digits_classifier()
    share = float((classifier.read(held_out[0]) == held_out[1]).double().mean())
    assert classifier.accuracy == pytest.approx(share)


def test_probabilities_are_calibrated(held_out: tuple[torch.Tensor, torch.Tensor]) -> None:
    logs = gf.diffusion.digits_classifier().log_probabilities(held_out[0])
    torch.testing.assert_close(logs.exp().sum(1), torch.ones(len(logs), dtype=torch.float64))
    # The logarithmic loss of a reader that is right 99 times in 100 and says so is 0.056 plus what it spreads.
    assert float(torch.nn.functional.nll_loss(logs, held_out[1])) < 0.15
    assert float(gf.diffusion.digits_classifier().log_probabilities(torch.zeros(1, 1, 8, 8)).min()) >= math.log(1e-12)


def test_the_pictures_to_train_with_are_the_digits() -> None:
    from genimg_fast.diffusion import _digits

    data, labels = datasets.load_digits(return_X_y=True)
    pictures, found = _digits.digits(8)
    np.testing.assert_array_equal(found, labels)
    np.testing.assert_array_equal(pictures.flatten(1), np.rint(data / 16 * 255))
    assert _digits.digits(32)[0].shape == (1797, 1, 32, 32)


@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 3, 8, 8), (1, 1, 8, 16), (1, 1, 12, 12), (1, 1, 0, 0)])
def test_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"pictures must be \(N, 1, S, S\) with S a multiple of 8"):
        gf.diffusion.digits_classifier().read(torch.zeros(shape))


@pytest.mark.parametrize(
    ("pictures", "error", "message"),
    [
        (torch.zeros(1, 1, 8, 8).numpy(), TypeError, "pictures must be a tensor of floats, got ndarray"),
        (torch.zeros(1, 1, 8, 8, dtype=torch.uint8), TypeError, "pictures must be a tensor of floats, got torch.uint8"),
        (torch.full((1, 1, 8, 8), 2.0), ValueError, r"pictures must lie in \[0, 1\], got 2 to 2"),
        (torch.full((1, 1, 8, 8), float("nan")), ValueError, r"pictures must lie in \[0, 1\], got nan"),
    ],
)
def test_pictures_in_another_unit_are_refused(pictures: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=f"^DigitsClassifier: {message}"):
        gf.diffusion.digits_classifier().read(pictures)
