"""Heeger and Bergen's synthesis: what it must reach, what each option does, and what it refuses."""

from __future__ import annotations

import signal
import subprocess
import sys

import numpy as np
import pytest

import genimg_fast as gf
from genimg_fast.textures import heeger_bergen

data = pytest.importorskip("skimage.data")


def crop(name: str, size: int = 256) -> np.ndarray:
    return np.ascontiguousarray(getattr(data, name)()[:size, :size])


GRAVEL = crop("gravel", 96)
FUR = np.ascontiguousarray(data.chelsea()[8:100, 216:312])
SMALL = GRAVEL[:40, :48].astype(np.float32) / 255


def quantile_distance(result: np.ndarray, exemplar: np.ndarray, height: int = 4, order: int = 3) -> float:
    """The mean over all subbands of the mean quantile distance over the standard deviation, for equal sizes."""
    pyramid = gf.SteerablePyramidFreq(exemplar.shape, height=height, order=order)
    distances = []
    for got, wanted in zip(pyramid(result).values(), pyramid(exemplar).values(), strict=True):
        for a, b in zip(got.reshape(-1, *got.shape[-2:]), wanted.reshape(-1, *wanted.shape[-2:]), strict=True):
            distances.append(np.abs(np.sort(a, axis=None) - np.sort(b, axis=None)).mean() / b.std())
    return float(np.mean(distances))


# A plain loop of plenoptic's pyramid and rank matching reaches these with 10 and with 20 iterations.
PLAIN = {"brick": (0.1085, 0.073), "grass": (0.0140, 0.012), "gravel": (0.0137, 0.0122)}


@pytest.mark.parametrize("name", PLAIN)
def test_is_as_close_to_the_exemplar_as_a_plain_loop(name: str) -> None:
    exemplar = crop(name).astype(np.float32) / 255
    assert quantile_distance(heeger_bergen(exemplar, seed=0), exemplar) <= PLAIN[name][0] * 1.02


@pytest.mark.parametrize("update", ["momentum", "accelerated"])
@pytest.mark.parametrize("name", PLAIN)
def test_faster_updates_reach_in_10_iterations_what_the_plain_one_does_in_20(name: str, update: str) -> None:
    exemplar = crop(name).astype(np.float32) / 255
    assert quantile_distance(heeger_bergen(exemplar, seed=0, update=update), exemplar) < PLAIN[name][1]


def test_over_relaxation_is_closer_than_the_projection() -> None:
    exemplar = crop("gravel").astype(np.float32) / 255
    relaxed, plain = (heeger_bergen(exemplar, seed=0, update=update) for update in ("relaxed", "projection"))
    assert quantile_distance(relaxed, exemplar) < 0.8 * quantile_distance(plain, exemplar)


def test_the_reported_distance_is_the_one_defined() -> None:
    exemplar, seen = crop("gravel", 128).astype(np.float32), []
    for update in ("projection", "accelerated"):
        seen.clear()
        result = heeger_bergen(exemplar, seed=0, n_iter=3, height=3, update=update, callback=seen.append)
        assert [step.iteration for step in seen] == [0, 1, 2, 3]
        assert {step.n_iter for step in seen} == {3}
        assert seen[-1].distance == pytest.approx(quantile_distance(result, exemplar, height=3), rel=1e-4)
        np.testing.assert_array_equal(seen[-1].picture(), result)
        assert quantile_distance(seen[1].picture(), exemplar, height=3) == pytest.approx(seen[1].distance, rel=1e-4)


def test_pixels_have_exactly_the_exemplars_histogram() -> None:
    result = heeger_bergen(GRAVEL, seed=0, n_iter=2)
    np.testing.assert_array_equal(np.sort(result, axis=None), np.sort(GRAVEL, axis=None))


def test_colours_have_exactly_the_exemplars_histograms() -> None:
    result = heeger_bergen(FUR, seed=0, n_iter=2)
    np.testing.assert_array_equal(np.sort(result.reshape(-1, 3), axis=0), np.sort(FUR.reshape(-1, 3), axis=0))


