"""Picture files: what is read, what is written, what is refused, and that nothing half-written stays."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from genimg_fast import images


def noise(dtype: type, *shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, np.iinfo(dtype).max, shape, dtype=dtype, endpoint=True)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_start(height: int, width: int, bits: int = 8, colour_type: int = 0) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, bits, colour_type, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header)


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
        ("RGB", "ppm", "is not a picture; accepted are PNG, JPEG, TIFF, WebP, GIF and BMP"),
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


