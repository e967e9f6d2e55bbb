"""What many servers of one database agree on: the key that signs, and who does what only one of them should."""

from collections.abc import Sequence

from whodid.store.postgres.connection import Connection

_SETTLE_KEY = """
    INSERT INTO signing_key (public_key) VALUES (%s)
    ON CONFLICT (only_row) DO UPDATE SET public_key = excluded.public_key
    WHERE signing_key.public_key = ANY(%s)
"""
_LEASE = """
    INSERT INTO lease (work, holder, until) VALUES (%(work)s, %(holder)s, now() + %(seconds)s * interval '1 second')
    ON CONFLICT (work) DO UPDATE SET holder = excluded.holder, until = excluded.until
    WHERE lease.holder = excluded.holder OR lease.until <= now()
    RETURNING true
"""


async def signing_key(connection: Connection) -> bytes | None:
    """See ``Store.signing_key``."""
    found = await connection.execute("SELECT public_key FROM signing_key", binary=True)
    row = await found.fetchone()
    return row[0] if row else None


async def settle_signing_key(connection: Connection, public_key: bytes, retired: Sequence[bytes]) -> bytes:
    """See ``Store.settle_signing_key``."""
    await connection.execute(_SETTLE_KEY, (public_key, list(retired)))
    settled = await signing_key(connection)
    assert settled is not None
    return settled


async def lease(connection: Connection, work: str, holder: bytes, seconds: float) -> bool:
    """See ``Store.lease``; by the clock of the database, which all servers have in common."""
    found = await connection.execute(_LEASE, {"work": work, "holder": holder, "seconds": seconds})
    return await found.fetchone() is not None
