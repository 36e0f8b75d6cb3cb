"""Anagrams against a plain loop, their scores against the definition, and how they are drawn."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import genimg_fast as gf
from genimg_fast import images

diffusers = pytest.importorskip("diffusers")
pytest.importorskip("sklearn")

from tiny_models import train  # noqa: E402

VIEWS: dict[str, tuple[Any, Any]] = {  # how a view goes, and back, on the last two axes
    "identity": (lambda x: x, lambda x: x),
    "rotate_180": (lambda x: x.flip(-1, -2), lambda x: x.flip(-1, -2)),
    "rotate_cw": (lambda x: x.rot90(-1, (-2, -1)), lambda x: x.rot90(1, (-2, -1))),
    "negate": (lambda x: -x, lambda x: -x),
}


@pytest.fixture(scope="module")
def model() -> gf.diffusion.Model:
    return train(steps=20, learning_rate=0.02, ema_decay=0.5)


def reader(pictures: torch.Tensor) -> torch.Tensor:
    """Three classes by the means of three parts of a picture."""
    return torch.log_softmax(20 * torch.stack([part.mean((1, 2, 3)) for part in pictures.split([2, 3, 3], -2)], 1), 1)


def reference(model: gf.diffusion.Model, labels: Any, views: Any, seed: int, steps: int, guidance: float) -> Any:
    """Geng et al. 2024, section 3.2, with DDPM: one picture, one view after the other."""
    scheduler = diffusers.DDPMScheduler(beta_schedule="squaredcos_cap_v2", timestep_spacing="trailing")
    scheduler.set_timesteps(steps)
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(1, *model.shape, generator=generator)
    for t in scheduler.timesteps:
        noises = []
        for label, name in zip(labels, views, strict=True):
            there, back = VIEWS[name]
            given, without = model(there(x), t, label), model(there(x), t, None)
            noises.append(back(without + guidance * (given - without)))
        x = scheduler.step(torch.stack(noises).mean(0), t, x, generator=generator).prev_sample
    return (x.clamp(-1, 1) + 1) / 2


@pytest.mark.parametrize(
    ("labels", "views", "guidance"),
    [
        ((0, 1), ("identity", "rotate_180"), 3.0),
        ((2, 1, 0), ("identity", "rotate_cw", "rotate_180"), 2.0),
        ((0, 2), ("negate", "identity"), 1.0),
    ],
)
def test_anagrams_are_those_of_a_plain_loop(
    model: gf.diffusion.Model, labels: Any, views: Any, guidance: float
) -> None:
    found = gf.diffusion.anagram(
        model, labels, views, 3, steps=7, guidance=guidance, sampler="ddpm", seed=4, reader=reader, progress=False
    )
    assert sorted(found.seeds) == [4, 5, 6]
    for picture, seed in zip(found.pictures, found.seeds, strict=True):
        expected = reference(model, labels, views, seed, 7, guidance)
        torch.testing.assert_close(picture[None], expected, rtol=0, atol=2e-4)
    for row, picture in zip(found.seen(), found.pictures, strict=True):
        for view, name in zip(row, views, strict=True):
            torch.testing.assert_close(view, VIEWS[name][0](picture * 2 - 1) / 2 + 0.5)


def test_scores_are_those_of_the_paper(model: gf.diffusion.Model) -> None:
    found = gf.diffusion.anagram(model, (0, 1), n=6, steps=4, seed=0, reader=reader, progress=False)
    for row, score in zip(found.seen(), found.scores, strict=True):
        matrix = reader(row).double().numpy()
        both = matrix[:, [0, 1]]
        shares = np.exp(both) / np.exp(both).sum(1, keepdims=True)
        assert score.alignment == pytest.approx(min(both[0, 0], both[1, 1]), rel=1e-5)
        assert score.concealment == pytest.approx((shares[0, 0] + shares[1, 1]) / 2, rel=1e-5)
        assert score.read == tuple(matrix.argmax(1))
        assert score.is_right == (score.read == (0, 1))
    alignments = [score.alignment for score in found.scores]
    assert alignments == sorted(alignments, reverse=True)
    assert len(set(found.seeds)) == 6


def test_a_seed_makes_a_picture_alone_again(model: gf.diffusion.Model) -> None:
    options: dict[str, Any] = {"steps": 4, "reader": reader, "progress": False}
    many = gf.diffusion.anagram(model, (0, 1), n=5, seed=9, **options)
    alone = gf.diffusion.anagram(model, (0, 1), n=1, seed=many.seeds[0], **options)
    torch.testing.assert_close(alone.pictures[0], many.pictures[0], rtol=0, atol=1e-4)


def test_labels_by_name_and_views_ready_made(model: gf.diffusion.Model) -> None:
    options: dict[str, Any] = {"n": 2, "steps": 3, "seed": 1, "reader": reader, "progress": False}
    views = gf.Views(["identity", "negate"], model.shape)
    a = gf.diffusion.anagram(model, ("0", "2"), views, **options)
    b = gf.diffusion.anagram(model, (0, 2), ["identity", "negate"], **options)
    assert torch.equal(a.pictures, b.pictures)
    assert a.labels == (0, 2)


def test_the_model_itself_reads() -> None:
    """A model that knows its classes' noise exactly reads them, with the likelihoods of Li et al. 2023, eq. 5."""

    class Exact(torch.nn.Module):
        """Predicts the noise of pictures that are all of one level: -0.5, 0 or 0.5, for the three classes."""

        def __init__(self) -> None:
            super().__init__()
            self.level = torch.nn.Parameter(torch.tensor([-0.5, 0.0, 0.5, 0.0]))
            betas = diffusers.DDPMScheduler(beta_schedule="squaredcos_cap_v2")
            self.register_buffer("abar", betas.alphas_cumprod)

        def forward(self, x: torch.Tensor, t: torch.Tensor, labels: torch.Tensor) -> Any:
            abar = self.abar[t.long()][:, None, None, None]
            clean = self.level[labels][:, None, None, None]
            return diffusers.models.unets.unet_2d.UNet2DOutput((x - abar.sqrt() * clean) / (1 - abar).sqrt())

    template = train(steps=1)
    model = gf.diffusion.Model(template.architecture, Exact().requires_grad_(False))
    pictures = torch.full((3, 1, 8, 8), 0.5) + torch.tensor([-0.25, 0.0, 0.25])[:, None, None, None]
    logs = gf.diffusion.model_reader(model, n_levels=10)(pictures)
    assert logs.argmax(1).tolist() == [0, 1, 2]
    # The error of class c for level a is snr (a - c)^2 at each pixel.
    scheduler = diffusers.DDPMScheduler(beta_schedule="squaredcos_cap_v2", timestep_spacing="trailing")
    scheduler.set_timesteps(10)
    abar = scheduler.alphas_cumprod[scheduler.timesteps].double()
    level = torch.tensor([-0.5, 0.0, 0.5], dtype=torch.float64)
    errors = (abar / (1 - abar)).mean() * (level[:, None] - level).square()
    torch.testing.assert_close(logs, torch.log_softmax(-32 * errors, 1), rtol=1e-3, atol=1e-3)


