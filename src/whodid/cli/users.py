"""``whodid user``: the users of an account."""

from typing import Annotated, Any

from cyclopts import App, Parameter

from whodid.cli.operator import operate
from whodid.cli.options import AccountName, AsJson, RoleName, StoreUrl, UserEmail
from whodid.cli.output import UsageError, say, show_json, show_rows
from whodid.records import render_time
from whodid.store.base import Role, User

_ONE = "--account org-acme-acc0 --email ann@acme.example"

app = App(
    name="user",
    help="Add, list and change the users of an account.",
    help_epilogue=f"Example:\n\n    whodid user add {_ONE} \\\n        --role administrator",
)


@app.command(help_epilogue=f"Example:\n\n    whodid user add {_ONE} \\\n        --role administrator --name Ann")
async def add(
    *,
    account: AccountName,
    email: UserEmail,
    role: RoleName,
    name: Annotated[str, Parameter(help="What people call the user.", show_default=False)] = "",
    user_id: Annotated[
        str | None, Parameter(name="--id", help="24 hex digits; made where it is not given.", show_default=False)
    ] = None,
    store: StoreUrl = None,
    as_json: AsJson = False,
) -> None:
    """Add a user to an account."""
    async with operate(store) as operator:
        home = await operator.identity.account(account)
        user = await operator.identity.add_user(
            home, operator.actor, email=email, role=role, name=name, user_id=user_id
        )
    _show(user, f"added {user.email} ({user.id}) to {account} as {user.role.value}", as_json=as_json)


@app.command(name="list", help_epilogue="Example:\n\n    whodid user list --account org-acme-acc0")
async def list_(*, account: AccountName, store: StoreUrl = None, as_json: AsJson = False) -> None:
    """List the users of an account."""
    async with operate(store) as operator:
        home = await operator.identity.account(account)
        users = await operator.store.users(home.no)
    show_rows([_row(user) for user in users], as_json=as_json, empty=f"{account} has no users")


@app.command(help_epilogue=f"Example:\n\n    whodid user update {_ONE} \\\n        --role auditor")
async def update(
    *,
    account: AccountName,
    email: UserEmail,
    role: RoleName | None = None,
    name: Annotated[str | None, Parameter(help="The user's new name.")] = None,
    new_email: Annotated[str | None, Parameter(help="The user's new e-mail address.")] = None,
    store: StoreUrl = None,
    as_json: AsJson = False,
) -> None:
    """Change a user's role, name or address."""
    if role is None and name is None and new_email is None:
        raise UsageError("nothing to change: give --role, --name or --new-email")
    user = await _change(store, account, email, {"role": role, "name": name, "email": new_email})
    _show(user, f"{user.email} ({user.id}) is {user.role.value} of {account}", as_json=as_json)


@app.command(help_epilogue=f"Example:\n\n    whodid user deactivate {_ONE}")
async def deactivate(
    *, account: AccountName, email: UserEmail, store: StoreUrl = None, as_json: AsJson = False
) -> None:
    """Let a user, and every token of the user, in no longer."""
    user = await _change(store, account, email, {"active": False})
    _show(user, f"{user.email} is deactivated; none of the user's tokens holds", as_json=as_json)


@app.command(help_epilogue=f"Example:\n\n    whodid user activate {_ONE}")
async def activate(*, account: AccountName, email: UserEmail, store: StoreUrl = None, as_json: AsJson = False) -> None:
    """Let a deactivated user in again, and the tokens that have not expired."""
    user = await _change(store, account, email, {"active": True})
    _show(user, f"{user.email} is active", as_json=as_json)


async def _change(store: str | None, account: str, email: str, wanted: dict[str, Any]) -> User:
    async with operate(store) as operator:
        home = await operator.identity.account(account)
        user = await operator.identity.user(home, email)
        return await operator.identity.update_user(home, operator.actor, user, **wanted)


def _show(user: User, sentence: str, *, as_json: bool) -> None:
    if as_json:
        show_json(_row(user))
    else:
        say(sentence)


def _row(user: User) -> dict[str, Any]:
    return {
        "id": user.id,
        "email": user.email,
        "name": user.name,
        "role": Role(user.role).value,
        "active": user.active,
        "created_at": render_time(user.created_ms),
    }
