"""Users and tokens over a socket: who may see and change which, what it leaves in the log, what never leaks."""

import itertools
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from tests.acceptance.running import OPERATOR, Answer, Running, Tenant, head, problem, read_answer, tenant_of
from tests.stores import bytes_of, run

from whodid.clock import wall_clock
from whodid.identity import Identity
from whodid.records import DAY_MS, parse_time, render_time
from whodid.store.base import Role, Scope, User
from whodid.tokens import PREFIX, is_authentic
from whodid.web.identity import MOST_TOKENS

ME = "/api/v2/me"
USERS = "/api/v2/users"
TOKENS = "/api/v2/tokens"
NOBODY = "f" * 24
HOUR_MS = 60 * 60 * 1000

# The contract, written out once more: which scopes and roles open what.
EVERY_SCOPE, EVERY_ROLE = {scope.value for scope in Scope}, {role.value for role in Role}
READ, WRITE = {"api", "api-readonly"}, {"api"}
ADMINISTRATOR = {"administrator"}
SEARCHERS = ADMINISTRATOR | {"power_user", "auditor", "security_manager"}
RIGHTS: dict[str, tuple[set[str], set[str]]] = {
    "me": (EVERY_SCOPE, EVERY_ROLE),
    "users": (READ, {"administrator", "auditor", "security_manager"}),
    "add user": (WRITE, ADMINISTRATOR),
    "change user": (WRITE, ADMINISTRATOR),
    "change oneself": (WRITE, ADMINISTRATOR),
    "own tokens": (READ, EVERY_ROLE),
    "tokens of another": (READ, ADMINISTRATOR),
    "create own": (WRITE, EVERY_ROLE - {"service"}),
    "create for another": (WRITE, ADMINISTRATOR),
    "expire own": (WRITE, EVERY_ROLE),
    "expire another's": (WRITE, ADMINISTRATOR),
    "own activity": (READ, EVERY_ROLE),
    "another's activity": (READ, SEARCHERS),
}
HIDDEN = {"another's activity"}
"""What is 404 to a role that may not see it, just as what does not exist."""

_numbers = itertools.count(1)


def create(server: Running, text: str, **given: Any) -> Answer:
    """Ask for a token; its text is among those that the server must tell nobody."""
    asked = {"name": f"made {next(_numbers)}", "scope": "api", "expires": "1h", **given}
    answer = server.post(TOKENS, text, asked)
    if answer.status == 201:
        server.issued.append(answer.json["token"])
    return answer


def patch(server: Running, text: str, user_id: str, **change: Any) -> Answer:
    """Ask for a change of a user."""
    return server.call("PATCH", f"{USERS}/{user_id}", text, json.dumps(change), {"Content-Type": "application/json"})


def life_of(shown: dict[str, Any]) -> int:
    """How long a token lives that the API shows."""
    return parse_time(shown["expiresAt"]) - parse_time(shown["createdAt"])


def expire(server: Running, text: str, token_id: str) -> Answer:
    """Ask for the expiry of a token."""
    return server.call("POST", f"{TOKENS}/{token_id}/expire", text)


def shown(user: User) -> dict[str, Any]:
    """A user as the API shows it."""
    return {
        "id": user.id, "email": user.email, "name": user.name, "role": user.role.value, "active": user.active,
        "createdAt": render_time(user.created_ms),
    }  # fmt: skip


def brought(tenant: Tenant, size: int) -> list[dict[str, Any]]:
    """The records that came since the log had this size."""
    return [json.loads(entry.record) for entry in tenant.log(size)]


def activity(server: Running, text: str, token_id: str) -> Answer:
    """Ask what a token was used for."""
    return server.get(f"{TOKENS}/{token_id}/activity", text)


