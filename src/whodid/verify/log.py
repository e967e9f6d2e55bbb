"""A log as it is served now, verified by its tiles (C2SP tlog-tiles).

The steps, each of which needs what the ones before it found:

1. *log*: it answers with a checkpoint.
2. *signature*: that is signed by the key, for the log of the account that the URL names.
3. *cosignatures*: every witness that was named cosigned it.
4. *growth*: the log only grew since an earlier checkpoint. The tiles show what its root is now at the size that it had
   then, and that this leads to the root that is signed now. A smaller checkpoint than the earlier one fails, but may
   be no more than late: it contradicts that one only if the tiles of the larger log are still shown, and show it.
5. *tree*: the tiles of hashes lead to the root that was signed.
6. *every tile*: only if asked for: all hashes of all tiles are made again from all entries.

For 4 and 5 a few tiles are fetched, whatever the log's size. Growth comes first: a log that was caught should not get
away with tiles that don't load.
"""

from base64 import b64encode
from collections import defaultdict
from collections.abc import Callable, Sequence

from whodid.bundle import InvalidEntry
from whodid.checkpoint import Checkpoint
from whodid.commitment import COMMITMENT_BYTES
from whodid.errors import InvalidEvidence, InvalidParameter, WhodidError
from whodid.merkle import HASH_BYTES, BlockRoot, Frontier, append, hash_leaf
from whodid.notes import MOST_NOTE_BYTES, Note
from whodid.proofs import Run, Subtree, check_consistency, consistency_path, roots_of, runs_of
from whodid.tiles import WIDTH, Tile, commitments_in, hashes_in, tile_with
from whodid.verify.evidence import Evidence
from whodid.verify.steps import Claim, Contradiction, Finding, Progress, Report, counted, not_asked, passed
from whodid.verify.trust import Trust, check_root, told

Fetch = Callable[[str, int], bytes | None]
"""The file at a path below the log's URL, if it has no more bytes than so many; None where there is none."""

_ENTRY_BYTES = 2 + COMMITMENT_BYTES


def verify_log(
    fetch: Fetch,
    account: str,
    trust: Trust,
    *,
    earlier: bytes | str | None = None,
    every_tile: bool = False,
    progress: Progress = lambda _done, _total: None,
) -> Report:
    """Verify the log of an account as ``fetch`` shows it; ``earlier`` is the note of an earlier checkpoint."""
    log = _Log(fetch, account, trust, earlier, progress)
    return log.take(
        [
            ("log", log.check_answer),
            ("signature", log.check_signature),
            ("cosignatures", log.check_cosignatures),
            ("growth", log.check_growth),
            ("tree", log.check_tree),
            ("every tile", log.check_every_tile if every_tile else lambda: not_asked("a few tiles were checked")),
        ]
    )


class _Log(Evidence):
    """One log, while it is verified."""

    def __init__(
        self, fetch: Fetch, account: str, trust: Trust, earlier: bytes | str | None, progress: Progress
    ) -> None:
        super().__init__(trust)
        self._fetch = fetch
        self._account = account
        self._earlier = earlier
        self._progress = progress

    def check_answer(self) -> Finding:
        """Step 1."""
        data = self._fetch("checkpoint", MOST_NOTE_BYTES)
        if data is None:
            raise InvalidParameter(
                "there is no log at this URL, or it has no checkpoint; "
                "a log's URL is like https://audit.example.com/log/org-acme-acc0"
            )
        try:
            self._note = Note.parse(data)
            checkpoint = Checkpoint.parse(self._note.text)
        except InvalidEvidence as error:
            raise InvalidEvidence(f"what the log shows as its checkpoint is none: {error.message}") from error
        return passed(f"{checkpoint.origin} shows a checkpoint")

    def check_signature(self) -> Finding:
        """Step 2."""
        self.signed = self._trust.open(str(self._note), self._account)
        self._tiles = _Tiles(self._fetch, self._checkpoint.size)
        self.claim = Claim(
            text=f"the log of {self._account} is what {self.signed.signer.name} signed", account=self._account
        )
        return passed(told(self.signed))

    def check_growth(self) -> Finding:
        """Step 4."""
        if self._earlier is None:
            return not_asked("there is no earlier checkpoint yet")
        now = self._checkpoint
        earlier = self._trust.open_earlier(self._earlier, self._signed)
        if earlier.size > now.size:
            self._check_larger(earlier, now)
            raise InvalidEvidence(
                f"the log shows a checkpoint of {counted(now.size)}, older than yours of {earlier.size}: "
                "try again in a minute; if it stays so, you are shown an old log, or it was rolled back"
            )
        if earlier.size < now.size:
            check_root(earlier, self._tiles.root_before(now, earlier.size))
        return passed(f"the log only grew, from {earlier.size} to {counted(now.size)}")

    def _check_larger(self, earlier: Checkpoint, now: Checkpoint) -> None:
        """Check, if the tiles of the larger log are still shown, that it begins with the smaller one."""
        try:
            root = _Tiles(self._fetch, earlier.size).root_before(earlier, now.size)
        except WhodidError:  # the tiles show nothing for or against the log
            return
        if root != now.root:
            raise Contradiction(
                f"the log signed another root for {counted(now.size)} than it had at {earlier.size}: "
                "it was rolled back, and entries were changed"
            )

    def check_tree(self) -> Finding:
        """Step 5."""
        checkpoint = self._checkpoint
        (root,) = self._tiles.roots([Subtree(0, checkpoint.size)])
        if root != checkpoint.root:
            raise InvalidEvidence(
                f"the log's tiles lead to the root {b64encode(root).decode()}, not to the one that it signed"
            )
        return passed(f"the tiles lead to the root of the log of {counted(checkpoint.size)}")

    def check_every_tile(self) -> Finding:
        """Step 6."""
        size = self._checkpoint.size
        frontier = Frontier()
        above = _TilesAbove(self._tiles)
        while frontier.size < size:
            frontier, blocks = append(frontier, self._leaves(frontier.size))
            above.compare(blocks)
            self._progress(frontier.size, size)
        above.compare_rest()
        if frontier.root() != self._checkpoint.root:
            raise InvalidEvidence("the log's entries make another root than it signed")
        return passed(f"all hashes of all tiles are those of {counted(size)}")

    def _leaves(self, first: int) -> list[bytes]:
        """The leaf hashes of the next tile, made of its entries, and compared."""
        number, width = first // WIDTH, min(WIDTH, self._checkpoint.size - first)
        leaves = list(map(hash_leaf, self._tiles.commitments(Tile(None, number, width))))
        for seq, (made, shown) in enumerate(
            zip(leaves, self._tiles.hashes(Tile(0, number, width)), strict=True), first
        ):
            if made != shown:
                raise InvalidEntry(seq, f"the tile of hashes does not have that of entry {seq}")
        return leaves


