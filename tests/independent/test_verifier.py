"""The second verifier by itself: it knows what the standards know, accepts what is right, refuses what is not."""

import ast
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st
from tests.independent import verifier
from tests.independent.making import (
    ORIGIN,
    HandmadeLog,
    Signer,
    base64_of,
    line_of,
    packed,
    path,
    proof,
)
from tests.independent.verifier import (
    Checkpoint,
    Refused,
    VerifierKey,
    check_bundle,
    check_consistency,
    check_consistency_answer,
    check_proof_file,
    check_proof_object,
    check_tiles,
    consistency_with_newest,
    leaf,
    open_note,
    root_by_inclusion,
    root_of,
    sha256,
    tile,
    tile_path,
    tiles_of,
)

# Of C2SP signed-note.md.
NOTE_KEY = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
NOTE = (
    "This is an example message.\n\n\N{EM DASH} example.com/foo "
    "Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n"
)

# Of RFC 6962's own test suite, as many implementations have them.
LEAVES = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
ROOTS = {
    0: "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    1: "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    3: "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    7: "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    8: "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
}

LOG = HandmadeLog([b'{"n":%d}' % number for number in range(21)])
KEY = LOG.signer.verifier
WITNESS = Signer("witness.example/w1", 0x04)
OTHER = Signer("other.example/log/org-acme-acc0")

sizes = st.integers(0, len(LOG.records))


def leaves_of(count: int) -> list[bytes]:
    """Hashes of so many leaves that differ."""
    return [leaf(b"%d" % number) for number in range(count)]


def flips(data: bytes) -> list[bytes]:
    """All that these bytes become with one bit changed."""
    return [
        data[:place] + bytes([data[place] ^ (1 << bit)]) + data[place + 1 :]
        for place in range(len(data))
        for bit in range(8)
    ]


def accepted(check: Callable[[bytes], object], all_of: list[bytes]) -> list[bytes]:
    """Those that are not refused."""
    passed = []
    for one in all_of:
        try:
            check(one)
        except Refused:
            continue
        passed.append(one)
    return passed


def root_or_none(leaf_hash: bytes, index: int, size: int, hashes: list[bytes]) -> bytes | None:
    """Where a proof leads; None where it leads nowhere."""
    try:
        return root_by_inclusion(leaf_hash, index, size, hashes)
    except Refused:
        return None


def test_it_shares_no_code_with_whodid() -> None:
    """It imports the standard library, and Ed25519."""
    tree = ast.parse(Path(verifier.__file__).read_text("utf-8"))
    imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    imported |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    others = {name for name in imported if str(name).partition(".")[0] not in sys.stdlib_module_names}
    assert others == {"cryptography.exceptions", "cryptography.hazmat.primitives.asymmetric.ed25519"}


# The tree.


@pytest.mark.parametrize(("size", "root"), ROOTS.items())
def test_roots_are_the_known_ones(size: int, root: str) -> None:
    """Those of the eight leaves that everybody tests with."""
    assert root_of([leaf(bytes.fromhex(data)) for data in LEAVES[:size]]).hex() == root


def test_an_inclusion_proof_fits_its_place_only() -> None:
    """Each leaf of each tree of up to 20 is proven; with another index, a hash more, one less, others, it is not."""
    wrong = sha256(b"wrong")
    for size in range(1, 21):
        leaves = leaves_of(size)
        for index in range(size):
            hashes = path(index, leaves)
            assert root_by_inclusion(leaves[index], index, size, hashes) == root_of(leaves)
            for other in set(range(size)) - {index}:
                assert root_or_none(leaves[index], other, size, hashes) != root_of(leaves)
            other_hashes = [sha256(one) for one in hashes]
            for changed in (hashes[1:] or [wrong], hashes[:-1] or [wrong], [*hashes, wrong], other_hashes or [wrong]):
                assert root_or_none(leaves[index], index, size, changed) != root_of(leaves)


