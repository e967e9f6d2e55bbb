"""Witnesses, asked for their cosignature: by a peer written from the specification, and by some that do not behave."""

import asyncio
import contextlib
import hashlib
import ipaddress
import itertools
import re
import socket
import ssl
import threading
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given
from hypothesis import strategies as st
from tests.acceptance.running import eventually
from tests.building import NOW_MS
from tests.witnessing import NOW_SECONDS, Handler, Said, Witness, WitnessServer, said, witness_server

from whodid.checkpoint import Checkpoint, SignedCheckpoint, open_checkpoint, sign_checkpoint
from whodid.errors import InvalidSetting
from whodid.evidence import witnesses
from whodid.evidence.courier import Courier
from whodid.evidence.witnesses import (
    MOST_REPLY_BYTES,
    Answer,
    Cosigned,
    Failed,
    Knows,
    Reply,
    Undelivered,
    add_checkpoint,
    ask,
    parse_witnesses,
    read_reply,
)
from whodid.merkle import hash_leaf, hash_node
from whodid.notes import Note, Verifier
from whodid.proofs import Subtree, consistency_path

ORIGIN = "localhost/log/org-acme"
KEY = Ed25519PrivateKey.from_private_bytes(b"k" * 32)
NAME = "witness.example/w1"

_numbers = itertools.count(1)


def root(first: int, end: int) -> bytes:
    """The root of some leaves of the tests' log: RFC 6962 §2.1, as it stands there."""
    if end - first < 2:
        return hash_leaf(first.to_bytes(4, "big")) if end > first else hashlib.sha256(b"").digest()
    split = first + (1 << (end - first - 1).bit_length() - 1)
    return hash_node(root(first, split), root(split, end))


def signed(size: int) -> SignedCheckpoint:
    """The checkpoint of the tests' log, when it had so many entries."""
    return sign_checkpoint(Checkpoint(ORIGIN, size, root(0, size)), KEY)


async def prove(old: int, new: int) -> list[bytes]:
    """The consistency proof of the tests' log."""
    return [root(*Subtree(first, end)) for first, end in consistency_path(old, new)]


class Direct:
    """Brings requests to a witness without a network, and notes them."""

    def __init__(self, answer: Callable[[bytes], Said]) -> None:
        self.answer = answer
        self.bodies: list[bytes] = []

    async def post(self, body: bytes) -> Reply:
        """What the witness answers."""
        self.bodies.append(body)
        return Reply(*self.answer(body))


@pytest.fixture
def peer(tmp_path: Path) -> Witness:
    """A witness that trusts the tests' log."""
    made = Witness(NAME, tmp_path / "witness")
    made.trust(str(signed(1).signer))
    return made


def ours(peer: Witness, url: str = "http://127.0.0.1:1") -> witnesses.Witness:
    """The witness as the settings have it."""
    return parse_witnesses(f"{url} {peer.vkey}")[0]


async def asked(peer: Witness, post: Any, size: int, known: int = 0) -> Cosigned | Failed:
    """What comes of asking a witness for its cosignature on the log of so many entries."""
    return await ask(ours(peer), post, signed(size), known=known, prove=prove, now_ms=NOW_MS)


# The protocol.

EXAMPLE = """\
old 20852014
PlRNCrwHpqhGrupue0L7gxbjbMiKA9temvuZZDDpkaw=
jrJZDmY8Y7SyJE0MWLpLozkIVMSMZcD5kvuKxPC3swk=
5+pKlUdi2LeF/BcMHBn+Ku6yhPGNCswZZD1X/6QgPd8=
/6WVhPs2CwSsb5rYBH5cjHV/wSmA79abXAwhXw3Kj/0=

example.com/behind-the-sofa
20852163
CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=

— example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=
— example.com/behind-the-sofa opLqBQsREYCgu6xQkYQwJr9fo45a62DN9EdmHXnZdXNqlcVGlCum2Wks+49/V6267UEjw6QUXTS5Rovnzv++qbSzm9Q=
"""  # noqa: E501


def test_a_request_looks_like_that_of_the_specification() -> None:
    """Byte for byte: the example of tlog-witness is what is made of its parts."""
    proof, _, note = EXAMPLE.removeprefix("old 20852014\n").partition("\n\n")
    made = add_checkpoint(20852014, [b64decode(line) for line in proof.split("\n")], Note.parse(note))
    assert made == EXAMPLE.encode()


