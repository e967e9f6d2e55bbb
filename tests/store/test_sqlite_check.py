"""What was changed in a store's file behind the server's back is found by the check, with its place and the reason."""

import asyncio
import hashlib
import shutil
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import apsw
import pytest
import zstandard
from tests.building import NOW_MS, accepted, action, append, completed, event, event_at, new_id, no_progress, user
from tests.building import add_account as add_account_to

from whodid.commitment import commit
from whodid.errors import InconsistentLog, StoreUnusable
from whodid.records import MAX_TIME_MS, Kind
from whodid.store.base import Finding, PutUser, Query, Submission
from whodid.store.sqlite import SqliteStore, check, search
from whodid.store.sqlite.compression import Decompressor

SIZE = 601
"""How many entries the account that is tampered with has: two full blocks, and more."""


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sound store, with two accounts; the tests tamper with copies of it."""
    path = tmp_path_factory.mktemp("sound") / "whodid.db"

    async def fill() -> None:
        store = SqliteStore(path, create=True)
        account, other = await add_account_to(store, "org-acme"), await add_account_to(store, "org-other")
        own = completed(account.name, [action(_id=new_id())])
        actions = [event_at(account, NOW_MS + number, target_id=f"t{number}") for number in range(500)]
        uses = [event(account, Kind.TOKEN) for _ in range(99)]
        await append(store, account, *own, *actions, *uses)
        accepted(*await store.append([Submission(other.no, [event(other)], (PutUser(user()),))]))
        await store.close()

    asyncio.run(fill())
    return path


@pytest.fixture
def path(sound: Path, tmp_path: Path) -> Path:
    """A copy of the sound store."""
    return Path(shutil.copy(sound, tmp_path / "whodid.db"))


@pytest.fixture
def file(path: Path) -> Iterator[apsw.Connection]:
    """A connection to tamper with."""
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
    yield connection
    connection.close()


def findings(path: Path) -> list[Finding]:
    """What a check finds."""

    async def run() -> list[Finding]:
        store = SqliteStore(path)
        try:
            return await store.check(no_progress)
        finally:
            await store.close()

    return asyncio.run(run())


def found(path: Path) -> set[tuple[str, int | None]]:
    """The places of what a check finds."""
    return {(finding.account, finding.seq) for finding in findings(path)}


def record_at(file: apsw.Connection, seq: int) -> bytes:
    """The record of an entry."""
    return Decompressor(file)(
        *file.execute("SELECT dictionary, record FROM entry WHERE account_no = 1 AND seq = ?", (seq,)).get
    )


def compress(file: apsw.Connection, record: bytes) -> bytes:
    """A record as it would be kept, without a dictionary's help."""
    file.execute("INSERT OR IGNORE INTO dictionary VALUES (99, 0, ?)", (b"a dictionary of nothing in particular",))
    parameters = zstandard.ZstdCompressionParameters.from_level(
        3, format=zstandard.FORMAT_ZSTD1_MAGICLESS, write_content_size=1, write_dict_id=0, write_checksum=0
    )
    dictionary = zstandard.ZstdCompressionDict(b"a dictionary of nothing in particular")
    return zstandard.ZstdCompressor(compression_params=parameters, dict_data=dictionary).compress(record)


def replace_record(file: apsw.Connection, seq: int, record: bytes, salt: bytes | None = None) -> None:
    """Put another record in an entry's place; with a salt, its commitment too."""
    file.execute(
        "UPDATE entry SET dictionary = 99, record = ? WHERE account_no = 1 AND seq = ?", (compress(file, record), seq)
    )
    if salt is not None:
        file.execute(
            "UPDATE entry SET salt = ?, commitment = ? WHERE account_no = 1 AND seq = ?",
            (salt, commit(salt, record), seq),
        )


def test_a_sound_store_has_nothing_wrong(path: Path) -> None:
    """Or the other tests would prove nothing."""
    assert findings(path) == []


def test_a_changed_record_is_found(path: Path, file: apsw.Connection) -> None:
    """It does not make its commitment; another type is not what the search index has, either."""
    changed = record_at(file, 7).replace(b'"update"', b'"delete"')
    replace_record(file, 7, changed)
    problems = findings(path)
    assert Finding("org-acme", 7, "the record and its salt do not make the commitment") in problems
    assert any("search index" in finding.problem for finding in problems)
    assert {(finding.account, finding.seq) for finding in problems} == {("org-acme", 7), ("", None)}


def test_a_changed_record_whose_commitment_is_changed_with_it_is_found(path: Path, file: apsw.Connection) -> None:
    """The block roots and the frontier bind to the commitments."""
    replace_record(file, 7, record_at(file, 7).replace(b'"t5"', b'"t9"'), salt=bytes(16))
    problems = findings(path)
    assert ("org-acme", 0) in {(finding.account, finding.seq) for finding in problems}  # its block of 256
    assert any("block root of level 1, position 0" in finding.problem for finding in problems)
    assert any("frontier" in finding.problem for finding in problems)


