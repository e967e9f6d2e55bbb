"""Files of records: opened, unpacked, and read piece by piece. Owns compression and encoding marks, never JSON."""

import codecs
import zlib
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

import zstandard

from whodid.errors import InvalidParameter, MalformedBody
from whodid.importing.splitting import RawRecord, split

PIECE_BYTES = 256 * 1024

BATCH_EVENTS = 1000
"""How many records one commit of an import writes at most …"""

BATCH_BYTES = 8 * 1024 * 1024
"""… and about how many bytes of them are in memory at once."""

_GZIP = b"\x1f\x8b"
_ZSTD = b"\x28\xb5\x2f\xfd"

_ZSTD_BITE_BYTES = 512
"""How much zstd is unpacked at once: it may become 16 MiB, since four bytes of it can stand for 128 KiB."""

_ZSTD_WINDOW_BYTES = 128 * 1024 * 1024
"""How far zstd may look back, which is what it needs memory for; so far goes ``zstd --ultra``."""


class RecordBatch(NamedTuple):
    """Consecutive records of one file."""

    unit: str
    """What the records' numbers count: ``line`` or ``record``."""
    records: list[RawRecord]


class RecordFile:
    """One file of records. ``stream`` is read once, and never sought in: it may be a pipe."""

    def __init__(self, name: str, stream: BinaryIO) -> None:
        self.name = name
        self.taken_bytes = 0
        """How much of the file has been read so far, as it lies on the disk."""
        self._stream = stream

    def batches(self) -> Iterator[RecordBatch]:
        """The file's records, in order. Raises ``MalformedBody`` where the file is not what it should be."""
        unit, records = split(_without_mark(self._unpacked()))
        batch: list[RawRecord] = []
        size_bytes = 0
        for record in records:
            batch.append(record)
            size_bytes += len(record.data)
            if len(batch) == BATCH_EVENTS or size_bytes >= BATCH_BYTES:
                yield RecordBatch(unit, batch)
                batch, size_bytes = [], 0
        if batch:
            yield RecordBatch(unit, batch)

    def _unpacked(self) -> Iterator[bytes]:
        head = self._read(len(_ZSTD))
        pieces = self._pieces(head)
        if head == _ZSTD:
            return _unpack_zstd(pieces)
        return _inflate(pieces) if head.startswith(_GZIP) else pieces

    def _pieces(self, head: bytes) -> Iterator[bytes]:
        while head:
            yield head
            head = self._read(PIECE_BYTES)

    def _read(self, most_bytes: int) -> bytes:
        try:
            piece = self._stream.read(most_bytes)
        except OSError as error:
            raise InvalidParameter(f"can't read {self.name}: {error.strerror}") from error
        self.taken_bytes += len(piece)
        return piece


def _inflate(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Undo gzip, of which files may have several members, one after another."""
    stream = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    for piece in pieces:
        data = piece
        while data:
            if stream.eof:
                if not data.strip(b"\0"):
                    break  # padding after the last member, as tapes have it
                stream = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
            try:
                yield stream.decompress(data, PIECE_BYTES)
            except zlib.error as error:
                raise MalformedBody(f"the file is not valid gzip: {error}") from error
            data = stream.unused_data if stream.eof else stream.unconsumed_tail
    if not stream.eof:
        raise MalformedBody("the file is cut off: its gzip data has no end")


def _unpack_zstd(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Undo zstd, of which files may have several frames, one after another."""
    frames = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW_BYTES)
    frame = frames.decompressobj()
    for bite in (bite for piece in pieces for bite in _cut(piece, _ZSTD_BITE_BYTES)):
        data = bite
        while data:
            if frame.eof:
                frame = frames.decompressobj()
            try:
                unpacked = frame.decompress(data)
            except zstandard.ZstdError as error:
                raise MalformedBody(f"the file is not valid zstd: {error}") from error
            yield from _cut(unpacked, PIECE_BYTES)
            data = frame.unused_data if frame.eof else b""
    if not frame.eof:
        raise MalformedBody("the file is cut off: its zstd data has no end")


def _cut(data: bytes, size_bytes: int) -> Iterator[bytes]:
    return (data[at : at + size_bytes] for at in range(0, len(data), size_bytes))


def _without_mark(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Leave out the mark (BOM) that some programs put before UTF-8."""
    head = b""
    for piece in pieces:
        head += piece
        if len(head) >= len(codecs.BOM_UTF8):
            break
    yield head.removeprefix(codecs.BOM_UTF8)
    yield from pieces
