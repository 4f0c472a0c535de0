"""The server's S3 credentials: found as any AWS tool finds them, renewed, and never a trap for the server."""

import asyncio
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import botocore.session
import pytest
from botocore.credentials import Credentials, RefreshableCredentials

from harness.loopback import Answer, Loopback, Received, Reply, reply
from harness.waiting import PATIENCE, eventually
from whaul.errors import AccessDeniedException
from whaul.outbound.aws_signing import AwsKeys
from whaul.storage.credential_chain import ChainCredentials
from whaul.storage.credentials import LOOK_EVERY, RELOAD_EVERY, CredentialChain

pytestmark = pytest.mark.anyio

SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
ROLE = "arn:aws:iam::123456789012:role/whaul"


class Machine:
    """What the chain finds: the environment and the shared files. Nothing, to begin with."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self._patch = patch
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            patch.delenv(name)
        self.set(
            AWS_EC2_METADATA_DISABLED="true",
            AWS_CONFIG_FILE=str(folder / "config"),
            AWS_SHARED_CREDENTIALS_FILE=str(folder / "credentials"),
            AWS_DEFAULT_REGION="eu-west-1",
        )

    def set(self, **environ: str) -> None:
        for name, value in environ.items():
            self._patch.setenv(name, value)

    def write(self, name: str, text: str) -> Path:
        """Write a file as an agent does: beside it first."""
        path = self.folder / name
        beside = self.folder / f"{name}.new"
        beside.write_text(text)
        beside.replace(path)
        return path

    def profile(self, lines: str) -> None:
        self.write("config", f"[default]\n{lines}\n")

    def program(self, text: str) -> None:
        """A `credential_process`."""
        self.profile(f"credential_process = sh {self.write('program', text)}")

    def keys(self, key_id: str) -> None:
        self.write("credentials", f"[default]\naws_access_key_id = {key_id}\naws_secret_access_key = {SECRET}\n")


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(tmp_path, monkeypatch)


class Clock:
    """Time that a test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def printed(key_id: str, **more: str) -> str:
    return json.dumps({"Version": 1, "AccessKeyId": key_id, "SecretAccessKey": SECRET} | more)


def after(**time: float) -> str:
    return (datetime.now(UTC) + timedelta(**time)).isoformat()


async def refusal(chain: CredentialChain) -> str:
    with pytest.raises(AccessDeniedException) as caught:
        await chain.get()
    message = caught.value.message
    assert "S3 credentials" in message
    assert "operator" in message
    assert SECRET not in message
    return message


# --- what cannot be loaded


def web_identity(machine: Machine) -> None:
    machine.set(AWS_ROLE_ARN=ROLE, AWS_WEB_IDENTITY_TOKEN_FILE="/nonexistent/token")


def pod_identity(machine: Machine) -> None:
    machine.set(
        AWS_CONTAINER_CREDENTIALS_FULL_URI="http://127.0.0.1:9/v1/credentials",
        AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE="/nonexistent/token",
    )


def pod_identity_with_two_lines(machine: Machine) -> None:
    pod_identity(machine)
    machine.set(AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE=str(machine.write("token", f"{SECRET}\n{SECRET}")))


def second_factor(machine: Machine) -> None:
    machine.profile(
        f"role_arn = {ROLE}\nsource_profile = base\nmfa_serial = arn:aws:iam::123456789012:mfa/me\n"
        f"[profile base]\naws_access_key_id = a\naws_secret_access_key = {SECRET}"
    )


def sso_without_log_in(machine: Machine) -> None:
    machine.set(HOME=str(machine.folder))
    machine.profile(
        "sso_session = s\nsso_account_id = 123456789012\nsso_role_name = r\n"
        "[sso-session s]\nsso_region = eu-west-1\nsso_start_url = http://127.0.0.1:9/start"
    )


