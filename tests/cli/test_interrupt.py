"""Ctrl-C: a command ends, but not in the middle of what would leave a lock taken."""

import signal
import sys

import pytest

from whodid.cli import app


def test_an_interrupt_waits_until_no_lock_can_stay_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where threads are dealt with, it comes again a moment later; elsewhere, it ends the command."""
    again: list[float] = []
    monkeypatch.setattr(signal, "setitimer", lambda _, seconds: again.append(seconds))
    dealing = {"__name__": "threading", "interrupt": lambda: app._interrupt(signal.SIGINT, sys._getframe())}
    exec("interrupt()", dealing)
    assert again == [app._POSTPONED_SECONDS]
    with pytest.raises(KeyboardInterrupt):
        app._interrupt(signal.SIGINT, None)
