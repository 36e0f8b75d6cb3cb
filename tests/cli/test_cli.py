"""The command: what it writes, what it says, and how it refuses."""

from __future__ import annotations

import subprocess
import sys
import types
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
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def synthesise(*arguments: Any) -> Result:
    return command("texture", "heeger-bergen", *arguments)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    images.write(tmp_path / "grey.png", GREY)
    images.write(tmp_path / "colour.png", COLOUR)
    (tmp_path / "out").mkdir()
    return tmp_path


def result_of(folder: Path, *arguments: Any, exemplar: str = "grey.png") -> np.ndarray:
    output = folder / "out" / "t.png"
    done = synthesise(folder / exemplar, "-o", output, "--seed", 1, "--iterations", 2, *arguments)
    assert done.exit_code == 0, done.output
    return images.read(output, alpha="keep")


def test_the_command_is_the_function(folder: Path) -> None:
    options = ["--size", "32x40", "--height", 2, "--order", 1, "--edges", "mirror", "--update", "accelerated"]
    expected = gf.textures.heeger_bergen(
        GREY, (32, 40), seed=1, n_iter=2, height=2, order=1, edges="mirror", update="accelerated"
    )
    np.testing.assert_array_equal(result_of(folder, *options), expected)


@pytest.mark.parametrize(
    "option",
    [
        ("--seed", 2),
        ("--iterations", 3),
        ("--size", 48),
        ("--height", 2),
        ("--order", 2),
        ("--edges", "periodic"),
        ("--pyramid", "spatial"),
        ("--update", "momentum"),
        ("--tolerance", 10),
        ("--palette", "dark.png"),
        ("--mix", "dark.png:2"),
    ],
)
def test_each_option_has_an_effect(folder: Path, option: tuple[str, Any]) -> None:
    images.write(folder / "dark.png", GREY // 2)
    name, value = option
    value = str(value).replace("dark.png", str(folder / "dark.png"))
    assert not np.array_equal(result_of(folder, name, value), result_of(folder))


def test_mix_weighs_its_files(folder: Path) -> None:
    images.write(folder / "dark.png", GREY // 2)
    dark = folder / "dark.png"
    args = ["--mix", f"{dark}:2", "--mix", f"{dark}:1"]
    expected = gf.textures.heeger_bergen([GREY, GREY // 2, GREY // 2], seed=1, n_iter=2, weights=[1, 2, 1])
    np.testing.assert_array_equal(result_of(folder, *args), expected)
    pooled = result_of(folder, *args, "--mixture", "histogram")
    assert not np.array_equal(pooled, expected)


def test_it_says_where_the_picture_is_and_how_long_each_step_took(folder: Path) -> None:
    output = folder / "out" / "t.png"
    done = synthesise(folder / "colour.png", "-o", output, "--iterations", 1)
    assert done.exit_code == 0
    lines = done.output.splitlines()
    assert [line.split()[0] for line in lines] == ["seed", "read", "synthesise", "write", "picture:"]
    assert all(line.endswith(" s") for line in lines[1:4])
    assert lines[4] == f"picture: {output}"


@pytest.mark.parametrize("suffix", ["png", "tiff"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 3])
def test_the_depth_of_the_exemplar_is_written(tmp_path: Path, suffix: str, dtype: type, channels: int) -> None:
    pixels = RNG.integers(0, np.iinfo(dtype).max, (16, 20, channels), dtype=dtype).squeeze()
    images.write(tmp_path / f"in.{suffix}", pixels)
    done = synthesise(tmp_path / f"in.{suffix}", "-o", tmp_path / f"out.{suffix}", "--iterations", 1)
    assert done.exit_code == 0, done.output
    result = images.read(tmp_path / f"out.{suffix}")
    assert result.dtype == dtype
    np.testing.assert_array_equal(np.sort(result, axis=None), np.sort(pixels, axis=None))


def test_jpeg_in_and_out(tmp_path: Path) -> None:
    images.write(tmp_path / "in.jpg", COLOUR)
    assert synthesise(tmp_path / "in.jpg", "-o", tmp_path / "out.jpg", "--iterations", 1).exit_code == 0
    assert images.read(tmp_path / "out.jpg").shape == COLOUR.shape


def test_alpha_is_refused_kept_or_dropped(folder: Path) -> None:
    alpha = np.dstack([COLOUR, np.where(GREY > 99, 255, 0).astype(np.uint8)])
    images.write(folder / "alpha.png", alpha)
    refused = synthesise(folder / "alpha.png", "-o", folder / "out" / "t.png")
    assert refused.exit_code == 2
    assert "alpha channel" in refused.output
    kept = result_of(folder, "--keep-alpha", exemplar="alpha.png")
    assert np.mean(kept[..., 3] == 255) == np.mean(alpha[..., 3] == 255)
    assert result_of(folder, "--drop-alpha", exemplar="alpha.png").shape == COLOUR.shape


@pytest.mark.parametrize("suffix", ["png", "pdf", "svg"])
def test_figure(folder: Path, suffix: str) -> None:
    pytest.importorskip("matplotlib")
    figure = folder / "out" / f"figure.{suffix}"
    output = folder / "out" / "t.png"
    done = synthesise(folder / "colour.png", "-o", output, "--iterations", 2, "--figure", figure)
    assert done.exit_code == 0, done.output
    assert f"figure: {figure}" in done.output
    start = {"png": b"\x89PNG", "pdf": b"%PDF", "svg": b"<?xml"}[suffix]
    assert figure.read_bytes().startswith(start)


def test_figure_without_matplotlib_is_refused_before_the_work(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    done = synthesise(folder / "grey.png", "-o", folder / "out" / "t.png", "--figure", folder / "out" / "f.png")
    assert done.exit_code == 2
    assert "--figure needs matplotlib" in done.output
    assert list((folder / "out").iterdir()) == []


def test_ctrl_c_saves_the_picture_so_far(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from genimg_fast.textures import _synthesis

    project, calls = _synthesis.Synthesis.project, []

    def interrupted(*arguments: Any) -> Any:
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return project(*arguments)

    monkeypatch.setattr(_synthesis.Synthesis, "project", interrupted)
    output = folder / "out" / "t.png"
    done = synthesise(folder / "grey.png", "-o", output, "--seed", 1, "--iterations", 9)
    assert done.exit_code == 130
    assert "stopped by Ctrl-C after 2 of 9 iterations" in done.output
    monkeypatch.undo()
    np.testing.assert_array_equal(images.read(output), gf.textures.heeger_bergen(GREY, seed=1, n_iter=2))


BAD = [
    (["missing.png"], "missing.png: No such file"),
    (["text.png"], "text.png is not a picture; accepted are PNG, JPEG and TIFF"),
    (["out"], "out: Is a directory"),
    (["tiny.png"], "IN must be at least 8x8 pixels, got 2x2"),
    (["grey.png", "-o", "none/t.png"], "none does not exist"),
    (["grey.png", "-o", "text.png/t.png"], "does not exist"),
    (["grey.png", "-o", "/proc/t.png"], "the folder /proc cannot be written"),
    (["grey.png", "-o", "out/t.bmp"], "must end in one of .png, .jpg, .jpeg, .tif, .tiff"),
    (["wide.png", "-o", "out/t.jpg"], "JPG cannot hold 16 bits"),
    (["grey.png", "--figure", "out/f.txt"], "must end in one of .png, .pdf, .svg"),
    (["grey.png", "--size", "0"], "size must be at least 8, got 0"),
    (["grey.png", "--size", "-5"], "'--size': '-5' is not a size; accepted are HEIGHTxWIDTH"),
    (["grey.png", "--size", "3x4x5"], "is not a size"),
    (["grey.png", "--size", "175000x175000"], f"'--size': '175000x175000' is more than {images.MAX_PIXELS} pixels"),
    (["grey.png", "--height", "9"], "height must be at most 3 for an exemplar of 40x48"),
    (["grey.png", "--height", "tall"], "'--height': 'tall' is not 'auto' or a number of scales"),
    (["grey.png", "--order", "16"], "'--order': 16 is not in the range"),
    (["grey.png", "--order", "2", "--pyramid", "spatial"], "order must be one of 0, 1, 3, 5"),
    (["grey.png", "--iterations", "0"], "'--iterations': 0 is not in the range"),
    (["grey.png", "--seed", "-1"], "'--seed': -1 is not in the range"),
    (["grey.png", "--tolerance", "-1"], "'--tolerance': -1.0 is not in the range"),
    (["grey.png", "--edges", "zero"], "'--edges': 'zero' is not one of 'none', 'periodic', 'mirror'"),
    (["grey.png", "--update", "newton"], "'--update': 'newton' is not one of"),
    (["grey.png", "--mix", "grey.png"], "'--mix': 'grey.png' is not FILE:WEIGHT"),
    (["grey.png", "--mix", "grey.png:-1"], "'--mix': 'grey.png:-1' is not FILE:WEIGHT"),
    (["grey.png", "--palette", "missing.png"], "missing.png: No such file"),
    (["grey.png", "--colour"], "No such option '--colour'"),
    ([], "Missing argument 'IN'"),
]


@pytest.mark.parametrize(("arguments", "message"), BAD, ids=[" ".join(arguments) for arguments, _ in BAD])
def test_bad_input_is_one_line_and_status_2(
    folder: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    monkeypatch.chdir(folder)
    Path("text.png").write_text("no picture")
    images.write("tiny.png", GREY[:2, :2])
    images.write("wide.png", GREY.astype(np.uint16))
    done = synthesise(*arguments, *([] if "-o" in arguments else ["-o", "out/t.png"]))
    assert done.exit_code == 2
    assert message in done.stderr
    assert done.stderr.startswith("Error: ")
    assert done.stderr.count("\n") == 1
    assert list(Path("out").iterdir()) == []


def test_a_process_ends_with_status_2_and_no_traceback(folder: Path) -> None:
    code = "from genimg_fast.cli import main; main()"
    arguments = ["texture", "heeger-bergen", str(folder / "grey.png"), "-o", str(folder / "none" / "t.png")]
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == f"Error: the folder {folder / 'none'} does not exist\n"
    assert done.stdout == ""


def test_textures_of_files_do_not_import_torch(folder: Path) -> None:
    code = (
        "import sys; from genimg_fast.cli import main; main(standalone_mode=False); assert 'torch' not in sys.modules"
    )
    arguments = ["texture", "heeger-bergen", str(folder / "grey.png"), "-o", str(folder / "out" / "t.png")]
    subprocess.run([sys.executable, "-c", code, *arguments], check=True)
    assert (folder / "out" / "t.png").exists()


def test_unknown_commands_are_named() -> None:
    for arguments in (["textur"], ["--fast"], ["texture", "quilting"]):
        done = command(*arguments)
        assert done.exit_code == 2
        assert arguments[-1] in done.stderr
        assert done.stderr.count("\n") == 1


def test_info_prints_the_build() -> None:
    done = command("info")
    assert done.exit_code == 0
    for name, value in gf.build_info().items():
        assert f"{name} " in done.output
        assert str(value) in done.output


def test_help_and_version() -> None:
    assert "heeger-bergen" in command("texture", "-h").output
    assert gf.__version__ in command("--version").output
    assert "Usage" in command().output


def test_bench_runs_the_quick_set_or_the_full_one(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    fake = types.SimpleNamespace(main=lambda quick, output: asked.append((quick, output)))
    monkeypatch.setitem(sys.modules, "genimg_fast.bench", fake)
    monkeypatch.setattr(gf, "bench", fake, raising=False)
    assert command("bench").exit_code == 0
    assert command("bench", "--full", "-o", "measured").exit_code == 0
    assert asked == [(True, None), (False, Path("measured"))]
