"""Proofs: made and checked, beside the recursive definitions of RFC 6962 written down naively."""

import random
from collections.abc import Sequence
from functools import cache
from itertools import combinations_with_replacement

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.test_merkle import KNOWN_LEAVES, KNOWN_ROOTS, numbered_leaves

from whodid.errors import InvalidEvidence
from whodid.merkle import EMPTY_ROOT, Frontier, append, hash_leaf, hash_node
from whodid.proofs import (
    MOST_HASHES,
    Run,
    Subtree,
    check_consistency,
    check_inclusion,
    consistency_path,
    inclusion_path,
    roots_of,
    runs_of,
)

LARGEST = 70_000
SIZES = [*range(1, 71), 255, 256, 257, 511, 512, 513]
LARGE_SIZES = [65_535, 65_536, 65_537, LARGEST]
BORDERS = [0, 1, 127, 128, 255, 256, 257, 511, 512, 32_767, 32_768, 65_279, 65_280, 65_534, 65_535, 65_536, 69_999]

hashes = st.binary(min_size=32, max_size=32)
odd_hashes = st.binary(min_size=31, max_size=31) | st.binary(min_size=33, max_size=33)
sizes = st.integers(1, 300)
sizes_in_practice = st.integers(1, 2**62) | st.integers(0, 62).map(lambda bits: 1 << bits)
any_sizes = st.integers(1, 2**63 - 1) | st.integers(0, 62).map(lambda bits: 1 << bits)


def k_of(width: int) -> int:
    """RFC 6962 §2.1: the largest power of two smaller than n."""
    k = 1
    while k * 2 < width:
        k *= 2
    return k


class Tree:
    """A log kept naively: every function is the one of RFC 6962 §2.1, over ``D[first:end]`` of these leaf hashes."""

    def __init__(self, leaves: Sequence[bytes]) -> None:
        self.leaves = leaves
        self.blocks = {(block.level, block.position): block.root for block in append(Frontier(), leaves)[1]}
        self.mth = cache(self._mth)

    def _mth(self, first: int, end: int) -> bytes:
        """§2.1, ``MTH``."""
        if first == end:
            return EMPTY_ROOT
        if end - first == 1:
            return self.leaves[first]
        k = k_of(end - first)
        return hash_node(self.mth(first, first + k), self.mth(first + k, end))

    def path(self, m: int, first: int, end: int) -> list[bytes]:
        """§2.1.1, ``PATH``."""
        if end - first == 1:
            return []
        k = k_of(end - first)
        if m < k:
            return [*self.path(m, first, first + k), self.mth(first + k, end)]
        return [*self.path(m - k, first + k, end), self.mth(first, first + k)]

    def proof(self, m: int, end: int) -> list[bytes]:
        """§2.1.2, ``PROOF``; the empty tree needs none."""
        return self.subproof(m, 0, end, whole=True) if m else []

    def subproof(self, m: int, first: int, end: int, *, whole: bool) -> list[bytes]:
        """§2.1.2, ``SUBPROOF``."""
        if m == end - first:
            return [] if whole else [self.mth(first, end)]
        k = k_of(end - first)
        if m <= k:
            return [*self.subproof(m, first, first + k, whole=whole), self.mth(first + k, end)]
        return [*self.subproof(m - k, first + k, end, whole=False), self.mth(first, first + k)]

    def made(self, subtrees: Sequence[Subtree], size: int) -> list[bytes]:
        """The roots of subtrees, from nothing but leaf hashes and the block roots that a log of this size keeps."""
        return roots_of(subtrees, {run: self.read(run, size) for run in runs_of(subtrees)})

    def read(self, run: Run, size: int) -> list[bytes]:
        """The hashes of a run, which is as a run has to be."""
        end = run.position + run.width
        assert run.width in (1, 2, 4, 8, 16, 32, 64, 128)
        assert run.position // 256 == (end - 1) // 256
        assert end <= size // 256**run.level
        if run.level == 0:
            return list(self.leaves[run.position : end])
        return [self.blocks[run.level, position] for position in range(run.position, end)]


@cache
def tree() -> Tree:
    """A log larger than two levels of tiles."""
    return Tree(numbered_leaves(LARGEST))


