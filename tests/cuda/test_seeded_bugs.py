"""Check the checker: bugs put into the shipping kernels are caught by the harness, the tracer or the sanitizers.

Each seed changes one place of one kernel's text; the changed family alone is compiled and its launchers are run.
"""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from budgets import ROOT
from exercise import FAMILIES
from test_budgets import ratio

HERE = Path(__file__).parent
COMPILER = os.environ.get("CXX", "c++")
# Hidden: libraries would otherwise share the static variables of templates, which shared memory is made of here.
FLAGS = ["-std=c++20", "-O1", "-g1", "-fPIC", "-fvisibility=hidden", "-w", "-DGENIMG_CUDA_ON_CPU", f"-I{HERE}"]
INSTRUMENTATION = {
    "plain": [],
    "traced": ["-fsanitize=thread", "--param", "tsan-distinguish-volatile=0"],
    "sanitized": ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer"],
}
RUNTIME = {
    "plain": [],
    "traced": ["-DGENIMG_TRACE"],
    "sanitized": INSTRUMENTATION["sanitized"],
}


@dataclass(frozen=True)
class Seed:
    """A bug: what replaces what in which file, which build notices it and what it says."""

    bug: str
    family: str
    file: str
    old: str
    new: str
    build: str
    symptom: str


def _seeds(family: str, file: str, *seeds: tuple[str, str, str, str, str]) -> list[Seed]:
    return [Seed(bug, family, file, old, new, build, symptom) for bug, old, new, build, symptom in seeds]


