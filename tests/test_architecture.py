"""The architecture as DESIGN.md §2 fixes it, held against every import there is."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src"

# Imports point up this list only: a module may import what stands before it.
ORDER = (
    "errors",
    "durable",
    "clock",
    "config",
    "logs",
    "records",
    "words",
    "conditions",
    "commitment",
    "merkle",
    "proofs",
    "notes",
    "checkpoint",
    "tiles",
    "bundle",
    "store.base",
    "store.admission",
    "store",
    "diagnosis",
    "ingest",
    "sequencer",
    "metrics",
    "ratelimit",
    "tokens",
    "identity",
    "auth",
    "query",
    "recording",
    "changing",
    "feed",
    "evidence",
    "verify",
    "client",
    "importing",
    "migrating",
    "exporting",
    "export",
    "demo",
    "service",
    "web",
    "cli",
    "__main__",
)

# Who alone may import what.
KEEPERS = {
    "starlette": ("web",),
    "uvicorn": ("web",),
    "apsw": ("store.sqlite",),
    "zstandard": ("store.sqlite", "importing", "exporting"),
    "pyarrow": ("exporting",),
    "psycopg": ("store.postgres",),
    "psycopg_pool": ("store.postgres",),
    "cyclopts": ("cli",),
    "prometheus_client": ("metrics",),
    "cryptography": ("notes", "checkpoint", "evidence"),
    "urllib3": ("evidence", "verify"),
    "httpx": ("client",),
    "jinja2": ("web",),
    "markupsafe": ("web",),
}

LONGEST_MODULE = 500


def module_name(file: Path) -> str:
    """``store.base`` for ``src/whodid/store/base.py``; the package itself is ``""``."""
    parts = file.relative_to(SOURCE / "whodid").with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(file): file for file in sorted((SOURCE / "whodid").rglob("*.py"))}


def imported_names(tree: ast.AST) -> Iterator[str]:
    """Every name that is imported anywhere: at the top, for types only, in a function, by ``import_module``."""
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                yield from (alias.name for alias in names)
            case ast.ImportFrom(module=module, names=names, level=level):
                assert level == 0, "imports are absolute here"
                yield from (f"{module}.{alias.name}" for alias in names)
            case ast.Call(func=ast.Attribute(attr="import_module") | ast.Name(id="import_module" | "__import__")):
                assert isinstance(node.args[0], ast.Constant), "a module that is imported by a computed name"
                yield str(node.args[0].value)


def module_of(name: str) -> str | None:
    """The module of ours that a name like ``whodid.store.base.Store`` is in; None if it is none of ours."""
    package, _, rest = name.partition(".")
    if package != "whodid":
        return None
    while rest and rest not in MODULES:
        rest = rest.rpartition(".")[0]
    return rest


def within(module: str, packages: tuple[str, ...]) -> bool:
    """Whether a module is one of these, or inside one of them."""
    return any(module == package or module.startswith(package + ".") for package in packages)


def rank(module: str) -> int:
    """A module's place in the order: that of the first line that it is in. The package itself stands before all."""
    if module == "":
        return -1
    return next((at for at, line in enumerate(ORDER) if within(module, (line,))), len(ORDER))


def arrows() -> dict[str, set[str]]:
    """Each module and what it imports of ours."""
    return {
        module: {
            target for name in imported_names(ast.parse(file.read_text())) if (target := module_of(name)) is not None
        }
        for module, file in MODULES.items()
    }


def find_cycle(graph: dict[str, set[str]]) -> list[str] | None:
    """A way from some module back to itself; None where there is none."""
    done: set[str] = set()

    def walk(module: str, way: list[str]) -> list[str] | None:
        if module in way:
            return [*way[way.index(module) :], module]
        if module in done:
            return None
        for target in sorted(graph.get(module, ())):
            if cycle := walk(target, [*way, module]):
                return cycle
        done.add(module)
        return None

    return next((cycle for module in sorted(graph) if (cycle := walk(module, []))), None)


def test_every_module_has_a_place_in_the_order() -> None:
    """A new module is put into the order on purpose, or it fails here."""
    assert [module for module in MODULES if rank(module) == len(ORDER)] == []


def test_no_import_points_against_the_order() -> None:
    """A module imports only what stands before it; within one line of the order, only cycles are forbidden.

    The package itself has no place: it shows the client, which is loaded when it is asked for.
    """
    wrong = [
        f"{module} imports {target}"
        for module, targets in arrows().items()
        for target in sorted(targets)
        if module and rank(target) > rank(module)
    ]
    assert wrong == []


def test_no_modules_import_each_other_in_a_circle() -> None:
    """Not even lazily, nor for types only."""
    assert find_cycle(arrows()) is None


@pytest.mark.parametrize("library", KEEPERS)
def test_a_library_is_known_only_to_its_keeper(library: str) -> None:
    """HTTP stays in web, SQLite in its store: so each can be replaced in one place."""
    importers = [
        module
        for module, file in MODULES.items()
        if any(name.split(".")[0] == library for name in imported_names(ast.parse(file.read_text())))
    ]
    assert [module for module in importers if not within(module, KEEPERS[library])] == []


@pytest.mark.parametrize("module", MODULES)
def test_a_module_says_what_it_owns_and_is_short(module: str) -> None:
    """Each has a docstring; one of more than 500 lines says there how many it has, and why."""
    text = MODULES[module].read_text()
    docstring = ast.get_docstring(ast.parse(text))
    assert docstring
    assert len(text.splitlines()) <= LONGEST_MODULE or "lines" in docstring


def test_the_checks_of_imports_see_what_they_should(tmp_path: Path) -> None:
    """Lazy, typing-only and computed imports are seen, and a circle of them is found."""
    tree = ast.parse(
        "import whodid.errors\nfrom whodid import diagnosis\n"
        "if TYPE_CHECKING:\n    from whodid.store.base import Store\n"
        "def later():\n    from whodid.records import Kind\n    importlib.import_module('whodid.merkle')\n"
    )
    seen = {module_of(name) for name in imported_names(tree)}
    assert seen == {"errors", "diagnosis", "store.base", "records", "merkle"}
    assert find_cycle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]
    assert find_cycle({"a": {"b", "c"}, "b": {"c"}}) is None
    assert rank("store.base") < rank("store.sqlite.writer") < rank("ingest")
