"""What an iterative synthesis tells while it runs."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, Protocol

from genimg_fast._system import warn


class Watched(Protocol):
    """Where a synthesis stands."""

    @property
    def iteration(self) -> int: ...

    @property
    def distance(self) -> float: ...

    @property
    def shown(self) -> dict[str, float]: ...


class Watch:
    """Shows and reports how a synthesis comes on, and says when it is close enough.

    Args:
        title: Of the progress bar.
        n_iter: Number of iterations.
        tolerance: The distance that is close enough.
        callback: Called with each step, or None.
        progress: Whether to show a bar, where standard error is a terminal.
    """

    def __init__(
        self, title: str, n_iter: int, tolerance: float, callback: Callable[[Any], Any] | None, progress: bool
    ) -> None:
        self._title, self.n_iter, self._tolerance, self._callback = title, n_iter, tolerance, callback
        self._bar: Any = None
        self._wants_bar = progress and sys.stderr.isatty()

    @property
    def measures(self) -> bool:
        """Whether anyone wants to know the distance, which costs time."""
        return self._wants_bar or self._tolerance > 0 or self._callback is not None

    def __enter__(self) -> Watch:
        if self._wants_bar:
            from tqdm import tqdm

            self._bar = tqdm(total=self.n_iter, desc=self._title, unit="it")
        return self

    def __exit__(self, *_: Any) -> None:
        if self._bar is not None:
            self._bar.close()

    def warn_stopped(self, done: int) -> None:
        """Tell who called the system that Ctrl-C ended the synthesis."""
        message = f"stopped by Ctrl-C after {done} of {self.n_iter} iterations; this is the picture so far"
        warn(message)

    def report(self, step: Watched) -> bool:
        """Tell the user and the caller; return whether the synthesis is within the tolerance."""
        if self._bar is not None:
            self._bar.set_postfix({name: f"{value:.4f}" for name, value in step.shown.items()}, refresh=False)
            self._bar.update(step.iteration - self._bar.n)
        if self._callback is not None:
            self._callback(step)
        return step.distance <= self._tolerance
