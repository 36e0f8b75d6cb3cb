"""Runs a command and says how long it took: ``step.py "what it does" command arguments...``."""

from __future__ import annotations

import subprocess
import sys
import time


def main(what: str, command: list[str]) -> int:
    start = time.monotonic()
    status = subprocess.run(command, check=False).returncode
    outcome = "" if status == 0 else f" FAILED with status {status}"
    print(f"[{time.monotonic() - start:6.1f} s] {what}{outcome}", flush=True)
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
