"""One cache of the digits' model and several processes: one trains, the others wait, none fails."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import genimg_fast as gf

pytest.importorskip("diffusers")
pytest.importorskip("sklearn")

TINY: dict[str, Any] = {"size": 8, "steps": 30, "widths": (16,), "batch_size": 4}

CODE = f"""
import sys, time, genimg_fast as gf
from genimg_fast.diffusion import _builtin
import diffusers.training_utils
_builtin.SETTINGS = {TINY!r}
print("ready", flush=True)
sys.stdin.readline()
model = _builtin.digits_model(say=print)
print(model.facts["step"], float(next(model.network.parameters()).sum()))
"""


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    from genimg_fast.diffusion import _builtin

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(_builtin, "SETTINGS", TINY | {"steps": 2})
    return tmp_path / "genimg_fast"


def test_several_processes_train_once(cache: Path) -> None:
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", CODE]
    processes = [subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True) for _ in range(3)]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:  # all at once
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    outputs = [process.communicate(timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0], outputs
    said = [out.splitlines() for out, _ in outputs]
    assert len({lines[-1] for lines in said}) == 1
    assert sum(any(line.startswith("training a model") for line in lines) for lines in said) == 1
    assert sum(any(line.startswith("model: ") for line in lines) for lines in said) == 2
    assert [one.name for one in cache.iterdir()] == ["digits-16-1.safetensors"]


def test_a_lock_that_was_taken_and_removed_is_taken_again(cache: Path) -> None:
    """Who waited for a file that is gone by then waits for nothing that others see."""
    import fcntl

    from genimg_fast.diffusion import _builtin

    path = cache / ".lock"
    cache.mkdir()
    held = os.open(path, os.O_RDWR | os.O_CREAT)
    fcntl.flock(held, fcntl.LOCK_EX)

    def let_go() -> None:
        path.unlink()
        os.close(held)

    with _builtin._alone(path, let_go):
        assert path.exists()
        other = os.open(path, os.O_RDWR)
        with pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.close(other)
    assert not path.exists()


def test_a_file_system_without_locks_trains_all_the_same(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from genimg_fast.diffusion import _builtin

    def refuse(*_: Any) -> None:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(_builtin.fcntl, "flock", refuse)
    assert gf.diffusion.digits_model(progress=False).facts["step"] == 2


def test_a_partial_that_another_process_removed_is_no_error(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from genimg_fast.diffusion import _builtin

    save = gf.diffusion.Model.save

    def save_and_remove(self: Any, path: Any) -> None:
        save(self, path)
        for one in cache.glob("*.partial.*"):
            one.unlink()

    monkeypatch.setattr(_builtin.Model, "save", save_and_remove)
    assert gf.diffusion.digits_model(progress=False).facts["step"] == 2


@pytest.mark.parametrize("name", ["digits-16-1.safetensors", "digits-16-1.partial.safetensors"])
def test_a_broken_file_in_the_cache_says_what_to_remove(cache: Path, name: str) -> None:
    cache.mkdir()
    (cache / name).write_bytes(b"broken")
    with pytest.raises(ValueError, match=rf"{name} is truncated .*; remove .*{name} to train the model anew"):
        gf.diffusion.digits_model(progress=False)
