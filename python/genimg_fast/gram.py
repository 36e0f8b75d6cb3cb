"""Gram matrices of feature maps, and the losses on them.

The Gram matrix of features F (C channels, P pixels) is ``F @ F.T``, divided by what the normalisation says: the texture
statistic of L. A. Gatys, A. S. Ecker, M. Bethge, "Texture synthesis using convolutional neural networks", NIPS 2015.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from genimg_fast import _numpy


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

_MASK_NORMALIZATIONS = ("pixels", "sum")


def _scaled_l1(d: Any, channels: int) -> Any:
    return (d * d).sum() / (abs(d).sum() + 1e-8)


# The loss of the differences d of two Gram matrices (..., C, C).
REDUCTIONS: dict[str, Callable[[Any, int], Any]] = {
    "mean": lambda d, channels: (d * d).mean(),
    "sum": lambda d, channels: (d * d).sum(),
    "gatys-deeptextures": lambda d, channels: (d * d).sum() / (4 * channels**2),
    "gatys-pytorch": lambda d, channels: (d * d).mean() * (1e3 / channels**2),
    "crowsonkb": _scaled_l1,
}


def gram_matrix(
    features: Any,
    *,
    normalization: str = "hw",
    center: bool = False,
    mask: Any = None,
    mask_normalization: str = "pixels",
    other: Any = None,
    shift: tuple[int, int] = (0, 0),
    spatial_dims: int = 2,
    channel_axis: int | None = None,
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
            the leading axes; real or boolean. Means are weighted by their squares. They get no gradient.
        mask_normalization: ``"pixels"``: the number of pixels is H W with a mask too; ``"sum"``: it is the mask's sum.
        other: Features of another layer, of the same H and W: the matrix is (..., C, C of other), "cross-layer".
        shift: Rows and columns by which the second factor is shifted (Berger & Memisevic 2016): channel i at a pixel
            times channel j at that pixel plus the shift, over the pixels where both are inside.
        spatial_dims: 2, or 1 for features (..., C, P). An array of two axes is always (C, P).
        channel_axis: Where the channels are, if not before the spatial axes: -1 for (..., H, W, C).

    Returns:
        (..., C, C), of the kind and on the device of the features: float64 for float64, float32 for all other dtypes
        (a float16 sum would overflow). On the CPU the same bits for any number of threads. Differentiable any number of
        times by ``features`` and ``other``.

    Raises:
        TypeError: Not floats, or different kinds or dtypes.
        ValueError: Shapes that do not fit, or an unknown option; no pixels at all.
    """
    return _gram(features, normalization, center, mask, mask_normalization, other, shift, spatial_dims, channel_axis)


def gram_loss(
    features: Any,
    target_gram: Any,
    *,
    normalization: str = "hw",
    reduction: str = "mean",
    weights: Sequence[float] | None = None,
    relu: bool = False,
    mask: Any = None,
    center: bool = False,
) -> Any:
    """Return how far Gram matrices are from their targets: of one layer, or the weighted sum over several.

    The gradient by the features is one product with the difference, ``dF = 4 (G - target) F`` for ``"sum"`` and
    ``"none"``; the difference is formed once.

    Args:
        features: As for `gram_matrix`, or a list of layers.
        target_gram: A matrix as `gram_matrix` returns it, or a list of them, one for each layer. It gets no gradient.
        normalization: As for `gram_matrix`.
        reduction: ``"mean"``: the mean of the squared differences, over batch and matrix (``mse_loss``); ``"sum"``;
            ``"gatys-deeptextures"``: their sum over 4 C^2; ``"gatys-pytorch"``: their mean times 1e3 / C^2;
            ``"crowsonkb"``: the sum of squares over the sum of absolute values.
        weights: One for each layer; None: 1.
        relu: The features come out of a ReLU: where they are 0 their gradient is set to 0, as the ReLU would.
        mask, center: As for `gram_matrix`.

    Returns:
        A scalar.

    Raises:
        TypeError, ValueError: As `gram_matrix`; targets of another shape; different numbers of layers.
    """
    loss = _choice("reduction", reduction, REDUCTIONS, "gram_loss")
    layers = list(features) if isinstance(features, (list, tuple)) else [features]
    targets = list(target_gram) if isinstance(target_gram, (list, tuple)) else [target_gram]
    factors = [1.0] * len(layers) if weights is None else [float(w) for w in weights]
    if not len(layers) == len(targets) == len(factors) or not layers:
        raise ValueError(
            f"gram_loss: features, target_gram and weights must be of one length, got {len(layers)}, {len(targets)} "
            f"and {len(factors)}"
        )
    if relu and (center or NORMALIZATIONS.get(normalization, _NONE).center):
        raise ValueError("gram_loss: relu and centred features cannot be given together")
    total: Any = 0.0
    for layer, target, weight in zip(layers, targets, factors, strict=True):
        kind = _kind("features", layer)
        gram = _gram(layer, normalization, center, mask, rectified=relu)
        if gram.shape != target.shape:
            raise ValueError(
                f"gram_loss: target_gram must be {tuple(gram.shape)} for features {tuple(layer.shape)}, "
                f"got {tuple(target.shape)}"
            )
        total = total + weight * loss(gram - kind.detach(target), gram.shape[-1])
    return total


