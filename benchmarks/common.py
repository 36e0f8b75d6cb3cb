"""Timing that can be trusted on a shared machine: everything compared runs in one process, in turns; medians are kept.

Each benchmark file has ``run(quick, threads)``, which asserts that the compared results agree and returns rows:
``{"family", "case", "what", "seconds", "peer_seconds": {name: seconds}, "floor_seconds", "note"}``.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path


def interleaved(candidates: dict[str, Callable[[], object]], seconds: float = 2.0, warm: int = 0) -> dict[str, float]:
    """Return the median time of one call of each candidate, in seconds.

    The candidates are called in turn, round after round, so that a change of the machine's speed meets all of them.
    The number of rounds fills about ``seconds`` after one round of warming up, with at least 5. Fast candidates are
    repeated within a round until it lasts 0.2 ms, well above the clock's resolution. ``warm``: how often each is called
    before it is timed, so that the caches hold what is its own and not what the others left.
    """
    repeats = {}
    round_time = 0.0
    for label, function in candidates.items():
        function()
        once = _time(function, 1)
        repeats[label] = max(1, min(1000, round(2e-4 / max(once, 1e-9))))
        round_time += once * repeats[label]
    rounds = max(5, min(200, round(seconds / round_time)))
    samples: dict[str, list[float]] = {label: [] for label in candidates}
    for _ in range(rounds):
        for label, function in candidates.items():
            for _ in range(warm):
                function()
            samples[label].append(_time(function, repeats[label]))
    return {label: statistics.median(times) for label, times in samples.items()}


def memory(field: str) -> int:
    """Return a size of this process in bytes. (getrusage's peak would be that of the process it was forked from.)"""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field}:"))


def _time(function: Callable[[], object], repeats: int) -> float:
    start = time.perf_counter()
    for _ in range(repeats):
        function()
    return (time.perf_counter() - start) / repeats
