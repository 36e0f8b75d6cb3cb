"""Command line of the benchmarks: see ``python -m benchmarks --help``."""

from __future__ import annotations

import argparse
from pathlib import Path

from .report import FAMILIES, measure, write


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="benchmarks", description="Time every operation against its peers.")
    parser.add_argument("--quick", action="store_true", help="only the headline cases, for less time each")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], help="numbers of threads to measure with")
    parser.add_argument("--family", nargs="+", choices=FAMILIES, default=FAMILIES, help="which families to measure")
    parser.add_argument(
        "--output", type=Path, default=Path("benchmarks/results"), help="folder of table, JSON and chart"
    )
    options = parser.parse_args(arguments)
    print(write(measure(options.family, options.quick, options.threads), options.output))


if __name__ == "__main__":
    main()