def root_by_path(index: int, size: int, leaf: bytes, proof: Sequence[bytes]) -> bytes | None:
    """The root that an inclusion proof leads to: ``PATH`` read backwards. None if its length is wrong."""
    if size == 1 or not proof:
        return leaf if size == 1 and not proof else None
    k = k_of(size)
    below = root_by_path(*((index, k) if index < k else (index - k, size - k)), leaf, proof[:-1])
    if below is None:
        return None
    return hash_node(below, proof[-1]) if index < k else hash_node(proof[-1], below)


def roots_by_proof(m: int, n: int, proof: Sequence[bytes], old_root: bytes | None) -> tuple[bytes, bytes] | None:
    """The old and the new root that a consistency proof leads to: ``SUBPROOF`` read backwards.

    ``old_root`` is what whoever checks has, and None where the RFC's ``b`` is false. None if the length is wrong.
    """
    if m == n:
        known = [*proof] if old_root is None else [old_root, *proof]
        return (known[0], known[0]) if len(known) == 1 else None
    if not proof:
        return None
    k = k_of(n)
    below = roots_by_proof(m, k, proof[:-1], old_root) if m <= k else roots_by_proof(m - k, n - k, proof[:-1], None)
    if below is None:
        return None
    if m <= k:
        return below[0], hash_node(below[1], proof[-1])
    return hash_node(proof[-1], below[0]), hash_node(proof[-1], below[1])


def path_length(index: int, size: int) -> int:
    """How many hashes an inclusion proof has."""
    if size == 1:
        return 0
    k = k_of(size)
    return 1 + (path_length(index, k) if index < k else path_length(index - k, size - k))


def proof_length(m: int, n: int, *, whole: bool = True) -> int:
    """How many hashes a consistency proof has."""
    if m == n:
        return 0 if whole else 1
    k = k_of(n)
    return 1 + (proof_length(m, k, whole=whole) if m <= k else proof_length(m - k, n - k, whole=False))


def included(index: int, size: int, leaf: bytes, proof: Sequence[bytes], root: bytes) -> bool:
    """Whether the check accepts; that it raises nothing but ``InvalidEvidence`` is tested along."""
    try:
        check_inclusion(index, size, leaf, proof, root)
    except InvalidEvidence:
        return False
    return True


def consistent(old: int, new: int, old_root: bytes, new_root: bytes, proof: Sequence[bytes]) -> bool:
    """Whether the check accepts; that it raises nothing but ``InvalidEvidence`` is tested along."""
    try:
        check_consistency(old, new, old_root, new_root, proof)
    except InvalidEvidence:
        return False
    return True


def flipped(draw: st.DrawFn, one: bytes) -> bytes:
    """The same bytes but for one bit."""
    place, bit = draw(st.integers(0, len(one) - 1)), draw(st.integers(0, 7))
    return one[:place] + bytes([one[place] ^ 1 << bit]) + one[place + 1 :]


@st.composite
def changed(draw: st.DrawFn, proof: Sequence[bytes]) -> list[bytes]:
    """A proof of other hashes than this one: one is changed, removed, added, cut, lengthened, or two are swapped."""
    after = list(proof)
    kinds = ["added", *(["changed", "removed", "odd"] if proof else []), *(["swapped"] if len(proof) > 1 else [])]
    kind = draw(st.sampled_from(kinds))
    place = draw(st.integers(0, len(proof) - (kind != "added")))
    if kind == "added":
        after.insert(place, draw(st.sampled_from([*proof, bytes(32)]) | hashes))
    elif kind == "removed":
        del after[place]
    elif kind == "changed":
        after[place] = flipped(draw, after[place])
    elif kind == "odd":
        after[place] = draw(st.sampled_from([after[place][:31], after[place] + b"\0", b"", after[place] * 2]))
    else:
        other = draw(st.integers(0, len(proof) - 1).filter(lambda other: other != place))
        after[place], after[other] = after[other], after[place]
    return after


@st.composite
def one_bit_off(draw: st.DrawFn, one: bytes) -> bytes:
    """The same hash but for one bit."""
    return flipped(draw, one)


