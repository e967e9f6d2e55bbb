"""``whodid db init``, and what commands say of a database that is not as it must be: never a password."""

import signal
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

import psycopg
import pytest
from tests.cli.conftest import found
from tests.cli.running import ACCOUNT, EMAIL, Finished, Whodid, action
from tests.postgres import drop_database, guarded_database, named, new_database
from tests.stores import KINDS, beside, made_store, run

from whodid.evidence.keyring import Keyring
from whodid.store.postgres.schema import migrations

NEWEST = migrations()[-1][0]
SECRET = "s3cr3t"
ODD_PASSWORD = f"{SECRET} %/:@?#[&\\\"'é"

COMMANDS = {
    "account add": ("org-new",),
    "account list": (),
    "user add": ("--account", ACCOUNT, "--email", "bob@acme.example", "--role", "user"),
    "user list": ("--account", ACCOUNT),
    "token create": ("--account", ACCOUNT, "--email", EMAIL, "--name", "n", "--scope", "api"),
    "token list": ("--account", ACCOUNT),
    "import": ("--account", ACCOUNT, "records"),
    "export": ("--account", ACCOUNT),
    "export --evidence": ("--account", ACCOUNT, "out.gz"),
    "verify-store": (),
    "verify-store --rebuild-search": (),
    "key show": (),
    "key rotate": (),
    "witness status": (),
    "serve": ("--port", "0", "--log-level", "debug"),
}
"""Every command that opens the store, and what it needs besides."""


@pytest.fixture
def database() -> Iterator[str]:
    """The URL of a database that is empty: it has no table."""
    made = new_database()
    yield made
    drop_database(made)


@pytest.fixture
def command(tmp_path: Path, database: str) -> Whodid:
    """The command, with that database."""
    made = Whodid(tmp_path, database)
    made.write("records", [action(1)])
    return made


SOME = ("account add", "export", "serve")
"""Commands that make, read and serve."""


def refused_by(commands: Iterable[str], command: Whodid, *parts: str) -> None:
    """The commands refuse the database in one line, which has these parts, and leave nothing beside it."""
    for name in commands:
        more = COMMANDS[name]
        told = refused(command(*name.split(), *more, status=1))
        assert all(part in told for part in parts), (name, told)
    assert [file.name for file in command.folder.iterdir()] == ["records"]


def refused(finished: Finished) -> str:
    """The one line that a refusal is."""
    assert finished.out == ""
    assert finished.err.startswith("whodid: ")
    assert finished.err.count("\n") == 1
    return finished.err


def versions(url: str) -> list[int]:
    """The migrations that a database has had; none where it has no tables."""
    with psycopg.connect(url) as reading:
        if reading.execute("SELECT to_regclass('whodid_schema')").fetchone() == (None,):
            return []
        return [row[0] for row in reading.execute("SELECT version FROM whodid_schema ORDER BY 1")]


