"""The one writer: turns a batch of submissions into one durable transaction.

The steps of ``append``, in order:

1. Seal the events: salts, commitments, compressed records, search terms (see ``sealer.py``; done before).
2. Begin the transaction; read the heads of the accounts concerned.
3. Admit each submission, or refuse it by itself: checked under the current identity version, its changes of users
   and tokens possible, no ``_id`` in conflict. Leave out duplicates.
4. Give each admitted event its sequence number and its place in time.
5. Grow the Merkle trees.
6. Write entries, ids, search terms, the tally, block roots and heads.
7. Commit, with fsync.

Everything that one append must know of the one before is read back from the file in step 2, so a transaction that
failed, or that another process made, needs no special care. Used by one thread.
"""

from array import array
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import apsw

from whodid.errors import Conflict, NameTaken, NotFound, StaleIdentity, StoreUnavailable, WhodidError
from whodid.merkle import BlockRoot, Frontier, append, hash_leaf
from whodid.records import render_time
from whodid.store.admission import Recorded, find_duplicates, number
from whodid.store.base import Account, IdentityChange, Kept, Receipt, Result
from whodid.store.sqlite import identity, tree
from whodid.store.sqlite.bulk import BulkInsert
from whodid.store.sqlite.compression import Decompressor
from whodid.store.sqlite.connection import open_writer, telling_errors, transaction
from whodid.store.sqlite.sealer import Sealed, SealedSubmission
from whodid.store.sqlite.tally import Addresses, Counts
from whodid.store.sqlite.time_keys import TIE_BITS

_INSERT_ENTRY = BulkInsert("entry (time_key, account_no, seq, kind, dictionary, salt, commitment, record)", 8)
_INSERT_ID = BulkInsert("record_id (account_no, id, seq)", 3)
_INSERT_TERMS = BulkInsert("search (rowid, terms)", 2)
_INSERT_BLOCK = BulkInsert("block_root (account_no, level, position, root)", 4)


Seal: TypeAlias = Callable[[int], list[Sealed]]
"""Seals events for the account with this number."""

_Row: TypeAlias = tuple[int, int, Sealed]
"""Step 4: the account's number, the sequence number, the event. A plain tuple, as ``Sealed`` is."""


class _Head:
    """One account while a batch is made: where its log ends, and what the batch adds to it."""

    def __init__(self, account_no: int, size: int, frontier: bytes, identity_version: int) -> None:
        self.account_no = account_no
        self.frontier = Frontier.from_bytes(size, frontier)
        self.identity_version = identity_version
        self.next_seq = size
        self.commitments: list[bytes] = []
        """Of the new entries, in order."""
        self.brought: dict[bytes, tuple[int, bytes]] = {}
        """The ids that producers brought in this very batch, with number and record."""


class _File:
    """The open file: the connection that writes, and a way to read the records that it finds there."""

    def __init__(self, connection: apsw.Connection) -> None:
        self.connection = connection
        self.read = Decompressor(connection)
        self.addresses = Addresses()


