"""Every public system function with arguments of every kind: used rightly, or refused by a sentence with its name."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import genimg_fast as gf

RNG = np.random.default_rng(0)
GREY = RNG.random((32, 40), dtype=np.float32)
COLOUR = RNG.random((32, 40, 3), dtype=np.float32)
BYTES = RNG.integers(0, 256, (32, 40), dtype=np.uint8)

PACKAGES = {"textures": gf.textures, "style": gf.style, "features": gf.features, "plot": gf.plot}


def small_filters(channels: int = 1) -> Any:
    return gf.features.random(sizes=(3,), n_filters=4, levels=1, channels=channels)


MAPS = torch.from_numpy(RNG.random((3, 6, 6), dtype=np.float32))
QUICK = {"n_iter": 1, "seed": 0, "progress": False}

# The smallest call of each function, and which of its arguments are pictures, of any unit or where white is 1.
CALLS: dict[str, dict[str, Any]] = {
    "textures.heeger_bergen": {"image": GREY, **QUICK},
    "textures.portilla_simoncelli": {"image": GREY, "n_scales": 1, "n_orientations": 2, **QUICK},
    "textures.cnn_texture": {"image": GREY, "features": small_filters(), "scales": 1, **QUICK},
    "textures.compare": {"a": GREY, "b": GREY[::-1], "n_scales": 1, "n_orientations": 1, "spatial_corr_width": 1},
    "textures.PortillaSimoncelli": {"image_shape": (32, 40), "n_scales": 1, "n_orientations": 2},
    "style.transfer": {"content": GREY, "style": GREY[::-1], "features": small_filters(), "scales": 1, **QUICK},
    "style.adain": {"content": MAPS, "style": MAPS},
    "style.wct": {"content": MAPS, "style": MAPS},
    "features.random": {"sizes": (3,), "n_filters": 2, "levels": 1},
    "features.vgg16": {},
    "features.vgg19": {},
    "features.hed_vgg16": {"weights": "no such file"},
    "plot.histograms": {"values": GREY, "reference": GREY},
    "plot.pyramid": {"coeffs": {"residual_highpass": GREY}},
    "plot.synthesis": {"exemplar": GREY, "result": GREY},
    "plot.transfer": {"content": GREY, "styles": [GREY], "result": GREY},
}
ANY_UNIT = {
    "textures.heeger_bergen": ["image", "palette"],
    "textures.portilla_simoncelli": ["image", "canvas"],
    "textures.compare": ["a", "b"],
}
WHITE_IS_ONE = {
    "textures.cnn_texture": ["image"],
    "style.transfer": ["content", "style"],
    "features.random": ["normalize"],
    "plot.synthesis": ["exemplar"],
    "plot.transfer": ["content"],
}
PICTURES = [(name, argument) for table in (ANY_UNIT, WHITE_IS_ONE) for name in table for argument in table[name]]
NO_CALL = {
    "DescentStep",
    "FamilyDifference",
    "Field",
    "Network",
    "ParametricStep",
    "Stage",
    "Step",
    "TextureStatistics",
}


def function_of(name: str) -> Callable[..., Any]:
    package, _, attribute = name.partition(".")
    return getattr(PACKAGES[package], attribute)


def shown(name: str) -> str:
    """Return how errors of a function begin."""
    return name if name.startswith("plot.") else name.partition(".")[2]


def call(name: str, **arguments: Any) -> Any:
    given = {**CALLS[name], **arguments}
    if "canvas" in arguments and "mask" not in given:
        given["mask"] = np.zeros((32, 40))
    return function_of(name)(**given)


def refusal(name: str, error: type[Exception] | tuple[type[Exception], ...], **arguments: Any) -> str:
    with pytest.raises(error) as caught:
        call(name, **arguments)
    message = str(caught.value)
    assert message.startswith(f"{shown(name)}: "), message
    return message


def test_every_public_function_is_walked() -> None:
    public = {f"{short}.{name}" for short, package in PACKAGES.items() for name in package.__all__}
    callables = {name for name in public if callable(function_of(name)) and name.partition(".")[2] not in NO_CALL}
    assert callables == set(CALLS)


# ---- Pictures that are none -----------------------------------------------------------------------------------------


def masked(values: np.ndarray) -> np.ma.MaskedArray:
    return np.ma.masked_array(values, np.arange(values.size).reshape(values.shape) == 5)


class NotYetRead:
    """Like a picture of Pillow."""

    __array_interface__ = GREY.__array_interface__


NO_PICTURES: dict[str, tuple[Any, type[Exception], str]] = {
    "text": ("a.png", TypeError, "numpy.ndarray or a torch.Tensor, got str"),
    "number": (1.0, TypeError, "got float"),
    "Pillow's": (NotYetRead(), TypeError, "numpy.asarray"),
    "objects": (GREY.astype(object), TypeError, "real floats or integers, got dtype object"),
    "complex": (GREY.astype(complex), TypeError, "real floats or integers, got dtype complex"),
    "booleans": (GREY > 0.5, TypeError, "real floats or integers, got dtype bool"),
    "masked": (masked(GREY), TypeError, "masked array"),
    "sparse": (torch.from_numpy(GREY).to_sparse(), TypeError, "dense tensor with values, got one that is sparse"),
    "meta": (torch.zeros(32, 40, device="meta"), TypeError, "on the device meta"),
    "nested": (torch.nested.nested_tensor([torch.zeros(8, 8)]), TypeError, "nested"),
    "float8": (torch.from_numpy(GREY).to(torch.float8_e4m3fn), TypeError, "got dtype torch.float8"),
    "one axis": (GREY[0], ValueError, "shape"),
    "small": (GREY[:4, :4], ValueError, "at least 8x8 pixels"),
    "NaN": (GREY * np.nan, ValueError, "finite everywhere"),
    "channels first": (np.moveaxis(COLOUR, -1, 0), ValueError, ".transpose(1, 2, 0)"),
    "channels last": (torch.from_numpy(COLOUR), ValueError, ".permute(2, 0, 1)"),
}
NOT_IN_PLOTS = {"small", "NaN", "one axis"}  # they draw what there is; or have a message of their own


@pytest.mark.parametrize("what", NO_PICTURES)
@pytest.mark.parametrize(("name", "argument"), PICTURES)
def test_what_is_no_picture_is_refused(name: str, argument: str, what: str) -> None:
    if name.startswith("plot.") and what in NOT_IN_PLOTS:
        return
    if (argument, what) == ("canvas", "masked"):
        return  # its masked values are what is to be filled
    value, error, words = NO_PICTURES[what]
    others = {}
    if isinstance(value, torch.Tensor) and name in ANY_UNIT:
        # The other pictures of the call are of the same kind, so that nothing else is wrong.
        others = {key: torch.from_numpy(GREY) for key in ("image", "a", "b") if key in CALLS[name]}
    message = refusal(name, error, **{**others, argument: value})
    assert f"{argument} must" in message or f"{argument} is a masked" in message
    assert words in message


# ---- Pictures that NumPy can make -----------------------------------------------------------------------------------


class Subclass(np.ndarray):
    pass


def unaligned(values: np.ndarray) -> np.ndarray:
    record = np.zeros(values.shape, np.dtype([("flag", np.uint8), ("value", values.dtype)]))
    record["value"] = values
    return record["value"]


SAME: dict[str, Callable[[np.ndarray], Any]] = {
    "big-endian": lambda x: x.astype(x.dtype.newbyteorder(">")),
    "unaligned": unaligned,
    "subclass": lambda x: x.view(Subclass),
    "nothing masked": np.ma.masked_array,
    "columns": np.asfortranarray,
    "reversed": lambda x: x[::-1].copy()[::-1],
}


def equal(one: Any, other: Any) -> bool:
    if isinstance(one, torch.nn.Module):
        return all(map(torch.equal, one.state_dict().values(), other.state_dict().values()))
    return one == other if isinstance(one, dict) else np.array_equal(one, other)


@pytest.mark.parametrize("same", SAME)
@pytest.mark.parametrize(("name", "argument"), [one for one in PICTURES if not one[0].startswith("plot.")])
def test_every_array_of_the_same_values_counts_alike(name: str, argument: str, same: str) -> None:
    others = {key: GREY for key in ("image", "a", "b", "content") if key in CALLS[name]}
    expected = call(name, **{**others, argument: GREY[::-1].copy()})
    given = SAME[same](GREY[::-1].copy())
    before = np.array(given)
    assert equal(call(name, **{**others, argument: given}), expected)
    assert np.array_equal(given, before)


# ---- Where black and white lie --------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["int8", "int16", "int32", "int64", "uint32", "uint64"])
@pytest.mark.parametrize("as_tensor", [False, True], ids=["array", "tensor"])
@pytest.mark.parametrize(("name", "argument"), [(name, one) for name in WHITE_IS_ONE for one in WHITE_IS_ONE[name]])
def test_integers_without_a_white_are_refused(name: str, argument: str, as_tensor: bool, dtype: str) -> None:
    picture: Any = (BYTES // 2).astype(dtype)
    hint = f"give {argument}.to(torch.uint8)" if as_tensor else f"give {argument}.astype(numpy.uint8)"
    message = refusal(name, TypeError, **{argument: torch.from_numpy(picture) if as_tensor else picture})
    assert f"{argument} must hold uint8, uint16 or floats in [0, 1], got {dtype} from 0 to 127" in message
    assert hint in message


@pytest.mark.parametrize(("name", "argument"), [(name, one) for name in WHITE_IS_ONE for one in WHITE_IS_ONE[name]])
def test_floats_far_outside_the_unit_range_are_refused(name: str, argument: str) -> None:
    assert f"{argument} must lie in [0, 1], got float32 from" in refusal(name, ValueError, **{argument: 255 * GREY})
    assert f"give {argument} / 255" in refusal(name, ValueError, **{argument: 255 * GREY})
    assert f"give ({argument} + 1) / 2" in refusal(name, ValueError, **{argument: 2 * GREY - 1})
    call(name, **{argument: 1.4 * GREY - 0.2})


@pytest.mark.parametrize("method", ["projection", "gradient", "polished"])
@pytest.mark.parametrize("dtype", ["int16", "int32", "int64", "uint64", ">i4"])
def test_integers_of_any_type_are_as_good_as_bytes_to_portilla_simoncelli(dtype: str, method: str) -> None:
    make = {"n_scales": 1, "n_orientations": 2, "n_polish": 1, "method": method, **QUICK}
    found = gf.textures.portilla_simoncelli(BYTES.astype(dtype), **make)
    assert found.dtype == np.dtype(dtype)
    assert np.array_equal(found, gf.textures.portilla_simoncelli(BYTES, **make))


@pytest.mark.parametrize("dtype", ["int16", "int32", "int64", "uint64", ">i4"])
def test_integers_of_any_type_are_as_good_as_bytes_to_the_others(dtype: str) -> None:
    image = BYTES.astype(dtype)
    assert np.array_equal(gf.textures.heeger_bergen(image, **QUICK), gf.textures.heeger_bergen(BYTES, **QUICK))
    tensor = torch.from_numpy(BYTES.astype(np.dtype(dtype).newbyteorder("=")))
    assert np.array_equal(gf.textures.heeger_bergen(tensor, **QUICK), gf.textures.heeger_bergen(BYTES, **QUICK))
    options = {"n_scales": 1, "n_orientations": 1}
    assert gf.textures.compare(image, image.T, **options) == gf.textures.compare(BYTES, BYTES.T, **options)


def test_the_largest_integers_do_not_wrap() -> None:
    image = np.array([[0, np.iinfo(np.int64).max]]).repeat(16, 1).repeat(16, 0)
    result = gf.textures.heeger_bergen(image, **QUICK)
    assert set(np.unique(result)) == {0, np.iinfo(np.int64).max - 1023}
    tensor = gf.textures.heeger_bergen(torch.from_numpy(image.astype(np.int32) // 2), **QUICK)
    assert int(tensor.min()) >= -1


@pytest.mark.parametrize("dtype", ["int32", "int64", "uint32"])
def test_integers_that_float32_does_not_hold_keep_their_values(dtype: str) -> None:
    image = RNG.integers(2**30, 2**31, (32, 40)).astype(dtype)
    for given in (image, torch.from_numpy(image)):
        result = np.asarray(gf.textures.heeger_bergen(given, **QUICK))
        assert np.array_equal(np.sort(result, None), np.sort(image, None))


def test_warnings_point_at_the_caller() -> None:
    def interrupt(step: Any) -> None:
        if step.iteration:
            raise KeyboardInterrupt

    for name in ("heeger_bergen", "portilla_simoncelli", "cnn_texture"):
        for options in ({}, {"method": "gradient"}) if name == "portilla_simoncelli" else ({},):
            with pytest.warns(RuntimeWarning, match="stopped by Ctrl-C") as caught:
                getattr(gf.textures, name)(GREY, progress=False, callback=interrupt, **options)
            assert caught[0].filename == __file__


@pytest.mark.parametrize("name", ["textures.portilla_simoncelli", "style.transfer"])
def test_masks_of_every_type_mean_the_same(name: str) -> None:
    mask = np.zeros((32, 40), bool)
    mask[:16] = True
    fixed = {"canvas": GREY[::-1].copy()} if "portilla" in name else {"init": "noise"}

    def made(values: Any) -> Any:
        wrapped = {"mask": values} if "portilla" in name else {"masks": [values], "style": [GREY[::-1].copy()]}
        return call(name, **fixed, **wrapped)

    expected = made(mask)
    for values in (mask.astype(np.uint8), mask * np.uint8(255), mask.astype(int), mask * np.uint16(65535)):
        assert np.array_equal(made(values), expected)
    for values in (mask.astype(np.float32), torch.from_numpy(mask), mask.astype(">f8"), mask[..., None]):
        assert np.array_equal(made(values), expected)
    argument = "mask" if "portilla" in name else r"masks\[0\]"
    with pytest.raises(TypeError, match=rf"{argument} must hold .* got int64 from 0 to 255"):
        made(mask * 255)
    with pytest.raises(ValueError, match=rf"{argument} must lie in \[0, 1\]"):
        made(mask * 255.0)
    with pytest.raises(TypeError, match=rf"{argument} is a masked array"):
        made(masked(mask.astype(float)))


def test_masked_values_of_a_canvas_are_filled() -> None:
    options = {"n_scales": 1, "n_orientations": 2, **QUICK}
    hole = np.zeros((32, 40), bool)
    hole[8:20, 10:30] = True
    canvas = np.where(hole, np.nan, GREY)
    result = gf.textures.portilla_simoncelli(GREY, canvas=np.ma.masked_array(canvas, hole), **options)
    assert np.array_equal(result[~hole], GREY[~hole])
    assert np.isfinite(result).all()
    half = gf.textures.portilla_simoncelli(
        GREY, canvas=np.ma.masked_array(canvas, hole), mask=np.arange(40) * np.ones((32, 1)) < 20, **options
    )
    kept = ~hole & (np.arange(40) < 20)
    assert np.array_equal(half[kept], GREY[kept])
    assert not np.array_equal(half[:, 30:], GREY[:, 30:])


# ---- Grey and colour, arrays and tensors ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["textures.heeger_bergen", "textures.portilla_simoncelli", "textures.cnn_texture"])
@pytest.mark.parametrize("grey_first", [False, True])
def test_grey_exemplars_count_as_equal_channels(name: str, grey_first: bool) -> None:
    options = {"features": small_filters(3)} if "cnn" in name else {}
    order = slice(None, None, 1 if grey_first else -1)
    found = call(name, image=[GREY, COLOUR][order], **options)
    assert found.shape == (32, 40, 3)
    assert np.array_equal(found, call(name, image=[np.repeat(GREY[..., None], 3, -1), COLOUR][order], **options))
    tensors = [torch.from_numpy(GREY), torch.from_numpy(COLOUR).permute(2, 0, 1)][order]
    assert np.array_equal(call(name, image=tensors, **options).permute(1, 2, 0), found)


def test_grey_palettes_canvases_and_comparisons() -> None:
    grey = np.repeat(GREY[..., None], 3, -1)
    assert np.array_equal(
        call("textures.heeger_bergen", image=COLOUR, palette=GREY),
        call("textures.heeger_bergen", image=COLOUR, palette=grey),
    )
    for image, canvas in ((COLOUR, GREY), (GREY, COLOUR)):
        alike = [one if one.ndim == 3 else grey for one in (image, canvas)]
        assert np.array_equal(
            call("textures.portilla_simoncelli", image=image, canvas=canvas, mask=np.eye(32, 40)),
            call("textures.portilla_simoncelli", image=alike[0], canvas=alike[1], mask=np.eye(32, 40)),
        )
    assert call("textures.compare", a=GREY, b=COLOUR) == call("textures.compare", a=grey, b=COLOUR)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("textures.heeger_bergen", ("image", "palette")),
        ("textures.portilla_simoncelli", ("image", "canvas")),
        ("textures.compare", ("a", "b")),
        ("style.adain", ("content", "style")),
        ("style.wct", ("content", "style")),
    ],
)
def test_arrays_and_tensors_do_not_mix(name: str, arguments: tuple[str, str]) -> None:
    one, other = arguments
    for first, second in ((GREY, torch.from_numpy(GREY)), (torch.from_numpy(GREY), GREY)):
        assert other in refusal(name, TypeError, **{one: first, other: second})
    for name in ("textures.heeger_bergen", "textures.portilla_simoncelli", "textures.cnn_texture"):
        assert "image[1]" in refusal(name, TypeError, image=[GREY, torch.from_numpy(GREY)])


def test_a_style_may_be_of_another_kind() -> None:
    expected = call("style.transfer")
    tensor = call("style.transfer", content=torch.from_numpy(GREY))
    assert np.array_equal(tensor.numpy(), expected)


# ---- All other arguments --------------------------------------------------------------------------------------------

NONSENSE: dict[str, Any] = {
    "an object": object(),
    "text": "nonsense",
    "NaN": float("nan"),
    "-1": -1,
    "0.5": 0.5,
    "an empty list": [],
    "a list of text": ["nonsense"],
    "None in a list": [None],
    "a dict": {"nonsense": 1},
    "an array": np.arange(3.0),
    "a tensor": torch.ones(2, 2),
    "a complex number": 1j,
}


def arguments_of(name: str) -> list[str]:
    return [argument for argument in inspect.signature(function_of(name)).parameters if argument != "self"]


@pytest.mark.parametrize("name", CALLS)
def test_nonsense_is_refused_in_the_function_s_name(name: str) -> None:
    arguments = set(arguments_of(name)) - {"group", "progress", "download"}  # another library's; truth values
    for argument, what in itertools.product(sorted(arguments), NONSENSE):
        try:
            call(name, **{argument: NONSENSE[what]})
        except FileNotFoundError:  # weights
            continue
        except (TypeError, ValueError) as error:
            begins = str(error).startswith(f"{shown(name)}: ")
            message = repr(error)
        else:
            continue
        assert begins, f"{argument}={what}: {message}"
