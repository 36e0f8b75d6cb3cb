"""The door of every system: errors begin with the name of the function called, and torch's modes are the usual ones."""

from __future__ import annotations

import contextlib
import functools
import sys
import warnings
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

_CALLED: ContextVar[str] = ContextVar("genimg_fast system", default="genimg_fast")


def called() -> str:
    """Return the name of the system that was called, for errors."""
    return _CALLED.get()


def system(name: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Return a decorator of a public function that finds or measures pictures, or of a class' constructor.

    A TypeError or ValueError that the package raises inside it begins with the name. It runs in torch's usual modes,
    whatever the caller's are: gradients are recorded, tensors are no inference tensors and live on the processor where
    nothing else is said, and there is no autocast. So its results do not depend on them, and descents work under
    ``torch.inference_mode()``.

    Args:
        name: Of the function or the class.
    """

    def decorated(function: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            token = _CALLED.set(name)
            try:
                with _usual_modes():
                    return function(*args, **kwargs)
            except (TypeError, ValueError) as error:
                _begin_with(name, error)
                raise
            finally:
                _CALLED.reset(token)

        return call

    return decorated


def warn(message: str, category: type[Warning] = RuntimeWarning) -> None:
    """Warn the first caller outside of the package."""
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and str(frame.f_globals.get("__name__")).partition(".")[0] == __package__:
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level)


def _begin_with(name: str, error: Exception) -> None:
    """Let the message of an error of ours begin with a name."""
    if type(error) not in (TypeError, ValueError) or len(error.args) != 1 or not _is_ours(error):
        return
    message = str(error.args[0])
    if not message.startswith(f"{name}: "):
        error.args = (f"{name}: {message}",)


def _is_ours(error: Exception) -> bool:
    """Tell whether the package raised an error: not a caller's callback, and not Python for a wrong signature."""
    first = last = error.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    return (
        last is not None and last is not first and str(last.tb_frame.f_globals.get("__name__")).startswith(__package__)
    )


@contextlib.contextmanager
def _usual_modes() -> Iterator[None]:
    torch: Any = sys.modules.get("torch")
    if torch is None:
        yield
        return
    with contextlib.ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        if torch.get_default_device().type != "cpu":
            stack.enter_context(torch.device("cpu"))
        for device in ("cpu", "cuda"):
            if torch.is_autocast_enabled(device):
                stack.enter_context(torch.autocast(device, enabled=False))
        yield
