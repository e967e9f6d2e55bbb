"""Authentication and authorisation: from a bearer token to a principal, and the record of the token's use.

The checks of a call, in order: its token

1. is authentic: it has the form and checksum of a token, and there is such a token;
2. has not expired, neither by time nor by its owner;
3. has an owner who is active;                                   — these three fail with ``Unauthenticated``
4. has a scope that fits the operation;
5. has an owner whose role allows it.                            — these two fail with ``Forbidden``

A call that passes 1 to 3 leaves a token use, refused or not, durably before its work is done. What was read about a
token is remembered, but counts only if the account's users and tokens are still those when the token use is
committed: the commit itself checks that (``identity_version``). So an expiry or a deactivation holds at once, even
one made by another process.

The one exception to "durably before": while the store takes no appends (disk full or broken), reading goes on. The
token uses of those calls are kept, logged, and recorded as soon as the store takes appends again.
"""

import asyncio
import hmac
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from msgspec import UNSET, Struct
from msgspec.structs import replace

from whodid.errors import Forbidden, StaleIdentity, StoreUnavailable, Unauthenticated, WhodidError
from whodid.records import Event, IdMakers, Kind, Outcome, TokenUse, complete
from whodid.sequencer import Sequencer
from whodid.store.base import Credential, Role, Scope, Store, Submission
from whodid.tokens import digest_of, is_authentic

log = logging.getLogger(__name__)

ATTEMPTS: Final = 10
"""How often a call is checked again because users or tokens of its account changed under it."""

MOST_OWED: Final = 10_000
"""How many token uses are kept while the store takes no appends; past that, reading stops too."""

_SETTLE_SECONDS: Final = 1.0
_LAST_SECONDS: Final = 3.0
"""How long a stopping server goes on trying: longer than the sequencer rests after a failure."""


@dataclass(frozen=True, slots=True)
class Operation:
    """Something that a token may be used for: which scopes and roles open it."""

    name: str
    scopes: frozenset[Scope]
    roles: frozenset[Role]


READ_LOG = Operation(
    "reading the log",
    frozenset({Scope.API, Scope.SECURITY_LOGS}),
    frozenset({Role.ADMINISTRATOR, Role.POWER_USER}),
)
READ_EVIDENCE = Operation(
    "reading evidence",
    frozenset({Scope.API, Scope.API_READONLY, Scope.SECURITY_LOGS}),
    frozenset({Role.ADMINISTRATOR, Role.POWER_USER, Role.AUDITOR, Role.SECURITY_MANAGER}),
)
RECORD = Operation(
    "recording events",
    frozenset({Scope.API, Scope.LOGS_WRITE}),
    frozenset({Role.ADMINISTRATOR, Role.POWER_USER, Role.SERVICE}),
)
SEARCH = Operation(
    "searching the log",
    frozenset({Scope.API, Scope.API_READONLY, Scope.SECURITY_LOGS}),
    frozenset({Role.ADMINISTRATOR, Role.POWER_USER, Role.AUDITOR, Role.SECURITY_MANAGER}),
)
ASK_WHO = Operation("asking who calls", frozenset(Scope), frozenset(Role))
READ_USERS = Operation(
    "listing users",
    frozenset({Scope.API, Scope.API_READONLY}),
    frozenset({Role.ADMINISTRATOR, Role.AUDITOR, Role.SECURITY_MANAGER}),
)
MANAGE_USERS = Operation("changing users", frozenset({Scope.API}), frozenset({Role.ADMINISTRATOR}))
READ_OWN_TOKENS = Operation("listing one's tokens", frozenset({Scope.API, Scope.API_READONLY}), frozenset(Role))
READ_TOKENS = Operation(
    "listing the tokens of others", frozenset({Scope.API, Scope.API_READONLY}), frozenset({Role.ADMINISTRATOR})
)
CREATE_OWN_TOKENS = Operation("creating tokens for oneself", frozenset({Scope.API}), frozenset(Role) - {Role.SERVICE})
EXPIRE_OWN_TOKENS = Operation("expiring one's tokens", frozenset({Scope.API}), frozenset(Role))
MANAGE_TOKENS = Operation(
    "creating and expiring the tokens of others", frozenset({Scope.API}), frozenset({Role.ADMINISTRATOR})
)
NOTHING = Operation("this", frozenset(Scope), frozenset(Role))
"""For calls that lead nowhere: any valid token may learn that there is no such page."""


