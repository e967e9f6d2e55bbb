"""Publishing: which of the signed checkpoints is shown to everybody.

Without witnesses it is the newest. With witnesses, logs that have grown are gone through in rounds: a log's newest
checkpoint is signed, all witnesses are asked for it at once, and it is published with the cosignatures that came
within ``PATIENCE_SECONDS``; one that comes later is added. So a witness that is slow, or down, holds back nothing but
its own cosignature: a published checkpoint is older than a round only by as long as the round takes.

What was published is kept in the store before it is shown: nobody sees a log shrink because a server was restarted,
or because another server of the same store answers, with witnesses or without. One server at a time asks the
witnesses, for all of them.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Final, NamedTuple, Protocol, TypeVar

from whodid.checkpoint import Cosigner, SignedCheckpoint, open_checkpoint
from whodid.errors import InconsistentLog, InvalidEvidence, StoreUnavailable, WhodidError
from whodid.evidence.examining import Examiner
from whodid.evidence.panel import MOST_ASKED, Asked, Panel
from whodid.evidence.signing import Signer
from whodid.notes import Verifier
from whodid.store.base import Account, KeptCheckpoint, Standing, Store, WitnessState

log = logging.getLogger(__name__)

_T = TypeVar("_T")

PATIENCE_SECONDS: Final = 2.0
"""How long a checkpoint waits for the cosignatures of its witnesses."""

_WORK: Final = "witnesses"
_LEASE_SECONDS: Final = 60.0
"""For how long one server asks the witnesses if nothing more is heard of it."""

_LOOKED_AT_ONCE: Final = 100
"""After so many logs that need nothing, other work has its turn."""


class Observer(Protocol):
    """Is told what becomes of checkpoints; metrics are made of it."""

    def published(self) -> None:
        """A log's newer checkpoint was published."""


class _Fresh(NamedTuple):
    """A checkpoint that is ready to be published, and how far the witnesses are that were asked for it."""

    account_no: int
    account: str
    signed: SignedCheckpoint
    states: Sequence[WitnessState] = ()


