"""What an iterative synthesis tells while it runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from genimg_fast._core.progress import ProgressBar, warn_interrupted


class Watched(Protocol):
    """Where a synthesis stands."""

    @property
    def iteration(self) -> int: ...

    @property
    def distance(self) -> float: ...

    @property
    def shown(self) -> dict[str, str]: ...


class Watch:
    """Shows and reports how a synthesis comes on, and says when it is close enough.

    Args:
        title: Of the progress bar.
        n_iter: Number of iterations.
        tolerance: The distance that is close enough.
        callback: Called with each step, or None.
        progress: Whether to show progress on standard error.
    """

    def __init__(
        self, title: str, n_iter: int, tolerance: float, callback: Callable[[Any], Any] | None, progress: bool
    ) -> None:
        self._title, self.n_iter, self._tolerance, self._callback = title, n_iter, tolerance, callback
        self._is_shown = progress
        self._bar: ProgressBar | None = None

    @property
    def measures(self) -> bool:
        """Whether anyone wants to know the distance, which costs time."""
        return self._tolerance > 0 or self._callback is not None or (self._bar is not None and self._bar.is_due)

    def __enter__(self) -> Watch:
        self._bar = ProgressBar(self._title, self.n_iter, shown=self._is_shown)
        return self

    def __exit__(self, *_: Any) -> None:
        if self._bar is not None:
            self._bar.close()

    def warn_stopped(self, done: int) -> None:
        """Tell who called the system that Ctrl-C ended the synthesis."""
        warn_interrupted(f"{done} of {self.n_iter} iterations")

    def report(self, step: Watched) -> bool:
        """Tell the user and the caller; return whether the synthesis is within the tolerance."""
        if self._bar is not None:
            self._bar.update(step.iteration, step.shown)
        if self._callback is not None:
            self._callback(step)
        return step.distance <= self._tolerance
