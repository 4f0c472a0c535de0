"""One scenario through three clients: upload, send, receive, fetch, delete, and every modelled error."""

import hashlib
import json
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import botocore.session
import pytest

from e2e.conformance.clients import ApiClient, AwsCli, Boto3, javascript
from harness.store import BUCKET, Store, s3_client
from harness.world import Gateway, Key, World
from whaul.simulator import Simulator

SCENARIO: list[dict[str, Any]] = json.loads((Path(__file__).parent / "scenario.json").read_text(encoding="utf-8"))
DOCUMENT, PICTURE = b"%PDF-1.4 a document " * 5000, b"\x89PNG a picture"
INBOUND = "100000000000001"


@pytest.fixture(scope="module", params=["boto3", "AWS CLI", "AWS SDK for JavaScript"])
def client(request: pytest.FixtureRequest) -> Iterator[ApiClient]:
    if request.param == "boto3":
        yield Boto3()
    elif request.param == "AWS CLI":
        yield AwsCli()
    else:
        with javascript() as running:
            yield running


@dataclass(frozen=True)
class Stage:
    """Where the scenario is played, and by whom, by the names that it has for them."""

    world: World
    gateways: dict[str, Gateway]
    keys: dict[str, Key]


@pytest.fixture(scope="module")
def stage(world: World, gateway: Gateway, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """The usual gateway, and one whose database holds what no key decrypts; a key that may do nothing here."""
    folder = tmp_path_factory.mktemp("broken")
    for name in ("whaul.db", "whaul.db.key"):
        shutil.copy2(world.folder / name, folder / name)
    stranger = world.key_with_policy({"Effect": "Allow", "Action": "s3:*", "Resource": "*"})
    with world.gateway(WHAUL_DATABASE_URL=f"sqlite:///{folder / 'whaul.db'}") as broken:
        with closing(sqlite3.connect(folder / "whaul.db")) as connection:
            connection.execute("UPDATE accounts SET access_token = 'what does not decrypt'")
            connection.commit()
        yield Stage(world, {"here": gateway, "broken": broken}, {"owner": world.key, "stranger": stranger})


def test_the_scenario_holds(client: ApiClient, stage: Stage, simulator: Simulator, store: Store, prefix: str) -> None:
    play = Play(client, stage, simulator, store, prefix)
    for step in SCENARIO:
        play.step(step)
    sent = [message.content for message in simulator.messages]
    asked = [play.filled(step["with"]["message"]) for step in SCENARIO if step.get("call") == "SendWhatsAppMessage"]
    assert sent == asked[:3], "each message arrived once, as it was sent, and none that was refused"


def test_the_clients_own_retries_send_no_second_message(
    client: ApiClient, world: World, gateway: Gateway, simulator: Simulator
) -> None:
    simulator.fault(hop="send", kind="reset", times=1)
    text = {"messaging_product": "whatsapp", "to": "15550100099", "type": "text", "text": {"body": "Hello"}}
    members = {
        "originationPhoneNumberId": world.phone_number_id,
        "metaApiVersion": "v25.0",
        "message": json.dumps(text).encode(),
    }
    gateway.settle()
    before = len(gateway.calls())
    outcome = client.call(gateway.url, world.key, "SendWhatsAppMessage", members, attempts=3)
    assert outcome.error == "DependencyException"
    gateway.settle()
    assert len(gateway.calls()) == before + 4, "three attempts, and what we settled with"
    assert [message.content for message in simulator.messages] == [text]
    assert sum(request.hop == "send" for request in simulator.requests) == 1


def test_every_modelled_error_is_in_the_scenario() -> None:
    model = botocore.session.Session().get_service_model("socialmessaging")
    built = {step["call"] for step in SCENARIO if "call" in step}
    modelled = {error.name for name in built for error in model.operation_model(name).error_shapes}
    assert {step["fails"] for step in SCENARIO if "fails" in step} == modelled


class Play:
    """One run of the scenario, and the values that its steps share."""

    def __init__(self, client: ApiClient, stage: Stage, simulator: Simulator, store: Store, prefix: str) -> None:
        self.client = client
        self.stage = stage
        self.simulator = simulator
        self.store = store
        store.client.put_object(Bucket=BUCKET, Key=f"{prefix}document", Body=DOCUMENT, ContentType="application/pdf")
        store.client.put_object(Bucket=BUCKET, Key=f"{prefix}picture", Body=PICTURE)
        with closing(s3_client(store.endpoint, signature_version="s3v4")) as s3:
            place = {"Bucket": BUCKET, "Key": f"{prefix}picture"}
            picture_url = s3.generate_presigned_url("get_object", Params=place)
        self.values: dict[str, Any] = {
            "number": stage.world.phone_number_id,
            "arn": stage.world.phone_number_arn,
            "bucket": BUCKET,
            "prefix": prefix,
            "document": f"{prefix}document",
            "document_size": len(DOCUMENT),
            "picture_url": picture_url,
            "back_url": store.presigned(f"{prefix}back"),
        }

    def step(self, step: dict[str, Any]) -> None:
        if step.get("simulate") == "fault":
            self.simulator.fault(**step["fault"])
        elif step.get("simulate") == "inbound":
            webhook = self.simulator.receive(INBOUND)
            message = webhook["entry"][0]["changes"][0]["value"]["messages"][0]
            size = self.simulator.media[INBOUND].size
            self.values |= {"inbound_message": message["id"], "inbound_media": message["image"]["id"]}
            self.values["inbound_size"] = size
        else:
            self.call(step)

    def call(self, step: dict[str, Any]) -> None:
        members = self.filled(step["with"])
        if "message" in members:
            members["message"] = json.dumps(members["message"], ensure_ascii=False).encode()
        gateway, key = self.stage.gateways[step.get("at", "here")], self.stage.keys[step.get("as", "owner")]
        outcome = self.client.call(gateway.url, key, step["call"], members)
        told = f"{step['does']}: {outcome}"
        if "fails" in step:
            assert (outcome.error, outcome.typed) == (step["fails"], True), told
            assert outcome.status in {None, step["status"]}, told
            return
        assert outcome.output is not None, told
        if "answers" in step:
            assert outcome.output == self.filled(step["answers"]), told
        else:
            assert sorted(outcome.output) == step["gives"], told
        self.values |= {name: outcome.output[member] for name, member in step.get("keeps", {}).items()}
        if "stores" in step:
            media_id = self.filled(step["stores"])
            key_stored = self.values["prefix"] + ("back" if media_id == self.values["uploaded"] else f"{media_id}.jpeg")
            there = hashlib.sha256(self.store.read(key_stored)).digest()
            assert there == self.simulator.media[media_id].sha256(), told

    def filled(self, template: Any) -> Any:
        """A template with its `$names` replaced."""
        if isinstance(template, dict):
            return {name: self.filled(value) for name, value in template.items()}
        if isinstance(template, str) and template.startswith("$"):
            return self.values[template[1:]]
        return template
