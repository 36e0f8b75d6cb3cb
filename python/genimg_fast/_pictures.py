"""What the systems accept as a picture, and how a result comes back in the same kind."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from genimg_fast._core.backend import is_tensor, plain
from genimg_fast._system import called

Planes = np.ndarray  # (..., channels, height, width), float32 or float64

MIN_SIDE = 8  # pixels: the smallest side that holds a pyramid of one scale
MAX_CHANNELS = 4

# Where black and white lie: the integers whose largest value is white, and how far floats may leave [0, 1].
_WHITE = {"uint8": 255.0, "uint16": 65535.0}
_OVERSHOOT = 0.25

_EXACT = 1 << 24  # float32 holds every integer up to it
_FAR = 8.0  # times how much pictures vary: values that lie further from 0 count as an offset


def as_array(x: Any) -> np.ndarray:
    """Return the values of an array, a tensor or nested numbers, without their gradient."""
    return x.numpy(force=True) if is_tensor(x) else np.asarray(x)


@dataclass(frozen=True)
class Kind:
    """How a caller holds pictures: container, device, dtype and axes.

    Attributes:
        dtype: As the caller gave it.
        device: torch.device, or None for arrays.
        has_channels: Whether there is an axis for them.
        working: The NumPy dtype to compute in: float32, or float64 where float32 cannot hold every value.
    """

    dtype: Any
    device: Any
    has_channels: bool
    working: np.dtype

    @property
    def name(self) -> str:
        """The dtype's name, without its byte order."""
        return str(self.dtype).removeprefix("torch.") if self.device is not None else self.dtype.name

    @property
    def is_integer(self) -> bool:
        return not self.dtype.is_floating_point if self.device is not None else self.dtype.kind in "ui"

    @property
    def unit(self) -> float:
        """What stands for white in pictures of this kind (see `in_unit_range`)."""
        return _WHITE.get(self.name, 1.0)

    def lift(self, planes: Planes) -> Any:
        """Bring planes to where the caller's pictures live (same dtype, NumPy or torch)."""
        if self.device is None:
            return planes
        import torch

        return torch.from_numpy(np.ascontiguousarray(planes)).to(self.device)

    def stack(self, parts: Sequence[Any], axis: int) -> Any:
        """Stack lifted planes along a new axis."""
        if self.device is None:
            return np.stack(parts, axis)
        import torch

        return torch.stack(list(parts), axis)

    def pack(self, planes: Any) -> Any:
        """Turn lifted planes (..., C, H, W) into the caller's dtype and axes; integers are rounded and clipped."""
        if self.device is None:
            return self._pack_array(planes)
        if self.is_integer:
            planes = planes.round().clamp(*self._limits(planes))
        planes = planes.to(self.dtype)
        return planes if self.has_channels else planes[..., 0, :, :]

    def pack_tensor(self, planes: Any) -> Any:
        """Pack planes (..., C, H, W) that were computed in a tensor on any device."""
        return self.pack(planes.numpy(force=True) if self.device is None else planes.to(self.device))

    def _pack_array(self, planes: Planes) -> np.ndarray:
        if self.is_integer:
            planes = np.clip(np.rint(planes), *self._limits(planes))
        planes = planes.astype(self.dtype)
        return np.ascontiguousarray(np.moveaxis(planes, -3, -1)) if self.has_channels else planes[..., 0, :, :]

    def _limits(self, planes: Any) -> tuple[float, float]:
        """Return the least and the largest integer of the dtype that floats like the planes hold."""
        limits = np.iinfo(self.name)
        wide = np.dtype(np.float64 if "64" in str(planes.dtype) else np.float32).type
        most = wide(limits.max)
        return float(limits.min), float(most if int(most) <= limits.max else np.nextafter(most, wide(0)))


def kind_of(image: Any, name: str) -> Kind:
    """Return the kind of a picture: an array (H, W) or (H, W, C), or a tensor (H, W) or (..., C, H, W).

    Args:
        image: The picture, of floats or integers.
        name: The argument's name, for errors.

    Raises:
        TypeError: Not an array or tensor, or of a complex or boolean dtype; masked values; a tensor without values.
        ValueError: A number of axes that no picture has.
    """
    image = plain(called(), name, image) if type(image) is not np.ndarray else image
    if is_tensor(image):
        shapes, fits = "(H, W) or (..., C, H, W)", image.ndim >= 2
        device: Any = image.device
    else:
        shapes, fits = "(H, W) or (H, W, C)", image.ndim in (2, 3)
        device = None
    if not _is_real(image):
        raise TypeError(f"{name} must hold real floats or integers, got dtype {image.dtype}")
    if not fits:
        raise ValueError(f"{name} must have the shape {shapes}, got {tuple(image.shape)}")
    return Kind(image.dtype, device, image.ndim > 2, _working(image))


def _is_real(x: Any) -> bool:
    """Tell whether an array or a tensor holds floats of at least 16 bits or integers."""
    if not is_tensor(x):
        return x.dtype.kind in "uif"
    name = str(x.dtype)
    return not x.is_complex() and not any(other in name for other in ("bool", "float8", "float4", "bits"))


