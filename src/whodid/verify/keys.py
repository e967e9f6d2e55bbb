"""Verifier keys as people have them: alone, in a file of them, or in the table that ``whodid key show`` prints."""

from whodid.errors import InvalidEvidence
from whodid.notes import Verifier


def parse_keys(text: str, where: str) -> list[Verifier]:
    """All verifier keys in a text; what begins with ``#`` is a comment. ``where`` is what an error calls the text.

    Raises ``InvalidEvidence``, also where there is none.
    """
    words = [word for line in text.splitlines() if not line.startswith("#") for word in line.split()]
    keys = [word for word in words if "+" in word]  # of a table, only keys have one in them
    if not keys:
        raise InvalidEvidence(f"there is no verifier key in {where}; 'whodid key show' prints them")
    return list(map(Verifier.parse, keys))