def test_readers_are_chosen_by_the_model(model: gf.diffusion.Model, monkeypatch: pytest.MonkeyPatch) -> None:
    from genimg_fast.diffusion import _anagram

    digits = train("digits", size=8, steps=1)
    assert _anagram._reader_of(digits) == gf.diffusion.digits_classifier().log_probabilities
    options: dict[str, Any] = {"n": 2, "steps": 2, "seed": 1, "progress": False}
    own = gf.diffusion.anagram(model, (0, 1), **options)
    asked = gf.diffusion.anagram(model, (0, 1), **options, reader=gf.diffusion.model_reader(model))
    assert own.scores == asked.scores


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"labels": (0,)}, ValueError, "labels must name a class for each of 2 views, got 1"),
        ({"labels": (0, 3)}, ValueError, "label must be below 3"),
        ({"views": ("identity", "upside_down")}, ValueError, "upside_down"),
        ({"views": gf.Views(["identity", "flip"], (1, 16, 16))}, ValueError, "views must be of the model's shape"),
        ({"n": 0}, ValueError, "n must be at least 1"),
        ({"sampler": "euler"}, ValueError, "sampler must be one of"),
        ({"steps": 0}, ValueError, "steps must be at least 1"),
        ({"seed": -1}, ValueError, "seed must be at least 0"),
    ],
)
def test_bad_arguments_are_named(
    model: gf.diffusion.Model, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        gf.diffusion.anagram(model, **{"labels": (0, 1), "reader": reader} | options)


def drawn(name: Any, shape: tuple[int, int, int] = (1, 16, 16), n_frames: int = 4) -> tuple[Any, list[np.ndarray]]:
    from genimg_fast.diffusion import _drawing

    picture = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    view = gf.Views([name], shape)[0]
    return picture, list(_drawing.turning(picture, view, n_frames))


@pytest.mark.parametrize("name", ["rotate_180", "rotate_cw", "rotate_ccw", "flip", "skew", "square_hinge", "negate"])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_picture_turns_into_its_view(name: str, channels: int) -> None:
    picture, frames = drawn(name, (channels, 16, 16))
    assert len(frames) == 5

    def small(frame: np.ndarray) -> torch.Tensor:
        planes = torch.from_numpy(frame[6::12, 6::12].astype(np.float32) / 255)
        return planes[None] if planes.ndim == 2 else planes.movedim(-1, 0)

    view = gf.Views([name], picture.shape)[0].apply(picture * 2 - 1) / 2 + 0.5
    torch.testing.assert_close(small(frames[0]), picture, rtol=0, atol=0.01)
    torch.testing.assert_close(small(frames[-1]), view, rtol=0, atol=0.01)
    assert all(not np.array_equal(frames[2], end) for end in (frames[0], frames[-1]))


def test_pixels_move_straight_and_rotations_turn() -> None:
    from genimg_fast.diffusion import _drawing

    dot = torch.zeros(1, 16, 16)
    dot[0, 3, 5] = 1
    (flip, turn) = gf.Views(["flip", "rotate_180"], (1, 16, 16))
    middle = list(_drawing.turning(dot, flip, 2))[1]
    ys, xs = np.nonzero(middle)  # from row 3 to row 12, in column 5, 12 pixels each
    assert (ys.min(), ys.max(), xs.min(), xs.max()) == (90, 101, 60, 71)
    quarter = list(_drawing.turning(dot, turn, 2))[1]
    ys, xs = np.nonzero(quarter > 128)  # counterclockwise: column 5 becomes row 10
    assert (ys.min(), ys.max(), xs.min(), xs.max()) == (120, 131, 36, 47)


class Halves:
    """Sums and differences of the two halves: orthogonal, and no permutation."""

    def apply(self, x: torch.Tensor) -> torch.Tensor:
        a, b = x.chunk(2, -1)
        return torch.cat([a + b, a - b], -1) / 2**0.5

    def inverse(self, x: torch.Tensor) -> torch.Tensor:
        return self.apply(x)


def test_views_that_move_nothing_fade() -> None:
    picture, frames = drawn(Halves())
    assert np.array_equal(frames[0], np.kron(np.rint(picture[0].numpy() * 255), np.ones((12, 12))))
    halfway = frames[2].astype(float)
    np.testing.assert_allclose(halfway, (frames[0].astype(float) + frames[-1]) / 2, atol=1)
    assert len(drawn("identity")[1]) == 1


@pytest.mark.parametrize("suffix", ["gif", "png"])
def test_animations_are_files_that_pillow_plays(tmp_path: Any, suffix: str) -> None:
    from genimg_fast.diffusion import _drawing

    picture = torch.rand(1, 16, 16, generator=torch.Generator().manual_seed(0))
    path = tmp_path / f"a.{suffix}"
    views = gf.Views(["identity", "rotate_180"], (1, 16, 16))
    _drawing.write_animation(_drawing.checked_animation(path), picture, views, n_frames=5)
    with Image.open(path) as played:
        assert played.format == suffix.upper()
        assert played.n_frames == 10
        frames, durations = [], []
        for k in range(10):
            played.seek(k)
            frames.append(np.asarray(played.convert("L")))
            durations.append(played.info["duration"])
    assert durations == [900, 40, 40, 40, 40] * 2
    assert np.array_equal(frames[5], frames[0][::-1, ::-1])
    assert [one.name for one in tmp_path.iterdir()] == [path.name]
    _drawing.write_animation(_drawing.checked_animation(path), picture, gf.Views(["identity"], (1, 16, 16)))
    assert path.is_file()


def test_a_sheet_has_a_row_for_each_picture(model: gf.diffusion.Model) -> None:
    from genimg_fast.diffusion import _drawing

    found = gf.diffusion.anagram(model, (0, 1), n=3, steps=2, seed=1, reader=reader, progress=False)
    page = _drawing.sheet(found, 2)
    assert page.shape == (2 * 192 + 3 * 8, 2 * 192 + 3 * 8)
    assert page.dtype == np.uint8
    for i in range(2):
        for j in range(2):
            cell = page[8 + 200 * i :, 8 + 200 * j :][:192:24, :192:24]
            np.testing.assert_array_equal(cell, (found.seen()[i, j, 0] * 255).round().to(torch.uint8))
    assert (page[:8] == 255).all()
    images.check_depth("a.png", page)


class Mixture:
    """A model whose likelihoods are known: three classes, each a normal density about one picture."""

    shape, classes, device = (1, 4, 4), ("a", "b", "c"), torch.device("cpu")

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(2)
        self.means = torch.randn(3, 1, 4, 4, generator=generator) / 4
        self.exact = gf.diffusion.MixtureDenoiser(self.means, 0.2)
        self.abar = diffusers.DDPMScheduler(beta_schedule="squaredcos_cap_v2").alphas_cumprod

    def __call__(self, x: torch.Tensor, t: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return self.exact.predict(x, float(self.abar[int(t)]), "epsilon", labels)


def test_the_model_ranks_pictures_by_their_likelihood() -> None:
    from genimg_fast.diffusion import _anagram

    model: Any = Mixture()
    steps = torch.linspace(0, 1, 12)[:, None, None, None]
    pictures = (model.means[0] * (1 - steps) + model.means[1] * steps) / 2 + 0.5  # from class a to class b
    read = gf.diffusion.model_reader(model, n_levels=16)(pictures)
    ratio = read[:, 0] - read[:, 1]
    assert (ratio.diff() < 0).all()
    assert read.argmax(1).tolist() == [0] * 6 + [1] * 6
    scores = _anagram.score(pictures[:, None], [0], gf.diffusion.model_reader(model, n_levels=16), model.classes)
    assert [one.names for one in scores] == [("a",)] * 6 + [("b",)] * 6


def test_more_noise_makes_a_steadier_judge() -> None:
    model: Any = Mixture()
    picture = (model.means[:1] + 0.1 * torch.randn(1, 1, 4, 4, generator=torch.Generator().manual_seed(3))) / 2 + 0.5
    few, many = (
        torch.stack([gf.diffusion.model_reader(model, 4, seed, n)(picture)[0, 1:] for seed in range(12)]).std(0)
        for n in (1, 16)
    )
    assert (many < 0.5 * few).all()
    with pytest.raises(ValueError, match="n_noises must be at least 1, got 0"):
        gf.diffusion.model_reader(model, n_noises=0)


def test_results_say_who_judged(model: gf.diffusion.Model) -> None:
    options: dict[str, Any] = {"n": 1, "steps": 1, "seed": 1, "progress": False}
    assert gf.diffusion.anagram(model, (0, 1), reader=reader, **options).judge == "reader"
    own = gf.diffusion.anagram(model, (0, 1), **options)
    assert own.judge == "own model"
    assert own.scores[0].names == tuple(model.classes[i] for i in own.scores[0].read)
    assert gf.diffusion.anagram(train("digits", size=8, steps=1), (6, 9), **options).judge == "digits classifier"
