"""The tiles of a real store beside those that the second verifier makes, right to the byte, where sizes turn over."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from tests.building import USER_ID, add_account, completed
from tests.independent.verifier import entries_in, leaf, root_of, tile, tile_path, tiles_of

from whodid.evidence.proving import read_tile
from whodid.store.base import Account, Submission
from whodid.store.sqlite import SqliteStore
from whodid.tiles import parse_tile_path

SIZES = [1, 255, 256, 257, 65_536, 65_537, 70_000]
MOST_AT_ONCE = 4_000
"""Events in one append."""


@dataclass
class GrowingStore:
    """A store with one account, whose log grows from test to test."""

    store: SqliteStore
    account: Account
    runner: asyncio.Runner
    leaves: list[bytes] = field(default_factory=list)

    def grow(self, size: int) -> None:
        """Append as much as is missing."""
        self.runner.run(self._append(size - self._size()))
        entries = self.runner.run(self._commitments())
        self.leaves += [leaf(commitment) for commitment in entries]
        assert self._size() == len(self.leaves) >= size

    def served(self, path: str) -> bytes:
        """What the store has for a tile's path."""
        named = parse_tile_path(path)
        assert named is not None, path
        return self.runner.run(read_tile(self.store, self.account.no, named))

    def root(self) -> bytes:
        """The root that the store keeps."""
        return self._now().frontier.root()

    def _size(self) -> int:
        return self._now().frontier.size

    def _now(self) -> Account:
        account = self.runner.run(self.store.account(self.account.name))
        assert account is not None
        return account

    async def _append(self, count: int) -> None:
        given = {"user_id": USER_ID, "type": "task", "action": "create"}
        for begin in range(0, count, MOST_AT_ONCE):
            events = completed(self.account.name, [given] * min(MOST_AT_ONCE, count - begin))
            await self.store.append([Submission(self.account.no, events)])

    async def _commitments(self) -> list[bytes]:
        chunks = [chunk async for chunk in self.store.entries(self.account.no, len(self.leaves))]
        return [entry.commitment for chunk in chunks for entry in chunk]


@pytest.fixture(scope="module")
def growing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GrowingStore]:
    """One store for all sizes, from the smallest to the largest; an account's log begins with one entry."""
    with asyncio.Runner() as runner:
        store = SqliteStore(tmp_path_factory.mktemp("tiles") / "whodid.db", create=True)
        yield GrowingStore(store, runner.run(add_account(store)), runner)
        runner.run(store.close())


@pytest.mark.parametrize("size", SIZES)
def test_all_tiles_of_a_log_are_right_to_the_byte(growing: GrowingStore, size: int) -> None:
    """Of hashes and of entries, at every size where a tile or a level is full, is one short of it, or has begun."""
    growing.grow(size)
    leaves = growing.leaves[:size]
    for level, index, width in tiles_of(size):
        assert growing.served(tile_path(level, index, width)) == tile(level, index, width, leaves)
        if level == 0:
            entries = entries_in(growing.served(tile_path("entries", index, width)), width)
            assert [leaf(entry) for entry in entries] == leaves[index * 256 : index * 256 + width]
    assert growing.root() == root_of(growing.leaves)


def test_tiles_of_smaller_sizes_stay(growing: GrowingStore) -> None:
    """What was a partial tile once is served as long as the log is, though a whole one is there now."""
    growing.grow(SIZES[-1])
    for size in SIZES:
        for level, index, width in tiles_of(size):
            if width < 256:
                expected = tile(level, index, width, growing.leaves)
                assert growing.served(tile_path(level, index, width)) == expected


def test_an_empty_log_has_no_tiles() -> None:
    """Nor is there a name for a tile of no width."""
    assert list(tiles_of(0)) == []
    for level in (0, 1, "entries"):
        assert parse_tile_path(f"{tile_path(level, 0)}.p/0") is None
