"""Files of exports: what their names say, and what is there of them at any time."""

import io
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from whodid.errors import InvalidParameter
from whodid.exporting import Part, named, part_file


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("all.ndjson", ("ndjson", None)),
        ("all.jsonl.gz", ("ndjson", "gzip")),
        ("/tmp/a.b/ALL.CSV.ZST", ("csv", "zstd")),
        ("all.parquet", ("parquet", None)),
        ("all.gz", (None, "gzip")),
        ("all", (None, None)),
        (".csv", (None, None)),
        ("csv", (None, None)),
        ("all.txt", (None, None)),
        ("all.2021-07", (None, None)),
    ],
)
def test_names_say_formats(name: str, told: tuple[str | None, str | None]) -> None:
    """By their endings; what is not said is not guessed."""
    assert named(Path(name)) == told


@pytest.mark.parametrize("name", ["all.csv.bz2", "all.zip", "ALL.JSON", "all.csv.1", "x.xlsx.gz", "all.tar.gz", "a.xz"])
def test_names_that_say_something_else_are_refused(name: str) -> None:
    """Rather than to write what they don't say; unless all is said otherwise."""
    with pytest.raises(InvalidParameter, match=r"may end with \.ndjson, \.jsonl, \.csv, \.parquet, and \.gz or \.zst"):
        named(Path(name))
    assert named(Path(name), "csv", "none") == ("csv", "none")


def test_a_part_is_beside_its_place_until_it_is_whole(tmp_path: Path) -> None:
    """What an export left that was killed is written anew; two at the same time are not."""
    file, part = tmp_path / "all.csv", tmp_path / "all.csv.part"
    part.write_bytes(b"left over, and longer")
    with part_file(file) as out:
        out.write(b"whole")
        with pytest.raises(InvalidParameter, match="being written by another export"), part_file(file):
            pass
        assert not file.exists()
    assert file.read_bytes() == b"whole"
    assert file.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [file]


def break_off(out: Part, *, keep: bool) -> None:
    """Stop in the middle of a piece."""
    out.write(b"one\n")
    out.writelines([b"two\n", b""])
    io.BufferedWriter.write(out, b"hal")
    assert out.last == b"two\n"
    out.keep = keep
    raise ZeroDivisionError


@pytest.mark.parametrize("keep", [False, True])
def test_of_a_part_only_whole_pieces_stay(tmp_path: Path, keep: bool) -> None:
    """If it is to be kept; else nothing, and what was there before."""
    file = tmp_path / "all.csv"
    file.write_bytes(b"old")
    with pytest.raises(ZeroDivisionError), part_file(file) as out:
        break_off(out, keep=keep)
    assert file.read_bytes() == b"old"
    left = [one.read_bytes() for one in tmp_path.iterdir() if one != file]
    assert left == ([b"one\ntwo\n"] if keep else [])


@pytest.mark.parametrize("link", [Path.symlink_to, Path.hardlink_to])
def test_a_part_that_is_a_link_is_not_written_to(tmp_path: Path, link: Callable[[Path, Path], None]) -> None:
    """Somebody else may have put it there."""
    (tmp_path / "theirs").write_bytes(b"precious")
    link(tmp_path / "all.csv.part", tmp_path / "theirs")
    with pytest.raises(InvalidParameter, match=r"can't write|no file of yours alone"), part_file(tmp_path / "all.csv"):
        pass
    assert (tmp_path / "theirs").read_bytes() == b"precious"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs a file of somebody else's")
def test_a_part_of_somebody_else_is_not_written_to(tmp_path: Path) -> None:
    """They may have it open, and would read the log."""
    (tmp_path / "all.csv.part").touch()
    os.chown(tmp_path / "all.csv.part", 12345, 12345)
    with pytest.raises(InvalidParameter, match="no file of yours alone"), part_file(tmp_path / "all.csv"):
        pass


def test_a_part_that_is_a_pipe_holds_up_nothing(tmp_path: Path) -> None:
    """Nor is it written to."""
    os.mkfifo(tmp_path / "all.csv.part")
    with pytest.raises(InvalidParameter, match="can't write"), part_file(tmp_path / "all.csv"):
        pass
