"""Writing pictures as PNG, JPEG and TIFF."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from genimg_fast._core.backend import is_tensor, not_array_or_tensor, plain
from genimg_fast.images._output import Output

BITS = {".png": (8, 16), ".jpg": (8,), ".jpeg": (8,), ".tif": (8, 16), ".tiff": (8, 16)}

_JPEG_SIDE = 65500  # libjpeg's largest height and width
_COMMENT = 65533  # bytes that a comment of JPEG can hold


def check_depth(path: str | os.PathLike[str], pixels: np.ndarray) -> None:
    """Raise ValueError if the format that a name asks for cannot hold a picture's depth, size or alpha channel."""
    suffix, bits = Path(path).suffix.lower(), pixels.dtype.itemsize * 8
    if suffix not in BITS:
        raise ValueError(f"{path} must end in one of {', '.join(BITS)}")
    if bits not in BITS[suffix]:
        raise ValueError(f"{path}: {suffix[1:].upper()} cannot hold {bits} bits a channel; write .png or .tiff")
    if suffix in (".jpg", ".jpeg"):
        if _has_alpha(pixels):
            raise ValueError(f"{path}: JPEG cannot hold an alpha channel; write .png or .tiff")
        if max(pixels.shape[:2]) > _JPEG_SIDE:
            raise ValueError(f"{path}: JPEG holds at most {_JPEG_SIDE} pixels a side; write .png or .tiff")


def write(path: str | os.PathLike[str], pixels: np.ndarray, *, text: Mapping[str, str] | None = None) -> None:
    """Write a picture as PNG, JPEG or TIFF, whichever the name ends in, at the depth of its dtype.

    Args:
        path: Ends in .png, .jpg, .jpeg, .tif or .tiff.
        pixels: (H, W), (H, W, 2) grey and alpha, (H, W, 3) or (H, W, 4); uint8 or uint16. Alpha is not multiplied into
            the colours.
        text: Facts to keep in the file, by name. PNG holds each as a text of that name. JPEG's comment and TIFF's
            description hold lines "name: value"; TIFF keeps "Software" in the tag of that name.

    Raises:
        TypeError: Not an array, a masked array with masked values, or another dtype.
        ValueError: Another shape or ending, a depth, size or alpha channel that the format cannot hold, or a name of a
            text that PNG cannot hold.
        OSError: The file cannot be written; if that shows at the end only, the picture is kept in a file that the
            message names.
    """
    pixels = _checked(pixels)
    output = Output.check(path)
    check_depth(path, pixels)
    text = _checked_text(text)
    with output.open() as file:
        _encode(file, output.path.suffix.lower(), np.ascontiguousarray(pixels), text)


def _checked(pixels: np.ndarray) -> np.ndarray:
    if is_tensor(pixels):
        raise TypeError("write: pixels must be a numpy.ndarray (H, W) or (H, W, C), got a torch.Tensor")
    if not isinstance(pixels, np.ndarray):
        raise not_array_or_tensor("write", "pixels", pixels)
    pixels = plain("write", "pixels", pixels)
    if pixels.dtype not in (np.uint8, np.uint16):
        raise TypeError(f"write: pixels must be uint8 or uint16, got {pixels.dtype}")
    if pixels.size == 0 or (pixels.ndim != 2 and (pixels.ndim != 3 or pixels.shape[-1] not in (2, 3, 4))):
        raise ValueError(f"write: pixels must have the shape (H, W) or (H, W, 2 to 4), got {pixels.shape}")
    return pixels


def _checked_text(text: Mapping[str, str] | None) -> dict[str, str]:
    """Return texts that every format can hold: PNG has rules for names, and none holds a zero character."""
    text = dict(text or {})
    for name, value in text.items():
        if not isinstance(name, str) or not isinstance(value, str):
            raise TypeError(f"write: text must map str to str, got {name!r}: {value!r}")
        fits = 1 <= len(name) <= 79 and name.isascii() and name.isprintable() and name == name.strip()
        if not fits or ":" in name:
            raise ValueError(
                f"write: text must have names of 1 to 79 printable ASCII characters without colons, got {name!r}"
            )
        if "\0" in value:
            raise ValueError(f"write: text must hold no zero characters, got {name!r}: {value!r}")
    return text


def _encode(file: BinaryIO, suffix: str, pixels: np.ndarray, text: dict[str, str]) -> None:
    if suffix in (".tif", ".tiff"):
        _encode_tiff(file, pixels, text)
    elif pixels.dtype == np.uint16:
        file.write(_png16(pixels, text))
    elif suffix == ".png":
        from PIL import Image, PngImagePlugin

        chunks = PngImagePlugin.PngInfo()
        for kind, data in _text_chunks(text):
            chunks.add(kind, data)
        Image.fromarray(pixels).save(file, "PNG", pnginfo=chunks)
    else:
        from PIL import Image

        # Half a character at the end of a comment that is cut is no text.
        comment = _lines(text)[:_COMMENT].decode("utf-8", "ignore").encode()
        options = {"comment": comment} if comment else {}
        Image.fromarray(pixels).save(file, "JPEG", quality=95, subsampling=0, **options)


def _encode_tiff(file: BinaryIO, pixels: np.ndarray, text: dict[str, str]) -> None:
    import tifffile

    colour = pixels.ndim == 3 and pixels.shape[-1] > 2
    options: dict[str, Any] = {}
    if text:
        software = text.get("Software", "").encode()
        description = _lines({name: value for name, value in text.items() if name != "Software"})
        options = {"software": software or None, "description": description or None, "metadata": None}
    tifffile.imwrite(
        file,
        pixels,
        photometric="rgb" if colour else "minisblack",
        planarconfig="contig",
        extrasamples=["unassalpha"] if _has_alpha(pixels) else None,
        **options,
    )


def _lines(text: Mapping[str, str]) -> bytes:
    return "\n".join(f"{name}: {value}" for name, value in text.items()).encode("utf-8", "surrogateescape")


def _png16(pixels: np.ndarray, text: Mapping[str, str]) -> bytes:
    """Return a PNG file of 16 bits a channel, which Pillow cannot write in colour."""
    height, width = pixels.shape[:2]
    channels = 1 if pixels.ndim == 2 else pixels.shape[2]
    rows = pixels.astype(">u2").reshape(height, -1).view(np.uint8)
    # Filter 1 (differences between neighbours) for every row.
    step = 2 * channels
    filtered = np.concatenate([np.ones((height, 1), np.uint8), rows], axis=1)
    filtered[:, 1 + step :] -= rows[:, :-step]

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    colour_type = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    header = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)
    texts = b"".join(chunk(kind, data) for kind, data in _text_chunks(text))
    body = zlib.compress(filtered.tobytes(), 6)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + texts + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def _text_chunks(text: Mapping[str, str]) -> Iterable[tuple[bytes, bytes]]:
    """Give PNG's chunks of some texts: tEXt for Latin-1, iTXt for the rest."""
    for name, value in text.items():
        key = name.encode("ascii")
        try:
            yield b"tEXt", key + b"\0" + value.encode("latin-1")
        except UnicodeEncodeError:
            # Not compressed, of no language, and with no translation of the name.
            yield b"iTXt", key + b"\0\0\0\0\0" + value.encode("utf-8", "surrogateescape")


def _has_alpha(pixels: np.ndarray) -> bool:
    return pixels.ndim == 3 and pixels.shape[-1] in (2, 4)