def calls_of(tenant: Tenant, other: User, role: Role) -> dict[str, Callable[[str], Answer]]:
    """Each thing that there are rights for, as a call that would succeed."""
    server, me = tenant.server, tenant.user(role)
    mine, theirs = tenant.new_token(me)[0].id, tenant.new_token(other)[0].id
    return {
        "me": lambda text: server.get(ME, text),
        "users": lambda text: server.get(USERS, text),
        "add user": lambda text: server.post(USERS, text, {"email": f"u{next(_numbers)}@acme.example", "role": "user"}),
        "change user": lambda text: patch(server, text, other.id, name=f"name {next(_numbers)}"),
        "change oneself": lambda text: patch(server, text, me.id, name=f"name {next(_numbers)}"),
        "own tokens": lambda text: server.get(TOKENS, text),
        "tokens of another": lambda text: server.get(f"{TOKENS}?user_id={other.id}", text),
        "create own": lambda text: create(server, text, user_id=me.id),
        "create for another": lambda text: create(server, text, user_id=other.id),
        "expire own": lambda text: expire(server, text, tenant.new_token(me)[0].id),
        "expire another's": lambda text: expire(server, text, tenant.new_token(other)[0].id),
        "own activity": lambda text: activity(server, text, mine),
        "another's activity": lambda text: activity(server, text, theirs),
    }


@pytest.mark.parametrize("role", Role)
def test_scopes_and_roles_open_what_the_contract_says(tenant: Tenant, role: Role) -> None:
    """All scopes with all calls, for each role: success, or 403 and a denied token use, and nothing changed."""
    calls = calls_of(tenant, tenant.add_user("other@acme.example"), role)
    assert calls.keys() == RIGHTS.keys()
    for scope, (what, call) in itertools.product(Scope, calls.items()):
        scopes, roles = RIGHTS[what]
        text, before = tenant.token(scope, role), run(tenant.store.identity_version(tenant.account.no)) or 0
        answer = call(text)
        use = tenant.last_use()
        if scope in scopes and role in roles:
            assert answer.status in (200, 201), (scope, what, answer.body)
            assert use["outcome"] == "success"
            continue
        if scope in scopes and what in HIDDEN:
            problem(answer, 404, "or it is not yours")
            continue
        told = problem(answer, 403)
        assert (scope if scope not in scopes else role) in told["detail"], (scope, what)
        assert (use["outcome"], use["scope"]) == ("denied", scope)
        made_here = 1 if what.startswith("expire") else 0  # the token that was to be expired
        assert run(tenant.store.identity_version(tenant.account.no)) == before + made_here


def test_me_is_the_caller(tenant: Tenant) -> None:
    """Account, user and token, as they are stored; no text."""
    ann = tenant.user(Role.SERVICE)
    token, text = tenant.new_token(ann, Scope.REGISTRY)
    answer = tenant.server.get(ME, text)
    assert answer.json == {
        "account": tenant.name,
        "user": shown(ann),
        "token": {
            "id": token.id, "name": token.name, "scope": "registry", "user_id": ann.id, "user_email": ann.email,
            "createdAt": render_time(token.created_ms), "expiresAt": render_time(token.expires_ms), "expiredAt": None,
            "active": True,
        },
    }  # fmt: skip
    assert list(answer.json["token"])[-1] == "active"
    assert tenant.server.call("HEAD", ME, text).status == 200


def test_a_user_is_added_and_changed_and_the_log_tells_who_did_it(tenant: Tenant) -> None:
    """The token use first, then the action, with the caller as its actor and the call's own request id."""
    server, token = tenant.server, tenant.new_token(tenant.user())
    size = tenant.size()
    headers = {"User-Agent": "admin/1", "X-Request-Id": "id-9"}
    answer = server.post(USERS, token[1], {"email": "Bob@acme.example", "role": "auditor", "name": "Bob"}, **headers)
    assert answer.status == 201
    bob = answer.json
    assert list(bob) == ["id", "email", "name", "role", "active", "createdAt"]
    assert {**bob, "id": 0, "createdAt": 0} == {
        "id": 0, "email": "Bob@acme.example", "name": "Bob", "role": "auditor", "active": True, "createdAt": 0
    }  # fmt: skip
    use, action = brought(tenant, size)
    assert (use["target"], use["method"], use["outcome"]) == ("/v2/users", "POST", "success")
    for key in ("_id", "createdAt", "updatedAt"):
        del action[key]
    admin = tenant.user()
    assert action == {
        "user_id": admin.id, "user_email": admin.email, "type": "user", "action": "create", "target_id": bob["id"],
        "account": tenant.name, "__v": 0, "target_name": "Bob@acme.example", "ip_address": "127.0.0.1",
        "user_agent": "admin/1", "request_id": "id-9", "changes": {"role": {"old": None, "new": "auditor"}},
        "metadata": {"via": "api", "token_id": token[0].id},
    }  # fmt: skip
    size = tenant.size()
    changed = patch(server, token[1], bob["id"], role="user", email="bob@acme.example", active=False)
    assert changed.json == {**bob, "role": "user", "email": "bob@acme.example", "active": False}
    use, action = brought(tenant, size)
    assert use["target"] == f"/v2/users/{bob['id']}"
    assert action["changes"] == {
        "email": {"old": "Bob@acme.example", "new": "bob@acme.example"},
        "role": {"old": "auditor", "new": "user"},
        "active": {"old": True, "new": False},
    }
    assert server.get(USERS, token[1]).json == {"data": [shown(admin), changed.json]}
    assert tenant.check() == []


