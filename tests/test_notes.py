"""Signed notes: the specification's example, signatures of both types, and strictness about every byte."""

import hashlib
import unicodedata
from base64 import b64encode

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st

from whodid.errors import InvalidEvidence
from whodid.notes import (
    MOST_NOTE_BYTES,
    MOST_SIGNATURES,
    Note,
    Signature,
    SignatureType,
    Verifier,
    cosigned_seconds,
    decode_hash,
    parse_signature,
    sign_text,
)

# The example of C2SP signed-note.
EXAMPLE_KEY = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
EXAMPLE_NOTE = """\
This is an example message.

— example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=
"""
# That of C2SP tlog-cosignature; its keys are not told.
COSIGNED_NOTE = """\
example.com/behind-the-sofa
20852163
CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=

— example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=
— witness.example.com/w1 jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA==
"""  # noqa: E501

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
OTHER_KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))
NAME = "localhost/log/org-acme"
WITNESS = "witness.example/w1"
TEXT = "first line\n\nline after an empty one\n"
SECONDS = 1_679_315_147


def public(key: Ed25519PrivateKey) -> bytes:
    """The 32 bytes of its public half."""
    return key.public_key().public_bytes_raw()


LOG = Verifier(NAME, public(KEY))
COSIGNER = Verifier(WITNESS, public(KEY), SignatureType.COSIGNATURE)


def cosign(text: str, seconds: int = SECONDS, *, verifier: Verifier = COSIGNER, time: int | None = None) -> Signature:
    """A cosignature as C2SP tlog-cosignature says; one that lies about its ``time`` if that is given."""
    signed = KEY.sign(f"cosignature/v1\ntime {seconds}\n".encode() + text.encode())
    return Signature(verifier.name, verifier.key_id, (time or seconds).to_bytes(8, "big") + signed)


@st.composite
def mistyped(draw: st.DrawFn, data: bytes) -> bytes:
    """Other bytes, of which most are still the same: a few are left out, or put in, or repeated."""
    start = draw(st.integers(0, len(data)))
    end = min(len(data), start + draw(st.integers(0, 4) | st.integers(0, len(data))))
    pieces = [
        b"",
        b"\n",
        b"\n\n",
        b" ",
        b"=",
        b"+",
        b"/",
        b"A",
        b"0",
        b"\r",
        b"\0",
        b"\x80",
        "— ".encode(),
        data[start:end],
    ]
    return data[:start] + draw(st.sampled_from(pieces) | st.binary(max_size=3)) + data[end:]


def is_name(text: str) -> bool:
    """Whether a key can have this name."""
    return text != "" and not any(one == "+" or one.isspace() or unicodedata.category(one) == "Cc" for one in text)


names = st.text(st.characters(exclude_categories=("Cs", "Cc", "Zs")), min_size=1).filter(is_name)
texts = st.text(st.characters(exclude_categories=["Cs"], min_codepoint=32) | st.just("\n")).map(
    lambda text: text + "\n"
)
signatures = st.builds(Signature, names, st.binary(min_size=4, max_size=4), st.binary(min_size=1, max_size=100))
notes = st.builds(Note, texts, st.lists(signatures, min_size=1, max_size=5).map(tuple))
keys = st.builds(
    Verifier,
    names,
    st.binary(min_size=32, max_size=32).filter(lambda key: len(set(key)) > 3),
    st.sampled_from(SignatureType),
)


def test_the_example_of_the_specification_is_good() -> None:
    """Its key verifies its note, and both are written as they were read."""
    verifier, note = Verifier.parse(EXAMPLE_KEY), Note.parse(EXAMPLE_NOTE)
    assert note.text == "This is an example message.\n"
    assert note.signed_by([verifier]) == [(verifier, note.signatures[0])]
    assert (str(verifier), str(note)) == (EXAMPLE_KEY, EXAMPLE_NOTE)
    assert (verifier.name, verifier.key_id.hex()) == ("example.com/foo", "530d903a")


