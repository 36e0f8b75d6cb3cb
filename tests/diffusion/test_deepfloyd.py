"""Both stages of DeepFloyd IF with random networks of their shape, against a plain loop with diffusers' own step."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

import genimg_fast as gf

diffusers = pytest.importorskip("diffusers")

from tiny_pipelines import NEGATIVE, PROMPT, close, loop, normal, text_unet, views  # noqa: E402

SCHEDULE = {
    "num_train_timesteps": 100, "beta_schedule": "squaredcos_cap_v2", "variance_type": "learned_range",
    "thresholding": True, "dynamic_thresholding_ratio": 0.95, "sample_max_value": 1.5,
}  # fmt: skip


def stage(upscaler: bool = False, **schedule):
    unet = text_unet(6, class_embed_type="timestep") if upscaler else text_unet()
    noising = diffusers.DDPMScheduler(num_train_timesteps=100, beta_schedule="squaredcos_cap_v2") if upscaler else None
    scheduler = diffusers.DDPMScheduler(**SCHEDULE | schedule)
    return SimpleNamespace(unet=unet, scheduler=scheduler, image_noising_scheduler=noising)


def draw(pipe, names=("identity", "rotate_cw", "negate"), seed=3, made=None, **options):
    multiview = gf.diffusion.IFMultiViewPipeline.from_pipe(pipe, list(names), **made or {})
    generator = torch.Generator().manual_seed(seed)
    arguments = {"steps": 5, "noise_level": 30, "progress": False, **options}
    return multiview(PROMPT, NEGATIVE, generator=generator, **arguments)


@torch.no_grad()
def eager(pipe, n, guidance, image=None, weights=None, seed=3, level=30):
    """Return what the loop of diffusers' pipelines draws, with the views one by one around the network."""
    bound, unet, generator = views(), pipe.unet, torch.Generator().manual_seed(seed)
    scheduler = diffusers.DDPMScheduler.from_config(pipe.scheduler.config)
    scheduler.set_timesteps(5)
    x = torch.randn((n, 3, 8, 8), generator=generator)
    options = {}
    if image is not None:
        upscaled = torch.nn.functional.interpolate(image * 2 - 1, (8, 8), mode="bilinear", align_corners=True)
        options["class_labels"] = torch.full((n,), level)
        noise = torch.randn(upscaled.shape, generator=generator)
        upscaled = pipe.image_noising_scheduler.add_noise(upscaled, noise, options["class_labels"])

    def each(i, seen):
        def predict(text):
            return unet(seen, t, text[i].expand(n, -1, -1), return_dict=False, **options)[0]

        c = predict(PROMPT)
        if guidance is None:
            return c
        u = predict(NEGATIVE)
        return torch.cat([u[:, :3] + guidance * (c[:, :3] - u[:, :3]), c[:, 3:]], 1)

    for t in scheduler.timesteps:
        inputs = x if image is None else torch.cat([x, upscaled], 1)
        mean = loop(each, bound, inputs, weights)
        if scheduler.config.variance_type != "learned_range":
            mean = mean[:, :3]
        x = scheduler.step(mean, t, x, generator=generator).prev_sample
    return (x / 2 + 0.5).clamp(0, 1)


@pytest.mark.parametrize("guidance", [7.0, None])
@pytest.mark.parametrize("weights", [None, [1.0, 2.0, 5.0]])
@pytest.mark.parametrize("variance", ["learned_range", "fixed_small"])
def test_first_stage_is_the_loop(guidance, weights, variance):
    pipe = stage(variance_type=variance)
    found = draw(pipe, n=2, guidance=guidance, made={"weights": weights}).images
    assert close(found, eager(pipe, 2, guidance, weights=weights))


@pytest.mark.parametrize("guidance", [4.0, None])
def test_second_stage_is_the_loop(guidance):
    pipe, image = stage(True), torch.rand(2, 3, 4, 4, generator=torch.Generator().manual_seed(1))
    assert close(draw(pipe, image=image, guidance=guidance).images, eager(pipe, 2, guidance, image))


