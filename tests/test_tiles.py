"""Tiles: their one name each, which of them a log has, and what their bytes are."""

import re
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whodid.errors import InvalidEvidence
from whodid.proofs import consistency_path, inclusion_path, runs_of
from whodid.tiles import (
    MOST_LEVEL,
    WIDTH,
    Tile,
    commitments_in,
    entry_bundle,
    exists,
    hashes_in,
    parse_tile_path,
    tile_with,
    tiles_of,
)

levels = st.none() | st.integers(0, 63)
numbers = st.integers(0, 5) | st.integers(0, 10**6) | st.integers(0, 2**63)
tiles = st.builds(Tile, levels, numbers, st.integers(1, 256))
hashes = st.binary(min_size=32, max_size=32)
SIZES = [0, 1, 255, 256, 257, 511, 512, 65_535, 65_536, 65_537, 70_000]

NAMES = [
    ("tile/0/000", Tile(0, 0)),
    ("tile/0/000.p/1", Tile(0, 0, 1)),
    ("tile/0/999", Tile(0, 999)),
    ("tile/0/x001/000", Tile(0, 1000)),
    ("tile/1/x001/x234/067", Tile(1, 1_234_067)),
    ("tile/1/x001/x234/067.p/255", Tile(1, 1_234_067, 255)),
    ("tile/9/x001/x000/000", Tile(9, 1_000_000)),
    ("tile/10/001", Tile(10, 1)),
    ("tile/63/000", Tile(63, 0)),
    ("tile/entries/000", Tile(None, 0)),
    ("tile/entries/x001/x234/067.p/8", Tile(None, 1_234_067, 8)),
    ("tile/0/x036/x028/x797/x018/x963/967", Tile(0, 36_028_797_018_963_967)),  # the last of a log of 2^63 entries
]


@pytest.mark.parametrize(("path", "tile"), NAMES)
def test_a_tile_has_the_name_of_the_specification(path: str, tile: Tile) -> None:
    """C2SP tlog-tiles: groups of three digits, all but the last with an ``x`` in front."""
    assert tile.path == path
    assert parse_tile_path(path) == tile


@given(tiles)
def test_a_name_reads_back_what_was_named(tile: Tile) -> None:
    """Each tile has a name, and it is this tile's."""
    assert parse_tile_path(tile.path) == tile


@given(tiles)
def test_a_name_has_the_form_of_the_specification(tile: Tile) -> None:
    """Written down here once more, digit by digit."""
    match = re.fullmatch(r"tile/([^/]+)/([x0-9/]+?)(?:\.p/([0-9]+))?", tile.path)
    assert match is not None
    level, number, partial = match.groups()
    assert level == ("entries" if tile.level is None else str(tile.level))
    *above, last = number.split("/")
    assert re.fullmatch("[0-9]{3}", last)
    assert all(re.fullmatch("x[0-9]{3}", group) for group in above)
    assert above[:1] != ["x000"]
    assert int("".join(group[-3:] for group in (*above, last))) == tile.number
    assert partial == (None if tile.width == 256 else str(tile.width))


@given(tile=tiles, data=st.data())
def test_a_tile_has_one_name_only(tile: Tile, data: st.DataObject) -> None:
    """A path that differs by a character or two is refused, or is the name of another tile."""
    path = tile.path
    start = data.draw(st.integers(0, len(path)))
    end = min(len(path), start + data.draw(st.integers(0, 3)))
    other = path[:start] + data.draw(st.text("0123456789x/.pe \n", max_size=3)) + path[end:]
    parsed = parse_tile_path(other)
    assert parsed is None or parsed.path == other
    assert (parsed == tile) == (other == path)


@given(st.text(max_size=40) | st.from_regex(r"\Atile/(\d{1,3}|entries)/(x?\d{3}/){0,8}\d{3}(\.p/\d{1,3})?\Z"))
def test_any_path_is_refused_or_the_name_of_a_tile(path: str) -> None:
    """And that tile has a place and a width that tiles can have."""
    tile = parse_tile_path(path)
    if tile is not None:
        assert tile.path == path
        assert path.isascii()
        assert tile.level is None or 0 <= tile.level <= MOST_LEVEL
        assert 1 <= tile.width <= WIDTH


