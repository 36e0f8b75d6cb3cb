"""Wrapped networks against a plain loop over the views, and in the pipelines of diffusers, unchanged."""

from __future__ import annotations

import pytest
import torch

import genimg_fast as gf
from genimg_fast.diffusion._wrappers import NOT_ON_LATENTS
from genimg_fast.views import CATALOG

diffusers = pytest.importorskip("diffusers")

from tiny_pipelines import NEGATIVE, PROMPT, close, loop, normal, plain_unet, text_unet, views  # noqa: E402


@torch.no_grad()
@pytest.mark.parametrize("out", [3, 6])
@pytest.mark.parametrize("weights", [None, [1.0, 2.0, 5.0]])
@pytest.mark.parametrize("reduce", ["mean", "sum"])
def test_plain_network_is_the_loop(out, weights, reduce):
    unet, bound, x = plain_unet(out=out), views(), normal(2, 3, 8, 8)
    found = gf.diffusion.MultiViewUNet(unet, bound, weights=weights, reduce=reduce)(x, torch.tensor([7, 300])).sample
    assert close(
        found, loop(lambda _, seen: unet(seen, torch.tensor([7, 300])).sample, bound, x, weights, reduce == "mean")
    )


@torch.no_grad()
def test_classes_of_views():
    unet, bound, x = plain_unet(num_class_embeds=4), views(), normal(2, 3, 8, 8)
    wrapped = gf.diffusion.MultiViewUNet(unet, bound, class_labels=[3, 0, 2])
    labels = [torch.tensor([k, k]) for k in (3, 0, 2)]
    expected = loop(lambda i, seen: unet(seen, 10, class_labels=labels[i]).sample, bound, x)
    assert close(wrapped(x, 10, class_labels=torch.tensor([1, 1]), return_dict=False)[0], expected)
    others = torch.tensor([1, 2])
    expected = loop(lambda _, seen: unet(seen, 10, class_labels=others).sample, bound, x)
    assert close(gf.diffusion.MultiViewUNet(unet, bound)(x, 10, class_labels=others).sample, expected)


@torch.no_grad()
@pytest.mark.parametrize("negative", [None, NEGATIVE, NEGATIVE[:1]])
def test_guided_network_is_the_loop(negative):
    unet, bound, x = text_unet(), views(), normal(2, 3, 8, 8).repeat(2, 1, 1, 1)
    text = normal(4, 5, 8, seed=3)
    wrapped = gf.diffusion.MultiViewUNet(unet, bound, PROMPT, negative_prompt_embeds=negative)
    found = wrapped(x, 50, text).sample

    def each(i, seen):
        first = text[:2] if negative is None else negative[i % len(negative)].expand(2, -1, -1)
        return unet(seen, 50, torch.cat([first, PROMPT[i].expand(2, -1, -1)])).sample

    assert close(found, loop(each, bound, x))


@torch.no_grad()
def test_network_without_guidance():
    unet, bound, x = text_unet(), views(), normal(3, 3, 8, 8)
    found = gf.diffusion.MultiViewUNet(unet, bound, PROMPT, guided=False)(x, 50, normal(3, 5, 8)).sample
    assert close(found, loop(lambda i, seen: unet(seen, 50, PROMPT[i].expand(3, -1, -1)).sample, bound, x))
    text = normal(3, 5, 8, seed=9)
    found = gf.diffusion.MultiViewUNet(unet, bound)(x, 50, text).sample
    assert close(found, loop(lambda _, seen: unet(seen, 50, text).sample, bound, x))


@torch.no_grad()
def test_two_pictures_in_one_input_are_both_viewed():
    unet, bound, x = text_unet(6, class_embed_type="timestep"), views(), normal(4, 6, 8, 8)
    levels, text = torch.tensor([10, 10, 20, 20]), normal(4, 5, 8)
    found = gf.diffusion.MultiViewUNet(unet, bound)(x, 50, text, class_labels=levels).sample
    assert close(found, loop(lambda _, seen: unet(seen, 50, text, class_labels=levels).sample, bound, x))


@torch.no_grad()
@pytest.mark.parametrize("kind", ["DDPM", "DDIM"])
def test_pipelines_without_prompts(kind):
    unet, bound = plain_unet(out=3, num_class_embeds=4), views()
    scheduler = getattr(diffusers, f"{kind}Scheduler")(num_train_timesteps=50)
    wrapped = gf.diffusion.MultiViewUNet(unet, bound, class_labels=[3, 0, 2])
    pipe = getattr(diffusers, f"{kind}Pipeline")(wrapped, scheduler)
    pipe.set_progress_bar_config(disable=True)
    options = {"batch_size": 2, "num_inference_steps": 4, "output_type": "np"}
    found = pipe(generator=torch.Generator().manual_seed(1), **options).images

    class Loop(torch.nn.Module):
        config, dtype, device = unet.config, torch.float32, torch.device("cpu")

        def forward(self, x, t):
            labels = [torch.full((len(x),), k) for k in (3, 0, 2)]
            result = loop(lambda i, seen: unet(seen, t, class_labels=labels[i]).sample, bound, x)
            return type("Output", (), {"sample": result})

    pipe.unet = Loop()
    expected = pipe(generator=torch.Generator().manual_seed(1), **options).images
    assert found.shape == (2, 8, 8, 3)
    assert abs(found - expected).max() < 1e-5


