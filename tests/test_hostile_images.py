"""Broken, absurd and hostile files: each is refused by a sentence with its name, soon and without much memory."""

from __future__ import annotations

import os
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
import tifffile
from image_files import chunk, icc, noise, packed, png, png_start, tags, tiff
from PIL import Image

from genimg_fast import images

PIXELS = noise(np.uint8, 12, 10, 3)


def refused(path: Path, content: bytes, match: str) -> None:
    path.write_bytes(content)
    with pytest.raises(ValueError, match=match) as caught:
        images.read(path)
    assert str(path) in str(caught.value)


def test_a_strip_that_unpacks_to_more_than_its_pixels(tmp_path: Path) -> None:
    bomb = tiff([({**tags(64, 64), 259: 8}, zlib.compress(bytes(40_000_000), 1))])
    refused(tmp_path / "p.tif", bomb, "unpack to more than the 4096 bytes")


def test_the_last_strip_may_be_as_long_as_the_others(tmp_path: Path) -> None:
    pixels = noise(np.uint8, 15, 8)
    whole = np.concatenate([pixels, np.zeros((1, 8), np.uint8)])
    strips = [zlib.compress(whole[i : i + 8].tobytes()) for i in (0, 8)]
    starts = {273: [8, 8 + len(strips[0])], 279: [len(strip) for strip in strips]}
    content = tiff([({**tags(15, 8), **starts, 259: 8, 278: 8}, b"".join(strips))])
    (tmp_path / "p.tif").write_bytes(content)
    np.testing.assert_array_equal(images.read(tmp_path / "p.tif"), pixels)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({277: 60000}, "has 60000 channels"),
        ({256: 2**31 - 1, 257: 2**31 - 1}, "2147483647x2147483647 pixels; accepted are at most"),
        ({256: 0}, "4x0 pixels; accepted are pictures with pixels"),
        ({258: 32}, "uint32 values; accepted are unsigned integers of 1 to 16 bits"),
        ({258: 64}, "uint64 values"),
        ({258: [8, 16]}, "uint8 uint16 values"),
        ({339: 2}, "int8 values"),
        ({279: 3}, "is truncated: a strip or tile has 3 of 24 bytes"),
        ({273: 2**31}, "is truncated"),
        ({278: 2}, "is truncated: it has 1 of 2 strips"),
        ({322: 2**31, 323: 2**31, 324: 8, 325: 24}, "tiles of 2147483648x2147483648 pixels"),
        ({259: 12345}, "12345"),
        ({262: 32803}, "has the colours CFA"),
        ({262: 3, 320: [0] * 6}, "palette of 2 colours and uses number"),
    ],
)
def test_tags_of_a_tiff_are_checked_before_decoding(tmp_path: Path, changes: dict, message: str) -> None:
    page = ({**tags(4, 6), **changes}, bytes(range(1, 25)))
    refused(tmp_path / "p.tif", tiff([page]), message)


def test_a_tiff_that_does_not_say_what_black_is(tmp_path: Path) -> None:
    page = tags(4, 6)
    del page[262]
    refused(tmp_path / "p.tif", tiff([(page, bytes(24))]), "has the colours none")


def test_many_pages_are_not_counted_to_the_end(tmp_path: Path) -> None:
    (tmp_path / "p.tif").write_bytes(tiff([(tags(4, 6), bytes(24))] * 70))
    with pytest.warns(UserWarning, match="it holds 64 or more pictures or frames"):
        images.read(tmp_path / "p.tif")


def test_pages_in_a_circle_end(tmp_path: Path) -> None:
    pixels = noise(np.uint8, 4, 6)
    content = bytearray(tiff([(tags(4, 6), pixels.tobytes())]))
    content[-4:] = content[4:8]
    (tmp_path / "p.tif").write_bytes(content)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        np.testing.assert_array_equal(images.read(tmp_path / "p.tif"), pixels)


@pytest.mark.parametrize(("height", "width"), [(0, 4), (2**31 - 1, 2**31 - 1), (1, 2**31 - 1)])
def test_absurd_sizes_of_a_png(tmp_path: Path, height: int, width: int) -> None:
    refused(tmp_path / "p.png", png_start(height, width) + chunk(b"IDAT", b"") + chunk(b"IEND", b""), "p.png")


@pytest.mark.parametrize(("kind", "start"), [(b"zTXt", b"key\0\0"), (b"iTXt", b"key\0\1\0\0\0"), (b"iCCP", b"key\0\0")])
def test_texts_and_profiles_that_unpack_to_much(tmp_path: Path, kind: bytes, start: bytes) -> None:
    bomb = start + zlib.compress(bytes(20_000_000), 1)
    refused(tmp_path / "p.png", png(PIXELS, (kind, bomb)), "cannot be decoded")


@pytest.mark.parametrize("name", ["pipe.png", "zero.png"])
def test_what_is_no_file_is_not_opened(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "zero.png").symlink_to("/dev/zero")
    with pytest.raises(ValueError, match=rf"{name} is a pipe or a device; accepted are files of pictures"):
        images.read(tmp_path / name)


