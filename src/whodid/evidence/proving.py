"""Proofs and tiles out of a store. Reads hashes; what they mean is in ``merkle``, ``proofs`` and ``tiles``."""

from collections.abc import Sequence

from whodid.checkpoint import Checkpoint
from whodid.commitment import commit
from whodid.errors import InconsistentLog, InvalidEvidence
from whodid.merkle import Frontier, hash_leaf
from whodid.proofs import (
    Run,
    Subtree,
    check_consistency,
    check_inclusion,
    consistency_path,
    inclusion_path,
    roots_of,
    runs_of,
)
from whodid.store.base import Account, Entry, Store
from whodid.tiles import Tile, entry_bundle


async def prove_inclusion(store: Store, account_no: int, entry: Entry, size: int, root: bytes) -> list[bytes]:
    """That an entry is in the account's log of ``size`` entries, which has this root: its sibling's hash first.

    Checked before it is handed out. Raises ``InconsistentLog`` where the store does not bear it out.
    """
    if commit(entry.salt, entry.record) != entry.commitment:
        raise InconsistentLog(f"entry {entry.seq} was changed: its record and salt do not make its commitment")
    proof = await _roots(store, account_no, inclusion_path(entry.seq, size))
    try:
        check_inclusion(entry.seq, size, hash_leaf(entry.commitment), proof, root)
    except InvalidEvidence as error:
        raise InconsistentLog(f"the store contradicts the checkpoint of {size} entries: {error.message}") from error
    return proof


async def prove_consistency(store: Store, account_no: int, old: int, new: int) -> list[bytes]:
    """That the account's log of ``new`` entries begins with its log of ``old`` entries."""
    return await _roots(store, account_no, consistency_path(old, new))


async def check_growth(store: Store, account: Account, earlier: Checkpoint) -> None:
    """Check that the account's log begins with the log of an earlier checkpoint. Raises ``InconsistentLog``."""
    size, root = account.frontier.size, account.frontier.root()
    if earlier.size > size:
        raise InconsistentLog(
            f"the log of {account.name} has {size} entries, but a checkpoint of {earlier.size} entries was signed: "
            f"{earlier.size - size} are missing, as in an old copy of the store"
        )
    proof = await prove_consistency(store, account.no, earlier.size, size)
    try:
        check_consistency(earlier.size, size, earlier.root, root, proof)
    except InvalidEvidence as error:
        raise InconsistentLog(
            f"the log of {account.name} is not the one whose checkpoint of {earlier.size} entries was signed: entries "
            "were changed, or the store is an old copy that has grown since"
        ) from error


async def frontier_at(store: Store, account_no: int, size: int) -> Frontier:
    """The frontier of the account's log when it had ``size`` entries."""
    subtrees: list[Subtree] = []
    end = size
    while end:
        first = end & (end - 1)  # without its lowest bit
        subtrees.append(Subtree(first, end))
        end = first
    return Frontier(size, tuple(await _roots(store, account_no, subtrees)))


async def read_tile(store: Store, account_no: int, tile: Tile) -> bytes:
    """The bytes of a tile, which the log must have."""
    if tile.level is None:
        return entry_bundle(await store.commitments(account_no, tile.first, tile.width))
    run = Run(tile.level, tile.first, tile.width)
    return b"".join((await store.hashes(account_no, [run]))[run])


async def _roots(store: Store, account_no: int, subtrees: Sequence[Subtree]) -> list[bytes]:
    return roots_of(subtrees, await store.hashes(account_no, runs_of(subtrees)))
