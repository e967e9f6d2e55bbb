"""Who works in the demonstration's company: their roles, their hours, their machines."""

from dataclasses import dataclass

from whodid.store.base import Role

DOMAIN = "acme.example"

_MAC = (
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/{}.0.0.0 Safari/537.36"
)
_WINDOWS = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/{0}.0.0.0 "
    "Safari/537.36 Edg/{0}.0.0.0"
)
_LINUX = "Mozilla/5.0 (X11; Linux x86_64; rv:{0}.0) Gecko/20100101 Firefox/{0}.0"


@dataclass(frozen=True, slots=True)
class Person:
    """Someone who works here, or a program that does."""

    login: str
    """The address before the ``@``."""
    name: str
    role: Role
    utc_offset_hours: int
    begins_at: int
    """The hour, by the person's own clock, at which a day begins; one has about nine of them."""
    doings_a_day: int
    address: str
    agent: str


PEOPLE = (
    Person("ann", "Ann Keller", Role.ADMINISTRATOR, 1, 8, 26, "192.0.2.17", _MAC.format(140)),
    Person("bob", "Bob Okafor", Role.POWER_USER, 1, 9, 38, "192.0.2.23", _LINUX.format(142)),
    Person("carla", "Carla Mendes", Role.USER, 0, 9, 30, "192.0.2.31", _WINDOWS.format(141)),
    Person("dave", "Dave Lindqvist", Role.AUDITOR, 1, 10, 7, "192.0.2.44", _WINDOWS.format(140)),
    Person("erin", "Erin Walsh", Role.SECURITY_MANAGER, 0, 8, 20, "198.51.100.9", _LINUX.format(143)),
    Person("farid", "Farid Haddad", Role.POWER_USER, -5, 9, 36, "198.51.100.36", _MAC.format(141)),
    Person("grace", "Grace Whitfield", Role.USER, -5, 8, 30, "198.51.100.52", _MAC.format(139)),
    Person("hiro", "Hiro Tanaka", Role.USER, 9, 9, 30, "203.0.113.5", _WINDOWS.format(141)),
    Person("ines", "Inês Duarte", Role.USER, 0, 10, 26, "192.0.2.77", _LINUX.format(141)),
    Person("jonas", "Jonas Weber", Role.POWER_USER, 1, 7, 34, "2001:db8:40::1c", _LINUX.format(140)),
    Person("kavya", "Kavya Iyer", Role.USER, 5, 10, 30, "203.0.113.88", _WINDOWS.format(139)),
    Person("ci-bot", "Nightly builds", Role.SERVICE, 0, 0, 0, "10.20.0.11", "whodid-ci/2.4 python-httpx/0.28"),
)
