"""The signing key: made once, kept from others' eyes, rotated whole."""

import threading
from pathlib import Path

import pytest

from whodid.errors import InvalidSetting
from whodid.evidence.keyring import Keyring, RetiredKey
from whodid.notes import sign_text

ORIGIN = "localhost/log/org-acme"

OPENSSL_ED25519 = """\
-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEIDZ4J02+1lvL6R/tqC64GhWlFxV+q8KTdRA4dxN/dA6u
-----END PRIVATE KEY-----
"""
OPENSSL_P256 = """\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgb0bXKT3GB/2KuZ0T
hl/Wh4Ojcdvh8OxEqXZKK3awRtyhRANCAAR4RroCDqXbthbxDw3+rhfk1q0zWY3B
oLmUddylbPsLD+M/f5KxEvruHl3/Dgsfj9DYt59/O5nF1dsnLUwWr6jT
-----END PRIVATE KEY-----
"""


def test_a_key_is_made_once_and_its_owner_alone_can_read_it(tmp_path: Path) -> None:
    """The second opening finds the same key, in a file of mode 0600."""
    path = tmp_path / "data" / "whodid.db.key"
    made = Keyring.open(path, make=True)
    assert path.stat().st_mode & 0o777 == 0o600
    assert Keyring.open(path, make=True).current().public_key == made.current().public_key
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_processes_that_start_together_agree_on_one_key(tmp_path: Path) -> None:
    """Whoever is slower takes what is there."""
    path = tmp_path / "key"
    barrier = threading.Barrier(8)
    found: list[bytes] = []

    def open_it() -> None:
        barrier.wait()
        found.append(Keyring.open(path, make=True).current().public_key)

    threads = [threading.Thread(target=open_it) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len(set(found)) == 1
    assert [file.name for file in tmp_path.iterdir()] == ["key"]


def test_a_key_of_openssl_is_taken(tmp_path: Path) -> None:
    """What ``openssl genpkey -algorithm ed25519`` makes; ``openssl pkey -pubout`` told its public half."""
    path = tmp_path / "key.pem"
    path.write_text(OPENSSL_ED25519)
    path.chmod(0o600)
    keys = Keyring.open(path, make=False).current()
    assert keys.public_key.hex() == "5c207ac742fb2e537dec5747973415d9376c4177581115b55b45b4206cc30d99"
    assert keys.retired == ()


def test_a_rotated_key_signs_and_the_old_one_is_listed_for_checking(tmp_path: Path) -> None:
    """The private half of the old key is gone; its public half, and when it was retired, stay, newest first."""
    keyring = Keyring.open(tmp_path / "key", make=True)
    first = keyring.current()
    with keyring.rotation(1_000) as second:
        assert keyring.current() == first
    assert keyring.current().public_key == second.public_key
    with keyring.rotation(2_000):
        pass
    third = Keyring.open(tmp_path / "key", make=False).current()
    assert third.retired == (RetiredKey(second.public_key, 2_000), RetiredKey(first.public_key, 1_000))
    assert [one.public_key for one in third.verifiers(ORIGIN)] == [
        third.public_key,
        second.public_key,
        first.public_key,
    ]
    assert (tmp_path / "key").read_text().count("PRIVATE KEY") == 2
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600


def test_a_running_server_follows_a_rotation(tmp_path: Path) -> None:
    """What another process put into the file is used from then on."""
    here, there = Keyring.open(tmp_path / "key", make=True), Keyring.open(tmp_path / "key", make=False)
    with there.rotation(1_000):
        pass
    assert here.current().public_key == there.current().public_key
    signature = sign_text("text\n", ORIGIN, here.current().private)
    there.current().verifiers(ORIGIN)[0].check("text\n", signature)


@pytest.mark.parametrize("mode", [0o644, 0o666, 0o660, 0o604, 0o601])
def test_a_key_that_others_may_read_or_change_is_refused(tmp_path: Path, mode: int) -> None:
    """And the error says how to mend it."""
    path = tmp_path / "key"
    Keyring.open(path, make=True)
    path.chmod(mode)
    with pytest.raises(InvalidSetting, match=r"chmod 600"):
        Keyring.open(path, make=False)


def test_a_key_that_its_group_may_read_is_taken(tmp_path: Path) -> None:
    """Secrets that are mounted into containers often are of mode 0440."""
    path = tmp_path / "key"
    Keyring.open(path, make=True)
    path.chmod(0o440)
    Keyring.open(path, make=False)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xfe",
        b"no key",
        b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
        b"-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEALDEqbzDPp9+tGB+P318=\n-----END PUBLIC KEY-----\n",
    ],
)
def test_what_is_no_key_is_refused(tmp_path: Path, content: bytes) -> None:
    """A clear error, which shows nothing of the file."""
    path = tmp_path / "key"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(InvalidSetting, match="openssl genpkey"):
        Keyring.open(path, make=True)
    assert path.read_bytes() == content


def test_a_key_of_another_kind_is_refused(tmp_path: Path) -> None:
    """Only Ed25519 signs notes."""
    path = tmp_path / "key"
    path.write_text(OPENSSL_P256)
    path.chmod(0o600)
    with pytest.raises(InvalidSetting, match="another kind"):
        Keyring.open(path, make=False)


def test_a_key_that_was_named_must_be_there(tmp_path: Path) -> None:
    """A secret that was not mounted must not turn into a new key in silence."""
    with pytest.raises(InvalidSetting, match="can't read the signing key"):
        Keyring.open(tmp_path / "key", make=False)
    assert not (tmp_path / "key").exists()


def test_a_rotation_that_fails_changes_nothing(tmp_path: Path) -> None:
    """The old key goes on signing, and no new one lies about."""
    keyring = Keyring.open(tmp_path / "key", make=True)
    before = keyring.path.read_bytes()
    with pytest.raises(RuntimeError, match="the logs can't be written"), keyring.rotation(1_000):
        raise RuntimeError("the logs can't be written")
    assert keyring.path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["key"]


def test_two_rotations_at_once_are_one(tmp_path: Path) -> None:
    """The second process is told that another one is at it."""
    here, there = Keyring.open(tmp_path / "key", make=True), Keyring.open(tmp_path / "key", make=False)
    with (
        here.rotation(1_000) as rotated,
        pytest.raises(InvalidSetting, match="another process is rotating"),
        there.rotation(1_000),
    ):
        pass
    assert there.current().public_key == rotated.public_key
    assert len(there.current().retired) == 1


def test_a_rotated_key_stays_where_it_is_and_who_may_read_it_may_still(tmp_path: Path) -> None:
    """A link to it is no file of its own, and its mode is kept."""
    real, link = tmp_path / "secrets" / "key", tmp_path / "key"
    Keyring.open(real, make=True)
    real.chmod(0o640)
    link.symlink_to(real)
    before = real.read_bytes()
    with Keyring.open(link, make=False).rotation(1_000):
        pass
    assert link.is_symlink()
    assert real.read_bytes() != before
    assert real.stat().st_mode & 0o777 == 0o640