def test_the_example_of_a_cosignature_says_when() -> None:
    """Its time is that of the message in the specification."""
    witness = Note.parse(COSIGNED_NOTE).signatures[1]
    assert (witness.name, witness.key_id.hex(), cosigned_seconds(witness)) == (
        "witness.example.com/w1", "8d66cf3f", SECONDS
    )  # fmt: skip


def test_a_key_id_is_made_of_name_type_and_key() -> None:
    """So one key under two names, or of two types, has different ids."""
    for verifier, kind in ((LOG, b"\x01"), (COSIGNER, b"\x04")):
        made_of = verifier.name.encode() + b"\n" + kind + public(KEY)
        assert verifier.key_id == hashlib.sha256(made_of).digest()[:4]
        assert str(verifier) == f"{verifier.name}+{verifier.key_id.hex()}+{b64encode(kind + public(KEY)).decode()}"


@given(text=texts, name=names)
def test_what_is_signed_is_the_text_with_its_last_newline(text: str, name: str) -> None:
    """Nothing more, nothing less: others check it with nothing but an Ed25519 library."""
    signature = sign_text(text, name, KEY)
    Ed25519PublicKey.from_public_bytes(public(KEY)).verify(signature.data, text.encode())
    verifier = Verifier(name, public(KEY))
    assert Note.parse(str(Note(text, (signature,)))).signed_by([verifier]) == [(verifier, signature)]


@given(notes)
def test_a_note_reads_back_what_was_written(note: Note) -> None:
    """Texts with empty lines in them, too, and as bytes or as text."""
    assert Note.parse(str(note)) == note
    assert Note.parse(str(note).encode()) == note


@pytest.mark.parametrize(
    "text", ["\n", "\n\n", "a\n\n", "\n\na\n", "a\n\n\n\nb\n\n", f"a\n\n{Signature('x', b'1234', b'5').line()}"]
)
def test_a_text_may_have_empty_lines(text: str) -> None:
    """The text ends at the last empty line; what looks like a signature before it is text."""
    signature = sign_text(text, NAME, KEY)
    note = Note.parse(f"{text}\n{signature.line()}")
    assert note == Note(text, (signature,))
    assert note.signed_by([LOG])


@given(data=st.binary(max_size=300) | notes.map(lambda note: str(note).encode()).flatmap(mistyped))
def test_any_bytes_are_refused_or_read_back(data: bytes) -> None:
    """There is one way to write a note down; what is taken as one is that way."""
    try:
        note = Note.parse(data)
    except InvalidEvidence:
        return
    assert str(note).encode() == data


@given(text=st.text(max_size=200) | notes.map(str))
def test_a_note_is_the_same_as_text_and_as_bytes(text: str) -> None:
    """What one takes, the other takes."""
    assert taken(text) == taken(text.encode(errors="surrogatepass"))


def taken(data: bytes | str) -> Note | None:
    """The note, or None where it is refused."""
    try:
        return Note.parse(data)
    except InvalidEvidence:
        return None


@given(mistyped(str(Note(TEXT, (sign_text(TEXT, NAME, KEY),))).encode()))
def test_a_note_that_was_changed_anywhere_is_refused(data: bytes) -> None:
    """Whatever byte is changed: the note can't be read, its signer is nobody who is known, or the signature is bad."""
    good = Note(TEXT, (sign_text(TEXT, NAME, KEY),))
    try:
        signed = Note.parse(data).signed_by([LOG])
    except InvalidEvidence:
        return
    assert signed == [] or Note.parse(data).text == good.text


@pytest.mark.parametrize(
    "spoiled",
    [
        "",
        "\n",
        "\n\n",
        TEXT,
        f"{TEXT}\n",
        f"{TEXT}\n\n",
        "{sig}",
        "\n{sig}",
        f"{TEXT}{{sig}}",
        f"{TEXT[:-1]}{{sig}}",
        f"{TEXT}\n{{sig}}\n",
        f"{TEXT}\n{{sig}}\n{{sig}}\n",
        f"{TEXT}\n\n{{sig}}more\n",
        f"{TEXT}\n {{sig}}",
        f"{TEXT}\r\n{{sig}}",
    ],
)
def test_a_note_must_be_whole(spoiled: str) -> None:
    """Text, an empty line, at least one signature line, a newline at the end, and nothing after it."""
    with pytest.raises(InvalidEvidence):
        Note.parse(spoiled.replace("{sig}", sign_text(TEXT, NAME, KEY).line()))


