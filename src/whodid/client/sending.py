"""Sending: calls as requests of httpx, and what comes back as answers. For both clients; sends nothing itself.

The token goes to the one server that was named: redirects are not followed. It is in no error and no log.
"""

import re
import ssl
from collections.abc import Iterator
from typing import Final

import httpx

from whodid.client.calls import Answer, Broken, Call
from whodid.errors import InvalidParameter

_URL = re.compile(r"[!-~]+", re.ASCII).fullmatch
_TOKEN = re.compile(r"[!-~]+", re.ASCII).fullmatch
_AGENT: Final = "whodid-client"
_LONGEST = 200
_STREAMED: Final = 10
"""How many times as long a stream may be silent: the server may look long for what is rare."""


def checked_url(url: str) -> str:
    """The URL of a server, without slashes at its end. Raises ``InvalidParameter``."""
    try:
        parts = httpx.URL(url)
    except (httpx.InvalidURL, TypeError) as error:
        raise InvalidParameter("the server's URL is none; it is like https://audit.example.com") from error
    if parts.userinfo or parts.query or parts.fragment:  # not shown: there may be a password in it
        raise InvalidParameter("the server's URL must have neither a user nor parameters; the token is given apart")
    if parts.scheme not in ("http", "https") or not parts.host or not _URL(url):
        raise InvalidParameter(f"the server's URL is like https://audit.example.com, not {url[:_LONGEST]!r}")
    return url.rstrip("/")


def headers_with(token: str) -> dict[str, str]:
    """The headers of all calls. Raises ``InvalidParameter``, which does not repeat the token."""
    if _TOKEN(token) is None:
        raise InvalidParameter("the access token is empty, or has spaces or other characters that no token has")
    return {"Authorization": f"Bearer {token}", "User-Agent": _AGENT}


class Sender:
    """Makes requests of calls, for the server at a URL."""

    def __init__(self, url: str, timeout_seconds: float) -> None:
        self._url = url
        self._timeout_seconds = timeout_seconds

    def request(self, client: httpx.Client | httpx.AsyncClient, call: Call) -> httpx.Request:
        """The request that is to be sent."""
        headers = {"Accept": call.accept}
        if call.content_type is not None:
            headers["Content-Type"] = call.content_type
        if call.streamed:
            headers["Accept-Encoding"] = "identity"
        silence_seconds = self._timeout_seconds * (_STREAMED if call.streamed else 1)
        timeout = httpx.Timeout(self._timeout_seconds, read=silence_seconds + call.wait_seconds)
        params = httpx.QueryParams(call.parameters) if call.parameters else None
        return client.build_request(
            call.method, self._url + call.path, params=params, content=call.body, headers=headers, timeout=timeout
        )


def left_unread(call: Call, response: httpx.Response) -> bool:
    """Whether the body of this answer to a call is for who called."""
    return call.streamed and response.status_code == 200


def answer_of(response: httpx.Response, *, unread: bool) -> Answer:
    """What came back."""
    headers = dict(response.headers.items())
    return Answer(response.status_code, headers, b"" if unread else response.content, response if unread else None)


def broken(error: httpx.HTTPError) -> Broken:
    """Why no answer came."""
    causes = list(_causes(error))
    if any(isinstance(cause, ssl.SSLCertVerificationError) for cause in causes):
        return Broken(f"it can't show who it is: {error}; further authorities can be named in SSL_CERT_FILE", True)  # noqa: FBT003
    hopeless = isinstance(error, httpx.UnsupportedProtocol | httpx.LocalProtocolError)
    return Broken(str(error)[:_LONGEST] or _name(error), hopeless)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """An error, and those that it comes from."""
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__


def _name(error: httpx.HTTPError) -> str:
    return "it does not answer in time" if isinstance(error, httpx.TimeoutException) else type(error).__name__
