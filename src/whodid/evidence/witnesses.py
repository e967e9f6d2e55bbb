"""Witnesses: what one is asked, and what its answer means (C2SP tlog-witness, the log's side). No sockets in here.

A witness is sent a checkpoint, with a proof that the log only grew since the one that it saw last, and gives its
cosignature. It is not trusted: of what it answers, nothing counts but a good signature of the key in the settings.
"""

import re
from base64 import b64encode
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol, TypeAlias
from urllib.parse import urlsplit

from whodid.checkpoint import Cosigner, SignedCheckpoint, parse_number
from whodid.errors import InvalidEvidence, InvalidSetting
from whodid.notes import Note, SignatureType, Verifier, cosigned_seconds
from whodid.proofs import MOST_HASHES

MOST_WITNESSES: Final = 15
"""With the log's own, that makes 16 signatures: more, a verifier need not take (C2SP signed-note)."""

MOST_REPLY_BYTES: Final = 64 * 1024
"""A longer answer is not read to its end."""

SIZE_TYPE: Final = "text/x.tlog.size"

_ATTEMPTS: Final = 3
"""How often a witness may say that it knows another size than the one that it was sent a proof from."""

_AHEAD_SECONDS: Final = 24 * 60 * 60
_EXCERPT = 120
_FORM = "'https://witness.example name+0a1b2c3d+base64', a URL and a verifier key, with commas between witnesses"
_URL = re.compile(r"https?://[!-~]+", re.IGNORECASE).fullmatch


@dataclass(frozen=True, slots=True)
class Witness:
    """A witness, as the settings name it."""

    url: str
    """Where it is asked: the submission prefix, without a slash at its end."""
    verifier: Verifier

    @property
    def name(self) -> str:
        """The name of its key."""
        return self.verifier.name


class Reply(NamedTuple):
    """What came back over HTTP."""

    status: int
    content_type: str
    body: bytes
    """Up to ``MOST_REPLY_BYTES``; one byte more where there was more."""


class Cosigned(NamedTuple):
    """It cosigned."""

    cosigner: Cosigner

    @property
    def time_ms(self) -> int:
        """When, by its own clock."""
        return cosigned_seconds(self.cosigner.signature) * 1000


class Knows(NamedTuple):
    """It knows another size of the log than it was sent a proof from."""

    size: int


class Failed(NamedTuple):
    """It gave no cosignature."""

    error: str
    of_log: bool = False
    """It is about this one log; else, the witness itself is at fault, or can't be reached."""
    serious: bool = False
    """The witness has seen another log than ours: somebody rewrote it."""


Answer: TypeAlias = Cosigned | Knows | Failed
Prove: TypeAlias = Callable[[int, int], Awaitable[Sequence[bytes]]]
"""Makes the consistency proof between two sizes of a log."""


class Undelivered(Exception):
    """The witness can't be reached, or broke off; the message says why."""


class Post(Protocol):
    """Brings a request to a witness."""

    async def post(self, body: bytes) -> Reply:
        """The reply to a POST of ``body`` to ``add-checkpoint``. Raises ``Undelivered``."""
        ...


async def ask(
    witness: Witness, post: Post, signed: SignedCheckpoint, *, known: int, prove: Prove, now_ms: int
) -> Cosigned | Failed:
    """Ask a witness for its cosignature on a checkpoint.

    ``known`` is the size of the log that it is believed to have cosigned; where it is another, the witness says so,
    and is sent a proof from there.
    """
    size = signed.checkpoint.size
    old = known if known <= size else 0
    for _ in range(_ATTEMPTS):
        body = add_checkpoint(old, await prove(old, size), signed.note)
        try:
            answer = read_reply(await post.post(body), witness, signed, now_ms=now_ms)
        except Undelivered as error:
            return Failed(str(error))
        if not isinstance(answer, Knows):
            return answer
        old = answer.size
        if old > size:
            return Failed(
                f"the witness has cosigned a log of {old} entries, ours has {size}: entries are missing",
                of_log=True,
                serious=True,
            )
    return Failed(f"answered {_ATTEMPTS} times that it knows another size of the log, at last {old}", of_log=True)


def add_checkpoint(old: int, proof: Sequence[bytes], note: Note) -> bytes:
    """The body of a request: the log's size that the proof is from, the proof, the checkpoint."""
    assert len(proof) <= MOST_HASHES, "no log is that large"
    return "".join([f"old {old}\n", *(f"{b64encode(hash_).decode()}\n" for hash_ in proof), f"\n{note}"]).encode()


