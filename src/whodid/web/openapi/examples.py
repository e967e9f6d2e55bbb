"""Examples: an account as the document shows it: its people, its tokens, and what its log has of them.

The account and its people have the names that those of the demonstration have; ids are nobody's.
Records are rendered by what renders real ones, and cursors by what makes real ones.
"""

from typing import Any, Final

import msgspec

from whodid.query.cursors import FeedCursor, SearchCursor, render
from whodid.query.parameters import END_OF_TIME_MS
from whodid.records import Action, Body, Change, Event, IdMaker, Kind, TokenUse, complete, render_time
from whodid.store.base import Position, Role, Scope
from whodid.tokens import PREFIX
from whodid.web.identity import IssuedToken, ShownToken, ShownUser

ACCOUNT: Final = "org-acme-acc0"
USER_ID: Final = "5e1cbf251c26d68f7ce6361e"
TOKEN_ID: Final = "61043b2bbcb6d95b55adc5fd"  # noqa: S105 (an id)
PIPELINE_ID: Final = "6104253be1d666c9ded178c2"

_MOMENT_MS: Final = 1_785_428_032_109  # 2026-07-30T16:13:52.109Z
_MINUTE_MS: Final = 60_000
_DAY_MS: Final = 24 * 60 * _MINUTE_MS

_ids = IdMaker(lambda size: b"\xe1\xd6\x66\xc9"[:size])

NEW_ACTION: Final[dict[str, Any]] = {
    "user_id": USER_ID,
    "type": "pipeline",
    "action": "update",
    "target_id": PIPELINE_ID,
    "target_name": "deploy to production",
    "outcome": "success",
    "ip_address": "192.0.2.17",
    "changes": {"schedule": {"old": "daily", "new": "hourly"}},
}
"""An action as a producer sends it."""

NEW_TOKEN_USE: Final[dict[str, Any]] = {
    "token_id": TOKEN_ID,
    "scope": "pipeline",
    "target": "/v1/pipelines/6104253be1d666c9ded178c2/run",
    "user_id": USER_ID,
    "method": "POST",
    "outcome": "success",
}
"""A token use as a producer sends it."""


def _event(body: Body, kind: Kind, created_ms: int) -> Event:
    return complete(
        body,
        kind=kind,
        record_id=_ids(created_ms),
        account=ACCOUNT,
        created_ms=created_ms,
        recorded_ms=created_ms + 3,
    )


ACTION: Final = _event(
    msgspec.convert({**NEW_ACTION, "user_email": "ann@acme.example"}, Action), Kind.ACTION, _MOMENT_MS
)
TOKEN_USE: Final = _event(msgspec.convert(NEW_TOKEN_USE, TokenUse), Kind.TOKEN, _MOMENT_MS + 1207)
NEW_USER_ACTION: Final = _event(
    Action(
        user_id=USER_ID,
        user_email="ann@acme.example",
        type="user",
        action="update",
        target_id="5e1cbf251c26d68f7ce63620",
        target_name="ben@acme.example",
        changes={"role": Change(old="user", new="auditor")},
    ),
    Kind.ACTION,
    _MOMENT_MS - _DAY_MS,
)

RECORD_ID: Final = ACTION.id.hex()
SEQ: Final = 5
"""The number of ``ACTION`` in the log."""


def record(event: Event) -> dict[str, Any]:
    """A record, as the compatible calls give it."""
    made: dict[str, Any] = msgspec.json.decode(event.record)
    return made


def numbered(seq: int, event: Event) -> dict[str, Any]:
    """A record with its number, as version 2 gives it."""
    return {"seq": seq, **record(event)}


def time_ago(minutes: int = 0) -> str:
    """A time so long before what happened in the examples, as records have times."""
    return render_time((_MOMENT_MS // _MINUTE_MS - minutes) * _MINUTE_MS)


SEARCH_CURSOR: Final = render(
    SearchCursor(Position(NEW_USER_ACTION.created_ms, 4), 0, END_OF_TIME_MS, newest_first=True), ACCOUNT
)
EXPORT_CURSOR: Final = render(
    SearchCursor(Position(NEW_USER_ACTION.created_ms, 4), 0, END_OF_TIME_MS, newest_first=False), ACCOUNT
)
FEED_CURSOR: Final = render(FeedCursor(7), ACCOUNT)

USER: Final = ShownUser(
    id=USER_ID,
    email="ann@acme.example",
    name="Ann",
    role=Role.ADMINISTRATOR,
    active=True,
    createdAt=render_time(_MOMENT_MS - 40 * _DAY_MS),
)
ADDED_USER: Final = ShownUser(
    id="5e1cbf251c26d68f7ce63620",
    email="ben@acme.example",
    name="Ben",
    role=Role.AUDITOR,
    active=True,
    createdAt=render_time(_MOMENT_MS),
)
CHANGED_USER: Final = msgspec.structs.replace(ADDED_USER, role=Role.POWER_USER)

TOKEN: Final = ShownToken(
    id=TOKEN_ID,
    name="siem",
    scope=Scope.SECURITY_LOGS,
    user_id=USER.id,
    user_email=USER.email,
    createdAt=render_time(_MOMENT_MS),
    expiresAt=render_time(_MOMENT_MS + 90 * _DAY_MS),
    expiredAt=None,
    active=True,
)
EXPIRED_TOKEN: Final = msgspec.structs.replace(TOKEN, expiredAt=render_time(_MOMENT_MS + _DAY_MS), active=False)
ISSUED_TOKEN: Final = IssuedToken(**msgspec.structs.asdict(TOKEN), token=f"{PREFIX}…")
