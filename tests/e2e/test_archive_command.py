"""The archive as an operator has it: commands, a real server, webhooks, and a real store."""

from collections.abc import Iterator
from typing import Any

import pytest

from harness.bucket import bucket
from harness.store import BUCKET, Store
from harness.waiting import eventually
from harness.world import Gateway, World
from whaul.cli.archive import shown
from whaul.cli.failures import CommandError
from whaul.errors import ApiError
from whaul.simulator import Simulator
from whaul.simulator.apps import DEFAULT_APP_SECRET


@pytest.fixture(scope="module")
def own(world: World, tmp_path_factory: pytest.TempPathFactory) -> World:
    """The simulated account, linked with its app's secret in a database of its own."""
    folder = tmp_path_factory.mktemp("archive")
    environ = world.environ | {"WHAUL_DATABASE_URL": f"sqlite:///{folder / 'whaul.db'}"}
    found = World(world.simulator, environ, folder)
    (folder / "app-secret").write_text(DEFAULT_APP_SECRET)
    found.link("--app-secret-file", str(folder / "app-secret"))
    return found


@pytest.fixture(scope="module")
def gateway(own: World) -> Iterator[Gateway]:
    with own.gateway() as running:
        yield running


@pytest.fixture
def archive(own: World, simulator: Simulator) -> Iterator[Any]:
    """Runs a command; the archive is off at the end."""
    yield lambda *arguments, **environ: own.whaul("archive", *arguments, **environ)
    if own.whaul("archive", "status")["archives"]:
        own.whaul("archive", "off", simulator.waba_id)


def send(gateway: Gateway, simulator: Simulator, media_id: str) -> None:
    """Have Meta tell of a file, and wait until that is taken in."""
    gateway.world.whaul("webhooks", "subscribe", simulator.waba_id, "--url", gateway.url)
    simulator.send_webhook("image", media_id=media_id)


def status(archive: Any) -> Any:
    return archive("status")["archives"][0]


def test_a_file_lies_in_the_bucket_before_anyone_asks_for_it(
    gateway: Gateway, archive: Any, simulator: Simulator, store: Store, prefix: str
) -> None:
    [made] = archive("set", simulator.waba_id, "--to", f"s3://{BUCKET}/{prefix}", "--key", "{type}/{media}{ext}")[
        "archives"
    ]
    account = gateway.world.whaul("accounts")["linkedAccounts"][0]["id"]
    assert made == {
        "accountId": account,
        "bucket": BUCKET,
        "prefix": prefix,
        "key": "{type}/{media}{ext}",
        "phoneNumberIds": [],
        "pending": 0,
        "stored": 0,
        "failed": 0,
        "parked": 0,
        "oldestSeconds": None,
        "conditionalWrites": True,
        "parkedFor": None,
    }
    assert store.keys(prefix) == [], "what was tried is gone"
    media_id = simulator.add_media(b"a picture", "image/png")
    send(gateway, simulator, media_id)
    eventually(lambda: status(archive)["stored"] == 1)
    assert store.read(f"{prefix}image/{media_id}.png") == b"a picture"
    assert store.content_type(f"{prefix}image/{media_id}.png") == "image/png"
    [event] = gateway.world.whaul("events", "list", "--kind", "media")["events"]
    assert (event["field"], event["type"]) == ("whaul_media", "stored")
    [event] = gateway.world.whaul("events", "list", "--kind", "message")["events"]
    [file] = event["files"]
    assert (file["mediaId"], file["state"], file["key"]) == (media_id, "stored", f"{prefix}image/{media_id}.png")
    counted = 'whaul_archive_files_total{outcome="stored"} 1.0'
    eventually(lambda: counted in gateway.send("GET", "/metrics").body.decode())


def test_files_that_came_before_are_fetched_later(
    gateway: Gateway, archive: Any, simulator: Simulator, store: Store, prefix: str
) -> None:
    own = gateway.world
    media_id = simulator.add_media(b"an early picture", "image/png")
    before = len(own.whaul("events", "list", "--kind", "message")["events"])
    send(gateway, simulator, media_id)
    eventually(lambda: len(own.whaul("events", "list", "--kind", "message")["events"]) > before)
    with pytest.raises(CommandError, match="has no archive"):
        archive("backfill", simulator.waba_id, "--since", "7d")
    archive("set", simulator.waba_id, "--to", f"s3://{BUCKET}/{prefix}")
    dry = archive("backfill", simulator.waba_id, "--since", "7d", "--dry-run")
    assert dry["queued"] >= 1
    assert store.keys(prefix) == []
    assert archive("backfill", simulator.waba_id, "--since", "7d") == dry
    eventually(lambda: f"{prefix}{media_id}.png" in store.keys(prefix))
    eventually(lambda: status(archive)["pending"] == 0)
    assert archive("backfill", simulator.waba_id, "--since", "7d")["queued"] == 0, "once"
    assert archive("backfill", simulator.waba_id, "--since", "0s") == {"matched": 0, "queued": 0}