@pytest.mark.parametrize("size", SIZES)
def test_inclusion_proofs_are_those_of_the_definition(size: int) -> None:
    """Each leaf of a tree has the very hashes that RFC 6962 §2.1.1 says, and they are accepted."""
    for index in range(size):
        proof = tree().made(inclusion_path(index, size), size)
        assert proof == tree().path(index, 0, size)
        check_inclusion(index, size, tree().leaves[index], proof, tree().mth(0, size))


@pytest.mark.parametrize("size", SIZES)
def test_consistency_proofs_are_those_of_the_definition(size: int) -> None:
    """Each earlier size has the very hashes that RFC 6962 §2.1.2 says, and they are accepted."""
    for old in range(size + 1):
        proof = tree().made(consistency_path(old, size), size)
        assert proof == tree().proof(old, size)
        check_consistency(old, size, tree().mth(0, old), tree().mth(0, size), proof)


@pytest.mark.parametrize("size", LARGE_SIZES)
def test_proofs_of_a_large_log_are_those_of_the_definition(size: int, rng: random.Random) -> None:
    """Where hashes come from tiles of two levels, too: at the borders of tiles, and anywhere."""
    for place in [*BORDERS, *(rng.randrange(size) for _ in range(150))]:
        index = min(place, size - 1)
        inclusion = tree().made(inclusion_path(index, size), size)
        assert inclusion == tree().path(index, 0, size)
        check_inclusion(index, size, tree().leaves[index], inclusion, tree().mth(0, size))
        consistency = tree().made(consistency_path(index, size), size)
        assert consistency == tree().proof(index, size)
        check_consistency(index, size, tree().mth(0, index), tree().mth(0, size), consistency)


@given(ends=st.tuples(st.integers(0, LARGEST), st.integers(0, LARGEST)).map(sorted), data=st.data())
def test_any_proof_is_that_of_the_definition(ends: list[int], data: st.DataObject) -> None:
    """Whatever the sizes and the leaf."""
    old, new = ends
    assert tree().made(consistency_path(old, new), new) == tree().proof(old, new)
    if new:
        index = data.draw(st.integers(0, new - 1))
        assert tree().made(inclusion_path(index, new), new) == tree().path(index, 0, new)


@pytest.mark.parametrize("size", [0, *SIZES, *LARGE_SIZES])
def test_the_root_at_an_older_size_is_made_of_what_a_log_keeps(size: int) -> None:
    """A log knows its root at every size that it ever had, from leaf hashes and block roots."""
    assert tree().made([Subtree(0, size)], size) == [tree().mth(0, size)]


def test_a_large_subtree_is_read_from_few_hashes() -> None:
    """At most one run for each height, however many leaves: what makes proofs cheap."""
    assert runs_of([Subtree(0, 65_536)]) == [Run(2, 0, 1)]
    assert runs_of([Subtree(32_768, 65_536)]) == [Run(1, 128, 128)]
    leaves = [Run(0, 69_888, 64), Run(0, 69_952, 32), Run(0, 69_984, 16)]
    assert runs_of([Subtree(65_536, 70_000)]) == [Run(1, 256, 16), Run(1, 272, 1), *leaves]
    assert sum(run.width for run in runs_of(inclusion_path(69_999, LARGEST))) <= 3 * 255


def test_the_known_leaves_are_proven_to_be_in_the_known_roots() -> None:
    """The roots that every implementation of RFC 6962 agrees on."""
    known = Tree([hash_leaf(data) for data in KNOWN_LEAVES])
    for size, root in list(KNOWN_ROOTS.items())[1:]:
        for index in range(size):
            proof = known.made(inclusion_path(index, size), size)
            check_inclusion(index, size, hash_leaf(KNOWN_LEAVES[index]), proof, bytes.fromhex(root))


def test_the_known_roots_grew_from_one_another() -> None:
    """Each known tree begins with each smaller one."""
    known = Tree([hash_leaf(data) for data in KNOWN_LEAVES])
    for old, new in combinations_with_replacement(KNOWN_ROOTS, 2):
        proof = known.made(consistency_path(old, new), new)
        check_consistency(old, new, bytes.fromhex(KNOWN_ROOTS[old]), bytes.fromhex(KNOWN_ROOTS[new]), proof)


