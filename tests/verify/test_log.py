"""A served log verified by its tiles, over a real socket: with few requests, and whatever the server is up to."""

import itertools
import socket
import ssl
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import cache, partial
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from tests.verify.building import Log, Witness, key_of
from tests.verify.serving import Answer, Server, serving
from urllib3.util import Timeout

from whodid.errors import InvalidEvidence, InvalidParameter, Unavailable
from whodid.tiles import tiles_of
from whodid.verify import Connection, Outcome, Report, Trust, Verdict, live, verify_log
from whodid.verify.live import ATTEMPTS, MOST_PAUSE_SECONDS

LOG = Log.of(1000)
ANSWER, SIGNATURE, COSIGNATURES, GROWTH, TREE, EVERY_TILE = 1, 2, 3, 4, 5, 6


@pytest.fixture
def server() -> Iterator[Server]:
    """A server of the log at 600 entries."""
    with serving(LOG, 600) as server:
        yield server


def verify(server: Server, *, token: str | None = None, **more: Any) -> Report:
    """What is said of the log that a server shows; it never really waits."""
    trust = Trust((LOG.verifier,), tuple(more.pop("witnesses", ())))
    with Connection(server.url, token, sleep=lambda _seconds: None) as connection:
        return verify_log(connection.fetch, connection.name, trust, **more)


def failed_step(report: Report, outcome: Outcome = Outcome.FAILED) -> int | None:
    """The number of the step that failed; after it none was run, and before it all were."""
    outcomes = [step.outcome for step in report.steps]
    assert [step.number for step in report.steps] == [1, 2, 3, 4, 5, 6]
    if report.verdict == Verdict.VERIFIED:
        assert set(outcomes) <= {Outcome.PASSED, Outcome.NOT_ASKED}
        return None
    at = outcomes.index(outcome)
    assert set(outcomes[:at]) <= {Outcome.PASSED, Outcome.NOT_ASKED}
    assert set(outcomes[at + 1 :]) <= {Outcome.NOT_RUN}
    return at + 1


def why(report: Report) -> str:
    """What is said where it did not pass."""
    return next(step.detail for step in report.steps if step.outcome in (Outcome.FAILED, Outcome.UNKNOWN))


# True logs.


@pytest.mark.parametrize("every_tile", [False, True])
@pytest.mark.parametrize("size", [0, 1, 2, 255, 256, 257, 511, 512, 513, 1000])
def test_a_true_log_is_verified(server: Server, size: int, every_tile: bool) -> None:
    """At any size, by a few tiles or by all."""
    server.size = size
    report = verify(server, every_tile=every_tile)
    assert failed_step(report) is None, why(report)
    assert report.signed is not None
    assert report.signed.checkpoint.size == size
    assert report.steps[5].outcome == (Outcome.PASSED if every_tile else Outcome.NOT_ASKED)


@pytest.mark.parametrize("earlier", [0, 1, 128, 255, 256, 257, 512, 599, 600])
def test_a_log_that_only_grew_is_verified(server: Server, earlier: int) -> None:
    """From any earlier size."""
    report = verify(server, earlier=LOG.note(earlier))
    assert failed_step(report) is None, why(report)
    assert f"from {earlier} to 600" in report.steps[3].detail


@cache
def large() -> Log:
    """A log with tiles of three levels, all partial at the right edge."""
    return Log.of(70_000)


def test_a_large_log_takes_few_requests() -> None:
    """One for the checkpoint, and one or two tiles a level; each tile once."""
    with serving(large()) as server:
        trust = Trust((large().verifier,))
        with Connection(server.url) as connection:
            report = verify_log(connection.fetch, connection.name, trust, earlier=large().note(66_001))
        assert failed_step(report) is None, why(report)
        paths = [path for path, _ in server.asked]
    assert len(paths) == len(set(paths)) <= 1 + 2 * 3 + 3
    assert not any("entries" in path for path in paths)


def test_all_tiles_of_a_large_log_are_compared() -> None:
    """Each is fetched once, and progress is told."""
    told: list[tuple[int, int]] = []
    log = large()
    with serving(log, 66_000) as server, Connection(server.url) as connection:
        trust = Trust((log.verifier,))
        report = verify_log(
            connection.fetch, connection.name, trust, every_tile=True, progress=lambda *done: told.append(done)
        )
        assert failed_step(report) is None, why(report)
        paths = {path.removeprefix(f"/log/{log.account}/") for path, _ in server.asked}
    assert told[-1] == (66_000, 66_000)
    assert {"tile/0/000", "tile/0/257.p/208", "tile/entries/257.p/208", "tile/1/000", "tile/1/001.p/1"} <= paths
    assert "tile/2/000.p/1" in paths


