"""Every setting with its value, and where the value comes from. Secrets are masked."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final

from pydantic import SecretStr

from whaul.components import s3_config
from whaul.database_url import without_secrets
from whaul.environment import environment_name, given_by, is_secret
from whaul.outbound.aws_endpoints import configured_endpoint_source
from whaul.outbound.aws_profile import AwsProfile
from whaul.outbound.certificates import PROFILE, named_bundles
from whaul.setting_types import written_duration
from whaul.settings import GROUPS, Settings
from whaul.storage.s3_config import profile_region

DEFAULT: Final = "default"
MASK: Final = "***"
AWS: Final = "AWS's configuration of S3"


@dataclass(frozen=True, slots=True)
class Row:
    """One setting."""

    group: str
    name: str
    value: object
    """As JSON has it; secrets are masked."""
    source: str
    """The variable or file that it comes from, or `default`."""
    is_masked: bool = False
    """Whether the value only says that there is one, or that there is none."""

    @property
    def place(self) -> str:
        """What kind of place that is."""
        if self.source == DEFAULT:
            return DEFAULT
        if self.source == f"{self.name}_FILE":
            return "file"
        if self.source.startswith("credential "):
            return "credential directory"
        return "environment" if self.source in os.environ else "AWS configuration"


def effective_settings(loaded: Settings) -> list[Row]:
    """List the settings of this process, and those of AWS's that it goes by."""
    return [*_of_whaul(loaded), *_of_aws(loaded)]


def _of_whaul(loaded: Settings) -> Iterator[Row]:
    for title, group in GROUPS.items():
        for name, field in group.model_fields.items():
            source = given_by(name, field) or DEFAULT
            is_masked = is_secret(field) and name != "database_url"
            value = _value(getattr(loaded, name), is_masked=is_masked)
            yield Row(title, environment_name(name), value, source, is_masked)


def _value(value: object, *, is_masked: bool) -> object:
    if is_masked:
        return MASK if value else None
    if isinstance(value, SecretStr):
        return without_secrets(value.get_secret_value())
    if isinstance(value, timedelta):
        return written_duration(value)
    return str(value) if isinstance(value, Path) else value


def _of_aws(loaded: Settings) -> Iterator[Row]:
    config = s3_config(loaded)
    profile = AwsProfile.load()
    yield Row(AWS, "profile", profile.name or "default", "AWS_PROFILE" if profile.name else DEFAULT)
    source = configured_endpoint_source(profile, "s3")
    yield Row(AWS, "endpoint", config.endpoint(loaded.region), source[0] if source else DEFAULT)
    region = profile_region(profile)
    if region is not None and region != loaded.region:
        yield Row(AWS, "region of the profile", region, "AWS profile; not used: set AWS_REGION to use it")
    yield Row(
        AWS, "checksum header", config.sends_checksums, DEFAULT if config.sends_checksums else "AWS configuration"
    )
    for name, path in named_bundles(os.environ, profile.values.get(PROFILE)):
        yield Row("Certificates and proxies", "trusted certificates", str(path), name)
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        used = next((each for each in (name, name.upper()) if os.environ.get(each)), None)
        if used:
            value = os.environ[used] if name == "no_proxy" else _without_user(os.environ[used])
            yield Row("Certificates and proxies", name, value, used)


def _without_user(url: str) -> str:
    scheme, mark, rest = url.rpartition("://")
    _, at, place = rest.rpartition("@")
    return f"{scheme}{mark}{MASK}@{place}" if at else url
