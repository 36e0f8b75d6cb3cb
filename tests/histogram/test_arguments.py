"""How arguments are laid out, combined and refused."""

from __future__ import annotations

import subprocess
import sys
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from histogram_cases import by_rank, by_value

import genimg_fast as gf

if TYPE_CHECKING:
    from conftest import Device

METHODS = ["value", "rank"]


def _normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def _each(image: torch.Tensor, reference: torch.Tensor, method: str) -> torch.Tensor:
    """Match plane by plane."""
    planes = [
        gf.match_histograms(x, y, method=method)  # type: ignore[arg-type]
        for x, y in zip(image.flatten(0, -3), reference.flatten(0, -3), strict=True)
    ]
    return torch.stack(planes).reshape(image.shape)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("batch", [(), (3,), (1, 3), (2, 3), (2, 1)])
def test_the_reference_broadcasts(device: Device, method: str, batch: tuple[int, ...]) -> None:
    image, reference = _normal(2, 3, 8, 9).to(device.torch), _normal(*batch, 7, 5, seed=1).to(device.torch)
    expected = _each(image, reference.expand(2, 3, 7, 5), method)
    assert torch.equal(gf.match_histograms(image, reference, method=method), expected)
    prepared = gf.HistogramReference(reference)
    assert torch.equal(gf.match_histograms(image, prepared, method=method), expected)


def test_the_image_broadcasts(device: Device) -> None:
    image, reference = _normal(8, 9).to(device.torch), _normal(2, 3, 7, 5).to(device.torch)
    matched = gf.match_histograms(image, reference)
    assert matched.shape == (2, 3, 8, 9)
    assert torch.equal(matched, _each(image.expand(2, 3, 8, 9), reference, "value"))


def test_axes() -> None:
    image, reference = _normal(3, 4, 5, 6).numpy(), _normal(3, 7, 5, 2, seed=1).numpy()
    pooled = gf.match_histograms(image, reference)
    np.testing.assert_allclose(pooled, by_value(image, reference), atol=1e-5)
    for axes in ({"channel_axis": 2}, {"channel_axis": -2}, {"batch_axes": (2,)}):
        matched = gf.match_histograms(image, reference, **axes)  # type: ignore[arg-type]
        for c in range(5):
            np.testing.assert_array_equal(
                matched[:, :, c], gf.match_histograms(image[:, :, c].copy(), reference[:, :, c].copy())
            )
        tensors = gf.match_histograms(torch.from_numpy(image), torch.from_numpy(reference), **axes)  # type: ignore[arg-type]
        np.testing.assert_array_equal(tensors.numpy(), matched)
        prepared = gf.HistogramReference(reference, **axes)  # type: ignore[arg-type]
        np.testing.assert_array_equal(prepared.match(image), matched)
    both = gf.match_histograms(image, reference, batch_axes=(-2, 0))
    np.testing.assert_array_equal(both[1, :, 3], gf.match_histograms(image[1, :, 3], reference[1, :, 3]))
    one_pool = gf.match_histograms(torch.from_numpy(image), torch.from_numpy(reference), batch_axes=())
    np.testing.assert_array_equal(one_pool.numpy(), pooled)


@pytest.mark.parametrize("method", METHODS)
def test_strides_do_not_matter(device: Device, method: str) -> None:
    image, reference = _normal(12, 20).to(device.torch), _normal(30, 14, seed=1).to(device.torch)
    for x, y in ((image.T, reference.T), (image[::2, 1::3], reference[:, :5]), (image[:1].expand(4, 20), reference)):
        expected = gf.match_histograms(x.contiguous(), y.contiguous(), method=method)
        assert torch.equal(gf.match_histograms(x, y, method=method), expected)
    if device.name == "cpu":
        x, y = image.numpy().T[::-1], reference.numpy()[:, ::2]
        expected = gf.match_histograms(x.copy(), y.copy(), method=method)
        np.testing.assert_array_equal(gf.match_histograms(x, y, method=method), expected)
        swapped = x.astype(x.dtype.newbyteorder())
        np.testing.assert_array_equal(gf.match_histograms(swapped, y, method=method), expected)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("prepared", [False, True])
