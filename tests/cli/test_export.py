"""Exports at the command line."""

import csv
import gzip
import io
import json
import re
import signal

import pyarrow.parquet as pq  # type: ignore[import-untyped]
import pytest
import zstandard
from tests.acceptance.running import eventually
from tests.cli.running import ACCOUNT, Whodid, action, token_use

DAYS = ("2021-07-29", "2021-07-30", "2021-07-31")


def _fill(acme: Whodid) -> None:
    records = [action(number, createdAt=f"{day}T12:00:00.000Z") for number, day in enumerate(DAYS, 1)]
    records.append(token_use(9, createdAt="2021-07-30T12:00:00.001Z"))
    acme("import", "--account", ACCOUNT, acme.write("records.ndjson", records[::-1]))


def _without_exports(lines: list[str]) -> list[str]:
    return [line for line in lines if json.loads(line).get("type") != "export"]


def _bare(lines: list[str]) -> list[str]:
    """Without the numbers, which are those of each log's own."""
    return [re.sub(r'^\{"seq":\d+,', "{", line) for line in lines]


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
    assert _bare(_without_exports(imported)) == _bare(_without_exports(exported))
    assert len(_without_exports(exported)) == 6


def test_an_export_is_recorded_before_it_is_made(acme: Whodid) -> None:
    """So it is itself the newest record of an export of everything, and says what was asked for."""
    _fill(acme)
    acme.exported("--from", DAYS[0], "--kind", "action")
    everything = [json.loads(line) for line in acme.exported()]
    first, second = [record for record in everything if record.get("type") == "export"]
    assert first["action"] == second["action"] == "export"
    assert first["metadata"]["selection"] == {"from": DAYS[0], "kind": "action"}
    assert first["metadata"]["via"] == "command line"
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


def _seqs(acme: Whodid) -> list[int]:
    """The numbers of what ``_fill`` brought, as a CSV to standard output has them."""
    lines = csv.DictReader(io.StringIO(acme("export", "--account", ACCOUNT, "--format", "csv").out))
    return [int(line["seq"]) for line in lines if int(line["_id"], 16) < 100]


def test_a_file_is_of_the_format_that_its_name_says(acme: Whodid) -> None:
    """And packed as it says; the log tells the format, unless it is the usual one."""
    _fill(acme)
    for name in ("all.csv.gz", "all.ndjson.zst", "all.parquet"):
        acme("export", "--account", ACCOUNT, "--to", DAYS[2], "--output", name)
    lines = gzip.decompress((acme.folder / "all.csv.gz").read_bytes()).decode().splitlines()
    assert lines[0].startswith("seq,kind,_id,createdAt,")
    stream = zstandard.ZstdDecompressor().decompressobj()
    records = stream.decompress((acme.folder / "all.ndjson.zst").read_bytes()).decode()
    assert records == acme("export", "--account", ACCOUNT, "--to", DAYS[2]).out
    rows = pq.read_table(acme.folder / "all.parquet").to_pylist()
    assert [row["_id"] for row in rows] == [json.loads(line)["_id"] for line in records.splitlines()]
    assert [line.split(",")[2] for line in lines[1:]] == [row["_id"] for row in rows]
    left = [record["metadata"] for record in map(json.loads, acme.exported()) if _is_export(record)]
    assert [told["selection"].get("format") for told in left] == ["csv", None, "parquet", None, None]


def _is_export(record: dict[str, object]) -> bool:
    return record.get("type") == "export"


def test_options_say_more_than_names(acme: Whodid) -> None:
    """A format and a compression that are given count, whatever the file is called."""
    _fill(acme)
    acme(
        "export", "--account", ACCOUNT, "--format", "ndjson", "--compression", "none", "--to", DAYS[2], "a.csv.gz"
    )  # fmt: skip
    assert _ids((acme.folder / "a.csv.gz").read_text().splitlines()) == [1, 2, 9]
    acme("export", "--account", ACCOUNT, "--format", "csv", "--bom", "all.ndjson")
    assert (acme.folder / "all.ndjson").read_bytes().startswith(b"\xef\xbb\xbfseq,kind")
    assert len(_seqs(acme)) == 4


@pytest.mark.parametrize("name", ["all.ndjson.gz", "all.jsonl.zst"])
def test_a_packed_export_can_be_imported(acme: Whodid, name: str) -> None:
    """All of it was there already."""
    _fill(acme)
    acme("export", "--account", ACCOUNT, "--kind", "token", "--output", name)
    assert acme("import", "--account", ACCOUNT, name).out == "imported 0, 1 were there already\n"


@pytest.mark.parametrize(
    ("options", "status", "told"),
    [
        (("--format", "parquet", "--compression", "gzip"), 1, "parquet is compressed inside"),
        (("all.parquet.gz",), 1, "parquet is compressed inside"),
        (("--bom",), 2, "--bom is for --format csv"),
        (("--evidence", "--format", "csv", "x.gz"), 2, "--format and --evidence exclude each other"),
        (("--evidence", "--compression", "gzip", "x.gz"), 2, "--compression and --evidence exclude each other"),
        (("--evidence", "--q", "type:task", "x.gz"), 2, "--q and --evidence exclude each other"),
        (("--q", "type:"), 1, "character"),
        (("--format", "xml"), 2, "xml"),
    ],
)
def test_what_does_not_go_together_is_refused(acme: Whodid, options: tuple[str, ...], status: int, told: str) -> None:
    """Before anything is recorded or written."""
    assert told in acme("export", "--account", ACCOUNT, *options, status=status).err
    assert not any(_is_export(json.loads(line)) for line in acme.exported()[:-1])


