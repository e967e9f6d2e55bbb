"""Evidence bundles and single proofs as bytes: written exactly, read strictly, never with much memory."""

import contextlib
import gzip
import io
import itertools
import json
import tracemalloc
import zlib
from collections.abc import Callable, Iterable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.verify.building import Log, compact, packed

from whodid.bundle import (
    MOST_LINE_BYTES,
    BundleEntry,
    BundleHeader,
    BundleReader,
    BundleTail,
    BundleWriter,
    InvalidEntry,
    PreviousProof,
    SingleProof,
    parse_proof,
    parse_salt,
    render_proof,
)
from whodid.errors import InvalidEvidence

SALT = bytes(range(16))
SALT_TEXT = "AAECAwQFBgcICQoLDA0ODw=="
COMMITMENT = bytes(range(32))
HASH_TEXT = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="

texts = st.text(st.characters(codec="utf-8"))
header_line = compact({"format": "whodid-evidence/1", "account": "acme", "checkpoint": "note\n", "from": 5, "to": 7})
entry_lines = [f'{{"seq":{seq},"salt":"{SALT_TEXT}","record":"{{}}","check":"00010203"}}'.encode() for seq in (5, 6)]
tail_line = compact({"left": [HASH_TEXT], "consistency": []})
LINES = [header_line, *entry_lines, tail_line]


def written(records: list[bytes], first: int = 0) -> bytes:
    """A bundle of these records."""
    out = io.BytesIO()
    writer = BundleWriter(out)
    writer.begin(BundleHeader(account="acme", checkpoint="note\n", first=first, end=first + len(records)))
    writer.add([(first + at, SALT, COMMITMENT, record) for at, record in enumerate(records)])
    writer.end(BundleTail(left=(), consistency=()))
    return out.getvalue()


def pieces(data: bytes, size: int = 1000) -> Iterator[bytes]:
    """A file, piece by piece."""
    return (data[at : at + size] for at in range(0, len(data), size))


def read(parts: Iterable[bytes]) -> tuple[BundleHeader, list[BundleEntry], BundleTail]:
    """A whole bundle."""
    reader = BundleReader(parts)
    header = reader.header()
    entries = [entry for batch in reader.entries() for entry in batch]
    return header, entries, reader.tail


def plain(*lines: bytes) -> bytes:
    """Lines as a file."""
    return b"".join(line + b"\n" for line in lines)


def fault(data: bytes) -> InvalidEvidence:
    """What is said of a file that is not sound."""
    with pytest.raises(InvalidEvidence) as caught:
        read(pieces(data))
    return caught.value


def peak_mib(work: Callable[[], object]) -> float:
    """How much memory some work takes at once."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1] / (1 << 20)
    finally:
        tracemalloc.stop()


# Writing.


def test_the_lines_are_those_that_the_format_fixes() -> None:
    """Key for key and byte for byte, as docs/FORMAT.md has them."""
    out = io.BytesIO()
    writer = BundleWriter(out)
    writer.begin(BundleHeader(account="acme", checkpoint="a\n1\n", key="k+1+AQ==", first=1, end=2))
    writer.add([(1, SALT, COMMITMENT, '{"account":"acme","é":"\u2028/\x7f\\"}'.encode())])
    proof = PreviousProof(size=1, proof=(COMMITMENT,))
    writer.end(BundleTail(left=(COMMITMENT,), consistency=(), previous=proof))
    record = r"{\"account\":\"acme\",\"é\":\"" + "\u2028/\x7f" + r"\\\"}"
    assert gzip.decompress(out.getvalue()).decode() == (
        r'{"format":"whodid-evidence/1","account":"acme","checkpoint":"a\n1\n","key":"k+1+AQ==","from":1,"to":2}' + "\n"
        f'{{"seq":1,"salt":"{SALT_TEXT}","record":"{record}","check":"00010203"}}\n'
        f'{{"left":["{HASH_TEXT}"],"consistency":[],"previous":{{"size":1,"proof":["{HASH_TEXT}"]}}}}\n'
    )


def test_what_a_naive_log_writes_is_what_the_writer_writes() -> None:
    """Two independent ways to the same bytes, odd records and all."""
    log = Log.of(20)
    header, entries, tail = read([packed(log.lines(3, 17, 20, previous=7))])
    out = io.BytesIO()
    writer = BundleWriter(out)
    writer.begin(header)
    given = [(one.seq, one.salt, log.commitments[one.seq], one.record.encode()) for one in entries]
    writer.add(given[:1])
    writer.add([])
    writer.add(given[1:])
    writer.end(tail)
    assert gzip.decompress(out.getvalue()) == plain(*log.lines(3, 17, 20, previous=7))


def test_the_same_content_makes_the_same_bytes() -> None:
    """Nothing of the clock is in the file."""
    data = written([b"{}"] * 100)
    assert data == written([b"{}"] * 100)
    assert data[4:8] == bytes(4)  # RFC 1952, MTIME


def test_a_writer_refuses_gaps_and_early_ends() -> None:
    """A bundle that can't be verified is not written in the first place."""
    entry = (5, SALT, COMMITMENT, b"{}")
    for wrong in ([(6, *entry[1:])], [entry, entry], [(seq, *entry[1:]) for seq in (5, 6, 7)]):
        writer = BundleWriter(io.BytesIO())
        with pytest.raises(ValueError, match="bundle goes on"):
            writer.add([entry])
        writer.begin(BundleHeader(account="acme", checkpoint="", first=5, end=7))
        with pytest.raises(ValueError, match="entry 5"):
            writer.add(wrong)
        writer.add([entry])
        with pytest.raises(ValueError, match="entry 6"):
            writer.end(BundleTail(left=(), consistency=()))


