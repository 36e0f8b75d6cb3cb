"""Gram matrices of feature maps, and the losses on them.

The Gram matrix of features F (C channels, P pixels) is ``F @ F.T``, divided by what the normalisation says: the texture
statistic of L. A. Gatys, A. S. Ecker, M. Bethge, "Texture synthesis using convolutional neural networks", NIPS 2015.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from genimg_fast import _numpy
from genimg_fast._core import backend as check
from genimg_fast._kinds import Kinds


@dataclass(frozen=True)
class Normalization:
    """What a project calls the Gram matrix.

    Attributes:
        divisor: Of the sum over pixels, from the sizes B, C and P of features and the number of pixels.
        center: The channels' means are subtracted: a covariance matrix.
        identity: What is added to the diagonal.
        mixes_batch: Features of a batch count as channels of one: the matrix is (B C, B C).
    """

    divisor: Callable[[int, int, Any], Any]
    center: bool = False
    identity: float = 0.0
    mixes_batch: bool = False

    @property
    def is_adapted(self) -> bool:
        """Whether the matrix is anything but the products over the divisor."""
        return self.center or self.mixes_batch or self.identity != 0


_NONE = Normalization(lambda b, c, p: 1)
_HW = Normalization(lambda b, c, p: p)
_CHW = Normalization(lambda b, c, p: c * p)

NORMALIZATIONS = {
    "none": _NONE,
    "hw": _HW,
    "chw": _CHW,
    "gatys-deeptextures": _HW,
    "gatys-pytorch": _HW,
    "neural-image-synthesis": _HW,
    "crowsonkb": _HW,
    "jcjohnson": _CHW,
    "neural-style-pt": _CHW,
    "texture-nets": _CHW,
    "pytorch-examples": _CHW,
    "pytorch-tutorial": Normalization(lambda b, c, p: b * c * p, mixes_batch=True),
    "keras": _NONE,
    "wct": Normalization(lambda b, c, p: p - 1, center=True),
    "optimal-textures": Normalization(lambda b, c, p: p, center=True, identity=1.0),
}


@dataclass(frozen=True)
class Sums:
    """Of the differences of Gram matrices: what reductions are made of.

    Attributes:
        squares: Their sum over the batch; for ``"none"``, of each image.
        absolutes: That of the absolute values.
        count: How many numbers were summed.
        channels: C.
        area: The number of pixels of the picture.
    """

    squares: Any
    absolutes: Any
    count: int
    channels: int
    area: int | None


REDUCTIONS: dict[str, Callable[[Sums], Any]] = {
    "mean": lambda s: s.squares / s.count,
    "sum": lambda s: s.squares,
    "gatys-deeptextures": lambda s: s.squares / (4 * s.channels**2),
    "gatys-pytorch": lambda s: s.squares * (1e3 / s.channels**2 / s.count),
    "keras": lambda s: s.squares / (4 * 9 * s.area**2) if s.area else _needs_area(s.area),
    "crowsonkb": lambda s: s.squares / (s.absolutes + 1e-8),
}


_REDUCTIONS = (*REDUCTIONS, "none")


def _needs_area(area: Any) -> Any:
    raise ValueError(f"gram_loss: reduction 'keras' needs area, the number of pixels of the picture, got {area!r}")


NO_SHIFT = (0, 0)


def gram_matrix(
    features: Any,
    *,
    normalization: str = "hw",
    center: bool = False,
    mask: Any = None,
    mask_normalization: str = "pixels",
    other: Any = None,
    shift: tuple[int, int] = NO_SHIFT,
    spatial_dims: int = 2,
    channel_axis: int | None = None,
    allow_tf32: bool = False,
) -> Any:
    """Return the products of all pairs of channels, summed over the pixels and divided.

    Args:
        features: A float array or tensor (..., C, H, W), or (C, P). Strides of any kind are read as they are:
            channels-last tensors and slices are not copied.
        normalization: What the sum is divided by: ``"none"``, ``"hw"`` (the number of pixels), ``"chw"`` (that times
            the number of channels), or the name of a project whose definition is used: `NORMALIZATIONS`.
            ``"pytorch-tutorial"`` takes the features of a batch for channels of one: its matrix is (B C, B C).
            ``"wct"`` and ``"optimal-textures"`` are centred; the latter adds the identity.
        center: Subtract each channel's mean: the covariance. The means come from the same pass.
        mask: Factors (..., H, W) that multiply all channels (Gatys et al. 2017, guided Gram matrices), broadcast over
            the leading axes; boolean or real, not negative. Means are weighted by their squares. They get no gradient.
            Masked features (`numpy.ma`) bring a mask of their own: a pixel takes part where it is valid in every
            channel, and with a mask by its factor there.
        mask_normalization: ``"pixels"``: the number of pixels is H W with a mask too; ``"sum"``: it is the mask's sum.
        other: Features of another layer, of the same H and W: the matrix is (..., C, C of other), "cross-layer".
        shift: Rows and columns by which the second factor is shifted (Berger & Memisevic 2016): channel i at a pixel
            times channel j at that pixel plus the shift, over the pixels where both are inside.
        spatial_dims: 2, or 1 for features (..., C, P). An array of two axes is always (C, P).
        channel_axis: Where the channels are, if not before the spatial axes: -1 for (..., H, W, C).
        allow_tf32: On CUDA, float32 features may be rounded to TF32 (10 bits of mantissa) for the tensor cores.

    Returns:
        (..., C, C), of the kind and on the device of the features: float64 for float64, float32 for all other dtypes
        (a float16 sum would overflow). On the CPU the same bits for any number of threads. Differentiable any number of
        times by ``features`` and ``other``.

    Raises:
        TypeError: Not floats, or different kinds or dtypes.
        ValueError: Shapes that do not fit, or an unknown option; no pixels at all.
    """
    function = "gram_matrix"
    if mask is None and other is None and shift is NO_SHIFT and center is False and KINDS.tensors is not None:
        plain = channel_axis is None and spatial_dims == 2 and mask_normalization == "pixels"
        # Only words are looked up, and only what is True or False goes on to the kernels; all else is checked below.
        if plain and type(normalization) is str and (allow_tf32 is False or allow_tf32 is True):
            gram = KINDS.tensors.plain(features, NORMALIZATIONS.get(normalization), allow_tf32)
            if gram is not None:
                return gram
    maps = _maps(function, features, normalization, center, spatial_dims, channel_axis, allow_tf32)
    if other is not None:
        maps.pair(other, spatial_dims, channel_axis)
    if shift is not NO_SHIFT:
        maps.shift(shift, mask)
    if mask is not None or mask_normalization != "pixels" or maps.valid is not None:
        maps.mask(mask, mask_normalization)
    gram = maps.product()
    if maps.definition.identity:
        gram = gram + maps.definition.identity * maps.kind.eye(gram)
    return gram if len(maps.lead) == 1 else gram.reshape(maps.shape(gram))


def gram_loss(
    features: Any,
    target_gram: Any,
    *,
    normalization: str = "hw",
    reduction: str = "mean",
    weights: Sequence[float] | Mapping[Any, float] | None = None,
    relu: bool = False,
    mask: Any = None,
    mask_normalization: str = "pixels",
    center: bool = False,
    area: int | None = None,
    allow_tf32: bool = False,
) -> Any:
    """Return how far Gram matrices are from their targets: of one layer, or the weighted sum over several.

    The difference D = G - target is formed once, with the sums that the loss is made of, and the gradient by the
    features is one product with it, ``dF = 4 D F`` for ``"sum"`` and ``normalization="none"``.

    Args:
        features: As for `gram_matrix`, or a list or dict of layers, such as the networks of `genimg_fast.features`
            return.
        target_gram: A matrix as `gram_matrix` returns it, (..., C, C) or one (C, C) for all of a batch, or a list of
            them, one for each layer, or a dict with the keys of the features. It gets no gradient: one that requires a
            gradient is refused; detach it.
        normalization: As for `gram_matrix`.
        reduction: ``"mean"``: the mean of the squared differences, over batch and matrix (``mse_loss``); ``"sum"``;
            ``"gatys-deeptextures"``: their sum over 4 C^2; ``"gatys-pytorch"``: their mean times 1e3 / C^2;
            ``"keras"``: their sum over 4 * 9 * area^2; ``"crowsonkb"``: the sum of squares over the sum of absolute
            values; ``"none"``: a loss for each image, the mean over its matrix, so that their mean is that of
            ``"mean"``.
        weights: One for each layer, in their order or, of a dict of layers, by name; None: 1.
        relu: The features come out of a ReLU: where they are 0 their gradient is set to 0, as the ReLU would.
        mask, mask_normalization, center, allow_tf32: As for `gram_matrix`.
        area: The number of pixels of the picture, for ``"keras"``.

    Returns:
        A scalar, or for ``reduction="none"`` the losses (...) of the features' leading axes: float64 for float64
        features, float32 for all other dtypes.

    Raises:
        TypeError, ValueError: As `gram_matrix`; targets that require a gradient or of another shape; different numbers
            of layers.
    """
    function = "gram_loss"
    each = check.choice(function, "reduction", reduction, _REDUCTIONS) == "none"
    reduce = REDUCTIONS["mean" if each else reduction]
    layers, targets, factors = layers_of(function, features, weights, target_gram=target_gram)
    rectified = relu is not False and check.flag(function, "relu", relu)
    if area is not None and check.number(function, "area", area) <= 0:
        raise ValueError(f"{function}: area must be positive, got {check.shown(area)}")
    total: Any = None
    for layer, target, weight in zip(layers, targets, factors, strict=True):
        maps = _maps(function, layer, normalization, center, 2, None, allow_tf32)
        if rectified and maps.center:
            raise ValueError(f"{function}: relu and centred features cannot be given together")
        if mask is not None or mask_normalization != "pixels" or maps.valid is not None:
            maps.mask(mask, mask_normalization)
        loss = reduce(maps.differences(target, rectified, area, each))
        loss = loss if weights is None else weight * loss
        if total is not None and tuple(total.shape) != tuple(loss.shape):
            raise ValueError(
                f"{function}: features must have the same leading axes in all layers for reduction='none', got "
                f"{tuple(total.shape)} and {tuple(loss.shape)}"
            )
        total = loss if total is None else total + loss
    return total


def layers_of(function: str, features: Any, weights: Any, **others: Any) -> list[list[Any]]:
    """Return the features' layers, for each other argument its entries for them, and the weights."""
    if weights is None and (type(features) is np.ndarray or check.is_tensor(features)):
        layers, found = [features], [list(x) if isinstance(x, (list, tuple)) else [x] for x in others.values()]
        if all([len(entries) == 1 for entries in found]):
            return [layers, *found, [1.0]]
    if isinstance(features, Mapping):
        layers, found = list(features.values()), []
        for name, value in others.items():
            if not isinstance(value, Mapping) or set(value) != set(features):
                got = f"the keys {check.shown(list(value))}" if isinstance(value, Mapping) else type(value).__name__
                raise ValueError(
                    f"{function}: {name} must be a dict with the keys of features, {check.shown(list(features))}, got "
                    f"{got}"
                )
            found.append([value[key] for key in features])
    else:
        layers = list(features) if isinstance(features, (list, tuple)) else [features]
        found = [list(value) if isinstance(value, (list, tuple)) else [value] for value in others.values()]
    factors = _weights(function, features, weights, len(layers))
    lengths = [len(entries) for entries in (layers, *found, factors)]
    if len(set(lengths)) > 1 or not layers:
        names = ["features", *others]
        raise ValueError(
            f"{function}: {', '.join(names)} and weights must be of one length, got "
            f"{', '.join(map(str, lengths[:-1]))} and {lengths[-1]}"
        )
    return [layers, *found, factors]


