"""Run a family's CUDA launchers without torch: ``python exercise.py LIBRARY FAMILY...``.

In a process of its own, which sanitizers want and which may crash; ends with status 0 if results are right. With
``--report`` it prints what the tracer counted, as JSON; LIBRARY is then a traced one.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import gram
import histogram
import multiview
import steerable_freq
import steerable_space
import texture_statistics
from kernel_library import KernelLibrary, TracedLibrary

FAMILIES = {
    module.NAME: module for module in (gram, histogram, multiview, steerable_freq, steerable_space, texture_statistics)
}


def main() -> None:
    parser = argparse.ArgumentParser(description="Run CUDA launchers on the CPU, without torch.")
    parser.add_argument("library", type=Path)
    parser.add_argument("families", nargs="*", metavar="family", help=f"of {', '.join(FAMILIES)}; all by default")
    parser.add_argument("--report", action="store_true")
    arguments = parser.parse_args()
    library = (TracedLibrary if arguments.report else KernelLibrary)(arguments.library)
    for name in arguments.families or FAMILIES:
        FAMILIES[name].exercise(library)
        library.free()
    if isinstance(library, TracedLibrary):
        print(json.dumps(library.report()))


if __name__ == "__main__":
    main()