# Reading what is sound.


@given(records=st.lists(texts, max_size=30), size=st.integers(1, 300), first=st.integers(0, 2**63 - 100))
def test_records_survive_exactly(records: list[str], size: int, first: int) -> None:
    """Any text, however the file comes in pieces."""
    given = [record.encode() for record in records]
    header, entries, _ = read(pieces(written(given, first), size))
    assert (header.first, header.end) == (first, first + len(given))
    assert [entry.record.encode() for entry in entries] == given
    assert [entry.seq for entry in entries] == list(range(first, first + len(given)))


def test_a_bundle_need_not_be_packed_nor_in_one_piece() -> None:
    """NDJSON as it is, gzip of several members, byte by byte, without the last newline, with CRLF: all the same."""
    sound = read([plain(*LINES)])
    assert [entry.seq for entry in sound[1]] == [5, 6]
    members = b"".join(gzip.compress(line + b"\n") for line in LINES) + gzip.compress(b"")
    for data in (plain(*LINES)[:-1], packed(LINES), members, b"\r\n".join(LINES), b" \n".join(LINES)):
        assert read(pieces(data, 1)) == read([data]) == sound


def test_white_space_and_the_order_of_keys_are_free() -> None:
    """It is JSON; only the lines are fixed."""
    lines = [json.dumps(dict(reversed(json.loads(line).items())), indent=None).encode() for line in LINES]
    assert read([plain(*lines)]) == read([plain(*LINES)])


def test_optional_keys_may_be_left_out() -> None:
    """The key of the header, the hints of the entries, the proof from an earlier checkpoint."""
    lines = [line.replace(b',"check":"00010203"', b"") for line in LINES]
    header, entries, tail = read([plain(*lines)])
    left_out = [header.key, entries[0].check, tail.previous]
    assert not any(left_out)
    assert len(set(map(type, left_out))) == 1


# Reading what is not.


