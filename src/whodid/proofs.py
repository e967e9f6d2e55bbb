"""Proofs over the Merkle tree: that an entry is in a log, and that a log only grew. Made and checked. Pure.

What is made follows RFC 6962 §2.1.1 and §2.1.2; the checks are those of RFC 9162 §2.1.3.2 and §2.1.4.2, and share no
code with the making.

A proof is a list of roots of subtrees. Where a log is kept, its leaves and the roots of its complete blocks of 256,
256 · 256, … leaves are at hand (the hashes of its tiles). So a proof is made in two steps, with the reading of hashes
in between, which is not done here: ``runs_of`` tells which hashes are needed, ``roots_of`` makes the roots of them.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from whodid.errors import InvalidEvidence
from whodid.merkle import EMPTY_ROOT, HASH_BYTES, TILE_HEIGHT, hash_node, root_of_pairs

MOST_HASHES = 63
"""A proof has no more hashes (C2SP tlog-witness): enough for every log of up to 2^62 entries."""

_SIZES = range(1 << 63)


class Subtree(NamedTuple):
    """The leaves ``[first, end)`` of a tree, as RFC 6962 splits it: ``first`` is a multiple of a power of two."""

    first: int
    end: int


class Run(NamedTuple):
    """Hashes that follow one another at one level: ``position`` and after it, ``width`` (a power of two, up to 128).

    At level 0 they are leaf hashes, at level *l* roots of complete blocks of ``256 ** l`` leaves. A run never
    crosses the border of a tile.
    """

    level: int
    position: int
    width: int


def inclusion_path(index: int, size: int) -> list[Subtree]:
    """The subtrees whose roots prove leaf ``index`` to be in the tree of ``size`` leaves, its sibling first.

    RFC 6962 §2.1.1, ``PATH``. Raises ``ValueError`` unless ``0 <= index < size``.
    """
    if not 0 <= index < size:
        raise ValueError(f"leaf {index} is not in a tree of size {size}")
    path: list[Subtree] = []
    first, end = 0, size
    while end - first > 1:
        middle = first + _split(end - first)
        if index < middle:
            path.append(Subtree(middle, end))
            end = middle
        else:
            path.append(Subtree(first, middle))
            first = middle
    return path[::-1]


def consistency_path(old: int, new: int) -> list[Subtree]:
    """The subtrees whose roots prove the tree of ``new`` leaves to begin with the tree of ``old`` leaves.

    RFC 6962 §2.1.2, ``PROOF``; empty where ``old`` is 0 or ``new``. Raises ``ValueError`` unless
    ``0 <= old <= new``.
    """
    if not 0 <= old <= new:
        raise ValueError(f"a tree of size {new} does not begin with one of size {old}")
    if old in (0, new):
        return []
    path: list[Subtree] = []
    first, end = 0, new
    while old != end:
        middle = first + _split(end - first)
        if old <= middle:
            path.append(Subtree(middle, end))
            end = middle
        else:
            path.append(Subtree(first, middle))
            first = middle
    if first:  # else what is left is the old tree itself, whose root whoever checks has
        path.append(Subtree(first, end))
    return path[::-1]


def runs_of(subtrees: Sequence[Subtree]) -> list[Run]:
    """The hashes that the roots of ``subtrees`` are made of."""
    return [_run(*piece) for subtree in subtrees for piece in _complete(subtree)]


def roots_of(subtrees: Sequence[Subtree], hashes: Mapping[Run, Sequence[bytes]]) -> list[bytes]:
    """The roots of ``subtrees``, in order; ``hashes`` has those of each run that ``runs_of`` names."""
    return [_root(subtree, hashes) for subtree in subtrees]


def check_inclusion(index: int, size: int, leaf: bytes, proof: Sequence[bytes], root: bytes) -> None:
    """Check that the leaf hash ``leaf`` is at ``index`` in the tree of ``size`` leaves with this root.

    RFC 9162 §2.1.3.2. Raises ``InvalidEvidence``.
    """
    _check_hashes(leaf, root, *proof)
    _check_sizes(index, size)
    if index >= size:
        raise InvalidEvidence(f"entry {index} is not in a log of {size} entries")
    sides = _sides(index, size - 1)
    _check_count("inclusion", len(sides), len(proof))
    made = leaf
    for hash_, on_left in zip(proof, sides, strict=True):
        made = hash_node(hash_, made) if on_left else hash_node(made, hash_)
    if made != root:
        raise InvalidEvidence(
            f"the inclusion proof does not lead from entry {index} to the root of the log of {size} entries"
        )


def check_consistency(old: int, new: int, old_root: bytes, new_root: bytes, proof: Sequence[bytes]) -> None:
    """Check that the tree of ``new`` leaves begins with the tree of ``old`` leaves: that the log only grew.

    RFC 9162 §2.1.4.2, and, from the empty tree: an empty proof. Raises ``InvalidEvidence``.
    """
    _check_hashes(old_root, new_root, *proof)
    _check_sizes(old, new)
    if old > new:
        raise InvalidEvidence(f"a log of {new} entries can't have grown from one of {old}")
    if old in (0, new):
        _check_trivial(old, new, old_root, new_root, proof)
        return
    below = _trailing_ones(old - 1)
    sides = _sides(old - 1 >> below, new - 1 >> below)
    is_subtree = old & (old - 1) == 0  # then the old root stands for the proof's first hash, which is left out
    _check_count("consistency", len(sides) + (not is_subtree), len(proof))
    made_old = made_new = old_root if is_subtree else proof[0]
    for hash_, on_left in zip(proof if is_subtree else proof[1:], sides, strict=True):
        if on_left:
            made_old, made_new = hash_node(hash_, made_old), hash_node(hash_, made_new)
        else:
            made_new = hash_node(made_new, hash_)
    if (made_old, made_new) != (old_root, new_root):
        raise InvalidEvidence(f"the log of {new} entries does not begin with the log of {old} entries")


def _sides(place: int, last: int) -> list[bool]:
    """On the way up from ``place``, of nodes numbered up to ``last``, whether each hash of a proof comes from the left.

    RFC 9162 calls them ``fn`` and ``sn``.
    """
    sides: list[bool] = []
    while last:
        on_left = bool(place & 1) or place == last
        if on_left and not place & 1:  # nodes at the right edge without a sibling: they are their own parents
            alone = (place & -place).bit_length() - 1
            place, last = place >> alone, last >> alone
        sides.append(on_left)
        place, last = place >> 1, last >> 1
    return sides


def _trailing_ones(number: int) -> int:
    return (~number & number + 1).bit_length() - 1


def _check_trivial(old: int, new: int, old_root: bytes, new_root: bytes, proof: Sequence[bytes]) -> None:
    """Check what needs no proof: that a log grew from the empty one, or is the same."""
    if proof:
        raise InvalidEvidence("the consistency proof has too many hashes: none is needed here")
    if (old == 0 and old_root != EMPTY_ROOT) or (old == new and old_root != new_root):
        raise InvalidEvidence(f"two logs of {old} entries have different roots")


def _check_hashes(*hashes: bytes) -> None:
    if any(len(hash_) != HASH_BYTES for hash_ in hashes):
        raise InvalidEvidence(f"a hash of a proof is not {HASH_BYTES} bytes long")
    if len(hashes) > MOST_HASHES + 2:
        raise InvalidEvidence(f"a proof has at most {MOST_HASHES} hashes")


def _check_sizes(*sizes: int) -> None:
    if any(size not in _SIZES for size in sizes):  # may be too long even to be written down
        raise InvalidEvidence("the sizes of logs, and the numbers of their entries, are from 0 to 2^63 - 1")


def _check_count(what: str, needed: int, given: int) -> None:
    if given != needed:
        much = "many" if given > needed else "few"
        raise InvalidEvidence(f"the {what} proof has too {much} hashes: {needed} are needed, not {given}")


def _split(width: int) -> int:
    """The largest power of two below ``width``: where RFC 6962 §2.1 splits a list."""
    return 1 << (width - 1).bit_length() - 1


def _complete(subtree: Subtree) -> Iterator[tuple[int, int]]:
    """Height and position of the complete subtrees that a subtree consists of, from left to right."""
    first, end = subtree
    while first < end:
        height = (end - first).bit_length() - 1
        yield height, first >> height
        first += 1 << height


def _run(height: int, position: int) -> Run:
    """The run of hashes that lie below a node."""
    level, above = divmod(height, TILE_HEIGHT)
    return Run(level, position << above, 1 << above)


def _root(subtree: Subtree, hashes: Mapping[Run, Sequence[bytes]]) -> bytes:
    roots = [root_of_pairs(hashes[_run(*piece)]) for piece in _complete(subtree)]
    if not roots:
        return EMPTY_ROOT
    root = roots.pop()
    while roots:
        root = hash_node(roots.pop(), root)
    return root