async def grow(peer: Witness, sizes: list[int]) -> None:
    """Let a witness cosign the tests' log at each of these sizes."""
    for known, size in zip([0, *sizes], sizes, strict=False):
        answer = await asked(peer, Direct(peer.answer), size, known)
        assert isinstance(answer, Cosigned), answer
        assert answer.time_ms == NOW_SECONDS * 1000
        note = signed(size).note.with_signatures([answer.cosigner.signature])
        opened = open_checkpoint(str(note), [signed(1).signer], [ours(peer).verifier])
        assert [cosigner.witness.name for cosigner in opened.cosigners] == [NAME]
    assert [(old, new) for _, old, new in peer.asked] == list(zip([0, *sizes], sizes, strict=False))


async def test_a_witness_cosigns_a_log_that_grows(peer: Witness) -> None:
    """From every size to the next: its own check of each proof holds, and each cosignature holds for us."""
    await grow(peer, [0, 0, 1, 1, 2, 3, 4, 7, 8, 9, 64, 65, 255, 256, 257, 600])


@given(st.lists(st.integers(0, 150), min_size=1, max_size=5).map(sorted))
def test_a_witness_cosigns_a_log_however_it_grows(tmp_path: Path, sizes: list[int]) -> None:
    """The same for any sizes."""
    peer = Witness(NAME, tmp_path / str(next(_numbers)))
    peer.trust(str(signed(1).signer))
    asyncio.run(grow(peer, sizes))


@pytest.mark.parametrize("known", [0, 3, 11, 12, 99])
async def test_a_witness_that_knows_another_size_is_sent_a_proof_from_there(peer: Witness, known: int) -> None:
    """Whatever it was believed to know: 409 tells, and the second request has the right proof."""
    await grow(peer, [7])
    post = Direct(peer.answer)
    assert isinstance(await asked(peer, post, 12, known), Cosigned)
    first = known if known <= 12 else 0
    assert [(old, new) for _, old, new in peer.asked[1:]] == [(first, 12), (7, 12)]


async def test_a_witness_that_has_lost_its_memory_begins_anew(peer: Witness) -> None:
    """It says that it knows nothing."""
    await grow(peer, [7])
    peer.state_file(ORIGIN).unlink()
    assert isinstance(await asked(peer, Direct(peer.answer), 12, 7), Cosigned)
    assert peer.known(ORIGIN) == (12, root(0, 12))


async def test_a_witness_that_has_cosigned_more_than_there_is_tells_that_entries_are_missing(peer: Witness) -> None:
    """That is serious, and about this log."""
    await grow(peer, [20])
    answer = await asked(peer, Direct(peer.answer), 12, 7)
    assert answer == Failed(
        "the witness has cosigned a log of 20 entries, ours has 12: entries are missing", of_log=True, serious=True
    )


@pytest.mark.parametrize("size", [12, 20])
async def test_a_witness_that_has_seen_another_log_refuses(peer: Witness, size: int) -> None:
    """One of the same size, or one that ours did not grow from: that is serious, too."""
    peer.remember(ORIGIN, 12, b"x" * 32)
    answer = await asked(peer, Direct(peer.answer), size, 12)
    assert isinstance(answer, Failed)
    assert answer.serious
    assert answer.of_log
    assert "422" in answer.error
    assert "not the beginning of ours" in answer.error


async def test_a_log_that_a_witness_does_not_know_is_told_with_the_key_that_it_needs(peer: Witness) -> None:
    """404 where it does not know the log; 403 where it knows another key of it."""
    key = str(signed(1).signer)
    peer.logs.clear()
    unknown = await asked(peer, Direct(peer.answer), 12)
    assert unknown == Failed(
        f'answered 404 "unknown log": it does not know the log {ORIGIN}; its operator must add {key}', of_log=True
    )
    other = sign_checkpoint(Checkpoint(ORIGIN, 1, root(0, 1)), Ed25519PrivateKey.generate())
    peer.trust(str(other.signer))
    answer = await asked(peer, Direct(peer.answer), 12)
    assert isinstance(answer, Failed)
    assert "403" in answer.error
    assert answer.error.endswith(f"its operator must add {key}")
    assert answer.of_log


