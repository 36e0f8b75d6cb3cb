"""Every public operation, walked with what it must use rightly or refuse by name.

The walk is made from `EXAMPLES`, one valid call for each public name; a name without one fails. Names of systems, which
take pictures and not arrays, stand in `ELSEWHERE` until they have examples.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import genimg_fast as gf

RNG = np.random.default_rng(0)
IMAGE, REFERENCE = RNG.random((16, 16)).astype(np.float32), RNG.random((16, 16)).astype(np.float32)
MAPS = RNG.random((2, 3, 6, 5)).astype(np.float32)
VIEWS = gf.Views(["identity", "rotate_180"], (3, 8, 8))
PICTURES = RNG.random((1, 3, 8, 8)).astype(np.float32)
FREQ, SPACE = gf.SteerablePyramidFreq((16, 16)), gf.SteerablePyramidSpace((16, 16))

# What a call is made of: the function, its arguments, and the names under which errors may speak of them.
Example = tuple[Callable[..., Any], dict[str, Any]]
EXAMPLES: dict[str, Example] = {
    "match_histograms": (gf.match_histograms, {"image": IMAGE, "reference": REFERENCE}),
    "HistogramReference": (gf.HistogramReference, {"reference": REFERENCE}),
    "HistogramReference.match": (gf.HistogramReference(REFERENCE).match, {"image": IMAGE}),
    "sliced_wasserstein_loss": (gf.sliced_wasserstein_loss, {"x": MAPS, "y": MAPS * 2, "n_projections": 4, "seed": 0}),
    "gram_matrix": (gf.gram_matrix, {"features": MAPS, "mask": MAPS[0, 0], "other": MAPS + 1}),
    "gram_loss": (gf.gram_loss, {"features": MAPS, "target_gram": gf.gram_matrix(MAPS)[0], "mask": MAPS[0, 0]}),
    "moments": (gf.moments, {"features": MAPS, "mask": MAPS[0, 0]}),
    "moments_loss": (gf.moments_loss, {"features": MAPS, "target": tuple(gf.moments(MAPS[0])), "mask": MAPS[0, 0]}),
    "apply_views": (gf.apply_views, {"x": PICTURES, "views": VIEWS, "copies": 2}),
    "reduce_views": (gf.reduce_views, {"prediction": np.concatenate([PICTURES] * 4), "views": VIEWS, "guidance": 2.0}),
    "SteerablePyramidFreq": (FREQ, {"x": IMAGE}),
    "SteerablePyramidFreq.recon_pyr": (FREQ.recon_pyr, {"pyr_coeffs": FREQ(IMAGE)}),
    "SteerablePyramidSpace": (SPACE, {"x": IMAGE}),
    "SteerablePyramidSpace.recon_pyr": (SPACE.recon_pyr, {"pyr_coeffs": SPACE(IMAGE)}),
}
# Settings, containers, catalogues, and what others walk.
ELSEWHERE = {
    *("Moments", "MultiViewStep", "Permute", "View", "Views", "build_info", "check_view", "get_num_threads", "view"),
    *("set_num_threads", "diffusion", "distributed", "features", "nn", "plot", "style", "textures", "views"),
}
ARRAYS = [(name, key) for name, (_, options) in EXAMPLES.items() for key, x in options.items() if type(x) is np.ndarray]


def test_every_public_name_is_walked() -> None:
    assert set(gf.__all__) == {name for name in EXAMPLES if "." not in name} | ELSEWHERE


def tensors(x: Any) -> Any:
    if isinstance(x, np.ndarray):
        return torch.from_numpy(x.copy())
    if isinstance(x, dict):
        return type(x)((key, tensors(one)) for key, one in x.items())
    return tuple(map(tensors, x)) if isinstance(x, tuple) else x


def call(name: str, **changes: Any) -> Any:
    function, options = EXAMPLES[name]
    return function(**(options | changes))


def flat(x: Any) -> list[np.ndarray]:
    if isinstance(x, gf.HistogramReference):
        return flat(x.match(IMAGE))
    if isinstance(x, dict):
        return [y for one in x.values() for y in flat(one)]
    return [y for one in x for y in flat(one)] if isinstance(x, tuple) else [np.asarray(x)]


def refused(name: str, key: str, value: Any) -> None:
    with pytest.raises((TypeError, ValueError)) as caught:
        call(name, **{key: value})
    message = str(caught.value)
    assert message.startswith(f"{name}:"), message
    # A list in place of an array makes the other arguments wrong: they must be lists too.
    assert key in message or "it goes with" in message, message
    assert len(message) < 400, message


def unaligned(x: np.ndarray) -> np.ndarray:
    record = np.zeros(x.shape, np.dtype([("flag", "u1"), ("value", x.dtype)]))
    record["value"] = x
    return record["value"]


def unaligned_whole(x: np.ndarray) -> np.ndarray:
    return np.frombuffer(b"\0" + x.tobytes(), x.dtype, offset=1).reshape(x.shape)


VARIANTS = {
    "big-endian": lambda x: x.astype(x.dtype.newbyteorder(">")),
    "strided": lambda x: np.repeat(x, 2, -1)[..., ::2],
    "reversed": lambda x: x[..., ::-1].copy()[..., ::-1],
    "fortran": np.asfortranarray,
    "record": unaligned,
    "unaligned": unaligned_whole,
    "subclass": lambda x: x.view(type("Subclass", (np.ndarray,), {})),
    "masked array without masked values": np.ma.array,
    "read-only": lambda x: np.broadcast_to(x, x.shape),
}


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize(("name", "key"), ARRAYS)
def test_layouts_and_byte_orders_do_not_matter(name: str, key: str, variant: str) -> None:
    want = flat(call(name))
    got = flat(call(name, **{key: VARIANTS[variant](EXAMPLES[name][1][key])}))
    for x, y in zip(got, want, strict=True):
        np.testing.assert_allclose(x, y, rtol=2e-6, atol=1e-6)


@pytest.mark.parametrize("name", ["match_histograms", "SteerablePyramidFreq.recon_pyr"])
def test_foreign_byte_order_that_is_shared(name: str) -> None:
    foreign = np.dtype(">f4")
    if name == "match_histograms":
        got = gf.match_histograms(IMAGE.astype(foreign), REFERENCE.astype(foreign))
        np.testing.assert_array_equal(got, gf.match_histograms(IMAGE, REFERENCE))
    else:
        coefficients = {key: c.astype(foreign) for key, c in FREQ(IMAGE).items()}
        np.testing.assert_allclose(FREQ.recon_pyr(coefficients), IMAGE, atol=1e-5)


DTYPES = ("complex128", "object", "datetime64[s]", "U1", np.dtype([("a", "f4")]))
WRONG = [None, 1.5, "x", [1.0], object(), {"a": 1}]


@pytest.mark.parametrize(("name", "key"), ARRAYS)
def test_wrong_kinds_and_dtypes_are_refused_by_name(name: str, key: str) -> None:
    optional = key in ("mask", "other")
    for value in WRONG[1:] if optional else WRONG:
        refused(name, key, value)
    for dtype in DTYPES:
        refused(name, key, np.zeros(EXAMPLES[name][1][key].shape, dtype))
    if "istogram" not in name:  # which takes any shape
        with pytest.raises(ValueError, match=f"^{name}: .* got"):
            call(name, **{key: np.zeros((3, 1, 2, 7, 9), np.float32)})


@pytest.mark.parametrize(("name", "key"), ARRAYS)
def test_arrays_and_tensors_do_not_mix(name: str, key: str) -> None:
    function, options = EXAMPLES[name]
    if sum(isinstance(x, (np.ndarray, dict, tuple)) for x in options.values()) + name.endswith(".match") > 1:
        with pytest.raises(TypeError, match=f"^{name}: "):
            function(**(options | {key: tensors(options[key])}))


@pytest.mark.parametrize("name", [name for name in EXAMPLES if name.endswith("recon_pyr")])
def test_coefficients_do_not_mix(name: str) -> None:
    coefficients = EXAMPLES[name][1]["pyr_coeffs"]
    for key in coefficients:
        with pytest.raises(TypeError, match=f"^{name}: .*pyr_coeffs"):
            call(name, pyr_coeffs=coefficients | {key: tensors(coefficients[key])})


@pytest.mark.parametrize(("name", "key"), ARRAYS)
def test_tensors_without_plain_memory_are_refused_by_name(name: str, key: str) -> None:
    if name.endswith(".match"):
        return
    function, options = EXAMPLES[name]
    given = {one: tensors(x) for one, x in options.items()}
    x = given[key]
    nested = torch.nested.nested_tensor([torch.zeros(2, 3), torch.zeros(1, 3)])
    for value in (x.to_sparse(), x.to("meta"), nested, x.to(torch.float8_e4m3fn), x.to(torch.complex64)):
        with pytest.raises((TypeError, ValueError), match=f"^{name}: ") as caught:
            function(**(given | {key: value}))
        assert key in str(caught.value)


HUGE = 10**30
OPTIONS = [
    ("match_histograms", "method", [["rank"], "Rank", 1, np.array(["rank", "rank"])]),
    ("match_histograms", "source_gradient", [["none"], None]),
    ("match_histograms", "channel_axis", [HUGE, 1.0, True, "0"]),
    ("match_histograms", "batch_axes", [0, "01", [HUGE], [True], [0.5]]),
    ("sliced_wasserstein_loss", "n_projections", [HUGE, 0, 1.5, True, None]),
    ("sliced_wasserstein_loss", "seed", [HUGE, 1.5, True, "0"]),
    ("sliced_wasserstein_loss", "p", [0.5, "2", 10**400, None, float("nan")]),
    ("gram_matrix", "normalization", [["hw"], {}, None, "wh"]),
    ("gram_matrix", "mask_normalization", [["sum"], "x"]),
    ("gram_matrix", "shift", [(1.5, 0), (HUGE, 0), (True, 0), 1, (1, 2, 3), np.array([1.0, 0.0])]),
    ("gram_matrix", "channel_axis", [HUGE, 1.0, True]),
    ("gram_matrix", "spatial_dims", [HUGE, 2.0, True, "2"]),
    ("gram_matrix", "center", ["no", None, np.zeros(2)]),
    ("gram_loss", "reduction", [["mean"], None]),
    ("gram_loss", "normalization", [["hw"]]),
    ("gram_loss", "weights", ["1", [None], 1.0, [float("nan")]]),
    ("gram_loss", "area", ["x", 0, float("inf")]),
    ("moments_loss", "distance", [["w2"], 1]),
    ("moments_loss", "reduction", [["mean"], 1]),
    ("moments_loss", "epsilon", ["x", -1]),
    ("apply_views", "views", [None, "rotate_180", [1]]),
    ("apply_views", "copies", [HUGE, 0, 1.5, True, None]),
    ("reduce_views", "views", [None, ["rotate_180"]]),
    ("reduce_views", "guidance", [10**400, "7", [1.0], True, float("nan"), np.zeros((2, 2))]),
    ("reduce_views", "weights", [[1, 2, 3], "1", [10**400, 1], [True, 1]]),
    ("reduce_views", "reduce", [["mean"], None]),
    ("reduce_views", "step", [1.5, True]),
    ("SteerablePyramidFreq", "scales", [HUGE, ["x"], [[0]], True]),
    ("SteerablePyramidFreq.recon_pyr", "levels", [HUGE, ["x"], [[0]], True]),
    ("SteerablePyramidFreq.recon_pyr", "bands", [HUGE, "x", [1.5], True]),
    ("SteerablePyramidSpace.recon_pyr", "levels", [HUGE, "x", [[0]], True]),
    ("SteerablePyramidSpace.recon_pyr", "edge_type", [["zero"], 1]),
    ("SteerablePyramidSpace.recon_pyr", "order", [HUGE, 1.0, True]),
]


@pytest.mark.parametrize(("name", "key", "values"), OPTIONS, ids=lambda x: x if isinstance(x, str) else "")
def test_wrong_options_are_refused_by_name(name: str, key: str, values: list[Any]) -> None:
    for value in values:
        refused(name, key, value)


@pytest.mark.parametrize("pyramid", [gf.SteerablePyramidFreq, gf.SteerablePyramidSpace])
def test_pyramids_of_an_image_say_what_to_give(pyramid: type) -> None:
    for image in (np.zeros((64, 64)), torch.zeros(3, 64, 64)):
        with pytest.raises(
            (TypeError, ValueError), match=r"image_shape .*of shape .*; give image.shape\[-2:\]"
        ) as caught:
            pyramid(image)
        assert len(str(caught.value)) < 200
    for shape in ((HUGE, 64), (64,), "64", None):
        with pytest.raises((TypeError, ValueError), match=f"^{pyramid.__name__}: image_shape"):
            pyramid(shape)
    for options in ({"order": HUGE}, {"order": True}, {"height": HUGE}, {"height": True}):
        with pytest.raises((TypeError, ValueError), match=f"^{pyramid.__name__}: {next(iter(options))}"):
            pyramid((64, 64), **options)


def test_a_complex_pyramid_without_a_direction_is_no_tight_frame() -> None:
    with pytest.raises(ValueError, match="tight_frame must be False for complex pyramids of order 0"):
        gf.SteerablePyramidFreq((64, 64), order=0, is_complex=True, tight_frame=True)


def test_threads() -> None:
    for n in (HUGE, 0, 1.5, True, "2"):
        with pytest.raises((TypeError, ValueError), match="set_num_threads: n must"):
            gf.set_num_threads(n)  # type: ignore[arg-type]


def test_more_views_than_kernels_take() -> None:
    with pytest.raises(ValueError, match="64"):
        gf.Views(["identity"] * 65, (1, 4, 4))


# ---- Masked arrays --------------------------------------------------------------------------------------------------

HIDDEN = np.zeros(IMAGE.shape, bool)
HIDDEN[3:7, 2:9] = True


@pytest.mark.parametrize("method", ["value", "rank"])
def test_masked_arrays_are_matched_where_they_are_valid(method: Any) -> None:
    spoilt, other = (np.where(HIDDEN, 1e6, x) for x in (IMAGE, REFERENCE))
    image, reference = np.ma.array(spoilt, mask=HIDDEN), np.ma.array(other, mask=HIDDEN)
    want = gf.match_histograms(spoilt, other, mask=~HIDDEN, reference_mask=~HIDDEN, method=method)
    for got in (
        gf.match_histograms(image, reference, method=method),
        gf.HistogramReference(reference).match(image, method=method),
        gf.match_histograms([image], [reference], method=method, batch_axes=())[0],
    ):
        assert isinstance(got, np.ma.MaskedArray)
        np.testing.assert_array_equal(got.mask, HIDDEN)
        np.testing.assert_array_equal(got.data, want)
    more = IMAGE > 0.3
    got = gf.match_histograms(image, reference, mask=more, reference_mask=more, method=method)
    both = ~HIDDEN & more
    np.testing.assert_array_equal(
        got.data, gf.match_histograms(spoilt, other, mask=both, reference_mask=both, method=method)
    )


def test_masked_features_count_where_every_channel_is_valid() -> None:
    hidden = np.zeros(MAPS.shape, bool)
    hidden[:, 1, 2:4], hidden[:, 0, 0] = True, True
    spoilt = np.where(hidden, np.float32(1e6), MAPS)
    features, valid = np.ma.array(spoilt, mask=hidden), ~hidden.any(1)
    for options in ({}, {"mask_normalization": "sum"}, {"center": True}):
        np.testing.assert_allclose(
            gf.gram_matrix(features, **options), gf.gram_matrix(spoilt, mask=valid, **options), rtol=1e-6
        )
    weights = MAPS[0, 0]
    both = valid * weights
    np.testing.assert_allclose(gf.gram_matrix(features, mask=weights), gf.gram_matrix(spoilt, mask=both), rtol=1e-6)
    target, pair = gf.gram_matrix(MAPS), gf.moments(MAPS)
    np.testing.assert_allclose(gf.gram_loss(features, target), gf.gram_loss(spoilt, target, mask=valid), rtol=1e-6)
    for got, want in zip(gf.moments(features), gf.moments(spoilt, mask=valid), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-5)
    np.testing.assert_allclose(gf.moments_loss(features, pair), gf.moments_loss(spoilt, pair, mask=valid), rtol=1e-5)
    with pytest.raises(ValueError, match="masked arrays and shift"):
        gf.gram_matrix(features, shift=(1, 0))


@pytest.mark.parametrize(
    ("name", "key"),
    [pair for pair in ARRAYS if pair[0].startswith(("Steerable", "apply", "reduce", "sliced")) or pair[1] == "mask"],
)
def test_masked_arrays_are_refused_where_there_is_no_mask(name: str, key: str) -> None:
    x = EXAMPLES[name][1][key]
    refused(name, key, np.ma.array(x, mask=x > 0.5))


# ---- Where results go -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["array", "tensor"])
def test_outputs_that_overlap_their_inputs(kind: str) -> None:
    make: Any = (lambda x: torch.from_numpy(x.copy())) if kind == "tensor" else np.copy
    turned = gf.Views(["rotate_180"], (1, 16, 16))
    x = IMAGE[None, None]
    want = x[..., ::-1, ::-1]
    a, b = make(x), make(x)
    np.testing.assert_array_equal(gf.apply_views(a, turned, out=a), want)
    np.testing.assert_array_equal(gf.reduce_views(b, turned, None, out=b), want)
    long = make(RNG.random(512).astype(np.float32))
    first, second = long[:256].reshape(16, 16), long[100:356].reshape(16, 16)
    other = make(REFERENCE)
    want = gf.match_histograms(make(np.asarray(first).copy()), other)
    np.testing.assert_array_equal(gf.match_histograms(first, other, out=second), want)
    a = make(REFERENCE)
    want = gf.match_histograms(make(IMAGE), other, method="rank")
    np.testing.assert_array_equal(gf.match_histograms(make(IMAGE), a, method="rank", out=a), want)
    with pytest.raises(ValueError, match="match_histograms: out must hold entries that do not overlap"):
        gf.match_histograms([make(IMAGE)] * 2, [other] * 2, out=[second, second])
    pair = make(np.zeros((1, 1, 16, 16), np.float32))
    with pytest.raises(ValueError, match="reduce_views: out must be a pair that does not overlap"):
        gf.reduce_views(make(np.concatenate([x, x], 1)), turned, None, out=(pair, pair))


def test_outputs_that_cannot_be_written_are_refused() -> None:
    turned = gf.Views(["rotate_180"], (1, 16, 16))
    fixed = np.zeros((16, 16), np.float32)
    fixed.flags.writeable = False
    repeated = np.lib.stride_tricks.as_strided(np.zeros(16, np.float32), (16, 16), (0, 4))
    for out, message in ((fixed, "writeable"), (repeated, "memory of its own"), (np.ma.array(IMAGE), "plain array")):
        with pytest.raises((TypeError, ValueError), match=f"match_histograms: out must .*{message}"):
            gf.match_histograms(IMAGE, REFERENCE, out=out)
        with pytest.raises((TypeError, ValueError), match=f"apply_views: out must .*{message}"):
            gf.apply_views(IMAGE[None, None], turned, out=out[None, None])
    with pytest.raises(ValueError, match=r"match_histograms: out must .*memory of its own"):
        gf.match_histograms(torch.from_numpy(IMAGE), torch.from_numpy(REFERENCE), out=torch.zeros(16).expand(16, 16))
    big = np.zeros((16, 16), ">f4")
    assert gf.match_histograms(IMAGE, REFERENCE, out=big) is big
    np.testing.assert_array_equal(big, gf.match_histograms(IMAGE, REFERENCE))


# ---- Gram losses ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["array", "tensor"])
def test_layers_by_name(kind: str) -> None:
    make: Any = torch.from_numpy if kind == "tensor" else np.array
    layers = {"a": make(MAPS), "b": make(MAPS * 2)}
    targets = {"b": gf.gram_matrix(make(MAPS)), "a": gf.gram_matrix(make(MAPS + 1))}
    a, b = (gf.gram_loss(layers[key], targets[key]) for key in "ab")
    np.testing.assert_allclose(gf.gram_loss(layers, targets), a + b, rtol=1e-6)
    np.testing.assert_allclose(gf.gram_loss(layers, targets, weights={"b": 3, "a": 2}), 2 * a + 3 * b, rtol=1e-6)
    np.testing.assert_allclose(gf.gram_loss(layers, targets, weights=[2, 3]), 2 * a + 3 * b, rtol=1e-6)
    with pytest.raises(ValueError, match="gram_loss: target_gram must be a dict with the keys of features"):
        gf.gram_loss(layers, {"a": targets["a"]})
    pairs = {"b": gf.moments(make(MAPS)), "a": gf.moments(make(MAPS + 1))}
    a, b = (gf.moments_loss(layers[key], pairs[key]) for key in "ab")
    np.testing.assert_allclose(gf.moments_loss(layers, pairs, weights={"b": 3, "a": 2}), 2 * a + 3 * b, rtol=1e-6)


def test_a_loss_for_each_image() -> None:
    target = gf.gram_matrix(MAPS[:1] * 0.5)[0]
    each = gf.gram_loss(MAPS, target, reduction="none")
    want = [gf.gram_loss(x, target) for x in MAPS]
    np.testing.assert_allclose(each, want, rtol=1e-5)
    np.testing.assert_allclose(each.mean(), gf.gram_loss(MAPS, target), rtol=1e-5)
    assert gf.gram_loss(MAPS[None], target, reduction="none").shape == (1, 2)
    x, y = (torch.from_numpy(MAPS.copy()).requires_grad_() for _ in range(2))
    weights = torch.tensor([1.0, 3.0])
    losses = gf.gram_loss(x, torch.from_numpy(target), reduction="none")
    (losses * weights).sum().backward()
    sum(w * gf.gram_loss(z, torch.from_numpy(target)) for w, z in zip(weights, y, strict=True)).backward()
    torch.testing.assert_close(x.grad, y.grad)


def test_a_target_with_a_gradient_is_refused() -> None:
    x = torch.from_numpy(MAPS)
    target = gf.gram_matrix(x).requires_grad_()
    with pytest.raises(ValueError, match=r"gram_loss: target_gram must not require a gradient.*target_gram.detach\(\)"):
        gf.gram_loss(x, target)
    with torch.no_grad():
        assert gf.gram_loss(x, target) == 0


def test_gram_loss_module() -> None:
    x, y = torch.from_numpy(MAPS), torch.from_numpy(MAPS[:, :, ::2] * 2)
    want = gf.gram_loss(x, gf.gram_matrix(y, normalization="chw", center=True), normalization="chw", center=True)
    loss = gf.nn.GramLoss(y, normalization="chw", center=True)
    torch.testing.assert_close(loss(x), want)
    assert [tuple(buffer.shape) for buffer in loss.buffers()] == [(2, 3, 3)]
    assert loss.double().target_0.dtype == torch.float64
    again = gf.nn.GramLoss(torch.zeros_like(y), normalization="chw", center=True)
    again.load_state_dict(loss.state_dict())
    torch.testing.assert_close(again(x), want)
    layers = {"a": x, "b": y}
    torch.testing.assert_close(
        gf.nn.GramLoss({"a": y, "b": x})(layers),
        gf.gram_loss(layers, {"a": gf.gram_matrix(y), "b": gf.gram_matrix(x)}),
    )
    torch.testing.assert_close(
        gf.nn.GramLoss([gf.gram_matrix(y)], is_gram=True)([x]), gf.gram_loss(x, gf.gram_matrix(y))
    )
    with pytest.raises(TypeError, match="GramLoss: target must hold tensors"):
        gf.nn.GramLoss(MAPS)
