"""EventBridge buses: up to ten events in one `PutEvents`; those that failed in it are told one by one.

https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_PutEvents.html
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from whaul.events.envelope import SOURCE, Envelopes
from whaul.events.model import Accepted, Event, Failed, Outcome, Outcomes
from whaul.events.targets.aws import Arn, AwsClient, AwsError, answered, failure, in_batches

MAX_REQUEST: Final = 1_000_000
"""Bytes of all entries together; AWS says that they must stay below 1 MB."""
_ENTRY_ROOM: Final = 512
"""Bytes of an entry beside its detail."""
_HEADERS: Final = {"content-type": "application/x-amz-json-1.1", "x-amz-target": "AWSEvents.PutEvents"}


class EventBridgeTarget:
    """One bus."""

    max_batch = 10

    def __init__(self, arn: Arn, aws: AwsClient, envelopes: Envelopes) -> None:
        """Raises `TargetError`."""
        self._arn = arn
        self._aws = aws
        self._url = aws.endpoint("eventbridge", "events", arn.region) + "/"
        self._envelopes = envelopes

    async def send(self, events: Sequence[Event]) -> Outcomes:
        """Put a batch, or several where it would be too large; the order stays."""
        return await in_batches((self._entry(event) for event in events), MAX_REQUEST, self._batch)

    async def close(self) -> None:
        """Do nothing: connections are shared."""

    def _entry(self, event: Event) -> tuple[int, dict[str, Any]]:
        detail_type, detail = self._envelopes.eventbridge(event)
        entry = {
            "Time": event.received_at.timestamp(),
            "Source": SOURCE,
            "DetailType": detail_type,
            "Detail": detail.decode(),
            "EventBusName": ":".join(("arn", *self._arn)),
        }
        if event.trace is not None:
            entry["TraceHeader"] = _trace_header(event.trace)
        return len(detail) + _ENTRY_ROOM, entry

    async def _batch(self, entries: Sequence[dict[str, Any]]) -> list[Outcome]:
        body = json.dumps({"Entries": entries}, ensure_ascii=False).encode()
        try:
            answer = answered(await self._aws.post("events", self._arn.region, self._url, _HEADERS, body))
        except AwsError as error:
            return [error.failed] * len(entries)
        found = answer.get("Entries")
        if not isinstance(found, list) or len(found) != len(entries):
            return [Failed("down", "The answer does not say what became of the events.")] * len(entries)
        return [_of_entry(entry) for entry in found]


def _trace_header(trace: str) -> str:
    """Write a trace as X-Ray does.

    https://docs.aws.amazon.com/xray/latest/devguide/xray-concepts.html#xray-concepts-tracingheader
    """
    _, trace_id, span_id, flags, *_ = trace.partition(" ")[0].split("-")
    return f"Root=1-{trace_id[:8]}-{trace_id[8:]};Parent={span_id};Sampled={int(flags, 16) & 1}"


def _of_entry(entry: Mapping[str, Any]) -> Outcome:
    code = str(entry.get("ErrorCode") or "")
    return failure(400, code, str(entry.get("ErrorMessage") or "")) if code else Accepted("put")
