"""A texture step on a picture whose feature maps would not fit in memory: tile by tile, in a process of its own.

Each row is a whole `cnn_texture` of a few evaluations, L-BFGS and its history included. What the same takes without
tiles is not run but predicted: the peak memory of small pictures grows in proportion to their pixels.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

import genimg_fast as gf

from .common import memory

SIZE, TILE = 4096, 512
STEPS = {"random": 3, "hed_vgg16": 2}  # evaluations; those of the network take minutes
SMALL = (256, 512)  # pictures that fit without tiles


def run(quick: bool, threads: int) -> list[dict[str, Any]]:
    """Return the rows of the table; see common.py."""
    if quick:
        return [_row("random", 1024, 2, threads)]
    rows = [_row("random", SIZE, STEPS["random"], threads)]
    try:
        gf.features.hed_vgg16()
    except (FileNotFoundError, ImportError):
        return rows
    return rows if threads == 1 else [*rows, _row("hed_vgg16", SIZE, STEPS["hed_vgg16"], threads)]


def _row(features: str, size: int, steps: int, threads: int) -> dict[str, Any]:
    tiled = _measured(features, size, TILE, steps, threads)
    small, larger = (_measured(features, side, 0, 1, threads)["peak"] for side in SMALL)
    slope = (larger - small) / (SMALL[1] ** 2 - SMALL[0] ** 2)
    whole = larger + slope * (size**2 - SMALL[1] ** 2)
    return {
        "family": "tiling",
        "case": f"{size} px colour, {features} features, tile={TILE}",
        "what": "an evaluation of loss and gradient",
        "seconds": tiled["seconds"],
        "peer_seconds": {},
        "floor_seconds": None,
        "note": f"peak memory of the process with {steps} steps of L-BFGS {tiled['peak'] / 2**30:.2f} GiB; "
        f"predicted without tiles {whole / 2**30:.1f} GiB",
    }


def _measured(features: str, size: int, tile: int, steps: int, threads: int) -> dict[str, float]:
    """Return the peak memory of a process that makes a texture, and the time of an evaluation."""
    arguments = [features, str(size), str(tile), str(steps), str(threads)]
    done = subprocess.run(
        [sys.executable, "-m", f"{__package__}.tiling", *arguments],
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


def _measure(features: str, size: int, tile: int, steps: int, threads: int) -> dict[str, float]:
    torch.set_num_threads(threads)
    gf.set_num_threads(threads)
    exemplar = np.random.default_rng(0).random((256, 256, 3), np.float32)
    network = gf.features.random() if features == "random" else gf.features.hed_vgg16()
    ends = [time.perf_counter()]
    gf.textures.cnn_texture(
        exemplar,
        size,
        features=network,
        tile=tile or None,
        n_iter=steps,
        scales=1,
        seed=0,
        progress=False,
        callback=lambda _: ends.append(time.perf_counter()),
    )
    return {"peak": memory("VmHWM"), "seconds": float(np.median(np.diff(ends)))}


if __name__ == "__main__":
    print(json.dumps(_measure(sys.argv[1], *map(int, sys.argv[2:]))))
