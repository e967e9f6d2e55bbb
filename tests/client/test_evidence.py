"""Evidence with the client: what is proven passes, and what was forged does not, whoever forged it."""

import json
from pathlib import Path
from typing import Any

import pytest
from tests.acceptance.proving import record as record_action
from tests.acceptance.running import Tenant
from tests.cli.running import Whodid
from tests.client.conftest import url_of
from tests.client.driving import Clients
from tests.client.misbehaving import Doing, Handler, between, refuse, say

from whodid import Client
from whodid.checkpoint import Checkpoint
from whodid.client import ApiError
from whodid.errors import InvalidEvidence, InvalidParameter
from whodid.notes import Note
from whodid.verify.steps import Contradiction


@pytest.fixture
def key(tenant: Tenant) -> str:
    """The log's verifier key, as its operator has it."""
    record_id = record_action(tenant)
    answer = tenant.server.get(f"/api/v2/logs/{record_id}/proof", tenant.token(), Accept="application/json")
    return str(answer.json["key"])


def changed(**given: Any) -> Doing:
    """The server's answer, with other values in it."""

    def change(handler: Handler) -> None:
        status, headers, body = handler.ask()
        handler.send(status, headers, json.dumps({**json.loads(body), **given}).encode())

    return change


def size_of(note: str) -> int:
    """How many entries a checkpoint is of."""
    return Checkpoint.parse(Note.parse(note).text).size


def test_a_record_that_was_read_is_proven(client: Client, tenant: Tenant, key: str) -> None:
    """The very one, and with the checkpoint that proves it."""
    record_id = record_action(tenant, metadata={"n": 1.0, "deep": [True, {"x": None}]})
    read = client.record(record_id)
    proven = client.verify_record(read, key=key)
    assert proven.record == read
    assert size_of(proven.checkpoint) > read["seq"]
    assert client.verify_record(record_id, key=[key]).record == read


@pytest.mark.parametrize(
    "change", [{"outcome": "success"}, {"seq": 1}, {"type": "policy"}, {"metadata": {"n": True}}, {"more": None}]
)
def test_a_record_that_was_read_otherwise_is_refused(client: Client, tenant: Tenant, key: str, change: Any) -> None:
    """Also where Python takes both values for the same."""
    read = client.record(record_action(tenant, metadata={"n": 1}))
    with pytest.raises(InvalidEvidence, match=f"other content than was read: {next(iter(change))}"):
        client.verify_record({**read, **change}, key=key)


def test_a_proof_of_another_record_is_refused(clients: Clients, tenant: Tenant, key: str) -> None:
    """However good it is."""
    wanted, other = record_action(tenant), record_action(tenant)
    answer = tenant.server.get(f"/api/v2/logs/{other}/proof", tenant.token(), Accept="application/json")
    with between(say(200, answer.body)) as server, pytest.raises(InvalidEvidence, match=f"not of {wanted}"):
        clients(server.url).verify_record(wanted, key=key)


def test_a_changed_proof_is_refused(clients: Clients, tenant: Tenant, key: str) -> None:
    """In its record, its number, or as a whole."""
    record_id = record_action(tenant)
    good = tenant.server.get(f"/api/v2/logs/{record_id}/proof", tenant.token(), Accept="application/json").json
    forged = good["record"].replace("pipeline", "policy")
    for doing in (changed(record=forged), changed(seq=good["seq"] - 1), say(200, b"{}")):
        with between(doing, port=tenant.server.port) as server, pytest.raises(InvalidEvidence, match="not proven"):
            clients(server.url, tenant.token()).verify_record(record_id, key=key)


def test_another_key_or_a_missing_witness_proves_nothing(client: Client, tenant: Tenant, key: str) -> None:
    """The key that the server sends along is not looked at."""
    other = "localhost/log/x+b0d3d6a6+AVlb0vPCl0ZbIPlxSTR8aZWlP3YBQUqrGCSTgBi+T1M0"
    record_id = record_action(tenant)
    with pytest.raises(InvalidEvidence):
        client.verify_record(record_id, key=other)
    with pytest.raises(InvalidEvidence):
        client.verify_growth(None, key=other)
    with pytest.raises(InvalidEvidence, match="not a witness's"):
        client.verify_record(record_id, key=key, witnesses=[key])


