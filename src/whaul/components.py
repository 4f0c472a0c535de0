"""Makes the components that the gateway and the commands share, from the settings.

Each function imports what it makes, so that a command loads no more than it uses: botocore, SQLAlchemy and the HTTP
client cost a tenth of a second each. The `check_…` functions open nothing that would not survive a fork; a server
calls them before it starts its workers. What is wrong with a setting is raised as `SettingsError`.
"""

import os
import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from whaul.secrets import Cipher, load_or_create_key_file
from whaul.settings import Settings, SettingsError

if TYPE_CHECKING:
    from whaul.auth.openid.provider import Provider
    from whaul.events.database.store import Store
    from whaul.events.targets.addresses import Targets
    from whaul.events.targets.aws import AwsClient
    from whaul.graph.client import GraphClient
    from whaul.graph.usage import OnUsage
    from whaul.model import AccessKey
    from whaul.outbound.circuit import OnChange
    from whaul.outbound.http import HttpClient
    from whaul.outbound.proxies import Proxies
    from whaul.outbound.public import PublicClient
    from whaul.outbound.public_names import PublicNames
    from whaul.registry.registry import Registry
    from whaul.storage.credentials import CredentialChain
    from whaul.storage.s3 import S3Store
    from whaul.storage.s3_config import S3Config
    from whaul.telemetry.audit import AuditLog
    from whaul.telemetry.audit_writer import Sink
    from whaul.telemetry.metrics import Metrics

GRACE = 10.0
"""Seconds beyond a call's deadline until the HTTP client ends an exchange by itself: the deadline decides."""


# Registry


@asynccontextmanager
async def open_registry(settings: Settings) -> "AsyncGenerator[Registry]":
    """Open the registry; make its database if there is none. Raises `SecretKeyError` for a key that does not fit."""
    from whaul.registry import registry as made

    url = settings.database_url.get_secret_value()
    account_id, region = settings.account_id, settings.region
    opening = made.open_registry(url, cipher(settings), account_id=account_id, region=region, create=True)
    async with opening as registry:
        await registry.check_secret_key()
        yield registry


def cipher(settings: Settings) -> Cipher:
    """The cipher of `WHAUL_SECRET_KEY`, or of the key file beside the database, made with it on first use."""
    if settings.secret_key is not None:
        return Cipher(settings.secret_key)
    from whaul.registry.database import database_exists, key_file

    url = settings.database_url.get_secret_value()
    path = key_file(url)
    try:
        if database_exists(url) and not path.exists():
            problem = f"WHAUL_SECRET_KEY: unset, and the key file of the database is gone: {path}; restore it"
            raise SettingsError([problem])
        return Cipher(load_or_create_key_file(path))
    except ValueError as error:
        raise SettingsError([f"WHAUL_SECRET_KEY: unset, and the key file cannot be used: {error}"]) from None
    except OSError as error:
        advice = (
            "run this as its owner, set WHAUL_DATABASE_URL to a file in a folder that this user may write, "
            "or set WHAUL_SECRET_KEY"
        )
        problem = f"WHAUL_SECRET_KEY: unset, and the key file {path} cannot be used: {error.strerror}; {advice}"
        raise SettingsError([problem]) from None


def root_key(settings: Settings) -> "AccessKey | None":
    """The access key that the settings name, which may do everything; None if they name none."""
    from whaul.auth.policy import ALLOW_ALL
    from whaul.model import AccessKey

    if settings.root_access_key_id is None or settings.root_secret_access_key is None:
        return None
    return AccessKey(settings.root_access_key_id, "root", settings.root_secret_access_key, ALLOW_ALL)


async def usable_access_keys(settings: Settings, registry: "Registry", name: str | None = None) -> list[str]:
    """List the ids of access keys that can be used now, the root key's too; with `name` those of that name or id."""
    from datetime import UTC, datetime

    now = datetime.now(UTC)
    known = [(key.access_key_id, key.name) for key in await registry.access_keys.all() if key.is_usable(now)]
    root = root_key(settings)
    if root is not None:
        known.append((root.access_key_id, root.name))
    return [access_key_id for access_key_id, named in known if name in {None, access_key_id, named}]


def openid_provider(settings: Settings, http: "HttpClient") -> "Provider | None":
    """The provider by which people sign in to the console; None if the settings name none."""
    if settings.oidc_issuer is None or settings.oidc_client_id is None:
        return None
    from whaul.auth.openid.provider import Client, Provider

    return Provider(Client(settings.oidc_issuer, settings.oidc_client_id, settings.oidc_client_secret), http)