def test_a_change_to_what_is_already_so_is_a_token_use_and_no_action(tenant: Tenant) -> None:
    """Also the expiry of what is expired."""
    text, ann = tenant.token(), tenant.user()
    token, _ = tenant.new_token(ann)
    assert expire(tenant.server, text, token.id).json["active"] is False
    size = tenant.size()
    assert patch(tenant.server, text, ann.id, role="administrator", name="").json == shown(ann)
    again = expire(tenant.server, text, token.id).json
    assert [record.get("outcome") for record in brought(tenant, size)] == ["success", "success"]
    assert parse_time(again["expiredAt"]) < wall_clock()


# Calls with something wrong, and whose rights they need nevertheless.
FAULTY: dict[str, Callable[[Running, str, str], Answer]] = {
    "me": lambda server, text, _: server.get(f"{ME}?x=1", text),
    "users": lambda server, text, _: server.get(f"{USERS}?x=1", text),
    "add user": lambda server, text, _: server.post(USERS, text, {"email": "nobody", "role": "user"}),
    "change oneself": patch,
    "own tokens": lambda server, text, _: server.get(f"{TOKENS}?user_id=ann", text),
    "create own": lambda server, text, _: create(server, text, name=""),
    "expire own": lambda server, text, _: expire(server, text, "no-id"),
    "own activity": lambda server, text, _: server.get(f"{TOKENS}/{NOBODY}/activity?x=1", text),
}


@pytest.mark.on_sqlite_only("no store is asked for more than who calls")
@pytest.mark.parametrize("role", Role)
def test_what_is_wrong_with_a_call_is_told_to_those_only_who_may_make_it(tenant: Tenant, role: Role) -> None:
    """A failure in the log; to all others it is 403, and denied, as if it were right."""
    me = tenant.user(role).id
    for (what, call), scope in itertools.product(FAULTY.items(), (Scope.API, Scope.API_READONLY, Scope.LOGS_WRITE)):
        text, size = tenant.token(scope, role), tenant.size()
        version = run(tenant.store.identity_version(tenant.account.no))
        answer = call(tenant.server, text, me)
        may = scope in RIGHTS[what][0] and role in RIGHTS[what][1]
        problem(answer, 400 if may else 403)
        assert [record["outcome"] for record in brought(tenant, size)] == ["failure" if may else "denied"], (
            scope,
            what,
        )
        assert run(tenant.store.identity_version(tenant.account.no)) == version


@pytest.mark.parametrize("role", Role)
def test_what_is_another_accounts_is_to_nobody_any_different_from_what_is_not_there(tenant: Tenant, role: Role) -> None:
    """Same status and text, whoever asks; and nothing of the other account changes."""
    server, text = tenant.server, tenant.token(Scope.API, role)
    asked: dict[str, Callable[[str, str], Answer]] = {
        "change user": lambda user_id, _: patch(server, text, user_id, active=False),
        "create for another": lambda user_id, _: create(server, text, user_id=user_id),
        "expire own": lambda _, token_id: expire(server, text, token_id),
        "own activity": lambda _, token_id: activity(server, text, token_id),
    }
    with tenant_of(server) as other:
        theirs, (token, _) = other.user(), other.new_token(other.user())
        size = other.size()
        for what, ask in asked.items():
            may = role in RIGHTS[what][1]
            told, none = (problem(ask(*ids), 404 if may else 403) for ids in ((theirs.id, token.id), (NOBODY, NOBODY)))
            detail = told["detail"].replace(theirs.id, NOBODY).replace(token.id, NOBODY)
            assert {**told, "detail": detail} == none
            assert other.name not in detail
            if "activity" not in what:
                assert tenant.last_use()["outcome"] == ("failure" if may else "denied"), what
        lists = [server.get(f"{TOKENS}?user_id={user_id}", text) for user_id in (theirs.id, NOBODY)]
        assert lists[0].body == lists[1].body
        assert lists[0].status == (200 if role == Role.ADMINISTRATOR else 403)
        for path in (TOKENS, USERS):
            assert not [one for one in (theirs.id, token.id, other.name) if one in server.get(path, text).body.decode()]
        assert other.size() == size


