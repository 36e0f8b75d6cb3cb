"""The exact denoiser of a mixture of Gaussians: a diffusion model without a network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from genimg_fast import _arguments as check

Tensor = torch.Tensor
PREDICTIONS = ("epsilon", "sample", "v_prediction")


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
        ValueError: A shape that does not fit, a negative deviation, weights that are not positive.
    """

    def __init__(
        self,
        means: Tensor,
        std: float | Sequence[float],
        weights: Sequence[float] | None = None,
        labels: Sequence[int] | None = None,
    ) -> None:
        if means.dim() != 4 or not len(means) or not means.is_floating_point():
            raise ValueError(
                f"MixtureDenoiser: means must be floats (K, C, H, W), got {tuple(means.shape)} {means.dtype}"
            )
        n = len(means)
        self.means = means
        self.variances = torch.as_tensor(std, dtype=means.dtype, device=means.device).square().expand(n)
        if not torch.isfinite(self.variances).all() or (torch.as_tensor(std) < 0).any():
            raise ValueError(f"MixtureDenoiser: std must be finite and not negative, got {std}")
        self.logs = torch.tensor(check.weights(weights, n, "component"), dtype=means.dtype, device=means.device).log()
        self.labels = torch.as_tensor(range(n) if labels is None else list(labels), device=means.device)
        if len(self.labels) != n:
            raise ValueError(f"MixtureDenoiser: labels must hold one class for each of {n} components, got {labels}")

    @property
    def shape(self) -> tuple[int, int, int]:
        return tuple(self.means.shape[1:])  # type: ignore[return-value]

    def expected(self, x: Tensor, abar: float, labels: Tensor | None = None) -> Tensor:
        """Return E[x0 | x] for pictures (B, C, H, W).

        Args:
            abar: alpha-bar, the share of the variance that is signal: above 0, at most 1.
            labels: (B,): a class for each picture, of which only the components count; -1 and None: all of them.
        """
        if not 0 < abar <= 1:
            raise ValueError(f"MixtureDenoiser: abar must be above 0 and at most 1, got {abar}")
        signal = abar**0.5
        spread = (abar * self.variances + (1 - abar)).clamp(min=1e-20)  # (K,)
        offsets = x[:, None] - signal * self.means  # (B, K, C, H, W)
        squares = offsets.flatten(2).square().sum(-1)
        logs = self.logs - squares / (2 * spread) - 0.5 * offsets[0, 0].numel() * spread.log()
        if labels is not None:
            chosen = labels.to(x.device)[:, None]
            logs = logs.masked_fill((chosen >= 0) & (self.labels != chosen), -torch.inf)
        shares = logs.softmax(1)
        gains = shares * (signal * self.variances / spread)
        return torch.einsum("bk,kchw->bchw", shares, self.means) + torch.einsum("bk,bkchw->bchw", gains, offsets)

    def predict(self, x: Tensor, abar: float, kind: str = "epsilon", labels: Tensor | None = None) -> Tensor:
        """Return what a network of a kind predicts: "epsilon", "sample" or "v_prediction"."""
        check.choice("kind", kind, PREDICTIONS)
        x0 = self.expected(x, abar, labels)
        if kind == "sample":
            return x0
        signal, noise = abar**0.5, max(1 - abar, 1e-20) ** 0.5
        epsilon = (x - signal * x0) / noise
        return epsilon if kind == "epsilon" else signal * epsilon - noise * x0

    def network(self, scheduler: Any, labels: Sequence[int] | None = None) -> Callable[[Tensor, float], Tensor]:
        """Return the function of a stack and a timestep that `MultiViewStep.sample` takes.

        Args:
            scheduler: Of diffusers, with alpha-bar at each timestep and the kind of prediction.
            labels: The class of each picture of the stack, the unconditional half's included (-1: none); None: none.
        """
        chosen = None if labels is None else torch.as_tensor(list(labels))
        kind = scheduler.config.prediction_type

        def predict(stack: Tensor, t: float) -> Tensor:
            return self.predict(stack, float(scheduler.alphas_cumprod[int(t)]), kind, chosen)

        return predict
