"""The command line as a user runs it: a program, its documents, its exit codes, and what it says when it cannot."""

import json
import re
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from botocore.session import Session

from harness.waiting import eventually
from harness.world import Gateway, Key, World
from tools.certificates import make_certificates
from whaul.simulator import Simulator
from whaul.stack.local import REGION, clean_environment
from whaul.stack.processes import free_ports

MODEL = Session().get_service_model("socialmessaging")


@pytest.fixture
def desk(running_simulator: Simulator, tmp_path: Path) -> World:
    """A world in which nothing is linked yet; nothing of it runs."""
    running_simulator.reset()
    environ = clean_environment() | {
        "AWS_REGION": REGION,
        "WHAUL_DATABASE_URL": f"sqlite:///{tmp_path / 'desk.db'}",
        "WHAUL_GRAPH_URL": running_simulator.url,
        "WHAUL_MEDIA_HOSTS": "127.0.0.1",
    }
    return World(running_simulator, environ, tmp_path)


@pytest.fixture
def token_file(desk: World) -> str:
    path = desk.folder / "token"
    path.write_text(f"  {desk.simulator.token}\n", encoding="utf-8")
    return str(path)


def document(done: "subprocess.CompletedProcess[str]") -> Any:
    """The one JSON document on standard output of a command that succeeded."""
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout)


def failure(done: "subprocess.CompletedProcess[str]", code: int = 1) -> str:
    """What a command that failed said, without a traceback."""
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr


@pytest.mark.long
def test_the_end_of_a_token_is_told_by_commands_and_metrics(desk: World, simulator: Simulator, token_file: str) -> None:
    link = ("link", "--waba-id", simulator.waba_id, "--token-file", token_file)
    simulator.configure(token_expires_at=4_000_000_000, token_data_access_expires_at=3_900_000_000)
    id_ = document(desk.run(*link, "--json"))["account"]["id"]
    assert document(desk.run("accounts", "--json"))["tokenExpiry"] == {id_: "2093-08-01T21:20:00+00:00"}
    assert "token expires 2093-08-01 21:20 UTC" in desk.run("accounts").stdout
    metric = f'whaul_token_expiry_timestamp_seconds{{account="{id_}"}} 3.9e+09'
    for workers in ("1", "2"):
        with desk.gateway(WHAUL_WORKERS=workers) as running:
            assert metric in running.send("GET", "/metrics").body.decode()
            if workers == "1":
                simulator.configure(token_expires_at=0, token_data_access_expires_at=0)
                assert desk.run(*link).returncode == 0
                eventually(lambda r=running: metric not in r.send("GET", "/metrics").body.decode())
                assert "tokenExpiry" not in document(desk.run("accounts", "--json"))
                simulator.configure(token_data_access_expires_at=3_900_000_000)
                assert desk.run(*link).returncode == 0


def test_an_account_is_linked_though_meta_does_not_describe_its_token(
    desk: World, simulator: Simulator, token_file: str
) -> None:
    simulator.fault("debug_token", kind="error", code=100, times=1)
    done = desk.run("link", "--waba-id", simulator.waba_id, "--token-file", token_file)
    assert done.returncode == 0, done.stderr
    assert simulator.token not in done.stdout + done.stderr
    assert "token expire" not in desk.run("accounts").stdout


def test_accounts_are_linked_listed_and_unlinked(desk: World, token_file: str) -> None:
    waba_id = desk.simulator.waba_id
    assert document(desk.run("accounts", "--json")) == {"linkedAccounts": []}
    account = document(desk.run("link", "--waba-id", waba_id, "--token-file", token_file, "--json"))["account"]
    shape = MODEL.shape_for("LinkedWhatsAppBusinessAccount").members
    assert account.keys() <= shape.keys()
    assert re.fullmatch(r"waba-[0-9a-f]{32}", account["id"])
    assert account["arn"].startswith("arn:aws:social-messaging:us-east-1:000000000000:waba/")
    numbers = account["phoneNumbers"]
    assert [number["metaPhoneNumberId"] for number in numbers] == ["500000000000001", "500000000000002"]
    assert numbers[0].keys() <= MODEL.shape_for("WhatsAppPhoneNumberSummary").members.keys()

    listed = document(desk.run("accounts", "--json"))["linkedAccounts"]
    assert [found["id"] for found in listed] == [account["id"]]
    assert listed == [account]
    for_people = desk.run("accounts").stdout
    assert account["id"] in for_people
    assert numbers[1]["phoneNumberId"] in for_people

    again = document(desk.run("link", "--waba-id", waba_id, "--token-file", "-", "--json", stdin=desk.simulator.token))
    assert again["account"]["id"] == account["id"]
    kept = desk.run("unlink", account["id"], stdin="n\n")
    assert kept.returncode == 1
    assert document(desk.run("accounts", "--json"))["linkedAccounts"]
    gone = desk.run("unlink", account["id"], stdin="y\n")
    assert (gone.returncode, document(desk.run("accounts", "--json"))) == (0, {"linkedAccounts": []})
    assert "not linked" in failure(desk.run("unlink", account["id"], "--yes"))


