"""One request to a receiver: a POST with its signature, or the GET by which Meta proves that a URL wants webhooks.

Only status 200 counts as received, and redirects are not followed. Headers are Meta's.
https://developers.facebook.com/docs/graph-api/webhooks/getting-started
"""

import hashlib
import hmac
import json
import os
import secrets
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace

import aiohttp

from whaul.simulator.content import BLOCK
from whaul.simulator.webhooks import faults
from whaul.simulator.webhooks.faults import WireFault

MAX_ANSWER = 64 * 1024
"""Bytes of an answer that are read."""
MAX_SHOWN = 1024
"""Characters of an answer that are kept."""
STEPS_PER_SECOND = 10
"""Writes per second of a slow body, at most."""

COMMON_HEADERS = {"Accept": "*/*", "Accept-Encoding": "deflate, gzip"}
POST_USER_AGENT = "facebookexternalua"
GET_USER_AGENT = "facebookplatform/1.0 (+http://developers.facebook.com)"


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back."""

    status: int | None
    """None if nothing did."""
    body: str = ""
    error: str | None = None
    """Why nothing came back."""


class VerificationError(Exception):
    """A URL has not proved that it wants webhooks; with Meta's code for it."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


def signed_headers(body: bytes, secret: str, fault: WireFault | None = None) -> dict[str, str]:
    """The headers of a POST. Meta still sends the old signature beside the one that counts."""
    if isinstance(fault, faults.WrongSignature):
        secret += "-wrong"
    old, new = (hmac.new(secret.encode(), body, name).hexdigest() for name in (hashlib.sha1, hashlib.sha256))
    signatures = {"X-Hub-Signature": f"sha1={old}", "X-Hub-Signature-256": f"sha256={new}"}
    if isinstance(fault, faults.NoSignature):
        signatures = {}
    if isinstance(fault, faults.Sha1Only):
        del signatures["X-Hub-Signature-256"]
    if isinstance(fault, faults.BadSignature):
        signatures["X-Hub-Signature-256"] = "sha256=0"
    content = {"Content-Type": "application/json", "Content-Length": str(len(body))}
    return {**COMMON_HEADERS, "User-Agent": POST_USER_AGENT, **content, **signatures}


def distorted(body: bytes, fault: WireFault | None) -> bytes:
    """The body that is signed and sent."""
    match fault:
        case faults.NotJson():
            return body[: len(body) // 2]
        case faults.UnknownObject():
            return body.replace(b'"whatsapp_business_account"', json.dumps(fault.object).encode(), 1)
        case faults.TooLarge():
            return body.ljust(fault.size)
    return body


def seconds_of(body: bytes, fault: WireFault | None) -> float:
    """How long a body is on its way by its fault, beside the time for the answer."""
    return len(body) / fault.bytes_per_second if isinstance(fault, faults.Slow) else 0.0


async def post(
    session: aiohttp.ClientSession,
    url: str,
    body: bytes,
    secret: str,
    *,
    fault: WireFault | None,
    wait: Callable[[float], Awaitable[object]],
    timeout: float,  # noqa: ASYNC109 - the client's own
) -> Answer:
    """Send a body, as the fault leaves it. `wait` lets seconds pass between the parts of a slow one."""
    body = distorted(body, fault)
    timeout += seconds_of(body, fault)
    headers = signed_headers(body, secret, fault)
    request = session.post(
        url, headers=headers, data=_stream(body, fault, wait), timeout=_limit(timeout), allow_redirects=False
    )
    answer = await _answer(request, timeout)
    if isinstance(fault, faults.BreakOff) and answer.status is None:
        return replace(answer, error="broken off")
    return answer


async def verify(session: aiohttp.ClientSession, url: str, token: str, timeout: float) -> None:  # noqa: ASYNC109
    """Ask a URL whether it wants webhooks; raises `VerificationError` when its answer is wrong."""
    challenge = str(secrets.randbelow(2 * 10**9) + 10**8)
    query = {"hub.mode": "subscribe", "hub.challenge": challenge, "hub.verify_token": token}
    headers = {**COMMON_HEADERS, "User-Agent": GET_USER_AGENT}
    request = session.get(url, headers=headers, params=query, timeout=_limit(timeout), allow_redirects=False)
    answer = await _answer(request, timeout)
    failed = "Callback verification failed with the following errors: "
    if answer.status is None:
        raise VerificationError(2200, f"{failed}curl_error = {answer.error}")
    if answer.status != 200:
        raise VerificationError(2200, f"{failed}HTTP Status Code = {answer.status}")
    if answer.body != challenge:
        said = f'expected value="{challenge}", received="{answer.body[:100]}"'
        raise VerificationError(2201, f"Response does not match challenge, {said}")


def _limit(seconds: float) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(total=seconds)


async def _answer(request: AbstractAsyncContextManager[aiohttp.ClientResponse], seconds: float) -> Answer:
    try:
        async with request as response:
            shown = b""
            while len(shown) < MAX_ANSWER and (block := await response.content.read(MAX_ANSWER)):
                shown += block
            return Answer(response.status, shown.decode(errors="replace")[:MAX_SHOWN])
    except TimeoutError:
        return Answer(None, error=f"no answer within {seconds:g} seconds")
    except aiohttp.ClientConnectorError as exc:
        return Answer(None, error=f"cannot connect: {_reason(exc.os_error)}")
    except (aiohttp.ClientError, OSError, ValueError) as exc:
        return Answer(None, error=f"{type(exc).__name__}: {exc}")


def _reason(error: OSError) -> str:
    """Why there is no connection; asyncio's own text repeats the address instead."""
    if isinstance(error, ssl.SSLError | socket.gaierror) or error.errno is None:
        return str(error)
    return os.strerror(error.errno)


async def _stream(
    body: bytes, fault: WireFault | None, wait: Callable[[float], Awaitable[object]]
) -> AsyncIterator[bytes]:
    """The body in parts; a broken one ends with an error, which closes the connection."""
    if isinstance(fault, faults.BreakOff):
        yield body[: len(body) // 2 if fault.at is None else fault.at]
        raise ConnectionAbortedError("the fault says so")
    step = max(1, fault.bytes_per_second // STEPS_PER_SECOND) if isinstance(fault, faults.Slow) else BLOCK
    for start in range(0, len(body), step):
        yield body[start : start + step]
        if isinstance(fault, faults.Slow):
            await wait(step / fault.bytes_per_second)
