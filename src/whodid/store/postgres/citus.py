"""Citus: the tables laid out over several machines, so that an account's data is together on one of them.

Owns which table goes where; a table that is on no list here fails a test. Never decides whether Citus is used: that is
the operator's, once, with ``whodid db init --citus``; from then on, new tables are laid out as well. All that anything
else must do for it is ask for one account at a time.
"""

from typing import Any, Final

import psycopg

from whodid.errors import StoreUnusable
from whodid.store.postgres.connection import telling_errors

REFERENCE: Final = ("account", "token_digest")
"""Small, and needed before it is known whose data is asked for: whole on every machine."""

DISTRIBUTED: Final = ("head", "user", "token", "entry", "record_id", "block_root", "tally", "checkpoint", "witness")
"""An account's rows of all of these are on one machine. In this order: ``token`` refers to ``user``."""

LOCAL: Final = ("whodid_schema", "signing_key", "lease")
"""About the database or the servers, and no account's: stay on the machine that servers connect to."""

COLUMN: Final = "account_no"
"""What the rows of the distributed tables are spread by."""

OLDEST: Final = (12, 1)
"""Of Citus: the first that has identity columns in reference tables without faults, and takes PostgreSQL 14 to 16."""

_PLACED: Final = """
    SELECT c.relname, p.partmethod = 'n' AND p.repmodel = 't',
           CASE WHEN p.partkey IS NOT NULL THEN column_to_column_name(p.logicalrelid, p.partkey) END
    FROM pg_dist_partition p JOIN pg_class c ON c.oid = p.logicalrelid
    WHERE p.logicalrelid = ANY(ARRAY(SELECT to_regclass(quote_ident(name)) FROM unnest(%s::text[]) AS name))
"""
_ADVICE: Final = (
    "install the package of Citus for this PostgreSQL on each of its machines, put citus first in "
    "shared_preload_libraries, restart them, and have a superuser run CREATE EXTENSION citus in this database"
)


def distribute(connection: psycopg.Connection[Any]) -> None:
    """Lay the tables out over the machines that Citus knows, in the transaction that is open; safe to run twice.

    The schema must be there. Rows that are there already are moved; nobody can write them meanwhile. Raises
    ``StoreUnusable`` or ``StoreUnavailable``.
    """
    _require_citus(connection)
    with telling_errors():
        placed = _placed(connection)
        new = [table for table in (*REFERENCE, *DISTRIBUTED) if table not in placed]
        for table in new:
            _place(connection, table)
        for table in new:  # its rows are elsewhere now, and what is left of them here is hidden
            connection.execute("SELECT truncate_local_data_after_distributing_table(%s::regclass)", (_quoted(table),))


def keep_distributed(connection: psycopg.Connection[Any]) -> None:
    """Lay out what a migration added, in the transaction that is open, where Citus has the other tables already.

    Does nothing elsewhere. Raises ``StoreUnusable`` or ``StoreUnavailable``.
    """
    with telling_errors():
        is_citus = connection.execute("SELECT to_regclass('pg_dist_partition') IS NOT NULL").fetchone() == (True,)
    if is_citus and _placed(connection):
        distribute(connection)


def _require_citus(connection: psycopg.Connection[Any]) -> None:
    try:
        connection.execute("CREATE EXTENSION IF NOT EXISTS citus")
    except psycopg.Error as error:
        reason = error.diag.message_primary or type(error).__name__
        raise StoreUnusable(f"Citus can't be had in this database: {reason}; {_ADVICE}") from error
    row = connection.execute("SELECT extversion FROM pg_extension WHERE extname = 'citus'").fetchone()
    assert row is not None
    if tuple(map(int, row[0].partition("-")[0].split("."))) < OLDEST:
        raise StoreUnusable(f"Citus {'.'.join(map(str, OLDEST))} or later is needed; this is {row[0]}")


def _placed(connection: psycopg.Connection[Any]) -> set[str]:
    """The tables that Citus has already. Raises ``StoreUnusable`` where it has one in another way than it should."""
    rows = connection.execute(_PLACED, ([*REFERENCE, *DISTRIBUTED, *LOCAL],)).fetchall()
    for table, is_reference, column in rows:
        if (table in REFERENCE) != is_reference or (table in DISTRIBUTED) != (column == COLUMN):
            raise StoreUnusable(
                f"Citus has the table {table} in another way than Whodid needs it; "
                f"SELECT undistribute_table('{_quoted(table)}') takes it back, then run this again"
            )
    return {table for table, _, _ in rows}


def _place(connection: psycopg.Connection[Any], table: str) -> None:
    if table in REFERENCE:
        connection.execute("SELECT create_reference_table(%s::regclass)", (_quoted(table),))
        return
    first = DISTRIBUTED[0]
    together = "none" if table == first else first
    connection.execute(
        "SELECT create_distributed_table(%s::regclass, %s, colocate_with => %s)", (_quoted(table), COLUMN, together)
    )


def _quoted(table: str) -> str:
    """``user`` is a word of SQL's own."""
    return f'"{table}"'
