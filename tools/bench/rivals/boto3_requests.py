"""boto3 and requests in threads, as a careful user would write it.

A session for each thread, so that connections are kept; the file goes to a spooled temporary file while it is hashed,
and to S3 only when it is what Meta says; the hash goes with it, so that S3 checks it too, and boto3 need not.
"""

import base64
import hashlib
import tempfile

import boto3
import requests
from botocore.config import Config

from race import Job, job, with_threads

SPOOL = 8 * 1024 * 1024
"""Bytes that are held in memory before the temporary file becomes a real one: boto3's own idea of a large file."""
CHUNK = 256 * 1024


def main(asked: Job) -> None:
    """Move files."""
    config = Config(
        max_pool_connections=asked.concurrency,
        request_checksum_calculation="when_required",  # it is given
        s3={"addressing_style": "path", "payload_signing_enabled": False},
    )
    s3 = boto3.client(
        "s3",
        endpoint_url=asked.url,
        region_name=asked.region,
        aws_access_key_id="bench",
        aws_secret_access_key="bench-secret",
        verify=asked.ca_file,
        config=config,
    )

    def worker():
        session = requests.Session()
        session.verify = asked.ca_file
        session.trust_env = False  # else it looks for proxies and a .netrc on every call
        session.headers["Authorization"] = f"Bearer {asked.token}"

        def move(media_id: str) -> int:
            answer = session.get(f"{asked.url}/{asked.graph}/{media_id}", timeout=30)
            answer.raise_for_status()
            media = answer.json()
            if asked.metadata_only:
                return media["file_size"]
            digest = hashlib.sha256()
            with tempfile.SpooledTemporaryFile(max_size=SPOOL, dir=asked.folder) as file:
                with session.get(media["url"], stream=True, timeout=30) as download:
                    download.raise_for_status()
                    for chunk in download.iter_content(CHUNK):
                        digest.update(chunk)
                        file.write(chunk)
                if digest.hexdigest() != media["sha256"] or file.tell() != media["file_size"]:
                    raise ValueError("not the file that Meta described")
                file.seek(0)
                s3.put_object(
                    Bucket=asked.bucket,
                    Key=f"inbound_{media_id}",
                    Body=file,
                    ContentType=media["mime_type"],
                    ContentLength=media["file_size"],
                    ChecksumSHA256=base64.b64encode(digest.digest()).decode(),
                )
            return media["file_size"]

        return move

    with_threads(asked, worker)


if __name__ == "__main__":
    main(job())
