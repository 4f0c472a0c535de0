"""HTTPS endpoints: a signed POST for each event.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

import hmac
import re
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cached_property
from http import HTTPStatus
from typing import Final

from whaul.events.envelope import Envelopes, meta
from whaul.events.model import Accepted, Event, Failed, Outcome, Outcomes, Reason
from whaul.events.receiving import signatures
from whaul.events.targets import MAX_KEPT, Options, TargetError, attributes, sentence
from whaul.outbound.errors import HttpError
from whaul.outbound.netguard import EventHosts, ForbiddenUrlError
from whaul.outbound.public import PublicClient
from whaul.outbound.response import Response

_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}")
_VALUE: Final = re.compile(r"[\x21-\x7e](?:[\x20-\x7e\t]*[\x21-\x7e])?")
_OURS: Final = re.compile(
    r"host|content-.*|webhook-.*|ce-.*|x-hub-signature.*|whaul-.*|trace(?:parent|state)|connection|te|trailer|upgrade"
)
_REASONS: Final[Mapping[int, Reason]] = {
    HTTPStatus.UNAUTHORIZED: "refused",
    HTTPStatus.FORBIDDEN: "refused",
    HTTPStatus.NOT_FOUND: "refused",
    HTTPStatus.GONE: "gone",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "impossible",
    HTTPStatus.TOO_MANY_REQUESTS: "down",
    HTTPStatus.REQUEST_TIMEOUT: "down",
}


class HttpsTarget:
    """One URL."""

    max_batch = 1

    def __init__(self, url: str, options: Options, http: PublicClient, hosts: EventHosts, envelopes: Envelopes) -> None:
        """Raises `TargetError`."""
        try:
            self._url = hosts.check(url)
        except ForbiddenUrlError as forbidden:
            raise TargetError(f"The URL of the destination cannot be used: {forbidden}.") from None
        for name, value in options.headers.items():
            check_header(name, value)
        self._options = options
        self._http = http
        self._envelopes = envelopes

    async def send(self, events: Sequence[Event]) -> Outcomes:
        """POST each event, in their order."""
        return [await self._send(event) for event in events]

    async def close(self) -> None:
        """Do nothing: connections are shared."""

    async def post(self, event: Event) -> Response:
        """POST an event, and return the answer. Raises `HttpError` and `ForbiddenUrlError`."""
        body = self.body(event)
        return await self._http.post(self._url, self._headers(event, body), body)

    def body(self, event: Event) -> bytes:
        """Write what an event is sent as."""
        return meta(event) if self._options.format == "meta" else self._envelopes.aws(event)

    @cached_property
    def _keys(self) -> list[hmac.HMAC]:
        prepare = signatures.meta_key if self._options.format == "meta" else signatures.standard_key
        return [prepare(secret) for secret in self._options.secrets]

    async def _send(self, event: Event) -> Outcome:
        try:
            response = await self.post(event)
        except HttpError as error:
            return Failed("down", sentence(error))
        except ForbiddenUrlError as forbidden:
            return Failed("refused", f"Not called: {forbidden}.")
        return outcome(response)

    def _headers(self, event: Event, body: bytes) -> dict[str, str]:
        headers = {**self._options.headers, "content-type": "application/json", **attributes(event, described=False)}
        if self._options.format == "meta":
            return headers | {signatures.META_HEADER: signatures.meta_signature(self._keys[0], body)}
        if self._options.format == "cloudevents":
            headers |= self._envelopes.cloudevent_headers(event)
        return headers | signatures.standard_headers(self._keys, event.message_id, int(time.time()), body)


def outcome(response: Response) -> Outcome:
    """Say what an answer means. A redirect means that the URL is wrong, for every event."""
    detail = f"HTTP {response.status}"
    if response.status // 100 == 2:
        return Accepted(detail)
    said = response.body[:MAX_KEPT].decode(errors="replace").strip()
    by_class: Mapping[int, Reason] = {3: "refused", 5: "down"}
    reason = _REASONS.get(response.status) or by_class.get(response.status // 100, "rejected")
    return Failed(reason, f"{detail}: {said}" if said else detail, _retry_after(response.headers.get("retry-after")))


def check_header(name: str, value: str) -> None:
    """Check a header of the operator's. Raises `TargetError`, which does not hold the value: it may be a secret."""
    if not _NAME.fullmatch(name) or _OURS.fullmatch(name.lower()):
        raise TargetError(f"The header {name[:128]!r} cannot be set for a destination: it is no name, or whaul's own.")
    if not _VALUE.fullmatch(value):
        raise TargetError(f"The value of the header {name} cannot be sent: only printable ASCII can.")


def _retry_after(value: str | None) -> float | None:
    """Read a number of seconds, or a date; None for neither.

    https://www.rfc-editor.org/rfc/rfc9110#field.retry-after
    """
    if value is None:
        return None
    if value.isascii() and value.isdigit():
        return float(value[:9])
    try:
        moment = parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())
