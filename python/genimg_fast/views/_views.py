"""Several views of pictures of one shape."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Iterator, Mapping, Set
from typing import Any

from genimg_fast._arguments import integer
from genimg_fast.views._bound import BoundView, kept
from genimg_fast.views._check import check_view
from genimg_fast.views._plan import MAX_VIEWS, Plan, Row, checked_shape, described, inverse, larger, pack
from genimg_fast.views._view import as_view


class Views:
    """Views of pictures (C, H, W), checked and ready for kernels.

    Args:
        views: Names, ``"a @ b"`` for one after the other (b first), with parameters where wanted as in
            ``"rotate(degrees=30)"``; views that `view`, `Permute` or ``@`` made; or objects with the methods apply and
            inverse, or view and inverse_view as Visual Anagrams' have, which must be linear maps. One of these, or a
            list of at most 64.
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
        TypeError: Something that is no view or no list, or sides that are no integers.
        ValueError: An unknown name, no views at all or more than 64, a view that this shape does not have, a parameter
            that is wrong, 2^31 pixels or more.

    Warns:
        UserWarning: A view that interpolates or blurs; it says what becomes of white noise.
    """

    def __init__(self, views: Any, shape: tuple[int, int, int]) -> None:
        self.shape = checked_shape(shape, "Views")
        self._views = tuple(as_view(entry, "Views") for entry in _listed(views))
        self._bound = tuple(view.bind(self.shape) for view in self._views)
        rows = [view.row or Row() for view in self._bound]
        self.names = [str(view) for view in self._views]
        self.dense = tuple(i for i, view in enumerate(self._bound) if view.row is None)
        self.factorized = all(view.is_component for view in self._bound)
        self.forward_plan = pack(rows)
        self.inverse_plan = pack([inverse(row, self.shape[1]) for row in rows])
        _warn_of_noise(self._bound)
        self._tensors = kept(self._plans)

    def scaled(self, factor: int) -> Views:
        """Return the same views of pictures that are some times as large: see `View.scaled`.

        Args:
            factor: At least 1.

        Raises:
            TypeError: No integer.
            ValueError: Below 1; a view that does not know itself at other sizes.
        """
        times = integer("Views.scaled: factor", factor, 1)
        return Views([view.scaled(times) for view in self._views], larger(self.shape, times))

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


def _listed(views: Any) -> list[Any]:
    """Return what stands in a list of views, or the one that was given."""
    if isinstance(views, Views):
        return list(views._views)
    if isinstance(views, (Mapping, Set, bytes)):
        raise TypeError(f"Views: views must be a view or a list of views in their order, got {described(views)}")
    entries: list[Any] = []
    for entry in views if isinstance(views, Iterable) and not isinstance(views, str) else [views]:
        entries.append(entry)
        if len(entries) > MAX_VIEWS:
            raise ValueError(f"Views: views must be at most {MAX_VIEWS}, got more")
    if not entries:
        raise ValueError("Views: views must be a list of at least one, got an empty list")
    return entries


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
