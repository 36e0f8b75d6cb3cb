"""The steerable pyramid in the frequency domain, real and complex."""

from __future__ import annotations

import dataclasses
import math
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import numpy as np

from genimg_fast import _numpy
from genimg_fast._core import backend as check
from genimg_fast.steerable._freq_map import FreqMap

if TYPE_CHECKING:
    import torch

Array = TypeVar("Array", bound="np.ndarray | torch.Tensor")
Scale = int | Literal["residual_highpass", "residual_lowpass"]

_HIGHPASS: Literal["residual_highpass"] = "residual_highpass"
_NAME = "SteerablePyramidFreq"
_LOWPASS: Literal["residual_lowpass"] = "residual_lowpass"


class SteerablePyramidFreq:
    r"""Steerable pyramid, computed in the frequency domain; boundaries are circular.

    The image is split into a highpass residual, ``height`` octaves of ``order + 1`` orientations each, and a lowpass
    residual. The squared filters add up to 1 at every frequency, so that ``recon_pyr(pyr(x))`` is ``x`` up to rounding,
    for any size, order and height. Band ``b`` has the angular part :math:`(-i)^o c \cos^o(\theta - \pi b / K)`,
    ``K = order + 1``: an even filter for even orders, an odd one for odd orders. Masks are computed where they are
    used; the object holds no arrays and serves every device and dtype.

    Signature, keys and shapes are those of plenoptic 2.1.1.

    Args:
        image_shape: (height, width) of the images in pixels, each at least 2.
        height: Number of octaves, from 0 to ``floor(log2(min(image_shape))) - 2``; "auto" takes the largest.
        order: Order of the directional derivative that the filters are, 0 to 15.
        twidth: Width of the radial transition between octaves, in octaves; any positive number.
        is_complex: Bands are complex: the imaginary part is the Hilbert transform of the band along its orientation.
        downsample: Each octave has half the height and width (rounded up) of the one before; if False all have the
            image's, and band ``i`` is multiplied by ``2**i``.
        tight_frame: Scale the coefficients so that their energy is that of the image. Not for complex bands of order 0:
            the Hilbert transform of a filter without a direction does not have its energy at all frequencies.
        masks: "exact" evaluates the filters' formulas. "lut" gives the coefficients of pyrtools 1.1.1 to rounding: it
            interpolates in tables, which limits reconstruction to about 1e-5, and for odd sizes has its grid
            off-centre, with which reconstruction is worse than 1e-3.

    Attributes:
        image_shape, order, twidth, is_complex, downsample, tight_frame, masks: As given.
        num_scales: Number of octaves.
        num_orientations: ``order + 1``.
        scales: Keys of the coefficients from coarse to fine.
        pyr_size: (height, width) of the coefficients by key.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: An argument is out of range.

    References:
        Simoncelli & Freeman, The steerable pyramid, ICIP 1995. Portilla & Simoncelli, A parametric texture model, IJCV
        2000, eq. 3-5.
    """

    def __init__(
        self,
        image_shape: Sequence[int],
        height: Literal["auto"] | int = "auto",
        order: int = 3,
        twidth: float = 1,
        is_complex: bool = False,
        downsample: bool = True,
        tight_frame: bool = False,
        *,
        masks: Literal["exact", "lut"] = "exact",
    ) -> None:
        self.image_shape = check_image_shape(_NAME, image_shape, "two integers, (height, width)", ValueError)
        if min(self.image_shape) < 2:
            raise ValueError(
                f"{_NAME}: image_shape must be at least 2 pixels in both directions, got {self.image_shape}"
            )
        self.num_scales = _check_height(height, self.image_shape)
        self.order = check.integer(_NAME, "order", order, 0, 15)
        self.twidth = _check_twidth(twidth)
        if not isinstance(masks, str) or masks not in ("exact", "lut"):
            raise ValueError(f"{_NAME}: masks must be 'exact' or 'lut', got {check.shown(masks)}")
        self.is_complex = check.flag(_NAME, "is_complex", is_complex)
        self.downsample = check.flag(_NAME, "downsample", downsample)
        self.tight_frame = check.flag(_NAME, "tight_frame", tight_frame)
        if self.tight_frame and self.is_complex and self.order == 0:
            raise ValueError(
                f"{_NAME}: tight_frame must be False for complex pyramids of order 0, got True: their one filter has "
                "no direction, so that its imaginary part cannot hold half of the energy; take order >= 1"
            )
        self.masks = masks
        self.num_orientations = self.order + 1
        self._keys: tuple[Scale, ...] = (_HIGHPASS, *range(self.num_scales), _LOWPASS)
        self.scales = list(self._keys[::-1])
        self._forward, self._backward = self._maps()
        self.pyr_size = OrderedDict((key, self._forward.size(k)) for k, key in enumerate(self._keys))
        self._shapes = {key: self._forward.shape(k) for k, key in enumerate(self._keys)}
        self._names = {key: f"pyr_coeffs[{key!r}]" for key in self._keys}  # compilers cannot make these

    def __repr__(self) -> str:
        return (
            f"SteerablePyramidFreq({self.image_shape}, height={self.num_scales}, order={self.order}, "
            f"twidth={self.twidth:g}, is_complex={self.is_complex}, downsample={self.downsample}, "
            f"tight_frame={self.tight_frame}, masks={self.masks!r})"
        )

    def _maps(self) -> tuple[FreqMap, FreqMap]:
        """Return the analysis, and the synthesis that undoes it."""
        height, width = self.image_shape
        table = self.masks == "lut"
        oversampling = 0 if self.downsample else self.num_scales
        pyramid = (height, width, self.num_scales, self.order, int(self.is_complex), oversampling, int(table))
        every = (1, *[2**self.num_orientations - 1] * self.num_scales, 1)
        fused = _numpy.steerable_freq_has_fused_transform(pyramid, self.twidth)
        unscaled = FreqMap(pyramid, self.twidth, every, (1.0,) * len(every), fused)
        forward, backward = [], []
        for k in range(len(every)):
            octave = max(k - 1, 0)
            image, coefficient = height * width, math.prod(unscaled.size(k))
            if self.tight_frame:
                # A complex band has the energy of two.
                complex_band = math.sqrt(2) if self.is_complex and unscaled.is_band(k) else 1
                forward.append(1 / math.sqrt(image * coefficient) / complex_band)
                backward.append(1 / math.sqrt(image * coefficient) * complex_band)
            else:
                doubling = 1 if self.downsample else 2**octave
                forward.append(doubling / coefficient)
                backward.append(1 / (image * doubling))
        return (
            dataclasses.replace(unscaled, scales=tuple(forward)),
            # The real part of complex bands is the band of the real pyramid, which holds the image.
            dataclasses.replace(unscaled, scales=tuple(backward), real_part=self.is_complex),
        )

    def __call__(self, x: Array, scales: Scale | Sequence[Scale] | None = None) -> OrderedDict[Scale, Array]:
        """Return the coefficients of an image.

        Args:
            x: Array or tensor (H, W), (C, H, W), (B, C, H, W) or with any other leading dimensions; float16, bfloat16,
                float32 or float64, of any range. NaN and infinity spread over all coefficients, as in any Fourier
                transform.
            scales: Which coefficients to return: a key, or several; None for all.

        Returns:
            An ordered dict from fine to coarse: "residual_highpass" (..., H, W); 0 to ``num_scales - 1`` (..., K, H_i,
            W_i); "residual_lowpass" (..., H_n, W_n). Real coefficients have the dtype of ``x`` (half types are computed
            in float32), complex ones are complex64 or, for float64, complex128.

        Raises:
            TypeError: ``x`` is no array or tensor of floats.
            ValueError: Its last two dimensions are not ``image_shape``, or ``scales`` names no scale of this pyramid.
        """
        door, x = _door(_NAME, x, "x")
        if not door.is_real(x):
            raise TypeError(f"{_NAME}: x must hold {door.REAL}, got {x.dtype}")
        batch = tuple(x.shape[:-2])
        if tuple(x.shape) != (*batch, *self.image_shape):
            height, width = self.image_shape
            raise ValueError(f"{_NAME}: x must have the shape (..., {height}, {width}), got {tuple(x.shape)}")
        m = self._forward
        if scales is not None:
            chosen = self._check_scales(_NAME, "scales", scales)
            m = m.only([key in chosen for key in self._keys])
        outputs = door.analysis(m, _with_batch(door.working(x, door.is_double(x)), batch, (-1,)))
        result: OrderedDict[Scale, Array] = OrderedDict()
        for key, output in zip(self._keys_of(m), outputs, strict=True):
            output = _with_batch(output, (-1,), batch)
            result[key] = output if self._has_complex(key) else door.cast(output, x.dtype)
        return result

    def recon_pyr(
        self,
        pyr_coeffs: Mapping[Scale, Array],
        levels: Literal["all"] | Scale | Sequence[Scale] = "all",
        bands: Literal["all"] | int | Sequence[int] = "all",
    ) -> Array:
        """Return the image of coefficients, or of some of them.

        Args:
            pyr_coeffs: Coefficients with the keys and shapes that a call returns. Of complex bands only the real part
                counts.
            levels: The keys to use; "all" for all.
            bands: The orientations to use, 0 to ``order``; "all" for all. Residuals have none and stay.

        Returns:
            (..., H, W), real, in the promoted dtype of the coefficients used (complex64 counts as float32).

        Raises:
            TypeError: A coefficient is no array or tensor of floats.
            ValueError: A key is missing, a shape does not fit, coefficients are on different devices, or ``levels`` or
                ``bands`` names what this pyramid does not have.
        """
        function = f"{_NAME}.recon_pyr"
        m = self._selection(function, levels, bands)
        keys = self._keys_of(m)
        door, batch, checked = self._check_coefficients(function, pyr_coeffs, keys)
        coefficients = checked if keys else []
        dtype = door.real_dtype(checked)
        if not coefficients:
            return door.zeros((*batch, *self.image_shape), dtype, checked[0])
        double = any(door.is_double(c) for c in coefficients)
        flat = [_with_batch(door.working(c, double), batch, (-1,)) for c in coefficients]
        return door.cast(_with_batch(door.synthesis(m, flat), (-1,), batch), dtype)

    def steer_coeffs(
        self, pyr_coeffs: Mapping[Scale, Array], angles: Iterable[float], even_phase: bool = True
    ) -> tuple[dict[int, Array], dict[int, Array]]:
        """Return bands at other orientations than the pyramid's.

        A real band at any angle is a weighted sum of those of its octave (Freeman & Adelson 1991). A complex one has
        that sum as its real part, and as its imaginary part the sum's Hilbert transform along the new angle: it is
        exactly the band of the filter turned by the angle.

        Args:
            pyr_coeffs: Coefficients with the keys and shapes that a call returns; residuals are not needed.
            angles: The A new orientations, in radians; ``pi * b / num_orientations`` is that of band ``b``.
            even_phase: Whether the angular harmonics of the filters are taken as cosines at their orientations, as
                those of this pyramid are, or as sines.

        Returns:
            Two dicts by scale: the steered bands (..., A, H_i, W_i), and the weights (K, A) of the sums.

        Raises:
            TypeError: A coefficient is no array or tensor of the pyramid's kind of numbers.
            ValueError: A scale is missing or has the wrong shape, or an angle is not finite.
        """
        function = f"{_NAME}.steer_coeffs"
        if (
            isinstance(angles, (str, bytes, Mapping))
            or not isinstance(angles, Iterable)
            or not getattr(angles, "ndim", 1)
        ):
            raise TypeError(f"{function}: angles must be several numbers, got {check.shown(angles)}")
        angles = [check.number(function, "angles", angle) for angle in angles]
        even_phase = check.flag(function, "even_phase", even_phase)
        door, _, bands = self._check_coefficients(function, pyr_coeffs, range(self.num_scales))
        matrix = _steering_weights(self.num_orientations, np.array(angles), even_phase)
        steered, weights = {}, {}
        for level in range(self.num_scales):
            band = bands[level]
            weights[level] = door.constant(matrix, band.real)
            steered[level] = door.einsum("...khw,ka->...ahw", band.real, weights[level])
            if self.is_complex:
                steered[level] = door.join(steered[level], self._hilbert(steered[level], angles, door))
        return steered, weights

    def _hilbert(self, bands: Array, angles: Sequence[float], door: Any) -> Array:
        """Return the Hilbert transform of each of the bands (..., A, h, w) along its angle."""
        height, width = bands.shape[-2:]
        ky = np.fft.fftfreq(height, 1 / height)[:, None]
        kx = np.arange(width // 2 + 1)[None, :]
        inside = (2 * abs(ky) < height) & (2 * kx < width)  # half the sampling rate has no direction
        x, y = kx / self.image_shape[1], ky / self.image_shape[0]
        sign = np.stack([np.sign(x * math.cos(angle) + y * math.sin(angle)) * inside for angle in angles])
        spectrum = door.fft.rfft2(door.working(bands, door.is_double(bands)))
        return door.fft.irfft2(spectrum * door.constant(-1j * sign, spectrum), s=(height, width))

    @staticmethod
    def convert_pyr_to_tensor(
        pyr_coeffs: Mapping[Scale, Array], split_complex: bool = False
    ) -> tuple[Array, tuple[int, list[Scale], list[tuple[int, ...]], list[tuple[int, ...]] | bool]]:
        """Stack all coefficients along the channel axis; they come from a pyramid with ``downsample=False``.

        Args:
            pyr_coeffs: Coefficients of images (..., C, H, W).
            split_complex: Give the real and the imaginary part of each complex band as two neighbouring channels,
                instead of making all channels complex.

        Returns:
            An array (..., C * N, H, W) of the N coefficients of each channel, fine to coarse, channel by channel; and
            what ``convert_tensor_to_pyr`` needs to undo this: the number of channels, the keys, the number of
            orientations of each as a tuple, and with ``split_complex`` those of the real channels, else False.

        Raises:
            TypeError: ``split_complex`` was asked for real bands.
            ValueError: Sizes differ between scales, or there is no channel axis.
        """
        function = f"{_NAME}.convert_pyr_to_tensor"
        if not isinstance(pyr_coeffs, Mapping):
            raise TypeError(f"{function}: pyr_coeffs must be a dict of coefficients, got {type(pyr_coeffs).__name__}")
        split_complex = check.flag(function, "split_complex", split_complex)
        keys = list(pyr_coeffs)
        if not keys:
            raise ValueError(f"{function}: pyr_coeffs must have at least one scale, got none")
        found = [_door(function, c, f"pyr_coeffs[{key!r}]") for key, c in pyr_coeffs.items()]
        door = found[0][0]
        if any(one is not door for one, _ in found):
            raise TypeError(f"{function}: pyr_coeffs must be all arrays or all tensors")
        pyr_coeffs = dict(zip(keys, (c for _, c in found), strict=True))
        # Residuals get an axis of one orientation.
        parts = [c[..., None, :, :] if isinstance(key, str) else c for key, c in pyr_coeffs.items()]
        if any(part.ndim < 4 for part in parts):
            raise ValueError(f"{function}: pyr_coeffs must be those of images (..., channel, height, width)")
        if len({tuple(c.shape[:-3]) + tuple(c.shape[-2:]) for c in parts}) > 1:
            raise ValueError(
                f"{function}: pyr_coeffs must have the same size at all scales, as those of a pyramid with "
                "downsample=False have; "
                f"got { ({key: tuple(c.shape) for key, c in pyr_coeffs.items()}) }"
            )
        info: list[tuple[int, ...]] = [() if isinstance(key, str) else (c.shape[-3],) for key, c in pyr_coeffs.items()]
        split: list[tuple[int, ...]] | bool = False
        if split_complex and any(not isinstance(key, str) for key in keys):
            parts = [c if isinstance(key, str) else _interleave(c, door) for key, c in zip(keys, parts, strict=True)]
            bands = 2 * sum(count[0] for count in info if count)
            split = [*(() for key in keys if key == _HIGHPASS), (bands,), *(() for key in keys if key == _LOWPASS)]
        packed = door.concatenate(parts, -3)
        channels = packed.shape[-4]
        shape = (*packed.shape[:-4], channels * packed.shape[-3], *packed.shape[-2:])
        return packed.reshape(shape), (channels, keys, info, split)

    @staticmethod
    def convert_tensor_to_pyr(
        pyr_tensor: Array,
        num_channels: int,
        pyr_keys: Sequence[Scale],
        pack_info: Sequence[tuple[int, ...]],
        split_complex_pack_info: Sequence[tuple[int, ...]] | bool,
    ) -> OrderedDict[Scale, Array]:
        """Undo ``convert_pyr_to_tensor``: ``convert_tensor_to_pyr(tensor, *info)``.

        Args:
            pyr_tensor: (..., C * N, H, W).
            num_channels: C.
            pyr_keys: The keys of the coefficients.
            pack_info: The number of orientations of each as a tuple, empty for residuals.
            split_complex_pack_info: Anything but False says that complex bands are split in two channels.

        Returns:
            The coefficients by key; residuals are real.

        Raises:
            ValueError: The tensor does not have the channels that the rest describes.
        """
        function = f"{_NAME}.convert_tensor_to_pyr"
        door, pyr_tensor = _door(function, pyr_tensor, "pyr_tensor")
        num_channels = check.integer(function, "num_channels", num_channels, 1)
        split = split_complex_pack_info is not False
        counts = [math.prod(count) * (2 if split and count else 1) for count in pack_info]
        if pyr_tensor.ndim < 3 or pyr_tensor.shape[-3] != num_channels * sum(counts):
            raise ValueError(
                f"{function}: pyr_tensor must have {num_channels * sum(counts)} channels, got {tuple(pyr_tensor.shape)}"
            )
        *leading, _, height, width = pyr_tensor.shape
        unpacked: Any = pyr_tensor.reshape(*leading, num_channels, sum(counts), height, width)
        result: OrderedDict[Scale, Array] = OrderedDict()
        start = 0
        for key, orientations, count in zip(pyr_keys, pack_info, counts, strict=True):
            part = unpacked[..., start : start + count, :, :]
            start += count
            if not orientations:
                result[key] = part[..., 0, :, :].real
            else:
                result[key] = door.join(part[..., ::2, :, :], part[..., 1::2, :, :]) if split else part
        return result

    # What the arguments name, as the maps have it; and what is wrong with them.

    def _keys_of(self, m: FreqMap) -> list[Scale]:
        return [key for key, bits in zip(self._keys, m.subset, strict=True) if bits]

    def _has_complex(self, key: Scale) -> bool:
        return self.is_complex and not isinstance(key, str)

    def _check_scales(self, function: str, name: str, scales: Any) -> set[Scale]:
        chosen: list[Any] = (
            [scales] if isinstance(scales, (str, int)) or not isinstance(scales, Iterable) else list(scales)
        )
        for key in chosen:
            if not isinstance(key, (str, int, np.integer)) or isinstance(key, bool) or key not in self.pyr_size:
                raise ValueError(f"{function}: {name} must be among {list(self._keys)}, got {check.shown(key)}")
        return set(chosen)

    def _selection(
        self,
        function: str,
        levels: Literal["all"] | Scale | Sequence[Scale],
        bands: Literal["all"] | int | Sequence[int],
    ) -> FreqMap:
        """Return the reconstruction from some levels and bands."""
        every_level, every_band = (isinstance(x, str) and x == "all" for x in (levels, bands))
        if every_level and every_band:
            return self._backward
        if every_level:
            levels = self._keys
        chosen = self._check_scales(function, "levels", levels)
        bits = 2**self.num_orientations - 1
        if not every_band:
            orientations = [bands] if not isinstance(bands, Iterable) or isinstance(bands, str) else list(bands)
            bits = 0
            for band in orientations:
                number = -1 if isinstance(band, str) else check.integer(function, "bands", band)
                if not 0 <= number < self.num_orientations:
                    raise ValueError(
                        f"{function}: bands must be among 0 to {self.num_orientations - 1} or 'all', got "
                        f"{check.shown(band)}"
                    )
                bits |= 1 << number
        m = self._backward
        subset = [s & bits if m.is_band(k) else s for k, s in enumerate(m.subset)]
        return dataclasses.replace(
            m, subset=tuple(s if key in chosen else 0 for key, s in zip(self._keys, subset, strict=True))
        )

    def _check_coefficients(
        self, function: str, pyr_coeffs: Mapping[Scale, Array], keys: Iterable[Scale]
    ) -> tuple[Any, tuple[int, ...], list[Array]]:
        """Return the door of the coefficients with the given keys, or else of the first; their batch's shape; them."""
        if not isinstance(pyr_coeffs, Mapping):
            raise TypeError(f"{function}: pyr_coeffs must be a dict of coefficients, got {type(pyr_coeffs).__name__}")
        keys = list(keys) or list(pyr_coeffs)[:1] or self._keys
        for key in keys:
            if key not in pyr_coeffs or key not in self._shapes:
                raise ValueError(
                    f"{function}: pyr_coeffs must have the scales {list(self._keys)}, got "
                    f"{check.shown(list(pyr_coeffs))}"
                )
        door, first = _door(function, pyr_coeffs[keys[0]], self._names[keys[0]])
        batch = tuple(first.shape[: -len(self._shapes[keys[0]])])
        device = None if door.KIND == "arrays" else first.device
        return door, batch, [self._coefficient(function, key, pyr_coeffs[key], door, batch, device) for key in keys]

    def _coefficient(
        self, function: str, key: Scale, c: Array, door: Any, batch: tuple[int, ...], device: Any
    ) -> Array:
        """Return a coefficient as a plain array or tensor."""
        if device is not None and check.is_tensor(c) and c.device != device:
            raise ValueError(
                f"{function}: pyr_coeffs[{key!r}] must be on {device}, like the other coefficients, got {c.device}"
            )
        own, c = _door(function, c, self._names[key])
        if own is not door:
            raise TypeError(
                f"{function}: pyr_coeffs[{key!r}] must be of the kind of the other coefficients, {door.KIND}, got "
                f"{own.KIND}"
            )
        if not (door.is_complex if self._has_complex(key) else door.is_real)(c):
            expected = door.COMPLEX if self._has_complex(key) else door.REAL
            raise TypeError(f"{function}: pyr_coeffs[{key!r}] must hold {expected}, got {c.dtype}")
        if tuple(c.shape) != (*batch, *self._shapes[key]):
            shape = ", ".join(map(str, (*batch, *self._shapes[key])))
            raise ValueError(f"{function}: pyr_coeffs[{key!r}] must have the shape ({shape}), got {tuple(c.shape)}")
        return c


def _interleave(bands: Any, door: Any) -> Any:
    """Return complex bands (..., K, h, w) as real ones (..., 2 K, h, w)."""
    if not door.is_complex(bands):
        raise TypeError(f"{_NAME}.convert_pyr_to_tensor: split_complex=True needs complex bands, got {bands.dtype}")
    parts = door.split(bands)  # (..., K, 2, h, w)
    return parts.reshape(*parts.shape[:-4], 2 * parts.shape[-4], *parts.shape[-2:])


def _with_batch(x: Any, old: tuple[int, ...], new: tuple[int, ...]) -> Any:
    """Give x the batch shape ``new`` in place of ``old``."""
    return x if len(old) == len(new) == 1 else x.reshape(*new, *x.shape[len(old) :])


def _door(function: str, x: Any, name: str) -> tuple[Any, Any]:
    """Return the module that works on this kind of array, and it as a plain array or tensor."""
    door = _doors.get(type(x))
    if door is not None and door.is_plain(x):
        return door, x
    x = check.plain(function, name, x)
    door = _doors[type(x)] = _find_door(x)
    return door, x


_doors: dict[type, Any] = {}


def _find_door(x: Any) -> Any:
    if isinstance(x, np.ndarray):
        from genimg_fast.steerable import _freq_numpy

        return _freq_numpy
    from genimg_fast.steerable import _freq_torch

    return _freq_torch


def _steering_weights(orientations: int, angles: np.ndarray, even_phase: bool) -> np.ndarray:
    """Return the weights (orientations, angles) that make the filter at each angle of those of the pyramid."""
    # cos^order has the harmonics order, order - 2, ...
    harmonics = range(1 - orientations % 2, orientations, 2)

    def basis(at: np.ndarray, cosines: bool) -> np.ndarray:
        columns = []
        for h in harmonics:
            if h == 0:
                columns.append(np.ones_like(at))
            else:
                columns += [np.cos(h * at), np.sin(h * at)] if cosines else [np.sin(h * at), -np.cos(h * at)]
        return np.stack(columns, -1)

    own = np.pi * np.arange(orientations) / orientations
    return (basis(angles, True) @ np.linalg.inv(basis(own, even_phase))).T


def check_image_shape(function: str, image_shape: Any, wanted: str, error: type[Exception]) -> tuple[int, int]:
    """Return a height and a width, or refuse what is not ``wanted``, in words that help who gave the image."""
    hint = "; give image.shape[-2:]" if getattr(image_shape, "ndim", 1) > 1 else ""
    try:
        height, width = (check.integer(function, "image_shape", side) for side in image_shape)
    except (TypeError, ValueError):
        raise error(f"{function}: image_shape must be {wanted}, got {check.shown(image_shape)}{hint}") from None
    if max(height, width) >= 2**31:
        raise ValueError(f"{function}: image_shape must be less than 2**31 each way, got {check.shown(image_shape)}")
    return height, width


def _check_height(height: Any, image_shape: tuple[int, int]) -> int:
    largest = max(0, min(image_shape).bit_length() - 3)
    if isinstance(height, str) and height == "auto":
        return largest
    try:
        number = check.integer(_NAME, "height", height)
    except TypeError:
        raise TypeError(f"{_NAME}: height must be 'auto' or an integer, got {check.shown(height)}") from None
    if not 0 <= number <= largest:
        raise ValueError(
            f"{_NAME}: height must be 'auto' or from 0 to {largest} for image_shape {image_shape}, got "
            f"{check.shown(height)}"
        )
    return number


def _check_twidth(twidth: Any) -> float:
    try:
        width = check.number(_NAME, "twidth", twidth)
    except ValueError:
        width = 0.0
    if not width > 0:
        raise ValueError(f"{_NAME}: twidth must be positive and finite, got {check.shown(twidth)}")
    return width
