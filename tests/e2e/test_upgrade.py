"""From earlier releases to this one: their settings, their data, and two of their servers, under load."""

import base64
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.receiver import Receiver, receiving
from harness.releases import FIRST, RECENT, THIS, Release
from harness.store import BUCKET, Store
from harness.waiting import eventually
from harness.world import World
from tools.certificates import make_certificates
from tools.restarts.fleet import Call, Caller, Load, fleet
from tools.restarts.nginx import NginxMissingError, nginx, nginx_program
from tools.restarts.release import migrate
from whaul.simulator import Simulator
from whaul.simulator.apps import APP_ID, DEFAULT_APP_SECRET
from whaul.simulator.webhooks.deliveries import Delivery
from whaul.stack.local import clean_environment, whaul
from whaul.stack.processes import answers, free_ports

pytestmark = pytest.mark.long

PDF = "100000000000003"
SECRET_KEY = base64.urlsafe_b64encode(bytes(32)).decode()
SETTINGS = {
    "AWS_REGION": "eu-west-1",
    "WHAUL_ACCOUNT_ID": "123456789012",
    "WHAUL_APP_SECRETS": "123=0123456789abcdef0123456789abcdef",
    "WHAUL_ARCHIVE_CONCURRENCY": "4",
    "WHAUL_AUDIT_LOG": "stdout",
    "WHAUL_AUDIT_LOG_FILES": "3",
    "WHAUL_AUDIT_LOG_MAX_SIZE": "1000000",
    "WHAUL_AUTH": "sigv4",
    "WHAUL_DATABASE_URL": "sqlite:////var/lib/whaul/whaul.db",
    "WHAUL_DEADLINE": "50",
    "WHAUL_DELIVERY_PERIOD": "48h",
    "WHAUL_EVENTS_AWS_PROFILE": "events",
    "WHAUL_EVENT_HOSTS": "*.example.com",
    "WHAUL_EVENT_RETENTION": "10d",
    "WHAUL_EXTENSIONS": "image/jpeg=.jpg",
    "WHAUL_GRAPH_URL": "https://graph.example.com",
    "WHAUL_GRAPH_USER_AGENT": "example/1",
    "WHAUL_GRAPH_VERSION": "v24.0",
    "WHAUL_HOST": "0.0.0.0",  # noqa: S104 - nothing listens
    "WHAUL_IDLE_TIMEOUT": "60",
    "WHAUL_KEY_MODE": "exact",
    "WHAUL_LOG_FORMAT": "json",
    "WHAUL_LOG_LEVEL": "warning",
    "WHAUL_MAX_BACKLOG": "1000",
    "WHAUL_MAX_BACKLOG_BYTES": "1000000000",
    "WHAUL_MAX_FILE_SIZE": "1000000",
    "WHAUL_MAX_QUEUE": "100",
    "WHAUL_MAX_TRANSFERS": "32",
    "WHAUL_MEDIA_HOSTS": "media.example.com",
    "WHAUL_PORT": "9000",
    "WHAUL_PRESIGNED_HOSTS": "*.example.net",
    "WHAUL_RATE_BURST": "20",
    "WHAUL_RATE_LIMIT": "10",
    "WHAUL_ROOT_ACCESS_KEY_ID": "root",
    "WHAUL_ROOT_SECRET_ACCESS_KEY": "a-secret-of-forty-characters-or-thereabouts",
    "WHAUL_S3_ADDRESSING_STYLE": "path",
    "WHAUL_S3_EXPECTED_BUCKET_OWNER": "111122223333",
    "WHAUL_S3_SSE": "aws:kms",
    "WHAUL_S3_SSE_KMS_KEY_ID": "alias/media",
    "WHAUL_S3_STORAGE_CLASS": "STANDARD_IA",
    "WHAUL_S3_TAGS": "team=a,cost=b",
    "WHAUL_SECRET_KEY": SECRET_KEY,
    "WHAUL_SHUTDOWN_NOTICE": "20",
    "WHAUL_TRUSTED_PROXIES": "10.0.0.0/8",
    "WHAUL_WEBHOOK_HOST": "127.0.0.2",
    "WHAUL_WEBHOOK_PORT": "9001",
    "WHAUL_WEBHOOK_RETENTION": "5d",
    "WHAUL_WEBHOOK_VERIFY_TOKENS": "let-me-in",
    "WHAUL_WORKERS": "2",
}
"""A value of every setting that a release had; not the default where there is another."""
PAUSE = 0.2
"""Seconds between two webhooks."""
KINDS = ("text", "image", "status_read")
"""Examples of webhooks, sent in turn."""


