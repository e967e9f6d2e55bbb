"""Whodid: an audit-log server. It records who did what, keeps it provably, and serves it.

``Client`` and ``AsyncClient`` speak to a server. They are loaded when they are first asked for: whoever
imports something else does not pay for them.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from whodid.client import AsyncClient, Client

__version__ = "0.1.0"

__all__ = ["AsyncClient", "Client", "__version__"]


def __getattr__(name: str) -> Any:
    if name in ("AsyncClient", "Client"):
        from whodid import client  # noqa: PLC0415

        return getattr(client, name)
    raise AttributeError(f"module 'whodid' has no attribute {name!r}")
