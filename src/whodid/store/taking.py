"""What a store promises that takes over the contents of another one: logs as they are, numbers, salts and all."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from whodid.records import Event
from whodid.store.base import Account, Kept, Token, User


class Taken(NamedTuple):
    """An entry of another store that was found sound: its record is parsed, and makes the commitment."""

    event: Event
    salt: bytes
    commitment: bytes


class Belongings(NamedTuple):
    """What an account has beside its log."""

    identity_version: int
    users: list[User]
    tokens: list[Token]
    kept: list[Kept]
    """Checkpoints and how far witnesses are; under the other store's number of the account."""


class Taker(Protocol):
    """Takes over accounts of another store, each by its name. What one call does is durable as a whole, or not there.

    Raises ``StoreUnavailable``.
    """

    async def take(self, account: Account, first: int, taken: Sequence[Taken]) -> None:
        """Append entries to the account's log, the first of which has the number ``first``.

        With ``first`` 0 the account is made: nobody sees it without entries. Raises ``Conflict`` where the log does not
        end just before ``first``, or has one of the ids already.
        """
        ...

    async def furnish(self, account: Account, belongings: Belongings) -> None:
        """Give an account the users, tokens and checkpoints that it has in the other store.

        They are all of its users and tokens afterwards. A checkpoint of more entries is not replaced by a smaller one.
        Raises ``Conflict`` where the log is no longer as ``account`` has it, or users and tokens are newer there.
        Raises ``Conflict`` where another account has one of the tokens.
        """
        ...