SEEDS = [
    *_seeds(
        "steerable_freq",
        "steerable/freq_cuda.cu",
        ("overrun", "return index < count;", "return index <= count;", "sanitized", "AddressSanitizer"),
        (
            "divergent barrier",
            "if (!f.inside()) return;",
            "if (!f.inside()) return;\n  if (f.kx == 0) __syncthreads();",
            "plain",
            "divergent barrier",
        ),
        (
            "strided loads",
            "return {index % columns, signed_index(index / columns, masks.height), index,",
            "return {index / masks.height, signed_index(index % masks.height, masks.height),"
            " index < masks.height * columns ? index % masks.height * columns + index / masks.height : index,",
            "traced",
            "sectors over budget",
        ),
        (
            "blocks overlap",
            "static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x",
            "static_cast<int64_t>(blockIdx.x) * (kThreads - 1) + threadIdx.x",
            "traced",
            "blocks race",
        ),
        (
            "zeros left unwritten",
            "if (image + i >= p.batch) break;\n        const Complex<T> turned = rotate(z[i]",
            "if (image + i >= p.batch || term.factor == T(0)) break;\n        const Complex<T> turned = rotate(z[i]",
            "plain",
            "Not equal to tolerance",
        ),
    ),
    *_seeds(
        "histogram",
        "histogram/cuda_sort.cuh",
        (
            "missing barrier",
            "  __syncthreads();\n\n  uint32_t total = 0;",
            "\n  uint32_t total = 0;",
            "traced",
            "race in shared memory",
        ),
        (
            "missing barrier of a warp",
            "    __syncwarp();\n    if (before == 0)",
            "    if (before == 0)",
            "traced",
            "race in shared memory",
        ),
        (
            "divergent barrier",
            "  __syncthreads();\n  uint32_t before = 0;",
            "  if (t < kDigits) __syncthreads();\n  uint32_t before = 0;",
            "plain",
            "divergent barrier",
        ),
        (
            "shuffle from absent lanes",
            "if (t < kDigits) {\n#pragma unroll\n    for (int step",
            "if (t < kDigits - 1) {\n#pragma unroll\n    for (int step",
            "plain",
            "deadlock",
        ),
        (
            "overrun of shared memory",
            "shared[rank[i] & kRankMask] = get(i);",
            "shared[(rank[i] & kRankMask) + Tile<T>::size] = get(i);",
            "sanitized",
            "runtime error",
        ),
        (
            "strided loads",
            "const Key key = keys(chunk, i);\n    if (kept != nullptr) kept[chunk.element + i] = key;",
            "const uint32_t n = (chunk.end - chunk.begin) / 8, j = i - chunk.begin;\n"
            "    const uint32_t at = j < 8 * n ? chunk.begin + j % 8 * n + j / 8 : i;\n"
            "    const Key key = keys(chunk, at);\n    if (kept != nullptr) kept[chunk.element + at] = key;",
            "traced",
            "sectors over budget",
        ),
    ),
    *_seeds(
        "histogram",
        "histogram/cuda.cu",
        (
            "overrun",
            "i < part.end; i += kThreads)\n    out[part.offset + i] = value_of",
            "i <= part.end; i += kThreads)\n    out[part.offset + i] = value_of",
            "sanitized",
            "AddressSanitizer",
        ),
        (
            "missing barrier",
            "tables[segment * kDigits + threadIdx.x];\n  __syncthreads();",
            "tables[segment * kDigits + threadIdx.x];",
            "traced",
            "race in shared memory",
        ),
        (
            "missing barrier of a warp",
            "own[d] = 0;\n  __syncwarp();",
            "own[d] = 0;",
            "traced",
            "race in shared memory",
        ),
        (
            "equal values part ways",
            "find_value_position(run_end_around(row.source, r, row.n), ",
            "find_value_position(r + 1, ",
            "plain",
            "Not equal to tolerance",
        ),
        (
            "count that is not atomic",
            "atomicAdd(&own[four >> shift & 0xff], 1u);",
            "own[four >> shift & 0xff] += 1u;",
            "traced",
            "race in shared memory",
        ),
    ),
    *_seeds(
        "gram",
        "gram/cuda_tiles.cuh",
        (
            "missing barrier between slices",
            "    if (!is_behind) store(first, buffer);\n    __syncthreads();",
            "    if (!is_behind) store(first, buffer);",
            "traced",
            "race in shared memory",
        ),
        (
            "missing barrier between groups",
            "(memory.tile, group == kGroups - 1);\n    __syncthreads();",
            "(memory.tile, group == kGroups - 1);",
            "traced",
            "race in shared memory",
        ),
        ("overrun", "if (row < 0 || k >= end) continue;", "if (row < 0) continue;", "sanitized", "AddressSanitizer"),
        (
            "overrun of shared memory",
            "threadIdx.x < M::kWords) memory",
            "threadIdx.x <= M::kWords) memory",
            "sanitized",
            "runtime error",
        ),
        (
            "strided vector loads",
            "return {t / kVectors, t % kVectors * kVector};",
            "return {t % kVectorRows, t / kVectorRows * kVector};",
            "traced",
            "sectors over budget",
        ),
        (
            "strided loads of channels that come last",
            "access == Access::along_rows ? Place",
            "access == Access::vectors ? Place",
            "traced",
            "sectors over budget",
        ),
        (
            "rows that begin in one bank",
            "kPitch = kWords + kVectorBytes / sizeof(Word);",
            "kPitch = kWords;",
            "traced",
            "bank_passes over budget",
        ),
        (
            "the wrong layout of a fragment",
            "(16 * r + i % 2 * 8) * pitch + i / 2 * 4]",
            "(16 * r + i / 2 * 8) * pitch + i % 2 * 4]",
            "plain",
            "Not equal to tolerance",
        ),
        (
            "sums of a fragment in the wrong columns",
            "column = 8 * c + lane() % 4 * 2;",
            "column = 8 * c + lane() / 8 * 2;",
            "plain",
            "Not equal to tolerance",
        ),
    ),
    *_seeds(
        "gram",
        "gram/cuda.cu",
        (
            "missing barrier before a patch is finished",
            "= own.of[kind];\n  __syncthreads();",
            "= own.of[kind];",
            "traced",
            "race in shared memory",
        ),
        (
            "divergent barrier",
            "= own.of[kind];\n  __syncthreads();",
            "= own.of[kind];\n  if (t < kPatchSums) __syncthreads();",
            "plain",
            "divergent barrier",
        ),
        (
            "shuffle from absent lanes",
            "step /= 2) value += __shfl_xor_sync",
            "step /= 2)\n    if (threadIdx.x % kWarp > 0) value += __shfl_xor_sync",
            "plain",
            "deadlock",
        ),
        (
            "overrun",
            "if (i >= rows || j >= columns) return 0;",
            "if (i > rows || j >= columns) return 0;",
            "sanitized",
            "AddressSanitizer",
        ),
        (
            "blocks overlap",
            "blockIdx.x % p.row_tiles * Math::kTile",
            "blockIdx.x % p.row_tiles * (Math::kTile - 2)",
            "traced",
            "blocks race",
        ),
        (
            "a triangle that is not turned over",
            "is_mirrored ? patch_slot(column, row)",
            "side == 1 ? patch_slot(row, column)",
            "plain",
            "Not equal to tolerance",
        ),
        (
            "the last run left out",
            "part < cut.parts; part += kPartGroups",
            "part < cut.parts - 1; part += kPartGroups",
            "plain",
            "Not equal to tolerance",
        ),
    ),
    *_seeds(
        "gram",
        "gram/cuda_fragments.cuh",
        (
            "factors that are truncated",
            "(bits + 0x1000u) & 0xffffe000u",
            "bits & 0xffff0000u",
            "plain",
            "Not equal to tolerance",
        ),
    ),
    *_seeds(
        "multiview",
        "multiview/cuda.cu",
        (
            "overrun",
            "if (y >= place.height || x >= place.width) continue;",
            "if (y > place.height || x >= place.width) continue;",
            "sanitized",
            "AddressSanitizer",
        ),
        (
            "offsets that overflow",
            "return plane * shape.height * shape.width;",
            "return static_cast<uint16_t>(plane * shape.height * shape.width);",
            "plain",
            "Not equal to tolerance",
        ),
        (
            "missing barrier before a tile is read",
            "  }\n  __syncthreads();\n#pragma unroll\n  for (int k = 0; k < n; ++k)\n    if (k < place.count) values",
            "  }\n#pragma unroll\n  for (int k = 0; k < n; ++k)\n    if (k < place.count) values",
            "traced",
            "race in shared memory",
        ),
        ("tiles that take no turns", "tiles[turn ^= 1]", "tiles[turn]", "traced", "race in shared memory"),
        (
            "missing barrier of a warp",
            "own[d] = 0;\n    __syncwarp();",
            "own[d] = 0;",
            "traced",
            "race in shared memory",
        ),
        (
            "rows that begin in one bank",
            "sizeof(R) == 4 ? kEdge + 1",
            "sizeof(R) == 4 ? kEdge",
            "traced",
            "bank_passes over budget",
        ),
        (
            "lanes across the rows of the source",
            "row = turned ? lane : line, column = turned ? line : lane;",
            "row = turned ? line : lane, column = turned ? lane : line;",
            "traced",
            "sectors over budget",
        ),
        (
            "vectors that are not reversed",
            "rises ? loaded[k] : loaded[n - 1 - k]",
            "loaded[k]",
            "plain",
            "Not equal to tolerance",
        ),
        (
            "the conditional prediction in the place of the other",
            "guided(read(unconditional + i), c, guidance)",
            "guided(c, read(unconditional + i), guidance)",
            "plain",
            "Not equal to tolerance",
        ),
        (
            "a variance with the sign of its view",
            "Plane<T>{nullptr, conditional, R(0)}, exchange, values);\n",
            "Plane<T>{nullptr, conditional, R(0)}, exchange, values);\n"
            "    for (int k = 0; k < n; ++k) values[k] *= R(channel_sign(view, channel));\n",
            "plain",
            "Not equal to tolerance",
        ),
        (
            "a quantile between a number and itself",
            "if (rank + 1 < equal) {",
            "if (rank < equal) {",
            "plain",
            "Not equal to tolerance",
        ),
    ),
    *_seeds(
        "statistics",
        "statistics/cuda.cu",
        (
            "a margin that is not wrapped",
            "wrapped_often(column, width)",
            "min(max(column, int64_t{0}), width - 1)",
            "plain",
            "Not equal to tolerance",
        ),
        (
            "the wrong sign of a row of lags",
            "memory.b + (row + lag_row) * M::kPitch + M::kSide - kReach",
            "memory.b + (row + 2 * p.radius - lag_row) * M::kPitch + M::kSide - kReach",
            "plain",
            "Not equal to tolerance",
        ),
        (
            "parts added twice",
            "for (int group = 1; group < groups; ++group)",
            "for (int group = 0; group < groups; ++group)",
            "plain",
            "Not equal to tolerance",
        ),
        (
            "missing barrier before a tile is read",
            "memory.a);\n  __syncthreads();",
            "memory.a);",
            "traced",
            "race in shared memory",
        ),
        (
            "strided vector loads",
            "by_vectors ? i / n * kThreads * n + t * n + i % n",
            "by_vectors ? t * kOwn + i",
            "traced",
            "sectors over budget",
        ),
        (
            "the tail of a run left out",
            "for (int i = 0; i < kOwn; ++i) {\n    if (!run.has(i)) continue;",
            "for (int i = 0; i < kOwn; ++i) {\n    if (!run.has(i + 1)) continue;",
            "plain",
            "Not equal to tolerance",
        ),
    ),
    *_seeds(
        "statistics",
        "statistics/formula.h",
        (
            "the wrong sign of a gradient",
            "-(p.im + p.im)",
            "p.im + p.im",
            "plain",
            "Not equal to tolerance",
        ),
    ),
    *_seeds(
        "steerable_space",
        "steerable/space_cuda.cu",
        (
            "overrun of shared memory",
            "constexpr size_t kSharedBytes = sizeof(T) * kPitch<T> * (kTileRows + 2 * kMargin);",
            "constexpr size_t kSharedBytes = sizeof(T) * kPitch<T> * kTileRows;",
            "sanitized",
            "AddressSanitizer",
        ),
        (
            "strided stores",
            "const int from = part * (kWarp / 2) + lane / 2;",
            "store(target, g, tile.image, tile.y + static_cast<int64_t>(threadIdx.y) * kRows + r,"
            " tile.x + 2 * lane + part, sum[r][part]);\n      continue;\n"
            "      const int from = part * (kWarp / 2) + lane / 2;",
            "traced",
            "sectors over budget",
        ),
        (
            "missing barrier before a tile is replaced",
            "    __syncthreads();\n    load_tile(p.inputs[f]",
            "    load_tile(p.inputs[f]",
            "traced",
            "race in shared memory",
        ),
        (
            "divergent barrier",
            "    }\n  __syncthreads();",
            "    }\n  if (threadIdx.y > 0) __syncthreads();",
            "plain",
            "divergent barrier",
        ),
        (
            "overrun",
            "if (y >= height || x >= width) return;",
            "if (y > height || x >= width) return;",
            "sanitized",
            "AddressSanitizer",
        ),
        (
            "strided load",
            "int row = threadIdx.y; row < rows; row += kWarps)\n    for (int column = threadIdx.x; column < columns; "
            "column += kWarp)",
            "int row = threadIdx.x; row < rows; row += kWarp)\n    for (int column = threadIdx.y; column < columns; "
            "column += kWarps)",
            "traced",
            "sectors over budget",
        ),
        (
            "blocks overlap",
            "block % g.tiles_x * kTileColumns",
            "block % g.tiles_x * (kTileColumns - 2)",
            "traced",
            "blocks race",
        ),
        (
            "the wrong tap",
            "tap[-(r % 2) * kTableSize - 1]",
            "tap[-(r % 2) * kTableSize]",
            "plain",
            "Not equal to tolerance",
        ),
    ),
]


