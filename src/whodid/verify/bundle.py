"""Evidence bundles verified: with nothing but the file and the keys.

The steps, each of which needs what the ones before it found:

1. *bundle*: the file begins with the header of an evidence bundle.
2. *signature*: the header's checkpoint is signed by the key, for the log of the header's account, and goes as far as
   the entries do.
3. *cosignatures*: every witness that was named cosigned it.
4. *entries*: the file has the entries that were asked for; each of its entries is there once, in order, with a salt
   and a record of the account, as its hint says; and it has its last line.
5. *tree*: with what the last line says of the rest of the log, the entries make the root that was signed.
6. *growth*: the log only grew since an earlier checkpoint.

Only 2, 5 and 6 prove; 4 tells which entry is wrong, which 5 can't.
"""

from collections.abc import Iterable, Sequence
from typing import TypeAlias

import msgspec

from whodid.bundle import CHECK_BYTES, BundleEntry, BundleHeader, BundleReader, InvalidEntry
from whodid.checkpoint import Checkpoint, SignedCheckpoint
from whodid.commitment import commit
from whodid.errors import InvalidEvidence
from whodid.merkle import Frontier, Span, hash_leaf
from whodid.proofs import check_consistency
from whodid.verify.evidence import Evidence
from whodid.verify.records import account_in
from whodid.verify.steps import Claim, Finding, Progress, Report, counted, not_asked, passed
from whodid.verify.trust import Trust, check_root, size_of, told

Needed: TypeAlias = tuple[int, int | None]
"""The number of the first entry that is needed, and that of the one after the last; None for the signed log's end."""


def verify_bundle(
    pieces: Iterable[bytes],
    trust: Trust,
    *,
    earlier: bytes | str | None = None,
    needed: Needed | None = None,
    progress: Progress = lambda _done, _total: None,
) -> Report:
    """Verify the bundle that the pieces of a file make up; ``earlier`` is the note of an earlier checkpoint.

    The bundle must have all entries that are ``needed``; if that is None, whatever it has will do, even none.
    """
    bundle = _Bundle(BundleReader(pieces), trust, earlier, needed, progress)
    return bundle.take(
        [
            ("bundle", bundle.check_header),
            ("signature", bundle.check_signature),
            ("cosignatures", bundle.check_cosignatures),
            ("entries", bundle.check_entries),
            ("tree", bundle.check_tree),
            ("growth", bundle.check_growth),
        ]
    )


