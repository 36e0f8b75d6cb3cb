"""Lines that survive a closed pipe, and errors of the user's making in one line, never in a traceback."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import click

INTERRUPTED = 130  # 128 and the number of SIGINT, as shells count


class BadInput(click.ClickException):
    exit_code = 2

    def show(self, file: Any = None) -> None:
        say(f"Error: {self.format_message()}", err=True)


def say(line: str, *, err: bool = False) -> None:
    """Print a line. A reader that went away, or a full disk behind standard output, does not end the work."""
    try:
        click.echo(line, err=err)
    except (OSError, ValueError):  # a broken pipe; a closed file
        _silence(sys.stderr if err else sys.stdout)


def _silence(stream: Any) -> None:
    """Send what is left in a stream's buffer nowhere, or its flush at the process' end would fail too."""
    with suppress(OSError, ValueError, AttributeError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


def in_one_line(error: Exception) -> str:
    """Return the reason that an error gives."""
    reason = str(error) or type(error).__name__
    if isinstance(error, OSError) and error.filename is not None:
        reason = f"{error.filename}: {error.strerror}"
    return " ".join(reason.split())


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Turn the errors by which click and the library refuse bad input into `BadInput`."""
    try:
        yield
    except click.UsageError as error:
        if isinstance(error, click.exceptions.NoArgsIsHelpError):
            raise
        raise BadInput(error.format_message()) from error
    except (ValueError, TypeError, OSError, MemoryError) as error:
        raise BadInput(in_one_line(error)) from error


class NamingGroup(click.Group):
    """A group that lists its commands to those who name another."""

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        if args and not args[0].startswith("-") and self.get_command(ctx, args[0]) is None:
            ctx.fail(f"No such command {args[0]!r}; there are {', '.join(self.list_commands(ctx))}.")
        return super().resolve_command(ctx, args)


class OneLineErrors(NamingGroup):
    """A group whose commands report bad input in one line, and an interruption by the status that shells expect."""

    def make_context(self, info_name: str | None, args: list[str], *rest: Any, **kwargs: Any) -> click.Context:
        given = tuple(args)
        with one_line_errors():
            ctx = super().make_context(info_name, args, *rest, **kwargs)
        ctx.meta["arguments"] = given  # for what is written into pictures
        return ctx

    def invoke(self, ctx: click.Context) -> Any:
        try:
            with one_line_errors():
                return super().invoke(ctx)
        except KeyboardInterrupt:
            say("stopped", err=True)
            ctx.exit(INTERRUPTED)
