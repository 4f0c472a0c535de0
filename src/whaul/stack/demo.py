"""What `whaul demo` shows: three files go from a simulated WhatsApp into S3, and come back the same."""

import hashlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from whaul.stack.local import Stack

PREFIX = "inbound_"
KINDS = {"image/jpeg": "photo", "audio/ogg; codecs=opus": "voice note", "application/pdf": "document"}


@dataclass(frozen=True, slots=True)
class Fetched:
    """One file that was fetched, stored and read back."""

    media_id: str
    kind: str
    mime_type: str
    key: str
    size: int
    sent_sha256: str
    stored_sha256: str
    seconds: float

    @property
    def is_same(self) -> bool:
        """Whether what is in S3 is what was sent."""
        return self.sent_sha256 == self.stored_sha256


def fetch_all(stack: Stack) -> Iterator[Fetched]:
    """Fetch each media of the simulator with boto3 through the gateway, and read it back from S3."""
    client, s3 = stack.client(), stack.s3_client()
    _warm_up(stack, s3)
    for media in stack.simulator.media.values():
        started = time.monotonic()
        answer = client.get_whatsapp_message_media(
            mediaId=media.id,
            originationPhoneNumberId=stack.phone_number_id,
            destinationS3File={"bucketName": stack.bucket, "key": PREFIX},
        )
        seconds = time.monotonic() - started
        key = answer["ResponseMetadata"]["HTTPHeaders"]["x-whaul-key"]
        stored = s3.get_object(Bucket=stack.bucket, Key=key)["Body"].read()
        yield Fetched(
            media_id=media.id,
            kind=KINDS.get(answer["mimeType"], "file"),
            mime_type=answer["mimeType"],
            key=key,
            size=answer["fileSize"],
            sent_sha256=media.sha256().hex(),
            stored_sha256=hashlib.sha256(stored).hexdigest(),
            seconds=seconds,
        )


def _warm_up(stack: Stack, s3: Any) -> None:
    """Have SeaweedFS make the volumes of the bucket, which takes longer than the first file does."""
    s3.put_object(Bucket=stack.bucket, Key=PREFIX, Body=b"warm up")
    s3.delete_object(Bucket=stack.bucket, Key=PREFIX)


def clean_up(stack: Stack) -> None:
    """Remove what the demo put into an S3 server that outlives it."""
    s3 = stack.s3_client()
    for media in s3.list_objects_v2(Bucket=stack.bucket, Prefix=PREFIX).get("Contents", []):
        s3.delete_object(Bucket=stack.bucket, Key=media["Key"])
    s3.delete_bucket(Bucket=stack.bucket)


def boto3_lines(stack: Stack, media_id: str) -> str:
    """The boto3 program that fetches a media; `whaul dev` gives it endpoint, region and access key."""
    return f"""\
import boto3

client = boto3.client("socialmessaging")
client.get_whatsapp_message_media(
    mediaId="{media_id}",
    originationPhoneNumberId="{stack.phone_number_id}",
    destinationS3File={{"bucketName": "{stack.bucket}", "key": "{PREFIX}"}},
)"""


def cli_line(stack: Stack, media_id: str) -> str:
    """The same with the AWS CLI."""
    return f"""\
aws socialmessaging get-whatsapp-message-media \\
    --media-id {media_id} \\
    --origination-phone-number-id {stack.phone_number_id} \\
    --destination-s3-file bucketName={stack.bucket},key={PREFIX}"""
