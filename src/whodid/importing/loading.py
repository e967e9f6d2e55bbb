"""Loading: records of files become events of an account's log, batch by batch, each batch one durable commit.

An import can be repeated: a record brings its own ``_id``, so what is there already is counted, not stored again. It
stops at the first batch with anything wrong in it, tells every fault of that batch, and stores nothing of it.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, replace

import msgspec
from msgspec import UNSET

from whodid.errors import (
    Fault,
    IdConflict,
    InvalidEvents,
    InvalidRequest,
    MalformedBody,
    StoreUnavailable,
    WhodidError,
)
from whodid.importing.files import RecordBatch, RecordFile
from whodid.importing.splitting import RawRecord
from whodid.ingest import Completer, parse_events
from whodid.records import Body, Event, Kind
from whodid.store.base import Account, Receipt, Store, Submission

PAUSE_SECONDS = 0.005
"""Left between two commits, so that a server of the same store gets its turn to write."""


@dataclass(frozen=True, slots=True)
class Tally:
    """How far an import has come."""

    imported: int = 0
    duplicates: int = 0
    """Records that the log had already."""
    problems: tuple[str, ...] = ()
    """Why the import stopped before the end; each names the file, and the record where it is one record's fault."""


@dataclass(frozen=True, slots=True)
class Retries:
    """How often, and after how long, a commit is tried again that the store could not take."""

    after_seconds: tuple[float, ...] = (0.25, 0.5, 1, 2, 4)
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep


class Loader:
    """Appends files of records to one account's log."""

    def __init__(self, store: Store, account: Account, completer: Completer, retries: Retries | None = None) -> None:
        self._store = store
        self._account = account
        self._completer = completer
        self._retries = retries or Retries()

    async def load(self, files: Iterable[RecordFile], progress: Callable[[Tally], None]) -> Tally:
        """Append the files' records, in their order. Calls ``progress`` after each commit.

        Raises ``StoreUnavailable`` where the store keeps refusing; whatever was committed before stays.
        """
        tally = Tally()
        for file in files:
            try:
                for batch in file.batches():
                    receipt = await self._append(file, batch)
                    known = len(receipt.duplicates)
                    tally = Tally(tally.imported + len(batch.records) - known, tally.duplicates + known)
                    progress(tally)
                    await self._retries.sleep(PAUSE_SECONDS)
            except _Stopped as stopped:
                return replace(tally, problems=stopped.problems)
            except InvalidRequest as error:  # of the file itself: cut off, unreadable, of another form
                return replace(tally, problems=(f"{file.name}: {error.message}",))
        return tally

    async def _append(self, file: RecordFile, batch: RecordBatch) -> Receipt:
        batch = _without_numbers(batch)
        events = self._complete(file, batch)
        (result,) = await self._commit([Submission(self._account.no, events)])
        if isinstance(result, IdConflict):
            where = _where(file, batch, batch.records[result.index])
            raise _Stopped([f"{where}: _id {result.record_id} is recorded already, with other content"])
        if isinstance(result, WhodidError):
            raise result
        return result

    async def _commit(self, submissions: list[Submission]) -> list[Receipt | WhodidError]:
        for seconds in self._retries.after_seconds:
            try:
                return await self._store.append(submissions)
            except StoreUnavailable:
                await self._retries.sleep(seconds)
        return await self._store.append(submissions)

    def _complete(self, file: RecordFile, batch: RecordBatch) -> list[Event]:
        """The batch's events, in its order: parsed by the thousand, or, if anything is wrong, one by one."""
        kinds = [kind_of(record.data) for record in batch.records]
        events: dict[int, Event] = {}
        try:
            for kind in sorted(set(kinds)):
                places = [place for place, its_kind in enumerate(kinds) if its_kind == kind]
                bodies = _parse([batch.records[place].data for place in places], batch.unit, kind)
                completed = self._completer.complete(bodies, kind, keep_recorded=True)
                events.update(zip(places, completed, strict=True))
        except InvalidRequest as error:
            problems = [
                problem
                for record, kind in zip(batch.records, kinds, strict=True)
                for problem in self._problems(_where(file, batch, record), record, kind)
            ]
            raise _Stopped(problems or [f"{file.name}: {error.message}"]) from error
        return [events[place] for place in range(len(kinds))]

    def _problems(self, where: str, record: RawRecord, kind: Kind) -> list[str]:
        """Everything that is wrong with one record."""
        if not record.data.lstrip().startswith(b"{"):
            return [f"{where}: a record must be a JSON object"]
        try:
            bodies = parse_events(record.data, kind, lines=False)
            _require_own(bodies)
            self._completer.complete(bodies, kind, keep_recorded=True)
        except InvalidEvents as error:
            return [f"{where}: {_told(fault)}" for fault in error.faults]
        except InvalidRequest as error:
            return [f"{where}: {error.message.replace('the body', 'the record', 1)}"]
        return []


class _Stopped(Exception):
    """The import can't go on."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__(problems)
        self.problems = tuple(problems)


_NUMBER = re.compile(rb'\s*\{\s*"seq"\s*:\s*(?:0|[1-9][0-9]{0,18})\s*(?:,|(?=\}))')


def _without_numbers(batch: RecordBatch) -> RecordBatch:
    """The records without the ``seq`` that answers and exports put in front: where a record was in another log."""
    records = [RawRecord(record.number, _without_number(record.data)) for record in batch.records]
    return RecordBatch(batch.unit, records)


def _without_number(record: bytes) -> bytes:
    found = _NUMBER.match(record)
    return record if found is None else b"{" + record[found.end() :]


class _Probe(msgspec.Struct):
    token_id: msgspec.Raw | msgspec.UnsetType = UNSET


_probe = msgspec.json.Decoder(_Probe)


def kind_of(record: bytes) -> Kind:
    """Of which log a record is: those of token uses name the token."""
    if b'"token_id"' not in record:
        return Kind.ACTION
    try:
        return Kind.ACTION if _probe.decode(record).token_id is UNSET else Kind.TOKEN
    except (msgspec.DecodeError, UnicodeDecodeError):
        return Kind.ACTION  # broken; what exactly is wrong with it is found out in good time


def _parse(records: list[bytes], unit: str, kind: Kind) -> list[Body]:
    lines = unit == "line"
    data = b"\n".join(records) if lines else b"[" + b",".join(records) + b"]"
    bodies = parse_events(data, kind, lines=lines)
    if len(bodies) != len(records):
        raise MalformedBody("there must be one record a line")
    _require_own(bodies)
    return bodies


def _require_own(bodies: list[Body]) -> None:
    """Refuse records without what makes an import repeatable."""
    faults = [
        Fault(index, key, f"{key} must be given: only then can an import be repeated without doubling anything")
        for index, body in enumerate(bodies)
        for key, value in (("_id", body.id), ("createdAt", body.createdAt))
        if value is UNSET
    ]
    if faults:
        raise InvalidEvents(faults)


def _where(file: RecordFile, batch: RecordBatch, record: RawRecord) -> str:
    return f"{file.name}, {batch.unit} {record.number}"


def _told(fault: Fault) -> str:
    return fault.detail if fault.field is None or fault.field in fault.detail else f"{fault.field}: {fault.detail}"