def test_files_that_failed_are_fetched_anew(
    gateway: Gateway, archive: Any, simulator: Simulator, store: Store, prefix: str
) -> None:
    media_id = simulator.add_media(b"a second picture", "image/png")
    store.put(f"{prefix}{media_id}.png", b"another")
    archive("set", simulator.waba_id, "--to", f"s3://{BUCKET}/{prefix}")
    send(gateway, simulator, media_id)
    eventually(lambda: status(archive)["failed"] == 1)
    assert archive("fetch", simulator.waba_id, media_id) == {"mediaId": media_id, "state": "pending"}
    eventually(lambda: status(archive)["failed"] == 1)
    assert store.read(f"{prefix}{media_id}.png") == b"another"
    archive("set", simulator.waba_id, "--to", f"s3://{BUCKET}/{prefix}anew/")
    assert archive("backfill", simulator.waba_id, "--since", "1h")["queued"] == 1
    eventually(lambda: status(archive)["failed"] == 0 and status(archive)["pending"] == 0)
    assert store.read(f"{prefix}anew/{media_id}.png") == b"a second picture"
    types = [event["type"] for event in gateway.world.whaul("events", "list", "--kind", "media")["events"]]
    assert types[:2] == ["stored", "failed"]
    with pytest.raises(CommandError, match="failed or waits"):
        archive("fetch", simulator.waba_id, media_id)


def test_a_store_without_conditions_is_told_apart(own: World, archive: Any, simulator: Simulator) -> None:
    with bucket() as s3:
        for honours in (False, True):
            s3.honours_conditions = honours
            [made] = archive("set", simulator.waba_id, "--to", "s3://other/", AWS_ENDPOINT_URL_S3=s3.url)["archives"]
            assert made["conditionalWrites"] is honours
        assert s3.count() == {}
    shown = own.run("archive", "status").stdout
    assert "honours If-None-Match" in shown


def test_a_bucket_that_cannot_be_is_refused_when_it_is_set(archive: Any, simulator: Simulator) -> None:
    with pytest.raises(ApiError, match="bucket does not exist"):
        archive("set", simulator.waba_id, "--to", "s3://there-is-no-such-bucket/")
    assert archive("status") == {"archives": []}


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--to", "folder"], "expected s3://bucket/prefix"),
        (["--to", "https://bucket.example"], "expected s3://bucket/prefix"),
        (["--to", f"s3://{BUCKET}/", "--key", "{type}"], "must hold {media} or {wamid}"),
        (["--to", f"s3://{BUCKET}/", "--key", "../{media}"], "path segment"),
        (["--to", f"s3://{BUCKET}/", "--phone-number", "123"], "no linked phone number"),
    ],
)
def test_what_cannot_be_set_is_told(own: World, options: list[str], problem: str, simulator: Simulator) -> None:
    result = own.run("archive", "set", simulator.waba_id, *options)
    assert result.returncode in {1, 2}
    assert problem in " ".join(result.stderr.split())


def test_unknown_accounts_and_archives_are_told(own: World, simulator: Simulator) -> None:
    for arguments in (["set", "77", "--to", f"s3://{BUCKET}/"], ["off", "77"], ["status", "77"]):
        result = own.run("archive", *arguments)
        assert result.returncode == 1
        assert "77 is not linked" in result.stderr
    result = own.run("archive", "off", simulator.waba_id)
    assert (result.returncode, result.stdout) == (1, "")
    assert "has no archive" in result.stderr
    assert "No files are kept" in own.run("archive", "status").stdout


def test_an_archive_of_one_number_keeps_no_files_of_another(
    gateway: Gateway, archive: Any, simulator: Simulator, prefix: str
) -> None:
    numbers = simulator.phone_numbers
    [made] = archive("set", simulator.waba_id, "--to", f"s3://{BUCKET}/{prefix}", "--phone-number", numbers[1].id)[
        "archives"
    ]
    assert made["phoneNumberIds"] == [gateway.world.other_phone_number_id]
    own = gateway.world
    before = len(own.whaul("events", "list", "--kind", "message")["events"])
    send(gateway, simulator, simulator.add_media(b"not this one", "image/png"))
    eventually(lambda: len(own.whaul("events", "list", "--kind", "message")["events"]) > before)
    assert own.whaul("events", "list", "--kind", "message")["events"][0]["files"] == []


def test_a_count_that_ends_somewhere_says_so() -> None:
    assert [shown(count) for count in (0, 49_999, 50_000)] == ["0", "49999", "50000 or more"]
