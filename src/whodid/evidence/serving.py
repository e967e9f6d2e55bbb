"""What is served as evidence: checkpoints, tiles, proofs. The web asks here; nothing in here knows HTTP."""

from typing import NamedTuple, Protocol

from whodid.checkpoint import ProofFile, SignedCheckpoint
from whodid.errors import InvalidParameter, NotFound
from whodid.evidence.proving import prove_consistency, prove_inclusion, read_tile
from whodid.evidence.signing import Signer
from whodid.store.base import Entry, Store
from whodid.tiles import Tile, exists


class Publisher(Protocol):
    """Decides which of the signed checkpoints is shown to everybody."""

    async def published(self, account_no: int, account: str) -> SignedCheckpoint:
        """The newest published checkpoint of an account's log, with the cosignatures that it got."""
        ...


class Proof(NamedTuple):
    """That an entry is in the log of a checkpoint."""

    entry: Entry
    hashes: list[bytes]
    """The inclusion proof, the leaf's sibling first."""
    signed: SignedCheckpoint

    @property
    def file(self) -> ProofFile:
        """As a proof file."""
        return ProofFile(self.entry.seq, tuple(self.hashes), self.signed.note)


class Consistency(NamedTuple):
    """That the log of ``new`` entries begins with the log of ``old`` entries."""

    old: int
    new: int
    hashes: list[bytes]
    signed: SignedCheckpoint | None
    """The checkpoint of ``new`` entries, where none was asked for by its size."""


class Evidence:
    """Checkpoints, tiles and proofs of all accounts' logs.

    Everything here raises ``InconsistentLog`` for a log that contradicts what was signed of it (``Publisher`` tells):
    what such a log says is worth nothing, and must not be kept by anybody as if it were.
    """

    def __init__(self, store: Store, signer: Signer, publisher: Publisher) -> None:
        self._store = store
        self._signer = signer
        self._publisher = publisher

    async def account_no(self, account: str) -> int | None:
        """The number of the account of this name, for those who may know that there is one."""
        found = await self._store.account(account)
        return None if found is None else found.no

    async def checkpoint(self, account_no: int, account: str) -> SignedCheckpoint:
        """The newest published checkpoint of an account's log."""
        return await self._publisher.published(account_no, account)

    async def tile(self, account_no: int, account: str, tile: Tile) -> bytes:
        """The bytes of a tile. Raises ``NotFound`` where the log has no such tile, or not yet."""
        await self._publisher.published(account_no, account)
        size = await self._size(account)
        if not exists(tile, size):
            raise NotFound(f"the log of {size} entries has no {tile.path}")
        return await read_tile(self._store, account_no, tile)

    async def proof(self, account_no: int, account: str, record_id: str) -> Proof:
        """That the record with this ``_id`` is in the log. Raises ``NotFound``.

        The checkpoint is the published one, since that has cosignatures; where it doesn't cover the entry yet, a
        newer one.
        """
        entry = await self._store.entry(account_no, record_id)
        if entry is None:
            raise NotFound(f"the log has no record with the _id {record_id}")
        signed = await self._publisher.published(account_no, account)
        if signed.checkpoint.size <= entry.seq:
            signed = await self._signer.covering(account, entry.seq + 1)
        checkpoint = signed.checkpoint
        hashes = await prove_inclusion(self._store, account_no, entry, checkpoint.size, checkpoint.root)
        return Proof(entry, hashes, signed)

    async def consistency(self, account_no: int, account: str, old: int, new: int | None) -> Consistency:
        """That the log only grew from ``old`` to ``new`` entries; None: to those of the newest published checkpoint.

        Raises ``InvalidParameter``.
        """
        signed = await self._publisher.published(account_no, account)
        if new is None:
            if old > signed.checkpoint.size:
                raise InvalidParameter(
                    f"without to, from must be at most {signed.checkpoint.size}, the size of the newest checkpoint"
                )
            hashes = await prove_consistency(self._store, account_no, old, signed.checkpoint.size)
            return Consistency(old, signed.checkpoint.size, hashes, signed)
        if new > (size := await self._size(account)):
            raise InvalidParameter(f"to must be at most {size}: the log has no more entries yet")
        if old > new:
            raise InvalidParameter(f"from must be at most to, which is {new}, not {old}")
        return Consistency(old, new, await prove_consistency(self._store, account_no, old, new), None)

    async def _size(self, account: str) -> int:
        found = await self._store.account(account)
        return 0 if found is None else found.frontier.size
