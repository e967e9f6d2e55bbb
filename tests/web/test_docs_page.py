"""The page of the API: that it shows everything, that nothing in it comes from elsewhere, and that nothing slips in."""

import itertools
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.acceptance.running import Running

from whodid.web.app import MOVED
from whodid.web.docs import POLICY, _lit, _prose, render_page
from whodid.web.openapi import openapi_document

DOCUMENT = json.loads(openapi_document())
PAGE = render_page(openapi_document())
STYLE = files("whodid.web").joinpath("assets", "docs.css").read_text()
SCRIPT = files("whodid.web").joinpath("assets", "docs.js").read_text()

BROWSER = shutil.which("chromium")

EMPTY = frozenset({"input", "link", "meta"})


class Seen(HTMLParser):
    """A page, taken apart; elements must be closed in the order in which they were opened."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {}
        """What stands in the article of an id, and before it in the entry that it is opened with."""
        self._open: list[str] = []
        self._article = ""
        self.feed(page)
        self.close()
        assert self._open == []

    @property
    def text(self) -> str:
        """All that can be read."""
        return " ".join(text for texts in self.texts.values() for text in texts)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """An element begins."""
        given = dict(attrs)
        self.tags.append((tag, given))
        if (id_ := given.get("id")) is not None:
            self.ids.append(id_)
        if tag == "details" and given.get("class") == "entry":
            self._article = "entry"
        if tag == "article":
            assert self._open[-2:] == ["section", "details"]
            self._article = given["id"] or ""
            self.texts[self._article] = self.texts.pop("entry")
        if tag not in EMPTY:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        """An element ends."""
        assert self._open.pop() == tag
        if tag == "article":
            self._article = ""

    def handle_data(self, data: str) -> None:
        """Text."""
        self.texts.setdefault(self._article, []).append(data)


SEEN = Seen(PAGE)


def read(article: str) -> str:
    """What can be read in an article, with single spaces."""
    return " ".join("".join(SEEN.texts[article]).split())


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server of these tests' own."""
    with Running(tmp_path_factory.mktemp("docs")) as running:
        yield running


OPERATIONS = [
    (method.upper(), path, operation)
    for path, methods in DOCUMENT["paths"].items()
    for method, operation in methods.items()
]


@pytest.mark.parametrize(("method", "path", "operation"), OPERATIONS)
def test_the_page_shows_every_operation(method: str, path: str, operation: dict[str, Any]) -> None:
    """Method, path, summary, who may call it, each parameter, a sample, each status; and the list leads to it."""
    name = operation["operationId"]
    text = read(name)
    assert text.startswith(f"{method} {path} {operation['summary'].replace('`', '')}")
    assert " ".join(operation["x-codeSamples"][0]["source"].split()) in text
    for one in (*operation.get("x-scopes", ()), *operation.get("x-roles", ()), *operation["responses"]):
        assert one in text
    for parameter in operation.get("parameters", ()):
        assert parameter.get("name", parameter.get("$ref", "").rpartition("/")[2]) in text
    assert ("Open to everyone" in text) == ("security" not in operation)
    assert ("a", {"href": f"#{name}"}) in SEEN.tags


@pytest.mark.parametrize("name", DOCUMENT["components"]["schemas"])
def test_the_page_shows_every_schema(name: str) -> None:
    """With all of its fields; and the list leads to it."""
    text = read(f"schema-{name}")
    assert text.startswith(name)
    for field in DOCUMENT["components"]["schemas"][name].get("properties", {}):
        assert field in text
    assert ("a", {"href": f"#schema-{name}"}) in SEEN.tags


def test_what_calls_have_in_common_is_shown_once() -> None:
    """The filters, to which each of these calls links; what is said of all of them, too."""
    components = DOCUMENT["components"]
    for name, parameter in components["parameters"].items():
        assert parameter["description"].replace("`", "") in read("filters")
        assert f"filter-{name}" in SEEN.ids
        assert SEEN.tags.count(("a", {"href": f"#filter-{name}"})) == 4
    assert " ".join("".join(SEEN.texts["filters"]).split()).count(components["x-filters"].replace("`", "")) == 1
    common = [components["x-filters"], *(one["description"] for one in components["parameters"].values())]
    for name in ("search", "summarize", "follow", "export"):
        assert [one for one in common if one.replace("`", "") in read(name)] == []


