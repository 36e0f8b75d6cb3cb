"""Portilla-Simoncelli's synthesis: what it reaches, every option, degenerate exemplars, and what it refuses."""

from __future__ import annotations

import warnings

import numpy as np
import parametric_reference as plain
import pytest
import torch
from conftest import Device
from skimage import data
from skimage.color import rgb2hsv

import genimg_fast as gf
from genimg_fast.textures import portilla_simoncelli
from genimg_fast.textures._edges import periodic_component
from genimg_fast.textures._texture import Model, texture_of
from genimg_fast.textures._texture_projection import TextureProjection

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


def roughness_of_seams(picture):
    """Mean step between opposite borders over mean step between neighbours inside."""
    inside = np.mean([np.abs(np.diff(picture, axis=axis)).mean() for axis in (0, 1)])
    return np.mean([np.abs(picture[0] - picture[-1]).mean(), np.abs(picture[:, 0] - picture[:, -1]).mean()]) / inside


@pytest.mark.parametrize("options", [{}, {"method": "gradient", "n_scales": 1}], ids=str)
def test_the_result_tiles(options):
    results = make(size=(66, 80), n_iter=10, seed=range(4), **options)
    assert roughness_of_seams(GRAVEL) > 1.4
    assert np.mean([roughness_of_seams(result) for result in results]) < 1.1


def plain_marginals(plane):
    pyramid = plain.Pyramid(plane, 2, 4)
    low = [plain.moments(one, one.var(), 0) for one in (pyramid.reconstruction(s) for s in range(3))]
    own = [plane.mean(), plane.var(), *plain.moments(plane, plane.var(), 0), plane.min(), plane.max()]
    return [np.array(own), *np.transpose(low)]


def test_errors_are_the_ones_defined():
    exemplar, steps = GRAVEL.astype(np.float64), []
    make(exemplar, size=(48, 56), n_scales=2, callback=steps.append)
    for step in steps:
        assert step.distance == max(step.errors.values())
        pair = [(one - one.mean()) / exemplar.std() for one in (step.picture(), exemplar)]
        got, wanted = (plain_marginals(one) for one in pair)
        errors = [np.sum((a - b) ** 2) / np.sum(b**2) for a, b in zip(got, wanted, strict=True)]
        assert step.errors["marginals"] == pytest.approx(np.sqrt(np.mean(errors)), rel=1e-6)


PAIR = torch.from_numpy(np.stack([GRAVEL, BRICK[:64, :64]]))[:, None]
HOLE = np.ones((64, 64), bool)
HOLE[20:44, 24:50] = False
SHARE = np.tile(np.linspace(0, 1, 64, dtype=np.float32), (64, 1))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    "options",
    [
        {"size": (50, 67)},
        {"canvas": PAIR, "mask": HOLE},
        {"method": "gradient"},
        {"method": "polished", "n_polish": 3},
        {"weights": [SHARE, 1 - SHARE]},
    ],
    ids=lambda options: "-".join(options),
)
def test_an_item_of_a_batch_is_what_it_is_alone(options, dtype):
    def of(place, seed):
        pictures = [PAIR, PAIR.flip(0)] if "weights" in options else [PAIR]
        pictures = [one.to(dtype)[place] for one in pictures]
        canvas = {"canvas": PAIR.to(dtype)[place]} if "canvas" in options else {}
        return make(pictures, **(options | canvas | {"seed": seed}))

    batch = of(slice(None), [5, 6])
    assert batch.dtype == dtype
    for i, seed in enumerate((5, 6)):
        for place in range(2):
            assert torch.equal(batch[i, place], of(place, seed))


@pytest.mark.parametrize("options", [{}, {"method": "gradient"}, {"method": "polished", "n_polish": 3}], ids=str)
@pytest.mark.parametrize("image", [GRAVEL, GRAVEL.astype(np.float64), COLOUR[:61, :64]], ids=["32", "64", "colour"])
def test_same_bits_for_any_number_of_threads(image, options):
    before, results = torch.get_num_threads(), []
    try:
        for n in (1, 2):
            torch.set_num_threads(n)
            results.append(make(image, (63, 80), **options))
    finally:
        torch.set_num_threads(before)
    assert np.array_equal(*results)


@pytest.fixture(scope="module")
def on_cpu():
    return [make(tensor) for tensor in (torch.from_numpy(GRAVEL[:32, :48]), COLOUR_TENSOR)]


