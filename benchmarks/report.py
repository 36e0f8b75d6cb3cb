"""Runs the families' benchmarks and writes what they measured as a table, as JSON and as a chart."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import platform
import sys
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

Row = dict[str, Any]
FAMILIES = (
    "steerable_freq",
    "steerable_space",
    "histogram",
    "gram",
    "multiview",
    "heeger_bergen",
    "portilla_simoncelli",
    "cnn_texture",
    "tiling",
)
PEERS = ("torch", "numpy", "plenoptic", "pyrtools", "scikit-image", "kornia")


def measure(families: Sequence[str], quick: bool, threads: Sequence[int]) -> list[Row]:
    """Run each family with each number of threads; every benchmark asserts that its results agree with the peers'."""
    rows = []
    for family in families:
        module = importlib.import_module(f".{family}", package=__package__)
        for count in threads:
            try:
                with _threads(count):
                    rows += [{**row, "threads": count} for row in module.run(quick, count)]
            except ImportError as missing:
                print(f"{family} is left out: {missing}", file=sys.stderr)
                break
    return rows


@contextlib.contextmanager
def _threads(count: int) -> Iterator[None]:
    """Use ``count`` threads in torch and in genimg_fast, on as many processors."""
    import torch

    import genimg_fast as gf

    allowed = os.sched_getaffinity(0)
    before = torch.get_num_threads(), gf.get_num_threads()
    os.sched_setaffinity(0, sorted(allowed)[:count])
    torch.set_num_threads(count)
    gf.set_num_threads(count)
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)
        torch.set_num_threads(before[0])
        gf.set_num_threads(before[1])


def machine() -> str:
    """Name the processor, the instruction set in use and the peers' versions."""
    import genimg_fast as gf

    model = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), model)
    versions = [f"{name} {version}" for name in PEERS if (version := _version(name))]
    return f"{model}, {os.cpu_count()} processors, kernels {gf.build_info()['instruction_set']}; {', '.join(versions)}"


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def table(rows: list[Row]) -> str:
    """Return a Markdown table: our time, then each peer's time over ours."""
    lines = [
        f"Measured on {machine()}. Medians; a ratio is the peer's time over ours in the same run.",
        "",
        "| family | case | threads | time | how many times faster than | over the floor | note |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        ratios = ", ".join(f"{peer} {seconds / row['seconds']:.2f}x" for peer, seconds in row["peer_seconds"].items())
        floor = row.get("floor_seconds")
        over_floor = f"{row['seconds'] / floor:.2f}x" if floor else ""
        lines.append(
            f"| {row['family']} | {row['case']}: {row['what']} | {row['threads']} | {_milliseconds(row['seconds'])} "
            f"| {ratios} | {over_floor} | {row.get('note', '')} |"
        )
    return "\n".join(lines) + "\n"


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1e6:.1f} µs" if seconds < 1e-4 else f"{seconds * 1e3:.3g} ms"


def write(rows: list[Row], folder: Path) -> str:
    """Write table.md, results.json and, where matplotlib is installed, chart.png; return the table."""
    folder.mkdir(parents=True, exist_ok=True)
    text = table(rows)
    (folder / "table.md").write_text(text)
    (folder / "results.json").write_text(json.dumps({"machine": machine(), "rows": rows}, indent=1))
    with contextlib.suppress(ImportError):
        _chart(rows, folder / "chart.png")
    return text


def _chart(rows: list[Row], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    bars = [
        (f"{row['case']}: {row['what']} ({row['threads']} thr.) vs {peer}", seconds / row["seconds"])
        for row in rows
        for peer, seconds in row["peer_seconds"].items()
    ]
    if not bars:
        return
    figure, axes = plt.subplots(figsize=(10, 0.8 + 0.22 * len(bars)), layout="constrained")
    axes.barh([label for label, _ in bars], [ratio for _, ratio in bars], color="#35618f")
    axes.axvline(1, color="black", linewidth=0.8)
    axes.invert_yaxis()
    axes.set(xscale="log", xlabel="times faster than the peer")
    axes.tick_params(axis="y", labelsize=7)
    figure.savefig(path, dpi=110)
    plt.close(figure)
