"""Files of exports: what their names say, and that they are there whole or not at all."""

import contextlib
import errno
import fcntl
import io
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

from whodid.durable import replacing, sync_folder
from whodid.errors import InvalidParameter

_FORMATS: Final = {".ndjson": "ndjson", ".jsonl": "ndjson", ".csv": "csv", ".parquet": "parquet"}
_COMPRESSIONS: Final = {".gz": "gzip", ".zst": "zstd"}

# What people expect of these names is nothing that an export is.
_OTHER_FORMATS: Final = re.compile(
    r"\.(json|tsv|xlsx?|ods|xml|html|pdf|ya?ml|avro|orc|feather|arrow|sql|db|sqlite)"
).fullmatch
_OTHER_COMPRESSIONS: Final = re.compile(r"\.(bz2|xz|lzma|lz|lz4|br|z|zip|7z|rar|tar|tgz|tbz2|txz)").fullmatch


def named(path: Path, form: str | None = None, compression: str | None = None) -> tuple[str | None, str | None]:
    """The format and the compression of a file, as they were given, else as its name says, like ``all.csv.gz``.

    None of what neither says. Raises ``InvalidParameter`` where the name says something that there is not.
    """
    found = _COMPRESSIONS.get(path.suffix.lower())
    inner = path if found is None else path.with_suffix("")
    ending, before = inner.suffix.lower(), inner.with_suffix("").suffix.lower()
    packed_otherwise = compression is None and _OTHER_COMPRESSIONS(ending) is not None
    formed_otherwise = form is None and (_OTHER_FORMATS(ending) or (ending not in _FORMATS and before in _FORMATS))
    if packed_otherwise or formed_otherwise:
        raise InvalidParameter(
            f"the name {path.name[-100:]} says what an export can't be: it may end with {', '.join(_FORMATS)}, and "
            f"{' or '.join(_COMPRESSIONS)} after that; or give both the format and the compression"
        )
    return form or _FORMATS.get(ending), compression or found


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """A file that is there under its name only once it is whole, and on the disk; readable by its owner alone.

    What is no regular file (``/dev/stdout``, a pipe) is written to as it is. Raises ``InvalidParameter`` where it
    can't be written.
    """
    with _told(path):
        if path.exists() and not path.is_file():
            with path.open("wb") as file:
                yield file
        else:
            with replacing(path.resolve()) as file:
                yield file


class Part(io.BufferedWriter):
    """The beginning of a file: what was written piece by piece, each of them as a whole."""

    keep = False
    """Whether what is there is to stay, beside its later place, if it does not become whole."""

    def __init__(self, path: Path, descriptor: int) -> None:
        super().__init__(io.FileIO(descriptor, "wb"))
        self.path = path
        self.whole_bytes = 0
        self.last = b""
        """The piece that was written last."""

    def write(self, data: bytes, /) -> int:  # type: ignore[override]  # nothing else is written
        """Write a piece."""
        written = super().write(data)
        self.whole_bytes += written
        if data:
            self.last = data
        return written


@contextlib.contextmanager
def part_file(path: Path) -> Iterator[Part]:
    """As ``whole_file``, for what takes long: until it is whole, it is beside its place, as ``all.csv.part``.

    One that was left there by a process that was killed is written anew. Raises ``InvalidParameter``, also where
    another process writes it just now.
    """
    with _told(path):
        if path.exists() and not path.is_file():
            with Part(path, os.open(path, os.O_WRONLY | os.O_CLOEXEC)) as file:
                yield file
            return
        target = path.resolve()
        part = target.with_name(f"{target.name}.part")
        with Part(part, _locked(part)) as file:
            try:
                yield file
                file.flush()
                os.fsync(file.fileno())
                part.replace(target)
            except BaseException:
                _leave(file)
                raise
        sync_folder(target.parent)


def _locked(part: Path) -> int:
    """An empty file that no other process writes. Raises ``OSError``, ``InvalidParameter``."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    descriptor = os.open(part, flags, 0o600)
    with contextlib.ExitStack() as failing:
        failing.callback(os.close, descriptor)
        if not _is_ours(os.fstat(descriptor)):
            raise InvalidParameter(f"{part} is there, and no file of yours alone; remove it, or name another file")
        if not (_is_locked(descriptor) and _is_still(part, descriptor)):
            raise InvalidParameter(f"{part} is being written by another export; name another file, or wait")
        os.ftruncate(descriptor, 0)
        os.fchmod(descriptor, 0o600)
        failing.pop_all()
    return descriptor


def _is_ours(found: os.stat_result) -> bool:
    """Whether nobody else made the file, who might read what is written to it, and it has no other name."""
    return stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid() and found.st_nlink == 1


def _is_locked(descriptor: int) -> bool:
    """Whether it could be locked, for as long as it is open; or nobody can lock anything there."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP):
            raise
    return True


def _is_still(part: Path, descriptor: int) -> bool:
    """Whether this is the file of that name, and not one that another process has just completed."""
    try:
        return os.path.samestat(part.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _leave(file: Part) -> None:
    """Leave of a file that does not become whole the pieces that were written, or nothing."""
    if file.keep:
        file.flush()
        os.ftruncate(file.fileno(), file.whole_bytes)
        os.fsync(file.fileno())
    else:
        file.path.unlink(missing_ok=True)


@contextlib.contextmanager
def _told(path: Path) -> Iterator[None]:
    """Tell the system's errors as ours, but that nobody reads."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise InvalidParameter(f"can't write {path}: {error.strerror}") from error
