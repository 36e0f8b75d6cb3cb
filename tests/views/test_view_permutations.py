"""Signed permutations: the index maps against closed forms, inverses bit for bit, compositions, plans."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import genimg_fast as gf
from genimg_fast import _numpy
from genimg_fast.views._jigsaw import owners
from genimg_fast.views._plan import AFFINE, ROLL, STORED

SQUARE_ONLY = ("rotate_cw", "rotate_ccw", "transpose", "square_hinge")


def index(h: int, w: int) -> np.ndarray:
    return np.arange(h * w).reshape(h, w)


def skewed(h: int, w: int, slope: float = 1.5) -> np.ndarray:
    columns = [np.roll(index(h, w)[:, x], int(slope * (x - w // 2))) for x in range(w)]
    return np.stack(columns, axis=1)


def circled(h: int, w: int) -> np.ndarray:
    y, x = np.mgrid[:h, :w] + 0.5 - np.array([h, w])[:, None, None] / 2
    return np.where(x * x + y * y < (3 * min(h, w) / 8) ** 2, index(h, w)[::-1, ::-1], index(h, w))


def hinged(h: int, w: int) -> np.ndarray:
    side, out = h // 3, index(h, w)
    for i, j in itertools.product(range(3), range(3)):
        square = np.s_[i * side : (i + 1) * side, j * side : (j + 1) * side]
        out[square] = np.rot90(index(h, w)[square], -1 if (i + j) % 2 == 0 else 1)
    return out


# Where the values of each view come from.
SOURCES: dict[str, Callable[[int, int], np.ndarray]] = {
    "identity": index,
    "flip": lambda h, w: index(h, w)[::-1],
    "hflip": lambda h, w: index(h, w)[:, ::-1],
    "rotate_cw": lambda h, w: np.rot90(index(h, w), -1),
    "rotate_ccw": lambda h, w: np.rot90(index(h, w), 1),
    "rotate_180": lambda h, w: np.rot90(index(h, w), 2),
    "transpose": lambda h, w: index(h, w).T,
    "skew": skewed,
    "inner_circle": circled,
    "square_hinge": hinged,
    "negate": index,
}
SEEDED = ("jigsaw", "pixel_permute", "patch_permute")


def picture(shape: tuple[int, ...], dtype: type = np.float32) -> np.ndarray:
    x = np.random.default_rng(3).standard_normal(shape).astype(dtype)
    x.flat[:: max(1, x.size // 3)] = [np.nan, -0.0, np.inf, -np.inf][: len(x.flat[:: max(1, x.size // 3)])]
    return x


def view(name: str) -> gf.View:
    return gf.view(name, n_patches=1) if name == "patch_permute" else gf.view(name)


@st.composite
def cases(draw: st.DrawFn) -> tuple[list[str], tuple[int, int, int]]:
    """Names of views, and a shape that all of them have."""
    names = draw(st.lists(st.sampled_from([*SOURCES, *SEEDED]), min_size=1, max_size=4))
    h, w = draw(st.integers(1, 40)), draw(st.integers(1, 40))
    if any(name in SQUARE_ONLY for name in names):
        w = h
    return names, (draw(st.sampled_from((1, 3, 4))), h, w)


@given(case=cases(), dtype=st.sampled_from((np.float16, np.float32, np.float64)))
@settings(max_examples=150, deadline=None)
def test_inverse_is_exact_and_composition_is_one_after_the_other(case, dtype):
    names, shape = case
    x = picture((2, *shape), dtype)
    wanted = x
    for name in reversed(names):
        wanted = view(name).bind(shape).apply(wanted)
    composed = view(names[0])
    for name in names[1:]:
        composed = composed @ view(name)
    bound = composed.bind(shape)
    assert bound.row is not None  # one map
    assert bound.apply(x).tobytes() == wanted.tobytes()
    assert bound.inverse(wanted).tobytes() == x.tobytes()
    assert bound.apply(bound.inverse(x)).tobytes() == x.tobytes()


@given(name=st.sampled_from([*SOURCES]), h=st.integers(1, 40), w=st.integers(1, 40), c=st.sampled_from((1, 3, 4)))
@settings(max_examples=200, deadline=None)
def test_sources_are_those_of_the_closed_forms(name, h, w, c):
    w = h if name in SQUARE_ONLY else w
    wanted = SOURCES[name](h, w).ravel()
    views = gf.Views([name], (c, h, w))
    for plan, sources in ((views.forward_plan, wanted), (views.inverse_plan, np.argsort(wanted))):
        np.testing.assert_array_equal(_numpy.view_sources(plan.rows[0], plan.tables, h, w).ravel(), sources)
    x = np.random.default_rng(0).standard_normal((c, h, w))
    sign = -1 if name == "negate" else 1
    np.testing.assert_array_equal(views[0].apply(x), sign * x.reshape(c, -1)[:, wanted].reshape(c, h, w))


@given(h=st.integers(1, 70), w=st.integers(1, 70), n=st.integers(1, 7), seed=st.integers(0, 99))
@settings(max_examples=100, deadline=None)
def test_jigsaw_moves_whole_pieces_and_loses_nothing(h, w, n, seed):
    sources = gf.view("jigsaw", n_pieces=n, seed=seed)(index(h, w)[None].astype(float)).astype(int).ravel()
    np.testing.assert_array_equal(np.sort(sources), np.arange(h * w))
    owner = owners(h, w, n).ravel()
    for piece in range(owner.max() + 1):
        assert len(set(owner[sources[owner == piece]])) == 1
    outside = owner == -1
    np.testing.assert_array_equal(sources[outside], np.flatnonzero(outside))


def test_jigsaw_is_a_puzzle_at_1024():
    """Pieces have tabs, corners stay corners and borders borders; something moves; any size is a permutation."""
    side = 256
    owner = owners(1024, 1024, 4)
    assert np.bincount(owner.ravel()).size == 16
    in_own_cell = owner == np.arange(16).reshape(4, 4).repeat(side, 0).repeat(side, 1)
    assert 0.08 < 1 - in_own_cell.mean() < 0.12  # the tabs
    sources = gf.view("jigsaw").bind((1, 1024, 1024)).apply(index(1024, 1024)[None].astype(float)).astype(int)[0]
    assert np.array_equal(np.sort(sources.ravel()), np.arange(1 << 20))
    kind = np.add.outer(*[np.isin(np.arange(4), (0, 3)).astype(int)] * 2).ravel()  # 2: corner, 1: border, 0: inner
    came_from = owner.ravel()[sources.ravel()]
    np.testing.assert_array_equal(kind[came_from], kind[owner.ravel()])
    assert (came_from != owner.ravel()).mean() > 0.5


@pytest.mark.parametrize(("options", "h", "w"), [({"n_patches": 4}, 3, 5), ({"patch": 4}, 4, 4)])
def test_patch_permute_moves_rectangles(options, h, w):
    shape = (1, 4 * h, 4 * w)
    sources = gf.view("patch_permute", **options)(index(*shape[1:])[None].astype(float)).astype(int)[0]
    patches = sources.reshape(4, h, 4, w).swapaxes(1, 2).reshape(16, -1)
    from_grid = index(*shape[1:]).reshape(4, h, 4, w).swapaxes(1, 2).reshape(16, -1)
    order = [np.flatnonzero((from_grid == patch).all(1))[0] for patch in patches]
    assert sorted(order) == list(range(16))
    assert order != list(range(16))


def test_channels_are_permuted_and_signed():
    x = np.random.default_rng(0).standard_normal((2, 4, 5, 6))
    turned = gf.view("permute_channels", order=(2, 0, 3, 1)).bind((4, 5, 6))
    np.testing.assert_array_equal(turned.apply(x), x[:, [2, 0, 3, 1]])
    both = ("negate" @ gf.view("permute_channels", order=(2, 0, 3, 1)) @ "flip").bind((4, 5, 6))
    np.testing.assert_array_equal(both.apply(x), -x[:, [2, 0, 3, 1], ::-1])
    np.testing.assert_array_equal(both.inverse(both.apply(x)), x)
    np.testing.assert_array_equal(both.variance(-both.apply(x)), x)  # moved back, the sign left alone


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_negate_takes_all_channels_of_the_noise_and_none_of_the_variance(channels):
    x = np.random.default_rng(0).standard_normal((channels, 6, 6))
    bound = gf.view("negate").bind(x.shape)
    np.testing.assert_array_equal(bound.apply(x), -x)
    np.testing.assert_array_equal(bound.inverse(x), -x)
    np.testing.assert_array_equal(bound.variance(x), x)


def test_compositions_of_closed_forms_are_closed_forms():
    def kind(view: gf.View, shape: tuple[int, int, int] = (3, 9, 9)) -> int:
        row = view.bind(shape).row
        assert row is not None
        return row.kind

    dihedral = [name for name in SOURCES if name.startswith(("flip", "hflip", "rotate", "transpose"))]
    for a, b in itertools.product(dihedral, dihedral):
        assert kind(gf.view(a) @ b) == AFFINE
    assert kind(gf.view("skew") @ gf.view("skew", slope=2)) == ROLL
    assert kind(gf.view("skew") @ gf.view("skew", slope=-1.5)) == AFFINE  # nothing is left of it
    assert kind(gf.view("skew") @ "flip") == STORED
    assert kind("identity" @ gf.view("skew") @ "negate") == ROLL
    for name in ("inner_circle", "square_hinge"):
        assert kind(gf.view(name) @ "identity") == kind(gf.view(name))
    twice = (gf.view("inner_circle") @ "inner_circle").bind((3, 9, 9)).row
    assert twice is not None
    assert twice.is_identity


def test_compositions_are_equal_however_they_are_written():
    a, b, c = gf.view("flip"), gf.view("skew"), gf.Permute(np.arange(16)[::-1])
    assert (a @ b) @ c == a @ (b @ c)
    assert "flip" @ b == gf.view("flip @ skew") == gf.view("flip") @ "skew"
    assert a @ b != b @ a
    assert gf.view("skew", slope=1.5) == b != gf.view("skew", slope=2.5)
    assert gf.Permute(np.arange(16)) != c == gf.Permute(list(range(15, -1, -1)))
    assert len({a @ b, "flip" @ b, b}) == 2


def test_permute_gathers():
    sources = np.random.default_rng(0).permutation(35)
    x = np.random.default_rng(1).standard_normal((2, 3, 5, 7))
    for given_index in (sources, sources.reshape(5, 7), sources.tolist()):
        bound = gf.Permute(given_index).bind((3, 5, 7))
        np.testing.assert_array_equal(bound.apply(x), x.reshape(2, 3, 35)[..., sources].reshape(x.shape))
        np.testing.assert_array_equal(bound.inverse(bound.apply(x)), x)


@pytest.mark.parametrize(
    ("index", "error", "message"),
    [
        ([0, 1, 1, 3, 3], ValueError, "each of 0 to 4 once, got 1 at 1 and 2"),
        ([0, 1, 5, 3, 4], ValueError, "each of 0 to 4 once, got 5 at 2"),
        ([0, -1, 2], ValueError, "got -1 at 1"),
        ([0.0, 1.0], TypeError, "integers, got float64"),
        (np.zeros((1, 1, 1), int), ValueError, r"\(H, W\) or \(H W,\)"),
        (np.zeros(0, int), ValueError, r"got the shape \(0,\)"),
    ],
)
def test_permute_refuses_what_is_no_permutation(index, error, message):
    with pytest.raises(error, match=message):
        gf.Permute(index)
