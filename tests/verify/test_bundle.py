"""Evidence bundles verified: true ones pass, and whatever anybody changes is found, at its place where that can be."""

import hashlib
import json
import random
from base64 import b64decode
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.verify.building import ACCOUNT, ODD_RECORDS, Log, Witness, base64, compact, key_of, packed

from whodid.checkpoint import Checkpoint, sign_checkpoint
from whodid.errors import InvalidEvidence
from whodid.notes import Note, Verifier
from whodid.verify import Outcome, Report, Trust, Verdict, verify_bundle

LOG = Log.of(20)
FIRST, END, SIZE = 3, 15, 20
LINES = LOG.lines(FIRST, END, SIZE)
"""Entries 3 to 14 of a log of 20: line 1 is the header, line 1 + k entry 2 + k, line 14 the last."""

HEADER, ENTRIES, TREE, GROWTH = 1, 4, 5, 6
SIGNATURE, COSIGNATURES = 2, 3

Lines = list[bytes]


def verify(lines: Lines, *keys: Verifier, **more: Any) -> Report:
    """What is said of a bundle of these lines."""
    trust = Trust(keys or (LOG.verifier,), tuple(more.pop("witnesses", ())))
    return verify_bundle([packed(lines)], trust, **more)


def failed_step(report: Report) -> int | None:
    """The number of the step that failed; after it none was run, and before it all were."""
    outcomes = [step.outcome for step in report.steps]
    assert [step.number for step in report.steps] == [1, 2, 3, 4, 5, 6]
    if report.verdict == Verdict.VERIFIED:
        assert set(outcomes) <= {Outcome.PASSED, Outcome.NOT_ASKED}
        return None
    at = outcomes.index(Outcome.FAILED)
    assert set(outcomes[:at]) <= {Outcome.PASSED, Outcome.NOT_ASKED}
    assert set(outcomes[at + 1 :]) <= {Outcome.NOT_RUN}
    return at + 1


def why(report: Report) -> str:
    """What is said where it failed."""
    return next(step.detail for step in report.steps if step.outcome == Outcome.FAILED)


def changed(line: bytes, **more: Any) -> bytes:
    """A line with other values; None takes a key away."""
    value = {**json.loads(line), **more}
    return compact({key: one for key, one in value.items() if one is not None})


def hinted(line: bytes) -> bytes:
    """An entry's line with the hint that fits it."""
    value = json.loads(line)
    salted = b"whodid/v1\n" + b64decode(value["salt"]) + value["record"].encode()
    return changed(line, check=hashlib.sha256(salted).hexdigest()[:8])


# True bundles.


@pytest.mark.parametrize(
    ("first", "end", "size"),
    [(0, 0, 0), (0, 0, 20), (0, 1, 1), (0, 20, 20), (0, 13, 20), (7, 20, 20), (7, 8, 20), (16, 16, 20), (20, 20, 20)],
)
def test_a_true_bundle_is_verified(first: int, end: int, size: int) -> None:
    """Of all entries, of some, of one, of none."""
    report = verify(LOG.lines(first, end, size))
    assert failed_step(report) is None, why(report)
    assert report.signed is not None
    assert report.signed.checkpoint.root == LOG.root(size)
    assert report.claim is not None
    assert ("no entries" in report.claim.text) is (first == end)
    assert (report.claim.account, report.claim.entries) == (ACCOUNT, range(first, end))
    assert report.steps[2].outcome == report.steps[5].outcome == Outcome.NOT_ASKED


@given(st.data())
def test_any_range_of_any_log_is_verified(data: st.DataObject) -> None:
    """With an earlier checkpoint before, within or after the range, or none."""
    size = data.draw(st.integers(0, 600))
    end = data.draw(st.integers(0, size))
    first = data.draw(st.integers(0, end))
    previous = data.draw(st.none() | st.integers(0, size))
    earlier = None if previous is None else BIG.note(previous)
    report = verify(BIG.lines(first, end, size, previous), BIG.verifier, earlier=earlier)
    assert failed_step(report) is None, why(report)
    assert (report.steps[5].outcome == Outcome.PASSED) is (previous is not None)


