"""Where an export goes, and as what: as was given, else as the file's name says. And what stays if it is stopped."""

import contextlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias, cast

from whodid.cli.options import STDOUT
from whodid.cli.output import UsageError, note
from whodid.errors import InvalidParameter
from whodid.exporting import Part, named, part_file

FormatName: TypeAlias = Literal["ndjson", "csv", "parquet"]
CompressionName: TypeAlias = Literal["none", "gzip", "zstd"]


@dataclass(frozen=True, slots=True)
class Target:
    """What is written, and where."""

    file: Path | None
    """None: standard output."""
    form: FormatName
    compression: CompressionName
    mark: bool
    """Whether a CSV begins with a BOM."""
    titled: bool
    """Whether a CSV has a line of the columns' names."""

    @property
    def packed(self) -> bool:
        """Whether it is more than lines."""
        return self.form == "parquet" or self.compression != "none"


def target_of(
    output: Path | None,
    form: FormatName | None,
    compression: CompressionName | None,
    *,
    mark: bool,
    after: int | None,
) -> Target:
    """The target of an export, of all records or of those after a number. Raises ``UsageError``."""
    file = file_of(output)
    try:
        chosen, packing = (form, compression) if file is None else named(file, form, compression)
    except InvalidParameter as error:
        raise UsageError(error.message) from error
    target = Target(
        file,
        cast("FormatName", chosen or "ndjson"),
        cast("CompressionName", packing or "none"),
        mark=mark,
        titled=after is None,
    )
    if mark and target.form != "csv":
        raise UsageError("--bom is for --format csv")
    if mark and after is not None:
        raise UsageError("--bom is for the beginning of a file, and --after for what goes behind one")
    if after is not None and target.form == "parquet":
        raise UsageError("--after is for ndjson and csv: a parquet file can't be gone on with")
    if after is not None and after < 0:
        raise UsageError(f"--after must be the number of a record, from 0, not {after}")
    if file is None and target.packed and sys.stdout.isatty():
        raise UsageError("what is packed is not for a terminal; name a file for it")
    return target


def file_of(output: Path | None) -> Path | None:
    """The file that is meant; None: standard output."""
    return None if output is None or str(output) == STDOUT else output


@contextlib.contextmanager
def opened(file: Path, target: Target) -> Iterator[Part]:
    """The file to write. Whatever stops it, records that are lines already stay, and it is said how to go on."""
    with part_file(file) as part:
        try:
            yield part
        except OSError:
            raise
        except BaseException:
            if not target.packed:
                _keep(part, target)
            raise


def _keep(part: Part, target: Target) -> None:
    last_seq = _last_seq(part.last, target.form)
    if last_seq is None or not part.path.name.endswith(".part"):
        return
    part.keep = True
    note(
        f"{part.path.name} has all records up to number {last_seq}; to go on, run the same command with "
        f"'--format {target.form} --after {last_seq} >> {part.path.name}' in place of the file, and of --bom; "
        "then rename it"
    )


def _last_seq(piece: bytes, form: str) -> int | None:
    """The number of the last record in a piece of whole records; None where there is no record."""
    from whodid.client.downloads import splitter_of  # noqa: PLC0415 (it brings a library along that takes its time)

    splitter = splitter_of(form)
    if splitter is None or not piece:
        return None
    ends = splitter.ends(piece)
    if not ends:
        return None
    return splitter.seq(piece[ends[0] if len(ends) == 2 else 0 : ends[-1]])
