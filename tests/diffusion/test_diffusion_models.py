"""Models and their files; sampling against diffusers' own schedulers."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import genimg_fast as gf

diffusers = pytest.importorskip("diffusers")
safetensors_torch = pytest.importorskip("safetensors.torch")

from tiny_models import same, train  # noqa: E402


@pytest.fixture(scope="module")
def model() -> gf.diffusion.Model:
    return train(steps=20, learning_rate=0.02, ema_decay=0.5)


def test_a_call_is_the_network(model: gf.diffusion.Model) -> None:
    x = torch.randn(2, 1, 8, 8)
    for label, index in [(None, 3), (1, 1), ("2", 2)]:
        expected = model.network(x, torch.tensor([7, 7]), torch.tensor([index, index])).sample
        torch.testing.assert_close(model(x, 7, label), expected)
    labels, levels = torch.tensor([0, 3]), torch.tensor([3, 900])
    torch.testing.assert_close(model(x, levels, labels), model.network(x, levels, labels).sample)
    assert not torch.allclose(model(x, 7, 1), model(x, 7, 2))


def test_a_file_gives_the_model_back(model: gf.diffusion.Model, tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    model.save(path)
    found = gf.diffusion.Model.from_file(path)
    assert same(model, found)
    assert found.architecture == model.architecture
    assert found.facts["settings"] == model.facts["settings"]
    assert not found.network.training


def test_a_model_alone_cannot_be_resumed(model: gf.diffusion.Model, tmp_path: Path) -> None:
    model.save(tmp_path / "m.safetensors")
    with pytest.raises(ValueError, match="holds a model alone"):
        train(checkpoint=tmp_path / "m.safetensors", resume=True)


def test_files_that_are_no_models_are_refused_by_name(model: gf.diffusion.Model, tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    with pytest.raises(FileNotFoundError, match=r"there is no model at .*m\.safetensors"):
        gf.diffusion.Model.from_file(path)
    model.save(path)
    whole = path.read_bytes()
    for n in (0, 5, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:n])
        with pytest.raises(ValueError, match=r"m\.safetensors is truncated or no safetensors file"):
            gf.diffusion.Model.from_file(path)
    path.write_bytes(struct.pack("<Q", 1 << 60) + whole[8:])
    with pytest.raises(ValueError, match=r"m\.safetensors is truncated or no safetensors file"):
        gf.diffusion.Model.from_file(path)
    safetensors_torch.save_file({"a": torch.ones(1)}, path)
    with pytest.raises(ValueError, match=r"m\.safetensors is no model of genimg_fast.diffusion: its format is None"):
        gf.diffusion.Model.from_file(path)
    with pytest.raises(ValueError, match=r"must end in one of \.safetensors"):
        model.save(tmp_path / "m.pt")


def reference(model: gf.diffusion.Model, labels: Any, seeds: Any, steps: int, guidance: float, sampler: str) -> Any:
    """A plain loop of diffusers, one picture at a time."""
    kind = {"ddim": diffusers.DDIMScheduler, "ddpm": diffusers.DDPMScheduler}[sampler]
    is_ddpm = sampler == "ddpm"
    spacing = "trailing" if is_ddpm else "leading"
    scheduler = kind(beta_schedule="squaredcos_cap_v2", clip_sample=is_ddpm, timestep_spacing=spacing)
    scheduler.set_timesteps(steps)
    pictures = []
    for label, seed in zip(labels, seeds, strict=True):
        generator = torch.Generator().manual_seed(seed)
        x = torch.randn(1, *model.shape, generator=generator)
        for t in scheduler.timesteps:
            given, without = model(x, t, label), model(x, t, None)
            x = scheduler.step(without + guidance * (given - without), t, x, generator=generator).prev_sample
        pictures.append((x.clamp(-1, 1) + 1) / 2)
    return torch.cat(pictures)


@pytest.mark.parametrize("sampler", ["ddim", "ddpm"])
@pytest.mark.parametrize(("steps", "guidance"), [(6, 3.0), (9, 1.0), (9, 0.0)])
def test_sampling_is_the_loop_of_diffusers(
    model: gf.diffusion.Model, sampler: str, steps: int, guidance: float
) -> None:
    found = gf.diffusion.sample(model, [2, "1", None], 2, steps=steps, guidance=guidance, sampler=sampler, seed=5)
    expected = reference(model, [2, 2, 1, 1, None, None], range(5, 11), steps, guidance, sampler)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-4)


def test_a_picture_does_not_depend_on_its_neighbours(model: gf.diffusion.Model) -> None:
    many = gf.diffusion.sample(model, 1, 3, steps=5, sampler="ddpm", seed=5)
    alone = gf.diffusion.sample(model, 1, steps=5, sampler="ddpm", seed=7)
    torch.testing.assert_close(many[2:], alone, rtol=0, atol=1e-5)
    assert not torch.allclose(many[0], many[1])


@pytest.mark.parametrize("sampler", ["ddim", "ddpm"])
def test_threads_do_not_change_a_sample(model: gf.diffusion.Model, sampler: str) -> None:
    n_threads = torch.get_num_threads()
    found = []
    try:
        for n in (1, 2, 3):
            torch.set_num_threads(n)
            found.append(gf.diffusion.sample(model, [0, 1], 2, steps=10, sampler=sampler, seed=0))
    finally:
        torch.set_num_threads(n_threads)
    for other in found[1:]:  # the noise is the same; a library's convolutions round differently
        torch.testing.assert_close(other, found[0], rtol=0, atol=1e-4)


def test_no_seed_gives_other_pictures(model: gf.diffusion.Model) -> None:
    a, b = (gf.diffusion.sample(model, 0, steps=2) for _ in range(2))
    assert not torch.allclose(a, b)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"labels": 3}, ValueError, "label must be below 3, the number of classes, got 3"),
        ({"labels": -1}, ValueError, "label must be at least 0, got -1"),
        ({"labels": "cat"}, ValueError, "label must be one of '0', '1', '2', got 'cat'"),
        ({"labels": 1.5}, TypeError, "label must be an integer, got 1.5"),
        ({"labels": []}, ValueError, "labels must be a class or a list of at least one"),
        ({"n": 0}, ValueError, "n must be at least 1, got 0"),
        ({"steps": 0}, ValueError, "steps must be at least 1, got 0"),
        ({"steps": 1001}, ValueError, "steps must be at most 1000, got 1001"),
        ({"sampler": "euler"}, ValueError, "sampler must be one of 'ddim', 'ddpm', got 'euler'"),
        ({"seed": -1}, ValueError, "seed must be at least 0, got -1"),
        ({"guidance": float("nan")}, ValueError, "guidance"),
        ({"guidance": "2"}, TypeError, "^sample: guidance must be a number, got '2'"),
        ({"labels": True}, TypeError, "^sample: label must be an integer, got True"),
        ({"labels": 1 << 70}, ValueError, "^sample: label must be below 3"),
        ({"labels": torch.tensor([0.5])}, TypeError, "^sample: label must be an integer, got 0.5"),
        ({"n": 1 << 70}, ValueError, "^sample: n must be at most"),
        ({"n": 2.0}, TypeError, "^sample: n must be an integer, got 2.0"),
        ({"seed": 1 << 63}, ValueError, "^sample: seed must be at most"),
        ({"sampler": None}, ValueError, "^sample: sampler must be one of"),
    ],
)
def test_bad_arguments_of_sampling_are_named(
    model: gf.diffusion.Model, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        gf.diffusion.sample(model, **options)


def test_bad_inputs_of_a_model_are_named(model: gf.diffusion.Model) -> None:
    with pytest.raises(ValueError, match=r"x must be \(B, 1, 8, 8\), got \(1, 1, 16, 16\)"):
        model(torch.zeros(1, 1, 16, 16), 3)
    with pytest.raises(ValueError, match="label must be below 3"):
        model(torch.zeros(1, 1, 8, 8), 3, 9)


def test_only_models_are_sampled(model: gf.diffusion.Model) -> None:
    with pytest.raises(TypeError, match=r"^sample: model must be a Model, .*, got UNet2DModel"):
        gf.diffusion.sample(model.network)


def test_labels_may_be_an_array(model: gf.diffusion.Model) -> None:
    expected = gf.diffusion.sample(model, [2, 0], steps=2, seed=1)
    for labels in (torch.tensor([2, 0]), np.array([2, 0]), range(2, -1, -2)):
        assert torch.equal(gf.diffusion.sample(model, labels, steps=2, seed=1), expected)


X = torch.zeros(2, 1, 8, 8)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((X.numpy(), 3), TypeError, "x must be a torch.Tensor, got ndarray"),
        ((X.double(), 3), TypeError, "x must have the dtype of the weights, torch.float32, got torch.float64"),
        ((X.long(), 3), TypeError, "x must have the dtype of the weights"),
        ((X[:0], 3), ValueError, r"x must be \(B, 1, 8, 8\), got \(0, 1, 8, 8\)"),
        ((X.to("meta"), 3), TypeError, "x must be a dense tensor with values"),
        ((X, 1000), ValueError, "t must be from 0 to 999, got 1000"),
        ((X, -1), ValueError, "t must be from 0 to 999, got -1"),
        ((X, float("nan")), ValueError, "t must be from 0 to 999, got nan"),
        ((X, 1 << 70), TypeError, "t must be a number"),
        ((X, "3"), TypeError, "t must be a number"),
        ((X, torch.zeros(3)), ValueError, r"t must be one number or \(2,\), got the shape \(3,\)"),
        ((X, 3, torch.tensor([0, 4])), ValueError, r"label must be from 0 to 3, got \[0, 4\]"),
        ((X, 3, torch.tensor([-1, 0])), ValueError, "label must be from 0 to 3"),
        ((X, 3, torch.tensor([0.0, 1.0])), TypeError, "label must be integers, got torch.float32"),
        ((X, 3, torch.tensor([0, 1, 2])), ValueError, "label must be one number or"),
        ((X, 3, 1.5), TypeError, "label must be integers"),
        ((X, 3, True), TypeError, "label must be an integer, got True"),
    ],
)
def test_every_input_of_a_model_is_refused_by_name(
    model: gf.diffusion.Model, arguments: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=f"^Model: {message}"):
        model(*arguments)


def test_labels_and_levels_of_any_integer_kind(model: gf.diffusion.Model) -> None:
    expected = model(X, torch.tensor([7, 7]), torch.tensor([1, 2]))
    for kind in (np.uint16, np.int32, np.uint64):
        assert torch.equal(model(X, np.array([7, 7], kind), np.array([1, 2], kind)), expected)
    assert torch.equal(model(X, 7.0, [1, 2]), expected)
    assert torch.equal(model(X, 7, np.int64(1)), model(X, 7, 1))