BIG = Log.of(600)


def test_odd_records_are_verified() -> None:
    """Escapes and white space are part of what was signed; which account it is, is read at the top only."""
    texts = [text % ACCOUNT for text in ODD_RECORDS]
    assert all(text.encode() in LOG.records for text in texts)
    log = Log([text.encode() for text in texts])
    assert failed_step(verify(log.lines(), log.verifier)) is None


@pytest.mark.parametrize(
    ("first", "end"), [(FIRST, END), (FIRST + 1, END - 1), (FIRST, FIRST + 1), (END - 1, END), (FIRST, 4)]
)
def test_a_bundle_that_has_what_is_needed_is_verified(first: int, end: int) -> None:
    """It may have more."""
    report = verify(LINES, needed=(first, end))
    assert failed_step(report) is None, why(report)


@pytest.mark.parametrize(
    ("needed", "seq"),
    [
        ((0, 1), 0), ((FIRST - 1, END), FIRST - 1), ((FIRST, END + 1), END), ((FIRST, None), END), ((0, SIZE), 0),
        ((SIZE, SIZE + 1), SIZE), ((SIZE + 5, None), SIZE + 5), ((0, 1 << 70), 0),
    ],
)  # fmt: skip
def test_a_bundle_without_what_is_needed_fails(needed: tuple[int, int | None], seq: int) -> None:
    """At the first number that is missing; a true bundle can have left out anything, or everything."""
    report = verify(LINES, needed=needed)
    assert (failed_step(report), report.seq) == (ENTRIES, seq)
    assert "which were asked for" in why(report)
    assert failed_step(verify(LOG.lines(0, 0), needed=needed)) == ENTRIES


def test_needed_to_the_end_is_to_the_end_of_what_was_signed() -> None:
    """So that nothing can be left out there; a log that has nothing new shows that it has nothing."""
    assert failed_step(verify(LOG.lines(FIRST, SIZE), needed=(FIRST, None))) is None
    assert failed_step(verify(LOG.lines(SIZE, SIZE), needed=(SIZE, None))) is None
    assert failed_step(verify(LOG.lines(SIZE, SIZE), needed=(SIZE - 1, None))) == ENTRIES
    assert failed_step(verify(LOG.lines(SIZE, SIZE), needed=(SIZE + 1, None))) == ENTRIES


def test_progress_is_told() -> None:
    """How many of how many entries were checked."""
    told: list[tuple[int, int]] = []
    verify(LINES, progress=lambda done, total: told.append((done, total)))
    assert told[-1] == (END - FIRST, END - FIRST)


def test_the_files_own_key_does_not_matter() -> None:
    """It may be another one, or left out."""
    for key in (None, str(Log.of(0, key=key_of("other")).verifier), "nonsense"):
        assert failed_step(verify([changed(LINES[0], key=key), *LINES[1:]])) is None


def test_hints_may_be_left_out_but_then_the_entry_is_not_told() -> None:
    """They are of use only to whoever looks for the change."""
    lines = [LINES[0], *(changed(line, check=None) for line in LINES[1:-1]), LINES[-1]]
    assert failed_step(verify(lines)) is None
    lines[5] = with_record(lines[5])
    report = verify(lines)
    assert (failed_step(report), report.seq) == (TREE, None)
    assert "can't be told" in why(report)


# Tampering with entries. Line 1 + k has entry 2 + k.


def replaced(at: int, line: bytes) -> Lines:
    """The bundle with another line."""
    return [*LINES[:at], line, *LINES[at + 1 :]]


def with_record(line: bytes) -> bytes:
    """An entry's line with another record, of the same account."""
    return changed(line, record=json.loads(line)["record"].replace("{", '{"forged":1,', 1))


