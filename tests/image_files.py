"""Picture files made byte by byte, for what no writer at hand writes."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping, Sequence

import numpy as np


def noise(dtype: type, *shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, np.iinfo(dtype).max, shape, dtype=dtype, endpoint=True)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_start(height: int, width: int, bits: int = 8, colour_type: int = 0) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, bits, colour_type, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header)


def png(pixels: np.ndarray, *chunks: tuple[bytes, bytes]) -> bytes:
    """Encode (H, W) or (H, W, C) pixels of 8 or 16 bits, with further chunks before the pixels."""
    height, width = pixels.shape[:2]
    channels = 1 if pixels.ndim == 2 else pixels.shape[2]
    bits = pixels.dtype.itemsize * 8
    rows = pixels.astype(f">u{bits // 8}").reshape(height, -1).view(np.uint8)
    data = b"".join(b"\0" + row.tobytes() for row in rows)
    start = png_start(height, width, bits, {1: 0, 2: 4, 3: 2, 4: 6}[channels])
    extra = b"".join(chunk(*one) for one in chunks)
    return start + extra + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")


def packed(values: np.ndarray, bits: int) -> bytes:
    """Pack rows of values into bits, the highest first; each row begins with a whole byte."""
    digits = (values.reshape(len(values), -1, 1) >> np.arange(bits - 1, -1, -1)) & 1
    return np.packbits(digits.reshape(len(values), -1).astype(np.uint8), axis=1).tobytes()


def tiff(pages: Sequence[tuple[Mapping[int, int | Sequence[int] | bytes], bytes]], order: str = "<") -> bytes:
    """Encode pages of tags and one strip of data each. Numbers become LONGs, bytes UNDEFINED."""
    content = bytearray({"<": b"II*\0", ">": b"MM\0*"}[order] + bytes(4))
    pointer = 4
    for tags, data in pages:
        start = len(content)
        content += data + bytes(len(data) % 2)
        tags = {273: start, 279: len(data), **tags}
        entries = b""
        for code, value in sorted(tags.items()):
            numbers = [value] if isinstance(value, int) else value
            kind, body = (
                (7, value) if isinstance(value, bytes) else (4, struct.pack(f"{order}{len(numbers)}I", *numbers))
            )
            if len(body) > 4:
                place = len(content)
                content += body + bytes(len(body) % 2)
                body = struct.pack(f"{order}I", place)
            entries += struct.pack(f"{order}HHI", code, kind, len(numbers)) + body.ljust(4, b"\0")
        struct.pack_into(f"{order}I", content, pointer, len(content))
        content += struct.pack(f"{order}H", len(tags)) + entries
        pointer = len(content)
        content += bytes(4)
    return bytes(content)


def tags(height: int, width: int, bits: int = 8, photometric: int = 1, samples: int = 1, **more: object) -> dict:
    """Return the tags of a page of one strip."""
    return {
        256: width,
        257: height,
        258: [bits] * samples,
        259: 1,
        262: photometric,
        277: samples,
        278: height,
    }


P3 = ((0.515102, 0.291965, 0.157153), (0.241182, 0.692236, 0.066582), (-0.001050, 0.041882, 0.784378))
SRGB = ((0.436066, 0.385147, 0.143066), (0.222488, 0.716873, 0.060608), (0.013916, 0.097076, 0.714096))
SRGB_CURVE = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)


def _fixed(*numbers: float) -> bytes:
    return struct.pack(f">{len(numbers)}i", *(round(x * 65536) for x in numbers))


def _profile(space: bytes, connection: bytes, tags: Mapping[bytes, bytes]) -> bytes:
    tags = {
        b"desc": b"desc" + bytes(4) + struct.pack(">I", 5) + b"mine\0" + bytes(79),
        b"cprt": b"text" + bytes(8),
        b"wtpt": b"XYZ " + bytes(4) + _fixed(0.9642, 1, 0.8249),
        **tags,
    }
    table, data, start = b"", b"", 132 + 12 * len(tags)
    for name, value in tags.items():
        table += struct.pack(">4sII", name, start + len(data), len(value))
        data += value + bytes(-len(value) % 4)
    size = start + len(data)
    head = struct.pack(">I4sI4s4s4s12s4s", size, b"lcms", 0x02400000, b"mntr", space, connection, bytes(12), b"acsp")
    head = head.ljust(68, b"\0") + _fixed(0.9642, 1, 0.8249)
    return head.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + data


def icc(matrix: Sequence[Sequence[float]] | None, curve: Sequence[float] | float, space: bytes = b"RGB ") -> bytes:
    """Return an ICC profile of a matrix (XYZ under D50) and one curve: a power, or a power with a linear start."""
    if isinstance(curve, float):
        trc = b"curv" + bytes(4) + struct.pack(">IH", 1, round(curve * 256)) + bytes(2)
    else:
        trc = b"para" + bytes(4) + struct.pack(">HH", 3, 0) + _fixed(*curve)
    tags = {b"kTRC": trc} if matrix is None else {}
    for i, name in enumerate(b"rgb" if matrix is not None else b""):
        tags[bytes([name]) + b"XYZ"] = b"XYZ " + bytes(4) + _fixed(*(row[i] for row in matrix))
        tags[bytes([name]) + b"TRC"] = trc
    return _profile(space, b"XYZ ", tags)


def icc_of_a_table(space: bytes, channels: int) -> bytes:
    """Return an ICC profile of a table to CIELAB, of two points a channel and of no colours in particular."""
    points = np.random.default_rng(0).integers(100, 156, (2**channels, 3), dtype=np.uint8)
    identity = bytes(range(256))
    table = b"mft1" + bytes(4) + bytes([channels, 3, 2, 0]) + _fixed(1, 0, 0, 0, 1, 0, 0, 0, 1)
    table += identity * channels + points.tobytes() + identity * 3
    return _profile(space, b"Lab ", {b"A2B0": table})
