"""Formats: what a file of records is made of, chunk by chunk, in memory that does not grow with it."""

from collections.abc import Sequence
from typing import Final, Protocol

from whodid.errors import InvalidParameter
from whodid.exporting.comma_separated import CommaSeparated
from whodid.exporting.parquet import Parquet
from whodid.store.base import Numbered

FORMATS: Final = ("ndjson", "csv", "parquet")


class Format(Protocol):
    """Makes one file of records: ``begin``, then ``rows`` as often as need be, then ``end``; joined, they are it."""

    @property
    def media_type(self) -> str:
        """What kind of file it is, for HTTP."""
        ...

    @property
    def suffix(self) -> str:
        """How names of such files end, like ``.csv``."""
        ...

    @property
    def packed(self) -> bool:
        """Whether the file is compressed inside, so that it should not be compressed once more."""
        ...

    def begin(self) -> bytes:
        """What stands before all records."""
        ...

    def rows(self, records: Sequence[Numbered]) -> bytes:
        """The records that come next; about a thousand at a time is best. What they make may come out later."""
        ...

    def end(self) -> bytes:
        """What stands behind all records; then the file is whole."""
        ...


class Ndjson:
    """Records as lines of JSON: each the record's exact bytes, with its number in front as ``seq`` if ``numbered``."""

    media_type: Final = "application/x-ndjson"
    suffix: Final = ".ndjson"
    packed: Final = False

    def __init__(self, *, numbered: bool = True) -> None:
        self._numbered = numbered

    def begin(self) -> bytes:
        """Nothing."""
        return b""

    def rows(self, records: Sequence[Numbered]) -> bytes:
        """A line for each record."""
        if self._numbered:
            return b"".join([b'{"seq":%d,%b\n' % (seq, record[1:]) for seq, _, _, record in records])
        return b"".join([line for record in records for line in (record.record, b"\n")])

    def end(self) -> bytes:
        """Nothing more."""
        return b""


def open_format(name: str, *, numbered: bool = True, mark: bool = False, titled: bool = True) -> Format:
    """A file of one of the ``FORMATS``.

    ``numbered`` is for NDJSON: with the records' numbers. ``mark`` is for CSV: with a BOM, as spreadsheets want it; so
    is ``titled``: with the line of the columns' names.

    Raises ``InvalidParameter`` for any other name, and where what the format needs is not installed.
    """
    match name:
        case "ndjson":
            return Ndjson(numbered=numbered)
        case "csv":
            return CommaSeparated(mark=mark, titled=titled)
        case "parquet":
            return Parquet()
        case _:
            raise InvalidParameter(f'format must be {", ".join(FORMATS[:-1])} or {FORMATS[-1]}, not "{name[:60]}"')
