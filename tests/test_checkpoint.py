"""Checkpoints and proof files: what is taken, from whom, and that nothing else is."""

from base64 import b64encode

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st
from tests.test_notes import COSIGNED_NOTE, COSIGNER, cosign, mistyped, names, notes, public

from whodid.checkpoint import (
    Checkpoint,
    Cosigner,
    ProofFile,
    SignedCheckpoint,
    open_checkpoint,
    parse_number,
    sign_checkpoint,
)
from whodid.errors import InvalidEvidence
from whodid.merkle import EMPTY_ROOT
from whodid.notes import Note, Signature, SignatureType, Verifier, sign_text
from whodid.proofs import MOST_HASHES

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
NEXT_KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32, 64)))
ORIGIN = "localhost/log/org-acme"
LOG = Verifier(ORIGIN, public(KEY))
NEXT = Verifier(ORIGIN, public(NEXT_KEY))
ROOT = bytes(range(32))
ROOT_TEXT = b64encode(ROOT).decode()
HASH_TEXT = b64encode(bytes(32)).decode()
CHECKPOINT = Checkpoint(ORIGIN, 2043, ROOT)
NOTE = sign_checkpoint(CHECKPOINT, KEY).note

hashes = st.binary(min_size=32, max_size=32)
checkpoints = st.builds(Checkpoint, names, st.integers(1, 2**63 - 1), hashes)
proof_files = st.builds(ProofFile, st.integers(0, 2**63 - 1), st.lists(hashes, max_size=MOST_HASHES).map(tuple), notes)

NO_NUMBERS = [
    *("", "00", "01", "-0", "-1", "+1", " 1", "1 ", "1\t", "1\r", "\n", "1.0", "1e3", "1_000", "0x1", "ten"),
    *("\uff11", "\u0661", "\u00b2"),  # other scripts' digits
    *("9223372036854775808", "9" * 19, "1" * 5000),
]


def signed(body: str, *keys: Ed25519PrivateKey) -> str:
    """A note whose text nobody looked at before it was signed."""
    return str(Note(body, tuple(sign_text(body, ORIGIN, key) for key in keys or (KEY,))))


def test_a_checkpoint_has_three_lines() -> None:
    """Origin, size and root in base64; the signature is Ed25519 over just these."""
    made = sign_checkpoint(CHECKPOINT, KEY)
    body = f"{ORIGIN}\n2043\n{ROOT_TEXT}\n"
    assert made == SignedCheckpoint(CHECKPOINT, Note(body, made.note.signatures), LOG)
    (signature,) = made.note.signatures
    assert str(made.note) == f"{body}\n— {ORIGIN} {b64encode(LOG.key_id + signature.data).decode()}\n"
    Ed25519PublicKey.from_public_bytes(public(KEY)).verify(signature.data, body.encode())


def test_the_example_of_the_specification_is_read() -> None:
    """That of C2SP tlog-checkpoint."""
    checkpoint = Checkpoint.parse(Note.parse(COSIGNED_NOTE).text)
    assert (checkpoint.origin, checkpoint.size) == ("example.com/behind-the-sofa", 20_852_163)
    assert checkpoint.body() + "\n" == COSIGNED_NOTE[: COSIGNED_NOTE.index("—")]


@given(checkpoints)
def test_a_checkpoint_reads_back_what_was_signed(checkpoint: Checkpoint) -> None:
    """As bytes and as text."""
    made = sign_checkpoint(checkpoint, KEY)
    verifier = Verifier(checkpoint.origin, public(KEY))
    assert made.signer == verifier
    assert Checkpoint.parse(checkpoint.body()) == checkpoint
    assert open_checkpoint(str(made.note), [verifier]) == open_checkpoint(str(made.note).encode(), [verifier]) == made


@given(st.text(max_size=150) | checkpoints.map(lambda one: one.body().encode()).flatmap(mistyped))
def test_any_text_is_refused_or_is_a_checkpoints(body: str | bytes) -> None:
    """There is one way to write a checkpoint down."""
    text = body if isinstance(body, str) else body.decode(errors="surrogateescape")
    try:
        checkpoint = Checkpoint.parse(text)
    except InvalidEvidence:
        return
    assert checkpoint.body() == text


