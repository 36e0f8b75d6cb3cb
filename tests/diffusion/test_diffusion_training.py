"""Training: what a step computes, what each option does, and that stopping loses nothing."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import genimg_fast as gf
from genimg_fast import images

pytest.importorskip("diffusers")
safetensors_torch = pytest.importorskip("safetensors.torch")

from tiny_models import IMAGES, LABELS, same, train, weights  # noqa: E402


def cosine_abar(levels: torch.Tensor) -> torch.Tensor:
    """Nichol & Dhariwal 2021, eq. 17, with betas of at most 0.999."""

    def f(t: float) -> float:
        return math.cos((t / 1000 + 0.008) / 1.008 * math.pi / 2) ** 2

    betas = [min(1 - f(t + 1) / f(t), 0.999) for t in range(1000)]
    return torch.tensor(np.cumprod(1 - np.array(betas)))[levels]


def network(seed: int, n_classes: int = 3) -> torch.nn.Module:
    from diffusers import UNet2DModel

    torch.manual_seed(seed)
    return UNet2DModel(
        sample_size=8,
        in_channels=1,
        out_channels=1,
        layers_per_block=1,
        block_out_channels=(16,),
        down_block_types=("DownBlock2D",),
        up_block_types=("UpBlock2D",),
        norm_num_groups=8,
        attention_head_dim=16,
        num_class_embeds=n_classes + 1,
    )


@pytest.mark.parametrize(("seed", "batch_size", "dropout"), [(0, 24, 0.1), (5, 16, 0.5), (5, 16, 0.0)])
def test_the_first_loss_is_that_of_the_definition(seed: int, batch_size: int, dropout: float) -> None:
    """Ho et al. 2020, algorithm 1, with labels left out, in a few lines of float64."""
    losses: list[float] = []
    options = {"seed": seed, "batch_size": batch_size, "label_dropout": dropout, "steps": 1}
    train(**options, callback=lambda step: losses.append(step.loss))

    generator = torch.Generator().manual_seed(seed)
    index = torch.randint(12, (batch_size,), generator=generator)
    left_out = torch.rand(batch_size, generator=generator) < dropout
    noise = torch.randn((batch_size, 1, 8, 8), generator=generator).double()
    levels = torch.randint(1000, (batch_size,), generator=generator)
    clean = torch.from_numpy(IMAGES)[index, None].double() / 127.5 - 1
    abar = cosine_abar(levels)[:, None, None, None]
    labels = torch.where(left_out, torch.tensor(3), torch.from_numpy(LABELS)[index])
    noisy = abar.sqrt() * clean + (1 - abar).sqrt() * noise
    predicted = network(seed).double()(noisy, levels, labels).sample
    assert losses == pytest.approx([float((predicted - noise).square().mean().detach())], rel=1e-4)
    assert bool(left_out.any()) == (dropout > 0)


@pytest.mark.parametrize("learning_rate", [1e-3, 1e-2])
def test_the_learning_rate_grows_for_a_hundred_steps(learning_rate: float, tmp_path: Path) -> None:
    before = network(0).state_dict()
    train(steps=1, learning_rate=learning_rate, checkpoint=tmp_path / "c.safetensors")
    after = safetensors_torch.load_file(tmp_path / "c.safetensors")
    moved = max(float((after[f"weights.{name}"] - before[name]).abs().max()) for name in before)
    # Adam's first step moves each weight by the learning rate; the decay adds a hundredth of the weights' share.
    assert moved == pytest.approx(learning_rate / 100, rel=0.05)


@pytest.mark.parametrize("decay", [0.15, 0.99])
def test_the_model_is_the_running_mean_of_the_optimisers_weights(decay: float, tmp_path: Path) -> None:
    path, seen = tmp_path / "c.safetensors", []

    def keep(step: gf.diffusion.TrainingStep) -> None:
        if step.step < step.steps:
            seen.append(safetensors_torch.load_file(path))

    model = train(steps=5, ema_decay=decay, learning_rate=0.1, save_every=1, checkpoint=path, callback=keep)
    seen.append(safetensors_torch.load_file(path))
    for name, found in weights(model).items():
        mean = seen[0][f"weights.{name}"].double()
        for k, state in enumerate(seen[1:], 1):
            share = min(decay, (1 + k) / (10 + k))  # grows, so that the first weights are soon forgotten
            mean = share * mean + (1 - share) * state[f"weights.{name}"].double()
        torch.testing.assert_close(found.double(), mean, rtol=1e-4, atol=1e-6)
        assert torch.equal(found, seen[-1][f"ema.{name}"])
    assert any(not torch.equal(seen[-1][f"weights.{name}"], found) for name, found in weights(model).items())


def test_seeds_repeat_a_training_and_leave_torchs_generator_alone() -> None:
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    a, b, c = train(seed=1), train(seed=1), train(seed=2)
    assert torch.equal(torch.rand(1), expected)
    assert same(a, b)
    assert not same(a, c)


def test_two_runs_give_the_bits_of_one(tmp_path: Path) -> None:
    path = tmp_path / "c.safetensors"
    train(steps=3, checkpoint=path)
    resumed: list[int] = []
    two = train(steps=7, checkpoint=path, resume=True, callback=lambda step: resumed.append(step.step))
    assert resumed == [4, 5, 6, 7]
    assert same(two, train(steps=7))
    assert same(two, gf.diffusion.Model.from_file(path))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_after_the_step_at_hand(number: int, tmp_path: Path) -> None:
    path = tmp_path / "c.safetensors"

    def interrupt(step: gf.diffusion.TrainingStep) -> None:
        if step.step == 2:
            os.kill(os.getpid(), number)

    handler = signal.getsignal(number)
    with pytest.warns(RuntimeWarning, match="stopped by Ctrl-C after 2 of 6 steps"):
        so_far = train(steps=6, checkpoint=path, callback=interrupt)
    assert signal.getsignal(number) is handler
    assert so_far.facts["step"] == 2
    assert same(so_far, gf.diffusion.Model.from_file(path))
    assert same(train(steps=6, checkpoint=path, resume=True), train(steps=6))


def test_a_killed_process_goes_on_from_its_last_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "c.safetensors"
    code = f"""
