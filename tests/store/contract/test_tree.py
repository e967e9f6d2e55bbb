"""What every store promises of its trees, of what was signed about them, and of finding one entry."""

import asyncio
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.building import NOW_MS, add_account, append, event, event_at, flat, new_id
from tests.store.contract.opening import Open

from whodid.errors import InconsistentLog
from whodid.merkle import hash_leaf, root_of
from whodid.proofs import Run, Subtree, consistency_path, inclusion_path, roots_of, runs_of
from whodid.records import MAX_TIME_MS, Kind
from whodid.store.base import Account, Kept, KeptCheckpoint, Standing, Store, WitnessState

SIZE = 600


async def filled(store: Store, size: int = SIZE) -> tuple[Account, list[bytes]]:
    """An account of so many entries, among another's, and its commitments."""
    account, other = await add_account(store), await add_account(store)
    while (missing := size - len(await commitments_of(store, account))) > 0:
        await append(store, account, *(event(account) for _ in range(min(missing, 170))))
        await append(store, other, event(other))
    return account, await commitments_of(store, account)


async def commitments_of(store: Store, account: Account) -> list[bytes]:
    """Of the whole log, by its entries."""
    return [entry.commitment for entry in await flat(store.entries(account.no))]


async def test_commitments_are_those_of_the_entries(store: Store) -> None:
    """Any stretch of them, in order, of this account alone."""
    account, commitments = await filled(store)
    for first, count in [(0, 1), (0, SIZE), (255, 2), (256, 256), (SIZE - 1, 1), (17, 0)]:
        assert await store.commitments(account.no, first, count) == commitments[first : first + count]


async def test_hashes_make_every_root_and_every_proof(store: Store) -> None:
    """Leaves and block roots are those of the definition, for trees of any size that the log ever had."""
    account, commitments = await filled(store)
    leaves = list(map(hash_leaf, commitments))
    rng = random.Random(7)
    for _ in range(30):
        new = rng.randint(1, SIZE)
        old, index = rng.randint(0, new), rng.randrange(new)
        for subtrees in ([Subtree(0, new)], consistency_path(old, new), inclusion_path(index, new)):
            hashes = await store.hashes(account.no, runs_of(subtrees))
            assert roots_of(subtrees, hashes) == [root_of(leaves[one.first : one.end]) for one in subtrees]


async def test_hashes_that_are_not_there_are_told(store: Store) -> None:
    """Nobody gets fewer than asked for."""
    account, _ = await filled(store, 300)
    with pytest.raises(InconsistentLog, match="1 of 2 entries from 299 on are missing"):
        await store.commitments(account.no, 299, 2)
    for run in (Run(0, 300, 1), Run(1, 1, 1), Run(2, 0, 1)):
        with pytest.raises(InconsistentLog, match="missing"):
            await store.hashes(account.no, [run])


async def test_an_entry_is_found_by_its_id(store: Store) -> None:
    """In its account, and in no other."""
    account, other = await add_account(store), await add_account(store)
    mine, common = new_id(), new_id()
    await append(store, account, event(account, _id=mine), event(account, Kind.TOKEN, _id=common))
    await append(store, other, event(other, _id=common))
    entries = await flat(store.entries(account.no))
    assert await store.entry(account.no, mine) == entries[1]
    assert await store.entry(account.no, common) == entries[2]
    assert await store.entry(other.no, mine) is None
    assert await store.entry(account.no, new_id()) is None


@settings(max_examples=25)
@given(times=st.lists(st.integers(0, 20), max_size=12), since=st.integers(0, 20), length=st.integers(0, 20))
def test_the_numbers_of_a_window_are_its_lowest_and_highest(
    store: Store, runner: asyncio.Runner, times: list[int], since: int, length: int
) -> None:
    """However the entries' times are mixed up, and whatever another account has there."""

    async def try_it() -> None:
        account, other = await add_account(store), await add_account(store)
        base = NOW_MS + 10
        for time in times:
            await append(store, account, event_at(account, base + time))
            await append(store, other, event_at(other, base + time))
        within = [seq for seq, time in enumerate(times, 1) if since <= time < since + length]
        expected = (min(within), max(within)) if within else None
        assert await store.numbers(account.no, base + since, base + since + length) == expected

    runner.run(try_it())


async def test_the_numbers_of_all_time_are_the_whole_log(store: Store) -> None:
    """From the first entry to the last."""
    account, _ = await filled(store, 5)
    assert await store.numbers(account.no, 0, MAX_TIME_MS + 1) == (0, 4)


async def test_what_was_signed_is_kept_for_others_to_see(open_store: Open) -> None:
    """A server keeps it, a command beside it reads it; the newest replaces the one before."""
    server, command = open_store(), open_store()
    account, other = await add_account(server), await add_account(server)
    assert await command.checkpoint(account.no, Standing.SIGNED) is None
    for size in (1, 2):
        signed = KeptCheckpoint(account.no, Standing.SIGNED, size, f"note {size} —\n")
        published = KeptCheckpoint(account.no, Standing.PUBLISHED, size - 1, "published\n")
        await server.keep([signed, published])
        assert await command.checkpoint(account.no, Standing.SIGNED) == signed
        assert await command.checkpoint(account.no, Standing.PUBLISHED) == published
    assert await command.checkpoint(other.no, Standing.SIGNED) is None


async def test_how_far_witnesses_are_is_kept(open_store: Open) -> None:
    """One row for each account and witness, the newest."""
    server, command = open_store(), open_store()
    account, other = await add_account(server), await add_account(server)
    first = WitnessState(account.no, "w.example/1", 7, NOW_MS, None, NOW_MS)
    failed = WitnessState(other.no, "w.example/1", 0, None, "it hangs", NOW_MS)
    kept: list[Kept] = [failed, first]
    await server.keep(kept)
    assert await command.witness_states() == [first, failed]
    newer = WitnessState(account.no, "w.example/1", 9, NOW_MS + 1, None, NOW_MS + 1)
    second = WitnessState(account.no, "w.example/2", 9, NOW_MS + 1, None, NOW_MS + 1)
    await server.keep([newer, second])
    assert await command.witness_states() == [newer, second, failed]
