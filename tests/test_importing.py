"""Reading files of records: whatever their form and however they come apart, the same records are found."""

import gzip
import io
import itertools
import json
import os
import tracemalloc
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st
from tests.building import NOW_MS, ManualClock, action, add_account, flat, new_id, token_use

from whodid.errors import MalformedBody, StoreUnavailable
from whodid.importing import Loader, RecordFile, Retries, Tally
from whodid.importing.loading import kind_of
from whodid.importing.splitting import MAX_RECORD_BYTES, split
from whodid.ingest import Completer, Directory
from whodid.records import IdMaker, Kind
from whodid.store.base import Account, Prepared, Result, Submission
from whodid.store.sqlite import SqliteStore

ABOVE_ALL = 10**12
"""Ids from here on are nobody else's."""

CREATED = "2021-07-30T16:13:52.109Z"

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.sampled_from('ab{}[]",:\\\n é')),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text('ab{}"\\[', max_size=3), inner, max_size=3),
    max_leaves=8,
)
objects = st.lists(st.dictionaries(st.text("abc", min_size=1, max_size=3), values, max_size=4), max_size=5)


def pieces_of(data: bytes, sizes: list[int]) -> Iterator[bytes]:
    """The data in pieces of these sizes, again and again."""
    stream = io.BytesIO(data)
    for size in itertools.cycle(sizes or [len(data) + 1]):
        piece = stream.read(size)
        if not piece:
            return
        yield piece


def found(data: bytes, sizes: list[int] | None = None) -> list[Any]:
    """The records found in the data, parsed."""
    _, records = split(pieces_of(data, sizes or []))
    return [json.loads(record.data) for record in records]


def read(data: bytes) -> list[bytes]:
    """The records of a file."""
    return [record.data for batch in RecordFile("file", io.BytesIO(data)).batches() for record in batch.records]


sizes = st.lists(st.integers(1, 40), max_size=5)
indents = st.sampled_from([None, 0, 3])


@given(objects, sizes, indents, st.booleans())
def test_an_array_is_taken_apart_as_a_parser_would(
    records: list[Any], sizes: list[int], indent: int | None, ascii_only: bool
) -> None:
    """Whatever its strings hold, however it is laid out, wherever its pieces end."""
    data = json.dumps(records, indent=indent, ensure_ascii=ascii_only).encode()
    assert found(data, sizes) == records


@given(objects, sizes, indents, st.booleans())
def test_a_reply_of_the_api_is_taken_apart_as_a_parser_would(
    records: list[Any], sizes: list[int], indent: int | None, count_first: bool
) -> None:
    """With the count before the data, or after it."""
    reply = {"count": len(records), "data": records} if count_first else {"data": records, "next": "x]}", "n": None}
    assert found(json.dumps(reply, indent=indent).encode(), sizes) == records


@given(objects, sizes, st.sampled_from(["\n", "\r\n", "\n\n"]), st.booleans())
def test_lines_are_found(records: list[Any], sizes: list[int], between: str, ended: bool) -> None:
    """With any line ends, empty lines, and with or without a last one."""
    data = between.join(map(json.dumps, records)) + (between if ended else "")
    assert found(data.encode(), sizes) == records


@given(st.binary(max_size=60), sizes)
def test_any_bytes_are_records_or_a_clear_error(data: bytes, sizes: list[int]) -> None:
    """And the same of both, wherever the pieces end."""

    def outcome(sizes: list[int]) -> object:
        try:
            return list(split(pieces_of(b"[" + data, sizes))[1])
        except MalformedBody:
            return MalformedBody

    assert outcome(sizes) == outcome([])


@pytest.mark.parametrize(
    "data",
    [
        b"[1]", b'["a"]', b"[{}", b"[{},]", b"[{} {}]", b"[,{}]", b"[{},,{}]", b"[[{}]]", b"[{}}", b"[{}] x", b"[",
        b'{"data":[{}]', b'{"data":[{}],"more":[1]}', b'{"data":[{}]} {}', b'[{"a":"',
    ],
)  # fmt: skip
def test_what_is_no_array_of_objects_is_refused(data: bytes) -> None:
    """Nothing between, before or after the records is passed over."""
    with pytest.raises(MalformedBody):
        found(data)


def test_records_are_numbered_by_line_or_by_place() -> None:
    """Empty lines count as lines."""
    unit, lines = split(iter([b'{"a":1}\n\n{"b":2}\n']))
    assert (unit, [record.number for record in lines]) == ("line", [1, 3])
    unit, records = split(iter([b'[{"a":1},\n\n{"b":2}]']))
    assert (unit, [record.number for record in records]) == ("record", [1, 2])


