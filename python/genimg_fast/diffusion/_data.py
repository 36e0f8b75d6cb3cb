"""Pictures to train with: scikit-learn's digits, a folder, or arrays."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from genimg_fast import images
from genimg_fast.diffusion import _digits

DEFAULT_SIZES = {"digits": 16, "folder": 32}

_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff")


@dataclass(frozen=True)
class Pictures:
    """Square pictures with their classes.

    Attributes:
        planes: (N, C, S, S), uint8, or float32 in [0, 1].
        labels: (N,) int64.
        classes: The classes' names.
    """

    planes: torch.Tensor
    labels: torch.Tensor
    classes: tuple[str, ...]

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, S, S)."""
        channels, height, width = self.planes.shape[1:]
        return channels, height, width

    def batch(self, index: torch.Tensor) -> torch.Tensor:
        """Return the pictures of some indices, float32 in [-1, 1]."""
        chosen = self.planes[index]
        return chosen.float() * (2 / 255 if chosen.dtype == torch.uint8 else 2) - 1

    def fingerprint(self) -> str:
        """Return a number of pictures and labels, the same only for the same ones."""
        found = hashlib.sha256(repr((self.classes, tuple(self.planes.shape), str(self.planes.dtype))).encode())
        for part in (self.planes, self.labels):
            found.update(part.contiguous().numpy().tobytes())
        return found.hexdigest()


def load(data: Any, size: int | None) -> Pictures:
    """Return the pictures of "digits", of a folder, or of a pair (images, labels)."""
    if isinstance(data, (tuple, list)):
        return _of_arrays(data, size)
    if data == "digits":
        return Pictures(*_digits.digits(size or DEFAULT_SIZES["digits"]), _digits.CLASSES)
    if isinstance(data, (str, os.PathLike)):
        return _of_folder(Path(data), size or DEFAULT_SIZES["folder"])
    raise TypeError(f"data must be 'digits', a folder or a pair (images, labels), got {type(data).__name__}")


def _of_folder(folder: Path, size: int) -> Pictures:
    if not folder.is_dir():
        raise FileNotFoundError(f"data must be 'digits' or a folder of pictures; {folder} is no folder")
    folders = [one for one in sorted(folder.iterdir()) if one.is_dir() and any(_files(one))] or [folder]
    paths = [(path, label) for label, one in enumerate(folders) for path in _files(one)]
    if not paths:
        raise ValueError(f"{folder} holds no pictures; accepted are {', '.join(_SUFFIXES)}, in a subfolder per class")
    pictures = [_fitted(images.read(path, alpha="drop"), size) for path, _ in paths]
    if any(picture.ndim == 3 for picture in pictures):
        pictures = [p if p.ndim == 3 else np.repeat(p[..., None], 3, axis=-1) for p in pictures]
    planes = torch.from_numpy(np.stack(pictures)).view(len(pictures), size, size, -1).movedim(-1, 1).contiguous()
    return Pictures(planes, torch.tensor([label for _, label in paths]), tuple(one.name for one in folders))


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.iterdir()) if path.suffix.lower() in _SUFFIXES and path.is_file())


def _fitted(pixels: np.ndarray, size: int) -> np.ndarray:
    """Return the square in a picture's middle at another size, uint8."""
    from PIL import Image, ImageOps

    if pixels.dtype == np.uint16:
        pixels = (pixels / 257).round().astype(np.uint8)
    return np.asarray(ImageOps.fit(Image.fromarray(pixels), (size, size), Image.Resampling.LANCZOS))


def _of_arrays(pair: Any, size: int | None) -> Pictures:
    if len(pair) != 2:
        raise ValueError(f"data must be a pair (images, labels), got {len(pair)} entries")
    planes = _planes(pair[0])
    side = planes.shape[-1]
    if planes.shape[-2] != side or side != (size or side):
        wanted = f"{size}x{size}" if size else "square"
        raise ValueError(f"images must be {wanted}, got {planes.shape[-2]}x{side}")
    labels = torch.as_tensor(pair[1])
    if labels.dtype.is_floating_point or labels.dtype.is_complex or labels.dtype == torch.bool:
        raise TypeError(f"labels must be integers, got {labels.dtype}")
    if labels.shape != planes.shape[:1] or not len(labels) or int(labels.min()) < 0:
        raise ValueError(
            f"labels must be one integer from 0 for each of {len(planes)} images, got the shape {tuple(labels.shape)}"
            + (f" and the smallest {int(labels.min())}" if labels.numel() else "")
        )
    return Pictures(planes, labels.long().cpu(), tuple(map(str, range(int(labels.max()) + 1))))


def _planes(pictures: Any) -> torch.Tensor:
    """Return arrays (N, H, W) or (N, H, W, C), or tensors (N, C, H, W), as planes of one of the two dtypes."""
    is_array = isinstance(pictures, np.ndarray)
    if not is_array and not isinstance(pictures, torch.Tensor):
        raise TypeError(f"images must be a numpy array or a torch tensor, got {type(pictures).__name__}")
    planes = torch.from_numpy(pictures) if is_array else pictures.detach().cpu()
    if is_array:
        planes = planes[:, None] if planes.ndim == 3 else planes.movedim(-1, 1)
    if planes.ndim != 4 or planes.shape[1] not in (1, 3):
        shapes = "(N, H, W) or (N, H, W, 3) as an array, (N, 1 or 3, H, W) as a tensor"
        raise ValueError(f"images must be {shapes}, got {tuple(pictures.shape)}")
    if planes.dtype == torch.uint8:
        return planes.contiguous()
    if not planes.dtype.is_floating_point:
        raise TypeError(f"images must be uint8 or floats in [0, 1], got {planes.dtype}")
    if not bool(((planes >= 0) & (planes <= 1)).all()):
        raise ValueError(f"images must lie in [0, 1], got {float(planes.min()):.3g} to {float(planes.max()):.3g}")
    return planes.float().contiguous()
