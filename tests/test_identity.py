"""Identity: the rules of accounts, users and tokens, and the action that each change leaves in the log."""

import asyncio
import json
import random
from pathlib import Path
from typing import Any

import pytest
from tests.building import NOW_MS, ManualClock, flat, no_progress

from whodid.errors import Conflict, InvalidParameter, NameTaken, NotFound, StaleIdentity
from whodid.identity import LONGEST_LIFE_DAYS, USUAL_LIFE_DAYS, Actor, Identity
from whodid.records import DAY_MS, OPERATOR_ID
from whodid.store.base import Account, Role, Scope, Store, Submission, User
from whodid.store.sqlite import SqliteStore
from whodid.tokens import digest_of, is_authentic

OPERATOR = Actor(details={"via": "whodid user add"})
HOUR_MS = 60 * 60 * 1000


@pytest.fixture
def identity(store: SqliteStore, clock: ManualClock, rng: random.Random) -> Identity:
    """The rules, over a real store."""
    return Identity(store, clock=clock, random_bytes=rng.randbytes)


async def log_of(store: Store, account: Account) -> list[dict[str, Any]]:
    """All records of an account, in order."""
    return [json.loads(entry.record) for entry in await flat(store.entries(account.no))]


async def with_ann(identity: Identity) -> tuple[Account, User]:
    """An account with one user."""
    account = await identity.add_account("org-acme", OPERATOR)
    return account, await identity.add_user(account, OPERATOR, email="ann@acme.example", role=Role.ADMINISTRATOR)


async def test_a_new_accounts_log_begins_with_its_creation(identity: Identity, store: SqliteStore) -> None:
    """Whodid audits itself from the first entry on."""
    account = await identity.add_account("org-acme", OPERATOR)
    assert (account.name, account.created_ms, account.frontier.size) == ("org-acme", NOW_MS, 1)
    (record,) = await log_of(store, account)
    assert record["user_id"] == OPERATOR_ID
    assert (record["type"], record["action"], record["target_name"]) == ("account", "create", "org-acme")
    assert record["metadata"] == {"via": "whodid user add"}
    assert await identity.account("org-acme") == account


@pytest.mark.parametrize("name", ["", "Acme", "a b", "ä", "x" * 65, "org/acme", "org\n", "org-acme\udcff"])
async def test_an_account_needs_a_proper_name(identity: Identity, name: str) -> None:
    """A name is part of every record, and of URLs."""
    with pytest.raises(InvalidParameter, match="1 to 64 lower-case letters"):
        await identity.add_account(name, OPERATOR)


async def test_an_accounts_name_is_taken_once(identity: Identity) -> None:
    """And an account that is not there is told."""
    await identity.add_account("org-acme", OPERATOR)
    with pytest.raises(NameTaken, match="org-acme"):
        await identity.add_account("org-acme", OPERATOR)
    with pytest.raises(NotFound, match="org-other"):
        await identity.account("org-other")


async def test_a_new_user_is_an_action_in_the_log(identity: Identity, store: SqliteStore) -> None:
    """With whom it was made by, and the role."""
    account, ann = await with_ann(identity)
    by_ann = Actor(ann.id, ann.email, {"ip_address": "192.0.2.1"})
    bob = await identity.add_user(account, by_ann, email="Bob@acme.example", role=Role.SERVICE, name="Bob")
    assert await identity.user(account, "bob@ACME.example") == bob
    assert (bob.active, bob.created_ms, bob.role) == (True, NOW_MS, Role.SERVICE)
    record = (await log_of(store, account))[-1]
    assert (record["user_id"], record["user_email"]) == (ann.id, ann.email)
    assert (record["type"], record["action"]) == ("user", "create")
    assert (record["target_id"], record["target_name"]) == (bob.id, "Bob@acme.example")
    assert record["changes"] == {"role": {"old": None, "new": "service"}}


