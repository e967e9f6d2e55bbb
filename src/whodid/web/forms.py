"""Forms: the small JSON objects that users and tokens are made and changed with, fetched within bounds and checked.

Strict, like parameters: a field that is not known, given twice or of a wrong type is refused, and nothing is guessed.
What a value means is decided by the rules of ``identity``.
"""

import asyncio
import json
from typing import Annotated, Any, Final, NoReturn, TypeVar, get_args, get_origin

import msgspec
from msgspec import Struct

from whodid.errors import BodyTooLarge, InvalidParameter, MalformedBody, UnsupportedBody
from whodid.query.parameters import once_each, quoted
from whodid.records import pattern_of
from whodid.web.exchange import Exchange

MAX_FORM_BYTES: Final = 64 * 1024
_FORM_SECONDS: Final = 120.0
"""How long a form may take to come, all of it."""

_JSON: Final = "application/json"
_UTF_8: Final = ("", "charset=utf-8", "charset=utf8")
_SHOWN: Final = 60
"""How much of a wrong value an error message repeats."""

_Form = TypeVar("_Form", bound=Struct)


async def read_form(exchange: Exchange, form: type[_Form]) -> _Form:
    """The form that a request brings; an empty body is one without fields. Such a call has no parameters.

    Raises ``InvalidParameter``, ``MalformedBody``, ``BodyTooLarge`` or ``UnsupportedBody``.
    """
    once_each(exchange.parameters, ())
    _check_type(exchange)
    try:
        async with asyncio.timeout(_FORM_SECONDS):
            data = await _fetch(exchange)
    except TimeoutError as error:
        raise MalformedBody(f"the body took more than {_FORM_SECONDS:.0f} seconds to come") from error
    return parse_form(data, form)


def parse_form(data: bytes, form: type[_Form]) -> _Form:
    """The form that these bytes are. Raises ``InvalidParameter`` or ``MalformedBody``."""
    given = _parse_object(data) if data.strip() else {}
    fields = {field.encode_name: field for field in msgspec.structs.fields(form)}
    for name in given:
        if name not in fields:
            there = ", ".join(fields) or "none"
            raise InvalidParameter(f"there is no field {_show(name)} here; there are {there}")
    for name, field in fields.items():
        if name in given:
            _check_value(name, given[name], field.type)
        elif field.required:
            raise InvalidParameter(f"{name} must be given: {_description(field.type)}")
    return msgspec.convert(given, form)


def _check_type(exchange: Exchange) -> None:
    given = exchange.headers.get("content-type", _JSON)
    content_type, _, parameters = given.partition(";")
    charset = parameters.lower().replace(" ", "").replace('"', "")
    if content_type.strip().lower() != _JSON or charset not in _UTF_8:
        raise _unsupported(
            f"the content type must be {_JSON}, in UTF-8, not {quoted(given)}; "
            f"with curl, add -H 'Content-Type: {_JSON}'"
        )
    encoding = exchange.headers.get("content-encoding", "").strip().lower()
    if encoding not in ("", "identity"):
        raise _unsupported(f"the body must not be encoded here; its content encoding is {quoted(encoding)}")


def _unsupported(message: str) -> UnsupportedBody:
    return UnsupportedBody(message, accept=_JSON, accept_encoding="identity")


async def _fetch(exchange: Exchange) -> bytes:
    data = bytearray()
    more = True
    while more:
        message = await exchange.receive()
        if message["type"] == "http.disconnect":
            raise MalformedBody("the body is cut off: the connection ended before it did")
        data += message.get("body", b"")
        more = message.get("more_body", False)
        if len(data) > MAX_FORM_BYTES:
            raise BodyTooLarge(f"the body is larger than {MAX_FORM_BYTES} bytes ({MAX_FORM_BYTES >> 10} KiB)")
    return bytes(data)


def _parse_object(data: bytes) -> dict[str, Any]:
    try:
        value = json.loads(data.decode("utf-8"), object_pairs_hook=_once_each, parse_constant=_refuse_constant)
    except UnicodeDecodeError as error:
        raise MalformedBody(f"the body is not UTF-8: byte {error.start} can't be read") from error
    except json.JSONDecodeError as error:
        raise MalformedBody(f"the body is not JSON: {error.msg}, at character {error.pos}") from error
    except RecursionError as error:
        raise MalformedBody("the body nests too deep") from error
    except ValueError as error:
        raise MalformedBody(f"the body is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise MalformedBody('the body must be an object, like {"name": "value"}')
    return value


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    given: dict[str, Any] = {}
    for name, value in pairs:
        if name in given:
            raise InvalidParameter(f"the field {_show(name)} is given twice; give it once")
        given[name] = value
    return given


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


def _check_value(name: str, value: Any, rule: Any) -> None:
    try:
        msgspec.convert(value, rule)
    except msgspec.ValidationError as error:
        raise InvalidParameter(f"{name} must be {_description(rule)}, not {_show(value)}") from error
    pattern = pattern_of(rule)
    if pattern is not None and pattern.fullmatch(value) is None:
        raise InvalidParameter(f"{name} must be {_description(rule)}, not {_show(value)}")


def _description(rule: Any) -> str:
    """What a value of this type must be: completes the sentence "<field> must be …"."""
    if get_origin(rule) is Annotated:
        return str(get_args(rule)[1].description)
    return " or ".join(text for option in get_args(rule) if (text := _description(option)))


def _show(value: Any) -> str:
    try:
        text = json.dumps(value, ensure_ascii=True)
    except RecursionError:
        return "what nests so deep"
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"