@pytest.mark.parametrize(
    "path",
    [
        "",
        "tile",
        "tile/",
        "tile/0",
        "tile/0/",
        "tile//000",
        "/tile/0/000",
        "./tile/0/000",
        "tile/0/000/",
        "tile/0/000\n",
        "tile/0/000 ",
        "tile/0/000?",
        "Tile/0/000",
        "tile/0/0",
        "tile/0/00",
        "tile/0/0000",
        "tile/0/x000",
        "tile/0/x000/067",  # zeros in front of the number
        "tile/0/x000/x001/000",
        "tile/0/001/000",  # no x
        "tile/0/x001/x000",
        "tile/0/X001/000",
        "tile/0/x1/000",
        "tile/0/x0001/000",
        "tile/0/x001//000",
        "tile/0/x001/",
        "tile/0/xx001/000",
        "tile/0/-01",
        "tile/0/+01",
        "tile/0/../000",
        "tile/0/x001/../000",
        "tile/0/..",
        "tile/../0/000",
        "tile/00/000",
        "tile/01/000",
        "tile/-1/000",
        "tile/+1/000",
        "tile/64/000",
        "tile/99/000",
        "tile/100/000",
        "tile/data/000",
        "tile/Entries/000",
        "tile/entries",
        "tile/entries/x000/067",
        "tile/entries/0/000",
        "tile/0/000.p",
        "tile/0/000.p/",
        "tile/0/000.p/0",
        "tile/0/000.p/00",
        "tile/0/000.p/01",
        "tile/0/000.p/001",
        "tile/0/000.p/256",
        "tile/0/000.p/257",
        "tile/0/000.p/999",
        "tile/0/000.p/1000",
        "tile/0/000.p/-1",
        "tile/0/000.p/1/",
        "tile/0/000.p/1.p/1",
        "tile/0/000.P/1",
        "tile/0/000p/1",
        "tile/0/000/p/1",
        "tile/0/000xp/1",
        "tile/\uff10/000",  # digits of other scripts
        "tile/0/\uff10\uff10\uff10",
        "tile/0/00\u0661",
        "tile/0/000.p/\u0661",
        "tile/0/x001/00\u00b2",
        "tile/0/" + "x001/" * 40 + "000",
    ],
)
def test_what_is_no_name_of_a_tile_is_refused(path: str) -> None:
    """Anything but the one name of each; so no two URLs hold the same."""
    assert parse_tile_path(path) is None


