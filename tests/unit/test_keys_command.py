"""`whaul keys`: access keys through their life, and their policies before and after."""

import asyncio
import configparser
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import botocore.session
import pytest
from typer.testing import CliRunner, Result

from whaul.arns import Arns
from whaul.cli import app
from whaul.components import open_registry
from whaul.model import KeyUse
from whaul.settings import Settings

NUMBER = "phone-number-id-" + "7f" * 16
NUMBER_ARN = f"arn:aws:social-messaging:us-east-1:000000000000:phone-number-id/{'7f' * 16}"
GET = "social-messaging:GetWhatsAppMessageMedia"


@pytest.fixture(autouse=True)
def registry(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("WHAUL_DATABASE_URL", f"sqlite:///{tmp_path / 'whaul.db'}")


def run(*arguments: str, stdin: str = "") -> Result:
    return CliRunner().invoke(app, ["keys", *arguments], input=stdin)


def done(*arguments: str, stdin: str = "") -> str:
    result = run(*arguments, stdin=stdin)
    assert result.exit_code == 0, (result.output, result.exception)
    return result.stdout


def made(*options: str) -> str:
    return str(json.loads(done("create", "--name", "inbox", *(options or ("--allow-all",)), "--json"))["accessKeyId"])


def use(key: str, at: datetime) -> None:
    async def write() -> None:
        async with open_registry(Settings.load()) as registry:
            await registry.access_keys.record_uses({key: KeyUse(at, "GetWhatsAppMessageMedia")})

    asyncio.run(write())


def policy(tmp_path: Path, *statements: dict[str, Any]) -> str:
    file = tmp_path / "policy.json"
    file.write_text(json.dumps({"Version": "2012-10-17", "Statement": statements}), encoding="utf-8")
    return str(file)


def allow(action: str, resource: str, sid: str = "") -> dict[str, Any]:
    return (
        {"Sid": sid, "Effect": "Allow", "Action": action, "Resource": resource}
        if sid
        else {"Effect": "Allow", "Action": action, "Resource": resource}
    )


# --- their life


def test_the_last_use_is_listed_and_shown() -> None:
    key = made()
    assert "no use known" in done("list")
    at = datetime(2026, 11, 28, 9, 30, 59, tzinfo=UTC)
    use(key, at)
    for command in (["list"], ["show", key]):
        assert "used 2026-11-28 09:30 UTC for GetWhatsAppMessageMedia" in done(*command)
    [listed] = json.loads(done("list", "--json"))["accessKeys"]
    assert (listed["lastUsedDate"], listed["lastUsedOperation"]) == (at.isoformat(), "GetWhatsAppMessageMedia")
    assert json.loads(done("show", key, "--json")) == {"accessKey": listed}


def test_a_key_is_shown_with_its_policy_and_without_its_secret() -> None:
    created = json.loads(done("create", "--name", "inbox", "--allow-all", "--rate-limit", "5", "--json"))
    shown = done("show", created["accessKeyId"])
    head, _, document = shown.partition("policy:\n")
    assert {"inbox", "enabled", "5 calls per second"} <= {word.strip() for word in head.replace("  ", "\n").split("\n")}
    assert json.loads(document)["Statement"][0]["Sid"] == "AllowAll"
    assert created["secretAccessKey"] not in shown


def test_a_disabled_key_is_enabled_again() -> None:
    key = made()
    assert f"whaul keys enable {key}" in done("disable", key)
    assert f"{key} (inbox) is enabled." in done("enable", key)
    [listed] = json.loads(done("list", "--json"))["accessKeys"]
    assert listed["status"] == "Active"


def test_deleting_asks_first() -> None:
    key = made()
    assert run("delete", key, stdin="n\n").exit_code != 0
    assert run("delete", key).exit_code != 0
    assert key in done("list")
    asked = run("delete", key, stdin="y\n")
    assert asked.exit_code == 0
    assert f"Delete {key} (inbox; no use known)?" in asked.stdout
    assert json.loads(done("list", "--json")) == {"accessKeys": []}


@pytest.mark.parametrize(
    ("age", "is_disabled", "warns"),
    [(timedelta(hours=1), False, True), (timedelta(days=8), False, False), (timedelta(hours=1), True, False)],
)
def test_deleting_a_key_that_may_be_in_use_warns(age: timedelta, is_disabled: bool, warns: bool) -> None:
    key = made()
    use(key, datetime.now(UTC) - age)
    if is_disabled:
        done("disable", key)
    deleted = run("delete", key, "--yes")
    assert deleted.exit_code == 0
    assert ("somebody may still use it" in deleted.stderr) == warns


@pytest.mark.parametrize("command", [["show"], ["enable"], ["disable"], ["delete", "--yes"]])
def test_an_unknown_key_is_told(command: list[str]) -> None:
    made()
    result = run(*command, "AKIANOBODY")
    assert result.exit_code == 1
    assert "there is no access key AKIANOBODY" in str(result.exception)


# --- as a profile


@pytest.mark.parametrize("temporary", [False, True])
def test_a_profile_is_what_aws_tools_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, temporary: bool) -> None:
    options = ["--endpoint-url", "https://whaul.example", *(["--expires-in", "1h"] if temporary else [])]
    result = run("create", "--name", "inbox", "--allow-all", "--profile", "inbox", *options)
    assert "not shown again" in result.stderr
    (tmp_path / "config").write_text(result.stdout, encoding="utf-8")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    session = botocore.session.Session(profile="inbox")
    credentials = session.get_credentials()
    [listed] = json.loads(done("list", "--json"))["accessKeys"]
    assert credentials.access_key == listed["accessKeyId"]
    assert len(credentials.secret_key) == 40
    assert (credentials.token is not None) == temporary
    client = session.create_client("socialmessaging")
    assert (client.meta.endpoint_url, client.meta.region_name) == ("https://whaul.example", "us-east-1")
    assert "amazonaws.com" in session.create_client("s3").meta.endpoint_url


