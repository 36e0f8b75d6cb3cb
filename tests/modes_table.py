"""Every public operation on tensors, as functions of small tensors: what the tests of torch's modes walk through."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import torch

import genimg_fast as gf

SHAPE = (3, 16, 16)


class Case(NamedTuple):
    """A function of tensors, which takes them all as (batch, ...) or as they are."""

    function: Callable[..., Any]
    inputs: tuple[torch.Tensor, ...]


def _normal(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def _features(dtype: torch.dtype) -> torch.Tensor:
    return _normal(2, 3, 8, 9, dtype=dtype)


def _picture(dtype: torch.dtype) -> torch.Tensor:
    return _normal(2, *SHAPE, dtype=dtype)


def _views(*names: Any) -> gf.Views:
    return gf.Views(list(names), shape=SHAPE)


def gram_matrix(dtype):
    return Case(lambda x: gf.gram_matrix(x), (_features(dtype),))


def gram_matrix_centred_and_masked(dtype):
    mask = _normal(8, 9, seed=1).abs()
    return Case(lambda x: gf.gram_matrix(x, center=True, mask=mask), (_features(dtype),))


def gram_matrix_of_two_layers(dtype):
    return Case(
        lambda x, y: gf.gram_matrix(x, other=y, shift=(1, 2)),
        (_features(dtype), _normal(2, 4, 8, 9, seed=1, dtype=dtype)),
    )


def gram_loss(dtype):
    target = gf.gram_matrix(_normal(1, 3, 8, 9, seed=1, dtype=dtype))[0]
    return Case(lambda x: gf.gram_loss(x, target, reduction="crowsonkb"), (_features(dtype),))


def moments(dtype):
    return Case(lambda x: gf.moments(x), (_features(dtype),))


def moments_loss(dtype):
    target = tuple(one[0] for one in gf.moments(_normal(1, 3, 8, 9, seed=1, dtype=dtype)))
    return Case(lambda x: gf.moments_loss(x, target), (_features(dtype),))


def moments_loss_w2(dtype):
    target = tuple(one[0] for one in gf.moments(_normal(1, 3, 8, 9, seed=1, dtype=dtype)))
    return Case(lambda x: gf.moments_loss(x, target, distance="w2"), (_features(dtype),))


def match_histograms(dtype):
    image = _normal(2, 6, 5, seed=1, dtype=dtype)
    return Case(lambda y: gf.match_histograms(image, y), (_normal(2, 5, 7, dtype=dtype),))


def match_histograms_by_rank(dtype):
    image = _normal(2, 6, 5, seed=1, dtype=dtype)
    return Case(
        lambda y: gf.match_histograms(image, y, method="rank", source_gradient="straight-through"),
        (_normal(2, 5, 7, dtype=dtype),),
    )


def match_histograms_of_a_dict(dtype):
    images = {"a": _normal(2, 6, 5, seed=1, dtype=dtype), "b": _normal(2, 4, 4, seed=2, dtype=dtype)}
    return Case(lambda y: gf.match_histograms(images, {"a": y, "b": 2 * y}), (_normal(2, 5, 7, dtype=dtype),))


def histogram_reference(dtype):
    reference = gf.HistogramReference(_normal(5, 7, seed=1, dtype=dtype))
    return Case(lambda x: reference.match(x, source_gradient="straight-through"), (_normal(2, 5, 7, dtype=dtype),))


def sliced_wasserstein_loss(dtype):
    y = _normal(1, 3, 6, 7, seed=1, dtype=dtype)
    return Case(lambda x: gf.sliced_wasserstein_loss(x, y, 8, seed=3), (_features(dtype),))


def steerable_pyramid_freq(dtype):
    pyramid = gf.SteerablePyramidFreq((16, 20), 2)
    return Case(lambda x: pyramid(x), (_normal(2, 16, 20, dtype=dtype),))


def steerable_pyramid_freq_complex(dtype):
    pyramid = gf.SteerablePyramidFreq((17, 24), 2, is_complex=True)
    return Case(lambda x: pyramid(x), (_normal(2, 17, 24, dtype=dtype),))


def steerable_pyramid_freq_back(dtype):
    pyramid = gf.SteerablePyramidFreq((16, 20), 2, is_complex=True)
    return Case(
        lambda x: pyramid.recon_pyr({k: c * c for k, c in pyramid(x).items()}), (_normal(2, 16, 20, dtype=dtype),)
    )


def steerable_pyramid_freq_steered(dtype):
    pyramid = gf.SteerablePyramidFreq((16, 20), 2, is_complex=True)
    return Case(lambda x: pyramid.steer_coeffs(pyramid(x), [0.3, 1.0])[0], (_normal(2, 16, 20, dtype=dtype),))


def steerable_pyramid_space(dtype):
    pyramid = gf.SteerablePyramidSpace((20, 24), 1, 1)
    return Case(lambda x: pyramid(x), (_normal(2, 20, 24, dtype=dtype),))


def steerable_pyramid_space_back(dtype):
    pyramid = gf.SteerablePyramidSpace((20, 24), 1, 1)
    return Case(
        lambda x: pyramid.recon_pyr({k: c * c for k, c in pyramid(x).items()}), (_normal(2, 20, 24, dtype=dtype),)
    )


def apply_views(dtype):
    views = _views("identity", "rotate_cw", "jigsaw", "negate")
    return Case(lambda x: gf.apply_views(x, views, copies=2), (_picture(dtype),))


def apply_views_that_mix(dtype):
    views = _views("identity", "dct", "householder", gf.view("hybrid_low", sigma=1.0))
    return Case(lambda x: gf.apply_views(x, views, copies=2), (_picture(dtype),))


def reduce_views(dtype):
    views = _views("identity", "rotate_cw", "negate")
    return Case(lambda m: gf.reduce_views(m, views, 3.0), (_normal(12, 6, 16, 16, dtype=dtype),))


def reduce_views_that_mix(dtype):
    views = _views("identity", "hadamard")
    return Case(lambda m: gf.reduce_views(m, views, (3.0, 2.0)), (_normal(8, 6, 16, 16, dtype=dtype),))


class Scheduler:
    pass


def _step(dtype, name, average):
    diffusers = __import__("diffusers")
    scheduler = getattr(diffusers, name)()
    scheduler.set_timesteps(10)
    step = gf.MultiViewStep(_views("identity", "rotate_180"), scheduler, 3.0, average=average)
    noise, t = _normal(2, *SHAPE, seed=2, dtype=dtype), step.timesteps[3]
    x = 0.3 * _normal(2, *SHAPE, seed=1, dtype=dtype)
    return Case(lambda m, z: step.step(m, t, z, noise=noise), (0.3 * _normal(8, *SHAPE, dtype=dtype), x))


def multi_view_step(dtype):
    return _step(dtype, "DDIMScheduler", "noise")


def multi_view_step_of_ddpm(dtype):
    return _step(dtype, "DDPMScheduler", "x0")


def portilla_simoncelli(dtype):
    model = gf.textures.PortillaSimoncelli((16, 16), 2, 2, 3)
    return Case(model, (_normal(2, 1, 16, 16, dtype=dtype),))


def portilla_simoncelli_of_matlab(dtype):
    model = gf.textures.PortillaSimoncelli((16, 16), 2, 3, 3)
    return Case(model.matlab_statistics, (_normal(2, 1, 16, 16, dtype=dtype),))


OPERATIONS = {
    name: f
    for name, f in list(globals().items())
    if getattr(f, "__module__", None) == __name__ and not name.startswith("_") and not isinstance(f, type)
}


def view_case(name):
    flow = torch.linspace(0, 1, 2 * 16 * 16).reshape(2, 16, 16)
    mask = torch.linspace(0, 1, 256).reshape(16, 16)
    p = {
        "rotate": {"degrees": 30.0},
        "warp": {"flow": flow.numpy()},
        "mask": {"mask": mask.numpy()},
        "mask_complement": {"mask": mask.numpy()},
        "scale": {"factor": 0.5},
    }.get(name, {})

    def make(dtype):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            b = gf.view(name, **p).bind(SHAPE)
        return Case(lambda x: (b.apply(x), b.inverse(x)), (_picture(dtype),))

    return make