@pytest.mark.parametrize(("index", "size"), [(0, 0), (-1, 5), (5, 5), (6, 5), (0, -1)])
def test_a_leaf_outside_the_tree_has_no_proof(index: int, size: int) -> None:
    """Asking for one is a mistake of the program."""
    with pytest.raises(ValueError, match=f"leaf {index} is not in a tree of size {size}"):
        inclusion_path(index, size)


@pytest.mark.parametrize(("old", "new"), [(-1, 5), (6, 5), (1, 0), (0, -1), (-2, -1)])
def test_a_tree_that_shrank_has_no_proof(old: int, new: int) -> None:
    """Asking for one is a mistake of the program."""
    with pytest.raises(ValueError, match=f"a tree of size {new} does not begin with one of size {old}"):
        consistency_path(old, new)


@given(size=sizes, data=st.data())
def test_an_inclusion_proof_of_other_hashes_is_refused(size: int, data: st.DataObject) -> None:
    """Each hash counts, and its place, and its length, and that there is none besides."""
    index = data.draw(st.integers(0, size - 1))
    proof = data.draw(changed(tree().path(index, 0, size)))
    assert not included(index, size, tree().leaves[index], proof, tree().mth(0, size))


@given(size=sizes, data=st.data())
def test_an_inclusion_proof_holds_for_one_leaf_one_place_and_one_root(size: int, data: st.DataObject) -> None:
    """Another leaf, another index or another root is refused, and so is a hash of 31 or 33 bytes."""
    index = data.draw(st.integers(0, size - 1))
    leaf, proof, root = tree().leaves[index], tree().path(index, 0, size), tree().mth(0, size)
    other = data.draw(st.integers(-2, size + 2).filter(lambda other: other != index))
    assert included(index, size, leaf, proof, root)
    assert not included(other, size, leaf, proof, root)
    assert not included(index, size, tree().leaves[other % LARGEST], proof, root)
    for wrong in (data.draw(one_bit_off(leaf)), leaf[:31], leaf + b"\0", b"", data.draw(odd_hashes)):
        assert not included(index, size, wrong, proof, root)
    for wrong in (data.draw(one_bit_off(root)), root[:31], root + b"\0", b"", data.draw(odd_hashes)):
        assert not included(index, size, leaf, proof, wrong)


@given(ends=st.tuples(sizes, sizes), data=st.data())
def test_an_inclusion_proof_of_another_size_is_refused(ends: tuple[int, int], data: st.DataObject) -> None:
    """A proof made at one size does not hold at another, whose root is another."""
    made_at, size = ends
    index = data.draw(st.integers(0, made_at - 1))
    holds = included(index, size, tree().leaves[index], tree().path(index, 0, made_at), tree().mth(0, size))
    assert holds == (made_at == size)


@given(old=sizes, more=st.integers(0, 300), data=st.data())
def test_a_consistency_proof_of_other_hashes_is_refused(old: int, more: int, data: st.DataObject) -> None:
    """Each hash counts, and its place, and its length, and that there is none besides."""
    new = old + more
    proof = data.draw(changed(tree().proof(old, new)))
    assert not consistent(old, new, tree().mth(0, old), tree().mth(0, new), proof)


@given(old=sizes, more=st.integers(0, 300), data=st.data())
def test_a_consistency_proof_holds_for_two_roots(old: int, more: int, data: st.DataObject) -> None:
    """A log that changed what it once said, by one bit, is found out."""
    new = old + more
    old_root, new_root, proof = tree().mth(0, old), tree().mth(0, new), tree().proof(old, new)
    assert consistent(old, new, old_root, new_root, proof)
    for wrong in (data.draw(one_bit_off(old_root)), old_root[:31], old_root + b"\0", b"", EMPTY_ROOT):
        assert not consistent(old, new, wrong, new_root, proof)
    for wrong in (data.draw(one_bit_off(new_root)), new_root[:31], new_root + b"\0", b"", EMPTY_ROOT):
        assert not consistent(old, new, old_root, wrong, proof)


@given(made=st.tuples(sizes, sizes).map(sorted), claimed=st.tuples(sizes, sizes).map(sorted))
def test_a_consistency_proof_of_other_sizes_is_refused(made: list[int], claimed: list[int]) -> None:
    """A proof between two sizes does not hold between others, whose roots are others."""
    old, new = claimed
    proof = tree().proof(*made)
    assert consistent(old, new, tree().mth(0, old), tree().mth(0, new), proof) == (proof == tree().proof(old, new))


