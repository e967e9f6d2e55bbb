"""Tokens at the command line: shown once, kept nowhere."""

from datetime import datetime, timedelta

from tests.cli.running import ACCOUNT, EMAIL, Whodid
from tests.stores import bytes_of

from whodid.tokens import is_authentic

CREATE = ("token", "create", "--account", ACCOUNT, "--email", EMAIL, "--scope", "api", "--name")
LIST = ("token", "list", "--account", ACCOUNT, "--json")


def test_the_token_alone_is_on_standard_output(acme: Whodid) -> None:
    """A script takes it with $(…); what else there is to say goes to standard error."""
    made = acme(*CREATE, "laptop")
    assert is_authentic(made.out.removesuffix("\n"))
    assert made.out.strip() not in made.err
    assert made.err != ""


def test_the_text_of_a_token_is_nowhere_in_the_store(acme: Whodid) -> None:
    """Not in its file, nor in its write-ahead log; in no table; not in any list."""
    text = acme(*CREATE, "laptop").out.strip()
    written = bytes_of(acme.url)
    assert b"laptop" in written
    assert text.encode() not in written
    assert text not in acme(*LIST).out


def test_a_token_lives_as_long_as_asked(acme: Whodid) -> None:
    """90 days, if nothing is said."""
    acme(*CREATE, "long")
    acme(*CREATE, "short", "--expires", "13m")
    short, long = acme(*LIST).json
    assert _life(short) == timedelta(minutes=13)
    assert _life(long) == timedelta(days=90)
    assert short["valid"]


def test_a_token_lives_a_year_at_most(acme: Whodid) -> None:
    """The refusal says so."""
    assert "365d" in acme(*CREATE, "laptop", "--expires", "366d", status=1).err
    assert acme(*LIST).json == []


def test_a_name_is_taken_once_until_it_is_expired(acme: Whodid) -> None:
    """And then again."""
    acme(*CREATE, "laptop")
    assert "already" in acme(*CREATE, "laptop", status=1).err
    (token,) = acme(*LIST).json
    expired = acme("token", "expire", "--account", ACCOUNT, token["id"], "--json").json
    assert expired["valid"] is False
    assert expired["expired_at"] is not None
    acme(*CREATE, "laptop")


def test_tokens_of_one_user_are_listed_alone(acme: Whodid) -> None:
    """With --email; without, everyone's."""
    acme("user", "add", "--account", ACCOUNT, "--email", "bob@acme.example", "--role", "user")
    acme(*CREATE, "laptop")
    assert [token["email"] for token in acme(*LIST).json] == [EMAIL]
    assert acme(*LIST, "--email", "bob@acme.example").json == []


def test_an_unknown_token_is_refused(acme: Whodid) -> None:
    """By its id."""
    assert "no token" in acme("token", "expire", "--account", ACCOUNT, "0" * 24, status=1).err


def test_a_token_given_instead_of_its_id_is_not_repeated(acme: Whodid) -> None:
    """Error messages end up in logs; secrets must not."""
    text = acme(*CREATE, "laptop").out.strip()
    told = acme("token", "expire", "--account", ACCOUNT, text, status=2)
    assert text not in told.err


def _life(token: dict[str, str]) -> timedelta:
    return datetime.fromisoformat(token["expires_at"]) - datetime.fromisoformat(token["created_at"])
