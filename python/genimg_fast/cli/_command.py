"""Commands that speak of their own options: which of them go together, and how the library's errors name them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import click
from click.core import ParameterSource

from genimg_fast.cli._errors import BadInput, in_one_line


class Dependent(click.Option):
    """An option that has an effect only beside another one, and is an error without it.

    Args:
        needs: For each parameter that must be given, the values that will do; none: any.
    """

    def __init__(self, *args: Any, needs: Mapping[str, Sequence[str]], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.needs = needs

    def check(self, ctx: click.Context, shown: Mapping[str, str]) -> None:
        """Raise UsageError if the option was given although it has no effect."""
        if ctx.get_parameter_source(self.name or "") is ParameterSource.DEFAULT:
            return
        for name, values in self.needs.items():
            value = ctx.params[name]
            if value in values if values else value not in (None, (), False):
                continue
            needed = f"{shown[name]} {' or '.join(values)}".rstrip()
            raise click.UsageError(f"{self.opts[0]} has no effect without {needed}", ctx)


class Command(click.Command):
    """A command around a function of the library.

    Args:
        function: The function's name, with which its errors begin.
        words: How its arguments are called here, where that is not an option of the same name; a pair for a list: the
            first item, and the others.
    """

    def __init__(
        self,
        *args: Any,
        function: str = "",
        words: Mapping[str, str | tuple[str, str]] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self._function = function
        self._options = {
            p.name or "": p.opts[0] if isinstance(p, click.Option) else str(p.metavar) for p in self.params
        }
        self._words = {**self._options, **(words or {})}

    def invoke(self, ctx: click.Context) -> Any:
        for option in self.params:
            if isinstance(option, Dependent):
                option.check(ctx, self._options)
        try:
            return super().invoke(ctx)
        except (ValueError, TypeError) as error:
            raise BadInput(self._in_own_words(in_one_line(error))) from error

    def _in_own_words(self, message: str) -> str:
        """Return an error of the library with the command's words for its arguments."""
        message = message.removeprefix(f"{self._function}: ")
        message = re.sub(r"\b([a-z_]+)\[(\d+)\]", lambda m: self._item(m[0], m[1], int(m[2])), message)
        message = re.sub(r"\b([a-z_]+)\['(\w+)'\]", lambda m: f"{self._word(m[1])} {m[2]}", message)
        message = re.sub(r"\b([a-z_]+)=(?:'(\w*)')?", self._with_value, message)
        # A name without an underscore may be a plain word elsewhere in a sentence than at its beginning.
        return re.sub(
            r"^[a-z]+(?= (must|needs|does|do)\b)|(?<=not go with )[a-z]+|\b[a-z]+_[a-z_]+\b",
            lambda m: self._word(m[0]),
            message,
        )

    def _with_value(self, found: re.Match[str]) -> str:
        return f"{self._word(found[1])} {found[2] or ''}" if found[1] in self._words else found[0]

    def _word(self, name: str) -> str:
        word = self._words.get(name, name)
        return word if isinstance(word, str) else word[0]

    def _item(self, text: str, name: str, index: int) -> str:
        word = self._words.get(name)
        if word is None:
            return text
        if isinstance(word, str):
            return f"{word} number {index + 1}"
        return word[0] if index == 0 else f"{word[1]} number {index}"
