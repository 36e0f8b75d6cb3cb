"""The loop of Heeger and Bergen's synthesis, whatever the statistics are."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

import genimg_fast as gf
from genimg_fast._pictures import Kind
from genimg_fast._step import Report
from genimg_fast.textures._analysis import Analysis, Bands, Shape
from genimg_fast.textures._statistics import TextureStatistics, resample, rotate
from genimg_fast.textures._watch import Watch

if TYPE_CHECKING:
    from genimg_fast.histogram import HistogramReference

# How far a picture goes past the projection of the last one (relaxation, 1: onto it) and how much of its last change it
# keeps (momentum). Both act on pictures, not on subbands: the pyramid is linear and reconstructs what it analysed.
UPDATES = {
    "projection": (1.0, 0.0),
    "relaxed": (1.6, 0.0),
    "momentum": (1.0, 0.7),
    "accelerated": (1.3, 0.6),
}


@dataclass(frozen=True)
class Step(Report):
    """Where a synthesis stands.

    Attributes:
        iteration: Number of updates done, from 0 (noise with the exemplar's pixel histogram) to n_iter.
        n_iter: Number of updates asked for.
        distance: Mean over all subbands of the mean distance between the picture's quantiles and those asked for, in
            units of the latter's standard deviation. It is 0 where every subband has the histogram asked for.
        picture: Call it for the current picture, in the kind that `heeger_bergen` returns.
    """

    iteration: int
    n_iter: int
    distance: float
    picture: Callable[[], Any]

    @property
    def shown(self) -> dict[str, str]:
        """The numbers beside the progress bar."""
        return {"distance": f"{self.distance:.4f}"}


class Synthesis:
    """Imposes statistics on planes (seeds * exemplars, C, h, w), which live where the caller's pictures do."""

    def __init__(self, statistics: Sequence[TextureStatistics], n_seeds: int, analysis: Analysis, kind: Kind) -> None:
        self._statistics, self._n_seeds, self._analysis, self._kind = statistics, n_seeds, analysis, kind
        self._pixels = self._reference({"pixels": [s.pixels for s in statistics]}, {"pixels": analysis.shape})
        self._tables = {key: [s.bands[key] * analysis.gain(key) for s in statistics] for key in analysis.sizes}
        self._bands = self._reference(self._tables, analysis.sizes)

    def _reference(self, tables: Mapping[Any, list[np.ndarray]], sizes: Mapping[Any, Shape]) -> HistogramReference:
        """Return what matches planes of the given sizes to tables (C, ..., n), one for each exemplar."""
        references = {}
        for key, parts in tables.items():
            height, width = sizes[key]
            values = np.stack([_sized(part, height * width) for part in parts] * self._n_seeds)
            references[key] = self._kind.lift(values.reshape(*values.shape[:-1], height, width))
        return gf.HistogramReference(references)

    def match_pixels(self, planes: Any) -> Any:
        """Give planes the pixel histograms asked for, in place."""
        return self._pixels.match({"pixels": planes}, method="rank", out={"pixels": planes})["pixels"]

    def analyse(self, planes: Any) -> Bands:
        return self._analysis(planes)

    def match_bands(self, bands: Bands, *, keep: bool = True) -> Bands:
        """Return subbands with the histograms asked for; without ``keep`` they may take the place of the old ones."""
        in_place = not keep and self._analysis.is_exact
        return self._bands.match(bands, method="rank", out=bands if in_place else None)

    def project(self, planes: Any, bands: Bands, matched: Bands) -> Any:
        """Return the planes that matched subbands make; `planes` and `bands` are those they were made of.

        A pyramid that does not reconstruct exactly makes the change of the planes from the change of the subbands, so
        that its error, which iterations would amplify, acts on the change only.
        """
        if self._analysis.is_exact:
            return self._analysis.inverse(matched)
        return planes + self._analysis.inverse({key: matched[key] - band for key, band in bands.items()})

    @functools.cached_property
    def _deviations(self) -> dict[Any, np.ndarray]:
        tables = {key: np.stack(parts * self._n_seeds) for key, parts in self._tables.items()}
        return {key: table.std(axis=-1, dtype=np.float64) for key, table in tables.items()}

    def distance(self, bands: Bands, matched: Bands) -> float:
        """Return `Step.distance` for subbands and their match.

        Matching by rank pairs equal quantiles, so the mean quantile distance is that between a band and its match.
        Bands without any content to speak of, such as those of a constant picture, count as matched.
        """
        floor = 1e-6 * max(float(deviation.max()) for deviation in self._deviations.values())
        distances = []
        for key, deviation in self._deviations.items():
            gaps = np.abs(_as_array(bands[key]) - _as_array(matched[key])).mean(axis=(-2, -1), dtype=np.float64)
            distances.append(np.divide(gaps, deviation, out=np.zeros_like(gaps), where=deviation > floor).ravel())
        return float(np.concatenate(distances).mean())

    def colours(self, planes: Any) -> Any:
        """Return planes of principal channels as planes of colours, each with the histogram asked for."""
        palettes = [s.palette for s in self._statistics if s.palette is not None]
        if palettes:
            planes = self._impose(palettes, planes)
        if planes.shape[-3] == 1:
            return planes
        n = len(self._statistics)
        rotated = self._kind.stack([rotate(s.rotation.T, planes[i::n]) for i, s in enumerate(self._statistics)], 1)
        return self._impose([s.colours for s in self._statistics], rotated.reshape(planes.shape))

    def _impose(self, tables: list[np.ndarray], planes: Any) -> Any:
        """Return planes with the histograms of tables (C, n), one for each exemplar."""
        reference = self._reference({"planes": tables}, {"planes": self._analysis.shape})
        return reference.match({"planes": planes}, method="rank")["planes"]


def run(synthesis: Synthesis, noise: Any, update: str, watch: Watch, picture: Callable[[Any], Any]) -> Any:
    """Iterate from noise, as planes; return the last planes, or the current ones after Ctrl-C.

    Args:
        synthesis: What to impose.
        noise: (seeds * exemplars, C, h, w).
        update: A key of `UPDATES`.
        watch: Who wants to know.
        picture: Makes the caller's picture of planes.
    """
    relaxation, momentum = UPDATES[update]
    current = previous = synthesis.match_pixels(noise)
    done = 0

    def is_close(bands: Bands | None = None, matched: Bands | None = None) -> bool:
        """Report the current planes, whose subbands and their match may be known."""
        bands = synthesis.analyse(current) if bands is None else bands
        planes, distance = current, synthesis.distance(bands, matched or synthesis.match_bands(bands))
        return watch.report(Step(done, watch.n_iter, distance, lambda: picture(synthesis.colours(planes))))

    try:
        with watch:
            while done < watch.n_iter:
                start = current + momentum * (current - previous) if momentum else current
                bands = synthesis.analyse(start)
                matched = synthesis.match_bands(bands, keep=watch.measures)
                if watch.measures and (is_close(bands, matched) if start is current else is_close()):
                    return current
                projected = synthesis.project(start, bands, matched)
                if relaxation != 1:
                    projected = start + relaxation * (projected - start)
                current, previous = synthesis.match_pixels(projected), current
                done += 1
            if watch.measures:
                is_close()
    except KeyboardInterrupt:
        watch.warn_stopped(done)
    return current


def _sized(table: np.ndarray, n: int) -> np.ndarray:
    return table if table.shape[-1] == n else resample(table, n)


def _as_array(x: Any) -> np.ndarray:
    # NumPy's sums do not depend on the number of threads, torch's do; on the CPU the array is a view.
    return x if isinstance(x, np.ndarray) else x.cpu().numpy()
