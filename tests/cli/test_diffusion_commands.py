"""``genimg-fast train-diffusion`` and ``anagram``: that each option reaches the function, and how they refuse."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result

import genimg_fast as gf
from genimg_fast import images
from genimg_fast.cli import main

pytest.importorskip("diffusers")
pytest.importorskip("sklearn")

TINY: dict[str, Any] = {"steps": 2, "batch_size": 2, "widths": (16,), "size": 8}


def command(*arguments: Any) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    rng = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (tmp_path / "data" / name).mkdir(parents=True)
        for i in range(2):
            images.write(tmp_path / "data" / name / f"{i}.png", rng.integers(0, 256, (10, 12), dtype=np.uint8))
    (tmp_path / "out").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


def training(*arguments: Any) -> Result:
    options = ["--steps", 2, "--batch-size", 2, "--widths", "16", "--size", 8]
    return command("train-diffusion", "data", "-o", "out/m.safetensors", *options, *arguments)


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        ((), {}),
        (("--size", 16), {"size": 16}),
        (("--steps", 3), {"steps": 3}),
        (("--batch-size", 3), {"batch_size": 3}),
        (("--learning-rate", 0.01), {"learning_rate": 0.01}),
        (("--widths", "16, 32"), {"widths": (16, 32)}),
        (("--label-dropout", 0.9), {"label_dropout": 0.9}),
        (("--ema-decay", 0), {"ema_decay": 0}),
        (("--seed", 4), {"seed": 4}),
        (("--device", "cpu"), {}),
    ],
    ids=lambda value: " ".join(map(str, value)) if isinstance(value, tuple) else "",
)
def test_training_is_the_function(folder: Path, arguments: Any, options: dict[str, Any]) -> None:
    done = training(*arguments)
    assert done.exit_code == 0, done.output
    assert f"model: {folder / 'out' / 'm.safetensors'}" in done.output
    found = gf.diffusion.Model.from_file("out/m.safetensors")
    expected = gf.diffusion.train("data", **TINY | options)
    assert found.architecture == expected.architecture
    assert found.facts == expected.facts
    for a, b in zip(found.network.parameters(), expected.network.parameters(), strict=True):
        assert torch.equal(a, b)
    if options:
        plain = gf.diffusion.train("data", **TINY)
        assert (found.architecture, found.facts) != (plain.architecture, plain.facts)


def test_training_resumes_only_when_asked(folder: Path) -> None:
    assert training().exit_code == 0
    again = training("--steps", 4)
    assert again.exit_code == 2
    assert "is there already; resume it, or remove it" in again.stderr
    assert training("--steps", 4, "--resume").exit_code == 0
    found = gf.diffusion.Model.from_file("out/m.safetensors")
    expected = gf.diffusion.train("data", **TINY | {"steps": 4})
    assert all(map(torch.equal, found.network.parameters(), expected.network.parameters()))


def test_checkpoints_are_as_frequent_as_asked(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from genimg_fast.diffusion import _training

    steps: list[int] = []
    monkeypatch.setattr(_training._Training, "save", lambda self, path: steps.append(self.step))
    assert training("--steps", 7, "--save-every", 3).exit_code == 0
    assert steps == [3, 6, 7]


def test_ctrl_c_saves_the_training(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from genimg_fast.diffusion import _training

    advance = _training._Training.advance

    def interrupted(self: Any) -> float:
        if self.step == 2:
            os.kill(os.getpid(), signal.SIGINT)
        return advance(self)

    monkeypatch.setattr(_training._Training, "advance", interrupted)
    done = training("--steps", 9)
    assert done.exit_code == 130
    assert "stopped by Ctrl-C after 3 of 9 steps" in done.stderr
    assert gf.diffusion.Model.from_file("out/m.safetensors").facts["step"] == 3


@pytest.fixture
def model(folder: Path) -> gf.diffusion.Model:
    found = gf.diffusion.train("data", **TINY, learning_rate=1.0)
    found.save("m.safetensors")
    return found


def anagram(*arguments: Any, model: str = "m.safetensors") -> Result:
    options = ["--label", "dog", "--label", "cat", "--n", 3, "--steps", 2, "--seed", 1]
    return command("anagram", "-o", "out/a.png", *options, "--model", model, *arguments)


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        ((), {}),
        (("--view", "identity", "--view", "negate @ flip"), {"views": ("identity", "negate @ flip")}),
        (("--n", 2), {"n": 2}),
        (("--seed", 7), {"seed": 7}),
        (("--steps", 4), {"steps": 4}),
        (("--guidance", 9), {"guidance": 9}),
        (("--sampler", "ddim"), {"sampler": "ddim"}),
    ],
    ids=lambda value: " ".join(map(str, value)) if isinstance(value, tuple) else "",
)
def test_the_anagram_is_the_functions(model: gf.diffusion.Model, arguments: Any, options: dict[str, Any]) -> None:
    from genimg_fast.diffusion import _drawing

    def expected(**options: Any) -> gf.diffusion.Anagrams:
        return gf.diffusion.anagram(model, ("dog", "cat"), **{"n": 3, "steps": 2, "seed": 1} | options)

    done = anagram(*arguments, "--rows", 2)
    assert done.exit_code == 0, done.output
    found = expected(**options)
    np.testing.assert_array_equal(images.read("out/a.png"), _drawing.sheet(found, 2))
    for seed, score in zip(found.seeds[:2], found.scores, strict=False):
        assert f"seed {seed}: alignment {score.alignment:.3f}, concealment {score.concealment:.3f}" in done.output
    if options:
        other = expected()
        assert (found.seeds, found.scores) != (other.seeds, other.scores)


@pytest.mark.parametrize("suffix", ["gif", "png"])
def test_the_best_one_turns(model: gf.diffusion.Model, suffix: str) -> None:
    from PIL import Image

    done = anagram("--animate", f"out/t.{suffix}")
    assert done.exit_code == 0, done.output
    with Image.open(f"out/t.{suffix}") as played:
        assert played.n_frames > 10
    assert images.read("out/a.png").shape == (192 + 16, 2 * 200 + 8)


def tiny_digits(monkeypatch: pytest.MonkeyPatch) -> None:
    from genimg_fast.diffusion import _builtin

    monkeypatch.setattr(_builtin, "SETTINGS", TINY | {"steps": 4})


def test_the_built_in_model_is_trained_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from genimg_fast.diffusion import _builtin

    tiny_digits(monkeypatch)
    arguments = ("anagram", "-o", "out/a.png", "--steps", 2, "--n", 2, "--seed", 0)
    done = command(*arguments)
    assert done.exit_code == 0, done.output
    cached = folder / "cache" / "genimg_fast"
    (whole,) = cached.iterdir()
    assert f"training a model of the digits, once, for {whole}" in done.output
    first = images.read("out/a.png")
    monkeypatch.setattr(_builtin, "train", None)
    done = command(*arguments)
    assert done.exit_code == 0, done.output
    assert f"model: {whole}" in done.output
    np.testing.assert_array_equal(images.read("out/a.png"), first)


def test_an_interrupted_built_in_model_is_gone_on_with(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from genimg_fast.diffusion import _builtin

    tiny_digits(monkeypatch)
    steps: list[int] = []

    def interrupt(step: gf.diffusion.TrainingStep) -> None:
        steps.append(step.step)
        if len(steps) == 2:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt), pytest.warns(RuntimeWarning, match="after 2 of 4 steps"):
        _builtin.digits_model(callback=interrupt)
    found = _builtin.digits_model(callback=interrupt)
    assert steps == [1, 2, 3, 4]
    assert len(list((folder / "cache" / "genimg_fast").iterdir())) == 1
    expected = gf.diffusion.train("digits", **TINY | {"steps": 4})
    assert all(map(torch.equal, found.network.parameters(), expected.network.parameters()))


def test_ctrl_c_while_the_built_in_model_is_trained(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from genimg_fast.diffusion import _training

    tiny_digits(monkeypatch)
    advance = _training._Training.advance

    def interrupted(self: Any) -> float:
        os.kill(os.getpid(), signal.SIGINT)
        return advance(self)

    monkeypatch.setattr(_training._Training, "advance", interrupted)
    done = command("anagram", "-o", "out/a.png")
    assert done.exit_code == 130
    assert "stopped by Ctrl-C after 1 of 4 steps" in done.stderr
    assert list((folder / "out").iterdir()) == []


@pytest.mark.parametrize("value", ["", "relative"])
def test_the_cache_is_in_the_home_folder_by_default(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from genimg_fast.diffusion import _builtin

    monkeypatch.setenv("XDG_CACHE_HOME", value)
    assert _builtin.cache_folder() == Path.home() / ".cache" / "genimg_fast"


BAD_TRAININGS = [
    (["missing", "-o", "m.safetensors"], "DATA must be digits or a folder of pictures, got missing"),
    (["data", "-o", "m.pt"], "m.pt must end in one of .safetensors"),
    (["data", "-o", "none/m.safetensors"], "the folder none does not exist"),
    (["data", "-o", "m.safetensors", "--resume"], "there is no checkpoint at m.safetensors"),
    (["data", "-o", "m.safetensors", "--widths", "16,x"], "'16,x' is not a list of widths"),
    (["data", "-o", "m.safetensors", "--size", "9"], "size must be a multiple of 4"),
    (["data", "-o", "m.safetensors", "--steps", "0"], "'--steps': 0 is not in the range"),
    (["data", "-o", "m.safetensors", "--label-dropout", "1"], "'--label-dropout': 1.0 is not in the range"),
    (["data", "-o", "m.safetensors", "--device", "abacus"], "'--device': torch has no device 'abacus' here"),
    ([], "Missing argument 'DATA'"),
]


@pytest.mark.parametrize(("arguments", "message"), BAD_TRAININGS, ids=[message for _, message in BAD_TRAININGS])
def test_bad_trainings_are_one_line_and_status_2(folder: Path, arguments: list[str], message: str) -> None:
    assert_refused(command("train-diffusion", *arguments), message)
    assert not list(folder.glob("*.safetensors"))


BAD_ANAGRAMS = [
    (["--model", "missing.safetensors"], "there is no model at missing.safetensors"),
    (["--model", "data/cat/0.png"], "data/cat/0.png is truncated or no safetensors file"),
    (["-o", "out/a.bmp"], "out/a.bmp must end in one of .png"),
    (["--animate", "out/a.mp4"], "out/a.mp4 must end in one of .gif, .png"),
    (["--label", "bird", "--label", "cat"], "label must be one of 'cat', 'dog', got 'bird'"),
    (["--label", "dog"], "--label must be given once for each of 2 views, got 1"),
    (["--view", "identity", "--view", "inside_out"], "inside_out"),
    (["--steps", "1001"], "steps must be at most 1000"),
    (["--sampler", "euler"], "'--sampler': 'euler' is not one of 'ddpm', 'ddim'"),
]


@pytest.mark.parametrize(("arguments", "message"), BAD_ANAGRAMS, ids=[message for _, message in BAD_ANAGRAMS])
def test_bad_anagrams_are_one_line_and_status_2(model: gf.diffusion.Model, arguments: list[str], message: str) -> None:
    options = {"-o": "out/a.png", "--model": "m.safetensors"}
    given = [item for name, value in options.items() if name not in arguments for item in (name, value)]
    labels = [] if "--label" in arguments else ["--label", "dog", "--label", "cat"]
    assert_refused(command("anagram", *given, *labels, *arguments), message)
    assert list(Path("out").iterdir()) == []


def test_a_missing_package_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "diffusers", None)
    assert_refused(training(), "pip install genimg_fast[diffusion]")


def assert_refused(done: Result, message: str) -> None:
    assert done.exit_code == 2, done.output
    assert message in done.stderr
    assert done.stderr.startswith("Error: ")
    assert done.stderr.count("\n") == 1
