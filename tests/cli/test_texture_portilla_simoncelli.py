"""``genimg-fast texture portilla-simoncelli`` and ``compare``: that each option reaches the function, and refusals."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

import genimg_fast as gf
from genimg_fast import images
from genimg_fast.cli import main
from genimg_fast.textures.options import FAMILIES

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (64, 64), dtype=np.uint8)
COLOUR = RNG.integers(0, 256, (64, 64, 3), dtype=np.uint8)
DARK = np.sort(RNG.integers(0, 128, (48, 56), dtype=np.uint8), axis=1)
SHARE = np.tile(np.linspace(0, 255, 64).round().astype(np.uint8), (64, 1))


def command(*arguments: Any) -> Result:
    return CliRunner().invoke(main, ["texture", *(str(argument) for argument in arguments)])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    pictures = {"grey": GREY, "colour": COLOUR, "dark": DARK, "share": SHARE, "canvas": GREY.T.copy()}
    for name, pixels in pictures.items():
        images.write(tmp_path / f"{name}.png", pixels)
    (tmp_path / "out").mkdir()
    return tmp_path


def synthesise(folder: Path, *arguments: Any, exemplar: str = "grey.png") -> Result:
    return command("portilla-simoncelli", folder / exemplar, "-o", folder / "out" / "t.png", *arguments)


def result_of(folder: Path, *arguments: Any, exemplar: str = "grey.png") -> np.ndarray:
    done = synthesise(folder, "--seed", 1, "--iterations", 2, *arguments, exemplar=exemplar)
    assert done.exit_code == 0, done.output
    return images.read(folder / "out" / "t.png", alpha="keep")


def expected(exemplar: Any = GREY, **options: Any) -> np.ndarray:
    return gf.textures.portilla_simoncelli(exemplar, **{"seed": 1, "n_iter": 2} | options)


def in_folder(folder: Path, arguments: tuple[Any, ...]) -> list[str]:
    return [str(folder / word) if str(word).endswith(".png") else str(word) for word in arguments]


DESCENT, ADAM = ("--method", "gradient"), ("--method", "gradient", "--optimizer", "adam")


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        (("--seed", 2), {"seed": 2}),
        (("--iterations", 3), {"n_iter": 3}),
        (("--size", "48x64"), {"size": (48, 64)}),
        (("--scales", 1), {"n_scales": 1}),
        (("--orientations", 2), {"n_orientations": 2}),
        (("--neighbourhood", 3), {"spatial_corr_width": 3}),
        (DESCENT, {"method": "gradient"}),
        (("--method", "polished", "--polish", 2), {"method": "polished", "n_polish": 2}),
        (ADAM, {"method": "gradient", "optimizer": "adam"}),
        ((*ADAM, "--learning-rate", 0.002), {"method": "gradient", "optimizer": "adam", "learning_rate": 0.002}),
        (("--leave-out", "phases", "--leave-out", "marginals"), {"leave_out": ("phases", "marginals")}),
        (("--edges", "periodic"), {"edges": "periodic"}),
        (("--acceleration", 0.1), {"acceleration": 0.1}),
        (("--tolerance", 10), {"tolerance": 10}),
        (("--canvas", "canvas.png"), {"canvas": GREY.T}),
        (("--canvas", "canvas.png", "--mask", "share.png"), {"canvas": GREY.T, "mask": SHARE / 255}),
    ],
    ids=lambda value: " ".join(map(str, value)) if isinstance(value, tuple) else "",
)
def test_the_command_is_the_function(folder: Path, arguments: Any, options: dict[str, Any]) -> None:
    found = result_of(folder, *in_folder(folder, arguments))
    np.testing.assert_array_equal(found, expected(**options))
    *others, last = options
    assert not np.array_equal(found, expected(**{name: options[name] for name in others})), f"{last} has no effect"


def test_defaults_are_the_functions(folder: Path) -> None:
    done = synthesise(folder, "--seed", 1, "--no-progress")
    assert done.exit_code == 0, done.output
    np.testing.assert_array_equal(
        images.read(folder / "out" / "t.png"), gf.textures.portilla_simoncelli(GREY, seed=1, n_iter=50)
    )


def test_mix_weighs_its_files(folder: Path) -> None:
    found = result_of(folder, "--mix", f"{folder / 'dark.png'}:2", "--mix", f"{folder / 'canvas.png'}:3")
    exemplars = [GREY, DARK, GREY.T]
    np.testing.assert_array_equal(found, expected(exemplars, weights=[1, 2, 3]))
    assert not np.array_equal(found, expected(exemplars))


@pytest.mark.parametrize("weight", [1, 3])
def test_a_map_mixes_from_place_to_place(folder: Path, weight: int) -> None:
    found = result_of(folder, "--mix", f"{folder / 'dark.png'}:{weight}", "--mixture-map", folder / "share.png")
    share = SHARE / 255
    np.testing.assert_array_equal(found, expected([GREY, DARK], weights=[1 - share, weight * share]))


def test_extend_keeps_the_exemplar_in_the_middle(folder: Path) -> None:
    found = result_of(folder, "--size", "81x64", "--extend", exemplar="colour.png")
    assert found.shape == (81, 64, 3)
    # The mask is 1 from an eighth of the side on, and lower towards the border, outside of which all is new.
    np.testing.assert_array_equal(found[8 + 8 : 72 - 8, 8:56], COLOUR[8:56, 8:56])
    assert np.abs(found[8:72, :4].astype(float) - COLOUR[:, :4]).mean() / COLOUR.std() > 0.1
    other = result_of(folder, "--size", "81x64", "--extend", "--seed", 2, exemplar="colour.png")
    assert np.mean(found[:8] == other[:8]) < 0.1
    edge = np.abs(found[16:64].astype(float) - other[16:64]).mean((0, 2))
    assert edge[0] > edge[4] > edge[7] > edge[8] == 0


def test_extend_in_a_descent_leaves_the_border_smooth(folder: Path) -> None:
    images.write(folder / "flat.png", np.full((32, 32), 200, np.uint8) + (np.arange(32) % 2).astype(np.uint8))
    found = result_of(folder, "--size", 64, "--extend", "--method", "gradient", exemplar="flat.png")
    assert found.min() >= 200
    assert found.max() <= 201


def test_16_bits_and_masks_of_16_bits(folder: Path) -> None:
    deep = GREY.astype(np.uint16) * 257
    images.write(folder / "deep.png", deep)
    mask = SHARE.astype(np.uint16) * 257 // 3
    images.write(folder / "mask.tiff", mask)
    found = result_of(folder, "--canvas", folder / "deep.png", "--mask", folder / "mask.tiff", exemplar="deep.png")
    assert found.dtype == np.uint16
    np.testing.assert_array_equal(found, expected(deep, canvas=deep, mask=mask / 65535))


def test_alpha_is_refused_kept_or_dropped(folder: Path) -> None:
    images.write(folder / "alpha.png", np.dstack([COLOUR, GREY]))
    refused = synthesise(folder, exemplar="alpha.png")
    assert (refused.exit_code, "alpha channel" in refused.output) == (2, True)
    kept = result_of(folder, "--keep-alpha", exemplar="alpha.png")
    np.testing.assert_array_equal(kept, expected(np.dstack([COLOUR, GREY])))
    dropped = result_of(folder, "--drop-alpha", exemplar="alpha.png")
    np.testing.assert_array_equal(dropped, expected(COLOUR))


def test_progress_is_shown_unless_it_is_not_wanted(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def recorded(image: np.ndarray, *_: Any, progress: bool, **__: Any) -> np.ndarray:
        asked.append(progress)
        return image

    monkeypatch.setattr(gf.textures, "portilla_simoncelli", recorded)
    result_of(folder)
    result_of(folder, "--no-progress")
    assert asked == [True, False]


@pytest.mark.parametrize(
    ("arguments", "n_steps"),
    [((), 3), (("--method", "polished", "--polish", 4), 3 + 4), (("--leave-out", "marginals"), 3)],
    ids=["projection", "polished", "without marginals"],
)
def test_figure_draws_a_curve_for_each_family(
    folder: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[Any, ...], n_steps: int
) -> None:
    pytest.importorskip("matplotlib")
    from genimg_fast import plot

    synthesis, drawn = plot.synthesis, []

    def recorded(*pictures: Any, **options: Any) -> Any:
        drawn.append((*pictures, options["quantity"]))
        return synthesis(*pictures, **options)

    monkeypatch.setattr(plot, "synthesis", recorded)
    figure = folder / "out" / "f.png"
    done = synthesise(folder, "--iterations", 2, "--figure", figure, *arguments)
    assert done.exit_code == 0, done.output
    words = [line.split()[0] for line in done.output.splitlines()]
    assert words == ["seed", "read", "synthesise", "write", "picture:", "draw", "figure:"]
    assert figure.read_bytes().startswith(b"\x89PNG")
    (exemplar, result, errors, quantity) = drawn[0]
    np.testing.assert_array_equal(exemplar, GREY)
    np.testing.assert_array_equal(result, images.read(folder / "out" / "t.png"))
    assert quantity == "relative error"
    assert len(errors) == n_steps
    assert [*errors[0]] == [name for name in FAMILIES if name not in arguments]
    if n_steps > 3:  # the descent begins where the projection ends, and tells the same quantity
        assert errors[3] == pytest.approx(errors[2], rel=1e-4)


def test_without_a_figure_nothing_is_measured(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from genimg_fast.textures import _texture_projection

    def refused(*_: Any) -> None:
        raise AssertionError("errors were measured")

    monkeypatch.setattr(_texture_projection.TextureProjection, "errors", refused)
    result_of(folder)


def test_ctrl_c_saves_the_picture_so_far(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from genimg_fast.textures import _parametric_synthesis

    project, calls = _parametric_synthesis.Projection.__call__, []

    def interrupted(*arguments: Any) -> Any:
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return project(*arguments)

    monkeypatch.setattr(_parametric_synthesis.Projection, "__call__", interrupted)
    done = synthesise(folder, "--seed", 1, "--iterations", 9)
    assert done.exit_code == 130, done.output
    assert "stopped by Ctrl-C after 2 of 9 iterations" in done.stderr
    monkeypatch.undo()
    np.testing.assert_array_equal(images.read(folder / "out" / "t.png"), expected())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--scales", 9), "--scales must be at most"),
        (("--scales", "x"), "'x' is not 'auto' or a number of scales"),
        (("--orientations", 17), "17 is not in the range"),
        (("--neighbourhood", 0), "0 is not in the range"),
        (("--iterations", 0), "0 is not in the range"),
        (("--polish", 0), "0 is not in the range"),
        (("--seed", -1), "-1 is not in the range"),
        (("--acceleration", 1), "1.0 is not in the range"),
        (("--tolerance", -1), "-1.0 is not in the range"),
        (("--learning-rate", 0), "0.0 is not in the range"),
        (("--method", "analysis"), "'analysis' is not one of 'projection', 'gradient', 'polished'"),
        (("--optimizer", "newton"), "'newton' is not one of 'lbfgs', 'adam'"),
        (("--edges", "mirror"), "'mirror' is not one of 'none', 'periodic'"),
        (("--leave-out", "edges"), "'edges' is not one of 'marginals', 'autocorrelation', 'magnitudes', 'phases'"),
        ([word for name in FAMILIES for word in ("--leave-out", name)], "--leave-out must leave at least one of"),
        (("--device", "nowhere"), "'--device': torch has no device 'nowhere' here"),
        (("--size", "4"), "size must be at least 8"),
        (("--mix", "dark.png"), "is not FILE:WEIGHT"),
        (("--mixture-map", "share.png"), "--mixture-map needs exactly one --mix, got 0"),
        (("--mixture-map", "share.png", "--mix", "dark.png:1", "--mix", "grey.png:1"), "exactly one --mix, got 2"),
        (("--mixture-map", "colour.png", "--mix", "dark.png:1"), "has colours; a mixture's map must be grey"),
        (("--mixture-map", "dark.png", "--mix", "dark.png:1"), "must be a map of the result's size (64, 64)"),
        (
            ("--mixture-map", "share.png", "--mix", "dark.png:1", "--method", "polished"),
            "--mixture-map must be numbers, not maps, for --method polished",
        ),
        (("--canvas", "none.png"), "none.png: No such file"),
        (("--canvas", "dark.png", "--size", "64"), "canvas must have the result's size (64, 64), got (48, 56)"),
        (("--mask", "share.png"), "--mask has no effect without --canvas"),
        (("--canvas", "canvas.png", "--mask", "colour.png"), "has colours; a mask must be grey"),
        (("--canvas", "canvas.png", "--mask", "dark.png"), "mask must have the result's size (64, 64), got (48, 56)"),
        (("--extend",), "--extend has no effect without --size"),
        (("--extend", "--size", "80x48"), "--extend needs a --size of at least IN's 64x64, got 80x48"),
        (("--extend", "--size", "80", "--canvas", "canvas.png"), "--extend does not go with --canvas and --mask"),
        (("--extend", "--size", "80", "--mask", "share.png"), "--extend does not go with --canvas and --mask"),
        (("--figure", "out/f.txt"), "must end in one of .png, .pdf, .svg"),
    ],
    ids=lambda value: " ".join(map(str, value)) if isinstance(value, (tuple, list)) else "",
)
def test_bad_input_ends_in_one_line_and_status_2(
    folder: Path, monkeypatch: pytest.MonkeyPatch, arguments: Any, words: str
) -> None:
    monkeypatch.chdir(folder)
    done = synthesise(folder, *arguments)
    assert done.exit_code == 2
    assert words in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert list((folder / "out").iterdir()) == []


def test_compare_prints_what_tells_textures_apart(folder: Path) -> None:
    done = command("compare", folder / "grey.png", folder / "dark.png")
    assert done.exit_code == 0, done.output
    title, *lines = (line.split() for line in done.output.splitlines())
    assert title == ["family", "between", "within", "ratio"]
    differences = gf.textures.compare(GREY, DARK)
    assert [line[0] for line in lines] == list(differences)
    for line, one in zip(lines, differences.values(), strict=True):
        np.testing.assert_allclose([float(word) for word in line[1:3]], [one.between, one.within], atol=6e-5)
        assert float(line[3]) == pytest.approx(one.ratio, abs=6e-3)


@pytest.mark.parametrize("option", [("--scales", 2), ("--orientations", 2), ("--neighbourhood", 3)])
def test_options_of_compare(folder: Path, option: tuple[str, int]) -> None:
    pair = folder / "grey.png", folder / "dark.png"
    with_option, without = command("compare", *pair, *option), command("compare", *pair)
    assert with_option.exit_code == without.exit_code == 0
    name = {"--scales": "n_scales", "--orientations": "n_orientations", "--neighbourhood": "spatial_corr_width"}
    expected = gf.textures.compare(GREY, DARK, **{name[option[0]]: option[1]})
    first = next(iter(expected.values()))
    assert f"{first.between:.4f}" in with_option.output
    assert with_option.output != without.output


def test_compare_refuses_alpha_and_pictures_that_differ_in_kind(folder: Path) -> None:
    images.write(folder / "alpha.png", np.dstack([COLOUR, GREY]))
    pair = folder / "alpha.png", folder / "colour.png"
    refused = command("compare", *pair)
    assert (refused.exit_code, "alpha channel" in refused.stderr) == (2, True)
    assert command("compare", *pair, "--drop-alpha").exit_code == 0
    kept = command("compare", *pair, "--keep-alpha")
    assert (kept.exit_code, "channels of a, got 3 and 4" in kept.stderr) == (2, True)
    both = command("compare", folder / "alpha.png", folder / "alpha.png", "--keep-alpha")
    assert both.exit_code == 0


def test_help_does_not_load_torch() -> None:
    code = "import sys; from click.testing import CliRunner; from genimg_fast.cli import main; "
    code += "done = CliRunner().invoke(main, ['texture', 'portilla-simoncelli', '--help']); "
    code += "assert 'leave-out' in done.output; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
