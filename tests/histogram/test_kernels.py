"""The same bits for every number of threads and every instruction set."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from histogram_cases import pools

import genimg_fast as gf

METHODS = ["value", "rank"]


def digest() -> str:
    """Return a hash of the results for every kind of pool, both methods, several sizes and dtypes."""
    hashed = hashlib.sha256()
    for n, m in ((3, 5), (700, 700), (9000, 5000), (70_001, 70_001)):
        for kind, source in pools(n, 1).items():
            for method in METHODS:
                for dtype in (np.float32, np.float64):
                    reference = pools(m, 2)[kind].astype(dtype)
                    matched = gf.match_histograms(source.astype(dtype), reference, method=method)  # type: ignore[arg-type]
                    hashed.update(matched.tobytes())
    return hashed.hexdigest()


def test_instruction_sets_agree() -> None:
    program = "import test_kernels; print(test_kernels.gf.build_info()['instruction_set'], test_kernels.digest())"
    best = {gf.build_info()["instruction_set"]: digest()}
    for level in ("baseline", "v3", "v4"):
        path = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
        environment = {**os.environ, "GENIMG_FAST_ISA": level, "PYTHONPATH": path}
        run = subprocess.run(
            [sys.executable, "-c", program], env=environment, check=True, capture_output=True, text=True
        )
        used, result = run.stdout.split()
        best[used] = result
    assert "baseline" in best
    assert len(set(best.values())) == 1, best


def test_threads_agree() -> None:
    before = gf.get_num_threads(), torch.get_num_threads()
    bands = [pools(n, n)["normal"].reshape(1, -1) for n in (200_000, 70_000, 40_000, 5000, 5000, 300, 17)]
    targets = [pools(n, n + 1)["heavy tails"].reshape(1, -1) for n in (200_000, 60_000, 40_000, 50, 5000, 300, 17)]
    results = []
    try:
        for threads in (1, 2, 3, 7):
            gf.set_num_threads(threads)
            torch.set_num_threads(threads)
            found = gf.match_histograms(bands, targets, method="rank") + gf.match_histograms(bands, targets)
            tensors = [[torch.from_numpy(x) for x in entries] for entries in (bands, targets)]
            assert all(
                np.array_equal(x, y) for x, y in zip(found, gf.match_histograms(*tensors, method="rank"), strict=False)
            )
            leaf = tensors[1][1].requires_grad_()
            gf.match_histograms(tensors[0][1], leaf).sum().backward()
            results.append([*found, leaf.grad.numpy(), gf.HistogramReference(targets)._sorted[0].values])
    finally:
        gf.set_num_threads(before[0])
        torch.set_num_threads(before[1])
    for other in results[1:]:
        for x, y in zip(results[0], other, strict=True):
            np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize("method", METHODS)
def test_many_pools_in_one_batch(method: str) -> None:
    image = np.stack([pools(600, i)["normal"] for i in range(64)])
    reference = np.stack([pools(500, 99 + i)["uniform"] for i in range(64)])
    batch = gf.match_histograms(image, reference, batch_axes=(0,), method=method)  # type: ignore[arg-type]
    for i in range(64):
        np.testing.assert_array_equal(batch[i], gf.match_histograms(image[i], reference[i], method=method))  # type: ignore[arg-type]
