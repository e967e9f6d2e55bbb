"""``whodid verify-store``: whether everything in the store is as it must be."""

from typing import Annotated

from cyclopts import App, Parameter

from whodid.cli.operator import Operator, operate
from whodid.cli.options import AsJson, StoreUrl
from whodid.cli.output import complain, note, say, show_json, show_table
from whodid.cli.progress import Meter
from whodid.config import load_settings
from whodid.evidence.opening import find_keyring, open_ledger
from whodid.evidence.reviewing import review
from whodid.store.base import Finding

app = App(
    name="verify-store",
    help="Check the whole store: every record, every tree, the search index, what was signed.",
    help_epilogue="Example:\n\n    whodid verify-store --store sqlite:///data/whodid.db\n\n"
    "A server may run meanwhile. Status: 0 the store is sound, 1 it is not.",
)


@app.default
async def verify_store(
    *,
    rebuild_search: Annotated[
        bool, Parameter(negative=(), help="First make the search index anew from the records.", show_default=False)
    ] = False,
    store: StoreUrl = None,
    as_json: AsJson = False,
) -> int:
    """Check the whole store: every record, every tree, the search index, what was signed."""
    async with operate(store) as operator:
        if rebuild_search:
            with Meter("rebuilding the search index", unit="entries") as meter:
                indexed = await operator.store.rebuild_search(meter)
            note(f"the search index was made anew, of {indexed} entries")
        accounts, entries = await _sizes(operator)
        with Meter("checking", unit="entries") as meter:
            findings = await operator.store.check(meter)
        checkpoints, contradictions = await _review(operator, store)
        findings += contradictions
    if as_json:
        sizes = {"accounts": accounts, "entries": entries, "checkpoints": checkpoints}
        show_json({"sound": not findings, **sizes, "findings": _rows(findings)})
    elif findings:
        _show(findings)
    else:
        signed = f"{_counted(checkpoints, 'signed checkpoint')} compared" if checkpoints else "nothing signed yet"
        say(f"the store is sound: {_counted(accounts, 'account')}, {entries} entries, {signed}")
    return 1 if findings else 0


async def _review(operator: Operator, store: str | None) -> tuple[int, list[Finding]]:
    """What was signed, beside the store: so an old copy of it, or one that was made over as a whole, is found out."""
    settings = load_settings({"store": store})
    keyring = find_keyring(settings)
    return await review(operator.store, open_ledger(settings), keyring.current() if keyring else None)


async def _sizes(operator: Operator) -> tuple[int, int]:
    accounts = await operator.store.accounts()
    return len(accounts), sum(account.frontier.size for account in accounts)


def _rows(findings: list[Finding]) -> list[dict[str, str | int | None]]:
    return [{"account": found.account, "seq": found.seq, "problem": found.problem} for found in findings]


def _show(findings: list[Finding]) -> None:
    show_table(
        ("account", "seq", "problem"),
        [(found.account, "-" if found.seq is None else str(found.seq), found.problem) for found in findings],
    )
    complain(f"the store is not sound: {_counted(len(findings), 'finding')}")


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
