from dataclasses import replace
from datetime import UTC, datetime

import pytest

from whaul.events.archive.file_keys import DEFAULT_TEMPLATE, check_template, file_key
from whaul.events.model import MediaRef
from whaul.events.receiving.items import split
from whaul.events.routing import Archive

ITEM = replace(split(b"x")[0], waba_id="1022", meta_phone_number_id="1065", wamid="wamid.A=", at=1_795_000_000)
MEDIA = MediaRef("17384", "audio/ogg; codecs=opus", None, "wamid.A=", "audio", 1_795_000_000)
ARRIVED = datetime(2027, 1, 2, 3, 4, tzinfo=UTC)


def key(template: str, media: MediaRef = MEDIA, prefix: str = "in/") -> str:
    archive = Archive("waba-1", "bucket", prefix, template, frozenset())
    return file_key(archive, ITEM, media, ARRIVED, {"audio/x-own": ".own"})


def test_the_default_is_the_media_id_with_its_extension() -> None:
    assert key(DEFAULT_TEMPLATE) == "in/17384.ogg"
    assert key(DEFAULT_TEMPLATE, replace(MEDIA, mime_type="audio/x-own")) == "in/17384.own"


def test_every_member_is_filled_in() -> None:
    template = "{waba}/{number}/{type}/{yyyy}-{mm}-{dd}/{wamid}_{media}{ext}"
    assert key(template) == "in/1022/1065/audio/2026-11-18/wamid.A__17384.ogg"


def test_the_day_of_a_message_without_a_time_is_its_arrival() -> None:
    archive = Archive("waba-1", "bucket", "", "{yyyy}{mm}{dd}/{media}", frozenset())
    item, media = replace(ITEM, at=None), replace(MEDIA, at=None)
    assert file_key(archive, item, media, ARRIVED, {}) == "20270102/17384"


@pytest.mark.parametrize(
    ("id_", "safe"), [("../etc", ".._etc"), ("a/b", "a_b"), ("..", "__"), ("é", "_"), ("a b", "a_b")]
)
def test_an_id_leads_nowhere(id_: str, safe: str) -> None:
    assert key("{media}", replace(MEDIA, media_id=id_)) == f"in/{safe}"


def test_a_long_id_leaves_room() -> None:
    assert len(key("{media}", replace(MEDIA, media_id="9" * 5000))) < 300


@pytest.mark.parametrize("template", ["{media}", "a/{wamid}{ext}", DEFAULT_TEMPLATE, "{waba}/{yyyy}/{mm}/{media}{ext}"])
def test_usable_templates_pass(template: str) -> None:
    check_template("prefix/", template)


@pytest.mark.parametrize(
    ("prefix", "template", "problem"),
    [
        ("", "{type}/{yyyy}", "must hold"),
        ("", "{media}{extension}", "{extension}"),
        ("", "{media", "must hold"),
        ("", "{media}}", "brace"),
        ("", "../{media}", "'..'"),
        ("a/./", "{media}", "'.'"),
        ("x" * 1024, "{media}", "longer"),
    ],
)
def test_a_template_of_which_no_key_can_be_made_is_refused(prefix: str, template: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem.replace(".", r"\.")):
        check_template(prefix, template)
