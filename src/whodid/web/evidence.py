"""The pages of evidence: checkpoints and tiles of a log, proofs of its records, proofs that it only grew.

What is to be answered is made before the call is recorded, so that its token use tells how it ended; and it is handed
out after, so that nobody has evidence whose use is not in the log.
"""

from base64 import b64encode
from collections.abc import Awaitable, Callable

import msgspec
from msgspec import UNSET, Struct, UnsetType
from starlette.responses import Response

from whodid.auth import NOTHING, READ_EVIDENCE, Principal, refuse
from whodid.bundle.lines import Hashes, SingleProof, render_proof
from whodid.errors import NotAcceptable, NotFound, WhodidError
from whodid.evidence.serving import Consistency, Proof
from whodid.query.compatible import parse_sizes
from whodid.query.parameters import once_each, parse_id, quoted
from whodid.service import Service
from whodid.tiles import parse_tile_path
from whodid.web.exchange import Exchange
from whodid.web.negotiation import preferred

JSON = "application/json"
TEXT = "text/plain"
BYTES = "application/octet-stream"
SALT_HEADER = "Whodid-Salt"

CHECKPOINT_SECONDS = 1
"""How long a checkpoint may be taken for the newest by who has it."""

TILE_SECONDS = 365 * 24 * 60 * 60
"""How long a tile may be kept: it never changes, and this is the longest that caches know."""


class Growth(Struct, frozen=True, kw_only=True):
    """That a log only grew from one size to another one. The order of the fields is that of the keys."""

    old: int = msgspec.field(name="from")
    new: int = msgspec.field(name="to")
    proof: Hashes
    """The consistency proof of RFC 6962 §2.1.2."""
    checkpoint: str | UnsetType = UNSET
    """The newest one, as a note, where that is what the log grew to."""


class EvidencePages:
    """The handlers."""

    def __init__(self, service: Service) -> None:
        self._gate = service.gate
        self._evidence = service.evidence
        self._public = service.settings.public_log

    async def checkpoint(self, exchange: Exchange) -> Response:
        """The newest published checkpoint of a log."""

        async def answer(account_no: int, account: str) -> Response:
            once_each(exchange.parameters, ())
            signed = await self._evidence.checkpoint(account_no, account)
            return Response(str(signed.note), media_type=TEXT, headers=self._cached(f"max-age={CHECKPOINT_SECONDS}"))

        return await self._of_log(exchange, answer)

    async def tile(self, exchange: Exchange) -> Response:
        """A tile of a log: of hashes, or of entries."""

        async def answer(account_no: int, account: str) -> Response:
            once_each(exchange.parameters, ())
            path = f"tile/{exchange.parts['level']}/{exchange.parts['number']}"
            tile = parse_tile_path(path)
            if tile is None:
                raise NotFound(f"{quoted(path)} is the name of no tile; those are like tile/0/x001/234.p/56")
            content = await self._evidence.tile(account_no, account, tile)
            return Response(content, media_type=BYTES, headers=self._cached(f"max-age={TILE_SECONDS}, immutable"))

        return await self._of_log(exchange, answer)

    async def proof(self, exchange: Exchange) -> Response:
        """That a record is in the log: a proof file, or all that it takes in one JSON object."""

        async def answer(account_no: int, account: str) -> Response:
            once_each(exchange.parameters, ())
            record_id = parse_id(exchange.parts["_id"])
            form = preferred(exchange.headers.get("accept"), (TEXT, JSON))
            if form is None:
                raise NotAcceptable(f"a proof is {TEXT} or {JSON}; Accept must take one of them")
            proof = await self._evidence.proof(account_no, account, record_id)
            return _proof_object(account, proof) if form == JSON else _proof_file(record_id, proof)

        return await self._of_own(exchange, answer)

    async def consistency(self, exchange: Exchange) -> Response:
        """That the log of one size begins with the log of another one."""

        async def answer(account_no: int, account: str) -> Response:
            old, new = parse_sizes(exchange.parameters)
            return _growth(await self._evidence.consistency(account_no, account, old, new))

        return await self._of_own(exchange, answer)

    async def _of_log(self, exchange: Exchange, answer: "Answer") -> Response:
        """The answer about the log that the path names: to everyone, or to those who may read its evidence."""
        account = exchange.parts["account"]
        if self._public:
            account_no = await self._evidence.account_no(account)
            if account_no is None:
                raise NotFound("there is no such log")
            return await answer(account_no, account)
        principal = await self._gate.identify(exchange.bearer)
        if principal.account != account:  # whether there is such an account, nobody learns here
            fault = NotFound("there is no such log, or it is not that of the token's account")
            await self._gate.admit(exchange.bearer, exchange.call, NOTHING, fault)
            raise fault
        return await self._of_own(exchange, answer)

    async def _of_own(self, exchange: Exchange, answer: "Answer") -> Response:
        """The answer about the log of the caller's own account, which has the call in it then."""
        principal = await self._gate.identify(exchange.bearer)
        made, fault = None, None
        if refuse(principal, READ_EVIDENCE) is None:
            try:
                made = await self._make(answer, principal)
            except Exception as error:  # ours, or a flaw of the program: the call is in the log either way
                fault = _fault(error)
        principal = await self._gate.admit(exchange.bearer, exchange.call, READ_EVIDENCE, fault)
        # None: the caller was given the right to it just now.
        return await self._make(answer, principal) if made is None else made

    async def _make(self, answer: "Answer", principal: Principal) -> Response:
        return await answer(principal.account_no, principal.account)

    def _cached(self, how: str) -> dict[str, str]:
        """The headers that tell caches what they may do: what a token was needed for is that token's."""
        if self._public:
            return {"Cache-Control": f"public, {how}"}
        return {"Cache-Control": f"private, {how}", "Vary": "Authorization"}


Answer = Callable[[int, str], Awaitable[Response]]
"""Makes the answer about an account's log: of the account's number and name."""


def _fault(error: Exception) -> WhodidError:
    """An error as one that the gate records; of a flaw of the program it is the cause."""
    if isinstance(error, WhodidError):
        return error
    fault = WhodidError(f"an internal error: {error!r}")
    fault.__cause__ = error
    return fault


def _proof_file(record_id: str, proof: Proof) -> Response:
    headers = {
        SALT_HEADER: b64encode(proof.entry.salt).decode(),
        "Content-Disposition": f'inline; filename="{record_id}.tlog-proof"',
        "Vary": "Accept",
    }
    return Response(str(proof.file), media_type=TEXT, headers=headers)


def _proof_object(account: str, proof: Proof) -> Response:
    content = SingleProof(
        account=account,
        seq=proof.entry.seq,
        salt=proof.entry.salt,
        record=proof.entry.record.decode(),
        proof=tuple(proof.hashes),
        checkpoint=str(proof.signed.note),
        key=str(proof.signed.signer),
    )
    return Response(render_proof(content), media_type=JSON, headers={"Vary": "Accept"})


def _growth(consistency: Consistency) -> Response:
    signed = consistency.signed
    content = Growth(
        old=consistency.old,
        new=consistency.new,
        proof=tuple(consistency.hashes),
        checkpoint=UNSET if signed is None else str(signed.note),
    )
    return Response(msgspec.json.encode(content), media_type=JSON)
