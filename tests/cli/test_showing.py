"""Records as lines: what stands in them is shown, and never obeyed."""

import json
import unicodedata
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from tests.cli.running import action, token_use

from whodid.cli.showing import harmless, json_line, text_line

TEXTS = st.text(max_size=30) | st.text("\x1b[31mJ\x07\x9b\u202e\u2028\r\n\t\x7f", max_size=30)


def plain(record: dict[str, Any]) -> str:
    """A record's line without colours."""
    return text_line(record, lambda text, _: text)


def test_an_action_tells_who_what_and_to_what() -> None:
    """With the outcome, unless all went well."""
    line = plain(action(5, target_name="blue"))
    assert line.split() == ["2021-07-30T16:13:52.109Z", "support@opsera.io", "pipeline", "update", "blue"]
    assert plain(action(5, user_email=None, target_id=None)).split()[1:] == [
        "5e1cbf251c26d68f7ce6361e", "pipeline", "update", "-",
    ]  # fmt: skip
    assert plain(action(5, outcome="denied")).endswith("  [denied]")
    assert plain(action(5, outcome="success")) == plain(action(5))


def test_a_token_use_tells_whose_what_and_where() -> None:
    """With the method, if it is known."""
    line = plain(token_use(5, method="GET"))
    assert line.split()[1:] == ["5e1cbf251c26d68f7ce6361e", "token", "api", "GET", "/v1/logs/user/tokens"]
    assert plain(token_use(5)).endswith("  /v1/logs/user/tokens")


def test_a_colour_is_what_is_asked_for() -> None:
    """Each part in its own, and failures in another than refusals."""
    lines = [text_line(action(5, outcome=outcome), lambda text, colour: f"<{colour}:{text}>") for outcome in
             ("failure", "denied")]  # fmt: skip
    assert "<31:[failure]>" in lines[0]
    assert "<33:[denied]>" in lines[1]


@given(TEXTS, TEXTS, TEXTS)
def test_no_terminal_obeys_a_line(email: str, target: str, kind: str) -> None:
    """No control character, no line break and no other direction of writing comes through."""
    for record in (
        action(5, user_email=email, target_name=target, type=kind, outcome=kind),
        token_use(5, target=target, scope=kind, method=email),
    ):
        line = plain(record)
        assert not [one for one in line if unicodedata.category(one) in ("Cc", "Zl", "Zp", "Cs")]
        assert not [one for one in line if unicodedata.bidirectional(one) in ("LRO", "RLO", "LRE", "RLE", "PDF")]
        assert len(line.splitlines()) == 1


@given(st.text(max_size=30))
def test_what_is_harmless_stays_as_it_is(text: str) -> None:
    """Letters of all scripts, that is; what is not can be told."""
    assert harmless("Ünïcödé 日本 \N{SNOWMAN} a\\b") == "Ünïcödé 日本 \N{SNOWMAN} a\\b"
    assert harmless("\x1b[0m\u202e") == "\\x1b[0m\\u202e"
    assert harmless(harmless(text)) == harmless(text)


@given(st.recursive(TEXTS | st.integers() | st.booleans(), lambda part: st.lists(part) | st.dictionaries(TEXTS, part)))
def test_json_says_the_same_and_is_not_obeyed(value: Any) -> None:
    """One line, that any program reads."""
    line = json_line({"metadata": value})
    assert json.loads(line) == {"metadata": value}
    assert not [one for one in line if unicodedata.category(one) in ("Cc", "Zl", "Zp")]
