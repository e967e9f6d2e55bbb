"""Cursor files: where a consumer of the feed goes on, kept across restarts."""

import re
from pathlib import Path

from whodid.durable import replacing
from whodid.errors import InvalidParameter

_CURSOR = re.compile(r"[A-Za-z0-9_-]{1,200}", re.ASCII).fullmatch


def read_position(file: Path) -> str | None:
    """The cursor that a file holds; None where there is no file yet. Raises ``InvalidParameter``."""
    try:
        with file.open("rb") as opened:
            text = opened.read(1000).decode("ascii", "replace").strip()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise InvalidParameter(f"can't read the cursor file {file}: {error.strerror}") from error
    if _CURSOR(text) is None:
        raise InvalidParameter(f"{file} holds no cursor; to begin anew, remove it")
    return text


def save_position(file: Path, cursor: str) -> None:
    """Have the file hold this cursor, durably; or, if that fails, the one before. Raises ``InvalidParameter``."""
    try:
        with replacing(file) as opened:
            opened.write(f"{cursor}\n".encode())
    except OSError as error:
        raise InvalidParameter(f"can't write the cursor file {file}: {error.strerror}") from error
