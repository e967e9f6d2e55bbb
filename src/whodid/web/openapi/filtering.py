"""Filtering: the parameters that search, summary, feed and export have in common, and the language of ``q``."""

from typing import Final, get_args

from whodid.conditions import FIELDS, KIND_NAMES
from whodid.query.fields import ALIASES, LONGEST_VALUE
from whodid.query.filters import MOST_VALUES
from whodid.query.language import CREATED, LONGEST_Q, MOST_LEVELS, MOST_TERMS
from whodid.records import Outcome
from whodid.web.openapi.describing import Described, parameter, repeated
from whodid.web.openapi.examples import PIPELINE_ID, TOKEN_ID, USER_ID

PARAMETERS: Final = "#/components/parameters/"

_NAME: Final[Described] = {"type": "string", "pattern": "^!?[a-z0-9_-]{1,64}$"}
_TEXT: Final[Described] = {
    "type": "string",
    "pattern": rf"^(![^\x00]{{1,{LONGEST_VALUE}}}|[^!\x00][^\x00]{{0,{LONGEST_VALUE - 1}}})$",
}
_KIND: Final[Described] = {"type": "string", "enum": [f"{sign}{name}" for sign in ("", "!") for name in KIND_NAMES]}

_FILTERS: Final[dict[str, tuple[str, Described, list[str]]]] = {
    "kind": ("Actions, or token uses.", _KIND, ["action"]),
    "type": ("The area that an action is from.", _NAME, ["pipeline", "user"]),
    "action": ("What was done.", _NAME, ["!update"]),
    "user_id": ("Who did it; of actions and token uses.", _TEXT, [USER_ID]),
    "user_email": ("Who did it, by address, as it was then; of actions.", _TEXT, ["ann@acme.example"]),
    "target_id": ("What it was done to.", _TEXT, [PIPELINE_ID]),
    "token_id": ("The token that was used.", _TEXT, [TOKEN_ID]),
    "scope": ("The scope of the token that was used.", _NAME, ["api"]),
    "outcome": (f"How it ended; the server's own say {', '.join(get_args(Outcome))}.", _NAME, ["failure", "denied"]),
    "ip_address": ("Where it came from.", _TEXT, ["192.0.2.17"]),
}

TIME: Final[Described] = {
    "type": "string",
    "pattern": (
        r"^([1-9][0-9]{0,8}[smhdw]|[0-9]{12,13}|[0-9]{4}-[0-9]{2}-[0-9]{2}"
        r"([Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?([Zz]|[+-][0-9]{2}:[0-9]{2}))?)$"
    ),
}
"""A moment, in the four forms that are taken."""

FILTERS_SAY: Final = (
    "A filter that is given several times means any of its values. A value with `!` in front means: not this one; "
    "that finds records without the field, too. "
    f"Filters have at most {MOST_VALUES} values together, of {LONGEST_VALUE} characters each; "
    "a parameter that is not known is refused."
)


def filters() -> list[Described]:
    """The filters, the window and ``q``, as each of these calls has them."""
    return [{"$ref": PARAMETERS + name} for name in components()]


def components() -> dict[str, Described]:
    """The same in full, by name."""
    made = {}
    for name in FIELDS:
        says, item, example = _FILTERS[name]
        made[name] = repeated(name, says, item, example, most=MOST_VALUES)
    return made | {"since": _since(), "until": _until(), "q": _q()}


def _since() -> Described:
    says = (
        "From this `createdAt` on: a time (RFC 3339), a day (UTC), milliseconds since 1970, "
        "or an age: a number and `s`, `m`, `h`, `d` or `w`."
    )
    return parameter("since", says, TIME, "7d")


def _until() -> Described:
    return parameter("until", "Up to this `createdAt`, exclusive; in the same forms.", TIME, "2026-07-31")


def _q() -> Described:
    aliases = ", ".join(f"`{alias}` ({' or '.join(fields)})" for alias, fields in ALIASES.items())
    says = (
        "What to look for. `field:value`, where fields are the filters above, and "
        f"{aliases}. Words alone must be anywhere in the record. All terms must hold; `OR`, `NOT` or `-`, and "
        "parentheses say otherwise; a negation finds records without the field, too. Token uses have their user's id "
        "and no address: `user:` with an id finds both. A star at the end: what begins so. "
        'Values with spaces: `target:"a b"`. '
        f"Times: `{CREATED}:>=2026-01-01`, `{CREATED}:2026-01-01..2026-01-31`, `{CREATED}:>=7d`, outside of OR and NOT."
        f" At most {LONGEST_Q} characters, {MOST_TERMS} terms, {MOST_LEVELS} levels; errors name the position."
    )
    made = parameter("q", says, {"type": "string", "minLength": 1, "maxLength": LONGEST_Q})
    return made | {"examples": {name: {"summary": text, "value": q} for name, (text, q) in Q_EXAMPLES.items()}}


Q_EXAMPLES: Final[dict[str, tuple[str, str]]] = {
    "terms": (
        "All of it must hold",
        f"type:pipeline -action:update user:ann@acme.example {CREATED}:>=2026-01-01",
    ),
    "words": ("Words anywhere in the record", '"deploy to production" rollback'),
    "or": ("One or the other", "type:pipeline (outcome:failure OR outcome:denied)"),
    "prefix": ("What begins so", "user:ann* depl*"),
    "times": ("A stretch of time", f"{CREATED}:2026-01-01..2026-01-31 action:delete"),
}
