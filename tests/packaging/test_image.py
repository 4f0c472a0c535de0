"""The image: built from the checkout, and run as an orchestrator runs it."""

import json
import os
import re
import tomllib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import whaul
from harness.store import BUCKET, s3_client
from harness.waiting import eventually
from harness.world import Gateway, World
from tools.containers import CHECKOUT, Container, Containers
from whaul.simulator import simulator_in_thread
from whaul.stack.local import REGION, clean_environment
from whaul.stack.processes import answers, free_ports
from whaul.stack.seaweedfs import seaweedfs

ANYBODY = 12345
HARDENED = ("--read-only", "--cap-drop=all", "--security-opt=no-new-privileges", f"--user={ANYBODY}:{ANYBODY}")
"""Any user id will do, and nothing but the two folders is written to."""
FOLDERS = ("--tmpfs=/var/lib/whaul:mode=1777", "--tmpfs=/tmp")
SERVICES = ("s3", "sns", "sqs", "events")
OF_CREDENTIALS = ("sts", "sso", "sso-oidc", "signin")
"""What botocore calls to find credentials."""
MAX_MEGABYTES = 285
AT_ONCE = 48


@pytest.fixture(scope="module")
def server(machine: Containers, image: str) -> Iterator[Container]:
    options = (*HARDENED, *FOLDERS, "--publish=127.0.0.1::8080")
    with machine.running(image, options=options) as container:
        url = f"http://127.0.0.1:{container.published(8080)}"
        eventually(lambda: answers(f"{url}/healthz"))
        yield container


def test_every_command_is_in_the_image(machine: Containers, image: str) -> None:
    shown = machine.podman("run", "--rm", *HARDENED, image, "--version")
    assert shown.startswith(f"whaul {whaul.__version__}")


def test_the_health_check_finds_the_server_healthy(machine: Containers, server: Container) -> None:
    assert server.execute("id", "-u").strip() == str(ANYBODY)
    machine.podman("healthcheck", "run", server.name)


def test_the_health_check_finds_a_server_on_another_port_unhealthy(server: Container) -> None:
    asked = server.execute("env", "WHAUL_PORT=1", "sh", "-c", "python -m whaul.server.liveness 2>&1; echo $?")
    assert asked.splitlines() == ["nobody answers /healthz on port 1", "1"]


def test_commands_use_the_server_s_database(server: Container) -> None:
    made = json.loads(server.execute("whaul", "keys", "create", "--name", "app", "--allow-all", "--json"))
    listed = json.loads(server.execute("whaul", "keys", "list", "--json"))
    assert [key["accessKeyId"] for key in listed["accessKeys"]] == [made["accessKeyId"]]


def test_the_image_is_the_simulator_too(machine: Containers, image: str) -> None:
    options = (*HARDENED, "--publish=127.0.0.1::8081")
    with machine.running(image, "simulate", "--host", "0.0.0.0", options=options) as container:  # noqa: S104 - of its own network
        url = f"http://127.0.0.1:{container.published(8081)}"
        eventually(lambda: answers(f"{url}/_simulator/state"))


def test_every_extra_that_users_may_want_is_in_the_image() -> None:
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())
    extras = project["project"]["optional-dependencies"].keys()
    ours = project["tool"]["deptry"]["optional_dependencies_dev_groups"]
    [stated] = re.findall(r"^ARG EXTRAS=(.*)$", (CHECKOUT / "packaging" / "Containerfile").read_text(), re.MULTILINE)
    assert {*stated.split(","), "demo", *ours} == extras


def test_the_image_is_small(machine: Containers, image: str) -> None:
    size = int(machine.podman("image", "inspect", "--format", "{{.Size}}", image))
    assert size < MAX_MEGABYTES * 1_000_000


def test_nothing_but_folders_for_data_can_be_written_to_and_nobody_becomes_another(server: Container) -> None:
    # As the image is: what the container's own mounts make of it is another matter.
    found = server.execute("sh", "-c", "find / -xdev -perm -0002 -not -type l 2>/dev/null; true")
    assert set(found.split()) <= {"/var/tmp", "/run/lock", "/var/lib/whaul", "/tmp"}  # noqa: S108 - the container's
    assert server.execute("sh", "-c", "find / -xdev -type f -perm /6000 2>/dev/null; true") == ""


