"""A sampler's whole step between two calls of the network: guidance, inverse views, their average, the scheduler."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from genimg_fast import multiview
from genimg_fast._schedulers import Coefficients, coefficients, prepared
from genimg_fast.views import Views

_ALONE = ((1.0,), (1.0,), (1.0,))  # of one view

AVERAGES = ("noise", "x0", "sample")  # in the order of the kernels' Average


class MultiViewStep:
    """Sampling of pictures that are something else in each of several views, with the work around the network fused.

    Args:
        views: The views.
        scheduler: A ``DDPMScheduler``, ``DDIMScheduler`` or ``FlowMatchEulerDiscreteScheduler`` of diffusers with its
            timesteps set, or the configuration of any of diffusers', which runs as the one of these that is closest (of
            DDPM's as DDPM, of other diffusions as DDIM). All their kinds of prediction (epsilon, sample, v_prediction,
            flow), clipping, dynamic thresholds, fixed variances and the learned range.
        guidance: As for `reduce_views`; None: none. Or a function of the step's number and timestep that gives it.
        weights, reduce: As for `reduce_views`; ``"alternate"`` goes on with each step.
        average: What is averaged over the views: ``"noise"`` (whatever the model predicts), ``"x0"`` (the clean
            pictures it expects, after clipping) or ``"sample"`` (the pictures after the step). They differ only where
            something is clipped, or the variance is learned.
        eta: For DDIM: 0 without noise, 1 with as much as DDPM.
        steps: Set the timesteps of a copy of the scheduler.
        group: A process group of ``torch.distributed`` whose ranks hold views of their own, each with its part of the
            predictions (`genimg_fast.distributed.own_views`); every rank gets the same pictures if all have the same
            noise or generator. For averages of the noise.

    Raises:
        ValueError: A scheduler without timesteps or of another kind, an unknown ``average``, ``reduce="sum"`` with an
            average of pictures.
    """

    def __init__(
        self,
        views: Views,
        scheduler: Any,
        guidance: multiview.Guidance | Callable[[int, float], multiview.Guidance] = 7.0,
        *,
        weights: Sequence[float] | None = None,
        reduce: str = "mean",
        average: str = "noise",
        eta: float = 0.0,
        steps: int | None = None,
        group: Any = None,
    ) -> None:
        if average not in AVERAGES:
            raise ValueError(f"MultiViewStep: average must be one of {', '.join(map(repr, AVERAGES))}, got {average!r}")
        if reduce == "sum" and average != "noise":
            raise ValueError(
                f"MultiViewStep: reduce='sum' adds parts of the noise: average must be 'noise', got {average!r}"
            )
        if group is not None and (average != "noise" or reduce == "alternate"):
            raise ValueError(
                f"MultiViewStep: group needs average='noise' and reduce='mean' or 'sum', got {average!r} and {reduce!r}"
            )
        if not 0 <= eta <= 1:
            raise ValueError(f"MultiViewStep: eta must be from 0 to 1, got {eta!r}")
        self.views, self.guidance, self.average, self.eta = views, guidance, average, eta
        self.weights, self.reduce, self.group = weights, reduce, group
        self._canonical = Views("identity", views.shape) if group is not None else views
        self.scheduler = prepared(scheduler, steps)
        self.timesteps: list[float] = self.scheduler.timesteps.tolist()
        self._known: dict[float, tuple[Coefficients, tuple[float, ...]]] = {}
        self._total: float | None = None  # of all ranks' weights, once a step was taken
        self._averaging(0, self.timesteps[0], 1.0 if group is not None else None)  # what is wrong is said now

    @property
    def is_guided(self) -> bool:
        return self.guidance is not None

    def inputs(self, x: Any, *, out: Any = None) -> Any:
        """Return what the network takes: all views of x, twice where there is guidance (`apply_views`)."""
        return multiview.apply_views(x, self.views, copies=1 + self.is_guided, out=out)

    def step(
        self,
        prediction: Any,
        t: float,
        x: Any,
        *,
        noise: Any = None,
        generator: Any = None,
        number: int | None = None,
        out: Any = None,
    ) -> Any:
        """Return the pictures after the step from the timestep t.

        Args:
            prediction: What the network gave for `inputs`, as for `reduce_views`; with a learned variance 2 C channels.
            t: The timestep, one of ``timesteps``.
            x: The pictures (B, C, H, W) at t.
            noise: Standard normal, of the shape of ``x``, where the scheduler adds any; None: drawn.
            generator: Draws it: a ``torch.Generator``, or what ``numpy.random.default_rng`` takes.
            number: The step's number, for ``reduce="alternate"`` and a guidance that changes; None: t's place.
            out: Where the result goes; may be ``x``.

        Returns:
            (B, C, H, W), of the kind, dtype and device of ``x``. Nothing waits for the device. Differentiable (through
            plain torch operations).

        Raises:
            TypeError, ValueError: As `reduce_views`; noise of another shape.
        """
        known, numbers = self._coefficients(t)
        return self._taken(known, numbers, prediction, t, x, noise, generator, number, out)

    def expected(self, prediction: Any, t: float, x: Any, *, number: int | None = None) -> Any:
        """Return the clean pictures that a prediction at the timestep t stands for, clipped as in `step`.

        Args:
            prediction, t, x, number: As for `step`.

        Returns:
            (B, C, H, W), of the kind, dtype and device of ``x``: what diffusers calls ``pred_original_sample``, of all
            views.

        Raises:
            TypeError, ValueError: As `step`.
        """
        known, _ = self._coefficients(t)
        clean = replace(known, from_x=0.0, from_x0=1.0, from_m=0.0, is_noisy=False)
        return self._taken(clean, clean.numbers(), prediction, t, x, None, None, number, None)

    def _taken(
        self,
        known: Coefficients,
        numbers: tuple[float, ...],
        prediction: Any,
        t: float,
        x: Any,
        noise: Any,
        generator: Any,
        number: int | None,
        out: Any,
    ) -> Any:
        function = "MultiViewStep.step"
        kind, x = multiview.KINDS.read(function, "x", x)
        prediction = self._alike(kind, "prediction", prediction)
        guided = self.is_guided
        multiview.check_stack(prediction, self.views, guided, function)
        if tuple(x.shape) != (len(prediction) // (len(self.views) * (1 + guided)), *self.views.shape):
            raise ValueError(
                f"MultiViewStep: x must be (B, {', '.join(map(str, self.views.shape))}), got {tuple(x.shape)}"
            )
        if self.group is not None and self._total is None:  # once, as it waits for the device
            self._total = self._total_of_ranks(x.device)
        table = self._averaging(self._number(number, t), t, self._total)
        if self.group is not None:
            prediction, table, guided = self._over_ranks(prediction, table), _ALONE, False
        elif self.views.dense:
            prediction = multiview._turned_back(kind, prediction, self.views, table, guided)
            guided = False
        noise = None if noise is None else self._alike(kind, "noise", noise)
        if not known.is_noisy:
            noise = None
        elif noise is None and generator is None and self.group is not None:
            raise ValueError("MultiViewStep: group needs noise, or generator with one seed on all ranks, got None")
        elif noise is None:
            noise = kind.normal(generator, x)
        elif tuple(noise.shape) != tuple(x.shape):
            raise ValueError(
                f"MultiViewStep: noise must be of the shape of x {tuple(x.shape)}, got {tuple(noise.shape)}"
            )
        else:
            noise = kind.same(noise, x)
        average = AVERAGES.index(self.average)
        prediction = kind.same(prediction, x)
        return kind.step(x, prediction, noise, self._canonical, table, guided, numbers, average, out)

    def sample(
        self,
        denoise: Callable[[Any, float], Any],
        x: Any,
        *,
        start: int = 0,
        generator: Any = None,
        progress: bool = False,
        callback: Callable[[int, float, Any], None] | None = None,
    ) -> Any:
        """Return pictures from noise x (B, C, H, W) through all timesteps.

        Args:
            denoise: The network: a stack (`inputs`) and a timestep in, the stack of predictions out.
            x: Standard normal noise; or, with ``start``, pictures at that timestep.
            start: The number of the first step: later ones keep more of ``x`` (SDEdit, Meng et al. 2022).
            generator: As for `step`. With one, the same pictures each time, for any number of threads.
            progress: Show a bar on a terminal.
            callback: Called after each step with its number, its timestep and the pictures so far.

        Returns:
            (B, C, H, W), of the kind, dtype and device of ``x``.
        """
        if isinstance(x, np.ndarray):
            generator = np.random.default_rng(generator)
        if not 0 <= start < len(self.timesteps):
            raise ValueError(f"MultiViewStep: start must be from 0 to {len(self.timesteps) - 1}, got {start}")
        timesteps: Any = self.timesteps[start:]
        if progress:
            from tqdm import tqdm

            timesteps = tqdm(timesteps, desc="sample", disable=None, leave=False)
        for number, t in enumerate(timesteps, start):
            x = self.step(denoise(self.inputs(x), t), t, x, generator=generator, number=number)
            if callback is not None:
                callback(number, t, x)
        return x

    @staticmethod
    def _alike(kind: Any, name: str, value: Any) -> Any:
        """Return an argument that must be of the kind of x."""
        own, value = multiview.KINDS.read("MultiViewStep.step", name, value)
        if own is not kind:
            raise TypeError(
                f"MultiViewStep.step: {name} must be of the kind of x (array or tensor), got {type(value).__name__}"
            )
        return value

    def _total_of_ranks(self, device: Any) -> float:
        from genimg_fast import distributed

        return distributed.total_weight(len(self.views), self.weights, device, self.group)

    def _over_ranks(self, prediction: Any, table: multiview.Averaging) -> Any:
        """Return the average over all ranks' views, as a prediction of the picture itself."""
        import torch

        from genimg_fast import distributed

        averaged = distributed.reduce_by(prediction, self.views, table, self.is_guided, self.group)
        return torch.cat(averaged, 1) if isinstance(averaged, tuple) else averaged

    def _coefficients(self, t: Any) -> tuple[Coefficients, tuple[float, ...]]:
        found = self._known.get(t) if isinstance(t, (int, float)) else None
        if found is None:
            t = float(t)
            if t not in self.timesteps:
                raise ValueError(f"MultiViewStep: t must be one of the scheduler's timesteps, got {t:g}")
            known = coefficients(self.scheduler, t, eta=self.eta)
            found = self._known[t] = known, known.numbers()
        return found

    def _number(self, number: int | None, t: Any) -> int:
        if number is not None or not (self.reduce == "alternate" or callable(self.guidance)):
            return number or 0
        return self.timesteps.index(float(t))

    def _averaging(self, number: int, t: Any, total: float | None) -> multiview.Averaging:
        guidance = self.guidance(number, float(t)) if callable(self.guidance) else self.guidance
        if callable(self.guidance) and guidance is None:
            raise ValueError("MultiViewStep: guidance(step, t) must give a number, got None")
        n, factorized = len(self.views), self.views.factorized
        return multiview.averaging(n, guidance, self.weights, self.reduce, number, factorized, total)
