"""Files to be written: their place is checked before the work, and what was made is not lost in the end."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import os
import platform
import secrets
import stat
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff")
_DAY = 24 * 3600
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclass
class Output:
    """A file to be written, whose place was checked before the work that makes its content."""

    path: Path

    @classmethod
    def check(cls, path: str | os.PathLike[str], suffixes: tuple[str, ...] | None = None) -> Output:
        """Check that a file can be written, without leaving anything behind.

        Raises:
            ValueError: The name's ending is not one of ``suffixes`` (default: the picture formats), or it is a folder,
                a pipe or a device.
            OSError: The folder does not exist, is not a folder or cannot be written; the file is there and may not be
                written; the name is too long.
        """
        path = Path(path)
        accepted = suffixes or _SUFFIXES
        if "\0" in str(path):
            raise ValueError(f"{str(path)!r} must be a file's name, without zero characters")
        if path.suffix.lower() not in accepted:
            raise ValueError(f"{path} must end in one of {', '.join(accepted)}")
        existing = _status(path)
        if existing is not None and stat.S_ISDIR(existing.st_mode):
            raise ValueError(f"{path} is a folder; give the name of a file in it")
        if existing is not None and not stat.S_ISREG(existing.st_mode):
            raise ValueError(f"{path} is a pipe or a device; give the name of a file")
        folder = _target(path).parent
        if not folder.is_dir():
            raise FileNotFoundError(f"the folder {folder} does not exist")
        if existing is not None and not _may_write(path):
            raise PermissionError(f"{path} exists and may not be written")
        if existing is None:
            try:
                with tempfile.TemporaryFile(dir=folder):
                    pass
            except OSError as error:
                raise PermissionError(f"the folder {folder} cannot be written: {error.strerror}") from error
        return cls(path)

    @contextlib.contextmanager
    def open(self) -> Iterator[BinaryIO]:
        """Open a buffer for writing, whose content becomes the file's if the block ends well.

        Raises:
            OSError: The file cannot be written. The message names another file, which holds the content.
        """
        buffer = io.BytesIO()
        yield buffer
        content = buffer.getbuffer()
        try:
            _store(_target(self.path), content)
        except OSError as error:
            kept = _rescue(self.path, content, error.errno in _FULL)
            where = (
                f"its content is kept in {kept}" if kept else "its content could not be kept in another place either"
            )
            failure = type(error)(f"{self.path} cannot be written ({error.strerror or error}); {where}")
            failure.errno = error.errno
            raise failure from error


def _status(path: Path) -> os.stat_result | None:
    """Return the status of the file that is there, or that a link leads to, or None."""
    try:
        return path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise type(error)(f"{path} cannot be written: {error.strerror}") from error


def _target(path: Path) -> Path:
    """Return the file to write: what a symbolic link leads to, and not the link."""
    return Path(os.path.realpath(path)) if path.is_symlink() else path


def _may_write(path: Path) -> bool:
    return os.access(path, os.W_OK, effective_ids=os.access in os.supports_effective_ids)


def _store(target: Path, content: memoryview) -> None:
    """Give a file its content: by a rename where that keeps what the file is, and in place elsewhere."""
    existing = _status(target)
    if existing is None or existing.st_nlink == 1:
        try:
            _replace(target, content, existing)
        except OSError as error:
            # A file that is mounted cannot be replaced, nor can one in a folder that may not be written, nor can
            # another user's be kept that user's. On a full disk it would be lost in place.
            if existing is None or error.errno in _FULL:
                raise
        else:
            return
    _overwrite(target, content)


def _replace(target: Path, content: memoryview, existing: os.stat_result | None) -> None:
    _remove_stale(target)
    temporary = target.with_name(f"{_temporary_start(target)}.{os.getpid()}.{secrets.token_hex(4)}.part")
    # The kernel applies the umask and the folder's own rules.
    number = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666 if existing is None else 0o600)
    try:
        with open(number, "wb") as file:
            if existing is not None:
                made = os.fstat(number)
                if (made.st_uid, made.st_gid) != (existing.st_uid, existing.st_gid):
                    os.chown(number, existing.st_uid, existing.st_gid)
                os.chmod(number, stat.S_IMODE(existing.st_mode))
            file.write(content)
            file.flush()
            os.fsync(number)
        os.replace(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(target.parent)


def _overwrite(target: Path, content: memoryview) -> None:
    """Write over a file in its place, after its room is made sure of."""
    with open(target, "r+b") as file:
        old_size = os.fstat(file.fileno()).st_size
        try:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, max(len(content), 1))
        except OSError as error:
            if error.errno in _FULL:
                file.truncate(old_size)
                raise
            # Some file systems cannot tell; they are written to all the same.
        file.write(content)
        file.truncate()
        file.flush()
        os.fsync(file.fileno())


def _rescue(path: Path, content: memoryview, is_full: bool) -> Path | None:
    """Write what has no place of its own beside it, or far from a full disk, and return where, or None."""
    stem = os.fsencode(path.stem)[:100].decode("utf-8", "ignore")
    folders = [_target(path).parent, path.parent, Path(tempfile.gettempdir()), Path(os.path.expanduser("~"))]
    for folder in folders[2:] + folders[:2] if is_full else folders:
        kept = folder / f"{stem}-{secrets.token_hex(4)}{path.suffix}"
        try:
            with open(kept, "xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        except OSError:
            with contextlib.suppress(OSError):
                kept.unlink(missing_ok=True)
        else:
            return kept.absolute()
    return None


def _temporary_start(target: Path) -> str:
    """Return how the names of a file's temporaries begin on this machine: short, whatever the file's own name."""
    file, machine = (hashlib.sha256(os.fsencode(name)).hexdigest()[:8] for name in (target.name, platform.node()))
    return f".{file}.{machine}"


def _remove_stale(target: Path) -> None:
    """Remove temporaries of writes to the same file that were killed: on this machine, or a day ago."""
    start = _temporary_start(target)
    any_machine = start.rpartition(".")[0] + "."
    with contextlib.suppress(OSError):
        for one in list(target.parent.glob(f"{any_machine}*.part")):
            process = one.name.split(".")[-3]
            with contextlib.suppress(OSError):
                is_left = one.name.startswith(start + ".") and process.isdigit() and not _runs(int(process))
                if is_left or time.time() - one.stat().st_mtime > _DAY:
                    one.unlink()


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True


def _sync_folder(folder: Path) -> None:
    """Have the rename itself written to the disk, where a folder can be opened."""
    with contextlib.suppress(OSError):
        number = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)
