"""What a policy answers: to one action on one resource, with the statement that decides; or to all there is."""

import json
import shlex
from typing import Any, Final

from starlette.responses import Response

from whaul.auth.explanation import check_question, in_words, near_misses
from whaul.auth.policy import Decision, Policy, PolicyError
from whaul.auth.policy_check import unknown_action, warnings
from whaul.console import keys
from whaul.console.page import Page
from whaul.console.visit import PageError, Visit
from whaul.operations.actions import VIEW_KEYS, actions

MAX_TEXT: Final = 2048
"""Characters of an action or a resource."""


async def show(visit: Visit) -> Response:
    """Show the form, and what is answered."""
    visit.require(VIEW_KEYS)
    query, console = visit.request.query_params, visit.console
    id_, text = query.get("key", ""), query.get("policy", "").strip()
    action, resource = (query.get(name, "").strip()[:MAX_TEXT] for name in ("action", "resource"))
    if action and ":" not in action:
        action = f"social-messaging:{action}"
    all_keys = await console.registry.access_keys.all()
    key = next((each for each in all_keys if each.access_key_id == id_), None)
    if id_ and key is None:
        raise PageError("There is no such access key, or not any more.")
    policy, problem = None, None
    document = text or (key.policy if key else "")
    try:
        policy = Policy.parse(document) if document else None
    except PolicyError as error:
        problem = keys.with_line(document, str(error))
    resources = await keys.resources(visit, policy)
    answer, named = None, actions(console.arns)
    if policy is not None and action:
        try:
            check_question(action, resource or "*")
        except ValueError as error:
            problem = f"{str(error).capitalize()}."
        else:
            answer = _answer(policy, document, action, resource or "*")
    return await visit.page(
        "policy_simulator.html",
        keys=[(each.access_key_id, f"{each.name} ({each.access_key_id})") for each in all_keys],
        key=key,
        state=None if key is None else keys.state(key),
        text=text,
        action=action,
        resource=resource,
        actions=named,
        names=resources.names,
        problem=problem,
        answer=answer,
        lines=lambda rights: keys.lines(rights, resources),
        partly=keys.partly(resources),
        rights=await keys.rights(resources, policy) if policy is not None and not action else None,
        unknown=unknown_action(action, named) if action and problem is None else None,
        warnings=[keys.with_line(document, each) for each in warnings(document, named)] if policy is not None else [],
        command=_command("" if text or key is None else key.access_key_id, action, resource or "*"),
    )


def _answer(policy: Policy, document: str, action: str, resource: str) -> dict[str, Any]:
    decision = policy.evaluate(action, resource)
    return {
        "decision": decision,
        "words": in_words(decision),
        "mood": "good" if decision.allowed else "bad",
        "near": [] if decision.explicit else near_misses(policy, action, resource),
        "statement": _source(document, policy, decision),
    }


def _source(document: str, policy: Policy, decision: Decision) -> str | None:
    """Write the statement that decided."""
    if not decision.explicit:
        return None
    statements = json.loads(document)["Statement"]
    listed = [statements] if isinstance(statements, dict) else statements
    place = [each.name for each in policy.statements].index(decision.statement or "")
    return json.dumps(listed[place], indent=2, ensure_ascii=False)


def _command(id_: str, action: str, resource: str) -> str:
    if id_ and not action:
        return f"whaul keys show {id_}"
    asked = f"--action {shlex.quote(action or 'ACTION')} --resource {shlex.quote(resource)}"
    return f"whaul keys simulate {id_ or '--policy policy.json'} {asked}"


PAGES: Final = (Page(path="/keys/simulator", action=VIEW_KEYS, answer=show),)
