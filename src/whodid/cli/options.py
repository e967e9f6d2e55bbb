"""Options that several commands have: their names, what their values may be, and their help."""

import re
from typing import Annotated, TypeAlias

from cyclopts import Parameter

from whodid.cli.output import UsageError
from whodid.config import Settings
from whodid.errors import InvalidParameter
from whodid.query.parameters import parse_age
from whodid.records import parse_time
from whodid.store.base import Role, Scope

StoreUrl: TypeAlias = Annotated[
    str | None,
    Parameter(
        name="--store",
        env_var="WHODID_STORE",
        help=f"The store; else that of the file WHODID_CONFIG names, else {Settings().store}.",
    ),
]
AccountName: TypeAlias = Annotated[str, Parameter(name="--account", help="The account's name, like org-acme-acc0.")]
UserEmail: TypeAlias = Annotated[str, Parameter(name="--email", help="The user's e-mail address.")]
OneAccount: TypeAlias = Annotated[str | None, Parameter(name="--account", help="Only this account's log.")]
AsJson: TypeAlias = Annotated[bool, Parameter(name="--json", negative=(), help="Print JSON.", show_default=False)]

SINCE, UNTIL = ("--since", "--from"), ("--until", "--to")
"""The names of bounds in time: that which is documented, and another one that some expect."""

RoleName: TypeAlias = Annotated[
    Role, Parameter(name="--role", name_transform=str.lower, help="What the user may do in the account.")
]
ScopeName: TypeAlias = Annotated[Scope, Parameter(name="--scope", help="What the token may be used for.")]

STDIN = STDOUT = "-"
"""In the place of a file's name: standard input, or output."""

_DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII).fullmatch
_AGE = re.compile(r"\d+[a-z]", re.ASCII).fullmatch


def check_file_name(_type: object, name: object) -> None:
    """Refuse a mistyped option where a file's name may stand. Raises ``ValueError``."""
    if name is not None and str(name).startswith("-") and str(name) != STDIN:
        raise ValueError(f"there is no option {name}; a file of that name is ./{name}")


def parse_life(text: str, option: str) -> int:
    """Milliseconds of a duration like ``30s``, ``13m``, ``1h``, ``90d`` or ``2w``. Raises ``UsageError``."""
    try:
        return parse_age(text, option)
    except InvalidParameter as error:
        raise UsageError(error.message) from error


def parse_moment(text: str, option: str, now_ms: int) -> int:
    """Epoch milliseconds of a time, of a day's beginning (UTC), or of an age like ``7d`` ago. Raises ``UsageError``."""
    if _AGE(text):
        return max(0, now_ms - parse_life(text, option))
    try:
        return parse_time(f"{text}T00:00:00Z" if _DATE(text) else text)
    except ValueError as error:
        raise UsageError(
            f"{option} must be a time like 2021-07-30T16:13:52.109Z, a day like 2021-07-30, "
            f'or an age like 7d, not "{text[:60]}"'
        ) from error