BROKEN: dict[str, tuple[Callable[[Machine], None], str]] = {
    "nothing": (lambda _: None, "has no S3 credentials"),
    "half a pair": (lambda m: m.set(AWS_ACCESS_KEY_ID="a"), "PartialCredentialsError"),
    "no token file": (web_identity, "FileNotFoundError"),
    "no token file for a pod": (pod_identity, "FileNotFoundError"),
    "a token of two lines": (pod_identity_with_two_lines, "ValueError"),
    "no such program": (lambda m: m.profile("credential_process = /nonexistent/helper"), "FileNotFoundError"),
    "a program that fails": (lambda m: m.program(f"echo {SECRET} >&2; exit 1"), "CredentialRetrievalError"),
    "a program without JSON": (lambda m: m.program(f"echo {SECRET}"), "JSONDecodeError"),
    "a program without UTF-8": (lambda m: m.program("printf '\\377'"), "UnicodeDecodeError"),
    "a program with another document": (lambda m: m.program("echo '[]'"), "AttributeError"),
    "a program without a key": (lambda m: m.program("echo '{\"Version\": 1}'"), "CredentialRetrievalError"),
    "a program with no key": (
        lambda m: m.program('echo \'{"Version": 1, "AccessKeyId": null, "SecretAccessKey": ""}\''),
        "it is empty",
    ),
    "a program with a bad time": (lambda m: m.program(f"echo '{printed('a', Expiration='soon')}'"), "ParserError"),
    "a program with a time that is over": (
        lambda m: m.program(f"echo '{printed('a', Expiration=after(hours=-1))}'"),
        "RuntimeError",
    ),
    "a program with a number for a key": (
        lambda m: m.program('echo \'{"Version": 1, "AccessKeyId": 5, "SecretAccessKey": "a b"}\''),
        "a space",
    ),
    "a program that asks": (lambda m: m.program("read token && echo $token"), "CredentialRetrievalError"),
    "a program that never ends": (lambda m: m.program("sleep 600"), "did not end in time|no answer within 1 seconds"),
    "a second factor": (second_factor, "second factor"),
    "a log-in that is over": (sso_without_log_in, "SSOTokenLoadError"),
    "another profile": (lambda m: m.set(AWS_PROFILE="missing"), "ProfileNotFound"),
    "a file that is no INI": (lambda m: m.profile("[default\nx"), "ConfigParseError"),
    "a number that is none": (lambda m: m.set(AWS_METADATA_SERVICE_TIMEOUT="long"), "ValueError"),
    "a key of two lines": (lambda m: m.set(AWS_ACCESS_KEY_ID="a\nb", AWS_SECRET_ACCESS_KEY=SECRET), "a line end"),
    "a secret with a space": (lambda m: m.set(AWS_ACCESS_KEY_ID="a", AWS_SECRET_ACCESS_KEY="b c"), "a space"),
    "a token beyond ASCII": (
        lambda m: m.set(AWS_ACCESS_KEY_ID="a", AWS_SECRET_ACCESS_KEY=SECRET, AWS_SESSION_TOKEN="\xe9"),
        "other than ASCII",
    ),
}


@pytest.mark.parametrize("kind", BROKEN)
async def test_what_cannot_be_loaded_is_the_operators_to_check(
    machine: Machine, capfd: pytest.CaptureFixture[str], kind: str
) -> None:
    arrange, expected = BROKEN[kind]
    arrange(machine)
    assert re.search(expected, await refusal(CredentialChain(1.0) if "never" in kind else CredentialChain()))
    output = "".join(capfd.readouterr())
    assert "Traceback" not in output
    assert SECRET not in output


def sts_refusal(status: int, code: str) -> Reply:
    return reply(
        status, f"<ErrorResponse><Error><Code>{code}</Code><Message>{SECRET}</Message></Error></ErrorResponse>"
    )


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (sts_refusal(403, "AccessDenied"), "AccessDenied"),
        (sts_refusal(400, "InvalidIdentityToken"), "InvalidIdentityToken"),
        (reply(200, f"<html>{SECRET}"), "ResponseParserError"),
    ],
)
async def test_a_refusal_of_aws_is_told_with_its_code(machine: Machine, answer: Answer, expected: str) -> None:
    token = machine.write("token", SECRET)
    async with Loopback(answer) as sts:
        machine.set(AWS_ENDPOINT_URL_STS=sts.url, AWS_WEB_IDENTITY_TOKEN_FILE=str(token), AWS_ROLE_ARN=ROLE)
        assert expected in await refusal(CredentialChain())
        assert sts.requests


