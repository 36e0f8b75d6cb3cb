"""Two processes that share the tiles make the picture of one."""

from __future__ import annotations

import datetime
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_networks
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

import genimg_fast as gf

RANKS, SECONDS = 2, 120
RNG = np.random.default_rng(0)
CONTENT, STYLE = RNG.random((80, 96, 3)), RNG.random((96, 80, 3)) ** 2


def transferred(seed: int, group: Any) -> dict[str, Any]:
    network = tiny_networks.vgg()
    pieces: list[int] = []
    network.register_forward_pre_hook(lambda *_: pieces.append(1))
    result = gf.style.transfer(
        CONTENT, STYLE, features=network, init="mixed", seed=seed, n_iter=4, scales=1, tile=40, group=group
    )
    return {"result": torch.from_numpy(result), "pieces": len(pieces)}


def work(rank: int, folder: Path) -> None:
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    torch.set_num_threads(1)
    timeout = datetime.timedelta(seconds=SECONDS)
    dist.init_process_group("gloo", f"file://{folder}/store", timeout, RANKS, rank)
    # Every rank draws other noise: that of the first counts.
    torch.save(transferred(rank, dist.group.WORLD), folder / f"{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.timeout(2 * SECONDS)
def test_ranks_share_the_tiles(tmp_path: Path) -> None:
    mp.start_processes(work, (tmp_path,), RANKS, start_method="spawn")
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in range(RANKS))
    alone = transferred(0, None)
    assert torch.equal(first["result"], second["result"])
    torch.testing.assert_close(first["result"], alone["result"], rtol=0, atol=1e-6)
    assert max(first["pieces"], second["pieces"]) < 0.75 * alone["pieces"]