@pytest.mark.parametrize("begin", [b"", b"["])
def test_a_record_without_end_is_refused_before_it_fills_the_memory(begin: bytes) -> None:
    """A file may be anything, and of any size."""
    endless = itertools.chain([begin + b'{"a":"'], itertools.repeat(b"x" * 10_000))
    with pytest.raises(MalformedBody, match=str(MAX_RECORD_BYTES)):
        list(split(endless)[1])


def test_a_long_array_is_read_in_flat_memory() -> None:
    """A file of 40 MB, packed, takes a few MB at most."""
    record = json.dumps(action(_id=new_id(), reason="x" * 1500)).encode()
    packed = gzip.compress(b"[" + b",\n".join([record] * 25_000) + b"]", 1)
    tracemalloc.start()
    try:
        count = sum(len(batch.records) for batch in RecordFile("file", io.BytesIO(packed)).batches())
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert count == 25_000
    assert peak < 12 * 1024 * 1024


def test_gzip_is_seen_from_its_content_and_may_have_several_members() -> None:
    """As joined files have them, with or without padding at the end; a BOM may stand inside."""
    parts = [b'\xef\xbb\xbf{"a":1}\n', b'{"b":2}\n']
    joined = b"".join(map(gzip.compress, parts))
    assert read(joined) == read(joined + b"\0" * 600) == read(b"".join(parts)) == [b'{"a":1}', b'{"b":2}']


def test_zstd_is_seen_from_its_content_and_may_have_several_frames() -> None:
    """Whatever an export was packed with, an import unpacks it."""
    parts = [b'\xef\xbb\xbf{"a":1}\n', b'{"b":2}\n', b'{"c":"' + b"x" * 100_000 + b'"}']
    joined = b"".join(map(zstandard.compress, parts))
    assert read(joined) == read(b"".join(parts))


def test_damaged_zstd_is_refused() -> None:
    """Cut off anywhere, changed, or with something else after its end."""
    packed = zstandard.ZstdCompressor(write_checksum=True).compress(b'{"a":1}\n' * 50)
    for cut in range(4, len(packed)):
        with pytest.raises(MalformedBody, match="zstd"):
            read(packed[:cut])
    for wrong in (packed + b"more", packed[:-1] + bytes([packed[-1] ^ 1])):
        with pytest.raises(MalformedBody, match="zstd"):
            read(wrong)


def test_a_small_file_that_becomes_a_huge_one_is_refused_before_it_fills_the_memory() -> None:
    """256 MiB without a line's end, packed in a few KiB, take a few pieces at most."""
    stream = zstandard.ZstdCompressor().compressobj()
    begin = stream.compress(b'{"a":"')
    packed = begin + b"".join(stream.compress(b"x" * (1 << 20)) for _ in range(256)) + stream.flush()
    assert len(packed) < 100_000
    tracemalloc.start()
    try:
        with pytest.raises(MalformedBody, match=str(MAX_RECORD_BYTES)):
            read(packed)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 100 * 1024 * 1024


def test_damaged_gzip_is_refused() -> None:
    """Cut off anywhere, or with something else after its end."""
    packed = gzip.compress(b'{"a":1}\n' * 50)
    for cut in range(3, len(packed)):
        with pytest.raises(MalformedBody):
            read(packed[:cut])
    with pytest.raises(MalformedBody):
        read(packed + b"more")


def test_token_uses_are_told_by_the_token_that_they_name() -> None:
    """A token named elsewhere in a record makes no token use of it."""
    assert kind_of(json.dumps(token_use()).encode()) == Kind.TOKEN
    assert kind_of(json.dumps(action(metadata={"token_id": "x"})).encode()) == Kind.ACTION
    assert kind_of(b'{"token_id":') == Kind.ACTION


