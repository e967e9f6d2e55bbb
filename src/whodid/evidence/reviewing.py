"""Reviewing a store: whether it bears out every checkpoint that was signed, as far as those are kept."""

from whodid.checkpoint import Checkpoint, open_checkpoint
from whodid.errors import InconsistentLog, InvalidEvidence
from whodid.evidence.keyring import Keys
from whodid.evidence.ledger import Ledger
from whodid.evidence.proving import check_growth
from whodid.notes import Note
from whodid.store.base import Account, Finding, Standing, Store


async def review(store: Store, ledger: Ledger, keys: Keys | None) -> tuple[int, list[Finding]]:
    """How many checkpoints are kept, in the ledger and in the store, and what is wrong with them or with the store.

    ``keys`` are those that checkpoints may be signed with; None where they are not at hand.
    """
    accounts = {account.name: account for account in await store.accounts()}
    findings = [
        Finding(name, 0, "a checkpoint of its log was signed, but there is no such account")
        for name in ledger.accounts()
        if name not in accounts
    ]
    reviewed = len(findings)
    for account in accounts.values():
        kept = await _kept(store, ledger, account)
        head = await store.account(account.name) or account  # after what was signed: a server may be appending
        for note, ours in kept.items():
            reviewed += 1
            findings += await _review(store, head, note, keys if ours else None)
    return reviewed, findings


async def _kept(store: Store, ledger: Ledger, account: Account) -> dict[str, bool]:
    """The notes that are kept, and of each, whether one of our keys must have signed it.

    What was published before is not: its key may be lost, and it is shown no more where it is not the current one's.
    """
    signed = await store.checkpoint(account.no, Standing.SIGNED)
    published = await store.checkpoint(account.no, Standing.PUBLISHED)
    notes = {} if published is None else {published.note: False}
    notes |= {} if signed is None else {signed.note: True}
    newest = ledger.newest(account.name)
    return notes | ({} if newest is None else {newest: True})


async def _review(store: Store, account: Account, note: str, keys: Keys | None) -> list[Finding]:
    try:
        checkpoint = _open(account, note, keys)
    except InvalidEvidence as error:
        return [
            Finding(
                account.name,
                None,
                f"a checkpoint that was kept is not one of ours: {error.message}. If its key was yours and is lost, "
                "list the public half in the key file as retired, or have the log signed anew",
            )
        ]
    try:
        await check_growth(store, account, checkpoint)
    except InconsistentLog as error:
        missing = account.frontier.size if checkpoint.size > account.frontier.size else None
        return [Finding(account.name, missing, error.message)]
    return []


def _open(account: Account, note: str, keys: Keys | None) -> Checkpoint:
    checkpoint = Checkpoint.parse(Note.parse(note).text)
    if not checkpoint.origin.endswith(f"/log/{account.name}"):
        raise InvalidEvidence(f"it is of the log {checkpoint.origin}")
    if keys is not None:
        open_checkpoint(note, keys.verifiers(checkpoint.origin))
    return checkpoint
