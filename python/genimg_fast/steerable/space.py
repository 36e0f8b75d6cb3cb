"""The steerable pyramid in the spatial domain: direct convolutions with the published filters."""

from __future__ import annotations

import operator
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from genimg_fast import _numpy
from genimg_fast._core import backend as check
from genimg_fast._core.backend import is_tensor
from genimg_fast.steerable.freq import check_image_shape

if TYPE_CHECKING:
    import torch

    Image = TypeVar("Image", np.ndarray, torch.Tensor)
else:
    Image = TypeVar("Image")

Key = str | tuple[int, int]
ORDERS = (0, 1, 3, 5)
# In the order of csrc/steerable/space_formula.h.
_NAME = "SteerablePyramidSpace"
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
        self.order = _checked_order(_NAME, order)
        self.edge_type = _checked_edge(_NAME, edge_type)
        self.image_shape = check_image_shape(_NAME, image_shape, "two integers (height, width)", TypeError)
        self.num_orientations = self.order + 1
        self.num_scales = _checked_height(_NAME, height, self.image_shape, self.order)
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
        maps, x = _maps_for(_NAME, "x", x)
        if tuple(x.shape[-2:]) != self.image_shape or x.ndim < 2:
            raise ValueError(
                f"{_NAME}: x must be (..., {self.image_shape[0]}, {self.image_shape[1]}), got {tuple(x.shape)}"
            )
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
        function = f"{_NAME}.recon_pyr"
        order = self.order if order is None else _checked_order(function, order)
        edge_type = self.edge_type if edge_type is None else _checked_edge(function, edge_type)
        if not isinstance(pyr_coeffs, Mapping):
            raise TypeError(f"{function}: pyr_coeffs must be a dict of coefficients, got {type(pyr_coeffs).__name__}")
        if order != self.order:
            _checked_height(function, self.num_scales, self.image_shape, order)
        keys = self._chosen_keys(function, levels, bands, order + 1)
        for key in keys:
            if key not in pyr_coeffs:
                raise ValueError(f"{function}: pyr_coeffs: the coefficient {key!r} is missing")
        if not keys:
            return self._zeros_like_image(function, pyr_coeffs)
        maps, chosen = self._checked_coefficients(function, keys, [pyr_coeffs[key] for key in keys])
        positions = tuple(self._position(key, order) for key in keys)
        return maps.synthesis(chosen, positions, self.image_shape, order, self.num_scales, EDGE_TYPES.index(edge_type))

    def _position(self, key: Key, order: int) -> int:
        """Number a coefficient as a pyramid of this height and another order does."""
        if isinstance(key, str):
            return 0 if key == RESIDUALS[0] else 1 + self.num_scales * (order + 1)
        return 1 + key[0] * (order + 1) + key[1]

    def _chosen_keys(self, function: str, levels: Any, bands: Any, orientations: int) -> list[Key]:
        chosen_levels = _choice(function, "levels", levels, range(self.num_scales), RESIDUALS)
        chosen_bands = _choice(function, "bands", bands, range(self.num_orientations), ())
        return [
            key
            for key in self._keys
            if (key in chosen_levels if isinstance(key, str) else key[0] in chosen_levels and key[1] in chosen_bands)
            and (isinstance(key, str) or key[1] < orientations)
        ]

    def _checked_coefficients(
        self, function: str, keys: Sequence[Key], coefficients: Sequence[Any]
    ) -> tuple[Any, list[Any]]:
        """Return the implementation that serves coefficients, and them as plain arrays or tensors."""
        first = coefficients[0]
        checked: list[Any] = []
        for key, c in zip(keys, coefficients, strict=True):
            both = is_tensor(c) and is_tensor(first)
            if not both and not (isinstance(c, np.ndarray) and isinstance(first, np.ndarray)):
                # What is no array at all is said by the reading, of the first as of the others.
                _maps_for(function, f"pyr_coeffs[{keys[0]!r}]", first)
                raise TypeError(
                    f"{function}: pyr_coeffs: all coefficients must be of one kind, got {type(first).__name__} for "
                    f"{keys[0]!r} and {type(c).__name__} for {key!r}"
                )
            if both and c.device != first.device:
                raise ValueError(self._one_kind(function, keys[0], first, key, c))
            maps, c = _maps_for(function, self._names.get(key, "pyr_coeffs"), c)
            if checked and c.dtype != checked[0].dtype:
                raise ValueError(self._one_kind(function, keys[0], checked[0], key, c))
            checked.append(c)
        batch = tuple(checked[0].shape[:-2])
        for key, c in zip(keys, checked, strict=True):
            if tuple(c.shape) != (*batch, *self.pyr_size[key]):
                raise ValueError(
                    f"{function}: pyr_coeffs[{key!r}] must have shape {(*batch, *self.pyr_size[key])}, got "
                    f"{tuple(c.shape)}"
                )
        return maps, checked

    @staticmethod
    def _one_kind(function: str, first_key: Key, first: Any, key: Key, c: Any) -> str:
        return (
            f"{function}: pyr_coeffs: all coefficients must have one dtype and device, got {_kind(first)} for "
            f"{first_key!r} and {_kind(c)} for {key!r}"
        )

    def _zeros_like_image(self, function: str, pyr_coeffs: Mapping[Key, Any]) -> Any:
        for key, c in pyr_coeffs.items():
            _, c = _maps_for(function, self._names.get(key, "pyr_coeffs"), c)
            shape = (*c.shape[:-2], *self.image_shape)
            return np.zeros(shape, c.dtype) if isinstance(c, np.ndarray) else c.new_zeros(shape)
        raise ValueError(f"{function}: pyr_coeffs must hold at least one coefficient, got an empty mapping")


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