@given(mistyped(str(NOTE).encode()))
def test_a_checkpoint_that_was_changed_anywhere_is_refused(data: bytes) -> None:
    """What is opened is what was signed."""
    try:
        opened = open_checkpoint(data, [LOG])
    except InvalidEvidence:
        return
    assert (opened.checkpoint, opened.signer) == (CHECKPOINT, LOG)


@pytest.mark.parametrize(
    "body",
    [
        "\n",
        f"{ORIGIN}\n",
        f"{ORIGIN}\n1\n",
        f"\n1\n{ROOT_TEXT}\n",
        f"{ORIGIN}\n1\n{ROOT_TEXT}\n\n",
        f"\n{ORIGIN}\n1\n{ROOT_TEXT}\n",
        f"{ORIGIN}\n\n1\n{ROOT_TEXT}\n",
        f"{ORIGIN}\n1\n{ROOT_TEXT}\nan extension line\n",
        f"{ORIGIN}\n1\n{ROOT_TEXT}\nan extension line\nand another\n",
    ],
)
def test_a_checkpoint_of_more_or_less_lines_is_refused(body: str) -> None:
    """Extension lines, too: nobody would audit them."""
    with pytest.raises(InvalidEvidence, match="three lines"):
        open_checkpoint(signed(body), [LOG])


def test_a_checkpoint_that_does_not_end_with_a_newline_is_refused() -> None:
    """It was cut off."""
    with pytest.raises(InvalidEvidence, match="three lines"):
        Checkpoint.parse(CHECKPOINT.body()[:-1])


@pytest.mark.parametrize("wrong", NO_NUMBERS)
def test_a_number_is_written_in_one_way(wrong: str) -> None:
    """Decimal, ASCII, without sign and leading zeros, below 2^63; the message says so, whatever came."""
    with pytest.raises(InvalidEvidence, match=r"the size must be a decimal number .* below 2\^63") as refused:
        parse_number(wrong, "the size")
    assert len(str(refused.value)) < 200
    with pytest.raises(InvalidEvidence):
        Checkpoint.parse(f"{ORIGIN}\n{wrong}\n{ROOT_TEXT}\n")


@given(st.integers(0, 2**63 - 1) | st.sampled_from([0, 2**63 - 1]))
def test_a_number_reads_back_what_was_written(number: int) -> None:
    """Up to the largest that a log can have."""
    assert parse_number(str(number), "the size") == number


@pytest.mark.parametrize(
    ("root", "says"),
    [
        (b64encode(bytes(31)).decode(), "has 31 bytes, not 32"),
        (b64encode(bytes(33)).decode(), "has 33 bytes, not 32"),
        ("", "has 0 bytes, not 32"),
        (ROOT_TEXT[:-1], "not base64"),
        (ROOT_TEXT + "=", "not base64"),
        (ROOT_TEXT + " ", "not base64"),
        (ROOT_TEXT[:-2] + "9=", "not base64"),
        (ROOT.hex(), "bytes, not 32"),
    ],
)
def test_a_root_is_32_bytes_in_base64(root: str, says: str) -> None:
    """In its one form."""
    with pytest.raises(InvalidEvidence, match=f"the root of a checkpoint .*{says}"):
        open_checkpoint(signed(f"{ORIGIN}\n7\n{root}\n"), [LOG])


def test_an_empty_log_has_the_root_of_nothing() -> None:
    """A checkpoint of size 0 with any other root is refused."""
    empty = sign_checkpoint(Checkpoint(ORIGIN, 0, EMPTY_ROOT), KEY)
    assert open_checkpoint(str(empty.note), [LOG]).checkpoint.size == 0
    with pytest.raises(InvalidEvidence, match="another root than that of an empty tree"):
        open_checkpoint(str(sign_checkpoint(Checkpoint(ORIGIN, 0, ROOT), KEY).note), [LOG])


