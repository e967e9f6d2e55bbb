"""Identity: who calls, users, tokens, and what tokens were used for."""

from typing import Final

from whodid.auth import (
    ASK_WHO,
    CREATE_OWN_TOKENS,
    EXPIRE_OWN_TOKENS,
    MANAGE_TOKENS,
    MANAGE_USERS,
    READ_OWN_TOKENS,
    READ_TOKENS,
    READ_USERS,
    SEARCH,
    Operation,
)
from whodid.errors import InvalidCursor, NameTaken, NotFound
from whodid.identity import USUAL_LIFE_DAYS
from whodid.query.pages import DEFAULT_FOUND, MOST_FOUND
from whodid.records import Id
from whodid.store.base import Role, Scope
from whodid.web.forms import MAX_FORM_BYTES
from whodid.web.identity import (
    MOST_TOKENS,
    IssuedToken,
    Me,
    NewToken,
    NewUser,
    Nothing,
    ShownToken,
    ShownUser,
    Tokens,
    UserChange,
    Users,
)
from whodid.web.openapi.describing import (
    SCHEMAS,
    Call,
    Described,
    Group,
    Sample,
    json_body,
    json_reply,
    parameter,
    part,
    pattern,
)
from whodid.web.openapi.examples import (
    ACCOUNT,
    ADDED_USER,
    CHANGED_USER,
    EXPIRED_TOKEN,
    ISSUED_TOKEN,
    SEARCH_CURSOR,
    SEQ,
    TOKEN,
    TOKEN_ID,
    TOKEN_USE,
    USER,
    USER_ID,
    numbered,
)
from whodid.web.openapi.problems import FORM
from whodid.web.openapi.searching import AFTER_SAYS, CURSOR, limit

GROUP: Final = Group(
    "Users and tokens",
    "Who may do what. Each change is an action in the log. A token's text is shown once, when it is made.",
)

STRUCTS: Final = (Me, Users, Tokens, ShownUser, ShownToken, IssuedToken, NewUser, UserChange, NewToken, Nothing)
"""What is taken and answered; their schemas have their names."""

_BODY_SAYS: Final = f"The body has at most {MAX_FORM_BYTES >> 10} KiB."


def calls() -> dict[str, dict[str, Call]]:
    """The calls, by path and method."""
    return {
        "/api/v2/me": {"get": _me()},
        "/api/v2/users": {"get": _users(), "post": _add_user()},
        "/api/v2/users/{id}": {"patch": _update_user()},
        "/api/v2/tokens": {"get": _tokens(), "post": _create_token()},
        "/api/v2/tokens/{id}/expire": {"post": _expire_token()},
        "/api/v2/tokens/{id}/activity": {"get": _activity()},
    }


def _me() -> Call:
    return Call(
        name="who_am_i",
        group=GROUP,
        summary="Who calls: account, user and token.",
        by=ASK_WHO,
        replies={"200": json_reply("The caller.", "Me", Me(account=ACCOUNT, user=USER, token=TOKEN))},
        sample=Sample(path="/api/v2/me"),
    )


def _users() -> Call:
    return Call(
        name="list_users",
        group=GROUP,
        summary="The users of the account, by address.",
        by=READ_USERS,
        replies={"200": json_reply("The users.", "Users", Users([USER, ADDED_USER]))},
        sample=Sample(path="/api/v2/users"),
    )


def _add_user() -> Call:
    new = NewUser(email="ben@acme.example", role=Role.AUDITOR, name="Ben")
    return Call(
        name="add_user",
        group=GROUP,
        summary="Add a user.",
        says=_BODY_SAYS,
        by=MANAGE_USERS,
        body=_body(NewUser, new),
        replies={"201": json_reply("The new user.", "ShownUser", ADDED_USER)},
        problems=(*FORM, NameTaken),
        sample=Sample(path="/api/v2/users", method="POST", body=new),
    )


