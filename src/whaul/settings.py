"""Every setting: its environment name, default, meaning and check.

Settings come from the environment, secrets also from a file named by `<NAME>_FILE`. All of them are checked
together at start, so that one message names every bad variable. S3 credentials, endpoint and profiles are not
here: botocore finds them as any AWS tool does.
"""

import ipaddress
import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlencode

from pydantic import (
    AfterValidator,
    AliasChoices,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_settings import BaseSettings, SettingsConfigDict

from whaul import __version__
from whaul.database_url import check_database_url, is_postgresql
from whaul.environment import (
    PREFIX,
    Commas,
    Pairs,
    environment_name,
    is_link,
    problem,
    secret_files,
    unknown_names,
)
from whaul.folders import data_folder
from whaul.outbound.netguard import ForbiddenUrlError, HostPattern, endpoint_url, is_loopback
from whaul.partitions import is_region
from whaul.secrets import HOW_TO_MAKE_A_KEY, Cipher, secret_word, trimmed
from whaul.terminal import visible

MIN_ROOT_SECRET = 16
"""Characters."""
MAX_SINGLE_PUT = 5 * 1024**3
"""Bytes. https://docs.aws.amazon.com/AmazonS3/latest/userguide/upload-objects.html"""


class SettingsError(Exception):
    """One or more settings cannot be used; the message names every one of them."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        noun = "setting" if len(problems) == 1 else "settings"
        lines = "\n".join(f"  {visible(problem)}" for problem in problems)
        super().__init__(f"{len(problems)} {noun} cannot be used:\n{lines}")


def _default_database() -> SecretStr:
    """Name a file in the data directory; nothing for a user without a home folder, as containers may have one."""
    try:
        return SecretStr(f"sqlite:///{data_folder() / 'whaul.db'}")
    except RuntimeError:
        return SecretStr("")


def _extension_table(table: dict[str, str]) -> dict[str, str]:
    for mime_type, extension in table.items():
        if not re.fullmatch(r"[\w.+-]+/[\w.+-]+", mime_type):
            raise ValueError(f"{mime_type!r} is not a MIME type; expected for example image/jpeg=.jpg")
        if not re.fullmatch(r"(\.[A-Za-z0-9._-]+)?", extension):
            raise ValueError(f"{extension!r} is not a file extension; expected for example image/jpeg=.jpg")
    return {mime_type.lower(): extension for mime_type, extension in table.items()}


def _host_patterns(texts: tuple[str, ...]) -> tuple[str, ...]:
    for text in texts:
        HostPattern.parse(text)
    return texts


def _header_text(value: str) -> str:
    if not re.fullmatch(r"[\x21-\x7e]+( [\x21-\x7e]+)*", value):
        raise ValueError("expected printable ASCII")
    return value


Hosts = Annotated[Commas, AfterValidator(_host_patterns)]
HeaderText = Annotated[str, AfterValidator(_header_text)]


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
    database_url: SecretStr = Field(
        default_factory=_default_database,
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
        pattern=r"^\w{3,128}$",
        description="Id of an access key that may do everything, for first set-up in containers; never stored.",
    )
    root_secret_access_key: SecretStr | None = Field(
        None, description="Secret of the root access key; set both or neither."
    )
    account_id: str = Field(
        "000000000000", pattern=r"^\d{12}$", description="The account number in ARNs.", examples=["111122223333"]
    )
    region: str = Field(
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
    s3_sse_kms_key_id: HeaderText | None = Field(
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
        pattern=r"^\d{12}$",
        description="Account that must own the bucket; otherwise S3 refuses the file.",
        examples=["111122223333"],
    )
    presigned_hosts: Hosts = Field(
        (),
        description="Hosts that presigned URLs may name, in addition to AWS's S3 endpoints and the configured one. "
        "Separated by commas; `*.` stands for every subdomain; a port other than the usual one is part of the host.",
        examples=["minio.example.com:9000,*.storage.example.com"],
    )
    graph_url: str = Field(
        "https://graph.facebook.com",
        description="Address of the Graph API; `https`, or a loopback host.",
        examples=["http://127.0.0.1:9090"],
    )
    graph_version: str = Field("v25.0", pattern=r"^v\d+\.\d+$", description="Graph API version.")
    graph_user_agent: HeaderText = Field(
        f"whaul/{__version__}",
        description="User-Agent of every call to Meta; without one some downloads fail.",
    )
    media_hosts: Hosts = Field(
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
    extensions: Annotated[Pairs, AfterValidator(_extension_table)] = Field(
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
    tls_cert_file: Path | None = Field(None, description="Certificate chain (PEM), to serve TLS directly.")
    tls_key_file: Path | None = Field(None, description="Private key (PEM, not encrypted) of that certificate.")
    trusted_proxies: Commas = Field(
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

    @property
    def s3_tagging(self) -> str | None:
        """The tags as S3's `x-amz-tagging` header wants them."""
        return urlencode(self.s3_tags) or None

    @field_validator("root_secret_access_key")
    @classmethod
    def _usable_secret(cls, value: SecretStr | None) -> SecretStr | None:
        if value is None:
            return None
        word = secret_word(value.get_secret_value())
        if len(word) < MIN_ROOT_SECRET:
            raise ValueError(f"should have at least {MIN_ROOT_SECRET} characters")
        return SecretStr(word)

    @field_validator("root_secret_access_key", "tls_key_file")
    @classmethod
    def _both_or_neither(cls, value: object, info: ValidationInfo) -> object:
        partner = {"root_secret_access_key": "root_access_key_id", "tls_key_file": "tls_cert_file"}
        other = partner[str(info.field_name)]
        if other in info.data and (value is None) != (info.data[other] is None):
            raise ValueError(f"set it together with {environment_name(other)}, or neither")
        return value

    @field_validator("tls_cert_file", "tls_key_file")
    @classmethod
    def _readable(cls, value: Path | None) -> Path | None:
        if value is not None and not os.access(value, os.R_OK):
            raise ValueError("expected a file that this process can read")
        return value

    @field_validator("s3_sse_kms_key_id")
    @classmethod
    def _kms_key_needs_kms(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is not None and info.data.get("s3_sse") != "aws:kms":
            raise ValueError("only with WHAUL_S3_SSE=aws:kms")
        return value

    @field_validator("auth")
    @classmethod
    def _open_only_on_loopback(cls, value: str, info: ValidationInfo) -> str:
        if value == "none" and not is_loopback(info.data.get("host", "")):
            raise ValueError("'none' is accepted on a loopback listener only; set WHAUL_HOST=127.0.0.1")
        return value

    @field_validator("graph_url")
    @classmethod
    def _safe_for_tokens(cls, value: str) -> str:
        expected = "expected https://host, or http:// with a loopback host"
        try:
            url = endpoint_url(value)
        except ForbiddenUrlError:
            raise ValueError(expected) from None
        if (url.scheme != "https" and not is_loopback(url.host_str or "")) or url.query_string is not None:
            raise ValueError(expected)
        return str(url).rstrip("/")

    @field_validator("region")
    @classmethod
    def _region_name(cls, value: str) -> str:
        if not is_region(value):
            raise ValueError("expected letters, digits and hyphens, for example eu-west-1 or auto")
        return value

    @field_validator("trusted_proxies")
    @classmethod
    def _networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        bare = tuple(text.replace("[", "").replace("]", "") for text in value)
        for text in bare:
            ipaddress.ip_network(text, strict=False)
        return bare

    @field_validator("secret_key")
    @classmethod
    def _usable_key(cls, value: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        if value is not None:
            Cipher(value)
        elif "database_url" in info.data and is_postgresql(info.data["database_url"].get_secret_value()):
            raise ValueError(
                "required with PostgreSQL, so that every machine has the same one and none is kept beside the data; "
                f"make one with: {HOW_TO_MAKE_A_KEY}"
            )
        return value

    @field_validator("database_url")
    @classmethod
    def _known_database(cls, value: SecretStr) -> SecretStr:
        url = trimmed(value.get_secret_value())
        if not url:
            raise ValueError(
                "unset, and this user has no home folder for a database; set it, for example to "
                "sqlite:////var/lib/whaul/whaul.db"
            )
        if re.search(r"[\x00-\x1f\x7f]", url):
            raise ValueError("the database URL holds a line end or another control character")
        check_database_url(url)
        return SecretStr(url)

    @classmethod
    def load(cls, **overrides: Any) -> Self:
        """Read and check everything; `overrides` (command line options) win where they are not None.

        Raises `SettingsError` that names everything that cannot be used as it was given, and what was expected.
        """
        secrets, problems = secret_files(cls.model_fields)
        problems = unknown_names(cls.model_fields) + problems
        given = {name: value for name, value in overrides.items() if value is not None}
        options = frozenset(given)
        if is_link("WHAUL_PORT", os.environ.get("WHAUL_PORT", "")):
            given.setdefault("port", cls.model_fields["port"].default)
        try:
            settings = cls(**secrets | given)
        except ValidationError as error:
            raise SettingsError(
                problems + [problem(cls.model_fields, detail, options) for detail in error.errors()]
            ) from None
        if problems:
            raise SettingsError(problems)
        return settings
