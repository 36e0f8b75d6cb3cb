"""Command line of the benchmarks: see ``python -m benchmarks --help``."""

from __future__ import annotations

import argparse
from pathlib import Path

from . import device
from .report import FAMILIES, measure, write


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="benchmarks", description="Time every operation against its peers.")
    parser.add_argument("--quick", action="store_true", help="only the headline cases, for less time each")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], help="numbers of threads to measure with")
    parser.add_argument("--family", nargs="+", choices=FAMILIES, default=FAMILIES, help="which families to measure")
    parser.add_argument(
        "--output", type=Path, default=Path("benchmarks/results"), help="folder of table, JSON and chart"
    )
    parser.add_argument("--device", help="time the operations on this torch device, beside torch alone, and no peers")
    options = parser.parse_args(arguments)
    if options.device:
        rows = [{**row, "threads": ""} for row in device.run(options.device, options.quick)]
    else:
        rows = measure(options.family, options.quick, options.threads)
    print(write(rows, options.output))


if __name__ == "__main__":
    main()
