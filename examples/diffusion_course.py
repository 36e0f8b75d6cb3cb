"""The exercises of a course on diffusion, each in a few lines.

    python examples/diffusion_course.py OUT.png [MODEL.safetensors]

Without a model, the exact denoiser of scikit-learn's digits stands in for a network: nothing is trained or downloaded.
A model is one that `gf.diffusion.train` or ``genimg-fast train-diffusion`` made of digits of 16 pixels.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

import numpy as np
import torch
from diffusers import DDPMScheduler
from PIL import Image
from sklearn.datasets import load_digits

import genimg_fast as gf

SHAPE, STEPS, NONE = (1, 16, 16), 50, -1
Network = Callable[
    [torch.Tensor, float, Sequence[int]], torch.Tensor
]  # (pictures, timestep, a class for each) -> noise

scheduler = DDPMScheduler(beta_schedule="squaredcos_cap_v2", clip_sample_range=1.0)
scheduler.set_timesteps(STEPS)


def real_digits() -> tuple[torch.Tensor, torch.Tensor]:
    """Return digits (1797, 1, 16, 16) from -1 to 1, and their classes."""
    data, labels = load_digits(return_X_y=True)
    small = torch.from_numpy(data).float().view(-1, 1, 8, 8) / 8 - 1
    return torch.nn.functional.interpolate(small, SHAPE[1:], mode="bicubic").clamp(-1, 1), torch.from_numpy(labels)


def exact_network() -> Network:
    """An analytic denoiser: that of normal distributions about every digit."""
    means, labels = real_digits()
    mixture = gf.diffusion.MixtureDenoiser(means, std=0.1, labels=labels.tolist())
    return lambda x, t, classes: mixture.network(scheduler, classes)(x, t)


def trained_network(path: str) -> Network:
    model = gf.diffusion.Model.from_file(path)
    return lambda x, t, classes: model(x, t, torch.tensor([model.no_class if c == NONE else c for c in classes]))


def noise(n: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, *SHAPE, generator=torch.Generator().manual_seed(seed))


def draw(
    network: Network, x: torch.Tensor, classes: Sequence[int], guidance: float = 3.0, start: int = 0
) -> torch.Tensor:
    """Iterative denoising, with classifier-free guidance."""
    sampler = gf.MultiViewStep(gf.Views("identity", SHAPE), scheduler, guidance)
    both = [NONE] * len(classes) + list(classes)
    generator = torch.Generator().manual_seed(1)
    return sampler.sample(lambda stack, t: network(stack, t, both), x, start=start, generator=generator)


def noising(network: Network) -> torch.Tensor:
    picture = real_digits()[0][:1]
    return torch.cat([scheduler.add_noise(picture, noise(1), torch.tensor([t])) for t in range(0, 1000, 125)])


def one_step(network: Network) -> torch.Tensor:
    found = []
    for t in range(0, 1000, 125):
        abar = scheduler.alphas_cumprod[t]
        x = scheduler.add_noise(real_digits()[0][:1], noise(1), torch.tensor([t]))
        found.append((x - (1 - abar).sqrt() * network(x, t, [NONE])) / abar.sqrt())
    return torch.cat(found)


def iterative(network: Network) -> torch.Tensor:
    seen: list[torch.Tensor] = []
    sampler = gf.MultiViewStep(gf.Views("identity", SHAPE), scheduler, None)
    generator = torch.Generator().manual_seed(1)
    sampler.sample(
        lambda stack, t: network(stack, t, [NONE]),
        noise(1),
        generator=generator,
        callback=lambda i, t, x: seen.append(x),
    )
    return torch.cat([seen[i] for i in range(0, STEPS, 7)])


def guidance(network: Network) -> torch.Tensor:
    return torch.cat([draw(network, noise(1), [3], g) for g in (0.0, 0.5, 1.0, 2.0, 3.0, 5.0, 8.0, 12.0)])


def image_to_image(network: Network) -> torch.Tensor:
    """SDEdit (Meng et al. 2022): a sketch, and what it becomes the earlier the denoising begins."""
    sketch = torch.full((1, *SHAPE), -1.0)
    sketch[..., 3:13, 4:6] = sketch[..., 3:5, 4:12] = sketch[..., 7:9, 4:12] = 1
    found = [sketch]
    for start in (40, 34, 28, 22, 16, 10, 4):
        x = scheduler.add_noise(sketch, noise(1), scheduler.timesteps[start : start + 1])
        found.append(draw(network, x, [NONE], 1.0, start))
    return torch.cat(found)


def inpainting(network: Network) -> torch.Tensor:
    """RePaint (Lugmayr et al. 2022): what is known is put in at each level of noise, and some steps are taken again."""
    known, mask = real_digits()[0][3:4], torch.zeros(SHAPE)
    mask[:, :8] = 1
    sampler = gf.MultiViewStep(gf.Views("identity", SHAPE), scheduler, None)
    generator, x = torch.Generator().manual_seed(1), noise(6, seed=2)
    for i, t in enumerate(sampler.timesteps):
        for again in range(4):
            x = (
                mask * scheduler.add_noise(known, torch.randn(x.shape, generator=generator), torch.tensor([t]))
                + (1 - mask) * x
            )
            after = sampler.step(network(x, t, [NONE] * 6), t, x, generator=generator)
            if again == 3 or i == STEPS - 1:
                break
            back = scheduler.alphas_cumprod[t] / scheduler.alphas_cumprod[sampler.timesteps[i + 1]]
            x = back.sqrt() * after + (1 - back).sqrt() * torch.randn(x.shape, generator=generator)
        x = after
    return torch.cat([known, mask * known - (1 - mask), mask * known + (1 - mask) * x])


def several_views(
    network: Network, names: list[str], classes: list[int], reduce: str, n: int = 4
) -> tuple[gf.Views, torch.Tensor]:
    views = gf.Views(names, SHAPE)
    sampler = gf.MultiViewStep(views, scheduler, 3.0, reduce=reduce)
    labels = [NONE] * (len(classes) * n) + [c for c in classes for _ in range(n)]
    generator = torch.Generator().manual_seed(5)
    return views, sampler.sample(lambda stack, t: network(stack, t, labels), noise(n, seed=4), generator=generator)


def anagram(network: Network) -> torch.Tensor:
    """Upright a 6, turned a 9 (Geng et al. 2024)."""
    views, x = several_views(network, ["identity", "rotate_180"], [6, 9], "mean")
    return gf.apply_views(x, views).unflatten(0, (2, -1)).transpose(0, 1).flatten(0, 1)


def hybrid(network: Network) -> torch.Tensor:
    """Near by an 8, from afar a 3 (Geng et al. 2024, Factorized diffusion): of sixteen the four that read best so."""
    views, x = several_views(network, ["hybrid_low", "hybrid_high"], [3, 8], "sum", n=16)
    both = torch.stack([x, views[0].inverse(x)], 1).clamp(-1, 1)
    reads = gf.diffusion.digits_classifier().log_probabilities(both.flatten(0, 1).add(1).div(2)).view(16, 2, 10)
    worse = torch.minimum(reads[:, 0, 8], reads[:, 1, 3])
    return both[worse.argsort(descending=True)[:4]].flatten(0, 1)


EXERCISES = (noising, one_step, iterative, guidance, image_to_image, inpainting, anagram, hybrid)


def sheet(network: Network) -> np.ndarray:
    """Return a row of eight pictures for each exercise, enlarged."""
    rows = torch.stack([exercise(network) for exercise in EXERCISES]).clamp(-1, 1)
    framed = torch.nn.functional.pad(rows[:, :, 0], (0, 1, 0, 1), value=0.0)
    pixels = framed.permute(0, 2, 1, 3).flatten(2).flatten(0, 1).add(1).mul(127.5).round().to(torch.uint8)
    return np.kron(pixels.numpy(), np.ones((4, 4), np.uint8))


def main(out: str, model: str | None = None) -> None:
    Image.fromarray(sheet(trained_network(model) if model else exact_network())).save(out)


if __name__ == "__main__":
    main(*sys.argv[1:])