def test_a_record_that_cannot_be_read_is_found(path: Path, file: apsw.Connection) -> None:
    """The check goes on behind it."""
    file.execute("UPDATE entry SET record = x'00' WHERE account_no = 1 AND seq IN (3, 400)")
    problems = {finding.seq: finding.problem for finding in findings(path)}
    assert "can't be read" in problems[3]
    assert "can't be read" in problems[400]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda _: b"{}", "the record is not valid"),
        (lambda _: b"not JSON", "the record is not valid"),
        (lambda record: record.replace(b"org-acme", b"org-evil"), "names the account org-evil"),
        (lambda record: record.replace(b"2021-07-30T", b"2021-07-29T"), "is not that of its place"),
        (lambda record: b'{"_id":"f' + record[len(b'{"_id":"f') :], "by its _id"),
    ],
)
def test_a_record_that_does_not_belong_in_its_place_is_found(
    path: Path, file: apsw.Connection, change: Callable[[bytes], bytes], says: str
) -> None:
    """Though its commitment was made anew: not an event, another account's, of another time, with another id."""
    before = record_at(file, 20)
    changed = change(before)
    assert changed != before
    replace_record(file, 20, changed, salt=bytes(16))
    assert any(finding.seq == 20 and says in finding.problem for finding in findings(path))


@pytest.mark.parametrize(
    ("statement", "place", "says"),
    [
        ("UPDATE entry SET salt = zeroblob(16) WHERE account_no = 1 AND seq = 9", 9, "do not make the commitment"),
        ("UPDATE entry SET commitment = zeroblob(32) WHERE account_no = 1 AND seq = 9", 9, "not make the commitment"),
        ("UPDATE entry SET kind = 2 WHERE account_no = 1 AND seq = 9", 9, "the record is not valid"),
        ("UPDATE entry SET kind = 7 WHERE account_no = 1 AND seq = 9", 9, "the record is not valid"),
        ("UPDATE entry SET dictionary = 55 WHERE account_no = 1 AND seq = 9", 9, "no dictionary of version 55"),
        ("UPDATE entry SET time_key = time_key + (1 << 40) WHERE account_no = 1 AND seq = 9", 9, "that of its place"),
        ("DELETE FROM entry WHERE account_no = 1 AND seq = 9", 9, "the entry is missing; the next there is 10"),
        ("DELETE FROM entry WHERE account_no = 1 AND seq = 600", 600, "there are 600 entries, but the head says 601"),
        ("DELETE FROM entry WHERE account_no = 1", 0, "there are 0 entries, but the head says 601"),
        ("UPDATE account SET size = 600, frontier = zeroblob(128) WHERE account_no = 1", 600, "the head says 600"),
        ("UPDATE account SET size = 5 WHERE account_no = 1", 5, "the head says 5"),
        ("UPDATE account SET size = -1 WHERE account_no = 1", 0, "the head says -1"),
        ("UPDATE account SET frontier = zeroblob(160) WHERE account_no = 1", None, "frontier is not that of"),
        ("UPDATE account SET frontier = zeroblob(31) WHERE account_no = 1", None, "frontier"),
        ("DELETE FROM record_id WHERE account_no = 1", None, "by its _id"),
        ("UPDATE record_id SET seq = seq + 1 WHERE account_no = 1", None, "by its _id"),
        ("INSERT INTO record_id VALUES (1, zeroblob(12), 5)", None, "603 entries, but 604 ids"),
        ("DELETE FROM block_root WHERE account_no = 1 AND position = 1", 256, "block root of level 1, position 1"),
        ("UPDATE block_root SET root = zeroblob(32) WHERE position = 0", 0, "level 1, position 0 is wrong"),
        ("INSERT INTO block_root VALUES (1, 2, 0, zeroblob(32))", 0, "block root of level 2, position 0 is wrong"),
        ("DELETE FROM account WHERE account_no = 2", None, "2 rows of entry belong to no account"),
        ("UPDATE user SET account_no = 77", None, "1 rows of user belong to no account"),
        ("UPDATE dictionary SET version = 2", 0, "no dictionary of version 1"),
        ("UPDATE dictionary SET bytes = zeroblob(16384)", None, "can't be read"),
        ("UPDATE dictionary SET bytes = x'37a430ec00'", None, "can't be read"),
    ],
)  # fmt: skip
def test_tampering_is_found_with_its_place_and_the_reason(
    path: Path, file: apsw.Connection, statement: str, place: int | None, says: str
) -> None:
    """Each table, each column."""
    file.execute("PRAGMA foreign_keys = off")
    file.execute(statement)
    assert file.total_changes() > 0
    problems = findings(path)
    matching = [finding for finding in problems if says in finding.problem]
    assert matching, problems
    if place is not None:
        assert place in {finding.seq for finding in matching}


