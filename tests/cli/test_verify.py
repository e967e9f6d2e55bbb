"""``whodid verify`` as an auditor runs it: on files, on a served log, without a store."""

import hashlib
import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.cli.running import Whodid
from tests.verify.building import ACCOUNT, Log, Witness, base64, compact, key_of, packed
from tests.verify.serving import Server, serving

from whodid.cli.output import UsageError
from whodid.cli.verify_inputs import read_trust
from whodid.notes import Note, Signature, Verifier

pytestmark = pytest.mark.on_sqlite_only("whoever verifies has no store")

LOG = Log.of(300)
KEY = str(LOG.verifier)
LINES = LOG.lines(3, 15, 20)


@pytest.fixture
def auditor(whodid: Whodid) -> Iterator[Whodid]:
    """The command, in a folder with a bundle, a key and proofs; it makes no store."""
    whodid.write("bundle.gz", packed(LINES))
    whodid.write("log.key", KEY.encode())
    whodid.write("proof.json", compact(LOG.single_proof(17)))
    whodid.write("proof.txt", LOG.proof_file(17))
    whodid.write("record", LOG.records[17])
    yield whodid
    assert not whodid.store_path.exists()


@pytest.fixture
def server() -> Iterator[Server]:
    """A server of the log at 200 entries."""
    with serving(LOG, 200) as server:
        yield server


def steps(told: str) -> list[str]:
    """What came of each step, as people read it."""
    return [line.split(": ")[0] for line in told.splitlines()[:-1]]


def test_a_true_bundle_is_verified(auditor: Whodid) -> None:
    """A line a step, the verdict last, status 0."""
    told = auditor("verify", "bundle.gz", "--key", "log.key")
    assert steps(told.out) == [
        "1. passed", "2. passed", "3. not asked for", "4. passed", "5. passed", "6. not asked for",
    ]  # fmt: skip
    assert told.out.splitlines()[-1] == (
        f"verified: entries 3 to 14 of {ACCOUNT} are those of the log of 20 entries that {LOG.origin} signed"
    )
    assert told.err == ""


def test_a_tampered_bundle_is_not(auditor: Whodid) -> None:
    """Status 1; which step failed, at which entry; the rest was not run."""
    lines = [*LINES[:4], LINES[4].replace(b'\\"account', b'\\"forged\\":1,\\"account', 1), *LINES[5:]]
    told = auditor("verify", auditor.write("tampered", packed(lines)), "--key", KEY, status=1)
    assert steps(told.out) == ["1. passed", "2. passed", "3. not asked for", "4. failed", "5. not run", "6. not run"]
    assert told.out.splitlines()[-1] == "NOT VERIFIED: step 4 (entries) failed, at entry 6"
    other = auditor("verify", "bundle.gz", "--key", str(Log.of(1, key=key_of("other")).verifier), status=1)
    assert other.out.splitlines()[-1] == "NOT VERIFIED: step 2 (signature) failed"


def test_programs_get_one_object(auditor: Whodid) -> None:
    """With the steps, the verdict, the first entry that is wrong, and the checkpoint if it is signed."""
    told = auditor("verify", "bundle.gz", "--key", KEY, "--json").json
    assert (told["verdict"], told["seq"], told["contradicted"]) == ("verified", None, False)
    assert told["checkpoint"] == {
        "origin": LOG.origin, "size": 20, "root": base64(LOG.root(20)), "note": LOG.note(20),
    }  # fmt: skip
    assert [step["number"] for step in told["steps"]] == [1, 2, 3, 4, 5, 6]
    assert told["steps"][0] == {
        "number": 1, "title": "bundle", "outcome": "passed", "detail": f"entries 3 to 14 of {ACCOUNT}",
    }  # fmt: skip
    cut_off = auditor("verify", auditor.write("short", packed(LINES[:6])), "--key", KEY, "--json", status=1).json
    assert (cut_off["verdict"], cut_off["seq"]) == ("failed", 8)
    forged = auditor.write("forged", packed(Log.of(20, key=key_of("forger")).lines()))
    assert auditor("verify", forged, "--key", KEY, "--json", status=1).json["checkpoint"] is None


