"""The AWS profile is read as botocore's session reads it; its session is the oracle."""

from collections.abc import Callable
from pathlib import Path

import botocore.session
import pytest
from botocore.exceptions import BotoCoreError

from whaul.outbound.aws_profile import AwsProfile

SWITCHES = ("use_dualstack_endpoint", "use_fips_endpoint", "ignore_configured_endpoint_urls")
CONFIG = """
[default]
region = eu-west-1
ca_bundle = /etc/first.pem
services = local
use_fips_endpoint = TRUE
[profile other]
region = eu-north-1
use_dualstack_endpoint = yes
s3 =
  addressing_style = path
[profile]
[preview]
region = none
[services local]
s3 =
  endpoint_url = http://127.0.0.1:9000
"""
CREDENTIALS = """
[default]
aws_access_key_id = a
ca_bundle = /etc/second.pem
[third]
region = eu-south-1
"""


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"AWS_PROFILE": "other"},
        {"AWS_PROFILE": "third"},
        {"AWS_PROFILE": "default"},
        {"AWS_PROFILE": "preview"},
        {"AWS_PROFILE": ""},
        {"AWS_PROFILE": "other", "AWS_DEFAULT_PROFILE": "third"},
        {"AWS_USE_FIPS_ENDPOINT": "false", "AWS_USE_DUALSTACK_ENDPOINT": "True"},
        {"AWS_USE_FIPS_ENDPOINT": "", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true"},
        {"AWS_CONFIG_FILE": "$FOLDER/gone"},
        {"AWS_CONFIG_FILE": "$FOLDER/gone", "AWS_SHARED_CREDENTIALS_FILE": "$FOLDER/gone"},
        {"AWS_CONFIG_FILE": "$FOLDER/gone", "AWS_SHARED_CREDENTIALS_FILE": "$FOLDER/gone", "AWS_PROFILE": "other"},
        {"AWS_CONFIG_FILE": "$FOLDER/broken"},
        {"AWS_SHARED_CREDENTIALS_FILE": "$FOLDER/broken"},
    ],
)
def test_a_profile_is_read_as_botocore_reads_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, environ: dict[str, str]
) -> None:
    folder = tmp_path / ".aws"
    folder.mkdir()
    for name, text in (("config", CONFIG), ("credentials", CREDENTIALS), ("broken", "[default\nx")):
        (folder / name).write_text(text, encoding="utf-8")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("FOLDER", str(folder))
    for name in ("AWS_PROFILE", "AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    session = botocore.session.Session()

    def by_botocore() -> object:
        values = session.get_scoped_config()
        services = session.full_config.get("services", {}).get(values.get("services"), {})
        return session.profile, values, services, [bool(session.get_config_variable(name)) for name in SWITCHES]

    def by_whaul() -> object:
        found = AwsProfile.load()
        return found.name, found.values, found.services, [found.says(name) for name in SWITCHES]

    assert outcome(by_whaul) == outcome(by_botocore)


def outcome(read: Callable[[], object]) -> object:
    try:
        return read()
    except BotoCoreError as error:
        return type(error), str(error)