def test_two_entries_that_swapped_their_places_are_found(path: Path, file: apsw.Connection) -> None:
    """Each is sound by itself; the block that they are in is not."""
    for statement in ("SET seq = -1 WHERE seq = 300", "SET seq = 300 WHERE seq = 301", "SET seq = 301 WHERE seq = -1"):
        file.execute(f"UPDATE entry {statement} AND account_no = 1")
    assert ("org-acme", 256) in found(path)


def test_an_entry_that_moved_to_another_account_is_found(path: Path, file: apsw.Connection) -> None:
    """The gap that it leaves and the place that it takes."""
    file.execute("UPDATE entry SET account_no = 2, seq = 2 WHERE account_no = 1 AND seq = 600")
    places = found(path)
    assert ("org-acme", 600) in places
    assert ("org-other", 2) in places


TERM = "1at:pipeline"
ENTRY_5 = "SELECT 'delete', time_key, ? FROM entry WHERE account_no = 1 AND seq = 5"
ENTRY_600 = f"SELECT time_key + 1, '{TERM}' FROM entry WHERE account_no = 1 AND seq = 600"


@pytest.mark.parametrize(
    "statement",
    [
        f"INSERT INTO search (rowid, terms) {ENTRY_600}",
        "INSERT INTO search (search) VALUES ('delete-all')",
        f"INSERT INTO search (search, rowid, terms) {ENTRY_5}",
    ],
)  # fmt: skip
def test_a_damaged_search_index_is_found_and_healed(path: Path, file: apsw.Connection, statement: str) -> None:
    """A row too many, all rows gone, one row gone: made anew from the records, it is sound, and finds everything."""
    terms = f"1a {TERM} 1aa:update 1au:5e1cbf251c26d68f7ce6361e 1ag:t3"
    file.execute(statement, (terms,) if "?" in statement else ())
    file.close()
    (finding,) = findings(path)
    assert "search index" in finding.problem
    assert "--rebuild-search" in finding.problem

    async def heal() -> int:
        store = SqliteStore(path)
        try:
            assert await store.rebuild_search(no_progress) == SIZE + 2
            return len(await store.newest(Query(1, Kind.ACTION, 0, MAX_TIME_MS, 1000, (("type", "pipeline"),))))
        finally:
            await store.close()

    assert asyncio.run(heal()) == 501
    assert findings(path) == []


def test_a_search_index_with_other_terms_of_the_same_number_is_found(path: Path, file: apsw.Connection) -> None:
    """Sums of terms are compared, not only how many there are."""
    terms = f"1a {TERM} 1aa:update 1au:5e1cbf251c26d68f7ce6361e 1ag:t3"
    (key,) = file.execute("SELECT time_key FROM entry WHERE account_no = 1 AND seq = 5").fetchall()[0]
    file.execute("INSERT INTO search (search, rowid, terms) VALUES ('delete', ?, ?)", (key, terms))
    file.execute("INSERT INTO search (rowid, terms) VALUES (?, ?)", (key, terms.replace("t3", "t4")))
    (finding,) = findings(path)
    assert "others" in finding.problem


@pytest.mark.parametrize(
    ("statement", "what"),
    [
        ("UPDATE tally SET count = count + 1 WHERE value = 'update'", "tally"),
        ("UPDATE tally SET hour = hour + 1 WHERE field = 'type'", "tally"),
        ("UPDATE tally SET value = 'pipe' WHERE value = 'pipeline'", "tally"),
        ("UPDATE tally SET kind = 1 WHERE field = 'scope'", "tally"),
        ("DELETE FROM tally WHERE field = 'scope'", "tally"),
        ("INSERT INTO tally VALUES (1, 'type', 7, 1, 'tag', 1)", "tally"),
        ("INSERT INTO tally VALUES (1, 'type', 7, 1, 'tag', 0)", "tally"),
        ("DELETE FROM address_word WHERE email = 'ann@acme.example'", "words of addresses"),
        ("DELETE FROM address_word WHERE word = 'acme' AND email = 'ann@acme.example'", "words of addresses"),
        ("UPDATE address_word SET word = 'bob' WHERE word = 'ann'", "words of addresses"),
        ("INSERT INTO address_word VALUES (1, 'eve', 'eve@evil')", "words of addresses"),
        ("UPDATE address_word SET account_no = 2", "words of addresses"),
    ],
)
def test_what_is_counted_and_the_words_of_addresses_are_those_of_the_records(
    path: Path, file: apsw.Connection, statement: str, what: str
) -> None:
    """Neither more nor less, nor other ones; made anew, they are sound."""

    async def add_actions() -> None:
        store = SqliteStore(path)
        (account,) = [one for one in await store.accounts() if one.no == 1]
        await append(store, account, *(event(account, user_email=f"{name}@acme.example") for name in ("ann", "bob")))
        await store.close()

    async def heal() -> None:
        store = SqliteStore(path)
        await store.rebuild_search(no_progress)
        await store.close()

    asyncio.run(add_actions())
    file.execute(statement)
    assert file.changes() > 0
    (finding,) = findings(path)
    assert f"the {what}" in finding.problem
    assert "--rebuild-search" in finding.problem
    asyncio.run(heal())
    assert findings(path) == []


