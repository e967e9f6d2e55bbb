"""``AsyncClient``: the same in an event loop. What its functions do is said where ``Client`` has them."""

import asyncio
import os
import random
import ssl
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Literal, Never, Self, TypeVar, Unpack

import httpx

from whodid.client.batches import check_named
from whodid.client.calls import Answer, Broken, Call, Outcome, Step, Work
from whodid.client.core import ACTIONS, TOKEN_USES, TOKENS, USERS, Core
from whodid.client.downloads import Download
from whodid.client.paging import Feed, Search
from whodid.client.retrying import Patience, Tell, log_trouble
from whodid.client.sending import Sender, answer_of, broken, headers_with, left_unread
from whodid.client.shapes import (
    ActionEvent,
    Exported,
    FeedPage,
    Filters,
    Keys,
    Me,
    Proven,
    Record,
    Recorded,
    SearchPage,
    Summary,
    Token,
    TokenUseEvent,
    User,
)
from whodid.clock import wall_clock
from whodid.durable import replacing
from whodid.errors import InvalidParameter

_T = TypeVar("_T")


class AsyncClient:
    """Calls a Whodid server with an access token, from one event loop. ``aclose`` it in the end, or use ``async with``.

    Takes and gives what ``Client`` does.
    """

    def __init__(
        self,
        url: str,
        token: str,
        *,
        timeout_seconds: float = 30.0,
        attempts: int | None = None,
        deadline_seconds: float = 120.0,
        ssl_context: ssl.SSLContext | None = None,
        tell: Tell | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        monotonic: Callable[[], float] = time.monotonic,
        clock: Callable[[], int] = wall_clock,
        chance: random.Random | None = None,
        random_bytes: Callable[[int], bytes] = os.urandom,
    ) -> None:
        """``timeout_seconds`` is for connecting, and for each silence of the server. Raises ``InvalidParameter``."""
        patience = Patience(
            attempts=attempts,
            deadline_seconds=deadline_seconds,
            monotonic=monotonic,
            clock=clock,
            random=chance or random.Random(),  # noqa: S311 (of pauses)
            tell=tell or log_trouble,
        )
        self._core = Core(url, patience, random_bytes)
        self._sender = Sender(self._core.url, timeout_seconds)
        self._http = httpx.AsyncClient(headers=headers_with(token), verify=ssl_context or True)
        self._sleep = sleep

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._core.url!r})"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Let go of all connections."""
        await self._http.aclose()

    # Recording.

    def new_id(self) -> str:
        """An ``_id`` for a new event, for who keeps events before they are sent, and may send them twice."""
        return self._core.new_id()

    async def record_action(self, *unnamed: Never, **event: Unpack[ActionEvent]) -> Recorded:
        """Record that somebody did something: the event's keys as named arguments. Once this returns, it is durable."""
        check_named(unnamed)
        return await self._do(self._core.record_one(ACTIONS, event))

    async def record_actions(self, events: Iterable[ActionEvent]) -> list[Recorded]:
        """Record many; where each stands, in order."""
        return await self._do(self._core.record(ACTIONS, events))

    async def record_token_uses(self, events: Iterable[TokenUseEvent]) -> list[Recorded]:
        """Record uses of your own system's access tokens; otherwise as ``record_actions``."""
        return await self._do(self._core.record(TOKEN_USES, events))

    # Reading.

    def search(
        self,
        q: str | None = None,
        *,
        order: Literal["desc", "asc"] = "desc",
        limit: int | None = None,
        after: str | None = None,
        **filters: Unpack[Filters],
    ) -> AsyncIterator[Record]:
        """The records that are found, the newest first unless ``order`` says otherwise; at most ``limit``."""
        return self._found(self._core.search(q, order, limit, after, filters))

    async def _found(self, pages: Search) -> AsyncIterator[Record]:
        while not pages.done:
            for record in await self._do(pages.page()):
                yield record

    async def search_page(
        self,
        q: str | None = None,
        *,
        order: Literal["desc", "asc"] | None = None,
        limit: int = 100,
        after: str | None = None,
        **filters: Unpack[Filters],
    ) -> SearchPage:
        """One page of what is found; ``after`` is ``next`` of the page before."""
        return await self._do(self._core.search_page(q, order, limit, after, filters))

    def feed(
        self,
        after: str | int | None = None,
        *,
        cursor_file: Path | str | None = None,
        follow: bool = True,
        wait_seconds: int = 30,
        limit: int = 1000,
        q: str | None = None,
        **filters: Unpack[Filters],
    ) -> AsyncGenerator[Record]:
        """Every record in the order of its number: from the beginning, or from ``after`` on, and on as they come."""
        pages = self.feed_pages(
            after,
            cursor_file=cursor_file,
            follow=follow,
            wait_seconds=wait_seconds,
            limit=limit,
            q=q,
            **filters,
        )
        return self._records(pages)

    async def _records(self, pages: AsyncGenerator[FeedPage]) -> AsyncGenerator[Record]:
        async with aclosing(pages):
            async for page in pages:
                for record in page.records:
                    yield record

    def feed_pages(
        self,
        after: str | int | None = None,
        *,
        cursor_file: Path | str | None = None,
        follow: bool = True,
        wait_seconds: int = 30,
        limit: int = 1000,
        q: str | None = None,
        **filters: Unpack[Filters],
    ) -> AsyncGenerator[FeedPage]:
        """The same by the page, also empty ones: for who keeps a page's ``cursor`` with what is made of its records."""
        feed = self._core.feed(
            q, filters, after=after, cursor_file=cursor_file, limit=limit, wait_seconds=wait_seconds, follow=follow
        )
        return self._fed(feed)

    async def _fed(self, feed: Feed) -> AsyncGenerator[FeedPage]:
        while not feed.done:
            page = await self._do(feed.page())
            yield page
            await asyncio.to_thread(feed.consumed, page)

    async def feed_page(
        self,
        after: str | int | None = None,
        *,
        wait_seconds: int = 0,
        limit: int = 1000,
        q: str | None = None,
        **filters: Unpack[Filters],
    ) -> FeedPage:
        """One page of the feed; if there is nothing new, the server waits so long for it."""
        return await self._do(self._core.feed_page(q, after, limit, wait_seconds, filters))

    async def record(self, record_id: str) -> Record:
        """The record with this ``_id``."""
        return await self._do(self._core.one(record_id))

    async def summary(
        self,
        q: str | None = None,
        *,
        by: str | None = None,
        interval: Literal["minute", "hour", "day"] | None = None,
        top: int | None = None,
        **filters: Unpack[Filters],
    ) -> Summary:
        """How many records there are, over time and of which values; of the last 7 days, if nothing else is said."""
        return await self._do(self._core.summary(q, by, interval, top, filters))

    async def me(self) -> Me:
        """Who calls: account, user and token."""
        return await self._do(self._core.me())

    async def users(self) -> list[User]:
        """The account's users."""
        return await self._do(self._core.listed(USERS))

    async def tokens(self, *, user_id: str | None = None) -> list[Token]:
        """The caller's tokens; for administrators those of the account, or of one user."""
        return await self._do(self._core.listed(TOKENS, () if user_id is None else (("user_id", user_id),)))

    # Exports.

    async def export(
        self,
        target: Path | str | BinaryIO,
        *,
        format: Literal["ndjson", "csv", "parquet"] = "ndjson",  # noqa: A002 (the call's own name for it)
        compression: Literal["none", "gzip", "zstd"] = "none",
        after: str | int | None = None,
        header: bool = True,
        q: str | None = None,
        **filters: Unpack[Filters],
    ) -> Exported:
        """Write the records to a file, oldest first. A file that is named appears once it is whole."""
        download = self._core.export(q, format, compression, after, filters, header=header)
        if isinstance(target, Path | str):
            try:
                async with _replacing(Path(target)) as file:
                    return await self._download(download, file)
            except OSError as error:
                raise InvalidParameter(f"can't write {target}: {error.strerror}") from error
        return await self._download(download, target)

    async def _download(self, download: Download, file: BinaryIO) -> Exported:
        with download:
            while True:
                answer = await self._do(download.open())
                try:
                    async with aclosing(answer.stream) as response:
                        async for data in response.aiter_raw():
                            await asyncio.to_thread(file.write, download.take(data))
                except httpx.HTTPError as error:
                    await self._do(download.break_off(broken(error)))
                else:
                    return download.end()

    # Evidence.

    async def verify_record(self, record: str | Record, *, key: Keys, witnesses: Keys = ()) -> Proven:
        """Have it proven that a record is in the log; one that was read, or that with this ``_id``."""
        return await self._do(self._core.prove(record, key, witnesses))

    async def verify_growth(self, earlier: str | bytes | None, *, key: Keys, witnesses: Keys = ()) -> str:
        """Have it proven that the log only grew since an earlier checkpoint; the newest one."""
        return await self._do(self._core.prove_growth(earlier, key, witnesses))

    # Carrying out.

    async def _do(self, work: Work[_T]) -> _T:
        """Carry out what the core says, up to its result."""
        outcome: Outcome = None
        while True:
            try:
                step = work.send(outcome)
            except StopIteration as end:
                result: _T = end.value
                return result
            outcome = await self._take(step)

    async def _take(self, step: Step) -> Outcome:
        if isinstance(step, Call):
            return await self._send(step)
        await self._sleep(step.seconds)
        return None

    async def _send(self, call: Call) -> Answer | Broken:
        try:
            response = await self._http.send(self._sender.request(self._http, call), stream=True)
            if left_unread(call, response):
                return answer_of(response, unread=True)
            async with aclosing(response):
                await response.aread()
            return answer_of(response, unread=False)
        except httpx.HTTPError as error:
            return broken(error)


@asynccontextmanager
async def _replacing(path: Path) -> AsyncGenerator[BinaryIO]:
    """As ``replacing``; the disk is waited for in another thread."""
    replaced = replacing(path)
    file = await asyncio.to_thread(replaced.__enter__)
    try:
        yield file
    except BaseException as error:
        replaced.__exit__(type(error), error, error.__traceback__)
        raise
    await asyncio.to_thread(replaced.__exit__, None, None, None)
