"""All views of a picture and the average over them, against float64 lines."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from multiview_cases import SHAPES, Lines, names_for, normal

import genimg_fast as gf
from genimg_fast import _torch, reference

TOLERANCES = {torch.float32: 2e-6, torch.float64: 1e-14, torch.float16: 4e-3, torch.bfloat16: 4e-2}
GUIDED = (7.0, None)


def views_of(shape: tuple[int, int, int]) -> gf.Views:
    return gf.Views(names_for(shape), shape)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", TOLERANCES)
def test_apply(device, shape, dtype):
    views = views_of(shape)
    x = normal(2, *shape, dtype=dtype)
    for copies in (1, 2):
        stack = gf.apply_views(x.to(device.torch), views, copies=copies)
        assert stack.dtype == dtype
        assert torch.equal(stack.cpu(), Lines(views).stack(x, copies).to(dtype))
    one = gf.apply_views(x[0].to(device.torch), views)
    assert torch.equal(one, gf.apply_views(x[:1].to(device.torch), views))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("guidance", [7.0, None, "each"])
@pytest.mark.parametrize("has_variance", [False, True])
def test_reduce(device, shape, guidance, has_variance):
    views = views_of(shape)
    if guidance == "each":
        guidance = [1.0 + i for i in range(len(views))]
    rows = len(views) * 2 * (1 if guidance is None else 2)
    for dtype, tolerance in TOLERANCES.items():
        stack = normal(rows, shape[0] * (1 + has_variance), *shape[1:], dtype=dtype)
        noises, variances = Lines(views).predictions(stack, guidance)
        got = gf.reduce_views(stack.to(device.torch), views, guidance)
        noise, variance = got if has_variance else (got, None)
        scale = tolerance * (1 if guidance is None else 20)
        assert noise.dtype == dtype
        assert torch.allclose(noise.cpu().double(), sum(noises) / len(views), rtol=scale, atol=scale)
        if has_variance:
            assert torch.allclose(variance.cpu().double(), sum(variances) / len(views), rtol=tolerance, atol=tolerance)


def test_reductions_and_weights(device):
    shape = (3, 20, 20)
    views = gf.Views(["identity", "rotate_cw", "negate"], shape)
    stack = normal(12, 6, 20, 20)
    noises, variances = Lines(views).predictions(stack, 3.0)
    on = stack.to(device.torch)

    def check(got, noise, variance):
        for one, wanted in zip(got, (noise, variance), strict=True):
            assert torch.allclose(one.cpu(), wanted, rtol=1e-13, atol=1e-13)

    check(gf.reduce_views(on, views, 3.0, reduce="sum"), sum(noises), sum(variances) / 3)
    weights = [1.0, 2.0, 5.0]
    weighted = [sum(w * x for w, x in zip(weights, xs, strict=True)) for xs in (noises, variances)]
    check(gf.reduce_views(on, views, 3.0, weights), weighted[0] / 8, weighted[1] / 8)
    check(gf.reduce_views(on, views, 3.0, weights, "sum"), weighted[0], weighted[1] / 8)
    for step in range(4):
        check(gf.reduce_views(on, views, 3.0, reduce="alternate", step=step), noises[step % 3], variances[step % 3])


def test_alternate_does_not_read_the_other_views(device):
    views = gf.Views(["identity", "flip"], (1, 4, 4))
    stack = normal(2, 1, 4, 4).to(device.torch)
    stack[1] = torch.nan
    assert gf.reduce_views(stack, views, None, reduce="alternate", step=0).isfinite().all()


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_arrays_give_what_tensors_give(dtype):
    views = views_of((3, 21, 21))
    x = normal(2, 3, 21, 21).numpy().astype(dtype)
    stack = gf.apply_views(x, views, copies=2)
    assert isinstance(stack, np.ndarray)
    assert np.array_equal(stack, gf.apply_views(torch.from_numpy(x), views, copies=2).numpy())
    noise, variance = gf.reduce_views(np.concatenate((stack, stack), 1), views, 2.0)
    assert noise.dtype == variance.dtype == dtype
    tensors = gf.reduce_views(torch.from_numpy(np.concatenate((stack, stack), 1)), views, 2.0)
    for array, tensor in zip((noise, variance), tensors, strict=True):
        assert np.array_equal(array, tensor.numpy())


def test_strides(device):
    views = gf.Views(["identity", "rotate_cw"], (3, 8, 8))
    wide = normal(2, 3, 8, 16).to(device.torch)
    for x in (wide[..., ::2], wide[..., :8].to(memory_format=torch.channels_last)):
        assert torch.equal(gf.apply_views(x, views), gf.apply_views(x.contiguous(), views))
        assert torch.equal(gf.reduce_views(x, views, None), gf.reduce_views(x.contiguous(), views, None))


def test_out(device):
    views = gf.Views(["identity", "rotate_cw"], (3, 8, 8))
    x = normal(2, 3, 8, 8).to(device.torch)
    out = torch.full((8, 3, 8, 8), torch.nan, dtype=x.dtype, device=x.device)
    assert gf.apply_views(x, views, copies=2, out=out) is out
    assert torch.equal(out, gf.apply_views(x, views, copies=2))
    both = torch.cat([out, out], 1)
    results = torch.empty_like(x), torch.empty_like(x)
    gf.reduce_views(both, views, out=results)
    for got, wanted in zip(results, gf.reduce_views(both, views), strict=True):
        assert torch.equal(got, wanted)
    array = np.empty((4, 3, 8, 8))
    assert gf.apply_views(x.cpu().numpy(), views, out=array) is array
    assert np.array_equal(array, gf.apply_views(x.cpu().numpy(), views))
    with pytest.raises(ValueError, match=r"out must be .*\(4, 3, 8, 8\).*got \(2, 3, 8, 8\)"):
        gf.apply_views(x, views, out=torch.empty_like(x))
    with pytest.raises(ValueError, match=r"out must be .*\(4, 3, 8, 8\)"):
        gf.apply_views(x.cpu().numpy(), views, out=np.empty((4, 3, 8, 8), np.float32))
    with pytest.raises(ValueError, match="pair"):
        gf.reduce_views(both, views, out=results[0])
    with pytest.raises(ValueError, match="gradient"):
        gf.apply_views(x.requires_grad_(), views, copies=2, out=out)


def test_large_results_past_the_caches():
    # More than 8 MiB, with rows of whole lines of the cache, take other stores.
    shape = (3, 256, 256)
    views = gf.Views(["identity", "rotate_180", "rotate_cw", "skew", "hflip", "flip"], shape)
    x = normal(2, *shape, dtype=torch.float32)
    assert torch.equal(gf.apply_views(x, views, copies=2), Lines(views).stack(x, 2).float())


def test_skew_of_any_slope(device):
    for slope in (0.0, 0.3, 1.5, 7.25, -40.0):
        views = gf.Views([gf.view("skew", slope=slope)], (1, 70, 50))
        x = normal(1, 1, 70, 50, dtype=torch.float32)
        shifts = [int(slope * (column - 25)) for column in range(50)]
        wanted = torch.stack([torch.roll(x[..., column], s, -1) for column, s in enumerate(shifts)], -1)
        assert torch.equal(gf.apply_views(x.to(device.torch), views).cpu(), wanted)


def test_channels_move_and_turn_their_signs(device):
    order = gf.view("permute_channels", order=(2, 0, 1)) @ "negate"
    views = gf.Views([order, "identity"], (3, 6, 6))
    x = normal(1, 3, 6, 6)
    stack = gf.apply_views(x.to(device.torch), views).cpu()
    assert torch.equal(stack[:1], -x[:, [2, 0, 1]])
    noise, variance = gf.reduce_views(torch.cat([stack, stack], 1).to(device.torch), views, None)
    assert torch.allclose(noise.cpu(), x)
    assert torch.allclose(variance.cpu(), torch.zeros_like(x))  # the variance keeps its sign: -x and x


def test_views_that_are_no_permutations(device):
    views = gf.Views(["identity", gf.view("hadamard", patch=4), "rotate_180"], (2, 8, 8))
    if not views.dense:
        pytest.fail("a Hadamard transform is no permutation")
    x = normal(3, 2, 8, 8).to(device.torch)
    stack = gf.apply_views(x, views, copies=2)
    parts = stack.reshape(2, 3, 3, 2, 8, 8)
    for i in range(3):
        for copy in range(2):
            assert torch.allclose(parts[copy, i], views[i].apply(x), atol=1e-12)
    assert torch.allclose(gf.reduce_views(stack, views, 5.0), x, atol=1e-12)
    both = torch.cat([stack, stack], 1)
    noise, variance = gf.reduce_views(both, views, 5.0)
    assert torch.allclose(noise, x, atol=1e-12)
    wanted = sum(views[i].variance(parts[1, i]) for i in range(3)) / 3
    assert torch.allclose(variance, wanted, atol=1e-12)
    array = gf.reduce_views(both.cpu().numpy(), views, 5.0)
    assert np.allclose(array[0], x.cpu().numpy(), atol=1e-12)


def test_components_are_to_be_summed():
    views = gf.Views(["hybrid_low", "hybrid_high"], (1, 16, 16))
    assert views.factorized
    stack = gf.apply_views(normal(1, 1, 16, 16), views)
    with pytest.warns(UserWarning, match="reduce='sum'"):
        gf.reduce_views(stack, views, None)
    assert torch.allclose(gf.reduce_views(stack, views, None, reduce="sum"), stack[:1], atol=1e-12)


@pytest.mark.parametrize("guidance", GUIDED)
def test_derivatives(device, guidance):
    views = gf.Views(["identity", "rotate_cw", "skew", "negate", "rotate_180"], (2, 5, 5))
    x = normal(2, 2, 5, 5).to(device.torch).requires_grad_()
    stack = normal(len(views) * 2 * (1 if guidance is None else 2), 4, 5, 5).to(device.torch).requires_grad_()
    apply = lambda z: gf.apply_views(z, views, copies=2).square()  # noqa: E731
    reduce = lambda z: [one.square() for one in gf.reduce_views(z, views, guidance, [1, 2, 3, 4, 5])]  # noqa: E731
    for function, at in ((apply, x), (reduce, stack)):
        assert torch.autograd.gradcheck(function, at, fast_mode=True)
        assert torch.autograd.gradgradcheck(function, at, fast_mode=True)


def test_vmap_and_functional(device):
    views = gf.Views(["identity", "rotate_cw"], (3, 6, 6))
    x = normal(4, 2, 3, 6, 6).to(device.torch)
    stacks = torch.func.vmap(lambda z: gf.apply_views(z, views, copies=2))(x)
    assert torch.equal(stacks, torch.stack([gf.apply_views(one, views, copies=2) for one in x]))
    for stack in (stacks, torch.cat([stacks, 2 * stacks], 2)):
        got = torch.func.vmap(lambda z: gf.reduce_views(z, views))(stack)
        wanted = [gf.reduce_views(one, views) for one in stack]
        if isinstance(got, tuple):
            got, wanted = torch.stack(got), [torch.stack(pair) for pair in wanted]
            assert torch.equal(got, torch.stack(wanted, 1))
        else:
            assert torch.equal(got, torch.stack(wanted))
    grad = torch.func.vmap(torch.func.grad(lambda z: gf.apply_views(z, views).square().sum()))(x)
    assert torch.allclose(grad, 4 * x)


def test_compile():
    views = gf.Views(["identity", "rotate_cw", "skew"], (3, 16, 16))
    x = normal(2, 3, 16, 16, dtype=torch.float32)
    apply = torch.compile(lambda z: gf.apply_views(z, views, copies=2), fullgraph=True, backend="aot_eager")
    reduce = torch.compile(lambda z: gf.reduce_views(z, views), fullgraph=True, backend="aot_eager")
    stack = gf.apply_views(x, views, copies=2)
    assert torch.equal(apply(x), stack)
    assert torch.equal(reduce(stack), gf.reduce_views(stack, views))
    apply(x.requires_grad_()).sum().backward()
    assert torch.allclose(x.grad, torch.full_like(x, 6))


def test_opcheck():
    views = gf.Views(["identity", "rotate_cw", "skew"], (3, 16, 16))
    (forward, inverse), x = views.on("cpu"), normal(2, 3, 16, 16)
    stack = gf.apply_views(x, views, copies=2)
    weights, k = torch.ones(3, 3, dtype=torch.float64), torch.rand(10, dtype=torch.float64)
    both = torch.cat([stack, stack], 1)
    ops = torch.ops.genimg_fast
    calls = [
        (ops.multiview_apply.default, (x, *forward, 2, None)),
        (ops.multiview_apply_out.default, (x, *forward, 2, None, stack)),
        (ops.multiview_reduce.default, (both, *inverse, weights, True, 3)),
        (ops.multiview_reduce.default, (stack, *inverse, weights, True, 3)),
        (ops.multiview_reduce_out.default, (both, *inverse, weights, True, x.clone(), x.clone())),
        (ops.multiview_step.default, (x, both, x, *inverse, weights, True, k, 0)),
        (ops.multiview_step_out.default, (x, both, None, *inverse, weights, True, k, 1, x.clone())),
    ]
    for op, arguments in calls:
        torch.library.opcheck(op, arguments)


def test_same_bits_for_any_number_of_threads():
    views = gf.Views(["identity", "rotate_cw", "skew", "inner_circle"], (3, 200, 200))
    x = normal(3, 3, 200, 200, dtype=torch.float32)
    stack = normal(24, 6, 200, 200, dtype=torch.float32)
    threads = torch.get_num_threads()
    results = []
    try:
        for n in (1, 2, 3):
            torch.set_num_threads(n)
            results.append([gf.apply_views(x, views), *gf.reduce_views(stack, views)])
    finally:
        torch.set_num_threads(threads)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


def test_kernels_run_and_not_the_reference(device, monkeypatch):
    def fail(*_):
        raise AssertionError("the reference was called")

    for name in ("multiview_apply", "multiview_reduce", "multiview_step"):
        monkeypatch.setattr(reference, name, fail)
    views = gf.Views(["identity", "rotate_cw"], (3, 8, 8))
    stack = gf.apply_views(normal(1, 3, 8, 8).to(device.torch), views, copies=2)
    gf.reduce_views(stack, views)


def test_reference_is_the_specification(device, monkeypatch):
    shape = (3, 12, 12)
    views = views_of(shape)
    x = normal(2, *shape).to(device.torch)
    stack = normal(4 * len(views), 6, 12, 12).to(device.torch)
    wanted = [gf.apply_views(x, views), *gf.reduce_views(stack, views)]
    out = torch.empty_like(wanted[0])
    monkeypatch.setattr(_torch, "backend", lambda x: "reference")
    got = [gf.apply_views(x, views, out=out), *gf.reduce_views(stack, views)]
    for one, other in zip(got, wanted, strict=True):
        assert torch.allclose(one, other, atol=1e-12)


def test_errors():
    views = gf.Views(["identity", "flip"], (3, 8, 8))
    x = normal(2, 3, 8, 8)
    with pytest.raises(TypeError, match=r"x must be a numpy.ndarray or a torch.Tensor, got list"):
        gf.apply_views([1.0], views)
    with pytest.raises(TypeError, match=r"x must be of a real floating dtype, got torch.int64"):
        gf.apply_views(x.long(), views)
    with pytest.raises(ValueError, match=r"x must be \(B, 3, 8, 8\), got \(2, 4, 8, 8\)"):
        gf.apply_views(normal(2, 4, 8, 8), views)
    with pytest.raises(ValueError, match=r"copies must be at least 1, got 0"):
        gf.apply_views(x, views, copies=0)
    with pytest.raises(ValueError, match=r"prediction must be \(2 V B, 3 or 6, 8, 8\) with V = 2, got \(2, 3, 8, 8\)"):
        gf.reduce_views(x, views)
    with pytest.raises(ValueError, match=r"got \(4, 5, 8, 8\)"):
        gf.reduce_views(normal(4, 5, 8, 8), views)
    with pytest.raises(ValueError, match=r"reduce must be one of 'mean', 'sum', 'alternate', got 'median'"):
        gf.reduce_views(x, views, None, reduce="median")
    with pytest.raises(ValueError, match=r"weights must be a number or one for each of 2 views"):
        gf.reduce_views(x, views, None, [1.0])
    with pytest.raises(ValueError, match=r"guidance must be finite, got nan"):
        gf.reduce_views(normal(4, 3, 8, 8), views, float("nan"))
    with pytest.raises(ValueError, match=r"weights must have a sum that is not 0"):
        gf.reduce_views(x, views, None, [1.0, -1.0])
    with pytest.raises(ValueError, match=r"needs step"):
        gf.reduce_views(x, views, None, reduce="alternate")
