"""``whodid tail``: the newest records of an account, and those that come."""

from typing import Annotated

from cyclopts import App, Parameter

from whodid.cli.connecting import MaybeAccount, MaybeStore, ServerUrl, TokenFile, reach, reading
from whodid.cli.options import AsJson
from whodid.cli.output import UsageError
from whodid.cli.searching import Query, check_query
from whodid.cli.showing import show_records
from whodid.cli.sources import Wanted

app = App(
    name="tail",
    help="Show the newest records, and, with -f, those that come.",
    help_epilogue="""Example:

    whodid tail --account org-acme-acc0 -f

    whodid tail --account org-acme-acc0 -n 100 \\
        'outcome:failure OR outcome:denied'

    whodid tail -f --url https://audit.example.com \\
        --token-file eve.token kind:action

Ctrl-C ends it. Following a server is in the log, as every call;
kind:action leaves such records out. A server that is gone is waited for.""",
)


@app.default
async def tail(
    q: Query = None,
    /,
    *,
    count: Annotated[int, Parameter(name=("--lines", "-n"), help="How many of the newest to begin with.")] = 10,
    follow: Annotated[
        bool, Parameter(name=("--follow", "-f"), negative=(), show_default=False, help="Go on with what comes.")
    ] = False,
    account: MaybeAccount = None,
    store: MaybeStore = None,
    url: ServerUrl = None,
    token_file: TokenFile = None,
    as_json: AsJson = False,
) -> None:
    """Show the newest records in the order of the log. With --json each is a line of JSON, with its number as seq."""
    if count < 0:
        raise UsageError(f"--lines must be at least 0, not {count}")
    check_query(q)
    async with reading(reach(url, token_file, store, account)) as source:
        async for records in source.tail(Wanted(q), count, follow=follow):
            show_records(records, as_json=as_json)
