"""The application: which path leads to which page."""

import re

from hypothesis import given
from hypothesis import strategies as st

from whodid.tiles import Tile, parse_tile_path
from whodid.web import app
from whodid.web.app import CHECKPOINT, PROOF, TILE

PATTERNS = {route: app._pattern(route) for route in (CHECKPOINT, PROOF, TILE)}

TILES = st.builds(Tile, st.none() | st.integers(0, 63), st.integers(0, 10**20), st.integers(1, 256))


@given(TILES, st.from_regex(r"[a-z0-9_-]{1,64}", fullmatch=True))
def test_every_tile_there_can_be_has_a_page(tile: Tile, account: str) -> None:
    """Whatever its number; the page knows its parts."""
    match = PATTERNS[TILE](f"/log/{account}/{tile.path}")
    assert match is not None
    assert match["account"] == account
    assert parse_tile_path(f"tile/{match['level']}/{match['number']}") == tile


@given(st.from_regex(r"/(log|api/v2/logs)/[^/]{0,70}/(checkpoint|proof|tile/.*)", fullmatch=True) | st.text())
def test_a_page_with_variable_parts_has_paths_of_plain_characters_only(path: str) -> None:
    """Nothing that is encoded, and nothing outside of ASCII, so that a page's path has one spelling."""
    for route in (CHECKPOINT, TILE):
        if PATTERNS[route](path):
            assert re.fullmatch(r"/log/[a-z0-9_-]{1,64}/[a-z0-9/.]+", path, re.ASCII)


@given(st.text(st.sampled_from("ab/{}%.\n é")))
def test_a_part_is_never_more_than_one_segment_of_the_path(text: str) -> None:
    """But for a tile's number, whose slashes are its own."""
    for route in (CHECKPOINT, PROOF):
        match = PATTERNS[route](re.sub(r"\{\w+\}", lambda _: text, route))
        if match is not None:
            assert list(match.groups()) == [text]
            assert "/" not in text
