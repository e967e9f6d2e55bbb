"""``whodid export`` from a server: the file that it makes, whole or not at all."""

import csv
import gzip
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.acceptance.running import Running, Tenant, tenant_of
from tests.cli.running import ACCOUNT, Finished, Whodid
from tests.client.misbehaving import between, cut_after, refuse

pytestmark = pytest.mark.on_sqlite_only("a server's store is nothing to who calls it")


@pytest.fixture
def tenant(store_url: str, tmp_path: Path) -> Iterator[Tenant]:
    """An account of a running server, with some actions."""
    with Running(tmp_path, store_url) as server, tenant_of(server, ACCOUNT) as made:
        events = [{"user_id": "0" * 24, "type": "task", "action": "create", "target_id": f"t{n}"} for n in range(5)]
        assert server.post("/api/v1/logs/user/actions", made.token(), events).status == 201
        yield made


def export(tenant: Tenant, *more: str, status: int = 0) -> Finished:
    """Export from the server, with a token of the environment."""
    whodid = Whodid(tenant.server.folder, tenant.server.url)
    url = f"http://127.0.0.1:{tenant.server.port}"
    return whodid("export", "--url", url, *more, status=status, WHODID_TOKEN=tenant.token())


def test_an_export_goes_to_standard_output(tenant: Tenant) -> None:
    """Only what is asked for, the oldest first, with the records' numbers."""
    out = export(tenant, "--q", "type:task -target:t3", "--kind", "action", "--from", "1h").out.splitlines()
    records = [json.loads(line) for line in out]
    assert [record["target_id"] for record in records] == ["t0", "t1", "t2", "t4"]
    assert all("seq" in record for record in records)
    assert export(tenant, "--to", "1h").out == ""


def test_an_export_is_a_file_as_its_name_says(tenant: Tenant) -> None:
    """Format and packing; the log tells of it."""
    told = export(tenant, "--q", "type:task", "--output", "out.csv.gz")
    text = gzip.decompress((tenant.server.folder / "out.csv.gz").read_bytes()).decode()
    assert [row["target_id"] for row in csv.DictReader(text.splitlines())] == [f"t{n}" for n in range(5)]
    assert (told.out, "out.csv.gz" in told.err) == ("", True)
    assert any(b'"type":"export"' in entry.record for entry in tenant.log())


def test_a_refused_export_leaves_no_file(tenant: Tenant) -> None:
    """Nor an old one changed."""
    file = tenant.server.folder / "out.ndjson"
    file.write_text("old")
    assert "q, character" in export(tenant, "--q", "(", "--output", "out.ndjson", status=1).err
    assert file.read_text() == "old"


def test_what_a_server_does_not_make_is_refused(tenant: Tenant) -> None:
    """Evidence is made where the store is; and what is packed there can't be changed here."""
    assert "--evidence is for a store" in export(tenant, "--evidence", status=2).err
    for option in (("--bom",), ("--after", "1")):
        told = export(tenant, "--output", "out.csv.gz", *option, status=2).err
        assert f"{option[0]} is for a CSV that is not packed" in told
    assert "--url goes with neither" in export(tenant, "--account", ACCOUNT, status=2).err


def test_a_csv_for_spreadsheets_has_a_mark(tenant: Tenant) -> None:
    """As that of a store; and how many records it has is said."""
    told = export(tenant, "--q", "type:task", "--bom", "--output", "out.csv")
    assert (tenant.server.folder / "out.csv").read_bytes().startswith(b"\xef\xbb\xbfseq,kind")
    assert told.err == "exported 5 records to out.csv\n"


@pytest.mark.parametrize("form", ["ndjson", "csv"])
def test_server_and_store_write_the_same(tenant: Tenant, form: str) -> None:
    """Byte for byte; and both go on alike."""
    of_server = export(tenant, "--q", "type:task", "--format", form).out
    whodid = Whodid(tenant.server.folder, tenant.server.url)
    assert whodid("export", "--account", ACCOUNT, "--q", "type:task", "--format", form).out == of_server
    seq = next(entry.seq for entry in tenant.log() if b'"t2"' in entry.record)
    rest = export(tenant, "--q", "type:task", "--format", form, "--after", str(seq)).out
    assert [len(text.splitlines()) for text in (of_server, rest)] == [5 + (form == "csv"), 2]
    assert of_server.endswith(rest)


def test_an_export_that_breaks_off_keeps_what_it_has(tenant: Tenant) -> None:
    """Once the server has answered nothing more for its time; it says how to go on, and that it tried again."""
    whole = export(tenant, "--q", "type:task").out
    gone = [refuse(500, "internal")] * 2
    with between(cut_after(700), *gone, port=tenant.server.port) as server:
        whodid = Whodid(tenant.server.folder)
        given = ("export", "--url", server.url, "--q", "type:task", "--output")
        told = whodid(*given, "out.ndjson", status=1, WHODID_TOKEN=tenant.token()).err
        to_output = whodid(*given, "-", status=1, WHODID_TOKEN=tenant.token())
    part = (tenant.server.folder / "out.ndjson.part").read_text()
    last = json.loads(part.splitlines()[-1])["seq"]
    assert f"out.ndjson.part has all records up to number {last}; to go on, " in told
    assert part + export(tenant, "--q", "type:task", "--after", str(last)).out == whole
    assert not (tenant.server.folder / "out.ndjson").exists()
    assert to_output.out == ""
