"""Rows as objects: accounts, users and tokens as every store reads them, column by column."""

from typing import Any

from whodid.merkle import Frontier
from whodid.store.base import Account, Credential, Role, Scope, Token, User


def fold(email: str) -> str:
    """An address as it is compared: no two users of an account differ in case alone."""
    return email.casefold()


def account_of(row: tuple[Any, ...]) -> Account:
    """The account of a row: number, name, time, size and frontier of its log, identity version."""
    no, name, created_ms, size, frontier, version = row
    return Account(no, name, created_ms, Frontier.from_bytes(size, frontier), version)


def user_of(row: tuple[Any, ...]) -> User:
    """The user of a row: id, address, name, role, whether active, time."""
    user_id, email, name, role, active, created_ms = row
    return User(user_id.hex(), email, name, Role(role), bool(active), created_ms)


def token_of(row: tuple[Any, ...]) -> Token:
    """The token of a row: id, owner, name, scope, digest, and when it was made, expires, and was expired."""
    token_id, user_id, name, scope, digest, created_ms, expires_ms, expired_ms = row
    return Token(token_id.hex(), user_id.hex(), name, Scope(scope), digest, created_ms, expires_ms, expired_ms)


def credential_of(row: tuple[Any, ...]) -> Credential:
    """The credential of a row: the columns of account, user and token, one after another."""
    return Credential(token_of(row[12:]), user_of(row[6:12]), account_of(row[:6]))
