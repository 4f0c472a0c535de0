"""What calls out: the HTTP client, and the Graph API client over it."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from whaul.graph.client import GraphClient
from whaul.outbound.http import HttpClient
from whaul.outbound.netguard import MediaHosts
from whaul.settings import Settings


def http_client(settings: Settings, on_open_circuits: Callable[[int], None] = lambda _open: None) -> HttpClient:
    """The outbound client, trusting also the bundles that `SSL_CERT_FILE` and `AWS_CA_BUNDLE` name."""
    bundles = (os.environ.get(name) for name in ("SSL_CERT_FILE", "AWS_CA_BUNDLE"))
    return HttpClient(
        ca_files=tuple(Path(bundle) for bundle in bundles if bundle),
        longest=settings.deadline,
        on_open_circuits=on_open_circuits,
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
