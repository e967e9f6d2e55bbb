"""The store for many servers: PostgreSQL."""

from whodid.store.postgres.preparing import bring_up
from whodid.store.postgres.store import PostgresStore

__all__ = ["PostgresStore", "bring_up"]
