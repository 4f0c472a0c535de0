"""Where AWS's services are: at the endpoint that the environment or the shared config names, else at AWS's own."""

import os
from collections.abc import Mapping

from whaul.outbound.aws_profile import AwsProfile
from whaul.partitions import partition_of


def configured_endpoint(profile: AwsProfile, service: str, environ: Mapping[str, str] = os.environ) -> str | None:
    """Find the endpoint that the environment or the shared config names."""
    found = configured_endpoint_source(profile, service, environ)
    return found and found[1]


def configured_endpoint_source(
    profile: AwsProfile, service: str, environ: Mapping[str, str] = os.environ
) -> tuple[str, str] | None:
    """Find it with what names it, in the order of all AWS tools.

    `service` is its id there, in small letters: `s3`, `sqs`, `eventbridge`, ….
    https://docs.aws.amazon.com/sdkref/latest/guide/feature-ss-endpoints.html
    """
    if profile.says("ignore_configured_endpoint_urls", environ):
        return None
    variable = f"AWS_ENDPOINT_URL_{service.upper()}"
    named = {
        variable: environ.get(variable),
        "AWS_ENDPOINT_URL": environ.get("AWS_ENDPOINT_URL"),
        "services section of the AWS profile": profile.services.get(service, {}).get("endpoint_url"),
        "AWS profile": profile.values.get("endpoint_url"),
    }
    return next(((source, url.rstrip("/")) for source, url in named.items() if url), None)


def regional_endpoint(prefix: str, region: str) -> str:
    """Make the URL of AWS's own endpoint in a region; `prefix` is the service's name in its host."""
    return f"https://{prefix}.{region}.{partition_of(region).dns_suffix}"
