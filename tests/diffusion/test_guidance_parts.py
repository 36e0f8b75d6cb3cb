"""Conditions of any container, pooled embeddings, and batches of more parts than two, in wrapped networks."""

from __future__ import annotations

import warnings

import pytest
import torch

import genimg_fast as gf

diffusers = pytest.importorskip("diffusers")

from diffusers.models.attention_processor import (  # noqa: E402
    PAGCFGIdentitySelfAttnProcessor2_0,
    PAGIdentitySelfAttnProcessor2_0,
)
from tiny_pipelines import NEGATIVE, PROMPT, close, loop, normal, text_unet, views  # noqa: E402

POOLED = normal(3, 6, seed=7)
TIMES = torch.tensor([[8.0, 8, 0, 0, 8, 8]])


def pooled_unet():
    """A network that takes pooled embeddings and sizes, as SDXL's does."""
    return text_unet(
        addition_embed_type="text_time", addition_time_embed_dim=4, projection_class_embeddings_input_dim=6 + 6 * 4
    )


class Recorder(torch.nn.Module):
    """Keeps the conditions that it is called with."""

    def forward(self, sample, timestep, return_dict=True, **conditions):
        self.seen = conditions
        return (sample,)


def test_conditions_in_lists_and_tuples_are_repeated():
    network, x = Recorder(), normal(2, 3, 8, 8)
    one, two, mask = normal(2, 1, 4, seed=1), normal(2, 2, 4, seed=2), torch.tensor([[1.0, 0.0]])
    gf.diffusion.MultiViewUNet(network, views())(
        x, 5, return_dict=False, added_cond_kwargs={"image_embeds": [one, (two, mask)]}, attention_mask=None
    )
    found, (nested, kept) = network.seen["added_cond_kwargs"]["image_embeds"]
    assert torch.equal(found, one.repeat(3, 1, 1))
    assert torch.equal(nested, two.repeat(3, 1, 1))
    assert kept is mask
    assert network.seen["attention_mask"] is None


def test_a_single_picture_has_its_conditions_repeated():
    network = Recorder()
    gf.diffusion.MultiViewUNet(network, views())(
        normal(1, 3, 8, 8), torch.tensor([5]), return_dict=False, e=[PROMPT[:1]]
    )
    assert network.seen["e"][0].shape == (3, 5, 8)


@pytest.mark.parametrize(
    ("conditions", "message"),
    [
        (
            {"added_cond_kwargs": {"image_embeds": [PROMPT]}},
            r"added_cond_kwargs\['image_embeds'\]\[0\] must have 1 or 2",
        ),
        ({"down_block_additional_residuals": (normal(2, 8, 8, 8),)}, "down_block_additional_residuals must be None"),
        (
            {"cross_attention_kwargs": {"ip_adapter_masks": [normal(1, 1, 8, 8)]}},
            r"cross_attention_kwargs\[.ip_adapter_masks.\] must be None",
        ),
        ({"added_cond_kwargs": {"hint": normal(2, 3, 8, 8)}}, r"added_cond_kwargs\[.hint.\] must be None"),
    ],
)
def test_conditions_that_do_not_fit_are_refused(conditions, message):
    with pytest.raises(ValueError, match=f"MultiViewUNet: {message}"):
        gf.diffusion.MultiViewUNet(Recorder(), views())(normal(2, 3, 8, 8), 5, **conditions)


@torch.no_grad()
@pytest.mark.parametrize("negative", [None, {"text_embeds": normal(1, 6, seed=9)}])
def test_pooled_embeddings_differ_from_view_to_view(negative):
    unet, bound, x = pooled_unet(), views(), normal(2, 3, 8, 8).repeat(2, 1, 1, 1)
    text, pooled, sizes = normal(4, 5, 8, seed=3), normal(4, 6, seed=4), TIMES.repeat(4, 1)
    own_sizes = TIMES + torch.arange(3.0)[:, None]
    wrapped = gf.diffusion.MultiViewUNet(
        unet, bound, PROMPT, added_cond_kwargs={"text_embeds": POOLED, "time_ids": own_sizes},
        negative_added_cond_kwargs=negative,
    )  # fmt: skip
    found = wrapped(x, 50, text, added_cond_kwargs={"text_embeds": pooled, "time_ids": sizes}).sample

    def each(i, seen):
        first = pooled[:2] if negative is None else negative["text_embeds"].expand(2, -1)
        added = {
            "text_embeds": torch.cat([first, POOLED[i].expand(2, -1)]),
            "time_ids": torch.cat([sizes[:2], own_sizes[i].expand(2, -1)]),
        }
        return unet(seen, 50, torch.cat([text[:2], PROMPT[i].expand(2, -1, -1)]), added_cond_kwargs=added).sample

    assert close(found, loop(each, bound, x))


def test_pooled_embeddings_that_are_missing_are_said():
    with pytest.warns(UserWarning, match="pooled embeddings"):
        gf.diffusion.MultiViewUNet(pooled_unet(), views(), PROMPT)
    with pytest.raises(ValueError, match=r"added_cond_kwargs\['text_embeds'\] must have 3 entries"):
        gf.diffusion.MultiViewUNet(pooled_unet(), views(), PROMPT, added_cond_kwargs={"text_embeds": POOLED[:2]})
    with pytest.raises(ValueError, match="negative_added_cond_kwargs must be None"):
        gf.diffusion.MultiViewUNet(
            pooled_unet(), views(), guided=False, negative_added_cond_kwargs={"text_embeds": POOLED}
        )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        gf.diffusion.MultiViewUNet(text_unet(), views(), PROMPT)


