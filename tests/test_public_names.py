"""What packages show of themselves, and what their docstrings say of arguments."""

from __future__ import annotations

import inspect
import re
from types import ModuleType
from typing import Any

import pytest

import genimg_fast as gf

PACKAGES = [gf, gf.textures, gf.style, gf.features, gf.plot, gf.views, gf.diffusion]
CALLABLES = [
    pytest.param(getattr(package, name), id=f"{package.__name__}.{name}")
    for package in (gf, gf.textures, gf.style, gf.features, gf.plot)
    for name in package.__all__
    if callable(getattr(package, name)) and "Args:" in (getattr(package, name).__doc__ or "")
]


@pytest.mark.parametrize("package", PACKAGES)
def test_dir_shows_public_names(package: ModuleType) -> None:
    assert [name for name in dir(package) if not name.startswith("__")] == sorted(package.__all__)
    assert "__all__" in dir(package)


@pytest.mark.parametrize("function", CALLABLES)
def test_each_argument_has_an_entry_of_its_own(function: Any) -> None:
    section = re.split(r"\n(?=\S)", inspect.getdoc(function).partition("Args:\n")[2])[0]
    entries = re.findall(r"^ {4}(\w[\w, ]*):", section, re.MULTILINE)
    named = [name for entry in entries for name in entry.split(", ")]
    arguments = [name for name in inspect.signature(function).parameters if name not in ("self", "args", "kwargs")]
    assert sorted(named) == sorted(arguments)