def test_the_last_administrator_stays_one(tenant: Tenant) -> None:
    """Neither role nor access is given up, by whoever asks, until there is another; the operator may do it."""
    server, text, ann = tenant.server, tenant.token(), tenant.user()
    for change in ({"role": "auditor"}, {"active": False}, {"role": "service", "name": "x"}):
        told = problem(patch(server, text, ann.id, **change), 409, ann.email, "last active administrator")
        assert told["code"] == "conflict"
        assert tenant.last_use()["outcome"] == "failure"
    bob = tenant.add_user("bob@acme.example", Role.ADMINISTRATOR)
    assert patch(server, text, ann.id, role="auditor").json["role"] == "auditor"
    problem(patch(server, text, ann.id, role="administrator"), 403)
    problem(patch(server, tenant.new_token(bob)[1], bob.id, active=False), 409)
    assert not tenant.update(bob, active=False).active


def test_administrators_who_remove_each_other_at_once_leave_one(tenant: Tenant) -> None:
    """In a server, too, the one who comes second is no administrator any more."""
    users = [tenant.add_user(f"admin{at}@acme.example", Role.ADMINISTRATOR) for at in range(4)]
    texts = [tenant.new_token(user)[1] for user in users]
    body = b'{"role":"user"}'

    def remove(at: int) -> int:
        victim = users[(at + 1) % len(users)]
        lines = head(
            "PATCH", f"{USERS}/{victim.id}", texts[at], Content_Type="application/json", Content_Length=str(len(body))
        )
        with tenant.server.connect() as connection:
            connection.sendall(lines + body)
            return read_answer(connection).status

    with ThreadPoolExecutor(4) as pool:
        statuses = list(pool.map(remove, range(4)))
    left = [user for user in run(tenant.store.users(tenant.account.no)) if user.role == Role.ADMINISTRATOR]
    assert len(left) == len(users) - statuses.count(200) >= 1
    assert set(statuses) <= {200, 403, 409}
    assert tenant.check() == []


def test_changes_at_once_are_all_made(tenant: Tenant) -> None:
    """None is lost, and none is refused because others are faster."""
    text = tenant.token()

    def add(at: int) -> int:
        body = json.dumps({"email": f"u{at}@acme.example", "role": "user"}).encode()
        lines = head("POST", USERS, text, Content_Type="application/json", Content_Length=str(len(body)))
        with tenant.server.connect() as connection:
            connection.sendall(lines + body)
            return read_answer(connection).status

    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(add, range(48))) == [201] * 48
    assert len(tenant.server.get(USERS, text).json["data"]) == 49
    uses = [use for use in tenant.uses() if use["method"] == "POST"]
    assert [use["outcome"] for use in uses] == ["success"] * 48


def test_a_right_that_is_taken_away_meanwhile_is_not_used(tenant: Tenant) -> None:
    """A caller is checked again when its body is there: who was let in at first may be nobody by then."""
    ann = tenant.add_user("ann@acme.example", Role.ADMINISTRATOR)
    tenant.user()
    text = tenant.new_token(ann)[1]
    body = b'{"email":"bob@acme.example","role":"user"}'
    for change, status in (({"role": Role.USER}, 403), ({"active": False}, 401)):
        lines = head("POST", USERS, text, Content_Type="application/json", Content_Length=str(len(body)))
        with tenant.server.connect() as connection:
            connection.sendall(lines.replace(b"\r\n\r\n", b"\r\nExpect: 100-continue\r\n\r\n"))
            assert connection.recv(4096).startswith(b"HTTP/1.1 100 ")
            tenant.update(ann, **change)
            connection.sendall(body)
            assert read_answer(connection).status == status
        tenant.update(ann, role=Role.ADMINISTRATOR, active=True)
    assert "bob@acme.example" not in {user.email for user in run(tenant.store.users(tenant.account.no))}


