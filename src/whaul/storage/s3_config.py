"""What the environment and the shared files say about S3, to this and to all AWS tools.

botocore's own client would say it too, but loads S3's service model for it: a quarter of a second and 15 MB.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from whaul.outbound.aws_endpoints import configured_endpoint
from whaul.outbound.aws_profile import AwsProfile
from whaul.partitions import s3_endpoint

CHECKSUM_SWITCHES = ("request_checksum_calculation", "response_checksum_validation")
CHECKSUM_CHOICES = ("when_supported", "when_required")


@dataclass(frozen=True, slots=True)
class S3Config:
    """The endpoint and the use of checksums."""

    configured_endpoint: str | None = None
    """None: AWS's own."""
    dual_stack: bool = False
    fips: bool = False
    sends_checksums: bool = True
    """Whether a PUT has a checksum header. Some stores refuse it."""

    @classmethod
    def load(cls, environ: Mapping[str, str] = os.environ) -> Self:
        """Read it; raises botocore's errors, and `ValueError` that names the variable."""
        profile = AwsProfile.load(environ=environ)
        request_checksums, _ = (_checksums(name, profile, environ) for name in CHECKSUM_SWITCHES)
        return cls(
            configured_endpoint(profile, "s3", environ),
            dual_stack=profile.says("use_dualstack_endpoint", environ),
            fips=profile.says("use_fips_endpoint", environ),
            sends_checksums=request_checksums == "when_supported",
        )

    def endpoint(self, region: str) -> str:
        """The endpoint's URL in a region: the configured one, or AWS's own."""
        return self.configured_endpoint or s3_endpoint(region, dual_stack=self.dual_stack, fips=self.fips)


def profile_region(profile: AwsProfile) -> str | None:
    """The region of the AWS profile, which is not used.

    It is in ARNs and in the scope of signatures, so it must not depend on whose shared config a command finds.
    """
    return profile.values.get("region") or None


def _checksums(name: str, profile: AwsProfile, environ: Mapping[str, str]) -> str:
    """Read one of the two switches. What is read has no checksum header, so only the first has an effect.

    https://docs.aws.amazon.com/sdkref/latest/guide/feature-dataintegrity.html
    """
    variable = f"AWS_{name.upper()}"
    source, value = variable, environ.get(variable)
    if not value:
        source, value = f"{name} in the AWS profile", profile.values.get(name)
    choice = str(value or CHECKSUM_CHOICES[0]).lower()
    if choice not in CHECKSUM_CHOICES:
        raise ValueError(f"{source}={value!s:.80}: expected {' or '.join(CHECKSUM_CHOICES)}")
    return choice
