"""``whodid serve``: the server. Each setting is a flag; what is not given comes from elsewhere (see ``config``)."""

import dataclasses
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter

from whodid.config import Settings, load_settings

app = App(
    name="serve",
    help="Serve a store over HTTP, until Ctrl-C.",
    help_epilogue="Example:\n\n    whodid serve --store sqlite:///data/whodid.db --host 127.0.0.1 --port 8600\n\n"
    "Settings come from flags, else the environment (WHODID_PORT and so on), else the file, else defaults.",
)


def _flag(setting: dataclasses.Field[Any]) -> tuple[str, Any, Any]:
    says = setting.metadata["says"].replace("`", "")
    if setting.type is bool:
        parameter = Parameter(help=f"{says} (default: {str(setting.default).lower()})", show_default=False)
        return setting.name, Annotated[bool | None, parameter], None
    # What the text stands for is for the settings to say, wherever it comes from.
    parameter = Parameter(help=f"{says} (default: {setting.default!r})", show_default=False, allow_leading_hyphen=True)
    return setting.name, Annotated[str | None, parameter], None


Flags = dataclasses.make_dataclass("Flags", [_flag(setting) for setting in dataclasses.fields(Settings)], kw_only=True)
Flags.__module__ = __name__  # else cyclopts takes it for a type of Python's own


def serve(
    *,
    flags: Any = None,
    config: Annotated[Path | None, Parameter(help="A TOML file of settings; else WHODID_CONFIG names it.")] = None,
) -> int:
    """Serve a store over HTTP, until Ctrl-C."""
    settings = load_settings({} if flags is None else dataclasses.asdict(flags), file=config)
    return start(settings)


# The flags are made from the settings, so that none can be forgotten; a type checker need not know them one by one.
serve.__annotations__["flags"] = Annotated[Flags, Parameter(name="*")]
app.default(serve)


def start(settings: Settings, **more: Any) -> int:
    """Serve with these settings; the exit status. The server's libraries are loaded only now."""
    from whodid.web.server import serve as serve_http  # noqa: PLC0415 (other commands start faster without)

    return serve_http(settings, **more)