def renumbered(lines: Lines) -> Lines:
    """The lines as if nothing had been taken out: numbers in order, range and hints made anew."""
    entries = [hinted(changed(line, seq=FIRST + at)) for at, line in enumerate(lines[1:-1])]
    return [changed(lines[0], to=FIRST + len(entries)), *entries, lines[-1]]


TAMPERED: dict[str, tuple[Callable[[], Lines], int, int | None, str]] = {
    "changed record": (lambda: replaced(4, with_record(LINES[4])), ENTRIES, 6, "entry 6 was changed"),
    "changed salt": (lambda: replaced(5, changed(LINES[5], salt=base64(bytes(16)))), ENTRIES, 7, "entry 7 was changed"),
    "changed hint": (lambda: replaced(5, changed(LINES[5], check="00000000")), ENTRIES, 7, "entry 7 was changed"),
    "hint of another form": (lambda: replaced(5, changed(LINES[5], check="")), ENTRIES, 7, "entry 7 was changed"),
    "two changed records": (
        lambda: [*replaced(4, with_record(LINES[4]))[:9], with_record(LINES[9]), *LINES[10:]], ENTRIES, 6, "entry 6",
    ),
    "changed record and hint": (lambda: replaced(4, hinted(with_record(LINES[4]))), TREE, None, "can't be told"),
    "changed first entry and hint": (lambda: replaced(1, hinted(with_record(LINES[1]))), TREE, None, "can't be told"),
    "changed last entry and hint": (lambda: replaced(-2, hinted(with_record(LINES[-2]))), TREE, None, "can't be told"),
    "salt too short": (lambda: replaced(5, changed(LINES[5], salt=base64(bytes(15)))), ENTRIES, 7, "line 6"),
    "record that is no JSON": (lambda: replaced(5, hinted(changed(LINES[5], record="{"))), ENTRIES, 7, "not a JSON"),
    "record that is no object": (lambda: replaced(5, hinted(changed(LINES[5], record="[]"))), ENTRIES, 7, "not a JSON"),
    "record that is nested too deep": (
        lambda: replaced(5, hinted(changed(LINES[5], record='{"a":' + "[" * 99_999))), ENTRIES, 7, "not a JSON",
    ),
    "record of no account": (lambda: replaced(5, hinted(changed(LINES[5], record="{}"))), ENTRIES, 7, "not a JSON"),
    "record of another account": (
        lambda: replaced(5, hinted(changed(LINES[5], record='{"account":"other"}'))), ENTRIES, 7, "account 'other'",
    ),
    "swapped entries": (
        lambda: [*LINES[:4], LINES[5], LINES[4], *LINES[6:]], ENTRIES, 6, "entry 7 stands where entry 6 should",
    ),
    "swapped entries, renumbered": (
        lambda: renumbered([*LINES[:4], LINES[5], LINES[4], *LINES[6:]]), TREE, None, "can't be told",
    ),
    "swapped entries, hints as they were": (
        lambda: [*LINES[:4], changed(LINES[5], seq=6), changed(LINES[4], seq=7), *LINES[6:]], TREE, None, "can't be",
    ),
    "removed entry": (lambda: [*LINES[:4], *LINES[5:]], ENTRIES, 6, "entry 7 stands where entry 6 should"),
    "removed first entry": (lambda: [LINES[0], *LINES[2:]], ENTRIES, 3, "entry 4 stands where entry 3 should"),
    "removed last entry": (lambda: [*LINES[:-2], LINES[-1]], ENTRIES, 14, "entry 14 is missing"),
    "removed last entry, range adjusted": (
        lambda: [changed(LINES[0], to=END - 1), *LINES[1:-2], LINES[-1]], TREE, None, "not what was signed",
    ),
    "removed first entry, range adjusted": (
        lambda: [changed(LINES[0], **{"from": FIRST + 1}), *LINES[2:]], TREE, None, "left of entry 4",
    ),
    "removed entry, renumbered": (lambda: renumbered([*LINES[:4], *LINES[5:]]), TREE, None, "not what was signed"),
    "removed all entries": (lambda: [LINES[0], LINES[-1]], ENTRIES, 3, "entry 3 is missing"),
    "repeated entry": (lambda: [*LINES[:5], LINES[4], *LINES[5:]], ENTRIES, 7, "entry 6 stands where entry 7 should"),
    "inserted entry": (
        lambda: [*LINES[:4], hinted(with_record(LINES[4])), *LINES[4:]], ENTRIES, 7, "entry 6 stands where entry 7",
    ),
    "inserted entry, renumbered": (
        lambda: renumbered([*LINES[:4], with_record(LINES[4]), *LINES[4:]]), TREE, None, "not what was signed",
    ),
    "appended entry": (
        lambda: [*LINES[:-1], compact(LOG.entry(END)), LINES[-1]], ENTRIES, 15, "entry 15 comes after all entries 3 to",
    ),
    "appended repeated entry": (lambda: [*LINES[:-1], LINES[3], LINES[-1]], ENTRIES, 15, "entry 5 comes after all"),
    "entries of another log": (
        lambda: [LINES[0], *Log.of(SIZE, seed=1).lines(FIRST, END)[1:-1], LINES[-1]], TREE, None, "not what was signed",
    ),
    "another range, relabelled": (
        lambda: [LINES[0], *renumbered(LOG.lines(4, 16))[1:-1], LINES[-1]], TREE, None, "not what was signed",
    ),
    "a range with another's last line": (
        lambda: [*LINES[:-1], LOG.lines(FIRST, END - 1)[-1]], TREE, None, "not what was signed",
    ),
    "trailing line": (lambda: [*LINES, b"x"], ENTRIES, None, "something follows"),
    "trailing empty line": (lambda: [*LINES, b""], ENTRIES, None, "something follows"),
    "trailing entry": (lambda: [*LINES, compact(LOG.entry(END))], ENTRIES, None, "something follows"),
    "last line too early": (lambda: [*LINES[:6], LINES[-1], *LINES[6:]], ENTRIES, 8, "something follows"),
    "no last line": (lambda: LINES[:-1], ENTRIES, None, "cut off"),
    "nothing but a header": (lambda: LINES[:1], ENTRIES, 3, "cut off"),
}  # fmt: skip


