"""Events as the commands show them: without what people wrote."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from whaul.cli.inbound import Inbound, timestamp

if TYPE_CHECKING:
    from whaul.events.delivery.dead import Cause, DeadLetter
    from whaul.events.delivery.replays import Replay
    from whaul.events.journal import AttemptRecord, DeliveryRecord, EventRecord, FileRecord


def document(inbound: Inbound, event: "EventRecord") -> dict[str, Any]:
    """Shape an event as `--json` has it."""
    number = event.meta_phone_number_id
    is_ours = event.account_id is not None and number is not None
    return {
        "messageId": event.message_id,
        "receivedAt": timestamp(event.received_at),
        "field": event.field,
        "kind": event.kind,
        "type": event.type,
        "wabaId": event.waba_id,
        "accountId": event.account_id,
        "metaPhoneNumberId": number,
        "phoneNumberId": inbound.arns.phone_number_id(number) if is_ours and number is not None else None,
        "whatsAppMessageId": event.wamid,
        "deliveries": [_delivery(each) for each in event.deliveries],
        "files": [file_document(each) for each in event.files],
    }


def _delivery(delivery: "DeliveryRecord") -> dict[str, Any]:
    return {
        "destination": delivery.destination,
        "state": delivery.state,
        "attempts": delivery.attempts,
        "deliveredAt": None if delivery.delivered_at is None else timestamp(delivery.delivered_at),
        "lastError": delivery.last_error,
    }


def file_document(file: "FileRecord") -> dict[str, Any]:
    """Shape a file."""
    return {
        "mediaId": file.media_id,
        "state": file.state,
        "bucket": file.bucket,
        "key": file.key,
        "sha256": None if file.sha256 is None else file.sha256.hex(),
        "size": file.size,
        "lastError": file.last_error,
    }


def attempt_document(attempt: "AttemptRecord") -> dict[str, Any]:
    """Shape an attempt."""
    return attempt._asdict() | {"at": timestamp(attempt.at), "seconds": round(attempt.seconds, 3)}


def dead_document(letter: "DeadLetter") -> dict[str, Any]:
    """Shape a dead letter."""
    return {
        "messageId": letter.message_id,
        "destination": letter.destination,
        "attempts": letter.attempts,
        "diedAt": timestamp(letter.died_at),
        "lastError": letter.last_error,
    }


def cause_document(cause: "Cause", destination: str) -> dict[str, Any]:
    """Shape a cause of dead letters."""
    return {
        "destination": destination,
        "cause": cause.text,
        "count": cause.count,
        "newestAt": timestamp(cause.newest),
        "example": cause.example,
    }


def replay_document(replay: "Replay", names: dict[int, str]) -> dict[str, Any]:
    """Shape a replay."""
    return {
        "job": replay.id,
        "destination": names.get(replay.destination),
        "state": replay.state,
        "matched": replay.matched,
        "queued": replay.queued,
        "createdAt": timestamp(replay.created_at),
    }


def row(found: dict[str, Any], state: str) -> tuple[str, ...]:
    """Show an event in a list, from its document; `state` is the event's own."""
    what = "/".join(part for part in (found["field"], found["kind"], found["type"]) if part)
    number = found["metaPhoneNumberId"] or found["wabaId"] or "-"
    return found["receivedAt"], what, number, "; ".join(_became(found, state)) or "kept", found["messageId"]


def _became(found: dict[str, Any], state: str) -> list[str]:
    """Say what became of an event."""
    if state != "routed":
        return [state]
    deliveries = [f"{each['destination']} {each['state']}" for each in found["deliveries"]]
    return deliveries + [f"file {each['state']}" for each in found["files"]]


def page(found: dict[str, Any], state: str) -> list[tuple[str, str]]:
    """Show an event by itself, from its document."""
    facts = {
        "received": found["receivedAt"],
        "field": found["field"],
        "kind": found["kind"],
        "type": found["type"],
        "state": state,
        "WABA": found["wabaId"],
        "account": found["accountId"],
        "phone number": found["metaPhoneNumberId"],
        "WhatsApp id": found["whatsAppMessageId"],
    }
    to, files = found["deliveries"], found["files"]
    rows = [(name, str(value)) for name, value in facts.items() if value]
    rows += [(f"to {each['destination']}", _told(f"{each['state']}, {_tried(each['attempts'])}", each)) for each in to]
    rows += [(f"file {each['mediaId']}", _told(f"{each['state']}, {_place(each)}", each)) for each in files]
    return rows


def attempts(made: Sequence[dict[str, Any]]) -> list[tuple[str, ...]]:
    """Show attempts."""
    return [
        (each["at"], each["destination"], each["outcome"], f"{each['seconds']:.3f} s", each["detail"]) for each in made
    ]


def _told(text: str, found: dict[str, Any]) -> str:
    return f"{text}: {found['lastError']}" if found["lastError"] else text


def _tried(times: int) -> str:
    return "1 attempt" if times == 1 else f"{times} attempts"


def _place(file: dict[str, Any]) -> str:
    return f"s3://{file['bucket']}/{file['key']}"
