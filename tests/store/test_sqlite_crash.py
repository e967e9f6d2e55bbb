"""What was acknowledged is there after a crash: real processes, really killed. ``make torture`` does more of it."""

import asyncio
import random
from pathlib import Path

import pytest
from bench.crashing import Ledger, StoreRounds, Tally, Violation, judge, make_store, tear
from bench.crashing_child import Appender, wal_of
from bench.crashing_server import ServerRounds
from bench.torture import MODES, main

from whodid.store.sqlite import SqliteStore


@pytest.mark.parametrize(("mode", "rounds"), [("store", 3), ("wal", 4), ("server", 2), ("writer", 2)])
def test_what_was_acknowledged_is_there_after_each_crash(tmp_path: Path, mode: str, rounds: int) -> None:
    """Killed again and again, a store keeps every acknowledged event at its place, and takes more."""
    running = MODES[mode](tmp_path, 20210730)
    try:
        for _ in range(rounds):
            running.round()
    finally:
        running.close()
    assert running.tally.kills == running.tally.rounds == rounds
    assert running.tally.acknowledged > 0


def test_a_torn_log_is_really_torn(tmp_path: Path) -> None:
    """A kill in the middle of a commit leaves something of the log that can be torn away."""
    torn = StoreRounds(tmp_path, 1, tearing=True)
    while not torn.tally.torn:
        assert torn.tally.rounds < 10
        torn.round()


def test_torture_tells_what_it_did(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """``python -m bench.torture`` prints a table, removes its stores, and ends with status 0."""
    assert main(["--rounds", "1", "--mode", "store", "--seed", "7", "--store-dir", str(tmp_path)]) == 0
    assert "violations: 0" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


def test_torture_keeps_what_is_broken(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """At a violation, ``python -m bench.torture`` ends with status 1, and says where the broken store is."""

    def lose(self: ServerRounds) -> None:
        raise Violation("an entry is missing")

    monkeypatch.setattr(StoreRounds, "round", lose)
    assert main(["--mode", "store", "--store-dir", str(tmp_path)]) == 1
    (kept,) = tmp_path.iterdir()
    told = capsys.readouterr()
    assert "violations: 1" in told.out
    assert "an entry is missing" in told.err
    assert str(kept) in told.err


def test_a_lost_acknowledged_commit_is_noticed(tmp_path: Path) -> None:
    """The judge is no rubber stamp: a log that lost what was acknowledged is a violation."""
    path, ledger, chance = tmp_path / "whodid.db", Ledger(Tally("store")), random.Random(1)

    async def append_and_copy() -> Path:
        await make_store(path)
        store = SqliteStore(path)
        appender = Appender(store, await store.accounts(), chance)
        for told in [one for _ in range(5) for one in await appender.append()]:
            ledger.add(told.account, told.places)
        crashed = tmp_path / "crashed.db"  # nobody writes now, so a copy is what a crash would leave
        crashed.write_bytes(path.read_bytes())
        wal_of(crashed).write_bytes(wal_of(path).read_bytes())
        await store.close()
        return crashed

    crashed = asyncio.run(append_and_copy())
    log = wal_of(crashed)
    assert not tear(log, log.stat().st_size, chance)
    assert tear(log, log.stat().st_size - 8000, chance)
    with pytest.raises(Violation, match="acknowledged was"):
        asyncio.run(judge(crashed, ledger))


def test_half_a_submission_is_noticed(tmp_path: Path) -> None:
    """An event without the others of its submission is a violation, acknowledged or not."""
    path = tmp_path / "whodid.db"

    async def append_half() -> None:
        await make_store(path)
        store = SqliteStore(path)
        appender = Appender(store, await store.accounts(), random.Random(1))
        whole = next(one for _ in range(100) if len((one := appender.submission()).events) > 1)
        del whole.events[-1]
        await store.append([whole])
        await store.close()

    asyncio.run(append_half())
    with pytest.raises(Violation, match="of submission"):
        asyncio.run(judge(path, Ledger(Tally("store"))))
