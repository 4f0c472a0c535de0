"""Which address is which kind of target."""

import re
from collections.abc import Callable
from dataclasses import dataclass

from whaul.events.envelope import Envelopes
from whaul.events.targets import Options, Target, TargetError
from whaul.events.targets.aws import AwsClient, read_arn
from whaul.events.targets.brokers import Brokers
from whaul.events.targets.eventbridge import EventBridgeTarget
from whaul.events.targets.https import HttpsTarget
from whaul.events.targets.kafka import KafkaTarget
from whaul.events.targets.nats import NatsTarget
from whaul.events.targets.sns import SnsTarget
from whaul.events.targets.sqs import SqsTarget
from whaul.outbound.netguard import EventHosts
from whaul.outbound.public import PublicClient

EXPECTED = (
    "give the ARN of an SNS topic, an SQS queue or an EventBridge bus, an https:// URL, nats://host/subject or "
    "kafka://host/topic"
)


@dataclass(frozen=True, slots=True)
class Targets:
    """Makes targets, over clients that they share."""

    http: PublicClient
    hosts: EventHosts
    aws: Callable[[], AwsClient]
    """Made when the first target of AWS's needs it: it reads AWS's configuration."""
    envelopes: Envelopes
    brokers: Brokers

    def make(self, address: str, options: Options) -> Target:
        """Make the target of an address. Raises `TargetError` for one that cannot be a destination."""
        if address.startswith(("https://", "http://")):
            if not options.secrets:
                raise TargetError("An HTTPS destination needs a secret to sign with.")
            return HttpsTarget(address, options, self.http, self.hosts, self.envelopes)
        if options.format != "aws":
            raise TargetError(f"Only an HTTPS destination can have the format {options.format}.")
        if address.startswith("arn:"):
            return self._of_arn(address, options)
        if address.startswith(("nats://", "tls://")):
            return NatsTarget(address, options, self.brokers)
        if address.startswith("kafka://"):
            return KafkaTarget(address, options, self.brokers)
        shown = re.sub(r"//[^/]*@", "//…@", address)[:256]  # a password may stand there
        raise TargetError(f"{shown!r} is no address of a destination; {EXPECTED}.")

    def _of_arn(self, address: str, options: Options) -> Target:
        arn = read_arn(address)
        if arn.service == "sns":
            return SnsTarget(arn, options, self.aws(), self.envelopes)
        if arn.service == "sqs":
            return SqsTarget(arn, options, self.aws(), self.envelopes)
        if arn.service == "events" and arn.name.startswith("event-bus/"):
            return EventBridgeTarget(arn, self.aws(), self.envelopes)
        raise TargetError(f"No events can be sent to {address[:256]!r}; {EXPECTED}.")
