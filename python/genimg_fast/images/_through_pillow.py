"""Decoding with Pillow: all formats but TIFF, whose compressed kinds it decodes too."""

from __future__ import annotations

import contextlib
import importlib
import struct
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from genimg_fast.images import _colour
from genimg_fast.images._decoded import Alpha, Decoded, check_size

# Pillow's own way to a format, so that no other plugin is tried and our limit of pixels stands alone.
_PLUGINS = {
    "PNG": ("PngImagePlugin", "PngImageFile"),
    "JPEG": ("JpegImagePlugin", "jpeg_factory"),
    "GIF": ("GifImagePlugin", "GifImageFile"),
    "BMP": ("BmpImagePlugin", "BmpImageFile"),
    "WebP": ("WebPImagePlugin", "WebPImageFile"),
    "TIFF": ("TiffImagePlugin", "TiffImageFile"),
}

_LIMIT = threading.RLock()
_ORIENTATION, _INTEROPERABILITY = 0x0112, 0xA005  # Exif's tags
_BITS = {"1": 1, "L;2": 2, "L;4": 4}  # of a grey PNG, by Pillow's name of its raw data


def open_as(format: str, file: BinaryIO) -> Any:
    module, name = _PLUGINS[format]
    return getattr(importlib.import_module(f"PIL.{module}"), name)(file)


def decode(path: Path, format: str, max_pixels: int) -> Decoded:
    """Decode the first picture of a file that is no TIFF."""
    with path.open("rb") as file, limit_of(max_pixels), open_as(format, file) as opened:
        check_size(path, opened.height, opened.width, max_pixels)
        notes: list[str] = []
        encoding = _encoding_of_png(file, opened, notes) if format == "PNG" else None
        raw = opened.tile[0][3] if opened.tile else None
        alpha: Alpha = "none"
        if isinstance(raw, str) and raw.endswith(";16B") and opened.mode not in ("I;16", "I"):
            picture, pixels = _wide(file)
            alpha = "straight" if opened.mode.endswith("A") else "none"
        else:
            picture, (pixels, alpha) = opened, from_pillow(path, opened)
        clear = picture.info.get("transparency")
        if format in ("PNG", "GIF") and alpha == "none" and isinstance(clear, (int, tuple)):
            bits = _BITS.get(str(raw), 8 * pixels.dtype.itemsize)
            pixels, alpha = _with_clear_colour(pixels, clear, bits), "straight"
        decoded = Decoded(pixels, alpha, profile=picture.info.get("icc_profile"), encoding=encoding, notes=notes)
        _take_exif(picture, decoded)
        decoded.n_pictures = _count(file, picture)
        return decoded


def from_pillow(path: Path, picture: Any) -> tuple[np.ndarray, Alpha]:
    """Return the pixels (H, W, C) of an 8-bit picture, or a grey one of 16 bits, and whether they hold alpha.

    A colour that stands for transparency is left to the caller.
    """
    picture.load()
    mode = picture.mode
    if mode == "I;16" or (mode == "I" and picture.format == "PNG"):
        return np.asarray(picture).astype(np.uint16)[..., None], "none"
    target = {
        "1": "L",
        "P": "RGBA" if "transparency" in picture.info else "RGB",
        "PA": "RGBA",
        "RGBX": "RGB",
        "YCbCr": "RGB",
    }.get(mode, mode)
    if target not in ("L", "LA", "RGB", "RGBA", "CMYK"):
        raise ValueError(f"{path} has the colour mode {mode}; accepted are grey, palette, RGB and CMYK")
    pixels = np.asarray(picture if mode == target else picture.convert(target))
    return pixels.reshape(*pixels.shape[:2], -1), "straight" if target.endswith("A") else "none"


def _wide(file: BinaryIO) -> tuple[Any, np.ndarray]:
    """Return a PNG of 16 bits in colour or with alpha, and its pixels, of which Pillow would keep one byte a value.

    It keeps the first of two bytes for big-endian data, which a PNG is, and the second for little-endian data: decoding
    under both names gets both. Grey with alpha has as many bytes a pixel as 8-bit RGBA, and is decoded as that.
    """

    def decoded(name: str) -> Any:
        file.seek(0)
        picture = open_as("PNG", file)
        picture.tile = [(*picture.tile[0][:3], name)]
        picture.load()
        return picture

    file.seek(0)
    name = open_as("PNG", file).tile[0][3]
    if name == "LA;16B":
        picture = decoded("RGBA")
        return picture, np.asarray(picture).view(">u2").astype(np.uint16)
    high = np.asarray(decoded(name)).astype(np.uint16) << 8
    picture = decoded(name.replace(";16B", ";16L"))
    return picture, high | np.asarray(picture)


