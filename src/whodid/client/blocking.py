"""``Client``: what programs call that wait for what they ask. All threads of a program may share one."""

import os
import random
import ssl
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
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


class Client:
    """Calls a Whodid server with an access token. A context manager: ``close`` it in the end.

    A call whose answer does not come, or that the server is too busy for (429, 502, 503, 504), is made again, the last
    time ``deadline_seconds`` after the first at the latest; and, if ``attempts`` are given, so many times at most. What
    follows the feed is tried for ever. Everything raises ``CallError``: ``ApiError`` where the server refuses,
    ``NoAnswer`` where none answered; and ``InvalidParameter`` for what can't be asked.
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
        sleep: Callable[[float], None] = time.sleep,
        monotonic: Callable[[], float] = time.monotonic,
        clock: Callable[[], int] = wall_clock,
        chance: random.Random | None = None,
        random_bytes: Callable[[int], bytes] = os.urandom,
    ) -> None:
        """``timeout_seconds`` is for connecting, and for each silence of the server. Raises ``InvalidParameter``.

        ``tell`` is called with a line when a call is tried again for the first time, and with one when the server
        answers again; else the lines are logged, as warnings of ``whodid.client``.

        ``clock`` has epoch milliseconds. It, and what follows or precedes it, is for tests.
        """
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
        self._http = httpx.Client(headers=headers_with(token), verify=ssl_context or True)
        self._sleep = sleep

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._core.url!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of all connections."""
        self._http.close()

    # Recording.

    def new_id(self) -> str:
        """An ``_id`` for a new event, for who keeps events before they are sent, and may send them twice."""
        return self._core.new_id()

    def record_action(self, *unnamed: Never, **event: Unpack[ActionEvent]) -> Recorded:
        """Record that somebody did something: the event's keys as named arguments. Once this returns, it is durable."""
        check_named(unnamed)
        return self._do(self._core.record_one(ACTIONS, event))

    def record_actions(self, events: Iterable[ActionEvent]) -> list[Recorded]:
        """Record many; where each stands, in order.

        They go in requests of at most 10,000 events and 15 MiB, each of which is recorded as a whole or not at all. If
        one is refused, those before it are recorded: ``recorded`` of the error has them.
        """
        return self._do(self._core.record(ACTIONS, events))

    def record_token_uses(self, events: Iterable[TokenUseEvent]) -> list[Recorded]:
        """Record uses of your own system's access tokens; otherwise as ``record_actions``."""
        return self._do(self._core.record(TOKEN_USES, events))

    # Reading.

    def search(
        self,
        q: str | None = None,
        *,
        order: Literal["desc", "asc"] = "desc",
        limit: int | None = None,
        after: str | None = None,
        **filters: Unpack[Filters],
    ) -> Iterator[Record]:
        """The records that are found, the newest first unless ``order`` says otherwise; at most ``limit``."""
        return self._found(self._core.search(q, order, limit, after, filters))

    def _found(self, pages: Search) -> Iterator[Record]:
        while not pages.done:
            yield from self._do(pages.page())

    def search_page(
        self,
        q: str | None = None,
        *,
        order: Literal["desc", "asc"] | None = None,
        limit: int = 100,
        after: str | None = None,
        **filters: Unpack[Filters],
    ) -> SearchPage:
        """One page of what is found; ``after`` is ``next`` of the page before."""
        return self._do(self._core.search_page(q, order, limit, after, filters))

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
    ) -> Iterator[Record]:
        """Every record in the order of its number: from the beginning, or from ``after`` on, and on as they come.

        ``after`` is a cursor, the number of the last entry that is known, or ``end`` for what comes from now on. With
        ``follow=False``, the feed ends where the log ended as it began. A ``cursor_file`` keeps where to go on; once it
        is there, ``after`` is not looked at. It moves on by pages of at most ``limit`` records, when the record after a
        page's last is asked for: so whoever stops in the middle of a page, or crashes, gets that page again, and
        nothing is left out. One consumer a file.

        A server that is gone or too busy does not end what follows: it is asked again until it is back.
        """
        pages = self.feed_pages(
            after,
            cursor_file=cursor_file,
            follow=follow,
            wait_seconds=wait_seconds,
            limit=limit,
            q=q,
            **filters,
        )
        return (record for page in pages for record in page.records)

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
    ) -> Iterator[FeedPage]:
        """The same by the page, also empty ones: for who keeps a page's ``cursor`` with what is made of its records.

        In one transaction with them: then each record is dealt with exactly once, whatever crashes.
        """
        feed = self._core.feed(
            q, filters, after=after, cursor_file=cursor_file, limit=limit, wait_seconds=wait_seconds, follow=follow
        )
        return self._fed(feed)

    def _fed(self, feed: Feed) -> Iterator[FeedPage]:
        while not feed.done:
            page = self._do(feed.page())
            yield page
            feed.consumed(page)

    def feed_page(
        self,
        after: str | int | None = None,
        *,
        wait_seconds: int = 0,
        limit: int = 1000,
        q: str | None = None,
        **filters: Unpack[Filters],
    ) -> FeedPage:
        """One page of the feed; if there is nothing new, the server waits so long for it."""
        return self._do(self._core.feed_page(q, after, limit, wait_seconds, filters))

    def record(self, record_id: str) -> Record:
        """The record with this ``_id``."""
        return self._do(self._core.one(record_id))

    def summary(
        self,
        q: str | None = None,
        *,
        by: str | None = None,
        interval: Literal["minute", "hour", "day"] | None = None,
        top: int | None = None,
        **filters: Unpack[Filters],
    ) -> Summary:
        """How many records there are, over time and of which values; of the last 7 days, if nothing else is said."""
        return self._do(self._core.summary(q, by, interval, top, filters))

    def me(self) -> Me:
        """Who calls: account, user and token."""
        return self._do(self._core.me())

    def users(self) -> list[User]:
        """The account's users."""
        return self._do(self._core.listed(USERS))

    def tokens(self, *, user_id: str | None = None) -> list[Token]:
        """The caller's tokens; for administrators those of the account, or of one user."""
        return self._do(self._core.listed(TOKENS, () if user_id is None else (("user_id", user_id),)))

    # Exports.

    def export(
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
        """Write the records to a file, oldest first. A file that is named appears once it is whole.

        If the connection breaks, NDJSON and CSV go on after the last whole record; what is packed raises ``NoAnswer``.
        What was handed on before an error, always whole records, the error tells as ``exported``: to go on there, give
        its last number as ``after``, and, for CSV, ``header=False``, which leaves the columns' names out.
        """
        download = self._core.export(q, format, compression, after, filters, header=header)
        if isinstance(target, Path | str):
            try:
                with replacing(Path(target)) as file:
                    return self._download(download, file)
            except OSError as error:
                raise InvalidParameter(f"can't write {target}: {error.strerror}") from error
        return self._download(download, target)

    def _download(self, download: Download, file: BinaryIO) -> Exported:
        with download:
            file.writelines(self._pieces(download))
            return download.end()

    def _pieces(self, download: Download) -> Iterator[bytes]:
        """What comes, as often as it breaks off."""
        while True:
            answer = self._do(download.open())
            try:
                with closing(answer.stream) as response:
                    yield from map(download.take, response.iter_raw())
            except httpx.HTTPError as error:
                self._do(download.break_off(broken(error)))
            else:
                return

    # Evidence.

    def verify_record(self, record: str | Record, *, key: Keys, witnesses: Keys = ()) -> Proven:
        """Have it proven that a record is in the log; one that was read, or that with this ``_id``.

        ``key`` is the log's verifier key, from its operator; or several, or what ``whodid key show`` printed: its file
        as a ``Path``, or the text in it. ``witnesses`` are the keys of witnesses that must have cosigned. A record that
        was read must be the very one that is proven. Raises ``InvalidEvidence``.
        """
        return self._do(self._core.prove(record, key, witnesses))

    def verify_growth(self, earlier: str | bytes | None, *, key: Keys, witnesses: Keys = ()) -> str:
        """Have it proven that the log only grew since an earlier checkpoint: nothing before it was changed or removed.

        What is returned is the newest checkpoint: keep it, it is the earlier one of the next time. Without one, only
        its signature is checked. Raises ``InvalidEvidence``.
        """
        return self._do(self._core.prove_growth(earlier, key, witnesses))

    # Carrying out.

    def _do(self, work: Work[_T]) -> _T:
        """Carry out what the core says, up to its result."""
        outcome: Outcome = None
        while True:
            try:
                step = work.send(outcome)
            except StopIteration as end:
                result: _T = end.value
                return result
            outcome = self._take(step)

    def _take(self, step: Step) -> Outcome:
        if isinstance(step, Call):
            return self._send(step)
        self._sleep(step.seconds)
        return None

    def _send(self, call: Call) -> Answer | Broken:
        try:
            response = self._http.send(self._sender.request(self._http, call), stream=True)
            if left_unread(call, response):
                return answer_of(response, unread=True)
            with closing(response):
                response.read()
            return answer_of(response, unread=False)
        except httpx.HTTPError as error:
            return broken(error)
