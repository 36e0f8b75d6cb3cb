"""What all commands that make pictures do: seeds, files that would be lost, signals, closed pipes, progress."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

import genimg_fast as gf
from genimg_fast import images
from genimg_fast._core import progress
from genimg_fast.cli import main

GREY = np.random.default_rng(0).integers(0, 256, (40, 48), dtype=np.uint8)
HB = ("texture", "heeger-bergen")
MAIN = (sys.executable, "-c", "from genimg_fast.cli import main; main(prog_name='genimg-fast')")


def command(*arguments: Any) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, pixels in {"in": GREY, "b": GREY // 2, "mask": GREY, "colour": np.dstack([GREY] * 3)}.items():
        images.write(tmp_path / f"{name}.png", pixels)
    (tmp_path / "out").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


# Seeds


def test_a_drawn_seed_is_printed_and_makes_the_picture_again(folder: Path) -> None:
    done = command(*HB, "in.png", "-o", "out/a.png", "--iterations", 1)
    seed = int(done.output.splitlines()[0].removeprefix("seed "))
    again = command(*HB, "in.png", "-o", "out/b.png", "--iterations", 1, "--seed", seed)
    assert again.output.splitlines()[0] == f"seed {seed}"
    np.testing.assert_array_equal(images.read("out/a.png"), images.read("out/b.png"))
    other = command(*HB, "in.png", "-o", "out/b.png", "--iterations", 1)
    assert other.output.splitlines()[0] != f"seed {seed}"


def test_the_picture_says_which_command_makes_it_again(folder: Path) -> None:
    command(*HB, "in.png", "-o", "out/a.png", "--iterations", 1)
    with Image.open("out/a.png") as picture:
        text = dict(picture.text)
    assert text["Software"] == f"genimg_fast {gf.__version__}"
    words = shlex.split(text["Comment"])
    assert words[0] == "genimg-fast"
    words[words.index("out/a.png")] = "out/b.png"
    assert command(*words[1:]).exit_code == 0
    np.testing.assert_array_equal(images.read("out/a.png"), images.read("out/b.png"))


# Files


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ((*HB, "in.png", "-o", "in.png"), "in.png"),
        ((*HB, "in.png", "-o", "./out/../in.png"), "in.png"),
        ((*HB, "in.png", "-o", "link.png"), "link.png"),
        ((*HB, "in.png", "-o", "out/a.png", "--figure", "in.png"), "in.png"),
        ((*HB, "in.png", "-o", "b.png", "--mix", "b.png:1"), "b.png"),
        ((*HB, "in.png", "-o", "b.png", "--palette", "b.png"), "b.png"),
        (("texture", "cnn", "in.png", "-o", "in.png"), "in.png"),
        (("texture", "portilla-simoncelli", "in.png", "-o", "b.png", "--canvas", "b.png"), "b.png"),
        (("style", "in.png", "b.png", "-o", "b.png"), "b.png"),
        (("style", "in.png", "b.png", "-o", "mask.png", "--mask", "mask.png"), "mask.png"),
    ],
)
def test_a_picture_that_is_read_is_not_overwritten_without_a_word(folder: Path, arguments: Any, named: str) -> None:
    os.symlink("in.png", "link.png")
    before = {path: path.read_bytes() for path in folder.glob("*.png")}
    done = command(*arguments)
    assert done.exit_code == 2
    assert "is read too and would be lost" in done.stderr
    assert named in done.stderr
    assert {path: path.read_bytes() for path in folder.glob("*.png")} == before


def test_force_overwrites(folder: Path) -> None:
    assert command(*HB, "in.png", "-o", "in.png", "--force", "--seed", 1, "--iterations", 1).exit_code == 0
    np.testing.assert_array_equal(images.read("in.png"), gf.textures.heeger_bergen(GREY, seed=1, n_iter=1))


def test_figure_and_picture_are_two_files(folder: Path) -> None:
    done = command(*HB, "in.png", "-o", "out/a.png", "--figure", "out/a.png")
    assert done.exit_code == 2
    assert "--figure must be another file than OUT" in done.stderr


@pytest.mark.parametrize("which", ["--palette", "--mix"])
def test_missing_pictures_are_found_before_any_is_read(folder: Path, monkeypatch: Any, which: str) -> None:
    monkeypatch.setattr(images, "read", lambda *_, **__: pytest.fail("a picture was read"))
    done = command(*HB, "in.png", "-o", "out/a.png", which, "none.png:1" if which == "--mix" else "none.png")
    assert done.exit_code == 2
    assert "none.png: No such file" in done.stderr
    assert done.stdout == ""


def test_large_pictures_are_read_if_asked(folder: Path) -> None:
    done = command(*HB, "in.png", "-o", "out/a.png", "--max-pixels", 40 * 48 - 1)
    assert done.exit_code == 2
    assert "40x48" in done.stderr
    assert command(*HB, "in.png", "-o", "out/a.png", "--max-pixels", 40 * 48, "--iterations", 1).exit_code == 0


# Options that go together

PS, STYLE = ("texture", "portilla-simoncelli", "in.png"), ("style", "in.png", "b.png")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((*HB, "in.png", "--mixture", "histogram"), "--mixture has no effect without --mix"),
        ((*PS, "--polish", 3), "--polish has no effect without --method polished"),
        ((*PS, "--optimizer", "adam"), "--optimizer has no effect without --method gradient or polished"),
        ((*PS, "--learning-rate", 1, "--method", "gradient"), "--learning-rate has no effect without --optimizer adam"),
        ((*PS, "--acceleration", 0.5, "--method", "gradient"), "--acceleration has no effect without --method"),
        ((*PS, "--mask", "mask.png"), "--mask has no effect without --canvas"),
        ((*PS, "--extend"), "--extend has no effect without --size"),
        ((*PS, "--neighbourhood", 6), "'--neighbourhood': 6 is even; accepted are odd numbers from 1 to 33"),
        ((*STYLE, "--noise", 0.5), "--noise has no effect without --init mixed"),
        ((*STYLE, "--learning-rate", 0.5), "--learning-rate has no effect without --optimizer adam"),
        ((*STYLE, "--inputs", "caffe"), "--inputs does not go with --features random"),
        ((*STYLE, "--mask", "mask.png", "--mask", "mask.png"), "--mask must be given once for each of 1 styles, got 2"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_options_without_effect_are_errors_before_any_reading(
    folder: Path, monkeypatch: Any, arguments: Any, message: str
) -> None:
    monkeypatch.setattr(images, "read", lambda *_, **__: pytest.fail("a picture was read"))
    done = command(*arguments, "-o", "out/a.png")
    assert done.exit_code == 2
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("anagram", "--label", "6"), "--label must be given once for each of 2 views, got 1"),
        (("anagram", "--rows", 3, "--n", 2), "--rows must be at most --n, 2, got 3"),
        (("anagram", "--view", "upside", "--view", "flip"), "upside"),
        (("anagram", "--view", "rotate", "--view", "flip"), "degrees"),
        (("anagram", "--model", "none.safetensors"), "there is no model at none.safetensors"),
    ],
)
def test_anagrams_are_checked_before_diffusers_is_imported(
    folder: Path, monkeypatch: Any, arguments: Any, message: str
) -> None:
    monkeypatch.setitem(sys.modules, "diffusers", None)
    done = command(*arguments, "-o", "out/a.png")
    assert done.exit_code == 2
    assert message in done.stderr


@pytest.mark.parametrize("arguments", [("texture", "hb"), ("texture", "in.png"), ("textures",)])
def test_unknown_commands_are_told_the_known_ones(arguments: Any) -> None:
    done = command(*arguments)
    assert done.exit_code == 2
    assert ("heeger-bergen, portilla-simoncelli" if arguments[0] == "texture" else "texture") in done.stderr


# Signals, pipes, progress


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_keeps_the_picture(folder: Path, number: int, status: int) -> None:
    code = (
        "import sys, signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from genimg_fast.textures import _synthesis\n"
        "project, done = _synthesis.Synthesis.project, []\n"
        "def told(*arguments):\n"
        "    done.append(1)\n"
        "    if len(done) == 3: print('started', flush=True)\n"
        "    return project(*arguments)\n"
        "_synthesis.Synthesis.project = told\n"
        "from genimg_fast.cli import main; main(prog_name='genimg-fast')\n"
    )
    arguments = [*HB, "in.png", "-o", "out/a.png", "--iterations", "1000000", "--seed", "1", "--no-progress"]
    running = subprocess.Popen(
        [sys.executable, "-c", code, *arguments], text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert running.stdout is not None
    for line in running.stdout:
        if line == "started\n":
            break
    running.send_signal(number)
    _, errors = running.communicate(timeout=60)
    assert running.returncode == status, errors
    assert "this is the picture so far" in errors
    assert images.read("out/a.png").shape == GREY.shape


def test_an_interruption_before_the_work_ends_with_130(folder: Path, monkeypatch: Any) -> None:
    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(images, "read", interrupted)
    done = command(*HB, "in.png", "-o", "out/a.png")
    assert done.exit_code == 130
    assert list(Path("out").iterdir()) == []


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
@pytest.mark.parametrize("how", ["broken", "closed"])
def test_a_closed_pipe_does_not_stop_the_work(folder: Path, stream: str, how: str) -> None:
    words = [*MAIN, *HB, "in.png", "-o", "out/a.png", "--iterations", "1"]
    if how == "closed":
        descriptor = 1 if stream == "stdout" else 2
        done = subprocess.run(["sh", "-c", f"{shlex.join(words)} {descriptor}>&-"], check=False, timeout=60)
    else:
        read, write = os.pipe()
        os.close(read)
        done = subprocess.run(words, **{stream: write}, check=False, timeout=60)
        os.close(write)
    assert done.returncode == 0
    assert Path("out/a.png").exists()


def test_without_a_terminal_there_is_a_line_from_time_to_time(capsys: Any, monkeypatch: Any) -> None:
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    with progress.ProgressBar("title", 30, unit="step") as bar:
        for done in range(1, 31):
            now[0] += 1
            assert bar.is_due == (done % 10 == 0)
            bar.update(done, {"loss": f"{done}"})
    lines = capsys.readouterr().err.splitlines()
    assert lines == [f"title: {done} of 30 step, loss {done}" for done in (10, 20, 30)]


def test_a_bar_fits_into_80_columns(folder: Path) -> None:
    import fcntl
    import pty
    import struct
    import termios

    master, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    words = [*MAIN, *PS, "-o", "out/a.png", "--iterations", "3", "--scales", "1"]
    running = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=terminal)
    os.close(terminal)
    shown, until = b"", time.monotonic() + 60
    while time.monotonic() < until:
        try:
            part = os.read(master, 4096)
        except OSError:  # the other end is closed
            break
        if not part:
            break
        shown += part
    os.close(master)
    assert running.wait(60) == 0
    frames = shown.decode().replace("\r\n", "\r").split("\r")
    assert any("3/3" in frame and "it/s" in frame and frame.rstrip().endswith("]") for frame in frames)
    assert max(map(len, frames)) <= 80
