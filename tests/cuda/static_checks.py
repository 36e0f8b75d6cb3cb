"""What nvcc makes of the CUDA kernels, for every target: registers, shared memory, spills, instructions.

``python tests/cuda/static_checks.py`` compiles all kernels with nvcc, prints a table and ends with status 1 if a
register spills, a kernel exceeds its budget of registers (budgets.py) or lacks the instructions that it is built
around. Where nvcc is missing it says so and checks nothing, unless GENIMG_FAST_REQUIRE_NVCC is set. With ``--traced
LIBRARY`` the table has what the tracer counted as well.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from budgets import ROOT, Family, families, family_of, short_name

TARGETS = (75, 80, 86, 89, 90, 100, 120)
SASS_TARGET = 90  # where instructions are looked for
NVCC_FLAGS = ("-std=c++20", "-O3", f"-I{ROOT / 'csrc'}", "--Werror=all-warnings")
WARP = 32


@dataclass(frozen=True)
class Multiprocessor:
    """What a multiprocessor of one target has; shared memory in bytes."""

    threads: int
    blocks: int
    shared: int
    registers: int = 65536
    shared_overhead: int = 1024  # that the system takes of each block's shared memory

    def occupancy(self, threads: int, registers: int, shared: int) -> float:
        """Return the share of the multiprocessor's threads that blocks of a kernel can fill at most."""
        registers_a_warp = -(-registers * WARP // 256) * 256
        by_registers = self.registers // (registers_a_warp * -(-threads // WARP))
        by_shared = self.shared // (shared + self.shared_overhead)
        blocks = min(self.blocks, self.threads // threads, by_registers, by_shared)
        return blocks * threads / self.threads


# CUDA C++ programming guide, technical specifications per compute capability.
MULTIPROCESSORS = {
    75: Multiprocessor(1024, 16, 64 << 10, shared_overhead=0),
    80: Multiprocessor(2048, 32, 164 << 10),
    86: Multiprocessor(1536, 16, 100 << 10),
    89: Multiprocessor(1536, 24, 100 << 10),
    90: Multiprocessor(2048, 32, 228 << 10),
    100: Multiprocessor(2048, 32, 228 << 10),
    120: Multiprocessor(1536, 24, 100 << 10),
}


@dataclass
class Kernel:
    """One compiled kernel: what it uses on each target."""

    name: str  # demangled, without parameters
    threads: int
    registers: dict[int, int] = field(default_factory=dict)
    spills: dict[int, int] = field(default_factory=dict)  # bytes stored and loaded
    shared: int = 0  # static, in bytes
    dynamic_shared: int = 0  # the most that the tracer saw
    instructions: set[str] = field(default_factory=set)

    @property
    def label(self) -> str:
        """The name without namespaces."""
        return re.sub(r"\w+::|\(anonymous namespace\)::", "", self.name)

    def occupancy(self, target: int) -> float:
        shared = self.shared + self.dynamic_shared
        return MULTIPROCESSORS[target].occupancy(self.threads, self.registers[target], shared)


def demangle(names: list[str]) -> dict[str, str]:
    """Return readable names of kernels, without result and parameters."""
    text = subprocess.run(["c++filt"], input="\n".join(names), capture_output=True, text=True, check=True).stdout
    readable = {}
    for mangled, name in zip(names, text.splitlines(), strict=True):
        head = name.removeprefix("void ")
        depth, end = 0, len(head)
        for end in reversed(range(len(head))):  # the last parenthesis of depth 0 opens the parameters
            depth += {")": 1, "(": -1}.get(head[end], 0)
            if depth == 0:
                break
        readable[mangled] = head[:end]
    return readable


def tool(name: str) -> str | None:
    """Return where a tool of the CUDA toolkit is, from PATH or from NVIDIA's wheels on PyPI."""
    spec = importlib.util.find_spec("nvidia")
    folders = [] if spec is None else [Path(place) for place in spec.submodule_search_locations or []]
    wheels = [str(path.parent) for folder in folders for path in folder.glob(f"*/bin/{name}")]
    return shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", ""), *wheels]))


def _run(*command: object, env: dict[str, str] | None = None) -> str:
    result = subprocess.run([str(word) for word in command], capture_output=True, text=True, env=env)
    if result.returncode != 0:
        raise RuntimeError(f"{command[0]} failed:\n{result.stdout}{result.stderr}")
    return result.stdout + result.stderr


def compile_cubin(source: Path, target: int, folder: Path) -> tuple[Path, str]:
    """Compile a file for one target; return the cubin and what ptxas reports."""
    cubin = folder / f"{source.parent.name}-{source.stem}-{target}.cubin"
    return cubin, _run("nvcc", *NVCC_FLAGS, f"-arch=sm_{target}", "-Xptxas", "-v", "-cubin", "-o", cubin, source)


def block_sizes(source: Path, folder: Path) -> dict[str, int]:
    """Return the threads of a block of each kernel of a file, from its launch bounds."""
    ptx = folder / f"{source.parent.name}-{source.stem}.ptx"
    _run("nvcc", *NVCC_FLAGS, "-arch=compute_75", "-ptx", "-o", ptx, source)
    sizes = {}
    for entry in re.finditer(r"\.entry (\w+)\(.*?\)\s*\.maxntid (\d+), (\d+), (\d+)", ptx.read_text(), re.DOTALL):
        sizes[_stable(entry[1])] = int(entry[2]) * int(entry[3]) * int(entry[4])
    return sizes


def _stable(mangled: str) -> str:
    # nvcc names the anonymous namespace of a file anew in each compilation; the name follows its length.
    while (name := re.search(r"(\d+)_GLOBAL__N__", mangled)) is not None:
        mangled = mangled[: name.start()] + "12_GLOBAL__N_1" + mangled[name.end(1) + int(name[1]) :]
    return mangled


def ptxas_reports(text: str) -> Iterator[tuple[str, int, int, int]]:
    """Yield a kernel's mangled name, spilled bytes, registers and static shared memory."""
    for part in re.split(r"Compiling entry function ", text)[1:]:
        name = re.match(r"'(\w+)'", part)
        registers = re.search(r"Used (\d+) registers", part)
        assert name is not None
        assert registers is not None
        spilled = sum(int(n) for n in re.findall(r"(\d+) bytes spill", part))
        shared = re.search(r"(\d+) bytes smem", part)
        yield _stable(name[1]), spilled, int(registers[1]), int(shared[1]) if shared else 0


def sass_instructions(cubin: Path) -> dict[str, set[str]]:
    """Return the instructions that each kernel of a cubin has, by mangled name."""
    cuobjdump, nvdisasm = tool("cuobjdump"), tool("nvdisasm")
    if cuobjdump is None or nvdisasm is None:
        raise RuntimeError("cuobjdump or nvdisasm is missing: pip install nvidia-cuda-cuobjdump nvidia-cuda-nvdisasm")
    path = os.pathsep.join([str(Path(nvdisasm).parent), os.environ.get("PATH", "")])
    text = _run(cuobjdump, "-sass", cubin, env={**os.environ, "PATH": path})
    found = {}
    for part in text.split("Function : ")[1:]:
        name = part.split(maxsplit=1)[0]
        found[_stable(name)] = set(re.findall(r"\*/\s+(?:@!?U?P\w+ )?([A-Z][A-Z0-9_.]+)", part))
    return found


def compile_file(source: Path, folder: Path) -> list[Kernel]:
    """Compile a file for all targets; return its kernels."""
    threads = block_sizes(source, folder)
    names = demangle(sorted(threads))
    kernels = {mangled: Kernel(names[mangled], threads[mangled]) for mangled in threads}
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        compiled = list(pool.map(lambda target: compile_cubin(source, target, folder), TARGETS))
    for target, (cubin, report) in zip(TARGETS, compiled, strict=True):
        for mangled, spilled, registers, shared in ptxas_reports(report):
            if mangled not in kernels:
                raise RuntimeError(f"{mangled} has no __launch_bounds__: its occupancy is not known")
            kernel = kernels[mangled]
            kernel.spills[target], kernel.registers[target] = spilled, registers
            kernel.shared = max(kernel.shared, shared)
        if target == SASS_TARGET:
            for mangled, instructions in sass_instructions(cubin).items():
                kernels[mangled].instructions = instructions
    return sorted(kernels.values(), key=lambda kernel: kernel.name)


def faults(kernel: Kernel, family: Family) -> Iterator[str]:
    """Yield how a kernel breaks its budget."""
    for target, spilled in kernel.spills.items():
        if spilled:
            yield f"{kernel.label} spills {spilled} bytes of registers on sm_{target}"
    budget = family.kernels.get(short_name(kernel.name))
    if budget is None:
        yield f"{kernel.label} has no budget in csrc/{family.name}/budgets.json"
        return
    most = max(kernel.registers.values())
    if most > budget.get("registers", 255):
        yield f"{kernel.label} has {most} registers, its budget is {budget['registers']}"
    arguments = kernel.name[kernel.name.find("<") :] if "<" in kernel.name else ""
    for words, wanted in budget.get("instructions", {}).items():
        for instruction in [wanted] if isinstance(wanted, str) else wanted:
            if words in arguments and not any(name.startswith(instruction) for name in kernel.instructions):
                yield f"{kernel.label} has no {instruction}"


@dataclass
class Traced:
    """What the tracer counted of a kernel over all workloads."""

    moved: int = 0  # sectors
    ideal: int = 0
    once: int = 0  # distinct sectors, of each launch
    passes: int = 0
    ideal_passes: int = 0
    dynamic_shared: int = 0

    def add(self, report: dict[str, Any]) -> None:
        for cost in ("global_loads", "global_stores"):
            self.moved += report[cost]["moved"]
            self.ideal += report[cost]["ideal"]
        self.once += report["sectors_read"] + report["sectors_written"]
        for cost in ("shared_loads", "shared_stores"):
            self.passes += report[cost]["moved"]
            self.ideal_passes += report[cost]["ideal"]
        self.dynamic_shared = max(self.dynamic_shared, report["dynamic_shared"])


def traced_costs(library: str) -> dict[str, Traced]:
    """Return what the tracer counted of each kernel, by short name, over all workloads."""
    script = Path(__file__).with_name("workloads.py")
    output = subprocess.run([sys.executable, script, library], check=True, stdout=subprocess.PIPE).stdout
    costs: dict[str, Traced] = {}
    for reports in json.loads(output).values():
        for report in reports:
            costs.setdefault(short_name(report["name"]), Traced()).add(report)
    return costs


def _ratio(a: float, b: float) -> str:
    return f"{a / b:.2f}" if b else "–"


def table(kernels: list[Kernel], costs: dict[str, Traced]) -> str:
    """Return the kernels' table in Markdown."""
    columns = ["kernel", "threads", "registers", "shared memory", "spills", "occupancy sm_80", "sm_90", "sm_120"]
    if costs:
        columns += ["sectors / ideal", "bank passes / ideal", "bytes / compulsory bytes"]
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    for kernel in kernels:
        low, high = min(kernel.registers.values()), max(kernel.registers.values())
        shared = kernel.shared + kernel.dynamic_shared
        cells: list[Any] = [f"`{kernel.label}`", kernel.threads, f"{low}–{high}", shared]
        cells += [sum(kernel.spills.values()), *(f"{kernel.occupancy(target):.0%}" for target in (80, 90, 120))]
        if costs:
            cost = costs.get(short_name(kernel.name), Traced())
            pairs = ((cost.moved, cost.ideal), (cost.passes, cost.ideal_passes), (cost.moved, cost.once))
            cells += [_ratio(a, b) for a, b in pairs]
        lines.append("| " + " | ".join(str(cell) for cell in cells) + " |")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description="Check what nvcc makes of the CUDA kernels.")
    parser.add_argument("--traced", metavar="LIBRARY", help="libgenimg_fast_cuda_on_cpu.so of cuda-on-cpu-traced")
    arguments = parser.parse_args()
    if shutil.which("nvcc") is None:
        print("static checks of the CUDA kernels: skipped, nvcc was not found")
        return 1 if os.environ.get("GENIMG_FAST_REQUIRE_NVCC") else 0
    kernels: list[Kernel] = []
    with tempfile.TemporaryDirectory() as folder:
        for source in sorted(ROOT.glob("csrc/*/*.cu")):
            kernels += compile_file(source, Path(folder))
    costs = traced_costs(arguments.traced) if arguments.traced else {}
    for kernel in kernels:
        kernel.dynamic_shared = costs.get(short_name(kernel.name), Traced()).dynamic_shared
    print(table(kernels, costs))
    by_name = {family.name: family for family in families()}
    found = [fault for kernel in kernels for fault in faults(kernel, by_name[family_of(kernel.name)])]
    for fault in found:
        print(f"FAULT: {fault}")
    print(f"{len(kernels)} kernels, {len(TARGETS)} targets, {len(found)} faults")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
