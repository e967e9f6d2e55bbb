"""The check of a whole database: everything that is derived is made again and compared. Reads only, one snapshot.

What is checked, numbered as in the code:

1. per account: sequence numbers without gaps, each commitment made of its salt and record, each record of the account,
   kind and time that its row says, its searched columns and words, and found by its ``_id``;
2. per account: the frontier and the block roots, grown anew from the commitments;
3. per account: the tally, counted anew from the searched columns;
4. nothing that belongs to no account.
"""

from typing import Any, NamedTuple

import msgspec

from whodid.commitment import commit
from whodid.merkle import BlockRoot, Frontier, append, hash_leaf
from whodid.records import MAX_TIME_MS, Kind, parse_record, parse_time, render_time
from whodid.store.base import Finding, Progress
from whodid.store.postgres.connection import UNHURRIED_HERE, Connection
from whodid.store.postgres.rows import searched
from whodid.store.postgres.tally import HOUR_MS, RECOUNTED
from whodid.store.postgres.terms import lexemes, read_lexemes

MOST_FINDINGS = 1000
"""A check stops when it has found this much: the store is beyond an entry-by-entry report."""

_CHUNK = 5000
_ENTRIES = f"""
    SELECT seq, recorded_ms, created_ms, kind, salt, commitment, record,
           words, type, action, user_id, user_email, target_id, token_id, scope, outcome, ip_address
    FROM entry WHERE account_no = %s AND seq > %s ORDER BY seq LIMIT {_CHUNK}
"""  # noqa: S608
_TALLY = f"""
    SELECT kind, key, hour, value, coalesce(found.count, 0), coalesce(kept.count, 0)
    FROM ({RECOUNTED}) AS found
    FULL JOIN (SELECT * FROM tally WHERE account_no = %s) AS kept USING (kind, key, hour, value)
    WHERE found.count IS DISTINCT FROM kept.count
    ORDER BY hour, kind, key, value LIMIT {MOST_FINDINGS}
"""  # noqa: S608
_TABLES = ("head", "entry", "record_id", "block_root", "tally", "user", "token", "checkpoint", "witness")


class TooManyFindings(Exception):
    """The check has found enough."""


class _Account(NamedTuple):
    no: int
    name: str
    size: int
    frontier: bytes


async def check(connection: Connection, progress: Progress) -> list[Finding]:
    """Everything that is wrong with the store, up to ``MOST_FINDINGS``; empty: nothing is."""
    run = _Check(connection, progress)
    await connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")  # one snapshot for all steps
    await connection.execute(UNHURRIED_HERE)
    try:
        for account in await run.accounts():
            await run.account(account)
        await run.strays()
    except TooManyFindings:
        pass
    finally:
        await connection.execute("ROLLBACK")
    return run.findings


