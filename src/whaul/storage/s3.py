"""The operator's own S3: one PUT for a file, or one GET, signed by this server.

Credentials, endpoint and profile are found as any AWS tool finds them. Needs `s3:PutObject` on the bucket (and
what the chosen encryption, tags or storage class need), and `s3:GetObject` for uploads to WhatsApp. The PUT names
Meta's hash as its payload hash and, where the store takes one, as its checksum, so that S3 itself refuses any other
bytes.
"""

import base64
import hashlib
import re
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import quote, urlencode, urlsplit

from pyreqwest.http import Url

from whaul.errors import ApiError, DependencyException, InvalidParametersException, Retry
from whaul.model import MediaInfo, S3File
from whaul.outbound.aws_signing import AwsSigner
from whaul.outbound.errors import HttpError
from whaul.outbound.http import Body, HttpClient
from whaul.outbound.response import Response
from whaul.partitions import is_aws_host, is_region, is_s3_host
from whaul.storage import OpenFile, opened
from whaul.storage.credentials import CredentialChain
from whaul.storage.errors import CREDENTIAL_CODES, error_code, is_page, is_stored, s3_error
from whaul.storage.s3_config import S3Config

EXPECTED_OWNER = "x-amz-expected-bucket-owner"
SHA256_METADATA = "x-amz-meta-whaul-sha256"
"""By which an archived object is recognised."""
EMPTY_SHA256 = hashlib.sha256().digest()
MAX_BUCKETS = 1000
"""Buckets of which the URL is remembered."""

_REGION_ELEMENT = re.compile(rb"<Region>([A-Za-z0-9-]{1,63})</Region>")
_REGION_CODES = frozenset(
    {"PermanentRedirect", "TemporaryRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException"}
)


_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
"""What a bucket is called; some older ones have capitals and underscores."""


class ObjectExistsError(Exception):
    """Nothing was stored, since there is an object under the key."""


@dataclass(frozen=True, slots=True)
class StoredFacts:
    """What a store says of an object."""

    etag: str
    """As the store gives it, quotes included; empty when it gives none."""
    size: int | None
    """Bytes."""
    sha256: str | None
    """In hexadecimal, as `SHA256_METADATA` has it."""


@dataclass(frozen=True, slots=True)
class ObjectOptions:
    """What the operator wants for every stored object, as request headers."""

    sse: str | None = None
    sse_kms_key_id: str | None = None
    storage_class: str | None = None
    tagging: str | None = None
    expected_bucket_owner: str | None = None

    def headers(self) -> dict[str, str]:
        """The headers of the options that are set."""
        named = {
            "x-amz-server-side-encryption": self.sse,
            "x-amz-server-side-encryption-aws-kms-key-id": self.sse_kms_key_id,
            "x-amz-storage-class": self.storage_class,
            "x-amz-tagging": self.tagging,
            EXPECTED_OWNER: self.expected_bucket_owner,
        }
        return {name: value for name, value in named.items() if value is not None}


