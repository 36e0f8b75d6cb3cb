"""Portilla-Simoncelli's synthesis: what it reaches, every option, degenerate exemplars, and what it refuses."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from skimage import data
from skimage.color import rgb2hsv

import genimg_fast as gf
from genimg_fast.textures import _projections as onto
from genimg_fast.textures import portilla_simoncelli
from genimg_fast.textures._texture import Model, texture_of
from genimg_fast.textures._texture_projection import TextureProjection

GRAVEL = data.gravel()[:64, :64].astype(np.float32) / 255
BRICK = data.brick()[:128, :128].astype(np.float32) / 255
COLOUR = data.immunohistochemistry()[:128, :128]


def make(image=GRAVEL, *arguments, **options):
    return portilla_simoncelli(image, *arguments, **({"n_iter": 2, "seed": 0, "progress": False} | options))


# ---- Projections ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("shape", "channels"), [((64, 64), 1), ((45, 52), 1), ((48, 64), 3)])
def test_a_texture_is_a_fixed_point_of_its_projection(shape, channels):
    x = np.random.default_rng(0).gamma(2, 1, (channels, *shape))
    x = x + 0.5 * x[:1]
    model = Model(2, 4, 7)
    projection = TextureProjection(texture_of([x], [1.0], model), model, shape, shape)
    picture = torch.from_numpy(x)[None]
    assert (projection(picture) - picture).abs().max() < 1e-6
    assert max(float(error) for error in projection.errors(picture).values()) < 1e-12


def test_autocorrelation_is_met():
    rng = np.random.default_rng(0)
    x, y = (torch.from_numpy(rng.gamma(2, 1, (1, 1, 48, 40)) - 2) for _ in range(2))
    wanted = _lags(y + 0.3 * y.roll(1, -1), 3)
    for _ in range(3):
        x = onto.with_autocorrelation(x, wanted)
    assert (_lags(x, 3) - wanted).abs().max() < 1e-7 * wanted.max()


def _lags(x, r):
    lags = range(-r, r + 1)
    rows = [torch.stack([(x * x.roll((-a, -b), (-2, -1))).mean((-2, -1)) for b in lags], -1) for a in lags]
    return torch.stack(rows, -2)


def test_products_are_met():
    rng = np.random.default_rng(1)
    x, y = (torch.from_numpy(rng.normal(size=(2, 5, 16, 20))) for _ in range(2))
    mix = torch.from_numpy(rng.normal(size=(5, 5)))
    y = torch.einsum("ij,bjhw->bihw", mix, y)
    current, target = (torch.einsum("bihw,bjhw->bij", z, z) / 320 for z in (x, y))
    target[:, 2:, 2:] = current[:, 2:, 2:]  # the others stay as they are
    target[:, :2, 2:] *= 0.1
    new = torch.cat([onto.with_products(x, current, target[:, :2]), x[:, 2:]], 1)
    found = torch.einsum("bihw,bjhw->bij", new, new) / 320
    assert (found[:, :2] - target[:, :2]).abs().max() < 1e-9
    alone = onto.with_products(x, current, torch.einsum("bihw,bjhw->bij", y, y) / 320)
    assert (torch.einsum("bihw,bjhw->bij", alone, alone) - torch.einsum("bihw,bjhw->bij", y, y)).abs().max() < 1e-7


def test_each_ones_products_are_met():
    rng = np.random.default_rng(1)
    x = torch.from_numpy(rng.normal(size=(2, 5, 16, 20)))
    current = torch.einsum("bihw,bjhw->bij", x, x) / 320
    target = torch.from_numpy(rng.uniform(-0.2, 0.2, (2, 2, 3)))
    new = torch.cat([onto.with_each_products(x, current, target), x[:, 2:]], 1)
    found = torch.einsum("bihw,bjhw->bij", new, new) / 320
    assert (found[:, :2, 2:] - target).abs().max() < 1e-9
    assert (found.diagonal(0, -2, -1) - current.diagonal(0, -2, -1)).abs().max() < 1e-9


@pytest.mark.parametrize(("skewness", "kurtosis"), [(0.5, None), (-0.7, None), (None, 2.5), (None, 5.0), (None, 3.0)])
@pytest.mark.parametrize("seed", range(3))
def test_moments_are_met(skewness, kurtosis, seed):
    x = np.random.default_rng(seed).gamma(9, 1, (1, 64, 64))
    z = torch.from_numpy(x - x.mean())
    options = [None if value is None else torch.tensor([value], dtype=torch.float64) for value in (skewness, kurtosis)]
    new = onto.with_moments(z, torch.tensor([4.0], dtype=torch.float64), *options).numpy()
    standard = (new - new.mean()) / new.std()
    assert abs(new.mean()) < 1e-9
    assert abs(new.var() - 4) < 1e-9
    order, wanted = (3, skewness) if kurtosis is None else (4, kurtosis)
    assert abs((standard**order).mean() - wanted) < 1e-8


def test_unreachable_moments_do_not_run_away():
    two_valued = torch.ones(1, 16, 16, dtype=torch.float64)
    two_valued[:, ::2] = -1
    wanted = torch.tensor([50.0], dtype=torch.float64)
    new = onto.with_moments(two_valued, None, wanted, wanted)
    assert new.isfinite().all()
    assert abs(float(new.square().mean()) - 1) < 1e-9
    constant = torch.zeros(1, 16, 16, dtype=torch.float64)
    assert (onto.with_moments(constant, wanted, wanted, wanted) == 0).all()


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
