"""Commitments: what the Merkle tree is built of, instead of the records themselves.

A commitment hides its record until the salt is shown, and binds to it for ever. So a tree can be given to a witness
without telling what happened, and a record can be erased while every proof still holds (DESIGN.md §4).
"""

import hashlib

SALT_BYTES = 16
COMMITMENT_BYTES = 32

_PREFIX = b"whodid/v1\n"


def commit(salt: bytes, record: bytes) -> bytes:
    r"""The commitment to a record, 32 bytes: ``SHA-256("whodid/v1\n" + salt + record)``; the salt has 16 bytes."""
    return hashlib.sha256(_PREFIX + salt + record).digest()
