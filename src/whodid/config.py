"""Settings: frozen, validated once. From flags, else the environment (``WHODID_*``), else a TOML file, or defaults."""

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from whodid.errors import InvalidSetting


def _setting(default: Any, says: str, *, least: float | None = None, most: float | None = None) -> Any:
    return field(default=default, metadata={"says": says, "least": least, "most": most})


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that can be set. Each field's ``says`` is its documentation; a test holds the README against it."""

    store: str = _setting(
        "sqlite:///data/whodid.db",
        "where everything is kept: `sqlite:///path/whodid.db`, or `postgresql://user@host/database`",
    )
    host: str = _setting("127.0.0.1", "the address to listen on; `0.0.0.0` for all")
    port: int = _setting(8600, "the port to listen on; 0 for any free one", least=0, most=65535)
    log_level: str = _setting("info", "`debug`, `info`, `warning` or `error`; `debug` logs every request")
    forwarded_by: str = _setting(
        "", "addresses of proxies whose `X-Forwarded-For` is believed, with commas between; `*` for all"
    )
    queue_events: int = _setting(50_000, "how many events may wait to be recorded; more are answered 503", least=1)
    queue_mib: int = _setting(64, "how many MiB of events may wait to be recorded", least=1)
    body_mib: int = _setting(
        128, "how many MiB of request bodies may be in memory at once; half of it for one account", least=64
    )
    streams: int = _setting(
        2_000,
        "how many readers may follow the feed as a stream, or export, at once, half of them of one account; "
        "more are answered 503",
        least=0,
    )
    batch_events: int = _setting(4_000, "how many events one commit writes at most", least=1)
    token_cache: int = _setting(10_000, "how many checked tokens are remembered", least=0)
    rate_limit: int = _setting(0, "how many calls a minute each token may make; more are answered 429; 0: any", least=0)
    public_host: str = _setting(
        "",
        "the host, and port if need be, that the server is reached at from outside: the beginning of each log's name "
        "in checkpoints; what was given once is remembered, else it is `localhost`",
    )
    public_log: bool = _setting(
        False,  # noqa: FBT003 (the default of a setting)
        "`true`: checkpoints and tiles of all accounts are open to everyone; they tell nothing but how many entries "
        "there are",
    )
    signing_key: str = _setting(
        "",
        "the file of the key that signs checkpoints (PEM, Ed25519); else one is made beside the store, or as "
        "`data/<database>.key`",
    )
    signed_dir: str = _setting(
        "",
        "the folder that keeps what was signed, outside of the store; else one beside the store, or "
        "`data/<database>.signed`",
    )
    witnesses: str = _setting(
        "",
        "witnesses that checkpoints are sent to: URL and verifier key with a space between, commas between witnesses",
    )
    witness_seconds: int = _setting(10, "how often witnesses are sent a log's new checkpoint", least=1)
    shutdown_seconds: int = _setting(20, "how long a stopping server waits for its last answers", least=1)


LOG_LEVELS = ("debug", "info", "warning", "error")


def load_settings(
    flags: Mapping[str, Any], *, environ: Mapping[str, str] = os.environ, file: Path | None = None
) -> Settings:
    """The settings in force. ``flags`` holds what was given at the command line; None means not given.

    Raises ``InvalidSetting``.
    """
    values = {**_from_file(file or _file_named(environ)), **_from_environment(environ)}
    values.update({name: value for name, value in flags.items() if value is not None})
    settings = Settings(**{name: _checked(name, value) for name, value in values.items()})
    if settings.log_level not in LOG_LEVELS:
        raise InvalidSetting(f"log_level must be one of {', '.join(LOG_LEVELS)}, not {settings.log_level!r}")
    return settings


def _file_named(environ: Mapping[str, str]) -> Path | None:
    name = environ.get("WHODID_CONFIG")
    return Path(name) if name else None


def _from_file(file: Path | None) -> dict[str, Any]:
    if file is None:
        return {}
    try:
        return tomllib.loads(file.read_text("utf-8"))
    except OSError as error:
        raise InvalidSetting(f"can't read the settings file {file}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidSetting(f"the settings file {file} is not TOML: {error}") from error


def _from_environment(environ: Mapping[str, str]) -> dict[str, str]:
    return {name: environ[f"WHODID_{name.upper()}"] for name in _FIELDS if f"WHODID_{name.upper()}" in environ}


def _checked(name: str, value: Any) -> Any:
    setting = _FIELDS.get(name)
    if setting is None:
        raise InvalidSetting(f"there is no setting {name!r}; there are {', '.join(_FIELDS)}")
    if setting.type is bool:
        return _checked_choice(name, value)
    if setting.type is not int:
        if isinstance(value, list) and name == "witnesses":
            value = ", ".join(map(str, value))
        if not isinstance(value, str):
            raise InvalidSetting(f"{name} must be a string, not {value!r}")
        if not value and setting.default:
            raise InvalidSetting(f"{name} must not be empty; leave it out for {setting.default}")
        return value
    return _checked_number(name, value, setting.metadata["least"], setting.metadata["most"])


def _checked_choice(name: str, value: Any) -> bool:
    chosen = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}.get(str(value).lower())
    if chosen is None:
        raise InvalidSetting(f"{name} must be true or false, not {value!r}")
    return chosen


def _checked_number(name: str, value: Any, least: int, most: int | None) -> int:
    text = str(value).strip()
    upper = "" if most is None else f" and at most {most}"
    if isinstance(value, bool) or not text.isascii() or not text.isdigit():
        raise InvalidSetting(f"{name} must be a whole number of at least {least}{upper}, not {value!r}")
    number = int(text)
    if number < least or (most is not None and number > most):
        raise InvalidSetting(f"{name} must be at least {least}{upper}, not {number}")
    return number


_FIELDS = {setting.name: setting for setting in fields(Settings)}