@pytest.fixture(scope="module", autouse=True)
def _nginx() -> None:
    try:
        nginx_program()
    except NginxMissingError as missing:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"NOT TESTED: UPGRADES BEHIND NGINX. {missing}")


def fetches(number: str) -> list[Call]:
    """A call that reads, and one that stores."""
    of = {"mediaId": PDF, "originationPhoneNumberId": number}
    to = {"destinationS3File": {"bucketName": BUCKET, "key": "upgrade/"}}
    return [("get_whatsapp_message_media", of | {"metadataOnly": True}), ("get_whatsapp_message_media", of | to)]


def more_calls(number: str) -> list[Call]:
    """Those that the first release did not have."""
    message = {"messaging_product": "whatsapp", "to": "+15550111", "type": "text", "text": {"body": "Hello"}}
    sent = {"originationPhoneNumberId": number, "message": json.dumps(message), "metaApiVersion": "v25.0"}
    return [("send_whatsapp_message", sent), ("list_linked_whatsapp_business_accounts", {})]


def goes_on(load: Load) -> None:
    """Wait until each server has had several more calls."""
    enough = load.calls + 10
    eventually(lambda: load.calls > enough)


@contextmanager
def webhooks(simulator: Simulator) -> Iterator[list[Delivery]]:
    """Post one after the other while the block runs; yield them."""
    posted: list[Delivery] = []
    ended = threading.Event()

    def run() -> None:
        while not ended.wait(PAUSE):
            posted.extend(simulator.send_webhook(KINDS[len(posted) % len(KINDS)]))
            posted[-1].answered.result()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield posted
    finally:
        ended.set()
        thread.join()


def told(value: dict[str, Any]) -> set[tuple[str, str]]:
    """What a webhook's value says: messages, and statuses of messages."""
    messages = {(message["id"], message["type"]) for message in value.get("messages", ())}
    return messages | {(status["id"], status["status"]) for status in value.get("statuses", ())}


def posted_to(receiver: Receiver) -> set[tuple[str, str]]:
    """What its events say."""
    entries = [json.loads(post.json()["whatsAppWebhookEntry"]) for post in list(receiver.posts)]
    return {fact for entry in entries for change in entry["changes"] for fact in told(change["value"])}


@pytest.mark.parametrize("release", [FIRST, RECENT], ids=lambda release: release.name)
def test_every_setting_keeps_its_meaning(release: Release, tmp_path: Path, world: World) -> None:
    old = release.unpacked(tmp_path / "old")
    files = make_certificates(tmp_path)
    settings = SETTINGS | {"WHAUL_TLS_CERT_FILE": str(files.chain), "WHAUL_TLS_KEY_FILE": str(files.key)}
    given = {name: settings[name] for name in old.settings}
    command = [sys.executable, "-P", "-c", "from whaul.settings import Settings; Settings.load()"]
    subprocess.run(command, env=clean_environment() | old.environment | given, check=True)
    shown = replace(world, environ=clean_environment() | given).whaul("settings")["settings"]
    found = {row["name"]: row for row in shown if row["name"] in given}
    assert found.keys() == given.keys()
    assert {row["source"] for row in found.values()} <= given.keys()


