"""A sampler's whole step between two calls of the network: guidance, inverse views, their average, the scheduler."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from genimg_fast import multiview
from genimg_fast._core import backend
from genimg_fast._core.progress import tracked
from genimg_fast._schedulers import PREVIOUS, Coefficients, coefficients, learned_variance, prepared
from genimg_fast.views import Views

_NUMBERS = (float, int, type(None))
_ALONE = ((1.0,), (1.0,), (1.0,))  # of one view

AVERAGES = ("noise", "x0", "sample")  # in the order of the kernels' Average


class MultiViewStep:
    """Sampling of pictures that are something else in each of several views, with the work around the network fused.

    Args:
        views: The views.
        scheduler: A ``DDPMScheduler``, ``DDIMScheduler`` or ``FlowMatchEulerDiscreteScheduler`` of diffusers with its
            timesteps set, which is copied; or the configuration of another, which runs as the one of these that is
            closest (other diffusions as DDIM, other flows as Euler's), with a warning that says so. All their kinds of
            prediction (epsilon, sample, v_prediction, flow), clipping, dynamic thresholds, fixed variances and the
            learned range, custom timesteps and sigmas, zero terminal signal.
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
        previous: Where a step ends. ``"diffusers"``: where the scheduler's own does, for the same pictures; its DDIM
            goes from t to t - N // steps. ``"listed"``: at the next of the timesteps, which is another one where they
            are unevenly spaced (``timestep_spacing`` "linspace", or "trailing" with a remainder).

    Raises:
        TypeError: A ``scheduler`` that is none, ``steps`` or ``eta`` that are no numbers.
        ValueError: A scheduler without timesteps or of another kind, or with settings whose steps are no numbers or
            that are none of these; an unknown ``average``, ``reduce="sum"`` with an average of pictures.
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
        previous: str = "diffusers",
    ) -> None:
        backend.choice("MultiViewStep", "average", average, AVERAGES)
        if reduce == "sum" and average != "noise":
            raise ValueError(
                f"MultiViewStep: reduce='sum' adds parts of the noise: average must be 'noise', got {average!r}"
            )
        if group is not None and (average != "noise" or reduce == "alternate"):
            raise ValueError(
                f"MultiViewStep: group needs average='noise' and reduce='mean' or 'sum', got {average!r} and {reduce!r}"
            )
        backend.choice("MultiViewStep", "previous", previous, PREVIOUS)
        self.views, self.guidance, self.average = views, guidance, average
        self.eta = backend.number("MultiViewStep", "eta", eta)
        if not 0 <= self.eta <= 1:
            raise ValueError(f"MultiViewStep: eta must be from 0 to 1, got {eta!r}")
        self.weights, self.reduce, self.group = weights, reduce, group
        self._canonical = Views("identity", views.shape) if group is not None else views
        self.scheduler = prepared(scheduler, steps)
        if self.eta and type(self.scheduler).__name__ != "DDIMScheduler":
            raise ValueError(
                f"MultiViewStep: eta must be 0 but for DDIM, got {eta!r} for {type(self.scheduler).__name__}"
            )
        self.timesteps: list[float] = self.scheduler.timesteps.tolist()
        self._learned = learned_variance(self.scheduler)
        self._steps = [(one, one.numbers()) for one in coefficients(self.scheduler, self.eta, previous)]
        times, found = Counter(self.timesteps), zip(self.timesteps, self._steps, strict=True)
        self._known = {t: one for t, one in found if times[t] == 1}  # the others by their number
        self._total: float | None = None  # of all ranks' weights, once a step was taken
        self._table: tuple[Any, multiview.Averaging] | None = None  # what it was made of, and what it is
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
            prediction: What the network gave for `inputs`, as for `reduce_views`; 2 C channels where the scheduler's
                variance is learned, C where it is fixed. DDIM and flow matching leave a variance aside.
            t: The timestep, one of ``timesteps``.
            x: The pictures (B, C, H, W) at t.
            noise: Standard normal, of the shape of ``x``, where the scheduler adds any; None: drawn.
            generator: Draws it: a ``torch.Generator``, or what ``numpy.random.default_rng`` takes (a seed draws the
                same noise in each call). Or a list of generators, one for each picture.
            number: The step's number, for ``reduce="alternate"``, a guidance that changes and a timestep that is
                listed more than once; None: t's place.
            out: Where the result goes; may be ``x``. It shares no memory with ``prediction`` or ``noise``.

        Returns:
            (B, C, H, W), of the kind, dtype and device of ``x``. Nothing waits for the device. Differentiable (through
            plain torch operations).

        Raises:
            TypeError, ValueError: As `reduce_views`; noise of another shape or kind; a learned variance against the
                scheduler; generators that are none, or not one for each picture.
        """
        known, numbers = self._coefficients(t, number)
        return self._taken("MultiViewStep.step", known, numbers, prediction, t, x, noise, generator, number, out)

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
        known, _ = self._coefficients(t, number, "MultiViewStep.expected")
        clean = replace(known, from_x=0.0, from_x0=1.0, from_m=0.0, is_noisy=False)
        return self._taken("MultiViewStep.expected", clean, clean.numbers(), prediction, t, x, None, None, number, None)

    def _taken(
        self,
        function: str,
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
        x = backend.plain(function, "x", x)
        kind = multiview.KINDS.of("x", x)
        prediction = _of_the_kind(function, "prediction", prediction, x)
        guided = self.is_guided
        self._check(function, prediction, x, guided)
        if out is not None:
            self._check_out(out, x, prediction, noise if known.is_noisy else None)
        if self.group is not None and self._total is None:  # once, as it waits for the device
            self._total = self._total_of_ranks(x.device)
        table = self._averaging(self._number(number, t), t, self._total)
        if self.group is not None:
            prediction, table, guided = self._over_ranks(prediction, table), _ALONE, False
        elif self.views.dense:
            prediction = multiview._turned_back(kind, prediction, self.views, table, guided)
            guided = False
        if not known.is_noisy:
            noise = None
        elif noise is not None:
            noise = kind.same(_checked_noise(function, noise, x), x)
        elif generator is None and self.group is not None:
            raise ValueError("MultiViewStep: group needs noise, or generator with one seed on all ranks, got None")
        else:
            noise = _drawn(function, kind, generator, x)
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
            progress: Show progress on standard error.
            callback: Called after each step with its number, its timestep and the pictures so far.

        Returns:
            (B, C, H, W), of the kind, dtype and device of ``x``.
        """
        x = backend.plain("MultiViewStep.sample", "x", x)
        if isinstance(x, np.ndarray) and not _is_one_each(generator):
            generator = _random("MultiViewStep.sample", generator)
        start = backend.integer("MultiViewStep.sample", "start", start, 0, len(self.timesteps) - 1)
        for number, t in enumerate(tracked(self.timesteps[start:], "sample", shown=progress), start):
            x = self.step(denoise(self.inputs(x), t), t, x, generator=generator, number=number)
            if callback is not None:
                callback(number, t, x)
        return x

    def _total_of_ranks(self, device: Any) -> float:
        from genimg_fast import distributed

        return distributed.total_weight(len(self.views), self.weights, device, self.group)

    def _over_ranks(self, prediction: Any, table: multiview.Averaging) -> Any:
        """Return the average over all ranks' views, as a prediction of the picture itself."""
        import torch

        from genimg_fast import distributed

        averaged = distributed.reduce_by(prediction, self.views, table, self.is_guided, self.group)
        return torch.cat(averaged, 1) if isinstance(averaged, tuple) else averaged

    def _coefficients(
        self, t: Any, number: int | None = None, function: str = "MultiViewStep.step"
    ) -> tuple[Coefficients, tuple[float, ...]]:
        found = self._known.get(t) if type(t) is float or type(t) is int else None
        return self._looked_up(t, number, function) if found is None else found

    def _looked_up(self, t: Any, number: int | None, function: str) -> tuple[Coefficients, tuple[float, ...]]:
        t = backend.number(function, "t", t)
        if t in self._known:
            return self._known[t]
        places = [place for place, listed in enumerate(self.timesteps) if listed == t]
        if not places:
            raise ValueError(f"{function}: t must be one of the scheduler's timesteps, got {t:g}")
        if number not in places:
            raise ValueError(
                f"{function}: number must be one of {places}, the places of the timestep t = {t:g}, which is "
                f"listed more than once, got {number}"
            )
        return self._steps[places[places.index(number)]]

    def _check(self, function: str, prediction: Any, x: Any, guided: bool) -> None:
        shape, images, views = tuple(prediction.shape), len(self.views) * (1 + guided), self.views.shape
        batch, rest = (shape[0] // images, shape[0] % images) if len(shape) == 4 else (0, 0)
        if not batch or rest or shape[2:] != views[1:] or shape[1] not in (views[0], 2 * views[0]):
            raise ValueError(
                f"{function}: prediction must be ({'2 ' if guided else ''}V B, {views[0]} or {2 * views[0]}, "
                f"{views[1]}, {views[2]}) with V = {len(self.views)}, got {shape}"
            )
        if self._learned is not None and self._learned != (shape[1] > views[0]):
            self._refuse_variance(function, shape)
        if tuple(x.shape) != (batch, *views):
            raise ValueError(
                f"{function}: x must be (B, {', '.join(map(str, views))}), got {tuple(x.shape)}; the prediction has "
                f"B = {batch}"
            )

    def _check_out(self, out: Any, x: Any, prediction: Any, noise: Any) -> None:
        out = backend.writable("MultiViewStep.step", "out", out)
        for name, other in (("x", x), ("prediction", prediction), ("noise", noise)):
            if type(other) is not type(out) or (name == "x" and backend.same_memory(out, x)):
                continue
            if backend.overlap(out, other):
                beside = ", or be x" if name == "x" else ""
                raise ValueError(f"MultiViewStep.step: out must share no memory with {name}{beside}, got one that does")

    def _refuse_variance(self, function: str, shape: tuple[int, ...]) -> None:
        channels, kind = self.views.shape[0], self.scheduler.config.variance_type
        hint = "" if self._learned else "; give the noise alone, prediction[:, :C]"
        raise ValueError(
            f"{function}: prediction must have {2 * channels if self._learned else channels} channels for "
            f"the scheduler's variance_type={kind!r}, got {shape[1]}{hint}"
        )

    def _number(self, number: int | None, t: Any) -> int:
        if number is not None:
            return number if type(number) is int else backend.integer("MultiViewStep.step", "number", number, 0)
        if self.reduce == "alternate" or callable(self.guidance):
            return self.timesteps.index(float(t))
        return 0

    def _averaging(self, number: int, t: Any, total: float | None) -> multiview.Averaging:
        guidance, reduce = self.guidance, self.reduce
        made_of = (guidance, reduce, total)
        # A table is kept where nothing that it is made of can change unnoticed.
        is_fixed = type(guidance) in _NUMBERS and self.weights is None and reduce != "alternate"
        if is_fixed and self._table is not None and self._table[0] == made_of:
            return self._table[1]
        if callable(guidance):
            guidance = guidance(number, float(t))
            if guidance is None:
                raise ValueError("MultiViewStep: guidance(step, t) must give a number, got None")
        n, factorized = len(self.views), self.views.factorized
        table = multiview.averaging(n, guidance, self.weights, reduce, number, factorized, total)
        if is_fixed:
            self._table = made_of, table
        return table


# ---- Arguments ------------------------------------------------------------------------------------------------------


def _of_the_kind(function: str, name: str, value: Any, x: Any) -> Any:
    """Return an argument that must be an array or a tensor as x is."""
    value = backend.plain(function, name, value)
    if type(value) is type(x) and value.dtype == x.dtype:
        return value
    if multiview.KINDS.of(name, value) is not multiview.KINDS.of("x", x):
        wanted, got = type(x).__name__, type(value).__name__
        raise TypeError(f"{function}: {name} must be of the kind of x, {wanted}, got {got}")
    return value


def _checked_noise(function: str, noise: Any, x: Any) -> Any:
    noise = _of_the_kind(function, "noise", noise, x)
    if noise.shape != x.shape:
        raise ValueError(f"{function}: noise must be of the shape of x {tuple(x.shape)}, got {tuple(noise.shape)}")
    return noise


def _is_one_each(generator: Any) -> bool:
    """Tell a list of generators from a list of integers, which is one seed of NumPy's."""
    one = isinstance(generator, (list, tuple)) and len(generator) > 0
    return one and not all(isinstance(entry, (int, np.integer)) for entry in generator)


def _random(function: str, seed: Any) -> np.random.Generator:
    try:
        return np.random.default_rng(seed)
    except (TypeError, ValueError) as error:
        raise type(error)(
            f"{function}: generator must be what numpy.random.default_rng takes, got {seed!r}: {error}"
        ) from error


def _drawn(function: str, kind: Any, generator: Any, x: Any) -> Any:
    """Return normal noise like x, from one generator or from one for each picture."""
    if not _is_one_each(generator):
        return kind.normal(_checked_generator(function, generator, x), x)
    if len(generator) != len(x):
        raise ValueError(
            f"{function}: generator must be one, or a list of one for each of {len(x)} pictures, got a list "
            f"of {len(generator)}"
        )
    drawn = [kind.normal(_checked_generator(function, one, x), x[i : i + 1]) for i, one in enumerate(generator)]
    return kind.concatenate(drawn)


def _checked_generator(function: str, generator: Any, x: Any) -> Any:
    if isinstance(x, np.ndarray):
        return _random(function, generator)
    if generator is not None and not hasattr(generator, "initial_seed"):
        raise TypeError(
            f"{function}: generator must be a torch.Generator, a list of one for each picture, or None, got "
            f"{generator!r}"
        )
    return generator
