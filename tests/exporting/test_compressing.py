"""Compressing: what comes out again, and what is not compressed at all."""

import gzip
import zlib
from collections.abc import Callable

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st
from tests.exporting.records import hostile
from tests.exporting.test_formats import made

from whodid.errors import InvalidParameter
from whodid.exporting import compressed, open_compression, open_format
from whodid.store.base import Numbered


def _unzstd(data: bytes) -> bytes:
    stream = zstandard.ZstdDecompressor().decompressobj()
    whole = stream.decompress(data)
    assert stream.eof
    assert stream.unused_data == b""
    return whole


UNDO: dict[str, Callable[[bytes], bytes]] = {"none": bytes, "gzip": gzip.decompress, "zstd": _unzstd}


@pytest.mark.parametrize("name", UNDO)
@given(pieces=st.lists(st.binary(max_size=2000)))
def test_what_went_in_comes_out(name: str, pieces: list[bytes]) -> None:
    """However it came, even if there was nothing."""
    compression = open_compression(name)
    packed = b"".join([*map(compression.add, pieces), compression.end()])
    assert UNDO[name](packed) == b"".join(pieces)


@pytest.mark.parametrize("name", ["gzip", "zstd"])
@pytest.mark.parametrize("form_name", ["ndjson", "csv"])
@given(records=hostile)
def test_a_compressed_file_is_the_file(name: str, form_name: str, records: list[Numbered]) -> None:
    """And says what it is: compressed."""
    form = compressed(open_format(form_name), name)
    packed = form.begin() + form.rows(records) + form.rows(records) + form.end()
    assert UNDO[name](packed) == made(form_name, records, records)
    assert (form.packed, form.media_type) == (True, f"application/{name}")
    assert form.suffix == open_format(form_name).suffix + {"gzip": ".gz", "zstd": ".zst"}[name]


def test_the_same_records_make_the_same_bytes() -> None:
    """No time of day is in a file."""
    assert zlib.decompress(_gzipped(), 31) == b"a"
    assert _gzipped()[4:8] == b"\0\0\0\0"


def _gzipped() -> bytes:
    compression = open_compression("gzip")
    return compression.add(b"a") + compression.end()


def test_nothing_is_compressed_that_is_already() -> None:
    """Parquet is, inside; so it goes with none only."""
    assert not open_format("csv").packed
    assert compressed(open_format("parquet"), "none").suffix == ".parquet"
    for name in ("gzip", "zstd"):
        with pytest.raises(InvalidParameter, match=r"parquet is compressed inside: .* must be none"):
            compressed(open_format("parquet"), name)


def test_a_compression_that_is_not_known_is_refused_with_those_that_are() -> None:
    """Also where there is nothing to compress."""
    for form in ("csv", "parquet"):
        with pytest.raises(InvalidParameter, match='compression must be none, gzip or zstd, not "br"'):
            compressed(open_format(form), "br")
