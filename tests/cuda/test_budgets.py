"""Every CUDA kernel keeps its budget: launches, sectors, bank passes, no races (budgets.py says what they are)."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import pytest
from budgets import DEFAULT_FACTOR, Family, families, family_of, short_name
from kernel_library import built_folder

Reports = dict[str, list[dict[str, Any]]]
FAMILIES = families()
WORKLOADS = [(family, name) for family in FAMILIES for name in family.workloads]


@pytest.fixture(scope="module")
def reports() -> Reports:
    library = built_folder("GENIMG_FAST_CUDA_ON_CPU_TRACED") / "libgenimg_fast_cuda_on_cpu.so"
    script = Path(__file__).with_name("workloads.py")
    output = subprocess.run([sys.executable, script, library], check=True, stdout=subprocess.PIPE).stdout
    return json.loads(output)


def ratio(kernel: dict[str, Any], *costs: str) -> float:
    moved = sum(kernel[cost]["moved"] for cost in costs)
    ideal = sum(kernel[cost]["ideal"] for cost in costs)
    return moved / ideal if ideal else 1.0


def worst_sites(kernel: dict[str, Any]) -> str:
    sites = sorted(kernel["sites"], key=lambda site: site["ideal"] - site["moved"])[:3]
    return ", ".join(
        f"{site['space']} {'store' if site['write'] else 'load'} at {site['instruction']:#x}:"
        f" {site['moved']} for {site['ideal']}"
        for site in sites
    )


def test_workloads_and_budgets_name_each_other(reports: Reports) -> None:
    assert set(reports) == {name for _, name in WORKLOADS}


def test_every_kernel_has_a_budget(reports: Reports) -> None:
    ran = defaultdict(set)
    for kernels in reports.values():
        for kernel in kernels:
            ran[family_of(kernel["name"])].add(short_name(kernel["name"]))
    assert ran == {family.name: set(family.kernels) for family in FAMILIES}


@pytest.mark.parametrize(("family", "workload"), WORKLOADS, ids=[name for _, name in WORKLOADS])
def test_budget(reports: Reports, family: Family, workload: str) -> None:
    launches: Counter[str] = Counter()
    ordered = workload.endswith("_ordered")
    for kernel in reports[workload]:
        name = short_name(kernel["name"])
        launches[name] += kernel["launches"]
        assert kernel["races"] == 0
        assert kernel["block_races"] == 0 or "block_races" in family.kernels[name], name
        sectors = ratio(kernel, "global_loads", "global_stores")
        assert sectors <= family.factor(name, "sectors", ordered), f"{name}: {sectors:.3f}; {worst_sites(kernel)}"
        passes = ratio(kernel, "shared_loads", "shared_stores")
        assert passes <= family.factor(name, "bank_passes", ordered), f"{name}: {passes:.3f}; {worst_sites(kernel)}"
    assert launches == family.workloads[workload]


@pytest.mark.parametrize(
    "workload",
    [
        "match_value_f32_short",
        "match_value_f32_long",
        "gram_loss",
        "multiview_dynamic",
        "statistics_correlation_3_f32",
    ],
)
def test_launches_do_not_depend_on_the_number_of_images(reports: Reports, workload: str) -> None:
    few, many = reports[workload], reports[f"{workload}_6_images"]
    assert [kernel["launches"] for kernel in few] == [kernel["launches"] for kernel in many]
    assert sum(kernel["blocks"] for kernel in few) < sum(kernel["blocks"] for kernel in many)


def test_larger_factors_have_a_reason() -> None:
    for family in FAMILIES:
        for name, budget in family.kernels.items():
            larger = [cost for cost in ("sectors", "bank_passes") if budget.get(cost, 0) > DEFAULT_FACTOR]
            assert not larger or budget["why"], name
