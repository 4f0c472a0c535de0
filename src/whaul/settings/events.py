"""Meta's webhooks, and how long what they become is kept, tried and waited for."""

from datetime import timedelta

from pydantic import Field, ValidationInfo, field_validator

from whaul import setting_types as types
from whaul.settings.group import SettingGroup


class Events(SettingGroup):
    """Meta's webhooks, and how long what they become is kept, tried and waited for."""

    webhook_port: int | None = Field(
        None,
        ge=0,
        le=65535,
        description="Port of a listener for Meta's webhooks alone, so that the Internet never sees the API. Unset: "
        "webhooks come to the API's listener.",
        examples=["8081"],
    )
    webhook_host: str | None = Field(
        None,
        min_length=1,
        description="Address to listen on for webhooks, with `WHAUL_WEBHOOK_PORT`. Unset: `WHAUL_HOST`.",
        examples=["192.0.2.10"],
    )
    app_secrets: types.AppSecrets = Field(
        {},
        description="App secrets that Meta's webhooks are signed with, in addition to those of linked accounts: `app "
        "id=secret`, separated by commas. They are good for every account. During a rotation an app has several, the "
        "newest first.",
        examples=["1234567890=0123456789abcdef0123456789abcdef"],
    )
    webhook_verify_tokens: types.SecretWords = Field(
        (),
        description="Verify tokens, separated by commas, that are accepted from Meta in addition to whaul's own.",
        examples=["a-word-that-nobody-guesses"],
    )
    webhook_retention: types.Duration = Field(
        timedelta(days=7),
        ge=timedelta(minutes=1),
        le=timedelta(days=3650),
        description="How long the bodies of webhooks are kept as they came.",
        examples=["48h"],
    )
    event_retention: types.Duration = Field(
        timedelta(days=30),
        ge=timedelta(minutes=1),
        le=timedelta(days=3650),
        description="How long events can be listed, shown and replayed. What still waits for a destination or a "
        "file, and dead letters, stay longer.",
        examples=["90d"],
    )
    delivery_period: types.Duration = Field(
        timedelta(hours=72),
        ge=timedelta(seconds=1),
        le=timedelta(days=30),
        description="How long an event is tried to be delivered, from its first attempt; then it is a dead letter.",
        examples=["24h"],
    )
    event_hosts: types.Hosts = Field(
        (),
        description="Hosts that events may be sent to by plain `http`, or at private addresses. Public hosts need "
        "not be listed. Written as `WHAUL_PRESIGNED_HOSTS`.",
        examples=["localhost:9000,*.internal.example.com"],
    )
    events_aws_profile: str | None = Field(
        None,
        min_length=1,
        description="AWS profile for SNS, SQS and EventBridge, when the server's own credentials are those of another "
        "S3 server.",
        examples=["events"],
    )
    max_backlog: int = Field(
        1_000_000,
        ge=4,
        le=1_000_000_000,
        description="Events that may wait for a destination or a file. At the limit Meta is answered 503, and sends "
        "again later. One destination, or one account's files, may hold a quarter.",
    )
    max_backlog_bytes: types.Size = Field(
        64 * 1024**3,
        ge=1024**2,
        description="The same in bytes of content; units are KiB, MiB, GiB and TiB.",
        examples=["512MiB"],
    )
    archive_concurrency: int | None = Field(
        None,
        ge=1,
        le=10_000,
        description="Files that are archived at once, per worker. Unset: a third of `WHAUL_MAX_TRANSFERS`, at least 1.",
    )

    @field_validator("webhook_port")
    @classmethod
    def _another_port_than_the_api(cls, value: int | None, info: ValidationInfo) -> int | None:
        if value and value == info.data.get("port"):
            raise ValueError("the API listens on this port; leave it unset to take webhooks there, too")
        return value

    @field_validator("webhook_host")
    @classmethod
    def _only_with_a_port(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is not None and "webhook_port" in info.data and info.data["webhook_port"] is None:
            raise ValueError("only with WHAUL_WEBHOOK_PORT")
        return value