@pytest.mark.parametrize("how", TAMPERED)
def test_tampering_with_entries_is_found(how: str) -> None:
    """At the step that finds it, and at the first entry where it shows."""
    lines, step, seq, reason = TAMPERED[how]
    report = verify(lines())
    assert (failed_step(report), report.seq) == (step, seq), report
    assert reason in why(report)


@pytest.mark.parametrize("count", range(len(LINES)))
def test_a_bundle_that_ends_after_any_line_fails(count: int) -> None:
    """The first entry that is missing is told."""
    report = verify(LINES[:count])
    assert failed_step(report) == (ENTRIES if count else HEADER)
    assert report.seq == (FIRST + count - 1 if 0 < count < len(LINES) - 1 else None)


@settings(max_examples=300)
@given(st.data())
def test_a_bundle_that_ends_anywhere_fails(data: st.DataObject) -> None:
    """At any byte, packed or not."""
    whole = packed(LINES) if data.draw(st.booleans()) else b"\n".join(LINES)
    report = verify_bundle([whole[: data.draw(st.integers(0, len(whole) - 1))]], Trust((LOG.verifier,)))
    assert failed_step(report) in (HEADER, ENTRIES)


# Tampering with the hashes of the last line.


@pytest.mark.parametrize("key", ["left", "consistency"])
def test_other_hashes_in_the_last_line_fail(key: str) -> None:
    """Each of them, another one, one more, one less, or in another order."""
    hashes = json.loads(LINES[-1])[key]
    assert len(hashes) > 1
    other = base64(bytes(32))
    attempts = [[*hashes[:at], other, *hashes[at + 1 :]] for at in range(len(hashes))]
    for wrong in (*attempts, hashes[1:], hashes[:-1], [*hashes, other], [other, *hashes], hashes[::-1], []):
        report = verify([*LINES[:-1], changed(LINES[-1], **{key: wrong})])
        assert (failed_step(report), report.seq) == (TREE, None)


