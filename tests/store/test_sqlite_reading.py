"""Who reads from the embedded store: what takes long, and what must not wait for it."""

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest
from tests.building import add_account, append, event

from whodid.records import Kind
from whodid.store.base import Query, Question, Search
from whodid.store.sqlite import SqliteStore
from whodid.store.sqlite.reader import Reader
from whodid.store.sqlite.store import SEARCHERS


@pytest.mark.parametrize("name", ["search", "summarize", "newest"])
async def test_nothing_else_waits_for_searches(store_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """However many there are at once: calls are checked, logs are read and grow; then the searches are answered."""
    store = SqliteStore(store_path, create=True)
    account = await add_account(store)
    may_end, quick = threading.Event(), getattr(Reader, name)
    at_once = 0

    def search_long(reader: Reader, asked: Any) -> Any:
        nonlocal at_once
        at_once += 1
        may_end.wait()
        return quick(reader, asked)

    monkeypatch.setattr(Reader, name, search_long)
    asked = {
        "search": Search(account.no),
        "summarize": Question(Search(account.no)),
        "newest": Query(account.no, Kind.ACTION, 0, 1 << 42, 10),
    }[name]
    searches = [asyncio.create_task(getattr(store, name)(asked)) for _ in range(3 * SEARCHERS)]
    try:
        async with asyncio.timeout(30):
            await append(store, account, event(account))
            assert await store.credential(bytes(32)) is None
            assert await store.identity_version(account.no) == 0
            assert (await store.heads([account.no]))[account.no].size == 2
            assert len(await store.log(account.no, 0, 10)) == 2
            assert len(await store.commitments(account.no, 0, 2)) == 2
        assert at_once == SEARCHERS
        assert not any(search.done() for search in searches)
    finally:
        may_end.set()
        await asyncio.wait(searches)
        await store.close()
    assert all(search.exception() is None for search in searches)
