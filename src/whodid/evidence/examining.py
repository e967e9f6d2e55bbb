"""Examining: which logs contradict what was signed about them. The operator learns it here first, not from an auditor.

All logs are looked at once when a server starts, since that is when an old copy of the store may have been put in its
place; each when a checkpoint of it is signed; and each when evidence of it is asked for.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Protocol

from whodid.checkpoint import SignedCheckpoint
from whodid.errors import InconsistentLog, StoreUnavailable
from whodid.evidence.ledger import Ledger
from whodid.evidence.signing import FRESH_SECONDS, Signer
from whodid.store.base import Store

log = logging.getLogger(__name__)


class Observer(Protocol):
    """Is told what the examiner finds; metrics are made of it."""

    def inconsistent(self, logs: int) -> None:
        """How many logs contradict what was signed about them."""


class Examiner:
    """Examines logs, signs what is sound, and remembers what is not. Each contradiction is logged once."""

    def __init__(
        self, store: Store, signer: Signer, ledger: Ledger, *, monotonic: Callable[[], float], observer: Observer
    ) -> None:
        self._store = store
        self._signer = signer
        self._ledger = ledger
        self._monotonic = monotonic
        self._observer = observer
        self._checked_at: dict[str, float] = {}
        self._contradictions: dict[str, str] = {}
        """By account, how its log contradicts what was signed."""

    def contradicted(self, account: str) -> bool:
        """Whether the account's log is known to contradict what was signed."""
        return account in self._contradictions

    async def check(self, account: str) -> None:
        """Raise ``InconsistentLog`` where the account's log contradicts what was signed; looked at once a second.

        Raises ``NotFound`` or ``StoreUnavailable``, too.
        """
        checked_at = self._checked_at.get(account)
        if checked_at is None or self._monotonic() - checked_at >= FRESH_SECONDS:
            await self._examine(account)
        if account in self._contradictions:
            raise InconsistentLog(self._contradictions[account])

    async def newest(self, account: str, *, covering: int = 0) -> SignedCheckpoint:
        """See ``Signer.newest``, which examines the log before it signs."""
        try:
            signed = await self._signer.newest(account, covering=covering)
        except InconsistentLog as error:
            self._found(account, error.message)
            raise
        self._agreed(account)
        return signed

    async def examine(self) -> None:
        """Look at each log that there is, or was when its checkpoint was signed, unless it was looked at already.

        Raises ``StoreUnavailable`` after all others, where some can't be looked at.
        """
        # First what was signed: an account is there before anything of it is signed.
        signed = await asyncio.to_thread(self._ledger.accounts)
        accounts = [account.name for account in await self._store.accounts()]
        troubles: list[StoreUnavailable] = []
        for account in accounts:
            if account not in self._checked_at:
                try:
                    await self._examine(account)
                except StoreUnavailable as error:
                    troubles.append(error)
        for account in sorted(set(signed) - set(accounts)):
            path = self._ledger.path(account)
            self._found(
                account,
                f"the log of {account} is not there, but a checkpoint of it was signed ({path}): all is missing",
            )
        if troubles:
            raise troubles[0]

    async def _examine(self, account: str) -> None:
        now = self._monotonic()
        try:
            await self._signer.examine(account)
        except InconsistentLog as error:
            self._found(account, error.message)
        else:
            self._agreed(account)
        self._checked_at[account] = now

    def _found(self, account: str, how: str) -> None:
        if account not in self._contradictions:
            log.error(how, extra={"account": account})
        self._contradictions[account] = how
        self._observer.inconsistent(len(self._contradictions))

    def _agreed(self, account: str) -> None:
        if self._contradictions.pop(account, None) is not None:
            log.info("the log agrees again with what was signed", extra={"account": account})
            self._observer.inconsistent(len(self._contradictions))
