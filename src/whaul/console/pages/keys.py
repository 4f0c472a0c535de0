"""Keys: who may call and sign in, with which policy; made, changed, disabled and deleted."""

import secrets
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any, Final

from starlette.responses import Response

from whaul.auth.policy import Policy
from whaul.console import keys, rate_limits
from whaul.console.page import Page
from whaul.console.rendering import pretty
from whaul.console.visit import PageError, Visit
from whaul.operations.actions import MANAGE_KEYS, VIEW_KEYS
from whaul.operations.roles import ROLES
from whaul.registry.access_keys import AccessKeyRecord

LIVES: Final = {"": None, "1h": timedelta(hours=1), "1d": timedelta(1), "7d": timedelta(7), "90d": timedelta(90)}
"""How long a key may last, as a form has it."""
LIFE_WORDS: Final = {"1h": "1 hour", "1d": "1 day", "7d": "7 days", "90d": "90 days"}


async def show_list(visit: Visit) -> Response:
    """Show the access keys."""
    visit.require(VIEW_KEYS)
    found = await visit.console.registry.access_keys.all()
    own = visit.caller.access_key_id
    return await visit.page(
        "keys.html",
        rows=[(key, keys.state(key), _in_short(keys.policy_of(key))) for key in found],
        own=own,
        is_elsewhere=own not in {key.access_key_id for key in found},
        may_manage=visit.may(MANAGE_KEYS),
    )


async def show_one(visit: Visit) -> Response:
    """Show an access key, and what it may do."""
    key = await keys.find_key(visit)
    policy = keys.policy_of(key)
    resources = await keys.resources(visit, policy)
    return await visit.page(
        "key.html",
        key=key,
        state=keys.state(key),
        is_own=key.access_key_id == visit.caller.access_key_id,
        policy=pretty(key.policy),
        rights=None if policy is None else await keys.rights(resources, policy),
        lines=lambda rights: keys.lines(rights, resources),
        partly=keys.partly(resources),
        refusal=await keys.refusal(visit, key) if visit.may(MANAGE_KEYS) else None,
        remedy=keys.REMEDY,
        may_manage=visit.may(MANAGE_KEYS),
    )


async def ask_new(visit: Visit) -> Response:
    """Show the form for a new key."""
    visit.require(MANAGE_KEYS)
    role = visit.request.query_params.get("role", "viewer")
    if role not in ROLES:
        raise PageError(f"There is no role {role[:64]}.", 400)
    return await _new(visit, role=role, draft=keys.draft(visit, ROLES[role].policy(visit.console.arns)))


async def make(visit: Visit) -> Response:
    """Make a key; its secret is in this answer, and nowhere else."""
    visit.require(MANAGE_KEYS)
    form = {name: str(value) for name, value in (await visit.form()).items()}
    draft = keys.draft(visit, form.get("policy", ""))
    name, life, sent = form.get("name", "").strip(), form.get("life", ""), form.get("once", "")
    problem = draft.problem or await keys.name_problem(visit, name)
    if problem is not None or life not in LIVES:
        return await _new(visit, 400, draft=draft, name=name, life=life, problem=problem)
    made = visit.console.sent
    if not sent or sent in made:
        raise PageError("This form was used already, and a secret is shown only once. The list has the key.", 409)
    made[sent] = name
    key = await visit.console.registry.access_keys.create(
        name,
        draft.text,
        expires_at=await _expiry(visit, life),
        rate_limit=visit.caller.rate_limit,
        rate_burst=visit.caller.rate_burst,
    )
    visit.details |= {"accessKeyId": key.access_key_id, "name": name}
    return await visit.page("key_made.html", key=key, warnings=draft.warnings)


async def enable(visit: Visit) -> Response:
    """Enable a key again."""
    key = await keys.key_to_change(visit)
    await visit.console.registry.access_keys.enable(key.access_key_id)
    return visit.back(f"/keys/{key.access_key_id}", f"{key.name} is enabled.")


