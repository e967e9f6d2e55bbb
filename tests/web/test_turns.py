"""Turns: an account waits for itself, not for others, and not for ever."""

import asyncio

import pytest

from whodid.errors import Overloaded
from whodid.web.turns import Turns

PATIENCE_SECONDS = 0.05


async def test_an_account_waits_for_its_own_turn_alone() -> None:
    """Two of its own at a time; another account's goes on meanwhile; what waits too long is told to come again."""
    turns, going_on, may_end = Turns(2, PATIENCE_SECONDS), list[str](), asyncio.Event()

    async def work(name: str) -> str:
        going_on.append(name)
        await may_end.wait()
        return name

    doing = [asyncio.create_task(turns.take(1, work, name)) for name in ("a", "b")]
    await asyncio.sleep(0)
    with pytest.raises(Overloaded, match="2 searches of an account are made at a time"):
        await turns.take(1, work, "c")
    doing.append(asyncio.create_task(turns.take(2, work, "d")))
    await asyncio.sleep(0)
    assert going_on == ["a", "b", "d"]
    may_end.set()
    assert await asyncio.gather(*doing) == ["a", "b", "d"]
    assert await turns.take(1, work, "e") == "e"


async def test_a_turn_is_given_back_whatever_becomes_of_it() -> None:
    """Where it fails, and where whoever has it, or waits for it, is gone."""
    turns = Turns(1, 10)

    async def fail(_: str) -> None:
        raise ValueError("the work")

    async def last(_: str) -> None:
        await asyncio.sleep(10)

    with pytest.raises(ValueError, match="the work"):
        await turns.take(1, fail, "")
    doing = [asyncio.create_task(turns.take(1, last, "")) for _ in range(2)]
    await asyncio.sleep(0)
    for task in doing:
        task.cancel()
    assert await asyncio.gather(*doing, return_exceptions=True)
    assert await asyncio.wait_for(turns.take(1, _at_once, "done"), 1) == "done"


async def _at_once(name: str) -> str:
    return name
