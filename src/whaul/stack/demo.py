"""What `whaul demo` shows: files go from a simulated WhatsApp into S3, and come back the same; an event is delivered.

The event goes to an HTTP endpoint of our own, since a queue would need another server, which takes longer to start than
all of this takes.
"""

import hashlib
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

from whaul.stack.customer import send_events_to
from whaul.stack.local import HOST, Stack
from whaul.stack.processes import StackError

PREFIX = "inbound_"
PATIENCE = 30.0
"""Seconds that an event may take."""
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


@dataclass(frozen=True, slots=True)
class Delivered:
    """An event, as it came to the endpoint."""

    message_id: str
    size: int
    at: float
    """By the monotonic clock."""


class Endpoint:
    """A program of the business: it takes events by HTTP."""

    def __init__(self) -> None:
        self.url = ""
        self._delivered: dict[str, Delivered] = {}
        self._changed = threading.Condition()

    def take(self, body: bytes) -> None:
        """Keep what came."""
        found = Delivered(json.loads(body)["messageId"], len(body), time.monotonic())
        with self._changed:
            self._delivered[found.message_id] = found
            self._changed.notify_all()

    def wait(self, message_id: str) -> Delivered:
        """Wait for an event. Raises `StackError`."""
        with self._changed:
            if not self._changed.wait_for(lambda: message_id in self._delivered, PATIENCE):
                raise StackError(f"The event was not delivered within {PATIENCE:.0f} s.")
            return self._delivered[message_id]


@contextmanager
def endpoint(stack: Stack) -> Iterator[Endpoint]:
    """Take the account's events while the block runs."""
    found = Endpoint()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            found.take(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Say nothing: the demo does."""

    with HTTPServer((HOST, 0), Handler) as server:
        found.url = f"http://{HOST}:{server.server_port}/events"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            send_events_to(found.url, "demo", stack.account_id, stack.installation)
            yield found
        finally:
            server.shutdown()
            thread.join()


@dataclass(frozen=True, slots=True)
class VoiceNote:
    """What became of a customer's message."""

    event: Delivered
    event_seconds: float
    """From the customer to the endpoint."""
    file: Fetched


def voice_note(stack: Stack, to: Endpoint) -> VoiceNote:
    """Let a customer send a voice note, and read back the file that nobody asked for. Raises `StackError`."""
    media = next(media for media in stack.simulator.media.values() if media.mime_type.startswith("audio/"))
    sent = time.monotonic()
    received = stack.receive(media.id)
    seconds = time.monotonic() - sent
    event = to.wait(received.event_id)
    [file] = received.files
    if file.state != "stored":
        raise StackError(f"The voice note was not archived: {file.error}.")
    stored = stack.s3_client().get_object(Bucket=file.bucket, Key=file.key)["Body"].read()
    archived = Fetched(
        media_id=media.id,
        kind=KINDS[media.mime_type],
        mime_type=media.mime_type,
        key=file.key,
        size=len(stored),
        sent_sha256=media.sha256().hex(),
        stored_sha256=hashlib.sha256(stored).hexdigest(),
        seconds=seconds,
    )
    return VoiceNote(event, event.at - sent, archived)


def clean_up(stack: Stack) -> None:
    """Remove the demo's bucket from an S3 server that outlives it."""
    s3 = stack.s3_client()
    for media in s3.list_objects_v2(Bucket=stack.bucket).get("Contents", []):
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
