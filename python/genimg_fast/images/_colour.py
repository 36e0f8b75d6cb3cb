"""Colours as files mean them, and their conversion to sRGB.

ICC profiles of 8-bit pictures go through LittleCMS, which Pillow brings. It has no colours of 16 bits; for those, and
where a file says without a profile what its values mean, there are curves and a matrix.
"""

from __future__ import annotations

import functools
import io
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

Curve = Callable[[np.ndarray], np.ndarray]  # from values in [0, 1] to linear light

_D50 = np.array([0.9642, 1.0, 0.8249])
_D65 = (0.3127, 0.3290)
_BLOCK = 1 << 20  # pixels that are converted at a time


@dataclass(frozen=True)
class Encoding:
    """How values in [0, 1] stand for colours.

    Attributes:
        curves: To linear light, one for all channels or one for each.
        matrix: From linear RGB to XYZ under D50.
    """

    curves: tuple[Curve, ...]
    matrix: np.ndarray

    def is_srgb(self) -> bool:
        """Tell whether 8-bit values would change by more than one step."""
        steps = np.arange(0, 256, 15, dtype=np.uint8)
        colours = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(1, -1, 3)
        greys = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, axis=-1)
        samples = np.concatenate([colours, greys], axis=1)
        return int(np.abs(self.to_srgb(samples).astype(int) - samples).max()) <= 1

    def to_srgb(self, pixels: np.ndarray) -> np.ndarray:
        """Return pixels (H, W, 1 or 3) as sRGB of the same dtype."""
        top = np.iinfo(pixels.dtype).max
        values = np.linspace(0, 1, top + 1)
        with np.errstate(all="ignore"):  # a hostile profile's powers
            linear = [np.clip(np.nan_to_num(curve(values)), 0, 1).astype(np.float32) for curve in self.curves]
        if pixels.shape[-1] == 1:
            table = np.rint(_srgb_values(linear[len(linear) // 2]) * top).astype(pixels.dtype)
            return table[pixels]
        matrix = (np.linalg.inv(SRGB.matrix) @ self.matrix).astype(np.float32)
        result = np.empty_like(pixels)
        rows = max(1, _BLOCK // pixels.shape[1])
        for start in range(0, len(pixels), rows):
            block = pixels[start : start + rows]
            light = np.stack([linear[i % len(linear)][block[..., i]] for i in range(3)], axis=-1) @ matrix.T
            result[start : start + rows] = np.rint(_srgb_values(light) * top)
        return result


def _srgb_light(values: np.ndarray) -> np.ndarray:
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def _srgb_values(light: np.ndarray) -> np.ndarray:
    light = np.clip(light, 0, 1)
    return np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)


def power(exponent: float) -> Curve:
    return lambda values: values**exponent


def primaries(white: tuple[float, float], *colours: tuple[float, float]) -> np.ndarray:
    """Return the matrix from linear RGB to XYZ under D50 for chromaticities (x, y) of white, red, green and blue.

    Raises:
        ValueError: The colours lie on a line, or one of the chromaticities is of no colour.
    """
    points = np.array([white, *colours], float)
    if not (points[:, 1] > 0).all():
        raise ValueError("chromaticities must have a positive y")
    xyz = np.column_stack([points[:, 0], points[:, 1], 1 - points.sum(axis=1)]) / points[:, 1:]
    if abs(np.linalg.det(xyz[1:])) < 1e-6:
        raise ValueError("chromaticities must span colours")
    matrix = xyz[1:].T * np.linalg.solve(xyz[1:].T, xyz[0])
    bradford = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
    gains = (bradford @ _D50) / (bradford @ xyz[0])
    adapted: np.ndarray = np.linalg.inv(bradford) @ np.diag(gains) @ bradford @ matrix
    return adapted


SRGB = Encoding((_srgb_light,), primaries(_D65, (0.64, 0.33), (0.30, 0.60), (0.15, 0.06)))
ADOBE_RGB = Encoding((power(563 / 256),), primaries(_D65, (0.64, 0.33), (0.21, 0.71), (0.15, 0.06)))

# The code points of PNG's cICP that stand for a display's colours (ITU-T H.273); there is no more to films than that.
_CODE_PRIMARIES = {
    1: SRGB.matrix,
    9: primaries(_D65, (0.708, 0.292), (0.170, 0.797), (0.131, 0.046)),
    11: primaries((0.314, 0.351), (0.680, 0.320), (0.265, 0.690), (0.150, 0.060)),
    12: primaries(_D65, (0.680, 0.320), (0.265, 0.690), (0.150, 0.060)),
}
_CODE_CURVES: dict[int, Curve] = {4: power(2.2), 5: power(2.8), 8: power(1.0), 13: _srgb_light}


def of_code_points(code: bytes) -> Encoding | None:
    """Return what a cICP chunk says, or None for other colours than those of displays."""
    if len(code) != 4 or code[0] not in _CODE_PRIMARIES or code[1] not in _CODE_CURVES or code[2:] != b"\0\1":
        return None
    return Encoding((_CODE_CURVES[code[1]],), _CODE_PRIMARIES[code[0]])


def of_gamma(gamma: float | None, chromaticities: tuple[float, ...] | None) -> Encoding:
    """Return what PNG's gAMA and cHRM chunks say; the gamma of sRGB's approximation stands for sRGB's curve.

    Raises:
        ValueError: The numbers stand for no colours.
    """
    curve: Curve = _srgb_light
    if gamma is not None and abs(gamma - 1 / 2.2) > 0.005:
        if not 0.05 < gamma < 20:
            raise ValueError("gamma must be between 0.05 and 20")
        curve = power(1 / gamma)
    matrix = SRGB.matrix
    if chromaticities is not None:
        white, *colours = zip(chromaticities[::2], chromaticities[1::2], strict=True)
        matrix = primaries(white, *colours)
    return Encoding((curve,), matrix)


def to_srgb(pixels: np.ndarray, profile: bytes | None, encoding: Encoding | None, notes: list[str]) -> np.ndarray:
    """Return pixels (H, W, 1, 3 or 4) as sRGB, (H, W, 1 or 3), and note what could not be followed."""
    if profile:
        encoding = None
        space = {1: (b"GRAY", b"RGB "), 3: (b"RGB ",), 4: (b"CMYK",)}[pixels.shape[-1]]
        if profile[16:20] not in space:
            notes.append("its colour profile is for another kind of picture and is not applied")
        else:
            converted = _by_profile(pixels, profile)
            if converted is not None:
                return converted
            notes.append(f"its colour profile is broken or cannot be applied at {pixels.dtype.itemsize * 8} bits")
    if pixels.shape[-1] == 4:
        return np.asarray(_pillow(pixels, "CMYK").convert("RGB"))
    return pixels if encoding is None or encoding.is_srgb() else encoding.to_srgb(pixels)


def _by_profile(pixels: np.ndarray, profile: bytes) -> np.ndarray | None:
    """Return pixels as sRGB by an ICC profile, or None if that cannot be."""
    encoding, is_srgb = _understood(profile)
    if is_srgb:
        return pixels
    converted = _by_littlecms(pixels, profile) if pixels.dtype == np.uint8 else None
    if converted is None and encoding is not None:
        converted = encoding.to_srgb(pixels)
    return converted


@functools.lru_cache(8)  # a folder's pictures come from one camera
def _understood(profile: bytes) -> tuple[Encoding | None, bool]:
    """Return what a profile says, or None where that is tables or nonsense, and whether it is sRGB."""
    try:
        encoding = _of_profile(profile)
    except (ValueError, struct.error, KeyError):
        return None, False
    return encoding, encoding is not None and encoding.is_srgb()


def _by_littlecms(pixels: np.ndarray, profile: bytes) -> np.ndarray | None:
    try:
        from PIL import ImageCms
    except ImportError:
        return None
    mode = {b"GRAY": "L", b"RGB ": "RGB", b"CMYK": "CMYK"}[profile[16:20]]
    is_grey = pixels.shape[-1] == 1
    if is_grey and mode == "RGB":
        pixels = np.repeat(pixels, 3, axis=-1)
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        transform = ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), mode, "RGB")
        converted = np.asarray(ImageCms.applyTransform(_pillow(pixels, mode), transform))
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None
    return converted[..., 1:2] if is_grey else converted


def _pillow(pixels: np.ndarray, mode: str) -> Any:
    from PIL import Image

    return Image.frombytes(mode, pixels.shape[1::-1], np.ascontiguousarray(pixels).tobytes())


def _of_profile(profile: bytes) -> Encoding | None:
    """Return what an ICC profile of curves, and a matrix for RGB, says; None for one of tables."""
    (count,) = struct.unpack_from(">I", profile, 128)
    if count > 200:
        raise ValueError("too many tags")
    places = {}
    for i in range(count):
        name, start, size = struct.unpack_from(">4sII", profile, 132 + 12 * i)
        places[name] = profile[start : start + size]
    if any(name in places for name in (b"A2B0", b"A2B1", b"A2B2", b"D2B0")):
        return None
    if profile[16:20] == b"GRAY":
        curve = _curve(places[b"kTRC"])
        is_lightness = profile[20:24] == b"Lab "
        return Encoding(((lambda values: _of_lightness(curve(values))) if is_lightness else curve,), SRGB.matrix)
    if profile[16:20] != b"RGB " or profile[20:24] != b"XYZ ":
        return None
    columns = [struct.unpack_from(">3i", places[name], 8) for name in (b"rXYZ", b"gXYZ", b"bXYZ")]
    curves = tuple(_curve(places[name]) for name in (b"rTRC", b"gTRC", b"bTRC"))
    return Encoding(curves, np.array(columns, float).T / 65536)


def _of_lightness(values: np.ndarray) -> np.ndarray:
    """Return linear light for CIE's lightness, 0 to 1."""
    return np.where(values <= 0.08, values * 100 / 903.3, ((values + 0.16) / 1.16) ** 3)


def _curve(tag: bytes) -> Curve:
    """Return an ICC profile's curve: a table, a power, or a power with a linear start."""
    if tag[:4] == b"curv":
        (count,) = struct.unpack_from(">I", tag, 8)
        table = np.array(struct.unpack_from(f">{count}H", tag, 12), float)
        if count == 0:
            return power(1.0)
        if count == 1:
            return power(table[0] / 256)
        return lambda values: np.interp(values, np.linspace(0, 1, count), table / 65535)
    if tag[:4] != b"para":
        raise ValueError("no curve")
    (kind,) = struct.unpack_from(">H", tag, 8)
    if kind > 4:
        raise ValueError("no curve that is known")
    given = np.array(struct.unpack_from(f">{(1, 3, 4, 5, 7)[kind]}i", tag, 12)) / 65536
    # Y = (a X + b)^g + e from X = d on, and c X + f before.
    g, a, b, c, d, e, f = given[0], 1.0, 0.0, 0.0, -np.inf, 0.0, 0.0
    if kind >= 1:
        a, b = given[1:3]
        d = -b / a if a else np.inf
    if kind == 2:
        e = f = given[3]
    if kind >= 3:
        c, d = given[3:5]
    if kind == 4:
        e, f = given[5:7]
    return lambda values: np.where(values >= d, np.maximum(a * values + b, 0) ** g + e, c * values + f)
