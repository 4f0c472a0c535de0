"""The three clients that run the scenario, unmodified: boto3, the AWS CLI, and the AWS SDK for JavaScript.

Each is one process, so that a scenario may have many steps: the programs take seconds to load.
"""

import base64
import json
import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol

import boto3
import botocore
from botocore import xform_name
from botocore.config import Config
from botocore.exceptions import ClientError

from harness.installs import TOOLS, aws_cli, install, node
from harness.world import Key
from whaul.stack.local import REGION, clean_environment

HERE = Path(__file__).parent
CLI_RUNNER = HERE / "aws_cli.py"
MODEL = Path(botocore.__file__).parent / "data" / "socialmessaging"
SDK_RUNNER = HERE / "javascript"
NEWEST = frozenset(
    {
        "CreateWhatsAppDataset",
        "GetWhatsAppBusinessPublicKey",
        "GetWhatsAppCallPermission",
        "PutWhatsAppBusinessPublicKey",
        "SendWhatsAppCallEvent",
        "SendWhatsAppConversionEvent",
        "UpdateLinkedWhatsAppBusinessAccountPhoneNumber",
    }
)
"""Operations that neither the AWS CLI 1.46.3 knows nor the SDK for JavaScript 3.1069.0; boto3 does."""


@dataclass(frozen=True)
class Outcome:
    """What a client's user gets: the output's members, or an error. Timestamps are seconds."""

    output: Mapping[str, Any] | None = None
    error: str | None = None
    """The code of the error."""
    status: int | None = None
    """Its HTTP status; None when the client does not tell."""
    typed: bool = True
    """Whether the error is of the client's own class for it."""


class ApiClient(Protocol):
    """A client of the API, by the operations' own names and members; blobs are bytes."""

    lacks: frozenset[str]
    """Operations that it does not know."""

    def call(self, url: str, key: Key, operation: str, members: Mapping[str, Any], attempts: int = 1) -> Outcome:
        """Call an operation; of so many `attempts`, all but the first are the client's own retries."""
        ...


def environment(url: str, key: Key, attempts: int) -> dict[str, str]:
    return clean_environment() | {
        "AWS_ENDPOINT_URL_SOCIALMESSAGING": url,
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_ACCESS_KEY_ID": key.id,
        "AWS_SECRET_ACCESS_KEY": key.secret,
        "AWS_MAX_ATTEMPTS": str(attempts),
    }


def with_blobs_in_base64(members: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: base64.b64encode(value).decode() if isinstance(value, bytes) else value for name, value in members.items()
    }


class Boto3:
    lacks: frozenset[str] = frozenset()

    def call(self, url: str, key: Key, operation: str, members: Mapping[str, Any], attempts: int = 1) -> Outcome:
        client = boto3.client(
            "socialmessaging",
            endpoint_url=url,
            region_name=REGION,
            aws_access_key_id=key.id,
            aws_secret_access_key=key.secret,
            config=Config(retries={"total_max_attempts": attempts}, parameter_validation=True),
        )
        try:
            output = getattr(client, xform_name(operation))(**members)
        except ClientError as error:
            code = error.response["Error"]["Code"]
            kind = getattr(client.exceptions, code, ())
            status = error.response["ResponseMetadata"]["HTTPStatusCode"]
            return Outcome(error=code, status=status, typed=isinstance(error, kind))
        finally:
            client.close()
        del output["ResponseMetadata"]
        return Outcome(json.loads(json.dumps(output, default=datetime.timestamp)))


class Lines:
    """A program that is told something in each line, and answers it in one."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def ask(self, question: Any) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())


@contextmanager
def lines(command: Sequence[str | Path], home: Path, **environ: str) -> Iterator[Lines]:
    """Run such a program while the block runs."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, cwd=home, env=clean_environment() | environ, text=True, **pipes) as process:
        yield Lines(process)


class AwsCli:
    """Version 1, which is on PyPI; it tells errors by their codes only.

    It is given botocore's model of the service, as `aws configure add-model` would, for the newest operations.
    """

    lacks: frozenset[str] = frozenset()

    def __init__(self, program: Lines) -> None:
        self._program = program

    def call(self, url: str, key: Key, operation: str, members: Mapping[str, Any], attempts: int = 1) -> Outcome:
        # Version 1 takes blobs as text, in JSON too, and encodes them itself.
        texts = {name: value.decode() if isinstance(value, bytes) else value for name, value in members.items()}
        command = xform_name(operation, "-")
        if operation in NEWEST:  # it does not know either how the name is written
            command = command.replace("whatsapp", "whats-app")
        arguments = ["socialmessaging", command, "--no-paginate"]
        arguments += ["--cli-input-json", json.dumps(texts)]
        code, out, err = self._program.ask({"arguments": arguments, "environment": environment(url, key, attempts)})
        if code == 0:
            return Outcome(json.loads(out or "{}"))
        told = re.search(rf"An error occurred \((\w+)\) when calling the {operation} operation", err)
        return Outcome(error=told[1] if told else err)


class JavaScript:
    """Version 3, in Node."""

    lacks = NEWEST

    def __init__(self, program: Lines) -> None:
        self._program = program

    def call(self, url: str, key: Key, operation: str, members: Mapping[str, Any], attempts: int = 1) -> Outcome:
        told = {
            "client": {
                "endpoint": url,
                "region": REGION,
                "maxAttempts": attempts,
                "credentials": {"accessKeyId": key.id, "secretAccessKey": key.secret},
            },
            "operation": operation,
            "input": with_blobs_in_base64(members),
            "blobs": [name for name, value in members.items() if isinstance(value, bytes)],
        }
        return Outcome(**self._program.ask(told))


def node_with_sdk() -> tuple[str, Path]:
    """Node, and the folder with the runner and the SDK; both are installed once for a checkout."""
    program, npm = node()
    home = TOOLS / "conformance-javascript"
    wanted = {name: (SDK_RUNNER / name).read_bytes() for name in ("package.json", "package-lock.json", "runner.mjs")}

    def is_there() -> bool:
        present = {name: (home / name).read_bytes() for name in wanted if (home / name).exists()}
        if present == wanted and (home / "node_modules" / ".package-lock.json").exists():
            return True
        for name, content in wanted.items():
            (home / name).write_bytes(content)
        return False

    npm += ["ci", "--no-audit", "--no-fund", "--ignore-scripts"]
    install("the AWS SDK for JavaScript", home, is_there, [npm])
    return program, home


@contextmanager
def client(name: str) -> Iterator[ApiClient]:
    """A client, while the block runs."""
    if name == "boto3":
        yield Boto3()
    elif name == "AWS CLI":
        program = aws_cli()
        command = [program.with_name("python"), CLI_RUNNER, program]
        with TemporaryDirectory() as models:
            (Path(models) / MODEL.name).symlink_to(MODEL)
            with lines(command, HERE, AWS_DATA_PATH=models) as running:
                yield AwsCli(running)
    else:
        node_program, home = node_with_sdk()
        with lines([node_program, "runner.mjs"], home) as running:
            yield JavaScript(running)
