"""A witness, written from C2SP tlog-witness, tlog-cosignature and signed-note alone: it shares no code with Whodid.

It is a peer: it parses notes, checks proofs and signs by itself, keeps its state in a file, and can be told to
misbehave. Whoever wants to know whether Whodid speaks the protocol asks whether this understands it.
"""

import hashlib
import json
import re
import threading
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

NOW_SECONDS = 1_627_661_632
"""What its clock shows, unless a test sets it."""

_DASH = "\N{EM DASH}"
_SIZE = re.compile(r"0|[1-9][0-9]*", re.ASCII).fullmatch


class Said(NamedTuple):
    """An answer: its status, its type, its body."""

    status: int
    type: str
    body: bytes


def said(status: int, body: str = "", type_: str = "text/plain; charset=utf-8") -> Said:
    """An answer of text."""
    return Said(status, type_, body.encode())


class Refused(Exception):
    """A request that is answered with an error."""

    def __init__(self, status: int, body: str = "", type_: str = "text/plain; charset=utf-8") -> None:
        super().__init__(body)
        self.said = said(status, body, type_)


@dataclass(frozen=True)
class LogKey:
    """A key of a log that the witness trusts."""

    name: str
    key_id: bytes
    public_key: bytes

    @classmethod
    def parse(cls, vkey: str) -> "LogKey":
        """``<name>+<hex(key id)>+<base64(type || public key)>``."""
        name, key_id, material = vkey.split("+", 2)
        decoded = b64decode(material, validate=True)
        assert decoded[0] == 0x01
        assert hashlib.sha256(name.encode() + b"\n" + decoded).hexdigest()[:8] == key_id
        return cls(name, bytes.fromhex(key_id), decoded[1:])


class Request(NamedTuple):
    """What is in the body of a request."""

    old: int
    proof: list[bytes]
    text: str
    signatures: list[tuple[str, bytes, bytes]]
    """Name, key id, signature."""
    origin: str
    size: int
    root: bytes


@dataclass
class Witness:
    """The witness itself: what it answers to the body of an ``add-checkpoint``."""

    name: str
    folder: Path
    now_seconds: int = NOW_SECONDS
    logs: dict[str, list[LogKey]] = field(default_factory=dict)
    asked: list[tuple[str, int, int]] = field(default_factory=list)
    """Origin, old size and size of each request that was well formed."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        seed = hashlib.sha256(self.name.encode()).digest()
        self.key = Ed25519PrivateKey.from_private_bytes(seed)
        self.folder.mkdir(exist_ok=True)

    @property
    def key_id(self) -> bytes:
        """SHA-256(name || 0x0A || 0x04 || public key)[:4]."""
        return hashlib.sha256(self.name.encode() + b"\n" + self._typed_key).digest()[:4]

    @property
    def _typed_key(self) -> bytes:
        return b"\x04" + self.key.public_key().public_bytes_raw()

    @property
    def vkey(self) -> str:
        """Its verifier key."""
        return f"{self.name}+{self.key_id.hex()}+{b64encode(self._typed_key).decode()}"

    def trust(self, vkey: str) -> None:
        """Cosign the log whose key this is."""
        key = LogKey.parse(vkey)
        self.logs.setdefault(key.name, []).append(key)

    # What it remembers.

    def state_file(self, origin: str) -> Path:
        """Where the newest checkpoint of a log is that it cosigned."""
        return self.folder / f"{hashlib.sha256(origin.encode()).hexdigest()}.json"

    def known(self, origin: str) -> tuple[int, bytes]:
        """Size and root of the newest checkpoint of a log that it cosigned; 0 if there is none."""
        file = self.state_file(origin)
        if not file.exists():
            return 0, hashlib.sha256(b"").digest()
        state = json.loads(file.read_text())
        return state["size"], b64decode(state["root"])

    def remember(self, origin: str, size: int, root: bytes) -> None:
        """Persist, before anything is answered."""
        part = self.folder / "part"
        part.write_text(json.dumps({"size": size, "root": b64encode(root).decode()}))
        part.replace(self.state_file(origin))

    # What it does.

    def answer(self, body: bytes) -> Said:
        """The answer to a request."""
        try:
            request = parse_request(body)
            with self.lock:
                self.asked.append((request.origin, request.old, request.size))
                return self._cosign(request)
        except Refused as error:
            return error.said

    def _cosign(self, request: Request) -> Said:
        self._authenticate(request)
        if request.old > request.size:
            raise Refused(400, "the old size is larger than the checkpoint's\n")
        size, root = self.known(request.origin)
        if request.old != size:
            raise Refused(409, f"{size}\n", "text/x.tlog.size")
        check_growth(request, root)
        self.remember(request.origin, request.size, request.root)
        return said(200, self.cosignature(request.text))

    def _authenticate(self, request: Request) -> None:
        if request.origin not in self.logs:
            raise Refused(404, "unknown log\n")
        good = 0
        for name, key_id, signature in request.signatures:
            for key in self.logs[request.origin]:
                if (key.name, key.key_id) == (name, key_id):
                    try:
                        Ed25519PublicKey.from_public_bytes(key.public_key).verify(signature, request.text.encode())
                    except InvalidSignature as error:
                        raise Refused(403, "bad signature\n") from error
                    good += 1
        if not good:
            raise Refused(403, "no signature of a key that is known\n")

    def cosignature(self, text: str) -> str:
        """The signature line for a checkpoint's text."""
        time = self.now_seconds
        signature = self.key.sign(f"cosignature/v1\ntime {time}\n{text}".encode())
        data = self.key_id + time.to_bytes(8, "big") + signature
        return f"{_DASH} {self.name} {b64encode(data).decode()}\n"


