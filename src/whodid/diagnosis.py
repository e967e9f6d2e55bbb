"""Diagnosis: what exactly is wrong with a body of events, told for people. Slow and thorough; ingest's second look.

Goes through the body with Python's own JSON parser, which tells keys given twice, and names every fault of every
event. Decides nothing that ingest's fast path decides otherwise: what is accepted is what the models accept.
"""

import io
import itertools
import json
import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Annotated, Any, NoReturn, get_args, get_origin

import msgspec

from whodid.errors import BodyTooLarge, Fault, InvalidEvents, MalformedBody
from whodid.records import MODELS, Body, Kind, pattern_of

_SHOWN = 60
"""How much of a wrong value an error message repeats."""

MOST_FAULTS = 10_000
"""How many faults of one body are told: memory is bounded, whatever a body holds."""

_SURROGATE = re.compile("[\ud800-\udfff]").search


class _Object(dict[str, Any]):
    """A JSON object that remembers which of its keys were given twice."""

    __slots__ = ("twice",)

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        self.twice: tuple[str, ...] = () if len(self) == len(pairs) else _repeated(key for key, _ in pairs)


def _repeated(keys: Iterable[str]) -> tuple[str, ...]:
    ordered = itertools.pairwise(sorted(keys))
    return tuple(dict.fromkeys(key for key, following in ordered if key == following))


def explain(data: bytes, kind: Kind, *, lines: bool, max_events: int) -> NoReturn:
    """Raise the error that says what is wrong with ``data``, which the models refused."""
    explain_if_wrong(data, kind, lines=lines, max_events=max_events)
    raise MalformedBody("the body is not valid JSON")  # refused by the models, and yet no fault was found


def explain_if_wrong(data: bytes, kind: Kind, *, lines: bool, max_events: int) -> None:
    """Raise the error that says what is wrong with ``data``, if anything is."""
    values = _parse_lines(data, max_events) if lines else _parse(data)
    check_count(len(values), max_events)
    found = (fault for index, value in enumerate(values) for fault in _event_faults(index, value, kind))
    faults = list(itertools.islice(found, MOST_FAULTS))
    if next(found, None) is not None:
        faults.append(Fault(faults[-1].index, None, f"there are more faults; these are the first {MOST_FAULTS}"))
        raise InvalidEvents(faults)
    if faults:
        raise InvalidEvents(faults, _sound(values, {fault.index for fault in faults}, kind))


def _sound(values: list[Any], faulty: set[int], kind: Kind) -> list[tuple[int, Body]]:
    """The events that nothing was found wrong with, and their places."""
    return [(index, msgspec.convert(value, MODELS[kind])) for index, value in enumerate(values) if index not in faulty]


def check_count(count: int, max_events: int) -> None:
    """Raise ``BodyTooLarge`` where a request has more events than it may have."""
    if count > max_events:
        raise BodyTooLarge(f"the body has {count} events; a request may have {max_events}: send several requests")


def _parse(data: bytes) -> list[Any]:
    value = _load(data, "the body")
    if isinstance(value, list):
        return value
    if isinstance(value, dict):
        return [value]
    raise MalformedBody(f"the body must be an object or an array of objects, not {_kind_of(value)}")


def _parse_lines(data: bytes, max_events: int) -> list[Any]:
    check_count(sum(1 for _ in _lines(data)), max_events)  # before millions of lines are parsed
    return [_load(line, f"line {number}") for number, line in _lines(data)]


def _lines(data: bytes) -> Iterator[tuple[int, bytes]]:
    return ((number, line) for number, line in enumerate(io.BytesIO(data), 1) if line.strip())


def _load(data: bytes, where: str) -> Any:
    if not data.strip():
        raise MalformedBody(f"{where} is empty; send an object, an array of objects, or one object a line")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise MalformedBody(f"{where} is not UTF-8: byte {error.start} can't be read") from error
    try:
        value = json.loads(text, object_pairs_hook=_Object, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        raise MalformedBody(f"{where} is not JSON: {error.msg}, at character {error.pos}") from error
    except RecursionError as error:
        raise MalformedBody(f"{where} nests too deep") from error
    except ValueError as error:
        raise MalformedBody(f"{where} is not JSON: {error}") from error
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


def _event_faults(index: int, value: Any, kind: Kind) -> Iterator[Fault]:
    if not isinstance(value, _Object):
        yield Fault(index, None, f"an event must be an object, not {_kind_of(value)}")
        return
    fields = _fields(kind)
    for key in value:
        if key not in fields:
            yield Fault(index, _name(key), f"{_show(key)} is not known; known: {', '.join(fields)}")
    for key, field in fields.items():
        if key in value:
            yield from _value_faults(index, key, value[key], field.type)
        elif field.required:
            yield Fault(index, key, f"{key} must be given: {_rule(field.type)}")
    yield from _text_faults(index, value)


@lru_cache
def _fields(kind: Kind) -> dict[str, msgspec.structs.FieldInfo]:
    return {field.encode_name: field for field in msgspec.structs.fields(MODELS[kind])}


def _value_faults(index: int, key: str, value: Any, rule: Any) -> Iterator[Fault]:
    try:
        msgspec.convert(value, rule)
    except (msgspec.ValidationError, RecursionError) as error:
        wanted = _rule(rule)
        yield Fault(index, key, f"{key} must be {wanted}, not {_show(value)}" if wanted else f"{key}: {error}")
    else:
        pattern = pattern_of(rule)
        if pattern is not None and isinstance(value, str) and pattern.fullmatch(value) is None:
            yield Fault(index, key, f"{key} must be {_rule(rule)}, not {_show(value)}")


def _text_faults(index: int, event: _Object) -> Iterator[Fault]:
    """Keys given twice, NUL, lone surrogates and numbers beyond all bounds, wherever they are."""
    waiting: list[tuple[str | None, Any]] = [(None, event)]
    while waiting:
        at, item = waiting.pop()
        if isinstance(item, _Object):
            for key in item.twice:
                yield Fault(index, at or _name(key), f"the key {_show(key)} is given twice")
            for key, inner in item.items():
                yield from _string_faults(index, at or _name(key), key)
                waiting.append((at or _name(key), inner))
        elif isinstance(item, list):
            waiting += [(at, inner) for inner in item]
        elif isinstance(item, str):
            yield from _string_faults(index, at, item)
        elif isinstance(item, float) and item in (float("inf"), float("-inf")):
            yield Fault(index, at, "the number is out of range")


def _string_faults(index: int, field: str | None, text: str) -> Iterator[Fault]:
    if "\0" in text:
        yield Fault(index, field, "a string must not have NUL (\\u0000) in it")
    elif _SURROGATE(text):
        yield Fault(index, field, "a string must not have half of a surrogate pair in it")


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
    if isinstance(value, dict):
        return "an object"
    names = {str: "a string", bool: "true or false", int: "a number", float: "a number", list: "an array"}
    return names.get(type(value), "null")


def _name(key: str) -> str:
    """A producer's key as the field of a fault: short, and free of what could not be sent back."""
    return _show(key).removeprefix('"').removesuffix('"')


def _show(value: Any) -> str:
    try:
        text = json.dumps(value, ensure_ascii=True, default=str)
    except RecursionError:
        return _kind_of(value)
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"
