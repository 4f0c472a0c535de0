"""Our signatures of S3 requests beside botocore's."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from botocore import auth
from botocore.awsrequest import AWSRequest

from whaul.outbound.aws_signing import AwsKeys, AwsSigner

NOW = datetime(2026, 2, 28, 23, 59, 59, tzinfo=UTC)
DIGEST = bytes(range(32))
PERMANENT = AwsKeys("AKIAEXAMPLE", "secret/key+", None)
TEMPORARY = AwsKeys("ASIAEXAMPLE", "other", "session/token==")


class Oracle(auth.S3SigV4Auth):  # type: ignore[misc]  # botocore has no types
    def payload(self, _request: Any) -> str:
        return DIGEST.hex()


@pytest.fixture
def _stopped_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auth, "get_current_datetime", lambda *_: NOW.replace(tzinfo=None))


def by_botocore(credentials: AwsKeys, region: str, url: str, headers: dict[str, str], method: str) -> dict[str, str]:
    request = AWSRequest(method, url, headers=headers)
    Oracle(credentials, "s3", region).add_auth(request)
    return {name.lower(): value for name, value in request.headers.items()}


@pytest.mark.usefixtures("_stopped_clock")
@pytest.mark.parametrize("credentials", [PERMANENT, TEMPORARY])
@pytest.mark.parametrize("method", ["PUT", "GET"])
@pytest.mark.parametrize(
    "url",
    [
        "https://bucket.s3.eu-west-1.amazonaws.com/inbound_42.jpeg",
        "https://bucket.s3.eu-west-1.amazonaws.com:443/42",
        "http://127.0.0.1:8333/bucket/a%20b//%2B%25/42",
        "http://localhost:80/bucket/42",
        "https://[::1]:9000/bucket/42",
        "https://s3.example/bucket/?prefix=a%2Fb&list-type=2&continuation-token=x%3D%3D",
    ],
)
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"content-type": "audio/ogg; codecs=opus", "x-amz-checksum-sha256": "abc="},
        {"content-type": "text/plain;  charset=utf-8 ", "x-amz-tagging": "a=b&c=d", "x-amz-storage-class": "GLACIER"},
    ],
)
def test_a_request_is_signed_as_botocore_signs_it(
    credentials: AwsKeys, method: str, url: str, headers: dict[str, str]
) -> None:
    ours = AwsSigner("s3", lambda: NOW).sign(credentials, "eu-west-1", url, headers, DIGEST, method=method)
    assert ours == by_botocore(credentials, "eu-west-1", url, headers, method)


def test_a_signature_is_of_its_day_region_and_secret() -> None:
    moments = iter([NOW, datetime(2026, 3, 1, tzinfo=UTC), NOW, NOW, NOW])
    signer = AwsSigner("s3", lambda: next(moments))
    url = "https://s3.example/bucket/42"
    made = [
        signer.sign(PERMANENT, "eu-west-1", url, {}, DIGEST),
        signer.sign(PERMANENT, "eu-west-1", url, {}, DIGEST),
        signer.sign(PERMANENT, "eu-west-2", url, {}, DIGEST),
        signer.sign(replace(PERMANENT, secret_key="another"), "eu-west-1", url, {}, DIGEST),
        signer.sign(PERMANENT, "eu-west-1", url, {}, bytes(32)),
    ]
    assert len({headers["authorization"].rpartition("=")[2] for headers in made}) == len(made)
