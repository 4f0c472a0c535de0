"""IAM policy documents: read one, or refuse it; then say what it allows.

Owns the part of IAM's policy language that access keys use: Allow and Deny of actions on resources. What is not
evaluated is refused when the document is read, never ignored. Does not know who calls, nor which action and resource
a request needs.
https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements.html
"""

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

ALLOW_ALL: Final = """{
  "Version": "2012-10-17",
  "Statement": [{"Sid": "AllowAll", "Effect": "Allow", "Action": "*", "Resource": "*"}]
}"""

MAX_CHARACTERS: Final = 6_144
"""Without white space; IAM's limit for a managed policy.
https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html"""

# A document without a version counts as the older one. The versions differ in policy variables only, and those
# are refused. https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_version.html
_VERSIONS: Final = ("2012-10-17", "2008-10-17")
_DOCUMENT_MEMBERS: Final = ("Version", "Id", "Statement")
_STATEMENT_MEMBERS: Final = ("Sid", "Effect", "Action", "Resource")
# Members that IAM knows and that are not evaluated here, with what to do instead.
_REFUSED: Final = {
    "Condition": "is not evaluated; narrow the statement with Action and Resource",
    "NotAction": "is not evaluated; list the actions in Action, or deny them in another statement",
    "NotResource": "is not evaluated; list the resources in Resource, or deny them in another statement",
    "Principal": "belongs to resource policies; this policy is for the access key that carries it, so remove it",
    "NotPrincipal": "belongs to resource policies; remove it",
}
# https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_sid.html
_SID = re.compile(r"[A-Za-z0-9]*")
# The service may not hold wildcards, the name may.
# https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_action.html
_ACTION = re.compile(r"\*|[A-Za-z0-9-]+:[A-Za-z0-9*?]+")
# Six fields, the last of which may hold colons: a colon too few would make a pattern that matches nothing. The service
# may not hold wildcards, and is in lower case, or else the pattern would match nothing either.
# https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_resource.html
# https://docs.aws.amazon.com/IAM/latest/UserGuide/access-analyzer-reference-policy-checks.html
_RESOURCE = re.compile(r"\*|arn:[^:]*:[a-z0-9-]+(:[^:]*){2}:.+", re.DOTALL)
_ARN_FIELDS: Final = 6
_WILDCARD = re.compile(r"[*?]")