@pytest.mark.parametrize("control", ["\x7f", "\x85", "\x9b"])
def test_an_origin_has_no_control_characters(control: str) -> None:
    """A terminal may obey them, and no key has such a name."""
    with pytest.raises(InvalidEvidence, match="origin") as refused:
        open_checkpoint(signed(f"{control}31m{ORIGIN}\n1\n{ROOT_TEXT}\n"), [LOG])
    assert str(refused.value).isprintable()


def test_a_checkpoint_is_signed_by_a_key_of_its_origins_name() -> None:
    """Who holds the key of another log can't speak for this one, though all logs of a server share a key."""
    other = Verifier("localhost/log/org-other", public(KEY))
    body = CHECKPOINT.body()
    note = Note(body, (sign_text(body, other.name, KEY),))
    with pytest.raises(InvalidEvidence, match=f"the checkpoint is of the log {ORIGIN}, the key of {other.name}"):
        open_checkpoint(str(note), [other])
    with pytest.raises(InvalidEvidence, match=f"not signed by the key with id {LOG.key_id.hex()}; its .* id none$"):
        open_checkpoint(str(note), [LOG, other])
    assert open_checkpoint(str(note.with_signatures(NOTE.signatures)), [other, LOG]).signer == LOG


def test_a_checkpoint_of_another_log_is_refused() -> None:
    """With a message that names both."""
    with pytest.raises(InvalidEvidence, match=f"is of the log {ORIGIN}, the key of a.example and b.example"):
        open_checkpoint(str(NOTE), [Verifier("b.example", public(KEY)), Verifier("a.example", public(KEY))])
    with pytest.raises(InvalidEvidence, match=f"is of the log {ORIGIN}, and no key was given"):
        open_checkpoint(str(NOTE), [])


def test_a_checkpoint_signed_by_another_key_is_refused() -> None:
    """The message names the ids of the keys that are known, and of those that signed."""
    other = Verifier("localhost/log/org-other", public(NEXT_KEY))
    ids = f"id {NEXT.key_id.hex()}; its log's signatures are of keys with id {LOG.key_id.hex()}$"
    for keys in ([NEXT], [NEXT, other]):
        with pytest.raises(InvalidEvidence, match=ids):
            open_checkpoint(str(NOTE), keys)


def test_a_checkpoint_signed_by_a_key_of_the_same_id_is_refused() -> None:
    """An id has 4 bytes and can be had; the signature can't."""
    body = CHECKPOINT.body()
    forged = Signature(ORIGIN, LOG.key_id, NEXT_KEY.sign(body.encode()))
    with pytest.raises(InvalidEvidence, match=f"the signature of {ORIGIN} is not good"):
        open_checkpoint(str(Note(body, (forged,))), [LOG])


def test_keys_can_be_changed() -> None:
    """While both are known, a checkpoint that either of them signed is taken, and one that both signed."""
    body = CHECKPOINT.body()
    for keys in ([LOG, NEXT], [NEXT, LOG]):
        assert open_checkpoint(signed(body, KEY), keys).signer == LOG
        assert open_checkpoint(signed(body, NEXT_KEY), keys).signer == NEXT
        assert open_checkpoint(signed(body, KEY, NEXT_KEY), keys).signer == keys[0]
    assert open_checkpoint(signed(body, KEY, NEXT_KEY), [NEXT]).signer == NEXT


def test_a_bad_signature_of_either_key_spoils_the_checkpoint() -> None:
    """Though the other's is good."""
    bad = Signature(ORIGIN, NEXT.key_id, bytes(64))
    note = str(NOTE.with_signatures([bad]))
    assert open_checkpoint(note, [LOG]).signer == LOG
    with pytest.raises(InvalidEvidence, match="not good"):
        open_checkpoint(note, [LOG, NEXT])


