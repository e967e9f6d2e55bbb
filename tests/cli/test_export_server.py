"""``whodid export`` from a server: the file that it makes, whole or not at all."""

import csv
import gzip
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.acceptance.running import Running, Tenant, tenant_of
from tests.cli.running import ACCOUNT, Finished, Whodid

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
    """Evidence is made where the store is; a mark for spreadsheets as well."""
    assert "--evidence is for a store" in export(tenant, "--evidence", status=2).err
    assert "--bom is for a store" in export(tenant, "--format", "csv", "--bom", status=2).err
    assert "--url goes with neither" in export(tenant, "--account", ACCOUNT, status=2).err
