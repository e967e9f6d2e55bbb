"""Records to export: hostile ones made by chance, and as many ordinary ones as anybody wants."""

from collections.abc import Iterator
from typing import Any

import msgspec
from hypothesis import strategies as st
from tests.building import NOW_MS, TOKEN_ID, USER_ID, new_id

from whodid.records import MODELS, Event, Kind, complete
from whodid.store.base import Numbered

ACCOUNT = "org-acme-acc0"

EVIL = "'=+-@\uff1d\uff0b\uff0d\uff20;,\"\t\r\n |%!{}[]:\\ax\u00a0\u2028\ufeff\x1f\x7fé𝄞"
"""What formulas, cells, lines and strings begin or end with, in one program or another."""

evil = st.text(st.sampled_from(EVIL), min_size=1, max_size=12)
texts = evil | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=40)
names = st.from_regex(r"[a-z0-9_-]{1,12}", fullmatch=True)
times = st.integers(0, (1 << 42) - 1)
jsons = st.dictionaries(
    texts,
    st.recursive(
        st.none() | st.booleans() | st.integers() | texts,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
        max_leaves=6,
    ),
    max_size=3,
)
changes = st.dictionaries(texts, st.fixed_dictionaries({"old": texts, "new": texts}), max_size=2)

_loose = {
    "target_name": texts,
    "outcome": st.sampled_from(["success", "failure", "denied"]),
    "reason": texts | evil.map(lambda text: (text * 2048)[:2048]),
    "ip_address": st.ip_addresses().map(str),
    "user_agent": texts,
    "request_id": texts,
    "session_id": texts,
    "changes": changes,
    "metadata": jsons,
}
_actions = st.fixed_dictionaries(
    {"user_id": st.just(USER_ID), "type": names, "action": names},
    optional={"user_email": st.none() | texts, "target_id": st.none() | texts, **_loose},
)
_uses = st.fixed_dictionaries(
    {"user_id": st.just(USER_ID), "token_id": st.just(TOKEN_ID), "scope": names, "target": texts.map("/{}".format)},
    optional={"method": st.sampled_from(["GET", "DELETE"]), **_loose},
)


def recorded(given: dict[str, Any], kind: Kind, created_ms: int = NOW_MS, recorded_ms: int = NOW_MS) -> Event:
    """A record as the log has it, whatever is in it."""
    body = msgspec.convert(given, MODELS[kind])
    return complete(
        body, kind=kind, record_id=new_id(), account=ACCOUNT, created_ms=created_ms, recorded_ms=recorded_ms
    )


def numbered(seq: int, event: Event) -> Numbered:
    """A record with its number."""
    return Numbered(seq, event.kind, event.created_ms, event.record)


hostile = st.lists(
    st.builds(
        numbered,
        st.integers(0, (1 << 63) - 1),
        st.builds(recorded, _actions, st.just(Kind.ACTION), times, times)
        | st.builds(recorded, _uses, st.just(Kind.TOKEN), times, times),
    ),
    max_size=8,
)
"""Records of which everything that may be odd is."""


def ordinary(count: int, size: int = 1000, **more: Any) -> Iterator[list[Numbered]]:
    """Actions by the chunk, all alike but for their numbers; made once, so that they take no memory of their own."""
    given = {"user_id": USER_ID, "type": "pipeline", "action": "update", "user_agent": "curl/8.5.0", **more}
    event = recorded(given, Kind.ACTION)
    for first in range(0, count, size):
        yield [numbered(seq, event) for seq in range(first, min(count, first + size))]
