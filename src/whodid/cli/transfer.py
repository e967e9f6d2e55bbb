"""``whodid import``: records of files into an account's log. Registers ``whodid export``, the way back, as well."""

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from whodid.cli.exporting import EXPORT_EXAMPLE, export
from whodid.cli.operator import Operator, operate
from whodid.cli.options import STDIN, AccountName, AsJson, StoreUrl, check_file_name
from whodid.cli.output import complain, say, show_json
from whodid.cli.progress import Meter
from whodid.clock import wall_clock
from whodid.errors import InvalidParameter
from whodid.importing import Loader, RecordFile, Tally
from whodid.ingest import Completer, Directory
from whodid.records import IdMaker
from whodid.store.base import Account

_IMPORT_EXAMPLE = """Example:

    whodid import --account org-acme-acc0 actions.ndjson tokens.json.gz

    whodid export --account org-acme-acc0 | \\
        whodid import --account org-acme-acc0 --store sqlite:///copy.db -

Records need their _id and createdAt. Importing a file again stores nothing twice."""


def register(app: App) -> None:
    """Add the commands to the command line."""
    app.command(import_, name="import", help_epilogue=_IMPORT_EXAMPLE)
    app.command(export, help_epilogue=EXPORT_EXAMPLE)


FileName = Annotated[
    str,
    Parameter(
        name="FILE",
        allow_leading_hyphen=True,
        validator=check_file_name,
        help="NDJSON, a JSON array, or a reply of the API; gzip, zstd or neither. '-' is standard input.",
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