@pytest.mark.parametrize(
    ("settings", "url"),
    [
        ({}, "http://127.0.0.1:8080"),
        ({"WHAUL_HOST": "0.0.0.0", "WHAUL_PORT": "9000"}, "http://127.0.0.1:9000"),  # noqa: S104
        ({"WHAUL_HOST": "::1"}, "http://[::1]:8080"),
    ],
)
def test_a_profile_leads_to_where_the_server_listens(
    monkeypatch: pytest.MonkeyPatch, settings: dict[str, str], url: str
) -> None:
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    printed = done("create", "--name", "inbox", "--allow-all", "--profile", "default")
    parsed = configparser.ConfigParser()
    parsed.read_string(printed)
    assert parsed.sections() == ["default", "services whaul-default"]
    assert parsed["services whaul-default"]["socialmessaging"].strip() == f"endpoint_url = {url}"


@pytest.mark.parametrize(
    "options",
    [
        ["--profile", "a b"],
        ["--profile", "a]\n[b"],
        ["--profile", ""],
        ["--profile", "a", "--json"],
        ["--endpoint-url", "http://localhost"],
        ["--profile", "a", "--endpoint-url", "localhost:8080"],
        ["--profile", "a", "--endpoint-url", "http://x\nregion = y"],
    ],
)
def test_a_profile_that_cannot_be_is_a_usage_error(options: list[str]) -> None:
    assert run("create", "--name", "inbox", "--allow-all", *options).exit_code == 2
    assert json.loads(done("list", "--json")) == {"accessKeys": []}


# --- their policies


def test_a_policy_comes_from_standard_input_where_files_are_out_of_reach(tmp_path: Path) -> None:
    """Of a container, say."""
    text = Path(policy(tmp_path, allow(GET, NUMBER_ARN))).read_text(encoding="utf-8")
    key = json.loads(done("create", "--name", "a", "--policy", "-", "--json", stdin=text))["accessKeyId"]
    done("policy", key, "-", stdin=text.replace(GET, "s3:PutObject"))
    assert "s3:PutObject" in done("show", key)
    assert str(run("policy", key, "-", stdin="{}").exception).startswith("standard input: ")


def test_names_that_no_call_asks_for_are_warned_of_wherever_a_policy_is_read(tmp_path: Path) -> None:
    file = policy(tmp_path, allow("social-messaging:GetWhatsappMessageMdia", "*"))
    warning = f"warning: {file}: Statement[0].Action: no call needs the action"
    key = made()
    for command in (
        ["create", "--name", "a", "--policy", file],
        ["policy", key, file],
        ["simulate", "--policy", file, "--phone-number-id", NUMBER],
    ):
        result = run(*command)
        assert result.exit_code == 0
        assert warning in result.stderr
        assert f"did you mean {GET}?" in result.stderr
    assert "did you mean" in run("simulate", key, "--phone-number-id", NUMBER).stderr  # it has that policy now
    assert "warning" not in run("create", "--name", "a", "--allow-all").stderr


def test_a_call_is_simulated_with_all_that_it_needs(tmp_path: Path) -> None:
    file = policy(tmp_path, allow(GET, NUMBER_ARN, "OneNumber"), allow("s3:PutObject", "arn:aws:s3:::in/a/*", "Folder"))
    call = ("simulate", "--policy", file, "--phone-number-id", NUMBER)
    assert done(*call, "--to", "s3://in/a/", "--media-id", "42", "--mime-type", "audio/ogg").splitlines() == [
        f"Allowed by the statement OneNumber: {GET} on {NUMBER_ARN}",
        "Allowed by the statement Folder: s3:PutObject on arn:aws:s3:::in/a/42.ogg",
        "The call is allowed.",
    ]
    denied = done(*call, "--to", "s3://in/b/")
    assert "Denied: no statement allows it: s3:PutObject on arn:aws:s3:::in/b/1000000000001.jpeg" in denied
    assert denied.endswith("The call is denied.\n")
    assert json.loads(done(*call, "--to", "s3://in/b/", "--json")) == {
        "accessKeyId": None,
        "name": None,
        "decision": "implicitDeny",
        "needs": [
            {"action": GET, "resource": NUMBER_ARN, "decision": "allowed", "statement": "OneNumber"},
            {
                "action": "s3:PutObject",
                "resource": "arn:aws:s3:::in/b/1000000000001.jpeg",
                "decision": "implicitDeny",
                "statement": None,
            },
        ],
    }


