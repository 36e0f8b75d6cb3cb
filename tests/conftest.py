"""Devices for the operations' tests: one list of cases runs on each of them.

``device`` is "cpu", "cuda-on-cpu" (the CUDA kernels run on the host by the harness in tests/cuda; its library is named
by GENIMG_FAST_CUDA_ON_CPU) or "cuda". A device that is not there skips, or fails if GENIMG_FAST_REQUIRE_DEVICES names
it.
"""

from __future__ import annotations

import collections
import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass

import pytest


@dataclass(frozen=True)
class Device:
    """Where a test runs: ``name``, and ``torch``, the device to put tensors on."""

    name: str

    @property
    def torch(self) -> str:
        return "cuda" if self.name == "cuda" else "cpu"


def _missing(name: str) -> str | None:
    if name == "cuda-on-cpu" and not os.environ.get("GENIMG_FAST_CUDA_ON_CPU"):
        return "GENIMG_FAST_CUDA_ON_CPU does not name the harness' library"
    if name == "cuda":
        from genimg_fast import _torch

        return _torch.why_no_cuda()
    return None


@contextlib.contextmanager
def _new_memory_is_nan() -> Iterator[None]:
    """Have torch fill new tensors, so that an output that a kernel left unwritten shows."""
    import torch

    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)


@pytest.fixture(params=["cpu", "cuda-on-cpu", pytest.param("cuda", marks=pytest.mark.cuda)])
def device(request: pytest.FixtureRequest) -> Iterator[Device]:
    name = request.param
    why = _missing(name)
    if why is not None:
        required = os.environ.get("GENIMG_FAST_REQUIRE_DEVICES", "").split(",")
        (pytest.fail if name in required else pytest.skip)(f"{name}: {why}")
    if name == "cuda-on-cpu":
        from genimg_fast import _torch

        with _torch.use_cuda_on_cpu(os.environ["GENIMG_FAST_CUDA_ON_CPU"]), _new_memory_is_nan():
            yield Device(name)
    else:
        yield Device(name)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say once for each reason how many tests were skipped."""
    reasons = collections.Counter(
        str(report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr).removeprefix("Skipped: ")
        for report in terminalreporter.stats.get("skipped", [])
    )
    for reason, count in reasons.most_common():
        terminalreporter.write_line(f"{count} skipped: {reason}")
