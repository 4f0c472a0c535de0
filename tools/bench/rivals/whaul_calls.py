"""Calls whaul as an AWS SDK would, at little cost: the load generator, whose own CPU is not counted.

It signs every request (Signature Version 4, with the headers that boto3 signs) and reads the answer from a keep-alive
connection; it runs in whaul's own environment, for uvloop.
"""

import asyncio
import hashlib
import hmac
import itertools
import json
import time

import uvloop

from race import Job, job, with_tasks

PATH = "/v1/whatsapp/media/get"
SIGNED = "content-type;host;x-amz-date"


class Signer:
    """Signs requests of one access key on one day."""

    def __init__(self, host: str, key_id: str, secret: str, region: str) -> None:
        self._host = host
        self._day = time.strftime("%Y%m%d", time.gmtime())
        self._scope = f"{self._day}/{region}/social-messaging/aws4_request"
        self._credential = f"{key_id}/{self._scope}"
        key = f"AWS4{secret}".encode()
        for part in (self._day, region, "social-messaging", "aws4_request"):
            key = hmac.digest(key, part.encode(), "sha256")
        self._key = key

    def request(self, body: bytes) -> bytes:
        """The whole request."""
        now = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        headers = f"content-type:application/json\nhost:{self._host}\nx-amz-date:{now}\n"
        canonical = f"POST\n{PATH}\n\n{headers}\n{SIGNED}\n{hashlib.sha256(body).hexdigest()}"
        text = f"AWS4-HMAC-SHA256\n{now}\n{self._scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
        signature = hmac.digest(self._key, text.encode(), "sha256").hex()
        head = (
            f"POST {PATH} HTTP/1.1\r\nHost: {self._host}\r\nAccept-Encoding: identity\r\n"
            "Content-Type: application/json\r\nUser-Agent: Boto3/1.44.8 md/Botocore#1.44.8 ua/2.1 os/linux "
            "lang/python#3.11.7 md/pyimpl#CPython cfg/retry-mode#standard Botocore/1.44.8\r\n"
            f"X-Amz-Date: {now}\r\nAuthorization: AWS4-HMAC-SHA256 Credential={self._credential}, "
            f"SignedHeaders={SIGNED}, Signature={signature}\r\n"
            "amz-sdk-invocation-id: 9a6779df-0273-4789-b5a3-080c35577f2b\r\namz-sdk-request: attempt=1; max=3\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body


class Connection(asyncio.Protocol):
    """One keep-alive connection, one call at a time."""

    def __init__(self) -> None:
        self._data = b""
        self._waiter: asyncio.Future[bytes] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self._data += data
        end = self._data.find(b"\r\n\r\n")
        if end < 0:
            return
        head = self._data[:end].lower()
        length = int(head.partition(b"\r\ncontent-length:")[2].partition(b"\r\n")[0])
        if len(self._data) < end + 4 + length or self._waiter is None:
            return
        answer, self._data = self._data, b""
        waiter, self._waiter = self._waiter, None
        waiter.set_result(answer)

    def connection_lost(self, error: Exception | None) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(error or ConnectionError("whaul closed the connection"))

    async def call(self, request: bytes) -> bytes:
        """Send a request; return the answer's body. Raises when the status is not 200."""
        self._waiter = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        answer = await self._waiter
        head, _, body = answer.partition(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200"):
            status = head.partition(b"\r\n")[0].decode()
            raise ValueError(f"{status}: {body.decode(errors='replace')[:300]}")
        return body


async def main(asked: Job) -> None:
    """Call."""
    options = asked.options or {}
    hosts = itertools.cycle(options["hosts"])
    loop = asyncio.get_running_loop()

    async def worker():
        served_by = next(hosts)
        host, _, port = served_by.partition(":")
        signer = Signer(served_by, options["key_id"], options["secret"], asked.region)
        _, connection = await loop.create_connection(Connection, host, int(port))

        async def move(media_id: str) -> int:
            request: dict[str, object] = {
                "mediaId": media_id,
                "originationPhoneNumberId": options["phone_number_id"],
            }
            if asked.metadata_only:
                request["metadataOnly"] = True
            else:
                request["destinationS3File"] = {"bucketName": asked.bucket, "key": "inbound_"}
            answer = await connection.call(signer.request(json.dumps(request).encode()))
            return json.loads(answer)["fileSize"]

        return move

    await with_tasks(asked, worker)


if __name__ == "__main__":
    uvloop.run(main(job()))
