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
    kind: str
    """What it is needed on: an account, a number, a destination; empty if it takes no resource, or others."""
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
        account, number = (arns.arn(f"{kind}-0") for kind in ("waba", "phone-number-id"))
        self._kinds = [
            ("account", _beginning(account), self.accounts),
            ("number", _beginning(number), self.numbers),
            ("destination", _beginning(arns.event_destination("x")), self.destinations),
        ]

    def rights(self, policy: Policy) -> list[Right]:
        """Ask a policy about all of it."""
        return [self._right(policy, action, forms) for action, forms in actions(self._arns).items()]

    def _right(self, policy: Policy, action: str, forms: Iterable[str]) -> Right:
        found = [kind for form in forms for kind in self._kinds if _beginning(form) == kind[1]]
        arns = [NO_RESOURCE] if NO_RESOURCE in forms else [arn for *_, every in found for arn in every]
        kind = " or ".join(name for name, *_ in found)
        decisions = {arn: policy.evaluate(action, arn) for arn in arns}
        return Right(action, kind, decisions, policy.allows_somewhere(action))


def _beginning(arn: str) -> str:
    """What an ARN says before the id: its service, and the kind of resource."""
    return arn.rpartition("/")[0]
