"""The documentation, held against the code: what it shows works, what it lists is all there is, what it links is there.

The README's three calls are really made, against the demonstration as a newcomer starts it; and what the auditor's page
has operator and auditor type, against a server.
"""

import ast
import configparser
import contextlib
import http.client
import itertools
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import msgspec
import pytest
from cyclopts import App
from tests.acceptance.running import ACTIONS, Running, Tenant, tenant_of
from tests.building import action
from tests.cli.running import ACCOUNT, Whodid

from whodid import __version__, ingest, records
from whodid.cli.app import app, run
from whodid.config import Settings, load_settings
from whodid.errors import WhodidError
from whodid.evidence.witnesses import parse_witnesses
from whodid.metrics import Metrics
from whodid.query.compatible import MOST_RECORDS
from whodid.records import MODELS, Kind
from whodid.store.sqlite.time_keys import TIE_BITS
from whodid.web.openapi import openapi_document
from whodid.web.problems import status_of
from whodid.web.server import MAX_HEAD_BYTES

ROOT = Path(__file__).parent.parent
PAGES = [
    *sorted(ROOT.glob("*.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
    ROOT / "bench" / "README.md",
]
README = (ROOT / "README.md").read_text("utf-8")
API = (ROOT / "docs" / "API.md").read_text("utf-8")
FORMAT = (ROOT / "docs" / "FORMAT.md").read_text("utf-8")
OPERATE = (ROOT / "docs" / "howto" / "operate.md").read_text("utf-8")
VERIFY = (ROOT / "docs" / "howto" / "verify.md").read_text("utf-8")

HOST = "http://127.0.0.1:8600"
"""Where the documentation has its server."""

DASH = "\N{EN DASH}"
"""Stands in tables for "none"."""


def blocks(text: str, language: str) -> list[str]:
    """The fenced blocks of one language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def code(text: str) -> Iterator[str]:
    """Everything that is set as code: the lines of shell blocks (continued ones joined), and spans in the text."""
    for block in blocks(text, "sh"):
        yield from block.replace("\\\n", " ").splitlines()
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    yield from re.findall(r"`([^`\n]+)`", prose)


def table(text: str, first: str) -> list[list[str]]:
    """The rows of the table whose head begins with this cell, each as its cells."""
    lines = iter(text.splitlines())
    next(line for line in lines if line.startswith(f"| {first} |"))
    next(lines)
    rows = []
    for line in lines:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.split("|")[1:-1]])
    return rows


def name_of(page: Path) -> str:
    """A page as the tests' names have it."""
    return str(page.relative_to(ROOT))


# Links and names.


@cache
def anchors(page: Path) -> set[str]:
    """The anchors that the page's headings have on GitHub."""
    text = re.sub(r"^```.*?^```$", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    """To a file that is there, and to a heading that it has."""
    links = [link for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text("utf-8")) if "://" not in link]
    broken = []
    for link in links:
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert broken == []


def test_every_test_that_is_named_exists() -> None:
    """A promise names what shows it; all of the table's rows do."""
    promises = table(README, "Promise")
    assert len(promises) > 15
    named = [re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", row[2]) for row in promises]
    assert all(named)
    missing = [
        f"{path}::{name}"
        for path, name in (one for some in named for one in some)
        if not (ROOT / path).is_file() or name not in functions(ROOT / path)
    ]
    assert missing == []


@cache
def functions(file: Path) -> set[str]:
    """The names of all functions in a file."""
    tree = ast.parse(file.read_text("utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_file_that_is_named_in_code_exists(page: Path) -> None:
    """Modules and tests are named by their paths, from the root or from ``src/whodid``."""
    named = {word for span in code(page.read_text("utf-8")) for word in re.findall(r"^[\w./]+\.(?:py|md)$", span)}
    places = (ROOT, ROOT / "src" / "whodid", page.parent, *(ROOT / "src" / "whodid").rglob("*/"))
    assert [name for name in named if not any((place / name).exists() for place in places)] == []


# Commands.


def commands_of(part: App, before: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """All commands that do something, each as its words."""
    names = [name for name in part if not name.startswith("-")]
    if not names:
        yield before
    for name in names:
        yield from commands_of(part[name], (*before, name))


COMMANDS = list(commands_of(app))


def command_of(words: list[str]) -> tuple[str, ...] | None:
    """The command that a command line runs; None where there is none."""
    return next((command for command in COMMANDS if tuple(words[: len(command)]) == command), None)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_make_target_that_is_named_exists(page: Path) -> None:
    """Whoever reads a page may type what it says."""
    makefile = (ROOT / "Makefile").read_text("utf-8")
    named = {match[1] for span in code(page.read_text("utf-8")) if (match := re.match(r"make ([a-z]+)\b", span))}
    assert [name for name in named if not re.search(rf"^{name}:", makefile, re.MULTILINE)] == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_command_that_is_named_exists_with_its_flags(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The flags are those that its help shows. ``wd`` stands for ``whodid`` where a page says so."""
    wrong = []
    for span in code(page.read_text("utf-8")):
        line = re.sub(r"^sudo (-u \w+ )?", "", span.partition(" #")[0].partition(" |")[0])
        call = re.match(r"(?:\S*/)?(?:whodid|wd) ([a-z].*)", line)
        if call is None:
            continue
        command = command_of(call[1].split())
        if command is None:
            wrong.append(span)
            continue
        assert run([*command, "--help"]) == 0
        shown = capsys.readouterr().out
        wrong += [f"{span}: {flag}" for flag in re.findall(r"--[a-z-]+", call[1]) if f"{flag} " not in shown]
    assert wrong == []


def test_every_command_is_in_the_readme() -> None:
    """And no other."""
    named = [
        tuple(words.split()) for row in table(README, "Command") for words in re.findall(r"`whodid (.+?)`", row[0])
    ]
    assert sorted(named) == sorted(COMMANDS)


# Lists.


def test_the_configuration_table_is_the_settings() -> None:
    """Every setting, in order: its flag, its variable, its default, what it says."""
    expected = [
        [
            f"`--{setting.name.replace('_', '-')}`",
            f"`WHODID_{setting.name.upper()}`",
            f"`{setting.default}`" if setting.default != "" else "(none)",
            setting.metadata["says"],
        ]
        for setting in fields(Settings)
    ]
    assert table(README, "Flag") == expected


def errors_of(kind: type[WhodidError]) -> Iterator[type[WhodidError]]:
    """An error's class, and all below it."""
    yield kind
    for below in kind.__subclasses__():
        yield from errors_of(below)


def test_the_error_table_is_the_tree_of_errors() -> None:
    """Every code, with its status, or none for those that a server does not answer with."""
    rows = {code.strip("`"): status for code, status, _ in table(API, "`code`")}
    kinds = {kind.code: kind for kind in errors_of(WhodidError) if kind.__module__ == WhodidError.__module__}
    assert rows.keys() == kinds.keys()
    for name, kind in kinds.items():
        bare = kind.__new__(kind)  # a status is its class's
        assert rows[name] in (str(status_of(bare).value), DASH), name
    assert [name for name, status in rows.items() if status == DASH] == ["store_unusable", "invalid_setting"]


@pytest.mark.parametrize(("kind", "heading"), [(Kind.ACTION, "### An action"), (Kind.TOKEN, "### A token use")])
def test_the_key_tables_are_the_models(kind: Kind, heading: str) -> None:
    """Every key, in the order of the wire, and which of them are always there; the example is a record."""
    text = API.partition(heading)[2]
    rows = table(text, "Key")
    model = MODELS[kind]
    assert [row[0].strip("`") for row in rows] == [field.encode_name for field in msgspec.structs.fields(model)]
    assert [row[0].strip("`") for row in rows if row[1].startswith("always")] == list(model.ALWAYS)
    example = json.loads(blocks(text, "json")[0])
    assert list(example) == list(model.ALWAYS)
    records.parse_record(kind, json.dumps(example).encode())
    needed = {row[0].strip("`") for row in rows if row[2].startswith("needed")} - {"user_id"}
    assert needed == {f.encode_name for f in msgspec.structs.fields(model) if f.required} - {"user_id"}


def test_the_limits_are_those_of_the_code() -> None:
    """Numbers in a table are soon forgotten."""
    limits = {what: limit for what, limit, _ in table(API, "What")}
    assert limits["events a request"] == f"{ingest.MAX_EVENTS:,}"
    assert limits["body, unpacked and as sent"] == f"{ingest.MAX_BODY_BYTES >> 20} MiB"
    assert limits["one event, as rendered"] == f"{records.MAX_EVENT_BYTES >> 10} KiB"
    assert limits["nesting of `changes` and `metadata`"] == f"{records.MAX_NESTING} levels"
    assert limits["objects, arrays and keys in a body, nested ones too"] == f"{ingest.MAX_VALUES:,}"
    assert limits["members of a gzip body"] == f"{ingest.MAX_GZIP_MEMBERS:,}"
    assert limits["request line and headers"] == f"{MAX_HEAD_BYTES >> 10} KiB"
    assert limits["`createdAt`"] == "from 1970 to five minutes ahead of the server"
    assert records.MAX_CLOCK_LEAD_MS == 5 * 60 * 1000
    assert f"{MOST_RECORDS}" in dict(row[::2] for row in table(API, "Parameter"))["`count`"]
    assert f"{1 << TIE_BITS:,} entries" in README


def test_every_page_of_the_api_is_documented() -> None:
    """The calls of the first table are those of the OpenAPI document."""
    named = {(method, path) for row in table(API, "Call") for method, path in re.findall(r"`(\w+) (/\S+)`", row[0])}
    paths = json.loads(openapi_document())["paths"]
    assert named == {(method.upper(), path) for path, methods in paths.items() for method in methods}


def test_every_call_of_the_formats_is_one_of_the_api() -> None:
    """A format that is answered by a call names it as the OpenAPI document has it."""
    named = {re.sub(r"<(\w+)>", r"{\1}", path) for path in re.findall(r"`GET (/[^`?]+)", FORMAT)}
    assert len(named) == 2
    assert named <= json.loads(openapi_document())["paths"].keys()


def test_the_metrics_table_is_the_metrics() -> None:
    """Each metric, once; and no other."""
    described = re.findall(r"^# TYPE (\w+) ", Metrics().render().decode(), re.MULTILINE)
    there = {name for name in described if not name.endswith("_created")}
    assert sorted(row[0].strip("`") for row in table(OPERATE, "Metric")) == sorted(there)


def test_the_settings_file_that_is_shown_is_taken(tmp_path: Path) -> None:
    """Each example of one has settings that there are, with values that they may have."""
    examples = blocks(OPERATE, "toml")
    assert len(examples) == 2
    for example in examples:
        file = tmp_path / "whodid.toml"
        file.write_text(example)
        settings = load_settings({}, environ={}, file=file)
        assert settings.public_host == "audit.acme.example"
        parse_witnesses(settings.witnesses)


def test_the_changelog_is_about_this_version() -> None:
    """Its first heading names the package's version, which is the project's."""
    changes = (ROOT / "CHANGELOG.md").read_text("utf-8")
    newest = re.search(r"^## \[(.+?)\] \S (unreleased|\d{4}-\d\d-\d\d)$", changes, re.MULTILINE)
    assert newest is not None
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert newest[1] == __version__ == project["version"]


def test_the_unit_stops_later_than_the_server() -> None:
    """Systemd must not kill a server that is still answering what it accepted."""
    unit = configparser.RawConfigParser(strict=False)
    unit.read_string(blocks(OPERATE, "ini")[0])
    assert int(unit["Service"]["TimeoutStopSec"]) > Settings().shutdown_seconds
    assert command_of(unit["Service"]["ExecStart"].split()[1:]) == ("serve",)


def test_every_json_example_is_json() -> None:
    """Copied into a program, it must work."""
    for page in PAGES:
        for block in blocks(page.read_text("utf-8"), "json"):
            json.loads(block)


# The calls.


@dataclass(frozen=True)
class Demonstration:
    """A running ``whodid demo``: where it is, the token to do anything, and the folder where it was started."""

    url: str
    token: str
    folder: Path


@pytest.fixture(scope="module")
def demonstration(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demonstration]:
    """What ``make demo`` starts, on a store and a port of its own."""
    folder = tmp_path_factory.mktemp("demo")
    with Whodid(folder).running("demo", "--port", "0") as process:
        assert process.stdout is not None
        said = ""
        for line in process.stdout:
            said += line.decode()
            if "Ctrl-C" in said:
                break
        url = re.search(r" at (http://\S+)", said)
        token = re.search(r"^  to do anything +(\S+)$", said, re.MULTILINE)
        assert url is not None, said
        assert token is not None, said
        yield Demonstration(url[1], token[1], folder)


def by_curl(command: str, there: Demonstration) -> str:
    """Run a command as it stands, but for the host."""
    tokens = {"WHODID_TOKEN": there.token}
    environ = {**os.environ, **tokens, "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}
    done = subprocess.run(
        command.replace(HOST, there.url), shell=True, env=environ, capture_output=True, timeout=20, check=True
    )
    return done.stdout.decode()


def by_hand(command: str, there: Demonstration) -> str:
    """Make the same call where there is no curl: as much of it as the documentation uses."""
    plain = command.replace("\\\n", " ").replace(HOST, there.url)
    words = shlex.split(re.sub(r"\$WHODID_TOKEN\b", there.token, plain))
    headers = {"User-Agent": "curl/0"}
    body: str | None = None
    url = query = ""
    rest = iter(words[1:])
    for word in rest:
        match word:
            case "-sS" | "-G":
                pass
            case "--data-urlencode":
                name, _, value = next(rest).partition("=")
                query = f"{name}={quote(value)}"
            case "-H":
                name, _, value = next(rest).partition(": ")
                headers[name] = value
            case "-d":
                body = next(rest).replace("\n", "")
            case _:
                url = word
    parts = urlsplit(url)
    with contextlib.closing(http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=20)) as connection:
        target = f"{parts.path}?{parts.query or query}".rstrip("?")
        connection.request("GET" if body is None else "POST", target, body, headers)
        return connection.getresponse().read().decode()


WAYS: list[Callable[[str, Demonstration], str]] = [by_hand, *([by_curl] if shutil.which("curl") else [])]


def alike(answers: list[str]) -> str:
    """Answers without what differs each time: ids are numbered as they occur, so the same id is still the same."""
    text = json.dumps([json.loads(answer) for answer in answers])  # keeps the order of keys
    text = re.sub(r'"request_id": "\w+"', '"request_id": "…"', text)
    text = re.sub(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", "…", text)
    text = re.sub(r'"seq": \d+', '"seq": …', text)
    text = re.sub(r'"user_agent": "curl/[^"]*"', '"user_agent": "curl"', text)
    ids: dict[str, str] = {}
    return re.sub(r"\b[0-9a-f]{24}\b", lambda match: ids.setdefault(match[0], f"id {len(ids)}"), text)


def in_shell(script: str, folder: Path, **environ: str) -> str:
    """What a script prints that is run in a folder, with the commands of this installation."""
    own = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "NO_PROXY": "127.0.0.1", **environ}
    done = subprocess.run(
        ["sh", "-eu", "-c", script], cwd=folder, env={**os.environ, "no_proxy": "127.0.0.1", **own},
        capture_output=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


def without_what_differs(text: str) -> str:
    """Printed lines without roots, key ids, hints and numbers."""
    text = re.sub(r"[A-Za-z0-9+/]{43}=", "<root>", text)
    return re.sub(r"\d+", "<n>", re.sub(r"\b[0-9a-f]{8}\b", "<hex>", text))


@pytest.mark.parametrize("way", WAYS)
def test_the_readmes_calls_answer_as_it_shows(
    demonstration: Demonstration, way: Callable[[str, Demonstration], str]
) -> None:
    """One after the other, key for key: the event that was recorded is the one that is read, by the same token."""
    pairs = re.findall(r"^```sh\n(curl .*?)^```\n\n```json\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    assert len(pairs) == 3
    answers = [way(command, demonstration) for command, _ in pairs]
    assert alike(answers) == alike([shown for _, shown in pairs])


def test_the_readmes_evidence_is_verified_as_it_shows(demonstration: Demonstration) -> None:
    """The demonstration's log, by the key that is shown of it."""
    ((commands, shown),) = re.findall(r"^```sh\n([^`]*?)^```\n\n```text\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    printed = in_shell(commands.replace(".venv/bin/", ""), demonstration.folder)
    assert without_what_differs(printed) == without_what_differs(shown)


@pytest.mark.parametrize("way", WAYS)
def test_the_calls_of_the_other_pages_work_too(
    demonstration: Demonstration, way: Callable[[str, Demonstration], str]
) -> None:
    """None of them is refused."""
    calls = [block for page in (API, OPERATE) for block in blocks(page, "sh") if block.startswith("curl ")]
    assert len(calls) >= 3
    for call in calls:
        answer = json.loads(way(call, demonstration))
        assert answer.keys() & {"count", "data", "status"}, answer
        assert answer.get("status", "ready") == "ready", answer


# The auditor's page.


AUDITED_HOST = "https://audit.acme.example"
TOOLS = ("curl", "jq", "openssl", "zcat", "sed", "base64")
FENCES = re.compile(r"^```(sh|text|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Audit:
    """A log that is served, and the folder where operator and auditor type what the page says."""

    tenant: Tenant

    @property
    def folder(self) -> Path:
        """The folder."""
        return self.tenant.server.folder

    def shell(self, script: str) -> str:
        """What a script prints, as it stands but for the host."""
        server = self.tenant.server
        there = script.replace(AUDITED_HOST, f"http://127.0.0.1:{server.port}")
        return in_shell(there, self.folder, WHODID_STORE=f"sqlite:///{server.path}")


@pytest.fixture
def audit(tmp_path: Path) -> Iterator[Audit]:
    """Of an account with enough entries for the page's numbers."""
    with Running(tmp_path, public_host="audit.acme.example") as server, tenant_of(server, ACCOUNT) as tenant:
        assert server.post(ACTIONS, tenant.token(), [action(type="task")] * 150).status == 201
        yield Audit(tenant)


@pytest.mark.skipif(
    any(shutil.which(tool) is None for tool in TOOLS)
    or not subprocess.check_output(["openssl", "version"]).startswith(b"OpenSSL 3"),
    reason=f"needs {', '.join(TOOLS)}",
)
def test_the_auditors_page_works_as_it_stands(audit: Audit) -> None:
    """Each command, those of operator and auditor in turn; what is printed is what the page shows."""
    (program,) = blocks(VERIFY, "python")
    (audit.folder / "check.py").write_text(program)
    fences = [(language, text) for language, text in FENCES.findall(VERIFY) if "pip install" not in text]
    commands = [text for language, text in fences if language == "sh"]
    printed = audit.shell("".join(f"{command}echo ===\n" for command in commands)).split("===\n")
    after = dict(zip(commands, printed[:-1], strict=True))
    shown = [(before[1], text) for before, (language, text) in itertools.pairwise(fences) if language == "text"]
    assert len(shown) == 5
    for command, expected in shown:
        assert without_what_differs(after[command]) == without_what_differs(expected)
    computed, signed, _ = after[shown[-1][0]].splitlines()
    assert computed == signed
    assert after[commands[-1]].startswith("entry 18 of audit.acme.example/log/org-acme-acc0 is {")


def test_the_pages_python_accepts_a_proof_and_refuses_a_changed_one(audit: Audit) -> None:
    """With another record, salt, number, hash or checkpoint, a hash more or less, or the key of another log."""
    (program,) = blocks(VERIFY, "python")
    tenant = audit.tenant
    (key,) = Whodid(audit.folder)("key", "show", "--account", ACCOUNT, "--json").json
    record_id = tenant.server.get(f"{ACTIONS}?count=1", tenant.token()).records[0]["_id"]
    answer = tenant.server.get(f"/api/v2/logs/{record_id}/proof", tenant.token(), Accept="application/json")

    def status(key: str, **changed: Any) -> int:
        (audit.folder / "proof.json").write_text(json.dumps({**answer.json, **changed}))
        command = [sys.executable, "-c", program, "proof.json", key]
        return subprocess.run(command, cwd=audit.folder, capture_output=True, timeout=20, check=False).returncode

    proof, good = answer.json, key["verifier_key"]
    assert len(proof["proof"]) > 2
    assert status(good) == 0
    assert status(good.replace("acme-acc0", "acme-acc1")) == 1
    for changed in (
        {"record": proof["record"].replace("task", "tusk")},
        {"salt": "AAAAAAAAAAAAAAAAAAAAAA=="},
        {"seq": proof["seq"] - 1},
        {"proof": proof["proof"][1:]},
        {"proof": [*proof["proof"], proof["proof"][0]]},
        {"proof": [proof["proof"][1], *proof["proof"][1:]]},
        {"checkpoint": re.sub(r"^\d+$", "7", proof["checkpoint"], flags=re.MULTILINE)},
    ):
        assert status(good, **changed) == 1, changed