class PolicyError(ValueError):
    """The policy document cannot be used; the message names the place and what to do."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What a policy says about one action on one resource."""

    allowed: bool
    statement: str | None
    """The `Sid`, or else the place, of the statement that decided; None for an implicit deny, when none applied."""

    @property
    def explicit(self) -> bool:
        """Whether a statement decided."""
        return self.statement is not None


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement, ready to be matched."""

    name: str
    allows: bool
    actions: tuple[re.Pattern[str], ...]
    """In lower case."""
    resources: tuple[re.Pattern[str], ...]
    action_texts: tuple[str, ...]
    """As they were written."""
    resource_texts: tuple[str, ...]

    def covers(self, action: str, resource: str) -> bool:
        """Whether the statement applies to this action, in lower case, on this resource."""
        return _any_matches(self.actions, action) and _any_matches(self.resources, resource)

    def covers_all(self, resources: str) -> bool:
        """Whether it applies to all resources that begin alike, written with a star at the end."""
        # Only a star matches a star, and so whatever stands in its place; a question mark would match it, too.
        return any(
            pattern.fullmatch(resources)
            for pattern, text in zip(self.resources, self.resource_texts, strict=True)
            if "?" not in text
        )

    def touches(self, resources: str) -> bool:
        """Whether it may apply to any of the resources that begin alike, written with a star at the end."""
        start = resources.removesuffix("*")
        found = [_WILDCARD.split(text)[0] for text in self.resource_texts]
        return any(each.startswith(start) or start.startswith(each) for each in found)


@dataclass(frozen=True, slots=True)
class Policy:
    """An identity-based policy."""

    statements: tuple[Statement, ...]

    @classmethod
    def parse(cls, document: str | bytes) -> Self:
        """Read a policy document. Raises PolicyError unless all of it is understood."""
        content = _load(document)
        _check_members("the document", content, _DOCUMENT_MEMBERS, required=("Statement",))
        if content.get("Version", _VERSIONS[0]) not in _VERSIONS:
            raise PolicyError(f'Version: must be "{_VERSIONS[0]}" (or "{_VERSIONS[1]}").')
        if not isinstance(content.get("Id", ""), str):
            raise PolicyError("Id: must be a string.")
        listed = content["Statement"]
        if isinstance(listed, dict):
            return cls((_statement("Statement", listed),))
        if not isinstance(listed, list) or not listed:
            raise PolicyError("Statement: must be a statement, or a list of at least one.")
        statements = tuple(_statement(f"Statement[{i}]", each) for i, each in enumerate(listed))
        names = [statement.name for statement in statements]
        for i, name in enumerate(names):
            if name in names[:i]:
                raise PolicyError(f'Statement[{i}].Sid: "{name}" is taken already; give each statement its own.')
        return cls(statements)

    def evaluate(self, action: str, resource: str) -> Decision:
        """Decide as IAM does: an explicit Deny beats any Allow, and what nothing allows is denied.

        https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html
        """
        action = action.lower()  # actions are the same in any case, resources are not
        allowed_by = None
        for statement in self.statements:
            if statement.covers(action, resource):
                if not statement.allows:
                    return Decision(allowed=False, statement=statement.name)
                allowed_by = allowed_by or statement.name
        return Decision(allowed=allowed_by is not None, statement=allowed_by)

    def allows_everywhere(self, action: str, resources: str = "*") -> bool:
        """Say whether an action is allowed on all resources that begin alike, written with a star at the end.

        False, too, where only a look at each of them could tell.
        """
        action = action.lower()
        named = [each for each in self.statements if _any_matches(each.actions, action)]
        return any(each.allows and each.covers_all(resources) for each in named) and not any(
            not each.allows and each.touches(resources) for each in named
        )

    def resources_named(self, action: str) -> tuple[str, ...] | None:
        """List the only resources on which an action may be allowed; None if they are given by wildcards."""
        action = action.lower()
        allowing = [each for each in self.statements if each.allows and _any_matches(each.actions, action)]
        texts = dict.fromkeys(text for each in allowing for text in each.resource_texts)
        return None if any(_WILDCARD.search(text) for text in texts) else tuple(texts)

    def allows_somewhere(self, action: str) -> bool:
        """Say whether an action is allowed on something, and not denied on everything."""
        action = action.lower()
        named = [each for each in self.statements if _any_matches(each.actions, action)]
        return any(each.allows for each in named) and not any(
            not each.allows and each.covers(action, "*") for each in named
        )


def denial(caller_arn: str, action: str, resource: str, decision: Decision) -> str:
    """Tell the caller what was denied and why, in the words of AWS.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot_access-denied.html
    """
    why = (
        "with an explicit deny in an identity-based policy"
        if decision.explicit
        else f"because no identity-based policy allows the {action} action"
    )
    return f"User: {caller_arn} is not authorized to perform: {action} on resource: {resource} {why}"


def _load(document: str | bytes) -> dict[str, Any]:
    try:
        text = document.decode() if isinstance(document, bytes) else document
    except UnicodeDecodeError:
        raise PolicyError("The document is not UTF-8 text.") from None
    size = len("".join(text.split()))
    if size > MAX_CHARACTERS:
        raise PolicyError(
            f"The document has {size} characters besides white space; {MAX_CHARACTERS} are allowed. "
            "Merge statements, or use wildcards."
        )
    try:
        # No member takes a number; float, unlike int, takes any length.
        content = json.loads(text, object_pairs_hook=_unique, parse_int=float)
    except json.JSONDecodeError as exc:
        raise PolicyError(f"The document is not JSON: line {exc.lineno}, column {exc.colno}.") from None
    except RecursionError:
        raise PolicyError("The document is nested too deeply to be a policy.") from None
    if not isinstance(content, dict):
        raise PolicyError("The document must be a JSON object with Version and Statement.")
    return content


def _unique(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    members: dict[str, Any] = {}
    for name, value in pairs:
        if name in members:
            raise PolicyError(f"Member {name!a} is given twice in one object; keep one of them.")
        members[name] = value
    return members


def _check_members(place: str, content: dict[str, Any], known: Sequence[str], *, required: Sequence[str]) -> None:
    prefix = "" if place == "the document" else f"{place}."
    for name in content:
        if name not in known:
            advice = _REFUSED.get(name, f"is not a member of {place}; remove it, or correct its spelling")
            raise PolicyError(f"{prefix}{name if name in _REFUSED else ascii(name)}: {advice}.")
    for name in required:
        if name not in content:
            raise PolicyError(f"{prefix}{name}: is missing; add it.")


def _statement(place: str, content: object) -> Statement:
    if not isinstance(content, dict):
        raise PolicyError(f"{place}: must be a JSON object with Effect, Action and Resource.")
    _check_members(place, content, _STATEMENT_MEMBERS, required=("Effect", "Action", "Resource"))
    sid = content.get("Sid", "")
    if not isinstance(sid, str) or not _SID.fullmatch(sid):
        raise PolicyError(f"{place}.Sid: must be a string of the letters A-Z and a-z and digits.")
    if content["Effect"] not in ("Allow", "Deny"):
        raise PolicyError(f'{place}.Effect: must be "Allow" or "Deny", spelled so.')
    actions = _patterns(f"{place}.Action", content["Action"], _ACTION, '"*" or service:Name')
    resources = _patterns(
        *(f"{place}.Resource", content["Resource"], _RESOURCE),
        '"*" or arn:partition:service:region:account:resource, the service in lower case and without wildcards',
    )
    return Statement(
        name=sid or place,
        allows=content["Effect"] == "Allow",
        actions=tuple(glob(action.lower()) for action in actions),
        resources=tuple(_arn_glob(resource) for resource in resources),
        action_texts=tuple(actions),
        resource_texts=tuple(resources),
    )


def _patterns(place: str, content: object, form: re.Pattern[str], described: str) -> list[str]:
    patterns: list[Any] = content if isinstance(content, list) else [content]
    if not patterns:
        raise PolicyError(f"{place}: is empty; list at least one, or remove the statement.")
    for i, pattern in enumerate(patterns):
        at = f"{place}[{i}]" if isinstance(content, list) else place
        if not isinstance(pattern, str):
            raise PolicyError(f"{at}: must be a string.")
        if "${" in pattern:
            raise PolicyError(f"{at}: policy variables are not evaluated; write the value, or use * or ?.")
        if not form.fullmatch(pattern):
            raise PolicyError(f"{at}: must be {described}.")
    return patterns


def _arn_glob(pattern: str) -> re.Pattern[str]:
    """Compile the pattern of an ARN: a wildcard stays in its field, and only the last field may hold colons.

    Otherwise `arn:aws:s3:*:*:inbox/*` would cover the key `x:inbox/1` of another bucket. IAM's `ArnLike` matches field
    by field too. https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_condition_operators.html
    """
    if pattern == "*":
        return glob(pattern)
    *fields, last = pattern.split(":", _ARN_FIELDS - 1)
    parts = [glob(field, any_character="[^:]").pattern for field in fields]
    return re.compile(":".join([*parts, glob(last).pattern]), re.DOTALL)


def glob(pattern: str, any_character: str = ".", one_character: str | None = None) -> re.Pattern[str]:
    """Compile `*` (any run of characters) and `?` (one character); all else stands for itself.

    `one_character` is what `?` stands for, unless it is the same as `any_character`.

    What lies between two stars has a fixed length, so its first place from the left is as good as any other. The
    atomic groups hold on to it: the match never tries a second one, and no pattern makes it slow.
    """
    one = one_character or any_character
    first, *rest = (
        "".join(one if char == "?" else re.escape(char) for char in run) for run in re.split(r"\*+", pattern)
    )
    if not rest:
        return re.compile(first, re.DOTALL)
    *middle, last = rest
    found = first + "".join(f"(?>{any_character}*?{run})" for run in middle) + f"{any_character}*{last}"
    return re.compile(found, re.DOTALL)


def _any_matches(patterns: Iterable[re.Pattern[str]], text: str) -> bool:
    return any(pattern.fullmatch(text) for pattern in patterns)
