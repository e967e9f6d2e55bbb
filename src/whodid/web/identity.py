"""The pages of identity: who calls, the users of the caller's account, and its access tokens.

What the pages take and what they answer are the structs here, in the order of their fields; another account's users and
tokens are to nobody any different from those that do not exist. A token's text is in one answer only: that which tells
that it was made.
"""

import re
from typing import Annotated, Any, Final, TypeAlias

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType
from starlette.responses import Response

from whodid.auth import (
    ASK_WHO,
    CREATE_OWN_TOKENS,
    EXPIRE_OWN_TOKENS,
    MANAGE_TOKENS,
    MANAGE_USERS,
    READ_OWN_TOKENS,
    READ_TOKENS,
    READ_USERS,
    Operation,
    Principal,
    refuse,
)
from whodid.changing import Caller
from whodid.errors import Conflict, InvalidParameter, Unauthenticated
from whodid.query.parameters import Parameters, once_each, parse_age, quoted
from whodid.records import Email, Id, Time, parse_time, pattern_of, render_time
from whodid.service import Service
from whodid.store.base import Role, Scope, Token, User
from whodid.web.exchange import Exchange
from whodid.web.forms import read_form

JSON = "application/json"

MOST_TOKENS: Final = 100
"""How many tokens of one owner may hold at once, for another to be made here; the operator may make more."""

_ID = pattern_of(Id)
_AGE = re.compile(r"[0-9]+[a-z]", re.ASCII).fullmatch

RoleName: TypeAlias = Annotated[Role, Meta(description=f"one of {', '.join(Role)}", examples=["auditor"])]
ScopeName: TypeAlias = Annotated[Scope, Meta(description=f"one of {', '.join(Scope)}", examples=["security-logs"])]
UserName: TypeAlias = Annotated[
    str, Meta(max_length=100, description="a string of at most 100 characters, none of them a control character")
]
TokenName: TypeAlias = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=100,
        description="a string of 1 to 100 characters, none of them a control character",
        examples=["siem"],
    ),
]
Active: TypeAlias = Annotated[bool, Meta(description="true or false")]
Expiry: TypeAlias = Annotated[
    str,
    Meta(
        description="an age like 90d, or a time like 2026-07-30T16:13:52Z (RFC 3339), a year ahead at most",
        examples=["90d"],
    ),
]