def test_a_tokens_text_is_in_one_answer_only(tenant: Tenant) -> None:
    """It opens what its scope opens, from then on; and is nowhere in the store, the logs, metrics or other answers."""
    server, text = tenant.server, tenant.token()
    size = tenant.size()
    answer = create(server, text, name="siem", scope="security-logs", expires="90d")
    made = answer.json
    secret = made.pop("token")
    assert answer.status == 201
    assert is_authentic(secret)
    assert answer.header("cache-control") == "no-store"
    assert parse_time(made["expiresAt"]) - parse_time(made["createdAt"]) == 90 * DAY_MS
    use, action = brought(tenant, size)
    assert (use["target"], use["outcome"]) == ("/v2/tokens", "success")
    assert (action["type"], action["action"], action["target_id"]) == ("access_token", "create", made["id"])
    assert action["metadata"] == {
        "via": "api", "token_id": use["token_id"], "scope": "security-logs", "owner": tenant.user().email,
        "expires_at": made["expiresAt"],
    }  # fmt: skip
    me = server.get(ME, secret).json
    assert me["token"] == made
    refused = [
        server.post(TOKENS, text, {"name": "siem", "scope": "api", "expires": "1d"}),
        server.get(f"/api/{secret}", text),
    ]
    refused += [
        expire(server, text, secret),
        patch(server, text, secret, name="x"),
        patch(server, text, NOBODY, email=secret),
    ]
    refused += [server.get(f"{TOKENS}?user_id={secret}", text), server.post(USERS, text, {secret: 1})]
    assert [answer.status for answer in refused] == [409, 404, 400, 400, 400, 400, 400]
    pages = [server.get(path, text) for path in (TOKENS, USERS, ME, "/metrics", "/api/v1/logs/user/actions")]
    assert [page.status for page in pages] == [200] * 5
    assert not [page for page in pages + refused if secret in page.body.decode()]
    assert secret not in b"".join(entry.record for entry in tenant.log()).decode()
    assert secret.encode() not in bytes_of(server.url)
    server.check_log()


def test_an_expired_token_is_refused_at_the_next_call(tenant: Tenant) -> None:
    """One's own by itself; its last use stands right before its expiry."""
    for role in (Role.SERVICE, Role.USER):
        token, text = tenant.new_token(tenant.user(role))
        assert tenant.server.get(ME, text).status == 200
        size = tenant.size()
        answer = expire(tenant.server, text, token.id)
        assert (answer.status, answer.json["active"]) == (200, False)
        assert tenant.server.get(ME, text).status == 401
        use, action = brought(tenant, size)
        assert (use["token_id"], use["outcome"]) == (token.id, "success")
        assert (action["action"], action["target_id"], action["user_id"]) == ("expire", token.id, token.user_id)
        assert answer.json["expiredAt"] == action["createdAt"]


def test_administrators_see_and_make_the_tokens_of_all_and_others_their_own(tenant: Tenant) -> None:
    """The newest first; ``user_id`` narrows, also to oneself."""
    server, bob = tenant.server, tenant.user(Role.SERVICE)
    text, theirs = tenant.token(), tenant.token(Scope.API, Role.SERVICE)
    made = create(server, text, user_id=bob.id, expires=render_time(wall_clock() + DAY_MS))
    assert (made.json["user_id"], made.json["user_email"]) == (bob.id, bob.email)
    assert server.get(ME, made.json["token"]).json["user"] == shown(bob)

    def ids(path: str, text: str) -> list[str]:
        data = server.get(path, text).json["data"]
        assert not [token for token in data if PREFIX in json.dumps(token)]
        return [token["id"] for token in data]

    tokens = run(tenant.store.tokens(tenant.account.no))
    everyone = [token.id for token in tokens]
    bobs = [token.id for token in tokens if token.user_id == bob.id]
    assert made.json["id"] in bobs
    assert ids(TOKENS, text) == everyone
    assert ids(f"{TOKENS}?user_id={bob.id}", text) == ids(TOKENS, theirs) == bobs
    assert ids(f"{TOKENS}?user_id={bob.id}", theirs) == bobs
    assert ids(f"{TOKENS}?user_id={tenant.user().id}", text) == [one for one in everyone if one not in bobs]