async def test_a_witness_that_never_agrees_is_given_up(peer: Witness) -> None:
    """For now: three requests, and an error."""
    post = Direct(lambda body: said(409, "5\n" if body.startswith(b"old 0\n") else "0\n", "text/x.tlog.size"))
    answer = await asked(peer, post, 12)
    assert answer == Failed("answered 3 times that it knows another size of the log, at last 5", of_log=True)
    assert len(post.bodies) == 3


def cosigned_by(peer: Witness, *, size: int = 12, seconds: int = NOW_SECONDS) -> bytes:
    """A signature line of a witness, for the log of so many entries."""
    peer.now_seconds = seconds
    return peer.cosignature(signed(size).checkpoint.body()).encode()


def test_of_several_signatures_only_those_of_the_key_in_the_settings_count(peer: Witness, tmp_path: Path) -> None:
    """A witness may have more keys, of kinds that are unknown here, and somebody may put any line in."""
    other = cosigned_by(Witness("witness.example/w2", tmp_path / "other"))
    unknown = f"— {NAME} {b64encode(bytes(4 + 8 + 2420)).decode()}\n".encode()
    good = cosigned_by(peer)
    answer = read(peer, 200, unknown + other + good)
    assert isinstance(answer, Cosigned)
    assert answer.cosigner.signature.line().encode() == good
    for lines in (other, unknown, unknown + other):
        told = read(peer, 200, lines)
        assert isinstance(told, Failed)
        assert "there is no cosignature of the key" in told.error


def read(peer: Witness, status: int, body: bytes, type_: str = "text/plain") -> Answer:
    """What a reply to the checkpoint of 12 entries means."""
    return read_reply(Reply(status, type_, body), ours(peer), signed(12), now_ms=NOW_MS)