def _weights(function: str, features: Any, weights: Any, n: int) -> list[float]:
    if weights is None:
        return [1.0] * n
    if isinstance(weights, Mapping):
        if not isinstance(features, Mapping) or set(weights) != set(features):
            wanted = f"the keys of features, {check.shown(list(features))}" if isinstance(features, Mapping) else "none"
            raise ValueError(f"{function}: weights must have {wanted}, got {check.shown(dict(weights))}")
        weights = [weights[key] for key in features]
    if isinstance(weights, (str, bytes)) or not isinstance(weights, Iterable) or getattr(weights, "ndim", 1) != 1:
        raise TypeError(f"{function}: weights must be several numbers, got {check.shown(weights)}")
    return [check.number(function, "weights", weight) for weight in weights]


# ---- Arguments ------------------------------------------------------------------------------------------------------

MASK_NORMALIZATIONS = ("pixels", "sum")


class _Maps:
    """Feature maps (B, C, H, W) and what is to be multiplied, as the operators take it."""

    __slots__ = (
        "allow_tf32",
        "center",
        "definition",
        "divisor_of",
        "factors",
        "function",
        "kind",
        "lead",
        "normalization",
        "scale",
        "valid",
        "x",
        "y",
    )

    def __init__(
        self, function: str, kind: Any, x: Any, valid: Any, normalization: str, center: bool, allow_tf32: bool
    ) -> None:
        self.function, self.valid = function, valid
        definition = NORMALIZATIONS[normalization]
        self.kind, self.normalization, self.definition = kind, normalization, definition
        self.center, self.allow_tf32 = center or definition.center, allow_tf32
        self.y = self.factors = None
        *lead, channels, height, width = x.shape
        if definition.mixes_batch:
            batch = math.prod(lead)
            self.divisor_of = (batch, channels)
            self.lead: tuple[int, ...] = ()
            self.x = x.reshape(1, batch * channels, *x.shape[-2:])
        else:
            self.divisor_of = (1, channels)
            self.lead = tuple(lead)
            self.x = x if len(lead) == 1 else x.reshape(-1, channels, height, width)
        self._count_pixels(height * width)

    def _count_pixels(self, pixels: int) -> None:
        divisor = self.definition.divisor(*self.divisor_of, pixels)
        if divisor == 0:
            raise ValueError(
                f"{self.function}: normalization {self.normalization!r} divides by 0 for {pixels} pixel(s)"
            )
        self.scale = 1 / divisor

    def _take_no(self, name: str) -> None:
        if self.definition.mixes_batch:
            raise ValueError(
                f"{self.function}: normalization {self.normalization!r} takes no mask, other or shift: {name}"
            )

    def pair(self, other: Any, spatial_dims: int, channel_axis: int | None) -> None:
        """Make another layer the second factor."""
        self._take_no("other")
        x, kind = self.x, self.kind
        other, valid = _without_mask(self.function, "other", other)
        other_kind, other = KINDS.read(self.function, "other", other)
        if other_kind is not kind or other.dtype != x.dtype or not kind.same_device(other, x):
            raise TypeError(
                f"{self.function}: other must be of the kind, dtype and device of features, got "
                f"{type(other).__name__} of {other.dtype} and {type(x).__name__} of {x.dtype}"
            )
        y = _channels_first(self.function, "other", kind, other, spatial_dims, channel_axis)
        if y.shape[-2:] != x.shape[-2:] or tuple(y.shape[:-3]) != self.lead:
            raise ValueError(
                f"{self.function}: other must have the pixels {tuple(x.shape[-2:])} and leading axes {self.lead} of "
                f"features, got {tuple(other.shape)}"
            )
        self.y = y.reshape(-1, *y.shape[-3:])
        if valid is not None:
            valid = _valid_pixels(self.function, kind, valid, spatial_dims, channel_axis)
            self.valid = valid if self.valid is None else self.valid & valid

    def shift(self, shift: tuple[int, int], mask: Any) -> None:
        """Keep the parts that lie on each other when the second factor is moved back."""
        entries = tuple(shift) if isinstance(shift, Iterable) else ()
        if len(entries) != 2:
            raise ValueError(f"{self.function}: shift must be two integers, got {check.shown(shift)}")
        rows, columns = (check.integer(self.function, "shift", s) for s in entries)
        if rows == columns == 0:
            return
        self._take_no("shift")
        if mask is not None or self.valid is not None:
            raise ValueError(f"{self.function}: mask and shift cannot be given together, nor masked arrays and shift")
        x, y = self.x, self.x if self.y is None else self.y
        height, width = x.shape[-2:]
        if abs(rows) >= height or abs(columns) >= width:
            raise ValueError(
                f"{self.function}: shift must be less than the {height}x{width} pixels, got {check.shown(entries)}"
            )

        def part(z: Any, rows: int, columns: int) -> Any:
            return z[..., max(rows, 0) : height + min(rows, 0), max(columns, 0) : width + min(columns, 0)]

        self.x, self.y = part(x, -rows, -columns), part(y, rows, columns)
        self._count_pixels(math.prod(self.x.shape[2:]))

    def mask(self, mask: Any, normalization: str) -> None:
        """Weight the pixels: by a mask, and by 0 where a masked array is not valid in every channel."""
        check.choice(self.function, "mask_normalization", normalization, MASK_NORMALIZATIONS)
        if mask is None and self.valid is None:
            return
        self._take_no("mask")
        pixels = self.x.shape[-2:]
        factors = self.valid_factors() if mask is None else self.read_factors(mask)
        factors = factors.reshape(-1, *pixels)
        if normalization == "sum":
            total = factors.reshape(factors.shape[0], -1).sum(1)[:, None, None]
            factors = factors / self.definition.divisor(*self.divisor_of, total) ** 0.5
            self.scale = 1.0
        self.factors = self.kind.contiguous(factors)

    def read_factors(self, mask: Any) -> Any:
        """Return the factors of a mask, 0 where a masked array is not valid, that broadcast to the pixels."""
        kind, pixels = self.kind, self.x.shape[-2:]
        mask_kind, mask = KINDS.of_any(self.function, "mask", mask)
        if mask_kind is not kind:
            got = type(mask).__name__
            raise TypeError(
                f"{self.function}: mask must be of the kind of features, {type(self.x).__name__}, got {got}"
            )
        if not kind.is_real(mask):
            raise TypeError(f"{self.function}: mask must be of a boolean or real dtype, got {mask.dtype}")
        if kind.loses_gradient(mask):
            raise ValueError(f"{self.function}: mask must not require a gradient, which it does not get: detach it")
        factors = kind.factors(mask, self.x)
        if tuple(factors.shape) != tuple(pixels):  # one for all would be repeated for nothing
            shape = (*self.lead, *pixels)
            try:
                factors = kind.broadcast_to(factors, shape)
            except (ValueError, RuntimeError):
                raise ValueError(
                    f"{self.function}: mask must broadcast to {shape}, got the shape {tuple(mask.shape)}"
                ) from None
        return factors if self.valid is None else factors * self.valid_factors()

    def valid_factors(self) -> Any:
        return self.kind.factors(self.valid, self.x)

    def shape(self, gram: Any) -> tuple[int, ...]:
        return (*self.lead, *gram.shape[1:])

    def product(self) -> Any:
        """Return the Gram matrices (B, C, C')."""
        return self.kind.product(self.x, self.y, self.factors, self.center, self.scale, self.allow_tf32)

    def moments(self) -> tuple[Any, Any]:
        """Return the centred Gram matrices (B, C, C) and the means (B, C), from one pass."""
        return self.kind.moments(self.x, self.factors, self.scale, self.allow_tf32)

    def differences(self, target: Any, rectified: bool, area: int | None, each: bool = False) -> Sums:
        """Return the sums over the differences of the Gram matrices from their targets; ``each``: of each image."""
        channels = self.x.shape[1]
        target = self._target(target, channels)
        if self.definition.identity:
            target = target - self.definition.identity * self.kind.eye(target)
        squares, absolutes = self.kind.differences(
            self.x, target, self.factors, self.center, rectified, self.scale, self.allow_tf32
        )
        if each:
            squares, absolutes = (z.reshape(self.lead) for z in (squares, absolutes))
            return Sums(squares, absolutes, channels**2, self.divisor_of[1], area)
        count = len(self.x) * channels**2
        return Sums(squares.sum(), absolutes.sum(), count, self.divisor_of[1], area)

    def _target(self, target: Any, channels: int) -> Any:
        kind, target = KINDS.of_any(self.function, "target_gram", target)
        if kind is not self.kind or not kind.same_device(target, self.x):
            raise TypeError(
                f"{self.function}: target_gram must be of the kind and device of features, got {check.shown(target)} "
                f"for {check.shown(self.x)}"
            )
        if not kind.is_real(target):
            raise TypeError(f"{self.function}: target_gram must be of a real dtype, got {target.dtype}")
        wanted = (*self.lead, channels, channels)
        if tuple(target.shape) not in (wanted, (channels, channels)):
            raise ValueError(
                f"{self.function}: target_gram must be {wanted} or {(channels, channels)} for these features, got "
                f"{tuple(target.shape)}"
            )
        if kind.loses_gradient(target):
            raise ValueError(
                f"{self.function}: target_gram must not require a gradient, which it does not get: give "
                "target_gram.detach()"
            )
        return kind.target(target, self.x)


