"""The embedded store: one SQLite file, one writer, many readers. ``store.py`` is what others see of it."""

from whodid.store.sqlite.store import SqliteStore

__all__ = ["SqliteStore"]
