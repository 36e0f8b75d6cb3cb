"""Reading and writing picture files: PNG, JPEG and TIFF, 8 and 16 bits a channel.

A result is written under a temporary name and then renamed, so a file is whole or not there.
"""

from __future__ import annotations

import contextlib
import os
import struct
import tempfile
import warnings
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

ALPHA = ("refuse", "keep", "drop")
MAX_PIXELS = 1 << 27  # 134 million; a header that promises more is refused before anything is decoded

_BITS = {".png": (8, 16), ".jpg": (8,), ".jpeg": (8,), ".tif": (8, 16), ".tiff": (8, 16)}
_DTYPES = {8: np.dtype(np.uint8), 16: np.dtype(np.uint16)}


def read(path: str | os.PathLike[str], *, alpha: str = "refuse", max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Read a picture from a PNG, JPEG or TIFF file.

    Palettes become colours, 1-bit pictures become 8-bit ones, and the orientation that a camera noted is applied.

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
    """
    if alpha not in ALPHA:
        raise ValueError(f"alpha must be one of {', '.join(map(repr, ALPHA))}, got {alpha!r}")
    path = Path(path)
    with path.open("rb") as file:
        is_tiff = file.read(4) in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
    pixels, has_alpha = (_read_tiff if is_tiff else _read_with_pillow)(path, max_pixels)
    if has_alpha and alpha == "refuse":
        raise ValueError(f"{path} has an alpha channel; accepted are pictures without, or say to keep or to drop it")
    if has_alpha and alpha == "drop":
        pixels = pixels[..., :-1]
        pixels = pixels[..., 0] if pixels.shape[-1] == 1 else pixels
    return np.ascontiguousarray(pixels)


@dataclass
class Output:
    """A file to be written, whose place was checked before the work that makes its content."""

    path: Path

    @classmethod
    def check(cls, path: str | os.PathLike[str], suffixes: tuple[str, ...] | None = None) -> Output:
        """Check that a file can be written, without leaving anything behind.

        Raises:
            ValueError: The name's ending is not one of ``suffixes`` (default: the picture formats), or it is a folder.
            OSError: The folder does not exist, is not a folder or cannot be written.
        """
        path = Path(path)
        accepted = suffixes or tuple(_BITS)
        if path.suffix.lower() not in accepted:
            raise ValueError(f"{path} must end in one of {', '.join(accepted)}")
        if path.is_dir():
            raise ValueError(f"{path} is a folder; give the name of a file in it")
        if not path.parent.is_dir():
            raise FileNotFoundError(f"the folder {path.parent} does not exist")
        try:
            with tempfile.TemporaryFile(dir=path.parent):
                pass
        except OSError as error:
            raise PermissionError(f"the folder {path.parent} cannot be written: {error.strerror}") from error
        return cls(path)

    @contextlib.contextmanager
    def open(self) -> Iterator[BinaryIO]:
        """Open a temporary file for writing, which takes the output's name if the block ends well."""
        number, temporary = tempfile.mkstemp(
            dir=self.path.parent, prefix=f".{self.path.stem}-", suffix=self.path.suffix
        )
        try:
            os.close(number)
            with open(temporary, "wb") as file:
                yield file
            os.chmod(temporary, 0o666 & ~_umask())
            os.replace(temporary, self.path)
        except BaseException:
            os.unlink(temporary)
            raise


def check_depth(path: str | os.PathLike[str], pixels: np.ndarray) -> None:
    """Raise ValueError if the format that a name asks for cannot hold a picture's depth or alpha channel."""
    suffix, bits = Path(path).suffix.lower(), pixels.dtype.itemsize * 8
    if bits not in _BITS[suffix]:
        raise ValueError(f"{path}: {suffix[1:].upper()} cannot hold {bits} bits a channel; write .png or .tiff")
    if suffix in (".jpg", ".jpeg") and _has_alpha(pixels):
        raise ValueError(f"{path}: JPEG cannot hold an alpha channel; write .png or .tiff")


def write(path: str | os.PathLike[str], pixels: np.ndarray) -> None:
    """Write a picture as PNG, JPEG or TIFF, whichever the name ends in, at the depth of its dtype.

    Args:
        path: Ends in .png, .jpg, .jpeg, .tif or .tiff.
        pixels: (H, W), (H, W, 2) grey and alpha, (H, W, 3) or (H, W, 4); uint8 or uint16.

    Raises:
        TypeError: Another dtype.
        ValueError: Another shape or ending, or a depth or alpha channel that the format cannot hold.
        OSError: The file cannot be written; nothing is left behind.
    """
    if pixels.dtype not in _DTYPES.values():
        raise TypeError(f"pixels must be uint8 or uint16, got {pixels.dtype}")
    if pixels.ndim != 2 and (pixels.ndim != 3 or pixels.shape[-1] not in (2, 3, 4)):
        raise ValueError(f"pixels must have the shape (H, W) or (H, W, 2 to 4), got {pixels.shape}")
    output = Output.check(path)
    check_depth(path, pixels)
    with output.open() as file:
        _encode(file, output.path.suffix.lower(), np.ascontiguousarray(pixels))


def _encode(file: BinaryIO, suffix: str, pixels: np.ndarray) -> None:
    if suffix in (".tif", ".tiff"):
        import tifffile

        colour = pixels.ndim == 3 and pixels.shape[-1] > 2
        extra = ["unassalpha"] if _has_alpha(pixels) else None
        tifffile.imwrite(
            file, pixels, photometric="rgb" if colour else "minisblack", planarconfig="contig", extrasamples=extra
        )
    elif pixels.dtype == np.uint16:
        file.write(_png16(pixels))
    else:
        from PIL import Image

        options = {"quality": 95, "subsampling": 0} if suffix in (".jpg", ".jpeg") else {}
        Image.fromarray(pixels).save(file, "JPEG" if options else "PNG", **options)


def _png16(pixels: np.ndarray) -> bytes:
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
    body = zlib.compress(filtered.tobytes(), 6)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def _check_size(path: Path, height: int, width: int, max_pixels: int) -> None:
    if height * width > max_pixels:
        raise ValueError(f"{path} has {height}x{width} pixels; accepted are at most {max_pixels} in all")


@contextlib.contextmanager
def _named(path: Path) -> Iterator[None]:
    """Turn whatever a decoder raises on a broken file into a ValueError that names the file."""
    try:
        yield
    except (ValueError, OSError) as error:
        if str(path) in str(error):
            raise
        raise ValueError(f"{path} cannot be decoded: {error}") from error
    except Exception as error:  # decoders raise struct.error, SyntaxError, KeyError, zlib.error, ...
        raise ValueError(f"{path} cannot be decoded: {type(error).__name__}: {error}") from error


def _read_with_pillow(path: Path, max_pixels: int) -> tuple[np.ndarray, bool]:
    from PIL import Image, ImageOps, UnidentifiedImageError

    with _named(path), warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        try:
            opened = Image.open(path)
        except UnidentifiedImageError:
            raise ValueError(f"{path} is not a picture; accepted are PNG, JPEG and TIFF") from None
        except Image.DecompressionBombError as error:
            raise ValueError(f"{path} is too large ({error}); accepted are at most {max_pixels} pixels") from None
        with opened:
            if opened.format not in ("PNG", "JPEG", "MPO"):
                raise ValueError(f"{path} is a {opened.format} file; accepted are PNG, JPEG and TIFF")
            _check_size(path, opened.height, opened.width, max_pixels)
            raw = opened.tile[0].args if opened.tile else None
            if isinstance(raw, str) and raw.endswith(";16B") and opened.mode != "I;16":
                return _read_wide(path, opened), opened.mode.endswith("A")
            return _from_pillow(path, ImageOps.exif_transpose(opened))


def _from_pillow(path: Path, picture: Any) -> tuple[np.ndarray, bool]:
    """Return the pixels of an 8-bit picture, or a grey 16-bit one, and whether they hold alpha."""
    picture.load()
    if picture.mode == "I;16":
        if "transparency" in picture.info:
            raise ValueError(f"{path} has a transparent grey level, which is not read at 16 bits; accepted is TIFF")
        return np.asarray(picture).astype(np.uint16), False
    transparent = picture.has_transparency_data
    target = {
        "1": "L",
        "L": "LA" if transparent else "L",
        "LA": "LA",
        "P": "RGBA" if transparent else "RGB",
        "PA": "RGBA",
        "RGB": "RGBA" if transparent else "RGB",
        "RGBA": "RGBA",
    }.get(picture.mode)
    if target is None:
        raise ValueError(f"{path} has the colour mode {picture.mode}; accepted are grey, palette and RGB")
    return np.asarray(picture if picture.mode == target else picture.convert(target)), target.endswith("A")


def _read_wide(path: Path, opened: Any) -> np.ndarray:
    """Return the pixels of a 16-bit PNG in colour.

    Pillow keeps one byte of each value: the first of two for big-endian data, which a PNG is, the second for
    little-endian data. Decoding under both names gets both bytes.
    """
    from PIL import Image

    if opened.tile[0].args.startswith("LA"):
        raise ValueError(f"{path} is a PNG of 16-bit grey with alpha, which is not read; accepted is the same as TIFF")
    high = np.asarray(opened).astype(np.uint16)
    with Image.open(path) as again:
        again.tile = [again.tile[0]._replace(args=again.tile[0].args.replace(";16B", ";16L"))]
        low = np.asarray(again)
    return high << 8 | low


def _read_tiff(path: Path, max_pixels: int) -> tuple[np.ndarray, bool]:
    import tifffile

    with _named(path), tifffile.TiffFile(path) as file:
        page = file.pages.first
        _check_size(path, page.imagelength, page.imagewidth, max_pixels)
        photometric = page.photometric.name if page.photometric is not None else "none"
        if photometric not in ("MINISBLACK", "MINISWHITE", "RGB", "PALETTE") or page.imagedepth != 1:
            raise ValueError(
                f"{path} has the colours {photometric}; accepted are grey, palette and RGB in two dimensions"
            )
        pixels = page.asarray()
        if photometric == "PALETTE":
            pixels = page.colormap[:, pixels].transpose(1, 2, 0) >> 8
            pixels = pixels.astype(np.uint8)
        if page.planarconfig == tifffile.PLANARCONFIG.SEPARATE and pixels.ndim == 3:
            pixels = np.moveaxis(pixels, 0, -1)
        if pixels.dtype == np.bool_:
            pixels = pixels.astype(np.uint8) * 255
        if pixels.dtype not in _DTYPES.values():
            raise ValueError(f"{path} holds {pixels.dtype} values; accepted are 8 and 16 bits, unsigned")
        if photometric == "MINISWHITE":
            pixels = np.iinfo(pixels.dtype).max - pixels
        expected = {"RGB": 3}.get(photometric, 3 if photometric == "PALETTE" else 1)
        channels = 1 if pixels.ndim == 2 else pixels.shape[-1]
        if channels not in (expected, expected + 1):
            raise ValueError(f"{path} has {channels} channels; accepted are {expected} and one of alpha")
        return pixels, channels == expected + 1


def _has_alpha(pixels: np.ndarray) -> bool:
    return pixels.ndim == 3 and pixels.shape[-1] in (2, 4)


def _umask() -> int:
    # The umask can only be read by setting it.
    mask = os.umask(0)
    os.umask(mask)
    return mask