def test_an_account_can_be_linked_without_calling_meta(desk: World, token_file: str) -> None:
    arguments = ("--no-verify", "--name", "Own", "--phone-number", "77=+15550100", "--phone-number", "78=+15550101")
    done = desk.run("link", "--waba-id", "123", "--token-file", token_file, *arguments, "--json")
    numbers = document(done)["account"]["phoneNumbers"]
    assert [number["metaPhoneNumberId"] for number in numbers] == ["77", "78"]
    assert desk.simulator.requests == []


def test_a_token_that_meta_refuses_is_told_in_one_message_and_links_nothing(desk: World) -> None:
    done = desk.run("link", "--waba-id", desk.simulator.waba_id, WHATSAPP_ACCESS_TOKEN="a-wrong-token")
    message = failure(done)
    assert message.startswith("whaul: Meta answered")
    assert "code 190" in message
    assert "Use another one" in message
    assert "a-wrong-token" not in message
    assert document(desk.run("accounts", "--json")) == {"linkedAccounts": []}


def test_a_link_that_fails_speaks_of_the_account(desk: World, simulator: Simulator, token_file: str) -> None:
    link = ("link", "--token-file", token_file, "--waba-id")
    number = simulator.phone_numbers[0].id
    for waba_id in ("400000000000009", number):
        message = failure(desk.run(*link, waba_id))
        assert "WhatsApp Business Account" in message
        assert "phone number" in message
        assert "media" not in message
    simulator.fault(simulator.waba_id, kind="error", code=200, status=403, times=1)
    assert "whatsapp_business_management" in failure(desk.run(*link, simulator.waba_id))
    with free_ports(1) as [port]:
        message = failure(desk.run(*link, simulator.waba_id, WHAUL_GRAPH_URL=f"http://127.0.0.1:{port}"))
    assert f"127.0.0.1:{port}" in message
    assert "WHAUL_GRAPH_URL" in message
    assert document(desk.run("accounts", "--json")) == {"linkedAccounts": []}


def test_a_refusal_always_ends_with_exit_code_1(desk: World) -> None:
    """The HTTP client's threads may be at work when the program ends, and must not abort it."""

    def link(_: int) -> int:
        ended = desk.run("link", "--waba-id", desk.simulator.waba_id, WHATSAPP_ACCESS_TOKEN="a-wrong-token")
        return ended.returncode

    with ThreadPoolExecutor(3) as pool:
        assert set(pool.map(link, range(6))) == {1}


def test_access_keys_are_made_listed_changed_and_disabled(desk: World) -> None:
    policy = desk.policy_file({"Effect": "Allow", "Action": "social-messaging:*", "Resource": "*"})
    made = document(desk.run("keys", "create", "--name", "app", "--policy", str(policy), "--json"))
    assert made.keys() == {"accessKeyId", "secretAccessKey", "name"}
    assert (made["name"], len(made["secretAccessKey"])) == ("app", 40)
    assert re.fullmatch(r"AKIA[A-Z2-7]{16}", made["accessKeyId"])
    shown = desk.run("keys", "create", "--name", "other", "--allow-all")
    assert re.fullmatch(r"AWS_ACCESS_KEY_ID=\w+\nAWS_SECRET_ACCESS_KEY=\S{40}\n", shown.stdout)
    assert "not shown again" in shown.stderr

    keys = document(desk.run("keys", "list", "--json"))["accessKeys"]
    assert [(key["name"], key["status"]) for key in keys] == [("app", "Active"), ("other", "Active")]
    assert keys[0]["policy"]["Statement"][0]["Action"] == "social-messaging:*"
    assert made["secretAccessKey"] not in desk.run("keys", "list", "--json").stdout + desk.run("keys", "list").stdout

    policy = desk.policy_file({"Effect": "Deny", "Action": "*", "Resource": "*"})
    assert desk.run("keys", "policy", made["accessKeyId"], str(policy)).returncode == 0
    assert desk.run("keys", "disable", made["accessKeyId"]).returncode == 0
    key = document(desk.run("keys", "list", "--json"))["accessKeys"][0]
    assert (key["status"], key["policy"]["Statement"][0]["Effect"]) == ("Inactive", "Deny")
    assert "keys list" in failure(desk.run("keys", "disable", "AKIAUNKNOWN"))
    assert "keys list" in failure(desk.run("keys", "policy", "AKIAUNKNOWN", str(policy)))


def test_a_policy_that_would_not_be_evaluated_whole_is_refused(desk: World) -> None:
    statement = {
        "Effect": "Allow",
        "Action": "*",
        "Resource": "*",
        "Condition": {"Bool": {"aws:SecureTransport": "true"}},
    }
    policy = str(desk.policy_file(statement))
    assert "Condition" in failure(desk.run("keys", "create", "--name", "x", "--policy", policy))
    assert document(desk.run("keys", "list", "--json")) == {"accessKeys": []}


