"""Several views of pictures of one shape."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Iterator
from typing import Any

from genimg_fast.views._bound import BoundView, kept
from genimg_fast.views._check import check_view
from genimg_fast.views._plan import Plan, Row, checked_shape, inverse, pack
from genimg_fast.views._view import as_view


class Views:
    """Views of pictures (C, H, W), checked and ready for kernels.

    Args:
        views: Names, ``"a @ b"`` for one after the other (b first), views that `view`, `Permute` or ``@`` made, or
            objects with the methods apply and inverse. One of these, or a list.
        shape: (C, H, W).

    Attributes:
        shape: (C, H, W).
        names: What the views are called.
        forward_plan: The views as kernels take them.
        inverse_plan: What undoes them.
        dense: The indices of those that are no signed permutations; their rows in the plans are the identity.
        factorized: All views are components of a picture, to be summed and not averaged.

    Indexing and iterating give the views one by one, with ``apply``, ``inverse`` and ``variance``.

    Raises:
        TypeError: Something that is no view, or sides that are no integers.
        ValueError: An unknown name, no views at all, a view that this shape does not have, 2^31 pixels or more.

    Warns:
        UserWarning: A view that interpolates or blurs; it says what becomes of white noise.
    """

    def __init__(self, views: Any, shape: tuple[int, int, int]) -> None:
        self.shape = checked_shape(shape)
        entries = list(views) if isinstance(views, Iterable) and not isinstance(views, str) else [views]
        if not entries:
            raise ValueError("Views: views must be a list of at least one, got an empty list")
        self._views = tuple(as_view(entry) for entry in entries)
        self._bound = tuple(view.bind(self.shape) for view in self._views)
        rows = [view.row or Row() for view in self._bound]
        self.names = [str(view) for view in self._views]
        self.dense = tuple(i for i, view in enumerate(self._bound) if view.row is None)
        self.factorized = all(view.is_component for view in self._bound)
        self.forward_plan = pack(rows)
        self.inverse_plan = pack([inverse(row, self.shape[1]) for row in rows])
        _warn_of_noise(self._bound)
        self._tensors = kept(self._plans)

    def on(self, device: Any) -> tuple[Plan, Plan]:
        """Return the forward and the inverse plan as tensors: the rows on the CPU, the tables on a device."""
        import torch

        if self._tensors is None:
            self._tensors = kept(self._plans)
        return self._tensors.of(torch.device(device))

    def _plans(self, device: Any) -> tuple[Plan, Plan]:
        import torch

        forward, backward = (
            Plan(torch.from_numpy(plan.rows), torch.from_numpy(plan.tables).to(device))
            for plan in (self.forward_plan, self.inverse_plan)
        )
        return forward, backward

    def __len__(self) -> int:
        return len(self._bound)

    def __getitem__(self, index: int) -> BoundView:
        return self._bound[index]

    def __iter__(self) -> Iterator[BoundView]:
        return iter(self._bound)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Views) and (self.shape, self._views) == (other.shape, other._views)

    def __hash__(self) -> int:
        return hash((self.shape, self._views))

    def __reduce__(self) -> tuple[Any, ...]:
        return Views, (self._views, self.shape)

    def __repr__(self) -> str:
        return f"Views({self.names}, shape={self.shape})"


def _warn_of_noise(views: tuple[BoundView, ...]) -> None:
    """Say what views that are known to be no orthogonal maps do to white noise."""
    for view in views:
        if view.is_orthogonal is False:
            found = check_view(view, n=max(1, min(16, (1 << 18) // math.prod(view.shape))))
            warnings.warn(
                f"view {view.name!r} does not keep white noise white, which diffusion models expect: its standard "
                f"deviation becomes {found.noise_std:.2f} and the correlation of neighbours "
                f"{found.noise_correlation:+.2f}; pictures come out smoother or broken (see gf.check_view)",
                UserWarning,
                stacklevel=3,
            )
