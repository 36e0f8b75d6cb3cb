"""Sums of feature maps: whole or in tiles, the same numbers."""

from __future__ import annotations

from typing import Any

import pytest
import tiny_networks
import torch

import genimg_fast as gf
from genimg_fast._feature_sums import FeatureSums
from genimg_fast._optimization import by_autograd

SIZE = (100, 71)
X = torch.rand(1, 3, *SIZE, generator=torch.Generator().manual_seed(0))
TARGETS = torch.rand(1, 3, *SIZE, generator=torch.Generator().manual_seed(1))
LAYERS = ("relu2", "conv4")


def grams(maps: Any, _: Any) -> Any:
    return {name: gf.gram_matrix(part, normalization="none") for name, part in maps.items()}


def square_means(totals: Any, shapes: Any) -> Any:
    parts = {name: (t / (shapes[name][0] * shapes[name][1]) - 0.1).square().mean() for name, t in totals.items()}
    return torch.stack(list(parts.values())).sum(), parts


@pytest.mark.parametrize("tile", [None, 32, 64, 128])
def test_evaluation_is_that_of_the_whole_picture(tile: int | None) -> None:
    network = tiny_networks.vgg()
    named = {name: 0.1 * torch.ones(1, 5, 5) for name in LAYERS}

    def whole(x: torch.Tensor) -> Any:
        maps = network.taking(LAYERS)(x)
        parts = {name: gf.gram_loss(maps[name], named[name]) for name in LAYERS}
        return torch.stack(list(parts.values())).sum(), parts

    expected = by_autograd(whole)(X)
    value, gradient, parts = FeatureSums(network, LAYERS, tile).evaluation(SIZE, grams, square_means)(X)
    assert value == pytest.approx(expected[0], rel=1e-5)
    assert parts == pytest.approx(expected[2], rel=1e-5)
    torch.testing.assert_close(gradient, expected[1], rtol=1e-5, atol=1e-5 * float(expected[1].abs().max()))


@pytest.mark.parametrize("tile", [None, 32])
def test_sums_are_those_of_the_maps(tile: int | None) -> None:
    network = tiny_networks.vgg()
    totals, shapes = FeatureSums(network, LAYERS, tile).sums(X, grams)
    maps = network.taking(LAYERS)(X)
    assert list(totals) == list(LAYERS)
    assert shapes == {name: tuple(m.shape[-2:]) for name, m in maps.items()}
    for name, total in totals.items():
        assert not total.requires_grad
        assert total.dtype == (torch.float32 if tile is None else torch.float64)
        expected = torch.einsum("bchw,bdhw->bcd", maps[name].double(), maps[name].double())
        torch.testing.assert_close(total.double(), expected, rtol=1e-5, atol=1e-5 * float(expected.abs().max()))


@pytest.mark.parametrize("tile", [None, 32])
def test_maps_are_those_of_the_features(tile: int | None) -> None:
    network = tiny_networks.vgg()
    found, shapes = FeatureSums(network, LAYERS, tile).maps(X, ["conv4"])
    maps = network.taking(LAYERS)(X)
    assert list(found) == ["conv4"]
    assert shapes == {name: tuple(m.shape[-2:]) for name, m in maps.items()}
    torch.testing.assert_close(found["conv4"], maps["conv4"][0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("tile", [None, 32])
def test_sums_may_depend_on_where_they_are(tile: int | None) -> None:
    """The squares of the differences from fixed maps, such as a content's."""
    network = tiny_networks.vgg()
    features = FeatureSums(network, LAYERS, tile)
    fixed, _ = features.maps(TARGETS, LAYERS)

    def squares(maps: Any, where: Any) -> Any:
        return {name: (m[0] - fixed[name][(..., *where[name])]).square().sum() for name, m in maps.items()}

    def loss(totals: Any, _: Any) -> Any:
        return torch.stack(list(totals.values())).sum().float(), totals

    def whole(x: torch.Tensor) -> Any:
        maps, others = network.taking(LAYERS)(x), network.taking(LAYERS)(TARGETS)
        return torch.stack([(maps[name] - others[name]).square().sum() for name in LAYERS]).sum(), {}

    expected = by_autograd(whole)(X)
    value, gradient, _ = features.evaluation(SIZE, squares, loss)(X)
    assert value == pytest.approx(expected[0], rel=1e-5)
    torch.testing.assert_close(gradient, expected[1], rtol=1e-5, atol=1e-5 * float(expected[1].abs().max()))


def test_any_callable_serves_without_tiles() -> None:
    features = FeatureSums(lambda x: {"a": x, "b": x * 2, "c": x * 3}, ["b"])
    totals, shapes = features.sums(X, lambda maps, _: {name: m.sum() for name, m in maps.items()})
    assert totals == {"b": pytest.approx(float(2 * X.sum()))}
    assert shapes == {"b": SIZE}
    every, _ = FeatureSums(lambda x: {"a": x, "b": x * 2}).sums(X, lambda maps, _: maps)
    assert list(every) == ["a", "b"]


def test_layers_default_to_those_of_the_network() -> None:
    network = tiny_networks.vgg()
    for tile in (None, 32):
        assert tuple(FeatureSums(network, tile=tile).sums(X, grams)[0]) == network.layers


def test_pieces_are_no_larger_than_they_need_to_be() -> None:
    network = tiny_networks.vgg()
    sides: list[int] = []
    network.register_forward_pre_hook(lambda _, arguments: sides.extend(arguments[0].shape[-2:]))
    FeatureSums(network, LAYERS, 32).sums(torch.rand(1, 3, 256, 256), grams)
    assert max(sides) < 128
    sides.clear()
    FeatureSums(network, LAYERS, 256).sums(torch.rand(1, 3, 256, 256), grams)
    assert sides == [256, 256]  # one tile has no surroundings


def test_bad_arguments_are_named() -> None:
    network = tiny_networks.vgg()
    with pytest.raises(ValueError, match=r"tile needs features of genimg_fast\.features, got function"):
        FeatureSums(lambda x: {"a": x}, ["a"], 64)
    with pytest.raises(ValueError, match="group needs tile"):
        FeatureSums(network, LAYERS, group=object())
    with pytest.raises(ValueError, match="layers must hold names of layers, got 'relu9'; there are"):
        FeatureSums(network, ["relu9"])
    with pytest.raises(ValueError, match="layers must hold names of layers, got 'b'; there are a"):
        FeatureSums(lambda x: {"a": x}, ["b"]).sums(X, grams)
    with pytest.raises(TypeError, match="features must give a dict of feature maps, got Tensor"):
        FeatureSums(lambda x: x, ["a"]).sums(X, grams)