def test_a_cosignature_of_anything_else_does_not_count(peer: Witness) -> None:
    """Of another checkpoint, changed, cut off, without a time, or of a time that has not come."""
    good = cosigned_by(peer)
    name, data = good[:-1].rsplit(b" ", 1)
    changed = b64encode(b64decode(data)[:-1] + bytes([b64decode(data)[-1] ^ 1]))
    bad = [
        cosigned_by(peer, size=11), name + b" " + changed + b"\n", good[:-1], good[:-9] + b"\n",
        cosigned_by(peer, seconds=0), cosigned_by(peer, seconds=NOW_MS // 1000 + 90_000),
        cosigned_by(peer, seconds=2**63 - 1), good + b"\n" + good, b"", b"\n", b"\n\n" + good, good + b"x\n",
        good.replace(b"\n", b"\r\n"), b"<html>", b"\xff" + good, good * 100,
    ]  # fmt: skip
    for body in bad:
        answer = read(peer, 200, body)
        assert isinstance(answer, Failed), body
        assert answer.error.startswith("answered 200, but not as a witness does: ")
        assert not answer.of_log
    assert isinstance(read(peer, 200, cosigned_by(peer, seconds=NOW_SECONDS)), Cosigned)


@pytest.mark.parametrize(
    ("type_", "body", "means"),
    [
        ("text/x.tlog.size", b"5\n", 5),
        ("text/x.tlog.size", b"0\n", 0),
        ("Text/X.TLog.Size; charset=utf-8", b"5", 5),
        ("text/plain", b"5\n", None),
        ("", b"5\n", None),
        ("text/x.tlog.size", b"", None),
        ("text/x.tlog.size", b"05\n", None),
        ("text/x.tlog.size", b"-5\n", None),
        ("text/x.tlog.size", b"5\n5\n", None),
        ("text/x.tlog.size", b"5 \n", None),
        ("text/x.tlog.size", "\N{ARABIC-INDIC DIGIT FIVE}\n".encode(), None),
        ("text/x.tlog.size", b"9223372036854775808\n", None),
        ("text/x.tlog.size", b"9" * 5000, None),
    ],
)
def test_a_conflict_tells_a_size_in_its_own_type(peer: Witness, type_: str, body: bytes, means: int | None) -> None:
    """A decimal number of a log's size, nothing else."""
    answer = read(peer, 409, body, type_)
    if means is None:
        assert isinstance(answer, Failed)
        assert answer.error.startswith("answered 409, but not as a witness does: ")
    else:
        assert answer == Knows(means)


@given(
    st.integers(100, 599),
    st.binary(max_size=300) | st.text(max_size=100).map(str.encode),
    st.sampled_from(["", "text/plain", "text/x.tlog.size", "text/html; charset=x"]),
)
def test_no_reply_but_a_cosignature_is_taken_for_one(tmp_path: Path, status: int, body: bytes, type_: str) -> None:
    """Whatever comes: it means a failure, which can be shown on a terminal, or another size."""
    answer = read(Witness(NAME, tmp_path / "witness"), status, body, type_)
    assert not isinstance(answer, Cosigned)
    if isinstance(answer, Failed):
        assert answer.error.isprintable()
        assert len(answer.error) < 1000


def test_a_failure_tells_what_the_witness_said(peer: Witness) -> None:
    """On one line, cut short, without what could confuse a terminal."""
    answer = read(peer, 503, b"overloaded,\n\x1b[31m try\tlater" + b"!" * 1000)
    assert isinstance(answer, Failed)
    assert answer.error.startswith('answered 503 "overloaded, [31m try later!!!')
    assert len(answer.error) < 150
    assert not answer.of_log
    assert read(peer, 500, b"") == Failed("answered 500")
    assert read(peer, 400, b"") == Failed("answered 400: it takes our request for malformed", of_log=True)
    assert read(peer, 418, b"\n") == Failed("answered 418")


# The setting.


def test_witnesses_are_named_by_url_and_key(peer: Witness, tmp_path: Path) -> None:
    """Commas between them, and white space as one likes; a slash at the end of the URL is no part of it."""
    other = Witness("other.example", tmp_path / "other")
    found = parse_witnesses(f" https://w.example/a/  {peer.vkey},\n\thttp://[::1]:8080 {other.vkey} ")
    assert [(one.url, one.name, str(one.verifier)) for one in found] == [
        ("https://w.example/a", NAME, peer.vkey),
        ("http://[::1]:8080", "other.example", other.vkey),
    ]
    assert parse_witnesses("") == parse_witnesses(" \n") == []


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{key}", "witnesses must be like"),
        ("https://w.example", "witnesses must be like"),
        ("https://w.example {key} x", "witnesses must be like"),
        ("https://w.example {key},", "witnesses must be like"),
        ("ftp://w.example {key}", "must be like https://"),
        ("w.example {key}", "must be like https://"),
        ("https:// {key}", "must be like https://"),
        ("https://w.example:99999 {key}", "must be like https://"),
        ("https://w.example:x {key}", "must be like https://"),
        ("https://w.example:0 {key}", "must be like https://"),
        ("https://w.example/?a=b {key}", "must be like https://"),
        ("https://w.example/#a {key}", "must be like https://"),
        ("https://[::1 {key}", "must be like https://"),
        ("https://wítness.example {key}", "must be like https://"),
        ("https://w.example name+00000000+AAAA", "verifier key"),
        ("https://w.example {key}A", "witnesses must be like"),
        ("https://w.example {log_key}", "must be of type 0x04, a cosigner's, not 0x01"),
        ("https://w.example {key}, https://v.example {key}", "there are two of witness.example/w1"),
    ],
)
def test_a_wrong_setting_is_told(peer: Witness, text: str, told: str) -> None:
    """With what would be right."""
    with pytest.raises(InvalidSetting, match=re.escape(told)):
        parse_witnesses(text.format(key=peer.vkey, log_key=signed(1).signer))


@pytest.mark.parametrize(
    "text", ["https://ann:s3cret@w.example {key}", "https://ann:s3cret@w.example", "s3cret@ {key}"]
)
def test_a_password_in_a_url_is_refused_and_not_repeated(peer: Witness, text: str) -> None:
    """A witness asks for none; what is refused ends up in logs."""
    with pytest.raises(InvalidSetting) as refused:
        parse_witnesses(text.format(key=peer.vkey))
    assert "s3cret" not in str(refused.value)


def test_a_note_has_no_more_signatures_than_everybody_must_take(tmp_path: Path) -> None:
    """16: the log's own, and 15 of witnesses."""
    keys = [Witness(f"w{number}.example", tmp_path / "all").vkey for number in range(16)]
    texts = [f"https://w.example {key}" for key in keys]
    assert len(parse_witnesses(",".join(texts[:15]))) == 15
    with pytest.raises(InvalidSetting, match="at most 15, not 16"):
        parse_witnesses(",".join(texts))