@given(old=st.integers(0, 300), less=st.integers(1, 300), proof=st.lists(hashes, max_size=10))
def test_a_log_that_shrank_is_refused(old: int, less: int, proof: list[bytes]) -> None:
    """However good the roots and the proof are the other way round."""
    new = old - less
    old_root, new_root = tree().mth(0, old), tree().mth(0, max(new, 0))
    for given_proof in (proof, [], tree().proof(max(new, 0), old)):
        assert not consistent(old, new, old_root, new_root, given_proof)


@given(new=st.integers(1, 300), root=hashes, proof=st.lists(hashes, min_size=1, max_size=3))
def test_any_log_is_consistent_with_the_empty_one(new: int, root: bytes, proof: list[bytes]) -> None:
    """By an empty proof, from the root of nothing; by no other proof, and from no other root."""
    assert consistent(0, new, EMPTY_ROOT, root, [])
    assert not consistent(0, new, EMPTY_ROOT, root, proof)
    assert not consistent(0, new, root, root, [])
    assert consistency_path(0, new) == []


@given(size=any_sizes, root=hashes, other=hashes, proof=st.lists(hashes, min_size=1, max_size=3))
def test_a_log_is_consistent_with_itself(size: int, root: bytes, other: bytes, proof: list[bytes]) -> None:
    """By an empty proof, if the two roots are the same."""
    assert consistent(size, size, root, root, [])
    assert consistent(size, size, root, other, []) == (root == other)
    assert not consistent(size, size, root, root, proof)
    assert consistency_path(size, size) == []


@given(root=hashes)
def test_two_empty_logs_both_have_the_root_of_nothing(root: bytes) -> None:
    """The new one's root is looked at as well."""
    assert consistent(0, 0, EMPTY_ROOT, EMPTY_ROOT, [])
    assert not consistent(0, 0, EMPTY_ROOT, root, [])
    assert not consistent(0, 0, root, EMPTY_ROOT, [])
    assert not consistent(0, 0, root, root, [])


@given(one=hashes, other=hashes, cut=st.integers(0, 64).filter(lambda cut: cut != 32))
def test_hashes_that_only_join_to_the_right_bytes_are_refused(one: bytes, other: bytes, cut: int) -> None:
    """What is hashed is the same wherever one hash ends and the next begins: so each must have 32 bytes."""
    root = hash_node(one, other)
    first, second = (one + other)[:cut], (one + other)[cut:]
    assert included(0, 2, one, [other], root)
    assert not included(0, 2, first, [second], root)
    assert included(1, 2, other, [one], root)
    assert not included(1, 2, second, [first], root)
    assert consistent(1, 2, one, root, [other])
    assert not consistent(1, 2, first, root, [second])


@given(wrong=odd_hashes | st.just(b""), size=any_sizes)
def test_roots_of_another_length_are_refused_where_no_proof_is_needed(wrong: bytes, size: int) -> None:
    """Though they are the same."""
    assert not included(0, 1, wrong, [], wrong)
    assert not consistent(size, size, wrong, wrong, [])
    assert not consistent(0, size, EMPTY_ROOT, wrong, [])


@given(size=any_sizes, data=st.data())
def test_inclusion_is_checked_as_the_definition_says_at_any_size(size: int, data: st.DataObject) -> None:
    """Up to 2^63 - 1 entries, with hashes that nobody computed: the same proofs are taken, and the same refused."""
    index = data.draw(st.integers(0, size - 1))
    leaf, *proof = numbered_leaves(1 + path_length(index, size))
    root = root_by_path(index, size, leaf, proof)
    assert root is not None
    assert included(index, size, leaf, proof, root)
    assert len(inclusion_path(index, size)) == len(proof) <= MOST_HASHES
    assert not included(index, size, leaf, data.draw(changed(proof)), root)
    other_index, other_size = data.draw(st.integers(0, 2**63)), data.draw(any_sizes)
    for place, count in ((other_index, size), (index, other_size), (size - 1 - index, size), (index, size + 1)):
        expected = place < count < 2**63 and root_by_path(place, count, leaf, proof) == root
        assert included(place, count, leaf, proof, root) == expected


