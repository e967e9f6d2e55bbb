"""The Merkle tree of RFC 6962 §2.1, grown at its right edge. Pure: nothing but hashing.

A log keeps of its tree the *frontier*: the roots of the complete subtrees that its leaves fall into, one for each
bit that is set in the log's size. That is all that is needed to go on, and to know the root. Besides, the root of
every complete block of 256 leaves, and of 256 such blocks, and so on, is handed out as it completes: these are the
hashes of the tiles above the lowest (C2SP tlog-tiles), which make proofs cheap (``proofs.py``).

A piece of a log, whose beginning is not at hand, has a ``Span``: what its leaves come to without those before.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

HASH_BYTES = 32
TILE_HEIGHT = 8
"""A tile spans 8 levels of the tree: 256 hashes wide."""

EMPTY_ROOT = hashlib.sha256(b"").digest()


class BlockRoot(NamedTuple):
    """The root of one complete block: ``256 ** level`` leaves, beginning at leaf ``position * 256 ** level``."""

    level: int
    position: int
    root: bytes


@dataclass(frozen=True, slots=True)
class Frontier:
    """A log's size and the roots of its complete subtrees, the smallest first."""

    size: int = 0
    roots: tuple[bytes, ...] = ()

    def __post_init__(self) -> None:
        if self.size < 0 or len(self.roots) != self.size.bit_count():
            raise ValueError(f"a frontier of size {self.size} has {self.size.bit_count()} roots, not {len(self.roots)}")

    def to_bytes(self) -> bytes:
        """The roots, 32 bytes each, the smallest subtree's first."""
        return b"".join(self.roots)

    @classmethod
    def from_bytes(cls, size: int, data: bytes) -> "Frontier":
        """The frontier that ``to_bytes`` wrote. Raises ``ValueError`` where length and size disagree."""
        if len(data) % HASH_BYTES:
            raise ValueError(f"a frontier is a multiple of {HASH_BYTES} bytes long, not {len(data)}")
        return cls(size, tuple(data[at : at + HASH_BYTES] for at in range(0, len(data), HASH_BYTES)))

    def root(self) -> bytes:
        """The tree's root: RFC 6962 §2.1, ``MTH``."""
        if not self.roots:
            return EMPTY_ROOT
        root = self.roots[0]
        for left in self.roots[1:]:
            root = hash_node(left, root)
        return root


def hash_leaf(data: bytes) -> bytes:
    """RFC 6962 §2.1: ``SHA-256(0x00 || data)``."""
    return hashlib.sha256(b"\x00" + data).digest()


def hash_node(left: bytes, right: bytes) -> bytes:
    """RFC 6962 §2.1: ``SHA-256(0x01 || left || right)``."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def append(frontier: Frontier, leaves: Sequence[bytes]) -> tuple[Frontier, list[BlockRoot]]:
    """The frontier after ``leaves`` (leaf hashes, in order), and the roots of the blocks that they completed.

    Goes up level by level: the nodes that are new at a level, with the one that waited there for its right
    sibling, pair up to the new nodes of the next; a node left without a sibling is the new frontier's there.
    """
    waiting = _by_level(frontier)
    grown: list[bytes] = []
    blocks: list[BlockRoot] = []
    nodes = list(leaves)
    first = frontier.size
    level = 0
    while nodes or waiting:
        if level and level % TILE_HEIGHT == 0:
            blocks += [BlockRoot(level // TILE_HEIGHT, first + at, root) for at, root in enumerate(nodes)]
        left = waiting.pop(level, None)
        if left is not None:
            nodes.insert(0, left)
            first -= 1
        if len(nodes) % 2:
            grown.append(nodes.pop())
        nodes = _pair(nodes)
        first //= 2
        level += 1
    return Frontier(frontier.size + len(leaves), tuple(grown)), blocks


@dataclass(frozen=True, slots=True)
class Span:
    """The leaves ``[first, end)`` of a tree, as the roots of the largest complete subtrees that they fill.

    Each subtree is a pair of its height (it has ``2 ** height`` leaves) and its root, in the order of the leaves. With
    the frontier of the tree of the ``first`` leaves before them, they make the frontier of the tree of ``end`` leaves.
    """

    first: int
    end: int
    subtrees: tuple[tuple[int, bytes], ...] = ()

    @classmethod
    def at(cls, first: int) -> "Span":
        """No leaves yet, the next one being ``first``."""
        return cls(first, first)

    def extend(self, leaves: Sequence[bytes]) -> "Span":
        """The span with these leaf hashes after it."""
        subtrees = list(self.subtrees)
        position = self.end
        for height, roots in _aligned(position, leaves):
            for root in roots:
                _push(subtrees, position, height, root)
                position += 1 << height
        return Span(self.first, position, tuple(subtrees))

    def after(self, frontier: Frontier) -> Frontier:
        """The frontier of the tree that ends where the span does; ``frontier`` is that of the leaves before it.

        Raises ``ValueError`` where the frontier does not end where the span begins.
        """
        if frontier.size != self.first:
            raise ValueError(f"a span from leaf {self.first} does not follow a tree of size {frontier.size}")
        subtrees = [*zip(_heights(frontier.size), reversed(frontier.roots), strict=True)]
        position = self.first
        for height, root in self.subtrees:
            _push(subtrees, position, height, root)
            position += 1 << height
        return Frontier(position, tuple(root for _, root in reversed(subtrees)))


def root_of(leaves: Iterable[bytes]) -> bytes:
    """The root of a tree with these leaf hashes."""
    return append(Frontier(), list(leaves))[0].root()


def root_of_pairs(hashes: Sequence[bytes]) -> bytes:
    """The root of a complete subtree with these nodes at its bottom; there are a power of two of them."""
    nodes = list(hashes)
    while len(nodes) > 1:
        nodes = _pair(nodes)
    return nodes[0]


def _heights(size: int) -> list[int]:
    """The heights of the complete subtrees of a tree of this size, the largest (and leftmost) first."""
    return [height for height in reversed(range(size.bit_length())) if size >> height & 1]


def _aligned(first: int, leaves: Sequence[bytes]) -> Iterator[tuple[int, list[bytes]]]:
    """The leaves from place ``first`` on as complete subtrees of one tile's height, and single ones on both sides."""
    width = 1 << TILE_HEIGHT
    start = min(-first % width, len(leaves))
    end = start + (len(leaves) - start) // width * width
    yield 0, list(leaves[:start])
    nodes = list(leaves[start:end])
    for _ in range(TILE_HEIGHT if nodes else 0):
        nodes = _pair(nodes)
    yield TILE_HEIGHT, nodes
    yield 0, list(leaves[end:])


def _push(subtrees: list[tuple[int, bytes]], position: int, height: int, root: bytes) -> None:
    """Add the subtree that begins at leaf ``position``: with its left sibling, if that is the last, it makes one."""
    while position >> height & 1 and subtrees and subtrees[-1][0] == height:
        root = hash_node(subtrees.pop()[1], root)
        height += 1
    subtrees.append((height, root))


def _by_level(frontier: Frontier) -> dict[int, bytes]:
    levels = [level for level in range(frontier.size.bit_length()) if frontier.size >> level & 1]
    return dict(zip(levels, frontier.roots, strict=True))


def _pair(nodes: list[bytes]) -> list[bytes]:
    sha256 = hashlib.sha256  # looked up once: this is the hottest loop of an append
    return [sha256(b"\x01" + left + right).digest() for left, right in zip(nodes[::2], nodes[1::2], strict=True)]
