"""``whodid verify``: whether what a log shows is what it signed. For auditors: needs neither store nor settings."""

import itertools
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from whodid.bundle import MOST_LINE_BYTES, parse_salt
from whodid.cli.options import STDIN, AsJson, check_file_name
from whodid.cli.output import UsageError
from whodid.cli.progress import Meter
from whodid.cli.verify_inputs import (
    PIECE_BYTES,
    TOKEN_VARIABLE,
    Earlier,
    open_file,
    pieces_of,
    read_file,
    read_token,
    read_trust,
)
from whodid.cli.verify_report import tell
from whodid.errors import InvalidEvidence, InvalidParameter
from whodid.verify import (
    Connection,
    Needed,
    Report,
    Trust,
    Verdict,
    is_proof,
    is_proof_file,
    verify_bundle,
    verify_log,
    verify_proof,
    verify_proof_file,
)

NO_BUNDLE = "--from and --to say which entries a bundle must have, and this is none"

app = App(
    name="verify",
    help="Check evidence of a log: a bundle, a proof, or the log itself where it is served.",
    help_epilogue=f"""Example:

    whodid verify july.ndjson.gz --key acme.key

    whodid verify july.ndjson.gz --key acme.key --previous june.checkpoint

    whodid verify july.ndjson.gz --key acme.key --from 124 --to 247

    whodid verify proof.json --key acme.key --witness witness.key

    whodid verify --url https://audit.example.com/log/org-acme-acc0 \\
        --key acme.key --state acme.checkpoint

Get the key from the log's operator ('whodid key show' prints it), never from the file that you check.
With --url, the token that {TOKEN_VARIABLE} holds is sent. http:// instead of https:// shows it to the network.
Status: 0 verified, 1 not verified, 2 usage.""",
)

KeyText = Annotated[
    list[str] | None,
    Parameter(
        name="--key",
        negative=(),
        show_default=False,
        help="The log's verifier key, or a file that has it. Needed; repeat it where a key was rotated.",
    ),
]
WitnessText = Annotated[
    list[str] | None,
    Parameter(
        name="--witness",
        negative=(),
        show_default=False,
        help="The verifier key of a witness that must have cosigned, or a file that has it. Can be repeated.",
    ),
]


FileName = Annotated[
    str | None,
    Parameter(
        name="FILE",
        allow_leading_hyphen=True,
        validator=check_file_name,
        help="An evidence bundle, a single proof (JSON), or a proof file. '-' is standard input.",
    ),
]


@dataclass(frozen=True, slots=True)
class _Beside:
    """What was said beside a file: of a proof file's entry, and which entries a bundle must have."""

    record: Path | None
    salt: str | None
    first: int | None
    end: int | None

    @property
    def has_entry(self) -> bool:
        """Whether anything was said of an entry."""
        return (self.record, self.salt) != (None, None)

    @property
    def has_range(self) -> bool:
        """Whether any entries were asked for."""
        return (self.first, self.end) != (None, None)

    def needed(self) -> Needed | None:
        """The entries that a bundle must have. Raises ``UsageError`` where they are none."""
        if not self.has_range:
            return None
        first = self.first or 0
        if first < 0 or (self.end is not None and self.end <= first):
            raise UsageError("--from and --to are numbers of entries, from 0 on, and --from must be before --to")
        return first, self.end


@app.default
def verify(
    file: FileName = None,
    /,
    *,
    key: KeyText = None,
    witness: WitnessText = None,
    previous: Annotated[
        Path | None, Parameter(help="A file with an earlier checkpoint, since which the log must only have grown.")
    ] = None,
    state: Annotated[
        Path | None, Parameter(help="The same, and then the file gets the new checkpoint. It need not be there yet.")
    ] = None,
    url: Annotated[str | None, Parameter(help="Where a log is served, instead of FILE.")] = None,
    full: Annotated[
        bool, Parameter(negative=(), show_default=False, help="With --url: check every tile, not only a few.")
    ] = False,
    token_file: Annotated[
        Path | None, Parameter(help=f"With --url: a file with the token; else {TOKEN_VARIABLE}.")
    ] = None,
    record: Annotated[Path | None, Parameter(help="With a proof file: the record's exact bytes.")] = None,
    salt: Annotated[str | None, Parameter(help="With a proof file: the entry's salt, in base64.")] = None,
    first: Annotated[
        int | None, Parameter(name="--from", help="A bundle must have all entries from this number on; else from 0 on.")
    ] = None,
    end: Annotated[
        int | None,
        Parameter(name="--to", help="And all before this number, exclusive; else all that its checkpoint is of."),
    ] = None,
    as_json: AsJson = False,
) -> int:
    """Check evidence of a log: a bundle, a proof, or the log itself where it is served."""
    if (file is None) == (url is None):
        raise UsageError("give one of FILE and --url")
    if previous is not None and state is not None:
        raise UsageError("give one of --previous and --state")
    beside = _Beside(record, salt, first, end)
    trust = read_trust(key, witness)
    earlier = Earlier(previous or state, keep=state is not None)
    if url is not None:
        if beside.has_entry:
            raise UsageError("--record and --salt are for a proof file")
        if beside.has_range:
            raise UsageError(NO_BUNDLE)
        report = _verify_log(url, trust, earlier, read_token(token_file), full=full)
    else:
        assert file is not None
        if full or token_file is not None:
            raise UsageError("--full and --token-file are for --url")
        report = _verify_file(file, trust, earlier, beside)
    tell(report, as_json=as_json)
    earlier.settle(report)
    return 0 if report.verdict == Verdict.VERIFIED else 1


def _verify_log(url: str, trust: Trust, earlier: Earlier, token: str | None, *, full: bool) -> Report:
    try:
        made = Connection(url, token)
    except InvalidParameter as error:
        raise UsageError(error.message) from error
    with made as connection, Meter("checking", unit="entries") as meter:
        return verify_log(
            connection.fetch, connection.name, trust, earlier=earlier.note, every_tile=full, progress=meter
        )


def _verify_file(name: str, trust: Trust, earlier: Earlier, beside: _Beside) -> Report:
    needed = beside.needed()
    with ExitStack() as opened:
        pieces = pieces_of(name, sys.stdin.buffer if name == STDIN else opened.enter_context(open_file(name)))
        head = next(pieces, b"")
        if is_proof(head) or is_proof_file(head):
            return _verify_proof(
                head + b"".join(itertools.islice(pieces, MOST_LINE_BYTES // PIECE_BYTES)), trust, earlier, beside
            )
        if beside.has_entry:
            raise UsageError("--record and --salt are for a proof file, and this is none")
        with Meter("checking", unit="entries") as meter:
            return verify_bundle(
                itertools.chain([head], pieces), trust, earlier=earlier.note, needed=needed, progress=meter
            )


def _verify_proof(data: bytes, trust: Trust, earlier: Earlier, beside: _Beside) -> Report:
    if earlier.asked:
        raise UsageError("a proof shows one entry, and not that a log only grew: --previous and --state are for others")
    if beside.has_range:
        raise UsageError(NO_BUNDLE)
    if is_proof(data):
        if beside.has_entry:
            raise UsageError("a single proof has record and salt in it; --record and --salt are for a proof file")
        return verify_proof(data, trust)
    if beside.record is None or beside.salt is None:
        raise UsageError("a proof file has neither record nor salt in it: give --record and --salt")
    try:
        salt = parse_salt(beside.salt)
    except InvalidEvidence as error:
        raise UsageError(error.message) from error
    return verify_proof_file(data, read_file(beside.record, MOST_LINE_BYTES), salt, trust)
