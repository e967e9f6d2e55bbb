"""The Merkle tree, beside the definition of RFC 6962 §2.1 written down naively."""

import hashlib
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whodid.merkle import EMPTY_ROOT, BlockRoot, Frontier, Span, append, hash_leaf, hash_node, root_of, root_of_pairs

# The leaves and roots that the implementations of RFC 6962 test themselves with.
KNOWN_LEAVES = [
    bytes.fromhex(text)
    for text in (
        "", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f",
    )
]  # fmt: skip
KNOWN_ROOTS = {
    0: "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    1: "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    2: "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    3: "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    4: "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    5: "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    6: "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    7: "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    8: "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
}


def naive_root(leaves: list[bytes]) -> bytes:
    """``MTH`` of leaf hashes, word for word as in RFC 6962 §2.1."""
    if not leaves:
        return hashlib.sha256().digest()
    if len(leaves) == 1:
        return leaves[0]
    k = 1 << (len(leaves) - 1).bit_length() - 1  # the largest power of two smaller than n
    return hashlib.sha256(b"\x01" + naive_root(leaves[:k]) + naive_root(leaves[k:])).digest()


def naive_blocks(leaves: list[bytes]) -> list[BlockRoot]:
    """The root of each complete block of each level, from its leaves."""
    blocks: list[BlockRoot] = []
    level, width = 1, 256
    while width <= len(leaves):
        blocks += [
            BlockRoot(level, index, naive_root(leaves[index * width : (index + 1) * width]))
            for index in range(len(leaves) // width)
        ]
        level, width = level + 1, width * 256
    return blocks


def numbered_leaves(count: int) -> list[bytes]:
    """Leaf hashes that all differ."""
    return [hash_leaf(number.to_bytes(4, "big")) for number in range(count)]


@pytest.mark.parametrize("size", KNOWN_ROOTS)
def test_known_leaves_have_the_known_roots(size: int) -> None:
    """The roots that every implementation of RFC 6962 agrees on."""
    assert root_of(hash_leaf(data) for data in KNOWN_LEAVES[:size]).hex() == KNOWN_ROOTS[size]


def test_an_empty_tree_has_the_root_of_nothing() -> None:
    """A log without entries has a root too."""
    assert Frontier().root() == EMPTY_ROOT == hashlib.sha256().digest()
    assert append(Frontier(), []) == (Frontier(), [])


@pytest.mark.parametrize("size", [*range(1, 70), 127, 128, 129, 255, 256, 257, 511, 512, 513, 1000])
def test_the_root_is_that_of_the_definition(size: int) -> None:
    """The frontier's root equals the recursive definition at each size, odd ones above all."""
    leaves = numbered_leaves(size)
    assert root_of(leaves) == naive_root(leaves)


@given(size=st.integers(0, 1300), cuts=st.lists(st.integers(0, 1300)))
def test_any_split_of_appends_grows_the_same_tree(size: int, cuts: list[int]) -> None:
    """However a log was appended to, frontier and block roots are those of its leaves."""
    leaves = numbered_leaves(size)
    frontier, blocks = Frontier(), list[BlockRoot]()
    for start, end in pairwise([0, *sorted(min(cut, size) for cut in cuts), size]):
        frontier, completed = append(frontier, leaves[start:end])
        blocks += completed
    assert frontier == append(Frontier(), leaves)[0]
    assert frontier.root() == naive_root(leaves)
    assert sorted(blocks) == naive_blocks(leaves)


def test_blocks_of_two_levels_are_handed_out_as_they_complete() -> None:
    """At 65,536 leaves a block of the second level is complete; each comes once, and is the subtree's root."""
    leaves = numbered_leaves(70_000)
    frontier, blocks = append(Frontier(), leaves[:65_535])
    assert {block.level for block in blocks} == {1}
    frontier, completing = append(frontier, leaves[65_535:65_536])
    assert [(block.level, block.position) for block in completing] == [(1, 255), (2, 0)]
    frontier, rest = append(frontier, leaves[65_536:])
    assert sorted(blocks + completing + rest) == naive_blocks(leaves)
    assert frontier.root() == naive_root(leaves)


@given(size=st.integers(0, 5000))
def test_a_frontier_reads_back_what_was_written(size: int) -> None:
    """Its bytes are 32 for each bit that is set in the size."""
    frontier = Frontier(size, tuple(numbered_leaves(size.bit_count())))
    assert len(frontier.to_bytes()) == 32 * size.bit_count()
    assert Frontier.from_bytes(size, frontier.to_bytes()) == frontier


@pytest.mark.parametrize(("size", "data"), [(1, b""), (0, bytes(32)), (3, bytes(32)), (1, bytes(31)), (-1, bytes(32))])
def test_a_frontier_that_contradicts_its_size_is_refused(size: int, data: bytes) -> None:
    """Damaged bytes are noticed, not grown on."""
    with pytest.raises(ValueError, match="frontier"):
        Frontier.from_bytes(size, data)


def test_leaves_and_nodes_are_hashed_apart() -> None:
    """A leaf whose data are two hashes is not the node above them (RFC 6962 §2.1)."""
    left, right = numbered_leaves(2)
    assert hash_node(left, right) != hash_leaf(left + right)


def naive_subtrees(leaves: list[bytes], first: int) -> tuple[tuple[int, bytes], ...]:
    """From the left, each time the largest complete subtree that begins there: the leaves from ``first`` on."""
    subtrees: list[tuple[int, bytes]] = []
    at = first
    while at < len(leaves):
        height = max(height for height in range(20) if at % 2**height == 0 and at + 2**height <= len(leaves))
        subtrees.append((height, naive_root(leaves[at : at + 2**height])))
        at += 2**height
    return tuple(subtrees)


def span_of(leaves: list[bytes], first: int, cuts: list[int]) -> Span:
    """The span of the leaves from ``first`` on, extended by one piece after the other."""
    span = Span.at(first)
    places = sorted(min(max(cut, first), len(leaves)) for cut in cuts)
    for start, end in pairwise([first, *places, len(leaves)]):
        span = span.extend(leaves[start:end])
    return span


@given(
    ends=st.tuples(st.integers(0, 1300), st.integers(0, 1300)).map(sorted),
    cuts=st.lists(st.integers(0, 1300), max_size=6),
)
def test_a_span_leads_from_any_tree_to_a_later_one(ends: list[int], cuts: list[int]) -> None:
    """However its leaves came: after the frontier of those before it, it is the frontier of all."""
    first, end = ends
    leaves = numbered_leaves(end)
    span = span_of(leaves, first, cuts)
    assert (span.first, span.end) == (first, end)
    assert span.after(append(Frontier(), leaves[:first])[0]) == append(Frontier(), leaves)[0]
    assert span.after(append(Frontier(), leaves[:first])[0]).root() == naive_root(leaves)


@given(
    ends=st.tuples(st.integers(0, 1300), st.integers(0, 1300)).map(sorted),
    cuts=st.lists(st.integers(0, 1300), max_size=6),
)
def test_a_span_is_the_largest_complete_subtrees_of_its_leaves(ends: list[int], cuts: list[int]) -> None:
    """However its leaves came; so what is kept of a piece of a log is short."""
    first, end = ends
    leaves = numbered_leaves(end)
    span = span_of(leaves, first, cuts)
    assert span.subtrees == naive_subtrees(leaves, first)
    assert len(span.subtrees) <= 2 * 11


@pytest.mark.parametrize("first", [0, 1, 255, 256, 257, 65_280, 65_281, 65_535, 65_536, 65_537, 69_999, 70_000])
def test_a_span_goes_over_borders_of_blocks_of_two_levels(first: int) -> None:
    """In one piece, and in pieces that fit no block."""
    leaves = numbered_leaves(70_000)
    before, whole = append(Frontier(), leaves[:first])[0], append(Frontier(), leaves)[0]
    assert Span.at(first).extend(leaves[first:]).after(before) == whole
    span = span_of(leaves, first, list(range(first, 70_000, 997)))
    assert span == Span.at(first).extend(leaves[first:])
    assert span.after(before) == whole


@given(first=st.integers(0, 2**62), more=st.integers(0, 600))
def test_a_span_of_a_huge_log_is_that_of_its_place(first: int, more: int) -> None:
    """Nothing is counted from the log's beginning: with roots that nobody computed, it grows as ``append`` does."""
    frontier = Frontier(first, tuple(numbered_leaves(first.bit_count())))
    leaves = numbered_leaves(more)
    assert Span.at(first).extend(leaves).after(frontier) == append(frontier, leaves)[0]


@given(first=st.integers(0, 600), more=st.integers(0, 600))
def test_a_changed_leaf_of_a_span_changes_the_root(first: int, more: int) -> None:
    """Any one of them: the first, the last, one between; and so do two that are swapped."""
    leaves = numbered_leaves(first + more)
    before = append(Frontier(), leaves[:first])[0]
    root = Span.at(first).extend(leaves[first:]).after(before).root()
    for place in {first, first + more // 2, first + more - 1} if more else set():
        changed = [*leaves[:place], bytes(32), *leaves[place + 1 :]]
        assert Span.at(first).extend(changed[first:]).after(before).root() != root
    if more > 1:
        swapped = [*leaves[first:-2], leaves[-1], leaves[-2]]
        assert Span.at(first).extend(swapped).after(before).root() != root


@given(sizes=st.tuples(st.integers(0, 300), st.integers(0, 300)))
def test_a_span_follows_the_tree_that_ends_where_it_begins(sizes: tuple[int, int]) -> None:
    """Any other is refused, not grown wrongly."""
    first, size = sizes
    frontier = append(Frontier(), numbered_leaves(size))[0]
    if first == size:
        assert Span.at(first).after(frontier) == frontier
    else:
        with pytest.raises(ValueError, match=f"from leaf {first} does not follow a tree of size {size}"):
            Span.at(first).after(frontier)


@pytest.mark.parametrize("height", range(9))
def test_a_complete_subtree_has_the_root_of_the_definition(height: int) -> None:
    """From the hashes of a run of any width."""
    leaves = numbered_leaves(1 << height)
    assert root_of_pairs(leaves) == naive_root(leaves)
