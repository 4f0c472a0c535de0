"""One scenario through three clients: every operation of the model, and every error that it has."""

import hashlib
import json
import shutil
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import botocore.session
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from e2e.conformance.clients import ApiClient, client
from harness.store import BUCKET, Store, s3_client
from harness.world import Gateway, Key, World
from whaul.simulator import Simulator

SCENARIO: list[dict[str, Any]] = json.loads((Path(__file__).parent / "scenario.json").read_text(encoding="utf-8"))
DOCUMENT, PICTURE = b"%PDF-1.4 a document " * 5000, b"\x89PNG a picture"
INBOUND = "100000000000001"


MODEL = botocore.session.Session().get_service_model("socialmessaging")
FLOW_JSON = {"version": "7.3", "screens": [{"id": "A", "title": "Grüße 🐋"}]}
PUBLIC_KEY = rsa.generate_private_key(65537, 2048).public_key()
PIN = "654321"


@pytest.fixture(scope="module", params=["boto3", "AWS CLI", "AWS SDK for JavaScript"], name="client")
def running_client(request: pytest.FixtureRequest) -> Iterator[ApiClient]:
    with client(request.param) as running:
        yield running


@dataclass(frozen=True)
class Stage:
    """Where the scenario is played, and by whom, by the names that it has for them."""

    world: World
    gateways: dict[str, Gateway]
    keys: dict[str, Key]


