"""Identity: the rules of accounts, users and tokens, and the action that each change leaves in the account's log.

A change and the action that tells of it are one submission: neither is ever there without the other. A change is
made of what is stored, under the identity version of then: where another process was faster, it is refused
(``StaleIdentity``) and never undoes the other's.

What holds for whoever asks is here; which scope and role open a call is in ``auth``. One rule binds the users of an
account and not the operator: they leave it an active administrator. The operator can make another one at any time.
"""

import copy
import re
import secrets
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Self, TypeAlias

from msgspec import UNSET
from msgspec.structs import replace

from whodid.errors import Conflict, InvalidParameter, NotFound, WhodidError
from whodid.records import DAY_MS, OPERATOR_ID, Action, Change, Event, IdMakers, Kind, complete, is_name, render_time
from whodid.store.base import (
    Account,
    IdentityChange,
    PutToken,
    PutUser,
    Role,
    Scope,
    Store,
    Submission,
    Token,
    User,
)
from whodid.tokens import digest_of, make_token, without_tokens

LONGEST_LIFE_DAYS = 365
"""A token expires after a year at most."""

USUAL_LIFE_DAYS = 90
"""After how long one expires that was asked for without an end."""

_LONGEST_SELECTION = 4096
"""How many characters an action has at most that tell what was exported."""

_EMAIL = re.compile(r"[^@\s\x00-\x1f\x7f\ud800-\udfff]+@[^@\s\x00-\x1f\x7f\ud800-\udfff]+").fullmatch
_ID = re.compile(r"[0-9a-f]{24}", re.ASCII).fullmatch
_LABEL = re.compile(r"[^\x00-\x1f\x7f\ud800-\udfff]{1,100}").fullmatch


@dataclass(frozen=True, slots=True)
class Actor:
    """Who makes a change: a user of the account, or the operator at the command line."""

    user_id: str = OPERATOR_ID
    email: str | None = None
    details: dict[str, Any] = field(default_factory=dict)
    """What else is known, for the action's ``metadata``."""
    ip_address: str | None = None
    user_agent: str | None = None
    request_id: str | None = None

    @property
    def operates(self) -> bool:
        """Whether this is the operator."""
        return self.user_id == OPERATOR_ID


Append: TypeAlias = Callable[[Submission], Awaitable[object]]
"""Appends a submission durably, or raises what it is refused with."""


