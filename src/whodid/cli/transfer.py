"""``whodid import`` and ``whodid export``: records into an account's log, and out of it."""

import contextlib
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, BinaryIO, Literal

from cyclopts import App, Parameter

from whodid.cli.bundling import export_evidence
from whodid.cli.operator import Operator, operate
from whodid.cli.options import STDIN, STDOUT, AccountName, AsJson, StoreUrl, check_file_name, parse_moment
from whodid.cli.output import UsageError, complain, note, say, show_json
from whodid.cli.progress import Meter
from whodid.clock import wall_clock
from whodid.errors import InvalidParameter, StoreUnavailable
from whodid.exporting import export as write_records
from whodid.exporting import whole_file
from whodid.importing import Loader, RecordFile, Tally
from whodid.ingest import Completer, Directory
from whodid.records import MAX_TIME_MS, IdMaker, Kind
from whodid.store.base import Account

_KINDS = {"action": Kind.ACTION, "token": Kind.TOKEN}

_IMPORT_EXAMPLE = """Example:

    whodid import --account org-acme-acc0 actions.ndjson tokens.json.gz

    whodid export --account org-acme-acc0 | \\
        whodid import --account org-acme-acc0 --store sqlite:///copy.db -

Records need their _id and createdAt. Importing a file again stores nothing twice."""

_EXPORT_EXAMPLE = """Example:

    whodid export --account org-acme-acc0 --from 2021-07-01 --to 2021-08-01 --output july.ndjson

    whodid export --account org-acme-acc0 --from 7d --kind token

    whodid export --account org-acme-acc0 --evidence acme.ndjson.gz

    whodid export --account org-acme-acc0 --evidence --from 2021-07-01 --to 2021-08-01 july.ndjson.gz"""


def register(app: App) -> None:
    """Add the commands to the command line."""
    app.command(import_, name="import", help_epilogue=_IMPORT_EXAMPLE)
    app.command(export, help_epilogue=_EXPORT_EXAMPLE)


FileName = Annotated[
    str,
    Parameter(
        name="FILE",
        allow_leading_hyphen=True,
        validator=check_file_name,
        help="NDJSON, a JSON array, or a reply of the API; gzip or not. '-' is standard input.",
    ),
]


async def import_(
    first: FileName,
    /,
    *more: FileName,
    account: AccountName,
    store: StoreUrl = None,
    as_json: AsJson = False,
) -> int:
    """Append the records of files to an account's log, keeping their ids and times."""
    names = [first, *more]
    with contextlib.ExitStack() as opened:
        files = [opened.enter_context(_opened(name)) for name in names]
        async with operate(store) as operator:
            home = await operator.identity.account(account)
            tally = await _load(operator, home, files, _size_bytes(names))
    _tell(tally, as_json=as_json)
    return 1 if tally.problems else 0


@contextlib.contextmanager
def _opened(name: str) -> Iterator[RecordFile]:
    if name == STDIN:
        yield RecordFile("standard input", sys.stdin.buffer)
        return
    try:
        stream = Path(name).open("rb")  # noqa: SIM115 (closed below)
    except OSError as error:
        raise InvalidParameter(f"can't read {name}: {error.strerror}") from error
    with stream:
        yield RecordFile(name, stream)


def _size_bytes(names: list[str]) -> int | None:
    """How much there is to read; None where nobody knows."""
    if STDIN in names:
        return None
    return sum(Path(name).stat().st_size for name in names)


async def _load(operator: Operator, home: Account, files: list[RecordFile], size_bytes: int | None) -> Tally:
    directory = Directory(await operator.store.addresses(home.no))
    completer = Completer(home.name, directory, IdMaker(os.urandom), wall_clock)
    with Meter("importing", unit="bytes") as meter:

        def show(_tally: Tally) -> None:
            meter(sum(file.taken_bytes for file in files), size_bytes)

        return await Loader(operator.store, home, completer).load(files, show)


