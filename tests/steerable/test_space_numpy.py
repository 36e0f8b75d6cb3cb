"""The spatial steerable pyramid on arrays, its options, and what it refuses."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

import genimg_fast as gf
from genimg_fast import _numpy
from genimg_fast.steerable.space import EDGE_TYPES, ORDERS


def image(shape: tuple[int, ...], dtype: Any = np.float64) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape).astype(dtype)


@pytest.mark.parametrize("edge_type", EDGE_TYPES)
@pytest.mark.parametrize("order", ORDERS)
def test_agrees_with_tensors(order: int, edge_type: str) -> None:
    import torch

    pyramid = gf.SteerablePyramidSpace((50, 41), order=order, edge_type=edge_type)
    for dtype in (np.float16, np.float32, np.float64):
        x = image((2, 3, 50, 41), dtype)
        coefficients = pyramid(x)
        tensors = pyramid(torch.from_numpy(x))
        assert list(coefficients) == list(tensors)
        for key, c in coefficients.items():
            assert c.dtype == dtype
            np.testing.assert_array_equal(c, tensors[key].numpy())
        some = {key: c for key, c in coefficients.items() if key != "residual_highpass"}
        again = pyramid.recon_pyr(some, levels=[0, "residual_lowpass"], bands=0)
        expected = pyramid.recon_pyr(tensors, levels=[0, "residual_lowpass"], bands=0)
        assert again.dtype == dtype
        np.testing.assert_array_equal(again, expected.numpy())


def test_filters_are_the_published_ones() -> None:
    # What they do to a constant and, roughly, to the finest checkerboard.
    for order in ORDERS:
        filters = _numpy.spatial_filters(order)
        assert len(filters["bands"]) == order + 1
        for name, constant, checkerboard in (("hi0", 0, 1), ("lo0", 1, 0), ("lo", 2, 0)):
            taps = filters[name]
            signs = (-1.0) ** np.add.outer(np.arange(len(taps)), np.arange(len(taps)))
            assert taps.sum() == pytest.approx(constant, abs=1e-3)
            assert (taps * signs).sum() == pytest.approx(checkerboard, abs=0.08)
        assert all(abs(band.sum()) < 1e-7 for band in filters["bands"])


@pytest.mark.peer
@pytest.mark.parametrize("order", ORDERS)
def test_filters_are_pyrtools_s(order: int) -> None:
    pyrtools = pytest.importorskip("pyrtools")
    theirs = pyrtools.pyramids.filters.parse_filter(f"sp{order}_filters", normalize=False)
    ours = _numpy.spatial_filters(order)
    for name, key in (("hi0", "hi0filt"), ("lo0", "lo0filt"), ("lo", "lofilt")):
        np.testing.assert_array_equal(ours[name], theirs[key])
    size = len(ours["bands"][0])
    for b, band in enumerate(ours["bands"]):
        np.testing.assert_array_equal(band, theirs["bfilts"][:, b].reshape(size, size).T)


def test_arrays_of_any_layout() -> None:
    pyramid = gf.SteerablePyramidSpace((30, 26), order=1)
    x = image((4, 30, 26))
    dense = pyramid(x)
    for other in (np.asfortranarray(x), x.astype(">f8"), x[:, ::-1][:, ::-1]):
        for key, c in pyramid(other).items():
            np.testing.assert_array_equal(c, dense[key])
    np.testing.assert_array_equal(
        pyramid.recon_pyr({key: np.asfortranarray(c) for key, c in dense.items()}), pyramid.recon_pyr(dense)
    )
    assert all(len(c) == 0 for c in pyramid(x[:0]).values())
    x.flags.writeable = False
    pyramid(x)


def test_nothing_chosen_is_black() -> None:
    pyramid = gf.SteerablePyramidSpace((30, 26), order=1)
    coefficients = pyramid(image((2, 30, 26), np.float32))
    nothing = pyramid.recon_pyr(coefficients, levels=[])
    assert nothing.shape == (2, 30, 26)
    assert nothing.dtype == np.float32
    assert not nothing.any()


def test_is_linear_and_shift_equivariant_with_circular_edges() -> None:
    pyramid = gf.SteerablePyramidSpace((64, 64), height=2, order=3, edge_type="circular")
    x = image((64, 64))
    coefficients, shifted = pyramid(x), pyramid(np.roll(x, (8, -4), (0, 1)))
    for key, c in coefficients.items():
        step = 64 // len(c)
        np.testing.assert_allclose(shifted[key], np.roll(c, (8 // step, -4 // step), (0, 1)), rtol=0, atol=1e-12)
    for key, c in pyramid(3 * x + 1).items():
        np.testing.assert_allclose(c, 3 * coefficients[key] + pyramid(np.ones_like(x))[key], rtol=0, atol=1e-12)


def test_not_a_number_stays_where_the_filters_reach() -> None:
    pyramid = gf.SteerablePyramidSpace((200, 200), height=1, order=0)
    x = image((200, 200))
    clean = pyramid(x)
    x[100, 100] = np.nan
    for key, c in pyramid(x).items():
        assert np.isnan(c).any()
        step = 200 // len(c)
        far = np.abs(np.arange(len(c)) * step - 100) > 20
        np.testing.assert_array_equal(c[far], clean[key][far])


def test_same_bits_for_any_number_of_threads() -> None:
    pyramid = gf.SteerablePyramidSpace((301, 333), order=5)
    x = image((2, 301, 333), np.float32)
    before = gf.get_num_threads()
    try:
        results = []
        for threads in (1, 2, 4):
            gf.set_num_threads(threads)
            coefficients = pyramid(x)
            results.append([*coefficients.values(), pyramid.recon_pyr(coefficients)])
    finally:
        gf.set_num_threads(before)
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            np.testing.assert_array_equal(a, b)


ISA_SCRIPT = """
import sys
import numpy as np
import genimg_fast as gf
from genimg_fast import _numpy
x = np.random.default_rng(0).standard_normal((75, 150))
for order in (0, 1, 3, 5):
    pyramid = gf.SteerablePyramidSpace(x.shape, order=order, edge_type="reflect2")
    for dtype, tolerance in ((np.float64, 1e-12), (np.float32, 2e-6)):
        coefficients = pyramid(x.astype(dtype))
        again = pyramid.recon_pyr(coefficients)
        expected = np.load(sys.argv[1] + f"/{order}.npz")
        for i, c in enumerate([*coefficients.values(), again]):
            wanted = expected[f"arr_{i}"]
            assert np.abs(c - wanted).max() < tolerance * np.abs(wanted).max(), (order, dtype, i)
