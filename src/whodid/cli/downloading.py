"""``whodid export`` from a server, which makes the file; here it is only written, whole or not at all."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias, cast

from whodid.cli.connecting import Server
from whodid.cli.options import STDOUT
from whodid.cli.output import UsageError, note
from whodid.exporting import named, whole_file

FormatName: TypeAlias = Literal["ndjson", "csv", "parquet"]
CompressionName: TypeAlias = Literal["none", "gzip", "zstd"]


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which records are exported, as it was typed."""

    since: str | None
    until: str | None
    kind: str | None
    q: str | None


async def download(
    server: Server, wanted: Wanted, output: Path | None, form: FormatName | None, compression: CompressionName | None
) -> None:
    """Write a server's export to a file, or to standard output. Raises ``UsageError``, ``WhodidError``."""
    from whodid.client import AsyncClient, Filters  # noqa: PLC0415 (other commands start faster without)

    file = None if output is None or str(output) == STDOUT else output
    form, compression = _completed(file, form, compression)
    filters: Filters = {}
    if wanted.kind is not None:
        filters["kind"] = wanted.kind
    if wanted.since is not None:
        filters["since"] = wanted.since
    if wanted.until is not None:
        filters["until"] = wanted.until
    async with AsyncClient(server.url, server.token) as client:
        if file is None:
            await client.export(sys.stdout.buffer, format=form, compression=compression, q=wanted.q, **filters)
            return
        with whole_file(file) as out:
            told = await client.export(out, format=form, compression=compression, q=wanted.q, **filters)
    note(f"exported {told.size_bytes} bytes to {file}")


def _completed(
    file: Path | None, form: FormatName | None, compression: CompressionName | None
) -> tuple[FormatName, CompressionName]:
    """What the file's name says, where nothing else does."""
    named_form, named_compression = (None, None) if file is None else named(file)
    chosen = cast("FormatName", form or named_form or "ndjson")
    packing = cast("CompressionName", compression or named_compression or "none")
    if file is None and (chosen == "parquet" or packing != "none") and sys.stdout.isatty():
        raise UsageError("what is packed is not for a terminal; name a file for it")
    return chosen, packing
