"""A store with something of everything, and everything of a store: what tests of migrating compare."""

from typing import Any

from msgspec.structs import asdict, replace
from tests.building import NOW_MS, USER_ID, accepted, add_account, append, completed, event, event_at, flat, token, user

from whodid.proofs import Run
from whodid.records import DAY_MS, Kind
from whodid.store.base import (
    Account,
    KeptCheckpoint,
    PutToken,
    PutUser,
    Standing,
    Store,
    Submission,
    WitnessState,
)

ACME, EMPTY, QUIET = "org-acme", "org-begun", "org-quiet"
"""Accounts: one with everything, one with its first entry alone, one without users."""


async def fill(store: Store) -> Account:
    """Fill an empty store; the account that has everything."""
    await add_account(store, EMPTY)
    quiet = await add_account(store, QUIET)
    await append(store, quiet, *(event(quiet, Kind.TOKEN) for _ in range(20)))
    acme = await add_account(store, ACME)
    await grow(store, acme, 600)
    await append(store, acme, *_odd(acme))
    await _people(store, acme)
    await sign(store, acme, 300, 200)
    return acme


async def grow(store: Store, account: Account, count: int) -> None:
    """Append so many entries of both kinds."""
    events = [event(account, Kind.TOKEN if number % 3 == 0 else Kind.ACTION) for number in range(count)]
    await append(store, account, *events)


async def sign(store: Store, account: Account, signed: int, published: int) -> None:
    """Keep checkpoints of these sizes, and how far witnesses are. Stores don't look into the notes."""
    await store.keep(
        [
            KeptCheckpoint(account.no, Standing.SIGNED, signed, f"signed at {signed}\n"),
            KeptCheckpoint(account.no, Standing.PUBLISHED, published, f"published at {published}\n"),
            WitnessState(account.no, "witness.example/one", published, NOW_MS, None, NOW_MS + 1),
            WitnessState(account.no, "witness.example/two", 0, None, "it is down", NOW_MS),
        ]
    )


def _odd(account: Account) -> list[Any]:
    """Events of long ago, of a time to come, imported ones, and ones with all sorts of characters."""
    given = {
        "_id": "00000000000000000000abcd", "user_id": USER_ID, "type": "pipeline", "action": "update",
        "createdAt": "2019-02-28T23:59:59.999Z", "updatedAt": "2020-03-01T00:00:00.000Z",
    }  # fmt: skip
    return [
        *completed(account.name, [given], keep_recorded=True),
        event_at(account, 0),
        event_at(account, 4_000_000_000_000),
        event(account, target_id="Zoë \0 \N{GRINNING FACE} \\x00 \t", metadata={"a": [1, 1.0, None, "\n"]}),
        event(account, Kind.TOKEN, outcome="denied", ip_address="2001:db8::1", createdAt="2021-07-29T00:00:00Z"),
    ]


async def _people(store: Store, account: Account) -> None:
    ann, bob = user("Ann@acme.example", name="Ann Zoë"), user("bob@acme.example", active=False)
    laptop, robot = token(ann), token(ann, "robot", expires_ms=NOW_MS + DAY_MS)
    changes = (PutUser(ann), PutUser(bob), PutToken(laptop), PutToken(robot), PutToken(token(bob)))
    accepted(*await store.append([Submission(account.no, [event(account)], changes)]))
    expired = PutToken(replace(laptop, expired_ms=NOW_MS + 5))
    accepted(*await store.append([Submission(account.no, [event(account)], (expired, PutToken(token(ann))))]))


async def everything(store: Store) -> dict[str, Any]:
    """All that the store says, by account; but for its own numbers of the accounts."""
    states = await store.witness_states()
    return {
        account.name: {
            "account": _unnumbered(account),
            "entries": await flat(store.entries(account.no)),
            "users": await store.users(account.no),
            "tokens": await store.tokens(account.no),
            "checkpoints": [_unnumbered(await store.checkpoint(account.no, standing)) for standing in Standing],
            "witnesses": [_unnumbered(state) for state in states if state.account_no == account.no],
            "hashes": list((await store.hashes(account.no, _runs(account.frontier.size))).values()),
        }
        for account in await store.accounts()
    }


def _unnumbered(found: Any) -> dict[str, Any] | None:
    return found and {key: value for key, value in asdict(found).items() if key not in ("no", "account_no")}


def _runs(size: int) -> list[Run]:
    """The leaves of the beginning, and the roots of the first complete blocks."""
    blocks = size // 256
    return [Run(0, 0, 1), *([Run(1, 0, 1), Run(1, blocks - 1, 1)] if blocks else [])]