def test_a_partial_tile_that_is_gone_is_taken_from_the_full_one(server: Server) -> None:
    """The log has grown meanwhile, and the specification lets go of partial tiles."""
    server.odd = dict.fromkeys(
        ["tile/0/002.p/88", "tile/1/000.p/2", "tile/entries/002.p/88"], lambda answer: answer.send(404)
    )
    server.odd["tile/0/002"] = lambda answer: answer.send(200, LOG.file("tile/0/002") or b"")
    server.odd["tile/entries/002"] = lambda answer: answer.send(200, LOG.file("tile/entries/002") or b"")
    server.odd["tile/1/000"] = lambda answer: answer.send(200, (LOG.file("tile/1/000.p/3") or b"") + bytes(253 * 32))
    report = verify(server, every_tile=True, earlier=LOG.note(500))
    assert failed_step(report) is None, why(report)


def test_witnesses_must_have_cosigned(server: Server) -> None:
    """As with bundles."""
    witness = Witness()
    assert failed_step(verify(server, witnesses=[witness.verifier])) == COSIGNATURES
    note = witness.cosign(LOG.note(600))
    server.odd["checkpoint"] = lambda answer: answer.send(200, note.encode())
    assert failed_step(verify(server, witnesses=[witness.verifier])) is None


# Logs that are up to something.


def show_tiles(server: Server, log: Log, size: int) -> None:
    """Let a server show the tiles of a log of this size, whatever its checkpoint says."""
    for tile in tiles_of(size):
        server.odd[tile.path] = partial(Answer.send, status=200, body=log.file(tile.path, size) or b"")


@pytest.mark.parametrize("earlier", [601, 767, 768, 1000])
def test_a_smaller_checkpoint_fails_and_accuses_nobody(server: Server, earlier: int) -> None:
    """Who shows it may be late: it contradicts nothing, whether the tiles of the larger log are there or not."""
    for shown in (600, earlier):
        show_tiles(server, LOG, shown)
        report = verify(server, earlier=LOG.note(earlier))
        assert (failed_step(report), report.contradicted) == (GROWTH, False)
        assert f"600 entries, older than yours of {earlier}: try again" in why(report)
        assert report.signed is not None
        assert str(report.signed.note) == LOG.note(600)


@pytest.mark.parametrize("size", [1, 255, 256, 599, 600])
def test_a_smaller_checkpoint_of_a_fork_is_caught_by_the_tiles(server: Server, size: int) -> None:
    """They lead to what was signed for the larger log, and that began with something else."""
    fork = LOG.fork(0)
    server.size = size
    show_tiles(server, LOG, 1000)
    server.odd["checkpoint"] = lambda answer: answer.send(200, fork.note(size).encode())
    report = verify(server, earlier=LOG.note(1000))
    assert (failed_step(report), report.contradicted) == (GROWTH, True)
    assert "rolled back" in why(report)


@pytest.mark.parametrize("status", [404, 500])
def test_a_smaller_checkpoint_of_a_fork_fails_without_those_tiles(server: Server, status: int) -> None:
    """Tiles that are gone, or lead elsewhere, prove nothing; nor does it pass."""
    fork = LOG.fork(0)
    show_tiles(server, fork, 1000)
    server.odd["checkpoint"] = lambda answer: answer.send(200, fork.note(600).encode())
    elsewhere = verify(server, earlier=LOG.note(1000))
    server.odd["tile/1/000.p/3"] = lambda answer: answer.send(status)
    gone = verify(server, earlier=LOG.note(1000))
    for report in (elsewhere, gone):
        assert (failed_step(report), report.contradicted) == (GROWTH, False)


@pytest.mark.parametrize("size", [600, 599, 512, 256, 1])
def test_a_fork_is_caught(server: Server, size: int) -> None:
    """Its tiles lead to its own root, which is not what the log grew from."""
    report = verify(server, earlier=LOG.fork(0).note(size))
    assert (failed_step(report), report.contradicted) == (GROWTH, True)


def test_a_fork_of_the_same_size_is_caught_without_tiles(server: Server) -> None:
    """A log does not get away with tiles that don't load."""
    server.odd = {path: lambda answer: answer.send(500) for path in ("tile/0/002.p/88", "tile/1/000.p/2")}
    report = verify(server, earlier=LOG.fork(0).note(600))
    assert (failed_step(report), report.contradicted) == (GROWTH, True)