# Meta


def check_outbound() -> None:
    """Refuse certificates and proxies that cannot be used."""
    _certificates_and_proxies()


def http_client(
    settings: Settings,
    on_circuit: "OnChange | None" = None,
    *,
    max_exchange: float | None = None,
) -> "HttpClient":
    """The outbound client, with the certificates and proxies that the environment names.

    `max_exchange` is in seconds; None to go by the deadline of calls.
    """
    from whaul.outbound.certificates import ALL_OF, FIRST_OF, CertificatesError
    from whaul.outbound.circuit import ignore
    from whaul.outbound.http import HttpClient

    certificates, proxies = _certificates_and_proxies()
    try:
        return HttpClient(
            certificates=certificates,
            proxies=proxies,
            max_exchange=max_exchange or settings.deadline + GRACE,
            on_circuit=on_circuit or ignore,
        )
    except CertificatesError as error:
        raise SettingsError([f"{', '.join((*FIRST_OF, *ALL_OF))}: {error}"]) from None


def graph_client(settings: Settings, http: "HttpClient", on_usage: "OnUsage" = lambda _usage: None) -> "GraphClient":
    """The Graph API client; `on_usage` gets the percentages of Meta's usage headers."""
    from whaul.graph.client import GraphClient
    from whaul.outbound.netguard import MediaHosts

    return GraphClient(
        http,
        url=settings.graph_url,
        version=settings.graph_version,
        user_agent=settings.graph_user_agent,
        media_hosts=MediaHosts(settings.media_hosts),
        on_usage=on_usage,
    )


def _certificates_and_proxies() -> "tuple[list[bytes], Proxies]":
    from whaul.outbound.certificates import CertificatesError, trusted_certificates
    from whaul.outbound.proxies import Proxies, ProxyError

    problems = []
    certificates: list[bytes] = []
    proxies = Proxies()
    try:
        certificates = trusted_certificates(os.environ, _profile_bundle())
    except CertificatesError as error:
        problems.append(str(error))
    try:
        proxies = Proxies.named_in(os.environ)
    except ProxyError as error:
        problems.append(str(error))
    if problems:
        raise SettingsError(problems)
    return certificates, proxies


def _profile_bundle() -> str | None:
    """The `ca_bundle` of the AWS profile; None without one, or without a profile that can be read."""
    if os.environ.get("AWS_CA_BUNDLE"):
        return None
    from botocore.exceptions import BotoCoreError

    from whaul.outbound.aws_profile import AwsProfile
    from whaul.outbound.certificates import PROFILE

    try:
        bundle = AwsProfile.load().values.get(PROFILE)
    except BotoCoreError:
        return None  # `s3_config` says what is wrong with it
    return str(bundle) if bundle else None


# S3


def s3_config(settings: Settings) -> "S3Config":
    """Read AWS's own configuration; refuse one that names no usable S3 endpoint."""
    from botocore.exceptions import BotoCoreError

    from whaul.outbound.netguard import ForbiddenUrlError, endpoint_url
    from whaul.storage.s3_config import S3Config

    try:
        config = S3Config.load()
        endpoint_url(config.endpoint(settings.region))
    except BotoCoreError as error:
        raise SettingsError([f"AWS configuration: {error}"]) from None
    except ForbiddenUrlError as forbidden:
        raise SettingsError([f"AWS_ENDPOINT_URL_S3 (or another setting of the S3 endpoint): {forbidden}"]) from None
    except ValueError as error:
        raise SettingsError([str(error)]) from None
    return config