def test_bounds_have_two_names(acme: Whodid) -> None:
    """Those of a search, and those that they were called first; a search takes both as well."""
    _fill(acme)
    assert _ids(acme.exported("--since", DAYS[1], "--until", DAYS[2])) == [2, 9]
    for names in (("--since", "--until"), ("--from", "--to")):
        found = acme("search", "--account", ACCOUNT, "--json", names[0], DAYS[1], names[1], DAYS[2]).out
        assert _ids(found.splitlines()) == [9, 2]


@pytest.mark.parametrize("form", ["ndjson", "csv"])
def test_an_export_goes_on_after_a_record(acme: Whodid, form: str) -> None:
    """By its number, in the order of time; what is written then makes the rest of the file."""
    _fill(acme)
    given = ("export", "--account", ACCOUNT, "--until", DAYS[2], "--format", form)
    whole = acme(*given).out
    lines = whole.splitlines(keepends=True)[form == "csv" :]
    for at, more in ((1, ()), (1, ("--q", "-type:nothing")), (len(lines) - 1, ())):
        seq = json.loads(lines[at])["seq"] if form == "ndjson" else lines[at].partition(",")[0]
        assert acme(*given, *more, "--after", str(seq)).out == "".join(lines[at + 1 :])
    assert "has none with 999" in acme(*given, "--after", "999", status=1).err
    assert "must be the number of a record" in acme(*given, "--after", "-1", status=2).err


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--format", "parquet"), "--after is for ndjson and csv"),
        (("--format", "csv", "--bom"), "--bom is for the beginning of a file"),
        (("--evidence", "x.gz"), "--after and --evidence exclude each other"),
    ],
)
def test_what_can_not_be_gone_on_with_is_refused(acme: Whodid, options: tuple[str, ...], told: str) -> None:
    """And said why."""
    assert told in acme("export", "--account", ACCOUNT, "--after", "0", *options, status=2).err


def test_a_name_that_says_something_else_is_refused(acme: Whodid) -> None:
    """And what is possible is said; whoever means it says the format and the compression."""
    told = acme("export", "--account", ACCOUNT, "--output", "x.csv.bz2", status=2).err
    assert "may end with .ndjson, .jsonl, .csv, .parquet, and .gz or .zst after that" in told
    acme("export", "--account", ACCOUNT, "--format", "csv", "--compression", "none", "--output", "x.csv.bz2")
    assert (acme.folder / "x.csv.bz2").read_bytes().startswith(b"seq,kind")


@pytest.mark.parametrize("form", ["ndjson", "csv"])
def test_an_export_that_is_stopped_keeps_what_it_has(acme: Whodid, form: str) -> None:
    """Whole records, and it says how to go on: the rest behind them makes the file."""
    records = [action(number, reason="x\ny" * 300) for number in range(1, 6001)]
    acme("import", "--account", ACCOUNT, acme.write("records.ndjson", records))
    part, given = acme.folder / f"all.{form}.part", ("export", "--account", ACCOUNT, "--until", "2021-08-01")
    with acme.running(*given, "--output", f"all.{form}") as process:
        eventually("something is written", lambda: part.exists() and part.stat().st_size)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
        assert process.returncode == 130
    told = re.search(rf"all\.{form}\.part has all records up to number (\d+); to go on, .*--after (\d+)", err.decode())
    assert told is not None, err
    rest = acme(*given, "--format", form, "--after", told[2]).out
    assert rest
    assert part.read_bytes().decode() + rest == acme(*given, "--format", form).out


def test_what_a_killed_export_left_is_in_nobodys_way(acme: Whodid) -> None:
    """The next one of the name begins it anew."""
    acme.write("all.ndjson.part", b"cut o")
    told = acme("export", "--account", ACCOUNT, "--output", "all.ndjson")
    assert (acme.folder / "all.ndjson").read_bytes().count(b"\n") == 3
    assert "exported 3 records" in told.err
    assert not (acme.folder / "all.ndjson.part").exists()


def test_a_search_is_exported(acme: Whodid) -> None:
    """Within the window and the kind that are given besides; the log tells what was searched for."""
    _fill(acme)
    everything = "-type:export -type:user -type:account"
    assert _ids(acme.exported("--q", everything)) == [1, 2, 9, 3]
    assert _ids(acme.exported("--q", everything, "--kind", "action")) == [1, 2, 3]
    assert _ids(acme.exported("--q", everything, "--from", DAYS[1])) == [2, 9, 3]
    assert _ids(acme.exported("--q", f"created:<{DAYS[2]} action:update", "--from", DAYS[1])) == [2]
    assert _ids(acme.exported("--q", f"created:<{DAYS[1]}", "--from", DAYS[1])) == []
    last = json.loads(acme.exported()[-2])
    assert last["metadata"]["selection"] == {"q": f"created:<{DAYS[1]}", "from": DAYS[1]}