def test_a_note_needs_its_last_newline() -> None:
    """One that was cut off is not taken."""
    with pytest.raises(InvalidEvidence, match="an empty line, and lines of signatures"):
        Note.parse(EXAMPLE_NOTE[:-1])


@pytest.mark.parametrize("control", [chr(code) for code in range(32) if code != 10])
def test_a_note_has_no_control_characters(control: str) -> None:
    """Not in the text, though it would be signed, and not among the signatures."""
    for text in (f"a{control}\n", f"{control}\n", f"a\n{control}\n"):
        with pytest.raises(InvalidEvidence, match="no control characters"):
            Note.parse(f"{text}\n{sign_text(text, NAME, KEY).line()}")
    for spoiled in (EXAMPLE_NOTE + control, EXAMPLE_NOTE[:-1] + control + "\n", EXAMPLE_NOTE.replace("=", control)):
        with pytest.raises(InvalidEvidence, match="no control characters"):
            Note.parse(spoiled.encode())


@pytest.mark.parametrize("wrong", [b"\x80", b"\xff", b"\xed\xa0\x80", b"\xc0\x8a", b"\xf4\x90\x80\x80"])
def test_a_note_is_utf_8(wrong: bytes) -> None:
    """No bytes out of place, no surrogates, and no newline written in two bytes."""
    with pytest.raises(InvalidEvidence, match="UTF-8"):
        Note.parse(wrong + EXAMPLE_NOTE.encode())


def test_a_text_that_has_no_utf_8_is_refused() -> None:
    """A lone surrogate, as it may come out of JSON."""
    with pytest.raises(InvalidEvidence, match="UTF-8"):
        Note.parse("\ud800" + EXAMPLE_NOTE)


SPACES = [" ", "\x85", "\xa0", "\u1680", "\u2003", "\u2028", "\u2029", "\u202f", "\u3000"]


def verifier_key(name: str) -> str:
    """The verifier key of a name that it may not have."""
    typed = b"\x01" + public(KEY)
    key_id = hashlib.sha256(b"%b\n%b" % (name.encode(), typed)).digest()[:4]
    return f"{name}+{key_id.hex()}+{b64encode(typed).decode()}"


@pytest.mark.parametrize("wrong", ["+", "\x7f", "\x9b", *SPACES])
def test_a_name_has_no_space_no_plus_and_no_control_character(wrong: str) -> None:
    """Of whatever kind the space is, and wherever it stands."""
    for name in (f"a{wrong}b", f"{wrong}ab", f"ab{wrong}", wrong):
        with pytest.raises(InvalidEvidence, match="no spaces"):
            Verifier(name, public(KEY))
        with pytest.raises(InvalidEvidence, match="verifier key" if wrong == "+" else "no spaces"):
            Verifier.parse(verifier_key(name))
        with pytest.raises(InvalidEvidence):
            parse_signature(f"— {name} {b64encode(LOG.key_id + bytes(64)).decode()}")


def test_a_name_is_not_empty() -> None:
    """Neither a verifier's nor a signature's."""
    with pytest.raises(InvalidEvidence, match="name"):
        Verifier("", public(KEY))
    for line in (f"—  {b64encode(bytes(68)).decode()}", f"— {b64encode(bytes(68)).decode()}"):
        with pytest.raises(InvalidEvidence, match="name"):
            parse_signature(line)


@pytest.mark.parametrize("dash", ["", "- ", "\u2013 ", "—", "——  ", " — ", "—\u00a0", "— — "])
def test_a_signature_line_begins_with_a_dash_and_a_space(dash: str) -> None:
    """U+2014 and U+0020, once."""
    line = sign_text(TEXT, NAME, KEY).line()[:-1]
    assert parse_signature(line).name == NAME
    with pytest.raises(InvalidEvidence):
        parse_signature(dash + line.removeprefix("— "))


