"""A proven caller, and what it may do."""

from dataclasses import dataclass, field

from whaul.auth.policy import Policy, denial
from whaul.errors import AccessDeniedException


@dataclass(slots=True)  # `frozen` is slow to build: `sigv4`
class Caller:
    """A proven caller."""

    access_key_id: str
    name: str
    arn: str
    policy: Policy = field(repr=False)
    rate_limit: float | None = None
    """The key's own; see `AccessKey`."""
    rate_burst: int | None = None

    def authorize(self, action: str, resource: str, *, shown_as: str | None = None) -> None:
        """Raise `AccessDeniedException` unless the policy allows the action on the resource.

        `shown_as` stands for the resource in the message when the resource itself must not be repeated.
        """
        decision = self.policy.evaluate(action, resource)
        if not decision.allowed:
            raise AccessDeniedException(denial(self.arn, action, shown_as or resource, decision))
