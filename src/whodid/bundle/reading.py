"""Evidence bundles, read piece by piece. Assumes nothing about a file but that it ends, and finds where it is wrong."""

import itertools
import zlib
from collections.abc import Iterable, Iterator

import msgspec

from whodid.bundle.lines import (
    MOST_LINE_BYTES,
    UNREADABLE,
    BundleEntry,
    BundleHeader,
    BundleTail,
    InvalidEntry,
    Line,
    encoder,
    parse_header,
    parse_line,
)
from whodid.errors import InvalidEvidence

_PIECE_BYTES = 1024 * 1024
_GZIP_MARK = b"\x1f\x8b"
_GZIP_BITS = zlib.MAX_WBITS | 16

_entry_decoder = msgspec.json.Decoder(BundleEntry)


class BundleReader:
    """Reads a bundle, packed or not, from the pieces of a file: ``header``, then ``entries``, then ``tail``."""

    tail: BundleTail
    """The last line, once all entries have been read."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._lines = _whole_lines(_unpacked(iter(pieces)))
        self._ahead = b""
        self._first = self._next = self._end = 0

    def header(self) -> BundleHeader:
        """The first line. Raises ``InvalidEvidence``."""
        lines = next((lines for lines, _ in self._lines if lines), b"")
        line, _, self._ahead = lines.partition(b"\n")
        header = parse_header(line)
        self._first = self._next = header.first
        self._end = header.end
        return header

    def entries(self) -> Iterator[list[BundleEntry]]:
        """The entries in the order of the file, a few thousand at a time; their numbers may be any.

        Raises ``InvalidEvidence``, and where it can tell which entry is at fault, ``InvalidEntry``; all sound ones
        before it have come then. Whether the file is whole is known at its end, and ``tail`` is there then.
        """
        yield from self._sound(self._ahead)
        try:
            for lines, last in self._lines:
                if not last:
                    yield from self._sound(lines)
                elif (entry := _parsed(BundleEntry, lines)) is None:
                    self.tail = parse_line(BundleTail, lines, f"{self._here()} is not the last line of a bundle")
                    return
                else:
                    self._next += 1
                    yield [entry]
        except (InvalidEntry, _Damaged):
            raise
        except InvalidEvidence as error:
            raise self._fault(error.message) from error
        raise self._fault("the file is cut off: its last line is missing")

    def _sound(self, lines: bytes) -> Iterator[list[BundleEntry]]:
        """The entries of whole lines. What is in our own form is known by writing it again: nothing hides in it."""
        entries: list[BundleEntry] = []
        try:
            entries = _entry_decoder.decode_lines(lines)
            ours = encoder.encode_lines(entries) == lines
        except UNREADABLE:
            ours = False  # which line it is shows when they are looked at one by one
        if not ours:
            yield from self._one_by_one(lines)
        elif entries:
            self._next += len(entries)
            yield entries

    def _one_by_one(self, lines: bytes) -> Iterator[list[BundleEntry]]:
        entries: list[BundleEntry] = []
        for line in lines.removesuffix(b"\n").split(b"\n"):
            try:
                entries.append(parse_line(BundleEntry, line, f"{self._here()} is not an entry"))
            except InvalidEvidence as error:
                yield entries
                early = _parsed(BundleTail, line) is not None
                why = "something follows a line that can only be the last" if early else error.message
                raise self._fault(why) from error
            self._next += 1
        yield entries

    def _here(self) -> str:
        return f"line {self._next - self._first + 2}"

    def _fault(self, message: str) -> InvalidEvidence:
        """What is wrong after the entries so far: the next one is missing, unless they are all there."""
        return InvalidEntry(self._next, message) if self._next < self._end else InvalidEvidence(message)


class _Damaged(InvalidEvidence):
    """The file can't be unpacked; where the damage begins is not known."""


def _parsed(kind: type[Line], line: bytes) -> Line | None:
    try:
        return parse_line(kind, line, "")
    except InvalidEvidence:
        return None


def _unpacked(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """The file's bytes without gzip, if it is packed."""
    head = b""
    for piece in pieces:
        head += piece
        if len(head) >= len(_GZIP_MARK):
            break
    packed = head.startswith(_GZIP_MARK)
    pieces = itertools.chain([head], pieces)
    yield from _inflate(pieces) if packed else pieces


def _inflate(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Undo gzip, of which a file may have several members, one after another; nothing else may follow them."""
    stream = zlib.decompressobj(wbits=_GZIP_BITS)
    for piece in pieces:
        data = piece
        while data:
            if stream.eof:
                stream = zlib.decompressobj(wbits=_GZIP_BITS)
            try:
                yield stream.decompress(data, _PIECE_BYTES)
            except zlib.error as error:
                raise _Damaged(f"the file is damaged, or something follows its end: {error}") from error
            data = stream.unused_data if stream.eof else stream.unconsumed_tail
    if not stream.eof:
        raise InvalidEvidence("the file is cut off: its gzip data has no end")


def _whole_lines(pieces: Iterator[bytes]) -> Iterator[tuple[bytes, bool]]:
    """Whole lines, many at a time, and the last one of all by itself, with True.

    Which one is the last is known only once the pieces end. Where they end with an error, all whole lines come first.
    """
    held, rest = b"", bytearray()  # the last whole line, and what has come after it
    try:
        for piece in pieces:
            end = piece.rfind(b"\n") + 1
            if end:
                lines = held + rest + piece[:end]
                start = lines.rfind(b"\n", 0, -1) + 1
                if start:
                    yield lines[:start], False
                held, rest = lines[start:], bytearray()
            rest += piece[end:]
            _check_length(rest)
    except InvalidEvidence:
        yield held, False
        raise
    if rest:
        yield held, False
    yield bytes(rest) or held, True


def _check_length(line: bytearray) -> None:
    if len(line) > MOST_LINE_BYTES:
        raise InvalidEvidence(f"a line has more than {MOST_LINE_BYTES} bytes, which none of a bundle has")
