"""Makes the pictures of docs/cnn-textures.md with its commands: python docs/pictures/cnn_texture.py [PICTURE ...]

Runs from any folder; names of pictures (gallery, tiling, mixture, settings) leave the others out.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from genimg_fast import images
from genimg_fast.cli import main as genimg_fast

HERE = Path(__file__).parent
EXAMPLES = HERE.parents[1] / "examples"
GAP = 8  # pixels between pictures

# Each row of a picture: exemplars as they are, and arguments of `genimg-fast texture cnn`.
GALLERY = [
    ["gravel.png", "gravel.png --seed 1", "gravel.png --seed 1 --features hed_vgg16"],
    ["brick.png", "brick.png --seed 1", "brick.png --seed 1 --features hed_vgg16"],
    ["fur.png", "fur.png --size 256 --seed 1", "fur.png --size 256 --seed 1 --features hed_vgg16"],
]
MIXTURE = [["gravel.png", "gravel.png --seed 1 --mix brick.png:1", "brick.png"]]
SETTINGS = [
    [
        "gravel.png --size 128 --seed 1 --features hed_vgg16 --scales 1",
        "gravel.png --size 128 --seed 1 --features hed_vgg16 --normalize",
        "gravel.png --size 128 --seed 1 --layers relu1",
        "gravel.png --size 128 --seed 1 --iterations 5",
    ]
]
TILE = "gravel.png --size 128 --seed 1 --tileable"


def made(words: str) -> np.ndarray:
    """Return a file of the examples, or what a command makes of one."""
    name, *options = words.split()
    if not options:
        return images.read(EXAMPLES / name)
    paths = [str(EXAMPLES / word) if ".png" in word else word for word in options]
    with tempfile.TemporaryDirectory() as folder:
        output = str(Path(folder) / "out.png")
        genimg_fast(["texture", "cnn", str(EXAMPLES / name), "-o", output, *paths], standalone_mode=False)
        return images.read(output)


def joined(pictures: list[np.ndarray], axis: int) -> np.ndarray:
    """Return pictures (H, W, 3) beside each other (axis 1) or one below the other (axis 0), on white."""
    side = max(picture.shape[1 - axis] for picture in pictures)
    padded = []
    for picture in pictures:
        widths = [(0, 0), (0, 0), (0, 0)]
        widths[axis], widths[1 - axis] = (0, GAP), (0, side - picture.shape[1 - axis])
        padded.append(np.pad(picture, widths, constant_values=255))
    return np.concatenate(padded, axis)[:-GAP] if axis == 0 else np.concatenate(padded, axis)[:, :-GAP]


def colour(picture: np.ndarray) -> np.ndarray:
    return picture if picture.ndim == 3 else np.repeat(picture[..., None], 3, 2)


def sheet(name: str, rows: list[list[np.ndarray]]) -> None:
    pixels = joined([joined([colour(picture) for picture in row], 1) for row in rows], 0)
    Image.fromarray(np.ascontiguousarray(pixels)).save(HERE / f"cnn-{name}.jpg", quality=85)


def tiling() -> list[list[np.ndarray]]:
    tile = made(TILE)
    return [[tile, np.tile(tile, (2, 2))]]


if __name__ == "__main__":
    chosen = sys.argv[1:] or ["gallery", "tiling", "mixture", "settings"]
    for name, rows in {"gallery": GALLERY, "mixture": MIXTURE, "settings": SETTINGS}.items():
        if name in chosen:
            sheet(name, [[made(words) for words in row] for row in rows])
    if "tiling" in chosen:
        sheet("tiling", tiling())
