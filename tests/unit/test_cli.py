"""The command line as far as it needs no server: its usage errors, its files and the registry that it keeps."""

import asyncio
import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import typer.main
from cryptography.fernet import Fernet
from typer.testing import CliRunner, Result

from whaul import __version__
from whaul.build import commit
from whaul.cli import app, failures, main, output
from whaul.components import open_registry
from whaul.errors import AccessDeniedByMetaException
from whaul.settings import Settings

pytestmark = pytest.mark.anyio

TOKEN = "EAAGs3cr3tT0ken"
POLICY = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Action": "social-messaging:GetWhatsAppMessageMedia", "Resource": "*"}],
}
LINK = ["link", "--waba-id", "400000000000001", "--no-verify", "--name", "Harbour", "--phone-number", "5=+15550100"]


@pytest.fixture(autouse=True)
def registry(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    database = tmp_path / "whaul.db"
    monkeypatch.setenv("WHAUL_DATABASE_URL", f"sqlite:///{database}")
    return database


def run(*arguments: str, stdin: str = "") -> Result:
    return CliRunner().invoke(app, list(arguments), input=stdin)


def done(*arguments: str, stdin: str = "") -> str:
    result = run(*arguments, stdin=stdin)
    assert result.exit_code == 0, (result.output, result.exception)
    return result.stdout


def failed(*arguments: str, stdin: str = "") -> str:
    """Run a command that fails in a known way; return what `main` would say."""
    result = run(*arguments, stdin=stdin)
    assert isinstance(result.exception, failures.known()), result.exception
    return str(result.exception)


# --- usage


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["--nonsense"],
        ["serve", "--port", "x"],
        ["serve", "--workers", "many"],
        ["serve", "extra"],
        ["link"],
        ["link", "--waba-id", "abc"],
        ["link", "--waba-id", "../1"],
        ["link", "--waba-id", "1", "--name", "Harbour"],
        ["link", "--waba-id", "1", "--phone-number", "5=+15550100"],
        ["link", "--waba-id", "1", "--no-verify"],
        ["link", "--waba-id", "1", "--no-verify", "--name", "Harbour"],
        ["link", "--waba-id", "1", "--no-verify", "--phone-number", "5=+15550100"],
        [*LINK[:-1], "5"],
        [*LINK[:-1], "x=+15550100"],
        [*LINK[:-1], "5=15550100"],
        [*LINK[:-1], "5=+1"],
        [*LINK, "--token", TOKEN],
        ["unlink"],
        ["keys", "create"],
        ["keys", "create", "--name", "crm"],
        ["keys", "create", "--name", "crm", "--allow-all", "--policy", "p.json"],
        *(["keys", "create", "--allow-all", "--name", name] for name in ("", "a b", "a/b", "é", "a" * 65, "a:b")),
        ["keys", "disable"],
        ["keys", "policy", "AKIA"],
        ["keys", "nonsense"],
        ["accounts", "extra"],
        ["dev", "--port", "70000"],
        ["migrate", "--force"],
    ],
)
def test_wrong_usage_is_exit_code_2_and_touches_nothing(
    arguments: list[str], registry: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WHATSAPP_ACCESS_TOKEN", TOKEN)
    result = run(*arguments)
    assert result.exit_code == 2, result.output
    assert "Traceback" not in result.output
    assert not registry.exists()


@pytest.mark.parametrize(
    "arguments", [["--help"], ["link", "--help"], ["keys", "create", "--help"], ["demo", "--help"]]
)
def test_help_is_exit_code_0(arguments: list[str]) -> None:
    assert "Usage" in done(*arguments)


def test_the_version_is_said() -> None:
    built_from = commit()
    assert done("--version") == done("-V") == f"whaul {__version__}{f' (commit {built_from})' if built_from else ''}\n"


def test_the_program_ends_without_an_end_of_the_interpreter() -> None:
    program = """
import atexit, sys
from whaul.cli import main

atexit.register(print, "handlers")
sys.argv = ["whaul", "--version"]
try:
    main()
finally:
    print("interpreter")
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.splitlines()[1:] == ["handlers"]


def test_every_command_says_what_it_does() -> None:
    group: Any = typer.main.get_command(app)
    for name in group.list_commands(None):
        assert group.get_command(None, name).help, name


def test_no_option_takes_a_secret() -> None:
    out = "".join(done(*command, "--help") for command in (["link"], ["serve"], ["keys", "create"], ["unlink"]))
    for secret in ("--token ", "--app-secret ", "--secret-key", "--secret-access-key"):
        assert secret not in out


# --- known failures


def test_a_known_failure_is_one_message_and_exit_code_1(tmp_path: Path) -> None:
    environ = os.environ | {"WHAUL_PORT": "x", "WHAUL_HOTS": "y"}
    command = [sys.executable, "-m", "whaul", "accounts"]
    ended = subprocess.run(command, env=environ, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.startswith("whaul: 2 settings cannot be used")
    assert "WHAUL_PORT=x" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_the_module_and_the_command_are_the_same() -> None:
    ended = subprocess.run([sys.executable, "-m", "whaul", "--version"], capture_output=True, text=True, check=True)
    assert ended.stdout.startswith(f"whaul {__version__}")
    assert callable(main)


def test_an_error_of_the_api_is_told_by_its_public_message(capsys: pytest.CaptureFixture[str]) -> None:
    failures.report(AccessDeniedByMetaException("Meta said no."))
    assert capsys.readouterr().err == "whaul: Meta said no.\n"


@pytest.mark.parametrize("token", ["", " ", "two words", "tokén", "a\nb", "a\x00b"])
def test_a_token_that_is_no_word_is_refused_and_not_repeated(tmp_path: Path, token: str) -> None:
    (tmp_path / "token").write_text(token)
    message = failed(*LINK, "--token-file", str(tmp_path / "token"))
    assert "one word of plain text" in message
    assert "standard input" in failed(*LINK, "--token-file", "-", stdin=token)


SPOILT = [
    "a\nb",
    "a b",
    "tok\u00e9n",
    "a\x1b[2J",
    f'"{TOKEN}"',
    f"'{TOKEN}'",
    " \r\n",
    TOKEN * 2000,
    "\ufeff",
    f"{TOKEN}\u200b",
]
"""Tokens that no header can hold, or that somebody quoted by mistake."""


@pytest.mark.parametrize("token", SPOILT, ids=lambda token: repr(token[:8]))
def test_a_token_of_the_environment_that_is_no_word_is_refused_and_not_repeated(
    monkeypatch: pytest.MonkeyPatch, registry: Path, token: str
) -> None:
    monkeypatch.setenv("WHATSAPP_ACCESS_TOKEN", token)
    message = failed(*LINK)
    assert message.startswith("WHATSAPP_ACCESS_TOKEN does not hold one word of plain text: it ")
    assert TOKEN not in message
    assert not registry.exists()


@pytest.mark.parametrize("around", ["{}\n", "{}\r\n", "\ufeff{}", " {}\t", "{}\u00a0"])
@pytest.mark.parametrize("source", ["environment", "file", "stdin"])
async def test_a_token_with_something_around_it_is_linked_without_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, source: str, around: str
) -> None:
    text = around.format(TOKEN)
    if source == "environment":
        monkeypatch.setenv("WHATSAPP_ACCESS_TOKEN", text)
    (tmp_path / "token").write_text(text, encoding="utf-8", newline="")
    option = {"environment": [], "file": ["--token-file", str(tmp_path / "token")], "stdin": ["--token-file", "-"]}
    await asyncio.to_thread(done, *LINK, *option[source], stdin=text)
    async with open_registry(Settings.load()) as opened:
        (linked,) = await opened.accounts.all()
        account = await opened.accounts.linked_account(linked.id)
    assert account is not None
    assert account.token.access_token.get_secret_value() == TOKEN


def test_a_token_in_place_of_its_files_name_is_not_repeated() -> None:
    assert failed(*LINK, "--token-file", TOKEN) == "--token-file: cannot read the file: No such file or directory"


@pytest.mark.parametrize("content", [None, b"\xff\xfe"])
@pytest.mark.parametrize("option", ["--token-file", "--app-secret-file"])
def test_a_secret_file_that_cannot_be_read_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: bytes | None, option: str
) -> None:
    monkeypatch.setenv("WHATSAPP_ACCESS_TOKEN", TOKEN)
    if content is not None:
        (tmp_path / "file").write_bytes(content)
    message = failed(*LINK, option, str(tmp_path / "file"))
    assert message.startswith(f"{option}: ")
    assert ("cannot read the file: No such file" if content is None else "the file is not UTF-8 text") in message
    assert str(tmp_path) not in message, "it may be the secret itself"


def test_without_a_token_it_says_how_to_give_one() -> None:
    assert "WHATSAPP_ACCESS_TOKEN" in failed(*LINK)


@pytest.mark.parametrize(
    "content", [None, b"\xff", b"", b"{}", b'{"Statement": {"Effect": "Allow", "NotAction": "*"}}']
)
def test_a_policy_that_cannot_be_evaluated_is_refused(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "policy.json"
    if content is not None:
        file.write_bytes(content)
    assert str(file) in failed("keys", "create", "--name", "crm", "--policy", str(file))
    assert str(file) in failed("keys", "policy", "AKIA", str(file))


def test_what_is_not_there_is_said() -> None:
    done("keys", "create", "--name", "crm", "--allow-all")
    assert "no access key AKIANONE" in failed("keys", "disable", "AKIANONE")
    assert "is not linked" in failed("unlink", "--yes", "waba-none")


# --- what it keeps


def test_an_account_is_linked_listed_and_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHATSAPP_ACCESS_TOKEN", TOKEN)
    linked = json.loads(done(*LINK, "--json"))["account"]
    assert linked["wabaId"] == "400000000000001"
    assert linked["phoneNumbers"][0]["phoneNumberId"].startswith("phone-number-id-")
    (listed,) = json.loads(done("accounts", "--json"))["linkedAccounts"]
    assert listed["id"] == linked["id"]
    shown = done("accounts")
    assert linked["id"] in shown
    assert "+15550100" in shown
    assert run("unlink", linked["id"], stdin="n\n").exit_code == 1
    assert "Removed" in done("unlink", linked["id"], stdin="y\n")
    assert json.loads(done("accounts", "--json")) == {"linkedAccounts": []}
    assert "No account is linked" in done("accounts")


def test_an_account_that_meta_was_not_asked_about_is_not_complete(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHATSAPP_ACCESS_TOKEN", TOKEN)
    assert json.loads(done(*LINK, "--json"))["account"]["registrationStatus"] == "INCOMPLETE"
    (listed,) = json.loads(done("accounts", "--json"))["linkedAccounts"]
    assert listed["registrationStatus"] == "INCOMPLETE"


def test_accounts_are_listed_with_all_ids_of_their_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHATSAPP_ACCESS_TOKEN", TOKEN)
    account = json.loads(done(*LINK, "--json"))["account"]
    (listed,) = json.loads(done("accounts", "--json"))["linkedAccounts"]
    assert listed == account
    (number,) = listed["phoneNumbers"]
    assert number["metaPhoneNumberId"] == "5"
    shown = done("accounts")
    for name in ("phoneNumberId", "arn", "metaPhoneNumberId", "displayPhoneNumber"):
        assert number[name] in shown


def test_a_question_that_nobody_answers_says_to_give_yes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHATSAPP_ACCESS_TOKEN", TOKEN)
    account = json.loads(done(*LINK, "--json"))["account"]
    assert "give --yes" in failed("unlink", account["id"])
    assert json.loads(done("accounts", "--json"))["linkedAccounts"]


EVIL = "Evil\x1b]0;pwn\x07\x1b[2J\u202eabc\x9b31m\r\nwaba-0 forged\u2028متجر 🛒"


def test_a_name_is_one_line_that_steers_no_terminal_and_json_has_it_exactly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHATSAPP_ACCESS_TOKEN", TOKEN)
    link = [EVIL if word == "Harbour" else word for word in LINK]
    for out in (done(*link), done("accounts")):
        assert len(out.splitlines()) == 2
        assert r"Evil\x1b]0;pwn\x07\x1b[2J\u202eabc\x9b31m\r\nwaba-0 forged\u2028متجر 🛒" in out
    out = done("accounts", "--json")
    assert json.loads(out)["linkedAccounts"][0]["wabaName"] == EVIL
    assert not any(steering in out for steering in "\x1b\x07\u202e\x9b\r\u2028")


def test_a_token_is_never_printed_nor_stored_as_it_is(tmp_path: Path, registry: Path) -> None:
    (tmp_path / "secret").write_text("app-s3cr3t\n")
    out = done(*LINK, "--token-file", "-", "--app-secret-file", str(tmp_path / "secret"), stdin=f"{TOKEN}\n")
    out += done("accounts") + done("accounts", "--json")
    stored = b"".join(path.read_bytes() for path in registry.parent.glob("whaul.db*"))
    for secret in (TOKEN, "app-s3cr3t"):
        assert secret not in out
        assert secret.encode() not in stored


def test_an_access_keys_secret_is_shown_once(registry: Path) -> None:
    made = json.loads(done("keys", "create", "--name", "crm", "--allow-all", "--json"))
    assert set(made) == {"accessKeyId", "secretAccessKey", "name"}
    out = done("keys", "list") + done("keys", "list", "--json")
    assert made["accessKeyId"] in out
    assert made["secretAccessKey"] not in out
    stored = b"".join(path.read_bytes() for path in registry.parent.glob("whaul.db*"))
    assert made["secretAccessKey"].encode() not in stored


def test_a_new_key_is_printed_as_variables_and_the_warning_is_beside_it() -> None:
    result = run("keys", "create", "--name", "crm", "--allow-all")
    names = [line.partition("=")[0] for line in result.stdout.splitlines()]
    assert names == ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"]
    assert "not shown again" in result.stderr


def test_a_keys_policy_is_replaced_and_the_key_disabled(tmp_path: Path) -> None:
    file = tmp_path / "policy.json"
    file.write_text(json.dumps(POLICY))
    made = json.loads(done("keys", "create", "--name", "crm", "--allow-all", "--json"))
    assert made["accessKeyId"] in done("keys", "policy", made["accessKeyId"], str(file))
    (listed,) = json.loads(done("keys", "list", "--json"))["accessKeys"]
    assert listed["policy"] == POLICY
    assert listed["status"] == "Active"
    done("keys", "disable", made["accessKeyId"])
    (listed,) = json.loads(done("keys", "list", "--json"))["accessKeys"]
    assert listed["status"] == "Inactive"
    assert "disabled" in done("keys", "list")


def test_a_temporary_key_comes_with_a_session_token_and_its_end() -> None:
    before = datetime.now(UTC)
    made = json.loads(done("keys", "create", "--name", "job", "--allow-all", "--expires-in", "1h", "--json"))
    assert list(made) == ["accessKeyId", "secretAccessKey", "sessionToken", "expiration", "name"]
    assert made["accessKeyId"].startswith("ASIA")
    end = datetime.fromisoformat(made["expiration"])
    assert before + timedelta(hours=1) <= end <= datetime.now(UTC) + timedelta(hours=1)
    listed = done("keys", "list")
    assert f"until {end:%Y-%m-%d %H:%M} UTC" in listed
    assert made["sessionToken"] not in listed


def test_a_temporary_key_is_printed_as_the_variables_that_aws_tools_read() -> None:
    printed = done("keys", "create", "--name", "job", "--allow-all", "--expires-in", "15m")
    names = [line.partition("=")[0] for line in printed.splitlines()]
    assert names == [
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "AWS_CREDENTIAL_EXPIRATION",
    ]


@pytest.mark.parametrize(
    "time", ["", "1", "0s", "-1h", "1h30m", "1.5h", "1w", "366d", "999999999d", "h", "1H", "\u0661h"]
)
def test_a_time_that_cannot_be_used_is_a_usage_error(time: str) -> None:
    result = run("keys", "create", "--name", "job", "--allow-all", "--expires-in", time)
    assert result.exit_code == 2
    assert json.loads(done("keys", "list", "--json")) == {"accessKeys": []}


def test_a_rate_limit_is_given_changed_and_taken_away() -> None:
    options = ("--rate-limit", "2.5", "--rate-burst", "10")
    key = json.loads(done("keys", "create", "--name", "a", "--allow-all", *options, "--json"))["accessKeyId"]

    def limits() -> tuple[object, object]:
        (listed,) = json.loads(done("keys", "list", "--json"))["accessKeys"]
        return listed["rateLimit"], listed["rateBurst"]

    assert limits() == (2.5, 10)
    assert "2.5 calls per second, 10 at once" in done("keys", "list")
    assert "has 7 calls per second." in done("keys", "limit", key, "--rate-limit", "7")
    assert limits() == (7, None)
    assert "no rate limit" in done("keys", "limit", key, "--rate-limit", "0")
    assert limits() == (0, None)
    assert "the limit of the server" in done("keys", "limit", key, "--default")
    assert limits() == (None, None)
    assert "there is no access key" in failed("keys", "limit", "AKIANOBODY", "--default")


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["--rate-limit", "1", "--default"],
        ["--rate-limit", "-1"],
        ["--rate-limit", "many"],
        ["--rate-limit", "nan"],
        ["--rate-burst", "5"],
        ["--rate-limit", "0", "--rate-burst", "5"],
        ["--rate-limit", "1", "--rate-burst", "0"],
        ["--rate-burst", "5", "--default"],
    ],
)
def test_limits_that_make_no_sense_are_usage_errors(options: list[str]) -> None:
    assert run("keys", "limit", "AKIANOBODY", *options).exit_code == 2


NUMBER = "arn:aws:social-messaging:us-east-1:000000000000:phone-number-id/1"


@pytest.mark.parametrize(
    ("action", "resource", "told", "answer"),
    [
        ("social-messaging:GetWhatsAppMessageMedia", NUMBER, "Allowed by the statement Read.", ("allowed", "Read")),
        ("SOCIAL-MESSAGING:getwhatsappmessagemedia", NUMBER, "Allowed by the statement Read.", ("allowed", "Read")),
        ("s3:PutObject", "arn:aws:s3:::in/a", "Allowed by the statement Statement[1].", ("allowed", "Statement[1]")),
        ("s3:PutObject", "arn:aws:s3:::in/no/a", "Denied by the statement KeepOut.", ("explicitDeny", "KeepOut")),
        ("social-messaging:SendWhatsAppMessage", NUMBER, "Denied: no statement allows it.", ("implicitDeny", None)),
        ("social-messaging:ListLinkedWhatsAppBusinessAccounts", "*", "Denied: no st", ("implicitDeny", None)),
    ],
)
def test_a_policy_is_simulated_with_the_statement_that_decides(
    tmp_path: Path, action: str, resource: str, told: str, answer: tuple[str, str | None]
) -> None:
    policy = tmp_path / "policy.json"
    statements = [
        {
            "Sid": "Read",
            "Effect": "Allow",
            "Action": "social-messaging:Get*",
            "Resource": "arn:aws:social-messaging:*:*:*",
        },
        {"Effect": "Allow", "Action": "s3:*", "Resource": "arn:aws:s3:::in/*"},
        {"Sid": "KeepOut", "Effect": "Deny", "Action": "s3:*", "Resource": "arn:aws:s3:::in/no/*"},
    ]
    policy.write_text(json.dumps({"Version": "2012-10-17", "Statement": statements}))
    key = json.loads(done("keys", "create", "--name", "a", "--policy", str(policy), "--json"))["accessKeyId"]
    asked = ("keys", "simulate", key, "--action", action, "--resource", resource)
    assert done(*asked).startswith(told)
    asked_for = {"accessKeyId": key, "name": "a", "action": action, "resource": resource}
    assert json.loads(done(*asked, "--json")) == asked_for | {"decision": answer[0], "statement": answer[1]}


def test_simulating_says_when_a_key_is_refused_all_the_same() -> None:
    key = json.loads(done("keys", "create", "--name", "a", "--allow-all", "--json"))["accessKeyId"]
    done("keys", "disable", key)
    result = run("keys", "simulate", key, "--action", "s3:PutObject", "--resource", "arn:aws:s3:::in/a")
    assert result.exit_code == 0
    assert "Allowed by the statement AllowAll." in result.stdout
    assert "The key is disabled" in result.stderr


@pytest.mark.parametrize(
    ("action", "resource"),
    [
        ("social-messaging:*", "*"),
        ("GetWhatsAppMessageMedia", "*"),
        ("s3:PutObject", "in/a"),
        ("s3:PutObject", "arn:aws:s3"),
        ("s3:PutObject", ""),
    ],
)
def test_what_no_call_asks_cannot_be_simulated(action: str, resource: str) -> None:
    assert run("keys", "simulate", "AKIANOBODY", "--action", action, "--resource", resource).exit_code == 2


def test_an_unknown_key_cannot_be_simulated() -> None:
    assert "there is no access key" in failed(
        "keys", "simulate", "AKIANO", "--action", "s3:PutObject", "--resource", "*"
    )


# --- rotation


def test_the_key_of_a_key_file_is_rotated_step_by_step(registry: Path) -> None:
    done(*LINK, "--token-file", "-", stdin=TOKEN)
    done("keys", "create", "--name", "a", "--allow-all")
    key_file = registry.with_name(f"{registry.name}.key")
    old, new = key_file.read_text().strip(), Fernet.generate_key().decode()
    key_file.write_text(f"{new},{old}\n")
    assert done("rotate-secrets").startswith("2 secrets were re-encrypted. All secrets of account number 000000000000")
    key_file.write_text(f"{new}\n")
    done("accounts")
    assert done("rotate-secrets").startswith("0 secrets were")
    key_file.write_text(f"{old}\n")
    assert "check WHAUL_SECRET_KEY" in failed("accounts")
    assert "check WHAUL_SECRET_KEY" in failed("rotate-secrets")


def test_without_keys_it_says_how_to_make_one() -> None:
    assert "whaul keys create" in done("keys", "list")
    assert json.loads(done("keys", "list", "--json")) == {"accessKeys": []}


def test_the_database_is_brought_to_its_schema() -> None:
    assert "revision" in done("migrate")
    assert done("migrate") == done("migrate")
    assert "whaul keys create" in done("keys", "list")  # the new database can be used, with a key of its own


def test_rows_are_aligned_by_their_widest_cell(capsys: pytest.CaptureFixture[str]) -> None:
    output.rows([("a", "long cell", "x"), ("longer", "b", "")])
    assert capsys.readouterr().out == "  a       long cell  x\n  longer  b\n"


@pytest.mark.parametrize(("value", "expected"), [(None, None), ("", None), ("x", "x")])
def test_an_empty_variable_is_an_unset_one(
    monkeypatch: pytest.MonkeyPatch, value: str | None, expected: str | None
) -> None:
    monkeypatch.delenv("WHAUL_TEST", raising=False)
    if value is not None:
        monkeypatch.setenv("WHAUL_TEST", value)
    assert output.environment("WHAUL_TEST") == expected
