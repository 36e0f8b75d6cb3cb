"""The exercises of examples/diffusion_course.py, with the exact denoiser of the digits."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import genimg_fast as gf

pytest.importorskip("diffusers")
pytest.importorskip("sklearn")


@pytest.fixture(scope="module")
def course() -> Any:
    path = Path(__file__).parents[2] / "examples" / "diffusion_course.py"
    spec = importlib.util.spec_from_file_location("diffusion_course", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def rows(course: Any) -> dict[str, torch.Tensor]:
    network = course.exact_network()
    return {exercise.__name__: exercise(network) for exercise in course.EXERCISES}


def read(pictures: torch.Tensor) -> list[int]:
    """Return what digits the classifier of real ones sees."""
    return gf.diffusion.digits_classifier().read(pictures.clamp(-1, 1).add(1).div(2)).tolist()


def test_each_gives_a_row_of_eight_pictures(rows, course):
    for name, row in rows.items():
        assert tuple(row.shape) == (8, *course.SHAPE), name
        assert row.isfinite().all(), name


def test_noise_grows(rows):
    distances = (rows["noising"] - rows["noising"][0]).flatten(1).norm(dim=1)
    assert (distances.diff() > 0).all()


def test_one_step_takes_noise_away(rows, course):
    picture = course.real_digits()[0][0]
    noisy, clean = ((rows[name] - picture).flatten(1).norm(dim=1) for name in ("noising", "one_step"))
    assert (clean[1:] < noisy[1:]).all()
    assert clean[0] < 0.1 * picture.norm()


def test_guidance_gets_the_class(rows):
    assert read(rows["guidance"])[2:] == [3] * 6


def test_an_earlier_start_leaves_less_of_the_sketch(rows):
    distances = (rows["image_to_image"] - rows["image_to_image"][0]).flatten(1).norm(dim=1)
    assert distances[1] == distances[1:].min()


def test_inpainting_keeps_what_is_known(rows, course):
    known = course.real_digits()[0][3]
    assert torch.equal(rows["inpainting"][2:, :, :8], known[:, :8].expand(6, -1, -1, -1))
    assert len(set(read(rows["inpainting"][2:]))) > 1


def test_anagrams_read_both_ways(rows):
    assert read(rows["anagram"]) == [6, 9] * 4


def test_hybrids_read_otherwise_from_afar(rows):
    assert read(rows["hybrid"]) == [8, 3] * 4


def test_the_script_writes_a_picture(course, monkeypatch, tmp_path):
    monkeypatch.setattr(course, "EXERCISES", (course.noising, course.one_step))
    course.main(str(tmp_path / "course.png"))
    pixels = np.asarray(Image.open(tmp_path / "course.png"))
    assert pixels.dtype == np.uint8
    assert pixels.shape == (2 * 17 * 4, 8 * 17 * 4)


def test_the_script_takes_a_trained_model(course, monkeypatch, tmp_path):
    model = gf.diffusion.train("digits", size=16, steps=2, batch_size=4, widths=(16,), progress=False)
    path = str(tmp_path / "digits.safetensors")
    model.save(path)
    x = course.noise(3)
    wanted = model(x, 500, torch.tensor([4, model.no_class, 7]))
    assert torch.equal(course.trained_network(path)(x, 500, [4, course.NONE, 7]), wanted)
    monkeypatch.setattr(course, "EXERCISES", (course.one_step,))
    for out, arguments in (("exact.png", ()), ("trained.png", (path,))):
        course.main(str(tmp_path / out), *arguments)
    exact, trained = (np.asarray(Image.open(tmp_path / name)) for name in ("exact.png", "trained.png"))
    assert (exact != trained).any()