class Call(Struct, frozen=True):
    """One call of the API, as a token use tells of it."""

    method: str
    target: str
    """The path without ``/api`` and without the query string."""
    request_id: str
    ip_address: str | None = None
    user_agent: str | None = None


class Principal(Struct, frozen=True):
    """Who calls: a token that passed the checks 1 to 3, its owner and the account."""

    token_id: str
    digest: bytes
    scope: Scope
    expires_ms: int
    user_id: str
    user_email: str
    role: Role
    account_no: int
    account: str
    identity_version: int


class Gate:
    """Lets callers in, and records that it did or did not."""

    def __init__(
        self,
        store: Store,
        sequencer: Sequencer,
        *,
        clock: Callable[[], int],
        ids: IdMakers,
        cache_size: int,
    ) -> None:
        self._store = store
        self._sequencer = sequencer
        self._clock = clock
        self._ids = ids
        self._cache_size = cache_size
        self._known: dict[bytes, Principal] = {}
        self._owed: deque[Submission] = deque()
        self._settling: asyncio.Task[None] | None = None

    async def identify(self, bearer: str | None) -> Principal:
        """Checks 1 to 3. Raises ``Unauthenticated``."""
        if bearer is None:
            raise Unauthenticated
        digest = digest_of(bearer)
        principal = self._known.get(digest)
        if principal is None:
            if not is_authentic(bearer):
                raise Unauthenticated
            principal = await self._look_up(digest)
        if self._clock() >= principal.expires_ms:
            raise Unauthenticated
        return principal

    async def admit(
        self, bearer: str | None, call: Call, operation: Operation, fault: WhodidError | None = None
    ) -> Principal:
        """All checks, and the token use. ``fault`` is what is wrong with the call apart from them.

        Raises ``Unauthenticated``, ``Forbidden``, ``fault``, and what the sequencer raises.
        """
        for _ in range(ATTEMPTS):
            principal = await self.identify(bearer)
            refusal = refuse(principal, operation) or fault
            submission = Submission(
                principal.account_no,
                [self.use_of(principal, call, refusal)],
                identity_version=principal.identity_version,
            )
            try:
                await self._record(submission)
            except StaleIdentity:
                self.forget(principal)
                continue
            if refusal is not None:
                raise refusal
            return principal
        raise StaleIdentity

    async def recheck(
        self, bearer: str | None, principal: Principal, operation: Operation, identity_version: int
    ) -> Principal:
        """Who calls, for a call that goes on for long, now that the account's users and tokens are of this version.

        Raises ``Unauthenticated`` and ``Forbidden`` where the token does not open it any more.
        """
        if principal.identity_version != identity_version:
            self.forget(principal)
        current = await self.identify(bearer)
        if refusal := refuse(current, operation):
            raise refusal
        return current

    def use_of(self, principal: Principal, call: Call, refusal: WhodidError | None = None) -> Event:
        """The token use of a call."""
        now_ms = self._clock()
        use = TokenUse(
            token_id=principal.token_id,
            scope=principal.scope.value,
            target=call.target,
            user_id=principal.user_id,
            method=call.method,
            outcome=_outcome(refusal),
            ip_address=call.ip_address or UNSET,
            user_agent=call.user_agent or UNSET,
            request_id=call.request_id,
        )
        return complete(
            use,
            kind=Kind.TOKEN,
            record_id=self._ids.of(principal.account)(now_ms),
            account=principal.account,
            created_ms=now_ms,
            recorded_ms=now_ms,
        )

    def forget(self, principal: Principal) -> None:
        """Look this token up anew next time: users or tokens of its account have changed."""
        self._known.pop(principal.digest, None)

    def forget_account(self, account_no: int | None) -> None:
        """Look all tokens of an account up anew, or those of all accounts: they were changed by another server."""
        if account_no is None:
            self._known.clear()
        for digest in [digest for digest, known in self._known.items() if known.account_no == account_no]:
            del self._known[digest]

    async def close(self) -> None:
        """Try for a moment more to record what is owed."""
        if self._settling is not None:
            await asyncio.wait([self._settling], timeout=_LAST_SECONDS)
        if self._settling is not None:
            self._settling.cancel()
            await asyncio.wait([self._settling])
        await self._settle_what_can_be()
        if self._owed:
            log.error("%d token uses could not be recorded; they are in this log", len(self._owed))

    async def _look_up(self, digest: bytes) -> Principal:
        credential = await self._store.credential(digest)
        # Found by its digest, so it is equal; compared once more in constant time, whatever an index does.
        if credential is None or not hmac.compare_digest(credential.token.digest, digest):
            raise Unauthenticated
        if credential.token.expired_ms is not None or not credential.user.active:
            raise Unauthenticated
        while len(self._known) >= max(self._cache_size, 1):
            del self._known[next(iter(self._known))]
        principal = self._known[digest] = _principal(credential)
        return principal

    async def _record(self, submission: Submission) -> None:
        try:
            await self._sequencer.append(submission)
        except StoreUnavailable:
            await self._owe(submission)

    async def _owe(self, submission: Submission) -> None:
        """Keep a token use that can't be recorded now."""
        version = await self._store.identity_version(submission.account_no)
        if version != submission.identity_version:
            raise StaleIdentity
        if len(self._owed) >= MOST_OWED:
            raise StoreUnavailable(
                "the store takes no appends, and too many token uses wait for it", retry_after_seconds=5
            )
        # Perhaps it was recorded, and only the end of the commit failed: as an event with an _id of its own, it will
        # then be a duplicate.
        events = [replace(event, filled=()) for event in submission.events]
        self._owed.append(Submission(submission.account_no, events))
        log.warning("a token use waits for the store", extra={"record": submission.events[0].record.decode()})
        if self._settling is None:
            self._settling = asyncio.create_task(self._settle(), name="settle owed token uses")

    async def _settle(self) -> None:
        try:
            while self._owed:
                await asyncio.sleep(_SETTLE_SECONDS)
                await self._settle_what_can_be()
        finally:
            self._settling = None

    async def _settle_what_can_be(self) -> None:
        while self._owed:
            try:
                await self._sequencer.append(self._owed[0])
            except WhodidError:
                return
            self._owed.popleft()


def refuse(principal: Principal, operation: Operation) -> Forbidden | None:
    """Checks 4 and 5: why the principal may not do this; None if it may."""
    if principal.scope not in operation.scopes:
        scopes = ", ".join(sorted(operation.scopes))
        return Forbidden(f"{operation.name} needs a token of scope {scopes}; this one has {principal.scope.value}")
    if principal.role not in operation.roles:
        roles = ", ".join(sorted(operation.roles))
        return Forbidden(f"{operation.name} needs the role {roles}; the token's owner has {principal.role.value}")
    return None


def _outcome(refusal: WhodidError | None) -> Outcome:
    if refusal is None:
        return "success"
    return "denied" if isinstance(refusal, Forbidden) else "failure"


def _principal(credential: Credential) -> Principal:
    token, user, account = credential
    return Principal(
        token_id=token.id,
        digest=token.digest,
        scope=token.scope,
        expires_ms=token.expires_ms,
        user_id=user.id,
        user_email=user.email,
        role=user.role,
        account_no=account.no,
        account=account.name,
        identity_version=account.identity_version,
    )