def _run(command: list[Any]) -> None:
    result = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


@pytest.fixture(scope="session")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], list[Path]]:
    """Return a function from a kind of build to the harness' objects in it, compiled once."""

    @functools.cache
    def compile_runtime(build: str) -> list[Path]:
        folder = tmp_path_factory.mktemp(f"runtime-{build}")
        names = ["block", "fiber", "runtime", "symbols"] + ["trace"] * (build == "traced")
        for name in names:
            source = HERE / "on_cpu" / f"{name}.cpp"
            _run([COMPILER, *FLAGS, *RUNTIME[build], "-c", source, "-o", folder / f"{name}.o"])
        return [folder / f"{name}.o" for name in names]

    return compile_runtime


def _plant(seed: Seed, csrc: Path) -> None:
    shutil.copytree(ROOT / "csrc", csrc)
    path = csrc / seed.file
    text = path.read_text()
    assert seed.old in text, f"{seed.file} no longer has the text that this seed changes: {seed.old}"
    path.write_text(text.replace(seed.old, seed.new, 1))


def _build(seed: Seed, runtime: Callable[[str], list[Path]], folder: Path) -> Path:
    library = folder / "seeded.so"
    sources = [folder / "csrc" / source for source in FAMILIES[seed.family].SOURCES]
    trace = ["-DGENIMG_TRACE"] if seed.build == "traced" else []
    objects = []
    for source in [*sources, HERE / "launchers" / f"{seed.family}.cpp"]:
        objects.append(folder / f"{source.stem}.o")
        flags = [*FLAGS, *trace, *INSTRUMENTATION[seed.build], f"-I{folder / 'csrc'}"]
        _run([COMPILER, *flags, "-x", "c++", "-c", source, "-o", objects[-1]])
    link = INSTRUMENTATION["sanitized"] if seed.build == "sanitized" else []
    _run([COMPILER, "-shared", *link, *objects, *runtime(seed.build), "-o", library])
    return library


