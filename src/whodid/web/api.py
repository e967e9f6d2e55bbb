"""The API's pages: each takes its request apart, asks the service, and puts the answer together."""

from starlette.responses import Response

from whodid.auth import NOTHING, READ_LOG, Principal
from whodid.errors import InvalidParameter, NotFound, WhodidError
from whodid.metrics import CONTENT_TYPE as METRICS_TYPE
from whodid.query.compatible import parse_compatible
from whodid.recording import Content, Recorded
from whodid.records import Kind
from whodid.service import Service
from whodid.web.body import BodyBudget, read_content
from whodid.web.exchange import Exchange, Handler, Page

JSON = "application/json"


class Api:
    """The handlers of the pages of records, and of those about the server itself; and of calls that lead nowhere."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._bodies = BodyBudget(service.settings.body_mib * 1024 * 1024)

    def reading(self, kind: Kind) -> Handler:
        """The handler of a compatible reading call."""

        async def read(exchange: Exchange) -> Response:
            query, fault = None, None
            try:
                query = parse_compatible(exchange.parameters, kind, self._service.clock())
            except InvalidParameter as error:
                fault = error
            principal = await self._service.gate.admit(exchange.bearer, exchange.call, READ_LOG, fault)
            assert query is not None  # admit raises the fault
            records = await self._service.store.newest(query.within(principal.account_no))
            return Response(_page(records), media_type=JSON)

        return read

    def recording(self, kind: Kind) -> Handler:
        """The handler of a recording call."""

        async def record(exchange: Exchange) -> Response:
            with self._bodies.reserve() as reservation:

                async def fetch(principal: Principal) -> Content:
                    reservation.account_no = principal.account_no
                    if exchange.parameters:
                        raise InvalidParameter("a recording call has no parameters; events are in the body")
                    return await read_content(exchange.headers, exchange.receive, reservation)

                recorded = await self._service.recorder.record(exchange.bearer, exchange.call, kind, fetch)
            status = 200 if recorded.duplicates == len(recorded.ids) else 201
            return Response(_receipt(recorded), status, media_type=JSON)

        return record

    def guards(self, path: str) -> bool:
        """Whether what there is at a path shows only to those who have a token; and their calls are recorded."""
        return path.startswith("/api/") or (path.startswith("/log/") and not self._service.settings.public_log)

    async def nowhere(self, exchange: Exchange) -> Response:
        """Answer a call that leads nowhere, at a path that is guarded."""
        fault = NotFound(f"there is no page {exchange.path[:200]}; /openapi.json lists those there are")
        return await self.refuse(exchange, fault)

    async def refuse(self, exchange: Exchange, fault: WhodidError) -> Response:
        """Record the call, and raise ``fault``."""
        await self._service.gate.admit(exchange.bearer, exchange.call, NOTHING, fault)
        raise AssertionError("admit raises the fault")

    async def health(self, exchange: Exchange) -> Response:  # noqa: ARG002 (a handler's form)
        """The process runs."""
        return Response(b'{"status":"ok"}', media_type=JSON)

    async def ready(self, exchange: Exchange) -> Response:  # noqa: ARG002
        """The server takes appends, and its store answers. Raises ``Unavailable`` where one of them does not."""
        await self._service.sequencer.probe()
        await self._service.reach()
        return Response(b'{"status":"ready"}', media_type=JSON)

    async def metrics(self, exchange: Exchange) -> Response:  # noqa: ARG002
        """For Prometheus."""
        return Response(self._service.metrics.render(), headers={"Content-Type": METRICS_TYPE})


class GuardedPage(Page):
    """A page at a guarded path: a method that it does not have is refused, and recorded, like any other call."""

    def __init__(self, api: Api, route: str, **handlers: Handler) -> None:
        super().__init__(route, **handlers)
        self._api = api

    async def refuse(self, exchange: Exchange) -> Response:
        """Answer a method that the page does not have."""
        return await self._api.refuse(exchange, self.not_allowed(exchange))


def _page(records: list[bytes]) -> bytes:
    """Records are wire bytes: a page of them is a join."""
    return b'{"count":%d,"data":[%b]}' % (len(records), b",".join(records))


def _receipt(recorded: Recorded) -> bytes:
    places = ",".join(
        f'{{"_id":"{record_id}","seq":{seq}}}' for record_id, seq in zip(recorded.ids, recorded.seqs, strict=True)
    )
    return f'{{"count":{len(recorded.ids)},"duplicates":{recorded.duplicates},"data":[{places}]}}'.encode()
