"""Signing: from the head of a log to a checkpoint. Never signs a head that contradicts what was signed before.

What was signed is kept in two places before anybody sees it: the ledger, outside of the store, and the store. A head
is signed only if the log of each of them is proven to be its beginning, with hashes out of the store. So an old copy
of the store, put back, is noticed, and one that was tampered with, too. Where many servers sign, each with a ledger of
its own, it takes from the store what others have signed.
"""

import asyncio
import logging
import re
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NamedTuple, ParamSpec, TypeVar

from whodid.checkpoint import Checkpoint, SignedCheckpoint, open_checkpoint, sign_checkpoint
from whodid.errors import InconsistentLog, InvalidEvidence, InvalidSetting, NotFound, StoreUnavailable
from whodid.evidence.keyring import Keyring, Keys
from whodid.evidence.ledger import Ledger
from whodid.evidence.proving import check_growth
from whodid.notes import Note, Verifier
from whodid.store.base import Account, KeptCheckpoint, Standing, Store

log = logging.getLogger(__name__)

DEFAULT_HOST: Final = "localhost"
FRESH_SECONDS: Final = 1.0
"""A log that grows is signed anew no more often than this, unless a newer entry is asked for."""

_PATIENCE_SECONDS: Final = 10.0
"""How long the ledger may take."""

_P = ParamSpec("_P")
_T = TypeVar("_T")

_HOST = re.compile(r"[a-z0-9.-]+(?::[0-9]{1,5})?(?:/[A-Za-z0-9._~-]+)*", re.ASCII).fullmatch


@dataclass(slots=True)
class _Known:
    """The newest checkpoint of an account, and when its log was looked at."""

    account_no: int
    signed: SignedCheckpoint
    looked_at: float


class _Examined(NamedTuple):
    """An account whose log contradicts nothing that was signed; its newest checkpoint in ledger and in store."""

    account: Account
    newest: str | None
    kept: KeptCheckpoint | None


