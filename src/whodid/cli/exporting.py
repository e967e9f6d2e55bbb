"""``whodid export``: records, out of a store or from a server; or the evidence of a stretch of a log."""

import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from whodid.cli.bundling import export_evidence
from whodid.cli.connecting import Local, MaybeAccount, MaybeStore, ServerUrl, TokenFile, reach
from whodid.cli.downloading import Wanted, download
from whodid.cli.operator import Operator, operate
from whodid.cli.options import SINCE, UNTIL, check_file_name, parse_moment
from whodid.cli.output import UsageError, note
from whodid.cli.progress import Meter
from whodid.cli.targets import CompressionName, FormatName, Target, opened, target_of
from whodid.clock import wall_clock
from whodid.conditions import KIND_NAMES, Condition, Is, both
from whodid.errors import InvalidParameter, StoreUnavailable
from whodid.exporting import Format, Piece, by_search, by_time, compressed, open_format, pieces
from whodid.exporting import export as write_pieces
from whodid.query.language import parse_q
from whodid.records import MAX_TIME_MS
from whodid.store.base import Account, Numbered, Position, Search

EXPORT_EXAMPLE = """Example:

    whodid export --account org-acme-acc0 --since 30d --output month.parquet

    whodid export --account org-acme-acc0 --since 7d --kind token

    whodid export --account org-acme-acc0 --output july.csv \\
        --since 2021-07-01 --until 2021-08-01

    whodid export --account org-acme-acc0 --output troubles.csv \\
        --q 'type:policy (outcome:failure OR outcome:denied)'

    whodid export --url https://audit.example.com --token-file eve.token \\
        --output all.csv.gz

    whodid export --account org-acme-acc0 --after 41523 >> all.ndjson

    whodid export --account org-acme-acc0 --evidence acme.ndjson.gz

    whodid export --account org-acme-acc0 --evidence july.ndjson.gz \\
        --since 2021-07-01 --until 2021-08-01

An export that is stopped leaves its records, as lines, in FILE.part, and says
how to go on. A killed one leaves FILE.part, too; the next one begins it anew."""


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
    account: MaybeAccount = None,
    since: Annotated[
        str | None,
        Parameter(name=SINCE, help="Not before this: a time, a day (UTC), or an age like 7d. Evidence: or a number."),
    ] = None,
    until: Annotated[
        str | None,
        Parameter(name=UNTIL, help="Before this, exclusive: a time, a day or an age. Evidence: or a number."),
    ] = None,
    kind: Annotated[Literal["action", "token"] | None, Parameter(help="Only actions, or only token uses.")] = None,
    q: Annotated[
        str | None,
        Parameter(
            name="--q", allow_leading_hyphen=True, help="Only what this finds, like 'type:policy -action:update ann'."
        ),
    ] = None,
    form: Annotated[
        FormatName | None, Parameter(name="--format", help="What to write; else as the file's name ends, else ndjson.")
    ] = None,
    compression: Annotated[
        CompressionName | None, Parameter(help="How it is packed; else as the file's name ends, .gz or .zst.")
    ] = None,
    bom: Annotated[
        bool,
        Parameter(
            name="--bom", negative=(), help="With csv: begin with a mark, as Excel needs it.", show_default=False
        ),
    ] = False,
    after: Annotated[
        int | None,
        Parameter(help="Only what comes after the record of this number, to go on; ndjson, or csv without a header."),
    ] = None,
    evidence: Annotated[
        bool, Parameter(negative=(), help="Write what 'whodid verify' checks offline, packed.", show_default=False)
    ] = False,
    previous: Annotated[
        Path | None,
        Parameter(help="With --evidence: a checkpoint of before; the evidence then proves that the log only grew."),
    ] = None,
    store: MaybeStore = None,
    url: ServerUrl = None,
    token_file: TokenFile = None,
) -> None:
    """Write an account's records, oldest first; or the evidence of a stretch of its log.

    The log keeps an action that tells of it.
    """
    place = reach(url, token_file, store, account)
    if not isinstance(place, Local):
        _refuse_of_a_server({"--evidence": evidence, "--previous": previous})
        target = target_of(output, form, compression, mark=bom, after=after)
        download(place, Wanted(since, until, kind, q, after), target)
        return
    account = place.account
    wanted = {"from": since, "to": until, "kind": kind, "q": q}
    if evidence:
        _refuse_beside_evidence(
            {
                "--kind": kind,
                "--q": q,
                "--format": form,
                "--compression": compression,
                "--bom": bom or None,
                "--after": after,
            }
        )
        async with operate(store) as operator:
            await _record(operator, account, {**wanted, "evidence": True})
            home = await operator.identity.account(account)  # as it is now, with the action
            await export_evidence(operator, home, store, output, since=since, until=until, previous=previous)
        return
    if previous:
        raise UsageError("--previous is for --evidence")
    target = target_of(output, form, compression, mark=bom, after=after)
    selection = _select(since, until, kind, q)
    made = _open(target)
    recorded = {"format": None if target.form == "ndjson" else target.form, "after": after}
    async with operate(store) as operator:
        place_of = await _place(operator, account, after)
        home = await _record(operator, account, {**wanted, **recorded})
        await _deliver(pieces(_records(operator, home, selection, place_of), made), target)


