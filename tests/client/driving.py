"""Both clients, called alike: the one for event loops is driven by a loop of the test's."""

import asyncio
import inspect
import random
from collections.abc import AsyncGenerator, Iterator
from typing import Any, cast

from tests.building import ManualClock

from whodid import AsyncClient, Client

KINDS = ("blocking", "asynchronous")
TOKEN = "a-token-that-nobody-must-see"
_END = object()


class Clients:
    """Makes clients whose pauses are only written down, on a clock that they move."""

    def __init__(self, kind: str, runner: asyncio.Runner, clock: ManualClock) -> None:
        self._kind = kind
        self._runner = runner
        self._made: list[Any] = []
        self.clock = clock
        self.pauses: list[float] = []

    def __call__(self, url: str, token: str = TOKEN, **more: Any) -> Client:
        """A client of the test's kind."""
        given: dict[str, Any] = {"monotonic": self.clock.monotonic, "chance": random.Random(7), **more}
        if self._kind == "blocking":
            blocking = Client(url, token, sleep=self._pause, **given)
            self._made.append(blocking)
            return blocking
        made = AsyncClient(url, token, sleep=self._pause_in_loop, **given)
        self._made.append(made)
        return cast("Client", _Driven(made, self._runner))

    def close(self) -> None:
        """Close all."""
        for client in self._made:
            if isinstance(client, Client):
                client.close()
            else:
                self._runner.run(client.aclose())

    def _pause(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.clock.advance(seconds)

    async def _pause_in_loop(self, seconds: float) -> None:
        self._pause(seconds)


class _Driven:
    """An ``AsyncClient`` as if it were none."""

    def __init__(self, client: AsyncClient, runner: asyncio.Runner) -> None:
        self._client = client
        self._runner = runner

    def __repr__(self) -> str:
        return repr(self._client).removeprefix("Async")

    def __getattr__(self, name: str) -> Any:
        function = getattr(self._client, name)

        def call(*given: Any, **named: Any) -> Any:
            made = function(*given, **named)
            if inspect.iscoroutine(made):
                return self._runner.run(made)
            return self._iterate(cast("AsyncGenerator[Any, None]", made)) if inspect.isasyncgen(made) else made

        return call

    def _iterate(self, generator: AsyncGenerator[Any, None]) -> Iterator[Any]:
        async def following() -> Any:
            return await anext(generator, _END)

        async def close() -> None:
            await generator.aclose()

        try:
            while (item := self._runner.run(following())) is not _END:
                yield item
        finally:
            self._runner.run(close())
