"""The Python client: what programs record, search, follow and check, over HTTP. ``Client``, and ``AsyncClient`` alike.

Everything that is decided is in one core without input and output (``core`` and what it is made of): calls, what is
tried again and when, pages, what is downloaded, what is checked. The two clients only send, sleep, and write files.
"""

from whodid.client.asynchronous import AsyncClient
from whodid.client.blocking import Client
from whodid.client.errors import ApiError, CallError, InvalidAnswer, NoAnswer
from whodid.client.shapes import (
    ActionEvent,
    Bucket,
    Exported,
    FeedPage,
    Filters,
    Me,
    Moment,
    Proven,
    Record,
    Recorded,
    SearchPage,
    Summary,
    Token,
    TokenUseEvent,
    User,
    Value,
)

__all__ = [
    "ActionEvent",
    "ApiError",
    "AsyncClient",
    "Bucket",
    "CallError",
    "Client",
    "Exported",
    "FeedPage",
    "Filters",
    "InvalidAnswer",
    "Me",
    "Moment",
    "NoAnswer",
    "Proven",
    "Record",
    "Recorded",
    "SearchPage",
    "Summary",
    "Token",
    "TokenUseEvent",
    "User",
    "Value",
]