def test_a_token_is_active_while_it_opens_something(tenant: Tenant) -> None:
    """Not once its owner is deactivated, nor after it was expired."""
    server, text = tenant.server, tenant.token()
    bob = tenant.add_user("bob@acme.example")
    made = [create(server, text, user_id=bob.id).json["id"] for _ in range(2)]
    expire(server, text, made[0])

    def active() -> list[bool]:
        data = {token["id"]: token for token in server.get(f"{TOKENS}?user_id={bob.id}", text).json["data"]}
        assert (data[made[0]]["expiredAt"] is None, data[made[1]]["expiredAt"]) == (False, None)
        return [data[token_id]["active"] for token_id in made]

    assert active() == [False, True]
    assert patch(server, text, bob.id, active=False).status == 200
    assert active() == [False, False]
    problem(create(server, text, user_id=bob.id), 409, "bob@acme.example is deactivated")
    assert patch(server, text, bob.id, active=True).status == 200
    assert active() == [False, True]


@pytest.mark.parametrize(
    ("expires", "says"),
    [
        ("366d", "at most a year"), ("0d", "a number and s, m, h, d or w"), ("500y", "s, m, h, d or w"),
        ("never", "an age like 90d, or a time like"), ("2020-01-01T00:00:00Z", "at least a second"),
        ("2100-01-01T00:00:00Z", "at most a year"), ("2026-01-01", "an age like 90d"), ("", "an age like 90d"),
        ("-1d", "an age like 90d"), (90, "expires must be an age"), (None, "expires must be an age"),
    ],
)  # fmt: skip
@pytest.mark.on_sqlite_only("no store is asked")
def test_a_token_needs_an_end_within_a_year(tenant: Tenant, expires: object, says: str) -> None:
    """After so long, or at a time; anything else is refused, and the use of the caller's token is a failure."""
    text, size = tenant.token(), tenant.size()
    told = problem(create(tenant.server, text, expires=expires), 400, says)
    assert told["code"] == "invalid_parameter"
    assert [record["outcome"] for record in brought(tenant, size)] == ["failure"]


@pytest.mark.parametrize("role", sorted(EVERY_ROLE - {"administrator", "service"}))
def test_a_token_makes_none_that_outlives_it(tenant: Tenant, role: str) -> None:
    """Nor does one that was made with it; without an end, it is the caller's own, if that is sooner than the usual."""
    server, user = tenant.server, tenant.user(Role(role))
    parent, text = tenant.new_token(user, life_ms=2 * HOUR_MS)
    end = render_time(parent.expires_ms)
    for expires in ("3h", "90d", "365d", "400d", render_time(parent.expires_ms + 1), "2100-01-01T00:00:00Z"):
        size = tenant.size()
        told = problem(create(server, text, expires=expires), 400, f"at {end} at the latest", "administrator")
        assert told["code"] == "invalid_parameter"
        assert [record["outcome"] for record in brought(tenant, size)] == ["failure"]
    assert create(server, text, expires="1h").json["expiresAt"] < end
    assert create(server, text, expires=end).json["expiresAt"] == end
    child = server.post(TOKENS, text, {"name": "no end", "scope": "api"}).json
    server.issued.append(child["token"])
    assert child["expiresAt"] == end
    problem(create(server, child["token"], expires="3h"), 400, f"at {end} at the latest")
    assert create(server, child["token"], expires=end).json["expiresAt"] == end
    long = tenant.new_token(user, life_ms=365 * DAY_MS)[1]
    assert life_of(create(server, long, expires="364d").json) == 364 * DAY_MS
    usual = server.post(TOKENS, long, {"name": "usual", "scope": "api"}).json
    server.issued.append(usual["token"])
    assert life_of(usual) == 90 * DAY_MS


def test_an_administrators_token_makes_such_as_live_longer(tenant: Tenant) -> None:
    """For anybody; no longer once the role is gone."""
    server, bob = tenant.server, tenant.add_user("bob@acme.example")
    ann = tenant.add_user("ann@acme.example", Role.ADMINISTRATOR)
    text = tenant.new_token(ann, life_ms=2 * HOUR_MS)[1]
    for owner in (ann, bob):
        assert life_of(create(server, text, user_id=owner.id, expires="365d").json) == 365 * DAY_MS
        made = server.post(TOKENS, text, {"name": "usual", "scope": "api", "user_id": owner.id}).json
        server.issued.append(made["token"])
        assert life_of(made) == 90 * DAY_MS
    tenant.update(ann, role=Role.POWER_USER)
    problem(create(server, text, expires="365d"), 400, "at the latest")