def _update_user() -> Call:
    change = UserChange(role=Role.POWER_USER, active=True)
    return Call(
        name="update_user",
        group=GROUP,
        summary="Change a user: address, name, role, or whether they are active.",
        says=(
            "What is left out stays; something must be given. The tokens of a user who is not active open "
            f"nothing, from now on. {_BODY_SAYS}"
        ),
        by=MANAGE_USERS,
        parameters=[part("id", "The user's id.", pattern(Id), ADDED_USER.id)],
        body=_body(UserChange, change),
        replies={"200": json_reply("The user as it is now.", "ShownUser", CHANGED_USER)},
        problems=(*FORM, NotFound, NameTaken),
        sample=Sample(path=f"/api/v2/users/{ADDED_USER.id}", method="PATCH", body=change),
    )


def _tokens() -> Call:
    owner = parameter("user_id", "Only the tokens of this user.", pattern(Id), USER_ID)
    return Call(
        name="list_tokens",
        group=GROUP,
        summary="Tokens, the newest first: one's own; to administrators, all of the account.",
        says=f"{_of_others(READ_TOKENS)} The texts of tokens are nowhere kept.",
        by=READ_OWN_TOKENS,
        parameters=[owner],
        replies={"200": json_reply("The tokens.", "Tokens", Tokens([TOKEN]))},
        sample=Sample(path="/api/v2/tokens"),
    )


def _create_token() -> Call:
    new = NewToken(name="siem", scope=Scope.SECURITY_LOGS, expires="90d")
    return Call(
        name="create_token",
        group=GROUP,
        summary="Make a token.",
        says=(
            "The reply has the token's text: the only place where it ever is. `expires` is an age or a time, a year "
            f"ahead at most; {USUAL_LIFE_DAYS}d without it. Only an administrator's token makes one that lives longer "
            f"than itself. While {MOST_TOKENS} tokens of a user have not expired, no more are made (409). "
            f"{_of_others(MANAGE_TOKENS)} {_BODY_SAYS}"
        ),
        by=CREATE_OWN_TOKENS,
        body=_body(NewToken, new),
        replies={"201": json_reply("The new token, with its text.", "IssuedToken", ISSUED_TOKEN)},
        problems=(*FORM, NotFound, NameTaken),
        sample=Sample(path="/api/v2/tokens", method="POST", body=new),
    )


def _expire_token() -> Call:
    return Call(
        name="expire_token",
        group=GROUP,
        summary="Expire a token: it opens nothing, from now on.",
        says=f"One that has expired stays as it is. {_of_others(MANAGE_TOKENS)}",
        by=EXPIRE_OWN_TOKENS,
        parameters=[_token_part()],
        body=_body(Nothing, Nothing(), required=False),
        replies={"200": json_reply("The token as it is now.", "ShownToken", EXPIRED_TOKEN)},
        problems=(*FORM, NotFound),
        sample=Sample(path=f"/api/v2/tokens/{TOKEN_ID}/expire", method="POST"),
    )


def _activity() -> Call:
    example = {"data": [numbered(SEQ + 1, TOKEN_USE)], "next": None}
    return Call(
        name="token_activity",
        group=GROUP,
        summary="What a token was used for, the newest first.",
        says=f"Tokens of others: only for whoever may search the log ({', '.join(sorted(SEARCH.roles))}).",
        by=READ_OWN_TOKENS,
        parameters=[
            _token_part(),
            limit(MOST_FOUND, DEFAULT_FOUND),
            parameter("after", AFTER_SAYS, CURSOR, SEARCH_CURSOR),
        ],
        replies={"200": json_reply("A page of token uses.", "SearchPage", example)},
        headers=("Link",),
        problems=(NotFound, InvalidCursor),
        sample=Sample(path=f"/api/v2/tokens/{TOKEN_ID}/activity", query=("limit=20",)),
    )


def _token_part() -> Described:
    return part("id", "The token's id.", pattern(Id), TOKEN_ID)


def _of_others(operation: Operation) -> str:
    """Who may do it with the tokens of others."""
    return f"Tokens of others: only with the role {' or '.join(sorted(operation.roles))}."


def _body(struct: type, example: object, *, required: bool = True) -> Described:
    return json_body({"$ref": SCHEMAS + struct.__name__}, {"example": ("As it may be", example)}, required=required)