def test_colours_vary_together_as_in_the_exemplar() -> None:
    result = heeger_bergen(FUR, seed=0)
    np.testing.assert_allclose(np.corrcoef(result.reshape(-1, 3).T), np.corrcoef(FUR.reshape(-1, 3).T), atol=0.06)


def test_the_same_picture_in_each_channel_stays_grey() -> None:
    result = heeger_bergen(np.repeat(GRAVEL[..., None], 3, axis=2), seed=0, n_iter=2)
    assert np.ptp(result.astype(int), axis=-1).max() <= 1


@pytest.mark.parametrize("size", [(64, 64), (8, 8), (37, 101), (120, 50), 31])
def test_any_output_size(size: int | tuple[int, int]) -> None:
    result = heeger_bergen(SMALL, size, seed=0)
    assert result.shape == (size if isinstance(size, tuple) else (size, size))
    at = np.linspace(0.05, 0.95, 10)
    np.testing.assert_allclose(np.quantile(result, at), np.quantile(SMALL, at), atol=0.02)


@pytest.mark.parametrize("size", [(255, 255), (200, 300), (101, 128)])
def test_subbands_have_the_exemplars_spread_at_other_sizes(size: tuple[int, int]) -> None:
    exemplar = crop("gravel").astype(np.float32)
    seen = []
    result = heeger_bergen(exemplar, size, seed=0, height=3, callback=seen.append)
    own, other = (gf.SteerablePyramidFreq(x.shape, height=3)(x) for x in (exemplar, result))
    for scale in range(3):
        ratio = np.prod(exemplar.shape) / own[scale][0].size / (np.prod(size) / other[scale][0].size)
        assert other[scale].std() * ratio == pytest.approx(own[scale].std(), rel=0.03)
    assert seen[-1].distance < 0.03


def roughness_of_seams(picture: np.ndarray) -> float:
    """Mean step between opposite borders over mean step between neighbours inside."""
    inside = np.mean([np.abs(np.diff(picture, axis=axis)).mean() for axis in (0, 1)])
    seams = [np.abs(picture[0] - picture[-1]).mean(), np.abs(picture[:, 0] - picture[:, -1]).mean()]
    return float(np.mean(seams) / inside)


@pytest.mark.parametrize("pyramid", ["frequency", "spatial"])
def test_the_result_tiles(pyramid: str) -> None:
    exemplar = GRAVEL.astype(np.float32)
    results = heeger_bergen(exemplar, (96, 80), seed=range(8), pyramid=pyramid, n_iter=5)
    assert roughness_of_seams(exemplar) > 1.4
    assert np.mean([roughness_of_seams(result) for result in results]) < 1.05


def test_several_seeds_are_a_batch_of_single_ones() -> None:
    batch = heeger_bergen(FUR, 32, seed=[3, 4], n_iter=2)
    assert batch.shape == (2, 32, 32, 3)
    for item, seed in zip(batch, (3, 4), strict=True):
        np.testing.assert_array_equal(item, heeger_bergen(FUR, 32, seed=seed, n_iter=2))
    assert not np.array_equal(batch[0], batch[1])


def test_without_a_seed_results_differ() -> None:
    assert not np.array_equal(heeger_bergen(SMALL, n_iter=1), heeger_bergen(SMALL, n_iter=1))


def test_same_bits_for_any_number_of_threads() -> None:
    before = gf.get_num_threads()
    try:
        results = []
        for n in (1, 2, 3):
            gf.set_num_threads(n)
            results.append(heeger_bergen(FUR.astype(np.float32), 64, seed=0, n_iter=3, update="accelerated"))
    finally:
        gf.set_num_threads(before)
    np.testing.assert_array_equal(results[0], results[1])
    np.testing.assert_array_equal(results[0], results[2])


def test_each_option_has_an_effect() -> None:
    base = dict(seed=0, n_iter=2, height=2)
    options = [
        {},
        {"n_iter": 3},
        {"height": 1},
        {"order": 1},
        {"pyramid": "spatial"},
        {"edges": "periodic"},
        {"edges": "mirror"},
        {"update": "relaxed"},
        {"update": "momentum"},
        {"update": "accelerated"},
    ]
    results = [heeger_bergen(SMALL, **{**base, **option}).tobytes() for option in options]
    assert len(set(results)) == len(results)