def read_reply(reply: Reply, witness: Witness, signed: SignedCheckpoint, *, now_ms: int) -> Answer:
    """What a witness's reply means."""
    if len(reply.body) > MOST_REPLY_BYTES:
        return Failed(f"answered with more than {MOST_REPLY_BYTES} bytes")
    try:
        if reply.status == 200:
            return Cosigned(_cosigner(reply.body, witness, signed, now_ms=now_ms))
        if reply.status == 409:
            return Knows(_size(reply))
    except InvalidEvidence as error:
        return Failed(f"answered {reply.status}, but not as a witness does: {error.message}")
    return _failure(reply, signed)


def _cosigner(body: bytes, witness: Witness, signed: SignedCheckpoint, *, now_ms: int) -> Cosigner:
    """The cosignature of the witness's key among the signature lines of a reply. Raises ``InvalidEvidence``."""
    note = Note.parse(str(signed.note).encode() + body)
    cosigned = note.signed_by([witness.verifier])
    if note.text != signed.note.text or not cosigned:
        raise InvalidEvidence(f"there is no cosignature of the key {witness.verifier}")
    seconds = cosigned_seconds(cosigned[0][1])
    if not 0 < seconds <= now_ms // 1000 + _AHEAD_SECONDS:
        raise InvalidEvidence(f"by its clock, it is {seconds} seconds after 1970")
    return Cosigner(*cosigned[0])


def _size(reply: Reply) -> int:
    """The size that a witness says it knows. Raises ``InvalidEvidence``."""
    if reply.content_type.partition(";")[0].strip().lower() != SIZE_TYPE:
        raise InvalidEvidence(f"the size of the log that it knows must come as {SIZE_TYPE}")
    return parse_number(reply.body.decode("latin-1").removesuffix("\n"), "the size of the log that it knows")


def _failure(reply: Reply, signed: SignedCheckpoint) -> Failed:
    origin, key = signed.checkpoint.origin, signed.signer
    told = f"answered {reply.status}{_excerpt(reply.body)}"
    match reply.status:
        case 400:
            return Failed(f"{told}: it takes our request for malformed", of_log=True)
        case 403:
            return Failed(f"{told}: it does not know the key that signs; its operator must add {key}", of_log=True)
        case 404:
            return Failed(f"{told}: it does not know the log {origin}; its operator must add {key}", of_log=True)
        case 422:
            return Failed(
                f"{told}: the log that it has cosigned is not the beginning of ours", of_log=True, serious=True
            )
        case status if 300 <= status < 400:
            return Failed(f"{told}: redirects are not followed; the URL must be the witness's own")
        case _:
            return Failed(told)


def _excerpt(body: bytes) -> str:
    """What a reply says, as far as it can be shown to anybody."""
    text = " ".join(body[: 4 * _EXCERPT].decode("utf-8", "replace").split())
    shown = "".join(one for one in text if one.isprintable())[:_EXCERPT]
    return f' "{shown}"' if shown else ""


def parse_witnesses(text: str) -> list[Witness]:
    """The witnesses that a setting names; none where it is empty. Raises ``InvalidSetting``."""
    if not text.strip():
        return []
    witnesses = [_parse(part) for part in text.split(",")]
    if len(witnesses) > MOST_WITNESSES:
        raise InvalidSetting(f"witnesses must be at most {MOST_WITNESSES}, not {len(witnesses)}")
    names = [witness.name for witness in witnesses]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise InvalidSetting(f"witnesses must have names that differ; there are two of {twice[0]}")
    if len({witness.verifier.public_key for witness in witnesses}) < len(witnesses):
        raise InvalidSetting("witnesses must have keys that differ: one key under two names is one witness")
    return witnesses


def _parse(text: str) -> Witness:
    words = text.split()
    if len(words) != 2:
        shown = "that" if "@" in text else repr(text.strip()[:200])  # what is before an @ may be a password
        raise InvalidSetting(f"witnesses must be like {_FORM}; {shown} is not")
    url, key = words
    return Witness(_parse_url(url), _parse_key(key))


def _parse_url(text: str) -> str:
    if "@" in text:
        raise InvalidSetting("the URL of a witness must hold no user and no password; a witness asks for neither")
    try:
        parts = urlsplit(text)
        good = _URL(text) and parts.hostname and parts.port != 0 and not set("?#\\") & set(text)
    except ValueError:
        good = False
    if not good:
        raise InvalidSetting(f"the URL of a witness must be like https://witness.example/prefix, not {text[:200]!r}")
    return text.rstrip("/")


def _parse_key(text: str) -> Verifier:
    try:
        verifier = Verifier.parse(text)
    except InvalidEvidence as error:
        raise InvalidSetting(f"witnesses must be like {_FORM}: {error.message}") from error
    if verifier.type != SignatureType.COSIGNATURE:
        raise InvalidSetting(
            f"the key of the witness {verifier.name} must be of type {SignatureType.COSIGNATURE:#04x}, a cosigner's, "
            f"not {verifier.type:#04x}"
        )
    return verifier