@pytest.mark.parametrize("path", ["tile/0/002.p/88", "tile/1/000.p/2"])
def test_wrong_tiles_fail(server: Server, path: str) -> None:
    """They are no contradiction: nobody signed them."""
    tile = bytearray(LOG.file(path, 600) or b"")
    tile[0] ^= 1
    server.odd[path] = lambda answer: answer.send(200, bytes(tile))
    assert failed_step(verify(server)) == TREE
    report = verify(server, earlier=LOG.note(400))
    assert (failed_step(report), report.contradicted) == (GROWTH, False)


@pytest.mark.parametrize(
    ("path", "seq"), [("tile/entries/001", 256), ("tile/0/000", 0), ("tile/0/001", 256), ("tile/1/000.p/2", None)]
)
def test_every_tile_is_compared(server: Server, path: str, seq: int | None) -> None:
    """One that a few requests don't need is found among all."""
    good = LOG.file(path, 600) or b""
    wrong = good[:20] + bytes([good[20] ^ 1]) + good[21:]
    first = good if path == "tile/1/000.p/2" else wrong  # that one is fetched for the step before, too
    server.odd[path] = answers_in_turn(lambda answer: answer.send(200, first), lambda answer: answer.send(200, wrong))
    report = verify(server, every_tile=True)
    assert (failed_step(report), report.seq) == (EVERY_TILE, seq)


def test_other_entries_with_tiles_to_match_are_found(server: Server) -> None:
    """Shown only once the few tiles have passed: they make another root."""
    server.size = 100
    forged = Log.of(100, seed=1)
    server.odd["tile/entries/000.p/100"] = lambda answer: answer.send(200, forged.file("tile/entries/000.p/100") or b"")
    server.odd["tile/0/000.p/100"] = answers_in_turn(
        lambda answer: answer.send(200, LOG.file("tile/0/000.p/100") or b""),
        lambda answer: answer.send(200, forged.file("tile/0/000.p/100") or b""),
    )
    report = verify(server, every_tile=True)
    assert failed_step(report) == EVERY_TILE
    assert "another root" in why(report)


@pytest.mark.parametrize("path", ["tile/0/002.p/88", "tile/1/000.p/2", "tile/entries/000", "tile/0/000"])
@pytest.mark.parametrize("body", [b"", b"x", bytes(2815), bytes(2817), bytes(9000), b"<html>"])
def test_tiles_that_are_none_fail(server: Server, path: str, body: bytes) -> None:
    """Too short, too long, or something else."""
    server.odd[path] = lambda answer: answer.send(200, body)
    assert failed_step(verify(server, every_tile=True)) in (TREE, EVERY_TILE)


def test_missing_tiles_fail(server: Server) -> None:
    """What the log signed, it must show."""
    server.odd = dict.fromkeys(["tile/0/002.p/88"], lambda answer: answer.send(404))
    report = verify(server)
    assert failed_step(report) == TREE
    assert "does not show tile/0/002.p/88" in why(report)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<!doctype html><title>Sign in</title>",
        b"\xff\xfe",
        LOG.note(600).encode()[:-20],
        LOG.note(600).replace("\n600\n", "\n601\n").encode(),
        Log.of(600, key=key_of("forger")).note().encode(),
        Log.of(600, account="org-other-acc0").note().encode(),
    ],
)
def test_a_checkpoint_that_is_not_the_logs_fails(server: Server, body: bytes) -> None:
    """Whatever else is served in its place."""
    server.odd["checkpoint"] = lambda answer: answer.send(200, body)
    assert failed_step(verify(server)) in (ANSWER, SIGNATURE)


def test_the_url_names_the_account(server: Server) -> None:
    """The checkpoint of another log does not pass, even if its key is trusted too."""
    other = Log.of(600, account="org-other-acc0")
    server.odd["checkpoint"] = lambda answer: answer.send(200, other.note().encode())
    with Connection(server.url) as connection:
        report = verify_log(connection.fetch, connection.name, Trust((LOG.verifier, other.verifier)))
    assert failed_step(report) == SIGNATURE
    assert "of the log of org-other-acc0, not of org-acme-acc0" in why(report)


@pytest.mark.parametrize("path", ["checkpoint", "tile/0/002.p/88"])
def test_an_endless_answer_is_given_up(server: Server, path: str) -> None:
    """As soon as it is longer than it can be."""
    server.odd[path] = lambda answer: answer.send_for_ever(b"\n" * 1000)
    report = verify(server)
    assert failed_step(report) in (ANSWER, TREE)
    assert f"{path} is longer than" in why(report)


