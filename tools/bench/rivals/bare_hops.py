"""The hops alone: description, file and PUT over warm connections, by the least that can do it; nothing is checked.

Its latency is what the latency of the others is compared with.
"""

import asyncio
import json
import ssl
from urllib.parse import urlsplit

import uvloop

from race import Job, job, with_tasks

CHUNK = 256 * 1024


async def main(asked: Job) -> None:
    """Move files."""
    context = ssl.create_default_context(cafile=asked.ca_file)
    site = urlsplit(asked.url)

    async def connect() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection(site.hostname, site.port, ssl=context, limit=2 * CHUNK)

    async def head(reader: asyncio.StreamReader) -> int:
        text = await reader.readuntil(b"\r\n\r\n")
        if not text.startswith(b"HTTP/1.1 200"):
            raise ValueError(text.split(b"\r\n")[0].decode())
        return int(text.lower().partition(b"\r\ncontent-length:")[2].partition(b"\r\n")[0])

    async def worker():
        source, source_in = await connect()
        sink, sink_in = await connect()
        common = f" HTTP/1.1\r\nHost: {site.netloc}\r\n"
        bearer = f"Authorization: Bearer {asked.token}\r\n\r\n"

        async def move(media_id: str) -> int:
            source_in.write(f"GET /{asked.graph}/{media_id}{common}{bearer}".encode())
            media = json.loads(await source.readexactly(await head(source)))
            if asked.metadata_only:
                return media["file_size"]
            source_in.write(f"GET {media['url'].removeprefix(asked.url)}{common}{bearer}".encode())
            left = size = await head(source)
            sink_in.write(f"PUT /{asked.bucket}/inbound_{media_id}{common}Content-Length: {size}\r\n\r\n".encode())
            while left:
                data = await source.read(CHUNK)
                if not data:
                    raise ValueError("the download broke")
                left -= len(data)
                sink_in.write(data)
                await sink_in.drain()
            await sink.readexactly(await head(sink))
            return size

        return move

    await with_tasks(asked, worker)


if __name__ == "__main__":
    uvloop.run(main(job()))