def test_everything_is_closed_but_the_list() -> None:
    """A page that can be looked over; what the list leads to is inside of what a browser opens for a link."""
    opened = [given for tag, given in SEEN.tags if tag == "details" and "open" in given]
    assert opened == [{"open": None}]
    assert len(SEEN.texts) == len(OPERATIONS) + len(DOCUMENT["components"]["schemas"]) + 2


def test_examples_of_answers_are_shown_as_they_are() -> None:
    """Whatever colours there are in between."""
    shown = "".join(SEEN.texts["search"])
    example = DOCUMENT["paths"]["/api/v2/logs"]["get"]["responses"]["200"]["content"]["application/json"]["example"]
    assert json.dumps(example, indent=2, ensure_ascii=False) in shown


def test_every_link_leads_somewhere() -> None:
    """Each id is there once; what is linked to within the page is there, and the rest are pages of ours."""
    assert len(SEEN.ids) == len(set(SEEN.ids))
    targets = {given["href"] for tag, given in SEEN.tags if tag == "a"}
    assert {target for target in targets if not (target or "").startswith("#")} == {"/openapi.json"}
    assert {target[1:] for target in targets if target and target.startswith("#")} <= set(SEEN.ids)


def test_nothing_comes_from_elsewhere() -> None:
    """One script and one style sheet, no image; and no address but ours in anything that is fetched."""
    assert {tag for tag, _ in SEEN.tags} & {
        "style",
        "img",
        "iframe",
        "object",
        "form",
        "base",
        "svg",
    } == set()
    assert [attributes["href"] for tag, attributes in SEEN.tags if tag == "link"] == ["/docs/docs.css"]
    scripts = [attributes for tag, attributes in SEEN.tags if tag == "script"]
    assert scripts == [{"type": "module", "src": "/docs/docs.js"}]
    for tag, attributes in SEEN.tags:
        assert tag == "script" or "src" not in attributes
        assert not [name for name in attributes if name == "style" or name.startswith("on")]
        assert not [value for value in attributes.values() if value and re.match(r"(\w+:)?//|javascript:|data:", value)]
    assert not re.search(r"url\(|@import|//|expression", STYLE)
    assert not re.search(r"import|fetch|https?:|innerHTML|eval|Function\(", SCRIPT)


def test_the_page_can_be_used_by_keyboard_and_read_aloud() -> None:
    """A language, a way past the list, headings one below the other, and what scrolls can be reached."""
    tags = [tag for tag, _ in SEEN.tags]
    assert ("html", {"lang": "en"}) in SEEN.tags
    assert tags.count("h1") == tags.count("main") == tags.count("nav") == 1
    levels = [int(tag[1]) for tag in tags if re.fullmatch("h[1-6]", tag)]
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    first_link = next(given for tag, given in SEEN.tags if tag == "a")
    assert first_link == {"class": "skip", "href": "#content"}
    blocks = [given for tag, given in SEEN.tags if tag == "pre"]
    assert blocks
    assert all(given.get("tabindex") == "0" and given.get("aria-label") for given in blocks)
    assert ":focus-visible" in STYLE


def test_both_colour_schemes_have_all_colours() -> None:
    """A colour that is forgotten in the dark can't be read there."""
    light, dark = (set(re.findall(r"^\s+(--\w+):", part, re.MULTILINE)) for part in STYLE.split("@media", 2)[:2])
    assert light == dark
    assert set(re.findall(r"var\((--\w+)\)", STYLE)) <= light