COLOUR_TENSOR = torch.from_numpy(COLOUR[:33, :40].astype(np.float32) / 255).movedim(-1, 0).contiguous()


def test_every_device_gives_the_same_picture(on_cpu, device: Device):
    for tensor, wanted in zip((torch.from_numpy(GRAVEL[:32, :48]), COLOUR_TENSOR), on_cpu, strict=True):
        got = make(tensor.to(device.torch))
        assert got.device.type == device.torch
        torch.testing.assert_close(got.cpu(), wanted, rtol=0, atol=0.02)


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


def test_the_edges_periodic_component_takes_the_exemplars_place():
    assert np.array_equal(make(edges="periodic"), make(periodic_component(GRAVEL)))


@pytest.mark.parametrize(
    ("side", "size", "scales"), [(256, 256, 4), (256, 16, 2), (96, 64, 3), (90, 64, 2), (16, 64, 1), (400, 64, 4)]
)
def test_auto_is_4_scales_at_256_pixels_and_fits_the_result(side, size, scales):
    exemplar = data.gravel()[:side, :side].astype(np.float32)
    auto, explicit = (make(exemplar, size, n_iter=1, n_scales=n) for n in ("auto", scales))
    assert np.array_equal(auto, explicit)


@pytest.mark.parametrize("family", ["marginals", "autocorrelation", "magnitudes", "phases"])
@pytest.mark.parametrize("method", ["projection", "gradient"])
def test_a_family_that_is_left_out_stays_away(family, method):
    model, x, steps = Model(2, 4, 7), torch.from_numpy(GRAVEL)[None], []
    project = TextureProjection(texture_of([x.numpy()], [1.0], model), model, (64, 64), (64, 64))
    options = {"method": method, "n_iter": 25 if method == "projection" else 15, "n_scales": 2}
    with_it, without = make(**options), make(**options, leave_out=family, callback=steps.append)
    assert family not in (steps[-1].errors if method == "projection" else steps[-1].losses)
    own, other = (float(project.errors(torch.from_numpy(y)[None, None])[family]) for y in (with_it, without))
    assert other > 1.5 * own


def test_a_mixture_has_the_mean_of_the_statistics():
    dark, bright = GRAVEL * 0.5, GRAVEL * 0.5 + 0.5
    for weights, share in ((None, 0.5), ([3, 1], 0.25)):
        result = make([dark, bright], n_iter=4, weights=weights)
        assert result.mean() == pytest.approx((1 - share) * dark.mean() + share * bright.mean(), abs=0.01)
    assert np.array_equal(make([GRAVEL]), make(GRAVEL))
    assert make([GRAVEL, GRAVEL[:40, :50]]).shape == GRAVEL.shape


def test_a_soft_mask_keeps_a_part():
    canvas = np.full_like(GRAVEL, 0.5)
    kept = [np.abs(make(canvas=canvas, mask=np.full((64, 64), m)) - 0.5).mean() for m in (0.0, 0.5, 0.9, 1.0)]
    assert kept[0] > 1.5 * kept[1] > 1.5 * kept[2] > kept[3] == 0
    assert np.array_equal(make(canvas=canvas, mask=np.zeros((64, 64))), make())


@pytest.mark.parametrize("options", [{}, {"method": "gradient"}, {"method": "polished"}], ids=lambda o: o.get("method"))
@pytest.mark.parametrize("dtype", [np.uint8, np.float64])
def test_what_the_mask_keeps_is_kept_exactly(options, dtype):
    x = (255 * GRAVEL).astype(dtype)
    result = make(x, n_iter=4, n_polish=3, canvas=x, mask=HOLE, **options)
    assert np.array_equal(result[HOLE], x[HOLE])
    assert not np.array_equal(result[~HOLE], x[~HOLE])


def test_integers_are_rounded_units():
    x = (255 * GRAVEL).astype(np.uint8)
    result = make(x / np.float32(255))
    assert np.array_equal(make(x), np.rint(255 * result))
    before = x.copy()
    make(x, n_iter=1, canvas=x, mask=HOLE)
    assert np.array_equal(x, before)


def test_tolerance_stops_as_soon_as_it_is_met():
    steps = []
    result = make(n_iter=40, tolerance=0.2, callback=steps.append)
    assert steps[-1].distance <= 0.2 < steps[-2].distance
    assert len(steps) < 40
    assert np.array_equal(result, make(n_iter=len(steps) - 1))