def test_a_consistency_proof_fits_its_sizes_only() -> None:
    """Any two sizes of up to 20 are proven; with a hash more, one less, or one changed, they are not."""
    leaves = leaves_of(20)
    for new in range(21):
        for old in range(new + 1):
            old_root, new_root, hashes = root_of(leaves[:old]), root_of(leaves[:new]), proof(old, leaves[:new])
            check_consistency(old, old_root, new, new_root, hashes)
            changed = [[*hashes, sha256(b"")], *(hashes[:at] + hashes[at + 1 :] for at in range(len(hashes)))]
            changed += [[*hashes[:at], sha256(one), *hashes[at + 1 :]] for at, one in enumerate(hashes)]
            for wrong in changed:
                with pytest.raises(Refused):
                    check_consistency(old, old_root, new, new_root, wrong)
            for wrong_old, wrong_new in ((sha256(old_root), new_root), (old_root, sha256(new_root))):
                if old > 0 or wrong_old != old_root:  # anything grows from nothing
                    with pytest.raises(Refused):
                        check_consistency(old, wrong_old, new, wrong_new, hashes)


def test_a_log_does_not_shrink() -> None:
    """Backwards there is no consistency."""
    leaves = leaves_of(5)
    with pytest.raises(Refused, match="can't have grown"):
        check_consistency(5, root_of(leaves), 4, root_of(leaves[:4]), [])


# Notes and checkpoints.


def test_the_example_of_the_standard_is_good() -> None:
    """That of C2SP signed-note: key and note."""
    key = VerifierKey.parse(NOTE_KEY)
    assert open_note(NOTE, [key]) == ("This is an example message.\n", {key})


def test_a_note_with_one_bit_changed_is_refused() -> None:
    """Any bit: of the text, the name, the key's id, the signature. What is not UTF-8 is no text."""

    def check(data: bytes) -> None:
        try:
            text = data.decode()
        except UnicodeDecodeError as error:
            raise Refused from error
        if not open_note(text, [VerifierKey.parse(NOTE_KEY)])[1]:
            raise Refused

    assert accepted(check, [NOTE.encode()]) != []
    assert accepted(check, flips(NOTE.encode())) == []


def test_a_verifier_key_with_one_bit_changed_is_refused() -> None:
    """Its id is made of all the rest."""
    assert accepted(lambda data: VerifierKey.parse(data.decode("latin-1")), flips(NOTE_KEY.encode())) == []


@pytest.mark.parametrize("size", [0, 1, 7, 21])
def test_a_checkpoint_says_origin_size_and_root(size: int) -> None:
    """All three are read as they stand."""
    assert Checkpoint.open(LOG.checkpoint(size), KEY) == Checkpoint(ORIGIN, size, root_of(LOG.leaves[:size]))


@pytest.mark.parametrize(
    "text",
    [
        f"{ORIGIN}\n21\n",
        f"{ORIGIN}\n021\n{base64_of(bytes(32))}\n",
        f"{ORIGIN}\n-1\n{base64_of(bytes(32))}\n",
        f"{ORIGIN}\n\N{ARABIC-INDIC DIGIT TWO}\n{base64_of(bytes(32))}\n",
        f"{ORIGIN}\n21\n{base64_of(bytes(31))}\n",
        f"{ORIGIN}\n21\n{base64_of(bytes(32))[:-1]}\n",
        f"{ORIGIN}\n21\n{base64_of(bytes(32))[:-2]}B=\n",
        f"{ORIGIN}\n0\n{base64_of(bytes(32))}\n",
        f"{ORIGIN}\n21\n{base64_of(bytes(32))}\nmore\n",
        f"{OTHER.name}\n21\n{base64_of(bytes(32))}\n",
    ],
)
def test_what_is_no_checkpoint_is_refused_though_it_is_signed(text: str) -> None:
    """A number, a hash, three lines, the key's own log."""
    with pytest.raises(Refused):
        Checkpoint.open(f"{text}\n{LOG.signer.line(text)}", KEY)


