"""Tiles: the same loss and gradient as the whole picture's, in pieces no larger than they need to be."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import tiny_networks
import torch

import genimg_fast as gf
from genimg_fast._optimization import by_autograd
from genimg_fast._tiling import Tiles
from genimg_fast.features import Network, Stage
from genimg_fast.features._network import Pool


def product(maps: torch.Tensor) -> torch.Tensor:
    flat = maps[0].flatten(-2)
    return flat @ flat.mT


def sums(maps: Any, _: Any) -> Any:
    return {name: product(part) for name, part in maps.items()} | {"means": next(iter(maps.values())).sum((-2, -1))}


def loss(found: Any) -> Any:
    parts = {name: (value / 1e3 - 1).square().mean() for name, value in found.items()}
    return torch.stack(list(parts.values())).sum(), parts


def evaluations(network: Network, tile: int, x: torch.Tensor) -> Any:
    """Return loss, gradient and parts of the whole picture and of its tiles."""
    whole = by_autograd(lambda x: loss(sums(network(x), None)))(x)
    return whole, Tiles(network, (x.shape[-2], x.shape[-1]), tile).evaluation(sums, loss)(x)


def picture(*size: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(0), dtype=dtype)


NETWORKS = {
    "random": lambda: gf.features.random(sizes=(3, 7), n_filters=4, levels=3),
    "one level": lambda: gf.features.random(sizes=(5,), n_filters=4, levels=1),
    "vgg": tiny_networks.vgg,
    "max": lambda: tiny_networks.vgg("max"),
    "fine layer": lambda: tiny_networks.vgg(layers=("relu1",)),
    "coarse layer": lambda: tiny_networks.vgg(layers=("relu4",)),
}
SIZES = [((96, 80), 32), ((64, 128), 64), ((113, 71), 48), ((97, 66), 33), ((48, 64), 1000)]


@pytest.mark.parametrize("padding", ["zeros", "circular", "reflect"])
@pytest.mark.parametrize("name", list(NETWORKS))
@pytest.mark.parametrize(("size", "tile"), SIZES)
def test_tiles_add_up_to_the_whole(name: str, padding: str, size: tuple[int, int], tile: int) -> None:
    network = NETWORKS[name]().padded_by(padding)
    if padding == "circular" and size[0] % 16 and name not in ("one level", "fine layer"):
        with pytest.raises(ValueError, match=r"size must be a multiple of \d+ for a tileable picture"):
            Tiles(network, size, tile)
        return
    whole, tiled = evaluations(network, tile, picture(*size))
    assert tiled[0] == pytest.approx(whole[0], rel=1e-5)
    assert tiled[2] == pytest.approx(whole[2], rel=1e-5)
    assert float((tiled[1] - whole[1]).norm() / whole[1].norm()) < 1e-5
    assert float((tiled[1] - whole[1]).abs().max() / whole[1].abs().max()) < 1e-5


@pytest.mark.parametrize("padding", ["zeros", "circular", "reflect"])
@pytest.mark.parametrize("name", ["random", "vgg"])
def test_float64_differs_by_rounding_alone(name: str, padding: str) -> None:
    size = (96, 64) if padding == "circular" else (101, 67)
    whole, tiled = evaluations(NETWORKS[name]().padded_by(padding), 32, picture(*size, dtype=torch.float64))
    assert tiled[1].dtype == torch.float64
    assert tiled[0] == pytest.approx(whole[0], rel=1e-12)
    assert float((tiled[1] - whole[1]).abs().max() / whole[1].abs().max()) < 1e-12


@pytest.mark.parametrize("size", [(33, 35), (66, 97), (130, 64)])
def test_what_is_left_at_a_border_joins_the_last_tile(size: tuple[int, int]) -> None:
    """A network without surroundings could not make a map of 1 or 3 pixels."""
    pools = [Stage("pool1", None, Pool("average")), Stage("pool2", "pool1", Pool("average"))]
    network = Network(pools, ["pool2", "pool1"])
    whole, tiled = evaluations(network, 32, picture(*size))
    assert tiled[0] == pytest.approx(whole[0], rel=1e-5)
    torch.testing.assert_close(tiled[1], whole[1], rtol=1e-5, atol=1e-9)


def test_a_sum_that_the_loss_does_not_use_counts_nothing() -> None:
    network, x = tiny_networks.vgg(), picture(64, 64)
    tiles = Tiles(network, (64, 64), 32)
    _, gradient, _ = tiles.evaluation(sums, lambda found: (found["means"].sum(), {}))(x)
    _, alone, _ = tiles.evaluation(
        lambda maps, _: {"means": maps["relu1"].sum((-2, -1))}, lambda found: (found["means"].sum(), {})
    )(x)
    assert alone.abs().max() > 0.1
    torch.testing.assert_close(gradient, alone)


def test_positions_are_those_of_the_maps() -> None:
    x, network = picture(113, 71), tiny_networks.vgg()
    whole, tiles = network(x), Tiles(network, (113, 71), 32)
    assert tiles.shapes == {name: tuple(m.shape[-2:]) for name, m in whole.items()}
    counts = {name: torch.zeros(m.shape[-2:]) for name, m in whole.items()}

    def note(parts: Any, where: Any) -> Any:
        for name, part in parts.items():
            torch.testing.assert_close(part, whole[name][(..., *where[name])], rtol=1e-4, atol=1e-5)
            counts[name][where[name]] += 1
        return {"n": torch.zeros(1)}

    tiles.totals(x, note)
    assert all((count == 1).all() for count in counts.values())


@pytest.mark.parametrize("padding", ["zeros", "circular"])
def test_pieces_are_tiles_and_what_they_see(padding: str) -> None:
    network = tiny_networks.vgg().padded_by(padding)
    sides: list[int] = []
    network.register_forward_pre_hook(lambda _, arguments: sides.extend(arguments[0].shape[-2:]))
    Tiles(network, (256, 192), 64).evaluation(sums, loss)(picture(256, 192))
    field = max(network.fields().values(), key=lambda field: field.before)
    assert len(sides) == 2 * 2 * 4 * 3  # both passes, both axes
    assert max(sides) <= 64 + field.before + field.after + field.stride
    if padding == "circular":
        assert min(sides) > 64 + field.before


MEMORY = """
import torch
import genimg_fast as gf
from genimg_fast._feature_sums import FeatureSums

def peak():
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))

def evaluate(side):
    x = torch.rand(1, 3, side, side)
    features.evaluation((side, side), grams, lambda totals, _: (sum(t.sum() for t in totals.values()), {}))(x)

torch.set_num_threads(1)
features = FeatureSums(gf.features.random(n_filters=16, levels=2), tile=128)
grams = lambda maps, _: {name: gf.gram_matrix(part, normalization="none") for name, part in maps.items()}
evaluate(384)
before = peak()
evaluate(1024)
print((peak() - before) / (3 * 1024 * 1024 * 4))
"""


def test_peak_memory_is_set_by_the_tile() -> None:
    """Seven times the pixels take no more than their own picture and gradient, and what the allocator wastes."""
    done = subprocess.run([sys.executable, "-c", MEMORY], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 4  # pictures; the maps of the whole one are 36
