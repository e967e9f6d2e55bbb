"""Exporting: an account's records as NDJSON, oldest first, each line the record's exact bytes; and files for them."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from whodid.durable import replacing
from whodid.errors import InvalidParameter
from whodid.records import Kind
from whodid.store.base import Store


async def export(
    store: Store,
    account_no: int,
    out: BinaryIO,
    *,
    since_ms: int,
    until_ms: int,
    kind: Kind | None,
    progress: Callable[[int], None],
) -> int:
    """Write the records with ``createdAt`` in ``[since_ms, until_ms)``; how many there were.

    ``progress`` is told now and then how many are written.
    """
    written = 0
    async for chunk in store.window(account_no, since_ms, until_ms, kind):
        out.write(b"".join(line for entry in chunk for line in (entry.record, b"\n")))
        written += len(chunk)
        progress(written)
    return written


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
