"""SQS queues: up to ten events in one `SendMessageBatch`; those that failed in it are told one by one.

https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessageBatch.html
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from whaul.events.envelope import Envelopes
from whaul.events.model import Accepted, Event, Failed, Outcome, Outcomes
from whaul.events.targets import Options, attributes, delivery_id
from whaul.events.targets.aws import MAX_MESSAGE, Arn, AwsClient, AwsError, answered, failure, in_batches

_BATCH_TOO_LARGE: Final = "BatchRequestTooLong"
_JSON: Final = "application/x-amz-json-1.0"


class SqsTarget:
    """One queue."""

    max_batch = 10

    def __init__(self, arn: Arn, options: Options, aws: AwsClient, envelopes: Envelopes) -> None:
        """Raises `TargetError`."""
        self._arn = arn
        self._options = options
        self._aws = aws
        self._endpoint = aws.endpoint("sqs", "sqs", arn.region)
        self._envelopes = envelopes
        self._queue_url: str | None = None

    async def send(self, events: Sequence[Event]) -> Outcomes:
        """Send a batch, or several where it would be too large; the order stays."""
        return await in_batches((self._entry(event) for event in events), MAX_MESSAGE, self._batch)

    async def close(self) -> None:
        """Do nothing: connections are shared."""

    def _entry(self, event: Event) -> tuple[int, dict[str, Any]]:
        body = self._envelopes.aws(event)
        entry: dict[str, Any] = {"MessageBody": body.decode()}
        named = attributes(event, described=self._options.attributes)
        if named:
            entry["MessageAttributes"] = {
                name: {"DataType": "String", "StringValue": value} for name, value in named.items()
            }
        if self._arn.name.endswith(".fifo"):
            entry |= {"MessageGroupId": event.conversation.hex(), "MessageDeduplicationId": delivery_id(event)}
        return len(body) + sum(len(name + value) + len("String") for name, value in named.items()), entry

    async def _batch(self, entries: Sequence[dict[str, Any]]) -> list[Outcome]:
        batch = [{"Id": str(number), **entry} for number, entry in enumerate(entries)]
        try:
            answer = await self._call("SendMessageBatch", {"QueueUrl": await self._url(), "Entries": batch})
        except AwsError as error:
            if error.failed.reason == "closed":
                self._queue_url = None  # the queue may be made anew
            if _BATCH_TOO_LARGE in error.failed.detail and len(entries) > 1:  # the queue has a limit of its own
                return [outcome for entry in entries for outcome in await self._batch([entry])]
            return [error.failed] * len(batch)
        failed = {str(entry.get("Id")): entry for entry in answer.get("Failed") or ()}
        sent = {str(entry.get("Id")) for entry in answer.get("Successful") or ()}
        return [_of_entry(failed.get(entry["Id"]), entry["Id"] in sent) for entry in batch]

    async def _url(self) -> str:
        """Ask for the queue's URL once; build it where that is not allowed."""
        if self._queue_url is None:
            asked = {"QueueName": self._arn.name, "QueueOwnerAWSAccountId": self._arn.account}
            try:
                self._queue_url = str((await self._call("GetQueueUrl", asked))["QueueUrl"])
            except AwsError as error:
                if "AccessDenied" not in error.failed.detail:
                    raise
                self._queue_url = f"{self._endpoint}/{self._arn.account}/{self._arn.name}"
        return self._queue_url

    async def _call(self, action: str, members: Mapping[str, Any]) -> Mapping[str, Any]:
        headers = {"content-type": _JSON, "x-amz-target": f"AmazonSQS.{action}"}
        response = await self._aws.post(
            "sqs", self._arn.region, self._endpoint + "/", headers, json.dumps(members, ensure_ascii=False).encode()
        )
        return answered(response)


def _of_entry(failed: Mapping[str, Any] | None, sent: bool) -> Outcome:
    if failed is not None:
        status = 400 if failed.get("SenderFault") else 500
        return failure(status, str(failed.get("Code") or ""), str(failed.get("Message") or ""))
    return Accepted("sent") if sent else Failed("down", "The answer does not say what became of the message.")