def _tell(tally: Tally, *, as_json: bool) -> None:
    for problem in tally.problems:
        complain(problem)
    if as_json:
        show_json({"imported": tally.imported, "duplicates": tally.duplicates, "problems": tally.problems})
    elif tally.problems:
        complain(
            f"the import stopped, and stored nothing of the batch (up to 1000 records) with the fault; before it, "
            f"{_counts(tally)}. Put it right and import the same files again"
        )
    else:
        say(_counts(tally))


def _counts(tally: Tally) -> str:
    return f"imported {tally.imported}, {tally.duplicates} were there already"


async def export(
    output: Annotated[
        Path | None,
        Parameter(
            name="--output",
            allow_leading_hyphen=True,
            validator=check_file_name,
            help="The file to write; it appears once it is whole. Else, or with '-', standard output.",
        ),
    ] = None,
    *,
    account: AccountName,
    since: Annotated[
        str | None,
        Parameter(
            name="--from", help="Not before this: a time, a day (UTC), or an age like 7d. Evidence: or a number."
        ),
    ] = None,
    until: Annotated[
        str | None,
        Parameter(name="--to", help="Before this, exclusive: a time, a day or an age. Evidence: or a number."),
    ] = None,
    kind: Annotated[Literal["action", "token"] | None, Parameter(help="Only actions, or only token uses.")] = None,
    evidence: Annotated[
        bool, Parameter(negative=(), help="Write what 'whodid verify' checks offline, packed.", show_default=False)
    ] = False,
    previous: Annotated[
        Path | None,
        Parameter(help="With --evidence: a checkpoint of before; the evidence then proves that the log only grew."),
    ] = None,
    store: StoreUrl = None,
) -> None:
    """Write an account's records as NDJSON, oldest first; or the evidence of a stretch of its log.

    The log keeps an action that tells of it.
    """
    if evidence and kind:
        raise UsageError("--kind and --evidence exclude each other: evidence has all entries of a stretch")
    if previous and not evidence:
        raise UsageError("--previous is for --evidence")
    selection = None if evidence else _select(since, until, kind)
    async with operate(store) as operator:
        home = await operator.identity.account(account)
        await _record(operator, home, {"from": since, "to": until, "kind": kind, "evidence": evidence or None})
        if selection is None:
            home = await operator.identity.account(account)  # as it is now, with the action
            await export_evidence(operator, home, store, output, since=since, until=until, previous=previous)
            return
        if output is None or str(output) == STDOUT:
            await _write(operator, home, sys.stdout.buffer, selection)
            return
        with whole_file(output) as file, Meter("exporting") as meter:
            count = await _write(operator, home, file, selection, meter)
    note(f"exported {count} records to {output}")


@dataclass(frozen=True, slots=True)
class _Selection:
    """Which records are exported."""

    since_ms: int
    until_ms: int
    kind: Kind | None


async def _record(operator: Operator, home: Account, wanted: dict[str, str | bool | None]) -> None:
    """Record the export before it is made. A store that can't be written, as on a read-only disk, can be read still."""
    selection = {name: value for name, value in wanted.items() if value is not None}
    try:
        await operator.identity.record_export(home, operator.actor, selection)
    except StoreUnavailable as error:
        note(f"the export could not be recorded in the log: {error.message}")


async def _write(
    operator: Operator,
    home: Account,
    out: BinaryIO,
    selection: _Selection,
    meter: Meter | None = None,
) -> int:
    return await write_records(
        operator.store,
        home.no,
        out,
        since_ms=selection.since_ms,
        until_ms=selection.until_ms,
        kind=selection.kind,
        progress=meter or (lambda _written: None),
    )


def _select(since: str | None, until: str | None, kind: str | None) -> _Selection:
    now_ms = wall_clock()
    since_ms = 0 if since is None else parse_moment(since, "--from", now_ms)
    until_ms = MAX_TIME_MS + 1 if until is None else parse_moment(until, "--to", now_ms)
    if since_ms >= until_ms:
        raise UsageError("--from must be before --to")
    return _Selection(since_ms, until_ms, None if kind is None else _KINDS[kind])
