"""Reading pictures: one function decides for all formats what becomes of alpha, colours and orientation."""

from __future__ import annotations

import os
import stat
import warnings
from pathlib import Path

import numpy as np

from genimg_fast.images import _colour, _through_pillow, _tiff
from genimg_fast.images._decoded import Decoded, named

ALPHA = ("refuse", "keep", "drop")
MAX_PIXELS = 1 << 26  # 67 million; a header that promises more is refused before anything is decoded

_ACCEPTED = "accepted are PNG, JPEG, TIFF, WebP, GIF and BMP"
_BLOCK = 1 << 20  # pixels whose alpha is divided out at a time


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
    format = _format(path)
    with named(path):
        decoded = (
            _tiff.decode(path, int(max_pixels))
            if format == "TIFF"
            else _through_pillow.decode(path, format, int(max_pixels))
        )
        pixels = _finished(path, decoded, alpha)
    if decoded.n_pictures > 1:
        decoded.notes.append(f"it holds {decoded.n_pictures} pictures or frames, of which the first is read")
    for note in decoded.notes:
        warnings.warn(f"{path}: {note}", stacklevel=2)
    return pixels


def _format(path: Path) -> str:
    """Return the format of a regular file by its first bytes, whatever its name is.

    Raises:
        ValueError: It is a folder, a pipe or a device, or of another format.
        OSError: It cannot be opened.
    """
    mode = path.stat().st_mode  # before it is opened: a pipe would wait for its other end
    if not stat.S_ISREG(mode):
        kind = "a folder" if stat.S_ISDIR(mode) else "a pipe or a device"
        raise ValueError(f"{path} is {kind}; accepted are files of pictures")
    with path.open("rb") as file:
        start = file.read(32)
    formats = {
        b"\x89PNG\r\n\x1a\n": "PNG",
        b"\xff\xd8\xff": "JPEG",
        b"GIF87a": "GIF",
        b"GIF89a": "GIF",
        b"BM": "BMP",
        **dict.fromkeys((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"), "TIFF"),
    }
    if start[:4] == b"RIFF" and start[8:12] == b"WEBP":
        return "WebP"
    for head, name in formats.items():
        if start.startswith(head):
            return name
    raise ValueError(f"{path} is {_other_format(start)}; {_ACCEPTED}")


def _other_format(start: bytes) -> str:
    """Return the name of a format that is known and not read."""
    if start[4:8] == b"ftyp":
        brands = {b"avif": "an AVIF", b"avis": "an AVIF", b"heic": "a HEIC", b"heix": "a HEIC", b"mif1": "a HEIF"}
        return f"{brands.get(start[8:12], 'a video or HEIF')} file"
    others = {
        b"\0\0\0\x0cjP": "a JPEG 2000 file",
        b"\xffO\xffQ": "a JPEG 2000 file",
        b"\0\0\0\x0cJXL": "a JPEG XL file",
        b"\xff\x0a": "a JPEG XL file",
        b"8BPS": "a Photoshop file",
        b"%PDF": "a PDF file",
        b"\x76\x2f\x31\x01": "an OpenEXR file",
        b"#?RADIANCE": "a Radiance HDR file",
    }
    found = next((name for head, name in others.items() if start.startswith(head)), None)
    return found or ("an empty file" if not start else "not a picture")


def _finished(path: Path, decoded: Decoded, alpha: str) -> np.ndarray:
    """Return the pixels of a decoded picture in sRGB, upright, and with alpha as asked for."""
    pixels = decoded.pixels
    if decoded.alpha == "none":
        colours, cover = pixels, pixels[..., :0]
    elif alpha == "refuse":
        raise ValueError(f"{path} has an alpha channel; accepted are pictures without, or say to keep or to drop it")
    else:
        colours, cover = pixels[..., :-1], pixels[..., -1:]
    if decoded.alpha == "associated":
        colours = _divided(colours, cover)
    colours = _colour.to_srgb(colours, decoded.profile, decoded.encoding, decoded.notes)
    if alpha == "keep" and cover.shape[-1]:
        colours = np.concatenate([colours, cover], axis=-1)
    upright = _upright(colours, decoded.orientation)
    return np.ascontiguousarray(upright[..., 0] if upright.shape[-1] == 1 else upright)


def _divided(colours: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Return colours that were multiplied by alpha as they were before.

    Of the colours that make the same product, whether the writer rounded or cut, the smallest; of those that make it by
    rounding alone the nearest. Where nothing shows the colour stays.
    """
    top = int(np.iinfo(colours.dtype).max)
    result = np.empty_like(colours)
    rows = max(1, _BLOCK // colours.shape[1])
    for start in range(0, len(colours), rows):
        block = slice(start, start + rows)
        product = colours[block].astype(np.int64)
        share = np.maximum(alpha[block].astype(np.int64), 1)
        smallest = -(-product * top // share)
        nearest = (2 * product * top + share) // (2 * share)
        found = np.where(2 * smallest * share < (2 * product + 1) * top, smallest, nearest)
        result[block] = np.where(alpha[block] == 0, colours[block], np.minimum(found, top))
    return result


def _upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Return pixels (H, W, C) turned and mirrored as one of Exif's numbers says; other numbers say nothing."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels
