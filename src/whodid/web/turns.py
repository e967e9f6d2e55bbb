"""Turns: how many searches an account makes at a time, so that those of others are not kept waiting."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar
from weakref import WeakValueDictionary

from whodid.errors import Overloaded

_Asked = TypeVar("_Asked")
_Told = TypeVar("_Told")


class Turns:
    """Lets each account do so many things at a time; others of the account wait, but not for ever."""

    def __init__(self, at_once: int, patience_seconds: float) -> None:
        self._at_once = at_once
        self._patience_seconds = patience_seconds
        self._free: WeakValueDictionary[int, asyncio.Semaphore] = WeakValueDictionary()
        """By account; those that somebody has, or waits for."""

    async def take(self, account_no: int, work: Callable[[_Asked], Awaitable[_Told]], asked: _Asked) -> _Told:
        """Do the work when it is the account's turn. Raises ``Overloaded`` where that takes too long."""
        free = self._free.setdefault(account_no, asyncio.Semaphore(self._at_once))
        try:
            async with asyncio.timeout(self._patience_seconds):
                await free.acquire()
        except TimeoutError:
            raise Overloaded(
                f"{self._at_once} searches of an account are made at a time, and others have waited for "
                f"{self._patience_seconds:.0f} s already; try again later"
            ) from None
        try:
            return await work(asked)
        finally:
            free.release()
