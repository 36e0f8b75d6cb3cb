"""Which format a file has, and what becomes of alpha, colours and orientation: decided for all formats in one place."""

from __future__ import annotations

import stat
from pathlib import Path

import numpy as np

from genimg_fast.images import _colour
from genimg_fast.images._decoded import Decoded

_ACCEPTED = "accepted are PNG, JPEG and TIFF, besides WebP, GIF and BMP"
_BLOCK = 1 << 20  # pixels whose alpha is divided out at a time


def format_of(path: Path) -> str:
    """Return the format of a regular file by its first bytes, whatever its name is.

    Raises:
        ValueError: It is a pipe or a device, or of another format.
        OSError: It is a folder, or cannot be opened.
    """
    mode = path.stat().st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):  # opened, a pipe would wait for its other end
        raise ValueError(f"{path} is a pipe or a device; accepted are files of pictures")
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


def finished(path: Path, decoded: Decoded, alpha: str) -> np.ndarray:
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
    top = np.uint32(np.iinfo(colours.dtype).max)
    result = np.empty_like(colours)
    rows = max(1, _BLOCK // colours.shape[1])
    for start in range(0, len(colours), rows):
        block = slice(start, start + rows)
        share = np.maximum(alpha[block], 1).astype(np.uint32)
        whole, rest = np.divmod(colours[block] * top, share)
        is_cut = (rest > 0) & (2 * (share - rest) < top)
        found = whole + (is_cut | (2 * rest >= share))
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
