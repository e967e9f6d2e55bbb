"""Downloads: exports as they come, and where they go on if the connection breaks.

A file of lines is handed on by whole records only, so that its last one tells where to go on. Other files, and those
that are packed, can't be gone on with.
"""

import re
from itertools import accumulate
from types import TracebackType
from typing import Final, Protocol, Self

from whodid.client.calls import Answer, Broken, Call, Parameters, Work
from whodid.client.errors import CallError, InvalidAnswer, NoAnswer, refusal
from whodid.client.retrying import Patience
from whodid.client.shapes import Exported

EXPORT: Final = "/api/v2/logs/export"

_LINE = re.compile(rb'\{"seq":([0-9]+),').match
_ROW = re.compile(rb"([0-9]+),").match


class Splitter(Protocol):
    """Knows where the records of a file end."""

    def ends(self, data: bytes) -> list[int]:
        """Where the last two records end of data that begins with a record; fewer where there are no more."""
        ...

    def seq(self, row: bytes) -> int | None:
        """The number of the record in a row; None of the row with the columns' names."""
        ...

    def count(self, rows: bytes) -> int:
        """How many rows these are."""
        ...


class Lines:
    """NDJSON: no record has a line break in it."""

    def ends(self, data: bytes) -> list[int]:
        """As the protocol says."""
        last = data.rfind(b"\n") + 1
        before = data.rfind(b"\n", 0, max(last - 1, 0)) + 1
        return [end for end in (before, last) if end]

    def seq(self, row: bytes) -> int | None:
        """As the protocol says. Raises ``InvalidAnswer``."""
        if found := _LINE(row):
            return int(found[1])
        raise InvalidAnswer("a line of the export does not begin with the record's number")

    def count(self, rows: bytes) -> int:
        """As the protocol says."""
        return rows.count(b"\n")


class Rows:
    """CSV: line breaks within quotation marks are a value's."""

    def ends(self, data: bytes) -> list[int]:
        """As the protocol says."""
        parts = data.split(b'"')  # those in even places stand outside of quotation marks
        begins = accumulate((len(part) + 1 for part in parts), initial=0)
        outside = list(zip(begins, parts, strict=False))[::2]
        found: list[int] = []
        for begin, part in reversed(outside):
            at = len(part)
            while len(found) < 2 and (at := part.rfind(b"\r\n", 0, at)) >= 0:
                found.append(begin + at + 2)
        return found[::-1]

    def seq(self, row: bytes) -> int | None:
        """As the protocol says."""
        found = _ROW(row)
        return int(found[1]) if found else None

    def count(self, rows: bytes) -> int:
        """As the protocol says."""
        return sum(part.count(b"\r\n") for part in rows.split(b'"')[::2])


def splitter_of(form: str) -> Splitter | None:
    """Of a format; None of one whose files are no lines."""
    match form:
        case "ndjson":
            return Lines()
        case "csv":
            return Rows()
    return None


class Download:
    """One export. ``open``, ``take`` what comes, and ``end``; where it breaks off, ``break_off`` and ``open`` again.

    A context manager: an error that leaves it tells how far it came.
    """

    def __init__(
        self,
        patience: Patience,
        url: str,
        parameters: Parameters,
        form: str,
        *,
        packed: bool,
        after: str | None,
        header: bool = True,
    ) -> None:
        self._patience = patience
        self._url = url
        self._parameters = parameters
        self._splitter = None if packed else splitter_of(form)
        self._after = after
        self._titled = form == "csv"
        self._untitled = self._titled and not header
        self._rest = b""
        self._skip = False
        self._breaks = 0
        self._until = 0.0
        self._size_bytes = 0
        self._rows = 0
        self._last_seq: int | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, CallError):
            error.exported = self.told()

    def open(self) -> Work[Answer]:
        """The answer whose body is the file, or the rest of it. Raises ``CallError``."""
        after = self._after if self._last_seq is None else str(self._last_seq)
        more = () if after is None else (("after", after),)
        call = Call("GET", EXPORT, (*self._parameters, *more), accept="*/*", streamed=True)
        answer = yield from self._patience.answer(call, self._url)
        if answer.status != 200:
            raise refusal(answer, self._url)
        self._rest = b""
        self._skip = self._untitled or (self._titled and self._size_bytes > 0)  # the columns' names come once more
        return answer

    def take(self, data: bytes) -> bytes:
        """What is to be handed on after this came."""
        return self._count(data if self._splitter is None else self._whole(data, self._splitter))

    def _whole(self, data: bytes, splitter: Splitter) -> bytes:
        """What there is of whole records."""
        data = self._rest + data
        if self._skip:
            title, found, data = data.partition(b"\r\n")
            if not found:
                self._rest = title
                return b""
            self._skip = False
        ends = splitter.ends(data)
        if not ends:
            self._rest = data
            return b""
        self._rest = data[ends[-1] :]
        self._rows += splitter.count(data[: ends[-1]])
        row = data[ends[0] if len(ends) == 2 else 0 : ends[-1]]
        seq = splitter.seq(row)
        if seq is not None:
            self._last_seq = seq
            self._breaks = 0
        return data[: ends[-1]]

    def _count(self, data: bytes) -> bytes:
        self._size_bytes += len(data)
        return data

    def end(self) -> Exported:
        """The body has come to its end. Raises ``InvalidAnswer`` where that is in the middle of a record."""
        if self._rest:
            raise InvalidAnswer("the export ends in the middle of a record")
        return self.told()

    def told(self) -> Exported:
        """What was handed on until now."""
        if self._splitter is None:
            return Exported(self._size_bytes, None)
        titles = int(self._titled and not self._untitled and self._size_bytes > 0)
        return Exported(self._size_bytes, self._last_seq, self._rows - titles)

    def break_off(self, broken: Broken) -> Work[None]:
        """The connection broke: wait before it is gone on with. Raises ``NoAnswer`` where that can't be."""
        self._breaks += 1
        if self._breaks == 1:
            self._until = self._patience.until()
        if self._splitter is None and self._size_bytes:
            raise NoAnswer(
                f"the export broke off, and what is packed can't be gone on with: {broken.reason}; begin again, or "
                "export NDJSON or CSV without compression"
            )
        pause = self._patience.pause(broken, self._breaks)
        if self._patience.is_over(broken, self._breaks, pause, self._until):
            raise NoAnswer(f"the export broke off, {self._breaks} times in a row: {broken.reason}")
        yield pause
