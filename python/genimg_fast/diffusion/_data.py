"""Pictures to train with: scikit-learn's digits, a folder, or arrays."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from genimg_fast import images
from genimg_fast._core import backend
from genimg_fast._system import warn
from genimg_fast.diffusion import _digits

DEFAULT_SIZES = {"digits": 16, "folder": 32}

_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp", ".bmp", ".gif")
# What systems and archivers leave in folders; names that begin with a dot are ignored too.
_NO_CONTENT = ("__macosx", "thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r")
_MOST_LABEL = 65535
_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


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
    if isinstance(data, str) and data == "digits":
        return Pictures(*_digits.digits(size or DEFAULT_SIZES["digits"]), _digits.CLASSES)
    if isinstance(data, (str, os.PathLike)):
        return _of_folder(Path(data), size or DEFAULT_SIZES["folder"])
    raise TypeError(f"data must be 'digits', a folder or a pair (images, labels), got {type(data).__name__}")


def _of_folder(folder: Path, size: int) -> Pictures:
    if not folder.is_dir():
        raise FileNotFoundError(f"data must be 'digits' or a folder of pictures; {folder} is no folder")
    top = _Listing.of(folder)
    listings = {one: _Listing.of(one) for one in top.folders}
    classes = {one: listing.pictures for one, listing in listings.items() if listing.pictures}
    if not classes and not top.pictures:
        raise ValueError(f"{folder} holds no pictures; accepted are {', '.join(_SUFFIXES)}, in a subfolder per class")
    _tell(folder, top, listings)
    names = [one.name for one in classes] or [Path(os.path.abspath(folder)).name or str(folder)]
    paths = [(path, label) for label, found in enumerate(classes.values() or [top.pictures]) for path in found]
    pictures = [_fitted(images.read(path, alpha="drop"), size) for path, _ in paths]
    if any(picture.ndim == 3 for picture in pictures):
        pictures = [p if p.ndim == 3 else np.repeat(p[..., None], 3, axis=-1) for p in pictures]
    planes = torch.from_numpy(np.stack(pictures)).view(len(pictures), size, size, -1).movedim(-1, 1).contiguous()
    return Pictures(planes, torch.tensor([label for _, label in paths]), tuple(names))


@dataclass
class _Listing:
    """What a folder holds, by what becomes of it; hidden files and what systems leave are not listed.

    Attributes:
        pictures: Files with the endings of pictures.
        folders: Folders, and links to them.
        others: How many other files there are, by their endings.
    """

    pictures: list[Path] = field(default_factory=list)
    folders: list[Path] = field(default_factory=list)
    others: Counter[str] = field(default_factory=Counter)

    @classmethod
    def of(cls, folder: Path) -> _Listing:
        found = cls()
        for path in sorted(folder.iterdir()):
            if path.name.startswith(".") or path.name.lower() in _NO_CONTENT:
                continue
            if path.is_dir():
                found.folders.append(path)
            elif not path.is_file():
                found.others["broken link" if path.is_symlink() else "no file"] += 1
            elif path.suffix.lower() in _SUFFIXES:
                found.pictures.append(path)
            else:
                found.others[path.suffix.lower() or "no ending"] += 1
        return found


def _tell(folder: Path, top: _Listing, listings: dict[Path, _Listing]) -> None:
    """Warn, once, of what a reader of the folder could take for a part of the training that is none."""
    classes = [one.name for one, listing in listings.items() if listing.pictures]
    lines = []
    if not classes:
        n = len(top.pictures)
        lines.append(f"it has no folders of classes, so its {n} picture{'s are' if n > 1 else ' is'} one class")
    elif top.pictures:
        lines.append(f"{len(top.pictures)} beside the folders of classes, such as {top.pictures[0].name}, are left out")
    empty = [one.name for one, listing in listings.items() if not listing.pictures]
    if empty:
        lines.append(f"folders without pictures are no classes: {_some(empty)}")
    nested = [
        f"{one.name}/{inner.name}" for one, found in listings.items() if found.pictures for inner in found.folders
    ]
    if nested:
        lines.append(f"folders in folders of classes are left out: {_some(nested)}")
    others = sum((listing.others for listing in listings.values()), top.others)
    if others:
        counts = ", ".join(f"{ending}: {n}" for ending, n in sorted(others.items()))
        lines.append(f"files that are no pictures are left out ({counts})")
    lowered = Counter(name.casefold() for name in classes)
    alike = [name for name in classes if lowered[name.casefold()] > 1]
    if alike:
        lines.append(f"names that differ in case alone are classes of their own: {_some(alike)}")
    if lines:
        warn(f"train: of the folder {folder}: {'; '.join(lines)}", UserWarning)


def _some(names: list[str]) -> str:
    return ", ".join(map(repr, names[:5])) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


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
    labels = _labels(pair[1])
    if labels.shape != tuple(planes.shape[:1]) or not len(labels) or int(labels.min()) < 0:
        raise ValueError(
            f"labels must be one integer from 0 for each of {len(planes)} images, got the shape {labels.shape}"
            + (f" and the smallest {int(labels.min())}" if labels.size else "")
        )
    if int(labels.max()) > _MOST_LABEL:
        raise ValueError(f"labels must be at most {_MOST_LABEL}, got {int(labels.max())}")
    numbers = torch.from_numpy(labels.astype(np.int64))
    return Pictures(planes, numbers, tuple(map(str, range(int(labels.max()) + 1))))


def _labels(given: Any) -> np.ndarray:
    """Return labels, in an array, a tensor or a list, as an array of integers."""
    if isinstance(given, (list, tuple, range)):
        try:
            given = np.asarray(given)
        except ValueError:  # of lists of different lengths
            raise TypeError("labels must be integers, got lists of different lengths") from None
    found = backend.plain("train", "labels", given)
    if backend.is_tensor(found):
        if found.dtype.is_floating_point or found.dtype.is_complex:
            raise TypeError(f"labels must be integers, got {found.dtype}")
        found = found.detach().cpu().numpy()
    if found.dtype.kind not in "iu":
        raise TypeError(f"labels must be integers, got {found.dtype}")
    return found


def _planes(pictures: Any) -> torch.Tensor:
    """Return arrays (N, H, W) or (N, H, W, C), or tensors (N, C, H, W), as planes of one of the two dtypes."""
    if not isinstance(pictures, np.ndarray) and not isinstance(pictures, torch.Tensor):
        raise TypeError(f"images must be a numpy array or a torch tensor, got {type(pictures).__name__}")
    pictures = backend.plain("train", "images", pictures)
    is_array = isinstance(pictures, np.ndarray)
    if is_array:
        planes = _of_array(pictures)
        planes = planes[:, None] if planes.ndim == 3 else planes.movedim(-1, 1)
    else:
        planes = pictures.detach().cpu()
    if planes.ndim != 4 or planes.shape[1] not in (1, 3):
        shapes = "(N, H, W) or (N, H, W, 3) as an array, (N, 1 or 3, H, W) as a tensor"
        raise ValueError(f"images must be {shapes}, got {tuple(pictures.shape)}")
    if planes.dtype == torch.uint8:
        return planes.contiguous()
    if planes.dtype not in _FLOATS:
        raise TypeError(f"images must be uint8 or floats in [0, 1], got {planes.dtype}")
    if not bool(((planes >= 0) & (planes <= 1)).all()):
        raise ValueError(f"images must lie in [0, 1], got {float(planes.min()):.3g} to {float(planes.max()):.3g}")
    return planes.float().contiguous()


def _of_array(pictures: np.ndarray) -> torch.Tensor:
    """Return a copy of an array as a tensor, whatever its layout is."""
    if pictures.dtype.kind == "f" and pictures.dtype.itemsize > 8:  # wider than torch's
        pictures = pictures.astype(np.float64)
    if pictures.dtype.kind not in "fiub":
        raise TypeError(f"images must be uint8 or floats in [0, 1], got {pictures.dtype}")
    return torch.from_numpy(np.array(pictures, order="C"))
