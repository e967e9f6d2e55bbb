"""Imports at the command line."""

import gzip
import json
import signal

import pytest
from tests.cli.running import ACCOUNT, CREATED, Whodid, action, ndjson, token_use

IMPORT = ("import", "--account", ACCOUNT)


def test_records_are_kept_as_they_are(acme: Whodid) -> None:
    """Ids, times and order of keys; both kinds, from one file."""
    records = [action(1, updatedAt="2021-08-01T00:00:00.000Z"), token_use(2), action(3, target_name="x")]
    done = acme(*IMPORT, acme.write("records.ndjson", records))
    assert done.out == "imported 3, 0 were there already\n"
    exported = _exported(acme)
    assert [list(one) for one in exported] == [["seq", *one] for one in records]
    assert [one | {"seq": at} for at, one in enumerate(records, 2)] == exported


def test_an_import_repeated_stores_nothing_twice(acme: Whodid) -> None:
    """And counts what was there."""
    name = acme.write("records.ndjson", [action(1), action(2)])
    acme(*IMPORT, name)
    assert acme(*IMPORT, name, "--json").json == {"imported": 0, "duplicates": 2, "problems": []}
    assert len(_exported(acme)) == 2


def test_standard_input_arrays_replies_and_gzip_are_read(acme: Whodid) -> None:
    """The form is seen from the content, not from the name; a mark of UTF-8 is passed over."""
    acme.write("array.json", json.dumps([action(1), action(2)], indent=2).encode())
    acme.write("reply.dat", gzip.compress(json.dumps({"count": 1, "data": [action(3)]}).encode()))
    done = acme(*IMPORT, "array.json", "reply.dat", "-", stdin=b"\xef\xbb\xbf" + ndjson([action(4)]))
    assert done.out == "imported 4, 0 were there already\n"
    assert [record["_id"] for record in _exported(acme)] == [action(number)["_id"] for number in range(1, 5)]


def test_a_bad_record_stops_the_import_and_every_fault_is_named(acme: Whodid) -> None:
    """File, line and fault; what was committed before is told, and the rest follows once it is put right."""
    good = [action(number) for number in range(1, 1501)]
    bad = [*good, action(1501, type="Bad Type", colour="red"), {"type": "tag", "action": "create"}]
    told = acme(*IMPORT, acme.write("records.ndjson", bad), status=1)
    lines = told.err.splitlines()
    assert all(line.startswith("whodid: ") for line in lines)
    assert any("records.ndjson, line 1501: type must be" in line for line in lines)
    assert any("records.ndjson, line 1501" in line and "colour" in line for line in lines)
    assert any("records.ndjson, line 1502: _id must be given" in line for line in lines)
    assert any("records.ndjson, line 1502: createdAt must be given" in line for line in lines)
    assert "imported 1000, 0 were there already" in lines[-1]
    acme.write("records.ndjson", good)
    assert acme(*IMPORT, "records.ndjson").out == "imported 500, 1000 were there already\n"


def test_a_record_of_another_account_is_refused(acme: Whodid) -> None:
    """Or the log would say what is not so."""
    told = acme(*IMPORT, acme.write("records.ndjson", [action(1, account="org-other")]), status=1)
    assert f'line 1: account must be "{ACCOUNT}"' in told.err


def test_an_id_with_other_content_stops_the_import(acme: Whodid) -> None:
    """The conflict names file, record and id."""
    acme(*IMPORT, acme.write("first.ndjson", [action(1)]))
    second = json.dumps([action(2), action(1, action="delete")]).encode()
    told = acme(*IMPORT, acme.write("second.json", second), status=1)
    assert f"second.json, record 2: _id {action(1)['_id']} is recorded already, with other content" in told.err
    assert len(_exported(acme)) == 1


@pytest.mark.on_sqlite_only("it is about files")
def test_files_that_are_cut_off_are_refused(acme: Whodid) -> None:
    """A gzip file without its end, an array without its bracket, a line without its brace."""
    whole = ndjson([action(1)])
    cut = {
        "cut.gz": (gzip.compress(whole)[:-12], "cut off"),
        "cut.json": (b"[" + whole + b",", "cut off"),
        "cut.ndjson": (whole + whole[:100], "line 2"),
    }
    for name, (content, says) in cut.items():
        told = acme(*IMPORT, acme.write(name, content), status=1)
        assert name in told.err
        assert says in told.err
    assert _exported(acme) == []


@pytest.mark.on_sqlite_only("it is about files")
def test_no_file_is_begun_where_one_can_not_be_opened(acme: Whodid) -> None:
    """Names are checked before anything is stored."""
    told = acme(*IMPORT, acme.write("good.ndjson", [action(1)]), "missing.ndjson", status=1)
    assert told.err == "whodid: can't read missing.ndjson: No such file or directory\n"
    assert "can't read" in acme(*IMPORT, ".", status=1).err
    assert _exported(acme) == []


def test_an_unknown_account_is_refused(acme: Whodid) -> None:
    """Before anything is read."""
    assert "no account" in acme("import", "--account", "nobody", acme.write("a", [action(1)]), status=1).err


def test_an_empty_file_has_nothing_to_import(acme: Whodid) -> None:
    """That is no error: a quiet day has an empty export."""
    assert acme(*IMPORT, acme.write("empty", b"")).out == "imported 0, 0 were there already\n"


def test_interrupting_an_import_ends_it_at_once(acme: Whodid) -> None:
    """Even while it waits for standard input: status 130, nothing said, and what was committed stays."""
    with acme.running(*IMPORT, "-") as process:
        assert process.stdin is not None
        process.stdin.write(ndjson([action(number) for number in range(1, 2001)]))
        process.stdin.flush()
        while len(acme.exported()) < 1000:
            pass  # each round is a process: no need to sleep
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130
        assert process.stderr is not None
        assert process.stderr.read() == b""


def _exported(acme: Whodid) -> list[dict[str, object]]:
    """The records that were imported: those of the day that all of them are of."""
    return [record for record in map(json.loads, acme.exported()) if record["createdAt"] == CREATED]
