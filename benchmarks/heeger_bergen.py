"""Heeger and Bergen's synthesis beside a plain loop of plenoptic's pyramid and NumPy's rank matching.

The loop does what the synthesis does: statistics of the exemplar, 10 iterations, every subband and the pixels matched
by rank. Agreement is asserted in what counts, the distance of the subbands' histograms from the exemplar's.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np

import genimg_fast as gf

from .common import interleaved

SIZE, HEIGHT, ORDER, ITERATIONS = 256, 4, 3, 10


def run(quick: bool, threads: int) -> list[dict[str, Any]]:
    """Return the rows of the table; see common.py."""
    import torch
    from skimage import data

    torch.set_num_threads(threads)
    gf.set_num_threads(threads)
    exemplar = data.gravel()[:SIZE, :SIZE].astype(np.float32) / 255
    tensor = torch.from_numpy(exemplar)

    def ours(image: Any, update: str = "projection") -> Any:
        return gf.textures.heeger_bergen(image, seed=0, n_iter=ITERATIONS, height=HEIGHT, order=ORDER, update=update)

    candidates: dict[str, Callable[[], Any]] = {
        "array": lambda: ours(exemplar),
        "tensor": lambda: ours(tensor),
        "accelerated": lambda: ours(exemplar, "accelerated"),
        "plenoptic": lambda: plain_loop(exemplar, ITERATIONS),
        "numpy.sort": lambda: sort_all(exemplar),
    }
    peer = {"plenoptic": lambda: plain_loop(exemplar, ITERATIONS)}
    reached = {label: distance(np.asarray(candidates[label]()), exemplar) for label in ("array", "tensor", *peer)}
    assert max(reached["array"], reached["tensor"]) <= 1.02 * reached["plenoptic"], reached
    twice = distance(plain_loop(exemplar, 2 * ITERATIONS), exemplar)
    accelerated = distance(ours(exemplar, "accelerated"), exemplar)
    assert accelerated <= twice, (accelerated, twice)

    if quick:
        candidates.pop("accelerated")
    times = interleaved(candidates, seconds=3.0 if quick else 8.0)
    notes = {
        "array": f"distance {reached['array']:.4f}, plain loop {reached['plenoptic']:.4f}",
        "tensor": f"distance {reached['tensor']:.4f}",
        "accelerated": f"distance {accelerated:.4f}; the plain loop's after 20 iterations {twice:.4f}",
    }
    return [
        {
            "family": "heeger_bergen",
            "case": f"{SIZE} px grey, {HEIGHT} scales, {ORDER + 1} orientations, {ITERATIONS} iterations",
            "what": f"heeger_bergen, {label}",
            "seconds": times[label],
            "peer_seconds": {"plenoptic": times["plenoptic"]},
            "floor_seconds": times["numpy.sort"],
            "note": f"{note}; floor: numpy.sort of what is matched",
        }
        for label, note in notes.items()
        if label in times
    ]


class Plenoptic:
    """plenoptic's pyramid of one grey picture."""

    def __init__(self, shape: tuple[int, int]) -> None:
        from plenoptic.process import SteerablePyramidFreq

        self._pyramid = SteerablePyramidFreq(shape, height=HEIGHT, order=ORDER)

    def __call__(self, image: np.ndarray) -> dict[Any, np.ndarray]:
        import torch

        return {key: band[0, 0].numpy() for key, band in self._pyramid(torch.from_numpy(image)[None, None]).items()}

    def inverse(self, bands: dict[Any, np.ndarray]) -> np.ndarray:
        import torch

        tensors = OrderedDict((key, torch.from_numpy(band)[None, None]) for key, band in bands.items())
        return self._pyramid.recon_pyr(tensors)[0, 0].numpy()


def planes_of(bands: dict[Any, np.ndarray]) -> list[np.ndarray]:
    """Every subband as a flat array (views)."""
    return [plane for band in bands.values() for plane in band.reshape(-1, band.shape[-2] * band.shape[-1])]


def match_by_rank(values: np.ndarray, reference: np.ndarray) -> None:
    """Give values the sorted reference's, in place."""
    values[np.argsort(values, kind="stable")] = reference


def plain_loop(exemplar: np.ndarray, n_iter: int) -> np.ndarray:
    pyramid = Plenoptic(exemplar.shape)
    pixels = np.sort(exemplar, axis=None)
    references = [np.sort(plane) for plane in planes_of(pyramid(exemplar))]
    image = np.random.default_rng(0).random(exemplar.shape, np.float32)
    match_by_rank(image.reshape(-1), pixels)
    for _ in range(n_iter):
        bands = pyramid(image)
        for plane, reference in zip(planes_of(bands), references, strict=True):
            match_by_rank(plane, reference)
        image = pyramid.inverse(bands)
        match_by_rank(image.reshape(-1), pixels)
    return image


def distance(image: np.ndarray, exemplar: np.ndarray) -> float:
    """Mean over all subbands of the mean quantile distance over the standard deviation."""
    pyramid = Plenoptic(exemplar.shape)
    pairs = zip(planes_of(pyramid(image)), planes_of(pyramid(exemplar)), strict=True)
    return float(np.mean([np.abs(np.sort(a) - np.sort(b)).mean() / b.std() for a, b in pairs]))


def sort_all(exemplar: np.ndarray) -> None:
    """Sort as many values as the synthesis matches: NumPy's SIMD sort of keys alone."""
    planes = [*planes_of(gf.SteerablePyramidFreq(exemplar.shape, HEIGHT, ORDER)(exemplar)), exemplar.reshape(-1)]
    for _ in range(ITERATIONS):
        for plane in planes:
            np.sort(plane)