class _Check:
    """One check while it runs."""

    def __init__(self, connection: Connection, progress: Progress) -> None:
        self.findings: list[Finding] = []
        self._connection = connection
        self._progress = progress
        self._done = self._total = 0

    async def accounts(self) -> list[_Account]:
        """All accounts, by name. Their heads are read as they are: they may be wrong."""
        rows = await self._rows(
            "SELECT a.account_no, a.name, h.size, h.frontier FROM account a JOIN head h USING (account_no) "
            'ORDER BY a.name COLLATE "C"'
        )
        accounts = [_Account(*row) for row in rows]
        self._total = sum(account.size for account in accounts)
        return accounts

    async def account(self, account: _Account) -> None:
        """Steps 1 to 3."""
        frontier, blocks = Frontier(), list[BlockRoot]()
        after = -1
        while rows := await self._rows(_ENTRIES, account.no, after):
            for row in rows:
                if row[0] != after + 1:
                    self._found(account.name, after + 1, f"the entry is missing; the next there is {row[0]}")
                after = row[0]
                self._entry(account, row)
            await self._ids(account, rows)
            frontier, completed = append(frontier, [hash_leaf(row[5]) for row in rows])
            blocks += completed
            self._done += len(rows)
            self._progress(self._done, self._total)
        self._head(account, frontier)
        await self._blocks(account, blocks)
        await self._tally(account)

    async def strays(self) -> None:
        """Step 4."""
        for table in _TABLES:
            ((stray,),) = await self._rows(
                f'SELECT count(*) FROM "{table}" t WHERE NOT EXISTS '  # noqa: S608
                "(SELECT 1 FROM account a WHERE a.account_no = t.account_no)"
            )
            if stray:
                self._found("", None, f"{stray} rows of {table} belong to no account")
        ((entries, ids),) = await self._rows("SELECT (SELECT count(*) FROM entry), (SELECT count(*) FROM record_id)")
        if entries != ids:
            self._found("", None, f"there are {entries} entries, but {ids} ids")

    def _entry(self, account: _Account, row: tuple[Any, ...]) -> None:
        """Step 1, of one entry."""
        seq, _, created_ms, kind, salt, commitment, record, words, *columns = row
        if commit(salt, record) != commitment:
            self._found(account.name, seq, "the record and its salt do not make the commitment")
        try:
            body = parse_record(Kind(kind), record)
            said_ms = parse_time(str(body.createdAt))
        except (ValueError, msgspec.MsgspecError) as error:
            self._found(account.name, seq, f"the record is not valid: {error}")
            return
        if body.account != account.name:
            self._found(account.name, seq, f"the record names the account {body.account}")
        if said_ms != created_ms:
            self._found(account.name, seq, f"the record's time {body.createdAt} is not that of its place")
        if tuple(columns) != searched(body):
            self._found(account.name, seq, "the search columns are not those of the record")
        if read_lexemes(words) != read_lexemes(lexemes(account.no, body)):
            self._found(account.name, seq, "the search words are not those of the record")

    async def _ids(self, account: _Account, rows: list[tuple[Any, ...]]) -> None:
        """Step 1: each ``_id`` leads to its entry."""
        expected: dict[bytes, tuple[int, int]] = {}
        for row in rows:
            try:
                expected[bytes.fromhex(str(parse_record(Kind(row[3]), row[6]).id))] = (row[0], row[1])
            except (ValueError, msgspec.MsgspecError):
                continue  # told already
        found = await self._rows(
            "SELECT id, seq, recorded_ms FROM record_id WHERE account_no = %s AND id = ANY(%s)",
            account.no,
            list(expected),
        )
        places = {record_id: (seq, recorded_ms) for record_id, seq, recorded_ms in found}
        for record_id, place in expected.items():
            if places.get(record_id) != place:
                self._found(account.name, place[0], f"the entry is not found by its _id {record_id.hex()}")

    def _head(self, account: _Account, frontier: Frontier) -> None:
        """Step 2: where the log ends."""
        if frontier.size != account.size:
            seq = min(frontier.size, max(account.size, 0))
            self._found(account.name, seq, f"there are {frontier.size} entries, but the head says {account.size}")
        elif frontier.to_bytes() != account.frontier:
            self._found(account.name, None, "the head's frontier is not that of the entries' commitments")

    async def _blocks(self, account: _Account, expected: list[BlockRoot]) -> None:
        """Step 2: the block roots."""
        rows = await self._rows("SELECT level, position, root FROM block_root WHERE account_no = %s", account.no)
        stored = {BlockRoot(*row) for row in rows}
        for level, position in sorted({(block.level, block.position) for block in stored ^ set(expected)}):
            problem = f"the block root of level {level}, position {position} is wrong"
            self._found(account.name, position * 256**level, problem)

    async def _tally(self, account: _Account) -> None:
        """Step 3."""
        kinds = [kind.value for kind in Kind]
        rows = await self._rows(_TALLY, account.no, kinds, 0, MAX_TIME_MS + 1, account.no)
        for kind, key, hour, value, found, kept in rows:
            what = f"{key} {value.decode(errors='replace')}" if key else "entries"
            when = render_time(hour * HOUR_MS)[:13]
            problem = f"the tally has {kept} of {what} (kind {kind}) in the hour {when}, but there are {found}"
            self._found(account.name, None, problem)

    async def _rows(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        found = await self._connection.execute(statement, values, binary=True)
        return await found.fetchall()

    def _found(self, account: str, seq: int | None, problem: str) -> None:
        self.findings.append(Finding(account, seq, problem))
        if len(self.findings) >= MOST_FINDINGS:
            raise TooManyFindings
