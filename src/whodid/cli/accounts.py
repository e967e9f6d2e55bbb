"""``whodid account``: the tenants of a store."""

from typing import Annotated, Any

from cyclopts import App, Parameter

from whodid.cli.operator import operate
from whodid.cli.options import AsJson, StoreUrl
from whodid.cli.output import say, show_json, show_rows
from whodid.records import render_time
from whodid.store.base import Account

app = App(
    name="account",
    help="Add and list accounts.",
    help_epilogue="Example:\n\n    whodid account add org-acme-acc0",
)


@app.command(help_epilogue="Example:\n\n    whodid account add org-acme-acc0 --store sqlite:///data/whodid.db")
async def add(
    name: Annotated[str, Parameter(help="1 to 64 lower-case letters, digits, '_' and '-', like org-acme-acc0.")],
    /,
    *,
    store: StoreUrl = None,
    as_json: AsJson = False,
) -> None:
    """Add an account; the store too, where there is none."""
    async with operate(store, create=True) as operator:
        account = await operator.identity.add_account(name, operator.actor)
    if as_json:
        show_json(_row(account))
    else:
        say(f"added the account {account.name}")


@app.command(name="list", help_epilogue="Example:\n\n    whodid account list --json")
async def list_(*, store: StoreUrl = None, as_json: AsJson = False) -> None:
    """List the accounts, with the number of entries in each one's log."""
    async with operate(store) as operator:
        accounts = await operator.store.accounts()
    show_rows([_row(account) for account in accounts], as_json=as_json, empty="there are no accounts")


def _row(account: Account) -> dict[str, Any]:
    return {
        "name": account.name,
        "entries": account.frontier.size,
        "created_at": render_time(account.created_ms),
    }