@pytest.mark.parametrize(
    "encoded",
    [
        "",
        "AAAAAA",  # no padding
        "AAAAAA===",  # too much of it
        "AAAAAA==AAAA",  # in the middle
        "AAAAAB==",  # bits set that are cut off
        "AAAAAA==\u200b",
        " AAAAAA==",
        "AAAAAA== ",
        "AAAA AA==",
        "AAAA_-==",  # the alphabet of URLs
        "====",
        "AAAAA",
        "\uff21AAAAA==",  # a full-width A
        "AAAA",  # 3 bytes
        "AAAAAA==",  # a key id and no signature
    ],
)
def test_a_signature_is_base64_in_its_usual_form(encoded: str) -> None:
    """One text for each value; and it has more than a key id."""
    assert parse_signature(f"— {NAME} AAAAAAA=").data == b"\0"
    with pytest.raises(InvalidEvidence, match="signature"):
        parse_signature(f"— {NAME} {encoded}")


@given(line=st.text(max_size=100) | signatures.map(lambda one: one.line()[:-1].encode()).flatmap(mistyped))
def test_any_line_is_refused_or_read_back(line: str | bytes) -> None:
    """As any note is."""
    text = line if isinstance(line, str) else line.decode(errors="surrogateescape")
    try:
        signature = parse_signature(text)
    except InvalidEvidence:
        return
    assert signature.line() == f"{text}\n"


@given(keys)
def test_a_verifier_key_reads_back_what_was_written(verifier: Verifier) -> None:
    """With ``+`` in its base64, too."""
    assert Verifier.parse(str(verifier)) == verifier


@given(text=st.text(max_size=100) | keys.map(lambda key: str(key).encode()).flatmap(mistyped))
def test_any_text_is_refused_or_is_a_verifier_key(text: str | bytes) -> None:
    """There is one way to write a verifier key down."""
    key = text if isinstance(text, str) else text.decode(errors="surrogateescape")
    try:
        verifier = Verifier.parse(key)
    except InvalidEvidence:
        return
    assert str(verifier) == key


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (EXAMPLE_KEY.replace("530d903a", "530d903b"), "its id should be 530d903a"),
        (EXAMPLE_KEY.replace("530d903a", "530D903A"), "its id should be 530d903a"),
        (EXAMPLE_KEY.replace("530d903a", "0530d903a"), "its id should be 530d903a"),
        (EXAMPLE_KEY.replace("530d903a", "30d903a"), "its id should be 530d903a"),
        (EXAMPLE_KEY.replace("530d903a", ""), "its id should be 530d903a"),
        (EXAMPLE_KEY.replace("/foo", "/fop"), "its id should be"),
        (EXAMPLE_KEY.replace("Aeky", "Aekz"), "its id should be"),
        (EXAMPLE_KEY.replace("Aeky", "Beky"), "type 0x05; 0x01 and 0x04 are known"),
        (EXAMPLE_KEY.replace("Aeky", "AAAA"), "type 0x00; 0x01 and 0x04 are known"),
        (EXAMPLE_KEY[:-4], "has 32 bytes, not 29"),
        (EXAMPLE_KEY + "AAAA", "has 32 bytes, not 35"),
        (EXAMPLE_KEY[:-1], "not base64"),
        (EXAMPLE_KEY + "\n", "not base64"),
        (EXAMPLE_KEY + "=", "not base64"),
        (" " + EXAMPLE_KEY, "no spaces"),
        ("", "like name"),
        ("example.com/foo", "like name"),
        ("example.com/foo+530d903a", "like name"),
        ("example.com/foo+530d903a+", "like name"),
        (EXAMPLE_KEY.removeprefix("example.com/foo"), "like name"),
    ],
)
def test_a_mistyped_verifier_key_is_refused(wrong: str, says: str) -> None:
    """With a message that tells what is wrong about it."""
    with pytest.raises(InvalidEvidence, match=says):
        Verifier.parse(wrong)


