"""DeepFloyd IF on several views: the pixel models of diffusers with the step between two calls of the network fused.

The algorithm is that of D. Geng, I. Park, A. Owens, "Visual anagrams", CVPR 2024.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from genimg_fast import _arguments as check
from genimg_fast import multiview
from genimg_fast._core.progress import tracked
from genimg_fast._multiview_step import MultiViewStep
from genimg_fast.diffusion._wrappers import embeddings, stacked
from genimg_fast.views import Views

LEARNED = ("learned", "learned_range")

_ENLARGEMENT = 4  # of DeepFloyd's second stage, from 64 to 256 pixels

Generators = torch.Generator | Sequence[torch.Generator] | None


@dataclass
class MultiViewPictures:
    """What `IFMultiViewPipeline` drew.

    Attributes:
        images: (B, 3, S, S) in [0, 1].
        previews: For each preview the step's number and (B, 3, S, S) in [0, 1], the pictures it expected then.
    """

    images: torch.Tensor
    previews: list[tuple[int, torch.Tensor]] = field(default_factory=list)


class IFMultiViewPipeline:
    """A stage of DeepFloyd IF whose pictures are something else in each view; make it with `from_pipe`.

    The pictures are those of a plain loop with the scheduler's own step. The first stage draws small pictures, the
    second enlarges them; the weights are the caller's. Neither safety checker nor watermark of the pipeline is run.
    """

    def __init__(self, pipe: Any, views: Views, averaging: dict[str, Any], entries: Any = None) -> None:
        self.pipe, self.views, self._averaging, self._entries = pipe, views, averaging, entries
        self._taken_for: int | None = None  # the factor of the picture that was enlarged last
        self.is_upscaler = pipe.unet.config.in_channels == 2 * views.shape[0]

    @classmethod
    def from_pipe(
        cls,
        pipe: Any,
        views: Any,
        *,
        weights: Sequence[float] | None = None,
        reduce: str = "mean",
        average: str = "noise",
    ) -> IFMultiViewPipeline:
        """Return the multi-view form of a pipeline, which stays as it is.

        Args:
            pipe: An ``IFPipeline`` or ``IFSuperResolutionPipeline`` of diffusers, or another pipeline with their
                ``unet`` and ``scheduler`` (and ``image_noising_scheduler``).
            views: Names or whatever else `Views` takes, for pictures of the first stage: the second takes them at its
                own size, as many times as large as the picture that it enlarges (`Views.scaled`). Or `Views` of the
                network's shape, which are taken as they are; or of a smaller one, such as the first stage's, which are
                scaled.
            weights, reduce, average: As for `MultiViewStep`.

        Raises:
            TypeError: Something that is no view.
            ValueError: Views of another shape, or that do not know themselves at the size of the second stage; a
                network that is of neither stage.
        """
        if not hasattr(getattr(pipe, "unet", None), "config") or not hasattr(pipe, "scheduler"):
            raise TypeError(
                "IFMultiViewPipeline: pipe must be a pipeline of diffusers with a unet and a scheduler, got "
                f"{type(pipe).__name__}"
            )
        config = pipe.unet.config
        channels, size = config.out_channels // 2, config.sample_size
        if config.out_channels % 2 or config.in_channels not in (channels, 2 * channels):
            raise ValueError(
                "IFMultiViewPipeline: pipe must have a network of C or 2 C channels that predicts 2 C, noise and "
                f"variance, got {config.in_channels} and {config.out_channels}"
            )
        if config.in_channels == 2 * channels and getattr(pipe, "image_noising_scheduler", None) is None:
            raise ValueError("IFMultiViewPipeline: pipe has a network that enlarges, but no image_noising_scheduler")
        shape, averaging = (channels, size, size), {"weights": weights, "reduce": reduce, "average": average}
        if isinstance(views, Views):
            return cls(pipe, _of_shape(views, shape), averaging)
        entries = list(views) if isinstance(views, (list, tuple)) else views
        enlarges = config.in_channels == 2 * channels
        return cls(pipe, _named_views(entries, shape) if enlarges else Views(entries, shape), averaging, entries)

    @torch.no_grad()
    def __call__(
        self,
        prompt_embeds: torch.Tensor | Sequence[str],
        negative_prompt_embeds: torch.Tensor | None = None,
        *,
        image: torch.Tensor | None = None,
        n: int = 1,
        steps: int | None = None,
        guidance: multiview.Guidance | Callable[[int, float], multiview.Guidance] = 7.0,
        noise_level: int = 250,
        generator: Generators = None,
        progress: bool = True,
        callback: Callable[[int, float, torch.Tensor], None] | None = None,
        preview_every: int | None = None,
        reference: torch.Tensor | None = None,
    ) -> MultiViewPictures:
        """Draw pictures.

        Args:
            prompt_embeds: (V, L, D), one for each view; or V prompts, which the pipeline's text encoder reads.
            negative_prompt_embeds: (V, L, D) or (1, L, D), for guidance; of prompts: None, the empty prompt.
            image: (B, 3, h, w) in [0, 1], what the second stage enlarges.
            n: Pictures of the first stage.
            steps: None: 100 in the first stage, 50 in the second.
            guidance: As for `MultiViewStep`; None: none, and the network does half the work.
            noise_level: Of the enlarged pictures, a timestep of ``image_noising_scheduler``.
            generator: With one, the same pictures each time. Or a list of one for each picture, which then does not
                depend on the others.
            progress: Show progress on standard error.
            callback: Called after each step with its number, its timestep and the noisy pictures in [-1, 1].
            preview_every: Keep the pictures that are expected at each so many-th step.
            reference: (B or 1, 3, s, s) in [0, 1], a real picture that gives the first view's part of what is drawn:
                before each step that part is replaced by the reference's, with as much noise (Geng, Park, Owens,
                "Factorized Diffusion"; their ``ref_im``). All views must be components.

        Raises:
            TypeError, ValueError: Something is not as above.
        """
        if (image is None) == self.is_upscaler:
            wanted = "given to the second stage" if self.is_upscaler else "None in the first stage"
            raise ValueError(f"IFMultiViewPipeline: image must be {wanted}, got {'None' if image is None else 'one'}")
        if preview_every is not None:
            check.integer("preview_every", preview_every, 1)
        steps = check.integer("steps", (50 if self.is_upscaler else 100) if steps is None else steps, 1)
        self._fit(image)
        held = None if reference is None else self._reference(reference)
        step = MultiViewStep(self.views, self.pipe.scheduler.config, guidance, steps=steps, **self._averaging)
        text = self._text(prompt_embeds, negative_prompt_embeds, step.is_guided)
        x = self._noise(check.integer("n", n, 1) if image is None else len(image), generator)
        fixed, levels = (None, None) if image is None else self._enlarged(image, noise_level, generator)
        previews = []
        for number, t in _steps(step.timesteps, progress):
            if held is not None:
                x = self._held(x, held, step.scheduler, t, generator)
            prediction = self._predict(step, x, fixed, t, text, levels)
            if preview_every is not None and number % preview_every == 0:
                previews.append((number, _shown(step.expected(prediction, t, x, number=number))))
            x = step.step(prediction, t, x, generator=generator, number=number)
            if callback is not None:
                callback(number, t, x)
        if hasattr(self.pipe, "maybe_free_model_hooks"):
            self.pipe.maybe_free_model_hooks()
        return MultiViewPictures(_shown(x), previews)

    @property
    def _device(self) -> torch.device:
        found = getattr(self.pipe, "_execution_device", None)
        return torch.device(self.pipe.unet.device if found is None else found)

    @property
    def _dtype(self) -> torch.dtype:
        """What pictures are kept in: a half network's errors need not add up in them."""
        return torch.promote_types(self.pipe.unet.dtype, torch.float32)

    def _noise(self, n: int, generator: Generators) -> torch.Tensor:
        if isinstance(generator, Sequence):
            if len(generator) != n:
                raise ValueError(
                    f"IFMultiViewPipeline: generator must be one, or a list of one for each of {n} pictures, got "
                    f"{len(generator)}"
                )
            return torch.cat([self._noise(1, one) for one in generator])
        device = self._device if generator is None else generator.device
        shape = (n, *self.views.shape)
        return torch.randn(shape, generator=generator, device=device, dtype=self._dtype).to(self._device)

    def _fit(self, image: torch.Tensor | None) -> None:
        """Take the views at as many times the size of a picture as the network enlarges it."""
        if image is None:
            return
        channels, size, _ = self.views.shape
        if not isinstance(image, torch.Tensor):
            raise TypeError(f"IFMultiViewPipeline: image must be a torch.Tensor, got {type(image).__name__}")
        if image.ndim != 4 or image.shape[1] != channels or not image.is_floating_point():
            raise ValueError(
                f"IFMultiViewPipeline: image must be floats (B, {channels}, h, w), got the shape {tuple(image.shape)} "
                f"and {image.dtype}"
            )
        if self._entries is None:
            return
        sides = set(image.shape[2:])
        if len(sides) > 1 or not min(sides) or size % min(sides):
            raise ValueError(
                f"IFMultiViewPipeline: image must be square, of a side that divides the network's {size}, for views by "
                f"name, got {tuple(image.shape[2:])}; give Views of the network's shape for others"
            )
        if self._taken_for != size // min(sides):
            self._taken_for = size // min(sides)
            self.views = _larger_views(self._entries, self.views.shape, self._taken_for)

    def _reference(self, reference: torch.Tensor) -> torch.Tensor:
        """Return the reference at the network's size, in [-1, 1]."""
        channels, size, _ = self.views.shape
        if not isinstance(reference, torch.Tensor):
            raise TypeError(f"IFMultiViewPipeline: reference must be a torch.Tensor, got {type(reference).__name__}")
        shape = tuple(reference.shape)
        if len(shape) != 4 or shape[1] != channels or shape[2] != shape[3] or not reference.is_floating_point():
            raise ValueError(
                f"IFMultiViewPipeline: reference must be floats (B, {channels}, s, s), got the shape {shape} and "
                f"{reference.dtype}"
            )
        if not self.views.factorized or len(self.views) < 2:
            raise ValueError(
                "IFMultiViewPipeline: reference needs views that are all components, at least two, got "
                f"{self.views.names}"
            )
        pictures = reference.to(self._device, self._dtype) * 2 - 1
        return torch.nn.functional.interpolate(pictures, (size, size), mode="bilinear", antialias=True)

    def _held(
        self, x: torch.Tensor, reference: torch.Tensor, scheduler: Any, t: float, generator: Generators
    ) -> torch.Tensor:
        """Return noisy pictures whose part of the first view is that of the reference with as much noise."""
        if len(reference) not in (1, len(x)):
            raise ValueError(
                f"IFMultiViewPipeline: reference must hold 1 or {len(x)} pictures, one for each, got {len(reference)}"
            )
        abar = float(scheduler.alphas_cumprod[int(t)])
        noisy = abar**0.5 * reference + (1 - abar) ** 0.5 * self._noise(len(x), generator)
        first, *others = self.views
        return first.inverse(noisy) + sum(view.inverse(x) for view in others)

    def _enlarged(self, image: torch.Tensor, level: int, generator: Generators) -> tuple[torch.Tensor, torch.Tensor]:
        """Return pictures at the network's size with noise, and its level for each."""
        scheduler = self.pipe.image_noising_scheduler
        last = scheduler.config.num_train_timesteps - 1
        if check.integer("noise_level", level, 0) > last:
            raise ValueError(f"noise_level must be at most {last}, got {level}")
        pictures = image.to(self._device, self._dtype) * 2 - 1
        large = torch.nn.functional.interpolate(pictures, self.views.shape[1:], mode="bilinear", align_corners=True)
        levels = torch.full((len(large),), level, device=large.device)
        return scheduler.add_noise(large, self._noise(len(large), generator), levels), levels

    def _text(self, given: Any, negative: torch.Tensor | None, guided: bool) -> list[torch.Tensor]:
        """Return the embeddings (V, L, D) of each half."""
        views = len(self.views)
        if not isinstance(given, torch.Tensor):
            given, none = self.pipe.encode_prompt(list(given), guided, device=self._device)
            negative = none if negative is None else negative
        found = embeddings("prompt_embeds", given, (views,))
        assert found is not None
        if not guided:
            return [found]
        other = embeddings("negative_prompt_embeds", negative, (1, views))
        if other is None:
            raise ValueError("negative_prompt_embeds must be given for guidance, got None")
        return [other.expand(views, *other.shape[1:]), found]

    def _predict(
        self,
        step: MultiViewStep,
        x: torch.Tensor,
        fixed: torch.Tensor | None,
        t: float,
        text: list[torch.Tensor],
        levels: torch.Tensor | None,
    ) -> torch.Tensor:
        unet = self.pipe.unet
        inputs = x if fixed is None else torch.cat([x, fixed], 1)
        stack = stacked(inputs, self.views, len(text)).to(unet.dtype)
        context = torch.cat(text).to(self._device, unet.dtype).repeat_interleave(len(x), 0)
        extra = {} if levels is None else {"class_labels": levels.repeat(len(context) // len(x))}
        prediction = unet(stack, t, encoder_hidden_states=context, return_dict=False, **extra)[0]
        if getattr(step.scheduler.config, "variance_type", None) in LEARNED:
            return prediction
        return prediction[:, : self.views.shape[0]]


def _named_views(entries: Any, shape: tuple[int, int, int]) -> Views:
    """Return views by name for a network that enlarges, as if by DeepFloyd's factor until the picture is there.

    Networks that are too small for that have smaller factors.
    """
    for times in (_ENLARGEMENT, 2):
        if shape[1] % times == 0:
            try:
                return _larger_views(entries, shape, times)
            except ValueError:  # a view that pictures so small do not have
                continue
    return Views(entries, shape)


def _larger_views(entries: Any, shape: tuple[int, int, int], times: int) -> Views:
    """Return views by name as those of pictures so many times smaller are at a shape."""
    channels, height, width = shape
    return Views(entries, (channels, height // times, width // times)).scaled(times)


def _of_shape(views: Views, shape: tuple[int, int, int]) -> Views:
    """Return views at a network's shape, scaled where they are of a smaller one."""
    times = shape[1] // views.shape[1]
    if times and views.shape == (shape[0], shape[1] / times, shape[2] / times):
        return views.scaled(times) if times > 1 else views
    raise ValueError(
        f"IFMultiViewPipeline: views must be of the network's shape {shape}, or of one that some times is it, got "
        f"{views.shape}"
    )


def _steps(timesteps: list[float], progress: bool) -> Iterator[tuple[int, float]]:
    return enumerate(tracked(timesteps, "sampling", shown=progress))


def _shown(x: torch.Tensor) -> torch.Tensor:
    return (x / 2 + 0.5).clamp(0, 1)
