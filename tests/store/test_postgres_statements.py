"""What the store asks of PostgreSQL: for one account, by an index. So Citus can send each statement to one machine.

The statements are not listed here: they are recorded while the real store works, and then explained by the database.
"""

import asyncio
import inspect
import json
import re
import struct
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Self, TypeAlias

import psycopg
import pytest
from psycopg import AsyncConnection, AsyncCopy, AsyncCursor
from tests.building import NOW_MS, USER_ID, add_account, append, event, flat, new_id
from tests.postgres import drop_database, new_database

from whodid.conditions import EVERYTHING, All, AnyOf, Condition, Is, Not, Says, SaysBeginning
from whodid.errors import StoreUnusable
from whodid.proofs import Run
from whodid.records import Kind
from whodid.store.base import (
    Account,
    KeptCheckpoint,
    Position,
    PutToken,
    PutUser,
    Query,
    Question,
    Role,
    Scope,
    Search,
    Standing,
    Submission,
    Token,
    User,
    WitnessState,
)
from whodid.store.postgres import PostgresStore, bring_up
from whodid.store.postgres.citus import COLUMN, DISTRIBUTED, LOCAL, REFERENCE, keep_distributed
from whodid.store.postgres.connection import register_types
from whodid.tokens import digest_of

_OWNER = User(new_id(), "ann@acme.example", "Ann", Role.ADMINISTRATOR, True, NOW_MS)
_TOKEN = Token(new_id(), _OWNER.id, "laptop", Scope.API, digest_of("a token"), NOW_MS, NOW_MS + 1)
_KNOWN_ID = "5e1cbf251c26d68f7ce6361f"

Call: TypeAlias = Callable[[PostgresStore, Account], Awaitable[Any]]


def _newest(kind: Kind, *equals: tuple[str, str]) -> Call:
    return lambda store, account: store.newest(Query(account.no, kind, 0, NOW_MS + 1, 1000, equals))


def _searching(condition: Condition = EVERYTHING, **given: Any) -> Call:
    return lambda store, account: store.search(Search(account.no, condition, **given))


def _appending(*made: dict[str, Any], changes: tuple[PutUser | PutToken, ...] = ()) -> Call:
    def call(store: PostgresStore, account: Account) -> Awaitable[Any]:
        return store.append([Submission(account.no, [event(account, **given) for given in made], changes)])

    return call


HOT: dict[str, Call] = {
    "append one": _appending({}),
    "append many": _appending(*[{}] * 300),
    "append with an id": _appending({"_id": new_id()}),
    "append a duplicate": _appending({"_id": _KNOWN_ID}),
    "append with changes": _appending({}, changes=(PutUser(_OWNER), PutToken(_TOKEN))),
    "newest": _newest(Kind.ACTION),
    "newest of a type": _newest(Kind.ACTION, ("type", "pipeline")),
    "newest token uses": _newest(Kind.TOKEN),
    "newest of a scope": _newest(Kind.TOKEN, ("scope", "api")),
    "search": _searching(),
    "search the oldest": _searching(newest_first=False),
    "search after": _searching(after=Position(NOW_MS, 5)),
    "search a type": _searching(Is("type", "pipeline")),
    "search a scope": _searching(Is("scope", "api")),
    "search a kind": _searching(Is("kind", "action")),
    "search a user": _searching(Is("user_id", USER_ID)),
    "search words": _searching(All((Says("nightly"), Not(SaysBeginning("depl"))))),
    "search either": _searching(AnyOf((Is("type", "pipeline"), Is("outcome", "denied")))),
    "summarize": lambda store, account: store.summarize(Question(Search(account.no), "type", 3_600_000)),
    "summarize some": lambda store, account: store.summarize(
        Question(Search(account.no, Is("user_id", USER_ID)), "type", 60_000)
    ),
    "log": lambda store, account: store.log(account.no, 0, 10),
    "window": lambda store, account: flat(store.window(account.no, 0, NOW_MS + 1, None)),
    "window of a kind": lambda store, account: flat(store.window(account.no, 0, NOW_MS + 1, Kind.ACTION)),
    "entries": lambda store, account: flat(store.entries(account.no)),
    "entry": lambda store, account: store.entry(account.no, _KNOWN_ID),
    "numbers": lambda store, account: store.numbers(account.no, 0, NOW_MS + 1),
    "commitments": lambda store, account: store.commitments(account.no, 0, 2),
    "hashes": lambda store, account: store.hashes(account.no, [Run(0, 0, 2), Run(1, 0, 1)]),
    "keep": lambda store, account: store.keep(
        [WitnessState(account.no, "w", 1, None, None, 1), KeptCheckpoint(account.no, Standing.SIGNED, 1, "note")]
    ),
    "checkpoint": lambda store, account: store.checkpoint(account.no, Standing.SIGNED),
    "credential": lambda store, _: store.credential(_TOKEN.digest),
    "account": lambda store, account: store.account(account.name),
    "identity_version": lambda store, account: store.identity_version(account.no),
    "users": lambda store, account: store.users(account.no),
    "user": lambda store, account: store.user(account.no, email=_OWNER.email),
    "addresses": lambda store, account: store.addresses(account.no),
    "tokens": lambda store, account: store.tokens(account.no),
}
"""Everything on the way of a request, by the operation of the store whose name comes first."""