@pytest.mark.parametrize(
    ("side", "size", "height"), [(256, 64, 4), (256, 8, 1), (92, 92, 3), (16, 64, 1), (400, 64, 4)]
)
def test_auto_height_is_4_at_256_pixels_and_fits_the_result(side: int, size: int, height: int) -> None:
    exemplar = data.gravel()[:side, :side].astype(np.float32)
    auto, explicit = (heeger_bergen(exemplar, size, seed=0, n_iter=1, height=h) for h in ("auto", height))
    np.testing.assert_array_equal(auto, explicit)


@pytest.mark.parametrize("edges", ["periodic", "mirror"])
def test_edge_handling_removes_the_jump_between_borders(edges: str) -> None:
    """A ramp that wraps has a jump of its whole height, whose energy shows in the finest bands."""
    rng = np.random.default_rng(0)
    ramp = np.linspace(0, 10, 64, dtype=np.float32) + 0.1 * rng.standard_normal((64, 64), np.float32)
    finest = {}
    for name in ("none", edges):
        result = heeger_bergen(ramp, seed=0, edges=name, height=2, n_iter=1, order=1)
        finest[name] = np.std(gf.SteerablePyramidFreq((64, 64), height=2, order=1)(result)[0])
    assert finest[edges] < 0.5 * finest["none"]


def test_errors_of_the_spatial_pyramid_do_not_add_up() -> None:
    seen = []
    heeger_bergen(
        crop("gravel", 128), seed=0, n_iter=20, pyramid="spatial", update="accelerated", height=3, callback=seen.append
    )
    assert seen[20].distance <= seen[10].distance < 0.012


def test_tolerance_stops_early() -> None:
    seen = []
    result = heeger_bergen(GRAVEL, seed=0, n_iter=50, tolerance=0.05, callback=seen.append)
    assert seen[-1].distance <= 0.05 < seen[-2].distance
    assert len(seen) < 50
    np.testing.assert_array_equal(result, heeger_bergen(GRAVEL, seed=0, n_iter=len(seen) - 1))


def test_ctrl_c_returns_the_current_picture(request: pytest.FixtureRequest) -> None:
    # A shell's background job ignores the signal.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, before))

    def interrupt(step: gf.textures.Step) -> None:
        if step.iteration == 2:
            signal.raise_signal(signal.SIGINT)

    with pytest.warns(RuntimeWarning, match="after 2 of 9 iterations"):
        result = heeger_bergen(SMALL, seed=0, n_iter=9, callback=interrupt)
    np.testing.assert_array_equal(result, heeger_bergen(SMALL, seed=0, n_iter=2))


