"""What a visitor may do to access keys, and how they are shown.

Whoever manages keys there makes and changes only keys that may do no more than their own, and last no longer:
otherwise the right to manage keys would be every right. Without that one might also disable those who may do more.
The command line has no such bound: who runs it has the database.
"""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from difflib import unified_diff
from typing import NamedTuple

from whaul.auth.delegation import excess
from whaul.auth.policy import Policy, PolicyError
from whaul.auth.policy_check import line_of, warnings
from whaul.components import usable_access_keys
from whaul.console.events import State
from whaul.console.rendering import pretty
from whaul.console.visit import PageError, Visit
from whaul.errors import AccessDeniedException
from whaul.operations.actions import MANAGE_KEYS, NO_RESOURCE, VIEW_KEYS, actions
from whaul.operations.rights import Resources, Right
from whaul.operations.roles import PLACEHOLDER
from whaul.registry.access_keys import AccessKeyRecord, check_name

MAX_ACCOUNTS = 100
"""Accounts that a policy is asked about, beside those that it names."""
MAX_NAMED = 5
"""Of many accounts, numbers or destinations, so many are named."""
REMEDY = "Sign in with a key that may do as much, or use the command line."


def state(key: AccessKeyRecord) -> State:
    """Say whether a key can be used."""
    if key.disabled_at is not None:
        return State("disabled", "bad")
    if key.expires_at is None:
        return State("enabled", "good")
    return State("temporary", "good") if key.is_usable(datetime.now(UTC)) else State("expired", "plain")


def policy_of(key: AccessKeyRecord) -> Policy | None:
    """Read a key's policy; None if it cannot be evaluated, so that all its calls are refused."""
    try:
        return Policy.parse(key.policy)
    except PolicyError:
        return None


async def own_expiry(visit: Visit) -> datetime | None:
    """Return when the visitor's key expires; None if it never does, as that of the settings."""
    own = await visit.console.registry.access_keys.record(visit.caller.access_key_id)
    return None if own is None else own.expires_at


async def find_key(visit: Visit, action: str = VIEW_KEYS) -> AccessKeyRecord:
    """Find the key that an address names. Raises PageError, and AccessDeniedException without the right."""
    visit.require(VIEW_KEYS)
    if action != VIEW_KEYS:
        visit.require(action)
    key = await visit.console.registry.access_keys.record(visit.request.path_params["id"])
    if key is None:
        raise PageError("There is no such access key, or not any more.")
    visit.details["accessKeyId"] = key.access_key_id
    return key


async def refusal(visit: Visit, key: AccessKeyRecord) -> str | None:
    """Say why the visitor may not change a key; None if they may."""
    if key.access_key_id == visit.caller.access_key_id:
        return None
    policy = policy_of(key)
    more = None if policy is None else excess(policy, visit.caller.policy)
    if more is not None:
        return f"This key may do more than yours: {more}."
    expiry = await own_expiry(visit)
    if expiry is not None and (key.expires_at is None or key.expires_at > expiry):
        return "This key lasts longer than yours."
    return None


async def key_to_change(visit: Visit) -> AccessKeyRecord:
    """Find the key that is to be changed. Raises AccessDeniedException if it may do more than the visitor."""
    key = await find_key(visit, MANAGE_KEYS)
    why = await refusal(visit, key)
    if why is not None:
        raise AccessDeniedException(f"{why} {REMEDY}")
    return key


def is_for_groups(visit: Visit, key: AccessKeyRecord) -> bool:
    """Whether groups of the provider sign in as a key."""
    return not {key.name, key.access_key_id}.isdisjoint(visit.console.settings.oidc_access_keys.values())


async def name_problem(visit: Visit, name: str) -> str | None:
    """Say why no key can be made with a name; None if one can."""
    try:
        check_name(name)
    except ValueError as error:
        return f"The name: {error}."
    console = visit.console
    if name in console.settings.oidc_access_keys.values() and (
        await usable_access_keys(console.settings, console.registry, name)
        or any(each.name == name for each in await console.registry.access_keys.all())
    ):
        return f"Groups sign in as {name}, and could not if two keys had this name. Choose another."
    return None


class Draft(NamedTuple):
    """A policy that somebody wrote, looked over."""

    text: str
    policy: Policy | None
    """None if it cannot be used."""
    problem: str | None
    """Why it cannot be used."""
    warnings: Sequence[str] = ()
    """What has no effect in it."""


