"""Makes the picture of docs/views.md: ``python docs/pictures/views.py [FOLDER]``.

The cat's fur is examples/fur.png: a photograph by Stéfan van der Walt, CC0.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

import genimg_fast as gf

HERE = Path(__file__).parent
SIDE, TILE, GAP, LABEL, COLUMNS = 88, 132, 8, 16, 7

FLOW = 2.5 * np.sin(np.indices((SIDE, SIDE)) / 7)[::-1]
DISK = np.hypot(*(np.indices((SIDE, SIDE)) - SIDE / 2)) < SIDE / 3

PERMUTATIONS: list[Any] = [
    "identity",
    "flip",
    "hflip",
    "rotate_cw",
    "rotate_180",
    "transpose",
    "skew",
    "jigsaw",
    "patch_permute",
    "pixel_permute",
    "inner_circle",
    "square_hinge",
    "negate",
    gf.view("permute_channels", order=(2, 0, 1)),
]
MIXING: list[Any] = [
    "flip @ negate",
    "hadamard",
    gf.view("dct", patch=None),
    "householder",
    "random_patch",
    gf.view("rotate", degrees=30),
    gf.view("warp", flow=FLOW),
]
COMPONENTS: list[Any] = [
    "hybrid_low",
    "hybrid_high",
    "band_mid",
    "grey",
    "colour",
    "motion_blur_part",
    gf.view("mask", mask=DISK),
]


def tile(pixels: np.ndarray, label: str) -> np.ndarray:
    """Return a picture (C, H, W) around 0 as a labelled tile."""
    values = np.clip(255 * (pixels.transpose(1, 2, 0) + 0.5), 0, 255).astype(np.uint8)
    canvas = Image.new("RGB", (TILE + GAP, TILE + LABEL + GAP), "white")
    canvas.paste(Image.fromarray(values).resize((TILE, TILE), Image.Resampling.NEAREST), (0, LABEL))
    ImageDraw.Draw(canvas).text((0, 2), label, "black")
    return np.asarray(canvas)


def main(folder: Path) -> None:
    pixels = np.asarray(Image.open(HERE.parents[1] / "examples/fur.png"))[:SIDE, :SIDE]
    picture = pixels.transpose(2, 0, 1) / 255 - 0.5
    views = [gf.view(v) if isinstance(v, str) else v for v in PERMUTATIONS + MIXING]
    tiles = [tile(view(picture), str(view).split("(")[0]) for view in views]
    tiles += [tile(v.inverse(picture), v.name.split("(")[0]) for v in gf.Views(COMPONENTS, picture.shape)]
    rows = [np.concatenate(tiles[i : i + COLUMNS], axis=1) for i in range(0, len(tiles), COLUMNS)]
    Image.fromarray(np.concatenate(rows)[:-GAP, :-GAP]).save(folder / "views.jpg", quality=85)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE)
