"""``whodid token``: access tokens. A token's text is printed once, alone on standard output, and kept nowhere."""

from typing import Annotated, Any

from cyclopts import App, Parameter

from whodid.cli.operator import operate
from whodid.cli.options import AccountName, AsJson, ScopeName, StoreUrl, UserEmail, parse_life
from whodid.cli.output import UsageError, note, say, show_json, show_rows, time_or_none
from whodid.clock import wall_clock
from whodid.records import render_time
from whodid.store.base import Token
from whodid.tokens import PREFIX

app = App(
    name="token",
    help="Create, list and expire access tokens.",
    help_epilogue="Example:\n\n    whodid token list --account org-acme-acc0",
)

_ONE = "--account org-acme-acc0 --email ann@acme.example"


@app.command(
    help_epilogue=f"Example:\n\n    whodid token create {_ONE} \\\n        --scope api --name laptop --expires 90d\n\n"
    f"    whodid token create {_ONE} \\\n"
    "        --scope security-logs --name siem --expires 365d > siem.token"
)
async def create(
    *,
    account: AccountName,
    email: UserEmail,
    scope: ScopeName,
    name: Annotated[str, Parameter(help="A name to know it by; unique among the user's tokens.")],
    expires: Annotated[str, Parameter(help="After how long: 30s, 13m, 1h, 90d, 2w; at most 365d.")] = "90d",
    store: StoreUrl = None,
) -> None:
    """Create a token, and print it: this once, and nothing else on standard output."""
    life_ms = parse_life(expires, "--expires")
    async with operate(store) as operator:
        home = await operator.identity.account(account)
        owner = await operator.identity.user(home, email)
        token, text = await operator.identity.create_token(
            home, operator.actor, owner, scope=scope, name=name, life_ms=life_ms
        )
    say(text)
    note(
        f"{token.id}: {owner.email}, scope {scope.value}, until {render_time(token.expires_ms)}; it is not shown again"
    )


@app.command(name="list", help_epilogue=f"Example:\n\n    whodid token list {_ONE}")
async def list_(
    *,
    account: AccountName,
    email: Annotated[str | None, Parameter(help="Only the tokens of the user with this address.")] = None,
    store: StoreUrl = None,
    as_json: AsJson = False,
) -> None:
    """List the tokens of an account, the newest first; never their texts."""
    async with operate(store) as operator:
        home = await operator.identity.account(account)
        owner = None if email is None else await operator.identity.user(home, email)
        addresses = await operator.store.addresses(home.no)
        tokens = await operator.store.tokens(home.no)
    rows = [_row(token, addresses[token.user_id]) for token in tokens if owner is None or token.user_id == owner.id]
    show_rows(rows, as_json=as_json, empty=f"{email or account} has no tokens")


@app.command(help_epilogue="Example:\n\n    whodid token expire --account org-acme-acc0 61043b2bbcb6d95b55adc5fd")
async def expire(
    token_id: Annotated[str, Parameter(name="ID", help="The token's id, as 'whodid token list' shows it.")],
    /,
    *,
    account: AccountName,
    store: StoreUrl = None,
    as_json: AsJson = False,
) -> None:
    """Let a token hold no longer, from now on."""
    if token_id.startswith(PREFIX):  # the text of a token must not get into a message
        raise UsageError("that is a token, not a token's id; 'whodid token list' shows the ids")
    async with operate(store) as operator:
        home = await operator.identity.account(account)
        token = await operator.identity.token(home, token_id)
        token = await operator.identity.expire_token(home, operator.actor, token)
        addresses = await operator.store.addresses(home.no)
    if as_json:
        show_json(_row(token, addresses[token.user_id]))
    else:
        say(f"expired {token.name} ({token.id}) of {addresses[token.user_id]}")


def _row(token: Token, owner: str) -> dict[str, Any]:
    return {
        "id": token.id,
        "email": owner,
        "name": token.name,
        "scope": token.scope.value,
        "valid": token.expired_ms is None and wall_clock() < token.expires_ms,
        "created_at": render_time(token.created_ms),
        "expires_at": render_time(token.expires_ms),
        "expired_at": time_or_none(token.expired_ms),
    }
