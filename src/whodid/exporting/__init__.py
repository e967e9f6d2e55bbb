"""Exporting: an account's records as files, or as streams of bytes. Over HTTP and at the command line, the same.

``sources`` gives records by the chunk, ``formats`` makes bytes of them (``rows``, ``comma_separated``, ``parquet``),
``compressing`` makes those smaller, ``writing`` puts it together; ``files`` has them on the disk. All of it in flat
memory, however many records there are.
"""

from whodid.exporting.compressing import COMPRESSIONS, Compression, compressed, open_compression
from whodid.exporting.files import Part, named, part_file, whole_file
from whodid.exporting.formats import FORMATS, Format, open_format
from whodid.exporting.sources import by_search, by_time
from whodid.exporting.writing import Piece, export, pieces

__all__ = [
    "COMPRESSIONS",
    "FORMATS",
    "Compression",
    "Format",
    "Part",
    "Piece",
    "by_search",
    "by_time",
    "compressed",
    "export",
    "named",
    "open_compression",
    "open_format",
    "part_file",
    "pieces",
    "whole_file",
]
