"""The Compose files, brought up by Docker Compose."""

import base64
import json
import os
import secrets
import shutil
import threading
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import boto3
import pytest
from botocore.config import Config

from harness.client import send
from harness.compose import STAND_INS, Project, docker_compose, stand_in
from harness.waiting import eventually
from tools.containers import CHECKOUT, Containers
from whaul.stack.local import REGION
from whaul.stack.seaweedfs import KEY

PACKAGING = CHECKOUT / "packaging"
USER = 10001
PDF, PDF_SIZE = "100000000000003", 1308
Projects = Callable[..., Project]


@pytest.fixture(scope="module")
def projects(machine: Containers) -> Iterator[Projects]:
    with docker_compose(machine) as made:
        yield made


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The Compose files, with what a user writes beside them."""
    shutil.copytree(PACKAGING / "compose", tmp_path / "compose")
    shutil.copytree(PACKAGING / "monitoring", tmp_path / "monitoring")
    here = tmp_path / "compose"
    here.joinpath(".env").write_text(f"DOMAIN=:80\nAWS_REGION={REGION}\nWHAUL_LOG_LEVEL=info\n")
    password = secrets.token_hex(16)
    values = {
        "database-password": password,
        "database-url": f"postgresql://whaul:{password}@db/whaul",
        "secret-key": base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
        "aws-credentials": "[default]\naws_access_key_id = store\naws_secret_access_key = store-secret\n",
        "grafana-password": password,
    }
    here.joinpath("secrets").mkdir(mode=0o700)
    for name, value in values.items():
        path = here / "secrets" / name
        path.write_text(value)
        path.chmod(0o400)
        os.chown(path, USER, USER)
    return here


def client(service: str, port: int, key: tuple[str, str]) -> Any:
    return boto3.client(
        service,
        endpoint_url=f"http://127.0.0.1:{port}",
        region_name=REGION,
        aws_access_key_id=key[0],
        aws_secret_access_key=key[1],
        config=Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"}),
    )


def fetch(whaul: Any, number: str) -> int:
    answer = whaul.get_whatsapp_message_media(
        mediaId=PDF, originationPhoneNumberId=number, destinationS3File={"bucketName": "inbox", "key": "fetched/"}
    )
    return int(answer["fileSize"])


def passes(port: int) -> bool:
    """Whether the proxy has found a server that is ready: Debian's Caddy does not hold back a POST until then."""
    try:
        urllib.request.urlopen(f"http://127.0.0.1:{port}/")
    except urllib.error.HTTPError as answer:
        return answer.status == 404  # of whaul
    return True


def assert_console_works(project: Project, key: str) -> None:
    """Sign in to it through the proxy, which would speak TLS, and see both servers."""
    link = project("exec", "--no-TTY", "console", "whaul", "console", "link", "--key", key, "--json")
    url = json.loads(link)["url"]
    assert url.startswith("https://console.example/sign-in#")
    port, host = project.published("proxy", 80), {"Host": "console.example"}
    form = urlencode({"token": url.partition("#")[2]}).encode()
    form_of_its_own = host | {
        "Content-Type": "application/x-www-form-urlencoded",
        "Origin": "https://console.example",
    }
    signed_in = send(port, "POST", "/sign-in/link", form, form_of_its_own)
    assert signed_in.status == 303, signed_in.text
    cookie = signed_in.headers["set-cookie"].partition(";")[0]
    page = send(port, "GET", "/transfers", b"", host | {"Accept": "text/html", "Cookie": cookie})
    assert page.status == 200
    assert page.text.count(">ready<") == 2
    assert send(port, "GET", "/sign-in", b"", {"Host": "elsewhere.example"}).status == 404, "of a server"


@pytest.mark.parametrize("names", [["try"], ["production"], ["try", "monitoring"], ["production", "monitoring"]])
def test_the_files_are_valid_and_what_they_name_is_there(folder: Path, projects: Projects, names: list[str]) -> None:
    files = (folder / f"{name}.yaml" for name in names)
    project = projects("valid", *files, COMPOSE_PROFILES="console", CONSOLE_DOMAIN="console.example")
    shown = json.loads(project("config", "--format=json"))
    mounts = [mount for service in shown["services"].values() for mount in service.get("volumes", ())]
    paths = [Path(mount["source"]) for mount in mounts if mount["type"] == "bind"]
    paths += [Path(secret["file"]) for secret in shown.get("secrets", {}).values()]
    assert [path for path in paths if not path.is_file()] == []
    published = [port for service in shown["services"].values() for port in service.get("ports", ())]
    assert {int(port["published"]) for port in published if port.get("host_ip") != "127.0.0.1"} <= {80, 443}
    assert all(":" in service["image"] for name, service in shown["services"].items() if "build" not in service)