def draft(visit: Visit, text: str) -> Draft:
    """Look over a policy: whether it can be evaluated, and goes no further than the visitor's own."""
    text = text.replace("\r\n", "\n")  # as a form sends line ends
    try:
        policy = Policy.parse(text)
    except PolicyError as error:
        return Draft(text, None, with_line(text, str(error)))
    told = [with_line(text, each) for each in warnings(text, actions(visit.console.arns))]
    if PLACEHOLDER in text:
        told.append(f"a bucket that is called {PLACEHOLDER}; write the name of yours")
    more = excess(policy, visit.caller.policy)
    if more is not None:
        return Draft(text, None, f"It may do more than your own key: {more}. {REMEDY}", told)
    return Draft(text, policy, None, told)


def with_line(document: str, told: str) -> str:
    """Say in which line of a document something is."""
    line = line_of(document, told)
    return told if line is None else f"Line {line}: {told}"


async def resources(visit: Visit, *policies: Policy | None) -> Resources:
    """List what these policies may be about; of many accounts the first ones, and those that they name."""
    console, accounts = visit.console, visit.console.registry.accounts
    destinations = [each.name for each in await console.destinations.all()]
    page = await accounts.page(MAX_ACCOUNTS)
    texts = {text for policy in policies if policy for each in policy.statements for text in each.resource_texts}
    named = [id_ for id_ in map(console.arns.read_resource, texts) if id_ is not None]
    return Resources(console.arns, [*page.accounts, *await accounts.named(named)], destinations)


def partly(resources: Resources) -> str | None:
    """Say that perhaps not all accounts are looked at; None where they are."""
    if len(resources.accounts) < MAX_ACCOUNTS:
        return None
    return f"Of your accounts, this is about the first {MAX_ACCOUNTS} and those that the policy names."


async def rights(resources: Resources, policy: Policy) -> list[Right]:
    """Ask a policy about all of it, in a thread: with many accounts and a long policy it takes seconds."""
    return await asyncio.to_thread(resources.rights, policy)


class Line(NamedTuple):
    """Actions of which the same is true."""

    actions: Sequence[str]
    on: str
    statements: Sequence[str]
    """Those that allow it."""


def lines(rights: Sequence[Right], resources: Resources) -> list[Line]:
    """Write what is allowed, with what is allowed alike in one line."""
    found: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for each in rights:
        if each.somewhere:
            found.setdefault((_on(each, set(each.allowed), resources), tuple(each.statements)), []).append(each.action)
    return [Line(named, on, statements) for (on, statements), named in found.items()]


class Change(NamedTuple):
    """Actions that are allowed from now on, or not any more."""

    is_gained: bool
    on: str
    actions: Sequence[str]


def changes(before: Sequence[Right], after: Sequence[Right], resources: Resources) -> list[Change]:
    """Compare what two policies allow, with what changes alike in one line; what is gained first."""
    found: dict[tuple[bool, str], list[str]] = {}
    for old, new in zip(before, after, strict=True):
        had, has = set(old.allowed), set(new.allowed)
        for is_gained, arns, right, was in ((True, has - had, new, old), (False, had - has, old, new)):
            if arns or (not right.decisions and right.somewhere and not was.somewhere):
                found.setdefault((is_gained, _on(right, arns, resources)), []).append(new.action)
    return sorted((Change(*key, named) for key, named in found.items()), key=lambda each: not each.is_gained)


def _on(right: Right, arns: set[str], resources: Resources) -> str:
    """Write what an action is allowed on: some of the resources that it may be needed on."""
    if not right.decisions:
        return f"each {right.kind}; there is none yet" if right.kind else "what the policy names"
    if arns == {NO_RESOURCE}:
        return ""
    if not arns:
        return f"no {right.kind} that is here"
    if len(arns) == len(right.decisions):
        return "each " + right.kind
    named = [resources.names[arn] for arn in right.decisions if arn in arns]
    return ", ".join(named[:MAX_NAMED]) + (f" and {len(named) - MAX_NAMED} more" if len(named) > MAX_NAMED else "")


def diff(before: str, after: str) -> list[str]:
    """Write the lines of a policy that change, with those around them."""
    return list(unified_diff(pretty(before).splitlines(), pretty(after).splitlines(), lineterm=""))[2:]
