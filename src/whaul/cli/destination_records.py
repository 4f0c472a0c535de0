"""Destinations as the commands show them."""

from typing import TYPE_CHECKING, Any, Final

from whaul.cli import output
from whaul.cli.inbound import Inbound, ago

if TYPE_CHECKING:
    from whaul.events.delivery.waiting import Waiting
    from whaul.events.routing import Destination

CONVERSATION: Final = "conversation"
"""What is kept in order, if anything is."""


async def shape(inbound: Inbound, destination: "Destination") -> dict[str, Any]:
    """Shape a destination as `--json` has it, with what waits for it."""
    from whaul.events.delivery.waiting import waiting_for

    waiting = await waiting_for(inbound.store, inbound.cipher, inbound.owner, destination.number)
    return _document(inbound, destination, waiting)


def _document(inbound: Inbound, destination: "Destination", waiting: "Waiting") -> dict[str, Any]:
    chosen = destination.filter
    return {
        "name": destination.name,
        "arn": inbound.arns.event_destination(destination.name),
        "accountIds": list(destination.account_ids),
        "target": destination.target,
        "format": destination.format,
        "order": CONVERSATION if destination.ordered else None,
        "fields": sorted(chosen.fields),
        "kinds": sorted(chosen.kinds),
        "types": sorted(chosen.types),
        "phoneNumberIds": [inbound.arns.phone_number_id(id_) for id_ in sorted(chosen.meta_phone_number_ids)],
        "waitForMedia": destination.media_wait,
        "attributes": destination.attributes,
        "concurrency": destination.concurrency,
        "state": destination.state,
        "pending": waiting.pending,
        "dead": waiting.dead,
        "oldestSeconds": waiting.oldest_seconds,
        "lastError": destination.last_error or waiting.last_error,
    }


def row(found: dict[str, Any]) -> tuple[str, ...]:
    """Show it in a list."""
    waits = f"{found['pending']} waiting" + (f", {found['dead']} dead" if found["dead"] else "")
    return found["name"], found["state"], waits, found["target"], ", ".join(found["accountIds"])


def tell(found: dict[str, Any], json: bool, title: str | None = None) -> None:
    """Show a destination; a secret must be read."""
    if json:
        output.document(found, must_be_read="secret" in found)
        return
    output.line(title or found["name"])
    facts = {
        "target": found["target"],
        "format": found["format"],
        "accounts": ", ".join(found["accountIds"]) or "none",
        "only": "; ".join(_filters(found)) or "everything of Meta's",
        "order": found["order"] or "none",
        **({"waits for files": f"{found['waitForMedia']} s at most"} if found["waitForMedia"] else {}),
        **({"attributes": "yes"} if found["attributes"] else {}),
        "at once": f"{found['concurrency']} for each worker",
        "state": found["state"],
        "waiting": str(found["pending"]) + _since(found["oldestSeconds"]),
        "dead letters": str(found["dead"]),
        **({"last error": found["lastError"]} if found["lastError"] else {}),
        "ARN": found["arn"],
    }
    output.rows(list(facts.items()))
    if "secret" in found:
        output.line(f"secret: {found['secret']}", must_be_read=True)
        output.tell("Save the secret now: it is not shown again.")


def _since(seconds: int | None) -> str:
    return "" if seconds is None else f", the oldest for {ago(seconds)}"


def _filters(found: dict[str, Any]) -> list[str]:
    names = {"fields": "fields", "kinds": "kinds", "types": "types", "phoneNumberIds": "phone numbers"}
    return [f"{name} {', '.join(found[member])}" for member, name in names.items() if found[member]]