def test_witnesses_who_vouch_for_a_checkpoint_are_named() -> None:
    """Those who were asked for, and cosigned; each once."""
    cosignature = cosign(CHECKPOINT.body())
    note = str(NOTE.with_signatures([cosignature, cosign(CHECKPOINT.body(), 1)]))
    silent = Verifier("witness.example/w2", public(KEY), SignatureType.COSIGNATURE)
    opened = open_checkpoint(note, [LOG], [silent, COSIGNER, COSIGNER])
    assert opened.cosigners == (Cosigner(COSIGNER, cosignature),)
    assert open_checkpoint(note, [LOG]).cosigners == ()
    assert str(opened.note) == note


def test_a_bad_cosignature_of_a_known_witness_spoils_the_checkpoint() -> None:
    """As a bad signature of the log does; that of an unknown witness does not."""
    note = str(NOTE.with_signatures([cosign(CHECKPOINT.body(), time=1)]))
    assert open_checkpoint(note, [LOG]).checkpoint == CHECKPOINT
    with pytest.raises(InvalidEvidence, match=f"the signature of {COSIGNER.name} is not good"):
        open_checkpoint(note, [LOG], [COSIGNER])


def test_a_witness_alone_makes_no_checkpoint() -> None:
    """The log must have signed."""
    note = Note(CHECKPOINT.body(), (cosign(CHECKPOINT.body()),))
    with pytest.raises(InvalidEvidence, match="not signed by the key"):
        open_checkpoint(str(note), [LOG], [COSIGNER])


@given(proof_files)
def test_a_proof_file_reads_back_what_was_written(proof: ProofFile) -> None:
    """From no hash to 63, and with any note."""
    assert ProofFile.parse(str(proof)) == proof
    assert ProofFile.parse(str(proof).encode()) == proof


def test_a_proof_file_is_as_the_format_says() -> None:
    """Line for line."""
    proof = ProofFile(17, (ROOT, bytes(32)), NOTE)
    assert str(proof) == f"c2sp.org/tlog-proof@v1\nindex 17\n{ROOT_TEXT}\n{HASH_TEXT}\n\n{NOTE}"
    assert str(ProofFile(0, (), NOTE)) == f"c2sp.org/tlog-proof@v1\nindex 0\n\n{NOTE}"


def test_the_example_of_a_proof_file_is_read() -> None:
    """That of C2SP tlog-proof, whose checkpoint is shortened there; its ``extra`` line is no proper base64 even."""
    proof = ProofFile.parse(
        f"""\
c2sp.org/tlog-proof@v1
extra YWdlLXYxLjIuMS1kYXJ3aW4tYXJtNjQudGFyLmd6kYXJ3aW4tYXJ
index 73894
gSKyXoYZUgZ6jduWYrkDOARinOMGJveXjgMkBTcdPlQ=
B95lDa8R83lS8n0eG+o0buTxRKQTYFi//1U8anccXmA=
EKNzoDWG8LGC0Yp9o+sv3qllpMP9uHQ9B20KNL+Q1zs=
RoopEkOdqkYqMB4MJXrbt/hMjOxsVn0IrWjpz1ZMMes=
AHCioX9nLjsrse6YhjRRmk1WUEirVOLLRoOQ6vfO5vk=

{NOTE}"""
    )
    assert (proof.index, len(proof.hashes), proof.note) == (73_894, 5, NOTE)
    assert proof.hashes[0].hex().startswith("8122b25e8619")


@given(data=st.binary(max_size=100) | proof_files.map(lambda one: str(one).encode()).flatmap(mistyped))
def test_any_bytes_are_refused_or_are_a_proof_file(data: bytes) -> None:
    """There is one way to write it down, but for an ``extra`` line."""
    try:
        proof = ProofFile.parse(data)
    except InvalidEvidence:
        return
    header, first, rest = data.split(b"\n", 2)
    assert str(proof).encode() == (header + b"\n" + rest if first.startswith(b"extra ") else data)


@given(st.text(max_size=100) | proof_files.map(str))
def test_a_proof_file_is_the_same_as_text_and_as_bytes(text: str) -> None:
    """What one takes, the other takes."""
    assert taken(text) == taken(text.encode(errors="surrogatepass"))