def _maps(
    function: str,
    features: Any,
    normalization: str,
    center: bool,
    spatial_dims: int,
    channel_axis: int | None,
    allow_tf32: bool,
) -> _Maps:
    valid = None
    if not (type(features) is np.ndarray or check.is_tensor(features)):
        features, valid = _without_mask(function, "features", features)
    kind, x = KINDS.read(function, "features", features)
    if type(normalization) is not str or normalization not in NORMALIZATIONS:
        normalization = check.choice(function, "normalization", normalization, NORMALIZATIONS)
    if center is not False or allow_tf32 is not False:
        center, allow_tf32 = check.flag(function, "center", center), check.flag(function, "allow_tf32", allow_tf32)
    x = _channels_first(function, "features", kind, x, spatial_dims, channel_axis)
    if valid is not None:
        valid = _valid_pixels(function, kind, valid, spatial_dims, channel_axis)
    return _Maps(function, kind, x, valid, normalization, center, allow_tf32)


def _without_mask(function: str, name: str, x: Any) -> tuple[Any, Any]:
    """Return an argument as a plain array or tensor, and where a masked array is valid."""
    return (x, None) if check.is_tensor(x) else check.unmasked(function, name, x)


def _valid_pixels(function: str, kind: Any, valid: Any, spatial_dims: int, channel_axis: int | None) -> Any:
    """Return the pixels (..., H, W) that are valid in every channel."""
    return _channels_first(function, "features", kind, valid, spatial_dims, channel_axis).all(-3)


