"""Decoding TIFF: tifffile reads the tags, libtiff, which Pillow brings, unpacks bytes, values are made of them here.

JPEG and fax, which are compressed pictures and no bytes, Pillow decodes as a whole. So no other package is needed for
any kind of file, and none changes what is read.
"""

from __future__ import annotations

import io
import itertools
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from genimg_fast.images import _through_pillow
from genimg_fast.images._decoded import Decoded, check_size

_ORIENTATION, _PHOTOMETRIC, _EXTRA, _PROFILE = 274, 262, 338, 34675
_WHITE_IS_0, _PALETTE, _CMYK, _YCBCR = 0, 3, 5, 6
_COLOURS = {0: 1, 1: 1, 2: 3, 3: 1, 5: 4, 6: 3}  # samples of a pixel, by photometric interpretation
_PLAIN, _DEFLATE, _JPEG = 1, (8, 32946), (6, 7)
_LIBTIFF = (5, 32773, 34925, 50000)  # LZW, PackBits, LZMA, Zstandard
_KINDS = {2: "int", 3: "float", 5: "complex int", 6: "complex"}
PAGES = 64  # pages that are looked at
_MIRRORED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))  # FillOrder 2
_BLOCK = 1 << 20  # values that are unpacked from bits at a time


@dataclass(frozen=True)
class _Layout:
    """How a page stores its pixels.

    Attributes:
        bits: Of a sample.
        samples: Of a pixel, alpha included.
        tile: Height and width of a tile, or of a strip.
        planes: How many planes the samples lie in, 1 or as many as there are.
    """

    height: int
    width: int
    bits: int
    samples: int
    photometric: int
    compression: int
    predictor: int
    fill_order: int
    tile: tuple[int, int]
    planes: int


def decode(path: Path, max_pixels: int) -> Decoded:
    """Decode the first picture of a TIFF file that is no thumbnail."""
    import tifffile

    with tifffile.TiffFile(path) as file:
        page, n_pictures = _choose(file)
        layout = _layout(path, page, max_pixels)
        if _is_simple(layout):
            pixels = _interpreted(path, page, layout, _samples(path, file, page, layout))
        else:
            pixels = _decoded_by_pillow(path, file, page, layout, max_pixels)
        decoded = Decoded(pixels, n_pictures=n_pictures)
        if layout.samples > _COLOURS[layout.photometric]:
            decoded.alpha = "associated" if _numbers(page, _EXTRA, (0,))[0] == 1 else "straight"
        decoded.orientation = _numbers(page, _ORIENTATION, (1,))[0]
        profile = page.tags.get(_PROFILE)
        decoded.profile = bytes(profile.value) if profile is not None else None
        return decoded


def _choose(file: Any) -> tuple[Any, int]:
    """Return the first page that is no thumbnail and no mask, and how many of those the file holds.

    A camera's raw file has the thumbnail in front and the picture in a page under it.
    """
    first, chosen, n_pictures = None, None, 0
    for page in itertools.islice(_pages(file.pages), PAGES):
        first = first or page
        pages = [page] if _is_picture(page) else [one for one in _pages(page.pages or ()) if _is_picture(one)]
        n_pictures += bool(pages)
        chosen = chosen or (pages[0] if pages else None)
    if first is None:
        raise ValueError("there is no picture in it")
    return (first, 1) if chosen is None else (chosen, n_pictures)


def _pages(pages: Any) -> Iterator[Any]:
    """Give pages up to the first broken one."""
    pages = iter(pages)
    for i in itertools.count():
        try:
            page = next(pages)
        except StopIteration:
            return
        except Exception:
            if i == 0:
                raise
            return
        yield page


def _is_picture(page: Any) -> bool:
    reduced, mask = 1, 4
    return not _numbers(page, 254, (0,))[0] & (reduced | mask) and _numbers(page, 255, (1,))[0] != 2