def test_the_try_out_keeps_a_picture_and_answers_calls(
    machine: Containers, image: str, folder: Path, projects: Projects
) -> None:
    stand_in(machine, "chrislusf/seaweedfs:4.48")
    project = projects("try", folder / "try.yaml", STAND_INS / "try.yaml", WHAUL_IMAGE=image)
    with project.up():
        store = client("s3", project.published("s3", 8333), KEY)
        eventually(lambda: store.list_objects_v2(Bucket="inbox", Prefix="archive/")["KeyCount"] == 1)
        whaul = client("socialmessaging", project.published("simulator", 8080), KEY)
        [account] = whaul.list_linked_whatsapp_business_accounts()["linkedAccounts"]
        numbers = whaul.get_linked_whatsapp_business_account(id=account["id"])["account"]["phoneNumbers"]
        assert fetch(whaul, numbers[0]["phoneNumberId"]) == PDF_SIZE
        [stored] = store.list_objects_v2(Bucket="inbox", Prefix="fetched/")["Contents"]
        assert stored["Size"] == PDF_SIZE


def test_in_production_servers_are_replaced_in_turn_and_no_call_is_lost(
    machine: Containers, image: str, folder: Path, projects: Projects
) -> None:
    for name in ("chrislusf/seaweedfs:4.48", "postgres:17", "caddy:2.10", "prom/prometheus:v3.5.0"):
        stand_in(machine, name)
    names = ("production.yaml", "monitoring.yaml")
    files = [*(folder / name for name in names), *(STAND_INS / name for name in names)]
    console = {"COMPOSE_PROFILES": "console", "CONSOLE_DOMAIN": "http://console.example"}
    project = projects("production", *files, WHAUL_IMAGE=image, **console)
    with project.up(), ThreadPoolExecutor(4) as pool:
        command = ("run", "--rm", "--no-TTY", "--no-deps", "--env=WHATSAPP_ACCESS_TOKEN=simulated-token", "migrate")
        number = "--phone-number=500000000000001=+15550100001"
        linked = json.loads(
            project(*command, "link", "--waba-id=400000000000001", "--no-verify", "--name=Shop", number, "--json")
        )
        made = json.loads(project(*command, "keys", "create", "--name=app", "--allow-all", "--json"))
        number = linked["account"]["phoneNumbers"][0]["phoneNumberId"]
        whaul = client(
            "socialmessaging", project.published("proxy", 80), (made["accessKeyId"], made["secretAccessKey"])
        )
        done = threading.Event()

        def load() -> int:
            calls = 0
            while not done.wait(0.05):  # the machine is to have time for more than this
                assert fetch(whaul, number) == PDF_SIZE
                calls += 1
            return calls

        def calls(service: str) -> int:
            return project("logs", "--no-log-prefix", service).count('"event":"call"')

        eventually(lambda: passes(project.published("proxy", 80)))
        callers = [pool.submit(load) for _ in range(4)]
        try:
            eventually(lambda: calls("whaul-1") > 1 and calls("whaul-2") > 1)
            for service in ("whaul-1", "whaul-2"):
                project("up", "--detach", "--no-deps", "--force-recreate", "--wait", service)
                eventually(lambda service=service: calls(service) > 1)
        finally:
            done.set()
        assert all(caller.result() > 1 for caller in callers)
        for path in ("/metrics", "/readyz"):
            with pytest.raises(urllib.error.HTTPError, match="404"):
                urllib.request.urlopen(f"http://127.0.0.1:{project.published('proxy', 80)}{path}")
        assert_console_works(project, made["accessKeyId"])
        monitor = f"http://127.0.0.1:{project.published('prometheus', 9090)}"

        def found(query: str) -> int:
            with urllib.request.urlopen(f"{monitor}/api/v1/query?query={query}") as answer:
                return len(json.load(answer)["data"]["result"])

        eventually(lambda: found("up==1") == 2)
        with urllib.request.urlopen(f"{monitor}/api/v1/rules") as answer:
            assert json.load(answer)["data"]["groups"]