def test_keys_are_taken_as_they_are_handed_out(client: Client, tenant: Tenant, tmp_path: Path) -> None:
    """Alone, in a list, in the table that ``key show`` prints; and that table's file. As ``whodid verify`` does."""
    record_id = record_action(tenant)
    whodid = Whodid(tenant.server.folder, tenant.server.url)
    file, text = tmp_path / "acme.key", whodid("key", "show").out
    file.write_text(text)
    keys = [one["verifier_key"] for one in whodid("key", "show", "--account", tenant.name, "--json").json]
    for key in (text, file, [file], keys, f"# of ann\n{keys[0]}\n"):
        assert client.verify_record(record_id, key=key).record["_id"] == record_id
    for key, words in ((tmp_path / "gone", "can't read .*gone"), ("acme.key", "a file is given as a Path")):
        with pytest.raises((InvalidParameter, InvalidEvidence), match=words):
            client.verify_record(record_id, key=key)
    file.write_bytes(b"\xff")
    with pytest.raises(InvalidEvidence, match=r"no verifier key in the file .*acme\.key"):
        client.verify_growth(None, key=file)


def test_a_record_that_is_not_there_is_not_proven(client: Client, key: str) -> None:
    """That is the server's to say."""
    with pytest.raises(ApiError) as told:
        client.verify_record("0" * 24, key=key)
    assert told.value.status == 404
    with pytest.raises(InvalidParameter):
        client.verify_record("../me", key=key)


def test_a_log_that_grew_is_proven_to_have_grown(client: Client, tenant: Tenant, key: str) -> None:
    """From each checkpoint to the next, from none at all to the first, and from what proved a record."""
    first = client.verify_growth(None, key=key)
    proven = client.verify_record(record_action(tenant), key=key)
    assert size_of(proven.checkpoint) > size_of(first)
    newest = client.verify_growth(first.encode(), key=key)
    assert size_of(newest) >= size_of(first)
    assert client.verify_growth(newest, key=key) is not None


def test_a_log_that_did_not_grow_from_there_is_refused(clients: Clients, tenant: Tenant, key: str) -> None:
    """A proof that does not fit, one of other sizes, and one that is none."""
    client = clients(url_of(tenant), tenant.token())
    earlier = client.verify_record(record_action(tenant), key=key).checkpoint
    client.verify_record(record_action(tenant), key=key)
    size = size_of(earlier)
    for doing in (
        changed(proof=["AAAA"]),
        changed(proof=["A" * 43 + "="] * 9),
        changed(**{"from": size - 1}),
        changed(to=size + 99),
        changed(checkpoint=""),
        changed(checkpoint="x"),
        say(200, b"[]"),
    ):
        with between(doing, port=tenant.server.port) as server, pytest.raises(InvalidEvidence):
            clients(server.url, tenant.token()).verify_growth(earlier, key=key)


def test_a_log_that_shows_an_older_checkpoint_is_refused(clients: Clients, tenant: Tenant, key: str) -> None:
    """It may be late, or was rolled back; a server says that with 400, or gives the older one."""
    client = clients(url_of(tenant), tenant.token())
    old = tenant.server.get("/api/v2/log/consistency?from=0", tenant.token()).body
    earlier = client.verify_record(record_action(tenant), key=key).checkpoint
    with (
        between(refuse(400, "invalid_parameter"), say(200, old)) as server,
        pytest.raises(InvalidEvidence, match="older than yours") as told,
    ):
        clients(server.url).verify_growth(earlier, key=key)
    assert not isinstance(told.value, Contradiction)
    assert [asked.path.partition("=")[2] for asked in server.asked] == [str(size_of(earlier)), "0"]


def test_an_earlier_checkpoint_must_be_good_itself(clients: Clients, key: str) -> None:
    """Before anything is asked for."""
    with between() as server, pytest.raises(InvalidEvidence):
        clients(server.url).verify_growth("no checkpoint", key=key)
    assert server.asked == []