def test_one_key_is_one_witness(peer: Witness) -> None:
    """A cosignature does not commit to its maker's name: under two names, one witness would count as two."""
    ours = Verifier.parse(peer.vkey)
    other = Verifier("another.example", ours.public_key, ours.type)
    with pytest.raises(InvalidSetting, match="keys that differ"):
        parse_witnesses(f"https://w.example {ours}, https://v.example {other}")


# The courier.


@pytest.fixture
def server(tmp_path: Path) -> Iterator[WitnessServer]:
    """A witness on a socket, which trusts the tests' log."""
    with witness_server(NAME, tmp_path / "witness") as running:
        running.witness.trust(str(signed(1).signer))
        yield running


@asynccontextmanager
async def courier_to(url: str, peer: Witness) -> AsyncIterator[Courier]:
    """A courier to this address."""
    courier = Courier(ours(peer, url), silence_seconds=20)
    yield courier
    courier.close()


async def test_a_witness_is_asked_over_http(server: WitnessServer) -> None:
    """Below its prefix; and its connection is kept for the next request."""
    async with courier_to(server.url, server.witness) as courier:
        for known, size in ((0, 5), (5, 5), (0, 9)):
            assert isinstance(await asked(server.witness, courier, size, known), Cosigned)
    assert {path for path, _ in server.requests} == {"/prefix/add-checkpoint"}
    assert len(server.requests) == 4
    assert len({port for _, port in server.requests}) == 1


async def test_requests_at_the_same_time_have_connections_of_their_own(server: WitnessServer) -> None:
    """None waits for another one."""
    together = threading.Barrier(5)

    def wait_for_all(handler: Handler) -> None:
        together.wait(20)
        handler.say(said(200, "all are here"))

    server.misdeed = wait_for_all
    async with courier_to(server.url, server.witness) as courier:
        replies = await asyncio.gather(*(courier.post(b"") for _ in range(5)))
    assert {reply.body for reply in replies} == {b"all are here"}


async def test_a_connection_that_the_witness_has_closed_is_made_anew(server: WitnessServer) -> None:
    """Nobody notices."""
    closing = threading.Event()

    def say_and_close(handler: Handler) -> None:
        handler.say(server.witness.answer(handler.body))
        handler.close_connection = True
        handler.connection.shutdown(socket.SHUT_RDWR)
        closing.set()

    server.misdeed = say_and_close
    async with courier_to(server.url, server.witness) as courier:
        for size in (5, 6, 7):
            assert isinstance(await asked(server.witness, courier, size, size - 1 if size > 5 else 0), Cosigned)
            assert await asyncio.to_thread(closing.wait, 20)
            closing.clear()
    assert len({port for _, port in server.requests}) == 3


def redirect(handler: Handler) -> None:
    """A misdeed: send the client elsewhere."""
    handler.say(said(307), Location="/elsewhere/add-checkpoint")


def speak_nonsense(handler: Handler) -> None:
    """A misdeed: no HTTP."""
    handler.wfile.write(b"\x00\x01 nonsense\r\n\r\n")
    handler.close_connection = True


def break_off(handler: Handler) -> None:
    """A misdeed: hang up."""
    handler.close_connection = True


def cut_short(handler: Handler) -> None:
    """A misdeed: promise more than there is."""
    handler.say(said(200, "short"), **{"Content-Length": "50"})
    handler.close_connection = True


def send_for_ever(handler: Handler) -> None:
    """A misdeed: send as long as the other side takes it."""
    handler.send_response(200)
    handler.send_header("Transfer-Encoding", "chunked")
    handler.end_headers()
    handler.close_connection = True
    with contextlib.suppress(OSError):
        while True:
            handler.wfile.write(b"10000\r\n" + b"x" * 0x10000 + b"\r\n")


def send_a_gigabyte(handler: Handler) -> None:
    """A misdeed: the same, with a size."""
    handler.send_response(200)
    handler.send_header("Content-Length", str(1 << 30))
    handler.end_headers()
    handler.close_connection = True
    with contextlib.suppress(OSError):
        for _ in range(1 << 14):
            handler.wfile.write(b"x" * (1 << 16))


def send_headers_for_ever(handler: Handler) -> None:
    """A misdeed: a head without an end."""
    handler.send_response(200)
    handler.flush_headers()
    handler.close_connection = True
    with contextlib.suppress(OSError):
        while True:
            handler.wfile.write(b"X-More: more\r\n")


