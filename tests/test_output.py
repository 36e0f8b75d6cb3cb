"""Files to be written: where they may be, what stays of the file that was there, and that no result is lost."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from image_files import noise

from genimg_fast import images
from genimg_fast.images import _output

PIXELS = noise(np.uint8, 8, 8)


def written(path: Path) -> None:
    """Write over a path, and check that the picture is there and nothing else beside."""
    before = {one.name for one in path.parent.iterdir()} | {path.name}
    images.write(path, PIXELS)
    np.testing.assert_array_equal(images.read(path), PIXELS)
    assert {one.name for one in path.parent.iterdir()} == before


@contextlib.contextmanager
def unprivileged() -> Iterator[Path]:
    """Give a folder that anybody may write, and take root's rights away meanwhile."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o777)
    is_root = os.geteuid() == 0
    if is_root:
        os.seteuid(65534)
    try:
        yield folder
    finally:
        if is_root:
            os.seteuid(0)
        folder.chmod(0o777)
        shutil.rmtree(folder)


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("p.gif", ValueError, "must end in one of .png"),
        ("none/p.png", FileNotFoundError, "the folder .*none does not exist"),
        ("file/p.png", FileNotFoundError, "the folder .*file does not exist"),
        ("folder.png", ValueError, "is a folder"),
    ],
)
def test_bad_places_are_refused_at_once(tmp_path: Path, name: str, error: type[Exception], message: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(error, match=message):
        images.Output.check(tmp_path / name)


def test_a_folder_that_cannot_be_written_is_refused_at_once() -> None:
    with pytest.raises(PermissionError, match="the folder /proc cannot be written"):
        images.Output.check("/proc/p.png")


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "p.png"
    path.write_bytes(b"old")

    def write_half() -> None:
        with images.Output.check(path).open() as file:
            file.write(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_half()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_new_file_has_the_usual_permissions(tmp_path: Path) -> None:
    images.write(tmp_path / "p.png", noise(np.uint8, 8, 8))
    (tmp_path / "usual").touch()
    assert (tmp_path / "p.png").stat().st_mode == (tmp_path / "usual").stat().st_mode


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("a" * 300 + ".png", OSError, "cannot be written: File name too long"),
        ("zero\0.png", ValueError, "without zero characters"),
        ("pipe.png", ValueError, "is a pipe or a device"),
        ("null.png", ValueError, "is a pipe or a device"),
        ("circle.png", OSError, "cannot be written: Too many levels"),
        ("dangling.png", FileNotFoundError, "the folder .*nowhere does not exist"),
    ],
)
def test_names_that_no_file_can_have(tmp_path: Path, name: str, error: type[Exception], message: str) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "null.png").symlink_to("/dev/null")
    (tmp_path / "circle.png").symlink_to("circle.png")
    (tmp_path / "dangling.png").symlink_to("nowhere/p.png")
    with pytest.raises(error, match=message):
        images.Output.check(tmp_path / name)


@pytest.mark.parametrize("name", ["a" * 251 + ".png", "ä" * 125 + ".png"])
def test_the_longest_names_are_written(tmp_path: Path, name: str) -> None:
    written(tmp_path / name)
    written(tmp_path / name)


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    link = tmp_path / "p.png"
    link.symlink_to("there/p.png")
    for _ in range(2):  # the link's file is made, and written again
        written(link)
        assert link.is_symlink()
        np.testing.assert_array_equal(images.read(tmp_path / "there" / "p.png"), PIXELS)


def test_a_second_name_of_a_file_stays_its_name(tmp_path: Path) -> None:
    path = tmp_path / "p.png"
    path.write_bytes(bytes(10_000))
    (tmp_path / "second.png").hardlink_to(path)
    written(path)
    assert path.samefile(tmp_path / "second.png")


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o666, 0o755])
def test_the_mode_stays(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "p.png"
    path.touch()
    path.chmod(mode)
    written(path)
    assert stat.S_IMODE(path.stat().st_mode) == mode


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_the_owner_stays(tmp_path: Path) -> None:
    path = tmp_path / "p.png"
    path.touch()
    os.chown(path, 65534, 12345)
    written(path)
    assert (path.stat().st_uid, path.stat().st_gid) == (65534, 12345)


def test_a_file_that_may_not_be_written_is_refused_at_once() -> None:
    with unprivileged() as folder:
        path = folder / "p.png"
        path.write_bytes(b"old")
        path.chmod(0o444)
        with pytest.raises(PermissionError, match=r"p.png exists and may not be written"):
            images.Output.check(path)
        assert path.read_bytes() == b"old"


def test_a_file_in_a_folder_that_may_not_be_written_is_written_in_place() -> None:
    with unprivileged() as folder:
        (folder / "closed").mkdir()
        path = folder / "closed" / "p.png"
        path.write_bytes(bytes(10_000))
        (folder / "closed").chmod(0o555)
        written(path)
        with pytest.raises(PermissionError, match=r"the folder .*closed cannot be written"):
            images.Output.check(folder / "closed" / "new.png")
        (folder / "closed").chmod(0o777)


def test_a_file_that_is_mounted_is_written_in_place(tmp_path: Path) -> None:
    path = tmp_path / "p.png"
    path.touch()
    (tmp_path / "elsewhere").mkdir()
    source = tmp_path / "elsewhere" / "source.png"
    source.write_bytes(bytes(10_000))
    if subprocess.run(["mount", "--bind", source, path], capture_output=True).returncode:
        pytest.skip("this user mounts nothing")
    try:
        written(path)
        np.testing.assert_array_equal(images.read(source), PIXELS)
    finally:
        subprocess.run(["umount", path], check=True)


def busy(*_: object) -> None:
    raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))