def test_packed_answers_are_not_unpacked(server: Server) -> None:
    """No bomb goes off: they were not asked for."""
    server.odd["checkpoint"] = lambda answer: answer.send(200, b"\x1f\x8b\x08", Content_Encoding="gzip")
    assert failed_step(verify(server)) == ANSWER
    assert server.asked[0][1]["Accept-Encoding"] == "identity"


# Connections.


def unknown(server: Server, **more: Any) -> str:
    """What is said where a log could not be checked at all, which is not the log's fault."""
    report = verify(server, **more)
    assert report.verdict == Verdict.UNKNOWN
    assert failed_step(report, Outcome.UNKNOWN) == ANSWER
    return why(report)


def test_the_token_is_sent_and_needed(server: Server) -> None:
    """401 and 403 say so; the token is not shown."""
    assert failed_step(verify(server, token="whodid_pat_secret")) is None
    assert {headers.get("Authorization") for _, headers in server.asked} == {"Bearer whodid_pat_secret"}
    server.odd["checkpoint"] = lambda answer: answer.send(401)
    assert "--token-file" in unknown(server)
    server.odd["checkpoint"] = lambda answer: answer.send(403)
    told = unknown(server, token="whodid_pat_secret")
    assert "not allowed" in told
    assert "secret" not in told


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_not_followed(server: Server, status: int) -> None:
    """The token goes to no other host, and to no other path; where it would lead is told."""
    with serving(LOG, 600) as other:
        server.odd["checkpoint"] = lambda answer: answer.send(status, Location=f"{other.url}/checkpoint")
        assert other.url in unknown(server, token="whodid_pat_secret")
        assert other.asked == []
    assert len(server.asked) == 1


def test_what_is_not_there_is_told(server: Server) -> None:
    """A URL that is not a log's."""
    server.odd["checkpoint"] = lambda answer: answer.send(404)
    assert "no log at this URL" in unknown(server)


def answers_in_turn(*answers: Callable[[Answer], None]) -> Callable[[Answer], None]:
    """One after another, and the last one from then on."""
    turn = itertools.chain(answers[:-1], itertools.repeat(answers[-1]))

    def send(answer: Answer) -> None:
        next(turn)(answer)

    return send


def whole(answer: Answer) -> None:
    """The checkpoint as it is."""
    answer.send(200, LOG.note(600).encode())


@pytest.mark.parametrize(
    ("status", "asked", "pause"),
    [(503, "7", 7), (429, "100000", MOST_PAUSE_SECONDS), (503, "soon", 1), (429, "", 1), (503, "9" * 5000, 1)],
)
def test_a_busy_server_is_asked_again(server: Server, status: int, asked: str, pause: float) -> None:
    """After as long as it says, but never for long."""
    busy = answers_in_turn(lambda answer: answer.send(status, Retry_After=asked), whole)
    server.odd["checkpoint"] = busy
    slept: list[float] = []
    with Connection(server.url, sleep=slept.append) as connection:
        report = verify_log(connection.fetch, connection.name, Trust((LOG.verifier,)))
    assert failed_step(report) is None, why(report)
    assert slept == [pause]


def test_a_server_that_stays_busy_is_given_up(server: Server) -> None:
    """After a few attempts."""
    server.odd["checkpoint"] = lambda answer: answer.send(503, Retry_After="1")
    assert "503" in unknown(server)
    assert len(server.asked) == ATTEMPTS


