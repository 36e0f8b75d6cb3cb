"""Pictures of coefficients, histograms and syntheses. Needs matplotlib: ``pip install genimg_fast[plot]``.

Every function draws on a figure of its own, without pyplot's global state, and returns it: show it in a notebook, or
save it with ``figure.savefig``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from genimg_fast import _arguments as check
from genimg_fast._core.backend import is_tensor, plain
from genimg_fast._core.public import directory
from genimg_fast._pictures import MAX_CHANNELS, as_array, axes_hint, in_unit_range, kind_of, numbers_of
from genimg_fast._system import called, system

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["PARTS", "histograms", "pyramid", "synthesis", "transfer"]

_SMALLEST = 4  # times that a picture may fit into the frame of both before it is magnified

PARTS = ("rectangular", "polar", "magnitude")


@system("plot.pyramid")
def pyramid(coeffs: Mapping[Any, Any], *, parts: str = "rectangular", residuals: bool = True) -> Figure:
    """Draw all bands of a steerable pyramid in one figure: a row for each scale, a column for each orientation.

    Grey is 0 in real bands; each band has its own range, in its title, as in pyrtools' ``pyrshow``.

    Args:
        coeffs: What `SteerablePyramidFreq` (keys: scales) or `SteerablePyramidSpace` (keys: (scale, orientation))
            returned for one picture with one channel; leading axes of length 1 are dropped. Arrays or tensors.
        parts: Of complex bands: "rectangular" (real and imaginary), "polar" (magnitude and phase) or "magnitude".
        residuals: Whether to draw the highpass and lowpass residuals.

    Returns:
        The figure.

    Raises:
        ValueError: More than one picture or channel, no bands, or an unknown value of ``parts``.
    """
    check.choice("parts", parts, PARTS)
    check.flag("residuals", residuals)
    if not isinstance(coeffs, Mapping):
        raise TypeError(f"coeffs must be the dict that a pyramid returns, got {type(coeffs).__name__}")
    rows = [[tile for band in row for tile in _tiles(*band, parts)] for row in _rows(coeffs, residuals)]
    columns = max(map(len, rows), default=0)
    if columns == 0:
        raise ValueError("coeffs must hold the bands of a pyramid, got none")
    figure = _figure(2.2 * columns, 2.4 * len(rows))
    axes = figure.subplots(len(rows), columns, squeeze=False)
    for row, places in zip(rows, axes, strict=True):
        for axis in places:
            axis.set_axis_off()
        for axis, (title, band, symmetric) in zip(places, row, strict=False):
            _show_band(axis, title, band, symmetric)
    return figure


@system("plot.histograms")
def histograms(
    values: Mapping[str, Any] | Any,
    reference: Mapping[str, Any] | Any,
    *,
    bins: int = 100,
    labels: Sequence[str] = ("image", "reference"),
) -> Figure:
    """Draw the histograms of pictures or bands over those of their reference.

    Args:
        values: An array or tensor, or a dict of them, such as a pyramid's coefficients; one plot for each.
        reference: The same with the same keys; sizes may differ.
        bins: Number of bins, over the range of both.
        labels: For the two.

    Returns:
        The figure. The two histograms are densities, and the mean quantile distance is in each plot's title.

    Raises:
        ValueError: The keys of the two differ.
    """
    check.integer("bins", bins, 1)
    if len(check.several("labels", labels)) != 2:
        raise ValueError(f"labels must be two, got {len(labels)}")
    many = values if isinstance(values, Mapping) else {"": values}
    wanted = reference if isinstance(reference, Mapping) else {"": reference}
    if list(many) != list(wanted):
        raise ValueError(f"values and reference must have the same keys, got {list(many)} and {list(wanted)}")
    columns = min(4, len(many))
    n_rows = -(-len(many) // columns)
    figure = _figure(3.2 * columns, 2.4 * n_rows)
    axes = figure.subplots(n_rows, columns, squeeze=False).ravel()
    for axis in axes[len(many) :]:
        axis.set_axis_off()
    for axis, key in zip(axes, many, strict=False):
        a, b = (_values(pair[0], pair[1], key) for pair in ((many, "values"), (wanted, "reference")))
        edges = np.histogram_bin_edges(np.concatenate([a, b]), bins)
        axis.hist(b, edges, density=True, color="0.75", label=labels[1])
        axis.hist(a, edges, density=True, histtype="step", color="C3", label=labels[0])
        axis.set_title(f"{key} distance {_quantile_distance(a, b):.3g}".strip(), fontsize="small")
        axis.set_yticks([])
    axes[0].legend(fontsize="small")
    return figure


@system("plot.synthesis")
def synthesis(
    exemplar: Any,
    result: Any,
    distances: Sequence[float] | Sequence[Mapping[str, float]] = (),
    *,
    quantity: str = "mean quantile distance / standard deviation",
) -> Figure:
    """Draw an exemplar, what was synthesised from it, and how the distance fell.

    Args:
        exemplar: (H, W) or (H, W, C) array, or (H, W) or (C, H, W) tensor; uint8, uint16, or floats in [0, 1].
        result: The same kind, any size; drawn at the same scale, but that a picture which would be less than a quarter
            of the other is magnified.
        distances: `genimg_fast.textures.Step.distance` of each iteration from 0, or `DescentStep.loss`; or several by
            name, each a curve, such as `ParametricStep.errors`. Without them only the pictures.
        quantity: What these are, for the title.

    Returns:
        The figure.
    """
    figure = _figure(12 if len(distances) else 8, 4.2)
    axes = figure.subplots(1, 3 if len(distances) else 2)
    pictures = [_picture(exemplar, "exemplar"), _picture(result, "result", is_result=True)]
    height, width = np.max([p.shape[:2] for p in pictures], axis=0)
    for axis, title, pixels in zip(axes, ("exemplar", "synthesis"), pictures, strict=False):
        axis.imshow(pixels, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        fits = min(height / pixels.shape[0], width / pixels.shape[1])
        times = max(1, math.ceil(fits / _SMALLEST))
        axis.set(xlim=(-0.5, width / times - 0.5), ylim=(height / times - 0.5, -0.5))
        magnified = f", drawn {times} times as large" if times > 1 else ""
        axis.set_title(f"{title}, {pixels.shape[0]}x{pixels.shape[1]}{magnified}")
        axis.set_axis_off()
    if len(distances):
        _show_curves(axes[2], distances)
        axes[2].set(xlabel="iteration", title=quantity)
    return figure


@system("plot.transfer")
def transfer(content: Any, styles: Sequence[Any], result: Any, losses: Sequence[Mapping[str, float]] = ()) -> Figure:
    """Draw a content, styles, the picture that was made of them, and how the parts of the loss fell.

    Args:
        content, result: (H, W) or (H, W, C) arrays, or (H, W) or (C, H, W) tensors; uint8, uint16, or floats
            in [0, 1].
        styles: The same, any number of them.
        losses: `genimg_fast.style.DescentStep.losses` of each evaluation; without them only the pictures.

    Returns:
        The figure.
    """
    pictures = {"content": content, **{f"style {i}": style for i, style in enumerate(styles, 1)}, "result": result}
    columns = len(pictures) + bool(len(losses))
    figure = _figure(4 * columns, 4.2)
    axes = figure.subplots(1, columns)
    for axis, (title, picture) in zip(axes, pictures.items(), strict=False):
        pixels = _picture(picture, title, is_result=title == "result")
        axis.imshow(pixels, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        axis.set_title(f"{title}, {pixels.shape[0]}x{pixels.shape[1]}")
        axis.set_axis_off()
    if len(losses):
        _show_curves(axes[-1], losses)
        axes[-1].set(xlabel="evaluation", title="loss")
    return figure


def _figure(width: float, height: float) -> Figure:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("genimg_fast.plot needs matplotlib: pip install genimg_fast[plot]") from error
    return Figure(figsize=(width, height), layout="constrained")


def _values(values: Mapping[str, Any], name: str, key: str) -> np.ndarray:
    title = f"{name}[{key!r}]" if key else name
    numbers = numbers_of(values[key], title).ravel()
    if not numbers.size or not np.isfinite(numbers).all():
        raise ValueError(f"{title} must hold finite values, got {numbers.size}, some of them NaN or infinite or none")
    return numbers


def _rows(coeffs: Mapping[Any, Any], residuals: bool) -> Iterable[list[tuple[str, np.ndarray]]]:
    """Yield the bands of each row of the figure with their titles: highpass, scales from the finest on, lowpass."""
    names = ("residual_highpass", "residual_lowpass")
    scales: dict[int, list[tuple[str, np.ndarray]]] = {}
    for key, value in coeffs.items():
        if key in names:
            continue
        scale = key[0] if isinstance(key, tuple) else key
        bands = _single(value, 2)[None] if isinstance(key, tuple) else _single(value, 3)
        row = scales.setdefault(scale, [])
        row += [(f"scale {scale}, band {i}", band) for i, band in enumerate(bands, len(row))]
    found = {
        name: [(name.replace("_", " "), _single(coeffs[name], 2))] for name in names if name in coeffs and residuals
    }
    if names[0] in found:
        yield found[names[0]]
    yield from (scales[scale] for scale in sorted(scales))
    if names[1] in found:
        yield found[names[1]]


def _single(value: Any, ndim: int) -> np.ndarray:
    array = as_array(plain(called(), "coeffs", value))
    lead = array.shape[: array.ndim - ndim]
    if any(n != 1 for n in lead):
        raise ValueError(f"coeffs must be those of one picture with one channel, got leading axes {lead}")
    return array.reshape(array.shape[len(lead) :])


def _tiles(title: str, band: np.ndarray, parts: str) -> list[tuple[str, np.ndarray, bool]]:
    """Return what to draw of a band: title, values, and whether their range is symmetric about 0."""
    if not np.iscomplexobj(band):
        return [(title, band, not title.startswith("residual low"))]
    if parts == "rectangular":
        return [(f"{title}, real", band.real, True), (f"{title}, imaginary", band.imag, True)]
    magnitude = (f"{title}, magnitude", np.abs(band), False)
    return [magnitude] if parts == "magnitude" else [magnitude, (f"{title}, phase", np.angle(band), True)]


def _show_band(axis: Axes, title: str, band: np.ndarray, symmetric: bool) -> None:
    low, high = float(band.min()), float(band.max())
    if symmetric:
        high = max(abs(low), abs(high))
        low = -high
    axis.imshow(band, cmap="gray", vmin=low, vmax=high, interpolation="nearest")
    axis.set_title(f"{title}\n{band.shape[0]}x{band.shape[1]}, [{low:.2g}, {high:.2g}]", fontsize="x-small")


def _show_curves(axis: Axes, steps: Sequence[float] | Sequence[Mapping[str, float]]) -> None:
    """Draw what fell from step to step: numbers, or several by name, of which some steps may lack some."""
    named = [step if isinstance(step, Mapping) else {"": step} for step in steps]
    names = list(dict.fromkeys(name for step in named for name in step))
    style = {"marker": "o", "color": "C3", "markersize": 4} if names == [""] else {}
    for name in names:
        axis.semilogy([step.get(name, np.nan) for step in named], label=name, **style)
    axis.grid(which="both", alpha=0.3)
    if names != [""]:
        axis.legend()


def _quantile_distance(a: np.ndarray, b: np.ndarray) -> float:
    """Return the mean distance of the quantiles, as many as the larger of two samples has."""
    n = max(a.size, b.size)
    at = (np.arange(n) + 0.5) / n
    # Hazen's quantiles, which `numpy.quantile` finds in minutes where there are as many as values.
    of_a, of_b = (np.interp(at, (np.arange(one.size) + 0.5) / one.size, np.sort(one)) for one in (a, b))
    return float(np.abs(of_a - of_b).mean())


def _picture(x: Any, name: str, *, is_result: bool = False) -> np.ndarray:
    """Return a picture as matplotlib draws it: (H, W) or (H, W, 3 or 4), floats in [0, 1].

    A result may leave [0, 1]: it is drawn as it would be written to a file.
    """
    kind = kind_of(x, name)
    pixels = as_array(plain(called(), name, x)).astype(np.float64)
    if is_tensor(x) and pixels.ndim == 3:
        pixels = np.moveaxis(pixels, 0, -1)
    if pixels.ndim not in (2, 3) or (pixels.ndim == 3 and not 1 <= pixels.shape[-1] <= MAX_CHANNELS):
        hint = axes_hint(x, name)
        raise ValueError(f"{name} must be one picture of 1 to {MAX_CHANNELS} channels, got {tuple(x.shape)}{hint}")
    if is_result and not kind.is_integer:
        pixels = pixels.clip(0, 1)
    pixels = in_unit_range(pixels, kind, name)
    if pixels.ndim == 3 and pixels.shape[-1] < 3:
        pixels = pixels[..., 0]
    return pixels.clip(0, 1)


def __dir__() -> list[str]:
    return directory(globals())