@pytest.mark.parametrize(
    "body", [b"{}", b"[]", b"no JSON", b'{"AccessKeyId": "a"}', b'{"Code": "Failed", "Message": "m"}']
)
async def test_a_containers_credentials_without_a_key_are_refused(machine: Machine, body: bytes) -> None:
    async with Loopback(reply(200, body)) as endpoint:
        machine.set(AWS_CONTAINER_CREDENTIALS_FULL_URI=f"{endpoint.url}/creds")
        await refusal(CredentialChain())


async def test_a_program_does_not_hold_up_the_event_loop(machine: Machine) -> None:
    fifo = machine.folder / "fifo"
    os.mkfifo(fifo)
    machine.program(f"cat {fifo}")
    asked = asyncio.create_task(CredentialChain().get())
    await asyncio.to_thread(fifo.write_text, printed("a"))  # never comes to be written while the loop stands still
    assert (await asked).access_key == "a"


def is_over(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in {"Z", "X"}
    except FileNotFoundError:
        return True


async def test_a_program_that_never_ends_is_killed_with_all_that_it_started(machine: Machine) -> None:
    machine.program(f"sleep 600 & echo $! > {machine.folder}/pid; wait")
    await refusal(CredentialChain(patience=5.0))
    pid = int((machine.folder / "pid").read_text())
    await asyncio.to_thread(eventually, lambda: is_over(pid))


def test_a_chain_that_hangs_keeps_no_program_from_ending(machine: Machine) -> None:
    os.mkfifo(machine.folder / "token")
    machine.set(AWS_ROLE_ARN=ROLE, AWS_WEB_IDENTITY_TOKEN_FILE=str(machine.folder / "token"))
    look = (
        "import asyncio; from whaul.storage.credentials import CredentialChain\n"
        "try: asyncio.run(CredentialChain(patience=0.1).get())\n"
        "except Exception as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, timeout=PATIENCE, check=True)
    assert "no answer within 0.1 seconds" in done.stdout
    assert done.stderr == ""


# --- what is found


@pytest.mark.parametrize("token", ["", "session-t0ken"])
async def test_white_space_around_credentials_is_no_part_of_them(machine: Machine, token: str) -> None:
    machine.set(AWS_ACCESS_KEY_ID=" AKID\n", AWS_SECRET_ACCESS_KEY=f"{SECRET}\r\n", AWS_SESSION_TOKEN=f"{token} \n")
    found = await CredentialChain().get()
    assert (found.access_key, found.secret_key, found.token) == ("AKID", SECRET, token or None)


async def test_the_source_is_told_in_botocores_words(machine: Machine) -> None:
    machine.keys("a")
    assert await CredentialChain().source() == "shared-credentials-file"


ENVIRONMENTS = {
    "a pair": {},
    "a token": {"AWS_SESSION_TOKEN": "t"},
    "two tokens": {"AWS_SESSION_TOKEN": "t", "AWS_SECURITY_TOKEN": "of-old"},
    "an empty token": {"AWS_SESSION_TOKEN": "t", "AWS_SECURITY_TOKEN": ""},
    "a profile": {"AWS_PROFILE": "other"},
    "an end": {"AWS_CREDENTIAL_EXPIRATION": after(hours=1), "AWS_SESSION_TOKEN": "t"},
}


@pytest.mark.parametrize("kind", ENVIRONMENTS)
async def test_keys_of_the_environment_are_those_that_botocore_finds(machine: Machine, kind: str) -> None:
    machine.write("credentials", "[other]\naws_access_key_id = b\naws_secret_access_key = c\n")
    machine.set(AWS_ACCESS_KEY_ID="a", AWS_SECRET_ACCESS_KEY=SECRET, **ENVIRONMENTS[kind])
    found = botocore.session.Session().get_credentials()
    assert await CredentialChain().get() == AwsKeys(found.access_key, found.secret_key, found.token)
    assert await CredentialChain().source() == found.method == "env"


async def test_a_profile_of_the_settings_goes_before_the_environment(machine: Machine) -> None:
    machine.write("credentials", f"[other]\naws_access_key_id = b\naws_secret_access_key = {SECRET}\n")
    machine.set(AWS_ACCESS_KEY_ID="a", AWS_SECRET_ACCESS_KEY=SECRET)
    assert (await CredentialChain(profile="other").get()).access_key == "b"


async def test_calls_at_once_start_one_program(machine: Machine) -> None:
    machine.program(f"echo >> {machine.folder}/runs; echo '{printed('a')}'")
    chain = CredentialChain()
    found = await asyncio.gather(*(chain.get() for _ in range(5)))
    assert {keys.access_key for keys in found} == {"a"}
    assert (machine.folder / "runs").read_text() == "\n"


async def test_a_profile_of_a_role_may_have_a_program_as_its_source(machine: Machine) -> None:
    machine.program(f"cat; echo '{printed('base')}'")  # reads to the end of standard input
    program = (machine.folder / "config").read_text().partition("\n")[2]
    machine.profile(f"role_arn = {ROLE}\nsource_profile = base\n[profile base]\n{program}")
    async with Loopback(sts_answer("of-the-role")) as sts:
        machine.set(AWS_ENDPOINT_URL_STS=sts.url)
        assert (await CredentialChain().get()).access_key == "of-the-role"


def sts_answer(key_id: str, expiration: str | None = None, action: str = "AssumeRole") -> Reply:
    keys = (
        f"<AccessKeyId>{key_id}</AccessKeyId><SecretAccessKey>{SECRET}</SecretAccessKey><SessionToken>t</SessionToken>"
    )
    found = f"<Credentials>{keys}<Expiration>{expiration or after(hours=1)}</Expiration></Credentials>"
    namespace = 'xmlns="https://sts.amazonaws.com/doc/2011-06-15/"'
    return reply(200, f"<{action}Response {namespace}><{action}Result>{found}</{action}Result></{action}Response>")


# --- what is renewed


async def test_a_shared_file_that_is_written_again_is_read_again(machine: Machine, clock: Clock) -> None:
    chain = CredentialChain(clock=clock)
    machine.keys("first")
    assert (await chain.get()).access_key == "first"
    machine.keys("the-second")
    clock.now += LOOK_EVERY
    assert (await chain.get()).access_key == "the-second"


@pytest.mark.parametrize("text", ["", "[default]\naws_access_key_id = half\n", "no INI ["])
async def test_a_shared_file_that_is_being_written_leaves_the_former_keys(
    machine: Machine, clock: Clock, text: str
) -> None:
    chain = CredentialChain(clock=clock)
    machine.keys("first")
    await chain.get()
    for content in (text, text):
        (machine.folder / "credentials").write_text(content)
        clock.now += LOOK_EVERY
        assert (await chain.get()).access_key == "first"
    machine.keys("second")
    clock.now += LOOK_EVERY
    assert (await chain.get()).access_key == "second"


async def test_credentials_that_come_later_are_found(machine: Machine) -> None:
    chain = CredentialChain()
    await refusal(chain)
    machine.keys("late")
    assert (await chain.get()).access_key == "late"


async def test_credentials_that_the_store_refuses_are_loaded_again_but_not_all_the_time(
    machine: Machine, clock: Clock
) -> None:
    machine.write("out", printed("first"))
    machine.program(f"echo >> {machine.folder}/runs; cat {machine.folder}/out")
    chain = CredentialChain(clock=clock)
    await chain.get()
    machine.write("out", printed("second"))
    chain.refused()
    assert (await chain.get()).access_key == "first"  # loaded a moment ago
    clock.now += RELOAD_EVERY
    chain.refused()
    assert (await chain.get()).access_key == "second"
    assert (machine.folder / "runs").read_text() == "\n\n"


async def test_refused_credentials_that_cannot_be_loaded_again_are_not_used(machine: Machine, clock: Clock) -> None:
    machine.program(f"echo '{printed('first')}'")
    chain = CredentialChain(clock=clock)
    await chain.get()
    (machine.folder / "program").write_text("exit 1")
    clock.now += RELOAD_EVERY
    chain.refused()
    await refusal(chain)


async def until(chain: CredentialChain, clock: Clock, key_id: str) -> None:
    """Ask again, a second later each time, until the renewal that goes on beside the calls is done."""
    while (await chain.get()).access_key != key_id:
        clock.now += LOOK_EVERY
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("minutes", [5, 12])
async def test_a_program_is_run_again_before_what_it_printed_expires(
    machine: Machine, clock: Clock, minutes: int
) -> None:
    machine.write("out", printed("first", SessionToken="t", Expiration=after(minutes=20)))
    machine.program(f"cat {machine.folder}/out")
    chain = CredentialChain(clock=clock)
    found = await chain._look()
    found.chain._credentials._expiry_time = datetime.now(UTC) + timedelta(minutes=minutes)
    machine.write("out", printed("second", SessionToken="t", Expiration=after(hours=1)))
    await until(chain, clock, "second")


async def test_a_containers_credentials_are_asked_for_with_the_token_of_the_hour(
    machine: Machine, clock: Clock
) -> None:
    def creds(request: Received) -> Reply:
        token = request.headers["authorization"]
        keys = {"AccessKeyId": token, "SecretAccessKey": SECRET, "Token": "t", "Expiration": after(minutes=5)}
        return reply(200, keys)

    async with Loopback(creds) as endpoint:
        machine.set(
            AWS_CONTAINER_CREDENTIALS_FULL_URI=f"{endpoint.url}/creds",
            AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE=str(machine.write("token", "first")),
        )
        chain = CredentialChain(clock=clock)
        assert (await chain.get()).access_key == "first"
        machine.write("token", "second")
        await until(chain, clock, "second")


async def test_a_role_is_assumed_again_with_the_token_of_the_hour(machine: Machine, clock: Clock) -> None:
    def sts(request: Received) -> Reply:
        key_id = "second" if b"WebIdentityToken=second" in request.body else "first"
        return sts_answer(key_id, after(minutes=5), "AssumeRoleWithWebIdentity")

    async with Loopback(sts) as server:
        machine.set(
            AWS_ENDPOINT_URL_STS=server.url,
            AWS_ROLE_ARN=ROLE,
            AWS_WEB_IDENTITY_TOKEN_FILE=str(machine.write("token", "first")),
        )
        chain = CredentialChain(clock=clock)
        assert (await chain.get()).access_key == "first"
        machine.write("token", "second")
        await until(chain, clock, "second")


async def test_credentials_that_have_expired_and_cannot_be_renewed_are_not_used(machine: Machine, clock: Clock) -> None:
    machine.write("out", printed("first", SessionToken="t", Expiration=after(hours=1)))
    machine.program(f"cat {machine.folder}/out")
    chain = CredentialChain(clock=clock)
    found = await chain._look()
    (machine.folder / "out").unlink()
    found.chain._credentials._expiry_time = datetime.now(UTC) - timedelta(seconds=1)
    clock.now += LOOK_EVERY
    assert "CredentialRetrievalError" in await refusal(chain)


@pytest.mark.parametrize(("minutes", "expected"), [(60, False), (5, True), (-5, True)])
def test_credentials_are_refreshed_before_they_expire(minutes: int, expected: bool) -> None:
    expiry = datetime.now(UTC) + timedelta(minutes=minutes)
    temporary = RefreshableCredentials("a", SECRET, "t", expiry, refresh_using=dict, method="test")
    assert ChainCredentials(temporary).needs_refresh is expected


def test_credentials_that_do_not_expire_need_no_refresh() -> None:
    lasting = ChainCredentials(Credentials("a", SECRET))
    assert not lasting.needs_refresh
    assert not lasting.is_expired