class Naps:
    """Counts the pauses instead of making them."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    async def __call__(self, seconds: float) -> None:
        """Pause."""
        self.seconds.append(seconds)


async def load(store: SqliteStore, account: Account, records: list[dict[str, Any]], naps: Naps | None = None) -> Tally:
    """Import records into the account."""
    completer = Completer(account.name, Directory({}), IdMaker(os.urandom), ManualClock(NOW_MS + 1000))
    file = RecordFile("file", io.BytesIO(b"\n".join(json.dumps(record).encode() for record in records)))
    loader = Loader(store, account, completer, Retries(sleep=naps or Naps()))
    return await loader.load([file], lambda _tally: None)


def whole(number: int, **more: Any) -> dict[str, Any]:
    """An action with what an import needs."""
    return action(_id=new_id(ABOVE_ALL + number), createdAt=CREATED, **more)


async def test_kinds_may_be_mixed_and_the_order_stays(store: SqliteStore) -> None:
    """The log has the records in the order of the file."""
    account = await add_account(store)
    records = [whole(n) if n % 3 else token_use(_id=new_id(ABOVE_ALL + n), createdAt=CREATED) for n in range(1, 50)]
    assert await load(store, account, records) == Tally(imported=49)
    logged = [json.loads(entry.record)["_id"] for entry in await flat(store.entries(account.no, 1))]
    assert logged == [record["_id"] for record in records]


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("form", ["lines", "reply"])
async def test_numbers_of_another_log_are_left_out(store: SqliteStore, form: str, indent: int | None) -> None:
    """Answers and exports have them in front, as ``seq``; what is stored is as it was without."""
    account = await add_account(store)
    records = [whole(n, account=account.name, metadata={"seq": n}) for n in range(1, 4)]
    records.append(token_use(_id=new_id(ABOVE_ALL + 4), createdAt=CREATED))
    numbered = [{"seq": 10**17 * seq} | record for seq, record in enumerate(records)]
    if form == "reply":
        data = json.dumps({"data": numbered, "next": None, "head": 7}, indent=indent).encode()
    else:
        data = b"\n".join(json.dumps(record).encode() for record in numbered)
    completer = Completer(account.name, Directory({}), IdMaker(os.urandom), ManualClock(NOW_MS + 1000))
    assert await Loader(store, account, completer).load([RecordFile("f", io.BytesIO(data))], lambda _: None) == Tally(
        imported=4
    )
    assert await load(store, account, records) == Tally(duplicates=4)
    logged = [json.loads(entry.record) for entry in await flat(store.entries(account.no, 1))]
    assert [record.get("metadata") for record in logged] == [{"seq": 1}, {"seq": 2}, {"seq": 3}, None]
    assert not any("seq" in record for record in logged)


@pytest.mark.parametrize("seq", ['"5"', "5.0", "-1", "05", "null", "[1]", "1e3"])
async def test_what_is_no_number_of_an_entry_is_a_fault(store: SqliteStore, seq: str) -> None:
    """As any key is that records don't have."""
    account = await add_account(store)
    data = b'{"seq":' + seq.encode() + b"," + json.dumps(whole(1)).encode()[1:]
    completer = Completer(account.name, Directory({}), IdMaker(os.urandom), ManualClock(NOW_MS + 1000))
    tally = await Loader(store, account, completer).load([RecordFile("f", io.BytesIO(data))], lambda _: None)
    assert tally.imported == 0
    assert len(tally.problems) == 1


async def test_a_record_twice_in_one_file_is_stored_once(store: SqliteStore) -> None:
    """The second is one that was there already."""
    account = await add_account(store)
    assert await load(store, account, [whole(1), whole(2), whole(1)]) == Tally(imported=2, duplicates=1)


async def test_a_key_given_twice_is_a_fault(store: SqliteStore) -> None:
    """What ingest refuses from producers, an import refuses from files."""
    account = await add_account(store)
    completer = Completer(account.name, Directory({}), IdMaker(os.urandom), ManualClock())
    twice = json.dumps(whole(1))[:-1].encode() + b',"type":"tag"}'
    tally = await Loader(store, account, completer).load([RecordFile("f", io.BytesIO(twice))], lambda _: None)
    assert tally.imported == 0
    assert any("twice" in problem for problem in tally.problems)


class Busy(SqliteStore):
    """A store that takes nothing, a number of times."""

    times = 0

    async def append(self, batch: Sequence[Submission | Prepared]) -> list[Result]:
        """Refuse, or append."""
        if self.times:
            self.times -= 1
            raise StoreUnavailable("busy")
        return await super().append(batch)


async def test_a_store_that_is_busy_is_tried_again(store_path: Any) -> None:
    """After longer and longer pauses; nothing is lost and nothing doubled."""
    store = Busy(store_path, create=True)
    account = await add_account(store)
    store.times, naps = 3, Naps()
    assert await load(store, account, [whole(1)], naps) == Tally(imported=1)
    assert naps.seconds[:3] == sorted(naps.seconds[:3])
    await store.close()


async def test_a_store_that_stays_busy_ends_the_import(store_path: Any) -> None:
    """With the store's own error."""
    store = Busy(store_path, create=True)
    account = await add_account(store)
    store.times = 1000
    with pytest.raises(StoreUnavailable):
        await load(store, account, [whole(1)])
    await store.close()
