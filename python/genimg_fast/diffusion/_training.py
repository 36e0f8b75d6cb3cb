"""Training of a class-conditional diffusion model that can be interrupted anywhere and go on as if it had not been.

Ho, Jain, Abbeel 2020, "Denoising diffusion probabilistic models": the network predicts the noise, with equal weight at
all levels. Nichol, Dhariwal 2021: the cosine schedule. Ho, Salimans 2022, "Classifier-free diffusion guidance": labels
are left out now and then, so that the network predicts without them too.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from genimg_fast import _arguments as check
from genimg_fast import images
from genimg_fast._core.progress import ProgressBar, noted_signals, warn_interrupted
from genimg_fast._system import system
from genimg_fast.diffusion import _data
from genimg_fast.diffusion._model import (
    EMA,
    OPTIMIZER,
    RANDOM,
    SCHEDULE,
    SUFFIXES,
    TRAIN_STEPS,
    WEIGHTS,
    Architecture,
    Model,
    ModelFileError,
    are_finite,
    bounded,
    named,
    read_file,
    widths,
    with_prefix,
    write_file,
)
from genimg_fast.diffusion._packages import need

_MOST_BATCH = 1 << 24
_MOST_SEED = (1 << 63) - 1
_MOST_RATE = 1e36  # what torch multiplies float32 by


@dataclass(frozen=True)
class Settings:
    """How to train; see `train`."""

    batch_size: int
    learning_rate: float
    label_dropout: float
    ema_decay: float
    seed: int


@dataclass(frozen=True)
class TrainingStep:
    """Where a training stands.

    Attributes:
        step: Steps done.
        steps: As many as there will be.
        loss: Mean squared error of the predicted noise in this step's batch.
    """

    step: int
    steps: int
    loss: float


@system("train")
def train(
    data: Any,
    *,
    size: int | None = None,
    steps: int = 2000,
    batch_size: int = 64,
    learning_rate: float = 2e-3,
    widths: Sequence[int] = (16, 32, 64),
    label_dropout: float = 0.1,
    ema_decay: float = 0.995,
    seed: int = 0,
    checkpoint: str | os.PathLike[str] | None = None,
    save_every: int = 200,
    resume: bool = False,
    device: Any = None,
    progress: bool = True,
    callback: Callable[[TrainingStep], Any] | None = None,
) -> Model:
    """Train a class-conditional diffusion model of small pictures.

    A training that was stopped and resumed gives the same bits as one that was not, on the same machine with the same
    number of threads. Ctrl-C and SIGTERM end it after the step at hand and save what there is.

    Args:
        data: "digits" for scikit-learn's; a folder of pictures, with a subfolder for each class (other shapes are cut
            to the square in the middle), of which hidden files and folders are no part; or (images, labels): an array
            (N, S, S) or (N, S, S, 3) or a tensor (N, C, S, S), uint8 or floats in [0, 1], and N integers.
        size: S, the pictures' side. Default: 16 for the digits, 32 for a folder, that of the arrays.
        steps: Of the optimiser, in all.
        batch_size: Pictures in a step.
        learning_rate: Of AdamW, after a hundred steps in which it grows.
        widths: Channels at each size, each half of the one before; multiples of 16.
        label_dropout: Share of labels that are left out; 0 leaves no way to sample with guidance.
        ema_decay: The model's weights are a running mean of the optimiser's: this is the share that stays in a step.
        seed: Of weights, batches and noise.
        checkpoint: A .safetensors file that holds the model and all that a resumed training needs.
        save_every: Steps between two checkpoints; there is one in the end too.
        resume: Go on from the checkpoint, with the same data and settings; ``steps`` may differ.
        device: Where to compute, such as "cuda"; default: the processor.
        progress: Whether to show progress on standard error.
        callback: Called with a `TrainingStep` after each step.

    Returns:
        The model, with averaged weights. After Ctrl-C, with a RuntimeWarning, the one so far.

    Raises:
        TypeError, ValueError: Something is not as above; a checkpoint is truncated, of another training, or there
            already although ``resume`` is not set; the loss is not finite.
        OSError: Data or checkpoint cannot be read or written.
        ImportError: A package of the extra ``diffusion`` is missing.

    Warns:
        UserWarning: A folder holds what is no part of the training, or no folders of classes.
    """
    settings = Settings(
        bounded("batch_size", batch_size, 1, _MOST_BATCH),
        _learning_rate(learning_rate),
        _share("label_dropout", label_dropout),
        _share("ema_decay", ema_decay),
        bounded("seed", seed, 0, _MOST_SEED),
    )
    steps, save_every = check.integer("steps", steps, 1), check.integer("save_every", save_every, 1)
    if callback is not None and not callable(callback):
        raise TypeError(f"callback must be callable or None, got {callback!r}")
    device = check.device(device, None)
    path = _checked_path(checkpoint, resume)
    before = None if path is None or not resume else _Checkpoint.read(path)
    if before is not None:
        before.check_settings(settings)
    pictures = _data.load(data, None if size is None else check.integer("size", size, 2))
    training = _Training(pictures, _checked_widths(widths, pictures), settings, device)
    if before is not None:
        training.load(before)
    if training.step > steps:
        raise ValueError(f"steps must be at least those of the checkpoint, {training.step}, got {steps}")
    with (
        ProgressBar("training", steps, unit="step", initial=training.step, shown=progress) as bar,
        _Interruption() as interruption,
    ):
        try:
            while training.step < steps and not interruption.asked:
                loss = training.advance()
                bar.update(training.step, {"loss": f"{loss:.3g}"})
                if path is not None and training.step % save_every == 0 and training.step < steps:
                    training.save(path)
                if callback is not None:
                    callback(TrainingStep(training.step, steps, loss))
        except KeyboardInterrupt:  # of a callback, or a second Ctrl-C
            if not training.is_between_steps:
                raise
            interruption.asked = True
        if path is not None:
            training.save(path)
    if training.step < steps:
        warn_interrupted(f"{training.step} of {steps} steps", result="model")
    return training.model()


class _Training:
    """All that changes while a network is trained, and how it changes."""

    def __init__(self, pictures: _data.Pictures, widths: tuple[int, ...], settings: Settings, device: Any) -> None:
        diffusers, training_utils = need("diffusers"), need("diffusers.training_utils")
        self._pictures, self._settings, self._device = pictures, settings, device
        self.step, self.is_between_steps = 0, True
        self._architecture = Architecture(pictures.shape, pictures.classes, widths)
        self._network = self._architecture.build(settings.seed).to(device)
        # All randomness is drawn on the CPU by one generator, whose state a checkpoint keeps.
        self._generator = torch.Generator().manual_seed(settings.seed)
        self._scheduler = diffusers.DDPMScheduler(**SCHEDULE)
        self._optimizer = torch.optim.AdamW(self._network.parameters(), lr=settings.learning_rate)
        self._ema = training_utils.EMAModel(self._network.parameters(), decay=settings.ema_decay, foreach=True)

    def advance(self) -> float:
        """Take a step and return its loss."""
        self.is_between_steps = False
        clean, labels = self._batch()
        noise = torch.randn(clean.shape, generator=self._generator, dtype=clean.dtype)
        levels = torch.randint(TRAIN_STEPS, (len(clean),), generator=self._generator)
        noisy = self._scheduler.add_noise(clean, noise, levels)
        predicted = self._network(*(part.to(self._device) for part in (noisy, levels, labels))).sample
        loss = torch.nn.functional.mse_loss(predicted, noise.to(self._device))
        value = float(loss.detach())
        if not math.isfinite(value):
            raise self._diverged(f"the loss is {value}")
        self._optimizer.zero_grad()
        loss.backward()
        for group in self._optimizer.param_groups:
            group["lr"] = self._settings.learning_rate * min(1.0, (self.step + 1) / _WARM_UP)
        self._optimizer.step()
        self._ema.step(self._network.parameters())
        self.step += 1
        self.is_between_steps = True
        return value

    def _diverged(self, how: str) -> ValueError:
        given = f"{self._settings.learning_rate:g}"
        return ValueError(f"{how} after {self.step} steps; learning_rate must be smaller, got {given}")

    def _batch(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return clean pictures and their labels, of which some are left out."""
        n, none = self._settings.batch_size, len(self._pictures.classes)
        index = torch.randint(len(self._pictures.labels), (n,), generator=self._generator)
        left_out = torch.rand(n, generator=self._generator, dtype=torch.float32) < self._settings.label_dropout
        return self._pictures.batch(index), self._pictures.labels[index].masked_fill(left_out, none)

    def model(self) -> Model:
        """Return a model with the averaged weights."""
        network = self._architecture.build().to(self._device)
        self._ema.copy_to(network.parameters())
        if not are_finite(network.parameters()):
            raise self._diverged("weights are not finite")
        return Model(self._architecture, network.eval().requires_grad_(False), self._facts())

    def _facts(self) -> dict[str, Any]:
        return {"step": self.step, "settings": asdict(self._settings), "data": self._pictures.fingerprint()}

    def save(self, path: Path) -> None:
        """Write all of it to a file."""
        tensors = named(self._network, WEIGHTS) | named(self.model().network, EMA)
        for i, state in self._optimizer.state_dict()["state"].items():
            tensors |= {f"{OPTIMIZER}{i}.{name}": tensor.float() for name, tensor in state.items()}
        tensors[RANDOM] = self._generator.get_state()
        write_file(path, tensors, self._architecture, self._facts())

    def load(self, checkpoint: _Checkpoint) -> None:
        """Take the state of a checkpoint, if it is of the same training."""
        checkpoint.check_data(self._architecture, self._pictures.fingerprint())
        averaged = self._architecture.build()
        averaged.load_state_dict(with_prefix(checkpoint.tensors, EMA))
        self._network.load_state_dict(with_prefix(checkpoint.tensors, WEIGHTS))
        self.step = checkpoint.facts["step"]
        self._ema.load_state_dict(
            self._ema.state_dict() | {"shadow_params": list(averaged.parameters()), "optimization_step": self.step}
        )
        self._ema.to(self._device)
        groups = self._optimizer.state_dict()["param_groups"]
        self._optimizer.load_state_dict({"state": _optimizer_state(checkpoint.tensors), "param_groups": groups})
        try:
            self._generator.set_state(checkpoint.tensors[RANDOM])
        except RuntimeError as error:
            raise ModelFileError(f"{checkpoint.path} holds no state of random numbers in {RANDOM!r}") from error


