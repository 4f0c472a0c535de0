"""What `whaul demo` shows: three files go from a simulated WhatsApp into S3, and come back the same."""

import hashlib
import time
from collections.abc import Iterator
from dataclasses import dataclass

from whaul.stack.local import REGION, Stack

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


def clean_up(stack: Stack) -> None:
    """Remove what the demo put into an S3 server that outlives it."""
    s3 = stack.s3_client()
    for media in s3.list_objects_v2(Bucket=stack.bucket, Prefix=PREFIX).get("Contents", []):
        s3.delete_object(Bucket=stack.bucket, Key=media["Key"])
    s3.delete_bucket(Bucket=stack.bucket)


def boto3_lines(stack: Stack, media_id: str) -> str:
    """The boto3 program that fetches a media."""
    return f"""\
import boto3

# Its access key is in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.
client = boto3.client("socialmessaging", region_name="{REGION}", endpoint_url="{stack.gateway_url}")
client.get_whatsapp_message_media(
    mediaId="{media_id}",
    originationPhoneNumberId="{stack.phone_number_id}",
    destinationS3File={{"bucketName": "{stack.bucket}", "key": "{PREFIX}"}},
)"""


def cli_line(stack: Stack, media_id: str) -> str:
    """The same with the AWS CLI."""
    return f"""\
aws --region {REGION} --endpoint-url {stack.gateway_url} \\
    socialmessaging get-whatsapp-message-media \\
    --media-id {media_id} \\
    --origination-phone-number-id {stack.phone_number_id} \\
    --destination-s3-file bucketName={stack.bucket},key={PREFIX}"""
