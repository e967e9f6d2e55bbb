"""The text of tokens: its form, its checksum, and what is kept of it."""

import hashlib
import random
import re
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whodid.tokens import PREFIX, digest_of, is_authentic, make_token

DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def base62(text: str) -> int:
    """The number that base-62 digits stand for."""
    number = 0
    for digit in text:
        number = number * 62 + DIGITS.index(digit)
    return number


def test_a_token_has_the_form_that_secret_scanners_expect(rng: random.Random) -> None:
    """Prefix, 40 letters and digits, and 6 that are the CRC-32 of all before them."""
    for _ in range(200):
        text = make_token(rng.randbytes)
        assert re.fullmatch("whodid_pat_[0-9A-Za-z]{46}", text)
        assert base62(text[-6:]) == zlib.crc32(text[:-6].encode())
        assert is_authentic(text)


def test_tokens_differ_and_use_every_digit_alike(rng: random.Random) -> None:
    """No digit comes more often than others, so that a token has the chance that its length promises."""
    texts = [make_token(rng.randbytes) for _ in range(2000)]
    assert len(set(texts)) == len(texts)
    drawn = "".join(text[len(PREFIX) : -6] for text in texts)
    for digit in DIGITS:
        assert 0.85 < drawn.count(digit) * 62 / len(drawn) < 1.15


@given(seed=st.integers(0, 1000), place=st.integers(0, 56), digit=st.sampled_from(DIGITS + "_- é\n"))
def test_a_token_with_one_wrong_character_is_not_authentic(seed: int, place: int, digit: str) -> None:
    """Any slip of one character is noticed without a look into the store."""
    text = make_token(random.Random(seed).randbytes)
    changed = text[:place] + digit + text[place + 1 :]
    assert is_authentic(changed) == (changed == text)


@given(st.text(max_size=80))
def test_other_text_is_not_authentic(text: str) -> None:
    """Whatever a caller sends, the answer is no, and not a crash."""
    assert not is_authentic(text)
    assert not is_authentic(PREFIX + text)


@pytest.mark.parametrize("more", ["\n", " ", "0", "\0"])
def test_a_token_with_more_after_it_is_not_authentic(rng: random.Random, more: str) -> None:
    """Not even with a newline, at which regular expressions wink."""
    assert not is_authentic(make_token(rng.randbytes) + more)


def test_what_is_kept_of_a_token_is_the_sha256_of_its_text() -> None:
    """The text itself is nowhere."""
    assert digest_of("whodid_pat_x") == hashlib.sha256(b"whodid_pat_x").digest()