def s3_store(settings: Settings, http: "HttpClient", credentials: "CredentialChain | None" = None) -> "S3Store":
    """The operator's S3, as the settings and AWS's own configuration name it."""
    from whaul.storage.credentials import PATIENCE, CredentialChain
    from whaul.storage.s3 import ObjectOptions, S3Store

    return S3Store(
        http,
        s3_config(settings),
        # A call still has time to say that the credentials do not come.
        credentials or CredentialChain(min(PATIENCE, settings.deadline / 2)),
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


# Events


@asynccontextmanager
async def event_store(settings: Settings, *, connections: int = 1, seconds: float = 30.0) -> "AsyncGenerator[Store]":
    """Open the tables of events, of a database that is there. `seconds` are for one transaction."""
    from whaul.events.database import open_store

    store = open_store(settings.database_url.get_secret_value(), connections=connections, timeout=seconds)
    try:
        yield store
    finally:
        await store.aclose()


@asynccontextmanager
async def event_targets(settings: Settings, http: "HttpClient") -> "AsyncGenerator[Targets]":
    """Make what makes targets of events; AWS's are called by `http`."""
    from whaul.arns import Arns
    from whaul.events.envelope import Envelopes
    from whaul.events.targets.addresses import Targets
    from whaul.events.targets.brokers import Brokers
    from whaul.outbound.netguard import EventHosts
    from whaul.outbound.public import PublicClient
    from whaul.outbound.public_names import PublicNames

    hosts = EventHosts(settings.event_hosts)
    names = PublicNames(hosts)
    certificates, proxies = _certificates_and_proxies()
    public = PublicClient(names, certificates=certificates, proxies=proxies)
    envelopes = Envelopes(Arns(settings.account_id, settings.region))
    aws = cache(lambda: _aws_client(settings, http))
    try:
        brokers = Brokers(hosts, names, envelopes, certificates)
        yield Targets(http=public, hosts=hosts, aws=aws, envelopes=envelopes, brokers=brokers)
    finally:
        await public.close()


def public_client(names: "PublicNames") -> "PublicClient":
    """The client for hosts that users name. Close it."""
    from whaul.outbound.public import PublicClient

    certificates, proxies = _certificates_and_proxies()
    return PublicClient(names, certificates=certificates, proxies=proxies)


def check_events_profile(settings: Settings) -> None:
    """Refuse a profile for events that AWS's configuration does not have."""
    from botocore.exceptions import ProfileNotFound

    from whaul.outbound.aws_profile import AwsProfile

    name = settings.events_aws_profile
    if name is None:
        return
    try:
        AwsProfile.load(name)
    except ProfileNotFound:
        raise SettingsError([f"WHAUL_EVENTS_AWS_PROFILE={name}: AWS's configuration has no such profile"]) from None


def _aws_client(settings: Settings, http: "HttpClient") -> "AwsClient":
    from whaul.events.targets.aws import TIMEOUT, AwsClient
    from whaul.storage.credentials import CredentialChain

    check_events_profile(settings)
    profile = settings.events_aws_profile
    return AwsClient(http, CredentialChain(TIMEOUT / 2, profile=profile), profile)


# Server


def audit_log(settings: Settings, metrics: "Metrics") -> "AuditLog | None":
    """The audit log, not opened yet; None if the settings name none."""
    from whaul.partitions import partition_of
    from whaul.telemetry.audit import AuditLog
    from whaul.telemetry.audit_writer import AuditWriter

    sink = _audit_sink(settings)
    if sink is None:
        return None
    partition = partition_of(settings.region).name
    writer = AuditWriter(sink, metrics)
    return AuditLog(writer, account_id=settings.account_id, region=settings.region, partition=partition)


def check_audit_log(settings: Settings) -> None:
    """Refuse an audit log that cannot be opened."""
    sink = _audit_sink(settings)
    try:
        if sink is not None:
            sink.open()
            sink.close()
    except OSError as error:
        raise SettingsError([f"WHAUL_AUDIT_LOG={settings.audit_log}: cannot be opened: {error.strerror}"]) from None


def _audit_sink(settings: Settings) -> "Sink | None":
    from whaul.telemetry.audit_writer import AuditFile, StandardOutput

    if settings.audit_log is None:
        return None
    if settings.audit_log == "-":
        return StandardOutput()
    return AuditFile(Path(settings.audit_log), settings.audit_log_max_size, settings.audit_log_files)


def check_tls(settings: Settings) -> None:
    """Refuse a certificate and key that TLS cannot be served with."""
    from whaul.outbound.certificates import CertificatesError, read_bundle

    certificate, key = settings.tls_cert_file, settings.tls_key_file
    if certificate is None or key is None:
        return
    try:
        read_bundle("WHAUL_TLS_CERT_FILE", certificate)
        # With a password, if an empty one: without, the library would ask whoever sits at the terminal for it.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, "")
    except CertificatesError as error:
        raise SettingsError([str(error)]) from None
    except OSError:
        expected = "expected its private key in PEM, without a password"
        raise SettingsError(
            [f"WHAUL_TLS_KEY_FILE: {key} cannot be used with WHAUL_TLS_CERT_FILE ({certificate}); {expected}"]
        ) from None