def _with_clear_colour(pixels: np.ndarray, clear: Any, bits: int) -> np.ndarray:
    """Return pixels with alpha, which is nothing where they have a colour that is given in the file's own bits."""
    top = np.iinfo(pixels.dtype).max
    steps = (1 << bits) - 1
    colour = (np.atleast_1d(np.asarray(clear)) & steps) * (top // steps)
    opaque = (pixels != colour).any(axis=-1, keepdims=True)
    return np.concatenate([pixels, opaque * pixels.dtype.type(top)], axis=-1)


def _take_exif(picture: Any, decoded: Decoded) -> None:
    """Note what Exif says of orientation, and of Adobe's colours, which cameras write there instead of a profile."""
    try:
        exif = picture.getexif()
        decoded.orientation = int(exif.get(_ORIENTATION, 1))
        if picture.format in ("JPEG", "MPO") and not decoded.profile and _is_adobe_rgb(exif):
            decoded.encoding = _colour.ADOBE_RGB
    except Exception:  # Pillow raises many kinds on what is no Exif
        decoded.notes.append("its Exif data are broken, and the orientation in them is not applied")


def _is_adobe_rgb(exif: Any) -> bool:
    with contextlib.suppress(KeyError):  # Pillow's, of older versions, for Exif without a part for this
        kind = exif.get_ifd(_INTEROPERABILITY).get(1, "")
        return (kind.decode("latin-1") if isinstance(kind, bytes) else str(kind)).rstrip("\0") == "R03"
    return False


def _encoding_of_png(file: BinaryIO, picture: Any, notes: list[str]) -> _colour.Encoding | None:
    """Return what a PNG's chunks say of its colours; each stands above the next: cICP, iCCP, sRGB, gAMA and cHRM."""
    info = picture.info
    code = _chunk(file, b"cICP")
    if code is not None:
        encoding = _colour.of_code_points(code)
        if encoding is None:
            notes.append(f"its colours (cICP {' '.join(map(str, code[:4]))}) are not converted to sRGB")
        info.pop("icc_profile", None)
        return encoding
    if "icc_profile" in info or "srgb" in info or not info.keys() & {"gamma", "chromaticity"}:
        return None
    try:
        return _colour.of_gamma(info.get("gamma"), info.get("chromaticity"))
    except (ValueError, np.linalg.LinAlgError):
        notes.append("its gamma and chromaticities stand for no colours and are not applied")
        return None


def _chunk(file: BinaryIO, wanted: bytes) -> bytes | None:
    """Return the content of a short chunk before a PNG's pixels, or None. The file's position is kept."""
    position = file.tell()
    try:
        file.seek(8)
        while len(head := file.read(8)) == 8:
            size, kind = struct.unpack(">I4s", head)
            if kind == wanted:
                return file.read(min(size, 64))
            if kind == b"IDAT":
                return None
            file.seek(size + 4, 1)
        return None
    finally:
        file.seek(position)


def _count(file: BinaryIO, picture: Any) -> int:
    """Return how many pictures or frames a file holds, without what a phone adds to one: previews, depth, gain maps."""
    try:
        n = int(getattr(picture, "n_frames", 1))
        if picture.format != "MPO":
            return n
        file.seek(0)
        with open_as("JPEG", file) as again:
            size = again.size
            alike = 1
            for i in range(1, n):
                again.seek(i)
                alike += again.size == size
            return alike
    except Exception:  # what follows the first picture is broken; the first is not
        return 1


@contextlib.contextmanager
def limit_of(max_pixels: int) -> Iterator[None]:
    """Raise Pillow's own limit of pixels, which is one for the process, while a higher one was asked for."""
    from PIL import Image

    with contextlib.ExitStack() as stack:
        if Image.MAX_IMAGE_PIXELS is not None and max_pixels > Image.MAX_IMAGE_PIXELS:
            stack.enter_context(_LIMIT)
            stack.callback(setattr, Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)
            Image.MAX_IMAGE_PIXELS = None
        yield