def test_a_file_that_cannot_be_replaced_is_written_in_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "replace", busy)
    (tmp_path / "p.png").write_bytes(bytes(10_000))
    written(tmp_path / "p.png")


def kept_beside(error: OSError) -> Path:
    return Path(str(error).rpartition("its content is kept in ")[2])


def test_a_result_without_a_place_is_kept_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "replace", busy)
    path = tmp_path / f"{'a' * 251}.png"
    with pytest.raises(OSError, match=r"a.png cannot be written \(.* busy\); its content is kept in") as caught:
        images.write(path, PIXELS)
    assert caught.value.errno == errno.EBUSY
    kept = kept_beside(caught.value)
    assert list(tmp_path.iterdir()) == [kept]
    np.testing.assert_array_equal(images.read(kept), PIXELS)
    monkeypatch.undo()
    images.write(path, PIXELS)
    assert kept.exists(), "what was kept is no temporary"


def test_a_result_for_a_folder_that_is_gone_is_kept_in_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    output = images.Output.check(tmp_path / "folder" / "p.png")
    (tmp_path / "folder").rmdir()

    def save() -> None:
        with output.open() as file:
            file.write(b"content")

    with pytest.raises(FileNotFoundError, match="kept in") as caught:
        save()
    assert kept_beside(caught.value).parent == tmp_path / "temporary"
    assert kept_beside(caught.value).read_bytes() == b"content"


def test_a_full_disk_leaves_the_old_file_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "p.png"
    path.write_bytes(b"old")
    (tmp_path / "second.png").hardlink_to(path)  # so that it is written in place

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    with pytest.raises(OSError, match=r"p.png cannot be written .No space left on device.; its content is kept in"):
        images.write(path, PIXELS)
    assert path.read_bytes() == b"old"
    (kept,) = (tmp_path / "temporary").iterdir()  # and not on the full disk
    np.testing.assert_array_equal(images.read(kept), PIXELS)


def test_a_picture_is_on_the_disk_before_it_takes_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events = []
    sync, replace = os.fsync, os.replace
    monkeypatch.setattr(
        os, "fsync", lambda number: (events.append(stat.S_ISDIR(os.fstat(number).st_mode)), sync(number))
    )
    monkeypatch.setattr(os, "replace", lambda *paths: (events.append("replace"), replace(*paths)))
    images.write(tmp_path / "p.png", PIXELS)
    assert events == [False, "replace", True]


def killed_write(path: Path) -> list[Path]:
    """Kill a process that is about to rename a file, and return what it leaves."""
    program = (
        "import os, signal, sys\n"
        "from genimg_fast import images\n"
        "os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        "with images.Output.check(sys.argv[1]).open() as file:\n"
        "    file.write(b'content')\n"
    )
    assert subprocess.run([sys.executable, "-c", program, path]).returncode < 0
    return sorted(path.parent.glob(".*.part"))


def test_temporaries_of_killed_writes_go_with_the_next(tmp_path: Path) -> None:
    path, other = tmp_path / "p.png", tmp_path / "other.png"
    assert len(killed_write(path)) == 1
    left = killed_write(other)[-1]
    assert len(list(tmp_path.iterdir())) == 2
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_output.platform, "node", lambda: "another machine")
        images.write(path, PIXELS)
        assert len(list(tmp_path.iterdir())) == 3, "another machine cannot know that the process is dead"
    images.write(path, PIXELS)
    remaining = set(tmp_path.iterdir())
    assert len(remaining) == 2
    assert path in remaining
    images.write(other, PIXELS)
    assert set(tmp_path.iterdir()) == {path, other}
    assert not left.exists()


def test_old_temporaries_go_whoever_made_them(tmp_path: Path) -> None:
    path = tmp_path / "p.png"
    (left,) = killed_write(path)
    os.utime(left, (0, 0))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_output.platform, "node", lambda: "another machine")
        images.write(path, PIXELS)
    assert list(tmp_path.iterdir()) == [path]


def test_temporaries_of_running_writes_stay(tmp_path: Path) -> None:
    path = tmp_path / "p.png"
    mine = tmp_path / f"{_output._temporary_start(path)}.{os.getppid()}.12345678.part"
    mine.touch()
    images.write(path, PIXELS)
    assert mine.exists()
