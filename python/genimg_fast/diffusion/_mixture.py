"""The exact denoiser of a mixture of Gaussians: a diffusion model without a network."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch

from genimg_fast import _arguments as check
from genimg_fast._core.backend import strided
from genimg_fast._torch import full_precision

Tensor = torch.Tensor
PREDICTIONS = ("epsilon", "sample", "v_prediction")  # by their names in diffusers


class MixtureDenoiser:
    """Pictures x0 that are normal about one of K means; what a perfect network would predict for them is known.

    With x = sqrt(abar) x0 + sqrt(1 - abar) z, component k has the variance v = abar std^2 + 1 - abar about
    sqrt(abar) mean_k, so that E[x0 | x] is the mean of mean_k + sqrt(abar) std^2 / v (x - sqrt(abar) mean_k), weighted
    by the probabilities of the components given x (Efron 2011: Tweedie's formula for this density).

    Args:
        means: (K, C, H, W), floats.
        std: The standard deviation about each mean, not negative: one, or K of them. With 0 the pictures are the means.
        weights: K positive numbers; None: equal ones.
        labels: The class of each component; None: each is one of its own.

    Raises:
        ValueError: A shape or a number of values that does not fit; a negative deviation, weights not positive.
    """

    def __init__(
        self,
        means: Tensor,
        std: float | Sequence[float],
        weights: Sequence[float] | None = None,
        labels: Sequence[int] | None = None,
    ) -> None:
        _check_tensor("means", means)
        if means.dim() != 4 or not means.numel() or not means.is_floating_point():
            raise ValueError(
                f"MixtureDenoiser: means must be floats (K, C, H, W), got {tuple(means.shape)} {means.dtype}"
            )
        if not torch.isfinite(means).all():
            raise ValueError("MixtureDenoiser: means must be finite, got NaN or infinity")
        n = len(means)
        try:
            deviations = torch.as_tensor(std, dtype=means.dtype, device=means.device)
        except (TypeError, ValueError, RuntimeError, OverflowError) as error:
            raise TypeError(f"MixtureDenoiser: std must be a number or a list of them, got {std!r}") from error
        if deviations.shape not in ((), (n,)):
            raise ValueError(f"MixtureDenoiser: std must be one number or one for each of {n} components, got {std}")
        if not torch.isfinite(deviations).all() or (deviations < 0).any():
            raise ValueError(f"MixtureDenoiser: std must be finite and not negative, got {std}")
        self.means = means
        self.variances = deviations.square().expand(n)
        self.logs = torch.tensor(check.weights(weights, n, "component"), dtype=means.dtype, device=means.device).log()
        listed = range(n) if labels is None else [check.integer("MixtureDenoiser: labels", one, 0) for one in labels]
        self.labels = torch.as_tensor(listed, device=means.device)
        if len(self.labels) != n:
            raise ValueError(f"MixtureDenoiser: labels must hold one class for each of {n} components, got {labels}")

    @property
    def shape(self) -> tuple[int, int, int]:
        return tuple(self.means.shape[1:])  # type: ignore[return-value]

    def expected(self, x: Tensor, abar: float, labels: Tensor | None = None) -> Tensor:
        """Return E[x0 | x] for pictures (B, C, H, W).

        Args:
            x: Floats, on the means' device.
            abar: alpha-bar, the share of the variance that is signal: from 0 to 1.
            labels: (B,): a class for each picture, of which only the components count; -1 and None: all of them.

        Returns:
            (B, C, H, W) of the dtype of ``x``; computed in that of the means where it is the wider.

        Raises:
            ValueError: Another shape, a share outside 0 to 1, a class that no component has.
        """
        return self.predict(x, abar, "sample", labels)

    def predict(self, x: Tensor, abar: float, kind: str = "epsilon", labels: Tensor | None = None) -> Tensor:
        """Return what a network of a kind predicts: "epsilon", "sample" or "v_prediction"; otherwise as `expected`."""
        check.choice("kind", kind, PREDICTIONS)
        x0, epsilon = self._posterior(x, abar, labels)
        if kind == "v_prediction":
            return (abar**0.5 * epsilon - (1 - abar) ** 0.5 * x0).to(x.dtype)
        return (x0 if kind == "sample" else epsilon).to(x.dtype)

    def velocity(self, x: Tensor, sigma: float, labels: Tensor | None = None) -> Tensor:
        """Return E[z - x0 | x] for x = (1 - sigma) x0 + sigma z, what a flow-matching network predicts (Lipman 2023).

        Args:
            x, labels: As for `expected`.
            sigma: From 0, the picture, to 1, noise.
        """
        if not 0 <= sigma <= 1:
            raise ValueError(f"MixtureDenoiser: sigma must be from 0 to 1, got {sigma}")
        _check_tensor("x", x)
        size = math.hypot(1 - sigma, sigma)  # x / size has the variances of a diffusion
        x0, epsilon = self._posterior(x / size, ((1 - sigma) / size) ** 2, labels)
        return (epsilon - x0).to(x.dtype)

    def network(self, scheduler: Any, labels: Sequence[int] | None = None) -> Callable[[Tensor, float], Tensor]:
        """Return the function of a stack and a timestep that `MultiViewStep.sample` takes.

        Args:
            scheduler: Of diffusers: one with alpha-bar at each timestep and a kind of prediction, or flow matching's.
            labels: The class of each picture of the stack, the unconditional half's included (-1: none); None: none.
        """
        chosen = None if labels is None else torch.as_tensor(list(labels))
        if hasattr(scheduler, "sigmas") and not hasattr(scheduler, "alphas_cumprod"):
            return lambda stack, t: self.velocity(stack, float(t) / scheduler.config.num_train_timesteps, chosen)
        kind = scheduler.config.prediction_type
        return lambda stack, t: self.predict(stack, float(scheduler.alphas_cumprod[int(t)]), kind, chosen)

    def _posterior(self, x: Tensor, abar: float, labels: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return E[x0 | x] and E[z | x]."""
        _check_tensor("x", x)
        if x.dim() != 4 or tuple(x.shape[1:]) != self.shape or not x.is_floating_point():
            wanted = f"floats (B, {', '.join(map(str, self.shape))})"
            raise ValueError(f"MixtureDenoiser: x must be {wanted}, got {tuple(x.shape)} {x.dtype}")
        if not 0 <= abar <= 1:
            raise ValueError(f"MixtureDenoiser: abar must be from 0 to 1, got {abar}")
        return full_precision(self._expectations, x, abar, labels)

    def _expectations(self, x: Tensor, abar: float, labels: Tensor | None) -> tuple[Tensor, Tensor]:
        dtype, signal = torch.promote_types(x.dtype, self.means.dtype), abar**0.5
        means, variances = self.means.to(dtype), self.variances.to(dtype)
        spread = (abar * variances + (1 - abar)).clamp(min=1e-20)  # (K,)
        offsets = x[:, None] - signal * means  # (B, K, C, H, W)
        squares = offsets.flatten(2).square().sum(-1)
        logs = self.logs - squares / (2 * spread) - 0.5 * means[0].numel() * spread.log()
        if labels is not None:
            logs = logs.masked_fill(~self._counted(labels, len(x)), -torch.inf)
        shares = logs.softmax(1)
        away = torch.einsum("bk,bkchw->bchw", shares / spread, offsets)
        within = torch.einsum("bk,bkchw->bchw", shares * (signal * variances / spread), offsets)
        x0 = torch.einsum("bk,kchw->bchw", shares, means) + within
        # From its own sum, not from x - signal x0, which cancels where there is little noise.
        return x0, (1 - abar) ** 0.5 * away

    def _counted(self, labels: Tensor, n: int) -> Tensor:
        """Return which components count for each of n pictures: (n, K)."""
        _check_tensor("labels", labels)
        if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
            raise TypeError(f"MixtureDenoiser: labels must be integers, got {labels.dtype}")
        if tuple(labels.shape) != (n,):
            raise ValueError(f"MixtureDenoiser: labels must be one for each of {n} pictures, got {tuple(labels.shape)}")
        chosen = labels.to(self.labels.device)[:, None]
        counted = (chosen < 0) | (self.labels == chosen)
        if not counted.any(1).all():
            known = sorted(set(self.labels.tolist()))
            raise ValueError(f"MixtureDenoiser: labels must be -1 or among {known}, got {sorted(set(labels.tolist()))}")
        return counted


def _check_tensor(name: str, value: Any) -> None:
    if not isinstance(value, Tensor):
        raise TypeError(f"MixtureDenoiser: {name} must be a torch.Tensor, got {type(value).__name__}")
    strided("MixtureDenoiser", name, value)