@pytest.mark.parametrize("options", [{"method": "gradient"}, {"method": "polished", "n_polish": 4}], ids=str)
def test_a_descent_that_is_interrupted_keeps_the_picture(options):
    seen = []

    def interrupt(step):
        seen.append(step)
        if isinstance(step, gf.textures.DescentStep) and step.iteration == 3:
            raise KeyboardInterrupt

    with pytest.warns(RuntimeWarning, match="stopped by Ctrl-C after 3 of"):
        result = make(n_iter=4, callback=interrupt, **options)
    assert result.shape == GRAVEL.shape
    assert np.isfinite(result).all()


def test_progress_is_shown_on_a_terminal_only(monkeypatch, capsys):
    make(progress=True)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    make(progress=False)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    make(progress=True)
    assert "2/2" in (shown := capsys.readouterr().err)
    assert "phases=" in shown


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


def test_polishing_lowers_the_distance_of_plenoptics_vectors():
    model = gf.textures.PortillaSimoncelli((128, 128), 3)
    wanted = model(torch.from_numpy(BRICK)[None, None])

    def distance(**options):
        result = make(BRICK, n_iter=30, n_scales=3, **options)
        return float((model(torch.from_numpy(result)[None, None]) - wanted).square().mean())

    assert distance(method="polished", n_polish=40) < 0.3 * distance()


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


@pytest.mark.parametrize(
    "options", [{"method": "gradient", "n_iter": 12}, {"method": "polished", "n_polish": 8}], ids=str
)
@pytest.mark.parametrize(
    "image",
    [np.full((16, 24), 0.3), np.indices((32, 32)).sum(0) % 2.0, _spot, np.random.default_rng(0).random((8, 9, 3))],
    ids=["constant", "two-valued", "one pixel", "tiny"],
)
def test_degenerate_exemplars_of_descents(image, options):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = make(image, **options)
    assert np.isfinite(result).all()
    assert image.min() <= result.min()
    assert result.max() <= image.max()


@pytest.mark.parametrize("method", ["projection", "gradient", "polished"])
def test_a_constant_exemplar_gives_itself(method):
    for image in (np.full((16, 24), 0.3), np.full((16, 24), 7, np.uint8), np.full((16, 16, 3), 0.7, np.float32)):
        np.testing.assert_array_equal(make(image, method=method), image)


def test_a_grey_exemplar_of_three_channels_stays_grey():
    result = make(np.repeat(GRAVEL[..., None], 3, 2), n_iter=5)
    assert np.ptp(result, axis=-1).max() < 1e-5


def test_no_pictures():
    assert make(torch.zeros(0, 3, 16, 16), size=20).shape == (0, 3, 20, 20)
    assert make(torch.zeros(0, 3, 16, 16), size=20, seed=[1, 2]).shape == (2, 0, 3, 20, 20)


# ---- Arguments ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"image": [[1.0]]}, TypeError, r"image\[0\] must be a numpy.ndarray or a torch.Tensor"),
        ({"image": np.zeros((16, 16), bool)}, TypeError, "got dtype bool"),
        ({"image": np.zeros((16, 16), complex)}, TypeError, "got dtype complex128"),
        ({"image": np.full((16, 16), np.nan)}, ValueError, "256 of its values are NaN or infinite"),
        ({"image": np.zeros((7, 16))}, ValueError, "image must be at least 8x8 pixels, got 7x16"),
        ({"image": np.zeros((16, 16, 5))}, ValueError, "1 to 4 channels, got 5"),
        ({"image": [GRAVEL, COLOUR]}, ValueError, r"image\[1\] must have the dtype of image\[0\]"),
        ({"size": 7}, ValueError, "size must be at least 8, got 7"),
        ({"size": (8, 8, 8)}, ValueError, "one integer or two"),
        ({"n_iter": 2.0}, TypeError, "n_iter must be an integer, got 2.0"),
        ({"n_scales": "all"}, ValueError, "n_scales must be 'auto' or an integer, got 'all'"),
        ({"n_orientations": 4.0}, TypeError, "n_orientations must be an integer"),
        ({"spatial_corr_width": True}, TypeError, "spatial_corr_width must be an integer"),
        ({"acceleration": -0.1}, ValueError, "acceleration must be from 0 to below 1, got -0.1"),
        ({"acceleration": float("nan")}, ValueError, "acceleration must be from 0 to below 1, got nan"),
        ({"learning_rate": 0}, ValueError, "learning_rate must be a positive finite number, got 0"),
        ({"seed": -1}, ValueError, "seed must be at least 0, got -1"),
        ({"seed": 0.5}, TypeError, "seed must be an integer, got 0.5"),
        ({"seed": []}, ValueError, "seed must be None, an integer or a list"),
        ({"canvas": GRAVEL.astype(np.float64)}, ValueError, "canvas must have the dtype of image"),
        (
            {"canvas": COLOUR[:64, :64, :2], "image": COLOUR},
            ValueError,
            "canvas must have the number of channels of image",
        ),
        ({"canvas": GRAVEL * np.inf}, ValueError, "canvas must be finite everywhere"),
        ({"canvas": 3}, TypeError, "canvas must be a numpy.ndarray or a torch.Tensor, got int"),
        ({"canvas": GRAVEL, "mask": np.full((64, 64), np.nan)}, ValueError, r"mask must lie in \[0, 1\]"),
        ({"weights": [0]}, ValueError, "weights must be positive and finite"),
        ({"weights": 3}, TypeError, "weights must be"),
        ({"leave_out": 3}, TypeError, "leave_out must be"),
    ],
    ids=str,
)
def test_other_bad_arguments_are_named(options, error, message):
    with pytest.raises(error, match=message):
        make(**options)


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