async def ask_disable(visit: Visit) -> Response:
    """Say what it means to disable a key."""
    return await _ask(visit, "disable")


async def disable(visit: Visit) -> Response:
    """Disable a key."""
    key = await keys.key_to_change(visit)
    await visit.console.registry.access_keys.disable(key.access_key_id)
    return visit.back(f"/keys/{key.access_key_id}", f"{key.name} is disabled. Servers refuse it within 5 seconds.")


async def ask_delete(visit: Visit) -> Response:
    """Say what it means to delete a key."""
    return await _ask(visit, "delete")


async def delete(visit: Visit) -> Response:
    """Delete a key."""
    key = await keys.key_to_change(visit)
    await visit.console.registry.access_keys.delete(key.access_key_id)
    return visit.back("/keys", f"{key.name} ({key.access_key_id}) is deleted.")


async def ask_policy(visit: Visit) -> Response:
    """Show the editor of a key's policy."""
    key = await keys.key_to_change(visit)
    role = visit.request.query_params.get("role", "")
    text = ROLES[role].policy(visit.console.arns) if role in ROLES else pretty(key.policy)
    return await _editor(visit, key, keys.draft(visit, text), is_checked=False)


async def set_policy(visit: Visit) -> Response:
    """Show what another policy changes; and when that was seen, replace it."""
    key = await keys.key_to_change(visit)
    form = await visit.form()
    draft = keys.draft(visit, str(form.get("policy", "")))
    if draft.policy is None:
        return await _editor(visit, key, draft, is_checked=False, status=400)
    if form.get("seen") != _seen(key, draft.text):
        return await _editor(visit, key, draft, is_checked=True)
    await visit.console.registry.access_keys.set_policy(key.access_key_id, draft.text)
    may_look = key.access_key_id != visit.caller.access_key_id or draft.policy.evaluate(VIEW_KEYS, "*").allowed
    told = f"{key.name} has another policy. Servers follow within 5 seconds."
    return visit.back(f"/keys/{key.access_key_id}" if may_look else "/", told)


async def ask_limit(visit: Visit) -> Response:
    """Show the form for a key's rate limit."""
    key = await keys.key_to_change(visit)
    numbers = {"rate": key.rate_limit, "burst": key.rate_burst}
    return await _limit(visit, key, {name: "" if n is None else f"{n:g}" for name, n in numbers.items()})


async def set_limit(visit: Visit) -> Response:
    """Set a key's rate limit."""
    key = await keys.key_to_change(visit)
    sent = await visit.form()
    form = {name: str(sent.get(name, "")) for name in ("rate", "burst")}
    try:
        limit = rate_limits.read(form, visit.caller)
    except rate_limits.LimitError as error:
        return await _limit(visit, key, form, str(error))
    await visit.console.registry.access_keys.set_rate_limit(key.access_key_id, limit.rate, limit.burst)
    visit.details |= {"rateLimit": limit.rate, "rateBurst": limit.burst}
    return visit.back(f"/keys/{key.access_key_id}", f"{key.name} has this limit. Servers follow within 5 seconds.")


async def _limit(visit: Visit, key: AccessKeyRecord, given: Mapping[str, str], problem: str | None = None) -> Response:
    return await visit.page(
        "key_limit.html",
        status=200 if problem is None else 400,
        key=key,
        given=given,
        problem=problem,
        max_rate=rate_limits.MAX_RATE,
        is_own=key.access_key_id == visit.caller.access_key_id,
    )


async def _new(
    visit: Visit,
    status: int = 200,
    *,
    draft: keys.Draft,
    role: str = "",
    name: str = "",
    life: str = "",
    problem: str | None = None,
) -> Response:
    return await visit.page(
        "key_new.html",
        status=status,
        roles=ROLES,
        role=role,
        called=name,
        life=life,
        lives=list(LIFE_WORDS.items()),
        draft=draft,
        problem=problem if status != 200 else draft.problem,
        end=await keys.own_expiry(visit),
        once=secrets.token_urlsafe(16),
    )


