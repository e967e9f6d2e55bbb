"""Help, version and wrong command lines."""

import shlex
from collections.abc import Iterator

import pytest
from cyclopts import App
from tests.cli.running import Whodid

from whodid.cli.app import app, run

pytestmark = pytest.mark.on_sqlite_only("a command line is read before any store is opened")

COMMANDS = (
    "", "serve", "demo", "account", "account add", "account list", "user", "user add", "user list", "user update",
    "user deactivate", "user activate", "token", "token create", "token list", "token expire", "import", "export",
    "verify", "verify-store", "key", "key show", "key rotate", "witness", "witness status", "db", "db init",
)  # fmt: skip

WRONG = {
    "nonsense": "Unknown command",
    "user add --account a --email e --role king": "administrator",
    "user add --account a --email e": "--role",
    "user add --account a --email e --role user --age 7": "Unknown option",
    "token create --account a --email e --name n --scope everything": "security-logs",
    "token create --account a --email e --name n --scope api --expires soon": "--expires must be",
    "export --account a --from yesterday": "--since must be",
    "export --account a --since 2021-02-30": "--since must be",
    "export --account a --since 2021-07-30 --to 2021-07-29": "--since must be before --until",
    "export --account a --kind everything": "action",
    "import --account a": "FILE",
    "import --account a --nope": "--nope",
    "user update --account a --email e": "--new-email",
    "serve --colour red": "Unknown option",
}


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_has_help_with_an_example(whodid: Whodid, command: str) -> None:
    """Whoever asks a command for help gets something to copy."""
    shown = whodid(*command.split(), "--help").out
    assert "Usage: whodid" in shown
    assert "Example:" in shown
    assert f"    whodid {command}" in shown


@pytest.mark.parametrize("line", WRONG)
def test_a_wrong_command_line_is_one_line_on_stderr_and_status_2(whodid: Whodid, line: str) -> None:
    """It says what is wrong, or what would be right; nothing is printed for scripts to mistake for a result."""
    told = whodid(*line.split(), status=2)
    assert told.out == ""
    assert told.err.startswith("whodid: ")
    assert told.err.count("\n") == 1
    assert WRONG[line] in told.err
    assert not whodid.store_path.exists()


def test_the_version_is_told(whodid: Whodid) -> None:
    """It is the package's."""
    import whodid as package

    assert whodid("--version").out.strip() == package.__version__


def test_every_setting_is_a_flag_of_serve(whodid: Whodid) -> None:
    """A new setting can't be forgotten at the command line."""
    from dataclasses import fields

    from whodid.config import Settings

    shown = whodid("serve", "--help").out
    assert [field.name for field in fields(Settings) if f"--{field.name.replace('_', '-')} " not in shown] == []


def commands_of(part: App, before: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """All that has a help of its own, each as its words."""
    yield before
    for name in part:
        if not name.startswith("-"):
            yield from commands_of(part[name], (*before, name))


def examples_of(shown: str) -> Iterator[str]:
    """The command lines of a help's example; those that go on are joined."""
    lines = iter(shown.partition("Example:\n")[2].splitlines())
    for line in lines:
        if not line.startswith("    "):
            continue
        whole = line.strip()
        while whole.endswith("\\"):
            whole = whole[:-1] + next(lines).strip()
        assert next(lines, "") == "", f"the line after this one belongs to it: {line}"
        yield whole


@pytest.mark.parametrize("command", list(commands_of(app)), ids=" ".join)
def test_each_example_can_be_copied(
    command: tuple[str, ...], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """From a terminal of 80 columns, as it stands: it is whole, and a command line that is taken."""
    monkeypatch.setenv("COLUMNS", "80")
    assert run([*command, "--help"]) == 0
    examples = list(examples_of(capsys.readouterr().out))
    assert examples
    for example in examples:
        words = shlex.shlex(example, posix=True, punctuation_chars="|>")
        words.whitespace_split = True
        calls: list[list[str]] = [[]]
        for word in words:
            if word == "|":
                calls.append([])
            else:
                calls[-1].append(word)
        for call in calls:
            if call == ["createdb", "whodid"]:
                continue
            assert call[0] == "whodid"
            until = next((at for at, word in enumerate(call) if set(word) == {">"}), None)
            arguments = call[1:until]
            if "COMMAND" not in arguments:
                app.parse_args(arguments, exit_on_error=False, print_error=False)
