"""Diagnosis: what exactly is wrong with a body of events, told for people. Slow and thorough; ingest's second look.

Goes through the body with Python's own JSON parser, which tells keys given twice, and names every fault of every
event. Decides nothing that ingest's fast path decides otherwise: what is accepted is what the models accept.
"""

import json
from collections import Counter
from typing import Annotated, Any, NoReturn, get_args, get_origin

import msgspec

from whodid.errors import BodyTooLarge, Fault, InvalidEvents, MalformedBody
from whodid.records import MODELS, Kind

_SHOWN = 60
"""How much of a wrong value an error message repeats."""


class _Object(dict[str, Any]):
    """A JSON object that remembers which of its keys were given twice."""

    twice: tuple[str, ...] = ()


def explain(data: bytes, kind: Kind, *, lines: bool, max_events: int) -> NoReturn:
    """Raise the error that says what is wrong with ``data``, which the models refused."""
    explain_if_wrong(data, kind, lines=lines, max_events=max_events)
    raise MalformedBody("the body is not valid JSON")  # refused by the models, and yet no fault was found


def explain_if_wrong(data: bytes, kind: Kind, *, lines: bool, max_events: int) -> None:
    """Raise the error that says what is wrong with ``data``, if anything is."""
    values = _parse_lines(data) if lines else _parse(data)
    if len(values) > max_events:
        raise BodyTooLarge(f"the body has {len(values)} events; a request may have {max_events}: send several requests")
    faults = [fault for index, value in enumerate(values) for fault in _event_faults(index, value, kind)]
    if faults:
        raise InvalidEvents(faults)


def _parse(data: bytes) -> list[Any]:
    value = _load(data, "the body")
    if isinstance(value, list):
        return value
    if isinstance(value, dict):
        return [value]
    raise MalformedBody(f"the body must be an object or an array of objects, not {_kind_of(value)}")


def _parse_lines(data: bytes) -> list[Any]:
    lines = data.split(b"\n")
    return [_load(line, f"line {number}") for number, line in enumerate(lines, 1) if line.strip()]


def _load(data: bytes, where: str) -> Any:
    if not data.strip():
        raise MalformedBody(f"{where} is empty; send an object, an array of objects, or one object a line")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise MalformedBody(f"{where} is not UTF-8: byte {error.start} can't be read") from error
    try:
        value = json.loads(text, object_pairs_hook=_object, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        raise MalformedBody(f"{where} is not JSON: {error.msg}, at character {error.pos}") from error
    except RecursionError as error:
        raise MalformedBody(f"{where} nests too deep") from error
    except ValueError as error:
        raise MalformedBody(f"{where} is not JSON: {error}") from error
    return value


def _object(pairs: list[tuple[str, Any]]) -> _Object:
    made = _Object(pairs)
    if len(made) != len(pairs):
        counts = Counter(key for key, _ in pairs)
        made.twice = tuple(sorted(key for key, count in counts.items() if count > 1))
    return made


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


def _event_faults(index: int, value: Any, kind: Kind) -> list[Fault]:
    if not isinstance(value, _Object):
        return [Fault(index, None, f"an event must be an object, not {_kind_of(value)}")]
    fields = {field.encode_name: field for field in msgspec.structs.fields(MODELS[kind])}
    faults = [
        Fault(index, key, f"{_show(key)} is not known; known: {', '.join(fields)}")
        for key in value
        if key not in fields
    ]
    for key, field in fields.items():
        if key in value:
            faults += _value_faults(index, key, value[key], field.type)
        elif field.required:
            faults.append(Fault(index, key, f"{key} must be given: {_rule(field.type)}"))
    return faults + _text_faults(index, None, value)


def _value_faults(index: int, key: str, value: Any, rule: Any) -> list[Fault]:
    try:
        msgspec.convert(value, rule)
    except (msgspec.ValidationError, RecursionError) as error:
        wanted = _rule(rule)
        if wanted:
            return [Fault(index, key, f"{key} must be {wanted}, not {_show(value)}")]
        return [Fault(index, key, f"{key}: {error}")]
    return []


def _text_faults(index: int, field: str | None, value: Any) -> list[Fault]:
    """Keys given twice, NUL, lone surrogates and numbers beyond all bounds, wherever they are."""
    faults: list[Fault] = []
    waiting: list[tuple[str | None, Any]] = [(field, value)]
    while waiting:
        at, item = waiting.pop()
        if isinstance(item, _Object):
            faults += [Fault(index, at or key, f"the key {_show(key)} is given twice") for key in item.twice]
            faults += [fault for key in item for fault in _string_faults(index, at or key, key)]
            waiting += [(at or key, inner) for key, inner in item.items()]
        elif isinstance(item, list):
            waiting += [(at, inner) for inner in item]
        elif isinstance(item, str):
            faults += _string_faults(index, at, item)
        elif isinstance(item, float) and item in (float("inf"), float("-inf")):
            faults.append(Fault(index, at, "the number is out of range"))
    return faults


def _string_faults(index: int, field: str | None, text: str) -> list[Fault]:
    if "\0" in text:
        return [Fault(index, field, "a string must not have NUL (\\u0000) in it")]
    if any("\ud800" <= character <= "\udfff" for character in text):
        return [Fault(index, field, "a string must not have half of a surrogate pair in it")]
    return []


def _rule(rule: Any) -> str:
    """What a value of this type must be: completes the sentence "<field> must be …"."""
    if get_origin(rule) is Annotated:
        return str(get_args(rule)[1].description)
    options = [text for option in get_args(rule) if (text := _rule_of_option(option))]
    return " or ".join(options)


def _rule_of_option(option: Any) -> str:
    if option is type(None):
        return "null"
    if option is msgspec.UnsetType:
        return ""
    if isinstance(option, (str, int)):
        return json.dumps(option)
    if get_origin(option) is dict:
        return "an object" if get_args(option)[1] is Any else 'an object like {"field": {"old": …, "new": …}}'
    return _rule(option)


def _kind_of(value: Any) -> str:
    names = {str: "a string", bool: "true or false", int: "a number", float: "a number", list: "an array"}
    return names.get(type(value), "null")


def _show(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=True, default=str)
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"
