"""The example of ``docs/FORMAT.md``, byte for byte: what a second verifier makes of it, and ``whodid verify``.

So the page is held from both sides: it can't say what the program does not do, nor the other way round.
"""

import re
from base64 import b64encode
from pathlib import Path

import pytest
from tests.cli.running import Whodid
from tests.independent.making import HandmadeLog, packed
from tests.independent.verifier import check_bundle, check_proof_file, commitment_of, node

PAGE = (Path(__file__).parent.parent.parent / "docs" / "FORMAT.md").read_text("utf-8")


def indented(text: str) -> list[str]:
    """The indented blocks of a text, as they stand, without what indents them."""
    blocks = re.findall(r"(?:^    .*\n|^\n(?=    ))+", text, re.MULTILINE)
    return [re.sub(r"^    ", "", block, flags=re.MULTILINE).strip("\n") + "\n" for block in blocks]


RECORDS, KEY, PROOF, BUNDLE = indented(PAGE.partition("## An example\n")[2])
LOG = HandmadeLog([line.encode() for line in RECORDS.splitlines()])


def test_the_key_and_both_proofs_are_made_as_the_page_says() -> None:
    """From the records, counted salts and a counted key come the very bytes of the page."""
    assert LOG.signer.verifier + "\n" == KEY
    assert LOG.proof_file(1, 3) == PROOF
    assert "".join(LOG.lines(1, 3, 3)) == BUNDLE
    assert LOG.checkpoint(3) in indented(PAGE.partition("## Checkpoint\n")[2])[0]


def test_the_hashes_of_the_table_are_those_of_the_records() -> None:
    """Every step from a record to the root."""
    told = dict(re.findall(r"^\| (.*?) \| `([0-9a-f]{64})` \|$", PAGE, re.MULTILINE))
    expected = {f"commitment of entry {seq}": commitment_of(LOG.salt(seq), LOG.records[seq]) for seq in range(3)}
    expected |= {f"leaf {seq}": leaf for seq, leaf in enumerate(LOG.leaves)}
    below = node(LOG.leaves[0], LOG.leaves[1])
    expected |= {"node over leaves 0 and 1": below, "root": node(below, LOG.leaves[2])}
    assert told == {name: value.hex() for name, value in expected.items()}


def test_a_second_verifier_accepts_the_example() -> None:
    """The proof, and the bundle."""
    assert check_proof_file(PROOF.encode(), LOG.salt(1), LOG.records[1], KEY.strip())[0] == 1
    assert check_bundle(packed(BUNDLE), KEY.strip()).records == LOG.records[1:]


@pytest.mark.parametrize("changed", [False, True])
def test_whodid_verify_accepts_the_example_and_nothing_else(tmp_path: Path, changed: bool) -> None:
    """The proof with record and salt beside it, and the bundle; neither with another record."""
    whodid = Whodid(tmp_path)
    status = 1 if changed else 0
    record = LOG.records[1].replace(b"update", b"upkeep") if changed else LOG.records[1]
    bundle = BUNDLE.replace("update", "upkeep") if changed else BUNDLE
    whodid.write("example.tlog-proof", PROOF.encode())
    whodid.write("record.json", record)
    whodid.write("example.key", KEY.encode())
    whodid.write("example.ndjson.gz", packed(bundle))
    salt = b64encode(LOG.salt(1)).decode()
    beside = ["--record", "record.json", "--salt", salt, "--key", "example.key"]
    whodid("verify", "example.tlog-proof", *beside, status=status)
    whodid("verify", "example.ndjson.gz", "--key", "example.key", status=status)