def _numbers(page: Any, code: int, default: tuple[int, ...]) -> tuple[int, ...]:
    tag = page.tags.get(code)
    if tag is None:
        return default
    value = tag.value
    numbers = value if isinstance(value, bytes) else np.ravel(np.asarray(value, object))
    return tuple(int(x) for x in numbers) or default


def _layout(path: Path, page: Any, max_pixels: int) -> _Layout:
    """Return how a page stores its pixels, or refuse it by what it is."""
    height, width = int(page.imagelength), int(page.imagewidth)
    check_size(path, height, width, max_pixels)
    photometric = _numbers(page, _PHOTOMETRIC, (-1,))[0]
    if photometric not in _COLOURS or _numbers(page, 32997, (1,))[0] != 1:
        name = "none" if photometric < 0 else getattr(page.photometric, "name", photometric)
        raise ValueError(
            f"{path} has the colours {name}; accepted are grey, palette, RGB, CMYK and YCbCr in two dimensions"
        )
    compression = _numbers(page, 259, (_PLAIN,))[0]
    samples = _numbers(page, 277, (_COLOURS[photometric] if compression in _JPEG else 1,))[0]
    expected = _COLOURS[photometric]
    if samples not in (expected, expected + 1):
        raise ValueError(f"{path} has {samples} channels; accepted are {expected} and one of alpha")
    bits, kinds = set(_numbers(page, 258, (1,))), set(_numbers(page, 339, (1,)))
    if len(bits) > 1 or not 1 <= max(bits) <= 16 or not kinds <= {1, 4}:
        found = " ".join(f"{_KINDS.get(kind, 'uint')}{n}" for kind in sorted(kinds) for n in sorted(bits))
        raise ValueError(f"{path} holds {found} values; accepted are unsigned integers of 1 to 16 bits")
    if photometric == _CMYK and bits != {8}:
        raise ValueError(f"{path} holds CMYK of {max(bits)} bits; accepted are 8")
    is_tiled = 322 in page.tags
    rows = min(max(_numbers(page, 278, (height,))[0], 1), height)
    tile = (_numbers(page, 323, (0,))[0], _numbers(page, 322, (0,))[0]) if is_tiled else (rows, width)
    if min(tile) < 1 or tile[0] * tile[1] > max(max_pixels, 1 << 20):
        raise ValueError(f"{path} has tiles of {tile[0]}x{tile[1]} pixels; accepted are at most {max_pixels} in all")
    return _Layout(
        height,
        width,
        max(bits),
        samples,
        photometric,
        compression,
        _numbers(page, 317, (1,))[0],
        _numbers(page, 266, (1,))[0],
        tile,
        samples if _numbers(page, 284, (1,))[0] == 2 else 1,
    )


def _is_simple(layout: _Layout) -> bool:
    is_known = layout.compression in (_PLAIN, *_DEFLATE, *_LIBTIFF) and layout.photometric != _YCBCR
    return is_known and (layout.predictor == 1 or (layout.predictor == 2 and layout.bits in (8, 16)))


def _samples(path: Path, file: Any, page: Any, layout: _Layout) -> np.ndarray:
    """Return the samples of a page as they are stored, (H, W, samples), uint8 or uint16."""
    (tile_height, tile_width), samples = layout.tile, layout.samples // layout.planes
    dtype = np.dtype(np.uint8 if layout.bits <= 8 else np.uint16)
    pixels = np.empty((layout.height, layout.width, layout.samples), dtype)
    corners = itertools.product(
        range(layout.planes), range(0, layout.height, tile_height), range(0, layout.width, tile_width)
    )
    is_tiled = 322 in page.tags
    for (plane, top, left), data in zip(corners, _segments(path, file, page, layout), strict=True):
        rows = tile_height if is_tiled else min(tile_height, layout.height - top)
        values = _unpacked(data, rows, tile_width * samples, layout.bits, file.byteorder)
        values = values.reshape(rows, tile_width, samples)
        if layout.predictor == 2:
            values = np.cumsum(values, axis=1, dtype=dtype)
        place = pixels[top : top + rows, left : left + tile_width, plane * samples : (plane + 1) * samples]
        place[:] = values[: place.shape[0], : place.shape[1]]
    return pixels


