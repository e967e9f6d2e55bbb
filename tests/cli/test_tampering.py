"""Somebody changes a real store's file: each way is caught by ``verify-store``, and by ``verify`` of what it exports.

Two kinds of hands: clumsy ones, which change rows; and those of somebody who knows the program and makes over
everything that is derived (commitments, block roots, frontier, index), so that only what was signed contradicts.
"""

import gzip
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apsw
import pytest
from tests.cli.conftest import found
from tests.cli.running import ACCOUNT, Whodid, action
from tests.stores import old_copy, run

from whodid.commitment import commit
from whodid.evidence.keyring import Keyring
from whodid.merkle import Frontier, append, hash_leaf
from whodid.store.sqlite import SqliteStore
from whodid.store.sqlite.compression import BUNDLED_VERSION, Compressor, Decompressor, bundled_dictionary

ENTRIES = 600
EARLIER = "earlier.checkpoint"


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a store of some hundred entries, of which a checkpoint was signed and handed to an auditor."""
    whodid = Whodid(tmp_path_factory.mktemp("prepared"))
    run(found(whodid.url))
    whodid("import", "--account", ACCOUNT, whodid.write("in", [action(number) for number in range(1, ENTRIES + 1)]))
    whodid("export", "--account", ACCOUNT, "--evidence", "--output", "earlier.gz")
    header = json.loads(gzip.decompress((whodid.folder / "earlier.gz").read_bytes()).splitlines()[0])
    (whodid.folder / EARLIER).write_text(header["checkpoint"])
    (whodid.folder / "key").write_text(header["key"])
    return whodid.folder


@pytest.fixture
def acme(prepared: Path, tmp_path: Path) -> Whodid:
    """A copy of that folder, to be tampered with."""
    shutil.copytree(prepared, tmp_path / "acme")
    return Whodid(tmp_path / "acme")


Tampering = Callable[[apsw.Connection], None]


def change_record(connection: apsw.Connection) -> None:
    """Entry 300 tells of something else."""
    rows: Any = connection.execute("SELECT dictionary, record FROM entry WHERE seq = 300").fetchall()
    dictionary, frame = rows[0]
    record = Decompressor(connection)(dictionary, frame).replace(b'"action":"update"', b'"action":"delete"')
    (changed,) = Compressor(bundled_dictionary()).all([record])
    connection.execute("UPDATE entry SET record = ?, dictionary = ? WHERE seq = 300", (changed, BUNDLED_VERSION))


def change_salt(connection: apsw.Connection) -> None:
    """Entry 300 has another salt."""
    connection.execute("UPDATE entry SET salt = randomblob(16) WHERE seq = 300")


def swap_salts(connection: apsw.Connection) -> None:
    """Entries 300 and 301 have each other's salt."""
    _exchange(connection, "salt")


def swap_entries(connection: apsw.Connection) -> None:
    """Entries 300 and 301 have each other's number."""
    connection.execute("UPDATE entry SET seq = -1 WHERE seq = 300")
    connection.execute("UPDATE entry SET seq = 300 WHERE seq = 301")
    connection.execute("UPDATE entry SET seq = 301 WHERE seq = -1")


def remove(connection: apsw.Connection) -> None:
    """Entry 300 is gone."""
    _forget_id(connection, 300)
    connection.execute("DELETE FROM entry WHERE seq = 300")


def remove_and_renumber(connection: apsw.Connection) -> None:
    """Entry 300 is gone, and all later ones have a number less."""
    remove(connection)
    connection.execute("UPDATE entry SET seq = 1 - seq WHERE seq > 300")
    connection.execute("UPDATE entry SET seq = -seq WHERE seq < 0")


def insert(connection: apsw.Connection) -> None:
    """The last entry claims to have been the 300th."""
    last = int(connection.execute("SELECT max(seq) FROM entry").get)
    connection.execute("UPDATE entry SET seq = -1000000 WHERE seq = ?", (last,))
    connection.execute("UPDATE entry SET seq = -(seq + 1) WHERE seq >= 300")
    connection.execute("UPDATE entry SET seq = CASE seq WHEN -1000000 THEN 300 ELSE -seq END WHERE seq < 0")


