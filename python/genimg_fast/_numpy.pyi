# The compiled module of csrc/bindings/*_numpy.cpp. Its callers have checked shapes and dtypes.
from collections.abc import Sequence
from typing import Any

from numpy import ndarray

Array = ndarray[Any, Any]

version: str
built_with_cuda: str
built_with_torch: str
max_num_threads: int

def active_isa() -> str: ...
def environment_warnings() -> list[str]: ...
def set_num_threads(n: int) -> None: ...
def get_num_threads() -> int: ...

# steerable_freq: pyramid is height, width, levels, order, analytic, oversampling, table
def steerable_freq_has_fused_transform(pyramid: Sequence[int], twidth: float) -> bool: ...
def steerable_freq_analysis(
    image: Array, pyramid: Sequence[int], twidth: float, subset: Sequence[int], scales: Sequence[float]
) -> list[Array]: ...
def steerable_freq_synthesis(
    coefficients: Sequence[Array],
    pyramid: Sequence[int],
    twidth: float,
    subset: Sequence[int],
    scales: Sequence[float],
    real_part_only: bool,
) -> Array: ...
def steerable_freq_analysis_masks(
    spectrum: Array, pyramid: Sequence[int], twidth: float, subset: Sequence[int], scales: Sequence[float]
) -> list[Array]: ...
def steerable_freq_synthesis_masks(
    spectra: Sequence[Array], pyramid: Sequence[int], twidth: float, subset: Sequence[int], scales: Sequence[float]
) -> Array: ...

# steerable_space
def spatial_filters(order: int) -> dict[str, Any]: ...
def space_analysis(image: Array, order: int, levels: int, edge: int) -> list[Array]: ...
def space_synthesis(
    coefficients: Sequence[Array], positions: Sequence[int], height: int, width: int, order: int, levels: int, edge: int
) -> Array: ...

# histogram
def match_histograms(
    image: Array,
    reference: Array,
    mask: Array | None,
    reference_mask: Array | None,
    pooled: int,
    method: int,
    is_sorted: bool,
    out: Array | None,
) -> Array: ...
def match_histograms_out(
    image: Sequence[Array],
    reference: Sequence[Array],
    mask: Sequence[Array | None],
    reference_mask: Sequence[Array | None],
    pooled: int,
    method: int,
    is_sorted: bool,
    out: Sequence[Array],
) -> None: ...
def sort_histograms(reference: Array, mask: Array | None, pooled: int) -> Array: ...

# gram
def gram_product(x: Array, y: Array | None, factors: Array | None, center: bool, scale: float) -> Array: ...
def gram_moments(x: Array, factors: Array | None, scale: float) -> tuple[Array, Array]: ...
def gram_difference(
    x: Array, target: Array, factors: Array | None, center: bool, scale: float
) -> tuple[Array, Array]: ...
def gram_apply(
    matrix: Array, x: Array, factors: Array | None, center: bool, rectified: bool, scale: float
) -> Array: ...

# multiview
def view_sources(row: Array, tables: Array, height: int, width: int) -> Array: ...
def multiview_apply(x: Array, rows: Array, tables: Array, copies: int, out: Array) -> None: ...
def multiview_reduce(
    prediction: Array,
    rows: Array,
    tables: Array,
    weights: Array,
    guided: bool,
    noise: Array,
    variance: Array | None,
) -> None: ...
def multiview_step(
    x: Array,
    prediction: Array,
    noise: Array | None,
    rows: Array,
    tables: Array,
    weights: Array,
    guided: bool,
    coefficients: Array,
    average: int,
    out: Array,
) -> None: ...
