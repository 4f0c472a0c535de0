"""Every setting: its environment name, default, meaning and check.

Settings come from the environment, secrets also from a file named by `<NAME>_FILE` or a credential of systemd's. All
of them are checked together at start, so that one message names every bad variable. S3 credentials, endpoint and
profiles are not here: botocore finds them as any AWS tool does.
"""

import os
from datetime import timedelta
from typing import Any, Literal, Self
from urllib.parse import urlencode

from pydantic import AliasChoices, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from whaul import __version__
from whaul import setting_rules as rules
from whaul import setting_types as types
from whaul.environment import PREFIX, Pairs, environment_name, is_link, problem, secret_files, unknown_names
from whaul.terminal import visible

MAX_SINGLE_PUT = 5 * 1024**3
"""Bytes. https://docs.aws.amazon.com/AmazonS3/latest/userguide/upload-objects.html"""


class SettingsError(Exception):
    """One or more settings cannot be used; the message names every one of them."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        noun = "setting" if len(problems) == 1 else "settings"
        lines = "\n".join(f"  {visible(problem)}" for problem in problems)
        super().__init__(f"{len(problems)} {noun} cannot be used:\n{lines}")


class Settings(BaseSettings):
    """The settings of one process; see each field's description."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_ignore_empty=True,
        str_strip_whitespace=True,
        frozen=True,
        extra="forbid",
        populate_by_name=True,
        validate_default=True,
    )

    host: str = Field(
        "127.0.0.1",
        min_length=1,
        description="Address to listen on, or a name of this machine, which is resolved at the start (IPv4 before "
        "IPv6). `0.0.0.0`: all IPv4 addresses; `::`: all addresses.",
    )
    port: int = Field(8080, ge=0, le=65535, description="Port to listen on.")
    workers: int = Field(1, ge=1, le=256, description="Worker processes.")
    database_url: types.DatabaseUrl = Field(
        default_factory=types.default_database,
        description="The database with the linked accounts and access keys.",
        examples=[
            "sqlite:////var/lib/whaul/whaul.db",
            "postgresql://user:password@host:5432/database?sslmode=verify-full",
        ],
    )
    secret_key: SecretStr | None = Field(
        None,
        description="Encrypts tokens and secret keys at rest: 32 random bytes in URL-safe base64 (a Fernet key). "
        "Several, comma-separated: the first encrypts, all decrypt. If unset, one is made on first use and kept "
        "in a file (mode 0600) beside the SQLite database. Required with PostgreSQL.",
    )
    root_access_key_id: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9_]{3,128}$",
        description="Id of an access key that may do everything, for first set-up in containers; never stored.",
    )
    root_secret_access_key: types.RootSecret | None = Field(
        None, description="Secret of the root access key; set both or neither."
    )
    account_id: str = Field(
        "000000000000", pattern=r"^[0-9]{12}$", description="The account number in ARNs.", examples=["111122223333"]
    )
    region: types.Region = Field(
        "us-east-1",
        validation_alias=AliasChoices("AWS_REGION", "AWS_DEFAULT_REGION"),
        description="Region in ARNs, in the scope of signatures, and for S3: AWS's, or the name that another S3 server "
        "uses. `AWS_DEFAULT_REGION` is read when it is unset. The region of an AWS profile is not used, since ARNs and "
        "signatures must not depend on whose shared files a command finds; `whaul doctor` warns of one that differs.",
        examples=["eu-west-1", "auto"],
    )
    s3_addressing_style: Literal["auto", "path", "virtual"] = Field(
        "auto",
        description="How a bucket is named in URLs. `auto`: virtual-hosted at AWS, path-style at other endpoints.",
    )
    s3_sse: Literal["AES256", "aws:kms"] | None = Field(None, description="Server-side encryption of stored objects.")
    s3_sse_kms_key_id: types.HeaderText | None = Field(
        None, description="KMS key, with `WHAUL_S3_SSE=aws:kms`.", examples=["alias/whatsapp-media"]
    )
    s3_storage_class: str | None = Field(
        None, pattern=r"^[A-Z0-9_]+$", description="Storage class of stored objects.", examples=["STANDARD_IA"]
    )
    s3_tags: Pairs = Field(
        {},
        max_length=10,
        description="Tags of stored objects: `name=value`, separated by commas.",
        examples=["source=whatsapp,team=support"],
    )
    s3_expected_bucket_owner: str | None = Field(
        None,
        pattern=r"^[0-9]{12}$",
        description="Account that must own the bucket; otherwise S3 refuses the file.",
        examples=["111122223333"],
    )
    presigned_hosts: types.Hosts = Field(
        (),
        description="Hosts that presigned URLs may name, in addition to AWS's S3 endpoints and the configured one. "
        "Separated by commas; `*.` stands for every subdomain; a port other than the usual one is part of the host.",
        examples=["minio.example.com:9000,*.storage.example.com"],
    )
    graph_url: types.GraphUrl = Field(
        "https://graph.facebook.com",
        description="Address of the Graph API; `https`, or a loopback host.",
        examples=["http://127.0.0.1:9090"],
    )
    graph_version: str = Field("v25.0", pattern=r"^v[0-9]+\.[0-9]+$", description="Graph API version.")
    graph_user_agent: types.HeaderText = Field(
        f"whaul/{__version__}",
        description="User-Agent of every call to Meta; without one some downloads fail.",
    )
    media_hosts: types.Hosts = Field(
        ("lookaside.fbsbx.com", "*.fbcdn.net", "*.whatsapp.net"),
        description="Hosts that may be sent the token for a download; `https` only, except loopback hosts "
        "named here. Written as `WHAUL_PRESIGNED_HOSTS`; a value replaces the default.",
        examples=["127.0.0.1"],
    )
    key_mode: Literal["prefix", "exact"] = Field(
        "prefix",
        description="`prefix`: the object's key is `key` + media id + extension, as at AWS; `exact`: it is `key`, "
        "as the caller wrote it.",
    )
    extensions: types.Extensions = Field(
        {},
        description="File extensions for MIME types, in place of the usual ones or in addition: `mime/type=.ext`, "
        "separated by commas.",
        examples=["image/jpeg=.jpg,application/x-example=.example"],
    )
    max_file_size: int = Field(
        104_857_600,
        ge=1,
        le=MAX_SINGLE_PUT,
        description="Bytes; a larger file is refused before it is fetched.",
    )
    deadline: float = Field(55.0, gt=0, le=3600, description="Seconds for one call; below the SDKs' 60 s read timeout.")
    max_transfers: int = Field(64, ge=1, le=10_000, description="Transfers at once, per worker.")
    max_queue: int = Field(
        256, ge=0, le=100_000, description="Calls that may wait for a transfer; further calls are throttled."
    )
    rate_limit: float = Field(
        0.0,
        ge=0,
        le=1_000_000,
        description="Calls per second for each access key without a limit of its own, per worker; 0 is off.",
    )
    rate_burst: int | None = Field(
        None,
        ge=1,
        le=1_000_000,
        description="Calls that an access key may make at once after a pause, under `WHAUL_RATE_LIMIT`. Unset: "
        "one second's worth, at least 1.",
    )
    idle_timeout: float = Field(
        75.0,
        ge=1,
        le=3600,
        description="Seconds that a connection may be idle between requests. Set it longer than a load balancer in "
        "front keeps idle connections; otherwise a call may meet one that is being closed.",
    )
    shutdown_notice: float = Field(
        15.0,
        ge=0,
        le=600,
        description="Seconds from SIGTERM until the server stops listening, in which it serves on and `/readyz` "
        "answers 503. Set it longer than a load balancer takes to turn away: the period of its probe times the "
        "failures that it waits for. 0 stops at once.",
    )
    tls_cert_file: types.ReadableFile | None = Field(
        None, description="Certificate chain (PEM), to serve TLS directly."
    )
    tls_key_file: types.ReadableFile | None = Field(
        None, description="Private key (PEM, not encrypted) of that certificate."
    )
    trusted_proxies: types.Networks = Field(
        (),
        description="Addresses or networks of proxies whose `X-Forwarded-For` is believed, in logs and the audit log; "
        "separated by commas.",
        examples=["127.0.0.1,10.0.0.0/8"],
    )
    auth: Literal["sigv4", "none"] = Field(
        "sigv4",
        description="`none` lets in every program on this machine, but no page in its browser; accepted only on a "
        "loopback listener.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Lowest level that is logged. The lines about start and stop are there at every level."
    )
    log_format: Literal["auto", "json", "console"] = Field(
        "auto", description="`auto`: readable on a terminal, JSON otherwise."
    )
    audit_log: str | None = Field(
        None,
        min_length=1,
        description="File that gets one JSON line for each API call; `-` for standard output. Unset: none.",
        examples=["/var/log/whaul/audit.log"],
    )
    audit_log_max_size: int = Field(
        104_857_600, ge=16_384, description="Bytes; the audit log's file is rotated before it grows larger."
    )
    audit_log_files: int = Field(5, ge=1, le=1000, description="Rotated files of the audit log that are kept.")
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
    console_listen: types.ListenAddress = Field(
        "127.0.0.1:8082",
        description="Where `whaul console` listens: an address, or a name of this machine, and a port. On another "
        "address than loopback it needs `WHAUL_TLS_CERT_FILE`, or a proxy named in `WHAUL_TRUSTED_PROXIES` that "
        "speaks TLS.",
        examples=["0.0.0.0:8082"],
    )
    console_hosts: types.HostNames = Field(
        (),
        description="Names by which browsers may call the console, besides those of this machine itself; separated by "
        "commas. Set the one that your users type, or that your proxy passes on.",
        examples=["whaul.internal.example.com"],
    )
    console_servers: types.ServerUrls = Field(
        (),
        description="Servers whose metrics the console shows, separated by commas; each address of a name is one. "
        "Unset: the server at `WHAUL_PORT` of this machine.",
        examples=["http://whaul-1:8080,http://whaul-2:8080"],
    )

    oidc_issuer: types.Issuer | None = Field(
        None,
        description="The provider by which people sign in to the console, with OpenID Connect: its issuer, exactly as "
        "it calls itself. `https`, or a loopback host. Set `WHAUL_OIDC_CLIENT_ID` and `WHAUL_OIDC_ACCESS_KEYS`, too.",
        examples=["https://login.example.com/realms/staff"],
    )
    oidc_client_id: types.HeaderText | None = Field(
        None, description="The id under which the provider knows the console.", examples=["whaul"]
    )
    oidc_client_secret: types.SecretWord | None = Field(
        None, description="The secret that goes with it. Unset for a public client; PKCE is used in any case."
    )
    oidc_scopes: types.Scopes = Field(
        ("openid", "email"),
        description="What the provider is asked for, separated by commas; `openid` always. Some providers want "
        "`groups` among them.",
        examples=["openid,email,groups"],
    )
    oidc_groups_claim: str = Field(
        "groups",
        min_length=1,
        description="The claim that has a person's groups. A dot leads into a claim: `realm_access.roles`. With "
        "`email` each person is a group of their own, if the provider has verified the address.",
        examples=["roles"],
    )
    oidc_access_keys: types.GroupKeys = Field(
        {},
        description="Which access key a group signs in as: `group=access key`, separated by commas; a name or an id. "
        "Of several groups the first in this order counts. Whoever is in none cannot sign in.",
        examples=["whatsapp-admins=operator,support=reader"],
    )
    oidc_name: str = Field(
        "single sign-on", max_length=60, description="What the page calls the provider: *Sign in with …*."
    )
    oidc_session: types.Duration = Field(
        timedelta(hours=8),
        ge=timedelta(minutes=1),
        le=timedelta(hours=8),
        description="How long a session lasts that began at the provider, who may have locked somebody out meanwhile.",
        examples=["1h"],
    )

    @property
    def archive_slots(self) -> int:
        """How many files are archived at once."""
        return self.archive_concurrency or max(1, self.max_transfers // 3)

    @property
    def s3_tagging(self) -> str | None:
        """The tags as S3's `x-amz-tagging` header wants them."""
        return urlencode(self.s3_tags) or None

    _pairs = field_validator(*rules.PARTNERS)(rules.both_or_neither)
    _kms_key = field_validator("s3_sse_kms_key_id")(rules.kms_key_needs_kms)
    _auth = field_validator("auth")(rules.open_only_on_loopback)
    _webhook_host = field_validator("webhook_host")(rules.needs_a_port)
    _webhook_port = field_validator("webhook_port")(rules.is_another_port)
    _secret_key = field_validator("secret_key")(rules.usable_key)

    @classmethod
    def load(cls, **overrides: Any) -> Self:
        """Read and check everything; `overrides` (command line options) win where they are not None.

        Raises `SettingsError` that names everything that cannot be used as it was given, and what was expected.
        """
        secrets, problems = secret_files(cls.model_fields)
        problems = unknown_names(cls.model_fields) + problems
        given = {name: value for name, value in overrides.items() if value is not None}
        options = frozenset(given)
        for name in ("port", "webhook_port"):
            if is_link(environment_name(name), os.environ.get(environment_name(name), "")):
                given.setdefault(name, cls.model_fields[name].default)
        try:
            settings = cls(**secrets | given)
        except ValidationError as error:
            raise SettingsError(
                problems + [problem(cls.model_fields, detail, options) for detail in error.errors()]
            ) from None
        if problems:
            raise SettingsError(problems)
        return settings