class Writer:
    """Appends to the store's file. Opens it on first use, and anew after a failure. One thread uses it."""

    def __init__(self, path: Path, *, vfs: str | None = None) -> None:
        self._path = path
        self._vfs = vfs
        self._file: _File | None = None

    @contextmanager
    def use(self) -> Iterator[_File]:
        """The open file. After an error of SQLite's it is closed, to be opened anew: nothing in memory is trusted."""
        with telling_errors(self._path):
            try:
                if self._file is None:
                    self._file = _File(open_writer(self._path, vfs=self._vfs))
                yield self._file
            except apsw.Error:
                self.close(force=True)
                raise

    def append(self, batch: list[SealedSubmission]) -> list[Result]:
        """Commit a batch. See ``Store.append``."""
        if not batch:
            return []
        try:
            with self.use() as file:
                with transaction(file.connection):
                    results = _append(file, batch)
                file.addresses.committed()
                return results
        except apsw.ConstraintError:
            refusal: WhodidError = StoreUnavailable("an id that was made for an event is in use already; try again")
        except Conflict as error:
            refusal = error
        if len(batch) == 1:
            return [refusal]
        # One of them is to blame: each by itself, so that the others are not refused with it.
        return [self._append_alone(submission) for submission in batch]

    def _append_alone(self, submission: SealedSubmission) -> Result:
        try:
            return self.append([submission])[0]
        except StoreUnavailable as error:  # an answer of its own: those before it are committed
            return error

    def probe(self) -> None:
        """Write a page and sync it. See ``Store.probe``."""
        with self.use() as file, transaction(file.connection):
            version = file.connection.pragma("user_version")
            file.connection.execute(f"PRAGMA user_version = {int(version)}")

    def keep(self, kept: Sequence[Kept]) -> None:
        """See ``Store.keep``."""
        with self.use() as file, transaction(file.connection):
            tree.keep(file.connection, kept)

    def add_account(self, name: str, created_ms: int, seal: Seal) -> Account:
        """Add an account whose log begins with what ``seal`` makes. Raises ``NameTaken``."""
        with self.use() as file, transaction(file.connection):
            if identity.account(file.connection, name):
                raise NameTaken(f"there is an account {name} already")
            file.connection.execute("INSERT INTO account (name, created_ms) VALUES (?, ?)", (name, created_ms))
            account_no = file.connection.last_insert_rowid()
            _append(file, [SealedSubmission(account_no, seal(account_no))])
            account = identity.account(file.connection, name)
        assert account is not None
        return account

    def add_dictionary(self, entries: int, dictionary: bytes) -> int:
        """Keep a dictionary, trained when the store had so many entries; its version."""
        with self.use() as file, transaction(file.connection):
            file.connection.execute("INSERT INTO dictionary (entries, bytes) VALUES (?, ?)", (entries, dictionary))
            return file.connection.last_insert_rowid()

    def close(self, *, force: bool = False) -> None:
        """Close the file. The last connection to close puts the write-ahead log back into it."""
        file, self._file = self._file, None
        if file is not None:
            file.connection.close(force)


def _append(file: _File, batch: list[SealedSubmission]) -> list[Result]:
    """Steps 2 to 6, inside a transaction."""
    connection = file.connection
    heads = _read_heads(connection, batch)
    rows: list[_Row] = []
    results = [_admit(file, heads.get(submission.account_no), submission, rows) for submission in batch]
    time_keys = _place_in_time(connection, rows)
    blocks = [value for head in heads.values() for block in _grow(head) for value in (head.account_no, *block)]
    _write(file, rows, time_keys)
    _write_heads(connection, heads, blocks)
    return results


def _read_heads(connection: apsw.Connection, batch: list[SealedSubmission]) -> dict[int, _Head]:
    """Step 2."""
    account_nos = array("q", sorted({submission.account_no for submission in batch}))
    rows: Any = connection.execute(
        "SELECT account_no, size, frontier, identity_version FROM account WHERE account_no IN carray(?)",
        (apsw.carray(account_nos),),
    )
    return {int(row[0]): _Head(*row) for row in rows}


def _admit(file: _File, head: _Head | None, submission: SealedSubmission, rows: list[_Row]) -> Result:
    """Step 3, and the numbers of step 4. Nothing has changed where the result is an error."""
    try:
        if head is None:
            raise NotFound(f"there is no account of number {submission.account_no}")
        if submission.identity_version not in (None, head.identity_version):
            raise StaleIdentity
        known = _find_recorded(file, head, submission.events)
        if submission.changes:
            _change_identity(file.connection, head, submission.changes)
    except WhodidError as error:
        return error
    return _number(head, submission.events, known, rows)


def _change_identity(connection: apsw.Connection, head: _Head, changes: tuple[IdentityChange, ...]) -> None:
    with connection:  # a savepoint: all of the changes, or none
        for change in changes:
            identity.apply(connection, head.account_no, change)
    head.identity_version += len(changes)


def _find_recorded(file: _File, head: _Head, events: list[Sealed]) -> dict[int, int]:
    """The places of duplicates among ``events``, with their sequence numbers. Raises ``IdConflict``."""
    brought = [(place, event[1], *event[9]) for place, event in enumerate(events) if event[9] is not None]
    if not brought:
        return {}
    stored = stored_ids(file.connection, head.account_no, {record_id for _, record_id, *_ in brought})

    def recorded(record_id: bytes) -> Recorded | None:
        return (
            _stored_record(file, head.account_no, stored[record_id])
            if record_id in stored
            else head.brought.get(record_id)
        )

    return find_duplicates(brought, recorded)


