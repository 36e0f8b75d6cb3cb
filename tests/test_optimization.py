"""Descent on pictures: what it minimises, how often it evaluates, and how it ends."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest
import torch

from genimg_fast._optimization import (
    DescentStep,
    Settings,
    Watch,
    by_autograd,
    descend,
    halved,
    resized,
)

TARGET = torch.rand(1, 2, 16, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
START = torch.zeros_like(TARGET)


def bowl(size: Any, _: int) -> Any:
    """A quadratic with curvatures from 1 to 30, whose minimum is the target."""
    target = resized(TARGET, size)
    curvature = torch.linspace(1, 30, target.numel(), dtype=torch.float64).reshape(target.shape)

    def loss(x: torch.Tensor) -> Any:
        parts = (curvature * (x - target).square()).mean((-2, -1))[0]
        return parts.sum(), {"a": parts[0], "b": parts[1]}

    return by_autograd(loss)


def quiet(callback: Any = None) -> Watch:
    return Watch("test", False, callback, lambda planes, item: (item, planes.clone()))


def run(
    starts: Any = (START,), sizes: Any = ((16, 12),), objective: Any = bowl, watch: Any = None, **settings: Any
) -> Any:
    return descend(list(starts), sizes, objective, Settings(**settings), watch or quiet())


@pytest.mark.parametrize(
    "settings", [{"optimizer": "lbfgs"}, {"optimizer": "adam", "learning_rate": 0.05, "n_iter": 400}]
)
def test_it_finds_the_minimum(settings: dict[str, Any]) -> None:
    torch.testing.assert_close(run(**settings)[0], TARGET, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("optimizer", ["lbfgs", "adam"])
def test_n_iter_counts_evaluations_at_each_size(optimizer: str) -> None:
    steps: list[DescentStep] = []
    result = run(sizes=[(8, 6), (16, 12)], watch=quiet(steps.append), n_iter=7, optimizer=optimizer)[0]
    assert [(s.size, s.iteration) for s in steps] == [((8, 6), i) for i in range(1, 8)] + [
        ((16, 12), i) for i in range(8, 15)
    ]
    assert {s.n_iter for s in steps} == {14}
    assert result.shape == TARGET.shape
    for step in steps:
        assert step.loss == pytest.approx(step.losses["a"] + step.losses["b"])


def test_a_coarse_size_is_the_next_one_s_start() -> None:
    steps: list[DescentStep] = []
    run(sizes=[(8, 6), (16, 12)], watch=quiet(steps.append), n_iter=40)
    at_once: list[DescentStep] = []
    run(watch=quiet(at_once.append), n_iter=1)
    assert steps[40].loss < 0.7 * at_once[0].loss


def test_the_best_picture_is_kept() -> None:
    """Adam with long steps overshoots: its last picture is not its best."""
    steps: list[DescentStep] = []
    result = run(watch=quiet(steps.append), n_iter=12, optimizer="adam", learning_rate=3.0)[0]
    losses = [step.loss for step in steps]
    assert losses[-1] > min(losses)
    assert bowl((16, 12), 0)(result)[0] == pytest.approx(min(losses))


def test_tolerance_ends_a_size() -> None:
    steps: list[DescentStep] = []
    run(sizes=[(8, 6), (16, 12)], watch=quiet(steps.append), n_iter=60, tolerance=0.5)
    ends = [max((s for s in steps if s.size == size), key=lambda s: s.iteration) for size in [(8, 6), (16, 12)]]
    assert all(end.loss <= 0.5 for end in ends)
    assert len(steps) < 60
    assert sum(step.loss <= 0.5 for step in steps) == 2
    assert ends[1].iteration > 60  # the first size's evaluations count as used


def test_pictures_of_a_batch_are_those_alone() -> None:
    starts = [START, START + 3, TARGET - 1]
    together = run(starts, sizes=[(8, 6), (16, 12)], n_iter=5)
    for start, result in zip(starts, together, strict=True):
        torch.testing.assert_close(run([start], sizes=[(8, 6), (16, 12)], n_iter=5)[0], result, rtol=0, atol=0)


def test_same_bits_for_any_number_of_threads() -> None:
    """Of an evaluation that has them: torch's products of long vectors do not."""
    start = torch.rand(1, 2, 200, 150, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    before, results, seen = torch.get_num_threads(), [], []

    def loss(x: torch.Tensor) -> Any:
        seen.append(torch.get_num_threads())
        return 1e-3 * (x[0, 0, 0, :50] ** 4).sum() + (x[0, 1, :, 0] - 1).square().sum(), {}

    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            results.append(run([start], sizes=[(200, 150)], objective=lambda *_: by_autograd(loss), n_iter=9)[0])
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert seen == [1] * 9 + [2] * 9
    assert torch.equal(*results)


def test_each_picture_has_its_own_objective() -> None:
    seen: list[tuple[Any, int]] = []

    def objective(size: Any, item: int) -> Any:
        seen.append((size, item))
        return bowl(size, item)

    run([START, START], sizes=[(8, 6), (16, 12)], objective=objective, n_iter=1)
    assert seen == [((8, 6), 0), ((8, 6), 1), ((16, 12), 0), ((16, 12), 1)]


def test_the_step_s_picture_is_the_caller_s() -> None:
    found: list[Any] = []
    run([START, START + 1], watch=quiet(lambda step: found.append(step.picture())), n_iter=1)
    assert [item for item, _ in found] == [0, 1]
    torch.testing.assert_close(found[1][1], START + 1)


@pytest.mark.parametrize(("history_bytes", "pairs"), [(0, 1), (3 * 2 * 384 * 8, 3), (1 << 30, 20)])
def test_history_is_bounded_in_bytes(monkeypatch: pytest.MonkeyPatch, history_bytes: int, pairs: int) -> None:
    kept: list[int] = []

    class Spy(torch.optim.LBFGS):
        def __init__(self, *arguments: Any, history_size: int, **options: Any) -> None:
            kept.append(history_size)
            super().__init__(*arguments, history_size=history_size, **options)

    monkeypatch.setattr(torch.optim, "LBFGS", Spy)
    run(n_iter=2, history_bytes=history_bytes)
    assert kept == [pairs]


@pytest.mark.parametrize("when", [1, 9])
def test_ctrl_c_keeps_the_best_picture(when: int) -> None:
    losses: list[float] = []

    def callback(step: DescentStep) -> None:
        losses.append(step.loss)
        if len(losses) == when:
            raise KeyboardInterrupt

    with pytest.warns(RuntimeWarning, match=f"stopped by Ctrl-C after {when} of 24 evaluations"):
        result = run(sizes=[(8, 6), (16, 12)], watch=quiet(callback), n_iter=12)[0]
    assert result.shape == TARGET.shape
    assert bowl((16, 12), 0)(result)[0] <= bowl((16, 12), 0)(START)[0] + 1e-9


def test_a_loss_that_is_not_finite_is_refused() -> None:
    with pytest.raises(ValueError, match="must be finite, got nan"):
        run(objective=lambda *_: lambda x: (float("nan"), torch.zeros_like(x), {}))


def test_a_loss_that_stops_being_finite_keeps_the_best_picture() -> None:
    losses: list[float] = []

    def objective(size: Any, item: int) -> Any:
        evaluate = bowl(size, item)

        def broken(x: torch.Tensor) -> Any:
            loss, gradient, parts = evaluate(x)
            losses.append(loss)
            return (loss if len(losses) < 5 else float("inf")), gradient, parts

        return broken

    with pytest.warns(RuntimeWarning, match="the loss became inf after 4 evaluations"):
        result = run(objective=objective, n_iter=20)[0]
    assert len(losses) == 5
    assert bowl((16, 12), 0)(result)[0] == pytest.approx(min(losses[:4]))


def test_progress_bar(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    watch = Watch("title", True, None, lambda planes, item: None)
    run(watch=watch, n_iter=2)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    run(watch=Watch("title", True, None, lambda planes, item: None), n_iter=2)
    shown = capsys.readouterr().err
    assert "title: 100%" in shown
    assert "2/2" in shown
    assert "loss=" in shown
    assert "a=" in shown
    run(watch=quiet(), n_iter=2)
    assert capsys.readouterr().err == ""


def test_sizes() -> None:
    assert halved((256, 100), 3) == [(64, 25), (128, 50), (256, 100)]
    assert halved((100, 40), 2, 4) == [(48, 20), (100, 40)]
    assert halved((8, 8), 1) == [(8, 8)]


def test_circular_resizing_has_no_seam() -> None:
    x = TARGET
    for size in [(32, 24), (8, 6)]:
        plain = resized(x, size, circular=True)
        shift = (4, -4)
        moved = resized(x.roll(shift, (-2, -1)), size, circular=True)
        expected = plain.roll((4 * size[0] // 16, -4 * size[1] // 12), (-2, -1))
        torch.testing.assert_close(moved, expected, rtol=1e-6, atol=1e-6)
        assert not torch.allclose(resized(x, size), plain)
        np.testing.assert_allclose(plain.mean().item(), x.mean().item(), rtol=1e-2)
    assert resized(x, (16, 12)) is x
