"""What ``whodid verify`` is given: the keys to trust, files, an access token, an earlier checkpoint."""

import itertools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from whodid.cli.output import UsageError, complain, note
from whodid.errors import InvalidEvidence, InvalidParameter
from whodid.exporting import whole_file
from whodid.notes import MOST_NOTE_BYTES, Verifier
from whodid.verify import Report, Trust, Verdict
from whodid.verify.keys import parse_keys

TOKEN_VARIABLE = "WHODID_TOKEN"  # noqa: S105 (a name)
PIECE_BYTES = 256 * 1024

_MOST_KEY_BYTES = 1024 * 1024


def read_trust(keys: list[str] | None, witnesses: list[str] | None) -> Trust:
    """Whom to trust, from the values of ``--key`` and ``--witness``. Raises ``UsageError``."""
    if not keys:
        raise UsageError(
            "--key is needed, from the log's operator: the key that a file brings along can't vouch for the file"
        )
    try:
        return Trust(_verifiers(keys, "--key"), _verifiers(witnesses or [], "--witness"))
    except InvalidEvidence as error:
        raise UsageError(error.message) from error


def _verifiers(texts: list[str], option: str) -> tuple[Verifier, ...]:
    """The verifiers of an option's values, each a verifier key or the name of a file."""
    found = itertools.chain.from_iterable(_verifiers_of(text, option) for text in texts)
    return tuple(dict.fromkeys(found))


def _verifiers_of(text: str, option: str) -> list[Verifier]:
    try:
        return [Verifier.parse(text)]
    except InvalidEvidence as error:
        try:
            content = read_file(Path(text), _MOST_KEY_BYTES).decode()
        except (InvalidParameter, UnicodeDecodeError):
            raise UsageError(f"{option} is neither a verifier key ({error.message}) nor a file of them") from error
    return parse_keys(content, f"the file {text}")


def read_token(file: Path | None) -> str | None:
    """The access token: the file's, else the environment's. Raises ``InvalidParameter``."""
    if file is None:
        return os.environ.get(TOKEN_VARIABLE, "").strip() or None
    try:
        return read_file(file, MOST_NOTE_BYTES).decode().strip()
    except UnicodeDecodeError as error:
        raise InvalidParameter(f"{file} holds no access token") from error


def open_file(name: str) -> BinaryIO:
    """Open a file for reading. Raises ``InvalidParameter``."""
    try:
        return Path(name).open("rb")
    except (OSError, ValueError) as error:
        raise InvalidParameter(f"can't read {name}: {_reason(error)}") from error


def pieces_of(name: str, stream: BinaryIO) -> Iterator[bytes]:
    """The bytes of an open file. Raises ``InvalidParameter``."""
    try:
        while piece := stream.read(PIECE_BYTES):
            yield piece
    except OSError as error:
        raise InvalidParameter(f"can't read {name}: {_reason(error)}") from error


def read_file(path: Path, most_bytes: int) -> bytes:
    """A small file. Raises ``InvalidParameter``, also where it is longer than ``most_bytes``."""
    try:
        with path.open("rb") as file:
            data = file.read(most_bytes + 1)
    except (OSError, ValueError) as error:
        raise InvalidParameter(f"can't read {path}: {_reason(error)}") from error
    if len(data) > most_bytes:
        raise InvalidParameter(f"{path} has more than {most_bytes} bytes, as no such file has")
    return data


def _reason(error: OSError | ValueError) -> str:
    return error.strerror or str(error) if isinstance(error, OSError) else str(error)


class Earlier:
    """The earlier checkpoint, and the file that it is in; with ``keep``, the file goes on to the newest."""

    def __init__(self, path: Path | None, *, keep: bool) -> None:
        self._path = path
        self._keep = keep
        self.asked = path is not None
        self.note: bytes | None = None
        if path is not None and not (keep and not path.exists()):
            self.note = read_file(path, MOST_NOTE_BYTES)

    def settle(self, report: Report) -> None:
        """Keep the new checkpoint if all is well; put it beside the earlier one if they contradict each other."""
        if self._path is None or not self._keep or report.signed is None:
            return
        if report.verdict == Verdict.VERIFIED:
            with whole_file(self._path) as file:
                file.write(str(report.signed.note).encode())
        elif report.contradicted:
            self._accuse(str(report.signed.note).encode())

    def _accuse(self, contradiction: bytes) -> None:
        assert self._path is not None
        beside = self._path.with_name(f"{self._path.name}.contradiction")
        if beside.exists():
            note(f"{beside} is there from an earlier contradiction, and is kept; move both away to keep a newer one")
            return
        with whole_file(beside) as file:
            file.write(contradiction)
        complain(f"{self._path} and {beside} contradict each other, and the log signed both: keep them")
