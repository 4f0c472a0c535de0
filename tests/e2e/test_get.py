"""`whaul get` as a user runs it: into a bucket and into a directory, again, interrupted, killed, and when it fails."""

import csv
import hashlib
import json
import os
import pty
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from harness.store import BUCKET, Answer, StandIn, Store, s3_answer
from harness.waiting import PATIENCE, eventually
from harness.world import READER, World
from whaul.simulator import Simulator

JPEG, VOICE, PDF = MEDIA = ("100000000000001", "100000000000002", "100000000000003")
NAMES = {JPEG: f"{JPEG}.jpeg", VOICE: f"{VOICE}.ogg", PDF: f"{PDF}.pdf"}
MANY = 1000


@dataclass
class Ran:
    """A run that has ended."""

    code: int
    outcomes: list[dict[str, Any]]
    summary: dict[str, Any]
    stderr: str

    @property
    def by_status(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {"stored": [], "skipped": [], "failed": [], "planned": []}
        for outcome in self.outcomes:
            found[outcome["status"]].append(outcome["mediaId"])
        return found

    @property
    def errors(self) -> dict[str, str]:
        return {outcome["mediaId"]: outcome["error"]["code"] for outcome in self.outcomes if "error" in outcome}


def parsed(code: int, stdout: str, stderr: str) -> Ran:
    documents = [json.loads(line) for line in stdout.splitlines()]
    assert documents, stderr
    assert "Traceback" not in stderr
    *outcomes, last = documents
    ran = Ran(code, outcomes, last["summary"], stderr)
    for status, ids in ran.by_status.items():
        assert ran.summary.get(status, 0) == len(ids)
    return ran


def get(world: World, *arguments: str, to: str, stdin: str = "", **environ: str) -> Ran:
    done = world.run("get", *arguments, "--phone-number-id", world.phone_number_id, "--to", to, stdin=stdin, **environ)
    return parsed(done.returncode, done.stdout, done.stderr)


def refusal(world: World, *arguments: str, code: int = 1, **environ: str) -> str:
    done = world.run("get", *arguments, **environ)
    assert (done.returncode, done.stdout) == (code, ""), done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr


def asked_of_meta(simulator: Simulator, ids: Sequence[str] = MEDIA) -> Counter[str]:
    """How often descriptions, and how often files, were asked for, over all these ids."""
    counts: Counter[str] = Counter()
    for media_id in ids:
        counts.update(simulator.count(media_id))
    del counts["completed_downloads"]  # counted when the simulator is done, which may be after the client is
    return counts


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "media"


def test_files_are_stored_in_a_bucket_under_prefix_id_and_extension(
    world: World, store: Store, simulator: Simulator, prefix: str
) -> None:
    ran = get(world, *MEDIA, to=f"s3://{BUCKET}/{prefix}in_")
    assert (ran.code, sorted(ran.by_status["stored"])) == (0, sorted(MEDIA))
    assert sorted(store.keys(prefix)) == [f"{prefix}in_{name}" for name in NAMES.values()]
    for outcome in ran.outcomes:
        media = simulator.media[outcome["mediaId"]]
        assert (outcome["bucket"], outcome["fileSize"], outcome["mimeType"]) == (BUCKET, media.size, media.mime_type)
        assert outcome["sha256"] == media.sha256().hex()
        assert store.read(outcome["key"]) == media.read()
        assert store.content_type(outcome["key"]) == media.mime_type
    assert ran.summary | {"seconds": 0} == {
        "stored": 3,
        "skipped": 0,
        "failed": 0,
        "left": 0,
        "bytes": sum(simulator.media[media_id].size for media_id in MEDIA),
        "seconds": 0,
        "errors": {},
        "stopped": None,
    }


def test_files_are_stored_in_a_directory(world: World, simulator: Simulator, folder: Path) -> None:
    large = simulator.add_media(os.urandom(3_000_001), "video/mp4")
    ran = get(world, *MEDIA, large, to=str(folder))
    assert ran.code == 0
    assert {path.name for path in folder.iterdir()} == {*NAMES.values(), f"{large}.mp4"}
    for outcome in ran.outcomes:
        data = Path(outcome["path"]).read_bytes()
        assert data == simulator.media[outcome["mediaId"]].read()
        assert outcome["sha256"] == hashlib.sha256(data).hexdigest()


@pytest.fixture(params=["bucket", "directory"])
def to(request: pytest.FixtureRequest, folder: Path, prefix: str) -> str:
    """Either kind of place."""
    return str(folder) if request.param == "directory" else f"s3://{BUCKET}/{prefix}"


@pytest.mark.parametrize("listed", [False, True], ids=["few", "many"])
def test_what_is_stored_is_skipped_without_asking_meta_even_when_the_ids_are_gone_there(
    world: World, simulator: Simulator, to: str, listed: bool
) -> None:
    unknown = [f"9{number:014d}" for number in range(200)] if listed else []  # many ids have the prefix listed first
    assert get(world, *MEDIA, to=to).code == 0
    for media_id in MEDIA:
        simulator.remove_media(media_id)
    before = asked_of_meta(simulator)
    ran = get(world, *MEDIA, *unknown, to=to)
    assert (sorted(ran.by_status["skipped"]), ran.by_status["failed"]) == (sorted(MEDIA), ran.by_status["failed"])
    assert asked_of_meta(simulator) == before
    assert len(ran.by_status["failed"]) == len(unknown)
    for outcome in ran.outcomes:
        if outcome["status"] == "skipped":
            assert outcome.get("path", outcome.get("key", "")).endswith(NAMES[outcome["mediaId"]])


def test_the_file_of_a_longer_id_is_not_taken_for_that_of_a_shorter_one(
    world: World, store: Store, simulator: Simulator, prefix: str
) -> None:
    for name in (f"{JPEG}0.jpeg", f"{JPEG}a", f"{JPEG}-thumb.jpeg", f"{JPEG}.jpeg.part", f"{JPEG}/x.jpeg"):
        store.put(prefix + name, b"another")
    assert get(world, JPEG, to=f"s3://{BUCKET}/{prefix}").by_status["stored"] == [JPEG]
    assert get(world, JPEG, to=f"s3://{BUCKET}/{prefix}").by_status["skipped"] == [JPEG]
    assert store.read(f"{prefix}{JPEG}.jpeg") == simulator.media[JPEG].read()


def test_a_prefix_may_hold_what_urls_and_xml_may_not(world: World, store: Store, simulator: Simulator) -> None:
    del simulator
    odd = "odd &<>%20+é/"
    assert get(world, *MEDIA, to=f"s3://{BUCKET}/{odd}").summary["stored"] == 3
    assert get(world, *MEDIA, to=f"s3://{BUCKET}/{odd}").summary["skipped"] == 3
    assert sorted(store.keys(odd)) == [odd + name for name in NAMES.values()]


def test_force_fetches_again_but_an_id_that_comes_twice_only_once(
    world: World, simulator: Simulator, folder: Path
) -> None:
    get(world, JPEG, to=str(folder))
    (folder / NAMES[JPEG]).write_bytes(b"changed")
    ran = get(world, JPEG, JPEG, JPEG, "--force", to=str(folder))
    assert (ran.summary["stored"], ran.summary["skipped"]) == (1, 2)
    assert (folder / NAMES[JPEG]).read_bytes() == simulator.media[JPEG].read()
    assert simulator.count(JPEG)["download"] == 2


def test_ids_come_from_a_file_and_from_standard_input_and_each_line_is_accounted_for(
    world: World, simulator: Simulator, folder: Path, tmp_path: Path
) -> None:
    del simulator
    text = f"\ufeff# ids of Tuesday\r\n{JPEG}\r\n\r\n  {VOICE}  \r\n{PDF}\r\nnot an id\r\n{JPEG}\r\n{'1' * 101}\r\n999"
    listed = tmp_path / "ids.txt"
    listed.write_text(text, encoding="utf-8")
    ran = get(world, "--from-file", str(listed), to=str(folder))
    assert ran.code == 1
    assert (ran.summary["stored"], ran.summary["skipped"], ran.summary["failed"]) == (3, 1, 3)
    wrong = {"not an id": "ValidationException", "1" * 101: "ValidationException", "999": "ResourceNotFoundException"}
    assert ran.errors == wrong
    assert ran.summary["errors"] == {"ValidationException": 2, "ResourceNotFoundException": 1}
    again = get(world, VOICE, "--from-file", "-", to=str(folder), stdin=text)
    assert (again.summary["stored"], again.summary["skipped"], again.summary["failed"]) == (0, 5, 3)


def test_a_failure_stops_nothing_else_and_says_whether_it_may_pass(
    world: World, simulator: Simulator, folder: Path
) -> None:
    simulator.fault(VOICE, kind="wrong_hash", times=50)
    simulator.fault(JPEG, kind="status", status=503, times=1)
    ran = get(world, *MEDIA, "12345", to=str(folder), WHAUL_DEADLINE="3")
    assert ran.code == 1
    assert sorted(ran.by_status["stored"]) == [JPEG, PDF]
    failed = {outcome["mediaId"]: outcome["error"] for outcome in ran.outcomes if outcome["status"] == "failed"}
    assert (failed[VOICE]["code"], failed[VOICE]["mayPass"]) == ("DependencyException", True)
    assert (failed["12345"]["code"], failed["12345"]["mayPass"]) == ("ResourceNotFoundException", False)
    assert {path.name for path in folder.iterdir()} == {NAMES[JPEG], NAMES[PDF]}
    simulator.clear_faults()
    assert get(world, *MEDIA, to=str(folder)).by_status["stored"] == [VOICE]


def test_a_token_that_meta_refuses_stops_the_run_early(world: World, simulator: Simulator, folder: Path) -> None:
    simulator.fault(kind="error", code=190, status=401, times=10_000)
    ids = "\n".join(str(number) for number in range(1000, 2000))
    ran = get(world, "--from-file", "-", "--concurrency", "4", to=str(folder), stdin=ids)
    assert ran.code == 1
    assert 20 <= ran.summary["failed"] <= 24
    assert "AccessDeniedByMetaException" in ran.summary["stopped"]
    assert len(simulator.requests) == ran.summary["failed"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--to", "x"), "MEDIA_ID|media ids"),
        (("1", "--to", "gs://bucket/x"), "s3://bucket/prefix"),
        (("1", "--to", "s3:/bucket/x"), "s3://bucket/prefix"),
        (("1", "--to", "file:///tmp/x"), "without file:"),
        (("1", "--to", "x", "--bandwidth", "fast"), "10M"),
        (("1", "--to", "x", "--name", "{ext}"), "{media}"),
        (("1", "--to", "x", "--report", "out.txt"), ".csv"),
        (("1", "--to", "x", "--format", "xml"), "json"),
        (("1", "--to", "x", "--deadline", "0"), "deadline"),
        (("1", "--to", "s3://B/x"), "s3://bucket/prefix"),
        (("1", "--to", ""), "s3://bucket/prefix"),
        (("1", "--to", "s3://bucket/../x"), "segment"),
        (("1", "--to", f"s3://bucket/{'x' * 1000}"), "1024"),
        (("1", "--to", "x", "--concurrency", "0"), "concurrency"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_wrong_usage_ends_with_exit_code_2(world: World, arguments: tuple[str, ...], told: str) -> None:
    said = refusal(world, *arguments, "--phone-number-id", world.phone_number_id, code=2, TERMINAL_WIDTH="400")
    assert re.search(told, said)


def test_what_cannot_work_for_any_id_is_said_before_anything_is_fetched(
    world: World, simulator: Simulator, folder: Path, tmp_path: Path
) -> None:
    known = ("--phone-number-id", world.phone_number_id)
    (tmp_path / "file").write_bytes(b"")
    bucket = (JPEG, *known, "--to", f"s3://{BUCKET}/x")
    assert "whaul accounts" in refusal(
        world, JPEG, "--to", str(folder), "--phone-number-id", "phone-number-id-" + "0" * 32
    )
    assert "does not exist" in refusal(world, JPEG, *known, "--to", "s3://no-such-bucket/")
    assert "does not exist" in refusal(world, JPEG, *known, "--to", "s3://no-such-bucket/", "--force")
    assert f"{tmp_path}/file failed: File exists" in refusal(world, JPEG, *known, "--to", str(tmp_path / "file"))
    assert "it is a folder" in refusal(world, "--from-file", str(tmp_path), *known, "--to", str(folder))
    assert "cannot read" in refusal(world, "--from-file", str(tmp_path / "none"), *known, "--to", str(folder))
    assert "no S3 credentials" in refusal(world, *bucket, AWS_ACCESS_KEY_ID="", AWS_SECRET_ACCESS_KEY="")
    assert "not good" in refusal(world, *bucket, AWS_SECRET_ACCESS_KEY="wrong")
    assert simulator.requests == []


def test_credentials_that_may_only_read_are_told_with_each_id(world: World, simulator: Simulator, prefix: str) -> None:
    del simulator
    reader = {"AWS_ACCESS_KEY_ID": READER[0], "AWS_SECRET_ACCESS_KEY": READER[1]}
    ran = get(world, *MEDIA, to=f"s3://{BUCKET}/{prefix}", **reader)
    assert (ran.code, set(ran.errors.values())) == (1, {"AccessDeniedException"})


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="a file that is opened and cannot be read")
def test_ids_that_cannot_be_read_end_the_run_in_order(world: World, simulator: Simulator, folder: Path) -> None:
    del simulator
    ran = get(world, JPEG, "--from-file", "/proc/self/mem", to=str(folder))
    assert (ran.code, ran.summary["stored"]) == (1, 1)
    assert ran.summary["stopped"] == "the ids cannot be read: Input/output error."


def test_a_directory_may_have_any_name(world: World, simulator: Simulator, tmp_path: Path) -> None:
    del simulator
    odd = tmp_path / os.fsdecode(b"odd \xff")
    ran = get(world, JPEG, to=str(odd))
    assert (ran.code, ran.outcomes[0]["path"]) == (0, f"{tmp_path}/odd \ufffd/{NAMES[JPEG]}")
    assert (odd / NAMES[JPEG]).is_file()


# --- lists with more than ids


def test_webhooks_bring_ids_numbers_and_names(world: World, simulator: Simulator, folder: Path) -> None:
    ids = [simulator.add_media(data, "application/pdf") for data in (b"one", b"two")]
    numbers = simulator.phone_numbers
    hooks = [
        simulator.receive(media_id, file_name=f"bill {i}.pdf", sender="15550100999", phone_number_id=numbers[i].id)
        for i, media_id in enumerate(ids)
    ]
    hooks.append(simulator.receive(text="hello"))
    stdin = "\n".join(json.dumps(hook) for hook in hooks)
    arguments = ("--from-file", "-", "--to", str(folder), "--name", "{number}/{sender}/{name}-{media}{ext}")
    for status in ("stored", "skipped"):
        done = world.run("get", *arguments, stdin=stdin)
        ran = parsed(done.returncode, done.stdout, done.stderr)
        assert (ran.code, sorted(ran.by_status[status])) == (0, sorted(ids))
        told = {outcome["mediaId"]: outcome["phoneNumberId"] for outcome in ran.outcomes}
        assert told == {ids[0]: world.phone_number_id, ids[1]: world.other_phone_number_id}
    for i, data in enumerate((b"one", b"two")):
        assert (folder / numbers[i].id / "15550100999" / f"bill_{i}-{ids[i]}.pdf").read_bytes() == data


def test_a_csv_names_the_number_of_each_id_in_any_form(
    world: World, store: Store, simulator: Simulator, prefix: str, tmp_path: Path
) -> None:
    meta_id = simulator.phone_numbers[0].id
    rows = [(JPEG, meta_id), (VOICE, world.phone_number_id), (PDF, world.phone_number_arn), ("7", "500000000000009")]
    listed = tmp_path / "ids.csv"
    listed.write_text("media_id;number\n" + "\n".join(";".join(row) for row in rows), encoding="utf-8")
    report = tmp_path / "report.csv"
    arguments = ("--from-file", str(listed), "--to", f"s3://{BUCKET}/{prefix}", "--name", "{number}/{media}{ext}")
    done = world.run("get", *arguments, "--report", str(report))
    ran = parsed(done.returncode, done.stdout, done.stderr)
    assert (ran.code, ran.errors) == (1, {"7": "ResourceNotFoundException"})
    assert "500000000000009" in done.stdout
    assert sorted(store.keys(prefix)) == [f"{prefix}{meta_id}/{name}" for name in NAMES.values()]
    with report.open(encoding="utf-8", newline="") as file:
        reported = {row["mediaId"]: row for row in csv.DictReader(file)}
    assert {row["status"] for row in reported.values()} == {"stored", "failed"}
    assert reported[JPEG]["location"] == f"s3://{BUCKET}/{prefix}{meta_id}/{NAMES[JPEG]}"
    assert (reported["7"]["errorCode"], reported["7"]["mayPass"]) == ("ResourceNotFoundException", "false")
    again = world.run("get", *arguments[2:], "--from-file", str(report))
    assert parsed(again.returncode, again.stdout, again.stderr).summary["skipped"] == 3


def test_the_number_may_be_metas_id_and_is_needed_only_if_there_are_several(
    world: World, simulator: Simulator, folder: Path, tmp_path: Path
) -> None:
    assert parsed_run(world, JPEG, "--to", str(folder), "--phone-number-id", simulator.phone_numbers[0].id).code == 0
    said = refusal(world, JPEG, "--to", str(folder))
    assert "--phone-number-id" in said
    assert world.phone_number_id in said
    assert world.other_phone_number_id in said
    ran = parsed_run(world, "--from-file", "-", "--to", str(folder), stdin=VOICE)
    assert ran.errors == {VOICE: "ValidationException"}
    alone = {"WHAUL_DATABASE_URL": f"sqlite:///{tmp_path / 'alone.db'}", "WHATSAPP_ACCESS_TOKEN": simulator.token}
    assert "whaul link" in refusal(world, JPEG, "--to", str(folder), **alone)
    number = f"{simulator.phone_numbers[0].id}=+15550100"
    link = ("link", "--waba-id", "1", "--no-verify", "--name", "Own", "--phone-number", number)
    assert world.run(*link, **alone).returncode == 0
    assert parsed_run(world, VOICE, "--to", str(folder), **alone).by_status["stored"] == [VOICE]


def parsed_run(world: World, *arguments: str, stdin: str = "", **environ: str) -> Ran:
    """Run the command as it is."""
    done = world.run("get", *arguments, stdin=stdin, **environ)
    return parsed(done.returncode, done.stdout, done.stderr)


# --- dry runs, reports, bandwidth


def test_a_dry_run_says_where_files_would_go_and_touches_nothing(
    world: World, store: Store, simulator: Simulator, to: str, folder: Path
) -> None:
    ran = get(world, *MEDIA, "999", "--dry-run", to=to)
    assert sorted(ran.by_status["planned"]) == sorted(MEDIA)
    for outcome in [outcome for outcome in ran.outcomes if outcome["status"] == "planned"]:
        assert outcome.get("path", outcome.get("key", "")).endswith(NAMES[outcome["mediaId"]])
        assert outcome["fileSize"] == simulator.media[outcome["mediaId"]].size
    assert (ran.code, ran.summary["planned"], ran.summary["stored"]) == (1, 3, 0)
    assert ran.summary["bytes"] == sum(simulator.media[media_id].size for media_id in MEDIA)
    assert asked_of_meta(simulator)["download"] == 0
    assert not folder.exists()
    if to.startswith("s3://"):
        assert store.keys(to.removeprefix(f"s3://{BUCKET}/")) == []


def test_a_report_is_whole_after_an_interrupt(world: World, simulator: Simulator, folder: Path, tmp_path: Path) -> None:
    many, report = add_many(simulator, 60), tmp_path / "out.csv"
    ran = interrupted(world, [*many], str(folder), 30, signal.SIGINT, options=("--report", str(report)))
    assert ran.code == 130
    *outcomes, _summary = ran.told
    text = report.read_text(encoding="utf-8")
    assert text.endswith("\n")
    assert [row["mediaId"] for row in csv.DictReader(text.splitlines())] == [each["mediaId"] for each in outcomes]


def test_a_report_that_cannot_be_written_is_said_at_once(world: World, simulator: Simulator, folder: Path) -> None:
    known = ("--phone-number-id", world.phone_number_id, "--to", str(folder))
    listed = folder.with_name("list.csv")
    listed.write_text(f"media_id\n{JPEG}\n", encoding="utf-8")
    same = ("--from-file", str(listed), "--report", str(listed))
    assert "the list itself" in refusal(world, *same, *known, code=2)
    assert JPEG in listed.read_text(encoding="utf-8")
    assert "cannot write /none/out.csv" in refusal(world, JPEG, *known, "--report", "/none/out.csv")
    assert simulator.requests == []


def test_bandwidth_bounds_the_whole_run(world: World, simulator: Simulator, folder: Path) -> None:
    size, rate = 20_000, 100_000
    ids = [simulator.add_media(os.urandom(size), "video/mp4") for _ in range(4)]
    ran = get(world, *ids, "--bandwidth", f"{rate}B", to=str(folder))
    assert ran.summary["stored"] == 4
    assert ran.summary["seconds"] >= len(ids) * size / rate


# --- throttling


def test_meta_s_throttling_is_waited_out(world: World, simulator: Simulator, folder: Path) -> None:
    simulator.fault(kind="rate_limit", regain_minutes=0, retry_after=1, times=1)
    ran = get(world, *MEDIA, to=str(folder), WHAUL_DEADLINE="0.5")
    assert (ran.code, ran.summary["stored"]) == (0, 3)
    assert "Meta asks to wait 1 s." in ran.stderr


def test_a_deadline_that_is_given_bounds_the_wait(world: World, simulator: Simulator, folder: Path) -> None:
    simulator.fault(kind="rate_limit", times=10_000)
    ran = get(world, *MEDIA, "--deadline", "20", to=str(folder))
    assert set(ran.errors.values()) == {"ThrottledRequestException"}
    assert len(simulator.requests) <= 3
    assert "retry the failed ones" in ran.stderr


def test_an_interrupt_ends_the_wait_for_meta(world: World, simulator: Simulator, folder: Path) -> None:
    simulator.fault(kind="rate_limit", times=10_000)
    command = [sys.executable, "-P", "-m", "whaul", "get", *MEDIA, "--to", str(folder)]
    command += ["--phone-number-id", world.phone_number_id, "--concurrency", "1"]
    with subprocess.Popen(
        command, env=world.environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        assert process.stdout is not None
        assert "Meta asks to wait 60 s" in process.stderr.readline()
        process.send_signal(signal.SIGINT)
        told = process.stderr.read()
        summary = json.loads(process.stdout.read())["summary"]
        assert process.wait(PATIENCE) == 130
    assert (summary["left"], summary["failed"]) == (3, 0)
    assert "Finishing 0 files; Ctrl-C again stops at once." in told
    assert len(simulator.requests) == 1


def test_failures_that_would_come_again_are_not_said_to_be_worth_another_run(
    world: World, simulator: Simulator, folder: Path
) -> None:
    del simulator
    assert "same command" not in get(world, "999", "not-an-id", to=str(folder)).stderr


def page(*keys: str, following: str = "") -> Answer:
    """An answer to a listing."""
    token = f"<NextContinuationToken>{following}</NextContinuationToken>" if following else ""
    contents = "".join(f"<Contents><Key>{key}</Key></Contents>" for key in keys)
    return Answer(200, {}, f"<ListBucketResult>{token}{contents}</ListBucketResult>".encode())


def test_listing_that_is_not_allowed_says_what_to_allow_and_force_does_without(
    world: World, simulator: Simulator, s3_stand_in: StandIn
) -> None:
    s3_stand_in.script(s3_answer(403, "AccessDenied"))
    environ = {"AWS_ENDPOINT_URL_S3": s3_stand_in.url}
    arguments = (JPEG, "--phone-number-id", world.phone_number_id, "--to", "s3://bucket/x")
    assert "s3:ListBucket" in refusal(world, *arguments, **environ)
    assert simulator.requests == []
    s3_stand_in.script(s3_answer(403, "AccessDenied"))
    assert get(world, JPEG, "--force", to="s3://bucket/x", **environ).summary["stored"] == 1


def test_a_listing_is_followed_through_its_pages_in_the_buckets_own_region(
    world: World, simulator: Simulator, s3_stand_in: StandIn
) -> None:
    elsewhere = s3_answer(301, "PermanentRedirect", {"x-amz-bucket-region": "eu-west-1"})
    pages = [page(f"a&amp;b/{JPEG}.jpeg", "a&amp;b/other", following="t/1="), page(f"a&amp;b/{VOICE}.ogg")]
    slow = s3_answer(503, "SlowDown")
    s3_stand_in.script(elsewhere, page(), slow, pages[0], slow, pages[1])  # no page is asked for again but for its own
    ran = get(
        world, "--from-file", "-", to="s3://bucket/a&b/", stdin="\n".join(MEDIA), AWS_ENDPOINT_URL_S3=s3_stand_in.url
    )
    assert (sorted(ran.by_status["skipped"]), ran.by_status["stored"]) == ([JPEG, VOICE], [PDF])
    assert simulator.count(JPEG)["metadata"] == 0
    listings = [request for request in s3_stand_in.requests if request.method == "GET"]
    assert all("prefix=a%26b%2F" in request.target for request in listings)
    assert ["continuation-token=t%2F1%3D" in request.target for request in listings] == [False] * 4 + [True] * 2
    assert ["/eu-west-1/s3/" in (request.header("authorization") or "") for request in listings] == [False] + [True] * 5


@pytest.mark.parametrize("answer", [Answer(200, {}, b"<html>"), s3_answer(400, "InvalidRequest")], ids=["html", "400"])
def test_a_listing_that_is_none_ends_the_run_before_it_begins(
    world: World, simulator: Simulator, s3_stand_in: StandIn, answer: Answer
) -> None:
    s3_stand_in.always(answer)
    environ = {"AWS_ENDPOINT_URL_S3": s3_stand_in.url, "WHAUL_DEADLINE": "1"}
    refusal(world, JPEG, "--phone-number-id", world.phone_number_id, "--to", "s3://bucket/x", **environ)
    assert simulator.requests == []


def test_a_terminal_is_shown_a_bar_and_the_failures(world: World, simulator: Simulator, folder: Path) -> None:
    del simulator
    command = [sys.executable, "-P", "-m", "whaul", "get", *MEDIA, "999", "\x1b[2J", "--to", str(folder)]
    command += ["--phone-number-id", world.phone_number_id]
    main, terminal = pty.openpty()
    environ = world.environ | {"TERM": "xterm", "COLUMNS": "120"}
    with subprocess.Popen(command, env=environ, stdin=terminal, stdout=terminal, stderr=terminal) as process:
        os.close(terminal)
        told = b""
        try:
            while piece := os.read(main, 65536):
                told += piece
        except OSError:
            pass  # how a terminal says that nobody writes to it any more
        os.close(main)
    text = told.decode()
    assert process.returncode == 1
    assert "5/5" in text
    assert "999: ResourceNotFoundException" in text
    assert r"\x1b[2J: ValidationException" in text
    assert "\x1b[2J" not in text
    assert "3 stored" in text
    assert "2 failed" in text
    assert '"mediaId"' not in text


def add_many(simulator: Simulator, count: int) -> dict[str, bytes]:
    """Put small files to Meta, some of an uncommon type; return them by id."""
    files = {}
    for number in range(count):
        data = hashlib.sha256(str(number).encode()).digest() * (1 + number % 40)
        kind = ("image/jpeg", "audio/ogg; codecs=opus", "application/pdf", "text/x-unusual")[number % 4]
        files[simulator.add_media(data, kind)] = data
    return files


@dataclass
class Interrupted:
    """A run that was stopped on its way."""

    code: int
    told: list[dict[str, Any]]
    stderr: str


def interrupted(
    world: World, ids: Sequence[str], to: str, after: int, *signals: int, options: Sequence[str] = ()
) -> Interrupted:
    """Start a run, wait for so many outcomes, send the signals, and read the rest."""
    command = [sys.executable, "-P", "-m", "whaul", "get", "--from-file", "-", "--to", to]
    command += ["--phone-number-id", world.phone_number_id, *options]
    with subprocess.Popen(
        command, env=world.environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdin.write("\n".join(ids) + "\n")
        process.stdin.flush()  # and stays open, as that of a producer that has not ended
        told = [process.stdout.readline() for _ in range(after)]
        for number in signals:
            process.send_signal(number)
        told += process.stdout.readlines()
        stderr = process.stderr.read()
        code = process.wait(PATIENCE)
    return Interrupted(code, [json.loads(line) for line in told], stderr)


@pytest.mark.long
def test_many_ids_interrupted_killed_and_resumed_are_each_stored_once(
    world: World, store: Store, simulator: Simulator, to: str
) -> None:
    count = MANY if to.startswith("s3://") else MANY // 4
    many = add_many(simulator, count)
    ids = [*many]
    first = interrupted(world, ids[: count // 2], to, count // 4, signal.SIGINT)
    assert first.code == 130, first.stderr
    assert "Traceback" not in first.stderr
    *outcomes, last = first.told
    summary = last["summary"]
    assert summary["stopped"] == "interrupted."
    assert count // 4 <= summary["stored"] == len(outcomes) < count
    stored_first = {outcome["mediaId"] for outcome in outcomes}

    second = interrupted(world, ids[: 3 * count // 4], to, summary["stored"] + count // 4, signal.SIGKILL)
    assert second.code == -signal.SIGKILL
    by_second = Counter(outcome["status"] for outcome in second.told)
    assert by_second["skipped"] == len(stored_first)
    assert {outcome["mediaId"] for outcome in second.told if outcome["status"] == "skipped"} == stored_first
    told = stored_first | {outcome["mediaId"] for outcome in second.told}

    third = get(world, "--from-file", "-", to=to, stdin="\n".join(ids))
    assert third.code == 0, third.stderr
    assert sorted(third.by_status["stored"] + third.by_status["skipped"]) == sorted(ids)
    skipped = set(third.by_status["skipped"])
    assert told <= skipped
    # What the killed run stored at its very end, it could not tell any more: no more than one for each worker.
    assert len(skipped - told) <= 16

    again = sum(simulator.count(media_id)["completed_downloads"] for media_id in ids) - count
    assert again <= 16, "only what was on its way when the run was killed is fetched again"
    assert all(simulator.count(media_id)["metadata"] == 1 for media_id in told)
    assert stored_hashes(store, to) == {
        media_id: hashlib.md5(data, usedforsecurity=False).hexdigest() for media_id, data in many.items()
    }


def stored_hashes(store: Store, to: str) -> dict[str, str]:
    """The MD5 of every file in a place, by media id; each id may be there once."""
    if to.startswith("s3://"):
        prefix = to.removeprefix(f"s3://{BUCKET}/")
        pages = store.client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix)
        objects = [item for page in pages for item in page["Contents"]]
        found = [(item["Key"].removeprefix(prefix), item["ETag"].strip('"')) for item in objects]
    else:
        files = Path(to).iterdir()
        found = [(path.name, hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()) for path in files]
    by_id = {name.partition(".")[0]: md5 for name, md5 in found}
    assert len(by_id) == len(found)
    return by_id


def test_an_interrupt_waits_for_what_is_under_way_and_a_second_one_does_not(
    world: World, simulator: Simulator, folder: Path
) -> None:
    simulator.fault(JPEG, kind="stall", hop="download", times=10)
    command = [sys.executable, "-P", "-m", "whaul", "get", JPEG, PDF, "--to", str(folder)]
    command += ["--phone-number-id", world.phone_number_id]
    with subprocess.Popen(
        command, env=world.environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert json.loads(process.stdout.readline())["mediaId"] == PDF
        eventually(lambda: simulator.count(JPEG)["download"] == 1)
        process.send_signal(signal.SIGTERM)
        assert process.stderr.readline() == "Finishing 1 file; Ctrl-C again stops at once.\n"
        process.send_signal(signal.SIGINT)
        summary = json.loads(process.stdout.read())["summary"]
        assert process.wait(PATIENCE) == 130
    assert (summary["stored"], summary["left"]) == (1, 1)
    assert [path.name for path in folder.iterdir()] == [NAMES[PDF]]


def test_a_reader_of_the_output_that_leaves_ends_the_run(world: World, simulator: Simulator, folder: Path) -> None:
    many = add_many(simulator, 200)
    command = [sys.executable, "-P", "-m", "whaul", "get", "--from-file", "-", "--to", str(folder)]
    command += ["--phone-number-id", world.phone_number_id]
    with subprocess.Popen(
        command, env=world.environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdin.write("\n".join(many) + "\n")
        process.stdin.flush()
        process.stdout.readline()
        process.stdout.close()
        told = process.stderr.read()
        assert process.wait(PATIENCE) == 1
    assert "Traceback" not in told
    assert "no longer read" in told


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="/dev/full stands for a full disk")
def test_output_that_finds_no_room_ends_the_run(world: World, simulator: Simulator, folder: Path) -> None:
    del simulator
    command = [sys.executable, "-P", "-m", "whaul", "get", *MEDIA, "--concurrency", "1", "--to", str(folder)]
    command += ["--phone-number-id", world.phone_number_id]
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            command, env=world.environ, stdout=full, stderr=subprocess.PIPE, text=True, timeout=PATIENCE, check=False
        )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "standard output cannot be written: No space left on device." in done.stderr
    assert "1 stored" in done.stderr