@pytest.mark.parametrize("size", SIZES)
def test_a_log_has_the_tiles_of_the_specification(size: int) -> None:
    """Full ones as far as they go, and one partial of ``floor(s / 256^l) mod 256`` at each level, unless that is 0."""
    expected: list[Tile] = []
    for level in range(8):
        nodes = size // 256**level
        expected += [Tile(level, number) for number in range(nodes // 256)]
        expected += [Tile(level, nodes // 256, nodes % 256)] if nodes % 256 else []
    assert list(tiles_of(size)) == expected


@pytest.mark.parametrize(
    ("size", "widths"),
    [
        (0, {}),
        (1, {(0, 1): 1}),
        (255, {(0, 255): 1}),
        (256, {(0, 256): 1, (1, 1): 1}),
        (257, {(0, 256): 1, (0, 1): 1, (1, 1): 1}),
        (65_536, {(0, 256): 256, (1, 256): 1, (2, 1): 1}),
        (70_000, {(0, 256): 273, (0, 112): 1, (1, 256): 1, (1, 17): 1, (2, 1): 1}),
    ],
)
def test_a_log_has_so_many_tiles(size: int, widths: dict[tuple[int, int], int]) -> None:
    """Counted by level and width; 256 and 70,000 are the examples of the specification."""
    assert Counter((tile.level, tile.width) for tile in tiles_of(size)) == widths


def was_served(tile: Tile, size: int) -> bool:
    """Whether a log that grew entry by entry to ``size`` had the tile, full or partial, at any time."""
    block = 256 ** (tile.level or 0)
    for nodes in {then // block for then in range(size + 1)}:
        full = tile.width == 256 and tile.number < nodes // 256
        partial = tile.width < 256 and (tile.number, tile.width) == divmod(nodes, 256)
        if full or partial:
            return True
    return False


@given(
    tile=st.builds(Tile, st.sampled_from([None, 0, 1, 2, 63]), st.integers(0, 5), st.integers(1, 256)),
    size=st.integers(0, 1500) | st.sampled_from([255, 256, 257, 511, 512, 513]),
)
def test_a_tile_exists_if_the_log_ever_had_it(tile: Tile, size: int) -> None:
    """At this size, or at one that it grew through."""
    assert exists(tile, size) == was_served(tile, size)


@pytest.mark.parametrize("size", SIZES)
def test_the_tiles_of_a_log_exist_and_their_successors_do_not(size: int) -> None:
    """Nor does one that is wider than the log is long, nor any of the next level."""
    for level in (None, 0, 1, 2, 3):
        nodes = size // 256 ** (level or 0)
        for number in {0, max(nodes // 256 - 1, 0), nodes // 256}:
            for width in range(1, 257):
                assert exists(Tile(level, number, width), size) == (number * 256 + width <= nodes)
        assert not exists(Tile(level, nodes // 256, 256), size)
        assert not exists(Tile(level, nodes // 256 + 1, 1), size)
        assert not exists(Tile(level, 10**20, 1), size)
    assert all(exists(tile, size) for tile in tiles_of(size))


@given(size=st.integers(1, 2**63 - 1) | st.sampled_from(SIZES[1:]), data=st.data())
def test_the_hashes_of_a_proof_are_in_tiles_that_the_log_has(size: int, data: st.DataObject) -> None:
    """As wide as the log has them now; so anyone can make any proof from the tiles."""
    place = data.draw(st.integers(0, size - 1))
    for run in runs_of([*inclusion_path(place, size), *consistency_path(place, size)]):
        tile = tile_with(run, size)
        assert exists(tile, size)
        assert tile.first <= run.position
        assert run.position + run.width <= tile.first + tile.width
        wider = tile._replace(width=tile.width + 1)
        assert tile.width == WIDTH or not exists(wider, size)


@given(st.lists(hashes, min_size=1, max_size=256))
def test_the_bytes_of_a_tile_are_its_hashes(content: list[bytes]) -> None:
    """32 bytes each, with nothing between them; any other length is refused."""
    tile = Tile(0, 0, len(content))
    data = b"".join(content)
    assert hashes_in(tile, data) == content
    for wrong in (data[:-1], data + b"\0", data + bytes(32), data[32:], b""):
        with pytest.raises(InvalidEvidence, match=f"{tile.path} has {len(wrong)} bytes, not {len(data)}"):
            hashes_in(tile, wrong)


def test_a_full_tile_has_8192_bytes() -> None:
    """As the specification counts."""
    assert len(hashes_in(Tile(1, 7), bytes(8192))) == 256
    assert Tile(1, 7).first == 1792


@given(st.lists(hashes, min_size=1, max_size=256))
def test_entries_read_back_what_was_written(commitments: list[bytes]) -> None:
    """Each is its length in two bytes, big-endian, and the commitment."""
    data = entry_bundle(commitments)
    assert data == b"".join(b"\x00\x20" + commitment for commitment in commitments)
    assert commitments_in(Tile(None, 0, len(commitments)), data) == commitments


@given(commitments=st.lists(hashes, min_size=1, max_size=5), data=st.data())
def test_entries_of_another_length_are_refused(commitments: list[bytes], data: st.DataObject) -> None:
    """Too many or too few of them, bytes too many or too few, or a length that is not 32."""
    tile, good = Tile(None, 3, len(commitments)), entry_bundle(commitments)
    place = 34 * data.draw(st.integers(0, len(commitments) - 1))
    length = data.draw(st.binary(min_size=2, max_size=2).filter(lambda two: two != b"\x00\x20"))
    other = entry_bundle([*commitments[:-1], data.draw(st.binary(max_size=64).filter(lambda one: len(one) != 32))])
    for wrong in (
        good[:place] + length + good[place + 2 :],
        *(good[:-1], good + b"\0", good[1:], good[34:], good + good[-34:], b"", other),
    ):
        with pytest.raises(InvalidEvidence, match=rf"{tile.path} is not {tile.width} entries of 32 bytes"):
            commitments_in(tile, wrong)


@given(data=st.binary(max_size=400), tile=tiles)
def test_any_bytes_are_refused_or_are_a_tiles(data: bytes, tile: Tile) -> None:
    """What is taken has the tile's width."""
    for read in (hashes_in, commitments_in):
        try:
            content = read(tile, data)
        except InvalidEvidence:
            continue
        assert [len(one) for one in content] == [32] * tile.width
        assert data == (b"".join(content) if read is hashes_in else entry_bundle(content))