@pytest.fixture(scope="module")
def stage(world: World, gateway: Gateway, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """The usual gateway, one whose accounts may change, and one whose database holds what no key decrypts.

    And two keys: of the second, whose policy is of S3 only.
    """
    folders = {name: tmp_path_factory.mktemp(name) for name in ("apart", "broken")}
    urls = {name: f"sqlite:///{folder / 'whaul.db'}" for name, folder in folders.items()}
    for folder in folders.values():
        for name in ("whaul.db", "whaul.db.key"):
            shutil.copy2(world.folder / name, folder / name)
    stranger = world.key_with_policy({"Effect": "Allow", "Action": "s3:*", "Resource": "*"})
    keys = {"owner": world.key, "stranger": stranger}
    apart, broken = (world.gateway(WHAUL_DATABASE_URL=urls[name]) for name in ("apart", "broken"))
    with apart as apart_running, broken as broken_running:
        with closing(sqlite3.connect(folders["broken"] / "whaul.db")) as connection:
            connection.execute("UPDATE accounts SET access_token = 'what does not decrypt'")
            connection.commit()
        yield Stage(world, {"here": gateway, "apart": apart_running, "broken": broken_running}, keys)


def test_the_scenario_holds(client: ApiClient, stage: Stage, simulator: Simulator, store: Store, prefix: str) -> None:
    play = Play(client, stage, simulator, store, prefix)
    for step in SCENARIO:
        play.step(step)
    sent = [message.content for message in simulator.messages]
    asked = [play.filled(step["with"]["message"]) for step in SCENARIO if step.get("call") == "SendWhatsAppMessage"]
    assert sent == asked[:3], "each message arrived once, as it was sent, and none that was refused"
    (flow,) = simulator.state.flows.values()
    assert json.loads(flow.flow_json) == FLOW_JSON
    if "SendWhatsAppConversionEvent" not in client.lacks:
        (event,) = simulator.conversion_events
        (told,) = [play.filled(step["with"]["eventData"]) for step in SCENARIO if "Conversion" in step.get("call", "")]
        assert event == {"dataset_id": play.values["dataset"]} | told


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


def test_the_scenario_has_every_operation_and_every_error_of_the_model() -> None:
    calls = [step for step in SCENARIO if "call" in step]
    succeeding = {step["call"] for step in calls if "fails" not in step}
    assert succeeding == set(MODEL.operation_names)
    modelled = {error.name for name in MODEL.operation_names for error in MODEL.operation_model(name).error_shapes}
    assert {step["fails"] for step in calls if "fails" in step} == modelled


class Play:
    """One run of the scenario, and the values that its steps share."""

    def __init__(self, client: ApiClient, stage: Stage, simulator: Simulator, store: Store, prefix: str) -> None:
        self.client = client
        self.stage = stage
        self.simulator = simulator
        self.store = store
        store.client.put_object(Bucket=BUCKET, Key=f"{prefix}document", Body=DOCUMENT, ContentType="application/pdf")
        store.client.put_object(Bucket=BUCKET, Key=f"{prefix}picture", Body=PICTURE)
        store.client.put_object(Bucket=BUCKET, Key=f"{prefix}header", Body=PICTURE, ContentType="image/png")
        with closing(s3_client(store.endpoint, signature_version="s3v4")) as s3:
            place = {"Bucket": BUCKET, "Key": f"{prefix}picture"}
            picture_url = s3.generate_presigned_url("get_object", Params=place)
        (account,) = stage.world.whaul("accounts")["linkedAccounts"]
        self.values: dict[str, Any] = {
            "account": account["id"],
            "account_arn": account["arn"],
            "waba": simulator.waba_id,
            "new_number": simulator.phone_numbers[1].id,
            "pin": PIN,
            "meta_token": simulator.token,
            "flow_json": FLOW_JSON,
            "public_key": PUBLIC_KEY.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode(),
            "now": int(time.time()),
            "number": stage.world.phone_number_id,
            "arn": stage.world.phone_number_arn,
            "bucket": BUCKET,
            "prefix": prefix,
            "header": f"{prefix}header",
            "document": f"{prefix}document",
            "document_size": len(DOCUMENT),
            "picture_url": picture_url,
            "back_url": store.presigned(f"{prefix}back"),
        }

    def step(self, step: dict[str, Any]) -> None:
        if step.get("simulate") == "fault":
            self.simulator.fault(**self.filled(step["fault"]))
        elif step.get("simulate") == "new number":
            self.simulator.configure(two_factor_pin=PIN)
            self.simulator.change_phone_number(self.values["new_number"], status="PENDING")
        elif step.get("simulate") == "permission":
            told = self.simulator.calling.permit("15550100099")["messages"][0]["interactive"]["call_permission_reply"]
            self.values["permitted_until"] = told["expiration_timestamp"]
        elif step.get("simulate") == "inbound":
            webhook = self.simulator.receive(INBOUND)
            message = webhook["entry"][0]["changes"][0]["value"]["messages"][0]
            size = self.simulator.media[INBOUND].size
            self.values |= {"inbound_message": message["id"], "inbound_media": message["image"]["id"]}
            self.values["inbound_size"] = size
        else:
            self.call(step)

    def call(self, step: dict[str, Any]) -> None:
        if step["call"] in self.client.lacks:
            found = self.client.call(self.stage.world.simulator.url, self.stage.keys["owner"], step["call"], {})
            assert found.error == "the SDK has no such operation"
            return
        members = self.filled(step["with"])
        for name, shape in MODEL.operation_model(step["call"]).input_shape.members.items():
            if name in members and shape.type_name == "blob":
                members[name] = json.dumps(members[name], ensure_ascii=False).encode()
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
        if "gives" in step:
            assert sorted(outcome.output) == step["gives"], told
        if "holds" in step:
            assert part_of(outcome.output, self.filled(step["holds"])) == self.filled(step["holds"]), told
        if "differs" in step:
            assert self.filled(step["differs"]) not in outcome.output.values(), told
        self.values |= {name: outcome.output[member] for name, member in step.get("keeps", {}).items()}
        if "stores" in step:
            media_id = self.filled(step["stores"])
            key_stored = self.values["prefix"] + ("back" if media_id == self.values["uploaded"] else f"{media_id}.jpeg")
            there = hashlib.sha256(self.store.read(key_stored)).digest()
            assert there == self.simulator.media[media_id].sha256(), told

    def filled(self, template: Any) -> Any:
        """A template with its `$names` replaced; `$name.member` is of a value that has members."""
        if isinstance(template, dict):
            return {name: self.filled(value) for name, value in template.items()}
        if isinstance(template, list):
            return [self.filled(value) for value in template]
        if isinstance(template, str) and template.startswith("$"):
            name, _, member = template[1:].partition(".")
            return self.values[name][member] if member else self.values[name]
        return template


def part_of(value: Any, wanted: Any) -> Any:
    """What of a value is wanted; text that is wanted as a document is read as JSON."""
    if isinstance(value, str) and not isinstance(wanted, str):
        value = json.loads(value)
    if isinstance(wanted, dict) and isinstance(value, dict):
        return {name: part_of(value[name], member) for name, member in wanted.items() if name in value}
    if isinstance(wanted, list) and isinstance(value, list) and len(value) == len(wanted):
        return [part_of(item, member) for item, member in zip(value, wanted, strict=True)]
    return value
