"""What a hostile or broken client may send: a clear refusal, nothing stored, the server unharmed, memory bounded.

Nearly all of it is refused before any store is asked: so most is tried on one kind only.
"""

import codecs
import gzip
import json
import select
import socket
import struct
import zlib
from collections.abc import Callable

import pytest
from tests.acceptance.running import (
    ACTIONS,
    DEADLINE_SECONDS,
    LOGS,
    TOKEN_USES,
    Running,
    Tenant,
    eventually,
    head,
    problem,
    read_all,
    read_answer,
    tenant_of,
)
from tests.building import USER_ID, action

before_the_store = pytest.mark.on_sqlite_only("what is refused here is refused before any store is asked")

PEAK_MIB = 300
"""The most memory that the server may ever have had, whatever it was sent."""

PEAK_OF_HOGS_MIB = 400
"""The same where 16 MiB are millions of tiny values, each of which takes 60 to 100 bytes once it is parsed."""

MIB = 1024 * 1024
GOOD = json.dumps(action()).encode()


def with_metadata(value: bytes) -> bytes:
    """An event that holds this JSON, which is right but for it."""
    return b'{"user_id":"%s","type":"a","action":"b","metadata":{"a":%s}}' % (USER_ID.encode(), value)


def gzip_bomb() -> bytes:
    """1 GiB of zeros, in 1 MB."""
    return gzip.compress(bytes(64 * MIB)) * 16


DEEP = b'{"a":' * 1000 + b"1" + b"}" * 1000
GZIP = {"Content-Encoding": "gzip"}
LINES = {"Content-Type": "application/x-ndjson"}

