"""Makes the pictures and the table of docs/heeger-bergen.md: python docs/pictures/heeger_bergen.py"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from skimage import data

import genimg_fast as gf
from genimg_fast import images

HERE = Path(__file__).parent
GRASS, GRAVEL, BRICK = (np.ascontiguousarray(getattr(data, n)()[:256, :256]) for n in ("grass", "gravel", "brick"))
FUR = np.ascontiguousarray(data.chelsea()[8:100, 216:312])
TISSUE = np.ascontiguousarray(data.immunohistochemistry()[:256, :256])
SKY = np.ascontiguousarray(data.hubble_deep_field()[300:556, 300:556])

Tile = tuple[str, np.ndarray]


def synthesise(image: Any, **options: Any) -> np.ndarray:
    return gf.textures.heeger_bergen(image, **{"size": 256, "seed": 1, "progress": False, **options})


def sheet(name: str, rows: Sequence[Sequence[Tile]], *, dpi: int = 150) -> None:
    """Save rows of titled pictures, all at one scale."""
    columns = max(map(len, rows))
    figure = Figure(figsize=(1.9 * columns, 2.1 * len(rows)), layout="constrained")
    axes = figure.subplots(len(rows), columns, squeeze=False)
    side = max(max(picture.shape[:2]) for row in rows for _, picture in row)
    for places, row in zip(axes, rows, strict=True):
        for place in places:
            place.set_axis_off()
        for place, (title, picture) in zip(places, row, strict=False):
            place.imshow(picture, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
            place.set(xlim=(-0.5, side - 0.5), ylim=(side - 0.5, -0.5))
            place.set_title(title, fontsize=8)
    figure.savefig(HERE / f"{name}.jpg", dpi=dpi, pil_kwargs={"quality": 85})


def gallery() -> None:
    names = {"fur": FUR, "tissue": TISSUE, "sky": SKY, "gravel": GRAVEL, "grass": GRASS, "bricks": BRICK}
    results = [(name, synthesise(image, update="accelerated", edges="periodic")) for name, image in names.items()]
    sheet("hb-gallery", [list(names.items()), [(f"from {name}", picture) for name, picture in results]])


def numbers() -> None:
    fur = {"edges": "periodic"}
    iterations = [(f"n_iter={n}", synthesise(FUR, n_iter=n, **fur)) for n in (1, 2, 5, 10, 40)]
    heights = [(f"height={n}", synthesise(GRAVEL, height=n)) for n in (1, 2, 3, 4, 6)]
    orders = [(f"order={n}", synthesise(TISSUE, order=n)) for n in (0, 1, 3, 7, 15)]
    sheet("hb-numbers", [iterations, heights, orders])


def edges() -> None:
    slope = np.linspace(0.55, 1.15, 256)[:, None] * GRASS
    lit = np.clip(slope, 0, 255).astype(np.uint8)
    tiles = [(f'edges="{name}"', synthesise(lit, edges=name)) for name in ("none", "periodic", "mirror")]
    sheet("hb-edges", [[("exemplar, lit from below", lit), *tiles]])


def tiling() -> None:
    tile = synthesise(FUR, size=(96, 128), edges="periodic", update="accelerated")
    sheet("hb-tiling", [[("result, 96x128", tile), ("four of them", np.tile(tile, (2, 2, 1)))]])


def mixtures() -> None:
    pair = [FUR, TISSUE[:92, :96]]
    mixes = [
        (f"{1 - w:.2f} fur, {w:.2f} tissue", synthesise(pair if 0 < w < 1 else pair[round(w)], weights=weights))
        for w in (0, 0.25, 0.5, 0.75, 1)
        for weights in [[1 - w, w] if 0 < w < 1 else None]
    ]
    pooled = [
        (f"histograms, {1 - w:.2f} to {w:.2f}", synthesise(pair, weights=[1 - w, w], mixture="histogram"))
        for w in (0.25, 0.5, 0.75)
    ]
    palettes = [
        ("pattern fur, palette tissue", synthesise(FUR, palette=TISSUE)),
        ("pattern tissue, palette fur", synthesise(TISSUE, palette=FUR)),
        ("pattern gravel, palette fur", synthesise(GRAVEL, palette=FUR)),
    ]
    sheet("hb-mixtures", [mixes, pooled, palettes])


def pyramids() -> None:
    tiles = [
        (f"{name}, {kind}", synthesise(image, pyramid=kind))
        for name, image in (("gravel", GRAVEL), ("tissue", TISSUE))
        for kind in ("frequency", "spatial")
    ]
    sheet("hb-pyramids", [tiles])


def failures() -> None:
    coins = np.ascontiguousarray(data.coins()[20:276, 60:316])
    text = np.ascontiguousarray(data.text()[:, 100:356])
    exemplars = [("bricks", BRICK), ("coins", coins), ("text", text)]
    sheet("hb-failures", [exemplars, [(name, synthesise(image, n_iter=20, height=4)) for name, image in exemplars]])


def convergence() -> None:
    from genimg_fast.textures.options import UPDATES

    figure = Figure(figsize=(10, 3.4), layout="constrained")
    axes = figure.subplots(1, 3, sharey=True)
    print(f"{'':8}" + "".join(f"{update:>27}" for update in UPDATES))
    for axis, (name, image) in zip(axes, (("bricks", BRICK), ("grass", GRASS), ("gravel", GRAVEL)), strict=True):
        cells = []
        for update in UPDATES:
            distances: list[float] = []
            exemplar = image.astype(np.float32) / 255
            options = {"seed": 0, "height": 4, "update": update, "n_iter": 40, "progress": False}
            gf.textures.heeger_bergen(exemplar, callback=lambda step, d=distances: d.append(step.distance), **options)
            axis.semilogy(distances, label=update)
            cells.append(" / ".join(f"{distances[n]:.4f}" for n in (10, 20, 40)))
        axis.set(title=name, xlabel="iteration")
        axis.grid(which="both", alpha=0.3)
        print(f"{name:8}" + "".join(f"{cell:>27}" for cell in cells))
    axes[0].set_ylabel("distance")
    axes[0].legend()
    figure.savefig(HERE / "hb-convergence.png", dpi=110)


def hero() -> None:
    """The README's picture: examples/fur.png beside what the command line makes of it."""
    result = synthesise(FUR, edges="periodic", update="accelerated")
    exemplar = np.full((256, 112, 3), 255, np.uint8)
    exemplar[82:174, :96] = FUR
    images.write(HERE / "hero.png", np.concatenate([exemplar, result], axis=1))


if __name__ == "__main__":
    for make in (gallery, numbers, edges, tiling, mixtures, pyramids, failures, convergence, hero):
        make()
