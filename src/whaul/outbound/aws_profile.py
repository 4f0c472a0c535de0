"""The AWS profile that the environment names, read from the shared files as botocore's session reads it.

The session itself loads all that botocore's clients need: 8 MB and a tenth of a second, for two small files.
https://docs.aws.amazon.com/sdkref/latest/guide/file-format.html
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from botocore.configloader import load_config, raw_config_parse
from botocore.exceptions import ConfigNotFound, ProfileNotFound


@dataclass(frozen=True, slots=True)
class AwsProfile:
    """What the shared files say for one profile."""

    name: str | None = None
    """None: none is named, so it is the one called `default`, if there is one."""
    values: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """They may hold secrets."""
    services: Mapping[str, Any] = field(default_factory=dict)
    """The `services` section that the profile names: settings by service."""

    @classmethod
    def load(cls, name: str | None = None, environ: Mapping[str, str] = os.environ) -> Self:
        """Read it; with `name` another than the environment names. Raises botocore's errors."""
        found = _shared_files(environ)
        name = name or environ.get("AWS_DEFAULT_PROFILE", environ.get("AWS_PROFILE"))
        if name is not None and name not in found["profiles"]:
            raise ProfileNotFound(profile=name)
        values = found["profiles"].get(name or "default", {})
        return cls(name, values, found.get("services", {}).get(values.get("services"), {}))

    def says(self, name: str, environ: Mapping[str, str] = os.environ) -> bool:
        """Whether a switch is on: `AWS_NAME` in the environment, else `name` in the profile."""
        return str(environ.get(f"AWS_{name.upper()}", self.values.get(name))).lower() == "true"


def _shared_files(environ: Mapping[str, str]) -> dict[str, Any]:
    found: dict[str, Any]
    try:
        found = load_config(environ.get("AWS_CONFIG_FILE", "~/.aws/config"))
    except ConfigNotFound:
        found = {"profiles": {}}
    try:
        others = raw_config_parse(environ.get("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials"))
    except ConfigNotFound:
        return found
    for name, values in others.items():
        found["profiles"].setdefault(name, {}).update(values)
    return found