RARE = {
    "heads",  # of several accounts, as its caller asks
    "accounts", "witness_states", "check", "rebuild_search",  # of all accounts: at a start, or when an operator asks
    "add_account", "takeover",  # once an account; made of what appends are made of
    "probe", "lease", "signing_key", "settle_signing_key", "watch",  # of no account
    "prepare", "close",  # ask for nothing
}  # fmt: skip
"""Operations that may ask for all accounts, or that ask for none."""

IN_ORDER = (
    "newest",
    "newest of a type",
    "newest token uses",
    "newest of a scope",
    "search",
    "search the oldest",
    "search after",
    "search a type",
    "search a scope",
    "search a kind",
    "log",
    "window",
    "window of a kind",
    "entries",
)
"""What is read page by page: an index must have it in order, or each page would sort the whole log."""


@dataclass
class Recorder:
    """What the store sends, while it is told to listen."""

    statements: list[tuple[str, Any]] = field(default_factory=list)
    copies: list[tuple[str, bytearray]] = field(default_factory=list)

    def install(self, patch: pytest.MonkeyPatch) -> None:
        """Listen to all connections."""
        execute, copy, write = AsyncConnection.execute, AsyncCursor.copy, AsyncCopy.write

        async def recording(connection: AsyncConnection[Any], query: Any, params: Any = None, **kwargs: Any) -> Any:
            self.statements.append((str(query), params))
            return await execute(connection, query, params, **kwargs)

        def recording_copy(cursor: AsyncCursor[Any], statement: Any, *args: Any, **kwargs: Any) -> Any:
            self.copies.append((bytes(statement).decode(), bytearray()))
            return copy(cursor, statement, *args, **kwargs)

        async def recording_write(copying: AsyncCopy, data: Any) -> None:
            self.copies[-1][1].extend(data)
            await write(copying, data)

        patch.setattr(AsyncConnection, "execute", recording)
        patch.setattr(AsyncCursor, "copy", recording_copy)
        patch.setattr(AsyncCopy, "write", recording_write)


@dataclass
class Recording:
    """What each of the hot operations sent, and the database that it was sent to."""

    url: str
    account_no: int
    sent: dict[str, Recorder]


@pytest.fixture(scope="module")
def recording() -> Iterator[Recording]:
    """All hot operations, of one of two accounts."""
    url = new_database()
    with asyncio.Runner() as runner, pytest.MonkeyPatch.context() as patch:
        yield runner.run(_record(url, patch))
    drop_database(url)


async def _record(url: str, patch: pytest.MonkeyPatch) -> Recording:
    store = PostgresStore(url, create=True)
    await add_account(store)
    account = await add_account(store)
    await append(store, account, event(account, _id=_KNOWN_ID))
    recording = Recording(url, account.no, {})
    for name, call in HOT.items():
        with patch.context() as here:
            recorder = recording.sent[name] = Recorder()
            recorder.install(here)
            await call(store, account)
    await store.close()
    return recording


class Plans:
    """How the database would run statements."""

    def __init__(self, url: str, *disabled: str) -> None:
        self._connection = psycopg.connect(url, autocommit=True)
        register_types(self._connection)
        for way in disabled:
            self._connection.execute(f"SET enable_{way} = off")
        rows = self._connection.execute("SELECT inhrelid::regclass::text, inhparent::regclass::text FROM pg_inherits")
        self._parents: dict[str, str] = dict(rows.fetchall())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def nodes(self, statement: str, values: Any) -> list[dict[str, Any]]:
        """All nodes of a statement's plan; none where it is no statement that has one."""
        if not re.match(r"\s*\(*\s*(SELECT|INSERT|UPDATE|DELETE|WITH)\b", statement):
            return []
        row = self._connection.execute(f"EXPLAIN (FORMAT JSON) {statement}", values).fetchone()
        assert row is not None
        found = row[0] if isinstance(row[0], list) else json.loads(row[0])
        return list(_below(found[0]["Plan"]))

    def table(self, node: dict[str, Any]) -> str | None:
        """The table with accounts' data that a node reads or writes; None if it does neither."""
        name = node.get("Relation Name", "")
        table = self._parents.get(name, name)
        return table if table in DISTRIBUTED else None

    def faults(self, statement: str, values: Any) -> list[str]:
        """Where a statement does not ask for one account by an index."""
        faults = []
        for node in self.nodes(statement, values):
            table = self.table(node)
            if table and node["Node Type"] != "ModifyTable":
                condition = node.get("Index Cond") or node.get("Recheck Cond") or ""
                lexemes = re.findall(r"'(\d+)[a-zA-Z]", node.get("Index Cond", "") if "words @@" in condition else "")
                if lexemes:  # each of which begins with its account
                    condition = f"({COLUMN} = {lexemes[0]})" if len(set(lexemes)) == 1 else condition
                if not re.search(rf"\b{COLUMN} = ('?\d+'?(::\w+)?|\$\d+)\)", condition):
                    faults.append(f"{node['Node Type']} of {table} by ({condition}): {' '.join(statement.split())}")
        return faults


