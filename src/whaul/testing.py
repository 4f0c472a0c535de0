"""Parts for tests, whaul's own and those of its users: a clock, a signer, look-ups and a destination in memory.

`Clock` and `signed_headers` are kept for users (`docs/testing.md`); the rest knows whaul from inside, and changes
with it. For a whole Graph API that answers over HTTP see `whaul.simulator`, for a whole whaul `whaul.local`.
"""

import hashlib
from collections.abc import Iterable
from datetime import UTC, datetime

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from whaul.errors import ApiError, DependencyException, Retry
from whaul.model import AccessKey, MediaInfo, PhoneNumber
from whaul.outbound.http import Body


class Clock:
    """Time that moves when told; call it for seconds."""

    def __init__(self, now: float = 1_800_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        """The time, in seconds."""
        return self.now

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds

    def date(self) -> datetime:
        """The time as a date, UTC."""
        return datetime.fromtimestamp(self.now, UTC)


class InMemoryRegistry:
    """The look-ups of access keys and phone numbers, over what is given."""

    def __init__(self, keys: Iterable[AccessKey] = (), numbers: Iterable[PhoneNumber] = ()) -> None:
        self.keys = {key.access_key_id: key for key in keys}
        self.numbers = {number.id: number for number in numbers}

    async def access_key(self, access_key_id: str) -> AccessKey | None:
        """Find a key; None when there is none."""
        return self.keys.get(access_key_id)

    async def phone_number(self, phone_number_id: str) -> PhoneNumber | None:
        """Find a phone number; None when it is not linked."""
        return self.numbers.get(phone_number_id)


class InMemoryDestination:
    """A destination that keeps what it is sent, and fails on demand."""

    def __init__(self, *failures: ApiError) -> None:
        """Each of the first PUTs raises one of `failures`, once its body is read."""
        self.failures = list(failures)
        self.stored: bytes | None = None
        """The file of the last PUT that succeeded."""
        self.received: list[bytes] = []
        """What came of each body, whole or not."""

    async def put(self, body: Body, info: MediaInfo) -> str:
        """See `whaul.storage.Put`."""
        self.received.append(b"")
        if isinstance(body, bytes) or not hasattr(body, "__aiter__"):
            self.received[-1] = bytes(body)
        else:
            async for part in body:
                self.received[-1] += bytes(part)
        if self.failures:
            raise self.failures.pop(0)
        if len(self.received[-1]) != info.file_size:
            raise DependencyException("The body has another length than it was announced with.", retry=Retry.NO)
        self.stored = self.received[-1]
        return f'"{hashlib.md5(self.stored, usedforsecurity=False).hexdigest()}"'


def signed_headers(
    method: str,
    url: str,
    body: bytes,
    credentials: tuple[str, str] | tuple[str, str, str],
    *,
    region: str,
    at: datetime,
    service: str = "social-messaging",
) -> dict[str, str]:
    """Sign a request as AWS's SDKs do, but at a time of your choice; return all headers to send but Host.

    `credentials` are the access key id, the secret, and for temporary ones the session token.
    """
    request = AWSRequest(method, url, headers={"content-type": "application/json"}, data=body)
    signer = _SignerAt(Credentials(*credentials), service, region)
    signer.sign_at(request, at)
    return dict(request.headers.items())


class _SignerAt(SigV4Auth):  # type: ignore[misc]  # botocore has no types
    """botocore's signer with the time as an argument: its own reads the clock."""

    def sign_at(self, request: AWSRequest, at: datetime) -> None:
        request.context["timestamp"] = at.strftime("%Y%m%dT%H%M%SZ")
        self._modify_request_before_signing(request)
        canonical = self.canonical_request(request)
        self._inject_signature_to_request(request, self.signature(self.string_to_sign(request, canonical), request))
