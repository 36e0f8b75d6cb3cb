"""``genimg-fast style``: that each option reaches the function, and how it refuses."""

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
CONTENT = RNG.integers(0, 256, (32, 40, 3), dtype=np.uint8)
STYLE = RNG.integers(0, 100, (36, 32, 3), dtype=np.uint8)
OTHER = RNG.integers(100, 256, (32, 32), dtype=np.uint8)
MASK = np.where(np.arange(40) < 15, 255, 0).astype(np.uint8) * np.ones((32, 1), np.uint8)


def command(*arguments: Any) -> Result:
    return CliRunner().invoke(main, ["style", *(str(argument) for argument in arguments)])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    pictures = {"content": CONTENT, "style": STYLE, "other": OTHER, "mask": MASK, "rest": 255 - MASK}
    for name, pixels in pictures.items():
        images.write(tmp_path / f"{name}.png", pixels)
    (tmp_path / "out").mkdir()
    return tmp_path


def run(folder: Path, *arguments: Any, content: str = "content.png") -> Result:
    return command(folder / content, folder / "style.png", "-o", folder / "out" / "s.png", *arguments)


def result_of(folder: Path, *arguments: Any, content: str = "content.png") -> np.ndarray:
    done = run(folder, "--iterations", 10, *arguments, content=content)
    assert done.exit_code == 0, done.output
    return images.read(folder / "out" / "s.png")


def expected(content: Any = CONTENT, style: Any = STYLE, **options: Any) -> np.ndarray:
    return gf.style.transfer(content, style, **{"n_iter": 10} | options)


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        ((), {}),
        (("--iterations", 4), {"n_iter": 4}),
        (("--size", "24x32"), {"size": (24, 32)}),
        (("--size", 80), {"size": 80}),
        (("--style-scale", 0.5), {"style_scale": 0.5}),
        (("--colors", "luminance"), {"colors": "luminance"}),
        (("--content-weight", 1000), {"content_weight": 1000}),
        (("--style-weight", 50), {"style_weight": 50}),
        (("--tv", 0), {"tv_weight": 0}),
        (("--histogram", 20), {"histogram_weight": 20}),
        (("--normalization", "jcjohnson"), {"normalization": "jcjohnson"}),
        (("--content-layers", "conv1:2, relu1"), {"content_layers": {"conv1": 2, "relu1": 1}}),
        (("--style-layers", "relu1"), {"style_layers": ["relu1"]}),
        (("--init", "noise", "--seed", 3), {"init": "noise", "seed": 3}),
        (("--init", "mixed", "--seed", 3, "--noise", 0.1), {"init": "mixed", "seed": 3, "noise": 0.1}),
        (("--init", "adain"), {"init": "adain"}),
        (("--optimizer", "adam"), {"optimizer": "adam"}),
        (("--optimizer", "adam", "--learning-rate", 0.2), {"optimizer": "adam", "learning_rate": 0.2}),
        (("--scales", 2), {"scales": 2}),
        (("--tolerance", 1e9), {"tolerance": 1e9}),
        (("--tile", 32, "--size", 80), {"tile": 32, "size": 80}),
        (("--device", "cpu"), {}),
    ],
    ids=lambda value: " ".join(map(str, value)) if isinstance(value, tuple) else "",
)
def test_the_command_is_the_function(folder: Path, arguments: Any, options: dict[str, Any]) -> None:
    found = result_of(folder, *arguments)
    np.testing.assert_array_equal(found, expected(**options))
    without = dict(list(options.items())[:-1])
    if options and "tile" not in options:
        assert not np.array_equal(found, expected(**without))


def test_seeds_and_learning_rates_matter(folder: Path) -> None:
    noise = ("--init", "noise", "--seed")
    assert not np.array_equal(result_of(folder, *noise, 1), result_of(folder, *noise, 2))


def test_more_styles_and_masks(folder: Path) -> None:
    mixed = result_of(folder, "--style", f"{folder / 'other.png'}:3")
    np.testing.assert_array_equal(mixed, expected(style=[STYLE, OTHER], weights=[1, 3]))
    masks = ("--mask", folder / "mask.png", "--mask", folder / "rest.png")
    regions = result_of(folder, "--style", f"{folder / 'other.png'}:3", *masks)
    np.testing.assert_array_equal(regions, expected(style=[STYLE, OTHER], weights=[1, 3], masks=[MASK, 255 - MASK]))
    assert not np.array_equal(mixed, regions)


def test_a_mask_may_be_saved_in_colour(folder: Path) -> None:
    images.write(folder / "rgb.png", np.repeat(MASK[..., None], 3, -1))
    np.testing.assert_array_equal(
        result_of(folder, "--mask", folder / "rgb.png"), result_of(folder, "--mask", folder / "mask.png")
    )


