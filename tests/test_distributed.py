"""Two processes have the sums and gradients of one. They start once and make all their calls; the tests compare."""

from __future__ import annotations

import datetime
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tiny_networks
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

import genimg_fast as gf
from genimg_fast import distributed
from genimg_fast._feature_sums import FeatureSums
from genimg_fast._optimization import by_autograd
from genimg_fast.gram import NORMALIZATIONS

RANKS, SECONDS = 2, 120
GRAMS = {"hw": False, "chw": False, "none": False, "chw, centred": True, "wct": True, "optimal-textures": True}
LARGE, SMALL = (112, 71), (40, 36)  # 6 tiles of 48 pixels, and 1
LAYERS = ("relu1", "conv4")


def seeded(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def features() -> torch.Tensor:
    return seeded(2, 5, 12, 7) + 3


def own(whole: torch.Tensor, rank: int) -> torch.Tensor:
    """Return a rank's rows, of which the first has more."""
    return whole[..., 8:, :] if rank else whole[..., :8, :]


def exemplars(rank: int) -> tuple[list[torch.Tensor], list[float]]:
    """Return the exemplars that a rank holds, and their weights."""
    every, weights = [seeded(5, 9, 4 + i, seed=i) for i in range(3)], [1.0, 2.0, 0.5]
    return (every[:1], weights[:1]) if rank else (every[1:], weights[1:])


def with_gradient(x: torch.Tensor, function: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Return a result and the gradient of a loss of it."""
    x = x.clone().requires_grad_()
    result = function(x)
    (gradient,) = torch.autograd.grad((result - seeded(*result.shape, seed=9)).square().mean(), x)
    return result.detach(), gradient


VIEWS, VIEWED = ["identity", "rotate_cw", "negate"], (2, 6, 6)
VIEW_WEIGHTS = [1.0, 2.0, 3.0]


def predictions() -> torch.Tensor:
    """Return what a network predicted for two pictures: noise and variance, of all views, in two halves."""
    return seeded(12, 4, 6, 6, seed=5)


def own_predictions(rank: int) -> torch.Tensor:
    """Return those of the views that a rank has: the first and the third, or the second."""
    stack = predictions().reshape(2, 3, 2, 4, 6, 6)
    return stack[:, rank::RANKS].flatten(0, 2)


def view_step(views: Any, prediction: torch.Tensor, weights: list[float], **options: Any) -> torch.Tensor:
    """Return the pictures after a step."""
    config = {"_class_name": "DDPMScheduler", "beta_schedule": "linear", "variance_type": "learned_range"}
    sampler = gf.MultiViewStep(views, config, 3.0, weights=weights, steps=10, **options)
    generator = torch.Generator().manual_seed(3)
    return sampler.step(prediction, sampler.timesteps[4], seeded(2, *VIEWED, seed=6), generator=generator)


def picture(size: tuple[int, int], seed: int = 0) -> torch.Tensor:
    return torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(seed))


def grams(maps: Any, _: Any) -> Any:
    return {name: gf.gram_matrix(part, normalization="none") for name, part in maps.items()}


def loss(totals: Any, shapes: Any) -> Any:
    parts = {name: (t / (shapes[name][0] * shapes[name][1]) - 0.1).square().mean() for name, t in totals.items()}
    return torch.stack(list(parts.values())).sum(), parts


def descended(evaluate: Any, x: torch.Tensor) -> torch.Tensor:
    """Return a picture after a few steps of L-BFGS."""

    def closure() -> float:
        value, x.grad, _ = evaluate(x)
        return value

    torch.optim.LBFGS([x], max_iter=3, line_search_fn="strong_wolfe").step(closure)
    return x


def texture(group: Any) -> torch.Tensor:
    return gf.textures.cnn_texture(
        picture((40, 48))[0], 96, features=tiny_networks.vgg(), tile=32, group=group, n_iter=3, seed=0, progress=False
    )


def calls(rank: int) -> dict[str, Any]:
    """Make every collective call and return what it gives."""
    found: dict[str, Any] = {}
    mine = own(features(), rank)
    for name, center in GRAMS.items():
        normalization = name.removesuffix(", centred")
        found[f"gram {name}"] = with_gradient(
            mine, lambda x, n=normalization, c=center: distributed.gram_matrix(x, normalization=n, center=c)
        )
    found["single"] = distributed.gram_matrix(mine.float(), center=True)
    found["means"] = with_gradient(mine, distributed.channel_means)
    found["half means"] = distributed.channel_means(3000 * mine.half())
    found["all_reduce"] = with_gradient(seeded(4, seed=rank), distributed.all_reduce)
    held, weights = exemplars(rank)
    found["mean"] = distributed.mean([gf.gram_matrix(x) for x in held], weights)
    found["equal mean"] = distributed.mean([gf.gram_matrix(x) for x in held])
    alone = [dist.new_group([r]) for r in range(RANKS)][rank]
    found["alone"] = [
        distributed.gram_matrix(mine, group=alone),
        distributed.channel_means(mine, group=alone),
        distributed.all_reduce(mine, alone),
        distributed.mean([mine], [3.0], group=alone),
    ]
    network = tiny_networks.vgg()
    pieces: list[int] = []
    network.register_forward_pre_hook(lambda *_: pieces.append(1))
    tiled = FeatureSums(network, LAYERS, 48, dist.group.WORLD)
    for size in (LARGE, SMALL):
        pieces.clear()
        found[f"evaluation {size}"] = tiled.evaluation(size, grams, loss)(picture(size))
        found[f"pieces {size}"] = len(pieces)
    found["maps"] = tiled.maps(picture(LARGE), ["conv4"])[0]["conv4"]
    found["sums"] = tiled.sums(picture(LARGE), grams)[0]
    found["texture"] = texture(dist.group.WORLD)
    views = distributed.own_views(VIEWS, VIEWED)
    weights = VIEW_WEIGHTS[rank::RANKS]
    found["names"] = views.names
    for reduce in ("mean", "sum"):
        found[f"views {reduce}"] = distributed.reduce_views(own_predictions(rank), views, 3.0, weights, reduce)
    found["unweighted views"] = distributed.reduce_views(own_predictions(rank), views, 3.0)
    found["step"] = view_step(views, own_predictions(rank), weights, group=dist.group.WORLD)
    # The second rank's only view counts nothing.
    without = [1.0, 0.0, 3.0][rank::RANKS]
    found["views without"] = distributed.reduce_views(own_predictions(rank), views, 3.0, without)
    found["step without"] = view_step(views, own_predictions(rank), without, group=dist.group.WORLD)
    found["view gradient"] = with_gradient(
        own_predictions(rank), lambda x: torch.cat(distributed.reduce_views(x, views, 3.0, weights), 1)
    )
    found["descended"] = descended(tiled.evaluation(LARGE, grams, loss), picture(LARGE, seed=rank))
    return found


def work(rank: int, folder: Path) -> None:
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo",
        init_method=f"file://{folder}/store",
        rank=rank,
        world_size=RANKS,
        timeout=datetime.timedelta(seconds=SECONDS),
    )
    torch.save(calls(rank), folder / f"{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """Return what the calls give on each rank."""
    folder = tmp_path_factory.mktemp("ranks")
    context = mp.start_processes(work, (folder,), RANKS, join=False, start_method="spawn")
    deadline = time.monotonic() + SECONDS
    try:
        while not context.join(timeout=1):
            assert time.monotonic() < deadline, "the processes do not end"
    finally:
        for process in context.processes:
            process.kill()
    return [torch.load(folder / f"{rank}.pt") for rank in range(RANKS)]


def assert_same(actual: torch.Tensor, wanted: torch.Tensor, tolerance: float = 1e-12) -> None:
    torch.testing.assert_close(actual, wanted, rtol=0, atol=tolerance * float(wanted.abs().max()))


@pytest.mark.parametrize("name", GRAMS)
def test_gram_matrices_and_gradients_are_those_of_one_process(found: Any, name: str) -> None:
    normalization = name.removesuffix(", centred")
    whole, gradient = with_gradient(
        features(), lambda x: gf.gram_matrix(x, normalization=normalization, center=GRAMS[name])
    )
    for rank in range(RANKS):
        gram, its_gradient = found[rank][f"gram {name}"]
        assert_same(gram, whole)
        assert_same(its_gradient, own(gradient, rank))


def test_results_are_the_same_bits_on_every_rank(found: Any) -> None:
    assert torch.equal(found[0]["gram hw"][0], found[1]["gram hw"][0])
    assert found[0][f"evaluation {LARGE}"][0] == found[1][f"evaluation {LARGE}"][0]
    assert torch.equal(found[0][f"evaluation {LARGE}"][1], found[1][f"evaluation {LARGE}"][1])


def test_results_are_float32_at_least(found: Any) -> None:
    assert found[0]["single"].dtype == torch.float32
    assert_same(found[0]["single"].double(), gf.gram_matrix(features(), center=True), 1e-5)
    assert found[0]["half means"].dtype == torch.float32
    assert_same(found[0]["half means"].double(), 3000 * features().mean((-2, -1)), 1e-2)  # sums beyond float16


def test_means_and_sums_are_those_of_one_process(found: Any) -> None:
    means, gradient = with_gradient(features(), lambda x: x.mean((-2, -1)))
    total, slope = with_gradient(seeded(4, seed=0) + seeded(4, seed=1), lambda x: x)
    for rank in range(RANKS):
        assert_same(found[rank]["means"][0], means)
        assert_same(found[rank]["means"][1], own(gradient, rank))
        assert_same(found[rank]["all_reduce"][0], total)
        assert_same(found[rank]["all_reduce"][1], slope)


def test_mean_of_exemplars(found: Any) -> None:
    held = [exemplars(rank) for rank in range(RANKS)]
    matrices = [gf.gram_matrix(x) for every, _ in held for x in every]
    weights = [w for _, every in held for w in every]
    weighted = sum(w * gram for w, gram in zip(weights, matrices, strict=True)) / sum(weights)
    for rank in range(RANKS):
        assert_same(found[rank]["mean"], weighted)
        assert_same(found[rank]["equal mean"], sum(matrices) / len(matrices))


def test_a_group_of_one_rank_is_alone(found: Any) -> None:
    for rank in range(RANKS):
        mine = own(features(), rank)
        wanted = [gf.gram_matrix(mine), mine.mean((-2, -1)), mine, mine]
        for actual, one in zip(found[rank]["alone"], wanted, strict=True):
            assert_same(actual, one)


@pytest.mark.parametrize("size", [LARGE, SMALL])
def test_shared_tiles_give_the_gradient_of_one_process(found: Any, size: tuple[int, int]) -> None:
    network = tiny_networks.vgg().taking(LAYERS)

    def whole(x: torch.Tensor) -> Any:
        maps = network(x)
        return loss(grams(maps, None), {name: m.shape[-2:] for name, m in maps.items()})

    value, gradient, parts = by_autograd(whole)(picture(size))
    for rank in range(RANKS):
        its_value, its_gradient, its_parts = found[rank][f"evaluation {size}"]
        assert its_value == pytest.approx(value, rel=1e-5)
        assert its_parts == pytest.approx(parts, rel=1e-5)
        assert_same(its_gradient, gradient, 1e-5)


def test_ranks_share_the_tiles(found: Any) -> None:
    assert [one[f"pieces {LARGE}"] for one in found] == [2 * 3, 2 * 3]  # two passes over half of 6 tiles
    assert [one[f"pieces {SMALL}"] for one in found] == [2, 1]  # the second rank only learns the shapes


def test_sums_and_maps_are_whole_on_every_rank(found: Any) -> None:
    maps = tiny_networks.vgg().taking(LAYERS)(picture(LARGE))
    for one in found:
        assert_same(one["maps"], maps["conv4"][0], 1e-5)
        for name, total in one["sums"].items():
            assert_same(total, gf.gram_matrix(maps[name].double(), normalization="none"), 1e-5)


def test_optimisers_take_the_steps_of_the_first_rank(found: Any) -> None:
    alone = FeatureSums(tiny_networks.vgg(), LAYERS, 48).evaluation(LARGE, grams, loss)
    assert torch.equal(found[0]["descended"], found[1]["descended"])
    assert_same(found[0]["descended"], descended(alone, picture(LARGE)), 1e-4)


def test_textures_are_those_of_one_process(found: Any) -> None:
    assert torch.equal(found[0]["texture"], found[1]["texture"])
    assert_same(found[0]["texture"], texture(None), 1e-4)


def test_bad_arguments_are_named() -> None:
    accepted = ", ".join(repr(name) for name in NORMALIZATIONS if name != "pytorch-tutorial")
    with pytest.raises(ValueError, match=rf"normalization must be one of {accepted}, got 'pytorch-tutorial'"):
        distributed.gram_matrix(features(), normalization="pytorch-tutorial")
    with pytest.raises(ValueError, match=r"a positive number for each, got 0 tensors and \[\]"):
        distributed.mean([])
    with pytest.raises(ValueError, match=r"got 1 tensors and \[1.0, 2.0\]"):
        distributed.mean([features()], [1, 2])
    with pytest.raises(ValueError, match=r"got 1 tensors and \[0.0\]"):
        distributed.mean([features()], [0])
    with pytest.raises(RuntimeError, match=r"group needs torch\.distributed: call"):
        distributed.all_reduce(features())
    with pytest.raises(RuntimeError, match=r"group needs torch\.distributed: call"):
        FeatureSums(tiny_networks.vgg(), LAYERS, 48, object()).sums(picture(LARGE), grams)


@pytest.mark.parametrize("reduce", ["mean", "sum"])
def test_views_on_several_ranks_are_averaged_as_by_one_process(found: Any, reduce: str) -> None:
    assert [one["names"] for one in found] == [["identity", "negate"], ["rotate_cw"]]
    views = gf.Views(VIEWS, VIEWED)
    wanted = gf.reduce_views(predictions(), views, 3.0, VIEW_WEIGHTS, reduce)
    for rank in range(RANKS):
        for one, other in zip(found[rank][f"views {reduce}"], wanted, strict=True):
            assert_same(one, other)
        for one, other in zip(found[rank]["unweighted views"], gf.reduce_views(predictions(), views, 3.0), strict=True):
            assert_same(one, other)


def test_a_rank_may_hold_views_that_count_nothing(found: Any) -> None:
    views, weights = gf.Views(VIEWS, VIEWED), [1.0, 0.0, 3.0]
    wanted = gf.reduce_views(predictions(), views, 3.0, weights)
    for rank in range(RANKS):
        for one, other in zip(found[rank]["views without"], wanted, strict=True):
            assert_same(one, other)
    pytest.importorskip("diffusers")
    for rank in range(RANKS):
        assert_same(found[rank]["step without"], view_step(views, predictions(), weights))


def test_gradients_of_views_on_several_ranks_are_those_of_one_process(found: Any) -> None:
    views = gf.Views(VIEWS, VIEWED)
    _, gradient = with_gradient(predictions(), lambda x: torch.cat(gf.reduce_views(x, views, 3.0, VIEW_WEIGHTS), 1))
    whole = gradient.reshape(2, 3, 2, 4, 6, 6)
    for rank in range(RANKS):
        assert_same(found[rank]["view gradient"][1], whole[:, rank::RANKS].flatten(0, 2))


def test_a_step_with_views_on_several_ranks_is_that_of_one_process(found: Any) -> None:
    pytest.importorskip("diffusers")
    wanted = view_step(gf.Views(VIEWS, VIEWED), predictions(), VIEW_WEIGHTS)
    for rank in range(RANKS):
        assert_same(found[rank]["step"], wanted)
    assert torch.equal(found[0]["step"], found[1]["step"])


@pytest.fixture
def alone() -> Iterator[None]:
    """A group of this process only."""
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def test_views_over_ranks_say_what_they_need(alone: None) -> None:
    views = gf.Views(VIEWS, VIEWED)
    with pytest.raises(ValueError, match="reduce must be 'mean' or 'sum' over several ranks, got 'alternate'"):
        distributed.reduce_views(predictions(), views, 3.0, reduce="alternate")
    with pytest.raises(ValueError, match="weights must have a sum that is not 0"):
        distributed.reduce_views(predictions(), views, 3.0, [1.0, -1.0, 0.0])
    with pytest.raises(ValueError, match="weights must be a number or one for each of 3 views"):
        distributed.reduce_views(predictions(), views, 3.0, [1.0])
    with pytest.raises(ValueError, match="views must be at least one for each of 1 ranks, got 0"):
        distributed.own_views([], VIEWED)
    pytest.importorskip("diffusers")
    config = {"_class_name": "DDPMScheduler", "beta_schedule": "linear"}
    with pytest.raises(ValueError, match="group needs average='noise' and reduce='mean' or 'sum', got 'x0'"):
        gf.MultiViewStep(views, config, steps=5, average="x0", group=dist.group.WORLD)
    sampler = gf.MultiViewStep(views, config, 3.0, steps=5, group=dist.group.WORLD)
    stack, x = predictions()[:, :2].contiguous(), seeded(2, *VIEWED)
    with pytest.raises(ValueError, match="group needs noise, or generator with one seed on all ranks, got None"):
        sampler.step(stack, sampler.timesteps[1], x)
