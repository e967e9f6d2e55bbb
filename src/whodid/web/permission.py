"""Permission: whether a caller may go on with a call that takes long, since tokens expire and rights are taken away."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from time import monotonic
from typing import Final

from whodid.auth import Operation, Principal
from whodid.service import Service
from whodid.web.exchange import Exchange

RECHECKED_SECONDS: Final = 1.0
"""From this time on after the last look, nothing more is sent without another one."""


class Permission:
    """That of one call, which was admitted just now."""

    def __init__(self, service: Service, exchange: Exchange, principal: Principal, operation: Operation) -> None:
        self._service = service
        self._exchange = exchange
        self._operation = operation
        self._checked_at = monotonic()
        self.principal = principal
        """Who calls, as known at the last look."""

    async def check(self, identity_version: int) -> None:
        """Look again, now that the account's users and tokens are of this version.

        Raises ``Unauthenticated`` and ``Forbidden`` where such a call would be refused by now.
        """
        self.principal = await self._service.gate.recheck(
            self._exchange.bearer, self.principal, self._operation, identity_version
        )
        self._checked_at = monotonic()

    async def during(self, pieces: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
        """The same pieces, for as long as the caller may have them; then it raises, whatever was made already."""
        async with aclosing(pieces) as made:
            async for piece in made:
                if monotonic() - self._checked_at >= RECHECKED_SECONDS:
                    head = await self._service.feed.head(self.principal.account_no)
                    await self.check(head.identity_version)
                yield piece
