"""The console's archive: what is kept of files, and what is fetched again."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.console import RunningConsole, Visitor, allow, inside, put, words
from harness.inbox import ACCOUNT_ID, OWNER, REGION, WABA, image
from whaul.arns import Arns

FAILED = """
    UPDATE files SET state = 'failed', expires_at = 9000000000000000, done_at = created_at, last_error = $1
    WHERE media_id = '6603'"""
STATE = "SELECT state FROM files WHERE media_id = $1"


@pytest.fixture(scope="module")
def files(console_database: Path) -> Iterator[list[str]]:
    """Three files: one that waits, one that is stored, one whose key is taken; the ids of their events."""
    inside(console_database, lambda here: here.add_archive())
    ids = put(console_database, image("wamid.w", "6601"), image("wamid.s", "6602"), image("wamid.f", "6603"))
    stored = "UPDATE files SET state = 'stored', size = 4096, sha256 = $1, done_at = created_at WHERE media_id = '6602'"
    inside(console_database, lambda here: here.rows(stored, b"\xab" * 32))
    fail(console_database)
    yield ids
    inside(console_database, lambda here: here.rows("DELETE FROM archives"))
    inside(console_database, lambda here: here.rows("DELETE FROM files WHERE media_id LIKE '660%'"))


def fail(database: Path) -> None:
    """Let the key of a file be taken, by the time that Meta still has it."""
    inside(database, lambda here: here.rows(FAILED, here.cipher.seal(b"key taken")))


def test_files_are_listed_with_what_to_do_and_fetched_again(
    operator: Visitor, console_database: Path, files: list[str]
) -> None:
    page = operator.get("/archive")
    for part in (
        "6601",
        "6602",
        "6603",
        "4.1 kB",
        "abababababab…",
        "s3://bucket/6603",
        "key taken",
        "another prefix",
    ):
        assert part in words(page)
    assert "whaul archive status" in words(page)
    failed = operator.get(f"/archive?state=failed&account={ACCOUNT_ID}")
    assert f"/messages/{files[2]}" in failed.body.decode()
    assert f"/messages/{files[0]}" not in failed.body.decode()
    assert "6603" in operator.get(f"/archive?account={WABA}").text
    assert f"/messages/{files[2]}" in operator.get("/messages?media_id=6603").text
    assert f"/messages/{files[0]}" not in operator.get("/messages?media_id=6603").text
    assert "s3://" not in operator.get("/now/archive?after=z").text
    assert "No file fits" in words(operator.get("/archive?media_id=nothing"))
    part = operator.get("/now/archive/files?state=failed")
    assert "6603" in part.text
    assert "6601" not in part.text
    assert "<html" not in part.text + operator.get("/now/archive").text
    for wrong in ("state=x", "account=x", "before=x"):
        assert operator.get(f"/archive?{wrong}").status == 400
    [place] = re.findall(r'action="(/archive/files/[^"]+)"', operator.get("/archive?media_id=6603").body.decode())
    reply = operator.post(place, {"back": "media_id=6603"})
    assert reply.headers["location"] == "/archive?media_id=6603"
    assert "fetched again" in words(operator.get(reply.headers["location"]))
    assert inside(console_database, lambda here: here.value(STATE, "6603")) == "pending"


def test_what_is_missing_is_fetched_after_it_was_counted(
    operator: Visitor, console_database: Path, files: list[str]
) -> None:
    fail(console_database)
    recent = "UPDATE events SET received_at = 9000000000000000 WHERE message_id = $1"
    inside(console_database, lambda here: here.rows(recent, files[2]))
    here = f"/archive/{ACCOUNT_ID}/backfill"
    asked = operator.get(f"{here}?since=2026-01-01")
    assert "whaul archive backfill" in words(asked)
    counted = re.search(r"To be fetched (\d+) file", words(asked))
    assert counted is not None
    assert inside(console_database, lambda there: there.value(STATE, "6603")) == "failed"
    [since] = re.findall(r'name="since" value="([^"]+T[^"]+)"', asked.body.decode())
    assert f"{counted[1]} file" in words(operator.submit(here, {"since": since}))
    assert inside(console_database, lambda there: there.value(STATE, "6603")) == "pending"
    assert operator.get(f"{here}?since=x").status == 400
    assert operator.get("/archive/waba-nothing/backfill").status == 404


def test_rights_are_those_of_the_policy(running_console: RunningConsole, files: list[str]) -> None:
    _, visitor = running_console.with_policy(allow("whaul:ViewArchives"))
    page = visitor.get("/archive")
    for part in ("s3://bucket/6603", "Fetch again", "Fetch what is missing", "Keep no more", f"/messages/{files[2]}"):
        assert part not in page.text
    assert "s3://bucket/ •••" in words(page)
    assert "s3://bucket/6603" not in visitor.get("/now/archive/files").text
    assert visitor.get(f"/archive/{ACCOUNT_ID}/backfill").status == 403
    assert visitor.post(f"/archive/{ACCOUNT_ID}/backfill").status == 403
    for pattern in (ACCOUNT_ID, ACCOUNT_ID[:-1] + "*"):
        _, narrow = running_console.with_policy(allow("whaul:View*", resource=Arns(OWNER, REGION).arn(pattern)))
        assert "6603" in narrow.get("/archive").text
        assert f"/messages/{files[2]}" in narrow.get("/messages").text
    elsewhere = Arns(OWNER, REGION).arn("waba-" + "0" * 32)
    _, stranger = running_console.with_policy(allow("whaul:ViewArchives", resource=elsewhere))
    assert "6603" not in stranger.get("/archive").text


@pytest.mark.usefixtures("files")
def test_no_more_files_are_kept_and_the_page_says_how_they_would_be(operator: Visitor) -> None:
    asked = words(operator.get(f"/archive/{ACCOUNT_ID}/off"))
    assert f"whaul archive off {WABA}" in asked
    assert "still archived" in asked
    page = operator.submit(f"/archive/{ACCOUNT_ID}/off")
    assert "whaul archive set" in words(page)
    assert operator.get(f"/archive/{ACCOUNT_ID}/backfill").status == 404
