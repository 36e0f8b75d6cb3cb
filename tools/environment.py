"""Makes the virtual environment of the Makefile, with torch in it, and pins that torch for all later installations.

A torch of 2.10 or newer that the calling Python can import is used as it is; otherwise torch 2.13.0 is installed.
"""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
import time
import venv
from importlib import metadata
from pathlib import Path

OLDEST = (2, 10)
DEFAULT = "torch==2.13.0"


def suitable_torch() -> Path | None:
    """Return the folder of a torch that this Python can import and genimg_fast can use."""
    try:
        version = metadata.version("torch")
        spec = importlib.util.find_spec("torch")
    except metadata.PackageNotFoundError:
        return None
    release = tuple(int(part) for part in version.split("+")[0].split(".")[:2])
    if spec is None or spec.origin is None or release < OLDEST:
        return None
    return Path(spec.origin).parent.parent


def main(folder: Path) -> None:
    if shutil.which("c++") is None and shutil.which("g++") is None:
        sys.exit("genimg_fast needs a C++20 compiler (g++ 11 or newer, or clang 14 or newer); none was found")
    start = time.monotonic()
    found = suitable_torch()
    venv.create(folder, with_pip=True, clear=True)
    python = folder / "bin" / "python"
    if found is None:
        subprocess.run([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", DEFAULT], check=True)
    else:
        site = Path(output(python, "import sysconfig; print(sysconfig.get_path('purelib'))"))
        (site / "torch_of_the_calling_python.pth").write_text(f"{found}\n")
    version = output(python, "import importlib.metadata as m; print(m.version('torch'))")
    # Written last: the file says that the environment is whole.
    (folder / "constraints.txt").write_text(f"torch=={version}\n")
    whose = "found" if found else "installed"
    print(f"[{time.monotonic() - start:6.1f} s] make {folder} with torch {version} ({whose})", flush=True)


def output(python: Path, code: str) -> str:
    return subprocess.run([python, "-c", code], check=True, capture_output=True, text=True).stdout.strip()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
