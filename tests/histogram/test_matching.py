"""What matching gives, on every device, against NumPy's definition, scikit-image and the float64 reference."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from histogram_cases import MATCHED, by_rank, by_value, pools
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from skimage.exposure import match_histograms as skimage_match

import genimg_fast as gf
from genimg_fast import reference as oracle

if TYPE_CHECKING:
    from conftest import Device

METHODS = ["value", "rank"]


def _on(device: Device, x: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(x).to(device.torch)


def _assert_close(actual: np.ndarray, expected: np.ndarray, reference: np.ndarray) -> None:
    """Within the rounding of an interpolation between neighbouring reference values."""
    scale = np.abs(reference[np.isfinite(reference)]).max(initial=0)
    info = np.finfo(actual.dtype)
    atol = 8 * float(info.eps) * float(scale) + 2 * float(info.smallest_subnormal)
    np.testing.assert_allclose(actual.astype(float), expected, rtol=8 * float(info.eps), atol=atol)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("sizes", [(1, 1), (1, 7), (5, 1), (64, 64), (200, 37), (37, 200), (700, 700)])
@pytest.mark.parametrize("kind", pools(2))
def test_follows_the_definition(device: Device, method: str, sizes: tuple[int, int], kind: str) -> None:
    n, m = sizes
    source = pools(n, 1)[kind]
    for reference in (pools(m, 2)["normal"], pools(m, 3)[kind]):
        matched = gf.match_histograms(_on(device, source), _on(device, reference), method=method)
        _assert_close(matched.cpu().numpy(), MATCHED[method](source, reference), reference)


@pytest.mark.parametrize("kind", pools(2))
def test_large_pools_by_rank_have_exactly_the_reference_histogram(kind: str) -> None:
    # Large enough for many buckets, several blocks and the division among threads.
    source, reference = pools(70_001, 1)[kind], pools(70_001, 2)["normal"]
    matched = gf.match_histograms(source, reference, method="rank")
    expected = np.empty_like(matched)
    expected[np.argsort(source + np.float32(0), kind="stable")] = np.sort(reference)
    np.testing.assert_array_equal(matched, expected)


@pytest.mark.parametrize("kind", pools(2))
def test_large_pools_by_value(kind: str) -> None:
    source, reference = pools(70_001, 1)[kind], pools(50_000, 2)[kind]
    _assert_close(gf.match_histograms(source, reference), by_value(source, reference), reference)


@pytest.mark.parametrize("kind", pools(2))
def test_sorted_reference_of_a_large_pool(kind: str) -> None:
    reference = pools(70_001, 5)[kind]
    ramp = np.arange(70_001, dtype=np.float32)
    by_prepared = gf.HistogramReference(reference).match(ramp, method="rank")
    np.testing.assert_array_equal(by_prepared, np.sort(reference))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("channel_axis", [None, 0, -1])
def test_equals_scikit_image_on_floats(dtype: type, channel_axis: int | None) -> None:
    rng = np.random.default_rng(0)
    image, reference = rng.standard_normal((3, 40, 3)).astype(dtype), rng.gamma(2, size=(3, 25, 3)).astype(dtype)
    expected = skimage_match(image, reference, channel_axis=channel_axis)
    _assert_close(gf.match_histograms(image, reference, channel_axis=channel_axis), expected, reference)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channel_axis", [None, -1])
def test_integers_are_scikit_images_rounded(dtype: type, channel_axis: int | None) -> None:
    rng = np.random.default_rng(1)
    top = np.iinfo(dtype).max
    image = rng.integers(0, top // 2, (50, 41, 3), dtype=dtype)
    reference = rng.integers(top // 4, top, (33, 30, 3), dtype=dtype, endpoint=True)
    if channel_axis is None:
        expected = skimage_match(image, reference)
    else:  # along channels scikit-image cuts the decimals off, so take its channels one by one
        expected = np.stack([skimage_match(image[..., c], reference[..., c]) for c in range(3)], -1)
    matched = gf.match_histograms(image, reference, channel_axis=channel_axis)
    assert matched.dtype == dtype
    assert (np.abs(matched - expected) <= 0.5 + 1e-9).all()
    assert abs((matched - expected).mean()) < 0.02 * np.sqrt(top)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("masked", [False, True])
def test_integer_kernels_follow_the_definition(device: Device, dtype: torch.dtype, method: str, masked: bool) -> None:
    kind = str(dtype).removeprefix("torch.")
    rng = np.random.default_rng(2)
    image, reference = rng.integers(0, 200, 900).astype(kind), rng.integers(50, 256, 1000).astype(kind)
    takes = rng.random(900) < 0.7 if masked else np.ones(900, bool)
    matched = gf.match_histograms(
        _on(device, image), _on(device, reference), method=method, mask=_on(device, takes) if masked else None
    )
    expected = image.astype(float)
    expected[takes] = np.rint(MATCHED[method](image[takes], reference))
    np.testing.assert_array_equal(matched.cpu().numpy(), expected)


def test_integers_round_half_to_even() -> None:
    # Quantiles 1/4, 1/2, 3/4 and 1 of two values 0 and 5: 0, 0, 2.5, 5; of 1 and 4: 1, 1, 2.5, 4; of 0 and 3: 1.5.
    source = np.array([1, 2, 3, 4], np.uint8)
    assert gf.match_histograms(source, np.array([0, 5], np.uint8)).tolist() == [0, 0, 2, 5]
    assert gf.match_histograms(source, np.array([0, 3], np.uint8)).tolist() == [0, 0, 2, 3]
    assert gf.match_histograms(source, np.array([0.5, 3.5], np.float32)).tolist() == [0, 0, 2, 4]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("image_kind", ["uint8", "uint16", "int16", "int32", "int64"])
@pytest.mark.parametrize("reference_kind", ["float32", "float64", "uint8", "int32"])
def test_any_real_dtype_against_any_other(method: str, image_kind: str, reference_kind: str) -> None:
    rng = np.random.default_rng(3)
    image = rng.integers(0, 250, 300).astype(image_kind)
    reference = (rng.random(310) * 250).astype(reference_kind)
    matched = gf.match_histograms(image, reference, method=method)
    assert matched.dtype == image.dtype
    assert np.abs(matched - MATCHED[method](image, reference)).max() <= 0.5 + 1e-4
    low = np.array([-9e9, 9e9])  # clipped to the range of the type
    assert gf.match_histograms(np.array([1, 2], "uint8"), low).tolist() == [0, 255]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("method", METHODS)
def test_half_types_are_computed_in_float32(device: Device, dtype: torch.dtype, method: str) -> None:
    image = torch.from_numpy(pools(600, 1)["normal"]).to(dtype).to(device.torch)
    reference = torch.from_numpy(pools(500, 2)["uniform"]).to(dtype).to(device.torch)
    matched = gf.match_histograms(image, reference, method=method)
    assert matched.dtype == dtype
    assert torch.equal(matched, gf.match_histograms(image.float(), reference.float(), method=method).to(dtype))


@pytest.mark.parametrize("method", METHODS)
def test_float64_keeps_its_precision(device: Device, method: str) -> None:
    source = 1 + 1e-12 * np.arange(500)[::-1].copy()
    reference = 1e8 + 1e-4 * pools(700, 1)["uniform"].astype(np.float64)
    matched = gf.match_histograms(_on(device, source), _on(device, reference), method=method).cpu().numpy()
    np.testing.assert_allclose(matched - 1e8, MATCHED[method](source, reference) - 1e8, atol=1e-7, rtol=0)
    assert (np.diff(matched) <= 0).all()
    assert len(np.unique(matched)) > 400


def test_rank_breaks_ties_in_raster_order_and_value_does_not(device: Device) -> None:
    source = np.array([[2, 1, 2], [1, 2, 1]], np.float32)
    reference = np.array([[10, 20, 30], [40, 50, 60]], np.float32)
    x, y = _on(device, source), _on(device, reference)
    assert gf.match_histograms(x, y, method="rank").tolist() == [[40, 10, 50], [20, 60, 30]]
    assert gf.match_histograms(x, y, method="value").tolist() == [[60, 30, 60], [30, 60, 30]]


@pytest.mark.parametrize("method", METHODS)
def test_nan_passes_through_and_takes_no_part(device: Device, method: str) -> None:
    source, reference = pools(300, 1)["normal"], pools(280, 2)["uniform"]
    holes, reference_holes = np.arange(300) % 7 == 0, np.arange(280) % 5 == 0
    source[holes], reference[reference_holes] = np.nan, np.nan
    matched = gf.match_histograms(_on(device, source), _on(device, reference), method=method).cpu().numpy()
    assert np.isnan(matched[holes]).all()
    _assert_close(matched[~holes], MATCHED[method](source[~holes], reference[~reference_holes]), reference)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("size", [300, 5000])
def test_masked_pixels_stay_and_take_no_part(device: Device, method: str, size: int) -> None:
    source, reference = pools(size, 1)["normal"], pools(size // 2, 2)["normal"]
    rng = np.random.default_rng(0)
    mask, reference_mask = rng.random(size) < 0.6, rng.random(size // 2) < 0.5
    masks = {"mask": _on(device, mask), "reference_mask": _on(device, reference_mask)}
    matched = gf.match_histograms(_on(device, source), _on(device, reference), method=method, **masks).cpu().numpy()
    np.testing.assert_array_equal(matched[~mask], source[~mask])
    _assert_close(matched[mask], MATCHED[method](source[mask], reference[reference_mask]), reference)


@pytest.mark.parametrize("method", METHODS)
def test_a_reference_without_anything_leaves_the_image(device: Device, method: str) -> None:
    source = torch.arange(6.0, device=device.torch).reshape(2, 3)
    nothing = torch.full((2, 2), torch.nan, device=device.torch)
    assert torch.equal(gf.match_histograms(source, nothing, method=method), source)
    reference = gf.HistogramReference(nothing)
    assert torch.equal(reference.match(source, method=method), source)
    assert torch.equal(reference.resample(6).match(source, method=method), source)


def test_infinities_are_ordered_and_never_make_nan(device: Device) -> None:
    infinity = float("inf")
    source = torch.tensor([[infinity, -infinity, 0.0, 3.0]], device=device.torch)
    ordered = gf.match_histograms(source, torch.tensor([[1.0, 2.0, 3.0, 4.0]], device=device.torch))
    assert ordered.tolist() == [[4, 1, 2, 3]]
    wide = torch.tensor([[-infinity, 0.0, infinity]], device=device.torch)
    for method in METHODS:
        matched = gf.match_histograms(torch.linspace(0, 1, 50, device=device.torch)[None], wide, method=method)
        assert not matched.isnan().any()
        assert set(matched.flatten().tolist()) <= {-infinity, 0.0, infinity}
        assert (matched.diff() >= 0).logical_or(matched[:, 1:] == matched[:, :-1]).all()
    huge = torch.tensor([[-3e38, 3e38]], device=device.torch)  # their difference overflows
    assert gf.match_histograms(torch.arange(4.0, device=device.torch)[None], huge)[0, 2].item() == 0


def test_constant_source_and_reference(device: Device) -> None:
    constant, ramp = torch.full((4, 5), 7.0, device=device.torch), torch.arange(20.0, device=device.torch).reshape(4, 5)
    assert (gf.match_histograms(constant, ramp) == 19).all()
    assert torch.equal(gf.match_histograms(constant, ramp, method="rank"), ramp)
    for method in METHODS:
        assert (gf.match_histograms(ramp, constant, method=method) == 7).all()


def test_signed_zeros_are_one_value(device: Device) -> None:
    source = torch.tensor([[0.0, -0.0, -0.0, 0.0]], device=device.torch)
    ramp = torch.arange(4.0, device=device.torch)[None]
    assert torch.equal(gf.match_histograms(source, ramp, method="rank"), ramp)
    assert (gf.match_histograms(source, ramp) == 3).all()
    assert not gf.match_histograms(ramp, source).signbit().any()


@settings(max_examples=60, deadline=None)
@given(
    source=arrays.arrays(np.float32, st.integers(1, 300), elements=st.floats(-100, 100, width=32)),
    reference=arrays.arrays(np.float32, st.integers(1, 300), elements=st.floats(-100, 100, width=32)),
    method=st.sampled_from(METHODS),
)
def test_properties(source: np.ndarray, reference: np.ndarray, method: str) -> None:
    matched = gf.match_histograms(source, reference, method=method)
    _assert_close(matched, MATCHED[method](source, reference), reference)
    order = np.argsort(source, kind="stable")
    assert (np.diff(matched[order]) >= 0).all()  # monotone, to the last bit
    assert matched.min() >= reference.min()
    assert matched.max() <= reference.max()
    if method == "value":  # equal values stay equal
        assert all(len(set(matched[source == value])) == 1 for value in np.unique(source))
    elif source.size == reference.size:
        np.testing.assert_array_equal(np.sort(matched), np.sort(reference))
    torch_matched = gf.match_histograms(torch.from_numpy(source), torch.from_numpy(reference), method=method)
    np.testing.assert_array_equal(torch_matched.numpy(), matched)  # both doors lead to one kernel


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.uint8])
def test_kernels_and_oracle_agree(device: Device, method: str, dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    image = (torch.rand(4, 9, 11, generator=generator) * 200).round().to(dtype).to(device.torch)
    target = (torch.rand(2, 8, 9, generator=generator) * 250).to(dtype).to(device.torch)
    mask = (torch.rand(4, 9, 11, generator=generator) < 0.8).to(device.torch)
    expected = oracle.match_histograms(image, target, mask, None, 2, METHODS.index(method))
    matched = gf.match_histograms(image.view(2, 2, 9, 11), target, mask=mask.view(2, 2, 9, 11), method=method)
    torch.testing.assert_close(matched.view(4, 9, 11), expected, rtol=1e-6, atol=1e-4)


def test_by_rank_resamples_at_hazens_positions(device: Device) -> None:
    source, reference = pools(90, 1)["normal"], pools(40, 2)["normal"]
    matched = gf.match_histograms(_on(device, source), _on(device, reference), method="rank").cpu().numpy()
    _assert_close(matched, by_rank(source, reference), reference)
    assert not np.allclose(matched, by_value(source, reference), atol=1e-3)