def _channels_first(function: str, name: str, kind: Any, x: Any, spatial_dims: int, channel_axis: int | None) -> Any:
    """Return features as (..., C, H, W)."""
    if type(spatial_dims) is not int or spatial_dims not in (1, 2):
        spatial_dims = check.integer(function, "spatial_dims", spatial_dims)
        if spatial_dims not in (1, 2):
            raise ValueError(f"{function}: spatial_dims must be 1 or 2, got {check.shown(spatial_dims)}")
    ndim = x.ndim
    pixel_axes = 1 if ndim == 2 else spatial_dims
    if ndim < 1 + pixel_axes:
        raise ValueError(f"{function}: {name} must be (..., C, H, W) or (C, P), got the shape {tuple(x.shape)}")
    if channel_axis is not None:
        channel_axis = check.integer(function, "channel_axis", channel_axis)
        if not -ndim <= channel_axis < ndim:
            raise ValueError(
                f"{function}: channel_axis must be an axis of {tuple(x.shape)}, got {check.shown(channel_axis)}"
            )
        x = kind.moveaxis(x, channel_axis, ndim - 1 - pixel_axes)
    if pixel_axes == 1:
        x = x[..., None, :]
    if 0 in x.shape[-3:]:
        raise ValueError(f"{function}: {name} must have channels and pixels, got the shape {tuple(x.shape)}")
    return x


