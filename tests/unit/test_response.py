"""Responses, as botocore reads them."""

import math
from datetime import UTC, datetime
from typing import Any

import botocore.session
import pytest
from botocore.parsers import create_parser

from whaul import errors
from whaul.api import response
from whaul.errors import ApiError, ThrottledRequestException
from whaul.model import S3File, StoredObject
from whaul.operations.media import stored_headers

OPERATION = botocore.session.Session().get_service_model("socialmessaging").operation_model("GetWhatsAppMessageMedia")


def parsed(status: int, headers: response.Headers, raw: bytes, shape: Any) -> dict[str, Any]:
    raw_response = {"status_code": status, "headers": dict(headers), "body": raw}
    answer: dict[str, Any] = create_parser("rest-json").parse(raw_response, shape)
    return answer


def test_botocore_reads_the_answer() -> None:
    document = {"mimeType": "audio/ogg; codecs=opus", "fileSize": 5 * 1024**3}
    answer = parsed(200, [], response.body(document), OPERATION.output_shape)
    assert (answer["fileSize"], answer["mimeType"]) == (5 * 1024**3, "audio/ogg; codecs=opus")


ALL_ERRORS = sorted((kind for kind in ApiError.__subclasses__()), key=lambda kind: kind.__name__)


@pytest.mark.parametrize("kind", ALL_ERRORS)
def test_botocore_reads_an_error_with_its_code_and_message(kind: type[ApiError]) -> None:
    raw, headers = response.error(kind('Told: "ä"\n🐋'))
    answer = parsed(kind.status, headers, raw, OPERATION.output_shape)
    assert answer["Error"] == {"Code": kind.__name__, "Message": 'Told: "ä"\n🐋'}
    without_header = parsed(kind.status, [], raw, OPERATION.output_shape)
    assert without_header["Error"]["Code"] == kind.__name__


@pytest.mark.parametrize(("seconds", "header"), [(0.0, "1"), (0.2, "1"), (1.0, "1"), (1.1, "2"), (3600.0, "3600")])
def test_a_throttle_says_how_long_to_wait_in_whole_seconds(seconds: float, header: str) -> None:
    _, headers = response.error(ThrottledRequestException(retry_after=seconds))
    assert dict(headers)["Retry-After"] == header
    assert int(header) >= math.ceil(seconds)


@pytest.mark.parametrize("error", [ThrottledRequestException(), errors.DependencyException(retry_after=9)])
def test_no_other_error_says_how_long_to_wait(error: ApiError) -> None:
    assert "Retry-After" not in dict(response.error(error)[1])


@pytest.mark.parametrize(
    ("key", "header"),
    [
        ("a/b~c.-_", "a/b~c.-_"),
        ("ä 🐋", "%C3%A4%20%F0%9F%90%8B"),
        ("+%?#\t\r\n", "%2B%25%3F%23%09%0D%0A"),
        ("//", "//"),
    ],
)
def test_where_the_file_went_is_told_in_headers(key: str, header: str) -> None:
    stored = StoredObject('"0123"', bytes(range(32)), file_size=8)
    told = dict(stored_headers(stored, S3File("inbox", key)))
    assert told == {
        "x-whaul-bucket": "inbox",
        "x-whaul-key": header,
        "x-whaul-etag": '"0123"',
        "x-whaul-sha256": bytes(range(32)).hex(),
    }
    assert set(stored_headers(stored, None)) == {
        ("x-whaul-etag", '"0123"'),
        ("x-whaul-sha256", bytes(range(32)).hex()),
    }


def test_request_ids_are_uuids_and_never_the_same() -> None:
    ids = {response.request_id() for _ in range(100)}
    assert len(ids) == 100
    assert all(len(text) == 36 for text in ids)


def test_dates_are_seconds_to_the_millisecond() -> None:
    assert response.timestamp(datetime(2026, 3, 1, 12, 30, 0, 250_499, tzinfo=UTC)) == 1772368200.25