def _working(image: Any) -> np.dtype:
    """Return the dtype to compute in: wide integers need float64 where their values do."""
    wide = np.dtype(np.float64)
    narrow = np.dtype(np.float32)
    floating = image.is_floating_point() if is_tensor(image) else image.dtype.kind == "f"
    if image.dtype.itemsize <= (4 if floating else 2):
        return narrow
    if floating:
        return wide
    values = as_array(image)
    return narrow if not values.size or max(-int(values.min()), int(values.max())) <= _EXACT else wide


def unpack(image: Any, kind: Kind, name: str) -> Planes:
    """Return the planes (..., C, H, W) of a picture of a kind, in NumPy, in the dtype to compute in.

    Raises:
        ValueError: More than 4 channels or none, a side under 8 pixels, NaN or infinity.
    """
    image = plain(called(), name, image)
    planes = image if kind.has_channels else image[None]
    if kind.device is None:
        planes = np.moveaxis(planes, -1, 0) if kind.has_channels else planes
        planes = np.ascontiguousarray(planes, dtype=kind.working)
    channels, height, width = planes.shape[-3:]
    if not 1 <= channels <= MAX_CHANNELS:
        shape = tuple(image.shape)
        raise ValueError(
            f"{name} must have 1 to {MAX_CHANNELS} channels, got {channels} (shape {shape}){axes_hint(image, name)}"
        )
    if min(height, width) < MIN_SIDE:
        raise ValueError(
            f"{name} must be at least {MIN_SIDE}x{MIN_SIDE} pixels, got {height}x{width}{axes_hint(image, name)}"
        )
    if kind.device is not None:
        import torch

        dtype = torch.float64 if kind.working == np.float64 else torch.float32
        planes = planes.detach().to("cpu", dtype).contiguous().numpy()
    bad = planes.size - np.count_nonzero(np.isfinite(planes))
    if bad:
        raise ValueError(f"{name} must be finite everywhere, but {bad} of its values are NaN or infinite")
    return planes


def axes_hint(image: Any, name: str) -> str:
    """Return how to order a picture's axes where the other container's order would make it one, or nothing."""
    ndim, shape = image.ndim, tuple(image.shape)
    if is_tensor(image) and ndim >= 3 and 1 <= shape[-1] <= MAX_CHANNELS and min(shape[-3:-1]) >= MIN_SIDE:
        order = ", ".join(map(str, (*range(ndim - 3), ndim - 1, ndim - 3, ndim - 2)))
        return f"; tensors have the channels first: {name}.permute({order})"
    if not is_tensor(image) and ndim == 3 and 1 <= shape[0] <= MAX_CHANNELS and min(shape[1:]) >= MIN_SIDE:
        return f"; arrays have the channels last: {name}.transpose(1, 2, 0)"
    return ""


def in_unit_range(planes: Planes, kind: Kind, name: str) -> Planes:
    """Return a picture's planes where 0 is black and 1 is white, for systems that need to know.

    White is the largest value of uint8 and of uint16; floats lie in [0, 1], or leave it a little.

    Raises:
        TypeError: Other integers, of which nobody knows what is white.
        ValueError: Floats far outside [0, 1].
    """
    low, high = (float(planes.min()), float(planes.max())) if planes.size else (0.0, 1.0)
    if kind.is_integer:
        if kind.name not in _WHITE:
            narrowed = ".astype(numpy.uint8)" if kind.device is None else ".to(torch.uint8)"
            raise TypeError(
                f"{name} must hold uint8, uint16 or floats in [0, 1], got {kind.name} from {low:g} to {high:g}; for "
                f"values from 0 to 255 give {name}{narrowed}"
            )
        return planes / planes.dtype.type(kind.unit)
    if low < -_OVERSHOOT or high > 1 + _OVERSHOOT:
        signed = low >= -1 - _OVERSHOOT and high <= 1 + _OVERSHOOT
        what = f"from -1 to 1 give ({name} + 1) / 2" if signed else f"from 0 to 255 give {name} / 255"
        raise ValueError(f"{name} must lie in [0, 1], got {kind.name} from {low:g} to {high:g}; for values {what}")
    return planes


def unit_planes(image: Any, name: str) -> tuple[Planes, Kind]:
    """Return the planes (..., C, H, W) of a picture, 0 for black and 1 for white, and its kind."""
    kind = kind_of(image, name)
    return in_unit_range(unpack(image, kind, name), kind, name), kind


def as_planes(pictures: Any, name: str) -> list[Planes]:
    """Return the planes (..., C, H, W), in [0, 1], of one picture or of a list of them."""
    if not isinstance(pictures, (list, tuple)):
        return [unit_planes(pictures, name)[0]]
    if not pictures:
        raise ValueError(f"{name} must be a picture or a list of at least one, got an empty list")
    return [unit_planes(picture, f"{name}[{i}]")[0] for i, picture in enumerate(pictures)]


