"""Anagrams for the eye: all views side by side, and a picture turning into its other views."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from genimg_fast import images
from genimg_fast.diffusion._anagram import Anagrams, seen
from genimg_fast.views import BoundView, Views

ANIMATIONS = (".gif", ".png")

_TURNS = {"rotate_ccw": 90, "rotate_cw": -90, "rotate_180": 180}  # degrees counterclockwise
_SIDE, _GAP = 192, 8  # pixels of an enlarged picture at least, and between two
_HOLD, _FRAME = 900, 40  # milliseconds that a whole view and a frame between two last


def sheet(anagrams: Anagrams, rows: int) -> np.ndarray:
    """Return the best pictures, one a row with all its views side by side: (H, W) or (H, W, 3) uint8."""
    cells = [[_enlarged(view) for view in row] for row in anagrams.seen()[:rows]]
    side, channels = cells[0][0].shape[0], cells[0][0].shape[2:]
    height, width = (n * (side + _GAP) + _GAP for n in (len(cells), len(cells[0])))
    page = np.full((height, width, *channels), 255, np.uint8)
    for i, row in enumerate(cells):
        for j, cell in enumerate(row):
            top, left = (_GAP + k * (side + _GAP) for k in (i, j))
            page[top : top + side, left : left + side] = cell
    return page


def write_animation(output: images.Output, picture: torch.Tensor, views: Views, n_frames: int = 30) -> None:
    """Write a GIF or an APNG of a picture (C, S, S) in [0, 1] turning into each of its views and back, without end.

    Rotations turn the picture. Other permutations move its pixels, straight from place to place. Whatever else there is
    fades.
    """
    from PIL import Image

    frames: list[Any] = []
    durations: list[int] = []
    for view in views:
        there = [Image.fromarray(frame) for frame in turning(picture, view, n_frames)]
        if len(there) > 1:
            frames += there + there[-2:0:-1]
            durations += ([_HOLD] + [_FRAME] * (n_frames - 1)) * 2
    if not frames:  # identity alone
        frames, durations = [Image.fromarray(_enlarged(picture))], [_HOLD]
    format = "GIF" if output.path.suffix.lower() == ".gif" else "PNG"
    with output.open() as file:
        frames[0].save(file, format, save_all=True, append_images=frames[1:], duration=durations, loop=0)


def turning(picture: torch.Tensor, view: BoundView, n_frames: int) -> Iterator[np.ndarray]:
    """Give n_frames + 1 frames from a picture to its view, or one if they are the same."""
    shown = seen(picture[None].cpu(), Views([view], view.shape))[0, 0]
    if torch.equal(shown, picture.cpu()):
        yield _enlarged(picture)
        return
    for k in range(n_frames + 1):
        share = (1 - math.cos(math.pi * k / n_frames)) / 2  # slowly in the beginning and in the end
        if view.name in _TURNS:
            yield _rotated(picture, _TURNS[view.name] * share)
        elif view.row is not None:
            yield _moved(picture, shown, _places(view), share)
        else:
            yield _enlarged(torch.lerp(picture.cpu(), shown, share))


def _places(view: BoundView) -> np.ndarray:
    """Return where each pixel of a view comes from, (S, S, 2), as the first channel has it."""
    channels, height, width = view.shape
    # From 1, so that a sign shows nowhere; float64 holds all of them.
    numbers = np.arange(1, height * width + 1, dtype=np.float64).reshape(height, width)
    source = np.abs(view.apply(np.broadcast_to(numbers, (channels, height, width)).copy())[0]).astype(np.int64) - 1
    return np.stack(np.divmod(source, width), axis=-1)


def _moved(picture: torch.Tensor, shown: torch.Tensor, places: np.ndarray, share: float) -> np.ndarray:
    """Return the picture with each pixel, a square, on its way from its place to that in the view."""
    before, after = _pixels(picture), _pixels(shown)
    side, scale = len(before), _scale(len(before))
    # Where squares meet the brightest shows, so that ink is not lost under paper; where none is, the ground, black.
    page = np.zeros((side * scale, side * scale, *before.shape[2:]), np.uint8)
    for place in np.ndindex(side, side):
        source = places[place]
        top, left = np.rint(scale * ((1 - share) * source + share * np.array(place))).astype(int)
        value = (1 - share) * before[tuple(source)] + share * after[place].astype(np.float64)
        cell = page[top : top + scale, left : left + scale]
        np.maximum(cell, np.rint(value).astype(np.uint8), out=cell)
    return page


def _rotated(picture: torch.Tensor, degrees: float) -> np.ndarray:
    from PIL import Image

    return np.asarray(Image.fromarray(_enlarged(picture)).rotate(degrees, Image.Resampling.BICUBIC))


def _enlarged(picture: torch.Tensor) -> np.ndarray:
    """Return a picture (C, S, S) at a whole multiple of its size, (H, W) or (H, W, 3) uint8."""
    from PIL import Image

    pixels = _pixels(picture)
    side = len(pixels) * _scale(len(pixels))
    return np.asarray(Image.fromarray(pixels).resize((side, side), Image.Resampling.NEAREST))


def _scale(side: int) -> int:
    return max(1, -(-_SIDE // side))


def _pixels(picture: torch.Tensor) -> np.ndarray:
    pixels = picture.cpu().mul(255).round().to(torch.uint8).movedim(0, -1).numpy()
    return pixels[..., 0] if pixels.shape[-1] == 1 else pixels


def checked_animation(path: str | Path) -> images.Output:
    return images.Output.check(path, ANIMATIONS)