assert "torch" not in sys.modules
print(_numpy.active_isa())
"""


@pytest.mark.parametrize("isa", ["baseline", "v3", "v4", "v4x"])
def test_instruction_sets_agree_and_arrays_need_no_torch(isa: str, tmp_path: Any) -> None:
    x = np.random.default_rng(0).standard_normal((75, 150))
    for order in ORDERS:
        pyramid = gf.SteerablePyramidSpace(x.shape, order=order, edge_type="reflect2")
        coefficients = pyramid(x)
        np.savez(tmp_path / f"{order}.npz", *coefficients.values(), pyramid.recon_pyr(coefficients))
    run = subprocess.run(
        [sys.executable, "-c", ISA_SCRIPT, str(tmp_path)],
        env={**os.environ, "GENIMG_FAST_ISA": isa},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    if run.stdout.strip() != isa:
        pytest.skip(f"this processor has no {isa}")


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        (((64, 64),), {"order": 2}, ValueError, "order must be one of 0, 1, 3, 5, got 2"),
        (((64, 64),), {"order": "1"}, TypeError, "order must be one of 0, 1, 3, 5, got '1'"),
        (
            ((64, 64),),
            {"edge_type": "wrap"},
            ValueError,
            "edge_type must be one of reflect1, reflect2, repeat",
        ),
        (((8, 64),), {}, ValueError, "image_shape must be at least 9 x 9, the filters' size for order 1, got 8 x 64"),
        (((64, 14),), {"order": 3}, ValueError, "image_shape must be at least 15 x 15"),
        ((64,), {}, TypeError, r"image_shape must be two integers \(height, width\), got 64"),
        (((1, 64, 64),), {}, TypeError, "image_shape must be two integers"),
        (((64, 64.5),), {}, TypeError, "image_shape must be two integers"),
        (((64, 64), 3), {}, ValueError, 'height must be "auto" or an integer from 0 to 2 for an image of 64 x 64 and'),
        (((64, 64), -1), {}, ValueError, 'height must be "auto" or an integer from 0 to 2'),
        (((64, 64), "most"), {}, ValueError, "height must be \"auto\" or an integer from 0 to 2, got 'most'"),
        (((64, 64), 1.5), {}, TypeError, 'height must be "auto" or an integer from 0 to 2, got 1.5'),
    ],
)
def test_refuses_bad_options(arguments: Any, options: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        gf.SteerablePyramidSpace(*arguments, **options)


def test_refuses_bad_arrays() -> None:
    pyramid = gf.SteerablePyramidSpace((20, 24), order=1)
    for bad, message in (
        (np.zeros((20, 24), np.uint8), "x must be float16, float32 or float64, got uint8"),
        (np.zeros((20, 24), complex), "got complex128"),
        ([[0.0]], "x must be a numpy.ndarray or a torch.Tensor, got list"),
    ):
        with pytest.raises(TypeError, match=message):
            pyramid(bad)
    for shape in ((24, 20), (24,), (), (20, 24, 3)):
        with pytest.raises(ValueError, match=r"x must be \(\.\.\., 20, 24\), got"):
            pyramid(np.zeros(shape))


@pytest.mark.parametrize(
    ("change", "options", "error", "message"),
    [
        ({}, {"levels": 3}, ValueError, 'levels must be .* "residual_highpass", "residual_lowpass", 0 to 0, got 3'),
        ({}, {"levels": "lowpass"}, ValueError, "levels must be one or several of"),
        ({}, {"levels": [0.5]}, ValueError, "levels must be one or several of"),
        ({}, {"levels": 0.5}, TypeError, "levels must be one or several of"),
        ({}, {"bands": 2}, ValueError, 'bands must be one or several of "all", 0 to 1, got 2'),
        ({}, {"bands": [-1]}, ValueError, "bands must be one or several of"),
        ({}, {"order": 4}, ValueError, "order must be one of 0, 1, 3, 5, got 4"),
        ({}, {"edge_type": 1}, ValueError, "edge_type must be one of reflect1"),
        ({(0, 1): None}, {}, ValueError, r"the coefficient \(0, 1\) is missing"),
        ({(0, 1): np.zeros((24, 20))}, {}, ValueError, r"pyr_coeffs\[\(0, 1\)\] must have shape \(20, 24\), got"),
        ({(0, 1): [1.0]}, {}, TypeError, "all coefficients must be of one kind, got ndarray .* and list"),
        ({(0, 1): np.zeros((20, 24), np.float32)}, {}, ValueError, "got float64 for .* and float32"),
        (
            {"residual_highpass": np.zeros((20, 24), int)},
            {},
            TypeError,
            r"pyr_coeffs\['residual_highpass'\] must be fl",
        ),
    ],
)
def test_refuses_bad_coefficients(change: Any, options: Any, error: type[Exception], message: str) -> None:
    pyramid = gf.SteerablePyramidSpace((20, 24), order=1)
    coefficients = {**pyramid(np.zeros((20, 24))), **change}
    coefficients = {key: c for key, c in coefficients.items() if c is not None}
    with pytest.raises(error, match=message):
        pyramid.recon_pyr(coefficients, **options)


def test_refuses_an_empty_mapping() -> None:
    pyramid = gf.SteerablePyramidSpace((20, 24), order=1)
    with pytest.raises(ValueError, match="at least one coefficient"):
        pyramid.recon_pyr({}, levels=[])