def with_channels(planes: Planes, channels: int) -> Planes:
    """Return planes with a number of channels; grey ones count as equal channels."""
    return planes if planes.shape[-3] == channels else np.repeat(planes, channels, axis=-3)


def mask_of(mask: Any, name: str, shape: tuple[int, int], of: str) -> np.ndarray:
    """Return a mask (H, W), float64 in [0, 1].

    Booleans, floats in [0, 1], integers 0 and 1, and uint8 and uint16, whose largest value then stands for 1.

    Args:
        mask: An array (H, W) or (H, W, 1), a tensor (H, W) or (1, H, W), or nested numbers.
        name: Of the argument, for errors.
        shape: (H, W).
        of: What shape that is, for errors.

    Raises:
        TypeError: Another dtype or kind.
        ValueError: Another shape, or values outside what is accepted.
    """
    values = as_array(_numbers(mask, name))
    axis = 0 if is_tensor(mask) else -1
    if values.ndim == 3 and values.shape[axis] == 1:
        values = values.squeeze(axis)
    if values.shape != shape:
        raise ValueError(f"{name} must have {of} {shape}, got {tuple(values.shape)}")
    if values.dtype.kind in "ui" and values.size and not 0 <= values.min() <= values.max() <= 1:
        if values.dtype.name not in _WHITE:
            raise TypeError(
                f"{name} must hold booleans, floats in [0, 1], 0 and 1, or uint8 or uint16, got {values.dtype} from "
                f"{values.min()} to {values.max()}; for values from 0 to 255 give {name}.astype(numpy.uint8)"
            )
        return values / _WHITE[values.dtype.name]
    values = values.astype(np.float64)
    if not ((values >= 0) & (values <= 1)).all():
        raise ValueError(f"{name} must lie in [0, 1], got values from {values.min():g} to {values.max():g}")
    return values


def numbers_of(x: Any, name: str) -> np.ndarray:
    """Return an array, a tensor or nested numbers, as an array of float64."""
    return as_array(_numbers(x, name)).astype(np.float64)


def _numbers(x: Any, name: str) -> Any:
    """Return an array or a tensor of real numbers or booleans, or refuse it by name."""
    if isinstance(x, (list, tuple)):
        try:
            x = np.asarray(x)
        except ValueError as error:
            raise ValueError(f"{name} must be a regular array: {error}") from None
    x = plain(called(), name, x)
    if not _is_real(x) and str(x.dtype).removeprefix("torch.") != "bool":
        raise TypeError(f"{name} must hold real numbers or booleans, got dtype {x.dtype}")
    return x.to(dtype=sys.modules["torch"].float32) if is_tensor(x) and str(x.dtype) == "torch.bfloat16" else x


@dataclass(frozen=True)
class Unit:
    """A unit in which pictures of any range compute alike, for each place of a batch: (x - shift) / 2**exponent.

    Both steps are exact, so that a result in it goes back as if it had been computed in the caller's own: the shift is
    0 but where pictures vary little around a value that is one of theirs.

    Attributes:
        shift: (*batch, 1, 1, 1), float64.
        exponent: (*batch, 1, 1, 1), integers.
    """

    shift: np.ndarray
    exponent: np.ndarray

    @classmethod
    def of(cls, pictures: Sequence[Planes]) -> Unit:
        """Return the unit of pictures (*batch, C, H, W), in which they vary by at most 1."""
        axes = (-3, -2, -1)
        low = np.min([one.min(axes, keepdims=True) for one in pictures], axis=0).astype(np.float64)
        high = np.max([one.max(axes, keepdims=True) for one in pictures], axis=0).astype(np.float64)
        # Halves, for the widest range has twice the largest float.
        half, largest = high / 2 - low / 2, np.maximum(abs(low), abs(high)) / 2
        is_far = largest > _FAR * half
        varies = np.where(half > 0, half, np.where(largest > 0, largest, 0.5))
        fraction, exponent = np.frexp(varies)
        return cls(np.where(is_far, low, 0.0), exponent + 1 - (fraction == 0.5))

    def at(self, place: tuple[int, ...]) -> Unit:
        """Return the unit of a place."""
        return Unit(self.shift[place], self.exponent[place])

    def enter(self, planes: Planes) -> Planes:
        """Return planes (*batch, C, H, W) in this unit."""
        return np.ldexp(planes - self.shift.astype(planes.dtype), -self.exponent).astype(planes.dtype)

    def leave(self, planes: Any) -> Any:
        """Return planes (..., *batch, C, H, W) of this unit, NumPy or torch, in the caller's."""
        # In two steps: the power itself may be beyond what the dtype holds.
        first = self.exponent // 2
        for power in (first, self.exponent - first):
            planes = planes * _like(np.ldexp(1.0, power), planes)
        return planes + _like(self.shift, planes) if self.shift.any() else planes


def _like(x: np.ndarray, planes: Any) -> Any:
    return planes.new_tensor(x) if is_tensor(planes) else x.astype(planes.dtype)
