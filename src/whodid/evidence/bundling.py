"""Bundling: writes the evidence of a stretch of a log to a file, for an auditor who has nothing else."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import BinaryIO

from msgspec import UNSET

from whodid.bundle import BundleHeader, BundleTail, BundleWriter, PreviousProof
from whodid.checkpoint import Checkpoint, SignedCheckpoint, open_checkpoint
from whodid.commitment import commit
from whodid.errors import InconsistentLog, InvalidEvidence, InvalidParameter
from whodid.evidence.proving import frontier_at, prove_consistency
from whodid.evidence.signing import Signer
from whodid.merkle import Frontier, Span, hash_leaf
from whodid.proofs import check_consistency
from whodid.store.base import Account, Entry, Progress, Standing, Store


@dataclass(frozen=True, slots=True)
class Stretch:
    """The entries ``[first, end)`` of a log, and the checkpoint that vouches for them."""

    first: int
    end: int
    signed: SignedCheckpoint


async def choose(store: Store, signer: Signer, account: Account, first: int, end: int | None) -> Stretch:
    """The stretch from ``first`` to ``end``; None: to what the log has now.

    The checkpoint is the published one if that covers it, since witnesses may have cosigned that; else a new one.
    Raises ``InvalidParameter`` where the log has no such stretch.
    """
    published = await _published(store, signer, account) if end is not None else None
    if published is not None and end is not None and end <= published.checkpoint.size:
        signed = published
    else:
        signed = await signer.newest(account.name, covering=account.frontier.size)
    end = signed.checkpoint.size if end is None else end
    if end > signed.checkpoint.size:
        raise InvalidParameter(f"the log has {signed.checkpoint.size} entries; the evidence can't go up to {end}")
    if first > end:
        raise InvalidParameter(f"the evidence can't begin at entry {first} and end before entry {end}")
    return Stretch(first, end, signed)


async def write_bundle(
    store: Store,
    account: Account,
    stretch: Stretch,
    out: BinaryIO,
    *,
    previous: Checkpoint | None,
    progress: Progress,
) -> None:
    """Write the evidence of a stretch; ``previous`` is a checkpoint from which on growth shall be proven, too.

    Raises ``InvalidParameter`` where ``previous`` is not of this log, or newer than the bundle's checkpoint;
    ``InconsistentLog`` where the entries in the store are not those that were signed.
    """
    first, end, signed = stretch.first, stretch.end, stretch.signed
    size = signed.checkpoint.size
    left = await frontier_at(store, account.no, first)
    consistency = await prove_consistency(store, account.no, end, size)
    earlier = UNSET if previous is None else await _previous(store, account, previous, signed.checkpoint)
    writer = BundleWriter(out)
    writer.begin(
        BundleHeader(account=account.name, checkpoint=str(signed.note), key=str(signed.signer), first=first, end=end)
    )
    span = Span.at(first)
    async for chunk in _entries(store, account, first, end):
        _check_entries(chunk, span.end)
        span = span.extend([hash_leaf(entry.commitment) for entry in chunk])
        writer.add([(entry.seq, entry.salt, entry.commitment, entry.record) for entry in chunk])
        progress(span.end - first, end - first)
    _check_tree(span, left, end, signed.checkpoint, consistency)
    writer.end(BundleTail(left=left.roots[::-1], consistency=tuple(consistency), previous=earlier))


def _check_entries(entries: list[Entry], first: int) -> None:
    """What would not hold is not handed out: the operator learns it here, not from the auditor."""
    for seq, entry in enumerate(entries, first):
        if entry.seq != seq:
            raise InconsistentLog(f"entry {seq} is missing in the store; the next there is {entry.seq}")
        if commit(entry.salt, entry.record) != entry.commitment:
            raise InconsistentLog(f"entry {seq} was changed: its record and salt do not make its commitment")


def _check_tree(span: Span, left: Frontier, end: int, checkpoint: Checkpoint, consistency: list[bytes]) -> None:
    if span.end != end:
        raise InconsistentLog(f"the entries from {span.end} on are missing in the store")
    root = span.after(left).root()
    try:
        check_consistency(end, checkpoint.size, root, checkpoint.root, consistency)
    except InvalidEvidence as error:
        raise InconsistentLog(
            f"the entries {span.first} to {end - 1} are not those of the checkpoint of {checkpoint.size} entries; "
            "'whodid verify-store' tells more"
        ) from error


async def _published(store: Store, signer: Signer, account: Account) -> SignedCheckpoint | None:
    kept = await store.checkpoint(account.no, Standing.PUBLISHED)
    if kept is None:
        return None
    try:
        return open_checkpoint(kept.note, signer.verifiers(account.name)[:1])
    except InvalidEvidence:
        return None  # of an earlier name or key of the log


async def _previous(store: Store, account: Account, previous: Checkpoint, now: Checkpoint) -> PreviousProof:
    if previous.origin != now.origin:
        raise InvalidParameter(f"the previous checkpoint is of the log {previous.origin}, this is {now.origin}")
    if previous.size > now.size:
        raise InvalidParameter(
            f"the previous checkpoint has {previous.size} entries, more than this one's {now.size}: give an older one, "
            "or none"
        )
    proof = await prove_consistency(store, account.no, previous.size, now.size)
    return PreviousProof(previous.size, tuple(proof))


async def _entries(store: Store, account: Account, first: int, end: int) -> AsyncIterator[list[Entry]]:
    if first == end:
        return
    async for chunk in store.entries(account.no, first):
        yield chunk[: end - chunk[0].seq]
        if chunk[-1].seq >= end - 1:
            return