class Signer:
    """Signs the heads of all logs of a store. Lives in one event loop; other processes may sign at the same time."""

    def __init__(
        self, store: Store, keyring: Keyring, ledger: Ledger, *, host: str, monotonic: Callable[[], float]
    ) -> None:
        """``host`` is the public host, or empty for the one that was given before. Raises ``InvalidSetting``."""
        if host and _HOST(host) is None:
            raise InvalidSetting(
                f"public_host must be a host like audit.acme.example or localhost:8600, without https://, not {host!r}"
            )
        self._store = store
        self._keyring = keyring
        self._ledger = ledger
        self._host = ledger.public_host(host) or DEFAULT_HOST
        self._host_is_known = self._host != DEFAULT_HOST
        self._monotonic = monotonic
        self._known: dict[str, _Known] = {}
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def recall_host(self) -> None:
        """Name logs as they were named before, where neither a setting nor the ledger says how: by what was signed."""
        if self._host_is_known:
            return
        for account in await self._store.accounts():
            kept = await self._store.checkpoint(account.no, Standing.SIGNED)
            host = None if kept is None else _host_in(kept.note, account.name)
            if host is not None:
                if host != self._host:
                    log.warning("logs are named after %s, as before; %s had forgotten it", host, self._ledger.folder)
                    await _in_thread(self._ledger.public_host, host)
                    self._host = host
                break
        self._host_is_known = True

    def origin(self, account: str) -> str:
        """The name of an account's log: its URL without scheme."""
        return f"{self._host}/log/{account}"

    def verifiers(self, account: str) -> list[Verifier]:
        """The keys of an account's checkpoints: the one that signs first, then those that did."""
        return self._keyring.current().verifiers(self.origin(account))

    async def newest(self, account: str, *, covering: int = 0) -> SignedCheckpoint:
        """A signed checkpoint of the account's log of at least ``covering`` entries: the head's, a second old at most.

        Never one of fewer entries than was signed before, by whatever server.

        Raises ``NotFound``, ``InconsistentLog`` or ``StoreUnavailable``.
        """
        async with self._locks[account]:
            known = self._known.get(account)
            now = self._monotonic()
            if known and now - known.looked_at < FRESH_SECONDS:
                kept = await self._store.checkpoint(known.account_no, Standing.SIGNED)
                if known.signed.checkpoint.size >= max(covering, kept.size if kept else 0):
                    return known.signed
            account_no, signed = await self._sign(account)
            assert signed.checkpoint.size >= covering, "nobody asks for what is not in the log yet"
            self._known[account] = _Known(account_no, signed, now)
            return signed

    async def covering(self, account: str, size: int) -> SignedCheckpoint:
        """A signed checkpoint of at least ``size`` entries, however old; raises what ``newest`` does."""
        known = self._known.get(account)
        if known and known.signed.checkpoint.size >= size and known.signed.signer == self.verifiers(account)[0]:
            return known.signed
        return await self.newest(account, covering=size)

    async def examine(self, name: str) -> None:
        """Raise ``InconsistentLog`` where an account's log contradicts what was signed. Nothing is signed."""
        await self._examine(name)

    async def _examine(self, name: str) -> _Examined:
        await self.recall_host()
        found = await self._store.account(name)
        if found is None:
            raise NotFound(f"there is no account {name!r}")
        newest = await _in_thread(self._ledger.newest, name)
        kept = await self._store.checkpoint(found.no, Standing.SIGNED)
        # The head is read after what was signed: a log that grows, and is signed, meanwhile contradicts nothing.
        account = await self._store.account(name)
        assert account is not None, "accounts stay"
        for note in {newest, kept.note if kept else None}:
            if note is not None:
                await self._compare(account, note)
        if kept is not None and self._is_news(name, newest, kept.note):
            await _in_thread(self._keep, name, newest, kept.note)
            newest = await _in_thread(self._ledger.newest, name)
        return _Examined(account, newest, kept)

    def _is_news(self, account: str, newest: str | None, kept: str) -> bool:
        """Whether another server, with a ledger of its own, has signed a larger log than this ledger knows of."""
        verifiers = self.verifiers(account)
        try:
            theirs = open_checkpoint(kept, verifiers).checkpoint.size
            return newest is None or open_checkpoint(newest, verifiers).checkpoint.size < theirs
        except InvalidEvidence:
            return False

    async def _sign(self, name: str) -> tuple[int, SignedCheckpoint]:
        while True:
            account, newest, kept = await self._examine(name)
            keys = await self._keys()
            head = Checkpoint(self.origin(name), account.frontier.size, account.frontier.root())
            signed = None if newest is None else self._signed_so(newest, head, keys)
            if signed is None:
                signed = sign_checkpoint(head, keys.private)
                if not await _in_thread(self._keep, name, newest, str(signed.note)):
                    continue
            if kept is None or kept.note != str(signed.note):
                await self._store.keep([KeptCheckpoint(account.no, Standing.SIGNED, head.size, str(signed.note))])
            return account.no, signed

    async def check_key(self) -> None:
        """Raise ``StoreUnavailable`` where other servers sign with a key that is not here."""
        await self._keys()

    async def _keys(self) -> Keys:
        """The keys to sign with. Raises what ``check_key`` does."""
        keys = self._keyring.current()
        settled = await self._store.signing_key()
        if settled not in (None, keys.public_key):
            retired = [key.public_key for key in keys.retired]
            settled = await self._store.settle_signing_key(keys.public_key, retired)
            if settled != keys.public_key:
                raise StoreUnavailable(
                    f"the logs are signed with another key than that in {self._keyring.path}; bring its file there",
                    retry_after_seconds=60,
                )
        return keys

    def _keep(self, account: str, before: str | None, note: str) -> bool:
        """Keep what was signed, unless another process has signed since ``before`` was read."""
        with self._ledger.lock():
            if self._ledger.newest(account) != before:
                return False
            self._ledger.keep(account, note)
            return True

    async def _compare(self, account: Account, note: str) -> None:
        """Raise ``InconsistentLog`` unless the log begins with that of an earlier checkpoint."""
        try:
            await check_growth(self._store, account, Checkpoint.parse(Note.parse(note).text))
        except (InvalidEvidence, InconsistentLog) as error:
            raise InconsistentLog(
                f"{error.message}. No further checkpoint of it is signed. What was signed is in "
                f"{self._ledger.path(account.name)}, and in the store. Put back the newest copy of the store; "
                "docs/howto/operate.md, 'When entries are lost', says what to do if there is none"
            ) from error

    def _signed_so(self, note: str, head: Checkpoint, keys: Keys) -> SignedCheckpoint | None:
        """The checkpoint of a note, if it is that of this head, and the key that signs now has signed it."""
        try:
            signed = open_checkpoint(note, keys.verifiers(head.origin)[:1])
        except InvalidEvidence:
            return None
        return signed if signed.checkpoint == head else None


def _host_in(note: str, account: str) -> str | None:
    """The host that the log of a checkpoint is named after; None where the note is not one of this account's log."""
    try:
        host, found, rest = Checkpoint.parse(Note.parse(note).text).origin.rpartition(f"/log/{account}")
    except InvalidEvidence:
        return None
    return host if found and not rest and _HOST(host) else None


async def _in_thread(work: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
    """Let the ledger work in a thread: a disk that hangs must not keep the server from recording."""
    try:
        async with asyncio.timeout(_PATIENCE_SECONDS):
            return await asyncio.to_thread(work, *args, **kwargs)
    except TimeoutError as error:
        raise StoreUnavailable(
            "the folder that keeps what was signed does not answer", retry_after_seconds=5
        ) from error
