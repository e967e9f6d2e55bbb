"""The core of both clients: every call there is, as work that knows no network, no thread and no event loop."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final, cast

from whodid.client.asking import fixed, parameters
from whodid.client.batches import Batch, Ids, batches
from whodid.client.calls import Call, Parameters, Work
from whodid.client.downloads import Download
from whodid.client.errors import ApiError, CallError, InvalidAnswer, content, refusal
from whodid.client.paging import FEED, SEARCH, Feed, Search, feed_page, search_page
from whodid.client.retrying import Patience
from whodid.client.sending import checked_url
from whodid.client.shapes import FeedPage, Filters, Keys, Me, Proven, Record, Recorded, SearchPage, Summary
from whodid.errors import InvalidParameter
from whodid.records import Id, pattern_of

ACTIONS: Final = "/api/v1/logs/user/actions"
TOKEN_USES: Final = "/api/v1/logs/user/tokens"  # noqa: S105 (a path)
SUMMARY: Final = "/api/v2/logs/summary"
ME: Final = "/api/v2/me"
USERS: Final = "/api/v2/users"
TOKENS: Final = "/api/v2/tokens"
CONSISTENCY: Final = "/api/v2/log/consistency"

NDJSON: Final = "application/x-ndjson"

_ID = pattern_of(Id)


class Core:
    """What a client can do. Each function returns work for the client to carry out, or what makes such work."""

    def __init__(self, url: str, patience: Patience, random_bytes: Callable[[int], bytes]) -> None:
        """Raises ``InvalidParameter``."""
        self.url = checked_url(url)
        if patience.attempts is not None and patience.attempts < 1:
            raise InvalidParameter(f"attempts must be at least 1, not {patience.attempts}")
        self._patience = patience
        self._ids = Ids(random_bytes)
        self._account: str | None = None

    def new_id(self) -> str:
        """An ``_id`` for an event of now."""
        return self._ids.make(self._patience.clock())

    # Recording.

    def record(self, path: str, events: Iterable[Mapping[str, Any]]) -> Work[list[Recorded]]:
        """Record events, in as few requests as may be. Raises ``CallError``, with what was recorded before it."""
        recorded: list[Recorded] = []
        try:
            for batch in batches(events, self._ids, self._patience.clock):
                yield from self._record(path, batch, recorded)
        except CallError as error:
            error.recorded = recorded
            raise
        return recorded

    def record_one(self, path: str, event: Mapping[str, Any]) -> Work[Recorded]:
        """Record one event."""
        (recorded,) = yield from self.record(path, [event])
        return recorded

    def _record(self, path: str, batch: Batch, recorded: list[Recorded]) -> Work[None]:
        call = Call("POST", path, body=batch.body, content_type=NDJSON)
        answer = yield from self._patience.answer(call, self.url)
        if answer.status == 413 and len(batch.lines) > 1:  # of the server, or of a proxy with a smaller limit
            for half in batch.halves():
                yield from self._record(path, half, recorded)
            return
        if answer.status not in (200, 201):
            raise refusal(answer, self.url, batch.first)
        told = content(answer, self.url).get("data")
        if not isinstance(told, list) or len(told) != len(batch.lines):
            raise InvalidAnswer(f"{self.url} does not say where the events stand that were recorded")
        recorded += [Recorded(one["_id"], one["seq"]) for one in told]

    # Reading.

    def fetch(self, path: str, given: Parameters = (), wait_seconds: float = 0) -> Work[dict[str, Any]]:
        """The JSON object at a path. Raises ``CallError``."""
        return self._fetch(self._patience, path, given, wait_seconds)

    def fetch_in_the_end(self, path: str, given: Parameters = (), wait_seconds: float = 0) -> Work[dict[str, Any]]:
        """The same, however long that takes."""
        return self._fetch(self._patience.lasting(), path, given, wait_seconds)

    def _fetch(self, patience: Patience, path: str, given: Parameters, wait_seconds: float) -> Work[dict[str, Any]]:
        answer = yield from patience.answer(Call("GET", path, given, wait_seconds=wait_seconds), self.url)
        return content(answer, self.url)

    def listed(self, path: str, given: Parameters = ()) -> Work[list[Any]]:
        """The list at a path."""
        told = yield from self.fetch(path, given)
        data = told.get("data")
        if not isinstance(data, list):
            raise InvalidAnswer(f"{self.url}{path} has no data")
        return data

    def search(self, q: str | None, order: str, limit: int | None, after: str | None, filters: Filters) -> Search:
        """A search."""
        return Search(self.fetch, parameters(q, filters, order=order), limit, after)

    def search_page(
        self, q: str | None, order: str | None, limit: int, after: str | None, filters: Filters
    ) -> Work[SearchPage]:
        """One page of a search."""
        told = yield from self.fetch(SEARCH, parameters(q, filters, order=order, limit=limit, after=after))
        return search_page(told)

    def feed_page(
        self, q: str | None, after: str | int | None, limit: int, wait_seconds: int, filters: Filters
    ) -> Work[FeedPage]:
        """One page of the feed."""
        given = parameters(q, filters, limit=limit, wait=wait_seconds, after=after)
        return feed_page((yield from self.fetch(FEED, given, wait_seconds)))

    def feed(
        self,
        q: str | None,
        filters: Filters,
        *,
        after: str | int | None,
        cursor_file: Path | str | None,
        limit: int,
        wait_seconds: int,
        follow: bool,
    ) -> Feed:
        """The feed."""
        return Feed(
            self.fetch_in_the_end if follow else self.fetch,
            self.account,
            parameters(q, filters),
            after=after,
            cursor_file=None if cursor_file is None else Path(cursor_file),
            limit=limit,
            wait_seconds=wait_seconds,
            follow=follow,
        )

    def one(self, record_id: str) -> Work[Record]:
        """A record by its ``_id``."""
        return self.fetch(f"{SEARCH}/{_checked_id(record_id)}")

    def summary(
        self, q: str | None, by: str | None, interval: str | None, top: int | None, filters: Filters
    ) -> Work[Summary]:
        """How many records there are."""
        return cast(
            "Summary", (yield from self.fetch(SUMMARY, parameters(q, filters, by=by, interval=interval, top=top)))
        )

    def me(self) -> Work[Me]:
        """Who calls."""
        return cast("Me", (yield from self.fetch(ME)))

    def account(self) -> Work[str]:
        """The name of the token's account; asked for once."""
        if self._account is None:
            self._account = (yield from self.me())["account"]
        return self._account

    def export(
        self,
        q: str | None,
        form: str,
        compression: str,
        after: str | int | None,
        filters: Filters,
        *,
        header: bool = True,
    ) -> Download:
        """An export. Ages in its filters are those of now, however often it is gone on with."""
        if not header and (form != "csv" or compression != "none"):
            raise InvalidParameter("header=False is for CSV that is not compressed")
        given = parameters(q, fixed(filters, self._patience.clock()), format=form, compression=compression)
        start = None if after is None else str(after)
        return Download(self._patience, self.url, given, form, packed=compression != "none", after=start, header=header)

    # Evidence. What checks it is loaded where it is needed: it takes its time.

    def prove(self, wanted: str | Record, key: Keys, witnesses: Keys) -> Work[Proven]:
        """A record, proven. Raises ``InvalidEvidence``, ``CallError``."""
        from whodid.client import evidence  # noqa: PLC0415

        trust = evidence.trust_of(key, witnesses)
        record_id = _checked_id(wanted if isinstance(wanted, str) else wanted["_id"])
        call = Call("GET", f"{SEARCH}/{record_id}/proof")
        answer = yield from self._patience.answer(call, self.url)
        if answer.status != 200:
            raise refusal(answer, self.url)
        return evidence.check_record(answer.body, wanted, trust)

    def prove_growth(self, earlier: str | bytes | None, key: Keys, witnesses: Keys) -> Work[str]:
        """The newest checkpoint, and that the log only grew to it. Raises ``InvalidEvidence``, ``CallError``."""
        from whodid.client import evidence  # noqa: PLC0415

        trust = evidence.trust_of(key, witnesses)
        try:
            data = yield from self._consistency(evidence.size_of(earlier, trust))
        except ApiError as error:
            if earlier is None or error.code != "invalid_parameter":
                raise
            data = yield from self._consistency(0)  # the newest checkpoint is of fewer entries
        return evidence.check_growth(data, earlier, trust)

    def _consistency(self, size: int) -> Work[bytes]:
        answer = yield from self._patience.answer(Call("GET", CONSISTENCY, (("from", str(size)),)), self.url)
        if answer.status != 200:
            raise refusal(answer, self.url)
        return answer.body


def _checked_id(text: str) -> str:
    """What goes into a path must be an id: anything else might be another path. Raises ``InvalidParameter``."""
    assert _ID is not None
    if _ID.fullmatch(text) is None:
        raise InvalidParameter("the _id must be 24 hex digits in lower case")
    return text