@pytest.mark.parametrize(
    "email", ["", "ann", "a@b@c", "a b@c", "a@", "@b", "a\x00@b", "a@b\n", "\udcff@b", "x" * 250 + "@b.cd"]
)
async def test_a_user_needs_a_proper_address(identity: Identity, store: SqliteStore, email: str) -> None:
    """What a shell hands over in another encoding is refused too, and nothing is recorded."""
    account, ann = await with_ann(identity)
    with pytest.raises(InvalidParameter, match="e-mail address"):
        await identity.add_user(account, OPERATOR, email=email, role=Role.USER)
    with pytest.raises(InvalidParameter, match="e-mail address"):
        await identity.update_user(account, OPERATOR, ann, email=email)
    assert len(await log_of(store, account)) == 2


@pytest.mark.parametrize("name", ["x" * 101, "a\nb", "a\udcff"])
async def test_names_are_short_and_printable(identity: Identity, name: str) -> None:
    """The names of users and tokens alike; a token must have one."""
    account, ann = await with_ann(identity)
    with pytest.raises(InvalidParameter, match="100 characters"):
        await identity.add_user(account, OPERATOR, email="bob@acme.example", role=Role.USER, name=name)
    for wrong in (name, ""):
        with pytest.raises(InvalidParameter, match="1 to 100 characters"):
            await identity.create_token(account, OPERATOR, ann, scope=Scope.API, name=wrong, life_ms=HOUR_MS)


async def test_a_token_is_no_name_and_no_address(identity: Identity, store: SqliteStore) -> None:
    """Who mistakes one for the other has it nowhere in the log."""
    account, ann = await with_ann(identity)
    made = await identity.create_token(account, OPERATOR, ann, scope=Scope.API, name="laptop", life_ms=HOUR_MS)
    size = len(await log_of(store, account))
    with pytest.raises(InvalidParameter, match="must not have an access token"):
        await identity.create_token(account, OPERATOR, ann, scope=Scope.API, name=made[1], life_ms=HOUR_MS)
    with pytest.raises(InvalidParameter, match="must not have an access token"):
        await identity.update_user(account, OPERATOR, ann, name=f"Ann {made[1]}")
    for email in (made[1], f"{made[1]}@acme.example", f"ann@{made[1]}.example"):
        with pytest.raises(InvalidParameter, match="e-mail address must not have an access token") as caught:
            await identity.update_user(account, OPERATOR, ann, email=email)
        assert made[1] not in str(caught.value)
        with pytest.raises(InvalidParameter, match="must not have an access token"):
            await identity.add_user(account, OPERATOR, email=email, role=Role.USER)
    with pytest.raises(InvalidParameter, match="must not have an access token"):
        await identity.add_account("whodid_pat_0a", OPERATOR)
    assert len(await log_of(store, account)) == size


@pytest.mark.parametrize("user_id", ["", "x" * 24, "A" * 24, "a" * 23, "a" * 24 + "\n"])
async def test_a_users_own_id_must_be_an_id(identity: Identity, user_id: str) -> None:
    """A user of another platform keeps its id, if it is one."""
    account, _ = await with_ann(identity)
    with pytest.raises(InvalidParameter, match="24 hex digits"):
        await identity.add_user(account, OPERATOR, email="b@acme.example", role=Role.USER, user_id=user_id)


async def test_ids_and_addresses_are_taken_once_in_an_account(identity: Identity, store: SqliteStore) -> None:
    """An address whatever its case; another account may have the same of both; the operator's id is nobody's."""
    account, ann = await with_ann(identity)
    with pytest.raises(NameTaken):
        await identity.add_user(account, OPERATOR, email="ANN@acme.example", role=Role.USER)
    with pytest.raises(Conflict, match=ann.id):
        await identity.add_user(account, OPERATOR, email="bob@acme.example", role=Role.USER, user_id=ann.id)
    with pytest.raises(InvalidParameter, match="operator"):
        await identity.add_user(account, OPERATOR, email="o@acme.example", role=Role.USER, user_id=OPERATOR_ID)
    assert len(await log_of(store, account)) == 2
    other = await identity.add_account("org-other", OPERATOR)
    await identity.add_user(other, OPERATOR, email=ann.email, role=Role.USER, user_id=ann.id)
    with pytest.raises(NotFound, match=r"nobody@acme.example"):
        await identity.user(account, "nobody@acme.example")


