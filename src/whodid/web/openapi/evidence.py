"""Evidence: proofs, consistency, checkpoints and tiles."""

from collections.abc import Sequence
from typing import Final

import msgspec

from whodid.auth import READ_EVIDENCE
from whodid.bundle.lines import SingleProof
from whodid.errors import InconsistentLog, InvalidParameter, NotAcceptable, NotFound, Overloaded, StoreUnavailable
from whodid.records import NAME_PATTERN, Id
from whodid.web.evidence import BYTES, SALT_HEADER, TEXT, Growth
from whodid.web.openapi.describing import (
    Call,
    Described,
    Group,
    Sample,
    json_reply,
    parameter,
    part,
    pattern,
)
from whodid.web.openapi.examples import ACCOUNT, ACTION, RECORD_ID, SEQ

GROUP: Final = Group(
    "Evidence", "Proofs that a record is in the log, and that the log only grew. Anybody can check them."
)

STRUCTS: Final = (SingleProof, Growth)

# Of a log of eight entries, of which ACTION is that number 5, with a key that nobody uses.
_NOTE: Final = (
    "audit.acme.example/log/org-acme-acc0\n8\nx2MbUpcPD4Xc6cfh+gK4EDIhNbDNEQjltnskF9AI+WM=\n\n"
    "— audit.acme.example/log/org-acme-acc0 "
    "V7s/sgFxDiUMRakpvlzXLEHlOa+CN02P1bbkgNpa1XJEqc20CHkDAjkMgIvhF9cr9CmXyTGPnrdx4P911AGr3o1XJg8=\n"
)
_HASHES: Final = {
    (4, 5): "/CIbQtJn4XRNsrVtn449t8xLdp6fFCRu8qiZj7/hkHI=",
    (5, 6): "WaDZ8phdUgfI5cWR23+w9J3YBUCZqw7uE9/8bdpmKPA=",
    (6, 8): "lqZePLD9tVE/yEBTpvMbt4apDavCjoFrADy8oKjZnOE=",
    (0, 4): "WvE+JCg+9kxSRrFrjz2xKpgB0uMX6fCYYa2ybU0RHZQ=",
}
_INCLUSION: Final = [_HASHES[one] for one in ((4, 5), (6, 8), (0, 4))]
_CONSISTENCY: Final = [_HASHES[one] for one in ((4, 5), (5, 6), (6, 8), (0, 4))]

PROOF: Final = msgspec.convert(
    {
        "account": ACCOUNT,
        "seq": SEQ,
        "salt": "XA7uNeprjRNMk0wMH+kZiA==",
        "record": ACTION.record.decode(),
        "proof": _INCLUSION,
        "checkpoint": _NOTE,
        "key": "audit.acme.example/log/org-acme-acc0+57bb3fb2+AazQZb2uz2RDN9Y9plFb/0nTZbQYt3WWwRZMhuS67Epw",
    },
    SingleProof,
)
"""A proof that holds."""

GROWTH: Final = msgspec.convert({"from": SEQ, "to": 8, "proof": _CONSISTENCY, "checkpoint": _NOTE}, Growth)


def calls(*, public: bool) -> dict[str, dict[str, Call]]:
    """The calls, by path and method; ``public`` says that checkpoints and tiles take no token."""
    tile = "/log/{account}/tile/{level}/{number}"
    return {
        "/api/v2/logs/{_id}/proof": {"get": _proof()},
        "/api/v2/log/consistency": {"get": _consistency()},
        "/log/{account}/checkpoint": {"get": _checkpoint(public=public)},
        tile: {"get": _tile("read_tile", "A full tile of a log.", [], "000", public=public)},
        tile + ".p/{width}": {
            "get": _tile("read_partial_tile", "The beginning of a tile.", [_width()], "000.p/8", public=public)
        },
    }


