"""Exports to files: whole, also over connections that break."""

import csv
import gzip
import io
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.acceptance.running import ACTIONS, Tenant
from tests.building import NOW_MS, action
from tests.client.conftest import url_of
from tests.client.driving import Clients
from tests.client.misbehaving import between, cut_after, hang_up, refuse, say

from whodid import Client
from whodid.client import ApiError, InvalidAnswer, NoAnswer
from whodid.client.calls import Broken
from whodid.client.downloads import Download
from whodid.client.retrying import Patience, log_trouble
from whodid.errors import InvalidParameter

COUNT = 300
TASKS: Any = {"type": "task"}


@pytest.fixture
def filled(tenant: Tenant) -> Tenant:
    """An account with actions, some with line breaks and quotation marks in them."""
    events = [action(type="task", target_id=f"t{n}", reason='a "b"\r\n,c\n' * (n % 3) or "-") for n in range(COUNT)]
    assert tenant.server.post(ACTIONS, tenant.token(), events).status == 201
    return tenant


def targets(text: str, form: str) -> list[str]:
    """What the records of a file are about."""
    if form == "ndjson":
        return [json.loads(line)["target_id"] for line in text.splitlines()]
    return [row["target_id"] for row in csv.DictReader(io.StringIO(text, newline=""), strict=True)]


ALL = [f"t{n}" for n in range(COUNT)]


@pytest.mark.parametrize("form", ["ndjson", "csv"])
def test_an_export_is_a_file(clients: Clients, filled: Tenant, tmp_path: Path, form: Any) -> None:
    """Whole, for its owner alone; and the size and the last number are told."""
    file = tmp_path / "out"
    told = clients(url_of(filled), filled.token()).export(file, format=form, **TASKS)
    text = file.read_bytes().decode()
    assert targets(text, form) == ALL
    assert (told.size_bytes, told.records) == (len(text.encode()), COUNT)
    assert told.last_seq == max(entry.seq for entry in filled.log() if b'"t299"' in entry.record)
    assert file.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("form", ["ndjson", "csv"])
def test_an_export_goes_on_where_it_broke(clients: Clients, filled: Tenant, form: Any) -> None:
    """Anywhere; the file has every record once, and is the one that would have come at once."""
    whole, pieced = io.BytesIO(), io.BytesIO()
    clients(url_of(filled), filled.token()).export(whole, format=form, **TASKS)
    breaks = [cut_after(5_000), hang_up, cut_after(0), cut_after(30_001), cut_after(100)]
    with between(*breaks, port=filled.server.port) as server:
        told = clients(server.url, filled.token()).export(pieced, format=form, **TASKS)
    assert pieced.getvalue() == whole.getvalue()
    assert targets(pieced.getvalue().decode(), form) == ALL
    assert (told.size_bytes, told.records) == (len(whole.getvalue()), COUNT)
    assert len(server.asked) == 6


def test_an_export_that_keeps_breaking_is_given_up(clients: Clients, filled: Tenant, tmp_path: Path) -> None:
    """After so many times without a record more; and there is no file then, nor a piece of one."""
    with (
        between(*[cut_after(20)] * 9, port=filled.server.port) as server,
        pytest.raises(NoAnswer, match="3 times in a row"),
    ):
        clients(server.url, filled.token(), attempts=3).export(tmp_path / "out")
    assert len(server.asked) == 3
    assert list(tmp_path.iterdir()) == []


def test_an_export_without_an_end_is_given_up_in_time(clients: Clients, filled: Tenant) -> None:
    """As any call: when it has not come on for so long."""
    with (
        between(*[cut_after(20)] * 99, port=filled.server.port) as server,
        pytest.raises(NoAnswer, match="times in a row"),
    ):
        clients(server.url, filled.token(), deadline_seconds=60).export(io.BytesIO())
    assert 30 < sum(clients.pauses) <= 60


@pytest.mark.parametrize("form", ["ndjson", "csv"])
def test_an_export_that_was_given_up_can_be_gone_on_with(clients: Clients, filled: Tenant, form: Any) -> None:
    """The error tells how far it came; what is written after that completes the file."""
    whole, pieced = io.BytesIO(), io.BytesIO()
    clients(url_of(filled), filled.token()).export(whole, format=form, **TASKS)
    with between(cut_after(20_000), hang_up, port=filled.server.port) as server:
        client = clients(server.url, filled.token(), attempts=1)
        with pytest.raises(NoAnswer) as broken:
            client.export(pieced, format=form, **TASKS)
        told = broken.value.exported
        assert told is not None
        assert told.records is not None
        assert told.size_bytes == len(pieced.getvalue())
        client = clients(url_of(filled), filled.token())
        rest = client.export(pieced, format=form, after=told.last_seq, header=form != "csv", **TASKS)
    assert pieced.getvalue() == whole.getvalue()
    assert rest.records is not None
    assert told.records + rest.records == COUNT
    assert 0 < told.records < COUNT