@pytest.mark.parametrize(
    ("place", "line", "why"),
    [
        (0, b"", "first line"),
        (0, b"[]", "first line"),
        (0, entry_lines[0], "first line"),
        (0, header_line.replace(b"evidence/1", b"evidence/2"), "whodid-evidence"),
        (0, header_line.replace(b'"format":"whodid-evidence/1",', b""), "missing"),
        (0, header_line.replace(b'"acme"', b'"Acme"'), "name 'Acme'"),
        (0, header_line.replace(b'"from":5', b'"from":8'), "from 8 to 7"),
        (0, header_line.replace(b'"from":5', b'"from":-1'), "from"),
        (0, header_line.replace(b'"to":7', b'"to":9223372036854775808'), "to"),
        (0, header_line.replace(b'"to":7', b'"to":7,"to":7'), "twice"),
        (0, header_line.replace(b'"to":7', b'"to":7,"note":""'), "note"),
        (0, b"\xef\xbb\xbf" + header_line, "first line"),
        (0, header_line.decode().encode("utf-16"), "first line"),
        (3, b"[]", "line 4"),
        (3, tail_line[:-1], "line 4"),
        (3, tail_line.replace(b"[]", b'["' + HASH_TEXT.encode()[:-4] + b'"]'), "32"),
        (3, tail_line.replace(b"[]", b'["' + HASH_TEXT.encode()[:-2] + b'9="]'), "usual form"),
        (3, tail_line.replace(b"[]", b"[" + b",".join([b'"%b"' % HASH_TEXT.encode()] * 64) + b"]"), "63"),
        (3, tail_line.replace(b"[]", b'[],"left":[]'), "twice"),
        (3, tail_line + b" " + tail_line, "trailing"),
    ],
)
def test_a_header_or_a_tail_that_is_not_one_is_refused(place: int, line: bytes, why: str) -> None:
    """Each is told by its place, and what is wrong with it."""
    assert why in fault(plain(*LINES[:place], line, *LINES[place + 1 :])).message


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"null",
        b"{}",
        entry_lines[1][:-1],
        entry_lines[1] + entry_lines[1],
        entry_lines[1] + b" " + entry_lines[1],
        b"\n" + entry_lines[1],
        entry_lines[1].replace(b",", b"\n,", 1),
        entry_lines[1].replace(b'"seq":6', b'"seq":5,"seq":6'),
        entry_lines[1].replace(b'"record":', b'"record":"{\\"forged\\":1}","record":'),
        entry_lines[1].replace(b'"record":', b'"record":"x","recor\\u0064":'),
        entry_lines[1].replace(b'"seq":6', b'"seq":6,"more":1'),
        entry_lines[1].replace(b'"seq":6', b'"seq":6.0'),
        entry_lines[1].replace(b'"seq":6', b'"seq":"6"'),
        entry_lines[1].replace(b'"seq":6', b'"seq":1e400'),
        entry_lines[1].replace(b'"seq":6', b'"seq":-1'),
        entry_lines[1].replace(b'"seq":6', b'"seq":' + b"9" * 40),
        entry_lines[1].replace(b'"seq":6', b'"seq":' + b"9" * 5000),
        entry_lines[1].replace(b'"seq":6', b'"seq":' + b"[" * 100_000),
        entry_lines[1].replace(b"Dw==", b"Dx=="),
        entry_lines[1].replace(b"Dw==", b"Dw"),
        entry_lines[1].replace(b"AAEC", b"AAE-"),
        entry_lines[1].replace(b"AAEC", b""),
        entry_lines[1].replace(b'"{}"', b"{}"),
        entry_lines[1].replace(b'"{}"', b'"\xff"'),
        entry_lines[1].replace(b'"{}"', b'"\xed\xa0\x80"'),
        entry_lines[1].replace(b'"{}"', b'"\\ud800"'),
        entry_lines[1].replace(b'"{}"', b'"\x00"'),
        entry_lines[1].replace(b'"00010203"', b"null"),
        header_line,
        tail_line,
    ],
)
def test_an_entry_that_can_be_read_in_two_ways_or_in_none_is_refused(line: bytes) -> None:
    """Whatever program reads the file, it sees the same as the one that verified it."""
    error = fault(plain(header_line, entry_lines[0], line, tail_line))
    assert isinstance(error, InvalidEntry)
    assert error.seq == 6


@pytest.mark.parametrize("size", range(len(plain(*LINES)) - 1))
def test_a_file_that_is_cut_off_is_noticed(size: int) -> None:
    """At any byte, packed or not; and the first entry that is missing is told."""
    data = plain(*LINES)[:size]
    error = fault(data)
    whole_entries = data.count(b"\n") - 1
    if size > len(header_line):
        missing = 5 + whole_entries + (data.rpartition(b"\n")[2] in entry_lines)
        assert isinstance(error, InvalidEntry) is (missing < 7), error.message
        if isinstance(error, InvalidEntry):
            assert error.seq == missing
    cut = zlib.compressobj(wbits=31)
    assert fault(cut.compress(data) + cut.flush(zlib.Z_SYNC_FLUSH)).message


def test_a_packed_file_that_is_cut_off_tells_the_first_entry_that_is_missing() -> None:
    """What came before the cut is read."""
    stream = zlib.compressobj(wbits=31)
    data = stream.compress(plain(*LINES[:2])) + stream.flush(zlib.Z_FULL_FLUSH)
    error = fault(data)
    assert isinstance(error, InvalidEntry)
    assert (error.seq, "cut off" in error.message) == (6, True)


@pytest.mark.parametrize("garbage", [b"\n", b"x", b"\0", b"\0" * 512, tail_line, entry_lines[1], header_line])
def test_nothing_may_follow_the_end(garbage: bytes) -> None:
    """Neither after the last line, nor after the gzip data."""
    assert fault(plain(*LINES) + garbage).message
    assert fault(packed(LINES) + garbage).message
    assert fault(packed([*LINES, garbage])).message


@given(place=st.integers(0), flip=st.integers(1, 255))
def test_damaged_gzip_is_an_error_or_harmless(place: int, flip: int) -> None:
    """Any byte may be another one: what is read is the same then, or nothing is."""
    data = bytearray(packed(LINES))
    data[place % len(data)] ^= flip
    with contextlib.suppress(InvalidEvidence):
        assert read(pieces(bytes(data), 7)) == read([packed(LINES)])


def test_a_wrong_checksum_is_noticed() -> None:
    """CRC and length at the end of the gzip data are checked."""
    for place in (-8, -4):
        data = bytearray(packed(LINES))
        data[place] ^= 1
        assert "damaged" in fault(bytes(data)).message