def test_a_connection_that_breaks_off_is_made_again(server: Server) -> None:
    """Once it is whole, all is well; else it is told."""

    def cut_off(answer: Answer) -> None:
        answer.send_raw(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\naudit.example.com")

    server.odd["checkpoint"] = answers_in_turn(cut_off, lambda answer: answer.send_raw(b""), whole)
    assert failed_step(verify(server)) is None
    server.odd["checkpoint"] = cut_off
    assert "broke off" in unknown(server)


@pytest.mark.parametrize(
    "data",
    [
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n",
        b"HTTP/1.1 200 " + b"O" * 100_000,
        b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nx",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5, 6\r\n\r\nxxxxxx",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nxx",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\nxx",
        b"HTTP/1.1 200 OK\r\n\xff\xfe: \x1b[2J\r\n\xc3\r\n\r\nx",
        b"HTTP/1.1 302 Found\r\nLocation: \x1b[2J\r\nContent-Length: 0\r\n\r\n",
    ],
)
def test_garbage_instead_of_http_is_told(server: Server, data: bytes) -> None:
    """With nothing but a report."""
    server.odd["checkpoint"] = lambda answer: answer.send_raw(data)
    report = verify(server)
    assert report.verdict != Verdict.VERIFIED
    assert report.steps[0].outcome in (Outcome.FAILED, Outcome.UNKNOWN)


def test_other_failures_of_the_server_are_told(server: Server) -> None:
    """With their status."""
    server.odd["checkpoint"] = lambda answer: answer.send(500)
    assert "status 500" in unknown(server)
    server.odd["checkpoint"] = lambda answer: answer.send(204)
    assert "status 204" in unknown(server)


def test_a_slow_answer_is_given_up(server: Server) -> None:
    """Byte by byte it could go on for years."""
    ticks = itertools.count(step=100.0)
    server.odd["checkpoint"] = lambda answer: answer.send_for_ever(b".")
    with Connection(server.url, clock=lambda: next(ticks)) as connection, pytest.raises(Unavailable, match="took more"):
        connection.fetch("checkpoint", 1 << 40)


def test_no_answer_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that takes the call, and then says nothing."""
    monkeypatch.setattr(live, "_TIMEOUT", Timeout(0.05))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/log/a"
        with Connection(url) as connection, pytest.raises(Unavailable, match="does not answer in time"):
            connection.fetch("checkpoint", 1000)


def test_nobody_there_is_told() -> None:
    """A closed port, an unknown host, a server that does not speak TLS."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with Connection(f"http://127.0.0.1:{port}/log/a") as connection, pytest.raises(Unavailable, match="nobody answers"):
        connection.fetch("checkpoint", 1000)
    with Connection("http://no-such-host.invalid/log/a") as connection, pytest.raises(Unavailable, match="no host of"):
        connection.fetch("checkpoint", 1000)


def test_a_server_without_tls_is_told(server: Server) -> None:
    """It can't show who it is; and the token was not sent."""
    url = server.url.replace("http:", "https:")
    with Connection(url, "secret") as connection, pytest.raises(Unavailable, match="can't show who it is"):
        connection.fetch("checkpoint", 1000)
    assert server.asked == []


def certificate(folder: Path) -> Path:
    """A file with a key and a certificate for 127.0.0.1, signed by nobody else."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    address = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now, now + timedelta(days=1))
        .add_extension(address, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file = folder / "certificate.pem"
    file.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    return file


def test_a_server_must_show_who_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No token goes to one that can't; who may vouch for it besides the system's authorities can be said."""
    file = certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    with serving(LOG, 600, context) as server:
        told = unknown(server, token="secret")
        assert "can't show who it is" in told
        assert "SSL_CERT_FILE" in told
        assert server.asked == []
        monkeypatch.setenv("SSL_CERT_FILE", str(file))
        assert failed_step(verify(server, token="secret")) is None


@pytest.mark.parametrize(
    "url",
    [
        "", "audit.example.com/log/a", "ftp://audit.example.com/log/a", "file:///etc/passwd", "https://",
        "https://user:password@audit.example.com/log/a", "https://audit.example.com/log/a?x=1",
        "https://audit.example.com/log/a#x", "http://[::1/log/a", "http://h:99999/log/a",
    ],
)  # fmt: skip
def test_a_url_that_can_be_no_logs_is_refused(url: str) -> None:
    """Before anything is sent."""
    with pytest.raises(InvalidParameter, match="URL"):
        Connection(url)


@pytest.mark.parametrize("token", ["", "a b", "secret\r\nX: y", "secr\xe9t"])
def test_a_token_that_can_be_none_is_refused_and_not_shown(token: str) -> None:
    """No header can be smuggled in with it."""
    with pytest.raises(InvalidParameter) as caught:
        Connection("https://audit.example.com/log/a", token)
    assert "secr" not in caught.value.message


def test_a_forged_earlier_checkpoint_fails(server: Server) -> None:
    """And is no contradiction."""
    for earlier in (Log.of(600, key=key_of("forger")).note(), "nonsense", b"\xff"):
        report = verify(server, earlier=earlier)
        assert (failed_step(report), report.contradicted) == (GROWTH, False)


def test_a_file_that_is_too_long_is_no_evidence(server: Server) -> None:
    """However it is announced."""
    with Connection(server.url) as connection, pytest.raises(InvalidEvidence, match="longer than 10 bytes"):
        connection.fetch("checkpoint", 10)