def test_options_are_heard():
    pipe, image = stage(True), torch.rand(1, 3, 4, 4, generator=torch.Generator().manual_seed(1))
    plain = draw(pipe, image=image).images
    assert torch.equal(plain, draw(pipe, image=image).images)
    for options in ({"noise_level": 60}, {"seed": 4}, {"steps": 6}, {"guidance": lambda number, t: number}):
        assert not close(plain, draw(pipe, image=image, **options).images)
    for made in ({"reduce": "alternate"}, {"average": "x0"}):
        assert not close(plain, draw(pipe, image=image, made=made).images)
    assert not close(plain, draw(pipe, ["identity", "flip", "negate"], image=image).images)


def test_callback_previews_and_bar(capsys):
    pipe, seen = stage(), []
    found = draw(pipe, callback=lambda *given: seen.append(given), preview_every=2)
    assert [number for number, _, _ in seen] == [0, 1, 2, 3, 4]
    assert [t for _, t, _ in seen] == [80, 60, 40, 20, 0]
    assert torch.equal((seen[-1][2] / 2 + 0.5).clamp(0, 1), found.images)
    assert [number for number, _ in found.previews] == [0, 2, 4]
    assert all(picture.shape == found.images.shape for _, picture in found.previews)
    assert not draw(pipe).previews
    assert not capsys.readouterr().err


@pytest.mark.parametrize("clipping", [{}, {"thresholding": False}, {"thresholding": False, "clip_sample": False}])
@pytest.mark.parametrize("guidance", [7.0, None])
def test_previews_are_the_expected_pictures(clipping, guidance, monkeypatch):
    wanted, step = [], diffusers.DDPMScheduler.step

    def watched(*given, **options):
        found = step(*given, **options)
        wanted.append((found.pred_original_sample / 2 + 0.5).clamp(0, 1))
        return found

    monkeypatch.setattr(diffusers.DDPMScheduler, "step", watched)
    pipe = stage(**clipping)
    eager(pipe, 2, guidance)
    found = draw(pipe, n=2, guidance=guidance, preview_every=1)
    assert len(wanted) == 5
    assert all(close(preview, picture) for (_, preview), picture in zip(found.previews, wanted, strict=True))


def test_prompts_go_through_the_text_encoder():
    pipe = stage()
    pipe.encode_prompt = lambda prompts, guided, device: (PROMPT, NEGATIVE)
    multiview = gf.diffusion.IFMultiViewPipeline.from_pipe(pipe, ["identity", "rotate_cw", "negate"])
    options = {"steps": 2, "progress": False}
    found, wanted = (
        multiview(*text, generator=torch.Generator().manual_seed(0), **options).images
        for text in ((["a", "b", "c"],), (PROMPT, NEGATIVE))
    )
    assert torch.equal(found, wanted)


def test_half_networks():
    pipe = stage()
    pipe.unet.to(torch.bfloat16)
    found = draw(pipe, n=1).images
    assert found.dtype == torch.float32
    assert found.isfinite().all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"image": normal(1, 3, 4, 4)}, "image must be None"),
        ({"steps": 0}, "steps must be"),
        ({"preview_every": 0}, "preview_every must be"),
        ({"n": 0}, "n must be"),
    ],
)
def test_wrong_calls(options, message):
    with pytest.raises(ValueError, match=message):
        draw(stage(), **options)


def test_wrong_calls_of_the_second_stage():
    image = torch.rand(1, 3, 4, 4)
    with pytest.raises(ValueError, match="image must be given"):
        draw(stage(True))
    with pytest.raises(ValueError, match="noise_level must be at most 99"):
        draw(stage(True), image=image, noise_level=100)
    with pytest.raises(ValueError, match="image must be"):
        draw(stage(True), image=image[0])


