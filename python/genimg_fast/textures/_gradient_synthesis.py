"""Portilla and Simoncelli's texture by descent on the picture, instead of by projections."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from genimg_fast._optimization import Evaluation, Settings, Shape, Watch, by_autograd, descend, rescaled, resized
from genimg_fast.textures._parametric_synthesis import Canvas
from genimg_fast.textures._texture import Model, Texture, texture_of


class Descent:
    """What a descent asks about its pictures: item i is of the place i modulo their number.

    The loss is `Texture.loss`; its parts are the families' squared relative errors.

    Args:
        pictures: The exemplars (C, H, W) of each place of a batch.
        shares: Their weights.
        model: What counts at the full size; each halving takes a scale less.
        shape: (h, w) of the results.
        device: Where to compute.
        canvas: What is kept of the results, if anything.
    """

    def __init__(
        self,
        pictures: Sequence[Sequence[np.ndarray]],
        shares: Sequence[float],
        model: Model,
        shape: Shape,
        device: torch.device,
        canvas: Canvas | None,
    ) -> None:
        self._pictures, self._shares, self._model = pictures, shares, model
        self._shape, self._device, self._canvas = shape, device, canvas
        # All items pass a size before the next, and share the targets there.
        self._texture = functools.lru_cache(maxsize=len(pictures))(self._new_texture)

    def run(self, starts: Sequence[Tensor], sizes: Sequence[Shape], settings: Settings, watch: Watch) -> Tensor:
        """Return the pictures (G, C, h, w) that pictures (1, C, h, w) become, in the exemplars' range."""
        results = descend(starts, sizes, self.evaluation, settings, watch, circular=True)
        return torch.cat([self.finished(one, item) for item, one in enumerate(results)])

    def evaluation(self, size: Shape, item: int) -> Evaluation:
        """Return what gives loss, gradient and the families' parts of a picture (1, C, *size)."""
        texture, model, canvas = self._texture(size, item % len(self._pictures)), self._at(size), self._canvas
        kept = _all if canvas is None else canvas.item(item).resized(size).kept
        compare = texture.loss(model, model.pyramid(size))

        def loss(picture: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
            value, errors = compare(kept(picture))
            return value[0], {family: error[0] for family, error in errors.items()}

        return by_autograd(loss)

    def finished(self, picture: Tensor, item: int) -> Tensor:
        """Return a picture (1, C, *shape) in the exemplars' range, with the canvas where it is kept."""
        pixels = self._texture(self._shape, item % len(self._pictures)).pixels.to(picture.dtype)
        picture = picture.clamp(pixels[..., 4, None, None], pixels[..., 5, None, None])
        return picture if self._canvas is None else self._canvas.item(item).kept(picture)

    def _at(self, size: Shape) -> Model:
        halvings = round(np.log2(self._shape[0] / size[0]))
        return self._model._replace(n_scales=max(1, self._model.n_scales - halvings))

    def _new_texture(self, size: Shape, place: int) -> Texture:
        tensors = [torch.from_numpy(one)[None] for one in self._pictures[place]]
        reduced = [resized(one, rescaled(one.shape[-2:], self._shape, size))[0].numpy() for one in tensors]
        return Texture.stacked([texture_of(reduced, self._shares, self._at(size))], self._device)


def _all(picture: Tensor) -> Tensor:
    return picture