def _segments(path: Path, file: Any, page: Any, layout: _Layout) -> Iterator[bytes]:
    """Give the data of all strips or tiles, none of which unpacks to more than its pixels need."""
    (tile_height, tile_width), samples = layout.tile, layout.samples // layout.planes
    is_tiled = 322 in page.tags
    row = -(-tile_width * samples * layout.bits // 8)
    n_high, n_wide = -(-layout.height // tile_height), -(-layout.width // tile_width)
    n = layout.planes * n_high * n_wide
    starts, sizes = page.dataoffsets, page.databytecounts
    if min(len(starts), len(sizes)) < n:
        raise ValueError(f"{path} is truncated: it has {len(starts)} of {n} strips or tiles")
    for i, start, size in zip(range(n), starts, sizes, strict=False):
        top = i // n_wide % n_high * tile_height
        need = row * (tile_height if is_tiled else min(tile_height, layout.height - top))
        # The last strip may be as long as the others.
        most = row * tile_height
        file.filehandle.seek(start)
        # What is packed is longer than plain data by a half at most (LZW).
        data = file.filehandle.read(min(size, most + most // 2 + 4096))
        if layout.compression in _LIBTIFF:
            data = _unpacked_by_libtiff(data, layout, need // row, row)
        else:
            data = data.translate(_MIRRORED) if layout.fill_order == 2 else data
            data = data if layout.compression == _PLAIN else _inflated(path, data, most)
        if len(data) < need:
            raise ValueError(f"{path} is truncated: a strip or tile has {len(data)} of {need} bytes")
        yield data[:need]


def _inflated(path: Path, data: bytes, most: int) -> bytes:
    slack = 1024  # some writers fill up the end
    unpacked = zlib.decompressobj().decompress(data, most + slack)
    if len(unpacked) == most + slack:
        raise ValueError(f"{path} holds data that unpack to more than the {most} bytes that its pixels need")
    return unpacked


def _unpacked_by_libtiff(data: bytes, layout: _Layout, rows: int, row: int) -> bytes:
    """Return the bytes of one strip, from a file that holds it alone as a grey picture."""
    tags = {256: row, 257: rows, 258: 8, 259: layout.compression, 262: 1, 266: layout.fill_order, 273: 0, 277: 1}
    tags |= {278: rows, 279: len(data)}
    start = 8 + 2 + 12 * len(tags) + 4
    tags[273] = start
    entries = b"".join(struct.pack("<HHII", code, 4, 1, value) for code, value in tags.items())
    content = struct.pack("<2sHIH", b"II", 42, 8, len(tags)) + entries + bytes(4) + data
    with _through_pillow.limit_of(rows * row), _through_pillow.open_as("TIFF", io.BytesIO(content)) as picture:
        return bytes(picture.tobytes())


def _unpacked(data: bytes, rows: int, n: int, bits: int, order: str) -> np.ndarray:
    """Return rows of n values of a number of bits; a row begins with a whole byte."""
    if bits in (8, 16):
        values = np.frombuffer(data, f"{order}u{bits // 8}").reshape(rows, n)
        return values.astype(np.uint8 if bits == 8 else np.uint16, copy=False)
    dtype = np.uint8 if bits < 8 else np.uint16
    packed = np.frombuffer(data, np.uint8).reshape(rows, -1)
    values = np.zeros((rows, n), dtype)
    step = max(1, _BLOCK // n)
    for start in range(0, rows, step):
        digits = np.unpackbits(packed[start : start + step], axis=1, count=n * bits).reshape(-1, n, bits)
        for i in range(bits):
            values[start : start + step] |= digits[..., i].astype(dtype) << (bits - 1 - i)
    return values


def _interpreted(path: Path, page: Any, layout: _Layout, samples: np.ndarray) -> np.ndarray:
    """Return samples as colours of 8 or 16 bits, where black is 0, and alpha."""
    n = _COLOURS[layout.photometric]
    colours, alpha = samples[..., :n], _scaled(samples[..., n:], layout.bits)
    if layout.photometric == _PALETTE:
        colours, alpha = _looked_up(path, page, colours[..., 0]), (alpha >> 8 * (alpha.itemsize - 1)).astype(np.uint8)
    else:
        colours = _scaled(colours, layout.bits)
    if layout.photometric == _WHITE_IS_0:
        colours = np.iinfo(colours.dtype).max - colours
    return np.concatenate([colours, alpha], axis=-1) if alpha.shape[-1] else colours


def _scaled(samples: np.ndarray, bits: int) -> np.ndarray:
    """Return samples of a number of bits such that the largest is the largest of their dtype."""
    top = np.iinfo(samples.dtype).max
    if bits == 8 * samples.itemsize:
        return samples
    table = np.rint(np.arange(1 << bits) * (top / ((1 << bits) - 1))).astype(samples.dtype)
    return table[samples]


def _looked_up(path: Path, page: Any, index: np.ndarray) -> np.ndarray:
    palette = np.array(_numbers(page, 320, (0,)), np.uint16)
    if palette.size % 3 or index.max() >= palette.size // 3:
        raise ValueError(f"{path} has a palette of {palette.size // 3} colours and uses number {index.max()}")
    # Colours are of 16 bits, but some writers meant 8.
    shift = 8 if palette.max() > 255 else 0
    return (palette >> shift).astype(np.uint8).reshape(3, -1).T[index]


def _decoded_by_pillow(path: Path, file: Any, page: Any, layout: _Layout, max_pixels: int) -> np.ndarray:
    """Return the pixels of a page that is compressed as a picture."""
    name = getattr(page.compression, "name", str(layout.compression))
    unread = ValueError(
        f"{path} is not read: its {layout.samples} channels of {layout.bits} bits are compressed as {name}"
    )
    is_subsampled = _numbers(page, 530, (2, 2)) != (1, 1)
    if layout.bits > 8 or (layout.photometric == _YCBCR and layout.compression == _PLAIN and is_subsampled):
        raise unread
    with _through_pillow.limit_of(max_pixels):
        try:
            picture = _through_pillow.open_as("TIFF", _plainer_copy(file, page, layout))
        except (SyntaxError, KeyError):
            raise unread from None
        check_size(path, picture.height, picture.width, max_pixels)
        pixels, _ = _through_pillow.from_pillow(path, picture)
    expected = (layout.height, layout.width, layout.samples if layout.photometric != _PALETTE else 2 + layout.samples)
    if pixels.shape != expected:
        raise unread
    return pixels


def _plainer_copy(file: Any, page: Any, layout: _Layout) -> io.BytesIO:
    """Return a copy of a file that begins with a page and leaves to us what Pillow's versions do differently."""
    file.filehandle.seek(0)
    content = bytearray(file.filehandle.read())
    order: Literal["little", "big"] = "little" if file.byteorder == "<" else "big"
    start, size = (8, 8) if content[2:4] in (b"\x2b\0", b"\0\x2b") else (4, 4)
    content[start : start + size] = page.offset.to_bytes(size, order)
    changes = {_ORIENTATION: 1}
    if layout.samples > _COLOURS[layout.photometric]:
        changes[_EXTRA] = 2  # alpha that is not multiplied into the colours
    for code, value in changes.items():
        tag = page.tags.get(code)
        width = {1: 1, 3: 2, 4: 4}.get(int(tag.dtype), 0) if tag is not None else 0
        if width:
            content[tag.valueoffset : tag.valueoffset + width] = value.to_bytes(width, order)
    return io.BytesIO(bytes(content))
