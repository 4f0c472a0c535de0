"""What may be the source of an upload: an object whose bytes are the file's, of a length that is known."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager

import pytest

from harness.loopback import Loopback, reply
from whaul.errors import ApiError, DependencyException, InvalidParametersException
from whaul.model import PresignedUrl, S3File
from whaul.outbound.http import HttpClient
from whaul.outbound.netguard import PresignedHosts
from whaul.storage import OpenFile
from whaul.storage.credentials import CredentialChain
from whaul.storage.presigned import Presigned
from whaul.storage.s3 import S3Store
from whaul.storage.s3_config import S3Config

pytestmark = pytest.mark.anyio


@pytest.fixture
async def http() -> AsyncIterator[HttpClient]:
    async with HttpClient() as client:
        yield client


@pytest.fixture(params=["S3", "presigned"])
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI")
    return str(request.param)


def source(kind: str, http: HttpClient, server: Loopback) -> AbstractAsyncContextManager[OpenFile]:
    if kind == "S3":
        store = S3Store(http, S3Config(server.url), CredentialChain(), region="eu-west-1")
        return store.open(S3File("inbox", "note.txt"))
    url = PresignedUrl(f"{server.url}/inbox/note.txt?X-Amz-Signature=0", {"Content-Type": "text/plain"})
    return Presigned(http, PresignedHosts(server.url, ()), url).open()


async def refusal(kind: str, http: HttpClient, **headers: str) -> ApiError:
    async with Loopback(reply(200, b"bytes", content_type="text/plain", **headers)) as server:
        with pytest.raises(ApiError) as caught:
            async with source(kind, http, server):
                pass
        (request,) = server.requests
    assert request.headers["accept-encoding"] == "identity"
    return caught.value


@pytest.mark.parametrize("encoding", ["gzip", "br", "GZIP", "aws-chunked,gzip", "gzip, identity", "x-made-up"])
async def test_an_encoded_source_is_refused_by_its_encodings_name(kind: str, http: HttpClient, encoding: str) -> None:
    error = await refusal(kind, http, ETag='"1"', content_encoding=encoding)
    assert type(error) is InvalidParametersException
    (named,) = {part.strip().lower() for part in encoding.split(",")} - {"aws-chunked", "identity"}
    assert f"Content-Encoding {named}," in error.message


async def test_an_encoding_that_is_no_name_is_not_repeated(kind: str, http: HttpClient) -> None:
    error = await refusal(kind, http, ETag='"1"', content_encoding="<script>" * 10)
    assert type(error) is InvalidParametersException
    assert "script" not in error.message


@pytest.mark.parametrize("encoding", ["", "identity", "aws-chunked", "AWS-Chunked, identity"])
async def test_a_source_that_is_stored_as_it_is_is_opened(kind: str, http: HttpClient, encoding: str) -> None:
    answer = reply(200, b"bytes", content_type="text/plain", ETag='"1"', content_encoding=encoding)
    async with Loopback(answer) as server, source(kind, http, server) as file:
        assert (file.mime_type, file.size) == ("text/plain", 5)
        assert bytes(await file.download.read(10) or b"") == b"bytes"


@pytest.mark.parametrize("content_type", ["text/html", "Text/HTML;charset=utf-8"])
async def test_a_page_in_the_place_of_a_source_is_a_failed_dependency(
    kind: str, http: HttpClient, content_type: str
) -> None:
    async with Loopback(reply(200, "<html>Log in", content_type=content_type)) as server:
        with pytest.raises(DependencyException, match="not as an S3 store does"):
            async with source(kind, http, server):
                pass


async def test_a_source_of_unknown_length_is_refused(kind: str, http: HttpClient) -> None:
    error = await refusal(kind, http, ETag='"1"', content_length="")
    assert type(error) is InvalidParametersException
    assert "how long" in error.message
