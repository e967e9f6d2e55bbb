"""Records as far as an auditor must read them: whose they are. Cheap, since it is asked of every entry."""

import json

import msgspec
from msgspec import Struct


class _Record(Struct, gc=False):
    account: str


_decoder = msgspec.json.Decoder(_Record)


def account_in(record: str | bytes) -> str | None:
    """The account that a record is of; None where it is not a JSON object that names one."""
    try:
        return _decoder.decode(record).account
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return _slowly(record)


def _slowly(record: str | bytes) -> str | None:
    """The same by a parser that lets escapes pass that stand for no character, as JSON does."""
    try:
        value = json.loads(record)
    except (ValueError, RecursionError):
        return None
    account = value.get("account") if isinstance(value, dict) else None
    return account if isinstance(account, str) else None
