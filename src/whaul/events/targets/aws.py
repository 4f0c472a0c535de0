"""What SNS, SQS and EventBridge have in common: a small POST, signed by this server, and what AWS's errors mean."""

import asyncio
import hashlib
import json
import os
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from functools import cache
from typing import Any, Final, NamedTuple, TypeVar

from botocore.exceptions import BotoCoreError
from pyreqwest.http import Url

from whaul.errors import AccessDeniedException
from whaul.events.model import Failed, Outcome, Reason
from whaul.events.targets import MAX_KEPT, TargetError
from whaul.outbound.aws_endpoints import configured_endpoint, regional_endpoint
from whaul.outbound.aws_profile import AwsProfile
from whaul.outbound.aws_signing import AwsSigner
from whaul.outbound.errors import HttpError
from whaul.outbound.http import HttpClient
from whaul.outbound.netguard import ForbiddenUrlError, endpoint_url
from whaul.outbound.response import Response
from whaul.partitions import is_region, partition_of
from whaul.storage.credentials import CredentialChain

T = TypeVar("T")

TIMEOUT: Final = 15.0
"""Seconds for an answer."""
MAX_MESSAGE: Final = 1024**2
"""Bytes that a message of SNS or SQS, and a batch, may have.
https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html"""
_ARN: Final = re.compile(
    r"arn:(?P<partition>[a-z-]+):(?P<service>[a-z]+):(?P<region>[^:]+):(?P<account>[0-9]{12}):(?P<name>[A-Za-z0-9./_-]{1,300})"
)
_CODE: Final = re.compile(rb"<Code>([A-Za-z0-9.]{1,100})</Code>(?:\s*<Message>(.{0,1024}?)</Message>)?", re.DOTALL)
_CLOSED: Final = re.compile(
    r"AccessDenied|Authorization|InvalidClientTokenId|UnrecognizedClient|ExpiredToken|SignatureDoesNotMatch"
    r"|InvalidSignature|MissingAuthentication|OptInRequired|NotFound|NonExistent|DoesNotExist|KMS(?!Throttling)|Disabled"
    r"|InvalidSecurity|EndpointDisabled"
)
_DOWN: Final = re.compile(r"Throttl|TooManyRequests|RequestLimit|Internal(?:Error|Failure|Exception)|Unavail")
_TOO_LARGE: Final = re.compile(r"too long|too large|shorter than|size|InvalidMessageContents", re.IGNORECASE)


class Arn(NamedTuple):
    """An ARN in the form of topics, queues and buses."""

    partition: str
    service: str
    region: str
    account: str
    name: str


class AwsError(Exception):
    """AWS did not do it."""

    def __init__(self, failed: Failed) -> None:
        super().__init__(failed.detail)
        self.failed = failed


def read_arn(text: str) -> Arn:
    """Read an ARN. Raises `TargetError`."""
    found = _ARN.fullmatch(text)
    if found is None or not is_region(found["region"]):
        raise TargetError(f"{text[:256]!r} is not the ARN of a topic, a queue or an event bus.")
    arn = Arn(found["partition"], found["service"], found["region"], found["account"], found["name"])
    if partition_of(arn.region).name != arn.partition:
        raise TargetError(f"The region {arn.region} is not in the partition {arn.partition}.")
    return arn


class AwsClient:
    """Sends requests to AWS's services with the server's own credentials."""

    def __init__(self, http: HttpClient, credentials: CredentialChain, profile: str | None = None) -> None:
        """`profile` is where endpoints are looked up, too."""
        self._http = http
        self._credentials = credentials
        self._profile = cache(lambda: AwsProfile.load(profile))
        self._signers: dict[str, AwsSigner] = {}

    def endpoint(self, service: str, host: str, region: str) -> str:
        """Find the URL of a service; `host` is its name in AWS's host names. Raises `TargetError`."""
        try:
            url = configured_endpoint(self._profile(), service, os.environ) or regional_endpoint(host, region)
            return str(endpoint_url(url)).rstrip("/")
        except (BotoCoreError, ForbiddenUrlError) as error:
            raise TargetError(f"AWS_ENDPOINT_URL_{service.upper()} cannot be used: {error}.") from None

    async def post(self, service: str, region: str, url: str, headers: Mapping[str, str], body: bytes) -> Response:
        """POST; `service` is its name in signatures. Raises `AwsError` for everything but success."""
        signer = self._signers.setdefault(service, AwsSigner(service))
        try:
            async with asyncio.timeout(TIMEOUT):
                keys = await self._credentials.get()
                signed = signer.sign(keys, region, url, headers, hashlib.sha256(body).digest(), method="POST")
                response = await self._http.call("POST", Url(url), signed, body)
        except AccessDeniedException as denied:
            raise AwsError(Failed("closed", denied.message)) from None
        except (HttpError, TimeoutError) as error:
            reason = str(error) or "it took too long"
            raise AwsError(Failed("down", f"No answer from {Url(url).host_str}: {reason}.")) from None
        if response.status // 100 == 2:
            return response
        code, message = _said(response)
        if re.search("ExpiredToken|InvalidClientTokenId|UnrecognizedClient", code):
            self._credentials.refused()
        raise AwsError(failure(response.status, code, message))


async def in_batches(
    entries: Iterable[tuple[int, T]], limit: int, send: Callable[[Sequence[T]], Awaitable[Sequence[Outcome]]]
) -> list[Outcome]:
    """Send entries, each with its size, in batches of at most `limit` bytes; the order stays."""
    outcomes: list[Outcome] = []
    batch: list[T] = []
    room = limit
    for size, entry in entries:
        if size > room and batch:
            outcomes += await send(batch)
            batch, room = [], limit
        if size > limit:
            outcomes.append(Failed("impossible", f"It has {size} bytes; at most {limit} are taken."))
            continue
        batch.append(entry)
        room -= size
    return outcomes + list(await send(batch)) if batch else outcomes


def answered(response: Response) -> Mapping[str, Any]:
    """Read the JSON of a success. Raises `AwsError` for an answer that is not AWS's."""
    try:
        answer = json.loads(response.body)
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        raise AwsError(Failed("down", "The answer is not one of AWS's: no JSON object."))
    return answer


def failure(status: int, code: str, message: str) -> Failed:
    """Say what an error of AWS's means, of a request or of one entry of a batch."""
    reason: Reason = "rejected"
    if status >= 500 or status == 429 or _DOWN.search(code):
        reason = "down"
    elif _CLOSED.search(code):
        reason = "closed"
    elif status in {401, 403, 404}:
        reason = "refused"
    elif _TOO_LARGE.search(message) or _TOO_LARGE.search(code):
        reason = "impossible"
    elif status // 100 == 3:
        reason = "refused"
    said = f"{code}: {message}" if code and message else code or message or f"HTTP {status}"
    return Failed(reason, said[:MAX_KEPT])


def _said(response: Response) -> tuple[str, str]:
    """Read the code and the message of an error, in JSON or XML."""
    found = _CODE.search(response.body)
    if found:
        return found[1].decode(), (found[2] or b"").decode(errors="replace")
    try:
        document: Any = json.loads(response.body)
    except ValueError:
        return "", ""
    if not isinstance(document, dict):
        return "", ""
    code = str(document.get("__type") or document.get("code") or "").rpartition("#")[2]
    return code, str(document.get("message") or document.get("Message") or "")