def about(auditor: Whodid, *line: str, status: int = 0) -> tuple[object, ...]:
    """What the evidence is about, as programs are told."""
    told = auditor("verify", *line, "--key", KEY, "--json", status=status).json
    return tuple(told[key] for key in ("claim", "account", "from", "to", "entry"))


def test_programs_are_told_what_was_verified(auditor: Whodid, server: Server) -> None:
    """Of a bundle the range of its entries, of a proof its entry; no claim unless all of it was verified."""
    claim = f"entries 3 to 14 of {ACCOUNT} are those of the log of 20 entries that {LOG.origin} signed"
    assert about(auditor, "bundle.gz") == (claim, ACCOUNT, 3, 15, None)
    claim = f"this record is entry 17 of {ACCOUNT}, in the log that {LOG.origin} signed"
    assert about(auditor, "proof.json") == (claim, ACCOUNT, None, None, 17)
    claim = f"the log of {ACCOUNT} is what {LOG.origin} signed"
    assert about(auditor, "--url", server.url) == (claim, ACCOUNT, None, None, None)
    cut_off = auditor.write("short", packed(LINES[:6]))
    assert about(auditor, cut_off, status=1) == (None, ACCOUNT, 3, 15, None)
    forged = auditor.write("forged", packed(Log.of(20, key=key_of("forger")).lines()))
    assert about(auditor, forged, status=1) == (None,) * 5


def test_a_bundle_of_nothing_says_so(auditor: Whodid) -> None:
    """It is true; whoever needs entries says which, and then it fails."""
    empty = auditor.write("empty", packed(LOG.lines(0, 0, 20)))
    assert auditor("verify", empty, "--key", KEY).out.splitlines()[-1] == (
        f"verified: no entries (from 0 on) of {ACCOUNT}: "
        f"the bundle has none of the log of 20 entries that {LOG.origin} signed"
    )
    for demand in (["--from", "0"], ["--to", "1"], ["--from", "0", "--to", "20"]):
        told = auditor("verify", empty, "--key", KEY, *demand, status=1).out
        assert told.splitlines()[-1] == "NOT VERIFIED: step 4 (entries) failed, at entry 0"


def test_a_bundle_must_have_the_entries_that_are_asked_for(auditor: Whodid) -> None:
    """From one number up to another, exclusive; without the latter, to the end of what was signed."""
    check = ("verify", "bundle.gz", "--key", KEY)
    auditor(*check, "--from", "3", "--to", "15")
    auditor(*check, "--from", "7", "--to", "8")
    assert "not all from 3 to 15, which" in auditor(*check, "--from", "3", "--to", "16", status=1).out
    assert "not all from 3 on, which" in auditor(*check, "--from", "3", status=1).out
    assert "not all from 0 to 14, which" in auditor(*check, "--to", "15", status=1).out


@given(name=st.text(max_size=20), key=st.binary(max_size=40), key_id=st.none() | st.text(max_size=8))
def test_no_key_is_too_odd(name: str, key: bytes, key_id: str | None) -> None:
    """Any type, any length, no point of the curve: it is trusted as a key that signs nothing, or refused as usage."""
    made = hashlib.sha256(name.encode(errors="replace") + b"\n" + key).hexdigest()[:8]
    text = f"{name}+{made if key_id is None else key_id}+{base64(key)}"
    for keys in (([text], None), ([KEY], [text])):
        with suppress(UsageError):
            assert text in map(str, (*read_trust(*keys).keys, *read_trust(*keys).witnesses))


@pytest.mark.parametrize("point", [b"\xff" * 32, b"\x02" + bytes(31), b"\x07" * 32])
def test_a_key_that_is_no_point_of_the_curve_signs_nothing(auditor: Whodid, point: bytes) -> None:
    """It may have the log's name, and a signature that says that it is of it."""
    key = Verifier(LOG.origin, point)
    assert "step 2 (signature) failed" in auditor("verify", "bundle.gz", "--key", str(key), status=1).out
    note = Note.parse(LOG.note(20)).with_signatures([Signature(LOG.origin, key.key_id, bytes(64))])
    header = json.loads(LINES[0]) | {"checkpoint": str(note)}
    forged = auditor.write("forged", packed([compact(header), *LINES[1:]]))
    assert "is not good" in auditor("verify", forged, "--key", str(key), status=1).out


