"""Making a database ready, before any server uses it: ``whodid db init``."""

from whodid.store.postgres.citus import distribute, keep_distributed
from whodid.store.postgres.connection import parse_dsn
from whodid.store.postgres.schema import migrate


def bring_up(url: str, *, citus: bool = False) -> str:
    """Bring the schema up to date, distributed by Citus if wished, or if it was before; what was done, in words.

    Safe to run twice, and by many processes at once. Raises ``InvalidSetting``, ``StoreUnusable`` or
    ``StoreUnavailable``.
    """
    before, after = migrate(parse_dsn(url), distribute if citus else keep_distributed)
    if before == after:
        done = f"the database has schema {after} already"
    elif before == 0:
        done = f"the database has its schema now, version {after}"
    else:
        done = f"the database's schema went from version {before} to {after}"
    return f"{done}; its tables are distributed by Citus" if citus else done
