"""Settings: where they come from, which source wins, and what is refused."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from whodid.config import LOG_LEVELS, Settings, load_settings
from whodid.errors import InvalidSetting

FIELDS = dataclasses.fields(Settings)
NUMBERS = [setting for setting in FIELDS if setting.type is int]
CHOICES = [setting for setting in FIELDS if setting.type is bool]


def write(folder: Path, text: str) -> Path:
    """A settings file."""
    file = folder / "whodid.toml"
    file.write_text(text)
    return file


def test_defaults_hold_where_nothing_is_set() -> None:
    """And they are valid by their own rules."""
    assert load_settings({}, environ={}) == Settings()
    given = {setting.name: getattr(Settings(), setting.name) for setting in FIELDS}
    assert load_settings(given, environ={}) == Settings()


def test_flags_win_over_the_environment_and_that_over_the_file(tmp_path: Path) -> None:
    """A flag that was not given (None) leaves the word to the next."""
    file = write(tmp_path, 'port = 1\nqueue_mib = 1\nhost = "file"\nstore = "sqlite:///file.db"')
    environ = {
        "WHODID_PORT": "2",
        "WHODID_QUEUE_MIB": "2",
        "WHODID_CONFIG": str(file),
        "PORT": "9",
        "WHODID_OTHER": "x",
    }
    settings = load_settings({"port": 3, "queue_mib": None}, environ=environ)
    assert (settings.port, settings.queue_mib, settings.host) == (3, 2, "file")
    assert settings.store == "sqlite:///file.db"


def test_a_file_that_is_given_wins_over_the_one_that_the_environment_names(tmp_path: Path) -> None:
    """``--config`` before ``WHODID_CONFIG``."""
    file = write(tmp_path, "port = 5")
    assert load_settings({}, environ={"WHODID_CONFIG": "/nowhere"}, file=file).port == 5


@pytest.mark.parametrize("setting", NUMBERS, ids=lambda setting: setting.name)
def test_a_number_is_taken_from_its_least_to_its_most(setting: Any) -> None:
    """One below and one above are refused, with the bounds."""
    least, most = setting.metadata["least"], setting.metadata["most"]
    for good in (least, str(least), f" {least} ", *([] if most is None else [most])):
        assert getattr(load_settings({setting.name: good}, environ={}), setting.name) == int(good)
    for wrong in (least - 1, *([] if most is None else [most + 1])):
        with pytest.raises(InvalidSetting, match=rf"{setting.name} must be .*at least {least}"):
            load_settings({setting.name: wrong}, environ={})


@pytest.mark.parametrize("wrong", ["", "ten", "1.5", 1.5, True, None, "-1", "+1", "1_000", "٣", [1]])
def test_what_is_no_whole_number_is_refused(tmp_path: Path, wrong: Any) -> None:
    """From any source; the message names the setting and what would be right."""
    with pytest.raises(InvalidSetting, match="port must be"):
        load_settings({"port": "none" if wrong is None else wrong}, environ={})
    if isinstance(wrong, str):
        with pytest.raises(InvalidSetting, match="port must be"):
            load_settings({}, environ={"WHODID_PORT": wrong})


@pytest.mark.parametrize("setting", CHOICES, ids=lambda setting: setting.name)
def test_a_choice_is_taken_from_words_and_from_what_they_mean(tmp_path: Path, setting: Any) -> None:
    """From a flag, the environment, a file; whatever the case of the letters."""
    for word, chosen in (("true", True), ("yes", True), ("1", True), ("false", False), ("no", False), ("0", False)):
        for given in (word, word.upper(), word.title()):
            for settings in (
                load_settings({setting.name: given}, environ={}),
                load_settings({}, environ={f"WHODID_{setting.name.upper()}": given}),
                load_settings({}, environ={}, file=write(tmp_path, f'{setting.name} = "{given}"')),
            ):
                assert getattr(settings, setting.name) is chosen
    for chosen in (True, False):
        assert getattr(load_settings({setting.name: chosen}, environ={}), setting.name) is chosen
        file = write(tmp_path, f"{setting.name} = {str(chosen).lower()}")
        assert getattr(load_settings({}, environ={}, file=file), setting.name) is chosen
        other = {f"WHODID_{setting.name.upper()}": str(not chosen)}
        assert getattr(load_settings({setting.name: chosen}, environ=other, file=file), setting.name) is chosen


@pytest.mark.parametrize("wrong", ["", "maybe", "on", "2", 2, 1.0, [], [True], {}, "truetrue", "ja"])
@pytest.mark.parametrize("setting", CHOICES, ids=lambda setting: setting.name)
def test_what_is_no_choice_is_refused(setting: Any, wrong: Any) -> None:
    """A log must not become public by a slip; nor stay closed by one, unnoticed."""
    with pytest.raises(InvalidSetting, match=f"{setting.name} must be true or false, not"):
        load_settings({setting.name: wrong}, environ={})


def test_witnesses_may_be_a_list_in_a_file(tmp_path: Path) -> None:
    """It comes to the same as the text with commas; no other setting may."""
    file = write(
        tmp_path, 'witnesses = [\n  "https://w1.example w1.example+0+a",\n  "https://w2.example w2.example+1+b",\n]'
    )
    text = "https://w1.example w1.example+0+a, https://w2.example w2.example+1+b"
    assert load_settings({}, environ={}, file=file).witnesses == text
    assert load_settings({}, environ={"WHODID_WITNESSES": text}).witnesses == text
    assert load_settings({}, environ={}, file=write(tmp_path, "witnesses = []")).witnesses == ""
    with pytest.raises(InvalidSetting, match="witnesses must be a string"):
        load_settings({}, environ={}, file=write(tmp_path, "witnesses = 5"))
    with pytest.raises(InvalidSetting, match="signed_dir must be a string"):
        load_settings({}, environ={}, file=write(tmp_path, 'signed_dir = ["a"]'))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("prot = 1", "no setting 'prot'; there are store, host, port"),
        ("[server]\nport = 1", "no setting 'server'"),
        ("host = 1", "host must be a string, not 1"),
        ("port = true", "port must be a whole number"),
        ('log_level = "loud"', "log_level must be one of debug, info, warning, error, not 'loud'"),
        ("port = ", "is not TOML"),
    ],
)
def test_a_wrong_settings_file_is_refused(tmp_path: Path, text: str, says: str) -> None:
    """A slip is told, not passed over."""
    with pytest.raises(InvalidSetting, match=says):
        load_settings({}, environ={}, file=write(tmp_path, text))


def test_a_settings_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    """Not there, a folder, not text."""
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff\xfe")
    for file in (tmp_path / "nowhere.toml", tmp_path, binary):
        with pytest.raises(InvalidSetting, match="settings file"):
            load_settings({}, environ={}, file=file)


def test_an_unknown_flag_is_refused() -> None:
    """Whoever builds flags out of a table must not slip either."""
    with pytest.raises(InvalidSetting, match="no setting 'prot'"):
        load_settings({"prot": 1}, environ={})


@pytest.mark.parametrize("level", LOG_LEVELS)
def test_each_log_level_is_taken(level: str) -> None:
    """By its name."""
    assert load_settings({}, environ={"WHODID_LOG_LEVEL": level}).log_level == level


def test_each_setting_says_what_it_is() -> None:
    """The documentation is made of it."""
    assert all(setting.metadata["says"] for setting in FIELDS)
    assert all(setting.metadata["least"] is not None for setting in NUMBERS)
