"""Hostile and broken model files: each is loaded with finite weights or refused by a sentence that names it."""

from __future__ import annotations

import json
import math
import random
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import genimg_fast as gf

pytest.importorskip("diffusers")
safetensors_torch = pytest.importorskip("safetensors.torch")
safetensors = pytest.importorskip("safetensors")

from tiny_models import same, train, weights  # noqa: E402

Contents = tuple[dict[str, torch.Tensor], dict[str, Any]]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("files") / "c.safetensors"
    train(steps=2, checkpoint=path)
    return path


@pytest.fixture(scope="module")
def model(checkpoint: Path) -> gf.diffusion.Model:
    return gf.diffusion.Model.from_file(checkpoint)


def contents(path: Path) -> Contents:
    with safetensors.safe_open(path, "pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, json.loads(file.metadata()["facts"])  # noqa: SIM118


def rewrite(source: Path, target: Path, change: Callable[[dict[str, torch.Tensor], dict[str, Any]], Any]) -> None:
    """Write a file again with its tensors and facts changed in place."""
    tensors, facts = contents(source)
    change(tensors, facts)
    tensors = {name: tensor.contiguous() for name, tensor in tensors.items()}
    metadata = {"format": "genimg_fast diffusion model, 1", "facts": json.dumps(facts)}
    safetensors_torch.save_file(tensors, target, metadata)


def architecture(**changes: Any) -> Callable[..., None]:
    return lambda tensors, facts: facts["architecture"].update(changes)


def facts_with(**changes: Any) -> Callable[..., None]:
    return lambda tensors, facts: facts.update(changes)


def tensor_with(name: str, change: Callable[[torch.Tensor], torch.Tensor]) -> Callable[..., None]:
    return lambda tensors, facts: tensors.update({name: change(tensors[name])})


def first(value: float) -> Callable[[torch.Tensor], torch.Tensor]:
    def change(tensor: torch.Tensor) -> torch.Tensor:
        tensor = tensor.clone()
        tensor.view(-1)[0] = value
        return tensor

    return change


BROKEN: dict[str, tuple[Callable[..., Any], str]] = {
    "wide": (architecture(widths=[4096]), "holds 'ema.*' as F32"),
    "too wide": (architecture(widths=[1 << 40]), "widths must be at most 4096"),
    "deep": (architecture(widths=[16] * 40), "size must be a multiple of"),
    "negative width": (architecture(widths=[-16]), "widths must be at least 1, got -16"),
    "width of a fraction": (architecture(widths=[16.0]), "widths must be an integer, got 16.0"),
    "no widths": (architecture(widths=[]), "widths must be multiples of 16, at least one"),
    "widths of another kind": (architecture(widths=16), "widths must be a list, got 16"),
    "two widths": (architecture(widths=[16, 16]), "lacks the tensor|holds"),
    "size 0": (architecture(shape=[1, 0, 0]), "shape must be from 1 to 4096, got 0"),
    "huge size": (architecture(shape=[1, 1 << 20, 1 << 20]), "shape must be from 1 to 4096"),
    "no square": (architecture(shape=[1, 8, 16]), "shape must be channels and twice the side"),
    "two numbers of shape": (architecture(shape=[1, 8]), "shape must be channels and twice the side"),
    "other channels": (architecture(shape=[3, 8, 8]), "holds 'ema.conv_in.weight'"),
    "numbers as classes": (architecture(classes=[1, 2, 3]), "classes must be names"),
    "no classes": (architecture(classes=[]), "classes must be names"),
    "the same class twice": (architecture(classes=["a", "a", "b"]), "classes must have different names"),
    "more classes": (architecture(classes=list("abcd")), "holds 'ema.class_embedding.weight'"),
    "unknown key": (architecture(depth=3), "architecture must have shape, classes, widths"),
    "no architecture": (lambda tensors, facts: facts.pop("architecture"), "architecture must be a mapping, got None"),
    "no classes named": (lambda tensors, facts: facts["architecture"].pop("classes"), "architecture must have"),
    "negative step": (facts_with(step=-1), "step must be from 0"),
    "step of a fraction": (facts_with(step=1.5), "step must be an integer"),
    "settings of another kind": (facts_with(settings=[1]), "settings must be a mapping"),
    "data of another kind": (facts_with(data=[1]), "data must be text"),
    "lacks a weight": (lambda tensors, facts: tensors.pop("ema.conv_in.bias"), "lacks the tensor 'ema.conv_in.bias'"),
    "unknown tensor": (lambda tensors, facts: tensors.update(x=torch.ones(1)), "holds a tensor 'x'"),
    "half": (tensor_with("ema.conv_in.bias", torch.Tensor.half), "'ema.conv_in.bias' as F16"),
    "integers": (tensor_with("ema.conv_in.bias", torch.Tensor.long), "'ema.conv_in.bias' as I64"),
    "another shape": (tensor_with("ema.conv_in.bias", lambda t: t[None]), r"of the shape \(1, 16\)"),
    "NaN": (tensor_with("ema.conv_in.bias", first(math.nan)), "'ema.conv_in.bias' that are not finite"),
    "infinite": (tensor_with("ema.conv_in.weight", first(-math.inf)), "'ema.conv_in.weight' that are not finite"),
    "random of another size": (tensor_with("random", lambda t: t[:-1]), "holds 'random' as U8"),
    "moment of another shape": (tensor_with("optimizer.1.exp_avg", lambda t: t[:-1]), "holds 'optimizer.1.exp_avg'"),
    "moment of nothing": (lambda t, facts: t.update({"optimizer.999.step": torch.ones(())}), "'optimizer.999.step'"),
    "moments without steps": (facts_with(step=0), "that its network does not have"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_file_is_refused_by_a_sentence_that_names_it(case: str, checkpoint: Path, tmp_path: Path) -> None:
    change, message = BROKEN[case]
    path = tmp_path / "m.safetensors"
    rewrite(checkpoint, path, change)
    for use in (gf.diffusion.Model.from_file, lambda path: train(steps=3, checkpoint=path, resume=True)):
        with pytest.raises(ValueError, match=message) as caught:
            use(path)
        assert str(caught.value).startswith(f"{path} ")


BROKEN_CHECKPOINTS: dict[str, tuple[Callable[..., Any], str]] = {
    "NaN in a moment": (tensor_with("optimizer.3.exp_avg", first(math.nan)), "'optimizer.3.exp_avg' that are not fin"),
    "negative square": (tensor_with("optimizer.3.exp_avg_sq", first(-1)), "negative where none may be"),
    "NaN in a weight": (tensor_with("weights.conv_in.bias", first(math.nan)), "'weights.conv_in.bias' that are not f"),
    "no random numbers": (tensor_with("random", lambda t: torch.full_like(t, 255)), "no state of random numbers"),
    "no settings": (lambda tensors, facts: facts.pop("settings"), "does not say 'settings'"),
    "a setting less": (lambda tensors, facts: facts["settings"].pop("seed"), "does not say 'seed'"),
    "no data": (lambda tensors, facts: facts.pop("data"), "does not say 'data'"),
}


@pytest.mark.parametrize("case", BROKEN_CHECKPOINTS)
def test_a_broken_checkpoint_may_be_a_model_but_is_not_resumed(
    case: str, checkpoint: Path, model: gf.diffusion.Model, tmp_path: Path
) -> None:
    change, message = BROKEN_CHECKPOINTS[case]
    path = tmp_path / "m.safetensors"
    rewrite(checkpoint, path, change)
    assert same(gf.diffusion.Model.from_file(path), model)
    with pytest.raises(ValueError, match=message) as caught:
        train(steps=3, checkpoint=path, resume=True)
    assert str(caught.value).startswith(f"{path} ")


@pytest.mark.parametrize("facts", ["", "[]", "{", '"x"', "NaN", "[" * 100000, '{"architecture": ' + "9" * 5000 + "}"])
def test_facts_that_are_no_description_are_refused(facts: str, checkpoint: Path, tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    tensors, _ = contents(checkpoint)
    safetensors_torch.save_file(tensors, path, {"format": "genimg_fast diffusion model, 1", "facts": facts})
    with pytest.raises(ValueError, match=r"m\.safetensors does not (say what it holds|describe a network)"):
        gf.diffusion.Model.from_file(path)


def test_no_network_is_built_for_a_file_that_does_not_hold_it(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The widest network that is let through to the comparison takes no memory."""
    devices = []
    normal = torch.nn.Conv2d.__init__

    def watched(self: Any, *args: Any, **kwargs: Any) -> None:
        normal(self, *args, **kwargs)
        devices.append(self.weight.device.type)

    path = tmp_path / "m.safetensors"
    rewrite(checkpoint, path, architecture(widths=[4096]))
    monkeypatch.setattr(torch.nn.Conv2d, "__init__", watched)
    with pytest.raises(ValueError, match="its network has"):
        gf.diffusion.Model.from_file(path)
    assert set(devices) == {"meta"}


def mutated(whole: bytes, rng: random.Random) -> bytes:
    """Return a file with a few of its bytes changed, cut or doubled, mostly in the header."""
    size = struct.unpack("<Q", whole[:8])[0]
    data = bytearray(whole)
    for _ in range(rng.randrange(1, 4)):
        kind = rng.choice(("bit", "digit", "cut", "length", "insert", "body"))
        place = rng.randrange(8, 8 + size)
        if kind == "bit":
            data[place] ^= 1 << rng.randrange(8)
        elif kind == "digit":
            digits = [i for i in range(8, 8 + size) if chr(data[i]).isdigit()] if len(data) >= 8 + size else []
            if digits:
                data[rng.choice(digits)] = ord(rng.choice("0123456789-"))
        elif kind == "cut":
            del data[rng.randrange(len(data)) :]
            break
        elif kind == "length":
            data[:8] = struct.pack("<Q", rng.choice((0, 1, size - 1, size + 1, 1 << 40, (1 << 64) - 1)))
        elif kind == "insert":
            data[place:place] = bytes(rng.randrange(256) for _ in range(rng.randrange(1, 9)))
        else:
            data[rng.randrange(8 + size, len(whole)) % len(data)] = rng.choice((0, 127, 255))
    return bytes(data)


def test_mutated_files_are_refused_by_name_or_finite(model: gf.diffusion.Model, tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    model.save(path)
    whole, rng = path.read_bytes(), random.Random(0)
    n_loaded, said = 0, []
    for _ in range(200):
        path.write_bytes(mutated(whole, rng))
        try:
            found = gf.diffusion.Model.from_file(path)
        except ValueError as error:
            said.append(str(error))
        else:
            n_loaded += 1
            assert all(bool(torch.isfinite(tensor).all()) for tensor in weights(found).values())
    assert 0 < n_loaded < 150
    assert all(str(path) in one for one in said)


def test_what_cannot_be_read_again_is_not_saved(checkpoint: Path, tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    for change, error, message in [
        (
            lambda m: m.network.conv_in.weight.fill_(math.nan),
            ValueError,
            "^Model.save: the network's weights must be f",
        ),
        (lambda m: m.network.add_module("more", torch.nn.Linear(1, 1)), ValueError, "those of its architecture"),
        (lambda m: m.facts.update(x={1, 2}), TypeError, "^Model.save: facts must be what JSON holds"),
    ]:
        found = gf.diffusion.Model.from_file(checkpoint)
        change(found)
        with pytest.raises(error, match=message):
            found.save(path)
        assert not path.exists()


def test_a_model_of_another_precision_is_saved_in_float32(checkpoint: Path, tmp_path: Path) -> None:
    found = gf.diffusion.Model.from_file(checkpoint)
    found.network.half()
    found.save(tmp_path / "m.safetensors")
    again = weights(gf.diffusion.Model.from_file(tmp_path / "m.safetensors"))
    assert all(torch.equal(again[name], tensor.float()) for name, tensor in weights(found).items())


def test_a_loaded_model_does_not_change_with_its_file(checkpoint: Path, tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    path.write_bytes(checkpoint.read_bytes())
    found = gf.diffusion.Model.from_file(path)
    before = {name: tensor.clone() for name, tensor in weights(found).items()}
    with path.open("r+b") as file:
        file.write(bytes(path.stat().st_size))
    assert all(torch.equal(tensor, before[name]) for name, tensor in weights(found).items())
