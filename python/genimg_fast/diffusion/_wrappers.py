"""Networks and denoisers of others made multi-view: a canonical picture in, the average of all views' predictions out.

Samplers are linear in what a network predicts up to their clipping, so the average may be taken inside the network and
their loop stays as it is (D. Geng, I. Park, A. Owens, "Visual anagrams", CVPR 2024, eq. 2).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from genimg_fast import _arguments as check
from genimg_fast import multiview
from genimg_fast.views import Views

REDUCTIONS = ("mean", "sum")
LATENT_CHANNELS = (4, 16)
# What encoders to latents do not commute with: changes of values and of neighbourhoods.
NOT_ON_LATENTS = frozenset(
    ["negate", "permute_channels", "pixel_permute", "hadamard", "dct", "householder", "random_patch", "colour", "grey"]
)
_OF_PICTURES = (
    "down_block_additional_residuals",
    "mid_block_additional_residual",
    "down_intrablock_additional_residuals",
)


class MultiViewUNet(torch.nn.Module):
    """A network of diffusers that sees all views of its input: pipelines and schedulers stay unchanged.

    ``pipe.unet = MultiViewUNet(pipe.unet, views, prompt_embeds)``; whatever else a pipeline asks of its network, as
    ``config``, ``dtype`` or ``in_channels``, is the wrapped one's.

    Args:
        unet: A ``UNet2DModel``, ``UNet2DConditionModel`` or another network called in the same way.
        views: Views of the shape (C, H, W) of what is predicted. An input of 2 C channels is two pictures, each of
            which is viewed (the second stage of DeepFloyd IF). Latents: flips and rotations by quarter turns hold
            approximately, and views that move whole patches leave seams; see ``latents``.
        prompt_embeds: (V, L, D), the conditioning of each view, in place of what the pipeline has; None: the
            pipeline's, for all views.
        negative_prompt_embeds: (V, L, D) or (1, L, D), for the unconditional half; None: the pipeline's.
        class_labels: (V,) of networks with classes, in place of what the pipeline has.
        guided: Whether the pipeline calls with the unconditional pictures first and the conditional ones after them, as
            those of diffusers do with ``guidance_scale`` > 1. ``prompt_embeds`` then go to the second half alone.
        weights, reduce: As for `reduce_views`; "alternate" is `MultiViewStep`'s.
        latents: Whether the pictures are latents; None: with 4 or 16 channels.

    Raises:
        ValueError: Embeddings or labels that are not one for each view, an unknown reduction.

    Warns:
        UserWarning: Views that make no sense on latents: those that change values (negate, channels and colours) or
            tear neighbours apart (pixel_permute).
    """

    def __init__(
        self,
        unet: torch.nn.Module,
        views: Views,
        prompt_embeds: torch.Tensor | None = None,
        *,
        negative_prompt_embeds: torch.Tensor | None = None,
        class_labels: Any = None,
        guided: bool = True,
        weights: Sequence[float] | None = None,
        reduce: str = "mean",
        latents: bool | None = None,
    ) -> None:
        super().__init__()
        check.choice("reduce", reduce, REDUCTIONS)
        n = len(views)
        self.unet, self.views, self.guided = unet, views, guided
        self.weights, self.reduction = weights, reduce
        self.register_buffer("prompt_embeds", embeddings("prompt_embeds", prompt_embeds, (n,)), persistent=False)
        negative = embeddings("negative_prompt_embeds", negative_prompt_embeds, (1, n))
        if negative is not None and not guided:
            raise ValueError("negative_prompt_embeds must be None with guided=False, which has no unconditional half")
        self.register_buffer("negative_prompt_embeds", negative, persistent=False)
        labels = None if class_labels is None else torch.as_tensor(class_labels)
        if labels is not None and labels.shape != (n,):
            raise ValueError(f"class_labels must be ({n},), one for each view, got the shape {tuple(labels.shape)}")
        self.register_buffer("class_labels", labels, persistent=False)
        warn_of_latents(views, latents)

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("unet"), name)

    def forward(
        self,
        sample: torch.Tensor,
        timestep: Any,
        encoder_hidden_states: torch.Tensor | None = None,
        class_labels: torch.Tensor | None = None,
        return_dict: bool = True,
        **conditions: Any,
    ) -> Any:
        """Return the prediction for canonical pictures, as the network itself would.

        Args:
            sample: (N, C or 2 C, H, W), canonical.
            timestep: A number, a tensor of one, or (N,).
            encoder_hidden_states, class_labels, conditions: As the network takes them for ``sample``; tensors of N
                entries, also in dictionaries, are repeated for each view.

        Returns:
            The network's kind of output, or with ``return_dict=False`` a tuple, of (N, C or 2 C, H, W).

        Raises:
            ValueError: A shape that does not fit the views, an odd N with ``guided`` embeddings, residuals of a
                ControlNet, which were computed without views.
        """
        for name in _OF_PICTURES:
            if conditions.get(name) is not None:
                raise ValueError(f"MultiViewUNet: {name} must be None: it was computed without views")
        n = len(sample)
        given = {name: self._repeated(value, n) for name, value in conditions.items()}
        text = self._embeddings(encoder_hidden_states, sample)
        if text is not None:
            given["encoder_hidden_states"] = text
        labels = class_labels if self.class_labels is None else self.class_labels.to(sample.device)
        if labels is not None:
            given["class_labels"] = (
                self._repeated(labels, n) if self.class_labels is None else labels.repeat_interleave(n)
            )
        stack = stacked(sample, self.views)
        prediction = self.unet(stack, self._repeated(timestep, n), return_dict=False, **given)[0]
        result = self._average(prediction)
        return _output(self.unet)(sample=result) if return_dict else (result,)

    def _average(self, prediction: torch.Tensor) -> torch.Tensor:
        found = multiview.reduce_views(prediction, self.views, None, self.weights, self.reduction)
        return torch.cat(found, 1) if isinstance(found, tuple) else found

    def _embeddings(self, text: torch.Tensor | None, sample: torch.Tensor) -> torch.Tensor | None:
        """Return the conditioning of the stack, view-major."""
        n, views = len(sample), len(self.views)
        own, negative = (
            None if value is None else value.to(sample.device, sample.dtype)
            for value in (self.prompt_embeds, self.negative_prompt_embeds)
        )
        if own is None and negative is None:
            return None if text is None else self._repeated(text, n)
        if not self.guided:
            return self._repeated(text, n) if own is None else own.repeat_interleave(n, 0)
        if n % 2:
            raise ValueError(
                f"MultiViewUNet: sample must hold two halves with guided=True, got {n} pictures; "
                "guided=False is for pipelines without guidance"
            )
        half = n // 2
        halves = (_spread(negative, text, slice(half), views), _spread(own, text, slice(half, n), views))
        return torch.cat(halves, 1).flatten(0, 1)

    def _repeated(self, value: Any, n: int) -> Any:
        return repeated(value, n, len(self.views))


class MultiViewDenoiser:
    """A denoiser of k-diffusion, D(x, sigma, **extra) -> denoised, that sees all views (Karras et al. 2022, eq. 3).

    Its samplers take it as any other model: ``sample_euler(MultiViewDenoiser(model, views, conditions), x, sigmas)``.

    Args:
        denoise: ``denoise(x, sigma, **extra)``, with x (N, C, H, W) and sigma (N,).
        views: The views, of the shape (C, H, W).
        conditions: For each name of an extra argument a tensor (V, ...), one entry for each view.
        unconditional: The same names, (V, ...) or (1, ...), for the unconditional prediction of ``guidance``.
        guidance: u + guidance (c - u); one number, or one for each view. None: none.
        weights, reduce, latents: As for `MultiViewUNet`.

    Raises:
        ValueError: Conditions that are not one for each view, guidance without ``unconditional`` or the reverse.
    """

    def __init__(
        self,
        denoise: Callable[..., torch.Tensor],
        views: Views,
        conditions: Mapping[str, torch.Tensor] | None = None,
        *,
        unconditional: Mapping[str, torch.Tensor] | None = None,
        guidance: multiview.Guidance = None,
        weights: Sequence[float] | None = None,
        reduce: str = "mean",
        latents: bool | None = None,
    ) -> None:
        check.choice("reduce", reduce, REDUCTIONS)
        own, none = dict(conditions or {}), dict(unconditional or {})
        if (guidance is None) == bool(none) or (none and none.keys() != own.keys()):
            raise ValueError(
                "MultiViewDenoiser: guidance needs unconditional with the names of conditions, and only it does: got "
                f"guidance={guidance}, conditions {sorted(own)} and unconditional {sorted(none)}"
            )
        n = len(views)
        for kind, given, accepted in (("conditions", own, (n,)), ("unconditional", none, (1, n))):
            for name, value in given.items():
                _check_entries(f"{kind}[{name!r}]", value, accepted)
        self.denoise, self.views, self.guidance = denoise, views, guidance
        self.weights, self.reduction = weights, reduce
        self._halves = [none, own] if none else [own]
        warn_of_latents(views, latents)

    def __call__(self, x: torch.Tensor, sigma: torch.Tensor, **extra: Any) -> torch.Tensor:
        """Return the denoised pictures (N, C, H, W).

        Args:
            x: (N, C, H, W), noisy with the deviation sigma.
            sigma: (N,), or one number.
            extra: For ``denoise``; tensors of N entries are repeated for each view.
        """
        n, views, copies = len(x), len(self.views), len(self._halves)
        stack = multiview.apply_views(x, self.views, copies=copies)
        given = {name: repeated(value, n, copies * views) for name, value in extra.items()}
        for name in self._halves[0]:
            parts = [half[name].to(x.device) for half in self._halves]
            spread = [part.expand(views, *part.shape[1:]).repeat_interleave(n, 0) for part in parts]
            given[name] = torch.cat(spread)
        denoised = self.denoise(stack, repeated(sigma, n, copies * views), **given)
        if denoised.shape != stack.shape:
            raise ValueError(
                f"MultiViewDenoiser: denoise must return {tuple(stack.shape)}, got {tuple(denoised.shape)}"
            )
        return multiview.reduce_views(denoised, self.views, self.guidance, self.weights, self.reduction)


def _spread(own: torch.Tensor | None, text: torch.Tensor | None, half: slice, views: int) -> torch.Tensor:
    """Return (V, pictures of a half, L, D): a view's own embedding for all, or the pipeline's for all views."""
    if own is not None:
        return own[:, None].expand(views, half.stop - (half.start or 0), *own.shape[1:])
    if text is None:
        raise ValueError("MultiViewUNet: encoder_hidden_states must be given, got None")
    return text[None, half].expand(views, *text[half].shape)


def stacked(sample: torch.Tensor, views: Views, copies: int = 1) -> torch.Tensor:
    """Return all views (copies V N, k C, H, W) of inputs (N, k C, H, W) that are k pictures each."""
    channels = views.shape[0]
    if sample.ndim != 4 or sample.shape[1] % channels or tuple(sample.shape[2:]) != views.shape[1:]:
        shape = ", ".join(map(str, views.shape[1:]))
        raise ValueError(f"sample must be (N, multiple of {channels}, {shape}), got {tuple(sample.shape)}")
    pictures = sample.reshape(-1, *views.shape)
    stack = multiview.apply_views(pictures, views, copies=copies)
    return stack.reshape(-1, *sample.shape[1:])


def repeated(value: Any, n: int, times: int) -> Any:
    """Return what belongs to n pictures, one after the other as often as there are views."""
    if isinstance(value, torch.Tensor) and value.ndim and len(value) == n:
        return value.repeat(times, *[1] * (value.ndim - 1))
    if isinstance(value, Mapping):
        return {name: repeated(one, n, times) for name, one in value.items()}
    return value


def embeddings(name: str, value: torch.Tensor | None, accepted: tuple[int, ...]) -> torch.Tensor | None:
    """Return embeddings (V, L, D), checked."""
    if value is None:
        return None
    _check_entries(name, value, accepted)
    if value.ndim != 3:
        raise ValueError(f"{name} must be (views, length, size), got the shape {tuple(value.shape)}")
    return value.detach()


def _check_entries(name: str, value: Any, accepted: tuple[int, ...]) -> None:
    if not isinstance(value, torch.Tensor):
        raise TypeError(f"{name} must be a torch.Tensor, got {type(value).__name__}")
    if not value.ndim or len(value) not in accepted:
        counts = " or ".join(map(str, sorted(set(accepted))))
        raise ValueError(f"{name} must have {counts} entries, one for each view, got the shape {tuple(value.shape)}")


def warn_of_latents(views: Views, latents: bool | None) -> None:
    """Say which views no decoder of latents follows."""
    if latents is None:
        latents = views.shape[0] in LATENT_CHANNELS
    if not latents:
        return
    bad = [name for name in views.names if NOT_ON_LATENTS & {part.strip().split("(")[0] for part in name.split("@")}]
    if bad:
        warnings.warn(
            f"views {', '.join(map(repr, bad))} make no sense on latents: the decoder does not turn them into the same "
            "views of the picture. Flips and rotations by quarter turns hold approximately; for the others use a "
            "model of pixels",
            UserWarning,
            stacklevel=3,
        )


def _output(unet: torch.nn.Module) -> Any:
    """Return the class of a network's output."""
    from diffusers.models.unets.unet_2d import UNet2DOutput
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionOutput

    return UNet2DConditionOutput if "cross_attention_dim" in getattr(unet, "config", {}) else UNet2DOutput
