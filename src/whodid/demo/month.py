"""The month: everything that happened in it, in order of time. Deterministic; reads no clock and no store."""

import operator
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from whodid.demo.doings import DOINGS, NAMES, NEW_NAMES, REASONS, VALUES, Doing
from whodid.demo.people import PEOPLE, Person
from whodid.records import DAY_MS, Action, Body, Change, Kind, TokenUse, render_time
from whodid.store.base import Role, Scope, Token, User

HOUR_MS = DAY_MS // 24
MINUTE_MS = 60_000

SUSPICIOUS_DAYS_AGO = 9
"""How long before the end the night was in which someone got hold of a password."""

_ODD_ADDRESS = "203.0.113.199"
_ODD_AGENT = "python-requests/2.32"
_MONDAY_TO_FRIDAY = 5
_EPOCH_WEEKDAY = 3  # 1970-01-01 was a Thursday


def activity(
    account: str, users: Sequence[User], tokens: Sequence[Token], *, until_ms: int, days: int = 30, seed: int = 7
) -> Iterator[tuple[Kind, Body]]:
    """A month of an account, oldest first: actions and token uses as producers give them, with ``createdAt``.

    ``users`` are taken for the ``PEOPLE`` of the same place; ``tokens`` are those that programs used.
    """
    month = _Month(account, users, tokens, random.Random(seed))  # noqa: S311 (nothing here is secret)
    first_ms = until_ms - days * DAY_MS
    first_day = first_ms // DAY_MS
    for day in range(first_day, until_ms // DAY_MS + 1):
        month.live_through(day)
    month.carry_out()
    month.suffer(until_ms // DAY_MS - min(SUSPICIOUS_DAYS_AGO, max(days - 1, 0)))
    for created_ms, kind, body in sorted(month.events, key=operator.itemgetter(0)):
        if first_ms <= created_ms < until_ms:
            body.createdAt = body.updatedAt = render_time(created_ms)
            yield kind, body


@dataclass(slots=True)
class _Seat:
    """A user at work: who it is, from where, in which session."""

    user: User
    person: Person
    session: str


class _Month:
    """The company while the month goes by."""

    def __init__(self, account: str, users: Sequence[User], tokens: Sequence[Token], chance: random.Random) -> None:
        self.events: list[tuple[int, Kind, Body]] = []
        self._account = account
        self._users = users
        self._tokens = tokens
        self._owners = {user.id: place for place, user in enumerate(users)}
        self._chance = chance
        self._objects = {type_: [(self._id(), name) for name in names] for type_, names in NAMES.items()}
        self._plans: list[tuple[int, _Seat, Doing]] = []
        self._states: dict[tuple[str, str], object] = {}
        self._doings = {role: [doing for doing in DOINGS if role in doing.roles] for role in Role}

    def live_through(self, day: int) -> None:
        """Everything that is usual on a day (numbered from 1970)."""
        weekend = (day + _EPOCH_WEEKDAY) % 7 >= _MONDAY_TO_FRIDAY
        for place, user in enumerate(self._users):
            person = PEOPLE[place % len(PEOPLE)]
            if person.role == Role.SERVICE:
                self._nightly(day, _Seat(user, person, ""))
            elif self._chance.random() < (0.08 if weekend else 0.93):
                self._work(day, _Seat(user, person, self._hex(16)), 0.3 if weekend else 1.0)
        for token in self._tokens:
            self._use_through(day, token)

    def carry_out(self) -> None:
        """Do what people meant to do, in order of time: an object is used after it is made, and not once it is gone."""
        for plan in sorted(self._plans, key=operator.itemgetter(0)):
            self._do(*plan)
        self._plans.clear()

    def suffer(self, day: int) -> None:
        """One night, someone tries a user's password until it fits, takes the log with them, and is found out."""
        victim = _Seat(self._users[min(1, len(self._users) - 1)], PEOPLE[1], self._hex(16))
        guard = _Seat(self._users[min(4, len(self._users) - 1)], PEOPLE[4], self._hex(16))
        odd = {"ip_address": _ODD_ADDRESS, "user_agent": _ODD_AGENT}
        at_ms = day * DAY_MS + 2 * HOUR_MS + 41 * MINUTE_MS
        for _ in range(23):
            at_ms += self._chance.randint(2_000, 15_000)
            self._act(at_ms, victim, "authentication", "login", outcome="failure", reason=REASONS["login"], **odd)
        self._act(at_ms + 9_000, victim, "authentication", "login", outcome="success", **odd)
        token_id, name = self._id(), "backup-2"
        target: dict[str, Any] = {"target_id": token_id, "target_name": name}
        self._act(at_ms + 61_000, victim, "access_token", "create", metadata={"scope": "api"}, **target, **odd)
        for path, outcome in (("users", "denied"), ("tokens", "denied"), ("logs/user/actions", "success")) * 6:
            at_ms += self._chance.randint(5_000, 20_000)
            self._use(at_ms + 70_000, token_id, "api", victim.user, f"/v1/{path}", outcome=outcome, **odd)
        self._act(at_ms + 95_000, victim, "export", "export", target_name="Audit log, last quarter", **odd)
        morning_ms = day * DAY_MS + 7 * HOUR_MS + 12 * MINUTE_MS
        why = "Unknown address at night"
        self._act(morning_ms, guard, "authentication", "login", outcome="success")
        self._act(morning_ms + 4 * MINUTE_MS, guard, "access_token", "expire", reason=why, **target)
        self._act(
            morning_ms + 6 * MINUTE_MS, guard, "user", "reset",
            target_id=victim.user.id, target_name=victim.user.email, reason=why,
        )  # fmt: skip

    def _work(self, day: int, seat: _Seat, busy: float) -> None:
        chance, person = self._chance, seat.person
        start_ms = day * DAY_MS + round((person.begins_at - person.utc_offset_hours + chance.gauss(0.4, 0.4)) * HOUR_MS)
        length_ms = round(max(1.0, chance.gauss(8.5, 1.0)) * HOUR_MS * busy)
        if chance.random() < 0.06:
            self._act(start_ms - 20_000, seat, "authentication", "login", outcome="failure", reason=REASONS["login"])
        self._act(start_ms, seat, "authentication", "login", outcome="success")
        doings = self._doings[person.role]
        weights = [doing.weight for doing in doings]
        for _ in range(round(chance.gauss(person.doings_a_day, person.doings_a_day / 6) * busy)):
            (doing,) = chance.choices(doings, weights)
            self._plans.append((start_ms + chance.randint(MINUTE_MS, length_ms), seat, doing))
        if chance.random() < 0.7:
            self._act(start_ms + length_ms + chance.randint(0, HOUR_MS), seat, "authentication", "logout")

    def _do(self, at_ms: int, seat: _Seat, doing: Doing) -> None:
        target_id, name = self._target(doing)
        more: dict[str, Any] = {"target_id": target_id, "target_name": name}
        if self._chance.random() < doing.failing:
            more |= {"outcome": "failure", "reason": REASONS[doing.action]}
        elif doing.failing:
            more["outcome"] = "success"
        if doing.action == "denial":
            more["reason"] = REASONS["denial"]
        if doing.changes:
            more["changes"] = {doing.changes: self._change(target_id, doing.changes)}
        if doing.type == "pipeline" and doing.action in ("start", "deploy"):
            more["metadata"] = {"run": self._chance.randint(1, 900), "branch": self._chance.choice(("main", "release"))}
        self._act(at_ms, seat, doing.type, doing.action, **more)

    def _target(self, doing: Doing) -> tuple[str, str]:
        """An object of the kind; one that is made is there from then on, and one that is deleted no longer."""
        known, lasting = self._objects[doing.type], len(NAMES[doing.type])
        if doing.action == "delete" and len(known) > lasting:
            return known.pop(self._chance.randrange(lasting, len(known)))
        if doing.action not in ("create", "copy", "delete"):
            return self._chance.choice(known)
        named = self._chance.choice(known)[1].split(" (")[0]
        made = self._id(), f"{named} ({self._chance.choice(NEW_NAMES)})"
        if doing.action != "delete":
            known.append(made)
        return made

    def _change(self, target_id: str, field: str) -> Change:
        values = VALUES[field]
        old = self._states.get((target_id, field), values[0])
        new = self._chance.choice([value for value in values if value != old])
        self._states[target_id, field] = new
        return Change(old, new)

    def _nightly(self, day: int, seat: _Seat) -> None:
        """Every pipeline is built and, mostly, deployed, from two o'clock on; webhooks start some by day."""
        at_ms = day * DAY_MS + 2 * HOUR_MS
        for target_id, name in self._objects["pipeline"][:12]:
            at_ms += self._chance.randint(20_000, 4 * MINUTE_MS)
            target: dict[str, Any] = {"target_id": target_id, "target_name": name}
            failed = self._chance.random() < 0.06
            said = {"outcome": "failure", "reason": REASONS["start"]} if failed else {"outcome": "success"}
            self._act(at_ms, seat, "pipeline", "start", **target, **said)
            if not failed:
                self._act(at_ms + self._chance.randint(3, 9) * MINUTE_MS, seat, "pipeline", "deploy", **target)
        for _ in range(18):
            target_id, name = self._chance.choice(self._objects["pipeline"])
            at_ms = day * DAY_MS + self._chance.randint(7 * HOUR_MS, 20 * HOUR_MS)
            self._act(at_ms, seat, "pipeline", "webhook-start", target_id=target_id, target_name=name)

    def _use_through(self, day: int, token: Token) -> None:
        """A program's calls: one that reads logs does so every half hour, one that writes at night and now and then."""
        place = self._owners.get(token.user_id, 0)
        person = PEOPLE[place % len(PEOPLE)]
        reads = token.scope in (Scope.SECURITY_LOGS, Scope.API_READONLY)
        agent = "siem-forwarder/1.9" if reads else "whodid-ci/2.4 python-httpx/0.28"
        for number in range(48 if reads else 40):
            at_ms = day * DAY_MS + number * 30 * MINUTE_MS + self._chance.randint(0, 40_000)
            path = ("actions", "tokens")[number % 2] if reads else "actions"
            denied = self._chance.random() < 0.005
            self._use(
                at_ms, token.id, token.scope.value, self._users[place], f"/v1/logs/user/{path}",
                method="GET" if reads else "POST", outcome="denied" if denied else "success",
                ip_address=person.address, user_agent=agent,
            )  # fmt: skip

    def _act(self, at_ms: int, seat: _Seat, type_: str, action: str, **more: Any) -> None:
        given = {"ip_address": seat.person.address, "user_agent": seat.person.agent, "target_id": None} | more
        if seat.session and given["ip_address"] == seat.person.address:
            given["session_id"] = seat.session
        body = Action(user_id=seat.user.id, user_email=seat.user.email, type=type_, action=action, **given)
        body.account = self._account
        self.events.append((at_ms + self._chance.randint(0, 999), Kind.ACTION, body))

    def _use(self, at_ms: int, token_id: str, scope: str, user: User, target: str, **more: Any) -> None:
        more.setdefault("method", "GET")
        body = TokenUse(token_id=token_id, scope=scope, target=target, user_id=user.id, **more)
        body.account = self._account
        if more["method"] == "POST":
            body.request_id = self._hex(16)
        self.events.append((at_ms + self._chance.randint(0, 999), Kind.TOKEN, body))

    def _id(self) -> str:
        return self._hex(24)

    def _hex(self, digits: int) -> str:
        return f"{self._chance.getrandbits(4 * digits):0{digits}x}"
