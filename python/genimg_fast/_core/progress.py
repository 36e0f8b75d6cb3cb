"""Progress of long work on standard error, and the warning that Ctrl-C ended it early."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from genimg_fast._system import warn

SECONDS_BETWEEN_LINES = 10.0

T = TypeVar("T")


class Interrupted(RuntimeWarning):
    """Says that Ctrl-C ended the work early, and that its result so far was returned."""


def warn_interrupted(done: str, *, result: str = "picture") -> None:
    """Warn who called the system that it was stopped.

    Args:
        done: How much of how much was done, such as "2 of 9 iterations".
        result: What is returned.
    """
    warn(f"stopped by Ctrl-C after {done}; this is the {result} so far", Interrupted)


class ProgressBar:
    """A bar where standard error is a terminal, elsewhere a line every ten seconds.

    A standard error that is closed, or whose reader went away, ends the display and not the work.

    Args:
        title: Name of the work.
        total: Number of its steps.
        unit: Word for one of them.
        initial: Number of steps that are done already.
        shown: Whether to show anything.
    """

    def __init__(self, title: str, total: int, *, unit: str = "it", initial: int = 0, shown: bool = True) -> None:
        self._title, self._total, self._unit, self._done = title, total, unit, initial
        self._bar: Any = None
        self._next_line = time.monotonic() + SECONDS_BETWEEN_LINES
        self._is_shown = shown and sys.stderr is not None and not sys.stderr.closed
        if self._is_shown and sys.stderr.isatty():
            from tqdm import tqdm

            with self._surviving():
                self._bar = tqdm(initial=initial, total=total, desc=title, unit=unit, dynamic_ncols=True)

    @property
    def is_due(self) -> bool:
        """Whether numbers given now are shown; measuring them may cost time."""
        return self._is_shown and (self._bar is not None or time.monotonic() >= self._next_line)

    def update(self, done: int, numbers: Mapping[str, str] | None = None) -> None:
        """Show that a number of steps is done, and what is known about the result."""
        step, self._done = done - self._done, done
        if not self.is_due:
            return
        with self._surviving():
            if self._bar is not None:
                self._bar.set_postfix(numbers or {}, refresh=False)
                self._bar.update(step)
                return
            known = "".join(f", {name} {value}" for name, value in (numbers or {}).items())
            print(f"{self._title}: {done} of {self._total} {self._unit}{known}", file=sys.stderr, flush=True)
            self._next_line = time.monotonic() + SECONDS_BETWEEN_LINES

    def close(self) -> None:
        if self._bar is not None:
            with self._surviving():
                self._bar.close()

    def __enter__(self) -> ProgressBar:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    @contextlib.contextmanager
    def _surviving(self) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError):  # a closed pipe; a closed file
            self._is_shown, self._bar = False, None


def tracked(items: Sequence[T], title: str, *, unit: str = "step", shown: bool = True) -> Iterator[T]:
    """Yield items, and show how many of them are done."""
    with ProgressBar(title, len(items), unit=unit, shown=shown) as bar:
        for done, item in enumerate(items, 1):
            yield item
            bar.update(done)


@contextlib.contextmanager
def noted_signals(note: Callable[[int, Any], None]) -> Iterator[None]:
    """Have Ctrl-C and SIGTERM call a function inside the block, where the main thread runs it."""
    if threading.current_thread() is not threading.main_thread():  # others may set no handlers
        yield
        return
    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            # None: a handler that is none of Python's, which Python cannot set again.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