def test_a_bundle_may_come_through_a_pipe(auditor: Whodid) -> None:
    """Packed or not; and options may stand before the file."""
    assert auditor("verify", "--key", KEY, "-", stdin=packed(LINES)).status == 0
    assert auditor("verify", "-", "--key", KEY, stdin=b"\n".join(LINES)).status == 0
    assert "1. failed" in auditor("verify", "-", "--key", KEY, stdin=b"", status=1).out


def test_a_key_is_given_as_it_is_or_in_a_file(auditor: Whodid) -> None:
    """Also as a table of several, with comments."""
    other = Log.of(1, account="org-other-acc0").verifier
    table = f"# from the operator\naccount        verifier key  retired\n{other.name}  {other}  -\nacme  {KEY}  2021\n"
    auditor.write("keys", table.encode())
    for keys in ([KEY], ["log.key"], ["keys"], [str(other), "log.key"]):
        auditor("verify", "bundle.gz", *(word for key in keys for word in ("--key", key)))


def test_a_file_can_not_vouch_for_itself(auditor: Whodid) -> None:
    """Although it brings a key along."""
    told = auditor("verify", "bundle.gz", status=2)
    assert "--key is needed" in told.err
    assert "can't vouch" in told.err


WRONG = {
    "verify --key log.key": "one of FILE and --url",
    "verify bundle.gz --url https://audit.example.com/log/a --key log.key": "one of FILE and --url",
    "verify bundle.gz --key nonsense": "neither a verifier key",
    "verify bundle.gz --key a+b+c": "neither a verifier key",
    "verify bundle.gz --key record": "no verifier key in the file",
    "verify bundle.gz --key bundle.gz": "neither a verifier key",
    f"verify bundle.gz --key {KEY} --witness {KEY}": "not a witness's",
    f"verify bundle.gz --key {Witness().verifier}": "--witness",
    "verify bundle.gz --key log.key --previous a --state b": "one of --previous and --state",
    "verify bundle.gz --key log.key --full": "--url",
    "verify bundle.gz --key log.key --token-file log.key": "--url",
    "verify bundle.gz --key log.key --salt AAAA": "proof file",
    "verify proof.json --key log.key --record record": "has record and salt in it",
    "verify proof.json --key log.key --state state": "--state",
    "verify proof.txt --key log.key": "--record",
    "verify proof.txt --key log.key --record record": "--salt",
    "verify proof.txt --key log.key --record record --salt AAAA": "16 bytes",
    "verify --url ftp://audit.example.com/log/a --key log.key": "URL",
    "verify --url https://audit.example.com/log/a --key log.key --salt AAAA": "proof file",
    "verify --url https://audit.example.com/log/a --key log.key --from 0": "a bundle must have",
    "verify proof.json --key log.key --to 5": "a bundle must have",
    "verify bundle.gz --key log.key --from 5 --to 5": "--from must be before --to",
    "verify bundle.gz --key log.key --from=-1": "numbers of entries",
    "verify bundle.gz --key log.key --to 0": "--from must be before --to",
    "verify bundle.gz --key log.key --from x": "--from",
    "verify --nope --key log.key": "--nope",
}


@pytest.mark.parametrize("line", WRONG)
def test_a_wrong_command_line_is_told(auditor: Whodid, line: str) -> None:
    """One line on standard error, status 2."""
    told = auditor(*line.split(), status=2)
    assert (told.out, told.err.count("\n")) == ("", 1)
    assert WRONG[line] in told.err


def test_help_has_examples(whodid: Whodid) -> None:
    """And what http:// means for the token."""
    shown = whodid("verify", "--help").out
    assert "Example:" in shown
    assert "    whodid verify july.ndjson.gz --key acme.key" in shown
    assert "shows it to the network" in " ".join(shown.split())