def _maps_for(function: str, name: str, x: Any) -> tuple[Any, Any]:
    """Return the implementation that serves x, an array or tensor of floats, and x as a plain one."""
    if not (type(x) is np.ndarray and x.dtype.isnative and x.flags.aligned):
        x = check.plain(function, name, x)
    if isinstance(x, np.ndarray):
        if x.dtype.char not in "efd":
            raise TypeError(f"{function}: {name} must be float16, float32 or float64, got {x.dtype}")
        return _ArrayMaps, x
    from genimg_fast.steerable import _space_torch

    _space_torch.check_dtype(f"{function}: {name}", x)
    return _space_torch, x


def _checked_order(function: str, order: object) -> int:
    accepted = ", ".join(map(str, ORDERS))
    try:
        value = check.integer(function, "order", order)
    except TypeError:
        raise TypeError(f"{function}: order must be one of {accepted}, got {check.shown(order)}") from None
    if value not in ORDERS:
        raise ValueError(
            f"{function}: order must be one of {accepted}, got {check.shown(value)} (SteerablePyramidFreq takes 0 to "
            "15)"
        )
    return value


def _checked_edge(function: str, edge_type: object) -> str:
    if not isinstance(edge_type, str) or edge_type not in EDGE_TYPES:
        raise ValueError(f"{function}: edge_type must be one of {', '.join(EDGE_TYPES)}, got {check.shown(edge_type)}")
    return edge_type


def _filter_sizes(order: int) -> tuple[int, int]:
    """Return the longest filter that the image itself meets, and the longest that a scale meets."""
    filters = _numpy.spatial_filters(order)
    return max(len(filters["hi0"]), len(filters["lo0"])), max(len(filters["lo"]), len(filters["bands"][0]))


def _checked_height(function: str, height: Any, image_shape: tuple[int, int], order: int) -> int:
    image_size, scale_size = _filter_sizes(order)
    shorter = min(image_shape)
    if shorter < image_size:
        raise ValueError(
            f"{function}: image_shape must be at least {image_size} x {image_size}, the filters' size for order "
            f"{order}, got {image_shape[0]} x {image_shape[1]}"
        )
    most = 0
    while shorter >> most >= scale_size:
        most += 1
    if isinstance(height, str) and height == "auto":
        return most
    wanted = f'{function}: height must be "auto" or an integer from 0 to {most}'
    if isinstance(height, str):
        raise ValueError(f"{wanted}, got {check.shown(height)}")
    try:
        number = check.integer(function, "height", height)
    except TypeError:
        raise TypeError(f"{wanted}, got {check.shown(height)}") from None
    if not 0 <= number <= most:
        raise ValueError(
            f"{wanted} for an image of {image_shape[0]} x {image_shape[1]} and order {order}, got {check.shown(height)}"
        )
    return number


def _choice(function: str, name: str, chosen: Any, numbers: range, words: Sequence[str]) -> set[str | int]:
    """Return the set that "all", one element or several elements of numbers and words stand for."""
    if isinstance(chosen, str) and chosen == "all":
        return {*numbers, *words}
    several = [chosen] if isinstance(chosen, str) or hasattr(chosen, "__index__") else chosen
    accepted = ['"all"', *(f'"{word}"' for word in words)] + ([f"0 to {len(numbers) - 1}"] if numbers else [])
    message = f"{function}: {name} must be one or several of {', '.join(accepted)}, got {check.shown(chosen)}"
    if not isinstance(several, Iterable):
        raise TypeError(message)
    out: set[str | int] = set()
    for one in several:
        is_integer = hasattr(one, "__index__") and not isinstance(one, (bool, np.bool_)) and not getattr(one, "ndim", 0)
        if one not in words if isinstance(one, str) else not (is_integer and operator.index(one) in numbers):
            raise ValueError(message)
        out.add(one if isinstance(one, str) else operator.index(one))
    return out
