"""The check of a whole store: everything that is derived is made again and compared. Reads only.

What is checked, numbered as in the code:

1. the file itself, as SQLite sees it;
2. per account: sequence numbers without gaps, each commitment made of its salt and record, each record of the
   account, kind and time that its row says, and found by its ``_id``;
3. per account: the frontier and the block roots, grown anew from the commitments;
4. nothing that belongs to no account;
5. the search index: exactly the terms of the records, no more and no fewer; the tally; the words of addresses.

Of what may be as large as the log, nothing is kept in memory but sums: of a random hash of each pair of term and entry,
and of each hour and value. Two that should be the same have the same sum.

All of it is one snapshot, so a server may append meanwhile; the write-ahead log grows as long as the check lasts.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import apsw
import msgspec
import zstandard

from whodid.commitment import commit
from whodid.merkle import BlockRoot, Frontier, append, hash_leaf
from whodid.records import Kind, parse_record, parse_time
from whodid.store.base import Finding, Progress
from whodid.store.sqlite import identity
from whodid.store.sqlite.compression import Decompressor
from whodid.store.sqlite.search import TermMaker, term
from whodid.store.sqlite.tally import Counts, counted, words_of_address
from whodid.store.sqlite.time_keys import TIE_BITS
from whodid.store.sqlite.writer import stored_ids

MOST_FINDINGS = 1000
"""A check stops when it has found this much: the store is beyond an entry-by-entry report."""

_ENTRIES = """
    SELECT seq, time_key, kind, salt, commitment, dictionary, record
    FROM entry WHERE account_no = ? AND seq > ? ORDER BY seq LIMIT 5000
