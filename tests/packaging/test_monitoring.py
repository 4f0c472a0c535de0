"""The board and the alerts, asked of a real Prometheus that has read a real server with traffic of all kinds."""

import json
import math
import os
import re
import shutil
import sqlite3
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from harness.parts import started
from harness.prometheus import Programs, Prometheus, programs, prometheus
from harness.receiver import receiving
from harness.waiting import PATIENCE, eventually
from tools.debian import MachineError
from tools.monitoring.alerts import GROUPS
from tools.monitoring.files import FOLDER
from tools.monitoring.queries import chosen
from whaul.local import Stack, stack
from whaul.operations.call import MAX_REFUSALS
from whaul.simulator import Simulator
from whaul.stack.customer import send_events_to
from whaul.stack.local import whaul

SELECTOR = re.compile(r"\b((?:whaul|process)_\w+|up)(\{[^}]*\})?")
NEVER_HERE = {
    'whaul_calls_total{outcome=~"InternalServiceException|ServiceUnavailable"}',
    'whaul_refreshes_total{outcome="AccessDeniedByMetaException"}',
}
"""What alerts look at and a server that is well does not show: a mistake of whaul's, and an account's token that is
refused a minute after another call needed it."""


@dataclass(frozen=True)
class Watched:
    """A server with traffic, and the Prometheus that reads it."""

    running: Stack
    prometheus: Prometheus
    again: Callable[[], None]
    """Makes one round of traffic more."""


@pytest.fixture(scope="module")
def debian() -> Iterator[Programs]:
    with started(programs(), MachineError, "PACKAGING") as found:
        yield found