@pytest.mark.parametrize("kind", [OrderedDict, list, tuple])
def test_all_bands_in_one_call(device: Device, method: str, prepared: bool, kind: type) -> None:
    sizes = [(16, 16), (4, 16, 16), (2, 4, 8, 9), (3, 5)]
    image = [_normal(*size, seed=i).to(device.torch) for i, size in enumerate(sizes)]
    reference = [_normal(*size[-3:], seed=9 + i).to(device.torch) for i, size in enumerate(sizes)]
    expected = [gf.match_histograms(x, y, method=method) for x, y in zip(image, reference, strict=True)]

    def build(entries: list[Any]) -> Any:
        keys = ["residual_highpass", 0, 1, "residual_lowpass"]
        return kind(zip(keys, entries, strict=True)) if kind is OrderedDict else kind(entries)

    target = gf.HistogramReference(build(reference)) if prepared else build(reference)
    matched = gf.match_histograms(build(image), target, method=method)
    assert type(matched) is kind
    assert kind is not OrderedDict or list(matched) == list(build(image))
    entries = list(matched.values()) if kind is OrderedDict else matched
    assert all(torch.equal(x, y) for x, y in zip(entries, expected, strict=True))
    out = build([torch.empty_like(x) for x in image])
    assert gf.match_histograms(build(image), target, method=method, out=out) is not None
    entries = list(out.values()) if kind is OrderedDict else out
    assert all(torch.equal(x, y) for x, y in zip(entries, expected, strict=True))
    if device.name == "cpu":
        arrays = build([x.numpy() for x in image])
        target = build([x.numpy() for x in reference])
        target = gf.HistogramReference(target) if prepared else target
        results = gf.match_histograms(arrays, target, method=method)
        entries = list(results.values()) if kind is OrderedDict else results
        assert all(np.array_equal(x, y.numpy()) for x, y in zip(entries, expected, strict=True))


def test_lists_of_several_dtypes_and_masks(device: Device) -> None:
    image = [(_normal(6, 7) * 50 + 128).to(torch.uint8).to(device.torch), _normal(5, 5).double().to(device.torch)]
    reference = [_normal(8, 8).to(device.torch), _normal(9, 2).to(device.torch)]
    mask = [_normal(6, 7, seed=3).to(device.torch) > 0, _normal(5, 5, seed=4).to(device.torch) > 0]
    matched = gf.match_histograms(image, reference, mask=mask)
    for i in range(2):
        assert torch.equal(matched[i], gf.match_histograms(image[i], reference[i], mask=mask[i]))
    floats = [x.float() for x in image]
    some = gf.match_histograms(floats, reference, mask=[mask[0], torch.ones_like(mask[1])])
    assert torch.equal(some[1], gf.match_histograms(floats[1], reference[1]))
    assert gf.match_histograms([], []) == []


@pytest.mark.parametrize("image_type", [np.float32, np.float64, np.uint8, np.int32, np.float16])
@pytest.mark.parametrize("transposed", [False, True])
def test_out(image_type: type, transposed: bool) -> None:
    rng = np.random.default_rng(0)
    image, reference = (rng.random((6, 7)) * 200).astype(image_type), (rng.random((8, 9)) * 100).astype(np.float32)
    out = np.empty((7, 6), image_type).T if transposed else np.empty((6, 7), image_type)
    expected = gf.match_histograms(image, reference)
    assert gf.match_histograms(image, reference, out=out) is out
    np.testing.assert_array_equal(out, expected)
    tensor_out = torch.from_numpy(np.empty((6, 7), image_type))
    tensor = torch.from_numpy(image.copy())
    assert gf.match_histograms(tensor, torch.from_numpy(reference), out=tensor_out) is tensor_out
    np.testing.assert_array_equal(tensor_out.numpy(), expected)
    in_place = image.copy()
    assert gf.match_histograms(in_place, reference, method="rank", out=in_place) is in_place
    np.testing.assert_array_equal(in_place, gf.match_histograms(image, reference, method="rank"))


