"""What a fault makes of a response: another response, other metadata, other bytes. No socket is touched here."""

from collections.abc import Iterator
from typing import Any

import msgspec

from whaul.simulator import faults
from whaul.simulator.content import BLOCK
from whaul.simulator.faults import Fault
from whaul.simulator.responses import Response, graph_error, text

PAGE = (
    "<!DOCTYPE html>\n<html><head><title>Sorry</title></head>"
    "<body><h1>Something went wrong.</h1><p>This page is for people.</p></body></html>\n"
)


def expired() -> Response:
    """The response of a download URL that is too old or was changed. Meta documents the 404, not the body."""
    return text("This address has expired or is not valid. Ask for the media id again.\n", status=404)


def substitute(fault: Fault | None) -> Response | None:  # noqa: PLR0911 - one per kind
    """The response that takes the place of the usual one, if the fault has one."""
    match fault:
        case faults.Error():
            return graph_error(
                fault.code,
                fault.message,
                status=fault.status,
                error_type=fault.type,
                subcode=fault.subcode,
                is_transient=fault.is_transient,
                title=fault.title,
                user_message=fault.user_message,
                details=fault.details,
                headers={**_retry_after(fault.retry_after), **fault.headers},
            )
        case faults.RateLimit():
            return graph_error(
                fault.code, status=fault.status, is_transient=True, headers=_retry_after(fault.retry_after)
            )
        case faults.Status():
            response = text(fault.body, status=fault.status)
            headers = {**response.headers, **_retry_after(fault.retry_after), **fault.headers}
            return Response(response.status, response.content, headers)
        case faults.ExpiredUrl():
            return expired()
        case faults.Html():
            return text(PAGE, status=fault.status, content_type="text/html; charset=utf-8")
        case faults.NotJson():
            return text(fault.body, content_type="application/json; charset=UTF-8")
        case faults.Redirect():
            response = text("", status=fault.status)
            return Response(response.status, response.content, {**response.headers, "Location": fault.location})
        case _:
            return None


def _retry_after(seconds: int | None) -> dict[str, str]:
    return {} if seconds is None else {"Retry-After": str(seconds)}


def regain_minutes(fault: Fault | None) -> int | None:
    """Minutes for `estimated_time_to_regain_access`, if the fault says so."""
    return fault.regain_minutes if isinstance(fault, faults.Error | faults.RateLimit) else None


def distort_members(fault: Fault | None, members: dict[str, Any]) -> Any:
    """The JSON document that takes the place of a right one."""
    match fault:
        case faults.WrongHash() if isinstance(members.get("sha256"), str):
            return {**members, "sha256": _other_hash(members["sha256"])}
        case faults.WrongSize() if "file_size" in members:
            size = max(0, int(members["file_size"]) + fault.by)
            return {**members, "file_size": type(members["file_size"])(size)}
        case faults.WrongJson():
            if fault.body is not msgspec.UNSET:
                return fault.body
            if not fault.set and not fault.drop:
                wrong = {**members, "file_size": [members.get("file_size")]}
                wrong.pop("url", None)
                return wrong
            kept = {**members, **fault.set}
            return {name: value for name, value in kept.items() if name not in fault.drop}
        case _:
            return members


def _other_hash(digest: str) -> str:
    """A digest in the same encoding that is not this one."""
    return ("1" if digest[0] == "0" else "0") + digest[1:]


def distort_blocks(fault: Fault | None, blocks: Iterator[bytes], size: int) -> Iterator[bytes]:
    """The bytes that take the place of the right ones."""
    match fault:
        case faults.Corrupt() if size:
            place = min(size // 2 if fault.at is None else fault.at, size - 1)
            start = 0
            for block in blocks:
                if start <= place < start + len(block):
                    wrong = bytearray(block)
                    wrong[place - start] ^= 0xFF
                    yield bytes(wrong)
                else:
                    yield block
                start += len(block)
        case faults.Longer():
            yield from blocks
            for start in range(0, fault.extra, BLOCK):
                yield bytes(min(BLOCK, fault.extra - start))
        case _:
            yield from blocks


def cut(fault: Fault | None, size: int) -> int | None:
    """How many bytes of a body of `size` are sent before the fault strikes; `None`: the whole body."""
    match fault:
        case faults.Truncate():
            return max(0, min(size // 2 if fault.at is None else fault.at, size - 1))
        case faults.Reset(at=int(at)) | faults.Stall(at=int(at)):
            return min(at, size)
        case _:
            return None
