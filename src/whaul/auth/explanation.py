"""Why a policy answers as it does: the statement that decides, and those that nearly would."""

import re

from whaul.auth.policy import Decision, Policy, Statement


def check_question(action: str, resource: str) -> None:
    """Check an action and a resource that are asked about. Raises ValueError, with what was expected."""
    if not re.fullmatch(r"[A-Za-z0-9-]+:[A-Za-z0-9]+", action):
        raise ValueError("expected the action as service:Name, without wildcards")
    if resource != "*" and not re.fullmatch(r"arn(:[^:]*){4}:.+", resource, re.DOTALL):
        raise ValueError("expected the resource as an ARN, or *")


def in_words(decision: Decision) -> str:
    """Say what was decided, and by what."""
    if not decision.explicit:
        return "Denied: no statement allows it"
    return f"{'Allowed' if decision.allowed else 'Denied'} by the statement {decision.statement}"


def outcome(decision: Decision) -> str:
    """Name what was decided, as IAM's policy simulator does."""
    return "allowed" if decision.allowed else "explicitDeny" if decision.explicit else "implicitDeny"


def near_misses(policy: Policy, action: str, resource: str) -> list[str]:
    """Say for each statement that allows the action, or on the resource, but not both, what it lacks."""
    told = (_lack(each, action.lower(), resource) for each in policy.statements if each.allows)
    return [each for each in told if each is not None]


def _lack(statement: Statement, action: str, resource: str) -> str | None:
    has_action = any(each.fullmatch(action) for each in statement.actions)
    has_resource = any(each.fullmatch(resource) for each in statement.resources)
    if has_action and not has_resource:
        return f"{statement.name} allows the action, but only on {_listed(statement.resource_texts)}"
    if has_resource and not has_action:
        return f"{statement.name} covers the resource, but allows only {_listed(statement.action_texts)}"
    return None


def _listed(texts: tuple[str, ...]) -> str:
    return ", ".join(texts[:3]) + (f" and {len(texts) - 3} more" if len(texts) > 3 else "")
