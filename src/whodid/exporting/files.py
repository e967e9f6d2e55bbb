"""Files of exports: what their names say, and that they are there whole or not at all."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

from whodid.durable import replacing
from whodid.errors import InvalidParameter

_FORMATS: Final = {".ndjson": "ndjson", ".jsonl": "ndjson", ".csv": "csv", ".parquet": "parquet"}
_COMPRESSIONS: Final = {".gz": "gzip", ".zst": "zstd"}


def named(path: Path) -> tuple[str | None, str | None]:
    """The format and the compression that a file's name says, like ``all.csv.gz``; None of what it does not say."""
    compression = _COMPRESSIONS.get(path.suffix.lower())
    inner = path if compression is None else path.with_suffix("")
    return _FORMATS.get(inner.suffix.lower()), compression


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """A file that is there under its name only once it is whole, and on the disk; readable by its owner alone.

    What is no regular file (``/dev/stdout``, a pipe) is written to as it is. Raises ``InvalidParameter`` where it
    can't be written.
    """
    try:
        if path.exists() and not path.is_file():
            with path.open("wb") as file:
                yield file
        else:
            with replacing(path.resolve()) as file:
                yield file
    except BrokenPipeError:
        raise
    except OSError as error:
        raise InvalidParameter(f"can't write {path}: {error.strerror}") from error