def truncate(connection: apsw.Connection) -> None:
    """All entries from 300 on are gone."""
    connection.execute("DELETE FROM record_id WHERE seq >= 300")
    connection.execute("DELETE FROM entry WHERE seq >= 300")


CLUMSY: dict[Tampering, tuple[str, int]] = {
    change_record: ("do not make the commitment", 300),
    change_salt: ("do not make the commitment", 300),
    swap_salts: ("do not make the commitment", 300),
    swap_entries: ("the block root of level 1, position 1 is wrong", 256),
    remove: ("the entry is missing", 300),
    remove_and_renumber: ("the block root of level 1, position 1 is wrong", 256),
    insert: ("the block root of level 1, position 1 is wrong", 256),
    truncate: ("but the head says", 300),
}
"""What ``verify-store`` finds, and where."""


@pytest.mark.parametrize("tamper", CLUMSY)
def test_verify_store_finds_rows_that_were_changed(acme: Whodid, tamper: Tampering) -> None:
    """With the account, the reason, and the first entry (or block of entries) concerned."""
    _tamper(acme, tamper)
    reason, seq = CLUMSY[tamper]
    findings = _findings(acme)
    found = next(finding for finding in findings if reason in finding["problem"])
    assert (found["account"], found["seq"]) == (ACCOUNT, seq)


@pytest.mark.parametrize("tamper", CLUMSY)
def test_evidence_of_changed_rows_does_not_hold(acme: Whodid, tamper: Tampering) -> None:
    """None can be made of them; the entry is named where it is one."""
    _tamper(acme, tamper)
    told = _expect_no_evidence(acme)
    assert tamper not in (change_record, change_salt, swap_salts, remove) or "entry 300 " in told, told


@pytest.mark.parametrize(
    "tamper",
    [change_record, change_salt, swap_salts, swap_entries, remove_and_renumber, insert, truncate],
)
def test_what_was_signed_gives_away_a_store_that_was_made_over(acme: Whodid, tamper: Tampering) -> None:
    """Where everything in the file agrees with itself, the checkpoint outside of it does not."""
    _tamper(acme, tamper)
    run(_make_over(acme.store_path))
    problems = [finding["problem"] for finding in _findings(acme)]
    assert problems, "the store agrees with itself, but not with what was signed"
    assert all("checkpoint" in problem for problem in problems), problems
    _expect_no_evidence(acme)


@pytest.mark.parametrize("tamper", [change_record, remove_and_renumber, insert, truncate])
def test_an_auditor_with_an_old_checkpoint_is_not_deceived_by_whoever_has_the_key(
    acme: Whodid, tamper: Tampering
) -> None:
    """Somebody makes over the store, throws away what was signed, and signs anew, with the true key."""
    _tamper(acme, tamper)
    run(_make_over(acme.store_path))
    shutil.rmtree(_ledger(acme))
    with _open(acme) as connection:
        connection.execute("DELETE FROM checkpoint")
    if tamper is truncate:  # and lets the log grow beyond its old size
        acme("import", "--account", ACCOUNT, acme.write("more", [action(n) for n in range(2000, 2400)]))
    assert acme("verify-store").status == 0
    acme("export", "--account", ACCOUNT, "--evidence", "--output", "forged.gz")
    assert "passed" in _verify(acme, "forged.gz").out
    failed = _verify(acme, "forged.gz", "--previous", EARLIER, status=1)
    assert "failed" in failed.out


def test_an_old_copy_of_the_store_put_back_is_found_out(whodid: Whodid) -> None:
    """Of any kind of store: by ``verify-store``, and by whoever asks for evidence of it."""
    run(found(whodid.url))
    with old_copy(whodid.url, whodid.folder):
        whodid("import", "--account", ACCOUNT, whodid.write("more", [action(number) for number in range(10, 40)]))
        whodid("export", "--account", ACCOUNT, "--evidence", "--output", "newer.gz")
    assert "31 are missing, as in an old copy of the store" in _findings(whodid)[0]["problem"]
    refused = whodid("export", "--account", ACCOUNT, "--evidence", "--output", "again.gz", status=1)
    assert "an old copy of the store" in refused.err
    assert "operate.md" in refused.err
    assert not (whodid.folder / "again.gz").exists()


