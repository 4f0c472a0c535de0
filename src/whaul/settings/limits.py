"""How much, how long, how many at once and how often."""

from pydantic import Field

from whaul.settings.group import SettingGroup

MAX_SINGLE_PUT = 5 * 1024**3
"""Bytes. https://docs.aws.amazon.com/AmazonS3/latest/userguide/upload-objects.html"""


class Limits(SettingGroup):
    """How much, how long, how many at once and how often."""

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