def _exercise(seed: Seed, library: Path) -> tuple[str, dict[str, dict[str, Any]]]:
    """Run the family's launchers in a process of their own; return what failed, or "", and what the tracer counted."""
    environment = dict(os.environ)
    if seed.build == "sanitized":
        runtime = subprocess.run([COMPILER, "-print-file-name=libasan.so"], capture_output=True, text=True).stdout
        environment |= {"LD_PRELOAD": runtime.strip(), "ASAN_OPTIONS": "detect_leaks=0"}
    command = [sys.executable, HERE / "exercise.py", library, seed.family] + ["--report"] * (seed.build == "traced")
    result = subprocess.run(command, env=environment, capture_output=True, text=True)
    if result.returncode != 0:
        return result.stderr or f"ended with status {result.returncode}", {}
    return "", json.loads(result.stdout) if seed.build == "traced" else {}


def _ratios(kernel: dict[str, Any]) -> dict[str, float]:
    return {
        "sectors": ratio(kernel, "global_loads", "global_stores"),
        "bank_passes": ratio(kernel, "shared_loads", "shared_stores"),
    }


def _worse(report: dict[str, dict[str, Any]], unchanged: dict[str, dict[str, Any]]) -> str:
    """Return which cost is far over that of the unchanged kernels, which test_budgets.py holds to their budgets."""
    for name, kernel in report.items():
        if kernel["block_races"] > 0:
            return f"{name}: blocks race"
        before = _ratios(unchanged[name])
        for cost, factor in _ratios(kernel).items():
            if factor > 1.4 * before[cost]:
                return f"{name}: {cost} over budget"
    return ""


