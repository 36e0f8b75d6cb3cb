"""Every public operation on tensors as functions of small tensors: what the tests of torch's modes walk through."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import torch

import genimg_fast as gf

SHAPE = (3, 8, 8)
Dtype = torch.dtype


class Case(NamedTuple):
    """A function of tensors, and the tensors."""

    function: Callable[..., Any]
    inputs: tuple[torch.Tensor, ...]


def normal(*shape: int, seed: int = 0, dtype: Dtype = torch.float32) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def _layer(dtype: Dtype) -> torch.Tensor:
    return normal(2, 3, 6, 7, dtype=dtype)


def _views(*names: Any) -> gf.Views:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return gf.Views(list(names), shape=SHAPE)


# ---- Gram matrices and moments ---------------------------------------------------------------------------------------


def gram(dtype: Dtype) -> Case:
    return Case(lambda x: gf.gram_matrix(x), (_layer(dtype),))


def masked_covariance(dtype: Dtype) -> Case:
    mask = normal(6, 7, seed=1).abs()
    return Case(lambda x: gf.gram_matrix(x, center=True, mask=mask), (_layer(dtype),))


def gram_of_two_layers(dtype: Dtype) -> Case:
    other = normal(2, 4, 6, 7, seed=1, dtype=dtype)
    return Case(lambda x, y: gf.gram_matrix(x, other=y, shift=(1, 2)), (_layer(dtype), other))


def gram_loss(dtype: Dtype) -> Case:
    target = gf.gram_matrix(normal(3, 6, 7, seed=1, dtype=dtype))
    return Case(lambda x: gf.gram_loss(x, target, reduction="crowsonkb"), (_layer(dtype),))


def moments(dtype: Dtype) -> Case:
    return Case(lambda x: gf.moments(x), (_layer(dtype),))


def moments_loss(dtype: Dtype) -> Case:
    target = gf.moments(normal(3, 6, 7, seed=1, dtype=dtype))
    return Case(lambda x: gf.moments_loss(x, target), (_layer(dtype),))


def wasserstein_of_moments(dtype: Dtype) -> Case:
    target = gf.moments(normal(3, 6, 7, seed=1, dtype=dtype))
    return Case(lambda x: gf.moments_loss(x, target, distance="w2"), (_layer(dtype),))


# ---- Histograms ------------------------------------------------------------------------------------------------------


def match_by_value(dtype: Dtype) -> Case:
    image = normal(2, 6, 5, seed=1, dtype=dtype)
    return Case(lambda y: gf.match_histograms(image, y), (normal(2, 5, 7, dtype=dtype),))


def match_by_rank(dtype: Dtype) -> Case:
    image = normal(2, 6, 5, seed=1, dtype=dtype)
    return Case(lambda y: gf.match_histograms(image, y, method="rank"), (normal(2, 5, 7, dtype=dtype),))


def match_a_dict(dtype: Dtype) -> Case:
    images = {"a": normal(2, 6, 5, seed=1, dtype=dtype), "b": normal(2, 4, 4, seed=2, dtype=dtype)}
    return Case(lambda y: gf.match_histograms(images, {"a": y, "b": 2 * y}), (normal(2, 5, 7, dtype=dtype),))


def match_a_reference(dtype: Dtype) -> Case:
    image = normal(2, 6, 5, seed=1, dtype=dtype)
    return Case(lambda y: gf.HistogramReference(y).match(image), (normal(2, 5, 7, dtype=dtype),))


def sliced_wasserstein_loss(dtype: Dtype) -> Case:
    y = normal(1, 3, 5, 7, seed=1, dtype=dtype)
    return Case(lambda x: gf.sliced_wasserstein_loss(x, y, 8, seed=3), (_layer(dtype),))


# ---- Pyramids --------------------------------------------------------------------------------------------------------


def frequency(dtype: Dtype) -> Case:
    pyramid = gf.SteerablePyramidFreq((16, 20), 2)
    return Case(lambda x: pyramid(x), (normal(2, 16, 20, dtype=dtype),))


def frequency_and_back(dtype: Dtype) -> Case:
    pyramid = gf.SteerablePyramidFreq((17, 24), 2, is_complex=True)

    def squared(x: torch.Tensor) -> torch.Tensor:
        return pyramid.recon_pyr({key: c * c for key, c in pyramid(x).items()})

    return Case(squared, (normal(2, 17, 24, dtype=dtype),))


def frequency_steered(dtype: Dtype) -> Case:
    pyramid = gf.SteerablePyramidFreq((16, 20), 2, is_complex=True)
    return Case(lambda x: pyramid.steer_coeffs(pyramid(x), [0.3, 1.0])[0], (normal(2, 16, 20, dtype=dtype),))


def space(dtype: Dtype) -> Case:
    pyramid = gf.SteerablePyramidSpace((20, 24), 1, 1)
    return Case(lambda x: pyramid(x), (normal(2, 20, 24, dtype=dtype),))


def space_and_back(dtype: Dtype) -> Case:
    pyramid = gf.SteerablePyramidSpace((20, 24), 1, 1)

    def squared(x: torch.Tensor) -> torch.Tensor:
        return pyramid.recon_pyr({key: c * c for key, c in pyramid(x).items()})

    return Case(squared, (normal(2, 20, 24, dtype=dtype),))


# ---- Views -----------------------------------------------------------------------------------------------------------


def permutations(dtype: Dtype) -> Case:
    views = _views("identity", "rotate_cw", "jigsaw", "negate")
    return Case(lambda x: gf.apply_views(x, views, copies=2), (normal(2, *SHAPE, dtype=dtype),))


def mixing_views(dtype: Dtype) -> Case:
    views = _views("dct", "householder", "blur", gf.view("rotate", degrees=30.0), "hybrid_low @ flip")
    return Case(lambda x: gf.apply_views(x, views), (normal(2, *SHAPE, dtype=dtype),))


def one_view(dtype: Dtype) -> Case:
    views = _views("jigsaw", "random_patch")
    return Case(lambda x: [view.apply(x * view.inverse(x)) for view in views], (normal(2, *SHAPE, dtype=dtype),))


def averaged_views(dtype: Dtype) -> Case:
    views = _views("identity", "rotate_cw", "negate")
    return Case(lambda m: gf.reduce_views(m, views, 3.0), (normal(12, 6, 8, 8, dtype=dtype),))


def averaged_mixing_views(dtype: Dtype) -> Case:
    views = _views("identity", "hadamard")
    return Case(lambda m: gf.reduce_views(m, views, (3.0, 2.0)), (normal(8, 6, 8, 8, dtype=dtype),))


def _step(dtype: Dtype, name: str, average: str) -> Case:
    import diffusers

    scheduler = getattr(diffusers, name)()
    scheduler.set_timesteps(10)
    step = gf.MultiViewStep(_views("identity", "rotate_180"), scheduler, 3.0, average=average)
    t, noise = step.timesteps[3], normal(2, *SHAPE, seed=2, dtype=dtype)
    tensors = (0.3 * normal(8, *SHAPE, dtype=dtype), 0.3 * normal(2, *SHAPE, seed=1, dtype=dtype))
    return Case(lambda prediction, x: step.step(prediction, t, x, noise=noise), tensors)


def step(dtype: Dtype) -> Case:
    return _step(dtype, "DDIMScheduler", "noise")


def noisy_step(dtype: Dtype) -> Case:
    return _step(dtype, "DDPMScheduler", "x0")


# ---- Modules and what else there is ----------------------------------------------------------------------------------


def statistics(dtype: Dtype) -> Case:
    return Case(gf.textures.PortillaSimoncelli((16, 16), 2, 2, 3), (normal(2, 1, 16, 16, dtype=dtype),))


def statistics_of_matlab(dtype: Dtype) -> Case:
    model = gf.textures.PortillaSimoncelli((16, 16), 2, 3, 3)
    return Case(lambda x: model.matlab_statistics(x), (normal(2, 1, 16, 16, dtype=dtype),))


def adain(dtype: Dtype) -> Case:
    style = normal(2, 3, 5, 4, seed=1, dtype=dtype)
    return Case(lambda x: gf.style.adain(x, style), (_layer(dtype),))


# What of each public name is walked through. Those of no tensors are in NO_TENSORS.
OPERATIONS: dict[str, tuple[Callable[[Dtype], Case], ...]] = {
    "HistogramReference": (match_a_reference,),
    "MultiViewStep": (step, noisy_step),
    "SteerablePyramidFreq": (frequency, frequency_and_back, frequency_steered),
    "SteerablePyramidSpace": (space, space_and_back),
    "apply_views": (permutations, mixing_views),
    "gram_loss": (gram_loss,),
    "gram_matrix": (gram, masked_covariance, gram_of_two_layers),
    "match_histograms": (match_by_value, match_by_rank, match_a_dict),
    "moments": (moments,),
    "moments_loss": (moments_loss, wasserstein_of_moments),
    "reduce_views": (averaged_views, averaged_mixing_views),
    "sliced_wasserstein_loss": (sliced_wasserstein_loss,),
    "style.adain": (adain,),
    "textures.PortillaSimoncelli": (statistics, statistics_of_matlab),
    "view": (one_view,),
}
NO_TENSORS = {"Moments", "Permute", "View", "Views", "build_info", "check_view", "get_num_threads", "set_num_threads"}
CASES = {f"{name}-{make.__name__}": make for name, makes in OPERATIONS.items() for make in makes}


def leaves(results: Any) -> list[torch.Tensor]:
    """Return the tensors of a result, complex ones as two real numbers."""
    found = torch.utils._pytree.tree_leaves(results)
    return [torch.view_as_real(x) if x.is_complex() else x for x in found]