# Keys and checkpoints.


def test_another_key_fails() -> None:
    """Of the same name, of another name, and all of them; with the right one among others it passes."""
    other = Log.of(1, key=key_of("other")).verifier
    elsewhere = Log.of(1, host="log.example.org").verifier
    for keys in ([other], [elsewhere], [other, elsewhere]):
        report = verify(LINES, *keys)
        assert (failed_step(report), report.signed) == (SIGNATURE, None)
    assert failed_step(verify(LINES, other, LOG.verifier, elsewhere)) is None


def test_a_forged_bundle_is_not_vouched_for_by_its_own_key() -> None:
    """All of it made anew and signed with another key, under the log's name: nothing but the key tells."""
    forged = Log.of(SIZE, key=key_of("forger"), seed=7)
    lines = forged.lines(FIRST, END)
    assert failed_step(verify(lines, forged.verifier)) is None
    report = verify(lines)
    assert failed_step(report) == SIGNATURE
    assert "not signed by the key" in why(report)


def test_a_changed_checkpoint_fails() -> None:
    """Size, root, origin, a space: nothing of what is signed can be changed."""
    note = LOG.note(SIZE)
    body, _, signature = note.partition("\n\n")
    origin, size, root = body.split("\n")
    attempts = [
        note.replace(f"\n{size}\n", "\n21\n"), note.replace(root, base64(LOG.root(19))), note.replace(".com", ".net"),
        note.replace(f"\n{size}\n", f"\n0{size}\n"), f"{body}\nmore\n\n{signature}", f"{origin}\n{size}\n\n{signature}",
        body, f"{body}\n\n", note[:-1], note + "\n", note.replace("\u2014", "-"), "", "\n\n",
    ]  # fmt: skip
    for wrong in attempts:
        assert wrong != note
        assert failed_step(verify([changed(LINES[0], checkpoint=wrong), *LINES[1:]])) == SIGNATURE


def test_a_checkpoint_of_another_account_fails() -> None:
    """Even if its key is trusted: the header says whose entries these are."""
    other = Log.of(SIZE, account="org-other-acc0")
    report = verify([changed(LINES[0], checkpoint=other.note()), *LINES[1:]], LOG.verifier, other.verifier)
    assert failed_step(report) == SIGNATURE
    assert "log of org-other-acc0, not of org-acme-acc0" in why(report)
    relabelled = [changed(LINES[0], account="org-other-acc0"), *LINES[1:]]
    assert failed_step(verify(relabelled, LOG.verifier, other.verifier)) == SIGNATURE
    assert failed_step(verify([changed(other.lines()[0], checkpoint=LOG.note()), *other.lines()[1:]])) == SIGNATURE


def test_a_log_that_is_not_an_accounts_fails() -> None:
    """A trusted key of something else signs nothing about entries."""
    odd = sign_checkpoint(Checkpoint("sum.example.org", SIZE, LOG.root(SIZE)), LOG.key)
    report = verify([changed(LINES[0], checkpoint=str(odd.note)), *LINES[1:]], odd.signer)
    assert failed_step(report) == SIGNATURE
    assert "sum.example.org" in why(report)


@pytest.mark.parametrize("size", [0, 1, FIRST, END - 1])
def test_a_checkpoint_that_does_not_go_so_far_fails(size: int) -> None:
    """It can't vouch for entries after it."""
    report = verify([changed(LINES[0], checkpoint=LOG.note(size)), *LINES[1:]])
    assert failed_step(report) == SIGNATURE
    assert "can't vouch" in why(report)


@pytest.mark.parametrize("size", [END, END + 1, SIZE - 1])
def test_a_checkpoint_of_another_size_fails(size: int) -> None:
    """The last line leads to the other one."""
    assert failed_step(verify([changed(LINES[0], checkpoint=LOG.note(size)), *LINES[1:]])) == TREE


