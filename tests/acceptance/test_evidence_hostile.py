"""What a hostile or broken client may ask of evidence: a clear refusal, and a token use that tells of it."""

import json

import pytest
from tests.acceptance.proving import checkpoint_page, proof_page, record, trace_of
from tests.acceptance.running import Tenant, head, problem

from whodid.tokens import PREFIX

ACCEPTS = {
    "*/*": "text/plain; charset=utf-8",
    "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8": "text/plain; charset=utf-8",
    "application/json;q=0.5, text/plain;q=0.4": "application/json",
    "application/json; charset=utf-8": "application/json",
    "application/json, text/plain": "text/plain; charset=utf-8",
    "text/plain;q=0": None,
    "image/png": None,
    "*/*;q=0": None,
    "nonsense": None,
    'a/b;c="' + "x" * 50_000: None,
    '"' * 50_001: None,
    "a/b," * 12_000: None,
    "a/b," * 12_000 + "application/json": "application/json",
}


@pytest.mark.on_sqlite_only("headers have nothing to do with the store")
@pytest.mark.parametrize("accept", ACCEPTS, ids=lambda accept: accept[:40])
def test_a_proof_has_the_form_that_the_caller_likes_most(tenant: Tenant, accept: str) -> None:
    """Where that is none of the two it has, it says which these are, and the call is recorded as a failure."""
    page = proof_page(record(tenant))
    answer = tenant.server.get(page, tenant.token(), Accept=accept)
    if ACCEPTS[accept] is None:
        problem(answer, 406, "text/plain", "application/json", "Accept")
        assert trace_of(tenant)[1] == "failure"
    else:
        assert (answer.status, answer.header("content-type")) == (200, ACCEPTS[accept])


@pytest.mark.on_sqlite_only("headers have nothing to do with the store")
def test_two_accept_headers_are_one_list(tenant: Tenant) -> None:
    """As RFC 9110 §5.3 says of all lists; and without any, a proof is text."""
    page = proof_page(record(tenant))
    for lines, content_type in ((("text/plain;q=0.1", "application/json"), b"application/json"), ((), b"text/plain")):
        more = "".join(f"Accept: {line}\r\n" for line in lines).encode()
        said = tenant.server.say(head("GET", page, tenant.token())[:-2] + more + b"\r\n")
        assert said.startswith(b"HTTP/1.1 200 ")
        assert b"content-type: " + content_type in said


# What is hostile: name, path, status, and what must be in the detail.
IDS = {
    "of no record": ("f" * 24, 404, "no record with the _id"),
    "in capitals": ("6104254 0E1D666C9DED178C4".replace(" ", ""), 400, "24 hex digits in lower case"),
    "too short": ("61042540e1d666c9ded178c", 400, "24 hex digits"),
    "too long": ("61042540e1d666c9ded178c40", 400, "24 hex digits"),
    "of 60,000 characters": ("a" * 60_000, 400, "24 hex digits"),
    "empty": ("", 400, "24 hex digits"),
    "with other letters": ("g" * 24, 400, "24 hex digits"),
    "with other digits": ("%D9%A1" * 24, 400, "24 hex digits"),
    "with a line's end": ("6" * 24 + "%0A", 400, "24 hex digits"),
    "with NUL": ("6" * 23 + "%00", 400, "24 hex digits"),
    "percent-encoded": ("%36" * 24, 400, "24 hex digits"),
    "the page above": ("..", 400, "24 hex digits"),
    "a slash": ("%2F", 400, "24 hex digits"),
    "two segments": ("a/b", 404, "no page"),
    "a bad encoding": ("%", 400, "24 hex digits"),
    "no UTF-8": ("%FF%FE", 400, "24 hex digits"),
    "SQL": ("'%20OR%201=1--", 400, "24 hex digits"),
    "a script": ("<script>alert(1)</script>".replace("/", ""), 400, "24 hex digits"),
    "right to left": ("%E2%80%AE" * 3, 400, "24 hex digits"),
    "a template": ("{_id}", 400, "24 hex digits"),
}  # fmt: skip


@pytest.mark.parametrize("name", IDS)
def test_a_hostile_id_is_refused_and_recorded(tenant: Tenant, name: str) -> None:
    """It says what an ``_id`` is; the target is as it came, in ASCII, and not longer than a target may be."""
    given, status, says = IDS[name]
    text, size = tenant.token(), tenant.size()
    answer = tenant.server.get(proof_page(given), text)
    problem(answer, status, says)
    assert tenant.size() == size + 1
    target, how = trace_of(tenant)
    assert how == "failure"
    assert target == proof_page(given).removeprefix("/api")[:2048]
    assert target.isascii()
    assert target.isprintable()
    problem(tenant.server.get(proof_page(given)), 401)


@pytest.mark.parametrize("where", ["/api/v2/logs/{}/proof", "/log/{}/checkpoint", "/log/{}", "/log/a/tile/{}/000"])
def test_a_token_in_a_path_is_not_written_down(tenant: Tenant, where: str) -> None:
    """However it is encoded, and wherever it stands."""
    text = tenant.token()
    secret = text.removeprefix(PREFIX)
    encoded = "".join(f"%{ord(one):02x}" for one in text)
    for written in (text, text.replace("_", "%5F"), text.replace("_", "%255f"), encoded):
        answer = tenant.server.get(where.format(written), text)
        assert answer.status in (400, 404)
        assert PREFIX in tenant.last_use()["target"]
        assert secret not in str(answer.body)
    assert secret not in json.dumps(tenant.uses())


QUERIES = {
    "": "from must be given",
    "to=3": "from must be given",
    "from=": "from must be a number of entries",
    "from=x": 'not "x"',
    "from=-1": "from must be",
    "from=%2B1": "from must be",
    "from=01": "without sign and leading zeros",
    "from=1.0": "from must be",
    "from=1e1": "from must be",
    "from=%D9%A1": "from must be",
    "from=1%20": "from must be",
    "from=" + "9" * 5000: "from must be",
    "from=9223372036854775808": "without to, from must be at most",
    "from=1&to=": "to must be a number",
    "from=1&to=two": "to must be a number",
    "from=3&to=2": "from must be at most to, which is 2, not 3",
    "from=1&to=1000": "the log has no more entries yet",
    "from=1&to=9999999999999999999": "to must be at most",
    "from=1000": "the size of the newest checkpoint",
    "from=1&from=1": "from is given more than once",
    "from=1&to=2&to=2": "to is given more than once",
    "from=1&size=2": "there is no parameter",
    "From=1": "there is no parameter",
    "from=1&": "name=value",
}


@pytest.mark.parametrize("query", QUERIES, ids=lambda query: query[:40])
def test_a_wrong_question_about_consistency_is_refused(tenant: Tenant, query: str) -> None:
    """400, and what would be right; recorded as a failure."""
    problem(tenant.server.get(f"/api/v2/log/consistency?{query}", tenant.token()), 400, QUERIES[query])
    assert trace_of(tenant) == ("/v2/log/consistency", "failure")


def test_other_pages_of_evidence_have_no_parameters(tenant: Tenant) -> None:
    """A slip is told, not passed over; the target has none of it."""
    for page in (checkpoint_page(tenant), f"/log/{tenant.name}/tile/0/000.p/1", proof_page(record(tenant))):
        for query in ("size=1", "x", "%FF=1", "token=abc"):
            problem(tenant.server.get(f"{page}?{query}", tenant.token()), 400)
            assert trace_of(tenant) == (page.removeprefix("/api"), "failure")
        assert tenant.server.get(f"{page}?", tenant.token()).status == 200