@pytest.mark.parametrize("method", METHODS)
def test_prepared_references(device: Device, method: str) -> None:
    image, reference = _normal(2, 9, 9).to(device.torch), _normal(2, 7, 8, seed=1).to(device.torch)
    mask = _normal(2, 7, 8, seed=2).to(device.torch) > -0.5
    prepared = gf.HistogramReference(reference, mask=mask)
    expected = gf.match_histograms(image, reference, reference_mask=mask, method=method)
    assert torch.equal(prepared.match(image, method=method), expected)
    image_mask = _normal(2, 9, 9, seed=3).to(device.torch) > 0
    assert torch.equal(
        prepared.match(image, method=method, mask=image_mask),
        gf.match_histograms(image, reference, reference_mask=mask, mask=image_mask, method=method),
    )
    integers = (image * 50 + 100).to(torch.uint8)
    scaled = gf.HistogramReference(reference * 20 + 128)
    assert torch.equal(
        scaled.match(integers, method=method), gf.match_histograms(integers, reference * 20 + 128, method=method)
    )


def test_resample_is_what_rank_matching_gives(device: Device) -> None:
    image, reference = _normal(2, 9, 9).to(device.torch), _normal(2, 7, 8, seed=1).to(device.torch)
    prepared = gf.HistogramReference(reference)
    resampled = prepared.resample(81)
    assert torch.equal(resampled.match(image, method="rank"), prepared.match(image, method="rank"))
    assert not torch.equal(prepared.resample(10).match(image, method="rank"), prepared.match(image, method="rank"))
    with pytest.raises(ValueError, match="size must be at least 1, got 0"):
        prepared.resample(0)


@pytest.mark.parametrize("shape", [(0,), (0, 5), (3, 0, 4), (0, 3, 4)])
def test_an_empty_image_gives_an_empty_one(device: Device, shape: tuple[int, ...]) -> None:
    matched = gf.match_histograms(torch.empty(shape, device=device.torch), torch.ones(2, 2, device=device.torch))
    assert matched.shape == shape
    assert gf.match_histograms(np.empty(shape, np.uint8), np.ones((2, 2), np.uint8)).shape == shape


def test_scalars_and_vectors() -> None:
    assert gf.match_histograms(np.float32([3, 1, 2]), np.float32([10, 20, 30])).tolist() == [30, 10, 20]
    assert gf.match_histograms(torch.tensor(3.0), torch.tensor([5.0])).item() == 5
    assert gf.match_histograms(np.array(3.0), np.array([5.0])).shape == ()


IMAGE = np.zeros((4, 5), np.float32)
match: Any = gf.match_histograms
Reference: Any = gf.HistogramReference
sliced: Any = gf.sliced_wasserstein_loss