async def _expiry(visit: Visit, life: str) -> datetime | None:
    """Say when a new key expires: with the key that makes it, at the latest."""
    length, own = LIVES[life], await keys.own_expiry(visit)
    chosen = None if length is None else datetime.now(UTC) + length
    return min((each for each in (own, chosen) if each is not None), default=None)


async def _ask(visit: Visit, verb: str) -> Response:
    key = await keys.key_to_change(visit)
    return await visit.page(
        "key_change.html",
        key=key,
        verb=verb,
        is_own=key.access_key_id == visit.caller.access_key_id,
        is_in_use=key.is_in_use(datetime.now(UTC)),
        is_for_groups=keys.is_for_groups(visit, key),
    )


async def _editor(
    visit: Visit, key: AccessKeyRecord, draft: keys.Draft, *, is_checked: bool, status: int = 200
) -> Response:
    values: dict[str, Any] = {"changes": [], "partly": None, "diff": [], "seen": "", "loses": False}
    if is_checked and draft.policy is not None:
        old = keys.policy_of(key) or Policy(())
        resources = await keys.resources(visit, old, draft.policy)
        before = await keys.rights(resources, old)
        after = await keys.rights(resources, draft.policy)
        values = {
            "changes": keys.changes(before, after, resources),
            "partly": keys.partly(resources),
            "diff": keys.diff(key.policy, draft.text),
            "seen": _seen(key, draft.text),
            "loses": not all(draft.policy.evaluate(each, "*").allowed for each in (VIEW_KEYS, MANAGE_KEYS)),
        }
    return await visit.page(
        "key_policy.html",
        status=status,
        key=key,
        draft=draft,
        is_checked=is_checked,
        is_own=key.access_key_id == visit.caller.access_key_id,
        roles=ROLES,
        **values,
    )


def _seen(key: AccessKeyRecord, text: str) -> str:
    """Stand for a change that was shown: of which policy, and to which."""
    return sha256(f"{key.access_key_id}\n{key.policy}\n{text}".encode()).hexdigest()


def _in_short(policy: Policy | None) -> str:
    """Say in a word what a policy is about."""
    if policy is None:
        return "cannot be evaluated"
    allows = [each for each in policy.statements if each.allows]
    if any(each.covers("*", "*") for each in allows):
        return "everything" if len(allows) == len(policy.statements) else "everything but what it denies"
    services = {text.partition(":")[0] for each in allows for text in each.action_texts}
    words = {"whaul": "the console", "social-messaging": "calls", "s3": "files in buckets"}
    return ", ".join(words.get(each, each) for each in sorted(services, reverse=True)) or "nothing"


PAGES: Final = (
    Page(path="/keys", action=VIEW_KEYS, answer=show_list, title="Keys"),
    Page(path="/keys/new", action=MANAGE_KEYS, answer=ask_new),
    Page(path="/keys/new", action=MANAGE_KEYS, answer=make, posts=True),
    Page(path="/keys/{id}", action=VIEW_KEYS, answer=show_one),
    Page(path="/keys/{id}/enable", action=MANAGE_KEYS, answer=enable, posts=True),
    Page(path="/keys/{id}/disable", action=MANAGE_KEYS, answer=ask_disable),
    Page(path="/keys/{id}/disable", action=MANAGE_KEYS, answer=disable, posts=True),
    Page(path="/keys/{id}/delete", action=MANAGE_KEYS, answer=ask_delete),
    Page(path="/keys/{id}/delete", action=MANAGE_KEYS, answer=delete, posts=True),
    Page(path="/keys/{id}/policy", action=MANAGE_KEYS, answer=ask_policy),
    Page(path="/keys/{id}/policy", action=MANAGE_KEYS, answer=set_policy, posts=True),
    Page(path="/keys/{id}/limit", action=MANAGE_KEYS, answer=ask_limit),
    Page(path="/keys/{id}/limit", action=MANAGE_KEYS, answer=set_limit, posts=True),
)
