"""Derivatives, torch.func and torch.compile."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

import genimg_fast as gf
from genimg_fast import _torch
from genimg_fast import reference as oracle

if TYPE_CHECKING:
    from conftest import Device

METHODS = ["value", "rank"]
SIZES = [((4, 5), (4, 5)), ((4, 5), (3, 3)), ((2, 3), (5, 6)), ((2, 3, 4), (2, 5, 2)), ((2, 3, 4), (3, 3))]


def _normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("image_size", "reference_size"), SIZES)
def test_gradient_to_the_reference(
    device: Device, method: str, image_size: tuple[int, ...], reference_size: tuple[int, ...]
) -> None:
    image = _normal(*image_size).to(device.torch)
    reference = _normal(*reference_size, seed=1).to(device.torch).requires_grad_()

    def matched(reference: torch.Tensor) -> torch.Tensor:
        return gf.match_histograms(image, reference, method=method)  # type: ignore[arg-type]

    assert gradcheck(matched, reference)
    assert gradgradcheck(matched, reference)
    assert gradgradcheck(lambda x: matched(x**3), reference)
    assert torch.equal(matched(reference).detach(), matched(reference.detach()))


@pytest.mark.parametrize("method", METHODS)
def test_gradient_with_masks_nan_and_ties(device: Device, method: str) -> None:
    image = _normal(2, 5, 6).to(device.torch).mul(2).round()
    image[0, 1, 2] = torch.nan
    mask = _normal(2, 5, 6, seed=2).to(device.torch) > -0.5
    reference = _normal(2, 4, 5, seed=1).to(device.torch)
    reference[1, 0, :2] = torch.nan
    reference_mask = _normal(2, 4, 5, seed=3).to(device.torch) > -0.5
    direction = _normal(2, 5, 6, seed=4).to(device.torch)
    reference.requires_grad_()
    matched = gf.match_histograms(image, reference, mask=mask, reference_mask=reference_mask, method=method)
    (grad,) = torch.autograd.grad(matched, reference, direction)
    arguments = (image, reference.detach(), mask, reference_mask, 2, METHODS.index(method))
    torch.testing.assert_close(grad, oracle.match_histograms_adjoint(direction, *arguments))
    assert (grad[~reference_mask | reference.isnan()] == 0).all()
    outside = ~mask | image.isnan()
    assert torch.equal(matched[outside].nan_to_num(5), image[outside].nan_to_num(5))
    tangent = _torch.ops().match_histograms_tangent(reference.detach().nan_to_num(0), *arguments)
    torch.testing.assert_close(tangent[~outside], matched[~outside])


def test_gradient_of_equal_reference_values_goes_to_the_last(device: Device) -> None:
    image = torch.tensor([[1.0, 2.0, 3.0]], device=device.torch)
    reference = torch.tensor([[5.0, 5.0, 5.0]], device=device.torch, requires_grad=True)
    gf.match_histograms(image, reference).sum().backward()
    assert reference.grad is not None
    assert reference.grad.tolist() == [[0, 0, 3]]
    reference.grad = None
    gf.match_histograms(image, reference, method="rank").sum().backward()
    assert reference.grad.tolist() == [[1, 1, 1]]


@pytest.mark.parametrize("method", METHODS)
def test_gradient_to_the_source(device: Device, method: str) -> None:
    image = _normal(3, 4).to(device.torch).requires_grad_()
    reference, direction = _normal(3, 4, seed=1).to(device.torch), _normal(3, 4, seed=2).to(device.torch)
    assert not gf.match_histograms(image, reference, method=method).requires_grad
    straight = gf.match_histograms(image, reference, method=method, source_gradient="straight-through")
    assert torch.equal(torch.autograd.grad(straight, image, direction)[0], direction)
    assert torch.equal(straight, gf.match_histograms(image.detach(), reference, method=method))
    with_reference = reference.clone().requires_grad_()
    only_reference = gf.match_histograms(image, with_reference, method=method)
    assert torch.autograd.grad(only_reference.sum(), image, allow_unused=True, retain_graph=True)[0] is None
    assert torch.autograd.grad(only_reference.sum(), with_reference)[0] is not None
    prepared = gf.HistogramReference(reference)
    straight = prepared.match(image, method=method, source_gradient="straight-through")
    assert torch.equal(torch.autograd.grad(straight, image, direction)[0], direction)


def test_gradients_of_converted_dtypes_and_lists(device: Device) -> None:
    image = [_normal(3, 4).half().to(device.torch), _normal(2, 5, 5).float().to(device.torch)]
    reference = [_normal(3, 4, seed=1).half().to(device.torch), _normal(5, 5, seed=2).float().to(device.torch)]
    for x in reference:
        x.requires_grad_()
    matched = gf.match_histograms(image, reference, method="rank")
    sum(x.sum() for x in matched).backward()
    assert all(x.grad is not None and x.grad.dtype == x.dtype for x in reference)
    torch.testing.assert_close(reference[1].grad, torch.full((5, 5), 2.0, device=device.torch))
    prepared = gf.HistogramReference(reference)  # of tensors that need a gradient: matched like the tensors
    assert prepared.match(image, method="rank")[1].requires_grad
    assert not gf.match_histograms(
        torch.zeros(2, 2, dtype=torch.uint8, device=device.torch), reference[1]
    ).requires_grad
    with pytest.raises(ValueError, match="out cannot be given where a gradient is needed"):
        gf.match_histograms(image[1], reference[1], out=torch.empty_like(image[1]))


@pytest.mark.parametrize("method", METHODS)
def test_vmap(method: str) -> None:
    image, reference = _normal(5, 2, 3, 4), _normal(5, 2, 4, 4, seed=1)
    mask = _normal(5, 2, 3, 4, seed=2) > 0

    def match(x: torch.Tensor, y: torch.Tensor, m: Any = None) -> torch.Tensor:
        return gf.match_histograms(x, y, method=method, mask=m)  # type: ignore[arg-type]

    assert torch.equal(torch.vmap(match)(image, reference), match(image, reference))
    assert torch.equal(torch.vmap(match)(image, reference, mask), match(image, reference, mask))
    assert torch.equal(torch.vmap(match, (1, None), 1)(image, reference[:1, 0]), match(image, reference[:1, 0]))
    by_reference = torch.vmap(match, (None, 0))(image[0], reference)
    assert torch.equal(by_reference, match(image[:1].expand_as(image), reference))
    planes = torch.vmap(torch.vmap(match))(image, reference)
    assert torch.equal(planes, match(image, reference))

    def loss(y: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        return match(x, y).pow(2).sum()

    grads = torch.vmap(torch.func.grad(loss))(reference, image)
    expected = torch.stack([torch.func.grad(loss)(y, x) for y, x in zip(reference, image, strict=True)])
    torch.testing.assert_close(grads, expected)
    jacobian = torch.func.jacrev(lambda y: match(image[0], y))(reference[0])
    torch.testing.assert_close(torch.einsum("...ijk,ijk->...", jacobian, reference[0]), match(image[0], reference[0]))


@pytest.mark.parametrize("method", METHODS)
def test_forward_mode(method: str) -> None:
    image, reference, along = _normal(3, 3), _normal(3, 4, seed=1), _normal(3, 4, seed=2)
    found = torch.func.jvp(lambda y: gf.match_histograms(image, y, method=method), (reference,), (along,))[1]
    jacobian = torch.func.jacrev(lambda y: gf.match_histograms(image, y, method=method))(reference)
    torch.testing.assert_close(found, torch.einsum("ijkl,kl->ij", jacobian, along))


def test_forward_mode_of_the_identity() -> None:
    image, reference, along = _normal(3, 3), _normal(3, 4, seed=1), _normal(3, 3, seed=2)
    straight = {"source_gradient": "straight-through"}
    for match in (
        lambda x: gf.match_histograms(x, reference, **straight),
        lambda x: gf.HistogramReference(reference).match(x, **straight),
    ):
        assert torch.equal(torch.func.jvp(match, (image,), (along,))[1], along)


@pytest.mark.parametrize("method", METHODS)
def test_compile(method: str) -> None:
    image, reference = _normal(2, 6, 7), _normal(2, 5, 5, seed=1)
    torch._dynamo.reset()

    def plain(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return gf.match_histograms(x + 1, y * 2, method=method).mul(3)  # type: ignore[arg-type]

    compiled = torch.compile(plain, fullgraph=True)
    assert torch.equal(compiled(image, reference), plain(image, reference))
    assert torch.equal(compiled(image[0], reference[0]), plain(image[0], reference[0]))
    grads = []
    for function in (plain, compiled):
        leaf = reference.clone().requires_grad_()
        function(image, leaf).square().sum().backward()
        grads.append(leaf.grad)
    torch.testing.assert_close(*grads)

    def bands(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        first, second = gf.match_histograms([x, x[0]], [y, y[0]], method=method)  # type: ignore[arg-type]
        return first.sum() + second.sum()

    torch.testing.assert_close(torch.compile(bands, fullgraph=True)(image, reference), bands(image, reference))


@pytest.mark.parametrize("masked", [False, True])
def test_operators_pass_opcheck(masked: bool) -> None:
    image, reference = _normal(4, 3, 5).float(), _normal(2, 4, 4, seed=1).float()
    mask, reference_mask = (x > 0 if masked else None for x in (image, reference))
    ops = torch.ops.genimg_fast
    torch.library.opcheck(ops.match_histograms, (image, reference, mask, reference_mask, 2, 1, False))
    # What takes no part is NaN there, which the checks that compare results take for a difference.
    checks = ["test_schema", "test_faketensor"] + ([] if masked else ["test_aot_dispatch_dynamic"])
    torch.library.opcheck(ops.sort_histograms, (reference, reference_mask, 2), test_utils=checks)
    masks = ([mask], [reference_mask]) if masked else ([], [])
    lists = ([image], [reference], *masks, 2, 0, False, [torch.empty_like(image)])
    torch.library.opcheck(ops.match_histograms_out, lists)
    both = (image[:2], reference, None if mask is None else mask[:2], reference_mask, 2, 0)
    torch.library.opcheck(ops.match_histograms_tangent, (reference, *both))
    torch.library.opcheck(ops.match_histograms_adjoint, (image[:2], *both))


@pytest.mark.parametrize("n_points", [(4, 4), (4, 3)])
@pytest.mark.parametrize("p", [1.5, 2])
def test_sliced_wasserstein_has_the_true_gradient(device: Device, n_points: tuple[int, int], p: float) -> None:
    x = _normal(2, n_points[0], 3).to(device.torch).requires_grad_()
    y = _normal(2, n_points[1], 3, seed=1).to(device.torch).requires_grad_()

    def loss(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return gf.sliced_wasserstein_loss(x, y, 4, seed=3, p=p)

    assert gradcheck(loss, (x, y))
    assert gradgradcheck(loss, (x, y))
    assert loss(x, x.detach()[:, :, [2, 0, 1]]).item() == pytest.approx(0, abs=1e-25)
    assert loss(x, y) == loss(x, y)
    assert loss(x, y) != gf.sliced_wasserstein_loss(x, y, 4, seed=4, p=p)
    assert loss(x, y) != gf.sliced_wasserstein_loss(x, y, 5, seed=3, p=p)


def test_sliced_wasserstein_is_the_distance_of_projected_histograms() -> None:
    x, y = _normal(2, 3, 8, 9), _normal(3, 8, 9, seed=1)
    directions = torch.randn(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    directions /= directions.norm(dim=1, keepdim=True)
    expected = ((directions @ x.flatten(2)).sort().values - (directions @ y.flatten(1)).sort().values).square().mean()
    loss = gf.sliced_wasserstein_loss(x, y, 5, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(loss, expected)
    one_channel = (x[:, :1].flatten(1).sort().values - y[:1].flatten(1).sort().values).abs().mean()
    torch.testing.assert_close(gf.sliced_wasserstein_loss(x[:, :1], y[:1], p=1), one_channel)
    arrays = gf.sliced_wasserstein_loss(x.numpy(), y.numpy(), 500, seed=0)
    assert arrays == gf.sliced_wasserstein_loss(x.numpy(), y.numpy(), 500, seed=0)
    many = gf.sliced_wasserstein_loss(x, y, 500, seed=0)
    assert float(arrays) == pytest.approx(float(many), rel=0.2)
