"""Portilla and Simoncelli's statistics beside plenoptic's module, and the synthesis beside plenoptic's metamer.

Agreement is asserted: the statistics are plenoptic's with its tables, and the synthesis ends with a smaller loss, which
is plenoptic's own: the mean square of the differences of its model's statistics.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

import genimg_fast as gf

from .common import interleaved

SIZE, ITERATIONS, STEPS = 256, 25, 1000


def run(quick: bool, threads: int) -> list[dict[str, Any]]:
    """Return the rows of the table; see common.py."""
    import torch

    torch.set_num_threads(threads)
    gf.set_num_threads(threads)
    return statistics() + synthesis(quick)


def statistics() -> list[dict[str, Any]]:
    import torch
    from plenoptic.models import PortillaSimoncelli

    image = torch.from_numpy(exemplar())[None, None]
    theirs = PortillaSimoncelli((SIZE, SIZE))
    ours = gf.textures.PortillaSimoncelli((SIZE, SIZE))
    table = gf.textures.PortillaSimoncelli((SIZE, SIZE), masks="lut")(image.double())
    difference = (table - theirs.double()(image.double())).abs() / (table.abs() + 1e-3)
    assert difference.max() < 1e-5, difference.max()
    theirs = theirs.float()
    leaf = image.clone().requires_grad_()

    def both_ways(model: Any) -> None:
        leaf.grad = None
        model(leaf).square().sum().backward()

    candidates = {
        "forward": (lambda: ours(image), lambda: theirs(image)),
        "forward and backward": (lambda: both_ways(ours), lambda: both_ways(theirs)),
    }
    times = interleaved({f"{what}{i}": pair[i] for what, pair in candidates.items() for i in (0, 1)}, seconds=8.0)
    return [
        row(f"PortillaSimoncelli, {what}", times[f"{what}0"], times[f"{what}1"], "710 statistics")
        for what in candidates
    ]


def synthesis(quick: bool) -> list[dict[str, Any]]:
    """Return an iteration's time and, unless quick, that to plenoptic's loss after its 1000 steps."""
    import torch
    from plenoptic.models import PortillaSimoncelli

    picture = exemplar()
    ones = interleaved({str(n): lambda n=n: make(picture, n) for n in (5, 25)}, seconds=6.0)
    rows = [row("portilla_simoncelli, an iteration", (ones["25"] - ones["5"]) / 20, None, "the budget is 40 ms")]
    if quick:
        return rows
    model = PortillaSimoncelli((SIZE, SIZE))
    target = model(torch.from_numpy(picture)[None, None])

    def loss(image: Any) -> float:
        return float((model(torch.as_tensor(image).reshape(1, 1, SIZE, SIZE)) - target).square().mean())

    theirs, seconds_theirs = timed(lambda: metamer(model, picture))
    ours, seconds = timed(lambda: make(picture, ITERATIONS))
    polished, seconds_polished = timed(lambda: make(picture, 50, method="polished", n_polish=50))
    reached = loss(ours), loss(theirs), loss(polished)
    assert reached[2] <= reached[0] <= reached[1], reached
    note = f"loss {reached[0]:.1e} after {ITERATIONS} iterations, {reached[1]:.1e} after {STEPS} steps of Adam"
    return [
        *rows,
        row("portilla_simoncelli, to plenoptic's loss", seconds, seconds_theirs, note),
        row(
            "portilla_simoncelli, polished",
            seconds_polished,
            None,
            f"loss {reached[2]:.1e} after 50 iterations and 50 evaluations",
        ),
    ]


def exemplar() -> np.ndarray:
    from skimage import data

    return data.grass()[:SIZE, :SIZE].astype(np.float32) / 255


def make(picture: np.ndarray, n_iter: int, **options: Any) -> np.ndarray:
    return gf.textures.portilla_simoncelli(picture, seed=0, n_iter=n_iter, progress=False, **options)


def timed(call: Callable[[], Any]) -> tuple[Any, float]:
    """Return what a call returns, and the seconds it takes."""
    start = time.perf_counter()
    result = call()
    return result, time.perf_counter() - start


def metamer(model: Any, picture: np.ndarray) -> Any:
    import plenoptic
    import torch

    plenoptic.set_seed(0)
    target = torch.from_numpy(picture)[None, None]
    synthesis = plenoptic.Metamer(target, model)
    synthesis.setup(initial_image=(target.mean() + target.std() * torch.randn(target.shape)).clamp(0, 1))
    synthesis.synthesize(max_iter=STEPS, stop_criterion=0)
    return synthesis.metamer.detach()


def row(what: str, seconds: float, peer: float | None, note: str) -> dict[str, Any]:
    return {
        "family": "portilla_simoncelli",
        "case": f"{SIZE} px grey, 4 scales, 4 orientations, 7x7 neighbours",
        "what": what,
        "seconds": seconds,
        "peer_seconds": {} if peer is None else {"plenoptic": peer},
        "floor_seconds": None,
        "note": note,
    }
