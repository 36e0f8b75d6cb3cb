"""What a view does to pictures and to noise, measured."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from genimg_fast._arguments import integer
from genimg_fast.views._bound import BoundView, as_array
from genimg_fast.views._plan import Shape, checked_shape
from genimg_fast.views._view import Custom, as_view

TOLERANCE = 1e-5  # of float32 results

_EXACT_SIZE = 1 << 10  # values of a picture up to which the whole matrix is looked at
_N_PROBES = 8
_CHUNK = 1 << 22  # values of noise at a time

Function = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class ViewReport:
    """What `check_view` found.

    Attributes:
        name: Of the view.
        shape: (C, H, W) of the pictures.
        bijective: Every value of a picture is there once, with its sign or the opposite. False: values are only moved,
            but some are lost. None: values are mixed.
        linear: The view of a sum is the sum of the views.
        orthogonal: A A^T = I, up to `TOLERANCE`: white noise stays white.
        orthogonality_error: The largest entry of A A^T - I for pictures of up to 1024 values; else the largest change
            of a scalar product of random pictures, for norms of 1.
        round_trip_error: |inverse(view(x)) - x| over |x|, the largest of some.
        noise_std: Of the view of white noise of standard deviation 1.
        noise_correlation: Of its neighbours (beside, below, on the diagonals, in the next channel), the one that is
            farthest from 0.
        component: The inverse keeps a part of the noise by intention; the parts of several views are summed.
    """

    name: str
    shape: Shape
    bijective: bool | None
    linear: bool
    orthogonal: bool
    orthogonality_error: float
    round_trip_error: float
    noise_std: float
    noise_correlation: float
    component: bool = False

    @property
    def valid(self) -> bool:
        """A diffusion model can denoise it: linear, orthogonal, and inverted exactly (or a component)."""
        return self.linear and self.orthogonal and (self.component or self.round_trip_error <= TOLERANCE)

    def __str__(self) -> str:
        moves = {True: "a permutation", False: "moves values but loses some", None: "mixes values"}[self.bijective]
        lines = [
            f"{self.name} of {'x'.join(map(str, self.shape))}: {'valid' if self.valid else 'NOT VALID'}",
            f"  kind               {moves}{'' if self.linear else ', not linear'}",
            f"  orthogonal         {'yes' if self.orthogonal else 'no'} (error {self.orthogonality_error:.1e})",
            f"  round trip         error {self.round_trip_error:.1e}"
            + (" (a component: summed with others)" if self.component else ""),
            f"  white noise        std {self.noise_std:.3f}, correlation of neighbours {self.noise_correlation:+.3f}",
        ]
        return "\n".join(lines)


def check_view(
    view: Any, shape: Shape = (3, 64, 64), *, n: int = 64, seed: int = 0, tensors: bool = False
) -> ViewReport:
    """Measure whether a view can be used with a diffusion model, which was trained on white noise.

    Args:
        view: A name, a `View`, a view of a `Views`, an object with the methods apply and inverse, or the two functions
            (view, inverse). It gets float64 pictures (k, C, H, W).
        shape: (C, H, W).
        n: How many pictures of noise to measure.
        seed: Of the random pictures.
        tensors: Hand torch tensors to the view, not arrays.

    Raises:
        TypeError: Something that is no view.
        ValueError: A view that this shape does not have, or that returns another shape.
    """
    bound = _bound(view, shape)
    apply, inverse = (_on_arrays(function, bound.name, tensors) for function in (bound.apply, bound.inverse))
    random = np.random.default_rng(seed)
    probes = random.standard_normal((_N_PROBES, *bound.shape))
    seen = apply(probes)
    std, correlation = _noise(apply, bound.shape, integer("n", n, 1), random)
    error = _orthogonality_error(apply, probes, seen)
    return ViewReport(
        name=bound.name,
        shape=bound.shape,
        bijective=_is_bijective(apply, probes, seen),
        linear=_relative(apply(probes[:1] + 2 * probes[1:2]), seen[:1] + 2 * seen[1:2]) <= TOLERANCE,
        orthogonal=error <= TOLERANCE,
        orthogonality_error=error,
        round_trip_error=max(_relative(back, x) for back, x in zip(inverse(seen), probes, strict=True)),
        noise_std=std,
        noise_correlation=correlation,
        component=bound.is_component,
    )


class _Pair:
    """Two functions as a view."""

    def __init__(self, apply: Callable[[Any], Any], inverse: Callable[[Any], Any]) -> None:
        self.apply, self.inverse = apply, inverse

    def __str__(self) -> str:
        return getattr(self.apply, "__name__", "view")


def _bound(view: Any, shape: Any) -> BoundView:
    if isinstance(view, BoundView):
        return view
    if isinstance(view, tuple) and len(view) == 2 and all(map(callable, view)):
        view = _Pair(*view)
    found, shape = as_view(view, "check_view"), checked_shape(shape, "check_view")
    return found.unchecked(shape) if isinstance(found, Custom) else found.bind(shape)


def _on_arrays(function: Callable[[Any], Any], name: str, tensors: bool) -> Function:
    def run(x: np.ndarray) -> np.ndarray:
        given: Any = x
        if tensors:
            import torch

            given = torch.from_numpy(x)
        result = as_array(function(given))
        if result.shape != x.shape:
            raise ValueError(f"view {name!r} must keep the shape of pictures, got {result.shape} of {x.shape}")
        return result.astype(np.float64)

    return run


def _relative(x: np.ndarray, wanted: np.ndarray) -> float:
    return float(np.linalg.norm(x - wanted) / np.linalg.norm(wanted))


def _is_bijective(apply: Function, probes: np.ndarray, seen: np.ndarray) -> bool | None:
    """Find the value that comes to each place by numbering them, and see whether other pictures agree."""
    size = probes[0].size
    numbers = apply(np.arange(1.0, size + 1).reshape(1, *probes.shape[1:])).ravel()
    entries = np.rint(numbers).astype(np.int64)
    if not np.array_equal(entries, numbers) or abs(entries).min() < 1 or abs(entries).max() > size:
        return None
    moved = probes.reshape(len(probes), -1)[:, abs(entries) - 1] * np.sign(entries)
    if not np.allclose(moved, seen.reshape(len(probes), -1), rtol=1e-6, atol=0):
        return None
    return len(np.unique(abs(entries))) == size


def _orthogonality_error(apply: Function, probes: np.ndarray, seen: np.ndarray) -> float:
    shape, size = probes.shape[1:], probes[0].size
    if size <= _EXACT_SIZE:
        matrix = apply(np.eye(size).reshape(size, *shape)).reshape(size, size)
        return float(abs(matrix.T @ matrix - np.eye(size)).max())  # rows are the views of unit pictures: A = matrix.T
    before, after = (x.reshape(len(x), -1) for x in (probes, seen))
    norms = np.linalg.norm(before, axis=1)
    return float((abs(after @ after.T - before @ before.T) / np.outer(norms, norms)).max())


def _noise(apply: Function, shape: Shape, n: int, random: np.random.Generator) -> tuple[float, float]:
    """Return the standard deviation of the view of white noise, and the correlation of neighbours that is largest."""
    square = count = 0.0
    sums: dict[str, float] = {}
    counts: dict[str, int] = {}
    for k in _chunks(n, int(np.prod(shape))):
        x = apply(random.standard_normal((k, *shape)))
        square, count = square + float((x * x).sum()), count + x.size
        for name, (a, b) in _neighbours(x).items():
            sums[name] = sums.get(name, 0.0) + float((a * b).sum())
            counts[name] = counts.get(name, 0) + a.size
    variance = square / count
    correlations = [sums[name] / counts[name] / variance for name in sums if counts[name] and variance]
    return variance**0.5, max(correlations, key=abs, default=0.0)


def _neighbours(x: np.ndarray) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    return {
        "beside": (x[..., 1:], x[..., :-1]),
        "below": (x[..., 1:, :], x[..., :-1, :]),
        "diagonal": (x[..., 1:, 1:], x[..., :-1, :-1]),
        "other diagonal": (x[..., 1:, :-1], x[..., :-1, 1:]),
        "channel": (x[:, 1:], x[:, :-1]),
    }


def _chunks(n: int, size: int) -> Iterator[int]:
    most = max(1, _CHUNK // size)
    for first in range(0, n, most):
        yield min(most, n - first)
