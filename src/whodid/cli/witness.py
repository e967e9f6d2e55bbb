"""``whodid witness``: how far the witnesses are that checkpoints are sent to."""

from typing import Any

from cyclopts import App

from whodid.cli.operator import operate
from whodid.cli.options import AsJson, OneAccount, StoreUrl
from whodid.cli.output import show_rows, time_or_none
from whodid.store.base import Account, WitnessState

app = App(
    name="witness",
    help="Show how far the witnesses are.",
    help_epilogue="Example:\n\n    whodid witness status",
)


@app.command(
    help_epilogue="Example:\n\n    whodid witness status --account org-acme-acc0\n\n"
    "It shows what a server has noted in the store; whether one runs now does not matter. 'behind' counts the entries "
    "that the witness has not cosigned yet; 'error' is why it did not cosign the last checkpoint that it was sent."
)
async def status(
    *,
    account: OneAccount = None,
    store: StoreUrl = None,
    as_json: AsJson = False,
) -> None:
    """Show how far each witness is with each account's log."""
    async with operate(store) as operator:
        known = [await operator.identity.account(account)] if account else await operator.store.accounts()
        states = await operator.store.witness_states()
    accounts = {one.no: one for one in known}
    rows = [_row(accounts[state.account_no], state) for state in states if state.account_no in accounts]
    rows.sort(key=lambda row: (row["account"], row["witness"]))
    show_rows(rows, as_json=as_json, empty="no witness has been asked yet; the setting 'witnesses' names them")


def _row(account: Account, state: WitnessState) -> dict[str, Any]:
    return {
        "account": account.name,
        "witness": state.witness,
        "size": state.size,
        "behind": max(0, account.frontier.size - state.size),
        "cosigned": time_or_none(state.cosigned_ms),
        "error": state.error,
    }
