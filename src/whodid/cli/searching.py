"""``whodid search``: the records of an account that a search text finds."""

import re
import sys
from collections.abc import Sequence
from typing import Annotated, Literal

from cyclopts import App, Parameter

from whodid.cli.connecting import MaybeAccount, MaybeStore, ServerUrl, TokenFile, reach, reading
from whodid.cli.options import SINCE, UNTIL, AsJson
from whodid.cli.output import UsageError, note
from whodid.cli.showing import show_records
from whodid.cli.sources import Wanted

app = App(
    name="search",
    help="Find records: who did what, the newest first.",
    help_epilogue="""Example:

    whodid search --account org-acme-acc0 \\
        'type:policy (outcome:failure OR outcome:denied)'

    whodid search --account org-acme-acc0 --since 30d --limit 0 --json ann

    whodid search --url https://audit.example.com --token-file eve.token \\
        'user:ann@acme.example created:>=7d "blue green"'

Fields: kind type action user target token scope outcome ip email created.
OR, parentheses, - for "not", and ann* for a beginning. docs/API.md has it all.
-outcome:success also finds what has no outcome at all. user: finds actions by
address or user id; token uses have the id alone, so search them by the id.
A search of a server is in the log, as every call.""",
)

Query = Annotated[
    str | None,
    Parameter(name="Q", allow_leading_hyphen=True, help="What to look for, in one argument; all, if left out."),
]
Since = Annotated[str | None, Parameter(name=SINCE, help="Not before this: a time, a day (UTC), or an age like 7d.")]
Until = Annotated[str | None, Parameter(name=UNTIL, help="Before this, exclusive: a time, a day or an age.")]


@app.default
async def search(
    q: Query = None,
    /,
    *,
    since: Since = None,
    until: Until = None,
    order: Annotated[Literal["desc", "asc"], Parameter(help="By time: the newest first, or the oldest.")] = "desc",
    limit: Annotated[int, Parameter(help="At most so many; 0: all.")] = 50,
    account: MaybeAccount = None,
    store: MaybeStore = None,
    url: ServerUrl = None,
    token_file: TokenFile = None,
    as_json: AsJson = False,
) -> None:
    """Find records. With --json each is a line of JSON, with its number in the log as seq."""
    if limit < 0:
        raise UsageError(f"--limit must be at least 1, or 0 for all, not {limit}")
    check_query(q)
    watched = sys.stderr.isatty()
    async with reading(reach(url, token_file, store, account)) as source:
        most = limit + 1 if watched else limit  # one more tells that there are more
        found = source.search(Wanted(q, since, until), newest_first=order == "desc", limit=most if limit else None)
        count = 0
        async for records in found:
            shown = records[: limit - count] if limit else records
            show_records(shown, as_json=as_json)
            count += len(records)
    if watched and not count:
        note("nothing found")
    elif watched and limit and count > limit:
        note("there are more: --limit 0 shows all")


def hint_at_quotes(arguments: Sequence[str], wrong: str) -> str:
    """What would be right where the words of a search text were taken for options, or for more arguments."""
    if arguments[:1] in (["search"], ["tail"]) and ("Unused Tokens" in wrong or re.search(r"option: -[^-]", wrong)):
        return " If that is of the search text: put the search into one pair of quotation marks."
    return ""


def check_query(q: str | None) -> None:
    """Refuse a mistyped option where a search text stands. Raises ``UsageError``."""
    if q is not None and q.startswith("--"):
        raise UsageError(f"there is no option {q.split()[0]}; a search text can't begin with --")
