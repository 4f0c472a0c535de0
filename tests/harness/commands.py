"""whaul's commands in this process: ten times as fast as a process for each, for tests that are not of commands."""

import asyncio
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest
from typer.testing import CliRunner

from whaul.cli import app
from whaul.cli.start import checked
from whaul.environment import environment_name
from whaul.server.supervisor import Plan
from whaul.settings import Settings

STEERING = ("WHAUL_", "AWS_", "WHATSAPP_", "SSL_CERT_", "REQUESTS_CA_", "CURL_CA_", "PROMETHEUS_", "OTEL_")


def done(arguments: list[str], environ: Mapping[str, str]) -> str:
    """Run a command with what steers it in that environment; return what it printed, or raise what it raised."""
    with steered(environ):
        result = CliRunner().invoke(app, arguments)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.stderr
    return result.stdout


def whaul(arguments: list[str], environ: Mapping[str, str]) -> Any:
    """Run a command with `--json`; return its document."""
    return json.loads(done([*arguments, "--json"], environ))


def planned(environ: Mapping[str, str], port: int) -> tuple[Plan, dict[str, str]]:
    """Do what `whaul serve` does at first; return its plan, and the environment of its workers."""
    with steered(environ):
        settings = Settings.load(port=port)
        plan = asyncio.run(checked(settings))
    told = {environment_name(name): str(getattr(settings, name)) for name in ("host", "port", "workers")}
    return plan, dict(environ) | told


@contextmanager
def steered(environ: Mapping[str, str]) -> Iterator[None]:
    """Have in our environment what steers whaul in another, and nothing else that does."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith(STEERING)]:
            patch.delenv(name)
        for name, value in environ.items():
            if name.startswith(STEERING):
                patch.setenv(name, value)
        yield
