"""boto3 and requests as they are often written: a fresh connection for each download, and boto3's defaults."""

import hashlib
import io

import boto3
import requests
from botocore.config import Config

from race import Job, job, with_threads


def main(asked: Job) -> None:
    """Move files."""
    s3 = boto3.client(
        "s3",
        endpoint_url=asked.url,
        region_name=asked.region,
        aws_access_key_id="bench",
        aws_secret_access_key="bench-secret",
        verify=asked.ca_file,
        # Not its default, which is to send checksums in a way that many S3-compatible stores, and ours, do not take.
        config=Config(max_pool_connections=asked.concurrency, request_checksum_calculation="when_required"),
    )
    headers = {"Authorization": f"Bearer {asked.token}"}

    def worker():
        def move(media_id: str) -> int:
            answer = requests.get(
                f"{asked.url}/{asked.graph}/{media_id}", headers=headers, verify=asked.ca_file, timeout=30
            )
            answer.raise_for_status()
            media = answer.json()
            download = requests.get(media["url"], headers=headers, verify=asked.ca_file, timeout=30)
            download.raise_for_status()
            if hashlib.sha256(download.content).hexdigest() != media["sha256"]:
                raise ValueError("not the file that Meta described")
            extra = {"ContentType": media["mime_type"]}
            s3.upload_fileobj(io.BytesIO(download.content), asked.bucket, f"inbound_{media_id}", ExtraArgs=extra)
            return len(download.content)

        return move

    with_threads(asked, worker)


if __name__ == "__main__":
    main(job())
