"""The filters of the pyramid in the frequency domain as arrays, under the names of plenoptic's buffers.

The kernels compute masks where they are used. These are for who looks at them.
"""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

NAMES = re.compile(r"lo0mask|hi0mask|_(?:hi|lo|angle)masks_scale_\d+|_anglemasks_recon_scale_\d+")

_RADIAL_ENTRIES, _ANGULAR_ENTRIES = 256, 1024  # of plenoptic's and pyrtools' tables


def mask(pyramid: Any, name: str) -> Array:
    """Return a mask of a `SteerablePyramidFreq`, zero frequency in the middle, float64.

    Args:
        pyramid: The pyramid.
        name: As `NAMES` has it. ``lo0mask`` is (1, 1, 1, H, W), ``_anglemasks_scale_i`` (1, 1, K, H_i, W_i),
            ``_anglemasks_recon_scale_i`` (K, H_i, W_i), all others (1, H, W) of their scale.

    Raises:
        AttributeError: The pyramid has no such scale.
    """
    if name in ("lo0mask", "hi0mask"):
        radial = _radial(pyramid, _grid(pyramid, 0)[0], 0, is_low=name == "lo0mask")
        return radial[None, None, None] if name == "lo0mask" else radial[None]
    kind, scale = name.rpartition("_")[0], int(name.rpartition("_")[2])
    if scale >= pyramid.num_scales:
        raise AttributeError(f"{name}: the pyramid's scales are 0 to {pyramid.num_scales - 1}")
    # The lowpass mask of a scale acts on what is left after every second frequency was dropped.
    is_low = kind == "_lomasks_scale"
    log_radius, angle = _grid(pyramid, scale + (is_low and pyramid.downsample))
    if kind in ("_himasks_scale", "_lomasks_scale"):
        return _radial(pyramid, log_radius, scale + 1, is_low=is_low)[None]
    is_inverse = kind == "_anglemasks_recon_scale"
    bands = [
        _angular(pyramid, angle, b, is_half=pyramid.is_complex and not is_inverse) for b in range(pyramid.order + 1)
    ]
    return np.stack(bands) if is_inverse else np.stack(bands)[None, None]


def _grid(pyramid: Any, octave: int) -> tuple[Array, Array]:
    """Return the logarithm of the radius (1 is half the sampling rate) and the angle of each frequency of an octave."""
    axes, is_table = [], pyramid.masks == "lut"
    for n in pyramid.image_shape:
        # Tables are on a grid that has no frequency 0 where the size is odd.
        axis = np.linspace(-1, 1, n + 1)[:-1] if is_table else (np.arange(n) - n // 2) * (2 / n)
        for _ in range(octave if pyramid.downsample else 0):
            length = -(-len(axis) // 2)
            first = len(axis) // 2 - length // 2
            axis = axis[first : first + length]
        axes.append(axis)
    y, x = axes
    radius = np.hypot(x[None, :], y[:, None])
    row, column = len(y) // 2, len(x) // 2
    if is_table:
        radius[row, column] = radius[row, column - 1]
    with np.errstate(divide="ignore"):
        return np.log2(radius), np.arctan2(y[:, None], x[None, :])


def _radial(pyramid: Any, log_radius: Array, octave: int, *, is_low: bool) -> Array:
    """Return the raised cosine that ends an octave, from 0 to 1 (high) or from 1 to 0 (low)."""
    width = pyramid.twidth
    if pyramid.masks == "lut":
        phase = np.pi * np.arange(-_RADIAL_ENTRIES - 1, 2) / (2 * _RADIAL_ENTRIES)
        power = np.cos(phase) ** 2
        power[0], power[-1] = power[1], power[-2]
        positions = -width / 2 + (2 * width / np.pi) * (phase + np.pi / 4) - octave
        high = np.sqrt(power)
        values = np.sqrt(1 - high**2) if is_low else high
        return np.interp(log_radius.ravel(), positions, values).reshape(log_radius.shape)
    share = np.clip((log_radius + octave) / width + 1, 0, 1) * (np.pi / 2)
    return np.cos(share) if is_low else np.sin(share)


def _angular(pyramid: Any, angle: Array, band: int, *, is_half: bool) -> Array:
    """Return the power of a cosine around a band's orientation, on half of the directions for complex bands."""
    order = pyramid.order
    k = order + 1
    norm = 2**order * math.factorial(order) / math.sqrt(k * math.factorial(2 * order))
    offset = np.pi * band / k
    if pyramid.masks == "lut":
        turn = np.pi * np.arange(-(2 * _ANGULAR_ENTRIES + 1), _ANGULAR_ENTRIES + 2) / _ANGULAR_ENTRIES
    else:
        turn = angle - offset
    values = norm * np.cos(turn) ** order
    if is_half:
        values = 2 * values * (np.abs((turn + np.pi) % (2 * np.pi) - np.pi) < np.pi / 2)
    if pyramid.masks == "lut":
        values = np.interp(angle.ravel(), turn + offset, values).reshape(angle.shape)
    return values
