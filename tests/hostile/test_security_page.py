"""SECURITY.md says what the code does: the numbers and names on it are those of the code."""

import re
from pathlib import Path

import pytest

from whaul.api.request import MAX_REQUEST
from whaul.auth.authenticator import sigv4
from whaul.environment import environment_name
from whaul.graph import client
from whaul.operations import call
from whaul.outbound import response
from whaul.registry import cache
from whaul.server import bodies, supervisor, unfinished_heads
from whaul.settings import Settings
from whaul.storage import presigned

PAGE = (Path(__file__).parents[2] / "SECURITY.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("sentence", "number"),
    [
        (r"takes up to (\d+),", supervisor.MAX_CONNECTIONS),
        (r"a head that has begun (\d+) seconds", unfinished_heads.HEAD_TIMEOUT),
        (r"idle for (\d+) seconds", Settings.model_fields["idle_timeout"].default),
        (r"\(and (\d+) KiB\)", supervisor.MAX_HEAD / 1024),
        (r"and a body (\d+)", bodies.BODY_TIMEOUT),
        (r"of at most (\d+) KiB", MAX_REQUEST / 1024),
        (r"all above (\d+) KiB", bodies.SMALL_BODY / 1024),
        (r"share (\d+) MiB", bodies.MAX_LARGE_BODIES / 1024**2),
        (r"a request later than (\d+) minutes", sigv4.MAX_SKEW.total_seconds() / 60),
        (r"for (\d+) minutes, repeated", sigv4.MAX_SKEW.total_seconds() / 60),
        (r"exceed (\d+) characters", presigned.MAX_HEADERS_LENGTH),
        (r"\((\d+) MiB of JSON", response.MAX_RESPONSE_SIZE / 1024**2),
        (r"rest that number for (\d+) seconds", call.REFUSAL_PAUSE),
    ],
)
def test_a_number_is_the_codes(sentence: str, number: float) -> None:
    [stated] = re.findall(sentence, PAGE)
    assert int(stated) == number


@pytest.mark.parametrize(
    ("words", "holds"),
    [
        ("at most three", client.MAX_REDIRECTS == 3),
        ("twenty refusals", call.MAX_REFUSALS == 20),
        ("A disabled key ends within 5 seconds", cache.TTL < 5),
        ("`WHAUL_AUTH=sigv4`", Settings.model_fields["auth"].default == "sigv4"),
        ("listens on `127.0.0.1`", Settings.model_fields["host"].default == "127.0.0.1"),
        ("Meta's three", len(Settings.model_fields["media_hosts"].default) == 3),
        ("`WHAUL_PRESIGNED_HOSTS` empty", Settings.model_fields["presigned_hosts"].default == ()),
        ("`WHAUL_RATE_LIMIT=0`", Settings.model_fields["rate_limit"].default == 0),
        ("`WHAUL_ROOT_ACCESS_KEY_ID` unset", Settings.model_fields["root_access_key_id"].default is None),
    ],
)
def test_a_statement_is_true(words: str, holds: bool) -> None:
    assert words in PAGE
    assert holds


def test_every_setting_that_is_named_exists() -> None:
    known = {environment_name(name) for name in Settings.model_fields}
    assert set(re.findall(r"WHAUL_[A-Z0-9_]+", PAGE)) <= known