@pytest.fixture(scope="module")
def watched(debian: Programs, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    folder = tmp_path_factory.mktemp("monitoring")
    settings = {"WHAUL_WORKERS": "2", "WHAUL_DEADLINE": "2", "WHAUL_AUDIT_LOG": str(folder / "audit.log")}
    with ExitStack() as parts:
        (folder / "stack").mkdir()
        running = parts.enter_context(stack(settings=settings, folder=folder / "stack"))
        target = running.gateway_url.removeprefix("http://")
        reader = parts.enter_context(prometheus(debian, folder, [target], FOLDER / "alerts.yaml"))
        taker, refuser, leaver, faller = (parts.enter_context(receiving()) for _ in range(4))
        refuser.status, leaver.status, faller.status = 413, 410, 503  # too large: dead at once; gone; down
        traffic = Traffic(running)
        for name, receiver in (("orders", taker), ("crm", refuser), ("old", leaver), ("erp", faller)):
            send_events_to(receiver.url, name, running.account_id, running.installation)
        traffic.prepare()
        yield Watched(running, reader, traffic.round)


class Traffic:
    """Calls and webhooks that succeed, and that fail in every way that an operator can see."""

    def __init__(self, running: Stack) -> None:
        self._running = running
        self._simulator: Simulator = running.simulator
        self._environ = os.environ | running.environment()
        self._calls = running.client()
        self._hurried: Any = None

    def whaul(self, *arguments: str) -> Any:
        return whaul(list(arguments), self._environ)

    def prepare(self) -> None:
        simulator = self._simulator
        simulator.configure(call_count=37, token_expires_at=int(time.time()) + 3 * 86_400)
        self.whaul("link", "--waba-id", simulator.waba_id)  # which asks Meta when the token ends
        key = self.whaul("keys", "create", "--name", "hurried", "--allow-all", "--rate-limit", "1")
        self._hurried = boto3.client(
            "socialmessaging",
            endpoint_url=self._running.gateway_url,
            region_name=self._running.region,
            aws_access_key_id=key["accessKeyId"],
            aws_secret_access_key=key["secretAccessKey"],
        )
        ids = [simulator.add_generated(1000, "image/jpeg") for _ in range(3)]
        self._good, self._down, self._denied = ids
        simulator.fault(self._down, kind="status", status=503)
        simulator.fault(self._denied, kind="error", code=190)
        self._forget_refreshes()
        (account,) = self._calls.list_linked_whatsapp_business_accounts()["linkedAccounts"]
        numbers = self._calls.get_linked_whatsapp_business_account(id=account["id"])["account"]["phoneNumbers"]
        (refused,) = {each["phoneNumberId"] for each in numbers} - {self._running.phone_number_id}
        for _ in range(2 * MAX_REFUSALS):  # one of the two workers leaves it alone from then on
            self._tried(
                self._calls.get_whatsapp_message_media,
                mediaId=self._denied,
                originationPhoneNumberId=refused,
                metadataOnly=True,
            )

    def _forget_refreshes(self) -> None:
        file = self._running.database_url.removeprefix("sqlite:///")
        with sqlite3.connect(file, timeout=PATIENCE) as database:
            database.execute("UPDATE accounts SET refreshed_at = '2026-01-01 00:00:00.000000'")
        database.close()

    def round(self) -> None:
        number = self._running.phone_number_id
        file = {"bucketName": self._running.bucket, "key": "calls/"}
        get = self._calls.get_whatsapp_message_media
        self._tried(get, mediaId=self._good, originationPhoneNumberId=number, destinationS3File=file)
        self._tried(get, mediaId="999999999999999", originationPhoneNumberId=number, metadataOnly=True)
        self._tried(get, mediaId=self._denied, originationPhoneNumberId=number, metadataOnly=True)
        self._tried(get, mediaId=self._down, originationPhoneNumberId=number, metadataOnly=True)
        self._tried(get, mediaId=self._good, originationPhoneNumberId=number, metadataOnly=True)
        source = {"bucketName": self._running.bucket, "key": f"calls/{self._good}.jpeg"}
        posted = self._tried(
            self._calls.post_whatsapp_message_media, originationPhoneNumberId=number, sourceS3File=source
        )
        if posted is not None:
            self._tried(
                self._calls.delete_whatsapp_message_media, mediaId=posted["mediaId"], originationPhoneNumberId=number
            )
        self._calls.list_linked_whatsapp_business_accounts()
        for _ in range(2):
            self._tried(self._hurried.list_linked_whatsapp_business_accounts)
        message = {"messaging_product": "whatsapp", "to": "15550100101", "type": "text", "text": {"body": "hello"}}
        self._calls.send_whatsapp_message(
            originationPhoneNumberId=number, message=json.dumps(message).encode(), metaApiVersion="v23.0"
        )
        self._simulator.receive(self._simulator.add_generated(1000, "image/jpeg"))
        self._simulator.send_webhook("text", fault="wrong_signature")

    def _tried(self, call: Callable[..., Any], **members: Any) -> Any:
        try:
            return call(**members)
        except ClientError:
            return None


def queries() -> dict[str, str]:
    """The board's expressions by the titles of their panels, as Grafana asks them when everything is chosen."""
    board = json.loads((FOLDER / "dashboard.json").read_text(encoding="utf-8"))
    found = {}
    for panel in board["panels"]:
        for target in panel.get("targets", ()):
            found[f"{panel['title']} {target['refId']}"] = chosen(target["expr"])
    return found


def selectors() -> set[str]:
    """What the alerts' expressions select."""
    exprs = "\n".join(alert.expr for group in GROUPS for alert in group.alerts)
    return {f"{name}{labels}" for name, labels in SELECTOR.findall(exprs)}


def numbers(samples: list[dict[str, Any]]) -> list[float]:
    return [value for sample in samples if not math.isnan(value := float(sample["value"][1]))]


def wait_for(watched: Watched, missing: Callable[[], list[str]]) -> None:
    """Make traffic until nothing is missing."""
    end = time.monotonic() + PATIENCE
    while found := missing():
        assert time.monotonic() < end, f"no data: {found}"
        watched.again()


def test_promtool_takes_the_files(debian: Programs) -> None:
    said = debian.check("check", "rules", FOLDER / "alerts.yaml")
    assert f"{sum(len(group.alerts) for group in GROUPS)} rules found" in said
    debian.check("check", "config", "--syntax-only", FOLDER / "prometheus.yaml")


def test_each_alert_fires_and_is_silent_as_its_cases_say(debian: Programs) -> None:
    assert "SUCCESS" in debian.check("test", "rules", FOLDER / "alerts.test.yaml")


def test_every_query_of_the_board_finds_data(watched: Watched) -> None:
    asked = queries()
    assert len(asked) > 60

    def missing() -> list[str]:
        return [title for title, expr in asked.items() if not numbers(watched.prometheus.ask(expr))]

    wait_for(watched, missing)


def test_every_series_that_an_alert_looks_at_is_there(watched: Watched) -> None:
    asked = selectors()
    assert asked >= NEVER_HERE

    def missing() -> list[str]:
        return [each for each in asked - NEVER_HERE if not numbers(watched.prometheus.ask(each))]

    wait_for(watched, missing)


def test_the_alerts_see_what_is_wrong_here(watched: Watched) -> None:
    expected = {"WhaulTokenEndsSoon", "WhaulDestinationStopped", "WhaulDeadLetters", "WhaulTokenRefused"}

    def missing() -> list[str]:
        return sorted(expected - {alert["labels"]["alertname"] for alert in watched.prometheus.alerts()})

    wait_for(watched, missing)
    assert [(rule["name"], rule["lastError"]) for rule in watched.prometheus.rules() if rule["health"] != "ok"] == []
    (ends,) = [alert for alert in watched.prometheus.alerts() if alert["labels"]["alertname"] == "WhaulTokenEndsSoon"]
    assert ends["annotations"]["summary"].startswith(f"The token of {watched.running.account_id} ends in 2d 23h")


def test_promtool_finds_nothing_wrong_with_the_metrics(debian: Programs, watched: Watched) -> None:
    with urllib.request.urlopen(f"{watched.running.gateway_url}/metrics", timeout=PATIENCE) as answer:
        assert debian.check("check", "metrics", given=answer.read()) == ""


def test_a_database_that_is_away_is_seen_until_it_is_back(watched: Watched) -> None:
    file = Path(watched.running.database_url.removeprefix("sqlite:///"))
    away = file.rename(file.with_suffix(".away"))
    eventually(lambda: numbers(watched.prometheus.ask("whaul_database_up")) == [0])
    eventually(lambda: "WhaulDatabaseDown" in {a["labels"]["alertname"] for a in watched.prometheus.alerts()})
    # Not the file itself: SQLite takes it for the one that it had open, whose log is gone.
    Path(shutil.copy2(away, file.with_suffix(".copy"))).rename(file)
    eventually(lambda: numbers(watched.prometheus.ask("whaul_database_up")) == [1])