def test_wrong_pipelines():
    make = gf.diffusion.IFMultiViewPipeline.from_pipe
    with pytest.raises(ValueError, match="views must be of the network's shape"):
        make(stage(), gf.Views(["flip"], (3, 9, 9)))
    pipe = stage(True)
    pipe.image_noising_scheduler = None
    with pytest.raises(ValueError, match="image_noising_scheduler"):
        make(pipe, ["flip"])
    with pytest.raises(ValueError, match="C or 2 C channels"):
        make(SimpleNamespace(unet=text_unet(5, 4), scheduler=None), ["flip"])
    with pytest.raises(ValueError, match="negative_prompt_embeds must be given"):
        make(stage(), ["identity", "flip", "hflip"])(PROMPT, steps=2)


@pytest.mark.parametrize("upscaler", [False, True])
def test_pipelines_of_diffusers_with_a_wrapped_network(upscaler):
    pytest.importorskip("transformers", reason="diffusers has IFPipeline only with transformers")
    parts, image = stage(upscaler), torch.rand(1, 3, 4, 4, generator=torch.Generator().manual_seed(1))
    kind = diffusers.IFSuperResolutionPipeline if upscaler else diffusers.IFPipeline
    noising = [parts.image_noising_scheduler] if upscaler else []
    pipe = kind(None, None, parts.unet, parts.scheduler, *noising, None, None, None, requires_safety_checker=False)
    options = {"image": image} if upscaler else {}
    fused = draw(pipe, **options).images
    pipe.unet = gf.diffusion.MultiViewUNet(parts.unet, views(), PROMPT, negative_prompt_embeds=NEGATIVE)
    pipe.set_progress_bar_config(disable=True)
    if upscaler:
        options = {"image": image * 2 - 1, "noise_level": 30}
    found = pipe(
        prompt_embeds=PROMPT[:1], negative_prompt_embeds=NEGATIVE[:1], num_inference_steps=5, guidance_scale=7.0,
        generator=torch.Generator().manual_seed(3), output_type="pt", **options,
    ).images  # fmt: skip
    assert close((found / 2 + 0.5).clamp(0, 1), fused)


# ---- Two stages by the same names ------------------------------------------------------------------------------------


def block_means(x, times):
    return torch.nn.functional.avg_pool2d(x, times)


def sized(size, upscaler=False):
    pipe = stage(upscaler)
    pipe.unet = text_unet(6 if upscaler else 3, size=size, **({"class_embed_type": "timestep"} if upscaler else {}))
    return pipe


@pytest.mark.parametrize("times", [2, 4])
def test_the_second_stage_sees_the_first_views(times):
    names = ["pixel_permute @ flip", "patch_permute(patch=4)", "random_patch(patch=4, channels=True)"]
    make = gf.diffusion.IFMultiViewPipeline.from_pipe
    first, second = make(sized(8), names), make(sized(8 * times, True), names)
    options = {"steps": 1, "progress": False, "noise_level": 30, "generator": torch.Generator().manual_seed(0)}
    small = first(PROMPT, NEGATIVE, **options).images
    if times == 4:
        assert second.views == first.views.scaled(4)
    assert second(PROMPT, NEGATIVE, image=small, **options).images.shape == (1, 3, 8 * times, 8 * times)
    x = normal(1, 3, 8 * times, 8 * times).double()
    for large, view in zip(second.views, first.views, strict=True):
        assert torch.allclose(block_means(large.apply(x), times), view.apply(block_means(x, times)), atol=1e-12)
        assert torch.allclose(block_means(large.inverse(x), times), view.inverse(block_means(x, times)), atol=1e-12)
    assert make(sized(8 * times, True), first.views).views == first.views.scaled(times)
    own = gf.Views(names, (3, 8 * times, 8 * times))
    assert make(sized(8 * times, True), own).views is own