async def test_a_change_of_a_user_says_what_was_and_what_is(identity: Identity, store: SqliteStore) -> None:
    """Only what changed is said; where nothing does, nothing is recorded."""
    account, ann = await with_ann(identity)
    changed = await identity.update_user(
        account, OPERATOR, ann, email="anna@acme.example", role=Role.USER, name="", active=False
    )
    assert await identity.user(account, "anna@acme.example") == changed
    assert (changed.id, changed.role, changed.active) == (ann.id, Role.USER, False)
    record = (await log_of(store, account))[-1]
    assert (record["action"], record["target_id"], record["target_name"]) == ("update", ann.id, "anna@acme.example")
    assert record["changes"] == {
        "email": {"old": "ann@acme.example", "new": "anna@acme.example"},
        "role": {"old": "administrator", "new": "user"},
        "active": {"old": True, "new": False},
    }
    size = len(await log_of(store, account))
    assert await identity.update_user(account, OPERATOR, changed, role=Role.USER, active=False) == changed
    assert len(await log_of(store, account)) == size


async def test_a_users_address_may_change_in_case_but_not_to_anothers(identity: Identity) -> None:
    """The unique address is the one with case folded."""
    account, ann = await with_ann(identity)
    ann = await identity.update_user(account, OPERATOR, ann, email="Ann@acme.example")
    await identity.add_user(account, OPERATOR, email="bob@acme.example", role=Role.USER)
    with pytest.raises(NameTaken):
        await identity.update_user(account, OPERATOR, ann, email="BOB@acme.example")


async def test_a_change_never_undoes_what_another_changed_meanwhile(identity: Identity) -> None:
    """Who renames a user that he read a while ago does not activate a user that was deactivated since."""
    account, ann = await with_ann(identity)
    await identity.update_user(account, OPERATOR, ann, active=False)
    renamed = await identity.update_user(account, OPERATOR, ann, name="Ann")
    assert renamed.active is False
    with pytest.raises(Conflict, match="deactivated"):
        await identity.create_token(account, OPERATOR, ann, scope=Scope.API, name="laptop", life_ms=HOUR_MS)


async def test_changes_at_the_same_moment_do_not_undo_each_other(
    identity: Identity, store: SqliteStore, store_path: Path, clock: ManualClock
) -> None:
    """Of two processes that read the same user and change it, one is refused, or both changes stand."""
    account, ann = await with_ann(identity)
    beside = SqliteStore(store_path)
    other = Identity(beside, clock=clock)
    for _ in range(5):
        await identity.update_user(account, OPERATOR, ann, active=True, name="")
        outcomes = await asyncio.gather(
            identity.update_user(account, OPERATOR, ann, active=False),
            other.update_user(account, OPERATOR, ann, name="Ann"),
            return_exceptions=True,
        )
        refused = [isinstance(outcome, StaleIdentity) for outcome in outcomes]
        assert all(
            one or not isinstance(outcome, BaseException) for one, outcome in zip(refused, outcomes, strict=True)
        )
        stored = await identity.user(account, ann.email)
        assert (stored.active, stored.name) == (refused[0], "" if refused[1] else "Ann")
    await beside.close()