class Identity:
    """Makes and changes accounts, users and tokens."""

    def __init__(
        self,
        store: Store,
        *,
        clock: Callable[[], int],
        random_bytes: Callable[[int], bytes] = secrets.token_bytes,
        append: Append | None = None,
    ) -> None:
        """``append`` is how changes get into the store: in a server through its sequencer, else straight."""
        self._store = store
        self._clock = clock
        self._random_bytes = random_bytes
        self._append = append or self._append_alone
        self._ids = IdMakers(random_bytes)

    def through(self, append: Append) -> Self:
        """The same rules, whose changes get into the store in another way."""
        other = copy.copy(self)
        other._append = append  # noqa: SLF001 (of the same class)
        return other

    async def add_account(self, name: str, actor: Actor) -> Account:
        """Add an account; its log begins with the action that tells of it. Raises ``NameTaken``."""
        if not is_name(name):
            raise InvalidParameter(
                f"an account's name must be 1 to 64 lower-case letters, digits, '_' and '-', not {name!r}"
            )
        _refuse_token(name, "an account's name")
        return await self._store.add_account(
            name, self._clock(), self._action(name, actor, "account", "create", target_id=None, target_name=name)
        )

    async def account(self, name: str) -> Account:
        """The account of this name. Raises ``NotFound``."""
        account = await self._store.account(name)
        if account is None:
            raise NotFound(f"there is no account {name!r}; 'whodid account list' shows those there are")
        return account

    async def user(self, account: Account, email: str) -> User:
        """The account's user with this address. Raises ``NotFound``."""
        user = await self._store.user(account.no, email=email)
        if user is None:
            raise NotFound(f"{account.name} has no user {email!r}; 'whodid user list' shows those there are")
        return user

    async def user_of(self, account: Account, user_id: str) -> User:
        """The account's user with this id. Raises ``NotFound``."""
        return _find(account, await self._store.users(account.no), user_id)

    async def add_user(
        self,
        account: Account,
        actor: Actor,
        *,
        email: str,
        role: Role,
        name: str = "",
        user_id: str | None = None,
    ) -> User:
        """Add a user. Raises ``NameTaken`` where the account has the address, ``Conflict`` where it has the id."""
        now_ms = self._clock()
        if user_id is not None and _ID(user_id) is None:
            raise InvalidParameter(f"a user's id must be 24 hex digits in lower case, not {user_id!r}")
        if user_id == OPERATOR_ID:
            raise InvalidParameter(f"{OPERATOR_ID} stands for the operator; no user can have it")
        version = await self._store.identity_version(account.no)
        if user_id is not None and user_id in await self._store.addresses(account.no):
            raise Conflict(f"{account.name} has a user with the id {user_id} already")
        user_id = user_id or self._ids.of(account.name)(now_ms)
        user = User(user_id, _check_email(email), _check_name(name), role, True, now_ms)  # noqa: FBT003 (active)
        action = self._action(
            account.name,
            actor,
            "user",
            "create",
            target_id=user.id,
            target_name=user.email,
            changes={"role": Change(None, role.value)},
        )
        await self._commit(account, action, PutUser(user), version)
        return user

    async def update_user(
        self,
        account: Account,
        actor: Actor,
        user: User,
        *,
        email: str | None = None,
        role: Role | None = None,
        name: str | None = None,
        active: bool | None = None,
    ) -> User:
        """Change what is given of a user; nothing is recorded where nothing changes.

        Raises ``NameTaken``, and ``Conflict`` where the account would have no active administrator any more.
        """
        wanted = {
            "email": None if email is None else _check_email(email),
            "role": role,
            "name": None if name is None else _check_name(name),
            "active": active,
        }
        version, users = await self._stored(account)
        user = _find(account, users, user.id)
        new = {key: value for key, value in wanted.items() if value is not None and value != getattr(user, key)}
        if not new:
            return user
        changes = {key: Change(_plain(getattr(user, key)), _plain(value)) for key, value in new.items()}
        changed = replace(user, **new)
        if not actor.operates:
            _check_administrated(user, changed, users)
        action = self._action(
            account.name, actor, "user", "update", target_id=user.id, target_name=changed.email, changes=changes
        )
        await self._commit(account, action, PutUser(changed), version)
        return changed

    async def create_token(
        self,
        account: Account,
        actor: Actor,
        owner: User,
        *,
        scope: Scope,
        name: str,
        life_ms: int | None = None,
        expires_ms: int | None = None,
        latest_ms: int | None = None,
    ) -> tuple[Token, str]:
        """Make a token; it and its text, which is nowhere kept. Raises ``NameTaken``.

        It expires after ``life_ms``, or at ``expires_ms``; without both, after the usual life. But not after
        ``latest_ms``, the end of the token that asks for it: a later end is refused, the usual life is cut.
        """
        now_ms = self._clock()
        if life_ms is not None:
            expires_ms = now_ms + life_ms
        expires_ms = _check_end(now_ms, expires_ms, latest_ms)
        if not name or _LABEL(name) is None:
            raise InvalidParameter("a token's name must be 1 to 100 characters, without control characters")
        _refuse_token(name, "a name")
        version, users = await self._stored(account)
        owner = _find(account, users, owner.id)
        if not owner.active:
            raise Conflict(f"{owner.email} is deactivated; activate the user first")
        text = make_token(self._random_bytes)
        token_id = self._ids.of(account.name)(now_ms)
        token = Token(token_id, owner.id, name, scope, digest_of(text), now_ms, expires_ms)
        action = self._action(
            account.name, actor, "access_token", "create", target_id=token.id, target_name=name,
            metadata={"scope": scope.value, "owner": owner.email, "expires_at": render_time(token.expires_ms)},
        )  # fmt: skip
        await self._commit(account, action, PutToken(token), version)
        return token, text

    async def token(self, account: Account, token_id: str) -> Token:
        """The account's token with this id. Raises ``NotFound``."""
        for token in await self._store.tokens(account.no):
            if token.id == token_id:
                return token
        raise NotFound(f"{account.name} has no token with the id {token_id!r}; list the tokens to see those there are")

    async def expire_token(self, account: Account, actor: Actor, token: Token) -> Token:
        """Let a token hold no longer, from now on; nothing is recorded where it is expired already."""
        version = await self._store.identity_version(account.no)
        token = await self.token(account, token.id)
        if token.expired_ms is not None:
            return token
        expired = replace(token, expired_ms=self._clock())
        action = self._action(account.name, actor, "access_token", "expire", target_id=token.id, target_name=token.name)
        await self._commit(account, action, PutToken(expired), version)
        return expired

    async def _stored(self, account: Account) -> tuple[int | None, list[User]]:
        """The account's identity version, and its users; if they are newer than it, no commit under it succeeds."""
        version = await self._store.identity_version(account.no)
        return version, await self._store.users(account.no)

    async def record_export(self, account: Account, actor: Actor, selection: dict[str, Any]) -> None:
        """Leave the action that tells of an export; ``selection`` says what is exported.

        It is the caller's text, so it is told without tokens, shortened, and apart from what is known of the actor.
        """
        action = self._action(
            account.name,
            actor,
            "export",
            "export",
            target_id=None,
            target_name=account.name,
            metadata={"selection": _shortened(selection)},
        )
        await self._append(Submission(account.no, [action]))

    async def record_key(self, account: Account, actor: Actor, old: str, new: str) -> None:
        """Leave the action that tells a log's new verifier key."""
        action = self._action(
            account.name,
            actor,
            "account",
            "update",
            target_id=None,
            target_name=account.name,
            changes={"verifier_key": Change(old, new)},
        )
        await self._append(Submission(account.no, [action]))

    async def _commit(self, account: Account, action: Event, change: IdentityChange, version: int | None) -> None:
        await self._append(Submission(account.no, [action], (change,), version))

    async def _append_alone(self, submission: Submission) -> None:
        (result,) = await self._store.append([submission])
        if isinstance(result, WhodidError):
            raise result

    def _action(
        self,
        account: str,
        actor: Actor,
        type_: str,
        action: str,
        *,
        target_id: str | None,
        target_name: str,
        changes: dict[str, Change] | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> Event:
        now_ms = self._clock()
        more = actor.details | (metadata or {}) | actor.details  # first, and nothing takes their place
        body = Action(
            user_id=actor.user_id,
            user_email=actor.email,
            type=type_,
            action=action,
            target_id=target_id,
            target_name=target_name,
            ip_address=actor.ip_address or UNSET,
            user_agent=actor.user_agent or UNSET,
            request_id=actor.request_id or UNSET,
            changes=changes or UNSET,
            metadata=more or UNSET,
        )
        return complete(
            body,
            kind=Kind.ACTION,
            record_id=self._ids.of(account)(now_ms),
            account=account,
            created_ms=now_ms,
            recorded_ms=now_ms,
        )


def _check_end(now_ms: int, expires_ms: int | None, latest_ms: int | None) -> int:
    """When a new token expires."""
    usual_ms = now_ms + USUAL_LIFE_DAYS * DAY_MS
    if expires_ms is None:
        expires_ms = usual_ms if latest_ms is None else min(usual_ms, latest_ms)
    if latest_ms is not None and expires_ms > latest_ms:
        raise InvalidParameter(
            f"the token must expire at {render_time(latest_ms)} at the latest, as the token does that asks for it; "
            "only an administrator's may make one that lives longer"
        )
    if not 1000 <= expires_ms - now_ms <= LONGEST_LIFE_DAYS * DAY_MS:
        raise InvalidParameter("a token expires after at least a second and at most a year (365d)")
    return expires_ms


def _find(account: Account, users: Iterable[User], user_id: str) -> User:
    for user in users:
        if user.id == user_id:
            return user
    raise NotFound(f"{account.name} has no user with the id {user_id}; list the users to see those there are")


def _check_administrated(user: User, changed: User, users: Iterable[User]) -> None:
    """Refuse to take the last administrator away from an account."""
    others = (other for other in users if other.id != user.id)
    if _administrates(user) and not _administrates(changed) and not any(map(_administrates, others)):
        raise Conflict(
            f"{user.email} is the last active administrator of the account; make another user an administrator first"
        )


def _administrates(user: User) -> bool:
    return user.active and user.role == Role.ADMINISTRATOR


def _check_email(email: str) -> str:
    _refuse_token(email, "an e-mail address")
    if len(email) > 254 or _EMAIL(email) is None:
        raise InvalidParameter(
            f"an e-mail address like ann@acme.example is needed, of at most 254 characters, not {email!r}"
        )
    return email


def _check_name(name: str) -> str:
    if name and _LABEL(name) is None:
        raise InvalidParameter("a name must be at most 100 characters, without control characters")
    _refuse_token(name, "a name")
    return name


def _refuse_token(text: str, what: str) -> None:
    """What stands in the log for ever: whoever mistakes a token for a name or an address is not to publish it."""
    if without_tokens(text) != text:
        raise InvalidParameter(f"{what} must not have an access token in it")


def _shortened(selection: dict[str, Any]) -> dict[str, Any]:
    """The same without tokens, of bounded length together: of texts that are too long, the longest are cut."""
    told = {
        without_tokens(name): without_tokens(value) if isinstance(value, str) else value
        for name, value in selection.items()
    }
    left = _LONGEST_SELECTION - sum(map(len, told))
    texts = sorted((name for name, value in told.items() if isinstance(value, str)), key=lambda name: len(told[name]))
    for number, name in enumerate(texts):
        share = left // (len(texts) - number)
        if len(told[name]) > share:
            told[name] = f"{told[name][:share]}…"
        left -= min(len(told[name]), share)
    return told


def _plain(value: Any) -> Any:
    return value.value if isinstance(value, Role) else value
