"""Everything public is pickled, saved by torch and copied, with equal results."""

from __future__ import annotations

import copy
import inspect
import io
import pickle
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from operations import SHAPE, leaves, normal

import genimg_fast as gf
from genimg_fast.views import CATALOG

EXEMPLAR = np.random.default_rng(0).integers(0, 256, (32, 32), dtype=np.uint8)
FLOW = np.zeros((2, *SHAPE[1:]))
PARAMETERS: dict[str, dict[str, Any]] = {
    "permute_channels": {"order": (2, 0, 1)},
    "rotate": {"degrees": 30.0},
    "warp": {"flow": FLOW},
    "mask": {"mask": FLOW[0]},
    "mask_complement": {"mask": FLOW[0]},
    "scale": {"factor": 0.5},
}


def _views(*names: Any) -> gf.Views:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return gf.Views(list(names), shape=SHAPE)


def _tiny_network() -> torch.nn.Module:
    import diffusers

    torch.manual_seed(0)
    blocks = {"down_block_types": ("DownBlock2D",), "up_block_types": ("UpBlock2D",), "block_out_channels": (32,)}
    return diffusers.UNet2DModel(8, 3, 3, layers_per_block=1, **blocks).eval()


def _model() -> gf.diffusion.Model:
    images = np.random.default_rng(0).integers(0, 256, (4, 8, 8), dtype=np.uint8)
    with torch.enable_grad():
        return gf.diffusion.train((images, np.arange(4) % 2), steps=1, batch_size=2, widths=(16,), progress=False)


def _step() -> gf.MultiViewStep:
    import diffusers

    return gf.MultiViewStep(_views("identity", "dct"), diffusers.DDIMScheduler(), 3.0, steps=5)


def _reported(function: Callable[..., Any], **options: Any) -> Any:
    """Return a step that a system reports."""
    steps: list[Any] = []
    function(EXEMPLAR, callback=steps.append, progress=False, **options)
    return steps[-1]