class S3Store:
    """The operator's S3, and the regions of the buckets that were used so far."""

    def __init__(
        self,
        http: HttpClient,
        config: S3Config,
        credentials: CredentialChain,
        *,
        region: str,
        addressing_style: str = "auto",
        options: ObjectOptions | None = None,
    ) -> None:
        self._http = http
        self._config = config
        self.credentials = credentials
        self._region = region
        self._addressing_style = addressing_style
        self._options = (options or ObjectOptions()).headers()
        self._owner = {name: owner for name, owner in self._options.items() if name == EXPECTED_OWNER}
        self._bucket_regions: dict[str, str] = {}
        self._bucket_url = lru_cache(MAX_BUCKETS)(self._make_bucket_url)
        self._signer = AwsSigner()

    @property
    def endpoint(self) -> str:
        """The endpoint's URL in the server's own region."""
        return self._config.endpoint(self._region)

    async def put(self, file: S3File, body: Body, info: MediaInfo, headers: Mapping[str, str] | None = None) -> str:
        """Sign and send one PUT of an object; `file.key` is final. See `storage.Put`.

        With `if-none-match: *` among the further headers, ObjectExistsError says that there is an object already.
        """
        region, url, target = self._located(file)
        headers = self._options | {"content-type": info.mime_type} | dict(headers or {})
        if self._config.sends_checksums:
            headers["x-amz-checksum-sha256"] = base64.b64encode(info.sha256).decode()
        signed = self._signer.sign(await self.credentials.get(), region, url, headers, info.sha256)
        try:
            response = await self._http.send("PUT", target, signed, body, info.file_size)
        except HttpError as error:
            raise DependencyException(f"The PUT to S3 failed: {error}.", retry=error.retry) from error
        if is_stored(response):
            return response.headers.get("etag", "")
        if response.status == 412 and "if-none-match" in headers:
            raise ObjectExistsError
        self._check_region(file.bucket_name, region, response)
        raise self._error(response)

    async def head(self, file: S3File) -> StoredFacts | None:
        """Ask what is known of an object; None if there is none. Raises an `ApiError`."""
        response = await self._ask("HEAD", file)
        if response.status == 404:
            return None
        if response.status != 200:
            raise self._error(response, reads=True)
        length = response.headers.get("content-length", "")
        sha256 = response.headers.get(SHA256_METADATA)
        return StoredFacts(response.headers.get("etag", ""), int(length) if length.isdecimal() else None, sha256)

    async def list(self, bucket: str, query: Mapping[str, str]) -> Response:
        """Send one GET of a bucket, with this query. The response may be an error."""
        return await self._ask("GET", S3File(bucket, ""), query)

    async def delete(self, file: S3File) -> None:
        """Sign and send one DELETE of an object. Raises an `ApiError`."""
        response = await self._ask("DELETE", file)
        if not 200 <= response.status < 300:
            raise self._error(response)

    async def _ask(self, method: str, file: S3File, query: Mapping[str, str] | None = None) -> Response:
        """Sign and send a request without a body. Raises an `ApiError` without a response, or for a wrong region."""
        region, url, target = self._located(file, query)
        signed = self._signer.sign(await self.credentials.get(), region, url, self._owner, EMPTY_SHA256, method=method)
        try:
            response = await self._http.call(method, target, signed, b"")
        except HttpError as error:
            raise DependencyException(f"The {method} to S3 failed: {error}.", retry=error.retry) from error
        self._check_region(file.bucket_name, region, response)
        return response

    @asynccontextmanager
    async def open(self, file: S3File) -> AsyncGenerator[OpenFile]:
        """Sign and send one GET of an object. See `storage.Open`."""
        region, url, target = self._located(file)
        signed = self._signer.sign(await self.credentials.get(), region, url, self._owner, EMPTY_SHA256, method="GET")
        try:
            async with self._http.download(target, signed | {"accept-encoding": "identity"}) as download:
                if download.status != 200 or is_page(download):
                    response = await download.response()
                    self._check_region(file.bucket_name, region, response)
                    raise self._error(response, reads=True)
                yield opened(download.header("content-type"), download)
        except HttpError as error:
            raise DependencyException(f"The GET from S3 failed: {error}.", retry=error.retry) from error

    def _error(self, response: Response, *, reads: bool = False) -> ApiError:
        if error_code(response) in CREDENTIAL_CODES:
            self.credentials.refused()
        return s3_error(response, reads=reads)

    def _located(self, file: S3File, query: Mapping[str, str] | None = None) -> tuple[str, str, Url]:
        """Return the object's region, and its URL as text to sign and as the client's own type."""
        region = self._bucket_regions.get(file.bucket_name, self._region)
        url = self.url(file, region)
        if query:
            url = f"{url}?{urlencode(query, quote_via=quote, safe='')}"
        try:
            target = Url(url)
            return region, str(target), target  # signed as it is sent: the host in lower case, no default port
        except ValueError:
            raise InvalidParametersException("The bucket's name cannot be part of a URL.") from None

    def _check_region(self, bucket: str, region: str, response: Response) -> None:
        """If S3 names another region for the bucket, remember it, and raise the error that lets the call try there."""
        other = other_region(response)
        if other is None or other == region:
            return
        self._bucket_regions[bucket] = other
        raise InvalidParametersException(
            f"The bucket is in the region {other}; set AWS_REGION to it.", retry=Retry.ONCE
        )

    def url(self, file: S3File, region: str) -> str:
        """The object's URL; every byte of the key that is not unreserved is percent-encoded."""
        return self._bucket_url(file.bucket_name, region) + quote(file.key, safe="/~")

    def _make_bucket_url(self, bucket: str, region: str) -> str:
        if not _BUCKET.fullmatch(bucket):  # it would name another host, or another bucket
            raise InvalidParametersException("The bucket's name cannot be part of a URL.")
        endpoint = urlsplit(self._config.endpoint(region))
        if self._is_virtual_hosted(bucket, endpoint.hostname or ""):
            return f"{endpoint.scheme}://{bucket}.{endpoint.netloc}{endpoint.path}/"
        return f"{endpoint.scheme}://{endpoint.netloc}{endpoint.path}/{bucket}/"

    def _is_virtual_hosted(self, bucket: str, host: str) -> bool:
        if self._addressing_style == "auto":
            # A dot in the bucket's name would not fit AWS's wildcard certificate, and a host name has no capitals.
            return "." not in bucket and bucket == bucket.lower() and is_aws_host(host) and is_s3_host(host)
        return self._addressing_style == "virtual"


def other_region(response: Response) -> str | None:
    """The region that S3 names for the bucket, if it refused because of the region."""
    says_nothing = response.status == 400 and not response.body  # so it answers a HEAD
    if error_code(response) not in _REGION_CODES and response.status not in {301, 307} and not says_nothing:
        return None
    match = _REGION_ELEMENT.search(response.body)
    named = (response.headers.get("x-amz-bucket-region", ""), match[1].decode() if match else "")
    return next((region for region in named if is_region(region)), None)  # it becomes part of a host name
