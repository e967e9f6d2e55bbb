"""Tiles: a log's tree as a finite set of immutable files (C2SP tlog-tiles). Names and bytes; pure.

A full tile has 256 hashes. Hash *i* of tile *n* of level *l* is the root over the leaves
``[(n * 256 + i) * 256 ** l, (n * 256 + i + 1) * 256 ** l)``. The last tile of a level may be partial.
"""

import re
from collections.abc import Iterable
from typing import Final, NamedTuple

from whodid.commitment import COMMITMENT_BYTES
from whodid.errors import InvalidEvidence
from whodid.merkle import HASH_BYTES, TILE_HEIGHT
from whodid.proofs import Run

WIDTH: Final = 1 << TILE_HEIGHT
"""How many hashes a full tile has."""

MOST_LEVEL: Final = 63
ENTRIES: Final = "entries"

_PATH = re.compile(
    r"tile/(entries|0|[1-9][0-9]?)/((?:x[0-9]{3}/){0,6}[0-9]{3})(?:\.p/([1-9][0-9]{0,2}))?", re.ASCII
).fullmatch
_LENGTH_BYTES = 2


class Tile(NamedTuple):
    """Which tile: of a level of hashes, or (level ``None``) of the log's entries; the first ``width`` of it."""

    level: int | None
    number: int
    width: int = WIDTH

    @property
    def path(self) -> str:
        """Its name below the log's URL: ``tile/<L>/<N>[.p/<W>]``."""
        level = ENTRIES if self.level is None else self.level
        partial = "" if self.width == WIDTH else f".p/{self.width}"
        return f"tile/{level}/{_render_number(self.number)}{partial}"

    @property
    def first(self) -> int:
        """The position at its level of its first hash (or the number of its first entry)."""
        return self.number * WIDTH


def parse_tile_path(path: str) -> Tile | None:
    """The tile that a path below the log's URL names; None if it is not the (one) name of any."""
    match = _PATH(path)
    if match is None:
        return None
    level = None if match[1] == ENTRIES else int(match[1])
    number = int(match[2].replace("x", "").replace("/", ""))
    width = int(match[3]) if match[3] else WIDTH
    tile = Tile(level, number, width)
    if (level or 0) > MOST_LEVEL or (match[3] and width >= WIDTH) or tile.path != path:
        return None
    return tile


def exists(tile: Tile, size: int) -> bool:
    """Whether a log of ``size`` entries has the tile (or had it, as a partial one, at a smaller size)."""
    return tile.first + tile.width <= size >> TILE_HEIGHT * (tile.level or 0)


def tiles_of(size: int) -> Iterable[Tile]:
    """All tiles of hashes of a log of ``size`` entries, level by level; none of width 0."""
    level = 0
    while size >> TILE_HEIGHT * level:
        full, rest = divmod(size >> TILE_HEIGHT * level, WIDTH)
        yield from (Tile(level, number) for number in range(full))
        if rest:
            yield Tile(level, full, rest)
        level += 1


def tile_with(run: Run, size: int) -> Tile:
    """The tile, as wide as a log of ``size`` entries has it, that the hashes of ``run`` are in."""
    number = run.position // WIDTH
    return Tile(run.level, number, min(WIDTH, (size >> TILE_HEIGHT * run.level) - number * WIDTH))


def hashes_in(tile: Tile, data: bytes) -> list[bytes]:
    """The hashes of a tile's bytes. Raises ``InvalidEvidence``."""
    if len(data) != tile.width * HASH_BYTES:
        raise InvalidEvidence(f"{tile.path} has {len(data)} bytes, not {tile.width * HASH_BYTES}")
    return [data[at : at + HASH_BYTES] for at in range(0, len(data), HASH_BYTES)]


def entry_bundle(commitments: Iterable[bytes]) -> bytes:
    """The bytes of a tile of entries: each a big-endian 16-bit length and the entry, which is a commitment."""
    return b"".join(len(one).to_bytes(_LENGTH_BYTES, "big") + one for one in commitments)


def commitments_in(tile: Tile, data: bytes) -> list[bytes]:
    """The commitments of a tile of entries. Raises ``InvalidEvidence``."""
    step = _LENGTH_BYTES + COMMITMENT_BYTES
    length = COMMITMENT_BYTES.to_bytes(_LENGTH_BYTES, "big")
    entries = [data[at : at + step] for at in range(0, len(data), step)]
    if len(data) != tile.width * step or any(not entry.startswith(length) for entry in entries):
        raise InvalidEvidence(f"{tile.path} is not {tile.width} entries of {COMMITMENT_BYTES} bytes")
    return [entry[_LENGTH_BYTES:] for entry in entries]


def _render_number(number: int) -> str:
    last = f"{number % 1000:03}"
    above: list[str] = []
    while number := number // 1000:
        above.append(f"x{number % 1000:03}/")
    return "".join(reversed(above)) + last
