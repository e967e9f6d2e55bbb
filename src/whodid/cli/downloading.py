"""``whodid export`` from a server, which makes the file; here it is only written."""

import codecs
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

from whodid.cli.connecting import PATIENCE_SECONDS, Server
from whodid.cli.output import UsageError, complain, note
from whodid.cli.targets import Target, opened

if TYPE_CHECKING:  # it brings a library along that takes its time
    from whodid.client import Exported, Filters


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which records are exported, as it was typed."""

    since: str | None
    until: str | None
    kind: str | None
    q: str | None
    after: int | None


def download(server: Server, wanted: Wanted, target: Target) -> None:
    """Write a server's export to a file, or to standard output. Raises ``UsageError``, ``WhodidError``."""
    if target.form == "csv" and target.packed and (target.mark or not target.titled):
        raise UsageError(
            f"{'--bom' if target.mark else '--after'} is for a CSV that is not packed, where a server makes it"
        )
    if target.file is None:
        _download_to_output(server, wanted, target)
        return
    with opened(target.file, target) as out:
        told = _export(server, wanted, target, out)
    amount = f"{told.size_bytes} bytes" if told.records is None else f"{told.records} records"
    note(f"exported {amount} to {target.file}")


def _download_to_output(server: Server, wanted: Wanted, target: Target) -> None:
    from whodid.client import CallError  # noqa: PLC0415 (other commands start faster without)

    try:
        _export(server, wanted, target, sys.stdout.buffer)
    except CallError as error:
        sys.stdout.flush()
        if error.exported is not None and error.exported.last_seq is not None:
            note(f"the last record that was written has the number {error.exported.last_seq}: --after goes on there")
        raise


def _export(server: Server, wanted: Wanted, target: Target, out: BinaryIO) -> "Exported":
    from whodid.client import Client  # noqa: PLC0415 (other commands start faster without)

    with Client(server.url, server.token, deadline_seconds=PATIENCE_SECONDS, tell=complain) as client:
        if target.mark:
            out.write(codecs.BOM_UTF8)
        return client.export(
            out,
            format=target.form,
            compression=target.compression,
            after=wanted.after,
            header=target.titled or target.form != "csv",
            q=wanted.q,
            **_filters(wanted),
        )


def _filters(wanted: Wanted) -> "Filters":
    filters: Filters = {}
    if wanted.kind is not None:
        filters["kind"] = wanted.kind
    if wanted.since is not None:
        filters["since"] = wanted.since
    if wanted.until is not None:
        filters["until"] = wanted.until
    return filters
