"""What a step is given: generators, dtypes, kinds, variances, places for results."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from multiview_cases import normal

import genimg_fast as gf

diffusers = pytest.importorskip("diffusers")

SHAPE = (1, 8, 8)
VIEWS = gf.Views(["identity", "flip"], SHAPE)


def stepper(kind: str = "DDPMScheduler", guidance: float | None = None, **options):
    scheduler = getattr(diffusers, kind)(100, **{"clip_sample": False, **options})
    return gf.MultiViewStep(VIEWS, scheduler, guidance, steps=5)


STEP = stepper()
T = STEP.timesteps[0]
STACK, X, NOISE = normal(4, *SHAPE), normal(2, *SHAPE, seed=1), normal(2, *SHAPE, seed=2)


def test_one_generator_a_picture():
    def generators():
        return [torch.Generator().manual_seed(seed) for seed in (3, 4)]

    noise = torch.cat([torch.randn(1, *SHAPE, generator=one, dtype=X.dtype) for one in generators()])
    wanted = STEP.step(STACK, T, X, noise=noise)
    assert torch.equal(STEP.step(STACK, T, X, generator=generators()), wanted)

    def run(x, generator):
        return STEP.sample(lambda stack, t: 0.1 * stack, x, generator=generator)

    assert torch.equal(run(X, generators())[1:], run(X[1:], generators()[1:]))
    with pytest.raises(
        ValueError, match=r"MultiViewStep\.step: generator must be .* each of 2 pictures, got a list of 1"
    ):
        STEP.step(STACK, T, X, generator=generators()[:1])


def test_one_generator_a_picture_of_arrays():
    def generators():
        return [np.random.default_rng(seed) for seed in (3, 4)]

    noise = np.concatenate([one.standard_normal((1, *SHAPE)) for one in generators()])
    stack, x = STACK.numpy(), X.numpy()
    assert np.array_equal(STEP.step(stack, T, x, generator=generators()), STEP.step(stack, T, x, noise=noise))
    # A list of integers is one seed of NumPy's.
    seeded = STEP.step(stack, T, x, generator=[3, 4])
    assert np.array_equal(seeded, STEP.step(stack, T, x, generator=np.random.default_rng([3, 4])))
    both = STEP.sample(lambda s, t: 0.1 * s, x, generator=generators())
    alone = STEP.sample(lambda s, t: 0.1 * s, x[1:], generator=generators()[1:])
    assert np.array_equal(both[1:], alone)


@pytest.mark.parametrize("generator", [3, "seed", [3, 4], [torch.Generator(), 3]])
def test_what_is_no_generator_of_tensors(generator):
    with pytest.raises((TypeError, ValueError), match=r"MultiViewStep\.step: generator must be"):
        STEP.step(STACK, T, X, generator=generator)


def test_what_is_no_generator_of_arrays():
    with pytest.raises(TypeError, match=r"MultiViewStep\.sample: generator must be what numpy.random"):
        STEP.sample(lambda s, t: s, X.numpy(), generator="seed")


@pytest.mark.parametrize("kind", [{"variance_type": "fixed_small"}, {"variance_type": "learned_range"}])
def test_a_variance_against_the_scheduler(kind):
    sampler = stepper(**kind)
    channels = 1 if kind["variance_type"] == "learned_range" else 2
    with pytest.raises(ValueError, match=f"must have {3 - channels} channels .*{kind['variance_type']}.*got"):
        sampler.step(normal(4, channels, 8, 8), T, X)


def test_ddim_leaves_a_variance_aside():
    sampler = stepper("DDIMScheduler")
    wide = torch.cat([STACK, torch.full_like(STACK, torch.nan)], 1)
    assert torch.equal(sampler.step(wide, T, X), sampler.step(STACK, T, X))


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_other_dtypes_are_taken_into_that_of_the_pictures(dtype):
    got = STEP.step(STACK.to(dtype), T, X, noise=NOISE.to(dtype))
    assert got.dtype == X.dtype
    assert torch.equal(got, STEP.step(STACK.to(dtype).double(), T, X, noise=NOISE.to(dtype).double()))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"x": X.numpy()}, TypeError, "prediction must be of the kind of x, ndarray, got Tensor"),
        ({"noise": NOISE.numpy()}, TypeError, "noise must be of the kind of x, Tensor, got ndarray"),
        (
            {"noise": [1.0]},
            TypeError,
            r"MultiViewStep\.step: noise must be .*got list",
        ),
        ({"prediction": None}, TypeError, r"MultiViewStep\.step: prediction must be .*got NoneType"),
        ({"prediction": STACK.to_sparse()}, TypeError, r"MultiViewStep\.step: prediction must be a dense tensor"),
        ({"prediction": STACK[:3]}, ValueError, r"MultiViewStep\.step: prediction must be .*got \(3, 1, 8, 8\)"),
        ({"prediction": STACK[..., :7]}, ValueError, r"MultiViewStep\.step: prediction must be .*got \(4, 1, 8, 7\)"),
        ({"prediction": STACK[0]}, ValueError, r"MultiViewStep\.step: prediction must be"),
        ({"x": X[:1]}, ValueError, r"MultiViewStep\.step: x must be .*has B = 2"),
        ({"noise": NOISE[:1]}, ValueError, r"MultiViewStep\.step: noise must be of the shape of x"),
        ({"t": "999"}, TypeError, r"MultiViewStep\.step: t must be a number"),
        ({"t": [T]}, TypeError, r"MultiViewStep\.step: t must be a number"),
        ({"t": torch.tensor([T, T])}, TypeError, r"MultiViewStep\.step: t must be a number"),
        ({"t": None}, TypeError, r"MultiViewStep\.step: t must be a number"),
        ({"t": float("nan")}, ValueError, r"MultiViewStep\.step: t must be finite"),
        ({"t": 10**400}, ValueError, r"MultiViewStep\.step: t must be"),
        ({"t": T + 0.5}, ValueError, r"MultiViewStep\.step: t must be one of the scheduler's timesteps, got 80.5"),
    ],
)
def test_wrong_arguments(change, error, message):
    arguments = {"prediction": STACK, "t": T, "x": X, "noise": NOISE, **change}
    with pytest.raises(error, match=message):
        STEP.step(**arguments)


@pytest.mark.parametrize("t", [float(T), np.int64(T), np.float32(T), torch.tensor(T), torch.tensor(float(T))])
def test_a_timestep_is_any_number(t):
    assert torch.equal(STEP.step(STACK, t, X, noise=NOISE), STEP.step(STACK, T, X, noise=NOISE))


@pytest.mark.parametrize("kind", ["tensor", "array"])
@pytest.mark.parametrize("name", ["prediction", "noise", "x"])
def test_a_result_over_what_is_read_is_refused(name, kind):
    memory = normal(8, *SHAPE)
    arguments = {"prediction": STACK, "x": X, "noise": NOISE, name: memory[:4] if name == "prediction" else memory[:2]}
    out = memory[1:3]
    if kind == "array":
        arguments, out = {key: value.numpy() for key, value in arguments.items()}, out.numpy()
    with pytest.raises(ValueError, match=rf"MultiViewStep\.step: out must share no memory with {name}"):
        STEP.step(t=T, **arguments, out=out)
    beside = memory[6:] if kind == "tensor" else memory[6:].numpy()
    assert STEP.step(t=T, **arguments, out=beside) is beside


@pytest.mark.parametrize("eta", ["1", None, [0.5]])
def test_eta_is_a_number(eta):
    with pytest.raises(TypeError, match="MultiViewStep: eta must be a number"):
        gf.MultiViewStep(VIEWS, diffusers.DDIMScheduler(), None, steps=3, eta=eta)


def test_eta_is_ddims():
    with pytest.raises(ValueError, match="eta must be"):
        gf.MultiViewStep(VIEWS, diffusers.DDIMScheduler(), None, steps=3, eta=float("nan"))
    with pytest.raises(ValueError, match=r"eta must be 0 but for DDIM, got 0.5 for DDPMScheduler"):
        gf.MultiViewStep(VIEWS, diffusers.DDPMScheduler(), None, steps=3, eta=0.5)


@pytest.mark.parametrize(("start", "error"), [(5, ValueError), (-1, ValueError), (1.5, TypeError), (True, TypeError)])
def test_start_is_the_number_of_a_step(start, error):
    with pytest.raises(error, match=r"MultiViewStep\.sample: start must be"):
        STEP.sample(lambda stack, t: stack, X, start=start)


def test_a_guidance_that_changes_is_not_kept():
    sampler = stepper("DDIMScheduler", guidance=2.0)
    stack = normal(8, *SHAPE)
    first = sampler.step(stack, T, X)
    sampler.guidance = 5.0
    assert torch.equal(sampler.step(stack, T, X), stepper("DDIMScheduler", guidance=5.0).step(stack, T, X))
    assert not torch.equal(sampler.step(stack, T, X), first)
