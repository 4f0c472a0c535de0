"""The three clients that run the scenario, unmodified: boto3, the AWS CLI, and the AWS SDK for JavaScript."""

import base64
import json
import re
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import boto3
from botocore import xform_name
from botocore.config import Config
from botocore.exceptions import ClientError

from harness.installs import TOOLS, aws_cli, install, node
from harness.world import Key
from whaul.stack.local import REGION, clean_environment

RUNNER = Path(__file__).parent / "javascript"


@dataclass(frozen=True)
class Outcome:
    """What a client's user gets: the output's members, or an error."""

    output: Mapping[str, Any] | None = None
    error: str | None = None
    """The code of the error."""
    status: int | None = None
    """Its HTTP status; None when the client does not tell."""
    typed: bool = True
    """Whether the error is of the client's own class for it."""


class ApiClient(Protocol):
    """A client of the API, by the operations' own names and members; blobs are bytes."""

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
        return Outcome(output)


class AwsCli:
    """Version 1, which is on PyPI; it tells errors by their codes only."""

    def __init__(self) -> None:
        self._program = aws_cli()

    def call(self, url: str, key: Key, operation: str, members: Mapping[str, Any], attempts: int = 1) -> Outcome:
        # Version 1 takes blobs as text, in JSON too, and encodes them itself.
        texts = {name: value.decode() if isinstance(value, bytes) else value for name, value in members.items()}
        given = json.dumps(texts)
        command = [str(self._program), "socialmessaging", xform_name(operation, "-"), "--cli-input-json", given]
        done = subprocess.run(
            command, env=environment(url, key, attempts), capture_output=True, text=True, timeout=60, check=False
        )
        if done.returncode == 0:
            return Outcome(json.loads(done.stdout or "{}"))
        told = re.search(rf"An error occurred \((\w+)\) when calling the {operation} operation", done.stderr)
        return Outcome(error=told[1] if told else done.stderr)


class JavaScript:
    """Version 3, in Node: a runner that is told calls line by line."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def call(self, url: str, key: Key, operation: str, members: Mapping[str, Any], attempts: int = 1) -> Outcome:
        blobs = [name for name, value in members.items() if isinstance(value, bytes)]
        line = {
            "client": {
                "endpoint": url,
                "region": REGION,
                "maxAttempts": attempts,
                "credentials": {"accessKeyId": key.id, "secretAccessKey": key.secret},
            },
            "operation": operation,
            "input": with_blobs_in_base64(members),
            "blobs": blobs,
        }
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(line) + "\n")
        self._process.stdin.flush()
        return Outcome(**json.loads(self._process.stdout.readline()))


def node_with_sdk() -> tuple[str, Path]:
    """Node, and the folder with the runner and the SDK; both are installed once for a checkout."""
    program, npm = node()
    home = TOOLS / "conformance-javascript"
    wanted = {name: (RUNNER / name).read_bytes() for name in ("package.json", "package-lock.json", "runner.mjs")}

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
def javascript() -> Iterator[JavaScript]:
    """Run the runner while the block runs."""
    program, home = node_with_sdk()
    command = [program, "runner.mjs"]
    with subprocess.Popen(
        command, cwd=home, env=clean_environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield JavaScript(process)
