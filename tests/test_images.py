"""Picture files: what is read, what is written, what is refused, and that nothing half-written stays."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from image_files import P3, SRGB, SRGB_CURVE, chunk, icc, icc_of_a_table, noise, packed, png, png_start, tags, tiff
from PIL import Image, ImageCms

from genimg_fast import images


def filtered_png(pixels: np.ndarray) -> bytes:
    """Encode (H, W, C) 16-bit pixels with the PNG specification's filters 0 to 4 in turn."""
    height, width, channels = pixels.shape
    rows = pixels.astype(">u2").reshape(height, -1).view(np.uint8).astype(int)
    above = np.vstack([np.zeros_like(rows[:1]), rows[:-1]])
    left, corner = (np.hstack([np.zeros((height, 2 * channels), int), x[:, : -2 * channels]]) for x in (rows, above))
    estimate = left + above - corner
    distances = np.stack([np.abs(estimate - x) for x in (left, above, corner)])
    paeth = np.choose(distances.argmin(axis=0), [left, above, corner])
    predictions = [np.zeros_like(rows), left, above, (left + above) // 2, paeth]
    data = b"".join(
        bytes([y % 5]) + ((rows[y] - predictions[y % 5][y]) % 256).astype(np.uint8).tobytes() for y in range(height)
    )
    start = png_start(height, width, 16, {1: 0, 2: 4, 3: 2, 4: 6}[channels])
    return start + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")


SHAPES = [(31, 17), (31, 17, 2), (31, 17, 3), (31, 17, 4)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("suffix", [".png", ".tiff", ".tif"])
def test_written_and_read_again_is_the_same(tmp_path: Path, suffix: str, dtype: type, shape: tuple[int, ...]) -> None:
    pixels = noise(dtype, *shape)
    path = tmp_path / f"picture{suffix}"
    images.write(path, pixels)
    read = images.read(path, alpha="keep")
    assert read.dtype == dtype
    np.testing.assert_array_equal(read, pixels)


@pytest.mark.parametrize("shape", [(40, 30), (40, 30, 3)])
def test_jpeg_is_close(tmp_path: Path, shape: tuple[int, ...]) -> None:
    ramp = np.linspace(0, 255, 30 * 40).reshape(40, 30).astype(np.uint8)
    ramp = np.stack([ramp] * 3, axis=-1) if len(shape) == 3 else ramp
    images.write(tmp_path / "picture.jpg", ramp)
    read = images.read(tmp_path / "picture.jpg")
    assert read.shape == shape
    np.testing.assert_allclose(read.astype(int), ramp, atol=3)


def test_16_bit_colour_png_is_read_by_another_decoder_too(tmp_path: Path) -> None:
    """Pillow keeps the high byte of 16-bit colours; an 8-bit look at our file must be those."""
    pixels = noise(np.uint16, 9, 8, 3)
    images.write(tmp_path / "p.png", pixels)
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "p.png")), pixels >> 8)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_16_bit_png_of_another_encoder(tmp_path: Path, channels: int) -> None:
    """Rows with the filters that we do not write ourselves: none, up, average and Paeth."""
    pixels = noise(np.uint16, 8, 6, channels)
    (tmp_path / "p.png").write_bytes(filtered_png(pixels))
    read = images.read(tmp_path / "p.png", alpha="keep")
    np.testing.assert_array_equal(read.reshape(pixels.shape), pixels)


def test_16_bit_grey_png_of_pillow(tmp_path: Path) -> None:
    pixels = noise(np.uint16, 9, 8)
    Image.fromarray(pixels).save(tmp_path / "p.png")
    np.testing.assert_array_equal(images.read(tmp_path / "p.png"), pixels)


@pytest.mark.parametrize("suffix", ["png", "tiff"])
def test_palette_becomes_colours(tmp_path: Path, suffix: str) -> None:
    picture = Image.fromarray(noise(np.uint8, 12, 10, 3)).quantize(16)
    picture.save(tmp_path / f"p.{suffix}")
    read = images.read(tmp_path / f"p.{suffix}")
    np.testing.assert_array_equal(read, np.asarray(picture.convert("RGB")))


def test_transparent_palette_has_alpha(tmp_path: Path) -> None:
    Image.fromarray(noise(np.uint8, 12, 10, 3)).quantize(16).save(tmp_path / "p.png", transparency=3)
    with pytest.raises(ValueError, match="alpha"):
        images.read(tmp_path / "p.png")
    assert images.read(tmp_path / "p.png", alpha="keep").shape == (12, 10, 4)


def test_one_bit_becomes_grey(tmp_path: Path) -> None:
    bits = noise(np.uint8, 16, 16) > 127
    Image.fromarray(bits).save(tmp_path / "p.png")
    np.testing.assert_array_equal(images.read(tmp_path / "p.png"), bits * np.uint8(255))


