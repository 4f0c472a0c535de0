"""pywa's download and boto3's upload, in threads, with one pooled client each; as careful as boto3_requests.py."""

import base64
import hashlib
import ssl
import tempfile

import boto3
import httpx
from botocore.config import Config
from pywa import WhatsApp

from race import Job, job, with_threads

SPOOL = 8 * 1024 * 1024
CHUNK = 256 * 1024


def main(asked: Job) -> None:
    """Move files."""
    s3 = boto3.client(
        "s3",
        endpoint_url=asked.url,
        region_name=asked.region,
        aws_access_key_id="bench",
        aws_secret_access_key="bench-secret",
        verify=asked.ca_file,
        config=Config(
            max_pool_connections=asked.concurrency,
            request_checksum_calculation="when_required",  # it is given
            s3={"addressing_style": "path", "payload_signing_enabled": False},
        ),
    )
    limits = httpx.Limits(max_connections=asked.concurrency, max_keepalive_connections=asked.concurrency)
    context = ssl.create_default_context(cafile=asked.ca_file)
    session = httpx.Client(verify=context, limits=limits, timeout=60, trust_env=False)
    whatsapp = WhatsApp(phone_id="106540352242922", token=asked.token, session=session)
    session.base_url = httpx.URL(f"{asked.url}/{asked.graph}")

    def move(media_id: str) -> int:
        media = whatsapp.get_media_url(media_id)
        if asked.metadata_only:
            return media.file_size
        digest = hashlib.sha256()
        with tempfile.SpooledTemporaryFile(max_size=SPOOL, dir=asked.folder) as file:
            for chunk in whatsapp.stream_media(media.url, chunk_size=CHUNK):
                digest.update(chunk)
                file.write(chunk)
            if digest.hexdigest() != media.sha256 or file.tell() != media.file_size:
                raise ValueError("not the file that Meta described")
            file.seek(0)
            s3.put_object(
                Bucket=asked.bucket,
                Key=f"inbound_{media_id}",
                Body=file,
                ContentType=media.mime_type,
                ContentLength=media.file_size,
                ChecksumSHA256=base64.b64encode(digest.digest()).decode(),
            )
        return media.file_size

    with_threads(asked, lambda: move)


if __name__ == "__main__":
    main(job())
