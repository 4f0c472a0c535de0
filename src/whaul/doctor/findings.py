"""What a check found."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

EXPLAINED: Final[Mapping[str, str]] = {
    "settings": "security#where-tokens-go",
    "TLS certificate": "deploy#tls-without-a-proxy",
    "database": "deploy#the-database",
    "secret key": "security#changing-the-secret-key",
    "access keys": "getting-started#an-access-key",
    "certificates and proxies": "settings#certificates",
    "Graph API": "settings#whaul_graph_url",
    "accounts": "getting-started#link-the-account",
    "account": "observe#when-a-token-ends",
    "webhooks": "receive#have-meta-send-its-webhooks",
    "apps": "security#who-may-speak-for-whom",
    "subscriptions": "receive#have-meta-send-its-webhooks",
    "durability": "delivery#what-it-rests-on",
    "backlog": "settings#whaul_max_backlog",
    "keys of events": "security#changing-the-secret-key",
    "destination": "events#when-a-destination-has-trouble",
    "files": "archive#when-files-fail",
    "S3 credentials": "settings#variables-of-other-tools",
    "S3 endpoint": "settings#variables-of-other-tools",
    "region": "settings#aws_region",
    "bucket": "security#where-files-go",
    "console sign-in": "console#through-a-provider",
    "traces": "observe#traces",
    "clock": "faq#why-does-the-signature-not-match",
}
"""Pages of the documentation, by the check or its first word."""
ELSEWHERE: Final = "observe#when-something-does-not-work"


class Outcome(StrEnum):
    """The result of one check."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found."""

    check: str
    outcome: Outcome
    detail: str
    advice: str = ""
    """What to do; empty if nothing."""

    @property
    def explained(self) -> str:
        """The page of the documentation that tells more."""
        return EXPLAINED.get(self.check) or EXPLAINED.get(self.check.partition(" ")[0], ELSEWHERE)


def ok(check: str, detail: str) -> Finding:
    """It works."""
    return Finding(check, Outcome.OK, detail)


def warning(check: str, detail: str, advice: str) -> Finding:
    """It works, but somebody should know."""
    return Finding(check, Outcome.WARNING, detail, advice)


def failed(check: str, detail: str, advice: str) -> Finding:
    """It does not work."""
    return Finding(check, Outcome.FAILED, detail, advice)


def skipped(check: str, detail: str, advice: str = "") -> Finding:
    """It was not checked."""
    return Finding(check, Outcome.SKIPPED, detail, advice)