def stored_ids(connection: apsw.Connection, account_no: int, ids: Collection[bytes]) -> dict[bytes, int]:
    """Those of the ``ids`` that the account has, with the numbers of their entries."""
    if not ids:
        return {}
    rows: Any = connection.execute(
        "SELECT id, seq FROM record_id WHERE account_no = ? AND id IN carray(?)",
        (account_no, apsw.carray(tuple(ids))),
    )
    return dict(rows.fetchall())


def _stored_record(file: _File, account_no: int, seq: int) -> tuple[int, bytes]:
    row = file.connection.execute(
        "SELECT dictionary, record FROM entry WHERE account_no = ? AND seq = ?", (account_no, seq)
    ).fetchone()
    assert row is not None
    return seq, file.read(row[0], row[1])


def _number(head: _Head, sealed: list[Sealed], known: dict[int, int], rows: list[_Row]) -> Receipt:
    """Step 4, first half: the next numbers of the account, for all but the duplicates."""
    seqs = number(known, head.next_seq, len(sealed))
    fresh = sealed if not known else [event for place, event in enumerate(sealed) if place not in known]
    for seq, event in enumerate(fresh, head.next_seq):
        rows.append((head.account_no, seq, event))
        head.commitments.append(event[4])
        if event[9] is not None:
            head.brought[event[1]] = seq, event[9][0]
    head.next_seq += len(fresh)
    return Receipt(seqs, frozenset(known))


def _place_in_time(connection: apsw.Connection, rows: list[_Row]) -> list[int]:
    """Step 4, second half: each row's ``time_key``, after those of its millisecond that are there already."""
    newest = connection.execute("SELECT max(time_key) FROM entry").get
    newest_ms = -1 if newest is None else newest >> TIE_BITS
    free: dict[int, int] = {}
    time_keys: list[int] = []
    for _, _, sealed in rows:
        created_ms = sealed[2]
        key = free.get(created_ms)
        if key is None:
            key = created_ms << TIE_BITS if created_ms > newest_ms else _first_free(connection, created_ms)
        if key >> TIE_BITS != created_ms:
            raise Conflict(f"the store has {1 << TIE_BITS} events of {render_time(created_ms)}, and can take no more")
        time_keys.append(key)
        free[created_ms] = key + 1
    return time_keys


def _first_free(connection: apsw.Connection, created_ms: int) -> int:
    first = created_ms << TIE_BITS
    last = connection.execute(
        "SELECT max(time_key) FROM entry WHERE time_key BETWEEN ? AND ?", (first, first | (1 << TIE_BITS) - 1)
    ).get
    return first if last is None else int(last) + 1


def _grow(head: _Head) -> list[BlockRoot]:
    """Step 5."""
    head.frontier, blocks = append(head.frontier, [hash_leaf(commitment) for commitment in head.commitments])
    return blocks


def _write(file: _File, rows: list[_Row], time_keys: list[int]) -> None:
    """Step 6: the entries, and what is counted of them.

    In order of time, since the search index begins a new segment at each step back.
    """
    entries: list[Any] = []
    ids: list[Any] = []
    terms: list[Any] = []
    counts = Counts()
    for key, (account_no, seq, sealed) in sorted(zip(time_keys, rows, strict=True)):  # keys differ: none but they count
        kind, record_id, created_ms, salt, commitment, dictionary, frame, words, text, _ = sealed
        entries += (key, account_no, seq, kind, dictionary, salt, commitment, frame)
        ids += (account_no, record_id, seq)
        terms += (key, words)
        counts.add(account_no, kind, created_ms, text)
    _INSERT_ENTRY(file.connection, entries)
    _INSERT_ID(file.connection, ids)
    _INSERT_TERMS(file.connection, terms)
    counts.write(file.connection, file.addresses)


def _write_heads(connection: apsw.Connection, heads: dict[int, _Head], blocks: list[Any]) -> None:
    """Step 6: what the trees have become."""
    connection.executemany(
        "UPDATE account SET size = ?, frontier = ?, identity_version = ? WHERE account_no = ?",
        [
            (head.frontier.size, head.frontier.to_bytes(), head.identity_version, head.account_no)
            for head in heads.values()
        ],
    )
    _INSERT_BLOCK(connection, blocks)