def test_a_file_that_can_not_be_read_is_told(auditor: Whodid) -> None:
    """Status 1, since nothing was verified."""
    for line in (
        "verify missing --key log.key", "verify . --key log.key",
        "verify bundle.gz --key log.key --previous missing", "verify bundle.gz --key log.key --state .",
        "verify proof.txt --key log.key --salt AAECAwQFBgcICQoLDA0ODw== --record missing",
    ):  # fmt: skip
        told = auditor(*line.split(), status=1)
        assert told.out == ""
        assert "can't read" in told.err


def test_what_is_quoted_plays_no_tricks(auditor: Whodid) -> None:
    """Escapes for terminals, new lines and letters that look like others are shown as what they are."""
    header = json.loads(LINES[0])
    for trick in ("\x1b[2J\x9b2J", "x\n6. passed\nverified: all", "org-\u0430cme", "\u202e", "\U0001f600" * 50_000):
        name = auditor.write("trick", packed([compact(header | {"account": trick}), *LINES[1:]]))
        told = auditor("verify", name, "--key", KEY, status=1)
        assert told.out.isascii()
        assert len(told.out.splitlines()) == 7
        assert len(told.out) < 5000
        assert all(one.isprintable() for one in told.out.replace("\n", ""))


# Proofs.


def test_a_single_proof_is_verified(auditor: Whodid) -> None:
    """What it proves is told."""
    told = auditor("verify", "proof.json", "--key", "log.key")
    assert told.out.splitlines()[-1] == (
        f"verified: this record is entry 17 of {ACCOUNT}, in the log that {LOG.origin} signed"
    )
    changed = auditor.write("changed.json", compact(LOG.single_proof(17) | {"seq": 18}))
    assert "step 4 (inclusion) failed" in auditor("verify", changed, "--key", KEY, status=1).out


def test_a_proof_file_is_verified_with_record_and_salt(auditor: Whodid) -> None:
    """They come beside it, as the log answers them."""
    salt = base64(LOG.salts[17])
    auditor("verify", "proof.txt", "--key", "log.key", "--record", "record", "--salt", salt)
    other = base64(LOG.salts[18])
    told = auditor("verify", "proof.txt", "--key", "log.key", "--record", "record", "--salt", other, status=1)
    assert "step 4 (inclusion) failed" in told.out


# Growth.


def bundle(auditor: Whodid, log: Log, size: int) -> str:
    """A bundle of a whole log."""
    return auditor.write(f"bundle-{size}", packed(log.lines(0, size, size)))


def test_an_earlier_checkpoint_is_held_against_a_bundle(auditor: Whodid) -> None:
    """It is left as it is."""
    auditor.write("earlier", LOG.note(8).encode())
    told = auditor("verify", "bundle.gz", "--key", KEY, "--previous", "earlier")
    assert "the log only grew, from 8 to 20 entries" in told.out
    auditor.write("earlier", LOG.fork(0).note(8).encode())
    told = auditor("verify", "bundle.gz", "--key", KEY, "--previous", "earlier", status=1)
    assert "step 6 (growth) failed" in told.out
    assert (auditor.folder / "earlier").read_text() == LOG.fork(0).note(8)
    assert not (auditor.folder / "earlier.contradiction").exists()


def test_the_state_goes_on_with_the_log(auditor: Whodid) -> None:
    """It is made the first time, replaced only if all passed, and kept against an older bundle."""
    state = auditor.folder / "state"
    check = ("--key", KEY, "--state", "state")
    auditor("verify", bundle(auditor, LOG, 10), *check)
    assert state.read_text() == LOG.note(10)
    auditor("verify", bundle(auditor, LOG, 20), *check)
    assert state.read_text() == LOG.note(20)
    assert "rolled back" in auditor("verify", "bundle-10", *check, status=1).out
    cut_off = auditor.write("cut-off", packed(LOG.lines(0, 30, 30)[:-1]))
    auditor("verify", cut_off, *check, status=1)
    assert state.read_text() == LOG.note(20)
    assert sorted(path.name for path in auditor.folder.glob("*state*")) == ["state"]