def test_progress_bar_shows_the_distance_on_a_terminal_only(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    heeger_bergen(SMALL, seed=0, n_iter=2)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    heeger_bergen(SMALL, seed=0, n_iter=2, progress=False)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    heeger_bergen(SMALL, seed=0, n_iter=2)
    assert "2/2" in (shown := capsys.readouterr().err)
    assert "distance=" in shown


# Mixtures


def test_barycentre_averages_quantiles_with_weights() -> None:
    low, high = np.sort(SMALL, axis=None), np.sort(3 * SMALL + 1, axis=None)
    result = heeger_bergen([SMALL, 3 * SMALL + 1], seed=0, n_iter=1, weights=[3, 1])
    np.testing.assert_allclose(np.sort(result, axis=None), 0.75 * low + 0.25 * high, rtol=1e-5)


def test_histogram_mixture_draws_from_both() -> None:
    result = heeger_bergen([SMALL, SMALL + 10], 40, seed=0, n_iter=1, weights=[3, 1], mixture="histogram")
    assert np.mean(result > 5) == pytest.approx(0.25, abs=1e-3)
    np.testing.assert_allclose(np.mean(result[result < 5]), SMALL.mean(), rtol=1e-2)


@pytest.mark.parametrize("mixture", ["barycentre", "histogram"])
def test_a_texture_mixed_with_itself_is_itself(mixture: str) -> None:
    alone = heeger_bergen(FUR, 48, seed=0, n_iter=2)
    mixed = heeger_bergen([FUR, FUR], 48, seed=0, n_iter=2, mixture=mixture)
    assert np.mean(np.abs(alone.astype(int) - mixed)) < (2 if mixture == "histogram" else 0.05)


def test_exemplars_of_a_mixture_may_differ_in_size() -> None:
    result = heeger_bergen([SMALL, SMALL[:30, :25]], seed=0, n_iter=1)
    assert result.shape == SMALL.shape


def test_palette_gives_its_histogram_and_keeps_the_pattern() -> None:
    palette = crop("brick", 64).astype(np.float32)
    result, plain = (heeger_bergen(SMALL, seed=0, palette=p) for p in (palette, None))
    np.testing.assert_array_equal(result, gf.match_histograms(plain, palette, method="rank"))


def test_palette_gives_its_colours() -> None:
    blue = np.ascontiguousarray(FUR[..., ::-1])
    result = heeger_bergen(FUR, seed=0, palette=blue)
    np.testing.assert_array_equal(np.sort(result.reshape(-1, 3), axis=0), np.sort(blue.reshape(-1, 3), axis=0))
    np.testing.assert_allclose(np.corrcoef(result.reshape(-1, 3).T), np.corrcoef(blue.reshape(-1, 3).T), atol=0.06)


def test_a_grey_texture_takes_a_palette_of_colours() -> None:
    result = heeger_bergen(GRAVEL, (40, 50), seed=[0, 1], n_iter=2, palette=FUR)
    assert result.shape == (2, 40, 50, 3)
    np.testing.assert_allclose(result[0].mean(axis=(0, 1)), FUR.mean(axis=(0, 1)), atol=1)
    np.testing.assert_allclose(np.corrcoef(result[0].reshape(-1, 3).T), np.corrcoef(FUR.reshape(-1, 3).T), atol=0.06)


def test_palette_of_the_exemplar_itself_changes_nothing() -> None:
    own, plain = heeger_bergen(FUR, 48, seed=0, palette=FUR), heeger_bergen(FUR, 48, seed=0)
    assert np.mean(np.abs(own.astype(int) - plain)) < 0.1


# Kinds, dtypes, shapes


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.float16, np.float32, np.float64])
def test_arrays_keep_their_dtype(dtype: type) -> None:
    exemplar = SMALL.astype(dtype) if np.issubdtype(dtype, np.floating) else (SMALL * 255).astype(dtype)
    result = heeger_bergen(exemplar, seed=0, n_iter=1)
    assert result.dtype == dtype
    np.testing.assert_array_equal(np.sort(result, axis=None), np.sort(exemplar, axis=None))


def test_double_precision_throughout() -> None:
    exemplar, offset = np.random.default_rng(0).random((32, 40)), 1e6
    far, near = (heeger_bergen(x, seed=0, n_iter=2) for x in (exemplar + offset, exemplar))
    np.testing.assert_allclose(far - offset, near, atol=1e-8)


@pytest.mark.parametrize("order", ["transposed", "strided", "reversed"])
def test_arrays_of_any_layout(order: str) -> None:
    view = {"transposed": GRAVEL.T, "strided": GRAVEL[::2, 1::2], "reversed": GRAVEL[::-1]}[order]
    expected = heeger_bergen(np.ascontiguousarray(view), seed=0, n_iter=1)
    np.testing.assert_array_equal(heeger_bergen(view, seed=0, n_iter=1), expected)


def test_a_constant_picture_stays_constant() -> None:
    seen = []
    result = heeger_bergen(np.full((16, 16), 7, np.uint8), seed=0, callback=seen.append)
    assert (result == 7).all()
    assert seen[-1].distance == 0


