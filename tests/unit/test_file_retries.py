"""What becomes of a file after an attempt."""

import random

import pytest

from whaul.events.archive.fetching import Stored, Unstored
from whaul.events.archive.file_retries import MISSING_PAUSE, Healths, judged
from whaul.events.archive.files import LAST_CHANCE, FileJob
from whaul.events.delivery.retries import DOWN_AFTER
from whaul.model import S3File

DAY = 86_400_000_000
NOW = 20_000 * DAY
RNG = random.Random(1)  # noqa: S311


def job(number: int = 1, *, bucket: str = "bucket", account: str = "waba-1", left: float = DAY) -> FileJob:
    return FileJob(
        id=f"{number}",
        fence=1,
        seq=number,
        account_id=account,
        media_id="42",
        place=S3File(bucket, "key"),
        expires_at=NOW + int(left),
        until=0.0,
    )


def test_a_stored_file_is_done() -> None:
    assert judged(job(), Stored("etag", b"", 1), NOW, RNG).state == "stored"


def test_what_is_permanent_fails_at_once() -> None:
    settled = judged(job(), Unstored("permanent", "key taken"), NOW, RNG)
    assert (settled.state, settled.detail) == ("failed", "key taken")


def test_an_id_that_is_missing_is_asked_for_once_more() -> None:
    settled = judged(job(), Unstored("missing", "no"), NOW, RNG)
    assert (settled.state, settled.missing, settled.wait) == ("pending", True, MISSING_PAUSE)
    again = job()
    again.missing = True
    assert judged(again, Unstored("missing", "no"), NOW, RNG).state == "failed"


@pytest.mark.parametrize("why", ["account", "bucket", "file"])
def test_what_may_pass_is_tried_until_the_id_ends(why: str) -> None:
    outcome = Unstored(why, "away")  # type: ignore[arg-type]
    assert judged(job(), outcome, NOW, RNG).state == "pending"
    settled = judged(job(left=LAST_CHANCE * 1_000_000), outcome, NOW, RNG)
    assert settled.state == "failed"
    assert "away" in settled.detail


def test_the_last_attempt_is_just_before_the_id_ends() -> None:
    late = job(left=(LAST_CHANCE + 2) * 1_000_000)
    settled = judged(late, Unstored("bucket", "away", 3600.0), NOW, RNG)
    assert settled.wait == pytest.approx(2)


def test_the_far_side_is_left_alone_as_long_as_it_asks() -> None:
    assert judged(job(), Unstored("account", "throttled", 4000.0), NOW, RNG).wait >= 4000


def test_a_bucket_that_is_away_holds_up_no_other() -> None:
    healths = Healths(RNG)
    for number in range(DOWN_AFTER - 1):
        assert healths.note(job(number), Unstored("bucket", "away"), 0.0) == []
    assert healths.note(job(99), Unstored("bucket", "away"), 0.0) == [(("bucket", "bucket"), "down")]
    assert healths.down(job()) == {("bucket", "bucket")}
    assert healths.down(job(bucket="other")) == set()
    accounts, buckets = healths.resting(0.0)
    assert (accounts, buckets) == ([], ["bucket"])
    assert healths.note(job(), Unstored("missing", "at Meta"), 10.0) == [], "the bucket was not asked"
    assert healths.note(job(), Stored("", b"", 1), 10.0) == [(("bucket", "bucket"), "up")]
    assert healths.down(job()) == set()


def test_an_account_that_meta_throttles_rests_as_long_as_meta_says() -> None:
    healths = Healths(RNG)
    healths.note(job(), Unstored("account", "throttled", 30.0), 100.0)
    assert healths.resting(129.0) == (["waba-1"], [])
    assert healths.resting(131.0) == ([], [])
    healths.note(job(), Unstored("file", "damaged"), 131.0)
    assert healths.resting(100.0) == ([], []), "Meta has answered"
