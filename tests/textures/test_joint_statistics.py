"""What a descent on joint statistics minimises: values in units in which they compare."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from skimage import data

import genimg_fast as gf
from genimg_fast.textures._joint_statistics import Settings, measure
from genimg_fast.textures._texture import Model, texture_of
from genimg_fast.textures._texture_projection import TextureProjection

GRAVEL = data.gravel()[:64, :64] / 255.0
COLOUR = np.moveaxis(data.immunohistochemistry()[:32, :32], -1, 0) / 255.0
MODEL = Model(2, 4, 5)


def planes(picture: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(picture.reshape(1, -1, *picture.shape[-2:]))


def test_values_are_correlations_and_relative_deviations():
    x = planes(GRAVEL)
    pyramid = MODEL.pyramid((64, 64))
    own, double = (measure(one, pyramid, Settings(5)) for one in (x, 2 * x))
    changed = {family: value / own.normalised(own)[family] for family, value in double.normalised(own).items()}
    for family, n in (("autocorrelation", 3 + 1 + 1), ("magnitudes", 2 * 4 * 2), ("phases", 0)):
        twice = (changed[family] - 2).abs() < 1e-9
        assert int(twice.sum()) == n, family
        assert (changed[family][~twice] - 1).abs().nanquantile(0.999) < 1e-9
    model = gf.textures.PortillaSimoncelli((64, 64), n_scales=2, spatial_corr_width=5)
    phases = model.convert_to_dict(model(x))["cross_scale_correlation_real"]
    torch.testing.assert_close(own.normalised(own)["phases"].sort().values, phases.flatten().sort().values[None])


@pytest.mark.parametrize("picture", [GRAVEL[:16, :16], COLOUR[:, :16, :16]], ids=["grey", "colours"])
def test_the_loss_is_differentiable(picture):
    texture = texture_of([picture.reshape(-1, 16, 16)], [1.0], MODEL)
    noise = np.random.default_rng(0).uniform(0, 1, planes(picture).shape)
    start = torch.from_numpy(0.5 * noise).requires_grad_()

    def loss(x):
        return texture.loss(MODEL, MODEL.pyramid((16, 16)))(x)[0]

    assert torch.autograd.gradcheck(loss, start, atol=1e-6, rtol=1e-4, fast_mode=True)
    assert float(loss(planes(picture)).sum()) < 1e-12 < float(loss(start.detach()).sum())


def test_the_loss_knows_colours_and_leaves_families_out():
    texture, x = texture_of([COLOUR], [1.0], MODEL), planes(COLOUR)
    pyramid = MODEL.pyramid((32, 32))
    assert float(texture.loss(MODEL, pyramid)(x + 0.1)[0]) > 1e-6
    unmarked = MODEL._replace(families=("autocorrelation", "magnitudes", "phases"))
    value, errors = texture.loss(unmarked, pyramid)(x + 0.1)
    assert float(value) < 1e-12
    assert list(errors) == list(unmarked.families)


@pytest.mark.parametrize("factor", [0.3, 3.0])
def test_the_highpass_residual_takes_its_variance_from_either_side(factor):
    picture = GRAVEL[None]
    texture = texture_of([picture], [1.0], MODEL)
    project = TextureProjection(texture, MODEL, (64, 64), (64, 64))
    highpass = MODEL.pyramid((64, 64)).subbands(texture.colours.principal(planes(picture))).highpass
    torch.testing.assert_close(project._highpass(factor * highpass), highpass)