def test_only_what_has_a_header_can_be_had_without_one(client: Client) -> None:
    """A CSV, and not in a packed file."""
    for more in ({"format": "ndjson"}, {"format": "csv", "compression": "gzip"}):
        given: Any = more
        with pytest.raises(InvalidParameter, match="header=False is for CSV"):
            client.export(io.BytesIO(), header=False, **given)


def test_what_is_packed_is_not_gone_on_with(clients: Clients, filled: Tenant, tmp_path: Path) -> None:
    """Two pieces would not make one file. If it all comes, it is one."""
    with between(cut_after(50), port=filled.server.port) as server:
        client = clients(server.url, filled.token())
        with pytest.raises(NoAnswer, match="what is packed can't be gone on with"):
            client.export(tmp_path / "out", compression="gzip")
        assert list(tmp_path.iterdir()) == []
        told = client.export(tmp_path / "out", format="csv", compression="gzip", **TASKS)
    assert targets(gzip.decompress((tmp_path / "out").read_bytes()).decode(), "csv") == ALL
    assert told.last_seq is None


def test_an_export_begins_after_what_is_there_already(client: Client, filled: Tenant) -> None:
    """By the number of the last record."""
    first, rest = io.BytesIO(), io.BytesIO()
    told = client.export(first, q="type:task")
    assert told.last_seq is not None
    assert client.export(rest, q="type:task", after=told.last_seq).size_bytes == 0


def test_ages_mean_the_same_in_all_attempts(clients: Clients, filled: Tenant) -> None:
    """Those of when the export began."""
    with between(cut_after(5_000), port=filled.server.port) as server:
        clients(server.url, filled.token(), clock=lambda: NOW_MS).export(io.BytesIO(), since="1h")
    assert all(f"since={NOW_MS - 3_600_000}" in asked.path for asked in server.asked)


def test_a_refused_export_leaves_no_file(clients: Clients, tmp_path: Path) -> None:
    """Nor does one that does not end, or that is none."""
    with between(refuse(403, "forbidden"), say(200, b"<html>\n"), say(200, b'{"seq":1,"a":2')) as server:
        client = clients(server.url)
        with pytest.raises(ApiError):
            client.export(tmp_path / "out")
        for words in ("does not begin with the record's number", "in the middle of a record"):
            with pytest.raises(InvalidAnswer, match=words):
                client.export(tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_can_not_be_written_is_an_error(client: Client, tmp_path: Path) -> None:
    """It says which."""
    with pytest.raises(InvalidParameter, match=r"can't write .*nowhere"):
        client.export(tmp_path / "nowhere" / "out")


# However a file comes, in whatever pieces, and wherever it breaks.

TEXTS = st.text(alphabet='a",\r\n\u00e9 {', max_size=12)


def made(form: str, texts: list[str], after: int) -> bytes:
    """The file of the records after a number."""
    rows = [(seq, text) for seq, text in enumerate(texts) if seq > after]
    if form == "ndjson":
        return "".join(f'{{"seq":{seq},"x":{json.dumps(text)}}}\n' for seq, text in rows).encode()
    out = io.StringIO(newline="")
    writer = csv.writer(out, quoting=csv.QUOTE_MINIMAL, lineterminator="\r\n")
    writer.writerows([("seq", "x"), *rows])
    return out.getvalue().encode()


def pieces(data: bytes, chance: random.Random) -> Iterator[bytes]:
    """The same bytes, cut anywhere."""
    while data:
        size = chance.randint(1, 9)
        yield data[:size]
        data = data[size:]


@given(st.sampled_from(["ndjson", "csv"]), st.lists(TEXTS, max_size=12), st.lists(st.integers(0, 90)), st.randoms())
def test_pieces_and_breaks_leave_no_trace(
    form: str, texts: list[str], breaks: list[int], chance: random.Random
) -> None:
    """What is handed on is the file, byte for byte; and what was handed on at any break ends with a record."""
    patience = Patience(
        attempts=99,
        deadline_seconds=9e9,
        monotonic=lambda: 0,
        clock=lambda: NOW_MS,
        random=random.Random(1),
        tell=log_trouble,
    )
    download = Download(patience, "http://a.example", (), form, packed=False, after=None)
    got = b""
    for size in [*breaks, None]:
        opening = download.open()
        call: Any = opening.send(None)
        parameters = dict(call.parameters)
        with pytest.raises(StopIteration):
            opening.send(_answer())
        data = made(form, texts, int(parameters.get("after", -1)))
        for piece in pieces(data[:size], chance):
            got += download.take(piece)
            assert made(form, texts, -1).startswith(got)
            assert not got or got.endswith(b"\n")
        if size is not None:
            list(download.break_off(Broken("x")))
    assert got == made(form, texts, -1)
    told = download.end()
    assert told.last_seq == (len(texts) - 1 if texts else None)
    assert told.records == len(texts)


def _answer() -> Any:
    from whodid.client.calls import Answer

    return Answer(200, {})