def test_a_folder_is_no_picture(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError):
        images.read(tmp_path)


@pytest.mark.parametrize("suffix", ["eps", "ico", "tga", "pcx", "ppm"])
def test_no_other_format_is_tried(tmp_path: Path, suffix: str) -> None:
    Image.fromarray(PIXELS).save(tmp_path / f"p.{suffix}")
    refused(tmp_path / f"p.{suffix}", (tmp_path / f"p.{suffix}").read_bytes(), "is not a picture; accepted are PNG")


@pytest.mark.parametrize(
    ("content", "name"), [(b"\0\0\0\x1cftypavif", "AVIF"), (b"\0\0\0\x18ftypheic", "HEIC"), (b"\xff\x0a", "JPEG XL")]
)
def test_known_formats_are_refused_by_name(tmp_path: Path, content: bytes, name: str) -> None:
    refused(
        tmp_path / "p.png", content, f"is an? {name} file; accepted are PNG, JPEG and TIFF, besides WebP, GIF and BMP"
    )


def test_the_limit_can_be_raised_beyond_that_of_pillow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    for suffix in ("png", "tif", "webp", "gif"):
        options = {"compression": "jpeg"} if suffix == "tif" else {}
        Image.fromarray(PIXELS).save(tmp_path / f"p.{suffix}", **options)
        assert images.read(tmp_path / f"p.{suffix}", max_pixels=120).shape == PIXELS.shape
    assert Image.MAX_IMAGE_PIXELS == 10


@pytest.mark.parametrize(("value", "error"), [(0, ValueError), (True, TypeError), (1e6, TypeError), ("9", TypeError)])
def test_the_limit_is_a_number(tmp_path: Path, value: object, error: type[Exception]) -> None:
    with pytest.raises(error, match="read: max_pixels must be"):
        images.read(tmp_path / "p.png", max_pixels=value)


def samples(folder: Path) -> list[Path]:
    """Return one small file of each kind that is read."""
    picture = Image.fromarray(PIXELS)
    exif = Image.Exif()
    exif[0x0112] = 6
    profile = icc(((0.5, 0.3, 0.2), (0.25, 0.7, 0.05), (0.0, 0.05, 0.78)), 1.8)
    for suffix in ("png", "jpg", "webp"):
        picture.save(folder / f"a.{suffix}", exif=exif, icc_profile=profile)
    picture.save(folder / "a.gif", save_all=True, append_images=[picture.rotate(90)])
    picture.save(folder / "a.bmp")
    picture.save(folder / "a.mpo", save_all=True, append_images=[picture])
    picture.convert("CMYK").save(folder / "cmyk.jpg")
    picture.quantize(8).save(folder / "palette.png", transparency=1)
    for compression in ("lzw", "jpeg", "packbits", "adobe_deflate"):
        picture.save(folder / f"{compression}.tif", compression=compression, exif=exif, icc_profile=profile)
    picture.convert("1").save(folder / "fax.tif", compression="group4")
    (folder / "wide.png").write_bytes(png(noise(np.uint16, 9, 8, 3), (b"eXIf", exif.tobytes()[6:])))
    (folder / "ten.tif").write_bytes(tiff([(tags(9, 8, 10), packed(noise(np.uint16, 9, 8) >> 6, 10))] * 2))
    tifffile.imwrite(folder / "tiled.tif", noise(np.uint16, 40, 20, 4), tile=(16, 16), photometric="rgb")
    return sorted(folder.iterdir())


def mutated(content: bytes, rng: np.random.Generator) -> bytes:
    data = bytearray(content)
    for _ in range(int(rng.integers(1, 6))):
        place = int(rng.integers(len(data)))
        match int(rng.integers(4)):
            case 0:
                data[place] = int(rng.integers(256))
            case 1:
                data[place] ^= 1 << int(rng.integers(8))
            case 2:
                extreme = (0, 1, 2**31 - 1, 2**32 - 1, 2**16)[int(rng.integers(5))]
                data[place : place + 4] = struct.pack(("<I", ">I")[int(rng.integers(2))], extreme)
            case 3:
                del data[place : place + int(rng.integers(1, 9))]
        data = data or bytearray(b"\0")
    return bytes(data)


def test_mutated_files_are_read_or_refused(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    (tmp_path / "whole").mkdir()
    path = tmp_path / "p"
    n_read, messages = 0, []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for whole in samples(tmp_path / "whole"):
            content = whole.read_bytes()
            for _ in range(25):
                path.write_bytes(mutated(content, rng))
                try:
                    pixels = images.read(path, alpha="keep", max_pixels=1 << 20)
                except ValueError as error:
                    messages.append(str(error))
                else:
                    n_read += 1
                    assert pixels.dtype in (np.uint8, np.uint16)
                    assert pixels.size
    assert n_read
    assert all(str(path) in message for message in messages)