def test_who_signs_counts() -> None:
    """Unknown signers are ignored, even with the log's name, and not enough; a known one's bad signature spoils."""
    text = LOG.text(21)
    forger = Signer(private=Ed25519PrivateKey.from_private_bytes(bytes(32)))
    assert Checkpoint.open(LOG.checkpoint(21, forger.line(text), OTHER.line(text)), KEY).size == 21
    for line in (forger.line(text), OTHER.line(text), "", LOG.signer.line(LOG.text(20))):
        with pytest.raises(Refused):
            Checkpoint.open(f"{text}\n{line}", KEY)
    with pytest.raises(Refused, match="not good"):
        Checkpoint.open(LOG.checkpoint(21, LOG.signer.line(LOG.text(20))), KEY)


def test_sixteen_signatures_are_read_and_more_are_not() -> None:
    """As many as the standard asks for."""
    text = LOG.text(21)
    assert Checkpoint.open(LOG.checkpoint(21, *[OTHER.line(text)] * 15), KEY).size == 21
    with pytest.raises(Refused, match="too many"):
        Checkpoint.open(LOG.checkpoint(21, *[OTHER.line(text)] * 16), KEY)


def test_a_witness_signs_the_text_with_its_time() -> None:
    """The witness is named; with another time or another text, the note is spoilt."""
    text = LOG.text(21)
    good = WITNESS.line(text, 1_700_000_000)
    assert Checkpoint.open(LOG.checkpoint(21, good), KEY, [WITNESS.verifier]).witnesses == {WITNESS.name}
    signature = WITNESS.private.sign(f"cosignature/v1\ntime 1700000000\n{text}".encode())
    late = base64_of(WITNESS.id + (1_700_000_001).to_bytes(8, "big") + signature)
    bad = [f"\N{EM DASH} {WITNESS.name} {late}\n", WITNESS.line(LOG.text(20), 1_700_000_000), WITNESS.line(text)]
    for line in bad:
        with pytest.raises(Refused):
            Checkpoint.open(LOG.checkpoint(21, line), KEY, [WITNESS.verifier])


# Proofs of an entry.


@given(st.data())
def test_proofs_of_any_entry_in_any_log_are_accepted(data: st.DataObject) -> None:
    """In both forms."""
    size = data.draw(st.integers(1, 21))
    seq = data.draw(st.integers(0, size - 1))
    record, salt = LOG.records[seq], LOG.salt(seq)
    index, checkpoint = check_proof_file(LOG.proof_file(seq, size).encode(), salt, record, KEY)
    assert (index, checkpoint.size) == (seq, size)
    assert check_proof_object(LOG.proof_object(seq, size).encode(), KEY) == (seq, record, checkpoint)


def test_a_proof_file_with_one_bit_changed_is_refused() -> None:
    """Any bit, of the file, the salt or the record."""
    file, salt, record = LOG.proof_file(9, 21).encode(), LOG.salt(9), LOG.records[9]
    assert accepted(lambda one: check_proof_file(one, salt, record, KEY), [file]) != []
    assert accepted(lambda one: check_proof_file(one, salt, record, KEY), flips(file)) == []
    assert accepted(lambda one: check_proof_file(file, one, record, KEY), flips(salt)) == []
    assert accepted(lambda one: check_proof_file(file, salt, one, KEY), flips(record)) == []


def test_a_proof_object_with_one_bit_changed_is_refused() -> None:
    """Any bit, of any key or value."""
    whole = LOG.proof_object(9, 21).rstrip("\n").encode()
    assert accepted(lambda one: check_proof_object(one, KEY), [whole]) != []
    assert accepted(lambda one: check_proof_object(one, KEY), flips(whole)) == []


def test_a_proof_file_may_bring_more_along() -> None:
    """One line of something else, which proves nothing; and no other line."""
    file = LOG.proof_file(9, 21)
    extra = file.replace("index", "extra YWJj\nindex")
    check_proof_file(extra.encode(), LOG.salt(9), LOG.records[9], KEY)
    for wrong in (file.replace("index", "extra ?\nindex"), file.replace("index", "more YWJj\nindex")):
        with pytest.raises(Refused):
            check_proof_file(wrong.encode(), LOG.salt(9), LOG.records[9], KEY)