def test_a_checkpoint_of_a_fork_fails() -> None:
    """Signed by the very key, but for other entries."""
    fork = LOG.fork(17)
    assert failed_step(verify([changed(LINES[0], checkpoint=fork.note()), *LINES[1:]])) == TREE


# Witnesses.


def test_each_witness_that_is_named_must_have_cosigned() -> None:
    """For this very checkpoint."""
    one, two = Witness(), Witness("other.example.org", key_of("two"))
    note = one.cosign(LOG.note(SIZE))
    cosigned = [changed(LINES[0], checkpoint=note), *LINES[1:]]
    report = verify(cosigned, witnesses=[one.verifier])
    assert failed_step(report) is None
    assert "witness.example.org at 2021-07-30T16:13:52.000Z" in report.steps[2].detail
    assert failed_step(verify(LINES, witnesses=[one.verifier])) == COSIGNATURES
    missing = verify(cosigned, witnesses=[one.verifier, two.verifier])
    assert (failed_step(missing), "other.example.org" in why(missing)) == (COSIGNATURES, True)
    far = [changed(LINES[0], checkpoint=two.cosign(note, 2**62)), *LINES[1:]]
    assert failed_step(verify(far, witnesses=[one.verifier, two.verifier])) is None


def test_a_cosignature_for_something_else_fails() -> None:
    """A changed time, a changed signature, or one that was copied from another checkpoint."""
    witness = Witness()
    good = Note.parse(witness.cosign(LOG.note(SIZE)))
    copied = Note.parse(LOG.note(SIZE)).with_signatures(Note.parse(witness.cosign(LOG.note(SIZE - 1))).signatures[1:])
    log_line, line = good.signatures
    wrong = (bytes(8) + line.data[8:], line.data[:-1] + bytes([line.data[-1] ^ 1]), line.data[:8], line.data[:-1])
    changed_lines = [Note(good.text, (log_line, replace(line, data=data))) for data in wrong]
    for note in (copied, *changed_lines):
        report = verify([changed(LINES[0], checkpoint=str(note)), *LINES[1:]], witnesses=[witness.verifier])
        assert failed_step(report) == COSIGNATURES


def test_keys_of_logs_and_of_witnesses_are_not_mixed_up() -> None:
    """A witness can't stand for the log, nor the log for a witness."""
    with pytest.raises(InvalidEvidence, match="--witness"):
        Trust((Witness().verifier,))
    with pytest.raises(InvalidEvidence, match="--key"):
        Trust((LOG.verifier,), (LOG.verifier,))


# Growth.


@pytest.mark.parametrize("size", [FIRST, FIRST + 1, 8, END - 1, END, SIZE])
def test_the_entries_themselves_show_that_the_log_grew(size: int) -> None:
    """From a checkpoint within the range, or the same one: no further proof is needed."""
    report = verify(LINES, earlier=LOG.note(size))
    assert failed_step(report) is None, why(report)
    assert f"from {size} to 20" in report.steps[5].detail


def test_any_log_grew_from_an_empty_one() -> None:
    """There is nothing to prove."""
    assert failed_step(verify(LINES, earlier=LOG.note(0))) is None


@pytest.mark.parametrize("size", [1, 2, END + 1, SIZE - 1])
def test_elsewhere_growth_needs_a_proof_in_the_bundle(size: int) -> None:
    """Without it, it is told how to get one; with it, it is verified."""
    report = verify(LINES, earlier=LOG.note(size))
    assert failed_step(report) == GROWTH
    assert "export --evidence --previous" in why(report)
    assert failed_step(verify(LOG.lines(FIRST, END, SIZE, size), earlier=LOG.note(size))) is None
    other = verify(LOG.lines(FIRST, END, SIZE, size % 2 + 1), earlier=LOG.note(18))
    assert failed_step(other) == GROWTH


