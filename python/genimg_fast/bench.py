"""What ``genimg-fast bench`` runs: the repository's benchmarks, which are installed with the package."""

from __future__ import annotations

from pathlib import Path


def main(quick: bool = True, output: Path | None = None) -> None:
    """Measure every family with one and two threads and print the table; write it, JSON and a chart to ``output``.

    Families whose peers are not installed are left out (``pip install 'genimg_fast[bench]'`` brings all peers).
    """
    from genimg_fast.benchmarks.report import FAMILIES, measure, table, write

    rows = measure(FAMILIES, quick, [1, 2])
    print(table(rows) if output is None else write(rows, output))