@given(ends=st.tuples(sizes_in_practice, sizes_in_practice).map(sorted), data=st.data())
def test_consistency_is_checked_as_the_definition_says_at_any_size(ends: list[int], data: st.DataObject) -> None:
    """Up to 2^62 entries, with hashes that nobody computed: the same proofs are taken, and the same refused."""
    old, new = ends
    known, *proof = numbered_leaves(1 + proof_length(old, new))
    made = roots_by_proof(old, new, proof, known)
    assert made is not None
    assert consistent(old, new, *made, proof)
    assert len(consistency_path(old, new)) == len(proof) <= MOST_HASHES
    assert not consistent(old, new, *made, data.draw(changed(proof)))
    for one, other in ((old + 1, new), (old, new + 1), (max(old - 1, 1), new), (old, data.draw(any_sizes))):
        expected = one <= other < 2**63 and roots_by_proof(one, other, proof, made[0]) == made
        assert consistent(one, other, *made, proof) == expected


@given(
    numbers=st.tuples(st.integers(), st.integers()),
    leaf=st.binary(max_size=40) | hashes,
    root=st.binary(max_size=40) | hashes,
    proof=st.lists(st.binary(max_size=40) | hashes, max_size=4) | st.lists(hashes, max_size=70),
)
def test_checks_take_anything_and_refuse_it(
    numbers: tuple[int, int], leaf: bytes, root: bytes, proof: list[bytes]
) -> None:
    """Whatever bytes and numbers someone sends, a check says yes or ``InvalidEvidence``; and yes to what holds only."""
    index, size = numbers
    assert included(index, size, leaf, proof, root) == (
        0 <= index < size and len(leaf) == 32 and leaf == root and (size, proof) == (1, [])
    )
    if consistent(index, size, leaf, root, proof):
        assert proof == []
        assert leaf == EMPTY_ROOT if index == 0 else leaf == root


@pytest.mark.parametrize("bits", [63, 64, 100_000, 10_000_000])
def test_sizes_that_no_log_has_are_refused_at_once(bits: int) -> None:
    """Numbers of any length cost nothing, and are not written into the message."""
    huge, one = 1 << bits, bytes(32)
    for index, size in ((0, huge), (huge - 1, huge), (huge, 5), (-huge, 5), (0, -huge)):
        with pytest.raises(InvalidEvidence, match=r"from 0 to 2\^63 - 1"):
            check_inclusion(index, size, one, [one], one)
        with pytest.raises(InvalidEvidence, match=r"from 0 to 2\^63 - 1"):
            check_consistency(index, size, one, one, [one])


@pytest.mark.parametrize("count", [64, 65, 66, 1000])
def test_a_proof_of_too_many_hashes_is_refused(count: int) -> None:
    """No log has a proof of more than 63."""
    proof, one = [bytes(32)] * count, bytes(32)
    assert not included(2**62, 2**63 - 1, one, proof, one)
    assert not consistent(2**62 + 1, 2**63 - 1, one, one, proof)
    with pytest.raises(InvalidEvidence, match="at most 63 hashes"):
        check_inclusion(2**62, 2**63 - 1, one, proof, one)


@given(size=st.integers(2, 300), more=st.integers(1, 300), data=st.data())
def test_a_proof_of_another_length_is_told_how_long_it_should_be(size: int, more: int, data: st.DataObject) -> None:
    """The number of hashes that are needed, and that of those that came."""
    index, new, one = data.draw(st.integers(0, size - 1)), size + more, bytes(32)
    for count in range(12):
        proof = [one] * count
        with pytest.raises(InvalidEvidence) as refused:
            check_inclusion(index, size, one, proof, one)
        assert_says_length(str(refused.value), "inclusion", path_length(index, size), count)
        with pytest.raises(InvalidEvidence) as refused:
            check_consistency(size, new, one, one, proof)
        assert_says_length(str(refused.value), "consistency", proof_length(size, new), count)


def assert_says_length(message: str, what: str, needed: int, count: int) -> None:
    """The message speaks of the proof's length if that is wrong, and then rightly."""
    much = "many" if count > needed else "few"
    said = f"the {what} proof has too {much} hashes: {needed} are needed, not {count}"
    assert (message == said) == (count != needed)