import os, signal, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
import torch; torch.set_num_threads(1)
from tiny_models import train
train(steps=9, save_every=2, checkpoint={str(path)!r},
      callback=lambda step: step.step == 5 and os.kill(os.getpid(), signal.SIGKILL))
"""
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        steps: list[int] = []
        resumed = train(steps=9, save_every=2, checkpoint=path, resume=True, callback=lambda s: steps.append(s.step))
        assert steps[0] == 5
        assert same(resumed, train(steps=9))
    finally:
        torch.set_num_threads(n_threads)


def test_a_checkpoint_is_whole_or_the_one_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "c.safetensors"
    train(steps=2, checkpoint=path)
    before = path.read_bytes()

    def fail(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(images.Output, "open", fail)
    with pytest.raises(OSError, match="No space left"):
        train(steps=4, checkpoint=path, resume=True)
    assert path.read_bytes() == before
    assert [one.name for one in tmp_path.iterdir()] == [path.name]


def test_a_colour_folder_with_a_subfolder_per_class(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    for name, shape in {"cats": (20, 30, 3), "dogs": (12, 9)}.items():
        (tmp_path / name).mkdir()
        for i in range(2):
            images.write(tmp_path / name / f"{i}.png", rng.integers(0, 256, shape, dtype=np.uint8))
    (tmp_path / "empty").mkdir()
    (tmp_path / "dogs" / "notes.txt").write_text("no picture")
    model = train(tmp_path, size=8)
    assert model.shape == (3, 8, 8)
    assert model.classes == ("cats", "dogs")
    assert model.label("dogs") == 1
    assert train(tmp_path / "dogs", size=16, steps=1).shape == (1, 16, 16)


def test_the_middle_of_a_picture_is_kept(tmp_path: Path) -> None:
    from genimg_fast.diffusion import _data

    pixels = np.zeros((8, 16), np.uint16)
    pixels[:, 4:12] = 65535
    images.write(tmp_path / "wide.png", pixels)
    found = _data.load(tmp_path, 8)
    assert found.planes.shape == (1, 1, 8, 8)
    assert bool((found.batch(torch.tensor([0])) == 1).all())


def test_arrays_and_tensors_are_the_same_data() -> None:
    planes = torch.from_numpy(IMAGES)[:, None]
    assert same(train((IMAGES, LABELS)), train((planes, torch.from_numpy(LABELS))))
    colour = np.repeat(IMAGES[..., None], 3, -1)
    assert train((colour, LABELS), steps=1).shape == (3, 8, 8)
    from genimg_fast.diffusion import _data

    whole, floats = (_data.load((x, LABELS), None).batch(torch.arange(12)) for x in (IMAGES, IMAGES / 255))
    torch.testing.assert_close(whole, floats)
    assert (float(whole.min()), float(whole.max())) == pytest.approx(
        (IMAGES.min() / 127.5 - 1, IMAGES.max() / 127.5 - 1)
    )


def test_options_of_size_and_widths() -> None:
    small, large = train("digits", size=8, steps=1), train("digits", steps=1, widths=(16, 32))
    assert (small.shape, large.shape) == ((1, 8, 8), (1, 16, 16))
    assert (small.architecture.widths, large.architecture.widths) == ((16,), (16, 32))


BAD: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"data": 3}, TypeError, "data must be 'digits', a folder or a pair"),
    ({"data": "letters"}, FileNotFoundError, "letters is no folder"),
    ({"data": (IMAGES,)}, ValueError, r"pair \(images, labels\), got 1"),
    ({"data": (IMAGES.tolist(), LABELS)}, TypeError, "images must be a numpy array or a torch tensor, got list"),
    ({"data": (IMAGES[0], LABELS)}, ValueError, r"images must be \(N, H, W\)"),
    ({"data": (IMAGES[..., :6], LABELS)}, ValueError, "images must be square, got 8x6"),
    ({"data": (IMAGES.astype(np.int16), LABELS)}, TypeError, "images must be uint8 or floats"),
    ({"data": (IMAGES / 100.0, LABELS)}, ValueError, r"images must lie in \[0, 1\]"),
    ({"data": (np.full((12, 8, 8), np.nan), LABELS)}, ValueError, r"images must lie in \[0, 1\], got nan"),
    ({"data": (IMAGES, LABELS[:5])}, ValueError, "labels must be one integer from 0 for each of 12 images"),
    ({"data": (IMAGES, LABELS - 1)}, ValueError, "labels .* smallest -1"),
    ({"data": (IMAGES, LABELS / 2)}, TypeError, "labels must be integers, got float64"),
    ({"size": 16}, ValueError, "images must be 16x16, got 8x8"),
    ({"size": 1}, ValueError, "size must be at least 2, got 1"),
    ({"steps": 0}, ValueError, "steps must be at least 1, got 0"),
    ({"steps": 1.5}, TypeError, "steps must be an integer, got 1.5"),
    ({"batch_size": 0}, ValueError, "batch_size must be at least 1"),
    ({"learning_rate": 0}, ValueError, "learning_rate must be a positive finite number, got 0"),
    ({"widths": (20,)}, ValueError, "widths must be multiples of 16"),
    ({"widths": ()}, ValueError, "widths must be multiples of 16, at least one"),
    ({"widths": (16,) * 4}, ValueError, "size must be a multiple of 8, at least 16, for 4 widths, got 8"),
    ({"label_dropout": 1}, ValueError, "label_dropout must be a number from 0 to below 1, got 1"),
    ({"ema_decay": -0.1}, ValueError, "ema_decay must be a number from 0 to below 1, got -0.1"),
    ({"seed": -1}, ValueError, "seed must be at least 0, got -1"),
    ({"save_every": 0}, ValueError, "save_every must be at least 1"),
    ({"device": "abacus"}, ValueError, "device must be one that torch has here, got 'abacus'"),
    ({"resume": True}, ValueError, "resume=True needs checkpoint"),
    ({"checkpoint": "model.pt"}, ValueError, "model.pt must end in one of .safetensors"),
    ({"checkpoint": "none/m.safetensors"}, FileNotFoundError, "the folder none does not exist"),
    ({"checkpoint": "m.safetensors", "resume": True}, FileNotFoundError, "there is no checkpoint at m.safetensors"),
]


@pytest.mark.parametrize(("options", "error", "message"), BAD, ids=[message for _, _, message in BAD])
def test_bad_arguments_are_named(
    options: dict[str, Any], error: type[Exception], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=message):
        train(**options)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_without_pictures_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds no pictures"):
        train(tmp_path)


def test_checkpoints_of_other_trainings_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "c.safetensors"
    train(steps=1, checkpoint=path)
    before = path.read_bytes()
    with pytest.raises(ValueError, match="is there already; resume it, or remove it"):
        train(steps=2, checkpoint=path)
    for options, name in [
        ({"seed": 1}, "seed"),
        ({"batch_size": 3}, "batch_size"),
        ({"learning_rate": 0.5}, "learning_rate"),
        ({"widths": (32,)}, "widths"),
        ({"label_dropout": 0.3}, "label_dropout"),
        ({"ema_decay": 0.5}, "ema_decay"),
        ({"data": (255 - IMAGES, LABELS)}, "data"),
        ({"data": (IMAGES, LABELS[::-1].copy())}, "data"),
    ]:
        with pytest.raises(ValueError, match=f"{name} must be that of the checkpoint"):
            train(steps=2, checkpoint=path, resume=True, **options)
    assert path.read_bytes() == before


def test_a_checkpoint_may_not_be_further_than_asked(tmp_path: Path) -> None:
    path = tmp_path / "c.safetensors"
    train(steps=3, checkpoint=path)
    with pytest.raises(ValueError, match="steps must be at least those of the checkpoint, 3, got 2"):
        train(steps=2, checkpoint=path, resume=True)


def test_a_loss_that_is_not_finite_stops(tmp_path: Path) -> None:
    path = tmp_path / "c.safetensors"
    with pytest.raises(ValueError, match=r"the loss is .* learning_rate must be smaller, got 1e\+30"):
        train(learning_rate=1e30, steps=50, save_every=1, checkpoint=path)


def test_a_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "diffusers", None)
    with pytest.raises(ImportError, match=r"needs the package diffusers: pip install genimg_fast\[diffusion\]"):
        train()


def test_the_module_is_cheap_to_import() -> None:
    code = (
        "import sys, genimg_fast as gf; gf.diffusion; assert not {'torch', 'diffusers', 'sklearn'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def folder_of(root: Path, files: dict[str, tuple[int, ...]]) -> Path:
    """Return a folder with some files: noise of a shape, or text where that is none."""
    rng = np.random.default_rng(1)
    for name, shape in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if shape:
            images.write(path, rng.integers(0, 256, shape, dtype=np.uint8))
        else:
            path.write_text("no picture")
    return root


CLASSES = {"cats/a.png": (8, 8), "cats/b.PNG": (9, 8), "dogs/a.jpeg": (8, 8)}


def test_hidden_files_and_what_systems_leave_are_no_part_of_a_training(tmp_path: Path) -> None:
    from genimg_fast.diffusion import _data

    clean = _data.load(folder_of(tmp_path / "clean", CLASSES), 8)
    hidden: dict[str, tuple[int, ...]] = {
        ".ipynb_checkpoints/a.png": (8, 8),
        "__MACOSX/a.png": (8, 8),
        "__MACOSX/cats/._a.png": (),
        ".DS_Store": (),
        "cats/._a.png": (),
        "cats/.hidden.png": (8, 8),
        "cats/Thumbs.db": (),
        "dogs/desktop.ini": (),
        "dogs/.ipynb_checkpoints/a.png": (8, 8),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = _data.load(folder_of(tmp_path / "full", CLASSES | hidden), 8)
    assert found.classes == ("cats", "dogs")
    assert found.labels.tolist() == [0, 0, 1]
    assert found.fingerprint() == clean.fingerprint()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"cats/a.txt": (), "dogs/b.txt": (), "notes": ()}, r"no pictures are left out \(\.txt: 2, no ending: 1\)"),
        ({"birds/a.txt": ()}, "folders without pictures are no classes: 'birds'"),
        ({"cats/more/a.png": (8, 8)}, "folders in folders of classes are left out: 'cats/more'"),
        ({"a.png": (8, 8)}, "1 beside the folders of classes, such as a.png, are left out"),
        ({"Cats/a.png": (8, 8)}, "differ in case alone are classes of their own: 'Cats', 'cats'"),
    ],
)
def test_what_is_left_out_of_a_folder_is_said_once(
    more: dict[str, tuple[int, ...]], message: str, tmp_path: Path
) -> None:
    folder_of(tmp_path, CLASSES | more)
    with pytest.warns(UserWarning, match=message) as caught:
        found = train(tmp_path, size=8, steps=1)
    assert len(caught) == 1
    assert caught[0].filename.endswith("tiny_models.py")
    assert found.classes == (("Cats",) if "Cats/a.png" in more else ()) + ("cats", "dogs")


def test_a_broken_link_is_said_and_others_are_followed(tmp_path: Path) -> None:
    folder_of(tmp_path / "elsewhere", {"x.png": (8, 8)})
    data = folder_of(tmp_path / "data", CLASSES)
    (data / "birds").symlink_to(tmp_path / "elsewhere")
    (data / "cats" / "c.png").symlink_to(tmp_path / "elsewhere" / "x.png")
    (data / "cats" / "d.png").symlink_to(tmp_path / "nowhere.png")
    with pytest.warns(UserWarning, match=r"\(broken link: 1\)"):
        found = train(data, size=8, steps=1)
    assert found.classes == ("birds", "cats", "dogs")


def test_a_flat_folder_is_one_class_with_a_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder_of(tmp_path / "flat", {"a.png": (8, 8), "b.png": (8, 8)})
    monkeypatch.chdir(tmp_path / "flat")
    with pytest.warns(UserWarning, match="no folders of classes, so its 2 pictures are one class"):
        found = train(".", size=8, steps=1)
    assert found.classes == ("flat",)


def test_resuming_names_the_setting_that_differs_before_the_data(tmp_path: Path) -> None:
    from_digits: dict[str, Any] = {"data": "digits", "checkpoint": tmp_path / "c.safetensors"}
    train(**from_digits, size=8, steps=1)
    for options, message in [
        ({"size": 16}, "train: size must be that of the checkpoint .*c.safetensors, 8, got 16$"),
        ({"size": 8, "widths": (32,)}, r"widths must be that of the checkpoint .*, \(16,\), got \(32,\)$"),
        ({"data": (IMAGES, LABELS)}, r"data's classes must be that of the checkpoint .*\('0', '1', '2'\)$"),
        ({"data": (np.repeat(IMAGES[..., None], 3, -1), LABELS)}, "channels must be that of .*, 1, got 3$"),
    ]:
        with pytest.raises(ValueError, match=message):
            train(**from_digits | {"steps": 2, "resume": True} | options)
    with pytest.raises(ValueError, match="seed must be that of the checkpoint"):  # before anything is read
        train(**from_digits | {"data": "no folder", "steps": 2, "resume": True, "seed": 3})


def test_data_that_differ_are_told_in_words(tmp_path: Path) -> None:
    path = tmp_path / "c.safetensors"
    train(steps=1, checkpoint=path)
    with pytest.raises(ValueError, match=r"data must be that of the checkpoint .*; pictures or labels are others$"):
        train((255 - IMAGES, LABELS), steps=2, checkpoint=path, resume=True)


def test_training_works_in_every_mode_of_torch(tmp_path: Path) -> None:
    expected = train()
    with torch.inference_mode():
        data = torch.from_numpy(IMAGES)[:, None] + 0, torch.from_numpy(LABELS) + 0
        found = train(data, checkpoint=tmp_path / "c.safetensors")
        assert same(found, expected)
        assert gf.diffusion.sample(found, 0, steps=2, seed=0).shape == (1, 1, 8, 8)
    with torch.no_grad():
        assert same(train(), expected)
    with torch.autocast("cpu", torch.bfloat16):
        assert same(train(), expected)
    try:
        torch.set_default_dtype(torch.float64)
        other = train(checkpoint=tmp_path / "d.safetensors")
    finally:
        torch.set_default_dtype(torch.float32)
    assert same(gf.diffusion.Model.from_file(tmp_path / "d.safetensors"), other)


@pytest.mark.parametrize("kind", ["int16", ">i8", "uint8", "list", "tensor", "uint64"])
def test_labels_of_any_integer_kind(kind: str) -> None:
    labels: Any = LABELS.tolist() if kind == "list" else torch.from_numpy(LABELS).int()
    if kind not in ("list", "tensor"):
        labels = LABELS.astype(kind)
    assert same(train((IMAGES[::-1], labels)), train((IMAGES[::-1].copy(), LABELS)))


MORE_BAD: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"data": IMAGES}, TypeError, "^train: data must be 'digits', a folder or a pair"),
    ({"data": (IMAGES, ["a"] * 12)}, TypeError, "^train: labels must be integers"),
    ({"data": (IMAGES, [[1], [1, 2]] * 6)}, TypeError, "^train: labels must be integers"),
    ({"data": (IMAGES, 3)}, TypeError, "^train: labels must be"),
    ({"data": (IMAGES, LABELS + 10**12)}, ValueError, "^train: labels must be at most 65535"),
    ({"data": (IMAGES, np.full(12, 2**63, np.uint64))}, ValueError, "^train: labels must be at most 65535"),
    ({"data": (IMAGES, np.ma.array(LABELS, mask=LABELS == 1))}, TypeError, "^train: labels is a masked array"),
    ({"data": (np.ma.array(IMAGES, mask=IMAGES > 9), LABELS)}, TypeError, "^train: images is a masked array"),
    ({"data": (torch.zeros(12, 1, 8, 8).to_sparse(), LABELS)}, TypeError, "^train: images must be a dense tensor"),
    ({"data": (IMAGES.astype(complex), LABELS)}, TypeError, "^train: images must be uint8 or floats"),
    ({"data": (IMAGES.astype(str), LABELS)}, TypeError, "^train: images must be uint8 or floats"),
    ({"learning_rate": "1e-3"}, TypeError, "^train: learning_rate must be a number, got '1e-3'"),
    ({"learning_rate": math.nan}, ValueError, "^train: learning_rate must be a positive finite number, got nan"),
    ({"learning_rate": 1e300}, ValueError, r"^train: learning_rate must be at most 1e\+36, got 1e\+300"),
    ({"label_dropout": None}, TypeError, "^train: label_dropout must be a number, got None"),
    ({"ema_decay": math.nan}, ValueError, "^train: ema_decay must be a number from 0 to below 1, got nan"),
    ({"seed": 1 << 64}, ValueError, "^train: seed must be at most"),
    ({"batch_size": 1 << 70}, ValueError, "^train: batch_size must be at most"),
    ({"widths": 16}, TypeError, "^train: widths must be a list of integers, got 16"),
    ({"widths": (1 << 40,)}, ValueError, "^train: widths must be at most 4096"),
    ({"callback": 3}, TypeError, "^train: callback must be callable or None, got 3"),
]


@pytest.mark.parametrize(("options", "error", "message"), MORE_BAD, ids=[message for _, _, message in MORE_BAD])
def test_every_argument_is_refused_by_name(options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        train(**options)


def test_weights_that_are_not_finite_are_no_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from genimg_fast.diffusion import _training

    advance = _training._Training.advance

    def spoiled(self: Any) -> float:
        loss = advance(self)
        self._ema.shadow_params[0].fill_(math.nan)
        return loss

    monkeypatch.setattr(_training._Training, "advance", spoiled)
    with pytest.raises(ValueError, match=r"^train: weights are not finite after 1 steps; learning_rate must be"):
        train(steps=1, checkpoint=tmp_path / "c.safetensors")
    assert list(tmp_path.iterdir()) == []
