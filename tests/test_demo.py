"""The demonstration's month: believable, complete, and the same each time."""

import random
from collections import Counter
from datetime import UTC, datetime
from functools import cache

import msgspec
from tests.building import NOW_MS

from whodid.demo import PEOPLE, activity
from whodid.ingest import Completer, Directory
from whodid.records import Action, Body, IdMaker, Kind, TokenUse, parse_time
from whodid.store.base import Role, Scope, Token, User

ACCOUNT = "org-acme-acc0"
DAY_MS = 86_400_000
TYPES = set(
    "authentication pipeline registry analytics_data_entry analytics_data_mapping_organization "  # noqa: SIM905
    "analytics_data_mapping_project analytics_data_mapping_user feature_flags notification_policy pipeline_template "
    "instructions policy tag task account user access_token export".split()
)
ACTIONS = set(
    "create copy update delete start stop reset resume approval denial deploy publish webhook-start "  # noqa: SIM905
    "ownership_transfer edit_access_roles update_runtime_settings certificate_sync login logout expire export".split()
)

USERS = [
    User(f"{number:024x}", f"{person.login}@acme.example", person.name, person.role, active=True, created_ms=0)
    for number, person in enumerate(PEOPLE, 1)
]
TOKENS = [
    Token(f"{99:024x}", USERS[-1].id, "nightly", Scope.LOGS_WRITE, b"", 0, 0),
    Token(f"{98:024x}", USERS[0].id, "SIEM", Scope.SECURITY_LOGS, b"", 0, 0),
]


@cache
def month(seed: int = 7) -> list[tuple[Kind, Body]]:
    """A month of it."""
    return list(activity(ACCOUNT, USERS, TOKENS, until_ms=NOW_MS, seed=seed))


def actions() -> list[Action]:
    """The month's actions."""
    return [body for _, body in month() if isinstance(body, Action)]


def time_of(body: Body) -> int:
    """When it occurred."""
    return parse_time(str(body.createdAt))


def test_the_same_seed_makes_the_same_month() -> None:
    """And another one another."""
    again = list(activity(ACCOUNT, USERS, TOKENS, until_ms=NOW_MS, seed=7))
    assert msgspec.json.encode(again) == msgspec.json.encode(month())
    assert msgspec.json.encode(month(8)) != msgspec.json.encode(month())


def test_a_month_has_about_ten_thousand_events_in_order_of_time() -> None:
    """All of them in the thirty days before its end."""
    times = [time_of(body) for _, body in month()]
    assert 8_000 <= len(times) <= 12_000
    assert times == sorted(times)
    assert times[0] >= NOW_MS - 30 * DAY_MS
    assert times[-1] < NOW_MS


def test_every_type_and_action_of_the_vocabulary_occurs() -> None:
    """So that each has something to be found by."""
    assert {body.type for body in actions()} == TYPES
    assert {body.action for body in actions()} == ACTIONS


def test_all_of_it_is_valid() -> None:
    """Ingest takes every event as a producer's."""
    directory = Directory({user.id: user.email for user in USERS})
    completer = Completer(ACCOUNT, directory, IdMaker(random.randbytes), lambda: NOW_MS)
    for kind, body in activity(ACCOUNT, USERS, TOKENS, until_ms=NOW_MS):
        (event,) = completer.complete([body], kind, keep_recorded=True)
        record = msgspec.json.decode(event.record)
        assert record["createdAt"] == record["updatedAt"]


def test_people_rest_at_the_weekend_and_programs_do_not() -> None:
    """Much less is done on Saturdays and Sundays, except by the service account and by tokens."""
    bot = next(user.id for user in USERS if user.role == Role.SERVICE)
    people, programs = Counter[bool](), Counter[bool]()
    for _, body in month():
        weekend = datetime.fromtimestamp(time_of(body) / 1000, UTC).weekday() >= 5
        (programs if isinstance(body, TokenUse) or body.user_id == bot else people)[weekend] += 1
    assert people[True] < people[False] / 10
    assert programs[True] > programs[False] / 4


def test_a_session_begins_with_a_login_and_is_of_one_person_at_one_address() -> None:
    """Whatever else is done in it comes later."""
    sessions: dict[str, list[Action]] = {}
    for body in actions():
        if isinstance(body.session_id, str):
            sessions.setdefault(body.session_id, []).append(body)
    whole = [done for done in sessions.values() if time_of(done[0]) > NOW_MS - 29 * DAY_MS]
    assert len(whole) > 150
    assert {done[0].action for done in whole} == {"login"}
    assert all(
        len({(body.user_id, body.ip_address, body.user_agent) for body in done}) == 1 for done in sessions.values()
    )


def test_one_night_is_suspicious() -> None:
    """Many failed logins from an address that nobody else has, a token, an export; in the morning it is expired."""
    odd = [body for body in actions() if body.ip_address == "203.0.113.199"]
    assert Counter((body.action, body.outcome) for body in odd)["login", "failure"] > 20
    (created,) = [body for body in odd if body.type == "access_token"]
    (expired,) = [body for body in actions() if body.action == "expire" and body.target_id == created.target_id]
    uses = [body for _, body in month() if isinstance(body, TokenUse) and body.token_id == created.target_id]
    assert {body.outcome for body in uses} == {"denied", "success"}
    assert time_of(created) < min(map(time_of, uses)) < time_of(expired)
    assert "export" in {body.type for body in odd}


def test_what_changes_has_an_old_and_a_new_value() -> None:
    """And the old one is what an earlier change left."""
    states: dict[tuple[object, str], object] = {}
    changed = [body for body in actions() if isinstance(body.changes, dict)]
    assert len(changed) > 500
    for body in changed:
        assert isinstance(body.changes, dict)
        for field, change in body.changes.items():
            assert change.old != change.new
            assert states.get((body.target_id, field), change.old) == change.old
            states[body.target_id, field] = change.new


def test_nothing_is_used_before_it_is_made_or_after_it_is_deleted() -> None:
    """Objects that people make."""
    seen: set[object] = set()
    deleted: set[object] = set()
    for body in actions():
        if body.type in ("access_token", "user", "authentication"):
            continue
        assert body.target_id not in deleted
        if body.action in ("create", "copy"):
            assert body.target_id not in seen
        if body.action == "delete":
            deleted.add(body.target_id)
        seen.add(body.target_id)
    assert deleted