def _proof() -> Call:
    reply = json_reply(
        "The proof, in the form that Accept prefers; without preference as text.", SingleProof.__name__, PROOF
    )
    text = {"type": "string", "description": "A file as c2sp.org/tlog-proof has it."}
    file = f"c2sp.org/tlog-proof@v1\nindex {SEQ}\n" + "".join(f"{one}\n" for one in _INCLUSION) + f"\n{_NOTE}"
    reply["content"] = {TEXT: {"schema": text, "example": file}, **reply["content"]}
    salt = {"description": "With text: the entry's salt, base64.", "schema": {"type": "string"}}
    return Call(
        name="prove_record",
        group=GROUP,
        summary="That a record is in the account's log: a proof file, or all that it takes as JSON.",
        says="The JSON is what `whodid verify` takes.",
        by=READ_EVIDENCE,
        parameters=[part("_id", "The record's _id.", pattern(Id), RECORD_ID)],
        replies={"200": reply | {"headers": {SALT_HEADER: salt}}},
        headers=("Vary",),
        problems=(NotFound, NotAcceptable, InconsistentLog),
        sample=Sample(path=f"/api/v2/logs/{RECORD_ID}/proof", more=("-H 'Accept: application/json'",)),
    )


def _consistency() -> Call:
    size = {"type": "integer", "minimum": 0, "maximum": 10**19 - 1}
    newest = "The larger size. Without it: that of the newest checkpoint."
    return Call(
        name="prove_consistency",
        group=GROUP,
        summary="That the log of one size begins with the log of another one: that it only grew.",
        by=READ_EVIDENCE,
        parameters=[
            parameter("from", "The smaller size, in entries.", size, SEQ) | {"required": True},
            parameter("to", newest, size, 8),
        ],
        replies={"200": json_reply("The proof.", Growth.__name__, GROWTH)},
        problems=(InconsistentLog,),
        sample=Sample(path="/api/v2/log/consistency", query=(f"from={SEQ}",)),
    )


def _checkpoint(*, public: bool) -> Call:
    content = {TEXT: {"schema": {"type": "string", "description": "A signed note."}, "example": _NOTE}}
    return _of_log(
        "read_checkpoint", "The newest published checkpoint of a log.", [], content, "checkpoint", public=public
    )


def _tile(name: str, summary: str, more: Sequence[Described], path: str, *, public: bool) -> Call:
    level = part(
        "level",
        "From 0, where hashes are of leaves, to 63; or entries.",
        {"type": "string", "pattern": "^(entries|[0-9]|[1-5][0-9]|6[0-3])$"},
        "0",
    )
    number = part(
        "number",
        "The tile's number in groups of three digits, all but the last with x in front: 1234067 is x001/x234/067. "
        "The slashes are the path's: they are not encoded.",
        {"type": "string", "pattern": "^(x[0-9]{3}/){0,6}[0-9]{3}$"},
        "000",
    )
    content = {BYTES: {"schema": {"type": "string", "format": "binary"}}}
    return _of_log(name, summary, [level, number, *more], content, f"tile/0/{path}", public=public)


def _width() -> Described:
    return part("width", "How many hashes or entries.", {"type": "integer", "minimum": 1, "maximum": 255}, 8)


def _of_log(
    name: str, summary: str, parts: Sequence[Described], content: Described, path: str, *, public: bool
) -> Call:
    account = part("account", "The account's name.", {"type": "string", "pattern": NAME_PATTERN}, ACCOUNT)
    return Call(
        name=name,
        group=GROUP,
        summary=summary,
        says="" if public else "Of the token's own account.",
        by=None if public else READ_EVIDENCE,
        parameters=[account, *parts],
        replies={"200": {"description": summary, "content": content}},
        headers=("Cache-Control",),
        problems=(InvalidParameter, NotFound, InconsistentLog, Overloaded, StoreUnavailable),
        sample=Sample(path=f"/log/{ACCOUNT}/{path}", more=() if content.keys() == {TEXT} else ("--fail", "-o tile")),
    )