def perturbed(kind, **options):
    unet = text_unet(**options)
    for name, module in unet.named_modules():
        if name.endswith("attn1"):
            module.set_processor(kind())
    return unet


@torch.no_grad()
@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("b", [1, 2])
def test_perturbed_attention_with_guidance_is_the_loop(own, b):
    unet, bound, x = perturbed(PAGCFGIdentitySelfAttnProcessor2_0), views(), normal(b, 3, 8, 8).repeat(3, 1, 1, 1)
    none, text = normal(1, 5, 8, seed=3).expand(b, -1, -1), normal(1, 5, 8, seed=4).expand(b, -1, -1)
    given = torch.cat([none, text, text])
    options = {"prompt_embeds": PROMPT, "negative_prompt_embeds": NEGATIVE} if own else {}
    found = gf.diffusion.MultiViewUNet(unet, bound, **options)(x, 50, given).sample

    def each(i, seen):
        u, c = (NEGATIVE[i].expand(b, -1, -1), PROMPT[i].expand(b, -1, -1)) if own else (none, text)
        return unet(seen, 50, torch.cat([u, c, c])).sample

    assert close(found, loop(each, bound, x))


@torch.no_grad()
def test_perturbed_attention_without_guidance_is_the_loop():
    unet, bound, x = perturbed(PAGIdentitySelfAttnProcessor2_0), views(), normal(2, 3, 8, 8).repeat(2, 1, 1, 1)
    found = gf.diffusion.MultiViewUNet(unet, bound, PROMPT, guided=False)(x, 50, normal(4, 5, 8)).sample
    assert close(found, loop(lambda i, seen: unet(seen, 50, PROMPT[i].expand(4, -1, -1)).sample, bound, x))
    with pytest.raises(ValueError, match=r"guided must be False, as perturbed attention \(PAG\)"):
        gf.diffusion.MultiViewUNet(unet, bound, PROMPT)(x, 50, normal(4, 5, 8))
    with pytest.raises(ValueError, match="two halves"):
        gf.diffusion.MultiViewUNet(unet, bound)(normal(3, 3, 8, 8), 50, normal(3, 5, 8))


@torch.no_grad()
def test_other_parts_are_named():
    unet, bound, x = text_unet(), views(), normal(2, 3, 8, 8).repeat(3, 1, 1, 1)
    none, text = (normal(1, 5, 8, seed=seed).expand(2, -1, -1) for seed in (3, 4))
    given = torch.cat([text, none, none])
    found = gf.diffusion.MultiViewUNet(unet, bound, PROMPT, guided=(False, True, True))(x, 50, given).sample

    def each(i, seen):
        return unet(seen, 50, torch.cat([PROMPT[i].expand(2, -1, -1), none, none])).sample

    assert close(found, loop(each, bound, x))
    with pytest.raises(ValueError, match="the same encoder_hidden_states stand in both halves"):
        gf.diffusion.MultiViewUNet(unet, bound, PROMPT)(x, 50, given)
    with pytest.raises(ValueError, match="sample must hold three parts"):
        gf.diffusion.MultiViewUNet(unet, bound, PROMPT, guided=(False, True, True))(x[:4], 50, given[:4])
    with pytest.raises(TypeError, match="guided must be"):
        gf.diffusion.MultiViewUNet(unet, bound, PROMPT, guided=2)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("FluxTransformer2DModel", {"num_layers": 1, "num_single_layers": 1, "axes_dims_rope": (2, 2, 4)}),
        ("SD3Transformer2DModel", {"sample_size": 8, "num_layers": 1}),
        ("PixArtTransformer2DModel", {"sample_size": 8, "num_layers": 1, "cross_attention_dim": 8}),
        ("Transformer2DModel", {"in_channels": 4, "num_layers": 1, "norm_num_groups": 2}),
    ],
)
def test_transformers_are_refused_by_name(name, options):
    kind = getattr(diffusers, name)
    network = kind(num_attention_heads=2, attention_head_dim=8, **options)
    with pytest.raises(TypeError, match=rf"called as \(sample, timestep, ...\) .* got a {name}"):
        gf.diffusion.MultiViewUNet(network, views(4))


def test_what_is_no_network_is_refused():
    with pytest.raises(TypeError, match=r"unet must be a torch.nn.Module, got function"):
        gf.diffusion.MultiViewUNet(lambda x, t: x, views())
    with pytest.raises(TypeError, match=r"views must be gf.Views, got list"):
        gf.diffusion.MultiViewUNet(text_unet(), ["flip"])
    wrapped = gf.diffusion.MultiViewUNet(text_unet(), views())
    with pytest.raises(TypeError, match=r"MultiViewUNet: sample must be a torch\.Tensor, got ndarray"):
        wrapped(normal(2, 3, 8, 8).numpy(), 5)
    with pytest.raises(TypeError, match="MultiViewDenoiser: denoise must be a function, got int"):
        gf.diffusion.MultiViewDenoiser(3, views())
    with pytest.raises(TypeError, match=r"MultiViewDenoiser: views must be gf\.Views, got str"):
        gf.diffusion.MultiViewDenoiser(lambda x, sigma: x, "flip")
    with pytest.raises(ValueError, match=r"denoise must return \(3, 3, 8, 8\), got NoneType"):
        gf.diffusion.MultiViewDenoiser(lambda x, sigma: None, views())(normal(1, 3, 8, 8), torch.ones(1))
    with pytest.raises(TypeError, match="IFMultiViewPipeline: pipe must be a pipeline of diffusers"):
        gf.diffusion.IFMultiViewPipeline.from_pipe(text_unet(), ["flip"])