@given(sizes, sizes)
def test_the_answer_to_the_consistency_call_is_checked(one: int, other: int) -> None:
    """Between two checkpoints; or to the newest, which it brings."""
    old_size, new_size = sorted([one, other])
    old, new = (Checkpoint.open(LOG.checkpoint(size), KEY) for size in (old_size, new_size))
    hashes = [base64_of(hash_) for hash_ in LOG.consistency(old_size, new_size)]
    answer = {"from": old_size, "to": new_size, "proof": hashes}
    check_consistency_answer(line_of(answer).encode(), old, new)
    newest = line_of({**answer, "checkpoint": LOG.checkpoint(new_size)}).encode()
    assert consistency_with_newest(newest, old, KEY) == new
    for wrong in ({**answer, "to": new_size + 1}, {**answer, "proof": [*hashes, base64_of(bytes(32))]}, {"from": 1}):
        with pytest.raises(Refused):
            check_consistency_answer(line_of(wrong).encode(), old, new)


# Tiles.


@pytest.mark.parametrize(("index", "path_"), [(0, "000"), (999, "999"), (1000, "x001/000"), (1234067, "x001/x234/067")])
def test_paths_are_those_of_the_standard(index: int, path_: str) -> None:
    """In groups of three digits."""
    assert tile_path(3, index) == f"tile/3/{path_}"
    assert tile_path("entries", index, 7) == f"tile/entries/{path_}.p/7"


def test_the_tiles_of_a_size_are_those_of_the_standard() -> None:
    """Its example of 70,000, and the size where a level begins."""
    tiles = list(tiles_of(70_000))
    assert [sum(one[0] == level for one in tiles) for level in range(4)] == [274, 2, 1, 0]
    assert [one for one in tiles if one[2] < 256] == [(0, 273, 112), (1, 1, 17), (2, 0, 1)]
    assert list(tiles_of(256)) == [(0, 0, 256), (1, 0, 1)]
    assert list(tiles_of(0)) == []


def test_all_tiles_are_fetched_and_one_with_a_bit_changed_is_refused() -> None:
    """Those of a log of 300, each tile in its turn."""
    log = HandmadeLog([b"%d" % number for number in range(300)])
    checkpoint = Checkpoint.open(log.checkpoint(300), KEY)
    served: dict[str, bytes] = {}
    for level, index, width in tiles_of(300):
        served[tile_path(level, index, width)] = tile(level, index, width, log.leaves)
        if level == 0:
            seqs = range(index * 256, index * 256 + width)
            entries = [sha256(b"whodid/v1\n" + log.salt(seq) + log.records[seq]) for seq in seqs]
            served[tile_path("entries", index, width)] = b"".join(b"\x00\x20" + one for one in entries)
    assert len(served) == 5
    assert [leaf(one) for one in check_tiles(checkpoint, served.__getitem__)] == log.leaves
    for name, data in served.items():
        for place in (0, 1, len(data) - 1):
            changed = bytearray(data)
            changed[place] ^= 1
            with pytest.raises(Refused):
                check_tiles(checkpoint, {**served, name: bytes(changed)}.__getitem__)
        with pytest.raises(Refused):
            check_tiles(checkpoint, {**served, name: data[:-1]}.__getitem__)


# Bundles.


@given(st.lists(sizes, min_size=3, max_size=3), sizes)
def test_bundles_of_any_stretch_are_accepted(numbers: list[int], previous: int) -> None:
    """From anywhere to anywhere, of a log that has grown since, with and without an older checkpoint."""
    first, end, size = sorted(numbers)
    previous = min(previous, size)
    for packed_ in (LOG.bundle(first, end, size), LOG.bundle(first, end, size, previous)):
        bundle = check_bundle(packed_, KEY)
        assert (bundle.first, bundle.records, bundle.checkpoint.size) == (first, LOG.records[first:end], size)
    check_bundle(LOG.bundle(first, end, size, previous), KEY, LOG.checkpoint(previous))


