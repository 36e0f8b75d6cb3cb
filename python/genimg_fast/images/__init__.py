"""Reading and writing picture files, 8 and 16 bits a channel.

PNG, JPEG, TIFF, WebP, GIF and BMP are read; PNG, JPEG and TIFF are written. docs/images.md says what is kept.
"""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import numpy as np

from genimg_fast.images import _through_pillow, _tiff
from genimg_fast.images._decoded import named
from genimg_fast.images._output import Output
from genimg_fast.images._reading import finished, format_of
from genimg_fast.images._writing import check_depth, write

__all__ = ["ALPHA", "MAX_PIXELS", "Output", "check_depth", "read", "write"]

ALPHA = ("refuse", "keep", "drop")
MAX_PIXELS = 1 << 26  # 67 million; a header that promises more is refused before anything is decoded


def read(path: str | os.PathLike[str], *, alpha: str = "refuse", max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Read a picture from a PNG, JPEG, TIFF, WebP, GIF or BMP file.

    Palettes and CMYK become RGB, pictures of less than 8 bits become 8-bit ones, and those of 9 to 15 bits 16-bit ones.
    The orientation that a camera noted is applied. Colours of another colour space than sRGB are converted to it, and
    colours that are multiplied by their alpha are divided by it. Of several pictures or frames the first is read.

    Args:
        path: The file.
        alpha: What to do with transparency. "refuse": raise; "keep": return it as the last channel; "drop": ignore it.
        max_pixels: Largest height times width to decode.

    Returns:
        (H, W) for grey, (H, W, 2) for grey and alpha, (H, W, 3) for colours, (H, W, 4) for colours and alpha; uint8 or
        uint16, as in the file.

    Raises:
        ValueError: Not a picture, truncated, too large, with alpha where that is refused, or of another kind.
        OSError: The file is missing or cannot be read.

    Warns:
        UserWarning: There are further pictures or frames, or colours that could not be converted.
    """
    if alpha not in ALPHA:
        raise ValueError(f"read: alpha must be one of {', '.join(map(repr, ALPHA))}, got {alpha!r}")
    if isinstance(max_pixels, bool) or not isinstance(max_pixels, (int, np.integer)):
        raise TypeError(f"read: max_pixels must be a whole number, got {max_pixels!r}")
    if max_pixels < 1:
        raise ValueError(f"read: max_pixels must be at least 1, got {max_pixels}")
    path = Path(path)
    format = format_of(path)
    with named(path):
        decoded = (
            _tiff.decode(path, int(max_pixels))
            if format == "TIFF"
            else _through_pillow.decode(path, format, int(max_pixels))
        )
        pixels = finished(path, decoded, alpha)
    if decoded.n_pictures > 1:
        more = " or more" if format == "TIFF" and decoded.n_pictures == _tiff.PAGES else ""
        decoded.notes.append(f"it holds {decoded.n_pictures}{more} pictures or frames, of which the first is read")
    for note in decoded.notes:
        warnings.warn(f"{path}: {note}", stacklevel=2)
    return pixels
