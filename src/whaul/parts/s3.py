"""The operator's S3."""

from botocore.exceptions import BotoCoreError

from whaul.outbound.http import HttpClient
from whaul.outbound.netguard import ForbiddenUrl, endpoint_url
from whaul.settings import Settings, SettingsError
from whaul.storage.credentials import PATIENCE, CredentialChain
from whaul.storage.s3 import ObjectOptions, S3Store
from whaul.storage.s3_config import S3Config


def s3_config(settings: Settings) -> S3Config:
    """Read AWS's own configuration; refuse, with `SettingsError`, one that names no usable S3 endpoint.

    Opens nothing: a server checks this before it forks, which no HTTP client survives.
    """
    try:
        config = S3Config.load()
        endpoint_url(config.endpoint(settings.region))
    except BotoCoreError as error:
        raise SettingsError([f"AWS configuration: {error}"]) from None
    except ForbiddenUrl as forbidden:
        raise SettingsError([f"AWS_ENDPOINT_URL_S3 (or another setting of the S3 endpoint): {forbidden}"]) from None
    except ValueError as error:
        raise SettingsError([str(error)]) from None
    return config


def credential_chain(settings: Settings) -> CredentialChain:
    """The server's S3 credentials; a call still has time to say that they do not come."""
    return CredentialChain(min(PATIENCE, settings.deadline / 2))


def s3_store(settings: Settings, http: HttpClient, credentials: CredentialChain | None = None) -> S3Store:
    """The operator's S3, as the settings and AWS's own configuration name it."""
    return S3Store(
        http,
        s3_config(settings),
        credentials or credential_chain(settings),
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