def test_nothing_that_installs_packages_is_in_the_environment(server: Container) -> None:
    code = (
        "from importlib.util import find_spec; print(find_spec('pip'), find_spec('setuptools'), find_spec('cyclonedx'))"
    )
    assert server.execute("python", "-c", code).split() == ["None"] * 3


def test_what_is_called_of_aws_was_left_in_the_image(server: Container) -> None:
    code = f"""
import botocore.session
for service in {(*SERVICES, *OF_CREDENTIALS)}:
    botocore.session.Session().create_client(service, region_name="eu-west-1")
"""
    server.execute("python", "-c", code)


def test_what_is_loaded_is_compiled(server: Container) -> None:
    # A read-only file system cannot keep what Python compiles: each start would do it again.
    code = """
import os, sys, whaul.app, whaul.cli, whaul.inbound
modules = [module for module in list(sys.modules.values()) if module.__spec__ and module.__spec__.cached]
assert len(modules) > 500
print([module.__name__ for module in modules if not os.path.exists(module.__spec__.cached)])
"""
    assert server.execute("python", "-c", code).strip() == "[]"


def test_the_image_lists_what_it_holds(server: Container) -> None:
    bill = json.loads(server.execute("cat", "/opt/whaul/sbom.cdx.json"))
    held = {component["name"]: component["version"] for component in bill["components"]}
    assert bill["bomFormat"] == "CycloneDX"
    assert held["whaul"] == whaul.__version__
    assert {"botocore", "aiohttp", "nats-py", "confluent-kafka"} <= held.keys()
    assert server.execute("python", "-c", "import botocore; print(botocore.__version__)").strip() == held["botocore"]


def test_labels_say_what_it_is(machine: Containers, image: str) -> None:
    labels = json.loads(machine.podman("image", "inspect", "--format", "{{json .Labels}}", image))
    assert labels["org.opencontainers.image.title"] == "whaul"
    assert labels["org.opencontainers.image.licenses"] == "Apache-2.0"


def test_a_stop_under_load_loses_no_call(machine: Containers, image: str, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    with simulator_in_thread() as simulator, seaweedfs(tmp_path / "s3", clean_environment()) as endpoint:
        store = s3_client(endpoint)
        store.create_bucket(Bucket=BUCKET)
        environ = endpoint.environment() | {
            "AWS_REGION": REGION,
            "WHAUL_HOST": "127.0.0.1",
            "WHAUL_DATABASE_URL": f"sqlite:///{data / 'whaul.db'}",
            "WHAUL_GRAPH_URL": simulator.url,
            "WHAUL_MEDIA_HOSTS": "127.0.0.1",
            "WHAUL_SHUTDOWN_NOTICE": "0",
            "WHATSAPP_ACCESS_TOKEN": simulator.token,
        }
        world = World(simulator, clean_environment() | environ, data)
        world.link()
        for path in (data, *data.iterdir()):
            os.chown(path, ANYBODY, ANYBODY)
        media = [simulator.add_generated(300_000, "image/png", seed=seed) for seed in range(AT_ONCE)]
        for media_id in media:
            simulator.fault(media_id, kind="latency", hop="download", seconds=60)
        with free_ports(1) as [port]:
            settings = [f"--env={name}={value}" for name, value in {**environ, "WHAUL_PORT": str(port)}.items()]
            options = (*HARDENED, "--tmpfs=/tmp", "--network=host", f"--volume={data}:{data}", *settings)
            with machine.running(image, options=options) as container, ThreadPoolExecutor(AT_ONCE + 1) as pool:
                gateway = Gateway(world, f"http://127.0.0.1:{port}", data / "none", container)
                eventually(lambda: answers(f"{gateway.url}/readyz"))
                calls = [pool.submit(gateway.get_to, media_id, "stopped/") for media_id in media]
                eventually(lambda: all(simulator.count(media_id)["download"] for media_id in media))
                exit_code = pool.submit(container.stop)
                eventually(lambda: "Stopping worker" in container.logs())
                simulator.advance(60)
                assert [call.result()["fileSize"] for call in calls] == [300_000] * AT_ONCE
                assert exit_code.result() == 0
        stored = store.list_objects_v2(Bucket=BUCKET, Prefix="stopped/")["Contents"]
        assert [found["Size"] for found in stored] == [300_000] * AT_ONCE
        store.close()