def taken(data: bytes | str) -> ProofFile | None:
    """The proof file, or None where it is refused."""
    try:
        return ProofFile.parse(data)
    except InvalidEvidence:
        return None


@pytest.mark.parametrize(
    "file",
    [
        "",
        "\n\n",
        "{note}",
        "index 1\n\n{note}",
        "\nc2sp.org/tlog-proof@v1\nindex 1\n\n{note}",
        "c2sp.org/tlog-proof@v2\nindex 1\n\n{note}",
        "c2sp.org/tlog-proof@v1 \nindex 1\n\n{note}",
        "c2sp.org/tlog-proof@v1\r\nindex 1\r\n\r\n{note}",
        "\ufeffc2sp.org/tlog-proof@v1\nindex 1\n\n{note}",
        "c2sp.org/tlog-proof@v1\n\n{note}",
        "c2sp.org/tlog-proof@v1\n{hash}\n\n{note}",
        "c2sp.org/tlog-proof@v1\nextra AAAA\n\n{note}",
        "c2sp.org/tlog-proof@v1\nextra\nindex 1\n\n{note}",
        "c2sp.org/tlog-proof@v1\nextra AAAA\nextra AAAA\nindex 1\n\n{note}",
        "c2sp.org/tlog-proof@v1\nindex 1\nextra AAAA\n\n{note}",
        "c2sp.org/tlog-proof@v1\nindex 1\nindex 1\n\n{note}",
        "c2sp.org/tlog-proof@v1\nindex1\n\n{note}",
        "c2sp.org/tlog-proof@v1\n index 1\n\n{note}",
        "c2sp.org/tlog-proof@v1\nIndex 1\n\n{note}",
        "c2sp.org/tlog-proof@v1\nindex 1\n{hash}\n{note}",
        "c2sp.org/tlog-proof@v1\nindex 1\n{hash}\n\n",
        "c2sp.org/tlog-proof@v1\nindex 1\n{hash}\n\n{body}",
        "c2sp.org/tlog-proof@v1\nindex 1\n\n{hash}\n\n\n",
        "c2sp.org/tlog-proof@v1\nindex 1\n{hash} \n\n{note}",
        "c2sp.org/tlog-proof@v1\nindex 1\n{hash}=\n\n{note}",
        "c2sp.org/tlog-proof@v1\nindex 1\nAAAA\n\n{note}",
        "c2sp.org/tlog-proof@v1\nindex 1\n{hash}\n\n{note}\n",
        "c2sp.org/tlog-proof@v1\nindex 1\n{hash}\n\n{note}more",
    ],
)
def test_a_malformed_proof_file_is_refused(file: str) -> None:
    """Each line has its place, and its one form."""
    text = file.format(note=NOTE, body=CHECKPOINT.body(), hash=HASH_TEXT)
    with pytest.raises(InvalidEvidence):
        ProofFile.parse(text)
    with pytest.raises(InvalidEvidence):
        ProofFile.parse(text.encode())


@pytest.mark.parametrize("wrong", NO_NUMBERS)
def test_an_index_is_written_in_one_way(wrong: str) -> None:
    """As a size is."""
    with pytest.raises(InvalidEvidence):
        ProofFile.parse(f"c2sp.org/tlog-proof@v1\nindex {wrong}\n\n{NOTE}")


def test_a_proof_file_has_63_hashes_at_most() -> None:
    """No log has a longer proof."""
    assert len(ProofFile.parse(str(ProofFile(1, (ROOT,) * 63, NOTE))).hashes) == 63
    with pytest.raises(InvalidEvidence, match="at most 63 hashes"):
        ProofFile.parse(str(ProofFile(1, (ROOT,) * 64, NOTE)))


def test_a_proof_file_that_is_not_utf_8_is_refused() -> None:
    """As a note is."""
    with pytest.raises(InvalidEvidence, match="UTF-8"):
        ProofFile.parse(str(ProofFile(1, (), NOTE)).encode("latin-1", errors="replace") + b"\xff")