def test_from_the_first_release_no_call_fails_that_the_sdk_repeats(world: World, tmp_path: Path) -> None:
    """Its servers answer with ThrottledRequestException once they are told to stop."""
    old = FIRST.unpacked(tmp_path / "old").environment
    environ = world.environ | {"WHAUL_DATABASE_URL": f"sqlite:///{tmp_path / 'whaul.db'}"} | old
    account = whaul(["link", "--waba-id", world.simulator.waba_id], environ)["account"]
    key = whaul(["keys", "create", "--name", "caller", "--allow-all"], environ)
    with free_ports(2) as ports, fleet(ports, environ, tmp_path) as servers, nginx(tmp_path, ports) as balancer:
        calls = fetches(account["phoneNumbers"][0]["phoneNumberId"])
        with Load(Caller(balancer, key["accessKeyId"], key["secretAccessKey"], calls, attempts=10), callers=2) as load:
            migrate(environ | THIS)
            goes_on(load)
            assert not any(answers(server.ready) for server in servers)  # docs/upgrade.md says what to do
            for server in servers:
                server.environ |= THIS
                server.restart(group=False)
            goes_on(load)
        assert load.failures == {}
    own = replace(world, environ=environ | THIS)
    (kept,) = own.whaul("accounts")["linkedAccounts"]
    assert {name: kept[name] for name in account} == account
    (kept,) = own.whaul("keys", "list")["accessKeys"]
    assert (kept["accessKeyId"], kept["name"], kept["status"]) == (key["accessKeyId"], "caller", "Active")


def test_no_call_and_no_event_is_lost_on_the_way_forth_and_back(
    world: World, store: Store, simulator: Simulator, tmp_path: Path, empty_postgresql_url: str
) -> None:
    old = RECENT.unpacked(tmp_path / "old").environment
    environ = world.environ | {
        "WHAUL_DATABASE_URL": empty_postgresql_url,
        "WHAUL_SECRET_KEY": SECRET_KEY,
        "WHAUL_EVENT_HOSTS": "127.0.0.1",
        "WHAUL_SHUTDOWN_NOTICE": "0.5",
    }
    then, own = environ | old, replace(world, environ=environ | THIS)
    waba, secret = simulator.waba_id, tmp_path / "secret"
    secret.write_text(DEFAULT_APP_SECRET)
    simulator.configure(message_statuses=[])
    with receiving() as bot, receiving() as later, free_ports(2) as ports, nginx(tmp_path, ports) as balancer:
        migrate(then)
        account = whaul(["link", "--waba-id", waba, "--app-secret-file", str(secret)], then)["account"]
        key = whaul(["keys", "create", "--name", "caller", "--allow-all"], then)
        whaul(["destinations", "add", "bot", "--account", waba, "--to", bot.url], then)
        whaul(["destinations", "add", "later", "--account", waba, "--to", later.url, "--kind", "message"], then)
        whaul(["destinations", "pause", "later"], then)
        whaul(["archive", "set", waba, "--to", f"s3://{BUCKET}/upgraded/"], then)
        simulator.set_webhook(f"{balancer}/webhooks/meta/{APP_ID}")
        number = account["phoneNumbers"][0]["phoneNumberId"]
        caller = Caller(balancer, key["accessKeyId"], key["secretAccessKey"], [*fetches(number), *more_calls(number)])
        with fleet(ports, then, tmp_path) as servers:
            with Load(caller, callers=2) as load, webhooks(simulator) as posted:
                migrate(own.environ)
                goes_on(load)
                for server in servers:
                    server.environ |= THIS
                    server.restart(group=False)
                    goes_on(load)
                new_key = own.make_key("--allow-all")
                servers[0].environ |= old
                servers[0].restart(group=False)
                goes_on(load)
            assert load.failures == {}
            assert [attempt.status for delivery in posted for attempt in delivery.attempts] == [200] * len(posted)
            back = replace(caller, url=f"http://127.0.0.1:{ports[0]}", access_key_id=new_key.id)
            client = replace(back, secret_access_key=new_key.secret).client()
            (kept,) = client.list_linked_whatsapp_business_accounts()["linkedAccounts"]
            assert kept["arn"] == account["arn"]
            (kept,) = own.whaul("accounts")["linkedAccounts"]
            assert {name: kept[name] for name in account} == account
            own.do("destinations", "resume", "later")
            values = [change["value"] for each in posted for change in json.loads(each.body)["entry"][0]["changes"]]
            all_told = {fact for value in values for fact in told(value)}
            eventually(lambda: posted_to(bot) >= all_told)
            eventually(lambda: posted_to(later) >= {fact for fact in all_told if fact[1] != "read"})
            eventually(lambda: own.whaul("archive", "status")["archives"][0]["pending"] == 0)
    archived = store.client.list_objects_v2(Bucket=BUCKET, Prefix="upgraded/")["KeyCount"]
    assert archived == len([kind for _, kind in all_told if kind == "image"]) > 0
