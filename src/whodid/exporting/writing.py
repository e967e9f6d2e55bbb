"""Writing: records by the chunk become pieces of a file, and those a file."""

from collections.abc import AsyncIterable, AsyncIterator, Callable, Sequence
from typing import BinaryIO, NamedTuple

from whodid.exporting.formats import Format
from whodid.store.base import Numbered


class Piece(NamedTuple):
    """The next bytes of a file, and how many records more have gone into it; either may be nothing."""

    data: bytes
    records: int


async def pieces(chunks: AsyncIterable[Sequence[Numbered]], form: Format) -> AsyncIterator[Piece]:
    """A file of the records, piece by piece. What makes it is run in the caller's thread, a chunk at a time."""
    yield Piece(form.begin(), 0)
    async for chunk in chunks:
        yield Piece(form.rows(chunk), len(chunk))
    yield Piece(form.end(), 0)


async def export(source: AsyncIterable[Piece], out: BinaryIO, progress: Callable[[int], None]) -> int:
    """Write all the pieces; how many records there were. ``progress`` is told now and then how many are written."""
    written = 0
    async for piece in source:
        out.write(piece.data)
        written += piece.records
        progress(written)
    return written