@pytest.mark.parametrize("typed", [b"\x01" + bytes(32), b"\x01", b"\x05" + bytes(32)])
def test_what_is_wrong_about_a_verifier_key_is_said_without_control_characters(typed: bytes) -> None:
    """A terminal may obey those that a name brings along."""
    with pytest.raises(InvalidEvidence, match="no control characters") as refused:
        Verifier.parse(f"\x1b[31mexample.com\x9b+00000000+{b64encode(typed).decode()}")
    assert str(refused.value).isprintable()


@given(others=st.lists(signatures, max_size=6), place=st.integers(0, 6))
def test_signatures_of_unknown_keys_are_ignored(others: list[Signature], place: int) -> None:
    """Whoever says to have signed, and whatever that is, before or after the one that is known."""
    good = sign_text(TEXT, NAME, KEY)
    note = Note.parse(str(Note(TEXT, (*others[:place], good, *others[place:]))))
    assert note.signed_by([LOG]) == [(LOG, good)]


def test_only_name_and_key_id_together_make_a_key_known() -> None:
    """A signature that shares one of them with a known key is still of an unknown one."""
    good = sign_text(TEXT, NAME, KEY)
    same_name, same_id = Signature(NAME, b"\0\0\0\0", good.data), Signature("other.example", LOG.key_id, good.data)
    assert Note(TEXT, (same_name, same_id)).signed_by([LOG]) == []
    assert Note(TEXT, (same_name, same_id, good)).signed_by([LOG]) == [(LOG, good)]


def test_another_key_is_unknown() -> None:
    """Of another name, or the same name with another key."""
    note = Note(TEXT, (sign_text(TEXT, NAME, KEY),))
    assert note.signed_by([]) == []
    assert note.signed_by([Verifier(NAME, public(OTHER_KEY)), Verifier("other.example", public(KEY))]) == []


def test_a_bad_signature_of_a_known_key_spoils_the_note() -> None:
    """Even beside a good one, before or after it: of another text, by another key, changed, cut, lengthened, empty."""
    good = sign_text(TEXT, NAME, KEY)
    for data in (
        KEY.sign(TEXT[:-1].encode()),
        KEY.sign(b""),
        OTHER_KEY.sign(TEXT.encode()),  # as if its key id were the same
        bytes([good.data[0] ^ 1]) + good.data[1:],
        good.data[:-1] + bytes([good.data[-1] ^ 128]),
        good.data[:63],
        good.data + b"\0",
        good.data * 2,
        bytes(64),
        b"\0",
    ):
        bad = Signature(NAME, LOG.key_id, data)
        for signed in ((bad,), (good, bad), (bad, good)):
            note = Note.parse(str(Note(TEXT, signed)))
            with pytest.raises(InvalidEvidence, match=f"the signature of {NAME}"):
                note.signed_by([LOG])


@pytest.mark.parametrize("length", [1, 63, 65, 72, 128])
def test_a_signature_of_another_length_is_told_its_length(length: int) -> None:
    """An Ed25519 signature has 64 bytes."""
    with pytest.raises(InvalidEvidence, match=f"the signature of {NAME} has {length} bytes, not 64"):
        LOG.check(TEXT, Signature(NAME, LOG.key_id, bytes(length)))


def test_a_signer_is_named_once() -> None:
    """However often it signed, and however often it was asked for; in the order in which they were asked for."""
    log, witness = sign_text(TEXT, NAME, KEY), cosign(TEXT)
    note = Note.parse(str(Note(TEXT, (witness, log, log, cosign(TEXT, SECONDS + 1)))))
    assert note.signed_by([LOG, COSIGNER, LOG]) == [(LOG, log), (COSIGNER, witness)]


