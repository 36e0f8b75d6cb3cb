"""Gram matrices and their losses against float64 lines."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from conftest import Device

import genimg_fast as gf
from genimg_fast import _torch, reference
from genimg_fast.gram import NORMALIZATIONS, REDUCTIONS

SHAPES = [(1, 1, 1, 1), (1, 1, 5, 7), (2, 3, 1, 1), (2, 13, 4, 9), (1, 40, 3, 5), (2, 33, 31, 67), (1, 16, 130, 80)]


def features(shape: tuple[int, ...], dtype: torch.dtype = torch.float32, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


@pytest.fixture
def make(device: Device) -> Callable[..., torch.Tensor]:
    """Return `features` on a device."""
    return lambda *arguments, **options: features(*arguments, **options).to(device.torch)


def expected(x: torch.Tensor, normalization: str) -> torch.Tensor:
    """Return the Gram matrix by the table of normalisations, in float64."""
    b, c, h, w = x.shape
    f = x.double().reshape(b, c, h * w)
    if normalization in ("wct", "optimal-textures"):
        f = f - f.mean(-1, keepdim=True)
    if normalization == "pytorch-tutorial":
        f = f.reshape(b * c, h * w)
    gram = f @ f.mT
    divisor = {
        "none": 1,
        "keras": 1,
        "chw": c * h * w,
        "jcjohnson": c * h * w,
        "neural-style-pt": c * h * w,
        "texture-nets": c * h * w,
        "pytorch-examples": c * h * w,
        "pytorch-tutorial": b * c * h * w,
        "wct": h * w - 1,
    }.get(normalization, h * w)
    gram = gram / divisor
    return gram + torch.eye(c, dtype=gram.dtype, device=gram.device) if normalization == "optimal-textures" else gram


def assert_near(actual: torch.Tensor, wanted: torch.Tensor, tolerance: float) -> None:
    assert actual.shape == wanted.shape
    actual, wanted = actual.cpu(), wanted.cpu()
    assert (actual.double() - wanted).abs().max() <= tolerance * wanted.abs().max().clamp(min=1e-30)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_normalizations(make, shape, normalization):
    if normalization == "wct" and shape[2] * shape[3] == 1:
        with pytest.raises(ValueError, match="divides by 0"):
            gf.gram_matrix(make(shape), normalization=normalization)
        return
    for dtype, tolerance in ((torch.float32, 3e-6), (torch.float64, 1e-13)):
        x = make(shape, dtype)
        want = expected(x, normalization)
        gram = gf.gram_matrix(x, normalization=normalization)
        assert gram.dtype == dtype
        assert_near(gram, want, tolerance)
        assert_near(torch.from_numpy(gf.gram_matrix(x.cpu().numpy(), normalization=normalization)), want, tolerance)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_types_are_summed_in_float32(make, dtype):
    x = (make((1, 5, 64, 64)) * 30 + 20).to(dtype)
    gram = gf.gram_matrix(x, normalization="none")
    assert gram.dtype == torch.float32
    assert gram.min() > 65504
    assert_near(gram, expected(x, "none"), 1e-5)
    if dtype == torch.float16:
        assert_near(torch.from_numpy(gf.gram_matrix(x.cpu().numpy(), normalization="none")), expected(x, "none"), 1e-5)


def test_half_special_values():
    bits = np.arange(1 << 16, dtype=np.uint16)
    x = bits.view(np.float16)
    x = x[np.isfinite(x)].astype(np.float16)
    got = gf.gram_matrix(x.reshape(-1, 1, 1, 1), normalization="none").ravel()
    np.testing.assert_array_equal(got, x.astype(np.float32) ** 2)
    special = np.array([np.inf, -np.inf, np.nan], np.float16).reshape(3, 1, 1, 1)
    got = gf.gram_matrix(special, normalization="none").ravel()
    assert got[0] == got[1] == np.inf
    assert np.isnan(got[2])


def test_means_far_from_zero(make):
    x = make((2, 9, 40, 30), torch.float64) + 1e4
    assert_near(
        gf.gram_matrix(x.float(), center=True), expected(x.float(), "optimal-textures").cpu() - torch.eye(9), 1e-5
    )


@pytest.mark.parametrize("center", [False, True])
@pytest.mark.parametrize("mask_normalization", ["pixels", "sum"])
@pytest.mark.parametrize("kind", ["one", "each", "boolean"])
def test_mask(make, center, mask_normalization, kind):
    x = make((2, 11, 23, 37), torch.float64)
    mask = torch.rand(*((2,) if kind == "each" else ()), 23, 37, dtype=torch.float64).to(x.device)
    if kind == "boolean":
        mask = mask > 0.4
    gram = gf.gram_matrix(x, mask=mask, mask_normalization=mask_normalization, center=center)
    m = mask.double().broadcast_to(2, 23, 37).flatten(1)[:, None]
    f = x.flatten(2)
    if center:
        f = f - (m**2 * f).sum(-1, keepdim=True) / (m**2).sum(-1, keepdim=True)
    want = (m * f) @ (m * f).mT / (23 * 37 if mask_normalization == "pixels" else m.sum(-1, keepdim=True))
    assert_near(gram, want, 1e-12)
    options = {"mask": mask.cpu().numpy(), "mask_normalization": mask_normalization, "center": center}
    assert_near(torch.from_numpy(gf.gram_matrix(x.cpu().numpy(), **options)), want, 1e-12)


@pytest.mark.parametrize("shift", [(0, 3), (2, 0), (-1, 4), (5, -6)])
def test_shift(make, shift):
    x = make((2, 6, 12, 15), torch.float64)
    gram = gf.gram_matrix(x, shift=shift)
    rows, columns = shift
    want = x.new_zeros(2, 6, 6)
    count = 0
    for r in range(12):
        for c in range(15):
            if 0 <= r + rows < 12 and 0 <= c + columns < 15:
                want += x[:, :, r, c, None] * x[:, None, :, r + rows, c + columns]
                count += 1
    assert_near(gram, want / count, 1e-12)


def test_other_layer(make):
    x, y = make((2, 6, 12, 15)), make((2, 21, 12, 15), seed=1)
    want = x.double().flatten(2) @ y.double().flatten(2).mT
    assert_near(gf.gram_matrix(x, other=y), want / 180, 1e-5)
    assert_near(gf.gram_matrix(x, other=y, normalization="chw"), want / 1080, 1e-5)
    got = gf.gram_matrix(x.cpu().numpy(), other=y.cpu().numpy())
    assert_near(torch.from_numpy(got), want / 180, 1e-5)


def test_layouts_give_the_same(make):
    x = make((2, 37, 40, 41))
    want = gf.gram_matrix(x)
    torch.testing.assert_close(gf.gram_matrix(x.to(memory_format=torch.channels_last)), want, rtol=0, atol=1e-6)
    last = np.ascontiguousarray(np.moveaxis(x.cpu().numpy(), 1, -1))
    np.testing.assert_allclose(gf.gram_matrix(last, channel_axis=-1), want.cpu().numpy(), atol=1e-6)
    flipped = x.cpu().numpy()[..., ::-1, ::-1]
    np.testing.assert_allclose(gf.gram_matrix(flipped), want.cpu().numpy(), atol=1e-6)
    padded = torch.nn.functional.pad(x, (2, 1, 3, 0))
    torch.testing.assert_close(gf.gram_matrix(padded[..., 3:, 2:-1]), want, rtol=0, atol=1e-6)
    torch.testing.assert_close(gf.gram_matrix(x.flatten(2), spatial_dims=1), want, rtol=0, atol=1e-6)
    torch.testing.assert_close(gf.gram_matrix(x[0].flatten(1)), want[0], rtol=0, atol=1e-6)
    torch.testing.assert_close(gf.gram_matrix(x[:1].expand(3, -1, -1, -1))[2], want[0], rtol=0, atol=1e-6)
    swapped = x.cpu().numpy().astype(">f4")
    np.testing.assert_allclose(gf.gram_matrix(swapped), want.cpu().numpy(), atol=1e-6)


def test_allow_tf32(make, device):
    """On CUDA factors of products are rounded to 10 bits of mantissa; elsewhere nothing changes."""
    x = make((1, 20, 15, 16))
    exact, rounded = gf.gram_matrix(x), gf.gram_matrix(x, allow_tf32=True)
    assert torch.equal(exact, rounded) == (device.name == "cpu")
    assert_near(rounded, expected(x, "hw"), 1e-3)
    gradients = []
    for allow_tf32 in (False, True):
        y = x.clone().requires_grad_()
        gf.gram_loss(y, torch.zeros_like(exact), allow_tf32=allow_tf32).backward()
        gradients.append(y.grad)
    assert torch.equal(*gradients) == (device.name == "cpu")
    assert_near(gradients[1], gradients[0], 2e-3)


def test_symmetric_and_same_bits_for_any_number_of_threads():
    x = features((1, 70, 150, 160))
    before = torch.get_num_threads()
    grams, gradients = [], []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        y = x.clone().requires_grad_()
        grams.append(gf.gram_matrix(y))
        grams[-1].square().sum().backward()
        gradients.append(y.grad)
    torch.set_num_threads(before)
    assert torch.equal(grams[0], grams[0].mT)
    assert all(torch.equal(grams[0], g) for g in grams)
    assert all(torch.equal(gradients[0], g) for g in gradients)


FEW = [1, 2, 3, 4, 5, 8, 12, 15, 16, 17]  # channels of which planes are multiplied where they lie, and one more
PARTS = [  # of maps: flat, with rows that are far enough apart to be taken one by one, and that are not
    lambda x: x,
    lambda x: x[..., 2:-1, 3:-7],
    lambda x: x[..., :40],
    lambda x: x[..., ::2],
    lambda x: x[:, ::2],
]


@pytest.mark.parametrize("channels", FEW)
@pytest.mark.parametrize("part", range(len(PARTS)))
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 3e-6), (torch.float64, 1e-13)])
def test_few_channels(make, channels, part, dtype, tolerance):
    x = PARTS[part](make((2, 2 * channels if part == 4 else channels, 67, 193), dtype))
    y = PARTS[part](make((2, 14 if part == 4 else 7, 67, 193), dtype, 1))
    assert_near(
        gf.gram_matrix(x, normalization="none"), torch.einsum("bihw,bjhw->bij", x.double(), x.double()), tolerance
    )
    product = _torch.ops().gram_product(x, y, None, False, 0.5, False)
    assert_near(product, torch.einsum("bihw,bjhw->bij", x.double(), y.double()) / 2, tolerance)
    for rows in (1, 4, 7, 16, 18):
        matrix = make((2, rows, channels), dtype, 2)
        applied = _torch.ops().gram_apply(matrix, x, None, False, False, 0.5, False)
        assert_near(applied, torch.einsum("bij,bjhw->bihw", matrix.double(), x.double()) / 2, tolerance)


@pytest.mark.parametrize("channels", [3, 16])
def test_few_channels_give_the_same_bits_for_any_batch_and_number_of_threads(channels):
    x = features((5, channels, 131, 257))
    matrix = features((5, channels, channels), seed=1)

    def results(x, matrix):
        return gf.gram_matrix(x), _torch.ops().gram_apply(matrix, x, None, False, False, 0.5, False)

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    together = results(x, matrix)
    torch.set_num_threads(3)
    for i in range(5):
        for alone, whole in zip(results(x[i : i + 1], matrix[i : i + 1]), together, strict=True):
            assert torch.equal(alone[0], whole[i])
    torch.set_num_threads(before)


OPTIONS = [
    {},
    {"center": True},
    {"mask": torch.linspace(0, 1, 20, dtype=torch.float64).reshape(4, 5)},
    {"shift": (1, -2)},
]


@pytest.mark.parametrize("index", range(len(OPTIONS)))
@pytest.mark.parametrize("normalization", ["chw", "pytorch-tutorial", "wct"])
def test_first_and_second_derivatives(make, index, normalization):
    options = OPTIONS[index]
    if normalization == "pytorch-tutorial" and {"mask", "shift"} & set(options):
        pytest.skip("refused: test_arguments")
    x = make((2, 3, 4, 5), torch.float64).requires_grad_()

    def function(x):
        return gf.gram_matrix(x, normalization=normalization, **options)

    assert torch.autograd.gradcheck(function, x)
    assert torch.autograd.gradgradcheck(function, x)


def test_derivatives_of_two_layers(make):
    x, y = (make((1, c, 4, 5), torch.float64, c).requires_grad_() for c in (2, 3))
    for center in (False, True):
        assert torch.autograd.gradcheck(lambda x, y: gf.gram_matrix(x, other=y, center=center), (x, y))  # noqa: B023
        assert torch.autograd.gradgradcheck(lambda x, y: gf.gram_matrix(x, other=y, center=center), (x, y))  # noqa: B023


AREA = 77


def loss_lines(x, target, reduction):
    d = x.flatten(2) @ x.flatten(2).mT / (x.shape[-2] * x.shape[-1]) - target
    c = x.shape[1]
    return {
        "mean": (d**2).mean(),
        "sum": (d**2).sum(),
        "gatys-deeptextures": (d**2).sum() / 4 / c**2,
        "gatys-pytorch": (d**2).mean() * 1e3 / c**2,
        "keras": (d**2).sum() / (4 * 9 * AREA**2),
        "crowsonkb": (d**2).sum() / (d.abs().sum() + 1e-8),
    }[reduction]


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_loss_and_its_gradient(make, reduction):
    layers = [make((2, c, 9, 10), torch.float64, c).requires_grad_() for c in (5, 12)]
    targets = [gf.gram_matrix(make((2, c, 9, 10), torch.float64, c + 1)) for c in (5, 12)]
    weights = (0.3, 2.0)
    loss = gf.gram_loss(layers, targets, reduction=reduction, weights=weights, area=AREA)
    want = sum(w * loss_lines(x, t, reduction) for w, x, t in zip(weights, layers, targets, strict=True))
    torch.testing.assert_close(loss, want, rtol=1e-12, atol=0)
    got, wanted = torch.autograd.grad(loss, layers), torch.autograd.grad(want, layers)
    for a, b in zip(got, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-13)
    arrays = [x.detach().cpu().numpy() for x in layers]
    np.testing.assert_allclose(
        gf.gram_loss(arrays, [t.cpu().numpy() for t in targets], reduction=reduction, weights=weights, area=AREA),
        want.item(),
    )


def test_gatys_formula_and_relu(make):
    x = make((1, 6, 8, 8), torch.float64).relu().requires_grad_()
    target = gf.gram_matrix(make((1, 6, 8, 8), torch.float64, 1).relu(), normalization="none")
    loss = gf.gram_loss(x, target, normalization="none", reduction="sum", relu=True)
    (gradient,) = torch.autograd.grad(loss, x, create_graph=True)
    f = x.detach().flatten(2)
    want = (4 * (f @ f.mT - target) @ f).reshape(x.shape)
    want[x.detach() == 0] = 0
    torch.testing.assert_close(gradient, want, rtol=1e-12, atol=1e-12)
    assert (gradient[x == 0] == 0).all()
    inner = make((1, 6, 8, 8), torch.float64)  # the derivative of the gated gradient, where the gate does not move

    def gated(z):
        z = torch.where(inner > 0, z, 0)
        return torch.autograd.grad(gf.gram_loss(z, target, normalization="none", reduction="sum"), z, create_graph=True)

    z = inner.clone().requires_grad_()
    (a,) = torch.autograd.grad((gated(z)[0] * (inner > 0)).sum(), z)
    y = inner.relu().requires_grad_()
    loss = gf.gram_loss(y, target, normalization="none", reduction="sum", relu=True)
    (b,) = torch.autograd.grad(torch.autograd.grad(loss, y, create_graph=True)[0].sum(), y)
    torch.testing.assert_close(torch.where(inner > 0, b, 0), a, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("reduction", ["sum", "crowsonkb"])
def test_second_derivatives_of_the_loss(make, reduction):
    x = make((2, 3, 4, 5), torch.float64).requires_grad_()
    target = make((3, 3), torch.float64, 1)  # not symmetric, one for the batch

    def function(x):
        return gf.gram_loss(x, target.expand(2, 3, 3), reduction=reduction, normalization="chw")

    assert torch.autograd.gradcheck(function, x)
    assert torch.autograd.gradgradcheck(function, x)
    torch.testing.assert_close(gf.gram_loss(x, target, reduction=reduction, normalization="chw"), function(x))


@pytest.mark.parametrize("mask_normalization", ["pixels", "sum"])
@pytest.mark.parametrize("normalization", ["hw", "optimal-textures"])
def test_loss_of_masked_and_of_centred_layers(make, mask_normalization, normalization):
    x = make((2, 5, 9, 10), torch.float64)
    mask = torch.rand(9, 10, dtype=torch.float64).to(x.device)
    options = {"mask": mask, "mask_normalization": mask_normalization, "normalization": normalization}
    target = make((2, 5, 5), torch.float64, 1)
    want = (gf.gram_matrix(x, **options) - target).square().mean()
    torch.testing.assert_close(gf.gram_loss(x, target, **options), want, rtol=1e-12, atol=0)
    options["mask"] = mask.cpu().numpy()
    np.testing.assert_allclose(gf.gram_loss(x.cpu().numpy(), target.cpu().numpy(), **options), want.item(), rtol=1e-12)


def test_loss_of_half_types_does_not_overflow(make):
    x = (make((1, 5, 64, 64)) * 30 + 20).half().requires_grad_()
    target = torch.zeros(5, 5, device=x.device)
    loss = gf.gram_loss(x, target, normalization="none", reduction="mean")
    want = expected(x.detach(), "none").square().mean()
    torch.testing.assert_close(loss.double(), want, rtol=1e-4, atol=0)
    assert loss.dtype == torch.float32


def test_half_gradient(make):
    x = make((1, 4, 6, 7), torch.bfloat16).requires_grad_()
    gf.gram_matrix(x).square().sum().backward()
    y = x.detach().double().requires_grad_()
    gf.gram_matrix(y).square().sum().backward()
    assert x.grad.dtype == torch.bfloat16
    assert_near(x.grad, y.grad, 1e-2)


@pytest.mark.filterwarnings("ignore:There is a performance drop")  # the harness' operators have no batching rule
def test_vmap_and_functional(make):
    x = make((3, 2, 4, 5, 6), torch.float64)
    mask = torch.rand(3, 5, 6, dtype=torch.float64).to(x.device)
    want = torch.stack([gf.gram_matrix(z, mask=m, center=True) for z, m in zip(x, mask, strict=True)])
    got = torch.func.vmap(lambda z, m: gf.gram_matrix(z, mask=m, center=True))(x, mask)
    torch.testing.assert_close(got, want)
    grad = torch.func.vmap(torch.func.grad(lambda z: gf.gram_matrix(z).square().sum()))(x)
    y = x.clone().requires_grad_()
    gf.gram_matrix(y).square().sum().backward()
    torch.testing.assert_close(grad, y.grad)


def test_compile():
    @torch.compile(fullgraph=True, backend="aot_eager")
    def step(x, target):
        return gf.gram_loss(x, target, normalization="chw")

    x, target = features((2, 4, 5, 6)), torch.zeros(2, 4, 4)
    y, z = x.clone().requires_grad_(), x.clone().requires_grad_()
    step(y, target).backward()
    gf.gram_loss(z, target, normalization="chw").backward()
    torch.testing.assert_close(y.grad, z.grad)


def test_operators():
    x, y, f, m = features((2, 3, 4, 5)), features((2, 6, 4, 5)), torch.rand(1, 4, 5), features((2, 7, 3))
    for other in (None, y):
        for center in (False, True):
            torch.library.opcheck(torch.ops.genimg_fast.gram_product.default, (x, other, f, center, 0.5, False))
    for target in (x.new_ones(1, 3, 3), x.new_ones(2, 3, 3)):
        torch.library.opcheck(torch.ops.genimg_fast.gram_difference.default, (x, target, f, True, 0.5, False))
    torch.library.opcheck(torch.ops.genimg_fast.gram_moments.default, (x, f, 0.5, False))
    torch.library.opcheck(torch.ops.genimg_fast.gram_apply.default, (m, x, f, True, False, 0.5, False))


@pytest.mark.parametrize("shape", [(2, 13, 4, 9), (1, 40, 3, 5), (2, 33, 31, 67)])
def test_kernels_equal_the_reference(make, shape):
    x = make(shape, torch.float64)
    factors = torch.rand(1, *shape[2:], dtype=torch.float64).to(x.device)
    matrix = make((shape[0], 7, shape[1]), torch.float64, 3)
    for center in (False, True):
        got = _torch.ops().gram_product(x, None, factors, center, 0.5, False)
        torch.testing.assert_close(got, reference.gram_product(x, None, factors, center, 0.5), rtol=1e-11, atol=1e-11)
        got = _torch.ops().gram_apply(matrix, x, factors, center, False, 0.5, False)
        torch.testing.assert_close(
            got, reference.gram_apply(matrix, x, factors, center, False, 0.5), rtol=1e-11, atol=1e-11
        )
    for got, want in zip(
        _torch.ops().gram_moments(x, factors, 0.5, False), reference.gram_moments(x, factors, 0.5), strict=True
    ):
        torch.testing.assert_close(got, want, rtol=1e-11, atol=1e-11)
    square = make((shape[0], shape[1], shape[1]), torch.float64, 4)
    for target in (square, square[:1]):
        for got, want in zip(
            _torch.ops().gram_difference(x, target, factors, True, 0.5, False),
            reference.gram_difference(x, target, factors, True, 0.5),
            strict=True,
        ):
            torch.testing.assert_close(got, want, rtol=1e-11, atol=1e-11)
    torch.testing.assert_close(
        _torch.ops().gram_apply(square, x, factors, False, True, 0.5, False),
        reference.gram_apply(square, x, factors, False, True, 0.5),
        rtol=1e-11,
        atol=1e-11,
    )


def test_no_call_comes_to_the_reference(make, monkeypatch):
    def refuse(*args):
        raise AssertionError("the reference ran")

    monkeypatch.setattr(reference, "gram_product", refuse)
    monkeypatch.setattr(reference, "gram_moments", refuse)
    monkeypatch.setattr(reference, "gram_difference", refuse)
    monkeypatch.setattr(reference, "gram_apply", refuse)
    gf.gram_loss(make((2, 3, 4, 5)).requires_grad_(), make((3, 3))).backward()
    gf.gram_matrix(make((2, 3, 4, 5)).requires_grad_(), center=True).sum().backward()


def test_empty_batch(make):
    assert gf.gram_matrix(make((0, 3, 4, 5))).shape == (0, 3, 3)
    assert gf.gram_matrix(np.zeros((0, 3, 4, 5), np.float32)).shape == (0, 3, 3)


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        (([1.0],), {}, TypeError, "numpy.ndarray or a torch.Tensor, got list"),
        ((torch.zeros(2, 3, 4, dtype=torch.int32),), {}, TypeError, "real floating dtype"),
        ((np.zeros((2, 3, 4), complex),), {}, TypeError, "real floating dtype"),
        ((torch.zeros(3),), {}, ValueError, r"\(\.\.\., C, H, W\) or \(C, P\), got the shape \(3,\)"),
        ((torch.zeros(2, 0, 4),), {}, ValueError, "channels and pixels"),
        ((torch.zeros(2, 3, 4),), {"normalization": "wh"}, ValueError, "one of 'none', 'hw'.*got 'wh'"),
        ((torch.zeros(2, 3, 4),), {"mask_normalization": "x"}, ValueError, "'pixels', 'sum', got 'x'"),
        ((torch.zeros(2, 3, 4),), {"mask": torch.zeros(3, 5)}, ValueError, r"broadcast to \(3, 4\), got .*\(3, 5\)"),
        ((torch.zeros(2, 3, 4),), {"shift": (3, 0)}, ValueError, "less than the 3x4 pixels"),
        ((torch.zeros(2, 3, 4),), {"shift": (1, 0), "mask": torch.zeros(3, 4)}, ValueError, "mask and shift"),
        ((torch.zeros(2, 3, 4),), {"spatial_dims": 3}, ValueError, "1 or 2, got 3"),
        ((torch.zeros(2, 3, 4),), {"channel_axis": 3}, ValueError, "an axis of"),
        ((torch.zeros(2, 3, 4),), {"other": np.zeros((2, 3, 4))}, TypeError, "kind, dtype and device"),
        ((torch.zeros(2, 3, 4),), {"other": torch.zeros(2, 3, 5)}, ValueError, r"pixels \(3, 4\) and leading axes"),
        ((torch.zeros(2, 3, 4),), {"normalization": "pytorch-tutorial", "shift": (1, 1)}, ValueError, "takes no mask"),
    ],
)
def test_arguments(arguments, options, error, message):
    with pytest.raises(error, match=message):
        gf.gram_matrix(*arguments, **options)


def test_loss_arguments():
    x = torch.zeros(2, 3, 4)
    with pytest.raises(ValueError, match="of one length, got 2, 1 and 2"):
        gf.gram_loss([x, x], [torch.zeros(2, 2)])
    with pytest.raises(ValueError, match=r"must be \(2, 2\).*got \(3, 3\)"):
        gf.gram_loss(x, torch.zeros(3, 3))
    with pytest.raises(ValueError, match="reduction must be one of 'mean'"):
        gf.gram_loss(x, torch.zeros(2, 2), reduction="average")
    with pytest.raises(ValueError, match="needs area, the number of pixels of the picture, got None"):
        gf.gram_loss(x, torch.zeros(2, 2), reduction="keras")
    with pytest.raises(ValueError, match="relu and centred"):
        gf.gram_loss(x, torch.zeros(2, 2), relu=True, center=True)