def test_a_bundle_with_one_bit_changed_is_refused() -> None:
    """Any bit of any line: of the head, an entry, the end."""
    text = "".join(LOG.lines(3, 6, 21, 5)).encode()

    def check(data: bytes) -> object:
        return check_bundle(packed(data), KEY, LOG.checkpoint(5))

    assert accepted(check, [text]) != []
    assert accepted(check, flips(text)) == []


def test_a_bundle_whose_packing_is_damaged_is_refused_or_says_the_same() -> None:
    """The packing's own head has bits that mean nothing."""
    whole = LOG.bundle(3, 6, 21)
    expected = check_bundle(whole, KEY)
    refused = 0
    for damaged in flips(whole):
        try:
            assert check_bundle(damaged, KEY) == expected
        except Refused:
            refused += 1
    assert refused > 8 * (len(whole) - 10)  # all but the ten bytes of the head
    for end in range(len(whole)):
        with pytest.raises(Refused):
            check_bundle(whole[:end], KEY)


def test_a_bundle_that_is_not_whole_is_refused() -> None:
    """A line less, one more, one twice, two in the other order, the last newline missing."""
    lines = LOG.lines(3, 7, 21)
    wrong = [lines[:at] + lines[at + 1 :] for at in range(len(lines))]
    wrong += [lines[: at + 1] + lines[at:] for at in range(len(lines))]
    wrong += [[*lines[:at], lines[at + 1], lines[at], *lines[at + 2 :]] for at in range(len(lines) - 1)]
    wrong += [[], [*lines[:-1], lines[-1].rstrip("\n")]]
    for some in wrong:
        with pytest.raises(Refused):
            check_bundle(packed("".join(some)), KEY)


def test_a_hint_may_be_left_out() -> None:
    """It proves nothing."""
    lines = [re.sub(r',"check":"\w+"', "", line) for line in LOG.lines(3, 7, 21)]
    assert not any('"check"' in line for line in lines)
    assert check_bundle(packed("".join(lines)), KEY) == check_bundle(LOG.bundle(3, 7, 21), KEY)


def test_a_bundle_is_checked_against_the_key_and_checkpoint_that_one_has() -> None:
    """Not against those that it brings: another key of the same name, an older log that was another one."""
    forger = HandmadeLog(LOG.records, Signer(private=Ed25519PrivateKey.from_private_bytes(bytes(32))))
    assert forger.signer.name == LOG.signer.name
    with pytest.raises(Refused, match="another key"):
        check_bundle(forger.bundle(0, 21, 21), KEY)
    other = HandmadeLog([b"{}", *LOG.records[1:]])
    bundle = LOG.bundle(0, 21, 21, 5)
    check_bundle(bundle, KEY, LOG.checkpoint(5))
    for previous in (other.checkpoint(5), LOG.checkpoint(6)):
        with pytest.raises(Refused):
            check_bundle(bundle, KEY, previous)
    with pytest.raises(Refused, match="no proof from a previous"):
        check_bundle(LOG.bundle(0, 21, 21), KEY, LOG.checkpoint(5))


@pytest.mark.parametrize(
    ("line", "key", "value"),
    [
        (0, "from", -1),
        (0, "to", 8),
        (0, "from", True),
        (0, "from", 3.0),
        (0, "account", "acme-acc0"),
        (0, "more", 1),
        (1, "seq", 4),
        (1, "salt", "AA=="),
        (1, "record", "\ud800"),
        (1, "record", {"n": 3}),
        (1, "check", "00000000"),
        (-1, "left", []),
        (-1, "left", [base64_of(bytes(31))] * 2),
        (-1, "left", [1, 2]),
        (-1, "consistency", None),
    ],
)
def test_a_bundle_with_another_value_is_refused(line: int, key: str, value: object) -> None:
    """Of another kind, of another size, out of bounds, or one too many."""
    lines = LOG.lines(3, 7, 21)
    told = {**json.loads(lines[line]), key: value}
    lines[line] = json.dumps(told) + "\n"
    with pytest.raises(Refused):
        check_bundle(packed("".join(lines)), KEY)
