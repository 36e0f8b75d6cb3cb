"""The loop of Portilla and Simoncelli's synthesis by projections."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from genimg_fast._optimization import Shape, resized
from genimg_fast._step import Report
from genimg_fast.textures._shares import Shares
from genimg_fast.textures._texture_projection import TextureProjection
from genimg_fast.textures._watch import Watch


@dataclass(frozen=True)
class ParametricStep(Report):
    """Where a synthesis by projection stands.

    Attributes:
        iteration: Number of iterations done, from 0 (noise) to n_iter.
        n_iter: Number of iterations asked for.
        errors: The relative error of each family of statistics that is imposed: of its statistics, the root of the mean
            square of their errors, each the norm of the difference over the norm of what is asked for. The mean over a
            batch.
        picture: Call it for the current picture, in the kind that `portilla_simoncelli` returns.
    """

    iteration: int
    n_iter: int
    errors: dict[str, float]
    picture: Callable[[], Any]

    @property
    def distance(self) -> float:
        """The largest error."""
        return max(self.errors.values())

    @property
    def shown(self) -> dict[str, str]:
        """The numbers beside the progress bar: the largest error alone, so that a bar of 80 columns holds it."""
        worst = max(self.errors, key=lambda name: self.errors[name])
        return {worst: f"{self.errors[worst]:.4f}"}


@dataclass(frozen=True)
class Canvas:
    """A picture that is kept where a mask says.

    Attributes:
        picture: (G, C, h, w).
        mask: (h, w), from 0 to 1, of the same dtype.
    """

    picture: Tensor
    mask: Tensor

    def kept(self, pictures: Tensor) -> Tensor:
        """Return pictures (G, C, h, w) with the canvas where it is kept."""
        return pictures.lerp(self.picture, self.mask)

    def resized(self, shape: Shape) -> Canvas:
        mask = resized(self.mask[None, None], shape)[0, 0].clamp(0, 1)
        return Canvas(resized(self.picture, shape), mask)

    def repeated(self, n: int) -> Canvas:
        """Return the canvas with each picture n times."""
        return Canvas(self.picture.repeat_interleave(n, 0), self.mask)

    def item(self, index: int) -> Canvas:
        return Canvas(self.picture[index : index + 1], self.mask)


@dataclass(frozen=True)
class Projection:
    """What the loop of projections needs to know.

    Attributes:
        impose: The projection of pictures (G, C, h, w).
        shares: Which of the pictures make one.
        canvas: What is kept of the pictures, if anything.
        acceleration: How far it goes on in the direction of the last change.
    """

    impose: TextureProjection
    shares: Shares
    canvas: Canvas | None
    acceleration: float

    def __call__(self, pictures: Tensor) -> Tensor:
        pictures = self.impose(pictures)
        if self.canvas is not None:
            pictures = self.canvas.kept(pictures)
        return self.shares.bound(pictures)


def projected(projection: Projection, start: Tensor, watch: Watch, picture: Callable[[Tensor], Any]) -> Tensor:
    """Iterate from noise; return the last pictures, or the current ones after Ctrl-C.

    Args:
        projection: What to do.
        start: Pictures (G, C, h, w).
        watch: Who wants to know.
        picture: Makes the caller's picture of pictures.
    """
    current = previous = start
    done = 0

    def is_close() -> bool:
        """Report the current pictures."""
        pictures = current
        errors = {name: float(one.mean()) for name, one in projection.impose.errors(pictures).items()}
        return watch.report(ParametricStep(done, watch.n_iter, errors, lambda: picture(pictures)))

    try:
        with watch:
            while done < watch.n_iter:
                if watch.measures and is_close():
                    return current
                ahead = current + projection.acceleration * (current - previous) if done else current
                current, previous = projection(ahead), current
                done += 1
            if watch.measures:
                is_close()
    except KeyboardInterrupt:
        watch.warn_stopped(done)
    return current