class Publishing:
    """Publishes checkpoints, and looks in the background after all logs of a store. Lives in one event loop."""

    def __init__(
        self,
        store: Store,
        signer: Signer,
        examiner: Examiner,
        panel: Panel,
        *,
        random_bytes: Callable[[int], bytes],
        round_seconds: float,
        observer: Observer,
        patience_seconds: float = PATIENCE_SECONDS,
    ) -> None:
        self._store = store
        self._signer = signer
        self._examiner = examiner
        self._panel = panel
        self._random_bytes = random_bytes
        self._round_seconds = round_seconds
        self._patience_seconds = patience_seconds
        self._observer = observer
        self._holder = random_bytes(16)
        self._published: dict[int, SignedCheckpoint] = {}
        self._signing = asyncio.Lock()
        self._publishing = asyncio.Lock()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._discounted: set[int] = set()
        """The accounts of which it was logged that what the store keeps no longer counts."""
        self._troubles: dict[str, str] = {}
        """By kind of work in the background, what hinders it."""

    def start(self) -> None:
        """Begin the work in the background: examine all logs; then, if there are witnesses, round after round."""
        self._begin(self._repeat("examine", self._examiner.examine, once=True))
        if self._panel.verifiers:
            self._begin(self._repeat("round", self.round))

    async def close(self) -> None:
        """Stop the work in the background. What it was at is done again by the next server."""
        while self._tasks:
            for task in self._tasks:
                task.cancel()
            await asyncio.wait(self._tasks)
        self._panel.close()
        if self._panel.verifiers:
            with contextlib.suppress(StoreUnavailable):  # then it is for nobody to wait for
                await self._store.lease(_WORK, self._holder, 0)

    # What is shown.

    async def published(self, account_no: int, account: str) -> SignedCheckpoint:
        """The newest published checkpoint of an account's log, with the cosignatures that it got.

        Raises ``NotFound``, ``InconsistentLog`` or ``StoreUnavailable``.
        """
        if not self._panel.verifiers:
            signed = await self._examiner.newest(account)
            self._show(account_no, signed)
            return signed
        await self._examiner.check(account)
        await self._signer.check_key()
        await self._catch_up(account_no, account)
        shown = await self._shown(account_no, account)
        if shown is None:
            shown = await self._examiner.newest(account)
            await self._publish([_Fresh(account_no, account, shown)])
            shown = self._published[account_no]
        return shown

    async def _shown(self, account_no: int, account: str) -> SignedCheckpoint | None:
        """What is published of a log, and still counts: not under another name, nor signed with another key."""
        key = self._signer.verifiers(account)[0]
        shown = self._published.get(account_no)
        if shown is None and (kept := await self._kept(account_no, account, key)):
            shown = self._published.setdefault(account_no, kept)
        return shown if shown is not None and shown.signer == key else None

    async def _catch_up(self, account_no: int, account: str) -> None:
        """Show what another server has published since."""
        shown, kept = self._published.get(account_no), await self._store.checkpoint(account_no, Standing.PUBLISHED)
        if shown is None or kept is None or kept.note == str(shown.note):
            return
        with contextlib.suppress(InvalidEvidence):
            signed = open_checkpoint(kept.note, self._signer.verifiers(account)[:1], self._panel.verifiers)
            newer = self._newer(_Fresh(account_no, account, signed))
            if newer is not None:
                self._show(account_no, newer)

    async def _kept(self, account_no: int, account: str, key: Verifier) -> SignedCheckpoint | None:
        """The newest that the store keeps and this key has signed; of two of one size, that with cosignatures.

        What was signed and not published counts, too: a server without witnesses shows that.
        """
        opened: list[SignedCheckpoint] = []
        for standing in (Standing.PUBLISHED, Standing.SIGNED):
            kept = await self._store.checkpoint(account_no, standing)
            if kept is None:
                continue
            try:
                opened.append(open_checkpoint(kept.note, [key], self._panel.verifiers))
            except InvalidEvidence as error:
                self._discount(account_no, account, error)
        return max(opened, key=lambda signed: signed.checkpoint.size, default=None)

    def _discount(self, account_no: int, account: str, error: InvalidEvidence) -> None:
        """Log, once for each account, that what was shown of its log no longer counts."""
        if account_no not in self._discounted:
            log.info("a published checkpoint no longer counts", extra={"account": account, "why": error.message})
        self._discounted.add(account_no)

    async def _publish(self, fresh: Sequence[_Fresh]) -> None:
        """Keep checkpoints, and what the witnesses said, durably; then show them. Raises ``StoreUnavailable``."""
        async with self._publishing:
            for one in fresh:
                await self._catch_up(one.account_no, one.account)
            newer = [(one.account_no, signed) for one in fresh if (signed := self._newer(one)) is not None]
            kept = [
                KeptCheckpoint(account_no, Standing.PUBLISHED, signed.checkpoint.size, str(signed.note))
                for account_no, signed in newer
            ]
            states = [state for one in fresh for state in one.states]
            if kept or states:
                await self._store.keep([*kept, *states])
            for account_no, signed in newer:
                self._show(account_no, signed)

    def _newer(self, fresh: _Fresh) -> SignedCheckpoint | None:
        """What is to be shown from now on; None where what is shown is newer, or the same."""
        shown, signed = self._published.get(fresh.account_no), fresh.signed
        if shown is None:
            return signed
        if shown.signer != signed.signer:
            return signed if signed.signer == self._signer.verifiers(fresh.account)[0] else None
        if shown.note.text == signed.note.text:
            both = _with_cosigners(shown, signed.cosigners)
            return None if both == shown else both
        return signed if signed.checkpoint.size > shown.checkpoint.size else None

    def _show(self, account_no: int, signed: SignedCheckpoint) -> None:
        before = self._published.get(account_no)
        self._published[account_no] = signed
        if before is None or before.note.text != signed.note.text:
            self._observer.published()

    # What is done in the background.

    async def round(self) -> None:
        """Publish the newest checkpoint of each log that has grown, or lacks a cosignature that it may get now.

        Does nothing where another server does it. Raises ``StoreUnavailable``: where it is about some logs only, after
        all others.
        """
        if not await self._is_mine():
            self._panel.forget()
            return
        await self._panel.load()
        accounts = await self._store.accounts()
        due = await self._due(accounts)
        due.sort(key=lambda _: self._random_bytes(4))  # so that a slow witness is not slow for always the same logs
        troubles: list[StoreUnavailable] = []
        try:
            for first in range(0, len(due), MOST_ASKED):
                if not await self._is_mine():
                    break  # it took so long that another server goes on
                troubles += await self._advance(due[first : first + MOST_ASKED])
        finally:
            self._panel.report({account.no: account.frontier.size for account in accounts})
        if troubles:
            raise min(troubles, key=lambda trouble: trouble.message)  # the same in each round, in whatever order

    async def _is_mine(self) -> bool:
        """Whether it is this server that asks the witnesses now."""
        return await self._store.lease(_WORK, self._holder, _LEASE_SECONDS + 2 * self._round_seconds)

    async def _due(self, accounts: Sequence[Account]) -> list[Account]:
        due: list[Account] = []
        for number, account in enumerate(accounts, 1):
            if await self._is_due(account):
                due.append(account)
            if number % _LOOKED_AT_ONCE == 0:
                await asyncio.sleep(0)
        return due

    async def _is_due(self, account: Account) -> bool:
        shown = await self._shown(account.no, account.name)
        return (
            shown is None
            or shown.checkpoint.size != account.frontier.size
            or self._examiner.contradicted(account.name)
            or bool(self._panel.free(account.no, shown))
        )

    async def _advance(self, accounts: Iterable[Account]) -> list[StoreUnavailable]:
        """Publish the newest checkpoints of a few logs, with one commit for all of them; why some can't be signed.

        Raises ``StoreUnavailable`` where nothing can be published.
        """
        results = await asyncio.gather(*map(self._cosigned, accounts), return_exceptions=True)
        await self._publish([result for result in results if isinstance(result, _Fresh)])
        for result in results:
            if isinstance(result, BaseException) and not isinstance(result, StoreUnavailable):
                raise result
        return [result for result in results if isinstance(result, StoreUnavailable)]

    async def _cosigned(self, account: Account) -> _Fresh | None:
        """The newest checkpoint of a log, with the cosignatures that come in time; None where none can be signed."""
        if not await self._is_due(account):
            return None  # any more: its witness has just failed with another log
        try:
            async with self._signing:  # one after another: appends wait for one commit of these at most
                signed = await self._examiner.newest(account.name, covering=account.frontier.size)
        except InconsistentLog:
            return None  # it was logged when it was found
        shown = self._published.get(account.no)
        if shown is not None and (shown.signer, shown.note.text) == (signed.signer, signed.note.text):
            signed = shown
        asks = [
            self._begin(self._panel.ask(witness, account, signed)) for witness in self._panel.free(account.no, signed)
        ]
        if asks:
            _, late = await asyncio.wait(asks, timeout=self._patience_seconds)
            for ask in late:
                self._begin(self._tried("add", partial(self._add, account, signed, ask)))
        return _fresh(account, signed, [ask.result() for ask in asks if ask.done()])

    async def _add(self, account: Account, signed: SignedCheckpoint, ask: "asyncio.Task[Asked | None]") -> None:
        """Add a cosignature that comes late, if the checkpoint is still the published one."""
        await self._publish([_fresh(account, signed, [await ask])])

    async def _repeat(self, kind: str, work: Callable[[], Awaitable[None]], *, once: bool = False) -> None:
        """Do some work again and again; or until it could be done, ``once``."""
        while True:
            if await self._tried(kind, work) and once:
                return
            await asyncio.sleep(self._round_seconds)

    async def _tried(self, kind: str, work: Callable[[], Awaitable[None]]) -> bool:
        """Do some work; whether it could be done."""
        try:
            await work()
        except WhodidError as error:
            self._complain(kind, error.message)
        except Exception:
            log.exception("checkpoints can't be published")
        else:
            self._troubles.pop(kind, None)
            return True
        return False

    def _complain(self, kind: str, trouble: str) -> None:
        """Log what hinders a kind of work; once, as long as it stays the same, and whatever else it hinders."""
        if trouble not in self._troubles.values():
            log.error("checkpoints can't be published: %s", trouble)
        self._troubles[kind] = trouble

    def _begin(self, work: Coroutine[Any, Any, _T]) -> "asyncio.Task[_T]":
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _fresh(account: Account, signed: SignedCheckpoint, asked: Iterable[Asked | None]) -> _Fresh:
    answers = [one for one in asked if one is not None]
    cosigners = [one.cosigner for one in answers if one.cosigner is not None]
    return _Fresh(account.no, account.name, _with_cosigners(signed, cosigners), [one.state for one in answers])


def _with_cosigners(signed: SignedCheckpoint, cosigners: Iterable[Cosigner]) -> SignedCheckpoint:
    """The checkpoint with more cosignatures, one of each witness."""
    have = {cosigner.witness for cosigner in signed.cosigners}
    more = [cosigner for cosigner in cosigners if cosigner.witness not in have]
    note = signed.note.with_signatures(cosigner.signature for cosigner in more)
    return replace(signed, note=note, cosigners=(*signed.cosigners, *more))
