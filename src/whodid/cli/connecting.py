"""Where ``search``, ``tail`` and ``export`` read: a store on this machine, or a server. The options that say which."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, TypeAlias

from cyclopts import Parameter

from whodid.cli.operator import operate
from whodid.cli.output import UsageError, complain
from whodid.cli.sources import ServerSource, Source, StoreSource
from whodid.cli.verify_inputs import TOKEN_VARIABLE, read_token

URL_VARIABLE = "WHODID_URL"

PATIENCE_SECONDS = 30.0
"""For how long a server is tried that does not answer; what is followed, for ever."""

# Which of both is meant is for `reach` to say, so cyclopts must not fill in what the environment has.
ServerUrl: TypeAlias = Annotated[
    str | None,
    Parameter(name="--url", help=f"A server, like https://audit.example.com, instead of a store; or {URL_VARIABLE}."),
]
TokenFile: TypeAlias = Annotated[
    Path | None, Parameter(name="--token-file", help=f"With a server: a file with the token; else {TOKEN_VARIABLE}.")
]
MaybeStore: TypeAlias = Annotated[
    str | None, Parameter(name="--store", help="A store on this machine; else that of the settings.")
]
MaybeAccount: TypeAlias = Annotated[
    str | None, Parameter(name="--account", help="Of a store: the account's name. A server's is the token's.")
]


@dataclass(frozen=True, slots=True)
class Server:
    """A server, and the token for it."""

    url: str
    token: str


@dataclass(frozen=True, slots=True)
class Local:
    """An account of a store on this machine."""

    store: str | None
    """None: that of the settings."""
    account: str


def reach(url: str | None, token_file: Path | None, store: str | None, account: str | None) -> Server | Local:
    """Where to read. Raises ``UsageError`` where that is not said, or said twice."""
    if url and (store or account):
        raise UsageError("--url goes with neither --store nor --account: a server knows the account by the token")
    if not (store or account):
        url = url or os.environ.get(URL_VARIABLE) or None
    if url is None:
        if account is None:
            raise UsageError("give --account, or --url for a server")
        if token_file is not None:
            raise UsageError("--token-file is for --url")
        return Local(store, account)
    token = read_token(token_file)
    if token is None:
        raise UsageError(f"a server needs a token: --token-file, or {TOKEN_VARIABLE}")
    return Server(url, token)


@asynccontextmanager
async def reading(place: Server | Local) -> AsyncIterator[Source]:
    """What the records come from, closed at the end."""
    if isinstance(place, Server):
        from whodid.client import AsyncClient  # noqa: PLC0415 (other commands start faster without)

        async with AsyncClient(place.url, place.token, deadline_seconds=PATIENCE_SECONDS, tell=complain) as client:
            yield ServerSource(client)
        return
    async with operate(place.store) as operator:
        account = await operator.identity.account(place.account)
        yield StoreSource(operator.store, account.no)
