"""Every public operation in torch's modes: compiled and exported in fresh processes, transformed, under autocast and in
inference mode.
"""

from __future__ import annotations

import os
import subprocess
import sys
import types
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from operations import CASES, NO_TENSORS, OPERATIONS, SHAPE, Case, leaves, normal
from torch.autograd import forward_ad

import genimg_fast as gf

HERE = Path(__file__).parent
BY_DEFAULT = {"apply_views": 2, "sliced_wasserstein_loss": 1, "gram_loss": 1}  # how many cases inductor compiles


def test_every_operation_is_walked_through() -> None:
    public = {name for name in gf.__all__ if not isinstance(getattr(gf, name), types.ModuleType)}
    assert public == {name for name in OPERATIONS if "." not in name} | NO_TENSORS


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tmp_path_factory.mktemp("inductor"))


@pytest.mark.parametrize("name", OPERATIONS)
def test_compiled_and_exported_in_a_fresh_process(name: str, cache: str) -> None:
    if name == "MultiViewStep":
        pytest.importorskip("diffusers")
    command = [sys.executable, "-W", "ignore", str(HERE / "fresh.py"), name, str(BY_DEFAULT.get(name, 0))]
    environment = {**os.environ, "TORCHINDUCTOR_CACHE_DIR": cache}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr[-4000:]


# ---- Derivatives -----------------------------------------------------------------------------------------------------


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> Callable[[torch.dtype], Case]:
    if "MultiViewStep" in request.param:
        pytest.importorskip("diffusers")
    return CASES[request.param]


def _directions(inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    return tuple(normal(*x.shape, seed=9 + i, dtype=x.dtype) for i, x in enumerate(inputs))


def _along(case: Case) -> Callable[[torch.Tensor], tuple[torch.Tensor, ...]]:
    """Return the function of one number that goes from the inputs along the directions."""
    directions = _directions(case.inputs)

    def function(step: torch.Tensor) -> tuple[torch.Tensor, ...]:
        moved = [x + step * d for x, d in zip(case.inputs, directions, strict=True)]
        return tuple(leaves(case.function(*moved)))

    return function


def _differences(function: Callable[[torch.Tensor], tuple[torch.Tensor, ...]]) -> list[torch.Tensor]:
    step = torch.tensor(1e-6, dtype=torch.float64)
    return [(after - before) / (2 * step) for after, before in zip(function(step), function(-step), strict=True)]


def test_forward_mode_is_the_derivative(case: Callable[[torch.dtype], Case]) -> None:
    made = case(torch.float64)
    along, zero = _along(made), torch.zeros((), dtype=torch.float64)
    expected = _differences(along)

    def check(found: Any) -> None:
        torch.testing.assert_close(list(found), expected, rtol=1e-5, atol=1e-5, equal_nan=True)

    check(torch.func.jvp(lambda *x: tuple(leaves(made.function(*x))), made.inputs, _directions(made.inputs))[1])
    check(torch.func.jacfwd(along)(zero))
    with forward_ad.dual_level():
        results = made.function(*map(forward_ad.make_dual, made.inputs, _directions(made.inputs)))
        check([forward_ad.unpack_dual(x).tangent for x in leaves(results)])


def test_jacobians_with_the_older_vmap(case: Callable[[torch.dtype], Case]) -> None:
    made = case(torch.float64)
    along, zero = _along(made), torch.zeros((), dtype=torch.float64)
    expected = [x.sum() for x in _differences(lambda s: tuple(x.nan_to_num() for x in along(s)))]

    def sums(step: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(x.nan_to_num().sum() for x in along(step))

    found = torch.autograd.functional.jacobian(sums, zero, vectorize=True)
    torch.testing.assert_close(list(found), expected, rtol=1e-5, atol=1e-5)


def test_forward_jacobians_with_the_older_vmap() -> None:
    for name in ("gram_matrix-gram", "SteerablePyramidFreq-frequency", "SteerablePyramidSpace-space_and_back"):
        made = CASES[name](torch.float64)
        along = _along(made)
        found = torch.autograd.functional.jacobian(
            along, torch.zeros((), dtype=torch.float64), vectorize=True, strategy="forward-mode"
        )
        torch.testing.assert_close(list(found), _differences(along), rtol=1e-5, atol=1e-5)


def test_forward_over_reverse(case: Callable[[torch.dtype], Case]) -> None:
    made = case(torch.float64)
    along = _along(made)

    def loss(step: torch.Tensor) -> torch.Tensor:
        return torch.stack([x.nan_to_num().square().sum() for x in along(step)]).sum()

    zero, step = torch.zeros((), dtype=torch.float64), torch.tensor(1e-5, dtype=torch.float64)
    gradient = torch.func.grad(loss)
    found = torch.func.hessian(loss)(zero)
    torch.testing.assert_close(found, (gradient(step) - gradient(-step)) / (2 * step), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(torch.func.jacrev(gradient)(zero), found, rtol=1e-6, atol=1e-6)


def test_vmap_and_gradients_of_each(case: Callable[[torch.dtype], Case]) -> None:
    made = case(torch.float64)
    steps = torch.tensor([0.0, 0.1], dtype=torch.float64)
    along = _along(made)
    for found, *expected in zip(torch.func.vmap(along)(steps), *map(along, steps), strict=True):
        torch.testing.assert_close(found, torch.stack(expected), equal_nan=True)

    def loss(step: torch.Tensor) -> torch.Tensor:
        return torch.stack([x.nan_to_num().square().sum() for x in along(step)]).sum()

    gradient = torch.func.grad(loss)
    torch.testing.assert_close(torch.func.vmap(gradient)(steps), torch.stack([gradient(step) for step in steps]))


# ---- Autocast and inference mode -------------------------------------------------------------------------------------


def test_autocast_changes_nothing(case: Callable[[torch.dtype], Case]) -> None:
    made = case(torch.float32)
    expected = leaves(made.function(*made.inputs))
    with torch.autocast("cpu", torch.bfloat16):
        found = leaves(made.function(*made.inputs))
    torch.testing.assert_close(found, expected, rtol=0, atol=0, equal_nan=True)


def test_inference_mode_and_derivatives_after_it(case: Callable[[torch.dtype], Case]) -> None:
    with torch.inference_mode():
        made = case(torch.float32)
        inside = [x.clone() for x in leaves(made.function(*made.inputs))]
    torch.testing.assert_close(leaves(made.function(*made.inputs)), inside, equal_nan=True)
    inputs = [x.clone().requires_grad_() for x in made.inputs]
    loss = torch.stack([x.nan_to_num().square().sum() for x in leaves(made.function(*inputs))]).sum()
    gradients = torch.autograd.grad(loss, inputs, create_graph=True)
    torch.stack([g.square().sum() for g in gradients]).sum().backward()
    fresh = case(torch.float32)
    again = [x.clone().requires_grad_() for x in fresh.inputs]
    loss = torch.stack([x.nan_to_num().square().sum() for x in leaves(fresh.function(*again))]).sum()
    torch.testing.assert_close(gradients, torch.autograd.grad(loss, again))


def test_what_is_kept_outlives_a_transform() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        views = gf.Views(["flip", "dct"], shape=SHAPE)
    x = normal(2, *SHAPE)
    wanted = gf.apply_views(x, gf.Views(["flip", "dct"], shape=SHAPE))
    torch.func.grad(lambda z: gf.apply_views(z, views).square().sum())(x)
    with torch._subclasses.FakeTensorMode(allow_non_fake_inputs=True):
        gf.apply_views(torch.empty(2, *SHAPE), views)
    assert torch.equal(gf.apply_views(x, views), wanted)
