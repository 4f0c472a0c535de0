"""What people write, and who they are, comes out nowhere but at destinations; nor does any secret of inbound."""

import json
import re
from pathlib import Path

import pytest
from pydantic import SecretStr

from harness.receiver import Receiver, receiving
from harness.waiting import eventually
from harness.world import Gateway, World
from whaul.events.receiving.signatures import meta_key, meta_signature
from whaul.simulator import Simulator

pytestmark = pytest.mark.long

APP_ID, APP_SECRET = "900000000000009", "app-secret-a1b2c3d4e5f6"
VERIFY_TOKEN = "verify-token-of-the-settings-1a2b"
HEADER_TOKEN = "bearer-of-the-receiver-9f8e"
PRIVATE = {
    "text": "our-surprise-party-is-on-friday",
    "caption": "a-caption-about-my-illness",
    "file name": "my-diagnosis.pdf",
    "name": "Wilhelmina Featherstone",
    "number": "15550177321",
    "user id": "US.77001122334455",
    "payload": "opaque-data-of-the-business",
}


def body(waba: str, number: str, wamid: str) -> bytes:
    """A webhook with a text, a document and a status, each with something private."""
    person = {"from": PRIVATE["number"], "from_user_id": PRIVATE["user id"], "timestamp": "1795000000"}
    document = {"id": f"77{wamid}", "mime_type": "application/pdf", "caption": PRIVATE["caption"]}
    value = {
        "messaging_product": "whatsapp",
        "metadata": {"display_phone_number": "15550100100", "phone_number_id": number},
        "contacts": [{"profile": {"name": PRIVATE["name"]}, "wa_id": PRIVATE["number"]}],
        "messages": [
            person | {"id": f"wamid.{wamid}T", "type": "text", "text": {"body": PRIVATE["text"]}},
            person
            | {
                "id": f"wamid.{wamid}D",
                "type": "document",
                "document": document | {"filename": PRIVATE["file name"]},
            },
        ],
        "statuses": [
            {
                "id": f"wamid.{wamid}S",
                "status": "failed",
                "timestamp": "1795000000",
                "recipient_id": PRIVATE["number"],
                "biz_opaque_callback_data": PRIVATE["payload"],
            }
        ],
    }
    entry = {"id": waba, "changes": [{"value": value, "field": "messages"}]}
    return json.dumps({"object": "whatsapp_business_account", "entry": [entry]}).encode()


def post(gateway: Gateway, content: bytes, secret: str = APP_SECRET) -> int:
    headers = {
        "Content-Type": "application/json",
        "X-Hub-Signature-256": meta_signature(meta_key(SecretStr(secret)), content),
    }
    while (status := gateway.send("POST", "/webhooks/meta", content, headers=headers).status) == 503:
        pass  # Meta, too, sends again what could not be kept in time
    return status


def outputs(own: World, commands: list[str]) -> list[str]:
    """What commands print, plain and as JSON."""
    texts = []
    for command in commands:
        for form in ((), ("--json",)):
            done = own.run(*command.split(), *form)
            texts += [done.stdout, done.stderr]
    return texts


def test_nothing_private_and_no_secret_comes_out(world: World, simulator: Simulator, tmp_path: Path) -> None:
    environ = world.environ | {
        "WHAUL_DATABASE_URL": f"sqlite:///{tmp_path / 'whaul.db'}",
        "WHAUL_EVENT_HOSTS": "127.0.0.1",
        "WHAUL_APP_SECRETS": f"{APP_ID}={APP_SECRET}",
        "WHAUL_WEBHOOK_VERIFY_TOKENS": VERIFY_TOKEN,
        "WHAUL_LOG_LEVEL": "debug",
        "WHAUL_AUDIT_LOG": str(tmp_path / "audit.log"),
    }
    own = World(simulator, environ, tmp_path)
    own.link()
    waba, number = simulator.waba_id, own.whaul("accounts")["linkedAccounts"][0]["phoneNumbers"][0]["metaPhoneNumberId"]
    token = own.whaul("webhooks", "token")["verifyToken"]
    headers = tmp_path / "headers"
    headers.write_text(f"Authorization: Bearer {HEADER_TOKEN}\n")
    with receiving() as receiver, own.gateway() as gateway:
        secret = add(own, receiver, headers)
        receiver.echoes, receiver.answers = True, [413, 400, 500] * 3
        content = body(waba, number, "A")
        assert [post(gateway, content), post(gateway, content)] == [200, 200]
        assert post(gateway, body("404", number, "B")) in {200, 401}
        assert post(gateway, content, "wrong") == 401
        assert post(gateway, f'{{"entry": "{PRIVATE["text"]}"'.encode()) == 200
        assert post(gateway, content[:-40]) == 200
        query = f"hub.mode=subscribe&hub.challenge=1&hub.verify_token={token}"
        answers = [gateway.send("GET", f"/webhooks/meta?{query}{more}") for more in ("", "x")]
        assert [answer.status for answer in answers] == [200, 403]
        eventually(lambda: len(receiver.posts) >= 3)
        eventually(lambda: "dead" in own.run("events", "list", "--state", "dead").stdout)
        found = own.whaul("events", "list")["events"]
        texts = outputs(
            own,
            [
                *("events list", "events dead list", "events replay --to orders --dry-run", "destinations list"),
                *("destinations show orders", "destinations test orders", "webhooks status", "doctor", "accounts"),
                *("events show no-such-id", "--debug events list", f"events purge --user {waba} --dry-run"),
                *(f"events show {event['messageId']}" for event in found if event["kind"] != "status"),
            ],
        )
        asked = [own.run("events", "show", event["messageId"], "--content").stdout for event in found]
        assert any(PRIVATE["text"] in text for text in asked), "those who ask see it"
        texts.append(gateway.send("GET", "/metrics").body.decode())
        texts.append(gateway.send("GET", "/readyz").body.decode())
        gateway.settle()
        texts.append(gateway.log.read_text(encoding="utf-8"))
        assert any(event["kind"] == "unparsed" for event in found)
        assert PRIVATE["text"].encode() in b"".join(received.body for received in receiver.posts)
    texts.append((tmp_path / "audit.log").read_text(encoding="utf-8"))
    stored = b"".join(path.read_bytes() for path in tmp_path.glob("whaul.db*") if path.suffix in {".db", ".db-wal"})
    texts.append(stored.decode("latin-1"))
    hidden = PRIVATE | {
        "app secret": APP_SECRET,
        "verify token": token,
        "verify token of the settings": VERIFY_TOKEN,
        "secret of the destination": secret,
        "header of the destination": HEADER_TOKEN,
    }
    leaks = {
        (what, place): re.findall(f".{{0,80}}{re.escape(word)}", text)
        for what, word in hidden.items()
        for place, text in enumerate(texts)
    }
    assert {where: lines for where, lines in leaks.items() if lines} == {}


def add(own: World, receiver: Receiver, headers: Path) -> str:
    """Add the receiver as a destination; return its secret."""
    arguments = ("--account", own.simulator.waba_id, "--to", receiver.url, "--headers-file", str(headers))
    made = own.whaul("destinations", "add", "orders", *arguments)
    assert isinstance(made["secret"], str)
    return made["secret"].removeprefix("whsec_")
