"""Heeger and Bergen's synthesis of tensors, on each device."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from genimg_fast.textures import heeger_bergen  # noqa: E402


def picture(device: Any, *shape: int, dtype: Any = torch.float32) -> torch.Tensor:
    """Smooth noise: bands of all scales have something in them."""
    noise = torch.from_numpy(np.random.default_rng(0).standard_normal(shape))
    smooth = noise + 2 * noise.roll(1, -1) + 2 * noise.roll(1, -2) + noise.roll((3, 5), (-1, -2))
    return smooth.to(device.torch, dtype)


def test_tensors_and_arrays_agree(device: Any) -> None:
    exemplar = picture(device, 32, 40, dtype=torch.float64)
    result = heeger_bergen(exemplar, (48, 32), seed=0, n_iter=3)
    assert result.device == exemplar.device
    expected = heeger_bergen(exemplar.cpu().numpy(), (48, 32), seed=0, n_iter=3)
    np.testing.assert_allclose(result.cpu().numpy(), expected, atol=1e-9)


def test_distance_falls(device: Any) -> None:
    seen: list[float] = []
    heeger_bergen(picture(device, 3, 64, 64), seed=0, n_iter=5, callback=lambda step: seen.append(step.distance))
    assert seen[-1] < 0.1 * seen[0]


def test_a_batch_of_exemplars_and_seeds(device: Any) -> None:
    exemplars = picture(device, 2, 3, 24, 32)
    batch = heeger_bergen(exemplars, seed=[5, 6], n_iter=2)
    assert batch.shape == (2, 2, 3, 24, 32)
    for i, seed in enumerate((5, 6)):
        for j in range(2):
            assert torch.equal(batch[i, j], heeger_bergen(exemplars[j], seed=seed, n_iter=2))


def test_palettes_come_with_the_batch(device: Any) -> None:
    exemplars, palettes = picture(device, 2, 1, 24, 24), picture(device, 2, 1, 16, 16) * 2 + 1
    batch = heeger_bergen(exemplars, seed=0, n_iter=1, palette=palettes)
    for j in range(2):
        assert torch.equal(batch[j], heeger_bergen(exemplars[j], seed=0, n_iter=1, palette=palettes[j]))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.uint8])
def test_tensors_keep_their_dtype(device: Any, dtype: Any) -> None:
    exemplar = (picture(device, 16, 16).abs() * 30).to(dtype)
    result = heeger_bergen(exemplar, seed=0, n_iter=1)
    assert result.dtype == dtype
    assert torch.equal(result.flatten().double().sort().values, exemplar.flatten().double().sort().values)


def test_tensors_of_any_layout(device: Any) -> None:
    exemplar = picture(device, 20, 24, 3)
    expected = heeger_bergen(exemplar.permute(2, 0, 1).contiguous(), seed=0, n_iter=1)
    assert torch.equal(heeger_bergen(exemplar.permute(2, 0, 1), seed=0, n_iter=1), expected)
    row = picture(device, 1, 24)
    expanded = heeger_bergen(row.expand(24, 24), seed=0, n_iter=1)
    assert torch.equal(expanded, heeger_bergen(row.expand(24, 24).contiguous(), seed=0, n_iter=1))


@pytest.mark.parametrize("shape", [(3, 64, 64), (3, 67, 71)])  # our own transform, and a library's
def test_same_bits_for_any_number_of_threads(shape: tuple[int, ...]) -> None:
    exemplar = torch.from_numpy(np.random.default_rng(0).random(shape, np.float32))
    before = torch.get_num_threads()
    distances: list[list[float]] = [[], []]
    results = []
    try:
        for n in (1, 2):
            torch.set_num_threads(n)
            note = distances[n - 1].append
            results.append(
                heeger_bergen(exemplar, seed=0, n_iter=2, callback=lambda step, note=note: note(step.distance))
            )
    finally:
        torch.set_num_threads(before)
    assert torch.equal(*results)
    assert distances[0] == distances[1]


def test_an_empty_batch_is_an_empty_batch(device: Any) -> None:
    assert heeger_bergen(picture(device, 0, 3, 16, 16), (8, 12), seed=0).shape == (0, 3, 8, 12)


def test_gradients_do_not_flow(device: Any) -> None:
    assert not heeger_bergen(picture(device, 16, 16).requires_grad_(), seed=0, n_iter=1).requires_grad


@pytest.mark.parametrize(
    ("tensor", "error", "message"),
    [
        (torch.zeros(16), ValueError, r"\(H, W\) or \(\.\.\., C, H, W\)"),
        (torch.zeros(5, 16, 16), ValueError, "1 to 4 channels, got 5"),
        (torch.zeros(16, 16, dtype=torch.complex64), TypeError, "got dtype torch.complex64"),
        (torch.zeros(16, 16, dtype=torch.bool), TypeError, "got dtype torch.bool"),
        (torch.zeros(16, 16).fill_(torch.nan), ValueError, "256 of its values are NaN"),
    ],
)
def test_bad_tensors_are_named(tensor: torch.Tensor, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        heeger_bergen(tensor)


def test_kinds_and_devices_do_not_mix() -> None:
    with pytest.raises(TypeError, match=r"palette must have the kind of image, got numpy.ndarray and torch.Tensor"):
        heeger_bergen(torch.zeros(16, 16), palette=np.zeros((16, 16), np.float32))
    with pytest.raises(TypeError, match=r"image\[1\] must be a dense tensor with values, got .* on the device meta"):
        heeger_bergen([torch.zeros(16, 16), torch.zeros(16, 16, device="meta")])