def tables(url: str) -> list[str]:
    """The tables of a database."""
    with psycopg.connect(url) as reading:
        return [row[0] for row in reading.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")]


# What it does.


def test_an_empty_database_gets_its_schema(command: Whodid) -> None:
    """Before that, commands refuse it and say how; afterwards it is a store like any other."""
    refused_by(SOME, command, "no schema of Whodid yet", "'whodid db init'")
    assert tables(command.url) == []
    said = command("db", "init").out
    assert said.endswith(f": the database has its schema now, version {NEWEST}\n")
    assert said.startswith("postgresql://")
    assert versions(command.url) == list(range(1, NEWEST + 1))
    command("account", "add", ACCOUNT)
    command("import", "--account", ACCOUNT, "records")
    assert "the store is sound: 1 account, 2 entries" in command("verify-store").out


def test_twice_is_as_good_as_once(command: Whodid) -> None:
    """It says so, and leaves alone what is there; also while a server runs, which does not notice."""
    command("db", "init")
    command("account", "add", ACCOUNT)
    with command.running("serve", "--port", "0") as server:
        assert server.stdout is not None
        assert server.stdout.readline().startswith(b"Whodid serves ")
        assert f"the database has schema {NEWEST} already" in command("db", "init").out
        server.send_signal(signal.SIGINT)
        assert server.wait(30) == 0
    assert [account["name"] for account in command("account", "list", "--json").json] == [ACCOUNT]
    assert versions(command.url) == list(range(1, NEWEST + 1))


def test_many_at_once_make_one_schema(command: Whodid) -> None:
    """As where several servers are installed together, each of which runs it first."""
    with command.running("db", "init") as one, command.running("db", "init") as two:
        said = [process.communicate(timeout=60)[0] for process in (one, two)]
        assert [one.returncode, two.returncode] == [0, 0]
    assert sorted(b"now, version" in line for line in said) == [False, True]
    assert versions(command.url) == list(range(1, NEWEST + 1))


def test_programs_get_one_object(command: Whodid) -> None:
    """With the store, and what was done."""
    told = command("db", "init", "--json").json
    assert list(told) == ["store", "done"]
    assert urlsplit(told["store"]).path == urlsplit(command.url).path
    assert told["done"] == f"the database has its schema now, version {NEWEST}"


def test_a_sqlite_store_needs_none_of_it(tmp_path: Path) -> None:
    """It says so, makes nothing, and has no nodes to distribute over."""
    whodid = Whodid(tmp_path)
    assert "needs no preparation" in whodid("db", "init").out
    assert "Citus is for PostgreSQL" in refused(whodid("db", "init", "--citus", status=1))
    assert list(tmp_path.iterdir()) == []


def test_citus_must_be_there_to_be_used(command: Whodid) -> None:
    """It is one line, and nothing is changed: neither a database without a schema nor one with data."""
    assert "Citus" in refused(command("db", "init", "--citus", status=1))
    assert tables(command.url) == []
    command("db", "init")
    run(found(command.url))
    before = sorted(tables(command.url))
    assert "Citus" in refused(command("db", "init", "--citus", status=1))
    assert sorted(tables(command.url)) == before
    assert "the store is sound: 1 account, 2 entries" in command("verify-store").out


# Schemas of other versions.


def copy_rows(source: psycopg.Connection[Any], target: psycopg.Connection[Any]) -> None:
    """Copy the rows of all tables that the target has, and the partitions that they are in."""
    partitions = source.execute(
        "SELECT relname, pg_get_expr(relpartbound, oid) FROM pg_class WHERE relispartition AND relkind = 'r'"
    ).fetchall()
    columns = target.execute(
        "SELECT table_name, string_agg(quote_ident(column_name), ',') FROM information_schema.columns "
        "WHERE table_schema = 'public' AND table_name <> 'whodid_schema' "
        "GROUP BY 1 ORDER BY bool_or(table_name = 'token')"  # which refers to others, so it is the last
    ).fetchall()
    for name, bound in partitions:
        target.execute(f"CREATE TABLE {name} PARTITION OF entry {bound}")
    for name, listed in columns:
        rows = source.execute(f'SELECT {listed} FROM "{name}"').fetchall()
        values = ",".join(["%s"] * (listed.count(",") + 1))
        insert = f'INSERT INTO "{name}" ({listed}) OVERRIDING SYSTEM VALUE VALUES ({values})'
        target.cursor().executemany(insert, rows)
    target.execute(
        "SELECT setval(pg_get_serial_sequence('account', 'account_no'), (SELECT max(account_no) FROM account))"
    )


def test_an_older_schema_is_refused_until_it_is_brought_up_to_date_with_its_data(command: Whodid) -> None:
    """As after an upgrade of the program: all that was recorded is there, and more can be recorded."""
    with made_store(KINDS[1], command.folder) as newer:
        run(found(newer))
        with psycopg.connect(newer) as source, psycopg.connect(command.url) as target:
            target.execute(migrations()[0][1].encode())
            target.execute(
                "CREATE TABLE whodid_schema (version int PRIMARY KEY, migrated_at timestamptz DEFAULT now())"
            )
            target.execute("INSERT INTO whodid_schema (version) VALUES (1)")
            copy_rows(source, target)
    refused_by(COMMANDS, command, f"schema 1, and {NEWEST} is needed", "'whodid db init'")
    assert versions(command.url) == [1]
    assert f"went from version 1 to {NEWEST}" in command("db", "init").out
    assert versions(command.url) == list(range(1, NEWEST + 1))
    assert "the store is sound: 1 account, 2 entries" in command("verify-store").out
    command("import", "--account", ACCOUNT, "records")
    command("account", "add", "org-other")
    assert "the store is sound: 2 accounts, 4 entries" in command("verify-store").out


def test_a_newer_schema_is_refused_and_left_alone(command: Whodid) -> None:
    """By ``db init``, too: only a newer program knows what is in it."""
    command("db", "init")
    with psycopg.connect(command.url) as connection:
        connection.execute("INSERT INTO whodid_schema (version) VALUES (99)")
    refused_by(SOME, command, "schema 99, of a newer Whodid", "use a newer Whodid")
    assert "use a newer Whodid" in refused(command("db", "init", status=1))
    assert versions(command.url) == [*range(1, NEWEST + 1), 99]


# The key that signs.


def test_a_database_has_one_key(command: Whodid) -> None:
    """A command or a server that does not have it makes no other, but says which file is missing, or wrong."""
    command("db", "init")
    run(found(command.url))
    assert not command.key_path.exists()
    before = command("key", "show", "--json").json
    command.key_path.rename(command.folder / "aside")
    for name in ("key show", "export --evidence", "serve"):
        told = refused(command(*name.split(), *COMMANDS[name], status=1))
        assert f"bring its file to {command.key_path}" in told
        assert not command.key_path.exists()
    Keyring.open(command.key_path, make=True)
    assert "another key than that in" in refused(command("key", "show", status=1))
    (command.folder / "aside").replace(command.key_path)
    assert command("key", "show", "--json").json == before
    command("key", "rotate")
    assert command("key", "show", "--json").json[0] != before[0]


# Databases that can't be used, and passwords.


TRIED = (("db", "init"), ("account", "list"), ("serve", "--port", "0", "--log-level", "debug"))


@pytest.fixture(scope="module")
def guarded() -> str:
    """The URL of a database that asks for a password, in which everything is that has a meaning in URLs."""
    return guarded_database(ODD_PASSWORD)


def secrets() -> set[str]:
    """The password in every form that it may have."""
    return {SECRET, ODD_PASSWORD, quote(ODD_PASSWORD, safe=""), quote(ODD_PASSWORD)}


def with_secret(url: str, **changes: str) -> str:
    """A URL that has a user and a password, and is changed in its parts."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(**{"netloc": f"postgres:{SECRET}@", **changes}))


def at(authority: str) -> str:
    """A URL of the server's database at another authority."""
    return f"postgresql://{authority}/{urlsplit(named('whodid')).path[1:]}"


ADVICE = "what is special in a name or password is written like %40"

UNUSABLE: dict[str, tuple[Callable[[], str], str]] = {
    "not there": (lambda: with_secret(named("whodid_nowhere")), 'database "whodid_nowhere" does not exist'),
    "no such user": (lambda: with_secret(named("whodid"), netloc=f"nobody:{SECRET}@"), 'role "nobody" does not exist'),
    "a wrong port": (lambda: at(f"postgres:{SECRET}@127.0.0.1:1"), "port 1 failed: Connection refused"),
    "a wrong host": (lambda: at(f"postgres:{SECRET}@nowhere.invalid"), "nowhere.invalid"),
    "no port": (lambda: at(f"postgres:{SECRET}@127.0.0.1:port"), ADVICE),
    "a port that is too large": (lambda: at(f"postgres:{SECRET}@127.0.0.1:99999"), "99999"),
    "a space in the user": (lambda: at(f"post gres:{SECRET}@127.0.0.1:1"), ADVICE),
    "a space in the password": (lambda: at(f"postgres:{SECRET} x@127.0.0.1:1"), ADVICE),
    "a bad encoding": (lambda: at(f"postgres:{SECRET}%zz@127.0.0.1:1"), ADVICE),
    "an encoded NUL": (lambda: at(f"postgres:{SECRET}%00@127.0.0.1:1"), ADVICE),
    "a slash in the password": (lambda: at(f"postgres:x/{SECRET}@127.0.0.1:1"), ADVICE),
    "a slash behind the password": (lambda: at(f"postgres:{SECRET}/x@127.0.0.1:1"), ADVICE),
    "a number and a slash": (lambda: at(f"127.0.0.1:1/{SECRET}@127.0.0.1:1"), ADVICE),
    "a question mark in the password": (lambda: at(f"postgres:{SECRET}?x@127.0.0.1:1"), ADVICE),
    "a hash in the password": (lambda: at(f"postgres:{SECRET}#x@127.0.0.1:1"), ADVICE),
    "an at sign in the password": (lambda: at(f"postgres:x@{SECRET}@127.0.0.1:1"), ADVICE),
    "a bracket": (lambda: at(f"postgres:{SECRET}@[::1"), ADVICE),
    "an unknown parameter": (lambda: with_secret(named("whodid")) + f"&colour={SECRET}", ADVICE),
    "a parameter in capitals": (lambda: named("whodid") + f"&PASSWORD={SECRET}", ADVICE),
    "a bad encoding in a parameter": (lambda: named("whodid") + f"&password={SECRET}%zz", ADVICE),
    "a time that is none": (lambda: with_secret(named("whodid")) + "&connect_timeout=soon", ADVICE),
    "a mode that is none": (lambda: with_secret(named("whodid")) + "&sslmode=sometimes", "sslmode"),
    "no UTF-8": (lambda: at(f"postgres:{SECRET}\udcff@127.0.0.1:1"), ADVICE),
    "another scheme": (lambda: f"postgre://postgres:{SECRET}@127.0.0.1:1/whodid", "postgresql://user@host/database"),
    "one slash": (lambda: f"postgresql:/postgres:{SECRET}@127.0.0.1:1/whodid", "postgresql://user@host/database"),
    "no scheme": (lambda: f"postgres:{SECRET}@127.0.0.1:1/whodid", "postgresql://user@host/database"),
    "no URL": (lambda: f"host=127.0.0.1 port=1 password={SECRET}", "postgresql://user@host/database"),
}  # fmt: skip


@pytest.mark.parametrize("name", UNUSABLE)
def test_a_database_that_can_not_be_used_is_told_in_one_line_without_its_password(tmp_path: Path, name: str) -> None:
    """Status 1, the reason or what would be right; nothing is left behind."""
    make, says = UNUSABLE[name]
    whodid = Whodid(tmp_path, make())
    for arguments in TRIED if name in ("not there", "a bad encoding") else TRIED[-1:]:
        told = refused(whodid(*arguments, status=1))
        assert SECRET not in told
        assert says in told
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_password_is_told_and_not_repeated(tmp_path: Path, guarded: str) -> None:
    """Neither the wrong one nor the right one."""
    parts = urlsplit(guarded)
    for password in (f"{SECRET}-wrong", ODD_PASSWORD[:-1]):
        whodid = Whodid(tmp_path, urlunsplit(parts._replace(netloc=f"{parts.username}:{quote(password, safe='')}@")))
        for arguments in TRIED:
            told = refused(whodid(*arguments, status=1))
            assert "password authentication failed for user" in told
            assert not any(secret in told for secret in secrets())


def test_a_password_is_nowhere_in_what_is_printed_or_logged(tmp_path: Path, guarded: str) -> None:
    """However it was given: in the URL, as a parameter, encoded or not, in a file. At the most talkative level, too."""
    parts = urlsplit(guarded)
    encoded = quote(ODD_PASSWORD, safe="")
    bare = parts._replace(netloc=f"{parts.username}@")
    escaped = ODD_PASSWORD.replace("\\", "\\\\").replace(":", "\\:")
    (tmp_path / "passwords").write_text(f"*:*:*:*:{escaped}\n")
    (tmp_path / "passwords").chmod(0o600)
    urls = [
        guarded,
        urlunsplit(bare._replace(query=f"{bare.query}&password={encoded}")),
        urlunsplit(bare._replace(query=f"password={encoded}&{bare.query}")),
        urlunsplit(bare._replace(query=f"{bare.query}&%70assword={encoded}")),
    ]
    for url in [*urls, urlunsplit(bare)]:
        whodid = Whodid(tmp_path, url)
        file = str(tmp_path / "passwords") if url not in urls else ""
        shown = [whodid(*line, PGPASSFILE=file) for line in (("db", "init"), ("db", "init", "--json"))]
        said = "".join(one.out + one.err for one in shown) + served(whodid, file)
        assert "Whodid serves postgresql://" in said
        assert not [secret for secret in secrets() if secret in said], said
    assert not [secret for secret in secrets() if secret in beside(guarded, tmp_path, ".key").read_text()]


def served(whodid: Whodid, passwords: str) -> str:
    """All that a server says from its start to its end."""
    with whodid.running("serve", "--port", "0", "--log-level", "debug", PGPASSFILE=passwords) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
        assert process.returncode == 0, err
    return (first + out + err).decode()
