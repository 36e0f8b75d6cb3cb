"""``genimg-fast texture cnn``: that each option reaches the function, and how it refuses."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

import genimg_fast as gf
from genimg_fast import images
from genimg_fast.cli import main

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (40, 48), dtype=np.uint8)
COLOUR = RNG.integers(0, 256, (40, 48, 3), dtype=np.uint8)


def command(*arguments: Any) -> Result:
    return CliRunner().invoke(main, ["texture", "cnn", *(str(argument) for argument in arguments)])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    images.write(tmp_path / "grey.png", GREY)
    images.write(tmp_path / "colour.png", COLOUR)
    (tmp_path / "out").mkdir()
    return tmp_path


def result_of(folder: Path, *arguments: Any, exemplar: str = "grey.png") -> np.ndarray:
    output = folder / "out" / "t.png"
    done = command(folder / exemplar, "-o", output, "--seed", 1, "--iterations", 2, *arguments)
    assert done.exit_code == 0, done.output
    return images.read(output)


def expected(exemplar: Any = GREY, **options: Any) -> np.ndarray:
    return gf.textures.cnn_texture(exemplar, **{"seed": 1, "n_iter": 2} | options)


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        ((), {}),
        (("--seed", 2), {"seed": 2}),
        (("--iterations", 3), {"n_iter": 3}),
        (("--size", "32x40"), {"size": (32, 40)}),
        (("--layers", "relu1, conv2"), {"layers": ["relu1", "conv2"]}),
        (("--optimizer", "adam"), {"optimizer": "adam"}),
        (("--scales", 2), {"scales": 2}),
        (("--tolerance", 5), {"tolerance": 5}),
        (("--tile", 32, "--size", 96), {"tile": 32, "size": 96}),
        (("--tileable",), {"tileable": True}),
        (("--no-histogram",), {"match_histogram": False}),
        (("--device", "cpu"), {}),
    ],
    ids=lambda value: " ".join(map(str, value)) if isinstance(value, tuple) else "",
)
def test_the_command_is_the_function(folder: Path, arguments: Any, options: dict[str, Any]) -> None:
    found = result_of(folder, *arguments)
    np.testing.assert_array_equal(found, expected(**options))
    if options and "tile" not in options:
        assert not np.array_equal(found, expected())


def test_mix(folder: Path) -> None:
    images.write(folder / "dark.png", GREY // 2)
    found = result_of(folder, "--mix", f"{folder / 'dark.png'}:2")
    np.testing.assert_array_equal(found, expected([GREY, GREY // 2], weights=[1, 2]))


def test_networks_and_their_weights(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def network(name: str) -> Any:
        def make(**options: Any) -> Any:
            asked.append((name, options))
            return gf.features.random(levels=1, sizes=(3,))

        return make

    for name in ("vgg16", "vgg19", "hed_vgg16"):
        monkeypatch.setattr(gf.features, name, network(name))
    for arguments in (
        ("--features", "vgg19", "--weights-file", "w.pth"),
        ("--features", "vgg16", "--download", "--inputs", "caffe"),
        ("--features", "hed_vgg16", "--normalize"),
    ):
        found = result_of(folder, *arguments)
    np.testing.assert_array_equal(found, expected(features=gf.features.random(levels=1, sizes=(3,))))
    assert asked[0] == ("vgg19", {"weights": "w.pth", "normalize": None, "download": False, "inputs": None})
    assert asked[1] == ("vgg16", {"weights": None, "normalize": None, "download": True, "inputs": "caffe"})
    name, options = asked[2]
    assert (name, options["weights"], "download" in options) == ("hed_vgg16", None, False)
    np.testing.assert_array_equal(options["normalize"], [GREY])


def test_it_says_where_the_picture_is_and_draws(folder: Path) -> None:
    pytest.importorskip("matplotlib")
    output, figure = folder / "out" / "t.png", folder / "out" / "f.png"
    done = command(folder / "colour.png", "-o", output, "--iterations", 1, "--figure", figure)
    assert done.exit_code == 0, done.output
    words = [line.split()[0] for line in done.output.splitlines()]
    assert words == ["seed", "read", "synthesise", "write", "picture:", "draw", "figure:"]
    assert figure.read_bytes().startswith(b"\x89PNG")
    assert images.read(output).shape == COLOUR.shape


def test_alpha_is_refused_or_dropped(folder: Path) -> None:
    images.write(folder / "alpha.png", np.dstack([COLOUR, GREY]))
    done = command(folder / "alpha.png", "-o", folder / "out" / "t.png")
    assert (done.exit_code, "alpha channel" in done.output) == (2, True)
    assert result_of(folder, "--drop-alpha", exemplar="alpha.png").shape == COLOUR.shape


def test_ctrl_c_saves_the_picture_so_far(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from genimg_fast import _optimization

    calls = []

    count = _optimization.Watch.count

    def interrupted(self: Any, *arguments: Any) -> None:
        count(self, *arguments)
        calls.append(arguments)
        if len(calls) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(_optimization.Watch, "count", interrupted)
    output = folder / "out" / "t.png"
    done = command(folder / "grey.png", "-o", output, "--iterations", 9)
    assert done.exit_code == 130, done.output
    assert "stopped by Ctrl-C after 2 of 9 evaluations" in done.stderr
    np.testing.assert_array_equal(np.sort(images.read(output), axis=None), np.sort(GREY, axis=None))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--features", "resnet"), "'resnet' is not one of 'random', 'hed_vgg16', 'vgg16', 'vgg19'"),
        (("--weights-file", "w.pth"), "--weights-file does not go with --features random"),
        (("--normalize",), "--normalize does not go with --features random"),
        (("--features", "hed_vgg16", "--download"), "--download does not go with --features hed_vgg16"),
        (("--features", "vgg19", "--weights-file", "none.pth"), "weights of vgg19 are not at none.pth: download http"),
        (("--layers", "relu9"), "got 'relu9'; there are input, conv1, relu1"),
        (("--scales", "x"), "'x' is not 'auto' or a number of scales"),
        (("--scales", 9), "scales must be at most 3"),
        (("--tile", 8), "tile must be at least 32, got 8"),
        (("--tileable", "--size", "40x50"), "size must be a multiple of 4"),
        (("--size", "9999999"), "is more than"),
        (("--device", "nowhere"), "'--device': torch has no device 'nowhere' here"),
        (("--mix", "none.png"), "is not FILE:WEIGHT"),
        (("--iterations", 0), "0 is not in the range"),
    ],
    ids=lambda value: " ".join(map(str, value)) if isinstance(value, tuple) else "",
)
def test_bad_input_ends_in_one_line_and_status_2(folder: Path, arguments: Any, words: str) -> None:
    done = command(folder / "grey.png", "-o", folder / "out" / "t.png", *arguments)
    assert done.exit_code == 2
    assert words in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert list((folder / "out").iterdir()) == []


def test_a_missing_package_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "h5py", None)
    (folder / "w.h5").write_bytes(b"")
    done = command(
        folder / "grey.png",
        "-o",
        folder / "out" / "t.png",
        "--features",
        "hed_vgg16",
        "--weights-file",
        folder / "w.h5",
    )
    assert (done.exit_code, "pip install genimg_fast[hed]" in done.stderr) == (2, True)
