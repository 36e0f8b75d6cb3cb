"""The steerable pyramid in the spatial domain: direct convolutions with the published filters."""

from __future__ import annotations

import operator
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from genimg_fast import _numpy
from genimg_fast._core.backend import is_tensor

if TYPE_CHECKING:
    import torch

    Image = TypeVar("Image", np.ndarray, torch.Tensor)
else:
    Image = TypeVar("Image")

Key = str | tuple[int, int]
ORDERS = (0, 1, 3, 5)
# In the order of csrc/steerable/space_formula.h.
EDGE_TYPES = ("reflect1", "reflect2", "repeat", "zero", "extend", "circular", "dont-compute")
RESIDUALS = ("residual_highpass", "residual_lowpass")


class SteerablePyramidSpace:
    """Steerable pyramid by convolution with the filters sp0, sp1, sp3 or sp5, as in pyrtools and matlabPyrTools.

    An image is split into a highpass residual, ``order + 1`` oriented bands at each of ``height`` scales, and a lowpass
    residual. Each scale keeps every second row and column of the one before. The filters are short and only nearly
    complementary, so that reconstruction is approximate: of uniform noise in [0, 1] the largest error is about 0.016
    for order 0 and 0.25 to 0.29 for the others. ``SteerablePyramidFreq`` reconstructs exactly.

    Simoncelli & Freeman, "The steerable pyramid: a flexible architecture for multi-scale derivative computation", ICIP
    1995; filters designed as in Karasaridis & Simoncelli, ICASSP 1996.

    Args:
        image_shape: Height and width in pixels, each at least as long as the filters (``min_size``).
        height: Number of scales, or "auto" for as many as fit: scales are added while the image, halved for each, is no
            shorter than the lowpass filter (13, 17, 17, 9 taps for the orders 0, 1, 3, 5).
        order: Of the derivatives that the bands take: 0, 1, 3 or 5.
        edge_type: What stands beyond the image's edges. "reflect1": the image, reflected about its edge pixels;
            "reflect2": reflected with the edge pixels doubled; "repeat": the edge pixels; "zero": zero; "extend":
            reflected about the edge pixels and their value, which keeps slopes; "circular": the image again;
            "dont-compute": outputs whose filter overhangs are zero.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: An argument has an unknown value, or the image is too small for the height.

    Attributes:
        num_scales: Number of scales.
        num_orientations: Number of bands a scale, ``order + 1``.
        pyr_size: Height and width of each coefficient, by key.

    Example:
        >>> pyramid = gf.SteerablePyramidSpace((512, 512), order=3)
        >>> coefficients = pyramid(image)          # OrderedDict: "residual_highpass", (0, 0), ..., "residual_lowpass"
        >>> again = pyramid.recon_pyr(coefficients)
    """

    def __init__(
        self,
        image_shape: Sequence[int],
        height: int | str = "auto",
        order: int = 1,
        *,
        edge_type: str = "reflect1",
    ) -> None:
        self.order = _checked_order("order", order)
        self.edge_type = _checked_edge("edge_type", edge_type)
        self.image_shape = _checked_shape(image_shape)
        self.num_orientations = self.order + 1
        self.num_scales = _checked_height(height, self.image_shape, self.order)
        self.pyr_size: dict[Key, tuple[int, int]] = {RESIDUALS[0]: self.image_shape}
        size = self.image_shape
        for scale in range(self.num_scales):
            self.pyr_size |= {(scale, b): size for b in range(self.num_orientations)}
            size = ((size[0] + 1) // 2, (size[1] + 1) // 2)
        self.pyr_size[RESIDUALS[1]] = size
        self._keys = tuple(self.pyr_size)
        self._positions = {key: i for i, key in enumerate(self._keys)}
        self._names = {key: f"pyr_coeffs[{key!r}]" for key in self._keys}  # compilers cannot make these

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({self.image_shape}, height={self.num_scales}, order={self.order}, "
            f"edge_type={self.edge_type!r})"
        )

    def __call__(self, x: Image) -> OrderedDict[Key, Image]:
        """Return the coefficients of an image or of a batch of images.

        Args:
            x: ``(..., H, W)`` array or tensor with the height and width of ``image_shape``; float16, bfloat16 (both
                computed in float32), float32 or float64.

        Returns:
            Coefficients of the same kind, dtype and device, ``(..., H_i, W_i)``, by key: "residual_highpass", then
            ``(scale, orientation)`` from the finest scale on, then "residual_lowpass".

        Raises:
            TypeError: ``x`` is not an array or tensor of floats.
            ValueError: ``x`` has another height or width.
        """
        maps = _maps_for("x", x)
        if tuple(x.shape[-2:]) != self.image_shape or x.ndim < 2:
            raise ValueError(f"x must be (..., {self.image_shape[0]}, {self.image_shape[1]}), got {tuple(x.shape)}")
        edge = EDGE_TYPES.index(self.edge_type)
        coefficients = maps.analysis(x, tuple(range(len(self._keys))), self.order, self.num_scales, edge)
        return OrderedDict(zip(self._keys, coefficients, strict=True))

    def recon_pyr(
        self,
        pyr_coeffs: Mapping[Key, Image],
        levels: str | int | Iterable[str | int] = "all",
        bands: str | int | Iterable[int] = "all",
        *,
        order: int | None = None,
        edge_type: str | None = None,
    ) -> Image:
        """Reconstruct the image from all coefficients or some of them; the others count as zero.

        Args:
            pyr_coeffs: Coefficients by key, as returned by calling the pyramid. Those that are not used may be missing.
            levels: "all", or one or several of the scales ``0 .. num_scales - 1``, "residual_highpass" and
                "residual_lowpass".
            bands: "all", or one or several of the orientations ``0 .. num_orientations - 1``.
            order: Of the filters to reconstruct with, if not the pyramid's. Orientations that they lack are left out.
            edge_type: To reconstruct with, if not the pyramid's.

        Returns:
            ``(..., H, W)``, of the kind, dtype and device of the coefficients.

        Raises:
            TypeError: A coefficient is not an array or tensor of floats, or not of the same kind as the others.
            ValueError: ``levels``, ``bands``, ``order`` or ``edge_type`` has an unknown value; a coefficient is missing
                or does not have its size.
        """
        order = self.order if order is None else _checked_order("order", order)
        edge_type = self.edge_type if edge_type is None else _checked_edge("edge_type", edge_type)
        if order != self.order:
            _checked_height(self.num_scales, self.image_shape, order)
        keys = self._chosen_keys(levels, bands, order + 1)
        for key in keys:
            if key not in pyr_coeffs:
                raise ValueError(f"pyr_coeffs: the coefficient {key!r} is missing")
        if not keys:
            return self._zeros_like_image(pyr_coeffs)
        chosen = [pyr_coeffs[key] for key in keys]
        self._check_coefficients(keys, chosen)
        positions = tuple(self._position(key, order) for key in keys)
        maps = _maps_for("pyr_coeffs", chosen[0])
        return maps.synthesis(chosen, positions, self.image_shape, order, self.num_scales, EDGE_TYPES.index(edge_type))

    def _position(self, key: Key, order: int) -> int:
        """Number a coefficient as a pyramid of this height and another order does."""
        if isinstance(key, str):
            return 0 if key == RESIDUALS[0] else 1 + self.num_scales * (order + 1)
        return 1 + key[0] * (order + 1) + key[1]

    def _chosen_keys(self, levels: Any, bands: Any, orientations: int) -> list[Key]:
        chosen_levels = _choice("levels", levels, range(self.num_scales), RESIDUALS)
        chosen_bands = _choice("bands", bands, range(self.num_orientations), ())
        return [
            key
            for key in self._keys
            if (key in chosen_levels if isinstance(key, str) else key[0] in chosen_levels and key[1] in chosen_bands)
            and (isinstance(key, str) or key[1] < orientations)
        ]

    def _check_coefficients(self, keys: Sequence[Key], coefficients: Sequence[Any]) -> None:
        first = coefficients[0]
        batch = tuple(getattr(first, "shape", ()))[:-2]
        for key, c in zip(keys, coefficients, strict=True):
            if type(c) is not type(first) and not (is_tensor(c) and is_tensor(first)):
                raise TypeError(
                    f"pyr_coeffs: all coefficients must be of one kind, got {type(first).__name__} for {keys[0]!r} and "
                    f"{type(c).__name__} for {key!r}"
                )
            _maps_for(self._names[key], c)
            if c.dtype != first.dtype or getattr(c, "device", None) != getattr(first, "device", None):
                raise ValueError(
                    f"pyr_coeffs: all coefficients must have one dtype and device, got {_kind(first)} for {keys[0]!r} "
                    f"and {_kind(c)} for {key!r}"
                )
            if tuple(c.shape) != (*batch, *self.pyr_size[key]):
                raise ValueError(
                    f"pyr_coeffs[{key!r}] must have shape {(*batch, *self.pyr_size[key])}, got {tuple(c.shape)}"
                )

    def _zeros_like_image(self, pyr_coeffs: Mapping[Key, Any]) -> Any:
        for c in pyr_coeffs.values():
            shape = (*c.shape[:-2], *self.image_shape)
            return np.zeros(shape, c.dtype) if isinstance(c, np.ndarray) else c.new_zeros(shape)
        raise ValueError("pyr_coeffs must hold at least one coefficient, got an empty mapping")


def _kind(x: Any) -> str:
    return f"{x.dtype} on {x.device}" if is_tensor(x) else str(x.dtype)


class _ArrayMaps:
    """The pyramid's maps on NumPy arrays."""

    @staticmethod
    def analysis(x: np.ndarray, positions: Sequence[int], order: int, levels: int, edge: int) -> list[np.ndarray]:
        out = _numpy.space_analysis(_kernel_array(x), order, levels, edge)
        return [c.astype(x.dtype, copy=False) for c in out]

    @staticmethod
    def synthesis(
        coefficients: Sequence[np.ndarray],
        positions: Sequence[int],
        shape: tuple[int, int],
        order: int,
        levels: int,
        edge: int,
    ) -> np.ndarray:
        out = _numpy.space_synthesis([_kernel_array(c) for c in coefficients], positions, *shape, order, levels, edge)
        return out.astype(coefficients[0].dtype, copy=False)


def _kernel_array(x: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(x, np.float64 if x.dtype.itemsize == 8 else np.float32)


def _maps_for(name: str, x: Any) -> Any:
    """Return the implementation that serves x, an array or tensor of floats."""
    if isinstance(x, np.ndarray):
        if x.dtype.kind != "f" or x.dtype.itemsize > 8:
            raise TypeError(f"{name} must be float16, float32 or float64, got {x.dtype}")
        return _ArrayMaps
    if is_tensor(x):
        from genimg_fast.steerable import _space_torch

        _space_torch.check_dtype(name, x)
        return _space_torch
    raise TypeError(f"{name} must be a numpy.ndarray or a torch.Tensor, got {type(x).__name__}")


def _checked_order(name: str, order: object) -> int:
    if isinstance(order, bool) or not hasattr(order, "__index__"):
        raise TypeError(f"{name} must be one of {', '.join(map(str, ORDERS))}, got {order!r}")
    value = operator.index(order)  # type: ignore[arg-type]
    if value not in ORDERS:
        raise ValueError(
            f"{name} must be one of {', '.join(map(str, ORDERS))}, got {value} (SteerablePyramidFreq takes 0 to 15)"
        )
    return value


def _checked_edge(name: str, edge_type: object) -> str:
    if edge_type not in EDGE_TYPES:
        raise ValueError(f"{name} must be one of {', '.join(EDGE_TYPES)}, got {edge_type!r}")
    return str(edge_type)


def _checked_shape(image_shape: Any) -> tuple[int, int]:
    try:
        height, width = (operator.index(n) for n in image_shape)
    except (TypeError, ValueError) as error:
        raise TypeError(f"image_shape must be two integers (height, width), got {image_shape!r}") from error
    return height, width


def _filter_sizes(order: int) -> tuple[int, int]:
    """Return the longest filter that the image itself meets, and the longest that a scale meets."""
    filters = _numpy.spatial_filters(order)
    return max(len(filters["hi0"]), len(filters["lo0"])), max(len(filters["lo"]), len(filters["bands"][0]))


def _checked_height(height: Any, image_shape: tuple[int, int], order: int) -> int:
    image_size, scale_size = _filter_sizes(order)
    shorter = min(image_shape)
    if shorter < image_size:
        raise ValueError(
            f"image_shape must be at least {image_size} x {image_size}, the filters' size for order {order}, got "
            f"{image_shape[0]} x {image_shape[1]}"
        )
    most = 0
    while shorter >> most >= scale_size:
        most += 1
    if isinstance(height, str):
        if height != "auto":
            raise ValueError(f'height must be "auto" or an integer from 0 to {most}, got {height!r}')
        return most
    if isinstance(height, bool) or not hasattr(height, "__index__"):
        raise TypeError(f'height must be "auto" or an integer from 0 to {most}, got {height!r}')
    if not 0 <= operator.index(height) <= most:
        raise ValueError(
            f'height must be "auto" or an integer from 0 to {most} for an image of {image_shape[0]} x {image_shape[1]} '
            f"and order {order}, got {height}"
        )
    return operator.index(height)


def _choice(name: str, chosen: Any, numbers: range, words: Sequence[str]) -> set[str | int]:
    """Return the set that "all", one element or several elements of numbers and words stand for."""
    if isinstance(chosen, str) and chosen == "all":
        return {*numbers, *words}
    several = [chosen] if isinstance(chosen, str) or hasattr(chosen, "__index__") else chosen
    accepted = ['"all"', *(f'"{word}"' for word in words)] + ([f"0 to {len(numbers) - 1}"] if numbers else [])
    message = f"{name} must be one or several of {', '.join(accepted)}, got {chosen!r}"
    if not isinstance(several, Iterable):
        raise TypeError(message)
    out: set[str | int] = set()
    for one in several:
        value = one if isinstance(one, str) or not hasattr(one, "__index__") else operator.index(one)
        if value not in words and (isinstance(value, str) or value not in numbers):
            raise ValueError(message)
        out.add(value)
    return out