def test_camera_orientation_is_applied(tmp_path: Path) -> None:
    pixels = np.zeros((16, 32), np.uint8)
    pixels[:, 16:] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rotate by 270 degrees
    Image.fromarray(pixels).save(tmp_path / "p.jpg", exif=exif)
    read = images.read(tmp_path / "p.jpg")
    assert read.shape == (32, 16)
    assert read[:16].mean() < 5 < 250 < read[16:].mean()


@pytest.mark.parametrize("options", [{"planarconfig": "separate"}, {"compression": "zlib"}, {"bigtiff": True}])
def test_kinds_of_tiff(tmp_path: Path, options: dict) -> None:
    pixels = noise(np.uint16, 20, 18, 3)
    planes = np.moveaxis(pixels, -1, 0) if "planarconfig" in options else pixels
    tifffile.imwrite(tmp_path / "p.tif", planes, photometric="rgb", **options)
    np.testing.assert_array_equal(images.read(tmp_path / "p.tif"), pixels)


def test_tiff_where_white_is_0(tmp_path: Path) -> None:
    pixels = noise(np.uint8, 20, 18)
    tifffile.imwrite(tmp_path / "p.tif", pixels, photometric="miniswhite")
    np.testing.assert_array_equal(images.read(tmp_path / "p.tif"), 255 - pixels)


@pytest.mark.parametrize("shape", [(12, 10, 2), (12, 10, 4)])
@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_alpha_is_refused_kept_or_dropped(tmp_path: Path, suffix: str, shape: tuple[int, ...]) -> None:
    pixels = noise(np.uint8, *shape)
    path = tmp_path / f"p.{suffix}"
    images.write(path, pixels)
    with pytest.raises(ValueError, match=f"{path} has an alpha channel; accepted are"):
        images.read(path)
    np.testing.assert_array_equal(images.read(path, alpha="keep"), pixels)
    dropped = pixels[..., :3] if shape[-1] == 4 else pixels[..., 0]
    np.testing.assert_array_equal(images.read(path, alpha="drop"), dropped)
    with pytest.raises(ValueError, match="alpha must be one of"):
        images.read(path, alpha="ignore")