@pytest.mark.parametrize(
    ("misdeed", "told"),
    [
        (redirect, "answered 307: redirects are not followed; the URL must be the witness's own"),
        (speak_nonsense, "does not speak HTTP as it should: BadStatusLine"),
        (break_off, "breaks the connection off"),
        (cut_short, "does not speak HTTP as it should: ProtocolError"),
        (send_for_ever, f"answered with more than {MOST_REPLY_BYTES} bytes"),
        (send_a_gigabyte, f"answered with more than {MOST_REPLY_BYTES} bytes"),
        (send_headers_for_ever, "does not speak HTTP as it should: HTTPException"),
    ],
)
async def test_a_misdeed_is_a_failure(server: WitnessServer, misdeed: Callable[[Handler], None], told: str) -> None:
    """That is told in a few words, and soon over; the next request is as good as ever."""
    async with courier_to(server.url, server.witness) as courier:
        server.misdeed = misdeed
        assert await asked(server.witness, courier, 5) == Failed(told)
        server.misdeed = None
        assert isinstance(await asked(server.witness, courier, 5), Cosigned)
    assert {path for path, _ in server.requests} == {"/prefix/add-checkpoint"}


async def test_where_nobody_listens_the_failure_says_so(peer: Witness) -> None:
    """A port that nobody has, a host that is none."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    async with courier_to(f"http://127.0.0.1:{port}", peer) as courier:
        assert await asked(peer, courier, 5) == Failed("can't be reached: Connection refused")
    async with courier_to("http://nowhere.invalid", peer) as courier:
        assert await asked(peer, courier, 5) == Failed("can't be reached: its host has no address")


async def test_a_connection_that_is_silent_is_given_up(server: WitnessServer, peer: Witness) -> None:
    """By its thread itself, whoever waits."""
    server.misdeed = server.hang
    courier = Courier(ours(peer, server.url), silence_seconds=0.05)
    with pytest.raises(Undelivered, match="can't be reached: it does not answer"):
        await courier.post(b"")
    courier.close()


def threads_of_couriers() -> list[threading.Thread]:
    """Those that are on their way."""
    return [thread for thread in threading.enumerate() if thread.name.startswith("whodid-witness-")]


def drip(handler: Handler) -> None:
    """A misdeed: a byte now and then, so that the connection is never silent."""
    handler.close_connection = True
    with contextlib.suppress(OSError):
        handler.wfile.write(b"HTTP/1.1 200 ")
        while not handler.server.released.wait(0.01):
            handler.wfile.write(b"O")


@pytest.mark.parametrize("misdeed", [WitnessServer.hang, drip])
async def test_a_request_that_nobody_waits_for_is_broken_off(server: WitnessServer, misdeed: Any) -> None:
    """Its thread ends, too, though the witness hangs, or goes on and on."""
    server.misdeed = (lambda handler: misdeed(server, handler)) if misdeed is WitnessServer.hang else misdeed
    async with courier_to(server.url, server.witness) as courier:
        request = asyncio.create_task(courier.post(b"old 0\n"))
        await asyncio.to_thread(eventually, "the witness is asked", lambda: server.requests)
        assert threads_of_couriers()
        assert all(thread.daemon for thread in threads_of_couriers())  # the process need not wait for them either
        request.cancel()
        with pytest.raises(asyncio.CancelledError):
            await request
        await asyncio.to_thread(eventually, "the thread ends", lambda: not threads_of_couriers())


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A certificate for 127.0.0.1 that nobody vouches for, with its key, in a file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    file = tmp_path / "certificate.pem"
    file.write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()) + made.public_bytes(Encoding.PEM)
    )
    return file


async def test_a_witness_must_have_a_certificate_that_somebody_vouches_for(
    server: WitnessServer, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system's certificates count, or those that SSL_CERT_FILE names."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    url = server.url.replace("http:", "https:")
    async with courier_to(url, server.witness) as courier:
        answer = await asked(server.witness, courier, 5)
        assert isinstance(answer, Failed)
        assert answer.error.startswith("can't be reached: its certificate is not good: self-signed certificate")
    assert server.requests == []
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    async with courier_to(url, server.witness) as courier:
        assert isinstance(await asked(server.witness, courier, 5), Cosigned)
        assert isinstance(await asked(server.witness, courier, 6, 5), Cosigned)
    assert len({port for _, port in server.requests}) == 1
