"""Records at rest: each is one zstd frame, small because a dictionary knows what records look like.

Owns the format of the column ``entry.record`` and the versions of the dictionary. A frame has no magic number, no
dictionary id and no checksum (the row names the version, the commitment is the check), only the size of its content.
"""

from collections.abc import Callable, Iterable
from importlib import resources
from typing import Any

import apsw
import zstandard

from whodid.errors import StoreUnusable

BUNDLED_VERSION = 1
LEVEL = 3

_MANY = 8


def bundled_dictionary() -> bytes:
    """The dictionary that a new store begins with; ``bench/train_dictionary.py`` made it."""
    return (resources.files("whodid.store.sqlite") / "dictionary.bin").read_bytes()


def newest_dictionary(connection: apsw.Connection) -> tuple[int, bytes]:
    """The store's newest dictionary, and its version. Raises ``StoreUnusable`` where there is none."""
    row: Any = connection.execute("SELECT max(version), bytes FROM dictionary").fetchone()
    version, dictionary = row
    if dictionary is None:
        raise StoreUnusable("the store has no dictionary: no record of it can be read")
    return version, dictionary


class Compressor:
    """Compresses records with one dictionary. One thread at a time uses it."""

    def __init__(self, dictionary: bytes) -> None:
        data = zstandard.ZstdCompressionDict(dictionary)
        parameters = zstandard.ZstdCompressionParameters.from_level(
            LEVEL,
            format=zstandard.FORMAT_ZSTD1_MAGICLESS,
            write_content_size=1,
            write_dict_id=0,
            write_checksum=0,
        )
        data.precompute_compress(compression_params=parameters)
        self._compressor = zstandard.ZstdCompressor(compression_params=parameters, dict_data=data)

    def all(self, records: list[bytes]) -> list[bytes]:
        """The frames of some records, one for each.

        Many are done in one call, which gives up the interpreter's lock once instead of once for each record.
        """
        if len(records) < _MANY:
            return [self._compressor.compress(record) for record in records]
        several: list[Any] = list(records)
        frames = self._compressor.multi_compress_to_buffer(several)
        return [frames[at].tobytes() for at in range(len(frames))]


def decompressor(dictionary: bytes) -> Callable[[bytes], bytes]:
    """A function that undoes ``Compressor``. One thread uses it. Raises ``zstandard.ZstdError``."""
    data = zstandard.ZstdCompressionDict(dictionary)
    return zstandard.ZstdDecompressor(dict_data=data, format=zstandard.FORMAT_ZSTD1_MAGICLESS).decompress


class Decompressor:
    """Reads records of every version, fetching dictionaries from the store as it meets them. One thread uses it."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection
        self._known: dict[int, Callable[[bytes], bytes]] = {}

    def __call__(self, version: int, frame: bytes) -> bytes:
        """The record in ``frame``. Raises ``zstandard.ZstdError`` where it is damaged."""
        return (self._known.get(version) or self._learn(version))(frame)

    def all(self, rows: Iterable[tuple[int, bytes]]) -> list[bytes]:
        """The records in rows of (version, frame)."""
        known = self._known
        return [(known.get(version) or self._learn(version))(frame) for version, frame in rows]

    def _learn(self, version: int) -> Callable[[bytes], bytes]:
        dictionary = self._connection.execute("SELECT bytes FROM dictionary WHERE version = ?", (version,)).get
        if dictionary is None:
            raise zstandard.ZstdError(f"the store has no dictionary of version {version}")
        known = self._known[version] = decompressor(dictionary)
        return known