def _unchanged(family: str, build: str) -> Seed:
    return Seed("none", family, FAMILIES[family].SOURCES[0], "namespace genimg", "namespace genimg", build, "")


@pytest.fixture(scope="session")
def unchanged_costs(
    runtime: Callable[[str], list[Path]], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], dict[str, dict[str, Any]]]:
    """Return a function from a family to what the tracer counts of its kernels as they are."""

    @functools.cache
    def measure(family: str) -> dict[str, dict[str, Any]]:
        folder, seed = tmp_path_factory.mktemp(family), _unchanged(family, "traced")
        _plant(seed, folder / "csrc")
        failure, report = _exercise(seed, _build(seed, runtime, folder))
        assert failure == ""
        return report

    return measure


@pytest.mark.parametrize("seed", SEEDS, ids=lambda seed: f"{seed.family}: {seed.bug}")
def test_seeded_bug_is_caught(
    seed: Seed,
    runtime: Callable[[str], list[Path]],
    unchanged_costs: Callable[[str], dict[str, dict[str, Any]]],
    tmp_path: Path,
) -> None:
    _plant(seed, tmp_path / "csrc")
    symptom, report = _exercise(seed, _build(seed, runtime, tmp_path))
    assert seed.symptom in (symptom or _worse(report, unchanged_costs(seed.family)))


@pytest.mark.parametrize("build", ["plain", "sanitized"])
@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_kernels_without_a_bug_pass(
    family: str, build: str, runtime: Callable[[str], list[Path]], tmp_path: Path
) -> None:
    seed = _unchanged(family, build)
    _plant(seed, tmp_path / "csrc")
    assert _exercise(seed, _build(seed, runtime, tmp_path))[0] == ""


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_kernels_without_a_bug_pass_the_tracer(
    family: str, unchanged_costs: Callable[[str], dict[str, dict[str, Any]]]
) -> None:
    for kernel in unchanged_costs(family).values():
        assert (kernel["races"], kernel["block_races"]) == (0, 0)