def _open(target: Target) -> Format:
    """Raises ``InvalidParameter`` for what can't be made, or does not go together."""
    form = open_format(target.form, mark=target.mark, titled=target.titled)
    return compressed(form, target.compression)


def _refuse_of_a_server(given: dict[str, object]) -> None:
    for option, value in given.items():
        if value:
            raise UsageError(f"{option} is for a store: a server does not make that")


def _refuse_beside_evidence(given: dict[str, object]) -> None:
    for option, value in given.items():
        if value is not None:
            raise UsageError(f"{option} and --evidence exclude each other: evidence has all entries of a stretch")


@dataclass(frozen=True, slots=True)
class _Selection:
    """Which records are exported."""

    since_ms: int
    until_ms: int
    kind: str | None
    condition: Condition | None


def _select(since: str | None, until: str | None, kind: str | None, q: str | None) -> _Selection:
    now_ms = wall_clock()
    since_ms = 0 if since is None else parse_moment(since, "--since", now_ms)
    until_ms = MAX_TIME_MS + 1 if until is None else parse_moment(until, "--until", now_ms)
    if since_ms >= until_ms:
        raise UsageError("--since must be before --until")
    if q is None:
        return _Selection(since_ms, until_ms, kind, None)
    asked = parse_q(q, now_ms)
    condition = asked.condition if kind is None else both([Is("kind", kind), asked.condition])
    return _Selection(max(since_ms, asked.since_ms), min(until_ms, asked.until_ms), kind, condition)


async def _record(operator: Operator, account: str, wanted: dict[str, str | int | None]) -> Account:
    """Record the export before it is made. A store that can't be written, as on a read-only disk, can be read still."""
    home = await operator.identity.account(account)
    selection = {name: value for name, value in wanted.items() if value is not None}
    try:
        await operator.identity.record_export(home, operator.actor, selection)
    except StoreUnavailable as error:
        note(f"the export could not be recorded in the log: {error.message}")
    return home


async def _place(operator: Operator, account: str, after: int | None) -> Position | None:
    """The place, among the records by time, of the one with this number. Raises ``InvalidParameter``."""
    if after is None:
        return None
    home = await operator.identity.account(account)
    for record in await operator.store.log(home.no, after, 1):
        if record.seq == after:
            return Position(record.created_ms, record.seq)
    raise InvalidParameter(f"--after must be the number of a record in the log; {account} has none with {after}")


def _records(
    operator: Operator, home: Account, selection: _Selection, after: Position | None
) -> AsyncIterator[list[Numbered]]:
    """By the log where that is enough: it has everything, whatever became of the search index."""
    since_ms, until_ms = selection.since_ms, selection.until_ms
    if selection.condition is None:
        kind = None if selection.kind is None else KIND_NAMES[selection.kind]
        return by_time(operator.store, home.no, since_ms, until_ms, kind, after=after)
    search = Search(home.no, selection.condition, since_ms, until_ms, newest_first=False, after=after)
    return by_search(operator.store.search, search)


async def _deliver(source: AsyncIterator[Piece], target: Target) -> None:
    """Write a file, or to standard output."""
    if target.file is None:
        await write_pieces(source, sys.stdout.buffer, lambda _written: None)
        return
    with opened(target.file, target) as out, Meter("exporting") as meter:
        count = await write_pieces(source, out, meter)
    note(f"exported {count} records to {target.file}")
