"""Rows: what a record has under each of the keys that there are. For the formats that have columns."""

from collections.abc import Sequence
from typing import Final

import msgspec
from msgspec import Raw, Struct

from whodid.conditions import KIND_NAMES
from whodid.store.base import Numbered

KIND_OF: Final = {kind: name for name, kind in KIND_NAMES.items()}


class Row(Struct, rename={"id": "_id"}, gc=False):
    """The values of a record; None where it has none. The order of the fields is that of the columns."""

    id: str
    createdAt: str  # noqa: N815 (the wire's name)
    updatedAt: str  # noqa: N815
    user_id: str
    user_email: str | None = None
    type: str | None = None
    action: str | None = None
    target_id: str | None = None
    token_id: str | None = None
    scope: str | None = None
    target: str | None = None
    method: str | None = None
    target_name: str | None = None
    outcome: str | None = None
    reason: str | None = None
    ip_address: str | None = None
    user_agent: str | None = None
    request_id: str | None = None
    session_id: str | None = None
    changes: Raw = Raw(b"")
    """JSON, as the record has it; empty if it has none."""
    metadata: Raw = Raw(b"")


KEYS: Final = tuple(field.encode_name for field in msgspec.structs.fields(Row))
JSON_KEYS: Final = ("changes", "metadata")
"""Those of the keys, the last, whose values are JSON."""

COLUMNS: Final = ("seq", "kind", *KEYS)
"""All that a record has, but its account, which all have in common, and ``__v``."""

_decode_lines = msgspec.json.Decoder(Row).decode_lines


def rows_of(records: Sequence[Numbered]) -> list[Row]:
    """The rows of records, in order."""
    return _decode_lines(b"\n".join([record.record for record in records]))