@pytest.mark.parametrize(
    ("argument", "error", "message"),
    [
        ({"image": [[1.0]]}, TypeError, r"image\[0\] must be a numpy.ndarray"),
        ({"image": []}, ValueError, "at least one, got an empty list"),
        ({"image": np.zeros((2, 2))}, ValueError, "image must be at least 8x8 pixels, got 2x2"),
        ({"image": np.zeros((1, 64))}, ValueError, "got 1x64"),
        ({"image": np.zeros((0, 0))}, ValueError, "got 0x0"),
        ({"image": np.zeros(64)}, ValueError, r"\(H, W\) or \(H, W, C\)"),
        ({"image": np.zeros((3, 64, 64))}, ValueError, "1 to 4 channels, got 64"),
        ({"image": np.zeros((16, 16), complex)}, TypeError, "got dtype complex128"),
        ({"image": np.zeros((16, 16), bool)}, TypeError, "got dtype bool"),
        ({"image": np.full((16, 16), np.nan)}, ValueError, "256 of its values are NaN or infinite"),
        ({"image": np.where(np.eye(16), np.inf, 0)}, ValueError, "16 of its values are NaN or infinite"),
        ({"size": 0}, ValueError, "size must be at least 8, got 0"),
        ({"size": (64, -1)}, ValueError, "size must be at least 8, got -1"),
        ({"size": (1 << 20, 1 << 12)}, ValueError, "size must be at most 2147483648 pixels in all"),
        ({"size": (1, 2, 3)}, ValueError, "one integer or two"),
        ({"size": 8.5}, TypeError, "size must be an integer, got 8.5"),
        ({"n_iter": 0}, ValueError, "n_iter must be at least 1, got 0"),
        ({"n_iter": 2.0}, TypeError, "n_iter must be an integer"),
        ({"height": 4}, ValueError, "height must be at most 3 for an exemplar of 40x48"),
        ({"height": 3, "size": 16}, ValueError, "height must be at most 2 .* a result of 16x16"),
        ({"height": 0}, ValueError, "height must be at least 1"),
        ({"height": "automatic"}, ValueError, "'auto' or an integer"),
        ({"order": 16}, ValueError, "order must be one of .* for the frequency pyramid, got 16"),
        ({"order": 2, "pyramid": "spatial"}, ValueError, "order must be one of 0, 1, 3, 5 for the spatial pyramid"),
        ({"pyramid": "laplacian"}, ValueError, "pyramid must be one of 'frequency', 'spatial'"),
        ({"edges": "zero"}, ValueError, "edges must be one of 'none', 'periodic', 'mirror'"),
        ({"update": "newton"}, ValueError, "update must be one of"),
        ({"mixture": "sum"}, ValueError, "mixture must be one of"),
        ({"seed": -1}, ValueError, "seed must be at least 0, got -1"),
        ({"seed": []}, ValueError, "seed must be None, an integer or a list"),
        ({"seed": 0.5}, TypeError, "seed must be an integer"),
        ({"tolerance": -1}, ValueError, "tolerance must be 0 or a positive finite number"),
        ({"tolerance": float("nan")}, ValueError, "tolerance must be 0 or a positive finite number"),
        ({"weights": [1, 2]}, ValueError, "weights must hold one number for each exemplar, which are 1, got 2"),
        ({"weights": [0]}, ValueError, "weights must be positive and finite"),
        ({"image": [SMALL, SMALL[..., None]], "weights": [1, float("inf")]}, ValueError, "weights must be positive"),
        ({"image": [SMALL, FUR]}, ValueError, r"image\[1\] must have the dtype of image\[0\]"),
        (
            {"image": [FUR, FUR[..., :2]]},
            ValueError,
            r"image\[1\] must have the number of channels of image\[0\], got 2 and 3",
        ),
        (
            {"image": FUR, "palette": FUR[..., :2]},
            ValueError,
            "palette must have the number of channels of image, got 2 and 3",
        ),
        ({"palette": SMALL * np.nan}, ValueError, "palette must be finite everywhere"),
    ],
)
def test_bad_arguments_are_named(argument: dict, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        heeger_bergen(**{"image": SMALL, **argument})


def test_arrays_do_not_import_torch() -> None:
    code = (
        "import sys, numpy as np, genimg_fast as gf;"
        "gf.textures.heeger_bergen(np.random.rand(32, 32, 3), seed=0, n_iter=1); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