@pytest.mark.parametrize(
    "arguments",
    [
        ("nothing",),
        ("link",),
        ("link", "--waba-id", "not digits"),
        ("keys", "create", "--name", "x"),
        ("serve", "--port", "x"),
    ],
    ids=" ".join,
)
def test_wrong_usage_ends_with_exit_code_2(desk: World, arguments: tuple[str, ...]) -> None:
    done = desk.run(*arguments)
    assert failure(done, 2)
    assert done.stdout == ""


def test_all_bad_settings_are_named_at_once(desk: World) -> None:
    bad = {
        "WHAUL_PORT": "eighty",
        "WHAUL_DEADLINE": "-1",
        "WHAUL_KEY_MODE": "suffix",
        "WHAUL_GRAPH_URL": "http://graph.example",
        "WHAUL_ACCOUNT_ID": "1",
        "WHAUL_EXTENSIONS": "jpeg",
        "WHAUL_SECRET_KEY": "sesame-sesame",
        "WHAUL_TLS_CERT_FILE": "/no/such/file",
        "WHAUL_SPELLED_WRONG": "1",
        "AWS_REGION": "At lantis",
    }
    message = failure(desk.run("serve", **bad))
    assert message.startswith(f"whaul: {len(bad)} settings cannot be used:\n")
    for name in bad:
        assert re.search(rf"^  {name}\b", message, re.MULTILINE), name
    assert "sesame" not in message


def test_a_port_that_is_taken_is_said_plainly(gateway: Gateway) -> None:
    message = failure(gateway.world.run("serve", "--port", str(gateway.port)))
    assert message.startswith(f"whaul: cannot listen on 127.0.0.1 port {gateway.port}: Address already in use")
    assert "--port" in message


def test_an_address_of_another_machine_is_said_plainly(desk: World) -> None:
    message = failure(desk.run("serve", "--host", "192.0.2.1"))
    assert message.startswith("whaul: cannot listen on 192.0.2.1 port ")
    assert message.rstrip().endswith("choose another --host")


@pytest.mark.parametrize("swap", [("chain.pem", "text"), ("text", "key.pem"), ("authority.pem", "key.pem")])
def test_a_certificate_or_key_that_cannot_be_used_stops_the_start(
    desk: World, tmp_path: Path, swap: tuple[str, str]
) -> None:
    make_certificates(tmp_path)
    (tmp_path / "text").write_text("neither a certificate nor a key")
    cert, key = (str(tmp_path / name) for name in swap)
    message = failure(desk.run("serve", "--port", "0", WHAUL_TLS_CERT_FILE=cert, WHAUL_TLS_KEY_FILE=key))
    assert "WHAUL_TLS_CERT_FILE" in message
    assert cert in message


@pytest.mark.parametrize("arguments", [("serve", "--port", "0"), ("link", "--waba-id", "1")], ids=lambda a: a[0])
def test_a_bundle_and_a_proxy_that_cannot_be_used_end_a_command(desk: World, arguments: tuple[str, ...]) -> None:
    bad = {"AWS_CA_BUNDLE": "/no/such/file", "HTTPS_PROXY": "http://user:S3cret@", "WHATSAPP_ACCESS_TOKEN": "x"}
    message = failure(desk.run(*arguments, **bad))
    assert "AWS_CA_BUNDLE: cannot read /no/such/file" in message
    assert "HTTPS_PROXY: " in message
    assert "S3cret" not in message


def test_the_bundle_of_a_profile_that_cannot_be_used_ends_a_command(desk: World, tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text(f"[profile minio]\nca_bundle = {tmp_path}\n")
    message = failure(desk.run("serve", "--port", "0", AWS_CONFIG_FILE=str(config), AWS_PROFILE="minio"))
    assert f"ca_bundle of the AWS profile: {tmp_path} is a folder" in message


def test_serve_refuses_to_let_everyone_in_from_elsewhere(desk: World) -> None:
    message = failure(desk.run("serve", "--host", "0.0.0.0", WHAUL_AUTH="none"))  # noqa: S104 - refused
    assert "loopback" in message


def test_without_signatures_a_loopback_gateway_serves_everyone(world: World, simulator: Simulator) -> None:
    with world.gateway(WHAUL_AUTH="none") as running:
        reply = running.send("POST", "/v1/whatsapp/media/get", json.dumps(running.request("100000000000003")).encode())
    assert reply.json()["fileSize"] == simulator.media["100000000000003"].size


def test_a_root_key_may_do_everything_and_is_not_stored(world: World, simulator: Simulator) -> None:
    root = Key("ROOTKEY", "root-secret-of-forty-characters-or-so")
    environ = {"WHAUL_ROOT_ACCESS_KEY_ID": root.id, "WHAUL_ROOT_SECRET_ACCESS_KEY": root.secret}
    with world.gateway(**environ) as running:
        size = running.get("100000000000003", key=root, metadataOnly=True)["fileSize"]
    assert size == simulator.media["100000000000003"].size
    assert root.id not in world.run("keys", "list", "--json").stdout
