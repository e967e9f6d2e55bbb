"""Pages, one after the other: of a search up to its end, of the feed up to the log's end or for ever."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeAlias

from whodid.client.calls import Parameters, Work
from whodid.client.errors import ApiError, InvalidAnswer
from whodid.client.position import read_position, save_position
from whodid.client.shapes import FeedPage, Record, SearchPage
from whodid.errors import InvalidCursor, InvalidParameter
from whodid.query.cursors import parse_feed_cursor
from whodid.query.pages import LONGEST_WAIT_SECONDS, MOST_FOUND

Fetch: TypeAlias = Callable[[str, Parameters, float], Work[dict[str, Any]]]
"""The JSON at a path, with these parameters, which may take so many seconds on purpose."""

SEARCH: Final = "/api/v2/logs"
FEED: Final = "/api/v2/logs/feed"


def search_page(told: dict[str, Any]) -> SearchPage:
    """The page that an answer is. Raises ``InvalidAnswer``."""
    match told:
        case {"data": list(records), "next": None | str() as cursor}:
            return SearchPage(records, cursor)
    raise InvalidAnswer("a page of a search must have data, and next")


def feed_page(told: dict[str, Any]) -> FeedPage:
    """The page that an answer is. Raises ``InvalidAnswer``."""
    match told:
        case {"data": list(records), "next": str(cursor), "head": int(head)}:
            return FeedPage(records, cursor, head)
    raise InvalidAnswer("a page of the feed must have data, next and head")


class Search:
    """A search, page by page."""

    def __init__(self, fetch: Fetch, parameters: Parameters, limit: int | None, after: str | None) -> None:
        if limit is not None and limit < 1:
            raise InvalidParameter(f"limit must be at least 1, or None for all, not {limit}")
        self._fetch = fetch
        self._parameters = parameters
        self._left = limit
        self._after = after
        self.done = False

    def page(self) -> Work[list[Record]]:
        """The records of the next page, which may be none; after the last one, the search is ``done``."""
        limit = MOST_FOUND if self._left is None else min(MOST_FOUND, self._left)
        after = () if self._after is None else (("after", self._after),)
        told = yield from self._fetch(SEARCH, (*self._parameters, ("limit", str(limit)), *after), 0)
        page = search_page(told)
        self._after = page.next
        if self._left is not None:
            self._left -= len(page.records)
        self.done = page.next is None or self._left == 0
        return page.records


class Feed:
    """The feed, page by page, from a place on that a file may keep."""

    def __init__(
        self,
        fetch: Fetch,
        account: Callable[[], Work[str]],
        parameters: Parameters,
        *,
        after: str | int | None,
        cursor_file: Path | None,
        limit: int,
        wait_seconds: int,
        follow: bool,
    ) -> None:
        """Raises ``InvalidParameter``. What the file keeps stands above ``after``."""
        if not 1 <= wait_seconds <= LONGEST_WAIT_SECONDS:
            raise InvalidParameter(f"wait_seconds must be from 1 to {LONGEST_WAIT_SECONDS}, not {wait_seconds}")
        self._fetch = fetch
        self._account = account
        self._parameters = (*parameters, ("limit", str(limit)))
        self._file = cursor_file
        self._kept = None if cursor_file is None else read_position(cursor_file)
        self._after = self._kept or (None if after is None else str(after))
        self._wait_seconds = wait_seconds if follow else 0
        self._follow = follow
        self._end: int | None = None
        self.done = False

    def page(self) -> Work[FeedPage]:
        """The next page; if it is not to be followed for ever, the feed is ``done`` where it ended as this began."""
        after = () if self._after is None else (("after", self._after),)
        wait = ("wait", str(self._wait_seconds))
        try:
            told = yield from self._fetch(FEED, (*self._parameters, wait, *after), self._wait_seconds)
        except ApiError as error:
            raise self._with_file(error) from error
        page = feed_page(told)
        self._after = page.cursor
        if not self._follow:
            self._end = page.head if self._end is None else self._end
            self.done = yield from self._is_at_end(page, self._end)
        return page

    def _with_file(self, error: ApiError) -> ApiError:
        """The same error, which names the file if it is the file's cursor that was refused."""
        if error.code != InvalidCursor.code or self._file is None or self._after != self._kept:
            return error
        detail = f"{error.detail}; the cursor is that of the file {self._file}: to begin anew, remove it"
        return ApiError(error.status, error.code, detail, request_id=error.request_id)

    def _is_at_end(self, page: FeedPage, end: int) -> Work[bool]:
        """Whether a page leads to the end. Of filtered pages only the cursor knows: it is behind what was left out."""
        if page.records and page.records[-1]["seq"] + 1 >= end:
            return True
        account = page.records[-1]["account"] if page.records else (yield from self._account())
        try:
            return parse_feed_cursor(page.cursor, account).next_seq >= end
        except InvalidCursor as error:
            raise InvalidAnswer(
                "this client does not know the server's cursors, and so not where the log ends: install the server's "
                "version, or use follow=True"
            ) from error

    def consumed(self, page: FeedPage) -> None:
        """The page's records have been dealt with: keep where to go on. Raises ``InvalidParameter``."""
        if self._file is not None and page.cursor != self._kept:
            save_position(self._file, page.cursor)
            self._kept = page.cursor
