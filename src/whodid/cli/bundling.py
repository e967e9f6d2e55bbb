"""``whodid export --evidence``: which stretch of a log is meant, and writing the evidence of it."""

import sys
from pathlib import Path

from whodid.checkpoint import Checkpoint
from whodid.cli.operator import Operator, signing
from whodid.cli.options import STDOUT, parse_moment
from whodid.cli.output import UsageError, note
from whodid.cli.progress import Meter
from whodid.clock import wall_clock
from whodid.errors import InvalidEvidence, InvalidParameter
from whodid.evidence.bundling import Stretch, choose, write_bundle
from whodid.exporting import part_file
from whodid.notes import Note
from whodid.records import MAX_TIME_MS
from whodid.store.base import Account


async def export_evidence(
    operator: Operator,
    home: Account,
    url: str | None,
    output: Path | None,
    *,
    since: str | None,
    until: str | None,
    previous: Path | None,
) -> None:
    """Write the evidence of a stretch of the log, all of it unless ``since`` or ``until`` say otherwise."""
    earlier = None if previous is None else _read_checkpoint(previous)
    _, signer = await signing(operator, url)
    first, end = await _numbers(operator, home, since, until)
    stretch = await choose(operator.store, signer, home, first, end)
    if output is None or str(output) == STDOUT:
        if sys.stdout.isatty():
            raise UsageError("evidence is a packed file, not for a terminal; name a file for it")
        await write_bundle(operator.store, home, stretch, sys.stdout.buffer, previous=earlier, progress=_silent)
    else:
        with part_file(output) as file, Meter("bundling", unit="entries") as meter:
            await write_bundle(operator.store, home, stretch, file, previous=earlier, progress=meter)
    _tell(home, stretch, "FILE" if output is None or str(output) == STDOUT else str(output))


def _tell(home: Account, stretch: Stretch, file: str) -> None:
    which = f"entries {stretch.first} to {stretch.end - 1}" if stretch.end > stretch.first else "no entry"
    note(
        f"evidence of {which} of {home.name}, whose checkpoint has {stretch.signed.checkpoint.size} entries; to check "
        f"it: whodid verify {file} --key {stretch.signed.signer}"
    )


async def _numbers(operator: Operator, home: Account, since: str | None, until: str | None) -> tuple[int, int | None]:
    """The first number, and the one after the last; None: all there are.

    Times stand for the shortest stretch that has every entry of that time: others, that were recorded in between, are
    in it too.
    """
    if _is_number(since) and _is_number(until):
        return int(since or 0), None if until is None else int(until)
    if (since and _is_number(since)) or (until and _is_number(until)):
        raise UsageError("--since and --until must both be entry numbers, or both be times")
    now_ms = wall_clock()
    since_ms = 0 if since is None else parse_moment(since, "--since", now_ms)
    until_ms = MAX_TIME_MS + 1 if until is None else parse_moment(until, "--until", now_ms)
    found = await operator.store.numbers(home.no, since_ms, until_ms)
    if found is None:
        raise InvalidParameter(f"{home.name} has no entries of that time")
    return found[0], found[1] + 1


def _is_number(text: str | None) -> bool:
    """Whether this is the number of an entry; nothing at all is, too."""
    return text is None or (text.isascii() and text.isdigit() and len(text) <= 18)


def _read_checkpoint(path: Path) -> Checkpoint:
    try:
        return Checkpoint.parse(Note.parse(path.read_bytes()).text)
    except OSError as error:
        raise InvalidParameter(f"can't read {path}: {error.strerror}") from error
    except InvalidEvidence as error:
        raise InvalidParameter(f"{path} is not a checkpoint: {error.message}") from error


def _silent(_done: int, _total: int) -> None:
    pass
