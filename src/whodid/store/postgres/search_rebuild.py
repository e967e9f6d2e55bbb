"""What entries are searched by, made anew from the records; then the tally, and the indexes. Appends may go on."""

from typing import Any, Final

from whodid.records import Kind, parse_record
from whodid.store.base import Progress
from whodid.store.postgres import tally
from whodid.store.postgres.connection import UNHURRIED, Connection, TextVector
from whodid.store.postgres.rows import SEARCHED, searched
from whodid.store.postgres.tally import HOUR_MS
from whodid.store.postgres.terms import lexemes, read_lexemes

_CHUNK: Final = 5000
_COLUMNS: Final = ", ".join(SEARCHED)
_ENTRIES: Final = f"""
    SELECT account_no, seq, recorded_ms, kind, record, words, {_COLUMNS} FROM entry
    WHERE (account_no, seq) > (%s, %s) ORDER BY account_no, seq LIMIT {_CHUNK}
"""  # noqa: S608
_MEND: Final = (
    f"UPDATE entry SET ({_COLUMNS}, words) = ({', '.join(['%s'] * len(SEARCHED))}, %b) "  # noqa: S608
    "WHERE account_no = %s AND seq = %s AND recorded_ms = %s"
)

_ACCOUNTS: Final = "SELECT account_no FROM head ORDER BY account_no"
_HOURS: Final = f"""
    SELECT created_ms / {HOUR_MS} FROM entry WHERE account_no = %s
    UNION SELECT hour FROM tally WHERE account_no = %s ORDER BY 1
"""  # noqa: S608
_LOCK_HEAD: Final = "SELECT 1 FROM head WHERE account_no = %s FOR UPDATE"

_PARTITIONS: Final = "SELECT relid::regclass::text FROM pg_partition_tree('entry') WHERE isleaf"

_BROKEN: Final = r"""
    SELECT i.indexrelid::regclass::text FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
    WHERE NOT i.indisvalid AND c.relname ~ '_cc(new|old)\d*$'
      AND i.indrelid IN (SELECT relid FROM pg_partition_tree('entry') WHERE isleaf)
"""


async def rebuild(connection: Connection, progress: Progress) -> int:
    """Mend what entries are searched by, and the tally, and make the indexes anew; the number of entries."""
    await connection.execute(UNHURRIED)
    try:
        done = await _mend_entries(connection, progress)
        await _mend_tally(connection)
        await _make_indexes(connection)
    finally:
        await connection.close()  # others expect one with limits
    return done


async def _mend_entries(connection: Connection, progress: Progress) -> int:
    found = await connection.execute("SELECT coalesce(sum(size), 0) FROM head")
    row = await found.fetchone()
    total, done, after = int(row[0]) if row else 0, 0, (-1, -1)
    while rows := await _rows(connection, after):
        async with connection.transaction():
            for account_no, seq, recorded_ms, kind, record, words, *columns in rows:
                body = parse_record(Kind(kind), record)
                right, right_words = searched(body), lexemes(account_no, body)
                if tuple(columns) != right or read_lexemes(words) != read_lexemes(right_words):
                    mended = *right, TextVector(right_words), account_no, seq, recorded_ms
                    await connection.execute(_MEND, mended)
        after = (rows[-1][0], rows[-1][1])
        done += len(rows)
        progress(done, max(total, done))
    return done


async def _mend_tally(connection: Connection) -> None:
    """Hour by hour, since nobody can append to the account meanwhile."""
    accounts = await connection.execute(_ACCOUNTS)
    for (account_no,) in await accounts.fetchall():
        hours = await connection.execute(_HOURS, (account_no, account_no))
        for (hour,) in await hours.fetchall():
            async with connection.transaction():
                await connection.execute(_LOCK_HEAD, (account_no,))
                await tally.mend(connection, account_no, hour * HOUR_MS, (hour + 1) * HOUR_MS)


async def _make_indexes(connection: Connection) -> None:
    broken = await connection.execute(_BROKEN)
    for (index,) in await broken.fetchall():  # of an earlier run that was broken off
        await connection.execute(f"DROP INDEX CONCURRENTLY {index}")
    partitions = await connection.execute(_PARTITIONS)
    for (partition,) in await partitions.fetchall():  # one by one: Citus knows it only so
        await connection.execute(f"REINDEX TABLE CONCURRENTLY {partition}")


async def _rows(connection: Connection, after: tuple[int, int]) -> list[tuple[Any, ...]]:
    found = await connection.execute(_ENTRIES, after, binary=True)
    return await found.fetchall()
