"""What entries are searched by, made anew from the records; then the indexes over it. Appends may go on meanwhile."""

from typing import Any, Final

from whodid.records import Kind, parse_record
from whodid.store.base import Progress
from whodid.store.postgres.connection import UNHURRIED, Connection
from whodid.store.postgres.rows import SEARCHED, searched

_CHUNK: Final = 5000
_COLUMNS: Final = ", ".join(SEARCHED)
_ENTRIES: Final = f"""
    SELECT account_no, seq, recorded_ms, kind, record, {_COLUMNS} FROM entry
    WHERE (account_no, seq) > (%s, %s) ORDER BY account_no, seq LIMIT {_CHUNK}
"""  # noqa: S608
_MEND: Final = (
    f"UPDATE entry SET ({_COLUMNS}) = ({', '.join(['%s'] * len(SEARCHED))}) "  # noqa: S608
    "WHERE account_no = %s AND seq = %s AND recorded_ms = %s"
)

_PARTITIONS: Final = "SELECT relid::regclass::text FROM pg_partition_tree('entry') WHERE isleaf"

_BROKEN: Final = r"""
    SELECT i.indexrelid::regclass::text FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
    WHERE NOT i.indisvalid AND c.relname ~ '_cc(new|old)\d*$'
      AND i.indrelid IN (SELECT relid FROM pg_partition_tree('entry') WHERE isleaf)
"""


async def rebuild(connection: Connection, progress: Progress) -> int:
    """Mend the searched columns of all entries, and make the indexes anew; the number of entries."""
    found = await connection.execute("SELECT coalesce(sum(size), 0) FROM head")
    row = await found.fetchone()
    total, done, after = int(row[0]) if row else 0, 0, (-1, -1)
    while rows := await _rows(connection, after):
        async with connection.transaction():
            for account_no, seq, recorded_ms, kind, record, *columns in rows:
                right = searched(parse_record(Kind(kind), record))
                if tuple(columns) != right:
                    await connection.execute(_MEND, (*right, account_no, seq, recorded_ms))
        after = (rows[-1][0], rows[-1][1])
        done += len(rows)
        progress(done, max(total, done))
    await connection.execute(UNHURRIED)
    try:
        broken = await connection.execute(_BROKEN)
        for (index,) in await broken.fetchall():  # of an earlier run that was broken off
            await connection.execute(f"DROP INDEX CONCURRENTLY {index}")
        partitions = await connection.execute(_PARTITIONS)
        for (partition,) in await partitions.fetchall():  # one by one: Citus knows it only so
            await connection.execute(f"REINDEX TABLE CONCURRENTLY {partition}")
    finally:
        await connection.close()  # others expect one with limits
    return done


async def _rows(connection: Connection, after: tuple[int, int]) -> list[tuple[Any, ...]]:
    found = await connection.execute(_ENTRIES, after, binary=True)
    return await found.fetchall()