@pytest.mark.parametrize(("size", "contradicted"), [(8, True), (END, True), (SIZE, True), (1, False), (18, False)])
def test_a_fork_is_found(size: int, contradicted: bool) -> None:
    """The log signed something else before. Where the entries show it, it is a contradiction that anyone can check."""
    fork = LOG.fork(0)
    report = verify(LOG.lines(FIRST, END, SIZE, size), earlier=fork.note(size))
    assert (failed_step(report), report.contradicted) == (GROWTH, contradicted)


def test_a_forged_earlier_checkpoint_fails() -> None:
    """Signed by another key, changed, of another log, or no checkpoint at all."""
    other_key, other_log = Log.of(20, key=key_of("forger")), Log.of(20, account="org-other-acc0")
    forged = [
        other_key.note(8), LOG.note(8).replace("\n8\n", "\n9\n"), LOG.note(8, root=bytes(32)).replace("A", "B", 1),
        other_log.note(8), "", "nonsense", b"\xff",
    ]  # fmt: skip
    for earlier in forged:
        report = verify(LINES, LOG.verifier, other_log.verifier, earlier=earlier)
        assert (failed_step(report), report.contradicted) == (GROWTH, False)
        assert "earlier checkpoint is" in why(report)


def test_a_larger_earlier_checkpoint_fails() -> None:
    """The bundle is an old one, or the log was rolled back."""
    report = verify(LOG.lines(0, 10, 10), earlier=LOG.note(11))
    assert (failed_step(report), report.contradicted) == (GROWTH, False)
    assert "11 entries, this one of only 10" in why(report)


def test_a_changed_proof_of_growth_fails() -> None:
    """Each hash of it matters."""
    lines = LOG.lines(FIRST, END, SIZE, 2)
    previous = json.loads(lines[-1])["previous"]
    hashes = previous["proof"]
    attempts = [[*hashes[:at], base64(bytes(32)), *hashes[at + 1 :]] for at in range(len(hashes))]
    for wrong in (*attempts, hashes[1:], [*hashes, hashes[0]], []):
        tail = changed(lines[-1], previous={"size": 2, "proof": wrong})
        assert failed_step(verify([*lines[:-1], tail], earlier=LOG.note(2))) == GROWTH


# Anything at all.


def equal_but_for_form(lines: list[bytes]) -> bool:
    """Whether these lines say what ``LINES`` say, but for what proves nothing."""

    def said(lines: list[bytes]) -> list[Any]:
        values = [json.loads(line) for line in lines]
        for value in values:
            value.pop("key", None)
            value.pop("check", None)
        return values

    return said(lines) == said(LINES)


@settings(max_examples=1500)
@given(chance=st.randoms(use_true_random=False), times=st.integers(1, 3))
def test_no_change_of_bytes_goes_unnoticed(chance: random.Random, times: int) -> None:
    """Any bytes changed, added, removed or repeated: it fails, and no way but a report, or it says the same still."""
    data = bytearray(b"".join(line + b"\n" for line in LINES))
    for _ in range(times):
        at = chance.randrange(len(data))
        match chance.randrange(5):
            case 0:
                data[at] ^= 1 << chance.randrange(8)
            case 1:
                data[at] = chance.randrange(256)
            case 2:
                del data[at : at + chance.choice((1, 1, 10, 200))]
            case 3:
                data[at:at] = chance.choice((b" ", b"\n", b'"', b"{", b"0", bytes([chance.randrange(256)])))
            case _:
                start = chance.randrange(len(data))
                data[at:at] = data[start : start + chance.choice((1, 10, 200))]
        data = data or bytearray(b"\n")
    report = verify_bundle([bytes(data)], Trust((LOG.verifier,)))
    if report.verdict == Verdict.VERIFIED:
        assert equal_but_for_form(bytes(data).removesuffix(b"\n").split(b"\n"))


@given(data=st.binary(max_size=300))
def test_any_bytes_make_a_report(data: bytes) -> None:
    """Whatever it is, it is no evidence."""
    assert verify_bundle([data], Trust((LOG.verifier,))).verdict == Verdict.FAILED