@pytest.mark.parametrize("change", [{"role": Role.POWER_USER}, {"active": False}])
async def test_users_leave_their_account_an_administrator(
    identity: Identity, store: SqliteStore, change: dict[str, Any]
) -> None:
    """The last one who is active keeps the role; neither a deactivated one nor another role stands in."""
    account, ann = await with_ann(identity)
    by_ann = Actor(ann.id, ann.email)
    bob = await identity.add_user(account, by_ann, email="bob@acme.example", role=Role.ADMINISTRATOR)
    await identity.add_user(account, by_ann, email="carl@acme.example", role=Role.POWER_USER)
    await identity.update_user(account, by_ann, bob, active=False)
    size = len(await log_of(store, account))
    with pytest.raises(Conflict, match=r"ann@acme.example is the last active administrator .* another user") as caught:
        await identity.update_user(account, by_ann, ann, **change)
    assert type(caught.value) is Conflict
    assert len(await log_of(store, account)) == size
    await identity.update_user(account, by_ann, ann, name="Ann", role=Role.ADMINISTRATOR, active=True)
    await identity.update_user(account, by_ann, bob, active=True)
    ann = await identity.update_user(account, by_ann, ann, **change)
    with pytest.raises(Conflict, match=r"bob@acme.example is the last"):
        await identity.update_user(account, by_ann, bob, **change)


async def test_the_operator_may_leave_an_account_without_an_administrator(identity: Identity) -> None:
    """Who can make another one at any time."""
    account, ann = await with_ann(identity)
    assert (await identity.update_user(account, OPERATOR, ann, active=False)).active is False


async def test_administrators_who_leave_at_the_same_moment_do_not_leave_none(
    identity: Identity, store_path: Path, clock: ManualClock
) -> None:
    """Two processes that each see two administrators do not take away one each."""
    account, ann = await with_ann(identity)
    beside = SqliteStore(store_path)
    other = Identity(beside, clock=clock)
    bob = await identity.add_user(account, OPERATOR, email="bob@acme.example", role=Role.ADMINISTRATOR)
    for _ in range(5):
        outcomes = await asyncio.gather(
            identity.update_user(account, Actor(ann.id), bob, active=False),
            other.update_user(account, Actor(bob.id), ann, active=False),
            return_exceptions=True,
        )
        refused = [one for one in outcomes if isinstance(one, StaleIdentity | Conflict)]
        assert len(refused) == len([one for one in outcomes if isinstance(one, BaseException)]) == 1
        for user in (ann, bob):
            await identity.update_user(account, OPERATOR, user, active=True)
    await beside.close()


async def test_an_action_says_from_where_its_call_came(identity: Identity, store: SqliteStore) -> None:
    """Address, agent and request id of a change that was asked for over the network."""
    account, ann = await with_ann(identity)
    actor = Actor(ann.id, ann.email, {"via": "api"}, "192.0.2.1", "curl/8", "r-7")
    await identity.update_user(account, actor, ann, name="Ann")
    record = (await log_of(store, account))[-1]
    assert (record["ip_address"], record["user_agent"], record["request_id"]) == ("192.0.2.1", "curl/8", "r-7")
    assert record["metadata"] == {"via": "api"}


async def test_changes_go_where_they_are_told_to(identity: Identity, store: SqliteStore) -> None:
    """The same rules, before something else that appends."""
    account, ann = await with_ann(identity)
    handed: list[Submission] = []

    async def append(submission: Submission) -> None:
        handed.append(submission)

    await identity.through(append).update_user(account, OPERATOR, ann, name="Ann")
    assert [one.account_no for one in handed] == [account.no]
    assert handed[0].identity_version == await store.identity_version(account.no)
    assert await identity.user_of(account, ann.id) == ann
    with pytest.raises(NotFound, match="0" * 24):
        await identity.user_of(account, "0" * 24)


async def test_a_new_token_is_shown_once_and_kept_as_its_digest(identity: Identity, store: SqliteStore) -> None:
    """Its text is authentic, leads to its owner and account, and is nowhere in the log."""
    account, ann = await with_ann(identity)
    token, text = await identity.create_token(
        account, OPERATOR, ann, scope=Scope.SECURITY_LOGS, name="siem", life_ms=90 * DAY_MS
    )
    assert is_authentic(text)
    assert token.digest == digest_of(text)
    assert (token.created_ms, token.expires_ms, token.expired_ms) == (NOW_MS, NOW_MS + 90 * DAY_MS, None)
    found = await store.credential(digest_of(text))
    assert found is not None
    assert (found.token, found.user, found.account.name) == (token, ann, "org-acme")
    record = (await log_of(store, account))[-1]
    assert (record["type"], record["action"], record["target_id"]) == ("access_token", "create", token.id)
    assert record["metadata"]["scope"] == "security-logs"
    assert text not in json.dumps(await log_of(store, account))