def test_a_user_has_so_many_tokens_that_hold_and_no_more(tenant: Tenant) -> None:
    """Whoever asks. Those that have expired don't count, by time or before it; the operator may make more."""
    server, bob = tenant.server, tenant.add_user("bob@acme.example")
    long_ago = Identity(tenant.store, clock=lambda: wall_clock() - 2 * DAY_MS)
    for at in range(3):
        lapsed = long_ago.create_token(
            tenant.account, OPERATOR, bob, scope=Scope.API, name=f"lapsed {at}", life_ms=DAY_MS
        )
        run(lapsed)
    made = [tenant.new_token(bob) for _ in range(MOST_TOKENS - 1)]
    theirs, admins = made[0][1], tenant.token()
    assert create(server, theirs).status == 201
    for text in (theirs, admins):
        size = tenant.size()
        told = problem(create(server, text, user_id=bob.id), 409, f"{bob.email} has 100 tokens", "expire one first")
        assert told["code"] == "conflict"
        assert [record["outcome"] for record in brought(tenant, size)] == ["failure"]
    assert create(server, admins).status == 201
    assert expire(server, theirs, made[1][0].id).status == 200
    assert create(server, admins, user_id=bob.id).status == 201
    problem(create(server, theirs), 409)
    assert tenant.new_token(bob)[0].user_id == bob.id


def test_tokens_that_are_made_at_once_are_counted_too(tenant: Tenant) -> None:
    """Of many calls for the last few, so many succeed as there are left."""
    bob = tenant.add_user("bob@acme.example")
    texts = [tenant.new_token(bob)[1] for _ in range(MOST_TOKENS - 5)]

    def make(at: int) -> int:
        body = json.dumps({"name": f"at once {at}", "scope": "api", "expires": "1h"}).encode()
        lines = head("POST", TOKENS, texts[at], Content_Type="application/json", Content_Length=str(len(body)))
        with tenant.server.connect() as connection:
            connection.sendall(lines + body)
            return read_answer(connection).status

    with ThreadPoolExecutor(16) as pool:
        statuses = list(pool.map(make, range(16)))
    assert sorted(statuses) == [201] * 5 + [409] * 11
    assert len([token for token in run(tenant.store.tokens(tenant.account.no)) if token.user_id == bob.id]) == 100


def test_a_token_is_no_address_and_no_name(tenant: Tenant) -> None:
    """Whoever mistakes one for the other has it nowhere in the log."""
    server, text, ann = tenant.server, tenant.token(), tenant.user()
    answers = [
        server.post(USERS, text, {"email": f"{text}@acme.example", "role": "user"}),
        server.post(USERS, text, {"email": f"bob@{text}", "role": "user"}),
        server.post(USERS, text, {"email": "bob@acme.example", "role": "user", "name": f"Bob {text}"}),
        patch(server, text, ann.id, email=f"{text}@acme.example"),
        patch(server, text, ann.id, name=text),
        create(server, text, name=f"my {text}"),
    ]
    for answer in answers:
        problem(answer, 400, "must not have an access token in it")
    assert not [entry for entry in tenant.log() if PREFIX.encode() in entry.record]


BODIES: list[tuple[bytes, int, str]] = [
    (b"", 400, "email must be given: an e-mail address"),
    (b"{}", 400, "email must be given"),
    (b"[]", 400, "must be an object"),
    (b"{", 400, "is not JSON"),
    (b'{"email":"\xff"}', 400, "not UTF-8"),
    (b'{"email":"b@x","role":"user","email":"c@x"}', 400, 'the field "email" is given twice'),
    (b'{"email":"b@x","role":"user","admin":true}', 400, 'there is no field "admin" here; there are email, role, name'),
    (b'{"email":"b@x","role":"root"}', 400, "role must be one of administrator, power_user"),
    (b'{"email":7,"role":"user"}', 400, "email must be an e-mail address"),
    (b'{"email":"b","role":"user"}', 400, "email must be an e-mail address"),
    (b'{"email":"b\\udcff@x","role":"user"}', 400, "an e-mail address like"),
    (b'{"email":"b@x","role":"user","name":"a\\u0000b"}', 400, "without control characters"),
    (b'{"email":"b@x","role":"user","name":"%b"}' % (b"x" * 101), 400, "at most 100 characters"),
    (b'{"email":"ADMINISTRATOR@acme.example","role":"user"}', 409, "the account has a user"),
    (b'{"email":"b@x","role":"user"}' + b" " * 65536, 413, "65536 bytes (64 KiB)"),
]


