"""What calls out: the HTTP client, and the Graph API client over it."""

import os
from collections.abc import Callable, Mapping

from whaul.graph.client import GraphClient
from whaul.outbound.certificates import ALL_OF, FIRST_OF, PROFILE, CertificatesError, trusted_certificates
from whaul.outbound.http import HttpClient
from whaul.outbound.netguard import MediaHosts
from whaul.outbound.proxies import Proxies, ProxyError
from whaul.settings import Settings, SettingsError

GRACE = 10.0
"""Seconds beyond a call's deadline until the HTTP client ends an exchange by itself: the deadline decides."""


def check_outbound() -> None:
    """Refuse, with `SettingsError`, certificates and proxies that cannot be used.

    Opens nothing: a server checks this before it forks, which no HTTP client survives.
    """
    _certificates_and_proxies()


def http_client(settings: Settings, on_open_circuits: Callable[[int], None] = lambda _open: None) -> HttpClient:
    """The outbound client, with the certificates and proxies that the environment names. Raises `SettingsError`."""
    certificates, proxies = _certificates_and_proxies()
    try:
        return HttpClient(
            certificates=certificates,
            proxies=proxies,
            longest=settings.deadline + GRACE,
            on_open_circuits=on_open_circuits,
        )
    except CertificatesError as error:
        raise SettingsError([f"{', '.join((*FIRST_OF, *ALL_OF))}: {error}"]) from None


def _certificates_and_proxies() -> tuple[list[bytes], Proxies]:
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
    import botocore.session  # noqa: PLC0415 - a tenth of a second, for commands that need nothing else of it
    from botocore.exceptions import BotoCoreError  # noqa: PLC0415

    try:
        bundle = botocore.session.Session().get_scoped_config().get(PROFILE)
    except BotoCoreError:
        return None  # `check_s3` says what is wrong with it
    return str(bundle) if bundle else None


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
