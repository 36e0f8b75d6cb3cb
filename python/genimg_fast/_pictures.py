"""What the systems accept as a picture, and how a result comes back in the same kind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from genimg_fast._core.backend import is_tensor

Planes = np.ndarray  # (..., channels, height, width), float32 or float64

MIN_SIDE = 8  # pixels: the smallest side that holds a pyramid of one scale
MAX_CHANNELS = 4


def as_array(x: Any) -> np.ndarray:
    """Return the values of an array, a tensor or nested numbers, without their gradient."""
    return x.numpy(force=True) if is_tensor(x) else np.asarray(x)


@dataclass(frozen=True)
class Kind:
    """How a caller holds pictures: container, device, dtype and axes."""

    dtype: Any
    device: Any  # torch.device, or None for arrays
    has_channels: bool

    @property
    def is_integer(self) -> bool:
        return not self.dtype.is_floating_point if self.device is not None else self.dtype.kind in "ui"

    @property
    def working(self) -> Any:
        """The NumPy dtype to compute in: float32, or float64 where float32 cannot hold every value."""
        wide = self.dtype.itemsize > (2 if self.is_integer else 4)
        return np.dtype(np.float64 if wide else np.float32)

    @property
    def unit(self) -> float:
        """What stands for 1 in pictures of this kind: the largest integer of the dtype, and 1 for floats."""
        if not self.is_integer:
            return 1.0
        return float(np.iinfo(str(self.dtype).removeprefix("torch.")).max)

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
        import torch

        if self.is_integer:
            limits = torch.iinfo(self.dtype)
            planes = planes.round().clamp(limits.min, limits.max)
        planes = planes.to(self.dtype)
        return planes if self.has_channels else planes[..., 0, :, :]

    def pack_tensor(self, planes: Any) -> Any:
        """Pack planes (..., C, H, W) that were computed in a tensor on any device."""
        return self.pack(planes.numpy(force=True) if self.device is None else planes.to(self.device))

    def _pack_array(self, planes: Planes) -> np.ndarray:
        if self.is_integer:
            limits = np.iinfo(self.dtype)
            planes = np.clip(np.rint(planes), limits.min, limits.max)
        planes = planes.astype(self.dtype)
        return np.ascontiguousarray(np.moveaxis(planes, -3, -1)) if self.has_channels else planes[..., 0, :, :]


def kind_of(image: Any, name: str) -> Kind:
    """Return the kind of a picture: an array (H, W) or (H, W, C), or a tensor (H, W) or (..., C, H, W).

    Args:
        image: The picture, of floats or integers.
        name: The argument's name, for errors.

    Raises:
        TypeError: Not an array or tensor, or of a complex or boolean dtype.
        ValueError: A number of axes that no picture has.
    """
    if is_tensor(image):
        is_real = not image.is_complex() and "bool" not in str(image.dtype)
        kind, shapes, fits = (
            Kind(image.dtype, image.device, image.ndim > 2),
            "(H, W) or (..., C, H, W)",
            image.ndim >= 2,
        )
    elif isinstance(image, np.ndarray):
        is_real = image.dtype.kind in "uif"
        kind, shapes, fits = Kind(image.dtype, None, image.ndim > 2), "(H, W) or (H, W, C)", image.ndim in (2, 3)
    else:
        raise TypeError(f"{name} must be a numpy.ndarray or a torch.Tensor, got {type(image).__name__}")
    if not is_real:
        raise TypeError(f"{name} must hold real floats or integers, got dtype {image.dtype}")
    if not fits:
        raise ValueError(f"{name} must have the shape {shapes}, got {tuple(image.shape)}")
    return kind


def unpack(image: Any, kind: Kind, name: str) -> Planes:
    """Return the planes (..., C, H, W) of a picture of a kind, in NumPy, in the dtype to compute in.

    Raises:
        ValueError: More than 4 channels or none, a side under 8 pixels, NaN or infinity.
    """
    planes = image if kind.has_channels else image[None]
    if kind.device is None:
        planes = np.moveaxis(planes, -1, 0) if kind.has_channels else planes
        planes = np.ascontiguousarray(planes, dtype=kind.working)
    channels, height, width = planes.shape[-3:]
    if not 1 <= channels <= MAX_CHANNELS:
        raise ValueError(f"{name} must have 1 to {MAX_CHANNELS} channels, got {channels} (shape {tuple(image.shape)})")
    if min(height, width) < MIN_SIDE:
        raise ValueError(f"{name} must be at least {MIN_SIDE}x{MIN_SIDE} pixels, got {height}x{width}")
    if kind.device is not None:
        import torch

        dtype = torch.float64 if kind.working == np.float64 else torch.float32
        planes = planes.detach().to("cpu", dtype).contiguous().numpy()
    bad = planes.size - np.count_nonzero(np.isfinite(planes))
    if bad:
        raise ValueError(f"{name} must be finite everywhere, but {bad} of its values are NaN or infinite")
    return planes


def as_planes(pictures: Any, name: str) -> list[Planes]:
    """Return the planes (..., C, H, W), in [0, 1], of one picture or of a list of them."""
    listed = pictures if isinstance(pictures, (list, tuple)) else [pictures]
    if not listed:
        raise ValueError(f"{name} must be a picture or a list of at least one, got an empty list")
    kinds = [kind_of(picture, name) for picture in listed]
    return [unpack(picture, kind, name) / kind.unit for picture, kind in zip(listed, kinds, strict=True)]