@pytest.mark.parametrize("count", [1, 16, MOST_SIGNATURES])
def test_many_signatures_are_accepted(count: int) -> None:
    """At least 16, says the specification, and it reminds that some have nearly 5,000 bytes."""
    length = 5000 if count == 16 else 2420  # the latter is that of ML-DSA-44
    others = [Signature(f"witness.example/number-{number}", b"1234", bytes(length)) for number in range(count - 1)]
    note = Note.parse(str(Note(TEXT, (*others, sign_text(TEXT, NAME, KEY)))))
    assert len(note.signatures) == count
    assert [verifier for verifier, _ in note.signed_by([LOG])] == [LOG]


def test_more_signatures_than_the_limit_are_refused() -> None:
    """Each may cost a verification."""
    good = sign_text(TEXT, NAME, KEY)
    with pytest.raises(InvalidEvidence, match=f"more than {MOST_SIGNATURES} signatures"):
        Note.parse(str(Note(TEXT, (good,) * (MOST_SIGNATURES + 1))))


@pytest.mark.parametrize("letter", ["a", "ä", "—"])
def test_a_note_that_is_too_large_is_refused(letter: str) -> None:
    """Its bytes are counted, also where it comes as text."""
    rest = f"\n\n{sign_text(TEXT, NAME, KEY).line()}"
    fits = letter * ((MOST_NOTE_BYTES - len(rest.encode())) // len(letter.encode())) + rest
    assert Note.parse(fits) == Note.parse(fits.encode())
    for larger in (letter + fits, (letter + fits).encode()):
        with pytest.raises(InvalidEvidence, match=f"more than {MOST_NOTE_BYTES} bytes"):
            Note.parse(larger)


def test_signatures_can_be_added_to_a_note() -> None:
    """After those that it has, and none twice."""
    log, witness = sign_text(TEXT, NAME, KEY), cosign(TEXT)
    note = Note(TEXT, (log,)).with_signatures([witness, log, witness])
    assert note == Note(TEXT, (log, witness))
    assert note.with_signatures([log]) == note


@given(text=texts, seconds=st.integers(0, 2**63 - 1))
def test_a_cosignature_is_a_time_and_a_signature_over_time_and_text(text: str, seconds: int) -> None:
    """Up to the last second that the specification has."""
    signature = parse_signature(cosign(text, seconds).line()[:-1])
    assert cosigned_seconds(signature) == seconds
    assert Note(text, (signature,)).signed_by([COSIGNER]) == [(COSIGNER, signature)]


@given(seconds=st.integers(1, 2**63 - 1), other=st.integers(1, 2**63 - 1))
def test_a_cosignature_of_another_time_is_refused(seconds: int, other: int) -> None:
    """The time is signed too."""
    signature = cosign(TEXT, seconds, time=other)
    assert cosigned_seconds(signature) == other
    if seconds != other:
        with pytest.raises(InvalidEvidence, match="not good"):
            COSIGNER.check(TEXT, signature)


@pytest.mark.parametrize("seconds", [2**63, 2**64 - 1])
def test_a_cosignature_of_a_time_out_of_range_is_refused(seconds: int) -> None:
    """However well it is signed."""
    with pytest.raises(InvalidEvidence, match=f"cosignature of {WITNESS}"):
        cosigned_seconds(cosign(TEXT, seconds))
    with pytest.raises(InvalidEvidence, match=f"cosignature of {WITNESS}"):
        Note(TEXT, (cosign(TEXT, seconds),)).signed_by([COSIGNER])


@pytest.mark.parametrize("length", [1, 8, 63, 64, 71, 73, 144])
def test_a_cosignature_of_another_length_is_refused(length: int) -> None:
    """It has 72 bytes."""
    signature = Signature(WITNESS, COSIGNER.key_id, (cosign(TEXT).data * 2)[:length])
    with pytest.raises(InvalidEvidence, match=f"cosignature of {WITNESS}"):
        cosigned_seconds(signature)
    with pytest.raises(InvalidEvidence, match=f"cosignature of {WITNESS}"):
        COSIGNER.check(TEXT, signature)


def test_a_cosignature_is_of_one_text_and_one_key() -> None:
    """Another text or another key is refused."""
    with pytest.raises(InvalidEvidence, match="not good"):
        COSIGNER.check(TEXT + "\n", cosign(TEXT))
    with pytest.raises(InvalidEvidence, match="not good"):
        Verifier(WITNESS, public(OTHER_KEY), SignatureType.COSIGNATURE).check(TEXT, cosign(TEXT))


def test_a_signature_of_one_type_is_none_of_the_other() -> None:
    """Under the same name and the same key: its id is another, and its bytes do not fit."""
    plain = Verifier(WITNESS, public(KEY))
    witness, log = cosign(TEXT), sign_text(TEXT, WITNESS, KEY)
    assert Note(TEXT, (witness,)).signed_by([plain]) == []
    assert Note(TEXT, (log,)).signed_by([COSIGNER]) == []
    assert Note(TEXT, (witness, log)).signed_by([plain, COSIGNER]) == [(plain, log), (COSIGNER, witness)]
    for verifier, data in (
        (plain, witness.data),
        (plain, witness.data[8:]),
        (COSIGNER, log.data),
        (COSIGNER, bytes(8) + log.data),
    ):
        with pytest.raises(InvalidEvidence):
            Note(TEXT, (Signature(WITNESS, verifier.key_id, data),)).signed_by([verifier])


@pytest.mark.parametrize("key", [b"\xff" * 32, b"\2" + bytes(31), b"\7" + bytes(31)])
def test_a_public_key_that_is_none_refuses_all(key: bytes) -> None:
    """Bytes that are no point of the curve end in a plain refusal."""
    verifier = Verifier(NAME, key)
    with pytest.raises(InvalidEvidence, match="not good"):
        verifier.check(TEXT, Signature(NAME, verifier.key_id, KEY.sign(TEXT.encode())))


@given(data=st.binary(max_size=64))
def test_a_hash_is_32_bytes_in_base64(data: bytes) -> None:
    """No more and no less, in one form."""
    text = b64encode(data).decode()
    if len(data) == 32:
        assert decode_hash(text, "the root") == data
        for wrong in (text[:-1], text + "=", text + "\n", " " + text, text[:-2] + chr(ord(text[-2]) + 1) + "="):
            with pytest.raises(InvalidEvidence, match="the root is not base64"):
                decode_hash(wrong, "the root")
    else:
        with pytest.raises(InvalidEvidence, match=f"the root has {len(data)} bytes, not 32"):
            decode_hash(text, "the root")


FIELD = 2**255 - 19
CURVE = -121665 * pow(121666, -1, FIELD) % FIELD


def add(one: tuple[int, int], other: tuple[int, int]) -> tuple[int, int]:
    """The sum of two points of the curve of Ed25519 (RFC 8032 §5.1.4, in affine coordinates)."""
    (x, y), (u, v) = one, other
    product = CURVE * x * u * y * v
    return (
        (x * v + u * y) * pow(1 + product, -1, FIELD) % FIELD,
        (y * v + x * u) * pow(1 - product, -1, FIELD) % FIELD,
    )


def point_of(y: int) -> tuple[int, int]:
    """A point of the curve with this second coordinate."""
    square = (y * y - 1) * pow(CURVE * y * y + 1, -1, FIELD) % FIELD
    x = pow(square, (FIELD + 3) // 8, FIELD)
    if x * x % FIELD != square:
        x = x * pow(2, (FIELD - 1) // 4, FIELD) % FIELD
    assert x * x % FIELD == square
    return x, y


def test_keys_with_which_everyone_can_sign_are_refused() -> None:
    """The points whose order divides 8, in every form of their coordinates."""
    from whodid.notes import _SMALL_ORDER

    for y in _SMALL_ORDER:
        point = point_of(y % FIELD)
        for _ in range(3):
            point = add(point, point)
        assert point == (0, 1)
        for sign in (0, 1 << 255):
            with pytest.raises(InvalidEvidence, match="everyone can sign"):
                Verifier("example.com/weak", (y | sign).to_bytes(32, "little"))
    assert len({y % FIELD for y in _SMALL_ORDER}) == 5