@given(data=st.binary(max_size=200))
def test_arbitrary_bytes_are_refused(data: bytes) -> None:
    """With nothing but ``InvalidEvidence``."""
    for start in (b"", b"\x1f\x8b", b"\x1f\x8b\x08\0\0\0\0\0\0\3", header_line + b"\n", plain(*LINES)):
        if data.strip() or start != plain(*LINES):
            with pytest.raises(InvalidEvidence):
                read(pieces(start + data, 50))


# Reading what is endless.


@pytest.mark.parametrize(
    "lines",
    [
        lambda: itertools.repeat(b"x" * 65536),
        lambda: itertools.chain([plain(header_line)], itertools.repeat(b" " * 65536)),
        lambda: itertools.chain([plain(header_line)], itertools.repeat(b"\n" * 65536)),
        lambda: itertools.chain([plain(*LINES)], itertools.repeat(plain(tail_line))),
        lambda: itertools.chain([plain(header_line)], itertools.repeat(b'{"seq":5,"seq":5}\n' * 1000)),
        lambda: itertools.chain([header_line[:-1] + b',"key":"'], itertools.repeat(b"y" * 65536)),
    ],
)
def test_an_endless_file_is_given_up_soon(lines: Callable[[], Iterator[bytes]]) -> None:
    """And takes no more than a few MiB until then."""

    def give_up() -> None:
        with pytest.raises(InvalidEvidence):
            read(lines())

    assert peak_mib(give_up) < 8


def test_an_endless_file_of_entries_is_read_in_little_memory() -> None:
    """Whoever counts the entries ends it; they come as they are read."""
    reader = BundleReader(itertools.chain([plain(header_line)], itertools.repeat(plain(*entry_lines) * 3000)))
    reader.header()
    assert peak_mib(lambda: [None for _ in itertools.islice(reader.entries(), 200)]) < 16


def test_a_bomb_does_not_go_off() -> None:
    """A GiB of spaces, packed into one MiB, is given up after the first MiB that they fill; lines pass by in pieces."""
    stream = zlib.compressobj(9, wbits=31)
    bomb = b"".join(stream.compress(b" " * (1 << 20)) for _ in range(1024)) + stream.flush()
    assert len(bomb) < 2 << 20

    def give_up() -> None:
        assert "more than" in fault(bomb).message

    assert peak_mib(give_up) < 8


def test_a_line_may_come_in_any_number_of_pieces() -> None:
    """Even one byte a gzip member, of which there are as many as it has bytes."""
    members = b"".join(gzip.compress(bytes([one])) for one in plain(*LINES))
    assert read([members]) == read([plain(*LINES)])


# Single proofs.

PROOF = SingleProof(
    account="acme", seq=17, salt=SALT, record='{"a":"\u2028"}', proof=(COMMITMENT,), checkpoint="n\n", key="k"
)


def test_a_single_proof_is_one_object() -> None:
    """Key for key as docs/FORMAT.md has it."""
    assert render_proof(PROOF).decode() == (
        f'{{"format":"whodid-proof/1","account":"acme","seq":17,"salt":"{SALT_TEXT}",'
        f'"record":"{{\\"a\\":\\"\u2028\\"}}","proof":["{HASH_TEXT}"],"checkpoint":"n\\n","key":"k"}}'
    )
    assert parse_proof(render_proof(PROOF)) == PROOF
    assert parse_proof(json.dumps(json.loads(render_proof(PROOF)), indent=4).encode()) == PROOF


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'{"format"', b'[{"format"'),
        (b"proof/1", b"proof/2"),
        (b'"format":"whodid-proof/1",', b""),
        (b'"acme"', b'"a c"'),
        (b'"seq":17', b'"seq":17,"seq":18'),
        (b'"seq":17', b'"seq":17,"size":18'),
        (b"Dw==", b"Dx=="),
        (b'"key":"k"', b'"key":"' + b"k" * MOST_LINE_BYTES + b'"'),
    ],
)
def test_a_single_proof_that_is_not_one_is_refused(old: bytes, new: bytes) -> None:
    """As strictly as the lines of a bundle."""
    with pytest.raises(InvalidEvidence):
        parse_proof(render_proof(PROOF).replace(old, new))


def test_a_salt_is_sixteen_bytes_of_base64() -> None:
    """In the one form that they have."""
    assert parse_salt(SALT_TEXT) == SALT
    for wrong in ("", "AAEC", SALT_TEXT[:-1], SALT_TEXT.replace("Dw", "Dx"), SALT_TEXT + "\n", "é"):
        with pytest.raises(InvalidEvidence):
            parse_salt(wrong)
