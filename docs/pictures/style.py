"""Makes the pictures of docs/style.md: ``python docs/pictures/style.py [FOLDER [NAME ...]]``.

Contents and styles come with scikit-image: chelsea (Stéfan van der Walt), coffee (Rachel Michetti), gravel and brick
(CC0Textures) are CC0; astronaut and hubble_deep_field (NASA) are in the public domain; immunohistochemistry (Center for
Microscopy and Molecular Imaging) has no known copyright restrictions.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from skimage import data

import genimg_fast as gf

HERE = Path(__file__).parent


def square(pixels: np.ndarray, top: int, left: int, side: int, size: int) -> np.ndarray:
    """Return a square crop at a size."""
    crop = Image.fromarray(pixels[top : top + side, left : left + side])
    return np.asarray(crop.resize((size, size), Image.Resampling.LANCZOS))


def cat(size: int = 256) -> np.ndarray:
    return square(data.chelsea(), 0, 75, 300, size)


def cup(size: int = 256) -> np.ndarray:
    return square(data.coffee(), 0, 120, 400, size)


def astronaut(size: int = 256) -> np.ndarray:
    return square(data.astronaut(), 0, 70, 330, size)


def beside(*pictures: np.ndarray, gap: int = 6) -> np.ndarray:
    """Return pictures in a row on white, those larger than the first at its height."""
    height = len(pictures[0])
    row = []
    for pixels in pictures:
        colours = np.broadcast_to(pixels[..., None], (*pixels.shape, 3)) if pixels.ndim == 2 else pixels
        width = round(height * colours.shape[1] / colours.shape[0])
        scaled = np.asarray(Image.fromarray(np.ascontiguousarray(colours)).resize((width, height)))
        row.append(np.pad(scaled, ((0, 0), (0, gap), (0, 0)), constant_values=255))
    return np.concatenate(row, axis=1)[:, :-gap]


def painted(content: np.ndarray, style: Any, **options: Any) -> np.ndarray:
    """Return what HED's VGG-16 makes of a content and a style."""
    return gf.style.transfer(
        content, style, **{"features": gf.features.hed_vgg16(), "tv_weight": 3, "seed": 1} | options
    )


def options(content: np.ndarray, style: np.ndarray, *many: dict[str, Any]) -> np.ndarray:
    return beside(*(painted(content, style, **one) for one in many))


def regions() -> np.ndarray:
    """Return the astronaut in gravel before a wall of bricks."""
    content = astronaut(192)
    rows, columns = np.mgrid[:192, :192] / 192
    head = ((columns - 0.44) / 0.2) ** 2 + ((rows - 0.28) / 0.28) ** 2 < 1
    figure = head | (rows > 0.62 + 0.3 * abs(columns - 0.45))
    result = painted(content, [data.gravel(), data.brick()], masks=[figure, ~figure])
    return beside(content, (255 * figure).astype(np.uint8), result)


def random_filters() -> np.ndarray:
    pairs = ((cat(), data.gravel()), (cup(), data.brick()), (astronaut(), data.immunohistochemistry()))
    return beside(*(gf.style.transfer(content, style) for content, style in pairs))


PICTURES: dict[str, Callable[[], np.ndarray]] = {
    "style_cat": lambda: beside(cat(), data.gravel(), painted(cat(), data.gravel())),
    "style_cup": lambda: beside(cup(), data.brick(), painted(cup(), data.brick())),
    "style_astronaut": lambda: beside(
        astronaut(), data.immunohistochemistry(), painted(astronaut(), data.immunohistochemistry())
    ),
    "style_random": random_filters,
    "style_weight": lambda: options(
        cup(192), data.brick(), {"style_weight": 1}, {"style_weight": 10}, {"style_weight": 100}
    ),
    "style_scale": lambda: options(
        cat(192), data.gravel(), {"style_scale": 0.5}, {"style_scale": 1.0}, {"style_scale": 2.0}
    ),
    "style_colors": lambda: options(
        astronaut(192), data.immunohistochemistry(), {"colors": "style"}, {"colors": "luminance"}, {"colors": "pca"}
    ),
    "style_regions": regions,
}


def main(folder: Path, *names: str) -> None:
    for name in names or PICTURES:
        Image.fromarray(PICTURES[name]()).save(folder / f"{name}.jpg", quality=85)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE, *sys.argv[2:])
