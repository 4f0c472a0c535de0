"""SNS topics: one `Publish` for each event, the message as AWS's own service publishes it.

https://docs.aws.amazon.com/sns/latest/api/API_Publish.html
"""

from collections.abc import Sequence
from typing import Final
from urllib.parse import urlencode

from whaul.events.envelope import Envelopes
from whaul.events.model import Accepted, Event, Failed, Outcome, Outcomes
from whaul.events.targets import Options, attributes, delivery_id
from whaul.events.targets.aws import MAX_MESSAGE, Arn, AwsClient, AwsError

_VERSION: Final = "2010-03-31"


class SnsTarget:
    """One topic."""

    max_batch = 1

    def __init__(self, arn: Arn, options: Options, aws: AwsClient, envelopes: Envelopes) -> None:
        """Raises `TargetError`."""
        self._arn = arn
        self._options = options
        self._aws = aws
        self._url = aws.endpoint("sns", "sns", arn.region) + "/"
        self._envelopes = envelopes

    async def send(self, events: Sequence[Event]) -> Outcomes:
        """Publish each event, in their order."""
        return [await self._send(event) for event in events]

    async def close(self) -> None:
        """Do nothing: connections are shared."""

    async def _send(self, event: Event) -> Outcome:
        message = self._envelopes.aws(event)
        if len(message) > MAX_MESSAGE:
            return Failed("impossible", f"The message has {len(message)} bytes; SNS takes at most {MAX_MESSAGE}.")
        form = {
            "Action": "Publish",
            "Version": _VERSION,
            "TopicArn": ":".join(("arn", *self._arn)),
            "Message": message.decode(),
        }
        for number, (name, value) in enumerate(attributes(event, described=self._options.attributes).items(), start=1):
            entry = f"MessageAttributes.entry.{number}"
            form |= {f"{entry}.Name": name, f"{entry}.Value.DataType": "String", f"{entry}.Value.StringValue": value}
        if self._arn.name.endswith(".fifo"):
            form |= {"MessageGroupId": event.conversation.hex(), "MessageDeduplicationId": delivery_id(event)}
        headers = {"content-type": "application/x-www-form-urlencoded"}
        try:
            await self._aws.post("sns", self._arn.region, self._url, headers, urlencode(form).encode())
        except AwsError as error:
            return error.failed
        return Accepted("published")