@dataclass(frozen=True)
class _Checkpoint:
    """What a file holds from which a training goes on."""

    path: Path
    tensors: Mapping[str, torch.Tensor]
    architecture: Architecture
    facts: Mapping[str, Any]

    @classmethod
    def read(cls, path: Path) -> _Checkpoint:
        tensors, architecture, facts = read_file(path, is_checkpoint=True)
        for name in ("step", "settings", "data"):
            if name not in facts:
                raise ModelFileError(f"{path} does not say {name!r}, which a resumed training needs")
        return cls(path, tensors, architecture, facts)

    def check_settings(self, settings: Settings) -> None:
        """Compare what the caller chose with what the checkpoint was made with."""
        found = self.facts["settings"]
        for name, value in asdict(settings).items():
            if name not in found:
                raise ModelFileError(f"{self.path} does not say {name!r}, which a resumed training needs")
            self._compare(name, found[name], value)

    def check_data(self, architecture: Architecture, fingerprint: str) -> None:
        """Compare the pictures and the network with those of the checkpoint: each thing before what follows from it."""
        before = self.architecture
        self._compare("size", before.shape[-1], architecture.shape[-1])
        self._compare("widths", before.widths, architecture.widths)
        self._compare("the number of data's channels", before.shape[0], architecture.shape[0])
        self._compare("data's classes", before.classes, architecture.classes)
        if self.facts["data"] != fingerprint:
            raise ValueError(f"data must be that of the checkpoint {self.path}; pictures or labels are others")

    def _compare(self, name: str, before: Any, now: Any) -> None:
        if before != now:
            raise ValueError(f"{name} must be that of the checkpoint {self.path}, {before!r}, got {now!r}")


