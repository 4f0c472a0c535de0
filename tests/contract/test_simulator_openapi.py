"""The OpenAPI document of the simulator's control endpoint, held against what the endpoint does."""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.installs import TOOLS, install_from_pypi
from harness.simulator_client import JPEG, Client, running
from harness.waiting import PATIENCE
from whaul.simulator import Simulator
from whaul.simulator.control.row import Row
from whaul.simulator.control.rows import PREFIX, table

SCHEMATHESIS = "schemathesis>=4.32,<5"
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
)
"""What is valid may still be refused: ids that nobody has, a text where a phone number must be."""
ROWS = table(Simulator())


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with running() as client:
        yield client


def test_it_has_each_request_of_the_endpoint_with_what_it_does(client: Client) -> None:
    document = client.control("GET", "openapi.json").json()
    assert document["servers"] == [{"url": client.sim.url}]
    described = {
        (method.upper(), path): operation["description"]
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }
    assert described == {(row.method, PREFIX + row.path): row.does for row in ROWS}
    named = re.findall(r'"#/components/schemas/(\w+)"', json.dumps(document))
    assert set(named) <= document["components"]["schemas"].keys()


@pytest.mark.parametrize("row", [row for row in ROWS if not row.takes_body], ids=lambda row: row.method + row.path)
def test_its_members_are_those_that_the_endpoint_takes(client: Client, row: Row) -> None:
    """A member that does not exist is refused with those that do."""
    path = (PREFIX + row.path).replace("{id}", JPEG)
    operation = client.control("GET", "openapi.json").json()["paths"][PREFIX + row.path][row.method.lower()]
    body = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
    described = {one["name"] for one in operation["parameters"]} | body.get("properties", {}).keys()
    reply = client.send(row.method, f"{path}?colour=red", body=None)
    assert reply.status == 400
    assert "colour" in reply.json()["error"]
    taken = reply.json()["allowed"].keys() - ({"path", "mime_type"} if row.takes_file else set())
    assert described == taken


@pytest.mark.long
def test_schemathesis_finds_no_answer_that_it_does_not_describe() -> None:
    home = TOOLS / "schemathesis"
    program = home / "bin" / "schemathesis"
    install_from_pypi(SCHEMATHESIS, home, program.exists)
    with running() as client:
        command: list[str | Path] = [program, "run", f"{client.sim.url}{PREFIX}/openapi.json", "--no-color"]
        command += ["--checks", ",".join(CHECKS), "--phases", "coverage,fuzzing", "--max-examples", "5", "--seed", "1"]
        done = subprocess.run(command, cwd=home, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stdout
    assert f"Tested: {len(ROWS) - 1}\n" in done.stdout  # all but the request for the document
