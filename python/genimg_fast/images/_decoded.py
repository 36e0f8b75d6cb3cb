"""What decoders hand over, before anything is decided about alpha, colours and orientation."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from genimg_fast.images._colour import Encoding

Alpha = Literal["none", "straight", "associated"]


@dataclass
class Decoded:
    """A decoded picture and what its file says of it.

    Attributes:
        pixels: (H, W, C), uint8 or uint16: one, three or four colours (grey, RGB, CMYK), and alpha if there is any.
        alpha: Whether the last channel is alpha, and whether the colours are multiplied by it ("associated").
        orientation: Exif's number, 1 to 8.
        profile: An ICC profile.
        encoding: How values stand for colours, where that is said without a profile.
        n_pictures: How many pictures or frames the file holds.
        notes: What a user should be told, sentences without the file's name.
    """

    pixels: np.ndarray
    alpha: Alpha = "none"
    orientation: int = 1
    profile: bytes | None = None
    encoding: Encoding | None = None
    n_pictures: int = 1
    notes: list[str] = field(default_factory=list)


def check_size(path: Path, height: int, width: int, max_pixels: int) -> None:
    """Raise ValueError for a picture without pixels, or of more than are to be decoded."""
    if min(height, width) < 1:
        raise ValueError(f"{path} has {height}x{width} pixels; accepted are pictures with pixels")
    if height * width > max_pixels:
        raise ValueError(
            f"{path} has {height}x{width} pixels; accepted are at most {max_pixels} in all, unless max_pixels is raised"
        )


@contextlib.contextmanager
def named(path: Path) -> Iterator[None]:
    """Turn whatever a decoder raises on a broken file into a ValueError that names the file."""
    try:
        yield
    except (ValueError, OSError) as error:
        if str(path) in str(error):
            raise
        raise ValueError(f"{path} cannot be decoded: {error}") from error
    except Exception as error:  # decoders raise struct.error, SyntaxError, KeyError, zlib.error, ...
        raise ValueError(f"{path} cannot be decoded: {type(error).__name__}: {error}") from error