def test_it_looks_like_the_network():
    unet = text_unet().to(torch.float64)
    wrapped = gf.diffusion.MultiViewUNet(unet, views(), PROMPT)
    assert wrapped.config is unet.config
    assert wrapped.config.in_channels == 3
    assert wrapped.dtype == torch.float64
    assert wrapped.device == unet.device
    assert "prompt_embeds" not in wrapped.state_dict()
    with pytest.raises(AttributeError, match="nothing_of_this_name"):
        _ = wrapped.nothing_of_this_name


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prompt_embeds": PROMPT[:2]}, "prompt_embeds must have 3 entries"),
        ({"prompt_embeds": PROMPT[:, 0]}, "prompt_embeds must be"),
        ({"negative_prompt_embeds": PROMPT[:2]}, "negative_prompt_embeds must have 1 or 3 entries"),
        ({"negative_prompt_embeds": NEGATIVE, "guided": False}, "negative_prompt_embeds must be None"),
        ({"class_labels": [1, 2]}, "class_labels must be"),
        ({"reduce": "alternate"}, "reduce must be"),
    ],
)
def test_wrong_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        gf.diffusion.MultiViewUNet(text_unet(), views(), **options)


def test_wrong_calls():
    wrapped = gf.diffusion.MultiViewUNet(text_unet(), views(), PROMPT)
    with pytest.raises(ValueError, match="two halves"):
        wrapped(normal(3, 3, 8, 8), 5, normal(3, 5, 8))
    with pytest.raises(ValueError, match="sample must be"):
        wrapped(normal(2, 3, 9, 8), 5, normal(2, 5, 8))
    with pytest.raises(ValueError, match="mid_block_additional_residual"):
        wrapped(normal(2, 3, 8, 8), 5, normal(2, 5, 8), mid_block_additional_residual=normal(2, 16, 4, 4))
    with pytest.raises(ValueError, match="encoder_hidden_states"):
        wrapped(normal(2, 3, 8, 8), 5)


@pytest.mark.parametrize("name", ["negate", "flip @ negate", "pixel_permute"])
def test_views_that_latents_do_not_have(name, recwarn):
    unet = text_unet(4, 4)
    with pytest.warns(UserWarning, match="no sense on latents"):
        gf.diffusion.MultiViewUNet(unet, views(4, ["identity", name]))
    recwarn.clear()
    gf.diffusion.MultiViewUNet(unet, views(4, ["identity", name]), latents=False)
    gf.diffusion.MultiViewUNet(unet, views(4, ["flip", "hflip", "rotate_cw"]))
    gf.diffusion.MultiViewUNet(text_unet(), views(3, [name]))
    assert not [one for one in recwarn if "latents" in str(one.message)]


def test_views_that_latents_do_not_have_are_in_the_catalogue():
    assert set(CATALOG) >= NOT_ON_LATENTS


# ---- k-diffusion ----------------------------------------------------------------------------------------------------


def denoise(x, sigma, cond, shift=0.0):
    """A denoiser that depends on place, noise and condition."""
    ramp = torch.linspace(-1, 1, x.shape[-1])
    return (x + ramp * cond[:, :, None, None] + shift) / (1 + sigma[:, None, None, None] ** 2)


@pytest.mark.parametrize("guidance", [None, 3.0, [1.0, 4.0, 2.0]])
@pytest.mark.parametrize("reduce", ["mean", "sum"])
def test_denoiser_is_the_loop(guidance, reduce):
    bound, x, sigma = views(), normal(2, 3, 8, 8), torch.tensor([0.5, 2.0])
    cond, none = normal(3, 3, seed=2), normal(1, 3, seed=3)
    weights = [1.0, 2.0, 5.0]
    wrapped = gf.diffusion.MultiViewDenoiser(
        denoise, bound, {"cond": cond}, unconditional=None if guidance is None else {"cond": none},
        guidance=guidance, weights=weights, reduce=reduce,
    )  # fmt: skip

    def each(i, seen):
        c = denoise(seen, sigma, cond[i : i + 1], shift=0.25)
        if guidance is None:
            return c
        g = guidance if isinstance(guidance, float) else guidance[i]
        u = denoise(seen, sigma, none, shift=0.25)
        return u + g * (c - u)

    assert close(wrapped(x, sigma, shift=0.25), loop(each, bound, x, weights, reduce == "mean"))


def test_denoiser_refuses_what_does_not_fit():
    cond = normal(3, 3)
    with pytest.raises(ValueError, match="guidance needs unconditional"):
        gf.diffusion.MultiViewDenoiser(denoise, views(), {"cond": cond}, guidance=2.0)
    with pytest.raises(ValueError, match="only it does"):
        gf.diffusion.MultiViewDenoiser(denoise, views(), {"cond": cond}, unconditional={"cond": cond})
    with pytest.raises(ValueError, match="must have 3 entries"):
        gf.diffusion.MultiViewDenoiser(denoise, views(), {"cond": cond[:2]})
    with pytest.raises(ValueError, match="denoise must return"):
        gf.diffusion.MultiViewDenoiser(lambda x, sigma: x[:1], views())(normal(1, 3, 8, 8), torch.ones(1))