@pytest.mark.parametrize(
    ("error", "message", "call"),
    [
        (TypeError, "image must be a numpy.ndarray or a torch.Tensor, got str", lambda: match("x", IMAGE)),
        (TypeError, "reference must be a .*, got NoneType", lambda: match(IMAGE, None)),
        (TypeError, "of one kind", lambda: match(IMAGE, torch.zeros(4, 5))),
        (TypeError, "image must be real .* got bool", lambda: match(IMAGE > 0, IMAGE)),
        (TypeError, "complex64; match the real", lambda: match(IMAGE.astype(np.complex64), IMAGE)),
        (TypeError, "reference must be real", lambda: Reference(torch.zeros(2, 2, dtype=torch.complex64))),
        (ValueError, "reference is empty", lambda: match(IMAGE, IMAGE[:0])),
        (ValueError, "reference is empty", lambda: Reference(torch.zeros(3, 0, 2))),
        (ValueError, "method must be one of 'value', 'rank', got 'cdf'", lambda: match(IMAGE, IMAGE, method="cdf")),
        (ValueError, "method must be", lambda: Reference(IMAGE).match(IMAGE, method="cdf")),
        (ValueError, "source_gradient must", lambda: match(IMAGE, IMAGE, source_gradient="true")),
        (
            ValueError,
            "channel_axis must name axes of image, which has 2, got 2",
            lambda: match(IMAGE, IMAGE, channel_axis=2),
        ),
        (ValueError, "twice", lambda: match(IMAGE, IMAGE, batch_axes=(0, -2))),
        (ValueError, "not both", lambda: match(IMAGE, IMAGE, batch_axes=(0,), channel_axis=0)),
        (ValueError, r"must broadcast, got \(4,\) and \(3,\)", lambda: match(IMAGE, IMAGE[:3], channel_axis=0)),
        (TypeError, "mask must be a boolean ndarray", lambda: match(IMAGE, IMAGE, mask=IMAGE)),
        (ValueError, r"mask must broadcast to the shape \(4, 5\)", lambda: match(IMAGE, IMAGE, mask=np.ones(4, bool))),
        (ValueError, "reference_mask must broadcast", lambda: match(IMAGE, IMAGE, reference_mask=np.ones(4, bool))),
        (ValueError, "out must be like image", lambda: match(IMAGE, IMAGE, out=IMAGE[:2])),
        (ValueError, "out must be like image", lambda: match(IMAGE, IMAGE, out=IMAGE.astype(np.float64))),
        (ValueError, "given to HistogramReference", lambda: match(IMAGE, Reference(IMAGE), channel_axis=0)),
        (ValueError, "structure", lambda: match([IMAGE], IMAGE)),
        (ValueError, "structure", lambda: match({"a": IMAGE}, {"b": IMAGE})),
        (ValueError, "structure", lambda: Reference([IMAGE]).match([IMAGE, IMAGE])),
        (ValueError, "keys of the reference", lambda: Reference({"a": IMAGE}).match({"b": IMAGE})),
        (TypeError, "must be floats, got uint8", lambda: sliced(np.zeros((1, 2, 2), np.uint8), IMAGE)),
        (ValueError, r"x must be \(..., C, H, W\)", lambda: sliced(IMAGE, IMAGE)),
        (ValueError, "same channels, got 1 and 2", lambda: sliced(IMAGE[None], np.stack([IMAGE] * 2))),
        (ValueError, "at least 1", lambda: sliced(IMAGE[None], IMAGE[None], 0)),
        (TypeError, "of one kind", lambda: sliced(IMAGE[None], torch.zeros(1, 4, 5))),
        (ValueError, "not both", lambda: sliced(IMAGE[None], IMAGE[None], seed=1, generator=np.random.default_rng())),
    ],
)
def test_bad_input_is_refused_by_name(error: type[Exception], message: str, call: Any) -> None:
    with pytest.raises(error, match=message):
        call()


def test_pools_beyond_2_to_the_31_are_refused_by_name() -> None:
    huge = np.broadcast_to(np.float32(0), (2**16, 2**15 + 1))
    with pytest.raises(ValueError, match="a pool of image holds at most"):
        gf.match_histograms(huge, IMAGE)
    with pytest.raises(ValueError, match="a pool of reference holds at most"):
        gf.match_histograms(torch.zeros(2, 2), torch.zeros(()).expand(2**16, 2**15 + 1))


def test_arrays_do_not_import_torch() -> None:
    program = (
        "import sys, numpy as np, genimg_fast as gf; x = np.ones((4, 4), np.float32);"
        "gf.match_histograms(x, x); gf.HistogramReference(x).match(x); gf.sliced_wasserstein_loss(x[None], x[None]);"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_no_call_reaches_the_oracle(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    from genimg_fast import reference as oracle

    def fail(*_: Any, **__: Any) -> None:
        raise AssertionError("the reference implementation was called")

    for name in ("match_histograms", "sort_histograms", "match_histograms_tangent", "match_histograms_adjoint"):
        monkeypatch.setattr(oracle, name, fail)
    image, reference = _normal(3, 4).to(device.torch), _normal(5, 6).to(device.torch).requires_grad_()
    gf.match_histograms(image, reference).sum().backward()
    gf.match_histograms([image], gf.HistogramReference([reference.detach()]), method="rank")
    gf.match_histograms(image, reference.detach(), mask=image > 0)


def test_by_rank_on_all_axes_of_an_array() -> None:
    image, reference = _normal(2, 3, 4).numpy(), _normal(5, 2, seed=1).numpy()
    np.testing.assert_allclose(
        gf.match_histograms(image, reference, method="rank"), by_rank(image, reference), atol=1e-6
    )