def _gram(
    features: Any,
    normalization: str,
    center: bool = False,
    mask: Any = None,
    mask_normalization: str = "pixels",
    other: Any = None,
    shift: tuple[int, int] = (0, 0),
    spatial_dims: int = 2,
    channel_axis: int | None = None,
    rectified: bool = False,
) -> Any:
    """gram_matrix, whose gradient is 0 where the features are not positive if they are `rectified`."""
    kind = _kind("features", features)
    definition = _choice("normalization", normalization, NORMALIZATIONS)
    _check("mask_normalization", mask_normalization, _MASK_NORMALIZATIONS)
    x = _maps("features", kind, features, spatial_dims, channel_axis)
    y = x if other is None else _maps("other", _same_kind(kind, features, other), other, spatial_dims, channel_axis)
    if y.shape[-2:] != x.shape[-2:] or y.shape[:-3] != x.shape[:-3]:
        raise ValueError(
            f"gram_matrix: other must have the pixels and leading axes of features, got {tuple(other.shape)} "
            f"and {tuple(features.shape)}"
        )
    if definition.mixes_batch:
        if mask is not None or other is not None or tuple(shift) != (0, 0):
            raise ValueError(f"gram_matrix: normalization {normalization!r} takes no mask, other or shift")
        batch = math.prod(x.shape[:-3])
        x = y = x.reshape(1, batch * x.shape[-3], *x.shape[-2:])
    else:
        batch = 1
    lead, channels = x.shape[:-3], x.shape[-3]
    second = None if other is None else y
    if tuple(shift) != (0, 0):
        if mask is not None:
            raise ValueError("gram_matrix: mask and shift cannot be given together")
        x, second = _shifted(x, y, shift)
    pixels = x.shape[-2] * x.shape[-1]
    factors: Any = None if mask is None else _factors(kind, mask, x)
    divisor: Any = definition.divisor(batch, channels // batch, pixels)
    by_sum = factors is not None and mask_normalization == "sum"
    if not by_sum and divisor == 0:
        raise ValueError(f"gram_matrix: normalization {normalization!r} divides by 0 for {pixels} pixel(s)")
    flat = [None if z is None else z.reshape(-1, *z.shape[-3:]) for z in (x, second)]
    scale = 1.0 if by_sum else 1 / divisor
    gram = kind.product(flat[0], flat[1], factors, center or definition.center, rectified, scale)
    if by_sum:
        total = factors.reshape(factors.shape[0], -1).sum(1)[:, None, None]
        gram = gram / definition.divisor(batch, channels // batch, total)
    if definition.identity:
        gram = gram + definition.identity * kind.eye(gram)
    shape = gram.shape[-2:] if definition.mixes_batch else (*lead, *gram.shape[-2:])
    return gram.reshape(shape)


# ---- Arguments ------------------------------------------------------------------------------------------------------


def _choice(name: str, value: Any, accepted: dict[str, Any], function: str = "gram_matrix") -> Any:
    _check(name, value, accepted, function)
    return accepted[value]


def _check(name: str, value: Any, accepted: Any, function: str = "gram_matrix") -> None:
    if value not in accepted:
        raise ValueError(f"{function}: {name} must be one of {', '.join(map(repr, accepted))}, got {value!r}")


def _kind(name: str, x: Any) -> Any:
    """Return what arrays or tensors do, for a float array or tensor."""
    if isinstance(x, np.ndarray):
        kind: Any = _Arrays
    elif "torch" in sys.modules and isinstance(x, sys.modules["torch"].Tensor):
        from genimg_fast._gram_torch import Tensors as kind  # noqa: N813
    else:
        raise TypeError(f"gram_matrix: {name} must be a numpy.ndarray or a torch.Tensor, got {type(x).__name__}")
    if not kind.is_float(x):
        raise TypeError(f"gram_matrix: {name} must be of a real floating dtype, got {x.dtype}")
    return kind


def _same_kind(kind: Any, features: Any, other: Any) -> Any:
    if _kind("other", other) is not kind or other.dtype != features.dtype or not kind.same_device(other, features):
        raise TypeError(
            f"gram_matrix: other must be of the kind, dtype and device of features, got {type(other).__name__} of "
            f"{other.dtype} and {type(features).__name__} of {features.dtype}"
        )
    return kind


def _maps(name: str, kind: Any, x: Any, spatial_dims: int, channel_axis: int | None) -> Any:
    """Return features as (..., C, H, W)."""
    if spatial_dims not in (1, 2):
        raise ValueError(f"gram_matrix: spatial_dims must be 1 or 2, got {spatial_dims!r}")
    pixel_axes = 1 if x.ndim == 2 else spatial_dims
    if x.ndim < 1 + pixel_axes:
        raise ValueError(f"gram_matrix: {name} must be (..., C, H, W) or (C, P), got the shape {tuple(x.shape)}")
    if channel_axis is not None:
        if not -x.ndim <= channel_axis < x.ndim:
            raise ValueError(f"gram_matrix: channel_axis must be an axis of {tuple(x.shape)}, got {channel_axis}")
        x = kind.moveaxis(x, channel_axis, x.ndim - 1 - pixel_axes)
    if pixel_axes == 1:
        x = x[..., None, :]
    if 0 in x.shape[-3:]:
        raise ValueError(f"gram_matrix: {name} must have channels and pixels, got the shape {tuple(x.shape)}")
    return x


def _shifted(x: Any, y: Any, shift: tuple[int, int]) -> tuple[Any, Any]:
    """Return the parts of x and y that lie on each other when y is moved back by the shift."""
    rows, columns = (int(s) for s in shift)
    height, width = x.shape[-2:]
    if abs(rows) >= height or abs(columns) >= width:
        raise ValueError(f"gram_matrix: shift must be less than the {height}x{width} pixels, got {tuple(shift)}")

    def part(z: Any, rows: int, columns: int) -> Any:
        return z[..., max(rows, 0) : height + min(rows, 0), max(columns, 0) : width + min(columns, 0)]

    return part(x, -rows, -columns), part(y, rows, columns)


def _factors(kind: Any, mask: Any, x: Any) -> Any:
    """Return a mask as factors (batch or 1, H, W) for features x (..., C, H, W)."""
    shape = (*x.shape[:-3], *x.shape[-2:])
    factors = kind.factors(mask, x)
    alone = tuple(factors.shape) == tuple(x.shape[-2:])
    if not alone:
        try:
            factors = kind.broadcast_to(factors, shape)
        except (ValueError, RuntimeError):
            raise ValueError(
                f"gram_matrix: mask must broadcast to {tuple(shape)}, got the shape {tuple(mask.shape)}"
            ) from None
    return kind.contiguous(factors.reshape(-1, *x.shape[-2:]))


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
    def same_device(x: np.ndarray, y: np.ndarray) -> bool:
        return True

    @staticmethod
    def detach(x: np.ndarray) -> np.ndarray:
        return x

    @staticmethod
    def eye(like: np.ndarray) -> np.ndarray:
        return np.eye(like.shape[-1], dtype=like.dtype)

    @staticmethod
    def factors(mask: Any, x: np.ndarray) -> np.ndarray:
        return np.asarray(mask, np.float64 if x.dtype.itemsize > 4 else np.float32)

    @staticmethod
    def product(
        x: np.ndarray, y: np.ndarray | None, factors: np.ndarray | None, center: bool, rectified: bool, scale: float
    ) -> np.ndarray:
        return _numpy.gram_product(_readable(x), None if y is None else _readable(y), factors, center, scale)[0]


def _readable(x: np.ndarray) -> np.ndarray:
    """Return x in a dtype of the kernels, in the machine's byte order."""
    dtype = x.dtype.newbyteorder("=") if x.dtype.itemsize in (2, 4, 8) else np.dtype(np.float64)
    return x.astype(dtype, copy=False)
