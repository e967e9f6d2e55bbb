"""Searching: pages, summaries, the feed, exports and live tails of the largest store, as callers meet them."""

import resource
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote

from bench.filling import Filled
from bench.load import request_bytes
from bench.options import Options
from bench.population import FREQUENT_TYPE, RARE_TYPE
from bench.process import Caller, Server
from bench.report import Figure, Target, at_least, at_most, percentile, say
from whodid.store.base import Scope
from whodid.web.app import ACTIONS, EXPORT, FEED, SEARCH, SUMMARY

PART = "searching"

_WARM_UP = 3
_TAILS = 1000
_STREAM_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class _Form:
    """What is asked for."""

    name: str
    path: str
    target: Target | None


def _search(name: str, q: str, limit: int, target: Target | None) -> _Form:
    return _Form(f"{name}, {limit:,} records", f"{SEARCH}?limit={limit}&q={quote(q)}", target)


def _forms(options: Options, email: str) -> list[_Form]:
    search_ms = options.targets.search_ms
    asked = {
        "one filter": f"type:{FREQUENT_TYPE}",
        "a rare type": f"type:{RARE_TYPE}",
        "two filters": f"type:{FREQUENT_TYPE} action:update",
        "a user and a type": f"user:{email} type:{FREQUENT_TYPE}",
        "a filter negated": f"-type:{FREQUENT_TYPE}",
        "two negated": f"type:{FREQUENT_TYPE} -action:update -action:start",
    }
    forms = [_search(name, q, limit, search_ms) for name, q in asked.items() for limit in (100, 1000)]
    word = email.partition(".")[0]
    forms += [_search("a free word", word, limit, at_most(10)) for limit in (100, 1000)]
    week = f"{SUMMARY}?since=7d&interval=hour"
    forms.append(_Form("summary of 7 days by the hour", week, at_most(150)))
    forms.append(_Form("the same by type", f"{week}&by=type", at_most(150)))
    forms.append(_Form("the same of one type", f"{week}&type={FREQUENT_TYPE}", at_most(150)))
    forms.append(_Form("the same of two filters", f"{week}&type={FREQUENT_TYPE}&action=update", None))
    forms.append(_Form("the same by address", f"{week}&by=user_email", None))
    return forms


def measure_searching(options: Options, stores: list[Filled]) -> list[Figure]:
    """All figures of this part, of the largest store."""
    filled = stores[-1]
    token = filled.large.tokens[Scope.SECURITY_LOGS]
    figures: list[Figure] = []
    with Server(filled.place, behind_ms=filled.behind_ms) as server, Caller(server.port) as caller:
        email = _some_address(caller, token)
        for form in _forms(options, email):
            say(f"searching: {form.name}")
            figures.append(_timed(options, caller, form, token, filled.events))
        for name, path in (("the feed", FEED), ("an export", EXPORT)):
            say(f"searching: {name} as NDJSON, to one reader")
            rate, bytes_per_second = _stream(server.port, path, token)
            beside = {"MB/s": bytes_per_second / 1e6}
            figures.append(Figure(PART, f"{name} as NDJSON, records", rate, "/s", at_least(150_000), beside=beside))
        say(f"searching: {_TAILS} live tails")
        figures += _tails(server, token)
    return figures


def _some_address(caller: Caller, token: str) -> str:
    body = bytes(caller.call(request_bytes("GET", f"{ACTIONS}?count=1", token)))
    return body.partition(b'"user_email":"')[2].partition(b'"')[0].decode()


def _timed(options: Options, caller: Caller, form: _Form, token: str, events: int) -> Figure:
    request = request_bytes("GET", form.path, token)
    seconds: list[float] = []
    for number in range(_WARM_UP + max(options.calls // 4, 10)):
        began = time.perf_counter()
        caller.call(request)
        if number >= _WARM_UP:
            seconds.append(time.perf_counter() - began)
    beside = {"p99": percentile(seconds, 99) * 1000}
    name = f"{form.name}, at {events:,}: p50"
    return Figure(PART, name, percentile(seconds, 50) * 1000, "ms", form.target, beside=beside)


def _stream(port: int, path: str, token: str) -> tuple[float, float]:
    """Records and bytes a second of a stream, read for some seconds and then cut off."""
    request = request_bytes("GET", path, token).replace(b"\r\n\r\n", b"\r\nAccept: application/x-ndjson\r\n\r\n", 1)
    lines = size_bytes = 0
    room, end = bytearray(1 << 20), b""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(request)
        connection.recv_into(room)  # the head, and perhaps the first records
        began = time.perf_counter()
        while (passed := time.perf_counter() - began) < _STREAM_SECONDS:
            got = connection.recv_into(room)
            if not got:
                break
            size_bytes += got
            lines += room.count(b"\n", 0, got)
            end = (end + bytes(room[max(got - 5, 0) : got]))[-5:]
            if end == b"0\r\n\r\n":  # of a chunked transfer
                break
        passed = time.perf_counter() - began
    # The lines of the chunked transfer are counted with those of records: two for each piece of a thousand.
    return lines / passed, size_bytes / passed


def _tails(server: Server, token: str) -> list[Figure]:
    """What a thousand live tails take, and how soon the last of them has an event that is recorded."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 4 * _TAILS)), hard))
    before = server.memory_mb()
    request = request_bytes("GET", FEED, token).replace(b"\r\n\r\n", b"\r\nAccept: text/event-stream\r\n\r\n", 1)
    tails = [socket.create_connection(("127.0.0.1", server.port), timeout=60) for _ in range(_TAILS)]
    try:
        for tail in tails:
            tail.sendall(request)
        for tail in tails:
            _until(tail, b"entries")  # the first heartbeat
        time.sleep(1)
        _drain(tails)
        memory = server.memory_mb()
        with Caller(server.port) as caller:
            began = time.perf_counter()
            caller.call(request_bytes("GET", f"{ACTIONS}?count=1", token))  # whose token use is the event
        for tail in tails:
            _until(tail, b"v1/logs/user/actions")
        seconds = time.perf_counter() - began
    finally:
        for tail in tails:
            tail.close()
    return [
        Figure(PART, f"{_TAILS} live tails: memory of the server", memory, "MB", beside={"before": before}),
        Figure(PART, f"{_TAILS} live tails: until the last one has an event", seconds * 1000, "ms"),
    ]


def _until(connection: socket.socket, text: bytes) -> None:
    seen = b""
    while text not in seen:
        got = connection.recv(1 << 16)
        if not got:
            raise ConnectionError("the server ended a stream")
        seen = seen[-1000:] + got


def _drain(connections: Sequence[socket.socket]) -> None:
    for connection in connections:
        connection.settimeout(0)
        try:
            while connection.recv(1 << 16):
                pass
        except BlockingIOError:
            pass
        connection.settimeout(60)
