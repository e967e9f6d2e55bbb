"""``whodid key``: the key that signs checkpoints, and the verifier keys that auditors need."""

from cyclopts import App

from whodid.cli.operator import Operator, operate, signing
from whodid.cli.options import AsJson, OneAccount, StoreUrl
from whodid.cli.output import note, show_rows, time_or_none
from whodid.clock import wall_clock
from whodid.evidence.keyring import Keyring
from whodid.evidence.signing import Signer
from whodid.store.base import Account

app = App(
    name="key",
    help="Show or rotate the key that signs checkpoints.",
    help_epilogue="Example:\n\n    whodid key show --account org-acme-acc0",
)


@app.command(
    help_epilogue="Example:\n\n    whodid key show --account org-acme-acc0\n\n"
    "An auditor needs a log's verifier key, from you and not from the log. A retired key checks old checkpoints."
)
async def show(*, account: OneAccount = None, store: StoreUrl = None, as_json: AsJson = False) -> None:
    """Show the verifier keys of the accounts' logs."""
    async with operate(store) as operator:
        keyring, signer = await signing(operator, store)
        accounts = await _accounts(operator, account)
    rows = [row for one in accounts for row in _rows(one, keyring, signer)]
    show_rows(rows, as_json=as_json, empty="there are no accounts; 'whodid account add' makes one")


@app.command(
    help_epilogue="Example:\n\n    whodid key rotate\n\n"
    "Each log gets an action that tells its new verifier key. The old private key is destroyed. A server that runs "
    "signs with the new key at once."
)
async def rotate(*, store: StoreUrl = None, as_json: AsJson = False) -> None:
    """Make a new signing key, and retire the old one."""
    async with operate(store) as operator:
        keyring, signer = await signing(operator, store)
        accounts = await _accounts(operator, None)
        changes: list[tuple[Account, str, str]] = []
        try:
            with keyring.rotation(wall_clock()) as rotated:
                for account in accounts:
                    old, new = signer.verifiers(account.name)[0], rotated.verifiers(signer.origin(account.name))[0]
                    await operator.identity.record_key(account, operator.actor, str(old), str(new))
                    changes.append((account, str(old), str(new)))
        except BaseException:
            for account, kept, not_taken in changes:  # what the logs tell already is not so
                await operator.identity.record_key(account, operator.actor, not_taken, kept)
            raise
        keys = keyring.current()
        await operator.store.settle_signing_key(keys.public_key, [retired.public_key for retired in keys.retired])
    show_rows(
        [row for account in accounts for row in _rows(account, keyring, signer)[:1]],
        as_json=as_json,
        empty="there are no accounts yet whose auditors would need the new key",
    )
    note("the key is rotated; hand out the new verifier keys. Old checkpoints are checked with the old ones")


async def _accounts(operator: Operator, name: str | None) -> list[Account]:
    if name is None:
        return await operator.store.accounts()
    return [await operator.identity.account(name)]


def _rows(account: Account, keyring: Keyring, signer: Signer) -> list[dict[str, str | None]]:
    retired = [None, *(key.retired_ms for key in keyring.current().retired)]
    return [
        {"account": account.name, "verifier_key": str(verifier), "retired": time_or_none(retired_ms)}
        for verifier, retired_ms in zip(signer.verifiers(account.name), retired, strict=True)
    ]