def test_a_fork_leaves_both_checkpoints(auditor: Whodid) -> None:
    """Together they show anybody that the log can't be trusted."""
    check = ("--key", KEY, "--state", "state")
    auditor("verify", bundle(auditor, LOG, 20), *check)
    told = auditor("verify", bundle(auditor, LOG.fork(5), 25), *check, status=1)
    assert "contradict each other" in told.err
    assert (auditor.folder / "state").read_text() == LOG.note(20)
    assert (auditor.folder / "state.contradiction").read_text() == LOG.fork(5).note(25)
    again = auditor("verify", bundle(auditor, LOG.fork(6), 28), *check, status=1)
    assert "is kept" in again.err
    assert (auditor.folder / "state.contradiction").read_text() == LOG.fork(5).note(25)


# Served logs.


def test_a_served_log_is_verified_and_followed(auditor: Whodid, server: Server) -> None:
    """Again and again with the same state."""
    check = ("verify", "--url", server.url, "--key", "log.key", "--state", "state")
    state = auditor.folder / "state"
    first = auditor(*check)
    assert steps(first.out)[3] == "4. not asked for"
    assert first.out.splitlines()[-1] == f"verified: the log of {ACCOUNT} is what {LOG.origin} signed"
    server.size = 300
    grown = auditor(*check, "--full")
    assert "the log only grew, from 200 to 300 entries" in grown.out
    assert steps(grown.out)[5] == "6. passed"
    assert state.read_text() == LOG.note(300)
    server.size = 299  # a reply from a cache, say
    assert "try again" in auditor(*check, status=1).out
    assert not (auditor.folder / "state.contradiction").exists()
    late = auditor(*check, "--json", status=1).json
    assert (late["verdict"], late["contradicted"], late["claim"]) == ("failed", False, None)
    assert late["checkpoint"]["note"] == LOG.note(299)
    assert state.read_text() == LOG.note(300)
    server.odd["checkpoint"] = lambda answer: answer.send(200, LOG.fork(0).note(300).encode())
    forked = auditor(*check, "--json", status=1).json
    assert (forked["verdict"], forked["contradicted"]) == ("failed", True)
    assert (auditor.folder / "state.contradiction").read_text() == LOG.fork(0).note(300)
    assert state.read_text() == LOG.note(300)


def test_a_log_that_does_not_answer_changes_nothing(auditor: Whodid, server: Server) -> None:
    """Status 1, and it is no verdict about the log."""
    state = Path(auditor.write("state", LOG.note(100).encode()))
    server.odd["checkpoint"] = lambda answer: answer.send(500)
    told = auditor("verify", "--url", server.url, "--key", KEY, "--state", str(state), "--json", status=1)
    assert told.json["verdict"] == "unknown"
    people = auditor("verify", "--url", server.url, "--key", KEY, status=1).out
    assert people.splitlines()[-1] == "NOT VERIFIED: step 1 (log) could not be checked"
    assert (auditor.folder / "state").read_text() == LOG.note(100)


def test_the_token_comes_from_a_file_or_the_environment(auditor: Whodid, server: Server) -> None:
    """It is sent, and never shown."""
    auditor.write("token", b"whodid_pat_file\n")
    check = ("verify", "--url", server.url, "--key", KEY)
    shown = [
        auditor(*check),
        auditor(*check, WHODID_TOKEN="whodid_pat_environ"),
        auditor(*check, "--token-file", "token", WHODID_TOKEN="whodid_pat_environ"),
    ]
    asked = [headers.get("Authorization") for path, headers in server.asked if path.endswith("checkpoint")]
    assert asked == [None, "Bearer whodid_pat_environ", "Bearer whodid_pat_file"]
    shown.append(auditor(*check, status=2, WHODID_TOKEN="whodid_pat_\x01"))
    assert not any("whodid_pat" in told.out + told.err for told in shown)
