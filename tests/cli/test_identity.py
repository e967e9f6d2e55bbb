"""Accounts and users at the command line."""

import json

import pytest
from tests.cli.running import ACCOUNT, EMAIL, USER_ID, Whodid


def test_an_account_is_added_together_with_its_store(whodid: Whodid) -> None:
    """The first command of a new installation needs nothing before it."""
    whodid("account", "add", ACCOUNT)
    (account,) = whodid("account", "list", "--json").json
    assert (account["name"], account["entries"]) == (ACCOUNT, 1)


def test_what_the_operator_does_is_in_the_log(whodid: Whodid) -> None:
    """An action of the account tells who did it and how."""
    whodid("account", "add", ACCOUNT)
    created = json.loads(whodid.exported()[0])
    assert (created["type"], created["action"], created["target_name"]) == ("account", "create", ACCOUNT)
    assert created["metadata"]["via"] == "command line"
    assert created["metadata"]["os_user"]


def test_an_account_is_not_added_twice(acme: Whodid) -> None:
    """The refusal is one line and status 1."""
    told = acme("account", "add", ACCOUNT, status=1)
    assert told.err == f"whodid: there is an account {ACCOUNT} already\n"


def test_a_bad_account_name_is_refused(acme: Whodid) -> None:
    """With what a name may be."""
    assert "lower-case" in acme("account", "add", "Acme Ltd", status=1).err


@pytest.mark.on_sqlite_only("test_db tells of databases that are not there")
def test_a_store_that_is_not_there_is_not_made_by_other_commands(whodid: Whodid) -> None:
    """A mistyped path must not look like an empty store."""
    assert "there is no store" in whodid("account", "list", status=1).err
    assert not whodid.store_path.exists()


@pytest.mark.on_sqlite_only("it is a name of no store")
def test_a_store_that_can_not_be_named_so_is_refused(whodid: Whodid) -> None:
    """The error shows how a store is named."""
    assert "sqlite:///" in whodid("account", "list", "--store", "mysql://x", status=1).err


@pytest.mark.on_sqlite_only("it is about a file")
def test_a_file_that_is_no_store_is_refused(whodid: Whodid) -> None:
    """Somebody else's file is left alone."""
    whodid.store_path.write_bytes(b"not a store" * 1000)
    assert "not a SQLite file" in whodid("account", "list", status=1).err


def test_the_flag_goes_before_the_environment(acme: Whodid) -> None:
    """--store wins over WHODID_STORE."""
    assert ACCOUNT in acme("account", "list", "--store", acme.url, WHODID_STORE="sqlite:///nowhere.db").out


def test_a_user_is_added_and_listed(acme: Whodid) -> None:
    """With the id, name and role that were given."""
    arguments = ["--email", "bob@acme.example", "--role", "power_user", "--name", "Bob", "--json", "--id"]
    added = acme("user", "add", "--account", ACCOUNT, *arguments, USER_ID).json
    assert added == acme("user", "list", "--account", ACCOUNT, "--json").json[1]
    assert (added["id"], added["role"], added["name"], added["active"]) == (USER_ID, "power_user", "Bob", True)


@pytest.mark.on_sqlite_only("it is about what is printed")
def test_a_table_outside_a_terminal_has_a_row_a_line(acme: Whodid) -> None:
    """So that grep and awk work, however long a value is."""
    long = f"{'x' * 200}@acme.example"
    acme("user", "add", "--account", ACCOUNT, "--email", long, "--role", "user", "--name", "[bold]Max[/]")
    table = acme("user", "list", "--account", ACCOUNT, COLUMNS="40").out.splitlines()
    assert len(table) == 3
    assert long in table[2]
    assert "[bold]Max[/]" in table[2]


def test_a_user_is_changed_and_the_change_is_in_the_log(acme: Whodid) -> None:
    """Role, name and address; the action tells old and new."""
    given = ["--role", "auditor", "--name", "Annie", "--new-email", "annie@acme.example", "--json"]
    changed = acme("user", "update", "--account", ACCOUNT, "--email", EMAIL, *given).json
    assert (changed["email"], changed["role"], changed["name"]) == ("annie@acme.example", "auditor", "Annie")
    update = json.loads(acme.exported()[-2])  # the last is the export itself
    assert update["changes"]["role"] == {"old": "administrator", "new": "auditor"}


def test_a_user_is_deactivated_and_activated(acme: Whodid) -> None:
    """The list shows it."""
    acme("user", "deactivate", "--account", ACCOUNT, "--email", EMAIL)
    assert acme("user", "list", "--account", ACCOUNT, "--json").json[0]["active"] is False
    acme("user", "activate", "--account", ACCOUNT, "--email", EMAIL)
    assert acme("user", "list", "--account", ACCOUNT, "--json").json[0]["active"] is True


def test_unknown_accounts_and_users_are_named(acme: Whodid) -> None:
    """With the command that lists those there are."""
    assert "no account 'nobody'" in acme("user", "list", "--account", "nobody", status=1).err
    told = acme("user", "deactivate", "--account", ACCOUNT, "--email", "eve@acme.example", status=1)
    assert "no user 'eve@acme.example'" in told.err


def test_an_address_is_taken_once(acme: Whodid) -> None:
    """Whatever its case."""
    told = acme("user", "add", "--account", ACCOUNT, "--email", EMAIL.upper(), "--role", "user", status=1)
    assert "already" in told.err
