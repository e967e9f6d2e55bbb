"""Negotiation: the form that an ``Accept`` header likes most, as RFC 9110 §12.5.1 has it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whodid.web.negotiation import preferred

TEXT, JSON = "text/plain", "application/json"
OFFERS = (TEXT, JSON)

# What a header comes to; None: it takes neither.
HEADERS = {
    "": TEXT,
    " , ,": TEXT,
    "*/*": TEXT,
    "text/plain": TEXT,
    "text/*": TEXT,
    "application/json": JSON,
    "APPLICATION/Json": JSON,
    "application/*": JSON,
    "application/json, */*": TEXT,
    "application/json, */*;q=0.9": JSON,
    "application/json,*/*;q=0.1": JSON,
    "text/plain;q=0.5, application/json": JSON,
    "text/plain;q=0.5, application/json;q=0.5": TEXT,
    "text/plain;q=0.5, application/json;q=0.501": JSON,
    "text/plain ; q=0.3 , application/json\t;\tQ=0.4": JSON,
    "*/*, text/plain;q=0": JSON,
    "*/*, text/*;q=0": JSON,
    "text/*;q=0, text/plain": TEXT,
    "text/*, text/plain;q=0": None,
    "*/*;q=0": None,
    "*/*;q=0, application/json;q=0.001": JSON,
    "text/plain;q=0, application/json;q=0.000": None,
    "text/html, application/xhtml+xml, application/xml;q=0.9, */*;q=0.8": TEXT,
    "text/html": None,
    "application/x-ndjson": None,
    "application/json; charset=utf-8": JSON,
    'text/plain; charset="UTF-8"': TEXT,
    "text/plain; charset=latin-1": None,
    "text/plain; charset=latin-1, application/json;q=0.1": JSON,
    "text/plain;q=0.1, text/plain;charset=utf-8;q=0.9, application/json;q=0.5": TEXT,
    "application/json;profile=x": None,
    "application/json;q=1;profile=x": JSON,
    "application/json;": JSON,
    "application/json;;q=1.000": JSON,
    # A comma or a semicolon in quotation marks parts nothing.
    'text/html;x="a, application/json, b"': None,
    'text/html;x="a\\", application/json, b"': None,
    'text/html;x=";q=0", application/json': JSON,
    # What is no media range is passed over.
    "json": None,
    ";": None,
    ";application/json": None,
    ";q=1, application/json": JSON,
    "json, application/json": JSON,
    "application/json;q=2": None,
    "application/json;q=-1": None,
    "application/json;q=1.001": None,
    "application/json;q=0.1234": None,
    "application/json;q=": None,
    "application/json;q=high, text/plain;q=0.1": TEXT,
    "application/json;q = 1": None,
    "application/json q=1": None,
    "*/json": None,
    "*": None,
    "application /json": None,
    "application/json/x": None,
    'application/json;x="never closed, text/plain': None,
    "téxt/plain": None,
    "text/plain\x00": None,
}


@pytest.mark.parametrize("header", HEADERS)
def test_the_form_is_the_one_that_the_header_likes_most(header: str) -> None:
    """By the weight of the range that describes each form most closely; the first form where they are even."""
    assert preferred(header, OFFERS) == HEADERS[header]


def test_without_a_header_the_first_form_is_taken() -> None:
    """Whoever says nothing takes anything."""
    assert preferred(None, OFFERS) == TEXT
    assert preferred(None, (JSON, TEXT)) == JSON


WEIGHTS = ("0", "0.", "0.001", "0.5", "0.50", "0.999", "1", "1.", "1.000")
RANGES = st.dictionaries(
    st.sampled_from(["*/*", "text/*", "application/*", TEXT, JSON, "text/html", "image/*"]), st.sampled_from(WEIGHTS)
)


@given(RANGES, st.sampled_from([",", ", ", " ,\t", ",,"]), st.sampled_from([";q=", "; q=", " ;\tQ="]))
def test_the_choice_is_that_of_a_simple_table(ranges: dict[str, str], between: str, equals: str) -> None:
    """For all combinations of ranges and weights, in any order and spelling."""
    header = between.join(f"{media_range}{equals}{weight}" for media_range, weight in ranges.items())
    if not ranges:
        assert preferred(header, OFFERS) == TEXT
        return
    liked = [
        float(next((ranges[one] for one in (offer, f"{offer.partition('/')[0]}/*", "*/*") if one in ranges), "0"))
        for offer in OFFERS
    ]
    expected = JSON if liked[1] > liked[0] else TEXT if liked[0] else None
    assert preferred(header, OFFERS) == expected


@given(st.text(st.sampled_from('ax/*;,="\\ \tq=.01é\x00')) | st.text())
def test_any_text_is_a_header(header: str) -> None:
    """Nothing is raised, whatever is in it, and a form that is taken along with all else is the answer then."""
    assert preferred(header, OFFERS) in (*OFFERS, None)
    if '"' not in header:
        assert preferred(f"{header},{JSON}", (JSON,)) == JSON


@pytest.mark.parametrize("end", ['"', ""])
@pytest.mark.parametrize("piece", ['"', '\\"', '"\\', "; ", ";a=", ",", " ", 'a="', "*/*;"])
def test_a_long_header_is_read_in_one_go(piece: str, end: str) -> None:
    """What makes careless patterns try again and again takes no time to speak of."""
    header = f"text/plain;x={piece * (60_000 // len(piece))}{end}, {JSON}"
    assert preferred(header, OFFERS) in (*OFFERS, None)
