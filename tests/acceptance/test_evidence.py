"""Evidence over a socket: checkpoints, tiles and proofs, held against hashes that are made here, from the entries."""

import http.client
import itertools
import json
import re
import threading
from base64 import b64decode
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.acceptance.proving import (
    check,
    checkpoint_page,
    climb,
    consistency_page,
    entry_of,
    file_proof,
    json_proof,
    leaf_of,
    proof_page,
    record,
    root_of,
    signed_by_hand,
    trace_of,
)
from tests.acceptance.running import ACTIONS, Answer, Running, Tenant, problem, tenant_of
from tests.building import action
from tests.cli.running import Whodid
from tests.stores import made_store, old_copy, overwrite

from whodid.checkpoint import open_checkpoint
from whodid.errors import InvalidEvidence
from whodid.notes import Verifier
from whodid.proofs import check_consistency, check_inclusion
from whodid.store.base import Role, Scope

HOST = "audit.acme.example"
YEAR = 365 * 24 * 60 * 60
ENTRIES = 300


# Servers and logs.


@pytest.fixture(scope="module")
def public(store_kind: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server whose logs are open to everyone."""
    folder = tmp_path_factory.mktemp("public")
    with made_store(store_kind, folder) as url, Running(folder, url, public_log=True, public_host=HOST) as running:
        yield running


@pytest.fixture(scope="module")
def still(public: Running) -> Iterator[Tenant]:
    """An account of the public server, whose log has 300 entries and does not grow while it is looked at."""
    with tenant_of(public) as made:
        text = made.token()
        assert public.post(ACTIONS, text, [action(target_id=f"t-{at}") for at in range(280)]).status == 201
        while made.size() < ENTRIES:
            public.get(ACTIONS, text)
        yield made


@pytest.fixture(scope="module")
def leaves(still: Tenant) -> list[bytes]:
    """The leaves of that log."""
    return [leaf_of(entry.salt, entry.record) for entry in still.log()]


def shape(answer: Answer) -> tuple[int, list[tuple[str, str]], bytes]:
    """An answer without what differs each time."""
    return answer.status, [one for one in answer.headers if one[0] not in ("date", "x-request-id")], answer.body


# Checkpoints and tiles.


def test_a_checkpoint_states_size_and_root_and_is_signed(still: Tenant) -> None:
    """By the key that the JSON of a proof names; the origin is the public host and the log's path."""
    answer = still.server.get(checkpoint_page(still))
    assert answer.status == 200
    assert answer.header("content-type") == "text/plain; charset=utf-8"
    assert answer.header("cache-control") == "public, max-age=1"
    record_id = json.loads(still.log()[0].record)["_id"]
    key = still.server.get(proof_page(record_id), still.token(), Accept="application/json").json["key"]
    origin, size, root = signed_by_hand(answer.body.decode(), key)
    assert origin == f"{HOST}/log/{still.name}"
    assert size > 1
    assert root == root_of([leaf_of(entry.salt, entry.record) for entry in still.log()[:size]])


def test_tiles_of_every_width_that_there_ever_was_are_served_byte_for_byte(still: Tenant, leaves: list[bytes]) -> None:
    """Hashes of leaves, roots of blocks, entries: 300 entries have three tiles of hashes, all but one partial."""
    commitments = [entry.commitment for entry in still.log()[:ENTRIES]]
    entries = [b"\x00\x20" + commitment for commitment in commitments]
    blocks = [root_of(leaves[:256])]
    for level, hashes in (("0", leaves[:ENTRIES]), ("entries", entries), ("1", blocks)):
        for end in range(1, len(hashes) + 1):
            number, width = divmod(end - 1, 256)
            path = f"tile/{level}/{number:03}" + (f".p/{width + 1}" if width + 1 < 256 else "")
            answer = still.server.get(f"/log/{still.name}/{path}")
            assert answer.status == 200, path
            assert answer.body == b"".join(hashes[number * 256 : end]), path
            assert answer.header("content-type") == "application/octet-stream"
            assert answer.header("cache-control") == f"public, max-age={YEAR}, immutable"


NO_TILES = [
    # Not there: never, or not yet.
    "0/001", "0/001.p/254", "0/001.p/255", "0/002.p/1", "0/999", "0/x001/000", "1/000", "1/000.p/2", "1/001.p/1",
    "2/000", "2/000.p/1", "63/000.p/1", "entries/001", "entries/001.p/255", "entries/x999/x999/x999/x999/x999/x999/999",
    # Not the name of a tile.
    "0/000.p/0", "0/000.p/00", "0/000.p/01", "0/000.p/256", "0/000.p/1000", "0/000.p/-1", "0/000.p/", "0/000.p",
    "0/000.", "0/000.p/1/", "0/000/", "0/000/x000", "0/000/000", "0/x000/000", "0/x000/x000/000", "0/x000", "0/00",
    "0/0", "0/1", "0/0000", "0/X001/000", "0/x01/000", "0/xx01/000", "0//000", "0/", "0", "", "/",
    "00/000.p/1", "01/000.p/1",
    "64/000.p/1", "256/000.p/1", "-1/000.p/1", "+0/000.p/1", "a/000.p/1", "entry/000.p/1", "Entries/000.p/1",
    "entries/000.p/0", "entries", "entries/", "0/000.p/1.p/1", "0/000.P/1", "0/0O0.p/1", "0/000;p/1",
    # Other ways, other spellings.
    "../checkpoint", "0/../0/000.p/1", "./0/000.p/1", "0/./000.p/1", "%30/000.p/1", "0/%30%30%30.p/1", "0%2F000.p/1",
    "0/000%2Ep/1", "0/000.p%2F1", "0/000.p/%31", "0/000.p/1%00", "0/000.p/1%0A", "%2e%2e/checkpoint",
    "%2E%2E%2Fcheckpoint", "entries%2F000.p%2F1", "0/000.p/%D9%A1", "0/" + "x000/" * 100 + "000", "0/" + "9" * 1000,
]  # fmt: skip


@pytest.mark.on_sqlite_only("a path is told from a path before any store is asked")
@pytest.mark.parametrize("rest", NO_TILES)
def test_what_is_no_tile_is_404(still: Tenant, rest: str) -> None:
    """Whether it can't be one or isn't one yet; and nobody is to keep that."""
    told = still.server.get(f"/log/{still.name}/tile/{rest}")
    problem(told, 404)
    assert told.header("cache-control") == "no-store"


@pytest.mark.on_sqlite_only("a path is told from a path before any store is asked")
@pytest.mark.parametrize("rest", [
    "", "/", "/x", "/checkpoint/", "/checkpoints", "/Checkpoint", "/tile", "/checkpoint/x", "/%63heckpoint",
    "%2Fcheckpoint", "/../{name}/checkpoint", "/./checkpoint", "//checkpoint", "/checkpoint%00",
])  # fmt: skip
def test_a_log_has_no_other_pages(still: Tenant, rest: str) -> None:
    """404, also for another spelling of one that it has."""
    problem(still.server.get(f"/log/{still.name}{rest.format(name=still.name)}"), 404)


def test_the_last_tile_ends_where_the_log_does(still: Tenant) -> None:
    """One entry more is 404: of hashes, and of entries."""
    number, width = divmod(still.size(), 256)
    for level in ("0", "entries"):
        for wide, status in ((width, 200), (width + 1, 404)):
            answer = still.server.get(f"/log/{still.name}/tile/{level}/{number:03}.p/{wide}")
            assert answer.status == status


def test_a_tile_that_comes_into_being_is_served_from_then_on(tenant: Tenant) -> None:
    """Its 404 before was not to be kept; the tile then has exactly the entries that there were."""
    text = tenant.token()
    size = tenant.size() + 3
    page = f"/log/{tenant.name}/tile/entries/000.p/{size}"
    statuses = [tenant.server.get(page, text).status for _ in range(4)]
    assert statuses == [404, 404, 404, 200]  # each call before left an entry
    expected = b"".join(b"\x00\x20" + entry.commitment for entry in tenant.log()[:size])
    assert tenant.server.get(page, text).body == expected


def test_what_needs_a_token_is_for_its_own_cache_only(tenant: Tenant) -> None:
    """``private``, and not for whoever comes with another token; errors are never kept."""
    text, poor = tenant.token(), tenant.token(Scope.TASKS)
    pages = {checkpoint_page(tenant): "max-age=1", f"/log/{tenant.name}/tile/0/000.p/1": f"max-age={YEAR}, immutable"}
    for page, how in pages.items():
        answer = tenant.server.get(page, text)
        assert answer.status == 200
        assert answer.header("cache-control") == f"private, {how}"
        assert answer.header("vary") == "Authorization"
        for path, bearer, status in ((page, None, 401), (page, poor, 403), (f"{page}?x=1", text, 400)):
            refused = tenant.server.get(path, bearer)
            assert (refused.status, refused.header("cache-control")) == (status, "no-store")


def test_the_log_of_a_server_without_public_host_is_named_after_localhost(tenant: Tenant) -> None:
    """And its checkpoint follows the log within a second, or at once where a proof needs it."""
    answer = tenant.server.get(checkpoint_page(tenant), tenant.token())
    assert answer.body.startswith(f"localhost/log/{tenant.name}\n".encode())


# Proofs.


def test_a_proof_of_any_record_leads_to_a_signed_root(still: Tenant) -> None:
    """The first, the last, those beside the border of a tile; as a file, and as JSON."""
    log = still.log()
    for seq in (0, 1, 2, 127, 128, 254, 255, 256, 257, ENTRIES - 2, ENTRIES - 1):
        entry = log[seq]
        record_id = json.loads(entry.record)["_id"]
        told = json_proof(still, record_id)
        check(told)
        assert (told["seq"], told["record"].encode()) == (seq, entry.record)
        proof, salt = file_proof(still, record_id)
        assert (proof.index, salt) == (seq, entry.salt)
        _, size, root = signed_by_hand(str(proof.note), told["key"])
        assert climb(seq, size, leaf_of(salt, entry.record), proof.hashes) == root


def test_a_proof_does_not_fit_another_record(tenant: Tenant) -> None:
    """One byte, one place, one salt further, it leads elsewhere."""
    told = json_proof(tenant, record(tenant, target_id="x"))
    hashes = [b64decode(one) for one in told["proof"]]
    salt = b64decode(told["salt"])
    _, size, root = signed_by_hand(told["checkpoint"], told["key"])
    for seq, leaf in (
        (told["seq"], leaf_of(salt, told["record"].replace('"x"', '"y"').encode())),
        (told["seq"] - 1, leaf_of(salt, told["record"].encode())),
        (told["seq"], leaf_of(salt[::-1], told["record"].encode())),
    ):
        with pytest.raises(InvalidEvidence):
            check_inclusion(seq, size, leaf, hashes, root)


def test_a_record_is_proven_with_its_exact_bytes(tenant: Tenant) -> None:
    """As a string in JSON: no program in between must render it again the same way."""
    record_id = record(tenant, target_name='\u2028 "\\/ \u007f é \U0001f600', metadata={"a": [1.0, 1e22, "\t"]})
    told = json_proof(tenant, record_id)
    assert told["record"].encode() == entry_of(tenant, record_id).record
    check(told)


def test_a_record_can_be_proven_right_after_it_is_recorded_while_others_record(tenant: Tenant) -> None:
    """The checkpoint covers it, though the one that was signed last may be a second old."""
    text, done = tenant.token(), threading.Event()

    def go_on(_: int) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", tenant.server.port, timeout=20)
        count = 0
        while not done.is_set():
            connection.request("POST", ACTIONS, json.dumps([action()] * 20), {"Authorization": f"Bearer {text}"})
            response = connection.getresponse()
            count += response.status == 201
            response.read()
        connection.close()
        return count

    with ThreadPoolExecutor(4) as pool:
        others = [pool.submit(go_on, at) for at in range(4)]
        try:
            signed = [check(json_proof(tenant, record(tenant, target_id=f"mine-{at}"))) for at in range(30)]
        finally:
            done.set()
        assert all(other.result() > 10 for other in others)
    assert signed[-1].checkpoint.size > 30 * 20
    sizes = [one.checkpoint.size for one in signed]
    assert sizes == sorted(sizes)
    leaves = [leaf_of(entry.salt, entry.record) for entry in tenant.log()]
    for one in signed:
        assert one.checkpoint.root == root_of(leaves[: one.checkpoint.size])
    assert tenant.check() == []


def test_a_token_use_can_be_proven_too(tenant: Tenant) -> None:
    """Whatever is in the log; also the use of the call before."""
    tenant.server.get(ACTIONS, tenant.token())
    use = tenant.last_use()
    told = json_proof(tenant, use["_id"])
    check(told)
    assert json.loads(told["record"]) == use


# Consistency.


def test_the_log_only_grew_from_any_size_to_any_other(still: Tenant, leaves: list[bytes]) -> None:
    """Checked against the roots of the entries; JSON as docs/FORMAT.md has it."""
    sizes = (0, 1, 2, 3, 4, 7, 8, 9, 127, 128, 129, 255, 256, 257, 299, ENTRIES)
    for old, new in itertools.combinations_with_replacement(sizes, 2):
        answer = still.server.get(consistency_page(old, new), still.token())
        assert (answer.status, answer.header("content-type")) == (200, "application/json")
        assert answer.header("cache-control") == "no-store"
        told = answer.json
        assert list(told) == ["from", "to", "proof"]
        assert (told["from"], told["to"]) == (old, new)
        hashes = [b64decode(one, validate=True) for one in told["proof"]]
        check_consistency(old, new, root_of(leaves[:old]), root_of(leaves[:new]), hashes)
        if old in (0, new):
            assert hashes == []


def test_without_to_it_is_the_newest_checkpoint_which_comes_along(tenant: Tenant) -> None:
    """So one call leads from an old checkpoint to the new one."""
    first = json_proof(tenant, record(tenant))
    old = check(first).checkpoint
    check(json_proof(tenant, record(tenant)))
    told = tenant.server.get(consistency_page(old.size), tenant.token()).json
    assert list(told) == ["from", "to", "proof", "checkpoint"]
    new = open_checkpoint(told["checkpoint"], [Verifier.parse(first["key"])]).checkpoint
    assert (told["from"], told["to"]) == (old.size, new.size)
    assert new.size > old.size
    check_consistency(old.size, new.size, old.root, new.root, [b64decode(one) for one in told["proof"]])


# Logs that are open to everyone.


def test_a_public_log_asks_nobody_for_a_token_and_records_nobody(still: Tenant) -> None:
    """One that is sent is ignored, good or bad: answers are the same, and leave nothing."""
    pages = [checkpoint_page(still), f"/log/{still.name}/tile/0/000", f"/log/{still.name}/tile/0/x001/000",
             f"/log/{still.name}/tile/x", f"/log/{still.name}/", "/log/nobody/checkpoint", "/log/"]  # fmt: skip
    texts = (still.token(), still.token(Scope.TASKS, Role.USER), "garbage")
    still.server.get(checkpoint_page(still))
    size = still.size()
    for page in pages:
        first = still.server.get(page)
        assert first.status == (200 if pages.index(page) < 2 else 404)
        assert first.header("vary") is None
        for text in texts:
            answer = still.server.get(page, text)
            assert answer.status == first.status
            if page != pages[0]:  # which may be signed anew meanwhile
                assert shape(answer) == shape(first)
        refused = still.server.post(page, still.token(), {})
        assert refused.status == (404 if page in ("/log/", f"/log/{still.name}/") or page.endswith("/x") else 405)
        if refused.status == 405:
            assert refused.header("allow") == "GET, HEAD"
    assert still.size() == size


def test_a_public_log_keeps_its_records_to_itself(still: Tenant) -> None:
    """Proofs and consistency still need a token: a proof has a record's salt, or the record."""
    record_id = json.loads(still.log()[3].record)["_id"]
    for page in (proof_page(record_id), consistency_page(1, 2), ACTIONS):
        problem(still.server.get(page), 401)
        problem(still.server.get(page, still.token(Scope.TASKS, Role.USER)), 403)


def test_only_a_public_server_says_in_its_document_that_no_token_is_needed(public: Running, server: Running) -> None:
    """For the pages of a log; not for proofs."""
    for running, open_ in ((public, True), (server, False)):
        paths = running.get("/openapi.json").json["paths"]
        assert ("security" not in paths["/log/{account}/checkpoint"]["get"]) == open_
        assert "security" in paths["/api/v2/logs/{_id}/proof"]["get"]


@pytest.mark.parametrize(("flag", "in_file", "status"), [
    ("--public-log", "false", 200), ("--public-log=true", "false", 200), ("--no-public-log", "true", 401),
    ("--public-log=false", "true", 401), ("", "true", 200), ("", "false", 401),
])  # fmt: skip
def test_a_log_is_made_public_by_a_flag(tmp_path: Path, flag: str, in_file: str, status: int) -> None:
    """It wins over the file, in both directions."""
    command = Whodid(tmp_path)
    command("account", "add", "org-acme")
    file = command.write("whodid.toml", f"public_log = {in_file}\n".encode())
    flags = [flag] if flag else []
    with command.running("serve", "--port", "0", "--config", file, *flags) as process:
        assert process.stdout is not None
        port = re.findall(rb":(\d+) ", process.stdout.readline())[0]
        connection = http.client.HTTPConnection("127.0.0.1", int(port), timeout=20)
        connection.request("GET", "/log/org-acme/checkpoint")
        assert connection.getresponse().status == status
        connection.close()


# The server itself.


def test_head_is_get_without_a_body(still: Tenant) -> None:
    """The same status and headers, length included."""
    record_id = json.loads(still.log()[5].record)["_id"]
    for page, text in (
        (f"/log/{still.name}/tile/0/000", None), (f"/log/{still.name}/tile/entries/000.p/7", None),
        (f"/log/{still.name}/tile/0/009", None), (consistency_page(3, 200), still.token()),
        (proof_page("f" * 24), still.token()), (proof_page(record_id), None),
    ):  # fmt: skip
        got, headed = (still.server.call(method, page, text) for method in ("GET", "HEAD"))
        assert headed.body == b""
        assert shape(got)[:2] == shape(headed)[:2]
        assert int(headed.header("content-length") or 0) == len(got.body) > 0
    for page, text in ((checkpoint_page(still), None), (proof_page(record_id), still.token())):
        headed = still.server.call("HEAD", page, text)
        assert (headed.status, headed.body) == (200, b"")
        assert int(headed.header("content-length") or 0) > 100


def test_metrics_label_pages_and_no_account(tenant: Tenant) -> None:
    """A page's route, not the path: else there were as many labels as tiles."""
    record_id = record(tenant)
    for page in (
        checkpoint_page(tenant), f"/log/{tenant.name}/tile/0/000.p/1", f"/log/{tenant.name}/tile/entries/000.p/1",
        proof_page(record_id), proof_page("{_id}"), consistency_page(1), f"/log/{tenant.name}/nowhere",
    ):  # fmt: skip
        tenant.server.get(page, tenant.token())
    counted = tenant.server.metrics()
    routes = {match[1] for name in counted if (match := re.search(r'route="([^"]*)"', name))}
    assert {
        "/log/{account}/checkpoint", "/log/{account}/tile/{level}/{number}", "/api/v2/logs/{_id}/proof",
        "/api/v2/log/consistency", "unknown",
    } <= routes  # fmt: skip
    assert not [route for route in routes if tenant.name in route or record_id in route]


def test_a_template_is_no_path(still: Tenant) -> None:
    """Whatever a page is called inside."""
    for page in ("/log/{account}/checkpoint", "/log/%7Baccount%7D/checkpoint", "/log/{account}/tile/{level}/{number}"):
        problem(still.server.get(page), 404)


def contradicted(folder: Path, url: str) -> tuple[str, str]:
    """A store that was put back to an old copy after more was signed; the account and a token of it."""
    with Running(folder, url) as server, tenant_of(server) as tenant:
        name, text = tenant.name, tenant.token()
        assert server.get(ACTIONS, text).status == 200
    with old_copy(url, folder), Running(folder, url) as server:
        assert server.post(ACTIONS, text, [action()] * 5).status == 201
        assert server.get(f"/log/{name}/checkpoint", text).status == 200
    return name, text


def test_a_log_that_contradicts_what_was_signed_has_no_evidence_any_more(tmp_path: Path, store_url: str) -> None:
    """500, recorded as a failure; what is wrong, and where, is in the server's log, not in the answer."""
    name, text = contradicted(tmp_path, store_url)
    with Running(tmp_path, store_url) as server, tenant_of(server, name) as tenant:
        record_id = json.loads(tenant.log()[0].record)["_id"]
        pages = [f"/log/{name}/checkpoint", f"/log/{name}/tile/0/000.p/1", f"/log/{name}/tile/entries/000.p/1",
                 proof_page(record_id), consistency_page(1), consistency_page(1, 2)]  # fmt: skip
        for page in pages:
            answer = server.get(page, text)
            told = problem(answer, 500, "the server's log tells more", answer.header("x-request-id") or "?")
            assert told["code"] == "inconsistent_log"
            assert str(tmp_path) not in answer.body.decode()
            assert answer.header("cache-control") == "no-store"
            assert trace_of(tenant) == (page.partition("?")[0].removeprefix("/api"), "failure")
        assert server.get(ACTIONS, text).status == 200
        errors = [line for line in server.log if line["message"].startswith("a request failed: ")]
        assert len(errors) == len(pages)
        assert str(tmp_path) in errors[0]["message"]
        assert all(line["level"] == "error" and line["request_id"] for line in errors)


@pytest.mark.parametrize("column", ["salt", "commitment"])
def test_an_entry_that_was_changed_is_not_proven(tmp_path: Path, store_url: str, column: str) -> None:
    """By someone who can write the store; what was signed before stands against it."""
    with Running(tmp_path, store_url) as server, tenant_of(server) as tenant:
        record_id = record(tenant)
        check(json_proof(tenant, record_id))
        entry = entry_of(tenant, record_id)
        overwrite(store_url, column, bytes(len(getattr(entry, column))), entry.seq)
        told = problem(server.get(proof_page(record_id), tenant.token()), 500)
        assert told["code"] == "inconsistent_log"
        assert trace_of(tenant)[1] == "failure"


def test_a_call_that_meets_a_flaw_of_the_program_is_in_the_log_too(tmp_path: Path, store_url: str) -> None:
    """As a failure; where the flaw is, the server's log tells, and the answer does not."""
    flaw = (
        "from whodid.evidence.serving import Evidence\nasync def flawed(*_): return 1 / 0\nEvidence.checkpoint = flawed"
    )
    with Running(tmp_path, store_url, before=flaw) as server, tenant_of(server) as tenant:
        answer = server.get(checkpoint_page(tenant), tenant.token())
        told = problem(answer, 500, "an internal error", answer.header("x-request-id") or "?")
        assert told["code"] == "internal_error"
        assert b"ZeroDivision" not in answer.body
        assert trace_of(tenant) == (checkpoint_page(tenant), "failure")
        (line,) = [one for one in server.log if one["message"].startswith("a request failed: ")]
        assert "ZeroDivisionError" in line["message"]
        assert "in flawed" in line["exception"]
