"""Who somebody is, as the provider says."""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple, Self

from whaul.auth.openid.errors import RefusedError
from whaul.terminal import visible

EMAIL: Final = "email"
MAX_NAME: Final = 256
"""Characters of what the audit log calls somebody."""


class Person(NamedTuple):
    """Somebody whom the provider knows."""

    subject: str
    """Theirs for ever, at this issuer."""
    email: str | None
    groups: frozenset[str]

    @classmethod
    def of(cls, claims: Mapping[str, Any], groups_claim: str) -> Self:
        """Read proven claims. Raises RefusedError if they do not have the groups."""
        email = claims.get(EMAIL) if claims.get("email_verified") is not False else None
        return cls(claims["sub"], email if isinstance(email, str) and email else None, _groups(claims, groups_claim))

    @property
    def name(self) -> str:
        """What the audit log calls them: an address may be of somebody else tomorrow, so the subject is there too."""
        named = self.subject if self.email is None else f"{self.email} ({self.subject})"
        return visible(named)[:MAX_NAME]


def found_claim(claims: Mapping[str, Any], name: str) -> Any:
    """Return a claim, None if it is missing; a dot leads into one, unless there is one of the whole name."""
    value: Any = claims
    for part in [name] if name in claims else name.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def _groups(claims: Mapping[str, Any], name: str) -> frozenset[str]:
    if name == EMAIL and claims.get("email_verified") is not True:
        raise RefusedError("The provider has not verified your address, which decides here what you may do.")
    value = found_claim(claims, name)
    if isinstance(value, str):
        return frozenset({value})
    if not isinstance(value, list):
        raise RefusedError(
            f"The provider does not say your `{visible(name)}`, which WHAUL_OIDC_GROUPS_CLAIM names. Have it add that "
            "to ID tokens, or ask for another scope in WHAUL_OIDC_SCOPES."
        )
    return frozenset(group for group in value if isinstance(group, str))
