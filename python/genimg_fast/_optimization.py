"""Descent on pictures, coarse to fine: torch's optimisers, a progress bar, and a picture that Ctrl-C keeps.

The systems that minimise a loss over a picture share it. It knows neither features nor losses: what it minimises is a
function of planes (1, C, H, W) that gives loss, gradient and the loss' parts, made anew for each size.
"""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from genimg_fast import _arguments as check
from genimg_fast._core.progress import ProgressBar, warn_interrupted
from genimg_fast._step import Report
from genimg_fast._system import warn

OPTIMIZERS = ("lbfgs", "adam")

Shape = tuple[int, int]
Parts = Mapping[str, float]
Evaluation = Callable[[torch.Tensor], tuple[float, torch.Tensor, Parts]]

_LONGEST_HISTORY = 20  # pairs of vectors: more of them made no difference that could be measured


@dataclass(frozen=True)
class Settings:
    """How to descend.

    Attributes:
        optimizer: "lbfgs" (with a strong Wolfe line search) or "adam".
        n_iter: Evaluations of the loss and its gradient at each size, the costly part; at least 1.
        tolerance: A size is done once its loss is at or below it.
        learning_rate: Of Adam, in units of the pictures' values.
        history_bytes: Most memory for L-BFGS' pairs of vectors; at least one pair is kept.
    """

    optimizer: str = "lbfgs"
    n_iter: int = 100
    tolerance: float = 0.0
    learning_rate: float = 0.02
    history_bytes: int = 1 << 30

    def history(self, x: torch.Tensor) -> int:
        """Return how many pairs of vectors L-BFGS may keep."""
        return min(_LONGEST_HISTORY, max(1, self.history_bytes // (2 * x.numel() * x.element_size())))


def checked_settings(optimizer: Any, n_iter: Any, tolerance: Any, learning_rate: Any, history_bytes: Any) -> Settings:
    """Return settings from what a caller gave, or raise TypeError or ValueError naming what is wrong."""
    return Settings(
        check.choice("optimizer", optimizer, OPTIMIZERS),
        check.integer("n_iter", n_iter, 1),
        check.not_negative("tolerance", tolerance),
        check.positive("learning_rate", learning_rate),
        check.integer("history_bytes", history_bytes, 0),
    )


@dataclass(frozen=True)
class DescentStep(Report):
    """Where a descent stands after an evaluation.

    Attributes:
        item: Which picture of the batch, from 0.
        size: (height, width) it has now.
        iteration: Evaluations of this picture so far, over all sizes.
        n_iter: As many as there will be at most.
        loss: Its loss.
        losses: What it is made of by name: the weighted parts of the loss, such as layers; of Portilla and Simoncelli's
            statistics the squares of the families' relative errors.
        picture: Call it for the picture, in the caller's kind.
    """

    item: int
    size: Shape
    iteration: int
    n_iter: int
    loss: float
    losses: Parts
    picture: Callable[[], Any]


def by_autograd(loss: Callable[[torch.Tensor], tuple[torch.Tensor, Mapping[str, Any]]]) -> Evaluation:
    """Return the evaluation of a differentiable loss, which gives its value and its parts."""

    def evaluate(x: torch.Tensor) -> tuple[float, torch.Tensor, Parts]:
        x = x.detach().requires_grad_()
        with torch.enable_grad():
            value, parts = loss(x)
        (gradient,) = torch.autograd.grad(value, x)
        return float(value.detach()), gradient, as_numbers(parts)

    return evaluate


def as_numbers(parts: Mapping[str, Any]) -> Parts:
    """Return the parts of a loss, tensors or numbers, as numbers."""
    return {name: float(part.detach() if isinstance(part, torch.Tensor) else part) for name, part in parts.items()}


def halved(size: Shape, n_scales: int, multiple: int = 1) -> list[Shape]:
    """Return ``n_scales`` sizes, each about half of the next, of which the last is ``size``.

    Args:
        size: (height, width).
        n_scales: At least 1.
        multiple: Coarser sides are rounded to multiples of it.
    """

    def side(n: int, level: int) -> int:
        return n if not level else max(1, round(n / 2**level / multiple)) * multiple

    return [(side(size[0], level), side(size[1], level)) for level in reversed(range(n_scales))]


def rescaled(exemplar: Sequence[int], full: Shape, now: Shape) -> Shape:
    """Return an exemplar's size where the result's full size is reduced to what it is now."""
    height, width = (max(1, round(n * b / a)) for n, a, b in zip(exemplar, full, now, strict=True))
    return height, width


def resized(planes: torch.Tensor, size: Shape, *, circular: bool = False) -> torch.Tensor:
    """Return planes (N, C, H, W) at another size, filtered against aliasing; circular ones stay without a seam."""
    if tuple(planes.shape[-2:]) == tuple(size):
        return planes
    if not circular:
        return torch.nn.functional.interpolate(planes, size, mode="bicubic", antialias=True)
    # A ring of copies, three times the picture, is cut back to its middle: the filter never meets a border.
    ring = planes.repeat(1, 1, 3, 3)
    large = torch.nn.functional.interpolate(ring, (3 * size[0], 3 * size[1]), mode="bicubic", antialias=True)
    return large[..., size[0] : 2 * size[0], size[1] : 2 * size[1]].contiguous()


class Watch:
    """Counts the evaluations of a descent on several pictures, and shows and reports them.

    Args:
        title: Title of the progress bar.
        progress: Whether to show it.
        callback: Called with a `DescentStep` after each evaluation, or None.
        picture: Makes the caller's picture of planes (1, C, H, W) and the index of a start.
    """

    def __init__(
        self,
        title: str,
        progress: bool,
        callback: Callable[[DescentStep], Any] | None,
        picture: Callable[[torch.Tensor, int], Any],
    ) -> None:
        self._title, self._callback, self._picture = title, callback, picture
        self._is_shown = progress
        self._bar: ProgressBar | None = None
        self._counts: list[int] = []
        self._each = 0

    def start(self, n_pictures: int, n_evaluations: int) -> None:
        """Begin to count up to a number of evaluations of each picture."""
        self._counts, self._each = [0] * n_pictures, n_evaluations
        self._bar = ProgressBar(self._title, n_pictures * n_evaluations, shown=self._is_shown)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()

    def count(self, item: int, size: Shape, loss: float, losses: Parts, planes: torch.Tensor) -> None:
        """Count and report an evaluation of the picture ``item``, which has these planes now."""
        self._counts[item] += 1
        step = DescentStep(
            item, size, self._counts[item], self._each, loss, losses, lambda: self._picture(planes, item)
        )
        if self._bar is not None:
            self._bar.update(sum(self._counts), {"loss": f"{loss:.3g}"} | _largest(losses))
        if self._callback is not None:
            self._callback(step)

    def skip_to(self, item: int, n: int) -> None:
        """Count evaluations that the picture ``item`` did not need, up to ``n``."""
        if n > self._counts[item]:
            self._counts[item] = n
            if self._bar is not None:
                self._bar.update(sum(self._counts))

    @property
    def counted(self) -> str:
        """How many evaluations are done, of how many."""
        return f"{sum(self._counts)} of {self._each * len(self._counts)} evaluations"


def descend(
    starts: Sequence[torch.Tensor],
    sizes: Sequence[Shape],
    objective: Callable[[Shape, int], Evaluation],
    settings: Settings,
    watch: Watch,
    *,
    circular: bool = False,
) -> list[torch.Tensor]:
    """Minimise a loss over each of some pictures, from the coarsest size to the finest.

    The pictures are independent of each other: each ends as it would alone. All of them pass a size before the next, so
    that an interruption finds them equally far.

    Args:
        starts: Planes (1, C, H, W) to begin with; they are resized to the first size.
        sizes: (height, width), coarse to fine; the last is the results'.
        objective: Gives the evaluation for a size and the index of a picture in ``starts``.
        settings: How to descend.
        watch: Who wants to know.
        circular: Whether pictures tile and must do so after resizing.

    Returns:
        Planes (1, C, H, W) for each start: those with the smallest loss that was met at the last size. After Ctrl-C
        (KeyboardInterrupt), with a RuntimeWarning, the best so far, resized to the last size.

    Raises:
        ValueError: The loss of a start is NaN or infinite.
    """
    pictures = list(starts)
    watch.start(len(pictures), settings.n_iter * len(sizes))
    try:
        for level, size in enumerate(sizes, 1):
            for item, picture in enumerate(pictures):
                best = _Best(resized(picture, size, circular=circular))
                # The best so far takes the picture's place at once, so that an interruption finds it.
                pictures[item] = best.planes
                _minimise(best, objective(size, item), settings, functools.partial(watch.count, item, size))
                watch.skip_to(item, level * settings.n_iter)
    except KeyboardInterrupt:
        warn_interrupted(watch.counted)
    finally:
        watch.close()
    return [resized(picture, sizes[-1], circular=circular) for picture in pictures]


class _Best:
    """The planes with the smallest loss so far, in a buffer that stays the same tensor."""

    def __init__(self, planes: torch.Tensor) -> None:
        self.planes, self.loss = planes.detach().clone(), math.inf

    def offer(self, planes: torch.Tensor, loss: float) -> None:
        if loss < self.loss:
            self.loss = loss
            self.planes.copy_(planes)


class _EnoughError(Exception):
    """Ends an optimiser from inside."""


class _Problem:
    """A loss as torch's optimisers see it: of a parameter that is the picture in some unit.

    Args:
        best: Where to begin, and where the best picture is kept.
        evaluate: Gives loss, gradient and parts.
        settings: How far to go.
        note: Called with loss, parts and picture of each evaluation.
    """

    def __init__(
        self,
        best: _Best,
        evaluate: Evaluation,
        settings: Settings,
        note: Callable[[float, Parts, torch.Tensor], None],
    ) -> None:
        self._best, self._evaluate, self._settings, self._note = best, evaluate, settings, note
        self._picture = best.planes.clone(memory_format=torch.contiguous_format)
        self._done = 0
        self._known: tuple[float, torch.Tensor] | None = self._observed()
        self._unit = 1.0 if settings.optimizer == "adam" else _first_step(*self._known)
        self.parameter = self._picture / self._unit

    def closure(self) -> float:
        """Return the loss of the parameter and leave its gradient there, or raise `_EnoughError`."""
        if self._known is None:
            self._picture = self.parameter * self._unit
            self._known = self._observed()
        (loss, gradient), self._known = self._known, None
        self.parameter.grad = gradient * self._unit
        return loss

    def _observed(self) -> tuple[float, torch.Tensor]:
        if self._done == self._settings.n_iter:
            raise _EnoughError
        loss, gradient, parts = self._evaluate(self._picture)
        if not math.isfinite(loss):
            self._refuse(loss, parts)
        self._done += 1
        self._best.offer(self._picture, loss)
        self._note(loss, parts, self._picture)
        if loss <= self._settings.tolerance:
            raise _EnoughError
        return loss, gradient

    def _refuse(self, loss: float, parts: Parts) -> None:
        if not self._done:
            raise ValueError(f"the loss must be finite, got {loss} for the picture to start from ({dict(parts)})")
        message = f"the loss became {loss} after {self._done} evaluations; the picture with the least before is kept"
        warn(message)
        raise _EnoughError


def _minimise(
    best: _Best,
    evaluate: Evaluation,
    settings: Settings,
    note: Callable[[float, Parts, torch.Tensor], None],
) -> None:
    threads = torch.get_num_threads()

    def evaluate_on_all_threads(planes: torch.Tensor) -> tuple[float, torch.Tensor, Parts]:
        with _threads(threads):
            return evaluate(planes)

    # The bits of an optimiser's products of long vectors depend on the number of threads.
    with contextlib.suppress(_EnoughError), _threads(1):
        problem = _Problem(best, evaluate_on_all_threads, settings, note)
        optimizer = _optimizer(problem.parameter, settings)
        # L-BFGS makes all its evaluations in one step, and may end before the last where no direction leads down.
        for _ in range(settings.n_iter if settings.optimizer == "adam" else 1):
            optimizer.step(problem.closure)


@contextlib.contextmanager
def _threads(n: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _first_step(loss: float, gradient: torch.Tensor) -> float:
    """Return the unit in which the first step of torch's L-BFGS is as long as leads a linear loss to 0.

    That step is the gradient over its 1-norm, whatever the loss: of a picture's many pixels in [0, 1] each would hardly
    change, and each size would begin with evaluations that find a longer step.
    """
    wide = gradient.double()
    unit = abs(loss) * float(wide.abs().sum()) / (float(wide.square().sum()) or 1.0)
    return unit or 1.0


def _optimizer(x: torch.Tensor, settings: Settings) -> torch.optim.Optimizer:
    if settings.optimizer == "adam":
        return torch.optim.Adam([x], lr=settings.learning_rate)
    # The tolerances are of another unit than ours: off. Evaluations are counted by the caller.
    return torch.optim.LBFGS(
        [x],
        max_iter=settings.n_iter,
        max_eval=2 * settings.n_iter,
        tolerance_grad=0,
        tolerance_change=0,
        history_size=settings.history(x),
        line_search_fn="strong_wolfe",
    )


def _largest(parts: Parts) -> dict[str, str]:
    """Return the largest part of a loss; a progress bar of 80 columns holds no more."""
    if not parts:
        return {}
    name = max(parts, key=lambda one: parts[one])
    return {name: f"{parts[name]:.2g}"}