def test_the_final_key_follows_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHAUL_KEY_MODE", "exact")
    assert "on arn:aws:s3:::in/photo.jpg\n" in done(
        "simulate", made(), "--phone-number-id", NUMBER, "--to", "s3://in/photo.jpg"
    )


@pytest.mark.parametrize(
    ("options", "needs"),
    [
        (["--phone-number-id", NUMBER], [(GET, NUMBER_ARN)]),
        (["--phone-number-id", NUMBER_ARN], [(GET, NUMBER_ARN)]),
        (
            ["--phone-number-id", "500000000000001"],
            [
                (
                    GET,
                    Arns("000000000000", "us-east-1").arn(
                        Arns("000000000000", "us-east-1").phone_number_id("500000000000001")
                    ),
                )
            ],
        ),
        (
            ["--phone-number-id", NUMBER, "--from", "s3://in/x.jpeg"],
            [("social-messaging:PostWhatsAppMessageMedia", NUMBER_ARN), ("s3:GetObject", "arn:aws:s3:::in/x.jpeg")],
        ),
        (
            ["--action", "SendWhatsAppMessage", "--phone-number-id", NUMBER],
            [("social-messaging:SendWhatsAppMessage", NUMBER_ARN)],
        ),
        (
            ["--action", "social-messaging:GetLinkedWhatsAppBusinessAccount", "--waba-id", "waba-" + "0a" * 16],
            [
                (
                    "social-messaging:GetLinkedWhatsAppBusinessAccount",
                    f"arn:aws:social-messaging:us-east-1:000000000000:waba/{'0a' * 16}",
                )
            ],
        ),
        (["--action", "TagResource", "--phone-number-id", NUMBER], [("social-messaging:TagResource", NUMBER_ARN)]),
        (
            ["--action", "AssociateWhatsAppBusinessAccount"],
            [("social-messaging:AssociateWhatsAppBusinessAccount", "*")],
        ),
        (
            ["--action", "AssociateWhatsAppBusinessAccount", "--phone-number-id", NUMBER],
            [("social-messaging:AssociateWhatsAppBusinessAccount", "*"), ("social-messaging:TagResource", NUMBER_ARN)],
        ),
        (
            ["--action", "ListLinkedWhatsAppBusinessAccounts"],
            [("social-messaging:ListLinkedWhatsAppBusinessAccounts", "*")],
        ),
    ],
)
def test_what_a_call_names_becomes_its_needs(tmp_path: Path, options: list[str], needs: list[tuple[str, str]]) -> None:
    document = json.loads(done("simulate", "--policy", policy(tmp_path, allow("*", "*")), *options, "--json"))
    assert [(each["action"], each["resource"]) for each in document["needs"]] == needs
    assert document["decision"] == "allowed"


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["--to", "s3://in/a"],
        ["--phone-number-id", "x"],
        ["--phone-number-id", NUMBER_ARN.replace("us-east-1", "eu-west-1")],
        ["--phone-number-id", NUMBER, "--waba-id", "1"],
        ["--waba-id", "waba-" + "0a" * 16],
        ["--phone-number-id", NUMBER, "--to", "in/a"],
        ["--phone-number-id", NUMBER, "--to", "s3://in/../a"],
        ["--phone-number-id", NUMBER, "--to", "s3://in/a", "--from", "s3://in/a"],
        ["--action", "SendWhatsAppMessage", "--phone-number-id", NUMBER, "--to", "s3://in/a"],
        ["--action", "ListLinkedWhatsAppBusinessAccounts", "--phone-number-id", NUMBER],
        ["--action", "GetWhatsAppMedia", "--phone-number-id", NUMBER],
        ["--action", "s3:PutObject"],
        ["--resource", "*"],
    ],
)
def test_a_call_that_cannot_be_made_is_a_usage_error(options: list[str]) -> None:
    assert run("simulate", "AKIANOBODY", *options).exit_code == 2


def test_a_key_or_a_policy_is_simulated(tmp_path: Path) -> None:
    file = policy(tmp_path, allow(GET, "*"))
    assert run("simulate", "--phone-number-id", NUMBER).exit_code == 2
    assert run("simulate", "AKIANOBODY", "--policy", file, "--phone-number-id", NUMBER).exit_code == 2


def test_an_action_that_no_call_needs_is_told_when_it_is_simulated() -> None:
    result = run("simulate", made(), "--action", "s3:PutObjct", "--resource", "arn:aws:s3:::in/a")
    assert result.exit_code == 0
    assert "warning: no call needs the action s3:PutObjct; did you mean s3:PutObject?" in result.stderr
