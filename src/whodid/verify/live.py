"""A log's files over HTTP: fetched, within bounds of size and time. Believes nothing that comes.

The token goes to the one host that was named, and nowhere else: redirects are not followed, proxies not used.
"""

import re
import time
from collections.abc import Callable
from types import TracebackType
from typing import Final, Self

import urllib3
from urllib3 import exceptions
from urllib3.exceptions import HTTPError
from urllib3.util import Timeout, Url, parse_url

from whodid.errors import InvalidEvidence, InvalidParameter, Unavailable

ATTEMPTS: Final = 4
"""How often a file is asked for, while the server says that it is busy or breaks off."""

MOST_PAUSE_SECONDS: Final = 30
REPLY_SECONDS: Final = 120.0
"""How long a reply may take to come, all of it."""

_TIMEOUT = Timeout(connect=10, read=30)
_READ_BYTES = 64 * 1024
_BUSY = (429, 503)
_REDIRECTS = range(300, 400)
_TOKEN = re.compile(r"[!-~]+", re.ASCII).fullmatch


class Connection:
    """To one log, at its URL, as a context: closed at the end. ``sleep`` and ``clock`` count seconds."""

    def __init__(
        self,
        url: str,
        token: str | None = None,
        *,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Raises ``InvalidParameter`` where the URL, or the token, can't be one."""
        parts = _checked(url)
        self.name = url.rstrip("/").rpartition("/")[2]
        """The last part of the URL's path: the account."""
        self._url = url.rstrip("/")
        self._headers = {"Accept-Encoding": "identity", "User-Agent": "whodid-verify"}
        if token is not None:
            if _TOKEN(token) is None:  # never shown: not even where it is wrong
                raise InvalidParameter("the access token is empty, or has spaces or other characters that no token has")
            self._headers["Authorization"] = f"Bearer {token}"
        self._path = (parts.path or "").rstrip("/")
        self._pool = urllib3.connection_from_url(f"{parts.scheme}://{parts.netloc}")
        self._sleep = sleep
        self._clock = clock

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.close()

    def fetch(self, path: str, most_bytes: int) -> bytes | None:
        """The file at this path below the log's URL; None where there is none (404).

        Raises ``Unavailable`` where no answer comes, ``InvalidParameter`` where the server wants another URL or token,
        ``InvalidEvidence`` where the file is longer than ``most_bytes``.
        """
        for attempt in range(1, ATTEMPTS + 1):
            last = attempt == ATTEMPTS
            try:
                response = self._request(path)
                if response.status not in _BUSY or last:
                    return self._received(response, path, most_bytes)
                pause_seconds = _pause_seconds(response, attempt)
                response.close()
            except exceptions.ProtocolError as error:  # a connection that was kept, and is not there any more, as well
                if last:
                    raise Unavailable(f"the connection to {self._url} broke off: {_reason(error)}") from error
                pause_seconds = 2.0 ** (attempt - 1)
            except (HTTPError, ValueError, ArithmeticError) as error:  # the last two for absurd lengths
                raise Unavailable(_why_not(self._url, error)) from error
            self._sleep(pause_seconds)
        raise AssertionError

    def _request(self, path: str) -> urllib3.BaseHTTPResponse:
        self._deadline = self._clock() + REPLY_SECONDS
        return self._pool.request(
            "GET", f"{self._path}/{path}", headers=self._headers, redirect=False, retries=False, timeout=_TIMEOUT,
            preload_content=False, decode_content=False,
        )  # fmt: skip

    def _received(self, response: urllib3.BaseHTTPResponse, path: str, most_bytes: int) -> bytes | None:
        status = response.status
        if status != 200:
            response.close()
        if status == 404:
            return None
        if status == 401:
            raise InvalidParameter(f"{self._url} wants an access token (--token-file or WHODID_TOKEN), or a valid one")
        if status == 403:
            raise InvalidParameter(f"the access token is not allowed to read {self._url}")
        if status in _REDIRECTS:
            raise InvalidParameter(
                f"{self._url} leads on to {response.headers.get('location', 'nowhere')[:200]!r}, "
                "which is not followed; if that is the log, give that URL"
            )
        if status != 200:
            raise Unavailable(f"{self._url}/{path} is answered with status {status}, not with 200")
        return self._body(response, path, most_bytes)

    def _body(self, response: urllib3.BaseHTTPResponse, path: str, most_bytes: int) -> bytes:
        body = bytearray()
        while piece := response.read1(_READ_BYTES):
            body += piece
            if len(body) > most_bytes:
                response.close()
                raise InvalidEvidence(f"{path} is longer than {most_bytes} bytes, as no such file is")
            if self._clock() > self._deadline:
                response.close()
                raise Unavailable(f"{self._url}/{path} took more than {REPLY_SECONDS:.0f} seconds to come")
        response.release_conn()
        return bytes(body)


def _checked(url: str) -> Url:
    try:
        parts = parse_url(url)
    except exceptions.LocationParseError as error:
        raise InvalidParameter(f"{url[:200]!r} is not a URL") from error
    plain = not parts.auth and not parts.query and not parts.fragment
    if parts.scheme not in ("http", "https") or not parts.host or not plain:
        raise InvalidParameter(f"a log's URL is like https://audit.example.com/log/org-acme-acc0, not {url[:200]!r}")
    return parts


def _pause_seconds(response: urllib3.BaseHTTPResponse, attempt: int) -> float:
    asked = response.headers.get("retry-after", "")
    seconds = int(asked) if asked.isascii() and asked.isdigit() and len(asked) < 10 else 2 ** (attempt - 1)
    return float(min(seconds, MOST_PAUSE_SECONDS))


def _why_not(url: str, error: Exception) -> str:
    if isinstance(error, exceptions.SSLError):
        return f"{url} can't show who it is: {_reason(error)}. Further authorities can be named in SSL_CERT_FILE"
    if isinstance(error, exceptions.NameResolutionError):
        return f"there is no host of the name in {url}"
    if isinstance(error, (exceptions.ConnectTimeoutError, exceptions.NewConnectionError)):
        return f"nobody answers at {url}"
    if isinstance(error, exceptions.TimeoutError):
        return f"{url} does not answer in time"
    return f"there is no talking to {url}: {_reason(error)}"


def _reason(error: Exception) -> str:
    return str(error.__cause__ or error.__context__ or error)[:200]
