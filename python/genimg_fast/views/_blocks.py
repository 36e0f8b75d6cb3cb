"""Views of pictures some times as large, whose pixels are blocks: what a view does to pixels is done to blocks."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from genimg_fast.views._bound import BoundView, Linear, Permutation, Planes
from genimg_fast.views._plan import Row, Shape, larger, sources, stored


def blocks(view: BoundView, times: int) -> BoundView:
    """Return the view that does to blocks of ``times`` by ``times`` pixels what another does to pixels.

    The means of blocks are seen as the view sees pixels, exactly; it is orthogonal if the view is.
    """
    shape = larger(view.shape, times)
    if view.row is not None:
        return Permutation(view.name, shape, _row(view.row, view.shape, times))
    there, back = (_on_phases(function, times) for function in (view._apply, view._inverse))
    return Linear(view.name, shape, there, back, is_orthogonal=view.is_orthogonal, is_component=view.is_component)


def _row(row: Row, shape: Shape, times: int) -> Row:
    if row.keeps_pixels:
        return row
    _, height, width = shape
    y, x = np.divmod(sources(row, height, width), width)
    inside = np.arange(times)
    ys = times * y.repeat(times, 0).repeat(times, 1) + np.tile(inside, height)[:, None]
    xs = times * x.repeat(times, 0).repeat(times, 1) + np.tile(inside, width)
    found = stored(ys * (times * width) + xs)
    return Row(found.kind, found.parameters, found.table, row.channels)


def _on_phases(function: Callable[[Planes], Planes], times: int) -> Callable[[Planes], Planes]:
    """Return the function of the pictures that the pixels at one place of all blocks are."""

    def run(x: Planes) -> Planes:
        *lead, channels, height, width = x.shape
        split = x.reshape(*lead, channels, height // times, times, width // times, times)
        # (C, h, a, w, b) -> (a, b, C, h, w) and back
        phases = split.swapaxes(-5, -3).swapaxes(-4, -1).swapaxes(-2, -1)
        seen = function(phases)
        return seen.swapaxes(-2, -1).swapaxes(-4, -1).swapaxes(-5, -3).reshape(x.shape)

    return run
