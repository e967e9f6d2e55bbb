"""What people do in the demonstration: which action on which kind of object, how often, and who."""

from dataclasses import dataclass

from whodid.store.base import Role

MAKERS = frozenset({Role.ADMINISTRATOR, Role.POWER_USER, Role.USER})
POWER = frozenset({Role.ADMINISTRATOR, Role.POWER_USER})
ADMINISTRATORS = frozenset({Role.ADMINISTRATOR})
GUARDS = frozenset({Role.ADMINISTRATOR, Role.SECURITY_MANAGER})
READERS = frozenset({Role.ADMINISTRATOR, Role.AUDITOR, Role.SECURITY_MANAGER})


@dataclass(frozen=True, slots=True)
class Doing:
    """One kind of thing that people do."""

    type: str
    action: str
    weight: int
    """How often, against the others of the same person."""
    roles: frozenset[Role]
    changes: str | None = None
    """The field that it changes, a key of ``VALUES``."""
    failing: float = 0.0
    """How often it fails."""


DOINGS = (
    Doing("pipeline", "start", 150, MAKERS, failing=0.05),
    Doing("pipeline", "update", 110, MAKERS, changes="description"),
    Doing("pipeline", "stop", 18, MAKERS),
    Doing("pipeline", "resume", 14, MAKERS),
    Doing("pipeline", "reset", 10, MAKERS),
    Doing("pipeline", "create", 8, MAKERS),
    Doing("pipeline", "copy", 7, MAKERS),
    Doing("pipeline", "delete", 3, POWER),
    Doing("pipeline", "deploy", 40, POWER, failing=0.08),
    Doing("pipeline", "publish", 8, POWER),
    Doing("pipeline", "approval", 40, POWER),
    Doing("pipeline", "denial", 7, POWER),
    Doing("pipeline", "ownership_transfer", 2, POWER, changes="owner"),
    Doing("pipeline", "edit_access_roles", 5, POWER, changes="access"),
    Doing("pipeline", "update_runtime_settings", 14, MAKERS, changes="timeout"),
    Doing("registry", "create", 5, POWER),
    Doing("registry", "update", 16, POWER, changes="url"),
    Doing("registry", "delete", 1, POWER),
    Doing("registry", "certificate_sync", 4, POWER, failing=0.15),
    Doing("task", "create", 8, MAKERS),
    Doing("task", "start", 40, MAKERS, failing=0.06),
    Doing("task", "stop", 4, MAKERS),
    Doing("task", "update", 12, MAKERS, changes="schedule"),
    Doing("pipeline_template", "publish", 3, POWER),
    Doing("pipeline_template", "create", 3, POWER),
    Doing("pipeline_template", "update", 6, POWER, changes="description"),
    Doing("tag", "create", 8, MAKERS),
    Doing("tag", "update", 10, MAKERS, changes="value"),
    Doing("tag", "delete", 3, MAKERS),
    Doing("instructions", "create", 3, MAKERS),
    Doing("instructions", "update", 6, MAKERS, changes="description"),
    Doing("analytics_data_entry", "create", 5, MAKERS),
    Doing("analytics_data_entry", "update", 5, MAKERS, changes="value"),
    Doing("analytics_data_mapping_organization", "create", 1, POWER),
    Doing("analytics_data_mapping_organization", "update", 2, POWER, changes="mapping"),
    Doing("analytics_data_mapping_project", "create", 2, POWER),
    Doing("analytics_data_mapping_project", "update", 4, POWER, changes="mapping"),
    Doing("analytics_data_mapping_user", "create", 2, POWER),
    Doing("analytics_data_mapping_user", "update", 4, POWER, changes="mapping"),
    Doing("feature_flags", "update", 16, POWER, changes="enabled"),
    Doing("feature_flags", "create", 3, POWER),
    Doing("notification_policy", "create", 4, GUARDS),
    Doing("notification_policy", "update", 16, GUARDS, changes="channel"),
    Doing("policy", "create", 4, GUARDS),
    Doing("policy", "update", 30, GUARDS, changes="enforcement"),
    Doing("policy", "delete", 1, GUARDS),
    Doing("user", "update", 16, ADMINISTRATORS, changes="role"),
    Doing("account", "update", 3, ADMINISTRATORS, changes="retention"),
    Doing("access_token", "create", 6, GUARDS),
    Doing("access_token", "expire", 5, GUARDS),
    Doing("export", "export", 14, READERS),
)

VALUES: dict[str, tuple[object, ...]] = {
    "description": ("Build and test", "Build, test and scan", "Release to staging", "Release to production", ""),
    "owner": ("ann@acme.example", "bob@acme.example", "farid@acme.example", "jonas@acme.example"),
    "access": (["developers"], ["developers", "release-managers"], ["release-managers"], ["everyone"]),
    "timeout": (600, 900, 1800, 3600, 7200),
    "url": ("https://git.acme.example", "https://jenkins.acme.example", "https://sonar.acme.example/api"),
    "schedule": ("0 2 * * *", "30 4 * * 1-5", "0 */6 * * *", None),
    "value": ("payments", "checkout", "platform", "search", "mobile"),
    "mapping": ("engineering", "payments", "platform", "growth"),
    "enabled": (True, False),
    "channel": ("#releases", "#security", "oncall@acme.example", "#platform"),
    "enforcement": ("audit", "warn", "block"),
    "role": ("user", "power_user", "auditor"),
    "retention": ("1y", "3y", "7y"),
}

NAMES: dict[str, tuple[str, ...]] = {
    "pipeline": (
        "checkout-service build", "payments-api release", "mobile-app nightly", "search-indexer build",
        "web-frontend release", "identity-service build", "data-warehouse load", "infrastructure plan",
        "ledger-service release", "docs-site publish", "fraud-model training", "notifications build",
    ),
    "registry": ("GitLab", "Jenkins", "SonarQube", "Artifactory", "Jira", "AWS eu-west-1"),
    "task": ("rotate certificates", "sync branches", "clean up artifacts", "back up settings", "create cluster"),
    "pipeline_template": ("Java service", "Python service", "Static site", "Terraform module"),
    "tag": ("team", "application", "environment", "cost-centre", "release"),
    "instructions": ("Approve a release", "Roll back", "Rotate a secret"),
    "analytics_data_entry": ("Lead time, payments", "Incidents, checkout", "Coverage, search"),
    "analytics_data_mapping_organization": ("Acme Engineering", "Acme Data"),
    "analytics_data_mapping_project": ("Checkout", "Payments", "Platform", "Search"),
    "analytics_data_mapping_user": ("jira: bokafor", "gitlab: fhaddad", "gitlab: cmendes"),
    "feature_flags": ("new-checkout", "dark-mode", "faster-search", "eu-data-residency"),
    "notification_policy": ("Failed deployments", "Approvals waiting", "Security findings"),
    "policy": ("Two approvals to production", "No critical findings", "Signed images only"),
    "user": ("carla@acme.example", "grace@acme.example", "ines@acme.example", "kavya@acme.example"),
    "account": ("Acme",),
    "access_token": ("laptop", "dashboard", "release script", "grafana"),
    "export": ("Audit log, last quarter", "Audit log, last month"),
}  # fmt: skip

REASONS = {
    "start": "The repository can't be reached",
    "deploy": "The health check failed; rolled back",
    "certificate_sync": "The certificate has expired",
    "login": "The password is wrong",
    "denial": "The scan has critical findings",
}

NEW_NAMES = ("alpha", "beacon", "cobalt", "delta", "ember", "falcon", "garnet", "harbour", "indigo", "juniper")
