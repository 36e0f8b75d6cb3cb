"""The threads of operations on arrays: how many, from where, and that changing their number stops nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

import genimg_fast as gf

COUNT = (
    "import genimg_fast as gf, numpy as np; x = np.random.default_rng(0).random((16, 8, 32, 32), dtype=np.float32);"
    "gf.gram_matrix(x); print(gf.get_num_threads(), len(__import__('os').listdir('/proc/self/task')))"
)


def run(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1", **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.fixture(autouse=True)
def _number_afterwards() -> Any:
    before = gf.get_num_threads()
    yield
    gf.set_num_threads(before)


def test_the_environment_sets_the_number() -> None:
    done = run(COUNT, GENIMG_FAST_NUM_THREADS="3")
    assert done.stderr == ""
    assert done.stdout.split()[0] == "3"


@pytest.mark.parametrize("text", ["1e3", "2x", "abc", "0", "-1", " 2", "+2", "2.0", "1_0", "٣"])
def test_words_that_are_no_number_are_said_and_ignored(text: str) -> None:
    usual = run(COUNT, GENIMG_FAST_NUM_THREADS="").stdout.split()[0]
    done = run(COUNT, GENIMG_FAST_NUM_THREADS=text)
    assert done.returncode == 0
    assert f"GENIMG_FAST_NUM_THREADS must be an integer from 1 to 1024, got '{text}'; {usual} is taken" in done.stderr
    assert done.stderr.count("must be") == 1
    assert done.stdout.split()[0] == usual


@pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="threads are counted in /proc")
@pytest.mark.parametrize("text", ["1000000000", "4294967297", "18446744073709551617"])
def test_large_numbers_are_bounded_and_no_thread_is_without_work(text: str) -> None:
    done = run(COUNT, GENIMG_FAST_NUM_THREADS=text)
    assert f"got '{text}'; 1024 is taken" in done.stderr
    threads, running = map(int, done.stdout.split())
    assert threads == 1024
    assert running <= 40  # of 16 matrices; the libraries' own threads are among them


def test_levels_that_are_none_are_said() -> None:
    done = run("import genimg_fast as gf; print(gf.build_info()['instruction_set'])", GENIMG_FAST_ISA="foo")
    level = gf.build_info()["instruction_set"] if "GENIMG_FAST_ISA" not in os.environ else done.stdout.strip()
    assert done.stdout.strip() == level
    assert f"GENIMG_FAST_ISA must be one of baseline, v3, v4 and v4x that this processor has, got 'foo'; {level}" in (
        done.stderr
    )
    assert run("import genimg_fast", GENIMG_FAST_ISA="baseline").stderr == ""


@pytest.mark.parametrize("n", [0, -1, 1025, 10**9, 2**31, 2**64, -(2**70)])
def test_numbers_out_of_range_are_refused(n: int) -> None:
    with pytest.raises(ValueError, match=f"set_num_threads: n must be from 1 to 1024, got {n}"):
        gf.set_num_threads(n)


@pytest.mark.parametrize("n", [True, 2.0, "2", None])
def test_other_kinds_are_refused(n: Any) -> None:
    with pytest.raises(TypeError, match="set_num_threads: n must be an integer"):
        gf.set_num_threads(n)


def test_any_integer_will_do() -> None:
    gf.set_num_threads(np.int64(3))  # type: ignore[arg-type]
    assert gf.get_num_threads() == 3


def test_results_are_the_same_where_threads_cannot_be_started() -> None:
    code = (
        "import resource, sys, numpy as np, genimg_fast as gf\n"
        "x = np.random.default_rng(0).random((64, 8, 32, 32), dtype=np.float32)\n"
        "gf.set_num_threads(1); expected = gf.gram_matrix(x)\n"
        "used = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()\n"
        "resource.setrlimit(resource.RLIMIT_AS, (used + (60 << 20), -1))\n"  # room for the stacks of a few threads
        "gf.set_num_threads(64); assert np.array_equal(gf.gram_matrix(x), expected)\n"
    )
    done = run(code)
    assert done.returncode == 0, done.stderr


def test_the_number_may_change_while_calls_run() -> None:
    code = (
        "import threading, time, numpy as np, genimg_fast as gf\n"
        "x = np.random.default_rng(0).random((64, 4, 8, 8), dtype=np.float32)\n"
        "expected = gf.gram_matrix(x); end = time.monotonic() + 3; wrong = []\n"
        "def call():\n"
        "    while time.monotonic() < end:\n"
        "        if not np.array_equal(gf.gram_matrix(x), expected): wrong.append(1)\n"
        "def change():\n"
        "    n = 0\n"
        "    while time.monotonic() < end: n += 1; gf.set_num_threads(1 + n % 8)\n"
        "threads = [threading.Thread(target=f, daemon=True) for f in (call, call, call, change)]\n"
        "[t.start() for t in threads]; [t.join(20) for t in threads]\n"
        "assert not any(t.is_alive() for t in threads), 'a call hangs'\n"
        "assert not wrong\n"
    )
    done = run(code)
    assert done.returncode == 0, done.stderr
