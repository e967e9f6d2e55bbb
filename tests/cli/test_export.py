"""Exports at the command line."""

import json
import signal

from tests.cli.running import ACCOUNT, Whodid, action, token_use

DAYS = ("2021-07-29", "2021-07-30", "2021-07-31")


def _fill(acme: Whodid) -> None:
    records = [action(number, createdAt=f"{day}T12:00:00.000Z") for number, day in enumerate(DAYS, 1)]
    records.append(token_use(9, createdAt="2021-07-30T12:00:00.001Z"))
    acme("import", "--account", ACCOUNT, acme.write("records.ndjson", records[::-1]))


def _without_exports(lines: list[str]) -> list[str]:
    return [line for line in lines if json.loads(line).get("type") != "export"]


def _ids(lines: list[str]) -> list[int]:
    return [number for line in lines if (number := int(json.loads(line)["_id"], 16)) < 100]


def test_an_export_is_all_records_oldest_first(acme: Whodid) -> None:
    """Whatever the order in which they came."""
    _fill(acme)
    assert _ids(acme.exported()) == [1, 2, 9, 3]


def test_a_window_includes_its_beginning_and_not_its_end(acme: Whodid) -> None:
    """Days begin at midnight, UTC; windows that follow each other share no record."""
    _fill(acme)
    assert _ids(acme.exported("--from", DAYS[1], "--to", DAYS[2])) == [2, 9]
    assert _ids(acme.exported("--from", "2021-07-30T12:00:00.001Z")) == [9, 3]
    assert _ids(acme.exported("--to", "2021-07-30T12:00:00.001Z")) == [1, 2]
    assert _without_exports(acme.exported("--from", "1s")) == []


def test_one_kind_is_exported_alone(acme: Whodid) -> None:
    """Actions or token uses."""
    _fill(acme)
    assert _ids(acme.exported("--kind", "token")) == [9]
    assert _ids(acme.exported("--kind", "action")) == [1, 2, 3]


def test_an_export_imported_elsewhere_exports_the_same_bytes(acme: Whodid, other: Whodid) -> None:
    """Another store's log of the account, record for record, ``updatedAt`` included."""
    _fill(acme)
    other("account", "add", ACCOUNT)
    own = set(other.exported())
    acme("export", "--account", ACCOUNT, "--output", "all.ndjson")
    exported = (acme.folder / "all.ndjson").read_text().splitlines()
    other("import", "--account", ACCOUNT, "all.ndjson")
    imported = [line for line in other.exported() if line not in own]
    assert _without_exports(imported) == _without_exports(exported)
    assert len(_without_exports(exported)) == 6


def test_an_export_is_recorded_before_it_is_made(acme: Whodid) -> None:
    """So it is itself the newest record of an export of everything, and says what was asked for."""
    _fill(acme)
    acme.exported("--from", DAYS[0], "--kind", "action")
    everything = [json.loads(line) for line in acme.exported()]
    first, second = [record for record in everything if record.get("type") == "export"]
    assert first["action"] == second["action"] == "export"
    assert first["metadata"]["from"] == DAYS[0]
    assert first["metadata"]["kind"] == "action"
    assert everything[-1] == second


def test_an_export_to_a_file_leaves_nothing_beside_it(acme: Whodid) -> None:
    """Only its owner may read it; an older file of the name is replaced."""
    acme.write("out.ndjson", b"old")
    told = acme("export", "--account", ACCOUNT, "--output", "out.ndjson")
    assert told.out == ""
    assert "exported 3 records to out.ndjson" in told.err
    assert (acme.folder / "out.ndjson").stat().st_mode & 0o777 == 0o600
    assert [file.name for file in acme.folder.iterdir() if "part" in file.name] == []


def test_an_export_that_can_not_be_written_is_refused(acme: Whodid) -> None:
    """With the reason, and with no file left over."""
    told = acme("export", "--account", ACCOUNT, "--output", "missing/out.ndjson", status=1)
    assert told.err == "whodid: can't write missing/out.ndjson: No such file or directory\n"


def test_what_is_no_file_is_written_to_not_replaced(acme: Whodid) -> None:
    """/dev/stdout and the like."""
    assert acme("export", "--account", ACCOUNT, "--output", "/dev/stdout").out.count("\n") == 3


def test_a_reader_that_leaves_early_is_no_error(acme: Whodid) -> None:
    """``export | head`` ends quietly."""
    records = [action(number, reason="x" * 1000) for number in range(1, 1001)]
    acme("import", "--account", ACCOUNT, acme.write("records.ndjson", records))
    with acme.running("export", "--account", ACCOUNT) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(20) == 128 + signal.SIGPIPE
        assert process.stderr.read() == b""