def test_networks_and_their_weights(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    network = gf.features.random(levels=1, sizes=(3,))

    def make(**options: Any) -> Any:
        asked.append(options)
        return network

    monkeypatch.setattr(gf.features, "vgg19", make)
    found = result_of(folder, "--features", "vgg19", "--weights-file", "w.pth", "--download", "--normalize")
    np.testing.assert_array_equal(found, expected(features=network))
    assert (asked[0]["weights"], asked[0]["download"]) == ("w.pth", True)
    for given, picture in zip(asked[0]["normalize"], (CONTENT, STYLE), strict=True):
        np.testing.assert_array_equal(given, picture)


def test_16_bits_and_grey_contents(folder: Path) -> None:
    images.write(folder / "deep.png", CONTENT.astype(np.uint16) * 257)
    deep = result_of(folder, content="deep.png")
    assert deep.dtype == np.uint16
    np.testing.assert_array_equal(deep, expected(CONTENT.astype(np.uint16) * 257))
    images.write(folder / "grey.png", CONTENT[..., 0])
    assert result_of(folder, content="grey.png").shape == CONTENT.shape


def test_it_says_where_the_picture_is_and_draws(folder: Path) -> None:
    pytest.importorskip("matplotlib")
    figure = folder / "out" / "f.png"
    done = run(folder, "--iterations", 1, "--figure", figure)
    assert done.exit_code == 0, done.output
    words = [line.split()[0] for line in done.output.splitlines()]
    assert words == ["seed", "read", "synthesise", "write", "picture:", "draw", "figure:"]
    assert figure.read_bytes().startswith(b"\x89PNG")


def test_alpha_is_refused_or_dropped(folder: Path) -> None:
    images.write(folder / "alpha.png", np.dstack([CONTENT, CONTENT[..., 0]]))
    done = run(folder, content="alpha.png")
    assert (done.exit_code, "alpha channel" in done.output) == (2, True)
    np.testing.assert_array_equal(result_of(folder, "--drop-alpha", content="alpha.png"), expected())


def test_ctrl_c_saves_the_picture_so_far(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from genimg_fast import _optimization

    calls = []

    def count(self: Any, *arguments: Any) -> None:
        calls.append(arguments)
        if len(calls) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(_optimization.Watch, "count", count)
    done = run(folder, "--iterations", 9)
    assert done.exit_code == 130, done.output
    assert "stopped by Ctrl-C after" in done.stderr
    assert images.read(folder / "out" / "s.png").shape == CONTENT.shape


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--features", "resnet"), "'resnet' is not one of 'random', 'hed_vgg16', 'vgg16', 'vgg19'"),
        (("--weights-file", "w.pth"), "--weights-file does not go with --features random"),
        (("--features", "vgg19", "--weights-file", "none.pth"), "weights of vgg19 are not at none.pth: download http"),
        (("--style", "none.png"), "is not FILE:WEIGHT"),
        (("--style", "none.png:1"), "none.png: No such file"),
        (("--mask", "none.png"), "none.png: No such file"),
        (("--mask", "MASK", "--mask", "MASK"), "--mask must be given once for each of 1 styles, got 2"),
        (("--mask", "CONTENT"), "has colours; a mask must be grey"),
        (("--mask", "OTHER"), "--mask number 1 must have the height and width of the content, (32, 40), got (32, 32)"),
        (("--colors", "sepia"), "'sepia' is not one of 'style', 'luminance'"),
        (("--init", "sketch"), "'sketch' is not one of 'content', 'noise'"),
        (("--normalization", "l2"), "'l2' is not one of 'relative', 'gatys'"),
        (("--content-layers", "relu9"), "got 'relu9'; there are input, conv1, relu1"),
        (("--style-layers", "relu1:x"), "'relu1:x' is not NAME or NAME:WEIGHT"),
        (("--style-layers", "relu1:-1"), "--style-layers relu1 must be 0 or a positive finite number, got -1.0"),
        (("--style-scale", 0), "0.0 is not in the range"),
        (("--tv", -1), "-1.0 is not in the range"),
        (("--noise", 2), "2.0 is not in the range"),
        (("--scales", 9), "scales must be at most"),
        (("--tile", 8), "tile must be at least 32, got 8"),
        (("--histogram", 1, "--tile", 32), "--histogram does not go with --tile"),
        (("--size", "4"), "size must be at least 8"),
        (("--size", "1x2x3"), "is not a size"),
        (("--size", "9999999"), "is more than"),
        (("--device", "nowhere"), "'--device': torch has no device 'nowhere' here"),
        (("--iterations", 0), "0 is not in the range"),
        (("--figure", "f.gif"), "must end in one of .png, .pdf, .svg"),
    ],
    ids=lambda value: " ".join(map(str, value)) if isinstance(value, tuple) else "",
)
def test_bad_input_ends_in_one_line_and_status_2(folder: Path, arguments: Any, words: str) -> None:
    files = {"MASK": folder / "mask.png", "CONTENT": folder / "content.png", "OTHER": folder / "other.png"}
    done = run(folder, *(files.get(argument, argument) for argument in arguments))
    assert done.exit_code == 2
    assert words in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert list((folder / "out").iterdir()) == []


def test_a_missing_package_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "h5py", None)
    (folder / "w.h5").write_bytes(b"")
    done = run(folder, "--features", "hed_vgg16", "--weights-file", folder / "w.h5")
    assert (done.exit_code, "pip install genimg_fast[hed]" in done.stderr) == (2, True)


def test_help_does_not_load_torch() -> None:
    import subprocess

    code = "import sys; from click.testing import CliRunner; from genimg_fast.cli import main; "
    code += "CliRunner().invoke(main, ['style', '--help']); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