# ---- What arrays and tensors do differently -------------------------------------------------------------------------


class _Arrays:
    """NumPy; ``_gram_torch.Tensors`` has the same functions."""

    moveaxis = staticmethod(np.moveaxis)
    broadcast_to = staticmethod(np.broadcast_to)
    contiguous = staticmethod(np.ascontiguousarray)

    @staticmethod
    def is_float(x: np.ndarray) -> bool:
        return x.dtype.kind == "f"

    @staticmethod
    def is_real(x: np.ndarray) -> bool:
        return x.dtype.kind in "fiub"

    @staticmethod
    def loses_gradient(x: np.ndarray) -> bool:
        return False

    @staticmethod
    def same_device(x: np.ndarray, y: np.ndarray) -> bool:
        return True

    @staticmethod
    def eye(like: np.ndarray) -> np.ndarray:
        return np.eye(like.shape[-1], dtype=like.dtype)

    @staticmethod
    def factors(mask: Any, x: np.ndarray) -> np.ndarray:
        return np.asarray(mask, np.float64 if x.dtype.itemsize > 4 else np.float32)

    @staticmethod
    def target(target: Any, x: np.ndarray) -> np.ndarray:
        flat = np.asarray(target, np.float64 if x.dtype.itemsize > 4 else np.float32)
        return np.require(flat.reshape(-1, *flat.shape[-2:]), requirements=["C", "A"])

    @staticmethod
    def product(
        x: np.ndarray, y: np.ndarray | None, factors: np.ndarray | None, center: bool, scale: float, tf32: bool
    ) -> np.ndarray:
        return _numpy.gram_product(_readable(x), None if y is None else _readable(y), factors, center, scale)

    @staticmethod
    def moments(x: np.ndarray, factors: np.ndarray | None, scale: float, tf32: bool) -> tuple[np.ndarray, np.ndarray]:
        return _numpy.gram_moments(_readable(x), factors, scale)

    @staticmethod
    def differences(
        x: np.ndarray,
        target: np.ndarray,
        factors: np.ndarray | None,
        center: bool,
        rectified: bool,
        scale: float,
        tf32: bool,
    ) -> Sequence[np.ndarray]:
        return _numpy.gram_difference(_readable(x), target, factors, center, scale)[1].T


def _readable(x: np.ndarray) -> np.ndarray:
    """Return x in a dtype of the kernels; longer floats are rounded to float64."""
    if x.dtype.itemsize <= 8 and (x.flags.c_contiguous or _has_whole_strides(x)):
        return x
    return x.astype(np.float64 if x.dtype.itemsize > 8 else x.dtype)


def _has_whole_strides(x: np.ndarray) -> bool:
    """Tell whether values lie a number of values apart, as the fields of a record need not."""
    size = x.dtype.itemsize
    return not any([stride % size for stride in x.strides])


def _tensors() -> Any:
    from genimg_fast._gram_torch import Tensors

    return Tensors


KINDS = Kinds("gram_matrix", _Arrays, _tensors)
