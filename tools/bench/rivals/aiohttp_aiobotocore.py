"""aiohttp and aiobotocore on uvloop: a file streams from one to the other, and its last part waits for the hash."""

import base64
import hashlib
import ssl
from collections.abc import AsyncIterator

import aiohttp
import uvloop
from aiobotocore.config import AioConfig
from aiobotocore.session import get_session

from race import Job, job, with_tasks

SMALL = 1024 * 1024
"""Bytes: up to this size a file is held whole."""
CHUNK = 256 * 1024


class Proven:
    """A file on its way: its last part is given only when the hash is Meta's."""

    def __init__(self, content: aiohttp.StreamReader, sha256: str) -> None:
        self._content = content
        self._sha256 = sha256

    async def read(self, _amount: int = -1) -> bytes:
        """Never called: botocore takes for a stream what has it."""
        raise NotImplementedError

    async def __aiter__(self) -> AsyncIterator[bytes]:
        digest = hashlib.sha256()
        held = b""
        async for chunk in self._content.iter_chunked(CHUNK):
            digest.update(chunk)
            if held:
                yield held
            held = chunk
        if digest.hexdigest() != self._sha256:
            raise ValueError("not the file that Meta described")
        yield held


async def main(asked: Job) -> None:
    """Move files."""
    context = ssl.create_default_context(cafile=asked.ca_file)
    connector = aiohttp.TCPConnector(limit=0, ssl=context)
    headers = {"Authorization": f"Bearer {asked.token}"}
    timeout = aiohttp.ClientTimeout(total=None, sock_read=60)
    config = AioConfig(
        max_pool_connections=asked.concurrency,
        read_timeout=300,
        request_checksum_calculation="when_required",  # it is given
        s3={"addressing_style": "path", "payload_signing_enabled": False},
    )
    client = get_session().create_client(
        "s3",
        endpoint_url=asked.url,
        region_name=asked.region,
        aws_access_key_id="bench",
        aws_secret_access_key="bench-secret",
        verify=asked.ca_file,
        config=config,
    )
    async with (
        aiohttp.ClientSession(connector=connector, headers=headers, timeout=timeout, read_bufsize=CHUNK) as session,
        client as s3,
    ):

        async def move(media_id: str) -> int:
            async with session.get(f"{asked.url}/{asked.graph}/{media_id}") as answer:
                answer.raise_for_status()
                media = await answer.json()
            size = media["file_size"]
            if asked.metadata_only:
                return size
            async with session.get(media["url"]) as download:
                download.raise_for_status()
                if size <= SMALL:
                    body = await download.read()
                    if hashlib.sha256(body).hexdigest() != media["sha256"]:
                        raise ValueError("not the file that Meta described")
                else:
                    body = Proven(download.content, media["sha256"])
                await s3.put_object(
                    Bucket=asked.bucket,
                    Key=f"inbound_{media_id}",
                    Body=body,
                    ContentType=media["mime_type"],
                    ContentLength=size,
                    ChecksumSHA256=base64.b64encode(bytes.fromhex(media["sha256"])).decode(),
                )
            return size

        async def worker():
            return move

        await with_tasks(asked, worker)


if __name__ == "__main__":
    uvloop.run(main(job()))
