"""Networks as trees of stages: what they compute, how deep, what each layer sees, and what they refuse."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch.autograd import gradcheck

import genimg_fast as gf
from genimg_fast.features import Network, Stage
from genimg_fast.features._network import Convolution, Halving, Pool, Rectifier

X = torch.rand(1, 3, 32, 40, generator=torch.Generator().manual_seed(1))


def chain(padding: str = "zeros", *, positive: bool = False) -> Network:
    """conv 5, rectifier, pool, conv 3, pool 2: small, and of all parts."""
    generator = torch.Generator().manual_seed(0)

    def convolution(inputs: int, outputs: int, side: int) -> Convolution:
        weight = torch.randn(outputs, inputs, side, side, generator=generator)
        return Convolution(weight.abs() if positive else weight, torch.zeros(outputs))

    stages = [
        Stage("a", None, convolution(3, 4, 5)),
        Stage("ra", "a", Rectifier()),
        Stage("p", "ra", Pool("average")),
        Stage("b", "p", convolution(4, 2, 3)),
        Stage("q", "b", Pool("average")),
        Stage("c", "p", convolution(4, 3, 1)),
        Stage("h", "p", Halving()),
    ]
    return Network(stages, ["q"], padding=padding)


def test_nothing_deeper_than_asked_is_computed() -> None:
    calls: list[str] = []
    model = chain()
    for name in model.names:
        model.stage(name).register_forward_hook(lambda *_, name=name: calls.append(name))
    model.taking(["p"])(X)
    assert calls == ["a", "ra", "p"]
    calls.clear()
    found = model.taking(["c", "a"])(X)
    assert calls == ["a", "ra", "p", "c"]
    assert list(found) == ["c", "a"]


@pytest.mark.parametrize("layer", ["a", "p", "b", "q", "c", "h"])
def test_fields_are_what_a_position_depends_on(layer: str) -> None:
    model = chain(positive=True).taking([layer])
    x = X.double().requires_grad_()
    y = 2 if layer in "qh" else 5
    (gradient,) = torch.autograd.grad(model(x)[layer][0, :, y, y].sum(), x)
    field = model.fields()[layer]
    seen = gradient[0].abs().sum(0).nonzero()
    first, last = y * field.stride - field.before, y * field.stride + field.after
    assert seen.min(0).values.tolist() == [first, first]
    assert seen.max(0).values.tolist() == [last, last]


def test_circular_padding_moves_with_the_picture() -> None:
    model = chain("circular")
    rolled = model(X.roll((4, -8), (-2, -1)))["q"]
    torch.testing.assert_close(rolled, model(X)["q"].roll((1, -2), (-2, -1)), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("padding", ["zeros", "circular", "reflect"])
def test_padding_is_numpy_s(padding: str) -> None:
    model = chain().padded_by(padding).taking(["a"])
    mode: Any = {"zeros": "constant", "circular": "wrap", "reflect": "reflect"}[padding]
    bordered = np.pad(X[0].double().numpy(), ((0, 0), (2, 2), (2, 2)), mode=mode)
    windows = np.lib.stride_tricks.sliding_window_view(bordered, (5, 5), axis=(1, 2))
    expected = np.einsum("iyxhw,oihw->oyx", windows, model.stage("a").weight.double().numpy())
    np.testing.assert_allclose(model(X)["a"][0].numpy(), expected, rtol=1e-4, atol=1e-5)


def test_views_share_weights_and_leave_the_network_alone() -> None:
    model = chain()
    other = model.taking(["a"]).padded_by("reflect")
    assert other.stage("a").weight is model.stage("a").weight
    assert (model.layers, model.padding) == (("q",), "zeros")


def test_leading_axes_and_grey_pictures() -> None:
    model = gf.features.random(sizes=(3, 5), n_filters=2, levels=2)
    batch = torch.rand(2, 4, 3, 16, 16)
    found = model(batch)["relu2"]
    assert found.shape == (2, 4, 4, 8, 8)
    torch.testing.assert_close(found[1, 2], model(batch[1, 2])["relu2"])
    grey = torch.rand(1, 1, 16, 16)
    torch.testing.assert_close(model(grey)["relu1"], model(grey.expand(1, 3, 16, 16))["relu1"], rtol=1e-4, atol=1e-5)


def test_derivatives() -> None:
    model = chain("reflect").taking(["q", "a"])
    x = torch.rand(1, 3, 8, 8, dtype=torch.float64, requires_grad=True)
    assert gradcheck(lambda x: tuple(model(x).values()), (x,))
    assert not any(parameter.requires_grad for parameter in model.parameters())


def test_float64_stays_float64() -> None:
    found = chain()(X.double())["q"]
    assert found.dtype == torch.float64
    torch.testing.assert_close(chain()(X)["q"].double(), found, rtol=1e-4, atol=1e-4)


def test_bad_pictures_and_names() -> None:
    model = chain()
    with pytest.raises(TypeError, match=r"floats in .0, 1., got torch.uint8"):
        model(torch.zeros(3, 32, 32, dtype=torch.uint8))
    with pytest.raises(TypeError, match="got ndarray"):
        model(X.numpy())
    with pytest.raises(ValueError, match=r"C of 1 or 3, got \(2, 32, 32\)"):
        model(torch.zeros(2, 32, 32))
    with pytest.raises(ValueError, match=r"got \(32, 32\)"):
        model(torch.zeros(32, 32))
    with pytest.raises(ValueError, match="at least 4x4 for the layers q, got 3x9"):
        model(torch.zeros(3, 3, 9))
    with pytest.raises(ValueError, match="got 'z'; there are a, ra, p, b, q, c, h"):
        model.taking(["z"])
    with pytest.raises(ValueError, match="'a' twice"):
        model.taking(["a", "a"])
    with pytest.raises(ValueError, match="at least one name"):
        model.taking([])


@pytest.mark.parametrize("padding", ["zeros", "circular", "reflect"])
def test_the_smallest_side_is_the_smallest(padding: str) -> None:
    model = gf.features.random(sizes=(7,), n_filters=1, levels=3, padding=padding)
    least = model.min_side()
    model(torch.rand(1, least, least))
    with pytest.raises(ValueError, match=f"at least {least}x{least}"):
        model(torch.rand(1, least - 1, least))


def test_random_filters() -> None:
    model = gf.features.random(sizes=(3, 7), n_filters=50, levels=3, seed=5)
    assert model.layers == ("relu1", "relu2", "relu4")
    assert [maps.shape for maps in model(X).values()] == [(1, 100, 32, 40), (1, 100, 16, 20), (1, 100, 8, 10)]
    for bank, side in zip(model.stage("conv4").filters, (3, 7), strict=True):
        weight = bank.weight.double()
        assert weight.shape == (50, 3, side, side)
        assert abs(float(weight.mean())) < 0.02 / side
        assert abs(float(weight.var()) * 3 * side * side - 1) < 0.1
    again, other = (gf.features.random(sizes=(3, 7), n_filters=50, levels=3, seed=s)(X)["relu4"] for s in (5, 6))
    torch.testing.assert_close(model(X)["relu4"], again, rtol=0, atol=0)
    assert not torch.allclose(again, other)
    assert gf.features.random("conv1", levels=1).layers == ("conv1",)
    assert float(gf.features.random("conv1", levels=1)(X)["conv1"].min()) < 0


def test_levels_see_smoothed_halves() -> None:
    model = gf.features.random(["pool2", "relu2"], sizes=(3,), n_filters=3, levels=2)
    found = model(X)
    bordered = np.pad(X[0].double().numpy() - 0.5, ((0, 0), (1, 1), (1, 1)), mode="reflect")
    expected = sum(
        wy * wx / 64 * bordered[:, y : y + 31 : 2, x : x + 39 : 2]
        for y, wy in enumerate((1, 3, 3, 1))
        for x, wx in enumerate((1, 3, 3, 1))
    )
    np.testing.assert_allclose(found["pool2"][0].numpy(), expected, rtol=1e-4, atol=1e-6)
    weight = model.stage("conv2").filters[0].weight
    bordered = torch.nn.functional.pad(found["pool2"], (1, 1, 1, 1), mode="reflect")
    maps = torch.nn.functional.conv2d(bordered, weight).relu()
    torch.testing.assert_close(found["relu2"], maps, rtol=1e-4, atol=1e-5)


def test_rectifying_in_place_spoils_no_map_that_is_asked_for() -> None:
    model = chain()
    both, alone = model.taking(["a", "ra"])(X), model.taking(["ra"])(X)
    assert float(both["a"].min()) < 0
    torch.testing.assert_close(both["a"].relu(), alone["ra"], rtol=0, atol=0)
    first = Network([Stage("r", None, Rectifier())], ["r"])
    x = X - 0.5
    assert float(first(x)["r"].min()) == 0
    assert float(x.min()) < 0


def test_random_normalize_takes_the_mean_away_and_evens_the_colours() -> None:
    generator = torch.Generator().manual_seed(0)
    grey = torch.rand(1, 1, 64, 64, generator=generator)
    picture = 0.3 + 0.2 * grey + 0.001 * torch.rand(1, 3, 64, 64, generator=generator)
    model = gf.features.random("input", normalize=picture)
    colours = model(picture)["input"][0].flatten(1)
    torch.testing.assert_close(colours.mean(1), torch.zeros(3), rtol=0, atol=2e-3)
    spread = torch.cov(colours).diagonal().sort().values
    torch.testing.assert_close(spread[-1], torch.tensor(1.0), rtol=1e-2, atol=0)
    plain = torch.linalg.eigvalsh(torch.cov(picture[0].flatten(1)))
    assert float(spread[0]) > 5 * float(plain[0] / plain[-1])


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"sizes": (4,)}, ValueError, r"sizes must hold different odd numbers, got \(4,\)"),
        ({"sizes": (3, 3)}, ValueError, "different odd"),
        ({"sizes": ()}, ValueError, "odd numbers"),
        ({"sizes": (3.5,)}, TypeError, "sizes must be an integer, got 3.5"),
        ({"n_filters": 0}, ValueError, "n_filters must be at least 1, got 0"),
        ({"levels": 0}, ValueError, "levels must be at least 1, got 0"),
        ({"channels": -1}, ValueError, "channels must be at least 1"),
        ({"seed": -1}, ValueError, "seed must be at least 0, got -1"),
        ({"layers": ["relu3"]}, ValueError, "there are input, conv1, relu1, pool2"),
        ({"normalize": "x"}, TypeError, "normalize must be a numpy.ndarray or a torch.Tensor, got str"),
    ],
)
def test_random_refuses(options: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        gf.features.random(**options)
