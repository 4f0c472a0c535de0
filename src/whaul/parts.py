"""Builds the parts that the gateway and the command line share, from the settings."""

import os
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import botocore.session
from botocore.exceptions import BotoCoreError

from whaul.destinations.s3 import ObjectOptions, S3Store, aws_endpoint, configured_endpoint
from whaul.graph.client import GraphClient
from whaul.http import HttpClient
from whaul.netguard import ForbiddenUrl, MediaHosts, parse_url
from whaul.registry import identifiers
from whaul.registry.database import database_exists, key_file
from whaul.registry.store import Registry, open_registry
from whaul.secrets import Cipher, load_or_create_key_file
from whaul.settings import Settings, SettingsError
from whaul.telemetry.audit import AuditLog
from whaul.telemetry.audit_writer import AuditFile, AuditWriter, Sink, StandardOutput

if TYPE_CHECKING:
    from whaul.telemetry.metrics import Metrics  # see there why it is not loaded early


def cipher(settings: Settings) -> Cipher:
    """The cipher of `WHAUL_SECRET_KEY`, or of the key file beside the database, made with it on first use."""
    if settings.secret_key is not None:
        return Cipher(settings.secret_key)
    url = settings.database_url.get_secret_value()
    path = key_file(url)
    if database_exists(url) and not path.exists():
        raise SettingsError([f"WHAUL_SECRET_KEY: unset, and the key file of the database is gone: {path}; restore it"])
    try:
        return Cipher(load_or_create_key_file(path))
    except (OSError, ValueError) as error:
        raise SettingsError([f"WHAUL_SECRET_KEY: unset, and the key file cannot be used: {error}"]) from None


@asynccontextmanager
async def registry(settings: Settings) -> AsyncGenerator[Registry]:
    """The registry; a database that does not exist yet is made. Raises `WrongSecretKey` for keys that do not fit."""
    url = settings.database_url.get_secret_value()
    account_id, region = settings.account_id, settings.region
    async with open_registry(url, cipher(settings), account_id=account_id, region=region, create=True) as opened:
        await opened.check_secret_key()
        yield opened


def http_client(on_open_circuits: Callable[[int], None] = lambda _open: None) -> HttpClient:
    """The outbound client, trusting also the bundles that `SSL_CERT_FILE` and `AWS_CA_BUNDLE` name."""
    bundles = (os.environ.get(name) for name in ("SSL_CERT_FILE", "AWS_CA_BUNDLE"))
    return HttpClient(ca_files=tuple(Path(bundle) for bundle in bundles if bundle), on_open_circuits=on_open_circuits)


def check_s3(settings: Settings) -> None:
    """Refuse, with `SettingsError`, an AWS configuration that does not name a usable S3 endpoint.

    Opens nothing: a server checks this before it forks, which no HTTP client survives.
    """
    try:
        endpoint = configured_endpoint(botocore.session.Session())
        parse_url(endpoint or aws_endpoint(settings.region, dual_stack=False, fips=False))
    except BotoCoreError as error:
        raise SettingsError([f"AWS configuration: {error}"]) from None
    except ForbiddenUrl as forbidden:
        raise SettingsError([f"AWS_ENDPOINT_URL_S3 (or another setting of the S3 endpoint): {forbidden}"]) from None


def s3_store(settings: Settings, http: HttpClient) -> S3Store:
    """The operator's S3, as the settings and AWS's own configuration name it."""
    check_s3(settings)
    return S3Store(
        http,
        region=settings.region,
        addressing_style=settings.s3_addressing_style,
        options=ObjectOptions(
            sse=settings.s3_sse,
            sse_kms_key_id=settings.s3_sse_kms_key_id,
            storage_class=settings.s3_storage_class,
            tagging=settings.s3_tagging,
            expected_bucket_owner=settings.s3_expected_bucket_owner,
        ),
    )


def graph_client(
    settings: Settings, http: HttpClient, on_usage: Callable[[Mapping[str, float]], None] = lambda _usage: None
) -> GraphClient:
    """The Graph API client; `on_usage` is told the percentages of Meta's usage headers."""
    return GraphClient(
        http,
        url=settings.graph_url,
        version=settings.graph_version,
        user_agent=settings.graph_user_agent,
        media_hosts=MediaHosts(settings.media_hosts),
        on_usage=on_usage,
    )


def audit_log(settings: Settings, metrics: "Metrics") -> AuditLog | None:
    """The audit log, not opened yet; None when none is wanted."""
    sink = _audit_sink(settings)
    if sink is None:
        return None
    partition = identifiers.partition(settings.region)
    writer = AuditWriter(sink, metrics)
    return AuditLog(writer, account_id=settings.account_id, region=settings.region, partition=partition)


def check_audit_log(settings: Settings) -> None:
    """Refuse, with `SettingsError`, an audit log that cannot be opened."""
    sink = _audit_sink(settings)
    try:
        if sink is not None:
            sink.open()
            sink.close()
    except OSError as error:
        raise SettingsError([f"WHAUL_AUDIT_LOG={settings.audit_log}: cannot be opened: {error.strerror}"]) from None


def _audit_sink(settings: Settings) -> Sink | None:
    if settings.audit_log is None:
        return None
    if settings.audit_log == "-":
        return StandardOutput()
    return AuditFile(Path(settings.audit_log), settings.audit_log_max_size, settings.audit_log_files)