def parse_request(body: bytes) -> Request:
    """The body of a request, strictly."""
    try:
        head, note = body.decode().split("\n\n", 1)
    except ValueError as error:
        raise Refused(400, "not UTF-8, or no empty line\n") from error
    old_line, *proof_lines = head.split("\n")
    if not old_line.startswith("old ") or not _SIZE(old_line[4:]) or len(proof_lines) > 63:
        raise Refused(400, "not an old size, or too many hashes\n")
    proof = [_decode(line) for line in proof_lines]
    if any(len(hash_) != 32 for hash_ in proof):
        raise Refused(400, "not a hash\n")
    text, signatures = parse_note(note)
    origin, size, root, *extensions = text.removesuffix("\n").split("\n")
    if not origin or not _SIZE(size) or len(_decode(root)) != 32 or extensions:
        raise Refused(400, "not a checkpoint\n")
    return Request(int(old_line[4:]), proof, text, signatures, origin, int(size), _decode(root))


def parse_note(note: str) -> tuple[str, list[tuple[str, bytes, bytes]]]:
    """Text and signatures of a signed note."""
    text, separator, lines = note.rpartition("\n\n")
    if not separator or not lines.endswith("\n") or re.search(r"[\x00-\x09\x0b-\x1f]", note):
        raise Refused(400, "not a signed note\n")
    signatures = []
    for line in lines.removesuffix("\n").split("\n"):
        dash, name, encoded = line.split(" ")
        if dash != _DASH or not name or "+" in name:
            raise Refused(400, "not a signature line\n")
        data = _decode(encoded)
        signatures.append((name, data[:4], data[4:]))
    return text + "\n", signatures


def _decode(text: str) -> bytes:
    try:
        return b64decode(text, validate=True)
    except ValueError as error:
        raise Refused(400, "not base64\n") from error


def check_growth(request: Request, known_root: bytes) -> None:
    """Refuse a request unless its log begins with the one that is known."""
    if request.old == 0:
        good = not request.proof and (request.size > 0 or request.root == hashlib.sha256(b"").digest())
    else:
        hashes = iter(request.proof)
        try:
            old, new = roots(request.old, request.size, known_root, hashes)
        except StopIteration as error:
            raise Refused(422, "the proof is too short\n") from error
        good = (old, new) == (known_root, request.root) and next(hashes, None) is None
    if not good:
        raise Refused(422, "the proof does not hold\n")


def roots(old: int, new: int, known_root: bytes, proof: Iterator[bytes], whole: bool = True) -> tuple[bytes, bytes]:
    """The roots of the old and of the new tree that a consistency proof leads to: RFC 6962 §2.1.2, read backwards.

    Where ``SUBPROOF`` splits a tree, its parts are put together again; ``whole`` is its ``b``: the old tree is all of
    what is looked at, and its root is not in the proof.
    """
    if old == new:
        root = known_root if whole else next(proof)
        return root, root
    split = 1 << (new - 1).bit_length() - 1
    if old <= split:
        made_old, made_new = roots(old, split, known_root, proof, whole)
        return made_old, _node(made_new, next(proof))
    made_old, made_new = roots(old - split, new - split, known_root, proof, whole=False)
    left = next(proof)
    return _node(left, made_old), _node(left, made_new)


def _node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


# Over HTTP.

Misdeed: TypeAlias = Callable[["Handler"], None]
"""What is done with a request instead of answering it as a witness does."""


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    server: "WitnessServer"
    body = b""

    def do_POST(self) -> None:
        """``add-checkpoint``."""
        self.body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.requests.append((self.path, self.client_address[1]))
        self.server.answering.append(self)
        if self.server.misdeed is not None:
            self.server.misdeed(self)
        elif self.path != "/prefix/add-checkpoint":
            self.say(said(404, "no such page\n"))
        else:
            self.say(self.server.witness.answer(self.body))

    def say(self, answer: Said, **headers: str) -> None:
        """Answer."""
        self.server.answering.remove(self)
        self.send_response(answer.status)
        for name, value in {"Content-Type": answer.type, "Content-Length": str(len(answer.body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(answer.body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (the library's name)
        """Say nothing."""


class WitnessServer(ThreadingHTTPServer):
    """The witness on a socket. ``misdeed`` is done instead of answering, where there is one."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, witness: Witness, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.witness = witness
        self.misdeed: Misdeed | None = None
        self.requests: list[tuple[str, int]] = []
        """Path and the other side's port of each request."""
        self.answering: list[Handler] = []
        """The requests that wait for their answers."""
        self.released = threading.Event()
        """Set when the test is over: whoever hangs goes on."""

    @property
    def url(self) -> str:
        """The submission prefix."""
        return f"http://127.0.0.1:{self.server_address[1]}/prefix"

    @property
    def setting(self) -> str:
        """As the setting ``witnesses`` has it."""
        return f"{self.url} {self.witness.vkey}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no error."""

    def hang(self, handler: Handler) -> None:
        """A misdeed: take the request, and say nothing."""
        self.released.wait()
        handler.close_connection = True


@contextmanager
def witness_server(name: str, folder: Path, port: int = 0) -> Iterator[WitnessServer]:
    """A witness that serves."""
    server = WitnessServer(Witness(name, folder), port)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.released.set()
        server.shutdown()
        server.server_close()
        thread.join()
