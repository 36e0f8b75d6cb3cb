"""The spatial steerable pyramid on tensors: the float64 reference, pyrtools, gradients, torch's transforms."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Device

import genimg_fast as gf
from genimg_fast import _torch, reference
from genimg_fast.steerable.space import EDGE_TYPES, ORDERS

SIZES = [(17, 17), (34, 40), (33, 47), (77, 101), (150, 70)]


def image(shape: tuple[int, ...], dtype: torch.dtype = torch.float64, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def reference_pyramid(pyramid: gf.SteerablePyramidSpace, x: torch.Tensor) -> list[torch.Tensor]:
    return reference.space_analysis(x, pyramid.order, pyramid.num_scales, EDGE_TYPES.index(pyramid.edge_type))


@pytest.mark.parametrize("edge_type", EDGE_TYPES)
@pytest.mark.parametrize("order", ORDERS)
def test_agrees_with_the_reference(device: Device, order: int, edge_type: str) -> None:
    for size in SIZES:
        pyramid = gf.SteerablePyramidSpace(size, order=order, edge_type=edge_type)
        x = image((2, *size))
        coefficients = pyramid(x.to(device.torch))
        expected = reference_pyramid(pyramid, x)
        assert list(coefficients) == list(pyramid.pyr_size)
        for (key, c), e in zip(coefficients.items(), expected, strict=True):
            assert c.device.type == device.torch, key
            torch.testing.assert_close(c.cpu(), e, rtol=0, atol=1e-12, msg=f"{size} {key}".__add__)
        edited = {key: image(tuple(c.shape), seed=1 + i) for i, (key, c) in enumerate(coefficients.items())}
        again = pyramid.recon_pyr({key: c.to(device.torch) for key, c in edited.items()})
        expected_image = reference.space_synthesis(
            dict(enumerate(edited.values())), size, order, pyramid.num_scales, EDGE_TYPES.index(edge_type)
        )
        torch.testing.assert_close(again.cpu(), expected_image, rtol=0, atol=1e-12, msg=f"{size}".__add__)


@pytest.mark.peer
@pytest.mark.parametrize("edge_type", EDGE_TYPES)
@pytest.mark.parametrize("order", ORDERS)
def test_agrees_with_pyrtools(device: Device, order: int, edge_type: str) -> None:
    pyrtools = pytest.importorskip("pyrtools")
    for size in [(17, 17), (34, 40), (33, 47), (64, 64), (77, 101)]:
        x = image(size)
        theirs = pyrtools.pyramids.SteerablePyramidSpace(x.numpy(), order=order, edge_type=edge_type)
        pyramid = gf.SteerablePyramidSpace(size, order=order, edge_type=edge_type)
        coefficients = pyramid(x.to(device.torch))
        assert pyramid.num_scales == theirs.num_scales
        assert set(coefficients) == set(theirs.pyr_coeffs)
        for key, c in coefficients.items():
            np.testing.assert_allclose(c.cpu().numpy(), theirs.pyr_coeffs[key], rtol=0, atol=1e-10, err_msg=f"{key}")
        again = pyramid.recon_pyr(coefficients).cpu().numpy()
        np.testing.assert_allclose(again, theirs.recon_pyr(), rtol=0, atol=1e-10, err_msg=f"{size}")


@pytest.mark.peer
@pytest.mark.parametrize(
    ("levels", "bands"),
    [
        ("residual_highpass", "all"),
        ("residual_lowpass", "all"),
        (0, "all"),
        ([1, "residual_lowpass"], 1),
        (["residual_highpass", 0, 1], [0, 3]),
        ("all", [3]),
        ("all", []),
        ([1], [2, 1]),
    ],
)
def test_reconstructs_subsets_as_pyrtools_does(device: Device, levels: Any, bands: Any) -> None:
    pyrtools = pytest.importorskip("pyrtools")
    x = image((70, 81))
    theirs = pyrtools.pyramids.SteerablePyramidSpace(x.numpy(), order=3, edge_type="reflect2")
    pyramid = gf.SteerablePyramidSpace((70, 81), order=3, edge_type="reflect2")
    again = pyramid.recon_pyr(pyramid(x.to(device.torch)), levels, bands).cpu().numpy()
    np.testing.assert_allclose(again, theirs.recon_pyr(levels=levels, bands=bands), rtol=0, atol=1e-10)


@pytest.mark.peer
def test_reconstructs_with_another_order_or_edge_type_as_pyrtools_does(device: Device) -> None:
    pyrtools = pytest.importorskip("pyrtools")
    x = image((64, 64))
    theirs = pyrtools.pyramids.SteerablePyramidSpace(x.numpy(), order=3)
    pyramid = gf.SteerablePyramidSpace((64, 64), order=3)
    coefficients = pyramid(x.to(device.torch))
    for options in ({"order": 1}, {"order": 5}, {"edge_type": "zero"}, {"edge_type": "extend", "order": 1}):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pyrtools says which bands it ignores
            expected = theirs.recon_pyr(**options)
        again = pyramid.recon_pyr(coefficients, **options).cpu().numpy()
        np.testing.assert_allclose(again, expected, rtol=0, atol=1e-10, err_msg=f"{options}")


@pytest.mark.parametrize(("order", "error"), [(0, 0.016), (1, 0.281), (3, 0.251), (5, 0.287)])
def test_reconstruction_error_of_noise_is_that_of_the_published_filters(
    device: Device, order: int, error: float
) -> None:
    # Measured once with pyrtools 1.1.1.
    x = torch.from_numpy(np.random.default_rng(0).random((256, 256))).to(device.torch)
    pyramid = gf.SteerablePyramidSpace((256, 256), order=order)
    assert (pyramid.recon_pyr(pyramid(x)) - x).abs().max().item() == pytest.approx(error, abs=5e-4)


@pytest.mark.parametrize("edge_type", EDGE_TYPES)
@pytest.mark.parametrize("order", [0, 1, 5])
def test_gradients(device: Device, order: int, edge_type: str) -> None:
    # 21 and 18 are odd and even, and small enough that every pixel is near an edge; 18 is 9 at the second scale.
    size = (21, 18)
    pyramid = gf.SteerablePyramidSpace(size, order=order, edge_type=edge_type)
    x = image(size).to(device.torch).requires_grad_()
    options = {"fast_mode": True, "rtol": 1e-6, "atol": 1e-8}
    forward = lambda x: tuple(pyramid(x).values())  # noqa: E731
    assert torch.autograd.gradcheck(forward, x, **options)
    assert torch.autograd.gradgradcheck(lambda x: tuple(c**2 for c in forward(x)), x, **options)
    coefficients = tuple(c.detach().requires_grad_() for c in pyramid(x).values())
    back = lambda *c: pyramid.recon_pyr(dict(zip(pyramid.pyr_size, c, strict=True)))  # noqa: E731
    assert torch.autograd.gradcheck(back, coefficients, **options)
    assert torch.autograd.gradgradcheck(lambda *c: back(*c) ** 2, coefficients, **options)


@pytest.mark.parametrize("edge_type", EDGE_TYPES)
def test_gradients_are_the_reference_s(device: Device, edge_type: str) -> None:
    size = (77, 102)
    pyramid = gf.SteerablePyramidSpace(size, order=3, edge_type=edge_type)
    x = image(size)
    weights = [image(s, seed=1 + i) for i, s in enumerate(pyramid.pyr_size.values())]

    def gradients(on: str, analysis: Callable, synthesis: Callable) -> list[torch.Tensor]:
        given = x.to(on).requires_grad_()
        coefficients = [w.to(on).requires_grad_() for w in weights]
        sum((c * w.to(on)).sum() for c, w in zip(analysis(given), weights, strict=True)).backward()
        (synthesis(coefficients) * x.to(on)).sum().backward()
        return [g.grad.cpu() for g in (given, *coefficients)]

    edge = EDGE_TYPES.index(edge_type)
    expected = gradients(
        "cpu",
        lambda x: reference.space_analysis(x, 3, pyramid.num_scales, edge),
        lambda c: reference.space_synthesis(dict(enumerate(c)), size, 3, pyramid.num_scales, edge),
    )
    ours = gradients(
        device.torch,
        lambda x: pyramid(x).values(),
        lambda c: pyramid.recon_pyr(dict(zip(pyramid.pyr_size, c, strict=True))),
    )
    for g, e in zip(ours, expected, strict=True):
        torch.testing.assert_close(g, e, rtol=0, atol=1e-11)


def test_gradient_of_a_subset(device: Device) -> None:
    pyramid = gf.SteerablePyramidSpace((40, 40), order=3)
    coefficients = {key: image(s).to(device.torch).requires_grad_() for key, s in pyramid.pyr_size.items()}
    coefficients[(0, 1)] = coefficients[(0, 1)].detach()
    pyramid.recon_pyr(coefficients, levels=[0], bands=[1, 2]).sum().backward()
    assert {key for key, c in coefficients.items() if c.grad is not None} == {(0, 2)}
    assert coefficients[(0, 2)].grad.abs().max() > 0


@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    [(torch.float16, 2e-3), (torch.bfloat16, 2e-2), (torch.float32, 3e-6), (torch.float64, 1e-12)],
)
def test_dtypes(device: Device, dtype: torch.dtype, tolerance: float) -> None:
    x = image((2, 66, 50), dtype)
    pyramid = gf.SteerablePyramidSpace((66, 50), order=3)
    coefficients = pyramid(x.to(device.torch))
    for c, e in zip(coefficients.values(), reference_pyramid(pyramid, x.double()), strict=True):
        assert c.dtype == dtype
        torch.testing.assert_close(c.cpu().double(), e, rtol=tolerance, atol=tolerance)
    assert pyramid.recon_pyr(coefficients).dtype == dtype


def test_any_batch_shape_and_strides(device: Device) -> None:
    pyramid = gf.SteerablePyramidSpace((40, 36), order=1)
    x = image((3, 2, 40, 36)).to(device.torch)
    coefficients = pyramid(x)
    again = pyramid.recon_pyr(coefficients)
    for i in range(3):
        one = pyramid(x[i, 1])
        assert all(torch.equal(one[key], coefficients[key][i, 1]) for key in one)
        assert torch.equal(pyramid.recon_pyr(one), again[i, 1])
    for other in (x.transpose(0, 1), x.mT.contiguous().mT, x.flip(0)[::2], x[:1].expand(4, 2, 40, 36), x[:0]):
        strided = pyramid(other)
        dense = pyramid(other.contiguous())
        assert all(torch.equal(strided[key], dense[key]) for key in dense)
        assert torch.equal(
            pyramid.recon_pyr({key: c.mT.contiguous().mT for key, c in dense.items()}), pyramid.recon_pyr(dense)
        )


def test_heights(device: Device) -> None:
    x = image((70, 64)).to(device.torch)
    every = gf.SteerablePyramidSpace((70, 64), order=3)(x)
    for height in range(3):
        pyramid = gf.SteerablePyramidSpace((70, 64), height, 3)
        coefficients = pyramid(x)
        assert list(coefficients) == [
            "residual_highpass",
            *((i, b) for i in range(height) for b in range(4)),
            "residual_lowpass",
        ]
        assert all(torch.equal(c, every[key]) for key, c in coefficients.items() if key != "residual_lowpass")
        expected = reference_pyramid(pyramid, x.cpu())[-1]
        torch.testing.assert_close(coefficients["residual_lowpass"].cpu(), expected, rtol=0, atol=1e-12)
        pyramid.recon_pyr(coefficients)


def test_same_bits_for_any_number_of_threads() -> None:
    pyramid = gf.SteerablePyramidSpace((301, 333), order=3)
    x = image((2, 301, 333), torch.float32)
    before = torch.get_num_threads()
    try:
        results = []
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            coefficients = pyramid(x)
            results.append([*coefficients.values(), pyramid.recon_pyr(coefficients)])
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(a, b) for other in results[1:] for a, b in zip(results[0], other, strict=True))


def test_vmap_and_functional_gradients(device: Device) -> None:
    pyramid = gf.SteerablePyramidSpace((20, 24), order=1, edge_type="extend")
    x = image((4, 20, 24)).to(device.torch)
    mapped = torch.vmap(lambda x: pyramid(x)[(0, 1)])(x)
    torch.testing.assert_close(mapped, pyramid(x)[(0, 1)])
    inner = torch.vmap(lambda x: pyramid.recon_pyr(pyramid(x)), in_dims=1, out_dims=1)(x.transpose(0, 1))
    torch.testing.assert_close(inner, pyramid.recon_pyr(pyramid(x)).transpose(0, 1))
    one = pyramid(x[0])
    mixed = torch.vmap(lambda band: pyramid.recon_pyr({**one, (0, 0): band}))(pyramid(x)[(0, 0)])
    torch.testing.assert_close(mixed[0], pyramid.recon_pyr(one))

    def loss(x: torch.Tensor) -> torch.Tensor:
        return (pyramid.recon_pyr(pyramid(x)) ** 2).sum()

    given = x.clone().requires_grad_()
    loss(given).backward()
    torch.testing.assert_close(torch.vmap(torch.func.grad(loss))(x), given.grad)


def test_compiles_in_one_graph() -> None:
    pyramid = gf.SteerablePyramidSpace((40, 40), order=1)
    x = image((2, 40, 40), torch.float32)

    def there_and_back(x: torch.Tensor) -> torch.Tensor:
        return pyramid.recon_pyr(pyramid(x), levels=[0, "residual_lowpass"])

    compiled = torch.compile(there_and_back, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x), there_and_back(x))
    given, other = x.clone().requires_grad_(), x.clone().requires_grad_()
    compiled(given).square().sum().backward()
    there_and_back(other).square().sum().backward()
    torch.testing.assert_close(given.grad, other.grad)


def test_opcheck() -> None:
    x = image((2, 20, 24), torch.float32)
    ops = torch.ops.genimg_fast
    for adjoint in (False, True):
        torch.library.opcheck(ops.space_analysis.default, (x, [0, 1, 3], 1, 1, 4, adjoint))
        coefficients = ops.space_analysis(x, [0, 1, 3], 1, 1, 4, adjoint)
        torch.library.opcheck(ops.space_synthesis.default, (coefficients, [0, 1, 3], 20, 24, 1, 1, 4, adjoint))


def test_never_reaches_the_reference(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError("the reference was called")

    monkeypatch.setattr(reference, "space_analysis", refuse)
    monkeypatch.setattr(reference, "space_synthesis", refuse)
    pyramid = gf.SteerablePyramidSpace((20, 20))
    pyramid.recon_pyr(pyramid(image((20, 20)).to(device.torch)))


def test_other_devices_get_the_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    pyramid = gf.SteerablePyramidSpace((40, 40), order=3)
    x = image((40, 40))
    coefficients = pyramid(x)
    again = pyramid.recon_pyr(coefficients, levels=[0])
    monkeypatch.setattr(_torch, "backend", lambda x: "reference")
    monkeypatch.setattr(_torch, "ops", None)
    for key, c in pyramid(x).items():
        torch.testing.assert_close(c, coefficients[key])
    torch.testing.assert_close(pyramid.recon_pyr(coefficients, levels=[0]), again)


def test_refuses_bad_tensors() -> None:
    pyramid = gf.SteerablePyramidSpace((20, 24), order=1)
    with pytest.raises(TypeError, match=r"x must be float16, bfloat16, float32 or float64, got torch.int64"):
        pyramid(torch.zeros(20, 24, dtype=torch.int64))
    with pytest.raises(TypeError, match=r"got torch.complex64"):
        pyramid(torch.zeros(20, 24, dtype=torch.complex64))
    with pytest.raises(ValueError, match=r"x must be \(\.\.\., 20, 24\), got \(24, 20\)"):
        pyramid(torch.zeros(24, 20))
    coefficients = pyramid(torch.zeros(2, 20, 24))
    with pytest.raises(ValueError, match=r"one dtype and device, got torch.float32 on cpu .* and torch.float64 on cpu"):
        pyramid.recon_pyr({**coefficients, (0, 1): coefficients[(0, 1)].double()})
    with pytest.raises(ValueError, match=r"got torch.float32 on cpu .* and torch.float32 on meta"):
        pyramid.recon_pyr({**coefficients, (0, 1): coefficients[(0, 1)].to("meta")})
    with pytest.raises(TypeError, match=r"one kind, got Tensor .* and ndarray"):
        pyramid.recon_pyr({**coefficients, (0, 1): np.zeros((2, 20, 24), np.float32)})
    with pytest.raises(ValueError, match=r"pyr_coeffs\[\(0, 1\)\] must have shape \(2, 20, 24\), got \(20, 24\)"):
        pyramid.recon_pyr({**coefficients, (0, 1): torch.zeros(20, 24)})
