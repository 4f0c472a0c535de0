"""What a policy allows, action by action, on everything that there is."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from whaul.arns import Arns
from whaul.auth.policy import Decision, Policy
from whaul.model import LinkedAccount
from whaul.operations.actions import NO_RESOURCE, actions


@dataclass(frozen=True, slots=True)
class Right:
    """An action, and what is decided on each resource that it may be needed on, by the resource's ARN."""

    action: str
    decisions: Mapping[str, Decision]
    """Empty if there is none, or if its resources cannot be listed, as objects in buckets."""
    somewhere: bool
    """Whether it may be allowed on something."""

    @property
    def allowed(self) -> list[str]:
        """The ARNs on which it is allowed."""
        return [arn for arn, decision in self.decisions.items() if decision.allowed]

    @property
    def statements(self) -> list[str]:
        """The statements that allow it."""
        return list(dict.fromkeys(each.statement or "" for each in self.decisions.values() if each.allowed))


class Resources:
    """Everything that actions may be needed on, by ARN, each with a name for people."""

    def __init__(self, arns: Arns, accounts: Collection[LinkedAccount], destinations: Iterable[str]) -> None:
        self._arns = arns
        self.accounts = {each.arn: each.name or each.meta_waba_id for each in accounts}
        self.numbers = {
            number.arn: number.display_phone_number or number.meta_id
            for each in accounts
            for number in each.phone_numbers
        }
        self.destinations = {arns.event_destination(name): name for name in destinations}
        self.names = self.accounts | self.numbers | self.destinations

    def rights(self, policy: Policy) -> list[Right]:
        """Ask a policy about all of it."""
        return [
            Right(
                action,
                {arn: policy.evaluate(action, arn) for form in forms for arn in self._of(form)},
                policy.allows_somewhere(action),
            )
            for action, forms in actions(self._arns).items()
        ]

    def _of(self, form: str) -> Iterable[str]:
        """The resources of a form of `actions`."""
        if form == NO_RESOURCE:
            return (NO_RESOURCE,)
        every = (self.accounts, self.numbers, self.destinations)
        return next((each for each in every if any(_kind(arn) == _kind(form) for arn in each)), ())


def _kind(arn: str) -> str:
    """What an ARN says before the id: its service and the kind of resource."""
    return arn.rpartition(":")[0] + arn.rpartition(":")[2].partition("/")[0]