_WARM_UP = 100  # steps in which the learning rate grows


def _optimizer_state(tensors: Mapping[str, torch.Tensor]) -> dict[int, dict[str, torch.Tensor]]:
    state: dict[int, dict[str, torch.Tensor]] = {}
    for name, tensor in tensors.items():
        if name.startswith(OPTIMIZER):
            index, _, part = name.removeprefix(OPTIMIZER).partition(".")
            state.setdefault(int(index), {})[part] = tensor
    return state


class _Interruption:
    """Notes Ctrl-C and SIGTERM, so that a step is finished first. A second one interrupts at once."""

    def __init__(self) -> None:
        self.asked = False
        self._handlers = noted_signals(self._note)

    def __enter__(self) -> _Interruption:
        self._handlers.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._handlers.__exit__(*error)

    def _note(self, *_: object) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True


def _learning_rate(value: Any) -> float:
    rate = check.positive("learning_rate", value)
    if rate > _MOST_RATE:
        raise ValueError(f"learning_rate must be at most {_MOST_RATE:g}, got {rate:g}")
    return rate


def _share(name: str, value: Any) -> float:
    share = check.real(name, value)
    if not 0 <= share < 1:
        raise ValueError(f"{name} must be a number from 0 to below 1, got {value!r}")
    return share


def _checked_path(checkpoint: Any, resume: bool) -> Path | None:
    if checkpoint is None:
        if resume:
            raise ValueError("resume=True needs checkpoint, the file to go on from, got None")
        return None
    path = images.Output.check(checkpoint, SUFFIXES).path
    if resume and not path.is_file():
        raise FileNotFoundError(f"resume=True: there is no checkpoint at {path}")
    if not resume and path.exists():
        raise ValueError(f"checkpoint {path} is there already; resume it, or remove it to begin anew")
    return path


def _checked_widths(value: Any, pictures: _data.Pictures) -> tuple[int, ...]:
    return widths(value, pictures.shape[-1])
