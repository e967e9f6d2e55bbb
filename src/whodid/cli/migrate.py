"""``whodid migrate-store``: everything of a SQLite store into a PostgreSQL database."""

import shlex
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any, NamedTuple

from cyclopts import App, Parameter

from whodid.cli.options import AsJson
from whodid.cli.output import UsageError, complain, note, say, show_json
from whodid.cli.progress import Meter
from whodid.config import Settings, load_settings
from whodid.evidence.opening import find_keyring, open_keyring, open_ledger
from whodid.migrating import Behind, Migration
from whodid.store.base import Store
from whodid.store.opening import open_store
from whodid.store.urls import is_postgres, shown

app = App(
    name="migrate-store",
    help="Copy everything of a SQLite store into a PostgreSQL database.",
    help_epilogue="Example:\n\n    whodid db init --store postgresql://whodid@db.example/whodid\n\n"
    "    whodid migrate-store --from sqlite:///data/whodid.db \\\n"
    "        --to postgresql://whodid@db.example/whodid\n\n"
    "Logs keep their numbers, salts and roots: what was signed and proven stays so. The source is only read, and may "
    "be served meanwhile. Then stop its server and run the command again: it copies what was added, and the servers of "
    "the database can start. Whatever interrupts it, run it again.\n\n"
    "Status: 0 copied and compared, 1 refused or not the same.",
)


class _Outcome(NamedTuple):
    """What came of a run."""

    migration: Migration
    copied: int
    different: list[str]
    behind: list[Behind]


@app.default
async def migrate_store(
    *,
    source: Annotated[str, Parameter(name="--from", help="The SQLite store, like sqlite:///data/whodid.db.")],
    target: Annotated[str, Parameter(name="--to", help="The database, like postgresql://user@host/database.")],
    as_json: AsJson = False,
) -> int:
    """Copy everything of a SQLite store into a PostgreSQL database."""
    _check_urls(source, target)
    settings = load_settings({"store": source})
    async with _opened(source) as old, _opened(target) as new:
        outcome = await _migrate(old, new, settings)
    if as_json:
        show_json(_as_json(outcome, settings))
    else:
        _tell(outcome)
        if not outcome.different:
            _tell_what_next(target, settings)
    return 1 if outcome.different else 0


def _check_urls(source: str, target: str) -> None:
    if not source.startswith("sqlite:"):
        raise UsageError(f"--from must be a SQLite store like sqlite:///data/whodid.db, not {shown(source)!r}")
    if not is_postgres(target):
        raise UsageError(f"--to must be a database like postgresql://user@host/database, not {shown(target)!r}")


@asynccontextmanager
async def _opened(url: str) -> AsyncIterator[Store]:
    store = open_store(url)  # not as its server: that may run meanwhile
    try:
        yield store
    finally:
        await store.close()


async def _migrate(source: Store, target: Store, settings: Settings) -> _Outcome:
    from whodid.store.postgres import PostgresStore  # noqa: PLC0415 (its driver is loaded where it is used)

    assert isinstance(target, PostgresStore), "the URL says so"
    migration = Migration(source, target, target.takeover())
    await migration.begin()
    if find_keyring(settings) is not None:
        await open_keyring(settings, target)  # the logs go on being signed with the key that they are signed with
    with Meter("copying", unit="entries") as meter:
        copied = await migration.copy(meter)
    with Meter("comparing", unit="entries") as meter:
        different = await migration.verify(meter)
    await migration.furnish()
    return _Outcome(migration, copied, different, await migration.behind())


def _tell(outcome: _Outcome) -> None:
    migration = outcome.migration
    for name in outcome.different:
        complain(
            f"the log of {name} is not the same in the database as in the source: 'whodid verify-store' tells of each "
            "of them what is wrong with it; its users and tokens were not copied"
        )
    for name, copied, entries in outcome.behind:
        note(f"{name} has grown meanwhile: {copied} of its {entries} entries are copied")
    if not outcome.different:
        say(
            f"copied {outcome.copied} entries; all {migration.entries} entries of {_counted(migration.accounts)} are "
            "in the database, and the roots of their logs are the same"
        )
    if outcome.behind:
        note("stop the server of the source, and run the command again: it copies the rest")


def _tell_what_next(target: str, settings: Settings) -> None:
    """The key and the ledger of the source, if there are any, belong to the servers of the database from now on."""
    flags = "".join(f" \\\n        --{name.replace('_', '-')} {path}" for name, path in _belongings(settings).items())
    note("once no server serves the source any more, and a run after that is done, servers of the database start so:")
    note(f"\n    whodid serve --store {shlex.quote(shown(target))}{flags}\n")
    if flags:
        note("what the flags name must come along to wherever they run: it is what signs, and what was signed")


def _belongings(settings: Settings) -> dict[str, str]:
    """What belongs to the source and is not in it: the settings that name it, as far as it is there."""
    keyring, ledger = find_keyring(settings), open_ledger(settings)
    named = {} if keyring is None else {"signing_key": str(keyring.path)}
    return named | ({"signed_dir": str(ledger.folder)} if ledger.folder.is_dir() else {})


def _as_json(outcome: _Outcome, settings: Settings) -> dict[str, Any]:
    return {
        "same": not outcome.different,
        "complete": not outcome.different and not outcome.behind,
        "accounts": outcome.migration.accounts,
        "entries": outcome.migration.entries,
        "copied": outcome.copied,
        "different": outcome.different,
        "behind": [one._asdict() for one in outcome.behind],
        "settings": _belongings(settings),
    }


def _counted(accounts: int) -> str:
    return f"{accounts} account{'' if accounts == 1 else 's'}"
