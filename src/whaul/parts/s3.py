"""The operator's S3."""

import botocore.session
from botocore.exceptions import BotoCoreError

from whaul.outbound.http import HttpClient
from whaul.outbound.netguard import ForbiddenUrl, parse_url
from whaul.partitions import s3_endpoint
from whaul.settings import Settings, SettingsError
from whaul.storage.s3 import ObjectOptions, S3Store, configured_endpoint


def check_s3(settings: Settings) -> None:
    """Refuse, with `SettingsError`, an AWS configuration that does not name a usable S3 endpoint.

    Opens nothing: a server checks this before it forks, which no HTTP client survives.
    """
    try:
        endpoint = configured_endpoint(botocore.session.Session())
        parse_url(endpoint or s3_endpoint(settings.region, dual_stack=False, fips=False))
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