@pytest.mark.parametrize("life_ms", [0, -1, 999, LONGEST_LIFE_DAYS * DAY_MS + 1])
async def test_a_token_lives_a_second_to_a_year(identity: Identity, life_ms: int) -> None:
    """No token is for ever."""
    account, ann = await with_ann(identity)
    with pytest.raises(InvalidParameter, match="at least a second and at most a year"):
        await identity.create_token(account, OPERATOR, ann, scope=Scope.API, name="laptop", life_ms=life_ms)
    with pytest.raises(InvalidParameter, match="at least a second and at most a year"):
        await identity.create_token(account, OPERATOR, ann, scope=Scope.API, name="laptop", expires_ms=NOW_MS + life_ms)
    longest = LONGEST_LIFE_DAYS * DAY_MS
    assert await identity.create_token(account, OPERATOR, ann, scope=Scope.API, name="laptop", life_ms=longest)


async def test_a_token_that_is_to_end_in_time_does(identity: Identity) -> None:
    """With the usual life cut; a later end is refused, by a millisecond, and told before all else is."""
    account, ann = await with_ann(identity)

    async def end(latest_ms: int | None, **asked: int) -> int:
        token, _ = await identity.create_token(
            account, OPERATOR, ann, scope=Scope.API, name=f"{latest_ms} {asked}", latest_ms=latest_ms, **asked
        )
        return token.expires_ms - NOW_MS

    assert await end(None) == await end(NOW_MS + 91 * DAY_MS) == USUAL_LIFE_DAYS * DAY_MS
    assert await end(NOW_MS + HOUR_MS) == HOUR_MS
    assert await end(NOW_MS + HOUR_MS, life_ms=HOUR_MS) == await end(NOW_MS + HOUR_MS, expires_ms=NOW_MS + HOUR_MS)
    for late in ({"life_ms": HOUR_MS + 1}, {"expires_ms": NOW_MS + HOUR_MS + 1}, {"life_ms": 9999 * DAY_MS}):
        with pytest.raises(InvalidParameter, match=r"at 2021-07-30T17:13:52\.109Z at the latest"):
            await end(NOW_MS + HOUR_MS, **late)
    with pytest.raises(InvalidParameter, match="at least a second"):
        await end(NOW_MS + 999)


async def test_a_tokens_name_is_free_again_when_it_is_expired(
    identity: Identity, store: SqliteStore, clock: ManualClock
) -> None:
    """Names are unique among an owner's tokens that hold; an expired one stays expired since its first moment."""
    account, ann = await with_ann(identity)
    bob = await identity.add_user(account, OPERATOR, email="bob@acme.example", role=Role.USER)

    async def make(owner: User) -> Any:
        made, _ = await identity.create_token(account, OPERATOR, owner, scope=Scope.API, name="cli", life_ms=HOUR_MS)
        return made

    token = await make(ann)
    await make(bob)
    with pytest.raises(NameTaken, match="cli"):
        await make(ann)
    clock.advance(60)
    expired = await identity.expire_token(account, OPERATOR, token)
    assert expired.expired_ms == NOW_MS + 60_000
    record = (await log_of(store, account))[-1]
    assert (record["type"], record["action"], record["target_id"]) == ("access_token", "expire", token.id)
    size = len(await log_of(store, account))
    clock.advance(60)
    assert await identity.expire_token(account, OPERATOR, token) == expired  # though the caller's is an old copy
    assert len(await log_of(store, account)) == size
    again = await make(ann)
    assert await identity.token(account, again.id) == again
    with pytest.raises(NotFound):
        await identity.token(account, "0" * 24)
    assert await store.check(no_progress) == []
