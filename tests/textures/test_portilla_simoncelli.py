"""Portilla-Simoncelli's synthesis: what it reaches, every option, degenerate exemplars, and what it refuses."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from skimage import data
from skimage.color import rgb2hsv

import genimg_fast as gf
from genimg_fast.textures import portilla_simoncelli

GRAVEL = data.gravel()[:64, :64].astype(np.float32) / 255
BRICK = data.brick()[:128, :128].astype(np.float32) / 255
COLOUR = data.immunohistochemistry()[:128, :128]


def make(image=GRAVEL, *arguments, **options):
    return portilla_simoncelli(image, *arguments, **({"n_iter": 2, "seed": 0, "progress": False} | options))


# ---- What is reached ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("image", [BRICK, data.grass()[:128, :128].astype(np.float32) / 255])
def test_the_families_come_close(image):
    steps = []
    result = make(image, n_iter=30, callback=steps.append)
    assert [step.iteration for step in steps] == list(range(31))
    assert steps[-1].distance < 0.1 < steps[0].distance
    assert np.array_equal(steps[-1].picture(), result)
    assert image.min() - 1e-6 <= result.min()
    assert result.max() <= image.max() + 1e-6


def test_colours_are_kept():
    result = make(COLOUR, n_iter=30)
    for channel, circular in ((0, True), (1, False)):
        a, b = (np.histogram(rgb2hsv(x)[..., channel], 100, (0, 1))[0] / x[..., 0].size for x in (COLOUR, result))
        moved = np.cumsum(a - b)
        assert abs(moved - np.median(moved) * circular).sum() / 100 < 0.02


def test_the_result_tiles():
    result = make(n_iter=10)
    across = np.abs(result - np.roll(result, 1, 1)).mean(0)
    assert across[0] < 1.5 * np.median(across)


def test_seeds_and_threads():
    batch = make(seed=[3, 4])
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        assert np.array_equal(batch[1], make(seed=4))
    finally:
        torch.set_num_threads(threads)
    assert not np.array_equal(batch[0], batch[1])
    assert not np.array_equal(make(seed=None), make(seed=None))
    double = make(GRAVEL.astype(np.float64), seed=[3, 4])
    assert np.array_equal(double[1], make(GRAVEL.astype(np.float64), seed=4))


@pytest.mark.parametrize("size", [(50, 67), (96, 80)])
def test_any_size(size):
    assert make(size=size).shape == size


def test_kinds():
    tensor = torch.from_numpy(GRAVEL)
    assert np.array_equal(make(tensor).numpy(), make())
    batch = make(torch.stack([tensor, tensor.flip(0)])[:, None])
    assert batch.shape == (2, 1, 64, 64)
    assert torch.equal(batch[0, 0], make(tensor))
    for dtype in (np.uint8, np.uint16):
        picture = (GRAVEL * np.iinfo(dtype).max).astype(dtype)
        result = make(picture)
        assert result.dtype == dtype
        assert np.abs(result / np.iinfo(dtype).max - make()).max() < 0.1
    four = np.dstack([COLOUR[:48, :48], COLOUR[:48, :48, 0]])
    assert make(four).shape == (48, 48, 4)


# ---- Options --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {"n_iter": 3},
        {"n_scales": 1},
        {"n_orientations": 3},
        {"spatial_corr_width": 3},
        {"method": "gradient"},
        {"method": "polished", "n_polish": 2},
        {"leave_out": "marginals"},
        {"leave_out": "autocorrelation"},
        {"leave_out": "magnitudes"},
        {"leave_out": ("phases",)},
        {"edges": "periodic"},
        {"acceleration": 0.2},
        {"tolerance": 100.0},
        {"seed": 1},
    ],
    ids=str,
)
def test_every_option_counts(options):
    assert not np.array_equal(make(**options), make())


def test_options_of_the_descent_count():
    adam = make(method="gradient", optimizer="adam")
    assert not np.array_equal(adam, make(method="gradient"))
    assert not np.array_equal(adam, make(method="gradient", optimizer="adam", learning_rate=0.1))
    few, more = (make(method="polished", n_polish=n) for n in (1, 3))
    assert not np.array_equal(few, more)
    assert torch.equal(make(torch.from_numpy(GRAVEL), device="cpu"), make(torch.from_numpy(GRAVEL)))
    with pytest.raises(ValueError, match="device must be"):
        make(device="nowhere")


def test_descent_goes_down_from_coarse_to_fine():
    steps = []
    make(BRICK, method="gradient", n_iter=12, callback=steps.append)
    assert [size for i, size in enumerate(s.size for s in steps) if not i or size != steps[i - 1].size] == [
        (32, 32),
        (64, 64),
        (128, 128),
    ]
    fine = [s.loss for s in steps if s.size == (128, 128)]
    assert fine[-1] < 0.5 * fine[0]
    assert set(steps[0].losses) == {"marginals", "autocorrelation", "magnitudes", "phases"}


def test_polishing_goes_on():
    polished = []
    make(n_iter=20, method="polished", n_polish=15, callback=lambda s: polished.append(getattr(s, "loss", None)))
    losses = [loss for loss in polished if loss is not None]
    assert min(losses) < 0.5 * losses[0]


def test_numbers_mix_and_maps_place():
    grass = data.grass()[:64, :64].astype(np.float32) / 255
    mixed = make([GRAVEL, grass])
    assert not np.array_equal(mixed, make([GRAVEL, grass], weights=[1, 3]))
    share = np.zeros((64, 128), np.float32)
    share[:, 32:96] = 1
    dark, bright = GRAVEL * 0.3, GRAVEL * 0.3 + 0.7
    result = make([dark, bright], (64, 128), weights=[1 - share, share], n_iter=5)
    assert result[:, 40:88].mean() > 0.6
    assert result[:, :24].mean() < 0.4
    three = make([dark, bright, GRAVEL], (64, 128), weights=[share, 1 - share, 0 * share])
    assert three[:, 40:88].mean() < 0.5


def test_the_canvas_is_kept_and_holes_are_filled():
    hole = np.ones(BRICK.shape, bool)
    hole[40:88, 40:88] = False
    broken = np.where(hole, BRICK, 0).astype(np.float32)
    filled = make(BRICK, n_iter=10, canvas=broken, mask=hole)
    assert np.array_equal(filled[hole], BRICK[hole])
    assert abs(filled[~hole].mean() - BRICK[~hole].mean()) < 0.1
    assert filled[~hole].std() > 0.3 * BRICK.std()
    assert np.allclose(make(BRICK, canvas=BRICK)[64, 64], BRICK[64, 64])  # the raised cosine is 1 in the middle
    larger = np.zeros((96, 96), np.float32)
    larger[16:80, 16:80] = GRAVEL
    assert make(canvas=larger, mask=larger > 0).shape == (96, 96)


def test_interruption_keeps_the_picture():
    def interrupt(step):
        if step.iteration == 1:
            raise KeyboardInterrupt

    with pytest.warns(RuntimeWarning, match="stopped by Ctrl-C after 1 of 5 iterations"):
        result = make(n_iter=5, callback=interrupt)
    assert np.array_equal(result, make(n_iter=1))


# ---- Degenerate exemplars -------------------------------------------------------------------------------------------

_wave = 0.5 + 0.4 * np.sin(2 * np.pi * np.arange(64) / 8)
_spot = np.zeros((32, 32))
_spot[9, 9] = 1


@pytest.mark.parametrize(
    "image",
    [
        np.full((32, 32), 0.3),
        (np.indices((32, 32)).sum(0) % 2).astype(float),
        np.broadcast_to(_wave, (64, 64)),
        np.random.default_rng(0).random((8, 8)),
        np.repeat(GRAVEL[:32, :32, None], 3, 2),
        _spot,
    ],
    ids=["constant", "two-valued", "sinusoid", "tiny", "grey as RGB", "one pixel"],
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_degenerate_exemplars(image, dtype):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = make(np.ascontiguousarray(image, dtype), n_iter=4)
    assert np.isfinite(result).all()
    assert image.min() - 1e-4 <= result.min()
    assert result.max() <= image.max() + 1e-4


# ---- Arguments ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_iter": 0}, "n_iter must be at least 1, got 0"),
        ({"n_scales": 9}, "n_scales must be at most"),
        ({"n_orientations": 17}, "n_orientations must be from 1 to 16, got 17"),
        ({"spatial_corr_width": 34}, "spatial_corr_width must be from 1 to 33, got 34"),
        ({"method": "magic"}, "method must be one of"),
        ({"leave_out": "colours"}, "leave_out must be one of"),
        ({"leave_out": ("marginals", "autocorrelation", "magnitudes", "phases")}, "leave_out must leave at least one"),
        ({"edges": "mirror"}, "edges must be one of"),
        ({"acceleration": 1.0}, "acceleration must be from 0 to below 1, got 1.0"),
        ({"n_polish": 0}, "n_polish must be at least 1"),
        ({"mask": np.ones((64, 64))}, "mask must be None without a canvas"),
        ({"canvas": GRAVEL[:32]}, None),
        ({"canvas": GRAVEL, "mask": np.full((64, 64), 2.0)}, r"mask must lie in \[0, 1\]"),
        ({"canvas": GRAVEL, "mask": np.ones((3, 3))}, "mask must have the result's size"),
        ({"canvas": GRAVEL, "size": 32}, "canvas must have the result's size"),
        ({"weights": [1, 2]}, "weights must hold one number"),
        ({"weights": [np.ones((3, 3))]}, r"weights\[0\] must be a map of the result's size"),
        ({"weights": [np.zeros((64, 64))]}, "weights must not be all 0"),
        ({"weights": [np.full((64, 64), -1.0)]}, "nowhere negative"),
        ({"weights": [np.ones((64, 64))], "method": "gradient"}, "weights must be numbers, not maps"),
        ({"tolerance": -1}, "tolerance must be"),
        ({"optimizer": "sgd"}, "optimizer must be one of"),
    ],
    ids=str,
)
def test_bad_arguments_are_named(options, message):
    if message is None:  # the canvas alone says how large the result is
        assert make(**options).shape == (32, 64)
        return
    with pytest.raises(ValueError, match=message):
        make(**options)


# ---- Comparison -----------------------------------------------------------------------------------------------------


def test_compare_tells_textures_apart():
    brick, other, gravel = data.brick()[:256, :256], data.brick()[256:, 256:], data.gravel()[:256, :256]
    apart, same = gf.textures.compare(brick, gravel), gf.textures.compare(brick, other)
    assert list(apart) == sorted(apart, key=lambda name: -apart[name].ratio)
    assert set(apart) == {"marginals", "autocorrelation", "magnitudes", "phases"}
    assert all(apart[name].ratio > same[name].ratio for name in apart)
    assert max(one.ratio for one in same.values()) < 2 < max(one.ratio for one in apart.values())
    assert gf.textures.compare(brick, gravel, n_scales=1) != apart
    assert gf.textures.compare(brick, gravel, n_orientations=2) != apart
    assert gf.textures.compare(brick, gravel, spatial_corr_width=3) != apart


def test_compare_refuses():
    with pytest.raises(ValueError, match="b must be at least 32x32"):
        gf.textures.compare(GRAVEL, GRAVEL[:16])
    with pytest.raises(ValueError, match="b must have the dtype"):
        gf.textures.compare(GRAVEL, data.grass()[:64, :64])
    with pytest.raises(ValueError, match="a must be one picture"):
        gf.textures.compare(torch.zeros(2, 1, 64, 64), torch.zeros(2, 1, 64, 64))
