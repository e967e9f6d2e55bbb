"""``whodid db``: the database of a store for many servers."""

from typing import Annotated

from cyclopts import App, Parameter

from whodid.cli.options import AsJson, StoreUrl
from whodid.cli.output import say, show_json
from whodid.config import load_settings
from whodid.store.opening import bring_up
from whodid.store.urls import shown

app = App(
    name="db",
    help="Prepare the PostgreSQL database of a store.",
    help_epilogue="Example:\n\n    whodid db init --store postgresql://whodid@db.example/whodid",
)


@app.command(
    help_epilogue="Example:\n\n    createdb whodid\n\n    whodid db init --store postgresql://whodid@localhost/whodid\n\n"
    "Makes the tables, or brings them up to date: before the first server, and after an upgrade. May be run twice, and "
    "while servers run. Passwords are better in the file that PGPASSFILE names than in a command."
)
def init(
    *,
    citus: Annotated[
        bool, Parameter(negative=(), help="Distribute the tables over the nodes of Citus.", show_default=False)
    ] = False,
    store: StoreUrl = None,
    as_json: AsJson = False,
) -> None:
    """Make the schema of the database, or bring it up to date."""
    url = load_settings({"store": store}).store
    done = bring_up(url, citus=citus)
    if as_json:
        show_json({"store": shown(url), "done": done})
    else:
        say(f"{shown(url)}: {done}")