def _below(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for child in node.get("Plans", []):
        yield from _below(child)


@pytest.mark.parametrize("name", HOT)
def test_every_statement_on_the_way_of_a_request_asks_for_one_account_by_an_index(
    recording: Recording, name: str
) -> None:
    """Each table with accounts' data is read with ``account_no = …``, whatever else is asked."""
    sent = recording.sent[name]
    with Plans(recording.url, "seqscan") as plans:
        assert [fault for one in sent.statements for fault in plans.faults(*one)] == []
        tables = {plans.table(node) for one in sent.statements for node in plans.nodes(*one)} - {None}
    assert tables, "it was recorded"


def test_what_is_copied_is_of_one_account_too(recording: Recording) -> None:
    """The first column of each row says of which: so Citus sends all of them to one machine."""
    copies = [copied for sent in recording.sent.values() for copied in sent.copies]
    assert len(copies) >= 2, "entries, and their ids"
    for statement, data in copies:
        assert re.match(rf"COPY \w+ \({COLUMN}, ", statement)
        assert set(_first_columns(bytes(data))) == {recording.account_no}


def _first_columns(data: bytes) -> Iterator[int]:
    """The first column of each row of a binary COPY: a bigint."""
    at = len(b"PGCOPY\n\xff\r\n\0") + 8
    while (columns := struct.unpack_from(">h", data, at)[0]) != -1:
        yield struct.unpack_from(">q", data, at + 6)[0]
        at += 2
        for _ in range(columns):
            at += 4 + max(struct.unpack_from(">i", data, at)[0], 0)


@pytest.mark.parametrize("name", HOT)
def test_every_row_that_is_inserted_begins_with_its_account(recording: Recording, name: str) -> None:
    """So Citus knows the machine before it looks at anything else."""
    with Plans(recording.url) as plans:
        for statement, values in recording.sent[name].statements:
            inserting = [node for node in plans.nodes(statement, values) if node.get("Operation") == "Insert"]
            if any(plans.table(node) for node in inserting):
                assert values[0] == recording.account_no, statement


@pytest.mark.parametrize("name", IN_ORDER)
def test_what_is_read_page_by_page_is_in_order_by_an_index(recording: Recording, name: str) -> None:
    """The database can do without sorting; else each page of a long log would take longer."""
    with Plans(recording.url, "seqscan", "bitmapscan", "sort", "incremental_sort") as plans:
        nodes = [node for one in recording.sent[name].statements for node in plans.nodes(*one)]
    assert {"Limit"} <= {node["Node Type"] for node in nodes}
    assert [node for node in nodes if "Sort" in node["Node Type"]] == []


def test_a_statement_that_goes_to_all_machines_would_be_noticed(recording: Recording) -> None:
    """By no account, by another column, by a join from a token: each is a fault."""
    with Plans(recording.url, "seqscan") as plans:
        for statement, values in (
            ("SELECT size FROM head", ()),
            ("SELECT record FROM entry WHERE seq = %s", (1,)),
            ("SELECT record FROM entry WHERE account_no > %s LIMIT 1", (1,)),
            ("SELECT t.id FROM token_digest d JOIN token t USING (account_no) WHERE d.digest = %s", (_TOKEN.digest,)),
            ("UPDATE head SET size = size + 1 WHERE size = %s", (1,)),
        ):
            assert plans.faults(statement, values) != [], statement
        assert plans.faults("SELECT size FROM head WHERE account_no = %s", (1,)) == []


def test_every_operation_of_the_store_is_hot_or_known_to_be_rare() -> None:
    """A new one must be put on one of the lists above."""
    operations = {name for name, _ in inspect.getmembers(PostgresStore, inspect.isfunction) if not name.startswith("_")}
    hot = {name.partition(" ")[0] for name in HOT}
    assert hot | RARE == operations
    assert hot & RARE == set()


async def test_what_is_kept_is_written_in_one_order(recording: Recording, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two servers that keep the same in different orders would wait for each other."""
    kept = [KeptCheckpoint(no, standing, 1, "note") for no in (2, 1) for standing in Standing]
    store, orders = PostgresStore(recording.url), []
    for given in (kept, kept[::-1]):
        with monkeypatch.context() as here:
            recorder = Recorder()
            recorder.install(here)
            await store.keep(given)
        orders.append([values[:2] for statement, values in recorder.statements if "checkpoint" in statement])
    await store.close()
    assert orders[0] == orders[1]
    assert len(orders[0]) == 4


# The tables.


@pytest.fixture(scope="module")
def catalog(recording: Recording) -> Iterator[psycopg.Connection[Any]]:
    """The database, to look into its catalogs."""
    with psycopg.connect(recording.url, autocommit=True) as connection:
        yield connection


def test_every_table_has_its_place_in_a_cluster(catalog: psycopg.Connection[Any]) -> None:
    """A new one must be put on a list of ``citus.py``: it is spread by account, or whole everywhere, or local."""
    rows = catalog.execute(
        "SELECT relname FROM pg_class WHERE relkind IN ('r', 'p') AND NOT relispartition "
        "AND relnamespace = current_schema()::regnamespace"
    )
    assert sorted(name for (name,) in rows) == sorted([*REFERENCE, *DISTRIBUTED, *LOCAL])


def test_every_table_with_an_accounts_data_is_spread_by_it(catalog: psycopg.Connection[Any]) -> None:
    """But ``account``, which says what accounts there are, and ``token_digest``, which leads from a token to one."""
    rows = catalog.execute(
        "SELECT c.relname FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid "
        "WHERE a.attname = %s AND a.atttypid = 'bigint'::regtype AND a.attnotnull "
        "AND c.relkind IN ('r', 'p') AND NOT c.relispartition",
        (COLUMN,),
    )
    assert {name for (name,) in rows} - {"account", "token_digest"} == set(DISTRIBUTED)


def test_every_key_leads_with_the_account(catalog: psycopg.Connection[Any]) -> None:
    """Primary keys, other unique ones, and foreign ones at both ends: so each can be held on one machine."""
    first = "SELECT attname FROM pg_attribute WHERE attrelid = {} AND attnum = {}[0]"
    unique = catalog.execute(
        f"SELECT indexrelid::regclass::text, ({first.format('indrelid', 'indkey')}) FROM pg_index "
        "WHERE indisunique AND indrelid = ANY(%s::regclass[])",
        ([f'"{table}"' for table in DISTRIBUTED],),
    ).fetchall()
    assert len(unique) >= len(DISTRIBUTED)
    assert [key for key, column in unique if column != COLUMN] == []
    foreign = catalog.execute(
        "SELECT conrelid::regclass::text, confrelid::regclass::text, "
        "(SELECT attname FROM pg_attribute WHERE attrelid = conrelid AND attnum = conkey[1]), "
        "(SELECT attname FROM pg_attribute WHERE attrelid = confrelid AND attnum = confkey[1]) "
        "FROM pg_constraint WHERE contype = 'f'"
    ).fetchall()
    assert foreign != []
    for table, other, column, other_column in foreign:
        assert (column, other_column) == (COLUMN, COLUMN)
        assert DISTRIBUTED.index(other.strip('"')) < DISTRIBUTED.index(table.strip('"')), "what is referred to is first"


def test_a_database_without_citus_is_told_what_it_lacks_and_left_alone(recording: Recording) -> None:
    """Neither half of it is done."""
    with psycopg.connect(recording.url, autocommit=True) as connection:
        if connection.execute("SELECT 1 FROM pg_available_extensions WHERE name = 'citus'").fetchone():
            pytest.skip("this PostgreSQL has Citus")
    url = new_database()
    with pytest.raises(StoreUnusable, match=r"shared_preload_libraries.* CREATE EXTENSION citus"):
        bring_up(url, citus=True)
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT to_regclass('head')").fetchone() == (None,)
    drop_database(url)


def test_a_database_that_is_not_laid_out_by_citus_stays_so(catalog: psycopg.Connection[Any]) -> None:
    """An upgrade lays out new tables only where the others are."""
    before = catalog.execute("SELECT extname FROM pg_extension").fetchall()
    with catalog.transaction():
        keep_distributed(catalog)
    assert catalog.execute("SELECT extname FROM pg_extension").fetchall() == before