def test_filters_grow_with_the_stage():
    second = gf.diffusion.IFMultiViewPipeline.from_pipe(sized(64, True), ["hybrid_low", "hybrid_high"], reduce="sum")
    x = normal(1, 3, 64, 64)
    assert torch.equal(second.views[0].inverse(x), gf.view("hybrid_low", sigma=8).bind((3, 64, 64)).inverse(x))


def test_pictures_that_do_not_fit_the_second_stage():
    second = gf.diffusion.IFMultiViewPipeline.from_pipe(stage(True), ["identity", "flip", "negate"])
    for image, error, message in (
        (torch.rand(1, 3, 3, 3), ValueError, "image must be square, of a side that divides the network's 8"),
        (torch.rand(1, 3, 4, 2), ValueError, "image must be square"),
        (torch.zeros(1, 3, 4, 4, dtype=torch.uint8), ValueError, "image must be floats"),
        ([1.0], TypeError, "image must be a torch.Tensor, got list"),
    ):
        with pytest.raises(error, match=message):
            second(PROMPT, NEGATIVE, image=image, steps=1)


@torch.no_grad()
def test_a_reference_holds_the_first_component():
    names, guidance = ["low_pass(kernel_size=5)", "high_pass(kernel_size=5)"], 3.0
    reference = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(9))
    pipe, text, none = stage(), PROMPT[:2], NEGATIVE[:1]
    multiview = gf.diffusion.IFMultiViewPipeline.from_pipe(pipe, names, reduce="sum")
    options = {"steps": 5, "guidance": guidance, "progress": False}
    found = multiview(text, none, generator=torch.Generator().manual_seed(3), reference=reference, **options).images
    low, high = gf.Views(names, (3, 8, 8))

    generator = torch.Generator().manual_seed(3)
    scheduler = diffusers.DDPMScheduler.from_config(pipe.scheduler.config)
    scheduler.set_timesteps(5)
    x = torch.randn((1, 3, 8, 8), generator=generator)
    held = torch.nn.functional.interpolate(reference * 2 - 1, (8, 8), mode="bilinear", antialias=True)
    for t in scheduler.timesteps:
        abar = scheduler.alphas_cumprod[t]
        noisy = abar.sqrt() * held + (1 - abar).sqrt() * torch.randn((1, 3, 8, 8), generator=generator)
        x = low.inverse(noisy) + high.inverse(x)
        total, variance = 0, 0
        for view, one in zip((low, high), text, strict=True):
            u, c = (pipe.unet(x, t, given[None], return_dict=False)[0] for given in (none[0], one))
            total = total + view.inverse(u[:, :3] + guidance * (c[:, :3] - u[:, :3]))
            variance = variance + c[:, 3:] / 2
        x = scheduler.step(torch.cat([total, variance], 1), t, x, generator=generator).prev_sample
    assert close(found, (x / 2 + 0.5).clamp(0, 1))
    assert not close(found, multiview(text, none, generator=torch.Generator().manual_seed(3), **options).images)


def test_wrong_references():
    make = gf.diffusion.IFMultiViewPipeline.from_pipe
    parts = make(stage(), ["hybrid_low", "hybrid_high"], reduce="sum")
    for pipe, text, reference, error, message in (
        (make(stage(), ["identity", "flip"]), PROMPT[:2], torch.rand(1, 3, 8, 8), ValueError, "all components"),
        (parts, PROMPT[:2], torch.rand(3, 8, 8), ValueError, "reference must be floats"),
        (parts, PROMPT[:2], torch.rand(1, 3, 8, 9), ValueError, "reference must be floats"),
        (parts, PROMPT[:2], torch.rand(2, 3, 8, 8), ValueError, "reference must hold 1 or 1 pictures"),
        (parts, PROMPT[:2], [1], TypeError, "reference must be a torch.Tensor, got list"),
    ):
        with pytest.raises(error, match=message):
            pipe(text, NEGATIVE[:1], steps=1, progress=False, reference=reference)