@pytest.mark.parametrize("name", ["p.png", "wide.png", "p.jpg", "p.tif"])
def test_truncated_files_are_named(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    images.write(path, noise(np.uint16 if name == "wide.png" else np.uint8, 64, 64, 3))
    whole = path.read_bytes()
    for length in (len(whole) // 2, 40, 10, 3):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=str(path)):
            images.read(path)


@pytest.mark.parametrize("content", [b"", b"no picture", b"II*\0garbage", b"\xff\xd8\xff\xe0 not a jpeg"])
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "p.png").write_bytes(content)
    with pytest.raises(ValueError, match=str(tmp_path / "p.png")):
        images.read(tmp_path / "p.png")


@pytest.mark.parametrize("side", [30_000, 175_000])
def test_huge_headers_are_refused_before_decoding(tmp_path: Path, side: int) -> None:
    (tmp_path / "p.png").write_bytes(png_start(side, side) + chunk(b"IDAT", zlib.compress(bytes(100))))
    with pytest.raises(ValueError, match="accepted are at most 67108864"):
        images.read(tmp_path / "p.png")


def test_huge_tiff_header_is_refused_before_decoding(tmp_path: Path) -> None:
    images.write(tmp_path / "p.tif", noise(np.uint8, 8, 8))
    with tifffile.TiffFile(tmp_path / "p.tif", mode="r+b") as file:
        for tag in ("ImageWidth", "ImageLength"):
            file.pages.first.tags[tag].overwrite(175_000)
    with pytest.raises(ValueError, match="175000x175000 pixels; accepted are at most"):
        images.read(tmp_path / "p.tif")


def test_the_limit_of_pixels_is_an_argument(tmp_path: Path) -> None:
    images.write(tmp_path / "p.png", noise(np.uint8, 10, 10))
    assert images.read(tmp_path / "p.png", max_pixels=100).shape == (10, 10)
    with pytest.raises(ValueError, match="10x10 pixels; accepted are at most 99"):
        images.read(tmp_path / "p.png", max_pixels=99)


@pytest.mark.parametrize(
    ("mode", "suffix", "message"),
    [
        ("F", "tif", "float32 values"),
        ("I", "tif", "int32 values"),
        ("LAB", "tif", "the colours CIELAB"),
        ("RGB", "jp2", "is a JPEG 2000 file"),
        ("RGB", "ppm", "is not a picture; accepted are PNG, JPEG and TIFF, besides WebP, GIF and BMP"),
    ],
)
def test_kinds_that_are_not_read_are_named(tmp_path: Path, mode: str, suffix: str, message: str) -> None:
    Image.new(mode, (12, 12)).save(tmp_path / f"p.{suffix}")
    with pytest.raises(ValueError, match=message):
        images.read(tmp_path / f"p.{suffix}")


def test_a_missing_file_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        images.read(tmp_path / "none.png")


@pytest.mark.parametrize(
    ("name", "shape", "dtype", "message"),
    [
        ("p.jpg", (8, 8), np.uint16, "cannot hold 16 bits"),
        ("p.jpg", (8, 8, 4), np.uint8, "cannot hold an alpha"),
        ("p.png", (8, 8, 5), np.uint8, "pixels must have the shape"),
        ("p.png", (8, 8), np.float32, "pixels must be uint8 or uint16"),
    ],
)
def test_what_a_format_cannot_hold(
    tmp_path: Path, name: str, shape: tuple[int, ...], dtype: type, message: str
) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        images.write(tmp_path / name, np.zeros(shape, dtype))
    assert list(tmp_path.iterdir()) == []


# Formats


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P", "1", "LA"])
@pytest.mark.parametrize("suffix", ["webp", "bmp", "gif", "png", "tif"])
def test_formats_and_modes_are_read_as_pillow_reads_them(tmp_path: Path, suffix: str, mode: str) -> None:
    path = tmp_path / f"p.{suffix}"
    options = {"lossless": True} if suffix == "webp" else {}
    try:
        Image.fromarray(noise(np.uint8, 12, 10, 4)).convert(mode).save(path, **options)
    except OSError:
        pytest.skip("the format has no such mode")
    with Image.open(path) as opened:
        has_alpha = "transparency" in opened.info or opened.mode.endswith("A")
        target = {"1": "L", "P": "RGB"}.get(opened.mode, opened.mode).rstrip("A") + "A" * has_alpha
        expected = np.asarray(opened.convert(target))
    np.testing.assert_array_equal(images.read(path, alpha="keep"), expected)


def test_cmyk_becomes_rgb(tmp_path: Path) -> None:
    colours = Image.fromarray(np.repeat(noise(np.uint8, 1, 1, 3), 16, axis=0).repeat(16, axis=1))
    for name, options in {"p.jpg": {"quality": 100}, "p.tif": {}, "lzw.tif": {"compression": "tiff_lzw"}}.items():
        colours.convert("CMYK").save(tmp_path / name, **options)
        read = images.read(tmp_path / name)
        np.testing.assert_allclose(read.astype(int), np.asarray(colours), atol=3 if name == "p.jpg" else 0)


@pytest.mark.parametrize(
    "compression", ["tiff_lzw", "packbits", "tiff_adobe_deflate", "lzma", "zstd", "group4", "jpeg"]
)
def test_compressed_tiff(tmp_path: Path, compression: str) -> None:
    pixels = noise(np.uint8, 20, 18) if compression == "jpeg" else noise(np.uint16, 20, 18)
    pixels = noise(np.uint8, 20, 18) > 127 if compression == "group4" else pixels
    try:
        Image.fromarray(pixels).save(tmp_path / "p.tif", compression=compression)
    except (OSError, ValueError, KeyError):
        pytest.skip("this Pillow does not write it")
    with Image.open(tmp_path / "p.tif") as opened:
        expected = np.asarray(opened)
    expected = expected * np.uint8(255) if compression == "group4" else expected
    np.testing.assert_array_equal(images.read(tmp_path / "p.tif"), expected)


def lzw(data: bytes) -> bytes:
    """Pack bytes as TIFF's LZW does that never repeats anything: each as itself, in 9 bits, between clear codes."""
    codes = []
    for i, byte in enumerate(data):
        codes += [256] * (i % 200 == 0) + [byte]
    return packed(np.array([[*codes, 257]]), 9)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("bits", [8, 12, 16])
@pytest.mark.parametrize("samples", [1, 2, 3, 4])
def test_lzw_at_any_depth(tmp_path: Path, bits: int, samples: int, order: str) -> None:
    """Needs no imagecodecs, which tifffile would ask for."""
    values = noise(np.uint16, 9, 7, samples) >> (16 - bits)
    data = packed(values, bits) if bits == 12 else values.astype(f"{order}u{bits // 8}").tobytes()
    photometric = 2 if samples > 2 else 1
    page = {**tags(9, 7, bits, photometric, samples), 259: 5}
    page |= {338: 2} if samples in (2, 4) else {}
    (tmp_path / "p.tif").write_bytes(tiff([(page, lzw(data))], order))
    top = 255 if bits == 8 else 65535
    expected = np.rint(values.astype(float) * top / (2**bits - 1))
    np.testing.assert_array_equal(images.read(tmp_path / "p.tif", alpha="keep"), expected.squeeze())


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("photometric", [0, 1])
@pytest.mark.parametrize("bits", [1, 2, 3, 4, 6, 8, 10, 12, 14, 16])
def test_any_number_of_bits_fills_the_range(tmp_path: Path, bits: int, photometric: int, order: str) -> None:
    values = np.random.default_rng(0).integers(0, 1 << bits, (9, 7))
    values.flat[:2] = 0, (1 << bits) - 1
    data = values.astype(f"{order}u{bits // 8}").tobytes() if bits in (8, 16) else packed(values, bits)
    (tmp_path / "p.tif").write_bytes(tiff([(tags(9, 7, bits, photometric), data)], order))
    top = 255 if bits <= 8 else 65535
    expected = np.rint(values * top / ((1 << bits) - 1)).astype(np.uint8 if bits <= 8 else np.uint16)
    read = images.read(tmp_path / "p.tif")
    assert read.dtype == expected.dtype
    np.testing.assert_array_equal(read, expected if photometric == 1 else top - expected)


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_a_palette_is_not_scaled(tmp_path: Path, bits: int) -> None:
    index = np.random.default_rng(0).integers(0, 1 << bits, (9, 7))
    palette = noise(np.uint16, 3, 1 << bits)
    page = {**tags(9, 7, bits, 3), 320: palette.ravel().tolist()}
    (tmp_path / "p.tif").write_bytes(tiff([(page, packed(index, bits))]))
    np.testing.assert_array_equal(images.read(tmp_path / "p.tif"), (palette >> 8).T[index])


@pytest.mark.parametrize("fill_order", [1, 2])
def test_mirrored_bytes(tmp_path: Path, fill_order: int) -> None:
    pixels = noise(np.uint8, 9, 7)
    bits = np.packbits(np.unpackbits(pixels[..., None], axis=-1)[..., ::-1], axis=-1) if fill_order == 2 else pixels
    (tmp_path / "p.tif").write_bytes(tiff([({**tags(9, 7), 266: fill_order}, bits.tobytes())]))
    np.testing.assert_array_equal(images.read(tmp_path / "p.tif"), pixels)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("options", [{"tile": (16, 16)}, {"rowsperstrip": 7}, {"byteorder": ">"}])
@pytest.mark.parametrize("planes", ["contig", "separate"])
def test_layouts_of_deflated_tiff(tmp_path: Path, planes: str, options: dict, dtype: type) -> None:
    pixels = noise(dtype, 37, 29, 3)
    stored = np.moveaxis(pixels, -1, 0) if planes == "separate" else pixels
    tifffile.imwrite(tmp_path / "p.tif", stored, photometric="rgb", planarconfig=planes, compression="zlib", **options)
    np.testing.assert_array_equal(images.read(tmp_path / "p.tif"), pixels)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("compression", [1, 5, 8])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_differences_between_neighbours_are_summed(tmp_path: Path, dtype: type, compression: int, order: str) -> None:
    pixels = noise(dtype, 9, 7, 3)
    bits = 8 * pixels.itemsize
    differences = np.diff(pixels, axis=1, prepend=dtype(0)).astype(f"{order}u{pixels.itemsize}").tobytes()
    data = {1: bytes, 5: lzw, 8: zlib.compress}[compression](differences)
    page = {**tags(9, 7, bits, 2, 3), 259: compression, 317: 2}
    (tmp_path / "p.tif").write_bytes(tiff([(page, data)], order))
    np.testing.assert_array_equal(images.read(tmp_path / "p.tif"), pixels)


# Orientation


def turned(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Return pixels upright, after Exif's definition of where row 0 and column 0 are."""
    rotated = {1: 0, 2: 0, 3: 2, 4: 2, 5: 1, 6: 3, 7: 3, 8: 1}[orientation]
    mirrored = {2: pixels[:, ::-1], 4: pixels[:, ::-1], 5: pixels[:, ::-1], 7: pixels[:, ::-1]}
    return np.rot90(mirrored.get(orientation, pixels), rotated)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(
    "name", ["p.png", "wide.png", "grey16.png", "p.webp", "plain.tif", "lzw.tif", "jpeg.tif", "16.tif"]
)
def test_orientation_is_applied_in_every_format(tmp_path: Path, name: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    shape = (16, 24) if name == "grey16.png" else (16, 24, 3)
    pixels = noise(np.uint16 if name in ("wide.png", "grey16.png", "16.tif") else np.uint8, *shape)
    pixels = np.full_like(pixels, 0) + np.arange(24, dtype=np.uint8)[:, None] * 9 if name == "jpeg.tif" else pixels
    path = tmp_path / name
    if pixels.dtype == np.uint8:
        options = {"lossless": True} if name == "p.webp" else {}
        options |= {"lzw.tif": {"compression": "tiff_lzw"}, "jpeg.tif": {"compression": "jpeg"}}.get(name, {})
        Image.fromarray(pixels).save(path, exif=exif, **options)
    elif name == "16.tif":
        tifffile.imwrite(path, pixels, photometric="rgb", extratags=[(0x0112, 3, 1, orientation, True)])
    else:
        path.write_bytes(png(pixels, (b"eXIf", exif.tobytes()[6:])))
    read = images.read(path)
    expected = turned(pixels, orientation)
    assert read.shape == expected.shape
    np.testing.assert_allclose(read.astype(int), expected, atol=6 if name == "jpeg.tif" else 0)


def test_broken_exif_is_told(tmp_path: Path) -> None:
    (tmp_path / "p.png").write_bytes(png(noise(np.uint8, 9, 8), (b"eXIf", b"garbage")))
    with pytest.warns(UserWarning, match=r"p.png: its Exif data are broken"):
        images.read(tmp_path / "p.png")


# Alpha


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("compression", [1, 5, 8])
def test_alpha_that_is_multiplied_in_is_divided_out(tmp_path: Path, compression: int, bits: int) -> None:
    top = 2**bits - 1
    dtype = np.uint8 if bits == 8 else np.uint16
    colours, alpha = noise(dtype, 9, 7, 3), noise(dtype, 9, 7, 1)
    product = np.rint(colours.astype(float) * alpha / top).astype(dtype)
    data = np.concatenate([product, alpha], axis=-1).astype(f"<u{bits // 8}").tobytes()
    data = {1: bytes, 5: lzw, 8: zlib.compress}[compression](data)
    page = {**tags(9, 7, bits, 2, 4), 338: 1, 259: compression}
    path = tmp_path / "p.tif"
    path.write_bytes(tiff([(page, data)]))
    read = images.read(path, alpha="keep")
    np.testing.assert_array_equal(read[..., 3:], alpha)
    np.testing.assert_array_equal(np.rint(read[..., :3].astype(float) * alpha / top), product)
    # Half a step of the product is that much of the colour, and a colour is a whole number itself.
    assert (np.abs(read[..., :3].astype(float) - colours) <= 0.5 * top / np.maximum(alpha, 1) + 1).all()
    np.testing.assert_array_equal(images.read(path, alpha="drop"), read[..., :3])
    images.write(tmp_path / "again.tif", read)
    with tifffile.TiffFile(tmp_path / "again.tif") as file:
        assert file.pages.first.extrasamples == (2,)
    np.testing.assert_array_equal(images.read(tmp_path / "again.tif", alpha="keep"), read)


def test_alpha_is_divided_out_for_writers_that_cut(tmp_path: Path) -> None:
    pixels = np.full((8, 8, 4), 200, np.uint8)
    pixels[..., 3] = 128
    cut = np.concatenate([(pixels[..., :3] * (128 / 255)).astype(np.uint8), pixels[..., 3:]], axis=-1)
    tifffile.imwrite(tmp_path / "p.tif", cut, photometric="rgb", extrasamples=["assocalpha"])
    np.testing.assert_array_equal(images.read(tmp_path / "p.tif", alpha="keep"), pixels)
    np.testing.assert_array_equal(images.read(tmp_path / "p.tif", alpha="drop"), pixels[..., :3])


@pytest.mark.parametrize("shape", [(5, 4), (5, 4, 3)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_colour_that_stands_for_transparency(tmp_path: Path, dtype: type, shape: tuple[int, ...]) -> None:
    pixels = noise(dtype, *shape)
    clear = pixels[2, 1]
    (tmp_path / "p.png").write_bytes(png(pixels, (b"tRNS", np.atleast_1d(clear).astype(">u2").tobytes())))
    with pytest.raises(ValueError, match="has an alpha channel"):
        images.read(tmp_path / "p.png")
    np.testing.assert_array_equal(images.read(tmp_path / "p.png", alpha="drop"), pixels)
    planes = pixels.reshape(5, 4, -1)
    alpha = np.where((planes == clear).all(axis=-1, keepdims=True), 0, np.iinfo(dtype).max)
    np.testing.assert_array_equal(images.read(tmp_path / "p.png", alpha="keep"), np.concatenate([planes, alpha], -1))


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_transparent_grey_of_few_bits(tmp_path: Path, bits: int) -> None:
    row = chunk(b"IDAT", zlib.compress(b"\0" + packed(np.array([[0, 1]]), bits)))
    clear = chunk(b"tRNS", struct.pack(">H", 1))
    (tmp_path / "p.png").write_bytes(png_start(1, 2, bits) + clear + row + chunk(b"IEND", b""))
    read = images.read(tmp_path / "p.png", alpha="keep")
    np.testing.assert_array_equal(read, [[[0, 255], [255 // (2**bits - 1), 0]]])


# Several pictures in one file


@pytest.mark.parametrize("suffix", ["gif", "webp", "png", "tif"])
def test_frames_after_the_first_are_told(tmp_path: Path, suffix: str) -> None:
    frames = [Image.fromarray(np.full((9, 8, 3), 80 * i, np.uint8)) for i in range(3)]
    options = {"lossless": True} if suffix == "webp" else {}
    frames[0].save(tmp_path / f"p.{suffix}", save_all=True, append_images=frames[1:], **options)
    with pytest.warns(UserWarning, match=rf"p.{suffix}: it holds 3 pictures or frames, of which the first is read"):
        read = images.read(tmp_path / f"p.{suffix}", alpha="drop")
    np.testing.assert_array_equal(read, 0)


@pytest.mark.filterwarnings("error::UserWarning")
@pytest.mark.parametrize("where", ["before", "after", "under", "old tag"])
def test_a_thumbnail_is_not_the_picture(tmp_path: Path, where: str) -> None:
    pixels, small = noise(np.uint8, 20, 18), noise(np.uint8, 5, 4)
    reduced = {255: 2} if where == "old tag" else {254: 1}
    pages = [({**tags(5, 4), **reduced}, small.tobytes()), (tags(20, 18), pixels.tobytes())]
    path = tmp_path / "p.tif"
    if where == "under":  # a camera's raw file
        with tifffile.TiffWriter(path) as writer:
            writer.write(small, subfiletype=1, subifds=1)
            writer.write(pixels, subfiletype=0)
    else:
        path.write_bytes(tiff(pages[::-1] if where == "after" else pages))
    np.testing.assert_array_equal(images.read(path), pixels)


def test_a_compressed_picture_behind_its_thumbnail(tmp_path: Path) -> None:
    """JPEG is decoded by Pillow, which knows a file's first page only."""
    Image.fromarray(np.full((20, 18, 3), (200, 30, 60), np.uint8)).save(tmp_path / "p.tif", compression="jpeg")
    content = bytearray((tmp_path / "p.tif").read_bytes())
    with tifffile.TiffFile(tmp_path / "p.tif") as file:
        place = file.pages.first.offset
    thumbnail = {**tags(4, 5), 254: 1, 273: 8}
    entries = b"".join(
        struct.pack("<HHII", code, 4, 1, value if isinstance(value, int) else value[0])
        for code, value in sorted({**thumbnail, 279: 20}.items())
    )
    content[4:8] = struct.pack("<I", len(content))
    content += struct.pack("<H", len(entries) // 12) + entries + struct.pack("<I", place)
    (tmp_path / "p.tif").write_bytes(content)
    read = images.read(tmp_path / "p.tif")
    np.testing.assert_allclose(read.astype(int), np.full((20, 18, 3), (200, 30, 60)), atol=3)


@pytest.mark.filterwarnings("error::UserWarning")
def test_what_a_phone_adds_to_a_picture_is_not_told(tmp_path: Path) -> None:
    picture = Image.fromarray(noise(np.uint8, 32, 32, 3))
    picture.save(tmp_path / "p.mpo", save_all=True, append_images=[picture.resize((8, 8))])
    assert images.read(tmp_path / "p.mpo").shape == (32, 32, 3)


def test_a_second_eye_is_told(tmp_path: Path) -> None:
    picture = Image.fromarray(noise(np.uint8, 32, 32, 3))
    picture.save(tmp_path / "p.mpo", save_all=True, append_images=[picture])
    with pytest.warns(UserWarning, match="holds 2 pictures"):
        images.read(tmp_path / "p.mpo")


# Colours


def srgb_of(pixels: np.ndarray, matrix: Any, exponent: float) -> np.ndarray:
    """Return 8-bit or 16-bit colours of a matrix and a power as sRGB, in [0, 1]."""
    light = (pixels / np.iinfo(pixels.dtype).max) ** exponent @ np.array(matrix).T @ np.linalg.inv(np.array(SRGB)).T
    light = np.clip(light, 0, 1)
    return np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)


@pytest.mark.parametrize("name", ["p.png", "wide.png", "p.jpg", "p.webp", "p.tif", "16.tif", "lzw.tif"])
def test_a_profile_of_a_matrix_is_applied(tmp_path: Path, name: str) -> None:
    exponent = round(1.8 * 256) / 256
    profile = icc(P3, 1.8)
    pixels = noise(np.uint16 if name in ("wide.png", "16.tif") else np.uint8, 16, 16, 3)
    pixels = np.full_like(pixels, (200, 80, 40)) if name == "p.jpg" else pixels
    path = tmp_path / name
    if pixels.dtype == np.uint8:
        options = {"p.webp": {"lossless": True}, "lzw.tif": {"compression": "tiff_lzw"}}.get(name, {})
        Image.fromarray(pixels).save(path, icc_profile=profile, **options)
    elif name == "16.tif":
        tag = (34675, 7, len(profile), profile, True)
        tifffile.imwrite(path, pixels, photometric="rgb", extratags=[tag])
    else:
        path.write_bytes(png(pixels, (b"iCCP", b"mine\0\0" + zlib.compress(profile))))
    read = images.read(path)
    assert read.dtype == pixels.dtype
    expected = srgb_of(pixels, P3, exponent)
    # LittleCMS is off by up to a step and a half of 8 bits in the dark; of JPEG's colours some are lost.
    atol = {"p.jpg": 3 / 255}.get(name, 2 / 255 if pixels.dtype == np.uint8 else 3e-3)
    np.testing.assert_allclose(read / np.iinfo(read.dtype).max, expected, atol=atol)
    assert np.abs(expected - pixels / np.iinfo(pixels.dtype).max).max() > 0.03


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("space", [b"GRAY", b"RGB "])
def test_grey_is_converted_and_stays_grey(tmp_path: Path, space: bytes, dtype: type) -> None:
    pixels = np.linspace(0, np.iinfo(dtype).max, 256).astype(dtype).reshape(16, 16)
    profile = icc(None if space == b"GRAY" else SRGB, 1.8, space)
    (tmp_path / "p.png").write_bytes(png(pixels, (b"iCCP", b"mine\0\0" + zlib.compress(profile))))
    read = images.read(tmp_path / "p.png")
    expected = srgb_of(np.stack([pixels] * 3, axis=-1), SRGB, round(1.8 * 256) / 256)[..., 1]
    assert read.shape == pixels.shape
    np.testing.assert_allclose(read / np.iinfo(dtype).max, expected, atol=2 / 255 if dtype == np.uint8 else 1e-3)


@pytest.mark.filterwarnings("error::UserWarning")
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_srgb_by_any_of_its_names_changes_nothing(tmp_path: Path, dtype: type) -> None:
    pixels = noise(dtype, 32, 32, 3)
    named = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    chromaticities = struct.pack(">8I", 31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000)
    for chunks in (
        [(b"iCCP", b"x\0\0" + zlib.compress(icc(SRGB, SRGB_CURVE)))],
        [(b"iCCP", b"x\0\0" + zlib.compress(named))],
        [(b"sRGB", b"\0"), (b"gAMA", struct.pack(">I", 100000))],
        [(b"gAMA", struct.pack(">I", 45455)), (b"cHRM", chromaticities)],
        [(b"cICP", b"\1\x0d\0\1")],
    ):
        (tmp_path / "p.png").write_bytes(png(pixels, *chunks))
        np.testing.assert_array_equal(images.read(tmp_path / "p.png"), pixels)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_gamma_and_chromaticities_of_a_png_are_applied(tmp_path: Path, dtype: type) -> None:
    pixels = noise(dtype, 16, 16, 3)
    p3 = struct.pack(">8I", 31270, 32900, 68000, 32000, 26500, 69000, 15000, 6000)
    top = np.iinfo(dtype).max
    for chunks, matrix, exponent in (
        ([(b"gAMA", struct.pack(">I", 100000))], SRGB, 1.0),
        ([(b"gAMA", struct.pack(">I", 55556)), (b"cHRM", p3)], P3, 1.8),
        ([(b"cICP", b"\x0c\x08\0\1"), (b"gAMA", struct.pack(">I", 45455))], P3, 1.0),
    ):
        (tmp_path / "p.png").write_bytes(png(pixels, *chunks))
        expected = srgb_of(pixels, matrix, exponent)
        np.testing.assert_allclose(images.read(tmp_path / "p.png") / top, expected, atol=max(0.6 / top, 2e-3))


def test_adobes_colours_of_a_camera_are_converted(tmp_path: Path) -> None:
    # Three directories of one tag: Exif's, that of interoperability, and what it says.
    directories = ((0x8769, 4, 1, struct.pack("<I", 26)), (0xA005, 4, 1, struct.pack("<I", 44)), (1, 2, 4, b"R03\0"))
    exif = b"Exif\0\0II*\0\x08\0\0\0" + b"".join(struct.pack("<HHHI4sI", 1, *one, 0) for one in directories)
    pixels = np.full((16, 16, 3), (90, 160, 60), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "p.jpg", exif=exif, quality=100, subsampling=0)
    # Green at (0.21, 0.71) is greener than sRGB's: red falls.
    assert images.read(tmp_path / "p.jpg")[0, 0, 0] < 60


@pytest.mark.parametrize(
    ("chunks", "message"),
    [
        ([(b"cICP", b"\x09\x10\0\1")], "its colours .cICP 9 16 0 1. are not converted to sRGB"),
        (
            [(b"iCCP", b"x\0\0" + zlib.compress(icc(None, 1.8, b"GRAY")))],
            "its colour profile is for another kind of picture",
        ),
        (
            [(b"iCCP", b"x\0\0" + zlib.compress(icc(P3, 1.8)[:200]))],
            "its colour profile is broken or cannot be applied",
        ),
        ([(b"gAMA", struct.pack(">I", 1))], "its gamma and chromaticities stand for no colours"),
        ([(b"cHRM", bytes(32))], "its gamma and chromaticities stand for no colours"),
    ],
)
def test_colours_that_cannot_be_converted_are_told(tmp_path: Path, chunks: list, message: str) -> None:
    pixels = noise(np.uint8, 9, 8, 3)
    (tmp_path / "p.png").write_bytes(png(pixels, *chunks))
    with pytest.warns(UserWarning, match=rf"p.png: {message}"):
        np.testing.assert_array_equal(images.read(tmp_path / "p.png"), pixels)


@pytest.mark.parametrize("name", ["p.jpg", "p.tif"])
def test_cmyk_is_converted_by_its_profile(tmp_path: Path, name: str) -> None:
    profile = icc_of_a_table(b"CMYK", 4)
    ink = Image.frombytes("CMYK", (32, 32), noise(np.uint8, 4, 4, 4).repeat(8, axis=0).repeat(8, axis=1).tobytes())
    ink.save(tmp_path / name, icc_profile=profile, **({"quality": 100, "subsampling": 0} if name == "p.jpg" else {}))
    source, target = ImageCms.ImageCmsProfile(io.BytesIO(profile)), ImageCms.createProfile("sRGB")
    expected = np.asarray(ImageCms.profileToProfile(ink, source, target, outputMode="RGB"))
    assert np.abs(expected.astype(int) - np.asarray(ink.convert("RGB"))).max() > 20
    np.testing.assert_allclose(images.read(tmp_path / name).astype(int), expected, atol=2)


def test_a_profile_of_tables_is_applied_at_8_bits_and_told_at_16(tmp_path: Path) -> None:
    profile = icc_of_a_table(b"RGB ", 3)
    pixels = noise(np.uint8, 9, 8, 3)
    chunks = (b"iCCP", b"x\0\0" + zlib.compress(profile))
    (tmp_path / "p.png").write_bytes(png(pixels, chunks))
    (tmp_path / "wide.png").write_bytes(png(pixels.astype(np.uint16) * 257, chunks))
    source, target = ImageCms.ImageCmsProfile(io.BytesIO(profile)), ImageCms.createProfile("sRGB")
    expected = ImageCms.profileToProfile(Image.fromarray(pixels), source, target, outputMode="RGB")
    np.testing.assert_array_equal(images.read(tmp_path / "p.png"), np.asarray(expected))
    with pytest.warns(UserWarning, match=r"wide.png: its colour profile is broken or cannot be applied at 16 bits"):
        np.testing.assert_array_equal(images.read(tmp_path / "wide.png"), pixels.astype(np.uint16) * 257)


def test_alpha_takes_no_part_in_the_conversion(tmp_path: Path) -> None:
    pixels = noise(np.uint8, 9, 8, 4)
    Image.fromarray(pixels).save(tmp_path / "p.png", icc_profile=icc(P3, 1.8))
    Image.fromarray(pixels[..., :3]).save(tmp_path / "colours.png", icc_profile=icc(P3, 1.8))
    read = images.read(tmp_path / "p.png", alpha="keep")
    np.testing.assert_array_equal(read[..., 3], pixels[..., 3])
    np.testing.assert_array_equal(read[..., :3], images.read(tmp_path / "colours.png"))


# Writing


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_any_array_is_written_by_its_values(tmp_path: Path, dtype: type, suffix: str) -> None:
    pixels = noise(dtype, 9, 8, 3)
    record = np.zeros((9, 8, 3), np.dtype([("pad", "u1"), ("value", dtype)]))
    record["value"] = pixels
    path = tmp_path / f"p{suffix}"
    for same in (
        pixels.astype(pixels.dtype.newbyteorder(">")),
        np.asfortranarray(pixels),
        np.repeat(pixels, 2, axis=1)[:, ::2],
        record["value"],
        np.ma.masked_array(pixels),
    ):
        images.write(path, same)
        np.testing.assert_array_equal(images.read(path), pixels)


def test_what_is_no_array_of_pixels_is_refused(tmp_path: Path) -> None:
    masked = np.ma.masked_array(noise(np.uint8, 9, 8), mask=np.eye(9, 8))
    for pixels in (masked, [[1, 2]], Image.new("L", (8, 8)), torch.zeros(8, 8, dtype=torch.uint8)):
        with pytest.raises(TypeError, match=r"^write: pixels"):
            images.write(tmp_path / "p.png", pixels)
    with pytest.raises(ValueError, match="pixels must have the shape"):
        images.write(tmp_path / "p.png", np.zeros((0, 8), np.uint8))
    with pytest.raises(ValueError, match="JPEG holds at most 65500 pixels a side"):
        images.write(tmp_path / "p.jpg", np.zeros((1, 65501), np.uint8))


TEXT = {"Software": "genimg_fast", "Seed": "7", "Command": "genimg-fast texture größe ☃"}


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("suffix", ["png", "tif", "jpg"])
def test_text_is_kept(tmp_path: Path, suffix: str, dtype: type) -> None:
    if suffix == "jpg" and dtype == np.uint16:
        pytest.skip("JPEG holds 8 bits")
    path = tmp_path / f"p.{suffix}"
    images.write(path, noise(dtype, 9, 8, 3), text=TEXT)
    lines = [f"{name}: {value}" for name, value in TEXT.items()]
    if suffix == "png":
        with Image.open(path) as opened:
            opened.load()
            assert opened.text == TEXT
    elif suffix == "jpg":
        with Image.open(path) as opened:
            assert opened.info["comment"].decode() == "\n".join(lines)
    else:
        with tifffile.TiffFile(path) as file:
            found = file.pages.first.tags
            assert found["Software"].value == "genimg_fast"
            assert found["ImageDescription"].value in ("\n".join(lines[1:]), "\n".join(lines[1:]).encode())
    assert images.read(path).shape == (9, 8, 3)


@pytest.mark.parametrize(
    ("text", "error"),
    [({"": "x"}, ValueError), ({"a" * 80: "x"}, ValueError), ({"a": "\0"}, ValueError), ({"seed": 7}, TypeError)],
)
def test_text_that_no_file_can_hold(tmp_path: Path, text: dict, error: type[Exception]) -> None:
    with pytest.raises(error, match=r"^write: text must"):
        images.write(tmp_path / "p.png", noise(np.uint8, 9, 8), text=text)
