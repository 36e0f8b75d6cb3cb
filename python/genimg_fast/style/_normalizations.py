"""What the losses of one layer are divided by: the package's own definition, and those of projects by name.

Every definition brings the weights and the layers that its project publishes. Networks of Caffe read pictures in
[0, 255], and so do the total variations of the projects that use them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from genimg_fast.gram import REDUCTIONS, Sums

_SOFTNESS = 0.01  # a difference of neighbouring pixels below which the total variation is smooth
_CAFFE = 255.0

_BLOCKS = range(1, 6)
STYLE_LAYERS = tuple(f"relu{block}_1" for block in _BLOCKS)
CONTENT_LAYERS = ("relu4_2",)


@dataclass(frozen=True)
class Normalization:
    """What a project calls its losses.

    Attributes:
        gram: Of the Gram matrices, see `genimg_fast.gram_matrix`.
        style: Of one layer, from the difference G - G_style, G_style, and how many positions the layer has per pixel.
        content: Of one layer, from the sum of squared differences of maps, their number, and the mean square of the
            content's.
        weights: Of the content, the style and the total variation.
        variation: Of planes (..., H, W) in [0, 1].
        is_mean: Whether the style is the mean over layers, or their sum.
        content_layers, style_layers: Of VGG.
    """

    gram: str
    style: Callable[[Any, Any, float], Any]
    content: Callable[[Any, int, float], Any]
    weights: tuple[float, float, float]
    variation: Callable[[Any], Any]
    is_mean: bool = False
    content_layers: tuple[str, ...] = CONTENT_LAYERS
    style_layers: tuple[str, ...] = STYLE_LAYERS


def _gram_loss(reduction: str) -> Callable[[Any, Any, float], Any]:
    """Return the reduction of `genimg_fast.gram_loss` of a name."""
    reduce = REDUCTIONS[reduction]

    def loss(difference: Any, target: Any, density: float) -> Any:
        squares, absolutes = difference.square().sum(), difference.abs().sum()
        return reduce(Sums(squares, absolutes, difference.numel(), difference.shape[-1], None))

    return loss


def _relative_style(difference: Any, target: Any, density: float) -> Any:
    return difference.square().mean() / (float(target.square().mean()) or 1.0)


def _relative_content(total: Any, n: int, energy: float) -> Any:
    return total / (n * (energy or 1.0))


def _mean_square(total: Any, n: int, energy: float) -> Any:
    return total / n


def _differences(x: Any) -> tuple[Any, Any]:
    """Return the differences (..., H - 1, W - 1) to the neighbours below and on the right."""
    here = x[..., :-1, :-1]
    return x[..., 1:, :-1] - here, x[..., :-1, 1:] - here


def _length(x: Any) -> Any:
    """Return the mean length of the gradient, softened around 0, of which a constant has none."""
    down, right = _differences(x)
    return ((down.square() + right.square() + _SOFTNESS**2).sqrt() - _SOFTNESS).mean()


def _half_squares(x: Any) -> Any:
    down, right = _differences(_CAFFE * x)
    return (down.square().sum() + right.square().sum()) / 2


def _absolutes(x: Any) -> Any:
    return _CAFFE * (x.diff(dim=-2).abs().sum() + x.diff(dim=-1).abs().sum())


def _powers(x: Any) -> Any:
    down, right = _differences(_CAFFE * x)
    return ((down.square() + right.square()) ** 1.25).sum()


NORMALIZATIONS = {
    "relative": Normalization("hw", _relative_style, _relative_content, (1.0, 10.0, 1.0), _length, is_mean=True),
    "gatys": Normalization(
        "hw",
        _gram_loss("gatys-deeptextures"),
        lambda total, n, energy: total / 2,
        (1.0, 1e3, 0.0),
        _length,
        is_mean=True,
    ),
    "gatys-pytorch": Normalization("hw", _gram_loss("gatys-pytorch"), _mean_square, (1.0, 1.0, 0.0), _length),
    "jcjohnson": Normalization("chw", _gram_loss("mean"), _mean_square, (5.0, 100.0, 1e-3), _half_squares),
    "neural-style-pt": Normalization("chw", _gram_loss("mean"), _mean_square, (5.0, 100.0, 1e-3), _absolutes),
    "pytorch-tutorial": Normalization(
        "chw",
        _gram_loss("mean"),
        _mean_square,
        (1.0, 1e6, 0.0),
        _length,
        content_layers=("conv2_2",),
        style_layers=("conv1_1", "conv1_2", "conv2_1", "conv2_2", "conv3_1"),
    ),
    "keras": Normalization(
        "hw",
        lambda difference, target, density: difference.square().sum() * (density**2 / (4 * 3**2)),
        lambda total, n, energy: total,
        (2.5e-8, 1e-6, 1e-6),
        _powers,
        is_mean=True,
        content_layers=("relu5_2",),
    ),
}
