"""Commitments: the formula, and that a commitment binds to its record."""

from hypothesis import given
from hypothesis import strategies as st

from whodid.commitment import COMMITMENT_BYTES, SALT_BYTES, commit

salts = st.binary(min_size=SALT_BYTES, max_size=SALT_BYTES)


def test_a_commitment_is_what_the_format_says() -> None:
    """Others compute it too, so it never changes; ``sha256sum`` made this value."""
    expected = "35f67a758e0bcfe7617a04f4953a30e5a17119c4f9c118ce4e883b35676ad62e"
    assert commit(bytes(range(SALT_BYTES)), b'{"a":1}').hex() == expected


@given(one=st.tuples(salts, st.binary()), other=st.tuples(salts, st.binary()))
def test_different_salts_or_records_have_different_commitments(
    one: tuple[bytes, bytes], other: tuple[bytes, bytes]
) -> None:
    """A commitment has 32 bytes, and only the same salt and record make the same one."""
    assert len(commit(*one)) == COMMITMENT_BYTES
    assert (commit(*one) == commit(*other)) == (one == other)
