"""The store for many servers: PostgreSQL."""

from whodid.store.postgres.store import PostgresStore

__all__ = ["PostgresStore"]