class _Tiles:
    """The tiles of a log of ``size`` entries, as they are shown. None is kept but those that roots are made of."""

    def __init__(self, fetch: Fetch, size: int) -> None:
        self._fetch = fetch
        self._size = size
        self._kept: dict[Tile, list[bytes]] = {}

    def roots(self, subtrees: Sequence[Subtree]) -> list[bytes]:
        """The roots of subtrees, from the few tiles that they need. Raises ``InvalidEvidence``."""
        return roots_of(subtrees, {run: self._run(run) for run in runs_of(subtrees)})

    def root_before(self, now: Checkpoint, size: int) -> bytes:
        """The root of the first ``size`` entries, if it leads to that of ``now``. Raises ``InvalidEvidence``."""
        (root,) = self.roots([Subtree(0, size)])
        try:
            check_consistency(size, now.size, root, now.root, self.roots(consistency_path(size, now.size)))
        except InvalidEvidence as error:
            raise InvalidEvidence(f"the log's tiles do not lead to its root: {error.message}") from error
        return root

    def hashes(self, tile: Tile) -> list[bytes]:
        """A tile of hashes. Raises ``InvalidEvidence``."""
        return hashes_in(tile, self._read(tile, HASH_BYTES))

    def commitments(self, tile: Tile) -> list[bytes]:
        """A tile of entries. Raises ``InvalidEvidence``."""
        return commitments_in(tile, self._read(tile, _ENTRY_BYTES))

    def _run(self, run: Run) -> list[bytes]:
        tile = tile_with(run, self._size)
        if tile not in self._kept:
            self._kept[tile] = self.hashes(tile)
        start = run.position - tile.first
        return self._kept[tile][start : start + run.width]

    def _read(self, tile: Tile, item_bytes: int) -> bytes:
        """The bytes of a tile. Where a partial one is gone, the full one has come instead, and begins with it."""
        data = self._fetch(tile.path, tile.width * item_bytes)
        if data is None and tile.width < WIDTH:
            whole = self._fetch(tile._replace(width=WIDTH).path, WIDTH * item_bytes)
            data = None if whole is None else whole[: tile.width * item_bytes]
        if data is None:
            raise InvalidEvidence(f"the log does not show {tile.path}, which a log of {counted(self._size)} has")
        return data


class _TilesAbove:
    """Compares the tiles above the lowest with the roots of blocks, as these are made; holds one tile a level."""

    def __init__(self, tiles: _Tiles) -> None:
        self._tiles = tiles
        self._rows: defaultdict[int, list[BlockRoot]] = defaultdict(list)

    def compare(self, blocks: Sequence[BlockRoot]) -> None:
        """Take in the blocks that come next. Raises ``InvalidEvidence``."""
        for block in blocks:
            row = self._rows[block.level]
            row.append(block)
            if len(row) == WIDTH:
                self._compare(self._rows.pop(block.level))

    def compare_rest(self) -> None:
        """Compare what is in partial tiles. Raises ``InvalidEvidence``."""
        for row in self._rows.values():
            self._compare(row)

    def _compare(self, row: list[BlockRoot]) -> None:
        tile = Tile(row[0].level, row[0].position // WIDTH, len(row))
        if self._tiles.hashes(tile) != [block.root for block in row]:
            raise InvalidEvidence(f"{tile.path} has other hashes than the log's entries make")
