"""The tally: how many records there are of each hour and value; and the words of the addresses in them.

Both are derived from the records and kept up to date by whoever appends. A batch has many records and few different
values, so each value is written once a batch.
"""

from collections import Counter
from typing import Final, TypeAlias

import apsw

from whodid.records import Action, Body, Kind
from whodid.words import split

HOUR_MS: Final = 3_600_000

FIELDS: Final = ("type", "action", "scope", "outcome")

_MOST_ADDRESSES: Final = 100_000

Key: TypeAlias = tuple[int, str, int, int, str]
"""Of a row of ``tally``: account, field, hour, kind, value."""

_ADD: Final = """
    INSERT INTO {tally} (account_no, field, hour, kind, value, count) VALUES (?, ?, ?, ?, ?, ?)
    ON CONFLICT DO UPDATE SET count = count + excluded.count
"""


def counted(body: Body) -> str:
    """What is counted of a record, as one string: values without white space in them, with spaces between."""
    if isinstance(body, Action):
        return f"{body.type} {body.action} {body.outcome or ''} {body.user_email or ''}"
    return f"{body.scope} {body.outcome or ''}"


def _fields(kind: int, text: str) -> list[tuple[str, str]]:
    """The fields of ``counted``, with their values. Not the address: of those there are too many for every hour."""
    values = text.split(" ")
    names = ("type", "action", "outcome") if kind == Kind.ACTION else ("scope", "outcome")
    return [("", ""), *((name, value) for name, value in zip(names, values, strict=False) if value)]


class Counts:
    """What a batch adds to the tally."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[int, int, int, str]] = Counter()

    def add(self, account_no: int, kind: int, created_ms: int, text: str) -> None:
        """Count one record; ``text`` is what ``counted`` made of it."""
        self._counts[account_no, created_ms // HOUR_MS, kind, text] += 1

    def rows(self) -> "Counter[Key]":
        """The rows of the tally that this comes to."""
        rows: Counter[Key] = Counter()
        for (account_no, hour, kind, text), count in self._counts.items():
            for field, value in _fields(kind, text):
                rows[account_no, field, hour, kind, value] += count
        return rows

    def addresses(self) -> set[tuple[int, str]]:
        """The addresses in the records, each with its account."""
        pairs = {
            (account_no, text.rpartition(" ")[2]) for account_no, _, kind, text in self._counts if kind == Kind.ACTION
        }
        return {(account_no, email) for account_no, email in pairs if email}

    def write(self, connection: apsw.Connection, addresses: "Addresses", table: str = "tally") -> None:
        """Add them; inside a transaction."""
        rows = self.rows()
        connection.executemany(_ADD.format(tally=table), [(*key, count) for key, count in sorted(rows.items())])
        addresses.write(connection, self.addresses())


def words_of_address(email: str) -> set[str]:
    """The words of an address; one without any has the empty one, so that the table knows all addresses."""
    return set(split(email)) or {""}


class Addresses:
    """The addresses whose words are in the store already, as far as is known."""

    def __init__(self, table: str = "address_word") -> None:
        self._table = table
        self._known: set[tuple[int, str]] = set()
        self._written: set[tuple[int, str]] = set()

    def write(self, connection: apsw.Connection, addresses: set[tuple[int, str]]) -> None:
        """Add the words of addresses, each with its account; inside a transaction."""
        self._written = addresses - self._known
        if self._written:
            rows = sorted((no, word, email) for no, email in self._written for word in words_of_address(email))
            connection.executemany(f"INSERT OR IGNORE INTO {self._table} VALUES (?, ?, ?)", rows)  # noqa: S608

    def committed(self) -> None:
        """What was written last is there to stay."""
        if len(self._known) > _MOST_ADDRESSES:
            self._known.clear()
        self._known |= self._written
        self._written = set()
