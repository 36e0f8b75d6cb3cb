"""Stem plots of Portilla and Simoncelli's statistics, arranged as plenoptic's. Needs matplotlib."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.container import StemContainer
    from matplotlib.figure import Figure

    from genimg_fast.textures._parametric_model import PortillaSimoncelli

YLim = tuple[float, float] | Literal[False] | None

# What stands together in one plot as it is, and what is summed up over its neighbours or orientations.
_JOINED = {
    "pixels+var_highpass": ("pixel_statistics", "var_highpass_residual"),
    "std+skew+kurtosis recon": ("std_reconstructed", "skew_reconstructed", "kurtosis_reconstructed"),
    "magnitude_std": ("magnitude_std",),
}
_SUMMED = (
    "auto_correlation_reconstructed",
    "auto_correlation_magnitude",
    "cross_orientation_correlation_magnitude",
    "cross_scale_correlation_magnitude",
    "cross_scale_correlation_real",
)


def plot(
    model: PortillaSimoncelli,
    data: Tensor | Mapping[str, Tensor],
    ax: Axes | None,
    figsize: tuple[float, float] | None,
    ylim: YLim,
    batch_idx: int,
    title: str | None,
) -> tuple[Figure, list[Axes]]:
    """Return a figure of statistics and its axes; see `PortillaSimoncelli.plot_representation`."""
    if ax is not None and figsize is not None:
        raise ValueError("plot_representation: figsize must be None where ax is given, whose figure has a size")
    panels = summaries(model, data, batch_idx)
    n_rows = 3 if model.n_scales > 1 else 2
    n_columns = -(-len(panels) // n_rows)
    if ax is None:
        import matplotlib.pyplot as plt  # its figures are those that a notebook shows

        figure: Any = plt.figure(figsize=figsize or (12, 5))
        grid: Any = figure.add_gridspec(n_rows, n_columns)
    else:
        ax.set_axis_off()
        figure, place = ax.figure, ax.get_subplotspec()
        if place is None:
            raise ValueError("plot_representation: ax must be one of a grid, as plt.subplots makes them")
        grid = place.subgridspec(n_rows, n_columns)
    axes = []
    for k, (name, values) in enumerate(panels.items()):
        panel = figure.add_subplot(grid[k // n_columns, k % n_columns])
        panel.stem(values)
        panel.set_title(name)
        if ylim is None:
            panel.set_ylim(bottom=min(0, np.nanmin(values, initial=0)))
        elif ylim is not False:
            panel.set_ylim(ylim)
        axes.append(panel)
    if title is not None:
        figure.suptitle(title)
    return figure, axes


def update(
    model: PortillaSimoncelli,
    axes: Sequence[Axes],
    data: Tensor | Mapping[str, Tensor],
    batch_idx: int,
    rescale_ylim: bool,
) -> list[Any]:
    """Show other statistics in the axes of `plot`; see `PortillaSimoncelli.update_plot`."""
    panels = [ax for ax in axes if len(ax.containers) == 1]
    values = list(summaries(model, data, batch_idx).values())
    if len(panels) != len(values):
        raise ValueError(
            f"update_plot: axes must be the {len(values)} that plot_representation made, got {len(panels)} with stems"
        )
    artists: list[Any] = []
    for ax, one in zip(panels, values, strict=True):
        stems: StemContainer = ax.containers[0]  # type: ignore[assignment]
        stems.markerline.set_ydata(one)
        stems.stemlines.set_segments([np.array([[x, 0], [x, y]]) for x, y in enumerate(one)])
        artists += [stems.markerline, stems.stemlines]
    if rescale_ylim:
        most = max(float(np.nanmax(np.abs(one))) for one in values)
        for ax in panels:
            ax.set_ylim(-most, most)
    return artists


def summaries(
    model: PortillaSimoncelli, data: Tensor | Mapping[str, Tensor], batch_idx: int
) -> dict[str, np.ndarray[Any, Any]]:
    """Return the values of each panel: of one picture, the mean of its channels.

    Raises:
        KeyError: A statistic is missing.
        ValueError: There is another one, or a number of them that is not the model's.
    """
    if isinstance(data, Tensor):
        found = dict(model.convert_to_dict(data[batch_idx].mean(0)))
    else:
        found = {name: value[batch_idx].mean(0) for name, value in data.items()}
    names = model.convert_to_dict(torch.empty(len(model._representation_scales)))
    missing, unknown = [name for name in names if name not in found], [name for name in found if name not in names]
    if missing:
        raise KeyError(f"plot_representation: data must hold {missing[0]!r}")
    if unknown:
        raise ValueError(f"plot_representation: data must hold the model's statistics alone, got {unknown[0]!r} too")
    panels = {title: torch.cat([found[name].flatten() for name in parts]) for title, parts in _JOINED.items()}
    for name in _SUMMED:
        if not name.startswith("cross_scale") or model.n_scales > 1:
            panels[name] = found[name].square().nansum((0, 1)).sqrt().flatten()  # NaN: what does not stand
    return {title: values.detach().cpu().numpy() for title, values in panels.items()}
