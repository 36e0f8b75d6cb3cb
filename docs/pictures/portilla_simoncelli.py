"""Makes the pictures of docs/portilla-simoncelli.md: python docs/pictures/portilla_simoncelli.py [NAME ...]

Needs plenoptic, for its picture of a reptile's skin.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import plenoptic
from heeger_bergen import BRICK, GRASS, GRAVEL, HERE, TISSUE, sheet
from matplotlib.figure import Figure
from skimage import data

import genimg_fast as gf
from genimg_fast import images
from genimg_fast.textures.options import FAMILIES

SKIN = (plenoptic.data.reptile_skin()[0, 0].numpy() * 255).round().astype(np.uint8)
TEXT = np.ascontiguousarray(data.page()[4:188, 16:200])
GREY = {"brick": BRICK, "grass": GRASS, "gravel": GRAVEL, "reptile skin": SKIN, "text": TEXT}


def synthesise(image: Any, **options: Any) -> np.ndarray:
    return gf.textures.portilla_simoncelli(image, **{"seed": 1, "progress": False, **options})


def gallery() -> None:
    def row(name: str, image: np.ndarray) -> list[tuple[str, np.ndarray]]:
        settings = {"edges": "periodic", "size": 256}
        histograms = gf.textures.heeger_bergen(image, seed=1, update="accelerated", progress=False, **settings)
        return [
            (name, image),
            ("Heeger-Bergen", histograms),
            ("Portilla-Simoncelli", synthesise(image, **settings)),
        ]

    rows = [row(*item) for item in (GREY | {"tissue": TISSUE}).items()]
    sheet("ps-gallery", [rows[i] for i in (0, 3, 5)], dpi=135)
    sheet("ps-gallery-more", [rows[i] for i in (1, 2, 4)], dpi=135)


def ablations() -> None:
    names = (None, *FAMILIES)
    rows = []
    for name in ("brick", "reptile skin", "text"):
        image = GREY[name]
        results = [
            ("all" if one is None else f"without {one}", synthesise(image, size=192, leave_out=one or ()))
            for one in names
        ]
        rows.append([(name, image[:192, :192]), *results])
    sheet("ps-ablations", rows, dpi=100)


def options() -> None:
    iterations = [(f"n_iter={n}", synthesise(BRICK, n_iter=n)) for n in (1, 5, 20, 50, 200)]
    scales = [(f"n_scales={n}", synthesise(SKIN, n_scales=n)) for n in (1, 2, 3, 4, 5)]
    orientations = [(f"n_orientations={n}", synthesise(BRICK, n_orientations=n)) for n in (1, 2, 4, 6, 8)]
    widths = [(f"spatial_corr_width={n}", synthesise(GRAVEL, spatial_corr_width=n)) for n in (1, 3, 7, 11, 15)]
    sheet("ps-options", [iterations, scales, orientations, widths], dpi=100)


def methods() -> None:
    results = [
        ('method="projection"', synthesise(SKIN)),
        ('method="polished"', synthesise(SKIN, method="polished")),
        ('method="gradient"', synthesise(SKIN, method="gradient", n_iter=200)),
        ('"gradient", optimizer="adam"', synthesise(SKIN, method="gradient", n_iter=200, optimizer="adam")),
    ]
    sheet("ps-methods", [[("reptile skin", SKIN), *results]])


def colours() -> None:
    seeds = synthesise(TISSUE, seed=[1, 2, 3], size=192)
    sheet("ps-seeds", [[("tissue", TISSUE[:192, :192]), *((f"seed={n}", one) for n, one in enumerate(seeds, 1))]])


def mixtures() -> None:
    pair = [SKIN, GRAVEL]
    shares = (0, 0.25, 0.5, 0.75, 1)
    mixes = [
        synthesise(pair, size=192, weights=[1 - w, w]) if 0 < w < 1 else synthesise(pair[w], size=192) for w in shares
    ]
    slope = np.broadcast_to(np.clip(np.linspace(-0.25, 1.25, 512), 0, 1), (192, 512))
    place = synthesise(pair, size=(192, 512), weights=np.stack([1 - slope, slope]))
    figure = Figure(figsize=(9.6, 4.3), layout="constrained")
    upper, lower = figure.subfigures(2)
    for axis, one, w in zip(upper.subplots(1, len(shares)), mixes, shares, strict=True):
        draw(axis, one, f"{1 - w:g} skin, {w:g} gravel")
    draw(lower.subplots(), place, "weights from 1, 0 on the left to 0, 1 on the right")
    figure.savefig(HERE / "ps-mixtures.jpg", dpi=130, pil_kwargs={"quality": 85})


def masks() -> None:
    hole = BRICK.copy()
    hole[90:170, 80:180] = 0
    distance = np.ones((256, 256))
    distance[90:170, 80:180] = 0
    filled = synthesise(BRICK, canvas=hole, mask=distance)
    small = GRASS[:128, :128]
    mask = np.pad(border(128)[:, None] * border(128), 64)
    extended = synthesise(small, canvas=np.pad(small, 64), mask=mask)
    sheet("ps-masks", [[("a hole", hole), ("filled", filled), ("exemplar", small), ("extended", extended)]])


def border(n: int) -> np.ndarray:
    """Return 1 but for an eighth of a side at both ends, where it goes down to 0."""
    inwards = np.minimum(np.arange(n), np.arange(n)[::-1]) + 0.5
    return np.sin(np.pi / 2 * np.clip(8 * inwards / n, 0, 1)) ** 2


def convergence() -> None:
    figure = Figure(figsize=(10, 3.6), layout="constrained")
    chosen = ("brick", "grass", "gravel", "reptile skin")
    for axis, name in zip(figure.subplots(1, len(chosen), sharey=True), chosen, strict=True):
        for acceleration, style in ((0.8, "-"), (0, ":")):
            steps: list[dict[str, float]] = []
            synthesise(
                GREY[name], n_iter=100, acceleration=acceleration, callback=lambda s, e=steps: e.append(s.errors)
            )
            for i, family in enumerate(steps[0]):
                label = family if acceleration else None
                axis.semilogy([one[family] for one in steps], style, color=f"C{i}", label=label)
            print(
                f"{name:14} acceleration {acceleration}: "
                + ", ".join(f"{family} {steps[50][family]:.4f} / {steps[100][family]:.4f}" for family in steps[0])
            )
        axis.set(title=name, xlabel="iteration")
        axis.grid(which="both", alpha=0.3)
        if name == chosen[0]:
            axis.set_ylabel("relative error")
            axis.legend(fontsize="small")
    figure.savefig(HERE / "ps-convergence.png", dpi=100)


def strip() -> None:
    """The README's picture: two exemplars, each beside a result."""
    gap = np.full((192, 8), 255, np.uint8)
    pictures = [p for image in (SKIN, BRICK) for p in (image[:192, :192], synthesise(image, size=192))]
    images.write(HERE / "ps-strip.jpg", np.hstack([part for one in pictures for part in (one, gap)][:-1]))


def draw(axis: Any, picture: np.ndarray, title: str) -> None:
    axis.imshow(picture, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    axis.set_title(title, fontsize=8)
    axis.set_axis_off()


if __name__ == "__main__":
    makers = (gallery, ablations, options, methods, colours, mixtures, masks, convergence, strip)
    wanted = sys.argv[1:] or [make.__name__ for make in makers]
    for make in makers:
        if make.__name__ in wanted:
            make()
