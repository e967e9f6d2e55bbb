"""``whodid demo``: an account with a month of activity, tokens to look at it, and a server. For newcomers."""

import asyncio
import os
import shlex
import socket
import sys
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from whodid.cli.operator import operate
from whodid.cli.output import say
from whodid.cli.serving import start
from whodid.clock import wall_clock
from whodid.config import Settings, load_settings
from whodid.demo import Demonstration, prepare
from whodid.errors import InvalidSetting
from whodid.store.opening import bring_up
from whodid.store.urls import shown

DEFAULT_STORE = "sqlite:///demo/whodid.db"

app = App(
    name="demo",
    help="Fill an account with a month of activity, and serve it.",
    help_epilogue="Example:\n\n    whodid demo\n\n    whodid demo --store sqlite:////tmp/demo.db --port 8700",
)


@app.default
def demo(
    *,
    store: Annotated[str, Parameter(name="--store", help="The store; made if it is not there.")] = DEFAULT_STORE,
    host: Annotated[str, Parameter(help="The address to listen on.")] = Settings().host,
    port: Annotated[
        str | None,
        Parameter(help=f"The port to listen on, 0 for any free one; else WHODID_PORT, else {Settings().port}."),
    ] = None,
    no_serve: Annotated[bool, Parameter(negative=(), help="Only fill the store.", show_default=False)] = False,
) -> int:
    """Fill an account with a month of activity, and serve it."""
    settings = load_settings({"store": store, "host": host, "port": port, "log_level": "warning"})
    if not no_serve:
        _check_port(settings)
    demonstration = asyncio.run(_prepare(store))
    if no_serve:
        say(_guide(demonstration, store, _url(settings)))
        say(f"\nTo serve it:\n  whodid serve --store {shlex.quote(shown(store))}")
        return 0
    return start(settings, announce=lambda ready: _welcome(demonstration, store, ready))


def _check_port(settings: Settings) -> None:
    """Refuse a port that is taken, before anything is filled. Raises ``InvalidSetting``."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        socket.create_server((settings.host, settings.port), family=family).close()
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)
        raise InvalidSetting(
            f"can't listen on {settings.host} port {settings.port}: {reason}; --port (or WHODID_PORT) chooses another "
            "one, 0 any that is free"
        ) from error


async def _prepare(store: str) -> Demonstration:
    bring_up(store)  # refuses what is no store before a file is made
    async with operate(store, create=True, exclusive=True) as operator:
        return await prepare(operator.store, operator.actor, clock=wall_clock)


def _welcome(demonstration: Demonstration, store: str, ready: str) -> None:
    """Print the guide as soon as the server, whose words these are, is ready at the address that they name."""
    url = next(word for word in ready.split() if word.startswith("http://"))
    say(_guide(demonstration, store, url))
    say("\nCtrl-C stops the server; 'whodid demo' starts it again, with fresh tokens.")


def _url(settings: Settings) -> str:
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return f"http://{host}:{settings.port}"


def _guide(demonstration: Demonstration, store: str, url: str) -> str:
    reading, recording = demonstration.reading_token, demonstration.recording_token
    event = '{"user_email":"carla@acme.example","type":"pipeline","action":"start","target_name":"my first event"}'
    return f"""\
A month of {demonstration.account}, at {url}

  store            {shown(store)} ({demonstration.entries:,} entries)
  to read logs     {reading}
  to do anything   {recording}
  both tokens are of ann@acme.example, an administrator

Who did what, the newest first:
  curl -H 'Authorization: Bearer {reading}' '{url}/api/v1/logs/user/actions?count=5'

Which access token was used for what:
  curl -H 'Authorization: Bearer {reading}' '{url}/api/v1/logs/user/tokens?count=5'

Record something yourself:
  curl -H 'Authorization: Bearer {recording}' -H 'Content-Type: application/json' \\
    -d '{event}' '{url}/api/v1/logs/user/actions'

Check the log without trusting the server:
  {_command()} key show --store {shlex.quote(shown(store))} > demo.key
  WHODID_TOKEN={reading} \\
    {_command()} verify --url {url}/log/{demonstration.account} --key demo.key"""


def _command() -> str:
    """How this command was called, for more of its kind to copy."""
    called = Path(sys.argv[0])
    return shlex.quote(str(called)) if called.name == "whodid" else "whodid"