@given(st.text(st.sampled_from("<>&\"'`/ab {}[]:\\\n1.")))
def test_no_text_becomes_markup(text: str) -> None:
    """Whatever the document says: between its own elements, only what was said."""
    for made, elements, lost in ((_prose(text), {"p", "code"}, "`\n"), (_lit(text), {"span"}, "")):
        seen = Seen(str(made))
        assert {tag for tag, _ in seen.tags} <= elements
        assert all(given.keys() <= {"class"} for _, given in seen.tags)
        shown = "".join("".join(texts) for texts in seen.texts.values())
        assert [one for one in shown if one not in lost] == [one for one in text if one not in lost]


def test_a_hostile_document_is_shown_not_obeyed() -> None:
    """Names and texts of every kind are escaped, wherever they stand."""
    evil = '"><script>alert(1)</script>'
    hostile = json.dumps(DOCUMENT).replace("Search the log, the newest records first.", json.dumps(evil)[1:-1])
    hostile = hostile.replace("deploy to production", json.dumps(evil)[1:-1])
    page = render_page(hostile.encode())
    assert "&lt;script&gt;" in page
    assert page.count("<script") == 1


def test_the_page_is_served_to_everyone_with_a_policy_of_its_own(server: Running) -> None:
    """HTML that may load its script, its style sheet and nothing else."""
    for path, kind, policy in (
        ("/docs", "text/html; charset=utf-8", POLICY),
        ("/docs/docs.css", "text/css; charset=utf-8", "default-src 'none'; frame-ancestors 'none'"),
        ("/docs/docs.js", "text/javascript; charset=utf-8", "default-src 'none'; frame-ancestors 'none'"),
    ):
        answer = server.get(path)
        assert answer.status == 200
        assert answer.header("content-type") == kind
        assert answer.header("content-security-policy") == policy
        assert answer.header("x-content-type-options") == "nosniff"
        assert answer.header("cache-control") == "no-cache"
    assert server.get("/docs").body.decode() == PAGE
    assert server.get("/docs/docs.css").body.decode() == STYLE
    assert server.get("/docs/docs.js").body.decode() == SCRIPT


def test_who_looks_elsewhere_is_led_there(server: Running) -> None:
    """The beginning, and what people try; no token is asked for."""
    for path, there in MOVED.items():
        for method in ("GET", "HEAD"):
            answer = server.call(method, path)
            assert (answer.status, answer.header("location"), answer.body) == (307, there, b"")
        assert server.call("POST", path).status == 405
        assert server.get(there).status == 200


@pytest.mark.skipif(BROWSER is None, reason="needs chromium")
@pytest.mark.parametrize("anchor", ["export", "filter-q", "schema-Problem"])
def test_a_link_opens_what_it_leads_to(server: Running, tmp_path: Path, anchor: str) -> None:
    """In a browser, which runs the script under the policy of the page: that one entry, and no other."""
    assert BROWSER is not None
    flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--no-proxy-server", f"--user-data-dir={tmp_path}"]
    shown = subprocess.run(
        [BROWSER, *flags, "--dump-dom", f"http://127.0.0.1:{server.port}/docs#{anchor}"],
        capture_output=True, timeout=60, check=True,
    ).stdout.decode()  # fmt: skip
    opened = re.findall(r'<details class="entry" open="">.*?<article id="([^"]+)"', shown, re.DOTALL)
    assert opened == ["filters" if anchor == "filter-q" else anchor]
    assert '<search hidden=""' not in shown


def test_who_has_the_page_gets_it_no_second_time(server: Running) -> None:
    """As long as it is the same."""
    for path in ("/docs", "/docs/docs.css", "/docs/docs.js"):
        tag = server.get(path).header("etag")
        assert tag
        for known in (tag, f"W/{tag}", f'"other", {tag}'):
            answer = server.call("GET", path, headers={"If-None-Match": known})
            assert (answer.status, answer.body) == (304, b"")
            assert answer.header("etag") == tag
        assert server.call("GET", path, headers={"If-None-Match": '"other"'}).status == 200


def test_the_assets_are_part_of_the_package() -> None:
    """They are found where the code is, so an installed server has them."""
    folder = Path(str(files("whodid.web").joinpath("assets")))
    assert {file.name for file in folder.iterdir()} >= {"docs.css", "docs.html", "docs.js"}
