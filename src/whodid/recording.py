"""Recording: one request of events, from its bytes to its place in the log.

The token use of the call and its events are one submission, the token use first: both are durable, or neither is.
Where the events are refused, the token use is recorded by itself, with outcome ``failure``.
"""

import asyncio
from collections.abc import Awaitable, Callable

from msgspec import Struct

from whodid.auth import ATTEMPTS, RECORD, Call, Gate, Principal, refuse
from whodid.errors import Conflict, IdConflict, InvalidEvents, InvalidRequest, StaleIdentity, Unavailable
from whodid.ingest import Completer, Directory, parse_events
from whodid.records import Event, IdMakers, Kind
from whodid.sequencer import Sequencer
from whodid.store.base import Store, Submission

_LARGE_BODY = 1024 * 1024
"""From this size on, a body is parsed in a thread, so that other calls are answered meanwhile."""

_MOST_DIRECTORIES = 100


class Content(Struct, frozen=True):
    """A request's body, unpacked, and how to read it."""

    data: bytes
    lines: bool
    """Whether it is NDJSON: one object a line."""


class Recorded(Struct, frozen=True):
    """What became of a request's events, in their order."""

    ids: list[str]
    seqs: list[int]
    duplicates: int


class Recorder:
    """Records requests of events."""

    def __init__(
        self, store: Store, sequencer: Sequencer, gate: Gate, *, clock: Callable[[], int], ids: IdMakers
    ) -> None:
        self._store = store
        self._sequencer = sequencer
        self._gate = gate
        self._clock = clock
        self._ids = ids
        self._large = asyncio.Lock()
        self._directories: dict[int, tuple[int, Directory]] = {}

    async def record(
        self, bearer: str | None, call: Call, kind: Kind, read_content: Callable[[Principal], Awaitable[Content]]
    ) -> Recorded:
        """Record the events of a call. Its body is fetched, by ``read_content``, only if the caller may record.

        Raises what ``Gate.admit`` raises, ``InvalidRequest`` and ``IdConflict``.
        """
        principal = await self._permitted(bearer, call)
        try:
            content = await read_content(principal)
            return await self._append(bearer, call, kind, content)
        except (InvalidRequest, Conflict, Unavailable) as fault:
            await self._gate.admit(bearer, call, RECORD, fault)
            raise

    async def _permitted(self, bearer: str | None, call: Call) -> Principal:
        """Who calls, and may record; a refusal is recorded by itself, and raised."""
        principal = await self._gate.identify(bearer)
        return await self._gate.admit(bearer, call, RECORD) if refuse(principal, RECORD) else principal

    async def _append(self, bearer: str | None, call: Call, kind: Kind, content: Content) -> Recorded:
        for _ in range(ATTEMPTS):
            principal = await self._permitted(bearer, call)
            use = self._gate.use_of(principal, call)
            events = await self._events(principal, kind, content)
            submission = Submission(
                principal.account_no,
                [use, *events],
                identity_version=principal.identity_version,
            )
            try:
                receipt = await self._sequencer.append(submission)
            except StaleIdentity:
                self._gate.forget(principal)
                continue
            except IdConflict as conflict:
                raise IdConflict(conflict.index - 1, conflict.record_id) from conflict  # the token use was at 0
            return Recorded([event.id.hex() for event in events], receipt.seqs[1:], len(receipt.duplicates))
        raise StaleIdentity

    async def _events(self, principal: Principal, kind: Kind, content: Content) -> list[Event]:
        directory = await self._directory(principal)
        completer = Completer(principal.account, directory, self._ids.of(principal.account), self._clock)

        def make() -> list[Event]:
            try:
                bodies = parse_events(content.data, kind, lines=content.lines)
            except InvalidEvents as error:
                raise completer.all_faults(error, kind) from error
            return completer.complete(bodies, kind)

        if len(content.data) <= _LARGE_BODY:
            return make()
        async with self._large:  # one at a time: parsed, it takes many times its size
            return await asyncio.to_thread(make)

    async def _directory(self, principal: Principal) -> Directory:
        """The account's users, as they are under the principal's identity version."""
        known = self._directories.get(principal.account_no)
        if known is not None and known[0] == principal.identity_version:
            return known[1]
        directory = Directory(await self._store.addresses(principal.account_no))
        while len(self._directories) >= _MOST_DIRECTORIES:
            del self._directories[next(iter(self._directories))]
        self._directories[principal.account_no] = principal.identity_version, directory
        return directory