# Name: body (or how to make it), headers, status, what the detail (or that of the first fault) says.
BODIES: dict[str, tuple[bytes | Callable[[], bytes], dict[str, str], int, str]] = {
    "empty": (b"", {}, 400, "empty"),
    "white space": (b" \n\t ", {}, 400, "empty"),
    "empty array": (b"[]", {}, 400, "no events"),
    "NDJSON of empty lines": (b"\n" * 1000, LINES, 400, "no events"),
    "not UTF-8": (GOOD.replace(b"update", b"\xff\xfe"), {}, 400, "not UTF-8"),
    "overlong UTF-8": (GOOD.replace(b"update", b"\xc0\xaf"), {}, 400, "not UTF-8"),
    "a surrogate in UTF-8": (GOOD.replace(b"update", b"\xed\xa0\x80"), {}, 400, "not UTF-8"),
    "UTF-16": (GOOD.decode().encode("utf-16"), {}, 400, "not UTF-8"),
    "a byte order mark": (codecs.BOM_UTF8 + GOOD, {}, 400, "BOM"),
    "not JSON": (b"user=ann&action=login", {}, 400, "not JSON"),
    "JSON that is cut off": (GOOD[:-5], {}, 400, "not JSON"),
    "an array that is cut off": (b"[" + GOOD, {}, 400, "not JSON"),
    "two objects": (GOOD + GOOD, {}, 400, "not JSON"),
    "lines that are not said to be lines": (GOOD + b"\n" + GOOD, {}, 400, "not JSON"),
    "a comma too many": (b"[" + GOOD + b",]", {}, 400, "not JSON"),
    "single quotes": (GOOD.replace(b'"', b"'"), {}, 400, "not JSON"),
    "a comment": (b"/* hello */" + GOOD, {}, 400, "not JSON"),
    "a string": (b'"hello"', {}, 400, "must be an object or an array of objects, not a string"),
    "a number": (b"5", {}, 400, "not a number"),
    "null": (b"null", {}, 400, "not null"),
    "an array of arrays": (b"[[%s]]" % GOOD, {}, 422, "must be an object, not an array"),
    "NDJSON with an array in a line": (GOOD + b"\n[]\n", LINES, 422, "must be an object, not an array"),
    "NDJSON with a bad line": (GOOD + b"\n{\n" + GOOD, LINES, 400, "line 2 is not JSON"),
    "NDJSON with an object over two lines": (GOOD.replace(b", ", b",\n"), LINES, 400, "not JSON"),
    "NDJSON with two objects in a line": (GOOD + GOOD + b"\n", LINES, 400, "not JSON"),
    "17 MiB": (GOOD + b" " * 17 * MIB, {}, 413, "16 MiB"),
    "16 MiB and a byte": (GOOD + b" " * (16 * MIB + 1 - len(GOOD)), {}, 413, "16 MiB"),
    "10,001 events": (b"[" + b",".join([GOOD] * 10_001) + b"]", {}, 413, "10001 events"),
    "10,001 lines": (b"\n".join([GOOD] * 10_001), LINES, 413, "10001 events"),
    "10,001 events, one of them bad": (b"[{}," + b",".join([GOOD] * 10_000) + b"]", {}, 413, "10001 events"),
    "an event of 1 MiB": (with_metadata(b'"%s"' % (b"x" * MIB)), {}, 422, "it may have 65536"),
    "nesting 33 deep": (with_metadata(b"[" * 32 + b"]" * 32), {}, 422, "must not nest deeper than 32"),
    "nesting 100 deep": (with_metadata(b"[" * 100 + b"]" * 100), {}, 422, "must not nest deeper than 32"),
    "nesting 1,000 deep": (with_metadata(DEEP), {}, 400, "nests too deep"),
    "nesting 1,000 deep instead of an event": (DEEP, {}, 400, "nests too deep"),
    "nesting 100,000 deep": (b"[" * 100_000 + b"]" * 100_000, {}, 400, "nests too deep"),
    "nesting 100,000 deep in an event": (with_metadata(b"[" * 100_000 + b"]" * 100_000), {}, 400, "nests too deep"),
    "brackets without end": (b"[" * 8 * MIB, {}, 413, "arrays and keys"),
    "NUL as it is": (GOOD.replace(b"update", b"up\0date"), {}, 400, "not JSON"),
    "NUL behind the body": (GOOD + b"\0", {}, 400, "not JSON"),
    "NUL escaped": (with_metadata(rb'"a\u0000b"'), {}, 422, "NUL"),
    "NUL escaped in a key": (with_metadata(rb'{"a\u0000b":1}'), {}, 422, "NUL"),
    "NUL escaped in a field": (GOOD.replace(b"update", rb"up\u0000date"), {}, 422, "lower-case"),
    "a lone high surrogate": (with_metadata(rb'"\ud800"'), {}, 422, "surrogate"),
    "a lone low surrogate": (with_metadata(rb'"\udc00x"'), {}, 422, "surrogate"),
    "surrogates the wrong way round": (with_metadata(rb'"\udc00\ud800"'), {}, 422, "surrogate"),
    "a lone surrogate in a key": (with_metadata(rb'{"\ud800":1}'), {}, 422, "surrogate"),
    "1e400": (with_metadata(b"1e400"), {}, 422, "out of range"),
    "-1e400": (with_metadata(b"[-1e400]"), {}, 422, "out of range"),
    "NaN": (with_metadata(b"NaN"), {}, 400, "NaN is no JSON number"),
    "-Infinity": (with_metadata(b"-Infinity"), {}, 400, "-Infinity is no JSON number"),
    "a number of 10,000 digits": (with_metadata(b"1" * 10_000), {}, 400, ""),
    "a hexadecimal number": (with_metadata(b"0x10"), {}, 400, "not JSON"),
    "a leading zero": (with_metadata(b"010"), {}, 400, "not JSON"),
    "a number where a string belongs": (GOOD.replace(b'"update"', b"5"), {}, 422, "action must be 1 to 64"),
    "true where a string belongs": (GOOD.replace(b'"update"', b"true"), {}, 422, "action must be 1 to 64"),
    "an object where a string belongs": (GOOD.replace(b'"update"', b"{}"), {}, 422, "action must be 1 to 64"),
    "a string where an object belongs": (with_metadata(b"1").replace(b'{"a":1}', b'"a"'), {}, 422, "an object"),
    "a key given twice": (GOOD[:-1] + b',"type":"other"}', {}, 422, 'the key "type" is given twice'),
    "a key given twice with one value": (GOOD[:-1] + b',"type":"pipeline"}', {}, 422, 'the key "type" is given twice'),
    "a key given twice, once escaped": (GOOD[:-1] + rb',"typ\u0065":"x"}', {}, 422, 'the key "type" is given twice'),
    "a key given twice deep inside": (with_metadata(b'[{"b":{"c":1,"c":1}}]'), {}, 422, 'the key "c" is given twice'),
    "an empty key given twice": (with_metadata(b'{"":1,"":2}'), {}, 422, 'the key "" is given twice'),
    "an unknown field": (GOOD[:-1] + b',"__proto__":{}}', {}, 422, '"__proto__" is not known'),
    "a gzip bomb of 1 GiB": (gzip_bomb, GZIP, 413, "16 MiB, unpacked"),
    "800,000 empty gzip members": (lambda: gzip.compress(b"") * 800_000, GZIP, 400, "gzip members"),
    "gzip that is cut off": (gzip.compress(GOOD)[:-9], GZIP, 400, "cut off"),
    "gzip with a wrong checksum": (gzip.compress(GOOD)[:-8] + bytes(8), GZIP, 400, "not valid gzip"),
    "gzip with something behind it": (gzip.compress(GOOD) + b"more", GZIP, 400, "not valid gzip"),
    "no gzip": (GOOD, GZIP, 400, "not valid gzip"),
    "an empty gzip body": (b"", GZIP, 400, "cut off"),
    "gzip that is not said to be gzip": (gzip.compress(GOOD), {}, 400, "not UTF-8"),
    "gzip in gzip": (gzip.compress(gzip.compress(GOOD)), GZIP, 400, "not UTF-8"),
    "gzip twice": (gzip.compress(gzip.compress(GOOD)), {"Content-Encoding": "gzip, gzip"}, 415, "gzip"),
    "brotli": (GOOD, {"Content-Encoding": "br"}, 415, "gzip, identity"),
    "deflate": (zlib.compress(GOOD), {"Content-Encoding": "deflate"}, 415, "gzip, identity"),
    "curl's usual content type": (
        GOOD, {"Content-Type": "application/x-www-form-urlencoded"}, 415, "application/json, application/x-ndjson",
    ),
    "text": (GOOD, {"Content-Type": "text/plain"}, 415, "text/plain"),
    "XML": (b"<event/>", {"Content-Type": "application/xml"}, 415, "application/json"),
    "no type in the content type": (GOOD, {"Content-Type": ""}, 415, "application/json"),
    "a form with a file": (GOOD, {"Content-Type": "multipart/form-data; boundary=x"}, 415, "application/json"),
    "another charset": (GOOD, {"Content-Type": "application/json; charset=latin-1"}, 415, "UTF-8"),
}  # fmt: skip