def test_a_check_keeps_no_more_than_a_part_of_the_log_in_memory(tmp_path: Path) -> None:
    """However many hours, values and addresses there are: of six times as many entries it takes little more."""

    async def peak(size: int) -> int:
        store = SqliteStore(tmp_path / f"{size}.db", create=True)
        account = await add_account_to(store)
        for begin in range(0, size, 1000):
            events = [
                event_at(account, NOW_MS - at * 3_600_000, user_email=f"u{at}@{at}.example")
                for at in range(begin, begin + 1000)
            ]
            await append(store, account, *events)
        tracemalloc.start()
        assert await store.check(no_progress) == []
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        await store.close()
        return most

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(check, "_ENTRIES", check._ENTRIES.replace("LIMIT 5000", "LIMIT 500"))
        patch.setattr(check, "_MOST_ADDRESSES", 500)
        patch.setattr(search, "_MEMO_SIZE", 500)
        few, many = asyncio.run(peak(1000)), asyncio.run(peak(6000))
    assert many < 1.5 * few


def test_a_gap_in_one_log_is_not_held_against_others(path: Path, file: apsw.Connection) -> None:
    """The account and the number that is missing; nothing of the other account."""
    key = file.execute("SELECT time_key FROM entry WHERE account_no = 1 AND seq = 300").get
    file.execute("DELETE FROM entry WHERE time_key = ?", (key,))
    problems = findings(path)
    assert Finding("org-acme", 300, "the entry is missing; the next there is 301") in problems
    assert all(finding.account != "org-other" for finding in problems)


def test_users_that_can_not_be_read_are_found(path: Path, file: apsw.Connection) -> None:
    """A role that does not exist: the account is named, and the check goes on."""
    file.execute("UPDATE user SET role = 'king'")
    assert found(path) == {("org-other", None)}


def test_a_check_of_a_ruin_ends(path: Path, file: apsw.Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    """It stops when it has found enough."""
    monkeypatch.setattr(check, "MOST_FINDINGS", 50)
    file.execute("UPDATE entry SET salt = zeroblob(16)")
    assert len(findings(path)) == 50


async def test_a_store_that_was_searched_before_it_grew_is_sound(store: SqliteStore) -> None:
    """A reader's memory of the search index as it was is not taken for damage of the index as it is."""
    account = await add_account_to(store)
    everything = Query(account.no, Kind.ACTION, 0, MAX_TIME_MS, 10)
    for growth in range(12):
        await store.newest(everything)
        for _ in range(growth):
            await append(store, account, event(account))
        assert await store.check(no_progress) == []


@pytest.mark.parametrize("name", ["entry", "entry_seq", "record_id", "block_root", "search_data"])
def test_a_file_whose_pages_are_damaged_is_found(path: Path, file: apsw.Connection, name: str) -> None:
    """A disk that forgot what it was given: the check says so, and does not just break off."""
    root = file.execute("SELECT rootpage FROM sqlite_schema WHERE name = ?", (name,)).get
    page_bytes = file.pragma("page_size")
    file.close()
    with path.open("r+b") as damaged:
        damaged.seek((root - 1) * page_bytes)
        damaged.write(hashlib.sha256(b"chance").digest() * (page_bytes // 32))
    assert any(finding.problem.startswith("the file") for finding in findings(path))


def test_a_store_without_any_dictionary_is_refused(path: Path, file: apsw.Connection) -> None:
    """No record of it can be read."""
    file.execute("DELETE FROM dictionary")
    with pytest.raises(StoreUnusable, match="no dictionary"):
        SqliteStore(path)


@pytest.mark.parametrize("damage", ["record = zeroblob(40)", "kind = 7", "dictionary = 99"])
async def test_whoever_reads_a_damaged_entry_is_told_which_one(path: Path, damage: str) -> None:
    """Instead of being handed something else."""
    connection = apsw.Connection(str(path))
    connection.execute(f"UPDATE entry SET {damage} WHERE seq = 150 AND account_no = 1")
    connection.close()
    store = SqliteStore(path)
    try:
        with pytest.raises(InconsistentLog, match="entry 150 can't be read"):
            async for _ in store.entries(1, 100):
                pass
    finally:
        await store.close()