def with_random_phases(picture):
    """Return a picture with the same power spectrum."""
    spectrum = np.fft.fft2(periodic_component(picture[None])[0])
    noise = np.fft.fft2(np.random.default_rng(0).standard_normal(picture.shape))
    return np.fft.ifft2(abs(spectrum) * noise / abs(noise)).real


def test_compare_ranks_the_families_by_what_was_changed():
    for picture in (data.brick()[:256, :256] / 255, data.gravel()[:256, :256] / 255):
        ratios = {
            name: {family: one.ratio for family, one in gf.textures.compare(picture, changed).items()}
            for name, changed in {
                "nothing": picture,
                "phases": with_random_phases(picture),
                "contrast": picture.mean() + 0.5 * (picture - picture.mean()),
                "sign": 1 - picture,
            }.items()
        }
        assert max(ratios["nothing"].values()) < 1
        assert ratios["phases"]["autocorrelation"] < 1.1
        assert min(ratios["phases"]["phases"], ratios["phases"]["magnitudes"]) > 1.5
        assert ratios["contrast"]["autocorrelation"] == max(ratios["contrast"].values()) > 3
        assert max(ratios["sign"]["autocorrelation"], ratios["sign"]["magnitudes"]) < 1
        assert min(ratios["sign"]["phases"], ratios["sign"]["marginals"]) > 2.5


def test_compare_takes_any_kind_and_size_and_no_mean_colour_or_unit():
    brick, gravel = data.brick()[:200, :160], data.gravel()[:128, :131]
    base = gf.textures.compare(brick, gravel)
    tensors = gf.textures.compare(*(torch.from_numpy(one) for one in (brick, gravel)))
    channels = gf.textures.compare(*(torch.from_numpy(one)[None] for one in (brick, gravel)))
    assert base == tensors == channels
    scaled = gf.textures.compare(*(3 * one.astype(np.float64) + offset for one, offset in ((brick, 5), (gravel, -700))))
    for family, one in base.items():
        assert scaled[family].ratio == pytest.approx(one.ratio, rel=1e-3)
    swapped = gf.textures.compare(gravel, brick)
    assert all(swapped[family].ratio == pytest.approx(one.ratio, rel=1e-4) for family, one in base.items())


def test_compare_of_constant_pictures():
    flat = np.full((32, 40), 0.3)
    assert all(one.ratio == 1 for one in gf.textures.compare(flat, flat).values())
    with_texture = gf.textures.compare(flat, data.brick()[:64, :64] / 255)
    assert all(np.isfinite(one.between) and one.ratio > 0 for one in with_texture.values())


def test_compare_refuses():
    with pytest.raises(ValueError, match="b must be at least 32x32"):
        gf.textures.compare(GRAVEL, GRAVEL[:16])
    with pytest.raises(ValueError, match="b must have the dtype"):
        gf.textures.compare(GRAVEL, data.grass()[:64, :64])
    with pytest.raises(ValueError, match="a must be one picture"):
        gf.textures.compare(torch.zeros(2, 1, 64, 64), torch.zeros(2, 1, 64, 64))
