"""What the reports of all systems have in common."""

from __future__ import annotations

from typing import Any


class Report:
    """A report whose ``picture`` is a function of work in progress; copied or pickled, it keeps the picture itself."""

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "picture": _Taken(vars(self)["picture"]())}


class _Taken:
    def __init__(self, picture: Any) -> None:
        self._picture = picture

    def __call__(self) -> Any:
        return self._picture