class NewUser(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A user to be added."""

    email: Email
    role: RoleName
    name: UserName = ""


class UserChange(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is to be another with a user; what is left out stays."""

    email: Email | UnsetType = UNSET
    name: UserName | UnsetType = UNSET
    role: RoleName | UnsetType = UNSET
    active: Active | UnsetType = UNSET


class NewToken(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A token to be made."""

    name: TokenName
    scope: ScopeName
    expires: Expiry | UnsetType = UNSET
    """After how long, or when; after the usual life where it is left out."""
    user_id: Id | UnsetType = UNSET
    """Whose it is to be; the caller's where it is left out."""


class Nothing(Struct, frozen=True, forbid_unknown_fields=True):
    """Of calls that need no more than their path."""


class ShownUser(Struct, frozen=True, kw_only=True):
    """A user, as everyone sees it who may."""

    id: Id
    email: Email
    name: str
    role: Role
    active: bool
    createdAt: Time  # noqa: N815 (the wire's name)


class ShownToken(Struct, frozen=True, kw_only=True):
    """A token, as everyone sees it who may: without its text."""

    id: Id
    name: str
    scope: Scope
    user_id: Id
    user_email: Email
    createdAt: Time  # noqa: N815
    expiresAt: Time  # noqa: N815
    expiredAt: Time | None  # noqa: N815
    """When it was expired before its time; null if it was not."""
    active: bool
    """Whether it opens anything now: it has not expired, and its owner is active."""


class IssuedToken(ShownToken, frozen=True, kw_only=True):
    """A token that was made just now."""

    token: str
    """Its text, which is nowhere kept."""


class Me(Struct, frozen=True, kw_only=True):
    """Who calls."""

    account: str
    user: ShownUser
    token: ShownToken


class Users(Struct, frozen=True):
    """The users of an account, by address."""

    data: list[ShownUser]


class Tokens(Struct, frozen=True):
    """Tokens, the newest first."""

    data: list[ShownToken]


class IdentityPages:
    """The handlers."""

    def __init__(self, service: Service) -> None:
        self._gate = service.gate
        self._store = service.store
        self._changer = service.changer
        self._clock = service.clock

    async def me(self, exchange: Exchange) -> Response:
        """The caller: account, user and token."""
        principal = await self._admit(exchange, ASK_WHO)
        credential = await self._store.credential(principal.digest)
        if credential is None:
            raise Unauthenticated
        token, user, account = credential
        return _answer(Me(account=account.name, user=_user(user), token=self._token(token, user)))

    async def users(self, exchange: Exchange) -> Response:
        """All users of the account."""
        principal = await self._admit(exchange, READ_USERS)
        return _answer(Users([_user(user) for user in await self._store.users(principal.account_no)]))

    async def add_user(self, exchange: Exchange) -> Response:
        """A new user."""

        async def add(caller: Caller, asked: NewUser) -> User:
            return await caller.identity.add_user(
                caller.account, caller.actor, email=asked.email, role=asked.role, name=asked.name
            )

        user = await self._changer.change(
            exchange.bearer, exchange.call, MANAGE_USERS, lambda: read_form(exchange, NewUser), add
        )
        return _answer(_user(user), 201)

    async def update_user(self, exchange: Exchange) -> Response:
        """A user, changed."""

        async def ask() -> tuple[str, dict[str, Any]]:
            user_id = _id_in(exchange)
            given = msgspec.structs.asdict(await read_form(exchange, UserChange))
            wanted = {name: value for name, value in given.items() if value is not UNSET}
            if not wanted:
                raise InvalidParameter(f"nothing is to be changed; give at least one of {', '.join(given)}")
            return user_id, wanted

        async def update(caller: Caller, asked: tuple[str, dict[str, Any]]) -> User:
            user_id, wanted = asked
            user = await caller.identity.user_of(caller.account, user_id)
            return await caller.identity.update_user(caller.account, caller.actor, user, **wanted)

        user = await self._changer.change(exchange.bearer, exchange.call, MANAGE_USERS, ask, update)
        return _answer(_user(user))

    async def tokens(self, exchange: Exchange) -> Response:
        """The caller's tokens; to administrators all of the account, or those of one user."""
        me = await self._gate.identify(exchange.bearer)
        operation, fault, user_id = READ_OWN_TOKENS, None, None
        try:
            user_id = _parse_owner(exchange.parameters)
        except InvalidParameter as error:
            fault = error
        if user_id not in (None, me.user_id):
            operation = READ_TOKENS
        principal = await self._gate.admit(exchange.bearer, exchange.call, operation, fault)
        if user_id is None and refuse(principal, READ_TOKENS) is not None:
            user_id = principal.user_id
        tokens = await self._store.tokens(principal.account_no)
        owners = {user.id: user for user in await self._store.users(principal.account_no)}  # after their tokens
        wanted = [token for token in tokens if user_id in (None, token.user_id)]
        return _answer(Tokens([self._token(token, owners[token.user_id]) for token in wanted]))

    async def create_token(self, exchange: Exchange) -> Response:
        """A new token with its text, of the caller; or of another user, if an administrator asks.

        Only an administrator's lives longer than the token that asks for it: whoever got hold of a token for a while
        could else keep a way in. Administrators may add users, so they could make themselves one anyway.
        """

        async def create(caller: Caller, asked: NewToken) -> tuple[Token, str, User]:
            owner_id = caller.principal.user_id if asked.user_id is UNSET else asked.user_id
            if owner_id != caller.principal.user_id:
                caller.must(MANAGE_TOKENS)
            owner = await caller.identity.user_of(caller.account, owner_id)
            end = {} if asked.expires is UNSET else _parse_expiry(asked.expires)
            if refuse(caller.principal, MANAGE_TOKENS):
                end["latest_ms"] = caller.principal.expires_ms
            await self._check_room(caller, owner)
            token, text = await caller.identity.create_token(
                caller.account, caller.actor, owner, scope=asked.scope, name=asked.name, **end
            )
            return token, text, owner

        token, text, owner = await self._changer.change(
            exchange.bearer, exchange.call, CREATE_OWN_TOKENS, lambda: read_form(exchange, NewToken), create
        )
        shown = msgspec.structs.asdict(self._token(token, owner))
        return _answer(IssuedToken(**shown, token=text), 201)

    async def expire_token(self, exchange: Exchange) -> Response:
        """A token, expired: the caller's, or any of the account, if an administrator asks."""

        async def ask() -> str:
            await read_form(exchange, Nothing)
            return _id_in(exchange)

        async def expire(caller: Caller, token_id: str) -> tuple[Token, User]:
            token = await caller.identity.token(caller.account, token_id)
            if token.user_id != caller.principal.user_id:
                caller.must(MANAGE_TOKENS)
            owner = await caller.identity.user_of(caller.account, token.user_id)
            return await caller.identity.expire_token(caller.account, caller.actor, token), owner

        token, owner = await self._changer.change(exchange.bearer, exchange.call, EXPIRE_OWN_TOKENS, ask, expire)
        return _answer(self._token(token, owner))

    async def _check_room(self, caller: Caller, owner: User) -> None:
        """Raise ``Conflict`` where the owner has as many tokens as may be.

        Two calls at once don't both get the last one: a commit under the version that was counted under is refused
        where another one came before it.
        """
        now_ms = self._clock()
        tokens = await self._store.tokens(caller.account.no)
        if sum(token.user_id == owner.id and _holds(token, now_ms) for token in tokens) >= MOST_TOKENS:
            raise Conflict(f"{owner.email} has {MOST_TOKENS} tokens that have not expired, the most; expire one first")

    async def _admit(self, exchange: Exchange, operation: Operation) -> Principal:
        """Who makes a call that has no parameters; it is recorded."""
        fault = None
        try:
            once_each(exchange.parameters, ())
        except InvalidParameter as error:
            fault = error
        return await self._gate.admit(exchange.bearer, exchange.call, operation, fault)

    def _token(self, token: Token, owner: User) -> ShownToken:
        expired_ms = token.expired_ms
        return ShownToken(
            id=token.id,
            name=token.name,
            scope=token.scope,
            user_id=owner.id,
            user_email=owner.email,
            createdAt=render_time(token.created_ms),
            expiresAt=render_time(token.expires_ms),
            expiredAt=None if expired_ms is None else render_time(expired_ms),
            active=owner.active and _holds(token, self._clock()),
        )


def _holds(token: Token, now_ms: int) -> bool:
    """Whether it has not expired, neither by time nor by its owner."""
    return token.expired_ms is None and now_ms < token.expires_ms


def _user(user: User) -> ShownUser:
    return ShownUser(
        id=user.id,
        email=user.email,
        name=user.name,
        role=user.role,
        active=user.active,
        createdAt=render_time(user.created_ms),
    )


def _answer(content: Struct, status: int = 200) -> Response:
    return Response(msgspec.json.encode(content), status, media_type=JSON)


def _id_in(exchange: Exchange) -> str:
    """The id that the path names; what it has instead is not repeated, since that may be a token's text."""
    return _checked_id(exchange.parts["id"], "the id in the path must be 24 hex digits in lower case")


def _parse_owner(parameters: Parameters) -> str | None:
    user_id = once_each(parameters, ("user_id",)).get("user_id")
    if user_id is None:
        return None
    return _checked_id(user_id, f"user_id must be 24 hex digits in lower case, not {quoted(user_id)}")


def _checked_id(text: str, says: str) -> str:
    assert _ID is not None
    if _ID.fullmatch(text) is None:
        raise InvalidParameter(says)
    return text


def _parse_expiry(text: str) -> dict[str, int]:
    """How long a token lives, or until when, as ``Identity.create_token`` takes it. Raises ``InvalidParameter``."""
    if _AGE(text):
        return {"life_ms": parse_age(text, "expires")}
    try:
        return {"expires_ms": parse_time(text)}
    except ValueError:
        raise InvalidParameter(
            f"expires must be an age like 90d, or a time like 2026-07-30T16:13:52Z (RFC 3339), not {quoted(text)}"
        ) from None
