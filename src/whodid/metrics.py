"""Metrics, in Prometheus' format: what sequencer, evidence and web do. No account and no token shows in them."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import generate_latest

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10)
_EVENTS = (1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000)


class Metrics:
    """One server's metrics. Implements the ``Observer`` of ``sequencer`` and those of ``evidence``."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        self._appended = Counter("whodid_events_appended", "Events made durable.", registry=registry)
        self._batch_events = Histogram(
            "whodid_batch_events", "Events in one commit.", buckets=_EVENTS, registry=registry
        )
        self._commit_seconds = Histogram(
            "whodid_commit_seconds",
            "From taking a batch to its being durable.",
            buckets=_SECONDS,
            registry=registry,
        )
        self._failed = Counter("whodid_failed_commits", "Batches that could not be committed.", registry=registry)
        self._waiting = Gauge("whodid_queue_events", "Events that wait to be committed.", registry=registry)
        self._requests = Counter(
            "whodid_requests", "Requests answered.", ["method", "route", "status"], registry=registry
        )
        self._request_seconds = Histogram(
            "whodid_request_seconds",
            "From a request to its answer.",
            ["route"],
            buckets=_SECONDS,
            registry=registry,
        )
        self._published = Counter(
            "whodid_checkpoints_published", "Newer checkpoints of logs that were published.", registry=registry
        )
        self._inconsistent = Gauge(
            "whodid_inconsistent_logs", "Logs that contradict what was signed about them.", registry=registry
        )
        self._witness_cosigned = Gauge(
            "whodid_witness_cosigned_entries",
            "Entries that a witness has cosigned, of all logs together.",
            ["witness"],
            registry=registry,
        )
        self._witness_behind = Gauge(
            "whodid_witness_behind_entries",
            "Entries that a witness has yet to cosign, of all logs together.",
            ["witness"],
            registry=registry,
        )
        self._witness_failing = Gauge(
            "whodid_witness_failing",
            "1 where the last answer of a witness about any log was no cosignature, else 0.",
            ["witness"],
            registry=registry,
        )
        self._witness_errors = Counter(
            "whodid_witness_errors",
            "Times that a witness gave no cosignature when asked.",
            ["witness"],
            registry=registry,
        )
        self._by_request: dict[tuple[str, str, int], Counter] = {}
        self._by_route: dict[str, Histogram] = {}

    def committed(self, submissions: int, events: int, seconds: float) -> None:  # noqa: ARG002 (the observer's form)
        """A batch is durable."""
        self._appended.inc(events)
        self._batch_events.observe(events)
        self._commit_seconds.observe(seconds)

    def failed(self, submissions: int) -> None:  # noqa: ARG002
        """A batch failed as a whole."""
        self._failed.inc()

    def watch_queue(self, waiting_events: Callable[[], int]) -> None:
        """Ask ``waiting_events`` how many wait, whenever the metrics are rendered."""
        self._waiting.set_function(waiting_events)

    def published(self) -> None:
        """A log's newer checkpoint was published."""
        self._published.inc()

    def inconsistent(self, logs: int) -> None:
        """How many logs contradict what was signed about them."""
        self._inconsistent.set(logs)

    def witness_failed(self, witness: str) -> None:
        """A witness gave no cosignature when asked."""
        self._witness_errors.labels(witness).inc()

    def witnessed(self, witness: str, *, cosigned_entries: int, behind_entries: int, failing: bool) -> None:
        """How far a witness is, with all logs together; whether its last answer about any of them was a failure."""
        self._witness_cosigned.labels(witness).set(cosigned_entries)
        self._witness_behind.labels(witness).set(behind_entries)
        self._witness_failing.labels(witness).set(failing)
        self._witness_errors.labels(witness)  # there from the beginning, so that its increase can be told

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """A request was answered. ``route`` is a page's path, never what a caller wrote."""
        requests = self._by_request.get((method, route, status))
        if requests is None:
            requests = self._requests.labels(method, route, str(status))
            self._by_request[method, route, status] = requests
        requests.inc()
        histogram = self._by_route.get(route)
        if histogram is None:
            histogram = self._by_route[route] = self._request_seconds.labels(route)
        histogram.observe(seconds)

    def render(self) -> bytes:
        """All of them, as Prometheus scrapes them."""
        return generate_latest(self._registry)
