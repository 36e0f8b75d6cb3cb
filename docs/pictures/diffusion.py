"""Makes the pictures and the numbers of docs/diffusion.md: ``python docs/pictures/diffusion.py [FOLDER [NAME ...]]``.

Everything comes from scikit-learn's digits; the model is the built-in one, which the first run trains.
"""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_digits

import genimg_fast as gf

HERE = Path(__file__).parent
ENLARGED = 4

# Labels and views of the anagrams that are shown.
SHOWN = [
    ((6, 9), ("identity", "rotate_180")),
    ((4, 7), ("identity", "rotate_180")),
    ((1, 7), ("identity", "rotate_180")),
    ((2, 5), ("identity", "flip")),
    ((2, 5), ("identity", "hflip")),
    ((1, 4), ("identity", "rotate_180")),
]
THREE = [
    ((6, 9, 2), ("identity", "rotate_180", "rotate_cw")),
    ((6, 9, 8), ("identity", "rotate_180", "hflip")),
]


def grid(pictures: torch.Tensor) -> np.ndarray:
    """Return rows of pictures (R, N, 1, S, S) as one, enlarged, with a pixel between two."""
    framed = torch.nn.functional.pad(pictures[:, :, 0], (0, 1, 0, 1), value=0.5)
    rows = framed.permute(0, 2, 1, 3).flatten(2).flatten(0, 1)
    return np.kron((rows * 255).round().to(torch.uint8).numpy(), np.ones((ENLARGED, ENLARGED), np.uint8))


def digits(model: gf.diffusion.Model) -> np.ndarray:
    return grid(gf.diffusion.sample(model, list(range(10)), 10, seed=0).view(10, 10, *model.shape))


def anagrams(model: gf.diffusion.Model) -> np.ndarray:
    """Return a row for each of `SHOWN`: the four best of 16, each in both views."""
    found = [gf.diffusion.anagram(model, labels, views, seed=0) for labels, views in SHOWN]
    return grid(torch.stack([one.seen()[:4].flatten(0, 1) for one in found]))


def accuracy(model: gf.diffusion.Model) -> None:
    """Print how many of 20 generated digits a class are read as what was asked for."""
    asked, classifier = torch.arange(10).repeat_interleave(20), gf.diffusion.digits_classifier()
    print(f"the classifier reads {classifier.accuracy:.1%} of held-out digits")
    for sampler, guidance in itertools.product(("ddim", "ddpm"), (1.0, 2.0, 3.0)):
        start = time.perf_counter()
        pictures = gf.diffusion.sample(model, list(range(10)), 20, guidance=guidance, sampler=sampler, seed=0)
        share = (classifier.read(pictures) == asked).double().mean()
        print(f"{sampler}, guidance {guidance}: {share:.1%} right, {time.perf_counter() - start:.1f} s for 200")


def copies(model: gf.diffusion.Model) -> None:
    """Print how far pictures are from the nearest one of the training, and how far those are from each other."""
    real = load_digits().data
    train = torch.nn.functional.interpolate(torch.from_numpy(real / 16).view(-1, 1, 8, 8), (16, 16), mode="bicubic")
    train = train.clamp(0, 1).flatten(1)
    for guidance in (1.0, 2.0):
        drawn = gf.diffusion.sample(model, list(range(10)), 20, guidance=guidance, seed=0).double().flatten(1)
        near = torch.cdist(drawn, train).amin(1) / 16
        print(f"drawn, guidance {guidance}, to the nearest real one: {spread(near)}")
    between = torch.cdist(train, train).fill_diagonal_(torch.inf).amin(1) / 16
    print(f"real to the nearest other real one: {spread(between)}")


def spread(distances: torch.Tensor) -> str:
    """Return the smallest, the middle and the largest of root mean squares."""
    return "root mean square {:.3f} at least, {:.3f} in the middle, {:.3f} at most".format(
        *(float(distances.quantile(q)) for q in (0, 0.5, 1))
    )


def pairs(model: gf.diffusion.Model) -> None:
    """Print of how many of 16 seeds all views are read right, for the anagrams shown and for some of three views."""
    for labels, views in SHOWN + THREE:
        start = time.perf_counter()
        found = gf.diffusion.anagram(model, labels, views, seed=0)
        best, right = found.scores[0], sum(score.is_right for score in found.scores)
        print(
            f"{labels} {views}: {right} of {len(found.scores)}, the best has alignment {best.alignment:.3f} and "
            f"concealment {best.concealment:.4f}; {time.perf_counter() - start:.1f} s"
        )


def all_pairs(model: gf.diffusion.Model) -> None:
    """Print of how many of 8 seeds both views are read right, for each pair of classes."""
    for view in ("rotate_180", "flip"):
        print(f"identity and {view}, of 8 each (row: upright)")
        for a in range(10):
            shares = []
            for b in range(10):
                found = gf.diffusion.anagram(model, (a, b), ("identity", view), 8, steps=20, seed=0)
                shares.append(sum(score.is_right for score in found.scores))
            print(a, " ".join(map(str, shares)), flush=True)


PICTURES: dict[str, Callable[[gf.diffusion.Model], np.ndarray]] = {
    "diffusion_digits": digits,
    "diffusion_anagrams": anagrams,
}
NUMBERS = {"accuracy": accuracy, "copies": copies, "pairs": pairs, "all_pairs": all_pairs}


def main(folder: str = str(HERE), *names: str) -> None:
    model = gf.diffusion.digits_model()
    for name in names or (*PICTURES, *NUMBERS):
        if name in PICTURES:
            Image.fromarray(PICTURES[name](model)).save(Path(folder) / f"{name}.png", optimize=True)
        else:
            NUMBERS[name](model)


if __name__ == "__main__":
    main(*sys.argv[1:])