def test_a_body_that_is_not_right_is_refused_and_changes_nothing(tenant: Tenant) -> None:
    """With what would be right; and the call is in the log as a failure."""
    text = tenant.token()
    for body, status, says in BODIES:
        size = tenant.size()
        problem(tenant.server.post(USERS, text, body), status, says)
        assert [record["outcome"] for record in brought(tenant, size)] == ["failure"]
    for change in ({}, {"name": "a\nb"}, {"id": NOBODY}, {"active": "yes"}, {"email": None}):
        problem(patch(tenant.server, text, tenant.user().id, **change), 400)
    problem(patch(tenant.server, text, tenant.user().id), 400, "at least one of email, name, role, active")
    problem(tenant.server.post(f"{TOKENS}/{NOBODY}/expire", text, {"at": "now"}), 400, 'no field "at" here')
    assert [user.email for user in run(tenant.store.users(tenant.account.no))] == [tenant.user().email]
    assert tenant.user() == run(tenant.identity.user(tenant.account, tenant.user().email))


@pytest.mark.on_sqlite_only("HTTP has nothing to do with the store")
def test_calls_of_identity_are_strict_about_all_the_rest(tenant: Tenant) -> None:
    """Types, encodings, parameters, methods and the ids in paths."""
    server, text = tenant.server, tenant.token()
    good = b'{"email":"b@x","role":"user"}'
    for headers in (
        {"Content-Type": "text/plain"}, {"Content-Type": "application/x-ndjson"},
        {"Content-Type": "application/json; charset=latin-1"},
        {"Content-Type": "application/json", "Content-Encoding": "gzip"},
    ):  # fmt: skip
        answer = server.call("POST", USERS, text, good, headers)
        problem(answer, 415)
        assert answer.header("accept-post") == "application/json"
    for method, path in (
        ("GET", f"{ME}?x=1"), ("GET", f"{USERS}?role=user"), ("GET", f"{TOKENS}?user=1"), ("POST", f"{USERS}?x=1"),
        ("PATCH", f"{USERS}/{NOBODY}?x=1"), ("POST", f"{TOKENS}?x=1"), ("POST", f"{TOKENS}/{NOBODY}/expire?x=1"),
    ):  # fmt: skip
        problem(server.call(method, path, text, good if method != "GET" else None), 400, "there is no parameter")
        assert tenant.last_use()["outcome"] == "failure"
    problem(server.get(f"{TOKENS}?user_id=1&user_id=2", text), 400, "more than once")
    problem(server.get(f"{TOKENS}?user_id=ann", text), 400, 'user_id must be 24 hex digits in lower case, not "ann"')
    for wrong in ("", "x", "A" * 24, "%61" * 24, "a" * 25):
        problem(patch(server, text, wrong, name="x"), 400, "the id in the path must be 24 hex digits")
        problem(expire(server, text, wrong), 400, "the id in the path must be 24 hex digits")
    for path, allowed in (
        (ME, "GET, HEAD"), (USERS, "GET, HEAD, POST"), (f"{USERS}/{NOBODY}", "PATCH"), (TOKENS, "GET, HEAD, POST"),
        (f"{TOKENS}/{NOBODY}/expire", "POST"),
    ):  # fmt: skip
        answer = server.call("DELETE", path, text)
        problem(answer, 405)
        assert answer.header("allow") == allowed
        problem(server.call("DELETE", path), 401)
        problem(server.call(allowed.partition(",")[0], path, None, b"not JSON"), 401)


def test_the_operators_changes_beside_the_server_are_seen_at_once(tenant: Tenant) -> None:
    """Whoever is added, renamed or expired at the command line is so in the next answer."""
    text = tenant.token()
    assert len(tenant.server.get(USERS, text).json["data"]) == 1
    bob = run(tenant.identity.add_user(tenant.account, OPERATOR, email="bob@acme.example", role=Role.USER))
    assert tenant.server.get(USERS, text).json["data"][-1] == shown(bob)
    assert patch(tenant.server, text, bob.id, name="Bob").json["name"] == "Bob"
    assert run(tenant.identity.user(tenant.account, bob.email)).name == "Bob"
