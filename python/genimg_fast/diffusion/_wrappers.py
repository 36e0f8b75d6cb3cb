"""Networks and denoisers of others made multi-view: a canonical picture in, the average of all views' predictions out.

Samplers are linear in what a network predicts up to their clipping, so the average may be taken inside the network and
their loop stays as it is (D. Geng, I. Park, A. Owens, "Visual anagrams", CVPR 2024, eq. 2).
"""

from __future__ import annotations

import inspect
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from genimg_fast import _arguments as check
from genimg_fast import multiview
from genimg_fast.views import Views

REDUCTIONS = ("mean", "sum")
LATENT_CHANNELS = (4, 16)
_COUNTS = {2: "two halves", 3: "three parts"}
# What encoders to latents do not commute with: changes of values and of neighbourhoods.
NOT_ON_LATENTS = frozenset(
    [
        "negate",
        "permute_channels",
        "pixel_permute",
        "hadamard",
        "dct",
        "householder",
        "random_patch",
        "colour",
        "grey",
        "color",
        "grayscale",
    ]
)
# Conditions that say something of places, and were made for the canonical picture.
_OF_PICTURES = (
    "down_block_additional_residuals",
    "mid_block_additional_residual",
    "down_intrablock_additional_residuals",
)
_OF_PLACES = {"added_cond_kwargs": ("hint",), "cross_attention_kwargs": ("ip_adapter_masks", "gligen")}


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
            Perturbed attention (PAG) adds a further conditional part, which is seen by itself. Other guidance says its
            parts in their order, True for unconditional ones: (False, True, True) for InstructPix2Pix.
        added_cond_kwargs: For each name of the pipeline's a tensor (V, ...), one entry for each view, in its place: of
            SDXL {"text_embeds": (V, D)}, the pooled embeddings that belong to ``prompt_embeds``, and "time_ids".
        negative_added_cond_kwargs: The same, (V, ...) or (1, ...), for the unconditional half; names that are missing
            keep the pipeline's.
        weights, reduce: As for `reduce_views`; "alternate" is `MultiViewStep`'s.
        latents: Whether the pictures are latents; None: with 4 or 16 channels.

    Raises:
        TypeError: A network that is called in another way, as transformers (SD3, FLUX, PixArt) are: their packed or
            patched tokens are no pictures.
        ValueError: Embeddings or labels that are not one for each view, an unknown reduction.

    Warns:
        UserWarning: ``prompt_embeds`` without the pooled ones of a network that takes them (SDXL). Views that make no
            sense on latents: those that change values (negate, channels and colours) or
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
        guided: bool | Sequence[bool] = True,
        weights: Sequence[float] | None = None,
        reduce: str = "mean",
        latents: bool | None = None,
        added_cond_kwargs: Mapping[str, torch.Tensor] | None = None,
        negative_added_cond_kwargs: Mapping[str, torch.Tensor] | None = None,
    ) -> None:
        super().__init__()
        _check_network(unet)
        if not isinstance(views, Views):
            raise TypeError(f"MultiViewUNet: views must be gf.Views, got {type(views).__name__}")
        check.choice("reduce", reduce, REDUCTIONS)
        n = len(views)
        self.unet, self.views, self.guided = unet, views, guided
        self.weights, self.reduction = weights, reduce
        self._given_parts = _checked_parts(guided)
        self._halves_seen: set[int] = set()
        self.register_buffer("prompt_embeds", embeddings("prompt_embeds", prompt_embeds, (n,)), persistent=False)
        negative = embeddings("negative_prompt_embeds", negative_prompt_embeds, (1, n))
        added, negative_added = dict(added_cond_kwargs or {}), dict(negative_added_cond_kwargs or {})
        if not any(self._given_parts):
            for name, given in (
                ("negative_prompt_embeds", negative),
                ("negative_added_cond_kwargs", negative_added or None),
            ):
                if given is not None:
                    raise ValueError(f"{name} must be None with guided={guided}, which has no unconditional half")
        self.register_buffer("negative_prompt_embeds", negative, persistent=False)
        self._added = self._buffers_of("added_cond_kwargs", added, (n,))
        self._negative_added = self._buffers_of("negative_added_cond_kwargs", negative_added, (1, n))
        labels = None if class_labels is None else torch.as_tensor(class_labels)
        if labels is not None and labels.shape != (n,):
            raise ValueError(f"class_labels must be ({n},), one for each view, got the shape {tuple(labels.shape)}")
        self.register_buffer("class_labels", labels, persistent=False)
        warn_of_latents(views, latents)
        if prompt_embeds is not None and "text_embeds" not in added and _takes_pooled(unet):
            warnings.warn(
                "MultiViewUNet: the network takes pooled embeddings too: give added_cond_kwargs={'text_embeds': "
                "(V, D)} of each view's prompt, else all views have those of the pipeline's",
                UserWarning,
                stacklevel=2,
            )

    def _buffers_of(self, kind: str, given: dict[str, Any], accepted: tuple[int, ...]) -> dict[str, str]:
        """Keep conditions as buffers, which move with the network; return the buffer's name of each."""
        names = {}
        for name, value in given.items():
            _check_entries(f"{kind}[{name!r}]", value, accepted)
            names[name] = f"_{kind}_{name}"
            self.register_buffer(names[name], value.detach(), persistent=False)
        return names

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
                entries, also in dictionaries, lists and tuples, are repeated for each view.

        Returns:
            The network's kind of output, or with ``return_dict=False`` a tuple, of (N, C or 2 C, H, W).

        Raises:
            ValueError: A shape that does not fit the views, an N that the parts of guidance do not divide, conditions
                of places (residuals of a ControlNet, masks and boxes of adapters), which were computed without views.
        """
        _check_places(conditions)
        seen = stacked(sample, self.views)
        n = len(sample)
        parts = self._parts(n)
        count = len(parts)
        if self.guided is True and count == 2:
            self._check_halves(encoder_hidden_states, n)
        given = {
            name: repeated(value, n, len(self.views), f"MultiViewUNet: {name}", count)
            for name, value in conditions.items()
        }
        if self._added or self._negative_added:
            given["added_cond_kwargs"] = self._added_conditions(
                conditions.get("added_cond_kwargs"), given, sample, parts
            )
        text = self._spread(
            "encoder_hidden_states",
            encoder_hidden_states,
            self.prompt_embeds,
            self.negative_prompt_embeds,
            sample,
            parts,
        )
        if text is not None:
            given["encoder_hidden_states"] = text
        if self.class_labels is not None:
            given["class_labels"] = self.class_labels.to(sample.device).repeat_interleave(n // count).repeat(count)
        elif class_labels is not None:
            given["class_labels"] = repeated(class_labels, n, len(self.views), "MultiViewUNet: class_labels", count)
        stack = by_parts(seen, len(self.views), count)
        times = repeated(timestep, n, len(self.views), "MultiViewUNet: timestep", count)
        prediction = self.unet(stack, times, return_dict=False, **given)[0]
        result = self._average(by_parts(prediction, count, len(self.views)))
        return _output(self.unet)(sample=result) if return_dict else (result,)

    def _average(self, prediction: torch.Tensor) -> torch.Tensor:
        found = multiview.reduce_views(prediction, self.views, None, self.weights, self.reduction)
        return torch.cat(found, 1) if isinstance(found, tuple) else found

    def _parts(self, n: int) -> tuple[bool, ...]:
        """Return the parts of a batch of n pictures, True for unconditional ones.

        Attention that is perturbed cuts its batch by itself, and must find the parts as the pipeline made them: all
        views of one, then all of the next.
        """
        perturbed = {type(module.__dict__.get("processor")).__name__ for module in self.unet.modules()}
        parts = self._given_parts
        if any(name.startswith("PAG") for name in perturbed):
            if len(parts) < 3:
                guided = any(name.startswith("PAGCFG") for name in perturbed)
                if guided != any(parts) and self._has_own:
                    raise ValueError(
                        f"MultiViewUNet: guided must be {guided}, as perturbed attention (PAG) is set up in the "
                        f"network, got {self.guided}"
                    )
                parts = (True, False, False) if guided else (False, False)
        elif not self._has_own:
            return (False,)  # nothing that differs from part to part
        if n % len(parts):
            raise ValueError(
                f"MultiViewUNet: sample must hold {_COUNTS.get(len(parts), str(len(parts)) + ' parts')} with "
                f"guided={self.guided}, got {n} pictures; guided=False is for pipelines without guidance"
            )
        return parts

    def _check_halves(self, text: torch.Tensor | None, n: int) -> None:
        """Refuse, once for each n, a batch whose embeddings show that its middle is no border of unconditional ones."""
        if n in self._halves_seen or text is None or len(text) != n:
            return
        self._halves_seen.add(n)
        rows = text.flatten(1)
        first, second = rows[: n // 2], rows[n // 2 :]
        if (first[:, None] == second).all(-1).any() and not (rows == rows[:1]).all():
            raise ValueError(
                f"MultiViewUNet: guided=True takes the first half of sample, {n // 2} of {n} pictures, for the "
                "unconditional one, but the same encoder_hidden_states stand in both halves; give guided the parts in "
                "their order, True for unconditional ones, such as (True, False, False)"
            )

    @property
    def _has_own(self) -> bool:
        """Whether some condition is not the pipeline's."""
        own = (self.prompt_embeds, self.negative_prompt_embeds)
        return any(one is not None for one in own) or bool(self._added or self._negative_added)

    def _spread(
        self,
        name: str,
        given: torch.Tensor | None,
        own: torch.Tensor | None,
        negative: torch.Tensor | None,
        sample: torch.Tensor,
        parts: tuple[bool, ...],
    ) -> torch.Tensor | None:
        """Return a condition of the stack: for each part that of each view for all its pictures, or the pipeline's."""
        n, views, count = len(sample), len(self.views), len(parts)
        if own is None and negative is None:
            return repeated(given, n, views, f"MultiViewUNet: {name}", count)
        found = []
        for i, is_negative in enumerate(parts):
            values = negative if is_negative else own
            if values is not None:
                like = sample if given is None else given
                values = values.to(like.device, like.dtype)
                found.append(values.expand(views, *values.shape[1:]).repeat_interleave(n // count, 0))
                continue
            if given is None:
                raise ValueError(f"MultiViewUNet: {name} must be given, got None")
            if len(given) != n:
                raise ValueError(f"MultiViewUNet: {name} must have {n} entries, got the shape {tuple(given.shape)}")
            part = given[i * (n // count) : (i + 1) * (n // count)]
            found.append(part.repeat(views, *[1] * (part.ndim - 1)))
        return torch.cat(found)

    def _added_conditions(
        self, given: Any, others: Mapping[str, Any], sample: torch.Tensor, parts: Any
    ) -> dict[str, Any]:
        found = dict(others.get("added_cond_kwargs") or {})
        for name in {**self._added, **self._negative_added}:
            own, negative = (
                getattr(self, kept[name]) if name in kept else None for kept in (self._added, self._negative_added)
            )
            found[name] = self._spread(
                f"added_cond_kwargs[{name!r}]", (given or {}).get(name), own, negative, sample, parts
            )
        return found


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
        if not callable(denoise):
            raise TypeError(f"MultiViewDenoiser: denoise must be a function, got {type(denoise).__name__}")
        if not isinstance(views, Views):
            raise TypeError(f"MultiViewDenoiser: views must be gf.Views, got {type(views).__name__}")
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
        given = {
            name: repeated(value, n, copies * views, f"MultiViewDenoiser: {name}") for name, value in extra.items()
        }
        for name in self._halves[0]:
            parts = [half[name].to(x.device) for half in self._halves]
            spread = [part.expand(views, *part.shape[1:]).repeat_interleave(n, 0) for part in parts]
            given[name] = torch.cat(spread)
        denoised = self.denoise(stack, repeated(sigma, n, copies * views, "MultiViewDenoiser: sigma"), **given)
        if getattr(denoised, "shape", None) != stack.shape:
            got = tuple(denoised.shape) if hasattr(denoised, "shape") else type(denoised).__name__
            raise ValueError(f"MultiViewDenoiser: denoise must return {tuple(stack.shape)}, got {got}")
        return multiview.reduce_views(denoised, self.views, self.guidance, self.weights, self.reduction)


def stacked(sample: torch.Tensor, views: Views, copies: int = 1) -> torch.Tensor:
    """Return all views (copies V N, k C, H, W) of inputs (N, k C, H, W) that are k pictures each."""
    channels = views.shape[0]
    if not isinstance(sample, torch.Tensor):
        raise TypeError(f"MultiViewUNet: sample must be a torch.Tensor, got {type(sample).__name__}")
    if sample.ndim != 4 or sample.shape[1] % channels or tuple(sample.shape[2:]) != views.shape[1:]:
        shape = ", ".join(map(str, views.shape[1:]))
        raise ValueError(
            f"MultiViewUNet: sample must be (N, multiple of {channels}, {shape}), got {tuple(sample.shape)}"
        )
    pictures = sample.reshape(-1, *views.shape)
    stack = multiview.apply_views(pictures, views, copies=copies)
    return stack.reshape(-1, *sample.shape[1:])


def by_parts(stack: torch.Tensor, outer: int, inner: int) -> torch.Tensor:
    """Return what is ordered (outer, inner, pictures) as (inner, outer, pictures)."""
    if outer == 1 or inner == 1:
        return stack
    return stack.unflatten(0, (outer, inner, -1)).transpose(0, 1).flatten(0, 2)


def repeated(value: Any, n: int, times: int, name: str, parts: int = 1) -> Any:
    """Return what belongs to n pictures, one after the other as often as there are views, by parts of guidance.

    Raises:
        ValueError: A tensor of entries that are neither one for each picture nor one for all.
    """
    if isinstance(value, torch.Tensor) and value.ndim and len(value) != 1:
        if len(value) != n:
            raise ValueError(
                f"{name} must have 1 or {n} entries, one for each picture, got the shape {tuple(value.shape)}"
            )
        return by_parts(value.repeat(times, *[1] * (value.ndim - 1)), times, parts)
    if isinstance(value, torch.Tensor) and value.ndim and n == 1:
        return value.repeat(times, *[1] * (value.ndim - 1))
    if isinstance(value, Mapping):
        return {key: repeated(one, n, times, f"{name}[{key!r}]", parts) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        found = [repeated(one, n, times, f"{name}[{i}]", parts) for i, one in enumerate(value)]
        return found if isinstance(value, list) else tuple(found)
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


def _check_network(unet: Any) -> None:
    """Refuse what is not called as (sample, timestep, ...) with pictures."""
    if not isinstance(unet, torch.nn.Module):
        raise TypeError(f"MultiViewUNet: unet must be a torch.nn.Module, got {type(unet).__name__}")
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    parameters = inspect.signature(unet.forward).parameters.values()
    names = [one.name for one in parameters if one.kind in kinds]
    takes_any = any(one.kind is inspect.Parameter.VAR_POSITIONAL for one in parameters)
    is_pictures = bool(names) and names[0] not in ("hidden_states", "input_ids")
    if not takes_any and (not is_pictures or len(names) < 2 or "encoder_hidden_states" in names[:2]):
        raise TypeError(
            "MultiViewUNet: unet must be called as (sample, timestep, ...) with pictures, as UNet2DModel and "
            f"UNet2DConditionModel are, got a {type(unet).__name__}, which takes ({', '.join(names[:3])}, ...): "
            "transformers (SD3, FLUX, PixArt) see packed or patched latents, which are no pictures that views move; "
            "gf.apply_views and gf.reduce_views serve a loop of one's own"
        )


def _checked_parts(guided: Any) -> tuple[bool, ...]:
    """Return the parts of a batch, True for unconditional ones."""
    if isinstance(guided, bool):
        return (True, False) if guided else (False,)
    if not isinstance(guided, (list, tuple)) or not guided or not all(isinstance(one, bool) for one in guided):
        raise TypeError(f"MultiViewUNet: guided must be True, False or one of these for each part, got {guided!r}")
    return tuple(guided)


def _check_places(conditions: Mapping[str, Any]) -> None:
    """Refuse conditions that say something of places of the canonical picture."""
    for name in _OF_PICTURES:
        if conditions.get(name) is not None:
            raise ValueError(f"MultiViewUNet: {name} must be None: it was computed without views")
    for group, names in _OF_PLACES.items():
        for name in names:
            if (conditions.get(group) or {}).get(name) is not None:
                raise ValueError(f"MultiViewUNet: {group}[{name!r}] must be None: it was computed without views")


def _takes_pooled(unet: torch.nn.Module) -> bool:
    config = getattr(unet, "config", None)
    return config is not None and getattr(config, "addition_embed_type", None) == "text_time"


def warn_of_latents(views: Views, latents: bool | None) -> None:
    """Say which views no decoder of latents follows."""
    if latents is None:
        latents = views.shape[0] in LATENT_CHANNELS
    if not latents:
        return
    bad = [
        name for name in views.names if NOT_ON_LATENTS & {re.split(r"[(.]", one.strip())[0] for one in name.split("@")}
    ]
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
