"""Run a family's CUDA launchers without torch: ``python exercise.py LIBRARY FAMILY...``.

For sanitizers, which want a process of their own with nothing else in it; ends with status 0 if results are right.
"""

from __future__ import annotations

import sys
from pathlib import Path

import histogram
import steerable_freq
from kernel_library import KernelLibrary

FAMILIES = {module.NAME: module for module in (histogram, steerable_freq)}

if __name__ == "__main__":
    library = KernelLibrary(Path(sys.argv[1]))
    for name in sys.argv[2:] or FAMILIES:
        FAMILIES[name].exercise(library)
        library.free()
