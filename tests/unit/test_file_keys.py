"""Keys of archived files: templates, and what becomes of ids in them."""

import json
import re
from datetime import UTC, datetime
from typing import Any

import pytest

from whaul.events.archive.file_keys import DEFAULT_TEMPLATE, check_template, file_key
from whaul.events.receiving.items import split
from whaul.events.routing import Archive

ARRIVED = datetime(2026, 11, 28, 0, 30, tzinfo=UTC)
SENT = datetime(2026, 10, 31, 23, 59, 59, tzinfo=UTC)


def key_of(template: str, *, prefix: str = "", numbers: str = "500", wamid: str = "wamid.A=", **content: Any) -> str:
    image = {"id": "42", "mime_type": "image/jpeg"} | content
    message = {"id": wamid, "from": "1", "timestamp": str(int(SENT.timestamp())), "type": "image", "image": image}
    value = {"metadata": {"phone_number_id": numbers}, "messages": [message]}
    entry = {"id": "400", "changes": [{"field": "messages", "value": value}]}
    [item] = split(json.dumps({"object": "whatsapp_business_account", "entry": [entry]}).encode())
    archive = Archive("waba-1", "bucket", prefix, template, frozenset())
    return file_key(archive, item, item.media[0], ARRIVED, {"image/heic": ".heic"})


@pytest.mark.parametrize(
    ("template", "key"),
    [
        (DEFAULT_TEMPLATE, "42.jpeg"),
        ("{waba}/{number}/{type}/{media}", "400/500/image/42"),
        ("{yyyy}/{mm}/{dd}/{wamid}{ext}", "2026/10/31/wamid.A_.jpeg"),
        ("{media}{media}", "4242"),
    ],
)
def test_a_template_is_filled_in(template: str, key: str) -> None:
    assert key_of(template, prefix="media/") == f"media/{key}"


def test_the_day_is_that_of_arrival_when_the_message_has_no_time() -> None:
    value = {"messages": [{"id": "w", "type": "image", "image": {"id": "42", "mime_type": "image/png"}}]}
    entry = {"id": "400", "changes": [{"field": "messages", "value": value}]}
    [item] = split(json.dumps({"object": "whatsapp_business_account", "entry": [entry]}).encode())
    archive = Archive("waba-1", "bucket", "", "{yyyy}-{mm}-{dd}/{media}", frozenset())
    assert file_key(archive, item, item.media[0], ARRIVED, {}) == "2026-11-28/42"


@pytest.mark.parametrize(
    ("wamid", "safe"),
    [("../../etc", ".._.._etc"), ("..", "__"), (".", "_"), ("a b/ä", "a_b__"), ("x" * 300, "x" * 200)],
)
def test_an_id_is_one_segment_of_the_key(wamid: str, safe: str) -> None:
    key = key_of("in/{wamid}", wamid=wamid)
    assert key == f"in/{safe}"


@pytest.mark.parametrize(
    ("mime_type", "extension"),
    [
        ("audio/ogg; codecs=opus", ".ogg"),
        ("IMAGE/HEIC", ".heic"),
        ("application/x-unknown+thing", ""),
        ("../../x", ""),
        ("", ""),
    ],
)
def test_the_extension_is_that_of_the_webhooks_type(mime_type: str, extension: str) -> None:
    assert key_of("{media}{ext}", mime_type=mime_type) == f"42{extension}"


@pytest.mark.parametrize("template", ["{media}", "a/{wamid}{ext}", "{yyyy}/{mm}/{dd}/{media}"])
def test_a_template_with_an_id_is_good(template: str) -> None:
    check_template("prefix/", template)


@pytest.mark.parametrize(
    ("prefix", "template", "problem"),
    [
        ("", "{yyyy}/{type}{ext}", "must hold {media} or {wamid}"),
        ("", "fixed", "must hold {media} or {wamid}"),
        ("", "", "must hold {media} or {wamid}"),
        ("", "{media}{nonsense}", "{nonsense}; known are {dd}, {ext}"),
        ("", "{media}{", "brace"),
        ("", "{{media}}", "brace"),
        ("../", "{media}", "path segment"),
        ("", "./{media}", "path segment"),
        ("p" * 1100, "{media}", "longer than 1024"),
    ],
)
def test_a_template_of_which_no_key_can_be_made_is_refused(prefix: str, template: str, problem: str) -> None:
    with pytest.raises(ValueError, match=re.escape(problem)):
        check_template(prefix, template)
