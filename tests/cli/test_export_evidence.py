"""``whodid export --evidence``: which entries are in it, what it is refused for, and that the log tells of it."""

import base64
import gzip
import json
from typing import Any

import pytest
from tests.cli.running import ACCOUNT, Whodid, action

from whodid.commitment import commit
from whodid.merkle import Frontier, Span, append, hash_leaf
from whodid.notes import decode_hash
from whodid.proofs import check_consistency

JULY = "2021-07-30T16:13:52.109Z"
AUGUST = "2021-08-02T00:00:00.000Z"


@pytest.fixture
def filled(acme: Whodid) -> Whodid:
    """Entries 0 and 1 tell of account and user; 2 to 11 and 22 to 31 are of July, 12 to 21 of August."""
    rows = [action(n, createdAt=AUGUST if 11 <= n <= 20 else JULY) for n in range(1, 31)]
    acme("import", "--account", ACCOUNT, acme.write("in.ndjson", rows))
    return acme


def bundle(acme: Whodid, *more: str) -> tuple[dict[str, Any], list[dict[str, Any]], dict[str, Any]]:
    """Head, entries and tail of the evidence that the command writes."""
    acme("export", "--account", ACCOUNT, "--evidence", "out.gz", *more)
    head, *entries, tail = map(json.loads, gzip.decompress((acme.folder / "out.gz").read_bytes()).splitlines())
    return head, entries, tail


def test_all_of_the_log_is_in_it_and_the_action_that_tells_of_it_too(filled: Whodid) -> None:
    """From the first entry to the last, whose commitments make the checkpoint's root."""
    head, entries, tail = bundle(filled)
    assert (head["from"], head["to"], tail) == (0, 33, {"left": [], "consistency": []})
    assert [entry["seq"] for entry in entries] == list(range(33))
    leaves = [leaf_of(entry) for entry in entries]
    root = append(Frontier(), leaves)[0].root()
    assert head["checkpoint"].split("\n")[1:3] == ["33", _base64(root)]
    last = json.loads(entries[-1]["record"])
    assert (last["type"], last["action"], last["metadata"]["selection"]["evidence"]) == ("export", "export", True)


@pytest.mark.parametrize(("first", "end"), [(0, 1), (1, 2), (5, 17), (17, 32), (32, 32), (0, 0), (3, 3)])
def test_a_stretch_is_chosen_by_numbers(filled: Whodid, first: int, end: int) -> None:
    """With what leads from it to the checkpoint's root."""
    head, entries, tail = bundle(filled, "--from", str(first), "--to", str(end))
    assert (head["from"], head["to"]) == (first, end)
    assert [entry["seq"] for entry in entries] == list(range(first, end))
    left = Frontier(first, tuple(decode_hash(text, "left") for text in reversed(tail["left"])))
    grown = Span.at(first).extend([leaf_of(entry) for entry in entries]).after(left)
    size = int(head["checkpoint"].split("\n")[1])
    root = decode_hash(head["checkpoint"].split("\n")[2], "root")
    proof = [decode_hash(text, "proof") for text in tail["consistency"]]
    check_consistency(end, size, grown.root(), root, proof)


def test_a_stretch_of_time_has_all_that_was_recorded_in_between(filled: Whodid) -> None:
    """Late entries of July come after those of August: evidence has no gaps."""
    head, entries, _ = bundle(filled, "--from", "2021-07-01", "--to", "2021-08-01")
    assert (head["from"], head["to"], len(entries)) == (2, 32, 30)
    head, _, _ = bundle(filled, "--from", "2021-08-01", "--to", "2021-09-01")
    assert (head["from"], head["to"]) == (12, 22)


def test_growth_since_an_earlier_checkpoint_can_be_proven_with_it(filled: Whodid) -> None:
    """Also where its entries are not in the bundle."""
    earlier, _, _ = bundle(filled)
    filled.write("earlier", earlier["checkpoint"].encode())
    head, _, tail = bundle(filled, "--from", "34", "--previous", "earlier")
    (old, old_root), (new, new_root) = (
        (int(one["checkpoint"].split("\n")[1]), decode_hash(one["checkpoint"].split("\n")[2], "root"))
        for one in (earlier, head)
    )
    assert tail["previous"]["size"] == old == 33
    proof = [decode_hash(text, "proof") for text in tail["previous"]["proof"]]
    check_consistency(old, new, old_root, new_root, proof)


@pytest.mark.on_sqlite_only("it is judged by the numbers that any store tells")
@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--from", "99"], "can't begin at entry 99"),
        (["--to", "99"], "can't go up to 99"),
        (["--from", "9", "--to", "8"], "can't begin at entry 9 and end before entry 8"),
        (["--from", "1999-01-01", "--to", "1999-02-01"], "no entries of that time"),
        (["--previous", "missing"], "can't read missing"),
        (["--previous", "in.ndjson"], "is not a checkpoint"),
    ],
)
def test_what_can_not_be_proven_is_refused(filled: Whodid, more: list[str], told: str) -> None:
    """With a reason, and without a file."""
    refused = filled("export", "--account", ACCOUNT, "--evidence", "out.gz", *more, status=1)
    assert told in refused.err
    assert not (filled.folder / "out.gz").exists()


@pytest.mark.on_sqlite_only("options are read before the store is opened")
@pytest.mark.parametrize(
    "more",
    [
        ["--evidence", "--kind", "action"],
        ["--previous", "earlier"],
        ["--evidence", "--from", "3", "--to", "2021-08-01"],
        ["--evidence", "--from", "tomorrow"],
        ["--evidence", "--bla"],
    ],
)
def test_options_that_do_not_go_together_are_refused(filled: Whodid, more: list[str]) -> None:
    """Status 2."""
    filled("export", "--account", ACCOUNT, *more, status=2)


def test_another_log_s_checkpoint_is_no_earlier_one(filled: Whodid) -> None:
    """Nor is one that is larger than the log."""
    filled("account", "add", "org-other")
    filled("export", "--account", "org-other", "--evidence", "other.gz")
    other = json.loads(gzip.decompress((filled.folder / "other.gz").read_bytes()).splitlines()[0])["checkpoint"]
    filled.write("other", other.encode())
    refused = filled("export", "--account", ACCOUNT, "--evidence", "out.gz", "--previous", "other", status=1)
    assert "is of the log localhost/log/org-other" in refused.err
    filled.write("larger", other.replace("org-other\n2\n", f"{ACCOUNT}\n2000\n").encode())
    refused = filled("export", "--account", ACCOUNT, "--evidence", "out.gz", "--previous", "larger", status=1)
    assert "more than this one's" in refused.err


def test_evidence_goes_to_standard_output_too(filled: Whodid) -> None:
    """Packed bytes for a pipe; what is said besides goes to standard error."""
    with filled.running("export", "--account", ACCOUNT, "--evidence", "-") as process:
        out, err = process.communicate(timeout=60)
    assert json.loads(gzip.decompress(out).splitlines()[0])["to"] == 33
    assert b"whodid verify FILE --key" in err


def leaf_of(entry: dict[str, Any]) -> bytes:
    """The leaf that an entry's line stands for; its hint must fit."""
    commitment = commit(_bytes(entry["salt"]), entry["record"].encode())
    assert entry["check"] == commitment[:4].hex()
    return hash_leaf(commitment)


def _bytes(text: str) -> bytes:
    return base64.b64decode(text)


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
