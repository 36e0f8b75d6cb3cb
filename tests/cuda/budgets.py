"""The budgets of the CUDA kernels: csrc/<family>/budgets.json, next to the kernels that they bind.

``kernels`` has for each kernel what its memory accesses may cost (a factor over the ideal; 1.1 unless given):
``sectors`` of 32 bytes in global memory, ``bank_passes`` in shared memory; ``registers``, the most a thread may have;
``instructions``, what the compiled kernel must have (wide loads or stores, matrix instructions; one or a list), by
words in its template arguments ("" for all); ``block_races``, why blocks may touch the same words in one launch;
``why``, the reason for a larger factor; ``ordered``, the factors in workloads whose values ascend already, or whose
views move whole rows and columns: a kernel that costs more on others only because of where their values go must keep
to 1.1 there. Spills are always 0.
``workloads`` has for each entry of workloads.py the launches that it makes, by kernel.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
DEFAULT_FACTOR = 1.1


@dataclass(frozen=True)
class Family:
    """One family's budgets."""

    name: str
    kernels: dict[str, dict[str, Any]]
    workloads: dict[str, dict[str, int]]

    def factor(self, kernel: str, cost: str, ordered: bool = False) -> float:
        """Return what a cost may be, over the ideal."""
        budget = self.kernels[kernel]
        if ordered and "ordered" in budget:
            budget = budget["ordered"]
        return budget.get(cost, DEFAULT_FACTOR)


def families() -> list[Family]:
    """Return the budgets of all families."""
    found = []
    for path in sorted(ROOT.glob("csrc/*/budgets.json")):
        content = json.loads(path.read_text())
        found.append(Family(path.parent.name, content["kernels"], content["workloads"]))
    return found


def short_name(kernel: str) -> str:
    """Return a kernel's name without namespaces and template arguments.

    >>> short_name("genimg::steerable::(anonymous namespace)::analysis_kernel<genimg::steerable::Exact, float>")
    'analysis_kernel'
    """
    return re.sub(r"<.*", "", kernel).split("::")[-1].split("(")[0].strip()


def family_of(kernel: str) -> str:
    """Return the family in whose namespace a kernel is."""
    match = re.search(r"genimg::(\w+)::", kernel)
    assert match is not None, f"{kernel} is not in the namespace of a family"
    return match.group(1)