def test_a_forged_checkpoint_is_found_out(acme: Whodid) -> None:
    """One that another key has signed is neither taken for ours, nor signed on."""
    other = Keyring.open(acme.folder / "other.key", make=True)
    shutil.copyfile(other.path, acme.folder / "whodid.db.key")
    acme("export", "--account", ACCOUNT, "--evidence", "--output", "forged.gz")
    failed = _verify(acme, "forged.gz", status=1)
    assert "is not signed by the key with id" in failed.out
    (prepared_key := acme.folder / "whodid.db.key").unlink()
    Keyring.open(prepared_key, make=True)
    assert any("not one of ours" in finding["problem"] for finding in _findings(acme))


def _exchange(connection: apsw.Connection, column: str) -> None:
    one, other = (connection.execute(f"SELECT {column} FROM entry WHERE seq = {seq}").get for seq in (300, 301))
    connection.execute(f"UPDATE entry SET {column} = ? WHERE seq = 300", (other,))
    connection.execute(f"UPDATE entry SET {column} = ? WHERE seq = 301", (one,))


def _forget_id(connection: apsw.Connection, seq: int) -> None:
    connection.execute("DELETE FROM record_id WHERE seq = ?", (seq,))


def _open(acme: Whodid) -> apsw.Connection:
    return apsw.Connection(str(acme.store_path))


def _tamper(acme: Whodid, tamper: Tampering) -> None:
    connection = _open(acme)
    with connection:
        tamper(connection)
    connection.close()


async def _make_over(path: Path) -> None:
    """Make everything anew that is derived from the entries, as only who knows the program can."""
    connection = apsw.Connection(str(path))
    with connection:
        read = Decompressor(connection)
        leaves: list[bytes] = []
        rows: Any = connection.execute("SELECT seq, salt, dictionary, record FROM entry ORDER BY seq").fetchall()
        for seq, salt, dictionary, frame in rows:
            commitment = commit(salt, read(dictionary, frame))
            connection.execute("UPDATE entry SET commitment = ? WHERE seq = ?", (commitment, seq))
            leaves.append(hash_leaf(commitment))
        frontier, blocks = append(Frontier(), leaves)
        connection.execute("UPDATE account SET size = ?, frontier = ?", (frontier.size, frontier.to_bytes()))
        connection.execute("DELETE FROM block_root")
        for level, position, root in blocks:
            connection.execute("INSERT INTO block_root VALUES (1, ?, ?, ?)", (level, position, root))
        # a record that was overwritten takes its _id along
        connection.execute("DELETE FROM record_id")
        for seq, _, dictionary, frame in rows:
            record_id = bytes.fromhex(json.loads(read(dictionary, frame))["_id"])
            connection.execute(
                "INSERT OR REPLACE INTO record_id SELECT 1, ?, seq FROM entry WHERE seq = ?", (record_id, seq)
            )
    connection.close()
    store = SqliteStore(path)
    await store.rebuild_search(lambda _done, _total: None)
    await store.close()


def _ledger(acme: Whodid) -> Path:
    return acme.signed_dir


def _findings(acme: Whodid) -> list[dict[str, Any]]:
    told = acme("verify-store", "--json", status=1).json
    assert not told["sound"]
    return list(told["findings"])


def _verify(acme: Whodid, name: str, *more: str, status: int = 0) -> Any:
    return acme("verify", name, "--key", "key", *more, status=status)


def _expect_no_evidence(acme: Whodid) -> str:
    """No evidence of the store convinces an auditor who has an earlier checkpoint; why not."""
    out = acme.folder / "after.gz"
    refused = acme("export", "--account", ACCOUNT, "--evidence", "--previous", EARLIER, "after.gz", status=1)
    assert not out.exists()
    return refused.err