@before_the_store
@pytest.mark.parametrize("name", BODIES)
def test_a_hostile_body_is_refused_with_a_clear_reason(tenant: Tenant, name: str) -> None:
    """One token use, of a failure, and nothing else is stored; the server goes on, in bounded memory."""
    body, headers, status, says = BODIES[name]
    text = tenant.token()
    size = tenant.size()
    sent = body() if callable(body) else body
    answer = tenant.server.call("POST", ACTIONS, text, sent, {"Content-Type": "application/json", **headers})
    told = problem(answer, status)
    assert says in (told["errors"][0]["detail"] if "errors" in told else told["detail"]), told
    assert len(answer.body) < MIB
    (use,) = tenant.uses(size)
    assert use["outcome"] == "failure"
    assert tenant.server.post(ACTIONS, text, action()).status == 201
    assert tenant.server.peak_mib < PEAK_MIB


HOGS: dict[str, tuple[Callable[[], bytes], dict[str, str], int, str]] = {
    "an array of 5 million empty objects": (lambda: b"[" + b"{}," * 5_000_000 + b"{}]", {}, 413, "arrays and keys"),
    "an array of 5 million numbers": (lambda: b"[" + b"1," * 5_000_000 + b"{}]", {}, 413, "events"),
    "5 million lines of empty objects": (lambda: b"{}\n" * 5_000_000, LINES, 413, "arrays and keys"),
    "an event of 5 million empty lists": (
        lambda: with_metadata(b"[" + b"[]," * 5_000_000 + b"1]"), {}, 413, "arrays and keys",
    ),
    "an event of a million short keys": (
        lambda: with_metadata(b"{%b}" % b",".join(b'"%x":1' % at for at in range(1_300_000))), {}, 413, "keys",
    ),
    "9,000 events of 100 faults each": (
        lambda: b"[" + b",".join([b"{%b}" % b",".join(b'"%d":1' % at for at in range(100))] * 9_000) + b"]",
        {}, 422, "",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", HOGS)
def test_a_body_that_grows_when_it_is_parsed_is_refused_in_bounded_memory(
    tmp_path_factory: pytest.TempPathFactory, name: str
) -> None:
    """Millions of tiny things in 16 MiB: each is an object in memory, if it is let become one."""
    body, headers, status, says = HOGS[name]
    with Running(tmp_path_factory.mktemp("hog")) as server, tenant_of(server) as tenant:
        answer = server.call("POST", ACTIONS, tenant.token(), body(), {"Content-Type": "application/json", **headers})
        told = problem(answer, status)
        assert says in (told["errors"][0]["detail"] if "errors" in told else told["detail"]), told
        assert server.peak_mib < PEAK_OF_HOGS_MIB


@before_the_store
def test_a_415_says_what_would_be_taken_in_headers_too(tenant: Tenant) -> None:
    """RFC 9110 has Accept for it; Accept-Post says it for POST."""
    answer = tenant.server.call("POST", ACTIONS, tenant.token(), GOOD, {"Content-Type": "text/plain"})
    assert answer.header("accept-post") == "application/json, application/x-ndjson"
    assert answer.header("accept-encoding") == "gzip, identity"


def test_what_only_looks_hostile_is_taken(tenant: Tenant) -> None:
    """Quotation marks, backslashes and NULs that are escaped in text, a key in two objects, the limits themselves."""
    values = [
        rb'"\\u0000"', rb'"\"\\\""', rb'"\\\\\""', b'[{"b":1},{"b":1}]', b'{"b":{"b":1}}', rb'"\ud83d\ude00"',
        b"1e308", b"-0.0", b"[" * 31 + b"]" * 31, rb'"\u2028\u007f"', b'"\xf4\x8f\xbf\xbf"', b"null", b"{}",
    ]  # fmt: skip
    for value in values:
        size = len(tenant.token()) and tenant.size()
        answer = tenant.server.post(ACTIONS, tenant.token(), with_metadata(value))
        assert answer.status == 201, (value, answer.body)
        record = json.loads(tenant.log(size)[-1].record)
        assert record["metadata"]["a"] == json.loads(value)


@pytest.mark.parametrize("sent", [b"", GOOD[:20]], ids=["no byte of it", "a part of it"])
@pytest.mark.parametrize("abort", [False, True], ids=["closed", "reset"])
def test_a_body_that_is_cut_off_stores_nothing(tenant: Tenant, sent: bytes, abort: bool) -> None:
    """The connection ends before the body: there is nobody to tell, but the call is in the log."""
    text = tenant.token()
    size = tenant.size()
    with tenant.server.connect() as connection:
        if abort:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.sendall(head("POST", ACTIONS, text, Content_Length=str(len(GOOD))) + sent)
        if not abort:
            connection.shutdown(socket.SHUT_WR)
            assert read_all(connection) == b""
    (use,) = eventually("its token use", lambda: tenant.uses(size))
    assert (use["outcome"], tenant.size()) == ("failure", size + 1)


@before_the_store
def test_a_content_length_that_is_too_long_is_refused_before_the_body(tenant: Tenant) -> None:
    """17 MiB that are only announced, or a number beyond all bounds."""
    for length in (str(17 * MIB), "9" * 18):
        with tenant.server.connect() as connection:
            connection.sendall(head("POST", ACTIONS, tenant.token(), Content_Length=length))
            problem(read_answer(connection), 413, "16 MiB")


@before_the_store
def test_a_chunked_body_without_end_is_refused_at_its_limit(tenant: Tenant) -> None:
    """Nothing announced it; what came is thrown away as it comes."""
    chunk = b"10000\r\n" + b" " * 65536 + b"\r\n"
    text = tenant.token()
    size = tenant.size()
    for headers in ({}, GZIP):
        with tenant.server.connect() as connection:
            started = head("POST", ACTIONS, text, Transfer_Encoding="chunked", **headers)
            connection.sendall(started.replace(b"close", b"keep-alive"))
            for _ in range(260):
                connection.sendall(chunk)
            assert read_answer(connection).status in (400, 413)
    assert tenant.size() == size + 2
    assert tenant.server.peak_mib < PEAK_MIB


START = f"POST {ACTIONS} HTTP/1.1\r\nHost: x\r\n"
NOT_HTTP: dict[str, bytes] = {
    "noise": bytes(range(256)) * 4,
    "a TLS hello": bytes.fromhex("1603010200010001fc0303") + bytes(500),
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "an unknown method": b"GRAB /health HTTP/1.1\r\n\r\n",
    "a method in lower case": b"get /health HTTP/1.1\r\n\r\n",
    "a header without a colon": b"GET /health HTTP/1.1\r\nnonsense\r\n\r\n",
    "a header name with a space": b"GET /health HTTP/1.1\r\nBad Name: x\r\n\r\n",
    "NUL in a header": b"GET /health HTTP/1.1\r\nX: a\0b\r\n\r\n",
    "two lengths": (START + "Content-Length: 5\r\nContent-Length: 6\r\n\r\n").encode() + GOOD,
    "a length below zero": (START + "Content-Length: -5\r\n\r\n").encode() + GOOD,
    "a length that is no number": (START + "Content-Length: many\r\n\r\n").encode() + GOOD,
    "length and chunks": (START + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n").encode(),
    "chunks of no size": (START + "Transfer-Encoding: chunked\r\n\r\nzz\r\n").encode(),
    "a port instead of a path": b"CONNECT whodid:443 HTTP/1.1\r\nHost: x\r\n\r\n",
    "a bad URL": b"GET http://[::1/ HTTP/1.1\r\n\r\n",
}


@before_the_store
@pytest.mark.parametrize("name", NOT_HTTP)
def test_what_is_not_http_ends_the_connection_and_nothing_else(server: Running, name: str) -> None:
    """An error and the end, or only the end; never an exception in the log."""
    came = server.say(NOT_HTTP[name], finish=True)
    assert came == b"" or came.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 401 ", b"HTTP/1.1 404 ")), came
    assert server.get("/health").status == 200
    assert [line for line in server.log if "exception" in line] == []


@before_the_store
def test_a_length_shorter_than_the_body_does_not_let_the_rest_become_a_call(tenant: Tenant) -> None:
    """What is left of it is no HTTP."""
    text = tenant.token()
    request = head("POST", ACTIONS, text, Content_Length=str(len(GOOD) - 1)).replace(b"close", b"keep-alive")
    size = tenant.size()
    came = tenant.server.say(request + GOOD)
    assert came.startswith(b"HTTP/1.1 400 ")
    assert tenant.size() <= size + 1
    assert all(use["outcome"] == "failure" for use in tenant.uses(size))


@before_the_store
@pytest.mark.parametrize(
    "flood",
    [
        b"GET /health HTTP/1.1\r\nX: " + b"a" * MIB,
        b"GET /" + b"a" * MIB,
        b"GET /health HTTP/1.1\r\n" + b"X: y\r\n" * 200_000,
        (START + "Transfer-Encoding: chunked\r\n\r\n0\r\n").encode() + b"X-Trailer: y\r\n" * 400_000,
        b"GET /health HTTP/1.1\r\n\r\nGET /health HTTP/1.1\r\nX: " + b"a" * MIB,
        (START + "Content-Length: 5\r\n\r\nhello").encode() + b"GET /" + b"a" * MIB,
    ],
    ids=["a header", "a path", "many headers", "trailers", "a header of the second request", "a path after a body"],
)
def test_a_head_of_1_mib_is_refused_as_soon_as_it_is_too_long(server: Running, flood: bytes) -> None:
    """The connection ends though the head never does; memory stays as it is."""
    server.say(flood)
    assert server.get("/health").status == 200
    assert server.peak_mib < PEAK_MIB


def test_a_head_right_behind_a_large_body_is_not_taken_for_a_long_one(tenant: Tenant) -> None:
    """Bytes that arrive together with it are not its own."""
    body = GOOD + b" " * 300_000
    first = head("POST", ACTIONS, tenant.token(), Content_Length=str(len(body))).replace(b"close", b"keep-alive")
    second = head("GET", "/health")
    with tenant.server.connect() as connection:
        connection.sendall((first + body) * 5 + second)
        came = read_all(connection)
    assert (came.count(b"HTTP/1.1 201"), came.count(b"HTTP/1.1 200"), came.count(b"HTTP/1.1 ")) == (5, 1, 6)


def test_calls_that_are_sent_at_once_are_answered_in_order(tenant: Tenant) -> None:
    """Pipelining, as HTTP/1.1 has it."""
    calls = [head("GET", f"/api/{at}", tenant.token(), X_Request_Id=f"r{at}") for at in range(100)]
    with tenant.server.connect() as connection:
        connection.sendall(b"".join(calls[:-1]).replace(b"close", b"keep-alive") + calls[-1])
        came = read_all(connection)
    places = [came.find(b"x-request-id: r%d\r" % at) for at in range(100)]
    assert -1 not in places
    assert places == sorted(places)


def test_clients_that_stop_in_the_middle_are_let_go(tmp_path_factory: pytest.TempPathFactory) -> None:
    """In a head, in a second head, in a body: after a while, which is short here, the connection ends."""
    hurry = "import whodid.web.server as s, whodid.web.body as b; s._HEAD_SECONDS = b._BODY_SECONDS = 0.3"
    with Running(tmp_path_factory.mktemp("hurried"), before=hurry) as server, tenant_of(server) as tenant:
        assert server.say(b"") == b""
        assert server.say(b"GET /health HTTP/1.1\r\nX: ") == b""
        assert server.say(b"GET /health HTTP/1.1\r\n\r\n", b"GET /").count(b"HTTP/1.1 ") == 1
        came = server.say(head("POST", ACTIONS, tenant.token(), Content_Length="50") + b"{")
        assert came.startswith(b"HTTP/1.1 400 ")
        assert b"the body took more than" in came
        with server.connect() as connection:
            connection.sendall(head("POST", ACTIONS, None, Content_Length="50").replace(b"close", b"keep-alive"))
            assert read_answer(connection).status == 401
            connection.sendall(b"{")
            assert read_all(connection) == b""
        assert server.get("/health").status == 200


@before_the_store
def test_many_connections_that_say_nothing_do_no_harm(server: Running) -> None:
    """Three hundred of them, open at once."""
    silent = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(300)]
    try:
        assert server.get("/health").status == 200
    finally:
        for connection in silent:
            connection.close()
    assert server.peak_mib < PEAK_MIB


def test_large_bodies_at_once_are_bounded_by_a_budget(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Past it: 503, and the call is in the log like any other; then there is room again."""
    with Running(tmp_path_factory.mktemp("budget"), body_mib=64) as server, tenant_of(server) as tenant:
        text = tenant.token()
        part = head("POST", ACTIONS, text, Content_Length=str(14 * MIB)) + GOOD + b" " * (13 * MIB)
        part = part.replace(b"close", b"keep-alive")
        with server.connect() as first, server.connect() as second:
            for connection in (first, second):
                connection.sendall(part)
            readable, _, _ = select.select([first, second], [], [], DEADLINE_SECONDS)
            refused = read_answer(readable[0])
            problem(refused, 503, "request bodies")
            assert refused.header("retry-after") == "1"
        eventually("both calls in the log", lambda: [use["outcome"] for use in tenant.uses()] == ["failure"] * 2)
        body = GOOD + b" " * (15 * MIB)
        assert server.post(ACTIONS, text, body).status == 201


@before_the_store
def test_the_token_log_has_the_same_defences(tenant: Tenant) -> None:
    """Both recording calls read their bodies in one way."""
    assert set(LOGS.values()) == {ACTIONS, TOKEN_USES}
    for body, status in ((b"[", 400), (b"{}", 422), (b" " * (16 * MIB + 1), 413)):
        assert tenant.server.post(TOKEN_USES, tenant.token(), body).status == status