"""
_MASK = (1 << 64) - 1
_REBUILD = "'whodid verify-store --rebuild-search' makes it anew"

_MOST_ADDRESSES = 100_000
"""How many are remembered whose words were looked at; then they are looked at again."""

_HAS_WORD = "SELECT 1 FROM address_word WHERE account_no = ? AND word = ? AND email = ?"


class _Row(NamedTuple):
    """A row of ``entry``."""

    seq: int
    time_key: int
    kind: int
    salt: bytes
    commitment: bytes
    dictionary: int
    frame: bytes


class _Account(NamedTuple):
    """A row of ``account``, without what is not checked."""

    no: int
    name: str
    size: int
    frontier: bytes


class TooManyFindings(Exception):
    """The check has found enough."""


def check(connection: apsw.Connection, progress: Progress) -> list[Finding]:
    """Everything that is wrong with the store, up to ``MOST_FINDINGS``; empty: nothing is."""
    run = _Check(connection, progress)
    connection.execute("BEGIN")  # one snapshot for all steps
    try:
        run.file()
        for account in run.accounts():
            run.account(account)
        run.strays()
        run.search()
        run.tally()
        run.address_words()
    except TooManyFindings:
        pass
    except apsw.CorruptError as error:
        run.findings.append(Finding("", None, f"the file can't be read any further: {error}"))
    finally:
        connection.execute("ROLLBACK")
    return run.findings


class _Check:
    """One check while it runs."""

    def __init__(self, connection: apsw.Connection, progress: Progress) -> None:
        self.findings: list[Finding] = []
        self._connection = connection
        self._progress = progress
        self._read = Decompressor(connection)
        self._terms = TermMaker()
        self._counts = Counts()  # of one chunk
        self._tally = 0
        self._addresses: set[tuple[int, str]] = set()
        self._words_are_missing = False
        self._index_is_sound = False
        self._ids: dict[bytes, _Row] = {}
        self._terms_count = 0
        self._terms_digest = 0
        self._done = 0
        self._total = int(connection.execute("SELECT coalesce(sum(size), 0) FROM account").get)

    def file(self) -> None:
        """Step 1."""
        for (problem,) in self._connection.execute("PRAGMA quick_check(20)").fetchall():
            if problem != "ok":
                self._found("", None, f"the file: {problem}")

    def accounts(self) -> list[_Account]:
        """All accounts, by name. Their heads are read as they are: they may be wrong."""
        rows = self._connection.execute("SELECT account_no, name, size, frontier FROM account ORDER BY name")
        return [_Account(*row) for row in rows]

    def account(self, account: _Account) -> None:
        """Steps 2 and 3."""
        frontier = Frontier()
        blocks: list[BlockRoot] = []
        expected = 0
        for rows in self._chunks(account):
            for row in rows:
                if row.seq != expected:
                    self._found(account.name, expected, f"the entry is missing; the next there is {row.seq}")
                self._entry(account, row)
                expected = row.seq + 1
            self._found_by_id(account)
            self._count()
            frontier, completed = append(frontier, [hash_leaf(row.commitment) for row in rows])
            blocks += completed
            self._done += len(rows)
            self._progress(self._done, self._total)
        self._head(account, frontier)
        if frontier.size == expected:  # with entries missing, no block root can be made again
            self._blocks(account, blocks)
        self._identity(account)

    def _identity(self, account: _Account) -> None:
        """Step 2: users and tokens can be read as such."""
        try:
            identity.users(self._connection, account.no)
            identity.tokens(self._connection, account.no)
        except (ValueError, AttributeError) as error:
            self._found(account.name, None, f"a user or a token can't be read: {error}")

    def _head(self, account: _Account, frontier: Frontier) -> None:
        """Step 3: where the log ends."""
        if frontier.size != account.size:
            seq = min(frontier.size, max(account.size, 0))
            self._found(account.name, seq, f"there are {frontier.size} entries, but the head says {account.size}")
        elif frontier.to_bytes() != account.frontier:
            self._found(account.name, None, "the head's frontier is not that of the entries' commitments")

    def strays(self) -> None:
        """Step 4."""
        for table in (
            "entry",
            "record_id",
            "block_root",
            "user",
            "token",
            "checkpoint",
            "witness",
            "tally",
            "address_word",
        ):
            stray = self._connection.execute(
                f"SELECT count(*) FROM {table} WHERE account_no NOT IN (SELECT account_no FROM account)"  # noqa: S608
            ).get
            if stray:
                self._found("", None, f"{stray} rows of {table} belong to no account")
        entries, ids = self._connection.execute(
            "SELECT (SELECT count(*) FROM entry), (SELECT count(*) FROM record_id)"
        ).fetchall()[0]
        if entries != ids:
            self._found("", None, f"there are {entries} entries, but {ids} ids")

    def search(self) -> None:
        """Step 5."""
        count = digest = 0
        self._connection.execute(
            "CREATE VIRTUAL TABLE IF NOT EXISTS temp.term_of USING fts5vocab(main, search, instance)"
        )
        for one, time_key in self._connection.execute("SELECT term, doc FROM temp.term_of"):
            count += 1
            digest += hash((one, time_key)) & _MASK
        self._index_is_sound = (count, digest & _MASK) == (self._terms_count, self._terms_digest & _MASK)
        if not self._index_is_sound:
            self._found(
                "",
                None,
                f"the search index has {count} terms, the records have {self._terms_count}"
                + ("" if count != self._terms_count else " others")
                + f"; {_REBUILD}",
            )

    def tally(self) -> None:
        """Step 5: what is counted."""
        digest = 0
        rows: Any = self._connection.execute("SELECT account_no, field, hour, kind, value, count FROM tally")
        for *key, count in rows:
            digest += hash(tuple(key)) * count
            if count < 1:  # adds nothing to the sum, and is of nothing
                digest += 1
        if digest & _MASK != self._tally & _MASK:
            self._found("", None, f"the tally is not that of the records; {_REBUILD}")

    def address_words(self) -> None:
        """Step 5: each address that is in a record has its words, and no other address has any."""
        grouped: Any = self._connection.execute(
            "SELECT account_no, email, group_concat(word, ' ') FROM address_word GROUP BY account_no, email"
        )
        are_right = all(
            set(words.split(" ")) == words_of_address(email)
            and (not self._index_is_sound or self._is_indexed(no, email))
            for no, email, words in grouped
        )
        if self._words_are_missing or not are_right:
            self._found("", None, f"the words of addresses are not those of the records; {_REBUILD}")

    def _is_indexed(self, account_no: int, email: str) -> bool:
        """Whether the index, which was compared with the records, has an action of this address."""
        found = self._connection.execute(
            "SELECT 1 FROM temp.term_of WHERE term = ? LIMIT 1", (term(account_no, Kind.ACTION, "user_email", email),)
        ).get
        return found is not None

    def _count(self) -> None:
        """Step 5: add up what the chunk adds to the tally, and see whether its addresses have their words."""
        for key, count in self._counts.rows().items():
            self._tally += hash(key) * count
        self._tally &= _MASK
        for account_no, email in self._counts.addresses() - self._addresses:
            word = min(words_of_address(email))
            if not self._connection.execute(_HAS_WORD, (account_no, word, email)).get:
                self._words_are_missing = True
            if len(self._addresses) == _MOST_ADDRESSES:
                self._addresses.clear()
            self._addresses.add((account_no, email))
        self._counts = Counts()

    def _chunks(self, account: _Account) -> Iterator[list[_Row]]:
        after = -1
        while rows := list(map(_Row._make, self._connection.execute(_ENTRIES, (account.no, after)))):
            yield rows
            after = rows[-1].seq

    def _entry(self, account: _Account, row: _Row) -> None:
        """Step 2, of one entry."""
        try:
            record = self._read(row.dictionary, row.frame)
        except zstandard.ZstdError as error:
            self._found(account.name, row.seq, f"the record can't be read: {error}")
            return
        if commit(row.salt, record) != row.commitment:
            self._found(account.name, row.seq, "the record and its salt do not make the commitment")
        try:
            kind = Kind(row.kind)
            body = parse_record(kind, record)
            created_ms = parse_time(str(body.createdAt))
            record_id = bytes.fromhex(str(body.id))
        except (ValueError, msgspec.MsgspecError) as error:
            self._found(account.name, row.seq, f"the record is not valid: {error}")
            return
        if body.account != account.name:
            self._found(account.name, row.seq, f"the record names the account {body.account}")
        if created_ms != row.time_key >> TIE_BITS:
            self._found(account.name, row.seq, f"the record's time {body.createdAt} is not that of its place")
        self._ids[record_id] = row
        self._counts.add(account.no, row.kind, created_ms, counted(body))
        for one in set(self._terms.terms(account.no, body).split(" ")):
            self._terms_count += 1
            self._terms_digest += hash((one, row.time_key)) & _MASK

    def _found_by_id(self, account: _Account) -> None:
        """Step 2: each ``_id`` of the chunk leads to its entry."""
        places = stored_ids(self._connection, account.no, self._ids.keys())
        for record_id, row in self._ids.items():
            if places.get(record_id) != row.seq:
                self._found(account.name, row.seq, f"the entry is not found by its _id {record_id.hex()}")
        self._ids.clear()

    def _blocks(self, account: _Account, expected: list[BlockRoot]) -> None:
        """Step 3: the block roots."""
        rows = self._connection.execute(
            "SELECT level, position, root FROM block_root WHERE account_no = ?", (account.no,)
        )
        stored = {BlockRoot(*row) for row in rows}
        for block in sorted({(block.level, block.position) for block in stored ^ set(expected)}):
            level, position = block
            problem = f"the block root of level {level}, position {position} is wrong"
            self._found(account.name, position * 256**level, problem)

    def _found(self, account: str, seq: int | None, problem: str) -> None:
        self.findings.append(Finding(account, seq, problem))
        if len(self.findings) >= MOST_FINDINGS:
            raise TooManyFindings
