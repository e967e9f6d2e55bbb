"""The panel: all witnesses of a server, how far each has come with each log, and which of them may be asked now.

A witness that fails is left alone for a while, twice as long each time. Where the failure is about one log (the witness
does not know it, say), it is left alone with that log only.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final, NamedTuple, Protocol

import msgspec

from whodid.checkpoint import Cosigner, SignedCheckpoint
from whodid.errors import WhodidError
from whodid.evidence.courier import Courier
from whodid.evidence.proving import prove_consistency
from whodid.evidence.witnesses import Cosigned, Failed, Witness, ask
from whodid.store.base import Account, Store, WitnessState

log = logging.getLogger(__name__)

ANSWER_SECONDS: Final = 10.0
"""How long a witness may take to cosign, however often it is asked for that."""

MOST_REST_SECONDS: Final = 600.0
MOST_ASKED: Final = 16
"""How many requests one witness may have at once."""

_MOST_DOUBLINGS: Final = 20


class Observer(Protocol):
    """Is told how the witnesses are doing; metrics are made of it."""

    def witness_failed(self, witness: str) -> None:
        """A witness gave no cosignature when asked."""

    def witnessed(self, witness: str, *, cosigned_entries: int, behind_entries: int, failing: bool) -> None:
        """How far a witness is, with all logs together; whether its last answer about any of them was a failure."""


class Asked(NamedTuple):
    """What came of asking a witness."""

    state: WitnessState
    cosigner: Cosigner | None


@dataclass(slots=True)
class _Rest:
    """For how long something that failed is left alone."""

    failures: int = 0
    until: float = 0.0

    def begin(self, now: float, first_seconds: float, chance: float) -> None:
        """It failed: rest, longer than the last time; ``chance`` is from 0 to 1. While it rests, nothing changes."""
        if now < self.until:
            return  # one of several requests that failed together
        longest = min(first_seconds * 2 ** min(self.failures, _MOST_DOUBLINGS), MOST_REST_SECONDS)
        self.failures += 1
        self.until = now + longest * (1 + chance) / 2


@dataclass(slots=True)
class _Seat:
    """A witness and how it is doing."""

    witness: Witness
    courier: Courier
    rest: _Rest = field(default_factory=_Rest)
    asked: int = 0
    """How many requests are on their way."""
    told: str | None = None
    """The failure that was logged last; None since it has cosigned."""


@dataclass(slots=True)
class _Case:
    """A witness and one log."""

    state: WitnessState
    rest: _Rest = field(default_factory=_Rest)
    asked: bool = False
    told: str | None = None


class Panel:
    """All witnesses. Lives in one event loop."""

    def __init__(
        self,
        store: Store,
        witnesses: Sequence[Witness],
        *,
        clock: Callable[[], int],
        monotonic: Callable[[], float],
        random_bytes: Callable[[int], bytes],
        rest_seconds: float,
        observer: Observer,
        answer_seconds: float = ANSWER_SECONDS,
    ) -> None:
        """``rest_seconds`` is how long a witness is left alone after its first failure."""
        self._store = store
        self._clock = clock
        self._monotonic = monotonic
        self._random_bytes = random_bytes
        self._rest_seconds = rest_seconds
        self._observer = observer
        self._answer_seconds = answer_seconds
        self._seats = [_Seat(witness, Courier(witness, silence_seconds=answer_seconds)) for witness in witnesses]
        self._cases: dict[tuple[int, str], _Case] = {}
        self._loaded = False
        self.verifiers = [witness.verifier for witness in witnesses]
        """Of their cosignatures."""

    async def load(self) -> None:
        """Read from the store how far the witnesses are, once. Raises ``StoreUnavailable``."""
        if not self._loaded:
            for state in await self._store.witness_states():
                self._cases[state.account_no, state.witness] = _Case(state)
            self._loaded = True

    def forget(self) -> None:
        """Read anew, when next asked, how far the witnesses are: another server asks them now."""
        self._loaded = False

    def free(self, account_no: int, signed: SignedCheckpoint) -> list[Witness]:
        """The witnesses that have not cosigned a checkpoint, and may be asked for it now."""
        have = {cosigner.witness for cosigner in signed.cosigners}
        return [
            seat.witness
            for seat in self._seats
            if seat.witness.verifier not in have and self._is_free(seat, self._case(account_no, seat.witness))
        ]

    def _is_free(self, seat: _Seat, case: _Case) -> bool:
        """One that has failed is asked for one checkpoint at first, to see."""
        most = 1 if seat.rest.failures else MOST_ASKED
        return seat.asked < most and not case.asked and self._monotonic() >= max(seat.rest.until, case.rest.until)

    async def ask(self, witness: Witness, account: Account, signed: SignedCheckpoint) -> Asked | None:
        """Ask one of the free witnesses to cosign a checkpoint; None where another request to it just failed."""
        seat = next(seat for seat in self._seats if seat.witness == witness)
        case = self._case(account.no, witness)
        if not self._is_free(seat, case):
            return None
        seat.asked += 1
        case.asked = True
        try:
            answer = await self._answer(seat, case, signed)
        finally:
            seat.asked -= 1
            case.asked = False
        return self._learn(seat, case, account.name, answer, signed)

    async def _answer(self, seat: _Seat, case: _Case, signed: SignedCheckpoint) -> Cosigned | Failed:
        try:
            async with asyncio.timeout(self._answer_seconds):
                return await ask(
                    seat.witness,
                    seat.courier,
                    signed,
                    known=case.state.size,
                    prove=partial(prove_consistency, self._store, case.state.account_no),
                    now_ms=self._clock(),
                )
        except TimeoutError:
            return Failed(f"does not answer within {self._answer_seconds:g} seconds")
        except WhodidError as error:
            return Failed(f"could not be sent a proof: {error.message}", of_log=True)

    def _learn(
        self, seat: _Seat, case: _Case, account: str, answer: Cosigned | Failed, signed: SignedCheckpoint
    ) -> Asked:
        state = msgspec.structs.replace(case.state, tried_ms=self._clock())
        if isinstance(answer, Failed):
            case.state = msgspec.structs.replace(state, error=answer.error)
            self._rest(seat, case, answer)
            _tell(seat, case, account, answer)
            self._observer.witness_failed(seat.witness.name)
            return Asked(case.state, None)
        size = signed.checkpoint.size
        case.state = msgspec.structs.replace(state, size=size, cosigned_ms=answer.time_ms, error=None)
        seat.rest, case.rest = _Rest(), _Rest()
        if seat.told is not None or case.told is not None:
            log.info("the witness %s cosigns again", seat.witness.name, extra={"account": account})
        seat.told = case.told = None
        return Asked(case.state, answer.cosigner)

    def _rest(self, seat: _Seat, case: _Case, failed: Failed) -> None:
        """Leave the witness alone for a while; with this log only, if it is but for this log that it failed."""
        rest = seat.rest
        if failed.of_log:
            rest, seat.rest = case.rest, _Rest()
        rest.begin(self._monotonic(), self._rest_seconds, int.from_bytes(self._random_bytes(2), "big") / 0xFFFF)

    def report(self, sizes: Mapping[int, int]) -> None:
        """Tell the observer how far the witnesses are; ``sizes`` has each account's entries."""
        for seat in self._seats:
            states = {account_no: self._case(account_no, seat.witness).state for account_no in sizes}
            self._observer.witnessed(
                seat.witness.name,
                cosigned_entries=sum(state.size for state in states.values()),
                behind_entries=sum(max(0, size - states[account_no].size) for account_no, size in sizes.items()),
                failing=any(state.error is not None for state in states.values()),
            )

    def close(self) -> None:
        """Let go of the connections to the witnesses."""
        for seat in self._seats:
            seat.courier.close()

    def _case(self, account_no: int, witness: Witness) -> _Case:
        case = self._cases.get((account_no, witness.name))
        if case is None:
            case = _Case(WitnessState(account_no, witness.name, size=0, cosigned_ms=None, error=None, tried_ms=0))
            self._cases[account_no, witness.name] = case
        return case


def _tell(seat: _Seat, case: _Case, account: str, failed: Failed) -> None:
    """Log a failure, unless it is the one that was logged last."""
    teller = case if failed.of_log else seat
    if teller.told != failed.error:
        teller.told = failed.error
        level = logging.ERROR if failed.serious else logging.WARNING
        log.log(level, "the witness %s: %s", seat.witness.name, failed.error, extra={"account": account})
