"""A population of users, objects and tokens, and the events that they cause: made by chance, the same every time.

Some users are busy and some types frequent, as in a real log; nothing is so regular that it would compress unduly.
"""

import itertools
import random

from whodid.records import Action, TokenUse

USERS = 300
TARGETS = 5000

_NAMES = """
    ada alan amara anna ben carla chen dana diego elif emma erik fatima felix grace hana igor ines ivan jana joel
    jun karim kofi lara leo lina luca maya mila nadia nils noor olga omar paula pavel quinn rosa sam sara sven tara
    theo uma vera wei yara zoe
"""
_FAMILIES = "smith garcia okafor tanaka novak silva khan meyer rossi dubois jensen kowalski ivanova lee nguyen"

_ACTIONS = {
    "pipeline": (35, "create copy update update update delete start start start stop resume approval denial"),
    "registry": (10, "create update update delete"),
    "analytics_data_entry": (8, "create update delete"),
    "task": (12, "create update start start stop delete"),
    "authentication": (20, "login login login logout"),
    "pipeline_template": (4, "create update publish"),
    "policy": (5, "create update delete"),
    "tag": (4, "create update delete"),
    "feature_flags": (2, "update"),
}
RARE_TYPE = "policy"
FREQUENT_TYPE = "pipeline"

_SCOPES = ("api",) * 5 + ("security-logs",) * 3 + ("logs-write",) * 4 + ("pipeline",) * 2 + ("registry-readonly",)
FREQUENT_SCOPE = "api"
_CALLS = (
    ("GET", "/v1/logs/user/actions"), ("GET", "/v1/logs/user/tokens"), ("POST", "/v1/logs/user/actions"),
    ("POST", "/v1/logs/user/actions"), ("GET", "/v2/pipelines"), ("GET", "/v2/registry/tools"),
)  # fmt: skip
_AGENTS = (
    "python-requests/2.32.3", "curl/8.5.0", "Splunk/9.2.1", "Go-http-client/2.0", "axios/1.7.9", "okhttp/4.12.0",
)  # fmt: skip


class Population:
    """Whoever causes events in one account."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._users = [(self._id(), self._email(number)) for number in range(USERS)]
        self._user_weights = list(itertools.accumulate(1 / (rank + 10) for rank in range(USERS)))
        self._targets = [self._id() for _ in range(TARGETS)]
        kinds = [(type_, action, weight / len(actions.split())) for type_, (weight, actions) in _ACTIONS.items()
                 for action in actions.split()]  # fmt: skip
        self._kinds = [(type_, action) for type_, action, _ in kinds]
        self._kind_weights = list(itertools.accumulate(weight for _, _, weight in kinds))
        self._tokens = [
            (self._id(), scope, user_id, self._random.choice(_AGENTS), self._address())
            for user_id, _ in self._users
            for scope in self._random.sample(_SCOPES, 2)
        ]

    def sendable(self, count: int, *, unique_targets: bool = False, rest: str = "") -> list[bytes]:
        """Actions as a product sends them, as JSON; ``rest`` is what else an event has, such as ``,"__v":0``."""
        chance = self._random
        whos = [f'{{"user_id":"{user_id}","user_email":"{email}"' for user_id, email in self._users]
        whats = [f',"type":"{type_}","action":"{action}","target_id":"' for type_, action in self._kinds]
        targets = [self._id() for _ in range(count)] if unique_targets else chance.choices(self._targets, k=count)
        parts = zip(
            chance.choices(whos, cum_weights=self._user_weights, k=count),
            chance.choices(whats, cum_weights=self._kind_weights, k=count),
            targets,
            strict=True,
        )
        return [f'{who}{what}{target}"{rest}}}'.encode() for who, what, target in parts]

    def actions(self, count: int) -> list[Action]:
        """Actions that are not completed yet."""
        chance = self._random
        return [
            Action(user_id=user_id, user_email=email, type=type_, action=action, target_id=target)
            for (user_id, email), (type_, action), target in zip(
                chance.choices(self._users, cum_weights=self._user_weights, k=count),
                chance.choices(self._kinds, cum_weights=self._kind_weights, k=count),
                chance.choices(self._targets, k=count),
                strict=True,
            )
        ]

    def token_uses(self, count: int) -> list[TokenUse]:
        """Token uses that are not completed yet, as a server writes them of its callers."""
        chance = self._random
        return [
            TokenUse(
                token_id=token_id, scope=scope, target=target, user_id=user_id, method=method, outcome="success",
                ip_address=address, user_agent=agent, request_id=self._id(),
            )
            for (token_id, scope, user_id, agent, address), (method, target) in zip(
                chance.choices(self._tokens, k=count), chance.choices(_CALLS, k=count), strict=True
            )
        ]  # fmt: skip

    def _id(self) -> str:
        return f"{self._random.getrandbits(96):024x}"

    def _email(self, number: int) -> str:
        return f"{self._random.choice(_NAMES.split())}.{self._random.choice(_FAMILIES.split())}{number}@acme.example"

    def _address(self) -> str:
        return f"10.{self._random.randrange(256)}.{self._random.randrange(256)}.{self._random.randrange(1, 255)}"
