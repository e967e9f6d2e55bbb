"""The entry point: runs a command, and tells every way in which it may end as a status and at most one line.

Status 0: done; 1: refused, or a check failed; 2: the command line is wrong; 130: Ctrl-C; 141: nobody reads the output.
"""

import os
import signal
import sys
from collections.abc import Sequence
from types import FrameType
from typing import Final, NoReturn

from cyclopts import App, CycloptsError

from whodid import __version__
from whodid.cli import (
    accounts,
    db,
    demonstrate,
    key,
    migrate,
    searching,
    serving,
    tailing,
    tokens,
    transfer,
    users,
    verify,
    verify_store,
    witness,
)
from whodid.cli.output import UsageError, complain
from whodid.errors import WhodidError

REFUSED = 1
USAGE = 2
INTERRUPTED = 130
BROKEN_PIPE = 141

app = App(
    name="whodid",
    help="An audit log: who did what, and which access token was used for what.",
    help_epilogue="Example:\n\n    whodid demo              # a month of activity, and a server to look at it\n\n"
    "    whodid COMMAND --help    # each has an example\n\nStatus: 0 done, 1 refused or a check failed, 2 usage.",
    help_format="plaintext",
    version=__version__,
    suppress_keyboard_interrupt=False,
)
for part in (serving.app, demonstrate.app, db.app, accounts.app, users.app, tokens.app, key.app, witness.app):
    app.command(part)
app.command(searching.app)
app.command(tailing.app)
transfer.register(app)
app.command(verify.app)
app.command(verify_store.app)
app.command(migrate.app)


_LOCKING: Final = frozenset({"threading", "concurrent.futures.thread", "concurrent.futures._base"})
"""Modules that an exception out of nowhere would leave with a lock taken, for which threads then wait for ever."""

_POSTPONED_SECONDS: Final = 0.01
_MOST_POSTPONED: Final = 100
_postponed = 0


def main() -> NoReturn:
    """Run the command that the process was called with, and exit with its status."""
    # With a handler of ours, asyncio sets none of its own, which would wait for a blocking read of standard input.
    signal.signal(signal.SIGINT, _interrupt)
    signal.signal(signal.SIGALRM, _interrupt)  # which is an interrupt that was postponed
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run a command; its status."""
    try:
        status = app(arguments, exit_on_error=False, print_error=False, result_action="return_value")
        sys.stdout.flush()
    except (CycloptsError, UsageError) as error:
        wrong = str(error)
        complain(f"{_one_line(wrong + searching.hint_at_quotes(arguments, wrong))} (see 'whodid --help')")
        return USAGE
    except WhodidError as error:
        complain(_one_line(error.message))
        return REFUSED
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        _let_go_of_output()
        return BROKEN_PIPE
    except OSError as error:
        complain(f"can't write the output: {error.strerror}")
        _let_go_of_output()
        return REFUSED
    return status if isinstance(status, int) else 0


def _interrupt(signum: int, frame: FrameType | None) -> None:  # noqa: ARG001
    """End the command; a moment later where threads are just being dealt with, or a lock of theirs might stay taken."""
    global _postponed  # noqa: PLW0603 (a signal has nothing else to keep it in)
    modules: set[str] = set()
    while frame is not None:
        modules.add(frame.f_globals.get("__name__", ""))
        frame = frame.f_back
    if _LOCKING.isdisjoint(modules) or _postponed == _MOST_POSTPONED:
        raise KeyboardInterrupt
    _postponed += 1
    signal.setitimer(signal.ITIMER_REAL, _POSTPONED_SECONDS)


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _let_go_of_output() -> None:
    """What is still in the buffer goes nowhere, so that the interpreter does not fail once more as it ends."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
