"""Taking over the contents of another store: each chunk of a log is one transaction, and the log's head its bookmark.

The order of a chunk's steps is that of an append: lock the head, grow the tree, copy rows, write the head, commit. So
whoever is killed at any moment leaves a log that is whole as far as it goes, and its size says where to go on.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import msgspec
import psycopg

from whodid.errors import Conflict
from whodid.merkle import Frontier, append, hash_leaf
from whodid.records import parse_time
from whodid.store.base import Account, Token, User
from whodid.store.postgres import tally, tree
from whodid.store.postgres.connection import Connection, Pool
from whodid.store.postgres.copying import BulkCopy
from whodid.store.postgres.listening import notify
from whodid.store.postgres.partitions import Partitions
from whodid.store.postgres.rows import copy, copy_blocks, recorded_at, seal
from whodid.store.rows import fold
from whodid.store.taking import Belongings, Taken

_COPY_USERS: Final = BulkCopy(
    '"user"', "account_no, id, email, email_folded, name, role, active, created_ms", "qbbbbbbq"
)
_COPY_TOKENS: Final = BulkCopy(
    "token", "account_no, id, user_id, name, scope, digest, created_ms, expires_ms, expired_ms", "qbbbbbqqq"
)
_COPY_DIGESTS: Final = BulkCopy("token_digest", "digest, account_no", "bq")

_ADD_ACCOUNT = "INSERT INTO account (name, created_ms) VALUES (%s, %s) ON CONFLICT (name) DO NOTHING"
_ADD_HEAD = "INSERT INTO head (account_no) VALUES (%s) ON CONFLICT (account_no) DO NOTHING"
_FIND_ACCOUNT = "SELECT account_no FROM account WHERE name = %s"
_LOCK_HEAD = "SELECT size, frontier, identity_version FROM head WHERE account_no = %s FOR UPDATE"
_GROW_HEAD = "UPDATE head SET size = %s, frontier = %s WHERE account_no = %s"
_SET_IDENTITY = "UPDATE head SET identity_version = %s WHERE account_no = %s"


class _Head(NamedTuple):
    """The head of an account's log, locked until the transaction ends."""

    account_no: int
    frontier: Frontier
    identity_version: int


class Takeover:
    """Takes over accounts into the database. See ``whodid.store.taking.Taker`` for what it promises."""

    def __init__(self, pool: Pool, partitions: Partitions, clock: Callable[[], int]) -> None:
        self._pool = pool
        self._partitions = partitions
        self._clock = clock

    async def take(self, account: Account, first: int, taken: Sequence[Taken]) -> None:
        """See ``Taker.take``."""
        now_ms = self._clock()
        recorded = [taken_at(one, now_ms) for one in taken]
        await self._partitions.ensure(now_ms, set(recorded))
        try:
            async with self._pool.connection() as connection, connection.transaction():
                if first == 0:
                    await _add(connection, account)
                head = await _lock_head(connection, account.name)
                if head.frontier.size != first:
                    raise Conflict(
                        f"the log of {account.name} has {head.frontier.size} entries in the database by now, not "
                        f"{first}: something else writes it. Stop that, and run the command again"
                    )
                await _append(connection, head, taken, recorded)
        except psycopg.errors.UniqueViolation as error:
            raise Conflict(
                f"among entries {first} to {first + len(taken) - 1} of {account.name} is an _id that the log has "
                "already; 'whodid verify-store' tells what is wrong with the store that it comes from"
            ) from error

    async def furnish(self, account: Account, belongings: Belongings) -> None:
        """See ``Taker.furnish``."""
        try:
            async with self._pool.connection() as connection, connection.transaction():
                head = await _lock_head(connection, account.name)
                if head.frontier != account.frontier or head.identity_version > belongings.identity_version:
                    raise Conflict(
                        f"the account {account.name} has changed in the database since it was compared: a server "
                        "serves it already. Its users and tokens were left as they are there"
                    )
                if head.identity_version != belongings.identity_version:
                    await _replace_identity(connection, head.account_no, belongings)
                kept = [msgspec.structs.replace(one, account_no=head.account_no) for one in belongings.kept]
                await tree.keep(connection, kept)
        except psycopg.errors.UniqueViolation as error:
            raise Conflict(
                f"a token of {account.name} is one of another account in the database, or two of its users have one "
                "address; take an empty database"
            ) from error


def taken_at(taken: Taken, now_ms: int) -> int:
    """The time of recording that says which partition an entry is in: when it was recorded, by its record."""
    updated_ms = parse_time(str(taken.event.body.updatedAt))
    return recorded_at(taken.event, min(updated_ms, now_ms))


async def _add(connection: Connection, account: Account) -> None:
    """Add the account with an empty log, unless another process did: then wait until its transaction is over."""
    await connection.execute(_ADD_ACCOUNT, (account.name, account.created_ms))
    await connection.execute(_ADD_HEAD, (await _number_of(connection, account.name),))


async def _number_of(connection: Connection, name: str) -> int:
    row = await (await connection.execute(_FIND_ACCOUNT, (name,))).fetchone()
    if row is None:
        raise Conflict(f"the account {name} is gone from the database")
    return int(row[0])


async def _lock_head(connection: Connection, name: str) -> _Head:
    account_no = await _number_of(connection, name)
    row = await (await connection.execute(_LOCK_HEAD, (account_no,))).fetchone()
    assert row is not None, "each account has a head"
    return _Head(account_no, Frontier.from_bytes(row[0], row[1]), row[2])


async def _append(connection: Connection, head: _Head, taken: Sequence[Taken], recorded: Sequence[int]) -> None:
    no, first = head.account_no, head.frontier.size
    frontier, blocks = append(head.frontier, [hash_leaf(one.commitment) for one in taken])
    await copy(connection, no, first, [(at_ms, seal(no, *one)) for at_ms, one in zip(recorded, taken, strict=True)])
    await tally.add(connection, no, tally.tally_of(one.event for one in taken))
    await copy_blocks(connection, no, blocks)
    await connection.execute(_GROW_HEAD, (frontier.size, frontier.to_bytes(), no))


async def _replace_identity(connection: Connection, account_no: int, belongings: Belongings) -> None:
    """All users and tokens at once: one by one, two users who changed addresses with each other would collide."""
    for table in ("token_digest", "token", '"user"'):
        await connection.execute(f"DELETE FROM {table} WHERE account_no = %s", (account_no,))  # noqa: S608
    await _COPY_USERS(connection, [_user(account_no, user) for user in belongings.users])
    await _COPY_TOKENS(connection, [_token(account_no, token) for token in belongings.tokens])
    await _COPY_DIGESTS(connection, [(token.digest, account_no) for token in belongings.tokens])
    await connection.execute(_SET_IDENTITY, (belongings.identity_version, account_no))
    await notify(connection, account_no)


def _user(account_no: int, user: User) -> tuple[Any, ...]:
    texts = (user.email, fold(user.email), user.name, user.role.value)
    active = b"\1" if user.active else b"\0"
    return account_no, bytes.fromhex(user.id), *(text.encode() for text in texts), active, user.created_ms


def _token(account_no: int, token: Token) -> tuple[Any, ...]:
    return (
        account_no, bytes.fromhex(token.id), bytes.fromhex(token.user_id), token.name.encode(),
        token.scope.value.encode(), token.digest, token.created_ms, token.expires_ms, token.expired_ms,
    )  # fmt: skip
