"""Trains the dictionary that a new store begins with, and writes it if it is better than the one that is there.

    python -m bench.train_dictionary [--dry-run]

Trained on records of made-up companies (the demonstration's month, with other people, accounts and seeds each time)
and on basic records, in the forms that DESIGN.md §3 fixes. Judged by records of other seeds. Ids are random all over,
so that none is learnt. The same versions of Python and zstd make the same dictionary from this file.
"""

import random
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import zstandard

import whodid.store.sqlite
from whodid.demo import PEOPLE, activity
from whodid.demo.doings import DOINGS
from whodid.records import Action, Body, Kind, TokenUse, complete, parse_time
from whodid.store.base import Role, Scope, Token, User
from whodid.store.sqlite.compression import Compressor, bundled_dictionary

TARGET = Path(whodid.store.sqlite.__file__).parent / "dictionary.bin"
SIZE_BYTES = 16 * 1024

TRAINING_SEEDS = range(1000, 1040)
HELD_OUT_SEEDS = range(9000, 9008)
_RECORDS_A_SEED = 300
"""Of each of the four sorts."""

_EARLIEST_MS, _LATEST_MS = parse_time("2021-01-01T00:00:00Z"), parse_time("2031-01-01T00:00:00Z")
_NAMES = [
    "acme",
    "globex",
    "initech",
    "umbrella",
    "hooli",
    "stark",
    "wayne",
    "wonka",
    "tyrell",
    "cyberdyne",
    "soylent",
    "vandelay",
    "dunder",
    "opsera",
]
_PEOPLE = [
    "mia",
    "noah",
    "lena",
    "omar",
    "priya",
    "tom",
    "sofia",
    "igor",
    "wei",
    "fatima",
    "lucas",
    "nina",
    "pavel",
    "ruth",
    "sam",
    "yuki",
    "zoe",
    "max",
    "eva",
    "hugo",
]
_TARGETS = ("/v1/logs/user/actions", "/v1/logs/user/tokens", "/v2/pipelines", "/v2/registry/tools", "/v2/tasks")


def main() -> None:
    """Train, compare, and write what is better."""
    samples: list[Any] = [
        record for seed in TRAINING_SEEDS for records in sorts_of(seed).values() for record in records
    ]
    held_out: dict[str, list[bytes]] = {}
    for seed in HELD_OUT_SEEDS:
        for sort, records in sorts_of(seed).items():
            held_out.setdefault(sort, []).extend(records)
    old = bundled_dictionary()
    new = zstandard.train_dictionary(SIZE_BYTES, samples, level=3).as_bytes()
    print(f"trained on {len(samples)} records; bytes a record of {sum(map(len, held_out.values()))} others:")
    before, after = compare(held_out, old, new)
    if "--dry-run" in sys.argv:
        return
    if after < before:
        TARGET.write_bytes(new)
        print(f"wrote {TARGET} ({len(new)} bytes)")
    else:
        print("the dictionary that is there is as good; it stays")


def compare(held_out: Mapping[str, list[bytes]], old: bytes, new: bytes) -> tuple[float, float]:
    """Print what each sort of record takes under both; the means over the sorts."""
    print(f"{'':16}{'plain':>8}{'before':>8}{'after':>8}")
    means = []
    for sort, records in held_out.items():
        plain = mean_size(records)
        before, after = (mean_size(Compressor(dictionary).all(records)) for dictionary in (old, new))
        means.append((before, after))
        print(f"{sort:16}{plain:8.1f}{before:8.1f}{after:8.1f}")
    total_before, total_after = (sum(column) / len(means) for column in zip(*means, strict=True))
    print(f"{'all':16}{'':8}{total_before:8.1f}{total_after:8.1f}")
    return total_before, total_after


def mean_size(records: Sequence[bytes]) -> float:
    """The mean size of records or frames."""
    return sum(map(len, records)) / len(records)


def sorts_of(seed: int) -> dict[str, list[bytes]]:
    """Records of one made-up company, of four sorts."""
    chance = random.Random(seed)
    company = _Company(chance)
    lived: dict[Kind, list[bytes]] = {Kind.ACTION: [], Kind.TOKEN: []}
    until_ms = chance.randrange(_EARLIEST_MS, _LATEST_MS)
    for kind, body in activity(company.account, company.users, company.tokens, until_ms=until_ms, days=12, seed=seed):
        lived[kind].append(company.render(kind, body, parse_time(str(body.createdAt))))
    return {
        "action": chance.sample(lived[Kind.ACTION], _RECORDS_A_SEED),
        "token use": chance.sample(lived[Kind.TOKEN], _RECORDS_A_SEED),
        "basic action": list(company.basic(Kind.ACTION)),
        "basic token use": list(company.basic(Kind.TOKEN)),
    }


class _Company:
    """An account with users and tokens that no other seed has."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        name = chance.choice(_NAMES) + chance.choice(("", "-dev", "-labs", "-eu"))
        self.account = f"org-{name}-acc{chance.randrange(4)}"
        domain = f"{name}.{chance.choice(('com', 'io', 'example', 'org', 'de'))}"
        logins = chance.sample(_PEOPLE, len(PEOPLE))
        self.users = [
            User(self.new_id(), f"{login}@{domain}", "", Role.USER, active=True, created_ms=0) for login in logins
        ]
        self.tokens = [
            Token(self.new_id(), self.users[place].id, "", scope, b"", 0, 0)
            for place, scope in ((0, Scope.SECURITY_LOGS), (-1, Scope.LOGS_WRITE), (1, Scope.API))
        ]

    def new_id(self) -> str:
        """A random id."""
        return f"{self._chance.getrandbits(96):024x}"

    def render(self, kind: Kind, body: Body, created_ms: int) -> bytes:
        """The record of an event, as a log has it."""
        record_id = f"{created_ms // 1000:08x}{self._chance.getrandbits(64):016x}"
        return complete(
            body, kind=kind, record_id=record_id, account=self.account, created_ms=created_ms, recorded_ms=created_ms
        ).record

    def basic(self, kind: Kind) -> Iterator[bytes]:
        """Records with only the keys that are always there."""
        for _ in range(_RECORDS_A_SEED):
            body = self._basic_action() if kind == Kind.ACTION else self._basic_token_use()
            yield self.render(kind, body, self._chance.randrange(_EARLIEST_MS, _LATEST_MS))

    def _basic_action(self) -> Action:
        user = self._chance.choice(self.users)
        (doing,) = self._chance.choices(DOINGS, [doing.weight for doing in DOINGS])
        return Action(
            user_id=user.id, user_email=user.email, type=doing.type, action=doing.action, target_id=self.new_id()
        )

    def _basic_token_use(self) -> TokenUse:
        user = self._chance.choice(self.users)
        scope = self._chance.choice(list(Scope)).value
        target = self._chance.choice(_TARGETS)
        return TokenUse(token_id=self.new_id(), scope=scope, target=target, user_id=user.id)


if __name__ == "__main__":
    main()