class _Bundle(Evidence):
    """One bundle, while it is verified."""

    def __init__(
        self,
        reader: BundleReader,
        trust: Trust,
        earlier: bytes | str | None,
        needed: Needed | None,
        progress: Progress,
    ) -> None:
        super().__init__(trust)
        self._reader = reader
        self._earlier = earlier
        self._needed = needed
        self._progress = progress

    def check_header(self) -> Finding:
        """Step 1."""
        self._header = header = self._reader.header()
        self._span = Span.at(header.first)
        self._split = _Split(size_of(self._earlier))
        return passed(_range(header))

    def check_signature(self) -> Finding:
        """Step 2."""
        signed = self._trust.open(self._header.checkpoint, self._header.account)
        if signed.checkpoint.size < self._header.end:
            raise InvalidEvidence(
                f"the checkpoint is of a log of {counted(signed.checkpoint.size)}, "
                f"and can't vouch for entries up to {self._header.end - 1}"
            )
        self.signed = signed
        self.claim = _claim(self._header, signed)
        return passed(told(signed))

    def check_entries(self) -> Finding:
        """Step 4. Keeps of the entries only what they come to."""
        header = self._header
        self._check_needed()
        self._split.look(self._span)
        for entries in self._reader.entries():
            self._take(entries)
            self._progress(self._span.end - header.first, header.end - header.first)
        if self._span.end < header.end:
            raise InvalidEntry(self._span.end, f"entry {self._span.end} is missing, and all after it")
        return passed(f"{counted(header.end - header.first)}, each there once, in order, and of {header.account}")

    def _check_needed(self) -> None:
        """Check that the entries that were asked for are among those that the header names."""
        if self._needed is None:
            return
        header, (first, end) = self._header, self._needed
        stop = max(first, self._checkpoint.size) if end is None else end
        if header.first > first or header.end < stop:
            all_of_them = f"from {first} on" if end is None else f"from {first} to {end - 1}"
            raise InvalidEntry(
                first if header.first > first else max(first, header.end),
                f"the bundle has {_range(header)}, and not all {all_of_them}, which were asked for",
            )

    def _take(self, entries: list[BundleEntry]) -> None:
        commitments = list(map(commit, [one.salt for one in entries], [one.record.encode() for one in entries]))
        if not self._are_sound(entries, commitments):
            raise self._fault(entries, commitments)
        leaves = list(map(hash_leaf, commitments))
        cut = self._split.within(self._span.end, len(leaves))
        for part in (leaves[:cut], leaves[cut:]):
            self._span = self._span.extend(part)
            self._split.look(self._span)

    def _are_sound(self, entries: Sequence[BundleEntry], commitments: Sequence[bytes]) -> bool:
        """Whether all is well, told fast."""
        first = self._span.end
        if first + len(entries) > self._header.end:
            return False
        if [one.seq for one in entries] != [*range(first, first + len(entries))]:
            return False
        if not {account_in(one.record) for one in entries} <= {self._header.account}:
            return False
        return all(
            one.check is msgspec.UNSET or one.check == commitment[:CHECK_BYTES].hex()
            for one, commitment in zip(entries, commitments, strict=True)
        )

    def _fault(self, entries: Sequence[BundleEntry], commitments: Sequence[bytes]) -> InvalidEntry:
        """The first thing that is wrong; called where something is."""
        for seq, (entry, commitment) in enumerate(zip(entries, commitments, strict=True), self._span.end):
            if problem := self._problem(seq, entry, commitment):
                return InvalidEntry(min(seq, self._header.end), problem)
        raise AssertionError

    def _problem(self, seq: int, entry: BundleEntry, commitment: bytes) -> str | None:
        if seq >= self._header.end:
            return f"entry {entry.seq} comes after all {_range(self._header)}"
        if entry.seq != seq:
            return f"entry {entry.seq} stands where entry {seq} should be"
        account = account_in(entry.record)
        if account is None:
            return f"the record of entry {seq} is not a JSON object with an account"
        if account != self._header.account:
            return f"the record of entry {seq} is of the account {account[:100]!r}, not of {self._header.account}"
        hint = commitment[:CHECK_BYTES].hex()
        if entry.check not in (msgspec.UNSET, hint):
            return f"entry {seq} was changed: its hint says {entry.check!r:.20}, its salt and record make {hint}"
        return None

    def check_tree(self) -> Finding:
        """Step 5."""
        header, tail, checkpoint = self._header, self._reader.tail, self._checkpoint
        if len(tail.left) != header.first.bit_count():
            raise InvalidEvidence(
                f"the last line has {counted(len(tail.left), 'hash', 'hashes')} left of entry {header.first}, "
                f"and needs {header.first.bit_count()}"
            )
        self._left = Frontier(header.first, tail.left[::-1])
        root = self._span.after(self._left).root()
        try:
            check_consistency(header.end, checkpoint.size, root, checkpoint.root, tail.consistency)
        except InvalidEvidence as error:
            raise InvalidEvidence(
                f"{error.message}: {_range(header)} are not what was signed, or the hashes of the last line are not. "
                "Which entry was changed can't be told, since the hints agree with the entries, or are left out"
            ) from error
        return passed(f"the entries lead to the root of the log of {counted(checkpoint.size)}")

    def check_growth(self) -> Finding:
        """Step 6."""
        if self._earlier is None:
            return not_asked("no earlier checkpoint was given")
        now = self._checkpoint
        earlier = self._trust.open_earlier(self._earlier, self._signed)
        if earlier.size > now.size:
            raise InvalidEvidence(
                f"the earlier checkpoint is of {counted(earlier.size)}, this one of only {now.size}: "
                "the bundle is older than it, or the log was rolled back"
            )
        if self._split.at is not None and self._split.at.end == earlier.size:
            check_root(earlier, self._split.at.after(self._left).root())
        elif earlier.size != now.size:
            self._check_proof(earlier, now)
        return passed(f"the log only grew, from {earlier.size} to {counted(now.size)}")

    def _check_proof(self, earlier: Checkpoint, now: Checkpoint) -> None:
        previous = self._reader.tail.previous
        proof: tuple[bytes, ...] | None = () if earlier.size == 0 else None
        if previous is not msgspec.UNSET and previous.size == earlier.size:
            proof = previous.proof
        if proof is None:
            raise InvalidEvidence(
                f"the bundle does not show how the log grew from {counted(earlier.size)}: have one made that does, "
                "with 'whodid export --evidence --previous' and the earlier checkpoint"
            )
        check_consistency(earlier.size, now.size, earlier.root, now.root, proof)


class _Split:
    """Catches the span of the entries before the one where an earlier log ended, as it passes by."""

    def __init__(self, size: int | None) -> None:
        self._size = size
        self.at: Span | None = None

    def within(self, first: int, count: int) -> int:
        """How many of ``count`` leaves from ``first`` on come before that entry; all, if it is not among them."""
        return count if self._size is None or not first <= self._size <= first + count else self._size - first

    def look(self, span: Span) -> None:
        """Keep the span if it ends there."""
        if span.end == self._size:
            self.at = span


def _claim(header: BundleHeader, signed: SignedCheckpoint) -> Claim:
    are = ": the bundle has none" if header.first == header.end else " are those"
    return Claim(
        text=f"{_range(header)}{are} of the log of {counted(signed.checkpoint.size)} that {signed.signer.name} signed",
        account=header.account,
        entries=range(header.first, header.end),
    )


def _range(header: BundleHeader) -> str:
    if header.first == header.end:
        return f"no entries (from {header.first} on) of {header.account}"
    return f"entries {header.first} to {header.end - 1} of {header.account}"