def _denoise(x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
    return x / (1 + sigma[:, None, None, None])


X, STACK = normal(1, *SHAPE), normal(4, *SHAPE)
SCORE = gf.diffusion.Score(-0.5, 0.5, (1, 2), True)

# What each public class makes, and what of it must be equal after. None: no class that is made by itself.
MADE: dict[str, tuple[Callable[[], Any], Callable[[Any], Any]] | None] = {
    "HistogramReference": (lambda: gf.HistogramReference(normal(6, 5)), lambda one: one.match(normal(4, 4))),
    "Moments": (lambda: gf.moments(X), tuple),
    "MultiViewStep": (_step, lambda one: one.step(STACK, one.timesteps[1], X)),
    "Permute": (lambda: gf.Permute(np.arange(64)[::-1]), lambda one: one(X)),
    "SteerablePyramidFreq": (lambda: gf.SteerablePyramidFreq((16, 16)), lambda one: one(normal(16, 16))),
    "SteerablePyramidSpace": (lambda: gf.SteerablePyramidSpace((20, 20), 1, 1), lambda one: one(normal(20, 20))),
    "View": (lambda: gf.view("dct") @ gf.view("flip"), lambda one: one(X)),
    "Views": (lambda: _views("dct @ flip", "jigsaw"), lambda one: gf.apply_views(X, one)),
    "nn.GramLoss": (lambda: gf.nn.GramLoss(X), lambda one: one(2 * X)),
    "nn.MatchHistograms": (lambda: gf.nn.MatchHistograms(method="rank"), lambda one: one(X, X[..., 1:])),
    "nn.SteerablePyramidFreq": (lambda: gf.nn.SteerablePyramidFreq((16, 16)), lambda one: one(normal(16, 16))),
    "nn.SteerablePyramidSpace": (lambda: gf.nn.SteerablePyramidSpace((20, 20), 1, 1), lambda one: one(normal(20, 20))),
    "textures.DescentStep": (
        lambda: _reported(gf.textures.portilla_simoncelli, method="gradient", n_iter=1),
        lambda one: (one.loss, one.picture()),
    ),
    "textures.FamilyDifference": (lambda: gf.textures.FamilyDifference(1.0, 2.0), tuple),
    "textures.ParametricStep": (
        lambda: _reported(gf.textures.portilla_simoncelli, n_iter=1),
        lambda one: (one.errors, one.picture()),
    ),
    "textures.PortillaSimoncelli": (
        lambda: gf.textures.PortillaSimoncelli((32, 32), 2),
        lambda one: one(normal(1, 1, 32, 32)),
    ),
    "textures.Step": (
        lambda: _reported(gf.textures.heeger_bergen, n_iter=1),
        lambda one: (one.distance, one.picture()),
    ),
    "textures.TextureStatistics": None,
    "features.Field": (lambda: gf.features.Field(2, 1, 1), lambda one: one.stride),
    "features.Network": (lambda: gf.features.random(n_filters=2, levels=1), lambda one: one(X)),
    "features.Stage": (
        lambda: gf.features.Stage("a", None, torch.nn.Identity()),
        lambda one: (one.name, one.module(X)),
    ),
    "diffusion.Anagrams": (
        lambda: gf.diffusion.Anagrams(X, (SCORE,), (1,), (0, 1), _views("identity", "flip")),
        lambda one: (one.seen(), one.scores),
    ),
    "diffusion.DigitsClassifier": (
        gf.diffusion.digits_classifier,
        lambda one: one.log_probabilities(torch.sigmoid(X[:, :1])),
    ),
    "diffusion.IFMultiViewPipeline": None,  # of a pipeline, which diffusers saves
    "diffusion.MixtureDenoiser": (
        lambda: gf.diffusion.MixtureDenoiser(normal(2, *SHAPE), 0.5),
        lambda one: one.predict(X, 0.5),
    ),
    "diffusion.Model": (_model, lambda one: one(normal(2, *one.shape), 5)),
    "diffusion.MultiViewDenoiser": (
        lambda: gf.diffusion.MultiViewDenoiser(_denoise, _views("identity", "dct")),
        lambda one: one(X, torch.ones(1)),
    ),
    "diffusion.MultiViewPictures": (lambda: gf.diffusion.MultiViewPictures(X), lambda one: one.images),
    "diffusion.MultiViewUNet": (
        lambda: gf.diffusion.MultiViewUNet(_tiny_network(), _views("identity", "dct"), guided=False),
        lambda one: one(X, 5).sample,
    ),
    "diffusion.Score": (lambda: SCORE, lambda one: one.alignment),
    "diffusion.TrainingStep": (lambda: gf.diffusion.TrainingStep(1, 2, 0.5), lambda one: one.loss),
    "style.DescentStep": None,  # that of textures
}


def test_every_public_class_is_here() -> None:
    modules = {
        "": gf,
        **{f"{name}.": getattr(gf, name) for name in ("nn", "textures", "features", "diffusion", "style")},
    }
    public = {
        prefix + name
        for prefix, module in modules.items()
        for name in module.__all__
        if inspect.isclass(getattr(module, name))
    }
    assert public <= set(MADE)


def _copies(one: Any) -> list[Any]:
    buffer = io.BytesIO()
    torch.save(one, buffer)
    buffer.seek(0)
    return [pickle.loads(pickle.dumps(one)), copy.deepcopy(one), torch.load(buffer, weights_only=False)]


@pytest.mark.parametrize("name", [name for name, made in MADE.items() if made is not None])
@torch.no_grad()
def test_copies_do_the_same(name: str) -> None:
    if name == "diffusion.DigitsClassifier":
        pytest.importorskip("sklearn")
    elif name in ("MultiViewStep", "diffusion.Model", "diffusion.MultiViewUNet"):
        pytest.importorskip("diffusers")
    elif name == "nn.GramLoss" and not hasattr(gf.nn, "GramLoss"):
        pytest.skip("genimg_fast.nn has no GramLoss")
    make, result = MADE[name]
    one = make()
    fresh = _copies(one)
    expected = result(one)
    for other in [*fresh, *_copies(one)]:  # before its first use, and after it
        found = result(other)
        for a, b in zip(torch.utils._pytree.tree_leaves(found), torch.utils._pytree.tree_leaves(expected), strict=True):
            np.testing.assert_array_equal(np.asarray(a), np.asarray(b))


@pytest.mark.parametrize("name", CATALOG)
def test_bound_views(name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        one = gf.view(name, **PARAMETERS.get(name, {})).bind(SHAPE)
        expected = leaves((one.apply(X), one.inverse(X), one.variance(X)))
        for other in _copies(one):
            found = leaves((other.apply(X), other.inverse(X), other.variance(X)))
            torch.testing.assert_close(found, expected, rtol=0, atol=0)
            assert (other.name, other.shape) == (one.name, one.shape)
